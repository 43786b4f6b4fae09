//! The gate's decision: every step, every wait, every refusal.

use std::sync::Arc;

use edgekeep_shared::{
    control::{ControlKeys, DocumentType, Header},
    error::Rejection::{self, *},
    gate::{
        Decision, IDENTITY_HEADERS, Introspection, Knowledge, Need, Progress, Request,
        RevocationSources,
        cache::{TokenHash, VerifiedTokens},
        decide, identity_headers,
        keys::{EMPTY_COOLDOWN, HARD_AGE, HeldKeys, UNKNOWN_KEY_COOLDOWN},
        list::{FRESH, HeldList, NotTaken, USABLE},
        refresh::Millis,
        token_of,
    },
    headers::is_identity_header,
    jwk::{Jwk, JwkSet},
    policy::Policy,
    revocation::{Entry, HashKey, RevocationList, encode},
    time::UnixTime,
    verifier::Verifier,
};
use serde_json::json;

use crate::support::{AUDIENCE, ISSUER, Key, NOW, claims, claims_with, set, verifier};

const NOW_MS: Millis = NOW.0 * 1_000;

const POLICY: &str = r#"
[[route]]
match = "/public/**"
access = "public"

[[route]]
match = "/api/reports/**"
methods = ["POST"]
scopes = ["report:write", "report:sign"]

[[route]]
match = "/api/payments/**"
kyc_level = 3
revocation = "strict"

[[route]]
match = "/api/strict/**"
revocation = "strict"

[[route]]
match = "/api/unchecked/**"
revocation = "off"

[[route]]
match = "/api/short/**"
max_stale = 30

[[route]]
match = "/api/lenient/**"
max_stale = 30
on_stale = "allow"
allow_stale_for = 60

[[route]]
match = "/api/watched/**"
roles = ["nobody"]
report_only = true

[[route]]
match = "/api/cookie/**"
token_from = { cookie = "session" }
allowed_origins = ["https://app.example"]

[[route]]
match = "/api/browser/**"
cors = { origins = ["https://app.example"], methods = ["PUT"], headers = ["content-type"] }

[[route]]
match = "/api/live/**"
token_from = "websocket"
allowed_origins = ["https://app.example"]

[[route]]
match = "/api/ledger/**"
audience = ["ledger", "books"]

[[route]]
match = "/api/**"
"#;

