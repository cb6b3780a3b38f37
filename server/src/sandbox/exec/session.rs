//! One exec after its 101: the client's frames on one side, a process on the other.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use periscope_core::channel::{Stream, Subprotocol};
use periscope_core::leg::exec_server::{Ending, Event, ExecServer, Streams};
use periscope_core::limits::READ_BYTES_MAX;
use periscope_core::outbox::Outbox;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use uuid::Uuid;

use super::super::cluster::Cluster;
use super::super::fault::Fault;
use super::super::pods::Nature;
use super::super::process::{Exit, Process, Source, SpawnError};
use super::{Plan, Transport};

/// Encoded output that may wait for the socket before the process is no longer read.
const OUT_BYTES_HIGH: usize = 256 * 1024;

/// Encoded bytes that may wait before the client is no longer read: it makes us answer pings.
const OUT_BYTES_MAX: usize = 2 * OUT_BYTES_HIGH;

/// Chunks given to the socket in one write.
const SLICES_MAX: usize = 16;

/// How long a client may leave its end open after ours is closed.
const LINGER: Duration = Duration::from_mins(1);

/// How long a client may take to read what waits when the exec has ended.
const SEND_TIMEOUT: Duration = Duration::from_mins(10);

/// stdin that may arrive before the process has been started.
const EARLY_STDIN_BYTES_MAX: usize = 64 * 1024;

/// A connection, and the bytes that wait on either side of it.
#[derive(Debug)]
pub(in super::super) struct Wire<S> {
    reader: ReadHalf<S>,
    writer: WriteHalf<S>,
    input: BytesMut,
    out: Outbox,
    /// TLS may hold back what it has taken.
    needs_flush: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// A connection with bytes already read and bytes still to send.
    pub(in super::super) fn new(stream: S, input: BytesMut, out: Outbox) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self {
            reader,
            writer,
            input,
            out,
            needs_flush: false,
        }
    }

    /// Sends what waits, closes our end, and reads on: closing while the client still sends would
    /// reset the connection, and the reset may overtake the tail of what was sent.
    pub(super) async fn finish(mut self) {
        let sent = async {
            while !self.out.is_empty() || self.needs_flush {
                write_some(&mut self.writer, &mut self.out, &mut self.needs_flush).await?;
            }
            self.writer.shutdown().await
        };
        // Reading meanwhile, since a client may only read on once it has written.
        let mut rest = BytesMut::new();
        let mut discarded = core::pin::pin!(discard(&mut self.reader, &mut rest));
        let mut sent = core::pin::pin!(tokio::time::timeout(SEND_TIMEOUT, sent));
        let mut is_gone = false;
        let sent = loop {
            tokio::select! {
                sent = &mut sent => break sent,
                () = &mut discarded, if !is_gone => is_gone = true,
            }
        };
        match sent {
            Ok(Ok(())) if is_gone => {}
            // It leaves its end open as long as it likes, but not for ever.
            Ok(Ok(())) => drop(tokio::time::timeout(LINGER, discarded).await),
            Ok(Err(error)) => log::debug!("sandbox: {error}"),
            Err(_) => log::debug!("sandbox: the client reads too slowly"),
        }
    }

    /// Reads until the client goes, and says nothing.
    pub(super) async fn read_to_end(mut self) {
        discard(&mut self.reader, &mut self.input).await;
    }
}

/// Reads to the end of the connection, keeping nothing.
async fn discard(reader: &mut (impl AsyncRead + Unpin), buffer: &mut BytesMut) {
    loop {
        buffer.clear();
        buffer.reserve(READ_BYTES_MAX);
        if !matches!(reader.read_buf(buffer).await, Ok(1..)) {
            return;
        }
    }
}

/// Gives the socket some of what waits, or flushes what it has taken. Nothing is lost if this is
/// cancelled.
async fn write_some(
    writer: &mut (impl AsyncWrite + Unpin),
    out: &mut Outbox,
    needs_flush: &mut bool,
) -> io::Result<()> {
    if out.is_empty() {
        writer.flush().await?;
        *needs_flush = false;
        return Ok(());
    }
    let slices: Vec<IoSlice<'_>> = out.chunks().take(SLICES_MAX).map(IoSlice::new).collect();
    let written = writer.write_vectored(&slices).await?;
    if written == 0 {
        return Err(io::ErrorKind::WriteZero.into());
    }
    *needs_flush = true;
    out.advance(written);
    Ok(())
}

