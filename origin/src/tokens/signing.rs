//! Private keys, and making signatures with them.
//!
//! ES256 signatures are deterministic (RFC 6979, as RFC 8725 §3.2 asks): no random number can go
//! wrong. The curve crates are used directly: the provider interface of the `jsonwebtoken` crate
//! is one global for the process and takes every key apart again for every signature.

use std::fmt;

use ed25519_dalek::Signer as _;
use edgekeep_shared::base64url;
use edgekeep_shared::jwk::VerifyingKey;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::config::Algorithm;
use crate::error::Error;
use crate::random::Random;

/// Bytes of a private key, of either algorithm.
const KEY_BYTES: usize = 32;

/// A private key; wiped when dropped.
#[derive(Clone)]
pub enum SigningKey {
    /// ECDSA on P-256.
    Es256(p256::ecdsa::SigningKey),
    /// Ed25519.
    EdDsa(ed25519_dalek::SigningKey),
}

impl SigningKey {
    /// A new key.
    pub fn generate(algorithm: Algorithm, random: &Random) -> Self {
        loop {
            let bytes = Zeroizing::new(random.bytes::<KEY_BYTES>());
            // 0 and what is not below the order of P-256 are no keys: less than one draw in 2³².
            if let Some(key) = Self::from_bytes(algorithm, bytes.as_slice()) {
                return key;
            }
        }
    }

    /// The key with these 32 bytes, if they are one.
    pub fn from_bytes(algorithm: Algorithm, bytes: &[u8]) -> Option<Self> {
        match algorithm {
            Algorithm::ES256 => p256::ecdsa::SigningKey::from_slice(bytes)
                .ok()
                .map(Self::Es256),
            Algorithm::EdDSA => {
                let bytes = Zeroizing::new(<[u8; KEY_BYTES]>::try_from(bytes).ok()?);
                Some(Self::EdDsa(ed25519_dalek::SigningKey::from_bytes(&bytes)))
            }
        }
    }

    /// The 32 bytes, for sealing.
    pub fn to_bytes(&self) -> Zeroizing<[u8; KEY_BYTES]> {
        Zeroizing::new(match self {
            Self::Es256(key) => key.to_bytes().into(),
            Self::EdDsa(key) => key.to_bytes(),
        })
    }

    /// The public half.
    pub fn verifying_key(&self) -> VerifyingKey {
        match self {
            Self::Es256(key) => VerifyingKey::Es256(*key.verifying_key()),
            Self::EdDsa(key) => VerifyingKey::EdDsa(key.verifying_key()),
        }
    }

    /// The signature over `message` in the fixed-width form of JWS.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        match self {
            Self::Es256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(message);
                signature.to_bytes().into()
            }
            Self::EdDsa(key) => key.sign(message).to_bytes(),
        }
    }

    /// A compact JWS of `claims` with the given `typ` and `kid` (RFC 7515 §7.1).
    ///
    /// # Errors
    /// [`Error::Internal`] when the claims are no JSON.
    pub fn issue<T: Serialize>(
        &self,
        media_type: &str,
        key_id: &str,
        claims: &T,
    ) -> Result<String, Error> {
        #[derive(Serialize)]
        struct Header<'a> {
            alg: &'a str,
            typ: &'a str,
            kid: &'a str,
        }
        let alg = match self {
            Self::Es256(_) => "ES256",
            Self::EdDsa(_) => "EdDSA",
        };
        let part = |json: Result<Vec<u8>, serde_json::Error>| {
            json.map(|json| base64url::encode(&json))
                .map_err(|error| Error::internal(format!("claims: {error}")))
        };
        let header = part(serde_json::to_vec(&Header {
            alg,
            typ: media_type,
            kid: key_id,
        }))?;
        let payload = part(serde_json::to_vec(claims))?;
        let mut token = format!("{header}.{payload}");
        let signature = base64url::encode(&self.sign(token.as_bytes()));
        token.push('.');
        token.push_str(&signature);
        Ok(token)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Es256(_) => "SigningKey(ES256, …)",
            Self::EdDsa(_) => "SigningKey(EdDSA, …)",
        })
    }
}
