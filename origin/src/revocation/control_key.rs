//! The control key: Ed25519, in no JWK Set, used only for what the gates are told.
//!
//! Gates pin its public half and have room for two, so it is changed in three steps: [`prepare`] a
//! second one, have every gate pin both, [`activate`] it. Which one signs is the database's word,
//! so that a command reaches a server that runs.

use std::time::Duration;

use ed25519_dalek::{Signer as _, SigningKey};
use edgekeep_shared::control::{DocumentType, Header};
use edgekeep_shared::jwk::VerifyingKey;
use edgekeep_shared::time::UnixTime;
use serde_json::Value;
use sqlx::AnyConnection;
use zeroize::Zeroizing;

use super::store::{self, ControlKeyRow};
use crate::app::State;
use crate::clock::{Clock, Timestamp};
use crate::db::Db;
use crate::error::Error;
use crate::events::{self, Actor, Change, Event, Kind, Outcome};
use crate::random::Random;
use crate::tokens;
use crate::vault::{Purpose, Vault};

/// The key with its identifier.
#[derive(Debug)]
pub struct ControlKey {
    kid: String,
    key: SigningKey,
}

/// How long a control key waits at least, unless it is said to be urgent: less than any roll-out takes,
/// more than a slip of the hand.
const LONG_ENOUGH: Duration = Duration::from_mins(5);

/// Why another control key was not activated.
#[derive(Debug, thiserror::Error)]
pub enum ActivateError {
    /// No key of that name waits.
    #[error("no control key {0} waits: `edgekeep keys control prepare` makes one")]
    NotWaiting(String),
    /// It was made a moment ago: no gate can have been deployed with it.
    #[error(
        "control key {0} was made less than {minutes} minutes ago: a gate that does not pin it will \
         believe no list any more. Deploy every gate with both, then activate it; or add --now",
        minutes = LONG_ENOUGH.as_secs() / 60
    )]
    TooEarly(String),
    /// The database or the vault failed.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl ControlKey {
    /// Opens the control key; on the first start makes it.
    ///
    /// # Errors
    /// When the database fails, or the key does not open under the master key.
    pub async fn open(
        db: &Db,
        vault: &Vault,
        clock: &Clock,
        random: &Random,
    ) -> Result<Self, Error> {
        let mut tx = db.write().await?;
        if let Some(row) = Self::signing(&mut tx).await? {
            tx.rollback().await?;
            return Self::unseal(vault, &row);
        }
        let now = clock.now();
        let key = Self::add(&mut tx, vault, random, Some(now), now).await?;
        tx.commit().await?;
        tracing::info!(
            kid = key.kid,
            "control key made; gates pin it in CONTROL_KEYS"
        );
        Ok(key)
    }

    /// The row of the key that signs.
    pub(super) async fn signing(
        connection: &mut AnyConnection,
    ) -> Result<Option<ControlKeyRow>, Error> {
        let rows = store::control_keys(connection).await?;
        Ok(rows.into_iter().find(|row| row.activated_at.is_some()))
    }

    /// The key of a row.
    pub(super) fn unseal(vault: &Vault, row: &ControlKeyRow) -> Result<Self, Error> {
        let bytes = vault.open(Purpose::ControlKey, row.kid.as_bytes(), &row.private_key)?;
        let key = SigningKey::try_from(bytes.as_slice())
            .ok()
            .filter(|key| public(key).thumbprint() == row.kid)
            .ok_or_else(|| Error::internal("the control key is not what its name says"))?;
        Ok(Self {
            kid: row.kid.clone(),
            key,
        })
    }

    async fn add(
        connection: &mut AnyConnection,
        vault: &Vault,
        random: &Random,
        activated_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let bytes = Zeroizing::new(random.bytes::<32>());
        let key = SigningKey::from_bytes(&bytes);
        let kid = public(&key).thumbprint();
        let row = ControlKeyRow {
            private_key: vault.seal(Purpose::ControlKey, kid.as_bytes(), bytes.as_slice())?,
            kid,
            activated_at,
        };
        store::insert_control_key(connection, &row, now).await?;
        Ok(Self { kid: row.kid, key })
    }

    /// Its name: the RFC 7638 thumbprint.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The public half as a JWK.
    pub fn to_jwk(&self) -> String {
        public(&self.key).to_jwk(&self.kid)
    }

    /// A signed document of `body`.
    pub fn sign(
        &self,
        document_type: DocumentType,
        issuer: &str,
        sequence: u64,
        issued_at: UnixTime,
        body: &[u8],
    ) -> Vec<u8> {
        let header = Header {
            document_type,
            issuer: issuer.to_owned(),
            key_id: self.kid.clone(),
            sequence,
            issued_at,
        };
        let mut document = header.signing_input(body);
        let signature = self.key.sign(&document).to_bytes();
        document.extend_from_slice(&signature);
        document
    }
}

