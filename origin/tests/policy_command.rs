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

[[route]]
match = "/pages/**"
cors = { origins = ["https://app.example"], headers = ["content-type"] }
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
            "[[route]]\nmatch = \"/a\"\n[[test]]\nrequest = \"GET /\"\nexpect = \"report:allow\"\n",
            "line 3: expect is \"report:allow\"",
        ),
        (
            "[[route]]\nmatch = \"/a\"\n[[test]]\nrequest = \"GET /\"\nexpects = \"allow\"\n",
            "expects",
        ),
        (
            "[[route]]\nmatch = \"/a\"\n[[test]]\nrequest = \"GET /\"\nheaders = [\"a\"]\nexpect = \"allow\"\n",
            "line 3: headers are what a preflight is about",
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
        "    an Origin of https://app.example where the method changes something, and of a WebSocket\n",
        "    an Origin of https://app.example\n",
        "    then lets nobody keep answers\n",
        "    then lets pages of https://app.example read answers, with credentials\n",
        "    then lets those pages ask by PUT\n",
        "9 rules, 0 cases",
    ] {
        assert!(answer.out.contains(line), "{line}: {}", answer.out);
    }
}

#[test]
fn a_check_notes_what_an_operator_should_know() {
    let foreign = "issuer = \"https://p.example\"";
    let cors = |more: &str| format!("cors = {{ origins = [\"https://app.example\"]{more} }}");
    for (rule, said) in [
        (
            "revocation = \"off\"".to_owned(),
            "takes revoked tokens until they expire",
        ),
        (
            format!("{foreign}\nmax_stale = 1"),
            "takes revoked tokens of https://p.example until they expire, but for the gate's own issuer",
        ),
        (
            "issuer = [\"own\", \"https://p.example\"]".to_owned(),
            "takes revoked tokens of https://p.example until they expire",
        ),
        (
            format!("{foreign}\nrevocation = \"strict\""),
            "refuses tokens of https://p.example (issuer_mismatch), but for the gate's own issuer",
        ),
        (
            cors(""),
            "lets no page send its token: cors.headers has no \"authorization\"",
        ),
        (
            "methods = [\"TRACK\", \"GET\"]".to_owned(),
            "is for TRACK, which no gate sees",
        ),
    ] {
        let answer = run(
            &format!("[[route]]\nmatch = \"/a\"\n{rule}\n"),
            &["check"],
            "",
        );
        let said = format!("note: line 1 {said}");
        assert!(
            answer.ok && answer.out.contains(&said),
            "{said}: {}",
            answer.out
        );
    }
    let answer = run(
        &format!("[[route]]\nmatch = \"/a\"\n{foreign}\n"),
        &["check"],
        "",
    );
    let said = "    a revocation list of at most 900 s, for tokens of the gate's own issuer\n";
    assert!(answer.out.contains(said), "{}", answer.out);
    for rule in [
        String::new(),
        "issuer = \"own\"".to_owned(),
        "revocation = \"strict\"".to_owned(),
        cors(", headers = [\"Authorization\"]"),
        format!("access = \"public\"\n{}", cors("")),
        "methods = [\"GET\", \"PROPFIND\"]".to_owned(),
    ] {
        let answer = run(
            &format!("[[route]]\nmatch = \"/a\"\n{rule}\n"),
            &["check"],
            "",
        );
        assert!(
            answer.ok && !answer.out.contains("note:"),
            "{rule}: {}",
            answer.out
        );
    }
    let routes = ["/v/*/**", "/v", "/v/**"].map(|path| format!("[[route]]\nmatch = \"{path}\"\n"));
    let answer = run(&routes.concat(), &["check"], "");
    let said = "\nnote: line 5 is never reached: the rules before it, together, match everything";
    assert!(answer.ok && answer.out.contains(said), "{}", answer.out);
}

