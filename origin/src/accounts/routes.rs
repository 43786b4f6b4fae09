//! The HTTP of accounts.

use axum::Extension;
use axum::extract::State as Shared;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::registration::{self, SentTo, Wanted};
use super::status::By;
use super::{Identifier, Profile, User, contacts, kyc, leaving, profile, username};
use crate::abuse::{Limit, Subject, captcha};
use crate::app::State;
use crate::browser::{self, InBrowser};
use crate::config::CaptchaFor;
use crate::error::Error;
use crate::events::{self, Change};
use crate::login::strength::{self, Person};
use crate::login::{LoggedIn, links};
use crate::request::{Caller, Json};
use crate::tokens::Authenticated;
use crate::vault::Secret;

/// The routes under `/api/v1/auth`.
pub fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(register))
        .routes(routes!(verify))
        .routes(routes!(show_profile, update_profile))
        .merge(kyc::routes::routes())
        .merge(contacts::routes::routes())
        .merge(leaving::routes())
        .merge(username::routes())
}

/// At least an e-mail address, a telephone number or a user name, and a password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Register {
    email: Option<String>,
    phone_number: Option<String>,
    /// The country of a national number, for instance `+41` or `CH`.
    country_code: Option<String>,
    /// 3 to 32 letters, digits, dots, underscores or hyphens, a letter first.
    username: Option<String>,
    /// 8 to 1024 bytes, and none that is common, easy to guess or made of the person's names.
    #[schema(value_type = String, format = Password)]
    password: Secret,
    name: Option<String>,
    captcha: Option<captcha::Answer>,
}

/// The token that the code of a registration is bound to. In a header, because bodies are the same to
/// the byte whether or not the address is taken.
const REGISTRATION_TOKEN: HeaderName = HeaderName::from_static("x-registration-token");

/// What registering answers, whoever asks.
#[derive(Serialize, ToSchema)]
struct Registered {
    /// `verification_required`; for a user name alone, which needs none, `accepted`.
    status: &'static str,
    /// Seconds for which the code in the message is good; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in: Option<u64>,
    /// Of the addresses in the request the one that the code goes to: `email` or `phone_number`;
    /// absent where there is no code. Another beside it is no part of the account.
    #[serde(skip_serializing_if = "Option::is_none")]
    sent_to: Option<&'static str>,
}

#[utoipa::path(
    post, path = "/register", tag = "accounts",
    summary = "Register",
    description = "The same answer whether or not the address is taken. A code is sent to it. Of a mail \
                   address and a number beside it the account begins with the mail address: the \
                   number is added by `POST /contacts`, which proves it. A user name alone has an \
                   account at once, unless somebody has it.",
    request_body = Register,
    responses(
        (status = 202, description = "A code was sent, if the address is free.", body = Registered,
         headers(("X-Registration-Token" = Option<String>,
                  description = "`eko_…`, for `POST /register/verify`; absent where there is no code"))),
        (status = 400, description = "`request_invalid`, `captcha_invalid`"),
        (status = 403, description = "`captcha_required`"),
        (status = 429, description = "`rate_limited`"),
    ),
)]
/// `POST /register`: 202 with the same body whether or not the address is taken.
async fn register(
    Shared(state): Shared<State>,
    caller: Caller,
    Json(body): Json<Register>,
) -> Result<Response, Error> {
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
        name: profile::checked_name("name", body.name)?,
    };
    let named = [&wanted.email, &wanted.phone, &wanted.username];
    if let Some(identifier) = named.into_iter().flatten().next() {
        let answer = body.captcha.as_ref();
        captcha::admit(&state, &caller, CaptchaFor::Register, identifier, answer).await?;
    }
    // Before anything is looked up: the answer and its time tell nothing about who has an account.
    let person = Person {
        email: wanted.email.as_ref().map(Identifier::spelling),
        phone_number: wanted.phone.as_ref().map(Identifier::spelling),
        username: wanted.username.as_ref().map(Identifier::spelling),
        name: wanted.name.as_deref(),
    };
    strength::screen(&state, &wanted.password, person)?;
    // An estimate takes the pool of hashes as long as a login does: whoever may no longer cause a
    // message may not cause that either. What is refused without one is not counted.
    state.limiter.by_address(&caller, Limit::SendsByAddress)?;
    strength::judge(&state, &wanted.password, person).await?;
    let sent_to = match &wanted.email {
        Some(_) => "email",
        None => "phone_number",
    };
    let Some(token) = registration::begin(&state, &caller, wanted).await? else {
        let answer = Registered {
            status: "accepted",
            expires_in: None,
            sent_to: None,
        };
        return Ok((StatusCode::ACCEPTED, Json(answer)).into_response());
    };
    let answer = Registered {
        status: "verification_required",
        expires_in: Some(state.config.otp.ttl_seconds),
        sent_to: Some(sent_to),
    };
    let token = HeaderValue::from_str(token.expose()).map_err(|_| Error::internal("token"))?;
    let headers = [(REGISTRATION_TOKEN, token)];
    Ok((StatusCode::ACCEPTED, headers, Json(answer)).into_response())
}

