//! A side that does not read never makes the gateway hold more than its bounds, and loses nothing.

use std::sync::mpsc::{Receiver, Sender, channel};

use periscope_core::channel::Stream;
use periscope_core::limits::{
    ACK_WINDOW_BYTES, API_OUTBOX_BYTES_MAX, OUTPUT_QUEUE_BYTES_HIGH, READ_BYTES_MAX,
    STDIN_MESSAGE_BYTES_MAX, STDIN_QUEUE_BYTES_MAX,
};
use periscope_core::session::{Leg, Order, Transport};

use crate::apiserver::Exec;
use crate::browser::{Browser, Message};
use crate::stage::{Glance, PATIENCE, Setup, Wire};
use crate::{Runtime, pattern};

/// More than any kernel's socket buffers on both connections and the gateway's queue together.
const FLOOD: usize = 24 * 1024 * 1024;

/// What is known of the whole budget: 1 MiB per session for data in flight.
const BUDGET: usize = 1024 * 1024;

/// Frame heads in the two outboxes.
const HEADS: usize = 1024;

/// Tells the peers once the gateway reads no more from a leg.
#[derive(Debug, Default)]
pub struct Fullness {
    /// Told when the apiserver is no longer read.
    pub output: Option<Sender<()>>,
    /// Told when the browser is no longer read.
    pub input: Option<Sender<()>>,
    /// The most that was ever held.
    pub peak: usize,
}

impl Fullness {
    /// To be called between turns.
    pub fn look(&mut self, glance: &Glance<'_>) -> Option<Order> {
        self.peak = self.peak.max(glance.held);
        if glance.session.is_up() {
            if !glance.session.wants_read(Leg::Api) {
                tell(&mut self.output);
            }
            if !glance.session.wants_read(Leg::Browser) {
                tell(&mut self.input);
            }
        }
        None
    }
}

fn tell(sender: &mut Option<Sender<()>>) {
    if let Some(sender) = sender.take() {
        // The peer may have failed already; its own panic says why.
        let _ = sender.send(());
    }
}

fn wait(full: &Receiver<()>) {
    full.recv_timeout(PATIENCE)
        .expect("the gateway never became full");
}

fn flood(exec: &mut Exec) {
    for position in (0..FLOOD).step_by(FLOOD / 512) {
        exec.output(Stream::Stdout, &pattern::run(position, FLOOD / 512));
    }
}

/// Reads the flood, and fails at the first wrong byte.
fn drink(browser: &mut Browser) {
    let mut position = 0;
    while position < FLOOD {
        match browser.message() {
            Message::Output(payload) => {
                pattern::check(position, &payload);
                position += payload.len();
            }
            Message::Text(text) if text["type"] == "hello" => {}
            other => panic!("output was expected, {other:?} came"),
        }
    }
}

/// The apiserver waits, not the gateway's memory; afterwards everything arrives.
pub fn a_flood_nobody_reads_is_held_in_bounds_and_arrives_complete<R: Runtime>() {
    for transport in [Transport::WebSocketV5, Transport::Spdy] {
        let setup = Setup::new(Wire::Tcp).with(|config| config.first = transport);
        let (full, is_full) = channel();
        let mut fullness = Fullness {
            output: Some(full),
            input: None,
            peak: 0,
        };
        let (rest, report) = setup.play_watched::<R, _>(
            |server| {
                let mut exec = server.exec();
                flood(&mut exec);
                exec.exit(0);
            },
            move |mut browser| {
                wait(&is_full);
                drink(&mut browser);
                browser.rest()
            },
            Some(&mut |glance| fullness.look(glance)),
        );
        assert_eq!(rest.detail(), "process_exit", "{transport:?}");
        assert_eq!(report.summary().bytes_stdout, FLOOD as u64);
        let bound = OUTPUT_QUEUE_BYTES_HIGH + READ_BYTES_MAX + HEADS;
        let peak = fullness.peak;
        assert!(peak >= OUTPUT_QUEUE_BYTES_HIGH, "never full: {peak}");
        assert!(peak <= bound, "{transport:?}: {peak} bytes were held");
    }
}

