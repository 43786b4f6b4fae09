//! Any bytes as a token, and any header and payload under a good signature: no panic, and what
//! is accepted was issued by the trusted issuer for the right audience and has not expired.
#![no_main]

use edgekeep_shared::base64url::encode;
use edgekeep_shared::jwk::{Jwk, JwkSet, VerifyingKey};
use edgekeep_shared::time::UnixTime;
use edgekeep_shared::verifier::{MAX_LIFETIME, Verifier};
use libfuzzer_sys::fuzz_target;
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};

fuzz_target!(|input: (&[u8], &[u8], i64)| {
    let (header, payload, now) = input;
    let key = SigningKey::from_bytes(&[1; 32].into()).expect("a scalar");
    let keys = JwkSet::new(vec![Jwk::new("k", VerifyingKey::Es256(*key.verifying_key()))])
        .expect("one key");
    let verifier = Verifier::new("i", "a");
    assert!(verifier.verify(header, &keys, UnixTime(now)).is_err());

    let mut token = format!("{}.{}", encode(header), encode(payload));
    let signature: Signature = key.sign(token.as_bytes());
    token.push('.');
    token.push_str(&encode(&signature.to_bytes()));
    if let Ok(token) = verifier.verify(token.as_bytes(), &keys, UnixTime(now)) {
        let claims = token.claims();
        assert_eq!(claims.issuer, "i");
        assert!(claims.audience.iter().any(|audience| audience == "a"));
        assert!(now < claims.expires_at.0 && claims.issued_at.0 <= now);
        assert!(claims.expires_at.since(claims.issued_at) <= MAX_LIFETIME);
        assert!(!claims.subject.is_empty() && !claims.token_id.is_empty());
    }
});
