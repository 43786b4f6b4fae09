//! Registration, profile, forgotten and changed passwords.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod support;

use axum::body::Body;
use axum::http::{Method, Request};
use edgekeep_origin::config::Channel;
use serde_json::{Value, json};
use support::{Origin, Reply};

const ALICE: &str = "alice@example.org";
const PASSWORD: &str = "correct horse battery";

async fn register(origin: &Origin, email: &str, password: &str) -> Reply {
    origin
        .post("/register", json!({"email": email, "password": password}))
        .await
}

async fn registered(origin: &Origin, email: &str) -> Reply {
    register(origin, email, PASSWORD).await.expect(202, "");
    let code = origin.code(email);
    origin
        .post("/register/verify", json!({"email": email, "code": code}))
        .await
        .expect(200, "")
}

async fn log_in(origin: &Origin, identifier: &str, password: &str) -> Reply {
    origin
        .post(
            "/login",
            json!({"identifier": identifier, "password": password}),
        )
        .await
}

#[tokio::test]
async fn an_account_exists_only_once_its_address_is_proved() {
    let origin = Origin::new().await;
    register(&origin, "Alice@Example.org", PASSWORD)
        .await
        .expect(202, "");
    log_in(&origin, ALICE, PASSWORD)
        .await
        .expect(401, "credentials_invalid");
    let code = origin.code("Alice@Example.org");
    let reply = origin
        .post("/register/verify", json!({"email": ALICE, "code": code}))
        .await;
    let reply = reply.expect(200, "");
    assert_eq!(reply.body["user"]["email"], "Alice@Example.org");
    assert_eq!(reply.body["token_type"], "Bearer");
    log_in(&origin, "ALICE@EXAMPLE.ORG", PASSWORD)
        .await
        .expect(200, "");
    // The code is used up.
    let again = origin
        .post("/register/verify", json!({"email": ALICE, "code": code}))
        .await;
    again.expect(400, "code_invalid");
}

#[tokio::test]
async fn a_taken_address_is_answered_alike_and_keeps_its_password() {
    let origin = Origin::new().await;
    let fresh = register(&origin, "bob@example.org", PASSWORD)
        .await
        .expect(202, "");
    registered(&origin, ALICE).await;
    let taken = register(&origin, ALICE, "another password")
        .await
        .expect(202, "");
    assert_eq!(fresh.body, taken.body);
    for answer in [&fresh, &taken] {
        assert_eq!(token_of(answer).len(), 47);
    }
    let message = origin.message(ALICE).unwrap();
    assert!(message.code.is_none(), "{}", message.text);
    // No code of the million opens it: the row matches none, and three tries are all there are.
    for _ in 0..3 {
        let body = json!({"email": ALICE, "code": "123456"});
        origin
            .post("/register/verify", body)
            .await
            .expect(400, "code_invalid");
    }
    log_in(&origin, ALICE, PASSWORD).await.expect(200, "");
    log_in(&origin, ALICE, "another password")
        .await
        .expect(401, "credentials_invalid");
}

/// The token of a registration.
fn token_of(registered: &Reply) -> String {
    let token = registered.headers["x-registration-token"].to_str().unwrap();
    assert!(token.starts_with("eko_"), "{token}");
    token.to_owned()
}

/// A code of six digits that is not `code`.
fn other_than(code: &str) -> String {
    format!("{:06}", (code.parse::<u32>().unwrap() + 1) % 1_000_000)
}

#[tokio::test]
async fn a_code_that_strangers_have_used_up_is_good_with_its_token() {
    let origin = Origin::new().await;
    let verify = async |body: Value| origin.post("/register/verify", body).await;
    let mine = register(&origin, ALICE, PASSWORD).await.expect(202, "");
    let (token, code) = (token_of(&mine), origin.code(ALICE));
    let guess = json!({"email": ALICE, "code": other_than(&code)});
    for _ in 0..3 {
        verify(guess.clone()).await.expect(400, "code_invalid");
    }
    // For whoever has the address alone it is used up, and nobody has sent another.
    let bare = json!({"email": ALICE, "code": code});
    verify(bare).await.expect(400, "code_invalid");
    // Two typing errors are left of three.
    let wrong = json!({"registration_token": token, "code": other_than(&code)});
    for _ in 0..2 {
        verify(wrong.clone()).await.expect(400, "code_invalid");
    }
    let right = json!({"registration_token": token, "code": code});
    verify(right.clone()).await.expect(200, "");
    verify(right).await.expect(400, "code_invalid");
    log_in(&origin, ALICE, PASSWORD).await.expect(200, "");
}

