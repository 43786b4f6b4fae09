//! The policy language: what it matches, what it asks for, and what it says about mistakes.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

use edgekeep_shared::error::Rejection;
use edgekeep_shared::path::canonicalise;
use edgekeep_shared::policy::{
    Access, Holder, MAX_POLICY_BYTES, MAX_RULES, Missing, Policy, Requirement, Revocation, Rule,
    Staleness, TokenAccess, TokenSource,
};
use proptest::prelude::*;

/// The policy of the demonstration.
const DEMO: &str = r#"
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
revocation = "strict"

[[route]]
match = "/api/admin/**"
roles = ["admin"]

[[route]]
match = "/api/**"
"#;

fn matched<'p>(policy: &'p Policy, method: &str, path: &str) -> Option<&'p str> {
    let path = canonicalise(path).unwrap();
    policy.find(method, &path).map(Rule::name)
}

fn token_access(rule: &Rule) -> &TokenAccess {
    match rule.access() {
        Access::Token(access) => access,
        Access::Public => panic!("{} is public", rule.name()),
    }
}

#[test]
fn finds_the_first_rule_that_matches() {
    let policy = Policy::parse(DEMO).unwrap();
    let table: &[(&str, &str, Option<&str>)] = &[
        ("GET", "/public", Some("/public/**")),
        ("GET", "/public/", Some("/public/**")),
        ("POST", "/public/a/b/c", Some("/public/**")),
        ("GET", "//public/x", Some("/public/**")),
        ("GET", "/publicity", None),
        ("GET", "/public.css", None),
        ("GET", "/Public/x", None),
        ("GET", "/", None),
        ("GET", "/x/public/a", None),
        ("POST", "/api/reports", Some("/api/reports/**")),
        ("POST", "/api/reports/", Some("/api/reports/**")),
        ("POST", "/api/reports/7", Some("/api/reports/**")),
        ("POST", "/api//reports//7", Some("/api/reports/**")),
        ("POST", "/api/%72eports/7", Some("/api/reports/**")),
        ("GET", "/api/reports/7", Some("/api/**")),
        ("post", "/api/reports/7", Some("/api/**")),
        ("PUT", "/api/reports/7", Some("/api/**")),
        ("GET", "/api/payments", Some("/api/payments/**")),
        ("DELETE", "/api/payments/7", Some("/api/payments/**")),
        ("GET", "/api/admin", Some("/api/admin/**")),
        ("GET", "/api/admin/", Some("/api/admin/**")),
        ("GET", "/api/admin/users", Some("/api/admin/**")),
        ("GET", "/api/%61dmin", Some("/api/admin/**")),
        ("GET", "//api///admin//", Some("/api/admin/**")),
        ("BREW", "/api/admin/pot", Some("/api/admin/**")),
        ("GET", "/api/administrators", Some("/api/**")),
        ("GET", "/api/Admin", Some("/api/**")),
        ("GET", "/api/x/admin", Some("/api/**")),
        ("GET", "/api", Some("/api/**")),
        ("GET", "/api/", Some("/api/**")),
        ("GET", "/api/me.css", Some("/api/**")),
        ("GET", "/apis", None),
        ("GET", "/API/x", None),
    ];
    for (method, path, expected) in table {
        assert_eq!(matched(&policy, method, path), *expected, "{method} {path}");
    }
}

#[test]
fn matches_patterns_segment_by_segment() {
    let table: &[(&str, &[&str], &[&str])] = &[
        ("/", &["/", "//"], &["/a"]),
        ("/**", &["/", "/a", "/a/b/", "/%25"], &[]),
        (
            "/a",
            &["/a", "/a/", "//a"],
            &["/", "/ab", "/a/b", "/A", "/b"],
        ),
        (
            "/a/*",
            &["/a/b", "/a/b/", "/a/*", "/a/%2A"],
            &["/a", "/a/", "/a/b/c", "/ab/c"],
        ),
        (
            "/a/*/c",
            &["/a/b/c", "/a/b/c/"],
            &["/a/c", "/a/b/d", "/a/b/c/d", "/a/b/x/c", "/a//c"],
        ),
        ("/a/*/**", &["/a/b", "/a/b/", "/a/b/c/d"], &["/a", "/a/"]),
        ("/a/{id}", &["/a/7", "/a/7/"], &["/a", "/a/", "/a/7/8"]),
        ("/*/b/**", &["/a/b", "/x/b/c"], &["/b", "/a/c", "/a/bc"]),
        ("/*", &["/a", "/a/"], &["/", "/a/b"]),
        ("/a/%2A", &["/a/*", "/a/%2a"], &["/a/b"]),
        ("/caf%C3%A9", &["/café", "/caf%c3%a9"], &["/cafe"]),
        (
            "/a/b.c~d@e",
            &["/a/b.c~d@e", "/a/b%2ec%7Ed%40e"],
            &["/a/bxc~d@e"],
        ),
    ];
    for (pattern, hits, misses) in table {
        let policy = Policy::parse(&format!("[[route]]\nmatch = \"{pattern}\"")).unwrap();
        for path in *hits {
            assert_eq!(
                matched(&policy, "GET", path),
                Some(*pattern),
                "{pattern} {path}"
            );
        }
        for path in *misses {
            assert_eq!(matched(&policy, "GET", path), None, "{pattern} {path}");
        }
    }
}

