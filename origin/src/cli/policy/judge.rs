//! The gate's decision about one request, offline.

use edgekeep_shared::error::Rejection;
use edgekeep_shared::gate::cache::VerifiedTokens;
use edgekeep_shared::gate::issuers::ForeignIssuer;
use edgekeep_shared::gate::keys::HeldKeys;
use edgekeep_shared::gate::list::HeldList;
use edgekeep_shared::gate::{
    Decision, Introspection, Knowledge, Progress, Request, RevocationSources, decide,
};
use edgekeep_shared::headers::WEBSOCKET_TOKEN_PREFIX;
use edgekeep_shared::jwk::{Jwk, JwkSet};
use edgekeep_shared::path;
use edgekeep_shared::policy::{
    AUTH_TIME_LEEWAY_SECONDS, Access, Missing, Policy, Rule, TokenSource,
};
use edgekeep_shared::verifier::Verifier;
use serde_json::{Map, Value, json};

use crate::clock::Clock;
use crate::config::Algorithm;
use crate::error::Error;
use crate::random::Random;
use crate::tokens::signing::SigningKey;

const KEY_ID: &str = "this-run";
const ISSUER: &str = "https://issuer.invalid";
const AUDIENCE: &str = "policy";
/// Seconds that a token made here lives.
const LIFE: i64 = 60;

/// What is decided, and by which rule.
#[derive(Debug)]
pub(super) struct Verdict<'p> {
    /// The rule that decided, if one did.
    pub(super) rule: Option<&'p Rule>,
    /// How.
    pub(super) outcome: Outcome<'p>,
}

/// How a request fares.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome<'p> {
    /// It is forwarded; where the rule only reports, with why it would have been refused.
    Allow(Option<Rejection>),
    /// The gate answers the CORS preflight itself.
    Preflight,
    /// It is refused, with what the token lacks.
    Refuse(Rejection, Option<Missing<'p>>),
}

/// What a case expects that only a rule with `report_only` lets pass begins with.
pub(super) const REPORT: &str = "report:";

impl Outcome<'_> {
    /// `allow`, `preflight`, the code of the refusal, or [`REPORT`] and the code of what would be one.
    pub(super) fn word(&self) -> String {
        match self {
            Self::Allow(None) => "allow".to_owned(),
            Self::Allow(Some(rejection)) => format!("{REPORT}{}", rejection.code()),
            Self::Preflight => "preflight".to_owned(),
            Self::Refuse(rejection, _) => rejection.code().to_owned(),
        }
    }
}

/// The path of a target as the worker cuts it out: what stands before a fragment and a query.
pub(super) fn path_of(target: &str) -> &str {
    target.split(['#', '?']).next().unwrap_or_default()
}

/// Who is asking.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked<'a> {
    pub(super) method: &'a str,
    /// With or without a query.
    pub(super) target: &'a str,
    /// `Host`
    pub(super) host: Option<&'a str>,
    pub(super) origin: Option<&'a str>,
    /// `Access-Control-Request-Method`
    pub(super) preflight_method: Option<&'a str>,
    /// `Access-Control-Request-Headers`
    pub(super) preflight_headers: Option<&'a str>,
    /// Whose the token is, where it is not of the gate's own issuer.
    pub(super) foreign_issuer: Option<&'a str>,
    pub(super) token: Option<&'a str>,
}

/// Whose tokens count, and the clock by which.
pub(super) struct Judge {
    issuer: String,
    audience: String,
    leeway: u32,
    set: JwkSet,
    /// The key that describes tokens; none where an issuer's own keys are used.
    signer: Option<SigningKey>,
    now: i64,
}

impl Judge {
    /// One that signs its own tokens.
    pub(super) fn of_described_tokens(now: Option<i64>) -> anyhow::Result<Self> {
        let signer = SigningKey::generate(Algorithm::EdDSA, 0, &Random::Os)?;
        let set = JwkSet::new(vec![Jwk::new(KEY_ID, signer.verifying_key())])?;
        let judge = Self::of_keys(None, AUDIENCE, set, now);
        Ok(Self {
            signer: Some(signer),
            leeway: 0,
            ..judge
        })
    }

    /// One that takes an issuer's tokens, for `audience`. `own` is the gate's own issuer; none: some other.
    pub(super) fn of_keys(
        own: Option<&str>,
        audience: &str,
        set: JwkSet,
        now: Option<i64>,
    ) -> Self {
        Self {
            issuer: own.unwrap_or(ISSUER).to_owned(),
            audience: audience.to_owned(),
            leeway: u32::try_from(AUTH_TIME_LEEWAY_SECONDS).unwrap_or_default(),
            set,
            signer: None,
            now: now.unwrap_or_else(|| Clock::System.now().unix_seconds()),
        }
    }

    fn verifier(&self, issuer: &str) -> Verifier {
        Verifier::new(issuer, &*self.audience).with_leeway(self.leeway)
    }

