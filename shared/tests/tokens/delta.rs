//! Deltas of the revocation list: what they lead to, and what is refused.

use std::collections::BTreeMap;

use crate::support::{ISSUER, Key, NOW};
use edgekeep_shared::{
    control::{ControlError, ControlKeys, DocumentType, Header},
    gate::list::HeldList,
    jwk::Jwk,
    revocation::{
        Edits, Entries, Entry, HashKey, HashedEntry, MAX_DELTA_BYTES, NotApplied, RevocationDelta,
        RevocationList, encode, encode_delta, feed_query,
    },
    time::UnixTime,
};
use proptest::prelude::*;

const HASH_KEY: HashKey = HashKey([7; 16]);

/// What is revoked: kind and name, with the instant that counts for subjects.
type Model = BTreeMap<(u8, String), i64>;

fn entry(kind: u8, name: &str, at: i64) -> Entry<'_> {
    match kind {
        0 => Entry::Token(name),
        1 => Entry::Session(name),
        2 => Entry::Key(name),
        _ => Entry::Subject(name, UnixTime(at)),
    }
}

fn entries(model: &Model) -> impl Iterator<Item = Entry<'_>> {
    model
        .iter()
        .map(|((kind, name), at)| entry(*kind, name, *at))
}

struct Issuer {
    control: Key,
    hash_key: HashKey,
}

impl Issuer {
    fn new() -> Self {
        Self {
            control: Key::eddsa(3),
            hash_key: HASH_KEY,
        }
    }

    fn keys(&self) -> ControlKeys {
        let jwk = Jwk::new(self.control.id(), self.control.verifying());
        ControlKeys::new(vec![jwk]).unwrap()
    }

    fn document(&self, document_type: DocumentType, sequence: u64, body: &[u8]) -> Vec<u8> {
        let header = Header {
            document_type,
            issuer: ISSUER.into(),
            key_id: self.control.id(),
            sequence,
            issued_at: NOW.plus(i64::try_from(sequence).unwrap()),
        };
        let mut document = header.signing_input(body);
        let signature = self.control.sign(&document);
        document.extend_from_slice(&signature);
        document
    }

    fn list(&self, sequence: u64, model: &Model) -> RevocationList {
        let body = encode(&self.hash_key, entries(model));
        let document = self.document(DocumentType::Revocations, sequence, &body);
        RevocationList::open(&document, &self.keys(), ISSUER).unwrap()
    }

    fn hashed(&self, model: &Model) -> BTreeMap<HashedEntry, UnixTime> {
        let hash = |entry| self.hash_key.hash_entry(entry);
        entries(model).map(hash).collect()
    }

    /// The delta from `base` to the last of `history`, whose lists are numbered from 1.
    fn delta(&self, history: &[Model], base: u64) -> Vec<u8> {
        let from = usize::try_from(base).unwrap() - 1;
        let last = self.hashed(history.last().unwrap());
        // Everything that was anything else in between.
        let mut touched = BTreeMap::new();
        for pair in history[from..].windows(2) {
            let (before, after) = (self.hashed(&pair[0]), self.hashed(&pair[1]));
            for entry in before.keys().chain(after.keys()) {
                if before.get(entry) != after.get(entry) {
                    touched.insert(*entry, last.get(entry).copied());
                }
            }
        }
        let counts = *Entries::new(&self.hash_key, entries(history.last().unwrap())).counts();
        let body = encode_delta(&self.hash_key, base, &counts, &Edits::new(touched));
        let sequence = u64::try_from(history.len()).unwrap();
        self.document(DocumentType::RevocationsDelta, sequence, &body)
    }
}

fn model(names: &[(u8, &str, i64)]) -> Model {
    let entries = names.iter();
    entries
        .map(|(kind, name, at)| ((*kind, (*name).to_owned()), *at))
        .collect()
}

/// A list, one with one session less and two entries more, and a third.
fn history() -> Vec<Model> {
    vec![
        model(&[(1, "a", 0), (1, "b", 0), (3, "u", 5), (2, "k", 0)]),
        model(&[
            (1, "b", 0),
            (1, "c", 0),
            (0, "t", 0),
            (3, "u", 5),
            (2, "k", 0),
        ]),
        model(&[(1, "b", 0), (1, "c", 0), (3, "u", 9), (2, "k", 0)]),
    ]
}

fn apply(list: &mut RevocationList, document: &[u8]) -> Result<(), NotApplied> {
    let keys = Issuer::new().keys();
    list.apply(&RevocationDelta::open(document, &keys, ISSUER).unwrap())
}

