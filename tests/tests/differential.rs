//! Native code and WebAssembly say the same of mutated tokens. `scripts/differential` asks about a
//! million; here are fewer, enough for every verdict.

use edgekeep_shared::error::Rejection;
use edgekeep_tests::differential::compare;

/// Any would do: it is fixed, so that a failure comes again.
const SEED: u64 = 20_000;

const TOKENS: u64 = 20_000;

#[test]
fn webassembly_and_native_code_agree_about_mutated_tokens() {
    let outcome = compare(SEED, TOKENS, |_| {});
    assert!(
        outcome.disagreements.is_empty(),
        "seed {SEED}: {:#?}",
        outcome.disagreements
    );
    assert_eq!(outcome.verdicts.values().sum::<u64>(), TOKENS);
    for code in [
        "ok",
        Rejection::TokenMalformed.code(),
        Rejection::AlgorithmNotAllowed.code(),
        Rejection::CriticalHeader.code(),
        Rejection::WrongType.code(),
        Rejection::KeyUnknown.code(),
        Rejection::SignatureInvalid.code(),
        Rejection::ClaimMissing.code(),
        Rejection::ClaimInvalid.code(),
        Rejection::IssuerMismatch.code(),
        Rejection::AudienceMismatch.code(),
        Rejection::TokenExpired.code(),
        Rejection::TokenNotYetValid.code(),
    ] {
        let reached = outcome.verdicts.get(code).copied().unwrap_or_default();
        assert!(reached >= 20, "{code}: {:?}", outcome.verdicts);
    }
    // What is accepted is compared by all that it says, so there must be many of them.
    assert!(
        outcome.verdicts["ok"] >= TOKENS / 20,
        "{:?}",
        outcome.verdicts
    );
}
