//! Tokens, assertions, keys, revocation and the gate's decision, from outside the crate.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod assertion;
mod corpus;
mod delta;
mod gate;
mod held;
mod issuers;
mod keys;
mod limits;
mod memory;
mod refusals;
mod revocation;
mod said;
mod signatures;
mod support;
mod verifier;
mod wycheproof;
