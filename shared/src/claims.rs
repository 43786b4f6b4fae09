//! The claims of an access token by type and range (RFC 7519 §4.1, RFC 9068 §2.2).
//!
//! They are read while a token is parsed, and given to nobody before its signature is verified.

use alloc::{string::String, vec::Vec};

use crate::{
    error::Rejection,
    json::{Object, Value},
    policy::Holder,
    time::UnixTime,
};

/// The claims that rules and upstreams may rely on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// `iss`
    pub issuer: String,
    /// `sub`
    pub subject: String,
    /// `aud`, always as a list
    pub audience: Vec<String>,
    /// `client_id` (RFC 8693 §4.3)
    pub client_id: String,
    /// `exp`
    pub expires_at: UnixTime,
    /// `iat`
    pub issued_at: UnixTime,
    /// `nbf`
    pub not_before: Option<UnixTime>,
    /// `jti`
    pub token_id: String,
    /// `sid`, the session that the token belongs to
    pub session_id: Option<String>,
    /// `scope`, split at spaces (RFC 8693 §4.2)
    pub scopes: Vec<String>,
    /// `roles`
    pub roles: Vec<String>,
    /// `permissions`
    pub permissions: Vec<String>,
    /// `amr` (RFC 8176)
    pub authentication_methods: Vec<String>,
    /// `acr`
    pub authentication_context: Option<String>,
    /// `auth_time`
    pub authenticated_at: Option<UnixTime>,
    /// `kyc_level`, 0 to 255
    pub kyc_level: Option<u8>,
    /// `kyc_status`
    pub kyc_status: Option<String>,
    /// `device_id`
    pub device_id: Option<String>,
    /// `customer_id`
    pub customer_id: Option<String>,
}

impl Claims {
    /// What a rule's requirement looks at.
    pub fn holder(&self) -> Holder<'_> {
        Holder {
            scopes: &self.scopes,
            roles: &self.roles,
            permissions: &self.permissions,
            kyc_level: self.kyc_level,
            kyc_status: self.kyc_status.as_deref(),
            subject: Some(&self.subject),
            customer_id: self.customer_id.as_deref(),
            amr: &self.authentication_methods,
            acr: self.authentication_context.as_deref(),
            auth_time: self.authenticated_at.map(|at| at.0),
        }
    }

    /// Bytes of memory that the claims take beside the struct itself. A list of many short texts takes
    /// twelve times what it takes in the token.
    pub(crate) fn memory(&self) -> usize {
        let Self {
            issuer,
            subject,
            audience,
            client_id,
            expires_at: _,
            issued_at: _,
            not_before: _,
            token_id,
            session_id,
            scopes,
            roles,
            permissions,
            authentication_methods,
            authentication_context,
            authenticated_at: _,
            kyc_level: _,
            kyc_status,
            device_id,
            customer_id,
        } = self;
        let optional = [
            session_id,
            authentication_context,
            kyc_status,
            device_id,
            customer_id,
        ];
        let texts = [issuer, subject, client_id, token_id].into_iter();
        let texts = texts.chain(optional.into_iter().flatten());
        let lists = [audience, scopes, roles, permissions, authentication_methods];
        let lists = lists.into_iter().map(|list| {
            let texts: usize = list.iter().map(text_memory).sum();
            list.capacity() * size_of::<String>() + texts
        });
        texts.map(text_memory).sum::<usize>() + lists.sum::<usize>()
    }

    /// Reads the claims, by type and range; what they say is judged by the verifier.
    ///
    /// # Errors
    ///
    /// [`Rejection::ClaimMissing`] for an absent required claim, else [`Rejection::ClaimInvalid`]
    /// for one of the wrong type: a claim that cannot be read is never treated as absent.
    pub(crate) fn read(payload: &Object<'_>) -> Result<Self, Rejection> {
        const REQUIRED: [&str; 7] = ["iss", "sub", "aud", "exp", "iat", "jti", "client_id"];
        if REQUIRED.iter().any(|name| !payload.has(name)) {
            return Err(Rejection::ClaimMissing);
        }
        Ok(Self {
            issuer: required_text(payload, "iss")?,
            subject: required_text(payload, "sub")?,
            audience: audience(payload)?,
            client_id: required_text(payload, "client_id")?,
            expires_at: instant(payload, "exp")?.ok_or(Rejection::ClaimMissing)?,
            issued_at: instant(payload, "iat")?.ok_or(Rejection::ClaimMissing)?,
            not_before: instant(payload, "nbf")?,
            token_id: required_text(payload, "jti")?,
            session_id: text(payload, "sid")?,
            scopes: scopes(payload)?,
            roles: list(payload, "roles")?,
            permissions: list(payload, "permissions")?,
            authentication_methods: list(payload, "amr")?,
            authentication_context: text(payload, "acr")?,
            authenticated_at: instant(payload, "auth_time")?,
            kyc_level: level(payload)?,
            kyc_status: text(payload, "kyc_status")?,
            device_id: text(payload, "device_id")?,
            customer_id: text(payload, "customer_id")?,
        })
    }
}