/// Why a session is over before its process is.
#[derive(Debug, thiserror::Error)]
enum Cut {
    #[error("the client went away")]
    Gone,
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    #[error("the client broke the protocol: {0}")]
    Protocol(#[from] periscope_core::leg::exec_server::Error),
    #[error("the client sent too much stdin before the process was started")]
    EarlyStdin,
    #[error("the sandbox was told to")]
    Fault,
}

/// Runs an accepted exec to its end. The 101 is already queued.
pub(in super::super) async fn run<S>(cluster: &Arc<Cluster>, plan: Plan, mut wire: Wire<S>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if cluster.has(Fault::EofAfter101) {
        return wire.finish().await;
    }
    if cluster.has(Fault::GarbageAfter101) {
        wire.out.push(Bytes::from_static(
            b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n",
        ));
        return wire.finish().await;
    }
    let mut session = Session::new(cluster, plan);
    match session.run(&mut wire).await {
        // What the process has said still arrives; where a fault cuts, no status follows it.
        Ok(()) | Err(Cut::Fault) => {
            // The process may have left others behind; they end now, not when the client is gone.
            drop(session);
            wire.finish().await;
        }
        // Dropping the session hangs up the process, dropping the wire the client.
        Err(cut) => log::debug!("sandbox {}: exec ended: {cut}", cluster.name),
    }
}

struct Session<'a> {
    cluster: &'a Cluster,
    plan: Plan,
    server: ExecServer,
    process: Option<Process>,
    /// stdin the process has not taken. While there is some the client is not read.
    stdin: BytesMut,
    is_stdin_ended: bool,
    /// The last window size, for a process that is yet to start.
    window: Option<(u16, u16)>,
    /// The client has said goodbye: what it sends now means nothing, but its end of the connection
    /// still does.
    is_closed: bool,
}

/// What happened next.
enum Turn {
    Read(io::Result<usize>),
    Wrote(io::Result<()>),
    Output(Option<(Source, BytesMut)>),
    StdinTaken,
    Exited(Exit),
}

impl<'a> Session<'a> {
    fn new(cluster: &'a Cluster, plan: Plan) -> Self {
        let asked = plan.asked;
        let streams = Streams {
            stdin: asked.stdin,
            stdout: asked.stdout,
            stderr: asked.stderr,
            tty: asked.tty,
        };
        let command = plan.spawn.argv.clone();
        let server = match plan.transport {
            Transport::WebSocket(subprotocol) => {
                ExecServer::websocket(subprotocol.unwrap_or(Subprotocol::V1), streams, command)
            }
            Transport::Spdy => ExecServer::spdy(streams, command),
        };
        Self {
            cluster,
            plan,
            server,
            process: None,
            stdin: BytesMut::new(),
            is_stdin_ended: false,
            window: None,
            is_closed: false,
        }
    }

