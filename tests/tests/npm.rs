//! The npm package against the real issuer and one that tests control: the gate's verdicts, the
//! gate's freshness.

use std::time::{Duration, Instant};

use edgekeep_shared::base64url;
use edgekeep_tests::clock::eventually;
use edgekeep_tests::house::{House, REVOCATION_LIMIT};
use edgekeep_tests::issuer::{Behaviour, Door, Issuer, Revoked};
use edgekeep_tests::keys::{self, Key, claims};
use edgekeep_tests::origin::Origin;
use edgekeep_tests::package::{HOSTS, Host, Package, options};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::verdicts::mutations;

const EMAIL: &str = "ada@example.com";
const PASSWORD: &str = "correct horse battery staple";

/// Options for the real issuer.
pub(crate) fn trusting(origin: &Origin) -> Value {
    let control: Value = serde_json::from_str(&origin.must_run(&["keys", "control"])).unwrap();
    json!({
        "issuer": origin.url(), "audience": "api", "revocation": {"controlKeys": control},
    })
}

/// Every mutated token gets the verdict of the gate, on each of `hosts`.
pub(crate) async fn agrees_with_the_gate(hosts: &[Host]) {
    let house = House::start().await;
    let good = house.origin.register(EMAIL, PASSWORD).await;
    let mut tokens = mutations(&good.access);
    tokens.retain(|token| *token != good.access);
    tokens.insert(0, good.access.clone());
    tokens.push(format!("{}\u{1f511}", good.access));
    tokens.push("x".repeat(100_000));
    let mut by_gate = Vec::new();
    for token in &tokens {
        let answer = house.get("/api/me", token).await;
        by_gate.push(match answer.status {
            200 => format!("ok {}", good.user()),
            // What is too long for a header never reaches the gate.
            431 | 400 | 413 => "token_too_large".to_owned(),
            _ => answer.code(),
        });
    }
    for &host in hosts {
        let package = Package::start(host, &json!([trusting(&house.origin)]));
        let by_package = package.verdicts(&tokens).await;
        for ((token, by_gate), by_package) in tokens.iter().zip(&by_gate).zip(&by_package) {
            assert_eq!(by_package, by_gate, "{host:?}: {token}");
        }
    }
    for code in [
        "token_malformed",
        "token_too_large",
        "signature_invalid",
        "key_unknown",
    ] {
        assert!(by_gate.iter().any(|verdict| verdict == code), "{code}");
    }
    assert_eq!(by_gate.iter().filter(|v| v.starts_with("ok")).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn gives_the_verdict_of_the_gate_on_every_token() {
    agrees_with_the_gate(&HOSTS).await;
}

/// Who logs out is refused within the limit, whether or not anybody asks meanwhile; who does not,
/// goes on.
pub(crate) async fn refuses_what_was_logged_out(host: Host) {
    let origin = Origin::start().await;
    let package = Package::start(host, &json!([trusting(&origin)]));
    let other = origin.register(EMAIL, PASSWORD).await;
    let accepted = format!("ok {}", other.user());
    let [busy, idle] = [
        origin.login(EMAIL, PASSWORD).await,
        origin.login(EMAIL, PASSWORD).await,
    ];
    for tokens in [&other, &busy, &idle] {
        assert_eq!(package.verdict(&tokens.access).await, accepted);
    }
    for tokens in [&busy, &idle] {
        let gone = origin.post_as(&tokens.access, "/logout", &json!({})).await;
        assert_eq!(gone.status, 204);
    }
    // Nobody asks: the list is kept checked all the same.
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    assert_eq!(package.verdict(&idle.access).await, "token_revoked");
    let refused = eventually(REVOCATION_LIMIT, || async {
        assert_eq!(package.verdict(&other.access).await, accepted);
        (package.verdict(&busy.access).await == "token_revoked").then_some(())
    });
    assert!(refused.await.is_some(), "{host:?} goes on accepting it");
    // What was accepted a moment ago is not accepted from memory.
    let third = origin.login(EMAIL, PASSWORD).await;
    assert_eq!(package.verdict(&third.access).await, accepted);
    let gone = origin.post_as(&third.access, "/logout", &json!({})).await;
    assert_eq!(gone.status, 204);
    let refused = eventually(REVOCATION_LIMIT, || async {
        (package.verdict(&third.access).await == "token_revoked").then_some(())
    });
    assert!(refused.await.is_some(), "{host:?} goes on accepting it");
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_what_was_logged_out_in_node() {
    refuses_what_was_logged_out(Host::Node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_what_was_logged_out_in_workerd() {
    refuses_what_was_logged_out(Host::Workerd).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gives_the_claims_of_the_token() {
    let key = Key::es256(1);
    let issuer = Issuer::start(&key).await;
    let package = Package::start(Host::Node, &json!([options(&issuer, &json!({}))]));
    let given = claims(
        &issuer.url(),
        &json!({"scope": "a b", "kyc_level": 2, "__proto__": {"admin": true}, "extra": "x"}),
    );
    let answer = package.ask("/token", &key.issue(&given)).await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let mut expected = given.clone();
    let members = expected.as_object_mut().unwrap();
    for name in ["scope", "__proto__", "extra"] {
        members.remove(name);
    }
    members.insert("scopes".to_owned(), json!(["a", "b"]));
    members.insert("aud".to_owned(), json!(["api"]));
    assert_eq!(answer, json!({"keyId": key.id(), "claims": expected}));
}

/// Tokens that name keys which nobody has.
fn strangers(count: usize) -> Vec<String> {
    let header = |number| {
        let header = json!({"alg": "ES256", "typ": "at+jwt", "kid": format!("kid-{number}")});
        base64url::encode(header.to_string().as_bytes())
    };
    let rest = format!(
        "{}.{}",
        base64url::encode(claims("x", &json!({})).to_string().as_bytes()),
        base64url::encode(&[1; 64])
    );
    (0..count)
        .map(|number| format!("{}.{rest}", header(number)))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_unknown_keys_cost_one_fetch() {
    for host in HOSTS {
        let key = Key::es256(1);
        let issuer = Issuer::start(&key).await;
        let package = Package::start(host, &json!([options(&issuer, &json!({}))]));
        let good = key.issue(&claims(&issuer.url(), &json!({})));
        assert_eq!(package.verdict(&good).await, "ok user-1");
        // Past the pause after the first fetch.
        tokio::time::sleep(Duration::from_millis(5_100)).await;
        assert_eq!(issuer.hits(Door::Jwks), 1);
        issuer.set(Door::Jwks, Behaviour::Late(Duration::from_millis(300)));
        let begun = Instant::now();
        let tokens = strangers(10_000);
        let requests = tokens.chunks(500).map(|chunk| package.verdicts(chunk));
        for verdicts in futures_util::future::join_all(requests).await {
            assert!(verdicts.iter().all(|verdict| verdict == "key_unknown"));
        }
        assert_eq!(package.verdict(&good).await, "ok user-1");
        // One, and one more for each pause that a slow machine has let pass.
        let pauses = usize::try_from(begun.elapsed().as_secs() / 5).unwrap();
        let asked = issuer.hits(Door::Jwks) - 1;
        assert!((1..=1 + pauses).contains(&asked), "{host:?}: {asked}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_verifier_asks_once_for_everybody() {
    for host in HOSTS {
        let key = Key::eddsa(1);
        let issuer = Issuer::start(&key).await;
        for door in [Door::Jwks, Door::Feed] {
            issuer.set(door, Behaviour::Late(Duration::from_millis(300)));
        }
        let package = Package::start(host, &json!([options(&issuer, &json!({}))]));
        let tokens: Vec<String> = (0..100)
            .map(|number| {
                key.issue(&claims(
                    &issuer.url(),
                    &json!({"jti": format!("t{number}")}),
                ))
            })
            .collect();
        let requests = tokens.iter().map(|token| package.verdict(token));
        let verdicts = futures_util::future::join_all(requests).await;
        assert!(
            verdicts.iter().all(|v| v == "ok user-1"),
            "{host:?}: {verdicts:?}"
        );
        assert_eq!(issuer.hits(Door::Jwks), 1, "{host:?}");
        assert!(issuer.hits(Door::Feed) <= 2, "{host:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_takes_nobodys_answer_with_it() {
    let key = Key::es256(1);
    let issuer = Issuer::start(&key).await;
    let package = Package::start(Host::Workerd, &json!([options(&issuer, &json!({}))]));
    let good = key.issue(&claims(&issuer.url(), &json!({})));
    for door in [Door::Jwks, Door::Feed] {
        issuer.set(door, Behaviour::Late(Duration::from_millis(700)));
    }
    let line = format!("0\t{good}");
    for _ in 0..5 {
        let mut stream = tokio::net::TcpStream::connect(package.address())
            .await
            .unwrap();
        let head = format!(
            "POST /verify HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{line}",
            line.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        // A reset: an end alone might be of one who still listens.
        stream.set_zero_linger().unwrap();
    }
    let begun = Instant::now();
    assert_eq!(package.verdict(&good).await, "ok user-1");
    assert!(
        begun.elapsed() < Duration::from_millis(2_500),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(issuer.hits(Door::Jwks), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn follows_the_issuers_keys() {
    for host in HOSTS {
        let (old, new) = (Key::es256(1), Key::eddsa(2));
        let issuer = Issuer::start(&old).await;
        issuer.published().max_age = 1;
        let package = Package::start(host, &json!([options(&issuer, &json!({}))]));
        let [by_old, by_new] =
            [&old, &new].map(|key| key.issue(&claims(&issuer.url(), &json!({}))));
        assert_eq!(package.verdict(&by_old).await, "ok user-1");
        assert_eq!(package.verdict(&by_old).await, "ok user-1", "from memory");
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        issuer.published().jwks = keys::set(&[&new]);
        // The new one at once, since asking may help; the old one from then on no more.
        assert_eq!(package.verdict(&by_new).await, "ok user-1", "{host:?}");
        assert_eq!(package.verdict(&by_old).await, "key_unknown", "{host:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_keys_that_are_there() {
    for host in HOSTS {
        let key = Key::es256(1);
        let issuer = Issuer::start(&key).await;
        issuer.published().max_age = 1;
        let without = json!({"revocation": "none"});
        let package = Package::start(host, &json!([options(&issuer, &without)]));
        let good = key.issue(&claims(&issuer.url(), &json!({})));
        assert_eq!(package.verdict(&good).await, "ok user-1");
        issuer.set(Door::Jwks, Behaviour::Late(Duration::from_millis(900)));
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        let begun = Instant::now();
        assert_eq!(package.verdict(&good).await, "ok user-1");
        assert!(begun.elapsed() < Duration::from_millis(600), "{host:?}");
        let asked = eventually(Duration::from_secs(1), || async {
            (issuer.hits(Door::Jwks) == 2).then_some(())
        });
        assert!(asked.await.is_some(), "{host:?}: asked behind the answer");
        assert_eq!(issuer.hits(Door::Feed), 0, "no list by the caller's word");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_issuer_is_judged_by_its_own_rules() {
    for host in HOSTS {
        let (key_a, key_b) = (Key::es256(1), Key::eddsa(2));
        let (a, b) = (Issuer::start(&key_a).await, Issuer::start(&key_b).await);
        let package = Package::start(
            host,
            &json!([
                options(&a, &json!({"algorithms": ["ES256"]})),
                options(&b, &json!({"audience": "reports", "leeway": 0})),
            ]),
        );
        let token = |key: &Key, issuer: &Issuer, aud: &str, jti: &str| {
            key.issue(&claims(&issuer.url(), &json!({"aud": aud, "jti": jti})))
        };
        b.revoke(Revoked::Token("revoked".to_owned()));
        for (what, token, expected) in [
            ("a", token(&key_a, &a, "api", "t"), "ok user-1"),
            ("b", token(&key_b, &b, "reports", "t"), "ok user-1"),
            (
                "a for b's",
                token(&key_a, &a, "reports", "t"),
                "audience_mismatch",
            ),
            (
                "b for a's",
                token(&key_b, &b, "api", "t"),
                "audience_mismatch",
            ),
            (
                "b's key for a",
                token(&key_b, &a, "api", "t"),
                "key_unknown",
            ),
            (
                "a's key for b",
                token(&key_a, &b, "reports", "t"),
                "key_unknown",
            ),
            (
                "b's revocation",
                token(&key_b, &b, "reports", "revoked"),
                "token_revoked",
            ),
            (
                "none for a",
                token(&key_a, &a, "api", "revoked"),
                "ok user-1",
            ),
        ] {
            assert_eq!(package.verdict(&token).await, expected, "{host:?}: {what}");
        }
        // The issuer begins to publish the other's key: it does not sign for its algorithms.
        a.published().jwks = keys::set(&[&key_a, &key_b]);
        tokio::time::sleep(Duration::from_millis(5_100)).await;
        let forged = token(&key_b, &a, "api", "t");
        assert_eq!(
            package.verdict(&forged).await,
            "algorithm_not_allowed",
            "{host:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_were_handed_over_are_not_asked_for() {
    let key = Key::es256(1);
    let issuer = Issuer::start(&key).await;
    let set: Value = serde_json::from_str(&keys::set(&[&key])).unwrap();
    let given = json!({"jwks": set, "revocation": "none"});
    let package = Package::start(Host::Node, &json!([options(&issuer, &given)]));
    let good = key.issue(&claims(&issuer.url(), &json!({})));
    assert_eq!(package.verdict(&good).await, "ok user-1");
    assert_eq!(package.verdict(&strangers(1)[0]).await, "key_unknown");
    assert_eq!(issuer.hits(Door::Jwks), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn takes_a_token_out_of_a_header_as_the_gate_does() {
    let house = House::start().await;
    let good = house.origin.register(EMAIL, PASSWORD).await;
    let token = &good.access;
    let headers = [
        format!("Bearer {token}"),
        format!("bEaReR   {token}"),
        format!("Bearer\t{token}"),
        format!("Bearer {token} "),
        format!("Bearer {token} x"),
        format!("Bearer {token},Bearer {token}"),
        format!("Basic YTpi, Bearer {token}"),
        format!("Bearer {token}="),
        "Bearer".to_owned(),
        "Basic YTpi".to_owned(),
        "Bearer null".to_owned(),
        token.clone(),
        format!("Token {token}"),
        format!("BearerX {token}"),
    ];
    let mut by_gate = Vec::new();
    for header in &headers {
        let call = house.edge.call("GET", "/api/me");
        let answer = call.header("Authorization", header).send().await.unwrap();
        by_gate.push(match answer.status {
            200 => format!("ok {}", good.user()),
            _ => answer.code(),
        });
    }
    assert!(by_gate[0].starts_with("ok"), "{by_gate:?}");
    for host in HOSTS {
        let package = Package::start(host, &json!([trusting(&house.origin)]));
        assert_eq!(package.header_verdicts(&headers).await, by_gate, "{host:?}");
    }
}