/// What may stand in a rule, so that each is seen to be told: the rule without and with it.
const KEYS: &[(&str, &str, &str)] = &[
    ("name", "", "name = \"a\""),
    ("match", "match = \"/b\"", "match = \"/a\""),
    ("hosts", "", "hosts = \"a.example\""),
    ("methods", "", "methods = \"GET\""),
    ("access", "", "access = \"public\""),
    ("issuer", "", "issuer = \"https://id.example\""),
    ("audience", "", "audience = \"a\""),
    ("scopes", "", "scopes = \"a\""),
    ("any_scope", "", "any_scope = \"a\""),
    ("roles", "", "roles = \"a\""),
    ("permissions", "", "permissions = \"a\""),
    ("owner", "", "owner = { id = \"sub\" }"),
    (
        "owner_or_roles",
        "owner = { id = \"sub\" }",
        "owner = { id = \"sub\" }\nowner_or_roles = \"a\"",
    ),
    ("kyc_level", "", "kyc_level = 2"),
    ("kyc_status", "", "kyc_status = \"a\""),
    ("amr", "", "amr = \"a\""),
    ("mfa", "", "mfa = true"),
    ("acr", "", "acr = \"a\""),
    ("max_age", "", "max_age = 7"),
    ("revocation", "", "revocation = \"off\""),
    ("max_stale", "", "max_stale = 7"),
    ("on_stale", "", "on_stale = \"allow\"\nallow_stale_for = 7"),
    (
        "allow_stale_for",
        "on_stale = \"allow\"\nallow_stale_for = 7",
        "on_stale = \"allow\"\nallow_stale_for = 8",
    ),
    (
        "token_from",
        "methods = \"GET\"",
        "methods = \"GET\"\ntoken_from = { cookie = \"a\" }",
    ),
    (
        "allowed_origins",
        "token_from = { cookie = \"a\" }\nallowed_origins = \"https://a.example\"",
        "token_from = { cookie = \"a\" }\nallowed_origins = \"https://b.example\"",
    ),
    ("forward_authorization", "", "forward_authorization = false"),
    (
        "rate_limit",
        "",
        "rate_limit = { binding = \"A\", by = \"subject\" }",
    ),
    ("cache", "", "cache = \"private\""),
    ("upstream", "", "upstream = \"http://a.example\""),
    ("headers", "", "headers = { X-A = \"a\" }"),
    ("report_only", "", "report_only = true"),
    ("cors", "", "cors = { origins = \"*\" }"),
];

const CORS_KEYS: &[(&str, &str)] = &[
    ("origins", "origins = \"https://b.example\""),
    ("methods", "methods = \"PUT\""),
    ("headers", "headers = \"x-a\""),
    ("expose", "expose = \"etag\""),
    ("credentials", "credentials = true"),
    ("max_age", "max_age = 7"),
];

/// The keys that the reader knows, as it says them where it does not know one.
fn known_keys(policy: &str) -> Vec<String> {
    let answer = run(policy, &["check"], "");
    let (_, keys) = answer
        .err
        .trim_end()
        .split_once("expected one of ")
        .unwrap();
    keys.split(", ").map(str::to_owned).collect()
}

#[test]
fn a_check_tells_of_every_key_that_a_rule_can_have() {
    let told = |keys: &str| {
        let place = if keys.contains("match =") {
            ""
        } else {
            "match = \"/a/{id}\"\n"
        };
        let answer = run(&format!("[[route]]\n{place}{keys}\n"), &["check"], "");
        assert!(answer.ok, "{keys}: {}", answer.err);
        answer.out
    };
    for (key, without, with) in KEYS {
        assert_ne!(told(without), told(with), "{key} is not told");
    }
    let known = known_keys("[[route]]\nmatch = \"/a\"\nunheard = 1\n");
    let tried: Vec<_> = KEYS.iter().map(|(key, ..)| (*key).to_owned()).collect();
    assert_eq!(known, tried);

    let cors = |more: &str| format!("[route.cors]\norigins = \"https://a.example\"\n{more}");
    for (key, said) in CORS_KEYS {
        let with = if *key == "origins" {
            format!("[route.cors]\n{said}")
        } else {
            cors(said)
        };
        assert_ne!(told(&cors("")), told(&with), "cors.{key} is not told");
    }
    let known = known_keys(&format!(
        "[[route]]\nmatch = \"/a\"\n{}\n",
        cors("unheard = 1")
    ));
    let tried: Vec<_> = CORS_KEYS.iter().map(|(key, _)| (*key).to_owned()).collect();
    assert_eq!(known, tried);
}

