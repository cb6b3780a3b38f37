//! Masking of client payload (RFC 6455 §5.3).

/// XORs `data` with the 4-byte `key`, as if `data` began `offset` bytes into the frame's payload.
///
/// The same call masks and unmasks. Eight bytes go at a time; the optimiser widens that further.
pub(super) fn apply(key: [u8; 4], offset: u64, data: &mut [u8]) {
    let [a, b, c, d] = key;
    let [a, b, c, d] = match offset % 4 {
        0 => [a, b, c, d],
        1 => [b, c, d, a],
        2 => [c, d, a, b],
        _ => [d, a, b, c],
    };
    let octet = [a, b, c, d, a, b, c, d];
    let word = u64::from_ne_bytes(octet);
    let (words, tail) = data.as_chunks_mut::<8>();
    for chunk in words {
        *chunk = (u64::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(octet) {
        *byte ^= key;
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
