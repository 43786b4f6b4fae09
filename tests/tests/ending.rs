//! Turned away within seconds, with the very token that worked a moment ago.

use std::time::Duration;

use edgekeep_tests::house::House;
use edgekeep_tests::origin::Tokens;
use serde_json::{Value, json};

const EMAIL: &str = "ada@example.com";
const PASSWORD: &str = "correct horse battery staple";

fn claim(token: &str, name: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    let payload = edgekeep_shared::base64url::decode(payload.as_bytes()).unwrap();
    serde_json::from_slice::<Value>(&payload).unwrap()[name].clone()
}

#[expect(
    clippy::too_many_lines,
    reason = "one account, every way to be turned away"
)]
async fn sources(sources: &'static str) {
    let house = House::with(&[], |variables| {
        variables.insert("REVOCATION_SOURCES", sources.to_owned());
    })
    .await;
    let origin = &house.origin;
    let stays = origin.register(EMAIL, PASSWORD).await;
    let someone = origin.register("else@example.com", PASSWORD).await;
    let passes = async |tokens: &Tokens| {
        let answer = house.get("/api/me", &tokens.access).await;
        assert_eq!(
            answer.status,
            200,
            "who is not revoked goes on: {}",
            answer.text()
        );
    };

    // Logging out.
    let leaves = origin.login(EMAIL, PASSWORD).await;
    passes(&leaves).await;
    let answer = origin.post_as(&leaves.access, "/logout", &json!({})).await;
    assert_eq!(answer.status, 204, "{}", answer.text());
    let took = house.refused(&leaves.access).await;
    assert!(took < Duration::from_secs(4), "{took:?}");
    passes(&stays).await;
    let refresh = origin
        .post("/refresh", &json!({"refresh_token": leaves.refresh}))
        .await;
    assert_eq!(refresh.verdict(), (401, "session_ended".to_owned()));
    // The origin itself is not the last to know.
    let answer = origin
        .call("GET", "/api/v1/auth/session")
        .bearer(&leaves.access)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status, 401);

    // Ending another session of one's own.
    let ended = origin.login(EMAIL, PASSWORD).await;
    passes(&ended).await;
    let route = format!("/api/v1/auth/sessions/{}", ended.session);
    let not_mine = origin
        .call("DELETE", &route)
        .bearer(&someone.access)
        .send()
        .await
        .unwrap();
    assert_eq!(not_mine.verdict(), (404, "not_found".to_owned()));
    let answer = origin
        .call("DELETE", &route)
        .bearer(&stays.access)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status, 204, "{}", answer.text());
    house.refused(&ended.access).await;
    passes(&stays).await;

    // By the command line, while the server runs.
    let by_sid = origin.login(EMAIL, PASSWORD).await;
    passes(&by_sid).await;
    origin.must_run(&["revoke", "--sid", &by_sid.session]);
    house.refused(&by_sid.access).await;
    passes(&stays).await;

    let by_jti = origin.login(EMAIL, PASSWORD).await;
    passes(&by_jti).await;
    origin.must_run(&[
        "revoke",
        "--jti",
        claim(&by_jti.access, "jti").as_str().unwrap(),
    ]);
    house.refused(&by_jti.access).await;
    passes(&stays).await;
    // The token was revoked, not its session.
    let successor = origin
        .post("/refresh", &json!({"refresh_token": by_jti.refresh}))
        .await;
    passes(&Tokens::of(&successor)).await;

    // Logging out everywhere.
    let first = origin.login(EMAIL, PASSWORD).await;
    passes(&first).await;
    let answer = origin
        .post_as(&stays.access, "/logout", &json!({"all": true}))
        .await;
    assert_eq!(answer.status, 204, "{}", answer.text());
    house.refused(&first.access).await;
    house.refused(&stays.access).await;
    passes(&someone).await;
    // At once again: a token of after the logout counts, whatever second it is.
    let after = origin.login(EMAIL, PASSWORD).await;
    passes(&after).await;

    // A whole subject.
    origin.must_run(&["revoke", "--sub", after.user()]);
    house.refused(&after.access).await;
    passes(&someone).await;
    let after = origin.login(EMAIL, PASSWORD).await;
    passes(&after).await;

    // RFC 7009 and our own route, by whoever holds the token.
    let held = origin.login(EMAIL, PASSWORD).await;
    passes(&held).await;
    let answer = origin
        .post_as(
            &held.access,
            "/revoke-token",
            &json!({"token": held.access}),
        )
        .await;
    assert!(
        answer.status == 200 || answer.status == 204,
        "{}",
        answer.text()
    );
    house.refused(&held.access).await;
    let held = origin.login(EMAIL, PASSWORD).await;
    passes(&held).await;
    let form = origin
        .call("POST", "/oauth/revoke")
        .header("Content-Type", "application/x-www-form-urlencoded");
    let answer = form
        .body(format!("token={}", held.refresh))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    house.refused(&held.access).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_both_sources() {
    sources("kv,feed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_kv_alone() {
    sources("kv").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_takes_its_tokens_with_it_and_nobody_is_locked_out() {
    let house = House::start().await;
    let origin = &house.origin;
    let old = origin.register(EMAIL, PASSWORD).await;
    assert_eq!(house.get("/api/me", &old.access).await.status, 200);
    let listed = origin.must_run(&["keys", "list"]);
    let active = listed.lines().find(|line| line.contains("active")).unwrap();
    let kid = active.split_whitespace().next().unwrap().to_owned();
    origin.must_run(&["keys", "revoke", &kid]);
    // It leaves the JWK Set and enters the list: whichever the gate reads first.
    house
        .refused_as(&old.access, &["token_revoked", "key_unknown"])
        .await;
    // The session lives; its next token is signed by the standby.
    let mut tokens = Tokens::of(
        &origin
            .post("/refresh", &json!({"refresh_token": old.refresh}))
            .await,
    );
    // Fewer than a session may refresh in a minute.
    for _ in 0..8 {
        let answer = house.get("/api/me", &tokens.access).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        tokens = Tokens::of(
            &origin
                .post("/refresh", &json!({"refresh_token": tokens.refresh}))
                .await,
        );
    }
    assert_eq!(
        house.get("/api/me", &old.access).await.status,
        401,
        "for ever"
    );
    let unknown = origin.run(&["keys", "revoke", "nobody"]);
    assert!(!unknown.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_origin_stops_neither_verification_nor_what_was_revoked() {
    let mut house = House::start().await;
    let stays = house.origin.register(EMAIL, PASSWORD).await;
    let leaves = house.origin.login(EMAIL, PASSWORD).await;
    for tokens in [&stays, &leaves] {
        assert_eq!(house.get("/api/me", &tokens.access).await.status, 200);
    }
    assert_eq!(
        house
            .origin
            .post_as(&leaves.access, "/logout", &json!({}))
            .await
            .status,
        204
    );
    house.refused(&leaves.access).await;
    house.origin.kill9();
    for _ in 0..24 {
        let answer = house.get("/api/me", &stays.access).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(
            answer.took < Duration::from_millis(2_500),
            "{:?}",
            answer.took
        );
        let answer = house.get("/api/me", &leaves.access).await;
        assert_eq!(answer.verdict(), (401, "token_revoked".to_owned()));
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    // What may not be judged without the origin is refused as such.
    let answer = house.get("/api/strict/1", &stays.access).await;
    assert_eq!(answer.verdict(), (503, "revocation_unavailable".to_owned()));
    house.origin.start_server().await;
    assert_eq!(house.get("/api/strict/1", &stays.access).await.status, 200);
    assert_eq!(house.get("/api/me", &leaves.access).await.status, 401);
}
