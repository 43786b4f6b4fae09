//! What a route asks for besides a token that counts.

use std::collections::BTreeSet;

use edgekeep_shared::policy::{self, MAX_AUTHENTICATION_AGE_SECONDS, MAX_LIST};

use crate::options::OptionsError;

/// What a route asks for, in the words and with the meaning of a policy's rule; everything that is
/// said must hold.
///
/// What a policy would not take, a layer does not take either: a list that is empty, because nothing
/// would be asked for by it, and a value that no token can have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Requirement {
    asked: policy::Requirement,
    /// The lists that were said, empty ones too.
    lists: BTreeSet<&'static str>,
}

/// What a value must look like.
#[derive(Clone, Copy)]
struct Form {
    admits: fn(&str) -> bool,
    expected: &'static str,
}

/// A challenge quotes these.
const SCOPE_TOKEN: Form = Form {
    admits: policy::is_scope_token,
    expected: "visible ASCII without spaces, quotes and backslashes, at most 256 bytes",
};
const NAME: Form = Form {
    admits: policy::is_name,
    expected: "text without control characters, at most 256 bytes",
};

type Values = Box<[Box<str>]>;

fn boxed<'v>(values: impl IntoIterator<Item = &'v str>) -> Values {
    values.into_iter().map(Box::from).collect()
}