#[test]
fn captures_parameters() {
    let text = "[[route]]\nmatch = \"/users/{user_id}/files/*/{file}/**\"";
    let policy = Policy::parse(text).unwrap();
    let path = canonicalise("/users/%c3%a9/files/x/y/z/").unwrap();
    let rule = policy.find("GET", &path).unwrap();
    let captured: Vec<_> = rule.pattern().parameters(&path).collect();
    assert_eq!(captured, [("user_id", "%C3%A9"), ("file", "y")]);
}

#[test]
fn reads_every_key() {
    let policy = Policy::parse(
        r#"
version = 1

[[route]]
name = "files"
match = "/files/**"
methods = ["GET", "HEAD", "PUT"]
access = "token"
scopes = ["a", "b"]
any_scope = ["c", "d"]
roles = ["admin", "staff"]
permissions = ["p"]
kyc_level = 3
mfa = true
acr = "gold"
max_age = 300
revocation = "list"
max_stale = 60
on_stale = "allow"
allow_stale_for = 120
token_from = { cookie = "__Host-at" }
allowed_origins = ["https://app.example"]
forward_authorization = false
report_only = true
cors = { origins = ["https://app.example", "http://localhost:3000"], methods = ["GET"], headers = ["X-A", "content-type"], expose = ["ETag"], credentials = true, max_age = 600 }

[[route]]
match = "/strict"
revocation = "strict"
[route.cors]
origins = ["*"]

[[route]]
match = "/off"
methods = ["GET"]
revocation = "off"
token_from = { cookie = "at" }

[[route]]
match = "/plain"
"#,
    )
    .unwrap();
    let [files, strict, off, plain] = policy.rules() else {
        panic!("{} rules", policy.rules().len());
    };

    assert_eq!((files.name(), files.line()), ("files", 4));
    assert!(files.is_report_only() && !files.forwards_authorization() && !files.is_public());
    let access = token_access(files);
    let strings = |values: &[&str]| values.iter().map(|&value| value.into()).collect();
    assert_eq!(
        access.requirement,
        Requirement {
            scopes: strings(&["a", "b"]),
            any_scope: strings(&["c", "d"]),
            roles: strings(&["admin", "staff"]),
            permissions: strings(&["p"]),
            kyc_level: Some(3),
            mfa: true,
            acr: strings(&["gold"]),
            max_age: Some(300),
        }
    );
    assert_eq!(
        access.revocation,
        Revocation::List(Staleness {
            max_stale: 60,
            allow_for: 120
        })
    );
    let source = &access.source;
    assert!(matches!(source, TokenSource::Cookie { name, .. } if &**name == "__Host-at"));
    assert!(
        source.admits_origin("GET", false, None)
            && source.admits_origin("HEAD", false, Some("null"))
    );
    assert!(source.admits_origin("PUT", false, Some("https://app.example")));
    assert!(source.admits_origin("GET", true, Some("https://app.example")));
    assert!(!source.admits_origin("GET", true, Some("https://evil.example")));
    assert!(!source.admits_origin("GET", true, None));
    for origin in [
        None,
        Some("null"),
        Some("https://app.example.evil"),
        Some("http://app.example"),
    ] {
        assert!(!source.admits_origin("PUT", false, origin), "{origin:?}");
    }
    let cors = files.cors().unwrap();
    assert!(cors.allows_origin("http://localhost:3000") && !cors.allows_origin("http://localhost"));
    assert!(cors.allows_method("GET") && !cors.allows_method("PUT"));
    assert!(cors.allows_headers("x-a, Content-Type") && cors.allows_headers(""));
    assert!(!cors.allows_headers("x-a, x-b") && cors.credentials);
    assert_eq!((&*cors.expose[0], cors.max_age), ("ETag", Some(600)));

    assert_eq!((strict.name(), strict.line()), ("/strict", 27));
    assert_eq!(token_access(strict).revocation, Revocation::Strict);
    let cors = strict.cors().unwrap();
    assert!(cors.allows_origin("https://any.example") && cors.allows_method("PATCH"));
    assert!(!cors.allows_headers("authorization") && !cors.credentials);

    assert_eq!(token_access(off).revocation, Revocation::Off);
    assert!(
        !token_access(off)
            .source
            .admits_origin("POST", false, Some("https://app.example"))
    );

    let access = token_access(plain);
    assert_eq!(access.requirement, Requirement::default());
    assert_eq!(
        access.revocation,
        Revocation::List(Staleness {
            max_stale: 900,
            allow_for: 0
        })
    );
    assert_eq!(access.source, TokenSource::Header);
    assert!(access.source.admits_origin("POST", false, None));
    assert!(plain.forwards_authorization() && !plain.is_report_only() && plain.cors().is_none());
}

