//! Signs of credential stuffing: one network that fails at many identifiers, and one identifier
//! that is failed at from many networks.
//!
//! Limits bound what one address and what one account must suffer; they do not see that a thousand
//! addresses try two passwords each. This only watches: a line in the log and a number, nobody is
//! refused. It forgets rather than grow: at most 4,096 networks and as many identifiers are
//! watched at a time, which takes 2 MB; what comes when it is full goes unwatched.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::anomaly;
use super::lockout::Guesser;
use super::network::Network;
use crate::app::State;
use crate::error::Error;
use crate::ids::UserId;
use crate::request::Caller;

/// How long failures belong together, in microseconds.
const SPAN: u64 = 15 * 60 * 1_000_000;

/// Different identifiers at which one network (an IPv4 /24, an IPv6 /48) fails. An office behind
/// one address has people who mistype, seldom ten within a quarter of an hour.
const IDENTIFIERS: usize = 10;

/// Different networks (an IPv4 address, an IPv6 /64) from which one identifier is failed at: a
/// person has two, at home and on the way. Five failures lock, so more than five are never seen.
const NETWORKS: usize = 3;

/// Networks, and identifiers, that are watched at a time.
const WATCHED: usize = 4_096;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct SignLabel {
    sign: &'static str,
}

/// Signs that were seen, by kind.
pub(crate) type Signs = Family<SignLabel, Counter>;

/// What is watched.
#[derive(Debug, Default)]
pub struct Watch {
    by_network: Mutex<HashMap<u64, Seen>>,
    by_identifier: Mutex<HashMap<u64, Seen>>,
    signs: Signs,
}

/// Different values that came together with a key, within [`SPAN`] of the first.
#[derive(Debug)]
struct Seen {
    since: u64,
    values: [u64; IDENTIFIERS],
    count: usize,
}

impl Watch {
    /// What was seen, for the metrics.
    pub(crate) fn signs(&self) -> Signs {
        self.signs.clone()
    }

    /// Notes a wrong password, and records the signs that it completes. At most once in a quarter
    /// of an hour for a network and for an identifier, whether or not somebody has it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn failed(
        &self,
        state: &State,
        caller: &Caller,
        guesser: &Guesser,
        user_id: Option<UserId>,
    ) -> Result<(), Error> {
        if !state.config.limits.per_ip {
            return Ok(());
        }
        let (network, now) = (Network::of(caller), state.clock.ticks());
        let wider = network.wider();
        // The first bytes of keyed hashes; of an address, what tells networks apart.
        let identifier = first(guesser.identifier.bytes());
        let source = first(guesser.source.bytes());
        let [high, low] = [&wider.bytes()[..8], &wider.bytes()[8..]].map(first);
        if note(&self.by_network, high ^ low, identifier, IDENTIFIERS, now) {
            self.tell("many_accounts");
            tracing::warn!(network = %wider, identifiers = IDENTIFIERS, "one network fails at many accounts");
            anomaly::many_accounts(state, caller).await?;
        }
        if note(&self.by_identifier, identifier, source, NETWORKS, now) {
            self.tell("many_networks");
            tracing::warn!(network = %wider, networks = NETWORKS, "one account is failed at from many networks");
            anomaly::many_networks(state, caller, user_id).await?;
        }
        Ok(())
    }

    fn tell(&self, sign: &'static str) {
        self.signs.get_or_create(&SignLabel { sign }).inc();
    }
}

fn first(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .take(8)
        .fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// Notes that `value` came with `key`; whether it is the one that makes `enough` of them.
fn note(seen: &Mutex<HashMap<u64, Seen>>, key: u64, value: u64, enough: usize, now: u64) -> bool {
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    if seen.len() >= WATCHED && !seen.contains_key(&key) {
        seen.retain(|_, held| held.since + SPAN > now);
        if seen.len() >= WATCHED {
            return false;
        }
    }
    let fresh = Seen {
        since: now,
        values: [0; IDENTIFIERS],
        count: 0,
    };
    let held = seen.entry(key).or_insert(fresh);
    if held.since + SPAN <= now {
        held.since = now;
        held.count = 0;
    }
    if held.count >= enough || held.values[..held.count].contains(&value) {
        return false;
    }
    held.values[held.count] = value;
    held.count += 1;
    held.count == enough
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_values_are_told_once_and_repeated_ones_never() {
        let seen = Mutex::default();
        let told: Vec<bool> = [1, 2, 2, 2, 3, 4, 5, 5]
            .into_iter()
            .map(|value| note(&seen, 7, value, 3, 10))
            .collect();
        assert_eq!(
            told,
            [false, false, false, false, true, false, false, false]
        );
        // Another key, and another quarter of an hour.
        assert!(!note(&seen, 8, 3, 3, 10));
        for (value, told) in [(1, false), (2, false), (3, true)] {
            assert_eq!(note(&seen, 7, value, 3, 10 + SPAN), told);
        }
    }

    #[test]
    fn strangers_without_end_take_bounded_memory() {
        let seen = Mutex::default();
        for key in 0..100_000 {
            note(&seen, key, 1, 3, 10);
        }
        assert_eq!(seen.lock().unwrap().len(), WATCHED);
        let entry = size_of::<(u64, Seen)>() + 1;
        // A table of 8,192 buckets for each of the two.
        assert!(2 * 8_192 * entry <= 2_000_000, "{entry}");
        note(&seen, 100_001, 1, 3, 10 + SPAN);
        assert_eq!(seen.lock().unwrap().len(), 1);
    }
}