/// The code that was sent, with the token of the registration, the address, or both; or the token of
/// the link in the same mail.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = VerifyRegistration)]
struct Verify {
    email: Option<String>,
    phone_number: Option<String>,
    country_code: Option<String>,
    /// What `POST /register` has answered in `X-Registration-Token`. With the address alone a code can be guessed by anybody
    /// who knows that, and be used up by it.
    #[schema(value_type = Option<String>, max_length = 64)]
    registration_token: Option<Secret>,
    /// Six digits.
    #[schema(value_type = Option<String>)]
    code: Option<Secret>,
    /// What the link's page was given, in the place of address and code.
    #[schema(value_type = Option<String>, max_length = 64)]
    token: Option<Secret>,
    /// With `token`: the account's password; without it the account begins without one. Beside a
    /// code it is not asked for.
    #[schema(value_type = Option<String>, format = Password)]
    password: Option<Secret>,
    /// A name for the device, which its session then carries.
    #[schema(max_length = 128)]
    device_id: Option<String>,
    /// What an earlier login on this device has answered: it is then no other device. One that is
    /// unknown, foreign or expired is as if absent. Left out in browser mode: a cookie holds it.
    #[schema(value_type = Option<String>)]
    device_token: Option<Secret>,
}

/// Longest token of a registration, in bytes; they have 47.
const MAX_TOKEN: usize = 64;

/// What shows that somebody reads what is sent to the address.
enum Shown {
    Code(SentTo, Secret),
    Link(Secret, Option<Secret>),
}

impl Verify {
    fn shown(self) -> Result<Shown, Error> {
        let names = self.email.is_some() || self.phone_number.is_some();
        match (self.code, self.token, self.password) {
            (Some(code), None, None) => {
                let country = self.country_code.as_deref();
                let address = || address(self.email, self.phone_number, country);
                let sent_to = match self.registration_token {
                    Some(token) => {
                        if !(1..=MAX_TOKEN).contains(&token.expose().len()) {
                            let text = "registration_token: expected 1 to 64 bytes.";
                            return Err(Error::invalid(text));
                        }
                        let is_named = names || country.is_some();
                        SentTo::Token(token, if is_named { Some(address()?) } else { None })
                    }
                    None => SentTo::Address(address()?),
                };
                Ok(Shown::Code(sent_to, code))
            }
            (None, Some(token), password)
                if !names && self.country_code.is_none() && self.registration_token.is_none() =>
            {
                links::checked_token(&token)?;
                Ok(Shown::Link(token, password))
            }
            _ => Err(Error::invalid(
                "Expected code with registration_token, email or phone_number, or token and password.",
            )),
        }
    }
}

