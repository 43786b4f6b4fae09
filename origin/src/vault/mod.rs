//! Secrets at rest: sealing, blind indexes and MACs under keys derived from one master key.
//!
//! Each purpose has a key of its own (HKDF-SHA256, RFC 5869), so that what is sealed for one
//! never opens as another. Sealing is AES-256-GCM-SIV (RFC 8452), which forgives a repeated
//! nonce. Every sealed value begins with the version of the master key that made it. Blind indexes
//! do not: a database keeps the version that it was begun under ([`binding`]).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use aes_gcm_siv::aead::{Aead, Payload};
use aes_gcm_siv::{Aes256GcmSiv, KeyInit as _, Nonce};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

pub mod binding;
pub mod master;
mod secret;

pub use master::MasterKeys;
pub use secret::{Digest, Secret};

use crate::random::Random;

const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// What a key is for. Its label is part of the derivation: renaming one loses what it sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The spelling of e-mail addresses, numbers and user names, and their blind index.
    Identifier,
    /// Names and other profile data.
    Profile,
    /// The pepper of passwords.
    Password,
    /// Registrations that wait for the proof of their address.
    Registration,
    /// One-time codes and the tokens they are bound to.
    Code,
    /// Counters of failures and of messages sent.
    Abuse,
    /// Private keys that sign access tokens.
    SigningKey,
    /// The private key that signs what the gates are told.
    ControlKey,
    /// The MAC of refresh tokens.
    RefreshToken,
    /// What a session remembers of its device.
    Session,
    /// Who somebody is at another identity provider, and logins there that are under way.
    Social,
}

impl Purpose {
    const fn label(self) -> &'static str {
        match self {
            Self::Identifier => "identifier",
            Self::Profile => "profile",
            Self::Password => "password",
            Self::Registration => "registration",
            Self::Code => "code",
            Self::Abuse => "abuse",
            Self::SigningKey => "signing-key",
            Self::ControlKey => "control-key",
            Self::RefreshToken => "refresh-token",
            Self::Session => "session",
            Self::Social => "social",
        }
    }
}

/// Why something could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The value is too short, altered, or belongs to another purpose or row.
    #[error("sealed value does not open")]
    DoesNotOpen,
    /// The value was sealed under a master key that is not configured.
    #[error("sealed under master key version {0}, which is not configured")]
    KeyMissing(u8),
    /// The value is beyond what the cipher takes.
    #[error("value cannot be sealed")]
    CannotSeal,
}

/// The derived keys of every configured master key.
#[derive(Clone)]
pub struct Vault {
    current: u8,
    keys: Arc<BTreeMap<u8, Hkdf<Sha256>>>,
    random: Random,
}

impl Vault {
    /// A vault over `keys`; the highest version seals, all of them open.
    pub fn new(keys: &MasterKeys, random: Random) -> Self {
        let derived = keys
            .versions()
            .map(|(version, key)| {
                (
                    version,
                    Hkdf::<Sha256>::new(Some(b"edgekeep vault v1"), key),
                )
            })
            .collect();
        Self {
            current: keys.current(),
            keys: Arc::new(derived),
            random,
        }
    }

    /// The version that seals now.
    pub fn current_version(&self) -> u8 {
        self.current
    }

    /// Encrypts `plaintext` for `purpose`, bound to `aad` (for instance the row's id).
    ///
    /// Returns version, nonce, ciphertext and tag in one value.
    ///
    /// # Errors
    /// [`VaultError::CannotSeal`] for a value of 64 GiB or more.
    pub fn seal(
        &self,
        purpose: Purpose,
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, VaultError> {
        let key = self.derive(self.current, purpose, "seal")?;
        let nonce: [u8; NONCE_BYTES] = self.random.bytes();
        let cipher = Aes256GcmSiv::new(key.as_ref().into());
        let body = cipher
            .encrypt(
                Nonce::from_slice(&nonce),
                Payload {
                    msg: plaintext,
                    aad,
                },
            )
            .map_err(|_| VaultError::CannotSeal)?;
        let mut sealed = Vec::with_capacity(1 + NONCE_BYTES + body.len());
        sealed.push(self.current);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&body);
        Ok(sealed)
    }

    /// Decrypts what [`seal`](Self::seal) made for the same `purpose` and `aad`.
    ///
    /// # Errors
    /// When the value was altered, belongs elsewhere, or its master key is not configured.
    pub fn open(
        &self,
        purpose: Purpose,
        aad: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        if sealed.len() < 1 + NONCE_BYTES + TAG_BYTES {
            return Err(VaultError::DoesNotOpen);
        }
        let (version, rest) = (sealed[0], &sealed[1..]);
        let (nonce, body) = rest.split_at(NONCE_BYTES);
        let key = self.derive(version, purpose, "seal")?;
        Aes256GcmSiv::new(key.as_ref().into())
            .decrypt(Nonce::from_slice(nonce), Payload { msg: body, aad })
            .map(Zeroizing::new)
            .map_err(|_| VaultError::DoesNotOpen)
    }

