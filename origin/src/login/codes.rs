//! One-time codes: issued, guessed at most a few times, consumed once.
//!
//! A guess is counted by the statement that finds the code, and committed, before it is compared:
//! however many arrive together, no more than the allowed tries are ever compared. Codes for
//! addresses that nobody may use exist as rows that no code matches, so that all addresses cost
//! and answer the same.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};
use zeroize::Zeroizing;

use super::factors::{self, Method};
use crate::abuse::delay::{self, Guessed};
use crate::abuse::guesses::{self, Admission, Counted};
use crate::abuse::{Subject, devices, sends};
use crate::accounts::{self, Blind, Kind};
use crate::app::State;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::events::{self, Actor, Event, Outcome};
use crate::ids::UserId;
use crate::notify::Kept;
use crate::request::Caller;
use crate::vault::{Digest, Purpose, Secret};

/// How long a row outlives its code, so that a late guess is told `code_expired`.
const REMEMBERED: Duration = Duration::from_hours(24);

/// The words of registrations, each a place in which one of an address waits beside the others, so
/// that nobody ends anybody else's. There are as many as `otp.sends_per_hour` lets out unless set
/// otherwise; where that is more, the oldest gives way to the fourth.
const REGISTRATIONS: [&str; 3] = ["register", "register-2", "register-3"];

/// The words of codes that are a second factor: behind a first one, the same on a device that is trusted,
/// and within a session. Whoever asks for one says which.
const SECOND_FACTORS: [&str; 3] = [
    sends::SECOND_FACTOR,
    sends::TRUSTED_SECOND_FACTOR,
    sends::REAUTHENTICATION,
];

/// What a code is for; one for another purpose does not match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeFor {
    /// Proving the address of a new account.
    Registration,
    /// Logging in.
    Login,
    /// Logging in on a device that is trusted: a code beside the one that strangers can have sent to
    /// the same address, so that theirs does not end it.
    TrustedLogin,
    /// Completing a login whose first factor was proved, or proving within a session who one is.
    SecondFactor,
    /// Proving an address that is added to an account. Of one address each account has a code of its
    /// own: an account costs nothing, and a stranger's must not end or use up what the owner of the
    /// address asked for.
    Contact(Account),
}

/// An account as the place of a code has it: a keyed hash, so that the table does not say whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account(u128);

impl Account {
    /// That of `user_id`.
    ///
    /// # Errors
    /// When the vault has no key.
    pub fn new(state: &State, user_id: UserId) -> Result<Self, Error> {
        let parts: [&[u8]; 2] = [b"account", user_id.as_bytes()];
        let mac = state.vault.mac(Purpose::Code, &parts)?;
        let mut half = [0; 16];
        half.copy_from_slice(&mac[..16]);
        Ok(Self(u128::from_be_bytes(half)))
    }
}

impl CodeFor {
    /// The word that the database keeps.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Registration => REGISTRATIONS[0],
            Self::Login => "login",
            Self::TrustedLogin => sends::TRUSTED,
            Self::SecondFactor => sends::SECOND_FACTOR,
            Self::Contact(_) => "contact",
        }
    }

    /// The words under which such codes wait; all the same where one address has one code.
    pub(super) fn places(self) -> [Cow<'static, str>; 3] {
        match self {
            Self::Registration => REGISTRATIONS.map(Cow::Borrowed),
            Self::SecondFactor => SECOND_FACTORS.map(Cow::Borrowed),
            Self::Login | Self::TrustedLogin => [self.as_str(); 3].map(Cow::Borrowed),
            Self::Contact(account) => {
                let place = Cow::from(format!("contact-{:032x}", account.0));
                [place.clone(), place.clone(), place]
            }
        }
    }
}

/// A code on its way to its recipient.
#[derive(Debug)]
pub struct Issued {
    /// Six digits, for the message.
    pub code: Secret,
    /// The token that the code is bound to, for the answer.
    pub token: Secret,
}

