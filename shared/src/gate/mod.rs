//! The gate's decision: a pure function of the request, of what the gate knows, and of the time.
//!
//! [`decide`] does no I/O. Where it lacks something that can be had, it says so
//! ([`Decision::Wait`]); the caller fetches it, records in [`Progress`] that it did, and asks
//! again. Every path through it ends in a forward or a refusal.

use alloc::{boxed::Box, string::String, sync::Arc};

use crate::{
    error::Rejection,
    headers,
    path::{self, CanonicalPath},
    policy::{Access, Cors, Policy, Revocation, Rule, Staleness, TokenAccess, TokenSource},
    time::UnixTime,
    token::UnverifiedToken,
    verifier::{VerifiedToken, Verifier},
};

pub mod cache;
pub mod issuers;
pub mod keys;
pub mod list;
pub mod refresh;
pub mod refusal;
pub mod rules;
pub mod signature;

use cache::{TokenHash, VerifiedTokens};
use issuers::ForeignIssuer;
use keys::HeldKeys;
use list::{Check, HeldList};
use refresh::Millis;
pub use refusal::Refusal;
use signature::{SignatureCheck, Signatures};

/// What of a request matters to the decision.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'r> {
    /// The method, as on the request line.
    pub method: &'r str,
    /// The path, as on the request line, without the query.
    pub path: &'r str,
    /// `Host`
    pub host: Option<&'r str>,
    /// `Authorization`; several are joined by a comma, as HTTP has it.
    pub authorization: Option<&'r str>,
    /// `Cookie`
    pub cookie: Option<&'r str>,
    /// `Origin`
    pub origin: Option<&'r str>,
    /// Whether there is an `Upgrade`, as to a WebSocket.
    pub upgrade: bool,
    /// `Sec-WebSocket-Protocol` of a request with `Upgrade: websocket`; of any other request none.
    pub websocket_protocols: Option<&'r str>,
    /// `Access-Control-Request-Method`
    pub preflight_method: Option<&'r str>,
    /// `Access-Control-Request-Headers`
    pub preflight_headers: Option<&'r str>,
}

/// Where revocation lists come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevocationSources {
    /// Nobody has said: protected routes are refused.
    Unconfigured,
    /// Nowhere, by the operator's word: tokens count until they expire.
    None,
    /// From sources that the gate asks.
    Configured,
}

/// What the gate knows.
#[derive(Debug)]
pub struct Knowledge<'k> {
    /// The gate's own issuer: who is trusted, and for what.
    pub verifier: &'k Verifier,
    /// Its keys.
    pub keys: &'k HeldKeys,
    /// Issuers beside it, for rules that name them.
    pub foreign: &'k [ForeignIssuer],
    /// The list.
    pub list: &'k HeldList,
    /// Whether there is to be a list.
    pub sources: RevocationSources,
    /// Tokens verified before.
    pub verified: &'k mut VerifiedTokens,
}

/// What has been done for this request already.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// The keys were waited for; there is no waiting twice.
    pub waited_for_keys: bool,
    /// The list was waited for.
    pub waited_for_list: bool,
    /// The issuer was asked about this very token.
    pub introspection: Option<Introspection>,
    /// Who verifies the signature, and whether that is done.
    pub signatures: Signatures,
    /// The signature was verified for this request, before something had to be waited for. The
    /// decision notes it here itself.
    pub verified: bool,
}

/// What the issuer said about a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Introspection {
    /// It is active.
    Active,
    /// It is not.
    Inactive,
    /// No answer could be had.
    Unavailable,
}

/// Something to fetch before the decision can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// A newer JWK Set of the gate's own issuer.
    Keys,
    /// A newer JWK Set of the issuer beside it with this index.
    ForeignKeys(usize),
    /// A checked revocation list.
    List,
    /// The issuer's word on this token.
    Introspection,
    /// The verdict on its signature; only where [`Progress::signatures`] has asked for it.
    Signature(Box<SignatureCheck>),
}

