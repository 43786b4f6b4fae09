//! Logging in: what proves who someone is.

use utoipa_axum::router::OpenApiRouter;

use crate::app::State;

pub mod codes;
pub mod hasher;
pub mod messages;
mod otp;
mod password;
pub(crate) mod reset;
mod routes;

/// The routes under `/api/v1/auth`.
pub fn routes() -> OpenApiRouter<State> {
    routes::routes()
}
