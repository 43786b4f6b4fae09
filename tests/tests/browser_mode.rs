//! The session in a cookie, in a real browser: the documentation's script in a page of its own
//! origin, against the real issuer.

use std::time::Duration;

use edgekeep_shared::base64url;
use edgekeep_shared::gate::refusal::CHALLENGE;
use edgekeep_tests::browser::{Browser, Tab};
use edgekeep_tests::clock;
use edgekeep_tests::site::Site;
use serde_json::{Value, json};

in_every_browser! {
    a_page_on_a_sibling_subdomain_keeps_its_session_over_tls,
    a_page_on_another_port_of_localhost_keeps_its_session,
    a_copy_of_an_old_cookie_ends_the_session_and_the_page_is_told,
    tabs_that_refresh_at_once_keep_one_session_between_them,
    a_login_of_somebody_else_in_the_same_browser_leaves_one_session,
    a_browser_that_is_known_logs_in_by_code_after_strangers_have_turned_codes_off,
    a_script_reads_what_it_needs_of_an_answer_and_asks_once_whether_it_may,
}

const EMAIL: &str = "ada@example.com";
const PASSWORD: &str = "correct horse battery staple";

/// What these tests do in a minute is more than a person does.
const OFTEN: (&str, &str) = ("EDGEKEEP_LIMITS__REFRESH_PER_SESSION_PER_MINUTE", "1000");

const REFRESH: &str = "edgekeep_refresh";

/// A login by the page that is shown.
async fn log_in(browser: &impl Browser) -> Value {
    let body = json!({"identifier": EMAIL, "password": PASSWORD});
    let said = browser
        .run_async("return ask('POST', '/login', arguments[0])", &[body])
        .await;
    assert_eq!(said["status"], 200, "{said}");
    said
}

async fn ask(browser: &impl Browser, method: &str, route: &str) -> Value {
    let arguments = [json!(method), json!(route)];
    let script = "return ask(arguments[0], arguments[1])";
    browser.run_async(script, &arguments).await
}

/// A browser that shows the page, and is logged in.
async fn logged_in<B: Browser>(site: &Site) -> B {
    site.origin.register(EMAIL, PASSWORD).await;
    let browser = B::start().await;
    site.show(&browser).await;
    log_in(&browser).await;
    browser
}

/// The refresh token that the browser keeps.
async fn held(site: &Site, browser: &impl Browser) -> String {
    let cookie = site.cookie(browser, REFRESH).await.unwrap();
    cookie["value"].as_str().unwrap().to_owned()
}

/// How often the session of a refresh token was refreshed.
fn counter(refresh_token: &str) -> u32 {
    let encoded = refresh_token.strip_prefix("ekr_").unwrap();
    let bytes = base64url::decode(encoded.as_bytes()).unwrap();
    u32::from_be_bytes(bytes[18..22].try_into().unwrap())
}

/// Posts as the page would, with a cookie that somebody has copied.
async fn with_copy(site: &Site, name: &str, token: &str) -> (u16, String) {
    let call = site
        .origin
        .call("POST", "/api/v1/auth/refresh")
        .header("Origin", &site.page)
        .header("X-Refresh-Mode", "cookie")
        .header("Cookie", &format!("{name}={token}"))
        .body("");
    call.send().await.unwrap().verdict()
}

