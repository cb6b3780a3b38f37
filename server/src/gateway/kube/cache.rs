//! Something that has to be fetched, is good for a while, and is asked for by many at once.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::KubeError;

/// How long before its end something is replaced, where it lives long enough.
const RENEW_BEFORE: Duration = Duration::from_mins(1);

/// How long a failure is remembered, so that a crowd of waiting requests does not repeat it one by
/// one.
const FAILURE_COUNTS: Duration = Duration::from_secs(1);

/// When the next attempt is made to replace something that is still usable.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// Which of the fetched values something is. Another one has another number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Generation(u64);

/// A value and how long it is good.
pub(super) struct Fetched<T> {
    pub(super) value: T,
    /// After this it is replaced; none for as long as the process lives.
    pub(super) good_for: Option<Duration>,
    /// Until then it is better than nothing where it cannot be replaced; none if it is not.
    pub(super) usable_for: Option<Duration>,
}

impl<T> Fetched<T> {
    /// Something without an end.
    pub(super) fn forever(value: T) -> Self {
        Self {
            value,
            good_for: None,
            usable_for: None,
        }
    }
}

#[derive(Debug)]
struct Kept<T> {
    value: T,
    good_until: Option<Instant>,
    usable_until: Option<Instant>,
}

/// The place where one such value is kept.
#[derive(Debug)]
pub(super) struct Cache<T> {
    shared: Arc<Shared<T>>,
}

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    /// Held by whoever fetches.
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug)]
struct State<T> {
    generation: u64,
    kept: Option<Kept<T>>,
    failed: Option<(KubeError, Instant)>,
}

/// What is there without fetching.
#[derive(Debug, PartialEq, Eq)]
enum Found<T> {
    /// An answer.
    Good(Result<(T, Generation), KubeError>),
    /// Something that is to be replaced, and does until then.
    Usable(T, Generation),
    /// Nothing.
    None,
}

impl<T: Clone + Send + 'static> Cache<T> {
    pub(super) fn new() -> Self {
        let state = State {
            generation: 0,
            kept: None,
            failed: None,
        };
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                turn: Arc::default(),
            }),
        }
    }

    /// The value, fetched if there is none that is good, or if that one was `rejected`. Fetching
    /// goes on when the caller does not wait any longer: what takes longer than one request would
    /// otherwise never be had. Nobody waits while there is one that is usable.
    pub(super) async fn get<F>(
        &self,
        rejected: Option<Generation>,
        fetch: F,
    ) -> Result<(T, Generation), KubeError>
    where
        F: Future<Output = Result<Fetched<T>, KubeError>> + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        let found = shared.state().find(rejected, Instant::now());
        match found {
            Found::Good(answer) => return answer,
            Found::Usable(value, generation) => {
                // Whoever has the turn is replacing it already.
                if let Ok(turn) = Arc::clone(&shared.turn).try_lock_owned() {
                    tokio::spawn(async move {
                        let fetched = fetch.await;
                        // Who asks next is told, whichever it is.
                        drop(shared.state().keep(rejected, fetched, Instant::now()));
                        drop(turn);
                    });
                }
                return Ok((value, generation));
            }
            Found::None => {}
        }
        let task = tokio::spawn(async move {
            let _turn = shared.turn.lock().await;
            // Whoever waited here finds what the one before has fetched.
            let found = shared.state().find(rejected, Instant::now());
            if let Found::Good(answer) = found {
                return answer;
            }
            let fetched = fetch.await;
            shared.state().keep(rejected, fetched, Instant::now())
        });
        task.await.unwrap_or(Err(KubeError::Credentials))
    }
}

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        super::super::lock(&self.state)
    }
}

impl<T: Clone> State<T> {
    fn find(&self, rejected: Option<Generation>, now: Instant) -> Found<T> {
        let generation = Generation(self.generation);
        let kept = self.kept.as_ref().filter(|_| rejected != Some(generation));
        if let Some(kept) = kept
            && kept.good_until.is_none_or(|until| now < until)
        {
            return Found::Good(Ok((kept.value.clone(), generation)));
        }
        if let Some(kept) = kept
            && kept.usable_until.is_some_and(|until| now < until)
        {
            return Found::Usable(kept.value.clone(), generation);
        }
        if let Some((error, at)) = &self.failed
            && now.saturating_duration_since(*at) < FAILURE_COUNTS
        {
            return Found::Good(Err(*error));
        }
        Found::None
    }

