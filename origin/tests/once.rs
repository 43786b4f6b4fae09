//! Every one-time thing, used twice and by a hundred at once.
//!
//! Each row makes an origin with one thing that waits, the requests that use it up, and a number
//! that each use changes. Where a thing has several doors, each is among the requests. Two things
//! are good more than once by design and have tests of their own: a refresh token within its grace
//! (`sessions.rs`; in a cookie `browser.rs`), and a device token, which opens nothing (`lockout.rs`).
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod authenticator;
mod callers;
mod idp;
mod people;
mod person;
mod support;

use std::pin::Pin;
use std::sync::Arc;

use authenticator::Authenticator;
use axum::http::Method;
use callers::{challenge, image_challenge, payload, solved, work};
use edgekeep_origin::config::{CaptchaKind, CaptchaWhen, Channel, Config};
use idp::Idp;
use people::Person;
use person::{
    EMAIL, PASSWORD, PHONE, account, bearer, call, first_step, link, log_in_fully, number, with_app,
};
use serde_json::{Value, json};
use support::{Origin, Reply};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

const POST: Method = Method::POST;
const PUT: Method = Method::PUT;

const NEW: &str = "new@example.org";
const VERIFY_PAGE: &str = "https://app.example.org/verify";
const CONTACT_PAGE: &str = "https://app.example.org/add";

const CODE: &[(u16, &str)] = &[(400, "code_invalid")];
const CREDENTIALS: &[(u16, &str)] = &[(401, "credentials_invalid")];
const CAPTCHA: &[(u16, &str)] = &[(400, "captcha_invalid")];

const SESSIONS: &str = "SELECT COUNT(*) FROM sessions";
/// A proof within a session rotates the session's refresh token.
const PROOFS: &str = "SELECT COUNT(*) + SUM(counter) FROM sessions";
const MESSAGES: &str = "SELECT COUNT(*) FROM message_sends";
const ADDRESSES: &str = "SELECT COUNT(*) FROM identifiers";

/// A request that uses something up.
#[derive(Clone)]
struct Ask {
    method: Method,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Option<Value>,
}

impl Ask {
    fn post(route: &str, body: Value) -> Self {
        Self {
            method: POST,
            path: format!("/api/v1/auth{route}"),
            headers: Vec::new(),
            body: Some(body),
        }
    }

    fn within(mut self, bearer: &str) -> Self {
        self.headers
            .push(("authorization", format!("Bearer {bearer}")));
        self
    }

    fn second(token: &str, method: &str, code: &str) -> Self {
        let body = json!({"mfa_token": token, "method": method, "code": code});
        Self::post("/login/mfa", body)
    }

    fn proof(bearer: &str, method: &str, code: &str) -> Self {
        Self::post("/reauthenticate", json!({"method": method, "code": code})).within(bearer)
    }

    async fn send(self, origin: &Origin) -> Reply {
        let headers: Vec<(&str, &str)> = self
            .headers
            .iter()
            .map(|(name, value)| (*name, &**value))
            .collect();
        idp::send(origin, self.method, &self.path, &headers, self.body).await
    }
}

/// A thing that waits to be used, once.
struct Thing {
    origin: Arc<Origin>,
    /// Each uses the same thing up.
    asks: Vec<Ask>,
    /// What the use answers.
    good: u16,
    /// What every other one answers.
    refused: &'static [(u16, &'static str)],
    /// SQL for a number that a use changes by `by`.
    counted: &'static str,
    by: i64,
}

impl Thing {
    fn new(
        origin: impl Into<Arc<Origin>>,
        asks: impl Into<Vec<Ask>>,
        counted: &'static str,
    ) -> Self {
        Self {
            origin: origin.into(),
            asks: asks.into(),
            good: 200,
            refused: CODE,
            counted,
            by: 1,
        }
    }
}

type Making = Pin<Box<dyn Future<Output = Thing> + Send>>;

