//! The tower layer: each request is judged before the service behind it sees it.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use edgekeep_shared::error::Rejection;
use edgekeep_shared::policy;
use edgekeep_shared::time::UnixTime;
use http::{HeaderMap, Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use crate::options::OptionsError;
use crate::refused::Refused;
use crate::requirement::Requirement;
use crate::verifier::{VerifiedToken, Verifier};

/// Says in a request's extensions that a layer has looked for a token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Judged;

/// A layer that judges requests; made by [`Verifier::layer`].
///
/// It puts the [`VerifiedToken`] into the extensions of what passes. A CORS layer belongs in front of
/// it: a preflight brings no token.
#[derive(Clone, Debug)]
pub struct VerifyLayer(Arc<Access>);

/// Who may pass.
#[derive(Clone, Debug)]
struct Access {
    verifier: Verifier,
    requirement: policy::Requirement,
    is_optional: bool,
}

impl VerifyLayer {
    pub(crate) fn new(verifier: Verifier) -> Self {
        Self(Arc::new(Access {
            verifier,
            requirement: policy::Requirement::default(),
            is_optional: false,
        }))
    }

    /// Asks for this besides, in the place of what was asked for before.
    ///
    /// # Errors
    ///
    /// [`OptionsError`] for what a policy would not take: a list that is empty or too long, a value
    /// that no token can have.
    pub fn require(mut self, requirement: Requirement) -> Result<Self, OptionsError> {
        Arc::make_mut(&mut self.0).requirement = requirement.checked()?;
        Ok(self)
    }

    /// Lets requests without a token pass, too. One that is sent has to count all the same: whoever
    /// was logged out should hear of it.
    #[must_use]
    pub fn optional(mut self) -> Self {
        Arc::make_mut(&mut self.0).is_optional = true;
        self
    }
}

impl<S> Layer<S> for VerifyLayer {
    type Service = Verify<S>;

    fn layer(&self, inner: S) -> Verify<S> {
        Verify {
            inner,
            access: Arc::clone(&self.0),
        }
    }
}

/// A service behind a [`VerifyLayer`].
#[derive(Clone, Debug)]
pub struct Verify<S> {
    inner: S,
    access: Arc<Access>,
}

impl<S, B, R> Service<Request<B>> for Verify<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: From<String>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // The one that said that it is ready, not its clone.
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        let access = Arc::clone(&self.access);
        Box::pin(async move {
            match access.judge(request.headers()).await {
                Ok(token) => {
                    let extensions = request.extensions_mut();
                    // Another layer's word is not this one's.
                    extensions.remove::<VerifiedToken>();
                    extensions.insert(Judged);
                    if let Some(token) = token {
                        extensions.insert(token);
                    }
                    inner.call(request).await
                }
                Err(refused) => Ok(refused.into_http()),
            }
        })
    }
}

impl Access {
    async fn judge(&self, headers: &HeaderMap) -> Result<Option<VerifiedToken>, Refused> {
        let token = match self.verifier.verify_headers(headers).await {
            Ok(token) => token,
            Err(Rejection::TokenMissing) if self.is_optional => return Ok(None),
            Err(rejection) => return Err(Refused::new(rejection, None, headers)),
        };
        let UnixTime(now) = self.verifier.0.seconds();
        // Nothing is asked of a path, which has no pattern here.
        self.requirement
            .check(&token.claims().holder(), |_| None, now)
            .map_err(|missing| Refused::new(missing.rejection(), Some(missing), headers))?;
        Ok(Some(token))
    }
}
