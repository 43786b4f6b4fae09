//! Links that prove an address: once, beside a code, for nobody but whoever reads the mail, and
//! always to the configured page.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod person;
mod support;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Method, Request, header};
use person::{EMAIL, NAME, PASSWORD, PHONE, account, bearer, call, link, number};
use serde_json::{Value, json};
use support::{Origin, Reply, all};

const PAGE: &str = "https://app.example.org/verify";
const CONTACT_PAGE: &str = "https://app.example.org/add";
const NEW: &str = "new@example.org";

async fn origin() -> Origin {
    Origin::with(|config| {
        config.registration.verify_url = Some(PAGE.to_owned());
        config.accounts.contact_url = Some(CONTACT_PAGE.to_owned());
        config.otp.sends_per_hour = 1_000;
    })
    .await
}

async fn register(origin: &Origin, body: Value) -> String {
    let to = body["email"].as_str().unwrap().to_owned();
    origin.post("/register", body).await.expect(202, "");
    link(origin, &to, PAGE).unwrap()
}

fn wanted() -> Value {
    json!({"email": NEW, "password": PASSWORD, "username": NAME, "name": "A. N."})
}

async fn follow(origin: &Origin, token: &str, password: Option<&str>) -> Reply {
    let body = json!({"token": token, "password": password});
    origin.post("/register/verify", body).await
}

async fn log_in(origin: &Origin, identifier: &str, password: &str) -> Reply {
    let body = json!({"identifier": identifier, "password": password});
    origin.post("/login", body).await
}

#[tokio::test]
async fn a_link_with_the_password_is_the_registration_that_was_asked_for() {
    let origin = origin().await;
    let token = register(&origin, wanted()).await;
    assert!(token.starts_with("ekl_") && token.len() == 47, "{token}");
    let reply = follow(&origin, &token, Some(PASSWORD))
        .await
        .expect(200, "");
    assert_eq!(
        (
            &reply.body["user"]["email"],
            &reply.body["user"]["email_verified"],
            &reply.body["user"]["username"],
            &reply.body["user"]["name"],
        ),
        (&json!(NEW), &json!(true), &json!(NAME), &json!("A. N."))
    );
    log_in(&origin, NAME, PASSWORD).await.expect(200, "");
    // Neither is good again, nor is the code beside it.
    follow(&origin, &token, Some(PASSWORD))
        .await
        .expect(400, "code_invalid");
    let code = json!({"email": NEW, "code": origin.code(NEW)});
    origin
        .post("/register/verify", code)
        .await
        .expect(400, "code_invalid");
}

#[tokio::test]
async fn whoever_follows_a_link_that_they_did_not_ask_for_confirms_no_password() {
    for own in [None, Some("another pass phrase")] {
        let origin = origin().await;
        let token = register(&origin, wanted()).await;
        let reply = follow(&origin, &token, own).await.expect(200, "");
        assert_eq!(reply.body["user"]["email"], NEW);
        // Nothing of what the stranger wrote.
        assert_eq!(reply.body["user"].get("username"), None, "{own:?}");
        assert_eq!(reply.body["user"].get("name"), None, "{own:?}");
        log_in(&origin, NEW, PASSWORD)
            .await
            .expect(401, "credentials_invalid");
        if let Some(own) = own {
            log_in(&origin, NEW, own).await.expect(200, "");
        }
        let passwords = number(&origin, "SELECT COUNT(*) FROM passwords").await;
        assert_eq!(passwords, i64::from(own.is_some()));
    }
}

#[tokio::test]
async fn of_two_registrations_of_one_address_the_link_that_is_followed_counts() {
    let origin = origin().await;
    let older = register(&origin, wanted()).await;
    let other = json!({"email": NEW, "password": "another pass phrase", "username": "other"});
    let newer = register(&origin, other).await;
    // A second one keeps nobody from finishing the first.
    let reply = follow(&origin, &older, Some(PASSWORD))
        .await
        .expect(200, "");
    assert_eq!(reply.body["user"]["username"], "alice");
    follow(&origin, &newer, Some("another pass phrase"))
        .await
        .expect(400, "code_invalid");
    log_in(&origin, NEW, PASSWORD).await.expect(200, "");
}

