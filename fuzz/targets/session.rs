//! The target `session`; see [`periscope_fuzz::session`].
#![cfg_attr(fuzzing, no_main)]

periscope_fuzz::target!(periscope_fuzz::session);
