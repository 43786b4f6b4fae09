//! Bounds on guessing, on messages and on load: by account, by recipient, by address.
//!
//! | file | counts | where |
//! |---|---|---|
//! | `limits` (`counters`, `window`, `headers`) | requests and failures by address, user, session | memory |
//! | `lockout` | wrong passwords in a row, of an account | database |
//! | `attempts` | what else an account may be asked for in a while | database |
//! | `guesses` | wrong codes of an account | database |
//! | `sends` | messages to a recipient | database |

use crate::ids::UserId;
use crate::vault::{Purpose, Vault, VaultError};

pub mod attempts;
mod counters;
pub mod guesses;
pub mod headers;
pub mod limits;
pub mod lockout;
mod network;
pub mod sends;
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
