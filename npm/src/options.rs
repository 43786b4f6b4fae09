//! What the verifier is told: whom to trust, for what, and where their documents are.

use core::fmt;

use edgekeep_shared::{
    control::ControlKeys,
    gate::RevocationSources,
    jwk::{Algorithm, Jwk, JwkSet},
    policy::{DEFAULT_MAX_STALE_SECONDS, Revocation, Staleness},
    verifier::{MAX_LEEWAY, Verifier},
};
use serde_json::{Map, Value};

/// Seconds of clock difference that are tolerated where `leeway` does not say: the gate's.
pub const DEFAULT_LEEWAY: u32 = 5;

/// The largest `maxStale` and `allowStaleFor` in seconds: no token lives longer than a day.
pub const MAX_STALENESS: u32 = 86_400;

/// Issuers that one verifier trusts at most: each holds keys, a list and verified tokens.
pub const MAX_ISSUERS: usize = 16;

/// Why there is no verifier: an option, and what was expected of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionsError(String);

impl fmt::Display for OptionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for OptionsError {}

fn error(message: impl Into<String>) -> OptionsError {
    OptionsError(message.into())
}

/// An object as JavaScript wrote it. An unknown name is not skipped: whoever wrote it expected
/// something of it.
struct Fields<'v> {
    /// What the names stand behind in messages.
    prefix: &'static str,
    members: &'v Map<String, Value>,
}

impl<'v> Fields<'v> {
    fn of(
        prefix: &'static str,
        members: &'v Map<String, Value>,
        known: &[&str],
    ) -> Result<Self, OptionsError> {
        match members.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(error(format!(
                "{prefix}{name}: is not an option; there are {}",
                known.join(", ")
            ))),
            None => Ok(Self { prefix, members }),
        }
    }

    fn error(&self, name: &str, message: &str) -> OptionsError {
        error(format!("{}{name}: {message}", self.prefix))
    }

    fn text(&self, name: &str) -> Result<Option<&'v str>, OptionsError> {
        match self.members.get(name) {
            None => Ok(None),
            Some(Value::String(text)) if !text.is_empty() => Ok(Some(text)),
            Some(_) => Err(self.error(name, "expected a string that is not empty")),
        }
    }

    fn required(&self, name: &str) -> Result<&'v str, OptionsError> {
        let missing = || self.error(name, "is missing");
        self.text(name)?.ok_or_else(missing)
    }

    fn seconds(&self, name: &str, least: u32, most: u32) -> Result<Option<u32>, OptionsError> {
        let Some(value) = self.members.get(name) else {
            return Ok(None);
        };
        let seconds = value.as_u64().and_then(|value| u32::try_from(value).ok());
        let in_range = seconds.filter(|seconds| (least..=most).contains(seconds));
        let expected = || self.error(name, &format!("expected whole seconds, {least} to {most}"));
        in_range.map(Some).ok_or_else(expected)
    }

    /// An absolute URL, else the document that issuers publish at `name`.
    fn url(&self, option: &str, issuer: &str, name: &str) -> Result<String, OptionsError> {
        if let Some(url) = self.text(option)? {
            return is_absolute(url)
                .then(|| url.to_owned())
                .ok_or_else(|| self.error(option, "expected an absolute http or https URL"));
        }
        let url = format!("{}/.well-known/{name}", issuer.trim_end_matches('/'));
        let missing = || self.error(option, "is missing, and the issuer is no URL");
        is_absolute(&url).then_some(url).ok_or_else(missing)
    }
}

/// Where an issuer's keys come from.
#[derive(Debug)]
pub enum KeySource {
    /// Handed over; nobody is asked for others.
    Given(JwkSet),
    /// Fetched from this URL.
    Url(String),
}

impl KeySource {
    /// Why `other` could speak for this issuer, too.
    fn shared_with(&self, other: &Self) -> Option<&'static str> {
        match (self, other) {
            (Self::Url(own), Self::Url(others)) if own == others => Some("jwksUrl"),
            (Self::Given(own), Self::Given(others)) => {
                let is_others = |jwk: &Jwk| others.keys().iter().any(|key| key.key() == jwk.key());
                own.keys().iter().any(is_others).then_some("jwks")
            }
            _ => None,
        }
    }
}

/// Where an issuer's revocation list comes from.
#[derive(Debug)]
pub struct ListSource {
    /// What must have signed it.
    pub control_keys: ControlKeys,
    /// Where it is.
    pub url: String,
}

