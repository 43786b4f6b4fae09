//! The publisher: folds what is revoked into one list, and signs what gates are told: the list,
//! deltas that lead to it, and the copies of JWK Set and policy in their key-value store.
//!
//! All of one publication have one sequence number that the database keeps. There is another
//! publication at every heartbeat, so that their age says something, and at once when something
//! changed: in this process by the signal, in another (the command line, a second origin) by the
//! counters, which are looked at a few times a second. List and deltas are signed when somebody asks
//! for them ([`Lists`]).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use edgekeep_shared::control::DocumentType;
use edgekeep_shared::time::UnixTime;
use sqlx::AnyConnection;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::control_key::ControlKey;
use super::lists::{Lists, Signing};
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

/// Rows of the database that are read at a time. A start with a quarter of a million entries, or a
/// command that revokes as many, reads the rest of them before it asks for the turn to write.
const PAGE: i64 = 5_000;

/// What was published together, but for list and deltas.
#[derive(Clone, Debug)]
pub struct Documents {
    /// The copy of the JWK Set.
    pub jwk_set: Published,
    /// The copy of the policy, where one is configured.
    pub policy: Option<Published>,
    /// The number under which this policy was first published, 0 without one: a gate that holds one
    /// of this number or a higher has it.
    pub policy_sequence: u64,
    /// Their number.
    pub sequence: u64,
    /// How many entries the list has.
    pub entries: usize,
    signed_at: Timestamp,
    signals: u64,
    keyring: i64,
    change: i64,
    policy_change: i64,
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

    /// How often a policy had been taken when this one was.
    pub const fn policy_change(&self) -> i64 {
        self.policy_change
    }
}

/// The policy that gates are to enforce, and how often one was taken.
#[derive(Clone, Debug, Default)]
struct Rules {
    text: Option<Arc<str>>,
    change: i64,
}

/// Signs and holds what the gates are told.
#[derive(Debug)]
pub struct Publisher {
    db: Db,
    vault: Vault,
    clock: Clock,
    rules: RwLock<Rules>,
    /// Whether the file that the policy comes from is none now.
    policy_refused: AtomicBool,
    heartbeat: Duration,
    control_key: RwLock<Arc<ControlKey>>,
    keyring: Arc<Keyring>,
    signal: Arc<Signal>,
    /// The counter of changes up to which entries were read. Held while something is published.
    read: Arc<Mutex<i64>>,
    lists: Arc<Lists>,
    documents: Arc<RwLock<Option<Arc<Documents>>>>,
}

impl Publisher {
    /// A publisher of the configured issuer, without a policy.
    pub fn new(
        config: &Config,
        (db, vault, clock, random): (&Db, &Vault, &Clock, &Random),
        control_key: ControlKey,
        keyring: &Arc<Keyring>,
        signal: &Arc<Signal>,
    ) -> Self {
        Self {
            db: db.clone(),
            vault: vault.clone(),
            clock: clock.clone(),
            rules: RwLock::default(),
            policy_refused: AtomicBool::new(false),
            heartbeat: Duration::from_secs(config.revocation.heartbeat_seconds),
            control_key: RwLock::new(Arc::new(control_key)),
            keyring: Arc::clone(keyring),
            signal: Arc::clone(signal),
            read: Arc::default(),
            lists: Arc::new(Lists::new(config.issuer(), clock, random)),
            documents: Arc::default(),
        }
    }

    /// Publishes `text` as the policy from here on.
    pub fn take_policy(&self, text: &str) {
        let mut rules = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        *rules = Rules {
            text: Some(text.into()),
            change: rules.change + 1,
        };
        drop(rules);
        self.policy_refused.store(false, Ordering::Relaxed);
        self.signal.raise();
    }

    /// Notes that what there is now is no policy; the last one stays.
    pub fn refuse_policy(&self) {
        self.policy_refused.store(true, Ordering::Relaxed);
    }

    /// Whether what there is now is no policy.
    pub fn is_policy_refused(&self) -> bool {
        self.policy_refused.load(Ordering::Relaxed)
    }

