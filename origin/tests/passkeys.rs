//! Passkeys: hostile answers, challenges used twice, and what is left when one goes.

mod authenticator;
mod person;
mod support;

use authenticator::Authenticator;
use axum::http::Method;
use person::{EMAIL, account, bearer, call, claims, first_step, number, recovery_codes};
use serde_json::{Value, json};
use support::{Origin, Reply, all};

async fn with_domain() -> Origin {
    let origin = Origin::with(|config| {
        config.server.public_url = Some("https://id.example.org".to_owned());
    })
    .await;
    account(&origin).await;
    origin
}

async fn begin(origin: &Origin) -> (String, Value) {
    let begun = origin.post("/login/passkey/begin", json!({})).await;
    let begun = begun.expect(200, "");
    let token = begun.text("passkey_token").to_owned();
    (token, begun.body["options"].clone())
}

async fn register(origin: &Origin, bearer: &str, passkey: &mut Authenticator) -> Reply {
    let begun = call(origin, Method::POST, "/passkeys/registration", bearer, None)
        .await
        .expect(200, "");
    let body = json!({
        "passkey_token": begun.text("passkey_token"),
        "credential": passkey.create(&begun.body["options"]),
        "name": "laptop",
    });
    call(origin, Method::POST, "/passkeys", bearer, Some(body)).await
}

/// An account with a passkey, and the id of it.
async fn with_passkey() -> (Origin, Authenticator, String) {
    let origin = with_domain().await;
    let bearer = bearer(&origin).await;
    let mut passkey = Authenticator::new(7);
    let added = register(&origin, &bearer, &mut passkey).await;
    let added = added.expect(200, "");
    assert_eq!(recovery_codes(&added).len(), 10);
    (origin, passkey, added.text("id").to_owned())
}

async fn log_in(origin: &Origin, passkey: &mut Authenticator) -> Reply {
    let (token, options) = begin(origin).await;
    let body = json!({"passkey_token": token, "credential": passkey.get(&options)});
    origin.post("/login/passkey", body).await
}

#[tokio::test]
async fn a_passkey_is_a_whole_login_and_tells_its_owner_that_it_was_added() {
    let (origin, mut passkey, _) = with_passkey().await;
    assert!(origin.message(EMAIL).unwrap().text.contains("passkey"));
    let reply = log_in(&origin, &mut passkey).await.expect(200, "");
    let claims = claims(&origin, &reply).await;
    assert_eq!(
        (&claims["amr"], &claims["acr"]),
        (&json!(["hwk", "mfa"]), &json!("2"))
    );
    // A second factor was proved: factors may be changed.
    let bearer = reply.text("access_token");
    call(&origin, Method::POST, "/mfa/totp", bearer, None)
        .await
        .expect(200, "");
}

#[tokio::test]
async fn rejects_answers_that_are_not_for_this_site_or_do_not_verify_the_holder() {
    type Change = fn(&mut Authenticator);
    let changes: [(&str, Change); 6] = [
        ("origin", |key| {
            key.origin = "https://id.example.org.evil.test".to_owned();
        }),
        ("scheme", |key| {
            key.origin = "http://id.example.org".to_owned();
        }),
        ("port", |key| {
            key.origin = "https://id.example.org:8443".to_owned();
        }),
        ("subdomain", |key| {
            key.origin = "https://a.id.example.org".to_owned();
        }),
        ("rp id", |key| key.rp_id = "example.org".to_owned()),
        ("holder", |key| key.verifies = false),
    ];
    let (origin, passkey, _) = with_passkey().await;
    for (what, change) in changes {
        let mut wrong = passkey.clone();
        change(&mut wrong);
        let reply = log_in(&origin, &mut wrong).await;
        assert_eq!(
            (reply.status.as_u16(), reply.code()),
            (401, "credentials_invalid"),
            "{what}"
        );
    }
    log_in(&origin, &mut passkey.clone()).await.expect(200, "");
    // Nor is one registered so.
    let bearer = log_in(&origin, &mut passkey.clone()).await.expect(200, "");
    let bearer = bearer.text("access_token");
    for (what, change) in changes {
        let mut wrong = Authenticator::new(9);
        change(&mut wrong);
        let reply = register(&origin, bearer, &mut wrong).await;
        assert_eq!(reply.code(), "code_invalid", "{what}");
    }
    assert_eq!(number(&origin, "SELECT COUNT(*) FROM passkeys").await, 1);
}