    fn keep(
        &mut self,
        rejected: Option<Generation>,
        fetched: Result<Fetched<T>, KubeError>,
        now: Instant,
    ) -> Result<(T, Generation), KubeError> {
        match fetched {
            Ok(Fetched {
                value,
                good_for,
                usable_for,
            }) => {
                self.generation = self.generation.wrapping_add(1);
                // What lives for seconds is used for nine tenths of them.
                let used_for =
                    good_for.map(|time| time.saturating_sub(RENEW_BEFORE.min(time / 10)));
                self.kept = Some(Kept {
                    value: value.clone(),
                    good_until: used_for.map(|time| now + time),
                    usable_until: usable_for.map(|time| now + time),
                });
                self.failed = None;
                Ok((value, Generation(self.generation)))
            }
            Err(error) => {
                let generation = Generation(self.generation);
                if rejected != Some(generation)
                    && let Some(kept) = &mut self.kept
                    && let Some(end) = kept.usable_until
                    && now < end
                {
                    kept.good_until = Some(end.min(now + RETRY_AFTER));
                    return Ok((kept.value.clone(), generation));
                }
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
            usable_for: None,
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
        assert_eq!(state.find(None, now), Found::None);
        let (_, first) = state.keep(None, Ok(fetched(1, 840)), now).unwrap();
        let at = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(state.find(None, at(779)), Found::Good(Ok((1, first))));
        assert_eq!(state.find(None, at(780)), Found::None);
        state.keep(None, Ok(fetched(2, 10)), now).unwrap();
        assert!(matches!(state.find(None, at(8)), Found::Good(Ok(_))));
        assert_eq!(state.find(None, at(9)), Found::None);
    }

    #[test]
    fn what_was_rejected_is_not_handed_out_again_but_its_successor_is() {
        let (mut state, now) = (state(), Instant::now());
        let (_, first) = state.keep(None, Ok(fetched(1, 840)), now).unwrap();
        assert_eq!(state.find(Some(first), now), Found::None);
        let (_, second) = state.keep(None, Ok(fetched(2, 840)), now).unwrap();
        assert_ne!(first, second);
        // The second of two that were rejected together needs no third.
        assert_eq!(state.find(Some(first), now), Found::Good(Ok((2, second))));
    }

    #[test]
    fn a_failure_counts_for_a_moment_and_spoils_nothing() {
        let (mut state, now) = (state(), Instant::now());
        let error = KubeError::Credentials;
        assert_eq!(state.keep(None, Err(error), now), Err(error));
        assert_eq!(state.find(None, now), Found::Good(Err(error)));
        assert_eq!(state.find(None, now + FAILURE_COUNTS), Found::None);
        state.keep(None, Ok(fetched(1, 840)), now).unwrap();
        assert!(matches!(state.find(None, now), Found::Good(Ok((1, _)))));
    }

    #[test]
    fn what_is_usable_is_used_on_while_it_cannot_be_replaced() {
        let (mut state, now) = (state(), Instant::now());
        let at = |seconds| now + Duration::from_secs(seconds);
        let fetched = Fetched {
            usable_for: Some(Duration::from_secs(1000)),
            ..fetched(1, 840)
        };
        let (_, first) = state.keep(None, Ok(fetched), now).unwrap();
        assert_eq!(state.find(None, at(779)), Found::Good(Ok((1, first))));
        assert_eq!(state.find(None, at(780)), Found::Usable(1, first));
        let error = KubeError::Credentials;
        assert_eq!(state.keep(None, Err(error), at(780)), Ok((1, first)));
        assert_eq!(state.find(None, at(809)), Found::Good(Ok((1, first))));
        assert_eq!(state.find(None, at(810)), Found::Usable(1, first));
        // Not what somebody has just found useless; to the others it is as good as before.
        assert_eq!(state.find(Some(first), at(810)), Found::None);
        assert_eq!(state.keep(Some(first), Err(error), at(810)), Err(error));
        assert_eq!(
            state.find(Some(first), at(810)),
            Found::Good(Err(error)),
            "a failure counts"
        );
        assert_eq!(state.find(None, at(810)), Found::Usable(1, first));
        // And not beyond its end.
        assert_eq!(state.keep(None, Err(error), at(980)), Ok((1, first)));
        assert_eq!(state.find(None, at(1000)), Found::None);
        assert_eq!(state.keep(None, Err(error), at(1000)), Err(error));
    }

    #[tokio::test]
    async fn nobody_waits_for_the_successor_of_what_is_usable() {
        let cache = Cache::new();
        let short = Fetched {
            good_for: Some(Duration::ZERO),
            usable_for: Some(Duration::from_mins(1)),
            value: 1,
        };
        let (_, first) = cache.get(None, async { Ok(short) }).await.unwrap();
        let go = Arc::new(tokio::sync::Semaphore::new(0));
        let gate = Arc::clone(&go);
        let slow = async move {
            gate.acquire().await.unwrap().forget();
            Ok(fetched(2, 840))
        };
        // Whoever hangs hangs alone, and the second does not begin a fetch of its own.
        assert_eq!(cache.get(None, slow).await, Ok((1, first)));
        let second = async { panic!("fetched twice") };
        assert_eq!(cache.get(None, second).await, Ok((1, first)));
        go.add_permits(1);
        // Who needs another one waits for the one that is on its way.
        let third = async { panic!("fetched twice") };
        let (value, second) = cache.get(Some(first), third).await.unwrap();
        assert_eq!(value, 2);
        assert_ne!(first, second);
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
