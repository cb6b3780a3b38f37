use super::*;

struct Home(PathBuf);

impl Home {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("periscope-process-{}", uuid::Uuid::new_v4())))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Run {
    process: Process,
    table: ProcessTable,
    _home: Home,
}

fn run(argv: &[&str], tty: bool) -> Run {
    let home = Home::new();
    let table = ProcessTable::default();
    let process = Process::spawn(&spawn(argv, tty, &home), &table).unwrap();
    Run {
        process,
        table,
        _home: home,
    }
}

fn spawn(argv: &[&str], tty: bool, home: &Home) -> Spawn {
    Spawn {
        argv: argv.iter().map(|&argument| argument.to_owned()).collect(),
        hostname: "shell".to_owned(),
        home: home.0.clone(),
        tty,
        stdin: true,
    }
}

impl Run {
    /// Everything the process says, and how it ends.
    async fn finish(&mut self) -> (String, String, u8) {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        while let Some((source, bytes)) = self.process.output.next().await {
            match source {
                Source::Stdout => stdout.extend_from_slice(&bytes),
                Source::Stderr => stderr.extend_from_slice(&bytes),
            }
        }
        let exit = (&mut self.process.exit).await.unwrap();
        (
            String::from_utf8(stdout).unwrap(),
            String::from_utf8(stderr).unwrap(),
            exit.code,
        )
    }

    /// Output up to and including `wanted`.
    async fn until(&mut self, wanted: &str) -> String {
        let mut seen = String::new();
        while !seen.contains(wanted) {
            let next =
                tokio::time::timeout(Duration::from_secs(20), self.process.output.next()).await;
            let (_, bytes) = next
                .unwrap_or_else(|_| panic!("{wanted:?} not in {seen:?}"))
                .expect("the output ended early");
            seen.push_str(&String::from_utf8_lossy(&bytes));
        }
        seen
    }

    async fn type_in(&mut self, text: &str) {
        let mut bytes = BytesMut::from(text);
        while !bytes.is_empty() {
            self.process.input.write(&mut bytes).await;
        }
    }
}

#[tokio::test]
async fn stdout_and_stderr_of_pipes_stay_apart_and_the_exit_code_arrives() {
    let mut run = run(&["sh", "-c", "echo out; echo err >&2; exit 7"], false);
    assert_eq!(
        run.finish().await,
        ("out\n".to_owned(), "err\n".to_owned(), 7)
    );
}

#[tokio::test]
async fn a_process_killed_by_a_signal_ends_with_128_and_its_number() {
    for tty in [false, true] {
        let mut run = run(&["sh", "-c", "kill -9 $$"], tty);
        assert_eq!(run.finish().await.2, 137, "tty {tty}");
    }
}

#[tokio::test]
async fn the_end_of_stdin_reaches_a_process_on_pipes() {
    let mut run = run(&["sh", "-c", "cat; echo done"], false);
    run.type_in("one\ntwo\n").await;
    run.process.input.end();
    assert_eq!(run.finish().await.0, "one\ntwo\ndone\n");
}

#[tokio::test]
async fn a_pty_has_the_size_it_was_given_and_a_prompt_that_names_the_pod() {
    let mut run = run(&["bash"], true);
    run.until("shell:~$ ").await;
    run.process.resize(132, 43);
    run.type_in("stty size; exit 3\n").await;
    let (output, _, code) = run.finish().await;
    assert!(output.contains("43 132"), "{output}");
    assert_eq!(code, 3);
}

#[tokio::test]
async fn the_environment_is_the_containers_own() {
    let mut run = run(
        &["sh", "-c", "env | sort | cut -d= -f1 | tr '\\n' ' '"],
        false,
    );
    assert_eq!(run.finish().await.0, "HOME HOSTNAME LANG PATH PS1 PWD ");
}

#[tokio::test]
async fn missing_commands_are_told_in_the_runtimes_words() {
    let home = Home::new();
    for (command, words) in [
        (
            "nosuch",
            "executable file `nosuch` not found in $PATH: No such file or directory",
        ),
        (
            "/bin/nosuch",
            "executable file `/bin/nosuch` not found: No such file or directory",
        ),
        ("/etc/passwd", "open executable: Permission denied"),
    ] {
        for tty in [false, true] {
            let spawn = spawn(&[command], tty, &home);
            let error = Process::spawn(&spawn, &ProcessTable::default()).unwrap_err();
            assert_eq!(error.to_string(), words);
        }
    }
}

#[tokio::test]
async fn dropping_an_exec_ends_every_job_of_its_session() {
    let mut run = run(&["bash"], true);
    run.until("$ ").await;
    // A job in a group of its own that ignores the hang-up, as `nohup` makes them.
    run.type_in("trap '' HUP; sleep 1000 & echo job'='$! end\n")
        .await;
    let mut output = run.until("job=").await;
    if !output.contains(" end\r") {
        output += &run.until(" end\r").await;
    }
    let job = output
        .rsplit("job=")
        .next()
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    let job = Pid::from_raw(job.parse().unwrap()).unwrap();
    assert_eq!(rustix::process::test_kill_process(job), Ok(()));
    let Run {
        process,
        table,
        _home,
    } = run;
    drop(process);
    wait_until(|| table.len() == 0).await;
    // The job's parent is gone, so whoever adopted it may still have to reap it.
    wait_until(|| is_gone_or_zombie(job)).await;
}

fn is_gone_or_zombie(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid()));
    stat.map_or(true, |stat| {
        stat.rsplit(')')
            .next()
            .is_some_and(|rest| rest.trim_start().starts_with('Z'))
    })
}

/// Yields until `done`, for at most ten seconds.
async fn wait_until(done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "it did not happen"
        );
        tokio::task::yield_now().await;
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn input_for_a_process_that_reads_none_is_not_taken() {
    let mut run = run(&["sleep", "1000"], false);
    let mut bytes = BytesMut::zeroed(4 << 20);
    let write = async {
        while !bytes.is_empty() {
            run.process.input.write(&mut bytes).await;
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_millis(200), write)
            .await
            .is_err()
    );
    assert!(bytes.len() > 3 << 20, "a pipe holds far less");
}
