//! A refusal as it goes out: problem details (RFC 9457) and the bearer challenge (RFC 6750 §3,
//! RFC 9470 §3).

use alloc::{
    format,
    string::{String, ToString as _},
};
use core::fmt::Write as _;

use crate::{
    error::Rejection,
    policy::{Missing, Rule},
};

/// The media type of the body.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// The challenge where no token was sent. A scheme has at least one parameter (RFC 6750 §3).
pub const CHALLENGE: &str = "Bearer realm=\"api\"";

/// Seconds after which a client may try again what could not be judged now.
pub const RETRY_AFTER: u32 = 2;

/// Seconds after which a client may try again that has asked too often: the shortest period that the
/// platform counts over.
pub const RETRY_AFTER_LIMIT: u32 = 10;

/// Why a request is refused, with what would have helped.
#[derive(Clone, Copy, Debug)]
pub struct Refusal<'p> {
    /// The cause.
    pub rejection: Rejection,
    /// What the rule asked for and the token lacks.
    pub missing: Option<Missing<'p>>,
    /// The rule that decided, if one did.
    pub rule: Option<&'p Rule>,
}

impl<'p> Refusal<'p> {
    /// A refusal before any rule.
    pub const fn new(rejection: Rejection, missing: Option<Missing<'p>>) -> Self {
        Self {
            rejection,
            missing,
            rule: None,
        }
    }

    pub(super) const fn of(mut self, rule: &'p Rule) -> Self {
        self.rule = Some(rule);
        self
    }

    /// The HTTP status.
    pub const fn status(&self) -> u16 {
        self.rejection.status()
    }

    /// `Retry-After` in seconds, where trying again may help.
    pub fn retry_after(&self) -> Option<u32> {
        match self.status() {
            429 => Some(RETRY_AFTER_LIMIT),
            503 => Some(RETRY_AFTER),
            _ => None,
        }
    }

    /// The value of `WWW-Authenticate`, where there is one.
    pub fn challenge(&self) -> Option<String> {
        let error = match self.rejection {
            // No error code where no credentials were sent (RFC 6750 §3.1).
            Rejection::TokenMissing => return Some(String::from(CHALLENGE)),
            Rejection::StepUpRequired => "insufficient_user_authentication",
            rejection if rejection.status() == 401 => "invalid_token",
            Rejection::InsufficientScope => "insufficient_scope",
            _ => return None,
        };
        let code = self.rejection.code();
        let mut challenge = format!("Bearer error=\"{error}\", error_description=\"{code}\"");
        if let Some(missing) = &self.missing {
            missing.write_challenge(&mut challenge);
        }
        Some(challenge)
    }

    /// The body: `{type, title, status, detail, code, instance}` and, for a 403, `required`.
    ///
    /// `instance` is the request's correlation id.
    pub fn problem(&self, instance: &str) -> String {
        let json = |text: &str| serde_json::Value::from(text);
        let mut body = format!(
            r#"{{"type":"about:blank","title":{},"status":{},"detail":{},"code":"{}","instance":{}"#,
            json(title(self.status())),
            self.status(),
            json(detail(self.rejection)),
            self.rejection.code(),
            json(instance),
        );
        if let Some(missing) = &self.missing {
            // Writing to a String cannot fail.
            let _ = write!(body, r#","required":{}"#, required(missing));
        }
        body.push('}');
        body
    }
}

/// What was missing, as a JSON object named by the policy's own keys.
fn required(missing: &Missing<'_>) -> serde_json::Value {
    use serde_json::json;
    match missing {
        Missing::Scopes(scopes) => json!({ "scopes": scopes }),
        Missing::AnyScope(scopes) => json!({ "any_scope": scopes }),
        Missing::Roles(roles) => json!({ "roles": roles }),
        Missing::Permissions(permissions) => json!({ "permissions": permissions }),
        Missing::Owner(owner) => {
            let claims: serde_json::Map<_, _> = owner
                .iter()
                .map(|owner| (owner.parameter.to_string(), json!(owner.claim.name())))
                .collect();
            json!({ "owner": claims })
        }
        Missing::KycLevel(level) => json!({ "kyc_level": level }),
        Missing::KycStatus(states) => json!({ "kyc_status": states }),
        Missing::StepUp {
            acr,
            max_age,
            mfa,
            amr,
        } => {
            let mut required = json!({ "acr": acr, "max_age": max_age, "mfa": mfa });
            if !amr.is_empty() {
                required["amr"] = json!(amr);
            }
            required
        }
    }
}

const fn title(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        429 => "Too Many Requests",
        502 => "Bad Gateway",
        _ => "Service Unavailable",
    }
}

const fn detail(rejection: Rejection) -> &'static str {
    match rejection {
        Rejection::TokenMissing => "This needs an access token.",
        Rejection::TokenExpired => "The access token has expired. Refresh it.",
        Rejection::TokenRevoked => "The access token has been revoked. Log in again.",
        Rejection::InsufficientScope
        | Rejection::InsufficientRole
        | Rejection::InsufficientPermission => "The access token does not grant this.",
        Rejection::KycRequired => "This needs a verified identity.",
        Rejection::StepUpRequired => "This needs a stronger or more recent authentication.",
        Rejection::PathInvalid => "The path has no canonical form.",
        Rejection::RequestInvalid => "The request cannot be judged as it is.",
        Rejection::RouteUnknown => "No rule covers this route.",
        Rejection::RateLimited => "Too many requests. Try again later.",
        Rejection::UpstreamUnavailable => "The upstream does not answer.",
        Rejection::KeysUnavailable
        | Rejection::RevocationUnavailable
        | Rejection::PolicyUnavailable => "This cannot be judged now. Try again later.",
        _ => "The access token is not accepted here.",
    }
}