#[utoipa::path(
    post, path = "/register/verify", tag = "accounts", operation_id = "verify_registration",
    summary = "Prove the address and log in",
    description = "By the code or by the link of a message, of which one is good once. What was set \
                   before the first proof of an address, by whoever, is removed.",
    request_body = Verify,
    responses(
        (status = 200, description = "Logged in, or a second factor is asked for.", body = LoggedIn),
        (status = 400, description = "`request_invalid`, `code_invalid`, `code_expired`"),
        (status = 403, description = "`mfa_required`: the only second factor would prove the same"),
        (status = 429, description = "`rate_limited`"),
    ),
)]
/// `POST /register/verify`: the code or the link proves the address and logs its owner in.
async fn verify(
    Shared(state): Shared<State>,
    caller: Caller,
    browser: Option<Extension<InBrowser>>,
    Json(mut body): Json<Verify>,
) -> Result<LoggedIn, Error> {
    let device = registration::Device {
        id: crate::request::checked_device_id(body.device_id.take())?,
        token: browser::device_token(body.device_token.take(), browser)?,
    };
    let shown = body.shown()?;
    let attempt = state
        .limiter
        .attempt(&caller, Limit::CodeFailuresByAddress)
        .await?;
    let outcome = match shown {
        Shown::Code(sent_to, code) => {
            registration::finish(&state, &caller, &sent_to, &code, device).await
        }
        Shown::Link(token, password) => {
            let password = password.as_ref();
            registration::finish_by_link(&state, &caller, &token, password, device).await
        }
    };
    attempt.settle(&outcome);
    captcha::note(&state, &caller, &outcome);
    outcome
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

#[utoipa::path(
    get, path = "/profile", tag = "accounts", operation_id = "profile",
    security(("bearer" = [])),
    summary = "The caller's account",
    responses((status = 200, description = "The account.", body = User)),
)]
/// `GET /profile`
async fn show_profile(
    Shared(state): Shared<State>,
    caller: Authenticated,
) -> Result<Json<User>, Error> {
    let mut reader = state.db.read().await?;
    super::load(&state, &mut reader, caller.user_id)
        .await?
        .map(Json)
        .ok_or(Error::NotFound)
}

/// What a person may change of themselves: addresses change only by proof, roles never. What is left
/// out or null is not said any more.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UpdateProfile {
    /// The full name, or the one by which they want to be called; at most 200 characters.
    name: Option<String>,
    /// At most 200 characters.
    given_name: Option<String>,
    /// At most 200 characters.
    family_name: Option<String>,
    /// What others see; at most 200 characters.
    display_name: Option<String>,
    /// A language tag such as `de-CH` (RFC 5646).
    #[schema(max_length = 35)]
    locale: Option<String>,
    /// A time zone such as `Europe/Zurich`, by its name in the IANA database.
    #[schema(max_length = 64)]
    time_zone: Option<String>,
    /// Where a picture is: an https URL of at most 2048 bytes.
    picture: Option<String>,
}

#[utoipa::path(
    put, path = "/profile", tag = "accounts", security(("bearer" = [])),
    summary = "Change the caller's profile",
    description = "Addresses change only by proof, roles never.",
    request_body = UpdateProfile,
    responses(
        (status = 200, description = "The account as it now is.", body = User),
        (status = 429, description = "`rate_limited`"),
    ),
)]
/// `PUT /profile`
async fn update_profile(
    Shared(state): Shared<State>,
    session: Authenticated,
    caller: Caller,
    Json(body): Json<UpdateProfile>,
) -> Result<Json<User>, Error> {
    let profile = Profile {
        name: body.name,
        given_name: body.given_name,
        family_name: body.family_name,
        display_name: body.display_name,
        locale: body.locale,
        time_zone: body.time_zone,
        picture: body.picture,
    };
    let profile = profile.checked()?;
    let id = session.user_id;
    // Apart from changes that need a proof, for which a copied token is not enough.
    let subject = Subject::factor(&state.vault, id, "profile")?;
    let limit = Limit::ChangesByUser;
    state.limiter.by_subject(&caller, limit, &subject)?;
    let mut tx = state.db.write().await?;
    let changed = super::set_profile(&state, &mut tx, id, &profile).await?;
    if !changed.is_empty() {
        // Which fields, and not their values: the trail is no second copy of personal data.
        let event = By::user(id, &caller)
            .event(events::Kind::Profile, id)
            .changing(Change::new(Value::Null, changed));
        events::record(&state, &mut tx, &event).await?;
    }
    let user = super::load(&state, &mut tx, id)
        .await?
        .ok_or(Error::NotFound)?;
    tx.commit().await?;
    Ok(Json(user))
}
