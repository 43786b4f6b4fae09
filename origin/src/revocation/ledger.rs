//! What is revoked, in memory: the entries as the list has them, when each no longer matters, and
//! which changed lately.
//!
//! A publication costs what has changed since the one before, not what is revoked in all: at 250,000
//! entries the whole would be read, hashed, sorted and signed several times a second.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use edgekeep_shared::revocation::{
    Edits, Entries, Entry, HashKey, HashedEntry, MAX_DELTA_BYTES, encode_delta,
};
use edgekeep_shared::time::UnixTime;

use super::store::Row;
use crate::clock::Timestamp;

/// Changes that are remembered: no delta may have more (12 bytes each at least).
const REMEMBERED: usize = MAX_DELTA_BYTES / 12;

/// Bytes of a delta that are neither entries nor its body's own counts: header and signature.
const ENVELOPE_BYTES: usize = 4 * 1024;

/// Below this list and delta are all the same.
const PACKET_BYTES: usize = 1_024;

/// What is known of an entry.
#[derive(Clone, Copy, Debug)]
struct Known {
    not_before: UnixTime,
    expires_at: Option<Timestamp>,
}

/// A list from which deltas lead on, and how many changes there had been until then.
#[derive(Clone, Copy, Debug)]
struct Mark {
    sequence: u64,
    changes: u64,
}

/// One series of lists: from a start of this process on, under one hash key.
#[derive(Debug)]
pub(super) struct Ledger {
    key: HashKey,
    known: HashMap<HashedEntry, Known>,
    due: BTreeSet<(Timestamp, HashedEntry)>,
    /// How entries stand that have changed since the last publication.
    touched: BTreeMap<HashedEntry, Option<UnixTime>>,
    /// As published last.
    entries: Entries,
    sequence: u64,
    /// What was changed by which publication, the last ones.
    log: VecDeque<(u64, HashedEntry)>,
    /// All that changed after this publication is in the log.
    floor: u64,
    changes: u64,
    marks: Vec<Mark>,
}

impl Ledger {
    /// A series without entries.
    pub(super) fn new(key: HashKey) -> Self {
        Self {
            key,
            known: HashMap::new(),
            due: BTreeSet::new(),
            touched: BTreeMap::new(),
            entries: Entries::default(),
            sequence: 0,
            log: VecDeque::new(),
            floor: u64::MAX,
            changes: 0,
            marks: Vec::new(),
        }
    }

    /// The name of the series.
    pub(super) const fn key(&self) -> &HashKey {
        &self.key
    }

    /// The number of the last publication.
    pub(super) const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// How many entries were published.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes of the body of the list as published last.
    pub(super) const fn body_len(&self) -> usize {
        self.entries.body_len()
    }

    /// The body of the list as published last.
    pub(super) fn body(&self) -> Vec<u8> {
        self.entries.body(&self.key)
    }

    /// Takes a row of the database, to be published next.
    pub(super) fn take(&mut self, row: &Row) {
        let entry = match row.kind.as_str() {
            "jti" => Entry::Token(&row.value),
            "sid" => Entry::Session(&row.value),
            "kid" => Entry::Key(&row.value),
            "sub" => Entry::Subject(&row.value, UnixTime(row.not_before)),
            _ => return,
        };
        let (entry, not_before) = self.key.hash_entry(entry);
        let known = Known {
            not_before,
            expires_at: row.expires_at,
        };
        let before = self.known.insert(entry, known);
        if let Some(expires_at) = before.and_then(|before| before.expires_at) {
            self.due.remove(&(expires_at, entry));
        }
        if let Some(expires_at) = row.expires_at {
            self.due.insert((expires_at, entry));
        }
        // That it stays for longer is no change of the list.
        if before.is_none_or(|before| before.not_before != not_before) {
            self.touched.insert(entry, Some(not_before));
        }
    }

