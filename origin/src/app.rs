//! The state that handlers share, the router over every slice, and serving it.

use std::fs::File;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State as Shared};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument as _;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::abuse::captcha::{self, Captchas};
use crate::abuse::lockout::Gate;
use crate::abuse::sends::Admission;
use crate::abuse::stuffing::Watch;
use crate::abuse::{self, Limiter};
use crate::clock::Clock;
use crate::config::Config;
use crate::db::{Db, OpenError};
use crate::error::{DatabaseFailed, Error, Problem};
use crate::ids::RequestId;
use crate::login::hasher::Hasher;
use crate::login::strength::Strength;
use crate::metrics::{Answer, Metrics, Outcome};
use crate::notify::Mailer;
use crate::random::Random;
use crate::request::{Caller, CorrelationId};
use crate::revocation::control_key::ControlKey;
use crate::revocation::list::Publisher;
use crate::revocation::policy::{Follower, Hangups};
use crate::revocation::{self, Signal};
use crate::social::Social;
use crate::tokens::keyring::{self, Keyring};
use crate::vault::master::MasterKeyError;
use crate::vault::{self, MasterKeys, Vault};
use crate::{
    access, accounts, browser, events, listen, login, metrics, notify, openapi, pages,
    security_headers, sessions, social, tokens,
};

/// What every handler may use; cheap to clone.
#[derive(Clone)]
pub struct State(Arc<Parts>);

/// The parts of [`State`].
pub struct Parts {
    /// The configuration, as read at the start.
    pub config: Config,
    /// The database.
    pub db: Db,
    /// The time.
    pub clock: Clock,
    /// Randomness.
    pub random: Random,
    /// Sealing, blind indexes, MACs.
    pub vault: Vault,
    /// Password hashing, on a bounded pool.
    pub hasher: Hasher,
    /// What new passwords are judged by.
    pub strength: Strength,
    /// How many passwords of an account are compared at a time.
    pub gate: Gate,
    /// How often one may ask.
    pub limiter: Limiter,
    /// Signs of credential stuffing.
    pub watch: Watch,
    /// What captchas need between requests.
    pub captchas: Captchas,
    /// What may leave by mail and SMS.
    pub admission: Admission,
    /// Where mail and SMS are handed over.
    pub mailer: Mailer,
    /// Other identity providers.
    pub social: Social,
    /// The keys that sign access tokens.
    pub keyring: Arc<Keyring>,
    /// Word to the publisher that something is revoked.
    pub signal: Arc<Signal>,
    /// What the gates are told.
    pub publisher: Publisher,
    /// What is counted.
    pub metrics: Metrics,
    /// Whether new requests are welcome; false once a signal to stop has come.
    accepting: AtomicBool,
    /// When the database was last probed, and whether it wrote.
    probed: Mutex<Option<(Instant, bool)>>,
}

