//! Control documents and the revocation list: what is believed, and what a list finds.

use crate::support::{ISSUER, Key, NOW, claims, claims_with, set, verifier};
use edgekeep_shared::{
    control::{
        self, ControlError, ControlKeys, DocumentType, Header, MAX_DOCUMENT_BYTES, MAX_HEADER_BYTES,
    },
    jwk::{Jwk, JwkError},
    revocation::{Entry, HashKey, RevocationList, RevokedBy, SMALL_LIST_BYTES, encode},
    time::UnixTime,
};
use proptest::prelude::*;
use serde_json::json;

const HASH_KEY: HashKey = HashKey([7; 16]);

fn control_keys(keys: &[&Key]) -> ControlKeys {
    ControlKeys::new(
        keys.iter()
            .map(|key| Jwk::new(key.id(), key.verifying()))
            .collect(),
    )
    .unwrap()
}

fn header(key: &Key) -> Header {
    Header {
        document_type: DocumentType::Revocations,
        issuer: ISSUER.into(),
        key_id: key.id(),
        sequence: 5,
        issued_at: NOW,
    }
}

fn sign(key: &Key, header: &Header, body: &[u8]) -> Vec<u8> {
    let mut document = header.signing_input(body);
    let signature = key.sign(&document);
    document.extend_from_slice(&signature);
    document
}