/// What to do with the request.
#[derive(Debug)]
pub enum Decision<'p, 'r> {
    /// Send it on.
    Forward(Forward<'p, 'r>),
    /// Answer the CORS preflight.
    Preflight(Preflight<'p, 'r>),
    /// Refuse it.
    Refuse(Refusal<'p>),
    /// Fetch something and ask again.
    Wait(Need),
}

/// A CORS preflight that a rule allows.
#[derive(Debug)]
pub struct Preflight<'p, 'r> {
    /// The path that the policy has seen.
    pub path: CanonicalPath<'r>,
    /// What the rule lets pages do.
    pub cors: &'p Cors,
}

/// A request that may pass.
#[derive(Debug)]
pub struct Forward<'p, 'r> {
    /// The path that the policy has seen, and that the upstream must get.
    pub path: CanonicalPath<'r>,
    /// The rule that let it pass.
    pub rule: &'p Rule,
    /// The verified token, on a protected route; none where the rule only reports that it does not count.
    pub token: Option<Arc<VerifiedToken>>,
    /// Whether the signature was spared by the cache.
    pub cached: bool,
    /// How the revocation list was used.
    pub list: ListUse,
    /// Why it would have been refused, where the rule only reports.
    pub reported: Option<Rejection>,
}

/// How the revocation list was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListUse {
    /// The request passed because the list does not name its token.
    pub used: bool,
    /// The list is due to be checked behind the answer.
    pub check: bool,
    /// It is older than it should be and counts only because the rule allows it.
    pub stale: bool,
}

/// Decides about `request` at the instant `now`.
pub fn decide<'p, 'r>(
    request: &Request<'r>,
    policy: &'p Policy,
    knowledge: &mut Knowledge<'_>,
    progress: &mut Progress,
    now: Millis,
) -> Decision<'p, 'r> {
    // 1. One canonical path, for the policy and for the upstream.
    let path = match path::canonicalise(request.path) {
        Ok(path) => path,
        Err(rejection) => return Decision::Refuse(Refusal::new(rejection, None)),
    };
    // 2. The rule. A preflight carries no credentials and is answered here or not at all.
    if let ("OPTIONS", Some(method), Some(origin)) =
        (request.method, request.preflight_method, request.origin)
        && let Some(cors) = policy
            .find_preflight(request.host, method, &path)
            .and_then(Rule::cors)
        && cors.allows_origin(origin)
        && cors.allows_method(method)
        && cors.allows_headers(request.preflight_headers.unwrap_or_default())
    {
        return Decision::Preflight(Preflight { path, cors });
    }
    let Some(rule) = policy.find(request.host, request.method, &path) else {
        return Decision::Refuse(Refusal::new(Rejection::RouteUnknown, None));
    };
    let mut forward = Forward {
        path,
        rule,
        token: None,
        cached: false,
        list: ListUse::default(),
        reported: None,
    };
    let Access::Token(access) = rule.access() else {
        return Decision::Forward(forward);
    };
    // 3.–7. The token.
    let parameter = |name: &str| {
        let mut parameters = rule.pattern().parameters(&forward.path);
        parameters
            .find(|(own, _)| *own == name)
            .map(|(_, value)| value)
    };
    match admit(request, access, parameter, knowledge, progress, now) {
        Ok((_, Some(lack))) if !rule.is_report_only() => Decision::Refuse(lack.of(rule)),
        Ok((admission, lack)) => {
            // Whoever passes is who the token says, also where the rule asks for more and only reports.
            forward.token = Some(admission.token);
            forward.cached = admission.cached;
            forward.list = admission.list;
            forward.reported = lack.map(|lack| lack.rejection);
            Decision::Forward(forward)
        }
        Err(Obstacle::Wait(need)) => Decision::Wait(need),
        Err(Obstacle::Refuse(refusal)) if rule.is_report_only() => {
            forward.reported = Some(refusal.rejection);
            Decision::Forward(forward)
        }
        Err(Obstacle::Refuse(refusal)) => Decision::Refuse(refusal.of(rule)),
    }
}

