//! JWK and JWK Set: what is taken, what is left out, what makes a whole set worthless.

use crate::support::{self, Key};
use edgekeep_shared::{
    base64url,
    jwk::{Jwk, JwkError, JwkSet, JwkSetError, MAX_KEYS, MAX_SET_BYTES, VerifyingKey},
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn ec() -> Value {
    serde_json::from_str(&Key::es256(1).verifying().to_jwk("ec")).unwrap()
}

fn ed() -> Value {
    serde_json::from_str(&Key::eddsa(2).verifying().to_jwk("ed")).unwrap()
}

fn with(mut jwk: Value, name: &str, value: Value) -> Value {
    jwk[name] = value;
    jwk
}

fn parse(jwk: &Value) -> Result<Jwk, JwkError> {
    Jwk::parse(jwk.to_string().as_bytes())
}

#[test]
fn agrees_with_the_thumbprint_of_rfc_8037() {
    let jwk = json!({"kty": "OKP", "crv": "Ed25519",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    let jwk = parse(&jwk).unwrap();
    assert_eq!(jwk.key_id(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
}

#[test]
fn agrees_with_an_independent_thumbprint_of_a_p256_key() {
    // The key of RFC 7517, appendix A.1; SHA-256 over its canonical members.
    let jwk = json!({"kty": "EC", "crv": "P-256",
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"});
    let canonical = "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4\",\"y\":\"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM\"}";
    let digest = <sha2::Sha256 as sha2::Digest>::digest(canonical);
    assert_eq!(parse(&jwk).unwrap().key_id(), base64url::encode(&digest));
}

#[test]
fn publishes_what_it_parses() {
    for key in [Key::es256(1), Key::eddsa(2)] {
        let jwk = Jwk::parse(key.verifying().to_jwk("a \"quoted\" id").as_bytes()).unwrap();
        assert_eq!(jwk.key_id(), "a \"quoted\" id");
        assert_eq!(jwk.key(), &key.verifying());
    }
    let set = support::set(&[&Key::es256(1), &Key::eddsa(2)]);
    assert_eq!(JwkSet::parse(set.to_json().as_bytes()), Ok(set));
}

#[test]
fn refuses_keys_by_cause() {
    use JwkError::{Malformed, Point, PrivateKey, Unsupported, Weak};
    let ec_point = |x: [u8; 32], y: [u8; 32]| {
        with(
            with(ec(), "x", json!(base64url::encode(&x))),
            "y",
            json!(base64url::encode(&y)),
        )
    };
    let okp_point = |x: [u8; 32]| with(ed(), "x", json!(base64url::encode(&x)));
    let x = ec()["x"].as_str().unwrap().to_owned();
    for (jwk, expected) in [
        (json!([]), Malformed),
        (json!(null), Malformed),
        (json!({}), Malformed),
        (json!({"kty": "EC"}), Unsupported),
        (with(ec(), "d", json!("AAAA")), PrivateKey),
        (with(ec(), "k", json!(null)), PrivateKey),
        (json!({"kty": "oct", "k": "AAAA"}), PrivateKey),
        (
            json!({"kty": "RSA", "n": "AQAB", "e": "AQAB", "alg": "RS256"}),
            Weak,
        ),
        (
            json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"}),
            Unsupported,
        ),
        (with(ec(), "crv", json!("P-384")), Unsupported),
        (with(ec(), "crv", json!("p-256")), Unsupported),
        (with(ec(), "crv", json!("secp256k1")), Unsupported),
        (with(ed(), "crv", json!("X25519")), Unsupported),
        (with(ed(), "crv", json!("Ed448")), Unsupported),
        (with(ec(), "alg", json!("RS256")), Unsupported),
        (with(ec(), "alg", json!("ECDH-ES")), Unsupported),
        (with(ed(), "alg", json!("ES256")), Unsupported),
        (with(ec(), "alg", json!(["ES256"])), Malformed),
        (with(ec(), "use", json!("enc")), Unsupported),
        (with(ec(), "use", json!(1)), Malformed),
        (with(ec(), "key_ops", json!(["sign"])), Unsupported),
        (with(ec(), "key_ops", json!("verify")), Malformed),
        (with(ec(), "kid", json!("")), Malformed),
        (with(ec(), "kid", json!("k".repeat(257))), Malformed),
        (with(ec(), "kid", json!(7)), Malformed),
        (with(ec(), "x", json!(format!("{x}="))), Malformed),
        (with(ec(), "x", json!(format!("AAAA{x}"))), Malformed),
        (with(ec(), "x", json!(x[..42])), Malformed),
        (with(ec(), "x", json!("+".repeat(43))), Malformed),
        (with(ec(), "x", json!(1)), Malformed),
        (with(ec(), "y", json!(x)), Point),
        (ec_point([0; 32], [0; 32]), Point),
        (ec_point([0xff; 32], [0xff; 32]), Point),
        (okp_point([0; 32]), Point),
        (
            okp_point({
                let mut one = [0; 32];
                one[0] = 1;
                one
            }),
            Point,
        ),
        (okp_point([0xff; 32]), Point),
    ] {
        assert_eq!(parse(&jwk), Err(expected), "{jwk}");
    }
    assert!(parse(&with(ec(), "key_ops", json!(["verify"]))).is_ok());
    assert!(parse(&with(ec(), "unknown", json!({"a": [1]}))).is_ok());
    assert!(
        parse(&with(ed(), "alg", json!("Ed25519"))).is_ok(),
        "RFC 9864's name"
    );
}

/// Every encoding of a point of small order, canonical or not, as collected in "Taming the many
/// `EdDSAs`" (2020), table 4.
#[test]
fn refuses_every_small_order_or_non_canonical_ed25519_key() {
    for hex in [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "0100000000000000000000000000000000000000000000000000000000000080",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    ] {
        let mut x = [0; 32];
        for (byte, pair) in x.iter_mut().zip(hex.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        }
        assert_eq!(VerifyingKey::ed25519(&x), Err(JwkError::Point), "{hex}");
    }
}

/// The modulus of RFC 7515, appendix A.2.1.
const MODULUS: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";

#[test]
fn refuses_rsa_keys_by_cause() {
    use JwkError::{Malformed, PrivateKey, Unsupported, Weak};
    let rsa = || json!({"kty": "RSA", "n": MODULUS, "e": "AQAB"});
    let modulus = base64url::decode(MODULUS.as_bytes()).unwrap();
    let with_n = |n: &[u8]| with(rsa(), "n", json!(base64url::encode(n)));
    let with_e = |e: &[u8]| with(rsa(), "e", json!(base64url::encode(e)));
    let mut even = modulus.clone();
    *even.last_mut().unwrap() ^= 1;
    let short = [&[0x7f][..], &modulus[1..]].concat();
    for (jwk, expected) in [
        (with(rsa(), "alg", json!("RS384")), Unsupported),
        (with(rsa(), "alg", json!("PS256")), Unsupported),
        (with(rsa(), "alg", json!("HS256")), Unsupported),
        (with(rsa(), "crv", json!("P-256")), Unsupported),
        (with(rsa(), "use", json!("enc")), Unsupported),
        (with(rsa(), "key_ops", json!(["encrypt"])), Unsupported),
        (with(rsa(), "d", json!("AQAB")), PrivateKey),
        (with(rsa(), "oth", json!([])), PrivateKey),
        (with(rsa(), "n", json!("")), Malformed),
        (with(rsa(), "n", json!(7)), Malformed),
        (with(rsa(), "n", json!(format!("{MODULUS}=="))), Malformed),
        (with_n(&[&[0][..], &modulus].concat()), Malformed),
        (with_e(&[0, 1, 0, 1]), Malformed),
        (with_e(&[]), Malformed),
        (with_e(&[0]), Malformed),
        (with_e(&[1]), Weak),
        (with_e(&[2]), Weak),
        (with_e(&[3]), Weak),
        (with_e(&[4]), Weak),
        (with_e(&[1, 0, 0]), Weak),
        (with_e(&[1, 0, 0, 0, 0, 0, 0, 0, 1]), Weak),
        (with_n(&even), Weak),
        (with_n(&short), Weak),
        (with_n(&modulus[1..]), Weak),
        (with_n(&[&modulus[..], &[1; 256], &[1]].concat()), Weak),
    ] {
        assert_eq!(parse(&jwk), Err(expected), "{jwk}");
    }
    for jwk in [
        rsa(),
        with(rsa(), "alg", json!("RS256")),
        with(rsa(), "key_ops", json!(["verify"])),
        with_e(&[5]),
        with_e(&[0xff; 8]),
    ] {
        let parsed = parse(&jwk).unwrap();
        let published = parsed.key().to_jwk(parsed.key_id());
        assert_eq!(Jwk::parse(published.as_bytes()), Ok(parsed));
    }
}

/// The signature of RFC 7515, appendix A.2.1, and what must not pass for it.
#[test]
fn agrees_with_the_rsa_example_of_rfc_7515() {
    let signing_input = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let signature = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    let signature = base64url::decode(signature.as_bytes()).unwrap();
    let jwk = parse(&json!({"kty": "RSA", "n": MODULUS, "e": "AQAB"})).unwrap();
    let verifies = |signature: &[u8]| jwk.key().verify(signing_input.as_bytes(), signature);
    assert!(verifies(&signature));
    let modulus = base64url::decode(MODULUS.as_bytes()).unwrap();
    // The same number modulo n: where s + n fits, it must not be a second signature.
    let mut carry = 0;
    let mut sum: Vec<u8> = signature
        .iter()
        .zip(&modulus)
        .rev()
        .map(|(a, b)| {
            carry += u16::from(*a) + u16::from(*b);
            let byte = carry.to_le_bytes()[0];
            carry >>= 8;
            byte
        })
        .collect();
    sum.reverse();
    for bad in [
        Vec::new(),
        vec![0; 256],
        vec![0xff; 256],
        modulus,
        sum,
        signature[1..].to_vec(),
        signature[..255].to_vec(),
        [&[0][..], &signature].concat(),
        [&signature[..], &[0]].concat(),
    ] {
        assert!(!verifies(&bad));
    }
    for at in 0..signature.len() {
        let mut changed = signature.clone();
        changed[at] ^= 1;
        assert!(!verifies(&changed), "{at}");
    }
}

#[test]
fn keeps_the_good_keys_of_a_set_and_lists_the_others() {
    let rsa = json!({"kty": "RSA", "kid": "rsa", "n": "AQAB", "e": "AQAB"});
    let bad = with(with(ec(), "y", ec()["x"].clone()), "kid", json!("bad"));
    let set = json!({"keys": [rsa, ec(), bad, ed(), 7], "other": 1}).to_string();
    let set = JwkSet::parse(set.as_bytes()).unwrap();
    assert_eq!(
        set.keys().iter().map(Jwk::key_id).collect::<Vec<_>>(),
        ["ec", "ed"]
    );
    let refused = [
        (0, JwkError::Weak),
        (2, JwkError::Point),
        (4, JwkError::Malformed),
    ];
    assert_eq!(set.refused(), refused);
    assert!(set.find("ec").is_some() && set.find("EC").is_none() && set.find("rsa").is_none());
}

#[test]
fn refuses_sets_that_cannot_be_trusted_to_mean_what_they_say() {
    let parse = |text: &str| JwkSet::parse(text.as_bytes());
    for text in [
        "",
        "x",
        "[]",
        "{}",
        r#"{"keys":{}}"#,
        r#"{"keys":[],"keys":[]}"#,
        "{\"keys\":[]",
    ] {
        assert_eq!(parse(text), Err(JwkSetError::Malformed), "{text}");
    }
    assert!(parse(r#"{"keys":[]}"#).unwrap().is_empty());
    let twice = json!({"keys": [ec(), with(ed(), "kid", json!("ec"))]}).to_string();
    assert_eq!(parse(&twice), Err(JwkSetError::DuplicateKeyId));
    let rsa = json!({"kty": "RSA", "kid": "ec", "n": "AQAB", "e": "AQAB"});
    let twice = json!({"keys": [rsa, ec()]}).to_string();
    assert_eq!(
        parse(&twice),
        Err(JwkSetError::DuplicateKeyId),
        "one of them is skipped"
    );
    let many = |n: usize| json!({"keys": vec![json!({"kty": "RSA"}); n]}).to_string();
    assert!(parse(&many(MAX_KEYS)).is_ok());
    assert_eq!(parse(&many(MAX_KEYS + 1)), Err(JwkSetError::TooManyKeys));
    let padded = format!("{{\"keys\":[]}}{}", " ".repeat(MAX_SET_BYTES));
    assert_eq!(parse(&padded), Err(JwkSetError::TooLarge));
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        let _ = JwkSet::parse(&bytes);
        let _ = Jwk::parse(&bytes);
    }

    #[test]
    fn no_coordinates_panic(x: [u8; 32], y: [u8; 32]) {
        let _ = VerifyingKey::es256(&x, &y);
        if let Ok(key) = VerifyingKey::ed25519(&x) {
            prop_assert!(!key.verify(b"", &[0; 64]));
        }
    }
}

/// A key of 2,048 bits whose exponent, 65,539, has three bits that are set, and what it has signed.
const UNUSUAL: [&str; 3] = [
    "ljs3S61t7ICeU-F6jvYA0wa2U1Ku17riI1C48XJ6jU6Q4IWF_PfBd2kY-zXc52x93gJagopv-jNouRW6F2QdAFa0uXECSqFuxyhfYTBOhf-70gfV6WI81NaHPywwRov9PJPLZAPYamJzA4ZxcU8Gm23gdc0i0SWIJIHWbs3AiFArXbx7f6Fbwfp-og-5NSIia3GmwMNF8vPb1EXoVn3SP6h3RHpUAHJ7Q3Qp9wdmAdiECBxMRv1dNAyG1BbVxQX3GVufzGP9hgs6X_QMxTESbAzrGbta0TEMTONM1ak_gDC6sipKR4mojh1Pv5X0cn-GbpU5KMiDhX_uxvfJ49LYGQ",
    "AQAD",
    "CXNwTNfFaXsvhuMCb04HOQimaUtdldiq0yf4qHuu_1zOvFvbcRqLBnA1mqXzHdSVfjRQk59yLTmT0EXfQyUTytS1Owo_Z9NU19pQ_Nro4NXRbOFDzx2XdIvvYyZpQpJZyf4IGQVqgQhfdgZ--gL7InrIyfMN3Du9tpV-1Rnt-_6_3-5gZU6kZ4LbUD_IHFhgBnZT9KV9C8i4qtCDzTHuH-hqQjgLDAWmjAk-NlH0sT5vnmdSHp8wj78f9zGB4ghS0EuF65wJX7QiohE6ZuZn3FnU2go9ySan4cSwaVV16NtyxgwU1RQUk6CbVRoUoLqginoBkXTvRl0G1FlFu3s7qA",
];

fn rsa(modulus: &[u8], exponent: &str) -> Option<VerifyingKey> {
    let jwk = json!({
        "kty": "RSA", "alg": "RS256", "use": "sig", "kid": "k1",
        "n": base64url::encode(modulus), "e": exponent,
    });
    Some(Jwk::parse(jwk.to_string().as_bytes()).ok()?.key().clone())
}

#[test]
fn an_rsa_exponent_counts_with_every_bit_and_others_are_not_asked_about_it() {
    let [modulus, exponent, signature] = UNUSUAL;
    let modulus = base64url::decode(modulus.as_bytes()).unwrap();
    let signature = base64url::decode(signature.as_bytes()).unwrap();
    let key = rsa(&modulus, exponent).unwrap();
    let message = b"signed under an exponent of many bits";
    assert!(key.verify(message, &signature));
    assert!(!key.verify(b"anything else", &signature));
    assert!(!key.is_told_alike(&signature), "the exponent");

    // The same modulus with the exponent of everybody.
    let usual = rsa(&modulus, "AQAB").unwrap();
    assert!(!usual.verify(message, &signature));
    assert!(usual.is_told_alike(&signature));
    assert!(!usual.is_told_alike(&signature[1..]), "too short");
    assert!(!usual.is_told_alike(&modulus), "not below the modulus");
    assert!(!usual.verify(message, &modulus));

    // A modulus that does not fill its bytes.
    let mut longer = vec![modulus[0] >> 4];
    longer.extend(modulus.windows(2).map(|two| two[0] << 4 | two[1] >> 4));
    let longer = (0..=u8::MAX).filter(|last| last % 2 == 1).find_map(|last| {
        let modulus = [&longer[..], &[last]].concat();
        rsa(&modulus, "AQAB").map(|key| (key, modulus.len()))
    });
    let (key, length) = longer.unwrap();
    assert!(!key.is_told_alike(&vec![1; length]), "2,052 bits");
}
