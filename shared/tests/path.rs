//! Every known way of spelling a path so that two parsers disagree, with the exact outcome.

#![expect(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::fmt::Write as _;

use edgekeep_shared::error::Rejection;
use edgekeep_shared::path::{MAX_PATH_BYTES, MAX_PATH_SEGMENTS, canonicalise};
use proptest::prelude::*;
use unicode_normalization::UnicodeNormalization as _;

/// Canonical already: accepted and borrowed.
const CANONICAL: &[&str] = &[
    "/",
    "/a",
    "/a/",
    "/api/admin",
    "/api/admin/",
    "/API/Admin",
    "/api/me.css",
    "/.well-known/jwks.json",
    "/.hidden/x",
    "/a..b",
    "/..a",
    "/.a/..b/...c",
    "/a-b_c~d",
    "/v1/things:cancel",
    "/@me",
    "/a:b@c",
    "/a!b$c&d'e(f)g*h+i,j=k",
    "/*",
    "/**",
    "/a::b",
    "/a:b$",
    "/users/123e4567-e89b-12d3-a456-426614174000",
    "/caf%C3%A9",
    "/%E4%BD%A0%E5%A5%BD",
    "/a%20b",
    "/%20a",
    "/%22%3C%3E%5B%5D%5E%60%7B%7C%7D",
    "/100%25",
    "/100%25/x",
    "/%25",
    "/50%25off",
    "/%25zz",
    "/%254/1",
    "/%F0%9F%98%80",
];

/// Accepted in another spelling.
const REWRITTEN: &[(&str, &str)] = &[
    // Characters that need no escape are literal.
    ("/%41", "/A"),
    ("/%61pi/%61dmin", "/api/admin"),
    ("/%7Euser", "/~user"),
    ("/%7euser", "/~user"),
    ("/a%2Db%5Fc", "/a-b_c"),
    ("/%40me", "/@me"),
    ("/a%3Ab", "/a:b"),
    ("/a%21%24%26%27%28%29%2A%2B%2C%3D", "/a!$&'()*+,="),
    ("/%30%39", "/09"),
    ("/a%2Eb", "/a.b"),
    ("/%2ehidden", "/.hidden"),
    ("/api/%61%64%6d%69%6e/users", "/api/admin/users"),
    // Escapes that stay are upper case.
    ("/caf%c3%a9", "/caf%C3%A9"),
    ("/%e4%bd%a0", "/%E4%BD%A0"),
    ("/%5b%5d", "/%5B%5D"),
    ("/100%25%2d", "/100%25-"),
    // What a request line may not hold literally, but some clients send.
    ("/[0]", "/%5B0%5D"),
    ("/{id}", "/%7Bid%7D"),
    ("/a|b", "/a%7Cb"),
    ("/a^b", "/a%5Eb"),
    ("/a`b", "/a%60b"),
    ("/\"a\"", "/%22a%22"),
    ("/<a>", "/%3Ca%3E"),
    ("/café", "/caf%C3%A9"),
    ("/你好", "/%E4%BD%A0%E5%A5%BD"),
    ("/😀", "/%F0%9F%98%80"),
    // Repeated slashes are one.
    ("//", "/"),
    ("///", "/"),
    ("//admin", "/admin"),
    ("///admin", "/admin"),
    ("/api//admin", "/api/admin"),
    ("/api///admin", "/api/admin"),
    ("/api/admin//", "/api/admin/"),
    ("//evil.example/x", "/evil.example/x"),
    ("/http://evil.example/x", "/http:/evil.example/x"),
    ("//%61dmin", "/admin"),
];

