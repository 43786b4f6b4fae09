//! Every way to prove who one is, and every way it can end: exactly the expected events are left,
//! each with the request that caused it.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod idp;
mod person;
mod support;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Method, Request, header};
use edgekeep_origin::config::{CaptchaKind, CaptchaWhen, Config};
use edgekeep_origin::vault::Purpose;
use person::{EMAIL, PASSWORD, PHONE, auth};
use serde_json::{Value, json};
use sqlx::Row as _;
use support::{Origin, Reply};

/// Where every request of these tests comes from, and by what.
const ADDRESS: &str = "203.0.113.77";
const AGENT: &str = "trail/1.0";

/// Follows the trail of one origin, step by step.
struct Trail {
    origin: Origin,
    read: i64,
}

/// Kind, outcome, reason, method, who did it, and whether it is about an account.
type Told<'a> = (&'a str, &'a str, &'a str, &'a str, &'a str, bool);

impl Trail {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let origin = Origin::with(change).await;
        person::account(&origin).await;
        let mut trail = Self { origin, read: 0 };
        trail.skip().await;
        trail
    }

    async fn rows(&mut self) -> Vec<sqlx::any::AnyRow> {
        let mut reader = self.origin.state.db.read().await.unwrap();
        let rows = sqlx::query(
            "SELECT sequence, id, kind, outcome, reason, actor, user_id, request_id, details
             FROM audit_events WHERE sequence > $1 ORDER BY sequence",
        )
        .bind(self.read)
        .fetch_all(&mut *reader)
        .await
        .unwrap();
        self.read = rows.last().map_or(self.read, |row| row.get("sequence"));
        rows
    }

    async fn skip(&mut self) {
        self.rows().await;
    }

    /// Fails the test unless the last step left exactly these, each with its correlation id, its
    /// address and its user agent.
    async fn expect(&mut self, step: &str, expected: &[Told<'_>]) {
        let mut told = Vec::new();
        for row in self.rows().await {
            let text = |column: &str| row.get::<String, _>(column);
            let (id, sealed): (Vec<u8>, Vec<u8>) = (row.get("id"), row.get("details"));
            let vault = &self.origin.state.vault;
            let details = vault.open(Purpose::Audit, &id, &sealed).unwrap();
            let details: Value = serde_json::from_slice(&details).unwrap();
            let what = format!("{step}: {} {}", text("kind"), text("reason"));
            assert!(!text("request_id").is_empty(), "{what}");
            assert_eq!(details["address"], ADDRESS, "{what}");
            assert_eq!(details["user_agent"], AGENT, "{what}");
            let actor = text("actor");
            let actor = actor.split(' ').next().unwrap().to_owned();
            let method = details["method"].as_str().unwrap_or_default().to_owned();
            let about = row.get::<Option<Vec<u8>>, _>("user_id").is_some();
            told.push((
                text("kind"),
                text("outcome"),
                text("reason"),
                method,
                actor,
                about,
            ));
        }
        let told: Vec<Told<'_>> = told
            .iter()
            .map(|(kind, outcome, reason, method, actor, about)| {
                (&**kind, &**outcome, &**reason, &**method, &**actor, *about)
            })
            .collect();
        assert_eq!(told, expected, "{step}");
    }

    async fn call(&self, method: Method, route: &str, bearer: &str, body: Option<Value>) -> Reply {
        let address = std::net::SocketAddr::new(ADDRESS.parse().unwrap(), 40_000);
        let mut request = Request::builder()
            .method(method)
            .uri(auth(route))
            .extension(ConnectInfo(address))
            .header(header::USER_AGENT, AGENT)
            .header(header::CONTENT_TYPE, "application/json");
        if !bearer.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {bearer}"));
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        self.origin.send(request.body(body).unwrap()).await
    }

    async fn post(&self, route: &str, body: Value) -> Reply {
        self.call(Method::POST, route, "", Some(body)).await
    }

    async fn log_in(&self) -> Reply {
        let body = json!({"identifier": EMAIL, "password": PASSWORD});
        self.post("/login", body).await.expect(200, "")
    }
}

