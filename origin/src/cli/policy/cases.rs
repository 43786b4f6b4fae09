//! `edgekeep policy test`: the cases that a policy carries.

use std::path::Path;

use anyhow::{Context as _, bail};
use edgekeep_shared::error::Rejection;
use edgekeep_shared::policy::{OWN_ISSUER, Policy};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use toml::Spanned;

use super::judge::{Asked, Judge, Outcome, REPORT};
use super::{describe, read};

/// What a case may hold, as `--help` says it.
pub(super) const HELP: &str = "\
Cases stand in the policy itself; gates do not look at them:

    [[test]]
    name = \"reports are written with the scope for it\"   # optional
    request = \"POST /api/reports/7\"
    token = { scopes = [\"report:write\"] }                # without: no token is sent
    expect = \"allow\"                                     # or a code, such as \"insufficient_scope\";
                                                         # \"report:\" and it, where report_only lets pass
    rule = \"/api/reports/**\"                             # optional: the rule that must decide

A token may have issuer (the gate's own unless given), audience (beside the gate's), sub, scopes,
roles, permissions, customer_id, kyc_level, kyc_status, amr, acr, and auth_age (seconds since the person authenticated). `host` is whom the request is for, `origin` is the page that sends the request; `preflight = \"PUT\"` makes
it a CORS preflight about that method, which is expected to be answered with expect =
\"preflight\", and `headers = [\"authorization\"]` one about those as well. Tokens are taken as valid and not revoked: what is tested is the policy.";

/// One case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    name: Option<String>,
    request: String,
    host: Option<String>,
    origin: Option<String>,
    preflight: Option<String>,
    #[serde(default)]
    headers: Vec<String>,
    token: Option<Token>,
    expect: String,
    rule: Option<String>,
}

/// What a token says.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Token {
    issuer: Option<String>,
    audience: Vec<String>,
    sub: Option<String>,
    scopes: Vec<String>,
    roles: Vec<String>,
    permissions: Vec<String>,
    customer_id: Option<String>,
    kyc_level: Option<u8>,
    kyc_status: Option<String>,
    amr: Vec<String>,
    acr: Option<String>,
    auth_age: Option<u32>,
}

impl Token {
    /// Whose it is, where it is not the gate's own issuer's.
    fn foreign_issuer(&self) -> Option<&str> {
        self.issuer
            .as_deref()
            .filter(|issuer| *issuer != OWN_ISSUER)
    }

    fn claims(&self, now: i64) -> Map<String, Value> {
        let mut claims = Map::new();
        let mut add = |name: &str, value: Value| {
            if !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty()) {
                claims.insert(name.to_owned(), value);
            }
        };
        add("aud", json!(self.audience));
        add("sub", json!(self.sub));
        if !self.scopes.is_empty() {
            add("scope", json!(self.scopes.join(" ")));
        }
        add("roles", json!(self.roles));
        add("permissions", json!(self.permissions));
        add("customer_id", json!(self.customer_id));
        add("kyc_level", json!(self.kyc_level));
        add("kyc_status", json!(self.kyc_status));
        add("amr", json!(self.amr));
        add("acr", json!(self.acr));
        add(
            "auth_time",
            json!(self.auth_age.map(|age| now - i64::from(age))),
        );
        claims
    }
}

#[derive(Deserialize)]
struct Cases {
    #[serde(default)]
    test: Vec<Spanned<Case>>,
}

/// The cases of a policy's text, each with the line it begins on.
///
/// # Errors
/// When a case is none, with its line.
pub(super) fn parse(text: &str) -> anyhow::Result<Vec<(usize, Case)>> {
    let cases: Cases = toml::from_str(text)?;
    let mut all = Vec::new();
    for case in cases.test {
        let before = text.get(..case.span().start).unwrap_or_default();
        let line = before.bytes().filter(|&byte| byte == b'\n').count() + 1;
        let case = case.into_inner();
        if split(&case.request).is_none() {
            bail!(
                "line {line}: request is {:?}, expected a method and a path, such as \"GET /api/me\"",
                case.request
            );
        }
        if case.preflight.is_none() && !case.headers.is_empty() {
            bail!(
                "line {line}: headers are what a preflight is about, expected preflight beside them"
            );
        }
        let code = case.expect.strip_prefix(REPORT).unwrap_or(&case.expect);
        let known = ["allow", "preflight"].contains(&&*case.expect)
            || Rejection::ALL.iter().any(|r| r.code() == code);
        if !known {
            bail!(
                "line {line}: expect is {:?}, expected \"allow\", \"preflight\", a code such as \
                 \"insufficient_scope\", or \"report:insufficient_scope\" where report_only lets pass",
                case.expect
            );
        }
        all.push((line, case));
    }
    Ok(all)
}

fn split(request: &str) -> Option<(&str, &str)> {
    let (method, target) = request.split_once(' ')?;
    (!method.is_empty() && !target.is_empty()).then_some((method, target))
}

#[expect(clippy::print_stdout, reason = "what was asked for")]
pub(super) fn run(file: &Path) -> anyhow::Result<()> {
    let (text, policy) = read(file)?;
    let cases = parse(&text).with_context(|| file.display().to_string())?;
    if cases.is_empty() {
        bail!("{}: no cases; --help shows one", file.display());
    }
    let judge = Judge::of_described_tokens(None)?;
    let mut failed = 0;
    for (line, case) in &cases {
        let name = case.name.as_deref().unwrap_or(&case.request);
        match case.wrong(&judge, &policy)? {
            None => println!("ok      {name}"),
            Some(why) => {
                failed += 1;
                println!("FAILED  {name} (line {line})\n        {why}");
            }
        }
    }
    println!("{} passed, {failed} failed", cases.len() - failed);
    if failed > 0 {
        bail!(
            "{}: {failed} of {} cases failed",
            file.display(),
            cases.len()
        );
    }
    Ok(())
}

impl Case {
    /// How what happens differs from what was expected; none: it does not.
    fn wrong(&self, judge: &Judge, policy: &Policy) -> anyhow::Result<Option<String>> {
        let (method, target) = split(&self.request).context("a request that is none")?;
        let issuer = self.token.as_ref().and_then(Token::foreign_issuer);
        let token = self
            .token
            .as_ref()
            .map(|token| judge.describe(issuer, token.claims(judge.now())))
            .transpose()?;
        let headers = self.headers.join(",");
        let verdict = judge.judge(
            policy,
            Asked {
                method,
                target,
                host: self.host.as_deref(),
                origin: self.origin.as_deref(),
                preflight_method: self.preflight.as_deref(),
                preflight_headers: (!headers.is_empty()).then_some(&*headers),
                foreign_issuer: issuer,
                token: token.as_deref(),
            },
        );
        let decided = verdict
            .rule
            .map_or_else(|| "no rule".to_owned(), describe::rule);
        let word = verdict.outcome.word();
        if word != self.expect {
            let reported = if matches!(verdict.outcome, Outcome::Allow(Some(_))) {
                ": it passes only as long as the rule has report_only"
            } else {
                ""
            };
            return Ok(Some(format!(
                "expected {}, but it is {word} ({decided}){reported}",
                self.expect
            )));
        }
        if let Some(expected) = &self.rule
            && verdict.rule.is_none_or(|rule| rule.name() != expected)
        {
            return Ok(Some(format!(
                "expected the rule {expected:?} to decide, but it is {decided}"
            )));
        }
        Ok(None)
    }
}
