//! Browser mode: the refresh token in a cookie that no script reads, and CORS.
//!
//! A page asks for it by `X-Refresh-Mode: cookie`. No form sends that header, and a script of
//! another origin only after a preflight, which is answered for the listed origins alone; `Origin`
//! must be one of them besides, and `Sec-Fetch-Site`, where there is one, must not contradict.
//! Without the header no cookie is looked at. The cookie counts for `/refresh` and nothing else.
//!
//! The token is moved in one layer behind all handlers, so that none can forget to.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State as Shared};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;
use tower_http::cors::{AllowCredentials, AllowOrigin, CorsLayer};

use crate::app::State;
use crate::config::{Browser, SameSite};
use crate::error::{Error, Problem};
use crate::vault::Secret;

/// Asks for browser mode.
const MODE: HeaderName = HeaderName::from_static("x-refresh-mode");

/// Fetch Metadata: how the asking page and this server are related.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Where every route of browser mode stands.
const ROUTES: &str = "/api/v1/auth/";

/// Longest answer with tokens, in bytes; they have about 2 KiB.
const MAX_ANSWER: usize = 1 << 20;

/// How long a browser keeps a preflight's answer: ten minutes, so that an origin that is taken off
/// the list is off soon.
const PREFLIGHT: Duration = Duration::from_mins(10);

/// The request is in browser mode, and what its cookie holds.
#[derive(Clone, Debug)]
pub struct InBrowser {
    /// The refresh token.
    pub refresh_token: Option<Secret>,
}

/// CORS for the listed origins on the routes for people; administration is for no page.
pub fn cors(config: &Browser) -> CorsLayer {
    let (origins, credentials) = (config.clone(), config.clone());
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(move |origin, parts| {
            parts.uri.path().starts_with(ROUTES) && origins.allows(origin.as_bytes())
        }))
        .allow_credentials(AllowCredentials::predicate(move |origin, parts| {
            parts.uri.path().starts_with(ROUTES) && credentials.allows(origin.as_bytes())
        }))
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            MODE,
            HeaderName::from_static("x-request-id"),
            HeaderName::from_static("x-device-id"),
            HeaderName::from_static("x-app-version"),
        ])
        .expose_headers([
            header::RETRY_AFTER,
            header::WWW_AUTHENTICATE,
            HeaderName::from_static("x-request-id"),
            HeaderName::from_static("ratelimit"),
            HeaderName::from_static("ratelimit-policy"),
        ])
        .max_age(PREFLIGHT)
}

/// Reads the cookie of a request in browser mode, and moves the refresh token of its answer there.
pub async fn layer(Shared(state): Shared<State>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    if !request.headers().contains_key(MODE) || !path.starts_with(ROUTES) {
        return next.run(request).await;
    }
    if let Err(error) = admit(&state.config.browser, request.headers()) {
        return error.into_response();
    }
    let refresh_token = match cookie(&state, request.headers()) {
        Ok(token) => token,
        Err(error) => return error.into_response(),
    };
    request.extensions_mut().insert(InBrowser { refresh_token });
    let mut response = next.run(request).await;
    if ends(&path, &response) {
        return match set_cookie(&state, &mut response, "", 0) {
            Ok(()) => response,
            Err(error) => error.into_response(),
        };
    }
    if response.status() != StatusCode::OK {
        return response;
    }
    match moved(&state, response).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

/// Whether a page that is served asks, and asks by itself.
fn admit(config: &Browser, headers: &HeaderMap) -> Result<(), Error> {
    let only = |name: &HeaderName| {
        let mut values = headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none())
    };
    if only(&MODE).is_none_or(|value| value != "cookie") {
        return Err(Error::invalid("X-Refresh-Mode can be cookie."));
    }
    if !only(&header::ORIGIN).is_some_and(|origin| config.allows(origin.as_bytes())) {
        return Err(Error::invalid("Pages of this origin are not served."));
    }
    if headers.contains_key(FETCH_SITE) {
        let site = only(&FETCH_SITE).map_or(&b""[..], HeaderValue::as_bytes);
        let is_served = match site {
            b"same-origin" | b"same-site" => true,
            b"cross-site" => config.same_site == SameSite::None,
            _ => false,
        };
        if !is_served {
            return Err(Error::invalid("Pages of another site are not served."));
        }
    }
    Ok(())
}

/// Whether the session of the cookie is known to be over: it was ended, or cannot be refreshed.
fn ends(path: &str, response: &Response) -> bool {
    let code = response
        .extensions()
        .get::<Problem>()
        .map(|problem| problem.code);
    match path.strip_prefix(ROUTES) {
        Some("logout") => response.status() == StatusCode::NO_CONTENT,
        Some("refresh") => matches!(
            code,
            Some("refresh_invalid" | "refresh_reused" | "session_ended")
        ),
        _ => false,
    }
}

/// The answer without its refresh token, which is in the cookie then.
async fn moved(state: &State, response: Response) -> Result<Response, Error> {
    let (mut parts, body) = response.into_parts();
    let bytes = to_bytes(body, MAX_ANSWER)
        .await
        .map_err(|_| Error::internal("an answer in browser mode could not be read"))?;
    let Ok(Value::Object(mut object)) = serde_json::from_slice(&bytes) else {
        return Ok(Response::from_parts(parts, Body::from(bytes)));
    };
    let Some(Value::String(token)) = object.remove("refresh_token") else {
        return Ok(Response::from_parts(parts, Body::from(bytes)));
    };
    let life = object.get("refresh_expires_in").and_then(Value::as_u64);
    let life = life.ok_or_else(|| Error::internal("a refresh token without its life"))?;
    let body = serde_json::to_vec(&object).map_err(|_| Error::internal("tokens"))?;
    parts.headers.remove(header::CONTENT_LENGTH);
    let mut response = Response::from_parts(parts, Body::from(body));
    set_cookie(state, &mut response, &token, life)?;
    Ok(response)
}

fn is_secure(state: &State) -> bool {
    state.config.issuer().starts_with("https://")
}

/// With the prefix that only this host can set, over TLS (RFC 6265bis §4.1.3.2), or on loopback
/// without.
fn name(state: &State) -> &'static str {
    if is_secure(state) {
        "__Host-edgekeep_refresh"
    } else {
        "edgekeep_refresh"
    }
}

/// The cookie's value. Two of one name are refused: which of them is ours is not to be told.
fn cookie(state: &State, headers: &HeaderMap) -> Result<Option<Secret>, Error> {
    let name = name(state);
    let mut values = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(key, _)| *key == name)
        .map(|(_, value)| Secret::new(value.to_owned()));
    let value = values.next();
    if values.next().is_some() {
        return Err(Error::invalid("The cookie was sent twice."));
    }
    Ok(value)
}

/// Sets the cookie; with no life it is removed.
fn set_cookie(state: &State, response: &mut Response, value: &str, life: u64) -> Result<(), Error> {
    let name = name(state);
    let site = match state.config.browser.same_site {
        SameSite::Strict => "Strict",
        SameSite::None => "None",
    };
    let secure = if is_secure(state) { "; Secure" } else { "" };
    let text = format!("{name}={value}; Path=/; Max-Age={life}; HttpOnly; SameSite={site}{secure}");
    let value = HeaderValue::from_str(&text).map_err(|_| Error::internal("cookie"))?;
    response.headers_mut().append(header::SET_COOKIE, value);
    Ok(())
}
