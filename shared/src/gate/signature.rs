//! Signatures that somebody else verifies.
//!
//! Native code verifies ES256 eight times as fast as this crate does in WebAssembly, and can be had
//! in a worker, but only asynchronously. So the decision hands the question out, and is made again
//! with the answer. Everything but that one question stays here: what a key is good for, which
//! key it is, and in which order a token is judged. Ed25519 is not asked about, since others are
//! less strict with it than [`VerifyingKey::verify`].

use alloc::{boxed::Box, vec::Vec};

use super::cache::TokenHash;
use crate::{jwk::VerifyingKey, token::UnverifiedToken};

/// Who verifies signatures.
#[derive(Clone, Debug, Default)]
pub enum Signatures {
    /// This crate.
    #[default]
    Here,
    /// The caller, of those that may be verified elsewhere.
    Elsewhere,
    /// The caller has; what the verdict is not about is verified by this crate.
    Known(SignatureVerdict),
}

/// Whether a signature is a key's over a message: the question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureCheck {
    token: TokenHash,
    key: VerifyingKey,
    signed: Vec<u8>,
    signature: Vec<u8>,
}

/// The answer. It counts for this token under this key and for nothing else, and there is no making
/// one but from the question.
#[derive(Clone, Debug)]
pub struct SignatureVerdict {
    token: TokenHash,
    key: Box<VerifyingKey>,
    pub(super) is_good: bool,
}

impl SignatureCheck {
    /// The question about `token`, unless its answer is this crate's alone.
    pub(super) fn of(
        hash: TokenHash,
        token: &UnverifiedToken<'_>,
        key: &VerifyingKey,
    ) -> Option<Self> {
        key.is_told_alike(token.signature()).then(|| Self {
            token: hash,
            key: key.clone(),
            signed: token.signing_input().to_vec(),
            signature: token.signature().to_vec(),
        })
    }

    /// The key.
    pub const fn key(&self) -> &VerifyingKey {
        &self.key
    }

    /// What is signed.
    pub fn signed(&self) -> &[u8] {
        &self.signed
    }

    /// The signature, in the fixed-width form of JWS.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// The answer.
    pub fn answer(self, is_good: bool) -> SignatureVerdict {
        SignatureVerdict {
            token: self.token,
            key: Box::new(self.key),
            is_good,
        }
    }
}

impl SignatureVerdict {
    /// Whether this is about the token with this hash under this key, which may have changed
    /// meanwhile.
    pub(super) fn is_about(&self, token: &TokenHash, key: &VerifyingKey) -> bool {
        self.token == *token && *self.key == *key
    }
}
