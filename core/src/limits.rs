//! Every bound of the core in one place: its value, its unit, and what it answers.

use core::time::Duration;

/// Bytes taken from a socket in one read. Also the size of one run of payload. Both legs' buffers,
/// queues and outboxes together stay below 1 MiB a session.
pub const READ_BYTES_MAX: usize = 32 * 1024;

/// HTTP head of a handshake, request or response. Go's apiserver accepts 1 MiB; no real answer
/// comes near 64 KiB, and a peer must not make us hold more before it has said anything useful.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Header fields in one HTTP head: bounds the parser's table (10,000 fields are an attack).
pub const HEADER_FIELDS_MAX: usize = 100;

/// Interim (1xx) answers before the final one. Real servers send none or one.
pub const INTERIM_ANSWERS_MAX: usize = 5;

/// One chunk-size line of a chunked answer, extensions included. Real ones have under 10 bytes.
pub const CHUNK_LINE_BYTES_MAX: usize = 256;

/// Body of a refused handshake that is kept to find a Status in it.
pub const REFUSAL_BODY_BYTES_MAX: usize = 64 * 1024;

/// One message from the browser (larger is close code 1009, `docs/wire-protocol.md`).
pub const BROWSER_MESSAGE_BYTES_MAX: u64 = 1024 * 1024;

/// One control message (text) from the browser; larger is dropped and counted.
pub const BROWSER_TEXT_BYTES_MAX: usize = 16 * 1024;

/// One message from the apiserver. The Go server itself accepts 32 MiB; payload is streamed, so
/// this bounds nothing in memory and only catches a peer that lies about its lengths.
pub const API_MESSAGE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// WebSocket payload up to this size is copied behind its frame header; above it a second chunk in
/// the same vectored write costs less than the copy.
pub const WS_COPY_BYTES_MAX: usize = 1024;

/// Bytes a caller may put before a WebSocket payload (a channel number, a sequence number).
pub const WS_PREFIX_BYTES_MAX: usize = 8;

/// The Status on the error channel. Real ones are below 4 KiB plus a command line.
pub const STATUS_BYTES_MAX: usize = 64 * 1024;

/// Resize object a server half assembles.
pub const RESIZE_BYTES_MAX: usize = 1024;

