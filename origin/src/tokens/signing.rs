//! Private keys, and making signatures with them.
//!
//! ES256 signatures are deterministic (RFC 6979, as RFC 8725 §3.2 asks): no random number can go
//! wrong. The curve crates are used directly: the provider interface of the `jsonwebtoken` crate
//! is one global for the process and takes every key apart again for every signature.
//!
//! RSA is aws-lc's, which TLS brings along: it blinds the private operation, takes the same time for
//! every key of a length, and verifies what it made before it gives it away, since one faulty
//! signature by the remainder theorem tells the primes.

use std::fmt;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use ed25519_dalek::Signer as _;
use edgekeep_shared::base64url;
use edgekeep_shared::jwk::{self, VerifyingKey};
use edgekeep_shared::rsa::RsaKey;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::config::Algorithm;
use crate::error::Error;
use crate::random::Random;

/// Bytes of a private key on a curve.
const KEY_BYTES: usize = 32;

/// A private key; wiped when dropped.
#[derive(Clone)]
pub enum SigningKey {
    /// ECDSA on P-256.
    Es256(p256::ecdsa::SigningKey),
    /// Ed25519.
    EdDsa(ed25519_dalek::SigningKey),
    /// RSASSA-PKCS1-v1_5, and the public half as verifiers hold it.
    Rs256(RsaKeyPair, Box<RsaKey>),
}

impl SigningKey {
    /// A new key; one of RSA with a modulus of `rsa_bits`, which takes from a tenth of a second to
    /// some seconds, so not on a thread that answers others.
    ///
    /// RSA takes its randomness from aws-lc, which lets nobody choose it.
    ///
    /// # Errors
    /// [`Error::Internal`] for a length that is none of 2048, 3072 and 4096, or when aws-lc fails.
    pub fn generate(algorithm: Algorithm, rsa_bits: u64, random: &Random) -> Result<Self, Error> {
        if algorithm == Algorithm::RS256 {
            return Self::generate_rsa(rsa_bits);
        }
        loop {
            let bytes = Zeroizing::new(random.bytes::<KEY_BYTES>());
            // 0 and what is not below the order of P-256 are no keys: less than one draw in 2³².
            if let Some(key) = Self::from_bytes(algorithm, bytes.as_slice()) {
                return Ok(key);
            }
        }
    }

    fn generate_rsa(bits: u64) -> Result<Self, Error> {
        let size = match bits {
            2048 => KeySize::Rsa2048,
            3072 => KeySize::Rsa3072,
            4096 => KeySize::Rsa4096,
            _ => return Err(Error::internal(format!("RSA key of {bits} bits"))),
        };
        loop {
            let pair = RsaKeyPair::generate(size).map_err(|_| Error::internal("RSA key"))?;
            // One sound key in a hundred million looks to verifiers like those of a broken generator.
            if let Some(key) = Self::of_rsa(pair) {
                return Ok(key);
            }
        }
    }

    /// The key, if every verifier accepts its public half.
    fn of_rsa(pair: RsaKeyPair) -> Option<Self> {
        let public = PublicKeyComponents::<Vec<u8>>::from(pair.public_key());
        let public = RsaKey::new(&public.n, &public.e).ok()?;
        Some(Self::Rs256(pair, Box::new(public)))
    }

    /// The key with these bytes, if they are one: 32 of a key on a curve, PKCS#8 of one of RSA.
    pub fn from_bytes(algorithm: Algorithm, bytes: &[u8]) -> Option<Self> {
        match algorithm {
            Algorithm::ES256 => p256::ecdsa::SigningKey::from_slice(bytes)
                .ok()
                .map(Self::Es256),
            Algorithm::EdDSA => {
                let bytes = Zeroizing::new(<[u8; KEY_BYTES]>::try_from(bytes).ok()?);
                Some(Self::EdDsa(ed25519_dalek::SigningKey::from_bytes(&bytes)))
            }
            Algorithm::RS256 => Self::of_rsa(RsaKeyPair::from_pkcs8(bytes).ok()?),
        }
    }

    /// The bytes that [`from_bytes`](Self::from_bytes) takes, for sealing.
    ///
    /// # Errors
    /// [`Error::Internal`] when aws-lc cannot write an RSA key down.
    pub fn to_bytes(&self) -> Result<Zeroizing<Vec<u8>>, Error> {
        Ok(Zeroizing::new(match self {
            Self::Es256(key) => Zeroizing::new(<[u8; KEY_BYTES]>::from(key.to_bytes())).to_vec(),
            Self::EdDsa(key) => Zeroizing::new(key.to_bytes()).to_vec(),
            Self::Rs256(pair, _) => {
                let der = pair
                    .as_der()
                    .map_err(|_| Error::internal("RSA key as PKCS#8"))?;
                der.as_ref().to_vec()
            }
        }))
    }

    /// The public half.
    pub fn verifying_key(&self) -> VerifyingKey {
        match self {
            Self::Es256(key) => VerifyingKey::Es256(*key.verifying_key()),
            Self::EdDsa(key) => VerifyingKey::EdDsa(key.verifying_key()),
            Self::Rs256(_, public) => VerifyingKey::Rs256((**public).clone()),
        }
    }