    /// A keyed hash by which `value` is found again without being stored.
    ///
    /// Made with the current master key, which is therefore the one that the database was begun
    /// under: nothing recomputes the indexes.
    ///
    /// # Errors
    /// Never with a vault made by [`new`](Self::new).
    pub fn blind_index(&self, purpose: Purpose, value: &str) -> Result<[u8; 32], VaultError> {
        self.keyed(self.current, purpose, "index", &[value.as_bytes()])
    }

    /// A MAC over `parts`, each preceded by its length so that no two lists read alike.
    ///
    /// # Errors
    /// Never with a vault made by [`new`](Self::new).
    pub fn mac(&self, purpose: Purpose, parts: &[&[u8]]) -> Result<[u8; 32], VaultError> {
        self.mac_with(self.current, purpose, parts)
    }

    /// [`mac`](Self::mac) under the master key of `version`, for values that carry theirs.
    ///
    /// # Errors
    /// [`VaultError::KeyMissing`] when that version is not configured.
    pub fn mac_with(
        &self,
        version: u8,
        purpose: Purpose,
        parts: &[&[u8]],
    ) -> Result<[u8; 32], VaultError> {
        self.keyed(version, purpose, "mac", parts)
    }

    fn keyed(
        &self,
        version: u8,
        purpose: Purpose,
        usage: &str,
        parts: &[&[u8]],
    ) -> Result<[u8; 32], VaultError> {
        let key = self.derive(version, purpose, usage)?;
        let mut mac =
            Hmac::<Sha256>::new_from_slice(key.as_ref()).map_err(|_| VaultError::CannotSeal)?;
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        Ok(mac.finalize().into_bytes().into())
    }

    fn derive(
        &self,
        version: u8,
        purpose: Purpose,
        usage: &str,
    ) -> Result<Zeroizing<[u8; 32]>, VaultError> {
        let hkdf = self
            .keys
            .get(&version)
            .ok_or(VaultError::KeyMissing(version))?;
        let mut key = Zeroizing::new([0; 32]);
        // 32 bytes is one block of HKDF, which has 255.
        hkdf.expand_multi_info(
            &[purpose.label().as_bytes(), b"\0", usage.as_bytes()],
            key.as_mut(),
        )
        .map_err(|_| VaultError::CannotSeal)?;
        Ok(key)
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault")
            .field("current", &self.current)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault(versions: &[(u8, [u8; 32])]) -> Vault {
        Vault::new(
            &MasterKeys::from_versions(versions.iter().copied()).unwrap(),
            Random::seeded(1),
        )
    }

    #[test]
    fn opens_only_for_the_same_purpose_row_and_key() {
        let vault = vault(&[(1, [7; 32])]);
        let sealed = vault.seal(Purpose::Profile, b"row", b"secret").unwrap();
        assert_eq!(
            vault
                .open(Purpose::Profile, b"row", &sealed)
                .unwrap()
                .as_slice(),
            b"secret"
        );
        assert!(vault.open(Purpose::Identifier, b"row", &sealed).is_err());
        assert!(vault.open(Purpose::Profile, b"other", &sealed).is_err());
        assert!(
            self::vault(&[(1, [8; 32])])
                .open(Purpose::Profile, b"row", &sealed)
                .is_err()
        );
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert!(
                vault.open(Purpose::Profile, b"row", &altered).is_err(),
                "byte {at}"
            );
            assert!(
                vault.open(Purpose::Profile, b"row", &sealed[..at]).is_err(),
                "cut {at}"
            );
        }
    }

    #[test]
    fn a_new_master_key_seals_and_the_old_still_opens() {
        let sealed = vault(&[(1, [7; 32])])
            .seal(Purpose::Profile, b"", b"x")
            .unwrap();
        let both = vault(&[(1, [7; 32]), (2, [8; 32])]);
        assert_eq!(
            both.open(Purpose::Profile, b"", &sealed)
                .unwrap()
                .as_slice(),
            b"x"
        );
        assert_eq!(both.seal(Purpose::Profile, b"", b"x").unwrap()[0], 2);
        let only_new = vault(&[(2, [8; 32])]);
        assert!(matches!(
            only_new.open(Purpose::Profile, b"", &sealed),
            Err(VaultError::KeyMissing(1))
        ));
    }

    #[test]
    fn parts_of_a_mac_do_not_run_together() {
        let vault = vault(&[(1, [7; 32])]);
        let one = vault.mac(Purpose::Code, &[b"ab", b"c"]).unwrap();
        let other = vault.mac(Purpose::Code, &[b"a", b"bc"]).unwrap();
        assert_ne!(one, other);
        assert_ne!(one, vault.mac(Purpose::Abuse, &[b"ab", b"c"]).unwrap());
    }
}
