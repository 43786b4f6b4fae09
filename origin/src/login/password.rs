//! Logging in with a password.

use super::conclude::{FirstFactor, LoggedIn, conclude};
use super::strength::{self, Person};
use crate::abuse::lockout::Entry;
use crate::abuse::{Subject, guesses, lockout};
use crate::accounts::{self, Identifier};
use crate::app::State;
use crate::db::Tx;
use crate::error::Error;
use crate::ids::UserId;
use crate::request::Caller;
use crate::sessions;
use crate::vault::Secret;

/// A password that is the account's own.
struct Proved {
    /// A new hash where the stored one is outdated.
    rehashed: Option<String>,
}

/// Logs in; unknown accounts take the same steps and get the same answers.
pub(super) async fn log_in(
    state: &State,
    caller: &Caller,
    identifier: &Identifier,
    password: &Secret,
    device_id: Option<String>,
) -> Result<LoggedIn, Error> {
    let blind = identifier.blind(&state.vault)?;
    let mut reader = state.db.read().await?;
    let require_proof = state.config.registration.require_proof;
    let holder = accounts::holder(&mut reader, identifier.kind(), &blind)
        .await?
        .filter(|holder| holder.active && (holder.verified || !require_proof));
    let user_id = holder.map(|holder| holder.user_id);
    // Nobody has the id of zeroes: an unknown account costs the same look-up.
    let looked_up = user_id.unwrap_or(UserId::from_bytes([0; 16]));
    let stored = accounts::password(&mut reader, looked_up).await?;
    drop(reader);
    let subjects = [
        Subject::identifier(&state.vault, &blind)?,
        Subject::of(&state.vault, user_id, &blind)?,
    ];
    let entry = state.gate.enter(state, &subjects[0], &subjects[1]).await?;
    let proved = compare(state, password, stored.as_deref()).await?;
    let (Some(user_id), Some(proved), false) = (user_id, proved, entry.account_locked) else {
        lockout::count_failure(state, &subjects).await?;
        return Err(Error::CredentialsInvalid);
    };
    let mut tx = state.db.write().await?;
    // The password may have been changed, or the account disabled, while this one was compared.
    if accounts::password(&mut tx, user_id).await? != stored {
        return Err(Error::CredentialsInvalid);
    }
    lockout::clear(&mut tx, &subjects).await?;
    guesses::lift(&mut tx, &subjects[1], state.clock.now()).await?;
    if let Some(phc) = proved.rehashed {
        accounts::set_password(state, &mut tx, user_id, &phc).await?;
    }
    let first = FirstFactor {
        user_id,
        method: "password",
        amr: &["pwd"],
        sent_to: None,
        caller,
        device_id,
    };
    conclude(state, tx, first).await
}

/// The password of somebody who is logged in, compared and right.
pub(super) struct Confirmed {
    user_id: UserId,
    subject: Subject,
    stored: Option<String>,
    rehashed: Option<String>,
    /// Held until the success is committed: others wait that would be compared beside it.
    _entry: Entry,
}

impl Confirmed {
    /// Makes the success stand within the caller's transaction: it was the password until now.
    pub(super) async fn settle(&self, state: &State, tx: &mut Tx) -> Result<(), Error> {
        if accounts::password(tx, self.user_id).await? != self.stored {
            return Err(Error::CredentialsInvalid);
        }
        lockout::clear(tx, &[self.subject]).await?;
        if let Some(phc) = &self.rehashed {
            accounts::set_password(state, tx, self.user_id, phc).await?;
        }
        Ok(())
    }
}

/// Compares the password of somebody who is logged in; a wrong one counts as at a login.
pub(super) async fn confirm(
    state: &State,
    user_id: UserId,
    password: &Secret,
) -> Result<Confirmed, Error> {
    let mut reader = state.db.read().await?;
    let stored = accounts::password(&mut reader, user_id).await?;
    drop(reader);
    let subject = Subject::account(&state.vault, user_id)?;
    // Who is logged in may know that their own account is locked.
    let entry = state.gate.enter(state, &subject, &subject).await?;
    let Some(proved) = compare(state, password, stored.as_deref()).await? else {
        lockout::count_failure(state, &[subject]).await?;
        return Err(Error::CredentialsInvalid);
    };
    Ok(Confirmed {
        user_id,
        subject,
        stored,
        rehashed: proved.rehashed,
        _entry: entry,
    })
}

/// Changes the password of somebody who is logged in and knows the present one.
pub(super) async fn change(
    state: &State,
    user_id: UserId,
    session_id: crate::ids::SessionId,
    current: &Secret,
    new: &Secret,
) -> Result<(), Error> {
    let mut reader = state.db.read().await?;
    let user = accounts::load(state, &mut reader, user_id).await?;
    drop(reader);
    let person = user.as_ref().map(Person::of).unwrap_or_default();
    strength::judge(state, new, person).await?;
    let confirmed = confirm(state, user_id, current).await?;
    let phc = state.hasher.hash(new).await?;
    let mut tx = state.db.write().await?;
    confirmed.settle(state, &mut tx).await?;
    accounts::set_password(state, &mut tx, user_id, &phc).await?;
    super::reset::withdraw(&mut tx, user_id).await?;
    super::second::withdraw(&mut tx, user_id).await?;
    sessions::end_all(
        state,
        &mut tx,
        user_id,
        sessions::Ending::AllBut(session_id),
    )
    .await?;
    let contact = accounts::contact(state, &mut tx, user_id).await?;
    tx.commit().await?;
    drop(confirmed);
    if let Some((kind, _, to)) = contact
        && let Some(message) = super::messages::password_changed(kind, &to)
    {
        state.mailer.send(message);
    }
    Ok(())
}

async fn compare(
    state: &State,
    password: &Secret,
    stored: Option<&str>,
) -> Result<Option<Proved>, Error> {
    let comparison = state.hasher.compare(password, stored).await?;
    if !comparison.matches {
        return Ok(None);
    }
    let rehashed = if comparison.outdated {
        Some(state.hasher.hash(password).await?)
    } else {
        None
    };
    Ok(Some(Proved { rehashed }))
}
