//! Proving that one holds a passkey: as a whole login, and as a second factor.

use serde_json::Value;
use sqlx::AnyConnection;
use webauthn_rs::prelude::{
    DiscoverableAuthentication, PasskeyAuthentication, PublicKeyCredential, WebauthnError,
};

use super::ceremony::{self, For};
use super::store::{self, PasskeyRow};
use super::{Details, all, relying_party};
use crate::abuse::devices;
use crate::app::State;
use crate::error::Error;
use crate::events::{self, Actor, Event, Outcome};
use crate::ids::{PasskeyId, UserId};
use crate::login::{FirstFactor, LoggedIn, conclude};
use crate::request::Caller;
use crate::vault::Secret;

/// What the audit trail calls it.
const METHOD: &str = "passkey";

/// A passkey that was proved; it still has to be [`consume`]d.
pub(in crate::login) struct Asserted {
    id: PasskeyId,
    /// The details as they were read.
    read: Vec<u8>,
    /// What they are from now on.
    now: Vec<u8>,
    amr: [&'static str; 2],
}

impl Asserted {
    /// What `amr` says (RFC 8176 §2): the key, which hardware does not hold where it can be backed up,
    /// and that its holder was verified, which is a second factor.
    pub(in crate::login) const fn amr(&self) -> &[&'static str] {
        &self.amr
    }
}

/// Notes the use within the caller's transaction; false when the passkey was removed or used
/// meanwhile.
pub(in crate::login) async fn consume(
    state: &State,
    connection: &mut AnyConnection,
    asserted: &Asserted,
) -> Result<bool, Error> {
    let now = state.clock.now();
    store::use_passkey(connection, asserted.id, &asserted.read, &asserted.now, now).await
}

/// What a login says of its device.
pub(super) struct Device {
    /// A name for it.
    pub(super) id: Option<String>,
    /// What an earlier login on it was answered.
    pub(super) token: Option<Secret>,
}

/// Makes the options for `navigator.credentials.get()` of somebody who has not said who they are:
/// they name no account and no passkey.
pub(super) async fn begin_login(state: &State) -> Result<(Secret, Value), Error> {
    let (mut options, waiting) = relying_party(state)?
        .start_discoverable_authentication()
        .map_err(|_| Error::internal("passkey challenge"))?;
    // Whether to ask in a dialog or in the form is the page's choice.
    options.mediation = None;
    let mut tx = state.db.write().await?;
    let token = ceremony::keep(state, &mut tx, For::Login, &waiting).await?;
    tx.commit().await?;
    Ok((token, as_json(&options)?))
}

/// Logs in whoever's passkey it is.
///
/// # Errors
/// [`Error::CredentialsInvalid`] whatever is wrong. A lock of the password is none of the passkey's:
/// nothing about it can be guessed.
pub(super) async fn log_in(
    state: &State,
    caller: &Caller,
    token: &Secret,
    credential: &PublicKeyCredential,
    device: Device,
) -> Result<LoggedIn, Error> {
    let rules = relying_party(state)?;
    let waiting: Result<DiscoverableAuthentication, _> =
        ceremony::take(state, For::Login, token).await;
    let waiting = match waiting {
        Err(Error::CodeInvalid(_)) => return refuse(state, caller, None, "code_invalid").await,
        other => other?,
    };
    let mut reader = state.db.read().await?;
    let row = store::find(&mut reader, credential.get_credential_id()).await?;
    drop(reader);
    let Some(row) = row else {
        return refuse(state, caller, None, "credentials_invalid").await;
    };
    let user_id = row.user_id;
    // What is signed does not name the holder; the authenticator does beside it (§7.2, step 6).
    let is_holder = credential.get_user_unique_id() == Some(user_id.as_bytes().as_slice());
    let details = Details::open(state, &row)?;
    let result = if is_holder {
        rules.finish_discoverable_authentication_v2(credential, waiting, &details.passkey)
    } else {
        Err(WebauthnError::InvalidUserUniqueId)
    };
    let asserted = match judge(state, row, details, result) {
        Ok(asserted) => asserted,
        Err(cause) => return refuse(state, caller, Some(user_id), cause).await,
    };
    let mut tx = state.db.write().await?;
    if !consume(state, &mut tx, &asserted).await? {
        tx.rollback().await?;
        return refuse(state, caller, Some(user_id), "credentials_invalid").await;
    }
    // Nothing of it can be guessed, so nothing is counted at the device either.
    let known = devices::recognise(state, &mut tx, device.token, user_id).await?;
    let first = FirstFactor {
        user_id,
        method: METHOD,
        amr: asserted.amr(),
        sent_to: None,
        caller,
        device_id: device.id,
        device: known,
        proved_at: None,
        counted: None,
    };
    conclude(state, tx, first).await
}

/// Makes the options for a second factor, or for proving again who one is: they name the account's
/// passkeys, to whoever proved its first factor.
///
/// # Errors
/// [`Error::CodeInvalid`] without a passkey.
pub(in crate::login) async fn begin_of(
    state: &State,
    user_id: UserId,
    what: For<'_>,
) -> Result<(Secret, Value), Error> {
    let rules = relying_party(state)?;
    let mut tx = state.db.write().await?;
    let passkeys: Vec<_> = all(state, &mut tx, user_id)
        .await?
        .into_iter()
        .map(|(_, details)| details.passkey)
        .collect();
    if passkeys.is_empty() {
        return Err(Error::CodeInvalid("no passkey"));
    }
    let (options, waiting) = rules
        .start_passkey_authentication(&passkeys)
        .map_err(|_| Error::internal("passkey challenge"))?;
    let token = ceremony::keep(state, &mut tx, what, &waiting).await?;
    tx.commit().await?;
    Ok((token, as_json(&options)?))
}

/// Verifies a passkey of an account as the answer to a challenge that [`begin_of`] made.
///
/// # Errors
/// [`Error::CodeInvalid`] whatever is wrong with it.
pub(in crate::login) async fn assert_of(
    state: &State,
    caller: &Caller,
    user_id: UserId,
    what: For<'_>,
    (token, credential): (&Secret, &PublicKeyCredential),
) -> Result<Asserted, Error> {
    let rules = relying_party(state)?;
    let waiting: PasskeyAuthentication = ceremony::take(state, what, token).await?;
    let mut reader = state.db.read().await?;
    let row = store::find(&mut reader, credential.get_credential_id()).await?;
    drop(reader);
    let row = row.filter(|row| row.user_id == user_id);
    let row = row.ok_or(Error::CodeInvalid("not a passkey of the account"))?;
    let details = Details::open(state, &row)?;
    let result = rules.finish_passkey_authentication(credential, &waiting);
    match judge(state, row, details, result) {
        Ok(asserted) => Ok(asserted),
        Err(cause) => {
            if cause != WRONG {
                note_failure(state, caller, events::Kind::Factor, user_id, cause).await?;
            }
            Err(Error::CodeInvalid("passkey not accepted"))
        }
    }
}

/// The reason in the audit trail when a counter has not grown: the key may have been copied
/// (§6.1.1).
const COUNTER: &str = "counter_regression";

/// The reason when a key that could not be copied now can or is, or one that could no longer can:
/// authenticators never change that of a key, so this is another one (§7.2, steps 17 and 18).
const BACKUP_FLAGS: &str = "backup_flags";

/// The reason for everything else.
const WRONG: &str = "credentials_invalid";

/// What a verified assertion changes of a passkey; or why it is none, for the audit trail.
fn judge(
    state: &State,
    row: PasskeyRow,
    mut details: Details,
    result: Result<webauthn_rs::prelude::AuthenticationResult, WebauthnError>,
) -> Result<Asserted, &'static str> {
    let result = result.map_err(|error| {
        tracing::info!(%error, "passkey not accepted");
        match error {
            WebauthnError::CredentialPossibleCompromise => COUNTER,
            WebauthnError::CredentialBackupEligibilityInconsistent
            | WebauthnError::CredentialMayNotBeHardwareBound => BACKUP_FLAGS,
            _ => WRONG,
        }
    })?;
    // The library lets a key become one that can be copied, for those that were registered before
    // there was such a thing. There are none here.
    if result.backup_eligible() != details.is_backup_eligible() {
        return Err(BACKUP_FLAGS);
    }
    // Asked for and checked by the library; one that did not verify its holder is one factor.
    if !result.user_verified() {
        return Err("user_not_verified");
    }
    let amr = if result.backup_eligible() {
        "swk"
    } else {
        "hwk"
    };
    let changed = details.passkey.update_credential(&result).ok_or(WRONG)?;
    let now = if changed {
        details.seal(state, row.id).map_err(|_| "unavailable")?
    } else {
        row.details.clone()
    };
    Ok(Asserted {
        id: row.id,
        read: row.details,
        now,
        amr: [amr, "mfa"],
    })
}

/// Writes a login that failed down, whoever's it is, and refuses it.
async fn refuse(
    state: &State,
    caller: &Caller,
    user_id: Option<UserId>,
    cause: &'static str,
) -> Result<LoggedIn, Error> {
    let event = Event::new(events::Kind::Login, Outcome::Failure, Actor::Anonymous)
        .about_whoever(user_id)
        .by(METHOD)
        .because(cause)
        .from(caller);
    events::refused(state, &event).await?;
    Err(Error::CredentialsInvalid)
}

async fn note_failure(
    state: &State,
    caller: &Caller,
    kind: events::Kind,
    user_id: UserId,
    cause: &'static str,
) -> Result<(), Error> {
    let event = Event::new(kind, Outcome::Failure, Actor::Anonymous)
        .about(user_id)
        .by(METHOD)
        .because(cause)
        .from(caller);
    let mut tx = state.db.write().await?;
    events::record(state, &mut tx, &event).await?;
    Ok(tx.commit().await?)
}

fn as_json<T: serde::Serialize>(options: &T) -> Result<Value, Error> {
    serde_json::to_value(options).map_err(|_| Error::internal("passkey options as JSON"))
}
