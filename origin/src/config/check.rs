//! What can only be seen of all keys together.

use std::collections::BTreeMap;

use super::{Channel, Config, ConfigError, Mode};
use crate::vault::Secret;

/// Keys whose values cannot be, each with what was expected.
#[derive(Debug, Default)]
pub(super) struct Wrong(BTreeMap<&'static str, String>);

impl Wrong {
    /// Notes `expected` of `key` unless it `holds`.
    pub(super) fn expect(&mut self, holds: bool, key: &'static str, expected: &str) {
        if !holds {
            self.0.insert(key, expected.to_owned());
        }
    }

    /// Whether nothing was noted.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// An empty variable in a deployment's template is a mistake, not a token.
    pub(super) fn expect_token(&mut self, key: &'static str, token: Option<&Secret>) {
        self.expect(
            token.is_none_or(|token| !token.expose().is_empty()),
            key,
            "expected a token that is not empty",
        );
    }
}

/// Whether `url` is one that a link can be made of by adding a query.
pub(super) fn is_page(url: &str) -> bool {
    (url.starts_with("https://") || url.starts_with("http://"))
        && url.bytes().all(|byte| byte.is_ascii_graphic())
        && !url.contains(['?', '#'])
}

/// Whether what is sent to `url` is encrypted, or stays on this machine.
pub(super) fn is_secure(url: &str) -> bool {
    let is_loopback = ["http://127.0.0.1", "http://[::1]", "http://localhost"]
        .iter()
        .filter_map(|host| url.strip_prefix(host))
        .any(|rest| rest.is_empty() || rest.starts_with([':', '/']));
    url.starts_with("https://") || is_loopback
}

impl Config {
    /// Looks at every section, and at what only all of them tell.
    ///
    /// # Errors
    /// [`ConfigError::Impossible`] with the first such key and what was expected.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let mut wrong = Wrong::default();
        self.check_issuer(&mut wrong);
        self.server.check(&mut wrong);
        self.browser.check(&self.issuer(), &mut wrong);
        self.gate.check(&mut wrong);
        self.tokens.check(&mut wrong);
        self.password.check(self.mode, &mut wrong);
        self.lockout.check(&mut wrong);
        self.otp.check(&mut wrong);
        self.limits.check(&mut wrong);
        self.mfa.check(&mut wrong);
        self.passkeys.check(self, &mut wrong);
        self.accounts.check(&mut wrong);
        self.access.check(&mut wrong);
        self.captcha.check(&mut wrong);
        self.sessions.check(&mut wrong);
        self.revocation.check(&mut wrong);
        self.anomaly.check(&mut wrong);
        self.audit.check(&mut wrong);
        self.secrets.check(&mut wrong);
        self.social.check(&mut wrong);
        self.check_notify(&mut wrong);
        self.sms.check(self.mode, &self.notify.sms, &mut wrong);
        match wrong.0.into_iter().next() {
            None => Ok(()),
            Some((key, expected)) => Err(ConfigError::Impossible { key, expected }),
        }
    }

    fn check_issuer(&self, wrong: &mut Wrong) {
        let issuer = self.issuer();
        wrong.expect(
            (issuer.starts_with("https://") || issuer.starts_with("http://"))
                && !issuer.ends_with('/')
                && !issuer.contains(['?', '#'])
                && !issuer.contains(char::is_whitespace),
            "server.public_url",
            "expected an http or https URL without trailing slash, query or fragment",
        );
        wrong.expect(
            self.mode == Mode::Development || issuer.starts_with("https://"),
            "server.public_url",
            "expected an https URL in production",
        );
    }

    fn check_notify(&self, wrong: &mut Wrong) {
        wrong.expect(
            self.mode == Mode::Development
                || !(matches!(self.notify.email, Channel::File)
                    || matches!(self.notify.sms, Channel::File)),
            "notify",
            "expected a sender other than \"file\" in production",
        );
        for (key, channel) in [
            ("notify.email", &self.notify.email),
            ("notify.sms", &self.notify.sms),
        ] {
            if let Some(missing) = channel.missing() {
                wrong.expect(false, key, missing);
            }
        }
        wrong.expect(
            !matches!(self.notify.sms, Channel::Smtp(_)),
            "notify.sms",
            "expected kind = \"file\", \"twilio\", \"sns\", \"http\" or \"off\"",
        );
        wrong.expect(
            !matches!(self.notify.email, Channel::Twilio(_) | Channel::Sns(_)),
            "notify.email",
            "expected kind = \"file\", \"smtp\", \"http\" or \"off\"",
        );
    }
}