/// From the login to the logout, with reloads between.
async fn keeps_its_session<B: Browser>(site: &Site, prefix: &str, is_secure: bool) {
    site.origin.register(EMAIL, PASSWORD).await;
    let browser = B::start().await;
    site.show(&browser).await;
    let said = log_in(&browser).await;
    assert!(said["access_token"].is_string());
    let text = said.to_string();
    assert!(!text.contains("ekr_") && !text.contains("ekd_"), "{text}");
    let visible = browser.run_async("return document.cookie", &[]).await;
    assert_eq!(visible, "");

    let host = site.issuer.split("//").nth(1).unwrap();
    let host = host.split(':').next().unwrap();
    for ending in [REFRESH, "edgekeep_device"] {
        let cookie = site.cookie(&browser, ending).await.unwrap();
        assert_eq!(cookie["name"], format!("{prefix}{ending}"));
        assert_eq!(cookie["domain"], host, "of this host alone");
        assert_eq!(cookie["path"], "/");
        assert_eq!(cookie["httpOnly"], true);
        assert_eq!(cookie["secure"], is_secure);
        assert_eq!(cookie["sameSite"], "Strict");
    }
    let first = held(site, &browser).await;
    assert_eq!(ask(&browser, "GET", "/session").await["status"], 200);

    // A reload forgets the access token; the cookie has another.
    for _ in 0..2 {
        let before = held(site, &browser).await;
        site.show(&browser).await;
        assert_eq!(
            ask(&browser, "GET", "/session").await["code"],
            "token_missing"
        );
        let renewed = browser.run_async("return refresh()", &[]).await;
        assert_eq!(renewed["status"], 200, "{renewed}");
        assert_eq!(renewed["session_id"], said["session_id"]);
        assert!(!renewed.to_string().contains("ekr_"));
        assert_eq!(ask(&browser, "GET", "/session").await["status"], 200);
        assert_ne!(held(site, &browser).await, before);
    }

    // Proving it again renews both tokens, and so does whatever comes of it.
    let proof = json!({"method": "password", "password": PASSWORD});
    let script = "return ask('POST', '/reauthenticate', arguments[0])";
    let proved = browser.run_async(script, &[proof]).await;
    assert_eq!(proved["status"], 200, "{proved}");
    let old = proved["access_token"].as_str().unwrap().to_owned();

    // Logging out takes the cookie alone.
    site.show(&browser).await;
    assert_eq!(ask(&browser, "POST", "/logout").await["status"], 204);
    assert_eq!(site.cookie(&browser, REFRESH).await, None);
    let device = site.cookie(&browser, "edgekeep_device").await;
    assert!(device.is_some(), "the browser is known still");
    let refused = browser.run_async("return refresh()", &[]).await;
    assert_eq!(refused["code"], "refresh_invalid");
    let call = site.origin.call("GET", "/api/v1/auth/session").bearer(&old);
    assert_eq!(call.send().await.unwrap().code(), "token_revoked");
    let name = format!("{prefix}{REFRESH}");
    assert_eq!(with_copy(site, &name, &first).await.1, "session_ended");
}

async fn a_page_on_a_sibling_subdomain_keeps_its_session_over_tls<B: Browser>() {
    let site = Site::on_subdomains(&[]).await;
    keeps_its_session::<B>(&site, "__Host-", true).await;
    // The application's own server never gets to see it.
    let asked = site.asked_of_app();
    assert!(!asked.is_empty());
    for request in asked {
        assert_eq!(request.header("cookie"), None, "{}", request.target);
    }
}

async fn a_page_on_another_port_of_localhost_keeps_its_session<B: Browser>() {
    let site = Site::on_localhost(&[]).await;
    keeps_its_session::<B>(&site, "", false).await;
}

async fn a_copy_of_an_old_cookie_ends_the_session_and_the_page_is_told<B: Browser>() {
    let site = Site::on_subdomains(&[]).await;
    let browser: B = logged_in(&site).await;
    let copy = held(&site, &browser).await;
    for _ in 0..2 {
        let renewed = browser.run_async("return refresh()", &[]).await;
        assert_eq!(renewed["status"], 200, "{renewed}");
    }
    let thief = with_copy(&site, "__Host-edgekeep_refresh", &copy).await;
    assert_eq!(thief, (401, "refresh_reused".to_owned()));
    let refused = browser.run_async("return refresh()", &[]).await;
    assert_eq!(refused["code"], "session_ended");
    assert_eq!(site.cookie(&browser, REFRESH).await, None);
    assert_eq!(
        ask(&browser, "GET", "/session").await["code"],
        "token_revoked"
    );
}

/// Has every tab refresh as soon as it hears of it.
const LISTEN: &str = r"
    window.channel = new BroadcastChannel('tabs');
    channel.onmessage = ({ data }) => {
        window.renewed = data === 'lock' ? refresh() : ask('POST', '/refresh');
    };
";

/// Tells the other tabs, and does the same; then this tab's own session is asked for.
const TOGETHER: &str = r"
    channel.postMessage(arguments[0]);
    const renewed = await (arguments[0] === 'lock' ? refresh() : ask('POST', '/refresh'));
    return [renewed, await ask('GET', '/session')];
";

/// What came of it in a tab that was told. That it was told may come after this.
const TOLD: &str = r"
    while (!window.renewed) await new Promise((tick) => setTimeout(tick, 5));
    const renewed = await window.renewed;
    window.renewed = undefined;
    return [renewed, await ask('GET', '/session')];
";

