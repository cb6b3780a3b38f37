//! Masking of client payload (RFC 6455 §5.3).

/// XORs `data` with the 4-byte `key`, as if `data` began `offset` bytes into the frame's payload.
///
/// The same call masks and unmasks. Eight bytes go at a time; the optimiser widens that further.
pub(super) fn apply(key: [u8; 4], offset: u64, data: &mut [u8]) {
    let turn = u32::try_from(offset % 4).unwrap_or(0).saturating_mul(8);
    let key = u64::from(u32::from_le_bytes(key).rotate_right(turn));
    let word = key << 32 | key;
    let (words, tail) = data.as_chunks_mut::<8>();
    if !words.is_empty() {
        apply_words(word, words);
    }
    for (byte, key) in tail.iter_mut().zip(word.to_le_bytes()) {
        *byte ^= key;
    }
}

/// Apart, so that a keystroke does not pay for setting up the vector loop.
#[inline(never)]
fn apply_words(word: u64, words: &mut [[u8; 8]]) {
    for chunk in words {
        *chunk = (u64::from_le_bytes(*chunk) ^ word).to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 6455 §5.7: the masked "Hello" of the examples.
    #[test]
    fn the_rfcs_masked_hello_unmasks() {
        let mut data = [0x7f, 0x9f, 0x4d, 0x51, 0x58];
        apply([0x37, 0xfa, 0x21, 0x3d], 0, &mut data);
        assert_eq!(&data, b"Hello");
    }

    proptest! {
        /// RFC 6455 §5.3: octet i is XORed with key octet i mod 4, wherever a run begins.
        #[test]
        fn masking_equals_the_rfcs_formula(
            key: [u8; 4],
            offset in 0_u64..9,
            data in proptest::collection::vec(any::<u8>(), 0..70),
        ) {
            let mut masked = data.clone();
            apply(key, offset, &mut masked);
            for (index, (was, is)) in data.iter().zip(&masked).enumerate() {
                let at = (index + usize::try_from(offset).unwrap()) % 4;
                prop_assert_eq!(was ^ key[at], *is);
            }
        }
    }
}
