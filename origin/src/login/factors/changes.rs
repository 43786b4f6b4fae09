//! Adding and removing second factors. Each change tells the stored address, and may end the
//! person's other sessions (ASVS 7.4.3).

use std::time::Duration;

use sqlx::AnyConnection;

use super::store::{self, PendingRow};
use super::totp::{self, Shown};
use super::{Method, recovery};
use crate::accounts::status::By;
use crate::accounts::{self, Kind};
use crate::app::State;
use crate::db::Tx;
use crate::error::Error;
use crate::events::{self, Event, Outcome};
use crate::ids::UserId;
use crate::login::fresh::FreshlyAuthenticated;
use crate::login::messages;
use crate::notify::Message;
use crate::sessions::{self, Ending};
use crate::vault::Purpose;

/// How long a secret waits for the first code made with it: time to install an app.
pub(super) const PENDING: Duration = Duration::from_mins(10);

/// How long a secret that ran out is kept, so that a late code is told `code_expired`.
const REMEMBERED: Duration = Duration::from_hours(1);

/// Whose factors are changed, from which session, and whether the others end.
pub(in crate::login) struct Change<'a> {
    pub(in crate::login) caller: &'a FreshlyAuthenticated,
    pub(in crate::login) end_other_sessions: bool,
}

/// Makes a secret and keeps it until a code of it comes back. An app that is in use stays.
pub(super) async fn begin_totp(
    state: &State,
    caller: &FreshlyAuthenticated,
) -> Result<Shown, Error> {
    let (user_id, session_id) = (caller.user_id, caller.session_id);
    let now = state.clock.now();
    let secret = totp::generate(&state.random);
    let sealed = state
        .vault
        .seal(Purpose::Totp, user_id.as_bytes(), secret.as_slice())?;
    let pending = PendingRow {
        session_id,
        secret: sealed,
        expires_at: now + PENDING,
    };
    let mut tx = state.db.write().await?;
    let account = account_name(state, &mut tx, user_id).await?;
    store::put_pending(&mut tx, user_id, &pending, now - REMEMBERED).await?;
    tx.commit().await?;
    totp::show(secret.as_slice(), &state.config.issuer_name(), &account)
}

/// What an app calls the account: its address, number or user name.
async fn account_name(
    state: &State,
    connection: &mut AnyConnection,
    user_id: UserId,
) -> Result<String, Error> {
    let user = accounts::load(state, connection, user_id).await?;
    let user = user.ok_or(Error::NotFound)?;
    let name = user.email.or(user.phone_number).or(user.username);
    Ok(name.unwrap_or_else(|| user_id.to_string()))
}

/// Takes the secret that waits into use, once a code shows that the app has it. Its recovery codes
/// are new; those before are void.
///
/// The code is not counted: it proves to the person, who was shown the secret, that the app works. A
/// wrong one is in the trail all the same.
pub(super) async fn confirm_totp(
    state: &State,
    change: &Change<'_>,
    code: &str,
) -> Result<Vec<String>, Error> {
    let outcome = take_into_use(state, change, code).await;
    let whose = change.caller.user_id;
    let event = Event::own(events::Kind::FactorChange, Outcome::Failure, whose)
        .session(change.caller.session_id)
        .by(Method::Totp.as_str())
        .from(&change.caller.caller);
    events::note_refusal(state, &outcome, event).await?;
    outcome
}

async fn take_into_use(
    state: &State,
    change: &Change<'_>,
    code: &str,
) -> Result<Vec<String>, Error> {
    let user_id = change.caller.user_id;
    let now = state.clock.now();
    let mut reader = state.db.read().await?;
    let pending = store::pending(&mut reader, user_id)
        .await?
        .filter(|pending| pending.session_id == change.caller.session_id)
        .ok_or(Error::CodeInvalid("no secret waits in this session"))?;
    drop(reader);
    if pending.expires_at <= now {
        return Err(Error::CodeExpired);
    }
    let secret = state
        .vault
        .open(Purpose::Totp, user_id.as_bytes(), &pending.secret)?;
    let step = totp::matching_step(&secret, code, now)?.ok_or(Error::CodeInvalid("wrong TOTP"))?;
    let mut tx = state.db.write().await?;
    if !store::take_pending(&mut tx, user_id, &pending.secret).await? {
        return Err(Error::CodeInvalid("confirmed or replaced meanwhile"));
    }
    // The code that confirms is used up with it.
    store::put_totp(&mut tx, user_id, &pending.secret, step, now).await?;
    super::lift(state, &mut tx, user_id).await?;
    let codes = new_recovery_codes(state, &mut tx, user_id).await?;
    finish(state, tx, change, Told::Added(Method::Totp)).await?;
    Ok(codes)
}