    /// Drops what no longer matters at `now`.
    pub(super) fn expire(&mut self, now: Timestamp) {
        while let Some(&(expires_at, entry)) = self.due.first()
            && expires_at <= now
        {
            self.due.pop_first();
            self.known.remove(&entry);
            self.touched.insert(entry, None);
        }
    }

    /// Makes what was taken and dropped the list numbered `sequence`; false if the entries are not
    /// those that are known, which would be a mistake of this program: then a new series begins.
    pub(super) fn publish(&mut self, sequence: u64) -> bool {
        let touched = std::mem::take(&mut self.touched);
        if !touched.is_empty() {
            let states = touched.iter().map(|(entry, state)| (*entry, *state));
            self.entries.edit(&Edits::new(states));
        }
        self.sequence = sequence;
        self.floor = self.floor.min(sequence);
        if !touched.is_empty() || self.marks.is_empty() {
            self.changes += touched.len() as u64;
            self.log
                .extend(touched.into_keys().map(|entry| (sequence, entry)));
            self.marks.push(Mark {
                sequence,
                changes: self.changes,
            });
            self.forget();
        }
        self.entries.len() == self.known.len()
    }

    /// Drops the oldest changes, and the marks that nobody needs: of marks with about as many
    /// changes since, one will do. So there are some dozens, however often is published and whatever
    /// is asked for, and a delta has hardly more than a quarter too much.
    fn forget(&mut self) {
        let excess = self.log.len().saturating_sub(REMEMBERED);
        if let Some((last, _)) = self.log.drain(..excess).next_back() {
            self.floor = last;
            self.marks.retain(|mark| mark.sequence >= last);
        }
        let since = |mark: &Mark| self.changes - mark.changes;
        let mut kept: Vec<Mark> = Vec::new();
        let mut marks = self.marks.iter().rev().peekable();
        while let Some(mark) = marks.next() {
            let instead = marks.peek().zip(kept.last());
            if instead.is_none_or(|(older, newer)| since(older) > since(newer) * 5 / 4 + 64) {
                kept.push(*mark);
            }
        }
        kept.reverse();
        self.marks = kept;
    }

    /// The latest list from which a delta leads on that may be applied to the list numbered `held`.
    pub(super) fn base(&self, held: u64) -> Option<u64> {
        if held > self.sequence {
            return None;
        }
        let later = self.marks.partition_point(|mark| mark.sequence <= held);
        Some(self.marks[..later].last()?.sequence)
    }

    /// The earliest list before the last from which a delta of about `most` changes leads on, or else
    /// the latest.
    pub(super) fn base_within(&self, most: u64) -> Option<u64> {
        let before = |mark: &&Mark| mark.sequence < self.sequence;
        let within = |mark: &&Mark| self.changes - mark.changes <= most;
        let mut marks = self.marks.iter().filter(before);
        let found = marks.clone().find(within).or_else(|| marks.next_back());
        found.map(|mark| mark.sequence)
    }

    /// How many changes there were after the list numbered `base`, at most.
    pub(super) fn changes_since(&self, base: u64) -> usize {
        let log = self.log.iter().rev();
        log.take_while(|(sequence, _)| *sequence > base).count()
    }

    /// The body of a delta that names no change, from the list numbered `base`.
    pub(super) fn closed_delta(&self, base: u64) -> Vec<u8> {
        let none = Edits::new([]);
        encode_delta(&self.key, base, self.entries.counts(), &none)
    }

