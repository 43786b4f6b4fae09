//! Public keys as JWK and JWK Set (RFC 7517, RFC 7518 §6, RFC 8037 §2), and their thumbprints.
//!
//! A key is good for exactly one algorithm, which its own type fixes; a token's header can agree
//! with it or be refused, never choose (RFC 8725 §3.1).

use alloc::{format, string::String, vec::Vec};
use core::fmt;

use p256::ecdsa::signature::Verifier as _;
use sha2::{Digest, Sha256};

use crate::{
    base64url,
    json::{self, Object, Value},
    rsa::RsaKey,
};

/// Size of a JWK Set document that is read. A published key takes 250 bytes, one of RSA with 4,096
/// bits 800: [`MAX_KEYS`] of them stay below this.
pub const MAX_SET_BYTES: usize = 64 * 1024;

/// Keys that a set may hold. An issuer publishes three or four at a time; look-up is linear.
pub const MAX_KEYS: usize = 64;

/// Length of a `kid`, in bytes. A thumbprint has 43.
pub const MAX_KEY_ID_BYTES: usize = 256;

/// A signature algorithm that this crate verifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256 (RFC 7518 §3.4).
    Es256,
    /// Ed25519 (RFC 8037 §3.1; RFC 9864 calls it `Ed25519`).
    EdDsa,
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518 §3.3).
    Rs256,
}

impl Algorithm {
    /// Every algorithm, in the order of declaration.
    pub const ALL: &'static [Self] = &[Self::Es256, Self::EdDsa, Self::Rs256];

    /// The algorithm called `name`; exact, since names are case-sensitive (RFC 7515 §4.1.1).
    ///
    /// `Ed25519` is the fully-specified name of what `EdDSA` means for an Ed25519 key
    /// (RFC 9864 §2.2): both are accepted, one is issued.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "ES256" => Some(Self::Es256),
            "EdDSA" | "Ed25519" => Some(Self::EdDsa),
            "RS256" => Some(Self::Rs256),
            _ => None,
        }
    }

    /// The name that tokens are issued with.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
        }
    }
}

/// A public key, proved to be a point on its curve or, as far as that can be seen, a sound modulus.
#[derive(Clone, PartialEq, Eq)]
pub enum VerifyingKey {
    /// An ECDSA key on P-256.
    Es256(p256::ecdsa::VerifyingKey),
    /// An Ed25519 key: canonical encoding, not of small order.
    EdDsa(ed25519_dalek::VerifyingKey),
    /// An RSA key of 2,048 to 4,096 bits.
    Rs256(RsaKey),
}

impl VerifyingKey {
    /// The P-256 key with affine coordinates `x` and `y`, big-endian.
    ///
    /// # Errors
    ///
    /// [`JwkError::Point`] unless the point is on the curve and not the identity.
    pub fn es256(x: &[u8; 32], y: &[u8; 32]) -> Result<Self, JwkError> {
        let mut sec1 = [4; 65];
        sec1[1..33].copy_from_slice(x);
        sec1[33..].copy_from_slice(y);
        p256::ecdsa::VerifyingKey::from_sec1_bytes(&sec1)
            .map(Self::Es256)
            .map_err(|_| JwkError::Point)
    }

    /// The Ed25519 key encoded in `x`.
    ///
    /// # Errors
    ///
    /// [`JwkError::Point`] unless `x` is the canonical encoding of a point that is not of small
    /// order: under a small-order key one signature verifies for many messages.
    pub fn ed25519(x: &[u8; 32]) -> Result<Self, JwkError> {
        let key = ed25519_dalek::VerifyingKey::from_bytes(x).map_err(|_| JwkError::Point)?;
        if key.is_weak() || key.to_edwards().compress().as_bytes() != x {
            return Err(JwkError::Point);
        }
        Ok(Self::EdDsa(key))
    }

