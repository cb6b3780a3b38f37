//! The target `channel`; see [`periscope_fuzz::channel`].
#![cfg_attr(fuzzing, no_main)]

periscope_fuzz::target!(periscope_fuzz::channel);
