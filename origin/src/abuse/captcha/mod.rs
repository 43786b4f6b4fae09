//! Captchas: what is asked of a caller who may be a machine.
//!
//! A captcha is bound to its sort, to what it is for and to the identifier it is used with, is good
//! for minutes, once, and for three answers. It is asked for by risk or always, and never depends
//! on whether an account exists: what is looked at are failures of the identifier that was typed
//! (counted alike for identifiers that nobody has), failures of the caller's network, and whether a
//! number was proved from that network.
//!
//! It locks nobody out: whoever has others fail on an identifier makes its owner solve one.
//!
//! What it is worth: an image stops the laziest machines, a proof of work makes each request cost
//! something, a code costs an address that can be read, a provider knows more and is told more.
//! None stops somebody who pays people to solve them; limits and lockout stay what bounds guessing.

use serde::Serialize;
use utoipa::ToSchema;

use super::{Limit, Network, Subject, lockout};
use crate::accounts::{Identifier, Kind};
use crate::app::State;
use crate::config::{Captcha, CaptchaFor, CaptchaKind, CaptchaWhen};
use crate::error::Error;
use crate::events::{self, Actor, Event};
use crate::request::Caller;
use crate::vault::{Purpose, Vault};

mod answer;
mod challenge;
mod glyphs;
pub mod image;
mod networks;
mod pow;
mod provider;
mod routes;
mod solution;
mod store;
mod work;

pub use answer::Answer;
pub use routes::routes;
pub(crate) use solution::withdraw_all;

use networks::Networks;
use provider::Provider;
use work::Work;

/// What captchas need between requests.
#[derive(Debug)]
pub struct Captchas {
    networks: Networks,
    work: Work,
    provider: Option<Provider>,
}

impl Captchas {
    /// With nothing seen yet.
    ///
    /// # Errors
    /// When no HTTP client can be made for the configured provider.
    pub fn new(settings: &Captcha) -> Result<Self, String> {
        Ok(Self {
            networks: Networks::default(),
            work: Work::default(),
            provider: Provider::new(settings)?,
        })
    }
}

/// What a client reads of a captcha that it has to solve first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = CaptchaAsked)]
pub struct Asked {
    /// The sort, for `type` of `GET /captcha`.
    #[serde(rename = "type")]
    pub kind: CaptchaKind,
    /// What it has to be for.
    #[serde(rename = "for")]
    pub purpose: CaptchaFor,
    /// The sort that may be solved instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alternative: Option<CaptchaKind>,
}

/// What a captcha was made for.
struct Bound {
    kind: CaptchaKind,
    purpose: CaptchaFor,
    /// Keyed hash of the purpose and the identifier, or of the purpose alone.
    target: [u8; 32],
}

impl Bound {
    /// Whether it may be used for this request.
    fn admits(
        &self,
        state: &State,
        purpose: CaptchaFor,
        identifier: &Identifier,
    ) -> Result<bool, Error> {
        let settings = &state.config.captcha;
        let of_this = self.target == target(&state.vault, purpose, Some(identifier))?;
        let of_any = !settings.bind_target && self.target == target(&state.vault, purpose, None)?;
        Ok(settings.offers(self.kind) && self.purpose == purpose && (of_this || of_any))
    }
}

fn target(
    vault: &Vault,
    purpose: CaptchaFor,
    identifier: Option<&Identifier>,
) -> Result<[u8; 32], Error> {
    let purpose = purpose.as_str().as_bytes();
    Ok(match identifier {
        Some(identifier) => vault.mac(
            Purpose::Captcha,
            &[b"target", purpose, &identifier.blind(vault)?],
        )?,
        None => vault.mac(Purpose::Captcha, &[b"any target", purpose])?,
    })
}

