//! One request: read, decided, and what is to be done about it.

use std::{
    cell::{OnceCell, RefCell},
    rc::Rc,
};

use edgekeep_shared::{
    error::Rejection,
    gate::{
        self, Decision, Forward, Need, Preflight, Progress, Refusal, RevocationSources,
        signature::Signatures,
    },
    headers,
    policy::{Policy, Rule},
    revocation::RevocationList,
    time::UnixTime,
};
use subtle::ConstantTimeEq as _;
use wasm_bindgen::JsValue;
use worker::{Context, Env, console_error};

use crate::{
    answer::{self, Answer, Changes},
    authz,
    carried::{self, Recorded},
    config::Config,
    ids::Ids,
    incoming::Incoming,
    js,
    knowledge::{Knowledge, Part, Shared},
    limiter::Limiters,
    metrics::{Gauges, Tally},
    record::{Logged, Record},
    recorder::Recorder,
    signatures::Pending,
    sources::Sources,
    upstream,
};

/// Where the public half of the assertion key is found.
const ASSERTION_KEYS_PATH: &str = "/.well-known/edgekeep-assertion.json";

/// Where the counts are read, with `METRICS_TOKEN` as bearer.
const METRICS_PATH: &str = "/.well-known/edgekeep-metrics";

/// The binding of the Analytics Engine dataset.
const DATASET: &str = "EDGEKEEP_ANALYTICS";

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
    limiters: Limiters,
    recorder: Recorder,
    ids: Ids,
    /// The signatures that JavaScript has verified for us.
    pending: RefCell<Pending>,
}

/// What came of deciding about a request.
enum Decided {
    /// What JavaScript is to do.
    Do(String),
    /// Something has to be fetched first.
    Wait,
}

/// A request, under its correlation id.
struct Case<'t> {
    incoming: Incoming<'t>,
    id: String,
    recorder: &'t Recorder,
}

impl Gate {
    pub(crate) fn of(env: &Env) -> Rc<Self> {
        GATE.with(|gate| Rc::clone(gate.get_or_init(|| Rc::new(Self::new(env)))))
    }

    /// The gate, if a request has come to this instance before.
    pub(crate) fn existing() -> Option<Rc<Self>> {
        GATE.with(|gate| gate.get().cloned())
    }

    fn new(env: &Env) -> Self {
        js::end_openly();
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
        if let Some(config) = &config
            && config.authz.is_some()
            && let Some(policy) = &config.policy
        {
            for caution in authz::cautions(policy) {
                console_error!("{caution}");
            }
        }
        Self {
            policy: config
                .as_ref()
                .and_then(|config| config.policy.clone())
                .map(Rc::new),
            recorder: Recorder::new(
                js::has_method(env, DATASET, "writeDataPoint"),
                config
                    .as_ref()
                    .map_or_else(Logged::default, |config| config.logged),
            ),
            shared: config.map(|config| Rc::new(Shared::new(config, Sources::of(env)))),
            limiters: Limiters::of(env),
            ids: Ids::new(&js::random_id()),
            pending: RefCell::default(),
        }
    }

    /// Judges a request at once and says what is to be done about it. With `verdict` comes what was
    /// found about the signature of [`carried::signature`], or nothing if it could not be told.
    pub(crate) fn judge(
        &self,
        text: &str,
        verdict: Option<(u32, Option<bool>)>,
        context: &Context,
    ) -> String {
        let signatures = match verdict {
            None => Signatures::Elsewhere,
            Some((ticket, verdict)) => self.pending.borrow_mut().take(ticket, verdict),
        };
        let case = match self.open(text) {
            Ok(case) => case,
            Err(refused) => return refused,
        };
        let Some(shared) = &self.shared else {
            return case.refuse(&Refusal::new(Rejection::PolicyUnavailable, None));
        };
        if let Some(answered) = self.document(&case, shared) {
            return answered;
        }
        // Beside another gateway nothing is carried. To whoever asks in another way than is agreed upon,
        // an answer of the upstream would be leave.
        if shared.config.authz.is_some() && case.incoming.asker().is_none() {
            return case.refuse(&Refusal::new(Rejection::RequestInvalid, None));
        }
        let Some(policy) = self.held_policy(shared, context) else {
            return carried::wait(false);
        };
        if let Some(refused) = case.refuse_without_host(&policy) {
            return refused;
        }
        let mut progress = Progress {
            signatures,
            ..Progress::default()
        };
        let decision = decide_once(
            &case.incoming.parts(),
            &policy,
            shared,
            &mut progress,
            context,
        );
        match self.conclude(&case, decision, &policy, false, shared, context) {
            Decided::Do(text) => text,
            Decided::Wait => carried::wait(progress.verified),
        }
    }

