//! New passwords through every door that sets one: what is refused, and how breaches are asked for.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod support;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::{HeaderMap, Method, Uri, header};
use axum::response::{IntoResponse, Response};
use edgekeep_origin::config::{Breached, OnFailure};
use serde_json::json;
use sha1::{Digest as _, Sha1};
use support::Origin;

const GOOD: &str = "correct horse battery staple";

async fn registered(origin: &Origin) -> String {
    let body = json!({"email": "anna.meier@example.org", "password": GOOD, "name": "Anna Meier"});
    origin.post("/register", body).await.expect(202, "");
    let body =
        json!({"email": "anna.meier@example.org", "code": origin.code("anna.meier@example.org")});
    let tokens = origin.post("/register/verify", body).await.expect(200, "");
    tokens.text("access_token").to_owned()
}

#[tokio::test]
async fn every_door_refuses_the_same_and_says_why() {
    let origin = Origin::new().await;
    let token = registered(&origin).await;
    let body = json!({"identifier": "anna.meier@example.org"});
    origin.post("/forgot-password", body).await.expect(202, "");
    let message = origin.message("anna.meier@example.org").unwrap();
    let link = message.text.split("token=").nth(1).unwrap();
    let reset_token = link.split_whitespace().next().unwrap();
    for (password, why) in [
        ("short12", "8 to 1024 bytes"),
        ("iloveyou", "most common"),
        ("ILoveYou", "most common"),
        ("anna.meier.1990", "your name"),
        ("edgekeep-2026", "name of this service"),
        ("aaaaaaaaaaaa", "easy to guess"),
    ] {
        let register = json!({
            "email": "anna.meier@example.com", "password": password, "name": "Anna Meier",
        });
        let reset = json!({"token": reset_token, "password": password});
        let change = json!({"current_password": GOOD, "new_password": password});
        let replies = [
            origin.post("/register", register).await,
            origin.post("/reset-password", reset).await,
            origin
                .call(
                    Method::POST,
                    "/api/v1/auth/change-password",
                    Some(&token),
                    Some(change),
                )
                .await,
        ];
        for reply in replies {
            let reply = reply.expect(400, "request_invalid");
            let detail = reply.text("detail");
            assert!(
                detail.contains(why) && !detail.contains(password),
                "{password}: {detail}"
            );
        }
    }
    // A refusal used up neither the link nor the password.
    let body = json!({"identifier": "anna.meier@example.org", "password": GOOD});
    origin.post("/login", body).await.expect(200, "");
    let body = json!({"token": reset_token, "password": "another good one"});
    origin.post("/reset-password", body).await.expect(204, "");
}

/// An estimate takes the pool that logins use: 58 ms for text that is made for it.
#[tokio::test]
async fn what_is_refused_by_an_estimate_counts_for_the_address() {
    let origin = Origin::with(|config| config.limits.per_ip = true).await;
    let register = async |number: u32, password: &str| {
        let body = json!({"email": format!("a{number}@example.org"), "password": password});
        let reply = origin
            .post_from("198.51.100.7", &[], "/register", &body)
            .await;
        (reply.status.as_u16(), reply.code().to_owned())
    };
    let refused = (400, "request_invalid".to_owned());
    // What is refused without one does not.
    for number in 0..20 {
        assert_eq!(register(number, "iloveyou").await, refused);
    }
    for number in 0..10 {
        assert_eq!(register(number, "aaaaaaaaaaaa").await, refused, "{number}");
    }
    for password in ["aaaaaaaaaaaa", "Four wild geese, north."] {
        let limited = (429, "rate_limited".to_owned());
        assert_eq!(register(20, password).await, limited, "{password}");
    }
}

#[tokio::test]
async fn a_token_alone_has_no_password_estimated() {
    let origin = Origin::new().await;
    let token = registered(&origin).await;
    for (current, new, status, code) in [
        (
            "not the password",
            "aaaaaaaaaaaa",
            401,
            "credentials_invalid",
        ),
        (GOOD, "aaaaaaaaaaaa", 400, "request_invalid"),
    ] {
        let body = json!({"current_password": current, "new_password": new});
        let path = "/api/v1/auth/change-password";
        let reply = origin
            .call(Method::POST, path, Some(&token), Some(body))
            .await;
        reply.expect(status, code);
    }
}

#[tokio::test]
async fn the_minimum_of_the_estimate_is_a_setting() {
    for (password, score) in [("aaaaaaaa", 0), ("hunter2hunter2", 1), ("Passw0rd!2024", 2)] {
        for min_score in 0..=3 {
            let origin = Origin::with(|config| config.password.min_score = min_score).await;
            let expected = if min_score > score { 400 } else { 202 };
            assert_eq!(
                register(&origin, password).await.0,
                expected,
                "{password}, {min_score}"
            );
        }
    }
}