/// An issuer that is trusted.
#[derive(Debug)]
pub struct Options {
    /// For whom its tokens must be, signed how, how exact in time.
    pub verifier: Verifier,
    /// Its keys.
    pub keys: KeySource,
    /// Its list; `None` by the caller's word.
    pub list: Option<ListSource>,
    /// How old the list may be.
    pub revocation: Revocation,
}

impl Options {
    /// Reads a JSON array of issuers.
    ///
    /// # Errors
    ///
    /// [`OptionsError`] for the first thing that is missing or cannot be understood. A verifier that
    /// does not know what it was told judges nothing.
    pub fn read(json: &str) -> Result<Vec<Self>, OptionsError> {
        let expected = || {
            error(format!(
                "expected 1 to {MAX_ISSUERS} issuers, each an object"
            ))
        };
        let Ok(Value::Array(issuers)) = serde_json::from_str(json) else {
            return Err(expected());
        };
        if issuers.is_empty() || issuers.len() > MAX_ISSUERS {
            return Err(expected());
        }
        let mut all: Vec<Self> = Vec::with_capacity(issuers.len());
        for issuer in &issuers {
            let options = Self::of(issuer.as_object().ok_or_else(expected)?)?;
            let name = options.verifier.issuer();
            for other in &all {
                let others = other.verifier.issuer();
                if others == name {
                    return Err(error(format!("issuer: {name} is there twice")));
                }
                if let Some(option) = options.keys.shared_with(&other.keys) {
                    return Err(error(format!(
                        "{option}: {name} and {others} have the same: a key of one must not serve \
                         another"
                    )));
                }
            }
            all.push(options);
        }
        Ok(all)
    }

    /// Whether lists are there to be had.
    pub const fn sources(&self) -> RevocationSources {
        match self.list {
            Some(_) => RevocationSources::Configured,
            None => RevocationSources::None,
        }
    }

    fn of(members: &Map<String, Value>) -> Result<Self, OptionsError> {
        const KNOWN: [&str; 8] = [
            "issuer",
            "audience",
            "tokenType",
            "algorithms",
            "leeway",
            "jwks",
            "jwksUrl",
            "revocation",
        ];
        let fields = Fields::of("", members, &KNOWN)?;
        let issuer = fields.required("issuer")?;
        let leeway = fields.seconds("leeway", 0, MAX_LEEWAY)?;
        let mut verifier = Verifier::new(issuer, fields.required("audience")?)
            .with_algorithms(algorithms(members.get("algorithms"))?)
            .with_leeway(leeway.unwrap_or(DEFAULT_LEEWAY));
        if let Some(token_type) = fields.text("tokenType")? {
            verifier = verifier.with_type(token_type);
        }
        let keys = match members.get("jwks") {
            Some(_) if members.contains_key("jwksUrl") => {
                return Err(fields.error("jwks", "contradicts jwksUrl"));
            }
            Some(set) => KeySource::Given(key_set(set)?),
            None => KeySource::Url(fields.url("jwksUrl", issuer, "jwks.json")?),
        };
        let (list, revocation) = match members.get("revocation") {
            Some(Value::String(word)) if word == "none" => (None, Revocation::Off),
            Some(Value::Object(written)) => {
                let (list, staleness) = list(written, issuer)?;
                (Some(list), Revocation::List(staleness))
            }
            _ => {
                let expected = "expected an object with controlKeys, or the word \"none\"";
                return Err(fields.error("revocation", expected));
            }
        };
        Ok(Self {
            verifier,
            keys,
            list,
            revocation,
        })
    }
}

fn algorithms(names: Option<&Value>) -> Result<Vec<Algorithm>, OptionsError> {
    let Some(names) = names else {
        return Ok(Algorithm::ALL.to_vec());
    };
    let algorithm = |name: &Value| name.as_str().and_then(Algorithm::from_name);
    names
        .as_array()
        .filter(|names| !names.is_empty())
        .and_then(|names| names.iter().map(algorithm).collect())
        .ok_or_else(|| error("algorithms: expected a list of \"ES256\", \"EdDSA\", \"RS256\""))
}

fn key_set(set: &Value) -> Result<JwkSet, OptionsError> {
    let set = JwkSet::parse(set.to_string().as_bytes())
        .map_err(|cause| error(format!("jwks: {cause}")))?;
    if set.is_empty() {
        let cause = set
            .refused()
            .first()
            .map_or("it has none".to_owned(), |(_, cause)| cause.to_string());
        return Err(error(format!("jwks: no key can be used: {cause}")));
    }
    Ok(set)
}

