//! A service that verifies access tokens itself, as `docs/rust-services.md` shows it.

use std::env;
use std::error::Error;

use axum::routing::{get, post};
use axum::{Json, Router};
use edgekeep_tower::{Options, Requirement, VerifiedToken, Verifier};
use serde_json::{Value, json};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::new(env::var("ISSUER")?, "api")
        // `edgekeep keys control` prints them.
        .control_keys(env::var("CONTROL_KEYS")?);
    let verifier = Verifier::new(options)?;

    // Who writes was let to, and has logged in within the last hour.
    let writers = Requirement::new().scopes(["report:write"]).max_age(3_600);
    let app = Router::new()
        .route("/", get(welcome).layer(verifier.layer().optional()))
        .route("/me", get(me).layer(verifier.layer()))
        .route(
            "/reports",
            post(write).layer(verifier.layer().require(writers)?),
        );

    let listener = TcpListener::bind(env::var("LISTEN")?).await?;
    axum::serve(listener, app).await?;
    Ok(())
}

/// Open to everybody; greets whoever is logged in.
async fn welcome(token: Option<VerifiedToken>) -> String {
    match token {
        Some(token) => format!("Welcome back, {}.", token.claims().subject),
        None => "Welcome.".to_owned(),
    }
}

/// Needs a token that counts.
async fn me(token: VerifiedToken) -> Json<Value> {
    let claims = token.claims();
    Json(json!({ "user": claims.subject, "roles": claims.roles }))
}

/// Needs the scope and the fresh login, too.
async fn write(token: VerifiedToken) -> String {
    format!("A report by {}.", token.claims().subject)
}