/// What a code is bound to besides its purpose.
#[derive(Clone, Copy)]
pub struct Bond<'a> {
    /// The token that it comes back with; no other code may be bound to it.
    pub token: &'a Secret,
    /// The device that asked for it, where that has a name.
    pub device: Option<&'a str>,
    /// In which of the places of its purpose it waits, where those are not all alike.
    pub place: Option<&'static str>,
}

/// The device on which a code is given back.
#[derive(Clone, Copy, Default)]
pub struct On<'a> {
    /// The token of a device that may be trusted.
    pub token: Option<&'a Secret>,
    /// The names that the request has for it: a client may say one in its headers and another in the
    /// body.
    pub names: [Option<&'a str>; 2],
}

/// By what a code is found.
pub enum Key<'a> {
    /// The address that it was sent to, which anybody may know: such guesses have tries of their own,
    /// of the code and of the address, and take none from whoever has the token.
    Recipient(&'a Blind),
    /// The token that it is bound to.
    Token(&'a Secret),
}

/// A guess that was right. It still has to be [`consume`]d.
pub struct Guess {
    /// The address that it proves.
    pub recipient: Blind,
    /// What was kept beside the code.
    pub payload: Zeroizing<Vec<u8>>,
    /// The device that it was counted at, where that is trusted.
    pub device: Option<devices::Trusted>,
    token_hash: Vec<u8>,
    /// Whether the token was given with it, and so which of the code's tries it was.
    is_bound: bool,
    counted: Vec<Counted>,
    guessed_at: Timestamp,
}

/// A registration that waits, or whose code has expired lately.
pub struct Waiting {
    place: String,
    /// What was kept beside the code.
    pub payload: Zeroizing<Vec<u8>>,
}

/// A code that a guess may be of.
struct Candidate {
    place: String,
    recipient: Blind,
    token_hash: Vec<u8>,
    code_mac: Vec<u8>,
    sealed: Vec<u8>,
    sent_at: Timestamp,
}

impl Candidate {
    fn read(row: &AnyRow) -> Result<Self, Error> {
        let recipient: Vec<u8> = row.try_get("recipient")?;
        Ok(Self {
            place: row.try_get("purpose")?,
            recipient: Blind::try_from(recipient.as_slice())
                .map_err(|_| Error::internal("blind index of the wrong length"))?,
            token_hash: row.try_get("token_hash")?,
            code_mac: row.try_get("code_mac")?,
            sealed: row.try_get("payload")?,
            sent_at: row.try_get("sent_at")?,
        })
    }
}

/// Issues a code to `recipient`, ending the one before unless it is of a registration; `payload` waits
/// sealed beside it.
///
/// With `deliverable` false the code is one that nothing matches.
///
/// # Errors
/// When the database fails.
pub async fn issue(
    state: &State,
    connection: &mut AnyConnection,
    purpose: CodeFor,
    recipient: &Blind,
    payload: &[u8],
    deliverable: bool,
) -> Result<Issued, Error> {
    let token = new_token(state);
    let bond = Bond {
        token: &token,
        device: None,
        place: None,
    };
    let code = issue_bound(
        state,
        connection,
        purpose,
        recipient,
        payload,
        bond,
        deliverable,
    )
    .await?;
    Ok(Issued { code, token })
}

/// A token of 256 random bits for a code to be bound to.
pub fn new_token(state: &State) -> Secret {
    let random: [u8; 32] = state.random.bytes();
    Secret::new(format!("eko_{}", URL_SAFE_NO_PAD.encode(random)))
}

/// [`issue`], of a code that is bound to what the caller says.
///
/// # Errors
/// When the database fails.
pub async fn issue_bound(
    state: &State,
    connection: &mut AnyConnection,
    purpose: CodeFor,
    recipient: &Blind,
    payload: &[u8],
    bond: Bond<'_>,
    deliverable: bool,
) -> Result<Secret, Error> {
    let now = state.clock.now();
    let code = Secret::new(state.random.six_digits());
    let token_hash = hash_token(state, bond.token)?;
    let nothing: [u8; 32] = state.random.bytes();
    let code_mac = mac(state, purpose, &token_hash, &code, bond.device)?;
    remove_expired(connection, now).await?;
    let place = match bond.place {
        Some(place) => {
            // The same request may have asked for one that waits in another place.
            withdraw_bound(connection, &token_hash).await?;
            Cow::Borrowed(place)
        }
        None => place(connection, purpose, recipient).await?,
    };
    let sealed = state
        .vault
        .seal(Purpose::Registration, &aad(&place, recipient), payload)?;
    sqlx::query(
        "INSERT INTO one_time_codes
             (purpose, recipient, token_hash, code_mac, payload, tries, unbound_tries, sent_at,
              expires_at)
         VALUES ($1, $2, $3, $4, $5, 0, 0, $6, $7)
         ON CONFLICT (purpose, recipient) DO UPDATE SET
             token_hash = $3, code_mac = $4, payload = $5, tries = 0, unbound_tries = 0,
             sent_at = $6, expires_at = $7, link_hash = NULL",
    )
    .bind(&*place)
    .bind(recipient.as_slice())
    .bind(token_hash.as_slice())
    .bind(if deliverable {
        code_mac.as_bytes().as_slice()
    } else {
        nothing.as_slice()
    })
    .bind(sealed)
    .bind(now)
    .bind(now + Duration::from_secs(state.config.otp.ttl_seconds))
    .execute(connection)
    .await?;
    Ok(code)
}

/// Ends the code that is bound to a token.
async fn withdraw_bound(
    connection: &mut AnyConnection,
    token_hash: &[u8; 32],
) -> Result<(), Error> {
    sqlx::query("DELETE FROM one_time_codes WHERE token_hash = $1")
        .bind(token_hash.as_slice())
        .execute(connection)
        .await?;
    Ok(())
}

/// Where the next code to `recipient` waits: in a place that is free, else in the oldest code's.
async fn place(
    connection: &mut AnyConnection,
    purpose: CodeFor,
    recipient: &Blind,
) -> Result<Cow<'static, str>, Error> {
    let [first, second, third] = purpose.places();
    if first == second {
        return Ok(first);
    }
    let held: Vec<String> = sqlx::query_scalar(
        "SELECT purpose FROM one_time_codes
         WHERE purpose IN ($1, $2, $3) AND recipient = $4 ORDER BY sent_at, purpose",
    )
    .bind(&*first)
    .bind(&*second)
    .bind(&*third)
    .bind(recipient.as_slice())
    .fetch_all(connection)
    .await?;
    let free = [&first, &second, &third]
        .into_iter()
        .find(|place| !held.iter().any(|held| held == *place))
        .cloned();
    let oldest = held.into_iter().next().map(Cow::Owned);
    Ok(free.or(oldest).unwrap_or(first))
}