    /// The keys as a gate holds them that has just fetched them.
    fn held_keys(&self) -> HeldKeys {
        let mut keys = HeldKeys::default();
        let millis = self.now.saturating_mul(1_000);
        let attempt = keys.begin(millis, millis);
        keys.offer(self.set.clone(), millis, None);
        if let Some(attempt) = attempt {
            keys.finish(attempt, millis, true);
        }
        keys
    }

    /// The instant of judgement, in seconds since 1970.
    pub(super) const fn now(&self) -> i64 {
        self.now
    }

    /// A token of `foreign_issuer`, or of the gate's own, that says what `claims` says, valid now,
    /// whatever it says about its own validity.
    ///
    /// # Errors
    /// When this judge takes an issuer's tokens only.
    pub(super) fn describe(
        &self,
        foreign_issuer: Option<&str>,
        mut claims: Map<String, Value>,
    ) -> Result<String, Error> {
        let signer = self
            .signer
            .as_ref()
            .ok_or_else(|| Error::internal("no key to sign with"))?;
        claims.remove("nbf");
        let mut audience = vec![json!(AUDIENCE)];
        match claims.remove("aud") {
            Some(Value::Array(more)) => audience.extend(more),
            more => audience.extend(more),
        }
        for (name, value) in [
            ("iss", json!(foreign_issuer.unwrap_or(ISSUER))),
            ("aud", json!(audience)),
            ("iat", json!(self.now)),
            ("exp", json!(self.now.saturating_add(LIFE))),
        ] {
            claims.insert(name.to_owned(), value);
        }
        for (name, value) in [
            ("sub", "somebody"),
            ("client_id", "default"),
            ("jti", "one"),
        ] {
            claims.entry(name).or_insert_with(|| Value::from(value));
        }
        signer.issue("at+jwt", KEY_ID, &claims)
    }

    /// What a gate would do that has reached its issuer, to which nothing is known as revoked.
    pub(super) fn judge<'p>(&self, policy: &'p Policy, asked: Asked<'_>) -> Verdict<'p> {
        let path = path_of(asked.target);
        let found = path::canonicalise(path)
            .ok()
            .and_then(|path| policy.find(asked.host, asked.method, &path));
        // The token stands where the rule looks for it.
        let (mut authorization, mut cookie, mut protocols) = (None, None, None);
        if let Some(token) = asked.token {
            match found.map(Rule::access) {
                Some(Access::Token(access)) => match &access.source {
                    TokenSource::Header => authorization = Some(format!("Bearer {token}")),
                    TokenSource::Cookie { name, .. } => cookie = Some(format!("{name}={token}")),
                    // A WebSocket is opened by GET.
                    TokenSource::WebSocket { .. } if asked.method != "GET" => {}
                    TokenSource::WebSocket { .. } => {
                        protocols = Some(format!("{WEBSOCKET_TOKEN_PREFIX}{token}"));
                    }
                },
                _ => authorization = Some(format!("Bearer {token}")),
            }
        }
        let request = Request {
            method: asked.method,
            path,
            host: asked.host,
            authorization: authorization.as_deref(),
            cookie: cookie.as_deref(),
            upgrade: protocols.is_some(),
            websocket_protocols: protocols.as_deref(),
            origin: asked.origin,
            preflight_method: asked.preflight_method,
            preflight_headers: asked.preflight_headers,
        };
        let foreign = asked.foreign_issuer.map(|issuer| ForeignIssuer {
            verifier: self.verifier(issuer),
            keys: self.held_keys(),
        });
        let mut knowledge = Knowledge {
            verifier: &self.verifier(&self.issuer),
            keys: &self.held_keys(),
            foreign: foreign.as_slice(),
            list: &HeldList::default(),
            sources: RevocationSources::None,
            verified: &mut VerifiedTokens::new(1),
        };
        let mut progress = Progress {
            waited_for_keys: true,
            waited_for_list: true,
            introspection: Some(Introspection::Active),
            ..Progress::default()
        };
        let now = self.now.saturating_mul(1_000);
        let decision = decide(&request, policy, &mut knowledge, &mut progress, now);
        match decision {
            Decision::Forward(forward) => Verdict {
                rule: Some(forward.rule),
                outcome: Outcome::Allow(forward.reported),
            },
            Decision::Preflight(_) => Verdict {
                rule: path::canonicalise(path).ok().and_then(|path| {
                    let method = asked.preflight_method.unwrap_or_default();
                    policy.find_preflight(asked.host, method, &path)
                }),
                outcome: Outcome::Preflight,
            },
            Decision::Refuse(refusal) => Verdict {
                rule: refusal.rule,
                outcome: Outcome::Refuse(refusal.rejection, refusal.missing),
            },
            // Nothing is left to wait for: keys and list were waited for, the issuer has spoken.
            Decision::Wait(_) => Verdict {
                rule: found,
                outcome: Outcome::Refuse(Rejection::KeysUnavailable, None),
            },
        }
    }
}
