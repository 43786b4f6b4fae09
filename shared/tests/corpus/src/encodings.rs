//! One token has one spelling: three parts of canonical base64url, of UTF-8 JSON, and not a
//! character more (RFC 7515 §2, §3.1, RFC 4648 §3.5, RFC 8725 §3.7, RFC 7519 §7.2).

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};

use crate::keys::{Key, encode};
use crate::members::text;
use crate::scene::Corpus;

const MALFORMED: &str = "token_malformed";

const LETTERS: &str = "base64url without padding, white space or other letters (RFC 7515 §2)";

const TAIL: &str =
    "the bits behind the last byte are zero, or a token has several spellings (RFC 4648 §3.5)";

/// The letters of base64url, by value.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

pub(crate) fn add(corpus: &mut Corpus<'_>) {
    let keys = corpus.keys;
    for key in &keys.three {
        add_parts(corpus, key);
        add_spellings(corpus, key);
        add_tails(corpus, key);
        add_signature_spellings(corpus, key);
        add_before_meaning(corpus, key);
    }
    add_wrappings(corpus);
    add_inserted(corpus);
    add_texts(corpus);
}

/// Too few parts and too many.
fn add_parts(corpus: &mut Corpus<'_>, key: &Key) {
    let good = corpus.good(key);
    let parts: Vec<&str> = good.split('.').collect();
    let [header, payload, signature] = parts[..] else {
        unreachable!("a token has three parts")
    };
    let why = "exactly three parts (RFC 7515 §3.1); five are a JWE (RFC 7516 §3.1)";
    for (name, token) in [
        ("one", header.to_owned()),
        ("two", format!("{header}.{payload}")),
        ("four", format!("{good}.{signature}")),
        (
            "five",
            format!("{header}.{signature}.{payload}.{payload}.{signature}"),
        ),
        ("dot-behind", format!("{good}.")),
        ("dot-before", format!(".{good}")),
        ("two-dots", format!("{header}..{payload}.{signature}")),
        ("without-header", format!(".{payload}.{signature}")),
        ("without-payload", key.compact(header, "")),
        ("payload-first", format!("{payload}.{header}.{signature}")),
        ("signature-first", format!("{signature}.{header}.{payload}")),
        (
            "encoded-dots",
            format!("{header}%2E{payload}%2E{signature}"),
        ),
        (
            "other-dots",
            format!("{header}\u{ff0e}{payload}\u{ff0e}{signature}"),
        ),
    ] {
        corpus.refuse(
            format!("encoding/parts-{name}-by-{}", key.kid),
            MALFORMED,
            why,
            token,
        );
    }
}

/// Other spellings of the same bytes, each under a signature that covers the spelling.
fn add_spellings(corpus: &mut Corpus<'_>, key: &Key) {
    let (header, payload) = with_tails(corpus, key);
    let (plain_header, plain_payload) = (encode(&header), encode(&payload));
    for (name, header, payload) in [
        (
            "header-padded",
            URL_SAFE.encode(&header),
            plain_payload.clone(),
        ),
        (
            "payload-padded",
            plain_header.clone(),
            URL_SAFE.encode(&payload),
        ),
        (
            "header-standard",
            STANDARD_NO_PAD.encode(&header),
            plain_payload.clone(),
        ),
        (
            "payload-standard",
            plain_header.clone(),
            STANDARD.encode(&payload),
        ),
        (
            "header-space",
            format!("{plain_header} "),
            plain_payload.clone(),
        ),
        (
            "payload-space",
            plain_header.clone(),
            spaced(&plain_payload, " "),
        ),
        (
            "payload-newline",
            plain_header.clone(),
            spaced(&plain_payload, "\n"),
        ),
        (
            "payload-carriage-return",
            plain_header.clone(),
            spaced(&plain_payload, "\r\n"),
        ),
        (
            "payload-tab",
            plain_header.clone(),
            spaced(&plain_payload, "\t"),
        ),
        (
            "payload-nul",
            plain_header.clone(),
            spaced(&plain_payload, "\0"),
        ),
        (
            "payload-equals-inside",
            plain_header.clone(),
            spaced(&plain_payload, "="),
        ),
        (
            "payload-letter-too-many",
            plain_header.clone(),
            odd_length(&plain_payload),
        ),
        ("payload-hex", plain_header.clone(), "7b7d~".to_owned()),
        ("payload-plain", plain_header.clone(), "{}".to_owned()),
        (
            "header-plain",
            "{\"alg\":\"none\"}".to_owned(),
            plain_payload.clone(),
        ),
    ] {
        let token = key.compact(&header, &payload);
        corpus.refuse(
            format!("encoding/{name}-by-{}", key.kid),
            MALFORMED,
            LETTERS,
            token,
        );
    }
}

