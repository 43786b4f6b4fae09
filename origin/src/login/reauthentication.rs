//! Proving again who one is, within a session (step-up, RFC 9470).
//!
//! What is asked and counted is what a login asks and counts: there is one door to guess at. The
//! session then says when and by what, and so do its tokens from now on. Its refresh token is
//! rotated (ASVS 7.2.4): a copy that somebody holds of the old one does not get the better access
//! token, but ends the session when it is used. Only within the grace of a refresh it is refused and
//! ends nothing, for a client may refresh beside this request. Who loses this answer proves again who
//! they are, by the access token that they have.

use axum::extract::State as Shared;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use webauthn_rs::prelude::PublicKeyCredential;

use super::factors::{self, Method};
use super::passkeys::routes::{PasskeyChallenge, checked_token, read_credential};
use super::passkeys::{self, For};
use super::{checked_code, codes, hasher, note_held_up, password};
use crate::abuse::{Limit, Subject};
use crate::accounts::Kind;
use crate::app::State;
use crate::error::Error;
use crate::events::{self, Event, Outcome};
use crate::request::{Caller, Json};
use crate::sessions::{self, Tokens};
use crate::tokens::Authenticated;
use crate::vault::Secret;

pub(super) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new()
        .routes(routes!(reauthenticate))
        .routes(routes!(begin_passkey))
        .routes(routes!(send_code))
}

/// Longest token that a sent code comes back with, in bytes.
const MAX_TOKEN: usize = 64;

/// By what somebody proves again who they are.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Proof {
    Password,
    Passkey,
    Totp,
    RecoveryCode,
    Sms,
    Email,
}

/// `password` or `passkey_token` and `credential` for the methods of that name, `code` for the
/// others, with `otp_token` where it was sent.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Reauthenticate {
    #[schema(inline)]
    method: Proof,
    #[schema(value_type = Option<String>, format = Password)]
    password: Option<Secret>,
    #[schema(value_type = Option<String>, max_length = 64)]
    code: Option<Secret>,
    /// From `POST /reauthenticate/code`.
    #[schema(value_type = Option<String>, max_length = 64)]
    otp_token: Option<Secret>,
    /// From `POST /reauthenticate/passkey`.
    #[schema(value_type = Option<String>, max_length = 64)]
    passkey_token: Option<Secret>,
    /// What `PublicKeyCredential.toJSON()` gives.
    #[schema(value_type = Option<Object>)]
    credential: Option<Value>,
}

/// What is shown as proof, found well-formed.
enum Shown {
    Password(Secret),
    Code(Method, Secret),
    Sent {
        method: Method,
        token: Secret,
        code: Secret,
    },
    Passkey(Secret, Box<PublicKeyCredential>),
}

impl Reauthenticate {
    fn shown(self) -> Result<Shown, Error> {
        let method = self.method;
        let given = (
            self.password,
            self.code,
            self.otp_token,
            self.passkey_token,
            self.credential,
        );
        let code = |method, code: Secret| {
            checked_code(&code)?;
            Ok(Shown::Code(method, code))
        };
        let sent = |method, token: Secret, code: Secret| {
            checked_code(&code)?;
            if !(1..=MAX_TOKEN).contains(&token.expose().len()) {
                return Err(Error::invalid("otp_token: expected 1 to 64 bytes."));
            }
            Ok(Shown::Sent {
                method,
                token,
                code,
            })
        };
        match (method, given) {
            (Proof::Password, (Some(password), None, None, None, None)) => {
                let length = password.expose().len();
                if !(1..=hasher::MAX_BYTES).contains(&length) {
                    return Err(Error::invalid("password: expected 1 to 1024 bytes."));
                }
                Ok(Shown::Password(password))
            }
            (Proof::Passkey, (None, None, None, Some(token), Some(credential))) => {
                checked_token(&token)?;
                Ok(Shown::Passkey(
                    token,
                    Box::new(read_credential(credential)?),
                ))
            }
            (Proof::Totp, (None, Some(given), None, None, None)) => code(Method::Totp, given),
            (Proof::RecoveryCode, (None, Some(given), None, None, None)) => {
                code(Method::RecoveryCode, given)
            }
            (Proof::Sms, (None, Some(given), Some(token), None, None)) => {
                sent(Method::Sms, token, given)
            }
            (Proof::Email, (None, Some(given), Some(token), None, None)) => {
                sent(Method::Email, token, given)
            }
            (Proof::Password, _) => Err(Error::invalid("Expected password, and nothing else.")),
            (Proof::Passkey, _) => Err(Error::invalid(
                "Expected passkey_token and credential, and nothing else.",
            )),
            (Proof::Totp | Proof::RecoveryCode, _) => {
                Err(Error::invalid("Expected code, and nothing else."))
            }
            (Proof::Sms | Proof::Email, _) => Err(Error::invalid(
                "Expected otp_token and code, and nothing else.",
            )),
        }
    }
}