    /// The body of the delta from the list numbered `base`, which is one of [`base`](Self::base) or
    /// the last; none where that would be as long as the list, or longer than a delta may be.
    pub(super) fn delta(&self, base: u64) -> Option<Vec<u8>> {
        if base < self.floor {
            return None;
        }
        let log = self.log.iter().rev();
        let touched = log
            .take_while(|(sequence, _)| *sequence > base)
            .map(|(_, entry)| (*entry, self.entries.get(entry)));
        let edits = Edits::new(touched);
        let body = encode_delta(&self.key, base, self.entries.counts(), &edits);
        let is_worth_it = body.len() < self.entries.body_len().max(PACKET_BYTES);
        (is_worth_it && body.len() + ENVELOPE_BYTES <= MAX_DELTA_BYTES).then_some(body)
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer as _, SigningKey};
    use edgekeep_shared::control::{ControlKeys, DocumentType, Header};
    use edgekeep_shared::jwk::VerifyingKey;
    use edgekeep_shared::revocation::{RevocationDelta, RevocationList};
    use proptest::prelude::*;

    use super::*;

    const ISSUER: &str = "https://id.example";

    struct Signer(SigningKey);

    impl Signer {
        fn new() -> Self {
            Self(SigningKey::from_bytes(&[1; 32]))
        }

        fn key(&self) -> VerifyingKey {
            VerifyingKey::EdDsa(self.0.verifying_key())
        }

        fn keys(&self) -> ControlKeys {
            let key = self.key();
            ControlKeys::parse(key.to_jwk(&key.thumbprint()).as_bytes()).unwrap()
        }

        fn sign(&self, document_type: DocumentType, sequence: u64, body: &[u8]) -> Vec<u8> {
            let header = Header {
                document_type,
                issuer: ISSUER.to_owned(),
                key_id: self.key().thumbprint(),
                sequence,
                issued_at: UnixTime(1),
            };
            let mut document = header.signing_input(body);
            let signature = self.0.sign(&document).to_bytes();
            document.extend_from_slice(&signature);
            document
        }

        fn list(&self, ledger: &Ledger) -> RevocationList {
            let list = DocumentType::Revocations;
            let document = self.sign(list, ledger.sequence(), &ledger.body());
            RevocationList::open(&document, &self.keys(), ISSUER).unwrap()
        }

        /// Brings `list` up to date, as a gate would.
        fn update(&self, ledger: &Ledger, list: &mut RevocationList) -> Option<usize> {
            let body = ledger.delta(ledger.base(list.sequence())?)?;
            let delta = DocumentType::RevocationsDelta;
            let document = self.sign(delta, ledger.sequence(), &body);
            let keys = self.keys();
            let delta = RevocationDelta::open(&document, &keys, ISSUER).unwrap();
            list.apply(&delta).unwrap();
            Some(delta.len())
        }
    }