#[test]
fn a_delta_leads_from_every_list_since_its_base_to_its_own() {
    let (issuer, history) = (Issuer::new(), history());
    for base in 1..=2 {
        for held in base..=2 {
            let mut list = issuer.list(held, &history[usize::try_from(held).unwrap() - 1]);
            assert_eq!(apply(&mut list, &issuer.delta(&history, base)), Ok(()));
            assert_eq!(list, issuer.list(3, &history[2]), "{base} {held}");
            assert_eq!(list.issued_at(), NOW.plus(3));
        }
    }
}

#[test]
fn what_does_not_continue_the_held_list_changes_nothing() {
    let (issuer, history) = (Issuer::new(), history());
    let to_third = issuer.delta(&history, 2);
    let to_second = issuer.delta(&history[..2], 1);
    let series = |key: u8| Issuer {
        hash_key: HashKey([key; 16]),
        ..Issuer::new()
    };
    let foreign = series(8).delta(&history, 2);
    // Of the same series and numbers, but of another past: a database that was restored while its
    // issuer ran, or a mistake of the issuer.
    let mut other = history.clone();
    other[1].insert((1, "only here".to_owned()), 0);
    other[2].insert((1, "only here".to_owned()), 0);
    let diverged = issuer.delta(&other, 2);
    let closed = {
        let counts = *Entries::new(&HASH_KEY, entries(&history[2])).counts();
        let body = encode_delta(&HASH_KEY, 3, &counts, &Edits::new([]));
        issuer.document(DocumentType::RevocationsDelta, 3, &body)
    };
    let second = issuer.list(2, &history[1]);
    for (what, held, document, expected) in [
        (
            "a gap",
            issuer.list(1, &history[0]),
            &to_third,
            NotApplied::Gap,
        ),
        (
            "the same again",
            issuer.list(3, &history[2]),
            &to_third,
            NotApplied::Older,
        ),
        (
            "an older one",
            issuer.list(3, &history[2]),
            &to_second,
            NotApplied::Older,
        ),
        (
            "one that leads here",
            second.clone(),
            &to_second,
            NotApplied::Older,
        ),
        (
            "another series",
            second.clone(),
            &foreign,
            NotApplied::Foreign,
        ),
        (
            "another past",
            second.clone(),
            &diverged,
            NotApplied::Diverged,
        ),
        (
            "one that leads nowhere",
            second.clone(),
            &closed,
            NotApplied::Gap,
        ),
    ] {
        let mut list = held.clone();
        assert_eq!(apply(&mut list, document), Err(expected), "{what}");
        assert_eq!(list, held, "{what}");
    }
    // In the wrong order, then in the right one.
    let mut list = issuer.list(1, &history[0]);
    assert_eq!(apply(&mut list, &to_third), Err(NotApplied::Gap));
    assert_eq!(apply(&mut list, &to_second), Ok(()));
    assert_eq!(apply(&mut list, &to_second), Err(NotApplied::Older));
    assert_eq!(apply(&mut list, &to_third), Ok(()));
    assert_eq!(list, issuer.list(3, &history[2]));
}

#[test]
fn a_gate_takes_no_delta_of_the_future_and_none_without_a_list() {
    let (issuer, history) = (Issuer::new(), history());
    let document = issuer.delta(&history, 2);
    let keys = issuer.keys();
    let delta = RevocationDelta::open(&document, &keys, ISSUER).unwrap();
    let signed_at = delta.issued_at().0 * 1_000;
    let mut held = HeldList::default();
    assert_eq!(held.held(), None);
    assert_eq!(held.apply(&delta, signed_at), Err(NotApplied::Gap));
    held.offer(issuer.list(2, &history[1]), signed_at).unwrap();
    assert_eq!(held.held(), Some((2, HASH_KEY)));
    assert_eq!(
        held.apply(&delta, signed_at - 61_000),
        Err(NotApplied::Future)
    );
    assert_eq!(held.held(), Some((2, HASH_KEY)));
    assert_eq!(held.apply(&delta, signed_at - 60_000), Ok(()));
    assert_eq!(held.list(), Some(&issuer.list(3, &history[2])));
}

