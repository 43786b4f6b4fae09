//! `[otp]` and `[registration]`: one-time codes, new accounts.

use serde::Deserialize;

use super::check::{Wrong, is_secure_page};
use crate::abuse::guesses::Bounds;

/// `[otp]`: codes of six digits. With the defaults a code is guessed with less than one chance
/// in a thousand in a year: 60 failures in 30 days are 730 in 365, of a million codes.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Otp {
    /// Life of a code.
    pub ttl_seconds: u64,
    /// Guesses of one code.
    pub max_tries: u32,
    /// Codes sent to one address in an hour.
    pub sends_per_hour: u32,
    /// Wrong guesses of an account in 24 hours after which codes are off for it.
    pub failures_per_day: u32,
    /// Wrong guesses of an account in 30 days after which codes are off for it.
    pub failures_per_month: u32,
}

impl Default for Otp {
    fn default() -> Self {
        Self {
            ttl_seconds: 300,
            max_tries: 3,
            sends_per_hour: 3,
            failures_per_day: 10,
            failures_per_month: 60,
        }
    }
}

impl Otp {
    /// How often codes may be guessed for one account.
    pub fn bounds(&self) -> Bounds {
        Bounds {
            per_day: self.failures_per_day,
            per_month: self.failures_per_month,
        }
    }

    pub(super) fn check(&self, wrong: &mut Wrong) {
        wrong.expect(
            (1..=600).contains(&self.ttl_seconds),
            "otp.ttl_seconds",
            "expected 1 to 600",
        );
        wrong.expect(
            (1..=10).contains(&self.max_tries),
            "otp.max_tries",
            "expected 1 to 10",
        );
    }
}

/// `[registration]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Registration {
    /// Whether an address must be proved before its account exists.
    pub require_proof: bool,
    /// Whether somebody may register with a user name and a password alone. A name needs no proof: it
    /// is whoever took it first. No message reaches such an account until its owner adds an address, so
    /// a forgotten password is lost with it.
    pub username_alone: bool,
    /// The page of your application that proves an address by the link in the mail: it is given
    /// `#token=`, asks for the password and sends both to `POST /register/verify`. https, or http on
    /// loopback; unset: the mail has a code only.
    pub verify_url: Option<String>,
}

impl Default for Registration {
    fn default() -> Self {
        Self {
            require_proof: true,
            username_alone: true,
            verify_url: None,
        }
    }
}

impl Registration {
    pub(super) fn check(&self, wrong: &mut Wrong) {
        wrong.expect(
            self.verify_url.as_deref().is_none_or(is_secure_page),
            "registration.verify_url",
            "expected an https URL (or http on loopback) without query and fragment",
        );
    }
}
