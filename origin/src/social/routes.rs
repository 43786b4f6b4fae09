//! The HTTP of other identity providers, under `/api/v1/auth`.

use std::time::Duration;

use axum::Extension;
use axum::extract::{Path, RawQuery, State as Shared};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Failure;
use super::flow::{self, Answer, Begun, CODE_LIFE, LIFE, Landing, Wish};
use super::identities::{self, View};
use super::store::Owner;
use crate::abuse::Limit;
use crate::app::State;
use crate::browser::{self, InBrowser};
use crate::error::Error;
use crate::ids::{IdentityId, SessionId, UserId};
use crate::login::{FreshlyAuthenticated, LoggedIn};
use crate::request::{Caller, Json, OptionalJson, checked_device_id};
use crate::tokens::Authenticated;
use crate::vault::Secret;

/// The routes.
pub fn auth() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(providers))
        .routes(routes!(start))
        .routes(routes!(callback))
        .routes(routes!(exchange))
        .routes(routes!(link_start))
        .routes(routes!(link))
        .routes(routes!(list))
        .routes(routes!(remove))
}

/// A provider, for a button.
#[derive(Serialize, ToSchema)]
struct ProviderName {
    /// The name in the routes.
    name: String,
    /// What the button says.
    display_name: String,
}

/// The providers that are configured.
#[derive(Serialize, ToSchema)]
struct Providers {
    providers: Vec<ProviderName>,
}

#[utoipa::path(
    get, path = "/social/providers", tag = "login",
    summary = "The identity providers to log in at",
    responses((status = 200, description = "By name.", body = Providers)),
)]
/// `GET /social/providers`
async fn providers(Shared(state): Shared<State>) -> Json<Providers> {
    let all = state.social.providers.values();
    Json(Providers {
        providers: all
            .map(|provider| ProviderName {
                name: provider.name.clone(),
                display_name: provider.display_name().to_owned(),
            })
            .collect(),
    })
}

/// What binds a login to whoever began it.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Binding {
    /// A cookie of this server: for browsers.
    #[default]
    Cookie,
    /// A token in the answer: for applications that open the system's browser.
    Token,
}

/// How to come back.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SocialStart {
    /// Where the browser goes on to, to the letter: one of `social.return_urls`, with `binding:
    /// "token"` one of `social.app_return_urls`. Left out: the code is the callback's answer.
    #[schema(max_length = 2048)]
    return_url: Option<String>,
    /// A name for the device, which its session then carries.
    #[schema(max_length = 128)]
    device_id: Option<String>,
    #[serde(default)]
    binding: Binding,
    /// The person is to prove again who they are, even if they are logged in at the provider.
    #[serde(default)]
    reauthenticate: bool,
}

impl SocialStart {
    fn wish(self) -> Result<Wish, Error> {
        Ok(Wish {
            return_url: self.return_url,
            device_id: checked_device_id(self.device_id)?,
            by_token: self.binding == Binding::Token,
            again: self.reauthenticate,
        })
    }
}

/// Where to send the browser.
#[derive(Serialize, ToSchema)]
struct SocialStarted {
    authorization_url: String,
    /// Seconds for which it is good.
    expires_in: u64,
    /// For the exchange; only with `binding: "token"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    flow_token: Option<String>,
}

fn started(state: &State, begun: &Begun, by_token: bool) -> Result<Response, Error> {
    let binding = begun.binding.expose();
    let mut response = Json(SocialStarted {
        authorization_url: begun.authorization_url.to_string(),
        expires_in: LIFE.as_secs(),
        flow_token: by_token.then(|| binding.to_owned()),
    })
    .into_response();
    if !by_token {
        set_cookie(state, &mut response, &begun.tag, binding, LIFE)?;
    }
    Ok(response)
}

/// Sets a flow's cookie; with no life it is removed.
fn set_cookie(
    state: &State,
    response: &mut Response,
    tag: &str,
    value: &str,
    life: Duration,
) -> Result<(), Error> {
    let name = flow::cookie_name(state, tag);
    let secure = if flow::is_secure(state) {
        "; Secure"
    } else {
        ""
    };
    let age = life.as_secs();
    let text = format!("{name}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax{secure}");
    let value = HeaderValue::from_str(&text).map_err(|_| Error::internal("cookie"))?;
    response.headers_mut().append(header::SET_COOKIE, value);
    Ok(())
}

