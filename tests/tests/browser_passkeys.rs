//! Passkeys as a real browser makes and uses them, against the real issuer.

use edgekeep_tests::browser::Browser as _;
use edgekeep_tests::browser::chromium::Chromium;
use edgekeep_tests::http::Answer;
use edgekeep_tests::origin::{Origin, Tokens};
use edgekeep_tests::server::{Reply, Server};
use serde_json::{Value, json};

const EMAIL: &str = "ada@example.com";
const PASSWORD: &str = "correct horse battery staple";

/// What a page has to do to register a passkey.
const CREATE: &str = r"
    const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(arguments[0].publicKey);
    return (await navigator.credentials.create({ publicKey })).toJSON();
";

/// What a page has to do to show one.
const GET: &str = r"
    const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(arguments[0].publicKey);
    return (await navigator.credentials.get({ publicKey })).toJSON();
";

/// An issuer that knows a page on another port of localhost, and that page.
async fn with_page() -> (Origin, String, Server) {
    let page = Server::start(|_| {
        Reply::new(200, "<!doctype html><title>page</title>").header("Content-Type", "text/html")
    })
    .await;
    let url = format!("http://localhost:{}", page.address().port());
    let origins = format!("[\"{url}\"]");
    let settings = [
        ("EDGEKEEP_PASSKEYS__RP_ID", "localhost"),
        ("EDGEKEEP_PASSKEYS__ORIGINS", origins.as_str()),
    ];
    (Origin::with(&settings).await, url, page)
}

fn options(answer: &Answer) -> (Value, Value) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let json = answer.json();
    (json["passkey_token"].clone(), json["options"].clone())
}

/// Registers the passkey that the browser makes.
async fn register(origin: &Origin, browser: &Chromium, bearer: &str) -> Answer {
    let begun = origin
        .call("POST", "/api/v1/auth/passkeys/registration")
        .bearer(bearer)
        .send()
        .await
        .unwrap();
    let (token, options) = options(&begun);
    let credential = browser.run_async(CREATE, &[options]).await;
    let body = json!({"passkey_token": token, "credential": credential, "name": "laptop"});
    origin.post_as(bearer, "/passkeys", &body).await
}

/// Answers a new challenge of a login by what the browser shows.
async fn log_in(origin: &Origin, browser: &Chromium) -> Result<(Value, Answer), String> {
    let begun = origin
        .call("POST", "/api/v1/auth/login/passkey/begin")
        .send()
        .await
        .unwrap();
    let (token, options) = options(&begun);
    let credential = browser.try_async(GET, &[options]).await?;
    let body = json!({"passkey_token": token, "credential": credential});
    let answer = origin.post("/login/passkey", &body).await;
    Ok((body, answer))
}