    fn row(kind: &str, number: u32, not_before: i64, expires_at: Option<i64>) -> Row {
        Row {
            kind: kind.to_owned(),
            value: format!("{kind}-{number}"),
            not_before,
            expires_at: expires_at.map(Timestamp::from_unix_seconds),
            change: 0,
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_seconds(seconds)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Seconds pass, things are revoked for a while, again or for longer: whoever looks, after
        /// however many publications, has the list.
        #[test]
        fn deltas_lead_from_every_list_to_the_last(
            steps in prop::collection::vec(
                prop::collection::vec((0..4_usize, 0..12_u32, 0..6_i64), 0..10),
                2..40,
            ),
        ) {
            let (signer, mut ledger) = (Signer::new(), Ledger::new(HashKey([5; 16])));
            let mut lists: Vec<RevocationList> = Vec::new();
            for (now, step) in (1..).zip(&steps) {
                for (kind, number, life) in step {
                    let kind = ["jti", "sid", "sub", "kid"][*kind];
                    let not_before = if kind == "sub" { now } else { 0 };
                    let expires_at = (kind != "kid").then_some(now + life);
                    ledger.take(&row(kind, *number, not_before, expires_at));
                }
                ledger.expire(at(now));
                prop_assert!(ledger.publish(u64::try_from(now).unwrap() * 10));
                let full = signer.list(&ledger);
                for list in &mut lists {
                    let mut list = list.clone();
                    prop_assert!(signer.update(&ledger, &mut list).is_some());
                    prop_assert_eq!(&list, &full);
                }
                lists.push(full);
            }
            // Those who look all the time, too.
            let mut list = lists[0].clone();
            signer.update(&ledger, &mut list);
            prop_assert_eq!(Some(&list), lists.last());
        }
    }

    #[test]
    fn marks_are_few_and_deltas_hardly_longer_than_what_changed() {
        let (signer, mut ledger) = (Signer::new(), Ledger::new(HashKey([5; 16])));
        let mut lists = Vec::new();
        let each = 20;
        for sequence in 1..=500 {
            for number in 0..each {
                ledger.take(&row("sid", sequence * each + number, 0, None));
            }
            assert!(ledger.publish(u64::from(sequence)));
            lists.push(signer.list(&ledger));
        }
        assert!(ledger.marks.len() < 40, "{}", ledger.marks.len());
        let each = usize::try_from(each).unwrap();
        for (missed, list) in lists.iter_mut().rev().enumerate().skip(1) {
            let changes = missed * each;
            // Deltas must be shorter than the list.
            let Some(sent) = signer.update(&ledger, list) else {
                assert!(changes > 7_000, "{changes}");
                continue;
            };
            assert!(
                sent >= changes && sent <= changes * 5 / 4 + 64 + each,
                "{sent} of {changes}"
            );
        }
    }

    #[test]
    fn what_was_missed_too_long_ago_is_not_guessed() {
        let mut ledger = Ledger::new(HashKey([5; 16]));
        assert_eq!(ledger.base(0), None);
        assert_eq!(ledger.delta(0), None);
        ledger.take(&row("kid", 0, 0, None));
        assert!(ledger.publish(10));
        let most = u32::try_from(REMEMBERED).unwrap();
        for number in 0..most {
            ledger.take(&row("sid", number, 0, None));
        }
        assert!(ledger.publish(20));
        assert_eq!(ledger.base(9), None, "before the first");
        assert_eq!(ledger.base(10), Some(10));
        assert_eq!(ledger.base(21), None, "after the last");
        assert_eq!(ledger.delta(10), None, "as long as the list");
        ledger.take(&row("sid", most, 0, None));
        assert!(ledger.publish(30));
        assert_eq!(ledger.log.len(), REMEMBERED);
        for (held, base) in [
            (10, None),
            (19, None),
            (20, Some(20)),
            (29, Some(20)),
            (30, Some(30)),
        ] {
            assert_eq!(ledger.base(held), base, "{held}");
        }
        assert_eq!(ledger.delta(10), None, "the log begins later");
        assert!(ledger.delta(20).is_some() && ledger.delta(30).is_some());
        assert_eq!(ledger.base_within(5_000), Some(20));
    }

    #[test]
    fn an_entry_stays_for_as_long_as_it_was_last_given() {
        let mut ledger = Ledger::new(HashKey([5; 16]));
        let entries = |ledger: &mut Ledger, now: i64| {
            ledger.expire(at(now));
            assert!(ledger.publish(u64::try_from(now).unwrap()));
            ledger.len()
        };
        ledger.take(&row("sid", 1, 0, Some(10)));
        ledger.take(&row("jti", 1, 0, Some(10)));
        assert_eq!(entries(&mut ledger, 5), 2);
        ledger.take(&row("sid", 1, 0, Some(20)));
        assert_eq!(entries(&mut ledger, 9), 2);
        assert_eq!(entries(&mut ledger, 10), 1);
        assert_eq!(entries(&mut ledger, 19), 1);
        ledger.take(&row("sid", 1, 0, None));
        assert_eq!(entries(&mut ledger, 20), 1);
        assert_eq!(entries(&mut ledger, 2_000), 1);
        // What is over before it was published was never there.
        ledger.take(&row("sid", 2, 0, Some(2_000)));
        assert_eq!(entries(&mut ledger, 2_001), 1);
    }
}
