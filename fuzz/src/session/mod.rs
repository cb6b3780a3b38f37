//! A whole session: whatever both peers, the host and the clock do, in any order.

mod acts;
pub mod operation;
mod peers;
mod socket;
mod world;

use operation::{Operation, Setup};
use world::{Cut, Report, World};

/// Payload that peers may send before backpressure could cut a run differently from feed to feed.
const COMPARABLE_BYTES_MAX: usize = 128 * 1024;

/// The input is a [`Setup`] and a row of [`Operation`]s. Whatever they are, the session holds
/// little, writes only what its peers can read, tells its facts once and in order, and ends. Where
/// its sockets take everything, what it tells does not depend on how its reads and writes are cut.
pub fn session(data: &[u8]) {
    let Some((setup, operations)) = operation::decode(data) else {
        return;
    };
    let run = |read_max: usize, write_max: usize| {
        let cut = Cut {
            read_max,
            write_max,
        };
        run(setup, &operations, cut)
    };
    let whole = run(usize::MAX, usize::MAX);
    let payload: usize = operations.iter().map(Operation::payload_len).sum();
    if payload > COMPARABLE_BYTES_MAX {
        return;
    }
    let singles = run(1, 7);
    let step = usize::from(setup.step) + 1;
    let cut = run(step, step);
    if !whole.is_limited {
        compare(&singles, &whole);
        compare(&cut, &whole);
    }
}

fn run(setup: Setup, operations: &[Operation], cut: Cut) -> Report {
    let mut world = World::new(setup, cut);
    for operation in operations {
        world.operate(operation);
    }
    world.finish()
}

/// What must not depend on how bytes were cut.
fn compare(cut: &Report, whole: &Report) {
    assert_eq!(cut.output, whole.output);
    assert_eq!(cut.texts, whole.texts);
    assert_eq!(cut.close_code, whole.close_code);
    assert_eq!(cut.refusal, whole.refusal);
    let detail = |report: &Report| report.summary.as_ref().map(|of| (of.detail, of.exit_code));
    assert_eq!(detail(cut), detail(whole));
    assert_eq!(cut.events.len(), whole.events.len(), "{cut:?} {whole:?}");
    // What the browser typed in the same read as its end may or may not have left before it.
    for (longer, shorter) in cut.stdin.iter().zip(&whole.stdin) {
        assert!(longer.starts_with(shorter), "{longer:?} {shorter:?}");
    }
}
