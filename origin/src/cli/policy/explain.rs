//! `edgekeep policy explain`.

use std::io::Read as _;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;
use edgekeep_shared::base64url;
use edgekeep_shared::error::Rejection;
use edgekeep_shared::path::{self, CanonicalPath};
use edgekeep_shared::policy::{Access, Policy, Revocation, Rule};
use edgekeep_shared::token::MAX_TOKEN_BYTES;
use serde_json::{Map, Value};

use super::super::verify;
use super::judge::{Asked, Judge, Outcome, Verdict, path_of};
use super::{describe, notes, read};

/// The request, and who vouches for its token.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The policy (TOML).
    file: PathBuf,
    /// The method, such as GET.
    method: String,
    /// The path, with or without a query.
    path: String,
    /// The access token; `-` reads it from standard input, which other users of this machine
    /// cannot see. Without: none is sent.
    token: Option<String>,
    /// The page that sends the request, as browsers name it (`https://app.example`).
    #[arg(long, value_name = "ORIGIN")]
    origin: Option<String>,
    /// Explains a CORS preflight about this method; the method of the request is then OPTIONS.
    #[arg(long, value_name = "METHOD", requires = "origin")]
    preflight: Option<String>,
    /// The header fields that the preflight is about as well, with commas between. Pages of browsers have
    /// one whenever they set `Authorization`.
    #[arg(long, value_name = "NAMES", requires = "preflight")]
    headers: Option<String>,
    /// The host that the request is for, as in `Host`.
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// A file with the issuer's JWK Set. Without it the token's claims are taken as they are, its
    /// signature and its times unchecked.
    #[arg(long, value_name = "FILE", requires_all = ["issuer", "audience"])]
    jwks: Option<PathBuf>,
    /// The issuer, exactly as tokens name it; the gate's own unless --foreign is given.
    #[arg(long, value_name = "ISS", requires = "jwks")]
    issuer: Option<String>,
    /// The issuer stands beside the gate's own, in `ISSUERS`: only rules that name it take its tokens.
    #[arg(long, requires = "jwks")]
    foreign: bool,
    /// The audience that tokens must name.
    #[arg(long, value_name = "AUD", requires = "jwks")]
    audience: Option<String>,
    /// The instant to judge at, in seconds since 1970; the machine's clock unless given.
    #[arg(long, value_name = "UNIX")]
    now: Option<i64>,
}

pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    if options.preflight.is_some() && options.method != "OPTIONS" {
        bail!(
            "--preflight is about a request by OPTIONS, not by {}",
            options.method
        );
    }
    let (_, policy) = read(&options.file)?;
    let given = match options.token.as_deref() {
        Some("-") => Some(from_standard_input()?),
        other => other.map(str::to_owned),
    };
    let mut foreign_issuer = None;
    let (judge, token, vouched) = match (&options.jwks, given) {
        (Some(_), given) => {
            foreign_issuer = options.issuer.clone().filter(|_| options.foreign);
            (of_issuer(options)?, given, true)
        }
        (None, None) => (Judge::of_described_tokens(options.now)?, None, true),
        (None, Some(given)) => {
            let judge = Judge::of_described_tokens(options.now)?;
            let claims = claims(&given)?;
            // Which issuer is the gate's own is not said here: one that no rule names is.
            foreign_issuer = claims
                .get("iss")
                .and_then(Value::as_str)
                .filter(|issuer| is_named(&policy, issuer))
                .map(str::to_owned);
            let token = judge.describe(foreign_issuer.as_deref(), claims)?;
            (judge, Some(token), false)
        }
    };
    let verdict = judge.judge(
        &policy,
        Asked {
            method: &options.method,
            target: &options.path,
            host: options.host.as_deref(),
            origin: options.origin.as_deref(),
            preflight_method: options.preflight.as_deref(),
            preflight_headers: options.headers.as_deref(),
            foreign_issuer: foreign_issuer.as_deref(),
            token: token.as_deref(),
        },
    );
    print(options, &policy, &verdict, vouched, token.is_some());
    Ok(())
}

fn from_standard_input() -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .take(MAX_TOKEN_BYTES as u64 + 2)
        .read_to_string(&mut text)
        .context("standard input")?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn of_issuer(options: &Options) -> anyhow::Result<Judge> {
    let (Some(file), Some(issuer), Some(audience)) =
        (&options.jwks, &options.issuer, &options.audience)
    else {
        bail!("--jwks needs --issuer and --audience");
    };
    let set = verify::read_keys(file)?;
    let own = Some(&**issuer).filter(|_| !options.foreign);
    Ok(Judge::of_keys(own, audience, set, options.now))
}

/// Whether a rule takes tokens of `issuer` by its name.
fn is_named(policy: &Policy, issuer: &str) -> bool {
    policy.rules().iter().any(|rule| match rule.access() {
        Access::Token(access) => access.issuers.iter().any(|named| **named == *issuer),
        Access::Public => false,
    })
}

