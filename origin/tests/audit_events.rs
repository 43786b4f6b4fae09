//! Every way to prove who one is, and every way it can end: exactly the expected events are left,
//! each with the request that caused it.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod person;
mod support;

use axum::http::Method;
use person::{EMAIL, PASSWORD, auth};
use serde_json::{Value, json};
use support::{Origin, Reply};

/// Follows the trail of one origin, step by step.
struct Trail {
    origin: Origin,
    read: i64,
}

/// Sequence, kind, outcome, reason, account, correlation id.
type Row = (i64, String, String, String, Option<Vec<u8>>, String);

/// Kind, outcome, reason, and whether it is about an account.
type Told = (&'static str, &'static str, &'static str, bool);

impl Trail {
    async fn new() -> Self {
        let origin = Origin::new().await;
        person::account(&origin).await;
        let mut trail = Self { origin, read: 0 };
        trail.skip().await;
        trail
    }

    async fn rows(&mut self) -> Vec<(String, String, String, bool, String)> {
        let mut reader = self.origin.state.db.read().await.unwrap();
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT sequence, kind, outcome, reason, user_id, request_id FROM audit_events
             WHERE sequence > $1 ORDER BY sequence",
        )
        .bind(self.read)
        .fetch_all(&mut *reader)
        .await
        .unwrap();
        self.read = rows.last().map_or(self.read, |row| row.0);
        rows.into_iter()
            .map(|(_, kind, outcome, reason, user, request)| {
                (kind, outcome, reason, user.is_some(), request)
            })
            .collect()
    }

    async fn skip(&mut self) {
        self.rows().await;
    }

    /// Fails the test unless the last step left exactly these, each with its correlation id.
    async fn expect(&mut self, step: &str, expected: &[Told]) {
        let rows = self.rows().await;
        let told: Vec<(&str, &str, &str, bool)> = rows
            .iter()
            .map(|(kind, outcome, reason, known, request)| {
                assert!(!request.is_empty(), "{step}: {kind} without correlation id");
                (kind.as_str(), outcome.as_str(), reason.as_str(), *known)
            })
            .collect();
        assert_eq!(told, expected, "{step}");
    }

    async fn post(&self, route: &str, body: Value) -> Reply {
        self.origin.post(route, body).await
    }
}

const ENTERED: [Told; 2] = [
    ("trusted_device", "success", "trusted", true),
    ("login", "success", "", true),
];

#[tokio::test]
async fn passwords_leave_their_events() {
    let mut trail = Trail::new().await;
    let login = |name: &str, password: &str| json!({"identifier": name, "password": password});
    let first = trail.post("/login", login(EMAIL, PASSWORD)).await;
    let first = first.expect(200, "");
    trail.expect("a login", &ENTERED).await;
    let mut known = login(EMAIL, PASSWORD);
    known["device_token"] = first.text("device_token").into();
    trail.post("/login", known).await.expect(200, "");
    let used = [
        ("trusted_device", "success", "used", true),
        ("login", "success", "", true),
    ];
    trail.expect("a trusted device", &used).await;
    for name in [EMAIL, "nobody@example.org"] {
        let about = name == EMAIL;
        for failure in 1..=5 {
            trail.origin.advance(60);
            let body = login(name, "wrong horse battery");
            trail
                .post("/login", body)
                .await
                .expect(401, "credentials_invalid");
            let failed = ("login", "failure", "credentials_invalid", about);
            let expected = match failure {
                5 => vec![("lock", "success", "locked", about), failed],
                _ => vec![failed],
            };
            trail.expect(name, &expected).await;
        }
    }
}

#[tokio::test]
async fn codes_leave_their_events_whoever_they_are_for() {
    let mut trail = Trail::new().await;
    for (address, about) in [(EMAIL, true), ("new@example.org", false)] {
        let sent = trail.post("/otp/send", json!({"email": address})).await;
        let sent = sent.expect(200, "");
        let asked = ("code", "success", "login", about);
        trail.expect("a code", &[asked]).await;
        let right = trail.origin.code(address);
        let wrong = if right == "000000" {
            "111111"
        } else {
            "000000"
        };
        for (token, code, about) in [
            (sent.text("otp_token"), wrong, about),
            ("eko_nothing", wrong, false),
        ] {
            let body = json!({"otp_token": token, "code": code});
            trail
                .post("/otp/verify", body)
                .await
                .expect(400, "code_invalid");
            let failed = ("login", "failure", "code_invalid", about);
            trail.expect("a wrong code", &[failed]).await;
        }
        let body = json!({"otp_token": sent.text("otp_token"), "code": right});
        trail.post("/otp/verify", body).await.expect(200, "");
        trail.expect("a right code", &ENTERED).await;
        let sent = trail.post("/otp/send", json!({"email": address})).await;
        trail.skip().await;
        let right = trail.origin.code(address);
        trail.origin.advance(301);
        let body = json!({"otp_token": sent.text("otp_token"), "code": right});
        trail
            .post("/otp/verify", body)
            .await
            .expect(400, "code_expired");
        let late = ("login", "failure", "code_expired", true);
        trail.expect("a late code", &[late]).await;
    }
}

