//! Second factors: which a person has, and what proves one.
//!
//! | method | what it is | guesses |
//! |---|---|---|
//! | `passkey` | a key in an authenticator ([`passkeys`](super::passkeys)) | signatures: not bounded |
//! | `totp` | an authenticator app ([`totp`]) | bounded for the account (`[mfa]`), apart from all else |
//! | `recovery_code` | one of ten codes on paper ([`recovery`]) | 120 bits: wrong ones delayed, not bounded |
//! | `sms`, `email` | a code sent to a proved address ([`mailed`]), where the person chose it | three a code, bounded for account and method (`[otp]`) |
//!
//! A guess is counted and the count committed before anything is compared ([`guess`]), but for recovery
//! codes, of which only wrong ones are counted; what is right is used up by one conditional statement in the transaction that it opens something in
//! ([`consume`]). A method whose guesses are used up is off until another one is proved. That is
//! answered like a wrong code; its owner is told by mail. Codes that are wrong again and again have to
//! wait for ever longer before that ([`delay`]). On a device that is trusted guesses have bounds of their
//! own, and neither wait for nor are turned off by what others guess ([`devices`]).
//!
//! Recovery codes come with the first factor and go with the last: alone they are none.

use serde::{Deserialize, Serialize};
use sqlx::AnyConnection;
use utoipa::ToSchema;

use crate::abuse::delay::{self, Guessed};
use crate::abuse::guesses::{self, Admission, Counted};
use crate::abuse::{Subject, devices};
use crate::accounts::{self, Kind};
use crate::app::State;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::events::{self, Actor, Event, Outcome};
use crate::ids::UserId;
use crate::notify::Kept;
use crate::request::Caller;
use crate::social::FEDERATED;
use crate::vault::{Purpose, Secret};

pub(super) mod changes;
mod loss;
mod mailed;
mod recovery;
pub(super) mod routes;
mod store;
mod totp;

pub(crate) use changes::drop_unusable;
pub(crate) use loss::reset_factors;
pub(super) use mailed::{Request, send};
pub(crate) use routes::{Factor, list};

use super::codes;
use super::messages;
use super::passkeys;

/// A second factor, the strongest first: the order in which they are offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = SecondFactor)]
pub enum Method {
    /// A signature of a passkey.
    Passkey,
    /// A code of an authenticator app.
    Totp,
    /// One of the ten recovery codes.
    RecoveryCode,
    /// A code by SMS.
    Sms,
    /// A code by mail.
    Email,
}

impl Method {
    /// What `amr` says of it (RFC 8176 §2). A look-up secret is something one has (NIST
    /// SP 800-63B-4 §3.1.2), and what it proves is a one-time password; mail has no word of its own.
    pub(super) const fn amr(self) -> &'static str {
        match self {
            Self::Passkey => "hwk",
            Self::Totp | Self::RecoveryCode | Self::Email => "otp",
            Self::Sms => "sms",
        }
    }

    /// To what kind of address it sends a code.
    pub(super) const fn kind(self) -> Option<Kind> {
        match self {
            Self::Passkey | Self::Totp | Self::RecoveryCode => None,
            Self::Sms => Some(Kind::Phone),
            Self::Email => Some(Kind::Email),
        }
    }

    /// The method that sends codes to this kind of address.
    pub(super) const fn sending_to(kind: Kind) -> Option<Self> {
        match kind {
            Kind::Email => Some(Self::Email),
            Kind::Phone => Some(Self::Sms),
            Kind::Username => None,
        }
    }

    /// Its word in the API and the audit trail.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Passkey => "passkey",
            Self::Totp => "totp",
            Self::RecoveryCode => "recovery_code",
            Self::Sms => "sms",
            Self::Email => "email",
        }
    }

    /// How people call it, in a message.
    const fn in_words(self) -> &'static str {
        match self {
            Self::Passkey => "passkey",
            Self::Totp => "authenticator app",
            Self::RecoveryCode => "recovery codes",
            Self::Sms => "codes by SMS",
            Self::Email => "codes by mail",
        }
    }
}

/// The word under which guesses of TOTP are counted; those of sent codes are counted under their
/// kind of address.
const TOTP: &str = "totp";

impl Method {
    /// The word under which guesses of its codes are counted.
    const fn counted_as(self) -> &'static str {
        match self.kind() {
            Some(kind) => kind.as_str(),
            None => self.as_str(),
        }
    }
}

/// Methods with codes, which can be guessed.
const WITH_CODES: [Method; 4] = [
    Method::Totp,
    Method::RecoveryCode,
    Method::Sms,
    Method::Email,
];

