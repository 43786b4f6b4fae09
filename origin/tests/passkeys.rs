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
        // Those of before are the owner's; twice as many came since.
        (
            "SELECT COUNT(*) FROM recovery_codes WHERE replaced_at IS NULL",
            10,
        ),
        ("SELECT COUNT(*) FROM recovery_codes", 10),
        ("SELECT COUNT(*) FROM passkeys", 1),
    ] {
        assert_eq!(number(&origin, table).await, left, "{table}");
    }
    log_in(&origin, &mut own).await.expect(200, "");
}

/// Answers a new challenge of a proof within the session.
async fn prove(origin: &Origin, bearer: &str, passkey: &mut Authenticator) -> Reply {
    let begun = call(
        origin,
        Method::POST,
        "/reauthenticate/passkey",
        bearer,
        None,
    )
    .await
    .expect(200, "");
    let body = shown(&begun, passkey);
    call(origin, Method::POST, "/reauthenticate", bearer, Some(body)).await
}

/// What a page sends to prove it.
fn shown(begun: &Reply, passkey: &mut Authenticator) -> Value {
    json!({
        "method": "passkey",
        "passkey_token": begun.text("passkey_token"),
        "credential": passkey.get(&begun.body["options"]),
    })
}

#[tokio::test]
async fn a_passkey_proves_again_who_is_in_the_session() {
    let (origin, mut passkey, _) = with_passkey().await;
    let session = log_in(&origin, &mut passkey).await.expect(200, "");
    let old = session.text("access_token").to_owned();
    // `mfa.fresh_seconds` and one.
    origin.advance(301);
    call(&origin, Method::POST, "/mfa/totp", &old, None)
        .await
        .expect(401, "step_up_required");
    let proved = prove(&origin, &old, &mut passkey).await.expect(200, "");
    assert_eq!(proved.body["session_id"], session.body["session_id"]);
    let now = origin.clock.now().unix_seconds();
    let claims = claims(&origin, &proved).await;
    assert_eq!(
        (&claims["amr"], &claims["acr"], &claims["auth_time"]),
        (&json!(["hwk", "mfa"]), &json!("2"), &json!(now))
    );
    let bearer = proved.text("access_token");
    call(&origin, Method::POST, "/mfa/totp", bearer, None)
        .await
        .expect(200, "");
    // The token of before is not better by it.
    call(&origin, Method::POST, "/mfa/totp", &old, None)
        .await
        .expect(401, "step_up_required");
}

#[tokio::test]
async fn a_passkey_lifts_a_session_that_began_with_one_factor() {
    let origin = with_domain().await;
    // Opened before there was a second factor.
    let early = bearer(&origin).await;
    let second = bearer(&origin).await;
    let mut passkey = Authenticator::new(7);
    passkey.backup = (true, true);
    register(&origin, &second, &mut passkey)
        .await
        .expect(200, "");
    call(&origin, Method::POST, "/mfa/totp", &early, None)
        .await
        .expect(401, "step_up_required");
    let proved = prove(&origin, &early, &mut passkey).await.expect(200, "");
    let claims = claims(&origin, &proved).await;
    assert_eq!(
        (&claims["amr"], &claims["acr"]),
        (&json!(["pwd", "swk", "mfa"]), &json!("2"))
    );
    let bearer = proved.text("access_token");
    call(&origin, Method::POST, "/mfa/totp", bearer, None)
        .await
        .expect(200, "");
}