#[test]
fn a_delta_says_how_much_it_changes_and_whether_it_leads_anywhere() {
    let (issuer, history) = (Issuer::new(), history());
    let keys = issuer.keys();
    for (name, document, sequence, changes, is_closed) in [
        ("from the first", issuer.delta(&history, 1), 3, 4, false),
        ("from the second", issuer.delta(&history, 2), 3, 2, false),
        ("to itself", issuer.delta(&history, 3), 3, 0, true),
        (
            "no change",
            issuer.delta(&[history[0].clone(), history[0].clone()], 1),
            2,
            0,
            false,
        ),
    ] {
        let delta = RevocationDelta::open(&document, &keys, ISSUER).unwrap();
        assert_eq!(delta.sequence(), sequence, "{name}");
        assert_eq!(delta.len(), changes, "{name}");
        assert_eq!(delta.is_empty(), changes == 0, "{name}");
        assert_eq!(delta.is_closed(), is_closed, "{name}");
    }
    let none = Edits::new([]);
    assert_eq!((none.len(), none.is_empty()), (0, true));
    let (entry, at) = HASH_KEY.hash_entry(Entry::Token("t"));
    for state in [None, Some(at)] {
        let one = Edits::new([(entry, state)]);
        assert_eq!((one.len(), one.is_empty()), (1, false), "{state:?}");
    }
}

#[test]
fn a_delta_to_the_held_list_says_that_it_is_the_newest() {
    let (issuer, history) = (Issuer::new(), history());
    let documents = [2, 1].map(|base| issuer.delta(&history[..=base], 1));
    let keys = issuer.keys();
    let [third, second] = documents
        .each_ref()
        .map(|document| RevocationDelta::open(document, &keys, ISSUER).unwrap());
    let now = third.issued_at().0 * 1_000;
    let mut held = HeldList::default();
    assert_eq!(held.follow(&third, now), Err(NotApplied::Gap));
    held.offer(issuer.list(2, &history[1]), now).unwrap();
    assert_eq!(held.follow(&second, now), Ok(()));
    assert_eq!(held.list(), Some(&issuer.list(2, &history[1])));
    assert_eq!(held.follow(&third, now), Ok(()));
    assert_eq!(held.follow(&third, now), Ok(()));
    assert_eq!(held.list(), Some(&issuer.list(3, &history[2])));
    assert_eq!(held.follow(&second, now), Err(NotApplied::Older));
}

#[test]
fn a_held_list_is_named_to_the_feed() {
    assert_eq!(
        feed_query(7, &HASH_KEY),
        "since=7&key=BwcHBwcHBwcHBwcHBwcHBw"
    );
}

#[test]
fn a_delta_is_believed_only_of_its_key_type_and_issuer() {
    let (issuer, history) = (Issuer::new(), history());
    let keys = issuer.keys();
    let good = issuer.delta(&history, 1);
    let open = |document: &[u8]| RevocationDelta::open(document, &keys, ISSUER).map(|_| ());
    assert_eq!(open(&good), Ok(()));
    assert_eq!(RevocationDelta::unverified_span(&good), Some((1, 3)));
    let other = Issuer {
        control: Key::eddsa(4),
        ..Issuer::new()
    };
    assert_eq!(
        open(&other.delta(&history, 1)),
        Err(ControlError::KeyUnknown)
    );
    let elsewhere = RevocationDelta::open(&good, &keys, "https://other.example").map(|_| ());
    assert_eq!(elsewhere, Err(ControlError::IssuerMismatch));
    // Neither is taken for the other.
    let as_list = RevocationList::open(&good, &keys, ISSUER).map(|_| ());
    assert_eq!(as_list, Err(ControlError::WrongType));
    let body = encode(&HASH_KEY, []);
    let list = issuer.document(DocumentType::Revocations, 3, &body);
    assert_eq!(open(&list), Err(ControlError::WrongType));
    for length in 0..good.len() {
        assert!(open(&good[..length]).is_err(), "{length}");
    }
    for position in 0..good.len() {
        let mut changed = good.clone();
        changed[position] ^= 1;
        assert!(open(&changed).is_err(), "{position}");
    }
    let long = issuer.document(DocumentType::RevocationsDelta, 3, &vec![0; MAX_DELTA_BYTES]);
    assert_eq!(open(&long), Err(ControlError::TooLarge));
    // The header takes a part; what is exactly as long as may be is read.
    let header = long.len() - MAX_DELTA_BYTES;
    for (length, expected) in [
        (MAX_DELTA_BYTES - header, ControlError::BodyInvalid),
        (MAX_DELTA_BYTES - header + 1, ControlError::TooLarge),
    ] {
        let document = issuer.document(DocumentType::RevocationsDelta, 3, &vec![0xff; length]);
        assert_eq!(open(&document), Err(expected), "{length}");
    }
}

