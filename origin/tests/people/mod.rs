//! People with accounts of their own making, and administrators, for tests of what they may do.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]
#![allow(dead_code, reason = "each test file uses a part of this")]

use axum::http::Method;
use edgekeep_origin::accounts::{self, Identifier, NewAccount};
use edgekeep_origin::ids::UserId;
use serde_json::{Value, json};

use crate::support::{Origin, Reply};

pub(crate) const PASSWORD: &str = "correct horse battery";

/// Somebody with an account, and the tokens of a session of theirs.
pub(crate) struct Person {
    pub(crate) id: UserId,
    pub(crate) email: String,
    pub(crate) access: String,
    pub(crate) refresh: String,
    pub(crate) session: String,
}

impl Person {
    fn new(email: &str, tokens: &Reply) -> Self {
        Self {
            id: tokens.body["user"]["id"].as_str().unwrap().parse().unwrap(),
            email: email.to_owned(),
            access: tokens.text("access_token").to_owned(),
            refresh: tokens.text("refresh_token").to_owned(),
            session: tokens.text("session_id").to_owned(),
        }
    }

    /// Somebody with a proved address, a password and these roles, just logged in.
    pub(crate) async fn with_roles(origin: &Origin, email: &str, roles: &[&str]) -> Self {
        let phc = origin
            .state
            .hasher
            .hash(&edgekeep_origin::vault::Secret::new(PASSWORD.to_owned()))
            .await
            .unwrap();
        let roles: Vec<String> = roles.iter().map(|&role| role.to_owned()).collect();
        let account = NewAccount {
            identifiers: &[(Identifier::email(email).unwrap(), true)],
            password: Some(&phc),
            roles: &roles,
            ..NewAccount::default()
        };
        let mut tx = origin.state.db.write().await.unwrap();
        accounts::create(&origin.state, &mut tx, &account)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        Self::log_in(origin, email).await
    }

    /// Somebody with a proved address and a password, just logged in.
    pub(crate) async fn new_user(origin: &Origin, email: &str) -> Self {
        Self::with_roles(origin, email, &[]).await
    }

    /// An administrator, just logged in.
    pub(crate) async fn new_admin(origin: &Origin, email: &str) -> Self {
        Self::with_roles(origin, email, &["admin"]).await
    }

    /// Another session of somebody.
    pub(crate) async fn log_in(origin: &Origin, email: &str) -> Self {
        let tokens = try_log_in(origin, email).await.expect(200, "");
        Self::new(email, &tokens)
    }

    /// A request of theirs to a route under `/api/v1/auth`.
    pub(crate) async fn ask(
        &self,
        origin: &Origin,
        method: Method,
        route: &str,
        body: Option<Value>,
    ) -> Reply {
        let path = format!("/api/v1/auth{route}");
        origin.call(method, &path, Some(&self.access), body).await
    }

    /// A request of theirs to a route under `/api/v1/admin`.
    pub(crate) async fn administer(
        &self,
        origin: &Origin,
        method: Method,
        route: &str,
        body: Option<Value>,
    ) -> Reply {
        let path = format!("/api/v1/admin{route}");
        origin.call(method, &path, Some(&self.access), body).await
    }

    /// What `validate-token` says of their access token.
    pub(crate) async fn judged(&self, origin: &Origin) -> Value {
        judged(origin, &self.access).await
    }

    /// The tokens of their session anew.
    pub(crate) async fn refreshed(&self, origin: &Origin) -> Self {
        let body = json!({"refresh_token": self.refresh});
        let tokens = origin.post("/refresh", body).await.expect(200, "");
        Self::new(&self.email, &tokens)
    }
}

/// What `validate-token` says of an access token.
pub(crate) async fn judged(origin: &Origin, token: &str) -> Value {
    let reply = origin
        .post("/validate-token", json!({ "token": token }))
        .await;
    assert_eq!(reply.status, 200);
    reply.body
}

/// A login with [`PASSWORD`].
pub(crate) async fn try_log_in(origin: &Origin, identifier: &str) -> Reply {
    let body = json!({"identifier": identifier, "password": PASSWORD});
    origin.post("/login", body).await
}

/// The events of a kind in the trail, oldest first, as an administrator sees them.
pub(crate) async fn events(origin: &Origin, admin: &Person, kind: &str) -> Vec<Value> {
    let route = format!("/audit?kind={kind}&limit=200");
    let reply = admin
        .administer(origin, Method::GET, &route, None)
        .await
        .expect(200, "");
    let mut events = reply.body["events"].as_array().unwrap().clone();
    events.reverse();
    events
}