#[test]
fn a_preflight_is_judged_by_the_method_it_asks_about() {
    let policy = Policy::parse(
        "[[route]]\nmatch = \"/a\"\nmethods = [\"PUT\"]\n[route.cors]\norigins = [\"*\"]\n\
         [[route]]\nmatch = \"/a\"\nmethods = [\"OPTIONS\"]\nname = \"options\"",
    )
    .unwrap();
    let path = canonicalise("/a").unwrap();
    let rule = policy.find_preflight("PUT", &path).unwrap();
    assert!(
        rule.cors().unwrap().allows_method("PUT") && !rule.cors().unwrap().allows_method("GET")
    );
    assert!(policy.find_preflight("GET", &path).is_none());
    assert_eq!(policy.find("OPTIONS", &path).unwrap().name(), "options");
}

#[test]
fn knows_how_old_a_list_may_be() {
    let staleness = Staleness {
        max_stale: 10,
        allow_for: 5,
    };
    let table = [
        (-1, false, false),
        (0, true, false),
        (10, true, false),
        (11, true, true),
    ];
    for (age, admits, grace) in table
        .into_iter()
        .chain([(15, true, true), (16, false, false)])
    {
        assert_eq!(
            (staleness.admits(age), staleness.is_grace(age)),
            (admits, grace),
            "{age}"
        );
    }
    let strict = Staleness {
        max_stale: 10,
        allow_for: 0,
    };
    assert!(strict.admits(10) && !strict.admits(11) && !strict.admits(i64::MAX));
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of mistakes")]
fn says_where_a_policy_is_wrong_and_what_was_expected() {
    let route = |rest: &str| format!("[[route]]\nmatch = \"/a\"\n{rest}");
    let second = |rest: &str| format!("[[route]]\nmatch = \"/a\"\n\n[[route]]\n{rest}");
    // Text, line, column, part of the message.
    let table: &[(String, usize, usize, &str)] = &[
        (
            String::new(),
            1,
            1,
            "has no rule, expected at least one [[route]]",
        ),
        ("# nothing\n".into(), 1, 1, "has no rule"),
        ("version = 1\n".into(), 1, 1, "has no rule"),
        ("route = []\n".into(), 1, 9, "has no rule"),
        (
            "version = 2\n[[route]]\nmatch = \"/a\"".into(),
            1,
            11,
            "version 2 is not known, expected 1",
        ),
        (
            "version = \"1\"".into(),
            1,
            11,
            "\"version\" is a string, expected a whole number",
        ),
        (
            "route = 1".into(),
            1,
            9,
            "\"route\" is a whole number, expected [[route]]",
        ),
        (
            "route = [1]".into(),
            1,
            10,
            "a route is a whole number, expected a table",
        ),
        (
            "[route]\nmatch = \"/a\"".into(),
            1,
            1,
            "\"route\" is a table, expected [[route]]",
        ),
        (
            "[defaults]\nmfa = true\n[[route]]".into(),
            1,
            2,
            "unknown key \"defaults\", expected one of version, route",
        ),
        (
            "\n\n[[routes]]\nmatch = \"/a\"".into(),
            3,
            3,
            "unknown key \"routes\"",
        ),
        ("[[route]]\nmatch = /a".into(), 2, 9, "not TOML"),
        ("[[route]\nmatch = \"/a\"".into(), 1, 9, "not TOML"),
        (
            route("mfa = true\nmfa = true"),
            4,
            1,
            "not TOML: duplicate key",
        ),
        (
            route("scope = [\"x\"]"),
            3,
            1,
            "unknown key \"scope\", expected one of name, match, methods,",
        ),
        (
            route("mfa = true\nzzz = 1\naaa = 1"),
            4,
            1,
            "unknown key \"zzz\"",
        ),
        (
            "[[route]]\nmethods = [\"GET\"]".into(),
            1,
            1,
            "a route without \"match\"",
        ),
        (
            "[[route]]\nmatch = 7".into(),
            2,
            9,
            "\"match\" is a whole number, expected a string",
        ),
        (
            "[[route]]\nmatch = \"a\"".into(),
            2,
            9,
            "must start with \"/\"",
        ),
        (
            "[[route]]\nmatch = \"\"".into(),
            2,
            9,
            "must start with \"/\"",
        ),
        (
            "[[route]]\nmatch = \"/a/**/b\"".into(),
            2,
            9,
            "\"**\" may only be the last segment",
        ),
        (
            "[[route]]\nmatch = \"/a/\"".into(),
            2,
            9,
            "no \"/\" at the end",
        ),
        (
            "[[route]]\nmatch = \"//a\"".into(),
            2,
            9,
            "expected no \"//\"",
        ),
        (
            "[[route]]\nmatch = \"/a*\"".into(),
            2,
            9,
            "\"%2A\" for a literal asterisk",
        ),
        (
            "[[route]]\nmatch = \"/***\"".into(),
            2,
            9,
            "expected \"*\" or \"**\" as a whole segment",
        ),
        (
            "[[route]]\nmatch = \"/{}\"".into(),
            2,
            9,
            "expected {name} as a whole segment",
        ),
        (
            "[[route]]\nmatch = \"/x{id}\"".into(),
            2,
            9,
            "expected {name} as a whole segment",
        ),
        (
            "[[route]]\nmatch = \"/{a-b}\"".into(),
            2,
            9,
            "expected {name} as a whole segment",
        ),
        (
            "[[route]]\nmatch = \"/{a}/{a}\"".into(),
            2,
            9,
            "the parameter {a} occurs twice",
        ),
        (
            "[[route]]\nmatch = \"/%61\"".into(),
            2,
            9,
            "is not canonical: expected \"a\"",
        ),
        (
            "[[route]]\nmatch = \"/caf%c3%a9\"".into(),
            2,
            9,
            "expected \"caf%C3%A9\"",
        ),
        (
            "[[route]]\nmatch = \"/café\"".into(),
            2,
            9,
            "expected \"caf%C3%A9\"",
        ),
        (
            "[[route]]\nmatch = \"/%2a\"".into(),
            2,
            9,
            "expected \"%2A\"",
        ),
        (
            "[[route]]\nmatch = \"/a/../b\"".into(),
            2,
            9,
            "\"..\" is refused in every path",
        ),
        (
            "[[route]]\nmatch = \"/a;b\"".into(),
            2,
            9,
            "refused in every path",
        ),
        (
            "[[route]]\nmatch = \"/a%2Fb\"".into(),
            2,
            9,
            "refused in every path",
        ),
        (
            "[[route]]\nmatch = \"/a b\"".into(),
            2,
            9,
            "refused in every path",
        ),
        (
            "[[route]]\nmatch = \"/a?b\"".into(),
            2,
            9,
            "refused in every path",
        ),
        (
            route("methods = \"get\""),
            3,
            11,
            "\"methods\" has \"get\", expected a method in upper case",
        ),
        (
            route("methods = [\"GET\", \"P T\"]"),
            3,
            19,
            "\"methods\" has \"P T\"",
        ),
        (
            route("methods = []"),
            3,
            11,
            "\"methods\" has 0 values, expected 1 to 64",
        ),
        (
            route("methods = true"),
            3,
            11,
            "\"methods\" is true or false, expected a list of strings",
        ),
        (
            route("methods = [1]"),
            3,
            12,
            "\"methods\" is a whole number, expected a string",
        ),
        (
            route("access = \"open\""),
            3,
            10,
            "\"access\" is \"open\", expected one of public, token",
        ),
        (
            route("access = true"),
            3,
            10,
            "\"access\" is true or false, expected a string",
        ),
        (
            route("access = \"public\"\nscopes = [\"a\"]"),
            4,
            1,
            "\"scopes\" contradicts access = \"public\"",
        ),
        (
            route("roles = [\"a\"]\nmfa = true\naccess = \"public\""),
            3,
            1,
            "\"roles\" contradicts",
        ),
        (
            route("access = \"public\"\nreport_only = true"),
            4,
            1,
            "\"report_only\" contradicts",
        ),
        (
            route("access = \"public\"\nrevocation = \"off\""),
            4,
            1,
            "\"revocation\" contradicts",
        ),
        (
            route("scopes = [\"a b\"]"),
            3,
            11,
            "\"scopes\" has \"a b\", expected visible ASCII",
        ),
        (
            route("scopes = [\"a\\\"\"]"),
            3,
            11,
            "expected visible ASCII",
        ),
        (route("scopes = [\"\"]"), 3, 11, "\"scopes\" has \"\""),
        (route("any_scope = []"), 3, 13, "\"any_scope\" has 0 values"),
        (
            route("roles = [\"a\\nb\"]"),
            3,
            10,
            "expected text without control characters",
        ),
        (
            route("permissions = {}"),
            3,
            15,
            "\"permissions\" is a table, expected a list",
        ),
        (
            route("kyc_level = 0"),
            3,
            13,
            "\"kyc_level\" is 0, expected 1 to 255",
        ),
        (route("kyc_level = 256"), 3, 13, "expected 1 to 255"),
        (route("kyc_level = -1"), 3, 13, "\"kyc_level\" is -1"),
        (
            route("kyc_level = 1.5"),
            3,
            13,
            "is a number with a fraction, expected a whole number",
        ),
        (
            route("kyc_level = 99999999999999999999"),
            3,
            13,
            "expected 1 to 255",
        ),
        (
            route("mfa = \"yes\""),
            3,
            7,
            "\"mfa\" is a string, expected true or false",
        ),
        (route("mfa = 1"), 3, 7, "expected true or false"),
        (route("acr = [\"a b\"]"), 3, 8, "\"acr\" has \"a b\""),
        (
            route("max_age = 0"),
            3,
            11,
            "\"max_age\" is 0, expected 1 to",
        ),
        (
            route("max_age = \"5m\""),
            3,
            11,
            "\"max_age\" is a string, expected a whole number",
        ),
        (
            route("max_age = 2020-01-01"),
            3,
            11,
            "\"max_age\" is a date",
        ),
        (
            route("revocation = \"lists\""),
            3,
            14,
            "\"revocation\" is \"lists\", expected one of list, strict, off",
        ),
        (
            route("revocation = \"off\"\nmax_stale = 5"),
            4,
            1,
            "\"max_stale\" contradicts revocation = \"off\"",
        ),
        (
            route("on_stale = \"deny\"\nrevocation = \"strict\""),
            3,
            1,
            "\"on_stale\" contradicts revocation = \"strict\"",
        ),
        (
            route("max_stale = 0"),
            3,
            13,
            "\"max_stale\" is 0, expected 1 to 86400",
        ),
        (route("max_stale = 86401"), 3, 13, "expected 1 to 86400"),
        (
            route("on_stale = \"allow\""),
            3,
            1,
            "has no bound, expected \"allow_stale_for\"",
        ),
        (
            route("allow_stale_for = 5"),
            3,
            1,
            "has no effect, expected on_stale = \"allow\"",
        ),
        (
            route("on_stale = \"deny\"\nallow_stale_for = 5"),
            4,
            1,
            "has no effect",
        ),
        (
            route("token_from = \"query\""),
            3,
            14,
            "\"token_from\" is \"query\", expected \"header\" or { cookie",
        ),
        (
            route("token_from = 1"),
            3,
            14,
            "\"token_from\" is a whole number, expected \"header\"",
        ),
        (route("token_from = {}"), 3, 14, "\"token_from\" is empty"),
        (
            route("token_from = { cooky = \"a\" }"),
            3,
            16,
            "unknown key \"cooky\", expected one of cookie",
        ),
        (
            route("token_from = { cookie = \"a b\" }"),
            3,
            25,
            "\"cookie\" has \"a b\", expected a name",
        ),
        (
            route("token_from = { cookie = \"a\" }"),
            3,
            1,
            "methods that change something, expected \"allowed_origins\"",
        ),
        (
            route("methods = [\"GET\", \"POST\"]\ntoken_from = { cookie = \"a\" }"),
            4,
            1,
            "expected \"allowed_origins\"",
        ),
        (
            route("allowed_origins = [\"https://a\"]"),
            3,
            1,
            "has no effect, expected token_from",
        ),
        (
            route("cors = true"),
            3,
            8,
            "\"cors\" is true or false, expected a table",
        ),
        (route("cors = {}"), 3, 1, "\"cors\" without \"origins\""),
        (
            route("cors = { origin = [\"*\"] }"),
            3,
            10,
            "unknown key \"origin\", expected one of origins, methods, headers",
        ),
        (
            route("cors = { origins = [\"*\", \"https://a\"] }"),
            3,
            10,
            "\"*\" beside other origins",
        ),
        (
            route("cors = { origins = [\"*\"], credentials = true }"),
            3,
            27,
            "contradicts origins = [\"*\"]",
        ),
        (
            route("cors = { origins = [\"null\"] }"),
            3,
            21,
            "\"origins\" has \"null\", expected \"*\" or an origin",
        ),
        (
            route("cors = { origins = [\"https://a\"], max_age = 86401 }"),
            3,
            45,
            "expected 0 to 86400",
        ),
        (
            route("cors = { origins = [\"https://a\"], headers = [\"a:b\"] }"),
            3,
            46,
            "\"headers\" has \"a:b\", expected a name",
        ),
        (
            route("methods = [\"GET\"]\ncors = { origins = [\"https://a\"], methods = [\"PUT\"] }"),
            4,
            35,
            "which the rule's own methods do not have",
        ),
        (route("name = \"\""), 3, 8, "\"name\" has \"\""),
        (
            route("report_only = \"yes\""),
            3,
            15,
            "expected true or false",
        ),
        (
            route("forward_authorization = 0"),
            3,
            25,
            "expected true or false",
        ),
        (
            second("match = \"/a\""),
            5,
            1,
            "never reached: the rule on line 1 (/a) matches everything",
        ),
        (
            second("methods = [\"GET\"]\nmatch = \"/a\""),
            6,
            1,
            "never reached",
        ),
        (
            "[[route]]\nmatch = \"/**\"\n[[route]]\nmatch = \"/a/{id}/**\"".into(),
            4,
            1,
            "never reached: the rule on line 1",
        ),
        (
            "# é\n[[route]]\nname = \"é\"\nmatch = \"/é\"".into(),
            4,
            9,
            "is not canonical",
        ),
        (
            "[[route]]\nname = \"é\", match = 1".into(),
            2,
            11,
            "not TOML",
        ),
    ];
    for (text, line, column, message) in table {
        let error = Policy::parse(text).unwrap_err();
        assert_eq!(
            (error.line, error.column),
            (Some(*line), Some(*column)),
            "{text}\n{error}"
        );
        assert!(error.message.contains(message), "{text}\n{error}");
        assert_eq!(error.to_string(), format!("line {line}: {}", error.message));
    }
}

#[test]
fn refuses_origins_that_no_browser_sends() {
    let parse = |origin: &str| {
        Policy::parse(&format!(
            "[[route]]\nmatch = \"/a\"\n[route.cors]\norigins = [\"{origin}\"]"
        ))
    };
    for origin in [
        "https://app.example",
        "http://localhost:3000",
        "https://[::1]:8443",
        "https://[2001:db8::1]",
        "capacitor://localhost",
        "chrome-extension://abcdefgh",
        "http://a:443",
    ] {
        assert!(parse(origin).is_ok(), "{origin}");
    }
    for origin in [
        "app.example",
        "https://",
        "https://App.example",
        "HTTPS://app.example",
        "https://app.example/",
        "https://app.example/x",
        "https://app.example:443",
        "http://app.example:80",
        "https://app.example:",
        "https://app.example:080",
        "https://app.example:99999",
        "https://user@app.example",
        "https://*.app.example",
        "https://[]",
        "//app.example",
        "https://a b",
        "https://é.example",
    ] {
        assert!(parse(origin).is_err(), "{origin}");
    }
}

#[test]
fn finds_rules_that_can_never_be_reached_and_no_others() {
    // Earlier match and methods, later match and methods, whether the later one is dead.
    let table: &[(&str, &str, &str, &str, bool)] = &[
        ("/a/**", "", "/a", "", true),
        ("/a/**", "", "/a/b/**", "", true),
        ("/a/**", "", "/a/*", "", true),
        ("/a/*", "", "/a/{id}", "", true),
        ("/a/{id}", "", "/a/*", "", true),
        ("/a/*", "", "/a/b", "", true),
        ("/*/b", "", "/a/b", "", true),
        ("/a/*/**", "", "/a/b", "", true),
        ("/a", "GET POST", "/a", "POST", true),
        ("/a", "", "/a", "POST", true),
        ("/a", "GET", "/a", "POST", false),
        ("/a", "GET", "/a", "", false),
        ("/a", "GET", "/a", "GET POST", false),
        ("/a", "", "/a/**", "", false),
        ("/a/b", "", "/a/*", "", false),
        ("/a/*", "", "/a/**", "", false),
        ("/a/*/**", "", "/a/**", "", false),
        ("/a/*", "", "/a/b/c", "", false),
        ("/a/b/**", "", "/a/bc", "", false),
        ("/", "", "/**", "", false),
        ("/**", "", "/", "", true),
    ];
    let rule = |pattern: &str, methods: &str| {
        let methods: Vec<_> = methods
            .split_whitespace()
            .map(|m| format!("{m:?}"))
            .collect();
        let methods = if methods.is_empty() {
            String::new()
        } else {
            format!("methods = [{}]\n", methods.join(", "))
        };
        format!("[[route]]\nmatch = {pattern:?}\n{methods}")
    };
    for (first, first_methods, second, second_methods, dead) in table {
        let text = rule(first, first_methods) + &rule(second, second_methods);
        assert_eq!(Policy::parse(&text).is_err(), *dead, "{text}");
    }
}

#[test]
fn holds_its_limits_exactly() {
    let rules = |count: usize| {
        (0..count).fold(String::new(), |text, i| {
            text + &format!("[[route]]\nmatch = \"/{i}\"\n")
        })
    };
    let policy = Policy::parse(&rules(MAX_RULES)).unwrap();
    assert_eq!(policy.rules().len(), MAX_RULES);
    assert_eq!(matched(&policy, "GET", "/999"), Some("/999"));
    let error = Policy::parse(&rules(MAX_RULES + 1)).unwrap_err();
    assert_eq!(
        (error.line, error.message.as_str()),
        (Some(2001), "more than 1000 rules")
    );

    let rule = "[[route]]\nmatch = \"/a\"\n#";
    let padded = rule.to_owned() + &"x".repeat(MAX_POLICY_BYTES - rule.len());
    assert!(Policy::parse(&padded).is_ok());
    let error = Policy::parse(&(padded + "x")).unwrap_err();
    assert_eq!(error.line, None);
    assert!(error.to_string().contains("expected at most 262144"));

    let list = |count: usize| {
        let values: Vec<_> = (0..count).map(|i| format!("\"r{i}\"")).collect();
        Policy::parse(&format!(
            "[[route]]\nmatch = \"/a\"\nroles = [{}]",
            values.join(",")
        ))
    };
    assert!(list(64).is_ok() && list(65).is_err());
    let name = |length: usize| {
        Policy::parse(&format!(
            "[[route]]\nmatch = \"/a\"\nroles = [\"{}\"]",
            "r".repeat(length)
        ))
    };
    assert!(name(256).is_ok() && name(257).is_err());
    let deep =
        |depth: usize| Policy::parse(&format!("[[route]]\nmatch = \"{}\"", "/a".repeat(depth)));
    assert!(deep(128).is_ok() && deep(129).is_err());
    // Nesting ends in an error, not in the end of the stack.
    let nested = format!("x = {}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(
        Policy::parse(&nested)
            .unwrap_err()
            .message
            .starts_with("not TOML")
    );
}

fn requirement(rest: &str) -> Requirement {
    let policy = Policy::parse(&format!("[[route]]\nmatch = \"/a\"\n{rest}")).unwrap();
    token_access(&policy.rules()[0]).requirement.clone()
}

const NOBODY: Holder<'static, &str> = Holder {
    scopes: &[],
    roles: &[],
    permissions: &[],
    kyc_level: None,
    amr: &[],
    acr: None,
    auth_time: None,
};

