//! What an operator watches, as numbers: counted where it happens, read at `GET /metrics`.
//!
//! Every label has few values: a route is its pattern and never its path, a method is one of those
//! that HTTP defines, an outcome is a code of ours. So what callers send cannot fill the memory,
//! and no identifier of a person stands here.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::abuse::Limiter;
use crate::abuse::sends::{self, BreakerState, Status};
use crate::abuse::stuffing::Watch;
use crate::app::State;
use crate::notify::Mailer;
use crate::tokens::keyring::KeyState;

mod routes;

pub use routes::{routes, serve};

type Text = Cow<'static, str>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabel {
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LoginLabels {
    way: &'static str,
    outcome: Text,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: Text,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SignLabel {
    sign: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KeyLabel {
    state: &'static str,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "the names are the label's values")]
pub enum Delivery {
    /// The server or provider took it.
    sent,
    /// Every attempt failed.
    failed,
    /// Too many were waiting.
    dropped,
    /// Its code expired before it could be sent.
    expired,
    /// A rule of `[sms]` or `[mail]` was in the way.
    refused,
}

/// By which way, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct MessageLabels {
    /// `email` or `sms`.
    pub channel: &'static str,
    /// What became of it.
    pub outcome: Delivery,
}

/// Messages, counted by the mailer.
pub type Messages = Family<MessageLabels, Counter>;

/// By which way a message was not sent, and which rule was in the way.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RefusalLabels {
    /// `email` or `sms`.
    pub channel: &'static str,
    /// The rule.
    pub reason: &'static str,
}

/// Refusals, counted by the mailer.
pub type Refusals = Family<RefusalLabels, Counter>;

/// A breaker of SMS: a country, or `*`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ScopeLabel {
    scope: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PeriodLabel {
    period: &'static str,
}

type Ratio = Gauge<f64, std::sync::atomic::AtomicU64>;

/// Upper ends of the buckets of durations, in seconds: a read is under 5 ms, a password hash about
/// 50, and the default deadline is 15 s.
const BUCKETS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0,
];

/// As long as the numbers wait for those in the database.
const PATIENCE: Duration = Duration::from_secs(1);

/// The numbers of one process.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabel, Histogram, fn() -> Histogram>,
    logins: Family<LoginLabels, Counter>,
    refreshes: Family<OutcomeLabel, Counter>,
    captchas: Family<OutcomeLabel, Counter>,
    anomalies: Family<SignLabel, Counter>,
    database_errors: Counter,
    hashes_waiting: Gauge,
    messages_waiting: Gauge,
    notices_waiting: Gauge,
    notices_age: Ratio,
    revocation_entries: Gauge,
    revocation_sequence: Gauge,
    revocation_age: Ratio,
    policy_sequence: Gauge,
    policy_refused: Gauge,
    sms_spent: Family<PeriodLabel, Gauge>,
    sms_conversion: Family<ScopeLabel, Ratio>,
    sms_breakers: Family<ScopeLabel, Gauge>,
    keys: Family<KeyLabel, Gauge>,
}

/// What came of a request that was answered with success, where that word would mislead; put into
/// the answer's extensions.
#[derive(Clone, Copy, Debug)]
pub struct Outcome(pub &'static str);

/// How an answer came about, as far as it is counted.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The request's method.
    pub method: &'a Method,
    /// The matched pattern, `-` without one.
    pub route: &'a str,
    /// The status.
    pub status: StatusCode,
    /// The code of a problem, or the word of an [`Outcome`].
    pub code: Option<&'static str>,
    /// Whether the database failed.
    pub database_failed: bool,
    /// How long it took.
    pub elapsed: Duration,
}