#[tokio::test]
async fn a_challenge_is_good_once_of_a_hundred_and_for_five_minutes() {
    let (origin, mut passkey, _) = with_passkey().await;
    let (token, options) = begin(&origin).await;
    let body = json!({"passkey_token": token, "credential": passkey.get(&options)});
    let replies = all((0..100).map(|_| origin.post("/login/passkey", body.clone()))).await;
    let good = replies.iter().filter(|reply| reply.status == 200).count();
    assert_eq!(good, 1);
    assert!(
        replies
            .iter()
            .all(|reply| reply.status == 200 || reply.code() == "credentials_invalid")
    );
    for (seconds, status) in [(299, 200), (300, 401)] {
        let (token, options) = begin(&origin).await;
        origin.advance(seconds);
        let body = json!({"passkey_token": token, "credential": passkey.get(&options)});
        let reply = origin.post("/login/passkey", body).await;
        assert_eq!(reply.status, status, "{seconds}");
    }
}

#[tokio::test]
async fn a_counter_that_does_not_grow_is_refused_and_written_down() {
    let (origin, mut passkey, _) = with_passkey().await;
    passkey.counter = 5;
    log_in(&origin, &mut passkey).await.expect(200, "");
    for (counter, status) in [(5, 401), (4, 401), (6, 200)] {
        passkey.counter = counter;
        let reply = log_in(&origin, &mut passkey).await;
        assert_eq!(reply.status, status, "{counter}");
    }
    let sql = "SELECT COUNT(*) FROM audit_events WHERE reason = 'counter_regression'";
    assert_eq!(number(&origin, sql).await, 2);
}

#[tokio::test]
async fn a_passkey_is_asked_for_after_the_password_and_bound_to_that_login() {
    let (origin, mut passkey, _) = with_passkey().await;
    let token = first_step(&origin).await;
    let other = first_step(&origin).await;
    let begun = origin
        .post("/login/mfa/passkey", json!({"mfa_token": token}))
        .await
        .expect(200, "");
    let shown = |mfa: &str, challenge: &str, credential: &Value| {
        json!({
            "mfa_token": mfa, "method": "passkey",
            "passkey_token": challenge, "credential": credential,
        })
    };
    let credential = passkey.get(&begun.body["options"]);
    let challenge = begun.text("passkey_token");
    // Not for another login, nor for a login without a password.
    origin
        .post("/login/mfa", shown(&other, challenge, &credential))
        .await
        .expect(400, "code_invalid");
    let alone = json!({"passkey_token": challenge, "credential": credential});
    origin
        .post("/login/passkey", alone)
        .await
        .expect(401, "credentials_invalid");
    // Nor is a challenge of the latter one of the former.
    let (wrong, options) = begin(&origin).await;
    let answer = passkey.get(&options);
    origin
        .post("/login/mfa", shown(&token, &wrong, &answer))
        .await
        .expect(400, "code_invalid");
    origin
        .post("/login/mfa", shown(&token, challenge, &credential))
        .await
        .expect(200, "");
    origin
        .post("/login/mfa", shown(&other, challenge, &credential))
        .await
        .expect(400, "code_invalid");
}

#[tokio::test]
async fn a_passkey_as_second_factor_brings_two_whatever_came_before_it() {
    for (first, amr) in [
        ("password", json!(["pwd", "hwk", "mfa"])),
        ("code", json!(["otp", "hwk", "mfa"])),
    ] {
        let (origin, mut passkey, _) = with_passkey().await;
        let token = if first == "password" {
            first_step(&origin).await
        } else {
            let sent = origin.post("/otp/send", json!({"email": EMAIL})).await;
            let token = sent.expect(200, "").text("otp_token").to_owned();
            let body = json!({"otp_token": token, "code": origin.code(EMAIL)});
            let asked = origin.post("/otp/verify", body).await.expect(200, "");
            asked.text("mfa_token").to_owned()
        };
        let begun = origin
            .post("/login/mfa/passkey", json!({"mfa_token": token}))
            .await
            .expect(200, "");
        let body = json!({
            "mfa_token": token, "method": "passkey",
            "passkey_token": begun.text("passkey_token"),
            "credential": passkey.get(&begun.body["options"]),
        });
        let tokens = origin.post("/login/mfa", body).await.expect(200, "");
        let claims = claims(&origin, &tokens).await;
        assert_eq!(
            (&claims["amr"], &claims["acr"]),
            (&amr, &json!("2")),
            "{first}"
        );
    }
}

#[tokio::test]
async fn a_passkey_that_was_removed_and_an_account_that_is_off_let_nobody_in() {
    let (origin, mut passkey, id) = with_passkey().await;
    let reply = log_in(&origin, &mut passkey).await.expect(200, "");
    let bearer = reply.text("access_token");
    let (token, options) = begin(&origin).await;
    let body = json!({"passkey_token": token, "credential": passkey.get(&options)});
    call(
        &origin,
        Method::DELETE,
        &format!("/passkeys/{id}"),
        bearer,
        None,
    )
    .await
    .expect(204, "");
    assert!(origin.message(EMAIL).unwrap().text.contains("removed"));
    origin
        .post("/login/passkey", body)
        .await
        .expect(401, "credentials_invalid");
    assert_eq!(
        number(&origin, "SELECT COUNT(*) FROM recovery_codes").await,
        0
    );

    let (origin, mut passkey, _) = with_passkey().await;
    let mut tx = origin.state.db.write().await.unwrap();
    sqlx::query("UPDATE users SET status = 'disabled'")
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    log_in(&origin, &mut passkey)
        .await
        .expect(401, "credentials_invalid");
}

