//! Something that has to be fetched, is good for a while, and is asked for by many at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::KubeError;

/// How long before its end something is replaced, where it lives long enough.
const RENEW_BEFORE: Duration = Duration::from_mins(1);

/// How long a failure is remembered, so that a crowd of waiting requests does not repeat it one by
/// one.
const FAILURE_COUNTS: Duration = Duration::from_secs(1);

/// Which of the fetched values something is. Another one has another number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Generation(u64);

/// A value and how long it is good.
pub(super) struct Fetched<T> {
    pub(super) value: T,
    /// None for as long as the process lives.
    pub(super) good_for: Option<Duration>,
}

/// The place where one such value is kept.
#[derive(Debug)]
pub(super) struct Cache<T> {
    state: Arc<Mutex<State<T>>>,
}

#[derive(Debug)]
struct State<T> {
    generation: u64,
    kept: Option<(T, Option<Instant>)>,
    failed: Option<(KubeError, Instant)>,
}

impl<T: Clone + Send + 'static> Cache<T> {
    pub(super) fn new() -> Self {
        let state = State {
            generation: 0,
            kept: None,
            failed: None,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// The value, fetched if there is none that is good, or if that one was `rejected`. Fetching
    /// goes on when the caller does not wait any longer: what takes longer than one request would
    /// otherwise never be had.
    pub(super) async fn get<F>(
        &self,
        rejected: Option<Generation>,
        fetch: F,
    ) -> Result<(T, Generation), KubeError>
    where
        F: Future<Output = Result<Fetched<T>, KubeError>> + Send + 'static,
    {
        let state = Arc::clone(&self.state);
        let task = tokio::spawn(async move {
            // Whoever waits here finds what the one before has fetched.
            let mut state = state.lock().await;
            if let Some(answer) = state.answer(rejected, Instant::now()) {
                return answer;
            }
            let fetched = fetch.await;
            state.keep(fetched, Instant::now())
        });
        task.await.unwrap_or(Err(KubeError::Credentials))
    }
}

impl<T: Clone> State<T> {
    fn answer(
        &self,
        rejected: Option<Generation>,
        now: Instant,
    ) -> Option<Result<(T, Generation), KubeError>> {
        let generation = Generation(self.generation);
        if let Some((error, at)) = &self.failed
            && now.saturating_duration_since(*at) < FAILURE_COUNTS
        {
            return Some(Err(*error));
        }
        let (value, until) = self.kept.as_ref()?;
        let is_good = until.is_none_or(|until| now < until) && rejected != Some(generation);
        is_good.then(|| Ok((value.clone(), generation)))
    }

    fn keep(
        &mut self,
        fetched: Result<Fetched<T>, KubeError>,
        now: Instant,
    ) -> Result<(T, Generation), KubeError> {
        match fetched {
            Ok(Fetched { value, good_for }) => {
                self.generation = self.generation.wrapping_add(1);
                // What lives for seconds is used for nine tenths of them.
                let used_for =
                    good_for.map(|time| time.saturating_sub(RENEW_BEFORE.min(time / 10)));
                let until = used_for.map(|time| now + time);
                self.kept = Some((value.clone(), until));
                self.failed = None;
                Ok((value, Generation(self.generation)))
            }
            Err(error) => {
                self.failed = Some((error, now));
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetched(value: u32, seconds: u64) -> Fetched<u32> {
        Fetched {
            value,
            good_for: Some(Duration::from_secs(seconds)),
        }
    }

    fn state() -> State<u32> {
        State {
            generation: 0,
            kept: None,
            failed: None,
        }
    }

    #[test]
    fn a_value_is_replaced_before_its_end() {
        let (mut state, now) = (state(), Instant::now());
        assert_eq!(state.answer(None, now), None);
        let (_, first) = state.keep(Ok(fetched(1, 840)), now).unwrap();
        let at = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(state.answer(None, at(779)), Some(Ok((1, first))));
        assert_eq!(state.answer(None, at(780)), None);
        state.keep(Ok(fetched(2, 10)), now).unwrap();
        assert!(state.answer(None, at(8)).is_some());
        assert_eq!(state.answer(None, at(9)), None);
    }

    #[test]
    fn what_was_rejected_is_not_handed_out_again_but_its_successor_is() {
        let (mut state, now) = (state(), Instant::now());
        let (_, first) = state.keep(Ok(fetched(1, 840)), now).unwrap();
        assert_eq!(state.answer(Some(first), now), None);
        let (_, second) = state.keep(Ok(fetched(2, 840)), now).unwrap();
        assert_ne!(first, second);
        // The second of two that were rejected together needs no third.
        assert_eq!(state.answer(Some(first), now), Some(Ok((2, second))));
    }

    #[test]
    fn a_failure_counts_for_a_moment_and_spoils_nothing() {
        let (mut state, now) = (state(), Instant::now());
        let error = KubeError::Credentials;
        assert_eq!(state.keep(Err(error), now), Err(error));
        assert_eq!(state.answer(None, now), Some(Err(error)));
        assert_eq!(state.answer(None, now + FAILURE_COUNTS), None);
        state.keep(Ok(fetched(1, 840)), now).unwrap();
        assert!(matches!(state.answer(None, now), Some(Ok((1, _)))));
    }

    #[tokio::test]
    async fn many_at_once_fetch_once_and_who_leaves_does_not_stop_it() {
        let cache = Arc::new(Cache::new());
        let (started, mut starts) = tokio::sync::mpsc::unbounded_channel();
        let go = Arc::new(tokio::sync::Semaphore::new(0));
        let ask = || {
            let (cache, started, go) = (Arc::clone(&cache), started.clone(), Arc::clone(&go));
            tokio::spawn(async move {
                let fetch = async move {
                    started.send(()).unwrap();
                    go.acquire().await.unwrap().forget();
                    Ok(fetched(7, 840))
                };
                cache.get(None, fetch).await
            })
        };
        let first = ask();
        starts.recv().await.unwrap();
        first.abort();
        let others: Vec<_> = (0..5).map(|_| ask()).collect();
        go.add_permits(1);
        for other in others {
            assert_eq!(other.await.unwrap().unwrap().0, 7);
        }
        assert!(starts.try_recv().is_err(), "fetched once");
    }
}
