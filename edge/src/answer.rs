//! What the gate answers itself.

use edgekeep_shared::{
    gate::{Refusal, refusal},
    policy::Cors,
};
use worker::web_sys::{Headers, Response, ResponseInit};

type Result<T> = std::result::Result<T, wasm_bindgen::JsValue>;

/// A refusal, as problem details.
pub(crate) fn refuse(refusal: &Refusal<'_>, request_id: &str) -> Result<Response> {
    let headers = own_headers(request_id)?;
    headers.set("Content-Type", refusal::CONTENT_TYPE)?;
    if let Some(challenge) = refusal.challenge() {
        headers.set("WWW-Authenticate", &challenge)?;
    }
    if let Some(seconds) = refusal.retry_after() {
        headers.set("Retry-After", &seconds.to_string())?;
    }
    response(
        Some(&refusal.problem(request_id)),
        refusal.status(),
        &headers,
    )
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

/// A public document of the gate.
pub(crate) fn document(body: &str, request_id: &str) -> Result<Response> {
    let headers = own_headers(request_id)?;
    headers.set("Content-Type", "application/json")?;
    headers.set("Cache-Control", "public, max-age=300")?;
    response(Some(body), 200, &headers)
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