/// Removes codes whose time was over a day ago.
///
/// # Errors
/// When the database fails.
pub async fn remove_expired(connection: &mut AnyConnection, now: Timestamp) -> Result<(), Error> {
    sqlx::query("DELETE FROM one_time_codes WHERE expires_at < $1")
        .bind(now - REMEMBERED)
        .execute(connection)
        .await?;
    Ok(())
}

/// What waits beside the codes of `recipient`, whether or not their time is over.
///
/// # Errors
/// When the database or the vault fails.
pub async fn waiting(
    state: &State,
    connection: &mut AnyConnection,
    purpose: CodeFor,
    recipient: &Blind,
) -> Result<Vec<Waiting>, Error> {
    let places = purpose.places();
    let rows = sqlx::query(
        "SELECT purpose, payload FROM one_time_codes
         WHERE purpose IN ($1, $2, $3) AND recipient = $4",
    )
    .bind(&*places[0])
    .bind(&*places[1])
    .bind(&*places[2])
    .bind(recipient.as_slice())
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let place: String = row.try_get("purpose")?;
            let sealed: Vec<u8> = row.try_get("payload")?;
            let payload = open(state, &place, recipient, &sealed)?;
            Ok(Waiting { place, payload })
        })
        .collect()
}

/// Replaces what waits beside a code of `recipient`; the code stays.
///
/// # Errors
/// When the database or the vault fails.
pub async fn amend(
    state: &State,
    connection: &mut AnyConnection,
    waiting: &Waiting,
    recipient: &Blind,
    payload: &[u8],
) -> Result<(), Error> {
    let aad = aad(&waiting.place, recipient);
    let sealed = state.vault.seal(Purpose::Registration, &aad, payload)?;
    sqlx::query("UPDATE one_time_codes SET payload = $3 WHERE purpose = $1 AND recipient = $2")
        .bind(&waiting.place)
        .bind(recipient.as_slice())
        .bind(sealed)
        .execute(connection)
        .await?;
    Ok(())
}

