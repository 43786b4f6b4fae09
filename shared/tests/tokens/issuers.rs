//! Several issuers at one gate: each judged by its own keys, and taken only where a rule names it.

use edgekeep_shared::{
    control::{ControlKeys, DocumentType, Header},
    error::Rejection::{self, *},
    gate::{
        Decision, Introspection, Knowledge, Need, Progress, Request, RevocationSources,
        cache::VerifiedTokens,
        decide, identity_headers,
        issuers::ForeignIssuer,
        keys::{HARD_AGE, HeldKeys, UNKNOWN_KEY_COOLDOWN},
        list::HeldList,
        refresh::Millis,
    },
    jwk::{Algorithm, Jwk, JwkSet},
    policy::Policy,
    revocation::{Entry, HashKey, RevocationList, encode},
    verifier::Verifier,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{AUDIENCE, ISSUER, Key, NOW, claims_with, set, verifier};

const NOW_MS: Millis = NOW.0 * 1_000;

const A: &str = "https://a.example";
const B: &str = "https://b.example";

const POLICY: &str = r#"
[[route]]
match = "/own/**"

[[route]]
match = "/a/**"
issuer = "https://a.example"

[[route]]
match = "/all/**"
issuer = ["own", "https://a.example", "https://b.example"]

[[route]]
match = "/strict/**"
issuer = ["own", "https://a.example"]
revocation = "strict"

[[route]]
match = "/off/**"
issuer = ["own", "https://a.example"]
revocation = "off"

[[route]]
match = "/admin/**"
roles = ["admin"]

[[route]]
match = "/nobody/**"
issuer = "https://elsewhere.example"
"#;

/// Each has one key, and all keys are called by one name, as issuers may.
const KID: &str = "k1";

fn key_of(issuer: &str) -> Key {
    Key::es256(match issuer {
        ISSUER => 1,
        A => 2,
        B => 3,
        _ => 9,
    })
}

fn token(issuer: &str, key: &Key, changes: &[(&str, Value)]) -> String {
    let mut claims = claims_with("iss", Some(json!(issuer)));
    for (name, value) in changes {
        claims[name] = value.clone();
    }
    let header = json!({"alg": key.verifying().algorithm().name(), "typ": "at+jwt", "kid": KID});
    key.token(&header.to_string(), &claims.to_string())
}

fn held(key: &Key, now: Millis) -> HeldKeys {
    let mut keys = HeldKeys::default();
    let attempt = keys.begin(now, now + 1_000).unwrap();
    let set = JwkSet::new(vec![Jwk::new(KID, key.verifying())]).unwrap();
    keys.offer(set, now, None);
    keys.finish(attempt, now, true);
    keys
}

struct Gate {
    verifier: Verifier,
    keys: HeldKeys,
    foreign: Vec<ForeignIssuer>,
    list: HeldList,
    verified: VerifiedTokens,
    policy: Policy,
    progress: Progress,
    now: Millis,
}

impl Gate {
    fn new() -> Self {
        let foreign = |issuer: &str| ForeignIssuer {
            verifier: Verifier::new(issuer, AUDIENCE).among_several(),
            keys: held(&key_of(issuer), NOW_MS),
        };
        let mut gate = Self {
            verifier: verifier().among_several(),
            keys: held(&key_of(ISSUER), NOW_MS),
            foreign: vec![foreign(A), foreign(B)],
            list: HeldList::default(),
            verified: VerifiedTokens::new(100),
            policy: Policy::parse(POLICY).unwrap(),
            progress: Progress::default(),
            now: NOW_MS,
        };
        gate.give_list(1, &[]);
        gate
    }

    fn give_list(&mut self, sequence: u64, entries: &[Entry<'_>]) {
        let control = Key::eddsa(3);
        let header = Header {
            document_type: DocumentType::Revocations,
            issuer: ISSUER.into(),
            key_id: control.id(),
            sequence,
            issued_at: NOW,
        };
        let mut document =
            header.signing_input(&encode(&HashKey([1; 16]), entries.iter().copied()));
        let signature = control.sign(&document);
        document.extend_from_slice(&signature);
        let jwk = Jwk::new(control.id(), control.verifying());
        let keys = ControlKeys::new(vec![jwk]).unwrap();
        let list = RevocationList::open(&document, &keys, ISSUER).unwrap();
        let attempt = self.list.begin(self.now, self.now + 1_000).unwrap();
        self.list.offer(list, self.now).unwrap();
        self.list.finish(attempt, self.now, true);
    }

    /// What comes of a GET: the subject's issuer and whether the signature was spared, or why not.
    fn get(&mut self, path: &str, token: &str) -> Result<(String, bool), Outcome> {
        let authorization = format!("Bearer {token}");
        let request = Request {
            method: "GET",
            path,
            authorization: Some(&authorization),
            ..Request::default()
        };
        let mut knowledge = Knowledge {
            verifier: &self.verifier,
            keys: &self.keys,
            foreign: &self.foreign,
            list: &self.list,
            sources: RevocationSources::Configured,
            verified: &mut self.verified,
        };
        let mut progress = self.progress.clone();
        match decide(
            &request,
            &self.policy,
            &mut knowledge,
            &mut progress,
            self.now,
        ) {
            Decision::Forward(forward) => {
                let token = forward.token.unwrap();
                let named: Vec<String> = identity_headers(&token)
                    .filter(|(name, _)| *name == "X-User-Issuer")
                    .map(|(_, value)| value)
                    .collect();
                assert_eq!(named, [token.claims().issuer.clone()]);
                Ok((token.claims().issuer.clone(), forward.cached))
            }
            Decision::Refuse(refusal) => Err(Outcome::Refuse(refusal.rejection)),
            Decision::Wait(need) => Err(Outcome::Wait(need)),
            Decision::Preflight(_) => unreachable!("nobody asks for one"),
        }
    }

    fn refuses(&mut self, path: &str, token: &str) -> Rejection {
        match self.get(path, token) {
            Err(Outcome::Refuse(rejection)) => rejection,
            other => unreachable!("{path}: {other:?}"),
        }
    }
}

#[derive(Debug, PartialEq)]
enum Outcome {
    Refuse(Rejection),
    Wait(Need),
}

#[test]
fn each_is_judged_by_its_own_key_and_no_other() {
    for issuer in [ISSUER, A, B] {
        let mut gate = Gate::new();
        let good = token(issuer, &key_of(issuer), &[]);
        let accepted = |cached| Ok((issuer.to_owned(), cached));
        assert_eq!(gate.get("/all/x", &good), accepted(false));
        assert_eq!(gate.get("/all/x", &good), accepted(true));
        for signer in [ISSUER, A, B, "https://evil.example"] {
            if signer != issuer {
                let forged = token(issuer, &key_of(signer), &[]);
                assert_eq!(
                    gate.refuses("/all/x", &forged),
                    SignatureInvalid,
                    "of {issuer}, by {signer}"
                );
            }
        }
    }
}

#[test]
fn a_key_in_two_sets_speaks_for_whoever_the_token_names_and_its_rules() {
    // B publishes A's key as its own: that gives B none of A's word.
    let mut gate = Gate::new();
    gate.foreign[1].keys = held(&key_of(A), NOW_MS);
    gate.foreign[1].verifier = Verifier::new(B, "elsewhere").among_several();
    let of_a = token(A, &key_of(A), &[]);
    assert_eq!(gate.get("/a/x", &of_a), Ok((A.to_owned(), false)));
    let of_b = token(B, &key_of(A), &[("aud", json!("elsewhere"))]);
    assert_eq!(gate.refuses("/a/x", &of_b), IssuerMismatch);
    assert_eq!(gate.get("/all/x", &of_b), Ok((B.to_owned(), false)));
    // Nor is one's audience the other's.
    let b_for_a = token(B, &key_of(A), &[]);
    assert_eq!(gate.refuses("/all/x", &b_for_a), AudienceMismatch);
    let a_for_b = token(A, &key_of(A), &[("aud", json!("elsewhere"))]);
    assert_eq!(gate.refuses("/all/x", &a_for_b), AudienceMismatch);
    // B's own key is in its set no more.
    let of_b = token(B, &key_of(B), &[]);
    assert_eq!(gate.refuses("/all/x", &of_b), SignatureInvalid);
}

#[test]
fn one_s_algorithms_are_not_another_s() {
    let mut gate = Gate::new();
    let key = Key::eddsa(7);
    for foreign in &mut gate.foreign {
        foreign.keys = held(&key, NOW_MS);
    }
    let verifier = gate.foreign[0].verifier.clone();
    gate.foreign[0].verifier = verifier.with_algorithms([Algorithm::Es256]);
    assert_eq!(
        gate.refuses("/all/x", &token(A, &key, &[])),
        AlgorithmNotAllowed
    );
    assert!(gate.get("/all/x", &token(B, &key, &[])).is_ok());
}

#[test]
fn a_rule_takes_the_own_issuer_unless_it_names_others() {
    let mut gate = Gate::new();
    let of = |issuer| token(issuer, &key_of(issuer), &[]);
    let (own, a, b) = (of(ISSUER), of(A), of(B));
    for cached in [false, true] {
        for (path, token, accepted) in [
            ("/own/x", &own, true),
            ("/own/x", &a, false),
            ("/own/x", &b, false),
            ("/a/x", &own, false),
            ("/a/x", &a, true),
            ("/a/x", &b, false),
            ("/all/x", &own, true),
            ("/all/x", &a, true),
            ("/all/x", &b, true),
            // Whatever else it asks for: the roles are A's word, and nobody asked A.
            ("/admin/x", &own, true),
            ("/admin/x", &a, false),
            ("/nobody/x", &own, false),
            ("/nobody/x", &a, false),
        ] {
            match gate.get(path, token) {
                Ok(_) if accepted => {}
                Err(Outcome::Refuse(IssuerMismatch)) if !accepted => {}
                other => panic!("{path}: {other:?} (again: {cached})"),
            }
        }
    }
}

#[test]
fn an_issuer_is_chosen_by_its_exact_name() {
    let mut gate = Gate::new();
    let key = key_of(A);
    for name in [
        "https://a.example/",
        "https://A.example",
        "http://a.example",
        "https://a.example.",
        "https://a.exampl",
        "https://a.example.evil",
        " https://a.example",
        "https://a.example\u{0}",
        "a.example",
        "own",
    ] {
        // Judged as the own issuer's, whose key of that name it is not signed by.
        let token = token(name, &key, &[]);
        assert_eq!(gate.refuses("/all/x", &token), SignatureInvalid, "{name:?}");
        // And with the own key it is still nobody's.
        let token = self::token(name, &key_of(ISSUER), &[]);
        assert_eq!(gate.refuses("/all/x", &token), IssuerMismatch, "{name:?}");
    }
    for name in [
        json!([A]),
        json!({"iss": A}),
        json!(null),
        json!(7),
        json!(""),
    ] {
        let token = token(ISSUER, &key, &[("iss", name.clone())]);
        assert_eq!(gate.refuses("/all/x", &token), SignatureInvalid, "{name}");
    }
}

#[test]
fn the_list_speaks_for_the_own_issuer_alone() {
    let mut gate = Gate::new();
    gate.give_list(
        2,
        &[
            Entry::Token("token-1"),
            Entry::Session("session-1"),
            Entry::Subject("user-1", NOW),
            Entry::Key(KID),
        ],
    );
    let of = |issuer| token(issuer, &key_of(issuer), &[]);
    assert_eq!(gate.refuses("/all/x", &of(ISSUER)), TokenRevoked);
    // The same names at A are other people's.
    assert!(gate.get("/all/x", &of(A)).is_ok());
    assert!(gate.get("/off/x", &of(A)).is_ok());
    // Without any list, too: A has none.
    gate.list = HeldList::default();
    gate.progress.waited_for_list = true;
    assert_eq!(gate.refuses("/all/x", &of(ISSUER)), RevocationUnavailable);
    assert!(gate.get("/all/x", &of(A)).is_ok());
}

#[test]
fn a_token_that_its_rule_takes_from_nobody_is_not_kept() {
    let mut gate = Gate::new();
    let theirs = token(A, &key_of(A), &[]);
    for path in ["/own/x", "/nobody/x", "/admin/x"] {
        assert_eq!(gate.refuses(path, &theirs), IssuerMismatch, "{path}");
        assert!(gate.verified.is_empty(), "{path}");
    }
    for cached in [false, true] {
        assert_eq!(gate.get("/a/x", &theirs), Ok((A.to_owned(), cached)));
    }
    assert_eq!(gate.verified.len(), 1);
}

#[test]
fn nobody_is_asked_about_another_issuer_s_token() {
    let of = |issuer| token(issuer, &key_of(issuer), &[]);
    for introspection in [
        None,
        Some(Introspection::Active),
        Some(Introspection::Unavailable),
    ] {
        let mut gate = Gate::new();
        gate.progress.introspection = introspection;
        assert_eq!(gate.refuses("/strict/x", &of(A)), IssuerMismatch);
    }
    assert_eq!(
        Gate::new().get("/strict/x", &of(ISSUER)),
        Err(Outcome::Wait(Need::Introspection))
    );
}

#[test]
fn an_unknown_key_is_asked_of_its_issuer_alone_and_cools_down_there_alone() {
    let mut gate = Gate::new();
    gate.now += UNKNOWN_KEY_COOLDOWN;
    gate.progress.waited_for_list = true;
    let unknown = |issuer: &str| {
        let header = json!({"alg": "ES256", "typ": "at+jwt", "kid": "new"});
        let claims = claims_with("iss", Some(json!(issuer)));
        key_of(issuer).token(&header.to_string(), &claims.to_string())
    };
    for (issuer, need) in [
        (ISSUER, Need::Keys),
        (A, Need::ForeignKeys(0)),
        (B, Need::ForeignKeys(1)),
    ] {
        assert_eq!(
            gate.get("/all/x", &unknown(issuer)),
            Err(Outcome::Wait(need))
        );
    }
    // A was asked a moment ago; the others were not.
    let keys = &mut gate.foreign[0].keys;
    let attempt = keys.begin(gate.now, gate.now + 1_000).unwrap();
    keys.finish(attempt, gate.now, true);
    assert_eq!(gate.refuses("/all/x", &unknown(A)), KeyUnknown);
    for (issuer, need) in [(ISSUER, Need::Keys), (B, Need::ForeignKeys(1))] {
        assert_eq!(
            gate.get("/all/x", &unknown(issuer)),
            Err(Outcome::Wait(need))
        );
    }
}

#[test]
fn one_issuer_without_keys_takes_no_other_with_it() {
    let mut gate = Gate::new();
    gate.foreign[0].keys = HeldKeys::default();
    let of = |issuer| token(issuer, &key_of(issuer), &[]);
    assert_eq!(
        gate.get("/all/x", &of(A)),
        Err(Outcome::Wait(Need::ForeignKeys(0)))
    );
    gate.progress.waited_for_keys = true;
    assert_eq!(gate.refuses("/all/x", &of(A)), KeysUnavailable);
    assert!(gate.get("/all/x", &of(B)).is_ok());
    assert!(gate.get("/all/x", &of(ISSUER)).is_ok());
    // And the own one without keys takes none of the others.
    gate.keys = HeldKeys::default();
    assert_eq!(gate.refuses("/all/x", &of(ISSUER)), KeysUnavailable);
    assert!(gate.get("/all/x", &of(B)).is_ok());
}

#[test]
fn a_verified_token_counts_for_as_long_as_its_own_issuer_s_key_does() {
    let of = |issuer| token(issuer, &key_of(issuer), &[]);
    let mut gate = Gate::new();
    for issuer in [ISSUER, A, B] {
        assert!(gate.get("/all/x", &of(issuer)).is_ok());
    }
    // A's key is gone; others have one of the same name.
    let mut other = HeldKeys::default();
    other.offer(set(&[&Key::es256(8)]), gate.now, None);
    gate.foreign[0].keys = other;
    gate.progress.waited_for_keys = true;
    assert_eq!(gate.refuses("/all/x", &of(A)), KeyUnknown);
    assert_eq!(gate.get("/all/x", &of(B)), Ok((B.to_owned(), true)));
    // A's issuer is trusted no more: the own one's key of that name does not stand in for it.
    let mut gate = Gate::new();
    assert!(gate.get("/all/x", &of(A)).is_ok());
    gate.foreign.clear();
    assert_eq!(gate.refuses("/all/x", &of(A)), SignatureInvalid);
    // Its set is too old.
    let mut gate = Gate::new();
    let long = [("exp", json!(NOW.0 + 86_340)), ("iat", json!(NOW.0))];
    let long = token(A, &key_of(A), &long);
    assert!(gate.get("/a/x", &long).is_ok());
    gate.now += HARD_AGE - 60_001;
    gate.progress.waited_for_keys = true;
    gate.foreign[0].keys = held(&key_of(A), NOW_MS - 60_001);
    assert_eq!(gate.refuses("/a/x", &long), KeysUnavailable);
}

#[test]
fn a_change_of_keys_forgets_that_issuer_s_tokens_alone() {
    let mut gate = Gate::new();
    for issuer in [ISSUER, A, B] {
        for number in 0..3 {
            let jti = [("jti", json!(format!("{number}")))];
            let token = token(issuer, &key_of(issuer), &jti);
            assert!(gate.get("/all/x", &token).is_ok());
        }
    }
    assert_eq!(gate.verified.len(), 9);
    gate.verified.forget(A);
    assert_eq!(gate.verified.len(), 6);
    let again = |gate: &mut Gate, issuer| {
        let token = token(issuer, &key_of(issuer), &[("jti", json!("1"))]);
        gate.get("/all/x", &token).unwrap().1
    };
    assert!(!again(&mut gate, A) && again(&mut gate, B) && again(&mut gate, ISSUER));
}

proptest! {
    /// Whoever signs and whatever the token says: it passes only if one issuer is both.
    #[test]
    fn passes_only_if_signer_and_issuer_are_one(
        signer in prop::sample::select(vec![ISSUER, A, B, "https://evil.example"]),
        named in prop::sample::select(vec![ISSUER, A, B, "https://evil.example"]),
        path in prop::sample::select(vec!["/own/x", "/a/x", "/all/x", "/off/x", "/nobody/x"]),
        twice: bool,
    ) {
        let mut gate = Gate::new();
        let token = token(named, &key_of(signer), &[]);
        if twice {
            let _ = gate.get("/all/x", &token);
        }
        let expected = signer == named && match path {
            "/own/x" => named == ISSUER,
            "/a/x" => named == A,
            "/all/x" => [ISSUER, A, B].contains(&named),
            "/off/x" => [ISSUER, A].contains(&named),
            _ => false,
        };
        prop_assert_eq!(gate.get(path, &token).is_ok(), expected);
    }
}
