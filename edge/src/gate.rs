//! One request: read, decided, answered.

use std::{cell::OnceCell, rc::Rc};

use edgekeep_shared::{
    error::Rejection,
    gate::{
        self, Decision, Forward, Need, Progress, Refusal, RevocationSources, identity_headers,
        refresh::Millis,
    },
    headers,
    policy::{Caching, Policy, Rule},
    revocation::RevocationList,
    time::UnixTime,
};
use subtle::ConstantTimeEq as _;
use wasm_bindgen::{JsCast, JsValue};
use worker::{
    Context, Env, console_error,
    web_sys::{self, Response, ResponseInit},
};

use crate::{
    answer,
    authz::{Asked, Gateway},
    config::Config,
    js::{self, Fetcher},
    knowledge::{Knowledge, Part, Shared},
    limiter::Limiters,
    metrics::Gauges,
    record::Record,
    recorder::Recorder,
    sources::Sources,
    upstream,
};

type Result<T> = std::result::Result<T, JsValue>;

/// Where the public half of the assertion key is found.
const ASSERTION_KEYS_PATH: &str = "/.well-known/edgekeep-assertion.json";

/// Where the counts are read, with `METRICS_TOKEN` as bearer.
const METRICS_PATH: &str = "/.well-known/edgekeep-metrics";

thread_local! {
    /// Bindings do not change in an isolate's life.
    static GATE: OnceCell<Rc<Gate>> = const { OnceCell::new() };
}

/// The gate of this isolate.
pub(crate) struct Gate {
    /// Nothing, where the variables cannot be understood.
    shared: Option<Rc<Shared>>,
    /// The policy of the variable `POLICY`.
    policy: Option<Rc<Policy>>,
    upstream: Option<Fetcher>,
    limiters: Limiters,
    recorder: Recorder,
}

/// What of the request is needed more than once.
struct Incoming<'r> {
    request: &'r web_sys::Request,
    parts: gate::Request<'r>,
    query: &'r str,
    id: &'r str,
    /// The gateway that asks about the request, where the gate does not carry it itself.
    asker: Option<Gateway>,
    recorder: &'r Recorder,
}

impl Gate {
    pub(crate) fn of(env: &Env) -> Rc<Self> {
        GATE.with(|gate| Rc::clone(gate.get_or_init(|| Rc::new(Self::new(env)))))
    }

    fn new(env: &Env) -> Self {
        let variable = |name: &str| {
            js_sys::Reflect::get(env, &JsValue::from_str(name))
                .ok()
                .and_then(|v| v.as_string())
        };
        let config = Config::read(variable)
            .inspect_err(|error| console_error!("nothing can be judged: {error}"))
            .ok();
        match config.as_ref().map(|config| config.sources) {
            Some(RevocationSources::None) => console_error!(
                "REVOCATION_SOURCES is none: a revoked token passes until it expires"
            ),
            Some(RevocationSources::Unconfigured) => console_error!(
                "REVOCATION_SOURCES is unset or unknown: protected routes are refused; \
                 expected kv, feed, kv,feed or none"
            ),
            Some(RevocationSources::Configured) | None => {}
        }
        for foreign in config.iter().flat_map(|config| &config.foreign) {
            console_error!(
                "ISSUERS: a token of {} passes until it expires: nobody can revoke it",
                foreign.verifier.issuer()
            );
        }
        Self {
            policy: config
                .as_ref()
                .and_then(|config| config.policy.clone())
                .map(Rc::new),
            shared: config.map(|config| Rc::new(Shared::new(config, Sources::of(env)))),
            upstream: Fetcher::binding(env, "UPSTREAM").or_else(Fetcher::network),
            limiters: Limiters::of(env),
            recorder: Recorder::of(env),
        }
    }

