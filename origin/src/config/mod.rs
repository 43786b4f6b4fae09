//! Configuration: one typed struct, read once, a file for each group of sections. The doc comments
//! here are its documentation; `edgekeep.example.toml` repeats them.
//!
//! Order: defaults, then the TOML file, then the environment (`EDGEKEEP_<SECTION>__<KEY>`).
//! Unknown keys stop the start.

use std::path::PathBuf;

use serde::Deserialize;

mod access;
mod anomaly;
mod audit;
mod browser;
mod captcha;
mod check;
mod limits;
mod load;
mod lockout;
mod log;
mod mfa;
mod notify;
mod otp;
mod passkeys;
mod password;
mod revocation;
mod secrets;
mod sends;
mod server;
mod sessions;
mod social;
mod tokens;

pub use access::{Access, Accounts, Role};
pub use anomaly::{Anomaly, Reaction};
pub use audit::Audit;
pub use browser::{Browser, SameSite};
pub use captcha::{Captcha, CaptchaFail, CaptchaFor, CaptchaKind, CaptchaWhen};
pub use limits::{LOGIN_WINDOW, Limits};
pub use load::{ConfigError, Environment};
pub use lockout::{DelayFor, Lockout};
pub use log::{Log, LogFormat};
pub use mfa::Mfa;
pub use notify::{Channel, HttpFormat, HttpHook, Notify, Smtp, SmtpTls, Sns, Twilio};
pub use otp::{Otp, Registration};
pub use passkeys::Passkeys;
pub use password::{Breached, OnFailure, Password};
pub use revocation::{Gate, KvRest, Revocation};
pub use secrets::{AwsKms, Provider, Secrets, VaultTransit};
pub use sends::{Conversion, Mail, NumberType, Sms};
pub use server::{ClientAddressHeader, Database, Server, TrustedProxy};
pub use sessions::{ReuseEnds, Sessions};
pub use social::{ClientAuth, IdTokenAlgorithm, Social, SocialKind, SocialProvider, WithoutEmail};
pub(crate) use social::{is_endpoint, is_loopback};
pub use tokens::{Algorithm, Keys, Tokens};

/// Everything that can be set.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `development` invents a master key and writes mail to a file; `production` does neither.
    pub mode: Mode,
    /// The folder for the database, the development key and the development outbox.
    /// `EDGEKEEP_DATA_DIR` sets it too.
    pub data_dir: DataDir,
    /// Listeners and limits of HTTP.
    pub server: Server,
    /// Pages that call this server.
    pub browser: Browser,
    /// Where data is kept.
    pub database: Database,
    /// What access tokens say.
    pub tokens: Tokens,
    /// The life of signing keys.
    pub keys: Keys,
    /// Sessions and refresh tokens.
    pub sessions: Sessions,
    /// What the gates are told, and how often.
    pub revocation: Revocation,
    /// The gates themselves.
    pub gate: Gate,
    /// Password hashing.
    pub password: Password,
    /// What follows wrong passwords.
    pub lockout: Lockout,
    /// One-time codes by mail and SMS.
    pub otp: Otp,
    /// Second factors.
    pub mfa: Mfa,
    /// New accounts.
    pub registration: Registration,
    /// How accounts end.
    pub accounts: Accounts,
    /// Roles and what they bring.
    pub access: Access,
    /// Logging in at other identity providers.
    pub social: Social,
    /// Senders of mail and SMS.
    pub notify: Notify,
    /// How many SMS may leave, and to whom.
    pub sms: Sms,
    /// How many mails may leave.
    pub mail: Mail,
    /// Keys that must not be lost.
    pub secrets: Secrets,
    /// How often one may ask.
    pub limits: Limits,
    /// Keys that a person's authenticators hold.
    pub passkeys: Passkeys,
    /// What tells people from machines.
    pub captcha: Captcha,
    /// What follows logins that are unlike those before.
    pub anomaly: Anomaly,
    /// The audit trail.
    pub audit: Audit,
    /// The log.
    pub log: Log,
}

