//! The one verdict: from bytes to a [`VerifiedToken`], or the reason why not.

use alloc::{string::String, vec::Vec};

use crate::{
    claims::{Claims, text_memory},
    error::Rejection,
    jwk::{Algorithm, Jwk, JwkSet},
    time::UnixTime,
    token::UnverifiedToken,
};

/// The media type of access tokens (RFC 9068 §2.1).
pub const ACCESS_TOKEN_TYPE: &str = "at+jwt";

/// Seconds that a token may live, `exp - iat`, whatever it says. Revocation entries and retiring
/// keys are kept for the life of a token: an issuer's mistake must not make that endless.
pub const MAX_LIFETIME: i64 = 24 * 60 * 60;

/// Seconds of clock difference that can be configured at most.
pub const MAX_LEEWAY: u32 = 300;

/// What is expected of a token: who issued it, for whom, of which type, with how much leeway.
///
/// There is no way to build one without an issuer and an audience.
#[derive(Clone, Debug)]
pub struct Verifier {
    issuer: String,
    audiences: Vec<String>,
    names_issuer: bool,
    token_type: String,
    algorithms: Vec<Algorithm>,
    leeway: i64,
}

/// A token whose signature and claims have been verified; nothing else can make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedToken {
    claims: Claims,
    key_id: String,
    names_issuer: bool,
}

impl VerifiedToken {
    /// What the token says.
    pub const fn claims(&self) -> &Claims {
        &self.claims
    }

    /// The `kid` of the key that signed it.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Bytes of memory that it takes.
    pub(crate) fn memory(&self) -> usize {
        size_of::<Self>() + self.claims.memory() + text_memory(&self.key_id)
    }

    /// Whether whoever is told of the subject must be told of the issuer, too: it is one of several.
    pub const fn names_issuer(&self) -> bool {
        self.names_issuer
    }
}

impl Verifier {
    /// A verifier of access tokens of `issuer` for `audience`, both compared exactly, without
    /// leeway, of every algorithm for which the issuer publishes a key.
    pub fn new(issuer: impl Into<String>, audience: impl Into<String>) -> Self {
        Self {
            issuer: issuer.into(),
            audiences: Vec::from([audience.into()]),
            names_issuer: false,
            token_type: String::from(ACCESS_TOKEN_TYPE),
            algorithms: Vec::from(Algorithm::ALL),
            leeway: 0,
        }
    }

    /// Accepts tokens for one of `more`, too.
    #[must_use]
    pub fn with_more_audiences(mut self, more: impl IntoIterator<Item = String>) -> Self {
        self.audiences.extend(more);
        self
    }

    /// Says of every token that its issuer is one of several, by which alone its subject is somebody.
    #[must_use]
    pub const fn among_several(mut self) -> Self {
        self.names_issuer = true;
        self
    }

    /// Expects another `typ`.
    #[must_use]
    pub fn with_type(mut self, token_type: impl Into<String>) -> Self {
        self.token_type = token_type.into();
        self
    }

    /// Accepts these algorithms alone, whatever keys the issuer publishes.
    #[must_use]
    pub fn with_algorithms(mut self, algorithms: impl Into<Vec<Algorithm>>) -> Self {
        self.algorithms = algorithms.into();
        self
    }

    /// Tolerates clocks that differ by `seconds`, at most [`MAX_LEEWAY`].
    #[must_use]
    pub fn with_leeway(mut self, seconds: u32) -> Self {
        self.leeway = i64::from(seconds.min(MAX_LEEWAY));
        self
    }

    /// The issuer that is trusted.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The audiences of which a token must have one.
    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// Verifies `token` with the keys of its issuer, at the instant `now`.
    ///
    /// # Errors
    ///
    /// The first that applies of: what [`UnverifiedToken::parse`] refuses; then as
    /// [`verify_parsed`](Self::verify_parsed).
    pub fn verify(
        &self,
        token: &[u8],
        keys: &JwkSet,
        now: UnixTime,
    ) -> Result<VerifiedToken, Rejection> {
        self.verify_parsed(UnverifiedToken::parse(token)?, keys, now)
    }

