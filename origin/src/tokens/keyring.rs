//! The keys that sign access tokens, and the rules of their life.
//!
//! `pending → active → retiring → retired`, and `revoked` from any of them. One key is active, and
//! there is always a standby: a pending key that is published but signs nothing until every
//! verifier must have seen it (JWK Set max-age plus propagation). Activation before that is
//! refused. A retiring key stays published until its last token has expired everywhere.
//!
//! Two exceptions, each with its reason. The first key of an issuer signs at once: nobody can
//! hold an older JWK Set of an issuer that did not exist. Revoking the active key promotes the
//! standby at once: a verifier that has not seen it asks again because the `kid` is unknown to it,
//! and a short wait is better than a stolen key.
//!
//! The database has the truth. A change is one transaction that first raises the counter
//! `keyring`, whose row's lock makes several origins take turns, and then consists of conditional
//! statements; who comes second changes nothing. Every process keeps a snapshot and looks at the
//! counter a few times a second.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use edgekeep_shared::jwk::{Jwk, JwkSet, MAX_KEYS, VerifyingKey};
use edgekeep_shared::verifier::MAX_LEEWAY;
use sqlx::AnyConnection;

use super::published::Published;
pub use super::ring::{Key, KeyState, Ring, RotateError, rfc3339};
use super::signing::SigningKey;
use super::store::{self, KeyRow};
use crate::app::State;
use crate::clock::{Clock, Timestamp};
use crate::config::{Algorithm, Config};
use crate::db::Db;
use crate::error::Error;
use crate::events::{self, Actor, Change, Event, Kind, Outcome};
use crate::random::Random;
use crate::revocation::{self, Revoked, Signal};
use crate::vault::{Purpose, Vault};

/// What is added to a token's life and the largest leeway before its key may leave the JWK Set:
/// another origin signs with its snapshot for up to a second after the rotation.
const RETIRE_MARGIN: Duration = Duration::from_mins(1);

/// Names under which a server records what its verifiers were told, for commands and servers that
/// run with other settings.
const RECORDED: [&str; 3] = [
    "token_seconds",
    "jwks_max_age_seconds",
    "propagation_seconds",
];

/// The same three, as the configuration has them.
fn configured(config: &Config) -> [i64; 3] {
    [
        config.tokens.access_token_seconds,
        config.keys.jwks_max_age_seconds,
        config.keys.propagation_seconds,
    ]
    .map(|seconds| i64::try_from(seconds).unwrap_or(i64::MAX))
}

/// What the configuration says about keys, or what the last server was told where that is more:
/// its tokens and its JWK Set are still out there.
#[derive(Clone, Copy, Debug)]
struct Rules {
    algorithm: Algorithm,
    rsa_bits: u64,
    /// JWK Set max-age plus propagation.
    activation_delay: Duration,
    token_seconds: i64,
    rotation: Option<Duration>,
}

/// The keyring of this process.
#[derive(Debug)]
pub struct Keyring {
    db: Db,
    vault: Vault,
    clock: Clock,
    random: Random,
    signal: Arc<Signal>,
    rules: Rules,
    ring: RwLock<Arc<Ring>>,
}

impl Keyring {
    /// Opens the keyring; on the first start makes the first key and its standby.
    ///
    /// # Errors
    /// When the database fails, or a key does not open under the master key.
    pub async fn open(
        config: &Config,
        db: &Db,
        vault: &Vault,
        clock: &Clock,
        random: &Random,
        signal: &Arc<Signal>,
    ) -> Result<Self, Error> {
        let mut seconds = configured(config);
        let mut reader = db.read().await?;
        for (seconds, name) in seconds.iter_mut().zip(RECORDED) {
            let recorded = store::recorded(&mut reader, name).await?;
            *seconds = recorded.unwrap_or(0).max(*seconds);
        }
        drop(reader);
        let [token_seconds, max_age, propagation] = seconds;
        let activation_delay = max_age.saturating_add(propagation);
        let rules = Rules {
            algorithm: config.tokens.algorithm,
            rsa_bits: config.tokens.rsa_bits,
            activation_delay: Duration::from_secs(u64::try_from(activation_delay).unwrap_or(0)),
            token_seconds,
            rotation: Some(config.keys.rotation_seconds)
                .filter(|&seconds| seconds > 0)
                .map(Duration::from_secs),
        };
        let empty = Ring {
            change: -1,
            keys: Vec::new(),
            active: None,
            set: JwkSet::default(),
            document: Published::new(Vec::new()),
        };
        let keyring = Self {
            db: db.clone(),
            vault: vault.clone(),
            clock: clock.clone(),
            random: random.clone(),
            signal: Arc::clone(signal),
            rules,
            ring: RwLock::new(Arc::new(empty)),
        };
        keyring.complete().await?;
        Ok(keyring)
    }