/// A base64 message a server half assembles before it can decode it.
pub const BASE64_MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Payload of one stdin message towards the apiserver (Go's buffers are 32 KiB + 1).
pub const STDIN_MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// stdin that waits in the gateway before the browser's socket is no longer read.
pub const STDIN_QUEUE_BYTES_MAX: usize = 64 * 1024;

/// Output that waits in the gateway before reading from the apiserver pauses.
pub const OUTPUT_QUEUE_BYTES_HIGH: usize = 768 * 1024;

/// Reading from the apiserver goes on once this little output waits.
pub const OUTPUT_QUEUE_BYTES_LOW: usize = 512 * 1024;

/// Framed output handed to the browser's socket at a time; the rest waits unframed, so that
/// warnings can overtake it and a closed acknowledgement window holds it back.
pub const BROWSER_OUTBOX_BYTES_MAX: usize = 32 * 1024;

/// Stdin that has gone on before a browser that wants to know is told, a quarter of its queue: its
/// sender never waits for a queue that is nearly empty.
pub const STDIN_ACK_STEP_BYTES: u64 = 16 * 1024;

/// Framed stdin handed to the apiserver's socket at a time; the rest waits unframed in its queue.
pub const API_OUTBOX_BYTES_MAX: usize = 16 * 1024;

/// Output sent and not yet acknowledged with `flow=ack` (`docs/wire-protocol.md`).
pub const ACK_WINDOW_BYTES: u64 = 256 * 1024;

/// SPDY control frame payload we accept. The draft asks for at least 8 KiB.
pub const SPDY_CONTROL_BYTES_MAX: usize = 64 * 1024;

/// Decompressed SPDY header block: stops a deflate bomb.
pub const SPDY_HEADER_BLOCK_BYTES_MAX: usize = 16 * 1024;

/// Header pairs in one SPDY block.
pub const SPDY_HEADERS_MAX: usize = 64;

/// Streams a SPDY server half lets a peer open on one connection (exec needs five).
pub const SPDY_STREAMS_MAX: usize = 16;

/// Output read for a container runtime's "cannot start the command" when that came as an exit code.
pub const NO_SHELL_OUTPUT_BYTES_MAX: usize = 4 * 1024;

/// A DNS-1123 label: namespaces and containers (RFC 1123 §2.1).
pub const LABEL_BYTES_MAX: usize = 63;

/// A DNS-1123 subdomain: pods (RFC 1123 §2.1).
pub const SUBDOMAIN_BYTES_MAX: usize = 253;

/// A cluster's name in the registry.
pub const CLUSTER_NAME_BYTES_MAX: usize = 100;

/// A caller's command as JSON. Percent-encoded three bytes for one it still fits an HTTP head of ours.
pub const COMMAND_BYTES_MAX: usize = 16 * 1024;

/// Arguments of a caller's command; each becomes a query pair of its own.
pub const COMMAND_ARGUMENTS_MAX: usize = 256;

/// WebSocket failures in a row that open a cluster's breaker (operator guide §4).
pub const BREAKER_FAILURES: u32 = 3;

/// How long an open breaker pins its cluster to SPDY (operator guide §4).
pub const BREAKER_OPEN: Duration = Duration::from_mins(30);

/// A probe whose outcome was not reported by then is given back. Longer than all dials of a session
/// together, so only a host that lost the attempt gets here.
pub const BREAKER_PROBE_LOST: Duration = Duration::from_mins(1);

/// Clusters whose breakers are remembered. Registries have tens; names only the host chooses.
pub const BREAKER_CLUSTERS_MAX: usize = 4096;

/// The window of the rate limit: "per minute".
pub const RATE_WINDOW: Duration = Duration::from_mins(1);

/// Subjects whose opens of the last minute are remembered.
pub const RATE_SUBJECTS_MAX: usize = 65_536;

/// Answers (pings echoed, streams refused) one SPDY connection keeps for a socket that takes
/// nothing: a peer that floods us with pings and does not read gets no more than these.
pub const SPDY_REPLIES_MAX: usize = 64;

/// One dial, from its `Ask` to the 101 (WebSocket) or the last `SYN_REPLY` (SPDY).
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// All dials of one session together.
pub const DIALS_TIMEOUT: Duration = Duration::from_secs(25);

/// Quiet time after a v5 101 that counts as *up*: the translator answers before it has reached the kubelet.
pub const UP_AFTER_V5: Duration = Duration::from_millis(500);

/// Quiet time after a v4 101 or the last `SYN_REPLY` that counts as *up*.
pub const UP_AFTER_OTHER: Duration = Duration::from_millis(300);

/// A ping is lost when this long after it was written nothing moved.
pub const HEARTBEAT_VERDICT: Duration = Duration::from_secs(10);

/// Bytes wait and the browser's socket takes none for this long: stalled.
pub const STALL_TIMEOUT: Duration = Duration::from_mins(1);

/// How long queued output may still go out on an end other than the process's own.
pub const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the peer's Close is awaited after ours.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The apiserver silent this long with a keepalive unanswered: look whether the pod still exists.
pub const POD_CHECK_SILENCE: Duration = Duration::from_mins(1);

/// Reading paused within this long before a v5 end makes `truncated` unknown.
pub const TRUNCATION_DOUBT: Duration = Duration::from_secs(10);

/// How long a host may take to answer an `Ask` that has no shorter deadline of its own.
pub const ASK_TIMEOUT: Duration = Duration::from_secs(15);

/// How long after the status the rest of the output may still arrive, from its last byte on.
pub const STATUS_LINGER: Duration = Duration::from_secs(2);

/// How long the host may look for the pod after the apiserver left without a status.
pub const POD_ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// The browser's request head on a session that reads it itself.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes asked of a socket that was quiet; a read that fills its buffer doubles the next one.
pub const READ_BYTES_FIRST: usize = 4 * 1024;

/// Chunks lent to one vectored write.
pub const WRITE_CHUNKS_MAX: usize = 16;

/// Plaintext TLS takes in one write and holds as ciphertext until the socket took it: one record,
/// so that what counts as written is not far from what is.
pub const TLS_WRITE_BYTES_MAX: usize = 16 * 1024;

/// Turns a driver takes before it yields, so that one session cannot starve the others.
pub const DRIVE_TURNS_MAX: usize = 64;
