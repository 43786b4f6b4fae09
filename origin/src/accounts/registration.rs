//! New accounts: nothing exists until the address is proved.
//!
//! What was asked for waits, sealed, beside the code. So nobody can set a password on an address
//! that is not theirs: the account comes into being with the code, from the request that the code
//! was sent for. Several requests for one address wait beside each other, each with a code and a
//! token of its own, so that no stranger's ends the owner's; with the first that is proved all end.
//!
//! A code that comes back with its token came from who asked for it. One that comes with the address
//! alone may have been read out of a message that a stranger's request caused: when there was one
//! with another password, the code does not tell whose it is, and the account begins without a
//! password.
//!
//! One address is proved at a time: a number given beside a mail address is not attached. A user
//! name needs no proof; alone it is an account at once ([`claim`]).

use serde::{Deserialize, Serialize};
use sqlx::Connection as _;

use super::{Blind, Identifier, Kind, NewAccount};
use crate::abuse::{Limit, captcha, devices, sends};
use crate::app::State;
use crate::error::Error;
use crate::events::{self, Actor, Event};
use crate::ids::UserId;
use crate::login::codes::{self, CodeFor};
use crate::login::links::{self, Proof};
use crate::login::messages;
use crate::login::strength::{self, Person};
use crate::login::{Counted, FirstFactor, LoggedIn, conclude};
use crate::request::Caller;
use crate::vault::{Digest, Purpose, Secret};

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
    /// Whether somebody asked for the same address with another password.
    #[serde(default)]
    contested: bool,
}

impl Pending {
    fn of(proof: &Proof) -> Result<Self, Error> {
        serde_json::from_slice(proof.payload())
            .map_err(|_| Error::internal("stored registration is not JSON"))
    }

    /// Whether it is, or may be, another person's than who has the password with this keyed hash.
    fn is_anothers(&self, password_mac: &[u8]) -> bool {
        self.contested || self.phc.is_none() || self.password_mac != password_mac
    }