/// Whether the account has a second factor.
///
/// # Errors
/// When the database fails.
pub(crate) async fn any(connection: &mut AnyConnection, user_id: UserId) -> Result<bool, Error> {
    store::any(connection, user_id).await
}

/// The second factors that may follow a first one, the strongest first. A code that went to a kind
/// of address is not followed by another to the same kind: that would be the same proof twice.
///
/// # Errors
/// When the database fails.
pub(super) async fn offered(
    state: &State,
    connection: &mut AnyConnection,
    user_id: UserId,
    after: Option<Kind>,
) -> Result<Vec<Method>, Error> {
    let mut methods = Vec::new();
    if !passkeys::store::passkeys(connection, user_id)
        .await?
        .is_empty()
    {
        methods.push(Method::Passkey);
    }
    if store::totp(connection, user_id).await?.is_some() {
        methods.push(Method::Totp);
    }
    if !store::recovery_codes(connection, user_id).await?.is_empty() {
        methods.push(Method::RecoveryCode);
    }
    for row in store::code_factors(connection, user_id).await? {
        let usable = !row.withheld && Some(row.kind) != after;
        if let Some(method) = Method::sending_to(row.kind).filter(|_| usable)
            && accounts::proved_address(state, connection, user_id, row.kind)
                .await?
                .is_some()
        {
            methods.push(method);
        }
    }
    methods.sort_unstable();
    Ok(methods)
}

/// A second factor that was shown and is right; it still has to be [`consume`]d.
pub(super) enum Proof {
    /// A signature of a passkey.
    Passkey(passkeys::Asserted),
    /// A code of this step of the authenticator app with this (sealed) secret.
    Totp {
        secret: Vec<u8>,
        step: i64,
        counted: Counted,
    },
    /// The recovery code that is stored so.
    RecoveryCode(Vec<u8>),
    /// A code that was sent to this kind of address.
    Sent(Kind, codes::Guess),
}

impl Proof {
    pub(super) const fn method(&self) -> Method {
        match self {
            Self::Passkey(_) => Method::Passkey,
            Self::Totp { .. } => Method::Totp,
            Self::RecoveryCode(_) => Method::RecoveryCode,
            Self::Sent(Kind::Phone, _) => Method::Sms,
            Self::Sent(..) => Method::Email,
        }
    }

    /// What `amr` says of it, behind the methods `before`.
    ///
    /// A passkey has verified its holder: after a code, too, that makes two kinds. A login at another
    /// provider is no factor by itself, since nobody here knows what that asked for, but who has an
    /// account there does not thereby have the app or the list of codes: with one of these it is
    /// proved twice over (`mfa`, RFC 8176 §2). The address that a code is sent to may be all that the
    /// account there hangs on.
    pub(super) fn amr(&self, before: &[impl AsRef<str>]) -> Vec<&'static str> {
        let method = self.method();
        match (self, method) {
            (Self::Passkey(asserted), _) => asserted.amr().to_vec(),
            (_, Method::Totp | Method::RecoveryCode)
                if before.iter().any(|word| word.as_ref() == FEDERATED) =>
            {
                vec![method.amr(), "mfa"]
            }
            _ => vec![method.amr()],
        }
    }
}

/// Who guesses a code.
#[derive(Clone, Copy)]
pub(super) struct Guesser<'a> {
    pub(super) caller: &'a Caller,
    /// The token of the device, where that may be trusted: guesses on one that is do not wait for what
    /// others did, and are counted apart from theirs.
    pub(super) device: Option<&'a Secret>,
}

impl<'a> Guesser<'a> {
    /// Whoever asks, on a device of which nothing is known.
    pub(super) const fn anywhere(caller: &'a Caller) -> Self {
        Self {
            caller,
            device: None,
        }
    }
}

/// Compares `code` with what `method` expects of the account, after counting the guess. A sent
/// code is looked for among those that were sent for `request`.
///
/// # Errors
/// [`Error::CodeInvalid`] whatever is wrong with it; [`Error::CodeExpired`] of a sent one;
/// [`Error::RateLimited`] when it comes too soon, and nothing is counted, nor compared but for a recovery
/// code.
pub(super) async fn guess(
    state: &State,
    user_id: UserId,
    method: Method,
    code: &Secret,
    request: Option<Request<'_>>,
    by: Guesser<'_>,
) -> Result<Proof, Error> {
    let guessed = Guessed::new(state, by.caller, user_id, method.counted_as())?;
    let guessed = (&guessed, by.device);
    match (method, method.kind(), request) {
        (Method::Totp, ..) => guess_totp(state, user_id, &codes::digits(code), guessed).await,
        (Method::RecoveryCode, ..) => guess_recovery_code(state, user_id, code, guessed).await,
        (_, Some(kind), Some(request)) => {
            let guess = mailed::guess(state, kind, request, code, guessed).await?;
            Ok(Proof::Sent(kind, guess))
        }
        _ => Err(Error::CodeInvalid("no code is sent for this")),
    }
}

