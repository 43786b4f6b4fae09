//! Keys for tests, and what they sign: access tokens and control documents, however wrong.

use ed25519_dalek::Signer as _;
use edgekeep_corpus::RsaPair;
use edgekeep_shared::base64url;
use edgekeep_shared::control::{DocumentType, Header};
use edgekeep_shared::jwk::VerifyingKey;
use edgekeep_shared::rsa::RsaKey;
use edgekeep_shared::time::UnixTime;
use serde_json::{Value, json};

use crate::clock;

/// A private key of any algorithm.
#[derive(Clone)]
pub enum Key {
    /// ECDSA on P-256
    Es256(Box<p256::ecdsa::SigningKey>),
    /// Ed25519
    EdDsa(Box<ed25519_dalek::SigningKey>),
    /// RSA
    Rs256(Box<RsaPair>),
}

impl Key {
    /// The ES256 key that `seed` stands for, 1 to 254.
    ///
    /// # Panics
    /// For 0 and 255, which are no scalars.
    pub fn es256(seed: u8) -> Self {
        Self::Es256(Box::new(
            p256::ecdsa::SigningKey::from_bytes(&[seed; 32].into()).unwrap(),
        ))
    }

    /// The Ed25519 key that `seed` stands for.
    pub fn eddsa(seed: u8) -> Self {
        Self::EdDsa(Box::new(ed25519_dalek::SigningKey::from_bytes(&[seed; 32])))
    }

    /// The RSA key of 2,048, 3,072 or 4,096 bits.
    ///
    /// # Panics
    /// For any other size.
    pub fn rs256(bits: u16) -> Self {
        Self::Rs256(Box::new(RsaPair::of_bits(bits)))
    }

    /// The public half.
    ///
    /// # Panics
    /// When the RSA pair is not one.
    pub fn verifying(&self) -> VerifyingKey {
        match self {
            Self::Es256(key) => VerifyingKey::Es256(*key.verifying_key()),
            Self::EdDsa(key) => VerifyingKey::EdDsa(key.verifying_key()),
            Self::Rs256(pair) => {
                VerifyingKey::Rs256(RsaKey::new(pair.modulus(), pair.exponent()).unwrap())
            }
        }
    }

    /// The RFC 7638 thumbprint.
    pub fn id(&self) -> String {
        self.verifying().thumbprint()
    }

    /// The public half as a JWK.
    pub fn jwk(&self) -> String {
        self.verifying().to_jwk(&self.id())
    }

    /// A signature over any bytes.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
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
    pub fn header(&self) -> Value {
        json!({"alg": self.verifying().algorithm().name(), "typ": "at+jwt", "kid": self.id()})
    }

    /// A token of these JSON texts, however wrong, under a good signature.
    pub fn token(&self, header: &str, payload: &str) -> String {
        let input = format!(
            "{}.{}",
            base64url::encode(header.as_bytes()),
            base64url::encode(payload.as_bytes())
        );
        let signature = base64url::encode(&self.sign(input.as_bytes()));
        format!("{input}.{signature}")
    }

    /// A token with these claims under the honest header.
    pub fn issue(&self, claims: &Value) -> String {
        self.token(&self.header().to_string(), &claims.to_string())
    }

    /// A control document.
    pub fn document(
        &self,
        document_type: DocumentType,
        issuer: &str,
        sequence: u64,
        issued_at: UnixTime,
        body: &[u8],
    ) -> Vec<u8> {
        let header = Header {
            document_type,
            issuer: issuer.to_owned(),
            key_id: self.id(),
            sequence,
            issued_at,
        };
        let mut document = header.signing_input(body);
        let signature = self.sign(&document);
        document.extend(signature);
        document
    }
}

/// The JWK Set of these keys.
pub fn set(keys: &[&Key]) -> String {
    let keys: Vec<String> = keys.iter().map(|key| key.jwk()).collect();
    format!(r#"{{"keys":[{}]}}"#, keys.join(","))
}

/// Claims of `issuer` that are accepted now, with those of `changes` over them; `null` removes.
///
/// # Panics
/// When `changes` is not an object.
pub fn claims(issuer: &str, changes: &Value) -> Value {
    let now = clock::now().0;
    let mut claims = json!({
        "iss": issuer, "sub": "user-1", "aud": "api", "client_id": "default",
        "iat": now - 1, "nbf": now - 1, "exp": now + 899,
        "jti": "token-1", "sid": "session-1", "scope": "report:read",
        "roles": ["member"], "permissions": ["notes:read"], "amr": ["pwd"], "acr": "1",
        "auth_time": now - 1, "customer_id": "customer-1"
    });
    let members = claims.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            members.remove(name);
        } else {
            members.insert(name.clone(), value.clone());
        }
    }
    claims
}