/// The text of the token that `decide` judges, for asking the issuer about it.
pub fn token_of<'r>(request: &Request<'r>, policy: &Policy) -> Option<&'r str> {
    let path = path::canonicalise(request.path).ok()?;
    let Access::Token(access) = policy.find(request.host, request.method, &path)?.access() else {
        return None;
    };
    find_token(request, &access.source).ok()
}

/// A token that counts.
#[derive(Debug)]
pub struct Admission {
    /// The token.
    pub token: Arc<VerifiedToken>,
    /// Whether the signature was spared by the cache.
    pub cached: bool,
    /// How the revocation list was used.
    pub list: ListUse,
}

/// Why a token does not count, or not yet.
#[derive(Debug)]
pub enum Obstacle<'p> {
    /// Fetch something and ask again.
    Wait(Need),
    /// It does not.
    Refuse(Refusal<'p>),
}

impl From<Rejection> for Obstacle<'_> {
    fn from(rejection: Rejection) -> Self {
        Self::Refuse(Refusal::new(rejection, None))
    }
}

/// 3.–7. The token, and what it lacks of what the rule asks for.
fn admit<'p, 's>(
    request: &Request<'_>,
    access: &'p TokenAccess,
    parameter: impl Fn(&str) -> Option<&'s str>,
    knowledge: &mut Knowledge<'_>,
    progress: &mut Progress,
    now: Millis,
) -> Result<(Admission, Option<Refusal<'p>>), Obstacle<'p>> {
    if knowledge.sources == RevocationSources::Unconfigured {
        return Err(Rejection::RevocationUnavailable.into());
    }
    let text = find_token(request, &access.source)?;
    let verdict = verify(text, knowledge, progress, now)?;
    // Before anybody is asked about the token, or judged by what another issuer says of them; what no
    // rule takes is not kept.
    let issuer = &verdict.token.claims().issuer;
    if !access.takes_issuer(issuer, knowledge.verifier.issuer()) {
        return Err(Rejection::IssuerMismatch.into());
    }
    let token = verdict.keep(text, knowledge.verified);
    if !access.takes_audience(&token.claims().audience) {
        return Err(Rejection::AudienceMismatch.into());
    }
    let list = check_revocation(&token, access.revocation, knowledge, progress, now)?;
    let lack = access
        .requirement
        .check(&token.claims().holder(), parameter, unix(now).0)
        .map_err(|missing| Refusal::new(missing.rejection(), Some(missing)))
        .err();
    let admission = Admission {
        token,
        cached: !progress.verified,
        list,
    };
    Ok((admission, lack))
}

/// Judges a token by itself, for whoever has no route that asks for more: signature, claims and
/// revocation, as [`decide`] does. Where there is no word on revocation
/// ([`RevocationSources::Unconfigured`]), no list will come, and nothing counts that needs one.
///
/// # Errors
///
/// [`Obstacle`]; after [`Obstacle::Wait`] the caller fetches, records it in `progress`, and asks
/// again.
pub fn judge(
    text: &str,
    revocation: Revocation,
    knowledge: &mut Knowledge<'_>,
    progress: &mut Progress,
    now: Millis,
) -> Result<Admission, Obstacle<'static>> {
    let verdict = verify(text, knowledge, progress, now)?;
    let token = verdict.keep(text, knowledge.verified);
    let list = check_revocation(&token, revocation, knowledge, progress, now)?;
    Ok(Admission {
        token,
        cached: !progress.verified,
        list,
    })
}

/// 3. The token, from exactly the one place that the rule names.
fn find_token<'r>(request: &Request<'r>, source: &TokenSource) -> Result<&'r str, Rejection> {
    match source {
        TokenSource::Header => headers::bearer_token(request.authorization),
        TokenSource::Cookie { name, .. } => {
            // A cookie that another site's page has sent along is nobody's word.
            if !source.admits_origin(request.method, request.upgrade, request.origin) {
                return Err(Rejection::TokenMissing);
            }
            let cookies = request.cookie.unwrap_or_default();
            headers::cookie_value(cookies, name)?.ok_or(Rejection::TokenMissing)
        }
        TokenSource::WebSocket { .. } => {
            if !source.admits_origin(request.method, true, request.origin) {
                return Err(Rejection::TokenMissing);
            }
            headers::websocket_token(request.websocket_protocols.unwrap_or_default())
        }
    }
}

