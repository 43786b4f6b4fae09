//! The entries of a list: sorted hashes in one block of memory, searched and changed where they lie.

use alloc::vec::Vec;
use core::ops::Range;

use super::{
    Entry, HASH_BYTES, Hash, HashKey, Kind,
    delta::{Edits, HashedEntry},
};
use crate::time::UnixTime;

/// How many entries there are of each kind, in the order of [`Kind`].
pub type Counts = [u32; 4];

/// A block that has to grow gets a share of its length more than it needs, so that most deltas move
/// nothing elsewhere: 47 KB of 3 MB.
const ROOM: usize = 64;

/// A block is given back where it has more than twice what it needs and this much.
const SPARE_BYTES: usize = 64 * 1024;

/// What is revoked, as hashes under one key: `jti`, `sid`, `kid`, `sub` one after another, each
/// sorted. 250,000 entries take 3 MB, and 8 bytes more for each subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    bytes: Vec<u8>,
    counts: Counts,
}

impl Entries {
    /// The given entries. Repeated ones are folded into one; of two instants for one subject the
    /// later counts.
    pub fn new<'a>(key: &HashKey, entries: impl IntoIterator<Item = Entry<'a>>) -> Self {
        let edits = Edits::new(entries.into_iter().map(|entry| {
            let (entry, not_before) = key.hash_entry(entry);
            (entry, Some(not_before))
        }));
        let counts = *edits.added_counts();
        // Nothing is removed: what is added, in order, is all.
        Self {
            bytes: edits.into_bytes(),
            counts,
        }
    }

    /// The sections of a body, if their lengths are as `counts` has them and all are in order.
    pub(super) fn from_sections(bytes: Vec<u8>, counts: Counts) -> Option<Self> {
        let entries = Self { bytes, counts };
        if total(&counts, Kind::width)? != entries.bytes.len() {
            return None;
        }
        let sorted =
            |kind: &Kind| is_strictly_sorted(&entries.bytes[entries.range(*kind)], kind.width());
        Kind::ALL.iter().all(sorted).then_some(entries)
    }

    /// The body of a list of these entries, whose hashes are under `key`.
    pub fn body(&self, key: &HashKey) -> Vec<u8> {
        let mut body = Vec::with_capacity(super::PREFIX_BYTES + self.bytes.len());
        body.extend_from_slice(&key.0);
        for count in self.counts {
            body.extend_from_slice(&count.to_le_bytes());
        }
        body.extend_from_slice(&self.bytes);
        body
    }

    /// How many there are of each kind.
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.counts.iter().map(|count| *count as usize).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes of the body of a list of them.
    pub const fn body_len(&self) -> usize {
        super::PREFIX_BYTES + self.bytes.len()
    }

    /// Bytes of memory that they take.
    pub const fn memory(&self) -> usize {
        self.bytes.capacity()
    }

    const fn range(&self, kind: Kind) -> Range<usize> {
        let mut start = 0;
        let mut index = 0;
        while index < kind.index() {
            start += self.counts[index] as usize * Kind::ALL[index].width();
            index += 1;
        }
        start..start + self.counts[index] as usize * kind.width()
    }

    /// The entry with this hash. Allocates nothing.
    pub(super) fn find(&self, kind: Kind, hash: &Hash) -> Option<&[u8]> {
        let (section, width) = (&self.bytes[self.range(kind)], kind.width());
        let found = bisect(section, width, ordinal(hash), 0, section.len() / width).ok()?;
        section.get(found * width..(found + 1) * width)
    }

    /// The instant of an entry that is there: of a subject, and otherwise none in particular.
    pub fn get(&self, entry: &HashedEntry) -> Option<UnixTime> {
        let bytes = self.find(entry.kind, &entry.hash)?;
        let at = bytes.get(HASH_BYTES..)?.first_chunk().copied();
        Some(UnixTime(at.map_or(0, i64::from_le_bytes)))
    }

    /// Whether there is no entry of the kind: then nothing need be hashed to find none.
    pub(super) const fn has_none(&self, kind: Kind) -> bool {
        self.counts[kind.index()] == 0
    }

    /// Adds and removes. What is to be added and is there already takes the new instant; what is to
    /// be removed and is not there stays away.
    pub fn edit(&mut self, edits: &Edits<'_>) {
        let (_, growth) = self.foresee(edits);
        self.change(edits, growth);
    }

    /// The same, if the outcome has `expected` entries of each kind; otherwise nothing is changed.
    pub(super) fn edit_to(&mut self, edits: &Edits<'_>, expected: &Counts) -> bool {
        let (counts, growth) = self.foresee(edits);
        let fits = counts == *expected;
        if fits {
            self.change(edits, growth);
        }
        fits
    }

    fn change(&mut self, edits: &Edits<'_>, growth: usize) {
        self.remove(edits);
        self.add(edits, growth);
        let needed = self.bytes.len() + self.bytes.len() / ROOM;
        if self.bytes.capacity() > 2 * needed + SPARE_BYTES {
            self.bytes.shrink_to(needed);
        }
    }

    /// How many entries there will be, and by how many bytes what is added makes the list longer.
    fn foresee(&self, edits: &Edits<'_>) -> (Counts, usize) {
        let (mut counts, mut growth) = (self.counts, 0);
        for kind in Kind::ALL {
            let (section, width) = (&self.bytes[self.range(kind)], kind.width());
            // How many are there, and how many are not.
            let count = |entries: &mut dyn Iterator<Item = &[u8]>| {
                let (mut known, mut new, mut from) = (0_u32, 0_u32, 0);
                for entry in entries {
                    match seek(section, width, entry, from) {
                        Ok(found) => (known, from) = (known + 1, found + 1),
                        Err(next) => (new, from) = (new + 1, next),
                    }
                }
                (known, new)
            };
            let (_, added) = count(&mut edits.added(kind));
            let (removed, _) = count(&mut edits.removed(kind));
            // No more are removed than are there, and all fit in memory.
            let after = &mut counts[kind.index()];
            *after = (*after - removed).saturating_add(added);
            growth += added as usize * width;
        }
        (counts, growth)
    }

    /// Closes the gaps from the front.
    fn remove(&mut self, edits: &Edits<'_>) {
        let (mut kept, mut read, mut start) = (0, 0, 0);
        for kind in Kind::ALL {
            let width = kind.width();
            let count = &mut self.counts[kind.index()];
            let end = start + *count as usize * width;
            let mut from = 0;
            for hash in edits.removed(kind) {
                // What lies from here on has not been moved yet.
                match seek(&self.bytes[start..end], width, hash, from) {
                    Ok(found) => {
                        let gone = start + found * width;
                        self.bytes.copy_within(read..gone, kept);
                        kept += gone - read;
                        read = gone + width;
                        from = found + 1;
                        *count -= 1;
                    }
                    Err(next) => from = next,
                }
            }
            start = end;
        }
        let length = self.bytes.len();
        self.bytes.copy_within(read..length, kept);
        self.bytes.truncate(kept + length - read);
    }

    /// Opens gaps of `growth` bytes in all, from the end.
    fn add(&mut self, edits: &Edits<'_>, growth: usize) {
        let mut places = Vec::new();
        let mut start = 0;
        for kind in Kind::ALL {
            let width = kind.width();
            let count = &mut self.counts[kind.index()];
            let end = start + *count as usize * width;
            let mut from = 0;
            for entry in edits.added(kind) {
                match seek(&self.bytes[start..end], width, entry, from) {
                    Ok(found) => {
                        let at = start + found * width;
                        self.bytes[at..at + width].copy_from_slice(entry);
                        from = found + 1;
                    }
                    Err(next) => {
                        places.push((start + next * width, entry));
                        from = next;
                        *count += 1;
                    }
                }
            }
            start = end;
        }
        let length = self.bytes.len();
        if self.bytes.capacity() < length + growth {
            self.bytes.reserve_exact(growth + length / ROOM);
        }
        self.bytes.resize(length + growth, 0);
        let (mut read, mut write) = (length, length + growth);
        for (place, entry) in places.into_iter().rev() {
            write -= read - place;
            self.bytes.copy_within(place..read, write);
            read = place;
            write -= entry.len();
            self.bytes[write..write + entry.len()].copy_from_slice(entry);
        }
    }
}