impl Shown {
    /// What the audit trail calls it.
    const fn word(&self) -> &'static str {
        match self {
            Self::Password(_) => "password",
            Self::Code(method, _) | Self::Sent { method, .. } => method.as_str(),
            Self::Passkey(..) => Method::Passkey.as_str(),
        }
    }
}

#[utoipa::path(
    post, path = "/reauthenticate", tag = "login", security(("bearer" = [])),
    summary = "Prove again who one is, within the session",
    description = "For what answers `step_up_required`. The new tokens say in `auth_time`, `amr` and \
                   `acr` what was proved; the session's old refresh token is used up.",
    request_body = Reauthenticate,
    responses(
        (status = 200, description = "The session's new tokens.", body = Tokens),
        (status = 400, description = "`request_invalid`, `code_invalid`, `code_expired`"),
        (status = 401, description = "`credentials_invalid`, or the access token is not accepted"),
        (status = 423, description = "`account_locked`; `Retry-After` says for how long"),
        (status = 429, description = "`rate_limited`"),
    ),
)]
/// `POST /reauthenticate`
async fn reauthenticate(
    Shared(state): Shared<State>,
    session: Authenticated,
    caller: Caller,
    Json(body): Json<Reauthenticate>,
) -> Result<Tokens, Error> {
    let shown = body.shown()?;
    let limit = match &shown {
        Shown::Password(_) => Limit::LoginFailuresByAddress,
        Shown::Code(..) | Shown::Sent { .. } | Shown::Passkey(..) => Limit::CodeFailuresByAddress,
    };
    let attempt = state.limiter.attempt(&caller, limit).await?;
    let word = shown.word();
    let subject = match &shown {
        Shown::Password(_) => Subject::confirmation(&state.vault, session.user_id)?,
        _ => Subject::account(&state.vault, session.user_id)?,
    };
    let outcome = match shown {
        Shown::Password(password) => by_password(&state, &session, &caller, &password).await,
        Shown::Code(method, code) => by_code(&state, &session, &caller, method, &code).await,
        Shown::Sent {
            method,
            token,
            code,
        } => by_sent_code(&state, &session, &caller, method, (&token, &code)).await,
        Shown::Passkey(token, credential) => {
            by_passkey(&state, &session, &caller, &token, &credential).await
        }
    };
    attempt.settle(&outcome);
    let held_up = event(&session, &caller, Outcome::Failure).by(word);
    note_held_up(&state, &outcome, &subject, held_up).await?;
    if let Err(refusal @ (Error::CredentialsInvalid | Error::CodeInvalid(_) | Error::CodeExpired)) =
        &outcome
    {
        let failure = event(&session, &caller, Outcome::Failure).by(word);
        let mut tx = state.db.write().await?;
        events::record(&state, &mut tx, &failure.because(refusal.code().0)).await?;
        tx.commit().await?;
    }
    if let Err(Error::CodeInvalid(_)) = &outcome {
        let account = Subject::account(&state.vault, session.user_id)?;
        let whose = Some(session.user_id);
        state.watch.failed(&state, &caller, &account, whose).await?;
    }
    outcome
}

