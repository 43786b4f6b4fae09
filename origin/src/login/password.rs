//! Logging in with a password.

use sqlx::{AnyConnection, Row as _};

use super::conclude::{Counted, FirstFactor, LoggedIn, conclude};
use super::note_held_up;
use super::strength::{self, Person};
use crate::abuse::lockout::{Entry, Guesser};
use crate::abuse::{Limit, Subject, devices, guesses, lockout};
use crate::accounts::{self, Identifier};
use crate::app::State;
use crate::db::Tx;
use crate::error::Error;
use crate::events::{self, Actor, Event, Outcome};
use crate::ids::UserId;
use crate::request::Caller;
use crate::sessions;
use crate::tokens::Authenticated;
use crate::vault::Secret;

/// What somebody logs in with.
pub(super) struct Given {
    pub(super) identifier: Identifier,
    pub(super) password: Secret,
    pub(super) device_id: Option<String>,
    pub(super) device_token: Option<Secret>,
}

/// A password that is the account's own.
#[derive(Clone)]
struct Proved {
    /// The hash that it was compared with.
    stored: String,
    /// A new hash where the stored one is outdated.
    rehashed: Option<String>,
}

impl Proved {
    /// Begins the transaction in which the password counts, with what stands in it; none if it is no
    /// longer the account's.
    ///
    /// What is stored may be another hash by now, of another password or of the same one, where a
    /// login beside this one found it outdated and stored it anew. So it is compared once more, with
    /// what is stored now.
    async fn begin(
        self,
        state: &State,
        password: &Secret,
        (user_id, account): (UserId, &Subject),
    ) -> Result<Option<(Tx, Standing, Self)>, Error> {
        let mut tx = state.db.write().await?;
        let found = standing(&mut tx, user_id, account).await?;
        if found.password.as_ref() == Some(&self.stored) {
            return Ok(Some((tx, found, self)));
        }
        tx.rollback().await?;
        let Some(proved) = compare(state, password, found.password.as_deref()).await? else {
            return Ok(None);
        };
        let mut tx = state.db.write().await?;
        let found = standing(&mut tx, user_id, account).await?;
        let stands = found.password.as_ref() == Some(&proved.stored);
        Ok(stands.then_some((tx, found, proved)))
    }
}

/// By which count a password may be compared.
enum Door {
    /// Identifier and account have failures left.
    Account(Entry),
    /// The device is trusted and has failures of its own left.
    Device(devices::Trusted),
}

/// Logs in; unknown accounts take the same steps and get the same answers.
pub(super) async fn log_in(
    state: &State,
    caller: &Caller,
    given: Given,
) -> Result<LoggedIn, Error> {
    let blind = given.identifier.blind(&state.vault)?;
    let mut reader = state.db.read().await?;
    let require_proof = state.config.registration.require_proof;
    let looked_up =
        accounts::look_up(&state.vault, &mut reader, given.identifier.kind(), &blind).await?;
    let user_id = looked_up
        .holder()
        .filter(|holder| holder.active && (holder.verified || !require_proof))
        .map(|holder| holder.user_id);
    let stored = looked_up.password().filter(|_| user_id.is_some());
    drop(reader);
    let guesser = Guesser::new(
        state,
        caller,
        Subject::identifier(&state.vault, &blind)?,
        Subject::of(&state.vault, user_id, &blind)?,
    )?;
    let door = open_door(state, &guesser, user_id, given.device_token.as_ref()).await;
    let held_up = failure(caller, events::Kind::Login, user_id);
    note_held_up(state, &door, &guesser.account, held_up).await?;
    let door = door?;
    if let Door::Account(entry) = &door {
        note_lock_end(state, caller, &guesser, entry, user_id).await?;
    }
    let proved = compare(state, &given.password, stored).await?;
    let account_locked = matches!(&door, Door::Account(entry) if entry.account_locked);
    let begun = match (user_id, proved) {
        (Some(user_id), Some(proved)) if !account_locked => {
            let whose = (user_id, &guesser.account);
            let begun = proved.begin(state, &given.password, whose).await?;
            begun.map(|begun| (user_id, begun))
        }
        _ => None,
    };
    let Some((user_id, (mut tx, standing, proved))) = begun else {
        match &door {
            Door::Account(_) => count_wrong(state, caller, &guesser, user_id).await?,
            Door::Device(device) => devices::failed(state, device).await?,
        }
        state
            .watch
            .failed(state, caller, &guesser.account, user_id)
            .await?;
        note_failure(state, caller, events::Kind::Login, user_id).await?;
        return Err(Error::CredentialsInvalid);
    };
    let device = match (&door, &given.device_token) {
        (Door::Device(trusted), Some(token)) => {
            devices::renew(state, &mut tx, trusted, token).await?
        }
        _ => None,
    };
    if matches!(&door, Door::Account(entry) if entry.has_failures) {
        let subjects = [&guesser.identifier, &guesser.account];
        lockout::clear(&mut tx, subjects, Some(&guesser.source)).await?;
    }
    if standing.codes_are_off {
        guesses::lift(&mut tx, &guesser.account, state.clock.now()).await?;
    }
    if let Some(phc) = proved.rehashed {
        accounts::set_password(state, &mut tx, user_id, &phc).await?;
    }
    let first = FirstFactor {
        user_id,
        method: "password",
        amr: &["pwd"],
        sent_to: None,
        caller,
        device_id: given.device_id,
        device,
        proved_at: None,
        counted: match &door {
            Door::Device(device) => Some(Counted::Password(device)),
            Door::Account(_) => None,
        },
    };
    conclude(state, tx, first).await
}

