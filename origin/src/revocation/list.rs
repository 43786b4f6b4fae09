//! The publisher: folds what is revoked into one signed list, and signs the copies of JWK Set and
//! policy that gates find in their key-value store.
//!
//! All three are signed together, under one sequence number that the database keeps. They are
//! signed again at every heartbeat, so that their age says something, and at once when something
//! changed: in this process by the signal, in another (the command line, a second origin) by the
//! counters, which are looked at a few times a second.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use edgekeep_shared::control::DocumentType;
use edgekeep_shared::revocation::{Entry, HashKey, encode};
use edgekeep_shared::time::UnixTime;
use sqlx::AnyConnection;
use tokio::sync::Mutex;

use super::control_key::ControlKey;
use super::{Signal, store};
use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::db::Db;
use crate::error::Error;
use crate::random::Random;
use crate::tokens::Published;
use crate::tokens::keyring::Keyring;
use crate::tokens::store::counter;
use crate::vault::Vault;

/// How long a gate waits for a list that is newer than the one held.
const PATIENCE: Duration = Duration::from_millis(250);

/// What was signed together.
#[derive(Clone, Debug)]
pub struct Documents {
    /// The revocation list.
    pub revocations: Published,
    /// The copy of the JWK Set.
    pub jwk_set: Published,
    /// The copy of the policy, where one is configured.
    pub policy: Option<Published>,
    /// Their number.
    pub sequence: u64,
    /// How many entries the list has.
    pub entries: usize,
    signed_at: Timestamp,
    signals: u64,
    keyring: i64,
    change: i64,
}

impl Documents {
    /// When they were signed.
    pub const fn signed_at(&self) -> Timestamp {
        self.signed_at
    }

    /// The counter of revocations that the list is of.
    pub const fn list_change(&self) -> i64 {
        self.change
    }

    /// The counter of the keyring that the copy of the JWK Set is of.
    pub const fn keyring_change(&self) -> i64 {
        self.keyring
    }
}

/// Entries that matter, by kind and value, as of one value of their counter.
#[derive(Debug, Default)]
struct Live {
    change: i64,
    entries: Arc<Entries>,
}

/// Until which second, and when that no longer matters, by kind and value.
type Entries = BTreeMap<(String, String), (i64, Option<Timestamp>)>;

/// Signs and holds what the gates are told.
#[derive(Debug)]
pub struct Publisher {
    db: Db,
    vault: Vault,
    clock: Clock,
    random: Random,
    issuer: String,
    policy: Option<String>,
    heartbeat: Duration,
    control_key: RwLock<Arc<ControlKey>>,
    keyring: Arc<Keyring>,
    signal: Arc<Signal>,
    live: Mutex<Live>,
    documents: RwLock<Option<Arc<Documents>>>,
}

impl Publisher {
    /// A publisher of the configured issuer; `policy` is what the gates are to enforce.
    pub fn new(
        config: &Config,
        policy: Option<String>,
        (db, vault, clock, random): (&Db, &Vault, &Clock, &Random),
        control_key: ControlKey,
        keyring: &Arc<Keyring>,
        signal: &Arc<Signal>,
    ) -> Self {
        Self {
            db: db.clone(),
            vault: vault.clone(),
            clock: clock.clone(),
            random: random.clone(),
            issuer: config.issuer(),
            policy,
            heartbeat: Duration::from_secs(config.revocation.heartbeat_seconds),
            control_key: RwLock::new(Arc::new(control_key)),
            keyring: Arc::clone(keyring),
            signal: Arc::clone(signal),
            live: Mutex::default(),
            documents: RwLock::new(None),
        }
    }

    /// The public half, as a JWK, of the control key that signed last.
    pub fn control_jwk(&self) -> String {
        self.control_key().to_jwk()
    }

    fn control_key(&self) -> Arc<ControlKey> {
        let held = self.control_key.read();
        Arc::clone(&held.unwrap_or_else(PoisonError::into_inner))
    }

    /// The control key that the database names: another process may have activated one.
    async fn current_control_key(
        &self,
        connection: &mut AnyConnection,
    ) -> Result<Arc<ControlKey>, Error> {
        let held = self.control_key();
        let row = ControlKey::signing(connection)
            .await?
            .ok_or_else(|| Error::internal("the control key is gone"))?;
        if row.kid == held.kid() {
            return Ok(held);
        }
        let key = Arc::new(ControlKey::unseal(&self.vault, &row)?);
        let mut held = self
            .control_key
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *held = Arc::clone(&key);
        Ok(key)
    }

