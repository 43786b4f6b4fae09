//! Logging in: what proves who someone is.

use axum::Router;

use crate::app::State;

pub mod codes;
pub mod hasher;
pub mod messages;
mod otp;
mod password;
mod reset;
mod routes;

/// The routes under `/api/v1/auth`.
pub fn routes() -> Router<State> {
    routes::routes()
}
