//! A forgotten password: a link that sets a new one, once.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sqlx::{AnyConnection, Row as _};

use super::strength::{self, Person};
use super::{factors, messages};
use crate::abuse::attempts::{self, Kind as Attempts};
use crate::abuse::{Subject, guesses, lockout, sends};
use crate::accounts::{self, Blind, Identifier, Kind, User};
use crate::app::State;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::events::{self, Actor, Event, Outcome};
use crate::ids::UserId;
use crate::notify::Message;
use crate::request::Caller;
use crate::sessions::{self, Ending};
use crate::vault::{Purpose, Secret};

/// The word under which these messages are counted.
const SENDS: &str = "reset";

/// Sends a link to the stored address of the account; the answer is the same without account.
pub(super) async fn forgot(
    state: &State,
    caller: &Caller,
    identifier: &Identifier,
) -> Result<(), Error> {
    let blind = identifier.blind(&state.vault)?;
    let now = state.clock.now();
    let token = new_token(state);
    let mut tx = state.db.write().await?;
    if identifier.kind() == Kind::Phone {
        sends::pace(state, &mut tx, &blind, now).await?;
    }
    let limit = state.config.limits.forgot_password_per_account_per_hour;
    sends::count(&mut tx, SENDS, &blind, limit, now).await?;
    state.limiter.message()?;
    let looked_up = accounts::look_up(&state.vault, &mut tx, identifier.kind(), &blind).await?;
    let holder = looked_up.holder().filter(|holder| holder.active);
    // The account's own count, over all its identifiers, shows in nothing but that no message
    // comes: a refusal would tell which identifiers are the same person's.
    let account = Subject::of(&state.vault, holder.map(|holder| holder.user_id), &blind)?;
    let counted = attempts::count(&mut tx, Attempts::Forgot, &account, limit, now).await;
    let may_send = match counted {
        Ok(()) => true,
        Err(Error::RateLimited(_)) => false,
        Err(error) => return Err(error),
    };
    // Then the row is nobody's: as many writes as otherwise, and the last link stays good.
    let holder = holder.filter(|_| may_send);
    // A row for nobody: both cases read, write and sync the same.
    let nobody = accounts::nobody(&state.vault, &blind)?;
    let user_id = holder.map_or(nobody, |holder| holder.user_id);
    let contact = accounts::contact(state, &mut tx, looked_up.reads()).await?;
    let contact = contact.filter(|_| holder.is_some());
    let (kind, recipient) = contact
        .as_ref()
        .map_or((identifier.kind(), blind), |(kind, blind, _)| {
            (*kind, *blind)
        });
    let expires_at = keep(state, &mut tx, &token, user_id, kind, &recipient).await?;
    let asked = Event::new(
        events::Kind::PasswordReset,
        Outcome::Success,
        Actor::Anonymous,
    );
    let mut asked = asked.because("asked").from(caller);
    asked.user = holder.map(|holder| holder.user_id);
    events::record(state, &mut tx, &asked).await?;
    tx.commit().await?;
    let page = state.config.reset_url();
    let written = |kind, to: &str| {
        let message = messages::reset_link(kind, to, &page, &token)?;
        Some(message.good_until(expires_at).asked_by(caller.address))
    };
    match contact {
        Some((kind, _, to)) => {
            if let Some(message) = written(kind, &to) {
                state.mailer.send(message);
            }
        }
        // A user name would have led to an address.
        None => {
            if let Some(message) = written(Kind::Email, identifier.spelling()) {
                state.mailer.pretend(message);
            }
        }
    }
    Ok(())
}

/// Makes a link for an account within the caller's transaction, which hands the message over once
/// that is committed; none where the account has no address.
///
/// # Errors
/// When the database or the vault fails.
pub(crate) async fn begin(
    state: &State,
    connection: &mut AnyConnection,
    user_id: UserId,
) -> Result<Option<Message>, Error> {
    let Some((kind, recipient, to)) = accounts::contact(state, connection, user_id).await? else {
        return Ok(None);
    };
    let token = new_token(state);
    let expires_at = keep(state, connection, &token, user_id, kind, &recipient).await?;
    let page = state.config.reset_url();
    let message = messages::reset_link(kind, &to, &page, &token);
    Ok(message.map(|message| message.good_until(expires_at)))
}

fn new_token(state: &State) -> Secret {
    Secret::new(format!(
        "ekp_{}",
        URL_SAFE_NO_PAD.encode(state.random.bytes::<32>())
    ))
}

/// Keeps a link in the place of those that waited for the account; until when it is good.
async fn keep(
    state: &State,
    connection: &mut AnyConnection,
    token: &Secret,
    user_id: UserId,
    kind: Kind,
    recipient: &Blind,
) -> Result<Timestamp, Error> {
    let now = state.clock.now();
    let expires_at = now + Duration::from_secs(state.config.password.reset_seconds);
    sqlx::query("DELETE FROM password_resets WHERE user_id = $1 OR expires_at < $2")
        .bind(user_id)
        .bind(now)
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "INSERT INTO password_resets (token_hash, user_id, kind, recipient, expires_at)
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(hash(state, token)?.as_slice())
    .bind(user_id)
    .bind(kind.as_str())
    .bind(recipient.as_slice())
    .bind(expires_at)
    .execute(connection)
    .await?;
    Ok(expires_at)
}

/// Voids the links that wait for the account: what they were asked for has been done otherwise.
///
/// # Errors
/// When the database fails.
pub(crate) async fn withdraw(connection: &mut AnyConnection, user_id: UserId) -> Result<(), Error> {
    sqlx::query("DELETE FROM password_resets WHERE user_id = $1")
        .bind(user_id)
        .execute(connection)
        .await?;
    Ok(())
}

