//! Tokens that were verified before, found again by the SHA-256 of their text.
//!
//! A hit spares the signature and nothing else: time, key, revocation and policy are judged on
//! every request. Only verified tokens get in, so garbage cannot push anything out.

use alloc::{collections::BTreeMap, sync::Arc};

use sha2::{Digest, Sha256};

use crate::verifier::VerifiedToken;

/// The SHA-256 of a token's text: by the whole of it, since a cache that collides hands one
/// person's claims to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of `token`.
    pub fn of(token: &[u8]) -> Self {
        Self(Sha256::digest(token).into())
    }
}

/// A bounded map from token to verdict, in two generations: when the younger is full, the older
/// is dropped whole. What is asked for again moves to the younger. No look-up or insertion walks
/// the map, and no entry outlives `2 × capacity` insertions without being asked for.
#[derive(Debug)]
pub struct VerifiedTokens {
    capacity: usize,
    younger: BTreeMap<TokenHash, Arc<VerifiedToken>>,
    older: BTreeMap<TokenHash, Arc<VerifiedToken>>,
}

impl VerifiedTokens {
    /// A cache that holds at most `2 × capacity` tokens. The claims of one take 0.5 to 2 KiB,
    /// bounded by the token's own 8 KiB.
    pub const fn new(capacity: usize) -> Self {
        Self {
            capacity,
            younger: BTreeMap::new(),
            older: BTreeMap::new(),
        }
    }

    /// The token with this hash, if it was verified before.
    pub fn find(&mut self, hash: &TokenHash) -> Option<Arc<VerifiedToken>> {
        if let Some(token) = self.younger.get(hash) {
            return Some(Arc::clone(token));
        }
        let token = self.older.remove(hash)?;
        self.insert(*hash, Arc::clone(&token));
        Some(token)
    }

    /// Keeps a verified token.
    pub fn insert(&mut self, hash: TokenHash, token: Arc<VerifiedToken>) {
        if self.younger.len() >= self.capacity {
            self.older = core::mem::take(&mut self.younger);
        }
        self.younger.insert(hash, token);
    }

    /// Forgets the tokens of `issuer`: the keys that the verdicts rest on have changed. Another
    /// issuer's stay, or one that changes its keys at every question would spoil them for all.
    pub fn forget(&mut self, issuer: &str) {
        for generation in [&mut self.younger, &mut self.older] {
            generation.retain(|_, token| token.claims().issuer != issuer);
        }
    }

    /// Forgets everything: the keys that the verdicts rest on have changed.
    pub fn clear(&mut self) {
        self.younger.clear();
        self.older.clear();
    }

    /// How many tokens are held.
    pub fn len(&self) -> usize {
        self.younger.len() + self.older.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
