//! What a verifier is told: whom to trust, for what, and where their documents are.

use std::fmt;

use edgekeep_shared::control::{ControlKeys, MAX_DOCUMENT_BYTES};
use edgekeep_shared::gate::RevocationSources;
use edgekeep_shared::jwk::{Algorithm, MAX_SET_BYTES};
use edgekeep_shared::policy::{DEFAULT_MAX_STALE_SECONDS, Revocation, Staleness};
use edgekeep_shared::verifier::{self, MAX_LEEWAY};
use reqwest::Url;

use crate::clock::Clock;
use crate::source::Source;

/// Seconds of clock difference that are tolerated where nothing is said: the gate's.
const DEFAULT_LEEWAY: u32 = 5;

/// The most seconds for which a stale list can be made to count: no token lives longer than a day.
const MAX_STALENESS: u32 = 86_400;

/// Why there is no verifier or no layer: an option, and what was expected of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionsError(String);

impl OptionsError {
    pub(crate) fn new(option: &str, expected: impl fmt::Display) -> Self {
        Self(format!("{option}: {expected}"))
    }
}

impl fmt::Display for OptionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for OptionsError {}

/// Whom a verifier trusts, and for what.
///
/// Either [`control_keys`](Self::control_keys) or [`without_revocation`](Self::without_revocation)
/// must be said; everything else has a default, which is the gate's.
#[derive(Clone, Debug)]
#[must_use]
pub struct Options {
    issuer: String,
    audience: String,
    control_keys: Option<String>,
    without_revocation: bool,
    jwks_url: Option<String>,
    revocations_url: Option<String>,
    algorithms: Vec<Algorithm>,
    leeway: u32,
    max_stale: u32,
    allow_stale_for: u32,
    clock: Clock,
}

impl Options {
    /// Tokens of `issuer` (`iss`, compared exactly) for `audience` (one of `aud`).
    pub fn new(issuer: impl Into<String>, audience: impl Into<String>) -> Self {
        Self {
            issuer: issuer.into(),
            audience: audience.into(),
            control_keys: None,
            without_revocation: false,
            jwks_url: None,
            revocations_url: None,
            algorithms: Algorithm::ALL.to_vec(),
            leeway: DEFAULT_LEEWAY,
            max_stale: DEFAULT_MAX_STALE_SECONDS,
            allow_stale_for: 0,
            clock: Clock::System,
        }
    }

    /// The public halves of the keys that sign the revocation list, one or two, as `edgekeep keys
    /// control` prints them: a JWK, an array or a JWK Set. A list that none of them has signed does
    /// not count.
    pub fn control_keys(mut self, jwks: impl Into<String>) -> Self {
        self.control_keys = Some(jwks.into());
        self
    }

    /// Asks for no revocation list: a token that was revoked passes until it expires.
    pub fn without_revocation(mut self) -> Self {
        self.without_revocation = true;
        self
    }

    /// Where the JWK Set is; by default `<issuer>/.well-known/jwks.json`.
    pub fn jwks_url(mut self, url: impl Into<String>) -> Self {
        self.jwks_url = Some(url.into());
        self
    }

    /// Where the revocation list is; by default `<issuer>/.well-known/revocations`.
    pub fn revocations_url(mut self, url: impl Into<String>) -> Self {
        self.revocations_url = Some(url.into());
        self
    }

    /// The algorithms that are accepted; by default all for which the issuer publishes a key.
    pub fn algorithms(mut self, algorithms: impl Into<Vec<Algorithm>>) -> Self {
        self.algorithms = algorithms.into();
        self
    }

    /// Seconds by which clocks may differ, at most 300; by default 5.
    pub const fn leeway(mut self, seconds: u32) -> Self {
        self.leeway = seconds;
        self
    }

    /// A list that was signed longer ago than so many seconds, 1 to 86,400, does not count; by
    /// default 900, the life of an access token.
    pub const fn max_stale(mut self, seconds: u32) -> Self {
        self.max_stale = seconds;
        self
    }

    /// For so many seconds more, at most 86,400, requests pass on a stale list; by default none do.
    pub const fn allow_stale_for(mut self, seconds: u32) -> Self {
        self.allow_stale_for = seconds;
        self
    }