#[tokio::test]
async fn with_its_token_a_code_has_three_tries_and_goes_to_one_address() {
    let origin = Origin::new().await;
    let verify = async |body: Value| origin.post("/register/verify", body).await;
    let mine = register(&origin, ALICE, PASSWORD).await.expect(202, "");
    let (token, code) = (token_of(&mine), origin.code(ALICE));
    let other = register(&origin, "bob@example.org", PASSWORD).await;
    let other = token_of(&other.expect(202, ""));
    // What does not fit together opens nothing.
    for body in [
        json!({"registration_token": other, "code": code}),
        json!({"registration_token": token, "email": "bob@example.org", "code": code}),
        json!({"registration_token": "eko_nothing", "email": ALICE, "code": code}),
    ] {
        verify(body).await.expect(400, "code_invalid");
    }
    let both = json!({"registration_token": token, "email": ALICE, "code": code});
    for body in [
        json!({"registration_token": "", "code": code}),
        json!({"registration_token": "x".repeat(65), "code": code}),
        json!({"registration_token": token}),
        json!({"registration_token": token, "country_code": "CH", "code": code}),
        json!({"registration_token": token, "token": "ekl_x"}),
        json!({"registration_token": token, "code": code, "password": PASSWORD}),
    ] {
        verify(body).await.expect(400, "request_invalid");
    }
    verify(both).await.expect(200, "");
    // Of a code that was guessed at three times with the token the fourth guess fails.
    let mine = register(&origin, "carol@example.org", PASSWORD).await;
    let (token, code) = (
        token_of(&mine.expect(202, "")),
        origin.code("carol@example.org"),
    );
    for given in [
        &other_than(&code),
        &other_than(&code),
        &other_than(&code),
        &code,
    ] {
        let body = json!({"registration_token": token, "code": given});
        verify(body).await.expect(400, "code_invalid");
    }
}

#[tokio::test]
async fn guesses_at_a_registration_hold_no_login_up() {
    let origin = Origin::with(|config| config.otp.failures_per_day = 3).await;
    registered(&origin, ALICE).await;
    let strangers = async |tries: u32| {
        for _ in 0..tries {
            let body = json!({"email": ALICE, "code": "000000"});
            let reply = origin.post("/register/verify", body).await;
            reply.expect(400, "code_invalid");
        }
    };
    for _ in 0..2 {
        origin.advance(3_600);
        register(&origin, ALICE, "another password")
            .await
            .expect(202, "");
        strangers(4).await;
    }
    let sent = origin.post("/otp/send", json!({"email": ALICE})).await;
    let sent = sent.expect(200, "");
    let body = json!({"otp_token": sent.text("otp_token"), "code": origin.code(ALICE)});
    origin.post("/otp/verify", body).await.expect(200, "");

    // Nor do they hold a registration up whose owner has its token, however many they are.
    let bob = "bob@example.org";
    for _ in 0..2 {
        origin.advance(3_600);
        register(&origin, bob, PASSWORD).await.expect(202, "");
        for _ in 0..3 {
            let body = json!({"email": bob, "code": other_than(&origin.code(bob))});
            let reply = origin.post("/register/verify", body).await;
            reply.expect(400, "code_invalid");
        }
    }
    let mine = register(&origin, bob, PASSWORD).await.expect(202, "");
    let bare = json!({"email": bob, "code": origin.code(bob)});
    let reply = origin.post("/register/verify", bare).await;
    reply.expect(400, "code_invalid");
    let body = json!({"registration_token": token_of(&mine), "code": origin.code(bob)});
    origin.post("/register/verify", body).await.expect(200, "");
}

#[tokio::test]
async fn a_password_set_by_a_stranger_never_sticks() {
    let origin = Origin::new().await;
    register(&origin, ALICE, "the owner's password")
        .await
        .expect(202, "");
    register(&origin, ALICE, "the stranger's password")
        .await
        .expect(202, "");
    let code = origin.code(ALICE);
    let body = json!({"email": ALICE, "code": code});
    origin.post("/register/verify", body).await.expect(200, "");
    for password in ["the owner's password", "the stranger's password"] {
        log_in(&origin, ALICE, password)
            .await
            .expect(401, "credentials_invalid");
    }
}

#[tokio::test]
async fn the_same_request_again_is_the_same_person() {
    for used in [0, 1] {
        let origin = Origin::new().await;
        let mut codes = Vec::new();
        for _ in 0..2 {
            register(&origin, ALICE, PASSWORD).await.expect(202, "");
            codes.push(origin.code(ALICE));
        }
        let verify = async |code: &str| {
            let body = json!({"email": ALICE, "code": code});
            origin.post("/register/verify", body).await
        };
        verify(&codes[used]).await.expect(200, "");
        // The other ended with it.
        verify(&codes[1 - used]).await.expect(400, "code_invalid");
        log_in(&origin, ALICE, PASSWORD).await.expect(200, "");
    }
}