#[tokio::test]
async fn a_refused_password_leaves_the_link_as_good_as_it_was() {
    let origin = origin().await;
    let token = register(&origin, wanted()).await;
    for weak in [
        "",
        "short12",
        "password123",
        "qwertyuiop",
        &"x".repeat(1_025),
    ] {
        follow(&origin, &token, Some(weak))
            .await
            .expect(400, "request_invalid");
    }
    follow(&origin, &token, Some(PASSWORD))
        .await
        .expect(200, "");
}

/// Whoever has a link must not take the pool of hashes with it.
#[tokio::test]
async fn estimates_behind_a_link_count_for_the_address() {
    let origin = Origin::with(|config| {
        config.registration.verify_url = Some(PAGE.to_owned());
        config.limits.per_ip = true;
    })
    .await;
    let token = register(&origin, wanted()).await;
    let follow = async |address: &str, password: &str| {
        let body = json!({"token": token, "password": password});
        origin
            .post_from(address, &[], "/register/verify", &body)
            .await
    };
    // What is refused without an estimate does not count …
    for _ in 0..20 {
        follow("198.51.100.7", "iloveyou")
            .await
            .expect(400, "request_invalid");
    }
    for _ in 0..10 {
        follow("198.51.100.7", "aaaaaaaaaaaa")
            .await
            .expect(400, "request_invalid");
    }
    for password in ["aaaaaaaaaaaa", "Four wild geese, north."] {
        follow("198.51.100.7", password)
            .await
            .expect(429, "rate_limited");
    }
    // … nor what was registered, which is not estimated again.
    follow("198.51.100.7", PASSWORD).await.expect(200, "");
}

#[tokio::test]
async fn a_link_lives_as_long_as_its_code_and_outlives_wrong_guesses_of_it() {
    for (seconds, status, code) in [(299, 200, ""), (300, 400, "code_expired")] {
        let origin = origin().await;
        let token = register(&origin, wanted()).await;
        for _ in 0..4 {
            let wrong = json!({"email": NEW, "code": "000000"});
            origin
                .post("/register/verify", wrong)
                .await
                .expect(400, "code_invalid");
        }
        origin.advance(seconds);
        follow(&origin, &token, Some(PASSWORD))
            .await
            .expect(status, code);
    }
}

#[tokio::test]
async fn of_many_that_use_link_and_code_at_once_one_succeeds() {
    let origin = origin().await;
    let token = register(&origin, wanted()).await;
    let code = origin.code(NEW);
    let bodies = (0..40).map(|n| match n % 20 {
        0 => json!({"email": NEW, "code": code}),
        _ => json!({"token": token, "password": PASSWORD}),
    });
    let replies = all(bodies.map(|body| origin.post("/register/verify", body))).await;
    let good = replies.iter().filter(|reply| reply.status == 200).count();
    assert_eq!(good, 1);
    assert!(
        replies
            .iter()
            .all(|reply| reply.status == 200 || reply.code() == "code_invalid"),
    );
    assert_eq!(number(&origin, "SELECT COUNT(*) FROM users").await, 1);
}

#[tokio::test]
async fn rejects_tokens_that_are_no_links_of_a_registration() {
    let origin = origin().await;
    account(&origin).await;
    let owner = bearer(&origin).await;
    let body = Some(json!({"email": NEW}));
    let added = call(&origin, Method::POST, "/contacts", &owner, body).await;
    let contact = link(&origin, NEW, CONTACT_PAGE).unwrap();
    for token in [
        "ekl_nothing",
        "ekl_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        added.text("contact_token"),
        contact.as_str(),
    ] {
        follow(&origin, token, Some(PASSWORD))
            .await
            .expect(400, "code_invalid");
    }
    let token = register(
        &origin,
        json!({"email": "x@example.org", "password": PASSWORD}),
    )
    .await;
    for body in [
        json!({}),
        json!({"token": ""}),
        json!({"token": "x".repeat(65)}),
        json!({"token": 1}),
        json!({"token": token, "code": "123456"}),
        json!({"token": token, "email": NEW}),
        json!({"token": token, "country_code": "CH"}),
        json!({"email": NEW, "code": "123456", "password": PASSWORD}),
        json!({"email": NEW}),
        json!({"code": "123456"}),
    ] {
        origin
            .post("/register/verify", body)
            .await
            .expect(400, "request_invalid");
    }
    follow(&origin, &token, None).await.expect(200, "");
}