/// Refused.
const REFUSED: &[&str] = &[
    // Not a path of an origin-form target.
    "",
    "*",
    "a",
    "api/admin",
    "http://host/api/admin",
    "\\api\\admin",
    "%2Fapi",
    " /api",
    // Dot segments.
    "/.",
    "/..",
    "/./",
    "/../",
    "/./a",
    "/../a",
    "/a/.",
    "/a/..",
    "/a/./b",
    "/a/../b",
    "/public/../api/admin",
    "/public/.././api/admin",
    "//../a",
    "/a//../b",
    "/%2e",
    "/%2E",
    "/%2e%2e",
    "/%2E%2e",
    "/.%2e",
    "/%2e.",
    "/public/%2e%2e/api/admin",
    "/public/.%2E/api/admin",
    "/public/%2E./api/admin",
    "/a/%2e/b",
    // Encoded slash.
    "/api%2fadmin",
    "/api%2Fadmin",
    "/public%2f..%2fapi/admin",
    "/%2f",
    "/%2F/admin",
    "/..%2fadmin",
    // Backslash.
    "/\\admin",
    "/api\\admin",
    "/public\\..\\api",
    "/api%5cadmin",
    "/api%5Cadmin",
    "/..%5cadmin",
    "/%5c%5cevil",
    // NUL and control characters.
    "/api/admin%00",
    "/api/admin%00.css",
    "/%00",
    "/a\0b",
    "/a%01",
    "/a%09b",
    "/a\tb",
    "/a%0a",
    "/a%0d%0aX-User-ID:%201",
    "/a\r\nb",
    "/a\nb",
    "/a%1fb",
    "/a%7f",
    "/a\x7fb",
    "/a%C2%80b",
    "/a%c2%85b",
    "/a%C2%9Fb",
    "/a\u{85}b",
    // Encoded twice.
    "/%252e%252e/admin",
    "/%252e",
    "/%25%32%65",
    "/%25%32e",
    "/%252e%32",
    "/api%252fadmin",
    "/%255c",
    "/%2500",
    "/%25252e",
    "/%253b",
    "/%25u002e",
    "/%25U002f",
    "/%2541",
    "/a%25ffb",
    // Escapes that are none.
    "/%",
    "/a%",
    "/a%2",
    "/%zz",
    "/%2g",
    "/%g2",
    "/%u002e",
    "/%U002E",
    "/% 41",
    "/%+1",
    "/%-1",
    "/%0x41",
    "/%%41",
    "/%%32%65",
    "/a%/b",
    "/a%2/b",
    // Path parameters.
    "/api;x",
    "/api;x=1/admin",
    "/;/admin",
    "/..;/admin",
    "/api/admin;",
    "/api/admin%3b",
    "/api/admin%3B.css",
    "/api/..%3b/admin",
    // Delimiters of what follows a path.
    "/a?b",
    "/a#b",
    "/api/admin%3f",
    "/api/admin%3Fx",
    "/api/admin%3f/../../public",
    "/api/admin%23",
    "/api/admin%23x",
    // Spaces.
    "/a b",
    "/a ",
    "/ a",
    "/ ",
    // Endings that Windows strips, and its streams.
    "/api/admin.",
    "/api/admin..",
    "/api/admin./users",
    "/api../admin",
    "/...",
    "/..../a",
    "/a/.../b",
    "/api/admin%2e",
    "/api/admin%20",
    "/api/admin%20/users",
    "/api/admin.%20",
    "/api/admin%20.",
    "/%20",
    "/api/..%20/admin",
    "/web.config::$DATA",
    "/api/admin::$INDEX_ALLOCATION/x",
    "/web.config%3a%3a%24DATA",
    // Not UTF-8 once decoded.
    "/%80",
    "/%ff",
    "/%FE%FF",
    "/%c0%ae%c0%ae/admin",
    "/%c0%af",
    "/%C1%9C",
    "/%e0%80%ae",
    "/%e0%80%af",
    "/%f0%80%80%af",
    "/%ed%a0%80",
    "/%ed%b0%80",
    "/%ED%A0%BD%ED%B8%80",
    "/%f4%90%80%80",
    "/%f8%80%80%80%ae",
    "/%c3",
    "/%c3/%a9",
    "/%e4%bd",
    "/a%a0b",
    // Characters that become ASCII, or vanish, where somebody normalises.
    "/%EF%BC%8E%EF%BC%8E/admin",
    "/．．/admin",
    "/api／admin",
    "/api%ef%bc%8fadmin",
    "/api＼admin",
    "/api；x",
    "/api％2fadmin",
    "/api/admin？x",
    "/api/admin＃x",
    "/ａｄｍｉｎ",
    "/%EF%BD%81dmin",
    "/\u{2024}\u{2024}/admin",
    "/\u{2025}/admin",
    "/\u{2026}",
    "/a\u{37e}x",
    "/a\u{fe14}x",
    "/a\u{fe52}",
    "/a\u{fe68}b",
    "/a\u{fe6a}b",
    "/a\u{2044}b",
    "/a\u{2215}b",
    "/a\u{2216}b",
    "/a\u{29f8}b",
    "/api¥admin",
    "/api₩admin",
    "/℀",
    "/\u{212a}ey",
    "/u\u{17f}er",
    "/ⓐdmin",
    "/𝒶dmin",
    "/admi\u{207f}",
    "/admin\u{a0}",
    "/admin%C2%A0",
    "/admin\u{3000}",
    "/admin%E3%80%80x",
    "/a\u{200b}dmin",
    "/a%E2%80%8Bdmin",
    "/a\u{200d}b",
    "/\u{feff}admin",
    "/%EF%BB%BFadmin",
    "/a\u{202e}b",
    "/a\u{2066}b",
    "/a\u{2028}b",
    "/a\u{2029}b",
    "/a\u{ad}b",
    "/a\u{fe0f}b",
    "/a\u{e0041}b",
    "/a\u{115f}b",
    "/a\u{2060}b",
];

