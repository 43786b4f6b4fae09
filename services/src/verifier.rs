//! The verifier, and what it verifies.

use std::ops::Deref;
use std::sync::Arc;

use edgekeep_shared::error::Rejection;
use edgekeep_shared::headers::bearer_token_of;
use edgekeep_shared::verifier;
use http::{HeaderMap, HeaderValue, header};

use crate::judge::Judge;
use crate::layer::VerifyLayer;
use crate::options::{Options, OptionsError};

/// Verifies the access tokens of one issuer. Make one and clone it: the clones share keys, list and
/// the tokens that were verified before. What it does behind requests ends with the last clone.
#[derive(Clone, Debug)]
pub struct Verifier(pub(crate) Arc<Judge>);

impl Verifier {
    /// A verifier that knows nothing yet: the first request has it ask.
    ///
    /// # Errors
    ///
    /// [`OptionsError`]
    pub fn new(options: Options) -> Result<Self, OptionsError> {
        options
            .read()
            .map(|settings| Self(Arc::new(Judge::new(settings))))
    }

    /// Judges a token. It may wait, for at most a second for each, for keys and for a list.
    ///
    /// # Errors
    ///
    /// [`Rejection`]
    pub async fn verify(&self, token: &str) -> Result<VerifiedToken, Rejection> {
        self.0.judge(token).await.map(VerifiedToken)
    }

    /// Judges the token in `Authorization`, which is read as the gate reads it.
    ///
    /// # Errors
    ///
    /// [`Rejection`]
    pub async fn verify_headers(&self, headers: &HeaderMap) -> Result<VerifiedToken, Rejection> {
        let fields = headers.get_all(header::AUTHORIZATION).iter();
        let token = bearer_token_of(fields.map(HeaderValue::as_bytes))?;
        self.verify(token).await
    }

    /// A layer that lets nobody pass without a token that counts.
    pub fn layer(&self) -> VerifyLayer {
        VerifyLayer::new(self.clone())
    }
}

/// An access token whose signature and claims were verified and that is not revoked. Only a
/// [`Verifier`] makes one; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedToken(Arc<verifier::VerifiedToken>);

impl Deref for VerifiedToken {
    type Target = verifier::VerifiedToken;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}
