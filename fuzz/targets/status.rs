//! The target `status`; see [`periscope_fuzz::status`].
#![cfg_attr(fuzzing, no_main)]

periscope_fuzz::target!(periscope_fuzz::status);