/// Bytes of so many entries of each width; `None` where that is more than memory can have.
pub(super) fn total(counts: &Counts, width: impl Fn(Kind) -> usize) -> Option<usize> {
    Kind::ALL.iter().try_fold(0_usize, |sum, kind| {
        let count = usize::try_from(counts[kind.index()]).ok()?;
        sum.checked_add(count.checked_mul(width(*kind))?)
    })
}

/// Whether every entry's hash is greater than the one before it.
pub(super) fn is_strictly_sorted(section: &[u8], width: usize) -> bool {
    section
        .chunks_exact(width)
        .is_sorted_by(|a, b| ordinal(a) < ordinal(b))
}

/// An entry's hash as numbers: they compare as the bytes do, and faster.
pub(super) fn ordinal(entry: &[u8]) -> (u64, u32) {
    // Whatever is no entry compares as the least; there is none.
    let low = entry.get(8..).and_then(<[u8]>::first_chunk);
    (
        entry
            .first_chunk()
            .map_or(0, |high| u64::from_be_bytes(*high)),
        low.map_or(0, |low| u32::from_be_bytes(*low)),
    )
}

/// The index of the entry with the hash of `entry` among those from `from` on, or of where it would
/// be. Near ones are found in few steps: edits come in order.
fn seek(section: &[u8], width: usize, entry: &[u8], from: usize) -> Result<usize, usize> {
    let (wanted, count) = (ordinal(entry), section.len() / width);
    let (mut low, mut high, mut step) = (from, from, 1);
    while high < count && ordinal(&section[high * width..]) < wanted {
        low = high + 1;
        high += step;
        step *= 2;
    }
    bisect(section, width, wanted, low, high.min(count))
}

