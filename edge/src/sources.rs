//! Where keys, list and policy come from: the issuer over HTTP, and its signed copies in KV.

use std::time::Duration;

use edgekeep_shared::{
    control::{self, ControlKeys, DocumentType},
    gate::{Introspection, keys::Freshness, list::DEADLINE, refresh::Millis},
    jwk::{JwkSet, MAX_SET_BYTES},
    policy::{MAX_POLICY_BYTES, Policy},
    revocation::HashKey,
    time::UnixTime,
};
use wasm_bindgen::JsValue;
use worker::{
    console_warn,
    kv::KvStore,
    web_sys::{Headers, Request, RequestInit, RequestRedirect, Response},
};

use crate::{
    config::Config,
    js::{Fetcher, discard, read_body, within},
    list,
};

/// Seconds for which Workers KV may answer from the location's cache; the platform's minimum.
const KV_CACHE_SECONDS: u64 = 30;

/// How long one question to a source may take.
const LIMIT: Duration = Duration::from_millis(DEADLINE.unsigned_abs());

/// How long the issuer may take to say whether a token is active.
const INTROSPECTION_LIMIT: Duration = Duration::from_secs(2);

/// Size of an introspection answer.
const MAX_INTROSPECTION_BYTES: usize = 64 * 1024;

/// A JWK Set over HTTP, which is not empty, and what the answer says of its age.
pub(crate) struct FetchedKeys(pub(crate) JwkSet, pub(crate) Freshness);

/// The issuer's signed copy, with the instant of signing in milliseconds.
pub(crate) struct KeysCopy(pub(crate) JwkSet, pub(crate) Millis);

/// What the feed says; nothing is verified.
pub(crate) enum Feed {
    /// The list of the `ETag` that was sent is still the newest.
    Unchanged,
    /// A list, with its `ETag`.
    List(Vec<u8>, Option<String>),
    /// A delta to a list with this `ETag`.
    Delta(Vec<u8>, Option<String>),
}

/// A source that did not say anything: it is out of order, late, or none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoAnswer;

/// What the isolate talks to.
#[derive(Clone)]
pub(crate) struct Sources {
    origin: Option<Fetcher>,
    network: Option<Fetcher>,
    kv: Option<KvStore>,
}

impl Sources {
    pub(crate) fn of(env: &worker::Env) -> Self {
        Self {
            origin: Fetcher::binding(env, "ORIGIN").or_else(Fetcher::network),
            network: Fetcher::network(),
            kv: env.kv("EDGEKEEP_KV").ok(),
        }
    }

    /// The JWK Set from `JWKS_URL`, and the issuer's signed copy in KV where there is none, or where a
    /// cache has kept it for longer than it is good: the copy may be newer.
    pub(crate) async fn keys(&self, config: &Config) -> (Option<FetchedKeys>, Option<KeysCopy>) {
        let asked = keys_over_http(self.origin.as_ref(), &config.jwks_url);
        let fetched = within(LIMIT, asked).await.flatten();
        let copy = match &fetched {
            Some(FetchedKeys(_, freshness)) if !freshness.is_over() => None,
            _ => within(LIMIT, self.keys_from_kv(config)).await.flatten(),
        };
        (fetched, copy)
    }

    /// The JWK Set at `url`, of an issuer beside the gate's own: there is no copy of it, and its URL
    /// is never the keep's binding's to answer.
    pub(crate) async fn foreign_keys(&self, url: &str) -> Option<FetchedKeys> {
        within(LIMIT, keys_over_http(self.network.as_ref(), url))
            .await
            .flatten()
    }

    async fn keys_from_kv(&self, config: &Config) -> Option<KeysCopy> {
        let control_keys = config.control_keys.as_ref()?;
        let bytes = self.kv_bytes("jwks").await?;
        let document = open(&bytes, control_keys, DocumentType::JwkSet, config)?;
        let set = parse_set(document.body)?;
        Some(KeysCopy(set, document.issued_at.0.saturating_mul(1_000)))
    }

    /// What the issuer's feed says, where it is a source, to whoever holds the list `held`.
    pub(crate) async fn list_from_feed(
        &self,
        config: &Config,
        etag: Option<String>,
        held: Option<(u64, HashKey)>,
    ) -> Option<Feed> {
        let origin = config
            .origin_url
            .as_ref()
            .filter(|_| config.list_from_feed)?;
        let ask = async {
            let url = list::feed_url(origin, held);
            let response = get(self.origin.as_ref(), &url, etag.as_deref()).await?;
            match response.status() {
                // Who was not asked about a list has said nothing about one.
                304 if etag.is_some() => Some(Feed::Unchanged),
                200 => list::read_feed(&response).await,
                status => {
                    console_warn!("revocation list: {url} answered {status}");
                    discard(&response);
                    None
                }
            }
        };
        within(LIMIT, ask).await.flatten()
    }

    /// The list in KV, or the delta that leads to it, if there is one under that key; nothing is
    /// verified.
    ///
    /// # Errors
    ///
    /// [`NoAnswer`]; where KV is no source, too.
    pub(crate) async fn list_from_kv(
        &self,
        config: &Config,
        key: &str,
    ) -> Result<Option<Vec<u8>>, NoAnswer> {
        if !config.list_from_kv {
            return Err(NoAnswer);
        }
        within(LIMIT, self.kv_value(key))
            .await
            .unwrap_or(Err(NoAnswer))
    }

