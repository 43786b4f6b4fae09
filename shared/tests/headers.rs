//! Header fields: which the gate owns in every spelling, and how it reads and writes values.

use edgekeep_shared::error::Rejection;
use edgekeep_shared::headers::{
    bearer_token, bearer_token_of, connection_options, cookie_value, decode_list, encode_list,
    encode_value, is_hop_by_hop, is_identity_header, is_removable_by_connection,
    is_request_override, is_second_place, must_strip, websocket_token, without_cookie,
    without_websocket_token,
};
use proptest::prelude::*;

const OWNED: &[&str] = &[
    "X-User-ID",
    "X-User-Issuer",
    "X-User-Roles",
    "X-User-Permissions",
    "X-Customer-ID",
    "X-Session-ID",
    "X-KYC-Level",
    "X-Auth-Methods",
    "X-Edgekeep-Assertion",
    "X-Edgekeep",
    "X-Edgekeep-Anything-At-All-However-Long",
];

#[test]
fn owns_identity_headers_in_every_spelling() {
    for name in OWNED {
        for spelling in [
            (*name).to_owned(),
            name.to_lowercase(),
            name.to_uppercase(),
            name.replace('-', "_"),
            name.replace('-', "."),
            name.replace('-', "--"),
            name.replace('-', "-_"),
            name.replace('-', ""),
            name.replacen('-', "_", 1),
            format!("_{name}"),
            format!("{name}_"),
            format!(" {name}"),
            format!("{name}\u{e9}"),
        ] {
            assert!(is_identity_header(spelling.as_bytes()), "{spelling}");
            assert!(must_strip(spelling.as_bytes()), "{spelling}");
        }
    }
    assert!(must_strip(b"X-User\xff-ID"));
}

#[test]
fn leaves_other_headers_alone() {
    for name in [
        "",
        "-",
        "X",
        "User-ID",
        "X-Users",
        "X-User-Agent",
        "X-User-IDs",
        "X-User-ID-2",
        "X-User-Roles-And-More-Of-The-Same-Kind",
        "XX-User-ID",
        "X-Edge",
        "X-Edgekee",
        "X-Request-ID",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Original-Content",
        "X-Middleware-Subrequest-Id",
        "Authorization",
        "Cookie",
        "Host",
        "Accept",
    ] {
        assert!(!must_strip(name.as_bytes()), "{name}");
    }
}

#[test]
fn strips_what_renames_the_request() {
    for name in [
        "X-Original-URL",
        "X-Original-URI",
        "x_original_url",
        "X-Rewrite-URL",
        "X.Rewrite.Url",
        "X-Forwarded-Prefix",
        "X-Forwarded-URI",
        "X-Forwarded-Path",
        "X-Forwarded-Method",
        "X-Replaced-Path",
        "X-Envoy-Original-Path",
        "X-HTTP-Method-Override",
        "X-HTTP-Method",
        "X-Method-Override",
        "X-Middleware-Subrequest",
    ] {
        assert!(
            is_request_override(name.as_bytes()) && must_strip(name.as_bytes()),
            "{name}"
        );
        assert!(!is_identity_header(name.as_bytes()), "{name}");
    }
}

