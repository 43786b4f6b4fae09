//! Asking the issuer for a document: bounded in size and time, no redirect followed.

use std::error::Error as _;
use std::time::Duration;

use edgekeep_shared::gate::keys::Freshness;
use edgekeep_shared::gate::list::DEADLINE;
use edgekeep_shared::revocation::DELTA_MEDIA_TYPE;
use reqwest::header::{AGE, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH};
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

/// What is held already, of which a source need say nothing or little.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// The tag of the document.
    pub(crate) etag: Option<HeaderValue>,
    /// A query that names it.
    pub(crate) query: Option<String>,
}

/// What a source says.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The document of the entity tag that was sent is still the newest.
    Unchanged,
    /// A document.
    Document {
        body: Vec<u8>,
        media_type: Option<HeaderValue>,
        etag: Option<HeaderValue>,
        /// What it says of its age.
        freshness: Freshness,
    },
}

impl Answer {
    /// The body of a delta, with its tag.
    pub(crate) fn as_delta(&self) -> Option<(&[u8], Option<&HeaderValue>)> {
        match self {
            Self::Document {
                body,
                media_type: Some(media_type),
                etag,
                ..
            } if media_type == DELTA_MEDIA_TYPE => Some((body, etag.as_ref())),
            _ => None,
        }
    }
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

    /// Asks for what is not known.
    pub(crate) async fn ask(&self, known: &Known) -> Result<Answer, Problem> {
        match tokio::time::timeout(LIMIT, self.exchange(known)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {} ms", LIMIT.as_millis())),
        }
    }

    async fn exchange(&self, known: &Known) -> Result<Answer, Problem> {
        let mut url = self.url.clone();
        if let Some(query) = &known.query {
            let own = url.query().map(|own| format!("{own}&{query}"));
            url.set_query(Some(own.as_ref().unwrap_or(query)));
        }
        let mut request = self.client.get(url);
        if let Some(etag) = &known.etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        let mut response = request.send().await.map_err(|error| describe(&error))?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED if known.etag.is_some() => return Ok(Answer::Unchanged),
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
            media_type: headers.get(CONTENT_TYPE).cloned(),
            etag: headers.get(ETAG).cloned(),
            freshness: Freshness::of(text(CACHE_CONTROL).unwrap_or_default(), text(AGE)),
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
