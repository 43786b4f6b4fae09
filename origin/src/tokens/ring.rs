//! What a keyring holds: keys, their states, and why it was not changed.

use edgekeep_shared::jwk::{JwkSet, MAX_KEYS};

use super::published::Published;
use super::signing::SigningKey;
use crate::clock::Timestamp;
use crate::error::Error;

/// Where a key is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// Published, signs nothing yet.
    Pending,
    /// Signs.
    Active,
    /// Published, signs nothing more.
    Retiring,
    /// Its tokens have expired.
    Retired,
    /// Turned away.
    Revoked,
}

impl KeyState {
    pub(super) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "pending" => Self::Pending,
            "active" => Self::Active,
            "retiring" => Self::Retiring,
            "retired" => Self::Retired,
            "revoked" => Self::Revoked,
            _ => return None,
        })
    }

    /// The name that the database and the command line use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Retiring => "retiring",
            Self::Retired => "retired",
            Self::Revoked => "revoked",
        }
    }

    /// Whether the JWK Set has keys of this state.
    pub(super) const fn is_published(self) -> bool {
        matches!(self, Self::Pending | Self::Active | Self::Retiring)
    }
}

/// One key, as far as it may be shown.
#[derive(Clone, Debug)]
pub struct Key {
    /// The RFC 7638 thumbprint.
    pub kid: String,
    /// `ES256`, `EdDSA` or `RS256`.
    pub algorithm: &'static str,
    /// Where it is in its life.
    pub state: KeyState,
    /// When it was made.
    pub created_at: Timestamp,
    /// For a pending key: the earliest instant at which it may sign.
    pub activate_not_before: Timestamp,
    /// When it began to sign.
    pub activated_at: Option<Timestamp>,
    /// For a retiring key: when it leaves the JWK Set.
    pub retire_after: Option<Timestamp>,
    /// The longest life of a token it signed, in seconds.
    pub(super) token_seconds: i64,
}

/// The keyring as it was at one value of its counter.
#[derive(Debug)]
pub struct Ring {
    pub(super) change: i64,
    pub(super) keys: Vec<Key>,
    pub(super) active: Option<(String, SigningKey)>,
    pub(super) set: JwkSet,
    pub(super) document: Published,
}

impl Ring {
    /// Every key, oldest first.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The published keys: what tokens are judged with.
    pub const fn set(&self) -> &JwkSet {
        &self.set
    }

    /// The JWK Set document.
    pub const fn document(&self) -> &Published {
        &self.document
    }

    /// The counter's value that this is the keyring of.
    pub const fn change(&self) -> i64 {
        self.change
    }

    /// `kid` and key that sign now.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where there is none; the next look at the database mends that.
    pub fn active(&self) -> Result<(&str, &SigningKey), Error> {
        self.active
            .as_ref()
            .map(|(kid, key)| (kid.as_str(), key))
            .ok_or(Error::Unavailable("no signing key"))
    }

    /// The longest life, in seconds, of a token that may still be about.
    pub fn longest_token_seconds(&self) -> i64 {
        let keys = self
            .keys
            .iter()
            .filter(|key| key.state != KeyState::Retired);
        keys.map(|key| key.token_seconds).max().unwrap_or(0)
    }

    pub(super) fn find(&self, state: KeyState) -> Option<&Key> {
        self.keys.iter().find(|key| key.state == state)
    }
}

/// Why the keyring was not changed.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// Not every verifier must have seen the standby.
    #[error(
        "the standby key {kid} may sign from {} on (in {wait} s): until then a verifier may hold \
         a JWK Set without it",
        rfc3339(*earliest)
    )]
    TooEarly {
        /// The standby.
        kid: String,
        /// The earliest instant.
        earliest: Timestamp,
        /// Seconds until then, rounded up.
        wait: u64,
    },
    /// Another process changed the keyring meanwhile.
    #[error("the keyring was changed by another process meanwhile; nothing was done")]
    Overtaken,
    /// Too many keys are retiring for a JWK Set.
    #[error("{MAX_KEYS} keys are published, which is as many as a verifier reads")]
    TooManyKeys,
    /// There is no such key.
    #[error("there is no key {0}")]
    Unknown(String),
    /// The database or the vault failed.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl From<sqlx::Error> for RotateError {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// `2026-01-01T00:00:00Z`, by the civil-from-days algorithm; for people to read.
pub fn rfc3339(at: Timestamp) -> String {
    let seconds = at.unix_seconds();
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_written_as_dates() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_827_696, "2000-02-29T12:34:56Z"),
            (1_767_225_600, "2026-01-01T00:00:00Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(Timestamp::from_unix_seconds(seconds)), text);
        }
    }
}
