//! UTF-8 checked while it streams past (RFC 6455 §8.1).

use core::str;

/// Checks one text message run by run. A character may be cut anywhere between two runs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Utf8Check {
    /// The begun character: its bytes so far, of which the first `len` count.
    begun: [u8; 4],
    len: usize,
}

impl Utf8Check {
    /// Takes the next run. Returns whether everything so far can still become UTF-8; the first byte
    /// that rules it out is noticed in the run that brings it.
    #[must_use]
    pub(super) fn feed(&mut self, run: &[u8]) -> bool {
        let mut rest = run;
        while self.len > 0 {
            let Some((&byte, after)) = rest.split_first() else {
                return true;
            };
            rest = after;
            let Some(slot) = self.begun.get_mut(self.len) else {
                return false;
            };
            *slot = byte;
            self.len = self.len.saturating_add(1);
            match str::from_utf8(self.begun.get(..self.len).unwrap_or_default()) {
                Ok(_) => self.len = 0,
                Err(error) if error.error_len().is_some() => return false,
                Err(_) => {}
            }
        }
        let Err(error) = str::from_utf8(rest) else {
            return true;
        };
        if error.error_len().is_some() {
            return false;
        }
        let cut = rest.get(error.valid_up_to()..).unwrap_or_default();
        for (slot, &byte) in self.begun.iter_mut().zip(cut) {
            *slot = byte;
        }
        self.len = cut.len();
        true
    }

    /// Whether the message may end here: no character is begun.
    #[must_use]
    pub(super) fn is_complete(self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(runs: &[&[u8]]) -> bool {
        let mut check = Utf8Check::default();
        runs.iter().all(|run| check.feed(run)) && check.is_complete()
    }

    /// RFC 6455 §8.1: a character may be split between frames, but not left unfinished.
    #[test]
    fn a_split_character_is_fine_and_an_unfinished_one_is_not() {
        assert!(check(&[b"\xf0\x9f", b"", b"\x90", b"\x8b ok"]));
        assert!(!check(&[b"\xf0\x9f", b"\x90"]));
        assert!(!check(&[b"\xf0\x9f", b"x"]));
    }

    /// RFC 3629 §3: surrogates, overlong forms and values above U+10FFFF are no UTF-8.
    #[test]
    fn a_hopeless_character_is_refused_at_the_byte_that_dooms_it() {
        for (good, bad) in [
            (&b"\xed"[..], 0xa0),
            (&b"\xf4"[..], 0x90),
            (&b"\xe0"[..], 0x80),
            (&b""[..], 0xc0),
        ] {
            let mut check = Utf8Check::default();
            assert!(check.feed(good), "{good:x?} can still become a character");
            assert!(!check.feed(&[bad]), "{good:x?} {bad:x} cannot");
        }
    }

    proptest! {
        /// RFC 6455 §8.1: however the bytes are cut, the verdict is that of the whole.
        #[test]
        fn any_cut_gives_the_verdict_of_the_whole(
            data in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..12),
                "\\PC{0,12}".prop_map(String::into_bytes),
            ],
            step in 1_usize..5,
        ) {
            let runs: Vec<&[u8]> = data.chunks(step).collect();
            prop_assert_eq!(check(&runs), str::from_utf8(&data).is_ok());
        }
    }
}