#[tokio::test]
async fn a_proof_is_bound_to_its_session_its_account_and_its_purpose() {
    let (origin, mut passkey, _) = with_passkey().await;
    let one = log_in(&origin, &mut passkey).await.expect(200, "");
    let two = log_in(&origin, &mut passkey).await.expect(200, "");
    let (one, two) = (one.text("access_token"), two.text("access_token"));
    let route = "/reauthenticate";
    let ask = || call(&origin, Method::POST, "/reauthenticate/passkey", one, None);
    let send = |bearer, body| call(&origin, Method::POST, route, bearer, Some(body));
    let begun = ask().await;
    let body = shown(&begun, &mut passkey);
    // Another session's, a login's, and the other way round.
    send(two, body.clone()).await.expect(400, "code_invalid");
    let login = json!({
        "passkey_token": begun.text("passkey_token"), "credential": body["credential"],
    });
    origin
        .post("/login/passkey", login)
        .await
        .expect(401, "credentials_invalid");
    let (token, options) = begin(&origin).await;
    let foreign = json!({
        "method": "passkey", "passkey_token": token, "credential": passkey.get(&options),
    });
    send(one, foreign).await.expect(400, "code_invalid");
    // Its own it is good for, once of twenty.
    let replies = all((0..20).map(|_| send(one, body.clone()))).await;
    let good = replies.iter().filter(|reply| reply.status == 200).count();
    assert_eq!(good, 1);
    assert!(
        replies
            .iter()
            .all(|reply| reply.status == 200 || reply.code() == "code_invalid")
    );
    // Another key, and one that does not verify its holder.
    for (seed, verifies) in [(9, true), (7, false)] {
        let mut wrong = passkey.clone();
        if seed != 7 {
            wrong = Authenticator::new(seed);
        }
        wrong.verifies = verifies;
        let body = shown(&ask().await, &mut wrong);
        send(one, body).await.expect(400, "code_invalid");
    }
    let sql = "SELECT COUNT(*) FROM audit_events
               WHERE kind = 'reauthentication' AND outcome = 'failure'";
    assert_eq!(number(&origin, sql).await, 2 + 19 + 2);
}

#[tokio::test]
async fn a_proof_says_one_thing_and_needs_a_passkey() {
    let origin = with_domain().await;
    let owner = bearer(&origin).await;
    call(
        &origin,
        Method::POST,
        "/reauthenticate/passkey",
        &owner,
        None,
    )
    .await
    .expect(409, "conflict");
    let token = "ekw_nothing";
    for body in [
        json!({"method": "passkey"}),
        json!({"method": "passkey", "passkey_token": token}),
        json!({"method": "passkey", "credential": {}}),
        json!({"method": "passkey", "passkey_token": token, "credential": {}}),
        json!({"method": "passkey", "passkey_token": "", "credential": {}}),
        json!({"method": "passkey", "code": "123456"}),
        json!({"method": "password", "password": person::PASSWORD, "passkey_token": token}),
        json!({"method": "password", "password": person::PASSWORD, "credential": {}}),
        json!({"method": "password", "password": ""}),
        json!({"method": "totp", "code": "123456", "credential": {}}),
        json!({"method": "totp", "password": person::PASSWORD}),
    ] {
        call(&origin, Method::POST, "/reauthenticate", &owner, Some(body))
            .await
            .expect(400, "request_invalid");
    }
}