    /// What was signed last; nothing is looked at or signed for it.
    pub fn held(&self) -> Option<Arc<Documents>> {
        self.documents
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What was signed last, if nothing was signalled since and it is not a heartbeat old.
    fn fresh(&self) -> Option<Arc<Documents>> {
        let now = self.clock.now();
        self.held().filter(|documents| {
            documents.signals == self.signal.count()
                && documents.signed_at <= now
                && now < documents.signed_at + self.heartbeat
                && documents.keyring >= self.keyring.ring().change()
        })
    }

    /// The documents of now, signed again if need be. While the database does not answer, the
    /// last ones: their age tells the gates what they are worth.
    ///
    /// # Errors
    /// When there are none yet and the database fails.
    pub async fn current(&self) -> Result<Arc<Documents>, Error> {
        if let Some(documents) = self.fresh() {
            return Ok(documents);
        }
        match (self.publish(false).await, self.held()) {
            (Ok(documents), _) => Ok(documents),
            (Err(error), Some(documents)) => {
                tracing::error!(%error, "revocation list could not be signed again");
                Ok(documents)
            }
            (Err(error), None) => Err(error),
        }
    }

    /// [`current`](Self::current) for who cannot wait: where a list is held, the wait for a newer
    /// one is short. While the database is locked, gates get the old one at once rather than all
    /// of them a timeout.
    ///
    /// # Errors
    /// When there are none yet and the database fails.
    pub async fn current_soon(&self) -> Result<Arc<Documents>, Error> {
        let Some(held) = self.held() else {
            return self.current().await;
        };
        match tokio::time::timeout(PATIENCE, self.current()).await {
            Ok(outcome) => outcome,
            Err(_) => Ok(self.held().unwrap_or(held)),
        }
    }

    /// Signs again if another process changed what is to be told.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn look(&self) -> Result<(), Error> {
        self.keyring.refresh().await?;
        let mut reader = self.db.read().await?;
        let change = counter(&mut reader, "revocations").await?;
        drop(reader);
        let moved = self.held().is_none_or(|held| held.change < change);
        if moved {
            self.publish(true).await?;
        } else {
            self.current().await?;
        }
        Ok(())
    }

    /// Reads what changed and signs it. `force` signs even what another caller has just signed.
    async fn publish(&self, force: bool) -> Result<Arc<Documents>, Error> {
        let mut live = self.live.lock().await;
        if let (false, Some(documents)) = (force, self.fresh()) {
            return Ok(documents);
        }
        // Before reading: what is signalled from here on is published once more.
        let signals = self.signal.count();
        self.keyring.refresh().await?;
        let ring = self.keyring.ring();
        let now = self.clock.now();
        // A write transaction waits its turn behind the change that was signalled, and gives the
        // list a number that orders it after every list that knew less.
        let mut tx = self.db.write().await?;
        let change = store::lock(&mut tx).await?;
        let rows = store::since(&mut tx, live.change).await?;
        let sequence = store::next_sequence(&mut tx, now.micros().div_euclid(1_000)).await?;
        let control_key = self.current_control_key(&mut tx).await?;
        tx.commit().await?;
        // Nobody else holds them, unless a publication was given up half-way.
        let entries = Arc::make_mut(&mut live.entries);
        for row in rows {
            entries.insert((row.kind, row.value), (row.not_before, row.expires_at));
        }
        entries.retain(|_, (_, expires_at)| expires_at.is_none_or(|at| now < at));
        live.change = change;

        let sequence = u64::try_from(sequence).map_err(|_| Error::internal("sequence"))?;
        let issued_at = UnixTime(now.unix_seconds());
        let sign = {
            let (control_key, issuer) = (Arc::clone(&control_key), self.issuer.clone());
            move |document_type, body: &[u8]| {
                Published::new(control_key.sign(document_type, &issuer, sequence, issued_at, body))
            }
        };
        // A key of its own for every list: two lists tell nobody what they have in common.
        let hash_key = HashKey(self.random.bytes());
        let entries = Arc::clone(&live.entries);
        // A list of a quarter of a million entries takes a tenth of a second, in which whoever
        // shares this thread would get no answer.
        let sign_list = sign.clone();
        let revocations = tokio::task::spawn_blocking(move || {
            let body = encode(&hash_key, entries.iter().filter_map(entry));
            sign_list(DocumentType::Revocations, &body)
        })
        .await
        .map_err(|_| Error::internal("the list could not be made"))?;
        let documents = Arc::new(Documents {
            revocations,
            jwk_set: sign(DocumentType::JwkSet, ring.document().bytes()),
            policy: self
                .policy
                .as_ref()
                .map(|text| sign(DocumentType::Policy, text.as_bytes())),
            sequence,
            entries: live.entries.len(),
            signed_at: now,
            signals,
            keyring: ring.change(),
            change,
        });
        *self
            .documents
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&documents));
        Ok(documents)
    }

    /// Removes entries that no longer matter from the database.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn remove_expired(&self) -> Result<(), Error> {
        let mut tx = self.db.write().await?;
        store::remove_expired(&mut tx, self.clock.now()).await?;
        Ok(tx.commit().await?)
    }
}

fn entry<'a>(
    ((kind, value), (not_before, _)): (&'a (String, String), &'a (i64, Option<Timestamp>)),
) -> Option<Entry<'a>> {
    match kind.as_str() {
        "jti" => Some(Entry::Token(value)),
        "sid" => Some(Entry::Session(value)),
        "kid" => Some(Entry::Key(value)),
        "sub" => Some(Entry::Subject(value, UnixTime(*not_before))),
        _ => None,
    }
}
