//! The breaker against its rules one by one, and against a model that recomputes them from history.

use core::time::Duration;

use proptest::prelude::*;

use super::*;

const CLUSTER: &str = "prod";

fn at(seconds: u64) -> Instant {
    Instant::ZERO.after(Duration::from_secs(seconds))
}

/// Plans one attempt and reports its outcome at once.
fn attempt(breaker: &mut Breaker, outcome: Outcome, now: Instant) -> Plan {
    let plan = breaker.plan(CLUSTER, now);
    breaker.report(CLUSTER, plan.attempt, outcome, now);
    plan
}

/// A breaker that opened at 0.
fn opened() -> Breaker {
    let mut breaker = Breaker::new();
    for _ in 0..3 {
        attempt(&mut breaker, Outcome::Failure, at(0));
    }
    breaker
}

#[test]
fn three_failures_in_a_row_pin_the_cluster_to_spdy_for_thirty_minutes() {
    let mut breaker = Breaker::new();
    for _ in 0..3 {
        assert_eq!(breaker.state(CLUSTER, at(0)), BreakerState::Closed);
        assert!(!attempt(&mut breaker, Outcome::Failure, at(0)).use_spdy);
    }
    assert_eq!(breaker.state(CLUSTER, at(0)), BreakerState::Open);
    for second in [0, 1, 1799] {
        let plan = breaker.plan(CLUSTER, at(second));
        assert!(plan.use_spdy && !plan.probe, "{second}");
        assert_eq!(breaker.state(CLUSTER, at(second)), BreakerState::Open);
    }
    assert_eq!(breaker.state(CLUSTER, at(1800)), BreakerState::HalfOpen);
    let plan = breaker.plan(CLUSTER, at(1800));
    assert!(!plan.use_spdy && plan.probe);
}

#[test]
fn a_success_between_failures_starts_the_count_anew_and_no_verdict_leaves_it() {
    let mut breaker = Breaker::new();
    let outcomes = [
        Outcome::Failure,
        Outcome::Failure,
        Outcome::Success,
        Outcome::Failure,
        Outcome::NoVerdict,
        Outcome::Failure,
    ];
    for outcome in outcomes {
        attempt(&mut breaker, outcome, at(0));
        assert_eq!(breaker.state(CLUSTER, at(0)), BreakerState::Closed);
    }
    attempt(&mut breaker, Outcome::Failure, at(0));
    assert_eq!(breaker.state(CLUSTER, at(0)), BreakerState::Open);
}

#[test]
fn only_one_attempt_probes_and_the_others_use_spdy_without_waiting() {
    let mut breaker = opened();
    let probe = breaker.plan(CLUSTER, at(1800));
    for _ in 0..5 {
        let other = breaker.plan(CLUSTER, at(1801));
        assert!(other.use_spdy && !other.probe);
        // What they report over SPDY moves nothing.
        breaker.report(CLUSTER, other.attempt, Outcome::Success, at(1801));
        breaker.report(CLUSTER, other.attempt, Outcome::Failure, at(1801));
        breaker.report(CLUSTER, other.attempt, Outcome::NoVerdict, at(1801));
        assert_eq!(breaker.state(CLUSTER, at(1801)), BreakerState::HalfOpen);
    }
    breaker.report(CLUSTER, probe.attempt, Outcome::Success, at(1802));
    assert_eq!(breaker.state(CLUSTER, at(1802)), BreakerState::Closed);
    assert!(!breaker.plan(CLUSTER, at(1802)).use_spdy);
    for _ in 0..2 {
        attempt(&mut breaker, Outcome::Failure, at(1803));
    }
    assert_eq!(
        breaker.state(CLUSTER, at(1803)),
        BreakerState::Closed,
        "it counts from zero again"
    );
}

#[test]
fn a_probe_that_fails_pins_for_thirty_minutes_more() {
    let mut breaker = opened();
    let probe = breaker.plan(CLUSTER, at(2000));
    breaker.report(CLUSTER, probe.attempt, Outcome::Failure, at(2010));
    assert!(breaker.plan(CLUSTER, at(2010 + 1799)).use_spdy);
    assert!(breaker.plan(CLUSTER, at(2010 + 1800)).probe);
}

#[test]
fn a_probe_without_a_verdict_is_given_back_to_the_next_attempt() {
    let mut breaker = opened();
    let first = breaker.plan(CLUSTER, at(1800));
    breaker.report(CLUSTER, first.attempt, Outcome::NoVerdict, at(1801));
    let second = breaker.plan(CLUSTER, at(1801));
    assert!(second.probe);
    breaker.report(CLUSTER, first.attempt, Outcome::Success, at(1802));
    breaker.report(CLUSTER, first.attempt, Outcome::Failure, at(1802));
    assert_eq!(
        breaker.state(CLUSTER, at(1802)),
        BreakerState::HalfOpen,
        "it was given back"
    );
    assert!(
        breaker.plan(CLUSTER, at(1802)).use_spdy,
        "the second one is still out"
    );
}

