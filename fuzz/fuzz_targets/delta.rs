//! Any bytes as a signed delta, and any body under a good signature: no panic, nothing is believed
//! without the signature, and a list is changed as a whole or not at all.
#![no_main]

use ed25519_dalek::{Signer, SigningKey};
use edgekeep_shared::control::{ControlKeys, DocumentType, Header};
use edgekeep_shared::jwk::{Jwk, VerifyingKey};
use edgekeep_shared::revocation::{Entry, HashKey, RevocationDelta, RevocationList, encode};
use edgekeep_shared::time::UnixTime;
use libfuzzer_sys::fuzz_target;

const HASH_KEY: HashKey = HashKey([7; 16]);

fuzz_target!(|bytes: &[u8]| {
    let key = SigningKey::from_bytes(&[3; 32]);
    let jwk = Jwk::new("c", VerifyingKey::EdDsa(key.verifying_key()));
    let keys = ControlKeys::new(vec![jwk]).expect("one key");
    assert!(RevocationDelta::open(bytes, &keys, "i").is_err());
    let _ = RevocationDelta::unverified_span(bytes);

    let signed = |document_type, sequence, body: &[u8]| {
        let header = Header {
            document_type,
            issuer: "i".into(),
            key_id: "c".into(),
            sequence,
            issued_at: UnixTime(1),
        };
        let mut document = header.signing_input(body);
        let signature = key.sign(&document).to_bytes();
        document.extend_from_slice(&signature);
        document
    };
    let entries = [
        Entry::Token("a"),
        Entry::Session("b"),
        Entry::Key("c"),
        Entry::Subject("d", UnixTime(1)),
    ];
    let list = signed(DocumentType::Revocations, 1, &encode(&HASH_KEY, entries));
    let mut list = RevocationList::open(&list, &keys, "i").expect("a list");

    // Any body, and any edits after a beginning that fits the list.
    let mut fitting = HASH_KEY.0.to_vec();
    fitting.extend_from_slice(&1_u64.to_le_bytes());
    fitting.extend_from_slice(bytes);
    for body in [bytes, &fitting] {
        let document = signed(DocumentType::RevocationsDelta, 2, body);
        let Ok(delta) = RevocationDelta::open(&document, &keys, "i") else {
            continue;
        };
        // 12 bytes each at least.
        assert!(delta.len() * 12 <= body.len());
        let before = list.clone();
        match list.apply(&delta) {
            Ok(()) => assert_eq!(list.sequence(), 2),
            Err(_) => assert_eq!(list, before),
        }
    }
});
