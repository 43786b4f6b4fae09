//! What is read from a request before a slice sees it: the JSON body, the caller's address.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use axum::body::Bytes;
use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, Request};
use axum::http::{HeaderMap, StatusCode, header, request::Parts};
use axum::response::{IntoResponse, Response};
use edgekeep_shared::json;
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::app::State;
use crate::error::Error;

/// A JSON body, read strictly: one object, members unique at every level, bounded depth, no NUL.
///
/// Every fault is `request_invalid` or `request_too_large`.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest<State> for Json<T> {
    type Rejection = Error;

    async fn from_request(request: Request, state: &State) -> Result<Self, Error> {
        if !is_json(request.headers()) {
            return Err(not_json());
        }
        object(&body(request, state).await?).map(Self)
    }
}

/// A JSON body that may be left out altogether: no bytes are `T::default()`.
#[derive(Debug)]
pub struct OptionalJson<T>(pub T);

impl<T: DeserializeOwned + Default> FromRequest<State> for OptionalJson<T> {
    type Rejection = Error;

    async fn from_request(request: Request, state: &State) -> Result<Self, Error> {
        let is_json = is_json(request.headers());
        let bytes = body(request, state).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        if !is_json {
            return Err(not_json());
        }
        object(&bytes).map(Self)
    }
}

fn not_json() -> Error {
    Error::invalid("Expected a body of type application/json.")
}

async fn body(request: Request, state: &State) -> Result<Bytes, Error> {
    Bytes::from_request(request, state)
        .await
        .map_err(|rejection| {
            if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                Error::RequestTooLarge
            } else {
                Error::invalid("The body could not be read.")
            }
        })
}

/// Reads one JSON object.
///
/// serde alone would fill a struct from an array, and would not see a member that stands twice in
/// a part that nobody reads; two readers of such a body (a firewall, a log) could differ on it.
///
/// # Errors
/// [`Error::RequestInvalid`]; the text names places and fields, never values.
pub fn object<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let Ok(value) = json::parse(bytes) else {
        // For its line and column, where it is the syntax.
        return Err(Error::invalid(
            match serde_json::from_slice::<IgnoredAny>(bytes) {
                Err(error) => Cow::Owned(explain(&error)),
                Ok(_) => "The body must be text whose objects name each member once, at most 16 \
                          levels deep."
                    .into(),
            },
        ));
    };
    if !matches!(value, json::Value::Object(_)) {
        return Err(Error::invalid("Expected one JSON object."));
    }
    if has_nul(&value) {
        return Err(Error::invalid("The body has a NUL character."));
    }
    serde_json::from_slice(bytes).map_err(|error| Error::invalid(explain(&error)))
}

/// Whether U+0000 stands in a string or a name: no field has a use for it, PostgreSQL cannot keep
/// it, and what is written in C ends a text there.
fn has_nul(value: &json::Value<'_>) -> bool {
    match value {
        json::Value::String(text) => text.contains('\0'),
        json::Value::Array(items) => items.iter().any(has_nul),
        json::Value::Object(object) => object
            .members()
            .any(|(name, value)| name.contains('\0') || has_nul(value)),
        _ => false,
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return false;
    };
    let Ok(value) = value.to_str() else {
        return false;
    };
    let essence = value.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

/// Where and what, without the value: a password of the wrong type must not reach a log.
fn explain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let kind = match error.classify() {
        serde_json::error::Category::Data => {
            // "unknown field `x`", "missing field `x`", "duplicate field `x`" name a field;
            // the others quote the value.
            if ["unknown field", "missing field", "duplicate field"]
                .iter()
                .any(|prefix| text.starts_with(prefix))
            {
                // The name is the caller's: a line feed in it would begin another line of the log.
                let short: String = text
                    .chars()
                    .take(200)
                    .map(|c| if c.is_control() { '\u{fffd}' } else { c })
                    .collect();
                return format!("The body does not fit: {short}.");
            }
            "a value of the wrong type or shape"
        }
        serde_json::error::Category::Eof => "an unexpected end",
        serde_json::error::Category::Io | serde_json::error::Category::Syntax => "a syntax error",
    };
    format!(
        "The body has {kind} at line {}, column {}.",
        error.line(),
        error.column()
    )
}

/// Longest name of a device that a client gives, in bytes.
const MAX_DEVICE_ID: usize = 128;

/// A device's name as it may be kept.
///
/// # Errors
/// [`Error::RequestInvalid`] when it is longer than 128 bytes or not printable.
pub fn checked_device_id(text: Option<String>) -> Result<Option<String>, Error> {
    match text {
        Some(text)
            if text.is_empty() || text.len() > MAX_DEVICE_ID || text.contains(char::is_control) =>
        {
            Err(Error::invalid(
                "device_id: expected 1 to 128 printable bytes.",
            ))
        }
        text => Ok(text),
    }
}

/// Longest user agent kept with a session, in bytes.
const MAX_USER_AGENT: usize = 512;

/// The correlation id that a request was given.
#[derive(Clone, Debug)]
pub struct CorrelationId(pub String);

/// Who is calling, as far as the connection tells.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// The correlation id of the request.
    pub request_id: Option<String>,
    /// The address, as seen through the proxies that the configuration trusts.
    pub address: Option<IpAddr>,
    /// `User-Agent`, at most 512 bytes, no control characters.
    pub user_agent: Option<String>,
}