const TRUSTED: Told<'static> = ("trusted_device", "success", "trusted", "", "user", true);

/// What a login by `method` leaves.
const fn entered(method: &str) -> [Told<'_>; 2] {
    [TRUSTED, ("login", "success", "", method, "user", true)]
}

/// What is left where an account comes into being by `method`.
fn made(method: &str) -> Vec<Told<'_>> {
    let mut events = vec![("registration", "success", "", method, "user", true)];
    events.extend(entered(method));
    events
}

const fn failed<'a>(kind: &'a str, reason: &'a str, method: &'a str, about: bool) -> Told<'a> {
    (kind, "failure", reason, method, "anonymous", about)
}

#[tokio::test]
async fn passwords_leave_their_events() {
    let mut trail = Trail::new().await;
    let login = |name: &str, password: &str| json!({"identifier": name, "password": password});
    let first = trail.log_in().await;
    trail.expect("a login", &entered("password")).await;
    let mut known = login(EMAIL, PASSWORD);
    known["device_token"] = first.text("device_token").into();
    trail.post("/login", known).await.expect(200, "");
    let mut used = entered("password");
    used[0].2 = "used";
    trail.expect("a trusted device", &used).await;
    for name in [EMAIL, "nobody@example.org"] {
        let about = name == EMAIL;
        let wrong = failed("login", "credentials_invalid", "password", about);
        let lock = |reason| ("lock", "success", reason, "password", "system", about);
        for failure in 1..=5 {
            trail.origin.advance(60);
            let body = login(name, "wrong horse battery");
            trail
                .post("/login", body)
                .await
                .expect(401, "credentials_invalid");
            let mut expected = vec![wrong];
            if failure == 5 {
                expected.insert(0, lock("locked"));
            }
            trail.expect(name, &expected).await;
        }
        // The first attempt after the lock notes that it is over, and no other does.
        trail.origin.advance(900);
        for expected in [vec![lock("ran_out"), wrong], vec![wrong]] {
            let body = login(name, "wrong horse battery");
            trail
                .post("/login", body)
                .await
                .expect(401, "credentials_invalid");
            trail.expect(name, &expected).await;
        }
    }
}

#[tokio::test]
async fn a_lock_that_is_lifted_by_a_new_password_leaves_its_end() {
    let mut trail = Trail::new().await;
    for _ in 0..5 {
        trail.origin.advance(60);
        let body = json!({"identifier": EMAIL, "password": "wrong horse battery"});
        trail
            .post("/login", body)
            .await
            .expect(401, "credentials_invalid");
    }
    trail
        .post("/forgot-password", json!({"identifier": EMAIL}))
        .await
        .expect(202, "");
    trail.skip().await;
    let body = json!({"token": trail.origin.code(EMAIL), "password": "a new pass phrase"});
    trail.post("/reset-password", body).await.expect(204, "");
    let expected = [
        ("password", "success", "reset", "", "anonymous", true),
        ("lock", "success", "lifted", "", "system", true),
    ];
    trail.expect("a reset", &expected).await;
}

