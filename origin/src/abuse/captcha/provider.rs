//! Turnstile, hCaptcha and reCAPTCHA: the provider judges, over the one form of request that all
//! three share (`siteverify`).
//!
//! `captcha.fail = "open"` is about a provider that is down, never about what a caller sends: a
//! token that makes the provider answer 400 is a wrong token, and a secret that the provider does
//! not know is refused with `unavailable` either way, because it would switch captchas off unseen.

use std::net::IpAddr;
use std::time::Duration;

use reqwest::{Client, StatusCode, redirect};
use serde::Deserialize;
use tokio::sync::Semaphore;

use crate::config::{Captcha, CaptchaFail, CaptchaFor, CaptchaKind};
use crate::error::Error;
use crate::vault::Secret;

/// Longest answer of a provider that is read: theirs have some hundred bytes.
const MAX_ANSWER: usize = 16_384;

/// Questions to the provider at a time; one more is answered `unavailable`.
const ASKING: usize = 64;

/// The configured provider.
#[derive(Debug)]
pub(super) struct Provider {
    client: Client,
    url: String,
    secret: Secret,
    settings: Captcha,
    asking: Semaphore,
}

/// What providers answer, as far as it is looked at.
#[derive(Deserialize)]
struct Said {
    success: bool,
    #[serde(default, rename = "error-codes")]
    error_codes: Vec<String>,
    hostname: Option<String>,
    action: Option<String>,
    score: Option<f64>,
}

/// Why the provider's word is not to be had.
enum Unasked {
    /// It is down, slow or makes no sense.
    Down(String),
    /// It does not know us.
    Misconfigured(String),
}

impl Provider {
    /// The configured provider; none where captchas are judged here.
    pub(super) fn new(settings: &Captcha) -> Result<Option<Self>, String> {
        let (Some(url), Some(secret)) = (settings.provider_url(), &settings.secret) else {
            return Ok(None);
        };
        let client = Client::builder()
            .timeout(Duration::from_millis(settings.timeout_milliseconds))
            // A redirect would carry the secret elsewhere.
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|error| format!("captcha: {error}"))?;
        Ok(Some(Self {
            client,
            url: url.to_owned(),
            secret: secret.clone(),
            settings: settings.clone(),
            asking: Semaphore::new(ASKING),
        }))
    }

    /// Has the provider judge `token`.
    ///
    /// # Errors
    /// [`Error::CaptchaInvalid`] when it is refused; [`Error::Unavailable`] when the provider
    /// cannot be asked, unless `captcha.fail` is `open`.
    pub(super) async fn verify(
        &self,
        token: &Secret,
        purpose: CaptchaFor,
        remote: Option<IpAddr>,
    ) -> Result<(), Error> {
        let _turn = self
            .asking
            .try_acquire()
            .map_err(|_| Error::Unavailable("too many captchas at a time"))?;
        match self.ask(token, remote).await {
            Ok(said) => self.judge(&said, purpose),
            Err(Unasked::Misconfigured(cause)) => {
                tracing::error!(cause, "the captcha provider does not accept the secret");
                Err(Error::Unavailable("captcha provider: secret"))
            }
            Err(Unasked::Down(cause)) => {
                let open = self.settings.fail == CaptchaFail::Open;
                tracing::warn!(cause, open, "the captcha provider cannot be asked");
                if open {
                    Ok(())
                } else {
                    Err(Error::Unavailable("captcha provider"))
                }
            }
        }
    }

    fn judge(&self, said: &Said, purpose: CaptchaFor) -> Result<(), Error> {
        let settings = &self.settings;
        let invalid = |cause| Err(Error::CaptchaInvalid(cause));
        if !said.success {
            let codes = said.error_codes.join(" ");
            tracing::debug!(codes, "the captcha provider refused a token");
            return invalid("refused by the provider");
        }
        let from_here = said.hostname.as_ref().is_some_and(|name| {
            let names = &settings.hostnames;
            names.iter().any(|known| known.eq_ignore_ascii_case(name))
        });
        if !settings.hostnames.is_empty() && !from_here {
            return invalid("from another host");
        }
        if settings.check_action && said.action.as_deref() != Some(purpose.as_str()) {
            return invalid("for another action");
        }
        // A token without score (v2, or a provider that changed) is not one of the best.
        let score = said.score.unwrap_or(0.0);
        if settings.min_score > 0.0 && !(settings.min_score..=1.0).contains(&score) {
            return invalid("score too low");
        }
        Ok(())
    }

    async fn ask(&self, token: &Secret, remote: Option<IpAddr>) -> Result<Said, Unasked> {
        let down = |error: reqwest::Error| Unasked::Down(error.without_url().to_string());
        let remote = remote.map(|address| address.to_canonical().to_string());
        let mut fields = vec![
            ("secret", self.secret.expose()),
            ("response", token.expose()),
        ];
        if let Some(remote) = &remote {
            fields.push(("remoteip", remote));
        }
        if self.settings.kind == CaptchaKind::Hcaptcha {
            fields.push(("sitekey", &self.settings.site_key));
        }
        let mut response = self
            .client
            .post(&self.url)
            .form(&fields)
            .send()
            .await
            .map_err(down)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(down)? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(Unasked::Down("an answer without end".to_owned()));
            }
            body.extend_from_slice(&chunk);
        }
        let said = serde_json::from_slice::<Said>(&body);
        let about_us = said.as_ref().is_ok_and(|said| {
            let codes = &said.error_codes;
            codes.iter().any(|code| code.ends_with("-input-secret"))
        });
        if about_us {
            return Err(Unasked::Misconfigured("invalid secret".to_owned()));
        }
        if status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::REQUEST_TIMEOUT {
            return Err(Unasked::Down(format!("answered {status}")));
        }
        if status.is_client_error() {
            // Whatever it says: this is not a token that it calls good.
            return Ok(Said {
                success: false,
                error_codes: vec![status.to_string()],
                hostname: None,
                action: None,
                score: None,
            });
        }
        match said {
            Ok(said)
                if !said.success && said.error_codes.iter().any(|it| it == "internal-error") =>
            {
                Err(Unasked::Down("internal-error".to_owned()))
            }
            Ok(said) if status.is_success() => Ok(said),
            _ => Err(Unasked::Down(format!("answered {status}, not understood"))),
        }
    }
}