/// Registers, and gives what proves it: the token and the code.
async fn begun(origin: &Origin, password: &str) -> Value {
    let begun = register(origin, ALICE, password).await.expect(202, "");
    json!({"registration_token": token_of(&begun), "code": origin.code(ALICE)})
}

#[tokio::test]
async fn no_request_of_a_stranger_ends_a_registration_or_takes_its_password() {
    let origin = Origin::new().await;
    let before = begun(&origin, "the stranger's password").await;
    let mine = begun(&origin, "the owner's password").await;
    let after = begun(&origin, "the stranger's password").await;
    // Not even by a request that is refused,
    register(&origin, ALICE, "the stranger's password")
        .await
        .expect(429, "rate_limited");
    // and with the owner's token no code is good but the owner's.
    let mixed = json!({"registration_token": mine["registration_token"], "code": after["code"]});
    let verify = async |proof: &Value| origin.post("/register/verify", proof.clone()).await;
    verify(&mixed).await.expect(400, "code_invalid");
    verify(&mine).await.expect(200, "");
    for proof in [before, after, mine] {
        verify(&proof).await.expect(400, "code_invalid");
    }
    log_in(&origin, ALICE, "the owner's password")
        .await
        .expect(200, "");
    log_in(&origin, ALICE, "the stranger's password")
        .await
        .expect(401, "credentials_invalid");
}

/// By the address alone one guess is of every code that waits for it.
#[tokio::test]
async fn a_guess_counts_for_each_code_that_it_is_compared_with() {
    let origin = Origin::with(|config| config.otp.failures_per_day = 5).await;
    let mut codes = Vec::new();
    for password in [
        PASSWORD,
        "the stranger's password",
        "a third one's password",
    ] {
        codes.push(begun(&origin, password).await["code"].clone());
    }
    let counted = async || {
        let mut reader = origin.state.db.read().await.unwrap();
        let count = sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM code_failures");
        count.fetch_one(&mut *reader).await.unwrap()
    };
    let verify = async |code: &Value| {
        let body = json!({"email": ALICE, "code": code});
        origin.post("/register/verify", body).await
    };
    let wrong = (0..4).map(|n| json!(format!("{n:06}")));
    let wrong = wrong.into_iter().find(|code| !codes.contains(code));
    let wrong = wrong.unwrap();
    verify(&wrong).await.expect(400, "code_invalid");
    assert_eq!(counted().await, 3);
    // Two are left, for two of the three.
    verify(&wrong).await.expect(400, "code_invalid");
    assert_eq!(counted().await, 5);
    for code in &codes {
        verify(code).await.expect(400, "code_invalid");
    }
    assert_eq!(counted().await, 5);
    // A right one takes all that it was counted as back.
    origin.advance(86_400);
    let mut codes = Vec::new();
    for password in [PASSWORD, "the stranger's password"] {
        codes.push(begun(&origin, password).await["code"].clone());
    }
    verify(&codes[1]).await.expect(200, "");
    assert_eq!(counted().await, 5);
}

#[tokio::test]
async fn a_guess_with_too_few_counts_left_is_of_the_newest_codes() {
    for (guessed, status) in [(0, 400), (1, 200), (2, 200)] {
        let origin = Origin::with(|config| config.otp.failures_per_day = 2).await;
        let mut codes = Vec::new();
        for _ in 0..3 {
            origin.advance(1);
            codes.push(begun(&origin, PASSWORD).await["code"].clone());
        }
        let body = json!({"email": ALICE, "code": codes[guessed]});
        let reply = origin.post("/register/verify", body).await;
        assert_eq!(reply.status, status, "{:?}", reply.body);
    }
}

#[tokio::test]
async fn the_oldest_of_three_registrations_gives_way_to_a_fourth() {
    let origin = Origin::with(|config| config.otp.sends_per_hour = 10).await;
    let mut proofs = Vec::new();
    for _ in 0..4 {
        proofs.push(begun(&origin, PASSWORD).await);
        origin.advance(1);
    }
    let mut reader = origin.state.db.read().await.unwrap();
    let waiting: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM one_time_codes")
        .fetch_one(&mut *reader)
        .await
        .unwrap();
    drop(reader);
    assert_eq!(waiting, 3);
    let verify = async |proof: &Value| origin.post("/register/verify", proof.clone()).await;
    verify(&proofs[0]).await.expect(400, "code_invalid");
    verify(&proofs[1]).await.expect(200, "");
    for proof in &proofs[2..] {
        verify(proof).await.expect(400, "code_invalid");
    }
}