/// What a right password meets within the transaction that lets its owner in.
struct Standing {
    password: Option<String>,
    /// Whether codes are off for the account, which this proof ends.
    codes_are_off: bool,
}

/// One statement about both: each costs a login two changes of thread.
async fn standing(
    connection: &mut AnyConnection,
    user_id: UserId,
    account: &Subject,
) -> Result<Standing, Error> {
    let row = sqlx::query(
        "SELECT (SELECT phc FROM passwords WHERE user_id = $1) AS phc,
                (SELECT suspended FROM code_suspensions WHERE subject = $2) AS codes_off",
    )
    .bind(user_id)
    .bind(account.bytes())
    .fetch_one(connection)
    .await?;
    let codes_off: Option<i64> = row.try_get("codes_off")?;
    Ok(Standing {
        password: row.try_get("phc")?,
        codes_are_off: codes_off.is_some_and(|off| off != 0),
    })
}

/// A password that was refused.
fn failure(caller: &Caller, kind: events::Kind, user_id: Option<UserId>) -> Event<'_> {
    Event::new(kind, Outcome::Failure, Actor::Anonymous)
        .about_whoever(user_id)
        .by("password")
        .from(caller)
}

/// Writes a wrong password down, whether or not anybody has what was typed: both cost the same.
async fn note_failure(
    state: &State,
    caller: &Caller,
    kind: events::Kind,
    user_id: Option<UserId>,
) -> Result<(), Error> {
    let event = failure(caller, kind, user_id).because("credentials_invalid");
    events::refused(state, &event).await
}

/// Writes down that these failures locked the account, or what stands in for nobody's.
async fn note_lock(state: &State, caller: &Caller, user_id: Option<UserId>) -> Result<(), Error> {
    let mut event = Event::new(events::Kind::Lock, Outcome::Success, Actor::System)
        .by("password")
        .because("locked")
        .from(caller);
    event.user = user_id;
    events::refused(state, &event).await
}

/// Writes down that the account's lock, or that of what stands in for nobody's, ran out: once, with
/// the first attempt after it.
async fn note_lock_end(
    state: &State,
    caller: &Caller,
    guesser: &Guesser,
    entry: &Entry,
    user_id: Option<UserId>,
) -> Result<(), Error> {
    if !entry.lock_ran_out {
        return Ok(());
    }
    let mut tx = state.db.write().await?;
    let is_first = lockout::note_end(&mut tx, &guesser.account, state.clock.now()).await?;
    tx.commit().await?;
    if !is_first {
        return Ok(());
    }
    let mut event = Event::new(events::Kind::Lock, Outcome::Success, Actor::System)
        .by("password")
        .because("ran_out")
        .from(caller);
    event.user = user_id;
    events::refused(state, &event).await
}

/// Counts a wrong password of identifier and account.
async fn count_wrong(
    state: &State,
    caller: &Caller,
    guesser: &Guesser,
    user_id: Option<UserId>,
) -> Result<(), Error> {
    if lockout::count_failure(state, guesser).await? {
        note_lock(state, caller, user_id).await?;
    }
    Ok(())
}

/// The password of somebody who is logged in, compared and right.
pub(super) struct Confirmed<'a> {
    user_id: UserId,
    caller: &'a Caller,
    password: &'a Secret,
    guesser: Guesser,
    proved: Proved,
    /// Held until the success is committed: others wait that would be compared beside it.
    entry: Entry,
}

impl Confirmed<'_> {
    /// Begins the transaction in which the success stands: it was the password until now.
    ///
    /// # Errors
    /// [`Error::CredentialsInvalid`] if it is not any more.
    pub(super) async fn begin(&self, state: &State) -> Result<Tx, Error> {
        let whose = (self.user_id, &self.guesser.account);
        let begun = self.proved.clone().begin(state, self.password, whose);
        let Some((mut tx, _, proved)) = begun.await? else {
            return refuse(state, self.caller, &self.guesser, self.user_id).await;
        };
        if self.entry.has_failures {
            let account = &self.guesser.account;
            lockout::clear(&mut tx, [account; 2], Some(&self.guesser.source)).await?;
        }
        if let Some(phc) = &proved.rehashed {
            accounts::set_password(state, &mut tx, self.user_id, phc).await?;
        }
        Ok(tx)
    }
}

/// Counts the wrong password of somebody who is logged in.
async fn refuse<T>(
    state: &State,
    caller: &Caller,
    guesser: &Guesser,
    user_id: UserId,
) -> Result<T, Error> {
    count_wrong(state, caller, guesser, Some(user_id)).await?;
    state
        .watch
        .failed(state, caller, &guesser.account, Some(user_id))
        .await?;
    Err(Error::CredentialsInvalid)
}