fn event<'a>(session: &Authenticated, caller: &'a Caller, outcome: Outcome) -> Event<'a> {
    Event::own(events::Kind::Reauthentication, outcome, session.user_id)
        .session(session.session_id)
        .from(caller)
}

async fn by_password(
    state: &State,
    session: &Authenticated,
    caller: &Caller,
    password: &Secret,
) -> Result<Tokens, Error> {
    let confirmed = password::confirm(state, caller, session.user_id, password).await?;
    let mut tx = confirmed.begin(state).await?;
    let tokens = sessions::step_up(state, &mut tx, session.session_id, &["pwd"], false).await?;
    let done = event(session, caller, Outcome::Success).by("password");
    events::record(state, &mut tx, &done).await?;
    tx.commit().await?;
    Ok(tokens)
}

async fn by_code(
    state: &State,
    session: &Authenticated,
    caller: &Caller,
    method: Method,
    code: &Secret,
) -> Result<Tokens, Error> {
    // Recovery codes alone are no second factor, and go with the last one.
    let by = factors::Guesser::anywhere(caller);
    let proof = factors::guess(state, session.user_id, method, code, None, by).await?;
    settle(state, session, caller, &proof).await
}

async fn by_sent_code(
    state: &State,
    session: &Authenticated,
    caller: &Caller,
    method: Method,
    (token, code): (&Secret, &Secret),
) -> Result<Tokens, Error> {
    // As it stands now: what was chosen when the code was sent may be gone.
    sendable(state, session, method)
        .await?
        .ok_or(Error::CodeInvalid("a method that proves nothing here"))?;
    let request = factors::Request::Session(session.session_id, token);
    let by = factors::Guesser::anywhere(caller);
    let proof = factors::guess(state, session.user_id, method, code, Some(request), by).await?;
    settle(state, session, caller, &proof).await
}

/// The kind of address that a code goes to, where such codes are a second factor of the account and
/// prove more than what the session rests on.
async fn sendable(
    state: &State,
    session: &Authenticated,
    method: Method,
) -> Result<Option<Kind>, Error> {
    let mut reader = state.db.read().await?;
    let offered = factors::offered(state, &mut reader, session.user_id, None).await?;
    let same = sessions::rests_on_codes_to(state, &mut reader, session.session_id).await?;
    let kind = method.kind().filter(|_| offered.contains(&method));
    Ok(kind.filter(|kind| !same.contains(kind)))
}

async fn by_passkey(
    state: &State,
    session: &Authenticated,
    caller: &Caller,
    token: &Secret,
    credential: &PublicKeyCredential,
) -> Result<Tokens, Error> {
    let user_id = session.user_id;
    let what = For::Reauthentication(user_id, session.session_id);
    let shown = (token, credential);
    let asserted = passkeys::assert_of(state, caller, user_id, what, shown).await?;
    let proof = factors::Proof::Passkey(asserted);
    settle(state, session, caller, &proof).await
}

/// Uses a proved factor up, and the session says so from now on.
async fn settle(
    state: &State,
    session: &Authenticated,
    caller: &Caller,
    proof: &factors::Proof,
) -> Result<Tokens, Error> {
    let amr = proof.amr(&session.token.claims().authentication_methods);
    let user_id = session.user_id;
    let method = proof.method();
    let mut tx = state.db.write().await?;
    if !factors::consume(state, &mut tx, user_id, proof).await? {
        tx.rollback().await?;
        factors::release(state, proof).await?;
        return Err(Error::CodeInvalid("factor used meanwhile"));
    }
    let tokens = sessions::step_up(state, &mut tx, session.session_id, &amr, true).await?;
    let done = event(session, caller, Outcome::Success).by(method.as_str());
    events::record(state, &mut tx, &done).await?;
    let message = factors::recovery_code_used(state, &mut tx, user_id, method).await?;
    let told = state.mailer.keep(&mut tx, user_id, message).await?;
    tx.commit().await?;
    state.mailer.deliver(told);
    Ok(tokens)
}