/// Removes the authenticator app.
pub(super) async fn remove_totp(state: &State, change: &Change<'_>) -> Result<(), Error> {
    let user_id = change.caller.user_id;
    let mut tx = state.db.write().await?;
    if !store::delete_totp(&mut tx, user_id).await? {
        return Err(Error::NotFound);
    }
    tidy(&mut tx, user_id).await?;
    finish(state, tx, change, Told::Removed(Method::Totp)).await
}

/// Replaces the recovery codes of an account that has a second factor.
pub(super) async fn replace_recovery_codes(
    state: &State,
    change: &Change<'_>,
) -> Result<Vec<String>, Error> {
    let user_id = change.caller.user_id;
    let mut tx = state.db.write().await?;
    if !store::any(&mut tx, user_id).await? {
        return Err(Error::Conflict("Choose a second factor first."));
    }
    let codes = new_recovery_codes(state, &mut tx, user_id).await?;
    finish(state, tx, change, Told::Added(Method::RecoveryCode)).await?;
    Ok(codes)
}

/// Concludes the addition of a passkey in `tx`, and commits it. The recovery codes that come with
/// the first factor are answered.
pub(in crate::login) async fn added_passkey(
    state: &State,
    mut tx: Tx,
    change: &Change<'_>,
) -> Result<Option<Vec<String>>, Error> {
    let user_id = change.caller.user_id;
    let codes = first_recovery_codes(state, &mut tx, user_id).await?;
    finish(state, tx, change, Told::Added(Method::Passkey)).await?;
    Ok(codes)
}

/// Concludes the removal of a passkey in `tx`, and commits it.
pub(in crate::login) async fn removed_passkey(
    state: &State,
    mut tx: Tx,
    change: &Change<'_>,
) -> Result<(), Error> {
    tidy(&mut tx, change.caller.user_id).await?;
    finish(state, tx, change, Told::Removed(Method::Passkey)).await
}

/// Makes codes to the proved address of this kind a second factor. The recovery codes that come
/// with the first factor are answered.
pub(super) async fn add_codes(
    state: &State,
    change: &Change<'_>,
    kind: Kind,
) -> Result<Option<Vec<String>>, Error> {
    let user_id = change.caller.user_id;
    let allowed = match kind {
        Kind::Email => state.config.mfa.email,
        Kind::Phone => state.config.mfa.sms,
        Kind::Username => false,
    };
    let method = Method::sending_to(kind).filter(|_| allowed);
    let method = method.ok_or(Error::Conflict("Such codes are no second factor here."))?;
    let mut tx = state.db.write().await?;
    let proved = accounts::proved_address(state, &mut tx, user_id, kind).await?;
    if proved.is_none() {
        return Err(Error::Conflict("There is no proved address for it."));
    }
    if !has_first_factor_beside(state, &mut tx, user_id, kind).await? {
        return Err(Error::Conflict(
            "The account needs a password, or another address, to log in with first.",
        ));
    }
    if !store::put_code_factor(&mut tx, user_id, kind, state.clock.now()).await? {
        return Ok(None);
    }
    let codes = first_recovery_codes(state, &mut tx, user_id).await?;
    finish(state, tx, change, Told::Added(method)).await?;
    Ok(codes)
}

/// Removes codes to this kind of address.
pub(super) async fn remove_codes(
    state: &State,
    change: &Change<'_>,
    kind: Kind,
) -> Result<(), Error> {
    let user_id = change.caller.user_id;
    let mut tx = state.db.write().await?;
    if !store::delete_code_factor(&mut tx, user_id, kind).await? {
        return Err(Error::NotFound);
    }
    tidy(&mut tx, user_id).await?;
    let method = Method::sending_to(kind).ok_or(Error::NotFound)?;
    finish(state, tx, change, Told::Removed(method)).await
}

