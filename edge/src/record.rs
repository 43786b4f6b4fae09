//! One structured line for every request: what was decided and why, never a token.

use serde::Serialize;

/// What is recorded of a request.
#[derive(Debug, Default, Serialize)]
pub struct Record<'a> {
    /// The correlation id, `X-Request-ID` in and out.
    pub request_id: &'a str,
    /// The method.
    pub method: &'a str,
    /// The path: canonical where it was forwarded, as it came where it was refused. The query may
    /// hold anything, secrets included, and is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<&'a str>,
    /// The rule that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<&'a str>,
    /// `forward`, `refuse`, `preflight` or `report`.
    pub decision: &'static str,
    /// The code of the refusal, also where the rule only reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// The status of the answer.
    pub status: u16,
    /// The subject of the verified token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub: Option<&'a str>,
    /// The issuer of the verified token, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iss: Option<&'a str>,
    /// The session of the verified token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sid: Option<&'a str>,
    /// Whether the signature was spared by the cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached: Option<bool>,
    /// Whether the list was older than it should be and counted only because the rule allows it.
    #[serde(skip_serializing_if = "core::ops::Not::not")]
    pub stale: bool,
    /// Seconds since the revocation list was signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list_age: Option<i64>,
}

impl Record<'_> {
    /// The line, as JSON.
    pub fn line(&self) -> String {
        // A struct of strings and numbers always serialises.
        serde_json::to_string(self).unwrap_or_default()
    }
}
