//! Passkeys (WebAuthn level 3): keys in a person's authenticators, bound to this site by the
//! browser. They are a whole login, as they verify their holder, and a second factor after a
//! password.
//!
//! 1. A challenge is made and its state kept here, sealed, for five minutes, under a token
//!    ([`ceremony`]). It is bound to what it is for: a login of nobody in particular, a login that
//!    waits for its second factor, or a session whose owner proves again who they are or registers
//!    a key.
//! 2. The first answer uses the state up, whatever becomes of it; `webauthn-rs` then verifies
//!    challenge, origin, relying party, user presence, user verification, signature and counter
//!    (§7.1, §7.2).
//! 3. The statement that notes the use in the transaction that opens a session fails where the
//!    passkey was removed or used by another meanwhile ([`store::use_passkey`]).
//!
//! User verification is always asked for and always checked: a key that only proves that somebody
//! holds it is refused. Attestation is not asked for (`none`): which make of authenticator a person
//! has is theirs to choose. The user handle is the account's random id.

use serde::{Deserialize, Serialize};
use webauthn_rs::prelude::{Credential, Passkey, Webauthn, WebauthnBuilder};

use crate::app::State;
use crate::error::Error;
use crate::ids::{PasskeyId, UserId};
use crate::vault::Purpose;

mod assertion;
mod ceremony;
mod registration;
pub(super) mod routes;
pub(super) mod store;
mod view;

pub(super) use assertion::{Asserted, assert_of, begin_of, consume};
pub(super) use ceremony::{For, withdraw_all};
pub(crate) use view::{PasskeyView, list};

/// What is sealed of a passkey.
#[derive(Serialize, Deserialize)]
struct Details {
    name: String,
    passkey: Passkey,
}

impl Details {
    /// Whether the key is copied to the owner's other devices, as of its last use.
    fn is_backed_up(&self) -> bool {
        Credential::from(self.passkey.clone()).backup_state
    }

    /// Whether the key can be copied at all, which it was made with.
    fn is_backup_eligible(&self) -> bool {
        Credential::from(self.passkey.clone()).backup_eligible
    }

    fn seal(&self, state: &State, id: PasskeyId) -> Result<Vec<u8>, Error> {
        let json = serde_json::to_vec(self).map_err(|_| Error::internal("passkey as JSON"))?;
        Ok(state.vault.seal(Purpose::Passkey, id.as_bytes(), &json)?)
    }

    fn open(state: &State, row: &store::PasskeyRow) -> Result<Self, Error> {
        let json = state
            .vault
            .open(Purpose::Passkey, row.id.as_bytes(), &row.details)?;
        serde_json::from_slice(&json).map_err(|_| Error::internal("stored passkey as JSON"))
    }
}

/// The rules of this site.
///
/// # Errors
/// [`Error::Conflict`] where the public URL has no domain and none is configured.
fn relying_party(state: &State) -> Result<Webauthn, Error> {
    let none = || Error::Conflict("There are no passkeys here: the server has no domain.");
    let config = &state.config;
    let rp_id = config.rp_id().ok_or_else(none)?;
    let name = config.issuer_name();
    let origins = config.passkey_origins();
    let (first, more) = origins.split_first().ok_or_else(none)?;
    let wrong = |_| Error::internal("the configured relying party cannot be");
    let builder = WebauthnBuilder::new(&rp_id, first).map_err(wrong)?;
    let builder = more.iter().fold(
        builder.rp_name(&name),
        WebauthnBuilder::append_allowed_origin,
    );
    builder.timeout(ceremony::TTL).build().map_err(wrong)
}

/// Every passkey of an account, oldest first.
async fn all(
    state: &State,
    connection: &mut sqlx::AnyConnection,
    user_id: UserId,
) -> Result<Vec<(store::PasskeyRow, Details)>, Error> {
    let rows = store::passkeys(connection, user_id).await?;
    rows.into_iter()
        .map(|row| Details::open(state, &row).map(|details| (row, details)))
        .collect()
}