/// Which of the two codes to log in with is bound to `token`. A token of nothing is as one for a code
/// that went to no trusted device.
///
/// # Errors
/// When the database or the vault fails.
pub async fn login_purpose(state: &State, token: &Secret) -> Result<CodeFor, Error> {
    let mut reader = state.db.read().await?;
    let found = sqlx::query("SELECT 1 FROM one_time_codes WHERE purpose = $1 AND token_hash = $2")
        .bind(CodeFor::TrustedLogin.as_str())
        .bind(hash_token(state, token)?.as_slice())
        .fetch_optional(&mut *reader)
        .await?;
    Ok(match found {
        Some(_) => CodeFor::TrustedLogin,
        None => CodeFor::Login,
    })
}

/// Compares `code` with the one that `key` finds, after counting the guess.
///
/// # Errors
/// [`Error::CodeInvalid`] when it is wrong, tried too often, or codes are off for the account;
/// [`Error::CodeExpired`] when its time is over.
pub async fn guess(
    state: &State,
    purpose: CodeFor,
    key: Key<'_>,
    code: &Secret,
) -> Result<Guess, Error> {
    guess_by(state, purpose, key, code, (On::default(), None)).await
}

/// [`guess`] of a second factor, which must not come too soon unless `device` is the token of one that
/// is trusted.
///
/// # Errors
/// As [`guess`]; [`Error::RateLimited`] when it does, and nothing is counted.
pub async fn guess_second(
    state: &State,
    key: Key<'_>,
    code: &Secret,
    (guessed, device): (&Guessed, Option<&Secret>),
) -> Result<Guess, Error> {
    let on = On {
        token: device,
        ..On::default()
    };
    guess_by(state, CodeFor::SecondFactor, key, code, (on, Some(guessed))).await
}

/// [`guess`] on a device, which must be the one that asked for the code where that had a name. Where it
/// is trusted, the guess is counted there: neither do strangers' guesses hold it up nor its own anybody
/// else.
///
/// # Errors
/// As [`guess`].
pub async fn guess_on(
    state: &State,
    purpose: CodeFor,
    key: Key<'_>,
    code: &Secret,
    on: On<'_>,
) -> Result<Guess, Error> {
    guess_by(state, purpose, key, code, (on, None)).await
}

/// A code without the spaces that apps show and people type.
pub(super) fn digits(code: &Secret) -> Secret {
    let digits = code.expose().chars().filter(|c| !c.is_whitespace());
    Secret::new(digits.collect())
}