/// The list and its staleness, by the same words and bounds as in a policy.
fn list(
    written: &Map<String, Value>,
    issuer: &str,
) -> Result<(ListSource, Staleness), OptionsError> {
    const KNOWN: [&str; 5] = ["controlKeys", "url", "maxStale", "onStale", "allowStaleFor"];
    let fields = Fields::of("revocation.", written, &KNOWN)?;
    let Some(keys) = written.get("controlKeys") else {
        return Err(fields.error("controlKeys", "is missing: no list can be believed"));
    };
    let control_keys = ControlKeys::parse(keys.to_string().as_bytes()).map_err(|cause| {
        let expected = "expected one or two public Ed25519 JWKs, as `edgekeep keys control` \
                        prints them";
        fields.error("controlKeys", &format!("{cause}; {expected}"))
    })?;
    let url = fields.url("url", issuer, "revocations")?;
    let max_stale = fields.seconds("maxStale", 1, MAX_STALENESS)?;
    let allow_for = fields.seconds("allowStaleFor", 1, MAX_STALENESS)?;
    let allow_for = match (fields.text("onStale")?, allow_for) {
        (Some("allow"), Some(seconds)) => seconds,
        (Some("allow"), None) => {
            let expected =
                "\"allow\" has no bound, expected allowStaleFor with a number of seconds";
            return Err(fields.error("onStale", expected));
        }
        (None | Some("deny"), Some(_)) => {
            let expected = "has no effect, expected onStale \"allow\" beside it";
            return Err(fields.error("allowStaleFor", expected));
        }
        (None | Some("deny"), None) => 0,
        (Some(_), _) => return Err(fields.error("onStale", "expected \"deny\" or \"allow\"")),
    };
    let staleness = Staleness {
        max_stale: max_stale.unwrap_or(DEFAULT_MAX_STALE_SECONDS),
        allow_for,
    };
    Ok((ListSource { control_keys, url }, staleness))
}

