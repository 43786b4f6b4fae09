//! Any bytes as a JWK Set: no panic; what is taken comes out as it went in, and verifies nothing
//! by chance.
#![no_main]

use edgekeep_shared::jwk::JwkSet;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(set) = JwkSet::parse(bytes) else { return };
    for jwk in set.keys() {
        assert_eq!(set.find(jwk.key_id()), Some(jwk));
        assert!(!jwk.key().verify(bytes, &[0; 64]));
        assert_eq!(jwk.key().thumbprint().len(), 43);
    }
    let again = JwkSet::parse(set.to_json().as_bytes()).expect("what is published parses");
    assert_eq!(again.keys(), set.keys());
});