#[tokio::test]
async fn a_link_is_of_the_registration_that_it_was_sent_for() {
    let page = "https://app.example/verify".to_owned();
    let origin = Origin::with(|config| config.registration.verify_url = Some(page)).await;
    let mut links = Vec::new();
    for (password, name) in [
        ("the stranger's password", "Mallory"),
        ("the owner's password", "Alice"),
    ] {
        let body = json!({"email": ALICE, "password": password, "name": name});
        origin.post("/register", body).await.expect(202, "");
        let text = origin.message(ALICE).unwrap().text;
        let (_, link) = text.split_once("#token=").unwrap();
        links.push(link.split_whitespace().next().unwrap().to_owned());
    }
    let follow = async |link: &str| {
        let body = json!({"token": link, "password": "the owner's password"});
        origin.post("/register/verify", body).await
    };
    let reply = follow(&links[1]).await.expect(200, "");
    assert_eq!(reply.body["user"]["name"], "Alice");
    follow(&links[0]).await.expect(400, "code_invalid");
}

#[tokio::test]
async fn a_code_login_voids_a_waiting_registration() {
    let origin = Origin::new().await;
    register(&origin, ALICE, "the stranger's password")
        .await
        .expect(202, "");
    let strangers = origin.code(ALICE);
    let sent = origin
        .post("/otp/send", json!({"email": ALICE}))
        .await
        .expect(200, "");
    let body = json!({"otp_token": sent.text("otp_token"), "code": origin.code(ALICE)});
    origin.post("/otp/verify", body).await.expect(200, "");
    let body = json!({"email": ALICE, "code": strangers});
    origin
        .post("/register/verify", body)
        .await
        .expect(400, "code_invalid");
    log_in(&origin, ALICE, "the stranger's password")
        .await
        .expect(401, "credentials_invalid");
}

#[tokio::test]
async fn without_proof_the_first_proof_removes_what_was_set_before() {
    let origin = Origin::with(|config| config.registration.require_proof = false).await;
    register(&origin, ALICE, "the stranger's password")
        .await
        .expect(202, "");
    let stranger = log_in(&origin, ALICE, "the stranger's password")
        .await
        .expect(200, "");
    let sent = origin
        .post("/otp/send", json!({"email": ALICE}))
        .await
        .expect(200, "");
    let body = json!({"otp_token": sent.text("otp_token"), "code": origin.code(ALICE)});
    origin.post("/otp/verify", body).await.expect(200, "");
    log_in(&origin, ALICE, "the stranger's password")
        .await
        .expect(401, "credentials_invalid");
    let refresh = json!({"refresh_token": stranger.text("refresh_token")});
    let reply = origin.post("/refresh", refresh).await;
    assert_eq!(reply.status.as_u16(), 401, "{:?}", reply.body);
}

#[tokio::test]
async fn malformed_registrations_are_refused_with_a_reason() {
    let origin = Origin::new().await;
    for body in [
        json!({}),
        json!([]),
        json!({"email": ALICE}),
        json!({"password": PASSWORD}),
        json!({"email": "no address", "password": PASSWORD}),
        json!({"email": ALICE, "password": "short12"}),
        json!({"email": ALICE, "password": "x".repeat(1_025)}),
        json!({"email": ALICE, "password": 12_345_678}),
        json!({"email": ALICE, "password": PASSWORD, "roles": ["admin"]}),
        json!({"email": ALICE, "password": PASSWORD, "email_verified": true}),
        json!({"email": ALICE, "password": PASSWORD, "name": "a\u{0}b"}),
        json!({"username": "al", "password": PASSWORD}),
        json!({"username": "alice"}),
    ] {
        origin
            .post("/register", body)
            .await
            .expect(400, "request_invalid");
    }
    let nested = "[".repeat(10_000);
    for (content_type, body, status, code) in [
        ("text/plain", "{}", 400, "request_invalid"),
        ("application/json", "{", 400, "request_invalid"),
        ("application/json", nested.as_str(), 400, "request_invalid"),
        (
            "application/json",
            "{\"email\": \"a\", \"email\": \"b\"}",
            400,
            "request_invalid",
        ),
    ] {
        let request = Request::post("/api/v1/auth/register")
            .header("content-type", content_type)
            .body(Body::from(body.to_owned()))
            .unwrap();
        origin.send(request).await.expect(status, code);
    }
    let large = json!({"email": ALICE, "password": "x".repeat(70_000)});
    origin
        .post("/register", large)
        .await
        .expect(413, "request_too_large");
    assert!(origin.state.mailer.sent().is_empty());
}

