//! A real gate between an issuer and an upstream that tests control.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::edge::{Edge, Variables};
use crate::http::{Answer, Call};
use crate::issuer::Issuer;
use crate::keys::{self, Key};
use crate::server::{Reply, Request, Server};

/// The policy of most tests: the demo policy, and a route for each other requirement.
pub const POLICY: &str = r#"
[[route]]
match = "/public/**"
access = "public"

[[route]]
match = "/api/reports/**"
methods = ["POST"]
scopes = ["report:write"]

[[route]]
match = "/api/payments/**"
kyc_level = 2
mfa = true
revocation = "strict"

[[route]]
match = "/api/admin/**"
roles = ["admin"]

[[route]]
match = "/api/notes/**"
permissions = ["notes:write"]

[[route]]
match = "/api/vault/**"
acr = ["gold"]
max_age = 300

[[route]]
match = "/api/strict/**"
revocation = "strict"

[[route]]
match = "/api/off/**"
revocation = "off"

[[route]]
match = "/api/private/**"
forward_authorization = false

[[route]]
match = "/api/trial/**"
roles = ["admin"]
report_only = true

[[route]]
match = "/api/impatient/**"
max_stale = 3

[[route]]
match = "/api/lenient/**"
max_stale = 3
on_stale = "allow"
allow_stale_for = 4

[[route]]
match = "/app/**"
token_from = { cookie = "__Host-at" }
allowed_origins = ["https://app.example"]

[[route]]
match = "/api/pages/**"
[route.cors]
origins = ["https://app.example"]
methods = ["GET", "PUT"]
headers = ["content-type", "authorization"]
expose = ["etag"]
credentials = true
max_age = 600

[[route]]
match = "/api/**"
"#;

type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

/// The API behind the gate.
pub struct Upstream {
    server: Server,
    handler: Arc<Mutex<Arc<Handler>>>,
}

impl Upstream {
    /// Starts one that answers everything with 200.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start() -> Self {
        let ok: Arc<Handler> = Arc::new(|_| Reply::new(200, "from upstream"));
        let handler = Arc::new(Mutex::new(ok));
        let current = Arc::clone(&handler);
        let server = Server::start(move |request| {
            let handler = Arc::clone(&current.lock().unwrap());
            handler(request)
        })
        .await;
        Self { server, handler }
    }

    /// Answers otherwise from now on.
    ///
    /// # Panics
    /// When a handler has.
    pub fn answer_with(&self, handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) {
        *self.handler.lock().unwrap() = Arc::new(handler);
    }

    /// The server, with what it has seen.
    pub const fn server(&self) -> &Server {
        &self.server
    }

    /// Takes the requests so far out of the record.
    pub fn take(&self) -> Vec<Request> {
        self.server.take()
    }

    /// Takes the one request that has reached it.
    ///
    /// # Panics
    /// When there were none or several.
    pub fn take_one(&self) -> Request {
        let mut seen = self.take();
        assert_eq!(
            seen.len(),
            1,
            "one request should have reached the upstream: {seen:#?}"
        );
        seen.remove(0)
    }

    /// Stops listening.
    pub async fn stop(&mut self) {
        self.server.stop().await;
    }
}

/// The gate with what is on either side of it.
pub struct Gate {
    /// The issuer that the gate trusts.
    pub issuer: Issuer,
    /// The API behind it.
    pub upstream: Upstream,
    /// The gate.
    pub edge: Edge,
    /// The issuer's key.
    pub key: Key,
}

impl Gate {
    /// A gate with [`POLICY`] and both revocation sources.
    ///
    /// # Panics
    /// When something does not start.
    pub async fn start() -> Self {
        Self::with(|_, _| {}).await
    }

    /// A gate whose issuer and variables were changed before it started.
    ///
    /// # Panics
    /// When something does not start.
    pub async fn with(change: impl FnOnce(&Issuer, &mut Variables)) -> Self {
        Self::launch(change, Edge::start).await
    }

    /// The same with a limiter `API_LIMIT` that allows `requests` in a minute.
    ///
    /// # Panics
    /// When something does not start.
    pub async fn limited(requests: u32, change: impl FnOnce(&Issuer, &mut Variables)) -> Self {
        let start = |variables: &Variables, kv| Edge::with_limiter(variables, kv, requests);
        Self::launch(change, start).await
    }

    /// The same with a worker beside it as upstream, by a service binding; its module is `script`.
    ///
    /// # Panics
    /// When something does not start.
    pub async fn bound(script: &str, change: impl FnOnce(&Issuer, &mut Variables)) -> Self {
        let start = |variables: &Variables, kv| Edge::with_upstream(variables, kv, script);
        Self::launch(change, start).await
    }

    async fn launch(
        change: impl FnOnce(&Issuer, &mut Variables),
        start: impl FnOnce(&Variables, SocketAddr) -> Edge,
    ) -> Self {
        let key = Key::es256(1);
        let issuer = Issuer::start(&key).await;
        let upstream = Upstream::start().await;
        let mut variables = variables(&issuer, &upstream);
        change(&issuer, &mut variables);
        let edge = start(&variables, issuer.kv());
        Self {
            issuer,
            upstream,
            edge,
            key,
        }
    }

    /// A token that is accepted, with `changes` to its claims.
    pub fn token(&self, changes: &Value) -> String {
        self.key.issue(&keys::claims(&self.issuer.url(), changes))
    }

    /// A token that is accepted.
    pub fn good_token(&self) -> String {
        self.token(&json!({}))
    }

    /// A request with a token.
    pub fn call(&self, method: &str, target: &str, token: &str) -> Call {
        self.edge.call(method, target).bearer(token)
    }

    /// The answer to a GET with a token.
    ///
    /// # Panics
    /// When the gate does not answer.
    pub async fn get(&self, target: &str, token: &str) -> Answer {
        self.call("GET", target, token).send().await.unwrap()
    }
}

/// The variables of an ordinary gate.
pub fn variables(issuer: &Issuer, upstream: &Upstream) -> Variables {
    let control = issuer.published().control_key.jwk();
    Variables::from([
        ("ISSUER", issuer.url()),
        ("AUDIENCE", "api".to_owned()),
        ("ORIGIN_URL", issuer.url()),
        (
            "JWKS_URL",
            format!("{}/.well-known/jwks.json", issuer.url()),
        ),
        ("UPSTREAM_URL", upstream.server().url()),
        ("CONTROL_KEYS", format!("[{control}]")),
        ("REVOCATION_SOURCES", "kv,feed".to_owned()),
        ("POLICY", POLICY.to_owned()),
    ])
}
