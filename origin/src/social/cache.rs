//! What a provider publishes, kept: fetched by one for all, and held on to while it cannot be had.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::Failure;
use crate::clock::Timestamp;

/// How long a document is used without asking again. A key that a provider takes back is
/// believed for no longer than this.
const FRESH: Duration = Duration::from_hours(1);

/// How long it is used while asking fails: a provider that is down for a night locks nobody out.
const KEPT: Duration = Duration::from_hours(24);

/// Between two attempts after one failed, and between two that unknown key ids ask for: neither
/// a provider that is down nor tokens with random key ids cost more than this.
const COOL_DOWN: Duration = Duration::from_secs(30);

/// One document.
#[derive(Debug)]
pub(super) struct Cached<T>(Mutex<Slot<T>>);

#[derive(Debug)]
struct Slot<T> {
    held: Option<(Arc<T>, Timestamp)>,
    /// When it was last asked for without success, or before its time.
    tried_at: Option<Timestamp>,
}

impl<T> Default for Cached<T> {
    fn default() -> Self {
        Self(Mutex::new(Slot {
            held: None,
            tried_at: None,
        }))
    }
}

impl<T> Slot<T> {
    /// Whoever moves the clock back must not stop the fetching.
    fn may_try(&self, now: Timestamp) -> bool {
        self.tried_at
            .is_none_or(|at| now < at || now.since(at) >= COOL_DOWN)
    }

    fn held_within(&self, now: Timestamp, age: Duration) -> Option<Arc<T>> {
        let (value, fetched_at) = self.held.as_ref()?;
        (now.since(*fetched_at) < age).then(|| Arc::clone(value))
    }

    fn keep(&mut self, value: T, now: Timestamp) -> Arc<T> {
        let value = Arc::new(value);
        self.held = Some((Arc::clone(&value), now));
        value
    }
}

impl<T> Cached<T> {
    /// The document, by `fetch` where none is held or it is old; whoever comes meanwhile waits.
    ///
    /// # Errors
    /// What `fetch` failed with, where nothing is held that may still be used.
    pub(super) async fn obtain(
        &self,
        now: Timestamp,
        fetch: impl Future<Output = Result<T, Failure>>,
    ) -> Result<Arc<T>, Failure> {
        let mut slot = self.0.lock().await;
        if let Some(value) = slot.held_within(now, FRESH) {
            return Ok(value);
        }
        let failure = if slot.may_try(now) {
            match fetch.await {
                Ok(value) => {
                    slot.tried_at = None;
                    return Ok(slot.keep(value, now));
                }
                Err(failure) => {
                    slot.tried_at = Some(now);
                    failure
                }
            }
        } else {
            Failure::Unavailable("the provider failed a moment ago")
        };
        match slot.held_within(now, KEPT) {
            Some(value) => {
                tracing::warn!(cause = %failure, "a provider's document is used beyond its time");
                Ok(value)
            }
            None => Err(failure),
        }
    }

    /// A newer document than `than`, which lacks something: at most one attempt in a cool-down,
    /// whoever asks.
    ///
    /// # Errors
    /// What `fetch` failed with.
    pub(super) async fn newer(
        &self,
        than: &Arc<T>,
        now: Timestamp,
        fetch: impl Future<Output = Result<T, Failure>>,
    ) -> Result<Arc<T>, Failure> {
        let mut slot = self.0.lock().await;
        if let Some((value, _)) = &slot.held
            && !Arc::ptr_eq(value, than)
        {
            return Ok(Arc::clone(value));
        }
        if !slot.may_try(now) {
            return Ok(Arc::clone(than));
        }
        slot.tried_at = Some(now);
        let value = fetch.await?;
        Ok(slot.keep(value, now))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_seconds(1_000_000 + seconds)
    }

    #[tokio::test]
    async fn one_fetch_serves_everybody_for_an_hour() {
        let (cached, fetches) = (Cached::default(), AtomicU32::new(0));
        let fetch = || async {
            tokio::task::yield_now().await;
            Ok(fetches.fetch_add(1, Ordering::SeqCst))
        };
        let (one, other) =
            tokio::join!(cached.obtain(at(0), fetch()), cached.obtain(at(0), fetch()));
        assert_eq!((*one.unwrap(), *other.unwrap()), (0, 0));
        assert_eq!(*cached.obtain(at(3_599), fetch()).await.unwrap(), 0);
        assert_eq!(*cached.obtain(at(3_600), fetch()).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn an_error_keeps_the_last_good_one_for_a_day_and_is_not_repeated_at_once() {
        let cached = Cached::default();
        assert_eq!(*cached.obtain(at(0), async { Ok(1) }).await.unwrap(), 1);
        let fetches = AtomicU32::new(0);
        let fails = || async {
            fetches.fetch_add(1, Ordering::SeqCst);
            Err(Failure::Unavailable("down"))
        };
        for (second, tried) in [(3_600, 1), (3_629, 1), (3_630, 2), (86_399, 3)] {
            assert_eq!(
                *cached.obtain(at(second), fails()).await.unwrap(),
                1,
                "{second}"
            );
            assert_eq!(fetches.load(Ordering::SeqCst), tried, "{second}");
        }
        assert!(cached.obtain(at(86_400), fails()).await.is_err());
        // Back again.
        assert_eq!(
            *cached.obtain(at(86_430), async { Ok(2) }).await.unwrap(),
            2
        );
    }

    #[tokio::test]
    async fn what_lacks_something_is_fetched_again_once_in_a_cool_down() {
        let cached = Cached::default();
        let first = cached.obtain(at(0), async { Ok(1) }).await.unwrap();
        let second = cached.newer(&first, at(1), async { Ok(2) }).await.unwrap();
        assert_eq!(*second, 2);
        // Another who still has the first gets what is held, without a fetch.
        let again = cached
            .newer(&first, at(1), async { panic!() })
            .await
            .unwrap();
        assert_eq!(*again, 2);
        for second_of in [1, 30] {
            let same = cached
                .newer(&second, at(second_of), async { panic!() })
                .await
                .unwrap();
            assert_eq!(*same, 2);
        }
        assert_eq!(
            *cached
                .newer(&second, at(31), async { Ok(3) })
                .await
                .unwrap(),
            3
        );
        // A clock that was set back does not stop it.
        let third = cached.obtain(at(31), async { panic!() }).await.unwrap();
        assert_eq!(
            *cached
                .newer(&third, at(-500), async { Ok(4) })
                .await
                .unwrap(),
            4
        );
    }
}
