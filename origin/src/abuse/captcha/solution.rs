//! Judging answers.
//!
//! An answer is counted by the statement that finds its captcha, and committed, before it is
//! compared; the captcha goes with the first right one. So of a hundred answers that arrive
//! together three are looked at, and one passes.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sqlx::AnyConnection;

use super::answer::{Answer, PASS_PREFIX, Solved, Token, normal};
use super::pow::{self, UnverifiedProof};
use super::{Bound, store};
use crate::abuse::sends;
use crate::accounts::{self, Identifier, Kind};
use crate::app::State;
use crate::config::{CaptchaFor, CaptchaKind};
use crate::error::Error;
use crate::ids::CaptchaId;
use crate::request::Caller;
use crate::vault::{Digest, Purpose, Secret, Vault};

/// Takes an answer for a request.
pub(super) async fn accept(
    state: &State,
    caller: &Caller,
    purpose: CaptchaFor,
    identifier: &Identifier,
    answer: &Answer,
) -> Result<(), Error> {
    let bound = match answer {
        Answer::Pass(pass) => redeem(state, &pass.token).await?,
        Answer::Text(Token(text)) if text.expose().starts_with(PASS_PREFIX) => {
            redeem(state, text).await?
        }
        Answer::Solved(solved) => {
            let bound = solve(state, caller, solved).await?;
            consume(state, solved.captcha_id, &bound, purpose, identifier).await?;
            return Ok(());
        }
        Answer::Text(Token(text)) => {
            if state.config.captcha.offers(CaptchaKind::Pow)
                && let Some(proof) = pow::read(text)
            {
                let id = proof.unverified_captcha_id();
                let bound = check_proof(state, id, proof).await?;
                consume(state, id, &bound, purpose, identifier).await?;
                return Ok(());
            }
            // A provider's token is bound by the provider, to the site and to its action.
            return ask_provider(state, caller, purpose, text).await;
        }
    };
    if !bound.admits(state, purpose, identifier)? {
        return Err(Error::CaptchaInvalid("a pass for something else"));
    }
    if bound.kind == CaptchaKind::Code {
        let mut tx = state.db.write().await?;
        answered(state, &mut tx, identifier).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// Notes that the code of a captcha came back: else the message that it was asked for, to the same
/// recipient, would have to wait, and the code would count as lost.
async fn answered(
    state: &State,
    connection: &mut AnyConnection,
    identifier: &Identifier,
) -> Result<(), Error> {
    let (now, blind) = (state.clock.now(), identifier.blind(&state.vault)?);
    sends::answered(connection, &blind, now).await?;
    // What was asked for by a user name went to an address.
    if identifier.kind() == Kind::Username
        && let Some(holder) = accounts::holder(connection, Kind::Username, &blind).await?
        && let Some((_, recipient, _)) =
            accounts::contact(state, connection, holder.user_id).await?
    {
        sends::answered(connection, &recipient, now).await?;
    }
    Ok(())
}

/// Exchanges a right answer for a token.
pub(super) async fn exchange(
    state: &State,
    caller: &Caller,
    solved: &Solved,
) -> Result<Secret, Error> {
    let bound = solve(state, caller, solved).await?;
    let token = Secret::new(format!(
        "{PASS_PREFIX}{}",
        URL_SAFE_NO_PAD.encode(state.random.bytes::<32>())
    ));
    let token_hash = hash(&state.vault, b"pass", &token)?;
    let ttl = Duration::from_secs(state.config.captcha.ttl_seconds);
    let mut tx = state.db.write().await?;
    if !store::consume(&mut tx, solved.captcha_id).await? {
        return Err(Error::CaptchaInvalid("solved meanwhile"));
    }
    store::insert_pass(&mut tx, &token_hash, &bound, state.clock.now() + ttl).await?;
    tx.commit().await?;
    Ok(token)
}

/// Voids every captcha and every token that waits.
///
/// # Errors
/// When the database fails.
pub(crate) async fn withdraw_all(connection: &mut AnyConnection) -> Result<(), Error> {
    store::delete_waiting(connection).await
}

/// The MAC of an answer, with everything that it is bound to.
pub(super) fn answer_mac(
    vault: &Vault,
    id: CaptchaId,
    bound: &Bound,
    answer: &str,
) -> Result<[u8; 32], Error> {
    let answer = normal(answer);
    let parts: [&[u8]; 6] = [
        b"answer",
        id.as_bytes(),
        bound.kind.as_str().as_bytes(),
        bound.purpose.as_str().as_bytes(),
        &bound.target,
        answer.as_bytes(),
    ];
    Ok(vault.mac(Purpose::Captcha, &parts)?)
}

/// Uses up a token that a right answer was exchanged for, whatever it was for.
async fn redeem(state: &State, token: &Secret) -> Result<Bound, Error> {
    let token_hash = hash(&state.vault, b"pass", token)?;
    let mut tx = state.db.write().await?;
    let bound = store::consume_pass(&mut tx, &token_hash, state.clock.now()).await?;
    tx.commit().await?;
    bound.ok_or(Error::CaptchaInvalid("no such pass"))
}

/// Judges an answer; a right one still has to be consumed.
async fn solve(state: &State, caller: &Caller, solved: &Solved) -> Result<Bound, Error> {
    let id = solved.captcha_id;
    if let Some(proof) = pow::read(&solved.answer) {
        return check_proof(state, id, proof).await;
    }
    let waiting = count(state, id).await?;
    let bound = waiting.bound;
    match bound.kind {
        CaptchaKind::Image | CaptchaKind::Code => {
            let mac = answer_mac(&state.vault, id, &bound, solved.answer.expose())?;
            if Digest::new(mac).matches(&waiting.answer_mac) {
                Ok(bound)
            } else {
                Err(Error::CaptchaInvalid("wrong answer"))
            }
        }
        CaptchaKind::Turnstile | CaptchaKind::Hcaptcha | CaptchaKind::Recaptcha
            if bound.kind == state.config.captcha.kind =>
        {
            ask_provider(state, caller, bound.purpose, &solved.answer).await?;
            Ok(bound)
        }
        _ => Err(Error::CaptchaInvalid("an answer of another sort")),
    }
}

async fn check_proof(state: &State, id: CaptchaId, proof: UnverifiedProof) -> Result<Bound, Error> {
    let waiting = count(state, id).await?;
    if waiting.bound.kind != CaptchaKind::Pow
        || !proof.is_about(&state.vault, &waiting.answer_mac)?
    {
        return Err(Error::CaptchaInvalid("a proof for another captcha"));
    }
    if !state.captchas.work.run(move || proof.holds()).await? {
        return Err(Error::CaptchaInvalid("the work was not done"));
    }
    Ok(waiting.bound)
}

async fn count(state: &State, id: CaptchaId) -> Result<store::Waiting, Error> {
    let mut tx = state.db.write().await?;
    let waiting = store::count_try(&mut tx, id, state.clock.now()).await?;
    tx.commit().await?;
    waiting.ok_or(Error::CaptchaInvalid(
        "unknown, too old, used, or tried too often",
    ))
}

/// Uses a solved captcha up for a request that it is bound to; for another it stays.
async fn consume(
    state: &State,
    id: CaptchaId,
    bound: &Bound,
    purpose: CaptchaFor,
    identifier: &Identifier,
) -> Result<(), Error> {
    if !bound.admits(state, purpose, identifier)? {
        return Err(Error::CaptchaInvalid("a captcha for something else"));
    }
    let mut tx = state.db.write().await?;
    let first = store::consume(&mut tx, id).await?;
    if first && bound.kind == CaptchaKind::Code {
        answered(state, &mut tx, identifier).await?;
    }
    tx.commit().await?;
    if first {
        Ok(())
    } else {
        Err(Error::CaptchaInvalid("used meanwhile"))
    }
}

/// Has a provider judge its token, which then counts once whatever the provider says of it later.
async fn ask_provider(
    state: &State,
    caller: &Caller,
    purpose: CaptchaFor,
    token: &Secret,
) -> Result<(), Error> {
    let Some(provider) = &state.captchas.provider else {
        return Err(Error::CaptchaInvalid("not a token of ours"));
    };
    let token_hash = hash(&state.vault, b"provider", token)?;
    let mut reader = state.db.read().await?;
    let spent = store::is_spent(&mut reader, &token_hash).await?;
    drop(reader);
    if spent {
        return Err(Error::CaptchaInvalid("a provider's token, again"));
    }
    provider.verify(token, purpose, caller.address).await?;
    let mut tx = state.db.write().await?;
    let first = store::spend(&mut tx, &token_hash, state.clock.now()).await?;
    tx.commit().await?;
    if first {
        Ok(())
    } else {
        Err(Error::CaptchaInvalid("a provider's token, again"))
    }
}

fn hash(vault: &Vault, what: &[u8], token: &Secret) -> Result<[u8; 32], Error> {
    Ok(vault.mac(Purpose::Captcha, &[what, token.expose().as_bytes()])?)
}
