//! Any bytes as a control document, and any body under a good signature: no panic, and nothing
//! is believed without the signature.
#![no_main]

use ed25519_dalek::{Signer, SigningKey};
use edgekeep_shared::control::{ControlKeys, DocumentType, Header};
use edgekeep_shared::jwk::{Jwk, VerifyingKey};
use edgekeep_shared::revocation::RevocationList;
use edgekeep_shared::time::UnixTime;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let key = SigningKey::from_bytes(&[3; 32]);
    let jwk = Jwk::new("c", VerifyingKey::EdDsa(key.verifying_key()));
    let keys = ControlKeys::new(vec![jwk]).expect("one key");
    assert!(RevocationList::open(bytes, &keys, "i").is_err());
    let _ = ControlKeys::parse(bytes);

    let header = Header {
        document_type: DocumentType::Revocations,
        issuer: "i".into(),
        key_id: "c".into(),
        sequence: 1,
        issued_at: UnixTime(1),
    };
    let mut document = header.signing_input(bytes);
    let signature = key.sign(&document).to_bytes();
    document.extend_from_slice(&signature);
    if let Ok(list) = RevocationList::open(&document, &keys, "i") {
        // 12 bytes each at least, after the key and the counts.
        assert!(list.len() * 12 + 32 <= bytes.len());
    }
});
