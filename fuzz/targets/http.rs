//! The target `http`; see [`periscope_fuzz::http`].
#![cfg_attr(fuzzing, no_main)]

periscope_fuzz::target!(periscope_fuzz::http);
