//! The pages that links in mail lead to, where the application has none: opened by the link as it was
//! sent, used by whoever reads it.

use std::time::Duration;

use edgekeep_tests::browser::Browser;
use edgekeep_tests::clock::eventually;
use edgekeep_tests::origin::Origin;
use serde_json::{Value, json};

const EMAIL: &str = "ada@example.com";
const PASSWORD: &str = "correct horse battery staple";
const NEW: &str = "another battery staple horse";

in_every_browser! {
    a_link_to_a_new_password_is_opened_and_used,
    a_change_is_taken_back_by_its_link,
    a_link_that_is_not_whole_is_told_so,
}

/// The link in a message.
fn link(message: &Value) -> String {
    let text = message["text"].as_str().unwrap();
    let (_, behind) = text.split_once("http").unwrap();
    format!("http{}", behind.split_whitespace().next().unwrap())
}

/// Fills the form in, where it asks for something, and submits it.
const SUBMIT: &str = r"
    const [input, form] = ['input', 'form'].map((name) => document.querySelector(name));
    if (input) input.value = arguments[0];
    form.requestSubmit();
";

const SAID: &str = "return document.querySelector('[role=status]').textContent";

async fn is_told(browser: &impl Browser, expected: &str) {
    let told = eventually(Duration::from_secs(10), || async {
        let said = browser.run_async(SAID, &[]).await;
        let said = said.as_str().unwrap();
        (said.contains(expected) && said.is_empty() == expected.is_empty()).then_some(())
    });
    let said = browser.run_async(SAID, &[]).await;
    assert!(told.await.is_some(), "{expected}: {said}");
}

async fn a_link_to_a_new_password_is_opened_and_used<B: Browser>() {
    let origin = Origin::start().await;
    origin.register(EMAIL, PASSWORD).await;
    let before = origin.messages(EMAIL).len();
    let asked = origin
        .post("/forgot-password", &json!({ "identifier": EMAIL }))
        .await;
    assert_eq!(asked.status, 202);
    let link = link(&origin.message(EMAIL, before + 1).await);
    let browser = B::start().await;
    browser.goto(&link).await;
    // The token is not in the address any more, and nothing was used up.
    let shown = browser.run_async("return location.href", &[]).await;
    assert_eq!(shown, format!("{}/reset-password", origin.url()));
    browser.run_async(SUBMIT, &[json!("password")]).await;
    is_told(&browser, "common").await;
    browser.run_async(SUBMIT, &[json!(NEW)]).await;
    is_told(&browser, "Your password is set").await;
    let form = "return document.querySelector('form').hidden";
    assert_eq!(browser.run_async(form, &[]).await, true);
    let body = json!({"identifier": EMAIL, "password": NEW});
    assert_eq!(origin.post("/login", &body).await.status, 200);
    // The same link again, in another document and where the page is shown.
    browser.goto(&format!("{}/health", origin.url())).await;
    browser.goto(&link).await;
    browser.run_async(SUBMIT, &[json!(NEW)]).await;
    is_told(&browser, "was used already").await;
    let follow = "location.assign(arguments[0])";
    browser.run_async(follow, &[json!(link)]).await;
    is_told(&browser, "").await;
    browser.run_async(SUBMIT, &[json!(NEW)]).await;
    is_told(&browser, "was used already").await;
}

async fn a_change_is_taken_back_by_its_link<B: Browser>() {
    let origin = Origin::start().await;
    let tokens = origin.register(EMAIL, PASSWORD).await;
    let before = origin.messages(EMAIL).len();
    let body = json!({"email": "evil@example.com"});
    let asked = origin.post_as(&tokens.access, "/contacts", &body).await;
    assert_eq!(asked.status, 202, "{}", asked.text());
    let link = link(&origin.message(EMAIL, before + 1).await);
    let browser = B::start().await;
    browser.goto(&link).await;
    browser.run_async(SUBMIT, &[]).await;
    is_told(&browser, "is taken back").await;
    let body = json!({"identifier": EMAIL, "password": PASSWORD});
    assert_eq!(
        origin.post("/login", &body).await.code(),
        "credentials_invalid"
    );
}

async fn a_link_that_is_not_whole_is_told_so<B: Browser>() {
    let origin = Origin::start().await;
    let browser = B::start().await;
    for page in ["reset-password", "undo-change"] {
        browser.goto(&format!("{}/{page}", origin.url())).await;
        is_told(&browser, "by the link in your message").await;
        // Nothing from elsewhere runs in it, and nobody frames it.
        let foreign = r"
            const script = document.createElement('script');
            script.textContent = 'window.foreign = true';
            document.body.append(script);
            return window.foreign === undefined;
        ";
        assert_eq!(browser.run_async(foreign, &[]).await, true, "{page}");
    }
}
