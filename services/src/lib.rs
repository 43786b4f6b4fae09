//! Edgekeep's verdict on access tokens for Rust services: a tower layer that judges requests as the
//! gate does, and an axum extractor of what was verified.
//!
//! [`Options`] say whom to trust; a [`Verifier`] fetches the issuer's JWK Set and its signed
//! revocation list and keeps them fresh; its [`layer`](Verifier::layer) takes the token from
//! `Authorization`, refuses the request as a problem (RFC 9457) with a challenge (RFC 6750, RFC
//! 9470), or hands on the [`VerifiedToken`]. What it says is judged by `edgekeep_shared`, by the
//! same functions as at the gate; here is what fetches, waits and reads the clock. `docs/
//! rust-services.md` has a whole service.
//!
//! It needs tokio. Out of scope: who may do what with which thing, which is the service's own to
//! know; introspection; tokens in cookies.

mod clock;
#[cfg(feature = "axum")]
mod extract;
mod judge;
mod layer;
mod options;
mod refresh;
mod refused;
mod requirement;
mod source;
mod verifier;

pub use clock::Clock;
pub use edgekeep_shared::claims::Claims;
pub use edgekeep_shared::error::Rejection;
pub use edgekeep_shared::jwk::Algorithm;
pub use layer::{Verify, VerifyLayer};
pub use options::{Options, OptionsError};
pub use refused::Refused;
pub use requirement::Requirement;
pub use verifier::{VerifiedToken, Verifier};
