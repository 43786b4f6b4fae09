//! A provider's endpoint: one POST for each message, as Twilio and its like want it.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, redirect};

use super::Message;
use crate::config::{HttpFormat, HttpHook};

/// A provider that takes longer is tried again.
const TIMEOUT: Duration = Duration::from_secs(10);

pub(super) struct Hook {
    client: Client,
    settings: HttpHook,
}

impl Hook {
    pub(super) fn new(settings: &HttpHook) -> Result<Self, String> {
        let client = Client::builder()
            .timeout(TIMEOUT)
            // A redirect would carry the credentials and the message elsewhere.
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|error| format!("notify: {error}"))?;
        Ok(Self {
            client,
            settings: settings.clone(),
        })
    }

    pub(super) async fn send(&self, message: &Message) -> Result<(), String> {
        let settings = &self.settings;
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
        let mut request = self.client.post(&settings.url);
        request = match settings.format {
            HttpFormat::Form => request
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(form(&fields)),
            HttpFormat::Json => request.json(&fields),
        };
        if let Some(username) = &settings.username {
            let password = settings.password.as_ref().map(crate::vault::Secret::expose);
            request = request.basic_auth(username, password);
        } else if let Some(bearer) = &settings.bearer {
            request = request.bearer_auth(bearer.expose());
        }
        // The URL may hold an account's name, so the error is kept without it.
        let response = request
            .send()
            .await
            .map_err(|error| error.without_url().to_string())?;
        let status = response.status();
        if status.is_success() {
            Ok(())
        } else {
            Err(format!("provider answered {status}"))
        }
    }
}

/// `application/x-www-form-urlencoded` with everything but unreserved characters escaped.
fn form(fields: &BTreeMap<&str, &str>) -> String {
    let mut body = String::new();
    for (key, value) in fields {
        if !body.is_empty() {
            body.push('&');
        }
        escape(key, &mut body);
        body.push('=');
        escape(value, &mut body);
    }
    body
}

fn escape(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for nibble in [byte >> 4, byte & 0xf] {
                out.push(char::from(b"0123456789ABCDEF"[usize::from(nibble)]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_escape_what_would_end_a_field() {
        let fields = BTreeMap::from([("To", "+41 79"), ("Body", "a&b=ü")]);
        assert_eq!(form(&fields), "Body=a%26b%3D%C3%BC&To=%2B41%2079");
    }
}
