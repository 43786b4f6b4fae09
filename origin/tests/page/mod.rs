//! A page of a listed origin, and the cookies that its browser would keep.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]
#![allow(dead_code, reason = "each test file uses a part of this")]

use std::collections::BTreeMap;

use axum::http::HeaderMap;
use edgekeep_origin::config::Config;
use serde_json::Value;

use crate::support::{Origin, Reply};

/// Where the page is from.
pub(crate) const APP: &str = "https://app.example.org";

pub(crate) const REFRESH: &str = "__Host-edgekeep_refresh";
pub(crate) const DEVICE: &str = "__Host-edgekeep_device";

/// An issuer over TLS that serves [`APP`] and another.
pub(crate) fn serve(config: &mut Config) {
    config.server.public_url = Some("https://id.example.org".into());
    config.browser.allowed_origins = vec![APP.into(), "https://admin.example.org:8443".into()];
}

/// A cookie that an answer sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Set {
    pub(crate) value: String,
    pub(crate) attributes: String,
}

/// The cookies that an answer sets, by name.
#[track_caller]
pub(crate) fn cookies(headers: &HeaderMap) -> BTreeMap<String, Set> {
    let mut all = BTreeMap::new();
    for header in headers.get_all("set-cookie") {
        let (name, rest) = header.to_str().unwrap().split_once('=').unwrap();
        let (value, attributes) = rest.split_once("; ").unwrap();
        let (value, attributes) = (value.to_owned(), attributes.to_owned());
        let before = all.insert(name.to_owned(), Set { value, attributes });
        assert_eq!(before, None, "{headers:?}");
    }
    all
}

/// What an answer sets the refresh token's cookie to, which is the only one that it sets.
#[track_caller]
pub(crate) fn only_refresh(reply: &Reply) -> Set {
    let mut all = cookies(&reply.headers);
    let refresh = all.remove(REFRESH).unwrap();
    assert!(all.is_empty(), "{all:?}");
    refresh
}

/// A browser that shows the page: it keeps cookies, and sends them along.
#[derive(Clone, Debug, Default)]
pub(crate) struct Browser {
    pub(crate) jar: BTreeMap<String, String>,
    /// The access token that the page has in memory.
    pub(crate) bearer: Option<String>,
}

impl Browser {
    /// One that holds a refresh token.
    pub(crate) fn with(refresh_token: &str) -> Self {
        let jar = BTreeMap::from([(REFRESH.to_owned(), refresh_token.to_owned())]);
        Self { jar, bearer: None }
    }

    /// The refresh token that it holds.
    #[track_caller]
    pub(crate) fn refresh_token(&self) -> &str {
        &self.jar[REFRESH]
    }

    /// Takes over the first part of a `Set-Cookie` header.
    pub(crate) fn keep(&mut self, pair: &str) {
        let (name, value) = pair.split_once('=').unwrap();
        self.jar.insert(name.to_owned(), value.to_owned());
    }

    /// A `POST` of the page in browser mode; the cookies of the answer are kept, and its access
    /// token.
    pub(crate) async fn post(&mut self, origin: &Origin, route: &str, body: &Value) -> Reply {
        let bearer = self.bearer.as_ref().map(|token| format!("Bearer {token}"));
        let cookie = self
            .jar
            .iter()
            .fold("theme=dark".to_owned(), |cookie, (name, value)| {
                format!("{cookie}; {name}={value}")
            });
        let mut headers = vec![
            ("origin", APP),
            ("x-refresh-mode", "cookie"),
            ("sec-fetch-site", "same-site"),
            ("cookie", cookie.as_str()),
        ];
        headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
        let reply = origin.post_from("127.0.0.1", &headers, route, body).await;
        for (name, set) in cookies(&reply.headers) {
            if set.attributes.contains("Max-Age=0;") {
                self.jar.remove(&name);
            } else {
                self.jar.insert(name, set.value);
            }
        }
        if let Some(token) = reply.body["access_token"].as_str() {
            self.bearer = Some(token.to_owned());
        }
        reply
    }
}
