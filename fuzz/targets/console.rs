//! The target `console`; see [`periscope_fuzz::console`].
#![cfg_attr(fuzzing, no_main)]

periscope_fuzz::target!(periscope_fuzz::console);
