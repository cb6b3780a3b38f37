//! "There is no shell in this image", in all the ways runtimes say it.

use periscope_core::code::CloseDetail;

use crate::rig::{Rig, SPDY, V4, V5, millis};

const RUNTIME: &[u8] =
    b"OCI runtime exec failed: exec failed: unable to start container process: exec: \"sh\": x\r\n";

const TEXTS: [&str; 5] = [
    "executable file `sh` not found in $PATH: No such file or directory",
    "exec: \"sh\": executable file not found in $PATH: unknown",
    "exec: \"/bin/sh\": stat /bin/sh: no such file or directory: unknown",
    "STAT /bin/sh: NO SUCH FILE OR DIRECTORY",
    "exec: \"sh\": no such file or directory",
];

#[test]
fn an_internal_error_that_says_so_is_denied_before_up() {
    for first in [V5, SPDY, V4] {
        for text in TEXTS {
            let mut rig = Rig::new(|config| config.first = first);
            rig.accept();
            rig.fails(text);
            assert_eq!(rig.dialing(), None);
            rig.until_over();
            assert_eq!(rig.text("error")["code"], "E_NO_SHELL", "{text}");
            assert_eq!(rig.text("error")["retryable"], false);
            assert_eq!(rig.text("closed")["detail"], "no_shell");
            assert_eq!(rig.text("closed")["reason"], "forced_close");
            assert!(rig.text("closed")["exitCode"].is_null());
            assert_eq!(rig.close_code, Some(1011));
            assert!(!rig.end().started, "{first:?} {text}");
            assert!(!rig.has_text("hello"));
        }
    }
}

#[test]
fn an_internal_error_that_says_so_after_up_keeps_its_start() {
    let mut rig = Rig::up(V5, |_| {});
    rig.fails(TEXTS[0]);
    rig.until_over();
    assert_eq!(rig.text("error")["code"], "E_NO_SHELL");
    assert!(rig.end().started);
}

#[test]
fn a_working_directory_that_is_missing_is_something_else() {
    for text in [
        "chdir to cwd (\"/x\") set in config.json failed: no such file or directory",
        "exec: chdir: no such file or directory",
        "permission denied: unknown",
    ] {
        let mut rig = Rig::new(|_| {});
        rig.accept();
        rig.fails(text);
        rig.until_over();
        assert_eq!(rig.text("error")["code"], "E_INTERNAL", "{text}");
        assert!(rig.end().started, "the command may have run");
    }
}

#[test]
fn exit_codes_with_a_runtimes_text_say_so_only_while_no_stdin_was_forwarded() {
    for code in [126, 127, 255] {
        for first in [V5, SPDY, V4] {
            let mut rig = Rig::new(|config| config.first = first);
            rig.accept();
            rig.prints(RUNTIME);
            rig.exits(code);
            rig.until_over();
            assert_eq!(rig.text("error")["code"], "E_NO_SHELL", "{code}");
            assert_eq!(rig.end().detail, CloseDetail::NoShell);
            assert_eq!(rig.output, RUNTIME, "the text is shown first");
            rig.in_order(&["browser: output", "browser: error", "browser: closed"]);

            let mut rig = Rig::up(first, |_| {});
            rig.types(b"x");
            rig.prints(RUNTIME);
            rig.exits(code);
            rig.until_over();
            assert!(!rig.has_text("error"), "{code}");
            assert_eq!(rig.end().detail, CloseDetail::ProcessExit);
            assert_eq!(rig.end().exit_code, Some(code));
        }
    }
}

#[test]
fn stdin_that_only_waited_was_not_forwarded() {
    let mut rig = Rig::new(|_| {});
    rig.types(b"ls\n");
    rig.accept();
    // Text and exit code in one read: the stdin behind `hello` cannot have been asked for.
    rig.api_holds = true;
    rig.prints(RUNTIME);
    rig.exits(127);
    rig.api_holds = false;
    rig.pump();
    rig.until_over();
    assert_eq!(rig.end().detail, CloseDetail::NoShell);
}

#[test]
fn other_codes_other_texts_and_late_texts_are_plain_exits() {
    let late: Vec<u8> = [vec![b'x'; 4096], RUNTIME.to_vec()].concat();
    let cases: [(u8, &[u8]); 4] = [
        (1, RUNTIME),
        (127, b"sh: foo: not found"),
        (0, RUNTIME),
        (127, &late),
    ];
    for (code, text) in cases {
        let mut rig = Rig::new(|_| {});
        rig.accept();
        rig.prints(text);
        rig.exits(code);
        rig.until_over();
        assert_eq!(rig.end().detail, CloseDetail::ProcessExit, "{code}");
        assert_eq!(rig.end().exit_code, Some(code));
    }
}

#[test]
fn an_own_command_that_is_missing_has_its_own_sentence() {
    for exit in [true, false] {
        for own_command in [true, false] {
            let mut rig = Rig::new(|config| config.own_command = own_command);
            rig.accept();
            if exit {
                rig.prints(RUNTIME);
                rig.exits(126);
            } else {
                rig.fails(TEXTS[0]);
            }
            rig.until_over();
            let message = rig.text("error")["message"].as_str().unwrap().to_owned();
            assert_eq!(
                message.contains("command was not found in the container"),
                own_command,
                "{message}"
            );
        }
    }
}

#[test]
fn a_text_in_pieces_is_still_found() {
    let mut rig = Rig::new(|_| {});
    rig.accept();
    for byte in RUNTIME.chunks(7) {
        rig.prints(byte);
    }
    rig.advance(millis(100));
    rig.exits(126);
    rig.until_over();
    assert_eq!(rig.end().detail, CloseDetail::NoShell);
}
