//! The target `exec_server`; see [`periscope_fuzz::exec_server`].
#![cfg_attr(fuzzing, no_main)]

periscope_fuzz::target!(periscope_fuzz::exec_server);
