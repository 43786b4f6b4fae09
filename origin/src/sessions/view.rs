//! A session as its owner sees it.

use std::net::IpAddr;

use serde::Serialize;
use utoipa::ToSchema;

use super::Details;
use super::device::{self, DeviceType};
use super::store::SessionRow;
use crate::app::State;
use crate::error::Error;
use crate::ids::SessionId;

/// A session as its owner sees it; instants are seconds since 1970.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Session)]
pub(crate) struct View {
    #[schema(value_type = String, format = "uuid")]
    id: SessionId,
    /// Whether it is the session of the token that asks.
    current: bool,
    client_id: String,
    /// The device, as its client named it.
    #[serde(skip_serializing_if = "Option::is_none")]
    device_id: Option<String>,
    #[schema(inline)]
    device_type: DeviceType,
    /// Program and system, as the user agent has them: `Firefox on Windows`.
    #[serde(skip_serializing_if = "Option::is_none")]
    device_name: Option<String>,
    /// The version of the client application, as it said.
    #[serde(skip_serializing_if = "Option::is_none")]
    app_version: Option<String>,
    /// Where the login came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    address: Option<IpAddr>,
    /// The network of that address, a /16 or of IPv6 a /32: how coarsely a place is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<String>,
    /// The country of the last login or refresh, two letters, where a proxy tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    country: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<String>,
    /// How its owner proved who they are (RFC 8176).
    amr: Vec<String>,
    authenticated_at: i64,
    created_at: i64,
    /// The last login or refresh.
    last_used_at: i64,
    expires_at: i64,
    absolute_expires_at: i64,
    /// When it ended or ran out.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<i64>,
    /// Why: `logout`, `user`, `limit`, `reuse`, `expired`, `operator`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_reason: Option<String>,
}

impl View {
    pub(super) fn new(
        state: &State,
        session: &SessionRow,
        current: Option<SessionId>,
    ) -> Result<Self, Error> {
        let details = Details::of(state, session)?;
        let device = device::of(details.user_agent.as_deref());
        // The idle limit never lies behind the absolute one.
        let ran_out = session.ended_at.is_none() && !session.is_live(state.clock.now());
        let ended_at = session
            .ended_at
            .or_else(|| ran_out.then_some(session.idle_expires_at));
        Ok(Self {
            id: session.id,
            current: Some(session.id) == current,
            client_id: session.client_id.clone(),
            device_id: details.device_id,
            device_type: device.kind,
            device_name: device.name,
            app_version: details.app_version,
            address: details.address,
            network: details.address.map(device::network),
            country: details
                .seen
                .as_ref()
                .and_then(|seen| seen.place.country())
                .map(str::to_owned),
            user_agent: details.user_agent,
            amr: serde_json::from_str(&session.amr)
                .map_err(|_| Error::internal("amr of a session"))?,
            authenticated_at: session.auth_time.unix_seconds(),
            created_at: session.created_at.unix_seconds(),
            last_used_at: session.last_used_at.unix_seconds(),
            expires_at: session.idle_expires_at.unix_seconds(),
            absolute_expires_at: session.absolute_expires_at.unix_seconds(),
            ended_at: ended_at.map(crate::clock::Timestamp::unix_seconds),
            ended_reason: session
                .ended_reason
                .clone()
                .or_else(|| ran_out.then(|| "expired".to_owned())),
        })
    }
}
