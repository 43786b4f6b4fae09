//! `edgekeep policy`: what it says about policies, their cases and requests.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

use std::io::Write as _;
use std::process::{Command, Stdio};

use edgekeep_origin::config::Algorithm;
use edgekeep_origin::random::Random;
use edgekeep_origin::tokens::signing::SigningKey;
use edgekeep_shared::base64url;
use serde_json::{Value, json};

const NOW: i64 = 1_800_000_000;

const ROUTES: &str = r#"
[[route]]
match = "/public/**"
access = "public"

[[route]]
match = "/api/reports/**"
methods = ["POST"]
scopes = ["report:write"]

[[route]]
match = "/api/payments/**"
kyc_level = 2
mfa = true
max_age = 300
revocation = "strict"

[[route]]
match = "/app/**"
token_from = { cookie = "__Host-at" }
allowed_origins = ["https://app.example"]
cors = { origins = ["https://app.example"], methods = ["PUT"], credentials = true }

[[route]]
match = "/tried/**"
roles = ["nobody"]
report_only = true

[[route]]
name = "the rest"
match = "/api/**"

[[route]]
match = "/partner/**"
issuer = ["own", "https://partner.example"]
audience = "orders"

[[route]]
match = "/live"
token_from = "websocket"
allowed_origins = ["https://app.example"]
rate_limit = { binding = "API_LIMIT", by = "address", header = "X-Real-IP" }
cache = "no-store"
"#;

struct Said {
    ok: bool,
    out: String,
    err: String,
}

fn run(policy: &str, arguments: &[&str], input: &str) -> Said {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    std::fs::write(&file, policy).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_edgekeep"));
    command
        .env_clear()
        .arg("policy")
        .arg(arguments[0])
        .arg(&file);
    command.args(&arguments[1..]);
    let streams = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = streams.stderr(Stdio::piped()).spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let name = file.to_str().unwrap();
    Said {
        ok: output.status.success(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr)
            .unwrap()
            .replace(name, "FILE"),
    }
}

/// The outcome of one case beside the routes.
fn case(text: &str) -> Said {
    run(&format!("{ROUTES}\n[[test]]\n{text}\n"), &["test"], "")
}

#[test]
fn a_policy_that_no_gate_takes_is_refused_with_its_place() {
    for (text, said) in [
        (
            "[[route]]\nmatch = \"/a\"\nscope = \"x\"\n",
            "FILE:3:1: unknown key \"scope\"",
        ),
        ("[[route]\n", "FILE:1:"),
        ("", "FILE:1:1: the policy has no rule"),
        (
            "[[route]]\nmatch = \"/a\"\n[[test]]\nrequest = \"GET\"\nexpect = \"allow\"\n",
            "line 3: request is \"GET\", expected a method and a path",
        ),
        (
            "[[route]]\nmatch = \"/a\"\n[[test]]\nrequest = \"GET /\"\nexpect = \"yes\"\n",
            "line 3: expect is \"yes\"",
        ),
        (
            "[[route]]\nmatch = \"/a\"\n[[test]]\nrequest = \"GET /\"\nexpects = \"allow\"\n",
            "expects",
        ),
        ("test = 3\n[[route]]\nmatch = \"/a\"\n", "test"),
    ] {
        let answer = run(text, &["check"], "");
        assert!(!answer.ok, "{text}");
        assert!(answer.err.contains(said), "{text}: {}", answer.err);
    }
    let long = format!("#{}", "x".repeat(300_000));
    let answer = run(&long, &["check"], "");
    assert!(answer.err.contains("expected at most"), "{}", answer.err);
}

#[test]
fn a_good_policy_is_told_rule_by_rule() {
    let answer = run(ROUTES, &["check"], "");
    assert!(answer.ok, "{}", answer.err);
    for line in [
        "line 6: POST /api/reports/**\n",
        "    the scopes report:write\n",
        "    authentication within 300 s\n",
        "    a token in the cookie __Host-at\n",
        "note: line 24 lets refused requests pass\n",
        "    the issuer own, https://partner.example\n",
        "    one of the audiences orders\n",
        "    a token in the subprotocol edgekeep.bearer.… of a WebSocket handshake\n",
        "    no more requests than API_LIMIT allows, counted by the address in X-Real-IP\n",
        "    answers that nobody keeps\n",
        "8 rules, 0 cases",
    ] {
        assert!(answer.out.contains(line), "{line}: {}", answer.out);
    }
}

