//! A corpus of hostile tokens, each with the code that whoever verifies has to answer.
//!
//! [`corpus`] makes the tokens from fixed keys for one [`Scene`]: the issuer, audience and instant
//! of whoever judges them. Every token is signed rightly unless the signature is the point, so that
//! it is refused for the reason under test and for no other. Good neighbours stand beside them, one
//! step away from what is refused: a verifier that refuses everything fails too.
//!
//! The JWK Set that goes with it is [`jwk_set`]. It holds keys that must be left out; tokens under
//! those are `key_unknown`.
#![expect(
    clippy::unwrap_used,
    reason = "what cannot be made of fixed keys fails the test, with its place"
)]

mod algorithms;
mod bodies;
mod claims;
mod critical;
mod ed25519;
mod encodings;
mod injections;
mod keys;
mod members;
mod neighbours;
mod rsa;
mod scene;
mod signatures;
mod types;
mod weak;

pub use keys::{Key, good_jwks, jwk_set, signing_keys};
pub use rsa::Pair as RsaPair;
pub use scene::{Carrier, Case, Scene, Verdict};

use keys::Keys;
use scene::Corpus;

/// Every case, in a fixed order.
pub fn corpus(scene: &Scene) -> Vec<Case> {
    let keys = Keys::new();
    let mut corpus = Corpus::new(scene, &keys);
    algorithms::add(&mut corpus);
    injections::add(&mut corpus);
    critical::add(&mut corpus);
    signatures::add(&mut corpus);
    ed25519::add(&mut corpus);
    weak::add(&mut corpus);
    encodings::add(&mut corpus);
    claims::add(&mut corpus);
    types::add(&mut corpus);
    bodies::add(&mut corpus);
    neighbours::add(&mut corpus);
    claims::add_boundaries(&mut corpus);
    corpus.into_cases()
}

/// The cases whose verdict changes from one second to the next, which [`corpus`] has too: for
/// whoever judges by a clock that does not stand still.
pub fn boundaries(scene: &Scene) -> Vec<Case> {
    let keys = Keys::new();
    let mut corpus = Corpus::new(scene, &keys);
    claims::add_boundaries(&mut corpus);
    corpus.into_cases()
}
