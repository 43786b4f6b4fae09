//! The revocation list: everything that was turned away before its time, in one signed document.
//!
//! An entry is a hash of 96 bits under a key of the list, so that the list tells nobody which
//! sessions exist, is as long for every kind of identifier, and can be searched where it lies.
//! Among 250,000 entries the chance that a token which was never revoked matches is below 2⁻⁷⁷.
//!
//! Whoever holds a list brings it up to date by a [`RevocationDelta`], which is signed as well; the
//! lists of a series, from one start of the issuer to the next, have one key.
//!
//! Body of a list, all integers little-endian:
//!
//! ```text
//! 16 bytes hash key | u32 jti count | u32 sid count | u32 kid count | u32 sub count
//! jti, sid, kid: 12 bytes each, strictly ascending
//! sub: 12 bytes + i64 not-before each, strictly ascending by the 12 bytes
//! ```

use alloc::vec::Vec;
use core::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};

use crate::{
    claims::Claims,
    control::{self, ControlError, ControlKeys, DocumentType, Pieces},
    time::UnixTime,
    verifier::VerifiedToken,
};

mod delta;
mod entries;

pub use delta::{
    DELTA_MEDIA_TYPE, Edits, HashedEntry, MAX_DELTA_BYTES, NotApplied, RevocationDelta,
    encode_delta, feed_query,
};
pub use entries::{Counts, Entries};

const HASH_BYTES: usize = 12;
const SUBJECT_BYTES: usize = HASH_BYTES + 8;
const KEY_BYTES: usize = 16;

/// Length of the body of a small list: 2,700 entries, or 1,600 subjects. A small one is published whole
/// whenever it changes; whoever finds a larger one in a store asks for the delta beside it, too, since
/// the list itself may be written seldom.
pub const SMALL_LIST_BYTES: usize = 32 * 1024;

/// Key and counts, before the sections.
const PREFIX_BYTES: usize = KEY_BYTES + size_of::<Counts>();

type Hash = [u8; HASH_BYTES];

/// What kind of identifier an entry names. The discriminant is hashed with the identifier, so
/// that a session and a token of the same name are two things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
enum Kind {
    Token = 1,
    Session = 2,
    Key = 3,
    Subject = 4,
}

impl Kind {
    /// All of them, in the order of their sections.
    const ALL: [Self; 4] = [Self::Token, Self::Session, Self::Key, Self::Subject];

    /// Its place among the sections.
    const fn index(self) -> usize {
        self as usize - 1
    }

    /// Bytes of an entry.
    const fn width(self) -> usize {
        match self {
            Self::Subject => SUBJECT_BYTES,
            _ => HASH_BYTES,
        }
    }
}

/// Something that is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// The token with this `jti`.
    Token(&'a str),
    /// Every token with this `sid`.
    Session(&'a str),
    /// Every token signed by the key with this `kid`.
    Key(&'a str),
    /// Every token of the subject issued at or before the instant.
    Subject(&'a str, UnixTime),
}

/// By what a token is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevokedBy {
    /// Its `jti`.
    Token,
    /// Its `sid`.
    Session,
    /// The `kid` of its key.
    Key,
    /// Its `sub`, at or after its `iat`.
    Subject,
}

/// The key of the hashes in a series of lists: 16 random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashKey(pub [u8; KEY_BYTES]);

impl HashKey {
    fn hash(&self, kind: Kind, identifier: &str) -> Hash {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(&[kind as u8]);
        hasher.write(identifier.as_bytes());
        let mut hash = [0; HASH_BYTES];
        hash.copy_from_slice(&hasher.finish128().as_bytes()[..HASH_BYTES]);
        hash
    }
}

/// Encodes the body of a list. Repeated entries are folded into one; of two instants for one
/// subject the later counts.
pub fn encode<'a>(key: &HashKey, entries: impl IntoIterator<Item = Entry<'a>>) -> Vec<u8> {
    Entries::new(key, entries).body(key)
}

fn split_counts(bytes: &[u8]) -> Option<(Counts, &[u8])> {
    let (counts, rest) = bytes.split_first_chunk::<{ size_of::<Counts>() }>()?;
    let (counts, _) = counts.as_chunks::<4>();
    let counts: &[[u8; 4]; 4] = counts.first_chunk()?;
    Some((counts.map(u32::from_le_bytes), rest))
}

/// A revocation list of the trusted issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationList {
    sequence: u64,
    issued_at: UnixTime,
    key: HashKey,
    entries: Entries,
}

