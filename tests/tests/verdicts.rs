//! One verdict: for any token the gate, the origin and `edgekeep verify` say the same.

use edgekeep_shared::base64url;
use edgekeep_tests::house::House;
use edgekeep_tests::origin::command;
use edgekeep_tests::process::run;
use serde_json::{Value, json};

/// Every character of a token of which one in so many is replaced.
const STEP: usize = 3;

/// Tokens that differ from `good` in one place each.
pub(crate) fn mutations(good: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    for at in (0..good.len()).step_by(STEP) {
        for replacement in ["A", "_", "="] {
            tokens.push(format!("{}{replacement}{}", &good[..at], &good[at + 1..]));
        }
        tokens.push(format!("{}{}", &good[..at], &good[at + 1..]));
    }
    for at in (1..good.len()).step_by(17) {
        tokens.push(good[..at].to_owned());
        tokens.push(format!("{}.{}", &good[..at], &good[at..]));
    }
    let parts: Vec<&str> = good.split('.').collect();
    let header: Value =
        serde_json::from_slice(&base64url::decode(parts[0].as_bytes()).unwrap()).unwrap();
    for (name, value) in [
        ("alg", json!("none")),
        ("alg", json!("HS256")),
        ("alg", json!("EdDSA")),
        ("alg", json!(["ES256"])),
        ("typ", json!("JWT")),
        ("typ", json!("AT+JWT")),
        ("typ", json!("application/at+jwt")),
        ("typ", Value::Null),
        ("kid", json!("")),
        ("kid", json!("nobody")),
        ("kid", json!("k".repeat(300))),
        ("kid", json!(1)),
        ("crit", json!([])),
        ("b64", json!(true)),
        ("jwk", json!({})),
        ("x5u", json!("https://evil.example")),
        ("zip", json!("DEF")),
        ("enc", json!("A256GCM")),
    ] {
        let mut header = header.clone();
        header[name] = value;
        let header = base64url::encode(header.to_string().as_bytes());
        tokens.push(format!("{header}.{}.{}", parts[1], parts[2]));
    }
    tokens.push(format!("{}.{}.", parts[0], parts[1]));
    tokens.push(format!("{}..{}", parts[0], parts[2]));
    tokens.push(format!(".{}.{}", parts[1], parts[2]));
    tokens.push(format!(
        "{}.{}.{}.{}",
        parts[0], parts[1], parts[2], parts[2]
    ));
    tokens.push(format!("{}{}", parts[0], "A".repeat(9_000)));
    tokens
}

#[tokio::test(flavor = "multi_thread")]
async fn gate_origin_and_command_line_agree_on_every_token() {
    let house = House::start().await;
    let origin = &house.origin;
    let tokens = origin
        .register("ada@example.com", "correct horse battery staple")
        .await;
    let mut all = mutations(&tokens.access);
    // Where a character was replaced by itself nothing was changed.
    all.retain(|token| *token != tokens.access);
    all.insert(0, tokens.access.clone());
    assert!(all.len() > 500, "{}", all.len());

    let set = origin
        .call("GET", "/.well-known/jwks.json")
        .send()
        .await
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    std::fs::write(&file, &set.body).unwrap();
    let issuer = origin.url();
    let verify = [
        "verify",
        "--leeway",
        "5",
        "--audience",
        "api",
        "--issuer",
        &issuer,
        "--jwks",
    ];
    let verify = [&verify[..], &[file.to_str().unwrap()]].concat();
    let output = run(command(&verify), all.join("\n").as_bytes());
    let lines = String::from_utf8(output.stdout).unwrap();
    let by_command: Vec<String> = lines
        .lines()
        .map(|line| {
            if line.starts_with("ok ") {
                "ok"
            } else {
                &line["reject ".len()..]
            }
        })
        .map(str::to_owned)
        .collect();
    assert_eq!(by_command.len(), all.len());
    assert_eq!(by_command[0], "ok");

    let mut seen = std::collections::BTreeMap::new();
    for (token, by_command) in all.iter().zip(&by_command) {
        let answer = house.get("/api/me", token).await;
        let by_gate = if answer.status == 200 {
            "ok".to_owned()
        } else {
            answer.code()
        };
        let answer = origin
            .post("/validate-token", &json!({"token": token}))
            .await
            .json();
        let by_origin = match (&answer["active"], &answer["code"]) {
            (Value::Bool(true), _) => "ok".to_owned(),
            (_, code) => code.as_str().unwrap_or_default().to_owned(),
        };
        assert_eq!((&by_gate, &by_origin), (by_command, by_command), "{token}");
        *seen.entry(by_gate).or_insert(0_usize) += 1;
    }
    // Only one spelling of the token is accepted.
    assert_eq!(seen.get("ok"), Some(&1), "{seen:?}");
    for code in [
        "token_malformed",
        "signature_invalid",
        "key_unknown",
        "wrong_type",
        "critical_header",
    ] {
        assert!(seen.contains_key(code), "{code}: {seen:?}");
    }
}
