//! The keys of the corpus, which everybody may know, and what they sign.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE_NO_PAD};
use ed25519_dalek::Signer as _;

use crate::ed25519;
use crate::members::{Members, text};
use crate::rsa::Pair;

/// base64url without padding.
pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The bytes of a base64url text that was encoded here, or by a corpus that has changed its last
/// character.
pub(crate) fn decode(text: &str) -> Vec<u8> {
    const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::RequireNone);
    GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT)
        .decode(text)
        .unwrap()
}

/// What signs.
pub(crate) enum Pairs {
    Es256(Box<p256::ecdsa::SigningKey>),
    EdDsa(Box<ed25519_dalek::SigningKey>),
    Rs256(Box<Pair>),
}

/// A key pair and its `kid`.
pub struct Key {
    pub(crate) kid: &'static str,
    pub(crate) pairs: Pairs,
}

impl Key {
    pub(crate) fn es256(kid: &'static str, seed: u8) -> Self {
        let pair = p256::ecdsa::SigningKey::from_bytes(&[seed; 32].into()).unwrap();
        let pairs = Pairs::Es256(Box::new(pair));
        Self { kid, pairs }
    }

    pub(crate) fn eddsa(kid: &'static str, seed: u8) -> Self {
        let pair = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
        let pairs = Pairs::EdDsa(Box::new(pair));
        Self { kid, pairs }
    }

    pub(crate) fn rs256(kid: &'static str, pair: Pair) -> Self {
        let pairs = Pairs::Rs256(Box::new(pair));
        Self { kid, pairs }
    }

    /// What the set calls it.
    pub const fn kid(&self) -> &'static str {
        self.kid
    }

    /// The one algorithm of the key.
    pub(crate) const fn algorithm(&self) -> &'static str {
        match self.pairs {
            Pairs::Es256(_) => "ES256",
            Pairs::EdDsa(_) => "EdDSA",
            Pairs::Rs256(_) => "RS256",
        }
    }

    /// The protected header that an honest issuer writes.
    pub(crate) fn header(&self) -> Members {
        Members::default()
            .with("alg", text(self.algorithm()))
            .with("typ", text("at+jwt"))
            .with("kid", text(self.kid))
    }

    /// A good signature over any bytes.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match &self.pairs {
            Pairs::Es256(pair) => {
                let signature: p256::ecdsa::Signature = pair.sign(message);
                signature.to_bytes().to_vec()
            }
            Pairs::EdDsa(pair) => pair.sign(message).to_bytes().to_vec(),
            Pairs::Rs256(pair) => pair.sign(message),
        }
    }

    /// Whether this key has a signature for `message`.
    pub(crate) fn can_sign(&self, message: &[u8]) -> bool {
        match &self.pairs {
            Pairs::Rs256(pair) => pair.signs(message),
            Pairs::Es256(_) | Pairs::EdDsa(_) => true,
        }
    }

    /// A token of two parts that are encoded already, under a good signature.
    pub(crate) fn compact(&self, header: &str, payload: &str) -> String {
        let input = format!("{header}.{payload}");
        let signature = encode(self.sign(input.as_bytes()));
        format!("{input}.{signature}")
    }

    /// A token of any header and payload, under a good signature.
    pub(crate) fn raw(&self, header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
        self.compact(&encode(header), &encode(payload))
    }

    /// A token of these members, under a good signature.
    pub(crate) fn token(&self, header: &Members, payload: &Members) -> String {
        self.raw(header.json(), payload.json())
    }

    /// The members of the public key (RFC 7518 §6, RFC 8037 §2).
    pub(crate) fn public(&self) -> Members {
        let members = Members::default();
        match &self.pairs {
            Pairs::Es256(pair) => {
                let point = pair.verifying_key().to_sec1_point(false);
                let (x, y) = point.as_bytes()[1..].split_at(32);
                members
                    .with("kty", text("EC"))
                    .with("crv", text("P-256"))
                    .with("x", text(&encode(x)))
                    .with("y", text(&encode(y)))
            }
            Pairs::EdDsa(pair) => ed25519::public(pair.verifying_key().as_bytes()),
            Pairs::Rs256(pair) => members
                .with("kty", text("RSA"))
                .with("n", text(&encode(&pair.modulus)))
                .with("e", text(&encode(&pair.public))),
        }
    }

    /// The JWK as it is published.
    pub(crate) fn jwk(&self) -> Members {
        self.public()
            .with("kid", text(self.kid))
            .with("alg", text(self.algorithm()))
            .with("use", text("sig"))
    }
}

/// The keys that are good, and one that nobody publishes.
pub(crate) struct Keys {
    /// One of each algorithm.
    pub(crate) three: [Key; 3],
    /// Another of each algorithm.
    pub(crate) others: [Key; 3],
    /// RSA with the longest modulus.
    pub(crate) long: Key,
    /// Keys of each algorithm that are not in the set.
    pub(crate) strangers: [Key; 3],
}

impl Keys {
    pub(crate) fn new() -> Self {
        Self {
            three: [
                Key::es256("es256", 1),
                Key::eddsa("eddsa", 2),
                Key::rs256("rs256", Pair::named("2048")),
            ],
            others: [
                Key::es256("es256-other", 3),
                Key::eddsa("eddsa-other", 4),
                Key::rs256("rs256-3072", Pair::named("3072")),
            ],
            long: Key::rs256("rs256-4096", Pair::named("4096")),
            strangers: [
                Key::es256("stranger-es256", 66),
                Key::eddsa("stranger-eddsa", 67),
                Key::rs256("stranger-rs256", Pair::named("stranger")),
            ],
        }
    }

    pub(crate) const fn es256(&self) -> &Key {
        &self.three[0]
    }

    pub(crate) const fn eddsa(&self) -> &Key {
        &self.three[1]
    }

    pub(crate) const fn rs256(&self) -> &Key {
        &self.three[2]
    }

    /// One of the three, by turns.
    pub(crate) const fn turn(&self, index: usize) -> &Key {
        &self.three[index % 3]
    }
}

/// Keys of the set that sign, one of each algorithm, for whoever makes tokens of his own.
pub fn signing_keys() -> [Key; 3] {
    Keys::new().three
}

/// The JWKs that a verifier keeps: what an honest issuer publishes.
pub fn good_jwks() -> Vec<(&'static str, String)> {
    let keys = Keys::new();
    let mut jwks: Vec<_> = keys
        .three
        .iter()
        .chain(&keys.others)
        .chain([&keys.long])
        .map(|key| (key.kid, key.jwk().json()))
        .collect();
    jwks.push((ed25519::MIXED, ed25519::mixed_jwk().json()));
    jwks
}

/// The JWK Set of the corpus: the good keys, and those that a verifier has to leave out.
pub fn jwk_set() -> String {
    let good = good_jwks().into_iter().map(|(_, jwk)| jwk);
    let small = ed25519::small_order_jwks();
    let weak = crate::weak::jwks();
    let all: Vec<String> = good
        .chain(small.iter().chain(&weak).map(Members::json))
        .collect();
    format!(r#"{{"keys":[{}]}}"#, all.join(","))
}
