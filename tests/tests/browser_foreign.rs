//! Pages that are not listed, in the browser in which somebody is logged in: whatever they send,
//! the session stays as it is.

use std::slice::from_ref;
use std::time::Duration;

use edgekeep_tests::browser::Browser;
use edgekeep_tests::clock::eventually;
use edgekeep_tests::site::Site;
use serde_json::{Value, json};

in_every_browser! {
    pages_that_are_not_listed_change_nothing_whatever_they_send,
    a_frame_without_an_origin_in_the_listed_page_gets_nothing,
    a_sibling_cannot_put_a_cookie_in_the_place_of_the_issuers,
    page_and_issuer_are_of_one_site_or_there_is_no_cookie,
}

const EMAIL: &str = "ada@example.com";
const PASSWORD: &str = "correct horse battery staple";

/// How long what a page sends may take to arrive, though nobody waits for the answer.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(20);

async fn logged_in<B: Browser>(site: &Site) -> B {
    site.origin.register(EMAIL, PASSWORD).await;
    let browser = B::start().await;
    site.show(&browser).await;
    let body = json!({"identifier": EMAIL, "password": PASSWORD});
    let script = "return ask('POST', '/login', arguments[0])";
    let said = browser.run_async(script, &[body]).await;
    assert_eq!(said["status"], 200, "{said}");
    browser
}

/// The refresh token that the browser keeps; that it is the one of before shows that nothing was
/// refreshed, and that it is there, that nothing was logged out.
async fn held(site: &Site, browser: &impl Browser) -> Value {
    site.cookie(browser, "edgekeep_refresh").await.unwrap()["value"].clone()
}

/// How many `POST`s of a route the issuer has refused, and that it did nothing else with any.
async fn refused(site: &Site, route: &str) -> u32 {
    let metrics = site.origin.call("GET", "/metrics").send().await.unwrap();
    let text = metrics.text();
    let route = format!("route=\"/api/v1/auth{route}\"");
    let ours = text.lines().filter(|line| {
        line.starts_with("edgekeep_http_requests_total{")
            && line.contains("method=\"POST\"")
            && line.contains(&route)
    });
    ours.map(|line| {
        assert!(line.contains("status=\"4"), "{line}");
        line.rsplit(' ').next().unwrap().parse::<u32>().unwrap()
    })
    .sum()
}

/// Waits until that is `expected`.
async fn arrives(site: &Site, route: &str, expected: u32) {
    let arrived = eventually(ARRIVAL_LIMIT, || async {
        (refused(site, route).await == expected).then_some(())
    });
    assert!(arrived.await.is_some(), "{expected} at {route}");
}

/// Everything a script can have a browser send without asking: whether it resolved, for each.
const SILENT: &str = r#"
    const [url] = arguments;
    const kinds = [
        { mode: 'no-cors' },
        { mode: 'no-cors', headers: { 'Content-Type': 'text/plain' }, body: '{"all": true}' },
        { mode: 'cors' },
        { mode: 'cors', headers: { 'Content-Type': 'text/plain' }, body: '{}' },
    ];
    const outcomes = [];
    for (const kind of kinds) {
        outcomes.push(await fetch(url, { method: 'POST', credentials: 'include', ...kind }).then(
            (answer) => `${answer.type} ${answer.status}`,
            (error) => error.name,
        ));
    }
    return outcomes;
"#;

/// Sends a form, once this script has been answered.
const FORM: &str = r"
    const [url, type] = arguments;
    const form = document.createElement('form');
    Object.assign(form, { method: 'POST', action: url, enctype: type });
    const field = document.createElement('input');
    Object.assign(field, { name: '{\u0022all\u0022: true, \u0022x\u0022: \u0022', value: '\u0022}' });
    form.append(field);
    document.body.append(form);
    setTimeout(() => form.submit(), 0);
";

/// Asks as a listed page would.
async fn as_listed(browser: &impl Browser, route: &str) -> Result<Value, String> {
    let script = "return ask('POST', arguments[0])";
    browser.try_async(script, &[json!(route)]).await
}

async fn pages_that_are_not_listed_change_nothing_whatever_they_send<B: Browser>() {
    let site = Site::on_subdomains(&[]).await;
    let browser: B = logged_in(&site).await;
    let token = held(&site, &browser).await;
    // A sibling, to which the browser gives the cookie; another site, to which it does not.
    for host in ["other.id.localhost", "evil.localhost"] {
        let page = site.page_at(host);
        for route in ["/refresh", "/logout"] {
            Site::show_at(&browser, &page).await;
            let url = format!("{}/api/v1/auth{route}", site.issuer);

            // The preflight is not granted, so that nothing is sent.
            let before = refused(&site, route).await;
            let refusal = as_listed(&browser, route).await.unwrap_err();
            assert!(
                refusal.starts_with("TypeError"),
                "{host} {route}: {refusal}"
            );
            assert_eq!(refused(&site, route).await, before, "{host} {route}");

            // What is sent without one does nothing, and no script gets an answer, an opaque one
            // included.
            let outcomes = browser.run_async(SILENT, &[json!(url)]).await;
            let expected = json!(["TypeError", "TypeError", "TypeError", "TypeError"]);
            assert_eq!(outcomes, expected, "{host} {route}");
            assert_eq!(refused(&site, route).await, before + 4, "{host} {route}");

            for kind in ["text/plain", "application/x-www-form-urlencoded"] {
                Site::show_at(&browser, &page).await;
                browser.run_async(FORM, &[json!(url), json!(kind)]).await;
                let arrived = eventually(ARRIVAL_LIMIT, || async {
                    (browser.url().await == url).then_some(())
                });
                assert!(arrived.await.is_some(), "{host} {route} {kind}");
            }
            arrives(&site, route, before + 6).await;

            Site::show_at(&browser, &page).await;
            let beacon = "return navigator.sendBeacon(arguments[0], '{}')";
            assert_eq!(browser.run_async(beacon, &[json!(url)]).await, true);
            arrives(&site, route, before + 7).await;
            assert_eq!(held(&site, &browser).await, token, "{host} {route}");
        }
    }
    // The listed page goes on where it was.
    site.show(&browser).await;
    let renewed = browser.run_async("return refresh()", &[]).await;
    assert_eq!(renewed["status"], 200, "{renewed}");
    assert_ne!(held(&site, &browser).await, token);
}