    fn rules(&self) -> Rules {
        let held = self.rules.read();
        held.unwrap_or_else(PoisonError::into_inner).clone()
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

    /// The list of now and the deltas that lead to it.
    ///
    /// # Errors
    /// When nothing was published yet and the database fails.
    pub async fn lists(&self) -> Result<&Lists, Error> {
        self.current_soon().await?;
        Ok(&self.lists)
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

    /// Reads what changed and publishes it. `force` publishes even what another caller has just
    /// published.
    async fn publish(&self, force: bool) -> Result<Arc<Documents>, Error> {
        let mut read = Arc::clone(&self.read).lock_owned().await;
        if let (false, Some(documents)) = (force, self.fresh()) {
            return Ok(documents);
        }
        // Before reading: what is signalled from here on is published once more.
        let signals = self.signal.count();
        self.keyring.refresh().await?;
        read = self.catch_up(read).await?;
        let ring = self.keyring.ring();
        let now = self.clock.now();
        // A write transaction waits its turn behind the change that was signalled, and gives the
        // list a number that orders it after every list that knew less.
        let mut tx = self.db.write().await?;
        let change = store::lock(&mut tx).await?;
        let rows = store::since(&mut tx, *read, i64::MAX).await?;
        let sequence = store::next_sequence(&mut tx, now.micros().div_euclid(1_000)).await?;
        let control_key = self.current_control_key(&mut tx).await?;
        tx.commit().await?;

        let sequence = u64::try_from(sequence).map_err(|_| Error::internal("sequence"))?;
        let signing = Signing {
            control_key,
            sequence,
            issued_at: UnixTime(now.unix_seconds()),
        };
        let (lists, held) = (Arc::clone(&self.lists), Arc::clone(&self.documents));
        let rules = self.rules();
        // On a thread of its own: after a mass revocation it takes a while. Whoever gives up waiting
        // for it leaves it to finish: a publication is whole, and one comes after the other.
        tokio::task::spawn_blocking(move || {
            let is_whole = lists.publish(&rows, now, &signing);
            // What is not whole begins anew, from the first row.
            *read = if is_whole { change } else { 0 };
            if !is_whole {
                *held.write().unwrap_or_else(PoisonError::into_inner) = None;
                return Err(Error::internal("the list differs from what it was made of"));
            }
            let sign = |document_type, body: &[u8]| {
                Published::new(lists.sign(&signing, document_type, body))
            };
            let before = held.read().unwrap_or_else(PoisonError::into_inner).clone();
            let before = before.filter(|documents| documents.policy_change == rules.change);
            let policy_sequence = match (&rules.text, before) {
                (_, Some(documents)) => documents.policy_sequence,
                (Some(_), None) => sequence,
                (None, None) => 0,
            };
            let policy = rules.text.as_deref();
            let documents = Arc::new(Documents {
                jwk_set: sign(DocumentType::JwkSet, ring.document().bytes()),
                policy: policy.map(|text| sign(DocumentType::Policy, text.as_bytes())),
                policy_sequence,
                sequence,
                entries: lists.len(),
                signed_at: now,
                signals,
                keyring: ring.change(),
                change,
                policy_change: rules.change,
            });
            *held.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&documents));
            if policy_sequence == sequence {
                tracing::info!(sequence, "the policy is published");
            }
            Ok(documents)
        })
        .await
        .map_err(|_| Error::internal("the list could not be made"))?
    }

    /// Takes all but the last rows that were not read yet, a page at a time and beside whoever
    /// writes.
    async fn catch_up(
        &self,
        mut read: OwnedMutexGuard<i64>,
    ) -> Result<OwnedMutexGuard<i64>, Error> {
        loop {
            let mut reader = self.db.read().await?;
            let rows = store::since(&mut reader, *read, PAGE).await?;
            drop(reader);
            let Some(last) = rows
                .last()
                .filter(|_| i64::try_from(rows.len()) == Ok(PAGE))
            else {
                return Ok(read);
            };
            let last = last.change;
            let lists = Arc::clone(&self.lists);
            read = tokio::task::spawn_blocking(move || {
                lists.take(&rows);
                *read = last;
                read
            })
            .await
            .map_err(|_| Error::internal("the list could not be made"))?;
        }
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
