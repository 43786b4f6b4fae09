//! Asking a provider: bounded in size and time, no redirect followed, errors without the answer.

use std::time::Duration;

use edgekeep_shared::json::{self, Object};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use reqwest::{RequestBuilder, StatusCode, redirect};
use url::Url;
use url::form_urlencoded::Serializer;

use super::Failure;
use crate::vault::Secret;

/// For one answer, from the connection to its last byte. A callback makes at most four requests,
/// three of which are rare; the deadline of a request of ours is 15 seconds.
const TIMEOUT: Duration = Duration::from_secs(4);

/// Longest answer that is read. Entra's JWK Set with its certificates has 20 KB, a token answer
/// with an ID token that lists 200 groups about as much.
const MAX_BYTES: usize = 256 * 1024;

/// GitHub answers nobody without a name.
const USER_AGENT: &str = concat!("edgekeep/", env!("CARGO_PKG_VERSION"));

/// A client for every provider; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Client(reqwest::Client);

/// What a provider answered.
pub(super) struct Answer {
    status: StatusCode,
    body: Vec<u8>,
}

impl Answer {
    /// The body of a 200.
    ///
    /// A 4xx is a no to what was sent, everything else a provider that does not work.
    pub(super) fn accepted(&self) -> Result<&[u8], Failure> {
        if self.status.is_client_error() && self.status != StatusCode::TOO_MANY_REQUESTS {
            return Err(Failure::Refused("the provider answered 4xx"));
        }
        self.ok()
    }

    /// The JSON object in it.
    pub(super) fn object(&self) -> Result<Object<'_>, Failure> {
        json::parse_object(self.accepted()?).map_err(|_| NOT_JSON)
    }

    /// The JSON object of a document that the provider owes to anybody.
    pub(super) fn document(&self) -> Result<Object<'_>, Failure> {
        json::parse_object(self.ok()?).map_err(|_| NOT_JSON)
    }

    fn ok(&self) -> Result<&[u8], Failure> {
        if self.status != StatusCode::OK {
            return Err(Failure::Unavailable("the provider did not answer 200"));
        }
        Ok(&self.body)
    }
}

const NOT_JSON: Failure = Failure::Unavailable("the provider's answer is not a JSON object");

impl Client {
    pub(super) fn new() -> Result<Self, reqwest::Error> {
        reqwest::Client::builder()
            .timeout(TIMEOUT)
            .user_agent(USER_AGENT)
            // A redirect would carry a code or a secret to where nobody configured.
            .redirect(redirect::Policy::none())
            // Nothing that one person's login leaves behind belongs into another's.
            .referer(false)
            .build()
            .map(Self)
    }

    /// A document.
    pub(super) async fn get(&self, url: &Url, bearer: Option<&Secret>) -> Result<Answer, Failure> {
        let mut request = self.0.get(url.clone());
        if let Some(token) = bearer {
            request = request.bearer_auth(token.expose());
        }
        ask(request).await
    }

    /// The answer to a form; with `basic`, the identifier and secret of RFC 6749 §2.3.1.
    pub(super) async fn post(
        &self,
        url: &Url,
        fields: &[(&str, &str)],
        basic: Option<(&str, &Secret)>,
    ) -> Result<Answer, Failure> {
        let body = Serializer::new(String::new()).extend_pairs(fields).finish();
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        let mut request = self
            .0
            .post(url.clone())
            .header(CONTENT_TYPE, form)
            .body(body);
        if let Some((id, secret)) = basic {
            // Both are escaped as in a form before they are put together (RFC 6749 §2.3.1).
            request = request.basic_auth(escaped(id), Some(escaped(secret.expose())));
        }
        ask(request).await
    }
}

fn escaped(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

async fn ask(request: RequestBuilder) -> Result<Answer, Failure> {
    // The error may name the URL, which may hold a code: only its kind is kept.
    let failed = |error: reqwest::Error| {
        Failure::Unavailable(if error.is_timeout() {
            "the provider took too long"
        } else if error.is_connect() {
            "no connection to the provider"
        } else {
            "the exchange with the provider broke off"
        })
    };
    let json = HeaderValue::from_static("application/json");
    let mut response = request.header(ACCEPT, json).send().await.map_err(failed)?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > MAX_BYTES {
            return Err(Failure::Unavailable("the provider's answer is too long"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer {
        status: response.status(),
        body,
    })
}
