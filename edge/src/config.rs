//! The worker's variables and secrets, read once per isolate.

use core::fmt;

use edgekeep_shared::{
    control::ControlKeys,
    gate::RevocationSources,
    jwk::Algorithm,
    policy::Policy,
    url,
    verifier::{MAX_LEEWAY, Verifier},
};

use crate::{
    assertion::AssertionKey,
    authz::Gateway,
    issuers::{self, Foreign},
    record::Logged,
};

/// Seconds of clock difference that are tolerated where `LEEWAY` does not say.
pub const DEFAULT_LEEWAY: u32 = 5;

/// Why the worker cannot judge anything: a variable, and what was expected of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The name of the variable.
    pub variable: &'static str,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.variable, self.message)
    }
}

impl core::error::Error for ConfigError {}

/// What the worker was told.
#[derive(Debug)]
pub struct Config {
    /// `ISSUER`, `AUDIENCE`, `ALGORITHMS` and `LEEWAY`: whose tokens, for whom, signed how, how exact
    /// in time.
    pub verifier: Verifier,
    /// `JWKS_URL`, or the issuer's usual place below `ORIGIN_URL`.
    pub jwks_url: String,
    /// `ISSUERS`: issuers beside the gate's own; mostly none.
    pub foreign: Vec<Foreign>,
    /// `UPSTREAM_URL`, without a slash at the end.
    pub upstream_url: String,
    /// `ORIGIN_URL`, without a slash at the end.
    pub origin_url: Option<String>,
    /// `CONTROL_KEYS`
    pub control_keys: Option<ControlKeys>,
    /// Whether lists are read from KV.
    pub list_from_kv: bool,
    /// Whether lists are read from the issuer's feed.
    pub list_from_feed: bool,
    /// `REVOCATION_SOURCES`
    pub sources: RevocationSources,
    /// `POLICY`; where unset, the policy is read from KV.
    pub policy: Option<Policy>,
    /// `ORIGIN_TOKEN`, which lets the gate ask about tokens.
    pub origin_token: Option<String>,
    /// `ASSERTION_KEY`
    pub assertion_key: Option<AssertionKey>,
    /// `AUTHZ`: the gateway whose questions are answered at [`authz::PATH`](crate::authz::PATH);
    /// unset: nobody's.
    pub authz: Option<Gateway>,
    /// `METRICS_TOKEN`, by which the counts may be read; unset: by nobody.
    pub metrics_token: Option<String>,
    /// `LOG`: which requests have a line in the log.
    pub logged: Logged,
}