#[tokio::test]
async fn a_taken_address_a_number_and_an_origin_without_a_page_get_no_link() {
    let origin = origin().await;
    account(&origin).await;
    let owner = bearer(&origin).await;
    let other = "+41791234568";
    for (route, body, to) in [
        (
            "/register",
            json!({"email": EMAIL, "password": PASSWORD}),
            EMAIL,
        ),
        (
            "/register",
            json!({"phone_number": PHONE, "password": PASSWORD}),
            PHONE,
        ),
        (
            "/register",
            json!({"phone_number": other, "password": PASSWORD}),
            other,
        ),
        ("/contacts", json!({"phone_number": other}), other),
    ] {
        let reply = call(&origin, Method::POST, route, &owner, Some(body)).await;
        reply.expect(202, "");
        let text = origin.message(to).map(|message| message.text);
        assert!(!text.unwrap_or_default().contains("ekl_"), "{route} {to}");
    }
    let plain = Origin::new().await;
    let body = json!({"email": NEW, "password": PASSWORD});
    plain.post("/register", body).await.expect(202, "");
    assert!(!plain.message(NEW).unwrap().text.contains("link"));
}

#[tokio::test]
async fn a_further_address_is_added_by_its_link_in_the_session_of_its_owner() {
    let origin = origin().await;
    account(&origin).await;
    let owner = bearer(&origin).await;
    let stranger = register(
        &origin,
        json!({"email": "x@example.org", "password": PASSWORD}),
    )
    .await;
    let stranger = follow(&origin, &stranger, None).await.expect(200, "");
    let stranger = stranger.text("access_token");
    let body = Some(json!({"email": NEW}));
    call(&origin, Method::POST, "/contacts", &owner, body)
        .await
        .expect(202, "");
    let token = link(&origin, NEW, CONTACT_PAGE).unwrap();
    let verify = |bearer, body| {
        call(
            &origin,
            Method::POST,
            "/contacts/verify",
            bearer,
            Some(body),
        )
    };
    let by_link = json!({"token": token});
    // Whoever reads the mail is asked to be in the account, too.
    origin
        .post("/contacts/verify", by_link.clone())
        .await
        .expect(401, "token_missing");
    verify(stranger, by_link.clone())
        .await
        .expect(400, "code_invalid");
    for body in [
        json!({}),
        json!({"token": ""}),
        json!({"token": token, "code": "123456"}),
        json!({"token": token, "contact_token": "eko_x", "code": "123456"}),
        json!({"contact_token": "eko_x"}),
    ] {
        verify(&owner, body).await.expect(400, "request_invalid");
    }
    let replies = all((0..20).map(|_| verify(&owner, by_link.clone()))).await;
    let good: Vec<_> = replies.iter().filter(|reply| reply.status == 200).collect();
    assert_eq!(good.len(), 1);
    let addresses = good[0].body["contacts"].as_array().unwrap();
    assert!(
        addresses
            .iter()
            .any(|contact| contact["address"] == NEW && contact["verified"] == true)
    );
    log_in(&origin, NEW, PASSWORD).await.expect(200, "");
    // Later than a proof is fresh for.
    let body = Some(json!({"email": "third@example.org"}));
    call(&origin, Method::POST, "/contacts", &owner, body)
        .await
        .expect(202, "");
    let token = link(&origin, "third@example.org", CONTACT_PAGE).unwrap();
    origin.advance(301);
    verify(&owner, json!({"token": token}))
        .await
        .expect(401, "step_up_required");
}

