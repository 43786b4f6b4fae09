//! The issuers beside the gate's own, each with its own keys.
//!
//! What a token says of its issuer chooses among those that are configured, by the exact text, and
//! nothing else: the chosen one's verifier compares `iss` again after the signature, and looks for
//! the key in the chosen one's set alone. A token of nobody is judged as one of the gate's own
//! issuer, which finds whose it is not.

use super::{Knowledge, Need, keys::HeldKeys};
use crate::{jwk::JwkSet, token::UnverifiedToken, verifier::VerifiedToken, verifier::Verifier};

/// Issuers beside the gate's own. A request may have the set of each refreshed behind it, beside the
/// list, the policy and the upstream, and Cloudflare's free plan allows a request 50 fetches.
pub const MAX_FOREIGN_ISSUERS: usize = 16;

/// An issuer beside the gate's own, with what is held of its keys.
#[derive(Debug)]
pub struct ForeignIssuer {
    /// Who it is, for whom its tokens are, and how they are signed.
    pub verifier: Verifier,
    /// Its keys.
    pub keys: HeldKeys,
}

/// The issuer by whose keys a token is judged.
pub(super) struct Trusted<'k> {
    pub(super) verifier: &'k Verifier,
    pub(super) keys: &'k HeldKeys,
    /// What to wait for where its keys do not suffice.
    pub(super) need: Need,
}

impl<'k> Knowledge<'k> {
    /// Whose `token` says it is.
    pub(super) fn issuer_of(&self, token: &UnverifiedToken<'_>) -> Trusted<'k> {
        self.foreign_called(token.unverified_issuer())
            .unwrap_or_else(|| self.own())
    }

    /// The keys that `token`, which was verified before, must still be signed by; none where they
    /// do not count now, or the token's issuer is trusted no more.
    pub(super) fn usable_keys_of(
        &self,
        token: &VerifiedToken,
        now: super::Millis,
    ) -> Option<(&'k Verifier, &'k JwkSet)> {
        let name = token.claims().issuer.as_str();
        let trusted = if self.is_own(token) {
            self.own()
        } else {
            self.foreign_called(Some(name))?
        };
        Some((trusted.verifier, trusted.keys.usable(now)?))
    }

    /// Whether `token` is of the gate's own issuer: the one whose list and word on tokens there is.
    pub(super) fn is_own(&self, token: &VerifiedToken) -> bool {
        token.claims().issuer == self.verifier.issuer()
    }

    fn own(&self) -> Trusted<'k> {
        Trusted {
            verifier: self.verifier,
            keys: self.keys,
            need: Need::Keys,
        }
    }

    fn foreign_called(&self, name: Option<&str>) -> Option<Trusted<'k>> {
        // One comparison each: there are few, and mostly none.
        let name = name?;
        let index = self
            .foreign
            .iter()
            .position(|issuer| issuer.verifier.issuer() == name)?;
        let ForeignIssuer { verifier, keys } = self.foreign.get(index)?;
        Some(Trusted {
            verifier,
            keys,
            need: Need::ForeignKeys(index),
        })
    }
}