/// What an unverified token says.
fn claims(token: &str) -> anyhow::Result<Map<String, Value>> {
    const WRONG: &str = "the token is no JWT (give --jwks to hear a gate's own word on it)";
    if token.len() > MAX_TOKEN_BYTES {
        bail!("the token is longer than {MAX_TOKEN_BYTES} bytes, which no gate takes");
    }
    let payload = token.split('.').nth(1).context(WRONG)?;
    let payload = base64url::decode(payload.as_bytes()).ok().context(WRONG)?;
    serde_json::from_slice(&payload).context(WRONG)
}

#[expect(clippy::print_stdout, reason = "what was asked for")]
fn print(options: &Options, policy: &Policy, verdict: &Verdict<'_>, vouched: bool, sent: bool) {
    let canonical = path::canonicalise(path_of(&options.path)).ok();
    if let Some(path) = &canonical {
        println!("path     {}", path.as_str());
        for rule in passed_over(policy, path, verdict) {
            let host = match (&options.host, rule.hosts()) {
                (_, []) => String::new(),
                (Some(host), _) => format!(" on {host}"),
                (None, _) => " without --host".to_owned(),
            };
            let method = match (&options.preflight, &verdict.outcome) {
                (Some(asked), Outcome::Preflight) => asked,
                _ => &options.method,
            };
            println!("passed   {}: not for {method}{host}", describe::rule(rule));
        }
    }
    match verdict.rule {
        Some(rule) => {
            println!("rule     {}", describe::rule(rule));
            for demand in describe::demands(rule) {
                println!("asks     {demand}");
            }
            for effect in describe::effects(rule) {
                println!("then     {effect}");
            }
        }
        None => println!("rule     none"),
    }
    if !vouched {
        println!("token    taken at its word: signature and times are unchecked without --jwks");
    }
    if let Some(issuer) = &options.issuer {
        let whose = if options.foreign {
            "for one beside the gate's own"
        } else {
            "for the gate's own, unless --foreign is given"
        };
        println!("issuer   {issuer} is taken {whose}");
    }
    match &verdict.outcome {
        Outcome::Allow(None) => println!("verdict  allow"),
        Outcome::Allow(Some(rejection)) => println!(
            "verdict  allow; without report_only it would be refused: {}",
            rejection.code()
        ),
        Outcome::Preflight => {
            println!("verdict  preflight: answered by the gate");
            if verdict.rule.is_some_and(notes::keeps_pages_from_tokens) {
                println!(
                    "but      not where the page sends its token: cors.headers has no \"authorization\""
                );
            }
        }
        Outcome::Refuse(rejection, _) => println!(
            "verdict  refuse: {} {}",
            rejection.status(),
            rejection.code()
        ),
    }
    for why in reasons(options, policy, verdict, canonical.as_ref(), sent) {
        println!("because  {why}");
    }
}

/// The rules for the path that stand before the one that decides.
fn passed_over<'p>(
    policy: &'p Policy,
    path: &CanonicalPath<'_>,
    verdict: &Verdict<'_>,
) -> impl Iterator<Item = &'p Rule> {
    let deciding = verdict.rule.map(Rule::line);
    let before = move |rule: &&Rule| Some(rule.line()) != deciding;
    let rules = policy.rules().iter().take_while(before);
    rules.filter(move |rule| rule.pattern().matches(path))
}

fn is_strict(rule: &Rule) -> bool {
    matches!(rule.access(), Access::Token(access) if access.revocation == Revocation::Strict)
}

/// Why it is not as one may have wished.
fn reasons(
    options: &Options,
    policy: &Policy,
    verdict: &Verdict<'_>,
    canonical: Option<&CanonicalPath<'_>>,
    sent: bool,
) -> Vec<String> {
    let mut all = Vec::new();
    if let (Some(method), Some(origin), Some(path)) =
        (&options.preflight, &options.origin, canonical)
        && !matches!(verdict.outcome, Outcome::Preflight)
    {
        let asked = policy.find_preflight(options.host.as_deref(), method, path);
        let headers = options.headers.as_deref().unwrap_or_default();
        let why = describe::unanswered_preflight(asked, method, headers, origin);
        all.push(format!("no preflight is answered: {why}"));
    }
    let (Outcome::Refuse(rejection, _) | Outcome::Allow(Some(rejection))) = &verdict.outcome else {
        return all;
    };
    let of_page = verdict
        .rule
        .filter(|_| *rejection == Rejection::TokenMissing)
        .and_then(|rule| describe::foreign_page(rule, &options.method, options.origin.as_deref()));
    let why = if let Outcome::Refuse(_, Some(lacks)) = &verdict.outcome {
        Some(describe::missing(lacks))
    } else if of_page.is_some() {
        of_page
    } else {
        let plain = match rejection {
            Rejection::TokenMissing if !sent => Some("no token was sent"),
            Rejection::IssuerMismatch if verdict.rule.is_some_and(is_strict) => Some(
                "the rule takes no token of this issuer: with revocation = \"strict\" only the gate's own \
                 can be asked",
            ),
            Rejection::IssuerMismatch => Some("the rule takes no token of this issuer"),
            Rejection::AudienceMismatch => Some("the token is for another audience"),
            _ if canonical.is_none() => Some("the path has no form that everybody reads alike"),
            _ if verdict.rule.is_none() => Some("no rule matches this method and path"),
            _ => None,
        };
        plain.map(str::to_owned)
    };
    all.extend(why);
    all
}
