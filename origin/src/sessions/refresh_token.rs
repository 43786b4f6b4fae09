//! Refresh tokens: opaque to clients, readable here before any SQL.
//!
//! `ekr_` and the base64url of
//!
//! ```text
//! 1 byte format | 1 byte version of the master key | 16 bytes session id
//! | 4 bytes counter | 4 bytes restore epoch | 32 bytes MAC of all before it
//! ```
//!
//! The MAC's key is derived from the master key and is not in the database: whoever copies the
//! database has no refresh token, and garbage is refused without a query. The same session,
//! counter, epoch and key make the same text, which is how a repeated refresh gets the same
//! successor although no token is stored.

use std::fmt;

use edgekeep_shared::base64url;
use zeroize::Zeroizing;

use crate::ids::SessionId;
use crate::vault::{Digest, Purpose, Vault, VaultError};

/// What leaked tokens are searched for by.
const PREFIX: &str = "ekr_";

const FORMAT: u8 = 1;
const SIGNED_BYTES: usize = 1 + 1 + 16 + 4 + 4;
const TOKEN_BYTES: usize = SIGNED_BYTES + 32;

/// What a refresh token says, once its MAC is right.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RefreshToken {
    /// The session.
    pub session_id: SessionId,
    /// Which token of the session it is.
    pub counter: u32,
    /// How often the database had been restored when it was made.
    pub epoch: u32,
}

impl RefreshToken {
    /// The text of this token under the current key.
    ///
    /// # Errors
    /// Never with a vault that has a current key.
    pub fn to_text(self, vault: &Vault) -> Result<Zeroizing<String>, VaultError> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(TOKEN_BYTES));
        bytes.push(FORMAT);
        let version = vault.current_version();
        bytes.push(version);
        bytes.extend_from_slice(self.session_id.as_bytes());
        bytes.extend_from_slice(&self.counter.to_be_bytes());
        bytes.extend_from_slice(&self.epoch.to_be_bytes());
        let mac = vault.mac_with(version, Purpose::RefreshToken, &[&bytes])?;
        bytes.extend_from_slice(&mac);
        Ok(Zeroizing::new(format!(
            "{PREFIX}{}",
            base64url::encode(&bytes)
        )))
    }

    /// Reads a token whose MAC is right; takes the same time wherever the MAC is wrong.
    pub fn parse(text: &str, vault: &Vault) -> Option<Self> {
        let encoded = text.strip_prefix(PREFIX)?;
        let bytes = base64url::decode_exact::<TOKEN_BYTES>(encoded.as_bytes()).ok()?;
        let (signed, mac) = bytes.split_at(SIGNED_BYTES);
        if signed[0] != FORMAT {
            return None;
        }
        let expected = vault
            .mac_with(signed[1], Purpose::RefreshToken, &[signed])
            .ok()?;
        if !Digest::new(expected).matches(mac) {
            return None;
        }
        Some(Self {
            session_id: SessionId::from_bytes(signed[2..18].try_into().ok()?),
            counter: u32::from_be_bytes(signed[18..22].try_into().ok()?),
            epoch: u32::from_be_bytes(signed[22..26].try_into().ok()?),
        })
    }
}

impl fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "RefreshToken({}, counter {}, epoch {})",
            self.session_id, self.counter, self.epoch
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use crate::vault::MasterKeys;

    fn vault(versions: &[(u8, [u8; 32])]) -> Vault {
        let keys = MasterKeys::from_versions(versions.iter().copied()).unwrap();
        Vault::new(&keys, Random::seeded(1))
    }

    fn token() -> RefreshToken {
        RefreshToken {
            session_id: SessionId::generate(&Random::seeded(2)),
            counter: 7,
            epoch: 3,
        }
    }

    #[test]
    fn reads_what_it_wrote_and_writes_it_the_same_again() {
        let vault = vault(&[(1, [7; 32])]);
        let text = token().to_text(&vault).unwrap();
        assert!(text.starts_with("ekr_"));
        assert_eq!(RefreshToken::parse(&text, &vault), Some(token()));
        assert_eq!(text, token().to_text(&vault).unwrap());
    }

    #[test]
    fn a_new_master_key_reads_old_tokens_and_a_foreign_one_none() {
        let text = token().to_text(&vault(&[(1, [7; 32])])).unwrap();
        let both = vault(&[(1, [7; 32]), (2, [8; 32])]);
        assert_eq!(RefreshToken::parse(&text, &both), Some(token()));
        assert_eq!(RefreshToken::parse(&text, &vault(&[(1, [8; 32])])), None);
        assert_eq!(RefreshToken::parse(&text, &vault(&[(2, [7; 32])])), None);
    }

    #[test]
    fn any_flipped_bit_rejects() {
        let vault = vault(&[(1, [7; 32])]);
        let text = token().to_text(&vault).unwrap();
        let bytes = base64url::decode(&text.as_bytes()[PREFIX.len()..]).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let text = format!("{PREFIX}{}", base64url::encode(&flipped));
            assert_eq!(RefreshToken::parse(&text, &vault), None, "bit {bit}");
        }
        for at in 0..text.len() {
            for bit in 0..7 {
                let mut flipped = text.as_bytes().to_vec();
                flipped[at] ^= 1 << bit;
                let flipped = String::from_utf8(flipped).unwrap();
                assert_eq!(RefreshToken::parse(&flipped, &vault), None, "{at}, {bit}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics_or_is_taken_for_a_token(text in ".{0,120}", tail: Vec<u8>) {
            let vault = vault(&[(1, [7; 32])]);
            assert_eq!(RefreshToken::parse(&text, &vault), None);
            let dressed = format!("{PREFIX}{}", base64url::encode(&tail));
            assert_eq!(RefreshToken::parse(&dressed, &vault), None);
        }
    }
}