impl FromRequestParts<State> for Caller {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Self::Rejection> {
        let peer = parts
            .extensions
            .get::<ConnectInfo<SocketAddr>>()
            .map(|info| info.0.ip());
        let trusted = &state.config.server.trusted_proxies;
        let user_agent = parts
            .headers
            .get(header::USER_AGENT)
            .and_then(|value| value.to_str().ok())
            .map(|text| {
                let mut end = text.len().min(MAX_USER_AGENT);
                while !text.is_char_boundary(end) {
                    end -= 1;
                }
                text[..end].to_owned()
            });
        let request_id = parts.extensions.get::<CorrelationId>();
        Ok(Self {
            request_id: request_id.map(|id| id.0.clone()),
            address: peer.map(|peer| client_address(peer, &parts.headers, trusted)),
            user_agent,
        })
    }
}

/// The nearest address in `X-Forwarded-For` that is not a trusted proxy's.
///
/// The header counts only when the connection itself comes from a trusted proxy, and is read
/// from the right: whatever a client put in stands left of what the proxies added. An entry that
/// is not an address ends the reading at the proxy that sent it.
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpAddr]) -> IpAddr {
    let mut nearest = peer;
    if !trusted.contains(&peer) {
        return nearest;
    }
    let values: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .iter()
        .map(|value| value.to_str().unwrap_or_default())
        .flat_map(|value| value.split(','))
        .collect();
    for text in values.into_iter().rev() {
        let Ok(address) = text.trim().parse::<IpAddr>() else {
            break;
        };
        nearest = address;
        if !trusted.contains(&address) {
            break;
        }
    }
    nearest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(peer: &str, forwarded: &[&str], trusted: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().ok()?);
        }
        let trusted: Vec<IpAddr> = trusted
            .iter()
            .filter_map(|text| text.parse().ok())
            .collect();
        Some(client_address(peer.parse().ok()?, &headers, &trusted).to_string())
    }

    #[test]
    fn forwarded_addresses_count_only_from_trusted_proxies() {
        let cases: [(&str, &[&str], &[&str], &str); 7] = [
            ("203.0.113.9", &["198.51.100.1"], &[], "203.0.113.9"),
            (
                "203.0.113.9",
                &["198.51.100.1"],
                &["10.0.0.1"],
                "203.0.113.9",
            ),
            ("10.0.0.1", &["198.51.100.1"], &["10.0.0.1"], "198.51.100.1"),
            (
                "10.0.0.1",
                &["6.6.6.6, 198.51.100.1"],
                &["10.0.0.1"],
                "198.51.100.1",
            ),
            (
                "10.0.0.1",
                &["6.6.6.6", "198.51.100.1, 10.0.0.2"],
                &["10.0.0.1", "10.0.0.2"],
                "198.51.100.1",
            ),
            ("10.0.0.1", &["6.6.6.6, garbage"], &["10.0.0.1"], "10.0.0.1"),
            ("10.0.0.1", &[], &["10.0.0.1"], "10.0.0.1"),
        ];
        for (peer, forwarded, trusted, expected) in cases {
            assert_eq!(
                seen(peer, forwarded, trusted).as_deref(),
                Some(expected),
                "{forwarded:?}"
            );
        }
    }

    proptest::proptest! {
        /// Whatever stands in the header: without a trusted proxy it is not read; with one, the
        /// answer is the peer or an address that stands in the header, and everything right of it
        /// is a trusted proxy's.
        #[test]
        fn forwarded_garbage_is_nobodys_address(
            values: Vec<Vec<u8>>,
            entries in proptest::collection::vec("(10\\.0\\.0\\.[1-3]|198\\.51\\.100\\.[1-9]|::1|[0-9.:a-f]{0,9}| ?unknown|\"[a-z]\")", 0..6),
        ) {
            let trusted: Vec<IpAddr> = ["10.0.0.1", "10.0.0.2"].iter().map(|t| t.parse().unwrap()).collect();
            let stranger: IpAddr = "203.0.113.9".parse().unwrap();
            let mut headers = HeaderMap::new();
            for value in values.iter().filter_map(|value| header::HeaderValue::from_bytes(value).ok()) {
                headers.append("x-forwarded-for", value);
            }
            headers.append("x-forwarded-for", entries.join(",").parse().unwrap());
            proptest::prop_assert_eq!(client_address(stranger, &headers, &trusted), stranger);
            let seen = client_address(trusted[0], &headers, &trusted);
            let mut expected = trusted[0];
            for entry in entries.iter().rev() {
                match entry.trim().parse::<IpAddr>() {
                    Ok(address) => expected = address,
                    Err(_) => break,
                }
                if !trusted.contains(&expected) {
                    break;
                }
            }
            // What stands further left is reached only through trusted proxies.
            if entries.is_empty() || !trusted.contains(&expected) || entries.iter().any(|entry| entry.trim().parse::<IpAddr>().is_err()) {
                proptest::prop_assert_eq!(seen, expected);
            }
        }

        #[test]
        fn no_body_panics_and_only_objects_are_read(bytes: Vec<u8>, text in "[\\[\\]{}\":,a1\\\\u0 ]{0,40}") {
            for bytes in [&bytes[..], text.as_bytes()] {
                if let Ok(members) = object::<std::collections::BTreeMap<String, serde_json::Value>>(bytes) {
                    proptest::prop_assert_eq!(bytes.trim_ascii().first(), Some(&b'{'));
                    let written = serde_json::to_vec(&members).unwrap();
                    proptest::prop_assert!(object::<std::collections::BTreeMap<String, serde_json::Value>>(&written).is_ok());
                }
            }
        }
    }
}
