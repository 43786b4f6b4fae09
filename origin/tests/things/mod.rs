//! One-time things that wait to be used, each in an origin of its own.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

use std::sync::Arc;

use axum::http::Method;
use edgekeep_origin::config::{CaptchaKind, CaptchaWhen, Channel, Config};
use serde_json::{Value, json};

use crate::authenticator::Authenticator;
use crate::callers::{self, challenge, image_challenge, payload, solved, work};
use crate::idp::{self, Idp};
use crate::people::Person;
use crate::person::{
    self, EMAIL, PASSWORD, account, bearer, call, first_step, link, log_in, log_in_fully, with_app,
};
use crate::support::{Origin, Reply};

const POST: Method = Method::POST;
const PUT: Method = Method::PUT;

pub(crate) const NEW: &str = "new@example.org";
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
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Option<Value>,
}

impl Ask {
    pub(crate) fn post(route: &str, body: Value) -> Self {
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

    pub(crate) async fn send(self, origin: &Origin) -> Reply {
        let headers: Vec<(&str, &str)> = self
            .headers
            .iter()
            .map(|(name, value)| (*name, &**value))
            .collect();
        idp::send(origin, self.method, &self.path, &headers, self.body).await
    }
}

/// A thing that waits to be used, once.
pub(crate) struct Thing {
    pub(crate) origin: Arc<Origin>,
    /// Each uses the same thing up.
    pub(crate) asks: Vec<Ask>,
    /// What the use answers.
    pub(crate) good: u16,
    /// What every other one answers.
    pub(crate) refused: &'static [(u16, &'static str)],
    /// SQL for a number that a use changes by `by`.
    pub(crate) counted: &'static str,
    pub(crate) by: i64,
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