/// The same upwards: a process that does not read its input.
pub fn input_nobody_takes_is_held_in_bounds_and_arrives_complete<R: Runtime>() {
    for transport in [Transport::WebSocketV5, Transport::Spdy] {
        let setup = Setup::new(Wire::Tcp).with(|config| config.first = transport);
        let (full, is_full) = channel();
        let mut fullness = Fullness {
            output: None,
            input: Some(full),
            peak: 0,
        };
        let (rest, report) = setup.play_watched::<R, _>(
            move |server| {
                let mut exec = server.exec();
                exec.output(Stream::Stdout, b"$");
                wait(&is_full);
                let mut position = 0;
                while let Some(payload) = exec.stdin() {
                    pattern::check(position, &payload);
                    position += payload.len();
                }
                assert_eq!(position, FLOOD);
                exec.exit(0);
            },
            |mut browser| {
                browser.text("hello");
                type_flood(&mut browser);
                browser.control(r#"{"type":"eof"}"#);
                browser.rest()
            },
            Some(&mut |glance| fullness.look(glance)),
        );
        assert_eq!(rest.detail(), "process_exit", "{transport:?}");
        assert_eq!(report.summary().bytes_stdin, FLOOD as u64);
        let bound = STDIN_QUEUE_BYTES_MAX
            + API_OUTBOX_BYTES_MAX
            + STDIN_MESSAGE_BYTES_MAX
            + READ_BYTES_MAX
            + HEADS;
        let peak = fullness.peak;
        assert!(peak <= bound, "{transport:?}: {peak} bytes were held");
    }
}

fn type_flood(browser: &mut Browser) {
    for position in (0..FLOOD).step_by(FLOOD / 256) {
        browser.send(&pattern::run(position, FLOOD / 256));
    }
}

/// Nobody reads, everybody writes: the whole budget at once.
pub fn floods_in_both_directions_stay_within_the_budget<R: Runtime>() {
    both_directions::<R>(Wire::Tcp);
}

/// The same with TLS in between.
pub fn floods_in_both_directions_stay_within_the_budget_over_tls<R: Runtime>() {
    both_directions::<R>(Wire::Tls);
}

fn both_directions<R: Runtime>(wire: Wire) {
    let (output_full, output_is_full) = channel();
    let (input_full, input_is_full) = channel();
    let mut fullness = Fullness {
        output: Some(output_full),
        input: Some(input_full),
        peak: 0,
    };
    let ((), report) = Setup::new(wire).play_watched::<R, _>(
        move |server| {
            let mut exec = server.exec();
            flood(&mut exec);
            // The flood could only leave once the browser began to read, see below.
            while exec.stdin().is_some() {}
            exec.exit(0);
        },
        move |mut browser| {
            let mut typist = browser.typist();
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    type_flood(&mut typist);
                    typist.control(r#"{"type":"eof"}"#);
                });
                wait(&output_is_full);
                wait(&input_is_full);
                drink(&mut browser);
                assert_eq!(browser.rest().detail(), "process_exit");
            });
        },
        Some(&mut |glance| fullness.look(glance)),
    );
    assert_eq!(report.summary().bytes_stdin, FLOOD as u64);
    assert_eq!(report.summary().bytes_stdout, FLOOD as u64);
    let peak = fullness.peak;
    assert!(peak <= BUDGET, "{peak} bytes were held");
}

/// With `flow=ack` output stops at the window and goes on with the next acknowledgement.
pub fn an_unacknowledged_window_holds_output_back<R: Runtime>() {
    const WINDOW: usize = 256 * 1024;
    assert_eq!(ACK_WINDOW_BYTES, WINDOW as u64);
    let setup = Setup::new(Wire::Tcp).with(|config| config.flow_ack = true);
    let (full, is_full) = channel();
    let mut fullness = Fullness {
        output: Some(full),
        input: None,
        peak: 0,
    };
    let (rest, _) = setup.play_watched::<R, _>(
        |server| {
            let mut exec = server.exec();
            exec.output(Stream::Stdout, &pattern::run(0, 4 * WINDOW + 5));
            exec.exit(0);
        },
        move |mut browser| {
            assert_eq!(browser.text("hello")["flow"], "ack");
            pattern::check(0, &browser.output(WINDOW));
            // The queue is full and the window closed: what comes next is an answer, not output.
            wait(&is_full);
            browser.control(r#"{"type":"ack","bytes":0}"#);
            browser.ping_pong();
            for round in 1..4 {
                let acked = round * WINDOW;
                browser.control(&format!(r#"{{"type":"ack","bytes":{acked}}}"#));
                pattern::check(acked, &browser.output(WINDOW));
                browser.ping_pong();
            }
            browser.control(&format!(r#"{{"type":"ack","bytes":{}}}"#, 4 * WINDOW));
            browser.rest()
        },
        Some(&mut |glance| fullness.look(glance)),
    );
    assert_eq!(rest.output.len(), 5);
    assert_eq!(rest.detail(), "process_exit");
}