async fn guess_by(
    state: &State,
    purpose: CodeFor,
    key: Key<'_>,
    code: &Secret,
    (on, guessed): (On<'_>, Option<&Guessed>),
) -> Result<Guess, Error> {
    let code = &digits(code);
    let text = code.expose();
    if text.len() != 6 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Error::CodeInvalid("not six digits"));
    }
    let now = state.clock.now();
    let (column, found_by) = match key {
        Key::Recipient(blind) => ("recipient", blind.to_vec()),
        Key::Token(token) => ("token_hash", hash_token(state, token)?.to_vec()),
    };
    let mut tx = state.db.write().await?;
    let places = purpose.places();
    let rows = sqlx::query(match column {
        // Of several that wait for one address a guess is one of each: of a code's tries, and of the
        // address's, which are counted below.
        "recipient" => {
            "UPDATE one_time_codes SET unbound_tries = unbound_tries + 1
             WHERE purpose IN ($1, $2, $3) AND recipient = $4 AND unbound_tries < $5
               AND expires_at > $6
             RETURNING purpose, recipient, token_hash, code_mac, payload, sent_at"
        }
        _ => {
            "UPDATE one_time_codes SET tries = tries + 1
             WHERE purpose IN ($1, $2, $3) AND token_hash = $4 AND tries < $5 AND expires_at > $6
             RETURNING purpose, recipient, token_hash, code_mac, payload, sent_at"
        }
    })
    .bind(&*places[0])
    .bind(&*places[1])
    .bind(&*places[2])
    .bind(found_by.clone())
    .bind(i64::from(state.config.otp.max_tries))
    .bind(now)
    .fetch_all(&mut *tx)
    .await?;
    let mut candidates: Vec<Candidate> =
        rows.iter().map(Candidate::read).collect::<Result<_, _>>()?;
    // The newest first, whose message is the one that somebody reads.
    candidates.sort_by_key(|candidate| Reverse(candidate.sent_at));
    let Some(recipient) = candidates.first().map(|candidate| candidate.recipient) else {
        let refusal = why_not(&mut tx, purpose, column, found_by, now).await?;
        tx.rollback().await?;
        return Err(refusal);
    };
    let (subject, holder) = subject(state, &mut tx, purpose, &recipient).await?;
    let is_bound = matches!(key, Key::Token(_));
    let subject = if is_bound {
        subject
    } else {
        Subject::unbound(&state.vault, &recipient)?
    };
    let whose = (&subject, holder, is_bound);
    let admitted = admit(state, &mut tx, purpose, whose, on.token, now).await?;
    let Admitted {
        admission,
        device,
        on_device,
    } = admitted;
    let first = admission.and_then(Admission::counted);
    let counted = count_each(state, &mut tx, &subject, first, &mut candidates, now).await?;
    // With what was counted until here a guess that comes too soon is rolled back.
    if let (Some(Admission::Counted(_)), false, Some(guessed)) = (admission, on_device, guessed) {
        delay::count(state, &mut tx, guessed).await?;
    }
    let turned_off = match (admission, purpose, holder) {
        (Some(Admission::TurnedOff), CodeFor::SecondFactor, Some((kind, user_id))) => {
            Method::sending_to(kind).map(|method| (user_id, method))
        }
        _ => None,
    };
    let mut told = Kept::default();
    if let Some((user_id, method)) = turned_off {
        told = factors::record_off(state, &mut tx, user_id, method).await?;
    }
    tx.commit().await?;
    state.mailer.deliver(told);
    if matches!(admission, Some(Admission::Off | Admission::TurnedOff)) {
        return Err(Error::CodeInvalid("codes are off for the account"));
    }
    let mut right = None;
    for candidate in candidates {
        if is_right(state, purpose, code, on.names, &candidate)? {
            right = Some(candidate);
        }
    }
    let Some(right) = right else {
        if let Some(device) = &device {
            devices::failed(state, device).await?;
        }
        return Err(Error::CodeInvalid("wrong code"));
    };
    Ok(Guess {
        payload: open(state, &right.place, &recipient, &right.sealed)?,
        recipient,
        device,
        token_hash: right.token_hash,
        is_bound,
        counted,
        guessed_at: now,
    })
}

/// Counts a guess that was counted once as often as it has candidates: by the address alone it is one of
/// each code that waits. The last, for which no count is left, are not compared.
async fn count_each(
    state: &State,
    connection: &mut AnyConnection,
    subject: &Subject,
    first: Option<Counted>,
    candidates: &mut Vec<Candidate>,
    now: Timestamp,
) -> Result<Vec<Counted>, Error> {
    let bounds = state.config.otp.bounds();
    let mut counted: Vec<Counted> = first.into_iter().collect();
    while !counted.is_empty() && counted.len() < candidates.len() {
        let more = guesses::count(connection, bounds, &state.random, subject, false, now).await?;
        match more.counted() {
            Some(more) => counted.push(more),
            None => candidates.truncate(counted.len()),
        }
    }
    Ok(counted)
}

