//! SMS by Twilio's Messages resource.

use reqwest::Client;
use reqwest::header::CONTENT_TYPE;
use serde::Deserialize;

use super::client::{self, Failure};
use super::transport::Attempt;
use crate::config::Twilio;
use crate::vault::Secret;

/// The shortest time that Twilio is told a message may wait: it refuses zero, and advises against
/// less.
const SHORTEST_VALIDITY: u64 = 5;

/// The longest that it takes (`ValidityPeriod`).
const LONGEST_VALIDITY: u64 = 36_000;

pub(super) struct Account {
    client: Client,
    url: String,
    user: String,
    password: Secret,
    /// The field that names the sender, and what it says.
    sender: (&'static str, String),
}

/// What is looked at of an answer. Its texts quote the number.
#[derive(Default, Deserialize)]
struct Answered {
    /// Of a refusal: <https://www.twilio.com/docs/api/errors>.
    code: Option<u64>,
    /// Of a message that was taken and failed.
    error_code: Option<u64>,
    status: Option<serde_json::Value>,
}

impl Account {
    pub(super) fn new(settings: &Twilio) -> Result<Self, String> {
        let missing = |what: &str| format!("notify.sms: expected {what}");
        let (user, password) = match (&settings.api_key, &settings.api_secret) {
            (Some(key), Some(secret)) => (key, secret),
            _ => (
                &settings.account_sid,
                settings
                    .auth_token
                    .as_ref()
                    .ok_or_else(|| missing("auth_token"))?,
            ),
        };
        let sender = match (&settings.messaging_service_sid, &settings.from) {
            (Some(sid), _) => ("MessagingServiceSid", sid.clone()),
            (None, Some(from)) => ("From", from.clone()),
            (None, None) => return Err(missing("from")),
        };
        Ok(Self {
            client: client::client(&settings.base_url)?,
            url: format!(
                "{}/2010-04-01/Accounts/{}/Messages.json",
                settings.base_url.trim_end_matches('/'),
                settings.account_sid
            ),
            user: user.clone(),
            password: password.clone(),
            sender,
        })
    }

    pub(super) async fn send(&self, attempt: Attempt<'_>) -> Result<(), Failure> {
        let message = attempt.message;
        // Twilio drops a message that still waits in its own queue when the code has expired.
        let validity = message.good_until.map(|until| {
            until
                .since(attempt.now)
                .as_secs()
                .clamp(SHORTEST_VALIDITY, LONGEST_VALIDITY)
                .to_string()
        });
        let mut fields = vec![
            ("To", message.to.as_str()),
            (self.sender.0, &self.sender.1),
            ("Body", &message.text),
        ];
        if let Some(validity) = &validity {
            fields.push(("ValidityPeriod", validity));
        }
        let request = self
            .client
            .post(&self.url)
            .basic_auth(&self.user, Some(self.password.expose()))
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(client::form(fields));
        let answer = client::ask(request).await?;
        let said: Option<Answered> = serde_json::from_slice(&answer.body).ok();
        if !answer.status.is_success() {
            let code = said.and_then(|said| said.code);
            let name = code.map(|code| format!("error {code}"));
            return Err(answer.failure(name.as_deref()));
        }
        // 201 says that the message was taken, not that it was sent on.
        match said {
            None => Err(Failure::fatal("provider answered something else than JSON")),
            Some(Answered {
                error_code: Some(code),
                ..
            }) => Err(Failure::fatal(format!(
                "provider took it with error {code}"
            ))),
            Some(Answered {
                status: Some(status),
                ..
            }) if status == "failed" || status == "undelivered" || status == "canceled" => {
                Err(Failure::fatal("provider took it and failed"))
            }
            Some(_) => Ok(()),
        }
    }
}
