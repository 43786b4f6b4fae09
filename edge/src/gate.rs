//! One isolate's gate: what it knows, and the loop that feeds the decision.

use std::{
    cell::{OnceCell, RefCell},
    rc::Rc,
    time::Duration,
};

use edgekeep_shared::{
    error::Rejection,
    gate::{
        self, Decision, Forward, Knowledge, Need, Progress, Refusal, RevocationSources,
        cache::VerifiedTokens,
        keys::HeldKeys,
        list::{DEADLINE, HeldList},
        refresh::{Attempts, Millis},
    },
    policy::{Policy, Rule},
    time::UnixTime,
};
use wasm_bindgen::JsValue;
use worker::{
    Context, Delay, Env, console_error, console_log,
    web_sys::{self, Headers, ResponseInit},
};

use crate::{
    answer,
    config::Config,
    js::{self, Fetcher},
    record::Record,
    sources::Sources,
    upstream,
};

/// Verified tokens per generation. With claims of 1 KiB two generations take 8 MiB of the
/// isolate's 128.
const CACHED_TOKENS: usize = 4_096;

/// Pause between two looks at the policy in KV, which answers from its cache for that long.
const POLICY_INTERVAL: Millis = 30_000;

/// How often a request that waits for another's fetch looks whether it is there.
const POLL: Duration = Duration::from_millis(10);

/// Where the public half of the assertion key is found.
const ASSERTION_KEYS_PATH: &str = "/.well-known/edgekeep-assertion.json";

thread_local! {
    /// Bindings do not change in an isolate's life.
    static GATE: OnceCell<Rc<Gate>> = const { OnceCell::new() };
}

/// The gate of this isolate.
pub(crate) struct Gate {
    config: Option<Config>,
    sources: Sources,
    upstream: Option<Fetcher>,
    state: RefCell<State>,
}