/// Letters by Unicode's reckoning that are not to be seen: Hangul fillers.
const IGNORABLE_LETTERS: &[char] = &['\u{115f}', '\u{1160}', '\u{3164}', '\u{ffa0}'];

fn canonical(raw: &[u8]) -> Result<String, Rejection> {
    canonicalise(raw).map(|path| path.as_str().to_owned())
}

#[test]
fn borrows_a_path_that_is_canonical() {
    for raw in CANONICAL {
        let path = canonicalise(*raw).unwrap_or_else(|_| panic!("{raw:?} is refused"));
        assert_eq!(path.as_str(), *raw);
        assert!(path.is_borrowed(), "{raw:?}");
    }
}

#[test]
fn rewrites_to_the_one_spelling() {
    for (raw, expected) in REWRITTEN {
        assert_eq!(
            canonical(raw.as_bytes()).as_deref(),
            Ok(*expected),
            "{raw:?}"
        );
        assert!(!canonicalise(*raw).unwrap().is_borrowed());
    }
}

#[test]
fn refuses_what_somebody_reads_differently() {
    for raw in REFUSED {
        assert_eq!(
            canonical(raw.as_bytes()),
            Err(Rejection::PathInvalid),
            "{raw:?}"
        );
    }
    assert!(CANONICAL.len() + REWRITTEN.len() + REFUSED.len() >= 200);
}

#[test]
fn refuses_raw_bytes_that_are_not_utf8() {
    for raw in [
        &b"/\x80"[..],
        b"/\xff",
        b"/\xc0\xae",
        b"/\xed\xa0\x80",
        b"/\xe9",
        b"/\xc3%A9\xc3",
        b"/\xf4\x90\x80\x80",
    ] {
        assert_eq!(canonical(raw), Err(Rejection::PathInvalid), "{raw:?}");
    }
    // Half of a character raw and half escaped is still the character.
    assert_eq!(canonical(b"/caf\xc3%a9").as_deref(), Ok("/caf%C3%A9"));
}

#[test]
fn refuses_every_control_character_in_every_spelling() {
    for code in (0..0x20_u32).chain(0x7f..0xa0) {
        let c = char::from_u32(code).unwrap();
        let mut bytes = [0; 4];
        let mut escaped = String::new();
        for byte in c.encode_utf8(&mut bytes).bytes() {
            write!(escaped, "%{byte:02x}").unwrap();
        }
        for raw in [
            format!("/a{c}b"),
            format!("/a{escaped}b"),
            format!("/a{escaped}"),
        ] {
            assert_eq!(
                canonical(raw.as_bytes()),
                Err(Rejection::PathInvalid),
                "{raw:?}"
            );
        }
    }
}