/// Removes sent codes that nobody can show any more since an address was removed: there is none of their
/// kind, or none that they may follow. Left in the list they would be asked for at every login, and an
/// address that is added later would be a factor that nobody chose. What the owner is told.
///
/// # Errors
/// When the database or the vault fails.
pub(crate) async fn drop_unusable(
    state: &State,
    connection: &mut AnyConnection,
    by: By<'_>,
    user_id: UserId,
) -> Result<Vec<Message>, Error> {
    let mut told = Vec::new();
    for row in store::code_factors(connection, user_id).await? {
        let Some(method) = Method::sending_to(row.kind) else {
            continue;
        };
        let address = accounts::proved_address(state, connection, user_id, row.kind).await?;
        if address.is_some()
            && has_first_factor_beside(state, connection, user_id, row.kind).await?
        {
            continue;
        }
        store::delete_code_factor(connection, user_id, row.kind).await?;
        tidy(connection, user_id).await?;
        let event = by
            .event(events::Kind::FactorChange, user_id)
            .by(method.as_str())
            .because("removed");
        events::record(state, connection, &event).await?;
        let contact = accounts::contact(state, connection, user_id).await?;
        let (called, now) = (method.in_words(), state.clock.now());
        told.extend(
            contact.and_then(|(kind, _, to)| messages::factor_removed(kind, &to, called, now)),
        );
    }
    Ok(told)
}

/// Whether there is a way to log in that a code to this kind of address may follow: after a code to
/// the same kind none would be left.
async fn has_first_factor_beside(
    state: &State,
    connection: &mut AnyConnection,
    user_id: UserId,
    kind: Kind,
) -> Result<bool, Error> {
    if accounts::password(connection, user_id).await?.is_some() {
        return Ok(true);
    }
    let other = match kind {
        Kind::Email => Kind::Phone,
        _ => Kind::Email,
    };
    let address = accounts::proved_address(state, connection, user_id, other).await?;
    Ok(address.is_some())
}

/// Recovery codes go with the last factor.
async fn tidy(connection: &mut AnyConnection, user_id: UserId) -> Result<(), Error> {
    if !store::any(connection, user_id).await? {
        store::delete_rest(connection, user_id).await?;
    }
    Ok(())
}

/// New recovery codes where the account has none.
async fn first_recovery_codes(
    state: &State,
    connection: &mut AnyConnection,
    user_id: UserId,
) -> Result<Option<Vec<String>>, Error> {
    Ok(
        match store::recovery_codes(connection, user_id).await?[..] {
            [] => Some(new_recovery_codes(state, connection, user_id).await?),
            _ => None,
        },
    )
}

async fn new_recovery_codes(
    state: &State,
    connection: &mut AnyConnection,
    user_id: UserId,
) -> Result<Vec<String>, Error> {
    let codes = recovery::generate(&state.random);
    let macs = codes
        .iter()
        .map(|code| recovery::mac(state, user_id, code))
        .collect::<Result<Vec<_>, _>>()?;
    store::put_recovery_codes(connection, user_id, &macs, state.clock.now()).await?;
    Ok(codes.iter().map(recovery::spell).collect())
}

/// What the owner is told.
enum Told {
    Added(Method),
    Removed(Method),
}

/// Ends the other sessions where that is wanted, commits, and tells the owner.
async fn finish(state: &State, mut tx: Tx, change: &Change<'_>, told: Told) -> Result<(), Error> {
    let user_id = change.caller.user_id;
    if change.end_other_sessions {
        let rest = Ending::AllBut(change.caller.session_id);
        sessions::end_of_user(state, &mut tx, user_id, rest, "factor").await?;
    }
    let (method, reason) = match told {
        Told::Added(method) => (method, "added"),
        Told::Removed(method) => (method, "removed"),
    };
    let event = Event::own(events::Kind::FactorChange, Outcome::Success, user_id)
        .session(change.caller.session_id)
        .by(method.as_str())
        .from(&change.caller.caller)
        .because(reason);
    events::record(state, &mut tx, &event).await?;
    let contact = accounts::contact(state, &mut tx, user_id).await?;
    let now = state.clock.now();
    let notice = contact.and_then(|(kind, _, to)| match told {
        Told::Added(method) => messages::factor_added(kind, &to, method.in_words(), now),
        Told::Removed(method) => messages::factor_removed(kind, &to, method.in_words(), now),
    });
    let notice = state.mailer.keep(&mut tx, user_id, notice).await?;
    tx.commit().await?;
    state.mailer.deliver(notice);
    Ok(())
}