/// Refreshes in both tabs at once, and says how often the session was rotated by that.
async fn both(site: &Site, browser: &impl Browser, tabs: [&Tab; 2], how: &str) -> u32 {
    let before = counter(&held(site, browser).await);
    browser.switch_to(tabs[0]).await;
    let here = browser.run_async(TOGETHER, &[json!(how)]).await;
    browser.switch_to(tabs[1]).await;
    let there = browser.run_async(TOLD, &[]).await;
    for told in [here, there] {
        assert_eq!(told[0]["status"], 200, "{how}: {told}");
        assert_eq!(told[1]["status"], 200, "{how}: {told}");
    }
    counter(&held(site, browser).await) - before
}

async fn tabs_that_refresh_at_once_keep_one_session_between_them<B: Browser>() {
    const ROUNDS: u32 = 10;
    let site = Site::on_subdomains(&[OFTEN]).await;
    let browser: B = logged_in(&site).await;
    let first = browser.tab().await;
    browser.run_async(LISTEN, &[]).await;
    let second = browser.open_tab().await;
    browser.switch_to(&second).await;
    site.show(&browser).await;
    browser.run_async(LISTEN, &[]).await;
    let tabs = [&first, &second];

    let mut rotations = 0;
    for _ in 0..ROUNDS {
        let times = both(&site, &browser, tabs, "at once").await;
        assert!((1..=2).contains(&times), "{times}");
        rotations += times;
    }
    assert!(rotations < 2 * ROUNDS, "they never met");
    // With the lock they come one after the other.
    for _ in 0..ROUNDS {
        assert_eq!(both(&site, &browser, tabs, "lock").await, 2);
    }
    // Nobody took it for theft: the session is there, and was rotated by nobody else.
    site.show(&browser).await;
    let renewed = browser.run_async("return refresh()", &[]).await;
    assert_eq!(renewed["status"], 200, "{renewed}");

    // A logout in one is one in the other.
    browser.switch_to(&first).await;
    assert_eq!(ask(&browser, "POST", "/logout").await["status"], 204);
    browser.switch_to(&second).await;
    let refused = browser.run_async("return refresh()", &[]).await;
    assert_eq!(refused["code"], "refresh_invalid");
    assert_eq!(
        ask(&browser, "GET", "/session").await["code"],
        "token_revoked"
    );
}

async fn a_login_of_somebody_else_in_the_same_browser_leaves_one_session<B: Browser>() {
    let site = Site::on_subdomains(&[]).await;
    let browser: B = logged_in(&site).await;
    let first = browser.tab().await;
    site.origin.register("bob@example.com", PASSWORD).await;
    let second = browser.open_tab().await;
    browser.switch_to(&second).await;
    site.show(&browser).await;
    let body = json!({"identifier": "bob@example.com", "password": PASSWORD});
    let script = "return ask('POST', '/login', arguments[0])";
    let bob = browser.run_async(script, &[body]).await;
    assert_eq!(bob["status"], 200, "{bob}");
    browser.switch_to(&first).await;
    assert_eq!(
        ask(&browser, "GET", "/session").await["code"],
        "token_revoked"
    );
    let renewed = browser.run_async("return refresh()", &[]).await;
    assert_eq!(renewed["user"]["id"], bob["user"]["id"], "{renewed}");
}

/// The codes that were sent, among other messages.
fn codes(site: &Site) -> Vec<Value> {
    let messages = site.origin.messages(EMAIL).into_iter();
    let codes = messages.map(|mut message| message["code"].take());
    codes.filter(Value::is_string).collect()
}

/// A code to log in with, asked for by the page that is shown.
async fn code_for(site: &Site, browser: &impl Browser) -> Value {
    let before = codes(site).len();
    let script = "return ask('POST', '/otp/send', arguments[0])";
    let asked = json!({"email": EMAIL});
    let sent = browser.run_async(script, &[asked]).await;
    assert_eq!(sent["status"], 200, "{sent}");
    let arrived = clock::eventually(Duration::from_secs(5), || async {
        codes(site).get(before).cloned()
    });
    let (code, _) = arrived.await.unwrap();
    json!({"otp_token": sent["otp_token"], "code": code})
}

async fn a_browser_that_is_known_logs_in_by_code_after_strangers_have_turned_codes_off<
    B: Browser,
