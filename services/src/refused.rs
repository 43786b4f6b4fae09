//! A refusal as it goes out, as the gate writes it.

use edgekeep_shared::error::Rejection;
use edgekeep_shared::gate::Refusal;
use edgekeep_shared::gate::refusal::CONTENT_TYPE;
use edgekeep_shared::policy::Missing;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// An answer to a request that may not pass: problem details (RFC 9457) and a challenge (RFC 6750
/// §3, RFC 9470 §3).
#[derive(Clone, Debug)]
pub struct Refused {
    status: StatusCode,
    code: &'static str,
    challenge: Option<String>,
    retry_after: Option<u32>,
    body: String,
    request_id: String,
}

impl Refused {
    /// A refusal of the request with these headers.
    pub(crate) fn new(
        rejection: Rejection,
        missing: Option<Missing<'_>>,
        request: &HeaderMap,
    ) -> Self {
        let request_id = request_id(request);
        let refusal = Refusal::new(rejection, missing);
        Self {
            status: StatusCode::from_u16(refusal.status())
                .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            code: rejection.code(),
            challenge: refusal.challenge(),
            retry_after: refusal.retry_after(),
            body: refusal.problem(&request_id),
            request_id,
        }
    }

    /// The service's own mistake: a handler that needs a token behind no layer that looks for one.
    #[cfg(feature = "axum")]
    pub(crate) fn unguarded(request: &HeaderMap) -> Self {
        let request_id = request_id(request);
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            code: "unavailable",
            challenge: None,
            retry_after: None,
            // The id is a plain word: nothing to escape.
            body: format!(
                r#"{{"type":"about:blank","title":"Internal Server Error","status":500,"detail":"This cannot be judged.","code":"unavailable","instance":"{request_id}"}}"#
            ),
            request_id,
        }
    }

    /// The HTTP status.
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// The stable code, such as `token_expired`.
    pub const fn code(&self) -> &'static str {
        self.code
    }

    /// The answer.
    pub fn into_http<B: From<String>>(self) -> Response<B> {
        let mut response = Response::new(B::from(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        for (name, value) in [
            (header::CONTENT_TYPE, Some(CONTENT_TYPE.to_owned())),
            (header::CACHE_CONTROL, Some("no-store".to_owned())),
            (header::X_CONTENT_TYPE_OPTIONS, Some("nosniff".to_owned())),
            (header::WWW_AUTHENTICATE, self.challenge),
            (
                header::RETRY_AFTER,
                self.retry_after.map(|seconds| seconds.to_string()),
            ),
            (REQUEST_ID, Some(self.request_id)),
        ] {
            let value = value.and_then(|value| HeaderValue::try_from(value).ok());
            if let Some(value) = value {
                headers.insert(name, value);
            }
        }
        response
    }
}

/// The client's correlation id if it is one plain word, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let mut values = headers.get_all(REQUEST_ID).iter();
    let given = match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    };
    given
        .filter(|id| (1..=128).contains(&id.len()) && id.bytes().all(is_plain))
        .map_or_else(random_id, str::to_owned)
}

fn random_id() -> String {
    let mut bytes = [0; 16];
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where this crate takes randomness"
    )]
    // Without any the id is nought: it is for finding a line of the log, not a secret.
    let _ = getrandom::fill(&mut bytes);
    format!("{:032x}", u128::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_over_a_plain_correlation_id_alone() {
        let longest = "x".repeat(128);
        let longer = "x".repeat(129);
        for (values, is_taken) in [
            (&["abc-1.2_3"][..], true),
            (&[longest.as_str()][..], true),
            (&[longer.as_str()][..], false),
            (&[""][..], false),
            (&["a b"][..], false),
            (&["a\"b"][..], false),
            (&["caf\u{e9}"][..], false),
            (&["a", "a"][..], false),
            (&[][..], false),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
                headers.append(REQUEST_ID, value);
            }
            let id = request_id(&headers);
            assert_eq!(values.first() == Some(&&*id), is_taken, "{values:?}");
            assert!(is_taken || id.len() == 32, "{values:?}: {id}");
            assert_eq!(id == request_id(&headers), is_taken, "{values:?}");
        }
    }
}