impl Deref for State {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// Why the origin does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database.
    #[error(transparent)]
    Database(#[from] OpenError),
    /// The master key.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// A folder or a socket.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The policy that gates are to be told.
    #[error("gate.policy_file: {0}")]
    Policy(String),
    /// A sender of mail or SMS.
    #[error("{0}")]
    Notify(String),
    /// The provider of captchas.
    #[error("{0}")]
    Captcha(String),
    /// A part of the state refused.
    #[error(transparent)]
    Part(#[from] Error),
}

impl State {
    /// Opens the data folder, the master key and the database, and brings the schema up to date.
    ///
    /// # Errors
    /// What could not be opened, and where.
    pub async fn open(config: Config, clock: Clock, random: Random) -> Result<Self, StartError> {
        make_data_dir(&config)?;
        // A server and a command may both be the first on a folder: one makes master key, schema
        // and keys, the other finds them. Let go when it is dropped.
        let _first = lock_data_dir(&config)?;
        let keys = MasterKeys::load(&config, &random, &clock).await?;
        let vault = Vault::new(&keys, random.clone());
        let db = Db::open(&config).await?;
        db.migrate().await?;
        vault::binding::bind(&db, &vault, &clock).await?;
        let hasher = Hasher::new(&config.password, vault.clone(), random.clone()).await?;
        let strength = Strength::new(&config)
            .map_err(|error| Error::internal(format!("password.breached: {error}")))?;
        let gate = Gate::new(config.lockout.max_failures);
        let limiter = Limiter::new(&config.limits, clock.clone());
        let watch = Watch::default();
        let captchas = Captchas::new(&config.captcha).map_err(StartError::Captcha)?;
        let admission = Admission::new(&config, &db, &vault, &clock);
        let mailer = Mailer::start(&config, (&db, &vault, &clock, &random), &admission);
        let mailer = mailer.map_err(StartError::Notify)?;
        let social = Social::new(&config)?;
        let signal = Arc::new(Signal::default());
        let keyring = Keyring::open(&config, &db, &vault, &clock, &random, &signal).await?;
        let keyring = Arc::new(keyring);
        let control_key = ControlKey::open(&db, &vault, &clock, &random).await?;
        let publisher = Publisher::new(
            &config,
            (&db, &vault, &clock, &random),
            control_key,
            &keyring,
            &signal,
        );
        Ok(Self(Arc::new(Parts {
            keyring,
            signal,
            publisher,
            config,
            db,
            clock,
            random,
            vault,
            hasher,
            strength,
            gate,
            metrics: Metrics::new(&mailer, &limiter, &watch),
            limiter,
            watch,
            captchas,
            admission,
            social,
            mailer,
            accepting: AtomicBool::new(true),
            probed: Mutex::new(None),
        })))
    }
}

fn make_data_dir(config: &Config) -> Result<(), StartError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(config.data_dir.as_path())
        .map_err(|source| StartError::Io {
            what: format!("data folder {}", config.data_dir.display()),
            source,
        })
}

/// Waits until no other process is opening the data folder.
fn lock_data_dir(config: &Config) -> Result<File, StartError> {
    let path = config.data_dir.join("open.lock");
    File::create(&path)
        .and_then(|file| file.lock().map(|()| file))
        .map_err(|source| StartError::Io {
            what: format!("lock {}", path.display()),
            source,
        })
}

/// Every route beside its description: what is not described is not there.
pub fn documented() -> OpenApiRouter<State> {
    let auth = OpenApiRouter::new()
        .merge(accounts::routes())
        .merge(login::routes())
        .merge(captcha::routes())
        .merge(sessions::routes::auth())
        .merge(social::routes::auth())
        .merge(tokens::routes::auth())
        .merge(events::auth());
    OpenApiRouter::new()
        .nest("/api/v1/auth", auth)
        .nest(
            "/api/v1/admin",
            access::routes::admin().merge(events::admin()),
        )
        .merge(tokens::routes::root())
        .merge(revocation::routes::root())
        .routes(routes!(health))
        .routes(routes!(ready))
        .merge(metrics::routes())
}

/// Every route, with what each passes through on its way in and out.
pub fn app(state: State) -> Router {
    let (router, document) = documented().split_for_parts();
    // Without pages there is no CORS, and a preflight is a method that no route knows.
    let is_served = !state.config.browser.allowed_origins.is_empty();
    let cors = tower::util::option_layer(is_served.then(|| browser::cors(&state.config.browser)));
    router
        .merge(openapi::routes(&openapi::complete(document)))
        .merge(notify::routes(&state.config))
        .merge(pages::routes(&state.config))
        .fallback(|| async { Error::NotFound })
        .method_not_allowed_fallback(|| async { Error::MethodNotAllowed })
        .layer(middleware::from_fn_with_state(state.clone(), deadline))
        .layer(CatchPanicLayer::custom(|_panic| {
            Error::internal("a handler panicked").into_response()
        }))
        .layer(DefaultBodyLimit::max(state.config.server.max_body_bytes))
        .layer(middleware::from_fn(abuse::headers::layer))
        .layer(middleware::from_fn_with_state(
            state.clone(),
            browser::layer,
        ))
        .layer(cors)
        .layer(middleware::from_fn_with_state(state.clone(), correlate))
        .with_state(state)
}

/// How the process is.
#[derive(Serialize, ToSchema)]
struct Health {
    /// `ok` or `ready`.
    status: &'static str,
}

#[utoipa::path(
    get, path = "/health", tag = "operation",
    summary = "Whether the process answers",
    responses((status = 200, description = "It does.", body = Health)),
)]
/// `GET /health`: the process answers.
async fn health() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// How long the answer of one probe of the database is everybody's.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

