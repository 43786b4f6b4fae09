//! New accounts: nothing exists until the address is proved.
//!
//! What was asked for waits, sealed, beside the code. So nobody can set a password on an address
//! that is not theirs: the account comes into being with the code, from the request that the code
//! was sent for. When a request with another password came in between, one of the two is a
//! stranger's and the code does not tell which: then the account begins without a password.
//!
//! One address is proved at a time: a number given beside a mail address is not attached.

use serde::{Deserialize, Serialize};

use super::{Identifier, Kind, NewAccount};
use crate::abuse::{captcha, sends};
use crate::app::State;
use crate::error::Error;
use crate::events;
use crate::login::codes::{self, CodeFor};
use crate::login::messages;
use crate::login::{FirstFactor, LoggedIn, conclude};
use crate::notify::Medium;
use crate::request::Caller;
use crate::vault::{Purpose, Secret};

/// A registration that was read and found well-formed.
pub(super) struct Wanted {
    pub(super) email: Option<Identifier>,
    pub(super) phone: Option<Identifier>,
    pub(super) username: Option<Identifier>,
    pub(super) password: Secret,
    pub(super) name: Option<String>,
}

/// What waits for the proof.
#[derive(Serialize, Deserialize)]
struct Pending {
    kind: Kind,
    spelling: String,
    username: Option<String>,
    name: Option<String>,
    phc: Option<String>,
    /// Keyed hash of the password, to see whether a repeated request is the same person's.
    password_mac: Vec<u8>,
}

impl Pending {
    /// What is left when two requests with different passwords wait for one address: nothing that
    /// either of them chose.
    fn contested(self) -> Self {
        Self {
            username: None,
            name: None,
            phc: None,
            ..self
        }
    }

    fn to_json(&self) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(self).map_err(|_| Error::internal("pending as JSON"))
    }
}

/// Takes a registration in; the caller learns nothing about who has an account.
pub(super) async fn begin(state: &State, caller: &Caller, wanted: Wanted) -> Result<(), Error> {
    let phc = state.hasher.hash(&wanted.password).await?;
    let require_proof = state.config.registration.require_proof;
    let Some(address) = wanted.email.as_ref().or(wanted.phone.as_ref()) else {
        if require_proof || wanted.username.is_none() {
            return Err(Error::invalid("Expected email or phone_number."));
        }
        return create_unproved(state, &wanted, &phc).await;
    };
    let blind = address.blind(&state.vault)?;
    let password_mac = state
        .vault
        .mac(
            Purpose::Registration,
            &[&blind, wanted.password.expose().as_bytes()],
        )?
        .to_vec();
    let now = state.clock.now();
    let mut tx = state.db.write().await?;
    let before = codes::waiting(state, &mut tx, CodeFor::Registration, &blind)
        .await?
        .and_then(|payload| serde_json::from_slice::<Pending>(&payload).ok());
    let contested = before
        .as_ref()
        .is_some_and(|before| before.phc.is_none() || before.password_mac != password_mac);
    let limit = state.config.otp.sends_per_hour;
    let counted = async {
        if address.kind() == Kind::Phone {
            sends::pace(state, &mut tx, &blind, now).await?;
        }
        sends::count(&mut tx, CodeFor::Registration.as_str(), &blind, limit, now).await?;
        state.limiter.message()
    };
    if let Err(refusal) = counted.await {
        // The code that waits is not replaced, but whose password it would confirm is no longer
        // clear: that must be remembered although the request is refused.
        if let (true, Some(before)) = (contested, before) {
            let payload = before.contested().to_json()?;
            codes::amend(state, &mut tx, CodeFor::Registration, &blind, &payload).await?;
            tx.commit().await?;
        }
        return Err(refusal);
    }
    let looked_up = super::look_up(&state.vault, &mut tx, address.kind(), &blind).await?;
    let holder = looked_up.holder();
    let taken = holder.is_some_and(|holder| holder.verified);
    let spelling = looked_up.spelling(state, address)?;
    let mut pending = Pending {
        kind: address.kind(),
        spelling: spelling.clone(),
        username: wanted
            .username
            .as_ref()
            .map(|name| name.spelling().to_owned()),
        name: wanted.name.clone(),
        phc: Some(phc.clone()),
        password_mac,
    };
    if contested {
        pending = pending.contested();
    }
    let payload = pending.to_json()?;
    let issued = codes::issue(
        state,
        &mut tx,
        CodeFor::Registration,
        &blind,
        &payload,
        !taken,
    )
    .await?;
    let asked = (address.kind(), CodeFor::Registration);
    codes::note_asked(state, &mut tx, caller, asked, looked_up.user_id()).await?;
    if !require_proof && holder.is_none() {
        create(state, &mut tx, &wanted, &phc, false).await?;
    }
    tx.commit().await?;
    let message = if taken {
        messages::already_registered(address.kind(), &spelling)
    } else {
        messages::registration_code(address.kind(), &spelling, &issued.code)
    };
    if let Some(message) = message {
        state.mailer.send(message.asked_by(caller.address));
    }
    Ok(())
}