    /// Verifies a token that has been parsed already.
    ///
    /// # Errors
    ///
    /// The first that applies of [`WrongType`](Rejection::WrongType),
    /// [`KeyUnknown`](Rejection::KeyUnknown),
    /// [`AlgorithmNotAllowed`](Rejection::AlgorithmNotAllowed) where `alg` is not the key's or not
    /// one of [`with_algorithms`](Self::with_algorithms),
    /// [`SignatureInvalid`](Rejection::SignatureInvalid),
    /// [`ClaimMissing`](Rejection::ClaimMissing), [`ClaimInvalid`](Rejection::ClaimInvalid),
    /// [`IssuerMismatch`](Rejection::IssuerMismatch),
    /// [`AudienceMismatch`](Rejection::AudienceMismatch),
    /// [`TokenExpired`](Rejection::TokenExpired),
    /// [`TokenNotYetValid`](Rejection::TokenNotYetValid).
    pub fn verify_parsed(
        &self,
        token: UnverifiedToken<'_>,
        keys: &JwkSet,
        now: UnixTime,
    ) -> Result<VerifiedToken, Rejection> {
        let jwk = self.key_of(&token, keys)?;
        if !jwk.key().verify(token.signing_input(), token.signature()) {
            return Err(Rejection::SignatureInvalid);
        }
        self.believe(token, jwk, now)
    }

    /// The key that must have signed `token`: the first half of
    /// [`verify_parsed`](Self::verify_parsed), up to the signature.
    pub(crate) fn key_of<'k>(
        &self,
        token: &UnverifiedToken<'_>,
        keys: &'k JwkSet,
    ) -> Result<&'k Jwk, Rejection> {
        if !token.has_type(&self.token_type) {
            return Err(Rejection::WrongType);
        }
        let jwk = token
            .unverified_key_id()
            .and_then(|key_id| keys.find(key_id))
            .ok_or(Rejection::KeyUnknown)?;
        let algorithm = token.unverified_algorithm();
        if algorithm != jwk.key().algorithm() || !self.algorithms.contains(&algorithm) {
            return Err(Rejection::AlgorithmNotAllowed);
        }
        Ok(jwk)
    }

    /// The second half, for a token whose signature by `jwk` has been verified: its claims.
    pub(crate) fn believe(
        &self,
        token: UnverifiedToken<'_>,
        jwk: &Jwk,
        now: UnixTime,
    ) -> Result<VerifiedToken, Rejection> {
        let claims = token.into_claims()?;
        self.judge(&claims, now)?;
        Ok(VerifiedToken {
            claims,
            key_id: String::from(jwk.key_id()),
            names_issuer: self.names_issuer,
        })
    }

    /// Judges again what time may have changed about a token that was verified before.
    ///
    /// # Errors
    ///
    /// [`Rejection::TokenExpired`], [`Rejection::TokenNotYetValid`].
    pub fn verify_time(&self, token: &VerifiedToken, now: UnixTime) -> Result<(), Rejection> {
        self.judge_time(&token.claims, now)
    }

    fn judge(&self, claims: &Claims, now: UnixTime) -> Result<(), Rejection> {
        let lifetime = claims.expires_at.since(claims.issued_at);
        if lifetime <= 0 || lifetime > MAX_LIFETIME {
            return Err(Rejection::ClaimInvalid);
        }
        if claims.issuer != self.issuer {
            return Err(Rejection::IssuerMismatch);
        }
        if !self
            .audiences
            .iter()
            .any(|one| claims.audience.contains(one))
        {
            return Err(Rejection::AudienceMismatch);
        }
        self.judge_time(claims, now)
    }

    fn judge_time(&self, claims: &Claims, now: UnixTime) -> Result<(), Rejection> {
        if now >= claims.expires_at.plus(self.leeway) {
            return Err(Rejection::TokenExpired);
        }
        let begins = claims
            .not_before
            .map_or(claims.issued_at, |nbf| nbf.max(claims.issued_at));
        if now < begins.minus(self.leeway) {
            return Err(Rejection::TokenNotYetValid);
        }
        Ok(())
    }
}