/// Lets a request pass that needs no captcha, or has the right answer to one.
///
/// # Errors
/// [`Error::CaptchaRequired`], [`Error::CaptchaInvalid`]; [`Error::Unavailable`] when a provider
/// cannot be asked and `captcha.fail` is `closed`; when the database fails.
pub async fn admit(
    state: &State,
    caller: &Caller,
    purpose: CaptchaFor,
    identifier: &Identifier,
    answer: Option<&Answer>,
) -> Result<(), Error> {
    if let Some(answer) = answer {
        answer.check()?;
    }
    if !needed(state, caller, purpose, identifier).await? {
        return Ok(());
    }
    let settings = &state.config.captcha;
    let outcome = match answer {
        Some(answer) => {
            state.limiter.by_address(caller, Limit::CaptchaByAddress)?;
            solution::accept(state, caller, purpose, identifier, answer).await
        }
        None => Err(Error::CaptchaRequired(Asked {
            kind: settings.kind,
            purpose,
            alternative: settings.alternative(),
        })),
    };
    let code = outcome.as_ref().err().map(|error| error.code().0);
    state.metrics.count_captcha(code);
    if let (Err(refusal), Some(_)) = (&outcome, answer) {
        // About nobody, whoever it was that was typed.
        let event = Event::new(
            events::Kind::Captcha,
            events::Outcome::Failure,
            Actor::Anonymous,
        );
        let event = event.because(refusal.code().0).from(caller);
        events::refused(state, &event).await?;
    }
    outcome
}

/// Whether a captcha is asked for. The same for identifiers that somebody has and that nobody has.
///
/// Failures are those that were answered: what arrives together is judged together. The bounds on
/// guessing are the limits and the lockout, this only makes it dearer.
///
/// # Errors
/// When the database fails.
pub async fn needed(
    state: &State,
    caller: &Caller,
    purpose: CaptchaFor,
    identifier: &Identifier,
) -> Result<bool, Error> {
    let settings = &state.config.captcha;
    if settings.kind == CaptchaKind::Off || !settings.routes.contains(&purpose) {
        return Ok(false);
    }
    if settings.when == CaptchaWhen::Always {
        return Ok(true);
    }
    let now = state.clock.now();
    let network = counted_network(state, caller);
    if network.is_some_and(|network| {
        let networks = &state.captchas.networks;
        networks.is_failing(network, settings.failures, now)
    }) {
        return Ok(true);
    }
    let blind = identifier.blind(&state.vault)?;
    let subject = Subject::identifier(&state.vault, &blind)?;
    let mut reader = state.db.read().await?;
    let standing = lockout::standing(&mut reader, &subject, now).await?;
    // A locked identifier is refused whatever was solved.
    let refused_anyway = purpose == CaptchaFor::Login && standing.locked_for.is_some();
    if standing.failures >= settings.failures && !refused_anyway {
        return Ok(true);
    }
    if identifier.kind() != Kind::Phone || purpose == CaptchaFor::Login {
        return Ok(false);
    }
    // An SMS costs money and reaches whoever is named. Asking only for numbers without an account
    // would tell which have one, so what counts is what this network has proved.
    match proof_of(state, caller, &blind)? {
        Some(proof) => Ok(!store::is_proved(&mut reader, &proof, now).await?),
        None => Ok(true),
    }
}

/// Notes for the caller's network what became of an attempt to prove who one is.
pub fn note<T>(state: &State, caller: &Caller, outcome: &Result<T, Error>) {
    let settings = &state.config.captcha;
    if settings.kind == CaptchaKind::Off {
        return;
    }
    if let (Err(Error::CredentialsInvalid | Error::CodeInvalid(_)), Some(network)) =
        (outcome, counted_network(state, caller))
    {
        let networks = &state.captchas.networks;
        networks.note_failure(network, settings.failures, state.clock.now());
    }
}

/// Remembers, within the caller's transaction, that somebody in the caller's network received a
/// message that was sent to a number: the next one from there needs no captcha.
///
/// # Errors
/// When the database fails.
pub async fn note_proof(
    state: &State,
    connection: &mut sqlx::AnyConnection,
    caller: &Caller,
    kind: Kind,
    blind: &[u8; 32],
) -> Result<(), Error> {
    if state.config.captcha.kind == CaptchaKind::Off || kind != Kind::Phone {
        return Ok(());
    }
    if let Some(proof) = proof_of(state, caller, blind)? {
        store::insert_proof(connection, &proof, state.clock.now()).await?;
    }
    Ok(())
}

fn proof_of(state: &State, caller: &Caller, blind: &[u8; 32]) -> Result<Option<[u8; 32]>, Error> {
    // Callers of whom nothing is known have nothing in common.
    if caller.address.is_none() {
        return Ok(None);
    }
    let parts: [&[u8]; 3] = [b"proof", blind, &Network::of(caller).bytes()];
    Ok(Some(state.vault.mac(Purpose::Captcha, &parts)?))
}

/// The caller's network, where networks are counted at all.
fn counted_network(state: &State, caller: &Caller) -> Option<Network> {
    let counts = state.config.limits.per_ip;
    counts.then(|| Network::of(caller))
}
