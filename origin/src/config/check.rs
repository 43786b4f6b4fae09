//! What can only be seen of all keys together.

use std::collections::BTreeMap;

use edgekeep_shared::headers::bearer_token;

use super::{Channel, Config, ConfigError, Mode};
use crate::vault::Secret;

/// Characters of the shortest token.
const SHORTEST_TOKEN: usize = 22;

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

    /// A token of somebody else's. An empty variable in a deployment's template is a mistake, not a
    /// token.
    pub(super) fn expect_token(&mut self, key: &'static str, token: Option<&Secret>) {
        self.expect(
            token.is_none_or(|token| !token.expose().is_empty()),
            key,
            "expected a token that is not empty",
        );
    }

    /// A token that opens a door here by itself; 128 random bits have 22 characters in base64url.
    /// One that no header can bring would open it for nobody.
    pub(super) fn expect_bearer(&mut self, key: &'static str, token: Option<&Secret>) {
        let fits = |token: &Secret| {
            let field = Secret::new(format!("Bearer {}", token.expose()));
            token.expose().len() >= SHORTEST_TOKEN
                && bearer_token([field.expose()]) == Ok(token.expose())
        };
        self.expect(
            token.is_none_or(fits),
            key,
            "expected a token of at least 22 characters, of `A-Za-z0-9-._~+/=`, such as \
             `openssl rand -hex 32` makes",
        );
    }
}

/// Whether `url` is one that a link can be made of by adding a query.
pub(super) fn is_page(url: &str) -> bool {
    (url.starts_with("https://") || url.starts_with("http://"))
        && url.bytes().all(|byte| byte.is_ascii_graphic())
        && !url.contains(['?', '#'])
}

/// Whether what is sent to `url` stays on this machine.
pub(super) fn is_loopback(url: &str) -> bool {
    ["http://127.0.0.1", "http://[::1]", "http://localhost"]
        .iter()
        .filter_map(|host| url.strip_prefix(host))
        .any(|rest| {
            // `http://localhost:80@example.com` is not on this machine.
            let port = rest.split('/').next().unwrap_or_default();
            (rest.is_empty() || rest.starts_with([':', '/'])) && !port.contains('@')
        })
}

/// Whether what is sent to `url` is encrypted, or stays on this machine.
pub(super) fn is_secure(url: &str) -> bool {
    url.starts_with("https://") || is_loopback(url)
}

/// Whether `url` is a page that what nobody else may read can be sent to.
pub(super) fn is_secure_page(url: &str) -> bool {
    is_page(url) && is_secure(url)
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
        self.registration.check(&mut wrong);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_for_secrets_is_encrypted_or_on_this_machine() {
        for (url, expected) in [
            ("https://app.example.com", true),
            ("https://app.example.com/verify", true),
            ("http://localhost/verify", true),
            ("http://localhost:3000", true),
            ("http://127.0.0.1:3000/verify", true),
            ("http://[::1]/verify", true),
            ("http://app.example.com/verify", false),
            ("http://localhost.example.com/verify", false),
            ("http://localhost:80@example.com/verify", false),
            ("http://localhost@example.com/verify", false),
            ("http://127.0.0.1.example.com", false),
            ("https://app.example.com/verify?a=b", false),
            ("https://app.example.com/verify#a", false),
            ("https://app.example.com/a b", false),
            ("https://app.example.com/\r\nBcc:", false),
            ("//app.example.com/verify", false),
            ("/verify", false),
            ("javascript:alert(1)", false),
            ("", false),
        ] {
            assert_eq!(is_secure_page(url), expected, "{url}");
        }
        for change in [
            (|config| config.registration.verify_url = Some("/verify".to_owned()))
                as fn(&mut Config),
            |config| config.accounts.contact_url = Some("/contact".to_owned()),
            // Whoever listens on the way would set the password, or take the change back.
            |config| config.password.reset_url = Some("http://app.example.com/reset".to_owned()),
            |config| config.accounts.undo_url = Some("http://app.example.com/undo".to_owned()),
        ] {
            let mut config = Config::default();
            assert!(config.check().is_ok());
            change(&mut config);
            assert!(config.check().is_err());
        }
    }
}