#[utoipa::path(
    post, path = "/social/{provider}/start", tag = "login",
    summary = "Begin to log in at an identity provider",
    description = "Sets a cookie that must come along to the callback and the exchange, or answers \
                   a `flow_token` for the exchange.",
    params(("provider" = String, Path, description = "A name of `GET /social/providers`")),
    request_body = SocialStart,
    responses(
        (status = 200, description = "Send the browser there.", body = SocialStarted),
        (status = 404, description = "`not_found`: no such provider"),
        (status = 429, description = "`rate_limited`"),
    ),
)]
/// `POST /social/{provider}/start`
async fn start(
    Shared(state): Shared<State>,
    caller: Caller,
    Path(name): Path<String>,
    Json(body): Json<SocialStart>,
) -> Result<Response, Error> {
    state.limiter.by_address(&caller, Limit::SocialByAddress)?;
    let provider = state.social.provider(&name)?;
    let wish = body.wish()?;
    let by_token = wish.by_token;
    let begun = flow::begin(&state, provider, None, wish).await?;
    started(&state, &begun, by_token)
}

/// The code that the application exchanges.
#[derive(Serialize, ToSchema)]
struct SocialCode {
    code: String,
    /// Seconds for which it is good.
    expires_in: u64,
}

#[utoipa::path(
    get, path = "/social/{provider}/callback", tag = "login",
    summary = "Where the provider sends the browser back to",
    description = "Goes on to `return_url` with `code`, or with `error`: `access_denied`, \
                   `credentials_invalid` or `unavailable`. Without `return_url` the answer is the \
                   code, or the problem.",
    params(
        ("provider" = String, Path, description = "A name of `GET /social/providers`"),
        ("state" = String, Query, description = "As it was sent there"),
        ("code" = Option<String>, Query, description = "The provider's code"),
        ("error" = Option<String>, Query, description = "Or its refusal"),
        ("iss" = Option<String>, Query, description = "The provider (RFC 9207)"),
    ),
    responses(
        (status = 200, description = "For the exchange.", body = SocialCode),
        (status = 303, description = "To `return_url`."),
        (status = 400, description = "`request_invalid`, `code_invalid`, `code_expired`"),
        (status = 401, description = "`credentials_invalid`"),
        (status = 404, description = "`not_found`: no such provider"),
        (status = 429, description = "`rate_limited`"),
    ),
)]
/// `GET /social/{provider}/callback`
async fn callback(
    Shared(state): Shared<State>,
    caller: Caller,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Error> {
    state.limiter.by_address(&caller, Limit::SocialByAddress)?;
    let provider = state.social.provider(&name)?;
    let answer = read_answer(query.as_deref().unwrap_or_default())?;
    let landing = flow::land(&state, &caller, provider, &answer, &headers).await?;
    land(&state, landing)
}

/// Reads the answer of a provider. A parameter that stands twice is refused (RFC 6749 §3.1);
/// those that are not known are the provider's own affair.
fn read_answer(query: &str) -> Result<Answer, Error> {
    let mut found: [Option<String>; 4] = Default::default();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let names = ["state", "code", "error", "iss"];
        let Some(index) = names.iter().position(|known| *known == name) else {
            continue;
        };
        if value.len() > MAX_PARAMETER || found[index].replace(value.into_owned()).is_some() {
            return Err(Error::invalid(
                "state, code, error, iss: expected each once.",
            ));
        }
    }
    let [state, code, error, issuer] = found;
    let outcome = match (code, error) {
        (Some(code), None) if !code.is_empty() => Ok(Secret::new(code)),
        (None, Some(error)) => Err(error),
        _ => return Err(Error::invalid("Expected either code or error.")),
    };
    Ok(Answer {
        state: Secret::new(state.ok_or_else(|| Error::invalid("state: expected."))?),
        outcome,
        issuer,
    })
}

/// Longest parameter of a callback. Entra's codes have up to 2 KB.
const MAX_PARAMETER: usize = 8 * 1024;