/// What an allocator takes beside a text, for its own and for what it rounds up: a text of one letter
/// takes 16 bytes in WebAssembly.
const ALLOCATION: usize = 24;

/// Bytes of memory of a text beside the [`String`] itself.
pub(crate) fn text_memory(text: &String) -> usize {
    text.capacity() + ALLOCATION
}

fn required_text(payload: &Object<'_>, name: &str) -> Result<String, Rejection> {
    text(payload, name)?.ok_or(Rejection::ClaimMissing)
}

/// A string of at least one character; an empty identifier identifies everybody.
fn text(payload: &Object<'_>, name: &str) -> Result<Option<String>, Rejection> {
    match payload.member(name) {
        None => Ok(None),
        Some(Value::String(text)) if !text.is_empty() => Ok(Some(String::from(&**text))),
        Some(_) => Err(Rejection::ClaimInvalid),
    }
}

/// A whole number of seconds between 1970 and [`UnixTime::MAX`]. RFC 7519 allows fractions, but
/// no issuer of access tokens writes them, and rounding would decide about the boundary second.
fn instant(payload: &Object<'_>, name: &str) -> Result<Option<UnixTime>, Rejection> {
    match payload.member(name) {
        None => Ok(None),
        Some(Value::Integer(seconds)) if (0..=UnixTime::MAX.0).contains(seconds) => {
            Ok(Some(UnixTime(*seconds)))
        }
        Some(_) => Err(Rejection::ClaimInvalid),
    }
}

fn list(payload: &Object<'_>, name: &str) -> Result<Vec<String>, Rejection> {
    match payload.member(name) {
        None => Ok(Vec::new()),
        Some(Value::Array(values)) => strings(values),
        Some(_) => Err(Rejection::ClaimInvalid),
    }
}

fn strings(values: &[Value<'_>]) -> Result<Vec<String>, Rejection> {
    // Collecting options would take twice the room: nobody says how many there will be.
    let mut strings = Vec::with_capacity(values.len());
    for value in values {
        strings.push(value.as_str().ok_or(Rejection::ClaimInvalid)?.into());
    }
    Ok(strings)
}

/// One string or a list of at least one (RFC 7519 §4.1.3).
fn audience(payload: &Object<'_>) -> Result<Vec<String>, Rejection> {
    match payload.member("aud") {
        None => Err(Rejection::ClaimMissing),
        Some(Value::String(one)) if !one.is_empty() => Ok(Vec::from([String::from(&**one)])),
        Some(Value::Array(values)) if !values.is_empty() => strings(values),
        Some(_) => Err(Rejection::ClaimInvalid),
    }
}

fn scopes(payload: &Object<'_>) -> Result<Vec<String>, Rejection> {
    match payload.member("scope") {
        None => Ok(Vec::new()),
        Some(Value::String(scopes)) => Ok(scopes
            .split(' ')
            .filter(|scope| !scope.is_empty())
            .map(String::from)
            .collect()),
        Some(_) => Err(Rejection::ClaimInvalid),
    }
}

fn level(payload: &Object<'_>) -> Result<Option<u8>, Rejection> {
    match payload.member("kyc_level") {
        None => Ok(None),
        Some(Value::Integer(level)) => u8::try_from(*level)
            .map(Some)
            .map_err(|_| Rejection::ClaimInvalid),
        Some(_) => Err(Rejection::ClaimInvalid),
    }
}