    /// Moves bytes until the status is queued.
    async fn run<S>(&mut self, wire: &mut Wire<S>) -> Result<(), Cut>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.server.start(&mut wire.out);
        let mut has_output_ended = false;
        loop {
            if let Some(ending) = self.receive(wire)? {
                self.server.finish(&ending, &mut wire.out);
                return Ok(());
            }
            let turn = self.turn(wire, has_output_ended).await;
            match turn {
                Turn::Read(Ok(0)) => return Err(Cut::Gone),
                Turn::Read(read) => {
                    read?;
                    if self.is_closed {
                        wire.input.clear();
                    }
                }
                Turn::Wrote(wrote) => wrote?,
                Turn::StdinTaken => self.end_stdin_if_due(),
                Turn::Output(None) => has_output_ended = true,
                Turn::Output(Some((source, bytes))) => {
                    let stream = match source {
                        Source::Stdout => Stream::Stdout,
                        Source::Stderr => Stream::Stderr,
                    };
                    self.server.output(stream, bytes, &mut wire.out);
                }
                Turn::Exited(exit) => {
                    if self.is_cut_here() {
                        return Err(Cut::Fault);
                    }
                    self.server.finish(&Ending::Exit(exit.code), &mut wire.out);
                    return Ok(());
                }
            }
        }
    }

    /// Waits for whatever can happen. Every branch may be cancelled without loss.
    async fn turn<S>(&mut self, wire: &mut Wire<S>, has_output_ended: bool) -> Turn
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Wire {
            reader,
            writer,
            input,
            out,
            needs_flush,
        } = wire;
        let out_len = out.len();
        let may_read = (self.stdin.is_empty() || self.process.is_none()) && out_len < OUT_BYTES_MAX;
        let has_stdin = !self.stdin.is_empty();
        let may_write = out_len > 0 || *needs_flush;
        let (output, stdin, exit) = match &mut self.process {
            Some(process) => (
                Some(&mut process.output),
                Some(&mut process.input),
                Some(&mut process.exit),
            ),
            None => (None, None, None),
        };
        input.reserve(READ_BYTES_MAX);
        tokio::select! {
            read = reader.read_buf(input), if may_read => Turn::Read(read),
            wrote = write_some(writer, out, needs_flush), if may_write => Turn::Wrote(wrote),
            Some(next) = async { Some(output?.next().await) }, if !has_output_ended && out_len < OUT_BYTES_HIGH => {
                Turn::Output(next)
            }
            Some(()) = async { stdin?.write(&mut self.stdin).await; Some(()) }, if has_stdin => {
                Turn::StdinTaken
            }
            Some(exit) = async { Some(exit?.await) }, if has_output_ended => {
                Turn::Exited(exit.unwrap_or(Exit { code: 255 }))
            }
        }
    }

    /// Handles what has been received. Returns how the exec ends if it cannot begin.
    fn receive<S>(&mut self, wire: &mut Wire<S>) -> Result<Option<Ending>, Cut> {
        // stdin waits for the process, and what lies behind it waits with it; but before there is a
        // process, what starts it may still lie behind.
        while (self.stdin.is_empty() || self.process.is_none()) && !self.is_closed {
            let event = self
                .server
                .receive(&mut wire.input, READ_BYTES_MAX, &mut wire.out)?;
            let Some(event) = event else { break };
            match event {
                Event::Ready => {
                    if let Err(ending) = self.begin() {
                        return Ok(Some(ending));
                    }
                }
                Event::Stdin(payload) => {
                    if self.is_cut_here() && self.process.is_some() {
                        return Err(Cut::Fault);
                    }
                    self.stdin.unsplit(payload);
                    if self.process.is_none() && self.stdin.len() > EARLY_STDIN_BYTES_MAX {
                        return Err(Cut::EarlyStdin);
                    }
                }
                Event::StdinEof => {
                    self.is_stdin_ended = true;
                    self.end_stdin_if_due();
                }
                Event::Resize { cols, rows } => {
                    self.window = Some((cols, rows));
                    self.resize();
                }
                Event::Closed => {
                    // A Close does not cancel the exec; only the end of the connection does. But
                    // nothing more can come down stdin.
                    self.is_closed = true;
                    self.is_stdin_ended = true;
                    self.end_stdin_if_due();
                    wire.input.clear();
                }
                Event::Alive => {}
            }
        }
        Ok(None)
    }

    /// Starts the process, or says why there is none.
    fn begin(&mut self) -> Result<(), Ending> {
        let is_v5 = self.plan.transport == Transport::WebSocket(Some(Subprotocol::V5));
        if self.cluster.has(Fault::TranslatorFail) && is_v5 {
            return Err(Ending::InternalError(
                "error dialing backend: dial tcp 127.0.0.1:10250: connect: connection refused"
                    .to_owned(),
            ));
        }
        if self.plan.pod.nature == Nature::Distroless {
            let command = self.plan.spawn.argv.first().cloned().unwrap_or_default();
            return Err(not_started(&SpawnError::NotFound(command)));
        }
        let process = Process::spawn(&self.plan.spawn, &self.cluster.processes);
        self.process = Some(process.map_err(|error| not_started(&error))?);
        self.resize();
        Ok(())
    }

    fn resize(&self) {
        if let (Some(process), Some((columns, rows))) = (&self.process, self.window) {
            process.resize(columns, rows);
        }
    }

    fn end_stdin_if_due(&mut self) {
        if let (true, true, Some(process)) = (
            self.is_stdin_ended,
            self.stdin.is_empty(),
            &mut self.process,
        ) {
            process.input.end();
        }
    }

    /// Whether the connection is to be cut here; the pod may vanish with it.
    fn is_cut_here(&self) -> bool {
        if self.cluster.has(Fault::PodGone) {
            self.cluster.remove_pod(&self.plan.pod);
            return true;
        }
        self.cluster.has(Fault::NoStatus)
    }
}

/// The runtime's words for a process that did not start.
fn not_started(error: &SpawnError) -> Ending {
    let id = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
    Ending::InternalError(format!(
        "error executing command in container: failed to exec in container: failed to start exec \
         \"{id}\": OCI runtime exec failed: {error}: unknown"
    ))
}
