//! What changed since a list: signed like the list, and applied to it where it is held.
//!
//! A delta says of everything that changed after the list of one sequence number, the base, how it
//! stands in the list of another, its own. It leads from every list between the two to the later
//! one, since what it does not name did not change. Body, all integers little-endian:
//!
//! ```text
//! 16 bytes hash key | u64 base sequence
//! u32 jti, sid, kid, sub: entries of the later list
//! u32 jti, sid, kid, sub: entries that are added | the same: entries that are removed
//! added: as in a list | removed: 12 bytes each, by kind, strictly ascending, none of them added
//! ```
//!
//! Hashes are comparable under one key alone, so that a delta of another series of lists, which
//! begins with each start of the issuer, cannot be applied by mistake.

use alloc::{borrow::Cow, format, string::String, vec::Vec};
use core::fmt;

use super::{
    Counts, Entry, HASH_BYTES, Hash, HashKey, KEY_BYTES, Kind, RevocationList,
    entries::{is_strictly_sorted, ordinal, total},
};
use crate::{
    base64url,
    control::{self, ControlError, ControlKeys, DocumentType},
    time::UnixTime,
};

/// The media type of a delta, by which whoever asks the issuer's feed tells it from a list.
pub const DELTA_MEDIA_TYPE: &str = "application/vnd.edgekeep.revocations-delta";

/// Length of a delta: 43,000 changes, two minutes of a list of 250,000 entries. Applying so many
/// takes a few milliseconds in WebAssembly; whoever missed more fetches the list.
pub const MAX_DELTA_BYTES: usize = 512 * 1024;

/// An entry as lists name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HashedEntry {
    pub(super) kind: Kind,
    pub(super) hash: Hash,
}

impl HashKey {
    /// `entry` as the lists of this key name it, with the instant that counts for a subject.
    pub fn hash_entry(&self, entry: Entry<'_>) -> (HashedEntry, UnixTime) {
        let (kind, identifier, at) = match entry {
            Entry::Token(id) => (Kind::Token, id, UnixTime(0)),
            Entry::Session(id) => (Kind::Session, id, UnixTime(0)),
            Entry::Key(id) => (Kind::Key, id, UnixTime(0)),
            Entry::Subject(id, at) => (Kind::Subject, id, at),
        };
        let hash = self.hash(kind, identifier);
        (HashedEntry { kind, hash }, at)
    }
}

/// Entries to add and to remove, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edits<'a> {
    bytes: Cow<'a, [u8]>,
    added: Counts,
    removed: Counts,
}

impl Edits<'static> {
    /// How entries stand afterwards: there, subjects with their instant, or `None`, not there. If an
    /// entry is named twice, being there counts, and the later instant.
    pub fn new(touched: impl IntoIterator<Item = (HashedEntry, Option<UnixTime>)>) -> Self {
        let mut touched: Vec<_> = touched.into_iter().collect();
        touched.sort_unstable();
        // `dedup_by` drops its first argument, the later element: keep what it says.
        touched.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                earlier.1 = later.1;
            }
            same
        });
        let (mut bytes, mut gone) = (Vec::with_capacity(touched.len() * HASH_BYTES), Vec::new());
        let (mut added, mut removed) = (Counts::default(), Counts::default());
        for (entry, state) in touched {
            let index = entry.kind.index();
            if let Some(at) = state {
                bytes.extend_from_slice(&entry.hash);
                if entry.kind == Kind::Subject {
                    bytes.extend_from_slice(&at.0.to_le_bytes());
                }
                added[index] += 1;
            } else {
                gone.extend_from_slice(&entry.hash);
                removed[index] += 1;
            }
        }
        bytes.append(&mut gone);
        Self {
            bytes: Cow::Owned(bytes),
            added,
            removed,
        }
    }
}

impl<'a> Edits<'a> {
    /// Edits as they stand in a delta; `None` unless they are as long as they say, in order, and
    /// nothing is both added and removed.
    fn decode(bytes: &'a [u8], added: Counts, removed: Counts) -> Option<Self> {
        let end = total(&added, Kind::width)?;
        if end.checked_add(total(&removed, |_| HASH_BYTES)?)? != bytes.len() {
            return None;
        }
        let bytes = Cow::Borrowed(bytes);
        let edits = Self {
            bytes,
            added,
            removed,
        };
        let in_order = |kind: &Kind| {
            let (added, removed) = (edits.added_section(*kind), edits.removed_section(*kind));
            is_strictly_sorted(added, kind.width())
                && is_strictly_sorted(removed, HASH_BYTES)
                && are_disjoint(edits.added(*kind), edits.removed(*kind))
        };
        Kind::ALL.iter().all(in_order).then_some(edits)
    }

    fn added_section(&self, kind: Kind) -> &[u8] {
        let start: usize = Kind::ALL[..kind.index()]
            .iter()
            .map(|before| self.added[before.index()] as usize * before.width())
            .sum();
        let length = self.added[kind.index()] as usize * kind.width();
        &self.bytes[start..start + length]
    }

    fn removed_section(&self, kind: Kind) -> &[u8] {
        let before: u32 = self.removed[..kind.index()].iter().sum();
        let all: u32 = self.removed.iter().sum();
        let start = self.bytes.len() - (all - before) as usize * HASH_BYTES;
        &self.bytes[start..start + self.removed[kind.index()] as usize * HASH_BYTES]
    }

    /// Entries of the kind that are added, in order.
    pub(super) fn added(&self, kind: Kind) -> impl Iterator<Item = &[u8]> {
        self.added_section(kind).chunks_exact(kind.width())
    }

    /// Hashes of the kind that are removed, in order.
    pub(super) fn removed(&self, kind: Kind) -> impl Iterator<Item = &[u8]> {
        self.removed_section(kind).chunks_exact(HASH_BYTES)
    }