fn land(state: &State, landing: Landing) -> Result<Response, Error> {
    let failed = landing.outcome.is_err();
    let mut response = match (landing.return_url, landing.outcome) {
        (Some(page), Ok(code)) => see_other(&format!("{page}?code={}", code.expose()))?,
        (None, Ok(code)) => Json(SocialCode {
            code: code.expose().to_owned(),
            expires_in: CODE_LIFE.as_secs(),
        })
        .into_response(),
        (Some(page), Err(failure)) => {
            let error = Error::from(failure);
            error.log();
            let word = match failure {
                Failure::Denied => "access_denied",
                Failure::Unavailable(_) | Failure::Refused(_) => error.code().0,
            };
            see_other(&format!("{page}?error={word}"))?
        }
        (None, Err(failure)) => Error::from(failure).into_response(),
    };
    if failed {
        set_cookie(state, &mut response, &landing.tag, "", Duration::ZERO)?;
    }
    Ok(response)
}

fn see_other(location: &str) -> Result<Response, Error> {
    let location =
        HeaderValue::from_str(location).map_err(|_| Error::internal("return_url in a header"))?;
    Ok((StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response())
}

/// The code that came back, and the flow token where the login began with one.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SocialExchange {
    #[schema(value_type = String)]
    code: Secret,
    /// Left out: the cookie is looked at.
    #[schema(value_type = Option<String>)]
    flow_token: Option<Secret>,
    /// What an earlier login on this device has answered: it is then no other device. One that is
    /// unknown, foreign or expired is as if absent. Left out in browser mode: a cookie holds it.
    #[schema(value_type = Option<String>)]
    device_token: Option<Secret>,
}

#[utoipa::path(
    post, path = "/social/exchange", tag = "login",
    operation_id = "exchange_social_code",
    summary = "Exchange the code of a login at a provider for tokens",
    description = "Makes an account for somebody unknown, as far as the provider's settings have \
                   it. An address that has an account already is `conflict`: nothing is linked \
                   without a login.",
    request_body = SocialExchange,
    responses(
        (status = 200, description = "Logged in, or a second factor is asked for.", body = LoggedIn),
        (status = 400, description = "`request_invalid`, `code_invalid`"),
        (status = 401, description = "`credentials_invalid`"),
        (status = 409, description = "`conflict`: log in first, then link"),
        (status = 429, description = "`rate_limited`"),
    ),
)]
/// `POST /social/exchange`
async fn exchange(
    Shared(state): Shared<State>,
    caller: Caller,
    browser: Option<Extension<InBrowser>>,
    headers: HeaderMap,
    Json(body): Json<SocialExchange>,
) -> Result<Response, Error> {
    let device_token = browser::device_token(body.device_token, browser)?;
    state.limiter.by_address(&caller, Limit::SocialByAddress)?;
    let token = body.flow_token.as_ref();
    let exchanged = flow::exchange(&state, &caller, &body.code, token, device_token, &headers);
    let (logged_in, tag) = exchanged.await?;
    let mut response = logged_in.into_response();
    if token.is_none() {
        set_cookie(&state, &mut response, &tag, "", Duration::ZERO)?;
    }
    Ok(response)
}

/// As for an exchange, and what may be wished for with a link.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SocialLink {
    #[schema(value_type = String)]
    code: Secret,
    /// Left out: the cookie is looked at.
    #[schema(value_type = Option<String>)]
    flow_token: Option<Secret>,
    /// Whether to end every session of the account but the caller's.
    #[serde(default)]
    end_other_sessions: bool,
}

/// What may be wished for with the removal of a link.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RemoveSocialIdentity {
    /// Whether to end every session of the account but the caller's.
    #[serde(default)]
    end_other_sessions: bool,
}

const fn owner(user_id: UserId, session_id: SessionId) -> Owner {
    Owner {
        user_id,
        session_id,
    }
}

