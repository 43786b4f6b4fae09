//! Claims: absent, of the wrong type, of impossible values, of another issuer or audience, and at
//! the boundary second (RFC 7519 §4.1, RFC 9068 §2.2, §4; CVE-2026-25537, CVE-2024-53861).

use crate::members::text;
use crate::scene::Corpus;

const INVALID: &str = "claim_invalid";

/// Seconds that a token may live, whatever it says.
const LONGEST_LIFE: i64 = 24 * 60 * 60;

pub(crate) fn add(corpus: &mut Corpus<'_>) {
    add_missing(corpus);
    add_instants(corpus);
    add_texts(corpus);
    add_optional(corpus);
    add_issuers_and_audiences(corpus);
}

fn add_missing(corpus: &mut Corpus<'_>) {
    for (index, name) in ["iss", "sub", "aud", "exp", "iat", "jti", "client_id"]
        .into_iter()
        .enumerate()
    {
        for turn in 0..2 {
            let key = corpus.keys.turn(index + turn);
            let why = "a claim that RFC 9068 §2.2 requires, in this spelling (RFC 7519 §4)";
            let (what, claims) = if turn == 0 {
                ("missing", corpus.claims().without(name))
            } else {
                let claims = corpus.claims().without(name);
                (
                    "in-capitals",
                    claims.with(&name.to_uppercase(), text(&corpus.scene.issuer)),
                )
            };
            corpus.refuse(
                format!("claim/{name}-{what}"),
                "claim_missing",
                why,
                key.token(&key.header(), &claims),
            );
        }
    }
    let key = corpus.keys.eddsa();
    corpus.refuse(
        "claim/none-at-all",
        "claim_missing",
        "an object without members claims nothing",
        key.raw(key.header().json(), "{}"),
    );
}

/// A claim with each of these values; the code is `token_malformed` where it is not JSON.
fn add_values(corpus: &mut Corpus<'_>, claim: &str, values: &[(&str, String)], why: &'static str) {
    for (index, (name, value)) in values.iter().enumerate() {
        let key = corpus.keys.turn(index);
        let is_json = serde_json::from_str::<serde_json::Value>(value).is_ok();
        let (code, why) = if is_json {
            (INVALID, why)
        } else {
            (
                "token_malformed",
                "no number of JSON, or none that a double holds (RFC 8259 §6)",
            )
        };
        corpus.refuse(
            format!("claim/{claim}-{name}"),
            code,
            why,
            key.token(&key.header(), &corpus.claims().with(claim, value.clone())),
        );
    }
}

