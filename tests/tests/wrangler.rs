//! `wrangler dev` from the project's `wrangler.toml`, before a real origin: what a developer of a
//! deployment on Cloudflare has on the machine.

use edgekeep_tests::clock::eventually;
use edgekeep_tests::edge::KV_TOKEN;
use edgekeep_tests::gate::Upstream;
use edgekeep_tests::house::{self, REVOCATION_LIMIT};
use edgekeep_tests::http::{Answer, Call};
use edgekeep_tests::origin::Origin;
use edgekeep_tests::wrangler::{Dev, Wrangler};
use serde_json::json;

const PASSWORD: &str = "correct horse battery staple";

/// Puts what the origin has signed into the worker's store, as its writer does on Cloudflare.
async fn publish(origin: &Origin, wrangler: &Wrangler) {
    for key in ["jwks", "revocations"] {
        let call = Call::new(origin.kv(), "GET", &format!("/{key}?urlencoded=true"));
        let document = call.bearer(KV_TOKEN).send().await.unwrap();
        assert_eq!(document.status, 200, "{key}");
        wrangler.put(key, &document.body);
    }
}

async fn get(dev: &Dev, target: &str, token: &str) -> Answer {
    dev.call("GET", target).bearer(token).send().await.unwrap()
}

fn refusal(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

async fn log_out(origin: &Origin, token: &str) {
    let answer = origin.post_as(token, "/logout", &json!({})).await;
    assert_eq!(answer.status, 204, "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn lets_in_turns_away_and_hears_of_a_logout_from_the_feed_and_from_kv_alone() {
    let settings = [(
        "EDGEKEEP_GATE__INTROSPECTION_TOKEN",
        house::INTROSPECTION_TOKEN,
    )];
    let mut origin = Origin::with(&settings).await;
    let upstream = Upstream::start().await;
    let mut variables = house::variables(&origin, &upstream);
    let wrangler = Wrangler::new();
    publish(&origin, &wrangler).await;

    let first = origin.register("ada@example.com", PASSWORD).await;
    let second = origin.login("ada@example.com", PASSWORD).await;
    let third = origin.login("ada@example.com", PASSWORD).await;
    let dev = wrangler.dev(&variables);
    let answer = dev.call("GET", "/api/me").send().await.unwrap();
    assert_eq!(answer.verdict(), refusal(401, "token_missing"));
    let answer = get(&dev, "/api/admin/users", &first.access).await;
    assert_eq!(answer.verdict(), refusal(403, "insufficient_role"));
    // What wrangler stands in front with resolves dots itself; the gate judges what comes of it.
    let answer = get(&dev, "/api/admin;/users", &first.access).await;
    assert_eq!(answer.verdict(), refusal(400, "path_invalid"));
    assert!(upstream.take().is_empty());
    assert_eq!(get(&dev, "/api/strict/1", &first.access).await.status, 200);
    assert_eq!(get(&dev, "/api/me?a=1", &first.access).await.status, 200);
    let seen = upstream.take().pop().unwrap();
    assert_eq!(seen.target, "/api/me?a=1");
    assert_eq!(seen.header("x-user-id"), Some(first.user()));
    assert_eq!(get(&dev, "/api/me", &second.access).await.status, 200);

    log_out(&origin, &first.access).await;
    let refused = eventually(REVOCATION_LIMIT, || async {
        let answer = get(&dev, "/api/me", &first.access).await;
        (answer.status != 200).then_some(answer)
    });
    let (answer, _) = refused.await.unwrap();
    assert_eq!(answer.verdict(), refusal(401, "token_revoked"));
    assert_eq!(get(&dev, "/api/me", &second.access).await.status, 200);
    assert_eq!(dev.stop(), Vec::<u32>::new(), "something goes on running");

    // Nobody but the store knows of this one, and the store only what was put into it.
    log_out(&origin, &second.access).await;
    publish(&origin, &wrangler).await;
    log_out(&origin, &third.access).await;
    origin.kill9();
    variables.insert("REVOCATION_SOURCES", "kv".to_owned());
    let dev = wrangler.dev(&variables);
    for token in [&first.access, &second.access] {
        let answer = get(&dev, "/api/me", token).await;
        assert_eq!(answer.verdict(), refusal(401, "token_revoked"));
    }
    let answer = get(&dev, "/api/me", &third.access).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(dev.stop(), Vec::<u32>::new(), "something goes on running");
}

/// The platform's own limiter, as far as wrangler brings it along.
#[tokio::test(flavor = "multi_thread")]
async fn asks_the_limiter_of_wrangler_toml_for_each_person() {
    let origin = Origin::start().await;
    let upstream = Upstream::start().await;
    let mut variables = house::variables(&origin, &upstream);
    let policy = r#"
        [[route]]
        match = "/api/**"
        rate_limit = { binding = "API_LIMIT", by = "subject" }
    "#;
    variables.insert("POLICY", policy.to_owned());
    let ada = origin.register("ada@example.com", PASSWORD).await;
    let bob = origin.register("bob@example.com", PASSWORD).await;
    let wrangler = Wrangler::new();
    let dev = wrangler.dev_limited(&variables, 3);
    // A minute of the limiter may end between two of them, once.
    let mut passed = 0;
    let refused = loop {
        let answer = get(&dev, "/api/me", &ada.access).await;
        if answer.status != 200 {
            break answer;
        }
        passed += 1;
        assert!(passed <= 6, "nothing is counted");
    };
    assert!(passed >= 3, "{passed}");
    assert_eq!(refused.verdict(), refusal(429, "rate_limited"));
    assert_eq!(get(&dev, "/api/me", &bob.access).await.status, 200);
    assert_eq!(upstream.take().len(), passed + 1);
    assert_eq!(dev.stop(), Vec::<u32>::new(), "something goes on running");
}