    /// Judges `request` and answers it. Whatever fails inside is a refusal.
    pub(crate) async fn serve(
        &self,
        request: web_sys::Request,
        context: &Context,
    ) -> Result<Response> {
        let id = request_id(&request);
        let url = request.url();
        let (path, query) = split_url(&url);
        let method = request.method();
        let header = |name: &str| request.headers().get(name).ok().flatten();
        let (authorization, cookie, origin) =
            (header("authorization"), header("cookie"), header("origin"));
        let (preflight_method, preflight_headers) = if method == "OPTIONS" {
            (
                header("access-control-request-method"),
                header("access-control-request-headers"),
            )
        } else {
            (None, None)
        };
        let asker = self
            .shared
            .as_ref()
            .and_then(|shared| shared.config.authz)
            .filter(|gateway| gateway.asks_at(path));
        let question = asker.map(|gateway| read_question(gateway, &request, &method, path));
        let line = question.as_ref().and_then(Option::as_ref);
        let (method, path) = line.map_or((&*method, path), |line| (&line.method, &line.path));
        let host = header("host");
        let parts = gate::Request {
            method,
            path,
            host: host.as_deref(),
            authorization: authorization.as_deref(),
            cookie: cookie.as_deref(),
            origin: origin.as_deref(),
            // Only a cookie needs to know: reading a header is a step over to JavaScript. Gateways
            // that ask leave `Upgrade` out, so what a page of some origin asks for may be one.
            upgrade: cookie.is_some()
                && if asker.is_some() {
                    origin.is_some()
                } else {
                    header("upgrade").is_some()
                },
            preflight_method: preflight_method.as_deref(),
            preflight_headers: preflight_headers.as_deref(),
            websocket_protocols: None,
        };
        let incoming = Incoming {
            request: &request,
            parts,
            query,
            id: &id,
            asker,
            recorder: &self.recorder,
        };
        if question.is_some() && line.is_none() {
            return incoming.refuse(&Refusal::new(Rejection::RequestInvalid, None));
        }
        if !host.as_deref().is_none_or(is_plain_host) {
            return incoming.refuse(&Refusal::new(Rejection::PathInvalid, None));
        }
        match self.answer(&incoming, context).await {
            Ok(answer) => Ok(answer),
            Err(error) => {
                console_error!("{id}: {error:?}");
                incoming.refuse(&Refusal::new(Rejection::UpstreamUnavailable, None))
            }
        }
    }

    async fn answer(&self, incoming: &Incoming<'_>, context: &Context) -> Result<Response> {
        let unavailable = Refusal::new(Rejection::PolicyUnavailable, None);
        let Some(shared) = &self.shared else {
            return incoming.refuse(&unavailable);
        };
        let is_own = incoming.asker.is_none();
        if is_own
            && incoming.parts.path == ASSERTION_KEYS_PATH
            && let Some(key) = &shared.config.assertion_key
        {
            return answer::document(&key.public_set(), incoming.id);
        }
        if is_own
            && incoming.parts.path == METRICS_PATH
            && matches!(incoming.parts.method, "GET" | "HEAD")
            && let Some(token) = &shared.config.metrics_token
        {
            return self.metrics(incoming, token, shared);
        }
        let Some(policy) = self.policy(shared, context).await else {
            return incoming.refuse(&unavailable);
        };
        shared.refresh_due_keys(context);
        let protocols = (is_own && policy.takes_websocket_tokens())
            .then(|| upstream::websocket_protocols(incoming.request))
            .flatten();
        let parts = gate::Request {
            websocket_protocols: protocols.as_deref(),
            ..incoming.parts
        };
        match decide(&parts, &policy, shared, context).await {
            Decision::Forward(mut forward) => {
                if forward.list.check {
                    shared.refresh_behind(Part::List, context);
                }
                if forward.list.used {
                    shared.watch_list(context);
                }
                if forward.rule.rate_limit().is_some()
                    && forward.reported.is_none()
                    && let Some(rejection) = self.limiters.refuse(incoming.request, &forward).await
                {
                    if !forward.rule.is_report_only() {
                        return incoming.refuse(&Refusal {
                            rule: Some(forward.rule),
                            ..Refusal::new(rejection, None)
                        });
                    }
                    forward.reported = Some(rejection);
                }
                if is_own {
                    self.forward(incoming, &forward, shared).await
                } else {
                    incoming.pass(&forward, shared)
                }
            }
            // Whoever asks sends it on, for the upstream to answer: it carries no credentials.
            Decision::Preflight(_) if !is_own => {
                incoming.recorder.record(&incoming.record("preflight", 200));
                answer::pass(&[], incoming.id)
            }
            Decision::Preflight(cors) => {
                incoming.recorder.record(&incoming.record("preflight", 204));
                let parts = &incoming.parts;
                let requested = (
                    parts.preflight_method.unwrap_or_default(),
                    parts.preflight_headers,
                );
                answer::preflight(
                    cors,
                    parts.origin.unwrap_or_default(),
                    requested,
                    incoming.id,
                )
            }
            Decision::Refuse(refusal) => incoming.refuse(&refusal),
            // The decision has been given all that it can wait for; a gate that is still not sure
            // refuses.
            Decision::Wait(_) => {
                incoming.refuse(&Refusal::new(Rejection::RevocationUnavailable, None))
            }
        }
    }

