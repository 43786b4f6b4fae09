//! The lines of the log: where only some are wanted, and why an upstream has not answered.

use std::time::Duration;

use edgekeep_tests::clock;
use edgekeep_tests::edge::Edge;
use edgekeep_tests::gate::{self, Gate};
use edgekeep_tests::process;
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn what_simply_passes_writes_no_line_where_refusals_are_enough() {
    let mut gate = Gate::start().await;
    let mut variables = gate::variables(&gate.issuer, &gate.upstream);
    let nowhere = process::free_port();
    let policy = format!(
        r#"
        [[route]]
        match = "/tried/**"
        roles = ["nobody"]
        report_only = true

        [[route]]
        match = "/gone/**"
        upstream = "http://127.0.0.1:{nowhere}"

        [[route]]
        match = "/api/**"
        "#
    );
    variables.insert("POLICY", policy);
    variables.insert("LOG", "refusals".to_owned());
    variables.insert("METRICS_TOKEN", "token-of-the-operators".to_owned());
    gate.edge = Edge::start(&variables, gate.issuer.kv());
    let token = gate.good_token();
    for (target, status) in [
        ("/api/1", 200),
        ("/api/2", 200),
        ("/tried/1", 200),
        ("/elsewhere", 403),
        ("/gone/1", 502),
    ] {
        assert_eq!(gate.get(target, &token).await.status, status, "{target}");
    }
    let lines = || -> Vec<Value> {
        let log = gate.edge.log();
        let lines = log
            .iter()
            .filter_map(|line| line.find('{').map(|at| &line[at..]));
        let lines = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["decision"].is_string()).collect()
    };
    let last = clock::eventually(Duration::from_secs(2), || async {
        lines()
            .iter()
            .any(|line| line["path"] == "/gone/1")
            .then_some(())
    });
    assert!(last.await.is_some(), "{:?}", gate.edge.log());
    let said: Vec<_> = lines()
        .iter()
        .map(|line| {
            format!(
                "{} {} {} {}",
                line["path"], line["decision"], line["code"], line["status"]
            )
            .replace('"', "")
        })
        .collect();
    assert_eq!(
        said,
        [
            "/tried/1 report insufficient_role 200",
            "/elsewhere refuse route_unknown 403",
            "/gone/1 forward upstream_unavailable 502",
        ]
    );
    // What writes no line is counted like the rest.
    let metrics = gate.edge.call("GET", "/.well-known/edgekeep-metrics");
    let metrics = metrics
        .bearer("token-of-the-operators")
        .send()
        .await
        .unwrap();
    let text = metrics.text();
    let passed = r#"edgekeep_gate_requests_total{decision="forward",code=""} 2"#;
    assert!(text.contains(passed), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn why_an_upstream_does_not_answer_is_in_the_log_without_the_query() {
    let nowhere = process::free_port();
    let gate = Gate::with(|_, variables| {
        variables.insert("UPSTREAM_URL", format!("http://127.0.0.1:{nowhere}"));
    })
    .await;
    let answer = gate.get("/api/me?a=hidden", &gate.good_token()).await;
    assert_eq!(answer.verdict(), (502, "upstream_unavailable".to_owned()));
    let id = answer.header("x-request-id").unwrap();
    let cause = format!("upstream, request {id}: ");
    let heard = clock::eventually(Duration::from_secs(2), || async {
        let log = gate.edge.log();
        let line = log.iter().find_map(|line| line.split_once(&cause))?;
        (!line.1.is_empty()).then_some(())
    });
    let log = gate.edge.log();
    assert!(heard.await.is_some(), "{log:?}");
    assert!(!log.join("\n").contains("hidden"), "{log:?}");
}
