//! The gate's word to an upstream, for an upstream written in Rust to verify.
//!
//! Headers can be forged by whoever reaches the upstream around the gate; a signature cannot. The gate
//! sends `X-Edgekeep-Assertion` with every request of a verified token: a JWT of half a minute that
//! says who asks for what. Its public key stands at the gate's
//! `/.well-known/edgekeep-assertion.json`, as a JWK Set; [`HeldKeys`](crate::gate::keys::HeldKeys)
//! knows when to ask for it again.
//!
//! ```
//! # use edgekeep_shared::{assertion::AssertionVerifier, jwk::JwkSet, time::UnixTime};
//! # let (assertion, keys, now) = ("a.b.c", JwkSet::default(), UnixTime(0));
//! // Where the gate sends requests to: its UPSTREAM_URL, or the rule's.
//! let verifier = AssertionVerifier::new("https://upstream.example");
//! // The request as it has come: its method, and its path as on the request line, without the query.
//! match verifier.verify(assertion.as_bytes(), &keys, "GET", "/api/me", now) {
//!     Ok(asserted) => println!("{} asks", asserted.subject()),
//!     Err(rejection) => println!("answer 401: {rejection}"),
//! }
//! ```
//!
//! An assertion is good for any number of requests of the same method and path until it expires: it
//! says that the gate let this person do this, not that it was once. The query and the body are not in
//! it.

use alloc::string::String;

use crate::{
    error::Rejection,
    json::{self, Object, Value},
    jwk::{Algorithm, JwkSet},
    time::UnixTime,
    token::Jws,
};

/// The header field.
pub const HEADER: &str = "X-Edgekeep-Assertion";

/// The `typ` of an assertion.
pub const ASSERTION_TYPE: &str = "edgekeep-assertion+jwt";

/// The `iss` of an assertion: the gate, not the issuer of access tokens.
pub const ASSERTION_ISSUER: &str = "edgekeep-gate";

/// Seconds that an assertion lives at most: one request's way from the edge to the upstream.
pub const ASSERTION_LIFETIME: i64 = 30;

/// Seconds by which the clocks of gate and upstream may differ at most.
pub const MAX_LEEWAY: u32 = 30;

/// Seconds of clock difference that are tolerated unless told otherwise.
pub const DEFAULT_LEEWAY: u32 = 5;

/// What an upstream expects of an assertion.
#[derive(Clone, Debug)]
pub struct AssertionVerifier {
    audience: String,
    leeway: i64,
}

/// An assertion that was verified for one request; nothing else can make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedAssertion {
    subject: String,
    issuer: Option<String>,
    session_id: Option<String>,
    expires_at: UnixTime,
}

impl VerifiedAssertion {
    /// Who asks: the `sub` of the access token.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Whose subject that is: the `iss` of the access token, where the gate has several issuers.
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// The session, where the access token has one.
    pub fn session_id(&self) -> Option<&str> {
        self.session_id.as_deref()
    }

    /// From when on it counts no more.
    pub const fn expires_at(&self) -> UnixTime {
        self.expires_at
    }
}

impl AssertionVerifier {
    /// A verifier for the upstream that the gate reaches at the URL `audience`: its `UPSTREAM_URL` or
    /// a rule's `upstream`, exactly, without the slash at the end.
    pub fn new(audience: impl Into<String>) -> Self {
        Self {
            audience: audience.into(),
            leeway: i64::from(DEFAULT_LEEWAY),
        }
    }

    /// Tolerates clocks that differ by `seconds`, at most [`MAX_LEEWAY`].
    #[must_use]
    pub fn with_leeway(mut self, seconds: u32) -> Self {
        self.leeway = i64::from(seconds.min(MAX_LEEWAY));
        self
    }

    /// The audience without its path, which is part of every request line's.
    fn origin(&self) -> &str {
        let authority = self.audience.find("://").map_or(0, |at| at + 3);
        let length = self.audience[authority..].find('/');
        length.map_or(&self.audience, |length| {
            &self.audience[..authority + length]
        })
    }

