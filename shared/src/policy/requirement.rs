//! What a rule asks of whoever holds the token.

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt::Write as _;

use super::owner::Owner;
use crate::error::Rejection;
use crate::path;

/// How far `auth_time` may lie in the future, in seconds: the gate's default leeway between clocks.
pub const AUTH_TIME_LEEWAY_SECONDS: i64 = 5;

/// The largest `max_age` in seconds: a year, longer than any session.
pub const MAX_AUTHENTICATION_AGE_SECONDS: i64 = 366 * 86_400;

/// What the verified claims say about the holder, borrowed from them.
///
/// `S` is whatever the claims keep their strings in.
#[derive(Clone, Copy, Debug)]
pub struct Holder<'a, S = String> {
    /// The scope tokens of the `scope` claim (RFC 8693 §4.2).
    pub scopes: &'a [S],
    /// The `roles` claim.
    pub roles: &'a [S],
    /// The `permissions` claim.
    pub permissions: &'a [S],
    /// The `kyc_level` claim; none counts as level 0.
    pub kyc_level: Option<u8>,
    /// The `kyc_status` claim.
    pub kyc_status: Option<&'a str>,
    /// The `sub` claim.
    pub subject: Option<&'a str>,
    /// The `customer_id` claim.
    pub customer_id: Option<&'a str>,
    /// The `amr` claim (RFC 8176).
    pub amr: &'a [S],
    /// The `acr` claim.
    pub acr: Option<&'a str>,
    /// The `auth_time` claim, in seconds since 1970.
    pub auth_time: Option<i64>,
}

/// Somebody of whom nothing is said.
impl<S> Default for Holder<'_, S> {
    fn default() -> Self {
        Self {
            scopes: &[],
            roles: &[],
            permissions: &[],
            kyc_level: None,
            kyc_status: None,
            subject: None,
            customer_id: None,
            amr: &[],
            acr: None,
            auth_time: None,
        }
    }
}

impl<S: AsRef<str>> Holder<'_, S> {
    /// Whether more than one factor was used: `amr` says `mfa`, or has methods of two kinds out of
    /// something known, something possessed and something the person is.
    pub fn used_several_factors(&self) -> bool {
        let mut first = None;
        self.amr.iter().any(|method| {
            if method.as_ref() == "mfa" {
                return true;
            }
            let Some(kind) = FactorKind::of(method.as_ref()) else {
                return false;
            };
            *first.get_or_insert(kind) != kind
        })
    }
}

/// The three kinds of authentication factor (NIST SP 800-63B).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FactorKind {
    /// Something the person knows.
    Knowledge,
    /// Something the person has.
    Possession,
    /// Something the person is.
    Inherence,
}

impl FactorKind {
    /// The kind of an RFC 8176 authentication method.
    ///
    /// None for a value that is no factor (`user`, `geo`, `rba`, `wia`, `mca`) and for an unknown
    /// one: `otp` and `sms` together are one kind, and what is not understood proves nothing.
    pub fn of(method: &str) -> Option<Self> {
        match method {
            "pwd" | "pin" | "kba" => Some(Self::Knowledge),
            "otp" | "sms" | "tel" | "hwk" | "swk" | "pop" | "sc" => Some(Self::Possession),
            "face" | "fpt" | "iris" | "retina" | "vbm" => Some(Self::Inherence),
            _ => None,
        }
    }
}

/// What a rule asks for; everything that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requirement {
    /// Scopes that must all have been granted.
    pub scopes: Box<[Box<str>]>,
    /// Scopes of which one must have been granted.
    pub any_scope: Box<[Box<str>]>,
    /// Roles of which one must be held.
    pub roles: Box<[Box<str>]>,
    /// Permissions that must all be held.
    pub permissions: Box<[Box<str>]>,
    /// What the path must say of the holder.
    pub owner: Box<[Owner]>,
    /// Roles of which one makes up for not being the owner.
    pub owner_or_roles: Box<[Box<str>]>,
    /// The lowest level of identity verification.
    pub kyc_level: Option<u8>,
    /// States of identity verification of which the token must name one.
    pub kyc_status: Box<[Box<str>]>,
    /// Methods of which one must have been used to authenticate.
    pub amr: Box<[Box<str>]>,
    /// Whether more than one factor is needed.
    pub mfa: bool,
    /// Authentication contexts of which the token must name one.
    pub acr: Box<[Box<str>]>,
    /// The longest time in seconds since the person authenticated.
    pub max_age: Option<u32>,
}

