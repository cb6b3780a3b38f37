//! Keeps the listener's certificate in step with its files, so that whoever renews it need not restart
//! the gateway.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;

use crate::config::TlsFiles;
use crate::gateway::ServerTls;

/// How often the files are looked at. They are renewed weeks before their end.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The files' contents.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    chain: Vec<u8>,
    key: Vec<u8>,
}

impl Pair {
    /// Reads both files. The error names the one that cannot be read.
    pub(crate) fn read(files: &TlsFiles) -> Result<Self, (std::path::PathBuf, io::Error)> {
        let read =
            |path: &std::path::PathBuf| std::fs::read(path).map_err(|error| (path.clone(), error));
        Ok(Self {
            chain: read(&files.cert.value)?,
            key: read(&files.key.value)?,
        })
    }

    /// TLS that shows it.
    pub(crate) fn tls(&self) -> Result<ServerTls, crate::gateway::ServerTlsError> {
        ServerTls::new(&self.chain, &self.key)
    }
}

/// Looks at the files from now on, now and then and at every SIGHUP. `pair` is what `tls` shows.
pub(crate) fn watch(tls: ServerTls, files: TlsFiles, pair: Pair) -> io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = Seen::Pair(pair);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = hangup.recv() => {}
            }
            look(&tls, &files, &mut seen);
        }
    });
    Ok(())
}

/// What was there at the last look: what is told once is not told again.
enum Seen {
    Pair(Pair),
    Unreadable,
}

fn look(tls: &ServerTls, files: &TlsFiles, seen: &mut Seen) {
    let unusable = |reason: &str| {
        log::warn!(
            path = files.cert.value.display().to_string().as_str(), reason = reason;
            "serve.certificate.unusable"
        );
    };
    match Pair::read(files) {
        Err((path, error)) => {
            if !matches!(seen, Seen::Unreadable) {
                unusable(&format!("{} cannot be read: {error}", path.display()));
            }
            *seen = Seen::Unreadable;
        }
        Ok(pair) => {
            if matches!(seen, Seen::Pair(last) if *last == pair) {
                return;
            }
            // Two files are not changed at once: a pair that does not match may be one half ahead.
            match tls.replace(&pair.chain, &pair.key) {
                Ok(()) => log::info!(
                    path = files.cert.value.display().to_string().as_str();
                    "serve.certificate.renewed"
                ),
                Err(error) => unusable(&error.to_string()),
            }
            *seen = Seen::Pair(pair);
        }
    }
}