    /// The one algorithm of this key.
    pub const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Es256(_) => Algorithm::Es256,
            Self::EdDsa(_) => Algorithm::EdDsa,
            Self::Rs256(_) => Algorithm::Rs256,
        }
    }

    /// Whether `signature`, in the fixed-width form of JWS, is this key's over `message`.
    ///
    /// ECDSA: r ‖ s, both in 1..n, of either sign (RFC 7518 §3.4 sets no bound of n/2). Ed25519:
    /// the strict rules, by which one message and key have one signature. RSA: the one signature of
    /// the modulus's length.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Es256(key) => p256::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
            Self::EdDsa(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(message, &signature).is_ok()),
            Self::Rs256(key) => key.verify(message, signature),
        }
    }

    /// Whether every sound implementation says the same about `signature` under this key, so that
    /// another's word may stand for [`verify`](Self::verify).
    ///
    /// Ed25519 has more than one set of rules. Of RSA it is so for the exponent that everybody uses
    /// and a modulus of whole bytes: others have limits of their own beside it. And it is so for
    /// signatures of the right length and range; those that are not are refused faster here.
    pub fn is_told_alike(&self, signature: &[u8]) -> bool {
        match self {
            Self::Es256(_) => p256::ecdsa::Signature::from_slice(signature).is_ok(),
            Self::EdDsa(_) => false,
            Self::Rs256(key) => key.is_usual() && key.is_in_range(signature),
        }
    }

    /// The RFC 7638 thumbprint with SHA-256, in base64url.
    pub fn thumbprint(&self) -> String {
        base64url::encode(&Sha256::digest(self.required_members()))
    }

    /// This key as a JWK document with `kid`, `alg` and `use`.
    pub fn to_jwk(&self, key_id: &str) -> String {
        let kid = serde_json::Value::from(key_id);
        let required = self.required_members();
        let alg = self.algorithm().name();
        format!(
            r#"{{"kid":{kid},"use":"sig","alg":"{alg}",{}"#,
            &required[1..]
        )
    }

    /// The members that identify the key, in the canonical form of RFC 7638 §3.3.
    fn required_members(&self) -> String {
        match self {
            Self::Es256(key) => {
                let sec1 = key.to_sec1_point(false);
                let [x, y] =
                    [&sec1.as_bytes()[1..33], &sec1.as_bytes()[33..]].map(base64url::encode);
                format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#)
            }
            Self::EdDsa(key) => {
                let x = base64url::encode(key.as_bytes());
                format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#)
            }
            Self::Rs256(key) => {
                let [e, n] = [&key.exponent()[..], key.modulus()].map(base64url::encode);
                format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#)
            }
        }
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "VerifyingKey({}, {})",
            self.algorithm().name(),
            self.thumbprint()
        )
    }
}

/// Why one key is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JwkError {
    /// Not a JSON object with the members that its `kty` asks for.
    Malformed,
    /// It contains a private part: whoever published it has lost it.
    PrivateKey,
    /// A type, curve, algorithm or use that is none of this crate's: skipped (RFC 7517 §5).
    Unsupported,
    /// Not a point that may be used: off the curve, of small order, or not canonical.
    Point,
    /// An RSA key whose size, exponent or modulus gives no security.
    Weak,
}

impl fmt::Display for JwkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "not a well-formed JWK",
            Self::PrivateKey => "contains a private key",
            Self::Unsupported => "of a type, algorithm or use that is not supported",
            Self::Point => "not a usable point of its curve",
            Self::Weak => "an RSA key of a size, exponent or modulus that gives no security",
        })
    }
}

impl core::error::Error for JwkError {}

/// A public key with its identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwk {
    key_id: String,
    key: VerifyingKey,
}

impl Jwk {
    /// Parses one JWK.
    ///
    /// # Errors
    ///
    /// [`JwkError`], by cause.
    pub fn parse(bytes: &[u8]) -> Result<Self, JwkError> {
        let value = json::parse(bytes).map_err(|_| JwkError::Malformed)?;
        Self::from_value(&value)
    }

    /// The key under the identifier `kid`.
    pub fn new(key_id: impl Into<String>, key: VerifyingKey) -> Self {
        Self {
            key_id: key_id.into(),
            key,
        }
    }

    /// The `kid`, or the thumbprint where the document has none.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The key.
    pub const fn key(&self) -> &VerifyingKey {
        &self.key
    }

    pub(crate) fn from_value(value: &Value<'_>) -> Result<Self, JwkError> {
        let Value::Object(jwk) = value else {
            return Err(JwkError::Malformed);
        };
        if ["d", "p", "q", "dp", "dq", "qi", "oth", "k"]
            .iter()
            .any(|name| jwk.has(name))
        {
            return Err(JwkError::PrivateKey);
        }
        if text(jwk, "use")?.is_some_and(|usage| usage != "sig") || !allows_verify(jwk)? {
            return Err(JwkError::Unsupported);
        }
        let required = |name| text(jwk, name)?.ok_or(JwkError::Malformed);
        let coordinate = |name| {
            base64url::decode_exact(required(name)?.as_bytes()).map_err(|_| JwkError::Malformed)
        };
        let number =
            |name| base64url::decode(required(name)?.as_bytes()).map_err(|_| JwkError::Malformed);
        let key = match (required("kty")?, text(jwk, "crv")?) {
            ("RSA", None) => VerifyingKey::Rs256(RsaKey::new(&number("n")?, &number("e")?)?),
            ("EC", Some("P-256")) => VerifyingKey::es256(&coordinate("x")?, &coordinate("y")?)?,
            ("OKP", Some("Ed25519")) => VerifyingKey::ed25519(&coordinate("x")?)?,
            _ => return Err(JwkError::Unsupported),
        };
        if text(jwk, "alg")?.is_some_and(|alg| Algorithm::from_name(alg) != Some(key.algorithm())) {
            return Err(JwkError::Unsupported);
        }
        let key_id = match text(jwk, "kid")? {
            Some(kid) if kid.is_empty() || kid.len() > MAX_KEY_ID_BYTES => {
                return Err(JwkError::Malformed);
            }
            Some(kid) => String::from(kid),
            None => key.thumbprint(),
        };
        Ok(Self { key_id, key })
    }
}

