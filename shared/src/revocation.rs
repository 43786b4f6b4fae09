//! The revocation list: everything that was turned away before its time, in one signed document.
//!
//! An entry is a hash of 96 bits under a key of the list, so that the list tells nobody which
//! sessions exist, is as long for every kind of identifier, and can be searched where it lies.
//! Among 250,000 entries the chance that a token which was never revoked matches is below 2⁻⁷⁷.
//!
//! Body, all integers little-endian:
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
    control::{self, ControlError, ControlKeys, DocumentType},
    time::UnixTime,
    verifier::VerifiedToken,
};

const HASH_BYTES: usize = 12;
const SUBJECT_BYTES: usize = HASH_BYTES + 8;
const KEY_BYTES: usize = 16;

type Hash = [u8; HASH_BYTES];

/// What kind of identifier an entry names. The discriminant is hashed with the identifier, so
/// that a session and a token of the same name are two things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Kind {
    Token = 1,
    Session = 2,
    Key = 3,
    Subject = 4,
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

/// The key of one list's hashes: 16 random bytes.
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
    let (mut tokens, mut sessions, mut keys) = (Vec::new(), Vec::new(), Vec::new());
    let mut subjects: Vec<(Hash, i64)> = Vec::new();
    for entry in entries {
        match entry {
            Entry::Token(id) => tokens.push(key.hash(Kind::Token, id)),
            Entry::Session(id) => sessions.push(key.hash(Kind::Session, id)),
            Entry::Key(id) => keys.push(key.hash(Kind::Key, id)),
            Entry::Subject(id, at) => subjects.push((key.hash(Kind::Subject, id), at.0)),
        }
    }
    for hashes in [&mut tokens, &mut sessions, &mut keys] {
        hashes.sort_unstable();
        hashes.dedup();
    }
    subjects.sort_unstable();
    // `dedup_by` drops its first argument, the later element: keep the larger instant.
    subjects.dedup_by(|later, earlier| {
        let same = later.0 == earlier.0;
        if same {
            earlier.1 = later.1;
        }
        same
    });

    let mut body = Vec::from(key.0);
    for count in [tokens.len(), sessions.len(), keys.len(), subjects.len()] {
        // More than 2³² hashes exceed what a document may hold many times over.
        body.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
    }
    for hash in [tokens, sessions, keys].iter().flatten() {
        body.extend_from_slice(hash);
    }
    for (hash, not_before) in subjects {
        body.extend_from_slice(&hash);
        body.extend_from_slice(&not_before.to_le_bytes());
    }
    body
}

/// A revocation list of the trusted issuer.
#[derive(Clone, Debug)]
pub struct RevocationList {
    sequence: u64,
    issued_at: UnixTime,
    key: HashKey,
    tokens: Vec<Hash>,
    sessions: Vec<Hash>,
    keys: Vec<Hash>,
    subjects: Vec<(Hash, UnixTime)>,
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
        Self::decode(document.body, document.sequence, document.issued_at)
            .ok_or(ControlError::BodyInvalid)
    }

    fn decode(body: &[u8], sequence: u64, issued_at: UnixTime) -> Option<Self> {
        let (key, rest) = body.split_first_chunk::<KEY_BYTES>()?;
        let (counts, rest) = rest.split_first_chunk::<16>()?;
        let (counts, _) = counts.as_chunks::<4>();
        let mut rest = rest;
        let mut section = |index: usize, width: usize| {
            let count = usize::try_from(u32::from_le_bytes(counts[index])).ok()?;
            let (section, after) = rest.split_at_checked(count.checked_mul(width)?)?;
            rest = after;
            Some(section)
        };
        let [tokens, sessions, keys] = [
            section(0, HASH_BYTES)?,
            section(1, HASH_BYTES)?,
            section(2, HASH_BYTES)?,
        ]
        .map(|section| section.as_chunks::<HASH_BYTES>().0.to_vec());
        let subjects: Vec<(Hash, UnixTime)> = section(3, SUBJECT_BYTES)?
            .as_chunks::<SUBJECT_BYTES>()
            .0
            .iter()
            .filter_map(|entry| {
                let (hash, not_before) = entry.split_first_chunk::<HASH_BYTES>()?;
                let not_before = i64::from_le_bytes(not_before.try_into().ok()?);
                Some((*hash, UnixTime(not_before)))
            })
            .collect();
        let sorted = [&tokens, &sessions, &keys]
            .iter()
            .all(|hashes| hashes.is_sorted_by(|a, b| a < b))
            && subjects.is_sorted_by(|a, b| a.0 < b.0);
        (rest.is_empty() && sorted).then_some(Self {
            sequence,
            issued_at,
            key: HashKey(*key),
            tokens,
            sessions,
            keys,
            subjects,
        })
    }

    /// By what `token` is revoked, if it is. Allocates nothing.
    pub fn find(&self, token: &VerifiedToken) -> Option<RevokedBy> {
        self.find_claims(token.claims(), token.key_id())
    }

    fn find_claims(&self, claims: &Claims, key_id: &str) -> Option<RevokedBy> {
        let listed = |hashes: &[Hash], kind, identifier| {
            !hashes.is_empty()
                && hashes
                    .binary_search(&self.key.hash(kind, identifier))
                    .is_ok()
        };
        if listed(&self.keys, Kind::Key, key_id) {
            return Some(RevokedBy::Key);
        }
        let session = claims.session_id.as_deref();
        if session.is_some_and(|session| listed(&self.sessions, Kind::Session, session)) {
            return Some(RevokedBy::Session);
        }
        if listed(&self.tokens, Kind::Token, &claims.token_id) {
            return Some(RevokedBy::Token);
        }
        if !self.subjects.is_empty() {
            let hash = self.key.hash(Kind::Subject, &claims.subject);
            let found = self
                .subjects
                .binary_search_by_key(&hash, |(hash, _)| *hash)
                .ok()?;
            if claims.issued_at <= self.subjects[found].1 {
                return Some(RevokedBy::Subject);
            }
        }
        None
    }

    /// The list's place among the lists of its issuer.
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// When it was signed.
    pub const fn issued_at(&self) -> UnixTime {
        self.issued_at
    }

    /// How many entries it has.
    pub const fn len(&self) -> usize {
        self.tokens.len() + self.sessions.len() + self.keys.len() + self.subjects.len()
    }

    /// Whether nothing is revoked.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the list may take the place of `held`: of a lower sequence it may not, since
    /// someone may be replaying it.
    pub fn replaces(&self, held: Option<&Self>) -> bool {
        held.is_none_or(|held| self.sequence >= held.sequence)
    }
}