    /// The counts of this isolate, for whoever has the token.
    fn metrics(&self, incoming: &Incoming<'_>, token: &str, shared: &Shared) -> Result<Response> {
        let refusal = match headers::bearer_token(incoming.parts.authorization) {
            Ok(given) if bool::from(given.as_bytes().ct_eq(token.as_bytes())) => {
                let now = js::now();
                let known = shared.known.borrow();
                let list = known.list.list();
                let gauges = Gauges {
                    list_age: list.map(|list| now.div_euclid(1_000) - list.issued_at().0),
                    list_entries: list.map_or(0, RevocationList::len),
                    keys: known.keys.usable(now).map_or(0, |set| set.keys().len()),
                };
                return answer::metrics(&self.recorder.text(&gauges), incoming.id);
            }
            Ok(_) => Rejection::TokenMalformed,
            Err(rejection) => rejection,
        };
        incoming.refuse(&Refusal::new(refusal, None))
    }

    async fn policy(&self, shared: &Rc<Shared>, context: &Context) -> Option<Rc<Policy>> {
        if self.policy.is_some() {
            return self.policy.clone();
        }
        let held = shared.known.borrow().policy.policy();
        if held.is_some() {
            shared.refresh_behind(Part::Policy, context);
            return held;
        }
        shared.wait_for(Part::Policy, context).await;
        shared.known.borrow().policy.policy()
    }

    async fn forward(
        &self,
        incoming: &Incoming<'_>,
        forward: &Forward<'_, '_>,
        shared: &Shared,
    ) -> Result<Response> {
        let now = js::now();
        let outgoing = upstream::request(
            incoming.request,
            forward,
            incoming.query,
            &shared.config,
            incoming.id,
            UnixTime(now.div_euclid(1_000)),
        )?;
        // A binding is the gate's own upstream; a rule's is reached by its URL.
        let network = forward.rule.upstream().and_then(|_| Fetcher::network());
        let answer = match network.as_ref().or(self.upstream.as_ref()) {
            Some(upstream) => upstream.send(&outgoing).await,
            None => Err(JsValue::UNDEFINED),
        };
        let mut record = incoming.forwarded(forward, shared, now);
        let answer = if let Ok(answer) = answer {
            record.status = answer.status();
            answer
        } else {
            record.code = Some(Rejection::UpstreamUnavailable.code());
            let refusal = Refusal::new(Rejection::UpstreamUnavailable, None);
            answer::refuse(&refusal, None, incoming.id)?
        };
        incoming.recorder.record(&record);
        let answer = with_cors(answer, forward.rule, incoming.parts.origin)?;
        with_caching(answer, forward.rule)
    }
}

impl Incoming<'_> {
    fn record<'a>(&'a self, decision: &'static str, status: u16) -> Record<'a> {
        Record {
            request_id: self.id,
            method: self.parts.method,
            path: Some(self.parts.path),
            decision,
            status,
            ..Record::default()
        }
    }

    /// The record of what passes; its status is yet to come.
    fn forwarded<'a>(
        &'a self,
        forward: &'a Forward<'_, '_>,
        shared: &Shared,
        now: Millis,
    ) -> Record<'a> {
        let decision = if forward.reported.is_some() {
            "report"
        } else {
            "forward"
        };
        let mut record = self.record(decision, 502);
        record.path = Some(forward.path.as_str());
        record.route = Some(forward.rule.name());
        record.code = forward.reported.map(Rejection::code);
        if let Some(token) = &forward.token {
            record.sub = Some(&token.claims().subject);
            record.iss = token.names_issuer().then_some(&token.claims().issuer);
            record.sid = token.claims().session_id.as_deref();
            record.cached = Some(forward.cached);
            record.stale = forward.list.stale;
            let known = shared.known.borrow();
            let signed_at = known.list.list().map(|list| list.issued_at().0);
            record.list_age = signed_at.map(|signed_at| now.div_euclid(1_000) - signed_at);
        }
        record
    }

    /// Tells the gateway that has asked to send the request on.
    fn pass(&self, forward: &Forward<'_, '_>, shared: &Shared) -> Result<Response> {
        // The upstream gets the path as it came: only one that everybody reads alike may pass.
        if !forward.path.is_borrowed() {
            return self.refuse(&Refusal::new(Rejection::PathInvalid, None));
        }
        let now = js::now();
        let mut headers = Vec::new();
        if let Some(token) = &forward.token {
            headers.extend(identity_headers(token));
            let now = UnixTime(now.div_euclid(1_000));
            let method = self.parts.method;
            headers.extend(upstream::assertion(
                &shared.config,
                token,
                forward,
                method,
                now,
            ));
        }
        let mut record = self.forwarded(forward, shared, now);
        record.status = 200;
        self.recorder.record(&record);
        answer::pass(&headers, self.id)
    }

    fn refuse(&self, refusal: &Refusal<'_>) -> Result<Response> {
        let mut record = self.record("refuse", refusal.status());
        record.route = refusal.rule.map(Rule::name);
        record.code = Some(refusal.rejection.code());
        self.recorder.record(&record);
        let answer = answer::refuse(refusal, self.asker, self.id)?;
        match refusal.rule {
            Some(rule) => with_cors(answer, rule, self.parts.origin),
            None => Ok(answer),
        }
    }
}