#[tokio::test]
async fn codes_leave_their_events_whoever_they_are_for() {
    for (field, known, unknown, method, kind) in [
        ("email", EMAIL, "new@example.org", "email", "email"),
        ("phone_number", PHONE, "+41791234568", "sms", "phone"),
    ] {
        let mut trail = Trail::with(|config| {
            config.notify.sms = edgekeep_origin::config::Channel::Memory;
        })
        .await;
        for (address, about) in [(known, true), (unknown, false)] {
            let to = json!({field: address});
            let sent = trail.post("/otp/send", to.clone()).await.expect(200, "");
            let asked = ("code", "success", "login", kind, "anonymous", about);
            trail.expect("a code", &[asked]).await;
            let right = trail.origin.code(address);
            let wrong = if right == "000000" {
                "111111"
            } else {
                "000000"
            };
            let token = sent.text("otp_token");
            for (token, about) in [(token, about), ("eko_nothing", false)] {
                let body = json!({"otp_token": token, "code": wrong});
                trail
                    .post("/otp/verify", body)
                    .await
                    .expect(400, "code_invalid");
                let wrong = failed("login", "code_invalid", "code", about);
                trail.expect("a wrong code", &[wrong]).await;
            }
            let body = json!({"otp_token": token, "code": right});
            trail.post("/otp/verify", body).await.expect(200, "");
            let expected = if about {
                entered(method).to_vec()
            } else {
                made(method)
            };
            trail.expect("a right code", &expected).await;
            trail.origin.advance(3_600);
            let sent = trail.post("/otp/send", to).await.expect(200, "");
            trail.skip().await;
            let right = trail.origin.code(address);
            trail.origin.advance(301);
            let body = json!({"otp_token": sent.text("otp_token"), "code": right});
            trail
                .post("/otp/verify", body)
                .await
                .expect(400, "code_expired");
            let late = failed("login", "code_expired", "code", true);
            trail.expect("a late code", &[late]).await;
        }
    }
}

#[tokio::test]
async fn registrations_leave_their_events() {
    let mut trail = Trail::with(|config| {
        config.registration.verify_url = Some("https://app.example.org/verify".to_owned());
    })
    .await;
    for (address, about) in [("new@example.org", false), (EMAIL, true)] {
        let body = json!({"email": address, "password": "correct horse battery"});
        trail.post("/register", body).await.expect(202, "");
        let asked = ("code", "success", "register", "email", "anonymous", about);
        trail.expect("a registration", &[asked]).await;
        let body = json!({"email": address, "code": "000000"});
        trail
            .post("/register/verify", body)
            .await
            .expect(400, "code_invalid");
        let wrong = failed("registration", "code_invalid", "code", about);
        trail.expect("a wrong code", &[wrong]).await;
        let body = json!({"token": "ekl_nothing"});
        trail
            .post("/register/verify", body)
            .await
            .expect(400, "code_invalid");
        let wrong = failed("registration", "code_invalid", "code", false);
        trail.expect("a wrong link", &[wrong]).await;
    }
    let body = json!({"email": "new@example.org", "code": trail.origin.code("new@example.org")});
    trail.post("/register/verify", body).await.expect(200, "");
    trail.expect("a right code", &made("email")).await;
    let body = json!({"email": "link@example.org", "password": "correct horse battery"});
    trail.post("/register", body).await.expect(202, "");
    trail.skip().await;
    let text = trail.origin.message("link@example.org").unwrap().text;
    let token = text.split("#token=").nth(1).unwrap();
    let token = token.split(' ').next().unwrap();
    let body = json!({"token": token});
    trail.post("/register/verify", body).await.expect(200, "");
    trail.expect("a right link", &made("email")).await;
    let body = json!({"username": "anna", "password": "correct horse battery"});
    trail.post("/register", body.clone()).await.expect(202, "");
    trail.expect("a name", &made("username")[..1]).await;
    trail.post("/register", body).await.expect(202, "");
    let refused = failed("registration", "conflict", "username", true);
    trail.expect("a name that is taken", &[refused]).await;
}

