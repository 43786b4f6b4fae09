//! Keys and tokens for tests, signed for real.

use ed25519_dalek::Signer as _;
use edgekeep_corpus::RsaPair;
use edgekeep_shared::{
    base64url,
    jwk::{Jwk, JwkSet, VerifyingKey},
    rsa::RsaKey,
    time::UnixTime,
    verifier::Verifier,
};
use serde_json::{Value, json};

/// The instant at which tests judge.
pub(crate) const NOW: UnixTime = UnixTime(1_800_000_000);

/// The issuer of test tokens.
pub(crate) const ISSUER: &str = "https://id.example";

/// The audience of test tokens.
pub(crate) const AUDIENCE: &str = "api";

/// A private key of any algorithm.
pub(crate) enum Key {
    /// ECDSA on P-256
    Es256(p256::ecdsa::SigningKey),
    /// Ed25519
    EdDsa(ed25519_dalek::SigningKey),
    /// RSA
    Rs256(RsaPair),
}

impl Key {
    /// The ES256 key that `seed` stands for.
    pub(crate) fn es256(seed: u8) -> Self {
        Self::Es256(p256::ecdsa::SigningKey::from_bytes(&[seed; 32].into()).unwrap())
    }

    /// The Ed25519 key that `seed` stands for.
    pub(crate) fn eddsa(seed: u8) -> Self {
        Self::EdDsa(ed25519_dalek::SigningKey::from_bytes(&[seed; 32]))
    }

    /// The RSA key of 2,048, 3,072 or 4,096 bits.
    pub(crate) fn rs256(bits: u16) -> Self {
        Self::Rs256(RsaPair::of_bits(bits))
    }

    /// The public half.
    pub(crate) fn verifying(&self) -> VerifyingKey {
        match self {
            Self::Es256(key) => VerifyingKey::Es256(*key.verifying_key()),
            Self::EdDsa(key) => VerifyingKey::EdDsa(key.verifying_key()),
            Self::Rs256(pair) => {
                VerifyingKey::Rs256(RsaKey::new(pair.modulus(), pair.exponent()).unwrap())
            }
        }
    }

    /// Its identifier: the thumbprint.
    pub(crate) fn id(&self) -> String {
        self.verifying().thumbprint()
    }

    /// A signature over any bytes.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Es256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(message);
                signature.to_bytes().to_vec()
            }
            Self::EdDsa(key) => key.sign(message).to_bytes().to_vec(),
            Self::Rs256(pair) => pair.sign(message),
        }
    }

    /// The protected header that an honest issuer writes.
    pub(crate) fn header(&self) -> Value {
        json!({"alg": self.verifying().algorithm().name(), "typ": "at+jwt", "kid": self.id()})
    }

    /// A token of these JSON texts, however wrong they are, under a good signature.
    pub(crate) fn token(&self, header: &str, payload: &str) -> String {
        self.compact(
            &base64url::encode(header.as_bytes()),
            &base64url::encode(payload.as_bytes()),
        )
    }

    /// A token of two parts that are encoded already, under a good signature.
    pub(crate) fn compact(&self, header: &str, payload: &str) -> String {
        let signing_input = format!("{header}.{payload}");
        let signature = base64url::encode(&self.sign(signing_input.as_bytes()));
        format!("{signing_input}.{signature}")
    }

    /// A token with the given claims under the honest header.
    pub(crate) fn issue(&self, claims: &Value) -> String {
        self.token(&self.header().to_string(), &claims.to_string())
    }
}

/// Claims that are accepted at [`NOW`].
pub(crate) fn claims() -> Value {
    json!({
        "iss": ISSUER, "sub": "user-1", "aud": AUDIENCE, "client_id": "default",
        "iat": NOW.0 - 60, "nbf": NOW.0 - 60, "exp": NOW.0 + 840,
        "jti": "token-1", "sid": "session-1", "scope": "report:read report:write",
        "roles": ["admin"], "permissions": ["a", "b"], "amr": ["pwd", "otp"], "acr": "2",
        "auth_time": NOW.0 - 60, "kyc_level": 2, "kyc_status": "verified",
        "device_id": "device-1", "customer_id": "customer-1"
    })
}

/// [`claims`] with one member replaced, or removed where `value` is `None`.
pub(crate) fn claims_with(name: &str, value: Option<Value>) -> Value {
    let mut claims = claims();
    let object = claims.as_object_mut().unwrap();
    match value {
        Some(value) => object.insert(name.into(), value),
        None => object.remove(name),
    };
    claims
}

/// The set of these keys under their thumbprints.
pub(crate) fn set(keys: &[&Key]) -> JwkSet {
    JwkSet::new(
        keys.iter()
            .map(|key| Jwk::new(key.id(), key.verifying()))
            .collect(),
    )
    .unwrap()
}

/// A verifier for test tokens.
pub(crate) fn verifier() -> Verifier {
    Verifier::new(ISSUER, AUDIENCE)
}
