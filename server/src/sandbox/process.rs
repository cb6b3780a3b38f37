//! What a "container" really is: a process on this machine, on a PTY or on pipes, in a group of its
//! own that ends when its exec ends.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use filedescriptor::FileDescriptor;
use portable_pty::{CommandBuilder, MasterPty, PtySize, native_pty_system};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::oneshot;

/// Bytes of output taken at once.
const OUTPUT_BYTES_MAX: usize = 32 * 1024;

/// How long a process may take to end after SIGHUP before it gets SIGKILL.
const HANGUP_GRACE: Duration = Duration::from_millis(300);

/// How often an ending process is looked at within the grace.
const HANGUP_POLL: Duration = Duration::from_millis(10);

/// Where commands are looked up.
pub(super) const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What to run.
#[derive(Clone, Debug)]
pub(super) struct Spawn {
    /// The command and its arguments.
    pub(super) argv: Vec<String>,
    /// The pod's name: the process's `HOSTNAME`.
    pub(super) hostname: String,
    /// Working directory and `HOME`; made when missing.
    pub(super) home: PathBuf,
    /// A PTY instead of pipes.
    pub(super) tty: bool,
    /// Whether stdin is connected.
    pub(super) stdin: bool,
}

/// Why nothing runs.
#[derive(Debug, thiserror::Error)]
pub(super) enum SpawnError {
    /// The command names no file.
    #[error("executable file `{0}` not found{in_path}: No such file or directory", in_path = in_path(.0))]
    NotFound(String),
    /// The command names a file that cannot be executed.
    #[error("open executable: Permission denied")]
    NotExecutable,
    /// The command is empty.
    #[error("no command was given")]
    Empty,
    /// The machine refused.
    #[error("cannot start the process: {0}")]
    Machine(#[from] io::Error),
    /// The machine has no PTY for us.
    #[error("cannot start the process on a PTY: {0}")]
    Pty(String),
}

fn in_path(command: &str) -> &'static str {
    if command.contains('/') {
        ""
    } else {
        " in $PATH"
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exit {
    /// The exit code as a shell sees it: 128 + n for signal n.
    pub(super) code: u8,
}

/// Which output bytes are from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// stdout, or all output of a PTY.
    Stdout,
    /// stderr.
    Stderr,
}

/// A running process. Dropping it hangs up its whole group, then kills what is left.
pub(super) struct Process {
    /// Where its output comes from.
    pub(super) output: Output,
    /// Where its input goes.
    pub(super) input: Input,
    /// How it ends.
    pub(super) exit: oneshot::Receiver<Exit>,
    master: Option<Box<dyn MasterPty + Send>>,
    group: Option<Group>,
    table: ProcessTable,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}

/// The process group, led by the child. Its id cannot be taken by anybody else before the child is
/// reaped, and only [`Group::end`] reaps.
#[derive(Debug)]
struct Group {
    child: Child,
    leader: Pid,
    has_session: bool,
}

/// The process groups that are still there, so that none outlives the sandbox.
#[derive(Clone, Debug, Default)]
pub(super) struct ProcessTable(Arc<Mutex<BTreeSet<i32>>>);

impl ProcessTable {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<i32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many groups are still there.
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Kills every group at once: the sandbox ends.
    pub(super) fn kill_all(&self) {
        for leader in self
            .lock()
            .iter()
            .filter_map(|leader| Pid::from_raw(*leader))
        {
            signal_group(leader, Signal::KILL);
        }
    }
}

/// Starting processes is serialized: a descriptor made by one thread must be close-on-exec before
/// another thread forks, or a PTY never hangs up.
static SPAWNING: Mutex<()> = Mutex::new(());

impl Process {
    /// Starts a process. Must run inside a tokio runtime.
    pub(super) fn spawn(spawn: &Spawn, table: &ProcessTable) -> Result<Self, SpawnError> {
        let command = spawn
            .argv
            .first()
            .filter(|command| !command.is_empty())
            .ok_or(SpawnError::Empty)?;
        prepare_home(spawn)?;
        let executable = find_executable(command, &spawn.home)?;
        let guard = SPAWNING.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut child, master, output, input) = if spawn.tty {
            spawn_on_pty(spawn)?
        } else {
            let (child, output, input) = spawn_on_pipes(spawn, &executable)?;
            (child, None, output, input)
        };
        let Some(leader) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else {
            child.kill()?;
            return Err(SpawnError::Machine(io::Error::other(
                "the process has no id",
            )));
        };
        table.lock().insert(leader.as_raw_pid());
        drop(guard);
        let group = Group {
            child,
            leader,
            has_session: spawn.tty,
        };
        let (sender, exit) = oneshot::channel();
        let process = Self {
            output,
            input,
            exit,
            master,
            group: Some(group),
            table: table.clone(),
        };
        // From here on, dropping `process` ends the child.
        std::thread::Builder::new()
            .name("sandbox-wait".to_owned())
            .spawn(move || {
                if let Some(exit) = wait(leader) {
                    // Nobody listens any more when the exec has been cut off.
                    let _ = sender.send(exit);
                }
            })?;
        Ok(process)
    }

