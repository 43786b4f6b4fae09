//! Sliding windows by key, in memory that is bounded whoever calls.
//!
//! At most 114,688 keys have a window of their own, which comes to 20 MB. Windows that count
//! nothing any more make room. When there is no room, a newcomer shares a window with whoever has
//! the same keyed hash of a wider network: nobody's count is dropped or begun anew by strangers
//! filling the table, and newcomers are bounded, too. They may be told to wait for what another
//! did; that needs more than a hundred thousand addresses at work within one window.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::window::Window;

/// Parts of the table, each with a lock of its own: requests seldom wait for each other, and
/// making room looks at a sixteenth of the table at a time.
const SHARDS: usize = 16;

/// Keys in one shard: as many as a table of 8,192 buckets holds before it would grow.
const SHARD_CAPACITY: usize = 7_168;

/// Shared windows in one shard, for each limit: for 17 limits as many as a table of 1,024 buckets
/// holds before it would grow.
const SHARED: u64 = 52;

/// How long a shard that is full is not searched for room again.
const SEARCH_PAUSE: u64 = 1_000_000;

/// Whom a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// Which limit, as its index.
    pub(super) limit: u8,
    /// An address, a user, a session.
    pub(super) who: [u8; 16],
}

/// What the windows of one limit allow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// Events in a window.
    pub(super) quota: u32,
    /// Its length in microseconds.
    pub(super) span: u64,
}

/// A window, and what is under way in it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counter {
    pub(super) window: Window,
    /// Events that are counted and may yet be taken back.
    pub(super) under_way: u32,
    /// The highest number that was counted, where each number counts once.
    pub(super) mark: u64,
}

/// Where a key is counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    shard: usize,
    /// The key that has the counter: the caller's own, or one that is shared.
    key: Key,
    is_shared: bool,
}

impl Place {
    /// Whether others are counted there, too.
    pub(super) fn is_shared(self) -> bool {
        self.is_shared
    }
}

