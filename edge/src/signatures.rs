//! Signatures that JavaScript verifies for the gate, by the platform's own cryptography.

use std::collections::VecDeque;

use edgekeep_shared::gate::signature::{SignatureCheck, Signatures};

/// Signatures that may be under way at a time. Whoever sends more tokens of his own making at once
/// has the oldest ones verified here, one after another, so that they neither pile up nor wait.
const MOST: usize = 64;

/// The signatures that are to be verified, each under a number.
///
/// Those whose client has hung up never come back. They are pushed out by the next ones.
#[derive(Debug, Default)]
pub struct Pending {
    last: u32,
    checks: VecDeque<(u32, SignatureCheck)>,
}

impl Pending {
    /// Keeps a signature; its number, which is never 0.
    pub fn put(&mut self, check: SignatureCheck) -> u32 {
        self.last = self.last.checked_add(1).unwrap_or(1);
        if self.checks.len() >= MOST {
            self.checks.pop_front();
        }
        self.checks.push_back((self.last, check));
        self.last
    }

    /// The signature of this number.
    pub fn find(&self, ticket: u32) -> Option<&SignatureCheck> {
        let found = self.checks.iter().find(|(own, _)| *own == ticket);
        found.map(|(_, check)| check)
    }

    /// Takes the signature of this number out, with its verdict; what has none, or is not there any
    /// more, is verified here.
    pub fn take(&mut self, ticket: u32, verdict: Option<bool>) -> Signatures {
        let at = self.checks.iter().position(|(own, _)| *own == ticket);
        let check = at.and_then(|at| self.checks.remove(at));
        match (check, verdict) {
            (Some((_, check)), Some(is_good)) => Signatures::Known(check.answer(is_good)),
            _ => Signatures::Here,
        }
    }
}

#[cfg(test)]
mod tests {
    use edgekeep_shared::{
        base64url,
        gate::{
            Knowledge, Need, Obstacle, Progress, RevocationSources, cache::VerifiedTokens, judge,
            keys::HeldKeys, list::HeldList,
        },
        jwk::{Jwk, JwkSet, VerifyingKey},
        policy::Revocation,
        verifier::Verifier,
    };
    use p256::ecdsa::{Signature, SigningKey, signature::Signer as _};

    use super::*;

    /// A question that the decision raises.
    fn check() -> SignatureCheck {
        let key = SigningKey::from_slice(&[7; 32]).unwrap();
        let mut keys = HeldKeys::default();
        let jwk = Jwk::new("k", VerifyingKey::Es256(*key.verifying_key()));
        keys.offer(JwkSet::new(vec![jwk]).unwrap(), 0, None);
        let header = base64url::encode(br#"{"alg":"ES256","typ":"at+jwt","kid":"k"}"#);
        let signed = format!("{header}.{}", base64url::encode(b"{}"));
        let signature: Signature = key.sign(signed.as_bytes());
        let token = format!("{signed}.{}", base64url::encode(&signature.to_bytes()));
        let mut knowledge = Knowledge {
            verifier: &Verifier::new("i", "a"),
            keys: &keys,
            foreign: &[],
            list: &HeldList::default(),
            sources: RevocationSources::None,
            verified: &mut VerifiedTokens::new(1),
        };
        let mut progress = Progress {
            signatures: Signatures::Elsewhere,
            ..Progress::default()
        };
        match judge(&token, Revocation::Off, &mut knowledge, &mut progress, 0) {
            Err(Obstacle::Wait(Need::Signature(check))) => *check,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_verdict_is_taken_once_and_only_if_there_is_one() {
        let mut pending = Pending::default();
        let (first, second) = (pending.put(check()), pending.put(check()));
        assert_ne!(first, second);
        assert!(pending.find(first).is_some() && pending.find(0).is_none());
        assert!(matches!(
            pending.take(first, Some(true)),
            Signatures::Known(_)
        ));
        assert!(matches!(pending.take(first, Some(true)), Signatures::Here));
        assert!(matches!(pending.take(second, None), Signatures::Here));
        assert!(pending.find(second).is_none());
        assert!(matches!(pending.take(99, Some(true)), Signatures::Here));
    }

    #[test]
    fn those_that_never_come_back_are_pushed_out() {
        let mut pending = Pending {
            last: u32::MAX - 1,
            ..Pending::default()
        };
        let check = check();
        let tickets: Vec<u32> = (0..=MOST).map(|_| pending.put(check.clone())).collect();
        assert!(!tickets.contains(&0));
        assert_eq!(pending.checks.len(), MOST);
        assert!(matches!(
            pending.take(tickets[0], Some(true)),
            Signatures::Here
        ));
        assert!(matches!(
            pending.take(tickets[1], Some(true)),
            Signatures::Known(_)
        ));
    }
}
