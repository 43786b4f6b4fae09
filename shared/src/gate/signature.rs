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

impl Signatures {
    /// Takes the answer about the token with this very text, and the token as it was read then.
    pub(super) fn take<'t>(
        &mut self,
        text: &'t [u8],
    ) -> Option<(TokenHash, UnverifiedToken<'t>, Answer)> {
        match core::mem::take(self) {
            Self::Known(verdict) if verdict.check.text == text => {
                let SignatureVerdict { check, is_good } = verdict;
                let token = check.token.with_signing_input(&text[..check.signed_len]);
                let key = check.key;
                Some((check.hash, token, Answer { key, is_good }))
            }
            other => {
                *self = other;
                None
            }
        }
    }
}

/// Whether a signature is a key's over a message: the question. With it goes the token, so that it is
/// neither read nor hashed again once the answer is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureCheck {
    text: Vec<u8>,
    hash: TokenHash,
    token: UnverifiedToken<'static>,
    signed_len: usize,
    key: VerifyingKey,
}

/// The answer. It counts for this token under this key and for nothing else, and there is no making
/// one but from the question.
#[derive(Clone, Debug)]
pub struct SignatureVerdict {
    check: Box<SignatureCheck>,
    is_good: bool,
}

impl SignatureCheck {
    /// The question about `token`, which was read from `text`.
    pub(super) fn new(
        text: &[u8],
        hash: TokenHash,
        token: UnverifiedToken<'_>,
        key: &VerifyingKey,
    ) -> Self {
        Self {
            text: text.to_vec(),
            hash,
            signed_len: token.signing_input().len(),
            token: token.with_signing_input(&[]),
            key: key.clone(),
        }
    }

    /// The key.
    pub const fn key(&self) -> &VerifyingKey {
        &self.key
    }

    /// What is signed.
    pub fn signed(&self) -> &[u8] {
        &self.text[..self.signed_len]
    }

    /// The signature, in the fixed-width form of JWS.
    pub fn signature(&self) -> &[u8] {
        self.token.signature()
    }

    /// The answer.
    pub fn answer(self, is_good: bool) -> SignatureVerdict {
        SignatureVerdict {
            check: Box::new(self),
            is_good,
        }
    }
}

/// What was said of a signature.
pub(super) struct Answer {
    key: VerifyingKey,
    is_good: bool,
}

impl Answer {
    /// Whether it is good under `key`; nothing where another one was asked about, since the keys may
    /// have changed meanwhile.
    pub(super) fn under(&self, key: &VerifyingKey) -> Option<bool> {
        (self.key == *key).then_some(self.is_good)
    }
}
