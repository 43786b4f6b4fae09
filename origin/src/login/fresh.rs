//! Fresh authentication (RFC 9470): what changes a factor asks for more than a token.
//!
//! The last proof of who is calling must lie at most `mfa.fresh_seconds` back, and where the
//! account has a second factor, that proof must have been one: a session that was left open, or
//! was opened before the factor was added, changes nothing by the password alone. The token must
//! itself tell of the proof: one that was copied before it does not become better by it.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use edgekeep_shared::policy::AUTH_TIME_LEEWAY_SECONDS;

use super::factors;
use crate::abuse::Limit;
use crate::app::State;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::{SessionId, UserId};
use crate::request::Caller;
use crate::sessions;
use crate::tokens::Authenticated;

/// The caller of a request who proved a moment ago who they are, and has not changed too much lately.
/// Every route that changes a factor or an address takes it in the place of [`Authenticated`].
#[derive(Clone, Debug)]
pub struct FreshlyAuthenticated {
    /// `sub`
    pub user_id: UserId,
    /// `sid`
    pub session_id: SessionId,
    /// Where the request comes from.
    pub caller: Caller,
}

impl FromRequestParts<State> for FreshlyAuthenticated {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Error> {
        let Ok(from) = Caller::from_request_parts(parts, state).await;
        let caller = Authenticated::from_request_parts(parts, state).await?;
        let asked = Asked {
            max_age: state.config.mfa.fresh_seconds,
            second_factor: has_second(state, &caller).await?,
        };
        asked.check(state, &caller).await?;
        let limit = Limit::ChangesByUser;
        state.limiter.by_user(&from, limit, caller.user_id)?;
        Ok(Self {
            user_id: caller.user_id,
            session_id: caller.session_id,
            caller: from,
        })
    }
}

/// Whether the caller's account has a second factor.
///
/// # Errors
/// When the database fails.
pub(crate) async fn has_second(state: &State, caller: &Authenticated) -> Result<bool, Error> {
    let mut reader = state.db.read().await?;
    factors::any(&mut reader, caller.user_id).await
}

/// What a request asks of the last proof of who is calling.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// How old it may be, in seconds.
    pub(crate) max_age: u64,
    /// Whether it has to be a second factor.
    pub(crate) second_factor: bool,
}

impl Asked {
    /// Refuses a caller whose token tells of no such proof.
    ///
    /// # Errors
    /// [`Error::StepUpRequired`]; when the database fails.
    pub(crate) async fn check(self, state: &State, caller: &Authenticated) -> Result<(), Error> {
        let now = state.clock.now().unix_seconds();
        let is_fresh = |at: i64| {
            // As at the gate: a time that has not come yet proves nothing.
            at <= now.saturating_add(AUTH_TIME_LEEWAY_SECONDS)
                && u64::try_from(now.saturating_sub(at)).unwrap_or(0) <= self.max_age
        };
        let mut reader = state.db.read().await?;
        let second_at = sessions::second_factor_at(&mut reader, caller.session_id).await?;
        drop(reader);
        let proved_at = caller.token.claims().authenticated_at;
        let suffices = proved_at.is_some_and(|proved_at| {
            let knows =
                |at: Timestamp| is_fresh(at.unix_seconds()) && proved_at.0 >= at.unix_seconds();
            is_fresh(proved_at.0) && (!self.second_factor || second_at.is_some_and(knows))
        });
        if suffices {
            return Ok(());
        }
        Err(Error::StepUpRequired {
            max_age: self.max_age,
            second_factor: self.second_factor,
        })
    }

    /// Refuses a caller who must prove a second factor, where the account has one; without one, what
    /// the request itself brings is the proof.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub(crate) async fn second_where_there_is_one(
        state: &State,
        caller: &Authenticated,
    ) -> Result<(), Error> {
        if !has_second(state, caller).await? {
            return Ok(());
        }
        let asked = Self {
            max_age: state.config.mfa.fresh_seconds,
            second_factor: true,
        };
        asked.check(state, caller).await
    }
}
