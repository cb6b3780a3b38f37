//! Faults the sandbox's `modern` cluster can be told to have, so that every way an apiserver fails
//! can be seen on purpose. The other clusters stay sound, to compare with.

use core::fmt;
use core::str::FromStr;

/// One way for the `modern` cluster to misbehave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// The port is taken but nobody listens: connection refused.
    Unreachable,
    /// The server's certificate is signed by an authority nobody trusts.
    TlsBadCert,
    /// Connections are accepted and exec requests read, but no answer ever comes.
    Silent,
    /// WebSocket handshakes never get an answer. SPDY works.
    SilentWs,
    /// WebSocket handshakes get a 403 without headers or body, as from a server that lacks the
    /// subprotocol. SPDY works.
    RefuseWs,
    /// Every exec handshake gets a proxy's 426 page.
    RefuseAll,
    /// SPDY handshakes get a proxy's 426 page. WebSocket works.
    RefuseSpdy,
    /// WebSocket v5 is refused as by `refuse-ws`, SPDY gets a proxy's 426 page. WebSocket v4 works.
    OnlyV4,
    /// The connection ends right after a good 101.
    EofAfter101,
    /// Bytes that are neither WebSocket nor SPDY follow a good 101.
    GarbageAfter101,
    /// The connection is cut without a status: on the first byte of stdin, or where the process ends.
    NoStatus,
    /// As `no-status`, and the pod is gone from then on.
    PodGone,
    /// WebSocket v5 gets its 101, then says it could not reach the kubelet. SPDY works.
    TranslatorFail,
    /// Exec requests are answered with 401.
    Status401,
    /// Exec requests are answered with 429 and `Retry-After`.
    Status429,
    /// Exec requests are answered with 500.
    Status500,
    /// The 101 takes three seconds.
    SlowUp,
    /// Nobody but the token's owner may `create` `pods/exec`; `get` is as always.
    ForbiddenCreate,
    /// The token's owner may not impersonate anybody.
    CannotImpersonate,
}

/// A name that is no fault's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no fault {name:?}; the faults are {}", names())]
pub struct UnknownFault {
    name: String,
}

fn names() -> String {
    let names: Vec<&str> = Fault::ALL.iter().map(|fault| fault.as_str()).collect();
    names.join(", ")
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 19] = [
        Self::Unreachable,
        Self::TlsBadCert,
        Self::Silent,
        Self::SilentWs,
        Self::RefuseWs,
        Self::RefuseAll,
        Self::RefuseSpdy,
        Self::OnlyV4,
        Self::EofAfter101,
        Self::GarbageAfter101,
        Self::NoStatus,
        Self::PodGone,
        Self::TranslatorFail,
        Self::Status401,
        Self::Status429,
        Self::Status500,
        Self::SlowUp,
        Self::ForbiddenCreate,
        Self::CannotImpersonate,
    ];

    /// The name on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::TlsBadCert => "tls-bad-cert",
            Self::Silent => "silent",
            Self::SilentWs => "silent-ws",
            Self::RefuseWs => "refuse-ws",
            Self::RefuseAll => "refuse-all",
            Self::RefuseSpdy => "refuse-spdy",
            Self::OnlyV4 => "only-v4",
            Self::EofAfter101 => "eof-after-101",
            Self::GarbageAfter101 => "garbage-after-101",
            Self::NoStatus => "no-status",
            Self::PodGone => "pod-gone",
            Self::TranslatorFail => "translator-fail",
            Self::Status401 => "status-401",
            Self::Status429 => "status-429",
            Self::Status500 => "status-500",
            Self::SlowUp => "slow-up",
            Self::ForbiddenCreate => "forbidden-create",
            Self::CannotImpersonate => "cannot-impersonate",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(name: &str) -> Result<Self, UnknownFault> {
        let found = Self::ALL.into_iter().find(|fault| fault.as_str() == name);
        found.ok_or_else(|| UnknownFault {
            name: name.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_found_by_its_own_name() {
        for fault in Fault::ALL {
            assert_eq!(fault.as_str().parse(), Ok(fault));
        }
    }

    #[test]
    fn an_unknown_fault_is_refused_with_the_list_of_names() {
        let error = "refuse".parse::<Fault>().unwrap_err().to_string();
        assert!(
            error.contains("\"refuse\"") && error.contains("refuse-ws"),
            "{error}"
        );
    }
}