#[test]
fn strips_what_other_gates_call_the_person() {
    for name in [
        "Remote-User",
        "REMOTE_USER",
        "X-Remote-User",
        "X-Forwarded-User",
        "x_forwarded_email",
        "X-Forwarded-Groups",
        "X-Forwarded-Preferred-Username",
        "X-Forwarded-Access-Token",
        "X-Auth-Request-User",
        "X-Auth-Request-Preferred-Username",
        "X.Auth.Request.Access.Token",
        "Remote-Groups",
        "remote_email",
        "Remote.Name",
        "X-Remote-Group",
        "X-Remote-Extra-Authentication-Method-And-More-Of-It",
        "X-WEBAUTH-USER",
        "X-Consumer-Username",
        "X-Credential-Identifier",
        "X-Anonymous-Consumer",
        "X-Authenticated-Scope",
        "X-Goog-Authenticated-User-Email",
        "X-Amzn-Oidc-Accesstoken",
        "X-MS-Client-Principal",
        "x_ms_client_principal_id",
        "X-authentik-groups",
        "X-Vouch-Idp-Claims-Email",
        "X-Pomerium-Claim-Groups",
        "Cf-Access-Authenticated-User-Email",
        "_cf.access_authenticated-user-email",
        "Tailscale-User-Name",
        "x_webauth.user",
        "_X-WEBAUTH__ROLE",
        "X-WEBAUTH",
        "X-Userinfo",
        "X-User",
        "x_auth_user",
        "X-JWT-Payload",
        "OIDC-Claim-Sub",
        "OIDC_CLAIM_email",
        "OIDC_access_token",
        "Shib-Session-ID",
        "Mellon-NAME_ID",
        "Impersonate-User",
        "Impersonate-Group",
        "Impersonate-Uid",
        "impersonate_extra_scopes",
        "X-Forwarded-Client-Cert",
        "x_forwarded_client_cert",
        "X-Forwarded-Tls-Client-Cert",
        "X-Forwarded-Tls-Client-Cert-Info",
        "X-Amzn-Mtls-Clientcert-Subject",
        "X-ARR-ClientCert",
        "X-Client-Cert",
        "X-Client-Certificate",
        "X-Client-DN",
        "X-Client-Verify",
        "X-SSL-Cert",
        "X-SSL-Client-S-DN",
        "Ssl-Client-Verify",
        "SSL_CLIENT_CERT",
        "Client-Cert",
        "Client-Cert-Chain",
    ] {
        assert!(must_strip(name.as_bytes()), "{name}");
        assert!(!is_identity_header(name.as_bytes()), "{name}");
    }
}

#[test]
fn leaves_what_only_begins_like_a_name_of_another_gate() {
    for name in [
        "Referer",
        "Range",
        "Remote",
        "Remote-Addr",
        "Remote-Users",
        "X-Remote-Addr",
        "X-Auth-Request-Redirect",
        "X-Amzn-Trace-Id",
        "X-Goog-User-Project",
        "X-MS-Client-Request-Id",
        "Connection",
        "Content-Type",
        "CF-Connecting-IP",
        "Cf-Access-Jwt-Assertion",
        "TE",
        "Tailscale-App-Capabilities",
        "Tailscale-Users",
        "X-WebAuthn-Challenge",
        "X-Voucher-Code",
        "X-Consumers",
        "X-Authenticateduser",
        "X-Client-Certain",
        "X-SSL",
        "X-Client-Version",
        "Client-Certified",
        "SSL",
        "Sec-Fetch-Site",
        "Oidcs",
        "Shibboleth",
        "Mellons",
        "Impersonated-By",
        "X-Auth-Users",
        "X-JWT-Assertion",
        "Origin",
        "Max-Forwards",
        "If-Match",
    ] {
        assert!(!must_strip(name.as_bytes()), "{name}");
    }
}

#[test]
fn knows_a_second_place_in_every_spelling() {
    for name in [
        "Destination",
        "DESTINATION",
        "destination_",
        "Desti-nation",
        ".destination",
        "X-Amz-Copy-Source",
        "x_amz.copy_source",
        "X-Amz-Rename-Source",
        "X-Copy-From",
        "X-Copy-From-Account",
        "X-Goog-Copy-Source",
        "X-Ms-Copy-Source",
        "X-Ms-Rename-Source",
        "X-Object-Manifest",
        "X-Oss-Copy-Source",
        "X-Symlink-Target",
    ] {
        assert!(is_second_place(name.as_bytes()), "{name}");
        assert!(!must_strip(name.as_bytes()), "{name}");
    }
    for name in [
        "",
        "-",
        "Destinations",
        "Destinatio",
        "X-Destination",
        "Date",
        "X-Amz-Copy-Source-Range",
        "X-Amz-Date",
        "X-Copy",
    ] {
        assert!(!is_second_place(name.as_bytes()), "{name}");
    }
}

