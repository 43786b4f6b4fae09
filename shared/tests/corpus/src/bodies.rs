//! JSON whose structure makes two readers disagree or one fail: duplicate members, depth, width,
//! size, and what is no object (RFC 7515 §4, RFC 7519 §4, RFC 8259; RUSTSEC-2024-0012).

use crate::keys::{Key, encode};
use crate::members::{Members, text};
use crate::scene::Corpus;

const MALFORMED: &str = "token_malformed";

/// The largest token that is looked at.
const LARGEST: usize = 8 * 1024;

/// Levels that are followed, the outermost object among them.
const DEEPEST: usize = 16;

/// Members that an object may have.
const WIDEST: usize = 128;

pub(crate) fn add(corpus: &mut Corpus<'_>) {
    let keys = corpus.keys;
    for key in &keys.three {
        add_duplicates(corpus, key);
        add_sizes(corpus, key);
    }
    add_depth_and_width(corpus);
    add_no_objects(corpus);
}

fn add_duplicates(corpus: &mut Corpus<'_>, key: &Key) {
    let why = "which of two members counts is a guess: names are unique (RFC 7515 §4, RFC 7519 §4)";
    let own = text(key.algorithm());
    let header = key.header();
    for (name, header) in [
        ("alg-first", header.clone().after("alg", r#""none""#)),
        ("alg-last", header.clone().and("alg", r#""none""#)),
        ("alg-the-same", header.clone().and("alg", own.clone())),
        ("alg-escaped", header.clone().and(r"\u0061lg", own)),
        ("typ", header.clone().after("typ", r#""JWT""#)),
        ("kid", header.clone().after("kid", r#""stranger""#)),
        ("unknown", header.clone().and("x", "1").and("x", "1")),
        ("nested", header.and("x", r#"{"a":1,"a":2}"#)),
    ] {
        corpus.refuse(
            format!("structure/header-twice-{name}-by-{}", key.kid),
            MALFORMED,
            why,
            key.token(&header, &corpus.claims()),
        );
    }
    let claims = corpus.claims();
    for (name, claims) in [
        ("exp-first", claims.clone().after("exp", "1")),
        ("exp-last", claims.clone().and("exp", "99999999999")),
        ("sub-first", claims.clone().after("sub", r#""admin""#)),
        ("sub-last", claims.clone().and("sub", r#""admin""#)),
        ("sub-escaped", claims.clone().and(r"s\u0075b", r#""admin""#)),
        ("aud", claims.clone().and("aud", r#"["other"]"#)),
        (
            "iss",
            claims.clone().and("iss", r#""https://evil.example""#),
        ),
        ("roles", claims.clone().and("roles", r#"["admin"]"#)),
        ("unknown", claims.clone().and("x", "1").and("x", "2")),
        (
            "prototype",
            claims.clone().and("__proto__", "1").and("__proto__", "2"),
        ),
        ("nested", claims.clone().and("x", r#"{"a":{"b":1,"b":1}}"#)),
        ("in-array", claims.and("x", r#"[{"a":1,"a":1}]"#)),
    ] {
        corpus.refuse(
            format!("structure/claim-twice-{name}-by-{}", key.kid),
            MALFORMED,
            why,
            key.token(&key.header(), &claims),
        );
    }
}

fn add_sizes(corpus: &mut Corpus<'_>, key: &Key) {
    for (name, length) in [
        ("a-kibibyte-too-many", LARGEST + 1024),
        ("64-kib", 64 << 10),
        ("1-mib", 1 << 20),
    ] {
        let claims = corpus.claims().and("x", text(&"x".repeat(length)));
        corpus.refuse(
            format!("structure/claim-of-{name}-by-{}", key.kid),
            "token_too_large",
            "more than 8 KiB, which proxies do not let through: refused unread",
            key.token(&key.header(), &claims),
        );
    }
    let signature = key.sign(b"").len();
    let header = |pad| key.header().and("x", text(&"x".repeat(pad))).json();
    let claims = |fill| corpus.claims().and("x", text(&"x".repeat(fill))).json();
    let shortest = claims(0).len();
    let exactly = |length: usize| {
        // One letter in the header moves the length where the payload's cannot end.
        (0..4)
            .flat_map(|pad| (4_500..6_200).map(move |fill| (pad, fill)))
            .find_map(|(pad, fill)| {
                let total = [header(pad).len(), shortest + fill, signature]
                    .map(|bytes| (bytes * 4).div_ceil(3))
                    .iter()
                    .sum::<usize>();
                (total + 2 == length).then(|| key.raw(header(pad), claims(fill)))
            })
            .unwrap()
    };
    let (largest, beyond) = (exactly(LARGEST), exactly(LARGEST + 1));
    corpus.accept(
        format!("structure/8192-bytes-by-{}", key.kid),
        "as long as a token may be",
        largest,
    );
    corpus.refuse(
        format!("structure/8193-bytes-by-{}", key.kid),
        "token_too_large",
        "one byte more than a token may have",
        beyond,
    );
}

fn nested(open: &str, close: &str, depth: usize) -> String {
    format!("{}{}{}", open.repeat(depth), "1", close.repeat(depth))
}

fn add_depth_and_width(corpus: &mut Corpus<'_>) {
    let key = corpus.keys.eddsa();
    let deep = |open: &str, close: &str, depth: usize| {
        corpus.claims().and("x", nested(open, close, depth))
    };
    let (array, object) = (("[", "]"), (r#"{"a":"#, "}"));
    let follows = deep(array.0, array.1, DEEPEST - 1);
    let cases = [
        ("arrays-16-deep", follows, None),
        (
            "objects-16-deep",
            deep(object.0, object.1, DEEPEST - 1),
            None,
        ),
        (
            "arrays-17-deep",
            deep(array.0, array.1, DEEPEST),
            Some(MALFORMED),
        ),
        (
            "objects-17-deep",
            deep(object.0, object.1, DEEPEST),
            Some(MALFORMED),
        ),
        (
            "arrays-2000-deep",
            deep(array.0, array.1, 2_000),
            Some(MALFORMED),
        ),
        (
            "objects-700-deep",
            deep(object.0, object.1, 700),
            Some(MALFORMED),
        ),
        (
            "arrays-10000-deep",
            deep(array.0, array.1, 10_000),
            Some("token_too_large"),
        ),
        (
            "objects-10000-deep",
            deep(object.0, object.1, 10_000),
            Some("token_too_large"),
        ),
        (
            "arrays-never-closed",
            corpus.claims().and("x", "[".repeat(4_000)),
            Some(MALFORMED),
        ),
    ];
    let why = "nesting is followed to 16 levels: a worker's stack is small (RUSTSEC-2024-0012)";
    for (name, claims, code) in cases {
        let token = key.token(&key.header(), &claims);
        match code {
            None => corpus.accept(format!("structure/{name}"), why, token),
            Some(code) => corpus.refuse(format!("structure/{name}"), code, why, token),
        }
    }
    let header = key.header().and("x", nested("[", "]", DEEPEST));
    corpus.refuse(
        "structure/header-17-deep",
        MALFORMED,
        why,
        key.token(&header, &corpus.claims()),
    );
    let wide = |members: Members, width: usize| {
        let has = members.json().matches("\":").count();
        (has..width).fold(members, |all, index| all.and(&format!("x{index}"), "0"))
    };
    let why = "an object has at most 128 members: comparing their names is work";
    corpus.accept(
        "structure/128-members",
        why,
        key.token(&key.header(), &wide(corpus.claims(), WIDEST)),
    );
    corpus.refuse(
        "structure/129-members",
        MALFORMED,
        why,
        key.token(&key.header(), &wide(corpus.claims(), WIDEST + 1)),
    );
    corpus.refuse(
        "structure/header-of-129-members",
        MALFORMED,
        why,
        key.token(&wide(key.header(), WIDEST + 1), &corpus.claims()),
    );
}

/// What stands where an object has to.
fn add_no_objects(corpus: &mut Corpus<'_>) {
    let why = "one JSON object and nothing else (RFC 7515 §4, RFC 7519 §7.2)";
    for part in 0..2 {
        let key = corpus.keys.es256();
        let (header, payload) = (key.header().json(), corpus.claims().json());
        let whole = if part == 0 { &header } else { &payload };
        let open = &whole[..whole.len() - 1];
        for (name, json) in [
            ("empty", String::new()),
            ("space", " ".to_owned()),
            ("array", format!("[{whole}]")),
            ("text", text(whole)),
            ("number", "1".to_owned()),
            ("null", "null".to_owned()),
            ("true", "true".to_owned()),
            ("two", format!("{whole}{whole}")),
            ("two-with-comma", format!("{whole},{whole}")),
            ("two-lines", format!("{whole}\n{whole}")),
            ("garbage-behind", format!("{whole}x")),
            ("garbage-before", format!("x{whole}")),
            ("not-closed", open.to_owned()),
            ("comma-too-many", format!("{open},}}")),
            ("comment", format!("/* */{whole}")),
            ("line-comment", format!("{whole}// x")),
            ("single-quotes", whole.replace('"', "'")),
            (
                "names-without-quotes",
                whole.replace("\"alg\"", "alg").replace("\"iss\"", "iss"),
            ),
            ("hexadecimal", format!("{open},\"x\":0x10}}")),
            ("nan", format!("{open},\"x\":NaN}}")),
            ("number-too-large", format!("{open},\"x\":1e400}}")),
            ("unknown-escape", format!("{open},\"x\":\"\\x41\"}}")),
            ("line-break-in-text", format!("{open},\"x\":\"a\nb\"}}")),
            ("vertical-tab", format!("\u{b}{whole}")),
            ("no-break-space", format!("\u{a0}{whole}")),
            ("prefix-against-scripts", format!(")]}}'\n{whole}")),
        ] {
            let (part, token) = if part == 0 {
                ("header", key.compact(&encode(json), &encode(&payload)))
            } else {
                ("payload", key.compact(&encode(&header), &encode(json)))
            };
            corpus.refuse(format!("structure/{part}-{name}"), MALFORMED, why, token);
        }
    }
    let key = corpus.keys.rs256();
    let nested = corpus.good(key);
    let header = key.header().with("cty", text("JWT"));
    corpus.refuse(
        "structure/token-in-token",
        MALFORMED,
        "a nested JWT is no JSON object (RFC 7519 §5.2)",
        key.raw(header.json(), nested),
    );
    let header = key.header().with("zip", text("DEF")).json();
    let deflated = b"\xab\x56\x4a\x4c\xc9\xcd\xcc\x53\xb2\x2a\x29\x2a\x4d\xad\x05\x00";
    corpus.refuse(
        "structure/deflated",
        MALFORMED,
        "`zip` is of JWE: nothing is unpacked (RFC 7516 §4.1.3, CVE-2024-28176)",
        key.raw(header, deflated),
    );
}