/// How a guess was counted.
struct Admitted {
    /// Where it was not counted as a failure in a row of a device.
    admission: Option<Admission>,
    /// The device of which it was.
    device: Option<devices::Trusted>,
    /// Whether it was counted at a device that is trusted, by whichever count.
    on_device: bool,
}

/// Counts a guess before it is compared: at the device that `token` belongs to where that is trusted, else
/// at the account or the address.
async fn admit(
    state: &State,
    connection: &mut AnyConnection,
    purpose: CodeFor,
    (subject, holder, is_bound): (&Subject, Option<(Kind, UserId)>, bool),
    token: Option<&Secret>,
    now: Timestamp,
) -> Result<Admitted, Error> {
    let bounds = state.config.otp.bounds();
    if purpose == CodeFor::SecondFactor {
        let own = match (token, holder) {
            (Some(token), Some((kind, user_id))) => {
                devices::subject(state, connection, token, user_id, kind.as_str()).await?
            }
            _ => None,
        };
        let subjects = (own.as_ref(), subject);
        let counted = guesses::count_second(connection, bounds, &state.random, subjects, now);
        let (admission, on_device) = counted.await?;
        return Ok(Admitted {
            admission: Some(admission),
            device: None,
            on_device,
        });
    }
    let user_id = holder.map(|(_, user_id)| user_id);
    let device = match token {
        Some(token) => devices::count(state, connection, token, user_id).await?,
        None => None,
    };
    let on_device = device.is_some();
    let mut admission = None;
    if !on_device {
        // What anybody can turn off, no proof has to turn on again.
        let lasting = is_bound && holder.is_some();
        let counted = guesses::count(connection, bounds, &state.random, subject, lasting, now);
        admission = Some(counted.await?);
    }
    Ok(Admitted {
        admission,
        device,
        on_device,
    })
}

/// Writes a wrong, late or used code down. Codes of addresses that nobody has take the same steps.
///
/// # Errors
/// When the database fails.
pub async fn note_refusal(
    state: &State,
    caller: &Caller,
    (kind, purpose): (events::Kind, CodeFor),
    key: Key<'_>,
    refusal: Option<&Error>,
) -> Result<(), Error> {
    let Some(refusal @ (Error::CodeInvalid(_) | Error::CodeExpired | Error::AccountLocked(_))) =
        refusal
    else {
        return Ok(());
    };
    let mut reader = state.db.read().await?;
    let recipient = match key {
        Key::Recipient(blind) => Some(*blind),
        Key::Token(token) => {
            let places = purpose.places();
            let row = sqlx::query(
                "SELECT recipient FROM one_time_codes
                 WHERE purpose IN ($1, $2, $3) AND token_hash = $4",
            )
            .bind(&*places[0])
            .bind(&*places[1])
            .bind(&*places[2])
            .bind(hash_token(state, token)?.to_vec())
            .fetch_optional(&mut *reader)
            .await?;
            let recipient: Option<Vec<u8>> = row.map(|row| row.try_get("recipient")).transpose()?;
            recipient.and_then(|bytes| Blind::try_from(bytes.as_slice()).ok())
        }
    };
    // Nobody has the index of zeroes: a token of nothing costs the same look-up.
    let found = recipient.is_some();
    let recipient = recipient.unwrap_or([0; 32]);
    let mut holder = None;
    for kind in [Kind::Email, Kind::Phone] {
        holder = holder.or(accounts::holder(&mut reader, kind, &recipient).await?);
    }
    drop(reader);
    let mut event = Event::new(kind, Outcome::Failure, Actor::Anonymous)
        .by("code")
        .because(refusal.code().0)
        .from(caller);
    let user_id = holder.map(|holder| holder.user_id);
    event.user = user_id;
    events::refused(state, &event).await?;
    if found && purpose == CodeFor::Login && matches!(refusal, Error::CodeInvalid(_)) {
        let account = Subject::of(&state.vault, user_id, &recipient)?;
        state.watch.failed(state, caller, &account, user_id).await?;
    }
    Ok(())
}

