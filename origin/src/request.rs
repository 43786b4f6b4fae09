//! What is read from a request before a slice sees it: the JSON body, who is calling.

use std::borrow::Cow;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};

use axum::body::Bytes;
use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, Request};
use axum::http::{HeaderMap, StatusCode, header, request::Parts};
use axum::response::{IntoResponse, Response};
use edgekeep_shared::json;
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::abuse::Readings;
use crate::abuse::place::Place;
use crate::app::State;
use crate::client_address::client_address;
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
    /// Where limits note what the answer says about them.
    pub readings: Readings,
    /// `X-Device-ID`, where it is a name that a device may have.
    pub device_id: Option<String>,
    /// Where they are, as a trusted proxy tells.
    pub place: Place,
    /// `X-App-Version`, at most 64 printable ASCII characters.
    pub app_version: Option<String>,
}

impl FromRequestParts<State> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Infallible> {
        Ok(Self::of(parts, state))
    }
}

impl Caller {
    /// Who sent the request.
    pub fn of(parts: &Parts, state: &State) -> Self {
        let peer = parts
            .extensions
            .get::<ConnectInfo<SocketAddr>>()
            .map(|info| info.0.ip());
        let server = &state.config.server;
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
        Self {
            request_id: request_id.map(|id| id.0.clone()),
            address: peer.map(|peer| {
                client_address(
                    peer,
                    &parts.headers,
                    &server.trusted_proxies,
                    server.client_address_header,
                )
            }),
            user_agent,
            device_id: said(&parts.headers, "x-device-id", MAX_DEVICE_ID),
            app_version: said(&parts.headers, "x-app-version", MAX_APP_VERSION),
            place: peer
                .filter(|&peer| {
                    server
                        .trusted_proxies
                        .iter()
                        .any(|proxy| proxy.contains(peer))
                })
                .map(|_| Place::told(&parts.headers, &state.config.anomaly))
                .unwrap_or_default(),
            readings: parts.extensions.get().cloned().unwrap_or_default(),
        }
    }
}

/// Longest version of a client application, in bytes.
const MAX_APP_VERSION: usize = 64;

/// What a client says of itself in a header; what does not fit is as if it were not said, since no
/// login is to fail for it. Two such headers are none: it is not clear whose counts.
fn said(headers: &HeaderMap, name: &str, most: usize) -> Option<String> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let text = value.to_str().ok()?.trim();
    let fits = (1..=most).contains(&text.len()) && !text.contains(char::is_control);
    fits.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_say_one_short_name_or_none() {
        let longest = "x".repeat(128);
        let longer = "x".repeat(129);
        for (values, expected) in [
            (&[][..], None),
            (&["phone"][..], Some("phone")),
            (&[" phone "], Some("phone")),
            (&[""], None),
            (&[" "], None),
            (&["a", "b"], None),
            (&["caf\u{e9}"], None),
            (&["a\tb"], None),
            (&[longest.as_str()], Some(longest.as_str())),
            (&[longer.as_str()], None),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                let value = header::HeaderValue::from_bytes(value.as_bytes()).unwrap();
                headers.append("x-device-id", value);
            }
            let given = said(&headers, "x-device-id", MAX_DEVICE_ID);
            assert_eq!(given.as_deref(), expected, "{values:?}");
        }
    }
    proptest::proptest! {
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
