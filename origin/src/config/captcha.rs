//! `[captcha]`: what keeps machines from guessing and from sending messages by the thousand.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::check::Wrong;
use crate::vault::Secret;

/// `[captcha]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Captcha {
    /// `off`, `image`, `pow`, `code`, `turnstile`, `hcaptcha` or `recaptcha`.
    pub kind: CaptchaKind,
    /// What a person may choose instead of an image that they cannot see, or of a code that cannot
    /// reach them: `pow`, `code` or `off`. Providers bring their own.
    pub alternative: CaptchaKind,
    /// `risk`: after failures, and before an SMS to a number that was not proved from the same
    /// network. `always`: on every request to the routes below.
    pub when: CaptchaWhen,
    /// Where one is asked for: `register`, `login`, `otp` (`/otp/send`), `password`
    /// (`/forgot-password`), `contact` (`POST /contacts`).
    pub routes: Vec<CaptchaFor>,
    /// Failures, of an identifier in a row or of a network in 15 minutes, after which `risk` asks.
    pub failures: u32,
    /// Life of a captcha, and again of the token that a right answer is exchanged for.
    pub ttl_seconds: u64,
    /// Whether a captcha must name the identifier that it is for when it is made. Without, one
    /// made for none is good for any.
    pub bind_target: bool,
    /// Proof of work: PBKDF2 iterations of one attempt.
    pub pow_cost: u32,
    /// Proof of work: hexadecimal zeros that a result begins with; each makes it 16 times as hard.
    pub pow_zeros: u32,
    /// The provider's public key for the page.
    pub site_key: String,
    /// The provider's secret.
    pub secret: Option<Secret>,
    /// Where the provider verifies; unset: its own address. https, or http on loopback.
    pub verify_url: Option<String>,
    /// Names of the pages that tokens may come from; empty: not looked at.
    pub hostnames: Vec<String>,
    /// Whether the provider's `action` must be the purpose (`login`, …), where it has one.
    pub check_action: bool,
    /// The score from which reCAPTCHA v3 counts as a person; 0: not looked at.
    pub min_score: f64,
    /// When the provider cannot be asked: `closed` refuses (503), `open` lets pass.
    pub fail: CaptchaFail,
    /// How long the provider may take.
    pub timeout_milliseconds: u64,
}

/// The sorts of captcha.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CaptchaKind {
    /// None.
    #[default]
    Off,
    /// Distorted letters.
    Image,
    /// A computation in the client (ALTCHA, protocol version 2).
    Pow,
    /// A code by mail or SMS.
    Code,
    /// Cloudflare Turnstile.
    Turnstile,
    /// hCaptcha.
    Hcaptcha,
    /// reCAPTCHA v2 or v3.
    Recaptcha,
}

impl CaptchaKind {
    /// The word of the configuration, the API and the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Image => "image",
            Self::Pow => "pow",
            Self::Code => "code",
            Self::Turnstile => "turnstile",
            Self::Hcaptcha => "hcaptcha",
            Self::Recaptcha => "recaptcha",
        }
    }

    /// Where the provider verifies; none for kinds that are judged here.
    pub const fn provider_url(self) -> Option<&'static str> {
        match self {
            Self::Turnstile => Some("https://challenges.cloudflare.com/turnstile/v0/siteverify"),
            Self::Hcaptcha => Some("https://api.hcaptcha.com/siteverify"),
            Self::Recaptcha => Some("https://www.google.com/recaptcha/api/siteverify"),
            Self::Off | Self::Image | Self::Pow | Self::Code => None,
        }
    }
}

/// What a captcha is for; one for another purpose is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CaptchaFor {
    /// `POST /register`
    Register,
    /// `POST /login`
    Login,
    /// `POST /otp/send`
    Otp,
    /// `POST /forgot-password`
    Password,
    /// `POST /contacts`
    Contact,
}

impl CaptchaFor {
    /// Every purpose.
    pub const ALL: [Self; 5] = [
        Self::Register,
        Self::Login,
        Self::Otp,
        Self::Password,
        Self::Contact,
    ];

    /// The word of the configuration, the API and the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Login => "login",
            Self::Otp => "otp",
            Self::Password => "password",
            Self::Contact => "contact",
        }
    }
}

/// When a captcha is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CaptchaWhen {
    /// When something went before that a machine would do.
    #[default]
    Risk,
    /// On every request.
    Always,
}