/// A list whose signature is being verified in pieces.
#[derive(Debug)]
pub struct Opening(Pieces);

impl Opening {
    /// Hashes the next megabyte; whether there is more.
    pub fn advance(&mut self) -> bool {
        self.0.advance()
    }

    /// The list, after whatever pieces were left.
    ///
    /// # Errors
    ///
    /// As of [`RevocationList::open`].
    pub fn finish(self) -> Result<RevocationList, ControlError> {
        let document = self.0.finish()?;
        RevocationList::decode(document.body, document.sequence, document.issued_at)
            .ok_or(ControlError::BodyInvalid)
    }
}

impl RevocationList {
    /// Opens a signed list of `issuer`.
    ///
    /// # Errors
    ///
    /// [`ControlError`], by cause.
    pub fn open(
        bytes: &[u8],
        control_keys: &ControlKeys,
        issuer: &str,
    ) -> Result<Self, ControlError> {
        let document = control::open(bytes, control_keys, DocumentType::Revocations, issuer)?;
        Self::decode(document.body.into(), document.sequence, document.issued_at)
            .ok_or(ControlError::BodyInvalid)
    }

    /// Begins to open a signed list that may have megabytes, to go on in pieces. The list will lie
    /// where the document does: it is not copied.
    ///
    /// # Errors
    ///
    /// [`ControlError`] for what can be seen without the signature.
    pub fn opening(
        bytes: Vec<u8>,
        control_keys: &ControlKeys,
        issuer: &str,
    ) -> Result<Opening, ControlError> {
        Pieces::begin(bytes, control_keys, DocumentType::Revocations, issuer).map(Opening)
    }

    fn decode(mut body: Vec<u8>, sequence: u64, issued_at: UnixTime) -> Option<Self> {
        let (key, rest) = body.split_first_chunk::<KEY_BYTES>()?;
        let (key, (counts, _)) = (HashKey(*key), split_counts(rest)?);
        body.drain(..PREFIX_BYTES);
        Some(Self {
            sequence,
            issued_at,
            key,
            entries: Entries::from_sections(body, counts)?,
        })
    }

    /// By what `token` is revoked, if it is. Allocates nothing.
    pub fn find(&self, token: &VerifiedToken) -> Option<RevokedBy> {
        self.find_claims(token.claims(), token.key_id())
    }

    fn find_claims(&self, claims: &Claims, key_id: &str) -> Option<RevokedBy> {
        let find = |kind, identifier| {
            if self.entries.has_none(kind) {
                return None;
            }
            self.entries.find(kind, &self.key.hash(kind, identifier))
        };
        if find(Kind::Key, key_id).is_some() {
            return Some(RevokedBy::Key);
        }
        let session = claims.session_id.as_deref();
        if session.is_some_and(|session| find(Kind::Session, session).is_some()) {
            return Some(RevokedBy::Session);
        }
        if find(Kind::Token, &claims.token_id).is_some() {
            return Some(RevokedBy::Token);
        }
        let (_, not_before) = find(Kind::Subject, &claims.subject)?.split_last_chunk::<8>()?;
        (claims.issued_at.0 <= i64::from_le_bytes(*not_before)).then_some(RevokedBy::Subject)
    }

    /// The list's place among the lists of its issuer.
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// When it was signed.
    pub const fn issued_at(&self) -> UnixTime {
        self.issued_at
    }

    /// The key of its hashes: the name of the series of lists that deltas continue.
    pub const fn key(&self) -> &HashKey {
        &self.key
    }

    /// How many entries it has.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is revoked.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether it is published whole whenever it changes; see [`SMALL_LIST_BYTES`].
    pub const fn is_small(&self) -> bool {
        self.entries.body_len() <= SMALL_LIST_BYTES
    }

    /// Bytes of memory that its entries take.
    pub const fn memory(&self) -> usize {
        self.entries.memory()
    }

    /// Whether the list may take the place of `held`: of a lower sequence it may not, since
    /// someone may be replaying it.
    pub fn replaces(&self, held: Option<&Self>) -> bool {
        held.is_none_or(|held| self.sequence >= held.sequence)
    }
}
