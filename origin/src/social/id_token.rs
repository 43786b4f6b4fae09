//! Judging an ID token (OpenID Connect Core §3.1.3.7).
//!
//! Libraries for the field were looked at first. `openidconnect` 4 brings the `rsa` crate, which
//! `deny.toml` bans, and second versions of half the cryptography that is here already.
//! `jsonwebtoken` 11 enforces neither `crit` nor `typ`, takes the last of two members of one name,
//! reads the clock itself, and finds its provider in a global that a feature of any other crate in
//! the build can take away. What is used instead: the JSON and base64url of our own verifier,
//! which have one spelling for everything; its curves for `ES256` and `EdDSA`; and for `RS256` the
//! library that does this process's TLS (`aws-lc-rs`). What is left to write here are the claims.

use edgekeep_shared::base64url;
use edgekeep_shared::json::{self, Object, Value};

use super::Failure;
use super::facts::{Facts, OIDC};
use super::keys::{Keys, named};
use crate::clock::Timestamp;
use crate::config::IdTokenAlgorithm as Algorithm;

/// Longest ID token that is looked at. Entra lists up to 200 groups, of 39 bytes each, in one.
const MAX_BYTES: usize = 32 * 1024;

/// How far a provider's clock may be off, in seconds. The ID token came straight from the provider
/// a moment ago, for a nonce of ours: time only bounds it.
const LEEWAY_SECONDS: i64 = 60;

/// What an ID token must say.
#[derive(Clone, Copy)]
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) algorithms: &'a [Algorithm],
    pub(super) nonce: &'a str,
    /// When the login began: nothing issued for it is older.
    pub(super) begun_at: Timestamp,
    /// Whether the person had to prove again who they are.
    pub(super) again: bool,
    pub(super) now: Timestamp,
}

/// Why an ID token is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// No key of the set is the one that it names.
    KeyUnknown,
    /// Anything else.
    Refused(&'static str),
}

const MALFORMED: Fault = Fault::Refused("ID token: malformed");

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Refused(match fault {
            Fault::KeyUnknown => "ID token: no such key",
            Fault::Refused(cause) => cause,
        })
    }
}

/// Who the token is about, if `keys` signed it and it says what is expected.
///
/// # Errors
/// [`Fault`], by cause.
pub(super) fn verify(token: &str, keys: &Keys, expected: &Expected<'_>) -> Result<Facts, Fault> {
    if token.len() > MAX_BYTES {
        return Err(Fault::Refused("ID token: too long"));
    }
    let parts: Vec<&str> = token.split('.').collect();
    let [header, payload, signature] = parts[..] else {
        // Five parts are encrypted, which was not asked for.
        return Err(Fault::Refused("ID token: not three parts"));
    };
    let decode = |part: &str| base64url::decode(part.as_bytes()).map_err(|_| MALFORMED);
    let header_json = decode(header)?;
    let header_object = json::parse_object(&header_json).map_err(|_| MALFORMED)?;
    let (algorithm, key_id) = read_header(&header_object)?;
    if !expected.algorithms.contains(&algorithm) {
        return Err(Fault::Refused("ID token: algorithm not allowed"));
    }
    let key = keys.find(key_id, algorithm).ok_or(Fault::KeyUnknown)?;
    let signed = &token.as_bytes()[..=header.len() + payload.len()];
    let signature = decode(signature)?;
    if !key.verify(signed, &signature) {
        return Err(Fault::Refused("ID token: signature invalid"));
    }
    let claims = decode(payload)?;
    let claims = json::parse_object(&claims).map_err(|_| MALFORMED)?;
    judge(&claims, expected)?;
    let authenticated_at = authenticated_at(&claims, expected)?;
    let facts = Facts::read(&claims, &OIDC);
    let mut facts = facts.map_err(|_| Fault::Refused("ID token: no subject"))?;
    facts.authenticated_at = authenticated_at;
    Ok(facts)
}

/// `alg` and `kid`, of a header that asks for nothing that is not understood.
fn read_header<'h>(header: &'h Object<'_>) -> Result<(Algorithm, Option<&'h str>), Fault> {
    let text = |name: &str| match header.member(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(&**text)),
        Some(_) => Err(Fault::Refused("ID token: header of the wrong type")),
    };
    if header.has("crit") || header.has("b64") {
        return Err(Fault::Refused("ID token: critical header"));
    }
    // Explicit types keep the kinds of token apart (RFC 8725 §3.11): an access token or a logout
    // token of the same issuer is none of these.
    let is_jwt =
        |typ: &str| typ.eq_ignore_ascii_case("JWT") || typ.eq_ignore_ascii_case("application/JWT");
    if !text("typ")?.is_none_or(is_jwt) {
        return Err(Fault::Refused("ID token: wrong type"));
    }
    let algorithm = text("alg")?.and_then(named);
    let algorithm = algorithm.ok_or(Fault::Refused("ID token: algorithm not allowed"))?;
    Ok((algorithm, text("kid")?))
}

fn judge(claims: &Object<'_>, expected: &Expected<'_>) -> Result<(), Fault> {
    let text = |name: &str| claims.member(name).and_then(Value::as_str);
    let integer = |name: &str| claims.member(name).and_then(Value::as_integer);
    let expect = |holds: bool, cause| {
        if holds {
            Ok(())
        } else {
            Err(Fault::Refused(cause))
        }
    };
    expect(
        text("iss") == Some(expected.issuer),
        "ID token: another issuer",
    )?;
    // Alone in its audience: nothing is known of others that could have got the same token.
    let for_us = match claims.member("aud") {
        Some(Value::String(audience)) => *audience == expected.client_id,
        Some(Value::Array(all)) => {
            matches!(&all[..], [one] if one.as_str() == Some(expected.client_id))
        }
        _ => false,
    };
    expect(for_us, "ID token: for another audience")?;
    let authorized = !claims.has("azp") || text("azp") == Some(expected.client_id);
    expect(authorized, "ID token: for another party")?;
    expect(
        text("nonce") == Some(expected.nonce),
        "ID token: another nonce",
    )?;
    let now = expected.now.unix_seconds();
    let expires_at = integer("exp").ok_or(Fault::Refused("ID token: no exp"))?;
    expect(
        now < expires_at.saturating_add(LEEWAY_SECONDS),
        "ID token: expired",
    )?;
    let issued_at = integer("iat").ok_or(Fault::Refused("ID token: no iat"))?;
    let earliest = expected.begun_at.unix_seconds() - LEEWAY_SECONDS;
    let latest = now + LEEWAY_SECONDS;
    expect(
        (earliest..=latest).contains(&issued_at),
        "ID token: not issued for this login",
    )?;
    let begins = match claims.member("nbf") {
        None => true,
        Some(Value::Integer(not_before)) => *not_before <= latest,
        Some(_) => false,
    };
    expect(begins, "ID token: not valid yet")
}

/// `auth_time`, which a login that had to be done again must have, from after it began.
fn authenticated_at(claims: &Object<'_>, expected: &Expected<'_>) -> Result<Option<i64>, Fault> {
    let earliest = expected.begun_at.unix_seconds() - LEEWAY_SECONDS;
    match claims.member("auth_time") {
        None if !expected.again => Ok(None),
        Some(Value::Integer(at)) if !expected.again || *at >= earliest => Ok(Some(*at)),
        _ => Err(Fault::Refused("ID token: not authenticated again")),
    }
}