/// The code of the refusal and the challenge's parameters; `ok` where nothing is missing.
fn outcome(requirement: &Requirement, holder: &Holder<'_, &str>, now: i64) -> String {
    match requirement.check(holder, now) {
        Ok(()) => "ok".into(),
        Err(missing) => {
            let mut text = missing.rejection().code().to_owned();
            missing.write_challenge(&mut text);
            text
        }
    }
}

#[test]
fn asks_for_rights() {
    let all = requirement("scopes = [\"a\", \"b\"]");
    let scoped = |scopes| Holder { scopes, ..NOBODY };
    assert_eq!(outcome(&all, &scoped(&["b", "c", "a"]), 0), "ok");
    for scopes in [&["a"][..], &[], &["ab"], &["A", "b"], &["a b"]] {
        let expected = "insufficient_scope, scope=\"a b\"";
        assert_eq!(outcome(&all, &scoped(scopes), 0), expected, "{scopes:?}");
    }
    let any = requirement("any_scope = [\"a\", \"b\"]");
    assert_eq!(outcome(&any, &scoped(&["b"]), 0), "ok");
    assert_eq!(
        outcome(&any, &scoped(&["c"]), 0),
        "insufficient_scope, scope=\"a b\""
    );

    let roles = requirement("roles = [\"admin\", \"staff\"]");
    assert_eq!(
        outcome(
            &roles,
            &Holder {
                roles: &["staff"],
                ..NOBODY
            },
            0
        ),
        "ok"
    );
    assert_eq!(
        outcome(
            &roles,
            &Holder {
                roles: &["Admin"],
                ..NOBODY
            },
            0
        ),
        "insufficient_role"
    );
    assert_eq!(outcome(&roles, &scoped(&["admin"]), 0), "insufficient_role");

    let permissions = requirement("permissions = [\"p\", \"q\"]");
    let holding = |permissions| Holder {
        permissions,
        ..NOBODY
    };
    assert_eq!(outcome(&permissions, &holding(&["q", "p"]), 0), "ok");
    assert_eq!(
        outcome(&permissions, &holding(&["p"]), 0),
        "insufficient_permission"
    );

    let kyc = requirement("kyc_level = 2");
    for (level, expected) in [
        (None, "kyc_required"),
        (Some(1), "kyc_required"),
        (Some(2), "ok"),
        (Some(255), "ok"),
    ] {
        assert_eq!(
            outcome(
                &kyc,
                &Holder {
                    kyc_level: level,
                    ..NOBODY
                },
                0
            ),
            expected
        );
    }
    assert_eq!(outcome(&Requirement::default(), &NOBODY, 0), "ok");
}

