//! An upstream that is a worker itself, reached by the service binding `UPSTREAM`.

use edgekeep_tests::gate::Gate;
use serde_json::Value;

/// A worker that tells what it was asked, and throws where it is told to.
const TELLS: &str = r#"
export default {
  async fetch(request) {
    if (request.url.endsWith("/throw")) throw new Error("on purpose");
    if (request.url.endsWith("/away")) return Response.redirect("https://elsewhere.example/", 302);
    return Response.json({
      method: request.method,
      url: request.url,
      headers: Object.fromEntries(request.headers),
      cf: request.cf ?? null,
      body: await request.text(),
    });
  },
};
"#;

const POLICY: &str = r#"
    [[route]]
    match = "/elsewhere/**"
    upstream = "UPSTREAM_URL"

    [[route]]
    match = "/public/**"
    access = "public"

    [[route]]
    match = "/**"
"#;

async fn start() -> Gate {
    Gate::bound(TELLS, |_, variables| {
        let upstream = variables["UPSTREAM_URL"].clone();
        variables.insert("POLICY", POLICY.replace("UPSTREAM_URL", &upstream));
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_bound_gets_what_passes_and_what_is_known_of_the_connection() {
    let gate = start().await;
    let token = gate.good_token();
    for method in ["GET", "POST"] {
        let body = if method == "POST" { "a body" } else { "" };
        let call = gate
            .call(method, "/api/things/1?a=b", &token)
            .header("X-User-ID", "somebody else")
            .header("X-Own", "kept")
            .body(body);
        let answer = call.send().await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        let told = answer.json();
        assert_eq!(told["method"], method);
        assert_eq!(told["body"], body);
        let url = told["url"].as_str().unwrap();
        assert!(url.ends_with("/api/things/1?a=b"), "{url}");
        assert_eq!(told["headers"]["x-own"], "kept");
        assert_eq!(told["headers"]["x-user-id"], "user-1");
        let address = told["cf"]["clientIp"].as_str().unwrap();
        assert!(address.starts_with("127.0.0.1:"), "{address}");
    }
    // What is refused does not reach it, nor does its redirect lead anywhere.
    let refused = gate.edge.call("GET", "/api/things/1").send().await.unwrap();
    assert_eq!(refused.code(), "token_missing");
    let away = gate.get("/api/away", &token).await;
    assert_eq!(away.status, 302);
    assert_eq!(away.header("location"), Some("https://elsewhere.example/"));
    assert!(gate.upstream.take().is_empty(), "the URL was asked as well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_with_an_upstream_of_its_own_goes_there() {
    let gate = start().await;
    let token = gate.good_token();
    assert_eq!(
        gate.get("/elsewhere/1", &token).await.text(),
        "from upstream"
    );
    assert_eq!(gate.upstream.take_one().target, "/elsewhere/1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_throws_is_an_upstream_that_does_not_answer() {
    let gate = start().await;
    let answer = gate.get("/api/throw", &gate.good_token()).await;
    assert_eq!(answer.verdict(), (502, "upstream_unavailable".to_owned()));
    let told: Value = gate.get("/api/again", &gate.good_token()).await.json();
    assert_eq!(told["method"], "GET");
}
