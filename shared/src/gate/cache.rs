//! Tokens that were verified before, found again by the SHA-256 of their text.
//!
//! A hit spares the signature and nothing else: time, key, revocation and policy are judged on
//! every request. Only verified tokens get in, so garbage cannot push anything out.

use alloc::{boxed::Box, collections::BTreeMap, sync::Arc, vec::Vec};

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

/// Tokens that are kept with their text: at most 8 MiB of it, since none is longer than 8 KiB.
const RECENT: usize = 1_024;

/// A bounded map from token to verdict, in two generations: when the younger is full, the older
/// is dropped whole. What is asked for again moves to the younger. No look-up or insertion walks
/// the map, and no entry outlives `2 × capacity` insertions without being asked for.
///
/// In front of it stand a few tokens with their text. Comparing a text takes a tenth of the time of
/// hashing it, and is as strict.
#[derive(Debug)]
pub struct VerifiedTokens {
    capacity: usize,
    younger: BTreeMap<TokenHash, Arc<VerifiedToken>>,
    older: BTreeMap<TokenHash, Arc<VerifiedToken>>,
    recent: Vec<Option<Recent>>,
}

/// A token that came lately.
#[derive(Clone, Debug)]
struct Recent {
    text: Box<[u8]>,
    token: Arc<VerifiedToken>,
}

impl VerifiedTokens {
    /// A cache that holds at most `2 × capacity` tokens. The claims of one take 0.5 to 2 KiB,
    /// bounded by the token's own 8 KiB.
    pub const fn new(capacity: usize) -> Self {
        Self {
            capacity,
            younger: BTreeMap::new(),
            older: BTreeMap::new(),
            recent: Vec::new(),
        }
    }

    /// The token with this very text, if it came lately; if not, it may still be
    /// [found](Self::find) by its hash.
    pub fn recall(&self, text: &[u8]) -> Option<Arc<VerifiedToken>> {
        let place = place(text, self.recent.len())?;
        let recent = self.recent.get(place)?.as_ref()?;
        (*recent.text == *text).then(|| Arc::clone(&recent.token))
    }

    /// Keeps the text of a token that was verified or found, in the place of another.
    pub fn remember(&mut self, text: &[u8], token: &Arc<VerifiedToken>) {
        if self.recent.is_empty() {
            self.recent.resize(RECENT.min(self.capacity), None);
        }
        let place = place(text, self.recent.len());
        if let Some(slot) = place.and_then(|place| self.recent.get_mut(place)) {
            *slot = Some(Recent {
                text: text.into(),
                token: Arc::clone(token),
            });
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
        for slot in &mut self.recent {
            slot.take_if(|recent| recent.token.claims().issuer == issuer);
        }
    }

    /// Forgets everything: the keys that the verdicts rest on have changed.
    pub fn clear(&mut self) {
        self.younger.clear();
        self.older.clear();
        self.recent.clear();
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

/// Where a text stands among so many recent ones: by the end of its signature, which is as good as
/// random. Whoever aims at a place can do so with tokens of his own alone.
fn place(text: &[u8], places: usize) -> Option<usize> {
    let tail = text.rchunks(8).next().unwrap_or_default();
    let hash = tail.iter().fold(0xcbf2_9ce4_u32, |hash, &byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    ((hash >> 7) as usize).checked_rem(places)
}