#[test]
fn an_explanation_names_the_page_that_may_not_use_a_token() {
    let payload = base64url::encode(br#"{"sub":"u"}"#);
    let token = format!("e30.{payload}.x");
    let page = |origin| ["--origin", origin];
    let (own, other) = (page("https://app.example"), page("https://evil.example"));
    let (own, other, none): (&[&str], &[&str], &[&str]) = (&own, &other, &[]);
    let cookie = "because  the cookie __Host-at of a POST is looked at only where Origin is \
                  https://app.example, and it is ";
    let handshake = "because  the token of a handshake is looked at only where Origin is \
                     https://app.example, and it is ";
    let (missing, evil) = ("missing\n", "https://evil.example\n");
    for (method, path, page, verdict, why) in [
        ("POST", "/app/x", own, "allow", None),
        ("GET", "/app/x", none, "allow", None),
        (
            "POST",
            "/app/x",
            none,
            "refuse: 401 token_missing",
            Some((cookie, missing)),
        ),
        (
            "POST",
            "/app/x",
            other,
            "refuse: 401 token_missing",
            Some((cookie, evil)),
        ),
        ("GET", "/live", own, "allow", None),
        (
            "GET",
            "/live",
            none,
            "refuse: 401 token_missing",
            Some((handshake, missing)),
        ),
        (
            "GET",
            "/live",
            other,
            "refuse: 401 token_missing",
            Some((handshake, evil)),
        ),
        (
            "POST",
            "/live",
            own,
            "refuse: 401 token_missing",
            Some((
                "because  a token stands in a WebSocket handshake, which is a GET and no ",
                "POST\n",
            )),
        ),
    ] {
        let mut arguments = vec!["explain", method, path, &token];
        arguments.extend_from_slice(page);
        let answer = run(ROUTES, &arguments, "");
        let said = format!("verdict  {verdict}\n");
        assert!(answer.out.contains(&said), "{said}: {}", answer.out);
        match why {
            Some((why, origin)) => {
                let why = format!("{why}{origin}");
                assert!(answer.out.contains(&why), "{why}: {}", answer.out);
            }
            None => assert!(!answer.out.contains("because"), "{}", answer.out),
        }
    }
    let answer = run(ROUTES, &["explain", "GET", "/app/x"], "");
    let why = "because  no token was sent\n";
    assert!(answer.out.contains(why), "{}", answer.out);
}

#[test]
fn an_explanation_takes_a_preflight() {
    for (method, path, origin, verdict, said) in [
        (
            "PUT",
            "/app/x",
            "https://app.example",
            "preflight: answered by the gate",
            "rule     line 18: any method /app/**\n",
        ),
        (
            "PUT",
            "/app/x",
            "https://evil.example",
            "refuse: 401 token_missing",
            "because  no preflight is answered: the rule for PUT (line 18) has no \
             https://evil.example in cors.origins\n",
        ),
        (
            "DELETE",
            "/app/x",
            "https://app.example",
            "refuse: 401 token_missing",
            "because  no preflight is answered: the rule for DELETE (line 18) has no DELETE in \
             cors.methods\n",
        ),
        (
            "PUT",
            "/public/x",
            "https://app.example",
            "allow",
            "because  no preflight is answered: the rule for PUT (line 2) has no cors\n",
        ),
        (
            "PUT",
            "/elsewhere",
            "https://app.example",
            "refuse: 403 route_unknown",
            "because  no preflight is answered: no rule is for PUT\n",
        ),
    ] {
        let arguments = [
            "explain",
            "OPTIONS",
            path,
            "--origin",
            origin,
            "--preflight",
            method,
        ];
        let answer = run(ROUTES, &arguments, "");
        for said in [said, &format!("verdict  {verdict}\n")] {
            assert!(answer.out.contains(said), "{said}: {}", answer.out);
        }
    }
    for (headers, verdict, why) in [
        (
            "Content-Type",
            "preflight: answered by the gate",
            "but      not where the page sends its token: cors.headers has no \"authorization\"\n",
        ),
        (
            "content-type, authorization",
            "refuse: 401 token_missing",
            "because  no preflight is answered: the rule for PUT (line 45) has not all of \
                 content-type, authorization in cors.headers\n",
        ),
    ] {
        let arguments = [
            "explain",
            "OPTIONS",
            "/pages/x",
            "--origin",
            "https://app.example",
            "--preflight",
            "PUT",
            "--headers",
            headers,
        ];
        let answer = run(ROUTES, &arguments, "");
        let said = format!("verdict  {verdict}\n");
        for said in [&*said, why] {
            assert!(answer.out.contains(said), "{said}: {}", answer.out);
        }
    }
    for arguments in [
        &["explain", "OPTIONS", "/app/x", "--preflight", "PUT"][..],
        &["explain", "OPTIONS", "/app/x", "--headers", "authorization"],
        &[
            "explain",
            "PUT",
            "/app/x",
            "--origin",
            "https://app.example",
            "--preflight",
            "PUT",
        ],
    ] {
        assert!(!run(ROUTES, arguments, "").ok, "{arguments:?}");
    }
}

#[test]
fn an_explanation_cuts_the_path_where_the_gate_cuts_it() {
    for (target, path) in [
        ("/public/a#b", "/public/a"),
        ("/public/a#b?c", "/public/a"),
        ("/public/a?b#c", "/public/a"),
        ("/public/a?b", "/public/a"),
    ] {
        let answer = run(ROUTES, &["explain", "GET", target], "");
        let said = format!("path     {path}\nrule     line 2: ");
        assert!(answer.out.starts_with(&said), "{target}: {}", answer.out);
    }
    // What is encoded belongs to the path.
    let answer = run(ROUTES, &["explain", "GET", "/public/a%23b"], "");
    assert!(answer.out.contains("400 path_invalid"), "{}", answer.out);
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
        "request = \"OPTIONS /pages/x\"\norigin = \"https://app.example\"\npreflight = \"PUT\"\nheaders = [\"content-type\"]\nexpect = \"preflight\"",
        "request = \"OPTIONS /pages/x\"\norigin = \"https://app.example\"\npreflight = \"PUT\"\nheaders = [\"content-type\", \"authorization\"]\nexpect = \"token_missing\"",
        "request = \"POST /live\"\norigin = \"https://app.example\"\ntoken = {}\nexpect = \"token_missing\"",
        "request = \"GET /tried/x\"\ntoken = {}\nexpect = \"report:insufficient_role\"",
        "request = \"GET /tried/x\"\nexpect = \"report:token_missing\"",
        "request = \"GET /tried/x\"\ntoken = { roles = [\"nobody\"] }\nexpect = \"allow\"",
        "request = \"GET /public/x#/../api/me\"\nexpect = \"allow\"\nrule = \"/public/**\"",
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
        (
            "request = \"GET /tried/x\"\ntoken = {}\nexpect = \"allow\"",
            "expected allow, but it is report:insufficient_role (line 24: any method /tried/**): it \
             passes only as long as the rule has report_only",
        ),
        (
            "request = \"GET /tried/x\"\ntoken = {}\nexpect = \"insufficient_role\"",
            "expected insufficient_role, but it is report:insufficient_role",
        ),
        (
            "request = \"GET /tried/x\"\ntoken = { roles = [\"nobody\"] }\nexpect = \"report:insufficient_role\"",
            "expected report:insufficient_role, but it is allow",
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
fn an_issuer_beside_the_gate_s_own_is_said_to_be_one() {
    let key = SigningKey::generate(Algorithm::ES256, 0, &Random::Os).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let jwks = folder.path().join("jwks.json");
    let set = format!("{{\"keys\":[{}]}}", key.verifying_key().to_jwk("k"));
    std::fs::write(&jwks, set).unwrap();
    let now = NOW.to_string();
    let partner = "https://partner.example";
    let mismatch = "because  the rule takes no token of this issuer";
    for (issuer, foreign, path, verdict, said) in [
        (
            partner,
            false,
            "/api/me",
            "allow",
            "is taken for the gate's own",
        ),
        (
            partner,
            true,
            "/api/me",
            "refuse: 401 issuer_mismatch",
            mismatch,
        ),
        (
            partner,
            true,
            "/partner/x",
            "allow",
            "is taken for one beside the gate's own",
        ),
        (
            partner,
            true,
            "/api/payments",
            "refuse: 401 issuer_mismatch",
            "revocation = \"strict\" only the gate's own can be asked",
        ),
        // A token of nobody.
        (
            "https://other.example",
            true,
            "/partner/x",
            "refuse: 401 issuer_mismatch",
            "issuer   https://partner.example ",
        ),
    ] {
        let claims = claims(&json!({"iss": issuer, "aud": ["api", "orders"]}));
        let token = key.issue("at+jwt", "k", &claims).unwrap();
        let jwks = jwks.to_str().unwrap();
        let mut arguments = vec![
            "explain", "GET", path, &token, "--jwks", jwks, "--now", &now,
        ];
        arguments.extend(["--issuer", partner, "--audience", "api"]);
        if foreign {
            arguments.push("--foreign");
        }
        let answer = run(ROUTES, &arguments, "");
        for said in [said, &format!("verdict  {verdict}\n")] {
            assert!(
                answer.out.contains(said),
                "{said}: {} {}",
                answer.out,
                answer.err
            );
        }
    }
    assert!(!run(ROUTES, &["explain", "GET", "/api/me", "--foreign"], "").ok);
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