/// A frame without an origin of its own, in the listed page.
const SANDBOXED: &str = r"
    const said = new Promise((tell) => addEventListener('message', ({ data }) => tell(data)));
    const frame = document.createElement('iframe');
    frame.sandbox = 'allow-scripts';
    frame.srcdoc = `<script>
        fetch('${arguments[0]}', {
            method: 'POST', credentials: 'include', headers: { 'X-Refresh-Mode': 'cookie' },
        }).then(
            (answer) => parent.postMessage(String(answer.status), '*'),
            (error) => parent.postMessage(error.name, '*'),
        );
    </script>`;
    document.body.append(frame);
    return said;
";

async fn a_frame_without_an_origin_in_the_listed_page_gets_nothing<B: Browser>() {
    let site = Site::on_subdomains(&[]).await;
    let browser: B = logged_in(&site).await;
    let token = held(&site, &browser).await;
    let url = format!("{}/api/v1/auth/refresh", site.issuer);
    let said = browser.run_async(SANDBOXED, &[json!(url)]).await;
    assert_eq!(said, "TypeError");
    assert_eq!(held(&site, &browser).await, token);
}

async fn a_sibling_cannot_put_a_cookie_in_the_place_of_the_issuers<B: Browser>() {
    let site = Site::on_subdomains(&[]).await;
    let browser: B = logged_in(&site).await;
    let token = held(&site, &browser).await;
    Site::show_at(&browser, &site.page_at("other.id.localhost")).await;
    let planted = r"
        const whole = '; Domain=id.localhost; Path=/; Secure';
        for (const name of ['__Host-edgekeep_refresh', '__Host-edgekeep_device', 'plain']) {
            document.cookie = `${name}=planted${whole}`;
        }
        return document.cookie;
    ";
    // It may plant others, so the domain is one that takes cookies.
    assert_eq!(browser.run_async(planted, &[]).await, "plain=planted");
    site.show(&browser).await;
    assert_eq!(held(&site, &browser).await, token);
    let renewed = browser.run_async("return refresh()", &[]).await;
    assert_eq!(renewed["status"], 200, "{renewed}");
}

/// The table of `docs/browsers.md`, as far as names of this machine go.
async fn page_and_issuer_are_of_one_site_or_there_is_no_cookie<B: Browser>() {
    let browser = B::start().await;
    for (page, issuer, one_site) in [
        ("http://localhost", "http://localhost", true),
        ("http://127.0.0.1", "http://localhost", false),
        ("http://app.id.localhost", "http://auth.id.localhost", true),
        ("http://app.localhost", "http://auth.localhost", false),
        ("https://localhost", "https://auth.id.localhost", false),
        // Whether the scheme is a part of the site is the browser's choice.
        ("http://localhost", "https://localhost", !B::SCHEMEFUL),
    ] {
        let site = Site::start(page, issuer, &[]).await;
        site.origin.register(EMAIL, PASSWORD).await;
        site.show(&browser).await;
        let body = json!({"identifier": EMAIL, "password": PASSWORD});
        let script = "return ask('POST', '/login', arguments[0])";
        let said = browser.run_async(script, from_ref(&body)).await;
        let cookie = site.cookie(&browser, "edgekeep_refresh").await;
        if one_site {
            assert_eq!(said["status"], 200, "{page} {issuer}: {said}");
            let renewed = browser.run_async("return refresh()", &[]).await;
            assert_eq!(renewed["status"], 200, "{page} {issuer}: {renewed}");
            assert!(cookie.is_some());
            let script = "return ask('POST', '/logout')";
            assert_eq!(browser.run_async(script, &[]).await["status"], 204);
        } else {
            assert_eq!(said["code"], "request_invalid", "{page} {issuer}: {said}");
            assert_eq!(cookie, None);
        }
        // Tokens in the body are for any listed page.
        let plain = r"
            const answer = await fetch(`${issuer}/login`, {
                method: 'POST',
                headers: { 'Content-Type': 'application/json' },
                body: JSON.stringify(arguments[0]),
            });
            return answer.json();
        ";
        let said = browser.run_async(plain, &[body]).await;
        assert!(said["refresh_token"].is_string(), "{page} {issuer}: {said}");
    }
}
