//! Bytes that show at once when one of them is lost, doubled or moved.

use std::sync::LazyLock;

/// A prime, so that no buffer size divides the pattern.
const PERIOD: usize = 65_521;

static BLOCK: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 0x9e37_79b9_u32;
    let step = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..PERIOD).map(step).collect()
});

/// The `len` bytes of the stream that begin at `position`.
pub fn run(position: usize, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let from = (position + bytes.len()) % PERIOD;
        let until = PERIOD.min(from + len - bytes.len());
        bytes.extend_from_slice(&BLOCK[from..until]);
    }
    bytes
}

/// Fails unless `bytes` are those that begin at `position`.
pub fn check(position: usize, bytes: &[u8]) {
    let expected = run(position, bytes.len());
    if let Some(at) = (0..bytes.len()).find(|at| bytes[*at] != expected[*at]) {
        panic!("byte {} is wrong", position + at);
    }
}
