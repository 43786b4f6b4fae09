//! Signatures of outgoing requests (Standard Webhooks 1.0.0): whoever has the secret can tell that
//! a request is ours, unaltered and fresh.

use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::vault::Secret;

const PREFIX: &str = "whsec_";

/// Shorter keys can be guessed, longer ones are hashed (§ Signature scheme: 192 to 512 bits).
const KEY_BYTES: RangeInclusive<usize> = 24..=64;

/// Secrets are copied from all sorts of places: padding may be there or not.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A key of HMAC-SHA256.
pub(crate) struct Key(Zeroizing<Vec<u8>>);

impl Key {
    /// The key in `secret`, base64 with or without `whsec_` before it.
    pub(crate) fn parse(secret: &Secret) -> Option<Self> {
        let text = secret.expose();
        let key = LENIENT
            .decode(text.strip_prefix(PREFIX).unwrap_or(text))
            .map(Zeroizing::new)
            .ok()?;
        KEY_BYTES.contains(&key.len()).then_some(Self(key))
    }

    /// The value of `webhook-signature`.
    pub(crate) fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else {
            // HMAC takes keys of every length.
            return String::new();
        };
        mac.update(id.as_bytes());
        mac.update(format!(".{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Option<Key> {
        Key::parse(&Secret::new(text.to_owned()))
    }

    /// The example that the specification's reference libraries test themselves with.
    #[test]
    fn signs_the_published_example() {
        let key = key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature = key.sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn accepts_keys_of_24_to_64_bytes_only() {
        for (bytes, accepted) in [(0, false), (23, false), (24, true), (64, true), (65, false)] {
            let text = STANDARD.encode(vec![7; bytes]);
            assert_eq!(key(&text).is_some(), accepted, "{bytes}");
            assert_eq!(key(&format!("{PREFIX}{text}")).is_some(), accepted);
            let bare = text.trim_end_matches('=');
            assert_eq!(key(bare).is_some(), accepted);
        }
        assert!(key("whsec_not base64, but long enough to be a key!").is_none());
    }
}