fn list(entries: &[Entry<'_>]) -> RevocationList {
    let key = Key::eddsa(3);
    let document = sign(
        &key,
        &header(&key),
        &encode(&HASH_KEY, entries.iter().copied()),
    );
    RevocationList::open(&document, &control_keys(&[&key]), ISSUER).unwrap()
}

fn find(entries: &[Entry<'_>]) -> Option<RevokedBy> {
    let key = Key::es256(1);
    let token = verifier()
        .verify(key.issue(&claims()).as_bytes(), &set(&[&key]), NOW)
        .unwrap();
    list(entries).find(&token)
}

#[test]
fn finds_a_token_by_each_kind_and_by_no_other() {
    let kid = Key::es256(1).id();
    assert_eq!(find(&[]), None);
    assert_eq!(find(&[Entry::Token("token-1")]), Some(RevokedBy::Token));
    assert_eq!(
        find(&[Entry::Session("session-1")]),
        Some(RevokedBy::Session)
    );
    assert_eq!(find(&[Entry::Key(&kid)]), Some(RevokedBy::Key));
    // The name of one kind says nothing about another.
    let crossed = [
        Entry::Session("token-1"),
        Entry::Key("session-1"),
        Entry::Token(&kid),
        Entry::Subject("token-1", NOW),
        Entry::Token("user-1"),
    ];
    assert_eq!(find(&crossed), None);
}

#[test]
fn finds_a_subject_s_tokens_up_to_the_instant() {
    let issued_at = NOW.minus(60);
    for (not_before, expected) in [
        (issued_at.minus(1), None),
        (issued_at, Some(RevokedBy::Subject)),
        (issued_at.plus(1), Some(RevokedBy::Subject)),
    ] {
        assert_eq!(
            find(&[Entry::Subject("user-1", not_before)]),
            expected,
            "{not_before}"
        );
    }
    let twice = [
        Entry::Subject("user-1", issued_at),
        Entry::Subject("user-1", UnixTime(0)),
    ];
    assert_eq!(
        find(&twice),
        Some(RevokedBy::Subject),
        "the later instant counts"
    );
}

#[test]
fn finds_a_token_without_a_session() {
    let key = Key::es256(1);
    let token = key.issue(&claims_with("sid", None));
    let token = verifier()
        .verify(token.as_bytes(), &set(&[&key]), NOW)
        .unwrap();
    assert_eq!(list(&[Entry::Session("session-1")]).find(&token), None);
    assert_eq!(
        list(&[Entry::Token("token-1")]).find(&token),
        Some(RevokedBy::Token)
    );
}

#[test]
fn finds_every_entry_of_a_large_list_and_nothing_else() {
    let ids: Vec<String> = (0..50_000).map(|i| format!("s{i}")).collect();
    let list = list(&ids.iter().map(|id| Entry::Session(id)).collect::<Vec<_>>());
    assert_eq!((list.len(), list.is_empty()), (ids.len(), false));
    assert!(self::list(&[]).is_empty());
    let key = Key::es256(1);
    let keys = set(&[&key]);
    let token = |sid: &str| {
        let token = key.issue(&claims_with("sid", Some(json!(sid))));
        verifier().verify(token.as_bytes(), &keys, NOW).unwrap()
    };
    for id in ids.iter().step_by(997) {
        assert_eq!(list.find(&token(id)), Some(RevokedBy::Session), "{id}");
        assert_eq!(list.find(&token(&format!("{id}x"))), None);
    }
}

#[test]
fn a_list_is_small_by_its_bytes() {
    let names: Vec<String> = (0..2_729).map(|number| number.to_string()).collect();
    let session: fn(&str) -> Entry<'_> = |name| Entry::Session(name);
    let subject: fn(&str) -> Entry<'_> = |name| Entry::Subject(name, NOW);
    for (entry, width, most) in [(session, 12, 2_728), (subject, 20, 1_636)] {
        let of = |count: usize| {
            list(
                &names[..count]
                    .iter()
                    .map(|name| entry(name))
                    .collect::<Vec<_>>(),
            )
        };
        assert!(of(0).is_small() && of(most).is_small(), "{width}");
        assert!(!of(most + 1).is_small(), "{width}");
        assert!(32 + most * width <= SMALL_LIST_BYTES, "{width}");
    }
}

#[test]
fn believes_a_document_only_of_its_key_type_and_issuer() {
    let (key, other) = (Key::eddsa(3), Key::eddsa(4));
    let body = encode(&HASH_KEY, []);
    let open = |document: &[u8], keys: &[&Key]| {
        RevocationList::open(document, &control_keys(keys), ISSUER).map(|list| list.sequence())
    };
    let good = sign(&key, &header(&key), &body);
    assert_eq!(open(&good, &[&key]), Ok(5));
    assert_eq!(
        open(&good, &[&other, &key]),
        Ok(5),
        "two slots, for a rollover"
    );
    assert_eq!(open(&good, &[&other]), Err(ControlError::KeyUnknown));
    let forged = sign(&other, &header(&key), &body);
    assert_eq!(open(&forged, &[&key]), Err(ControlError::SignatureInvalid));
    for document_type in [DocumentType::JwkSet, DocumentType::Policy] {
        let document = sign(
            &key,
            &Header {
                document_type,
                ..header(&key)
            },
            &body,
        );
        assert_eq!(open(&document, &[&key]), Err(ControlError::WrongType));
    }
    let foreign = Header {
        issuer: "https://other.example".into(),
        ..header(&key)
    };
    assert_eq!(
        open(&sign(&key, &foreign, &body), &[&key]),
        Err(ControlError::IssuerMismatch)
    );
}

#[test]
fn refuses_a_document_with_anything_changed_or_missing() {
    let key = Key::eddsa(3);
    let keys = control_keys(&[&key]);
    let good = sign(&key, &header(&key), &encode(&HASH_KEY, [Entry::Token("a")]));
    for length in 0..good.len() {
        assert!(
            RevocationList::open(&good[..length], &keys, ISSUER).is_err(),
            "{length}"
        );
    }
    for position in 0..good.len() {
        let mut changed = good.clone();
        changed[position] ^= 1;
        assert!(
            RevocationList::open(&changed, &keys, ISSUER).is_err(),
            "{position}"
        );
    }
    let longer = [&good[..], &[0]].concat();
    assert!(RevocationList::open(&longer, &keys, ISSUER).is_err());
    let huge = vec![0; MAX_DOCUMENT_BYTES + 1];
    let refused = RevocationList::open(&huge, &keys, ISSUER).map(|_| ());
    assert_eq!(refused, Err(ControlError::TooLarge));
}

#[test]
fn refuses_a_signed_list_whose_body_is_not_in_order() {
    let key = Key::eddsa(3);
    let keys = control_keys(&[&key]);
    let open = |body: &[u8]| {
        RevocationList::open(&sign(&key, &header(&key), body), &keys, ISSUER).map(|list| list.len())
    };
    let good = encode(
        &HASH_KEY,
        [Entry::Token("a"), Entry::Token("b"), Entry::Session("c")],
    );
    assert_eq!(open(&good), Ok(3));
    let mut swapped = good.clone();
    swapped[32..56].rotate_left(12);
    let mut repeated = good.clone();
    repeated.copy_within(32..44, 44);
    let mut miscounted = good.clone();
    miscounted[16] = 1;
    let mut overflowing = good.clone();
    overflowing[16..20].copy_from_slice(&u32::MAX.to_le_bytes());
    for body in [
        &swapped,
        &repeated,
        &miscounted,
        &overflowing,
        &good[..good.len() - 1],
        &[][..],
    ] {
        assert_eq!(open(body), Err(ControlError::BodyInvalid));
    }
    assert_eq!(
        open(&[&good[..], &[0]].concat()),
        Err(ControlError::BodyInvalid)
    );
}

#[test]
fn refuses_headers_that_do_not_say_everything_once() {
    let key = Key::eddsa(3);
    let keys = control_keys(&[&key]);
    let open = |header: &str| {
        let mut document = b"EKC1".to_vec();
        document.extend_from_slice(&u32::try_from(header.len()).unwrap().to_le_bytes());
        document.extend_from_slice(header.as_bytes());
        let signature = key.sign(&document);
        document.extend_from_slice(&signature);
        control::open(&document, &keys, DocumentType::Policy, ISSUER).map(|d| d.sequence)
    };
    let good =
        json!({"typ": "edgekeep-policy", "iss": ISSUER, "kid": key.id(), "seq": 1, "iat": 1});
    assert_eq!(open(&good.to_string()), Ok(1));
    for (name, value) in [
        ("seq", json!(-1)),
        ("seq", json!("1")),
        ("seq", json!(1.5)),
        ("iat", json!(null)),
        ("typ", json!(1)),
        ("iss", json!(["x"])),
        ("kid", json!(7)),
    ] {
        let mut header = good.clone();
        header[name] = value;
        assert_eq!(
            open(&header.to_string()),
            Err(ControlError::Malformed),
            "{name}"
        );
    }
    let twice = format!("{{\"seq\":2,{}", &good.to_string()[1..]);
    assert_eq!(open(&twice), Err(ControlError::Malformed));
    let long = format!("{}{}", good, " ".repeat(MAX_HEADER_BYTES));
    assert_eq!(open(&long), Err(ControlError::Malformed));
}

#[test]
fn an_older_list_does_not_replace_a_newer_one() {
    let key = Key::eddsa(3);
    let at = |sequence| {
        let header = Header {
            sequence,
            ..header(&key)
        };
        let document = sign(&key, &header, &encode(&HASH_KEY, []));
        RevocationList::open(&document, &control_keys(&[&key]), ISSUER).unwrap()
    };
    assert!(at(1).replaces(None));
    assert!(at(2).replaces(Some(&at(1))));
    assert!(at(2).replaces(Some(&at(2))));
    assert!(!at(1).replaces(Some(&at(2))));
}

#[test]
fn pins_one_or_two_public_ed25519_keys() {
    let [a, b, c] = [3, 4, 5].map(|seed| Key::eddsa(seed).verifying().to_jwk("k"));
    let [b, c] = [(b, "l"), (c, "m")].map(|(jwk, kid)| jwk.replace("\"k\"", &format!("\"{kid}\"")));
    let ec = Key::es256(1).verifying().to_jwk("ec");
    let parse = |text: &str| ControlKeys::parse(text.as_bytes()).map(|_| ());
    assert_eq!(parse(&a), Ok(()));
    assert_eq!(parse(&format!("[{a}]")), Ok(()));
    assert_eq!(parse(&format!("[{a},{b}]")), Ok(()));
    assert_eq!(parse(&format!("{{\"keys\":[{a},{b}]}}")), Ok(()));
    assert_eq!(parse(&format!("[{a},{b},{c}]")), Err(JwkError::Malformed));
    assert_eq!(parse(&format!("[{a},{a}]")), Err(JwkError::Malformed));
    assert_eq!(parse(&ec), Err(JwkError::Unsupported));
    for text in [
        "[]",
        "",
        "{}",
        "null",
        "{\"keys\":[]}",
        "{\"keys\":1}",
        "[1]",
    ] {
        assert!(parse(text).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        let key = Key::eddsa(3);
        prop_assert!(RevocationList::open(&bytes, &control_keys(&[&key]), ISSUER).is_err());
        let _ = ControlKeys::parse(&bytes);
    }

    #[test]
    fn no_signed_body_panics(body: Vec<u8>) {
        let key = Key::eddsa(3);
        let document = sign(&key, &header(&key), &body);
        let _ = RevocationList::open(&document, &control_keys(&[&key]), ISSUER);
    }

    #[test]
    fn finds_whatever_was_encoded(ids in prop::collection::vec("[a-z]{1,8}", 0..40), seed: [u8; 16]) {
        let key = Key::eddsa(3);
        let body = encode(&HashKey(seed), ids.iter().map(|id| Entry::Token(id)));
        let list = RevocationList::open(
            &sign(&key, &header(&key), &body), &control_keys(&[&key]), ISSUER,
        ).unwrap();
        prop_assert_eq!(list.is_empty(), ids.is_empty());
        let signer = Key::eddsa(2);
        for id in ids {
            let token = signer.issue(&claims_with("jti", Some(json!(id))));
            let token = verifier().verify(token.as_bytes(), &set(&[&signer]), NOW).unwrap();
            prop_assert_eq!(list.find(&token), Some(RevokedBy::Token));
        }
    }
}