#[test]
fn a_signed_delta_is_as_long_as_it_says_and_in_order() {
    let issuer = Issuer::new();
    let keys = issuer.keys();
    let open = |body: &[u8]| {
        let document = issuer.document(DocumentType::RevocationsDelta, 9, body);
        RevocationDelta::open(&document, &keys, ISSUER).map(|delta| delta.len())
    };
    let hash = |entry| HASH_KEY.hash_entry(entry);
    let added = [
        Entry::Token("a"),
        Entry::Token("b"),
        Entry::Subject("c", NOW),
    ]
    .map(hash);
    let removed = [Entry::Token("d"), Entry::Token("e")].map(|entry| hash(entry).0);
    let touched = added
        .iter()
        .map(|(entry, at)| (*entry, Some(*at)))
        .chain(removed.iter().map(|entry| (*entry, None)));
    let good = encode_delta(&HASH_KEY, 8, &[2, 0, 0, 1], &Edits::new(touched));
    assert_eq!(open(&good), Ok(5));
    // Where the sections stand: key, base, three times four counts.
    let start = 16 + 8 + 48;
    let gone = start + 12 + 12 + 20;
    assert_eq!(good.len(), gone + 24);
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut body = good.clone();
        change(&mut body);
        body
    };
    for (what, body) in [
        (
            "added ones swapped",
            changed(&|b| b[start..start + 24].rotate_left(12)),
        ),
        (
            "added one twice",
            changed(&|b| b.copy_within(start..start + 12, start + 12)),
        ),
        (
            "removed ones swapped",
            changed(&|b| b[gone..].rotate_left(12)),
        ),
        (
            "removed one twice",
            changed(&|b| b.copy_within(gone..gone + 12, gone + 12)),
        ),
        (
            "added and removed",
            changed(&|b| b.copy_within(start..start + 12, gone)),
        ),
        ("a count too many", changed(&|b| b[40] += 1)),
        ("a count too few", changed(&|b| b[56] -= 1)),
        ("an impossible count", changed(&|b| b[40..44].fill(0xff))),
        ("impossible counts", changed(&|b| b[24..72].fill(0xff))),
        ("a base after itself", changed(&|b| b[16] = 10)),
        ("a byte less", changed(&|b| b.truncate(b.len() - 1))),
        ("a byte more", changed(&|b| b.push(0))),
        ("half a head", good[..40].to_vec()),
        ("nothing", Vec::new()),
    ] {
        assert_eq!(open(&body), Err(ControlError::BodyInvalid), "{what}");
    }
}

#[test]
fn nothing_is_both_added_and_removed() {
    let issuer = Issuer::new();
    let keys = issuer.keys();
    let mut entries = ["a", "b", "c", "d"].map(|name| HASH_KEY.hash_entry(Entry::Token(name)).0);
    entries.sort_unstable();
    // Which of the four are added, and which removed; what is both is first removed alone.
    for (added, removed) in [
        (&[0][..], &[0][..]),
        (&[0, 1], &[0]),
        (&[0, 1], &[1]),
        (&[1], &[0, 1]),
        (&[1], &[1, 2]),
        (&[0, 2], &[1, 2]),
        (&[0, 2], &[2, 3]),
        (&[0, 3], &[1, 2, 3]),
        (&[0, 1, 2, 3], &[3]),
        (&[0, 2], &[1, 3]),
        (&[], &[0, 1]),
    ] {
        let touched = |named: &[usize], at| {
            let named = named.iter().map(move |index| (entries[*index], at));
            Edits::new(named)
        };
        let counts = [u32::try_from(added.len()).unwrap(), 0, 0, 0];
        let body = encode_delta(&HASH_KEY, 8, &counts, &touched(added, Some(NOW)));
        let gone = encode_delta(&HASH_KEY, 8, &counts, &touched(removed, None));
        // Key, base and the later list's counts; how many are added; how many removed; then each.
        let spliced = [&body[..56], &gone[56..72], &body[72..], &gone[72..]].concat();
        let document = issuer.document(DocumentType::RevocationsDelta, 9, &spliced);
        let opened = RevocationDelta::open(&document, &keys, ISSUER).map(|delta| delta.len());
        let expected = if added.iter().any(|one| removed.contains(one)) {
            Err(ControlError::BodyInvalid)
        } else {
            Ok(added.len() + removed.len())
        };
        assert_eq!(opened, expected, "{added:?} {removed:?}");
    }
}