fn text<'a>(jwk: &'a Object<'_>, name: &str) -> Result<Option<&'a str>, JwkError> {
    match jwk.member(name) {
        None => Ok(None),
        Some(value) => value.as_str().map(Some).ok_or(JwkError::Malformed),
    }
}

/// The `kid` of an entry of a set, whatever else the entry is.
fn written_key_id<'a>(value: &'a Value<'_>) -> Option<&'a str> {
    match value {
        Value::Object(jwk) => jwk.member("kid").and_then(Value::as_str),
        _ => None,
    }
}

/// Whether `key_ops`, if present, has `verify` (RFC 7517 §4.3).
fn allows_verify(jwk: &Object<'_>) -> Result<bool, JwkError> {
    match jwk.member("key_ops") {
        None => Ok(true),
        Some(Value::Array(operations)) => Ok(operations
            .iter()
            .any(|operation| operation.as_str() == Some("verify"))),
        Some(_) => Err(JwkError::Malformed),
    }
}

/// Why a whole set is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JwkSetError {
    /// Larger than [`MAX_SET_BYTES`].
    TooLarge,
    /// Not a JSON object with an array `keys`.
    Malformed,
    /// More than [`MAX_KEYS`] keys.
    TooManyKeys,
    /// Two keys with one `kid`: which of them a token means would be a guess.
    DuplicateKeyId,
}

impl fmt::Display for JwkSetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => write!(f, "the JWK Set is larger than {MAX_SET_BYTES} bytes"),
            Self::Malformed => f.write_str("not a JSON object with an array `keys`"),
            Self::TooManyKeys => write!(f, "the JWK Set has more than {MAX_KEYS} keys"),
            Self::DuplicateKeyId => f.write_str("two keys of the JWK Set have the same `kid`"),
        }
    }
}

impl core::error::Error for JwkSetError {}

/// Public keys by `kid`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JwkSet {
    keys: Vec<Jwk>,
    refused: Vec<(usize, JwkError)>,
}

impl JwkSet {
    /// Parses a JWK Set. A key that cannot be used is left out and listed in
    /// [`refused`](Self::refused), so that one bad entry does not take the others with it
    /// (RFC 7517 §5).
    ///
    /// # Errors
    ///
    /// [`JwkSetError`] when no part of the document can be trusted to mean what it says.
    pub fn parse(bytes: &[u8]) -> Result<Self, JwkSetError> {
        if bytes.len() > MAX_SET_BYTES {
            return Err(JwkSetError::TooLarge);
        }
        let document = json::parse_object(bytes).map_err(|_| JwkSetError::Malformed)?;
        let Some(Value::Array(values)) = document.member("keys") else {
            return Err(JwkSetError::Malformed);
        };
        if values.len() > MAX_KEYS {
            return Err(JwkSetError::TooManyKeys);
        }
        let mut set = Self::default();
        for (index, value) in values.iter().enumerate() {
            // Among the keys that are left out, too: what is skipped here may be somebody else's
            // choice.
            let key_id = written_key_id(value);
            if key_id.is_some() && values[..index].iter().any(|v| written_key_id(v) == key_id) {
                return Err(JwkSetError::DuplicateKeyId);
            }
            match Jwk::from_value(value) {
                // A key without `kid` is called by its thumbprint, which may be written elsewhere.
                Ok(jwk) if set.find(&jwk.key_id).is_some() => {
                    return Err(JwkSetError::DuplicateKeyId);
                }
                Ok(jwk) => set.keys.push(jwk),
                Err(error) => set.refused.push((index, error)),
            }
        }
        Ok(set)
    }

    /// A set of the given keys.
    ///
    /// # Errors
    ///
    /// [`JwkSetError::DuplicateKeyId`] and [`JwkSetError::TooManyKeys`].
    pub fn new(keys: Vec<Jwk>) -> Result<Self, JwkSetError> {
        if keys.len() > MAX_KEYS {
            return Err(JwkSetError::TooManyKeys);
        }
        let repeated =
            |(index, jwk): (usize, &Jwk)| keys[..index].iter().any(|k| k.key_id == jwk.key_id);
        if keys.iter().enumerate().any(repeated) {
            return Err(JwkSetError::DuplicateKeyId);
        }
        Ok(Self {
            keys,
            refused: Vec::new(),
        })
    }

    /// The key called `key_id`.
    pub fn find(&self, key_id: &str) -> Option<&Jwk> {
        self.keys.iter().find(|jwk| jwk.key_id == key_id)
    }

    /// The keys in the order of the document.
    pub fn keys(&self) -> &[Jwk] {
        &self.keys
    }

    /// The entries left out: their index in `keys`, and why.
    pub fn refused(&self) -> &[(usize, JwkError)] {
        &self.refused
    }

    /// Whether no key can be used.
    pub const fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The set as the JSON document that issuers publish.
    pub fn to_json(&self) -> String {
        let keys: Vec<String> = self
            .keys
            .iter()
            .map(|jwk| jwk.key.to_jwk(&jwk.key_id))
            .collect();
        format!(r#"{{"keys":[{}]}}"#, keys.join(","))
    }
}
