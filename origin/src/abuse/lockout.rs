//! Consecutive wrong passwords lock an account for a while.
//!
//! Two counters, one for the identifier that was typed and one for the account behind it. The
//! identifier's is what callers are told about; it counts the same whether or not there is an
//! account. The account's bounds the guesses over all its identifiers, and shows as a wrong
//! password only: otherwise locking one identifier would tell which others are the same person's.
//!
//! A failure is counted by one statement, committed before the answer. That alone would let a
//! hundred guesses that arrive together all be compared before the first is counted; the [`Gate`]
//! lets only as many be compared at a time as are left.

use std::sync::Arc;
use std::time::Duration;

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Subject;
use crate::app::State;
use crate::clock::Timestamp;
use crate::error::Error;

/// Accounts are spread over this many gates; two that share one only wait for each other.
const GATES: usize = 1_024;

/// Counters of identifiers that nobody tried for this long are forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_hours(30 * 24);

/// How things stand with one subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Consecutive failures, zero once a lock is over.
    pub failures: u32,
    /// What is left of the lock.
    pub locked_for: Option<Duration>,
}

/// Bounds the passwords of one account that are compared at a time.
#[derive(Debug)]
pub struct Gate {
    gates: Vec<Arc<Semaphore>>,
    max_failures: u32,
}

impl Gate {
    /// Gates for accounts that lock after `max_failures`.
    pub fn new(max_failures: u32) -> Self {
        let permits = max_failures as usize;
        Self {
            gates: (0..GATES)
                .map(|_| Arc::new(Semaphore::new(permits)))
                .collect(),
            max_failures,
        }
    }

    /// Enters for one comparison; leave by dropping the permit, after a failure is committed.
    ///
    /// With `k` failures an entry takes `k + 1` of the permits, of which there are as many as
    /// failures allowed: so failures and comparisons under way never exceed that number.
    ///
    /// # Errors
    /// [`Error::AccountLocked`] when the identifier is locked; when the database fails.
    pub async fn enter(
        &self,
        state: &State,
        identifier: &Subject,
        account: &Subject,
    ) -> Result<Entry, Error> {
        let index = usize::from(u16::from_be_bytes([account.0[0], account.0[1]])) % GATES;
        loop {
            let standing = both(state, identifier, account).await?;
            let wanted = (standing.worst() + 1).min(self.max_failures);
            let permit = Arc::clone(&self.gates[index])
                .acquire_many_owned(wanted)
                .await
                .map_err(|_| Error::Unavailable("stopping"))?;
            // Others may have failed while this one waited.
            let standing = both(state, identifier, account).await?;
            if let Some(wait) = standing.identifier.locked_for {
                return Err(Error::AccountLocked(wait));
            }
            // Holding every permit it is alone, whatever the count has become.
            if standing.worst() < wanted
                || wanted == self.max_failures
                || standing.account.locked_for.is_some()
            {
                return Ok(Entry {
                    account_locked: standing.account.locked_for.is_some(),
                    _permit: permit,
                });
            }
        }
    }
}

/// Leave to compare one password.
#[derive(Debug)]
pub struct Entry {
    /// Whether the account is locked though the identifier is not: the right password, too, is
    /// then answered like a wrong one.
    pub account_locked: bool,
    _permit: OwnedSemaphorePermit,
}

struct Both {
    identifier: Standing,
    account: Standing,
}

impl Both {
    fn worst(&self) -> u32 {
        self.identifier.failures.max(self.account.failures)
    }
}

async fn both(state: &State, identifier: &Subject, account: &Subject) -> Result<Both, Error> {
    let now = state.clock.now();
    let mut reader = state.db.read().await?;
    // One statement, one snapshot: a failure is counted for both or seen for neither.
    let rows = sqlx::query(
        "SELECT subject, failures, locked_until FROM lockouts WHERE subject = $1 OR subject = $2",
    )
    .bind(identifier.bytes())
    .bind(account.bytes())
    .fetch_all(&mut *reader)
    .await?;
    let mut both = Both {
        identifier: Standing::CLEAR,
        account: Standing::CLEAR,
    };
    for row in rows {
        let subject: Vec<u8> = row.try_get("subject")?;
        let standing = Standing::read(&row, now)?;
        if subject == identifier.bytes() {
            both.identifier = standing;
        }
        if subject == account.bytes() {
            both.account = standing;
        }
    }
    Ok(both)
}

impl Standing {
    const CLEAR: Self = Self {
        failures: 0,
        locked_for: None,
    };

    fn read(row: &AnyRow, now: Timestamp) -> Result<Self, Error> {
        let locked_until: Timestamp = row.try_get("locked_until")?;
        if locked_until.micros() > 0 && locked_until <= now {
            return Ok(Self::CLEAR);
        }
        let failures: i64 = row.try_get("failures")?;
        Ok(Self {
            failures: u32::try_from(failures).unwrap_or(u32::MAX),
            locked_for: (locked_until > now).then(|| locked_until.since(now)),
        })
    }
}

/// How things stand with `subject` now.
///
/// # Errors
/// When the database fails.
pub async fn standing(
    connection: &mut AnyConnection,
    subject: &Subject,
    now: Timestamp,
) -> Result<Standing, Error> {
    let row = sqlx::query("SELECT failures, locked_until FROM lockouts WHERE subject = $1")
        .bind(subject.bytes())
        .fetch_optional(connection)
        .await?;
    row.map_or(Ok(Standing::CLEAR), |row| Standing::read(&row, now))
}

/// Counts a failure of every subject, in a transaction of its own.
///
/// # Errors
/// When the database fails: the caller must then refuse, too.
pub async fn count_failure(state: &State, subjects: &[Subject]) -> Result<(), Error> {
    let now = state.clock.now();
    let limits = &state.config.lockout;
    let mut tx = state.db.write().await?;
    sqlx::query("DELETE FROM lockouts WHERE updated_at < $1")
        .bind(now - FORGOTTEN_AFTER)
        .execute(&mut *tx)
        .await?;
    for subject in subjects {
        // While a lock runs nothing is added; after it the count begins anew.
        sqlx::query(
            "INSERT INTO lockouts (subject, failures, locked_until, updated_at)
             VALUES ($1, 1, CASE WHEN $2 <= 1 THEN $3 ELSE 0 END, $4)
             ON CONFLICT (subject) DO UPDATE SET
               failures = CASE
                 WHEN lockouts.locked_until > $4 THEN lockouts.failures
                 WHEN lockouts.locked_until > 0 THEN 1
                 ELSE lockouts.failures + 1 END,
               locked_until = CASE
                 WHEN lockouts.locked_until > $4 THEN lockouts.locked_until
                 WHEN lockouts.locked_until > 0 THEN CASE WHEN $2 <= 1 THEN $3 ELSE 0 END
                 WHEN lockouts.failures + 1 >= $2 THEN $3
                 ELSE 0 END,
               updated_at = $4",
        )
        .bind(subject.bytes())
        .bind(i64::from(limits.max_failures))
        .bind(now + Duration::from_secs(limits.lock_seconds))
        .bind(now)
        .execute(&mut *tx)
        .await?;
    }
    Ok(tx.commit().await?)
}

/// Forgets the failures of every subject after a success, within the caller's transaction.
///
/// # Errors
/// When the database fails.
pub async fn clear(connection: &mut AnyConnection, subjects: &[Subject]) -> Result<(), Error> {
    for subject in subjects {
        sqlx::query("DELETE FROM lockouts WHERE subject = $1")
            .bind(subject.bytes())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