/// The table.
#[derive(Debug)]
pub(super) struct Counters {
    shards: Vec<Mutex<Shard>>,
    rates: Vec<Rate>,
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct Shard {
    own: HashMap<Key, Counter>,
    shared: HashMap<Key, Counter>,
    searched_at: u64,
}

impl Counters {
    /// An empty table; `rates` by the index of the limit.
    pub(super) fn new(rates: Vec<Rate>) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            rates,
            hasher: RandomState::new(),
        }
    }

    /// What a limit allows.
    pub(super) fn rate(&self, limit: u8) -> Rate {
        self.rates[usize::from(limit)]
    }

    /// Runs `then` on the counter of `key`; `wider` is what it shares with its neighbours.
    pub(super) fn with<T>(
        &self,
        key: Key,
        wider: [u8; 16],
        now: u64,
        then: impl FnOnce(Place, &mut Counter) -> T,
    ) -> T {
        // The map has a hash function of its own key: this one only chooses the shard.
        let shard = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0);
        let mut held = self.lock(shard);
        if let Some(counter) = held.own.get_mut(&key) {
            let place = Place {
                shard,
                key,
                is_shared: false,
            };
            return then(place, counter);
        }
        if held.own.len() >= SHARD_CAPACITY && held.searched_at + SEARCH_PAUSE <= now {
            held.searched_at = now;
            held.own.retain(|key, counter| {
                let span = self.rate(key.limit).span;
                counter.under_way > 0 || counter.window.used(now, span) > 0
            });
        }
        let is_shared = held.own.len() >= SHARD_CAPACITY;
        let (key, map) = if is_shared {
            (self.shared_key(key.limit, wider), &mut held.shared)
        } else {
            (key, &mut held.own)
        };
        let place = Place {
            shard,
            key,
            is_shared,
        };
        then(place, map.entry(key).or_default())
    }

    /// Runs `then` on the counter at `place`, if it is still there.
    pub(super) fn at<T>(&self, place: Place, then: impl FnOnce(&mut Counter) -> T) -> Option<T> {
        let mut held = self.lock(place.shard);
        let map = if place.is_shared {
            &mut held.shared
        } else {
            &mut held.own
        };
        map.get_mut(&place.key).map(then)
    }

    fn shared_key(&self, limit: u8, wider: [u8; 16]) -> Key {
        let mut who = [0; 16];
        who[8..].copy_from_slice(&(self.hasher.hash_one(wider) % SHARED).to_be_bytes());
        Key { limit, who }
    }

    fn lock(&self, shard: usize) -> MutexGuard<'_, Shard> {
        self.shards[shard]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Keys with a window of their own, and shared windows.
    #[cfg(test)]
    fn sizes(&self) -> (usize, usize) {
        (0..SHARDS)
            .map(|shard| self.lock(shard))
            .fold((0, 0), |(own, shared), held| {
                (own + held.own.len(), shared + held.shared.len())
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: u64 = 3_600_000_000;
    const QUOTA: u32 = 10;
    const CAPACITY: usize = SHARDS * SHARD_CAPACITY;

    fn counters() -> Counters {
        Counters::new(vec![
            Rate {
                quota: QUOTA,
                span: SPAN,
            };
            2
        ])
    }

    fn key(number: u32) -> Key {
        let mut who = [0; 16];
        who[..4].copy_from_slice(&number.to_be_bytes());
        Key { limit: 0, who }
    }

    /// Counts one event if there is room; whether there was.
    fn ask(counters: &Counters, key: Key, wider: [u8; 16], now: u64) -> bool {
        counters.with(key, wider, now, |_, counter| {
            let admitted = counter.window.used(now, SPAN) < QUOTA;
            if admitted {
                counter.window.add(now, SPAN);
            }
            admitted
        })
    }

    #[test]
    fn a_hundred_thousand_strangers_reset_nobody_and_take_bounded_memory() {
        let counters = counters();
        let (victim, now) = (key(u32::MAX), SPAN);
        for _ in 0..QUOTA {
            assert!(ask(&counters, victim, victim.who, now));
        }
        for number in 0..300_000 {
            ask(&counters, key(number), key(number / 256).who, now + 1);
        }
        let (own, shared) = counters.sizes();
        assert_eq!(own, CAPACITY);
        assert!(
            shared <= SHARDS * usize::try_from(SHARED).unwrap(),
            "{shared}"
        );
        assert!(!ask(&counters, victim, victim.who, now + 2));
        // 20 MB of windows of their own at the most; of shared ones 3 MB, for up to 17 limits.
        let entry = size_of::<(Key, Counter)>() + 1;
        assert!(SHARDS * 8_192 * entry <= 20_500_000, "{entry}");
        assert!(SHARDS * 1_024 * entry <= 3_000_000, "{entry}");
    }

    #[test]
    fn a_newcomer_to_a_full_table_is_still_bounded() {
        let counters = counters();
        for number in 0..200_000 {
            ask(&counters, key(number), key(number).who, 1);
        }
        // One network behind which somebody has addresses without end.
        let network = key(7_000_000).who;
        let admitted = (1_000_000..1_002_000)
            .filter(|&number| ask(&counters, key(number), network, 2))
            .count();
        // A shared window in each shard, instead of 2,000 of their own.
        assert!(admitted <= SHARDS * QUOTA as usize, "{admitted}");
    }

    #[test]
    fn windows_that_count_nothing_make_room() {
        let counters = counters();
        for number in 0..200_000 {
            ask(&counters, key(number), key(number).who, 1);
        }
        let later = 1 + SPAN;
        // The newcomers' shards are searched, and they get windows of their own.
        for number in 200_000..201_000 {
            assert!(ask(&counters, key(number), [0; 16], later));
        }
        let (own, _) = counters.sizes();
        assert_eq!(own, 1_000);
    }

    #[test]
    fn what_is_under_way_stays() {
        let counters = counters();
        let place = counters.with(key(0), [0; 16], 1, |place, counter| {
            counter.under_way = 1;
            place
        });
        for number in 1..200_000 {
            ask(&counters, key(number), [0; 16], 1);
        }
        for number in 200_000..300_000 {
            ask(&counters, key(number), [0; 16], 1 + SPAN);
        }
        assert_eq!(counters.at(place, |counter| counter.under_way), Some(1));
    }
}
