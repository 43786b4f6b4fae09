//! What the gate counts, who may read it, and what a dataset is told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use edgekeep_tests::clock::eventually;
use edgekeep_tests::edge::Edge;
use edgekeep_tests::gate::{self, Gate};
use edgekeep_tests::server::{Reply, Server};
use serde_json::{Value, json};

const PATH: &str = "/.well-known/edgekeep-metrics";
const TOKEN: &str = "metrics-token-of-the-tests";

#[tokio::test(flavor = "multi_thread")]
async fn counts_are_for_whoever_has_the_token() {
    let gate = Gate::with(|_, variables| {
        variables.insert("METRICS_TOKEN", TOKEN.to_owned());
    })
    .await;
    let token = gate.good_token();
    for _ in 0..3 {
        assert_eq!(gate.get("/api/me", &token).await.status, 200);
    }
    gate.get("/api/admin/x", &token).await;
    gate.get("/api/me", "garbage").await;
    gate.get("/api/%2e%2e/x", &token).await;
    for given in [
        None,
        Some(token.as_str()),
        Some(""),
        Some("metrics-token-of-the-test"),
    ] {
        let mut call = gate.edge.call("GET", PATH);
        if let Some(given) = given {
            call = call.bearer(given);
        }
        let answer = call.send().await.unwrap();
        assert_eq!(answer.status, 401, "{given:?}");
        assert!(!answer.text().contains("edgekeep_gate"), "{given:?}");
    }
    let answer = gate.get(PATH, TOKEN).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let text = answer.text();
    for line in [
        "edgekeep_gate_requests_total{decision=\"forward\",code=\"\"} 3",
        "edgekeep_gate_requests_total{decision=\"refuse\",code=\"insufficient_role\"} 1",
        "edgekeep_gate_requests_total{decision=\"refuse\",code=\"path_invalid\"} 1",
        "edgekeep_gate_tokens_total{cached=\"false\"} 1",
        "edgekeep_gate_tokens_total{cached=\"true\"} 2",
        "edgekeep_gate_keys 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(text.contains("edgekeep_gate_list_age_seconds "), "{text}");
    assert!(
        gate.upstream
            .take()
            .iter()
            .all(|seen| seen.target == "/api/me")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_of_its_own_the_path_is_one_like_any_other() {
    let gate = Gate::start().await;
    let answer = gate.get(PATH, &gate.good_token()).await;
    assert_eq!(answer.verdict(), (403, "route_unknown".to_owned()));
}

/// A point as workerd sends it: JSON whose strings are arrays of bytes.
fn readable(point: &[u8]) -> String {
    let point: serde_json::Map<String, Value> = serde_json::from_slice(point).unwrap();
    let text = |value: &Value| {
        let bytes = value.as_array()?.iter();
        let bytes: Option<Vec<u8>> = bytes.map(|b| u8::try_from(b.as_u64()?).ok()).collect();
        String::from_utf8(bytes?).ok()
    };
    let members = point.iter();
    let words = members.map(|(name, value)| match text(value) {
        Some(text) => format!("{name}={text}"),
        None => format!("{name}={value}"),
    });
    words.collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dataset_is_told_of_every_request_and_of_nobody() {
    let told: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let kept = Arc::clone(&told);
    let dataset = Server::start(move |request| {
        kept.lock().unwrap().push(request.body.clone());
        Reply::new(200, "")
    })
    .await;
    let gate = Gate::start().await;
    let variables = gate::variables(&gate.issuer, &gate.upstream);
    let edge = Edge::with_dataset(&variables, gate.issuer.kv(), dataset.address());
    let token = gate.token(&json!({"sub": "user-seventeen"}));
    let forwarded = edge.call("GET", "/api/people/4711").bearer(&token).send();
    assert_eq!(forwarded.await.unwrap().status, 200);
    let refused = edge.call("GET", "/api/admin/4711").bearer(&token).send();
    assert_eq!(refused.await.unwrap().status, 403);

    let both = eventually(Duration::from_secs(5), || async {
        (told.lock().unwrap().len() >= 2).then_some(())
    });
    assert!(
        both.await.is_some(),
        "the dataset was told of {:?}",
        told.lock().unwrap().len()
    );
    let points = told.lock().unwrap().clone();
    let texts: Vec<_> = points.iter().map(|point| readable(point)).collect();
    let has = |text: &str, words: &[&str]| words.iter().all(|word| text.contains(word));
    assert!(
        texts.iter().any(|text| has(
            text,
            &[
                "index1=forward",
                "blob1=forward",
                "blob3=/api/**",
                "blob4=GET",
                "double1=200"
            ]
        )),
        "{texts:?}"
    );
    assert!(
        texts.iter().any(|text| has(
            text,
            &[
                "index1=refuse",
                "blob2=insufficient_role",
                "blob3=/api/admin/**",
                "double1=403"
            ]
        )),
        "{texts:?}"
    );
    for secret in ["user-seventeen", "4711", &token] {
        assert!(
            !texts.iter().any(|text| text.contains(secret)),
            "{secret} in {texts:?}"
        );
    }
}