#[tokio::test]
async fn registrations_leave_their_events() {
    let mut trail = Trail::new().await;
    for (address, about) in [("new@example.org", false), (EMAIL, true)] {
        let body = json!({"email": address, "password": "correct horse battery"});
        trail.post("/register", body).await.expect(202, "");
        let asked = ("code", "success", "register", about);
        trail.expect("a registration", &[asked]).await;
        let body = json!({"email": address, "code": "abcdef"});
        trail.post("/register/verify", body).await;
        trail.skip().await;
        let body = json!({"email": address, "code": "000000"});
        trail
            .post("/register/verify", body)
            .await
            .expect(400, "code_invalid");
        let failed = ("registration", "failure", "code_invalid", about);
        trail.expect("a wrong code", &[failed]).await;
    }
    let body = json!({"email": "new@example.org", "code": trail.origin.code("new@example.org")});
    trail.post("/register/verify", body).await.expect(200, "");
    trail.expect("a right code", &ENTERED).await;
}

#[tokio::test]
async fn second_factors_and_proofs_within_a_session_leave_their_events() {
    let mut trail = Trail::new().await;
    let bearer = person::bearer(&trail.origin).await;
    let (app, _) = person::enrol(&trail.origin, &bearer).await;
    trail.skip().await;
    let token = person::first_step(&trail.origin).await;
    let waits = ("login", "skipped", "mfa_required", true);
    trail.expect("a first step", &[waits]).await;
    let wrong = app.wrong(&trail.origin, 1);
    person::second_step(&trail.origin, &token, "totp", &wrong).await;
    let failed = ("factor", "failure", "code_invalid", true);
    trail.expect("a wrong second step", &[failed]).await;
    let code = app.code(&trail.origin, 0);
    let entered = person::second_step(&trail.origin, &token, "totp", &code).await;
    let entered = entered.expect(200, "");
    let done = [
        ("trusted_device", "success", "trusted", true),
        ("factor", "success", "", true),
        ("login", "success", "", true),
    ];
    trail.expect("a second step", &done).await;
    let bearer = entered.text("access_token");
    for (password, outcome, reason) in [
        ("wrong horse battery", "failure", "credentials_invalid"),
        (PASSWORD, "success", ""),
    ] {
        let body = json!({"method": "password", "password": password});
        let method = Method::POST;
        person::call(&trail.origin, method, "/reauthenticate", bearer, Some(body)).await;
        let told = ("reauthentication", outcome, reason, true);
        trail.expect(password, &[told]).await;
    }
}

#[tokio::test]
async fn the_end_of_each_session_leaves_its_event() {
    let mut trail = Trail::new().await;
    let mut sessions = Vec::new();
    for _ in 0..6 {
        let reply = person::log_in(&trail.origin, PASSWORD)
            .await
            .expect(200, "");
        sessions.push(reply);
        trail.origin.advance(1);
        if sessions.len() < 6 {
            trail.skip().await;
        }
    }
    let gone = [
        ("session_end", "success", "limit", true),
        ENTERED[0],
        ENTERED[1],
    ];
    trail.expect("one too many", &gone).await;
    let ends = |reason, count: usize| vec![("session_end", "success", reason, true); count];
    let bearer = |n: usize| -> &str { sessions[n].text("access_token") };
    let path = auth("/logout");
    let call = trail
        .origin
        .call(Method::POST, &path, Some(bearer(1)), None);
    call.await.expect(204, "");
    trail.expect("a logout", &ends("logout", 1)).await;
    let path = auth("/sessions");
    let call = trail
        .origin
        .call(Method::DELETE, &path, Some(bearer(2)), None);
    call.await.expect(204, "");
    let mut others = vec![("trusted_device", "success", "removed", true)];
    others.extend(ends("user", 3));
    trail.expect("the others", &others).await;
    let old = json!({"refresh_token": sessions[2].text("refresh_token")});
    trail.post("/refresh", old.clone()).await.expect(200, "");
    trail.expect("a refresh", &[]).await;
    trail.origin.advance(11);
    trail
        .post("/refresh", old)
        .await
        .expect(401, "refresh_reused");
    let mut reused = ends("reuse", 1);
    reused.push(("refresh_reuse", "failure", "", true));
    trail.expect("a reused token", &reused).await;
}

#[tokio::test]
async fn refusals_about_nobody_are_bounded_by_the_hour_and_counted() {
    let origin = Origin::with(|config| config.audit.unknown_per_hour = 3).await;
    person::account(&origin).await;
    for n in 0..5 {
        let body = json!({"otp_token": format!("eko_{n}"), "code": "000000"});
        origin
            .post("/otp/verify", body)
            .await
            .expect(400, "code_invalid");
    }
    let failures = "SELECT COUNT(*) FROM audit_events WHERE outcome = 'failure'";
    assert_eq!(person::number(&origin, failures).await, 3);
    // What is about somebody stays, however many there are.
    person::log_in(&origin, "wrong horse battery").await;
    assert_eq!(person::number(&origin, failures).await, 4);
    origin.advance(3_600);
    edgekeep_origin::events::remove_expired(&origin.state)
        .await
        .unwrap();
    let told = "SELECT COUNT(*) FROM audit_events WHERE reason = 'events_withheld'";
    assert_eq!(person::number(&origin, told).await, 1);
    let left = "SELECT COUNT(*) FROM audit_refusals";
    assert_eq!(person::number(&origin, left).await, 0);
}