#[tokio::test]
async fn a_wrong_type_is_not_echoed() {
    let origin = Origin::new().await;
    let body = json!({"email": ["hunter2"], "password": PASSWORD});
    let reply = origin
        .post("/register", body)
        .await
        .expect(400, "request_invalid");
    assert!(
        !reply.text("detail").contains("hunter2"),
        "{}",
        reply.text("detail")
    );
}

#[tokio::test]
async fn only_three_codes_an_hour_reach_an_address() {
    let origin = Origin::new().await;
    for _ in 0..3 {
        register(&origin, ALICE, PASSWORD).await.expect(202, "");
    }
    let reply = register(&origin, ALICE, PASSWORD)
        .await
        .expect(429, "rate_limited");
    assert_eq!(reply.headers["retry-after"], "3600");
    // Another spelling of it is the same address.
    register(&origin, "ALICE@example.org", PASSWORD)
        .await
        .expect(429, "rate_limited");
    origin.advance(3_600);
    register(&origin, ALICE, PASSWORD).await.expect(202, "");
}

#[tokio::test]
async fn a_reset_link_works_once_and_ends_every_session() {
    let origin = Origin::new().await;
    let tokens = registered(&origin, ALICE).await;
    let body = json!({"identifier": "Alice@example.org"});
    origin.post("/forgot-password", body).await.expect(202, "");
    let token = origin.code(ALICE);
    let link = format!("http://127.0.0.1:8080/reset-password#token={token}");
    assert!(origin.message(ALICE).unwrap().text.contains(&link));
    let short = json!({"token": token, "password": "short"});
    origin
        .post("/reset-password", short)
        .await
        .expect(400, "request_invalid");
    let body = json!({"token": token, "password": "a new pass phrase"});
    let reply = origin.post("/reset-password", body.clone()).await;
    assert_eq!((reply.status.as_u16(), reply.body), (204, Value::Null));
    origin
        .post("/reset-password", body)
        .await
        .expect(400, "code_invalid");
    log_in(&origin, ALICE, PASSWORD)
        .await
        .expect(401, "credentials_invalid");
    log_in(&origin, ALICE, "a new pass phrase")
        .await
        .expect(200, "");
    let access = tokens.text("access_token");
    let profile = origin
        .call(Method::GET, "/api/v1/auth/profile", Some(access), None)
        .await;
    assert_eq!(profile.status.as_u16(), 401, "{:?}", profile.body);
}

#[tokio::test]
async fn reset_links_expire_and_the_newest_ends_the_older() {
    let origin = Origin::new().await;
    registered(&origin, ALICE).await;
    let forgot = json!({"identifier": ALICE});
    origin
        .post("/forgot-password", forgot.clone())
        .await
        .expect(202, "");
    let older = origin.code(ALICE);
    origin
        .post("/forgot-password", forgot)
        .await
        .expect(202, "");
    let newer = origin.code(ALICE);
    let reset = |token: &str| json!({"token": token, "password": "a new pass phrase"});
    origin
        .post("/reset-password", reset(&older))
        .await
        .expect(400, "code_invalid");
    origin.advance(600);
    origin
        .post("/reset-password", reset(&newer))
        .await
        .expect(400, "code_expired");
    log_in(&origin, ALICE, PASSWORD).await.expect(200, "");
}

#[tokio::test]
async fn nobody_gets_the_same_answer_and_no_message() {
    let origin = Origin::new().await;
    registered(&origin, ALICE).await;
    let forgot = |identifier: &str| {
        let body = json!({"identifier": identifier});
        origin.post("/forgot-password", body)
    };
    let known = forgot(ALICE).await.expect(202, "");
    let unknown = forgot("nobody@example.org").await.expect(202, "");
    assert_eq!(known.body, unknown.body);
    let sent = origin.state.mailer.sent();
    assert!(sent.iter().all(|message| message.to == ALICE));
}

#[tokio::test]
async fn parallel_uses_of_a_reset_link_succeed_once() {
    let origin = Origin::new().await;
    registered(&origin, ALICE).await;
    origin
        .post("/forgot-password", json!({"identifier": ALICE}))
        .await
        .expect(202, "");
    let token = origin.code(ALICE);
    let uses = (0..20).map(|n| {
        let body = json!({"token": token, "password": format!("new pass phrase {n}")});
        let origin = &origin;
        async move { origin.post("/reset-password", body).await.status.as_u16() }
    });
    let statuses = support::all(uses).await;
    assert_eq!(
        statuses.iter().filter(|status| **status == 204).count(),
        1,
        "{statuses:?}"
    );
    assert!(
        statuses.iter().all(|status| [204, 400].contains(status)),
        "{statuses:?}"
    );
}

