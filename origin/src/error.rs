//! Every way a request can fail, and the one place where that becomes HTTP (RFC 9457).
//!
//! Two texts, never one: [`Error::detail`] is what the client reads, `Display` and the source are
//! what the log keeps. Many causes share one client code, so that an answer tells nothing about
//! who has an account.

use std::borrow::Cow;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use edgekeep_shared::error::Rejection;
use edgekeep_shared::gate::refusal::{CHALLENGE, Refusal};
use edgekeep_shared::policy::Missing;
use serde::Serialize;

use crate::abuse::captcha::Asked;

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An access token was refused, or what it grants is not enough.
    #[error("token refused: {0}")]
    Rejected(Rejection),
    /// The last proof of who is calling is too old or too weak for this (RFC 9470).
    #[error("a proof of the last {max_age} seconds required (second factor: {second_factor})")]
    StepUpRequired {
        /// How old it may be, in seconds.
        max_age: u64,
        /// Whether it has to be a second factor.
        second_factor: bool,
    },
    /// Identifier and password do not belong together, or there is no such account.
    #[error("credentials do not match")]
    CredentialsInvalid,
    /// Too many failures in a row; the wait is what is left of the lock.
    #[error("account is locked for {0:?}")]
    AccountLocked(Duration),
    /// A captcha must be solved first.
    #[error("captcha required")]
    CaptchaRequired(Asked),
    /// The captcha's answer is wrong, or is for something else, used, or too old.
    #[error("captcha invalid: {0}")]
    CaptchaInvalid(&'static str),
    /// A one-time code or link is wrong, used, or tried too often.
    #[error("code invalid: {0}")]
    CodeInvalid(&'static str),
    /// A one-time code or link is too old.
    #[error("code expired")]
    CodeExpired,
    /// Another identity provider did not say who somebody is, or what it says lets nobody in.
    #[error("identity not accepted: {0}")]
    IdentityRefused(&'static str),
    /// Another factor is needed; the text is for the client and says what to do about it.
    #[error("second factor required: {0}")]
    MfaRequired(&'static str),
    /// A refresh token is not one of ours, or is no longer good.
    #[error("refresh token invalid: {0}")]
    RefreshInvalid(&'static str),
    /// A refresh token came back after its successor was used: theft is presumed.
    #[error("refresh token reused")]
    RefreshReused,
    /// The session was ended or has run out.
    #[error("session ended")]
    SessionEnded,
    /// The request cannot be understood; the text is for the client and holds nothing secret.
    #[error("request invalid: {0}")]
    RequestInvalid(Cow<'static, str>),
    /// The method is not one that the route knows.
    #[error("method not allowed")]
    MethodNotAllowed,
    /// The body is longer than the limit.
    #[error("request too large")]
    RequestTooLarge,
    /// Nothing is here.
    #[error("not found")]
    NotFound,
    /// The change contradicts what is there.
    #[error("conflict: {0}")]
    Conflict(&'static str),
    /// Too many requests; the wait is how long until the next is accepted.
    #[error("rate limited for {0:?}")]
    RateLimited(Duration),
    /// Too busy, starting, or stopping; the same request may succeed later.
    #[error("unavailable: {0}")]
    Unavailable(&'static str),
    /// The database did not do what was asked.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// Stored data could not be opened: a wrong master key, or tampering.
    #[error("vault: {0}")]
    Vault(#[from] crate::vault::VaultError),
    /// A fault of ours.
    #[error("internal: {0}")]
    Internal(Cow<'static, str>),
}

/// Every `code` of the origin's own; those of [`Rejection`] come on top.
pub const CODES: [&str; 16] = [
    "credentials_invalid",
    "account_locked",
    "captcha_required",
    "captcha_invalid",
    "code_invalid",
    "code_expired",
    "mfa_required",
    "refresh_invalid",
    "refresh_reused",
    "session_ended",
    "request_invalid",
    "request_too_large",
    "not_found",
    "conflict",
    "rate_limited",
    "unavailable",
];

/// How long a client waits after `unavailable` before it tries again.
const RETRY_AFTER_BUSY: Duration = Duration::from_secs(1);

impl Error {
    /// A [`RequestInvalid`](Self::RequestInvalid) with the text the client reads.
    pub fn invalid(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::RequestInvalid(detail.into())
    }

    /// A fault of ours, with the text the log keeps.
    pub fn internal(cause: impl Into<Cow<'static, str>>) -> Self {
        Self::Internal(cause.into())
    }

    /// The stable code and the status.
    pub fn code(&self) -> (&'static str, StatusCode) {
        match self {
            Self::Rejected(rejection) => (
                rejection.code(),
                StatusCode::from_u16(rejection.status()).unwrap_or(StatusCode::UNAUTHORIZED),
            ),
            Self::StepUpRequired { .. } => Self::Rejected(Rejection::StepUpRequired).code(),
            Self::CredentialsInvalid | Self::IdentityRefused(_) => {
                ("credentials_invalid", StatusCode::UNAUTHORIZED)
            }
            Self::AccountLocked(_) => ("account_locked", StatusCode::LOCKED),
            Self::CaptchaRequired(_) => ("captcha_required", StatusCode::FORBIDDEN),
            Self::CaptchaInvalid(_) => ("captcha_invalid", StatusCode::BAD_REQUEST),
            Self::CodeInvalid(_) => ("code_invalid", StatusCode::BAD_REQUEST),
            Self::CodeExpired => ("code_expired", StatusCode::BAD_REQUEST),
            Self::MfaRequired(_) => ("mfa_required", StatusCode::FORBIDDEN),
            Self::RefreshInvalid(_) => ("refresh_invalid", StatusCode::UNAUTHORIZED),
            Self::RefreshReused => ("refresh_reused", StatusCode::UNAUTHORIZED),
            Self::SessionEnded => ("session_ended", StatusCode::UNAUTHORIZED),
            Self::RequestInvalid(_) => ("request_invalid", StatusCode::BAD_REQUEST),
            Self::MethodNotAllowed => ("request_invalid", StatusCode::METHOD_NOT_ALLOWED),
            Self::RequestTooLarge => ("request_too_large", StatusCode::PAYLOAD_TOO_LARGE),
            Self::NotFound => ("not_found", StatusCode::NOT_FOUND),
            Self::Conflict(_) => ("conflict", StatusCode::CONFLICT),
            Self::RateLimited(_) => ("rate_limited", StatusCode::TOO_MANY_REQUESTS),
            Self::Unavailable(_) | Self::Database(sqlx::Error::PoolTimedOut) => {
                ("unavailable", StatusCode::SERVICE_UNAVAILABLE)
            }
            Self::Database(error) if is_busy(error) => {
                ("unavailable", StatusCode::SERVICE_UNAVAILABLE)
            }
            Self::Database(_) | Self::Vault(_) | Self::Internal(_) => {
                ("unavailable", StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }

    /// What the client reads.
    pub fn detail(&self) -> Cow<'static, str> {
        match self {
            Self::Rejected(Rejection::TokenMissing) => "This needs an access token.".into(),
            Self::Rejected(_) => "The access token is not accepted here.".into(),
            Self::StepUpRequired {
                second_factor: true,
                ..
            } => "Prove who you are again, with a second factor.".into(),
            Self::StepUpRequired { .. } => "Prove who you are again.".into(),
            Self::CredentialsInvalid => "Identifier or password is wrong.".into(),
            Self::AccountLocked(_) => "Too many failed attempts. Try again later.".into(),
            Self::CaptchaRequired(_) => "Solve a captcha first.".into(),
            Self::CaptchaInvalid(_) => {
                "The captcha's answer is wrong or no longer good. Ask for a new one.".into()
            }
            Self::CodeInvalid(_) => "The code is wrong or no longer good.".into(),
            Self::CodeExpired => "The code is too old. Ask for a new one.".into(),
            Self::IdentityRefused(_) => "Nobody can log in here with that identity.".into(),
            Self::RefreshInvalid(_) => "The refresh token is not accepted. Log in again.".into(),
            Self::RefreshReused => {
                "The refresh token was used before; the session has been ended.".into()
            }
            Self::SessionEnded => "The session has ended. Log in again.".into(),
            Self::RequestInvalid(detail) => detail.clone(),
            Self::MethodNotAllowed => "This route does not know that method.".into(),
            Self::RequestTooLarge => "The request's body is too large.".into(),
            Self::NotFound => "Nothing is here.".into(),
            Self::Conflict(detail) | Self::MfaRequired(detail) => (*detail).into(),
            Self::RateLimited(_) => "Too many requests. Try again later.".into(),
            Self::Unavailable(_) | Self::Database(_) | Self::Vault(_) | Self::Internal(_) => {
                "The service cannot answer this now.".into()
            }
        }
    }

    fn retry_after(&self, status: StatusCode) -> Option<Duration> {
        match self {
            Self::AccountLocked(wait) | Self::RateLimited(wait) => Some(*wait),
            _ if status == StatusCode::SERVICE_UNAVAILABLE => Some(RETRY_AFTER_BUSY),
            _ => None,
        }
    }

    /// The challenge of a 401 (RFC 6750 §3), and of a 403 about scope.
    fn challenge(&self, code: &str, status: StatusCode) -> Option<String> {
        match *self {
            Self::StepUpRequired {
                max_age,
                second_factor,
            } => step_up_challenge(max_age, second_factor),
            Self::Rejected(Rejection::InsufficientScope) => {
                Some(r#"Bearer error="insufficient_scope""#.to_owned())
            }
            Self::Rejected(rejection)
                if status == StatusCode::UNAUTHORIZED && rejection != Rejection::TokenMissing =>
            {
                Some(format!(
                    r#"Bearer error="invalid_token", error_description="{code}""#
                ))
            }
            // No error code where no token was sent (RFC 6750 §3.1).
            _ if status == StatusCode::UNAUTHORIZED => Some(CHALLENGE.to_owned()),
            _ => None,
        }
    }

    /// Writes what the log keeps: for an answer that is not a problem as for one that is.
    pub(crate) fn log(&self) {
        let (code, status) = self.code();
        if status.is_server_error() {
            tracing::error!(code, cause = %self, "request failed");
        } else {
            tracing::info!(code, cause = %self, "request refused");
        }
    }
}

/// As the gate writes it. `acr` 2 is what a second factor leads to, after a first of another kind.
fn step_up_challenge(max_age: u64, second_factor: bool) -> Option<String> {
    let acr: &[Box<str>] = if second_factor { &["2".into()] } else { &[] };
    let missing = Missing::StepUp {
        acr,
        max_age: u32::try_from(max_age).ok(),
        mfa: second_factor,
        amr: &[],
    };
    Refusal::new(Rejection::StepUpRequired, Some(missing)).challenge()
}

impl From<Rejection> for Error {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

/// `SQLITE_BUSY` and `SQLITE_LOCKED` in any extended form, and PostgreSQL's serialisation
/// failures: another writer was in the way, nothing is broken.
fn is_busy(error: &sqlx::Error) -> bool {
    let Some(code) = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
    else {
        return false;
    };
    match code.parse::<u32>() {
        Ok(sqlite) if sqlite < 10_000 => matches!(sqlite & 0xff, 5 | 6),
        _ => matches!(code.as_ref(), "40001" | "40P01"),
    }
}

/// Marks an answer that is what it is because the database failed.
#[derive(Clone, Copy, Debug)]
pub struct DatabaseFailed;

/// A problem on its way out; [`app`](crate::app) writes it as JSON once the correlation id is known.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Problem {
    /// Always `about:blank`: `code` tells problems apart.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The status in words.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What the client reads.
    pub detail: Cow<'static, str>,
    /// The stable code.
    pub code: &'static str,
    /// The correlation id.
    pub instance: String,
    /// With `captcha_required`: what is to be solved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub captcha: Option<Asked>,
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let (code, status) = self.code();
        self.log();
        let mut response = status.into_response();
        let headers = response.headers_mut();
        if let Some(wait) = self.retry_after(status) {
            // Rounded up: a client that waits exactly this long must not come too early.
            let seconds = wait.as_micros().div_ceil(1_000_000).max(1);
            if let Ok(value) = HeaderValue::from_str(&seconds.to_string()) {
                headers.insert(header::RETRY_AFTER, value);
            }
        }
        if let Some(Ok(value)) = self
            .challenge(code, status)
            .map(|text| HeaderValue::from_str(&text))
        {
            headers.insert(header::WWW_AUTHENTICATE, value);
        }
        if matches!(self, Self::Database(_)) {
            response.extensions_mut().insert(DatabaseFailed);
        }
        response.extensions_mut().insert(Problem {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: self.detail(),
            code,
            instance: String::new(),
            captcha: match self {
                Self::CaptchaRequired(asked) => Some(asked),
                _ => None,
            },
        });
        response
    }
}
