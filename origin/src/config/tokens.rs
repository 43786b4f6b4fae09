//! `[tokens]` and `[keys]`: what access tokens say, and the life of the keys that sign them.

use serde::Deserialize;

use super::check::Wrong;

/// How access tokens are signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    #[default]
    ES256,
    /// Ed25519.
    EdDSA,
    /// RSASSA-PKCS1-v1_5 with SHA-256, for verifiers that know nothing else.
    RS256,
}

/// `[tokens]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each claim is in or out by itself"
)]
pub struct Tokens {
    /// `aud`: the API that the tokens are for.
    pub audience: String,
    /// `client_id` of the first-party client.
    pub client_id: String,
    /// Life of an access token; at most 86400.
    pub access_token_seconds: u64,
    /// `ES256`, `EdDSA` or `RS256`; a change applies from the next key on.
    pub algorithm: Algorithm,
    /// Bits of the next RSA key: 2048, 3072 or 4096. 3,072 are as strong as the curves (128 bits,
    /// NIST SP 800-57 part 1, table 2); 2,048 have 112 bits, and more than 3,072 take longer to sign
    /// with and win nothing over them.
    pub rsa_bits: u64,
    /// Clock difference tolerated when this server judges a token.
    pub leeway_seconds: u64,
    /// Whether tokens carry the e-mail address. Off: a token is readable by whoever holds it.
    pub include_email: bool,
    /// Whether tokens carry the telephone number.
    pub include_phone: bool,
    /// Whether tokens carry the user name.
    pub include_username: bool,
    /// Whether tokens carry the calling code of the telephone number's country, such as `+41`.
    pub include_country_code: bool,
}

impl Default for Tokens {
    fn default() -> Self {
        Self {
            audience: "api".to_owned(),
            client_id: "default".to_owned(),
            access_token_seconds: 900,
            algorithm: Algorithm::default(),
            rsa_bits: 3072,
            leeway_seconds: 5,
            include_email: false,
            include_phone: false,
            include_username: false,
            include_country_code: false,
        }
    }
}

/// Lengths of RSA keys that are made: those that aws-lc makes and every verifier takes.
const RSA_BITS: [u64; 3] = [2048, 3072, 4096];

/// A token may live a day at most, whatever is configured: verifiers refuse longer ones.
const MAX_ACCESS_TOKEN_SECONDS: u64 = 86_400;

impl Tokens {
    pub(super) fn check(&self, wrong: &mut Wrong) {
        wrong.expect(
            !self.audience.is_empty(),
            "tokens.audience",
            "expected a name",
        );
        wrong.expect(
            !self.client_id.is_empty(),
            "tokens.client_id",
            "expected a name",
        );
        wrong.expect(
            (1..=MAX_ACCESS_TOKEN_SECONDS).contains(&self.access_token_seconds),
            "tokens.access_token_seconds",
            "expected 1 to 86400",
        );
        wrong.expect(
            RSA_BITS.contains(&self.rsa_bits),
            "tokens.rsa_bits",
            "expected 2048, 3072 or 4096",
        );
        wrong.expect(
            self.leeway_seconds <= 300,
            "tokens.leeway_seconds",
            "expected 0 to 300",
        );
    }
}

/// `[keys]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keys {
    /// How long verifiers may keep the JWK Set (`Cache-Control: max-age`).
    pub jwks_max_age_seconds: u64,
    /// What is added to that before a published key may sign: clocks, copies, slow caches.
    pub propagation_seconds: u64,
    /// How often keys rotate by themselves; 0: only by command.
    pub rotation_seconds: u64,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            jwks_max_age_seconds: 300,
            propagation_seconds: 60,
            rotation_seconds: 30 * 86_400,
        }
    }
}