    /// Sets the size of the PTY's window. Without a PTY, or with a side of zero, nothing happens.
    pub(super) fn resize(&self, columns: u16, rows: u16) {
        let Some(master) = self.master.as_ref().filter(|_| columns > 0 && rows > 0) else {
            return;
        };
        let size = PtySize {
            rows,
            cols: columns,
            pixel_width: 0,
            pixel_height: 0,
        };
        if let Err(error) = master.resize(size) {
            log::debug!("sandbox: cannot resize the PTY: {error}");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let Some(mut group) = self.group.take() else {
            return;
        };
        let table = self.table.clone();
        let leader = group.leader.as_raw_pid();
        let end = move || group.end(&table);
        // On a thread of its own: the grace must not hold up the runtime. Without a thread the
        // closure, and with it the child, is lost unreaped, but killed by `kill_all` at the end.
        if let Err(error) = std::thread::Builder::new()
            .name("sandbox-end".to_owned())
            .spawn(end)
        {
            log::warn!("sandbox: cannot end process {leader} in time: {error}");
        }
    }
}

impl Group {
    /// Hangs up, waits a moment, kills, reaps.
    fn end(&mut self, table: &ProcessTable) {
        self.signal(Signal::HUP);
        let deadline = Instant::now() + HANGUP_GRACE;
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        while let Ok(None) = rustix::process::waitid(WaitId::Pid(self.leader), options) {
            if Instant::now() >= deadline {
                break;
            }
            std::thread::sleep(HANGUP_POLL);
        }
        self.signal(Signal::KILL);
        wait(self.leader);
        // Under the lock: once the leader is reaped its id may become another process's, which
        // `kill_all` must not find in the table.
        let mut groups = table.lock();
        if let Err(error) = self.child.wait() {
            log::warn!(
                "sandbox: cannot reap process {}: {error}",
                self.leader.as_raw_pid()
            );
        }
        groups.remove(&self.leader.as_raw_pid());
    }

    fn signal(&self, signal: Signal) {
        if self.has_session {
            // A shell with job control gives every job a group of its own.
            for member in session_members(self.leader) {
                // It may have ended since it was listed.
                let _ = rustix::process::kill_process(member, signal);
            }
        }
        signal_group(self.leader, signal);
    }
}

fn signal_group(leader: Pid, signal: Signal) {
    match rustix::process::kill_process_group(leader, signal) {
        // macOS answers EPERM where only zombies are left.
        Ok(()) | Err(rustix::io::Errno::SRCH | rustix::io::Errno::PERM) => {}
        Err(error) => log::warn!(
            "sandbox: cannot signal group {}: {error}",
            leader.as_raw_pid()
        ),
    }
}

/// The other processes of the leader's session. Empty where there is no `/proc`.
fn session_members(leader: Pid) -> Vec<Pid> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    ids.filter(|pid| *pid != leader.as_raw_pid() && session_of(*pid) == Some(leader.as_raw_pid()))
        .filter_map(Pid::from_raw)
        .collect()
}

/// The session of a process. Read as text, since the call for it cannot say that kernel threads
/// have none.
fn session_of(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses and may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(3)?.parse().ok()
}

/// Blocks until the child has ended, and leaves it unreaped.
fn wait(leader: Pid) -> Option<Exit> {
    loop {
        match rustix::process::waitid(
            WaitId::Pid(leader),
            WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
        ) {
            Ok(Some(status)) => {
                let signalled = status
                    .terminating_signal()
                    .map(|signal| signal.saturating_add(128));
                let code = status.exit_status().or(signalled).unwrap_or(255);
                return Some(Exit {
                    code: u8::try_from(code & 0xFF).unwrap_or(255),
                });
            }
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            // Reaped by `Group::end`: the exec was cut off.
            Err(_) => return None,
        }
    }
}

