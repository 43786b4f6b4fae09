//! Rotating the master key while the database is in use.
//!
//! 1. Another version begins to seal ([`super::binding::take_over`]). From here on every process
//!    seals under it; old values still open, and identifiers are looked up by the old index, which
//!    every new one gets beside the new.
//! 2. Every value that an older version sealed is sealed anew, a batch at a time, and every
//!    identifier gets its index under the new version. Nothing is decided by where a rotation
//!    stopped: it looks again from the beginning and passes over what is done, so it may be killed
//!    at any time, and several processes may do it at once. A value is replaced only if it still is
//!    what was read.
//! 3. When nothing is left, identifiers are looked up by the new index. A moment later, when every
//!    process does, the old index is removed.
//!
//! Then the old version may be taken away as soon as its refresh tokens have expired.

use std::time::{Duration, Instant};

use super::sealed::{IDENTIFIERS, SEALED, Sealed, Value};
use super::{Standing, binding, store};
use crate::accounts;
use crate::app::State;
use crate::error::Error;
use crate::sessions;

/// Values looked at in a batch: writers wait for one batch at most, some milliseconds.
const BATCH: i64 = 100;

/// How long the writer is left to others between two batches.
const BREATH: Duration = Duration::from_millis(10);

/// How often a process looks for what another one changed.
const LOOK: Duration = Duration::from_millis(500);

/// How long the old index stays after look-ups went to the new one: ten times as long as a process
/// takes to notice.
const SETTLING: Duration = Duration::from_secs(5);

/// How often a finished rotation is looked over while older versions are configured: a process that
/// was held up may have sealed under one of them.
const AGAIN: Duration = Duration::from_hours(1);

/// How long to wait after a failure.
const PAUSE: Duration = Duration::from_secs(10);

/// How far a rotation has come in this process.
#[derive(Debug, Default)]
pub struct Rotation {
    /// The version that everything is to be under.
    target: u8,
    stage: Stage,
    /// Values that were sealed anew since the beginning.
    pub sealed_anew: u64,
    /// The same, since the last look over everything.
    in_this_pass: u64,
}

/// What is done next.
#[derive(Debug)]
enum Stage {
    /// A column, and behind which row.
    Column(usize, Option<Vec<Value>>),
    /// Whether everything is done.
    Verdict,
    /// The old index, and behind which row.
    OldIndex(Option<(String, Vec<u8>)>),
}

impl Default for Stage {
    fn default() -> Self {
        Self::Column(0, None)
    }
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is more to do.
    Worked,
    /// Other processes are given this long to follow.
    Settling(Duration),
    /// Nothing is under an older version.
    Complete,
}

impl Rotation {
    /// Does a batch.
    ///
    /// # Errors
    /// When the database fails, or a value is left that does not open; the next step goes on.
    pub async fn step(&mut self, state: &State) -> Result<Step, Error> {
        let Standing { sealing, indexing } = state.vault.standing();
        if self.target != sealing {
            *self = Self {
                target: sealing,
                ..Self::default()
            };
        }
        match &mut self.stage {
            Stage::Column(index, after) => {
                let Some(column) = SEALED.get(*index) else {
                    self.stage = Stage::Verdict;
                    return Ok(Step::Worked);
                };
                match batch(state, column, after.as_deref(), sealing).await? {
                    Some((last, done)) => {
                        *after = Some(last);
                        self.sealed_anew += done;
                        self.in_this_pass += done;
                    }
                    None => self.stage = Stage::Column(*index + 1, None),
                }
                Ok(Step::Worked)
            }
            Stage::Verdict => self.verdict(state, sealing, indexing).await,
            Stage::OldIndex(after) => {
                let mut tx = state.db.write().await?;
                *after =
                    accounts::remove_old_indexes(&mut tx, indexing, after.as_ref(), BATCH).await?;
                let is_done = after.is_none();
                if is_done {
                    store::complete(&mut tx, sealing, state.clock.now()).await?;
                }
                tx.commit().await?;
                if is_done {
                    *self = Self {
                        sealed_anew: self.sealed_anew,
                        target: self.target,
                        ..Self::default()
                    };
                    return Ok(Step::Complete);
                }
                Ok(Step::Worked)
            }
        }
    }

