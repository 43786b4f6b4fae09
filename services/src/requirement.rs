//! What a route asks for besides a token that counts.

use edgekeep_shared::policy;

use crate::options::OptionsError;

/// What a route asks for, in the words and with the meaning of a policy's rule; everything that is
/// said must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Requirement(policy::Requirement);

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
        self.0.scopes = boxed(scopes);
        self
    }

    /// Scopes of which one must have been granted.
    pub fn any_scope<'v>(mut self, scopes: impl IntoIterator<Item = &'v str>) -> Self {
        self.0.any_scope = boxed(scopes);
        self
    }

    /// Roles of which one must be held.
    pub fn roles<'v>(mut self, roles: impl IntoIterator<Item = &'v str>) -> Self {
        self.0.roles = boxed(roles);
        self
    }

    /// Permissions that must all be held.
    pub fn permissions<'v>(mut self, permissions: impl IntoIterator<Item = &'v str>) -> Self {
        self.0.permissions = boxed(permissions);
        self
    }

    /// The lowest level of identity verification.
    pub const fn kyc_level(mut self, level: u8) -> Self {
        self.0.kyc_level = Some(level);
        self
    }

    /// States of identity verification of which the token must name one.
    pub fn kyc_status<'v>(mut self, states: impl IntoIterator<Item = &'v str>) -> Self {
        self.0.kyc_status = boxed(states);
        self
    }

    /// Asks for more than one factor.
    pub const fn mfa(mut self) -> Self {
        self.0.mfa = true;
        self
    }

    /// Methods (RFC 8176) of which one must have been used to authenticate.
    pub fn amr<'v>(mut self, methods: impl IntoIterator<Item = &'v str>) -> Self {
        self.0.amr = boxed(methods);
        self
    }

    /// Authentication contexts of which the token must name one.
    pub fn acr<'v>(mut self, contexts: impl IntoIterator<Item = &'v str>) -> Self {
        self.0.acr = boxed(contexts);
        self
    }

    /// The longest time in seconds since the person authenticated.
    pub const fn max_age(mut self, seconds: u32) -> Self {
        self.0.max_age = Some(seconds);
        self
    }

    /// What scopes and contexts are made of (`scope-token`, RFC 6749 §3.3): a challenge quotes them.
    pub(crate) fn checked(self) -> Result<policy::Requirement, OptionsError> {
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
        for (name, values) in [
            ("scopes", &self.0.scopes),
            ("any_scope", &self.0.any_scope),
            ("acr", &self.0.acr),
        ] {
            let is_token = |value: &str| !value.is_empty() && value.bytes().all(is_plain);
            if let Some(value) = values.iter().find(|value| !is_token(value)) {
                let expected = "expected visible ASCII without spaces, quotes and backslashes";
                return Err(OptionsError::new(
                    name,
                    format_args!("{value:?}: {expected}"),
                ));
            }
        }
        Ok(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_no_value_that_would_break_out_of_a_challenge() {
        for (value, is_right) in [
            ("report:read", true),
            ("https://scopes.example/a", true),
            ("", false),
            ("a b", false),
            ("a\", error=\"x", false),
            ("a\\", false),
            ("a\r\nX: y", false),
            ("\u{e9}", false),
        ] {
            for requirement in [
                Requirement::new().scopes([value]),
                Requirement::new().any_scope(["a", value]),
                Requirement::new().acr([value]),
            ] {
                assert_eq!(requirement.checked().is_ok(), is_right, "{value:?}");
            }
            // These are said in the body alone, as JSON.
            assert!(Requirement::new().roles([value]).checked().is_ok());
        }
    }
}