#[test]
fn reads_connection_options() {
    let options: Vec<_> = connection_options(" close,X-User-ID ,\tkeep-alive,, ").collect();
    assert_eq!(options, ["close", "X-User-ID", "keep-alive"]);
    assert_eq!(connection_options("").count(), 0);
    let options: Vec<_> = connection_options("bad name@, \"x\", x(y), ü, a\tb, ok").collect();
    assert_eq!(options, ["ok"]);
    for name in [
        "Connection",
        "KEEP-ALIVE",
        "te",
        "Transfer-Encoding",
        "Upgrade",
        "Proxy-Connection",
    ] {
        assert!(is_hop_by_hop(name), "{name}");
    }
    for name in [
        "Host",
        "Content-Length",
        "X-User-ID",
        "Authorization",
        "Transfer",
    ] {
        assert!(!is_hop_by_hop(name), "{name}");
    }
    for name in [
        "Host",
        "cookie",
        "AUTHORIZATION",
        "X-Forwarded-For",
        "x-forwarded-anything",
        "Content-Length",
        "X-Real-IP",
        "cf-connecting-ip",
        "CF-Ray",
        "True-Client-Ip",
        "-ip",
        "X-Azure-ClientIP",
    ] {
        assert!(!is_removable_by_connection(name), "{name}");
    }
    for name in [
        "X-User-ID",
        "X-Anything",
        "Keep-Alive",
        "x-forwarded",
        "é",
        "aaaaaaaaaaaé",
        "é-i",
        "ip",
        "cf",
        "X-IP-Hash",
    ] {
        assert!(is_removable_by_connection(name), "{name}");
    }
}

#[test]
fn writes_lists() {
    let table: &[(&[&str], &str)] = &[
        (&[], ""),
        (&[""], ""),
        (&["admin"], "admin"),
        (&["admin", "staff"], "admin,staff"),
        (&["", "admin", "", "staff", ""], "admin,staff"),
        (&["report:write", "a/b;c=d"], "report:write,a/b;c=d"),
        (&["a,b"], "a%2Cb"),
        (&["a b", "100%"], "a%20b,100%25"),
        (&["a\r\nX-Evil: 1"], "a%0D%0AX-Evil:%201"),
        (&["\0", "\t", "\u{7f}"], "%00,%09,%7F"),
        (&["\"q\"", "\\"], "%22q%22,%5C"),
        (&["é", "日"], "%C3%A9,%E6%97%A5"),
    ];
    for (values, expected) in table {
        let mut header = String::new();
        encode_list(*values, &mut header);
        assert_eq!(header, *expected);
    }
    let mut header = String::from("x=");
    encode_value("a b", &mut header);
    assert_eq!(header, "x=a%20b");
}

#[test]
fn reads_only_the_lists_it_writes() {
    for header in [
        ",",
        "a,",
        ",a",
        "a,,b",
        "a b",
        "a, b",
        "%",
        "%2",
        "%2c",
        "%zz",
        "%41",
        "a%2Cb%",
        "é",
        "\"a\"",
        "a\tb",
        "%FF",
        "%C3",
        "%ED%A0%80",
    ] {
        assert_eq!(decode_list(header), None, "{header:?}");
    }
    assert_eq!(decode_list(""), Some(Vec::new()));
    assert_eq!(decode_list("a%2Cb,c").unwrap(), ["a,b", "c"]);
}