#[tokio::test]
async fn changing_the_password_ends_every_other_session() {
    let origin = Origin::new().await;
    let other = registered(&origin, ALICE).await;
    let this = log_in(&origin, ALICE, PASSWORD).await.expect(200, "");
    let path = "/api/v1/auth/change-password";
    let change =
        |current: &str| json!({"current_password": current, "new_password": "brand new words"});
    origin
        .call(Method::POST, path, None, Some(change(PASSWORD)))
        .await
        .expect(401, "token_missing");
    let access = this.text("access_token");
    let wrong = origin
        .call(
            Method::POST,
            path,
            Some(access),
            Some(change("wrong words")),
        )
        .await;
    wrong.expect(401, "credentials_invalid");
    let reply = origin
        .call(Method::POST, path, Some(access), Some(change(PASSWORD)))
        .await;
    assert_eq!(reply.status.as_u16(), 204, "{:?}", reply.body);
    let profile = |token: &str| {
        let (origin, token) = (&origin, token.to_owned());
        async move {
            origin
                .call(Method::GET, "/api/v1/auth/profile", Some(&token), None)
                .await
        }
    };
    assert_eq!(profile(access).await.status.as_u16(), 200);
    assert_eq!(
        profile(other.text("access_token")).await.status.as_u16(),
        401
    );
    log_in(&origin, ALICE, PASSWORD)
        .await
        .expect(401, "credentials_invalid");
    log_in(&origin, ALICE, "brand new words")
        .await
        .expect(200, "");
}

#[tokio::test]
async fn a_profile_changes_its_name_and_nothing_else() {
    let origin = Origin::new().await;
    let tokens = registered(&origin, ALICE).await;
    let access = tokens.text("access_token");
    let put = |body: Value| {
        let origin = &origin;
        async move {
            origin
                .call(
                    Method::PUT,
                    "/api/v1/auth/profile",
                    Some(access),
                    Some(body),
                )
                .await
        }
    };
    let reply = put(json!({"name": " Alice Ä. "})).await.expect(200, "");
    assert_eq!(reply.body["name"], "Alice Ä.");
    for body in [
        json!({"roles": ["admin"]}),
        json!({"email": "bob@example.org"}),
        json!({"email_verified": true}),
        json!({"kyc_level": 3}),
        json!({"id": "x"}),
        json!({"name": "x".repeat(201)}),
    ] {
        put(body).await.expect(400, "request_invalid");
    }
    let reply = origin
        .call(Method::GET, "/api/v1/auth/profile", Some(access), None)
        .await;
    assert_eq!(reply.body["name"], "Alice Ä.");
    assert_eq!(reply.body["email"], ALICE);
    assert_eq!(reply.body["roles"], json!([]));
}

#[tokio::test]
async fn personal_data_is_not_in_the_file_in_the_clear() {
    let origin = Origin::new().await;
    registered(&origin, "zephyrine@example.org").await;
    let sent = json!({"phone_number": "+41791234567"});
    origin.post("/otp/send", sent).await.expect(200, "");
    let folder = origin.state.config.data_dir.clone();
    for entry in std::fs::read_dir(folder.0).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        for text in ["zephyrine", "41791234567", PASSWORD] {
            let found = bytes
                .windows(text.len())
                .any(|window| window == text.as_bytes());
            assert!(!found, "{text} in {}", path.display());
        }
    }
}

#[tokio::test]
async fn the_development_outbox_is_a_file_of_json_lines() {
    let origin = Origin::with(|config| config.notify.email = Channel::File).await;
    register(&origin, ALICE, PASSWORD).await.expect(202, "");
    let path = origin.state.config.data_dir.join("outbox.jsonl");
    let mut text = String::new();
    for _ in 0..200 {
        text = std::fs::read_to_string(&path).unwrap_or_default();
        if text.ends_with('\n') {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let line: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&line["channel"], &line["to"]),
        (&json!("email"), &json!(ALICE))
    );
    let body = json!({"email": ALICE, "code": line["code"]});
    origin.post("/register/verify", body).await.expect(200, "");
}