#[utoipa::path(
    post, path = "/reauthenticate/passkey", tag = "login", security(("bearer" = [])),
    operation_id = "begin_passkey_reauthentication",
    summary = "Begin to prove by a passkey who one is, within the session",
    description = "`options.publicKey` is for `navigator.credentials.get()`; what comes of it goes to \
                   `POST /reauthenticate` with method `passkey`, in the same session.",
    responses(
        (status = 200, description = "A challenge for five minutes.", body = PasskeyChallenge),
        (status = 409, description = "`conflict`: the account has no passkey, or none can be used here"),
        (status = 429, description = "`rate_limited`"),
    ),
)]
/// `POST /reauthenticate/passkey`
async fn begin_passkey(
    Shared(state): Shared<State>,
    session: Authenticated,
    caller: Caller,
) -> Result<Json<PasskeyChallenge>, Error> {
    state.limiter.by_address(&caller, Limit::PasskeyByAddress)?;
    let user_id = session.user_id;
    let what = For::Reauthentication(user_id, session.session_id);
    match passkeys::begin_of(&state, user_id, what).await {
        Ok(begun) => Ok(Json(PasskeyChallenge::new(begun))),
        // Whose account it is may know.
        Err(Error::CodeInvalid(_)) => Err(Error::Conflict("The account has no passkey.")),
        Err(error) => Err(error),
    }
}

/// By which way a code is to come.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SendReauthenticationCode {
    /// `sms` or `email`, where the person chose it as second factor.
    method: Method,
}

/// What the code is given back with.
#[derive(Serialize, ToSchema)]
struct ReauthenticationCode {
    /// For `POST /reauthenticate`, in the same session.
    otp_token: String,
    /// Seconds for which the code is good.
    expires_in: u64,
}

#[utoipa::path(
    post, path = "/reauthenticate/code", tag = "login", security(("bearer" = [])),
    operation_id = "send_reauthentication_code",
    summary = "Send a code that proves who one is, within the session",
    description = "For those who chose codes by mail or SMS as second factor; the code goes to \
                   `POST /reauthenticate` with that method, in the same session. A new code ends the \
                   one before.",
    request_body = SendReauthenticationCode,
    responses(
        (status = 200, description = "A code is on its way.", body = ReauthenticationCode),
        (status = 400, description = "`request_invalid`, `code_invalid`: the address is gone"),
        (status = 409, description = "`conflict`: the account has no such second factor, or the \
                                      session rests on a code to the same kind of address"),
        (status = 429, description = "`rate_limited`"),
    ),
)]
/// `POST /reauthenticate/code`
async fn send_code(
    Shared(state): Shared<State>,
    session: Authenticated,
    caller: Caller,
    Json(body): Json<SendReauthenticationCode>,
) -> Result<Json<ReauthenticationCode>, Error> {
    let method = body.method;
    if method.kind().is_none() {
        return Err(Error::invalid("method: expected `sms` or `email`."));
    }
    state.limiter.by_address(&caller, Limit::SendsByAddress)?;
    let kind = sendable(&state, &session, method).await?;
    // Whose account it is may know.
    let kind = kind.ok_or(Error::Conflict(
        "Such codes are no second factor of the account, or prove nothing more in this session.",
    ))?;
    let token = codes::new_token(&state);
    let request = factors::Request::Session(session.session_id, &token);
    factors::send(&state, &caller, session.user_id, kind, (request, None)).await?;
    Ok(Json(ReauthenticationCode {
        otp_token: token.expose().to_owned(),
        expires_in: state.config.otp.ttl_seconds,
    }))
}