#[test]
fn takes_the_token_from_exactly_one_place() {
    use Rejection::{TokenMalformed, TokenMissing};
    let table: &[(&[&str], Result<&str, Rejection>)] = &[
        (&[], Err(TokenMissing)),
        (&[""], Err(TokenMissing)),
        (&["   "], Err(TokenMissing)),
        (&["Bearer abc"], Ok("abc")),
        (&["bearer abc"], Ok("abc")),
        (&["BEARER abc"], Ok("abc")),
        (&["bEaReR   abc"], Ok("abc")),
        (&[" Bearer abc "], Ok("abc")),
        (&["Bearer a.b-c_d~e+f/g=="], Ok("a.b-c_d~e+f/g==")),
        (&["Bearer"], Err(TokenMalformed)),
        (&["Bearer "], Err(TokenMalformed)),
        (&["Bearer\tabc"], Err(TokenMalformed)),
        (&["Bearer \tabc"], Err(TokenMalformed)),
        (&["Bearer:abc"], Err(TokenMalformed)),
        (&["Bearer=abc"], Err(TokenMalformed)),
        (&["Bearer abc def"], Err(TokenMalformed)),
        (&["Bearer abc,def"], Err(TokenMalformed)),
        (&["Bearer abc, Bearer def"], Err(TokenMalformed)),
        (&["Bearer abc,Bearer abc"], Err(TokenMalformed)),
        (&["Bearer abc, Basic eDp5"], Err(TokenMalformed)),
        (&["Basic eDp5, Bearer abc"], Err(TokenMalformed)),
        (&["Bearer \"abc\""], Err(TokenMalformed)),
        (&["Bearer abc;x"], Err(TokenMalformed)),
        (&["Bearer ab\u{e9}c"], Err(TokenMalformed)),
        (&["Bearer abc\0"], Err(TokenMalformed)),
        (&["Bearer abc\r\nX: y"], Err(TokenMalformed)),
        (&["Bearer abc", "Bearer abc"], Err(TokenMalformed)),
        (&["Bearer abc", "Basic eDp5"], Err(TokenMalformed)),
        (&["Basic eDp5", "Bearer abc"], Err(TokenMalformed)),
        (&["", "Bearer abc"], Err(TokenMalformed)),
        (&["Basic eDp5"], Err(TokenMissing)),
        (&["Digest a=\"b\", c=\"d\""], Err(TokenMissing)),
        (&["DPoP abc"], Err(TokenMissing)),
        (&["abc"], Err(TokenMissing)),
        (&["Bearerabc"], Err(TokenMissing)),
        (&["Bearer-X abc"], Err(TokenMissing)),
        (&["é"], Err(TokenMissing)),
        (&["Bearé abc"], Err(TokenMissing)),
    ];
    for (values, expected) in table {
        assert_eq!(
            bearer_token(values.iter().copied()),
            *expected,
            "{values:?}"
        );
    }
}

#[test]
fn takes_the_token_from_fields_as_from_the_one_that_combines_them() {
    type Row = (&'static [&'static [u8]], Result<&'static str, Rejection>);
    use Rejection::{TokenMalformed, TokenMissing};
    let table: &[Row] = &[
        (&[], Err(TokenMissing)),
        (&[b""], Err(TokenMissing)),
        (&[b" Bearer  abc "], Ok("abc")),
        (&[b"Bearer"], Err(TokenMalformed)),
        (&[b"Bearer\tabc"], Err(TokenMalformed)),
        (&[b"Basic eDp5"], Err(TokenMissing)),
        // Bytes of no text: of a token, of a scheme.
        (&[b"Bearer a\xffc"], Err(TokenMalformed)),
        (&[b"Bearer abc\xff"], Err(TokenMalformed)),
        (&[b"Bearer\xffabc"], Err(TokenMalformed)),
        (&[b"\xff Bearer abc"], Err(TokenMissing)),
        (&[b"Bearer abc", b"Bearer abc"], Err(TokenMalformed)),
        (&[b"Bearer abc", b""], Err(TokenMalformed)),
        (&[b"", b"Bearer abc"], Err(TokenMalformed)),
        (&[b"Basic eDp5", b"Bearer abc"], Err(TokenMalformed)),
        (&[b"Basic eDp5", b"Basic eDp5"], Err(TokenMissing)),
        (&[b"", b""], Err(TokenMissing)),
    ];
    for (fields, expected) in table {
        let given = bearer_token_of(fields.iter().copied());
        assert_eq!(given, *expected, "{fields:?}");
        let combined = fields.join(&b", "[..]);
        if let Ok(combined) = std::str::from_utf8(&combined) {
            let combined = (!fields.is_empty()).then_some(combined);
            assert_eq!(bearer_token(combined), *expected, "{fields:?}");
        }
    }
}

