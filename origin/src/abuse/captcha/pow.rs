//! Proof of work in the form of ALTCHA's protocol, version 2, so that its widgets and libraries
//! can be used in the page.
//!
//! The client looks for a counter for which PBKDF2-HMAC-SHA-256 (RFC 8018 §5.2) over nonce, counter
//! and salt begins with the wanted zeros. PBKDF2 rather than a bare hash, because browsers compute
//! it about as fast as anything else an attacker has on a processor; a bare hash costs a browser
//! fifty times what it costs a native program.
//!
//! Own code rather than the `altcha` crate: that reads clock and randomness by itself and brings a
//! second generation of the hashing crates; what is needed of it is these hundred lines.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::config::Captcha;
use crate::error::Error;
use crate::ids::CaptchaId;
use crate::random::Random;
use crate::vault::{Digest, Purpose, Secret, Vault};

const ALGORITHM: &str = "PBKDF2/SHA-256";
const KEY_BYTES: usize = 32;

/// `btoa` pads, libraries differ.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What the client computes with. Members stand in the alphabet's order, as ALTCHA signs them.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = PowParameters)]
pub(super) struct Parameters {
    /// Always `PBKDF2/SHA-256`.
    algorithm: String,
    /// Iterations.
    cost: u32,
    data: Data,
    /// Unix time from which no answer is accepted.
    expires_at: i64,
    /// Bytes of the derived key.
    key_length: usize,
    /// What the derived key begins with, in hexadecimal.
    key_prefix: String,
    /// 16 bytes in hexadecimal; with the counter in four bytes after it, PBKDF2's password.
    nonce: String,
    /// 16 bytes in hexadecimal.
    salt: String,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PowData)]
struct Data {
    /// The captcha that this is, so that the payload alone tells.
    #[schema(value_type = String, format = "uuid")]
    captcha_id: CaptchaId,
}

/// What the widget sends: base64 of JSON. It may have more members.
#[derive(Deserialize)]
struct Payload {
    challenge: Challenge,
    solution: Solution,
}

#[derive(Deserialize)]
struct Challenge {
    parameters: Parameters,
    signature: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Solution {
    counter: u32,
    derived_key: String,
}

/// A proof that was read and not looked at yet.
pub(super) struct UnverifiedProof(Payload);

impl Parameters {
    /// Parameters for a new captcha.
    pub(super) fn new(
        settings: &Captcha,
        random: &Random,
        captcha_id: CaptchaId,
        expires_at: Timestamp,
    ) -> Self {
        Self {
            algorithm: ALGORITHM.to_owned(),
            cost: settings.pow_cost,
            data: Data { captcha_id },
            expires_at: expires_at.unix_seconds(),
            key_length: KEY_BYTES,
            key_prefix: "0".repeat(settings.pow_zeros as usize),
            nonce: hex(&random.bytes::<16>()),
            salt: hex(&random.bytes::<16>()),
        }
    }

    /// The MAC that the row keeps, and that the client gets as `signature`.
    ///
    /// # Errors
    /// When the vault has no key.
    pub(super) fn mac(&self, vault: &Vault) -> Result<[u8; 32], Error> {
        let canonical =
            serde_json::to_vec(self).map_err(|_| Error::internal("parameters as JSON"))?;
        Ok(vault.mac(Purpose::Captcha, &[b"pow", &canonical])?)
    }
}

impl UnverifiedProof {
    /// Reads a payload; `None` when it is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let json = BASE64.decode(text).ok()?;
        crate::request::object::<Payload>(&json).ok().map(Self)
    }

    /// Which captcha it says it answers.
    pub(super) fn unverified_captcha_id(&self) -> CaptchaId {
        self.0.challenge.parameters.data.captcha_id
    }

    /// Whether its parameters are the ones whose MAC `stored` is; cheap, so it is asked first.
    ///
    /// # Errors
    /// When the vault has no key.
    pub(super) fn is_about(&self, vault: &Vault, stored: &[u8]) -> Result<bool, Error> {
        let Challenge {
            parameters,
            signature,
        } = &self.0.challenge;
        let mac = parameters.mac(vault)?;
        let signed: bool = hex(&mac).as_bytes().ct_eq(signature.as_bytes()).into();
        Ok(signed && Digest::new(mac).matches(stored))
    }

    /// Whether the work was done. Costs one derivation: only for parameters that are ours.
    pub(super) fn holds(&self) -> bool {
        let (parameters, solution) = (&self.0.challenge.parameters, &self.0.solution);
        let (Some(nonce), Some(salt)) = (unhex(&parameters.nonce), unhex(&parameters.salt)) else {
            return false;
        };
        let mut password = nonce.to_vec();
        password.extend_from_slice(&solution.counter.to_be_bytes());
        let key = pbkdf2::pbkdf2_hmac_array::<Sha256, KEY_BYTES>(&password, &salt, parameters.cost);
        let key = hex(&key);
        key.starts_with(&parameters.key_prefix) && key == solution.derived_key
    }
}

/// The `signature` of parameters: their MAC in hexadecimal.
pub(super) fn signature(mac: &[u8; 32]) -> String {
    hex(mac)
}

/// Whether a field's text may be a proof rather than a provider's token.
pub(super) fn read(text: &Secret) -> Option<UnverifiedProof> {
    UnverifiedProof::parse(text.expose())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        for nibble in [byte >> 4, byte & 0xf] {
            text.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
        }
        text
    })
}

fn unhex(text: &str) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..32).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What altcha-lib 2.8.0 answers to these parameters, so that a change of ours that its widgets
    /// would not follow is seen without it.
    #[test]
    fn agrees_with_the_published_library() {
        let json = include_str!("../../../tests/altcha/payload.json");
        let payload = BASE64.encode(json.trim());
        let proof = UnverifiedProof::parse(&payload).unwrap();
        assert!(proof.holds());
    }

    #[test]
    fn hexadecimal_there_and_back() {
        let bytes: [u8; 16] = Random::seeded(1).bytes();
        assert_eq!(unhex(&hex(&bytes)), Some(bytes));
        for text in ["", "0", "zz", &"é".repeat(16), &"+1".repeat(16)] {
            let read = unhex(text);
            assert!(read.is_none_or(|_| text.starts_with('+')), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_payload_panics(
            bytes: Vec<u8>,
            text: String,
            nonce in "[0-9a-fé+]{30,33}",
            counter: u64,
            prefix in "[0-9a-zA-Z]{0,70}",
        ) {
            let json = format!(
                r#"{{"challenge": {{"parameters": {{"algorithm": "x", "cost": 1,
                "data": {{"captcha_id": "67e55044-10b1-426f-9247-bb680e5fe0c8"}}, "expiresAt": 1,
                "keyLength": 1, "keyPrefix": "{prefix}", "nonce": "{nonce}", "salt": "{nonce}"}},
                "signature": "é"}}, "solution": {{"counter": {counter}, "derivedKey": ""}}}}"#
            );
            for text in [text, BASE64.encode(bytes), BASE64.encode(&json)] {
                if let Some(proof) = UnverifiedProof::parse(&text) {
                    proptest::prop_assert!(!proof.holds());
                }
            }
            let parsed = UnverifiedProof::parse(&BASE64.encode(&json));
            proptest::prop_assert_eq!(parsed.is_some(), u32::try_from(counter).is_ok());
        }
    }
}
