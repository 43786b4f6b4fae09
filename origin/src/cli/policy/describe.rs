//! Rules in words.

use edgekeep_shared::headers::WEBSOCKET_TOKEN_PREFIX;
use edgekeep_shared::policy::{
    Access, Caching, Cors, LimitedBy, Missing, Owner, RateLimit, Requirement, Revocation, Rule,
    TokenAccess, TokenSource,
};

use super::notes;

/// `line 7: POST /api/reports/** "reports"`.
pub(super) fn rule(rule: &Rule) -> String {
    let methods = if rule.methods().is_empty() {
        "any method".to_owned()
    } else {
        rule.methods().join(",")
    };
    let pattern = rule.pattern().as_str();
    let name = if rule.name() == pattern {
        String::new()
    } else {
        format!(" {:?}", rule.name())
    };
    let hosts = if rule.hosts().is_empty() {
        String::new()
    } else {
        format!(" on {}", rule.hosts().join(", "))
    };
    format!("line {}: {methods} {pattern}{hosts}{name}", rule.line())
}

/// What a rule asks for, a phrase each; at least one.
pub(super) fn demands(rule: &Rule) -> Vec<String> {
    let mut all = match rule.access() {
        Access::Public => vec!["nothing: it is public".to_owned()],
        Access::Token(access) => token(access),
    };
    if let Some(RateLimit { binding, by }) = rule.rate_limit() {
        let by = match by {
            LimitedBy::Subject => "subject".to_owned(),
            LimitedBy::Address { header } => format!("the address in {header}"),
        };
        all.push(format!(
            "no more requests than {binding} allows, counted by {by}"
        ));
    }
    if rule.is_report_only() {
        all.push("nothing yet: report_only records refusals and lets pass".to_owned());
    }
    all
}

/// What a rule does about a request that passes and about its answer, a phrase each; none: the usual.
pub(super) fn effects(rule: &Rule) -> Vec<String> {
    let mut all = Vec::new();
    if let Some(upstream) = rule.upstream() {
        all.push(format!("sends it to {upstream}"));
    }
    for (name, value) in rule.headers() {
        all.push(format!("sets {name}: {value} for the upstream"));
    }
    if !rule.forwards_authorization() {
        all.push("keeps Authorization from the upstream".to_owned());
    }
    match rule.caching() {
        Caching::Upstream => {}
        Caching::Private => all.push("lets the client alone keep answers".to_owned()),
        Caching::NoStore => all.push("lets nobody keep answers".to_owned()),
    }
    if let Some(cors) = rule.cors() {
        all.extend(pages(cors));
    }
    all
}

/// What pages of other origins may do.
fn pages(cors: &Cors) -> Vec<String> {
    let Cors {
        origins,
        methods,
        headers,
        expose,
        credentials,
        max_age,
    } = cors;
    let mut all = vec![
        format!(
            "lets pages of {} read answers{}",
            listed(origins, "every origin"),
            if *credentials {
                ", with credentials"
            } else {
                ""
            }
        ),
        format!("lets those pages ask by {}", listed(methods, "any method")),
    ];
    if !headers.is_empty() {
        all.push(format!("lets those pages set {}", headers.join(", ")));
    }
    if !expose.is_empty() {
        all.push(format!("lets those pages read {}", expose.join(", ")));
    }
    if let Some(seconds) = max_age {
        all.push(format!("lets browsers keep preflights for {seconds} s"));
    }
    all
}

fn listed(values: &[Box<str>], all: &str) -> String {
    if values.is_empty() {
        all.to_owned()
    } else {
        values.join(", ")
    }
}

fn token(access: &TokenAccess) -> Vec<String> {
    let TokenAccess {
        requirement,
        issuers,
        audience,
        revocation: _,
        source,
    } = access;
    let mut all = vec![match source {
        TokenSource::Header => "a token in Authorization".to_owned(),
        TokenSource::Cookie { name, .. } => format!("a token in the cookie {name}"),
        TokenSource::WebSocket { .. } => {
            format!("a token in the subprotocol {WEBSOCKET_TOKEN_PREFIX}… of a WebSocket handshake")
        }
    }];
    match source {
        TokenSource::Cookie {
            allowed_origins, ..
        } if !allowed_origins.is_empty() => all.push(format!(
            "an Origin of {} where the method changes something, and of a WebSocket",
            allowed_origins.join(", ")
        )),
        TokenSource::WebSocket { allowed_origins } => {
            all.push(format!("an Origin of {}", allowed_origins.join(", ")));
        }
        TokenSource::Header | TokenSource::Cookie { .. } => {}
    }
    let Requirement {
        scopes,
        any_scope,
        roles,
        permissions,
        owner,
        owner_or_roles,
        kyc_level,
        kyc_status,
        amr,
        mfa,
        acr,
        max_age,
    } = requirement;
    let mut list = |what: &str, values: &[Box<str>]| {
        if !values.is_empty() {
            all.push(format!("{what} {}", values.join(", ")));
        }
    };
    list("the issuer", issuers);
    list("one of the audiences", audience);
    list("the scopes", scopes);
    list("one of the scopes", any_scope);
    list("one of the roles", roles);
    list("the permissions", permissions);
    list("one of the acr", acr);
    list("one of the methods", amr);
    list("one of the kyc_status", kyc_status);
    if !owner.is_empty() {
        let or = if owner_or_roles.is_empty() {
            String::new()
        } else {
            format!(", or one of the roles {}", owner_or_roles.join(", "))
        };
        all.push(format!("{}{or}", owned(owner)));
    }
    if let Some(level) = kyc_level {
        all.push(format!("kyc_level {level} or more"));
    }
    if *mfa {
        all.push("more than one factor".to_owned());
    }
    if let Some(seconds) = max_age {
        all.push(format!("authentication within {seconds} s"));
    }
    all.push(revocation_check(access));
    all
}

