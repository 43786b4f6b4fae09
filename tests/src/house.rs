//! The whole house: a real origin, a real gate that trusts it, and an upstream that records.

use std::time::Duration;

use crate::clock::eventually;
use crate::edge::{Edge, Variables};
use crate::gate::{POLICY, Upstream};
use crate::http::{Answer, Call};
use crate::origin::Origin;

/// What gates ask about tokens with.
pub const INTROSPECTION_TOKEN: &str = "introspection-token-of-the-tests";

/// Within this time after the answer to a revocation, every gate must refuse.
pub const REVOCATION_LIMIT: Duration = Duration::from_secs(5);

/// Origin, gate and upstream.
pub struct House {
    /// The issuer.
    pub origin: Origin,
    /// The gate.
    pub edge: Edge,
    /// The API behind it.
    pub upstream: Upstream,
    variables: Variables,
}

impl House {
    /// Starts all three.
    ///
    /// # Panics
    /// When something does not start.
    pub async fn start() -> Self {
        Self::with(&[], |_| {}).await
    }

    /// Starts all three with more settings of the origin, and with changed variables of the gate.
    ///
    /// # Panics
    /// When something does not start.
    pub async fn with(settings: &[(&str, &str)], change: impl FnOnce(&mut Variables)) -> Self {
        let mut all = vec![("EDGEKEEP_GATE__INTROSPECTION_TOKEN", INTROSPECTION_TOKEN)];
        all.extend_from_slice(settings);
        let origin = Origin::with(&all).await;
        let upstream = Upstream::start().await;
        let mut variables = variables(&origin, &upstream);
        change(&mut variables);
        let edge = Edge::start(&variables, origin.kv());
        Self {
            origin,
            edge,
            upstream,
            variables,
        }
    }

    /// The variables of the gate, for another beside it.
    pub fn edge_variables(&self) -> Variables {
        self.variables.clone()
    }

    /// A request through the gate with a token.
    pub fn call(&self, method: &str, target: &str, token: &str) -> Call {
        self.edge.call(method, target).bearer(token)
    }

    /// The answer to a GET through the gate.
    ///
    /// # Panics
    /// When the gate does not answer.
    pub async fn get(&self, target: &str, token: &str) -> Answer {
        self.call("GET", target, token).send().await.unwrap()
    }

    /// Waits until the gate refuses `token` as revoked, and gives how long that took.
    ///
    /// # Panics
    /// As [`refused_as`](Self::refused_as).
    pub async fn refused(&self, token: &str) -> Duration {
        self.refused_as(token, &["token_revoked"]).await
    }

    /// Waits until the gate refuses `token`, which it must within [`REVOCATION_LIMIT`], and
    /// gives how long that took.
    ///
    /// # Panics
    /// When it does not, or with a code that is not among `codes`.
    pub async fn refused_as(&self, token: &str, codes: &[&str]) -> Duration {
        let refused = eventually(REVOCATION_LIMIT, || async {
            let answer = self.get("/api/me", token).await;
            (answer.status != 200).then_some(answer)
        });
        let (answer, took) = refused.await.expect("the gate goes on accepting the token");
        assert_eq!(answer.status, 401, "{}", answer.text());
        assert!(codes.contains(&answer.code().as_str()), "{}", answer.text());
        took
    }
}

/// The variables of a gate between `origin` and `upstream`.
///
/// # Panics
/// When the control key is not to be had.
pub fn variables(origin: &Origin, upstream: &Upstream) -> Variables {
    Variables::from([
        ("ISSUER", origin.url()),
        ("AUDIENCE", "api".to_owned()),
        ("ORIGIN_URL", origin.url()),
        (
            "JWKS_URL",
            format!("{}/.well-known/jwks.json", origin.url()),
        ),
        ("UPSTREAM_URL", upstream.server().url()),
        ("CONTROL_KEYS", origin.must_run(&["keys", "control"])),
        ("REVOCATION_SOURCES", "kv,feed".to_owned()),
        ("ORIGIN_TOKEN", INTROSPECTION_TOKEN.to_owned()),
        ("POLICY", POLICY.to_owned()),
    ])
}
