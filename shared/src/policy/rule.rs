//! One rule of a policy, compiled.

use alloc::boxed::Box;

use super::cache::Caching;
use super::host;
use super::limit::RateLimit;
use super::pattern::Pattern;
use super::requirement::Requirement;
use super::upstream::Headers;
use crate::path::CanonicalPath;

/// How old the revocation list may be where a rule does not say: the life of an access token.
///
/// Whoever could be revoked meanwhile cannot have refreshed either, so an outage of the issuer
/// costs nothing that expiry would not.
pub const DEFAULT_MAX_STALE_SECONDS: u32 = 900;

/// One rule: which requests it is for and what they need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub(super) name: Option<Box<str>>,
    pub(super) line: usize,
    pub(super) pattern: Pattern,
    /// Empty means every host.
    pub(super) hosts: Box<[Box<str>]>,
    /// Empty means every method.
    pub(super) methods: Box<[Box<str>]>,
    pub(super) access: Access,
    pub(super) forward_authorization: bool,
    pub(super) report_only: bool,
    pub(super) cors: Option<Cors>,
    pub(super) caching: Caching,
    pub(super) rate_limit: Option<RateLimit>,
    pub(super) upstream: Option<Box<str>>,
    /// Names and values.
    pub(super) headers: Headers,
}

/// Who may pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody; nothing is known about them.
    Public,
    /// Whoever has a valid token that meets the requirement.
    Token(Box<TokenAccess>),
}

/// What a protected rule asks for and how the token is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenAccess {
    /// What the token must say.
    pub requirement: Requirement,
    /// The issuers whose tokens are taken, [`OWN_ISSUER`] being the gate's own; empty: that alone.
    pub issuers: Box<[Box<str>]>,
    /// Audiences of which the token must be for one, beside the gate's own; empty: whichever.
    pub audience: Box<[Box<str>]>,
    /// How revocation is checked.
    pub revocation: Revocation,
    /// Where the token stands in the request.
    pub source: TokenSource,
}

/// What a rule calls the gate's own issuer, wherever the gate is. No other is called so: an issuer is
/// a URL (RFC 8414 §2).
pub const OWN_ISSUER: &str = "own";

impl TokenAccess {
    /// Whether the rule takes tokens of `issuer`, `own` being the gate's. What another issuer says of
    /// scopes, roles and people is its own word: a rule takes it only by name.
    pub fn takes_issuer(&self, issuer: &str, own: &str) -> bool {
        let is_own = issuer == own;
        if self.issuers.is_empty() {
            return is_own;
        }
        self.issuers.iter().any(|named| match &**named {
            OWN_ISSUER => is_own,
            named => named == issuer,
        })
    }

    /// Whether the rule takes a token for these.
    pub fn takes_audience<S: AsRef<str>>(&self, audience: &[S]) -> bool {
        self.audience.is_empty()
            || self
                .audience
                .iter()
                .any(|wanted| audience.iter().any(|one| one.as_ref() == &**wanted))
    }
}

/// How revocation is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// Against the list.
    List(Staleness),
    /// By asking the issuer on every request.
    Strict,
    /// Not at all: the token counts until it expires.
    Off,
}

/// How old the revocation list may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Staleness {
    /// A list issued longer ago than this many seconds does not count.
    pub max_stale: u32,
    /// For how many seconds beyond `max_stale` requests pass all the same; 0 is `on_stale = "deny"`.
    pub allow_for: u32,
}

impl Staleness {
    /// Whether a list of this age still allows a decision.
    pub const fn admits(self, age_seconds: i64) -> bool {
        // A list from the future does not count.
        age_seconds >= 0 && age_seconds <= self.max_stale as i64 + self.allow_for as i64
    }

    /// Whether a list of this age is relied on only because the rule allows a stale one.
    pub const fn is_grace(self, age_seconds: i64) -> bool {
        age_seconds > self.max_stale as i64 && self.admits(age_seconds)
    }
}

/// Where the token stands in the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// In the `Authorization` header.
    Header,
    /// In a cookie, which browsers send on other sites' behalf too.
    Cookie {
        /// The cookie's name.
        name: Box<str>,
        /// Origins whose pages may send an unsafe method.
        allowed_origins: Box<[Box<str>]>,
    },
    /// In a subprotocol of a WebSocket handshake
    /// ([`WEBSOCKET_TOKEN_PREFIX`](crate::headers::WEBSOCKET_TOKEN_PREFIX)), and in no other request.
    WebSocket {
        /// Origins whose pages may open one.
        allowed_origins: Box<[Box<str>]>,
    },
}

impl TokenSource {
    /// Whether a request may use this source: with a cookie, an unsafe method (RFC 9110 §9.2.1)
    /// needs an `Origin` that the rule names, or any site could act as the person (CSRF). So does an
    /// upgrade: a WebSocket handshake is a `GET`, from any site, and what follows is not. Only browsers
    /// have reason to offer a token as a subprotocol, so that one always needs such an `Origin`.
    pub fn admits_origin(&self, method: &str, upgrade: bool, origin: Option<&str>) -> bool {
        let is_among = |allowed: &[Box<str>]| {
            origin.is_some_and(|origin| allowed.iter().any(|one| **one == *origin))
        };
        match self {
            Self::Header => true,
            Self::Cookie {
                allowed_origins, ..
            } => (is_safe_method(method) && !upgrade) || is_among(allowed_origins),
            Self::WebSocket { allowed_origins } => is_among(allowed_origins),
        }
    }
}

/// Whether a method only reads (RFC 9110 §9.2.1).
pub(super) fn is_safe_method(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE")
}

