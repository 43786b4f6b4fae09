//! Making captchas.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use sqlx::AnyConnection;
use utoipa::ToSchema;

use super::pow::{self, Parameters};
use super::{Bound, image, solution, store, target};
use crate::abuse::{Limit, sends};
use crate::accounts::{self, Blind, Identifier, Kind};
use crate::app::State;
use crate::config::{CaptchaFor, CaptchaKind};
use crate::error::Error;
use crate::ids::CaptchaId;
use crate::login::messages;
use crate::request::Caller;
use crate::vault::Secret;

/// The word under which codes that are captchas are counted as messages.
const SENDS: &str = "captcha";

/// A captcha to solve. Which of the later members are there depends on `type`.
#[derive(Serialize, ToSchema)]
#[schema(as = CaptchaChallenge)]
pub(super) struct Challenge {
    /// What the answer is given back with; absent with `off`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    pub(super) captcha_id: Option<CaptchaId>,
    /// The sort; `off` where none is ever asked for.
    #[serde(rename = "type")]
    pub(super) kind: CaptchaKind,
    /// Seconds for which an answer is accepted.
    pub(super) expires_in: u64,
    /// `image`: a PNG as `data:` URI, six letters and digits; case does not matter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) image: Option<String>,
    /// The sort for whoever cannot solve this one: ask again with `type`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) alternative: Option<CaptchaKind>,
    /// `pow`: what to compute with, as ALTCHA (protocol version 2) has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) parameters: Option<Parameters>,
    /// `pow`: to be given back unchanged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) signature: Option<String>,
    /// A provider's public key for the page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) site_key: Option<String>,
    /// A provider's `action` to be set in the page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) action: Option<CaptchaFor>,
}

impl Challenge {
    fn new(kind: CaptchaKind) -> Self {
        Self {
            captcha_id: None,
            kind,
            expires_in: 0,
            image: None,
            alternative: None,
            parameters: None,
            signature: None,
            site_key: None,
            action: None,
        }
    }
}

/// Makes a captcha of the wanted sort, or of the one that fits.
pub(super) async fn make(
    state: &State,
    caller: &Caller,
    wanted: Option<CaptchaKind>,
    purpose: CaptchaFor,
    identifier: Option<&Identifier>,
) -> Result<Challenge, Error> {
    let settings = &state.config.captcha;
    if settings.kind == CaptchaKind::Off {
        return Ok(Challenge::new(CaptchaKind::Off));
    }
    let kind = wanted.unwrap_or_else(|| usual(state, identifier));
    if !settings.offers(kind) {
        return Err(Error::invalid("type: this server does not offer that one."));
    }
    if identifier.is_none() && (settings.bind_target || kind == CaptchaKind::Code) {
        return Err(Error::invalid(
            "target: expected the identifier that the captcha is to be used for.",
        ));
    }
    let now = state.clock.now();
    state.limiter.by_address(caller, Limit::CaptchaByAddress)?;
    if kind == CaptchaKind::Code {
        state.limiter.by_address(caller, Limit::SendsByAddress)?;
    }
    let id = CaptchaId::generate(&state.random);
    let bound = Bound {
        kind,
        purpose,
        target: target(&state.vault, purpose, identifier)?,
    };
    let expires_at = now + Duration::from_secs(settings.ttl_seconds);
    let mut challenge = Challenge {
        captcha_id: Some(id),
        expires_in: settings.ttl_seconds,
        alternative: settings.alternative().filter(|&other| other != kind),
        ..Challenge::new(kind)
    };
    let mut code = None;
    let answer_mac = match kind {
        CaptchaKind::Image => {
            let random = state.random.clone();
            let drawn = state.captchas.work.run(move || image::draw(&random));
            let image::Image { png, letters } = drawn.await?;
            challenge.image = Some(format!("data:image/png;base64,{}", STANDARD.encode(png)));
            solution::answer_mac(&state.vault, id, &bound, &letters)?
        }
        CaptchaKind::Pow => {
            let parameters = Parameters::new(settings, &state.random, id, expires_at);
            let mac = parameters.mac(&state.vault)?;
            challenge.signature = Some(pow::signature(&mac));
            challenge.parameters = Some(parameters);
            mac
        }
        CaptchaKind::Code => {
            let digits = Secret::new(state.random.six_digits());
            let mac = solution::answer_mac(&state.vault, id, &bound, digits.expose())?;
            code = Some(digits);
            mac
        }
        _ => {
            challenge.site_key = Some(settings.site_key.clone());
            challenge.action = Some(purpose);
            state.random.bytes()
        }
    };
    let mut tx = state.db.write().await?;
    let mut message = None;
    let mut stored_mac = answer_mac;
    if let (Some(code), Some(identifier)) = (code, identifier) {
        let blind = identifier.blind(&state.vault)?;
        if identifier.kind() == Kind::Phone {
            sends::pace(state, &mut tx, &blind, now).await?;
        }
        let limit = state.config.otp.sends_per_hour;
        sends::count(&mut tx, SENDS, &blind, limit, now).await?;
        state.limiter.message()?;
        let recipient = recipient(state, &mut tx, identifier, &blind).await?;
        message = recipient.and_then(|(kind, to)| messages::captcha_code(kind, &to, &code));
        if message.is_none() {
            stored_mac = state.random.bytes();
        }
    }
    store::insert(&mut tx, id, &bound, &stored_mac, (now, expires_at)).await?;
    tx.commit().await?;
    if let Some(message) = message {
        let message = message.good_until(expires_at);
        state.mailer.send(message.asked_by(caller.address));
    }
    Ok(challenge)
}

/// The configured sort; for numbers the alternative to a code, because a code reaches only those
/// that somebody has proved.
fn usual(state: &State, identifier: Option<&Identifier>) -> CaptchaKind {
    let settings = &state.config.captcha;
    let is_number = identifier.is_some_and(|identifier| identifier.kind() == Kind::Phone);
    if settings.kind == CaptchaKind::Code && is_number {
        settings.alternative().unwrap_or(settings.kind)
    } else {
        settings.kind
    }
}

/// Where a code goes: to the stored spelling, or to a mail address that nobody has.
///
/// An SMS goes only to a number that its owner has proved, and to an account's contact only where
/// that was proved: else asking for a captcha would be the free message that captchas are there to
/// prevent. The answer is the same, and nothing solves what was not sent.
async fn recipient(
    state: &State,
    connection: &mut AnyConnection,
    identifier: &Identifier,
    blind: &Blind,
) -> Result<Option<(Kind, String)>, Error> {
    let kind = identifier.kind();
    let looked_up = accounts::look_up(&state.vault, connection, kind, blind).await?;
    let holder = looked_up.holder();
    if kind != Kind::Username {
        let to = looked_up.spelling(state, identifier)?;
        let may_send = match holder {
            None => kind == Kind::Email,
            Some(holder) => holder.active && (kind == Kind::Email || holder.verified),
        };
        return Ok(may_send.then_some((kind, to)));
    }
    let contact = accounts::contact(state, connection, looked_up.reads()).await?;
    let Some((kind, blind, to)) = contact else {
        return Ok(None);
    };
    let proved = accounts::holder(connection, kind, &blind).await?;
    let may_send =
        holder.is_some_and(|holder| holder.active) && proved.is_some_and(|holder| holder.verified);
    Ok(may_send.then_some((kind, to)))
}
