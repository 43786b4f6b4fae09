//! What is read from a request before a slice sees it: the JSON body, the caller's address.

use std::net::{IpAddr, SocketAddr};

use axum::body::Bytes;
use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, Request};
use axum::http::{HeaderMap, StatusCode, header, request::Parts};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::app::State;
use crate::error::Error;

/// A JSON body, read strictly; every fault is `request_invalid` or `request_too_large`.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest<State> for Json<T> {
    type Rejection = Error;

    async fn from_request(request: Request, state: &State) -> Result<Self, Error> {
        if !is_json(request.headers()) {
            return Err(Error::invalid("Expected a body of type application/json."));
        }
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| {
                if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                    Error::RequestTooLarge
                } else {
                    Error::invalid("The body could not be read.")
                }
            })?;
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|error| Error::invalid(explain(&error)))
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
                let short: String = text.chars().take(200).collect();
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

/// Who is calling, as far as the connection tells.
#[derive(Clone, Debug, Default)]
pub struct Caller {
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
        Ok(Self {
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
}
