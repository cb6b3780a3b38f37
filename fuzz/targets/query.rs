//! The target `query`; see [`periscope_fuzz::query`].
#![cfg_attr(fuzzing, no_main)]

periscope_fuzz::target!(periscope_fuzz::query);
