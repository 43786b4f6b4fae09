//! Rules with a rate limit, by the limiter that is bound to the gate, and without one.

use std::time::Duration;

use edgekeep_tests::clock;
use edgekeep_tests::gate::Gate;
use edgekeep_tests::http::Answer;
use serde_json::json;

const POLICY: &str = r#"
[[route]]
match = "/limited/**"
rate_limit = { binding = "API_LIMIT", by = "subject" }

[[route]]
match = "/public/**"
access = "public"
rate_limit = { binding = "API_LIMIT", by = "address", header = "X-Real-IP" }

[[route]]
match = "/tried/**"
report_only = true
rate_limit = { binding = "API_LIMIT", by = "subject" }

[[route]]
match = "/unbound/**"
rate_limit = { binding = "NOT_THERE", by = "subject" }

[[route]]
match = "/variable/**"
rate_limit = { binding = "ISSUER", by = "subject" }

[[route]]
match = "/api/**"
"#;

const LIMIT: u32 = 3;

/// A gate with that policy and a limiter.
async fn limited() -> Gate {
    Gate::limited(LIMIT, |_, variables| {
        variables.insert("POLICY", POLICY.to_owned());
    })
    .await
}

fn exceeded() -> (u16, String) {
    (429, "rate_limited".to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_may_ask_so_often_and_others_are_not_counted_with_it() {
    let gate = limited().await;
    let of = |subject: &str, jti: &str| gate.token(&json!({"sub": subject, "jti": jti}));
    // What is refused anyway costs the upstream nothing and is not counted.
    for _ in 0..5 {
        let expired = json!({"sub": "user-1", "exp": 1_000, "iat": 900, "nbf": 900});
        let answer = gate.get("/limited/x", &gate.token(&expired)).await;
        assert_eq!(answer.verdict(), (401, "token_expired".to_owned()));
    }
    for number in 0..LIMIT {
        let token = of("user-1", &format!("t{number}"));
        assert_eq!(gate.get("/limited/x", &token).await.status, 200);
    }
    gate.upstream.take();
    let answer = gate.get("/limited/y", &of("user-1", "another")).await;
    assert_eq!(answer.verdict(), exceeded());
    assert_eq!(answer.header("retry-after"), Some("10"));
    assert!(gate.upstream.take().is_empty());
    assert_eq!(gate.get("/limited/x", &of("user-2", "t")).await.status, 200);
    // A rule without a limit asks nobody.
    assert_eq!(gate.get("/api/me", &of("user-1", "t0")).await.status, 200);

    // Where the rule only reports, it passes, and the log says that it would not have.
    let token = of("user-1", "t0");
    assert_eq!(gate.get("/tried/x", &token).await.status, 200);
    assert_eq!(gate.get("/tried/x", "garbage").await.status, 200);
    let said = clock::eventually(Duration::from_secs(2), || async {
        let log = gate.edge.log();
        let is_report = |line: &String| {
            line.contains("\"decision\":\"report\"") && line.contains("rate_limited")
        };
        log.iter().any(is_report).then_some(())
    });
    assert!(said.await.is_some(), "the log does not say it");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_counted_under_its_network_and_must_be_one() {
    let gate = limited().await;
    let ask = async |address: Option<&str>| -> Answer {
        let mut call = gate.edge.call("GET", "/public/x");
        if let Some(address) = address {
            call = call.header("X-Real-IP", address);
        }
        call.send().await.unwrap()
    };
    for address in ["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1"] {
        assert_eq!(ask(Some(address)).await.status, 200);
    }
    assert_eq!(ask(Some("192.0.2.1")).await.verdict(), exceeded());
    assert_eq!(ask(Some("192.0.2.2")).await.status, 200);
    for host in 1..=LIMIT {
        let address = format!("2001:db8:0:1::{host}");
        assert_eq!(ask(Some(&address)).await.status, 200);
    }
    assert_eq!(
        ask(Some("2001:db8:0:1:ffff::9")).await.verdict(),
        exceeded()
    );
    assert_eq!(ask(Some("2001:db8:0:2::1")).await.status, 200);
    gate.upstream.take();
    for address in [
        None,
        Some("unknown"),
        Some("192.0.2.9, 192.0.2.10"),
        Some(""),
    ] {
        let answer = ask(address).await;
        assert_eq!(
            answer.verdict(),
            (400, "request_invalid".to_owned()),
            "{address:?}"
        );
    }
    assert!(gate.upstream.take().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_nobody_keeps_lets_nothing_pass() {
    let gate = limited().await;
    let token = gate.good_token();
    for (path, binding) in [("/unbound/x", "NOT_THERE"), ("/variable/x", "ISSUER")] {
        let answer = gate.get(path, &token).await;
        assert_eq!(answer.verdict(), (503, "policy_unavailable".to_owned()));
        assert!(gate.upstream.take().is_empty(), "{path}");
        let said = clock::eventually(Duration::from_secs(2), || async {
            let log = gate.edge.log();
            let said = format!(
                "wants the rate limiter {binding}: what is bound to the gate by that name is none"
            );
            log.iter().any(|line| line.contains(&said)).then_some(())
        });
        assert!(said.await.is_some(), "{binding} is not in the log");
    }
    // The others go on.
    assert_eq!(gate.get("/api/me", &token).await.status, 200);
}
