//! The text messages between browser and gateway: JSON objects with a string `type`.

use serde::{Deserialize, Serialize};

use crate::code::{CloseDetail, ErrorCode};

/// A control message of the browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Total payload bytes consumed since `hello`.
    Ack {
        /// The running total.
        bytes: u64,
    },
    /// End the session.
    Close {
        /// True when the tab was hidden and silent too long, false when the user asked.
        hidden: bool,
    },
    /// No more stdin will come.
    Eof,
    /// The terminal has a new size.
    Resize {
        /// Columns, at least 1.
        cols: u16,
        /// Rows, at least 1.
        rows: u16,
    },
}

impl Control {
    /// Reads one message. `None`: unknown type, bad JSON or missing fields; to be dropped.
    pub fn decode(text: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        #[serde(tag = "type", rename_all = "lowercase")]
        enum Wire {
            Ack { bytes: u64 },
            Close { reason: Option<String> },
            Eof,
            Resize { cols: u64, rows: u64 },
        }
        match serde_json::from_slice(text).ok()? {
            Wire::Ack { bytes } => Some(Self::Ack { bytes }),
            Wire::Close { reason } => Some(Self::Close {
                hidden: reason.as_deref() == Some("hidden"),
            }),
            Wire::Eof => Some(Self::Eof),
            Wire::Resize { cols, rows } => {
                // The apiserver must never see a value it cannot parse: it stops reading then.
                let side = |value: u64| u16::try_from(value).unwrap_or(u16::MAX);
                (cols > 0 && rows > 0).then(|| Self::Resize {
                    cols: side(cols),
                    rows: side(rows),
                })
            }
        }
    }
}

/// A message to the browser.
#[derive(Clone, Debug, Serialize)]
#[serde(
    tag = "type",
    rename_all = "snake_case",
    rename_all_fields = "camelCase"
)]
pub enum Notice<'a> {
    /// The shell is up.
    Hello(Hello<'a>),
    /// Silence will end the session.
    IdleWarn {
        /// Rounded up.
        seconds_remaining: u64,
    },
    /// Activity returned.
    IdleClear,
    /// How much stdin went on to the apiserver since `hello`, in total.
    Ack {
        /// Bytes.
        bytes: u64,
    },
    /// The process leaves.
    Drain {
        /// Rounded up.
        seconds_remaining: u64,
    },
    /// Something went wrong; not necessarily the end.
    Error {
        /// `E_…`.
        code: &'static str,
        /// A sentence a person can act on.
        message: &'static str,
        /// Whether trying again may help.
        retryable: bool,
    },
    /// The last message.
    Closed {
        /// `client_close`, `server_idle` or `forced_close`.
        reason: &'static str,
        /// See [`CloseDetail`].
        detail: &'static str,
        /// The process's exit code where known.
        exit_code: Option<u8>,
        /// Whether output was lost; null where it cannot be known.
        truncated: Option<bool>,
    },
}

/// The facts of a running shell.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello<'a> {
    /// Also the `Audit-ID` of the apiserver's log.
    pub session_id: &'a str,
    /// The cluster's name in the registry.
    pub cluster: &'a str,
    /// Namespace of the pod.
    pub namespace: &'a str,
    /// The pod.
    pub pod: &'a str,
    /// The container; null when the apiserver chose.
    pub container: Option<&'a str>,
    /// What runs.
    pub command: &'a [String],
    /// Whether it has a terminal.
    pub tty: bool,
    /// `ws` or `spdy`.
    pub transport: &'static str,
    /// The channel protocol's name.
    pub subprotocol: &'static str,
    /// Silence that ends the session.
    pub idle_seconds: u64,
    /// Lead of the warning.
    pub idle_warn_seconds: u64,
    /// Interval of pings.
    pub heartbeat_seconds: u64,
    /// `both`, `ack` or `none`.
    pub flow: &'static str,
    /// Who the apiserver sees.
    pub identity: HelloIdentity<'a>,
}

/// The identity inside [`Hello`].
#[derive(Clone, Debug, Serialize)]
pub struct HelloIdentity<'a> {
    /// The impersonated user, or the gateway's own name.
    pub user: &'a str,
    /// The impersonated groups.
    pub groups: &'a [String],
}

