//! The demonstration's policy, and how the tests look into a policy.

use edgekeep_shared::path::canonicalise;
use edgekeep_shared::policy::{Access, Policy, Rule, TokenAccess};

/// The policy of the demonstration.
pub(crate) const DEMO: &str = r#"
[[route]]
match = "/public/**"
access = "public"

[[route]]
match = "/api/reports/**"
methods = ["POST"]
scopes = ["report:write"]

[[route]]
match = "/api/payments/**"
kyc_level = 2
mfa = true
revocation = "strict"

[[route]]
match = "/api/admin/**"
roles = ["admin"]

[[route]]
match = "/api/**"
"#;

/// The name of the rule that a request meets.
pub(crate) fn matched<'p>(policy: &'p Policy, method: &str, path: &str) -> Option<&'p str> {
    let path = canonicalise(path).unwrap();
    policy.find(None, method, &path).map(Rule::name)
}

/// What the rule asks of a token. Panics for a public rule, which asks for none.
pub(crate) fn token_access(rule: &Rule) -> &TokenAccess {
    match rule.access() {
        Access::Token(access) => access,
        Access::Public => panic!("{} is public", rule.name()),
    }
}
