//! `[notify]`: who sends mail and SMS.

use std::collections::BTreeMap;
use std::net::IpAddr;

use reqwest::Url;
use serde::Deserialize;

use crate::notify::signature;
use crate::vault::Secret;

/// `[notify]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Notify {
    /// `[notify.email]`: `kind = "file"`, `"smtp"`, `"http"` or `"off"`.
    pub email: Channel,
    /// `[notify.sms]`: `kind = "file"`, `"twilio"`, `"sns"`, `"http"` or `"off"`.
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
    /// A provider's HTTP endpoint, or one of your own.
    Http(HttpHook),
    /// SMS by Twilio, or by one that understands its Messages resource.
    Twilio(Twilio),
    /// SMS by Amazon SNS.
    Sns(Sns),
}

impl Channel {
    /// Whether messages leave the machine, to somebody who may charge for them.
    pub const fn is_provider(&self) -> bool {
        !matches!(self, Self::File | Self::Off | Self::Memory)
    }

    /// What is missing, if something is.
    pub(super) fn missing(&self) -> Option<&'static str> {
        let given = |secret: &Option<Secret>| {
            secret
                .as_ref()
                .is_some_and(|secret| !secret.expose().is_empty())
        };
        match self {
            Self::Smtp(smtp) if smtp.host.is_empty() => Some("expected host"),
            Self::Smtp(smtp) if smtp.from.is_empty() => Some("expected from"),
            Self::Smtp(smtp) if smtp.tls == SmtpTls::None && !is_loopback(&smtp.host) => {
                Some("expected tls = \"starttls\" or \"implicit\" for a host that is not this one")
            }
            Self::Http(hook) if !is_secure(&hook.url) => {
                Some("expected url, an https one unless it is on loopback")
            }
            Self::Http(hook)
                if (hook.secret.as_ref())
                    .is_some_and(|secret| signature::Key::parse(secret).is_none()) =>
            {
                Some("expected a secret of 24 to 64 bytes in base64, with or without whsec_")
            }
            Self::Twilio(twilio) if !is_word(&twilio.account_sid) => Some("expected account_sid"),
            Self::Twilio(twilio)
                if given(&twilio.auth_token)
                    == (twilio.api_key.is_some() && given(&twilio.api_secret)) =>
            {
                Some("expected either auth_token, or api_key and api_secret")
            }
            Self::Twilio(twilio)
                if twilio.from.is_some() == twilio.messaging_service_sid.is_some() =>
            {
                Some("expected either from or messaging_service_sid")
            }
            Self::Twilio(twilio) if !is_secure(&twilio.base_url) => {
                Some("expected base_url, an https one unless it is on loopback")
            }
            Self::Sns(sns) if sns.access_key_id.is_empty() || !given(&sns.secret_access_key) => {
                Some("expected access_key_id and secret_access_key")
            }
            Self::Sns(sns) if !is_region(&sns.region) => {
                Some("expected region, for instance eu-central-1")
            }
            Self::Sns(sns) if sns.endpoint.as_deref().is_some_and(|url| !is_secure(url)) => {
                Some("expected endpoint, an https one unless it is on loopback")
            }
            _ => None,
        }
    }
}

/// Whether `host` is this machine.
fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Whether what is sent to `url` can be read by nobody on the way.
fn is_secure(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| match url.scheme() {
        "https" => url.has_host(),
        "http" => url.host_str().is_some_and(is_loopback),
        _ => false,
    })
}

/// An identifier that may stand in a path.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// A region that may stand in a host's name.
fn is_region(text: &str) -> bool {
    !text.is_empty() && (text.bytes()).all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
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
    /// None: accepted for a server on this machine only.
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
    /// Signs every request by Standard Webhooks 1.0 (`webhook-id`, `webhook-timestamp`,
    /// `webhook-signature`): 24 to 64 bytes in base64, with or without `whsec_` before it.
    pub secret: Option<Secret>,
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

/// `kind = "twilio"`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Twilio {
    /// The account, `AC…`.
    #[serde(default)]
    pub account_sid: String,
    /// The account's token; or an API key, which can be taken back alone.
    pub auth_token: Option<Secret>,
    /// The API key, `SK…`.
    pub api_key: Option<String>,
    /// Its secret.
    pub api_secret: Option<Secret>,
    /// The number or name that messages come from.
    pub from: Option<String>,
    /// The messaging service that chooses one instead, `MG…`.
    pub messaging_service_sid: Option<String>,
    /// Where the API is: https, or http on loopback.
    #[serde(default = "twilio_url")]
    pub base_url: String,
}

fn twilio_url() -> String {
    "https://api.twilio.com".to_owned()
}

/// `kind = "sns"`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sns {
    /// The access key of a user or role that may `sns:Publish` to numbers.
    #[serde(default)]
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: Option<Secret>,
    /// The token that temporary credentials come with.
    pub session_token: Option<Secret>,
    /// The region, for instance `eu-central-1`.
    #[serde(default)]
    pub region: String,
    /// Another endpoint than the region's own: https, or http on loopback.
    pub endpoint: Option<String>,
    /// The name or number that messages come from, where the country knows such.
    pub sender_id: Option<String>,
}

fn to_field() -> String {
    "To".to_owned()
}

fn text_field() -> String {
    "Body".to_owned()
}
