//! Sessions: what a login opens and a logout ends.

use std::net::IpAddr;

use serde::Serialize;
use sqlx::AnyConnection;

use crate::accounts::User;
use crate::app::State;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::{SessionId, UserId};
use crate::request::Caller;

/// A login that succeeded, and what is to be remembered of it.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// Who logged in.
    pub user_id: UserId,
    /// The client that they used.
    pub client_id: String,
    /// The device, as the client names it.
    pub device_id: Option<String>,
    /// The address that the login came from.
    pub address: Option<IpAddr>,
    /// The client's `User-Agent`.
    pub user_agent: Option<String>,
    /// How they proved who they are (RFC 8176: `pwd`, `otp`, …).
    pub amr: Vec<&'static str>,
    /// When they did.
    pub auth_time: Timestamp,
}

impl NewSession {
    /// A session of the first-party client, begun now by `caller`.
    pub fn first_party(
        state: &State,
        user_id: UserId,
        caller: &Caller,
        device_id: Option<String>,
        amr: &[&'static str],
    ) -> Self {
        Self {
            user_id,
            client_id: state.config.tokens.client_id.clone(),
            device_id,
            address: caller.address,
            user_agent: caller.user_agent.clone(),
            amr: amr.to_vec(),
            auth_time: state.clock.now(),
        }
    }
}

/// What a successful login or refresh answers.
#[derive(Debug, Serialize)]
pub struct Tokens {
    /// The access token (RFC 9068).
    pub access_token: String,
    /// The refresh token, `ekr_…`.
    pub refresh_token: String,
    /// Always `Bearer`.
    pub token_type: &'static str,
    /// Seconds until the access token expires.
    pub expires_in: u64,
    /// Seconds until the refresh token expires unless it is used.
    pub refresh_expires_in: u64,
    /// The session: `sid` of its tokens.
    pub session_id: SessionId,
    /// Whose session it is.
    pub user: User,
}

/// Which sessions of a user are ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All of them.
    All,
    /// All but this one.
    AllBut(SessionId),
}

/// Opens a session within the caller's transaction; its tokens are good once that is committed.
///
/// # Errors
/// When the user is not there or not active, or the database fails.
pub async fn open(
    _state: &State,
    _connection: &mut AnyConnection,
    _new: NewSession,
) -> Result<Tokens, Error> {
    Err(Error::Unavailable("sessions are not there yet"))
}

/// Ends a user's sessions within the caller's transaction and writes what the gates are told.
///
/// # Errors
/// When the database fails.
pub async fn end_all(
    _state: &State,
    _connection: &mut AnyConnection,
    _user_id: UserId,
    _ending: Ending,
) -> Result<(), Error> {
    Ok(())
}