struct State {
    keys: HeldKeys,
    list: HeldList,
    list_etag: Option<String>,
    verified: VerifiedTokens,
    policy: Option<Rc<Policy>>,
    policy_sequence: u64,
    policy_attempts: Attempts,
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
        if let Some(config) = &config {
            match config.sources {
                RevocationSources::Configured => {}
                RevocationSources::None => console_error!(
                    "REVOCATION_SOURCES is none: a revoked token passes until it expires"
                ),
                RevocationSources::Unconfigured => console_error!(
                    "REVOCATION_SOURCES is unset or unknown: protected routes are refused; \
                     expected kv, feed, kv,feed or none"
                ),
            }
        }
        let policy = config
            .as_ref()
            .and_then(|config| config.policy.clone())
            .map(Rc::new);
        Self {
            config,
            sources: Sources::of(env),
            upstream: Fetcher::binding(env, "UPSTREAM").or_else(Fetcher::network),
            state: RefCell::new(State {
                keys: HeldKeys::default(),
                list: HeldList::default(),
                list_etag: None,
                verified: VerifiedTokens::new(CACHED_TOKENS),
                policy,
                policy_sequence: 0,
                policy_attempts: Attempts::default(),
            }),
        }
    }

    /// Judges `incoming` and answers it.
    pub(crate) async fn serve(
        self: Rc<Self>,
        incoming: web_sys::Request,
        context: &Context,
    ) -> worker::Result<web_sys::Response> {
        let request_id = request_id(&incoming);
        let url = incoming.url();
        let (path, query) = split_url(&url);
        let method = incoming.method();
        let header = |name: &str| incoming.headers().get(name).ok().flatten();
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
        let request = gate::Request {
            method: &method,
            path,
            authorization: authorization.as_deref(),
            cookie: cookie.as_deref(),
            origin: origin.as_deref(),
            preflight_method: preflight_method.as_deref(),
            preflight_headers: preflight_headers.as_deref(),
        };
        let mut record = Record {
            request_id: &request_id,
            method: &method,
            path: Some(path),
            ..Record::default()
        };

        if !header("host").as_deref().is_none_or(is_plain_host) {
            let refusal = Refusal::new(Rejection::PathInvalid, None);
            return Ok(refuse(&refusal, None, &mut record)?);
        }
        let Some(config) = &self.config else {
            let refusal = Refusal::new(Rejection::PolicyUnavailable, None);
            return Ok(refuse(&refusal, None, &mut record)?);
        };
        if path == ASSERTION_KEYS_PATH
            && let Some(key) = &config.assertion_key
        {
            return Ok(answer::document(&key.public_set(), &request_id)?);
        }
        let Some(policy) = self.policy(config, context).await else {
            let refusal = Refusal::new(Rejection::PolicyUnavailable, None);
            return Ok(refuse(&refusal, None, &mut record)?);
        };
        self.refresh_keys_behind(context);

        match self.decide(&request, &policy, config).await {
            Decision::Forward(forward) => {
                if forward.check_list {
                    self.check_list_behind(context);
                }
                self.forward(
                    &incoming,
                    &forward,
                    query,
                    origin.as_deref(),
                    config,
                    &mut record,
                )
                .await
            }
            Decision::Preflight(cors) => {
                record.decision = "preflight";
                record.status = 204;
                console_log!("{}", record.line());
                let requested = (
                    preflight_method.as_deref().unwrap_or_default(),
                    preflight_headers.as_deref(),
                );
                let origin = origin.as_deref().unwrap_or_default();
                Ok(answer::preflight(cors, origin, requested, &request_id)?)
            }
            Decision::Refuse(refusal) => Ok(refuse(&refusal, origin.as_deref(), &mut record)?),
            // `decide` has been given all that it can wait for; a gate that is still not sure
            // refuses.
            Decision::Wait(_) => {
                let refusal = Refusal::new(Rejection::RevocationUnavailable, None);
                Ok(refuse(&refusal, origin.as_deref(), &mut record)?)
            }
        }
    }

    /// Decides, fetching what the decision asks for, each thing once.
    async fn decide<'p, 'r>(
        &self,
        request: &gate::Request<'r>,
        policy: &'p Policy,
        config: &Config,
    ) -> Decision<'p, 'r> {
        let mut progress = Progress::default();
        loop {
            let decision = {
                let State {
                    keys,
                    list,
                    verified,
                    ..
                } = &mut *self.state.borrow_mut();
                let mut knowledge = Knowledge {
                    verifier: &config.verifier,
                    keys,
                    list,
                    sources: config.sources,
                    verified,
                };
                gate::decide(request, policy, &mut knowledge, progress, js::now())
            };
            match decision {
                Decision::Wait(Need::Keys) if !progress.waited_for_keys => {
                    self.wait_for_keys().await;
                    progress.waited_for_keys = true;
                }
                Decision::Wait(Need::List) if !progress.waited_for_list => {
                    self.wait_for_list().await;
                    progress.waited_for_list = true;
                }
                Decision::Wait(Need::Introspection) if progress.introspection.is_none() => {
                    let token = gate::token_of(request, policy).unwrap_or_default();
                    let answer = self.sources.introspect(config, token).await;
                    progress.introspection = Some(answer);
                }
                decided => return decided,
            }
        }
    }

    async fn forward(
        &self,
        incoming: &web_sys::Request,
        forward: &Forward<'_, '_>,
        query: &str,
        origin: Option<&str>,
        config: &Config,
        record: &mut Record<'_>,
    ) -> worker::Result<web_sys::Response> {
        let now = js::now();
        let request_id = record.request_id.to_owned();
        let outgoing = upstream::request(
            incoming,
            forward,
            query,
            config,
            &request_id,
            UnixTime(now.div_euclid(1_000)),
        )?;
        let answer = match &self.upstream {
            Some(upstream) => upstream.send(&outgoing).await,
            None => Err(JsValue::UNDEFINED),
        };
        let list_age = self
            .state
            .borrow()
            .list
            .list()
            .map(|l| now / 1_000 - l.issued_at().0);
        let claims = forward.token.as_ref().map(|token| token.claims());
        let mut line = Record {
            request_id: &request_id,
            method: record.method,
            path: Some(forward.path.as_str()),
            route: Some(forward.rule.name()),
            decision: if forward.reported.is_some() {
                "report"
            } else {
                "forward"
            },
            code: forward.reported.map(Rejection::code),
            status: 502,
            sub: claims.map(|claims| claims.subject.as_str()),
            sid: claims.and_then(|claims| claims.session_id.as_deref()),
            cached: forward.token.as_ref().map(|_| forward.cached),
            list_age: forward.token.as_ref().and(list_age),
        };
        let Ok(answer) = answer else {
            line.code = Some(Rejection::UpstreamUnavailable.code());
            console_log!("{}", line.line());
            let refusal = Refusal::new(Rejection::UpstreamUnavailable, None);
            return Ok(answer::refuse(&refusal, &request_id)?);
        };
        line.status = answer.status();
        console_log!("{}", line.line());
        Ok(with_cors(answer, forward.rule, origin)?)
    }

    async fn policy(self: &Rc<Self>, config: &Config, context: &Context) -> Option<Rc<Policy>> {
        if config.policy.is_some() {
            return self.state.borrow().policy.clone();
        }
        let now = js::now();
        let begun =
            self.state
                .borrow_mut()
                .policy_attempts
                .begin(now, now + DEADLINE, POLICY_INTERVAL);
        let held = self.state.borrow().policy.clone();
        match (begun, held) {
            (true, None) => self.refresh_policy(config).await,
            (true, Some(_)) => {
                let gate = Rc::clone(self);
                context.wait_until(async move {
                    if let Some(config) = &gate.config {
                        gate.refresh_policy(config).await;
                    }
                });
            }
            (false, None) => {
                self.poll_while(|state, now| {
                    state.policy.is_none() && state.policy_attempts.is_under_way(now)
                })
                .await;
            }
            (false, Some(_)) => {}
        }
        self.state.borrow().policy.clone()
    }

    async fn refresh_policy(&self, config: &Config) {
        let fetched = self.sources.policy(config).await;
        let mut state = self.state.borrow_mut();
        let succeeded = fetched.is_some();
        if let Some((policy, sequence)) = fetched {
            // An older one is somebody's replay; the last good one stays.
            if sequence >= state.policy_sequence {
                state.policy = Some(Rc::new(policy));
                state.policy_sequence = sequence;
            }
        }
        if succeeded || state.policy.is_some() {
            state.policy_attempts.finish(js::now(), succeeded);
        } else {
            // With nothing to judge by, the next request may ask at once.
            state.policy_attempts = Attempts::default();
        }
    }

    fn refresh_keys_behind(self: &Rc<Self>, context: &Context) {
        let now = js::now();
        let mut state = self.state.borrow_mut();
        // Without a set, whoever needs one waits for it.
        if state.keys.usable(now).is_some()
            && state.keys.is_due(now)
            && state.keys.begin(now, now + 2 * DEADLINE)
        {
            let gate = Rc::clone(self);
            context.wait_until(async move { gate.refresh_keys().await });
        }
    }

    async fn wait_for_keys(&self) {
        let now = js::now();
        if self.state.borrow_mut().keys.begin(now, now + 2 * DEADLINE) {
            self.refresh_keys().await;
        } else {
            self.poll_while(|state, now| state.keys.is_under_way(now))
                .await;
        }
    }

    async fn refresh_keys(&self) {
        let Some(config) = &self.config else { return };
        let fetched = self.sources.keys(config).await;
        let mut state = self.state.borrow_mut();
        let mut succeeded = false;
        if let Some(fetched) = fetched {
            // A copy in KV may be older than what is held.
            let newer = fetched.current_at >= state.keys.current_at();
            if newer {
                succeeded = !fetched.set.is_empty();
                if state
                    .keys
                    .offer(fetched.set, fetched.current_at, fetched.max_age)
                {
                    state.verified.clear();
                }
            }
        }
        state.keys.finish(js::now(), succeeded);
    }

    fn check_list_behind(self: &Rc<Self>, context: &Context) {
        let now = js::now();
        if self.state.borrow_mut().list.begin(now, now + DEADLINE) {
            let gate = Rc::clone(self);
            context.wait_until(async move { gate.refresh_list().await });
        }
    }

    async fn wait_for_list(&self) {
        let now = js::now();
        if self.state.borrow_mut().list.begin(now, now + DEADLINE) {
            self.refresh_list().await;
        } else {
            self.poll_while(|state, now| state.list.is_under_way(now))
                .await;
        }
    }

    async fn refresh_list(&self) {
        let Some(config) = &self.config else { return };
        let etag = self.state.borrow().list_etag.clone();
        let fetched = self.sources.lists(config, etag).await;
        let now = js::now();
        let mut state = self.state.borrow_mut();
        let mut succeeded = fetched.unchanged;
        for list in fetched.lists {
            match state.list.offer(list, now) {
                Ok(()) => succeeded = true,
                Err(reason) => console_error!("revocation list not taken: {reason:?}"),
            }
        }
        if fetched.etag.is_some() {
            state.list_etag = fetched.etag;
        }
        state.list.finish(now, succeeded);
    }

    /// Lets time pass while another request does what this one needs.
    async fn poll_while(&self, busy: impl Fn(&State, Millis) -> bool) {
        let begun = js::now();
        loop {
            let now = js::now();
            if now - begun >= 2 * DEADLINE || !busy(&self.state.borrow(), now) {
                return;
            }
            Delay::from(POLL).await;
        }
    }
}