#[test]
fn holds_its_limits_exactly() {
    let longest = format!("/{}", "a".repeat(MAX_PATH_BYTES - 1));
    assert_eq!(canonical(longest.as_bytes()).unwrap().len(), MAX_PATH_BYTES);
    assert!(canonical(format!("{longest}a").as_bytes()).is_err());
    // A literal "é" becomes six characters: the canonical form has the same limit.
    let grown = format!("/{}", "é".repeat((MAX_PATH_BYTES - 1) / 6));
    assert!(canonical(grown.as_bytes()).unwrap().len() <= MAX_PATH_BYTES);
    assert!(canonical(format!("{grown}éé").as_bytes()).is_err());

    let deepest = "/a".repeat(MAX_PATH_SEGMENTS);
    assert!(canonicalise(&deepest).unwrap().is_borrowed());
    assert_eq!(
        canonicalise(&deepest).unwrap().segments().count(),
        MAX_PATH_SEGMENTS
    );
    assert!(canonical(format!("{deepest}/").as_bytes()).is_ok());
    assert!(canonical(format!("{deepest}/a").as_bytes()).is_err());
    assert!(canonical(format!("{deepest}/%61").as_bytes()).is_err());
    // Empty segments do not count.
    assert_eq!(
        canonical("/".repeat(MAX_PATH_BYTES).as_bytes()).as_deref(),
        Ok("/")
    );
}

#[test]
fn refuses_what_unicode_says_becomes_ascii() {
    for c in ('\u{80}'..=char::MAX).filter(|c| !c.is_control()) {
        let becomes_ascii = c.nfkc().any(|n| n.is_ascii());
        let refused = canonicalise(&format!("/{c}x")).is_err();
        assert!(
            refused || !becomes_ascii,
            "U+{:04X} must be refused",
            u32::from(c)
        );
        // The table has nothing else: no letter of any script is refused for another reason.
        let ordinary = c.is_alphabetic() && !becomes_ascii && !IGNORABLE_LETTERS.contains(&c);
        assert!(
            !refused || !ordinary,
            "U+{:04X} must be accepted",
            u32::from(c)
        );
    }
}

#[test]
fn accepts_ordinary_letters_of_every_script() {
    for text in [
        "ñandú",
        "Straße",
        "Ελλάδα",
        "Москва",
        "שלום",
        "مرحبا",
        "हिन्दी",
        "ไทย",
        "한국어",
        "日本語",
        "カタカナ",
    ] {
        assert!(canonicalise(&format!("/{text}")).is_ok(), "{text}");
    }
}

/// A path put together from the pieces that attacks are made of.
fn hostile_path() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"/".to_vec()),
        Just(b".".to_vec()),
        Just(b"%2e".to_vec()),
        Just(b"%2F".to_vec()),
        Just(b"%25".to_vec()),
        Just(b"%".to_vec()),
        Just(b";".to_vec()),
        Just(b"\\".to_vec()),
        Just(b"%20".to_vec()),
        Just(b"::$".to_vec()),
        Just(b"%C3".to_vec()),
        Just(b"%a9".to_vec()),
        Just("é".as_bytes().to_vec()),
        Just("／".as_bytes().to_vec()),
        "[a-zA-Z0-9]{1,3}".prop_map(String::into_bytes),
        "%[0-9a-fA-F]{2}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 1..3),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| {
        let mut path = b"/".to_vec();
        path.extend(pieces.concat());
        path
    })
}

/// Escapes every byte of the segments of a canonical path.
fn fully_escaped(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut escaped = String::new();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'/' {
            escaped.push('/');
        } else if bytes[at] == b'%' {
            escaped.push_str(&path[at..at + 3].to_lowercase());
            at += 2;
        } else {
            write!(escaped, "%{:02x}", bytes[at]).unwrap();
        }
        at += 1;
    }
    escaped
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn has_one_form_for_whatever_it_accepts(raw in hostile_path()) {
        if let Ok(path) = canonicalise(&raw) {
            let text = path.as_str();
            prop_assert!(text.starts_with('/') && !text.contains("//"));
            prop_assert!(text.bytes().all(|b| b.is_ascii_graphic()));
            prop_assert!(!text.contains([';', '\\', '?', '#']));
            prop_assert!(path.segments().all(|s| !s.ends_with('.') && !s.ends_with("%20")));
            let again = canonicalise(text).unwrap();
            prop_assert!(again.is_borrowed());
            prop_assert_eq!(again.as_str(), text);
            // However it is spelled, it is the same path.
            let respelled = fully_escaped(text);
            prop_assume!(respelled.len() <= MAX_PATH_BYTES);
            let read = canonicalise(&respelled).unwrap();
            prop_assert_eq!(read.as_str(), text);
        }
    }

    #[test]
    fn answers_for_any_bytes(raw in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = canonicalise(&raw);
        let rooted = [b"/", &raw[..]].concat();
        let _ = canonicalise(&rooted);
    }
}
