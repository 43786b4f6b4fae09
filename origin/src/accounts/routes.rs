//! The HTTP of accounts.

use axum::Router;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::json;

use super::registration::{self, Wanted};
use super::{Identifier, User};
use crate::abuse;
use crate::app::State;
use crate::error::Error;
use crate::login::hasher;
use crate::request::{Caller, Json};
use crate::sessions::Tokens;
use crate::tokens::Authenticated;
use crate::vault::Secret;

/// The routes under `/api/v1/auth`.
pub fn routes() -> Router<State> {
    Router::new()
        .route("/register", post(register))
        .route("/register/verify", post(verify))
        .route("/profile", get(profile).put(update_profile))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Register {
    email: Option<String>,
    phone_number: Option<String>,
    country_code: Option<String>,
    username: Option<String>,
    password: Secret,
    name: Option<String>,
    #[serde(rename = "captcha")]
    _captcha: Option<serde_json::Value>,
}

/// `POST /register`: 202 with the same body whether or not the address is taken.
async fn register(
    Shared(state): Shared<State>,
    caller: Caller,
    Json(body): Json<Register>,
) -> Result<Response, Error> {
    state.per_ip.count(&state, &caller, abuse::Kind::Send)?;
    hasher::check_length(&body.password)?;
    let country = body.country_code.as_deref();
    let wanted = Wanted {
        email: body.email.as_deref().map(Identifier::email).transpose()?,
        phone: body
            .phone_number
            .as_deref()
            .map(|number| Identifier::phone(number, country))
            .transpose()?,
        username: body
            .username
            .as_deref()
            .map(Identifier::username)
            .transpose()?,
        password: body.password,
        name: super::checked_name(body.name)?,
    };
    registration::begin(&state, wanted).await?;
    let answer = json!({
        "status": "verification_required",
        "expires_in": state.config.otp.ttl_seconds,
    });
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Verify {
    email: Option<String>,
    phone_number: Option<String>,
    country_code: Option<String>,
    code: Secret,
    device_id: Option<String>,
}

/// `POST /register/verify`: the code proves the address and logs its owner in.
async fn verify(
    Shared(state): Shared<State>,
    caller: Caller,
    Json(body): Json<Verify>,
) -> Result<Json<Tokens>, Error> {
    state.per_ip.count(&state, &caller, abuse::Kind::Attempt)?;
    let address = address(body.email, body.phone_number, body.country_code.as_deref())?;
    let device_id = crate::request::checked_device_id(body.device_id)?;
    registration::finish(&state, &caller, &address, &body.code, device_id)
        .await
        .map(Json)
}

/// The one address of a request that names a mail address or a number.
pub(crate) fn address(
    email: Option<String>,
    phone_number: Option<String>,
    country_code: Option<&str>,
) -> Result<Identifier, Error> {
    match (email, phone_number) {
        (Some(email), None) => Identifier::email(&email),
        (None, Some(number)) => Identifier::phone(&number, country_code),
        _ => Err(Error::invalid("Expected either email or phone_number.")),
    }
}

/// `GET /profile`
async fn profile(Shared(state): Shared<State>, caller: Authenticated) -> Result<Json<User>, Error> {
    let mut reader = state.db.read().await?;
    super::load(&state, &mut reader, caller.user_id)
        .await?
        .map(Json)
        .ok_or(Error::NotFound)
}

/// What a person may change of themselves: addresses change only by proof, roles never.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateProfile {
    name: Option<String>,
}

/// `PUT /profile`
async fn update_profile(
    Shared(state): Shared<State>,
    caller: Authenticated,
    Json(body): Json<UpdateProfile>,
) -> Result<Json<User>, Error> {
    let name = super::checked_name(body.name)?;
    let mut tx = state.db.write().await?;
    super::set_name(&state, &mut tx, caller.user_id, name).await?;
    let user = super::load(&state, &mut tx, caller.user_id)
        .await?
        .ok_or(Error::NotFound)?;
    tx.commit().await?;
    Ok(Json(user))
}
