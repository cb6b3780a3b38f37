//! The words of apiservers, kubelets and container runtimes that decide something.

use crate::limits;

/// The gateway's identity may not impersonate. Two wordings, by version; both say this.
pub(super) const CANNOT_IMPERSONATE: &str = "cannot impersonate";
/// The kubelet's 403 to the apiserver itself.
pub(super) const NODE_FORBIDS: &str = "Forbidden (user=";
/// The kubelet's 405 without its debugging handlers.
pub(super) const NODE_EXEC_OFF: &str = "Debug endpoints are disabled";
/// The kubelet: not created, or not running.
pub(super) const CONTAINER_NOT_FOUND: &str = "container not found";
/// The kubelet: the pod is not its own, or no longer.
pub(super) const POD_DOES_NOT_EXIST: &str = "pod does not exist";
/// The apiserver's 400 to a wrong container name.
pub(super) const NOT_VALID_FOR_POD: &str = "not valid for pod";
/// containerd.
pub(super) const CONTAINER_EXITED: &str = "CONTAINER_EXITED";
/// The apiserver's 400 to a request that lost its Upgrade header.
pub(super) const UPGRADE_REQUIRED: &str = "Upgrade request required";
/// The apiserver's 400 where several containers are there to choose from.
pub(super) const CONTAINER_NEEDED: &str = "a container name must be specified";
/// The apiserver's 400 for a pod without a node.
pub(super) const NOT_SCHEDULED: &str = "does not have a host assigned";
/// Go's dialer, wherever it failed.
pub(super) const DIAL_TCP: &str = "dial tcp";
/// How every message of an `InternalError` begins.
pub(super) const INTERNAL_ERROR_PREFIX: &str = "Internal error occurred";

/// Row 4: texts that are the session's own error, whatever carries them.
const OWN_ERRORS: [&str; 6] = [
    CONTAINER_NOT_FOUND,
    POD_DOES_NOT_EXIST,
    NOT_VALID_FOR_POD,
    CONTAINER_EXITED,
    NODE_FORBIDS,
    NODE_EXEC_OFF,
];

/// Row 7: texts that say the command was not started.
const NOT_STARTED: [&str; 3] = [
    "unable to upgrade connection",
    "error sending request",
    "error dialing backend",
];

/// How container runtimes begin what they print when they cannot start a command.
const RUNTIME_FAILURES: [&str; 2] = ["OCI runtime exec failed", "exec failed:"];

/// Whether a text is one of row 4's.
pub(super) fn says_own_error(text: &str) -> bool {
    OWN_ERRORS.iter().any(|own| text.contains(own))
}

/// Whether a text is one of row 7's.
pub(super) fn says_not_started(text: &str) -> bool {
    NOT_STARTED.iter().any(|failure| text.contains(failure))
}

/// Whether an `InternalError`'s message says that the executable does not exist. A working
/// directory that does not exist is worded alike and is something else.
pub(super) fn says_no_shell(message: &str) -> bool {
    let message = message.to_lowercase();
    let no_such_file = says_in_order(&message, "exec:", "no such file or directory")
        || says_in_order(&message, "stat ", ": no such file or directory");
    says_in_order(&message, "executable file", "not found")
        || (no_such_file && !names_working_directory(&message))
}

/// Whether an exit code stands for a command that could not be started: CRI-O and cri-dockerd
/// report it as an exit code and print the runtime's text. Once stdin was forwarded, the exit code
/// may be the answer to what somebody typed.
pub fn is_no_shell_exit(exit_code: u8, first_output: &[u8], stdin_forwarded: bool) -> bool {
    let window = first_output
        .get(..limits::NO_SHELL_OUTPUT_BYTES_MAX)
        .unwrap_or(first_output);
    let text = String::from_utf8_lossy(window);
    !stdin_forwarded
        && matches!(exit_code, 126 | 127 | 255)
        && RUNTIME_FAILURES
            .iter()
            .any(|failure| text.contains(failure))
}

/// Whether `first` stands in `text` as a word of its own and `then` follows anywhere behind it.
fn says_in_order(text: &str, first: &str, then: &str) -> bool {
    text.match_indices(first).any(|(index, _)| {
        let (before, rest) = text.split_at(index);
        let is_word = !before.ends_with(|letter: char| letter.is_alphanumeric());
        is_word
            && rest
                .strip_prefix(first)
                .is_some_and(|behind| behind.contains(then))
    })
}

/// Whether a message speaks of `chdir` or `cwd`: as words of its own, not as part of a path or as
/// a quoted command.
fn names_working_directory(message: &str) -> bool {
    let words = message.split_whitespace();
    let bare = words.map(|word| {
        word.trim_start_matches(['"', '\\'])
            .trim_end_matches([':', ','])
    });
    bare.into_iter()
        .any(|word| word == "chdir" || word == "cwd")
}
