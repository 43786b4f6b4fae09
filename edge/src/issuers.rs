//! `ISSUERS`: the issuers beside the gate's own, whose tokens a policy may take.
//!
//! A JSON array of objects:
//!
//! ```json
//! [{
//!   "issuer": "https://login.partner.example",
//!   "audience": "api",
//!   "jwks_url": "https://login.partner.example/keys",
//!   "algorithms": ["RS256"],
//!   "revocation": "none"
//! }]
//! ```
//!
//! `algorithms` may be left out. `revocation` may not, and has one value: whoever adds an issuer says
//! that nobody can turn its tokens away before they expire.

use edgekeep_shared::{
    gate::issuers::MAX_FOREIGN_ISSUERS,
    json::{self, Object, Value},
    jwk::Algorithm,
    policy::is_issuer,
    url,
    verifier::Verifier,
};

/// Audiences of one issuer: names that this gate goes by.
pub const MAX_AUDIENCES: usize = 8;

const MEMBERS: [&str; 5] = ["issuer", "audience", "jwks_url", "algorithms", "revocation"];

/// An issuer beside the gate's own, as it was configured.
#[derive(Clone, Debug)]
pub struct Foreign {
    /// Who it is, for whom its tokens are, and how they are signed.
    pub verifier: Verifier,
    /// Where its JWK Set is.
    pub jwks_url: String,
}

/// Reads the variable; `own` are the gate's own issuer and the URL of its JWK Set.
///
/// # Errors
///
/// What is wrong with which entry, and what was expected.
pub fn read(text: &str, own: (&str, &str), leeway: u32) -> Result<Vec<Foreign>, String> {
    let expected = || format!("expected a JSON array of 1 to {MAX_FOREIGN_ISSUERS} objects");
    let document = json::parse(text.as_bytes()).map_err(|_| expected())?;
    let Value::Array(entries) = &document else {
        return Err(expected());
    };
    if entries.is_empty() || entries.len() > MAX_FOREIGN_ISSUERS {
        return Err(expected());
    }
    let mut all: Vec<Foreign> = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        let in_entry = |problem: String| format!("entry {}: {problem}", index + 1);
        let foreign = entry_of(entry, leeway).map_err(in_entry)?;
        let (issuer, url) = (foreign.verifier.issuer(), foreign.jwks_url.as_str());
        let others = || {
            let earlier = all
                .iter()
                .map(|foreign| (foreign.verifier.issuer(), &*foreign.jwks_url));
            earlier.chain([own])
        };
        if others().any(|(other, _)| other == issuer) {
            return Err(in_entry(format!("{issuer} is there twice, or is ISSUER")));
        }
        // Whoever holds a key of the set could speak for both.
        if others().any(|(_, other)| other == url) {
            return Err(in_entry(format!(
                "{url} is another issuer's: a key of one must not serve another"
            )));
        }
        all.push(foreign);
    }
    Ok(all)
}

fn entry_of(entry: &Value<'_>, leeway: u32) -> Result<Foreign, String> {
    let Value::Object(entry) = entry else {
        return Err(format!("expected an object with {}", MEMBERS.join(", ")));
    };
    if let Some((name, _)) = entry.members().find(|(name, _)| !MEMBERS.contains(name)) {
        return Err(format!(
            "unknown member {name:?}, expected one of {}",
            MEMBERS.join(", ")
        ));
    }
    let issuer = text(entry, "issuer")?;
    if !is_issuer(issuer) {
        return Err(format!(
            "\"issuer\" is {issuer:?}, expected an http or https URL of at most 256 bytes without \
             query, exactly as tokens name it"
        ));
    }
    // Nothing is put behind it, so it may have a query.
    let jwks_url = text(entry, "jwks_url")?;
    if !url::is_absolute(jwks_url) {
        return Err(format!(
            "\"jwks_url\" is {jwks_url:?}, expected an absolute http or https URL"
        ));
    }
    match entry.member("revocation").map(Value::as_str) {
        Some(Some("none")) => {}
        Some(_) => {
            return Err("\"revocation\" is not understood, expected \"none\"".to_owned());
        }
        None => {
            return Err(format!(
                "\"revocation\" is missing: the keep's list speaks for its own tokens alone. \
                 Expected \"none\", where tokens of {issuer} may pass until they expire"
            ));
        }
    }
    let mut audiences = audiences(entry)?.into_iter();
    let first = audiences.next().unwrap_or_default();
    let verifier = Verifier::new(issuer, first)
        .with_more_audiences(audiences)
        .with_algorithms(algorithms(entry)?)
        .with_leeway(leeway)
        .among_several();
    Ok(Foreign {
        verifier,
        jwks_url: jwks_url.to_owned(),
    })
}

