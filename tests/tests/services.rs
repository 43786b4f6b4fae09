//! The example service of `docs/rust-services.md` beside the real issuer: it refuses what was logged
//! out, follows the keys, and goes on while the issuer is away.

use std::time::Duration;

use edgekeep_shared::gate::refusal::CHALLENGE;
use edgekeep_tests::clock::eventually;
use edgekeep_tests::edge::root;
use edgekeep_tests::house::{House, REVOCATION_LIMIT};
use edgekeep_tests::http::Answer;
use edgekeep_tests::origin::Origin;
use edgekeep_tests::service::Service;
use serde_json::json;

use crate::rotation::{kid, rotate};

const EMAIL: &str = "ada@example.com";
const PASSWORD: &str = "correct horse battery staple";

#[test]
fn the_page_shows_the_program_that_is_tested() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    let program = read("services/examples/reports.rs");
    let (_, shown) = program.split_once("\n\n").unwrap();
    assert!(read("docs/rust-services.md").contains(&format!("```rust\n{shown}```\n")));
}

fn challenge(answer: &Answer) -> &str {
    answer.header("www-authenticate").unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn lets_in_who_is_logged_in_and_refuses_who_was_logged_out() {
    let origin = Origin::start().await;
    let service = Service::trusting(&origin).await;
    let tokens = origin.register(EMAIL, PASSWORD).await;
    let user = tokens.user();

    let me = service.get("/me", &tokens.access).await;
    assert_eq!(me.status, 200, "{}", me.text());
    assert_eq!(me.json()["user"], user);
    let welcome = service.get("/", &tokens.access).await;
    assert_eq!(welcome.text(), format!("Welcome back, {user}."));
    let welcome = service.call("GET", "/").send().await.unwrap();
    assert_eq!((welcome.status, welcome.text().as_str()), (200, "Welcome."));

    let nobody = service.call("GET", "/me").header("X-Request-ID", "r-1");
    let nobody = nobody.send().await.unwrap();
    assert_eq!(nobody.verdict(), (401, "token_missing".to_owned()));
    assert_eq!(challenge(&nobody), CHALLENGE);
    assert_eq!(
        nobody.header("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(nobody.json()["instance"], "r-1");
    // A bad token is not taken for none, where none is needed.
    let refused = service.get("/", &format!("{}A", tokens.access)).await;
    assert_eq!(refused.status, 401, "{}", refused.text());

    let call = service.call("POST", "/reports").bearer(&tokens.access);
    let may_not = call.send().await.unwrap();
    assert_eq!(may_not.verdict(), (403, "insufficient_scope".to_owned()));
    assert_eq!(
        may_not.json()["required"],
        json!({"scopes": ["report:write"]})
    );
    assert!(
        challenge(&may_not).ends_with(r#", scope="report:write""#),
        "{}",
        challenge(&may_not)
    );

    let other = origin.login(EMAIL, PASSWORD).await;
    assert_eq!(service.get("/me", &other.access).await.status, 200);
    let gone = origin.post_as(&tokens.access, "/logout", &json!({})).await;
    assert_eq!(gone.status, 204);
    let refused = eventually(REVOCATION_LIMIT, || async {
        let answer = service.get("/me", &tokens.access).await;
        (answer.status != 200).then_some(answer)
    });
    let (refused, _) = refused.await.expect("the service goes on accepting it");
    assert_eq!(refused.verdict(), (401, "token_revoked".to_owned()));
    assert_eq!(service.get("/me", &other.access).await.status, 200);
    // Neither is it let in as nobody.
    assert_eq!(
        service.get("/", &tokens.access).await.code(),
        "token_revoked"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn follows_the_keys_and_goes_on_without_the_issuer() {
    let mut origin = Origin::start().await;
    let service = Service::trusting(&origin).await;
    let before = origin.register(EMAIL, PASSWORD).await;
    assert_eq!(service.get("/me", &before.access).await.status, 200);
    rotate(&origin).await;
    // The running server hears of it from the database.
    let after = eventually(Duration::from_secs(10), || async {
        let tokens = origin.login(EMAIL, PASSWORD).await;
        (kid(&tokens.access) != kid(&before.access)).then_some(tokens)
    });
    let (after, _) = after.await.expect("the new key signs");
    for tokens in [&after, &before] {
        let answer = service.get("/me", &tokens.access).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    origin.kill9();
    // Past the time for which a list counts as checked: it is asked for, and not to be had.
    tokio::time::sleep(Duration::from_secs(6)).await;
    for tokens in [&after, &before] {
        let answer = service.get("/me", &tokens.access).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    // Who knows nothing yet lets nobody in, and says when to come again.
    let cold = Service::start(&origin.url(), &origin.must_run(&["keys", "control"])).await;
    let answer = cold.get("/me", &after.access).await;
    assert_eq!(answer.verdict(), (503, "keys_unavailable".to_owned()));
    assert_eq!(answer.header("retry-after"), Some("2"));
    assert_eq!(challenge(&answer), "");
    assert_eq!(cold.get("/", "x").await.code(), "token_malformed");

    origin.start_server().await;
    let accepted = eventually(Duration::from_secs(10), || async {
        let answer = cold.get("/me", &after.access).await;
        (answer.status == 200).then_some(())
    });
    assert!(accepted.await.is_some(), "{:?}", cold.log());
}

/// One rule at three doors: gate, origin and service.
#[tokio::test(flavor = "multi_thread")]
async fn every_door_reads_every_spelling_alike() {
    let house = House::start().await;
    let service = Service::trusting(&house.origin).await;
    let tokens = house.origin.register(EMAIL, PASSWORD).await;
    let token = &tokens.access;
    let good = format!("Bearer {token}");
    let spellings: [(Vec<String>, &str); 24] = [
        (vec![], "token_missing"),
        (vec![String::new()], "token_missing"),
        (vec!["Bearer".into()], "token_malformed"),
        (vec!["Bearer ".into()], "token_malformed"),
        (vec!["bearer\t".into()], "token_malformed"),
        (vec![good.clone()], "ok"),
        (vec![format!("bEARER    {token}")], "ok"),
        (vec![format!("  Bearer {token}\t ")], "ok"),
        (vec![format!("Bearer\t{token}")], "token_malformed"),
        (vec![format!("Bearer \t{token}")], "token_malformed"),
        (vec![format!("Bearer:{token}")], "token_malformed"),
        (vec![format!("Bearer {token} x")], "token_malformed"),
        (vec![format!("Bearer {token},")], "token_malformed"),
        (vec![format!("Bearer \"{token}\"")], "token_malformed"),
        (vec![format!("Bearer {token}\u{e9}")], "token_malformed"),
        (vec![format!("Bearer{token}")], "token_missing"),
        (vec![format!("Bearer-X {token}")], "token_missing"),
        (vec![token.clone()], "token_missing"),
        (vec!["Basic dTpw".into()], "token_missing"),
        (vec![format!("DPoP {token}")], "token_missing"),
        (vec![format!("Basic dTpw, {good}")], "token_malformed"),
        (vec![good.clone(), good.clone()], "token_malformed"),
        (vec![good.clone(), "Basic dTpw".into()], "token_malformed"),
        (
            vec!["Basic dTpw".into(), "Basic dTpw".into()],
            "token_missing",
        ),
    ];
    for (fields, expected) in &spellings {
        for (door, call) in [
            ("gate", house.edge.call("GET", "/api/me")),
            ("origin", house.origin.call("GET", "/api/v1/auth/session")),
            ("service", service.call("GET", "/me")),
        ] {
            let call = fields
                .iter()
                .fold(call, |call, field| call.header("Authorization", field));
            let answer = call.send().await.unwrap();
            let said = match answer.status {
                200 => "ok".to_owned(),
                401 => answer.code(),
                status => format!("{status} {}", answer.text()),
            };
            assert_eq!(said, *expected, "{door}: {fields:?}");
        }
    }
}