#[tokio::test]
async fn a_key_that_can_be_copied_stays_one_and_one_that_cannot_never_is() {
    for (made, shown, accepted) in [
        ((false, false), (false, false), true),
        ((true, false), (true, false), true),
        // It was copied since, or is no longer.
        ((true, false), (true, true), true),
        ((true, true), (true, false), true),
        // Another key says so, or one that contradicts itself (§7.2, steps 17 and 18).
        ((false, false), (true, false), false),
        ((false, false), (true, true), false),
        ((false, false), (false, true), false),
        ((true, false), (false, false), false),
        ((true, true), (false, false), false),
        ((true, true), (false, true), false),
    ] {
        let what = format!("{made:?} {shown:?}");
        let origin = with_domain().await;
        let owner = bearer(&origin).await;
        let mut passkey = Authenticator::new(7);
        passkey.backup = made;
        register(&origin, &owner, &mut passkey)
            .await
            .expect(200, "");
        let sees = |key: &'static str| {
            let listed = call(&origin, Method::GET, "/passkeys", &owner, None);
            async move { listed.await.body["passkeys"][0][key].clone() }
        };
        assert_eq!(sees("backup_eligible").await, made.0, "{what}");
        assert_eq!(sees("backed_up").await, made.1, "{what}");
        passkey.backup = shown;
        // As a login, and as a proof within a session: the library is laxer there.
        let (alone, within) = if accepted { (200, 200) } else { (401, 400) };
        let reply = log_in(&origin, &mut passkey).await;
        assert_eq!(reply.status, alone, "{what}");
        let reply = prove(&origin, &owner, &mut passkey).await;
        assert_eq!(reply.status, within, "{what}");
        let (eligible, backed_up) = if accepted { shown } else { made };
        assert_eq!(sees("backup_eligible").await, eligible, "{what}");
        assert_eq!(sees("backed_up").await, backed_up, "{what}");
        let sql = "SELECT COUNT(*) FROM audit_events
                   WHERE reason = 'backup_flags'";
        let expected = if accepted { 0 } else { 2 };
        assert_eq!(number(&origin, sql).await, expected, "{what}");
    }
    // A new one may not say that it is a copy of what cannot be copied (§7.1).
    let origin = with_domain().await;
    let mut passkey = Authenticator::new(7);
    passkey.backup = (false, true);
    register(&origin, &bearer(&origin).await, &mut passkey)
        .await
        .expect(400, "code_invalid");
}

#[tokio::test]
async fn strangers_who_lock_the_password_hold_up_no_passkey() {
    let (origin, mut passkey, _) = with_passkey().await;
    let send = |(token, options): (String, Value), key: &mut Authenticator, device: Value| {
        let body = json!({
            "passkey_token": token, "credential": key.get(&options), "device_token": device,
        });
        origin.post("/login/passkey", body)
    };
    let first = send(begin(&origin).await, &mut passkey, Value::Null).await;
    let device = first.expect(200, "").body["device_token"].clone();
    let again = send(begin(&origin).await, &mut passkey, device.clone()).await;
    assert_eq!(again.expect(200, "").body["device_token"], device);
    let lock = || async {
        for _ in 0..5 {
            origin.advance(60);
            person::log_in(&origin, "wrong horse battery").await;
        }
    };
    lock().await;
    for token in [Value::Null, json!("ekd_nothing"), device] {
        let let_in = send(begin(&origin).await, &mut passkey, token).await;
        let_in.expect(200, "");
    }
    // The lock holds for whoever caused it.
    person::log_in(&origin, person::PASSWORD)
        .await
        .expect(423, "account_locked");
}

#[tokio::test]
async fn passkeys_are_in_the_copy_of_ones_data_without_their_keys() {
    let (origin, mut passkey, id) = with_passkey().await;
    origin.advance(10);
    let session = log_in(&origin, &mut passkey).await.expect(200, "");
    let bearer = session.text("access_token");
    let copy = call(&origin, Method::GET, "/account/export", bearer, None).await;
    let copy = copy.expect(200, "");
    let began = support::BEGINNING.unix_seconds();
    assert_eq!(
        copy.body["passkeys"],
        json!([{
            "id": id, "name": "laptop", "backup_eligible": false, "backed_up": false,
            "added_at": began, "last_used_at": began + 10,
        }])
    );
}

#[tokio::test]
async fn challenges_have_a_limit_of_their_own() {
    let origin = Origin::with(|config| {
        config.server.public_url = Some("https://id.example.org".to_owned());
        config.limits.per_ip = true;
        config.limits.passkey_per_ip_per_minute = 2;
    })
    .await;
    let begin = |address: &'static str| {
        let origin = &origin;
        async move {
            origin
                .post_from(address, &[], "/login/passkey/begin", &json!({}))
                .await
        }
    };
    for status in [200, 200, 429] {
        assert_eq!(begin("192.0.2.1").await.status, status);
    }
    begin("192.0.2.2").await.expect(200, "");
    origin.advance(60);
    begin("192.0.2.1").await.expect(200, "");
}
