//! The target `resize`; see [`periscope_fuzz::resize`].
#![cfg_attr(fuzzing, no_main)]

periscope_fuzz::target!(periscope_fuzz::resize);
