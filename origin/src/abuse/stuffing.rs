//! Signs of credential stuffing: one network that fails at many accounts, and one account that is
//! failed at from many networks, by whatever is guessed: passwords, or codes of either factor.
//!
//! Limits bound what one address and what one account must suffer; they do not see that a thousand
//! addresses try two passwords each. This only watches, and nobody is refused: a sign is a line in
//! the log, a number and an event, and a login that comes while it stands is looked at
//! ([`anomaly`]). It forgets rather than grow: at most 4,096 networks and as many accounts are
//! watched at a time, which takes 2 MB and up to 100 numbers for each; what comes when it is full
//! goes unwatched.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::network::Network;
use super::{Subject, anomaly};
use crate::app::State;
use crate::error::Error;
use crate::ids::UserId;
use crate::request::Caller;

/// Networks, and accounts, that are watched at a time.
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
    by_account: Mutex<HashMap<u64, Seen>>,
    signs: Signs,
}

/// What stands against a login.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Its account is failed at from many networks.
    pub(crate) many_networks: bool,
    /// Its network fails at many accounts.
    pub(crate) many_accounts: bool,
}

/// Different values that came together with a key, within a span of the first.
#[derive(Debug)]
struct Seen {
    since: u64,
    values: Vec<u64>,
}

/// How many values make a sign, and for how long they belong together, in microseconds.
#[derive(Clone, Copy)]
struct Rule {
    enough: usize,
    span: u64,
}

impl Rule {
    fn new(enough: u32, seconds: u64) -> Self {
        Self {
            enough: usize::try_from(enough).unwrap_or(usize::MAX),
            span: seconds.saturating_mul(1_000_000),
        }
    }
}

impl Watch {
    /// What was seen, for the metrics.
    pub(crate) fn signs(&self) -> Signs {
        self.signs.clone()
    }

    /// Notes a wrong password or code, and records the signs that it completes. At most once in a
    /// span for a network and for an account, whether or not there is one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn failed(
        &self,
        state: &State,
        caller: &Caller,
        account: &Subject,
        user_id: Option<UserId>,
    ) -> Result<(), Error> {
        if !state.config.limits.per_ip {
            return Ok(());
        }
        let settings = &state.config.anomaly;
        let network = Network::of(caller);
        let (wider, now) = (network.wider(), state.clock.ticks());
        let account = first(account.bytes());
        let source = first(Subject::source(&state.vault, network)?.bytes());
        let rule = Rule::new(settings.accounts_per_network, settings.failures_seconds);
        if note(&self.by_network, key(wider), account, rule, now) {
            self.tell("many_accounts");
            tracing::warn!(network = %wider, accounts = rule.enough, "one network fails at many accounts");
            anomaly::many_accounts(state, caller).await?;
        }
        let rule = Rule::new(settings.networks_per_account, settings.failures_seconds);
        if note(&self.by_account, account, source, rule, now) {
            self.tell("many_networks");
            tracing::warn!(network = %wider, networks = rule.enough, "one account is failed at from many networks");
            anomaly::many_networks(state, caller, user_id).await?;
        }
        Ok(())
    }

    /// What stands now against a login of `caller` to `account`.
    pub(crate) fn standing(&self, state: &State, caller: &Caller, account: &Subject) -> Standing {
        if !state.config.limits.per_ip {
            return Standing::default();
        }
        let (settings, now) = (&state.config.anomaly, state.clock.ticks());
        let rule = |enough| Rule::new(enough, settings.failures_seconds);
        let network = key(Network::of(caller).wider());
        let account = first(account.bytes());
        Standing {
            many_networks: is_told(
                &self.by_account,
                account,
                rule(settings.networks_per_account),
                now,
            ),
            many_accounts: is_told(
                &self.by_network,
                network,
                rule(settings.accounts_per_network),
                now,
            ),
        }
    }

    fn tell(&self, sign: &'static str) {
        self.signs.get_or_create(&SignLabel { sign }).inc();
    }
}

/// The first bytes of a keyed hash.
fn first(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .take(8)
        .fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// Of an address, what tells networks apart.
fn key(wider: Network) -> u64 {
    let [high, low] = [&wider.bytes()[..8], &wider.bytes()[8..]].map(first);
    high ^ low
}

/// Notes that `value` came with `key`; whether it is the one that makes enough of them.
fn note(seen: &Mutex<HashMap<u64, Seen>>, key: u64, value: u64, rule: Rule, now: u64) -> bool {
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    if seen.len() >= WATCHED && !seen.contains_key(&key) {
        seen.retain(|_, held| held.since + rule.span > now);
        if seen.len() >= WATCHED {
            return false;
        }
    }
    let held = seen.entry(key).or_insert_with(|| Seen {
        since: now,
        values: Vec::with_capacity(1),
    });
    if held.since + rule.span <= now {
        held.since = now;
        held.values.clear();
    }
    if held.values.len() >= rule.enough || held.values.contains(&value) {
        return false;
    }
    held.values.push(value);
    held.values.len() == rule.enough
}

/// Whether enough values came with `key`, in a span that is not over.
fn is_told(seen: &Mutex<HashMap<u64, Seen>>, key: u64, rule: Rule, now: u64) -> bool {
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.get(&key)
        .is_some_and(|held| held.values.len() >= rule.enough && held.since + rule.span > now)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: u64 = 15 * 60 * 1_000_000;

    const RULE: Rule = Rule {
        enough: 3,
        span: SPAN,
    };

    #[test]
    fn different_values_are_told_once_and_repeated_ones_never() {
        let seen = Mutex::default();
        let told: Vec<bool> = [1, 2, 2, 2, 3, 4, 5, 5]
            .into_iter()
            .map(|value| note(&seen, 7, value, RULE, 10))
            .collect();
        assert_eq!(
            told,
            [false, false, false, false, true, false, false, false]
        );
        // Another key, and another quarter of an hour.
        assert!(!note(&seen, 8, 3, RULE, 10));
        for (value, told) in [(1, false), (2, false), (3, true)] {
            assert_eq!(note(&seen, 7, value, RULE, 10 + SPAN), told);
        }
    }

    #[test]
    fn a_sign_stands_until_its_span_is_over() {
        let seen = Mutex::default();
        for (value, stands) in [(1, false), (2, false), (3, true)] {
            note(&seen, 7, value, RULE, 10 + value);
            assert_eq!(is_told(&seen, 7, RULE, 20), stands, "{value}");
        }
        assert!(!is_told(&seen, 8, RULE, 20));
        for (now, stands) in [(10 + SPAN, true), (11 + SPAN, false)] {
            assert_eq!(is_told(&seen, 7, RULE, now), stands);
        }
    }

    #[test]
    fn strangers_without_end_take_bounded_memory() {
        let seen = Mutex::default();
        for key in 0..100_000 {
            note(&seen, key, 1, RULE, 10);
        }
        for value in 0..1_000 {
            note(&seen, 1, value, RULE, 10);
        }
        let held = seen.lock().unwrap();
        assert_eq!(held.len(), WATCHED);
        let values = held.values().map(|seen| seen.values.capacity()).max();
        assert!(values.unwrap() <= 4, "{values:?}");
        drop(held);
        let entry = size_of::<(u64, Seen)>() + 1;
        // Tables of 8,192 buckets for each of the two, and the ten values of one, the three of the other.
        let all = 2 * 8_192 * entry + WATCHED * (16 + 4) * size_of::<u64>();
        assert!(all <= 2_000_000, "{all}");
        note(&seen, 100_001, 1, RULE, 10 + SPAN);
        assert_eq!(seen.lock().unwrap().len(), 1);
    }
}
