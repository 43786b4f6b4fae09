//! From TOML text to rules, with errors that say where and what was expected.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::ToString as _;
use alloc::vec::Vec;

use toml::de::{DeTable, DeValue};

use super::cache::Caching;
use super::fields::{
    Fault, Fields, HEADER, HOST, ISSUER, METHOD, NAME, ORIGIN, ORIGIN_OR_ANY, Read, Strings, TOKEN,
    fault, kind,
};
use super::pattern::Pattern;
use super::requirement::{MAX_AUTHENTICATION_AGE_SECONDS, Requirement};
use super::rule::{
    Access, Cors, DEFAULT_MAX_STALE_SECONDS, Revocation, Rule, Staleness, TokenAccess, TokenSource,
    is_safe_method,
};
use super::upstream;
use super::{MAX_POLICY_BYTES, MAX_RULES, PolicyError};
use super::{limit, owner};

/// The only version of the language.
const VERSION: i64 = 1;
/// The largest `max_stale` and `allow_stale_for` in seconds: no token lives longer than a day.
const MAX_STALENESS: i64 = 86_400;
/// The largest `cors.max_age` in seconds: no browser keeps a preflight for more than a day.
const MAX_PREFLIGHT_AGE: i64 = 86_400;

/// `test` holds cases for `edgekeep policy test`; a gate does not look at them.
const TOP_KEYS: &[&str] = &["version", "route", "test"];
const ROUTE_KEYS: &[&str] = &[
    "name",
    "match",
    "hosts",
    "methods",
    "access",
    "issuer",
    "audience",
    "scopes",
    "any_scope",
    "roles",
    "permissions",
    "owner",
    "owner_or_roles",
    "kyc_level",
    "kyc_status",
    "amr",
    "mfa",
    "acr",
    "max_age",
    "revocation",
    "max_stale",
    "on_stale",
    "allow_stale_for",
    "token_from",
    "allowed_origins",
    "forward_authorization",
    "rate_limit",
    "cache",
    "upstream",
    "headers",
    "report_only",
    "cors",
];
/// What a public rule has no use for: nobody's token is looked at.
const TOKEN_KEYS: &[&str] = &[
    "issuer",
    "audience",
    "scopes",
    "any_scope",
    "roles",
    "permissions",
    "owner",
    "owner_or_roles",
    "kyc_level",
    "kyc_status",
    "amr",
    "mfa",
    "acr",
    "max_age",
    "revocation",
    "max_stale",
    "on_stale",
    "allow_stale_for",
    "token_from",
    "allowed_origins",
    "cache",
    "report_only",
];
const CORS_KEYS: &[&str] = &[
    "origins",
    "methods",
    "headers",
    "expose",
    "credentials",
    "max_age",
];

/// Reads the rules of a policy.
pub(super) fn read(text: &str) -> Result<Box<[Rule]>, PolicyError> {
    if text.len() > MAX_POLICY_BYTES {
        return Err(PolicyError {
            line: None,
            column: None,
            message: format!(
                "the policy has {} bytes, expected at most {MAX_POLICY_BYTES}",
                text.len()
            ),
        });
    }
    let document = DeTable::parse(text).map_err(|error| {
        let message = format!("not TOML: {}", error.message());
        match error.span() {
            Some(span) => locate(
                text,
                Fault {
                    at: span.start,
                    message,
                },
            ),
            None => PolicyError {
                line: None,
                column: None,
                message,
            },
        }
    })?;
    rules(document.get_ref(), text).map_err(|fault| locate(text, fault))
}

