//! Adding, naming and removing passkeys.

use serde_json::Value;
use webauthn_rs::prelude::{PasskeyRegistration, RegisterPublicKeyCredential, Uuid};

use super::ceremony::{self, For};
use super::store::{self, PasskeyRow};
use super::{Details, all, relying_party};
use crate::accounts;
use crate::app::State;
use crate::error::Error;
use crate::ids::{PasskeyId, UserId};
use crate::login::factors::changes::{self, Change};
use crate::login::fresh::FreshlyAuthenticated;
use crate::vault::Secret;

const TOO_MANY: Error = Error::Conflict("The account has as many passkeys as it may have.");

/// Makes the options for `navigator.credentials.create()`.
pub(super) async fn begin(
    state: &State,
    caller: &FreshlyAuthenticated,
) -> Result<(Secret, Value), Error> {
    let rules = relying_party(state)?;
    let user_id = caller.user_id;
    let mut tx = state.db.write().await?;
    let user = accounts::load(state, &mut tx, user_id).await?;
    let user = user.ok_or(Error::NotFound)?;
    let present = all(state, &mut tx, user_id).await?;
    if present.len() >= state.config.passkeys.max_per_account as usize {
        return Err(TOO_MANY);
    }
    let present = present
        .iter()
        .map(|(_, details)| details.passkey.cred_id().clone())
        .collect();
    let account = user.email.or(user.phone_number).or(user.username);
    let account = account.unwrap_or_else(|| user_id.to_string());
    let shown = user.profile.name.unwrap_or_else(|| account.clone());
    let handle = Uuid::from_bytes(*user_id.as_bytes());
    let (options, waiting) = rules
        .start_passkey_registration(handle, &account, &shown, Some(present))
        .map_err(|_| Error::internal("passkey challenge"))?;
    let mut options =
        serde_json::to_value(options).map_err(|_| Error::internal("passkey options as JSON"))?;
    // One that is not discoverable could not log anybody in who has not said who they are.
    let selection = &mut options["publicKey"]["authenticatorSelection"];
    selection["residentKey"] = "required".into();
    selection["requireResidentKey"] = true.into();
    let what = For::Registration(user_id, caller.session_id);
    let token = ceremony::keep(state, &mut tx, what, &waiting).await?;
    tx.commit().await?;
    Ok((token, options))
}

/// Verifies what the authenticator made, and adds it. The recovery codes that come with an
/// account's first second factor are answered.
pub(super) async fn finish(
    state: &State,
    change: &Change<'_>,
    token: &Secret,
    credential: &RegisterPublicKeyCredential,
    name: &str,
) -> Result<(PasskeyId, Option<Vec<String>>), Error> {
    let rules = relying_party(state)?;
    let user_id = change.caller.user_id;
    let what = For::Registration(user_id, change.caller.session_id);
    let waiting: PasskeyRegistration = ceremony::take(state, what, token).await?;
    let passkey = rules
        .finish_passkey_registration(credential, &waiting)
        .map_err(|error| {
            tracing::info!(%error, "passkey not registered");
            Error::CodeInvalid("passkey not accepted")
        })?;
    let credential_id = passkey.cred_id().clone();
    let id = PasskeyId::generate(&state.random);
    let details = Details {
        name: name.to_owned(),
        passkey,
    };
    let now = state.clock.now();
    let row = PasskeyRow {
        id,
        user_id,
        details: details.seal(state, id)?,
        added_at: now,
        last_used_at: None,
    };
    let mut tx = state.db.write().await?;
    store::take_turns(&mut tx, user_id, now).await?;
    let present = store::passkeys(&mut tx, user_id).await?.len();
    if present >= state.config.passkeys.max_per_account as usize {
        return Err(TOO_MANY);
    }
    if !store::insert(&mut tx, &row, &credential_id).await? {
        return Err(Error::Conflict("This passkey is registered already."));
    }
    let codes = changes::added_passkey(state, tx, change).await?;
    Ok((id, codes))
}

/// Gives a passkey another name.
pub(super) async fn rename(
    state: &State,
    user_id: UserId,
    id: PasskeyId,
    name: &str,
) -> Result<(), Error> {
    let mut tx = state.db.write().await?;
    let own = all(state, &mut tx, user_id).await?;
    let own = own.into_iter().find(|(row, _)| row.id == id);
    let (row, mut details) = own.ok_or(Error::NotFound)?;
    name.clone_into(&mut details.name);
    let sealed = details.seal(state, id)?;
    if !store::rename(&mut tx, id, &row.details, &sealed).await? {
        return Err(Error::Unavailable("the passkey was used meanwhile"));
    }
    Ok(tx.commit().await?)
}

/// Removes a passkey.
///
/// # Errors
/// [`Error::NotFound`] for another's; [`Error::Conflict`] for the last way in.
pub(super) async fn remove(state: &State, change: &Change<'_>, id: PasskeyId) -> Result<(), Error> {
    let user_id = change.caller.user_id;
    let mut tx = state.db.write().await?;
    store::take_turns(&mut tx, user_id, state.clock.now()).await?;
    if !store::remove(&mut tx, user_id, id).await? {
        let own = store::passkeys(&mut tx, user_id).await?;
        return Err(if own.iter().any(|row| row.id == id) {
            Error::Conflict("Nothing else would let you in. Set a password or prove an address.")
        } else {
            Error::NotFound
        });
    }
    changes::removed_passkey(state, tx, change).await
}