    /// Judges a request for which something has to be fetched. `verified` is what [`carried::wait`]
    /// has said, `may_ask` whether its signature may still be verified elsewhere.
    pub(crate) async fn wait(
        &self,
        text: &str,
        verified: bool,
        may_ask: bool,
        context: &Context,
    ) -> String {
        let case = match self.open(text) {
            Ok(case) => case,
            Err(refused) => return refused,
        };
        let policy = match &self.shared {
            Some(shared) => self.policy(shared, context).await,
            None => None,
        };
        let (Some(shared), Some(policy)) = (&self.shared, policy) else {
            return case.refuse(&Refusal::new(Rejection::PolicyUnavailable, None));
        };
        if let Some(refused) = case.refuse_without_host(&policy) {
            return refused;
        }
        let signatures = if may_ask {
            Signatures::Elsewhere
        } else {
            Signatures::Here
        };
        let mut progress = Progress {
            verified,
            signatures,
            ..Progress::default()
        };
        let request = case.incoming.parts();
        loop {
            let decision = decide_once(&request, &policy, shared, &mut progress, context);
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
                    let token = gate::token_of(&request, &policy).unwrap_or_default();
                    let answer = shared.sources.introspect(&shared.config, token).await;
                    progress.introspection = Some(answer);
                }
                mut decision => {
                    if let Decision::Forward(forward) = &mut decision
                        && is_limited(forward)
                    {
                        keep_list(forward, shared, context);
                        // What does not pass anyway is not counted.
                        if let Some(refused) = case.refuse_unchangeable(forward, &policy) {
                            return refused;
                        }
                        if let Some(refusal) = self.over_limit(&case, forward).await {
                            return case.refuse(&refusal);
                        }
                    }
                    return match self.conclude(&case, decision, &policy, true, shared, context) {
                        Decided::Do(text) => text,
                        // The decision has been given all that it can wait for; a gate that is
                        // still not sure refuses.
                        Decided::Wait => {
                            case.refuse(&Refusal::new(Rejection::RevocationUnavailable, None))
                        }
                    };
                }
            }
        }
    }

    /// Counts a request that was sent on, by what has come of it.
    pub(crate) fn count(&self, tally: u32) {
        self.recorder.count(Tally(tally));
    }

    /// The signatures that are to be verified.
    pub(crate) const fn pending(&self) -> &RefCell<Pending> {
        &self.pending
    }

    /// Reads a request; what cannot be judged as it is is refused.
    fn open<'t>(&'t self, text: &'t str) -> Result<Case<'t>, String> {
        let authz = self.shared.as_ref().and_then(|shared| shared.config.authz);
        let parsed = Incoming::parse(text, authz);
        let is_unclear = parsed.as_ref().is_none_or(Incoming::is_unclear);
        let incoming = parsed.unwrap_or_default();
        let case = Case {
            id: incoming
                .request_id()
                .map_or_else(|| self.ids.next(), str::to_owned),
            incoming,
            recorder: &self.recorder,
        };
        if is_unclear {
            return Err(case.refuse(&Refusal::new(Rejection::RequestInvalid, None)));
        }
        if !case.incoming.has_plain_host() {
            return Err(case.refuse(&Refusal::new(Rejection::PathInvalid, None)));
        }
        Ok(case)
    }

    /// What the gate itself has to say at some paths.
    fn document(&self, case: &Case<'_>, shared: &Shared) -> Option<String> {
        if case.incoming.asker().is_some() {
            return None;
        }
        let parts = case.incoming.parts();
        if parts.path == ASSERTION_KEYS_PATH
            && let Some(key) = &shared.config.assertion_key
        {
            let document = answer::document(key.public_set(), &case.id);
            return Some(case.answer(document, &Recorded::default()));
        }
        if parts.path == METRICS_PATH
            && matches!(parts.method, "GET" | "HEAD")
            && let Some(token) = &shared.config.metrics_token
        {
            return Some(self.metrics(case, token, shared));
        }
        None
    }

    /// The counts of this isolate, for whoever has the token.
    fn metrics(&self, case: &Case<'_>, token: &str, shared: &Shared) -> String {
        let refusal = match headers::bearer_token(case.incoming.parts().authorization) {
            Ok(given) if bool::from(given.as_bytes().ct_eq(token.as_bytes())) => {
                let now = js::now();
                let known = shared.known.borrow();
                let list = known.list.list();
                let gauges = Gauges {
                    list_age: list.map(|list| now.div_euclid(1_000) - list.issued_at().0),
                    list_entries: list.map_or(0, RevocationList::len),
                    keys: known.keys.usable(now).map_or(0, |set| set.keys().len()),
                    policy_sequence: known.policy.sequence(),
                };
                let metrics = answer::metrics(self.recorder.text(&gauges), &case.id);
                return case.answer(metrics, &Recorded::default());
            }
            Ok(_) => Rejection::TokenMalformed,
            Err(rejection) => rejection,
        };
        case.refuse(&Refusal::new(refusal, None))
    }

    /// The policy, if there is one at hand.
    fn held_policy(&self, shared: &Rc<Shared>, context: &Context) -> Option<Rc<Policy>> {
        if self.policy.is_some() {
            return self.policy.clone();
        }
        let held = shared.known.borrow().policy.policy();
        if held.is_some() {
            shared.refresh_behind(Part::Policy, context);
        }
        held
    }

    async fn policy(&self, shared: &Rc<Shared>, context: &Context) -> Option<Rc<Policy>> {
        if let Some(held) = self.held_policy(shared, context) {
            return Some(held);
        }
        shared.wait_for(Part::Policy, context).await;
        shared.known.borrow().policy.policy()
    }

    /// Asks the limiter that the rule names. What is only reported is noted in `forward`.
    async fn over_limit<'p>(
        &self,
        case: &Case<'_>,
        forward: &mut Forward<'p, '_>,
    ) -> Option<Refusal<'p>> {
        let rejection = self.limiters.refuse(&case.incoming, forward).await?;
        if forward.rule.is_report_only() {
            forward.reported = Some(rejection);
            return None;
        }
        Some(Refusal {
            rule: Some(forward.rule),
            ..Refusal::new(rejection, None)
        })
    }

    /// What is to be done, unless something has to be fetched, or the limiter asked: `limiter_asked`
    /// says that it was.
    fn conclude(
        &self,
        case: &Case<'_>,
        decision: Decision<'_, '_>,
        policy: &Policy,
        limiter_asked: bool,
        shared: &Rc<Shared>,
        context: &Context,
    ) -> Decided {
        Decided::Do(match decision {
            Decision::Forward(forward) if is_limited(&forward) && !limiter_asked => {
                return Decided::Wait;
            }
            Decision::Forward(forward) => {
                keep_list(&forward, shared, context);
                if case.incoming.asker().is_none() {
                    case.forward(&forward, policy, shared)
                } else if let Some(refused) = case.refuse_unchangeable(&forward, policy) {
                    refused
                } else {
                    case.pass(&forward, shared)
                }
            }
            // Whoever asks sends it on, for the upstream to answer: it carries no credentials.
            Decision::Preflight(preflight) if case.incoming.asker().is_some() => {
                if !preflight.path.is_borrowed() {
                    return Decided::Do(case.refuse(&Refusal::new(Rejection::PathInvalid, None)));
                }
                if case.says_what_a_rule_sets(policy) {
                    let unclear = Refusal::new(Rejection::RequestInvalid, None);
                    return Decided::Do(case.refuse(&unclear));
                }
                let recorded = case.recorder.record(&case.record("preflight", 200));
                carried::answer(&answer::pass(Vec::new(), &case.id), &recorded)
            }
            Decision::Preflight(Preflight { cors, .. }) => {
                let recorded = case.recorder.record(&case.record("preflight", 204));
                let parts = case.incoming.parts();
                let requested = (
                    parts.preflight_method.unwrap_or_default(),
                    parts.preflight_headers,
                );
                let origin = parts.origin.unwrap_or_default();
                let answer = answer::preflight(cors, origin, requested, &case.id);
                case.answer(answer, &recorded)
            }
            Decision::Refuse(refusal) => case.refuse(&refusal),
            Decision::Wait(Need::Signature(check)) => {
                carried::signature(self.pending.borrow_mut().put(*check))
            }
            Decision::Wait(_) => return Decided::Wait,
        })
    }
}