#[tokio::test(flavor = "multi_thread")]
async fn registers_logs_in_and_is_a_second_factor() {
    let (origin, url, _page) = with_page().await;
    let browser = Chromium::start().await;
    let authenticator = browser.virtual_authenticator(true).await;
    browser.goto(&url).await;
    let owner = origin.register(EMAIL, PASSWORD).await;
    let added = register(&origin, &browser, &owner.access).await;
    assert_eq!(added.status, 200, "{}", added.text());
    assert_eq!(
        added.json()["recovery_codes"].as_array().map(Vec::len),
        Some(10)
    );
    assert_eq!(browser.credentials(&authenticator).await.len(), 1);

    // Without a name, a password or a second step.
    let (body, answer) = log_in(&origin, &browser).await.unwrap();
    let tokens = Tokens::of(&answer);
    assert_eq!(tokens.user(), owner.user());
    let info = origin
        .call("GET", "/api/v1/auth/token-info")
        .bearer(&tokens.access);
    let claims = info.send().await.unwrap().json();
    assert_eq!(
        (&claims["acr"], &claims["amr"][1]),
        (&json!("2"), &json!("mfa"))
    );
    let again = origin.post("/login/passkey", &body).await;
    assert_eq!(again.verdict(), (401, "credentials_invalid".to_owned()));

    // After a password it is asked for, and suffices.
    let login = json!({"identifier": EMAIL, "password": PASSWORD});
    let first = origin.post("/login", &login).await.json();
    assert_eq!(first["methods"], json!(["passkey", "recovery_code"]));
    let begin = json!({"mfa_token": first["mfa_token"]});
    let (token, options) = options(&origin.post("/login/mfa/passkey", &begin).await);
    let credential = browser.run_async(GET, &[options]).await;
    let body = json!({
        "mfa_token": first["mfa_token"], "method": "passkey",
        "passkey_token": token, "credential": credential,
    });
    let full = Tokens::of(&origin.post("/login/mfa", &body).await);
    assert_eq!(full.user(), owner.user());
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_a_session_up() {
    let (origin, url, _page) = with_page().await;
    let browser = Chromium::start().await;
    let _authenticator = browser.virtual_authenticator(true).await;
    browser.goto(&url).await;
    // Opened before there was a second factor: it may change none.
    let owner = origin.register(EMAIL, PASSWORD).await;
    let login = json!({"identifier": EMAIL, "password": PASSWORD});
    let early = Tokens::of(&origin.post("/login", &login).await);
    let added = register(&origin, &browser, &owner.access).await;
    assert_eq!(added.status, 200, "{}", added.text());
    let begin = |path| origin.call("POST", path).bearer(&early.access);
    let refused = begin("/api/v1/auth/mfa/totp").send().await.unwrap();
    assert_eq!(refused.verdict(), (401, "step_up_required".to_owned()));

    let asked = begin("/api/v1/auth/reauthenticate/passkey").send().await;
    let (token, options) = options(&asked.unwrap());
    let credential = browser.run_async(GET, &[options]).await;
    let body = json!({"method": "passkey", "passkey_token": token, "credential": credential});
    let proved = Tokens::of(
        &origin
            .post_as(&early.access, "/reauthenticate", &body)
            .await,
    );
    assert_eq!(proved.user(), owner.user());
    let info = origin
        .call("GET", "/api/v1/auth/token-info")
        .bearer(&proved.access);
    let claims = info.send().await.unwrap().json();
    assert_eq!(
        (&claims["acr"], &claims["amr"][0]),
        (&json!("2"), &json!("pwd"))
    );
    let accepted = origin
        .call("POST", "/api/v1/auth/mfa/totp")
        .bearer(&proved.access);
    assert_eq!(accepted.send().await.unwrap().status, 200);
    let again = origin
        .post_as(&proved.access, "/reauthenticate", &body)
        .await;
    assert_eq!(again.verdict(), (400, "code_invalid".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_who_is_not_verified_and_a_page_that_is_not_ours_get_nothing() {
    let (origin, url, page) = with_page().await;
    let browser = Chromium::start().await;
    let authenticator = browser.virtual_authenticator(true).await;
    browser.goto(&url).await;
    let owner = origin.register(EMAIL, PASSWORD).await;
    let added = register(&origin, &browser, &owner.access).await;
    assert_eq!(added.status, 200, "{}", added.text());

    browser.set_user_verified(&authenticator, false).await;
    let refused = log_in(&origin, &browser).await.unwrap_err();
    assert!(refused.starts_with("NotAllowedError"), "{refused}");
    browser.set_user_verified(&authenticator, true).await;

    // The browser knows the domain, the issuer the origin: another port is another origin.
    let other = Server::start(|_| Reply::new(200, "").header("Content-Type", "text/html")).await;
    browser
        .goto(&format!("http://localhost:{}", other.address().port()))
        .await;
    let (_, answer) = log_in(&origin, &browser).await.unwrap();
    assert_eq!(answer.verdict(), (401, "credentials_invalid".to_owned()));
    // Another domain does not get as far.
    browser
        .goto(&format!("http://other.localhost:{}", page.address().port()))
        .await;
    let refused = log_in(&origin, &browser).await;
    assert!(refused.is_err(), "{refused:?}");
    browser.goto(&url).await;
    let (_, answer) = log_in(&origin, &browser).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
}
