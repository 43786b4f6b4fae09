//! An origin of its own for each test: a fresh SQLite file, a clock that stands still, a seeded
//! source of randomness, and requests straight into the router.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]
#![expect(clippy::expect_used, reason = "a failure is the test's failure")]
#![expect(clippy::panic, reason = "a failure is the test's failure")]
#![allow(dead_code, reason = "each test file uses a part of this")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use edgekeep_origin::app::{StartError, State, app};
use edgekeep_origin::clock::{Clock, Timestamp};
use edgekeep_origin::config::{Channel, Config, DataDir};
use edgekeep_origin::notify::Message;
use edgekeep_origin::random::Random;
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt as _;

/// Where the clock of every test begins: 2026-01-01T00:00:00Z.
pub(crate) const BEGINNING: Timestamp = Timestamp::from_unix_seconds(1_767_225_600);

/// One origin.
pub(crate) struct Origin {
    /// The state, for looking behind the API.
    pub(crate) state: State,
    /// The clock, to move.
    pub(crate) clock: Clock,
    router: Router,
    folder: Arc<TempDir>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Reply {
    /// The `code` of a problem, or nothing.
    pub(crate) fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// A string of the body.
    #[track_caller]
    pub(crate) fn text(&self, key: &str) -> &str {
        self.body[key]
            .as_str()
            .unwrap_or_else(|| panic!("no {key} in {:?}", self.body))
    }

    /// Fails the test unless the answer has this status and, for a problem, this code.
    #[track_caller]
    pub(crate) fn expect(self, status: u16, code: &str) -> Self {
        assert_eq!(
            (self.status.as_u16(), self.code()),
            (status, code),
            "{:?}",
            self.body
        );
        self
    }
}

impl Origin {
    /// An origin with cheap password hashing and otherwise the default configuration.
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// An origin whose configuration `change` has altered.
    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let clock = Clock::fixed(BEGINNING);
        let opened = Self::open(&folder, &clock, Random::seeded(1), change).await;
        opened.unwrap()
    }

    /// Another process on the same data folder, with the same clock.
    pub(crate) async fn beside(
        &self,
        change: impl FnOnce(&mut Config),
    ) -> Result<Self, StartError> {
        Self::open(&self.folder, &self.clock, Random::Os, change).await
    }

    async fn open(
        folder: &Arc<TempDir>,
        clock: &Clock,
        random: Random,
        change: impl FnOnce(&mut Config),
    ) -> Result<Self, StartError> {
        let mut config = Config {
            data_dir: DataDir(folder.path().into()),
            ..Config::default()
        };
        config.password.memory_kib = 64;
        config.password.iterations = 1;
        config.limits.per_ip = false;
        config.notify.email = Channel::Memory;
        change(&mut config);
        let state = State::open(config, clock.clone(), random).await?;
        Ok(Self {
            router: app(state.clone()),
            state,
            clock: clock.clone(),
            folder: Arc::clone(folder),
        })
    }

    /// The same origin after a restart: folder and clock stay, what was in memory is gone.
    pub(crate) async fn restarted(self) -> Self {
        let config = self.state.config.clone();
        self.state.db.close().await;
        let state = State::open(config, self.clock.clone(), Random::seeded(2))
            .await
            .unwrap();
        Self {
            router: app(state.clone()),
            state,
            ..self
        }
    }

    /// The newest message to `to`, if any.
    pub(crate) fn message(&self, to: &str) -> Option<Message> {
        self.state
            .mailer
            .sent()
            .into_iter()
            .rev()
            .find(|message| message.to == to)
    }

    /// The code in the newest message to `to`.
    #[track_caller]
    pub(crate) fn code(&self, to: &str) -> String {
        self.message(to)
            .expect("a message")
            .code
            .expect("a code in it")
    }

    /// Moves the clock.
    pub(crate) fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Sends a request and reads the answer.
    pub(crate) async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, 8 << 20).await.unwrap();
        let body = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes)
                .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()))
        };
        Reply {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    /// Sends a `POST` of JSON to a route under `/api/v1/auth` from `address`, with more headers.
    pub(crate) async fn post_from(
        &self,
        address: &str,
        headers: &[(&str, &str)],
        route: &str,
        body: &Value,
    ) -> Reply {
        let mut request = Request::post(format!("/api/v1/auth{route}"))
            .extension(ConnectInfo(SocketAddr::new(
                address.parse().unwrap(),
                40_000,
            )))
            .header(header::CONTENT_TYPE, "application/json");
        for &(name, value) in headers {
            request = request.header(name, value);
        }
        self.send(request.body(Body::from(body.to_string())).unwrap())
            .await
    }

    /// A request with a JSON body and, where given, a bearer token.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        bearer: Option<&str>,
        body: Option<Value>,
    ) -> Reply {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .extension(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 40_000))));
        if let Some(token) = bearer {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let body = match body {
            None => Body::empty(),
            Some(json) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Body::from(json.to_string())
            }
        };
        self.send(request.body(body).unwrap()).await
    }

    /// `POST` of a JSON body to a route under `/api/v1/auth`.
    pub(crate) async fn post(&self, route: &str, body: Value) -> Reply {
        self.call(
            Method::POST,
            &format!("/api/v1/auth{route}"),
            None,
            Some(body),
        )
        .await
    }

    /// `GET` of a path.
    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.call(Method::GET, path, None, None).await
    }
}

/// Runs every future at the same time and gives their results in order. One is asked again only when it
/// can go on: a thousand that are all asked whenever one can would keep a machine busy for seconds.
pub(crate) async fn all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    futures_util::future::join_all(futures).await
}

/// Sends a request until something other than the bound on waiting for the database answers it: on a slow
/// machine some of a thousand meet that bound, and are asked to come again. Says in `busy` that it met it.
pub(crate) async fn until_judged<F: Future<Output = Reply>>(
    busy: &AtomicBool,
    ask: impl Fn() -> F,
) -> Reply {
    let mut reply = ask().await;
    for _ in 0..20 {
        if reply.status != 503 || reply.code() != "unavailable" {
            break;
        }
        busy.store(true, Ordering::Relaxed);
        reply = ask().await;
    }
    reply
}
