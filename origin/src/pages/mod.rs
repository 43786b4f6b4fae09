//! The pages that links in mail lead to where the application has none of its own: a new password
//! (`password.reset_url` is unset), and a change of addresses that is taken back (`accounts.undo_url`).
//!
//! The token stands in the fragment, which is sent to nobody: the page's script takes it out of the
//! address, and posts it once its reader says so. What opens links by itself uses nothing up.

use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{Html, IntoResponse as _};
use axum::routing::get;

use crate::app::State;
use crate::config::Config;
use crate::html;

const STYLE: &str = include_str!("page.css");

/// What both scripts begin with.
const COMMON: &str = include_str!("common.js");

const RESET: (&str, &str) = (include_str!("reset.html"), include_str!("reset.js"));
const UNDO: (&str, &str) = (include_str!("undo.html"), include_str!("undo.js"));

/// The routes of the pages that nothing takes the place of.
pub(crate) fn routes(config: &Config) -> Router<State> {
    let mut router = Router::new();
    if config.password.reset_url.is_none() {
        router = router.route("/reset-password", page(RESET));
    }
    if config.accounts.undo_url.is_none() {
        router = router.route("/undo-change", page(UNDO));
    }
    router
}

fn page((body, script): (&str, &str)) -> axum::routing::MethodRouter<State> {
    let script = format!("{COMMON}{script}");
    let policy = html::content_security_policy_with_script(STYLE, &script);
    let headers: Vec<(HeaderName, HeaderValue)> = HeaderValue::from_str(&policy)
        .into_iter()
        .map(|policy| (header::CONTENT_SECURITY_POLICY, policy))
        .collect();
    let html = format!(
        "<!doctype html><html lang=en><meta charset=utf-8>\
         <meta name=viewport content=\"width=device-width\"><style>{STYLE}</style>{body}\
         <script>{script}</script></html>"
    );
    get(move || {
        let mut response = Html(html.clone()).into_response();
        response.headers_mut().extend(headers.clone());
        std::future::ready(response)
    })
}