/// Records within the caller's transaction that a code was asked for; so many times at most as
/// messages may be asked for.
///
/// # Errors
/// As [`events::record`].
pub async fn note_asked(
    state: &State,
    connection: &mut AnyConnection,
    caller: &Caller,
    (kind, purpose): (Kind, CodeFor),
    holder: Option<UserId>,
) -> Result<(), Error> {
    let mut event = Event::new(events::Kind::Code, Outcome::Success, Actor::Anonymous)
        .by(kind.as_str())
        .because(purpose.as_str())
        .from(caller);
    event.user = holder;
    events::record(state, connection, &event).await
}

/// Uses a code up within the caller's transaction; of several that guessed right, one succeeds.
///
/// # Errors
/// [`Error::CodeInvalid`] when it was used or replaced meanwhile.
pub async fn consume(
    connection: &mut AnyConnection,
    purpose: CodeFor,
    guess: &Guess,
) -> Result<(), Error> {
    let places = purpose.places();
    let deleted = sqlx::query(
        "DELETE FROM one_time_codes
         WHERE purpose IN ($1, $2, $3) AND recipient = $4 AND token_hash = $5",
    )
    .bind(&*places[0])
    .bind(&*places[1])
    .bind(&*places[2])
    .bind(guess.recipient.as_slice())
    .bind(guess.token_hash.as_slice())
    .execute(&mut *connection)
    .await?;
    if deleted.rows_affected() != 1 {
        return Err(Error::CodeInvalid("used meanwhile"));
    }
    sends::answered(connection, &guess.recipient, guess.guessed_at).await?;
    take_back(connection, guess).await
}

