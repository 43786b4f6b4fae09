//! What the verifier accepts and refuses, with the exact code.

use crate::support::{AUDIENCE, ISSUER, Key, NOW, claims, claims_with, set, verifier};
use edgekeep_shared::{
    base64url,
    error::Rejection::{self, *},
    jwk::{Algorithm, JwkSet},
    time::UnixTime,
    token::{MAX_TOKEN_BYTES, UnverifiedToken},
    verifier::MAX_LIFETIME,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn verdict(token: &str, keys: &JwkSet) -> Result<String, Rejection> {
    verifier()
        .verify(token.as_bytes(), keys, NOW)
        .map(|token| token.claims().subject.clone())
}

/// The verdict on these claims, honestly signed.
fn judge(claims: &Value) -> Result<String, Rejection> {
    let key = Key::es256(1);
    verdict(&key.issue(claims), &set(&[&key]))
}

/// The verdict on this header over good claims, honestly signed.
fn judge_header(header: &str) -> Result<String, Rejection> {
    let key = Key::es256(1);
    verdict(&key.token(header, &claims().to_string()), &set(&[&key]))
}

#[test]
fn accepts_every_algorithm_and_gives_every_claim() {
    for key in [
        Key::es256(1),
        Key::eddsa(2),
        Key::rs256(2048),
        Key::rs256(3072),
        Key::rs256(4096),
    ] {
        let keys = set(&[&Key::es256(8), &key, &Key::eddsa(9)]);
        let token = verifier()
            .verify(key.issue(&claims()).as_bytes(), &keys, NOW)
            .unwrap();
        assert_eq!(token.key_id(), key.id());
        let claims = token.claims();
        assert_eq!(claims.subject, "user-1");
        assert_eq!(claims.session_id.as_deref(), Some("session-1"));
        assert_eq!(claims.scopes, ["report:read", "report:write"]);
        assert_eq!(claims.roles, ["admin"]);
        assert_eq!(claims.permissions, ["a", "b"]);
        assert_eq!(claims.authentication_methods, ["pwd", "otp"]);
        assert_eq!(claims.authenticated_at, Some(NOW.minus(60)));
        assert_eq!(claims.kyc_level, Some(2));
        assert_eq!(claims.customer_id.as_deref(), Some("customer-1"));
        assert_eq!(claims.device_id.as_deref(), Some("device-1"));
    }
}

#[test]
fn judges_the_boundary_second() {
    let key = Key::es256(1);
    let keys = set(&[&key]);
    for (claim, value, leeway, expected) in [
        ("exp", -1, 0, Err(TokenExpired)),
        ("exp", 0, 0, Err(TokenExpired)),
        ("exp", 1, 0, Ok(())),
        ("exp", -5, 5, Err(TokenExpired)),
        ("exp", -4, 5, Ok(())),
        ("nbf", 1, 0, Err(TokenNotYetValid)),
        ("nbf", 0, 0, Ok(())),
        ("nbf", 6, 5, Err(TokenNotYetValid)),
        ("nbf", 5, 5, Ok(())),
        ("iat", 1, 0, Err(TokenNotYetValid)),
        ("iat", 0, 0, Ok(())),
        ("iat", 6, 5, Err(TokenNotYetValid)),
        ("iat", 5, 5, Ok(())),
    ] {
        let token = key.issue(&claims_with(claim, Some(json!(NOW.0 + value))));
        let verifier = verifier().with_leeway(leeway);
        let verdict = verifier.verify(token.as_bytes(), &keys, NOW).map(|_| ());
        assert_eq!(
            verdict, expected,
            "{claim} now{value:+} with leeway {leeway}"
        );
    }
}

#[test]
fn a_key_of_one_issuer_never_serves_another() {
    use edgekeep_shared::{jwk::Jwk, verifier::Verifier};

    // Both call their key by one name, as issuers may (RFC 8725 §3.8): only the set tells them apart.
    let issuers = [
        ("https://one.example", "one", Key::es256(1)),
        ("https://two.example", "two", Key::es256(2)),
    ];
    let named = |key: &Key| JwkSet::new(vec![Jwk::new("k1", key.verifying())]).unwrap();
    let issue = |issuer: &str, audience: &str, key: &Key| {
        let mut claims = claims_with("iss", Some(json!(issuer)));
        claims["aud"] = json!(audience);
        let header = json!({"alg": "ES256", "typ": "at+jwt", "kid": "k1"});
        key.token(&header.to_string(), &claims.to_string())
    };
    for (issuer, audience, key) in &issuers {
        let verifier = Verifier::new(*issuer, *audience);
        let judge = |token: &str| verifier.verify(token.as_bytes(), &named(key), NOW);
        assert!(judge(&issue(issuer, audience, key)).is_ok());
        let (other, elsewhere, stranger) = issuers.iter().find(|(o, ..)| o != issuer).unwrap();
        for (token, expected) in [
            (issue(issuer, audience, stranger), SignatureInvalid),
            (issue(other, elsewhere, stranger), SignatureInvalid),
            (issue(other, audience, key), IssuerMismatch),
            (issue(issuer, elsewhere, key), AudienceMismatch),
        ] {
            assert_eq!(judge(&token), Err(expected));
        }
    }
}

#[test]
fn an_algorithm_that_is_not_on_the_list_is_refused_whatever_keys_there_are() {
    let keys = [Key::es256(1), Key::eddsa(2), Key::rs256(2048)];
    let set = set(&[&keys[0], &keys[1], &keys[2]]);
    for (index, only) in Algorithm::ALL.iter().enumerate() {
        let verifier = verifier().with_algorithms([*only]);
        for (other, key) in keys.iter().enumerate() {
            let verdict = verifier.verify(key.issue(&claims()).as_bytes(), &set, NOW);
            let expected = if index == other {
                None
            } else {
                Some(AlgorithmNotAllowed)
            };
            assert_eq!(verdict.err(), expected, "{only:?} {other}");
        }
    }
}

#[test]
fn bounds_the_life_of_a_token() {
    let iat = NOW.0 - 60;
    assert_eq!(
        judge(&claims_with("exp", Some(json!(iat + MAX_LIFETIME)))),
        Ok("user-1".into())
    );
    for exp in [iat + MAX_LIFETIME + 1, iat, iat - 1] {
        assert_eq!(
            judge(&claims_with("exp", Some(json!(exp)))),
            Err(ClaimInvalid),
            "{exp}"
        );
    }
}

#[test]
fn rejects_missing_and_mistyped_claims() {
    for name in ["iss", "sub", "aud", "exp", "iat", "jti", "client_id"] {
        assert_eq!(judge(&claims_with(name, None)), Err(ClaimMissing), "{name}");
    }
    for name in [
        "nbf",
        "sid",
        "scope",
        "roles",
        "amr",
        "kyc_level",
        "auth_time",
    ] {
        assert!(
            judge(&claims_with(name, None)).is_ok(),
            "{name} is optional"
        );
    }
    let numbers = ["exp", "iat", "nbf", "auth_time"];
    let wrong_numbers = [
        json!(null),
        json!("1800000000"),
        json!(1.5),
        json!(1e300),
        json!(-1),
        json!(i64::MAX),
    ];
    let texts = [
        "iss",
        "sub",
        "jti",
        "client_id",
        "sid",
        "acr",
        "kyc_status",
        "device_id",
    ];
    let wrong_texts = [
        json!(null),
        json!(1),
        json!(""),
        json!(["user-1"]),
        json!({}),
        json!(true),
    ];
    let lists = ["roles", "permissions", "amr"];
    let wrong_lists = [
        json!(null),
        json!("admin"),
        json!([1]),
        json!([null]),
        json!({"0": "a"}),
    ];
    for (names, values) in [
        (&numbers[..], &wrong_numbers[..]),
        (&texts, &wrong_texts),
        (&lists, &wrong_lists),
    ] {
        for name in names {
            for value in values {
                let verdict = judge(&claims_with(name, Some(value.clone())));
                assert_eq!(verdict, Err(ClaimInvalid), "{name}: {value}");
            }
        }
    }
    for value in [
        json!(null),
        json!(1),
        json!(""),
        json!([]),
        json!([1]),
        json!({}),
    ] {
        assert_eq!(
            judge(&claims_with("aud", Some(value.clone()))),
            Err(ClaimInvalid),
            "{value}"
        );
    }
    for value in [json!(-1), json!(256), json!(1.0), json!("2"), json!(null)] {
        assert_eq!(
            judge(&claims_with("kyc_level", Some(value.clone()))),
            Err(ClaimInvalid)
        );
    }
}

#[test]
fn compares_issuer_and_audience_exactly() {
    for issuer in [
        "https://id.example/",
        "https://id.exampl",
        "https://ID.example",
        "x",
    ] {
        assert_eq!(
            judge(&claims_with("iss", Some(json!(issuer)))),
            Err(IssuerMismatch)
        );
    }
    for audience in [
        json!("API"),
        json!("ap"),
        json!("apis"),
        json!(["x", "a", "api "]),
    ] {
        assert_eq!(
            judge(&claims_with("aud", Some(audience))),
            Err(AudienceMismatch)
        );
    }
    assert!(judge(&claims_with("aud", Some(json!(["other", AUDIENCE])))).is_ok());
    assert_eq!(
        judge(&claims_with("iss", Some(json!([ISSUER])))),
        Err(ClaimInvalid)
    );
}

#[test]
fn rejects_other_algorithms_before_the_key_is_looked_up() {
    let kid = Key::es256(1).id();
    for alg in [
        "none", "None", "NONE", "nOnE", "HS256", "HS512", "RS256", "ES384", "es256", "",
    ] {
        let header = json!({"alg": alg, "typ": "at+jwt", "kid": kid}).to_string();
        assert_eq!(judge_header(&header), Err(AlgorithmNotAllowed), "{alg}");
    }
    for alg in [
        json!(null),
        json!(["ES256"]),
        json!(1),
        json!({"name": "ES256"}),
    ] {
        let header = json!({"alg": alg, "typ": "at+jwt", "kid": kid}).to_string();
        assert_eq!(judge_header(&header), Err(TokenMalformed), "{alg}");
    }
    let unsigned = format!(
        "{}.{}.",
        base64url::encode(
            json!({"alg": "none", "typ": "at+jwt"})
                .to_string()
                .as_bytes()
        ),
        base64url::encode(claims().to_string().as_bytes())
    );
    assert_eq!(
        verdict(&unsigned, &set(&[&Key::es256(1)])),
        Err(AlgorithmNotAllowed)
    );
}

#[test]
fn holds_the_header_to_the_key_s_own_algorithm() {
    let (ec, ed) = (Key::es256(1), Key::eddsa(2));
    let keys = set(&[&ec, &ed]);
    let header = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": ec.id()}).to_string();
    for signer in [&ec, &ed] {
        let token = signer.token(&header, &claims().to_string());
        assert_eq!(verdict(&token, &keys), Err(AlgorithmNotAllowed));
    }
    let fully_specified = json!({"alg": "Ed25519", "typ": "at+jwt", "kid": ed.id()}).to_string();
    assert!(verdict(&ed.token(&fully_specified, &claims().to_string()), &keys).is_ok());
}

#[test]
fn rejects_critical_headers_of_any_shape() {
    for crit in [
        json!([]),
        json!(["exp"]),
        json!(["b64"]),
        json!("b64"),
        json!(null),
        json!({}),
    ] {
        let mut header = Key::es256(1).header();
        header["crit"] = crit.clone();
        assert_eq!(
            judge_header(&header.to_string()),
            Err(CriticalHeader),
            "{crit}"
        );
    }
    let mut header = Key::es256(1).header();
    header["b64"] = json!(true);
    assert_eq!(judge_header(&header.to_string()), Err(CriticalHeader));
}

#[test]
fn demands_the_type_of_access_tokens() {
    for (typ, accepted) in [
        (json!("at+jwt"), true),
        (json!("AT+JWT"), true),
        (json!("application/at+jwt"), true),
        (json!("Application/at+JWT"), true),
        (json!("JWT"), false),
        (json!("jwt"), false),
        (json!("logout+jwt"), false),
        (json!("dpop+jwt"), false),
        (json!("application/x/at+jwt"), false),
        (json!("Xapplication/at+jwt"), false),
        (json!("application.at+jwt"), false),
        (json!("application"), false),
        (json!("at+jwt "), false),
        (json!(""), false),
    ] {
        let mut header = Key::es256(1).header();
        header["typ"] = typ.clone();
        let expected = if accepted {
            Ok("user-1".into())
        } else {
            Err(WrongType)
        };
        assert_eq!(judge_header(&header.to_string()), expected, "{typ}");
    }
    let mut header = Key::es256(1).header();
    header.as_object_mut().unwrap().remove("typ");
    assert_eq!(judge_header(&header.to_string()), Err(WrongType));
    header["typ"] = json!(["at+jwt"]);
    assert_eq!(judge_header(&header.to_string()), Err(TokenMalformed));
}

#[test]
fn finds_keys_by_kid_alone() {
    let attacker = Key::es256(66);
    let keys = set(&[&Key::es256(1)]);
    let mut header = attacker.header();
    for kid in [
        "",
        "../../etc/passwd",
        "' OR 1=1 --",
        "\0",
        "__proto__",
        &"k".repeat(5_000),
    ] {
        header["kid"] = json!(kid);
        let token = attacker.token(&header.to_string(), &claims().to_string());
        assert_eq!(verdict(&token, &keys), Err(KeyUnknown), "{kid:?}");
    }
    header.as_object_mut().unwrap().remove("kid");
    let token = attacker.token(&header.to_string(), &claims().to_string());
    assert_eq!(
        verdict(&token, &keys),
        Err(KeyUnknown),
        "a set of one key is no default"
    );

    // Keys that the token brings along are not looked at.
    header["kid"] = json!(Key::es256(1).id());
    header["jwk"] = serde_json::from_str(&attacker.verifying().to_jwk("x")).unwrap();
    header["jku"] = json!("http://127.0.0.1:1/jwks.json");
    header["x5u"] = json!("http://127.0.0.1:1/cert.pem");
    header["x5c"] = json!(["AAAA"]);
    let token = attacker.token(&header.to_string(), &claims().to_string());
    assert_eq!(verdict(&token, &keys), Err(SignatureInvalid));

    header["kid"] = json!(7);
    assert_eq!(judge_header(&header.to_string()), Err(TokenMalformed));
}

#[test]
fn rejects_every_other_shape() {
    let key = Key::es256(1);
    let keys = set(&[&key]);
    let good = key.issue(&claims());
    let [header, payload, signature] =
        <[&str; 3]>::try_from(good.split('.').collect::<Vec<_>>()).unwrap();
    let flattened = json!({"protected": header, "payload": payload, "signature": signature});
    for token in [
        String::new(),
        ".".into(),
        "..".into(),
        "...".into(),
        format!("{header}.{payload}"),
        format!("{good}."),
        format!("{good}.{signature}"),
        format!("{header}.{payload}.{payload}.{payload}.{signature}"),
        format!(" {good}"),
        format!("{good}\n"),
        format!("{good}="),
        format!("{header}=.{payload}.{signature}"),
        format!("{header}.{payload}==.{signature}"),
        format!("{header}.{payload}.{signature}=="),
        format!("\u{feff}{good}"),
        format!("Bearer {good}"),
        flattened.to_string(),
        "\0".repeat(100),
    ] {
        assert_eq!(verdict(&token, &keys), Err(TokenMalformed), "{token:?}");
    }
    for signature in ["", "AA", &signature[..84], &format!("{signature}AAAA")] {
        let token = format!("{header}.{payload}.{signature}");
        assert_eq!(
            verdict(&token, &keys),
            Err(SignatureInvalid),
            "{signature:?}"
        );
    }
    // Other spellings of the same parts, under signatures that cover the spelling.
    let padded = key.compact(&format!("{header}="), payload);
    assert_eq!(verdict(&padded, &keys), Err(TokenMalformed));
    let padded = key.compact(header, &format!("{payload}="));
    assert_eq!(verdict(&padded, &keys), Err(TokenMalformed));
    for payload in [
        "",
        "{}x",
        "[]",
        "null",
        "\"x\"",
        "{\"a\":1,\"a\":2}",
        "\u{feff}{}",
    ] {
        let token = key.token(&key.header().to_string(), payload);
        assert_eq!(verdict(&token, &keys), Err(TokenMalformed), "{payload:?}");
    }
    let duplicated = format!("{{\"exp\":1,{}", &claims().to_string()[1..]);
    let token = key.token(&key.header().to_string(), &duplicated);
    assert_eq!(verdict(&token, &keys), Err(TokenMalformed));
    let duplicated = format!("{{\"alg\":\"none\",{}", &key.header().to_string()[1..]);
    assert_eq!(judge_header(&duplicated), Err(TokenMalformed));
}

#[test]
fn bounds_the_size_before_anything_else() {
    let key = Key::es256(1);
    let keys = set(&[&key]);
    let padded = |extra: usize| key.issue(&claims_with("pad", Some(json!("x".repeat(extra)))));
    let overhead = padded(1).len();
    let fitting = padded((MAX_TOKEN_BYTES - overhead) / 4 * 3 - 3);
    assert!(fitting.len() <= MAX_TOKEN_BYTES && fitting.len() > MAX_TOKEN_BYTES - 16);
    assert!(verdict(&fitting, &keys).is_ok());
    assert_eq!(verdict(&padded(MAX_TOKEN_BYTES), &keys), Err(TokenTooLarge));
    assert_eq!(
        verdict(&"a".repeat(MAX_TOKEN_BYTES + 1), &keys),
        Err(TokenTooLarge)
    );
    assert_eq!(
        verdict(&"a".repeat(MAX_TOKEN_BYTES), &keys),
        Err(TokenMalformed)
    );
}

#[test]
fn rejects_impossible_ecdsa_signatures_and_accepts_either_sign_of_s() {
    let key = Key::es256(1);
    let keys = set(&[&key]);
    let token = key.issue(&claims());
    let signing_input = token.rsplit_once('.').unwrap().0;
    let with = |signature: &[u8]| format!("{signing_input}.{}", base64url::encode(signature));

    let order = p256_order();
    let signature = key.sign(signing_input.as_bytes());
    let (r, s) = signature.split_at(32);
    let (zero, ones) = ([0; 32], [0xff; 32]);
    for (r, s) in [
        (&zero[..], &zero[..]),
        (r, &zero),
        (&zero, s),
        (&order, s),
        (r, &order),
        (&ones, &ones),
        (s, r),
    ] {
        assert_eq!(
            verdict(&with(&[r, s].concat()), &keys),
            Err(SignatureInvalid)
        );
    }
    let parsed = p256::ecdsa::Signature::from_slice(&signature).unwrap();
    assert_eq!(
        verdict(&with(parsed.to_der().as_bytes()), &keys),
        Err(SignatureInvalid),
        "DER"
    );

    let negated = p256::ecdsa::Signature::from_scalars(*parsed.r(), -*parsed.s()).unwrap();
    assert!(verdict(&with(&negated.to_bytes()), &keys).is_ok());
    assert!(verdict(&with(&signature), &keys).is_ok());
}

fn p256_order() -> [u8; 32] {
    let mut order = [0; 32];
    let hex = b"ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    for (byte, pair) in order.iter_mut().zip(hex.as_chunks::<2>().0) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    }
    order
}

/// The order of Ed25519's base point, little-endian. Verifiers without a range check take s + L
/// for s.
const L: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

#[test]
fn rejects_malleable_ed25519_signatures() {
    let key = Key::eddsa(2);
    let keys = set(&[&key]);
    let token = key.issue(&claims());
    let signing_input = token.rsplit_once('.').unwrap().0;
    let mut signature = key.sign(signing_input.as_bytes());
    let mut carry = 0;
    for (byte, order) in signature[32..].iter_mut().zip(L) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        *byte = u8::try_from(sum & 0xff).unwrap();
        carry = sum >> 8;
    }
    let token = format!("{signing_input}.{}", base64url::encode(&signature));
    assert_eq!(verdict(&token, &keys), Err(SignatureInvalid));
}