    /// What is left where nobody can tell who chose it.
    fn emptied(self) -> Self {
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

/// Takes a registration in; the caller learns nothing about who has an account. The token that the
/// code is bound to comes back, sent or not; none for a user name alone, which no code proves.
pub(super) async fn begin(
    state: &State,
    caller: &Caller,
    wanted: Wanted,
) -> Result<Option<Secret>, Error> {
    let phc = state.hasher.hash(&wanted.password).await?;
    let Some(address) = wanted.email.as_ref().or(wanted.phone.as_ref()) else {
        return claim(state, &wanted, &phc).await.map(|()| None);
    };
    let require_proof = state.config.registration.require_proof;
    let blind = address.blind(&state.vault)?;
    let password_mac = password_mac(state, &blind, &wanted.password)?.to_vec();
    let now = state.clock.now();
    let mut tx = state.db.write().await?;
    let contested = contest(state, &mut tx, &blind, &password_mac).await?;
    let limit = state.config.otp.sends_per_hour;
    let counted = async {
        if address.kind() == Kind::Phone {
            sends::pace(state, &mut tx, &blind, now).await?;
        }
        sends::count(&mut tx, CodeFor::Registration.as_str(), &blind, limit, now).await?;
        state.limiter.message()
    };
    if let Err(refusal) = counted.await {
        // Whose password the codes that wait would confirm is no longer clear: that must be
        // remembered although the request is refused.
        if contested {
            tx.commit().await?;
        }
        return Err(refusal);
    }
    let looked_up = super::look_up(&state.vault, &mut tx, address.kind(), &blind).await?;
    let holder = looked_up.holder();
    let taken = holder.is_some_and(|holder| holder.verified);
    let spelling = looked_up.spelling(state, address)?;
    let pending = Pending {
        kind: address.kind(),
        spelling: spelling.clone(),
        username: wanted
            .username
            .as_ref()
            .map(|name| name.spelling().to_owned()),
        name: wanted.name.clone(),
        phc: Some(phc.clone()),
        password_mac,
        contested,
    };
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
    let to = (address.kind(), &issued.token);
    let page = state.config.registration.verify_url.as_deref();
    let link = links::attach(state, &mut tx, CodeFor::Registration, to, page).await?;
    let asked = (address.kind(), CodeFor::Registration);
    codes::note_asked(state, &mut tx, caller, asked, looked_up.user_id()).await?;
    if !require_proof && holder.is_none() {
        let user_id = create(state, &mut tx, &wanted, &phc).await?;
        super::note_made(state, &mut tx, user_id, address.kind().method()).await?;
    }
    tx.commit().await?;
    let message = if taken {
        messages::already_registered(address.kind(), &spelling)
    } else {
        messages::registration_code(address.kind(), &spelling, &issued.code, link.as_ref())
    };
    if let Some(message) = message {
        state.mailer.send(message.asked_by(caller.address));
    }
    Ok(Some(issued.token))
}

/// Whether a registration with another password waits for the same address, or has lately; those that
/// do are marked.
async fn contest(
    state: &State,
    connection: &mut sqlx::AnyConnection,
    blind: &Blind,
    password_mac: &[u8],
) -> Result<bool, Error> {
    let mut others = Vec::new();
    for waiting in codes::waiting(state, connection, CodeFor::Registration, blind).await? {
        if let Ok(pending) = serde_json::from_slice::<Pending>(&waiting.payload) {
            others.push((waiting, pending));
        }
    }
    let contested = others
        .iter()
        .any(|(_, other)| other.is_anothers(password_mac));
    for (waiting, pending) in others {
        if contested && !pending.contested {
            let marked = Pending {
                contested,
                ..pending
            };
            let payload = marked.to_json()?;
            codes::amend(state, connection, &waiting, blind, &payload).await?;
        }
    }
    Ok(contested)
}

/// The device on which an address is proved.
pub(super) struct Device {
    /// As the client names it.
    pub(super) id: Option<String>,
    /// What an earlier login on it has answered.
    pub(super) token: Option<Secret>,
}

/// By what whoever types a code says which it is.
pub(super) enum SentTo {
    /// The token of the registration, with the address where that was named, too.
    Token(Secret, Option<Identifier>),
    /// The address alone, which others know: their guesses count with these.
    Address(Identifier),
}

/// Makes the account whose address `code` proves, and logs its owner in; what is refused is in the
/// trail.
pub(super) async fn finish(
    state: &State,
    caller: &Caller,
    sent_to: &SentTo,
    code: &Secret,
    device: Device,
) -> Result<LoggedIn, Error> {
    let (token, address) = match sent_to {
        SentTo::Token(token, address) => (Some(token), address.as_ref()),
        SentTo::Address(address) => (None, Some(address)),
    };
    let blind = address
        .map(|address| address.blind(&state.vault))
        .transpose()?;
    let key = || match (token, &blind) {
        (Some(token), _) => codes::Key::Token(token),
        // Nobody has the index of zeroes.
        (None, blind) => codes::Key::Recipient(blind.as_ref().unwrap_or(&[0; 32])),
    };
    let outcome = match codes::guess(state, CodeFor::Registration, key(), code).await {
        Ok(guess) if blind.is_some_and(|blind| blind != guess.recipient) => {
            Err(Error::CodeInvalid("sent to another address"))
        }
        Ok(guess) => {
            let proof = Proof::Code(guess);
            match Pending::of(&proof) {
                Ok(pending) if token.is_none() && pending.contested => {
                    prove(state, caller, proof, pending.emptied(), device).await
                }
                pending => prove(state, caller, proof, pending?, device).await,
            }
        }
        Err(refusal) => Err(refusal),
    };
    note(state, caller, key(), &outcome).await?;
    outcome
}

/// Makes the account whose address a link proves, and logs its owner in; what is refused is in the
/// trail.
///
/// A code is typed where the registration was; a link is followed by whoever reads the mail, who may
/// know nothing of it. So it does not confirm what somebody else may have chosen: the account has the
/// password that comes with the link, and without one it has none. The names stand where that is the
/// password which was registered.
pub(super) async fn finish_by_link(
    state: &State,
    caller: &Caller,
    token: &Secret,
    password: Option<&Secret>,
    device: Device,
) -> Result<LoggedIn, Error> {
    let sent_to = links::recipient(state, CodeFor::Registration, token).await?;
    let outcome = follow(state, caller, token, password, device).await;
    // Nobody has the index of zeroes.
    let sent_to = sent_to.unwrap_or([0; 32]);
    note(state, caller, codes::Key::Recipient(&sent_to), &outcome).await?;
    outcome
}

async fn follow(
    state: &State,
    caller: &Caller,
    token: &Secret,
    password: Option<&Secret>,
    device: Device,
) -> Result<LoggedIn, Error> {
    // Looked at first: a guessed token must cost neither a hash nor a question about breaches.
    let proof = links::find(state, CodeFor::Registration, token).await?;
    let mut pending = Pending::of(&proof)?;
    let registered = match password {
        Some(password) => {
            let mac = password_mac(state, proof.recipient(), password)?;
            pending.phc.is_some() && Digest::new(mac).matches(&pending.password_mac)
        }
        None => false,
    };
    if !registered {
        pending = pending.emptied();
        if let Some(password) = password {
            // A refused password leaves the link as good as it was.
            let person = Person {
                email: Some(&pending.spelling),
                ..Person::default()
            };
            strength::screen(state, password, person)?;
            // Whoever has a link must not have as many estimates as they like, as when registering.
            state.limiter.by_address(caller, Limit::SendsByAddress)?;
            strength::judge(state, password, person).await?;
            pending.phc = Some(state.hasher.hash(password).await?);
        }
    }
    prove(state, caller, proof, pending, device).await
}

async fn note(
    state: &State,
    caller: &Caller,
    key: codes::Key<'_>,
    outcome: &Result<LoggedIn, Error>,
) -> Result<(), Error> {
    let what = (events::Kind::Registration, CodeFor::Registration);
    let refusal = outcome.as_ref().err();
    codes::note_refusal(state, caller, what, key, refusal).await
}

async fn prove(
    state: &State,
    caller: &Caller,
    proof: Proof,
    pending: Pending,
    device: Device,
) -> Result<LoggedIn, Error> {
    let (kind, blind) = (pending.kind, proof.recipient());
    let mut tx = state.db.write().await?;
    proof.consume(state, &mut tx, CodeFor::Registration).await?;
    codes::withdraw(&mut tx, CodeFor::Registration, blind).await?;
    captcha::note_proof(state, &mut tx, caller, kind, blind).await?;
    let user_id = match super::holder(&mut tx, kind, blind).await? {
        Some(holder) if !holder.active => return Err(Error::CodeInvalid("account not active")),
        Some(holder) => {
            super::prove(state, &mut tx, holder.user_id, kind, blind).await?;
            // What the proved request itself asked for stands.
            if let (false, Some(phc)) = (holder.verified, &pending.phc) {
                super::set_password(state, &mut tx, holder.user_id, phc).await?;
            }
            holder.user_id
        }
        None => {
            let mut identifiers = vec![(
                match kind {
                    Kind::Phone => Identifier::phone(&pending.spelling, None)?,
                    _ => Identifier::email(&pending.spelling)?,
                },
                true,
            )];
            if let Some(username) = &pending.username {
                identifiers.push((Identifier::username(username)?, true));
            }
            let account = NewAccount {
                identifiers: &identifiers,
                password: pending.phc.as_deref(),
                name: pending.name.as_deref(),
                ..NewAccount::default()
            };
            let user_id = super::create(state, &mut tx, &account).await?;
            super::note_made(state, &mut tx, user_id, kind.method()).await?;
            user_id
        }
    };
    let known = devices::recognise(state, &mut tx, device.token, user_id).await?;
    let first = FirstFactor {
        user_id,
        method: kind.method(),
        amr: &["otp"],
        sent_to: Some(kind),
        caller,
        device_id: device.id,
        device: known,
        proved_at: None,
        counted: match &proof {
            Proof::Code(guess) => Some(Counted::Code(guess)),
            Proof::Link(_) => None,
        },
    };
    conclude(state, tx, first).await
}

/// Tells a password from another without keeping it.
fn password_mac(state: &State, blind: &Blind, password: &Secret) -> Result<[u8; 32], Error> {
    let parts: [&[u8]; 2] = [blind, password.expose().as_bytes()];
    Ok(state.vault.mac(Purpose::Registration, &parts)?)
}

/// Makes the account of a user name without an address: there is nothing to prove, so it exists at
/// once, unless somebody has the name.
///
/// An account is made either way, and taken back where the name was not to be had: both cost the
/// same, and the answer is one. Whose name it is shows where a password is tried, like any.
async fn claim(state: &State, wanted: &Wanted, phc: &str) -> Result<(), Error> {
    let Some(username) = &wanted.username else {
        return Err(Error::invalid("Expected email, phone_number or username."));
    };
    if !state.config.registration.username_alone {
        return Err(Error::invalid("Expected email or phone_number."));
    }
    // Nothing is sent, but this is bounded over all addresses like what is.
    state.limiter.message()?;
    let blind = username.blind(&state.vault)?;
    let mut tx = state.db.write().await?;
    let mut inner = tx.begin().await?;
    let user_id = create(state, &mut inner, wanted, phc).await?;
    let holder = super::holder(&mut inner, Kind::Username, &blind).await?;
    let holder = holder.ok_or(Error::internal("a name that nobody has after it was taken"))?;
    let method = Kind::Username.method();
    if holder.user_id == user_id {
        inner.commit().await?;
        super::note_made(state, &mut tx, user_id, method).await?;
    } else {
        inner.rollback().await?;
        let (kind, outcome) = (events::Kind::Registration, events::Outcome::Failure);
        let event = Event::new(kind, outcome, Actor::Anonymous).about(holder.user_id);
        events::record(state, &mut tx, &event.by(method).because("conflict")).await?;
    }
    Ok(tx.commit().await?)
}

/// Makes the account before its address is proved.
async fn create(
    state: &State,
    connection: &mut sqlx::AnyConnection,
    wanted: &Wanted,
    phc: &str,
) -> Result<UserId, Error> {
    // The one address that the code goes to: with another beside it, who proves the one would be
    // let in by whoever holds the other.
    let address = wanted.email.as_ref().or(wanted.phone.as_ref());
    let identifiers: Vec<(Identifier, bool)> = [
        (address.cloned(), false),
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
    super::create(state, connection, &account).await
}