fn text<'v>(entry: &'v Object<'_>, name: &str) -> Result<&'v str, String> {
    match entry.member(name) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        Some(_) => Err(format!("{name:?} is not a string, or is empty")),
        None => Err(format!("{name:?} is missing")),
    }
}

/// One string or several.
fn audiences(entry: &Object<'_>) -> Result<Vec<String>, String> {
    let expected =
        || format!("\"audience\" is not understood, expected 1 to {MAX_AUDIENCES} strings");
    let Some(Value::Array(values)) = entry.member("audience") else {
        return Ok(vec![text(entry, "audience")?.to_owned()]);
    };
    let strings: Option<Vec<String>> = values
        .iter()
        .map(|value| value.as_str().filter(|text| !text.is_empty()))
        .map(|text| text.map(str::to_owned))
        .collect();
    strings
        .filter(|all| (1..=MAX_AUDIENCES).contains(&all.len()))
        .ok_or_else(expected)
}

/// Those that are named; without, every algorithm that the issuer has keys for.
fn algorithms(entry: &Object<'_>) -> Result<Vec<Algorithm>, String> {
    let expected = "\"algorithms\" is not understood, expected a list of ES256, EdDSA, RS256";
    match entry.member("algorithms") {
        None => Ok(Algorithm::ALL.to_vec()),
        Some(Value::Array(names)) if !names.is_empty() => names
            .iter()
            .map(|name| name.as_str().and_then(Algorithm::from_name))
            .collect::<Option<_>>()
            .ok_or_else(|| expected.to_owned()),
        Some(_) => Err(expected.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: (&str, &str) = ("https://id.example", "https://id.example/jwks");

    fn read_one(entry: &str) -> Result<Vec<Foreign>, String> {
        read(&format!("[{entry}]"), OWN, 5)
    }

    fn with(change: (&str, Option<&str>)) -> String {
        let members = [
            ("issuer", r#""https://a.example""#),
            ("audience", r#""api""#),
            ("jwks_url", r#""https://a.example/keys""#),
            ("revocation", r#""none""#),
        ];
        let (changed, value) = change;
        let mut all: Vec<String> = members
            .iter()
            .filter(|(name, _)| *name != changed)
            .map(|(name, value)| format!("{name:?}:{value}"))
            .collect();
        all.extend(value.map(|value| format!("{changed:?}:{value}")));
        format!("{{{}}}", all.join(","))
    }

    #[test]
    fn reads_each_with_its_own_audiences_and_keys() {
        let second = r#"{"issuer":"http://b.example/realm/","audience":["x","y"],
            "jwks_url":"http://b.example/keys/p@q?p=1","algorithms":["RS256","Ed25519"],
            "revocation":"none"}"#;
        let text = format!("[{},{second}]", with(("", None)));
        let all = read(&text, OWN, 5).unwrap();
        let seen: Vec<_> = all
            .iter()
            .map(|foreign| {
                let verifier = &foreign.verifier;
                (verifier.issuer(), verifier.audiences(), &*foreign.jwks_url)
            })
            .collect();
        let [api, x, y] = ["api", "x", "y"].map(str::to_owned);
        assert_eq!(
            seen,
            [
                ("https://a.example", &[api][..], "https://a.example/keys"),
                (
                    "http://b.example/realm/",
                    &[x, y][..],
                    "http://b.example/keys/p@q?p=1"
                ),
            ]
        );
    }

    #[test]
    fn says_which_entry_is_wrong_and_what_was_expected() {
        let a = r#""https://a.example""#;
        for (name, value, said) in [
            ("issuer", None, "\"issuer\" is missing"),
            ("issuer", Some("7"), "\"issuer\" is not a string"),
            (
                "issuer",
                Some("\"\""),
                "\"issuer\" is not a string, or is empty",
            ),
            ("issuer", Some("\"own\""), "expected an http or https URL"),
            (
                "issuer",
                Some("\"a.example\""),
                "expected an http or https URL",
            ),
            (
                "issuer",
                Some("\"https://a.example?x\""),
                "expected an http",
            ),
            ("issuer", Some("\"https://\""), "expected an http"),
            ("issuer", Some("\"https://id.example\""), "or is ISSUER"),
            ("audience", None, "\"audience\" is missing"),
            ("audience", Some("[]"), "expected 1 to 8 strings"),
            ("audience", Some("[\"\"]"), "expected 1 to 8 strings"),
            ("audience", Some("[1]"), "expected 1 to 8 strings"),
            ("audience", Some("null"), "is not a string"),
            (
                "audience",
                Some(r#"["1","2","3","4","5","6","7","8","9"]"#),
                "expected 1 to 8",
            ),
            ("jwks_url", None, "\"jwks_url\" is missing"),
            ("jwks_url", Some("\"/keys\""), "expected an absolute"),
            (
                "jwks_url",
                Some("\"https://a.example/#k\""),
                "expected an absolute",
            ),
            (
                "jwks_url",
                Some("\"https://u@a.example/\""),
                "expected an absolute",
            ),
            ("jwks_url", Some("\"http://a:0\""), "expected an absolute"),
            (
                "jwks_url",
                Some("\"https://id.example/jwks\""),
                "another issuer's",
            ),
            ("algorithms", Some("[]"), "expected a list of ES256"),
            ("algorithms", Some("\"RS256\""), "expected a list of ES256"),
            (
                "algorithms",
                Some("[\"HS256\"]"),
                "expected a list of ES256",
            ),
            (
                "algorithms",
                Some("[\"RS256\",\"none\"]"),
                "expected a list of ES256",
            ),
            ("revocation", None, "speaks for its own tokens alone"),
            ("revocation", Some("\"list\""), "expected \"none\""),
            ("revocation", Some("false"), "expected \"none\""),
            (
                "leeway",
                Some("5"),
                "unknown member \"leeway\", expected one of issuer",
            ),
        ] {
            let error = read_one(&with((name, value))).unwrap_err();
            assert!(
                error.starts_with("entry 1: ") && error.contains(said),
                "{name} {value:?}: {error}"
            );
        }
        for text in [
            "",
            "{}",
            "[]",
            "7",
            "not json",
            "[{}",
            r#"[{"issuer":1,"issuer":1}]"#,
        ] {
            let error = read(text, OWN, 5).unwrap_err();
            assert!(error.contains("a JSON array of 1 to 16"), "{text}: {error}");
        }
        assert!(read_one("7").unwrap_err().contains("expected an object"));
        let twice = format!("{0},{0}", with(("", None)));
        assert!(read_one(&twice).unwrap_err().starts_with("entry 2: https"));
        let same_keys = format!(
            "{},{}",
            with(("", None)),
            with(("issuer", Some(&a.replace("a.", "b."))))
        );
        let error = read_one(&same_keys).unwrap_err();
        assert!(error.contains("must not serve another"), "{error}");
    }

    #[test]
    fn takes_as_many_as_there_may_be() {
        let many = |count: usize| {
            let all: Vec<String> = (0..count)
                .map(|i| {
                    format!(
                        r#"{{"issuer":"https://{i}.example","audience":"a",
                            "jwks_url":"https://{i}.example/k","revocation":"none"}}"#
                    )
                })
                .collect();
            read(&format!("[{}]", all.join(",")), OWN, 5).map(|all| all.len())
        };
        assert_eq!(many(MAX_FOREIGN_ISSUERS), Ok(MAX_FOREIGN_ISSUERS));
        assert!(many(MAX_FOREIGN_ISSUERS + 1).is_err());
    }
}
