//! The end-to-end list lives in `tests/list`; this crate exists to hold it, so that what it needs
//! (two gateways, two apiservers) stays out of everyone else's tests.