#[test]
fn counts_kinds_of_factors() {
    let mfa = requirement("mfa = true");
    let table: &[(&[&str], bool)] = &[
        (&["mfa"], true),
        (&["pwd", "otp"], true),
        (&["otp", "pwd"], true),
        (&["pwd", "sms", "user"], true),
        (&["hwk", "fpt"], true),
        (&["hwk", "pin"], true),
        (&["pwd", "face"], true),
        (&["swk", "kba"], true),
        (&[], false),
        (&["pwd"], false),
        (&["pwd", "pwd"], false),
        (&["pwd", "pin", "kba"], false),
        (&["otp", "sms", "hwk", "swk", "sc", "tel", "pop"], false),
        (&["face", "fpt", "iris", "retina", "vbm"], false),
        (&["pwd", "user"], false),
        (&["pwd", "geo", "rba", "wia", "mca"], false),
        (&["pwd", "email"], false),
        (&["pwd", "OTP"], false),
        (&["MFA"], false),
        (&["pwd,otp"], false),
    ];
    for (amr, enough) in table {
        let expected = if *enough { "ok" } else { "step_up_required" };
        assert_eq!(
            outcome(&mfa, &Holder { amr, ..NOBODY }, 0),
            expected,
            "{amr:?}"
        );
    }
}

