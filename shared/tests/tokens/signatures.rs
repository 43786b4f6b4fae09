//! Signatures that the caller verifies: the verdict is the same, and is about one token and one key.

use edgekeep_corpus::jwk_set;
use edgekeep_shared::{
    error::Rejection::{self, *},
    gate::{
        Admission, Knowledge, Need, Obstacle, Progress, RevocationSources,
        cache::VerifiedTokens,
        judge,
        keys::HeldKeys,
        list::HeldList,
        refresh::Millis,
        signature::{SignatureCheck, Signatures},
    },
    jwk::{Jwk, JwkSet},
    policy::Revocation,
    verifier::Verifier,
};

use crate::{
    corpus::CASES,
    support::{Key, NOW, claims, claims_with, set, verifier},
};

/// Somebody who judges tokens without a revocation list.
struct Judge {
    verifier: Verifier,
    keys: HeldKeys,
    verified: VerifiedTokens,
    now: Millis,
}

impl Judge {
    fn new(keys: JwkSet) -> Self {
        let now = NOW.0 * 1_000;
        let mut held = HeldKeys::default();
        let attempt = held.begin(now, now + 1_000).unwrap();
        held.offer(keys, now, None);
        held.finish(attempt, now, true);
        Self {
            verifier: verifier(),
            keys: held,
            verified: VerifiedTokens::new(10),
            now,
        }
    }

    fn judge(
        &mut self,
        token: &str,
        signatures: Signatures,
    ) -> Result<Admission, Obstacle<'static>> {
        let mut knowledge = Knowledge {
            verifier: &self.verifier,
            keys: &self.keys,
            foreign: &[],
            list: &HeldList::default(),
            sources: RevocationSources::None,
            verified: &mut self.verified,
        };
        let mut progress = Progress {
            signatures,
            ..Progress::default()
        };
        judge(
            token,
            Revocation::Off,
            &mut knowledge,
            &mut progress,
            self.now,
        )
    }

    /// The question that a token raises, if it raises one.
    fn question(&mut self, token: &str) -> Option<SignatureCheck> {
        match self.judge(token, Signatures::Elsewhere) {
            Err(Obstacle::Wait(Need::Signature(check))) => Some(*check),
            _ => None,
        }
    }

    #[expect(clippy::panic, reason = "a failure is the test's failure")]
    fn verdict(&mut self, token: &str, signatures: Signatures) -> Result<(), Rejection> {
        match self.judge(token, signatures) {
            Ok(_) => Ok(()),
            Err(Obstacle::Refuse(refusal)) => Err(refusal.rejection),
            Err(Obstacle::Wait(need)) => panic!("asks for {need:?}"),
        }
    }
}

/// The honest answer.
fn answered(check: SignatureCheck) -> Signatures {
    let is_good = check.key().verify(check.signed(), check.signature());
    Signatures::Known(check.answer(is_good))
}

#[test]
fn the_corpus_gets_the_same_verdicts() {
    let keys = JwkSet::parse(jwk_set().as_bytes()).unwrap();
    let mut asked = 0;
    for case in CASES.iter() {
        let Ok(token) = std::str::from_utf8(&case.token) else {
            continue;
        };
        let here = Judge::new(keys.clone()).verdict(token, Signatures::Here);
        let mut judge = Judge::new(keys.clone());
        let elsewhere = match judge.question(token) {
            Some(check) => {
                asked += 1;
                judge.verdict(token, answered(check))
            }
            None => judge.verdict(token, Signatures::Elsewhere),
        };
        assert_eq!(elsewhere, here, "{}", case.name);
    }
    assert!(asked > 100, "{asked}");
}

