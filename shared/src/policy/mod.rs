//! The route policy: which requests may pass, and what their tokens must say.
//!
//! A policy is TOML text, compiled once by [`Policy::parse`]. The first rule that matches decides;
//! where none matches there is no answer, and the gate refuses (`route_unknown`). The steps of a
//! request: [canonicalise](crate::path::canonicalise) its path → [find](Policy::find) the rule →
//! verify the token that the rule's [`TokenSource`] names → [check](Requirement::check) the
//! requirement.
//!
//! In scope: matching and requirements. Out of scope: where policies come from, tokens, and the
//! answers on the wire. The language is documented in `docs/policy.md`.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::headers;
use crate::path::CanonicalPath;

mod cache;
mod fields;
mod host;
mod limit;
mod owner;
mod pattern;
mod reach;
mod reader;
mod requirement;
mod rule;
mod upstream;

pub use cache::{Caching, is_other_cache_field};
pub use fields::{MAX_LIST, is_issuer, is_name, is_scope_token};
pub use limit::{LimitedBy, RateLimit};
pub use owner::{Owner, OwnerClaim};
pub use pattern::Pattern;
pub use requirement::{
    AUTH_TIME_LEEWAY_SECONDS, FactorKind, Holder, MAX_AUTHENTICATION_AGE_SECONDS, Missing,
    Requirement,
};
pub use rule::{
    Access, Cors, DEFAULT_MAX_STALE_SECONDS, OWN_ISSUER, Revocation, Rule, Staleness, TokenAccess,
    TokenSource,
};

/// The longest policy text in bytes: 256 KiB.
///
/// A thousand rules of 200 bytes fit; an isolate must read and compile the text within its start-up
/// second.
pub const MAX_POLICY_BYTES: usize = 256 * 1024;

/// The most rules of a policy.
///
/// A request compares its path with the rules one after another. A rule that does not match costs
/// one comparison of its literal beginning, so that a thousand cost about 6 µs (measured, x86-64)
/// without an index; a policy with more is generated and should use `**`.
pub const MAX_RULES: usize = 1000;

/// A compiled policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    rules: Box<[Rule]>,
    /// The names of the header fields that some rule sets, by their letters and digits; sorted.
    set_headers: Box<[Box<[u8]>]>,
    has_hosts: bool,
}

impl Policy {
    /// Compiles the text of a policy.
    ///
    /// # Errors
    /// [`PolicyError`] for text that is not TOML, for keys and values that are not understood, and
    /// for rules that contradict themselves or can never be reached: a policy is taken whole or
    /// not at all.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        reader::read(text).map(Self::of)
    }

    fn of(rules: Box<[Rule]>) -> Self {
        let names = rules.iter().flat_map(Rule::headers).map(|(name, _)| name);
        let mut set_headers: Vec<Box<[u8]>> = names
            .map(|name| headers::fold(name.as_bytes()).collect())
            .collect();
        set_headers.sort_unstable();
        set_headers.dedup();
        Self {
            has_hosts: rules.iter().any(|rule| !rule.hosts().is_empty()),
            set_headers: set_headers.into(),
            rules,
        }
    }

    /// The rules, in order.
    pub const fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether some rule is for some hosts alone.
    pub const fn has_hosts(&self) -> bool {
        self.has_hosts
    }

    /// Whether some rule sets a header field that `name` is a spelling of.
    ///
    /// Who believes such a field believes it on every route, and in every spelling that becomes the
    /// same name for an application ([`headers::is_identity_header`]). Nothing is allocated.
    pub fn sets_header(&self, name: &[u8]) -> bool {
        let names = &self.set_headers;
        !names.is_empty()
            && names
                .binary_search_by(|own| own.iter().copied().cmp(headers::fold(name)))
                .is_ok()
    }

    /// The first rule for this host, method and path; none means that the request is refused.
    ///
    /// Methods are compared exactly, as RFC 9110 §9.1 has it: a rule for `GET` is not one for
    /// `HEAD`, nor for `get`. `host` is the `Host` of the request, with or without a port; without
    /// one only rules for every host match. Nothing is allocated.
    pub fn find(
        &self,
        host: Option<&str>,
        method: &str,
        path: &CanonicalPath<'_>,
    ) -> Option<&Rule> {
        self.rules
            .iter()
            .find(|rule| rule.matches(host, method, path))
    }

    /// The rule for a CORS preflight: the first one for the method that the browser asks about in
    /// `Access-Control-Request-Method`, not for `OPTIONS`.
    ///
    /// A rule without [`cors`](Rule::cors) answers none: the preflight is then a request like any
    /// other.
    pub fn find_preflight(
        &self,
        host: Option<&str>,
        requested_method: &str,
        path: &CanonicalPath<'_>,
    ) -> Option<&Rule> {
        self.find(host, requested_method, path)
    }
}

/// Why a policy cannot be understood, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    /// The line, counted from 1, where the cause has a place.
    pub line: Option<usize>,
    /// The column, counted in characters from 1.
    pub column: Option<usize>,
    /// What is wrong and what was expected.
    pub message: String,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl core::error::Error for PolicyError {}