#[test]
fn cases_hold_what_the_gate_would_do() {
    for text in [
        "request = \"GET /public/x\"\nexpect = \"allow\"",
        "request = \"POST /api/reports/7\"\ntoken = { scopes = [\"report:write\"] }\nexpect = \"allow\"\nrule = \"/api/reports/**\"",
        "request = \"POST /api/reports/7\"\ntoken = { scopes = [\"report:read\"] }\nexpect = \"insufficient_scope\"",
        "request = \"GET /api/reports/7\"\ntoken = {}\nexpect = \"allow\"\nrule = \"the rest\"",
        "request = \"GET /api/payments\"\ntoken = { kyc_level = 1 }\nexpect = \"kyc_required\"",
        "request = \"GET /api/payments\"\ntoken = { kyc_level = 2, amr = [\"pwd\", \"otp\"], auth_age = 300 }\nexpect = \"allow\"",
        "request = \"GET /api/payments\"\ntoken = { kyc_level = 2, amr = [\"pwd\", \"otp\"], auth_age = 301 }\nexpect = \"step_up_required\"",
        "request = \"POST /app/x\"\norigin = \"https://app.example\"\ntoken = {}\nexpect = \"allow\"",
        "request = \"POST /app/x\"\norigin = \"https://evil.example\"\ntoken = {}\nexpect = \"token_missing\"",
        "request = \"OPTIONS /app/x\"\norigin = \"https://app.example\"\npreflight = \"PUT\"\nexpect = \"preflight\"",
        "request = \"GET /tried/x\"\ntoken = {}\nexpect = \"allow\"",
        "request = \"GET /partner/x\"\ntoken = { audience = [\"orders\"] }\nexpect = \"allow\"",
        "request = \"GET /partner/x\"\ntoken = { issuer = \"own\" }\nexpect = \"audience_mismatch\"",
        "request = \"GET /partner/x\"\ntoken = { issuer = \"https://partner.example\", audience = [\"orders\"] }\nexpect = \"allow\"",
        "request = \"GET /partner/x\"\ntoken = { issuer = \"https://other.example\", audience = [\"orders\"] }\nexpect = \"issuer_mismatch\"",
        "request = \"GET /api/me\"\ntoken = { issuer = \"https://partner.example\" }\nexpect = \"issuer_mismatch\"",
        "request = \"GET /live\"\norigin = \"https://app.example\"\ntoken = {}\nexpect = \"allow\"",
        "request = \"GET /live\"\ntoken = {}\nexpect = \"token_missing\"",
        "request = \"GET /api/me\"\nexpect = \"token_missing\"",
        "request = \"GET /elsewhere\"\nexpect = \"route_unknown\"",
        "request = \"GET /api/..;/admin\"\nexpect = \"path_invalid\"",
    ] {
        let answer = case(text);
        assert!(answer.ok, "{text}: {} {}", answer.out, answer.err);
        assert!(
            answer.out.ends_with("1 passed, 0 failed\n"),
            "{}",
            answer.out
        );
    }
}

#[test]
fn a_case_that_does_not_hold_fails_the_run_and_says_how() {
    for (text, said) in [
        (
            "request = \"GET /api/me\"\nexpect = \"allow\"",
            "expected allow, but it is token_missing (line 29: any method /api/** \"the rest\")",
        ),
        (
            "request = \"GET /api/me\"\ntoken = {}\nexpect = \"allow\"\nrule = \"/public/**\"",
            "expected the rule \"/public/**\" to decide",
        ),
        (
            "request = \"GET /x\"\nexpect = \"allow\"",
            "route_unknown (no rule)",
        ),
    ] {
        let answer = case(text);
        assert!(!answer.ok, "{text}");
        assert!(answer.out.contains(said), "{said}: {}", answer.out);
        assert!(
            answer.out.ends_with("0 passed, 1 failed\n"),
            "{}",
            answer.out
        );
    }
    let answer = run(ROUTES, &["test"], "");
    assert!(
        !answer.ok && answer.err.contains("no cases"),
        "{}",
        answer.err
    );
}