#[tokio::test]
async fn the_last_way_in_stays() {
    let (origin, mut passkey, id) = with_passkey().await;
    let reply = log_in(&origin, &mut passkey).await.expect(200, "");
    let mut tx = origin.state.db.write().await.unwrap();
    for sql in [
        "DELETE FROM passwords",
        "DELETE FROM identifiers WHERE kind <> 'username'",
    ] {
        sqlx::query(sql).execute(&mut *tx).await.unwrap();
    }
    tx.commit().await.unwrap();
    let route = format!("/passkeys/{id}");
    let bearer = reply.text("access_token");
    call(&origin, Method::DELETE, &route, bearer, None)
        .await
        .expect(409, "conflict");
    register(&origin, bearer, &mut Authenticator::new(8))
        .await
        .expect(200, "");
    call(&origin, Method::DELETE, &route, bearer, None)
        .await
        .expect(204, "");
}

#[tokio::test]
async fn passkeys_are_their_owners_to_list_to_name_and_to_have_ten_of() {
    let (origin, mut passkey, id) = with_passkey().await;
    let reply = log_in(&origin, &mut passkey).await.expect(200, "");
    let bearer = reply.text("access_token");
    let route = format!("/passkeys/{id}");
    let body = Some(json!({"name": " key ring "}));
    call(&origin, Method::PUT, &route, bearer, body)
        .await
        .expect(204, "");
    let listed = call(&origin, Method::GET, "/passkeys", bearer, None).await;
    assert_eq!(listed.body["passkeys"][0]["name"], "key ring");
    // The same key is not registered twice.
    register(&origin, bearer, &mut Authenticator::new(7))
        .await
        .expect(400, "code_invalid");
    for seed in 10..19 {
        register(&origin, bearer, &mut Authenticator::new(seed))
            .await
            .expect(200, "");
    }
    call(
        &origin,
        Method::POST,
        "/passkeys/registration",
        bearer,
        None,
    )
    .await
    .expect(409, "conflict");
}

#[tokio::test]
async fn a_server_without_a_domain_has_none() {
    let origin = Origin::new().await;
    origin
        .post("/login/passkey/begin", json!({}))
        .await
        .expect(409, "conflict");
}

#[tokio::test]
async fn what_came_after_a_change_that_is_taken_back_is_no_way_in() {
    let (origin, mut own, _) = with_passkey().await;
    origin.advance(10);
    let session = log_in(&origin, &mut own).await.expect(200, "");
    let bearer = session.text("access_token");
    // Somebody else at the open session: a new address, of which the owner is told, another
    // passkey, an app, and recovery codes of their own.
    let body = json!({"email": "evil@example.com"});
    let begun = call(&origin, Method::POST, "/contacts", bearer, Some(body)).await;
    assert_eq!(begun.status, 202, "{:?}", begun.body);
    let undo = origin.message(EMAIL).unwrap().code.unwrap();
    let mut theirs = Authenticator::new(9);
    register(&origin, bearer, &mut theirs).await.expect(200, "");
    let shown = call(&origin, Method::POST, "/mfa/totp", bearer, None).await;
    let app = person::App {
        secret: shown.expect(200, "").text("secret").to_owned(),
    };
    let body = json!({"code": app.code(&origin, 0)});
    call(
        &origin,
        Method::POST,
        "/mfa/totp/confirm",
        bearer,
        Some(body),
    )
    .await
    .expect(200, "");
    call(&origin, Method::POST, "/mfa/recovery-codes", bearer, None)
        .await
        .expect(200, "");
    log_in(&origin, &mut theirs).await.expect(200, "");

    let done = origin
        .post("/contacts/undo", json!({ "token": undo }))
        .await;
    assert_eq!(done.status, 204, "{:?}", done.body);
    let refused = log_in(&origin, &mut theirs).await;
    assert_eq!(refused.status, 401, "{:?}", refused.body);
    for (table, left) in [
        ("SELECT COUNT(*) FROM totp_factors", 0),
        ("SELECT COUNT(*) FROM recovery_codes", 0),
        ("SELECT COUNT(*) FROM passkeys", 1),
    ] {
        assert_eq!(number(&origin, table).await, left, "{table}");
    }
    log_in(&origin, &mut own).await.expect(200, "");
}
