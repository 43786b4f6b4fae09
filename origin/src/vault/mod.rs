//! Secrets at rest: sealing, blind indexes and MACs under keys derived from one master key.
//!
//! Each purpose has a key of its own (HKDF-SHA256, RFC 5869), so that what is sealed for one
//! never opens as another. Sealing is AES-256-GCM-SIV (RFC 8452), which forgives a repeated
//! nonce. Every sealed value begins with the version of the master key that made it.
//!
//! Several master keys may be configured, by version. The database says which one seals
//! (the highest that [`binding`] let take over) and by which one identifiers are looked up; every
//! process follows it. [`rotation`] seals anew what older ones sealed, which [`sealed`] lists.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use aes_gcm_siv::aead::{Aead, Payload};
use aes_gcm_siv::{Aes256GcmSiv, KeyInit as _, Nonce};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

pub mod binding;
mod kept;
pub mod kms;
pub mod master;
mod purpose;
pub mod rotation;
pub mod sealed;
mod secret;
pub mod status;
mod store;

pub use master::MasterKeys;
pub use purpose::{Lasting, Purpose};
pub use secret::{Digest, Secret};

use kept::Kept;

use crate::random::Random;

type DerivedKey = Zeroizing<[u8; 32]>;

const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

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
    keys: Arc<BTreeMap<u8, Hkdf<Sha256>>>,
    standing: Arc<RwLock<Standing>>,
    kept: Arc<RwLock<Kept>>,
    random: Random,
}

/// Which versions are in use, as the database says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The one that seals.
    pub sealing: u8,
    /// The one whose index finds identifiers.
    pub indexing: u8,
}

impl Vault {
    /// A vault over `keys`; the highest version seals until the database says otherwise, all of
    /// them open.
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
        let highest = keys.highest();
        Self {
            keys: Arc::new(derived),
            standing: Arc::new(RwLock::new(Standing {
                sealing: highest,
                indexing: highest,
            })),
            kept: Arc::default(),
            random,
        }
    }

    /// The version that seals now.
    pub fn current_version(&self) -> u8 {
        self.standing().sealing
    }

    /// Which versions are in use now.
    pub fn standing(&self) -> Standing {
        *self.standing.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every configured version, the lowest first.
    pub fn versions(&self) -> impl DoubleEndedIterator<Item = u8> {
        self.keys.keys().copied()
    }

    /// The highest configured version.
    pub fn highest(&self) -> u8 {
        self.versions().next_back().unwrap_or(0)
    }

    /// Whether the master key of `version` is configured.
    pub fn has(&self, version: u8) -> bool {
        self.keys.contains_key(&version)
    }

    fn stand(&self, standing: Standing) {
        *self
            .standing
            .write()
            .unwrap_or_else(PoisonError::into_inner) = standing;
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
        let version = self.current_version();
        let key = self.derive(version, purpose, "seal")?;
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
        sealed.push(version);
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
    /// Identifiers are found under the version that the database says, others under the key that
    /// is kept for their purpose.
    ///
    /// # Errors
    /// [`VaultError::KeyMissing`] when that version is not configured.
    pub fn blind_index(&self, purpose: Purpose, value: &str) -> Result<[u8; 32], VaultError> {
        let key = self.standing_key(purpose, "index")?;
        keyed(&key, &[value.as_bytes()])
    }

    /// [`blind_index`](Self::blind_index) under the master key of `version`.
    ///
    /// # Errors
    /// [`VaultError::KeyMissing`] when that version is not configured.
    pub fn blind_index_with(
        &self,
        version: u8,
        purpose: Purpose,
        value: &str,
    ) -> Result<[u8; 32], VaultError> {
        keyed(
            &self.derive(version, purpose, "index")?,
            &[value.as_bytes()],
        )
    }

    /// A MAC over `parts`, each preceded by its length so that no two lists read alike.
    ///
    /// Under the version by which identifiers are found, which changes with them: a purpose whose
    /// MACs are looked up after days is [`Lasting`].
    ///
    /// # Errors
    /// [`VaultError::KeyMissing`] when that version is not configured.
    pub fn mac(&self, purpose: Purpose, parts: &[&[u8]]) -> Result<[u8; 32], VaultError> {
        keyed(&self.standing_key(purpose, "mac")?, parts)
    }

    /// [`mac`](Self::mac) under the master key of `version`, for values that carry theirs.
    ///
    /// # Errors
    /// [`VaultError::KeyMissing`] when that version is not configured and its key was not kept.
    pub fn mac_with(
        &self,
        version: u8,
        purpose: Purpose,
        parts: &[&[u8]],
    ) -> Result<[u8; 32], VaultError> {
        let key = match self.derive(version, purpose, "mac") {
            Err(missing) => self
                .kept_key(&kept::versioned(purpose, version))
                .ok_or(missing)?,
            Ok(key) => key,
        };
        keyed(&key, parts)
    }

    fn standing_key(&self, purpose: Purpose, usage: &str) -> Result<DerivedKey, VaultError> {
        if purpose.lasting() == Lasting::Always
            && let Some(key) = self.kept_key(&kept::lasting(purpose, usage))
        {
            return Ok(key);
        }
        self.derive(self.standing().indexing, purpose, usage)
    }

    fn kept_key(&self, name: &str) -> Option<DerivedKey> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        kept.get(name).cloned()
    }

    fn derive(&self, version: u8, purpose: Purpose, usage: &str) -> Result<DerivedKey, VaultError> {
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

fn keyed(key: &DerivedKey, parts: &[&[u8]]) -> Result<[u8; 32], VaultError> {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(key.as_ref()).map_err(|_| VaultError::CannotSeal)?;
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    Ok(mac.finalize().into_bytes().into())
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault")
            .field("standing", &self.standing())
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
