//! `[mfa]`: second factors, and how recent a login must be to change them.

use serde::Deserialize;

use super::check::Wrong;
use crate::abuse::guesses::Bounds;

/// `[mfa]`. With the defaults whoever knows a password guesses a TOTP with less than one chance in
/// a thousand in a year: a guess may be right for three steps (RFC 6238 §5.2), so its chance is
/// 3 in 10⁶; 25 failures in 30 days are at most 13 × 25 = 325 in 365 days; 325 × 3 ÷ 10⁶ is
/// 0.000975.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mfa {
    /// What authenticator apps call this issuer; unset: the host of the public URL.
    pub issuer_name: Option<String>,
    /// Seconds between the first factor and the second.
    pub token_seconds: u64,
    /// Second factors that may be tried after one first factor.
    pub token_tries: u32,
    /// Wrong TOTP of an account in 24 hours after which TOTP is off for it.
    pub failures_per_day: u32,
    /// Wrong TOTP of an account in 30 days after which TOTP is off for it.
    pub failures_per_month: u32,
    /// Whether a person may choose codes by mail as second factor.
    pub email: bool,
    /// Whether a person may choose codes by SMS as second factor.
    pub sms: bool,
    /// Seconds since the last proof within which factors may be changed: time enough to set up an
    /// app and read a code from it, less than a computer is left alone for.
    pub fresh_seconds: u64,
}

impl Default for Mfa {
    fn default() -> Self {
        Self {
            issuer_name: None,
            token_seconds: 300,
            token_tries: 5,
            failures_per_day: 10,
            failures_per_month: 25,
            email: true,
            sms: true,
            fresh_seconds: 300,
        }
    }
}

/// Longest name of the issuer, in bytes: a QR code with it is still read from a screen.
const MAX_NAME: usize = 64;

impl Mfa {
    /// How often TOTP may be guessed for one account.
    pub fn bounds(&self) -> Bounds {
        Bounds {
            per_day: self.failures_per_day,
            per_month: self.failures_per_month,
        }
    }

    pub(super) fn check(&self, wrong: &mut Wrong) {
        wrong.expect(
            self.issuer_name.as_deref().is_none_or(|name| {
                (1..=MAX_NAME).contains(&name.len())
                    && !name.contains(|c: char| c == ':' || c.is_control())
            }),
            "mfa.issuer_name",
            "expected 1 to 64 bytes without colon and control characters",
        );
        wrong.expect(
            (1..=600).contains(&self.token_seconds),
            "mfa.token_seconds",
            "expected 1 to 600",
        );
        wrong.expect(
            (1..=10).contains(&self.token_tries),
            "mfa.token_tries",
            "expected 1 to 10",
        );
        wrong.expect(
            self.failures_per_day >= 1,
            "mfa.failures_per_day",
            "expected at least 1",
        );
        wrong.expect(
            // NIST SP 800-63B-4 §3.2.2: at most a hundred failures of one authenticator.
            (1..=100).contains(&self.failures_per_month),
            "mfa.failures_per_month",
            "expected 1 to 100",
        );
        wrong.expect(
            (30..=3_600).contains(&self.fresh_seconds),
            "mfa.fresh_seconds",
            "expected 30 to 3600",
        );
    }
}
