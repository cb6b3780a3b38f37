//! The seeded simulator: the driver that ships, over a virtual network and a virtual clock.
//!
//! One seed makes one [`World`]: a browser, an apiserver (honest or lying), the wires between
//! them with their faults, and a host that answers the session's questions. Nothing in a run
//! depends on anything but the seed, so a failure is repeated by its number alone.
//!
//! It uses the crate's public verbs only; the peers are the same machines in the opposite role.

pub mod apiserver;
pub mod browser;
pub mod clock;
pub mod net;
pub mod plan;
pub mod world;

pub use plan::Plan;
pub use world::{Report, World};

/// The byte at a position of a stream. A lost, doubled or swapped byte shows at once.
pub fn pattern(position: u64) -> u8 {
    let mixed = position.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 56) as u8
}

/// The bytes of a stream from `position` on.
pub fn pattern_run(position: u64, len: usize) -> bytes::BytesMut {
    (position..).take(len).map(pattern).collect()
}

/// Whether `run` is what the stream holds from `position` on.
pub fn matches_pattern(position: u64, run: &[u8]) -> bool {
    (position..).zip(run).all(|(at, byte)| pattern(at) == *byte)
}