/// The public half.
fn public(key: &SigningKey) -> VerifyingKey {
    VerifyingKey::EdDsa(key.verifying_key())
}

/// What gates are to pin: the key that signs, then one that waits, as a JSON array of JWKs.
///
/// # Errors
/// When the database or the vault fails.
pub async fn to_pin(state: &State) -> Result<String, Error> {
    let mut reader = state.db.read().await?;
    let rows = store::control_keys(&mut reader).await?;
    let jwks: Vec<String> = rows
        .iter()
        .map(|row| ControlKey::unseal(&state.vault, row).map(|key| key.to_jwk()))
        .collect::<Result<_, _>>()?;
    Ok(format!("[{}]", jwks.join(",")))
}

/// Makes a control key that waits, unless one does; its name.
///
/// # Errors
/// When the database or the vault fails.
pub async fn prepare(state: &State) -> Result<String, Error> {
    let mut tx = state.db.write().await?;
    let rows = store::control_keys(&mut tx).await?;
    if let Some(row) = rows.into_iter().find(|row| row.activated_at.is_none()) {
        tx.rollback().await?;
        return Ok(row.kid);
    }
    let now = state.clock.now();
    let key = ControlKey::add(&mut tx, &state.vault, &state.random, None, now).await?;
    let event = Event::new(Kind::Keys, Outcome::Success, Actor::Operator)
        .because("control_key_prepared")
        .changing(Change::new(Value::Null, key.kid.as_str()));
    events::record(state, &mut tx, &event).await?;
    tx.commit().await?;
    Ok(key.kid)
}

/// Lets the key that waits under the name `kid` sign, and erases the one before. A server that
/// runs signs everything again, with it, at its next look. `urgent` is for a key that leaked, or
/// where every gate is known to pin the new one.
///
/// # Errors
/// [`ActivateError::NotWaiting`], [`ActivateError::TooEarly`], or the database fails.
pub async fn activate(state: &State, kid: &str, urgent: bool) -> Result<(), ActivateError> {
    let now = state.clock.now();
    let made_by = if urgent { now } else { now - LONG_ENOUGH };
    let mut tx = state.db.write().await?;
    // The publisher looks at this counter: what it holds is no longer what should be told.
    tokens::store::raise(&mut tx, "revocations").await?;
    if !store::activate_control_key(&mut tx, kid, made_by, now).await? {
        let rows = store::control_keys(&mut tx).await?;
        let waits = |row: &ControlKeyRow| row.kid == kid && row.activated_at.is_none();
        return Err(if rows.iter().any(waits) {
            ActivateError::TooEarly(kid.to_owned())
        } else {
            ActivateError::NotWaiting(kid.to_owned())
        });
    }
    store::remove_other_control_keys(&mut tx, kid).await?;
    let event = Event::new(Kind::Keys, Outcome::Success, Actor::Operator)
        .because("control_key")
        .changing(Change::new(Value::Null, kid));
    events::record(state, &mut tx, &event).await?;
    tx.commit().await.map_err(Error::from)?;
    state.signal.raise();
    tracing::warn!(kid, "another control key signs what the gates are told");
    Ok(())
}
