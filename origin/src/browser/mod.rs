//! Browser mode: the refresh token in a cookie that no script reads, and CORS.
//!
//! A page asks for it, with whatever it posts, by `X-Refresh-Mode: cookie`. No form sends that header, and a script of
//! another origin only after a preflight, which is answered for the listed origins alone; `Origin`
//! must be one of them besides, and `Sec-Fetch-Site`, where there is one, must not contradict.
//! Without the header no cookie is looked at. The refresh token's counts for `/refresh` and
//! `/logout`, the device token's where somebody logs in ([`device_token`]), and neither for anything
//! else.
//!
//! Every answer with tokens is written here, behind all handlers, so that none can forget to keep
//! back from a script what outlives its page: the refresh token, and the token by which the
//! browser is a trusted device.

mod cookies;

use std::time::Duration;

use axum::Extension;
use axum::extract::{Request, State as Shared};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tower_http::cors::{AllowCredentials, AllowOrigin, CorsLayer};

use crate::abuse::devices;
use crate::app::State;
use crate::config::{Browser, SameSite};
use crate::error::{Error, Problem};
use crate::sessions::{self, Tokens, Written};
use crate::vault::Secret;
use cookies::Cookie;

/// Asks for browser mode.
const MODE: HeaderName = HeaderName::from_static("x-refresh-mode");

/// Fetch Metadata: how the asking page and this server are related.
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Where every route of browser mode stands.
const ROUTES: &str = "/api/v1/auth/";

/// How long a browser keeps a preflight's answer: ten minutes, so that an origin that is taken off
/// the list is off soon.
const PREFLIGHT: Duration = Duration::from_mins(10);

/// The request is in browser mode, and what its cookies hold.
#[derive(Clone, Debug)]
pub struct InBrowser {
    /// The refresh token.
    pub refresh_token: Option<Secret>,
    /// The token by which the browser is a trusted device.
    pub device_token: Option<Secret>,
}

/// The token by which whoever logs in is on a trusted device: of the cookie in browser mode, where no
/// script has it to put it into a body, else of the body.
///
/// Every route that takes one takes it through here: on a route that looked at the body alone a
/// browser would be a stranger, and become another device with each login.
///
/// # Errors
/// [`Error::RequestInvalid`] where the body of a page in browser mode names one.
pub fn device_token(
    given: Option<Secret>,
    browser: Option<Extension<InBrowser>>,
) -> Result<Option<Secret>, Error> {
    match (given, browser) {
        (given, None) => Ok(given),
        (None, Some(Extension(page))) => Ok(page.device_token),
        (Some(_), Some(_)) => Err(Error::invalid("The device token is in the cookie.")),
    }
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
            HeaderName::from_static("x-registration-token"),
        ])
        .max_age(PREFLIGHT)
}

/// Reads the cookies of a request in browser mode, and writes the tokens of any answer: their
/// secrets into cookies in browser mode, else into the body.
pub async fn layer(Shared(state): Shared<State>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let page = match page(&state, &request) {
        Ok(page) => page,
        Err(error) => return error.into_response(),
    };
    if let Some(page) = &page {
        request.extensions_mut().insert(page.clone());
    }
    let mut response = next.run(request).await;
    let tokens = response.extensions_mut().remove::<Tokens>();
    let written = match (&page, tokens) {
        (None, Some(tokens)) => write(&mut response, &Written::whole(&tokens)),
        (Some(page), Some(tokens)) => keep(&state, page, &tokens, &mut response).await,
        (Some(_), None) if ends(&path, &response) => Cookie::Refresh.clear(&state, &mut response),
        _ => Ok(()),
    };
    match written {
        Ok(()) => response,
        Err(error) => error.into_response(),
    }
}

/// What a page in browser mode sent along; `None` for any other request.
///
/// Only a `POST` has to do with cookies. Others are not refused for their header: a `GET` of a
/// page on the issuer's own host has no `Origin` to show.
fn page(state: &State, request: &Request) -> Result<Option<InBrowser>, Error> {
    let headers = request.headers();
    let is_route = request.uri().path().starts_with(ROUTES) && request.method() == Method::POST;
    if !is_route || !headers.contains_key(MODE) {
        return Ok(None);
    }
    admit(&state.config.browser, headers)?;
    Ok(Some(InBrowser {
        refresh_token: Cookie::Refresh.read(state, headers)?,
        device_token: Cookie::Device.read(state, headers)?,
    }))
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
    let problem = response.extensions().get::<Problem>();
    let is_over = matches!(
        problem.map(|problem| problem.code),
        Some("refresh_invalid" | "refresh_reused" | "session_ended")
    );
    match path.strip_prefix(ROUTES) {
        Some("logout") => is_over || response.status() == StatusCode::NO_CONTENT,
        // A token that is not good may be one that another tab has replaced a moment ago: its answer
        // must not take the new cookie away. A useless cookie does no harm.
        Some("refresh") => {
            is_over && problem.is_some_and(|problem| problem.code != "refresh_invalid")
        }
        _ => false,
    }
}

/// Writes tokens for a page: what outlives it goes into cookies.
async fn keep(
    state: &State,
    page: &InBrowser,
    tokens: &Tokens,
    response: &mut Response,
) -> Result<(), Error> {
    if let Some(held) = &page.refresh_token {
        // The new session stands, whatever becomes of the one before.
        if let Err(error) = sessions::end_replaced(state, held, tokens.session_id).await {
            error.log();
        }
    }
    write(response, &Written::for_scripts(tokens))?;
    let life = Duration::from_secs(tokens.refresh_expires_in);
    Cookie::Refresh.set(state, response, &tokens.refresh_token, life)?;
    match &tokens.device_token {
        Some(token) => Cookie::Device.set(state, response, token, devices::life(state)),
        None => Ok(()),
    }
}

fn write(response: &mut Response, written: &Written<'_>) -> Result<(), Error> {
    let body = serde_json::to_vec(written).map_err(|_| Error::internal("tokens as JSON"))?;
    let headers = response.headers_mut();
    // Of the empty body that stood for this one.
    headers.remove(header::CONTENT_LENGTH);
    let json = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, json);
    *response.body_mut() = body.into();
    Ok(())
}
