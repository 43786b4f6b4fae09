//! What an access token says (RFC 9068 §2.2).

use edgekeep_shared::policy::Holder;
use serde::Serialize;

use crate::accounts::country::calling_code;
use crate::accounts::{User, kyc};
use crate::config::Config;
use crate::ids::{SessionId, TokenId};

/// The session that a token is issued for, as far as the token tells of it.
#[derive(Clone, Debug)]
pub struct Grant<'a> {
    /// `sid`
    pub session_id: SessionId,
    /// When the session ends in any case, in seconds since 1970: no token outlives it.
    pub session_expires_at: i64,
    /// `client_id`
    pub client_id: &'a str,
    /// `amr` (RFC 8176)
    pub amr: &'a [String],
    /// `auth_time`, in seconds since 1970
    pub auth_time: i64,
    /// `device_id`
    pub device_id: Option<&'a str>,
}

/// The claims of one access token. Absent members are left out, never null or empty.
#[derive(Debug, Serialize)]
pub(super) struct AccessClaims<'a> {
    iss: &'a str,
    sub: String,
    aud: &'a str,
    client_id: &'a str,
    exp: i64,
    nbf: i64,
    iat: i64,
    jti: String,
    sid: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    scope: String,
    roles: &'a [String],
    permissions: &'a [String],
    amr: &'a [String],
    acr: &'static str,
    auth_time: i64,
    kyc_level: i64,
    #[serde(skip_serializing_if = "str::is_empty")]
    kyc_status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phone_number: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<&'a str>,
    /// The calling code of the telephone number's country, such as `+41`.
    #[serde(skip_serializing_if = "Option::is_none")]
    country_code: Option<&'a str>,
}

impl<'a> AccessClaims<'a> {
    /// The claims of a token for `user`, good from the second `issued_at` on.
    pub(super) fn new(
        config: &'a Config,
        issuer: &'a str,
        user: &'a User,
        grant: &Grant<'a>,
        token_id: TokenId,
        issued_at: i64,
    ) -> Self {
        let life = i64::try_from(config.tokens.access_token_seconds).unwrap_or(i64::MAX);
        let ends = user.kyc_expires_at;
        let (kyc_level, kyc_status) = kyc::at(user.kyc_level, &user.kyc_status, ends, issued_at);
        // No token says that somebody is verified after their verification is over.
        let ends = ends
            .filter(|_| kyc_level > 0)
            .unwrap_or(i64::MAX)
            .min(grant.session_expires_at);
        let phone_number = user.phone_number.as_deref();
        Self {
            iss: issuer,
            sub: user.id.to_string(),
            aud: &config.tokens.audience,
            client_id: grant.client_id,
            exp: issued_at.saturating_add(life).min(ends),
            nbf: issued_at,
            iat: issued_at,
            jti: token_id.to_string(),
            sid: grant.session_id.to_string(),
            scope: scope(&user.permissions),
            roles: &user.roles,
            permissions: &user.permissions,
            amr: grant.amr,
            acr: acr(grant.amr),
            auth_time: grant.auth_time,
            kyc_level,
            kyc_status,
            device_id: grant.device_id.filter(|text| !text.is_empty()),
            customer_id: user.customer_id.as_deref().filter(|text| !text.is_empty()),
            email: user
                .email
                .as_deref()
                .filter(|_| config.tokens.include_email),
            phone_number: phone_number.filter(|_| config.tokens.include_phone),
            username: user
                .username
                .as_deref()
                .filter(|_| config.tokens.include_username),
            country_code: phone_number
                .and_then(calling_code)
                .filter(|_| config.tokens.include_country_code),
        }
    }

    /// `exp`, in seconds since 1970.
    pub(super) const fn expires_at(&self) -> i64 {
        self.exp
    }
}

/// The first-party client is granted all that its user may do: every permission that can stand
/// in a scope (RFC 6749 §3.3: printable ASCII without space, quote and backslash).
fn scope(permissions: &[String]) -> String {
    let fits = |text: &&str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
    };
    let scopes: Vec<&str> = permissions
        .iter()
        .map(String::as_str)
        .filter(fits)
        .collect();
    scopes.join(" ")
}

/// `2` where factors of two kinds were used, otherwise `1`.
fn acr(amr: &[String]) -> &'static str {
    if used_several_factors(amr) { "2" } else { "1" }
}

/// Whether these methods are factors of two kinds; the gate counts by the same rule.
pub fn used_several_factors<S: AsRef<str>>(amr: &[S]) -> bool {
    Holder {
        amr,
        ..Holder::default()
    }
    .used_several_factors()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scope_takes_only_what_a_scope_may_hold() {
        let permissions = ["report:write", "a b", "", "x\"", "é", "ok"].map(str::to_owned);
        assert_eq!(scope(&permissions), "report:write ok");
    }

    #[test]
    fn two_kinds_of_factor_are_more_than_two_of_one() {
        for (amr, expected) in [
            (&["pwd"][..], "1"),
            (&["otp", "sms"], "1"),
            (&["pwd", "otp"], "2"),
            (&[], "1"),
        ] {
            let amr: Vec<String> = amr.iter().map(|&method| method.to_owned()).collect();
            assert_eq!(acr(&amr), expected, "{amr:?}");
        }
    }
}