/// How it is seen that a token was revoked.
fn revocation_check(access: &TokenAccess) -> String {
    let by_name = !notes::named_issuers(access).is_empty();
    let mut check = match access.revocation {
        Revocation::List(staleness) if staleness.allow_for == 0 => {
            format!("a revocation list of at most {} s", staleness.max_stale)
        }
        Revocation::List(staleness) => format!(
            "a revocation list of at most {} s, or {} s where no younger one can be had",
            staleness.max_stale,
            u64::from(staleness.max_stale) + u64::from(staleness.allow_for)
        ),
        Revocation::Strict => "the issuer's word on every request".to_owned(),
        Revocation::Off => "no check of revocation".to_owned(),
    };
    if by_name && access.revocation != Revocation::Off {
        check.push_str(", for tokens of the gate's own issuer");
    }
    check
}

fn owned(owner: &[Owner]) -> String {
    let each: Vec<String> = owner
        .iter()
        .map(|owner| {
            format!(
                "{{{}}} being the token's {}",
                owner.parameter,
                owner.claim.name()
            )
        })
        .collect();
    each.join(" and ")
}

/// Why a token is not looked at: the page that sends the request may not use it, or it stands in none.
pub(super) fn foreign_page(rule: &Rule, method: &str, origin: Option<&str>) -> Option<String> {
    let Access::Token(access) = rule.access() else {
        return None;
    };
    let (what, allowed_origins) = match &access.source {
        TokenSource::Header => return None,
        TokenSource::WebSocket { .. } if method != "GET" => {
            return Some(format!(
                "a token stands in a WebSocket handshake, which is a GET and no {method}"
            ));
        }
        TokenSource::Cookie {
            name,
            allowed_origins,
        } => (format!("the cookie {name} of a {method}"), allowed_origins),
        TokenSource::WebSocket { allowed_origins } => {
            ("the token of a handshake".to_owned(), allowed_origins)
        }
    };
    if access.source.admits_origin(method, false, origin) {
        return None;
    }
    Some(format!(
        "{what} is looked at only where Origin is {}, and it is {}",
        allowed_origins.join(" or "),
        origin.unwrap_or("missing")
    ))
}

/// Why a preflight about `method` and `headers` is not answered to pages of `origin`; `rule` is that for
/// `method`.
pub(super) fn unanswered_preflight(
    rule: Option<&Rule>,
    method: &str,
    headers: &str,
    origin: &str,
) -> String {
    let Some(rule) = rule else {
        return format!("no rule is for {method}");
    };
    let why = match rule.cors() {
        None => "has no cors".to_owned(),
        Some(cors) if !cors.allows_origin(origin) => format!("has no {origin} in cors.origins"),
        Some(cors) if !cors.allows_method(method) => format!("has no {method} in cors.methods"),
        Some(_) => format!("has not all of {headers} in cors.headers"),
    };
    format!("the rule for {method} (line {}) {why}", rule.line())
}

/// What a token lacks.
pub(super) fn missing(missing: &Missing<'_>) -> String {
    match missing {
        Missing::Scopes(all) => format!("not every scope of {} was granted", all.join(", ")),
        Missing::AnyScope(any) => format!("no scope of {} was granted", any.join(", ")),
        Missing::Roles(any) => format!("no role of {} is held", any.join(", ")),
        Missing::Permissions(all) => {
            format!("not every permission of {} is held", all.join(", "))
        }
        Missing::Owner(owner) => format!("the path names somebody else: {}", owned(owner)),
        Missing::KycLevel(level) => format!("kyc_level is below {level}"),
        Missing::KycStatus(any) => format!("kyc_status is none of {}", any.join(", ")),
        Missing::StepUp {
            acr,
            max_age,
            mfa,
            amr,
        } => {
            let mut wanted = Vec::new();
            if *mfa {
                wanted.push("more than one factor".to_owned());
            }
            if !amr.is_empty() {
                wanted.push(format!("one of the methods {}", amr.join(", ")));
            }
            if !acr.is_empty() {
                wanted.push(format!("one of the acr {}", acr.join(", ")));
            }
            if let Some(seconds) = max_age {
                wanted.push(format!("authentication within {seconds} s"));
            }
            format!("the rule asks for {}", wanted.join(" and "))
        }
        other => other.rejection().code().to_owned(),
    }
}
