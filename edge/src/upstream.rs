//! Sending on what may pass.

use edgekeep_shared::{
    gate::{Forward, identity_headers},
    headers,
    time::UnixTime,
    verifier::VerifiedToken,
};
use js_sys::Reflect;
use wasm_bindgen::{JsCast, JsValue};
use worker::web_sys::{Request, RequestInit, RequestRedirect};

use crate::config::Config;

pub(crate) use edgekeep_shared::assertion::HEADER as ASSERTION;

/// Where a WebSocket handshake offers its subprotocols.
const PROTOCOLS: &str = "Sec-WebSocket-Protocol";

/// The subprotocols that a WebSocket handshake offers; of any other request none.
pub(crate) fn websocket_protocols(incoming: &Request) -> Option<String> {
    let header = |name| incoming.headers().get(name).ok().flatten();
    header("upgrade")
        .filter(|upgrade| upgrade.eq_ignore_ascii_case("websocket"))
        .and_then(|_| header(PROTOCOLS))
}

/// The request that the upstream gets: the same method and body, the canonical path, no identity
/// but the verified one.
pub(crate) fn request(
    incoming: &Request,
    forward: &Forward<'_, '_>,
    query: &str,
    config: &Config,
    request_id: &str,
    now: UnixTime,
) -> Result<Request, JsValue> {
    let request = Request::new_with_str_and_init(
        &format!("{}{query}", url(config, forward)),
        // A request is a dictionary of its own method, headers and body.
        incoming.unchecked_ref::<RequestInit>(),
    )?;
    let outgoing = request.headers();

    // Every name that could pass for one of ours, and what `Connection` names, goes; what is
    // ours is added after that, so that nobody can have it taken away again.
    let mut unwanted = Vec::new();
    for name in js_sys::try_iter(&outgoing.keys())?.into_iter().flatten() {
        let Some(name) = name?.as_string() else {
            continue;
        };
        if headers::must_strip(name.as_bytes()) || headers::is_hop_by_hop(&name) {
            unwanted.push(name);
        }
    }
    if let Some(listed) = incoming.headers().get("connection")? {
        unwanted.extend(
            headers::connection_options(&listed)
                .filter(|name| headers::is_removable_by_connection(name))
                .map(str::to_owned),
        );
    }
    // A WebSocket is opened by GET (RFC 6455 §4.1). The platform sends whatever has the field as
    // one: a POST would reach the upstream as a GET, which is not what the policy has judged.
    let upgrade = incoming.headers().get("upgrade")?;
    let is_websocket = incoming.method() == "GET"
        && upgrade.is_some_and(|protocol| protocol.eq_ignore_ascii_case("websocket"));
    for name in unwanted {
        if !(is_websocket && name.eq_ignore_ascii_case("upgrade")) {
            outgoing.delete(&name)?;
        }
    }
    // The platform has told the client to go on: the upstream's own word would come too late.
    outgoing.delete("Expect")?;

    outgoing.set("X-Request-ID", request_id)?;
    if forward.rule.takes_websocket_token()
        && let Some(protocols) = incoming.headers().get(PROTOCOLS)?
    {
        match headers::without_websocket_token(&protocols) {
            Some(others) => outgoing.set(PROTOCOLS, &others)?,
            None => outgoing.delete(PROTOCOLS)?,
        }
    }
    if !forward.rule.forwards_authorization() {
        outgoing.delete("Authorization")?;
    }
    for (name, value) in forward.rule.headers() {
        outgoing.set(name, value)?;
    }
    if let Some(token) = &forward.token {
        for (name, value) in identity_headers(token) {
            outgoing.set(name, &value)?;
        }
        let method = incoming.method();
        if let Some((name, value)) = assertion(config, token, forward, &method, now) {
            outgoing.set(name, &value)?;
        }
    }

    let init = RequestInit::new();
    init.set_redirect(RequestRedirect::Manual);
    if !forward.rule.is_public() {
        // The platform caches by extension and path, not by who asked: `/api/me.css` of one
        // person would be served to the next. It adds `Cache-Control: no-cache` on the way.
        Reflect::set(&init, &"cache".into(), &"no-store".into())?;
    }
    Request::new_with_request_and_init(&request, &init)
}

/// The upstream of a request: its rule's, or the gate's.
fn base<'c>(config: &'c Config, forward: &'c Forward<'_, '_>) -> &'c str {
    forward.rule.upstream().unwrap_or(&config.upstream_url)
}

/// Where a request goes, without its query.
fn url(config: &Config, forward: &Forward<'_, '_>) -> String {
    format!("{}{}", base(config, forward), forward.path.as_str())
}

/// The header with the gate's word that the holder of `token` asks for this, where the gate has a
/// key to give it by.
pub(crate) fn assertion(
    config: &Config,
    token: &VerifiedToken,
    forward: &Forward<'_, '_>,
    method: &str,
    now: UnixTime,
) -> Option<(&'static str, String)> {
    let key = config.assertion_key.as_ref()?;
    let url = url(config, forward);
    let value = key.sign(token, base(config, forward), method, &url, now);
    Some((ASSERTION, value))
}