fn claims(changes: &Value) -> Value {
    let mut claims = json!({
        "iss": "https://id.example", "aud": "api", "sub": "user-1", "client_id": "default",
        "jti": "t1", "iat": NOW, "exp": NOW + 60,
    });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

#[test]
fn a_token_is_taken_at_its_word_unless_keys_are_given() {
    let key = SigningKey::generate(Algorithm::ES256, 0, &Random::Os).unwrap();
    let other = SigningKey::generate(Algorithm::ES256, 0, &Random::Os).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let jwks = folder.path().join("jwks.json");
    let set = format!("{{\"keys\":[{}]}}", key.verifying_key().to_jwk("k"));
    std::fs::write(&jwks, set).unwrap();
    let issue = |key: &SigningKey, changes| key.issue("at+jwt", "k", &claims(&changes)).unwrap();
    let good = issue(&key, json!({"scope": "report:write"}));
    let expired = issue(
        &key,
        json!({"scope": "report:write", "iat": NOW - 99, "exp": NOW - 10}),
    );
    let forged = issue(&other, json!({"scope": "report:write"}));
    let now = NOW.to_string();
    let known = [
        "--jwks",
        jwks.to_str().unwrap(),
        "--issuer",
        "https://id.example",
        "--audience",
        "api",
        "--now",
        &now,
    ];
    for (token, verified, verdict) in [
        (&good, true, "allow"),
        (&good, false, "allow"),
        (&expired, true, "refuse: 401 token_expired"),
        (&expired, false, "allow"),
        (&forged, true, "refuse: 401 signature_invalid"),
        (&forged, false, "allow"),
    ] {
        let mut arguments = vec!["explain", "POST", "/api//reports/7?page=2", "-"];
        if verified {
            arguments.extend(known);
        }
        let answer = run(ROUTES, &arguments, &format!("{token}\n"));
        assert!(answer.ok, "{}", answer.err);
        let said = format!("verdict  {verdict}\n");
        assert!(answer.out.contains(&said), "{said}: {}", answer.out);
        assert_eq!(answer.out.contains("taken at its word"), !verified);
        assert!(
            answer.out.starts_with("path     /api/reports/7\n"),
            "{}",
            answer.out
        );
    }
}

#[test]
fn an_explanation_takes_an_issuer_for_the_gate_s_own_unless_a_rule_names_it() {
    for (issuer, audience, path, said) in [
        (
            "https://id.example",
            "orders",
            "/partner/x",
            "verdict  allow\n",
        ),
        ("https://id.example", "api", "/api/me", "verdict  allow\n"),
        (
            "https://partner.example",
            "orders",
            "/partner/x",
            "verdict  allow\n",
        ),
        (
            "https://partner.example",
            "orders",
            "/api/me",
            "because  the rule takes no token of this issuer\n",
        ),
        (
            "https://id.example",
            "api",
            "/partner/x",
            "because  the token is for another audience\n",
        ),
    ] {
        let claims = claims(&json!({"iss": issuer, "aud": audience})).to_string();
        let token = format!("e30.{}.x", base64url::encode(claims.as_bytes()));
        let answer = run(ROUTES, &["explain", "GET", path, &token], "");
        assert!(answer.out.contains(said), "{said}: {}", answer.out);
    }
}

#[test]
fn an_explanation_says_which_rule_was_passed_over_and_what_is_lacking() {
    let answer = run(ROUTES, &["explain", "GET", "/api/reports/7"], "");
    for line in [
        "passed   line 6: POST /api/reports/**: not for GET\n",
        "rule     line 29: any method /api/** \"the rest\"\n",
        "verdict  refuse: 401 token_missing\n",
    ] {
        assert!(answer.out.contains(line), "{line}: {}", answer.out);
    }
    let payload = base64url::encode(br#"{"sub":"u","amr":["pwd"],"kyc_level":3}"#);
    let token = format!("e30.{payload}.x");
    let answer = run(ROUTES, &["explain", "GET", "/api/payments", &token], "");
    assert!(
        answer.out.contains(
            "because  the rule asks for more than one factor and authentication within 300 s"
        ),
        "{}",
        answer.out
    );
    for token in ["", "a", "a.b.c", "a.W10.c", "..", &"a".repeat(9_000)] {
        let answer = run(ROUTES, &["explain", "GET", "/api/me", token], "");
        assert!(
            !answer.ok && !answer.err.contains("panicked"),
            "{}",
            answer.err
        );
    }
    let answer = run(ROUTES, &["explain", "GET", "/a%2fb"], "");
    assert!(answer.out.contains("400 path_invalid"), "{}", answer.out);
}