/// What the gateway asks about; nothing where it does not say, or where the request has a header
/// field that the upstream must not see.
fn read_question(
    gateway: Gateway,
    request: &web_sys::Request,
    method: &str,
    path: &str,
) -> Option<Asked> {
    let headers = request.headers();
    let names = js_sys::try_iter(&headers.keys()).ok().flatten()?;
    for name in names {
        if gateway.is_refused(&name.ok()?.as_string()?) {
            return None;
        }
    }
    gateway.asked(method, path, |name| headers.get(name).ok().flatten())
}

/// Decides, fetching what the decision asks for, each thing once.
async fn decide<'p, 'r>(
    request: &gate::Request<'r>,
    policy: &'p Policy,
    shared: &Rc<Shared>,
    context: &Context,
) -> Decision<'p, 'r> {
    let mut progress = Progress::default();
    loop {
        let decision = {
            let Knowledge {
                keys,
                foreign,
                list,
                verified,
                ..
            } = &mut *shared.known.borrow_mut();
            let mut knowledge = gate::Knowledge {
                verifier: &shared.config.verifier,
                keys,
                foreign,
                list,
                sources: shared.config.sources,
                verified,
            };
            gate::decide(request, policy, &mut knowledge, &mut progress, js::now())
        };
        match decision {
            Decision::Wait(Need::Keys) if !progress.waited_for_keys => {
                shared.wait_for(Part::Keys, context).await;
                progress.waited_for_keys = true;
            }
            Decision::Wait(Need::ForeignKeys(index)) if !progress.waited_for_keys => {
                shared.wait_for(Part::ForeignKeys(index), context).await;
                progress.waited_for_keys = true;
            }
            Decision::Wait(Need::List) if !progress.waited_for_list => {
                shared.wait_for(Part::List, context).await;
                progress.waited_for_list = true;
            }
            Decision::Wait(Need::Introspection) if progress.introspection.is_none() => {
                let token = gate::token_of(request, policy).unwrap_or_default();
                let answer = shared.sources.introspect(&shared.config, token).await;
                progress.introspection = Some(answer);
            }
            decided => return decided,
        }
    }
}

/// `answer`, readable by pages of `origin` where the rule says so.
fn with_cors(answer: Response, rule: &Rule, origin: Option<&str>) -> Result<Response> {
    let Some(cors) = rule.cors() else {
        return Ok(answer);
    };
    // A WebSocket is not read by the rules of CORS, and its answer cannot be made again.
    if answer.status() == 101 {
        return Ok(answer);
    }
    let answer = changeable(&answer)?;
    match origin {
        Some(origin) if cors.allows_origin(origin) => {
            answer::allow_origin(&answer.headers(), cors, origin)?;
        }
        // A cache must not give this answer to a page that would have been named in it.
        _ => answer.headers().append("Vary", "Origin")?,
    }
    Ok(answer)
}

/// `answer`, kept by nobody whom the rule does not let keep it.
fn with_caching(answer: Response, rule: &Rule) -> Result<Response> {
    // What follows a 101 is no answer that anybody keeps.
    if rule.caching() == Caching::Upstream || answer.status() == 101 {
        return Ok(answer);
    }
    let answer = changeable(&answer)?;
    answer::restrict_caching(&answer.headers(), rule.caching())?;
    Ok(answer)
}

/// An answer of the network cannot be changed; its copy can.
fn changeable(answer: &Response) -> Result<Response> {
    Response::new_with_opt_readable_stream_and_init(
        answer.body().as_ref(),
        answer.unchecked_ref::<ResponseInit>(),
    )
}

/// Path and query as they stand in `url`; the query keeps its question mark.
///
/// The text is cut, not parsed: a URL parser would resolve what the canonicaliser has to see.
fn split_url(url: &str) -> (&str, &str) {
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    let rest = &url[after_scheme..];
    let target = rest.find(['/', '?', '#']).map_or("", |at| &rest[at..]);
    let target = target.split('#').next().unwrap_or_default();
    match target.find('?') {
        Some(at) => (&target[..at], &target[at..]),
        None => (target, ""),
    }
}

/// Whether `Host` is a host and nothing more. workerd splices it into the request's URL as it is:
/// `Host: a/public?` would put another path before the one on the request line.
fn is_plain_host(host: &str) -> bool {
    !host.is_empty()
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b))
}

/// The client's correlation id if it is a plain word, else a new one.
fn request_id(request: &web_sys::Request) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    request
        .headers()
        .get("x-request-id")
        .ok()
        .flatten()
        .filter(|id| (1..=128).contains(&id.len()) && id.bytes().all(plain))
        .unwrap_or_else(js::random_id)
}