#[tokio::test]
async fn second_factors_and_proofs_within_a_session_leave_their_events() {
    let mut trail = Trail::new().await;
    let bearer = trail.log_in().await.text("access_token").to_owned();
    let (app, recovery) = person::enrol(&trail.origin, &bearer).await;
    trail.skip().await;
    let mut bearer = String::new();
    let waits = ("login", "skipped", "mfa_required", "password", "user", true);
    let wrong = app.wrong(&trail.origin, 1);
    for (method, wrong) in [("totp", wrong.as_str()), ("recovery_code", "nothing")] {
        let first = trail.log_in().await;
        trail.expect("a first step", &[waits]).await;
        let second = |code: &str| json!({"mfa_token": first.text("mfa_token"), "method": method, "code": code});
        trail
            .post("/login/mfa", second(wrong))
            .await
            .expect(400, "code_invalid");
        let refused = failed("factor", "code_invalid", method, true);
        trail.expect("a wrong second step", &[refused]).await;
        let right = match method {
            "totp" => app.code(&trail.origin, 0),
            _ => recovery[0].clone(),
        };
        let reply = trail.post("/login/mfa", second(&right)).await;
        let done = [
            TRUSTED,
            ("factor", "success", "", method, "user", true),
            ("login", "success", "", "password", "user", true),
        ];
        trail.expect("a second step", &done).await;
        reply
            .expect(200, "")
            .text("access_token")
            .clone_into(&mut bearer);
    }
    trail.origin.advance(30);
    let code = app.code(&trail.origin, 0);
    let mut last = trail.call(Method::GET, "/session", &bearer, None).await;
    for (body, outcome, reason) in [
        (
            json!({"method": "password", "password": "wrong horse battery"}),
            "failure",
            "credentials_invalid",
        ),
        (
            json!({"method": "password", "password": PASSWORD}),
            "success",
            "",
        ),
        (
            json!({"method": "totp", "code": app.wrong(&trail.origin, 1)}),
            "failure",
            "code_invalid",
        ),
        (json!({"method": "totp", "code": code}), "success", ""),
        (
            json!({"method": "recovery_code", "code": "nothing"}),
            "failure",
            "code_invalid",
        ),
        (
            json!({"method": "recovery_code", "code": recovery[1]}),
            "success",
            "",
        ),
    ] {
        let method = body["method"].as_str().unwrap().to_owned();
        let call = trail.call(Method::POST, "/reauthenticate", &bearer, Some(body));
        last = call.await;
        let told = (
            "reauthentication",
            outcome,
            reason,
            method.as_str(),
            "user",
            true,
        );
        trail.expect(&method, &[told]).await;
    }
    let bearer = last.expect(200, "").text("access_token").to_owned();
    let chosen = trail.call(Method::PUT, "/mfa/email", &bearer, None).await;
    chosen.expect(200, "");
    trail.skip().await;
    let body = json!({"method": "email"});
    let route = "/reauthenticate/code";
    let sent = trail.call(Method::POST, route, &bearer, Some(body)).await;
    let asked = ("code", "success", "reauthentication", "email", "user", true);
    trail.expect("a code within the session", &[asked]).await;
    let code = trail.origin.code(EMAIL);
    let body = json!({"method": "email", "otp_token": sent.text("otp_token"), "code": code});
    for (outcome, reason) in [("success", ""), ("failure", "code_invalid")] {
        let body = Some(body.clone());
        let call = trail.call(Method::POST, "/reauthenticate", &bearer, body);
        call.await;
        let told = ("reauthentication", outcome, reason, "email", "user", true);
        trail.expect("a sent code", &[told]).await;
    }
}

#[tokio::test]
async fn captchas_that_are_not_solved_leave_their_events() {
    let mut trail = Trail::with(|config| {
        config.captcha.kind = CaptchaKind::Pow;
        config.captcha.when = CaptchaWhen::Always;
    })
    .await;
    for name in [EMAIL, "nobody@example.org"] {
        let mut body = json!({"identifier": name, "password": PASSWORD});
        trail
            .post("/login", body.clone())
            .await
            .expect(403, "captcha_required");
        trail.expect("none was shown", &[]).await;
        body["captcha"] = json!({"token": "nothing"});
        let reply = trail.post("/login", body).await;
        assert_eq!(reply.code(), "captcha_invalid", "{:?}", reply.body);
        let refused = failed("captcha", "captcha_invalid", "", false);
        trail.expect(name, &[refused]).await;
    }
}