fn add_instants(corpus: &mut Corpus<'_>) {
    let now = corpus.scene.now;
    for claim in ["exp", "nbf", "iat", "auth_time"] {
        // A good instant in every wrong form: only the form is wrong.
        let good = if claim == "exp" { now + 600 } else { now - 30 };
        let values = [
            ("null", "null".to_owned()),
            ("text", text(&good.to_string())),
            ("empty-text", text("")),
            ("date-text", text("2030-01-01T00:00:00Z")),
            ("float", format!("{good}.5")),
            ("whole-float", format!("{good}.0")),
            ("exponent", format!("{good}e0")),
            ("1e400", "1e400".to_owned()),
            ("minus-1e400", "-1e400".to_owned()),
            ("negative", "-1".to_owned()),
            ("minus-zero", "-0".to_owned()),
            ("negative-huge", i64::MIN.to_string()),
            ("year-10000", "253402300800".to_owned()),
            ("milliseconds", format!("{good}000")),
            ("2-to-53", "9007199254740993".to_owned()),
            ("largest-i64", i64::MAX.to_string()),
            ("beyond-i64", "9223372036854775808".to_owned()),
            ("beyond-u64", "18446744073709551616".to_owned()),
            ("100-digits", "9".repeat(100)),
            ("true", "true".to_owned()),
            ("array", format!("[{good}]")),
            ("empty-array", "[]".to_owned()),
            ("object", format!(r#"{{"seconds":{good}}}"#)),
            ("leading-zero", format!("0{good}")),
            ("plus", format!("+{good}")),
            ("hexadecimal", format!("0x{good:x}")),
            ("infinity", "Infinity".to_owned()),
            ("nan", "NaN".to_owned()),
        ];
        add_values(
            corpus,
            claim,
            &values,
            "an instant is a whole number of seconds that a calendar has (RFC 7519 §2): a claim \
             that cannot be read is not absent (CVE-2026-25537)",
        );
    }
}

fn add_texts(corpus: &mut Corpus<'_>) {
    for claim in ["iss", "sub", "aud", "jti", "client_id"] {
        let good = text(match claim {
            "iss" => &corpus.scene.issuer,
            "aud" => &corpus.scene.audience,
            "sub" => &corpus.scene.subject,
            _ => "a",
        });
        let mut values = vec![
            ("null", "null".to_owned()),
            ("number", "1".to_owned()),
            ("float", "1.5".to_owned()),
            ("1e400", "1e400".to_owned()),
            ("negative", "-1".to_owned()),
            ("huge", "9".repeat(400)),
            ("true", "true".to_owned()),
            ("false", "false".to_owned()),
            ("empty-text", text("")),
            ("empty-array", "[]".to_owned()),
            ("empty-object", "{}".to_owned()),
            ("object", format!(r#"{{"value":{good}}}"#)),
        ];
        if claim == "aud" {
            values.extend([
                ("array-with-number", format!("[{good},1]")),
                ("array-with-null", format!("[{good},null]")),
                ("array-in-array", format!("[[{good}]]")),
                ("array-with-object", format!("[{good},{{}}]")),
            ]);
        } else {
            values.push(("array", format!("[{good}]")));
        }
        add_values(
            corpus,
            claim,
            &values,
            "a string, for `aud` or an array of strings, and not an empty one (RFC 7519 §4.1)",
        );
    }
}

/// Claims that may be absent and, where they are there, decide.
fn add_optional(corpus: &mut Corpus<'_>) {
    let names = |names: &[&str]| -> Vec<String> { names.iter().map(|&n| n.to_owned()).collect() };
    for (claims, values) in [
        (
            names(&["sid", "acr", "kyc_status", "device_id", "customer_id"]),
            names(&["null", "1", r#""""#, "[]", r#"["a"]"#]),
        ),
        (
            names(&["roles", "permissions", "amr"]),
            names(&[
                "null",
                "1",
                r#""admin""#,
                "[1]",
                "[null]",
                r#"{"0":"a"}"#,
                r#"[["a"]]"#,
            ]),
        ),
        (
            names(&["scope"]),
            names(&["null", "1", r#"["report:read"]"#, "{}"]),
        ),
        (
            names(&["kyc_level"]),
            names(&["null", r#""2""#, "2.0", "-1", "256", "1e400", "[2]"]),
        ),
    ] {
        for claim in claims {
            let values: Vec<(&str, String)> = values
                .iter()
                .map(|value| (value.as_str(), value.clone()))
                .collect();
            add_values(
                corpus,
                &claim,
                &values,
                "a claim that decides about access is read or refused, never taken for absent",
            );
        }
    }
}

fn add_issuers_and_audiences(corpus: &mut Corpus<'_>) {
    let issuer = corpus.scene.issuer.clone();
    let audience = corpus.scene.audience.clone();
    let (scheme, rest) = issuer.split_once("://").unwrap();
    let other_scheme = if scheme == "https" { "http" } else { "https" };
    for (index, (name, iss)) in [
        ("slash-behind", format!("{issuer}/")),
        ("path-behind", format!("{issuer}/tenant")),
        ("query-behind", format!("{issuer}?x")),
        ("fragment-behind", format!("{issuer}#x")),
        ("dot-behind", format!("{issuer}.")),
        ("more-behind", format!("{issuer}.evil.example")),
        ("one-less", issuer[..issuer.len() - 1].to_owned()),
        ("capitals", issuer.to_uppercase()),
        ("other-scheme", format!("{other_scheme}://{rest}")),
        ("without-scheme", rest.to_owned()),
        ("with-user", format!("{scheme}://x@{rest}")),
        ("in-a-list", format!("{issuer},https://evil.example")),
        ("space-before", format!(" {issuer}")),
        ("newline-behind", format!("{issuer}\n")),
        ("nul-behind", format!("{issuer}\0")),
        ("zero-width-behind", format!("{issuer}\u{200b}")),
        ("evil", "https://evil.example".to_owned()),
        ("wildcard", "*".to_owned()),
    ]
    .into_iter()
    .enumerate()
    {
        let key = corpus.keys.turn(index);
        corpus.refuse(
            format!("claim/iss-{name}"),
            "issuer_mismatch",
            "issuers are compared exactly (RFC 9068 §4, CVE-2024-53861)",
            key.token(&key.header(), &corpus.claims().with("iss", text(&iss))),
        );
    }
    let one_less = text(&audience[..audience.len() - 1]);
    for (index, (name, aud)) in [
        ("other", text("other")),
        ("capitals", text(&audience.to_uppercase())),
        ("one-less", one_less.clone()),
        ("one-more", text(&format!("{audience}s"))),
        ("prefix-of-a-path", text(&format!("{audience}/"))),
        ("in-a-list", text(&format!("{audience} other"))),
        ("in-a-comma-list", text(&format!("{audience},other"))),
        ("space-behind", text(&format!("{audience} "))),
        ("nul-behind", text(&format!("{audience}\0"))),
        ("wildcard", text("*")),
        ("issuer", text(&issuer)),
        ("client", text("default")),
        ("array-of-others", r#"["other","another"]"#.to_owned()),
        ("array-of-parts", format!(r#"[{one_less},"x"]"#)),
        ("array-with-empty", r#"[""]"#.to_owned()),
        ("array-as-text", text(&format!("[\"{audience}\"]"))),
    ]
    .into_iter()
    .enumerate()
    {
        let key = corpus.keys.turn(index);
        corpus.refuse(
            format!("claim/aud-{name}"),
            "audience_mismatch",
            "one of the audiences is exactly this resource (RFC 7519 §4.1.3, RFC 9068 §4)",
            key.token(&key.header(), &corpus.claims().with("aud", aud)),
        );
    }
}

/// What one second decides, for each algorithm.
pub(crate) fn add_boundaries(corpus: &mut Corpus<'_>) {
    let now = corpus.scene.now;
    let keys = corpus.keys;
    let life = LONGEST_LIFE;
    let expired = Some("token_expired");
    let early = Some("token_not_yet_valid");
    let invalid = Some(INVALID);
    for key in &keys.three {
        for (name, claims, code) in [
            (
                "exp-a-second-ago",
                [("exp", now - 1), ("nbf", now - 60)],
                expired,
            ),
            ("exp-now", [("exp", now), ("nbf", now - 60)], expired),
            (
                "exp-in-a-second",
                [("exp", now + 1), ("nbf", now - 60)],
                None,
            ),
            (
                "nbf-a-second-ago",
                [("nbf", now - 1), ("exp", now + 60)],
                None,
            ),
            ("nbf-now", [("nbf", now), ("exp", now + 60)], None),
            (
                "nbf-in-a-second",
                [("nbf", now + 1), ("exp", now + 60)],
                early,
            ),
            (
                "nbf-after-exp",
                [("nbf", now + 90), ("exp", now + 60)],
                early,
            ),
            ("iat-now", [("iat", now), ("nbf", now - 60)], None),
            (
                "iat-in-a-second",
                [("iat", now + 1), ("nbf", now - 60)],
                early,
            ),
            (
                "life-of-a-day",
                [("iat", now - 60), ("exp", now - 60 + life)],
                None,
            ),
            (
                "life-of-a-day-and-a-second",
                [("iat", now - 60), ("exp", now - 59 + life)],
                invalid,
            ),
            (
                "life-of-nothing",
                [("iat", now - 60), ("exp", now - 60)],
                invalid,
            ),
            (
                "life-of-less",
                [("iat", now - 60), ("exp", now - 61)],
                invalid,
            ),
            (
                "exp-at-the-end-of-time",
                [("iat", now - 60), ("exp", 253_402_300_799)],
                invalid,
            ),
            ("exp-zero", [("iat", now - 60), ("exp", 0)], invalid),
            ("iat-zero", [("iat", 0), ("nbf", 0)], invalid),
            (
                "expired-a-year-ago",
                [("iat", now - 31_536_000), ("exp", now - 31_535_000)],
                expired,
            ),
        ] {
            let claims = claims
                .into_iter()
                .fold(corpus.claims(), |all, (claim, at)| {
                    all.with(claim, at.to_string())
                });
            let token = key.token(&key.header(), &claims);
            let name = format!("boundary/{name}-by-{}", key.kid);
            let why = "refused at `exp` and before `nbf` and `iat` (RFC 7519 §4.1.4, §4.1.5), after at most a day";
            match code {
                Some(code) => corpus.refuse(name, code, why, token),
                None => corpus.accept(name, why, token),
            }
        }
    }
}