#[tokio::test]
async fn a_request_that_is_refused_still_makes_a_registration_contested() {
    let origin = Origin::new().await;
    for _ in 0..3 {
        register(&origin, ALICE, "the stranger's password")
            .await
            .expect(202, "");
    }
    let code = origin.code(ALICE);
    register(&origin, ALICE, "the owner's password")
        .await
        .expect(429, "rate_limited");
    let body = json!({"email": ALICE, "code": code});
    origin.post("/register/verify", body).await.expect(200, "");
    for password in ["the owner's password", "the stranger's password"] {
        log_in(&origin, ALICE, password)
            .await
            .expect(401, "credentials_invalid");
    }
}

#[tokio::test]
async fn a_request_whose_code_has_expired_still_contests_the_next() {
    let origin = Origin::new().await;
    register(&origin, ALICE, "the owner's password")
        .await
        .expect(202, "");
    origin.advance(301);
    let stranger = json!({"email": ALICE, "password": "the stranger's password",
        "username": "stranger", "name": "A Stranger"});
    origin.post("/register", stranger).await.expect(202, "");
    let body = json!({"email": ALICE, "code": origin.code(ALICE)});
    let reply = origin.post("/register/verify", body).await.expect(200, "");
    assert_eq!(reply.body["user"].get("username"), None);
    for identifier in [ALICE, "stranger"] {
        log_in(&origin, identifier, "the stranger's password")
            .await
            .expect(401, "credentials_invalid");
    }
}

#[tokio::test]
async fn no_second_address_leads_into_an_account_that_another_proved() {
    let origin = Origin::with(|config| config.registration.require_proof = false).await;
    let phone = "+447911123456";
    let stranger = json!({"email": ALICE, "phone_number": phone, "username": "stranger",
        "password": "the stranger's password"});
    origin.post("/register", stranger).await.expect(202, "");
    let code_login = async |address: Value, to: &str| {
        let sent = origin.post("/otp/send", address).await.expect(200, "");
        let body = json!({"otp_token": sent.text("otp_token"), "code": origin.code(to)});
        let reply = origin.post("/otp/verify", body).await.expect(200, "");
        reply.body["user"]["id"].clone()
    };
    let owner = code_login(json!({"email": ALICE}), ALICE).await;
    let other = code_login(json!({"phone_number": phone}), phone).await;
    assert_ne!(
        owner, other,
        "the number's holder has an account of their own"
    );
    log_in(&origin, "stranger", "the stranger's password")
        .await
        .expect(401, "credentials_invalid");
}

#[tokio::test]
async fn registering_says_which_of_two_addresses_the_code_went_to() {
    let origin = Origin::new().await;
    registered(&origin, ALICE).await;
    let (bob, phone) = ("bob@example.org", "+447911123456");
    for (named, sent_to) in [
        (json!({"email": bob, "phone_number": phone}), json!("email")),
        (
            json!({"email": ALICE, "phone_number": phone}),
            json!("email"),
        ),
        (json!({"phone_number": phone}), json!("phone_number")),
        (json!({"username": "anna"}), Value::Null),
    ] {
        let mut body = named.clone();
        body["password"] = json!("a quiet green harbour");
        let reply = origin.post("/register", body).await.expect(202, "");
        assert_eq!(reply.body["sent_to"], sent_to, "{named}");
    }
}

#[tokio::test]
async fn a_look_alike_address_gets_no_mail() {
    let origin = Origin::new().await;
    registered(&origin, ALICE).await;
    let look_alike = "\u{ff41}lice@example.org";
    register(&origin, look_alike, "another password")
        .await
        .expect(202, "");
    assert!(origin.message(look_alike).is_none());
    assert_eq!(
        origin.message(ALICE).unwrap().subject,
        Some("You have an account already")
    );
}

#[tokio::test]
async fn a_changed_password_voids_the_link_that_waits() {
    let origin = Origin::new().await;
    let tokens = registered(&origin, ALICE).await;
    let body = json!({"identifier": ALICE});
    origin.post("/forgot-password", body).await.expect(202, "");
    let link = origin.code(ALICE);
    let change = json!({"current_password": PASSWORD, "new_password": "brand new words"});
    let reply = origin
        .call(
            Method::POST,
            "/api/v1/auth/change-password",
            Some(tokens.text("access_token")),
            Some(change),
        )
        .await;
    assert_eq!(reply.status.as_u16(), 204, "{:?}", reply.body);
    let body = json!({"token": link, "password": "the old link's words"});
    origin
        .post("/reset-password", body)
        .await
        .expect(400, "code_invalid");
}