    /// Verifies `assertion` with the gate's keys for a request with `method` of `path`, which is the
    /// path of the request line without the query, at the instant `now`.
    ///
    /// # Errors
    ///
    /// The first that applies of: what is refused of every token's
    /// [form](crate::token::UnverifiedToken::parse); [`WrongType`](Rejection::WrongType) for an access
    /// token, for instance; [`KeyUnknown`](Rejection::KeyUnknown), on which the keys should be fetched
    /// again; [`AlgorithmNotAllowed`](Rejection::AlgorithmNotAllowed) for all but Ed25519;
    /// [`SignatureInvalid`](Rejection::SignatureInvalid);
    /// [`TokenMalformed`](Rejection::TokenMalformed) for a payload that is no JSON object with unique
    /// members; [`ClaimMissing`](Rejection::ClaimMissing); [`ClaimInvalid`](Rejection::ClaimInvalid),
    /// also where it was made for another method or path, or lives longer than
    /// [`ASSERTION_LIFETIME`]; [`IssuerMismatch`](Rejection::IssuerMismatch);
    /// [`AudienceMismatch`](Rejection::AudienceMismatch);
    /// [`TokenExpired`](Rejection::TokenExpired); [`TokenNotYetValid`](Rejection::TokenNotYetValid).
    pub fn verify(
        &self,
        assertion: &[u8],
        keys: &JwkSet,
        method: &str,
        path: &str,
        now: UnixTime,
    ) -> Result<VerifiedAssertion, Rejection> {
        let jws = Jws::parse(assertion)?;
        if !jws.has_type(ASSERTION_TYPE) {
            return Err(Rejection::WrongType);
        }
        let jwk = jws
            .key_id
            .as_deref()
            .and_then(|key_id| keys.find(key_id))
            .ok_or(Rejection::KeyUnknown)?;
        if jws.algorithm != Algorithm::EdDsa || jwk.key().algorithm() != Algorithm::EdDsa {
            return Err(Rejection::AlgorithmNotAllowed);
        }
        if !jwk.key().verify(jws.signing_input, &jws.signature) {
            return Err(Rejection::SignatureInvalid);
        }
        let payload = json::parse_object(&jws.payload).map_err(|_| Rejection::TokenMalformed)?;
        self.judge(&payload, method, path, now)
    }

    fn judge(
        &self,
        payload: &Object<'_>,
        method: &str,
        path: &str,
        now: UnixTime,
    ) -> Result<VerifiedAssertion, Rejection> {
        let subject = text(payload, "sub")?;
        let (begins, ends) = (instant(payload, "iat")?, instant(payload, "exp")?);
        let session_id = match payload.member("sid") {
            None => None,
            Some(_) => Some(text(payload, "sid")?),
        };
        let issuer = match payload.member("sub_id") {
            None => None,
            Some(Value::Object(id)) => Some(issuer_of(id, subject)?),
            Some(_) => return Err(Rejection::ClaimInvalid),
        };
        let (asked_method, asked_url) = (text(payload, "htm")?, text(payload, "htu")?);
        let (gate, audience) = (text(payload, "iss")?, text(payload, "aud")?);
        if !(1..=ASSERTION_LIFETIME).contains(&ends.since(begins)) {
            return Err(Rejection::ClaimInvalid);
        }
        if gate != ASSERTION_ISSUER {
            return Err(Rejection::IssuerMismatch);
        }
        if audience != self.audience {
            return Err(Rejection::AudienceMismatch);
        }
        if asked_method != method || asked_url.strip_prefix(self.origin()) != Some(path) {
            return Err(Rejection::ClaimInvalid);
        }
        if now >= ends.plus(self.leeway) {
            return Err(Rejection::TokenExpired);
        }
        if now < begins.minus(self.leeway) {
            return Err(Rejection::TokenNotYetValid);
        }
        Ok(VerifiedAssertion {
            subject: String::from(subject),
            issuer: issuer.map(String::from),
            session_id: session_id.map(String::from),
            expires_at: ends,
        })
    }
}

/// The issuer in a subject identifier of the format `iss_sub` (RFC 9493 §3.2.3), which must name the
/// same subject.
fn issuer_of<'v>(id: &'v Object<'_>, subject: &str) -> Result<&'v str, Rejection> {
    if text(id, "format")? != "iss_sub" || text(id, "sub")? != subject {
        return Err(Rejection::ClaimInvalid);
    }
    text(id, "iss")
}

/// A string of at least one character; an empty name is nobody's.
fn text<'v>(payload: &'v Object<'_>, name: &str) -> Result<&'v str, Rejection> {
    match payload.member(name) {
        None => Err(Rejection::ClaimMissing),
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        Some(_) => Err(Rejection::ClaimInvalid),
    }
}

fn instant(payload: &Object<'_>, name: &str) -> Result<UnixTime, Rejection> {
    match payload.member(name) {
        None => Err(Rejection::ClaimMissing),
        Some(Value::Integer(seconds)) if (0..=UnixTime::MAX.0).contains(seconds) => {
            Ok(UnixTime(*seconds))
        }
        Some(_) => Err(Rejection::ClaimInvalid),
    }
}