#[test]
fn a_probe_that_is_never_reported_is_given_back_in_the_end() {
    let mut breaker = opened();
    let lost = breaker.plan(CLUSTER, at(1800));
    let end = at(1800).after(limits::BREAKER_PROBE_LOST);
    assert!(breaker.plan(CLUSTER, at(1801)).use_spdy);
    assert!(breaker.plan(CLUSTER, end).probe);
    breaker.report(CLUSTER, lost.attempt, Outcome::Success, end);
    assert_eq!(breaker.state(CLUSTER, end), BreakerState::HalfOpen);
    assert!(
        limits::BREAKER_PROBE_LOST > limits::DIALS_TIMEOUT,
        "a slow probe is not a lost one"
    );
}

#[test]
fn results_of_attempts_begun_before_the_last_change_of_state_are_ignored() {
    let mut breaker = Breaker::new();
    let early: Vec<Plan> = (0..6).map(|_| breaker.plan(CLUSTER, at(0))).collect();
    for plan in &early[..3] {
        breaker.report(CLUSTER, plan.attempt, Outcome::Failure, at(10));
    }
    assert_eq!(breaker.state(CLUSTER, at(10)), BreakerState::Open);
    breaker.report(CLUSTER, early[3].attempt, Outcome::Success, at(11));
    assert_eq!(breaker.state(CLUSTER, at(11)), BreakerState::Open);
    let probe = breaker.plan(CLUSTER, at(1810));
    breaker.report(CLUSTER, early[4].attempt, Outcome::Success, at(1811));
    breaker.report(CLUSTER, early[4].attempt, Outcome::Failure, at(1811));
    assert_eq!(breaker.state(CLUSTER, at(1811)), BreakerState::HalfOpen);
    breaker.report(CLUSTER, probe.attempt, Outcome::Success, at(1812));
    for _ in 0..3 {
        breaker.report(CLUSTER, early[5].attempt, Outcome::Failure, at(1813));
    }
    assert_eq!(breaker.state(CLUSTER, at(1813)), BreakerState::Closed);
}

#[test]
fn clusters_do_not_pin_each_other() {
    let mut breaker = opened();
    assert!(!breaker.plan("dev", at(1)).use_spdy);
    let other = breaker.plan("dev", at(1)).attempt;
    breaker.report(CLUSTER, other, Outcome::Success, at(1));
    assert_eq!(breaker.state(CLUSTER, at(1)), BreakerState::Open);
    assert_eq!(breaker.state("never seen", at(1)), BreakerState::Closed);
}

#[test]
fn the_table_of_clusters_is_bounded_and_forgets_only_what_is_in_order() {
    let mut breaker = opened();
    for cluster in 0..2 * limits::BREAKER_CLUSTERS_MAX {
        let name = cluster.to_string();
        let plan = breaker.plan(&name, at(1));
        breaker.report(&name, plan.attempt, Outcome::Success, at(1));
    }
    assert_eq!(breaker.circuits.len(), limits::BREAKER_CLUSTERS_MAX);
    assert_eq!(breaker.state(CLUSTER, at(1)), BreakerState::Open);
    // Filled with clusters that have something to remember, it plans one more as if closed.
    let mut breaker = Breaker::new();
    for cluster in 0..limits::BREAKER_CLUSTERS_MAX {
        let name = cluster.to_string();
        let plan = breaker.plan(&name, at(1));
        breaker.report(&name, plan.attempt, Outcome::Failure, at(1));
    }
    for _ in 0..5 {
        assert!(!attempt(&mut breaker, Outcome::Failure, at(2)).use_spdy);
    }
    assert_eq!(breaker.circuits.len(), limits::BREAKER_CLUSTERS_MAX);
}

#[test]
fn a_forgotten_clusters_old_attempts_say_nothing_about_its_new_entry() {
    let mut breaker = Breaker::new();
    let old = breaker.plan(CLUSTER, at(0));
    breaker.circuits.clear();
    breaker.plan(CLUSTER, at(0));
    for _ in 0..3 {
        breaker.report(CLUSTER, old.attempt, Outcome::Failure, at(0));
    }
    assert_eq!(breaker.state(CLUSTER, at(0)), BreakerState::Closed);
}

#[test]
fn states_have_the_names_of_the_log_lines() {
    let names = [
        BreakerState::Closed,
        BreakerState::Open,
        BreakerState::HalfOpen,
    ]
    .map(BreakerState::as_str);
    assert_eq!(names, ["closed", "open", "half_open"]);
}