/// Headers by which a request tries to say where it was sent to.
const HEADERS: [(&str, &str); 18] = [
    ("host", "evil.example"),
    ("host", "app.example.org@evil.example"),
    ("host", "app.example.org:80#@evil.example"),
    ("x-forwarded-host", "evil.example"),
    ("x-forwarded-host", "id.example.org, evil.example"),
    ("x-forwarded-proto", "evil"),
    ("x-forwarded-port", "666"),
    ("x-forwarded-prefix", "/evil"),
    ("x-forwarded-server", "evil.example"),
    ("forwarded", "host=evil.example;proto=https"),
    (
        "forwarded",
        "for=192.0.2.1;host=\"evil.example\";proto=evil",
    ),
    ("x-host", "evil.example"),
    ("x-original-host", "evil.example"),
    ("x-http-host-override", "evil.example"),
    ("x-original-url", "https://evil.example/"),
    ("x-rewrite-url", "https://evil.example/"),
    ("origin", "https://evil.example"),
    ("referer", "https://evil.example/"),
];

#[tokio::test]
async fn no_header_changes_a_link_of_any_kind() {
    let origin = Origin::with(|config| {
        config.server.public_url = Some("https://id.example.org".to_owned());
        // Believed about who asks, and about nothing else.
        config.server.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
        config.registration.verify_url = Some(PAGE.to_owned());
        config.accounts.contact_url = Some(CONTACT_PAGE.to_owned());
        config.otp.sends_per_hour = 1_000;
        config.limits.forgot_password_per_account_per_hour = 1_000;
    })
    .await;
    account(&origin).await;
    let owner = bearer(&origin).await;
    // Route, body, whose message, and what the link begins with.
    let kinds = [
        (
            "/register",
            json!({"email": NEW, "password": PASSWORD}),
            NEW,
            format!("{PAGE}#token=ekl_"),
        ),
        (
            "/contacts",
            json!({"email": NEW}),
            NEW,
            format!("{CONTACT_PAGE}#token=ekl_"),
        ),
        (
            "/contacts",
            json!({"email": NEW}),
            EMAIL,
            "https://id.example.org/undo-change#token=eku_".to_owned(),
        ),
        (
            "/forgot-password",
            json!({"identifier": EMAIL}),
            EMAIL,
            "https://id.example.org/reset-password#token=ekp_".to_owned(),
        ),
    ];
    let targets = ["", "https://evil.example"];
    let headers = HEADERS.iter().map(|&header| (header, targets[0]));
    // A request line in absolute form names a host as well.
    let headers = headers.chain([(("host", "id.example.org"), targets[1])]);
    for ((name, value), target) in headers {
        for (route, body, to, expected) in &kinds {
            let request = Request::post(format!("{target}/api/v1/auth{route}"))
                .extension(ConnectInfo(std::net::SocketAddr::from((
                    [127, 0, 0, 1],
                    40_000,
                ))))
                .header(header::CONTENT_TYPE, "application/json")
                .header(header::AUTHORIZATION, format!("Bearer {owner}"))
                .header(name, value)
                .body(Body::from(body.to_string()))
                .unwrap();
            let before = origin.state.mailer.sent().len();
            let what = format!("{name}: {value}, {route}");
            let reply = origin.send(request).await;
            // A page that was not configured may not ask at all.
            if name == "origin" && reply.status != 202 {
                continue;
            }
            assert_eq!(reply.status, 202, "{what}: {:?}", reply.body);
            let sent = origin.state.mailer.sent();
            let sent = &sent[before..];
            assert!(!sent.is_empty(), "{what}");
            for message in sent {
                assert!(!message.text.contains("evil"), "{what}: {}", message.text);
                assert!(!message.text.contains(":666"), "{what}: {}", message.text);
            }
            let message = sent.iter().find(|message| message.to == *to).unwrap();
            assert!(message.text.contains(expected), "{what}: {}", message.text);
            let urls = message.text.matches("://").count();
            assert_eq!(urls, 1, "{what}: {}", message.text);
        }
    }
}
