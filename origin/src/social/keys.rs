//! A provider's JWK Set (RFC 7517), as far as it can sign an ID token.
//!
//! A key is good for one algorithm, which its type fixes (RFC 8725 §3.1), so a header can agree
//! with a key or be refused. There is no symmetric key here at all: no document can turn a public
//! key into an HMAC secret.

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use edgekeep_shared::base64url;
use edgekeep_shared::json::{Object, Value};
use edgekeep_shared::jwk::VerifyingKey;

use super::Failure;
use crate::config::IdTokenAlgorithm as Algorithm;

/// Keys that are read. Providers publish two to ten; look-up is linear.
const MAX_KEYS: usize = 64;

/// 65537 as every provider has it: smaller exponents make forged padding easier, and with 1
/// everybody can sign (FIPS 186-5 §A.1.1 asks for more than 2^16).
const MIN_EXPONENT: u64 = 65_537;

/// What FIPS 186-5 and the library take: the exponent of a longer one only costs time.
const MAX_EXPONENT: u64 = 1 << 33;

/// The keys of one provider.
#[derive(Debug, Default)]
pub(super) struct Keys(Vec<Key>);

#[derive(Debug)]
pub(super) struct Key {
    key_id: Option<String>,
    public: Public,
}

#[derive(Debug)]
enum Public {
    /// Big-endian, without leading zeros.
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    /// P-256 and Ed25519, by the strict rules that our own tokens are judged by.
    Curve(VerifyingKey),
}

impl Keys {
    /// Reads a set; entries that cannot be used are left out (RFC 7517 §5).
    pub(super) fn read(document: &Object<'_>) -> Result<Self, Failure> {
        let Some(Value::Array(values)) = document.member("keys") else {
            return Err(Failure::Unavailable("the JWK Set has no keys"));
        };
        if values.len() > MAX_KEYS {
            return Err(Failure::Unavailable("the JWK Set has too many keys"));
        }
        Ok(Self(values.iter().filter_map(Key::read).collect()))
    }

    /// The key for `algorithm` called `key_id`; without a `kid`, the only one for it (OpenID Connect
    /// Core §10.1). Two that answer are none: which was meant would be a guess.
    pub(super) fn find(&self, key_id: Option<&str>, algorithm: Algorithm) -> Option<&Key> {
        let mut fitting = self.0.iter().filter(|key| {
            key.algorithm() == algorithm && (key_id.is_none() || key.key_id.as_deref() == key_id)
        });
        let found = fitting.next()?;
        fitting.next().is_none().then_some(found)
    }
}

impl Key {
    fn read(value: &Value<'_>) -> Option<Self> {
        let Value::Object(jwk) = value else {
            return None;
        };
        // Whoever published a private key has lost it.
        if ["d", "p", "q", "dp", "dq", "qi", "oth", "k"]
            .iter()
            .any(|name| jwk.has(name))
        {
            return None;
        }
        let text = |name| jwk.member(name).and_then(Value::as_str);
        let fits = |name, expected| !jwk.has(name) || text(name) == Some(expected);
        let may_verify = match jwk.member("key_ops") {
            None => true,
            Some(Value::Array(all)) => all.iter().any(|one| one.as_str() == Some("verify")),
            Some(_) => false,
        };
        if !fits("use", "sig") || !may_verify || (jwk.has("kid") && text("kid").is_none()) {
            return None;
        }
        let bytes = |name| base64url::decode(text(name)?.as_bytes()).ok();
        let coordinate = |name| base64url::decode_exact(text(name)?.as_bytes()).ok();
        let public = match (text("kty")?, text("crv")) {
            ("RSA", _) => rsa(&bytes("n")?, &bytes("e")?)?,
            ("EC", Some("P-256")) => {
                Public::Curve(VerifyingKey::es256(&coordinate("x")?, &coordinate("y")?).ok()?)
            }
            ("OKP", Some("Ed25519")) => {
                Public::Curve(VerifyingKey::ed25519(&coordinate("x")?).ok()?)
            }
            _ => return None,
        };
        let key = Self {
            key_id: text("kid").map(str::to_owned),
            public,
        };
        let named = !jwk.has("alg") || named(text("alg")?) == Some(key.algorithm());
        named.then_some(key)
    }

    fn algorithm(&self) -> Algorithm {
        match &self.public {
            Public::Curve(VerifyingKey::Es256(_)) => Algorithm::Es256,
            Public::Curve(VerifyingKey::EdDsa(_)) => Algorithm::EdDsa,
            Public::Rsa { .. } | Public::Curve(VerifyingKey::Rs256(_)) => Algorithm::Rs256,
        }
    }

    /// Whether `signature` is this key's over `message`.
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.public {
            Public::Rsa { modulus, exponent } => RsaPublicKeyComponents {
                n: modulus,
                e: exponent,
            }
            .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            .is_ok(),
            Public::Curve(key) => key.verify(message, signature),
        }
    }
}

