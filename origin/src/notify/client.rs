//! What the senders that speak HTTP have in common: how they ask, and what an answer means.

use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::{Client, RequestBuilder, Response, StatusCode, redirect};

/// A provider that takes longer is tried again.
const TIMEOUT: Duration = Duration::from_secs(10);

/// As much of an answer as is read: providers' own are a few hundred bytes.
const MAX_ANSWER: usize = 16 * 1024;

/// Why a message was not sent, for the log. It names neither recipient nor text.
#[derive(Debug)]
pub(super) enum Failure {
    /// It may succeed later.
    Transient {
        cause: String,
        /// As long as the provider asks to wait.
        wait: Option<Duration>,
    },
    /// The provider refuses us or what is configured, not this message: nothing changes until an
    /// operator sees to it.
    Misconfigured { cause: String },
    /// The same message will fail again.
    Final { cause: String },
}

impl Failure {
    pub(super) fn transient(cause: impl Into<String>) -> Self {
        Self::Transient {
            cause: cause.into(),
            wait: None,
        }
    }

    pub(super) fn misconfigured(cause: impl Into<String>) -> Self {
        Self::Misconfigured {
            cause: cause.into(),
        }
    }

    pub(super) fn fatal(cause: impl Into<String>) -> Self {
        Self::Final {
            cause: cause.into(),
        }
    }
}

/// A client for requests to `url`.
pub(super) fn client(url: &str) -> Result<Client, String> {
    let mut builder = Client::builder()
        .timeout(TIMEOUT)
        // A redirect would carry the credentials and the message elsewhere.
        .redirect(redirect::Policy::none());
    if url.starts_with("https://") {
        builder = builder.https_only(true);
    } else {
        // Unencrypted is for this machine: a proxy that the environment names would take it off.
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| format!("notify: {error}"))
}

/// A provider's answer, read.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
    wait: Option<Duration>,
}

pub(super) async fn ask(request: RequestBuilder) -> Result<Answer, Failure> {
    // The URL may hold an account's name, so errors are kept without it.
    let failed = |error: reqwest::Error| Failure::transient(error.without_url().to_string());
    let mut response = request.send().await.map_err(failed)?;
    let mut answer = Answer {
        status: response.status(),
        body: Vec::new(),
        wait: retry_after(&response),
    };
    while answer.body.len() < MAX_ANSWER {
        // What was answered is known by its status; a body that breaks off changes nothing.
        let Ok(Some(part)) = response.chunk().await else {
            break;
        };
        answer.body.extend_from_slice(&part);
    }
    answer.body.truncate(MAX_ANSWER);
    Ok(answer)
}

impl Answer {
    /// The failure that this is, with what the provider calls it.
    pub(super) fn failure(&self, name: Option<&str>) -> Failure {
        let name = name.map(|name| format!(", {name}")).unwrap_or_default();
        let cause = format!("provider answered {}{name}", self.status);
        match self.status.as_u16() {
            408 | 425 | 429 | 500 | 502..=504 => Failure::Transient {
                cause,
                wait: self.wait,
            },
            // An address that moved or is wrong, credentials, a bill that is not paid, a proxy's
            // credentials: all of it about whoever asks.
            300..=399 | 401..=405 | 407 => Failure::Misconfigured { cause },
            _ => Failure::Final { cause },
        }
    }
}

/// `Retry-After` in seconds; a date is not looked at.
fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

/// `application/x-www-form-urlencoded` with everything but unreserved characters escaped.
pub(super) fn form<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
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
        let fields = [("To", "+41 79"), ("Body", "a&b=ü")];
        assert_eq!(form(fields), "To=%2B41%2079&Body=a%26b%3D%C3%BC");
    }
}