#[utoipa::path(
    get, path = "/ready", tag = "operation",
    summary = "Whether requests are welcome",
    description = "503 from the signal to stop on, and while the database does not write.",
    responses((status = 200, description = "They are.", body = Health)),
)]
/// `GET /ready`: the process accepts requests and the database writes, or did within a second.
async fn ready(Shared(state): Shared<State>) -> Result<Json<Health>, Error> {
    if !state.accepting.load(Ordering::SeqCst) {
        return Err(Error::Unavailable("stopping"));
    }
    // Whoever comes while one probes waits for that one's answer: the route is open to all, and
    // the writer has better things to do.
    let mut probed = state.probed.lock().await;
    if let Some((at, writes)) = *probed
        && at.elapsed() < PROBE_INTERVAL
    {
        return if writes {
            Ok(Json(Health { status: "ready" }))
        } else {
            Err(Error::Unavailable("the database does not write"))
        };
    }
    let outcome = state.db.probe().await;
    *probed = Some((Instant::now(), outcome.is_ok()));
    outcome.map(|()| Json(Health { status: "ready" }))
}

/// Ends a request that takes too long: its transaction rolls back, its client may try again.
async fn deadline(Shared(state): Shared<State>, request: Request, next: Next) -> Response {
    let limit = Duration::from_secs(state.config.server.request_timeout_seconds);
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Error::Unavailable("request timed out").into_response(),
    }
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest correlation id taken over from the caller.
const MAX_REQUEST_ID: usize = 128;

/// The caller's correlation id, where it is one that can stand in a log line.
fn given_request_id(request: &Request) -> Option<String> {
    let text = request.headers().get(REQUEST_ID)?.to_str().ok()?;
    let fits = (1..=MAX_REQUEST_ID).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    fits.then(|| text.to_owned())
}

/// What an extractor of the framework has refused in plain text (a path that is not UTF-8, a body
/// that is too long), as the error that it is.
fn as_problem(response: Response) -> Response {
    let is_text = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"text/plain"));
    let is_ours = response.extensions().get::<Problem>().is_some();
    match response.status() {
        status if is_ours || !is_text || !status.is_client_error() => response,
        StatusCode::PAYLOAD_TOO_LARGE => Error::RequestTooLarge.into_response(),
        StatusCode::NOT_FOUND => Error::NotFound.into_response(),
        StatusCode::METHOD_NOT_ALLOWED => Error::MethodNotAllowed.into_response(),
        _ => Error::invalid("The request could not be read.").into_response(),
    }
}

/// Gives a request its correlation id, writes problems, sets security headers, logs the outcome.
///
/// The log names the route's pattern, never the path: paths hold identifiers.
async fn correlate(Shared(state): Shared<State>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = given_request_id(&request)
        .unwrap_or_else(|| RequestId::generate(&state.random).to_string());
    request.extensions_mut().insert(CorrelationId(id.clone()));
    let method = request.method().clone();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "-".to_owned(), |path| path.as_str().to_owned());
    let span = tracing::info_span!("request", %id, %method, %route);
    let (parts, body) = request.into_parts();
    let caller = Caller::of(&parts, &state);
    let request = Request::from_parts(parts, body);
    let answered = async { as_problem(events::on_behalf(caller, next.run(request)).await) };
    let mut response = answered.instrument(span.clone()).await;
    let extensions = response.extensions_mut();
    let database_failed = extensions.remove::<DatabaseFailed>().is_some();
    let problem = extensions.remove::<Problem>();
    let outcome = extensions.remove::<Outcome>().map(|outcome| outcome.0);
    let code = problem.as_ref().map(|problem| problem.code).or(outcome);
    if let Some(mut problem) = problem {
        problem.instance.clone_from(&id);
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        *response.body_mut() = body.into();
    }
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, value);
    }
    security_headers::add(headers, state.config.issuer().starts_with("https://"));
    let elapsed = started.elapsed();
    state.metrics.count(Answer {
        method: &method,
        route: &route,
        status: response.status(),
        code,
        database_failed,
        elapsed,
    });
    let _entered = span.enter();
    tracing::info!(
        status = response.status().as_u16(),
        elapsed_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
        "answered"
    );
    response
}