impl Notice<'_> {
    /// An `error` message.
    pub const fn error(code: ErrorCode, message: &'static str, retryable: bool) -> Self {
        Self::Error {
            code: code.as_str(),
            message,
            retryable,
        }
    }

    /// The `closed` message.
    pub fn closed(detail: CloseDetail, exit_code: Option<u8>, truncated: Option<bool>) -> Self {
        Self::Closed {
            reason: detail.reason().as_str(),
            detail: detail.as_str(),
            exit_code,
            truncated,
        }
    }

    /// The message's JSON.
    pub fn encode(&self) -> Vec<u8> {
        // Only strings, numbers and booleans: nothing in it can fail to serialize.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_decode_and_tolerate_additions() {
        let decode = |text: &str| Control::decode(text.as_bytes());
        assert_eq!(
            decode(r#"{"type":"ack","bytes":7}"#),
            Some(Control::Ack { bytes: 7 })
        );
        assert_eq!(
            decode(r#"{"type":"close"}"#),
            Some(Control::Close { hidden: false })
        );
        assert_eq!(
            decode(r#"{"type":"close","reason":"hidden"}"#),
            Some(Control::Close { hidden: true })
        );
        assert_eq!(
            decode(r#"{"type":"close","reason":"user"}"#),
            Some(Control::Close { hidden: false })
        );
        assert_eq!(decode(r#"{"type":"eof","later":1}"#), Some(Control::Eof));
        assert_eq!(
            decode(r#"{"type":"resize","cols":80,"rows":70000}"#),
            Some(Control::Resize {
                cols: 80,
                rows: u16::MAX
            })
        );
    }

    #[test]
    fn what_is_not_a_control_is_dropped() {
        for text in [
            "",
            "{",
            "[]",
            r#"{"type":1}"#,
            r#"{"type":"unknown"}"#,
            r#"{"type":"ack"}"#,
            r#"{"type":"ack","bytes":-1}"#,
            r#"{"type":"resize","cols":0,"rows":24}"#,
            r#"{"type":"resize","cols":80}"#,
            r#"{"type":"resize","cols":"80","rows":24}"#,
        ] {
            assert_eq!(Control::decode(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn notices_have_the_documented_fields() {
        let text = |notice: Notice<'_>| String::from_utf8(notice.encode()).unwrap();
        assert_eq!(
            text(Notice::IdleWarn {
                seconds_remaining: 30
            }),
            r#"{"type":"idle_warn","secondsRemaining":30}"#
        );
        assert_eq!(text(Notice::IdleClear), r#"{"type":"idle_clear"}"#);
        assert_eq!(
            text(Notice::closed(
                CloseDetail::ProcessExit,
                Some(7),
                Some(false)
            )),
            r#"{"type":"closed","reason":"client_close","detail":"process_exit","exitCode":7,"truncated":false}"#
        );
        assert_eq!(
            text(Notice::error(ErrorCode::NoShell, "m", false)),
            r#"{"type":"error","code":"E_NO_SHELL","message":"m","retryable":false}"#
        );
        let hello = text(Notice::Hello(Hello {
            session_id: "id",
            cluster: "c",
            namespace: "n",
            pod: "p",
            container: None,
            command: &["sh".to_owned()],
            tty: true,
            transport: "ws",
            subprotocol: "v5.channel.k8s.io",
            idle_seconds: 600,
            idle_warn_seconds: 30,
            heartbeat_seconds: 20,
            flow: "none",
            identity: HelloIdentity {
                user: "u",
                groups: &[],
            },
        }));
        assert_eq!(
            hello,
            r#"{"type":"hello","sessionId":"id","cluster":"c","namespace":"n","pod":"p","container":null,"command":["sh"],"tty":true,"transport":"ws","subprotocol":"v5.channel.k8s.io","idleSeconds":600,"idleWarnSeconds":30,"heartbeatSeconds":20,"flow":"none","identity":{"user":"u","groups":[]}}"#
        );
    }
}
