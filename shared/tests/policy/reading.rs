//! What a policy's keys mean, and where their limits are.

use edgekeep_shared::policy::{
    Caching, LimitedBy, MAX_POLICY_BYTES, MAX_RULES, Owner, OwnerClaim, Policy, Requirement,
    Revocation, Staleness, TokenSource,
};

use crate::support::{matched, token_access};

#[test]
fn reads_every_key() {
    let policy = Policy::parse(
        r#"
version = 1

[[route]]
name = "files"
match = "/files/{owner}/{customer}/**"
hosts = ["files.example", "*.files.example"]
methods = ["GET", "HEAD", "PUT"]
access = "token"
scopes = ["a", "b"]
any_scope = ["c", "d"]
roles = ["admin", "staff"]
permissions = ["p"]
owner = { owner = "sub", customer = "customer_id" }
owner_or_roles = "support"
kyc_level = 3
kyc_status = ["verified"]
amr = ["hwk", "otp"]
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
upstream = "http://files.internal:8080/v1/"
headers = { X-Edge = "eu", x-b = "a b" }
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
            owner: [
                ("owner", OwnerClaim::Subject),
                ("customer", OwnerClaim::Customer),
            ]
            .into_iter()
            .map(|(parameter, claim)| Owner {
                parameter: parameter.into(),
                claim,
            })
            .collect(),
            owner_or_roles: strings(&["support"]),
            kyc_level: Some(3),
            kyc_status: strings(&["verified"]),
            amr: strings(&["hwk", "otp"]),
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
    assert_eq!(files.upstream(), Some("http://files.internal:8080/v1"));
    let headers: Vec<_> = files.headers().collect();
    assert_eq!(headers, [("X-Edge", "eu"), ("x-b", "a b")]);
    let hosts: Vec<&str> = files.hosts().iter().map(|host| &**host).collect();
    assert_eq!(hosts, ["files.example", "*.files.example"]);
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

    assert_eq!((strict.name(), strict.line()), ("/strict", 34));
    assert_eq!(token_access(strict).revocation, Revocation::Strict);
    let cors = strict.cors().unwrap();
    assert!(cors.allows_origin("https://any.example") && cors.allows_method("PATCH"));
    assert!(!cors.allows_headers("authorization") && !cors.credentials && cors.is_for_all());
    assert!(!files.cors().unwrap().is_for_all());

    assert_eq!(token_access(off).revocation, Revocation::Off);
    assert!(off.forwards_second_place() && !strict.forwards_second_place());
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

    assert!(policy.has_hosts());
    for name in ["x-edge", "X_EDGE", "x.edge", "xedge", "X-B", "XB"] {
        assert!(policy.sets_header(name.as_bytes()), "{name}");
    }
    for name in ["", "-", "x-edges", "x-edg", "x-c", "edge"] {
        assert!(!policy.sets_header(name.as_bytes()), "{name}");
    }
    let bare = Policy::parse("[[route]]\nmatch = \"/a\"").unwrap();
    assert!(!bare.has_hosts());
    assert!(!bare.sets_header(b"x-edge"));
}

#[test]
fn takes_the_own_issuer_unless_others_are_named() {
    const OWN: &str = "https://id.example";
    const A: &str = "https://a.example";
    for (key, own, a) in [
        ("", true, false),
        ("issuer = \"own\"", true, false),
        ("issuer = \"https://id.example\"", true, false),
        ("issuer = \"https://a.example\"", false, true),
        ("issuer = [\"https://a.example\", \"own\"]", true, true),
        ("issuer = [\"https://a.example/\"]", false, false),
    ] {
        let policy = Policy::parse(&format!("[[route]]\nmatch = \"/a\"\n{key}")).unwrap();
        let access = token_access(&policy.rules()[0]);
        assert_eq!(access.takes_issuer(OWN, OWN), own, "{key}");
        assert_eq!(access.takes_issuer(A, OWN), a, "{key}");
        assert!(!access.takes_issuer("own", OWN), "{key}");
    }
}

#[test]
fn takes_tokens_for_one_of_the_audiences() {
    for (key, audience, expected) in [
        ("", &["api"][..], true),
        ("audience = \"reports\"", &["api"], false),
        ("audience = \"reports\"", &["api", "reports"], true),
        ("audience = [\"a\", \"b\"]", &["api", "b"], true),
        (
            "audience = \"reports\"",
            &["reports2", "Reports", " reports"],
            false,
        ),
    ] {
        let policy = Policy::parse(&format!("[[route]]\nmatch = \"/a\"\n{key}")).unwrap();
        let access = token_access(&policy.rules()[0]);
        assert_eq!(
            access.takes_audience(audience),
            expected,
            "{key} {audience:?}"
        );
    }
}

#[test]
fn reads_who_is_counted_and_by_which_limiter() {
    let policy = Policy::parse(
        r#"
[[route]]
match = "/a"
rate_limit = { binding = "API_LIMIT", by = "subject" }
[[route]]
match = "/b"
access = "public"
rate_limit = { binding = "_l2", by = "address", header = "CF-Connecting-IP" }
[[route]]
match = "/c"
"#,
    )
    .unwrap();
    let [subject, address, none] = [0, 1, 2].map(|index| policy.rules()[index].rate_limit());
    let subject = subject.unwrap();
    assert_eq!(
        (&*subject.binding, &subject.by),
        ("API_LIMIT", &LimitedBy::Subject)
    );
    assert_eq!(
        subject.key(None, Some("192.0.2.1")),
        None,
        "nobody is known"
    );
    let address = address.unwrap();
    let header = "CF-Connecting-IP".into();
    assert_eq!(
        (&*address.binding, &address.by),
        ("_l2", &LimitedBy::Address { header })
    );
    let key = address.key(None, Some("192.0.2.1"));
    assert_eq!(key.as_deref(), Some("192.0.2.1"));
    assert_eq!(address.key(None, None), None);
    assert_eq!(none, None);
}

#[test]
fn reads_who_may_keep_answers() {
    for (key, expected) in [
        ("", Caching::Upstream),
        ("cache = \"upstream\"", Caching::Upstream),
        ("cache = \"private\"", Caching::Private),
        ("cache = \"no-store\"", Caching::NoStore),
    ] {
        let policy = Policy::parse(&format!("[[route]]\nmatch = \"/a\"\n{key}")).unwrap();
        assert_eq!(policy.rules()[0].caching(), expected, "{key}");
    }
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
