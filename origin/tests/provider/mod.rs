//! A provider of SMS: a real HTTP server on loopback that keeps what it is asked and answers as it
//! is told.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]
#![allow(dead_code, reason = "each test file uses a part of this")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, Uri, header};
use edgekeep_origin::config::{HttpFormat, HttpHook};
use edgekeep_origin::metrics::{Delivery, MessageLabels};
use edgekeep_origin::notify::{Mailer, Medium, Message, Sort};

/// Longest wait for something that should happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// One request to it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    pub(crate) at: Instant,
}

impl Call {
    /// The fields of a form.
    pub(crate) fn form(&self) -> BTreeMap<String, String> {
        let unescape = |text: &str| {
            let mut bytes = Vec::new();
            let mut rest = text.bytes();
            while let Some(byte) = rest.next() {
                bytes.push(match byte {
                    b'+' => b' ',
                    b'%' => {
                        let hex = [rest.next().unwrap(), rest.next().unwrap()];
                        u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap()
                    }
                    byte => byte,
                });
            }
            String::from_utf8(bytes).unwrap()
        };
        self.body
            .split('&')
            .map(|field| {
                let (name, value) = field.split_once('=').unwrap();
                (unescape(name), unescape(value))
            })
            .collect()
    }

    /// A header that must be there, as text.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

/// How the provider answers its next call.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Status(u16),
    /// With headers and a body.
    Says(u16, &'static [(&'static str, &'static str)], String),
    Redirect,
    Never,
}

#[derive(Clone)]
pub(crate) struct Provider {
    calls: Arc<Mutex<Vec<Call>>>,
    /// Where it listens: `http://127.0.0.1:…`.
    pub(crate) base: String,
}

impl Provider {
    /// A provider that gives these answers, and 201 after them.
    pub(crate) async fn start(answers: &[Answer]) -> Self {
        Self::then(answers, Answer::Status(201)).await
    }

    /// A provider that gives these answers, and `last` from then on.
    pub(crate) async fn then(answers: &[Answer], last: Answer) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider = Self {
            calls: Arc::default(),
            base: format!("http://{}", listener.local_addr().unwrap()),
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
            let mut headers = HeaderMap::new();
            match answers.get(number).unwrap_or(&last).clone() {
                Answer::Status(status) => (
                    StatusCode::from_u16(status).unwrap(),
                    headers,
                    String::new(),
                ),
                Answer::Says(status, names, body) => {
                    for (name, value) in names {
                        headers.insert(HeaderName::from_static(name), value.parse().unwrap());
                    }
                    (StatusCode::from_u16(status).unwrap(), headers, body)
                }
                Answer::Redirect => {
                    headers.insert(header::LOCATION, "/elsewhere".parse().unwrap());
                    (StatusCode::TEMPORARY_REDIRECT, headers, String::new())
                }
                Answer::Never => std::future::pending().await,
            }
        };
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
        provider
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    pub(crate) async fn wait_for(&self, count: usize) -> Vec<Call> {
        let until = Instant::now() + PATIENCE;
        while self.calls().len() < count {
            assert!(Instant::now() < until, "{} calls", self.calls().len());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.calls()
    }

    /// The settings of a hook that asks it.
    pub(crate) fn hook(&self) -> HttpHook {
        HttpHook {
            url: format!("{}/messages", self.base),
            format: HttpFormat::Form,
            username: None,
            password: None,
            bearer: None,
            secret: None,
            to_field: "To".to_owned(),
            text_field: "Body".to_owned(),
            subject_field: None,
            extra: BTreeMap::new(),
        }
    }
}

/// An SMS that has no code in it.
pub(crate) fn message(to: &str, text: &str) -> Message {
    Message {
        channel: Medium::Sms,
        to: to.to_owned(),
        subject: None,
        text: text.to_owned(),
        code: None,
        sort: Sort::Told,
        asked_by: None,
        good_until: None,
    }
}

/// How many SMS had this outcome.
pub(crate) fn counted(mailer: &Mailer, outcome: Delivery) -> u64 {
    let channel = "sms";
    let labels = MessageLabels { channel, outcome };
    mailer.counts().get_or_create(&labels).get()
}

/// Waits until nothing waits to be sent or is on its way.
pub(crate) async fn quiet(mailer: &Mailer) {
    let until = Instant::now() + PATIENCE;
    while mailer.waiting() > 0 {
        assert!(Instant::now() < until, "{} wait", mailer.waiting());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
