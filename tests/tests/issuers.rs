//! A gate that takes tokens of several issuers: whose key, whose rule, whose list, whose name.

use std::time::Duration;

use edgekeep_shared::base64url;
use edgekeep_tests::clock;
use edgekeep_tests::gate::Gate;
use edgekeep_tests::issuer::{Behaviour, Door, Issuer, Revoked, spaces};
use edgekeep_tests::keys::{Key, claims};
use serde_json::{Value, json};

const POLICY: &str = r#"
[[route]]
match = "/public/**"
access = "public"

[[route]]
match = "/partner/**"
issuer = "PARTNER"

[[route]]
match = "/both/**"
issuer = ["own", "PARTNER"]

[[route]]
match = "/strict/**"
issuer = ["own", "PARTNER"]
revocation = "strict"

[[route]]
match = "/api/**"
"#;

/// RFC 8037, appendix A.1.
const ASSERTION_KEY: &str = r#"{"kty":"OKP","crv":"Ed25519",
    "d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

/// What both issuers call their key.
const KID: &str = "k1";

/// Publishes `key` alone, under the common name.
fn publish(issuer: &Issuer, key: &Key) {
    let mut published = issuer.published();
    published.jwks = format!(r#"{{"keys":[{}]}}"#, key.verifying().to_jwk(KID));
    published.max_age = 1;
}

fn issue(key: &Key, kid: &str, issuer: &str, changes: &Value) -> String {
    let mut header = key.header();
    header["kid"] = json!(kid);
    key.token(&header.to_string(), &claims(issuer, changes).to_string())
}

fn entry(partner: &Issuer) -> Value {
    json!({
        "issuer": partner.url(),
        "audience": ["partner-api", "api"],
        "jwks_url": format!("{}/.well-known/jwks.json", partner.url()),
        "algorithms": ["EdDSA"],
        "revocation": "none",
    })
}

/// A gate with a partner beside its own issuer.
async fn gate_with(partner: &Issuer) -> Gate {
    Gate::with(|issuer, variables| {
        publish(issuer, &Key::es256(1));
        variables.insert("POLICY", POLICY.replace("PARTNER", &partner.url()));
        variables.insert("ISSUERS", json!([entry(partner)]).to_string());
        variables.insert("ASSERTION_KEY", ASSERTION_KEY.to_owned());
    })
    .await
}

async fn partner() -> (Issuer, Key) {
    let key = Key::eddsa(7);
    let partner = Issuer::start(&key).await;
    publish(&partner, &key);
    (partner, key)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_token_counts_by_its_own_issuer_s_key_where_a_rule_takes_it() {
    let (partner, theirs) = partner().await;
    let gate = gate_with(&partner).await;
    let (own, other) = (gate.issuer.url(), partner.url());
    let ours = &gate.key;
    let none = json!({});
    let of_own = issue(ours, KID, &own, &none);
    let of_partner = issue(&theirs, KID, &other, &none);
    for _ in 0..2 {
        for (path, token, verdict) in [
            ("/api/me", &of_own, 200),
            ("/api/me", &of_partner, 401),
            ("/partner/x", &of_own, 401),
            ("/partner/x", &of_partner, 200),
            ("/both/x", &of_own, 200),
            ("/both/x", &of_partner, 200),
        ] {
            let answer = gate.get(path, token).await;
            assert_eq!(answer.status, verdict, "{path}: {}", answer.text());
            if verdict == 401 {
                assert_eq!(answer.code(), "issuer_mismatch", "{path}");
            }
        }
    }
    let elsewhere = json!({"aud": "partner-api"});
    for (token, code) in [
        // Signed by the other, under the name that both keys have.
        (issue(&theirs, KID, &own, &none), "algorithm_not_allowed"),
        (issue(ours, KID, &other, &none), "algorithm_not_allowed"),
        (issue(&Key::es256(9), KID, &own, &none), "signature_invalid"),
        (
            issue(&Key::eddsa(9), KID, &other, &none),
            "signature_invalid",
        ),
        // One's audience is not the other's.
        (issue(ours, KID, &own, &elsewhere), "audience_mismatch"),
        // An issuer by almost its name is nobody.
        (
            issue(&theirs, KID, &format!("{other}/"), &none),
            "algorithm_not_allowed",
        ),
    ] {
        let answer = gate.get("/both/x", &token).await;
        assert_eq!(answer.verdict(), (401, code.to_owned()));
    }
    let passed = issue(&theirs, KID, &other, &elsewhere);
    assert_eq!(gate.get("/both/x", &passed).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_is_told_whose_user_it_is() {
    let (partner, theirs) = partner().await;
    let gate = gate_with(&partner).await;
    let (own, other) = (gate.issuer.url(), partner.url());
    for (token, issuer) in [
        (issue(&gate.key, KID, &own, &json!({})), &own),
        (issue(&theirs, KID, &other, &json!({})), &other),
    ] {
        let call = gate.call("GET", "/both/x", &token);
        let call = call.header("x_user_issuer", "forged");
        assert_eq!(call.send().await.unwrap().status, 200);
        let seen = gate.upstream.take_one();
        let told: Vec<_> = edgekeep_tests::http::find(&seen.headers, "x-user-issuer").collect();
        assert_eq!(told, [issuer]);
        assert!(seen.header("x_user_issuer").is_none());
        assert_eq!(seen.header("x-user-id"), Some("user-1"));
        let assertion = seen.header("x-edgekeep-assertion").unwrap();
        let payload = assertion.split('.').nth(1).unwrap();
        let payload = base64url::decode(payload.as_bytes()).unwrap();
        let payload: Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!(
            payload["sub_id"],
            json!({"format": "iss_sub", "iss": issuer, "sub": "user-1"})
        );
    }
    // Nobody is told of where there is no token.
    let call = gate.edge.call("GET", "/public/x");
    let call = call.header("X-User-Issuer", "forged");
    assert_eq!(call.send().await.unwrap().status, 200);
    assert!(gate.upstream.take_one().header("x-user-issuer").is_none());
    // Nor is it said where there is one issuer.
    let alone = Gate::start().await;
    assert_eq!(alone.get("/api/me", &alone.good_token()).await.status, 200);
    assert!(alone.upstream.take_one().header("x-user-issuer").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keep_s_word_is_for_its_own_tokens_alone() {
    let (partner, theirs) = partner().await;
    let gate = gate_with(&partner).await;
    let of_own = issue(&gate.key, KID, &gate.issuer.url(), &json!({}));
    let of_partner = issue(&theirs, KID, &partner.url(), &json!({}));
    assert_eq!(gate.get("/strict/x", &of_own).await.status, 200);
    let asked = gate.issuer.hits(Door::Introspection);
    let answer = gate.get("/strict/x", &of_partner).await;
    assert_eq!(answer.verdict(), (401, "issuer_mismatch".to_owned()));
    assert_eq!(gate.issuer.hits(Door::Introspection), asked);
    assert_eq!(partner.hits(Door::Introspection), 0);

    // The names of the partner's token are other people's at the keep.
    for revoked in [
        Revoked::Token("token-1".to_owned()),
        Revoked::Session("session-1".to_owned()),
        Revoked::Subject("user-1".to_owned(), clock::now()),
        Revoked::Key(KID.to_owned()),
    ] {
        gate.issuer.revoke(revoked);
    }
    let heard = clock::eventually(Duration::from_secs(5), || async {
        (gate.get("/both/x", &of_own).await.code() == "token_revoked").then_some(())
    });
    assert!(heard.await.is_some(), "the list is not heard");
    assert_eq!(gate.get("/both/x", &of_partner).await.status, 200);
    assert_eq!(partner.hits(Door::Feed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_issuer_s_trouble_is_its_own() {
    let (mut partner, theirs) = partner().await;
    let gate = gate_with(&partner).await;
    let (own, other) = (gate.issuer.url(), partner.url());
    let of_own = issue(&gate.key, KID, &own, &json!({}));
    partner.stop_origin().await;
    // Nobody has heard of its keys yet, and there is no copy of them.
    let of_partner = issue(&theirs, KID, &other, &json!({}));
    let answer = gate.get("/both/x", &of_partner).await;
    assert_eq!(answer.verdict(), (503, "keys_unavailable".to_owned()));
    assert_eq!(gate.get("/both/x", &of_own).await.status, 200);
    partner.resume().await;
    let back = clock::eventually(Duration::from_secs(4), || async {
        (gate.get("/both/x", &of_partner).await.status == 200).then_some(())
    });
    assert!(back.await.is_some(), "its keys are not asked for again");

    // A flood of keys that nobody has is asked of whoever is named, once in a while.
    let before = (gate.issuer.hits(Door::Jwks), partner.hits(Door::Jwks));
    let begun = std::time::Instant::now();
    for number in 0..200 {
        let unknown = issue(&theirs, &format!("k-{number}"), &other, &json!({}));
        let answer = gate.get("/both/x", &unknown).await;
        assert_eq!(answer.verdict(), (401, "key_unknown".to_owned()));
    }
    // Both sets are good for a second; a question each for every second, and one.
    let allowed = usize::try_from(begun.elapsed().as_secs()).unwrap() + 2;
    assert!(gate.issuer.hits(Door::Jwks) - before.0 <= allowed);
    assert!(partner.hits(Door::Jwks) - before.1 <= allowed);

    // The name on a token makes the gate ask nobody who is not configured.
    let stranger = Issuer::start(&Key::eddsa(8)).await;
    let strange = issue(&Key::eddsa(8), KID, &stranger.url(), &json!({}));
    assert_eq!(gate.get("/both/x", &strange).await.status, 401);
    assert!(stranger.requests().is_empty());

    // A key that is replaced under its name takes the tokens that were verified by it with it.
    assert_eq!(gate.get("/both/x", &of_partner).await.status, 200);
    publish(&partner, &Key::eddsa(17));
    let dropped = clock::eventually(Duration::from_secs(5), || async {
        let answer = gate.get("/both/x", &of_partner).await;
        (answer.verdict() == (401, "signature_invalid".to_owned())).then_some(())
    });
    assert!(dropped.await.is_some(), "a replaced key goes on counting");
    assert_eq!(gate.get("/both/x", &of_own).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_does_not_end_is_not_read_to_its_end() {
    for (what, behaviour) in [
        ("without end", Behaviour::Endless),
        ("256 MiB", Behaviour::Gzip(spaces(256))),
    ] {
        let (partner, theirs) = partner().await;
        let gate = gate_with(&partner).await;
        let of_own = issue(&gate.key, KID, &gate.issuer.url(), &json!({}));
        let of_partner = issue(&theirs, KID, &partner.url(), &json!({}));
        assert_eq!(gate.get("/both/x", &of_own).await.status, 200);
        partner.set(Door::Jwks, behaviour);
        let before = gate.edge.peak_memory();
        let answer = gate.get("/both/x", &of_partner).await;
        assert_eq!(answer.verdict(), (503, "keys_unavailable".to_owned()));
        // It is given up where it is too long, not when it has taken too long.
        assert!(answer.took < Duration::from_millis(900), "{what}");
        let more = gate.edge.peak_memory() - before;
        assert!(more < SPARE, "{what}: {} MiB", more >> 20);
        assert_eq!(gate.get("/both/x", &of_own).await.status, 200);
        partner.set(Door::Jwks, Behaviour::Honest);
        let back = clock::eventually(Duration::from_secs(4), || async {
            (gate.get("/both/x", &of_partner).await.status == 200).then_some(())
        });
        assert!(back.await.is_some(), "{what}: asked again");
    }
}

/// Bytes that a gate of 128 MiB can spare for what an issuer beside the own one makes it hold.
const SPARE: u64 = 64 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn what_another_issuer_signs_fills_no_memory() {
    let (partner, theirs) = partner().await;
    let permissions = vec!["a"; 1_300];
    let signed = |number: usize| {
        let changes = json!({"jti": format!("t{number}"), "permissions": permissions});
        issue(&theirs, KID, &partner.url(), &changes)
    };
    // What no rule takes is kept nowhere, and pushes nothing out.
    for (path, status, is_taken) in [("/both/x", 200, true), ("/api/me", 401, false)] {
        // The peak is one of the process: each has its own.
        let gate = gate_with(&partner).await;
        let of_own = issue(&gate.key, KID, &gate.issuer.url(), &json!({"sid": "own"}));
        let is_cached = async || {
            let before = gate.edge.log().len();
            assert_eq!(gate.get("/api/me", &of_own).await.status, 200);
            let said = clock::eventually(Duration::from_secs(2), || async {
                let log = gate.edge.log();
                let mut lines = log.iter().skip(before);
                lines.find_map(|line| {
                    let is_own = line.contains(r#""sid":"own""#);
                    is_own.then(|| line.contains(r#""cached":true"#))
                })
            });
            said.await.expect("a line of the log").0
        };
        assert!(!is_cached().await && is_cached().await);
        // What comes once with every request is there already.
        let call = |number| {
            let token = signed(number);
            let call = gate.call("POST", path, &token);
            async move { call.send().await.unwrap().status }
        };
        call(0).await;
        let before = gate.edge.peak_memory();
        for number in 1..=2_000 {
            assert_eq!(call(number).await, status);
        }
        // Unbounded it would be more than 100 MB.
        let more = gate.edge.peak_memory() - before;
        assert!(more < SPARE, "{path}: {} MiB", more >> 20);
        assert!(is_taken || is_cached().await, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_is_not_understood_stops_everything_and_says_why() {
    let (partner, _) = partner().await;
    for (member, value, said) in [
        ("revocation", Value::Null, "revocation"),
        ("revocation", json!("list"), "expected \"none\""),
        ("audience", json!([]), "expected 1 to 8 strings"),
        ("issuer", json!("partner"), "expected an http or https URL"),
        ("keys", json!([]), "unknown member"),
    ] {
        let gate = Gate::with(|_, variables| {
            let mut entry = entry(&partner);
            entry[member] = value.clone();
            variables.insert("ISSUERS", json!([entry]).to_string());
        })
        .await;
        for path in ["/public/x", "/api/me"] {
            let answer = gate.get(path, &gate.good_token()).await;
            assert_eq!(answer.status, 503, "{member} = {value}: {}", answer.text());
        }
        let line = clock::eventually(Duration::from_secs(2), || async {
            let log = gate.edge.log();
            log.into_iter()
                .find(|line| line.contains("ISSUERS: entry 1"))
        });
        let (line, _) = line.await.expect("the log says nothing");
        assert!(line.contains(said), "{said} is not in: {line}");
    }
}