/// A token that counts by itself.
struct Verdict {
    token: Arc<VerifiedToken>,
    /// Its hash, if the verdict is a new one.
    new: Option<TokenHash>,
}

impl Verdict {
    /// Keeps the token, so that it need not be verified again.
    fn keep(self, text: &str, verified: &mut VerifiedTokens) -> Arc<VerifiedToken> {
        if let Some(hash) = self.new {
            verified.insert(hash, Arc::clone(&self.token));
            verified.remember(text.as_bytes(), &self.token);
        }
        self.token
    }

    const fn known(token: Arc<VerifiedToken>) -> Self {
        Self { token, new: None }
    }
}

/// 4. and 5. The verdict on the token: from the cache, or by the keys of the issuer that it names.
fn verify(
    text: &str,
    knowledge: &mut Knowledge<'_>,
    progress: &mut Progress,
    now: Millis,
) -> Result<Verdict, Obstacle<'static>> {
    let text = text.as_bytes();
    if let Some(token) = knowledge.verified.recall(text)
        && still_counts(&token, knowledge, now)?
    {
        return Ok(Verdict::known(token));
    }
    let (hash, parsed, answer) = if let Some(answered) = progress.signatures.take(text) {
        let (hash, token, answer) = answered;
        (hash, token, Some(answer))
    } else {
        let hash = TokenHash::of(text);
        if let Some(token) = knowledge.verified.find(&hash)
            && still_counts(&token, knowledge, now)?
        {
            knowledge.verified.remember(text, &token);
            return Ok(Verdict::known(token));
        }
        (hash, UnverifiedToken::parse(text)?, None)
    };
    let issuer = knowledge.issuer_of(&parsed);
    let may_wait = !progress.waited_for_keys && issuer.keys.may_ask(now);
    let Some(keys) = issuer.keys.usable(now) else {
        return Err(if may_wait {
            Obstacle::Wait(issuer.need)
        } else {
            Rejection::KeysUnavailable.into()
        });
    };
    let jwk = match issuer.verifier.key_of(&parsed, keys) {
        Err(Rejection::KeyUnknown) if may_wait => return Err(Obstacle::Wait(issuer.need)),
        found => found?,
    };
    let key = jwk.key();
    let is_elsewhere = matches!(progress.signatures, Signatures::Elsewhere);
    let is_good = match answer.and_then(|answer| answer.under(key)) {
        Some(is_good) => is_good,
        None if is_elsewhere && key.is_told_alike(parsed.signature()) => {
            let check = SignatureCheck::new(text, hash, parsed, key);
            return Err(Obstacle::Wait(Need::Signature(Box::new(check))));
        }
        None => key.verify(parsed.signing_input(), parsed.signature()),
    };
    if !is_good {
        return Err(Rejection::SignatureInvalid.into());
    }
    let token = Arc::new(issuer.verifier.believe(parsed, jwk, unix(now))?);
    progress.verified = true;
    Ok(Verdict {
        token,
        new: Some(hash),
    })
}

/// Whether the verdict on `token` still rests on a key of its issuer, now that it has been judged by
/// the time again.
fn still_counts(
    token: &VerifiedToken,
    knowledge: &Knowledge<'_>,
    now: Millis,
) -> Result<bool, Rejection> {
    let Some((verifier, keys)) = knowledge.usable_keys_of(token, now) else {
        return Ok(false);
    };
    verifier.verify_time(token, unix(now))?;
    // Whoever changes the keys forgets the verdicts; this holds even if they do not.
    Ok(keys.find(token.key_id()).is_some())
}