fn refuse(
    refusal: &Refusal<'_>,
    origin: Option<&str>,
    record: &mut Record<'_>,
) -> Result<web_sys::Response, JsValue> {
    record.decision = "refuse";
    record.code = Some(refusal.rejection.code());
    record.status = refusal.status();
    let line = Record {
        route: refusal.rule.map(Rule::name),
        decision: record.decision,
        code: record.code,
        status: record.status,
        request_id: record.request_id,
        method: record.method,
        path: record.path,
        ..Record::default()
    };
    console_log!("{}", line.line());
    let answer = answer::refuse(refusal, record.request_id)?;
    match refusal.rule {
        Some(rule) => with_cors(answer, rule, origin),
        None => Ok(answer),
    }
}

/// `answer`, readable by pages of `origin` where the rule says so.
fn with_cors(
    answer: web_sys::Response,
    rule: &Rule,
    origin: Option<&str>,
) -> Result<web_sys::Response, JsValue> {
    let (Some(cors), Some(origin)) = (rule.cors(), origin) else {
        return Ok(answer);
    };
    if !cors.allows_origin(origin) {
        return Ok(answer);
    }
    let init = ResponseInit::new();
    init.set_status(answer.status());
    init.set_status_text(&answer.status_text());
    let headers = Headers::new_with_headers(&answer.headers())?;
    answer::allow_origin(&headers, cors, origin)?;
    init.set_headers(&headers);
    web_sys::Response::new_with_opt_readable_stream_and_init(answer.body().as_ref(), &init)
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