/// The same between two indices: everything before `low` is less, `high` is not.
fn bisect(
    section: &[u8],
    width: usize,
    wanted: (u64, u32),
    mut low: usize,
    mut high: usize,
) -> Result<usize, usize> {
    while low < high {
        let middle = low + (high - low) / 2;
        if ordinal(&section[middle * width..]) < wanted {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    match section.get(low * width..) {
        Some(rest) if !rest.is_empty() && ordinal(rest) == wanted => Ok(low),
        _ => Err(low),
    }
}

#[cfg(test)]
mod tests {
    use alloc::{collections::BTreeMap, vec};

    use proptest::prelude::*;

    use super::*;

    /// An entry of few possible ones, so that edits meet what is there.
    fn hashed(kind: usize, number: u8) -> HashedEntry {
        let mut hash = [0; HASH_BYTES];
        // First and last bytes differ, so that both halves of the ordinal count.
        hash[0] = number / 16;
        hash[HASH_BYTES - 1] = number % 16;
        HashedEntry {
            kind: Kind::ALL[kind],
            hash,
        }
    }

    type Model = BTreeMap<HashedEntry, UnixTime>;

    fn of(model: &Model) -> Entries {
        let edits = Edits::new(model.iter().map(|(entry, at)| (*entry, Some(*at))));
        let counts = *edits.added_counts();
        Entries {
            bytes: edits.into_bytes(),
            counts,
        }
    }

    fn step() -> impl Strategy<Value = Vec<(usize, u8, Option<i64>)>> {
        prop::collection::vec((0..4_usize, 0..64_u8, prop::option::of(0..9_i64)), 0..40)
    }

    proptest! {
        #[test]
        fn any_edits_lead_to_what_a_map_has(steps in prop::collection::vec(step(), 0..8)) {
            let (mut model, mut entries) = (Model::new(), Entries::default());
            for step in steps {
                let touched: BTreeMap<_, _> = step
                    .into_iter()
                    .map(|(kind, number, at)| {
                        let at = at.map(|at| UnixTime(if kind == 3 { at } else { 0 }));
                        (hashed(kind, number), at)
                    })
                    .collect();
                for (entry, at) in &touched {
                    match at {
                        Some(at) => drop(model.insert(*entry, *at)),
                        None => drop(model.remove(entry)),
                    }
                }
                let after = of(&model);
                let edits = Edits::new(touched);
                let before = entries.clone();
                let mut wrong = *after.counts();
                wrong[1] += 1;
                prop_assert!(!entries.edit_to(&edits, &wrong));
                prop_assert_eq!(&entries, &before, "refused edits change nothing");
                prop_assert!(entries.edit_to(&edits, after.counts()));
                prop_assert_eq!(&entries, &after);
                entries.edit(&edits);
                prop_assert_eq!(&entries, &after, "twice is once");
                for (entry, at) in &model {
                    prop_assert_eq!(entries.get(entry), Some(*at));
                }
            }
        }

        #[test]
        fn what_is_found_is_there(numbers: Vec<u8>, sought: u8) {
            let model: Model = numbers.iter().map(|n| (hashed(1, *n), UnixTime(0))).collect();
            let entries = of(&model);
            let wanted = hashed(1, sought);
            prop_assert_eq!(entries.find(Kind::Session, &wanted.hash).is_some(), model.contains_key(&wanted));
            prop_assert!(entries.find(Kind::Token, &wanted.hash).is_none());
        }
    }

    /// Edits of tokens by number, in order.
    fn tokens(numbers: Range<u32>, are_there: bool) -> Edits<'static> {
        Edits::new(numbers.map(|number| {
            let mut hash = [0; HASH_BYTES];
            hash[..4].copy_from_slice(&number.to_be_bytes());
            let kind = Kind::Token;
            (HashedEntry { kind, hash }, are_there.then_some(UnixTime(0)))
        }))
    }

    #[test]
    fn gives_memory_back_when_most_of_it_is_not_needed() {
        // Twice what 22 entries and their room need, and what may be spare.
        const ALL: u32 = 5_506;
        let mut entries = Entries::default();
        entries.edit(&tokens(0..ALL, true));
        assert_eq!(entries.memory(), 66_072);
        entries.edit(&tokens(0..ALL - 22, false));
        assert_eq!((entries.len(), entries.memory()), (22, 66_072));
        entries.edit(&tokens(ALL - 22..ALL - 21, false));
        assert_eq!((entries.len(), entries.memory()), (21, 255));
    }

    #[test]
    fn takes_little_more_memory_than_it_needs_and_seldom_more() {
        let mut entries = Entries::default();
        entries.edit(&tokens(0..50_000, true));
        let (mut memory, mut moves) = (entries.memory(), 0);
        for step in 0..200 {
            let first = 50_000 + 100 * step;
            entries.edit(&tokens(first..first + 100, true));
            let needed = entries.len() * HASH_BYTES;
            assert!(entries.memory() <= needed + needed / ROOM, "{step}");
            moves += u32::from(entries.memory() != memory);
            memory = entries.memory();
        }
        // A 64th of it is room for 781 to 1,090 more.
        assert!((18..=26).contains(&moves), "{moves}");
    }

    #[test]
    fn sections_are_as_long_as_they_say_and_in_order() {
        let entry = |n: u8| vec![n; HASH_BYTES];
        let good = [entry(1), entry(2), entry(1)].concat();
        assert!(Entries::from_sections(good.clone(), [2, 1, 0, 0]).is_some());
        for counts in [
            [3, 0, 0, 0],
            [1, 1, 0, 0],
            [0, 0, 0, 2],
            [u32::MAX; 4],
            [2, 0, 0, 1],
        ] {
            assert!(
                Entries::from_sections(good.clone(), counts).is_none(),
                "{counts:?}"
            );
        }
        let repeated = [entry(1), entry(1)].concat();
        assert!(Entries::from_sections(repeated, [2, 0, 0, 0]).is_none());
    }
}
