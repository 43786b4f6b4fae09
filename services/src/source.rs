//! Asking the issuer for a document: bounded in size and time, no redirect followed.

use std::error::Error as _;
use std::time::Duration;

use edgekeep_shared::gate::keys::lifetime;
use edgekeep_shared::gate::list::DEADLINE;
use edgekeep_shared::gate::refresh::Millis;
use reqwest::header::{AGE, CACHE_CONTROL, ETAG, HeaderValue, IF_NONE_MATCH};
use reqwest::{Client, StatusCode, Url, redirect};

/// For one document, from the connection to its last byte.
pub(crate) const LIMIT: Duration = Duration::from_millis(DEADLINE.unsigned_abs());

/// Why a source gave nothing, for the log.
pub(crate) type Problem = String;

/// Where a document is.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    url: Url,
    client: Client,
    /// Bytes of an answer that are read at most.
    limit: usize,
}

/// What a source says.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The document of the entity tag that was sent is still the newest.
    Unchanged,
    /// A document.
    Document {
        body: Vec<u8>,
        etag: Option<HeaderValue>,
        /// For how many milliseconds it is good, where the source says so.
        good_for: Option<Millis>,
    },
}

impl Source {
    /// A source of documents of at most `limit` bytes.
    pub(crate) fn new(url: Url, limit: usize) -> Result<Self, Problem> {
        let mut builder = Client::builder()
            .user_agent(concat!("edgekeep-tower/", env!("CARGO_PKG_VERSION")))
            // Who may answer for the issuer is said by the URL alone.
            .redirect(redirect::Policy::none());
        if url.scheme() == "http" {
            // Unencrypted is for this machine: a proxy that the environment names would take it off.
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|error| describe(&error))?;
        Ok(Self { url, client, limit })
    }

    pub(crate) const fn url(&self) -> &Url {
        &self.url
    }

    /// Asks, for anything but what `etag` stands for.
    pub(crate) async fn ask(&self, etag: Option<&HeaderValue>) -> Result<Answer, Problem> {
        match tokio::time::timeout(LIMIT, self.exchange(etag)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {} ms", LIMIT.as_millis())),
        }
    }

    async fn exchange(&self, etag: Option<&HeaderValue>) -> Result<Answer, Problem> {
        let mut request = self.client.get(self.url.clone());
        if let Some(etag) = etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        let mut response = request.send().await.map_err(|error| describe(&error))?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED if etag.is_some() => return Ok(Answer::Unchanged),
            status => return Err(format!("answered {}", status.as_u16())),
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| describe(&error))? {
            if body.len() + chunk.len() > self.limit {
                return Err(format!("longer than {} bytes", self.limit));
            }
            body.extend_from_slice(&chunk);
        }
        let headers = response.headers();
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        Ok(Answer::Document {
            etag: headers.get(ETAG).cloned(),
            good_for: text(CACHE_CONTROL).and_then(|control| lifetime(control, text(AGE))),
            body,
        })
    }
}

/// The error and what caused it, which reqwest tells one by one.
fn describe(error: &reqwest::Error) -> Problem {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