/// Makes the container's home, with a prompt that names the pod whatever the machine's own start-up
/// files say.
fn prepare_home(spawn: &Spawn) -> io::Result<()> {
    std::fs::create_dir_all(&spawn.home)?;
    let start_up = spawn.home.join(".bashrc");
    if !start_up.exists() {
        std::fs::write(
            start_up,
            format!("PS1='{}:\\w$ '\nunset HISTFILE\n", spawn.hostname),
        )?;
    }
    Ok(())
}

fn environment(spawn: &Spawn) -> Vec<(&'static str, String)> {
    let mut environment = vec![
        ("PATH", SEARCH_PATH.to_owned()),
        ("HOME", spawn.home.to_string_lossy().into_owned()),
        ("HOSTNAME", spawn.hostname.clone()),
        ("LANG", "C.UTF-8".to_owned()),
        ("PS1", format!("{}:~$ ", spawn.hostname)),
    ];
    if spawn.tty {
        environment.push(("TERM", "xterm-256color".to_owned()));
    }
    environment
}

/// Finds the command as the container runtime does: by path, or in the search path.
fn find_executable(command: &str, home: &Path) -> Result<PathBuf, SpawnError> {
    use std::os::unix::fs::PermissionsExt;

    let is_executable = |path: &Path| {
        path.metadata()
            .ok()
            .map(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
    };
    let candidates: Vec<PathBuf> = if command.contains('/') {
        vec![home.join(command)]
    } else {
        SEARCH_PATH
            .split(':')
            .map(|directory| Path::new(directory).join(command))
            .collect()
    };
    let mut is_there = false;
    for candidate in candidates {
        match is_executable(&candidate) {
            Some(true) => return Ok(candidate),
            Some(false) => is_there = true,
            None => {}
        }
    }
    if is_there && command.contains('/') {
        return Err(SpawnError::NotExecutable);
    }
    Err(SpawnError::NotFound(command.to_owned()))
}

fn spawn_on_pipes(spawn: &Spawn, executable: &Path) -> Result<(Child, Output, Input), SpawnError> {
    let mut command = Command::new(executable);
    let name = spawn.argv.first().map_or("", String::as_str);
    command
        .arg0(name)
        .args(spawn.argv.iter().skip(1))
        .current_dir(&spawn.home)
        .env_clear()
        .envs(environment(spawn))
        .stdin(if spawn.stdin {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let mut child = command.spawn()?;
    let pipes = |child: &mut Child| -> io::Result<(Output, Input)> {
        let stdout = child.stdout.take().map(ChildStdout::from_std).transpose()?;
        let stderr = child.stderr.take().map(ChildStderr::from_std).transpose()?;
        let stdin = child.stdin.take().map(ChildStdin::from_std).transpose()?;
        Ok((
            Output::Pipes { stdout, stderr },
            stdin.map_or(Input::None, Input::Pipe),
        ))
    };
    match pipes(&mut child) {
        Ok((output, input)) => Ok((child, output, input)),
        Err(error) => {
            child.kill()?;
            child.wait()?;
            Err(error.into())
        }
    }
}

type OnPty = (Child, Option<Box<dyn MasterPty + Send>>, Output, Input);

fn spawn_on_pty(spawn: &Spawn) -> Result<OnPty, SpawnError> {
    let refused = |error: &dyn fmt::Display| SpawnError::Pty(error.to_string());
    let size = PtySize {
        rows: 24,
        cols: 80,
        pixel_width: 0,
        pixel_height: 0,
    };
    let pair = native_pty_system()
        .openpty(size)
        .map_err(|error| refused(&error))?;
    // The library's own writer types a newline and an end of file when it is dropped. Nothing may
    // be typed that the user did not type, so the descriptor is used directly.
    let master = pair
        .master
        .as_raw_fd()
        .ok_or_else(|| refused(&"it has no descriptor"))?;
    let mut master = FileDescriptor::dup(&master).map_err(|error| refused(&error))?;
    master
        .set_non_blocking(true)
        .map_err(|error| refused(&error))?;
    let duplicate = || -> io::Result<OwnedFd> { master.as_fd().try_clone_to_owned() };
    // A PTY reads and writes like a pipe, and tokio asks for nothing more.
    let output = pipe::Receiver::from_owned_fd_unchecked(duplicate()?)?;
    let input = pipe::Sender::from_owned_fd_unchecked(duplicate()?)?;

    let mut command = CommandBuilder::from_argv(spawn.argv.iter().map(Into::into).collect());
    command.cwd(&spawn.home);
    command.env_clear();
    for (name, value) in environment(spawn) {
        command.env(name, value);
    }
    command.env("SHELL", "/bin/sh"); // else the library looks up the shell of this machine's user
    let child = pair
        .slave
        .spawn_command(command)
        .map_err(|error| refused(&error))?;
    let child: Box<dyn portable_pty::Child> = child;
    let child = child
        .downcast::<Child>()
        .map_err(|_| refused(&"it is no ordinary process"))?;
    let input = if spawn.stdin {
        Input::Pty(input)
    } else {
        Input::None
    };
    Ok((*child, Some(pair.master), Output::Pty(Some(output)), input))
}

/// Output of a process.
#[derive(Debug)]
pub(super) enum Output {
    /// A PTY; `None` once it has hung up.
    Pty(Option<pipe::Receiver>),
    /// Two pipes; `None` once one has ended.
    Pipes {
        /// Its stdout.
        stdout: Option<ChildStdout>,
        /// Its stderr.
        stderr: Option<ChildStderr>,
    },
}

impl Output {
    /// The next bytes, or `None` once all output has ended. Nothing is lost if this is cancelled.
    pub(super) async fn next(&mut self) -> Option<(Source, BytesMut)> {
        let mut buffer = BytesMut::with_capacity(OUTPUT_BYTES_MAX);
        match self {
            Self::Pty(slot) => {
                // A PTY that no process holds any more reports an error, not an end of file.
                let read = read_pipe(Some(slot.as_mut()?), &mut buffer).await;
                if matches!(read, Ok(1..)) {
                    return Some((Source::Stdout, buffer));
                }
                *slot = None;
                None
            }
            Self::Pipes { stdout, stderr } => loop {
                // Only one branch writes into its buffer before it completes, and a cancelled one
                // has read nothing.
                let mut errors = BytesMut::new();
                let (source, bytes, read) = tokio::select! {
                    read = read_pipe(stdout.as_mut(), &mut buffer), if stdout.is_some() => (Source::Stdout, &mut buffer, read),
                    read = read_pipe(stderr.as_mut(), &mut errors), if stderr.is_some() => (Source::Stderr, &mut errors, read),
                    else => return None,
                };
                if matches!(read, Ok(1..)) {
                    return Some((source, bytes.split()));
                }
                match source {
                    Source::Stdout => *stdout = None,
                    Source::Stderr => *stderr = None,
                }
            },
        }
    }
}

async fn read_pipe(
    pipe: Option<&mut (impl AsyncReadExt + Unpin)>,
    buffer: &mut BytesMut,
) -> io::Result<usize> {
    let Some(pipe) = pipe else { return Ok(0) };
    if buffer.capacity() < OUTPUT_BYTES_MAX {
        buffer.reserve(OUTPUT_BYTES_MAX);
    }
    pipe.read_buf(buffer).await
}

/// Input of a process.
#[derive(Debug)]
pub(super) enum Input {
    /// stdin is not connected, or has ended.
    None,
    /// A PTY.
    Pty(pipe::Sender),
    /// A pipe.
    Pipe(ChildStdin),
}

impl Input {
    /// Writes some of `bytes` and takes them off the front. Nothing is lost if this is cancelled.
    /// Bytes for a process that takes no more are dropped, as the runtime does.
    pub(super) async fn write(&mut self, bytes: &mut BytesMut) {
        let written = match self {
            Self::None => Ok(bytes.len()),
            Self::Pty(master) => master.write(bytes).await,
            Self::Pipe(pipe) => pipe.write(bytes).await,
        };
        if let Ok(written) = written {
            bytes.advance(written.min(bytes.len()));
        } else {
            *self = Self::None;
            bytes.clear();
        }
    }

    /// Ends stdin. A PTY has no end of file but the one that is typed, so there nothing happens.
    pub(super) fn end(&mut self) {
        if matches!(self, Self::Pipe(_)) {
            *self = Self::None;
        }
    }
}

#[cfg(test)]
mod tests;