#[test]
fn asks_for_fresh_authentication_to_the_second() {
    let fresh = requirement("max_age = 300");
    let table: &[(Option<i64>, bool)] = &[
        (Some(1000), true),
        (Some(701), true),
        (Some(700), true),
        (Some(699), false),
        (Some(0), false),
        (Some(i64::MIN), false),
        (Some(1005), true),
        (Some(1006), false),
        (Some(i64::MAX), false),
        (None, false),
    ];
    for (auth_time, enough) in table {
        let expected = if *enough {
            "ok"
        } else {
            "step_up_required, max_age=\"300\""
        };
        let holder = Holder {
            auth_time: *auth_time,
            ..NOBODY
        };
        assert_eq!(outcome(&fresh, &holder, 1000), expected, "{auth_time:?}");
    }
    // The ends of time overflow nothing.
    let holder = Holder {
        auth_time: Some(i64::MIN),
        ..NOBODY
    };
    assert!(fresh.check(&holder, i64::MAX).is_err() && fresh.check(&holder, i64::MIN).is_ok());
}

#[test]
fn asks_for_everything_of_a_step_up_at_once_and_for_rights_first() {
    let all =
        requirement("roles = [\"r\"]\nacr = [\"gold\", \"silver\"]\nmax_age = 60\nmfa = true");
    assert_eq!(outcome(&all, &NOBODY, 0), "insufficient_role");
    let step_up = "step_up_required, acr_values=\"gold silver\", max_age=\"60\"";
    let role = Holder {
        roles: &["r"],
        ..NOBODY
    };
    assert_eq!(outcome(&all, &role, 0), step_up);
    let strong = Holder {
        acr: Some("silver"),
        amr: &["mfa"],
        auth_time: Some(0),
        ..role
    };
    assert_eq!(outcome(&all, &strong, 60), "ok");
    assert_eq!(outcome(&all, &strong, 61), step_up);
    assert_eq!(
        outcome(
            &all,
            &Holder {
                acr: Some("Gold"),
                ..strong
            },
            60
        ),
        step_up
    );
    assert_eq!(
        outcome(
            &all,
            &Holder {
                acr: None,
                ..strong
            },
            60
        ),
        step_up
    );
    assert_eq!(
        outcome(
            &all,
            &Holder {
                amr: &["pwd"],
                ..strong
            },
            60
        ),
        step_up
    );
    assert!(matches!(
        all.check(&role, 0),
        Err(Missing::StepUp {
            mfa: true,
            max_age: Some(60),
            ..
        })
    ));
    assert_eq!(
        all.check(&role, 0).unwrap_err().rejection(),
        Rejection::StepUpRequired
    );
}