/// What browsers on other origins may do (the CORS protocol of the Fetch standard).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// Origins that may read answers; empty means all of them (`*`).
    pub origins: Box<[Box<str>]>,
    /// Methods named in the answer to a preflight; empty means whichever was asked for.
    pub methods: Box<[Box<str>]>,
    /// Request headers that a page may set, in lower case.
    pub headers: Box<[Box<str>]>,
    /// Response headers that a page may read.
    pub expose: Box<[Box<str>]>,
    /// Whether cookies and other credentials may be sent.
    pub credentials: bool,
    /// For how many seconds a browser may keep the answer to a preflight.
    pub max_age: Option<u32>,
}

impl Cors {
    /// Whether pages of all origins may read answers: no credentials come with what they ask for.
    pub fn is_for_all(&self) -> bool {
        self.origins.is_empty() && !self.credentials
    }

    /// Whether pages of this origin may read answers.
    pub fn allows_origin(&self, origin: &str) -> bool {
        self.origins.is_empty() || self.origins.iter().any(|allowed| **allowed == *origin)
    }

    /// Whether a preflight for this method is answered.
    pub fn allows_method(&self, method: &str) -> bool {
        self.methods.is_empty() || self.methods.iter().any(|allowed| **allowed == *method)
    }

    /// Whether every header in an `Access-Control-Request-Headers` value may be set.
    pub fn allows_headers(&self, requested: &str) -> bool {
        requested
            .split(',')
            .map(|name| name.trim_matches([' ', '\t']))
            .filter(|name| !name.is_empty())
            .all(|name| {
                self.headers
                    .iter()
                    .any(|allowed| allowed.eq_ignore_ascii_case(name))
            })
    }
}

impl Rule {
    /// What the rule is called in logs: its `name`, or its pattern.
    pub fn name(&self) -> &str {
        self.name
            .as_deref()
            .unwrap_or_else(|| self.pattern.as_str())
    }

    /// The line of the policy on which the rule begins, counted from 1.
    pub const fn line(&self) -> usize {
        self.line
    }

    /// Which paths it is for.
    pub const fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// Which methods it is for; empty means every method.
    pub const fn methods(&self) -> &[Box<str>] {
        &self.methods
    }

    /// Who may pass.
    pub const fn access(&self) -> &Access {
        &self.access
    }

    /// Whether everybody may pass without a token.
    pub const fn is_public(&self) -> bool {
        matches!(self.access, Access::Public)
    }

    /// Whether a token is looked for among the subprotocols of a WebSocket handshake.
    pub fn takes_websocket_token(&self) -> bool {
        matches!(&self.access, Access::Token(access)
            if matches!(access.source, TokenSource::WebSocket { .. }))
    }

    /// The cookie in which a token is looked for, if it is one.
    pub fn token_cookie(&self) -> Option<&str> {
        match &self.access {
            Access::Token(access) => match &access.source {
                TokenSource::Cookie { name, .. } => Some(name),
                TokenSource::Header | TokenSource::WebSocket { .. } => None,
            },
            Access::Public => None,
        }
    }

    /// Whether `Authorization` goes on to the upstream, and the cookie that the token came in.
    pub const fn forwards_authorization(&self) -> bool {
        self.forward_authorization
    }

    /// Whether the upstream gets the fields that name a second place beside the path of a request
    /// ([`is_second_place`](crate::headers::is_second_place)): only where the rule names its methods. One
    /// that is for whichever comes was not written with `COPY` in mind.
    pub const fn forwards_second_place(&self) -> bool {
        !self.methods.is_empty()
    }

    /// Whether a refusal is recorded and not enforced.
    pub const fn is_report_only(&self) -> bool {
        self.report_only
    }

    /// What browsers on other origins may do; none: no preflight is answered.
    pub const fn cors(&self) -> Option<&Cors> {
        self.cors.as_ref()
    }

    /// Who may keep the answers.
    pub const fn caching(&self) -> Caching {
        self.caching
    }

    /// How often one may ask.
    pub const fn rate_limit(&self) -> Option<&RateLimit> {
        self.rate_limit.as_ref()
    }

    /// Where what passes is sent, without a slash at the end; none: to the gate's upstream.
    pub fn upstream(&self) -> Option<&str> {
        self.upstream.as_deref()
    }

    /// Names and values of header fields that the upstream gets with what passes.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The hosts that the rule is for; empty: every host.
    pub const fn hosts(&self) -> &[Box<str>] {
        &self.hosts
    }

    /// Whether the rule is for this request. Nothing is allocated.
    pub fn matches(&self, host: Option<&str>, method: &str, path: &CanonicalPath<'_>) -> bool {
        self.has_method(method) && self.pattern.matches(path) && self.has_host(host)
    }

    fn has_host(&self, host: Option<&str>) -> bool {
        self.hosts.is_empty()
            || host.is_some_and(|name| {
                self.hosts
                    .iter()
                    .any(|pattern| host::matches(pattern, name))
            })
    }

    pub(super) fn has_method(&self, method: &str) -> bool {
        self.methods.is_empty() || self.methods.iter().any(|m| **m == *method)
    }

    /// Whether every request that `other` is for is one that this rule is for.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let methods = self.methods.is_empty()
            || (!other.methods.is_empty() && other.methods.iter().all(|m| self.has_method(m)));
        let hosts = self.hosts.is_empty()
            || (!other.hosts.is_empty()
                && other
                    .hosts
                    .iter()
                    .all(|theirs| self.hosts.iter().any(|ours| host::covers(ours, theirs))));
        methods && hosts && self.pattern.covers(&other.pattern)
    }
}
