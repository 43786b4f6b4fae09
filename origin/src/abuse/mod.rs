//! Bounds on guessing, on messages and on load: by account, by recipient, by address.
//!
//! | file | counts | where |
//! |---|---|---|
//! | `limits` (`counters`, `window`, `headers`) | requests and failures by address, user, session | memory |
//! | `lockout` | wrong passwords in a row, and within 15 minutes, of an account | database |
//! | `delay` | wrong codes of a second factor in a row | database |
//! | `devices` | wrong passwords on a device that is trusted | database |
//! | `attempts` | what else an account may be asked for in a while | database |
//! | `guesses` | wrong codes of an account, and of its second factors on a device that is trusted | database |
//! | `sends` | messages to a recipient | database |
//! | `captcha` | failures of a network, for whether a captcha is asked for | memory |
//! | `stuffing` | who fails at many accounts, and who is failed at from many networks | memory |
//! | `anomaly` (`place`) | devices and places of logins and refreshes | database |

use crate::ids::UserId;
use crate::vault::{Purpose, Vault, VaultError};

pub(crate) mod anomaly;
pub mod attempts;
pub mod captcha;
mod counters;
pub mod delay;
pub mod devices;
pub mod guesses;
pub mod headers;
pub mod limits;
pub mod lockout;
mod network;
pub mod place;
pub mod sends;
pub mod stuffing;
mod window;

pub use headers::Readings;
pub use limits::{Attempt, Limit, Limiter};
pub use network::Network;

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

    /// One factor of an account, guessed on a device of its owner: by the keyed hash of its token.
    ///
    /// # Errors
    /// When the vault has no key.
    pub fn on_device(vault: &Vault, device: &[u8; 32], factor: &str) -> Result<Self, VaultError> {
        vault
            .mac(Purpose::Abuse, &[b"device", factor.as_bytes(), device])
            .map(Self)
    }

    /// The password of an account where somebody who is logged in gives it once more. Only who holds a
    /// session can use that up, so a lock that strangers cause at the login does not hold it up.
    ///
    /// # Errors
    /// When the vault has no key.
    pub fn confirmation(vault: &Vault, user_id: UserId) -> Result<Self, VaultError> {
        Self::factor(vault, user_id, "confirm")
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

    /// Codes of an address that are guessed without the token that they are bound to, which anybody
    /// can do: whatever comes of it holds up nobody who has one.
    ///
    /// # Errors
    /// When the vault has no key.
    pub fn unbound(vault: &Vault, blind: &[u8; 32]) -> Result<Self, VaultError> {
        vault.mac(Purpose::Abuse, &[b"unbound", blind]).map(Self)
    }

    /// Codes to add addresses, guessed by the account that `account` is a keyed hash of: by whichever address,
    /// so that its guesses hold up nobody who has or wants that.
    ///
    /// # Errors
    /// When the vault has no key.
    pub fn adding(vault: &Vault, account: u128) -> Result<Self, VaultError> {
        let parts: [&[u8]; 2] = [b"contact", &account.to_be_bytes()];
        vault.mac(Purpose::Abuse, &parts).map(Self)
    }

    /// Where a request comes from, so that the tables do not say it.
    ///
    /// # Errors
    /// When the vault has no key.
    pub fn source(vault: &Vault, network: Network) -> Result<Self, VaultError> {
        vault
            .mac(Purpose::Abuse, &[b"source", &network.bytes()])
            .map(Self)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use crate::vault::MasterKeys;

    #[test]
    fn every_factor_of_every_subject_is_counted_apart() {
        let keys = MasterKeys::from_versions([(1, [7; 32])]).unwrap();
        let vault = Vault::new(&keys, Random::seeded(1));
        let id = UserId::from_bytes([1; 16]);
        let blind = [1; 32];
        let other = UserId::from_bytes([2; 16]);
        let subjects = [
            Subject::account(&vault, id).unwrap(),
            Subject::account(&vault, other).unwrap(),
            Subject::factor(&vault, id, "totp").unwrap(),
            Subject::factor(&vault, id, "email").unwrap(),
            Subject::confirmation(&vault, id).unwrap(),
            Subject::unbound(&vault, &blind).unwrap(),
            Subject::adding(&vault, u128::from_be_bytes([1; 16])).unwrap(),
            Subject::factor(&vault, other, "totp").unwrap(),
            Subject::on_device(&vault, &blind, "totp").unwrap(),
            Subject::on_device(&vault, &blind, "email").unwrap(),
            Subject::identifier(&vault, &blind).unwrap(),
            Subject::nobody(&vault, &blind).unwrap(),
        ];
        let all: std::collections::BTreeSet<_> = subjects.iter().map(|subject| subject.0).collect();
        assert_eq!(all.len(), subjects.len());
    }
}