/// Makes the account whose address `code` proves, and logs its owner in; what is refused is in the
/// trail.
pub(super) async fn finish(
    state: &State,
    caller: &Caller,
    address: &Identifier,
    code: &Secret,
    device_id: Option<String>,
) -> Result<LoggedIn, Error> {
    let outcome = prove(state, caller, address, code, device_id).await;
    let blind = address.blind(&state.vault)?;
    let what = (events::Kind::Registration, CodeFor::Registration);
    let refusal = outcome.as_ref().err();
    codes::note_refusal(state, caller, what, codes::Key::Recipient(&blind), refusal).await?;
    outcome
}

async fn prove(
    state: &State,
    caller: &Caller,
    address: &Identifier,
    code: &Secret,
    device_id: Option<String>,
) -> Result<LoggedIn, Error> {
    let blind = address.blind(&state.vault)?;
    let guess = codes::guess(
        state,
        CodeFor::Registration,
        codes::Key::Recipient(&blind),
        code,
    )
    .await?;
    let pending: Pending = serde_json::from_slice(&guess.payload)
        .map_err(|_| Error::internal("stored registration is not JSON"))?;
    let mut tx = state.db.write().await?;
    codes::consume(&mut tx, CodeFor::Registration, &guess).await?;
    captcha::note_proof(state, &mut tx, caller, address.kind(), &blind).await?;
    let user_id = match super::holder(&mut tx, address.kind(), &blind).await? {
        Some(holder) if !holder.active => return Err(Error::CodeInvalid("account not active")),
        Some(holder) => {
            super::prove(state, &mut tx, holder.user_id, address.kind(), &blind).await?;
            // What the proved request itself asked for stands.
            if let (false, Some(phc)) = (holder.verified, &pending.phc) {
                super::set_password(state, &mut tx, holder.user_id, phc).await?;
            }
            holder.user_id
        }
        None => {
            let mut identifiers = vec![(
                match pending.kind {
                    Kind::Phone => Identifier::phone(&pending.spelling, None)?,
                    _ => Identifier::email(&pending.spelling)?,
                },
                true,
            )];
            if let Some(username) = &pending.username {
                identifiers.push((Identifier::username(username)?, true));
            }
            super::create(
                state,
                &mut tx,
                &NewAccount {
                    identifiers: &identifiers,
                    password: pending.phc.as_deref(),
                    name: pending.name.as_deref(),
                    ..NewAccount::default()
                },
            )
            .await?
        }
    };
    let first = FirstFactor {
        user_id,
        method: address.kind().medium().map_or("code", Medium::as_str),
        amr: &["otp"],
        sent_to: Some(address.kind()),
        caller,
        device_id,
        device_token: None,
        proved_at: None,
    };
    conclude(state, tx, first).await
}

/// Without proof (a setting) the account exists at once, its addresses marked as not proved.
async fn create_unproved(state: &State, wanted: &Wanted, phc: &str) -> Result<(), Error> {
    let mut tx = state.db.write().await?;
    if let Some(username) = &wanted.username {
        let blind = username.blind(&state.vault)?;
        if super::holder(&mut tx, Kind::Username, &blind)
            .await?
            .is_none()
        {
            create(state, &mut tx, wanted, phc, false).await?;
        }
    }
    Ok(tx.commit().await?)
}

async fn create(
    state: &State,
    connection: &mut sqlx::AnyConnection,
    wanted: &Wanted,
    phc: &str,
    verified: bool,
) -> Result<(), Error> {
    // The one address that the code goes to: with another beside it, who proves the one would be
    // let in by whoever holds the other.
    let address = wanted.email.as_ref().or(wanted.phone.as_ref());
    let identifiers: Vec<(Identifier, bool)> = [
        (address.cloned(), verified),
        // A user name needs no proof: it is whoever took it first.
        (wanted.username.clone(), true),
    ]
    .into_iter()
    .filter_map(|(identifier, verified)| Some((identifier?, verified)))
    .collect();
    let account = NewAccount {
        identifiers: &identifiers,
        password: Some(phc),
        name: wanted.name.as_deref(),
        ..NewAccount::default()
    };
    super::create(state, connection, &account).await.map(drop)
}
