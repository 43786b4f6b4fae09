//! Logging in: what proves who someone is.

use sqlx::AnyConnection;
use utoipa_axum::router::OpenApiRouter;

use crate::app::State;
use crate::error::Error;

pub mod codes;
pub mod hasher;
pub mod messages;
mod otp;
mod password;
pub(crate) mod reset;
mod routes;
pub mod strength;
pub mod tuning;

/// The routes under `/api/v1/auth`.
pub fn routes() -> OpenApiRouter<State> {
    routes::routes()
}

/// Voids every code and link that waits.
///
/// # Errors
/// When the database fails.
pub(crate) async fn forget_pending(connection: &mut AnyConnection) -> Result<(), Error> {
    codes::withdraw_all(connection).await?;
    reset::withdraw_all(connection).await
}