    /// Whether a signature takes more than a thread that answers others should spend on one thing:
    /// milliseconds, where a curve takes a tenth of one.
    pub const fn is_slow(&self) -> bool {
        matches!(self, Self::Rs256(..))
    }

    /// The signature over `message` in the form of JWS: 64 bytes, or as many as the modulus has.
    ///
    /// # Errors
    /// [`Error::Internal`] when aws-lc fails; curves do not.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(match self {
            Self::Es256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(message);
                signature.to_bytes().to_vec()
            }
            Self::EdDsa(key) => key.sign(message).to_bytes().to_vec(),
            Self::Rs256(pair, _) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                // What it blinds with is its own; the argument is not used.
                pair.sign(
                    &RSA_PKCS1_SHA256,
                    &SystemRandom::new(),
                    message,
                    &mut signature,
                )
                .map_err(|_| Error::internal("RSA signature"))?;
                signature
            }
        })
    }

    /// A compact JWS of `claims` with the given `typ` and `kid` (RFC 7515 §7.1).
    ///
    /// # Errors
    /// [`Error::Internal`] when the claims are no JSON, or aws-lc fails.
    pub fn issue<T: Serialize>(
        &self,
        media_type: &str,
        key_id: &str,
        claims: &T,
    ) -> Result<String, Error> {
        self.signed(self.signing_input(media_type, key_id, claims)?)
    }

    /// [`issue`](Self::issue), with a slow signature on a thread that may take its time.
    ///
    /// # Errors
    /// Likewise.
    pub async fn issue_aside<T: Serialize + Sync>(
        &self,
        media_type: &str,
        key_id: &str,
        claims: &T,
    ) -> Result<String, Error> {
        let input = self.signing_input(media_type, key_id, claims)?;
        if !self.is_slow() {
            return self.signed(input);
        }
        let key = self.clone();
        tokio::task::spawn_blocking(move || key.signed(input))
            .await
            .map_err(|_| Error::internal("signing was cut short"))?
    }

    /// The protected header and the claims, as they are signed (RFC 7515 §5.1).
    fn signing_input<T: Serialize>(
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
        let part = |json: Result<Vec<u8>, serde_json::Error>| {
            json.map(|json| base64url::encode(&json))
                .map_err(|error| Error::internal(format!("claims: {error}")))
        };
        let header = part(serde_json::to_vec(&Header {
            alg: self.algorithm().name(),
            typ: media_type,
            kid: key_id,
        }))?;
        let payload = part(serde_json::to_vec(claims))?;
        Ok(format!("{header}.{payload}"))
    }

    fn signed(&self, mut token: String) -> Result<String, Error> {
        let signature = base64url::encode(&self.sign(token.as_bytes())?);
        token.push('.');
        token.push_str(&signature);
        Ok(token)
    }

    const fn algorithm(&self) -> jwk::Algorithm {
        match self {
            Self::Es256(_) => jwk::Algorithm::Es256,
            Self::EdDsa(_) => jwk::Algorithm::EdDsa,
            Self::Rs256(..) => jwk::Algorithm::Rs256,
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, …)", self.algorithm().name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_comes_back_from_its_bytes_and_signs_what_its_public_half_verifies() {
        for (algorithm, bits, length) in [
            (Algorithm::ES256, 0, 64),
            (Algorithm::EdDSA, 0, 64),
            (Algorithm::RS256, 2048, 256),
        ] {
            let key = SigningKey::generate(algorithm, bits, &Random::seeded(1)).unwrap();
            let bytes = key.to_bytes().unwrap();
            let again = SigningKey::from_bytes(algorithm, &bytes).unwrap();
            assert_eq!(again.verifying_key(), key.verifying_key());
            let signature = again.sign(b"message").unwrap();
            assert_eq!(signature.len(), length);
            assert!(key.verifying_key().verify(b"message", &signature));
            assert!(!key.verifying_key().verify(b"massage", &signature));
            let half = &bytes[..bytes.len() / 2];
            assert!(SigningKey::from_bytes(algorithm, half).is_none());
            assert!(!format!("{key:?}").contains("public"), "{key:?}");
        }
    }

    #[test]
    fn rsa_keys_of_other_lengths_are_not_made() {
        for bits in [0, 1024, 2047, 2056, 8192] {
            let made = SigningKey::generate(Algorithm::RS256, bits, &Random::seeded(1));
            assert!(made.is_err(), "{bits}");
        }
    }

    #[test]
    fn another_algorithm_takes_no_bytes_of_an_rsa_key() {
        let random = Random::seeded(1);
        let rsa = SigningKey::generate(Algorithm::RS256, 2048, &random).unwrap();
        let curve = SigningKey::generate(Algorithm::ES256, 0, &random).unwrap();
        let (rsa, curve) = (rsa.to_bytes().unwrap(), curve.to_bytes().unwrap());
        assert!(SigningKey::from_bytes(Algorithm::ES256, &rsa).is_none());
        assert!(SigningKey::from_bytes(Algorithm::EdDSA, &rsa).is_none());
        assert!(SigningKey::from_bytes(Algorithm::RS256, &curve).is_none());
    }
}