impl Config {
    /// Reads the variables that `variable` gives; an empty one counts as unset.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for the first that is missing or cannot be understood. A gate that does not
    /// know what it was told judges nothing.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let optional = |name: &'static str| variable(name).filter(|value| !value.is_empty());
        let required = |name: &'static str| optional(name).ok_or_else(|| error(name, "is not set"));
        let origin_url = optional("ORIGIN_URL")
            .map(|url| base("ORIGIN_URL", &url))
            .transpose()?;
        let jwks_url = match (optional("JWKS_URL"), &origin_url) {
            // Nothing is put behind it.
            (Some(url), _) if url::is_absolute(&url) => url.trim_end_matches('/').to_owned(),
            (Some(_), _) => {
                let expected = "expected an absolute http or https URL without user, with a host and a \
                                port that exist";
                return Err(error("JWKS_URL", expected));
            }
            (None, Some(origin)) => format!("{origin}/.well-known/jwks.json"),
            (None, None) => return Err(error("JWKS_URL", "is not set, nor is ORIGIN_URL")),
        };
        let leeway = match optional("LEEWAY") {
            None => DEFAULT_LEEWAY,
            Some(text) => text
                .parse()
                .ok()
                .filter(|leeway| *leeway <= MAX_LEEWAY)
                .ok_or_else(|| {
                    error(
                        "LEEWAY",
                        format!("expected whole seconds, 0 to {MAX_LEEWAY}"),
                    )
                })?,
        };
        let control_keys = optional("CONTROL_KEYS")
            .map(|text| {
                ControlKeys::parse(text.as_bytes()).map_err(|cause| {
                    let expected = "expected one or two public Ed25519 JWKs, as \
                                    `edgekeep keys control` prints them";
                    error("CONTROL_KEYS", format!("{cause}; {expected}"))
                })
            })
            .transpose()?;
        let (list_from_kv, list_from_feed, sources) =
            sources(optional("REVOCATION_SOURCES").as_deref());
        if sources == RevocationSources::Configured && control_keys.is_none() {
            return Err(error(
                "CONTROL_KEYS",
                "is not set: no revocation list can be believed",
            ));
        }
        if list_from_feed && origin_url.is_none() {
            return Err(error(
                "ORIGIN_URL",
                "is not set, but REVOCATION_SOURCES has `feed`",
            ));
        }
        let policy = optional("POLICY")
            .map(|text| Policy::parse(&text).map_err(|cause| error("POLICY", cause.to_string())))
            .transpose()?;
        let assertion_key = optional("ASSERTION_KEY")
            .map(|text| {
                AssertionKey::parse(text.as_bytes()).ok_or_else(|| {
                    error("ASSERTION_KEY", "expected a private Ed25519 JWK (RFC 8037)")
                })
            })
            .transpose()?;
        let authz = optional("AUTHZ")
            .map(|name| {
                Gateway::from_name(&name)
                    .ok_or_else(|| error("AUTHZ", "expected `nginx`, `forwarded` or `envoy`"))
            })
            .transpose()?;
        let logged = match optional("LOG").as_deref() {
            None | Some("all") => Logged::All,
            Some("refusals") => Logged::Refusals,
            Some(_) => return Err(error("LOG", "expected `all` or `refusals`")),
        };
        let mut verifier = Verifier::new(required("ISSUER")?, required("AUDIENCE")?)
            .with_algorithms(algorithms(optional("ALGORITHMS").as_deref())?)
            .with_leeway(leeway);
        let foreign = match optional("ISSUERS") {
            None => Vec::new(),
            Some(text) => {
                verifier = verifier.among_several();
                issuers::read(&text, (verifier.issuer(), &jwks_url), leeway)
                    .map_err(|message| error("ISSUERS", message))?
            }
        };
        Ok(Self {
            verifier,
            jwks_url,
            foreign,
            upstream_url: base("UPSTREAM_URL", &required("UPSTREAM_URL")?)?,
            origin_url,
            control_keys,
            list_from_kv,
            list_from_feed,
            sources,
            policy,
            origin_token: optional("ORIGIN_TOKEN"),
            assertion_key,
            authz,
            metrics_token: optional("METRICS_TOKEN"),
            logged,
        })
    }
}

fn error(variable: &'static str, message: impl Into<String>) -> ConfigError {
    ConfigError {
        variable,
        message: message.into(),
    }
}

/// A URL to put a path behind, as a rule's `upstream` is.
fn base(variable: &'static str, text: &str) -> Result<String, ConfigError> {
    url::base(text).map(str::to_owned).ok_or_else(|| {
        let expected = "expected an absolute http or https URL without user and query, with a host \
                        and a port that exist and a canonical path";
        error(variable, expected)
    })
}

/// What `ALGORITHMS` says; unset, every algorithm that the issuer has keys for. An unknown word
/// stops the gate: whoever wrote it expected tokens of it.
fn algorithms(value: Option<&str>) -> Result<Vec<Algorithm>, ConfigError> {
    let Some(value) = value else {
        return Ok(Algorithm::ALL.to_vec());
    };
    let named = |word: &str| Algorithm::from_name(word.trim());
    value
        .split(',')
        .map(named)
        .collect::<Option<_>>()
        .ok_or_else(|| {
            error(
                "ALGORITHMS",
                "expected a list of `ES256`, `EdDSA`, `RS256`, separated by commas",
            )
        })
}