#[test]
fn a_list_opened_in_pieces_is_the_same_list() {
    let issuer = Issuer::new();
    let keys = issuer.keys();
    // Three pieces of a megabyte.
    let names: Vec<String> = (0..200_000).map(|n| format!("s{n}")).collect();
    let body = encode(&HASH_KEY, names.iter().map(|name| Entry::Session(name)));
    let document = issuer.document(DocumentType::Revocations, 3, &body);
    let mut opening = RevocationList::opening(document.clone(), &keys, ISSUER).unwrap();
    let mut pieces = 1;
    while opening.advance() {
        pieces += 1;
    }
    assert_eq!(pieces, 3);
    let list = opening.finish().unwrap();
    assert_eq!(
        list,
        RevocationList::open(&document, &keys, ISSUER).unwrap()
    );
    let least = 200_000 * 12;
    assert!(
        (least..least + 1_024).contains(&list.memory()),
        "{}",
        list.memory()
    );
    for position in [0, 100, document.len() / 2, document.len() - 1] {
        let mut changed = document.clone();
        changed[position] ^= 0x80;
        assert!(in_pieces(changed, &keys).is_err(), "{position}");
    }
}

fn in_pieces(document: Vec<u8>, keys: &ControlKeys) -> Result<RevocationList, ControlError> {
    RevocationList::opening(document, keys, ISSUER)?.finish()
}

/// Small-order points for R, under which equations hold that should not: by the strict rules none of
/// them is a signature.
#[test]
fn pieces_are_as_strict_as_the_whole() {
    let issuer = Issuer::new();
    let keys = issuer.keys();
    let good = issuer.document(DocumentType::Revocations, 3, &encode(&HASH_KEY, []));
    let length = good.len();
    let mut identity = [0; 32];
    identity[0] = 1;
    for r in [identity, [0; 32], [0xff; 32]] {
        let mut document = good.clone();
        document[length - 64..length - 32].copy_from_slice(&r);
        let whole = RevocationList::open(&document, &keys, ISSUER);
        assert_eq!(whole, Err(ControlError::SignatureInvalid));
        assert_eq!(in_pieces(document, &keys), whole);
    }
    // An s that is not reduced.
    let mut document = good.clone();
    document[length - 1] |= 0xe0;
    let whole = RevocationList::open(&document, &keys, ISSUER);
    assert_eq!(whole, Err(ControlError::SignatureInvalid));
    assert_eq!(in_pieces(document, &keys), whole);
}

fn models() -> impl Strategy<Value = Vec<Model>> {
    let names = prop::collection::btree_map((0..4_u8, "[a-d]{1,2}"), 0..5_i64, 0..24);
    prop::collection::vec(names, 1..8)
}

proptest! {
    #[test]
    fn any_deltas_on_the_way_lead_to_the_full_list(history in models(), cuts: Vec<bool>, bases: Vec<u8>) {
        let issuer = Issuer::new();
        // A gate that looks at some lists on the way, by deltas whose base is at or before what it
        // holds, ends with the last.
        let mut list = issuer.list(1, &history[0]);
        for sequence in 2..=history.len() {
            let looks = cuts.get(sequence).copied().unwrap_or(true);
            if !looks && sequence < history.len() {
                continue;
            }
            let back = bases.get(sequence).copied().unwrap_or(0);
            let base = list.sequence().saturating_sub(u64::from(back)).max(1);
            let delta = issuer.delta(&history[..sequence], base);
            prop_assert_eq!(apply(&mut list, &delta), Ok(()));
            let full = issuer.list(u64::try_from(sequence).unwrap(), &history[sequence - 1]);
            prop_assert_eq!(&list, &full);
        }
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        let issuer = Issuer::new();
        let keys = issuer.keys();
        prop_assert!(RevocationDelta::open(&bytes, &keys, ISSUER).is_err());
        prop_assert!(in_pieces(bytes.clone(), &keys).is_err());
        let _ = RevocationDelta::unverified_span(&bytes);
    }

    #[test]
    fn no_signed_body_panics(key in prop::option::of(Just([7; 16])), rest: Vec<u8>) {
        let issuer = Issuer::new();
        let keys = issuer.keys();
        let body = [key.as_ref().map_or(&[][..], |key| &key[..]), &rest].concat();
        let document = issuer.document(DocumentType::RevocationsDelta, 2, &body);
        let mut list = issuer.list(1, &history()[0]);
        if let Ok(delta) = RevocationDelta::open(&document, &keys, ISSUER) {
            let _ = list.apply(&delta);
        }
    }

    #[test]
    fn pieces_agree_with_the_whole(body: Vec<u8>, flip in prop::option::of((any::<prop::sample::Index>(), 0..8_u8))) {
        let issuer = Issuer::new();
        let keys = issuer.keys();
        let mut document = issuer.document(DocumentType::Revocations, 1, &body);
        if let Some((index, bit)) = flip {
            let position = index.index(document.len());
            document[position] ^= 1 << bit;
        }
        let whole = RevocationList::open(&document, &keys, ISSUER);
        prop_assert_eq!(in_pieces(document, &keys), whole);
    }
}