/// 6. Revocation, at the freshness that the route asks for.
fn check_revocation(
    token: &VerifiedToken,
    mode: Revocation,
    knowledge: &Knowledge<'_>,
    progress: &Progress,
    now: Millis,
) -> Result<ListUse, Obstacle<'static>> {
    if !knowledge.is_own(token) {
        // The list speaks for its issuer's tokens alone: its entries of the same names are other
        // people. Of each issuer beside it the operator has said that there is none; where the
        // rule asks for an issuer's word on every request, only the own one can give it.
        return match mode {
            Revocation::List(_) | Revocation::Off => Ok(ListUse::default()),
            Revocation::Strict => Err(Rejection::IssuerMismatch.into()),
        };
    }
    match mode {
        Revocation::Off => Ok(ListUse::default()),
        Revocation::Strict => match progress.introspection {
            None => Err(Obstacle::Wait(Need::Introspection)),
            Some(Introspection::Active) => Ok(ListUse::default()),
            Some(Introspection::Inactive) => Err(Rejection::TokenRevoked.into()),
            Some(Introspection::Unavailable) => Err(Rejection::RevocationUnavailable.into()),
        },
        Revocation::List(_) if knowledge.sources == RevocationSources::None => {
            Ok(ListUse::default())
        }
        Revocation::List(staleness) => {
            let check = knowledge.list.check(now);
            let may_wait = !progress.waited_for_list && knowledge.list.may_ask(now);
            if check == Check::First && may_wait {
                return Err(Obstacle::Wait(Need::List));
            }
            match check_list(token, staleness, knowledge.list, now) {
                // Nobody is asked behind a refusal: whoever is refused for the list's age alone
                // waits for a younger one, or the refusals would go on until the next `First`.
                Err(Rejection::RevocationUnavailable) if check == Check::Behind && may_wait => {
                    Err(Obstacle::Wait(Need::List))
                }
                verdict => Ok(ListUse {
                    used: true,
                    check: check != Check::Fresh,
                    stale: verdict?,
                }),
            }
        }
    }
}

/// Whether the list, which does not have the token, counts only because a stale one may.
fn check_list(
    token: &VerifiedToken,
    staleness: Staleness,
    held: &HeldList,
    now: Millis,
) -> Result<bool, Rejection> {
    let list = held.list().ok_or(Rejection::RevocationUnavailable)?;
    // What an old list says is revoked stays revoked; what it does not say, it may not know.
    if list.find(token).is_some() {
        return Err(Rejection::TokenRevoked);
    }
    let age = unix(now).since(list.issued_at());
    // The two clocks may differ; beyond that a list from the future does not count.
    let age = if (-list::CLOCK_TOLERANCE..0).contains(&age) {
        0
    } else {
        age
    };
    if staleness.admits(age) {
        Ok(staleness.is_grace(age))
    } else {
        Err(Rejection::RevocationUnavailable)
    }
}

const fn unix(now: Millis) -> UnixTime {
    UnixTime(now.div_euclid(1_000))
}

/// The names of [`identity_headers`].
pub const IDENTITY_HEADERS: [&str; 8] = [
    "X-User-ID",
    "X-User-Issuer",
    "X-User-Roles",
    "X-User-Permissions",
    "X-Customer-ID",
    "X-Session-ID",
    "X-KYC-Level",
    "X-Auth-Methods",
];

/// The headers that tell the upstream who is asking, from a verified token and nothing else:
/// pairs of name and value, in the encoding of [`headers::encode_list`].
pub fn identity_headers(token: &VerifiedToken) -> impl Iterator<Item = (&'static str, String)> {
    let claims = token.claims();
    let value = |text: &str| {
        let mut header = String::new();
        headers::encode_value(text, &mut header);
        header
    };
    let list = |values: &[String]| {
        (!values.is_empty()).then(|| {
            let mut header = String::new();
            headers::encode_list(values, &mut header);
            header
        })
    };
    let level = claims.kyc_level.map(|level| alloc::format!("{level}"));
    let values = [
        Some(value(&claims.subject)),
        // Two issuers may call two people by one name.
        token.names_issuer().then(|| value(&claims.issuer)),
        list(&claims.roles),
        list(&claims.permissions),
        claims.customer_id.as_deref().map(value),
        claims.session_id.as_deref().map(value),
        level,
        list(&claims.authentication_methods),
    ];
    IDENTITY_HEADERS
        .into_iter()
        .zip(values)
        .filter_map(|(name, value)| Some((name, value?)))
}