/// Serves `state` until SIGINT or SIGTERM: then readiness is refused, no connection is accepted,
/// and what is in flight may finish within the configured time.
///
/// # Errors
/// When the listener cannot be bound, or the policy file is no policy.
pub async fn serve(state: State) -> Result<(), StartError> {
    let policy = Follower::begin(&state).map_err(|error| StartError::Policy(error.to_string()))?;
    let address = state.config.server.listen;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| StartError::Io {
            what: format!("listen on {address}"),
            source,
        })?;
    state.keyring.record(&state.config).await?;
    if state.config.secrets.rotate_on_start {
        vault::binding::take_over(&state.db, &state.vault, &state.clock).await?;
    }
    let mut tasks = JoinSet::new();
    if let Some(address) = state.config.server.kv_listen {
        let kv = TcpListener::bind(address)
            .await
            .map_err(|source| StartError::Io {
                what: format!("listen on {address} (server.kv_listen)"),
                source,
            })?;
        tasks.spawn(revocation::kv::serve(kv, state.clone()));
    }
    if let Some(address) = state.config.server.metrics_listen {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| StartError::Io {
                what: format!("listen on {address} (server.metrics_listen)"),
                source,
            })?;
        tasks.spawn(metrics::serve(listener, state.clone()));
    }
    tasks.spawn(revocation::keep_current(state.clone()));
    tasks.spawn(keyring::keep(state.clone()));
    tasks.spawn(vault::rotation::keep(state.clone()));
    tasks.spawn(notify::notices::keep_delivering(state.clone()));
    if let Some(follower) = policy {
        tasks.spawn(follower.keep(state.clone(), Hangups::caught()));
    }
    let kv_rest = revocation::kv_rest::Writer::new(&state.config.revocation.kv_rest)
        .map_err(|error| Error::internal(format!("revocation.kv_rest: {error}")))?;
    if let Some(writer) = kv_rest {
        tasks.spawn(revocation::kv_rest::run(writer, state.clone()));
    }
    tracing::info!(%address, issuer = state.config.issuer(), "ready");
    if notify::has_outbox_page(&state.config) {
        let file = notify::outbox(&state.config);
        tracing::info!(
            page = format!("http://{address}{}", notify::OUTBOX_PATH),
            file = %file.display(),
            "mail and SMS are not sent: they are in the development outbox"
        );
    }
    let grace = Duration::from_secs(state.config.server.shutdown_seconds);
    let connections = listen::affordable(state.config.server.max_connections);
    let (stopped, stopping) = tokio::sync::oneshot::channel();
    let for_signal = state.clone();
    let server = listen::serve(listener, app(state.clone()), connections, async move {
        wait_for_signal().await;
        for_signal.accepting.store(false, Ordering::SeqCst);
        tracing::info!("stopping");
        // The receiver is gone only when serving has already ended.
        let _ = stopped.send(());
    });
    let too_long = async {
        if stopping.await.is_ok() {
            tokio::time::sleep(grace).await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = server => {}
        () = too_long => tracing::warn!("requests still in flight were cut off"),
        // An origin that tells its gates nothing more, or cannot read what others write, must not
        // look alive.
        Some(_) = tasks.join_next() => {
            return Err(Error::internal("a task that must run has ended").into());
        }
    }
    state.mailer.drain(grace).await;
    tasks.shutdown().await;
    state.db.close().await;
    tracing::info!("stopped");
    Ok(())
}

async fn wait_for_signal() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => {
                tokio::select! {
                    _ = interrupt => {}
                    _ = terminate.recv() => {}
                }
            }
            Err(error) => {
                tracing::warn!(%error, "SIGTERM cannot be caught");
                let _ = interrupt.await;
            }
        }
    }
    #[cfg(not(unix))]
    let _ = interrupt.await;
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        /// It stands in log lines and in an answer's header.
        #[test]
        fn only_plain_correlation_ids_are_taken_over(bytes: Vec<u8>, text in "[a-zA-Z0-9._-]{0,140}") {
            for given in [&bytes[..], text.as_bytes()] {
                let Ok(value) = HeaderValue::from_bytes(given) else { continue };
                let mut request = Request::new(axum::body::Body::empty());
                request.headers_mut().insert(REQUEST_ID, value);
                let kept = given_request_id(&request);
                let plain = !given.is_empty()
                    && given.len() <= MAX_REQUEST_ID
                    && given.iter().all(|&b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
                proptest::prop_assert_eq!(kept.is_some(), plain);
                proptest::prop_assert!(kept.is_none_or(|kept| kept.as_bytes() == given));
            }
        }
    }
}