impl Metrics {
    /// Nothing counted yet; messages are counted by `mailer`, refusals by `limiter`, signs of
    /// credential stuffing by `watch`.
    pub fn new(mailer: &Mailer, limiter: &Limiter, watch: &Watch) -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("edgekeep"),
            requests: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            logins: Family::default(),
            refreshes: Family::default(),
            captchas: Family::default(),
            anomalies: Family::default(),
            database_errors: Counter::default(),
            hashes_waiting: Gauge::default(),
            messages_waiting: Gauge::default(),
            notices_waiting: Gauge::default(),
            notices_age: Gauge::default(),
            revocation_entries: Gauge::default(),
            revocation_sequence: Gauge::default(),
            revocation_age: Gauge::default(),
            policy_sequence: Gauge::default(),
            policy_refused: Gauge::default(),
            keys: Family::default(),
            sms_spent: Family::default(),
            sms_conversion: Family::default(),
            sms_breakers: Family::default(),
        };
        metrics.register(mailer.counts());
        metrics.register_sends(mailer.refusals());
        metrics.registry.register(
            "rate_limited",
            "Requests refused, by limit of address, user or session",
            limiter.refusals(),
        );
        metrics.registry.register(
            "credential_stuffing_signs",
            "Networks that failed at many accounts, accounts failed at from many networks",
            watch.signs(),
        );
        metrics
    }

    fn register(&mut self, messages: Messages) {
        let registry = &mut self.registry;
        registry.register(
            "http_requests",
            "Requests by matched route",
            self.requests.clone(),
        );
        registry.register(
            "http_request_duration_seconds",
            "Time to the answer's head by matched route",
            self.durations.clone(),
        );
        registry.register(
            "logins",
            "Attempts to log in by way and outcome",
            self.logins.clone(),
        );
        registry.register("refreshes", "Refreshes by outcome", self.refreshes.clone());
        registry.register(
            "captchas",
            "Requests that needed a captcha by outcome",
            self.captchas.clone(),
        );
        registry.register(
            "anomalies",
            "Logins, refreshes and failures that are signs of an attack",
            self.anomalies.clone(),
        );
        registry.register(
            "database_errors",
            "Requests that failed because the database did",
            self.database_errors.clone(),
        );
        registry.register(
            "password_hashes_waiting",
            "Password hashes that run or wait",
            self.hashes_waiting.clone(),
        );
        registry.register("messages", "Mail and SMS by outcome", messages);
        registry.register(
            "messages_waiting",
            "Mail and SMS that wait to be sent or are on their way",
            self.messages_waiting.clone(),
        );
        registry.register(
            "notices_waiting",
            "Notices to people that are not delivered yet",
            self.notices_waiting.clone(),
        );
        registry.register(
            "notices_oldest_age_seconds",
            "How long the oldest of them has waited",
            self.notices_age.clone(),
        );
        registry.register(
            "revocation_list_entries",
            "Entries of the list that gates are told",
            self.revocation_entries.clone(),
        );
        registry.register(
            "revocation_list_sequence",
            "Number of the list that gates are told",
            self.revocation_sequence.clone(),
        );
        registry.register(
            "revocation_list_age_seconds",
            "Age of the list that gates are told",
            self.revocation_age.clone(),
        );
        registry.register(
            "policy_sequence",
            "Number under which the policy that gates are told was first published, 0 without one",
            self.policy_sequence.clone(),
        );
        registry.register(
            "policy_refused",
            "1: what stands in gate.policy_file is no policy, and the one before stays",
            self.policy_refused.clone(),
        );
        registry.register("keys", "Signing keys by state", self.keys.clone());
    }

    fn register_sends(&mut self, refusals: Refusals) {
        let registry = &mut self.registry;
        registry.register(
            "messages_refused",
            "Mail and SMS that a rule kept from being sent",
            refusals,
        );
        registry.register(
            "sms_spent",
            "What the SMS of the last hour and day cost, in the unit of sms.prices",
            self.sms_spent.clone(),
        );
        registry.register(
            "sms_conversion_ratio",
            "Of the latest codes sent by SMS, the part that came back",
            self.sms_conversion.clone(),
        );
        registry.register(
            "sms_breaker",
            "0: codes are sent, 1: a few are, as a trial, 2: none is",
            self.sms_breakers.clone(),
        );
    }

    /// Takes over how the SMS budgets and breakers stand.
    fn set_sends(&self, status: &Status) {
        for (period, spent) in [("hour", status.spent_hour), ("day", status.spent_day)] {
            self.sms_spent
                .get_or_create(&PeriodLabel { period })
                .set(spent);
        }
        // A country that no SMS went to for a week is not spoken of any more.
        self.sms_conversion.clear();
        self.sms_breakers.clear();
        for breaker in &status.breakers {
            let label = ScopeLabel {
                scope: breaker.scope.to_string(),
            };
            let state = match breaker.state {
                BreakerState::Closed => 0,
                BreakerState::Trial => 1,
                BreakerState::Open(_) => 2,
            };
            self.sms_breakers.get_or_create(&label).set(state);
            if breaker.sent > 0 {
                let ratio = f64::from(breaker.answered) / f64::from(breaker.sent);
                self.sms_conversion.get_or_create(&label).set(ratio);
            }
        }
    }

    /// Counts an answer, and what it means: the routes that log in and refresh have counts of
    /// their own.
    pub fn count(&self, answer: Answer<'_>) {
        let route = answer.route;
        self.requests
            .get_or_create(&RequestLabels {
                method: known_method(answer.method),
                route: route.to_owned(),
                status: answer.status.as_u16(),
            })
            .inc();
        let label = RouteLabel {
            route: route.to_owned(),
        };
        self.durations
            .get_or_create(&label)
            .observe(answer.elapsed.as_secs_f64());
        if answer.database_failed {
            self.database_errors.inc();
        }
        if answer.method != Method::POST {
            return;
        }
        let outcome: Text = answer.code.unwrap_or("succeeded").into();
        let way = match route {
            "/api/v1/auth/login" => "password",
            "/api/v1/auth/login/mfa" => "second_factor",
            "/api/v1/auth/otp/verify" => "code",
            "/api/v1/auth/register/verify" => "registration",
            "/api/v1/auth/social/exchange" => "social",
            "/api/v1/auth/refresh" => {
                self.refreshes
                    .get_or_create(&OutcomeLabel { outcome })
                    .inc();
                return;
            }
            _ => return,
        };
        self.logins
            .get_or_create(&LoginLabels { way, outcome })
            .inc();
    }

    /// Counts a sign of an attack.
    pub fn count_anomaly(&self, sign: &'static str) {
        self.anomalies.get_or_create(&SignLabel { sign }).inc();
    }

    /// Counts what became of a captcha that a request needed: a problem's code, or nothing.
    pub fn count_captcha(&self, code: Option<&'static str>) {
        let outcome: Text = code.unwrap_or("passed").into();
        self.captchas.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// Everything as text, with the state of now; what only the database knows is as of the last
    /// time that it answered.
    pub async fn render(&self, state: &State) -> String {
        let sends = tokio::time::timeout(PATIENCE, sends::status(&state.admission));
        if let Ok(Ok(status)) = sends.await {
            self.set_sends(&status);
        }
        let notices = tokio::time::timeout(PATIENCE, state.mailer.standing());
        if let Ok(Ok(standing)) = notices.await {
            self.notices_waiting.set(standing.waiting);
            let age = standing
                .oldest
                .map(|oldest| state.clock.now().since(oldest));
            self.notices_age.set(age.unwrap_or_default().as_secs_f64());
        }
        let whole = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.hashes_waiting.set(whole(state.hasher.waiting()));
        self.messages_waiting.set(whole(state.mailer.waiting()));
        if let Some(documents) = state.publisher.held() {
            self.revocation_entries.set(whole(documents.entries));
            let number = |sequence: u64| i64::try_from(sequence).unwrap_or(i64::MAX);
            self.revocation_sequence.set(number(documents.sequence));
            self.policy_sequence.set(number(documents.policy_sequence));
            let age = state.clock.now().since(documents.signed_at());
            self.revocation_age.set(age.as_secs_f64());
        }
        let is_refused = state.publisher.is_policy_refused();
        self.policy_refused.set(i64::from(is_refused));
        let ring = state.keyring.ring();
        for key_state in [
            KeyState::Pending,
            KeyState::Active,
            KeyState::Retiring,
            KeyState::Retired,
            KeyState::Revoked,
        ] {
            let label = KeyLabel {
                state: key_state.name(),
            };
            let keys = ring.keys().iter().filter(|key| key.state == key_state);
            self.keys.get_or_create(&label).set(whole(keys.count()));
        }
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// The method, if it is one that HTTP defines: a caller may invent others without end.
fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::OPTIONS => "OPTIONS",
        Method::CONNECT => "CONNECT",
        Method::TRACE => "TRACE",
        _ => "other",
    }
}
