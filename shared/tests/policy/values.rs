//! What rules, and services that ask for the same, may name.

use edgekeep_shared::policy::{
    MAX_AUTHENTICATION_AGE_SECONDS, OwnerClaim, Policy, is_issuer, is_name, is_scope_token,
};

#[test]
fn a_name_is_text_without_control_characters() {
    let longest = "a".repeat(256);
    for (text, is_one) in [
        ("admin", true),
        ("größe, mit Komma", true),
        (longest.as_str(), true),
        ("", false),
        ("a\u{7f}", false),
        ("a\nb", false),
        (&"a".repeat(257), false),
    ] {
        assert_eq!(is_name(text), is_one, "{text:?}");
    }
}

#[test]
fn a_scope_is_visible_ascii_that_can_be_quoted() {
    let longest = "a".repeat(256);
    for (text, is_one) in [
        ("report:read", true),
        ("https://a.example/scope#x", true),
        (longest.as_str(), true),
        ("", false),
        ("a b", false),
        ("a\"", false),
        ("a\\", false),
        ("ä", false),
        (&"a".repeat(257), false),
    ] {
        assert_eq!(is_scope_token(text), is_one, "{text:?}");
    }
}

#[test]
fn an_issuer_is_a_url_without_query_and_fragment() {
    let long = |length: usize| format!("https://{}", "a".repeat(length - 8));
    let (longest, longer) = (long(256), long(257));
    for (text, is_one) in [
        ("https://a.example", true),
        ("http://127.0.0.1:8080/a", true),
        (longest.as_str(), true),
        (longer.as_str(), false),
        ("https://", false),
        ("https:///a", false),
        ("https://a@b", false),
        ("https://a?b", false),
        ("https://a#b", false),
        ("https://a\\b", false),
        ("https://a b", false),
        ("ftp://a", false),
        ("a.example", false),
    ] {
        assert_eq!(is_issuer(text), is_one, "{text:?}");
    }
}

#[test]
fn an_owner_is_named_by_its_claim() {
    assert_eq!(OwnerClaim::Subject.name(), "sub");
    assert_eq!(OwnerClaim::Customer.name(), "customer_id");
}

#[test]
fn an_origin_is_written_as_browsers_send_it() {
    for (origin, is_one) in [
        ("https://app.example", true),
        ("http://localhost:3000", true),
        ("https://a_b-c.example:8443", true),
        ("chrome-extension://abcdef", true),
        ("web+app.x://a", true),
        ("http://[::1]:8080", true),
        ("http://[::ffff:127.0.0.1]", true),
        ("https://app.example:443", false),
        ("http://app.example:80", false),
        ("http://app.example:443", true),
        ("https://app.example:80", true),
        ("https://app.example:", false),
        ("https://app.example:08443", false),
        ("https://app.example:65536", false),
        ("https://app.example/", false),
        ("https://App.example", false),
        ("https://ä.example", false),
        ("https://a b", false),
        ("https://", false),
        ("https://:8443", false),
        ("https://[]", false),
        ("https://[::G]", false),
        ("https://[::1", false),
        ("https:app.example", false),
        ("HTTPS://app.example", false),
        ("htTps://app.example", false),
        ("1https://app.example", false),
        ("+https://app.example", false),
        ("ht_tps://app.example", false),
        ("://app.example", false),
        ("null", false),
    ] {
        let text = format!(
            "version = 1\n[[route]]\nmatch = \"/**\"\ncors = {{ origins = [\"{origin}\"] }}\n"
        );
        assert_eq!(Policy::parse(&text).is_ok(), is_one, "{origin}");
    }
}

/// The rule of a policy with these lines.
fn rule(lines: &str) -> Result<Policy, String> {
    let text = format!("version = 1\n[[route]]\nmatch = \"/users/{{id}}\"\n{lines}\n");
    Policy::parse(&text).map_err(|mistake| mistake.to_string())
}

#[test]
fn the_usual_place_of_a_token_can_be_said() {
    let (said, unsaid) = (rule("token_from = \"header\"").unwrap(), rule("").unwrap());
    assert_eq!(said.rules()[0].access(), unsaid.rules()[0].access());
}

#[test]
fn an_owner_is_somebody_of_one_issuer() {
    let owner = "owner = { id = \"sub\" }";
    let issuers = |names: &str| rule(&format!("{owner}\nissuer = [{names}]"));
    assert!(issuers("\"https://a\"").is_ok());
    assert!(issuers("\"https://a\", \"https://b\"").is_err());
}

#[test]
fn a_login_may_have_to_be_a_year_old_at_most() {
    assert_eq!(MAX_AUTHENTICATION_AGE_SECONDS, 31_622_400);
    assert!(rule("max_age = 31622400").is_ok());
    assert!(rule("max_age = 31622401").is_err());
}

#[test]
fn a_rule_says_who_passes_and_where_the_token_stands() {
    let websocket = "token_from = \"websocket\"\nallowed_origins = [\"https://a\"]";
    for (lines, is_public, is_websocket) in [
        ("access = \"public\"", true, false),
        ("", false, false),
        (
            "token_from = { cookie = \"__Host-at\" }\nmethods = [\"GET\"]",
            false,
            false,
        ),
        (websocket, false, true),
    ] {
        let policy = rule(lines).unwrap();
        let rule = &policy.rules()[0];
        assert_eq!(rule.is_public(), is_public, "{lines}");
        assert_eq!(rule.takes_websocket_token(), is_websocket, "{lines}");
    }
}

#[test]
fn answers_are_for_all_pages_where_neither_origins_nor_credentials_say_otherwise() {
    for (cors, is_for_all) in [
        ("origins = [\"*\"]", true),
        ("origins = [\"https://a\"]", false),
        ("origins = [\"https://a\"], credentials = true", false),
    ] {
        let policy = rule(&format!("cors = {{ {cors} }}")).unwrap();
        let cors = policy.rules()[0].cors().unwrap();
        assert_eq!(cors.is_for_all(), is_for_all, "{cors:?}");
    }
}

#[test]
fn a_rule_sets_sixteen_fields_at_most() {
    let headers = |count: usize| {
        let fields: Vec<String> = (0..count).map(|n| format!("X-{n} = \"a\"")).collect();
        rule(&format!("headers = {{ {} }}", fields.join(", ")))
    };
    for (count, is_taken) in [(1, true), (16, true), (17, false), (18, false)] {
        assert_eq!(headers(count).is_ok(), is_taken, "{count}");
    }
}

#[test]
fn a_rule_says_in_which_cookie_a_token_stands() {
    let cookie = "token_from = { cookie = 'at' }\nallowed_origins = ['https://app.example']";
    let socket = "token_from = 'websocket'\nallowed_origins = ['https://app.example']";
    for (lines, expected) in [
        (cookie, Some("at")),
        (socket, None),
        ("", None),
        ("access = 'public'", None),
    ] {
        let policy = rule(lines).unwrap();
        assert_eq!(policy.rules()[0].token_cookie(), expected, "{lines}");
    }
}
