//! What every request passes through: correlation ids, problems, limits.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod support;

use axum::body::Body;
use axum::http::{Method, Request};
use support::Origin;

#[tokio::test]
async fn health_and_readiness_answer() {
    let origin = Origin::new().await;
    assert_eq!(origin.get("/health").await.body["status"], "ok");
    assert_eq!(origin.get("/ready").await.body["status"], "ready");
}

#[tokio::test]
async fn unknown_routes_and_methods_are_problems() {
    let origin = Origin::new().await;
    let reply = origin.get("/nowhere").await.expect(404, "not_found");
    assert_eq!(reply.headers["content-type"], "application/problem+json");
    assert_eq!(reply.body["status"], 404);
    assert_eq!(
        reply.body["instance"],
        reply.headers["x-request-id"].to_str().unwrap()
    );
    let reply = origin.call(Method::POST, "/health", None, None).await;
    let reply = reply.expect(405, "request_invalid");
    assert!(reply.headers.contains_key("allow"));
}

#[tokio::test]
async fn correlation_ids_are_taken_over_only_when_they_are_plain() {
    let origin = Origin::new().await;
    let longest = "a".repeat(128);
    let too_long = "a".repeat(129);
    for (given, kept) in [
        ("abc-1.2_X", true),
        (longest.as_str(), true),
        (too_long.as_str(), false),
        ("", false),
        ("a b", false),
        ("a\"b", false),
        ("é", false),
    ] {
        let request = Request::get("/nowhere")
            .header("x-request-id", given)
            .body(Body::empty())
            .unwrap();
        let reply = origin.send(request).await;
        let instance = reply.text("instance");
        assert_eq!(instance == given, kept, "{given:?} gave {instance:?}");
        assert!(!instance.is_empty());
    }
}