/// What `REVOCATION_SOURCES` says. An unknown word is not skipped: whoever wrote it expected
/// something of it.
fn sources(value: Option<&str>) -> (bool, bool, RevocationSources) {
    let (mut kv, mut feed) = (false, false);
    match value.map(str::trim) {
        Some("none") => return (false, false, RevocationSources::None),
        Some(value) => {
            for word in value.split(',') {
                match word.trim() {
                    "kv" => kv = true,
                    "feed" => feed = true,
                    _ => return (false, false, RevocationSources::Unconfigured),
                }
            }
        }
        None => return (false, false, RevocationSources::Unconfigured),
    }
    (kv, feed, RevocationSources::Configured)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        r#"[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]"#;

    fn read(changes: &[(&str, Option<&str>)]) -> Result<Config, ConfigError> {
        let usual = [
            ("ISSUER", "https://id.example"),
            ("AUDIENCE", "api"),
            ("UPSTREAM_URL", "http://127.0.0.1:8090/"),
            ("ORIGIN_URL", "https://id.example"),
            ("CONTROL_KEYS", KEY),
            ("REVOCATION_SOURCES", "kv,feed"),
        ];
        Config::read(|name| {
            let usual = || {
                usual
                    .iter()
                    .find(|(n, _)| *n == name)
                    .map(|(_, value)| *value)
            };
            let given = changes
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, value)| *value);
            given.unwrap_or_else(usual).map(str::to_owned)
        })
    }

    #[test]
    fn reads_the_usual_variables() {
        let config = read(&[]).unwrap();
        assert_eq!(config.jwks_url, "https://id.example/.well-known/jwks.json");
        assert_eq!(config.upstream_url, "http://127.0.0.1:8090");
        assert_eq!(config.sources, RevocationSources::Configured);
        assert!(config.list_from_kv && config.list_from_feed && config.policy.is_none());
        assert_eq!(config.logged, Logged::All);
        let config = read(&[("LOG", Some("refusals"))]).unwrap();
        assert_eq!(config.logged, Logged::Refusals);
    }

    #[test]
    fn knows_no_revocation_source_but_the_named_ones() {
        for (value, expected) in [
            (None, RevocationSources::Unconfigured),
            (Some(""), RevocationSources::Unconfigured),
            (Some("kv,redis"), RevocationSources::Unconfigured),
            (Some("none,kv"), RevocationSources::Unconfigured),
            (Some("off"), RevocationSources::Unconfigured),
            (Some("none"), RevocationSources::None),
            (Some("feed"), RevocationSources::Configured),
            (Some(" kv , feed "), RevocationSources::Configured),
        ] {
            let config = read(&[("REVOCATION_SOURCES", value)]).unwrap();
            assert_eq!(config.sources, expected, "{value:?}");
        }
    }

    #[test]
    fn knows_the_algorithms_by_every_name() {
        assert_eq!(algorithms(None).unwrap(), Algorithm::ALL);
        let both = algorithms(Some("Ed25519, RS256")).unwrap();
        assert_eq!(both, [Algorithm::EdDsa, Algorithm::Rs256]);
    }

    #[test]
    fn names_the_variable_that_is_wrong() {
        for (variable, value) in [
            ("ISSUER", None),
            ("AUDIENCE", Some("")),
            ("UPSTREAM_URL", Some("127.0.0.1:8090")),
            ("UPSTREAM_URL", Some("http:///x")),
            ("UPSTREAM_URL", Some("https://x/?a=b")),
            ("UPSTREAM_URL", Some("http://x:99999")),
            ("UPSTREAM_URL", Some("http://[::1")),
            ("UPSTREAM_URL", Some("http://user:pw@x")),
            ("UPSTREAM_URL", Some("http://x/a/../b")),
            ("ORIGIN_URL", Some("http://x:")),
            ("JWKS_URL", Some("http://a|b/keys")),
            ("ALGORITHMS", Some("RS512")),
            ("ALGORITHMS", Some("ES256,none")),
            ("ALGORITHMS", Some("ES256,")),
            ("ALGORITHMS", Some("rs256")),
            ("LEEWAY", Some("301")),
            ("LEEWAY", Some("-1")),
            ("LEEWAY", Some("5s")),
            ("CONTROL_KEYS", None),
            ("CONTROL_KEYS", Some("[]")),
            ("CONTROL_KEYS", Some("x")),
            ("POLICY", Some("[[route]]\nmatch = 1")),
            ("ASSERTION_KEY", Some(KEY)),
            ("AUTHZ", Some("on")),
            ("AUTHZ", Some("nginx,envoy")),
            ("LOG", Some("none")),
            ("LOG", Some("ALL")),
            ("ISSUERS", Some("https://a.example")),
            (
                "ISSUERS",
                Some(
                    r#"[{"issuer":"https://id.example","audience":"api","revocation":"none",
                        "jwks_url":"https://a.example/keys"}]"#,
                ),
            ),
            (
                "ISSUERS",
                Some(
                    r#"[{"issuer":"https://a.example","audience":"api","revocation":"none",
                        "jwks_url":"https://id.example/.well-known/jwks.json"}]"#,
                ),
            ),
        ] {
            let error = read(&[(variable, value)]).map(|_| ()).unwrap_err();
            assert_eq!(error.variable, variable, "{value:?}");
        }
        assert!(
            read(&[("POLICY", Some("[[route]]\nmatch = 1"))])
                .unwrap_err()
                .message
                .contains("line 2")
        );
    }
}