/// The algorithm of a header's or a key's `alg`; exact, and nothing for `none` and HMAC.
pub(super) fn named(text: &str) -> Option<Algorithm> {
    match text {
        "RS256" => Some(Algorithm::Rs256),
        "ES256" => Some(Algorithm::Es256),
        // RFC 9864 §2.2: the name that says the curve.
        "EdDSA" | "Ed25519" => Some(Algorithm::EdDsa),
        _ => None,
    }
}

fn rsa(modulus: &[u8], exponent: &[u8]) -> Option<Public> {
    let bare = |bytes: &[u8]| -> Vec<u8> {
        bytes
            .iter()
            .copied()
            .skip_while(|&byte| byte == 0)
            .collect()
    };
    let (modulus, exponent) = (bare(modulus), bare(exponent));
    // 2048 to 8192 bits.
    if !(256..=1_024).contains(&modulus.len()) || !(1..=5).contains(&exponent.len()) {
        return None;
    }
    let value = exponent
        .iter()
        .fold(0, |value: u64, &byte| value << 8 | u64::from(byte));
    let usable = (MIN_EXPONENT..MAX_EXPONENT).contains(&value) && value % 2 == 1;
    usable.then_some(Public::Rsa { modulus, exponent })
}

#[cfg(test)]
mod tests {
    use edgekeep_shared::json;

    use super::*;

    fn keys(entries: &str) -> Keys {
        let document = format!(r#"{{"keys":[{entries}]}}"#);
        Keys::read(&json::parse_object(document.as_bytes()).unwrap()).unwrap()
    }

    fn rsa_entry(modulus_bytes: usize, exponent: &[u8], more: &str) -> String {
        let (n, e) = (
            base64url::encode(&vec![0xab; modulus_bytes]),
            base64url::encode(exponent),
        );
        format!(r#"{{"kty":"RSA","n":"{n}","e":"{e}"{more}}}"#)
    }

    const ED: &str = r#"{"kty":"OKP","crv":"Ed25519","kid":"ed","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

    #[test]
    fn a_key_answers_to_its_own_algorithm_and_name_only() {
        let one = rsa_entry(256, &[1, 0, 1], r#","kid":"one""#);
        let set = keys(&format!("{one},{ED}"));
        assert!(set.find(Some("one"), Algorithm::Rs256).is_some());
        assert!(set.find(Some("one"), Algorithm::Es256).is_none());
        assert!(set.find(Some("One"), Algorithm::Rs256).is_none());
        assert!(set.find(Some("ed"), Algorithm::EdDsa).is_some());
        assert!(set.find(None, Algorithm::Rs256).is_some());
        let two = rsa_entry(256, &[1, 0, 1], r#","kid":"two""#);
        let set = keys(&format!("{one},{two}"));
        assert!(set.find(None, Algorithm::Rs256).is_none());
        let set = keys(&format!("{one},{one}"));
        assert!(set.find(Some("one"), Algorithm::Rs256).is_none());
    }

    #[test]
    fn leaves_out_keys_that_must_not_sign() {
        let fine = rsa_entry(256, &[1, 0, 1], "");
        assert!(keys(&fine).find(None, Algorithm::Rs256).is_some());
        for bad in [
            rsa_entry(255, &[1, 0, 1], ""),
            rsa_entry(1_025, &[1, 0, 1], ""),
            rsa_entry(256, &[1], ""),
            rsa_entry(256, &[3], ""),
            rsa_entry(256, &[1, 0, 0], ""),
            rsa_entry(256, &[0], ""),
            rsa_entry(256, &[1, 0, 0, 0, 0, 1], ""),
            rsa_entry(256, &[1, 0, 1], r#","use":"enc""#),
            rsa_entry(256, &[1, 0, 1], r#","key_ops":["encrypt"]"#),
            rsa_entry(256, &[1, 0, 1], r#","alg":"RS512""#),
            rsa_entry(256, &[1, 0, 1], r#","alg":"PS256""#),
            rsa_entry(256, &[1, 0, 1], r#","alg":1"#),
            rsa_entry(256, &[1, 0, 1], r#","kid":7"#),
            rsa_entry(256, &[1, 0, 1], r#","d":"AQAB""#),
        ] {
            assert!(keys(&bad).find(None, Algorithm::Rs256).is_none(), "{bad}");
        }
        for bad in [
            r#"{"kty":"oct","k":"AQAB","alg":"HS256"}"#,
            r#"{"kty":"OKP","crv":"Ed25519","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#,
            r#"{"kty":"EC","crv":"P-256","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","y":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#,
            "1",
            "null",
        ] {
            assert!(keys(bad).0.is_empty(), "{bad}");
        }
    }

    #[test]
    fn only_whole_sets_are_read() {
        for text in ["{}", r#"{"keys":{}}"#, r#"{"keys":null}"#] {
            assert!(Keys::read(&json::parse_object(text.as_bytes()).unwrap()).is_err());
        }
        let many = format!(r#"{{"keys":[{}1]}}"#, "1,".repeat(MAX_KEYS));
        assert!(Keys::read(&json::parse_object(many.as_bytes()).unwrap()).is_err());
    }
}