    pub(super) const fn added_counts(&self) -> &Counts {
        &self.added
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes.into_owned()
    }

    /// How many entries are added and removed.
    pub fn len(&self) -> usize {
        let counts = self.added.iter().chain(&self.removed);
        counts.map(|count| *count as usize).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

fn are_disjoint<'e>(
    added: impl Iterator<Item = &'e [u8]>,
    removed: impl Iterator<Item = &'e [u8]>,
) -> bool {
    let mut removed = removed.map(ordinal).peekable();
    for entry in added.map(ordinal) {
        while removed.next_if(|hash| *hash < entry).is_some() {}
        if removed.peek() == Some(&entry) {
            return false;
        }
    }
    true
}

/// What asks the issuer's feed for a delta: the query of whoever holds the list numbered `sequence` of
/// the series with this key.
pub fn feed_query(sequence: u64, key: &HashKey) -> String {
    format!("since={sequence}&key={}", base64url::encode(&key.0))
}

/// Encodes the body of a delta from the list numbered `base` to one of `counts` entries.
pub fn encode_delta(key: &HashKey, base: u64, counts: &Counts, edits: &Edits<'_>) -> Vec<u8> {
    let mut body = Vec::from(key.0);
    body.extend_from_slice(&base.to_le_bytes());
    for count in [counts, &edits.added, &edits.removed].into_iter().flatten() {
        body.extend_from_slice(&count.to_le_bytes());
    }
    body.extend_from_slice(&edits.bytes);
    body
}

/// Why a delta was not applied; the list is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotApplied {
    /// It leads to the list that is held or to an earlier one: nothing new, or replayed.
    Older,
    /// It says that it was signed in the future.
    Future,
    /// It is of another series of lists.
    Foreign,
    /// It begins after the list that is held: something in between is missing.
    Gap,
    /// It does not lead to as many entries as it says: not of this list after all.
    Diverged,
}

impl fmt::Display for NotApplied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Older => "it leads to no newer list",
            Self::Future => "it was signed in the future",
            Self::Foreign => "it is of another series of lists",
            Self::Gap => "it begins after the list that is held",
            Self::Diverged => "it does not fit the list that is held",
        })
    }
}

impl core::error::Error for NotApplied {}

/// A delta of the trusted issuer.
#[derive(Clone, Debug)]
pub struct RevocationDelta<'a> {
    sequence: u64,
    issued_at: UnixTime,
    base: u64,
    key: HashKey,
    counts: Counts,
    edits: Edits<'a>,
}

impl<'a> RevocationDelta<'a> {
    /// Opens a signed delta of `issuer`.
    ///
    /// # Errors
    ///
    /// [`ControlError`], by cause.
    pub fn open(
        bytes: &'a [u8],
        control_keys: &ControlKeys,
        issuer: &str,
    ) -> Result<Self, ControlError> {
        if bytes.len() > MAX_DELTA_BYTES {
            return Err(ControlError::TooLarge);
        }
        let expected = DocumentType::RevocationsDelta;
        let document = control::open(bytes, control_keys, expected, issuer)?;
        Self::decode(document.body, document.sequence, document.issued_at)
            .ok_or(ControlError::BodyInvalid)
    }

    fn decode(body: &'a [u8], sequence: u64, issued_at: UnixTime) -> Option<Self> {
        let (key, rest) = body.split_first_chunk::<KEY_BYTES>()?;
        let (base, rest) = rest.split_first_chunk::<8>()?;
        let base = u64::from_le_bytes(*base);
        let (counts, rest) = super::split_counts(rest)?;
        let (added, rest) = super::split_counts(rest)?;
        let (removed, rest) = super::split_counts(rest)?;
        let edits = Edits::decode(rest, added, removed)?;
        (base <= sequence).then_some(Self {
            sequence,
            issued_at,
            base,
            key: HashKey(*key),
            counts,
            edits,
        })
    }

    /// The sequence numbers of base and later list that a signed delta claims: enough to see that it
    /// is not newer than what is held, without verifying it again.
    pub fn unverified_span(bytes: &[u8]) -> Option<(u64, u64)> {
        let (sequence, body) = control::unverified(bytes)?;
        let (base, _) = body.get(KEY_BYTES..)?.split_first_chunk::<8>()?;
        Some((u64::from_le_bytes(*base), sequence))
    }

    /// The sequence number of the list that it leads to.
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// When that list was signed.
    pub const fn issued_at(&self) -> UnixTime {
        self.issued_at
    }

    /// Whether it leads from its own list to itself: a place holder, which says that the list is to
    /// be read instead.
    pub const fn is_closed(&self) -> bool {
        self.base == self.sequence
    }

    /// How many entries it adds and removes.
    pub fn len(&self) -> usize {
        self.edits.len()
    }

    /// Whether it changes no entry.
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }
}

impl RevocationList {
    /// Becomes the list that `delta` leads to.
    ///
    /// # Errors
    ///
    /// [`NotApplied`] unless the delta continues exactly this list; nothing has changed then.
    pub fn apply(&mut self, delta: &RevocationDelta<'_>) -> Result<(), NotApplied> {
        if delta.key != self.key {
            return Err(NotApplied::Foreign);
        }
        if delta.sequence <= self.sequence {
            return Err(NotApplied::Older);
        }
        if delta.base > self.sequence {
            return Err(NotApplied::Gap);
        }
        if !self.entries.edit_to(&delta.edits, &delta.counts) {
            return Err(NotApplied::Diverged);
        }
        (self.sequence, self.issued_at) = (delta.sequence, delta.issued_at);
        Ok(())
    }
}