    /// Another clock than the machine's, for tests.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    pub(crate) fn read(self) -> Result<Settings, OptionsError> {
        for (option, text) in [("issuer", &self.issuer), ("audience", &self.audience)] {
            if text.is_empty() {
                return Err(OptionsError::new(option, "is empty"));
            }
        }
        if self.algorithms.is_empty() {
            return Err(OptionsError::new("algorithms", "none is accepted"));
        }
        for (option, seconds, least, most) in [
            ("leeway", self.leeway, 0, MAX_LEEWAY),
            ("max_stale", self.max_stale, 1, MAX_STALENESS),
            ("allow_stale_for", self.allow_stale_for, 0, MAX_STALENESS),
        ] {
            if !(least..=most).contains(&seconds) {
                let expected = format_args!("expected {least} to {most} seconds");
                return Err(OptionsError::new(option, expected));
            }
        }
        let keys = self.source(
            "jwks_url",
            self.jwks_url.as_deref(),
            "jwks.json",
            MAX_SET_BYTES,
        )?;
        let (list, revocation) = self.list()?;
        let sources = match list {
            Some(_) => RevocationSources::Configured,
            None => RevocationSources::None,
        };
        Ok(Settings {
            verifier: verifier::Verifier::new(self.issuer, self.audience)
                .with_algorithms(self.algorithms)
                .with_leeway(self.leeway),
            revocation,
            sources,
            keys,
            list,
            clock: self.clock,
        })
    }

    fn list(&self) -> Result<(Option<ListSource>, Revocation), OptionsError> {
        let written = match (&self.control_keys, self.without_revocation) {
            (Some(written), false) => written,
            (None, true) => return Ok((None, Revocation::Off)),
            (Some(_), true) => {
                let expected = "contradict without_revocation";
                return Err(OptionsError::new("control_keys", expected));
            }
            (None, false) => {
                let expected = "are missing, so that no list can be believed; whoever wants none \
                                says so by without_revocation";
                return Err(OptionsError::new("control_keys", expected));
            }
        };
        let control_keys = ControlKeys::parse(written.as_bytes()).map_err(|cause| {
            let expected = "expected one or two public Ed25519 JWKs, as `edgekeep keys control` \
                            prints them";
            OptionsError::new("control_keys", format_args!("{cause}; {expected}"))
        })?;
        let url = self.revocations_url.as_deref();
        let source = self.source("revocations_url", url, "revocations", MAX_DOCUMENT_BYTES)?;
        let staleness = Staleness {
            max_stale: self.max_stale,
            allow_for: self.allow_stale_for,
        };
        let list = ListSource {
            source,
            control_keys,
        };
        Ok((Some(list), Revocation::List(staleness)))
    }

    /// The document at `url`, else the one that issuers publish as `name`.
    fn source(
        &self,
        option: &str,
        url: Option<&str>,
        name: &str,
        limit: usize,
    ) -> Result<Source, OptionsError> {
        let published = || format!("{}/.well-known/{name}", self.issuer.trim_end_matches('/'));
        let url = url.map_or_else(published, str::to_owned);
        let absolute = Url::parse(&url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"));
        let Some(url) = absolute else {
            let expected = "expected an absolute http or https URL; the default needs an issuer \
                            that is one";
            return Err(OptionsError::new(option, expected));
        };
        Source::new(url, limit).map_err(|cause| OptionsError::new(option, cause))
    }
}

/// Options that make sense.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) verifier: verifier::Verifier,
    pub(crate) revocation: Revocation,
    pub(crate) sources: RevocationSources,
    pub(crate) keys: Source,
    /// `None` by the caller's word.
    pub(crate) list: Option<ListSource>,
    pub(crate) clock: Clock,
}

/// Where the revocation list comes from.
#[derive(Debug)]
pub(crate) struct ListSource {
    pub(crate) source: Source,
    /// What must have signed it.
    pub(crate) control_keys: ControlKeys,
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

    fn usual() -> Options {
        Options::new("https://id.example/", "api").control_keys(KEY)
    }

    #[test]
    fn reads_the_usual_options() {
        let settings = usual().read().unwrap();
        let url = |source: &Source| source.url().to_string();
        assert_eq!(
            url(&settings.keys),
            "https://id.example/.well-known/jwks.json"
        );
        let list = settings.list.as_ref().unwrap();
        assert_eq!(
            url(&list.source),
            "https://id.example/.well-known/revocations"
        );
        let expected = Staleness {
            max_stale: 900,
            allow_for: 0,
        };
        assert_eq!(settings.revocation, Revocation::List(expected));
        assert_eq!(settings.sources, RevocationSources::Configured);
    }

    #[test]
    fn goes_without_a_list_by_word_alone() {
        let silent = Options::new("https://id.example", "api");
        assert!(silent.clone().read().is_err());
        let settings = silent.without_revocation().read().unwrap();
        assert!(settings.list.is_none());
        assert_eq!(settings.sources, RevocationSources::None);
    }

    #[test]
    fn names_the_option_that_is_wrong() {
        let issuer = |issuer: &str| Options::new(issuer, "api").control_keys(KEY);
        for (option, options) in [
            ("issuer", issuer("")),
            (
                "audience",
                Options::new("https://id.example", "").control_keys(KEY),
            ),
            ("jwks_url", issuer("id.example")),
            ("jwks_url", usual().jwks_url("")),
            ("jwks_url", usual().jwks_url("/jwks.json")),
            ("jwks_url", usual().jwks_url("file:///etc/passwd")),
            ("jwks_url", usual().jwks_url("https://")),
            ("revocations_url", usual().revocations_url("ftp://x/")),
            ("algorithms", usual().algorithms([])),
            ("leeway", usual().leeway(301)),
            ("max_stale", usual().max_stale(0)),
            ("max_stale", usual().max_stale(86_401)),
            ("allow_stale_for", usual().allow_stale_for(86_401)),
            ("control_keys", usual().without_revocation()),
            ("control_keys", usual().control_keys("")),
            ("control_keys", usual().control_keys("[]")),
            (
                "control_keys",
                usual().control_keys(format!("[{KEY},{KEY}]")),
            ),
        ] {
            let message = options.read().map(|_| ()).unwrap_err().to_string();
            assert!(message.starts_with(&format!("{option}: ")), "{message}");
        }
    }
}
