//! Every proof that is refused leaves an event, whatever door it was shown at.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod authenticator;
mod idp;
mod person;
mod support;

use std::time::Duration;

use authenticator::Authenticator;
use axum::http::Method;
use idp::{Idp, exchange, land, returned, start};
use person::{EMAIL, PASSWORD, account, bearer, call, enrol, first_step, second_step};
use serde_json::{Value, json};
use support::Origin;

/// Place in the trail, kind, outcome, reason, and whom it is about.
type Row = (i64, String, String, String, Option<Vec<u8>>);

/// The trail, read from where it was last read to.
struct Trail<'a> {
    origin: &'a Origin,
    read: i64,
}

impl Trail<'_> {
    async fn rows(&mut self) -> Vec<(String, String, String, bool)> {
        let mut reader = self.origin.state.db.read().await.unwrap();
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT sequence, kind, outcome, reason, user_id FROM audit_events
             WHERE sequence > $1 ORDER BY sequence",
        )
        .bind(self.read)
        .fetch_all(&mut *reader)
        .await
        .unwrap();
        self.read = rows.last().map_or(self.read, |row| row.0);
        rows.into_iter()
            .map(|(_, kind, outcome, reason, user)| (kind, outcome, reason, user.is_some()))
            .collect()
    }

    /// Fails the test unless the last step left exactly this one event.
    async fn expect(&mut self, step: &str, one: (&str, &str, &str, bool)) {
        let rows = self.rows().await;
        let told: Vec<_> = rows
            .iter()
            .map(|(kind, outcome, reason, known)| {
                (kind.as_str(), outcome.as_str(), reason.as_str(), *known)
            })
            .collect();
        assert_eq!(told, [one], "{step}");
    }
}

async fn trail(origin: &Origin) -> Trail<'_> {
    let mut trail = Trail { origin, read: 0 };
    trail.rows().await;
    trail
}

#[tokio::test]
async fn refused_passkeys_leave_their_events() {
    let origin = Origin::with(|config| {
        config.server.public_url = Some("https://id.example.org".to_owned());
    })
    .await;
    account(&origin).await;
    let owner = bearer(&origin).await;
    let mut passkey = Authenticator::new(7);
    let begun = call(
        &origin,
        Method::POST,
        "/passkeys/registration",
        &owner,
        None,
    )
    .await;
    let body = json!({
        "passkey_token": begun.text("passkey_token"), "name": "laptop",
        "credential": passkey.create(&begun.body["options"]),
    });
    call(&origin, Method::POST, "/passkeys", &owner, Some(body))
        .await
        .expect(200, "");
    let mut stranger = Authenticator::new(9);
    stranger.create(&begun.body["options"]);
    let mut trail = trail(&origin).await;
    let mut refused = async |passkey: &mut Authenticator, late: bool, reason: &str, known| {
        let begun = origin.post("/login/passkey/begin", json!({})).await;
        origin.advance(if late { 301 } else { 0 });
        let body = json!({
            "passkey_token": begun.text("passkey_token"),
            "credential": passkey.get(&begun.body["options"]),
        });
        origin
            .post("/login/passkey", body)
            .await
            .expect(401, "credentials_invalid");
        let event = ("login", "failure", reason, known);
        trail.expect(reason, event).await;
    };
    refused(&mut passkey, true, "code_invalid", false).await;
    refused(&mut stranger, false, "credentials_invalid", false).await;
    passkey.origin = "https://evil.test".to_owned();
    refused(&mut passkey, false, "credentials_invalid", true).await;
}

#[tokio::test]
async fn a_right_password_of_an_account_that_is_disabled_meanwhile_leaves_its_event() {
    let origin = Origin::new().await;
    account(&origin).await;
    let mut trail = trail(&origin).await;
    // Whoever logs in finds the account as it was, and waits for this to be over.
    let mut tx = origin.state.db.write().await.unwrap();
    let body = json!({"identifier": EMAIL, "password": PASSWORD});
    let disable = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        sqlx::query("UPDATE users SET status = 'disabled'")
            .execute(&mut *tx)
            .await
            .unwrap();
        tx.commit().await.unwrap();
    };
    let (reply, ()) = tokio::join!(origin.post("/login", body), disable);
    reply.expect(401, "credentials_invalid");
    let event = ("login", "failure", "credentials_invalid", true);
    trail.expect("disabled meanwhile", event).await;
}