fn is_absolute(url: &str) -> bool {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'\\';
    rest.is_some_and(|rest| {
        !rest.is_empty() && !rest.starts_with(['/', '?', '#']) && rest.bytes().all(plain)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key() -> Value {
        json!({"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})
    }

    fn usual() -> Value {
        json!({
            "issuer": "https://id.example", "audience": "api",
            "revocation": {"controlKeys": [key()]},
        })
    }

    fn read(changes: &Value) -> Result<Options, OptionsError> {
        let mut options = usual();
        for (name, value) in changes.as_object().unwrap() {
            match options.get_mut(name).and_then(Value::as_object_mut) {
                Some(members) if value.is_object() => {
                    members.extend(value.as_object().unwrap().clone());
                }
                _ => options[name] = value.clone(),
            }
        }
        Options::read(&json!([options]).to_string()).map(|mut all| all.remove(0))
    }

    #[test]
    fn reads_the_usual_options() {
        let options = read(&json!({})).unwrap();
        assert!(matches!(&options.keys, KeySource::Url(url)
                if url == "https://id.example/.well-known/jwks.json"));
        assert_eq!(
            options.list.as_ref().unwrap().url,
            "https://id.example/.well-known/revocations"
        );
        let expected = Staleness {
            max_stale: DEFAULT_MAX_STALE_SECONDS,
            allow_for: 0,
        };
        assert_eq!(options.revocation, Revocation::List(expected));
        assert_eq!(options.sources(), RevocationSources::Configured);
    }

    #[test]
    fn goes_without_a_list_by_word_alone() {
        let options = read(&json!({"revocation": "none"})).unwrap();
        assert_eq!(options.sources(), RevocationSources::None);
        let mut silent = usual();
        silent.as_object_mut().unwrap().remove("revocation");
        assert!(Options::read(&json!([silent]).to_string()).is_err());
    }

    #[test]
    fn takes_stale_lists_for_as_long_as_it_is_told() {
        let options = read(&json!({
            "revocation": {"maxStale": 60, "onStale": "allow", "allowStaleFor": 30}
        }))
        .unwrap();
        let expected = Staleness {
            max_stale: 60,
            allow_for: 30,
        };
        assert_eq!(options.revocation, Revocation::List(expected));
    }

    #[test]
    fn names_the_option_that_is_wrong() {
        let private = json!({"kty":"OKP","crv":"Ed25519","x":"x","d":"d"});
        for (name, changes) in [
            ("issuer", json!({"issuer": ""})),
            ("issuer", json!({"issuer": null})),
            ("jwksUrl", json!({"issuer": "id.example"})),
            ("jwksUrl", json!({"jwksUrl": "/jwks.json"})),
            ("jwksUrl", json!({"jwksUrl": "file:///etc/passwd"})),
            ("jwksUrl", json!({"jwksUrl": "https://"})),
            ("jwksUrl", json!({"jwksUrl": "https://a b/"})),
            ("audience", json!({"audience": ""})),
            ("audience", json!({"audience": ["api"]})),
            ("tokenType", json!({"tokenType": ""})),
            ("leeway", json!({"leeway": 301})),
            ("leeway", json!({"leeway": -1})),
            ("leeway", json!({"leeway": 1.5})),
            ("algorithms", json!({"algorithms": []})),
            ("algorithms", json!({"algorithms": ["none"]})),
            ("algorithms", json!({"algorithms": ["es256"]})),
            ("algorithms", json!({"algorithms": ["ES256", "HS256"]})),
            ("jwks", json!({"jwks": {"keys": []}})),
            ("jwks", json!({"jwks": {}})),
            ("jwks", json!({"jwks": {"keys": [private]}})),
            (
                "jwks",
                json!({"jwks": {"keys": [key()]}, "jwksUrl": "https://x"}),
            ),
            ("revocation", json!({"revocation": "off"})),
            ("revocation", json!({"revocation": null})),
            ("revocation", json!({"revocation": true})),
            ("sources", json!({"revocation": {"sources": "kv"}})),
            ("controlKeys", json!({"revocation": {"controlKeys": []}})),
            (
                "controlKeys",
                json!({"revocation": {"controlKeys": [key(), key()]}}),
            ),
            ("revocation.url", json!({"revocation": {"url": "x"}})),
            ("maxStale", json!({"revocation": {"maxStale": 0}})),
            ("maxStale", json!({"revocation": {"maxStale": 86_401}})),
            ("onStale", json!({"revocation": {"onStale": "allow"}})),
            ("onStale", json!({"revocation": {"onStale": "refuse"}})),
            ("allowStaleFor", json!({"revocation": {"allowStaleFor": 5}})),
            ("jwksUri", json!({"jwksUri": "https://id.example/jwks"})),
        ] {
            let message = read(&changes).map(|_| ()).unwrap_err().to_string();
            assert!(message.contains(name), "{changes}: {message}");
        }
    }

    #[test]
    fn wants_each_issuer_once_and_at_least_one() {
        for (issuers, right) in [
            (json!([]), false),
            (json!([usual()]), true),
            (json!([usual(), usual()]), false),
            (usual(), false),
            (json!(null), false),
        ] {
            assert_eq!(
                Options::read(&issuers.to_string()).is_ok(),
                right,
                "{issuers}"
            );
        }
    }

    /// Whoever holds a key that two issuers have could speak for both.
    #[test]
    fn takes_no_two_issuers_with_one_key() {
        const OTHER: &str = "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw";
        let other = json!({"kty": "OKP", "crv": "Ed25519", "kid": "other", "x": OTHER});
        let of = |issuer: &str, keys: Value| {
            let mut options = usual();
            options["issuer"] = json!(issuer);
            let members = keys.as_object().unwrap().clone();
            options.as_object_mut().unwrap().extend(members);
            options
        };
        let given = |keys: &[Value]| json!({"jwks": {"keys": keys}});
        let mut renamed = key();
        renamed["kid"] = json!("renamed");
        let url = |url: &str| json!({"jwksUrl": url});
        let (a, b) = ("http://a.example", "http://b.example");
        for (first, second, refused) in [
            ((a, json!({})), (b, json!({})), None),
            (
                (a, url("http://x/1")),
                (b, url("http://x/1")),
                Some("jwksUrl"),
            ),
            ((a, url("http://x/1")), (b, url("http://x/2")), None),
            // The defaults of two issuers.
            (
                (a, json!({})),
                ("http://a.example/", json!({})),
                Some("jwksUrl"),
            ),
            (
                (a, given(&[key()])),
                (b, given(&[other.clone(), renamed])),
                Some("jwks"),
            ),
            ((a, given(&[key()])), (b, given(&[other])), None),
            ((a, given(&[key()])), (b, url("http://x/1")), None),
        ] {
            let issuers = json!([of(first.0, first.1), of(second.0, second.1)]);
            let outcome = Options::read(&issuers.to_string()).map(|all| all.len());
            match refused {
                None => assert_eq!(outcome, Ok(2), "{issuers}"),
                Some(option) => {
                    let said = outcome.unwrap_err().to_string();
                    let expected = format!("{option}: {} and {} have", second.0, first.0);
                    assert!(said.starts_with(&expected), "{issuers}: {said}");
                }
            }
        }
    }
}