#[tokio::test]
async fn a_taken_address_is_refused_for_its_password_like_a_free_one() {
    let origin = Origin::new().await;
    registered(&origin).await;
    let sent = origin.state.mailer.sent().len();
    let mut replies = Vec::new();
    for email in ["anna.meier@example.org", "nobody@example.org"] {
        let body = json!({"email": email, "password": "qwertyuiop"});
        let mut reply = origin
            .post("/register", body)
            .await
            .expect(400, "request_invalid");
        reply.body["instance"] = json!("");
        replies.push(reply.body);
    }
    assert_eq!(replies[0], replies[1]);
    assert_eq!(origin.state.mailer.sent().len(), sent);
}

/// What the service of breached passwords was asked, and what it answers.
#[derive(Clone)]
struct Service {
    asked: Arc<Mutex<Vec<(String, HeaderMap)>>>,
    url: String,
}

impl Service {
    async fn start(answer: impl Fn() -> Response + Clone + Send + Sync + 'static) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let for_server = Arc::clone(&asked);
        let app = Router::new().fallback(move |uri: Uri, headers: HeaderMap| async move {
            for_server.lock().unwrap().push((uri.to_string(), headers));
            answer()
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/pwned", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { asked, url }
    }

    async fn origin(&self, on_failure: OnFailure) -> Origin {
        let url = Some(self.url.clone());
        Origin::with(|config| {
            config.password.breached = Breached {
                url,
                timeout_milliseconds: 300,
                on_failure,
            };
        })
        .await
    }
}

fn sha1(password: &str) -> String {
    let digest = Sha1::digest(password.as_bytes());
    let digits = |text: String, byte| text + &format!("{byte:02X}");
    digest.iter().fold(String::new(), digits)
}

async fn register(origin: &Origin, password: &str) -> (u16, String) {
    let body = json!({"email": "anna@example.org", "password": password});
    let reply = origin.post("/register", body).await;
    (reply.status.as_u16(), reply.code().to_owned())
}

#[tokio::test]
async fn the_service_learns_five_digits_and_its_answer_counts() {
    let name = sha1("known elsewhere 7");
    let line = format!("{}:3\r\n", &name[5..]);
    let service = Service::start(move || {
        format!("0018A45C4D1DEF81644B54AB7F969B88D65:1\r\n{line}").into_response()
    })
    .await;
    let origin = service.origin(OnFailure::Closed).await;
    let refused = register(&origin, "known elsewhere 7").await;
    assert_eq!(refused, (400, "request_invalid".to_owned()));
    assert_eq!(register(&origin, GOOD).await.0, 202);
    // What is refused without the service is not asked of it.
    assert_eq!(register(&origin, "password123").await.0, 400);
    let asked = service.asked.lock().unwrap();
    let paths: Vec<_> = asked.iter().map(|(path, _)| path.as_str()).collect();
    let good = sha1(GOOD);
    let expected = [&name[..5], &good[..5]].map(|prefix| format!("/pwned/range/{prefix}"));
    assert_eq!(paths, expected);
    for (_, headers) in asked.iter() {
        assert_eq!(headers["add-padding"], "true");
        assert_eq!(headers[header::USER_AGENT], "edgekeep");
        for (_, value) in headers {
            let value = value.to_str().unwrap();
            assert!(
                !value.contains(&name[5..]) && !value.contains(&good[5..]),
                "{value}"
            );
        }
    }
}

#[tokio::test]
async fn without_an_answer_the_setting_decides() {
    let other = Service::start(|| "".into_response()).await;
    let elsewhere = other.url.clone();
    let answers: [Box<dyn Fn() -> Response + Send + Sync>; 3] = [
        Box::new(|| axum::http::StatusCode::SERVICE_UNAVAILABLE.into_response()),
        // A redirect is not followed.
        Box::new(move || {
            let to = [(header::LOCATION, elsewhere.clone())];
            (axum::http::StatusCode::FOUND, to).into_response()
        }),
        // Longer than any answer of such a service.
        Box::new(|| {
            "0018A45C4D1DEF81644B54AB7F969B88D65:1\r\n"
                .repeat(20_000)
                .into_response()
        }),
    ];
    for (index, answer) in answers.into_iter().enumerate() {
        let answer = Arc::new(answer);
        let service = Service::start(move || answer()).await;
        let began = Instant::now();
        let open = service.origin(OnFailure::Open).await;
        assert_eq!(register(&open, GOOD).await.0, 202, "{index}");
        let closed = service.origin(OnFailure::Closed).await;
        let refused = register(&closed, GOOD).await;
        assert_eq!(refused, (503, "unavailable".to_owned()), "{index}");
        assert_eq!(closed.state.mailer.sent().len(), 0);
        assert!(
            began.elapsed() < Duration::from_secs(3),
            "{index}: {:?}",
            began.elapsed()
        );
        assert_eq!(service.asked.lock().unwrap().len(), 2, "{index}");
    }
    assert_eq!(other.asked.lock().unwrap().len(), 0);
    // One that takes the request and says nothing, then one that is not there.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let service = Service {
        asked: Arc::default(),
        url: format!("http://{}", silent.local_addr().unwrap()),
    };
    let began = Instant::now();
    let closed = service.origin(OnFailure::Closed).await;
    assert_eq!(register(&closed, GOOD).await.0, 503);
    drop(silent);
    let open = service.origin(OnFailure::Open).await;
    assert_eq!(register(&open, GOOD).await.0, 202);
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
}
