//! What the gate answers itself.

use edgekeep_shared::{
    gate::{IDENTITY_HEADERS, Refusal, refusal},
    policy::{Caching, Cors, OTHER_CACHE_FIELDS},
};
use worker::web_sys::{Headers, Response, ResponseInit};

use crate::{authz::Gateway, upstream::ASSERTION};

type Result<T> = std::result::Result<T, wasm_bindgen::JsValue>;

/// Tells a gateway that understands few statuses which one is meant.
const STATUS: &str = "X-Edgekeep-Status";

/// The code of a refusal, for a gateway that does not hand the body on.
const CODE: &str = "X-Edgekeep-Code";

/// A refusal, as problem details; `asker` is the gateway that has asked, if it was one.
pub(crate) fn refuse(
    refusal: &Refusal<'_>,
    asker: Option<Gateway>,
    request_id: &str,
) -> Result<Response> {
    let headers = own_headers(request_id)?;
    headers.set("Content-Type", refusal::CONTENT_TYPE)?;
    if let Some(challenge) = refusal.challenge() {
        headers.set("WWW-Authenticate", &challenge)?;
    }
    if let Some(seconds) = refusal.retry_after() {
        headers.set("Retry-After", &seconds.to_string())?;
    }
    let mut status = refusal.status();
    if let Some(gateway) = asker {
        headers.set(STATUS, &status.to_string())?;
        headers.set(CODE, refusal.rejection.code())?;
        status = gateway.status(status);
    }
    response(Some(&refusal.problem(request_id)), status, &headers)
}

/// The answer to a CORS preflight that the rule allows.
pub(crate) fn preflight(
    cors: &Cors,
    origin: &str,
    requested: (&str, Option<&str>),
    request_id: &str,
) -> Result<Response> {
    let headers = own_headers(request_id)?;
    allow_origin(&headers, cors, origin)?;
    let (method, names) = requested;
    headers.set("Access-Control-Allow-Methods", method)?;
    if let Some(names) = names {
        headers.set("Access-Control-Allow-Headers", names)?;
    }
    if let Some(seconds) = cors.max_age {
        headers.set("Access-Control-Max-Age", &seconds.to_string())?;
    }
    headers.append(
        "Vary",
        "Access-Control-Request-Method, Access-Control-Request-Headers",
    )?;
    response(None, 204, &headers)
}

/// Says on an answer that pages of `origin` may read it.
pub(crate) fn allow_origin(headers: &Headers, cors: &Cors, origin: &str) -> Result<()> {
    // Naming the origin instead of `*` is right with and without credentials, but only for
    // caches that know that it was named.
    headers.set("Access-Control-Allow-Origin", origin)?;
    headers.append("Vary", "Origin")?;
    if cors.credentials {
        headers.set("Access-Control-Allow-Credentials", "true")?;
    }
    if !cors.expose.is_empty() {
        headers.set("Access-Control-Expose-Headers", &cors.expose.join(", "))?;
    }
    Ok(())
}

/// Says on an answer who may keep it.
pub(crate) fn restrict_caching(headers: &Headers, caching: Caching) -> Result<()> {
    let Some(control) = caching.control(headers.get("Cache-Control")?.as_deref()) else {
        return Ok(());
    };
    headers.set("Cache-Control", &control)?;
    for name in OTHER_CACHE_FIELDS {
        headers.delete(name)?;
    }
    Ok(())
}

/// A public document of the gate.
pub(crate) fn document(body: &str, request_id: &str) -> Result<Response> {
    let headers = own_headers(request_id)?;
    headers.set("Content-Type", "application/json")?;
    headers.set("Cache-Control", "public, max-age=300")?;
    response(Some(body), 200, &headers)
}

/// The word to a gateway that a request may pass, with what it has to tell the upstream. Whatever
/// is not known of the person is said to be empty, so that a gateway which copies the headers
/// leaves nothing of the client's.
pub(crate) fn pass(identity: &[(&str, String)], request_id: &str) -> Result<Response> {
    let headers = own_headers(request_id)?;
    for name in IDENTITY_HEADERS.into_iter().chain([ASSERTION]) {
        headers.set(name, "")?;
    }
    for (name, value) in identity {
        headers.set(name, value)?;
    }
    response(None, 200, &headers)
}

/// The counts, never from a cache.
pub(crate) fn metrics(text: &str, request_id: &str) -> Result<Response> {
    let headers = own_headers(request_id)?;
    headers.set(
        "Content-Type",
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
    )?;
    response(Some(text), 200, &headers)
}

fn own_headers(request_id: &str) -> Result<Headers> {
    let headers = Headers::new()?;
    headers.set("Cache-Control", "no-store")?;
    headers.set("X-Content-Type-Options", "nosniff")?;
    headers.set("X-Request-ID", request_id)?;
    Ok(headers)
}

fn response(body: Option<&str>, status: u16, headers: &Headers) -> Result<Response> {
    let init = ResponseInit::new();
    init.set_status(status);
    init.set_headers(headers);
    Response::new_with_opt_str_and_init(body, &init)
}
