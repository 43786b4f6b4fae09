//! Logging in: what proves who someone is.

use sqlx::AnyConnection;
use utoipa_axum::router::OpenApiRouter;

use crate::abuse::Subject;
use crate::app::State;
use crate::error::Error;
use crate::events::{self, Event};
use crate::vault::Secret;

pub mod codes;
pub mod conclude;
pub(crate) mod factors;
mod fresh;
pub mod hasher;
pub mod links;
pub mod messages;
mod otp;
pub(crate) mod passkeys;
mod password;
mod reauthentication;
pub(crate) mod reset;
mod routes;
mod second;
pub mod strength;
pub mod tuning;
mod turns;

pub use conclude::{Counted, FirstFactor, LoggedIn, conclude};
pub(crate) use factors::reset_factors;
pub use fresh::FreshlyAuthenticated;
pub(crate) use fresh::{Asked, has_second};
pub(crate) use second::withdraw as withdraw_waiting;

/// Longest code of a second factor as it is typed, in bytes: a recovery code with spaces has 29.
const MAX_CODE: usize = 64;

/// Refuses codes that are nobody's, before anything is counted.
fn checked_code(code: &Secret) -> Result<(), Error> {
    if (1..=MAX_CODE).contains(&code.expose().len()) {
        Ok(())
    } else {
        Err(Error::invalid("code: expected 1 to 64 bytes."))
    }
}

/// Records a proof that was refused whatever it was, by a lock or because it came too soon or too often:
/// the first few of `subject` in a while, since they can be caused without end. Nobody's are counted
/// alike.
///
/// No transaction of the caller's may be open.
async fn note_held_up<T>(
    state: &State,
    outcome: &Result<T, Error>,
    subject: &Subject,
    event: Event<'_>,
) -> Result<(), Error> {
    match outcome {
        Err(refusal @ (Error::AccountLocked(_) | Error::RateLimited(_)))
            if state.limiter.is_worth_noting(subject) =>
        {
            events::refused(state, &event.because(refusal.code().0)).await
        }
        _ => Ok(()),
    }
}

/// The routes under `/api/v1/auth`.
pub fn routes() -> OpenApiRouter<State> {
    routes::routes()
        .merge(second::routes::routes())
        .merge(factors::routes::routes())
        .merge(passkeys::routes::routes())
        .merge(reauthentication::routes())
}

/// Voids every code and link that waits.
///
/// # Errors
/// When the database fails.
pub(crate) async fn forget_pending(connection: &mut AnyConnection) -> Result<(), Error> {
    codes::withdraw_all(connection).await?;
    second::withdraw_all(connection).await?;
    factors::withdraw_all(connection).await?;
    passkeys::withdraw_all(connection).await?;
    reset::withdraw_all(connection).await
}