async fn guess_totp(
    state: &State,
    user_id: UserId,
    code: &Secret,
    (guessed, device): (&Guessed, Option<&Secret>),
) -> Result<Proof, Error> {
    let now = state.clock.now();
    let subject = Subject::factor(&state.vault, user_id, TOTP)?;
    let mut tx = state.db.write().await?;
    let Some(row) = store::totp(&mut tx, user_id).await? else {
        return Err(Error::CodeInvalid("no authenticator app"));
    };
    let bounds = state.config.mfa.bounds();
    let own = match device {
        Some(token) => devices::subject(state, &mut tx, token, user_id, TOTP).await?,
        None => None,
    };
    let subjects = (own.as_ref(), &subject);
    let counted = guesses::count_second(&mut tx, bounds, &state.random, subjects, now);
    let (admission, on_device) = counted.await?;
    // What comes too soon is rolled back with its count. What is off is not compared, nor delayed.
    if let (Admission::Counted(_), false) = (admission, on_device) {
        delay::count(state, &mut tx, guessed).await?;
    }
    let mut told = Kept::default();
    if matches!(admission, Admission::TurnedOff) {
        told = record_off(state, &mut tx, user_id, Method::Totp).await?;
    }
    tx.commit().await?;
    state.mailer.deliver(told);
    let Admission::Counted(counted) = admission else {
        return Err(Error::CodeInvalid("TOTP is off for the account"));
    };
    let secret = state
        .vault
        .open(Purpose::Totp, user_id.as_bytes(), &row.secret)?;
    let Some(step) = totp::matching_step(&secret, code.expose(), now)? else {
        return Err(Error::CodeInvalid("wrong TOTP"));
    };
    // Whether that step was used already, the statement that uses it tells.
    Ok(Proof::Totp {
        secret: row.secret,
        step,
        counted,
    })
}

async fn guess_recovery_code(
    state: &State,
    user_id: UserId,
    code: &Secret,
    (guessed, device): (&Guessed, Option<&Secret>),
) -> Result<Proof, Error> {
    let code = recovery::read(code).ok_or(Error::CodeInvalid("not a recovery code"))?;
    let mut reader = state.db.read().await?;
    let stored = store::recovery_codes(&mut reader, user_id).await?;
    drop(reader);
    let stored = stored.into_iter().map(|(mac, _)| mac);
    if let Some(mac) = recovery::find(state, user_id, &code, stored)? {
        return Ok(Proof::RecoveryCode(mac));
    }
    // Only now: nobody finds one of 120 bits by trying, and whoever knows the password could have the
    // right one wait for ever.
    let mut tx = state.db.write().await?;
    let on_device = match device {
        Some(token) => devices::is_trusted(state, &mut tx, token, Some(user_id)).await?,
        None => false,
    };
    if !on_device {
        delay::count(state, &mut tx, guessed).await?;
    }
    tx.commit().await?;
    Err(Error::CodeInvalid("wrong recovery code"))
}

/// Uses a proved factor up within the caller's transaction; false when it was used or removed
/// meanwhile, and the caller has to roll back and [`release`] it.
///
/// Methods that were turned off or withheld are on again, and none has to wait: this is the other
/// proof.
pub(super) async fn consume(
    state: &State,
    connection: &mut AnyConnection,
    user_id: UserId,
    proof: &Proof,
) -> Result<bool, Error> {
    let now = state.clock.now();
    let used = match proof {
        Proof::Passkey(asserted) => passkeys::consume(state, connection, asserted).await?,
        Proof::Totp {
            secret,
            step,
            counted,
        } => {
            let used = store::use_step(connection, user_id, secret, *step, now).await?;
            if used {
                guesses::take_back(connection, *counted).await?;
            }
            used
        }
        Proof::RecoveryCode(mac) => store::use_recovery_code(connection, user_id, mac).await?,
        Proof::Sent(kind, guess) => {
            store::use_code_factor(connection, user_id, *kind, now).await?
                && match codes::consume(connection, codes::CodeFor::SecondFactor, guess).await {
                    Ok(()) => true,
                    Err(Error::CodeInvalid(_)) => false,
                    Err(error) => return Err(error),
                }
        }
    };
    if !used {
        return Ok(false);
    }
    lift(state, connection, user_id).await?;
    delay::clear(
        state,
        connection,
        user_id,
        WITH_CODES.map(Method::counted_as),
    )
    .await?;
    store::withhold(connection, user_id, None).await?;
    Ok(true)
}

