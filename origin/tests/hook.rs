//! Messages through a provider's HTTP endpoint, with a real server at the other end.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod sent;
mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use edgekeep_origin::config::{Channel, Config, HttpFormat, HttpHook};
use edgekeep_origin::metrics::{Delivery, MessageLabels};
use edgekeep_origin::notify::{Mailer, Medium, Message};
use edgekeep_origin::vault::Secret;
use sent::logged;
use serde_json::{Value, json};
use support::Origin;

const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
struct Call {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: String,
    at: Instant,
}

/// How the provider answers its next call.
#[derive(Clone, Copy)]
enum Answer {
    Status(u16),
    Redirect,
    Never,
}

#[derive(Clone)]
struct Provider {
    calls: Arc<Mutex<Vec<Call>>>,
    url: String,
}

impl Provider {
    /// A provider that gives these answers, and 201 after them.
    async fn start(answers: &[Answer]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider = Self {
            calls: Arc::default(),
            url: format!("http://{}/messages", listener.local_addr().unwrap()),
        };
        let calls = Arc::clone(&provider.calls);
        let answers = answers.to_vec();
        let answer = move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| async move {
            let number = {
                let mut calls = calls.lock().unwrap();
                calls.push(Call {
                    method,
                    path: uri.path().to_owned(),
                    headers,
                    body: String::from_utf8(body.to_vec()).unwrap(),
                    at: Instant::now(),
                });
                calls.len() - 1
            };
            match answers.get(number) {
                None => (StatusCode::CREATED, HeaderMap::new()),
                Some(Answer::Status(status)) => {
                    (StatusCode::from_u16(*status).unwrap(), HeaderMap::new())
                }
                Some(Answer::Redirect) => {
                    let mut headers = HeaderMap::new();
                    headers.insert(header::LOCATION, "/elsewhere".parse().unwrap());
                    (StatusCode::TEMPORARY_REDIRECT, headers)
                }
                Some(Answer::Never) => std::future::pending().await,
            }
        };
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
        provider
    }

    fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    async fn wait_for(&self, count: usize) -> Vec<Call> {
        let until = Instant::now() + PATIENCE;
        while self.calls().len() < count {
            assert!(Instant::now() < until, "{} calls", self.calls().len());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.calls()
    }

    fn hook(&self) -> HttpHook {
        HttpHook {
            url: self.url.clone(),
            format: HttpFormat::Form,
            username: None,
            password: None,
            bearer: None,
            to_field: "To".to_owned(),
            text_field: "Body".to_owned(),
            subject_field: None,
            extra: BTreeMap::new(),
        }
    }
}

fn mailer(hook: HttpHook) -> Mailer {
    let mut config = Config::default();
    config.notify.email = Channel::Off;
    config.notify.sms = Channel::Http(hook);
    Mailer::start(&config).unwrap()
}

fn message(to: &str, text: &str) -> Message {
    Message {
        channel: Medium::Sms,
        to: to.to_owned(),
        subject: None,
        text: text.to_owned(),
        code: None,
    }
}

#[tokio::test]
async fn a_form_has_the_fields_of_the_provider_and_a_code_that_is_good() {
    logged::start();
    let provider = Provider::start(&[]).await;
    let hook = HttpHook {
        username: Some("AC1".to_owned()),
        password: Some(Secret::new("tw-s3cret".to_owned())),
        extra: BTreeMap::from([("From".to_owned(), "+15005550006".to_owned())]),
        ..provider.hook()
    };
    let origin = Origin::with(|config| {
        config.notify.email = Channel::Off;
        config.notify.sms = Channel::Http(hook);
    })
    .await;
    let body = json!({"phone_number": "+41791234567"});
    let sent = origin.post("/otp/send", body).await.expect(200, "");
    let call = provider.wait_for(1).await.remove(0);
    assert_eq!((call.method, &*call.path), (Method::POST, "/messages"));
    assert_eq!(
        call.headers["content-type"],
        "application/x-www-form-urlencoded"
    );
    // base64 of AC1:tw-s3cret
    assert_eq!(call.headers["authorization"], "Basic QUMxOnR3LXMzY3JldA==");
    let axum::Form(fields): axum::Form<BTreeMap<String, String>> = {
        use axum::extract::FromRequest as _;
        let request = axum::http::Request::post("/")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(axum::body::Body::from(call.body.clone()))
            .unwrap();
        axum::Form::from_request(request, &()).await.unwrap()
    };
    assert_eq!(fields.len(), 3, "{fields:?}");
    assert_eq!(fields["To"], "+41791234567");
    assert_eq!(fields["From"], "+15005550006");
    let code = fields["Body"]
        .split(|c: char| !c.is_ascii_digit())
        .find(|part| part.len() == 6)
        .expect("a code");
    let body = json!({"otp_token": sent.text("otp_token"), "code": code});
    origin.post("/otp/verify", body).await.expect(200, "");
    let token = sent.text("otp_token");
    logged::holds_none(&["41791234567", code, token, "tw-s3cret", "QUMxOnR3"]);
}

#[tokio::test]
async fn json_and_a_bearer_where_they_are_configured() {
    logged::start();
    let provider = Provider::start(&[]).await;
    let mailer = mailer(HttpHook {
        format: HttpFormat::Json,
        bearer: Some(Secret::new("b3arer-s3cret".to_owned())),
        to_field: "recipient".to_owned(),
        text_field: "text".to_owned(),
        extra: BTreeMap::from([("recipient".to_owned(), "overridden".to_owned())]),
        ..provider.hook()
    });
    let text = "Zoë \"quoted\" & <b>\r\n\u{1f600}";
    mailer.send(message("+41790000001", text));
    let call = provider.wait_for(1).await.remove(0);
    assert_eq!(call.headers["content-type"], "application/json");
    assert_eq!(call.headers["authorization"], "Bearer b3arer-s3cret");
    let body: Value = serde_json::from_str(&call.body).unwrap();
    // What is the same in every message does not replace what is not.
    assert_eq!(body, json!({"recipient": "+41790000001", "text": text}));
    logged::holds_none(&["b3arer-s3cret", "+41790000001", "quoted"]);
}

#[tokio::test]
async fn refusals_are_tried_again_and_then_reported() {
    logged::start();
    for (answers, calls) in [
        (&[Answer::Status(500)][..], 2),
        (&[Answer::Status(429), Answer::Status(503)], 3),
        (&[Answer::Status(400); 5], 3),
    ] {
        let provider = Provider::start(answers).await;
        let mailer = mailer(HttpHook {
            bearer: Some(Secret::new("retry-s3cret".to_owned())),
            ..provider.hook()
        });
        mailer.send(message("+41790000002", "text 2-7182"));
        mailer.drain(PATIENCE).await;
        assert_eq!(provider.calls().len(), calls);
        let counted = |outcome| {
            let channel = "sms";
            let labels = MessageLabels { channel, outcome };
            mailer.counts().get_or_create(&labels).get()
        };
        let arrived = u64::from(answers.len() < calls);
        assert_eq!(counted(Delivery::sent), arrived);
        assert_eq!(counted(Delivery::failed), 1 - arrived);
        assert_eq!(mailer.waiting(), 0);
    }
    logged::holds("provider answered 400");
    logged::holds("a message was not sent");
    logged::holds_none(&["+41790000002", "2-7182", "retry-s3cret"]);
}

/// A redirect would carry credentials and codes to wherever it points.
#[tokio::test]
async fn redirects_are_not_followed() {
    let provider = Provider::start(&[Answer::Redirect; 3]).await;
    let mailer = mailer(provider.hook());
    mailer.send(message("+41790000003", "text"));
    mailer.drain(PATIENCE).await;
    let calls = provider.calls();
    assert_eq!(calls.len(), 3);
    assert!(calls.iter().all(|call| call.path == "/messages"));
}

#[tokio::test]
async fn a_provider_that_hangs_delays_no_answer_and_is_tried_again() {
    let provider = Provider::start(&[Answer::Never; 12]).await;
    let hook = provider.hook();
    let origin = Origin::with(|config| {
        config.notify.email = Channel::Off;
        config.notify.sms = Channel::Http(hook);
        config.otp.sends_per_hour = 1_000;
    })
    .await;
    let started = Instant::now();
    for number in 0..12 {
        let body = json!({"phone_number": format!("+4179000010{number:02}")});
        origin.post("/otp/send", body).await.expect(200, "");
    }
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    // Eight are on their way at a time; the ninth call is one of them tried again, or one that
    // waited, after the timeout.
    let calls = provider.wait_for(9).await;
    assert!(calls[8].at.duration_since(calls[0].at) > Duration::from_secs(5));
    assert_eq!(calls[7].at.duration_since(calls[0].at).as_secs() / 5, 0);
}

#[tokio::test]
async fn more_messages_than_may_wait_are_dropped_and_said() {
    logged::start();
    let provider = Provider::start(&[Answer::Never; 64]).await;
    let mailer = mailer(provider.hook());
    for _ in 0..3_000 {
        mailer.send(message("+41790000004", "text"));
    }
    logged::holds("a message was dropped");
    assert_eq!(mailer.waiting(), 1_024);
    logged::holds_none(&["+41790000004"]);
}