/// The rules once more, kept as a history: what was planned and what was reported, in order, and
/// everything else computed from it each time.
#[derive(Default)]
struct Model {
    history: Vec<Step>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Planned {
        at: u64,
    },
    Reported {
        planned: usize,
        outcome: Outcome,
        at: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Closed { failures: u32 },
    Pinned { since: u64 },
    Probing { probe: Option<usize> },
}

impl Model {
    /// The mode at `now`, and the index in the history at which it began.
    fn mode(&self, now: u64) -> (Mode, usize) {
        let (mut mode, mut began) = (Mode::Closed { failures: 0 }, 0);
        let thirty_minutes = 1800;
        for (index, step) in self.history.iter().enumerate() {
            match *step {
                Step::Planned { at } => {
                    if matches!(mode, Mode::Pinned { since } if at >= since + thirty_minutes) {
                        (mode, began) = (Mode::Probing { probe: None }, index);
                    }
                    if let Mode::Probing { probe } = &mut mode {
                        let lost = |probe: usize| matches!(self.history[probe], Step::Planned { at: then } if at >= then + 60);
                        if probe.is_none_or(lost) {
                            *probe = Some(index);
                        }
                    }
                }
                Step::Reported { planned, .. } if planned < began => {}
                Step::Reported {
                    planned,
                    outcome,
                    at,
                } => match (mode, outcome) {
                    (Mode::Closed { .. }, Outcome::Success) => mode = Mode::Closed { failures: 0 },
                    (Mode::Closed { failures: 2 }, Outcome::Failure) => {
                        (mode, began) = (Mode::Pinned { since: at }, index);
                    }
                    (Mode::Closed { failures }, Outcome::Failure) => {
                        mode = Mode::Closed {
                            failures: failures + 1,
                        };
                    }
                    (Mode::Probing { probe }, _) if probe == Some(planned) => match outcome {
                        Outcome::Success => (mode, began) = (Mode::Closed { failures: 0 }, index),
                        Outcome::Failure => (mode, began) = (Mode::Pinned { since: at }, index),
                        Outcome::NoVerdict => mode = Mode::Probing { probe: None },
                    },
                    _ => {}
                },
            }
        }
        if matches!(mode, Mode::Pinned { since } if now >= since + thirty_minutes) {
            mode = Mode::Probing { probe: None };
        }
        (mode, began)
    }

    fn state(&self, now: u64) -> BreakerState {
        match self.mode(now).0 {
            Mode::Closed { .. } => BreakerState::Closed,
            Mode::Pinned { .. } => BreakerState::Open,
            Mode::Probing { .. } => BreakerState::HalfOpen,
        }
    }
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    // Failures weigh most, or three in a row would be rare.
    prop_oneof![
        1 => Just(Outcome::Success),
        4 => Just(Outcome::Failure),
        1 => Just(Outcome::NoVerdict),
    ]
}

#[derive(Clone, Debug)]
enum Operation {
    Plan,
    Report(prop::sample::Index, Outcome),
    ReportLast(Outcome),
    Wait(u64),
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let operation = prop_oneof![
        4 => Just(Operation::Plan),
        2 => (any::<prop::sample::Index>(), outcomes()).prop_map(|(index, outcome)| Operation::Report(index, outcome)),
        4 => outcomes().prop_map(Operation::ReportLast),
        1 => (0_u64..70).prop_map(Operation::Wait),
        1 => (1700_u64..1900).prop_map(Operation::Wait),
    ];
    prop::collection::vec(operation, 1..120)
}

proptest! {
    #[test]
    fn the_breaker_does_what_the_history_says(operations in operations()) {
        let (mut breaker, mut model, mut now) = (Breaker::new(), Model::default(), 0);
        let mut planned: Vec<(usize, Plan)> = Vec::new();
        for operation in operations {
            match operation {
                Operation::Wait(seconds) => now += seconds,
                Operation::Plan => {
                    let plan = breaker.plan(CLUSTER, at(now));
                    let index = model.history.len();
                    model.history.push(Step::Planned { at: now });
                    let mode = model.mode(now).0;
                    let is_probe = mode == Mode::Probing { probe: Some(index) };
                    let is_closed = matches!(mode, Mode::Closed { .. });
                    prop_assert_eq!((plan.use_spdy, plan.probe), (!is_probe && !is_closed, is_probe));
                    planned.push((index, plan));
                }
                Operation::Report(..) | Operation::ReportLast(_) if planned.is_empty() => {}
                Operation::Report(..) | Operation::ReportLast(_) => {
                    let ((index, plan), outcome) = match operation {
                        Operation::Report(which, outcome) => (*which.get(&planned), outcome),
                        Operation::ReportLast(outcome) => (planned[planned.len() - 1], outcome),
                        Operation::Plan | Operation::Wait(_) => unreachable!(),
                    };
                    breaker.report(CLUSTER, plan.attempt, outcome, at(now));
                    model.history.push(Step::Reported { planned: index, outcome, at: now });
                }
            }
            prop_assert_eq!(breaker.state(CLUSTER, at(now)), model.state(now));
        }
    }
}