#[test]
fn takes_a_cookie_strictly() {
    const MALFORMED: Result<Option<&str>, Rejection> = Err(Rejection::TokenMalformed);
    let table: &[(&str, Result<Option<&str>, Rejection>)] = &[
        ("", Ok(None)),
        ("at=abc", Ok(Some("abc"))),
        ("a=1; at=abc; b=2", Ok(Some("abc"))),
        ("a=1;at=abc;b=2", Ok(Some("abc"))),
        ("  at=abc  ", Ok(Some("abc"))),
        (";;at=abc;;", Ok(Some("abc"))),
        ("at=a=b==", Ok(Some("a=b=="))),
        ("at=\"abc\"", Ok(Some("\"abc\""))),
        ("at=", Ok(None)),
        ("at", Ok(None)),
        ("At=abc", Ok(None)),
        ("AT=abc; xat=1; atx=2", Ok(None)),
        ("a=at=abc", Ok(None)),
        ("=at=abc", Ok(None)),
        ("at=abc; at=abc", MALFORMED),
        ("at=abc; at=def", MALFORMED),
        ("at=; at=abc", MALFORMED),
        ("at=abc; x=1; at=", MALFORMED),
        ("at =abc", MALFORMED),
        ("at\t=abc", MALFORMED),
        ("at= abc", MALFORMED),
        ("at=a b", MALFORMED),
        ("at=a,b", MALFORMED),
        ("at=a\\b", MALFORMED),
        ("at=a\"b", MALFORMED),
        ("at=\"abc", MALFORMED),
        ("at=\"", MALFORMED),
        ("at=abc\"", MALFORMED),
        ("at=é", MALFORMED),
        ("at=a\u{0}", MALFORMED),
    ];
    for (header, expected) in table {
        assert_eq!(cookie_value(header, "at"), *expected, "{header:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn lists_survive_the_round_trip(values in proptest::collection::vec("(?s).{1,12}", 0..6)) {
        let mut header = String::new();
        encode_list(&values, &mut header);
        prop_assert!(header.bytes().all(|b| b.is_ascii_graphic()));
        prop_assert_eq!(header.matches(',').count(), values.len().saturating_sub(1));
        prop_assert_eq!(decode_list(&header), Some(values));
    }

    #[test]
    fn a_list_that_is_read_is_the_one_that_is_written(header in "[a%2CcF0-9,é\"]{0,12}") {
        if let Some(values) = decode_list(&header) {
            let mut again = String::new();
            encode_list(&values, &mut again);
            prop_assert_eq!(again, header);
        }
    }

    #[test]
    fn any_respelling_of_an_owned_name_is_owned(
        index in 0..OWNED.len(),
        noise in proptest::collection::vec(("[-_. ~é]{0,2}", any::<bool>()), 48),
    ) {
        let mut spelling = String::new();
        for (c, (separator, upper)) in OWNED[index].chars().filter(|c| *c != '-').zip(noise) {
            spelling.push_str(&separator);
            spelling.push(if upper { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() });
        }
        prop_assert!(must_strip(spelling.as_bytes()), "{}", spelling);
    }

    #[test]
    fn answers_for_any_text(text in "(?s).{0,60}", bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let _ = must_strip(&bytes);
        let _ = is_removable_by_connection(&text);
        if let Ok(token) = bearer_token([text.as_str()]) {
            prop_assert!(!token.is_empty() && token.is_ascii());
        }
        let fields: Vec<&[u8]> = bytes.split(|byte| *byte == 0).collect();
        if let Ok(token) = bearer_token_of(fields.iter().copied()) {
            prop_assert_eq!(fields.len(), 1);
            prop_assert!(!token.is_empty() && token.is_ascii());
        }
        if let Ok(Some(value)) = cookie_value(&text, "a") {
            prop_assert!(!value.is_empty() && value.is_ascii());
        }
    }
}

#[test]
fn takes_one_token_from_the_subprotocols_and_leaves_the_others() {
    use Rejection::{TokenMalformed, TokenMissing};
    for (protocols, token, others) in [
        ("edgekeep.bearer.a.b.c", Ok("a.b.c"), None),
        ("chat, edgekeep.bearer.a.b.c", Ok("a.b.c"), Some("chat")),
        (
            " edgekeep.bearer.a-_.b ,chat,\tv2.chat ,",
            Ok("a-_.b"),
            Some("chat, v2.chat"),
        ),
        ("", Err(TokenMissing), None),
        (" , ,", Err(TokenMissing), None),
        ("chat", Err(TokenMissing), Some("chat")),
        (
            "edgekeep.bearer",
            Err(TokenMissing),
            Some("edgekeep.bearer"),
        ),
        (
            "xedgekeep.bearer.a",
            Err(TokenMissing),
            Some("xedgekeep.bearer.a"),
        ),
        ("edgekeep.bearer.", Err(TokenMalformed), None),
        ("edgekeep.bearer. a", Err(TokenMalformed), None),
        (
            "edgekeep.bearer.a b, chat",
            Err(TokenMalformed),
            Some("chat"),
        ),
        ("edgekeep.bearer.a\"", Err(TokenMalformed), None),
        ("edgekeep.bearer.\u{e4}", Err(TokenMalformed), None),
        ("Edgekeep.Bearer.a.b.c", Err(TokenMalformed), None),
        (
            "edgekeep.bearer.a, chat, edgekeep.bearer.a",
            Err(TokenMalformed),
            Some("chat"),
        ),
        (
            "edgekeep.bearer.a, EDGEKEEP.BEARER.b",
            Err(TokenMalformed),
            None,
        ),
    ] {
        assert_eq!(websocket_token(protocols), token, "{protocols:?}");
        let left = without_websocket_token(protocols);
        assert_eq!(left.as_deref(), others, "{protocols:?}");
    }
}

proptest! {
    #[test]
    fn no_subprotocols_let_a_token_through(protocols in "[ ,a-zA-Z.\u{e4}-]{0,40}|.{0,20}(, ?[eE]dgekeep[.]bearer[.].{0,9}){1,3}") {
        let _ = websocket_token(&protocols);
        if let Some(left) = without_websocket_token(&protocols) {
            prop_assert_eq!(websocket_token(&left), Err(Rejection::TokenMissing));
        }
    }
}

#[test]
fn leaves_one_cookie_out() {
    for (cookies, left) in [
        ("at=x", None),
        ("", None),
        (";; at=x ;", None),
        ("a=1; at=x; b=2", Some("a=1; b=2")),
        ("at=x; at=y;a=1", Some("a=1")),
        ("at =x; a=1", Some("a=1")),
        ("at; a", Some("a")),
        ("AT=x; bat=y; at2=z", Some("AT=x; bat=y; at2=z")),
        ("a=at=x", Some("a=at=x")),
        ("a=1;\tat=x", Some("a=1")),
    ] {
        assert_eq!(without_cookie(cookies, "at").as_deref(), left, "{cookies}");
    }
}
