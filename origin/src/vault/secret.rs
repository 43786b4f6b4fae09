//! Secrets as types: redacted in logs, never serialised, compared in constant time.

use std::fmt;

use serde::{Deserialize, Deserializer};
use sha2::Digest as _;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// A secret in the clear: a password, a code, a token. Wiped when dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes `text` as a secret.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The secret itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// SHA-256 of the secret: what may be stored of a token that is random in itself.
    pub fn digest(&self) -> Digest {
        Digest(sha2::Sha256::digest(self.0.as_bytes()).into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// 32 bytes that stand for a secret in the database: a hash or a MAC.
#[derive(Clone, Copy)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest with these bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for SQL.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether `stored` holds the same bytes; takes the same time whatever differs.
    pub fn matches(&self, stored: &[u8]) -> bool {
        self.0.ct_eq(stored).into()
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        let secret = Secret::new("correct horse".to_owned());
        assert!(!format!("{secret:?} {:?}", secret.digest()).contains("horse"));
    }

    #[test]
    fn digests_match_only_themselves() {
        let digest = Secret::new("a".to_owned()).digest();
        assert!(digest.matches(digest.as_bytes()));
        assert!(!digest.matches(&digest.as_bytes()[..31]));
        assert!(!digest.matches(Secret::new("b".to_owned()).digest().as_bytes()));
    }
}