#[tokio::test]
async fn the_reset_link_leads_to_the_configured_page() {
    let origin = Origin::with(|config| {
        config.password.reset_url = Some("https://app.example.org/new-password".to_owned());
    })
    .await;
    registered(&origin, ALICE).await;
    let body = json!({"identifier": ALICE});
    origin.post("/forgot-password", body).await.expect(202, "");
    let link = format!(
        "https://app.example.org/new-password#token={}",
        origin.code(ALICE)
    );
    assert!(origin.message(ALICE).unwrap().text.contains(&link));
}

#[tokio::test]
async fn a_user_name_alone_is_an_account_and_whose_it_is_shows_in_no_answer() {
    let origin = Origin::new().await;
    let register = |name: &str, password: &str| {
        origin.post("/register", json!({"username": name, "password": password}))
    };
    let free = register("Anna", PASSWORD).await.expect(202, "");
    assert_eq!(free.body, json!({"status": "accepted"}));
    // Every spelling is one name, and it is whoever took it first.
    for taken in ["Anna", "anna", "ＡＮＮＡ"] {
        let reply = register(taken, "another pass phrase").await.expect(202, "");
        assert_eq!(reply.body, free.body, "{taken}");
        log_in(&origin, taken, "another pass phrase")
            .await
            .expect(401, "credentials_invalid");
    }
    let reply = log_in(&origin, "anna", PASSWORD).await.expect(200, "");
    assert_eq!(reply.body["user"]["username"], "Anna");
    // Nothing is left of those that were taken back.
    let count = |sql: &'static str| {
        let origin = &origin;
        async move {
            let mut reader = origin.state.db.read().await.unwrap();
            let count: i64 = sqlx::query_scalar(sql)
                .fetch_one(&mut *reader)
                .await
                .unwrap();
            count
        }
    };
    for (sql, expected) in [
        ("SELECT COUNT(*) FROM users", 1),
        ("SELECT COUNT(*) FROM passwords", 1),
        ("SELECT COUNT(*) FROM identifiers", 1),
        (
            "SELECT COUNT(*) FROM audit_events WHERE kind = 'registration'
             AND outcome = 'success' AND user_id IS NOT NULL",
            1,
        ),
        (
            "SELECT COUNT(*) FROM audit_events WHERE kind = 'registration'
             AND outcome = 'failure' AND reason = 'conflict' AND user_id IS NOT NULL",
            3,
        ),
    ] {
        assert_eq!(count(sql).await, expected, "{sql}");
    }
    assert!(origin.state.mailer.sent().is_empty());
    // Its owner adds an address, by which a forgotten password can then be set.
    let bearer = reply.text("access_token");
    let path = "/api/v1/auth/contacts";
    let add = origin.call(
        Method::POST,
        path,
        Some(bearer),
        Some(json!({"email": ALICE})),
    );
    let token = add.await.expect(202, "").text("contact_token").to_owned();
    let body = json!({"contact_token": token, "code": origin.code(ALICE)});
    let path = "/api/v1/auth/contacts/verify";
    let verify = origin.call(Method::POST, path, Some(bearer), Some(body));
    verify.await.expect(200, "");
    let forgot = json!({"identifier": "anna"});
    origin
        .post("/forgot-password", forgot)
        .await
        .expect(202, "");
    assert!(origin.message(ALICE).unwrap().text.contains("token="));
}

#[tokio::test]
async fn of_many_that_take_a_user_name_at_once_one_has_it() {
    let origin = Origin::new().await;
    let bodies =
        (0..20).map(|n| json!({"username": "anna", "password": format!("{PASSWORD} {n}")}));
    let replies = support::all(bodies.map(|body| origin.post("/register", body))).await;
    assert!(replies.iter().all(|reply| reply.status == 202));
    let mut entered = 0;
    for n in 0..20 {
        origin.advance(1_000);
        let reply = log_in(&origin, "anna", &format!("{PASSWORD} {n}")).await;
        entered += usize::from(reply.status == 200);
    }
    assert_eq!(entered, 1);
}

#[tokio::test]
async fn a_user_name_alone_is_refused_where_every_account_needs_an_address() {
    let origin = Origin::with(|config| config.registration.username_alone = false).await;
    let alone = json!({"username": "anna", "password": PASSWORD});
    origin
        .post("/register", alone)
        .await
        .expect(400, "request_invalid");
    let beside = json!({"username": "anna", "email": ALICE, "password": PASSWORD});
    origin.post("/register", beside).await.expect(202, "");
    let proof = json!({"email": ALICE, "code": origin.code(ALICE)});
    origin.post("/register/verify", proof).await.expect(200, "");
    log_in(&origin, "anna", PASSWORD).await.expect(200, "");
}
