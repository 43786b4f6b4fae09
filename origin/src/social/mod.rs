//! Logging in at somebody else's identity provider: OpenID Connect, and OAuth 2 where there is no
//! ID token.
//!
//! 1. `POST /social/{provider}/start` begins a flow: a `state`, a `nonce`, a PKCE verifier, and a
//!    secret that binds it to whoever began it.
//! 2. The browser goes to the provider and comes back to `GET /social/{provider}/callback`, which
//!    consumes the `state`, asks the provider who that was, and sends the browser on to a page of
//!    the application with a code of ours. No token is ever part of a URL.
//! 3. The application exchanges the code, together with the binding, for tokens
//!    (`POST /social/exchange`), or for a link between the account that it is logged in with and
//!    the identity (`POST /social/link`).
//!
//! # Why a login cannot be forced on anybody
//!
//! Whoever can make another's browser finish a login that they began themselves has that person
//! work in the wrong account, and whoever can finish one that the other began has the account.
//! So a flow is bound at both ends:
//!
//! - *By a cookie*, for browsers: `__Host-`, so that no other host can plant it, `HttpOnly`, and
//!   `SameSite=Lax`, which comes along when the provider sends the browser back. The callback
//!   consumes a state only together with its cookie, and the exchange asks for it again: a code
//!   that is read from a log or a history is worth nothing.
//! - *By a flow token*, for applications that open the system's browser (RFC 8252), whose cookies
//!   they do not share. It is in the answer of `start` and nowhere else, and only the exchange asks
//!   for it. Whoever hands another a code has no use for it, since the other's application holds
//!   another token. Whoever hands another the address to log in at gets no code, which goes where
//!   the configuration says: to one of `social.app_return_urls`, which are for this binding alone.
//!   (No page of a web application can be sent such a code: what its page shows to others, in a
//!   `Referer` or to those who count visits, is then worth nothing to them.)
//!
//! Each flow has a cookie of its own, so that two tabs do not end each other's login.
//!
//! # Who somebody is
//!
//! An identity is the provider with its issuer and its `sub`: addresses change and are given to
//! others. An address is looked at once, when an identity is seen for the first time, and never
//! links it to an account that is there already (`identities.rs`).
//!
//! Clauses: RFC 6749, RFC 7636 (PKCE, `S256` always), RFC 9207 (`iss`), RFC 9700 (exact redirect,
//! one redirect URI for each provider against mix-up), OpenID Connect Core and Discovery 1.0.

use std::collections::BTreeMap;

use url::Url;

mod cache;
mod facts;
mod fetch;
mod flow;
mod id_token;
mod identities;
mod keys;
mod oauth2;
mod oidc;
mod provider;
pub mod routes;
mod store;

use crate::config::Config;
use crate::error::Error;
use provider::Provider;

pub(crate) use flow::AMR as FEDERATED;
pub(crate) use identities::{View as Identity, list as identities_of, withdraw};

/// Why a provider did not tell who somebody is.
#[derive(Clone, Copy, Debug, thiserror::Error)]
enum Failure {
    /// It cannot be reached, or does not work; the same may succeed later.
    #[error("{0}")]
    Unavailable(&'static str),
    /// What it says is not to be believed, or is a no.
    #[error("{0}")]
    Refused(&'static str),
    /// The person said no at the provider.
    #[error("denied at the provider")]
    Denied,
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unavailable(cause) => Self::Unavailable(cause),
            Failure::Refused(cause) => Self::IdentityRefused(cause),
            Failure::Denied => Self::IdentityRefused("denied at the provider"),
        }
    }
}

/// The configured providers.
#[derive(Debug)]
pub struct Social {
    providers: BTreeMap<String, Provider>,
}

impl Social {
    /// The providers of `config`; none of them is asked for anything yet.
    ///
    /// # Errors
    /// When the machine's TLS roots cannot be read.
    pub fn new(config: &Config) -> Result<Self, Error> {
        let providers = config
            .social
            .providers
            .iter()
            .map(|(name, settings)| {
                // From the configuration, never from a header of a request (RFC 9700 §4.1).
                let redirect_uri =
                    format!("{}/api/v1/auth/social/{name}/callback", config.issuer());
                Ok((name.clone(), Provider::new(name, settings, redirect_uri)?))
            })
            .collect::<Result<_, Error>>()?;
        Ok(Self { providers })
    }

    /// # Errors
    /// [`Error::NotFound`] for a name that is not configured.
    fn provider(&self, name: &str) -> Result<&Provider, Error> {
        self.providers.get(name).ok_or(Error::NotFound)
    }
}

/// A URL that the configuration or a provider's metadata has.
fn endpoint(text: &str) -> Option<Url> {
    crate::config::is_endpoint(text).then(|| Url::parse(text).ok())?
}
