//! The binary's own doors: `verify`, configuration, exit codes.

use edgekeep_tests::clock;
use edgekeep_tests::keys::{self, Key, claims};
use edgekeep_tests::origin::command;
use edgekeep_tests::process::run;
use serde_json::json;

const ISSUER: &str = "https://id.example";

fn verify(set: &str, more: &[&str], input: &[u8]) -> (bool, Vec<String>, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    std::fs::write(&file, set).unwrap();
    let mut arguments = vec!["verify", "--jwks", file.to_str().unwrap()];
    arguments.extend(["--issuer", ISSUER, "--audience", "api"]);
    arguments.extend(more);
    let output = run(command(&arguments), input);
    let lines = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    (
        output.status.success(),
        lines,
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[test]
fn every_line_gets_its_verdict() {
    let key = Key::es256(1);
    let other = Key::eddsa(2);
    let now = clock::now().0;
    let token = |changes| key.issue(&claims(ISSUER, &changes));
    let good = token(json!({}));
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (good.clone().into(), "ok user-1"),
        (
            other
                .issue(&claims(ISSUER, &json!({"sub": "user-2"})))
                .into(),
            "ok user-2",
        ),
        (Vec::new(), "reject token_malformed"),
        (b" ".to_vec(), "reject token_malformed"),
        (b"garbage".to_vec(), "reject token_malformed"),
        (format!(" {good}").into(), "reject token_malformed"),
        (format!("{good} ").into(), "reject token_malformed"),
        (format!("{good}\r").into(), "reject token_malformed"),
        (format!("Bearer {good}").into(), "reject token_malformed"),
        (b"\x00\xff\xfe".to_vec(), "reject token_malformed"),
        (vec![b'.'; 5], "reject token_malformed"),
        (vec![b'a'; 8 * 1024 + 1], "reject token_too_large"),
        (vec![b'a'; 3 << 20], "reject token_too_large"),
        (vec![0xff; 1 << 20], "reject token_too_large"),
        (
            token(json!({"exp": now - 1, "iat": now - 60, "nbf": null})).into(),
            "reject token_expired",
        ),
        (
            token(json!({"nbf": now + 600})).into(),
            "reject token_not_yet_valid",
        ),
        (
            token(json!({"aud": "b"})).into(),
            "reject audience_mismatch",
        ),
        (token(json!({"iss": "b"})).into(), "reject issuer_mismatch"),
        (token(json!({"sub": null})).into(), "reject claim_missing"),
        (
            Key::es256(3).issue(&claims(ISSUER, &json!({}))).into(),
            "reject key_unknown",
        ),
        (good.clone().into(), "ok user-1"),
    ];
    let set = keys::set(&[&key, &other]);
    for last in [&b"\n"[..], b""] {
        let mut input = cases
            .iter()
            .map(|(line, _)| line.clone())
            .collect::<Vec<_>>()
            .join(&b'\n');
        input.extend(last);
        let (ok, lines, said) = verify(&set, &[], &input);
        assert!(ok, "{said}");
        let expected: Vec<_> = cases
            .iter()
            .map(|(_, verdict)| (*verdict).to_owned())
            .collect();
        assert_eq!(lines, expected);
    }
}

#[test]
fn json_lines_the_given_time_leeway_and_type() {
    let key = Key::eddsa(2);
    let set = keys::set(&[&key]);
    let json_line = |text: &str| format!("{}\n", serde_json::Value::from(text));
    let good = key.issue(&claims(ISSUER, &json!({"sub": "a\nb\u{2028}"})));
    let input = [
        json_line(&good),
        json_line(&format!("{good}\n")),
        json_line("\u{0}\n\r\u{1f600}"),
        "not json\n".to_owned(),
        "{}\n".to_owned(),
        "\n".to_owned(),
        json_line(&"a".repeat(9_000)),
    ]
    .concat();
    let (ok, lines, said) = verify(&set, &["--json"], input.as_bytes());
    assert!(ok, "{said}");
    assert_eq!(lines.len(), 7, "one line for each: {lines:?}");
    assert!(lines[0].starts_with("ok a\\u{a}b"), "{}", lines[0]);
    assert_eq!(
        lines[1..6],
        ["reject token_malformed"; 5].map(str::to_owned)
    );
    assert_eq!(lines[6], "reject token_too_large");

    let token = key.issue(&json!({
        "iss": ISSUER, "sub": "s", "aud": "api", "client_id": "c", "jti": "j", "iat": 1_000, "exp": 2_000
    }));
    for (more, expected) in [
        (&["--now", "1999"][..], "ok s"),
        (&["--now", "2000"], "reject token_expired"),
        (&["--now", "2004", "--leeway", "5"], "ok s"),
        (&["--now", "2005", "--leeway", "5"], "reject token_expired"),
        (&["--now", "999"], "reject token_not_yet_valid"),
        (&["--now", "995", "--leeway", "5"], "ok s"),
        (&["--now", "1500", "--typ", "JWT"], "reject wrong_type"),
        (&[], "reject token_expired"),
    ] {
        let (_, lines, said) = verify(&set, more, token.as_bytes());
        assert_eq!(lines, [expected], "{more:?}: {said}");
    }
}

#[test]
fn a_set_that_cannot_be_read_stops_verify() {
    for set in [
        "",
        "{}",
        "not json",
        r#"{"keys":[{"kty":"EC"},{"kty":"EC"}]"#,
    ] {
        let (ok, lines, said) = verify(set, &[], b"x\n");
        assert!(!ok && lines.is_empty(), "{set:?} is taken");
        assert!(said.contains("jwks.json"), "{said}");
    }
    let missing = run(
        command(&[
            "verify",
            "--jwks",
            "/nowhere",
            "--issuer",
            "a",
            "--audience",
            "b",
        ]),
        b"x\n",
    );
    assert!(!missing.status.success());
    assert!(!run(command(&["verify"]), b"").status.success());
    assert!(!run(command(&["nonsense"]), b"").status.success());
    assert!(!run(command(&[]), b"").status.success());
}

#[test]
fn a_configuration_that_cannot_be_understood_stops_with_the_place_and_what_was_expected() {
    for (text, said) in [
        (
            "[server]\nlisten = \"127.0.0.1:1\"\nlistem = 1\n",
            &["line 3", "listem", "expected"][..],
        ),
        ("[server]\nlisten = \"nonsense\"\n", &["line 2", "listen"]),
        (
            "[tokens]\naccess_token_seconds = \"soon\"\n",
            &["line 2", "access_token_seconds"],
        ),
        (
            "[tokens]\naccess_token_seconds = 0\n",
            &["tokens.access_token_seconds", "expected 1 to 86400"],
        ),
        (
            "[tokens]\nalgorithm = \"HS256\"\n",
            &["line 2", "HS256", "expected"],
        ),
        ("[unknown]\nx = 1\n", &["line 1", "unknown", "expected"]),
        ("not toml at all", &["line 1"]),
        (
            "[otp]\nmax_tries = 1000\n",
            &["otp.max_tries", "expected 1 to 10"],
        ),
        (
            "mode = \"production\"\n",
            &["configuration key", "expected", "in production"],
        ),
        (
            "[server]\npublic_url = \"ftp://x/\"\n",
            &["server.public_url", "expected an http or https URL"],
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("edgekeep.toml");
        std::fs::write(&file, text).unwrap();
        for action in [&["config", "check"][..], &["serve"], &["migrate"]] {
            let mut arguments = vec!["--config", file.to_str().unwrap()];
            arguments.extend(action);
            let mut command = command(&arguments);
            command.env("EDGEKEEP_DATA_DIR", folder.path());
            let output = run(command, b"");
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success(), "{action:?} takes {text:?}");
            for word in said {
                assert!(
                    stderr.contains(word),
                    "{word:?} is not in {stderr:?} of {action:?}"
                );
            }
        }
        // Nothing half-written.
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            1,
            "{text:?}"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    for (name, value, said) in [
        (
            "EDGEKEEP_SERVER__LISTEN",
            "nonsense",
            "EDGEKEEP_SERVER__LISTEN",
        ),
        ("EDGEKEEP_SERVER__UNKNOWN", "1", "EDGEKEEP_SERVER__UNKNOWN"),
        (
            "EDGEKEEP_LIMITS__PER_IP",
            "perhaps",
            "EDGEKEEP_LIMITS__PER_IP",
        ),
        ("EDGEKEEP_CONFIG", "/nowhere.toml", "/nowhere.toml"),
    ] {
        let mut command = command(&["config", "check"]);
        command
            .env("EDGEKEEP_DATA_DIR", folder.path())
            .env(name, value);
        let output = run(command, b"");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && stderr.contains(said),
            "{name}={value}: {stderr}"
        );
    }
}

#[test]
fn production_invents_no_master_key_and_a_wrong_one_opens_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let start = |settings: &[(&str, &str)]| {
        let mut command = command(&["keys", "list"]);
        command.env("EDGEKEEP_DATA_DIR", folder.path());
        command.envs(settings.iter().copied());
        let output = run(command, b"");
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let production = [
        ("EDGEKEEP_MODE", "production"),
        ("EDGEKEEP_SERVER__PUBLIC_URL", "https://id.example"),
        ("EDGEKEEP_NOTIFY__EMAIL__KIND", "off"),
        ("EDGEKEEP_NOTIFY__SMS__KIND", "off"),
    ];
    let (ok, said) = start(&production);
    assert!(!ok && said.contains("master"), "{said}");
    // 32 bytes in base64url, of which the last character holds four bits.
    let key = |letter: &str| format!("{}A", letter.repeat(42));
    let with = |key: &str| {
        let mut settings: Vec<(String, String)> = production
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();
        settings.push(("EDGEKEEP_SECRETS__MASTER_KEY".to_owned(), key.to_owned()));
        let settings: Vec<(&str, &str)> = settings
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        start(&settings)
    };
    let (ok, said) = with(&key("B"));
    assert!(ok, "{said}");
    let (ok, said) = with(&key("C"));
    assert!(!ok, "another key opens the keyring");
    assert!(!said.contains(&key("C")), "the key is in the log");
    for wrong in ["", "short", &"B".repeat(44), "!!!"] {
        let (ok, said) = with(wrong);
        assert!(!ok, "{wrong:?} is taken as a master key");
        assert!(
            wrong.len() < 6 || !said.contains(wrong),
            "the key is in the log"
        );
    }
    assert!(with(&key("B")).0, "the right key still opens it");
}

#[test]
fn doctor_says_what_stands_in_the_way() {
    let folder = tempfile::tempdir().unwrap();
    // Made by the command, so that nobody else can look into it.
    let data = folder.path().join("data");
    let doctor = |name: &str, value: &str| {
        let mut command = command(&["doctor"]);
        command.env("EDGEKEEP_DATA_DIR", &data).env(name, value);
        let output = run(command, b"");
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (ok, said) = doctor("EDGEKEEP_SERVER__LISTEN", &address);
    // It may be the origin itself that runs there.
    assert!(
        ok && said.contains(&format!("{address} is in use")),
        "{said}"
    );
    drop(taken);
    let (ok, said) = doctor("EDGEKEEP_SERVER__LISTEN", &address);
    assert!(ok && said.contains(&format!("{address} is free")), "{said}");
    let (ok, said) = doctor("EDGEKEEP_OTP__MAX_TRIES", "99");
    assert!(!ok && said.contains("otp.max_tries"), "{said}");
    let (ok, said) = doctor("EDGEKEEP_SECRETS__MASTER_KEY", "short");
    assert!(!ok && said.contains("master key"), "{said}");
    assert!(!said.contains("short"), "{said}");
}

#[test]
fn serve_stops_where_its_port_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = command(&["serve"]);
    command.env("EDGEKEEP_DATA_DIR", folder.path());
    command.env("EDGEKEEP_SERVER__LISTEN", &address);
    let output = run(command, b"");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains(&address),
        "{said}"
    );
}
