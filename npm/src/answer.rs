//! What JavaScript is told about a token: one JSON text.

use std::sync::Arc;

use edgekeep_shared::{claims::Claims, verifier::VerifiedToken};
use serde::{Serialize, Serializer};

/// The number of a source in [`Judge::sources`](crate::judge::Judge::sources).
pub type SourceNumber = usize;

/// What comes of asking about a token.
#[derive(Debug, Serialize)]
pub struct Answer {
    /// Sources to be asked behind the answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub due: Vec<SourceNumber>,
    /// The list that was relied on, to be kept checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used: Option<SourceNumber>,
    /// The verdict, if there is one yet.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// What is said about a token.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Verdict {
    /// It counts.
    Accept {
        /// Who and what it speaks of.
        #[serde(serialize_with = "write_token")]
        token: Arc<VerifiedToken>,
    },
    /// It does not.
    Reject {
        /// The stable code.
        code: &'static str,
        /// The HTTP status that a gate answers with.
        status: u16,
        /// The source whose failing may be the cause.
        #[serde(skip_serializing_if = "Option::is_none")]
        source: Option<SourceNumber>,
    },
    /// Ask this source first, and then again about the token.
    Wait {
        /// The source.
        wait: SourceNumber,
    },
}

impl From<Verdict> for Answer {
    fn from(verdict: Verdict) -> Self {
        Self {
            due: Vec::new(),
            used: None,
            verdict,
        }
    }
}

/// A verified token, as JavaScript sees it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Token<'t> {
    /// The `kid` of the key that signed it.
    key_id: &'t str,
    claims: ClaimsJson<'t>,
}

fn write_token<S: Serializer>(token: &VerifiedToken, serializer: S) -> Result<S::Ok, S::Error> {
    let token = Token {
        key_id: token.key_id(),
        claims: token.claims().into(),
    };
    token.serialize(serializer)
}

/// Claims under their registered names. Lists are lists here, however the token spells them, and
/// are there even where it has none: nobody need ask before looking.
#[derive(Debug, Serialize)]
struct ClaimsJson<'t> {
    iss: &'t str,
    sub: &'t str,
    aud: &'t [String],
    client_id: &'t str,
    exp: i64,
    iat: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    nbf: Option<i64>,
    jti: &'t str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<&'t str>,
    scopes: &'t [String],
    roles: &'t [String],
    permissions: &'t [String],
    amr: &'t [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    acr: Option<&'t str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kyc_level: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kyc_status: Option<&'t str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_id: Option<&'t str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_id: Option<&'t str>,
}

impl<'t> From<&'t Claims> for ClaimsJson<'t> {
    fn from(claims: &'t Claims) -> Self {
        Self {
            iss: &claims.issuer,
            sub: &claims.subject,
            aud: &claims.audience,
            client_id: &claims.client_id,
            exp: claims.expires_at.0,
            iat: claims.issued_at.0,
            nbf: claims.not_before.map(|at| at.0),
            jti: &claims.token_id,
            sid: claims.session_id.as_deref(),
            scopes: &claims.scopes,
            roles: &claims.roles,
            permissions: &claims.permissions,
            amr: &claims.authentication_methods,
            acr: claims.authentication_context.as_deref(),
            auth_time: claims.authenticated_at.map(|at| at.0),
            kyc_level: claims.kyc_level,
            kyc_status: claims.kyc_status.as_deref(),
            device_id: claims.device_id.as_deref(),
            customer_id: claims.customer_id.as_deref(),
        }
    }
}