/// A header and claims whose standard spelling differs from base64url's, and whose length leaves a
/// tail.
fn with_tails(corpus: &Corpus<'_>, key: &Key) -> (String, String) {
    let mut header = key.header().with("x", text("???>>>")).json();
    let mut payload = corpus.claims().with("x", text("???>>>~~~")).json();
    for json in [&mut header, &mut payload] {
        while json.len().is_multiple_of(3) {
            json.push(' ');
        }
    }
    (header, payload)
}

/// The same bytes with bits behind the last one.
fn add_tails(corpus: &mut Corpus<'_>, key: &Key) {
    let (header, payload) = with_tails(corpus, key);
    let (plain_header, plain_payload) = (encode(&header), encode(&payload));
    for (name, header, payload) in [
        (
            "header-tail-bits",
            loose(&plain_header),
            plain_payload.clone(),
        ),
        (
            "payload-tail-bits",
            plain_header.clone(),
            loose(&plain_payload),
        ),
    ] {
        let token = key.compact(&header, &payload);
        corpus.refuse(
            format!("encoding/{name}-by-{}", key.kid),
            MALFORMED,
            TAIL,
            token,
        );
    }
}

/// The same of the signature, which covers everything but its own spelling.
fn add_signature_spellings(corpus: &mut Corpus<'_>, key: &Key) {
    let good = corpus.good(key);
    let (input, signature) = good.rsplit_once('.').unwrap();
    // No signature has a length that three divides.
    let bytes = crate::keys::decode(signature);
    for (name, signature, why) in [
        ("signature-padded", URL_SAFE.encode(&bytes), LETTERS),
        ("signature-newline", format!("{signature}\n"), LETTERS),
        ("signature-space-inside", spaced(signature, " "), LETTERS),
        ("signature-plus", format!("+{}", &signature[1..]), LETTERS),
        ("signature-slash", format!("/{}", &signature[1..]), LETTERS),
        ("signature-letter-too-many", odd_length(signature), LETTERS),
        ("signature-tail-bits", loose(signature), TAIL),
    ] {
        corpus.refuse(
            format!("encoding/{name}-by-{}", key.kid),
            MALFORMED,
            why,
            format!("{input}.{signature}"),
        );
    }
}

/// A spelling that is wrong under a header that is, too: the spelling comes first, because who takes
/// a token out of a header looks at nothing else.
fn add_before_meaning(corpus: &mut Corpus<'_>, key: &Key) {
    let claims = encode(corpus.claims().json());
    for (name, header) in [
        ("none", key.header().with("alg", text("none"))),
        ("crit", key.header().with("crit", "[]")),
        ("another-type", key.header().with("typ", text("JWT"))),
        ("no-key", key.header().without("kid")),
    ] {
        let header = encode(header.json());
        let signature = encode(key.sign(format!("{header}.{claims}").as_bytes()));
        for (part, token) in [
            ("payload", format!("{header}.{claims}=.{signature}")),
            ("signature", format!("{header}.{claims}.{signature}!")),
        ] {
            corpus.refuse(
                format!("encoding/{part}-under-{name}-by-{}", key.kid),
                MALFORMED,
                LETTERS,
                token,
            );
        }
    }
}

