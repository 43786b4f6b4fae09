//! What an operator should know of a policy that gates take.

use edgekeep_shared::policy::{
    Access, OWN_ISSUER, Policy, Revocation, Rule, TokenAccess, TokenSource,
};

/// The methods that `workerd` knows, and Cloudflare with it: it answers every other one by itself.
const METHODS: [&str; 27] = [
    "ACL",
    "CHECKOUT",
    "COPY",
    "DELETE",
    "GET",
    "HEAD",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCOL",
    "MOVE",
    "MSEARCH",
    "NOTIFY",
    "OPTIONS",
    "PATCH",
    "POST",
    "PROPFIND",
    "PROPPATCH",
    "PURGE",
    "PUT",
    "QUERY",
    "REPORT",
    "SEARCH",
    "SUBSCRIBE",
    "TRACE",
    "UNLOCK",
    "UNSUBSCRIBE",
];

/// A line each, in the order of the rules.
pub(super) fn of(policy: &Policy) -> Vec<String> {
    let unreached: Vec<usize> = policy.unreached().map(Rule::line).collect();
    let mut all = Vec::new();
    for rule in policy.rules() {
        let mut notes = about(rule);
        if unreached.contains(&rule.line()) {
            let never =
                "is never reached: the rules before it, together, match everything that it does";
            notes.push(never.to_owned());
        }
        all.extend(
            notes
                .iter()
                .map(|note| format!("line {} {note}", rule.line())),
        );
    }
    all
}

fn about(rule: &Rule) -> Vec<String> {
    let mut all = Vec::new();
    if rule.is_report_only() {
        all.push("lets refused requests pass".to_owned());
    }
    let methods = rule.methods().iter().map(|method| &**method);
    let unknown: Vec<&str> = methods.filter(|method| !METHODS.contains(method)).collect();
    if !unknown.is_empty() {
        all.push(format!(
            "is for {}, which no gate sees that carries requests itself: the platform refuses it",
            unknown.join(", ")
        ));
    }
    if let Access::Token(access) = rule.access() {
        all.extend(revocation(access));
    }
    if keeps_pages_from_tokens(rule) {
        all.push("lets no page send its token: cors.headers has no \"authorization\"".to_owned());
    }
    all
}

/// Whether pages of other origins may ask, but not with the token that is wanted of them.
pub(super) fn keeps_pages_from_tokens(rule: &Rule) -> bool {
    matches!(rule.access(), Access::Token(access) if access.source == TokenSource::Header)
        && rule
            .cors()
            .is_some_and(|cors| !cors.allows_headers("authorization"))
}

/// The issuers that a rule takes by name. Which of them is the gate's own, a policy does not say.
pub(super) fn named_issuers(access: &TokenAccess) -> Vec<&str> {
    let issuers = access.issuers.iter().map(|issuer| &**issuer);
    issuers.filter(|issuer| *issuer != OWN_ISSUER).collect()
}

fn revocation(access: &TokenAccess) -> Option<String> {
    let issuers = named_issuers(access).join(", ");
    match access.revocation {
        Revocation::Off => Some("takes revoked tokens until they expire".to_owned()),
        _ if issuers.is_empty() => None,
        Revocation::List(_) => Some(format!(
            "takes revoked tokens of {issuers} until they expire, but for the gate's own issuer: no list \
             is about another's"
        )),
        Revocation::Strict => Some(format!(
            "refuses tokens of {issuers} (issuer_mismatch), but for the gate's own issuer: with \
             revocation = \"strict\" only that one can be asked"
        )),
    }
}