#[tokio::test]
async fn refused_links_and_tokens_leave_their_events() {
    let origin = Origin::new().await;
    account(&origin).await;
    let owner = bearer(&origin).await;
    let (app, _) = enrol(&origin, &owner).await;
    let body = json!({"identifier": EMAIL});
    origin.post("/forgot-password", body).await.expect(202, "");
    let link = origin.code(EMAIL);
    let mut trail = trail(&origin).await;

    let reset = async |token: &str, code: &str| {
        let body = json!({"token": token, "password": "another horse battery"});
        origin.post("/reset-password", body).await.expect(400, code);
    };
    reset("ekp_nothing", "code_invalid").await;
    let event = ("password", "failure", "code_invalid", false);
    trail.expect("a link of nobody", event).await;
    origin.advance(origin.state.config.password.reset_seconds);
    reset(&link, "code_expired").await;
    let event = ("password", "failure", "code_expired", true);
    trail.expect("a late link", event).await;

    let body = json!({"token": "eku_nothing"});
    origin
        .post("/contacts/undo", body)
        .await
        .expect(400, "code_invalid");
    let event = ("contact", "failure", "code_invalid", false);
    trail.expect("a change of nobody undone", event).await;

    let code = app.code(&origin, 0);
    second_step(&origin, "ekm_nothing", "totp", &code)
        .await
        .expect(400, "code_invalid");
    let event = ("factor", "failure", "code_invalid", false);
    trail.expect("a second step of nobody", event).await;
    let token = first_step(&origin).await;
    trail.rows().await;
    origin.advance(300);
    second_step(&origin, &token, "totp", &app.code(&origin, 0))
        .await
        .expect(400, "code_expired");
    let event = ("factor", "failure", "code_expired", true);
    trail.expect("a late second step", event).await;
}

#[tokio::test]
async fn what_is_refused_within_a_session_leaves_its_event() {
    let origin = Origin::new().await;
    account(&origin).await;
    let owner = bearer(&origin).await;
    call(&origin, Method::POST, "/mfa/totp", &owner, None).await;
    let mut trail = trail(&origin).await;
    let body = Some(json!({"code": "000000"}));
    call(&origin, Method::POST, "/mfa/totp/confirm", &owner, body)
        .await
        .expect(400, "code_invalid");
    let event = ("factor_change", "failure", "code_invalid", true);
    trail.expect("a first code of an app", event).await;

    let body = Some(json!({"email": "new@example.org"}));
    let asked = call(&origin, Method::POST, "/contacts", &owner, body).await;
    trail
        .expect("an address to add", ("code", "success", "contact", true))
        .await;
    let right = origin.code("new@example.org");
    let wrong = if right == "000000" {
        "111111"
    } else {
        "000000"
    };
    let token = asked.body["contact_token"].as_str();
    let body = json!({"contact_token": token.unwrap(), "code": wrong});
    call(
        &origin,
        Method::POST,
        "/contacts/verify",
        &owner,
        Some(body),
    )
    .await
    .expect(400, "code_invalid");
    let event = ("contact", "failure", "code_invalid", true);
    trail.expect("a wrong code of an address", event).await;

    // A token that its holder gives back: told once, however often.
    let body = json!({"token": owner});
    origin
        .post("/revoke-token", body.clone())
        .await
        .expect(204, "");
    let event = ("revocation", "success", "revoked", true);
    trail.expect("a token given back", event).await;
    origin.post("/revoke-token", body).await.expect(204, "");
    assert_eq!(trail.rows().await, []);
}

#[tokio::test]
async fn a_lock_within_a_session_leaves_its_event_once_and_few_of_what_it_refuses() {
    let origin = Origin::new().await;
    account(&origin).await;
    let owner = bearer(&origin).await;
    let mut trail = trail(&origin).await;
    let again = async |password: &str| {
        let body = Some(json!({"method": "password", "password": password}));
        call(&origin, Method::POST, "/reauthenticate", &owner, body).await
    };
    for _ in 0..5 {
        again("not the password")
            .await
            .expect(401, "credentials_invalid");
    }
    let rows = trail.rows().await;
    let count = |kind: &str| rows.iter().filter(|row| row.0 == kind).count();
    assert_eq!(
        (count("reauthentication"), count("lock")),
        (5, 1),
        "{rows:?}"
    );
    for _ in 0..10 {
        again(PASSWORD).await.expect(423, "account_locked");
    }
    let rows = trail.rows().await;
    let refused = ("reauthentication", "failure", "account_locked", true);
    let told = |row: &(String, String, String, bool)| {
        (row.0.as_str(), row.1.as_str(), row.2.as_str(), row.3) == refused
    };
    assert!(rows.len() == 3 && rows.iter().all(told), "{rows:?}");
}