/// What a thing is called, and what makes it.
type Row = (&'static str, fn() -> Making);

macro_rules! things {
    ($($name:literal => $make:expr,)*) => {
        [$(($name, (|| Box::pin($make)) as fn() -> Making),)*]
    };
}

const THINGS: [Row; 25] = things! {
    "code and link of a registration" => registration(),
    "code to log in with, by mail" => code_to_log_in_with(json!({"email": EMAIL}), EMAIL),
    "code to log in with, by SMS" => code_to_log_in_with(json!({"phone_number": PHONE}), PHONE),
    "code of a second step, by mail" => code_of_a_second_step("email", EMAIL),
    "code of a second step, by SMS" => code_of_a_second_step("sms", PHONE),
    "token of a first step" => token_of_a_first_step(),
    "recovery code" => recovery_code(),
    "step of an app" => step_of_an_app(),
    "secret of an app that waits" => app_that_waits(),
    "link of a reset" => link_of_a_reset(),
    "code and link of a further address" => further_address(),
    "link that takes a change back" => undo_link(),
    "captcha by image" => captcha(CaptchaKind::Image),
    "captcha by work" => captcha(CaptchaKind::Pow),
    "captcha by code" => captcha(CaptchaKind::Code),
    "captcha, for its token" => captcha_for_its_token(),
    "token of a captcha" => captcha_token(),
    "passkey challenge of a login" => passkey_login(),
    "passkey challenge of a second step" => passkey_second_step(),
    "passkey challenge of a proof" => passkey_proof(),
    "passkey challenge of a registration" => passkey_registration(),
    "state of another provider" => social_state(),
    "code of a login at another provider" => social_code(),
    "code of a link to another provider" => social_link(),
    "submission that waits for review" => kyc_submission(),
};

async fn origin() -> Origin {
    origin_with(|_| {}).await
}

async fn origin_with(change: impl FnOnce(&mut Config)) -> Origin {
    Origin::with(|config| {
        config.notify.sms = Channel::Memory;
        config.server.public_url = Some("https://id.example.org".to_owned());
        config.registration.verify_url = Some(VERIFY_PAGE.to_owned());
        config.accounts.contact_url = Some(CONTACT_PAGE.to_owned());
        change(config);
    })
    .await
}

async fn registration() -> Thing {
    let origin = origin().await;
    let body = json!({"email": NEW, "password": PASSWORD});
    origin.post("/register", body).await.expect(202, "");
    let token = link(&origin, NEW, VERIFY_PAGE).unwrap();
    let asks = [
        json!({"email": NEW, "code": origin.code(NEW)}),
        json!({"token": token, "password": PASSWORD}),
    ];
    let asks = asks.map(|body| Ask::post("/register/verify", body));
    Thing::new(origin, asks, SESSIONS)
}

async fn code_to_log_in_with(body: Value, to: &'static str) -> Thing {
    let origin = origin().await;
    account(&origin).await;
    let sent = origin.post("/otp/send", body).await.expect(200, "");
    let body = json!({"otp_token": sent.text("otp_token"), "code": origin.code(to)});
    Thing::new(origin, [Ask::post("/otp/verify", body)], SESSIONS)
}

async fn code_of_a_second_step(method: &'static str, to: &'static str) -> Thing {
    let origin = origin().await;
    let (app, _) = with_app(&origin).await;
    let session = log_in_fully(&origin, &app).await;
    let route = format!("/mfa/{method}");
    call(&origin, PUT, &route, session.text("access_token"), None)
        .await
        .expect(200, "");
    let token = first_step(&origin).await;
    let body = json!({"mfa_token": token, "method": method});
    origin.post("/login/mfa/send", body).await.expect(200, "");
    let ask = Ask::second(&token, method, &origin.code(to));
    Thing::new(origin, [ask], SESSIONS)
}

async fn token_of_a_first_step() -> Thing {
    let origin = origin().await;
    let (app, recovery) = with_app(&origin).await;
    let token = first_step(&origin).await;
    let mut asks: Vec<Ask> = recovery
        .iter()
        .map(|code| Ask::second(&token, "recovery_code", code))
        .collect();
    asks.push(Ask::second(&token, "totp", &app.code(&origin, 0)));
    Thing::new(origin, asks, SESSIONS)
}

/// Requests with one code at both doors where it is good: ten second steps and a proof.
async fn at_both_doors(origin: &Origin, app: &person::App, method: &str, code: &str) -> Vec<Ask> {
    let session = log_in_fully(origin, app).await;
    let code = if code.is_empty() {
        app.code(origin, 0)
    } else {
        code.to_owned()
    };
    let mut asks = vec![Ask::proof(session.text("access_token"), method, &code)];
    for _ in 0..10 {
        asks.push(Ask::second(&first_step(origin).await, method, &code));
    }
    asks
}

async fn recovery_code() -> Thing {
    let origin = origin().await;
    let (app, recovery) = with_app(&origin).await;
    let asks = at_both_doors(&origin, &app, "recovery_code", &recovery[0]).await;
    Thing::new(origin, asks, PROOFS)
}

async fn step_of_an_app() -> Thing {
    let origin = origin().await;
    let (app, _) = with_app(&origin).await;
    let asks = at_both_doors(&origin, &app, "totp", "").await;
    Thing::new(origin, asks, PROOFS)
}

async fn app_that_waits() -> Thing {
    let origin = origin().await;
    account(&origin).await;
    let bearer = bearer(&origin).await;
    let shown = call(&origin, POST, "/mfa/totp", &bearer, None).await;
    let secret = shown.expect(200, "").text("secret").to_owned();
    let code = person::App { secret }.code(&origin, 0);
    let ask = Ask::post("/mfa/totp/confirm", json!({"code": code})).within(&bearer);
    Thing {
        // Once the app is there, it has to be fresh for what changes it.
        refused: &[(400, "code_invalid"), (401, "step_up_required")],
        ..Thing::new(origin, [ask], "SELECT COUNT(*) FROM totp_factors")
    }
}

async fn link_of_a_reset() -> Thing {
    let origin = origin().await;
    account(&origin).await;
    let body = json!({"identifier": EMAIL});
    origin.post("/forgot-password", body).await.expect(202, "");
    let token = origin.code(EMAIL);
    let asks = ["another pass phrase", "and a third one, longer"]
        .map(|password| json!({"token": token, "password": password}))
        .map(|body| Ask::post("/reset-password", body));
    let counted = "SELECT COUNT(*) FROM audit_events
                   WHERE kind = 'password' AND outcome = 'success'";
    Thing {
        good: 204,
        ..Thing::new(origin, asks, counted)
    }
}

async fn further_address() -> Thing {
    let origin = origin().await;
    account(&origin).await;
    let bearer = bearer(&origin).await;
    // What came first decides what is taken back, and the clock stands still.
    origin.advance(1);
    let body = Some(json!({"email": NEW}));
    let begun = call(&origin, POST, "/contacts", &bearer, body).await;
    let begun = begun.expect(202, "");
    let asks = [
        json!({"contact_token": begun.text("contact_token"), "code": origin.code(NEW)}),
        json!({"token": link(&origin, NEW, CONTACT_PAGE).unwrap()}),
    ];
    let asks = asks.map(|body| Ask::post("/contacts/verify", body).within(&bearer));
    Thing::new(origin, asks, ADDRESSES)
}

async fn undo_link() -> Thing {
    let Thing { origin, asks, .. } = further_address().await;
    asks[0].clone().send(&origin).await.expect(200, "");
    let told = origin.state.mailer.sent().into_iter().rev();
    let token = told
        .filter_map(|message| message.code)
        .find(|code| code.starts_with("eku_"));
    let ask = Ask::post("/contacts/undo", json!({ "token": token }));
    Thing {
        good: 204,
        by: -1,
        ..Thing::new(origin, [ask], ADDRESSES)
    }
}

async fn with_captcha(kind: CaptchaKind) -> Origin {
    origin_with(|config| {
        config.captcha.kind = kind;
        config.captcha.when = CaptchaWhen::Always;
        config.captcha.pow_cost = 10;
        config.captcha.pow_zeros = 1;
        // So that nothing but the captcha holds a second message up.
        config.otp.sends_per_hour = 1_000;
    })
    .await
}

fn send_code(captcha: &Value) -> Ask {
    Ask::post("/otp/send", json!({"email": EMAIL, "captcha": captcha}))
}

async fn captcha(kind: CaptchaKind) -> Thing {
    let origin = with_captcha(kind).await;
    let answers = match kind {
        CaptchaKind::Image => {
            let (asked, letters) = image_challenge(&origin, "otp", EMAIL).await;
            vec![solved(&asked, &letters)]
        }
        CaptchaKind::Code => {
            let asked = challenge(&origin, "otp", EMAIL).await;
            vec![solved(&asked, &origin.code(EMAIL))]
        }
        _ => {
            let asked = challenge(&origin, "otp", EMAIL).await;
            let proof = payload(&work(&asked, 1, 0));
            // As a widget sends it, and beside the challenge's id.
            vec![json!(proof), solved(&asked, &proof)]
        }
    };
    let asks: Vec<Ask> = answers.iter().map(send_code).collect();
    Thing {
        refused: CAPTCHA,
        ..Thing::new(origin, asks, MESSAGES)
    }
}

async fn captcha_for_its_token() -> Thing {
    let origin = with_captcha(CaptchaKind::Image).await;
    let (asked, letters) = image_challenge(&origin, "otp", EMAIL).await;
    let ask = Ask::post("/captcha/verify", solved(&asked, &letters));
    Thing {
        refused: CAPTCHA,
        ..Thing::new(origin, [ask], "SELECT COUNT(*) FROM captcha_passes")
    }
}

async fn captcha_token() -> Thing {
    let Thing { origin, asks, .. } = captcha_for_its_token().await;
    let pass = callers::token(asks[0].clone().send(&origin).await);
    let asks = [send_code(&pass), send_code(&json!({ "token": pass }))];
    Thing {
        refused: CAPTCHA,
        ..Thing::new(origin, asks, MESSAGES)
    }
}

async fn begun(origin: &Origin, route: &str, bearer: Option<&str>, body: Value) -> (Value, Value) {
    let route = format!("/api/v1/auth{route}");
    let reply = origin.call(POST, &route, bearer, Some(body)).await;
    let reply = reply.expect(200, "");
    (
        reply.body["passkey_token"].clone(),
        reply.body["options"].clone(),
    )
}

/// What adds a passkey.
async fn adding(origin: &Origin, bearer: &str, passkey: &mut Authenticator) -> Ask {
    let (token, options) = begun(origin, "/passkeys/registration", Some(bearer), json!({})).await;
    let credential = passkey.create(&options);
    let body = json!({"passkey_token": token, "credential": credential, "name": "key"});
    Ask::post("/passkeys", body).within(bearer)
}

async fn with_passkey() -> (Origin, Authenticator) {
    let origin = origin().await;
    account(&origin).await;
    let mut passkey = Authenticator::new(7);
    let ask = adding(&origin, &bearer(&origin).await, &mut passkey).await;
    ask.send(&origin).await.expect(200, "");
    (origin, passkey)
}

/// What logs in with the passkey.
async fn entering(origin: &Origin, passkey: &mut Authenticator) -> Ask {
    let (token, options) = begun(origin, "/login/passkey/begin", None, json!({})).await;
    let body = json!({"passkey_token": token, "credential": passkey.get(&options)});
    Ask::post("/login/passkey", body)
}

async fn passkey_login() -> Thing {
    let (origin, mut passkey) = with_passkey().await;
    let ask = entering(&origin, &mut passkey).await;
    Thing {
        refused: CREDENTIALS,
        ..Thing::new(origin, [ask], SESSIONS)
    }
}

async fn passkey_second_step() -> Thing {
    let (origin, mut passkey) = with_passkey().await;
    let mfa = first_step(&origin).await;
    let body = json!({ "mfa_token": mfa });
    let (token, options) = begun(&origin, "/login/mfa/passkey", None, body).await;
    let body = json!({
        "mfa_token": mfa, "method": "passkey",
        "passkey_token": token, "credential": passkey.get(&options),
    });
    Thing::new(origin, [Ask::post("/login/mfa", body)], SESSIONS)
}

/// A session that began with a passkey, and its access token.
async fn by_passkey() -> (Origin, Authenticator, String) {
    let (origin, mut passkey) = with_passkey().await;
    let session = entering(&origin, &mut passkey).await.send(&origin).await;
    let bearer = session.expect(200, "").text("access_token").to_owned();
    (origin, passkey, bearer)
}

async fn passkey_proof() -> Thing {
    let (origin, mut passkey, bearer) = by_passkey().await;
    let begun = begun(&origin, "/reauthenticate/passkey", Some(&bearer), json!({})).await;
    let body = json!({
        "method": "passkey", "passkey_token": begun.0, "credential": passkey.get(&begun.1),
    });
    let ask = Ask::post("/reauthenticate", body).within(&bearer);
    Thing::new(origin, [ask], PROOFS)
}

async fn passkey_registration() -> Thing {
    let (origin, _, bearer) = by_passkey().await;
    let ask = adding(&origin, &bearer, &mut Authenticator::new(8)).await;
    Thing::new(origin, [ask], "SELECT COUNT(*) FROM passkeys")
}

async fn acme() -> (Idp, Origin) {
    let idp = Idp::start().await;
    let origin = origin_with(|config| idp::add(config, "acme", &idp.issuer)).await;
    (idp, origin)
}

/// Who logs in at the other provider.
fn ada() -> Value {
    json!({"email": NEW, "email_verified": true})
}

async fn social_state() -> Thing {
    let (idp, origin) = acme().await;
    let flow = idp::start(&origin, "acme").await;
    let mut claims = idp.claims(&flow, "1");
    claims["email"] = json!(NEW);
    claims["email_verified"] = json!(true);
    idp.grant(&idp::Key::usual().id_token("k1", &claims));
    let path = "/api/v1/auth/social/acme/callback";
    let ask = Ask {
        method: Method::GET,
        path: format!("{path}?state={}&code=their-code", flow.state()),
        headers: vec![("cookie", flow.cookie.unwrap())],
        body: None,
    };
    let counted = "SELECT COUNT(*) FROM social_flows WHERE returned_at IS NOT NULL";
    Thing {
        good: 303,
        ..Thing::new(origin, [ask], counted)
    }
}

async fn social_code() -> Thing {
    let (idp, origin) = acme().await;
    let flow = idp::start(&origin, "acme").await;
    let code = idp::returned(&idp.log_in(&origin, &flow, "1", ada()).await, "code");
    let mut ask = Ask::post("/social/exchange", json!({ "code": code }));
    ask.headers.push(("cookie", flow.cookie.unwrap()));
    Thing::new(origin, [ask], SESSIONS)
}

async fn social_link() -> Thing {
    let (idp, origin) = acme().await;
    account(&origin).await;
    let bearer = bearer(&origin).await;
    let (flow, code) = idp.link(&origin, "acme", &bearer, "1").await;
    let mut ask = Ask::post("/social/link", json!({ "code": code })).within(&bearer);
    ask.headers.push(("cookie", flow.cookie.unwrap()));
    Thing::new(origin, [ask], "SELECT COUNT(*) FROM social_identities")
}

async fn kyc_submission() -> Thing {
    let origin = origin().await;
    let admin = Person::new_admin(&origin, "admin@example.org").await;
    let user = Person::new_user(&origin, NEW).await;
    let body = json!({"level": 2, "documents": [{"kind": "passport", "reference": "r-1"}]});
    let submitted = user.ask(&origin, POST, "/kyc/verify", Some(body)).await;
    submitted.expect(202, "");
    let verdicts = [
        json!({"decision": "approve", "level": 2}),
        json!({"decision": "reject", "reason": "not readable"}),
    ];
    let asks = verdicts.map(|body| Ask {
        path: format!("/api/v1/admin/users/{}/kyc/review", user.id),
        ..Ask::post("", body).within(&admin.access)
    });
    Thing {
        refused: &[(409, "conflict")],
        ..Thing::new(
            origin,
            asks,
            "SELECT COUNT(*) FROM audit_events WHERE kind = 'kyc'",
        )
    }
}

/// Sends `how_many` requests from as many tasks, which all begin together.
async fn at_once(origin: &Arc<Origin>, asks: &[Ask], how_many: usize) -> Vec<Reply> {
    let barrier = Arc::new(Barrier::new(how_many));
    let mut tasks = JoinSet::new();
    for ask in asks.iter().cycle().take(how_many) {
        let (origin, barrier, ask) = (Arc::clone(origin), Arc::clone(&barrier), ask.clone());
        tasks.spawn(async move {
            barrier.wait().await;
            ask.send(&origin).await
        });
    }
    tasks.join_all().await
}

impl Thing {
    /// What is wrong with these replies to uses of it, of which one has to have won.
    async fn faults(&self, before: i64, replies: &[Reply]) -> Vec<String> {
        let (won, lost): (Vec<_>, Vec<_>) = replies
            .iter()
            .partition(|reply| reply.status.as_u16() == self.good);
        let mut faults: Vec<String> = lost
            .iter()
            .map(|reply| (reply.status.as_u16(), reply.code()))
            .filter(|answer| !self.refused.contains(answer))
            .map(|answer| format!("answered {answer:?}"))
            .collect();
        if won.len() != 1 {
            faults.push(format!("{} won", won.len()));
        }
        let by = number(&self.origin, self.counted).await - before;
        if by != self.by {
            faults.push(format!("changed {by}: {}", self.counted));
        }
        faults.dedup();
        faults
    }
}

#[tokio::test]
async fn each_is_good_once_and_refused_afterwards_at_every_door() {
    let mut bad_rows = Vec::new();
    for (name, make) in THINGS {
        let thing = make().await;
        let before = number(&thing.origin, thing.counted).await;
        let mut replies = vec![thing.asks[0].clone().send(&thing.origin).await];
        if replies[0].status.as_u16() != thing.good {
            bad_rows.push((name, vec![format!("first: {:?}", replies[0].body)]));
            continue;
        }
        for ask in &thing.asks {
            replies.push(ask.clone().send(&thing.origin).await);
        }
        let faults = thing.faults(before, &replies).await;
        bad_rows.extend((!faults.is_empty()).then_some((name, faults)));
    }
    assert!(bad_rows.is_empty(), "{bad_rows:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_hundred_tasks_that_use_one_thing_exactly_one_wins() {
    let mut bad_rows = Vec::new();
    for (name, make) in THINGS {
        let thing = make().await;
        let before = number(&thing.origin, thing.counted).await;
        let replies = at_once(&thing.origin, &thing.asks, 100).await;
        let faults = thing.faults(before, &replies).await;
        bad_rows.extend((!faults.is_empty()).then_some((name, faults)));
    }
    assert!(bad_rows.is_empty(), "{bad_rows:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_used_up_refresh_token_in_a_hundred_tasks_ends_its_session_once() {
    for beside_the_good_one in [false, true] {
        let origin = Arc::new(origin().await);
        let old = Person::new_user(&origin, NEW).await;
        let present = old.refreshed(&origin).await.refreshed(&origin).await;
        let refresh = |token: &str| Ask::post("/refresh", json!({ "refresh_token": token }));
        let mut asks = vec![refresh(&old.refresh)];
        if beside_the_good_one {
            asks.push(refresh(&present.refresh));
        }
        let mut reused = 0;
        for reply in at_once(&origin, &asks, 100).await {
            match (reply.status.as_u16(), reply.code()) {
                (200, _) => assert!(beside_the_good_one),
                (401, "refresh_reused") => reused += 1,
                (401, "session_ended") => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(reused, 1);
        let ended = "SELECT COUNT(*) FROM revocations WHERE kind = 'sid' AND reason = 'reuse'";
        assert_eq!(number(&origin, ended).await, 1);
        let noted = "SELECT COUNT(*) FROM audit_events WHERE kind = 'refresh_reuse'";
        assert_eq!(number(&origin, noted).await, 1);
        refresh(&present.refresh)
            .send(&origin)
            .await
            .expect(401, "session_ended");
    }
}

/// Fails unless every reply is that of a wrong code.
#[track_caller]
fn only_refused(replies: Vec<Reply>) {
    for reply in replies {
        reply.expect(400, "code_invalid");
    }
}

fn other_than(code: &str, n: u32) -> String {
    let number: u32 = code.parse().unwrap();
    format!("{:06}", (number + 1 + n) % 1_000_000)
}

const COMPARED: &str = "SELECT COUNT(*) FROM code_failures";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_thousand_tasks_that_guess_a_code_three_are_compared() {
    for (body, to) in [
        (json!({"email": EMAIL}), EMAIL),
        (json!({"phone_number": PHONE}), PHONE),
    ] {
        let thing = code_to_log_in_with(body, to).await;
        let origin = &thing.origin;
        let good = thing.asks[0].body.clone().unwrap();
        let code = origin.code(to);
        let guesses: Vec<Ask> = (0..1_000)
            .map(|n| {
                let mut body = good.clone();
                body["code"] = json!(other_than(&code, n));
                Ask::post("/otp/verify", body)
            })
            .collect();
        only_refused(at_once(origin, &guesses, 1_000).await);
        let tries = number(origin, "SELECT SUM(tries) FROM one_time_codes").await;
        assert_eq!((tries, number(origin, COMPARED).await), (3, 3));
        only_refused(at_once(origin, &thing.asks, 1).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_thousand_tasks_that_guess_an_app_at_both_doors_ten_are_compared() {
    let origin = Arc::new(origin().await);
    let (app, _) = with_app(&origin).await;
    let doors = at_both_doors(&origin, &app, "totp", "").await;
    let guesses: Vec<Ask> = (0..1_000)
        .map(|n| {
            let mut ask = doors[n as usize % doors.len()].clone();
            ask.body.as_mut().unwrap()["code"] = json!(app.wrong(&origin, n));
            ask
        })
        .collect();
    only_refused(at_once(&origin, &guesses, 1_000).await);
    assert_eq!(number(&origin, COMPARED).await, 10);
    // The right one is no longer compared, at either door.
    only_refused(at_once(&origin, &doors, doors.len()).await);
}