#[test]
fn asks_about_what_everybody_tells_alike_and_about_nothing_else() {
    let (es256, eddsa, rs256) = (Key::es256(1), Key::eddsa(1), Key::rs256(2048));
    let mut judge = Judge::new(set(&[&es256, &eddsa, &rs256]));
    for key in [&es256, &rs256] {
        let token = key.issue(&claims());
        let check = judge.question(&token).unwrap();
        assert_eq!(*check.key(), key.verifying());
        let (signed, _) = token.rsplit_once('.').unwrap();
        assert_eq!(check.signed(), signed.as_bytes());
        assert_eq!(judge.verdict(&token, answered(check)), Ok(()));
        assert!(judge.question(&token).is_none(), "it is remembered");
    }
    let token = eddsa.issue(&claims());
    assert_eq!(judge.verdict(&token, Signatures::Elsewhere), Ok(()));
    // What has no right to be a signature is refused at once.
    for signature in ["", "AAAA", &"A".repeat(86), &"_".repeat(85)] {
        let token = es256.issue(&claims());
        let (signed, _) = token.rsplit_once('.').unwrap();
        let token = format!("{signed}.{signature}");
        assert!(judge.question(&token).is_none(), "{signature}");
    }
}

#[test]
fn a_token_says_whether_its_signature_was_spared() {
    let key = Key::es256(1);
    let mut judge = Judge::new(set(&[&key]));
    let token = key.issue(&claims());
    for cached in [false, true, true] {
        let admission = judge.judge(&token, Signatures::Here).unwrap();
        assert_eq!(admission.cached, cached);
    }
}

#[test]
fn an_answer_is_about_one_token() {
    let key = Key::es256(1);
    let mut judge = Judge::new(set(&[&key]));
    let forged = Key::es256(2).token(&key.header().to_string(), &claims().to_string());
    let good = judge.question(&key.issue(&claims())).unwrap();
    let about_another = Signatures::Known(good.answer(true));
    assert_eq!(judge.verdict(&forged, about_another), Err(SignatureInvalid));
    // Nor does a bad word about another take anything from a good one.
    let check = judge.question(&forged).unwrap();
    let token = key.issue(&claims());
    assert_eq!(
        judge.verdict(&token, Signatures::Known(check.answer(false))),
        Ok(())
    );
}

#[test]
fn an_answer_is_about_one_key() {
    let (old, new) = (Key::es256(1), Key::es256(2));
    let token = old.issue(&claims());
    let mut judge = Judge::new(set(&[&old]));
    let answer = answered(judge.question(&token).unwrap());
    // Another key under the same identifier, and then none.
    let replaced = JwkSet::new(vec![Jwk::new(old.id(), new.verifying())]).unwrap();
    let mut judge = Judge::new(replaced);
    assert_eq!(judge.verdict(&token, answer.clone()), Err(SignatureInvalid));
    let mut judge = Judge::new(set(&[&new]));
    assert_eq!(judge.verdict(&token, answer), Err(KeyUnknown));
}

#[test]
fn an_answer_is_about_the_signature_alone() {
    let key = Key::es256(1);
    let mut judge = Judge::new(set(&[&key]));
    let token = key.issue(&claims());
    let answer = answered(judge.question(&token).unwrap());
    judge.now += 840_000;
    assert_eq!(judge.verdict(&token, answer), Err(TokenExpired));

    let elsewhere = key.issue(&claims_with("aud", Some("other".into())));
    judge.now = NOW.0 * 1_000;
    let answer = answered(judge.question(&elsewhere).unwrap());
    assert_eq!(judge.verdict(&elsewhere, answer), Err(AudienceMismatch));

    let forged = Key::es256(2).token(
        &key.header().to_string(),
        &claims_with("aud", Some("other".into())).to_string(),
    );
    let answer = answered(judge.question(&forged).unwrap());
    assert_eq!(judge.verdict(&forged, answer), Err(SignatureInvalid));
    assert!(judge.verified.is_empty());
}

#[test]
fn an_answer_is_taken_as_it_is_given() {
    let key = Key::es256(1);
    let mut judge = Judge::new(set(&[&key]));
    let token = key.issue(&claims());
    let forged = Key::es256(2).token(&key.header().to_string(), &claims().to_string());
    for (token, is_good, verdict) in [
        (&token, false, Err(SignatureInvalid)),
        (&forged, true, Ok(())),
    ] {
        let check = judge.question(token).unwrap();
        let said = Signatures::Known(check.answer(is_good));
        assert_eq!(judge.verdict(token, said), verdict, "verified here as well");
    }
}
