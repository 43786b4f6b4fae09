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

/// Bytes that a generation has for each token of its capacity. Ours take 1 KiB; one whose issuer fills
/// its 8 KiB with the shortest texts takes nearly 100.
const BYTES_EACH: usize = 2 * 1024;

/// What the map takes for a token, beside the token.
const ENTRY: usize = 64;

/// A map from token to verdict, bounded in count and bytes, in two generations: when the younger is
/// full, the older is dropped whole. What is asked for again moves to the younger. No look-up or
/// insertion walks the map, and no entry outlives `2 × capacity` insertions without being asked for.
///
/// In front of it stand a few tokens with their text. Comparing a text takes a tenth of the time of
/// hashing it, and is as strict. All of them are in the younger generation, so that of their memory
/// the text alone comes on top.
#[derive(Debug)]
pub struct VerifiedTokens {
    capacity: usize,
    younger: Generation,
    older: Generation,
    /// Bytes of the younger.
    bytes: usize,
    recent: Vec<Option<Recent>>,
}

type Generation = BTreeMap<TokenHash, Arc<VerifiedToken>>;

/// A token that came lately.
#[derive(Clone, Debug)]
struct Recent {
    text: Box<[u8]>,
    token: Arc<VerifiedToken>,
}

impl VerifiedTokens {
    /// A cache that holds at most `2 × capacity` tokens, and at most 4 KiB for each of them or, if that
    /// is more, two tokens; beside some texts.
    pub const fn new(capacity: usize) -> Self {
        Self {
            capacity,
            younger: BTreeMap::new(),
            older: BTreeMap::new(),
            bytes: 0,
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

    /// Keeps the text of a token that was inserted or found, in the place of another.
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
        let bytes = memory(&token);
        let most = self.capacity.saturating_mul(BYTES_EACH);
        let is_full = self.younger.len() >= self.capacity || self.bytes + bytes > most;
        if is_full && !self.younger.is_empty() {
            self.older = core::mem::take(&mut self.younger);
            self.bytes = 0;
            self.recent.clear();
        }
        self.bytes += bytes;
        if let Some(same) = self.younger.insert(hash, token) {
            self.bytes -= memory(&same);
        }
    }

    /// Forgets the tokens of `issuer`: the keys that the verdicts rest on have changed. Another
    /// issuer's stay, or one that changes its keys at every question would spoil them for all.
    pub fn forget(&mut self, issuer: &str) {
        for generation in [&mut self.younger, &mut self.older] {
            generation.retain(|_, token| token.claims().issuer != issuer);
        }
        self.bytes = held(&self.younger);
        for slot in &mut self.recent {
            slot.take_if(|recent| recent.token.claims().issuer == issuer);
        }
    }

    /// Forgets everything: the keys that the verdicts rest on have changed.
    pub fn clear(&mut self) {
        self.younger.clear();
        self.older.clear();
        self.bytes = 0;
        self.recent.clear();
    }

    /// How many tokens are held.
    pub fn len(&self) -> usize {
        self.younger.len() + self.older.len()
    }

    /// Bytes of memory that they take, and the texts beside them.
    pub fn memory(&self) -> usize {
        let texts = self.recent.iter().flatten();
        let texts: usize = texts.map(|recent| recent.text.len()).sum();
        held(&self.younger) + held(&self.older) + texts
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn memory(token: &VerifiedToken) -> usize {
    ENTRY + token.memory()
}

fn held(generation: &Generation) -> usize {
    generation.values().map(|token| memory(token)).sum()
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