impl Case<'_> {
    fn record<'a>(&'a self, decision: &'static str, status: u16) -> Record<'a> {
        let parts = self.incoming.parts();
        Record {
            request_id: &self.id,
            method: parts.method,
            path: Some(parts.path),
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
        now: UnixTime,
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
            record.list_age = known.list.list().map(|list| now.since(list.issued_at()));
        }
        record
    }

    /// Has the request sent on.
    fn forward(&self, forward: &Forward<'_, '_>, policy: &Policy, shared: &Shared) -> String {
        let (now, config) = (unix_now(), &shared.config);
        let outgoing = upstream::request(&self.incoming, forward, policy, config, &self.id, now);
        let recording = self.recorder.prepare(&self.forwarded(forward, shared, now));
        let changes = Changes::of(forward.rule, self.incoming.parts().origin);
        // A binding is the gate's own upstream; a rule's is reached by its URL.
        let network = forward.rule.upstream().is_some();
        carried::forward(&outgoing, network, &changes, &self.id, &recording)
    }

    /// Has a client answered.
    fn answer(&self, answer: Answer<'_>, recorded: &Recorded) -> String {
        carried::answer(&answer.over_tls(self.incoming.is_https()), recorded)
    }

    /// Refuses a question that does not say for which host it is, where that could make a difference.
    fn refuse_without_host(&self, policy: &Policy) -> Option<String> {
        (policy.has_hosts() && self.incoming.lacks_host())
            .then(|| self.refuse(&Refusal::new(Rejection::RequestInvalid, None)))
    }

    /// Refuses a question about a request that the gate would change before it sends it on: whoever asks
    /// sends it as it came.
    fn refuse_unchangeable(&self, forward: &Forward<'_, '_>, policy: &Policy) -> Option<String> {
        self.incoming.asker()?;
        let mut names = self.incoming.names();
        let rejection = if !forward.path.is_borrowed() {
            // Only a path that everybody reads alike may pass.
            Rejection::PathInvalid
        } else if self.says_what_a_rule_sets(policy)
            || (!forward.rule.forwards_second_place()
                && names.any(|name| headers::is_second_place(name.as_bytes())))
        {
            Rejection::RequestInvalid
        } else {
            return None;
        };
        Some(self.refuse(&Refusal::new(rejection, None)))
    }

    /// Whether there is a header field, in any spelling, that the upstream is to have from a rule alone.
    fn says_what_a_rule_sets(&self, policy: &Policy) -> bool {
        let mut names = self.incoming.names();
        names.any(|name| policy.sets_header(name.as_bytes()))
    }

    /// Tells the gateway that has asked to send the request on.
    fn pass(&self, forward: &Forward<'_, '_>, shared: &Shared) -> String {
        let now = unix_now();
        let identity = forward.token.as_ref().map(|token| {
            let method = self.incoming.parts().method;
            upstream::identity(&shared.config, token, forward, method, now)
        });
        let mut record = self.forwarded(forward, shared, now);
        record.status = 200;
        let recorded = self.recorder.record(&record);
        let answer = answer::pass(identity.unwrap_or_default(), &self.id);
        carried::answer(&answer, &recorded)
    }

    fn refuse(&self, refusal: &Refusal<'_>) -> String {
        let mut record = self.record("refuse", refusal.status());
        record.route = refusal.rule.map(Rule::name);
        record.code = Some(refusal.rejection.code());
        let recorded = self.recorder.record(&record);
        let mut answer: Answer<'_> = answer::refuse(refusal, self.incoming.asker(), &self.id);
        if let Some(rule) = refusal.rule {
            let origin = self.incoming.parts().origin;
            answer.fields.extend(answer::cors_fields(rule, origin));
        }
        self.answer(answer, &recorded)
    }
}

/// Decides by what is known now.
fn decide_once<'p, 'r>(
    request: &gate::Request<'r>,
    policy: &'p Policy,
    shared: &Rc<Shared>,
    progress: &mut Progress,
    context: &Context,
) -> Decision<'p, 'r> {
    shared.refresh_due_keys(context);
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
    gate::decide(request, policy, &mut knowledge, progress, js::now())
}

/// Whether the limiter has to be asked before this may pass.
fn is_limited(forward: &Forward<'_, '_>) -> bool {
    forward.rule.rate_limit().is_some() && forward.reported.is_none()
}

/// Has the revocation list checked where that is due.
fn keep_list(forward: &Forward<'_, '_>, shared: &Rc<Shared>, context: &Context) {
    if forward.list.check {
        shared.refresh_behind(Part::List, context);
    }
    if forward.list.used {
        shared.watch_list(context);
    }
}

fn unix_now() -> UnixTime {
    UnixTime(js::now().div_euclid(1_000))
}
