//! Bounds on guessing and on messages: by account, by recipient, by address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::app::State;
use crate::error::Error;
use crate::ids::UserId;
use crate::request::Caller;
use crate::vault::{Purpose, Vault, VaultError};

pub mod guesses;
pub mod lockout;
pub mod sends;

/// What is counted, as a keyed hash: the tables tell nothing about whom they count.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Subject(pub(crate) [u8; 32]);

impl Subject {
    /// An account, by whatever identifier it is reached.
    ///
    /// # Errors
    /// When the vault has no key.
    pub fn account(vault: &Vault, user_id: UserId) -> Result<Self, VaultError> {
        vault
            .mac(Purpose::Abuse, &[b"account", user_id.as_bytes()])
            .map(Self)
    }

    /// One factor of an account: what is guessed of it bars no other.
    ///
    /// # Errors
    /// When the vault has no key.
    pub fn factor(vault: &Vault, user_id: UserId, factor: &str) -> Result<Self, VaultError> {
        vault
            .mac(
                Purpose::Abuse,
                &[b"factor", factor.as_bytes(), user_id.as_bytes()],
            )
            .map(Self)
    }

    /// One identifier, whether or not an account has it.
    ///
    /// # Errors
    /// When the vault has no key.
    pub fn identifier(vault: &Vault, blind: &[u8; 32]) -> Result<Self, VaultError> {
        vault.mac(Purpose::Abuse, &[b"identifier", blind]).map(Self)
    }

    /// What stands in for the account of an identifier that has none, so that both cost the same.
    ///
    /// # Errors
    /// When the vault has no key.
    pub fn nobody(vault: &Vault, blind: &[u8; 32]) -> Result<Self, VaultError> {
        vault.mac(Purpose::Abuse, &[b"nobody", blind]).map(Self)
    }

    /// The account where there is one, else its stand-in.
    ///
    /// # Errors
    /// When the vault has no key.
    pub fn of(
        vault: &Vault,
        user_id: Option<UserId>,
        blind: &[u8; 32],
    ) -> Result<Self, VaultError> {
        match user_id {
            Some(user_id) => Self::account(vault, user_id),
            None => Self::nobody(vault, blind),
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What an address asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Proof of who one is: a password, a code, a link.
    Attempt,
    /// A message to somebody.
    Send,
}

const WINDOW: Duration = Duration::from_mins(1);

/// Addresses remembered at a time: 64 bytes each. When more come within a minute, the count
/// begins anew rather than grow.
const MAX_ADDRESSES: usize = 100_000;

/// Counts requests by address in windows of a minute, in memory.
#[derive(Debug, Default)]
pub struct PerIp(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    window: i64,
    seen: HashMap<(Kind, IpAddr), u32>,
}

impl PerIp {
    /// Counts one request of `caller`.
    ///
    /// # Errors
    /// [`Error::RateLimited`] when the address has had its share of this minute.
    pub fn count(&self, state: &State, caller: &Caller, kind: Kind) -> Result<(), Error> {
        let limits = &state.config.limits;
        let (true, Some(address)) = (limits.per_ip, caller.address) else {
            return Ok(());
        };
        let limit = match kind {
            Kind::Attempt => limits.attempts_per_minute,
            Kind::Send => limits.sends_per_minute,
        };
        let length = i64::try_from(WINDOW.as_secs()).unwrap_or(60);
        let seconds = state.clock.now().unix_seconds();
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let window = seconds.div_euclid(length);
        if counts.window != window || counts.seen.len() >= MAX_ADDRESSES {
            counts.seen.clear();
            counts.window = window;
        }
        let count = counts.seen.entry((kind, network(address))).or_insert(0);
        if *count >= limit {
            let left = length - seconds.rem_euclid(length);
            return Err(Error::RateLimited(Duration::from_secs(
                u64::try_from(left).unwrap_or(1),
            )));
        }
        *count += 1;
        Ok(())
    }
}

/// The unit that is counted: an IPv4 address, or the /64 that an IPv6 host chooses from freely.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & !u128::from(u64::MAX)).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_hosts_of_one_network_share_a_count() {
        let same = |one: &str, other: &str| {
            one.parse().map(network).ok() == other.parse().map(network).ok()
        };
        assert!(same("2001:db8::1", "2001:db8::ffff:1"));
        assert!(!same("2001:db8::1", "2001:db8:0:1::1"));
        assert!(same("::ffff:192.0.2.1", "192.0.2.1"));
        assert!(!same("192.0.2.1", "192.0.2.2"));
    }
}