/// What happens when the provider cannot be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CaptchaFail {
    /// The request is refused.
    #[default]
    Closed,
    /// The request passes.
    Open,
}

impl Default for Captcha {
    fn default() -> Self {
        Self {
            kind: CaptchaKind::Off,
            alternative: CaptchaKind::Pow,
            when: CaptchaWhen::Risk,
            routes: CaptchaFor::ALL.to_vec(),
            failures: 3,
            ttl_seconds: 300,
            bind_target: true,
            pow_cost: 5_000,
            pow_zeros: 2,
            site_key: String::new(),
            secret: None,
            verify_url: None,
            hostnames: Vec::new(),
            check_action: false,
            min_score: 0.0,
            fail: CaptchaFail::Closed,
            timeout_milliseconds: 5_000,
        }
    }
}

/// Longest list of host names: one for each page, not a policy.
const MAX_HOSTNAMES: usize = 100;

impl Captcha {
    /// Whether a captcha of this kind may be asked of anybody.
    pub fn offers(&self, kind: CaptchaKind) -> bool {
        kind != CaptchaKind::Off && (kind == self.kind || Some(kind) == self.alternative())
    }

    /// What may be chosen instead of the configured kind.
    pub fn alternative(&self) -> Option<CaptchaKind> {
        let has_one = matches!(self.kind, CaptchaKind::Image | CaptchaKind::Code);
        let other = self.alternative != CaptchaKind::Off && self.alternative != self.kind;
        (has_one && other).then_some(self.alternative)
    }

    /// Where the provider verifies; none where none is configured.
    pub fn provider_url(&self) -> Option<&str> {
        let own = self.kind.provider_url()?;
        Some(self.verify_url.as_deref().unwrap_or(own))
    }

    pub(super) fn check(&self, wrong: &mut Wrong) {
        wrong.expect(
            matches!(
                self.alternative,
                CaptchaKind::Pow | CaptchaKind::Code | CaptchaKind::Off
            ),
            "captcha.alternative",
            "expected \"pow\", \"code\" or \"off\"",
        );
        wrong.expect(
            (1..=100).contains(&self.failures),
            "captcha.failures",
            "expected 1 to 100",
        );
        wrong.expect(
            (30..=3_600).contains(&self.ttl_seconds),
            "captcha.ttl_seconds",
            "expected 30 to 3600",
        );
        wrong.expect(
            (1..=100_000).contains(&self.pow_cost),
            "captcha.pow_cost",
            "expected 1 to 100000: the keep computes one attempt itself for each answer",
        );
        wrong.expect(
            (1..=8).contains(&self.pow_zeros),
            "captcha.pow_zeros",
            "expected 1 to 8",
        );
        wrong.expect_token("captcha.secret", self.secret.as_ref());
        wrong.expect(
            self.kind.provider_url().is_none()
                || (self.secret.is_some() && !self.site_key.is_empty()),
            "captcha",
            "expected site_key and secret with a provider",
        );
        wrong.expect(
            self.verify_url.as_deref().is_none_or(|url| {
                ["https://", "http://127.0.0.1:", "http://[::1]:"]
                    .iter()
                    .any(|prefix| url.starts_with(prefix))
                    && url.bytes().all(|byte| byte.is_ascii_graphic())
            }),
            "captcha.verify_url",
            "expected an https URL, or http on loopback",
        );
        wrong.expect(
            self.hostnames.len() <= MAX_HOSTNAMES
                && self.hostnames.iter().all(|name| {
                    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic())
                }),
            "captcha.hostnames",
            "expected at most 100 names such as app.example.com",
        );
        wrong.expect(
            (0.0..=1.0).contains(&self.min_score)
                && (self.min_score == 0.0 || self.kind == CaptchaKind::Recaptcha),
            "captcha.min_score",
            "expected 0 to 1, and 0 without kind = \"recaptcha\"",
        );
        wrong.expect(
            !self.check_action || self.kind != CaptchaKind::Hcaptcha,
            "captcha.check_action",
            "expected false with kind = \"hcaptcha\", which has no actions",
        );
        wrong.expect(
            (100..=10_000).contains(&self.timeout_milliseconds),
            "captcha.timeout_milliseconds",
            "expected 100 to 10000",
        );
    }
}
