//! Standard input and output, each with a thread of its own: both may block for ever.

use std::io::{self, Read as _, Write as _};

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;

/// What is read, and sent, at a time.
pub(super) const STDIN_CHUNK_BYTES: usize = 16 * 1024;

/// Chunks that wait to be sent.
const STDIN_CHUNKS_MAX: usize = 2;

/// Messages that wait to be printed. Flow control keeps them at 256 KiB; this is for a gateway that
/// does not keep to it: then reading from it stops.
const STDOUT_CHUNKS_MAX: usize = 64;

/// Standard input, from the moment somebody waits for it.
pub(super) struct Stdin {
    chunks: mpsc::Receiver<io::Result<BytesMut>>,
}

/// Standard output.
pub(super) struct Stdout {
    chunks: Option<mpsc::Sender<Bytes>>,
    printed: mpsc::Receiver<io::Result<usize>>,
    /// Bytes taken and not yet printed.
    waiting: usize,
}

impl Stdin {
    /// Starts to read. What was read and not sent when the process ends is lost, as with any
    /// program that reads ahead.
    pub(super) fn start() -> io::Result<Self> {
        let (sender, chunks) = mpsc::channel(STDIN_CHUNKS_MAX);
        std::thread::Builder::new()
            .name("stdin".to_owned())
            .spawn(move || {
                let mut stdin = io::stdin().lock();
                loop {
                    let mut chunk = BytesMut::zeroed(STDIN_CHUNK_BYTES);
                    let read = match stdin.read(&mut chunk) {
                        Ok(0) => return,
                        Ok(len) => {
                            chunk.truncate(len);
                            Ok(chunk)
                        }
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                        Err(error) => Err(error),
                    };
                    let is_last = read.is_err();
                    if sender.blocking_send(read).is_err() || is_last {
                        return;
                    }
                }
            })?;
        Ok(Self { chunks })
    }

    /// The next chunk; none at the end.
    pub(super) async fn next(&mut self) -> io::Result<Option<BytesMut>> {
        self.chunks.recv().await.transpose()
    }
}

impl Stdout {
    pub(super) fn start() -> io::Result<Self> {
        let (sender, mut chunks) = mpsc::channel::<Bytes>(STDOUT_CHUNKS_MAX);
        // Never full: the writer has one place for every chunk it was given, and one more.
        let (reports, printed) = mpsc::channel(STDOUT_CHUNKS_MAX.saturating_add(1));
        std::thread::Builder::new()
            .name("stdout".to_owned())
            .spawn(move || {
                let mut stdout = io::stdout().lock();
                while let Some(chunk) = chunks.blocking_recv() {
                    let written = stdout.write_all(&chunk).and_then(|()| stdout.flush());
                    let is_last = written.is_err();
                    if reports
                        .blocking_send(written.map(|()| chunk.len()))
                        .is_err()
                        || is_last
                    {
                        return;
                    }
                }
            })?;
        Ok(Self {
            chunks: Some(sender),
            printed,
            waiting: 0,
        })
    }

    /// Whether there is room for one more chunk.
    pub(super) fn has_room(&self) -> bool {
        self.chunks
            .as_ref()
            .is_some_and(|chunks| chunks.capacity() > 0)
    }

    /// Prints a chunk, later. There must be room.
    pub(super) fn print(&mut self, chunk: Bytes) {
        let len = chunk.len();
        if let Some(chunks) = &self.chunks
            && chunks.try_send(chunk).is_ok()
        {
            self.waiting = self.waiting.saturating_add(len);
        }
    }

    /// Bytes taken and not yet printed.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// How many bytes were printed next. Never resolves while nothing waits.
    pub(super) async fn printed(&mut self) -> io::Result<usize> {
        if self.waiting == 0 {
            return std::future::pending().await;
        }
        let gone = || Err(io::ErrorKind::BrokenPipe.into());
        let len = self.printed.recv().await.unwrap_or_else(gone)?;
        self.waiting = self.waiting.saturating_sub(len);
        Ok(len)
    }
}