/// Voids every link that waits.
///
/// # Errors
/// When the database fails.
pub(crate) async fn withdraw_all(connection: &mut AnyConnection) -> Result<(), Error> {
    sqlx::query("DELETE FROM password_resets")
        .execute(connection)
        .await?;
    Ok(())
}

struct Link {
    user_id: UserId,
    kind: Kind,
    recipient: Blind,
    expires_at: Timestamp,
}

/// Sets a new password, ends every session and lifts the lock. Does not log in. A token that is
/// refused is in the trail.
pub(super) async fn reset(state: &State, token: &Secret, password: &Secret) -> Result<(), Error> {
    super::hasher::check_length(password)?;
    let token_hash = hash(state, token)?;
    // Looked at first: a guessed token must cost neither a hash nor a question about breaches.
    let mut reader = state.db.read().await?;
    let known = sqlx::query("SELECT user_id FROM password_resets WHERE token_hash = $1")
        .bind(token_hash.as_slice())
        .fetch_optional(&mut *reader)
        .await?;
    let is_known = known.is_some();
    let user = match known {
        Some(row) => accounts::load(state, &mut reader, row.try_get("user_id")?).await?,
        None => None,
    };
    drop(reader);
    let whose = user.as_ref().map(|user| user.id);
    let outcome = if is_known {
        set(state, &token_hash, password, user).await
    } else {
        Err(Error::CodeInvalid("no such reset token"))
    };
    let event = Event::new(events::Kind::Password, Outcome::Failure, Actor::Anonymous);
    let event = event.about_whoever(whose).by("link");
    events::note_refusal(state, &outcome, event).await?;
    outcome
}

async fn set(
    state: &State,
    token_hash: &[u8; 32],
    password: &Secret,
    user: Option<User>,
) -> Result<(), Error> {
    // A refused password leaves the link as good as it was.
    let person = user.as_ref().map(Person::of).unwrap_or_default();
    strength::judge(state, password, person).await?;
    let phc = state.hasher.hash(password).await?;
    let now = state.clock.now();
    let mut tx = state.db.write().await?;
    let link = consume(&mut tx, token_hash).await?;
    if link.expires_at <= now {
        tx.commit().await?;
        return Err(Error::CodeExpired);
    }
    let account = Subject::account(&state.vault, link.user_id)?;
    let limit = state.config.limits.reset_password_per_account_per_hour;
    // Refused, nothing is committed: the link stays good.
    attempts::count(&mut tx, Attempts::Reset, &account, limit, now).await?;
    accounts::prove(state, &mut tx, link.user_id, link.kind, &link.recipient).await?;
    accounts::set_password(state, &mut tx, link.user_id, &phc).await?;
    sessions::end_all(state, &mut tx, link.user_id, Ending::All).await?;
    let set = Event::new(events::Kind::Password, Outcome::Success, Actor::Anonymous);
    let set = set.about(link.user_id).because("reset");
    events::record(state, &mut tx, &set).await?;
    // The message was wanted: the next one to its recipient need not wait.
    sends::answered(&mut tx, &link.recipient, now).await?;
    if lockout::standing(&mut tx, &account, now)
        .await?
        .locked_for
        .is_some()
    {
        let lifted = Event::new(events::Kind::Lock, Outcome::Success, Actor::System);
        let lifted = lifted.about(link.user_id).because("lifted");
        events::record(state, &mut tx, &lifted).await?;
    }
    lockout::clear(&mut tx, [&account; 2], None).await?;
    // Whoever locks themselves out by a user name gets the link at an address, and goes on by the name.
    for name in accounts::names(state, &mut tx, link.user_id).await? {
        let identifier = Subject::identifier(&state.vault, &name)?;
        lockout::clear(&mut tx, [&identifier; 2], None).await?;
    }
    let confirmation = Subject::confirmation(&state.vault, link.user_id)?;
    lockout::clear(&mut tx, [&confirmation; 2], None).await?;
    guesses::lift(&mut tx, &account, now).await?;
    // Second factors stay. The proof of the address allows guesses of them again, as any other.
    factors::lift(state, &mut tx, link.user_id).await?;
    factors::withhold(&mut tx, link.user_id, link.kind).await?;
    let contact = accounts::contact(state, &mut tx, link.user_id).await?;
    let notice = contact.and_then(|(kind, _, to)| messages::password_changed(kind, &to));
    let notice = state.mailer.keep(&mut tx, link.user_id, notice).await?;
    tx.commit().await?;
    state.mailer.deliver(notice);
    Ok(())
}

async fn consume(connection: &mut AnyConnection, token_hash: &[u8; 32]) -> Result<Link, Error> {
    let row = sqlx::query(
        "DELETE FROM password_resets WHERE token_hash = $1
         RETURNING user_id, kind, recipient, expires_at",
    )
    .bind(token_hash.as_slice())
    .fetch_optional(connection)
    .await?
    .ok_or(Error::CodeInvalid("reset token used meanwhile"))?;
    let kind: String = row.try_get("kind")?;
    let recipient: Vec<u8> = row.try_get("recipient")?;
    Ok(Link {
        user_id: row.try_get("user_id")?,
        kind: Kind::from_word(&kind).ok_or_else(|| Error::internal("unknown identifier kind"))?,
        recipient: Blind::try_from(recipient.as_slice())
            .map_err(|_| Error::internal("blind index of the wrong length"))?,
        expires_at: row.try_get("expires_at")?,
    })
}

fn hash(state: &State, token: &Secret) -> Result<[u8; 32], Error> {
    Ok(state
        .vault
        .mac(Purpose::Code, &[b"reset", token.expose().as_bytes()])?)
}