    /// Records what verifiers are told from now on: whoever serves says so.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn record(&self, config: &Config) -> Result<(), Error> {
        let mut tx = self.db.write().await?;
        for (seconds, name) in configured(config).into_iter().zip(RECORDED) {
            store::record(&mut tx, name, seconds).await?;
        }
        Ok(tx.commit().await?)
    }

    /// The present snapshot.
    pub fn ring(&self) -> Arc<Ring> {
        Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes what should be there and is not: the first key, a standby.
    ///
    /// # Errors
    /// When the database fails; [`maintain`](Self::maintain) tries again.
    pub async fn complete(&self) -> Result<(), Error> {
        let mut reader = self.db.read().await?;
        let rows = store::keys(&mut reader).await?;
        drop(reader);
        let missing = [KeyState::Active, KeyState::Pending]
            .iter()
            .filter(|state| !has(&rows, **state))
            .count();
        let mut drawn = self.draw(missing).await?;
        let mut tx = self.db.write().await?;
        // First, so that of several origins that find the same missing one makes it.
        store::raise(&mut tx, "keyring").await?;
        let rows = store::keys(&mut tx).await?;
        let lengthened = store::lengthen(&mut tx, self.rules.token_seconds).await? > 0;
        let is_complete = has(&rows, KeyState::Active) && has(&rows, KeyState::Pending);
        if is_complete && !lengthened {
            tx.rollback().await?;
            return self.refresh().await.map(drop);
        }
        let now = self.clock.now();
        if !has(&rows, KeyState::Active) {
            let kid = match rows
                .iter()
                .find(|row| row.state == KeyState::Pending.name())
            {
                Some(row) => row.kid.clone(),
                None => self.add_pending(&mut tx, &mut drawn, now).await?,
            };
            self.promote(&mut tx, &kid, now).await?;
            self.add_pending(&mut tx, &mut drawn, now).await?;
            tracing::info!(kid, "first signing key is active");
        } else if !has(&rows, KeyState::Pending) {
            self.add_pending(&mut tx, &mut drawn, now).await?;
        }
        tx.commit().await?;
        self.refresh().await.map(drop)
    }

    /// Reads the keyring again if its counter moved; whether it did.
    ///
    /// # Errors
    /// When the database fails, or a key does not open; the snapshot stays as it was.
    pub async fn refresh(&self) -> Result<bool, Error> {
        let mut reader = self.db.read().await?;
        if store::counter(&mut reader, "keyring").await? <= self.ring().change {
            return Ok(false);
        }
        drop(reader);
        // Counter and keys from one transaction: a snapshot must not say it is newer than it is.
        let mut tx = self.db.write().await?;
        let change = store::counter(&mut tx, "keyring").await?;
        let rows = store::keys(&mut tx).await?;
        tx.rollback().await?;
        let ring = Arc::new(self.assemble(change, &rows)?);
        let mut held = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        if held.change < ring.change {
            *held = ring;
        }
        Ok(true)
    }

    fn assemble(&self, change: i64, rows: &[KeyRow]) -> Result<Ring, Error> {
        let mut keys = Vec::with_capacity(rows.len());
        let mut published = Vec::new();
        let mut active = None;
        for row in rows {
            let state = KeyState::from_name(&row.state)
                .ok_or_else(|| Error::internal(format!("state of signing key {}", row.kid)))?;
            let jwk = Jwk::parse(row.public_jwk.as_bytes()).map_err(|error| {
                Error::internal(format!("public half of signing key {}: {error}", row.kid))
            })?;
            if state == KeyState::Active {
                active = Some((row.kid.clone(), self.open_key(row, jwk.key())?));
            }
            keys.push(Key {
                kid: row.kid.clone(),
                algorithm: jwk.key().algorithm().name(),
                state,
                created_at: row.created_at,
                // A max-age that was raised since applies to the key that waits, too.
                activate_not_before: row
                    .activate_not_before
                    .max(row.published_at + self.rules.activation_delay),
                activated_at: row.activated_at,
                retire_after: row.retire_after,
                token_seconds: row.token_seconds,
            });
            if state.is_published() {
                published.push((state, jwk));
            }
        }
        // The active key first: verifiers that look for it find it at once.
        published.sort_by_key(|(state, _)| *state != KeyState::Active);
        let set = JwkSet::new(published.into_iter().map(|(_, jwk)| jwk).collect())
            .map_err(|error| Error::internal(format!("JWK Set: {error}")))?;
        let document = Published::new(set.to_json());
        Ok(Ring {
            change,
            keys,
            active,
            set,
            document,
        })
    }

    fn open_key(&self, row: &KeyRow, public: &VerifyingKey) -> Result<SigningKey, Error> {
        let wrong = |what: &str| Error::internal(format!("signing key {}: {what}", row.kid));
        let algorithm = match row.algorithm.as_str() {
            "ES256" => Algorithm::ES256,
            "EdDSA" => Algorithm::EdDSA,
            "RS256" => Algorithm::RS256,
            _ => return Err(wrong("algorithm")),
        };
        let sealed = row
            .private_key
            .as_deref()
            .ok_or_else(|| wrong("no private half"))?;
        let bytes = self
            .vault
            .open(Purpose::SigningKey, row.kid.as_bytes(), sealed)?;
        let key = SigningKey::from_bytes(algorithm, &bytes).ok_or_else(|| wrong("not a key"))?;
        // A public half that someone changed in the database would publish another's key.
        if key.verifying_key() != *public || public.thumbprint() != row.kid {
            return Err(wrong("its halves do not belong together"));
        }
        Ok(key)
    }

    /// New keys, made on a thread that may take its time, before the transaction that is to hold
    /// them: one of RSA takes as long as a thousand logins' statements.
    async fn draw(&self, count: usize) -> Result<Vec<SigningKey>, Error> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let Rules {
            algorithm,
            rsa_bits,
            ..
        } = self.rules;
        let random = self.random.clone();
        let draw = move || {
            (0..count)
                .map(|_| SigningKey::generate(algorithm, rsa_bits, &random))
                .collect()
        };
        tokio::task::spawn_blocking(draw)
            .await
            .map_err(|_| Error::internal("making a key was cut short"))?
    }

    /// Adds a key of those that were drawn; another, should another process have changed what there
    /// was to be done.
    async fn add_pending(
        &self,
        connection: &mut AnyConnection,
        drawn: &mut Vec<SigningKey>,
        now: Timestamp,
    ) -> Result<String, Error> {
        if drawn.is_empty() {
            *drawn = self.draw(1).await?;
        }
        let key = drawn
            .pop()
            .ok_or_else(|| Error::internal("no key was made"))?;
        let public = key.verifying_key();
        let kid = public.thumbprint();
        let sealed = self.vault.seal(
            Purpose::SigningKey,
            kid.as_bytes(),
            key.to_bytes()?.as_slice(),
        )?;
        let row = KeyRow {
            algorithm: public.algorithm().name().to_owned(),
            state: KeyState::Pending.name().to_owned(),
            public_jwk: public.to_jwk(&kid),
            private_key: Some(sealed),
            created_at: now,
            published_at: now,
            activate_not_before: now + self.rules.activation_delay,
            activated_at: None,
            retire_after: None,
            token_seconds: self.rules.token_seconds,
            kid,
        };
        store::insert(connection, &row).await?;
        Ok(row.kid)
    }

    /// Activates a pending key whatever its age.
    async fn promote(
        &self,
        connection: &mut AnyConnection,
        kid: &str,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let any_age = Timestamp::from_micros(i64::MAX);
        store::activate(connection, kid, now, any_age, self.rules.token_seconds).await
    }

    /// Lets the standby sign, the active key retire, and publishes the next standby.
    ///
    /// # Errors
    /// [`RotateError::TooEarly`] with the earliest time, and the others; nothing was changed.
    pub async fn rotate(&self, actor: Actor) -> Result<(), RotateError> {
        self.refresh().await?;
        self.rotate_ring(&self.ring(), self.clock.now(), actor)
            .await
    }

    /// Rotates from `ring`, if the active key is still that one and was active by `activated_by`.
    async fn rotate_ring(
        &self,
        ring: &Ring,
        activated_by: Timestamp,
        actor: Actor,
    ) -> Result<(), RotateError> {
        let now = self.clock.now();
        let (Some(active), Some(standby)) =
            (ring.find(KeyState::Active), ring.find(KeyState::Pending))
        else {
            return Err(RotateError::Overtaken);
        };
        let earliest = standby.activate_not_before;
        if now < earliest {
            let micros = earliest.since(now).as_micros();
            return Err(RotateError::TooEarly {
                kid: standby.kid.clone(),
                earliest,
                wait: u64::try_from(micros.div_ceil(1_000_000)).unwrap_or(u64::MAX),
            });
        }
        if ring.set.keys().len() >= MAX_KEYS {
            return Err(RotateError::TooManyKeys);
        }
        let mut drawn = self.draw(1).await?;
        // Making it may have taken a while, in which another process may have rotated.
        let now = self.clock.now();
        let mut tx = self.db.write().await?;
        store::raise(&mut tx, "keyring").await?;
        let life = u64::try_from(active.token_seconds).unwrap_or(0) + u64::from(MAX_LEEWAY);
        let retire_after = now + Duration::from_secs(life) + RETIRE_MARGIN;
        let rotated = store::begin_retiring(&mut tx, &active.kid, activated_by, now, retire_after)
            .await?
            && store::activate(&mut tx, &standby.kid, now, now, self.rules.token_seconds).await?;
        if !rotated {
            tx.rollback().await?;
            self.refresh().await?;
            return Err(RotateError::Overtaken);
        }
        let next = self.add_pending(&mut tx, &mut drawn, now).await?;
        self.note(&mut tx, actor, "rotated", &active.kid, &standby.kid)
            .await?;
        tx.commit().await?;
        tracing::info!(
            active = standby.kid,
            retiring = active.kid,
            standby = next,
            "rotated"
        );
        self.changed().await?;
        Ok(())
    }

    /// Revokes a key and tells the gates. Of the active key: the standby signs from now on.
    /// Repeating it changes nothing.
    ///
    /// Nothing that may take long or fail stands before that: the next standby is made afterwards, one of
    /// RSA, which takes seconds, by [`maintain`](Self::maintain) or by whoever calls
    /// [`complete`](Self::complete). Only where no standby waits to take the active key's place is one
    /// made first.
    ///
    /// # Errors
    /// [`RotateError::Unknown`], or the database fails.
    pub async fn revoke(&self, kid: &str, actor: Actor) -> Result<(), RotateError> {
        let mut reader = self.db.read().await?;
        let rows = store::keys(&mut reader).await?;
        drop(reader);
        let is_active = |row: &KeyRow| row.kid == kid && row.state == KeyState::Active.name();
        let is_last = |rows: &[KeyRow]| rows.iter().any(is_active) && !has(rows, KeyState::Pending);
        let mut drawn = self.draw(usize::from(is_last(&rows))).await?;
        let (mut tx, rows, now) = loop {
            let mut tx = self.db.write().await?;
            store::raise(&mut tx, "keyring").await?;
            let rows = store::keys(&mut tx).await?;
            if !is_last(&rows) || !drawn.is_empty() {
                break (tx, rows, self.clock.now());
            }
            // Another process has taken the standby meanwhile; nobody is to wait for its successor.
            tx.rollback().await?;
            drawn = self.draw(1).await?;
        };
        let Some(row) = rows.iter().find(|row| row.kid == kid) else {
            tx.rollback().await?;
            return Err(RotateError::Unknown(kid.to_owned()));
        };
        if store::revoke(&mut tx, kid, now).await? {
            let state = KeyState::from_name(&row.state);
            if state == Some(KeyState::Active) {
                let standby = match rows
                    .iter()
                    .find(|row| row.state == KeyState::Pending.name())
                {
                    Some(row) => row.kid.clone(),
                    None => self.add_pending(&mut tx, &mut drawn, now).await?,
                };
                self.promote(&mut tx, &standby, now).await?;
            }
            let entry = Revoked::Key(kid);
            revocation::record(&self.signal, &mut tx, entry, None, now, "operator").await?;
            self.note(&mut tx, actor, "revoked", kid, "").await?;
        }
        tx.commit().await?;
        tracing::warn!(kid, "signing key revoked");
        self.changed().await?;
        if self.rules.algorithm == Algorithm::RS256 {
            return Ok(());
        }
        // It is revoked, whatever becomes of this.
        match self.complete().await {
            Ok(()) => self.signal.raise(),
            Err(error) => tracing::warn!(%error, "no standby key could be made yet"),
        }
        Ok(())
    }

    /// Revokes every key that is published and makes a new one, which signs at once; how many were
    /// revoked. For when nothing that was signed can be trusted to be good still.
    ///
    /// # Errors
    /// When the database fails; nothing was changed.
    pub async fn replace_all(&self) -> Result<usize, Error> {
        let mut drawn = self.draw(2).await?;
        let now = self.clock.now();
        let mut tx = self.db.write().await?;
        store::raise(&mut tx, "keyring").await?;
        let mut revoked = 0;
        for row in store::keys(&mut tx).await? {
            let published = KeyState::from_name(&row.state).is_some_and(KeyState::is_published);
            if published && store::revoke(&mut tx, &row.kid, now).await? {
                let entry = Revoked::Key(&row.kid);
                revocation::record(&self.signal, &mut tx, entry, None, now, "restored").await?;
                revoked += 1;
            }
        }
        let kid = self.add_pending(&mut tx, &mut drawn, now).await?;
        self.promote(&mut tx, &kid, now).await?;
        self.add_pending(&mut tx, &mut drawn, now).await?;
        self.note(&mut tx, Actor::Operator, "replaced", "", &kid)
            .await?;
        tx.commit().await?;
        tracing::warn!(revoked, active = kid, "every signing key replaced");
        self.changed().await?;
        Ok(revoked)
    }

    /// Writes down that a key was followed by another; empty where there is none.
    async fn note(
        &self,
        connection: &mut AnyConnection,
        actor: Actor,
        reason: &str,
        old: &str,
        new: &str,
    ) -> Result<(), Error> {
        let event = Event::new(Kind::Keys, Outcome::Success, actor)
            .because(reason)
            .changing(Change::new(old, new));
        let means = (&self.vault, &self.clock, &self.random);
        events::record_by(means, connection, &[event]).await
    }

    /// After a commit: the snapshot anew, and word to whoever publishes.
    async fn changed(&self) -> Result<(), Error> {
        self.refresh().await?;
        self.signal.raise();
        Ok(())
    }

    /// What time brings: keys whose last token expired are retired, and the schedule rotates. What is
    /// missing is made.
    ///
    /// # Errors
    /// When the database fails; the next call tries again.
    pub async fn maintain(&self) -> Result<(), Error> {
        let now = self.clock.now();
        let ring = self.ring();
        let due = |key: &Key| {
            key.state == KeyState::Retiring && key.retire_after.is_some_and(|after| after <= now)
        };
        if ring.keys.iter().any(due) {
            let mut tx = self.db.write().await?;
            store::raise(&mut tx, "keyring").await?;
            store::retire_due(&mut tx, now).await?;
            tx.commit().await?;
            self.changed().await?;
        }
        if ring.active.is_none() || ring.find(KeyState::Pending).is_none() {
            self.complete().await?;
            self.signal.raise();
        }
        let Some(interval) = self.rules.rotation else {
            return Ok(());
        };
        let last = now - interval;
        let scheduled = ring
            .find(KeyState::Active)
            .is_some_and(|key| key.activated_at.is_some_and(|at| at <= last));
        let ready = ring
            .find(KeyState::Pending)
            .is_some_and(|key| key.activate_not_before <= now);
        if scheduled && ready {
            match self.rotate_ring(&ring, last, Actor::System).await {
                Ok(()) | Err(RotateError::Overtaken) => {}
                Err(RotateError::Failed(error)) => return Err(error),
                Err(refused) => tracing::warn!(%refused, "scheduled rotation"),
            }
        }
        Ok(())
    }
}

/// Lets time act on keys, as often as other processes' changes are looked for; never returns.
///
/// Beside the telling of the gates ([`revocation::keep_current`]), which must not wait for a key of RSA
/// to be made.
pub async fn keep(state: State) {
    let poll = Duration::from_millis(state.config.revocation.poll_milliseconds);
    loop {
        tokio::time::sleep(poll).await;
        if let Err(error) = state.keyring.maintain().await {
            tracing::error!(%error, "the signing keys could not be looked after");
        }
    }
}

fn has(rows: &[KeyRow], state: KeyState) -> bool {
    rows.iter().any(|row| row.state == state.name())
}