/// What was missing, borrowed from the rule, so that a refusal can say how to do better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Missing<'r> {
    /// Not all of these scopes were granted.
    Scopes(&'r [Box<str>]),
    /// None of these scopes was granted.
    AnyScope(&'r [Box<str>]),
    /// None of these roles is held.
    Roles(&'r [Box<str>]),
    /// Not all of these permissions are held.
    Permissions(&'r [Box<str>]),
    /// The path names somebody else.
    Owner(&'r [Owner]),
    /// The identity is not verified to this level.
    KycLevel(u8),
    /// The verification of the identity is in none of these states.
    KycStatus(&'r [Box<str>]),
    /// The authentication is too weak or too old (RFC 9470): everything the rule asks of it, so
    /// that one more authentication is enough.
    StepUp {
        /// Authentication contexts of which one is needed; empty when any will do.
        acr: &'r [Box<str>],
        /// The longest time in seconds since authentication.
        max_age: Option<u32>,
        /// Whether more than one factor is needed.
        mfa: bool,
        /// Methods of which one is needed; empty when any will do.
        amr: &'r [Box<str>],
    },
}

impl Missing<'_> {
    /// The refusal this amounts to.
    pub const fn rejection(&self) -> Rejection {
        match self {
            Self::Scopes(_) | Self::AnyScope(_) => Rejection::InsufficientScope,
            Self::Roles(_) => Rejection::InsufficientRole,
            Self::Permissions(_) | Self::Owner(_) => Rejection::InsufficientPermission,
            Self::KycLevel(_) | Self::KycStatus(_) => Rejection::KycRequired,
            Self::StepUp { .. } => Rejection::StepUpRequired,
        }
    }

    /// Appends the parameters of the `WWW-Authenticate` challenge, for instance
    /// `, scope="report:write"` (RFC 6750 §3) or `, acr_values="gold", max_age="300"`
    /// (RFC 9470 §3); nothing where no standard parameter says it.
    pub fn write_challenge(&self, challenge: &mut String) {
        match *self {
            Self::Scopes(scopes) | Self::AnyScope(scopes) => {
                write_quoted(challenge, "scope", scopes);
            }
            Self::StepUp { acr, max_age, .. } => {
                if !acr.is_empty() {
                    write_quoted(challenge, "acr_values", acr);
                }
                if let Some(seconds) = max_age {
                    // Writing to a String cannot fail.
                    let _ = write!(challenge, ", max_age=\"{seconds}\"");
                }
            }
            Self::Roles(_)
            | Self::Permissions(_)
            | Self::Owner(_)
            | Self::KycLevel(_)
            | Self::KycStatus(_) => {}
        }
    }
}

/// The values come from the policy, which admits none that would need quoting.
fn write_quoted(challenge: &mut String, name: &str, values: &[Box<str>]) {
    challenge.push_str(", ");
    challenge.push_str(name);
    challenge.push_str("=\"");
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            challenge.push(' ');
        }
        challenge.push_str(value);
    }
    challenge.push('"');
}

impl Requirement {
    /// Checks what the holder has against what the rule asks for.
    ///
    /// `parameter` gives what the path has for a parameter of the rule's pattern, still
    /// percent-encoded; `now_unix` is in seconds since 1970. Rights come before strength, so that nobody is sent to
    /// authenticate again for something they may not do anyway.
    ///
    /// # Errors
    /// The first thing that is [`Missing`].
    pub fn check<'s, S: AsRef<str>>(
        &self,
        holder: &Holder<'_, S>,
        parameter: impl Fn(&str) -> Option<&'s str>,
        now_unix: i64,
    ) -> Result<(), Missing<'_>> {
        let holds = |held: &[S], wanted: &str| held.iter().any(|value| value.as_ref() == wanted);
        if !self.scopes.iter().all(|scope| holds(holder.scopes, scope)) {
            return Err(Missing::Scopes(&self.scopes));
        }
        if !self.any_scope.is_empty() && !self.any_scope.iter().any(|s| holds(holder.scopes, s)) {
            return Err(Missing::AnyScope(&self.any_scope));
        }
        if !self.roles.is_empty() && !self.roles.iter().any(|role| holds(holder.roles, role)) {
            return Err(Missing::Roles(&self.roles));
        }
        if !self
            .permissions
            .iter()
            .all(|wanted| holds(holder.permissions, wanted))
        {
            return Err(Missing::Permissions(&self.permissions));
        }
        let owns = |owner: &Owner| {
            let (segment, name) = (parameter(&owner.parameter), owner.claim.of(holder));
            matches!((segment, name), (Some(segment), Some(name)) if path::says(segment, name))
        };
        if !self.owner.iter().all(owns)
            && !self
                .owner_or_roles
                .iter()
                .any(|role| holds(holder.roles, role))
        {
            return Err(Missing::Owner(&self.owner));
        }
        if let Some(level) = self.kyc_level
            && holder.kyc_level.unwrap_or(0) < level
        {
            return Err(Missing::KycLevel(level));
        }
        if !self.kyc_status.is_empty()
            && !holder
                .kyc_status
                .is_some_and(|status| self.kyc_status.iter().any(|wanted| **wanted == *status))
        {
            return Err(Missing::KycStatus(&self.kyc_status));
        }
        if self.authentication_suffices(holder, now_unix) {
            Ok(())
        } else {
            Err(Missing::StepUp {
                acr: &self.acr,
                max_age: self.max_age,
                mfa: self.mfa,
                amr: &self.amr,
            })
        }
    }

    fn authentication_suffices<S: AsRef<str>>(&self, holder: &Holder<'_, S>, now: i64) -> bool {
        let context = self.acr.is_empty()
            || holder
                .acr
                .is_some_and(|acr| self.acr.iter().any(|wanted| **wanted == *acr));
        let factors = !self.mfa || holder.used_several_factors();
        let used = |method: &str| holder.amr.iter().any(|used| used.as_ref() == method);
        let methods = self.amr.is_empty() || self.amr.iter().any(|method| used(method));
        let recent = self.max_age.is_none_or(|max_age| {
            // Unknown is old, and a time that has not come yet proves nothing.
            holder.auth_time.is_some_and(|at| {
                at <= now.saturating_add(AUTH_TIME_LEEWAY_SECONDS)
                    && now.saturating_sub(at) <= i64::from(max_age)
            })
        });
        context && factors && methods && recent
    }
}