/// Compares the password of somebody who is logged in. Wrong ones have a count of their own, with
/// the bounds of a login: strangers who lock the login must not keep whoever is in from changing a
/// password that has become known, and whoever is in locks nobody's login.
pub(super) async fn confirm<'a>(
    state: &State,
    caller: &'a Caller,
    user_id: UserId,
    password: &'a Secret,
) -> Result<Confirmed<'a>, Error> {
    let mut reader = state.db.read().await?;
    let stored = accounts::password(&mut reader, user_id).await?;
    drop(reader);
    let subject = Subject::confirmation(&state.vault, user_id)?;
    let guesser = Guesser::new(state, caller, subject, subject)?;
    // Who is logged in may know that this is locked.
    let entry = state.gate.enter(state, &guesser).await?;
    note_lock_end(state, caller, &guesser, &entry, Some(user_id)).await?;
    let Some(proved) = compare(state, password, stored.as_deref()).await? else {
        return refuse(state, caller, &guesser, user_id).await;
    };
    Ok(Confirmed {
        user_id,
        caller,
        password,
        guesser,
        proved,
        entry,
    })
}

/// The trusted device's door where there is one, else the account's.
async fn open_door(
    state: &State,
    guesser: &Guesser,
    user_id: Option<UserId>,
    device_token: Option<&Secret>,
) -> Result<Door, Error> {
    if let Some(token) = device_token
        && let Some(device) = devices::enter(state, token, user_id).await?
    {
        return Ok(Door::Device(device));
    }
    state.gate.enter(state, guesser).await.map(Door::Account)
}

/// Changes the password of somebody who is logged in and knows the present one.
pub(super) async fn change(
    state: &State,
    caller: &Caller,
    authenticated: &Authenticated,
    current: &Secret,
    new: &Secret,
) -> Result<(), Error> {
    let user_id = authenticated.user_id;
    let mut reader = state.db.read().await?;
    let user = accounts::load(state, &mut reader, user_id).await?;
    let has_one = accounts::password(&mut reader, user_id).await?.is_some();
    drop(reader);
    if !has_one {
        // Whose account it is may know, and would look in vain for what they have mistyped.
        return Err(Error::Conflict(
            "The account has no password yet. Ask for a link that sets one.",
        ));
    }
    let person = user.as_ref().map(Person::of).unwrap_or_default();
    strength::screen(state, new, person)?;
    let subject = Subject::confirmation(&state.vault, user_id)?;
    let confirmed = confirm(state, caller, user_id, current).await;
    // Apart from other changes, and only of whoever knows the password: a copied token must not keep
    // its owner from changing that.
    let confirmed = confirmed.and_then(|confirmed| {
        let limit = Limit::ChangesByUser;
        state.limiter.by_subject(caller, limit, &subject)?;
        Ok(confirmed)
    });
    if let Err(Error::CredentialsInvalid) = &confirmed {
        note_failure(state, caller, events::Kind::Password, Some(user_id)).await?;
    }
    let held_up = failure(caller, events::Kind::Password, Some(user_id));
    note_held_up(state, &confirmed, &subject, held_up).await?;
    let confirmed = confirmed?;
    // After the comparison, which wrong passwords and the lock bound: whoever holds a token only
    // must not have as many estimates and questions about breaches as they like.
    strength::judge(state, new, person).await?;
    let phc = state.hasher.hash(new).await?;
    let begun = confirmed.begin(state).await;
    if let Err(Error::CredentialsInvalid) = &begun {
        note_failure(state, caller, events::Kind::Password, Some(user_id)).await?;
    }
    let mut tx = begun?;
    accounts::set_password(state, &mut tx, user_id, &phc).await?;
    super::reset::withdraw(&mut tx, user_id).await?;
    let changed = Event::own(events::Kind::Password, Outcome::Success, user_id)
        .session(authenticated.session_id)
        .because("changed")
        .from(caller);
    events::record(state, &mut tx, &changed).await?;
    sessions::end_all(
        state,
        &mut tx,
        user_id,
        sessions::Ending::AllBut(authenticated.session_id),
    )
    .await?;
    let contact = accounts::contact(state, &mut tx, user_id).await?;
    let notice = contact.and_then(|(kind, _, to)| super::messages::password_changed(kind, &to));
    let notice = state.mailer.keep(&mut tx, user_id, notice).await?;
    tx.commit().await?;
    drop(confirmed);
    state.mailer.deliver(notice);
    Ok(())
}

async fn compare(
    state: &State,
    password: &Secret,
    stored: Option<&str>,
) -> Result<Option<Proved>, Error> {
    let comparison = state.hasher.compare(password, stored).await?;
    let Some(stored) = stored.filter(|_| comparison.matches) else {
        return Ok(None);
    };
    let rehashed = if comparison.outdated {
        Some(state.hasher.hash(password).await?)
    } else {
        None
    };
    Ok(Some(Proved {
        stored: stored.to_owned(),
        rehashed,
    }))
}
