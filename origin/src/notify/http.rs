//! An HTTP endpoint: one POST for each message, as a provider wants it or as you wrote it.

use std::collections::BTreeMap;

use reqwest::Client;
use reqwest::header::CONTENT_TYPE;

use super::client::{self, Failure};
use super::signature::Key;
use super::transport::Attempt;
use crate::config::{HttpFormat, HttpHook};
use crate::vault::Secret;

pub(super) struct Hook {
    client: Client,
    settings: HttpHook,
    key: Option<Key>,
}

impl Hook {
    pub(super) fn new(settings: &HttpHook) -> Result<Self, String> {
        let key = match &settings.secret {
            None => None,
            Some(secret) => Some(
                Key::parse(secret).ok_or("notify: secret: expected 24 to 64 bytes in base64")?,
            ),
        };
        Ok(Self {
            client: client::client(&settings.url)?,
            settings: settings.clone(),
            key,
        })
    }

    pub(super) async fn send(&self, attempt: Attempt<'_>) -> Result<(), Failure> {
        let (settings, message) = (&self.settings, attempt.message);
        let mut fields: BTreeMap<&str, &str> = settings
            .extra
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        fields.insert(&settings.to_field, &message.to);
        fields.insert(&settings.text_field, &message.text);
        if let (Some(field), Some(subject)) = (&settings.subject_field, message.subject) {
            fields.insert(field, subject);
        }
        let (content_type, body) = match settings.format {
            HttpFormat::Form => (
                "application/x-www-form-urlencoded",
                client::form(fields).into_bytes(),
            ),
            HttpFormat::Json => (
                "application/json",
                serde_json::to_vec(&fields).map_err(|error| Failure::fatal(error.to_string()))?,
            ),
        };
        let mut request = self
            .client
            .post(&settings.url)
            .header(CONTENT_TYPE, content_type);
        if let Some(username) = &settings.username {
            let password = settings.password.as_ref().map(Secret::expose);
            request = request.basic_auth(username, password);
        } else if let Some(bearer) = &settings.bearer {
            request = request.bearer_auth(bearer.expose());
        }
        if let Some(key) = &self.key {
            // The same id over all attempts, so that a receiver can tell a repetition; the time is
            // the attempt's.
            let id = message_id(attempt.id);
            let timestamp = attempt.now.unix_seconds();
            request = request
                .header("webhook-signature", key.sign(&id, timestamp, &body))
                .header("webhook-id", id)
                .header("webhook-timestamp", timestamp);
        }
        let answer = client::ask(request.body(body)).await?;
        if answer.status.is_success() {
            Ok(())
        } else {
            Err(answer.failure(None))
        }
    }
}

/// The id of a message in a header.
fn message_id(id: [u8; 16]) -> String {
    let id = uuid::Builder::from_random_bytes(id).into_uuid();
    format!("msg_{}", id.simple())
}
