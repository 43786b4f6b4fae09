//! `[notify]`: who sends mail and SMS.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::vault::Secret;

/// `[notify]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Notify {
    /// `[notify.email]`: `kind = "file"`, `"smtp"`, `"http"` or `"off"`.
    pub email: Channel,
    /// `[notify.sms]`: `kind = "file"`, `"http"` or `"off"`.
    pub sms: Channel,
}

/// A way to send.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Channel {
    /// One JSON line for each message in `outbox.jsonl` of the data folder; development only.
    #[default]
    File,
    /// Messages are dropped.
    Off,
    /// Messages are kept in memory, for tests to read; not to be had from a file.
    #[serde(skip)]
    Memory,
    /// A mail server.
    Smtp(Smtp),
    /// A provider's HTTP endpoint.
    Http(HttpHook),
}

impl Channel {
    /// What is missing, if something is.
    pub(super) fn missing(&self) -> Option<&'static str> {
        match self {
            Self::Smtp(smtp) if smtp.host.is_empty() => Some("expected host"),
            Self::Smtp(smtp) if smtp.from.is_empty() => Some("expected from"),
            Self::Http(hook) if !hook.url.starts_with("http") => Some("expected url"),
            _ => None,
        }
    }
}

/// How the connection to a mail server is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SmtpTls {
    /// STARTTLS, and nothing is sent without it.
    #[default]
    Starttls,
    /// TLS from the first byte.
    Implicit,
    /// None: only for a server on this machine.
    None,
}

/// `kind = "smtp"`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Smtp {
    /// The server's name.
    #[serde(default)]
    pub host: String,
    /// Its port; unset: 587, 465 with implicit TLS, 25 without TLS.
    pub port: Option<u16>,
    /// `starttls`, `implicit` or `none`.
    #[serde(default)]
    pub tls: SmtpTls,
    /// User name; unset: no authentication.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Secret>,
    /// The sender: `Name <address>`.
    #[serde(default)]
    pub from: String,
}

/// The form of a hook's body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HttpFormat {
    /// `application/x-www-form-urlencoded`, as Twilio's Messages resource wants it.
    #[default]
    Form,
    /// `application/json`.
    Json,
}

/// `kind = "http"`: a POST for each message; 2xx is success.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpHook {
    /// The endpoint.
    #[serde(default)]
    pub url: String,
    /// `form` or `json`.
    #[serde(default)]
    pub format: HttpFormat,
    /// User name of basic authentication.
    pub username: Option<String>,
    /// Password of basic authentication.
    pub password: Option<Secret>,
    /// A bearer token instead.
    pub bearer: Option<Secret>,
    /// The field that holds the recipient.
    #[serde(default = "to_field")]
    pub to_field: String,
    /// The field that holds the text.
    #[serde(default = "text_field")]
    pub text_field: String,
    /// The field that holds the subject of mail; unset: none.
    pub subject_field: Option<String>,
    /// Fields that are the same in every message, for instance `From`.
    #[serde(default)]
    pub extra: BTreeMap<String, String>,
}

fn to_field() -> String {
    "To".to_owned()
}

fn text_field() -> String {
    "Body".to_owned()
}