/// Takes a right guess back that could not be used for another reason: nobody has failed, and the code is
/// as good as it was.
///
/// # Errors
/// When the database fails.
pub async fn release(connection: &mut AnyConnection, guess: &Guess) -> Result<(), Error> {
    take_back(connection, guess).await?;
    if let Some(device) = &guess.device {
        devices::take_back(connection, device).await?;
    }
    sqlx::query(if guess.is_bound {
        "UPDATE one_time_codes SET tries = tries - 1 WHERE token_hash = $1 AND tries > 0"
    } else {
        "UPDATE one_time_codes SET unbound_tries = unbound_tries - 1
         WHERE token_hash = $1 AND unbound_tries > 0"
    })
    .bind(guess.token_hash.as_slice())
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes back what a right guess counted at its account or address.
async fn take_back(connection: &mut AnyConnection, guess: &Guess) -> Result<(), Error> {
    for counted in &guess.counted {
        guesses::take_back(connection, *counted).await?;
    }
    Ok(())
}

/// Ends whatever code waits for `recipient`, of whoever's request.
///
/// # Errors
/// When the database fails.
pub async fn withdraw(
    connection: &mut AnyConnection,
    purpose: CodeFor,
    recipient: &Blind,
) -> Result<(), Error> {
    let places = purpose.places();
    sqlx::query("DELETE FROM one_time_codes WHERE purpose IN ($1, $2, $3) AND recipient = $4")
        .bind(&*places[0])
        .bind(&*places[1])
        .bind(&*places[2])
        .bind(recipient.as_slice())
        .execute(connection)
        .await?;
    Ok(())
}

/// Ends whatever code waits for `recipient`, for whatever purpose.
///
/// # Errors
/// When the database fails.
pub async fn withdraw_from(connection: &mut AnyConnection, recipient: &Blind) -> Result<(), Error> {
    sqlx::query("DELETE FROM one_time_codes WHERE recipient = $1")
        .bind(recipient.as_slice())
        .execute(connection)
        .await?;
    Ok(())
}

/// Ends every code that waits.
///
/// # Errors
/// When the database fails.
pub async fn withdraw_all(connection: &mut AnyConnection) -> Result<(), Error> {
    sqlx::query("DELETE FROM one_time_codes")
        .execute(connection)
        .await?;
    Ok(())
}

/// Whose guesses of codes sent to `recipient` are counted, and whose account that is. As a second
/// factor they are counted apart: who knows a password must not turn codes off as a first one. Those to
/// add an address count for the account that asks, and whose the address is does not matter; how often
/// one address can be guessed at by all accounts together is bounded by the messages that it gets.
async fn subject(
    state: &State,
    connection: &mut AnyConnection,
    purpose: CodeFor,
    recipient: &Blind,
) -> Result<(Subject, Option<(Kind, UserId)>), Error> {
    if let CodeFor::Contact(account) = purpose {
        return Ok((Subject::adding(&state.vault, account.0)?, None));
    }
    let mut found = None;
    for kind in [Kind::Email, Kind::Phone] {
        // A blind index covers its kind, so at most one of the two finds anybody.
        let holder = accounts::holder(connection, kind, recipient).await?;
        found = found.or(holder.map(|holder| (kind, holder.user_id)));
    }
    let subject = match found {
        Some((kind, user_id)) if purpose == CodeFor::SecondFactor => {
            Subject::factor(&state.vault, user_id, kind.as_str())?
        }
        _ => Subject::of(&state.vault, found.map(|(_, user_id)| user_id), recipient)?,
    };
    Ok((subject, found))
}

async fn why_not(
    connection: &mut AnyConnection,
    purpose: CodeFor,
    column: &str,
    found_by: Vec<u8>,
    now: Timestamp,
) -> Result<Error, Error> {
    let places = purpose.places();
    let row = sqlx::query(match column {
        "recipient" => {
            "SELECT expires_at FROM one_time_codes
             WHERE purpose IN ($1, $2, $3) AND recipient = $4
             ORDER BY expires_at DESC LIMIT 1"
        }
        _ => {
            "SELECT expires_at FROM one_time_codes
             WHERE purpose IN ($1, $2, $3) AND token_hash = $4"
        }
    })
    .bind(&*places[0])
    .bind(&*places[1])
    .bind(&*places[2])
    .bind(found_by)
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else {
        return Ok(Error::CodeInvalid("no such code"));
    };
    let expires_at: Timestamp = row.try_get("expires_at")?;
    Ok(if expires_at <= now {
        Error::CodeExpired
    } else {
        Error::CodeInvalid("tries used up")
    })
}

pub(super) fn hash_token(state: &State, token: &Secret) -> Result<[u8; 32], Error> {
    Ok(state
        .vault
        .mac(Purpose::Code, &[b"token", token.expose().as_bytes()])?)
}

/// Binds a code to its purpose, to the request that it was sent for, and to the device that asked for
/// it where that has a name (ASVS 6.6.2).
fn mac(
    state: &State,
    purpose: CodeFor,
    token_hash: &[u8],
    code: &Secret,
    device: Option<&str>,
) -> Result<Digest, Error> {
    let mut parts = vec![
        b"code",
        purpose.as_str().as_bytes(),
        token_hash,
        code.expose().as_bytes(),
    ];
    // Each part is written with its length, so that no name makes one code out of another.
    if let Some(device) = device {
        parts.extend([b"device", device.as_bytes()]);
    }
    Ok(Digest::new(state.vault.mac(Purpose::Code, &parts)?))
}

/// Whether `code` is the candidate: of a request that named no device, or one of `names`. All are
/// compared whichever matches, so that the time says nothing of which it is.
fn is_right(
    state: &State,
    purpose: CodeFor,
    code: &Secret,
    names: [Option<&str>; 2],
    candidate: &Candidate,
) -> Result<bool, Error> {
    let mut is_right = false;
    for device in [None, names[0], names[1]] {
        let mac = mac(state, purpose, &candidate.token_hash, code, device)?;
        is_right |= mac.matches(&candidate.code_mac);
    }
    Ok(is_right)
}

/// Opens what waits beside a code of `recipient`.
pub(super) fn open(
    state: &State,
    place: &str,
    recipient: &Blind,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let aad = aad(place, recipient);
    Ok(state.vault.open(Purpose::Registration, &aad, sealed)?)
}

fn aad(place: &str, recipient: &Blind) -> Vec<u8> {
    [place.as_bytes(), b"\0", recipient].concat()
}