/// A plain reading of patterns, against which the compiled one is compared.
fn reference_match(pattern: &str, path: &str) -> bool {
    fn go(pattern: &[&str], path: &[&str]) -> bool {
        match (pattern, path) {
            (["**"], _) | ([], []) => true,
            (["*", more @ ..], [_, rest @ ..]) => go(more, rest),
            ([p, more @ ..], [s, rest @ ..]) => p == s && go(more, rest),
            _ => false,
        }
    }
    let pattern: Vec<_> = pattern.split('/').filter(|s| !s.is_empty()).collect();
    let path: Vec<_> = path.split('/').filter(|s| !s.is_empty()).collect();
    go(&pattern, &path)
}

fn pattern_text() -> impl Strategy<Value = String> {
    let segment = prop_oneof![Just("a"), Just("b"), Just("ab"), Just("*")];
    (proptest::collection::vec(segment, 0..4), any::<bool>()).prop_map(|(segments, open)| {
        let mut text = segments
            .iter()
            .fold(String::new(), |text, s| text + "/" + s);
        if open {
            text.push_str("/**");
        }
        if text.is_empty() { "/".into() } else { text }
    })
}

fn path_text() -> impl Strategy<Value = String> {
    "(/{1,2}(a|b|ab|ba)){0,5}/{0,1}"
        .prop_map(|text| if text.is_empty() { "/".into() } else { text })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn matches_as_the_plain_reading_does(pattern in pattern_text(), path in path_text()) {
        let policy = Policy::parse(&format!("[[route]]\nmatch = \"{pattern}\"")).unwrap();
        let found = matched(&policy, "GET", &path).is_some();
        prop_assert_eq!(found, reference_match(&pattern, &path), "{} {}", pattern, path);
    }

    #[test]
    fn a_rule_called_unreachable_is(
        first in pattern_text(),
        second in pattern_text(),
        path in path_text(),
    ) {
        let text = format!("[[route]]\nmatch = \"{first}\"\n[[route]]\nmatch = \"{second}\"");
        if Policy::parse(&text).is_err() && reference_match(&second, &path) {
            prop_assert!(reference_match(&first, &path), "{} {} {}", first, second, path);
        }
    }

    #[test]
    fn answers_for_any_text(text in "(?s).{0,200}") {
        if let Err(error) = Policy::parse(&text) {
            let lines = text.matches('\n').count() + 1;
            prop_assert!(error.line.is_none_or(|line| (1..=lines).contains(&line)));
        }
    }

    #[test]
    fn answers_for_any_damage_to_a_policy(at in 0..DEMO.len(), with in "(?s).{0,3}", cut in 0..8_usize) {
        let end = (at + cut).min(DEMO.len());
        let text = format!("{}{with}{}", &DEMO[..at], &DEMO[end..]);
        if let Err(error) = Policy::parse(&text) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}