/// How much is done for the operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Convenience first.
    #[default]
    Development,
    /// Safety first.
    Production,
}

/// The data folder; `./data` unless set.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct DataDir(pub PathBuf);

impl Default for DataDir {
    fn default() -> Self {
        Self(PathBuf::from("./data"))
    }
}

impl std::ops::Deref for DataDir {
    type Target = PathBuf;

    fn deref(&self) -> &PathBuf {
        &self.0
    }
}

impl Config {
    /// The issuer, and the beginning of every link: no trailing slash.
    pub fn issuer(&self) -> String {
        self.server
            .public_url
            .clone()
            .unwrap_or_else(|| format!("http://{}", self.server.listen))
    }

    /// Whether administrators need a second factor: a demanding default in production, while the
    /// first steps in development need no authenticator.
    pub fn administrators_need_mfa(&self) -> bool {
        let production = self.mode == Mode::Production;
        self.access.require_mfa.unwrap_or(production)
    }

    /// The page where a new password is typed. It comes from the configuration and never from a
    /// request's headers.
    pub fn reset_url(&self) -> String {
        let page = self.password.reset_url.clone();
        page.unwrap_or_else(|| format!("{}/reset-password", self.issuer()))
    }

    /// What authenticator apps call this issuer. They set a name apart from an account by a colon.
    pub fn issuer_name(&self) -> String {
        if let Some(name) = &self.mfa.issuer_name {
            return name.clone();
        }
        let issuer = self.issuer();
        let authority = issuer.split('/').nth(2).unwrap_or_default();
        let host = authority.split(':').next().unwrap_or_default();
        if host.is_empty() || host.starts_with('[') {
            return "Edgekeep".to_owned();
        }
        host.to_owned()
    }

    /// The page where a change of addresses is taken back; from the configuration, like
    /// [`reset_url`](Self::reset_url).
    pub fn undo_url(&self) -> String {
        let page = self.accounts.undo_url.clone();
        page.unwrap_or_else(|| format!("{}/undo-change", self.issuer()))
    }

    /// What an operator should know of at the start, although it stops nothing.
    pub fn warnings(&self) -> Vec<&'static str> {
        let mut warnings = Vec::new();
        let is_public = !self.server.listen.ip().is_loopback()
            || self
                .server
                .public_url
                .as_deref()
                .is_some_and(|url| !check::is_loopback(url));
        if self.mode == Mode::Development && is_public {
            warnings.push(
                "others can reach this server, which runs in development mode: keys that it made \
                 up, codes written to a file in clear, no country that SMS may not go to. Set mode = \
                 \"production\"",
            );
        }
        if self.mode == Mode::Production
            && self.notify.sms.is_provider()
            && self.captcha.kind == CaptchaKind::Off
        {
            warnings.push(
                "SMS are sent without any captcha (captcha.kind is off): limits alone bound what \
                 strangers make you pay for",
            );
        }
        warnings
    }

    /// The database's URL.
    pub fn database_url(&self) -> String {
        self.database.url.clone().unwrap_or_else(|| {
            let path = self.data_dir.join("edgekeep.db");
            crate::db::sqlite_url(&std::path::absolute(&path).unwrap_or(path))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sms_that_cost_something_without_a_captcha_are_warned_of() {
        let sns = Channel::Sns(Sns {
            access_key_id: String::new(),
            secret_access_key: None,
            session_token: None,
            region: String::new(),
            endpoint: None,
            sender_id: None,
        });
        for (mode, sms, captcha, warned) in [
            (Mode::Production, sns.clone(), CaptchaKind::Off, 1),
            (Mode::Production, sns.clone(), CaptchaKind::Pow, 0),
            (Mode::Production, Channel::Off, CaptchaKind::Off, 0),
            (Mode::Development, sns, CaptchaKind::Off, 0),
        ] {
            let mut config = Config {
                mode,
                ..Config::default()
            };
            config.notify.sms = sms;
            config.captcha.kind = captcha;
            assert_eq!(config.warnings().len(), warned, "{mode:?} {captcha:?}");
        }
    }
}