impl Requirement {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Scopes that must all have been granted.
    pub fn scopes<'v>(mut self, scopes: impl IntoIterator<Item = &'v str>) -> Self {
        self.asked.scopes = boxed(scopes);
        self.lists.insert("scopes");
        self
    }

    /// Scopes of which one must have been granted.
    pub fn any_scope<'v>(mut self, scopes: impl IntoIterator<Item = &'v str>) -> Self {
        self.asked.any_scope = boxed(scopes);
        self.lists.insert("any_scope");
        self
    }

    /// Roles of which one must be held.
    pub fn roles<'v>(mut self, roles: impl IntoIterator<Item = &'v str>) -> Self {
        self.asked.roles = boxed(roles);
        self.lists.insert("roles");
        self
    }

    /// Permissions that must all be held.
    pub fn permissions<'v>(mut self, permissions: impl IntoIterator<Item = &'v str>) -> Self {
        self.asked.permissions = boxed(permissions);
        self.lists.insert("permissions");
        self
    }

    /// The lowest level of identity verification.
    pub const fn kyc_level(mut self, level: u8) -> Self {
        self.asked.kyc_level = Some(level);
        self
    }

    /// States of identity verification of which the token must name one.
    pub fn kyc_status<'v>(mut self, states: impl IntoIterator<Item = &'v str>) -> Self {
        self.asked.kyc_status = boxed(states);
        self.lists.insert("kyc_status");
        self
    }

    /// Asks for more than one factor.
    pub const fn mfa(mut self) -> Self {
        self.asked.mfa = true;
        self
    }

    /// Methods (RFC 8176) of which one must have been used to authenticate.
    pub fn amr<'v>(mut self, methods: impl IntoIterator<Item = &'v str>) -> Self {
        self.asked.amr = boxed(methods);
        self.lists.insert("amr");
        self
    }

    /// Authentication contexts of which the token must name one.
    pub fn acr<'v>(mut self, contexts: impl IntoIterator<Item = &'v str>) -> Self {
        self.asked.acr = boxed(contexts);
        self.lists.insert("acr");
        self
    }

    /// The longest time in seconds since the person authenticated.
    pub const fn max_age(mut self, seconds: u32) -> Self {
        self.asked.max_age = Some(seconds);
        self
    }

    /// What is asked for, if a policy could ask for it.
    pub(crate) fn checked(self) -> Result<policy::Requirement, OptionsError> {
        let Self { asked, lists } = self;
        for (name, values, form) in [
            ("scopes", &asked.scopes, SCOPE_TOKEN),
            ("any_scope", &asked.any_scope, SCOPE_TOKEN),
            ("roles", &asked.roles, NAME),
            ("permissions", &asked.permissions, NAME),
            ("kyc_status", &asked.kyc_status, NAME),
            ("amr", &asked.amr, NAME),
            ("acr", &asked.acr, SCOPE_TOKEN),
        ] {
            if lists.contains(name) && !(1..=MAX_LIST).contains(&values.len()) {
                let said = format_args!("{} values, expected 1 to {MAX_LIST}", values.len());
                return Err(OptionsError::new(name, said));
            }
            if let Some(value) = values.iter().find(|value| !(form.admits)(value)) {
                let said = format_args!("{value:?}, expected {}", form.expected);
                return Err(OptionsError::new(name, said));
            }
        }
        if asked.kyc_level == Some(0) {
            return Err(OptionsError::new("kyc_level", "0, expected 1 to 255"));
        }
        let is_age = |seconds| (1..=MAX_AUTHENTICATION_AGE_SECONDS).contains(&i64::from(seconds));
        if let Some(seconds) = asked.max_age.filter(|seconds| !is_age(*seconds)) {
            let said = format_args!("{seconds}, expected 1 to {MAX_AUTHENTICATION_AGE_SECONDS}");
            return Err(OptionsError::new("max_age", said));
        }
        Ok(asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(requirement: Requirement) -> String {
        requirement.checked().unwrap_err().to_string()
    }

    #[test]
    fn takes_no_value_that_would_break_out_of_a_challenge() {
        for (value, is_scope, is_name) in [
            ("report:read", true, true),
            ("https://scopes.example/a", true, true),
            ("", false, false),
            ("a b", false, true),
            ("a\", error=\"x", false, true),
            ("a\\", false, true),
            ("a\r\nX: y", false, false),
            ("\u{e9}", false, true),
            (&"a".repeat(256), true, true),
            (&"a".repeat(257), false, false),
        ] {
            for requirement in [
                Requirement::new().scopes([value]),
                Requirement::new().any_scope(["a", value]),
                Requirement::new().acr([value]),
            ] {
                assert_eq!(requirement.checked().is_ok(), is_scope, "{value:?}");
            }
            // These are said in the body alone, as JSON.
            for requirement in [
                Requirement::new().roles([value]),
                Requirement::new().permissions(["a", value]),
                Requirement::new().kyc_status([value]),
                Requirement::new().amr([value]),
            ] {
                assert_eq!(requirement.checked().is_ok(), is_name, "{value:?}");
            }
        }
    }

    #[test]
    fn takes_no_list_by_which_nothing_would_be_asked_for() {
        let none: [&str; 0] = [];
        let many: Vec<String> = (0..=MAX_LIST).map(|number| format!("v{number}")).collect();
        let many = || many.iter().map(String::as_str);
        let new = Requirement::new;
        for (name, empty, crowded, largest) in [
            (
                "scopes",
                new().scopes(none),
                new().scopes(many()),
                new().scopes(many().skip(1)),
            ),
            (
                "any_scope",
                new().any_scope(none),
                new().any_scope(many()),
                new().any_scope(many().skip(1)),
            ),
            (
                "roles",
                new().roles(none),
                new().roles(many()),
                new().roles(many().skip(1)),
            ),
            (
                "permissions",
                new().permissions(none),
                new().permissions(many()),
                new().permissions(many().skip(1)),
            ),
            (
                "kyc_status",
                new().kyc_status(none),
                new().kyc_status(many()),
                new().kyc_status(many().skip(1)),
            ),
            (
                "amr",
                new().amr(none),
                new().amr(many()),
                new().amr(many().skip(1)),
            ),
            (
                "acr",
                new().acr(none),
                new().acr(many()),
                new().acr(many().skip(1)),
            ),
        ] {
            // What else is said does not make up for it.
            let beside = empty.clone().mfa();
            for (requirement, count) in [(empty, 0), (beside, 0), (crowded, MAX_LIST + 1)] {
                let expected = format!("{name}: {count} values, expected 1 to 64");
                assert_eq!(cause(requirement), expected);
            }
            assert!(largest.checked().is_ok(), "{name}");
        }
        assert!(new().checked().is_ok(), "nothing is asked for by nothing");
        // The last word counts.
        assert!(new().roles(none).roles(["admin"]).checked().is_ok());
        assert!(new().roles(["admin"]).roles(none).checked().is_err());
    }

    #[test]
    fn takes_the_numbers_that_a_policy_takes() {
        const YEAR: u32 = 366 * 86_400;
        for (level, is_right) in [(0, false), (1, true), (255, true)] {
            let asked = Requirement::new().kyc_level(level).checked();
            assert_eq!(asked.is_ok(), is_right, "{level}");
        }
        for (seconds, is_right) in [
            (0, false),
            (1, true),
            (YEAR, true),
            (YEAR + 1, false),
            (u32::MAX, false),
        ] {
            let asked = Requirement::new().max_age(seconds).checked();
            assert_eq!(asked.is_ok(), is_right, "{seconds}");
        }
        let expected = "max_age: 0, expected 1 to 31622400";
        assert_eq!(cause(Requirement::new().max_age(0)), expected);
    }
}