fn list(key: &Key, sequence: u64, issued_at: UnixTime, entries: &[Entry<'_>]) -> RevocationList {
    let header = Header {
        document_type: DocumentType::Revocations,
        issuer: ISSUER.into(),
        key_id: key.id(),
        sequence,
        issued_at,
    };
    let mut document = header.signing_input(&encode(&HashKey([1; 16]), entries.iter().copied()));
    let signature = key.sign(&document);
    document.extend_from_slice(&signature);
    let keys = ControlKeys::new(vec![Jwk::new(key.id(), key.verifying())]).unwrap();
    RevocationList::open(&document, &keys, ISSUER).unwrap()
}

/// A gate with one key and an empty, fresh list.
struct Gate {
    verifier: Verifier,
    policy: Policy,
    keys: HeldKeys,
    list: HeldList,
    sources: RevocationSources,
    verified: VerifiedTokens,
    progress: Progress,
    now: Millis,
}

impl Gate {
    fn new() -> Self {
        let mut gate = Self {
            verifier: verifier(),
            policy: Policy::parse(POLICY).unwrap(),
            keys: HeldKeys::default(),
            list: HeldList::default(),
            sources: RevocationSources::Configured,
            verified: VerifiedTokens::new(100),
            progress: Progress::default(),
            now: NOW_MS,
        };
        gate.give_keys(&[&Key::es256(1)]);
        gate.give_list(1, NOW, &[]);
        gate
    }

    fn give_keys(&mut self, keys: &[&Key]) {
        let attempt = self.keys.begin(self.now, self.now + 1_000).unwrap();
        self.keys.offer(set(keys), self.now, None);
        self.keys.finish(attempt, self.now, true);
    }

    fn give_list(&mut self, sequence: u64, issued_at: UnixTime, entries: &[Entry<'_>]) {
        let attempt = self.list.begin(self.now, self.now + 1_000).unwrap();
        let list = list(&Key::eddsa(3), sequence, issued_at, entries);
        let taken = self.list.offer(list, self.now).is_ok();
        self.list.finish(attempt, self.now, taken);
    }

    fn decide<'r>(&mut self, request: &Request<'r>) -> Decision<'_, 'r> {
        let mut knowledge = Knowledge {
            verifier: &self.verifier,
            keys: &self.keys,
            foreign: &[],
            list: &self.list,
            sources: self.sources,
            verified: &mut self.verified,
        };
        // Every decision is another request's, but for what a test has set.
        let mut progress = self.progress.clone();
        decide(
            request,
            &self.policy,
            &mut knowledge,
            &mut progress,
            self.now,
        )
    }

    /// What comes of a GET of `path` with this token, in one word.
    fn get(&mut self, path: &str, token: &str) -> Outcome {
        let authorization = format!("Bearer {token}");
        self.outcome(&Request {
            method: "GET",
            path,
            authorization: Some(&authorization),
            ..Request::default()
        })
    }

    fn outcome(&mut self, request: &Request<'_>) -> Outcome {
        match self.decide(request) {
            Decision::Forward(forward) => match forward.reported {
                Some(rejection) => Outcome::Reported(rejection),
                None if forward.list.check => Outcome::ForwardAndCheck,
                None => Outcome::Forward {
                    cached: forward.cached,
                },
            },
            Decision::Preflight(_) => Outcome::Preflight,
            Decision::Refuse(refusal) => Outcome::Refuse(refusal.rejection),
            Decision::Wait(need) => Outcome::Wait(need),
        }
    }
}

#[derive(Debug, PartialEq)]
enum Outcome {
    Forward { cached: bool },
    ForwardAndCheck,
    Reported(Rejection),
    Preflight,
    Refuse(Rejection),
    Wait(Need),
}

fn token() -> String {
    Key::es256(1).issue(&claims())
}

const FIRST: Outcome = Outcome::Forward { cached: false };
const AGAIN: Outcome = Outcome::Forward { cached: true };

#[test]
fn an_owner_is_whoever_the_named_parameter_says() {
    let mut gate = Gate::new();
    gate.policy = Policy::parse(
        "[[route]]\nmatch = \"/groups/{group}/users/{id}\"\nowner = { id = \"sub\" }\n",
    )
    .unwrap();
    for (path, expected) in [
        ("/groups/a/users/user-1", FIRST),
        ("/groups/user-1/users/user-1", AGAIN),
        (
            "/groups/user-1/users/a",
            Outcome::Refuse(InsufficientPermission),
        ),
        (
            "/groups/a/users/user-2",
            Outcome::Refuse(InsufficientPermission),
        ),
    ] {
        assert_eq!(gate.get(path, &token()), expected, "{path}");
    }
}

#[test]
fn whoever_is_refused_for_the_age_of_a_list_waits_for_a_younger_one() {
    let mut gate = Gate::new();
    gate.give_list(2, NOW.minus(901), &[]);
    let refused = || Outcome::Refuse(RevocationUnavailable);
    // It was asked for just now.
    assert_eq!(gate.get("/api/me", &token()), refused());
    gate.now += FRESH;
    assert_eq!(gate.get("/api/me", &token()), refused());
    gate.now += 1;
    assert_eq!(gate.get("/api/me", &token()), Outcome::Wait(Need::List));
    gate.progress.waited_for_list = true;
    assert_eq!(gate.get("/api/me", &token()), refused());
}

#[test]
fn the_issuer_is_asked_about_the_token_that_is_judged() {
    let policy = Policy::parse(POLICY).unwrap();
    let request = |path| Request {
        method: "GET",
        path,
        authorization: Some("Bearer in-the-header"),
        cookie: Some("other=1; session=in-the-cookie"),
        origin: Some("https://app.example"),
        upgrade: true,
        websocket_protocols: Some("chat, edgekeep.bearer.in-the-handshake"),
        ..Request::default()
    };
    for (path, expected) in [
        ("/api/x", Some("in-the-header")),
        ("/api/cookie/x", Some("in-the-cookie")),
        ("/public/x", None),
        ("/elsewhere", None),
        ("/api/%00", None),
    ] {
        assert_eq!(token_of(&request(path), &policy), expected, "{path}");
    }
    let live = Request {
        authorization: None,
        cookie: None,
        ..request("/api/live/x")
    };
    assert_eq!(token_of(&live, &policy), Some("in-the-handshake"));
    let foreign = Request {
        origin: Some("https://x.example"),
        ..live
    };
    assert_eq!(token_of(&foreign, &policy), None);
    let none = Request {
        authorization: None,
        ..request("/api/x")
    };
    assert_eq!(token_of(&none, &policy), None);
}

#[test]
fn forwards_what_may_pass_and_refuses_the_rest() {
    let mut gate = Gate::new();
    let bare = |method, path| Request {
        method,
        path,
        ..Request::default()
    };
    for (request, expected) in [
        (bare("GET", "/public/x"), FIRST),
        (bare("GET", "/elsewhere"), Outcome::Refuse(RouteUnknown)),
        (
            bare("GET", "/public/../api/x"),
            Outcome::Refuse(PathInvalid),
        ),
        (
            bare("GET", "/public/%2e%2e/api/x"),
            Outcome::Refuse(PathInvalid),
        ),
        (bare("GET", "relative"), Outcome::Refuse(PathInvalid)),
        (bare("GET", ""), Outcome::Refuse(PathInvalid)),
        (bare("GET", "/api/x"), Outcome::Refuse(TokenMissing)),
        (
            Request {
                authorization: Some("Basic eDp5"),
                ..bare("GET", "/api/x")
            },
            Outcome::Refuse(TokenMissing),
        ),
        (
            Request {
                authorization: Some("Bearer x"),
                ..bare("GET", "/api/x")
            },
            Outcome::Refuse(TokenMalformed),
        ),
    ] {
        assert_eq!(gate.outcome(&request), expected, "{request:?}");
    }
    assert_eq!(gate.get("/api/x", &token()), FIRST);
    let two = format!("Bearer {0}, Bearer {0}", token());
    let request = Request {
        authorization: Some(&two),
        ..bare("GET", "/api/x")
    };
    assert_eq!(gate.outcome(&request), Outcome::Refuse(TokenMalformed));
    let request = Request {
        authorization: None,
        cookie: Some("session=x"),
        ..bare("GET", "/api/x")
    };
    assert_eq!(
        gate.outcome(&request),
        Outcome::Refuse(TokenMissing),
        "a cookie is no header"
    );
}

#[test]
fn says_what_was_missing() {
    let mut gate = Gate::new();
    let authorization = format!("Bearer {}", token());
    let request = Request {
        method: "POST",
        path: "/api/reports/1",
        authorization: Some(&authorization),
        ..Request::default()
    };
    let Decision::Refuse(refusal) = gate.decide(&request) else {
        panic!("refused")
    };
    assert_eq!(
        (refusal.rejection, refusal.status()),
        (InsufficientScope, 403)
    );
    let challenge = refusal.challenge().unwrap();
    assert!(
        challenge.contains(r#"error="insufficient_scope""#),
        "{challenge}"
    );
    assert!(
        challenge.contains(r#"scope="report:write report:sign""#),
        "{challenge}"
    );
    let problem: serde_json::Value = serde_json::from_str(&refusal.problem("a\"b")).unwrap();
    assert_eq!(problem["code"], "insufficient_scope");
    assert_eq!(problem["status"], 403);
    assert_eq!(problem["instance"], "a\"b");
    assert_eq!(
        problem["required"]["scopes"],
        json!(["report:write", "report:sign"])
    );
    assert!(refusal.retry_after().is_none());

    assert_eq!(
        refusal.rule.map(|rule| rule.pattern().as_str()),
        Some("/api/reports/**")
    );
}

#[test]
fn spares_the_signature_and_nothing_else() {
    let mut gate = Gate::new();
    assert_eq!(gate.get("/api/x", &token()), FIRST);
    assert_eq!(gate.get("/api/x", &token()), AGAIN);
    // Revoked since.
    gate.give_list(2, NOW, &[Entry::Token("token-1")]);
    assert_eq!(gate.get("/api/x", &token()), Outcome::Refuse(TokenRevoked));
    gate.give_list(3, NOW, &[]);
    assert_eq!(gate.get("/api/x", &token()), AGAIN);
    // Expired since.
    gate.now += 839_999;
    gate.give_list(4, NOW.plus(839), &[]);
    assert_eq!(gate.get("/api/x", &token()), AGAIN);
    gate.now += 1;
    assert_eq!(gate.get("/api/x", &token()), Outcome::Refuse(TokenExpired));
    // Its key gone since, even if nobody clears the cache.
    let mut gate = Gate::new();
    assert_eq!(gate.get("/api/x", &token()), FIRST);
    gate.now += UNKNOWN_KEY_COOLDOWN;
    gate.give_keys(&[&Key::es256(2)]);
    gate.give_list(2, NOW, &[]);
    gate.progress.waited_for_keys = true;
    assert_eq!(gate.get("/api/x", &token()), Outcome::Refuse(KeyUnknown));
}

#[test]
fn a_limit_counts_a_subject_at_its_issuer() {
    let policy = "[[route]]\nmatch = \"/a\"\nrate_limit = { binding = \"A\", by = \"subject\" }";
    let policy = Policy::parse(policy).unwrap();
    let limit = policy.rules()[0].rate_limit().unwrap();
    let key = |issuer: &str, subject: &str| {
        let mut claims = claims_with("iss", Some(json!(issuer)));
        claims["sub"] = json!(subject);
        let token = Key::es256(1).issue(&claims);
        let verifier = Verifier::new(issuer, "api");
        let verdict = verifier.verify(token.as_bytes(), &set(&[&Key::es256(1)]), NOW);
        limit.key(Some(verdict.unwrap().claims()), None).unwrap()
    };
    assert_eq!(key("https://a", "b"), "https://a\nb");
    assert_ne!(key("https://a", "b\nc"), key("https://a", "b"));
    assert_ne!(key("https://a", "b"), key("https://b", "b"));
}

#[test]
fn takes_no_token_for_another_that_ends_alike() {
    let mut gate = Gate::new();
    let good = token();
    let (_, signature) = good.rsplit_once('.').unwrap();
    let other = Key::es256(1).issue(&claims_with("sub", Some(json!("user-2"))));
    let (signed, _) = other.rsplit_once('.').unwrap();
    let forged = format!("{signed}.{signature}");
    for (token, expected) in [
        (&good, FIRST),
        (&good, AGAIN),
        (&forged, Outcome::Refuse(SignatureInvalid)),
        (&good, AGAIN),
    ] {
        assert_eq!(gate.get("/api/x", token), expected);
    }
}

#[test]
fn keeps_nothing_that_was_refused() {
    let mut gate = Gate::new();
    let forged = Key::es256(2).token(&Key::es256(1).header().to_string(), &claims().to_string());
    assert_eq!(
        gate.get("/api/x", &forged),
        Outcome::Refuse(SignatureInvalid)
    );
    assert!(gate.verified.is_empty());
}

#[test]
fn asks_once_for_an_unknown_key_and_then_cools_down() {
    let mut gate = Gate::new();
    gate.now += UNKNOWN_KEY_COOLDOWN;
    gate.give_list(2, NOW, &[]);
    let unknown = Key::es256(9).issue(&claims());
    assert_eq!(gate.get("/api/x", &unknown), Outcome::Wait(Need::Keys));
    let attempt = gate.keys.begin(gate.now, gate.now + 1_000).unwrap();
    let second = gate.keys.begin(gate.now, gate.now + 1_000);
    assert_eq!(second, None, "one at a time");
    gate.keys.finish(attempt, gate.now, true);
    assert_eq!(gate.get("/api/x", &unknown), Outcome::Refuse(KeyUnknown));
    for (after, may_begin) in [
        (UNKNOWN_KEY_COOLDOWN - 1, false),
        (UNKNOWN_KEY_COOLDOWN, true),
    ] {
        let begun = gate.keys.begin(gate.now + after, gate.now + 9_000);
        assert_eq!(begun.is_some(), may_begin, "{after}");
    }
}

#[test]
fn never_asks_for_keys_because_of_what_no_key_could_mend() {
    let mut gate = Gate::new();
    gate.now += UNKNOWN_KEY_COOLDOWN;
    let mut header = Key::es256(9).header();
    header["typ"] = json!("JWT");
    let token = Key::es256(9).token(&header.to_string(), &claims().to_string());
    assert_eq!(gate.get("/api/x", &token), Outcome::Refuse(WrongType));
    assert_eq!(gate.get("/api/x", "a.b.c"), Outcome::Refuse(TokenMalformed));
}

#[test]
fn an_empty_set_replaces_nothing_and_an_old_one_does_not_count() {
    let mut gate = Gate::new();
    assert!(!gate.keys.offer(JwkSet::default(), gate.now + 1, None));
    assert_eq!(gate.get("/api/x", &token()), FIRST);

    assert!(gate.keys.usable(NOW_MS + HARD_AGE - 1).is_some());
    assert!(gate.keys.usable(NOW_MS + HARD_AGE).is_none());
    assert!(
        gate.keys.usable(NOW_MS - 60_000).is_some(),
        "clocks differ a little"
    );
    assert!(
        gate.keys.usable(NOW_MS - 60_001).is_none(),
        "a clock that was set back"
    );

    let mut empty = Gate::new();
    empty.keys = HeldKeys::default();
    assert_eq!(empty.get("/api/x", &token()), Outcome::Wait(Need::Keys));
    let attempt = empty.keys.begin(empty.now, empty.now + 1_000).unwrap();
    empty.keys.finish(attempt, empty.now, false);
    assert_eq!(
        empty.get("/api/x", &token()),
        Outcome::Refuse(KeysUnavailable)
    );
    empty.now += EMPTY_COOLDOWN;
    empty.progress.waited_for_list = true;
    assert_eq!(empty.get("/api/x", &token()), Outcome::Wait(Need::Keys));
    empty.progress.waited_for_keys = true;
    assert_eq!(
        empty.get("/api/x", &token()),
        Outcome::Refuse(KeysUnavailable)
    );
}

#[test]
fn takes_a_copy_of_the_keys_only_if_it_is_newer_and_not_from_the_future() {
    let mut gate = Gate::new();
    let copy = || set(&[&Key::es256(2)]);
    let now = gate.now + 100_000;
    for (issued_at, taken) in [
        (NOW_MS - 1, false),
        (now + 60_001, false),
        (now - HARD_AGE, false),
        (now + 60_000, true),
    ] {
        assert_eq!(
            gate.keys.offer_copy(copy(), issued_at, now).is_ok(),
            taken,
            "{issued_at}"
        );
    }
    assert_eq!(
        gate.keys.current_at(),
        now,
        "never known to be current in the future"
    );
    assert!(
        gate.keys
            .offer_copy(JwkSet::default(), now + 1, now)
            .is_err()
    );
    // With nothing that counts, an older one is better than none.
    let mut cold = HeldKeys::default();
    assert_eq!(cold.offer_copy(copy(), now - HARD_AGE + 1, now), Ok(true));
}

#[test]
fn a_source_that_allows_no_age_is_not_asked_without_end() {
    let mut gate = Gate::new();
    gate.now += UNKNOWN_KEY_COOLDOWN;
    let attempt = gate.keys.begin(gate.now, gate.now + 1_000).unwrap();
    gate.keys.offer(set(&[&Key::es256(1)]), gate.now, Some(0));
    gate.keys.finish(attempt, gate.now, true);
    let mut begin = |after| gate.keys.begin(gate.now + after, gate.now + 9_000);
    assert_eq!(begin(999), None);
    let attempt = begin(1_000).unwrap();
    gate.keys
        .offer(set(&[&Key::es256(1)]), gate.now, Some(Millis::MAX));
    gate.keys.finish(attempt, gate.now, true);
    assert!(gate.keys.is_due(gate.now + 3_600_000), "an hour at most");
}

#[test]
fn checks_the_list_as_often_as_its_age_asks() {
    for (since, expected) in [
        (0, FIRST),
        (FRESH, FIRST),
        (FRESH + 1, Outcome::ForwardAndCheck),
        (USABLE, Outcome::ForwardAndCheck),
        (USABLE + 1, Outcome::Wait(Need::List)),
    ] {
        let mut gate = Gate::new();
        gate.now += since;
        assert_eq!(
            gate.get("/api/x", &token()),
            expected,
            "{since} ms after the check"
        );
    }
    // Once waited for, the list's own age decides.
    let mut gate = Gate::new();
    gate.now += USABLE + 1;
    gate.progress.waited_for_list = true;
    assert_eq!(gate.get("/api/x", &token()), Outcome::ForwardAndCheck);
}

#[test]
fn a_list_counts_for_as_long_as_the_rule_says() {
    let age = |path: &str, seconds: i64| {
        let mut gate = Gate::new();
        gate.now += seconds * 1_000;
        gate.progress.waited_for_list = true;
        let claims = claims_with("exp", Some(json!(NOW.0 + 5_000)));
        match gate.get(path, &Key::es256(1).issue(&claims)) {
            FIRST | Outcome::ForwardAndCheck => true,
            Outcome::Refuse(RevocationUnavailable) => false,
            other => panic!("{other:?}"),
        }
    };
    for (path, seconds, passes) in [
        ("/api/x", 900, true),
        ("/api/x", 901, false),
        ("/api/short/x", 30, true),
        ("/api/short/x", 31, false),
        ("/api/lenient/x", 90, true),
        ("/api/lenient/x", 91, false),
        ("/api/unchecked/x", 4_000, true),
        ("/public/x", 100_000, true),
    ] {
        assert_eq!(
            age(path, seconds),
            passes,
            "{path} with a list of {seconds} s"
        );
    }
}

#[test]
fn what_an_old_list_revokes_stays_revoked() {
    let mut gate = Gate::new();
    gate.give_list(2, NOW, &[Entry::Session("session-1")]);
    gate.now += 800_000;
    gate.progress.waited_for_list = true;
    assert_eq!(
        gate.get("/api/short/x", &token()),
        Outcome::Refuse(TokenRevoked)
    );
}

#[test]
fn takes_no_list_that_is_older_or_from_the_future() {
    let mut gate = Gate::new();
    gate.give_list(5, NOW, &[Entry::Token("token-1")]);
    let control = Key::eddsa(3);
    let replayed = list(&control, 4, NOW, &[]);
    assert_eq!(gate.list.offer(replayed, gate.now), Err(NotTaken::Older));
    let future = list(&control, 6, NOW.plus(61), &[]);
    assert_eq!(gate.list.offer(future, gate.now), Err(NotTaken::Future));
    assert_eq!(gate.get("/api/x", &token()), Outcome::Refuse(TokenRevoked));
    let ahead = list(&control, 6, NOW.plus(60), &[]);
    assert_eq!(
        gate.list.offer(ahead, gate.now),
        Ok(()),
        "clocks differ a little"
    );
    assert_eq!(gate.get("/api/x", &token()), AGAIN);
}

#[test]
fn a_failed_check_is_not_repeated_at_once_nor_waited_for() {
    let mut gate = Gate::new();
    gate.now += USABLE + 1;
    let attempt = gate.list.begin(gate.now, gate.now + 1_000).unwrap();
    assert_eq!(
        gate.get("/api/x", &token()),
        Outcome::Wait(Need::List),
        "somebody is asking"
    );
    gate.list.finish(attempt, gate.now, false);
    assert_eq!(
        gate.get("/api/x", &token()),
        Outcome::ForwardAndCheck,
        "nobody can know more"
    );
    let mut begin = |after| gate.list.begin(gate.now + after, gate.now + 9_000);
    assert!(begin(1_999).is_none() && begin(2_000).is_some());
}

#[test]
fn without_any_word_on_revocation_nothing_protected_passes() {
    let mut gate = Gate::new();
    gate.sources = RevocationSources::Unconfigured;
    assert_eq!(
        gate.get("/api/x", &token()),
        Outcome::Refuse(RevocationUnavailable)
    );
    assert_eq!(
        gate.get("/api/unchecked/x", &token()),
        Outcome::Refuse(RevocationUnavailable)
    );
    assert_eq!(gate.get("/public/x", &token()), FIRST);
    gate.sources = RevocationSources::None;
    gate.list = HeldList::default();
    assert_eq!(gate.get("/api/x", &token()), FIRST);
}

#[test]
fn without_a_list_nothing_that_needs_one_passes() {
    let mut gate = Gate::new();
    gate.list = HeldList::default();
    assert_eq!(gate.get("/api/x", &token()), Outcome::Wait(Need::List));
    gate.progress.waited_for_list = true;
    assert_eq!(
        gate.get("/api/x", &token()),
        Outcome::Refuse(RevocationUnavailable)
    );
    assert_eq!(
        gate.get("/api/lenient/x", &token()),
        Outcome::Refuse(RevocationUnavailable)
    );
}

#[test]
fn strict_routes_take_only_the_issuer_s_word() {
    for (answer, expected) in [
        (None, Outcome::Wait(Need::Introspection)),
        (Some(Introspection::Active), FIRST),
        (Some(Introspection::Inactive), Outcome::Refuse(TokenRevoked)),
        (
            Some(Introspection::Unavailable),
            Outcome::Refuse(RevocationUnavailable),
        ),
    ] {
        let mut gate = Gate::new();
        gate.progress.introspection = answer;
        assert_eq!(gate.get("/api/strict/x", &token()), expected, "{answer:?}");
    }
    // Nobody is asked about a token that is refused anyway.
    assert_eq!(
        Gate::new().get("/api/strict/x", "a.b.c"),
        Outcome::Refuse(TokenMalformed)
    );
    let mut gate = Gate::new();
    gate.progress.introspection = Some(Introspection::Active);
    assert_eq!(
        gate.get("/api/payments/x", &token()),
        Outcome::Refuse(KycRequired)
    );
}

#[test]
fn a_rule_may_want_more_of_the_audience_than_the_gate() {
    let mut gate = Gate::new();
    let for_these = |audience: &serde_json::Value| {
        let claims = claims_with("aud", Some(audience.clone()));
        Key::es256(1).issue(&claims)
    };
    for (audience, expected) in [
        (json!("api"), Outcome::Refuse(AudienceMismatch)),
        (json!(["api", "ledgers"]), Outcome::Refuse(AudienceMismatch)),
        // The gate's own is wanted all the same.
        (json!("ledger"), Outcome::Refuse(AudienceMismatch)),
        (json!(["api", "ledger"]), FIRST),
        (json!(["books", "api"]), FIRST),
    ] {
        let token = for_these(&audience);
        assert_eq!(gate.get("/api/ledger/x", &token), expected, "{audience}");
    }
    // One that counts for another rule is judged by this one again.
    assert_eq!(gate.get("/api/x", &token()), AGAIN);
    assert_eq!(
        gate.get("/api/ledger/x", &token()),
        Outcome::Refuse(AudienceMismatch)
    );
    // Nobody is told of a token that was refused for it: revoked or not.
    gate.give_list(2, NOW, &[Entry::Token("token-1")]);
    assert_eq!(
        gate.get("/api/ledger/x", &token()),
        Outcome::Refuse(AudienceMismatch)
    );
}

#[test]
fn report_only_rules_forward_and_tell() {
    let mut gate = Gate::new();
    assert_eq!(
        gate.get("/api/watched/x", &token()),
        Outcome::Reported(InsufficientRole)
    );
    assert_eq!(
        gate.get("/api/watched/x", "x"),
        Outcome::Reported(TokenMalformed)
    );
    let authorization = format!("Bearer {}", token());
    let request = Request {
        method: "GET",
        path: "/api/watched/x",
        authorization: Some(&authorization),
        ..Request::default()
    };
    let known = |gate: &mut Gate| match gate.decide(&request) {
        Decision::Forward(forward) => forward.token.is_some(),
        other => panic!("{other:?}"),
    };
    assert!(known(&mut gate), "it lacks a role, and is who it says");
    gate.give_list(2, NOW, &[Entry::Token("token-1")]);
    assert_eq!(
        gate.get("/api/watched/x", &token()),
        Outcome::Reported(TokenRevoked)
    );
    assert!(!known(&mut gate), "a revoked token vouches for nobody");
}

#[test]
fn takes_a_cookie_only_where_the_rule_says_and_no_other_site_can_send_it() {
    let mut gate = Gate::new();
    let cookie = format!("a=b; session={}", token());
    let request = |method, origin| Request {
        method,
        path: "/api/cookie/x",
        cookie: Some(&cookie),
        origin,
        ..Request::default()
    };
    assert_eq!(gate.outcome(&request("GET", None)), FIRST);
    assert_eq!(
        gate.outcome(&request("POST", None)),
        Outcome::Refuse(TokenMissing)
    );
    let evil = Some("https://evil.example");
    assert_eq!(
        gate.outcome(&request("POST", evil)),
        Outcome::Refuse(TokenMissing)
    );
    assert_eq!(
        gate.outcome(&request("POST", Some("https://app.example"))),
        AGAIN
    );
    assert_eq!(
        gate.get("/api/cookie/x", &token()),
        Outcome::Refuse(TokenMissing)
    );
}

#[test]
fn no_other_site_opens_a_websocket_with_a_cookie() {
    let cookie = format!("session={}", token());
    let handshake = |origin| Request {
        method: "GET",
        path: "/api/cookie/x",
        cookie: Some(&cookie),
        upgrade: true,
        origin,
        ..Request::default()
    };
    let mut gate = Gate::new();
    for origin in [None, Some("https://evil.example"), Some("null")] {
        assert_eq!(
            gate.outcome(&handshake(origin)),
            Outcome::Refuse(TokenMissing),
            "{origin:?}"
        );
    }
    assert_eq!(gate.outcome(&handshake(Some("https://app.example"))), FIRST);
}

#[test]
fn takes_a_subprotocol_only_where_the_rule_says_and_from_the_pages_it_names() {
    let protocols = format!("chat, edgekeep.bearer.{}", token());
    let bearer = format!("Bearer {}", token());
    let handshake = Request {
        method: "GET",
        path: "/api/live/x",
        upgrade: true,
        websocket_protocols: Some(&protocols),
        origin: Some("https://app.example"),
        ..Request::default()
    };
    let mut gate = Gate::new();
    assert_eq!(gate.outcome(&handshake), FIRST);
    let missing = Outcome::Refuse(TokenMissing);
    for origin in [None, Some("https://evil.example"), Some("null")] {
        let request = Request {
            origin,
            ..handshake
        };
        assert_eq!(gate.outcome(&request), missing, "{origin:?}");
    }
    for request in [
        // No handshake, or without a token in it; another place is not looked at.
        Request {
            websocket_protocols: None,
            ..handshake
        },
        Request {
            websocket_protocols: Some("chat"),
            ..handshake
        },
        Request {
            websocket_protocols: None,
            authorization: Some(&bearer),
            ..handshake
        },
        // A rule that wants the token elsewhere.
        Request {
            path: "/api/x",
            ..handshake
        },
        Request {
            path: "/api/cookie/x",
            ..handshake
        },
    ] {
        assert_eq!(gate.outcome(&request), missing, "{request:?}");
    }
    let twice = format!("{protocols}, {protocols}");
    let request = Request {
        websocket_protocols: Some(&twice),
        ..handshake
    };
    assert_eq!(gate.outcome(&request), Outcome::Refuse(TokenMalformed));
}

#[test]
fn tells_when_a_list_counts_only_by_the_rule_s_leave() {
    let authorization = format!("Bearer {}", token());
    let request = Request {
        method: "GET",
        path: "/api/lenient/x",
        authorization: Some(&authorization),
        ..Request::default()
    };
    for (seconds, expected) in [(30, false), (31, true), (90, true)] {
        let mut gate = Gate::new();
        gate.now += seconds * 1_000;
        gate.progress.waited_for_list = true;
        let Decision::Forward(forward) = gate.decide(&request) else {
            panic!("forwarded")
        };
        assert_eq!(forward.list.stale, expected, "{seconds}");
    }
}

#[test]
fn answers_preflights_that_the_rule_allows_and_no_others() {
    let mut gate = Gate::new();
    let preflight = Request {
        method: "OPTIONS",
        path: "/api/browser/x",
        origin: Some("https://app.example"),
        preflight_method: Some("PUT"),
        preflight_headers: Some("Content-Type"),
        ..Request::default()
    };
    assert_eq!(gate.outcome(&preflight), Outcome::Preflight);
    for refused in [
        Request {
            origin: Some("https://evil.example"),
            ..preflight
        },
        Request {
            origin: None,
            ..preflight
        },
        Request {
            preflight_method: Some("DELETE"),
            ..preflight
        },
        Request {
            preflight_method: None,
            ..preflight
        },
        Request {
            preflight_headers: Some("x-evil"),
            ..preflight
        },
        Request {
            path: "/api/x",
            ..preflight
        },
    ] {
        assert_eq!(
            gate.outcome(&refused),
            Outcome::Refuse(TokenMissing),
            "{refused:?}"
        );
    }
    let get = Request {
        method: "GET",
        ..preflight
    };
    assert_eq!(gate.outcome(&get), Outcome::Refuse(TokenMissing));
}

#[test]
fn gives_the_upstream_what_the_token_says_in_safe_spelling() {
    let key = Key::es256(1);
    let mut claims = claims_with("sub", Some(json!("a b,c\r\nX-User-Roles: admin")));
    claims["roles"] = json!(["a,b", "ü"]);
    claims["permissions"] = json!([]);
    let token = verifier()
        .verify(key.issue(&claims).as_bytes(), &set(&[&key]), NOW)
        .unwrap();
    let headers: Vec<(&str, String)> = identity_headers(&token).collect();
    let value = |name| {
        headers
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, value)| value.as_str())
    };
    assert_eq!(
        value("X-User-ID"),
        Some("a%20b%2Cc%0D%0AX-User-Roles:%20admin")
    );
    assert_eq!(value("X-User-Roles"), Some("a%2Cb,%C3%BC"));
    assert_eq!(value("X-User-Permissions"), None);
    assert_eq!(value("X-KYC-Level"), Some("2"));
    assert_eq!(value("X-Auth-Methods"), Some("pwd,otp"));
    assert_eq!(value("X-Session-ID"), Some("session-1"));
    assert_eq!(value("X-Customer-ID"), Some("customer-1"));
    // There is one issuer: everybody knows whose subject it is.
    assert_eq!(value("X-User-Issuer"), None);
}

#[test]
fn every_header_that_the_gate_adds_is_one_that_no_client_can_send() {
    let key = Key::es256(1);
    let token = verifier()
        .among_several()
        .verify(key.issue(&claims()).as_bytes(), &set(&[&key]), NOW)
        .unwrap();
    let names: Vec<&str> = identity_headers(&token).map(|(name, _)| name).collect();
    assert_eq!(names, IDENTITY_HEADERS);
    for name in names {
        assert!(is_identity_header(name.as_bytes()), "{name}");
    }
}

#[test]
fn the_cache_is_bounded_and_never_mixes_people_up() {
    let key = Key::eddsa(2);
    let keys = set(&[&key]);
    let mut cache = VerifiedTokens::new(10);
    let tokens: Vec<String> = (0..100)
        .map(|i| key.issue(&claims_with("sub", Some(json!(format!("user-{i}"))))))
        .collect();
    let hot = &tokens[0];
    for (i, text) in tokens.iter().enumerate() {
        let token = verifier().verify(text.as_bytes(), &keys, NOW).unwrap();
        cache.insert(TokenHash::of(text.as_bytes()), Arc::new(token));
        assert!(cache.len() <= 20);
        assert!(
            cache.find(&TokenHash::of(hot.as_bytes())).is_some(),
            "in use at {i}"
        );
    }
    let mut found = 0;
    for (i, text) in tokens.iter().enumerate() {
        if let Some(token) = cache.find(&TokenHash::of(text.as_bytes())) {
            assert_eq!(token.claims().subject, format!("user-{i}"));
            found += 1;
        }
    }
    assert!(found >= 10, "{found}");
    cache.clear();
    assert!(cache.is_empty());
}

#[test]
fn the_cache_is_bounded_in_bytes_however_short_the_texts_of_a_token_are() {
    const CAPACITY: usize = 100;
    let key = Key::eddsa(2);
    let keys = set(&[&key]);
    for (name, value) in [
        ("permissions", json!(vec!["a"; 1_300])),
        ("aud", json!([vec![AUDIENCE], vec![""; 1_700]].concat())),
        ("scope", json!("a ".repeat(2_600))),
        ("roles", json!(["a".repeat(5_000)])),
        ("sub", json!("user-1")),
    ] {
        let mut cache = VerifiedTokens::new(CAPACITY);
        for number in 0..250 {
            let mut claims = claims_with(name, Some(value.clone()));
            claims["jti"] = json!(format!("token-{number}"));
            let text = key.issue(&claims);
            let token = verifier().verify(text.as_bytes(), &keys, NOW).unwrap();
            let (hash, token) = (TokenHash::of(text.as_bytes()), Arc::new(token));
            cache.insert(hash, Arc::clone(&token));
            cache.remember(text.as_bytes(), &token);
            let texts = CAPACITY * text.len();
            assert!(cache.memory() <= 2 * CAPACITY * 2_048 + texts, "{name}");
            assert!(cache.len() <= 2 * CAPACITY, "{name}");
            assert!(cache.recall(text.as_bytes()).is_some(), "{name}");
            assert!(cache.find(&hash).is_some(), "{name}");
        }
        // Ordinary ones are bounded by their number.
        assert_eq!(
            cache.len() > CAPACITY,
            name == "sub",
            "{name}: {}",
            cache.len()
        );
        cache.forget(ISSUER);
        assert_eq!((cache.len(), cache.memory()), (0, 0), "{name}");
    }
    // One that is larger than all may be is held as well: it is asked for again at once.
    let text = key.issue(&claims_with("permissions", Some(json!(vec!["a"; 1_300]))));
    let token = verifier().verify(text.as_bytes(), &keys, NOW).unwrap();
    let mut cache = VerifiedTokens::new(1);
    cache.insert(TokenHash::of(text.as_bytes()), Arc::new(token));
    assert!(cache.find(&TokenHash::of(text.as_bytes())).is_some());
}

#[test]
fn what_was_verified_before_waiting_was_not_spared_by_the_cache() {
    let mut gate = Gate::new();
    gate.now += USABLE + 1;
    let authorization = format!("Bearer {}", token());
    let request = Request {
        method: "GET",
        path: "/api/me",
        authorization: Some(&authorization),
        ..Request::default()
    };
    let mut progress = Progress::default();
    for expected in [None, Some(false)] {
        let mut knowledge = Knowledge {
            verifier: &gate.verifier,
            keys: &gate.keys,
            foreign: &[],
            list: &gate.list,
            sources: gate.sources,
            verified: &mut gate.verified,
        };
        let decision = decide(
            &request,
            &gate.policy,
            &mut knowledge,
            &mut progress,
            gate.now,
        );
        let cached = match decision {
            Decision::Forward(forward) => Some(forward.cached),
            Decision::Wait(Need::List) => None,
            other => panic!("{other:?}"),
        };
        assert_eq!(cached, expected);
        progress.waited_for_list = true;
    }
    gate.give_list(2, NOW, &[]);
    assert_eq!(gate.get("/api/me", &token()), AGAIN);
}
