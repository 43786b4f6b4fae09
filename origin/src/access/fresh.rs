//! Fresh authentication: what changes who can get into an account, or ends it, asks for more than
//! a token (OWASP ASVS 7.5.1, RFC 9470).

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use edgekeep_shared::error::Rejection;
use edgekeep_shared::policy::AUTH_TIME_LEEWAY_SECONDS;

use crate::app::State;
use crate::error::Error;
use crate::ids::{SessionId, UserId};
use crate::tokens::Authenticated;

/// How old the proof of who is calling may be, in seconds: long enough to fill in a form, too short
/// for a device that was left open.
const MAX_AGE: i64 = 300;

/// The caller of a request who proved within the last five minutes who they are.
#[derive(Clone, Debug)]
pub struct FreshlyAuthenticated {
    /// `sub`
    pub user_id: UserId,
    /// `sid`
    pub session_id: SessionId,
}

impl FromRequestParts<State> for FreshlyAuthenticated {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Error> {
        let caller = Authenticated::from_request_parts(parts, state).await?;
        let proved_at = caller.token.claims().authenticated_at.map(|at| at.0);
        if is_fresh(proved_at, state.clock.now().unix_seconds()) {
            Ok(Self {
                user_id: caller.user_id,
                session_id: caller.session_id,
            })
        } else {
            Err(Rejection::StepUpRequired.into())
        }
    }
}

/// Whether a proof at `proved_at` is fresh at `now`, both in seconds since 1970. As at the gate, a
/// time that has not come yet proves nothing.
fn is_fresh(proved_at: Option<i64>, now: i64) -> bool {
    proved_at.is_some_and(|at| {
        at <= now.saturating_add(AUTH_TIME_LEEWAY_SECONDS) && now.saturating_sub(at) <= MAX_AGE
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_fresh_for_five_minutes_and_not_before_it_was_made() {
        let now = 1_767_225_600;
        let ahead = AUTH_TIME_LEEWAY_SECONDS;
        for (proved_at, fresh) in [
            (Some(now), true),
            (Some(now - 300), true),
            (Some(now - 301), false),
            (Some(now + ahead), true),
            (Some(now + ahead + 1), false),
            (Some(i64::MIN), false),
            (Some(i64::MAX), false),
            (None, false),
        ] {
            assert_eq!(is_fresh(proved_at, now), fresh, "{proved_at:?}");
        }
    }
}