#[utoipa::path(
    post, path = "/social/{provider}/link/start", tag = "accounts", security(("bearer" = [])),
    operation_id = "start_social_link",
    summary = "Begin to link an identity at a provider to the caller's account",
    description = "As beginning to log in; the code goes to `POST /social/link`. Asks for a login \
                   within the last five minutes.",
    params(("provider" = String, Path, description = "A name of `GET /social/providers`")),
    request_body = SocialStart,
    responses(
        (status = 200, description = "Send the browser there.", body = SocialStarted),
        (status = 401, description = "`step_up_required`, or the access token is not accepted"),
        (status = 404, description = "`not_found`: no such provider"),
        (status = 429, description = "`rate_limited`"),
    ),
)]
/// `POST /social/{provider}/link/start`
async fn link_start(
    Shared(state): Shared<State>,
    authenticated: FreshlyAuthenticated,
    Path(name): Path<String>,
    Json(body): Json<SocialStart>,
) -> Result<Response, Error> {
    let caller = &authenticated.caller;
    state.limiter.by_address(caller, Limit::SocialByAddress)?;
    let provider = state.social.provider(&name)?;
    let wish = body.wish()?;
    let by_token = wish.by_token;
    let begun = flow::begin(
        &state,
        provider,
        Some(owner(authenticated.user_id, authenticated.session_id)),
        wish,
    )
    .await?;
    started(&state, &begun, by_token)
}

#[utoipa::path(
    post, path = "/social/link", tag = "accounts", security(("bearer" = [])),
    operation_id = "link_social_identity",
    summary = "Link the identity that came back to the caller's account",
    description = "By the session that began it. The person is told by mail.",
    request_body = SocialLink,
    responses(
        (status = 200, description = "Linked.", body = View),
        (status = 400, description = "`request_invalid`, `code_invalid`"),
        (status = 409, description = "`conflict`: the identity is another account's"),
        (status = 429, description = "`rate_limited`"),
    ),
)]
/// `POST /social/link`
async fn link(
    Shared(state): Shared<State>,
    caller: Caller,
    authenticated: Authenticated,
    headers: HeaderMap,
    Json(body): Json<SocialLink>,
) -> Result<Response, Error> {
    state.limiter.by_address(&caller, Limit::SocialByAddress)?;
    let token = body.flow_token.as_ref();
    let owner = owner(authenticated.user_id, authenticated.session_id);
    let wish = (owner, body.end_other_sessions);
    let (view, tag) = flow::link(&state, &caller, wish, &body.code, token, &headers).await?;
    let mut response = Json(view).into_response();
    if token.is_none() {
        set_cookie(&state, &mut response, &tag, "", Duration::ZERO)?;
    }
    Ok(response)
}

/// The caller's links.
#[derive(Serialize, ToSchema)]
struct SocialIdentities {
    identities: Vec<View>,
}

#[utoipa::path(
    get, path = "/social/identities", tag = "accounts", security(("bearer" = [])),
    operation_id = "social_identities",
    summary = "The identities that are linked to the caller's account",
    responses((status = 200, description = "The oldest first.", body = SocialIdentities)),
)]
/// `GET /social/identities`
async fn list(
    Shared(state): Shared<State>,
    caller: Authenticated,
) -> Result<Json<SocialIdentities>, Error> {
    let mut reader = state.db.read().await?;
    let identities = identities::list(&state, &mut reader, caller.user_id).await?;
    Ok(Json(SocialIdentities { identities }))
}

#[utoipa::path(
    delete, path = "/social/identities/{id}", tag = "accounts", security(("bearer" = [])),
    operation_id = "remove_social_identity",
    summary = "Remove a link",
    description = "Asks for a login within the last five minutes. The person is told by mail.",
    params(("id" = String, Path, format = "uuid", description = "As the list has it")),
    request_body = Option<RemoveSocialIdentity>,
    responses(
        (status = 204, description = "Removed."),
        (status = 400, description = "`request_invalid`"),
        (status = 401, description = "`step_up_required`, or the access token is not accepted"),
        (status = 404, description = "`not_found`: none of the caller's"),
        (status = 409, description = "`conflict`: nothing else would let them in"),
    ),
)]
/// `DELETE /social/identities/{id}`
async fn remove(
    Shared(state): Shared<State>,
    caller: FreshlyAuthenticated,
    Path(id): Path<String>,
    OptionalJson(wish): OptionalJson<RemoveSocialIdentity>,
) -> Result<StatusCode, Error> {
    let id: IdentityId = id.parse().map_err(|_| Error::NotFound)?;
    let owner = owner(caller.user_id, caller.session_id);
    identities::remove(&state, owner, id, wish.end_other_sessions).await?;
    Ok(StatusCode::NO_CONTENT)
}
