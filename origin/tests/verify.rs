//! `edgekeep verify` as a process: no database, no configuration, one answer a line.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use edgekeep_origin::config::Algorithm;
use edgekeep_origin::random::Random;
use edgekeep_origin::tokens::signing::SigningKey;
use serde_json::{Value, json};

const NOW: i64 = 1_800_000_000;

fn command(jwks: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edgekeep"));
    command
        .env_clear()
        // A configuration that is not there: it must not be looked for.
        .env("EDGEKEEP_CONFIG", "/nonexistent/edgekeep.toml")
        .args([
            "verify",
            "--issuer",
            "https://id.example",
            "--audience",
            "api",
        ])
        .args(["--now", &NOW.to_string(), "--jwks"])
        .arg(jwks)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn claims(sub: &str, exp: i64) -> Value {
    json!({"iss": "https://id.example", "sub": sub, "aud": "api", "client_id": "c",
           "iat": NOW - 60, "exp": exp, "jti": "t"})
}

#[test]
fn every_line_is_judged_as_a_gate_would() {
    let folder = tempfile::tempdir().unwrap();
    let jwks = folder.path().join("jwks.json");
    let random = Random::seeded(1);
    let [good, other] = [Algorithm::ES256, Algorithm::EdDSA]
        .map(|algorithm| SigningKey::generate(algorithm, 0, &random).unwrap());
    let public = good.verifying_key();
    let kid = public.thumbprint();
    std::fs::write(&jwks, format!(r#"{{"keys":[{}]}}"#, public.to_jwk(&kid))).unwrap();
    let token = |sub: &str, exp: i64| good.issue("at+jwt", &kid, &claims(sub, exp)).unwrap();

    let cases: [(Vec<u8>, &str); 10] = [
        (token("user-1", NOW + 1).into_bytes(), "ok user-1"),
        (token("a\nok b", NOW + 1).into_bytes(), "ok a\\u{a}ok b"),
        (token("user-1", NOW).into_bytes(), "reject token_expired"),
        (
            good.issue("JWT", &kid, &claims("x", NOW + 1))
                .unwrap()
                .into_bytes(),
            "reject wrong_type",
        ),
        (
            other
                .issue("at+jwt", "other", &claims("x", NOW + 1))
                .unwrap()
                .into_bytes(),
            "reject key_unknown",
        ),
        (
            other
                .issue("at+jwt", &kid, &claims("x", NOW + 1))
                .unwrap()
                .into_bytes(),
            "reject algorithm_not_allowed",
        ),
        (b"".to_vec(), "reject token_malformed"),
        (b"\xff\x00\xfe".to_vec(), "reject token_malformed"),
        (vec![b'a'; 8_193], "reject token_too_large"),
        (vec![b'.'; 5 << 20], "reject token_too_large"),
    ];
    let mut child = command(&jwks).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    for (line, expected) in &cases {
        // Each answer comes before the next line is sent.
        input.write_all(line).unwrap();
        input.write_all(b"\n").unwrap();
        assert_eq!(output.next().unwrap().unwrap(), *expected);
    }
    drop(input);
    assert!(output.next().is_none());
    assert!(child.wait().unwrap().success());

    let mut child = command(&jwks)
        .args(["--json", "--leeway", "1"])
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    for line in [
        json!(token("user-1", NOW)).to_string(),
        json!(format!("{}\n", token("user-1", NOW))).to_string(),
        token("user-1", NOW),
        "\"\"".to_owned(),
    ] {
        writeln!(input, "{line}").unwrap();
    }
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "ok user-1\nreject token_malformed\nreject token_malformed\nreject token_malformed\n"
    );
}

#[test]
fn keys_that_cannot_be_read_are_an_error_with_the_file_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    for content in [
        None,
        Some("{"),
        Some("{\"keys\":1}"),
        Some(&*" ".repeat(70_000)),
    ] {
        if let Some(content) = content {
            std::fs::write(&file, content).unwrap();
        }
        let mut child = command(&file).spawn().unwrap();
        drop(child.stdin.take());
        let output = child.wait_with_output().unwrap();
        assert!(!output.status.success());
        assert!(output.stdout.is_empty());
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.contains("jwks.json"), "{error}");
    }
}

#[test]
fn says_on_standard_error_which_key_is_left_out_and_uses_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    let key = SigningKey::generate(Algorithm::ES256, 0, &Random::seeded(1)).unwrap();
    let kid = key.verifying_key().thumbprint();
    let public = key.verifying_key().to_jwk(&kid);
    let broken = r#"{"kty":"EC","kid":"broken","crv":"P-256"}"#;
    std::fs::write(&file, format!(r#"{{"keys":[{public},{broken}]}}"#)).unwrap();
    let token = key.issue("at+jwt", &kid, &claims("user-1", NOW + 60));
    let mut child = command(&file).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    writeln!(input, "{}", token.unwrap()).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(output.stdout, b"ok user-1\n");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("jwks.json: key 2 is left out"), "{error}");
}