fn spaced(part: &str, by: &str) -> String {
    format!("{}{by}{}", &part[..8], &part[8..])
}

/// One letter more than a multiple of four, which are no bytes.
fn odd_length(part: &str) -> String {
    let mut part = part.to_owned();
    while part.len() % 4 != 1 {
        part.push('A');
    }
    part
}

/// The same bytes with the last unused bit set.
fn loose(part: &str) -> String {
    let (rest, last) = part.split_at(part.len() - 1);
    let value = ALPHABET
        .iter()
        .position(|&letter| letter == last.as_bytes()[0]);
    let changed = ALPHABET[value.unwrap() ^ 1];
    format!("{rest}{}", char::from(changed))
}

/// The good token in something, or in another form.
fn add_wrappings(corpus: &mut Corpus<'_>) {
    let good = corpus.good(corpus.keys.es256());
    let parts: Vec<&str> = good.split('.').collect();
    let [header, payload, signature] = parts[..] else {
        unreachable!("a token has three parts")
    };
    let signatures = format!(r#"{{"protected":"{header}","signature":"{signature}"}}"#);
    for (name, token) in [
        ("empty", String::new()),
        ("dot", ".".to_owned()),
        ("two-dots", "..".to_owned()),
        ("three-dots", "...".to_owned()),
        ("space", " ".to_owned()),
        ("word", "token".to_owned()),
        ("null", "null".to_owned()),
        ("undefined", "undefined".to_owned()),
        ("object", "{}".to_owned()),
        ("nul", "\0".to_owned()),
        (
            "flattened",
            format!(
                r#"{{"payload":"{payload}","protected":"{header}","signature":"{signature}"}}"#
            ),
        ),
        (
            "general",
            format!(r#"{{"payload":"{payload}","signatures":[{signatures}]}}"#),
        ),
        (
            "two-signatures",
            format!(r#"{{"payload":"{payload}","signatures":[{signatures},{signatures}]}}"#),
        ),
        (
            "unprotected-header",
            format!(
                r#"{{"payload":"{payload}","header":{{"alg":"none"}},"signature":"{signature}"}}"#
            ),
        ),
        ("scheme", format!("Bearer {good}")),
        ("quoted", format!("\"{good}\"")),
        ("in-brackets", format!("[{good}]")),
        ("twice-with-comma", format!("{good},{good}")),
        ("twice-with-space", format!("{good} {good}")),
        ("semicolon-behind", format!("{good};")),
        ("parameter-behind", format!("{good}?x=1")),
        ("fragment-behind", format!("{good}#x")),
        ("selective-disclosure", format!("{good}~")),
        ("space-before", format!(" {good}")),
        ("space-behind", format!("{good} ")),
        ("tab-before", format!("\t{good}")),
        ("newline-before", format!("\n{good}")),
        ("newline-behind", format!("{good}\n")),
        ("carriage-return-behind", format!("{good}\r\n")),
        ("form-feed-behind", format!("{good}\u{c}")),
        ("nul-behind", format!("{good}\0")),
        ("nul-and-more-behind", format!("{good}\0.admin")),
        ("byte-order-mark", format!("\u{feff}{good}")),
        ("no-break-space", format!("{good}\u{a0}")),
        ("zero-width-behind", format!("{good}\u{200b}")),
        ("capitals", good.to_uppercase().replace(['-', '_'], "+")),
        (
            "percent-encoded",
            good.replace('-', "%2D").replace('_', "%5F") + "%20",
        ),
        ("encoded-again", encode(&good)),
        (
            "in-pem",
            format!("-----BEGIN JWT-----\n{good}\n-----END JWT-----"),
        ),
    ] {
        corpus.refuse(
            format!("encoding/{name}"),
            MALFORMED,
            "a compact JWS and nothing around it (RFC 7519 §7.2, RFC 8725 §3.7)",
            token,
        );
    }
}

/// A character of no token in the middle of the payload, under a signature that covers it.
fn add_inserted(corpus: &mut Corpus<'_>) {
    for (index, (name, inserted)) in [
        ("full-width-a", "\u{ff21}".as_bytes()),
        ("soft-hyphen", "\u{ad}".as_bytes()),
        ("non-ascii-letter", "\u{e9}".as_bytes()),
        ("emoji", "\u{1f600}".as_bytes()),
        ("arabic-digit", "\u{661}".as_bytes()),
        ("invalid-utf-8", b"\xff"),
        ("cut-utf-8", b"\xc3"),
        ("overlong-a", b"\xc1\x81"),
        ("surrogate", b"\xed\xa0\x80"),
        ("delete", b"\x7f"),
        ("escape", b"\x1b[0m"),
        ("backslash", b"\\"),
        ("quotation-mark", b"\""),
        ("colon", b":"),
        ("percent", b"%41"),
        ("asterisk", b"*"),
        ("at", b"@"),
    ]
    .into_iter()
    .enumerate()
    {
        let key = corpus.keys.turn(index);
        let payload = encode(corpus.claims().json());
        let (before, behind) = payload.split_at(12);
        let input = [
            encode(key.header().json()).as_bytes(),
            b".",
            before.as_bytes(),
            inserted,
            behind.as_bytes(),
        ]
        .concat();
        let signature = encode(key.sign(&input));
        corpus.refuse(
            format!("encoding/inserted-{name}"),
            MALFORMED,
            "no letter of base64url (RFC 8725 §3.7, RFC 4648 §5)",
            [&input[..], b".", signature.as_bytes()].concat(),
        );
    }
}

/// Headers and payloads that are no UTF-8 without a mark.
fn add_texts(corpus: &mut Corpus<'_>) {
    let utf_16 =
        |json: &str| -> Vec<u8> { json.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    let utf_32 = |json: &str| -> Vec<u8> {
        json.chars()
            .flat_map(|c| u32::from(c).to_le_bytes())
            .collect()
    };
    let with = |json: &str, bytes: &[u8]| {
        let end = json.len() - 1;
        [&json.as_bytes()[..end], b",\"x\":\"", bytes, b"\"}"].concat()
    };
    for index in 0..2 {
        for (turn, (name, change)) in [
            ("byte-order-mark", &(|json: &str| [b"\xef\xbb\xbf", json.as_bytes()].concat()) as &dyn Fn(&str) -> Vec<u8>),
            ("utf-16", &utf_16),
            ("utf-32", &utf_32),
            ("invalid-utf-8", &|json| with(json, b"\xff\xfe")),
            ("overlong", &|json| with(json, b"\xc0\xaf")),
            ("surrogate", &|json| with(json, b"\xed\xa0\x80")),
            ("beyond-unicode", &|json| with(json, b"\xf4\x90\x80\x80")),
            ("cut-character", &|json| with(json, b"\xe2\x82")),
            ("latin-1", &|json| with(json, b"caf\xe9")),
            ("lone-surrogate-escaped", &|json| with(json, br"\ud800")),
            ("control-character", &|json| with(json, b"\x01")),
            ("nul-behind", &|json| [json.as_bytes(), b"\0"].concat()),
            ("deflated", &|_| b"\x78\x9c\xab\x56\x4a\x4c\xc9\xcd\xcc\x53\xb2\x2a\x29\x2a\x4d\xad\x05\x00\x1f\x8f\x04\xd5".to_vec()),
            ("cbor", &|_| b"\xa1\x63sub\x65admin".to_vec()),
        ]
        .into_iter()
        .enumerate()
        {
            let key = corpus.keys.turn(turn);
            let (header, payload) = (key.header().json(), corpus.claims().json());
            let (part, token) = if index == 0 {
                ("header", key.raw(change(&header), payload))
            } else {
                ("payload", key.raw(header, change(&payload)))
            };
            corpus.refuse(
                format!("encoding/{part}-{name}"),
                MALFORMED,
                "JSON in UTF-8, and nothing else (RFC 8725 §3.7, RFC 8259 §8.1)",
                token,
            );
        }
    }
}