    /// After every column was passed through.
    async fn verdict(&mut self, state: &State, sealing: u8, indexing: u8) -> Result<Step, Error> {
        let mut reader = state.db.read().await?;
        let mut left = Vec::new();
        for column in SEALED {
            let counts = column.counts(&mut reader).await?;
            let older = counts.iter().filter(|(version, _)| *version < sealing);
            let count: i64 = older.map(|(_, count)| *count).sum();
            if count > 0 {
                left.push(format!("{count} {}", column.name()));
            }
        }
        drop(reader);
        let done = std::mem::take(&mut self.in_this_pass);
        if !left.is_empty() {
            self.stage = Stage::default();
            if done == 0 {
                let left = left.join(", ");
                return Err(Error::internal(format!("cannot be sealed anew: {left}")));
            }
            return Ok(Step::Worked);
        }
        let now = state.clock.now();
        if indexing != sealing {
            let mut tx = state.db.write().await?;
            store::index_under(&mut tx, sealing, now).await?;
            tx.commit().await?;
            state.vault.stand(Standing {
                sealing,
                indexing: sealing,
            });
            tracing::info!(
                version = sealing,
                "identifiers are looked up by the new index"
            );
            return Ok(Step::Worked);
        }
        let mut reader = state.db.read().await?;
        let rows = store::keys(&mut reader).await?;
        let own = rows.iter().find(|row| row.version == sealing);
        let until = own.and_then(|row| row.indexed_at).unwrap_or(now) + SETTLING;
        if now < until {
            return Ok(Step::Settling(until.since(now)));
        }
        self.stage = Stage::OldIndex(None);
        Ok(Step::Worked)
    }
}

/// Seals a page of a column anew; the last row's key and how many values were done, or nothing
/// where there is no page.
async fn batch(
    state: &State,
    column: &Sealed,
    after: Option<&[Value]>,
    sealing: u8,
) -> Result<Option<(Vec<Value>, u64)>, Error> {
    let mut reader = state.db.read().await?;
    let mut page = column.page(&mut reader, after, BATCH).await?;
    drop(reader);
    let Some(last) = page.last().map(|found| found.key.clone()) else {
        return Ok(None);
    };
    page.retain(|found| found.version() < sealing);
    if page.is_empty() {
        return Ok(Some((last, 0)));
    }
    let mut done = 0;
    let mut tx = state.db.write().await?;
    for found in page {
        let replaced = if column.table == IDENTIFIERS.table {
            accounts::rebuild_index(&state.vault, &mut tx, &found.kind_and_name(), &found.value)
                .await
        } else {
            match column.anew(&state.vault, &found) {
                Ok(value) => column.replace(&mut tx, &found, value).await,
                Err(error) => Err(error.into()),
            }
        };
        match replaced {
            Ok(replaced) => done += u64::from(replaced),
            // What cannot be opened must not keep the rest; the verdict counts it.
            Err(Error::Vault(error)) => {
                tracing::error!(column = column.name(), %error, "a value does not open");
            }
            Err(error) => return Err(error),
        }
    }
    tx.commit().await?;
    Ok(Some((last, done)))
}

/// Follows what other processes change, and rotates while there is something to rotate. Returns
/// only when this process can read nothing that is new.
pub async fn keep(state: State) {
    let mut rotation = Rotation::default();
    let mut due = Instant::now();
    let mut looked: Option<Instant> = None;
    loop {
        if looked.is_none_or(|at| at.elapsed() >= LOOK) {
            looked = Some(Instant::now());
            match binding::follow(&state.db, &state.vault).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => tracing::error!(%error, "the master key's version cannot be read"),
            }
        }
        let sealing = state.vault.current_version();
        let has_older = state.vault.versions().any(|version| version < sealing);
        let pause = if !has_older || (rotation.target == sealing && Instant::now() < due) {
            LOOK
        } else {
            match rotation.step(&state).await {
                Ok(Step::Worked) => BREATH,
                Ok(Step::Settling(_)) => LOOK,
                Ok(Step::Complete) => {
                    tracing::info!(
                        version = sealing,
                        sealed_anew = rotation.sealed_anew,
                        "nothing is under an older master key"
                    );
                    rotation.sealed_anew = 0;
                    due = Instant::now() + AGAIN;
                    LOOK
                }
                Err(error) => {
                    tracing::error!(%error, "rotating the master key");
                    due = Instant::now() + PAUSE;
                    LOOK
                }
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Rotates until nothing is under an older version; `report` is told every step.
///
/// # Errors
/// As [`Rotation::step`].
pub async fn rotate(state: &State, mut report: impl FnMut(&Rotation, Step)) -> Result<(), Error> {
    let mut rotation = Rotation::default();
    loop {
        let step = rotation.step(state).await?;
        report(&rotation, step);
        match step {
            Step::Worked => {}
            Step::Settling(wait) => tokio::time::sleep(wait).await,
            Step::Complete => return Ok(()),
        }
    }
}

/// Ends every session whose refresh token an older version made, so that it may be taken away at
/// once; how many there were.
///
/// # Errors
/// When the database fails.
pub async fn end_sessions(state: &State) -> Result<u64, Error> {
    let mut reader = state.db.read().await?;
    let rows = store::keys(&mut reader).await?;
    drop(reader);
    let sealing = state.vault.current_version();
    match rows.iter().find(|row| row.version == sealing) {
        Some(row) if rows.iter().any(|other| other.version < sealing) => {
            sessions::end_refreshed_before(state, row.began_at + super::status::MARGIN).await
        }
        _ => Ok(0),
    }
}