    /// The policy in KV, with its sequence and when it was signed.
    pub(crate) async fn policy(&self, config: &Config) -> Option<(Policy, u64, UnixTime)> {
        let missing = |what: &str| console_warn!("POLICY is not set, and {what}");
        let Some(control_keys) = &config.control_keys else {
            missing("without CONTROL_KEYS none of EDGEKEEP_KV can be believed");
            return None;
        };
        if self.kv.is_none() {
            missing("no EDGEKEEP_KV is bound");
            return None;
        }
        let Some(read) = within(LIMIT, self.kv_value("policy")).await else {
            missing("EDGEKEEP_KV does not answer");
            return None;
        };
        // Why KV could not be read is said already.
        let Some(bytes) = read.ok()? else {
            missing("EDGEKEEP_KV has no key policy");
            return None;
        };
        let document = open(&bytes, control_keys, DocumentType::Policy, config)?;
        let text = core::str::from_utf8(document.body).ok()?;
        if text.len() > MAX_POLICY_BYTES {
            return None;
        }
        match Policy::parse(text) {
            Ok(policy) => Some((policy, document.sequence, document.issued_at)),
            Err(error) => {
                console_warn!("policy refused: {error}");
                None
            }
        }
    }

    /// What the issuer says about `token` (RFC 7662).
    pub(crate) async fn introspect(&self, config: &Config, token: &str) -> Introspection {
        let answer = within(INTROSPECTION_LIMIT, self.ask_about(config, token))
            .await
            .flatten();
        answer.unwrap_or(Introspection::Unavailable)
    }

    async fn ask_about(&self, config: &Config, token: &str) -> Option<Introspection> {
        let Some(origin) = &config.origin_url else {
            console_warn!("introspection: ORIGIN_URL is not set, and strict rules need it");
            return None;
        };
        let url = format!("{origin}/oauth/introspect");
        let headers = Headers::new().ok()?;
        headers
            .set("Content-Type", "application/x-www-form-urlencoded")
            .ok()?;
        headers.set("Accept", "application/json").ok()?;
        if let Some(secret) = &config.origin_token {
            headers
                .set("Authorization", &format!("Bearer {secret}"))
                .ok()?;
        }
        let init = RequestInit::new();
        init.set_method("POST");
        init.set_headers(&headers);
        init.set_redirect(RequestRedirect::Manual);
        // A token that was verified is of the alphabet of base64url and dots: nothing to escape.
        init.set_body(&JsValue::from_str(&format!("token={token}")));
        let request = Request::new_with_str_and_init(&url, &init).ok()?;
        let response = self.origin.as_ref()?.send(&request).await.ok()?;
        if response.status() != 200 {
            let cause = match (response.status(), &config.origin_token) {
                (401 | 403, None) => ": ORIGIN_TOKEN is not set, and strict rules need it",
                (401 | 403, Some(_)) => ": it does not take ORIGIN_TOKEN",
                _ => "",
            };
            console_warn!("introspection: {url} answered {}{cause}", response.status());
            discard(&response);
            return None;
        }
        let body = read_body(&response, MAX_INTROSPECTION_BYTES).await?;
        let answer = edgekeep_shared::json::parse_object(&body).ok()?;
        match answer.member("active")? {
            edgekeep_shared::json::Value::Bool(true) => Some(Introspection::Active),
            edgekeep_shared::json::Value::Bool(false) => Some(Introspection::Inactive),
            _ => None,
        }
    }

    async fn kv_bytes(&self, key: &str) -> Option<Vec<u8>> {
        self.kv_value(key).await.ok().flatten()
    }

    async fn kv_value(&self, key: &str) -> Result<Option<Vec<u8>>, NoAnswer> {
        let kv = self.kv.as_ref().ok_or(NoAnswer)?;
        let value = kv.get(key).cache_ttl(KV_CACHE_SECONDS).bytes().await;
        value.map_err(|error| {
            console_warn!("KV {key}: {error}");
            NoAnswer
        })
    }
}

async fn get(fetcher: Option<&Fetcher>, url: &str, etag: Option<&str>) -> Option<Response> {
    let init = RequestInit::new();
    init.set_redirect(RequestRedirect::Manual);
    if let Some(etag) = etag {
        let headers = Headers::new().ok()?;
        headers.set("If-None-Match", etag).ok()?;
        init.set_headers(&headers);
    }
    let request = Request::new_with_str_and_init(url, &init).ok()?;
    match fetcher?.send(&request).await {
        Ok(response) => Some(response),
        Err(error) => {
            console_warn!("{url}: {error:?}");
            None
        }
    }
}

async fn keys_over_http(fetcher: Option<&Fetcher>, url: &str) -> Option<FetchedKeys> {
    let response = get(fetcher, url, None).await?;
    if response.status() != 200 {
        console_warn!("JWK Set: {url} answered {}", response.status());
        discard(&response);
        return None;
    }
    let field = |name| response.headers().get(name).ok().flatten();
    let (control, age) = (field("cache-control"), field("age"));
    let body = read_body(&response, MAX_SET_BYTES).await?;
    // An empty set verifies nothing: to a cold isolate the copy is worth more.
    let set = parse_set(&body).filter(|set| !set.is_empty())?;
    let freshness = Freshness::of(&control.unwrap_or_default(), age.as_deref());
    Some(FetchedKeys(set, freshness))
}

fn parse_set(body: &[u8]) -> Option<JwkSet> {
    match JwkSet::parse(body) {
        Ok(set) => Some(set),
        Err(error) => {
            console_warn!("JWK Set refused: {error}");
            None
        }
    }
}

fn open<'a>(
    bytes: &'a [u8],
    keys: &ControlKeys,
    document_type: DocumentType,
    config: &Config,
) -> Option<control::Document<'a>> {
    match control::open(bytes, keys, document_type, config.verifier.issuer()) {
        Ok(document) => Some(document),
        Err(error) => {
            console_warn!("{} refused: {error}", document_type.name());
            None
        }
    }
}