pub(crate) async fn origin() -> Origin {
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

pub(crate) async fn registration() -> Thing {
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

/// Of two registrations of one address either can be finished, and with it both end.
pub(crate) async fn registrations() -> Thing {
    let origin = origin().await;
    let mut asks = Vec::new();
    for password in [PASSWORD, "somebody else's words"] {
        let body = json!({"email": NEW, "password": password});
        let begun = origin.post("/register", body).await.expect(202, "");
        let token = begun.headers["x-registration-token"].to_str().unwrap();
        let proof = json!({"registration_token": token, "code": origin.code(NEW)});
        asks.push(Ask::post("/register/verify", proof));
    }
    Thing::new(origin, asks, SESSIONS)
}

pub(crate) async fn code_to_log_in_with(body: Value, to: &'static str) -> Thing {
    let origin = origin().await;
    account(&origin).await;
    let sent = origin.post("/otp/send", body).await.expect(200, "");
    let body = json!({"otp_token": sent.text("otp_token"), "code": origin.code(to)});
    Thing::new(origin, [Ask::post("/otp/verify", body)], SESSIONS)
}

/// On the device where somebody logged in before, and where the code is given back on another.
pub(crate) async fn code_for_a_trusted_device(mut body: Value, to: &'static str) -> Thing {
    let origin = origin().await;
    account(&origin).await;
    let session = log_in(&origin, PASSWORD).await.expect(200, "");
    body["device_token"] = session.body["device_token"].clone();
    let sent = origin.post("/otp/send", body).await.expect(200, "");
    let elsewhere = json!({"otp_token": sent.text("otp_token"), "code": origin.code(to)});
    let mut here = elsewhere.clone();
    here["device_token"] = session.body["device_token"].clone();
    let asks = [here, elsewhere].map(|body| Ask::post("/otp/verify", body));
    Thing::new(origin, asks, SESSIONS)
}

/// A code that was sent within a session, where such codes are its second factor.
pub(crate) async fn code_of_a_proof(method: &'static str, to: &'static str) -> Thing {
    let origin = origin().await;
    account(&origin).await;
    let bearer = bearer(&origin).await;
    let route = format!("/mfa/{method}");
    call(&origin, PUT, &route, &bearer, None)
        .await
        .expect(200, "");
    let body = Some(json!({ "method": method }));
    let sent = call(&origin, POST, "/reauthenticate/code", &bearer, body).await;
    let body = json!({
        "method": method, "otp_token": sent.expect(200, "").text("otp_token"),
        "code": origin.code(to),
    });
    let ask = Ask::post("/reauthenticate", body).within(&bearer);
    Thing::new(origin, [ask], PROOFS)
}

pub(crate) async fn code_of_a_second_step(
    method: &'static str,
    to: &'static str,
    on_trusted_device: bool,
) -> Thing {
    let origin = origin().await;
    let (app, _) = with_app(&origin).await;
    let session = log_in_fully(&origin, &app).await;
    let route = format!("/mfa/{method}");
    call(&origin, PUT, &route, session.text("access_token"), None)
        .await
        .expect(200, "");
    let mut body = json!({"identifier": EMAIL, "password": PASSWORD});
    if on_trusted_device {
        body["device_token"] = session.body["device_token"].clone();
    }
    let asked = origin.post("/login", body).await.expect(200, "");
    let token = asked.text("mfa_token").to_owned();
    let body = json!({"mfa_token": token, "method": method});
    origin.post("/login/mfa/send", body).await.expect(200, "");
    let ask = Ask::second(&token, method, &origin.code(to));
    Thing::new(origin, [ask], SESSIONS)
}

pub(crate) async fn token_of_a_first_step() -> Thing {
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
pub(crate) async fn at_both_doors(
    origin: &Origin,
    app: &person::App,
    method: &str,
    code: &str,
) -> Vec<Ask> {
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

pub(crate) async fn recovery_code() -> Thing {
    let origin = origin().await;
    let (app, recovery) = with_app(&origin).await;
    let asks = at_both_doors(&origin, &app, "recovery_code", &recovery[0]).await;
    Thing::new(origin, asks, PROOFS)
}

pub(crate) async fn step_of_an_app() -> Thing {
    let origin = origin().await;
    let (app, _) = with_app(&origin).await;
    let asks = at_both_doors(&origin, &app, "totp", "").await;
    Thing::new(origin, asks, PROOFS)
}

pub(crate) async fn app_that_waits() -> Thing {
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

pub(crate) async fn link_of_a_reset() -> Thing {
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

pub(crate) async fn further_address() -> Thing {
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

pub(crate) async fn undo_link() -> Thing {
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

pub(crate) async fn captcha(kind: CaptchaKind) -> Thing {
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

pub(crate) async fn captcha_for_its_token() -> Thing {
    let origin = with_captcha(CaptchaKind::Image).await;
    let (asked, letters) = image_challenge(&origin, "otp", EMAIL).await;
    let ask = Ask::post("/captcha/verify", solved(&asked, &letters));
    Thing {
        refused: CAPTCHA,
        ..Thing::new(origin, [ask], "SELECT COUNT(*) FROM captcha_passes")
    }
}

pub(crate) async fn captcha_token() -> Thing {
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

pub(crate) async fn passkey_login() -> Thing {
    let (origin, mut passkey) = with_passkey().await;
    let ask = entering(&origin, &mut passkey).await;
    Thing {
        refused: CREDENTIALS,
        ..Thing::new(origin, [ask], SESSIONS)
    }
}

pub(crate) async fn passkey_second_step() -> Thing {
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

pub(crate) async fn passkey_proof() -> Thing {
    let (origin, mut passkey, bearer) = by_passkey().await;
    let begun = begun(&origin, "/reauthenticate/passkey", Some(&bearer), json!({})).await;
    let body = json!({
        "method": "passkey", "passkey_token": begun.0, "credential": passkey.get(&begun.1),
    });
    let ask = Ask::post("/reauthenticate", body).within(&bearer);
    Thing::new(origin, [ask], PROOFS)
}

pub(crate) async fn passkey_registration() -> Thing {
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

pub(crate) async fn social_state() -> Thing {
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

pub(crate) async fn social_code() -> Thing {
    let (idp, origin) = acme().await;
    let flow = idp::start(&origin, "acme").await;
    let code = idp::returned(&idp.log_in(&origin, &flow, "1", ada()).await, "code");
    let mut ask = Ask::post("/social/exchange", json!({ "code": code }));
    ask.headers.push(("cookie", flow.cookie.unwrap()));
    Thing::new(origin, [ask], SESSIONS)
}

pub(crate) async fn social_link() -> Thing {
    let (idp, origin) = acme().await;
    account(&origin).await;
    let bearer = bearer(&origin).await;
    let (flow, code) = idp.link(&origin, "acme", &bearer, "1").await;
    let mut ask = Ask::post("/social/link", json!({ "code": code })).within(&bearer);
    ask.headers.push(("cookie", flow.cookie.unwrap()));
    Thing::new(origin, [ask], "SELECT COUNT(*) FROM social_identities")
}

pub(crate) async fn kyc_submission() -> Thing {
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
