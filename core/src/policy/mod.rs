//! Who may open a session now, and over which transport to try: caps, rate and breaker.
//!
//! Pure: the host passes `now`, keeps the [`Gate`] behind one lock and asks it in admission and
//! before each dial. Nothing here knows of HTTP or of sessions; a session is whatever the host
//! wants to list (`D`).

pub mod breaker;
pub mod caps;
pub mod gate;
pub mod rate;

pub use self::breaker::{AttemptId, Breaker, BreakerState, Outcome, Plan};
pub use self::caps::{CapHit, CapLimits, Caps, Permit};
pub use self::gate::{Denial, Gate, Open};
pub use self::rate::{Rate, RetryAfter};
