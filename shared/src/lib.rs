//! The rules that Edgekeep's gate and keep both obey.
//!
//! From bytes to a verdict, in this order: [`token`] takes a compact JWS apart, [`verifier`]
//! checks it against a [`jwk`] set and yields the only readable [`claims`], [`revocation`] says
//! whether it was turned away before its time, [`policy`] whether it suffices for a route on its
//! canonical [`path`]. What the gate tells an upstream of it is an [`assertion`].
//!
//! In scope: RFC 7515, 7517, 7518 (ES256, RS256), 7519, 7638, 8017 (§8.2.2), 8037 (Ed25519), 8725,
//! 9068. Out of scope: I/O, clocks, randomness, private keys, HMAC, encryption (JWE).
#![no_std]

extern crate alloc;

pub mod assertion;
pub mod base64url;
pub mod claims;
pub mod control;
pub mod error;
pub mod gate;
pub mod headers;
pub mod json;
pub mod jwk;
pub mod path;
pub mod policy;
pub mod revocation;
pub mod rsa;
pub mod time;
pub mod token;
pub mod url;
pub mod verifier;
