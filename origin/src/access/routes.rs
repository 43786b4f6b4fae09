//! The HTTP of administration, under `/api/v1/admin`.

use utoipa_axum::router::OpenApiRouter;

use super::{keys, kyc, revocations, users};
use crate::app::State;

/// The routes.
pub fn admin() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .merge(users::routes())
        .merge(kyc::routes())
        .merge(keys::routes())
        .merge(revocations::routes())
}