#[tokio::test]
async fn a_lock_leaves_few_events_of_what_it_refuses_and_as_many_of_what_nobody_has() {
    let origin = Origin::new().await;
    account(&origin).await;
    let mut trail = trail(&origin).await;
    for (identifier, known) in [(EMAIL, true), ("nobody@example.org", false)] {
        let try_in = async |password: &str| {
            let body = json!({"identifier": identifier, "password": password});
            origin.post("/login", body).await
        };
        for _ in 0..5 {
            try_in("not the password")
                .await
                .expect(401, "credentials_invalid");
        }
        trail.rows().await;
        for (wait, events) in [(0, 3), (899, 0)] {
            origin.advance(wait);
            for _ in 0..10 {
                try_in(PASSWORD).await.expect(423, "account_locked");
            }
            let rows = trail.rows().await;
            let refused = ("login", "failure", "account_locked", known);
            let told = |row: &(String, String, String, bool)| {
                (row.0.as_str(), row.1.as_str(), row.2.as_str(), row.3) == refused
            };
            assert!(rows.len() == events && rows.iter().all(told), "{rows:?}");
        }
        origin.advance(901);
    }
}

#[tokio::test]
async fn logins_too_many_leave_few_events() {
    let origin = Origin::with(|config| config.limits.logins_per_user_per_hour = 1).await;
    account(&origin).await;
    let body = json!({"identifier": EMAIL, "password": PASSWORD});
    let log_in = || origin.post("/login", body.clone());
    log_in().await.expect(200, "");
    let mut trail = trail(&origin).await;
    for (wait, events) in [(0, 3), (899, 0), (1, 3)] {
        origin.advance(wait);
        for _ in 0..10 {
            log_in().await.expect(429, "rate_limited");
        }
        let rows = trail.rows().await;
        let refused = ("login", "failure", "rate_limited", true);
        let told = |row: &(String, String, String, bool)| {
            (row.0.as_str(), row.1.as_str(), row.2.as_str(), row.3) == refused
        };
        assert!(rows.len() == events && rows.iter().all(told), "{rows:?}");
    }
}

#[tokio::test]
async fn refusals_at_and_by_other_providers_leave_their_events() {
    let idp = Idp::start().await;
    let origin = Origin::with(|config| idp::add(config, "acme", &idp.issuer)).await;
    let mut trail = trail(&origin).await;
    // A state that is none.
    let flow = start(&origin, "acme").await;
    land(
        &origin,
        "acme",
        &[("state", "x"), ("code", "y")],
        flow.cookie.as_deref(),
    )
    .await
    .expect(400, "code_invalid");
    let event = ("login", "failure", "code_invalid", false);
    trail.expect("a wrong state", event).await;
    // The person says no.
    let said = [("state", &*flow.state()), ("error", "access_denied")];
    let reply = land(&origin, "acme", &said, flow.cookie.as_deref()).await;
    assert_eq!(returned(&reply, "error"), "access_denied");
    let event = ("login", "failure", "access_denied", false);
    trail.expect("a no", event).await;
    // An ID token that is another client's.
    let flow = start(&origin, "acme").await;
    let more = json!({"aud": "another"});
    let reply = idp.log_in(&origin, &flow, "1", more).await;
    assert_eq!(returned(&reply, "error"), "credentials_invalid");
    let event = ("login", "failure", "credentials_invalid", false);
    trail.expect("a refused ID token", event).await;
    // Another browser brings the code.
    let flow = start(&origin, "acme").await;
    let reply = idp.log_in(&origin, &flow, "1", json!({})).await;
    let code = returned(&reply, "code");
    let other = start(&origin, "acme").await;
    exchange(&origin, &other, &code)
        .await
        .expect(400, "code_invalid");
    let event = ("login", "failure", "code_invalid", false);
    trail.expect("another browser", event).await;
    // And a code for a link that is none, in a session.
    let body = json!({"email": EMAIL, "password": PASSWORD});
    origin.post("/register", body).await.expect(202, "");
    let body = json!({"email": EMAIL, "code": origin.code(EMAIL)});
    let owner = origin.post("/register/verify", body).await.expect(200, "");
    trail.rows().await;
    let body: Value = json!({"code": "eks_nothing", "flow_token": "ekf_nothing"});
    let owner = owner.text("access_token");
    call(&origin, Method::POST, "/social/link", owner, Some(body))
        .await
        .expect(400, "code_invalid");
    let event = ("identity", "failure", "code_invalid", true);
    trail.expect("a link of nothing", event).await;
}