/// Takes the count of a right guess back that somebody else was faster with: it counts against
/// nobody.
pub(super) async fn release(state: &State, proof: &Proof) -> Result<(), Error> {
    let mut tx = state.db.write().await?;
    match proof {
        Proof::Totp { counted, .. } => guesses::take_back(&mut tx, *counted).await?,
        Proof::Passkey(_) | Proof::RecoveryCode(_) => {}
        Proof::Sent(_, guess) => codes::release(&mut tx, guess).await?,
    }
    Ok(tx.commit().await?)
}

/// Allows guesses of every second factor again after a proof; the month's counts go on.
///
/// # Errors
/// When the database fails.
pub(super) async fn lift(
    state: &State,
    connection: &mut AnyConnection,
    user_id: UserId,
) -> Result<(), Error> {
    for factor in [TOTP, Kind::Email.as_str(), Kind::Phone.as_str()] {
        let subject = Subject::factor(&state.vault, user_id, factor)?;
        guesses::lift(connection, &subject, state.clock.now()).await?;
    }
    Ok(())
}

/// Records that guesses of a method are used up, within the transaction that turns it off, with what
/// the owner is told: whoever guessed it had proved the first factor.
pub(super) async fn record_off(
    state: &State,
    connection: &mut AnyConnection,
    user_id: UserId,
    method: Method,
) -> Result<Kept, Error> {
    let event = Event::new(events::Kind::FactorChange, Outcome::Success, Actor::System);
    let event = event
        .about(user_id)
        .by(method.as_str())
        .because("turned_off");
    events::record(state, connection, &event).await?;
    let contact = accounts::contact(state, connection, user_id).await?;
    let (called, now) = (method.in_words(), state.clock.now());
    let notice = contact.and_then(|(kind, _, to)| messages::factor_off(kind, &to, called, now));
    state.mailer.keep(connection, user_id, notice).await
}

/// Tells the owner of a recovery code that was used, and how many are left; to be sent after the
/// change is committed.
pub(super) async fn recovery_code_used(
    state: &State,
    connection: &mut AnyConnection,
    user_id: UserId,
    method: Method,
) -> Result<Option<crate::notify::Message>, Error> {
    if method != Method::RecoveryCode {
        return Ok(None);
    }
    let left = store::recovery_codes(connection, user_id).await?.len();
    let contact = accounts::contact(state, connection, user_id).await?;
    Ok(contact
        .and_then(|(kind, _, to)| messages::recovery_code_used(kind, &to, left, state.clock.now())))
}

/// After a link to an address of this kind set the password: codes to the same kind do not follow
/// it until another second factor was proved. Otherwise whoever reads the address had both
/// (ASVS 6.4.3).
///
/// # Errors
/// When the database fails.
pub(super) async fn withhold(
    connection: &mut AnyConnection,
    user_id: UserId,
    kind: Kind,
) -> Result<(), Error> {
    store::withhold(connection, user_id, Some(kind)).await
}

/// Forgets every secret that waits to be confirmed.
///
/// # Errors
/// When the database fails.
pub(super) async fn withdraw_all(connection: &mut AnyConnection) -> Result<(), Error> {
    store::delete_every_pending(connection).await
}

/// Removes the second factors that were added at `since` or later, recovery codes that were made
/// then, and whatever waits: a change is taken back, and whoever made it may have prepared another
/// way in or locked the owner out. The recovery codes of before are good again.
///
/// # Errors
/// When the database fails.
pub(crate) async fn remove_since(
    connection: &mut AnyConnection,
    user_id: UserId,
    since: Timestamp,
) -> Result<(), Error> {
    store::delete_since(connection, user_id, since).await?;
    if !store::any(connection, user_id).await? {
        store::delete_rest(connection, user_id).await?;
    }
    super::second::withdraw(connection, user_id).await
}

/// Forgets recovery codes that were replaced before `instant`: no change that was made with them can be
/// taken back any more.
///
/// # Errors
/// When the database fails.
pub(crate) async fn forget_replaced(
    connection: &mut AnyConnection,
    instant: Timestamp,
) -> Result<(), Error> {
    store::forget_replaced(connection, instant).await
}

/// Removes every second factor, and logins that wait for one: what stood before the first proof of
/// an address, by whoever.
///
/// # Errors
/// When the database fails.
pub(crate) async fn remove_all(
    connection: &mut AnyConnection,
    user_id: UserId,
) -> Result<(), Error> {
    passkeys::store::delete_of(connection, user_id).await?;
    store::delete_totp(connection, user_id).await?;
    for kind in [Kind::Email, Kind::Phone] {
        store::delete_code_factor(connection, user_id, kind).await?;
    }
    store::delete_rest(connection, user_id).await?;
    super::second::withdraw(connection, user_id).await
}
