//! The conformance suite: what a gateway must do on *any* runtime, written once.
//!
//! A runtime brings sockets, a clock and `block_on` ([`Runtime`]) and calls
//! [`tests!`](crate::tests), which makes one `#[test]` of each scenario. The gateway in the
//! middle is the driver that ships, over real sockets on loopback:
//!
//! ```text
//! browser (thread) ⇄ TCP ⇄ R::Socket · Driver · R::Socket or Tls over it ⇄ TCP ⇄ apiserver (thread)
//! ```
//!
//! The peers are blocking threads over `std::net`, made of core's machines in the opposite role,
//! so they behave the same whatever runtime is judged. In [`independent`] the browser is
//! async-tungstenite instead, so that our WebSocket is not its own judge.
//!
//! No scenario sleeps: peers wait for bytes, and the gateway tells them when it is full.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "this crate is test code: a panic is a finding"
)]

pub mod apiserver;
pub mod browser;
pub mod certificates;
pub mod clock;
pub mod close;
pub mod entrance;
pub mod fallback;
pub mod half_close;
pub mod idle;
pub mod independent;
pub mod pattern;
pub mod relay;
pub mod reset;
pub mod slow_reader;
pub mod stage;
pub mod tls;

use std::io;
use std::net::{SocketAddr, TcpStream};

use futures_util::io::{AsyncRead, AsyncWrite};
use periscope_core::drive::{Driver, Turn};
use periscope_core::transport::{Clock, Transport};

/// What a runtime brings to be judged.
pub trait Runtime {
    /// Its socket as the driver takes it.
    type Socket: Transport;
    /// Its clock.
    type Clock: Clock;
    /// Its socket as async-tungstenite takes it.
    type Stream: AsyncRead + AsyncWrite + Unpin;

    /// Runs a future to its end on this thread.
    fn block_on<F: Future>(future: F) -> F::Output;

    /// A clock; called inside [`Self::block_on`].
    fn clock() -> Self::Clock;

    /// Opens a connection; called inside [`Self::block_on`].
    fn connect(address: SocketAddr) -> impl Future<Output = io::Result<Self::Socket>>;

    /// Takes over an accepted, non-blocking connection; called inside [`Self::block_on`].
    fn accept(stream: TcpStream) -> io::Result<Self::Socket>;

    /// The same for async-tungstenite.
    fn stream(stream: TcpStream) -> io::Result<Self::Stream>;

    /// The adapter's own way to wait for a driver.
    fn next<B: Transport, A: Transport, C: Clock>(
        driver: &mut Driver<B, A, C>,
    ) -> impl Future<Output = Turn>;
}

/// Makes one `#[test]` of every scenario for a [`Runtime`].
#[macro_export]
macro_rules! tests {
    ($runtime:ty) => {
        $crate::tests!(@wires $runtime, relay: [
            keys_are_echoed_over_v5,
            keys_are_echoed_over_spdy,
            keys_are_echoed_over_v4,
            a_session_accepted_elsewhere_gets_the_bytes_behind_its_handshake,
            standard_error_is_merged_without_a_terminal,
            exit_codes_arrive,
            input_ends_with_eof,
            megabytes_go_both_ways_unharmed_over_v5,
            megabytes_go_both_ways_unharmed_over_spdy,
        ]);
        $crate::tests!(@plain $runtime, entrance: [
            a_refused_browser_reads_why,
            a_broken_request_is_answered_with_400,
        ]);
        $crate::tests!(@plain $runtime, fallback: [
            a_bare_403_leads_to_spdy,
            a_second_bare_403_leads_to_v4,
            an_end_of_file_instead_of_an_answer_leads_to_spdy,
            a_refused_connection_is_unreachable,
        ]);
        $crate::tests!(@plain $runtime, half_close: [
            eof_ends_standard_input_on_v5,
            eof_ends_standard_input_on_spdy,
            eof_cannot_be_said_on_v4,
            eof_is_a_key_on_a_terminal,
        ]);
        $crate::tests!(@plain $runtime, idle: [
            silence_warns_and_then_ends,
            a_key_clears_the_warning,
        ]);
        $crate::tests!(@plain $runtime, slow_reader: [
            a_flood_nobody_reads_is_held_in_bounds_and_arrives_complete,
            input_nobody_takes_is_held_in_bounds_and_arrives_complete,
            floods_in_both_directions_stay_within_the_budget,
            floods_in_both_directions_stay_within_the_budget_over_tls,
            an_unacknowledged_window_holds_output_back,
        ]);
        $crate::tests!(@wires $runtime, reset: [
            an_apiserver_that_resets_is_a_transport_error,
            a_pod_that_is_gone_is_said_to_be_gone,
            a_status_before_the_reset_wins,
            a_browser_that_resets_is_gone,
        ]);
        $crate::tests!(@plain $runtime, tls: [
            a_certificate_of_another_authority_is_unreachable,
            a_wrong_certificate_is_found_though_the_peer_stays_silent,
            an_end_of_file_inside_the_handshake_is_unreachable,
            an_end_of_file_without_close_notify_is_an_end_of_file,
            tls_1_2_without_tickets_needs_no_second_push,
            tls_1_3_without_tickets_needs_no_second_push,
        ]);
        $crate::tests!(@wires $runtime, close: [
            the_browsers_close_is_answered_and_the_socket_ended_in_order,
            the_process_s_end_closes_in_order,
            a_browser_that_never_answers_close_is_cut_off,
            a_close_message_is_the_users,
            an_order_ends_the_session,
        ]);
        $crate::tests!(@plain $runtime, independent: [
            keys_are_echoed,
            large_messages_come_back,
            the_browsers_close_is_answered,
            the_process_s_end_is_told,
            pings_are_answered,
        ]);
        $crate::tests!(@plain $runtime, clock: [
            a_deadline_in_the_past_is_ready_every_time,
            a_later_call_replaces_the_deadline,
            a_clock_never_fires_early,
        ]);
    };
    (@plain $runtime:ty, $module:ident: [$($name:ident),* $(,)?]) => {
        mod $module {
            use super::*;
            $(#[test] fn $name() { $crate::$module::$name::<$runtime>(); })*
        }
    };
    (@wires $runtime:ty, $module:ident: [$($name:ident),* $(,)?]) => {
        mod $module {
            use super::*;
            mod over_tcp {
                use super::*;
                $(#[test] fn $name() {
                    $crate::$module::$name::<$runtime>($crate::stage::Wire::Tcp);
                })*
            }
            mod over_tls {
                use super::*;
                $(#[test] fn $name() {
                    $crate::$module::$name::<$runtime>($crate::stage::Wire::Tls);
                })*
            }
        }
    };
}
