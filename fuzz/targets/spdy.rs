//! The target `spdy`; see [`periscope_fuzz::spdy`].
#![cfg_attr(fuzzing, no_main)]

periscope_fuzz::target!(periscope_fuzz::spdy);