fn locate(text: &str, fault: Fault) -> PolicyError {
    let before = text.get(..fault.at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    PolicyError {
        line: Some(line_of(before)),
        column: Some(before[line_start..].chars().count() + 1),
        message: fault.message,
    }
}

/// The line that the end of `before` is on, counted from 1.
fn line_of(before: &str) -> usize {
    before.bytes().filter(|&byte| byte == b'\n').count() + 1
}

fn rules(document: &DeTable<'_>, text: &str) -> Read<Box<[Rule]>> {
    let top = Fields {
        table: document,
        at: 0,
    };
    top.only(TOP_KEYS)?;
    if let Some((version, at)) = top.integer("version", i64::MIN, i64::MAX)?
        && version != VERSION
    {
        return fault(
            at,
            format!("version {version} is not known, expected {VERSION}"),
        );
    }
    let Some(routes) = top.value("route") else {
        return fault(
            0,
            "the policy has no rule, expected at least one [[route]]".to_string(),
        );
    };
    let DeValue::Array(entries) = routes.get_ref() else {
        return fault(
            routes.span().start,
            format!(
                "\"route\" is {}, expected [[route]]",
                kind(routes.get_ref())
            ),
        );
    };
    if entries.is_empty() {
        return fault(
            routes.span().start,
            "the policy has no rule, expected at least one [[route]]".to_string(),
        );
    }
    let mut rules: Vec<Rule> = Vec::new();
    // Where the last rule begins: lines are counted on from there.
    let (mut begins, mut line) = (0, 1);
    for entry in entries {
        let at = entry.span().start;
        let DeValue::Table(table) = entry.get_ref() else {
            return fault(
                at,
                format!("a route is {}, expected a table", kind(entry.get_ref())),
            );
        };
        if rules.len() == MAX_RULES {
            return fault(at, format!("more than {MAX_RULES} rules"));
        }
        let fields = Fields { table, at };
        line += line_of(text.get(begins..at).unwrap_or_default()) - 1;
        begins = at;
        let rule = rule(&fields, line)?;
        if let Some(earlier) = rules.iter().find(|earlier| earlier.covers(&rule)) {
            let message = format!(
                "this rule is never reached: the rule on line {} ({}) matches everything it does",
                earlier.line, earlier.pattern
            );
            return fault(fields.position("match"), message);
        }
        rules.push(rule);
    }
    Ok(rules.into())
}

fn rule(fields: &Fields<'_, '_>, line: usize) -> Read<Rule> {
    fields.only(ROUTE_KEYS)?;
    let Some((text, at)) = fields.string("match")? else {
        return fault(
            fields.at,
            "a route without \"match\", expected a path pattern".to_string(),
        );
    };
    let pattern = Pattern::parse(text).or_else(|message| fault(at, message))?;
    let methods = fields.list("methods", &METHOD)?.unwrap_or_default();
    let access = match fields.choice("access", &["public", "token"])? {
        Some("public") => {
            if let Some((key, at)) = fields.first_of(TOKEN_KEYS) {
                return fault(
                    at,
                    format!("\"{key}\" contradicts access = \"public\": no token is looked at"),
                );
            }
            Access::Public
        }
        _ => Access::Token(Box::new(TokenAccess {
            requirement: requirement(fields, &pattern)?,
            issuers: issuers(fields)?,
            audience: fields.list("audience", &NAME)?.unwrap_or_default(),
            revocation: revocation(fields)?,
            source: source(fields, &methods)?,
        })),
    };
    let rate_limit = limit::read(fields, access == Access::Public)?;
    let cors = match fields.table("cors")? {
        Some(table) => Some(cors(&table, &methods)?),
        None => None,
    };
    let name = match fields.string("name")? {
        Some((name, at)) => Some(NAME.check("name", name, at)?),
        None => None,
    };
    Ok(Rule {
        name,
        line,
        pattern,
        methods,
        access,
        forward_authorization: fields.boolean("forward_authorization")?.unwrap_or(true),
        report_only: fields.boolean("report_only")?.unwrap_or(false),
        cors,
        rate_limit,
        caching: match fields.choice("cache", &["upstream", "private", "no-store"])? {
            Some("private") => Caching::Private,
            Some("no-store") => Caching::NoStore,
            _ => Caching::Upstream,
        },
        hosts: fields.list("hosts", &HOST)?.unwrap_or_default(),
        upstream: upstream::base(fields)?,
        headers: upstream::headers(fields)?,
    })
}

fn issuers(fields: &Fields<'_, '_>) -> Read<Strings> {
    let issuers = fields.list("issuer", &ISSUER)?.unwrap_or_default();
    if issuers.len() > 1
        && let Some((_, at)) = fields.first_of(&["owner"])
    {
        let message = "\"owner\" beside several issuers, which may call two people by one name, \
                       expected one \"issuer\"";
        return fault(at, message.to_string());
    }
    Ok(issuers)
}

fn requirement(fields: &Fields<'_, '_>, pattern: &Pattern) -> Read<Requirement> {
    Ok(Requirement {
        owner: owner::read(fields, pattern)?,
        owner_or_roles: fields.list("owner_or_roles", &NAME)?.unwrap_or_default(),
        kyc_status: fields.list("kyc_status", &NAME)?.unwrap_or_default(),
        amr: fields.list("amr", &NAME)?.unwrap_or_default(),
        scopes: fields.list("scopes", &TOKEN)?.unwrap_or_default(),
        any_scope: fields.list("any_scope", &TOKEN)?.unwrap_or_default(),
        roles: fields.list("roles", &NAME)?.unwrap_or_default(),
        permissions: fields.list("permissions", &NAME)?.unwrap_or_default(),
        kyc_level: fields
            .integer("kyc_level", 1, i64::from(u8::MAX))?
            .and_then(|(level, _)| u8::try_from(level).ok()),
        mfa: fields.boolean("mfa")?.unwrap_or(false),
        acr: fields.list("acr", &TOKEN)?.unwrap_or_default(),
        max_age: fields.seconds("max_age", 1, MAX_AUTHENTICATION_AGE_SECONDS)?,
    })
}

fn revocation(fields: &Fields<'_, '_>) -> Read<Revocation> {
    let max_stale = fields.seconds("max_stale", 1, MAX_STALENESS)?;
    let on_stale = fields.choice("on_stale", &["deny", "allow"])?;
    let allow_for = fields.seconds("allow_stale_for", 1, MAX_STALENESS)?;
    if let Some(mode @ ("strict" | "off")) =
        fields.choice("revocation", &["list", "strict", "off"])?
    {
        if let Some((key, at)) = fields.first_of(&["max_stale", "on_stale", "allow_stale_for"]) {
            return fault(
                at,
                format!("\"{key}\" contradicts revocation = \"{mode}\": no list is used"),
            );
        }
        return Ok(if mode == "off" {
            Revocation::Off
        } else {
            Revocation::Strict
        });
    }
    let allow_for = match (on_stale, allow_for) {
        (Some("allow"), Some(seconds)) => seconds,
        (Some("allow"), None) => {
            return fault(
                fields.position("on_stale"),
                "on_stale = \"allow\" has no bound, expected \"allow_stale_for\" with a number of \
                 seconds"
                    .to_string(),
            );
        }
        (_, Some(_)) => {
            return fault(
                fields.position("allow_stale_for"),
                "\"allow_stale_for\" has no effect, expected on_stale = \"allow\" beside it"
                    .to_string(),
            );
        }
        (_, None) => 0,
    };
    let max_stale = max_stale.unwrap_or(DEFAULT_MAX_STALE_SECONDS);
    Ok(Revocation::List(Staleness {
        max_stale,
        allow_for,
    }))
}

fn source(fields: &Fields<'_, '_>, methods: &[Box<str>]) -> Read<TokenSource> {
    const EXPECTED: &str = "expected \"header\", \"websocket\" or { cookie = \"NAME\" }";
    let allowed_origins = fields.list("allowed_origins", &ORIGIN)?;
    let cookie = match fields.value("token_from") {
        None => None,
        Some(value) => {
            let at = value.span().start;
            match value.get_ref() {
                DeValue::String(text) if text == "header" => None,
                DeValue::String(text) if text == "websocket" => {
                    return websocket(allowed_origins, methods, at);
                }
                DeValue::String(text) => {
                    return fault(at, format!("\"token_from\" is {text:?}, {EXPECTED}"));
                }
                DeValue::Table(table) => {
                    let table = Fields { table, at };
                    table.only(&["cookie"])?;
                    let Some((name, at)) = table.string("cookie")? else {
                        return fault(at, format!("\"token_from\" is empty, {EXPECTED}"));
                    };
                    Some(HEADER.check("cookie", name, at)?)
                }
                other => {
                    return fault(at, format!("\"token_from\" is {}, {EXPECTED}", kind(other)));
                }
            }
        }
    };
    match (cookie, allowed_origins) {
        (None, None) => Ok(TokenSource::Header),
        (None, Some(_)) => fault(
            fields.position("allowed_origins"),
            "\"allowed_origins\" has no effect, expected token_from = { cookie = \"NAME\" } or \
             \"websocket\" beside it"
                .to_string(),
        ),
        (Some(name), Some(allowed_origins)) => Ok(TokenSource::Cookie {
            name,
            allowed_origins,
        }),
        (Some(name), None) => {
            if methods.is_empty() || !methods.iter().all(|method| is_safe_method(method)) {
                return fault(
                    fields.position("token_from"),
                    "a token from a cookie with methods that change something, expected \
                     \"allowed_origins\" (or methods among GET, HEAD, OPTIONS)"
                        .to_string(),
                );
            }
            Ok(TokenSource::Cookie {
                name,
                allowed_origins: Box::default(),
            })
        }
    }
}

fn websocket(
    allowed_origins: Option<Strings>,
    methods: &[Box<str>],
    at: usize,
) -> Read<TokenSource> {
    if !methods.is_empty() && !methods.iter().any(|method| **method == *"GET") {
        return fault(
            at,
            "a token from a WebSocket handshake with methods that open none, expected \"GET\" among them"
                .to_string(),
        );
    }
    match allowed_origins {
        Some(allowed_origins) => Ok(TokenSource::WebSocket { allowed_origins }),
        None => fault(
            at,
            "a token from a WebSocket handshake, expected \"allowed_origins\" with those whose pages \
             may open one"
                .to_string(),
        ),
    }
}

fn cors(fields: &Fields<'_, '_>, rule_methods: &[Box<str>]) -> Read<Cors> {
    fields.only(CORS_KEYS)?;
    let credentials = fields.boolean("credentials")?.unwrap_or(false);
    let Some(mut origins) = fields.list("origins", &ORIGIN_OR_ANY)? else {
        return fault(
            fields.at,
            "\"cors\" without \"origins\", expected a list".to_string(),
        );
    };
    if origins.iter().any(|origin| **origin == *"*") {
        if origins.len() > 1 {
            return fault(
                fields.position("origins"),
                "\"*\" beside other origins, expected \"*\" alone or a list of origins".to_string(),
            );
        }
        if credentials {
            return fault(
                fields.position("credentials"),
                "credentials = true contradicts origins = [\"*\"]: browsers refuse it, expected a \
                 list of origins"
                    .to_string(),
            );
        }
        origins = Box::default();
    }
    let headers = fields.list("headers", &HEADER)?.unwrap_or_default();
    if headers.iter().any(|name| **name == *"*") {
        return fault(
            fields.position("headers"),
            "cors.headers has \"*\", which is the name of no header, expected the names that pages set"
                .to_string(),
        );
    }
    let methods = fields.list("methods", &METHOD)?;
    if let Some(methods) = &methods
        && !rule_methods.is_empty()
        && let Some(method) = methods.iter().find(|method| !rule_methods.contains(method))
    {
        return fault(
            fields.position("methods"),
            format!("cors.methods has {method:?}, which the rule's own methods do not have"),
        );
    }
    Ok(Cors {
        origins,
        methods: methods.unwrap_or_else(|| rule_methods.into()),
        headers: headers
            .iter()
            .map(|name| name.to_ascii_lowercase().into())
            .collect(),
        expose: fields.list("expose", &HEADER)?.unwrap_or_default(),
        credentials,
        max_age: fields.seconds("max_age", 0, MAX_PREFLIGHT_AGE)?,
    })
}
