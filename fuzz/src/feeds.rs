//! The three feeds, and what every machine owes its caller whatever its peer sends.

use core::fmt::Debug;

use bytes::BytesMut;
use periscope_core::outbox::Outbox;

/// Bytes a machine may queue by itself while its socket takes nothing.
const UNSENT_BYTES_MAX: usize = 4096;

/// What the first bytes of an input decide; the rest is the peer's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parameters {
    /// Role and variants; each target says what its bits mean.
    pub(crate) mode: u8,
    /// Where the third feed is cut.
    pub(crate) split: usize,
    /// The longest run of payload to ask for.
    pub(crate) run_max: usize,
    /// Whether the socket takes nothing of what the machine answers.
    pub(crate) is_deaf: bool,
}

impl Parameters {
    /// Splits them off the front of an input. One that is too short has none.
    pub(crate) fn split_off(data: &[u8]) -> Option<(Self, &[u8])> {
        let (&[mode, high, low, run], rest) = data.split_first_chunk::<4>()?;
        let parameters = Self {
            mode,
            split: usize::from(u16::from_be_bytes([high, low])),
            run_max: [1, 2, 7, 64, 1024, 32 * 1024, usize::MAX][usize::from(run & 0x7f) % 7],
            is_deaf: run & 0x80 != 0,
        };
        Some((parameters, rest))
    }
}

/// Feeds `data` in three ways, and demands the same of each.
pub(crate) fn agree<T: Debug + PartialEq>(
    data: &[u8],
    split: usize,
    run: impl Fn(&[&[u8]]) -> T,
) -> T {
    let whole = run(&[data]);
    let mut singles: Vec<&[u8]> = data.chunks(1).collect();
    // A machine may have something to say before any byte.
    singles.insert(0, &[]);
    assert_eq!(run(&singles), whole, "byte by byte (left), whole (right)");
    let (first, second) = data.split_at(split.min(data.len()));
    assert_eq!(
        run(&[first, second]),
        whole,
        "cut at {split} (left), whole (right)"
    );
    whole
}

/// What came of one feed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome<N, X> {
    /// The events, in a form that does not depend on how payload was cut into runs.
    pub(crate) notes: Vec<N>,
    /// What was written.
    pub(crate) written: Vec<u8>,
    /// How the peer failed, if it did.
    pub(crate) error: Option<X>,
}

/// Feeds the pieces to `receive` and checks what every machine owes. `note` adds an event to the
/// notes and may answer it. `held_max` bounds what stays unread once a machine asks for more.
pub(crate) fn feed<M, E, N, X: Copy + Debug + PartialEq>(
    machine: &mut M,
    pieces: &[&[u8]],
    is_deaf: bool,
    held_max: usize,
    mut receive: impl FnMut(&mut M, &mut BytesMut, &mut Outbox) -> Result<Option<E>, X>,
    mut note: impl FnMut(&mut M, E, &mut Vec<N>, &mut Outbox),
) -> Outcome<N, X> {
    let mut outcome = Outcome {
        notes: Vec::new(),
        written: Vec::new(),
        error: None,
    };
    let mut input = BytesMut::new();
    let mut out = Outbox::new();
    // What was queued before the peer spoke is none of its doing.
    let mut events = 0_usize;
    let total: usize = pieces.iter().map(|piece| piece.len()).sum();
    'pieces: for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            let before = input.len();
            match receive(machine, &mut input, &mut out) {
                Ok(None) => {
                    assert!(
                        input.len() <= held_max,
                        "{} bytes stay unread, at most {held_max} may",
                        input.len()
                    );
                    break;
                }
                Ok(Some(event)) => {
                    events += 1;
                    assert!(input.len() <= before, "a machine only takes");
                    assert!(events <= 2 * total + 8, "events without bytes");
                    note(machine, event, &mut outcome.notes, &mut out);
                }
                Err(error) => {
                    outcome.error = Some(error);
                    let mut more = BytesMut::from(&b"more"[..]);
                    let again = receive(machine, &mut more, &mut out).err();
                    assert_eq!(again, Some(error), "an error sticks");
                    break 'pieces;
                }
            }
            if !is_deaf {
                drain(&mut out, &mut outcome.written);
            }
            assert!(out.len() <= UNSENT_BYTES_MAX, "{} bytes wait", out.len());
        }
    }
    drain(&mut out, &mut outcome.written);
    outcome
}

/// What a socket would take now.
pub(crate) fn drain(out: &mut Outbox, written: &mut Vec<u8>) {
    for chunk in out.chunks() {
        written.extend_from_slice(chunk);
    }
    out.advance(out.len());
}