#[test]
fn verifies_time_again_for_a_token_that_was_kept() {
    let key = Key::es256(1);
    let verifier = verifier();
    let token = verifier
        .verify(key.issue(&claims()).as_bytes(), &set(&[&key]), NOW)
        .unwrap();
    let expires_at = token.claims().expires_at;
    assert_eq!(verifier.verify_time(&token, expires_at.minus(1)), Ok(()));
    assert_eq!(verifier.verify_time(&token, expires_at), Err(TokenExpired));
    assert_eq!(
        verifier.verify_time(&token, UnixTime(0)),
        Err(TokenNotYetValid)
    );
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        let _ = UnverifiedToken::parse(&bytes);
        prop_assert!(verifier().verify(&bytes, &set(&[&Key::es256(1)]), NOW).is_err());
    }

    #[test]
    fn no_header_or_payload_panics(header in "\\PC{0,64}", payload in "\\PC{0,64}") {
        let key = Key::eddsa(2);
        prop_assert!(verdict(&key.token(&header, &payload), &set(&[&key])).is_err());
    }

    #[test]
    fn any_flipped_bit_rejects(position: prop::sample::Index, bit in 0..8u8, ed: bool) {
        let key = if ed { Key::eddsa(2) } else { Key::es256(1) };
        let mut token = key.issue(&claims()).into_bytes();
        let position = position.index(token.len());
        token[position] ^= 1 << bit;
        prop_assert!(verifier().verify(&token, &set(&[&key]), NOW).is_err());
    }
}
