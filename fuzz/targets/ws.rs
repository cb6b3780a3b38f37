//! The target `ws`; see [`periscope_fuzz::ws`].
#![cfg_attr(fuzzing, no_main)]

periscope_fuzz::target!(periscope_fuzz::ws);