>() {
    // The three wrong guesses of one code.
    let off_after_one = [("EDGEKEEP_OTP__FAILURES_PER_DAY", "3")];
    let site = Site::on_subdomains(&off_after_one).await;
    let browser: B = logged_in(&site).await;
    let known = site.cookie(&browser, "edgekeep_device").await.unwrap();
    assert_eq!(ask(&browser, "POST", "/logout").await["status"], 204);

    let verify = "return ask('POST', '/otp/verify', arguments[0])";
    let stranger = B::start().await;
    site.show(&stranger).await;
    let mut guess = code_for(&site, &stranger).await;
    let right = guess["code"].as_str().unwrap().to_owned();
    guess["code"] = json!(if right == "000000" {
        "000001"
    } else {
        "000000"
    });
    for _ in 0..3 {
        let refused = stranger
            .run_async(verify, std::slice::from_ref(&guess))
            .await;
        assert_eq!(refused["code"], "code_invalid", "{refused}");
    }
    let right = code_for(&site, &stranger).await;
    let refused = stranger.run_async(verify, &[right]).await;
    assert_eq!(refused["code"], "code_invalid", "codes are off: {refused}");

    // The cookie of a login before tells the two apart, and a code logs in as it did.
    site.show(&browser).await;
    let code = code_for(&site, &browser).await;
    let copied = stranger
        .run_async(verify, std::slice::from_ref(&code))
        .await;
    assert_eq!(copied["status"], 400, "{copied}");
    let said = browser.run_async(verify, &[code]).await;
    assert_eq!(said["status"], 200, "{said}");
    let text = said.to_string();
    assert!(!text.contains("ekr_") && !text.contains("ekd_"), "{text}");
    let device = site.cookie(&browser, "edgekeep_device").await.unwrap();
    assert_eq!(device["value"], known["value"]);
    assert!(site.cookie(&browser, REFRESH).await.is_some());
    assert_eq!(site.cookie(&stranger, REFRESH).await, None);
    assert_eq!(ask(&browser, "GET", "/session").await["status"], 200);
}

/// The headers of an answer that a script is shown.
const HEADERS: &str = r"
    const answer = await fetch(arguments[0], {
        method: arguments[1],
        credentials: 'include',
        headers: { 'X-Refresh-Mode': 'cookie', 'X-Request-ID': 'page-7' },
    });
    return [answer.status, Object.fromEntries(answer.headers)];
";

/// Preflights that the issuer has answered.
async fn preflights(site: &Site) -> u32 {
    let metrics = site.origin.call("GET", "/metrics").send().await.unwrap();
    let text = metrics.text();
    let counts = text.lines().filter(|line| {
        line.starts_with("edgekeep_http_requests_total{") && line.contains("OPTIONS")
    });
    counts
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u32>().unwrap())
        .sum()
}

async fn a_script_reads_what_it_needs_of_an_answer_and_asks_once_whether_it_may<B: Browser>() {
    let limits = [
        ("EDGEKEEP_LIMITS__PER_IP", "true"),
        ("EDGEKEEP_LIMITS__REFRESH_PER_IP_PER_MINUTE", "2"),
    ];
    let site = Site::on_localhost(&limits).await;
    let browser: B = logged_in(&site).await;
    let refresh = json!(format!("{}/api/v1/auth/refresh", site.issuer));
    let session = json!(format!("{}/api/v1/auth/session", site.issuer));
    let before = preflights(&site).await;

    let of_refresh = [refresh, json!("POST")];
    let asked = browser.run_async(HEADERS, &of_refresh).await;
    assert_eq!(asked[0], 200, "{asked}");
    assert!(asked[1]["ratelimit"].is_string(), "{asked}");
    assert!(asked[1]["ratelimit-policy"].is_string(), "{asked}");
    assert_eq!(asked[1]["x-request-id"], "page-7");
    for hidden in ["set-cookie", "x-frame-options", "content-security-policy"] {
        assert!(asked[1][hidden].is_null(), "{asked}");
    }
    let asked = browser.run_async(HEADERS, &[session, json!("GET")]).await;
    assert_eq!(
        (&asked[0], &asked[1]["www-authenticate"]),
        (&json!(401), &json!(CHALLENGE))
    );
    // One preflight for each of the two.
    assert_eq!(preflights(&site).await - before, 2);

    let asked = browser.run_async(HEADERS, &of_refresh).await;
    assert_eq!(asked[0], 200, "{asked}");
    let asked = browser.run_async(HEADERS, &of_refresh).await;
    assert_eq!(asked[0], 429, "{asked}");
    let wait: u64 = asked[1]["retry-after"].as_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(preflights(&site).await - before, 2, "they are kept");
    // What may be tried again later has not cost the session.
    assert!(site.cookie(&browser, REFRESH).await.is_some());
}