#[tokio::test]
async fn other_providers_leave_their_events() {
    let idp = idp::Idp::start().await;
    let mut trail = Trail::with(|config| idp::add(config, "acme", &idp.issuer)).await;
    let said = |email: &str| json!({"email": email, "email_verified": true});
    let known = trail.log_in().await;
    let bearer = known.text("access_token");
    trail.skip().await;
    for (subject, email, expected) in [
        ("1", "ada@example.org", made("social")),
        ("1", "ada@example.org", entered("social").to_vec()),
        // The address has an account: it is not linked by itself.
        (
            "2",
            EMAIL,
            vec![failed("login", "conflict", "social", false)],
        ),
    ] {
        let flow = idp::start(&trail.origin, "acme").await;
        let landed = idp.log_in(&trail.origin, &flow, subject, said(email)).await;
        let code = idp::returned(&landed, "code");
        let cookie = flow.cookie.as_deref().unwrap_or_default();
        exchange(&trail, "/social/exchange", "", cookie, &code).await;
        trail.expect(email, &expected).await;
        // Its code is none any more.
        exchange(&trail, "/social/exchange", "", cookie, &code).await;
        let used = failed("login", "code_invalid", "social", false);
        trail.expect("a used code", &[used]).await;
    }
    let own = |outcome, reason, method| ("identity", outcome, reason, method, "user", true);
    for (subject, expected) in [
        ("3", own("success", "linked", "acme")),
        // Another's.
        ("1", own("failure", "conflict", "social")),
    ] {
        let (flow, code) = idp.link(&trail.origin, "acme", bearer, subject).await;
        let cookie = flow.cookie.as_deref().unwrap_or_default();
        exchange(&trail, "/social/link", bearer, cookie, &code).await;
        trail.expect(subject, &[expected]).await;
        exchange(&trail, "/social/link", bearer, cookie, &code).await;
        let used = own("failure", "code_invalid", "social");
        trail.expect("a used code", &[used]).await;
    }
}

/// Shows a code with the cookie of its flow, from where every request of these tests comes.
async fn exchange(trail: &Trail, route: &str, bearer: &str, cookie: &str, code: &str) -> Reply {
    let address = std::net::SocketAddr::new(ADDRESS.parse().unwrap(), 40_000);
    let mut request = Request::post(auth(route))
        .extension(ConnectInfo(address))
        .header(header::USER_AGENT, AGENT)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::COOKIE, cookie);
    if !bearer.is_empty() {
        request = request.header(header::AUTHORIZATION, format!("Bearer {bearer}"));
    }
    let body = Body::from(json!({ "code": code }).to_string());
    trail.origin.send(request.body(body).unwrap()).await
}

#[tokio::test]
async fn the_end_of_each_session_leaves_its_event() {
    let mut trail = Trail::new().await;
    let mut sessions = Vec::new();
    for _ in 0..6 {
        sessions.push(trail.log_in().await);
        trail.origin.advance(1);
        if sessions.len() < 6 {
            trail.skip().await;
        }
    }
    let ends = |reason, actor, count: usize| {
        vec![("session_end", "success", reason, "", actor, true); count]
    };
    let mut gone = ends("limit", "system", 1);
    gone.extend(entered("password"));
    trail.expect("one too many", &gone).await;
    let bearer = |n: usize| -> &str { sessions[n].text("access_token") };
    let call = trail.call(Method::POST, "/logout", bearer(1), None);
    call.await.expect(204, "");
    trail.expect("a logout", &ends("logout", "user", 1)).await;
    let call = trail.call(Method::DELETE, "/sessions", bearer(2), None);
    call.await.expect(204, "");
    let mut others = vec![("trusted_device", "success", "removed", "", "user", true)];
    others.extend(ends("user", "user", 3));
    trail.expect("the others", &others).await;
    let old = json!({"refresh_token": sessions[2].text("refresh_token")});
    trail.post("/refresh", old.clone()).await.expect(200, "");
    trail.expect("a refresh", &[]).await;
    trail.origin.advance(11);
    trail
        .post("/refresh", old)
        .await
        .expect(401, "refresh_reused");
    let rows = trail.rows().await;
    let told: Vec<(String, String)> = rows
        .iter()
        .map(|row| (row.get("kind"), row.get("reason")))
        .collect();
    let expected = [("session_end", "reuse"), ("refresh_reuse", "")];
    assert_eq!(
        told,
        expected.map(|(kind, reason)| (kind.to_owned(), reason.to_owned()))
    );
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
