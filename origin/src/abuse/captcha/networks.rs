//! Failures of a network, in memory: what captchas are asked for by. Limits refuse; this only makes
//! an attempt dearer, so it counts what was answered, passwords and codes alike.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::abuse::Network;
use crate::clock::Timestamp;

/// How far back failures count.
const WINDOW: Duration = Duration::from_mins(15);

/// Networks remembered at a time, about 100 bytes each. An attacker with more of them cannot have
/// the others forgotten: until the window is over, every network then counts as failing, which
/// costs its people a captcha.
const MAX_NETWORKS: usize = 100_000;

/// Counts by network.
#[derive(Debug, Default)]
pub(super) struct Networks(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// The latest failures, oldest first, as many as are needed to judge.
    failures: HashMap<Network, Vec<Timestamp>>,
    flooded_until: Option<Timestamp>,
}

impl Networks {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a failure; of each network the latest `limit` are kept.
    pub(super) fn note_failure(&self, network: Network, limit: u32, now: Timestamp) {
        let mut seen = self.seen();
        if !seen.failures.contains_key(&network) && seen.failures.len() >= MAX_NETWORKS {
            seen.failures
                .retain(|_, times| times.last().is_some_and(|&last| last > now - WINDOW));
            if seen.failures.len() >= MAX_NETWORKS {
                seen.flooded_until = Some(now + WINDOW);
                return;
            }
        }
        let times = seen.failures.entry(network).or_default();
        times.push(now);
        if times.len() > limit as usize {
            times.remove(0);
        }
    }

    /// Whether `limit` failures came from `network` within the window.
    pub(super) fn is_failing(&self, network: Network, limit: u32, now: Timestamp) -> bool {
        let seen = self.seen();
        if seen.flooded_until.is_some_and(|until| now < until) {
            return true;
        }
        seen.failures.get(&network).is_some_and(|times| {
            times.len() >= limit as usize
                && times.first().is_some_and(|&first| first > now - WINDOW)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_unix_seconds(1_767_225_600);

    fn at(seconds: u64) -> Timestamp {
        START + Duration::from_secs(seconds)
    }

    fn address(number: u32) -> Network {
        std::net::IpAddr::V4(number.into()).into()
    }

    #[test]
    fn failures_count_for_fifteen_minutes_and_not_for_others() {
        let networks = Networks::default();
        let (one, other) = (address(1), address(2));
        for seconds in [0, 100, 200] {
            assert!(!networks.is_failing(one, 3, at(seconds)));
            networks.note_failure(one, 3, at(seconds));
        }
        for (seconds, failing) in [(200, true), (899, true), (900, false), (901, false)] {
            assert_eq!(
                networks.is_failing(one, 3, at(seconds)),
                failing,
                "{seconds}"
            );
            assert!(!networks.is_failing(other, 3, at(seconds)));
        }
        // The second and third are still young.
        networks.note_failure(one, 3, at(950));
        for (seconds, failing) in [(950, true), (999, true), (1_000, false)] {
            assert_eq!(
                networks.is_failing(one, 3, at(seconds)),
                failing,
                "{seconds}"
            );
        }
    }

    #[test]
    fn more_networks_than_are_remembered_make_all_of_them_suspicious() {
        let networks = Networks::default();
        let most = u32::try_from(MAX_NETWORKS).unwrap();
        for number in 0..most {
            networks.note_failure(address(number), 3, at(0));
        }
        assert!(!networks.is_failing(address(7), 3, at(0)));
        networks.note_failure(address(most), 3, at(0));
        for (seconds, failing) in [(0, true), (899, true), (900, false)] {
            assert_eq!(networks.is_failing(address(7), 3, at(seconds)), failing);
        }
        // Those are forgotten that are too old to count.
        networks.note_failure(address(most), 3, at(900));
        assert_eq!(networks.seen().failures.len(), 1);
    }
}
