//! Wrong passwords: a delay that grows, then a lock.
//!
//! After the second failure in a row the next attempt must stay away for a second, after the third
//! for five, after the fourth for thirty; the fifth locks for fifteen minutes. Apart from that, an
//! account has five failures within fifteen minutes whatever comes between: somebody who guesses
//! must not get five more each time its owner logs in. (An owner's success takes back the failures
//! from the owner's own network, which were typing errors.) All of it is configuration.
//!
//! **Whom a delay is for.** An attempt that comes too soon is refused (429, with the time to wait)
//! before it is compared, and is not counted. By default that holds for those who come from another
//! network than the failure did. Guesses from many networks are thereby taken one after the other
//! once two have failed, while somebody who hammers from one place is not held up but runs into the
//! lock, at once and for much longer. Holding answers back instead would keep connections open for
//! whoever wants to fill them, and make a person wait half a minute at a blank page; refusing
//! everybody would let whoever fails once a second keep the owner out without ever locking the
//! account, and callers that try five times in a row would be told nothing of a lock. Where every
//! caller should wait, `lockout.delay_for = "everybody"`.
//!
//! **Two counters**, one for the identifier that was typed and one for the account behind it. The
//! identifier's is what callers are told about; it counts the same whether or not there is an
//! account. The account's bounds the guesses over all its identifiers, and shows as a wrong
//! password only: otherwise locking one identifier would tell which others are the same person's.
//! Devices on which somebody logged in before are counted apart ([`devices`](super::devices)).
//!
//! A failure is counted by one transaction, committed before the answer. That alone would let a
//! hundred guesses that arrive together all be compared before the first is counted; the [`Gate`]
//! lets only as many be compared at a time as are left.

use std::sync::Arc;
use std::time::Duration;

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::attempts::{self, Kind};
use super::{Network, Subject};
use crate::app::State;
use crate::clock::Timestamp;
use crate::config::{DelayFor, LOGIN_WINDOW};
use crate::error::Error;
use crate::request::Caller;

/// Accounts are spread over this many gates; two that share one only wait for each other.
const GATES: usize = 1_024;

/// Counters of identifiers that nobody tried for this long are forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_hours(30 * 24);

/// How things stand with one subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Consecutive failures, zero once a lock is over.
    pub failures: u32,
    /// Failures with less than [`LOGIN_WINDOW`] between them, for whoever asks: only time takes them
    /// back. What fell at a success would tell that somebody has the identifier, and logs in now.
    pub told: u32,
    /// When the lock ends, if it runs.
    pub locked_until: Option<Timestamp>,
    /// What is left of the lock.
    pub locked_for: Option<Duration>,
    /// Whether a lock ran out that nobody has noted yet ([`note_end`]).
    pub ran_out: bool,
    /// When the last failure was; not forgotten by a success.
    pub failed_at: Option<Timestamp>,
    /// What is left of the delay, and the network that it is not for.
    delayed: Option<(Duration, Vec<u8>)>,
    /// Failures within [`LOGIN_WINDOW`], and how long until one of them is forgotten.
    recent: u32,
    recent_for: Duration,
    /// Whether the counters hold anything that a success forgets.
    is_marked: bool,
}

/// What bounds the guesses of one account. The subjects of an attempt, and where it comes from.
#[derive(Clone, Copy)]
pub struct Guesser {
    /// What was typed.
    pub identifier: Subject,
    /// Whose it is, or what stands in for nobody.
    pub account: Subject,
    /// The network that the attempt comes from; the same for all where addresses do not count.
    pub source: Subject,
}

impl Guesser {
    /// Whoever `caller` is.
    ///
    /// # Errors
    /// When the vault has no key.
    pub fn new(
        state: &State,
        caller: &Caller,
        identifier: Subject,
        account: Subject,
    ) -> Result<Self, Error> {
        Ok(Self {
            identifier,
            account,
            source: Subject::source(&state.vault, Network::counted(state, caller))?,
        })
    }
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
    /// [`Error::AccountLocked`] when the identifier is locked, [`Error::RateLimited`] when it must
    /// wait; when the database fails.
    pub async fn enter(&self, state: &State, guesser: &Guesser) -> Result<Entry, Error> {
        let first = guesser.account.0;
        let index = usize::from(u16::from_be_bytes([first[0], first[1]])) % GATES;
        // Most have no failures: how many there are is looked at with the permit in hand.
        let mut wanted = 1;
        loop {
            let permit = Arc::clone(&self.gates[index])
                .acquire_many_owned(wanted)
                .await
                .map_err(|_| Error::Unavailable("stopping"))?;
            let both = both(state, guesser).await?;
            both.identifier.refuse(state, guesser)?;
            let account_locked = both.account.locked_for.is_some() || both.account.is_full(state);
            // Holding every permit it is alone, whatever the count has become.
            if both.spent(state) < wanted || wanted == self.max_failures || account_locked {
                return Ok(Entry {
                    account_locked,
                    lock_ran_out: both.account.ran_out,
                    has_failures: both.identifier.is_marked || both.account.is_marked,
                    _permit: permit,
                });
            }
            // Let go of before more is asked for: nobody waits holding what others wait for.
            drop(permit);
            wanted = both.spent(state).saturating_add(1).min(self.max_failures);
        }
    }
}

/// Leave to compare one password.
#[derive(Debug)]
pub struct Entry {
    /// Whether the account is locked though the identifier is not: the right password, too, is
    /// then answered like a wrong one.
    pub account_locked: bool,
    /// Whether the account was locked until a while ago, and nobody has noted the end.
    pub lock_ran_out: bool,
    /// Whether there was anything for a success to [`clear`]. What is counted after that, by
    /// whoever failed beside this attempt, counts as having come after it.
    pub has_failures: bool,
    _permit: OwnedSemaphorePermit,
}

struct Both {
    identifier: Standing,
    account: Standing,
}

impl Both {
    /// Of the failures that lock an account, those that may not be made any more.
    fn spent(&self, state: &State) -> u32 {
        self.identifier.spent(state).max(self.account.spent(state))
    }
}

/// The columns of [`Standing::read`]; `$1` is the beginning of the window.
macro_rules! standing {
    ($condition:literal) => {
        concat!(
            "SELECT subject, failures, told, locked_until, updated_at, delayed_until, source,
                    (SELECT COUNT(*) FROM attempts
                     WHERE kind = 'login' AND attempts.subject = lockouts.subject
                       AND made_at > $1) AS recent,
                    (SELECT MIN(made_at) FROM attempts
                     WHERE kind = 'login' AND attempts.subject = lockouts.subject
                       AND made_at > $1) AS oldest
             FROM lockouts WHERE ",
            $condition
        )
    };
}

async fn both(state: &State, guesser: &Guesser) -> Result<Both, Error> {
    let now = state.clock.now();
    let mut reader = state.db.read().await?;
    // One statement, one snapshot: a failure is counted for both or seen for neither.
    let rows = sqlx::query(standing!("subject = $2 OR subject = $3"))
        .bind(now - LOGIN_WINDOW)
        .bind(guesser.identifier.bytes())
        .bind(guesser.account.bytes())
        .fetch_all(&mut *reader)
        .await?;
    let mut both = Both {
        identifier: Standing::clear(),
        account: Standing::clear(),
    };
    for row in rows {
        let subject: Vec<u8> = row.try_get("subject")?;
        let standing = Standing::read(&row, now)?;
        if subject == guesser.account.bytes() {
            both.account = standing.clone();
        }
        if subject == guesser.identifier.bytes() {
            both.identifier = standing;
        }
    }
    Ok(both)
}

impl Standing {
    const fn clear() -> Self {
        Self {
            failures: 0,
            told: 0,
            locked_until: None,
            locked_for: None,
            ran_out: false,
            failed_at: None,
            delayed: None,
            recent: 0,
            recent_for: Duration::ZERO,
            is_marked: false,
        }
    }

    fn read(row: &AnyRow, now: Timestamp) -> Result<Self, Error> {
        let locked_until: Timestamp = row.try_get("locked_until")?;
        let delayed_until: Timestamp = row.try_get("delayed_until")?;
        let source: Option<Vec<u8>> = row.try_get("source")?;
        let oldest: Option<Timestamp> = row.try_get("oldest")?;
        let number = |column| -> Result<u32, Error> {
            let number: i64 = row.try_get(column)?;
            Ok(u32::try_from(number).unwrap_or(u32::MAX))
        };
        let was_locked = locked_until.micros() > 0 && locked_until <= now;
        let (failures, recent) = (number("failures")?, number("recent")?);
        let failed_at: Timestamp = row.try_get("updated_at")?;
        let is_told = locked_until > now || (!was_locked && failed_at + LOGIN_WINDOW > now);
        Ok(Self {
            failures: if was_locked { 0 } else { failures },
            told: if is_told { number("told")? } else { 0 },
            locked_until: (locked_until > now).then_some(locked_until),
            locked_for: (locked_until > now).then(|| locked_until.since(now)),
            ran_out: was_locked,
            failed_at: Some(failed_at),
            delayed: source
                .filter(|_| delayed_until > now)
                .map(|source| (delayed_until.since(now), source)),
            recent,
            is_marked: failures > 0
                || recent > 0
                || locked_until.micros() > 0
                || delayed_until.micros() > 0,
            recent_for: oldest.map_or(Duration::ZERO, |at| (at + LOGIN_WINDOW).since(now)),
        })
    }

    /// Whether the window has as many failures as it may.
    fn is_full(&self, state: &State) -> bool {
        self.recent >= state.config.limits.login_failures_per_account
    }

    /// Of the failures that lock an account, those that may not be made any more.
    fn spent(&self, state: &State) -> u32 {
        let most = state.config.lockout.max_failures;
        let window = state.config.limits.login_failures_per_account;
        let left_in_window = window.saturating_sub(self.recent);
        self.failures.max(most.saturating_sub(left_in_window))
    }

    /// Refuses an attempt on an identifier that is locked or must wait.
    fn refuse(&self, state: &State, guesser: &Guesser) -> Result<(), Error> {
        if let Some(wait) = self.locked_for {
            return Err(Error::AccountLocked(wait));
        }
        if self.is_full(state) {
            return Err(Error::RateLimited(self.recent_for));
        }
        if let Some((wait, source)) = &self.delayed
            && (state.config.lockout.delay_for == DelayFor::Everybody
                || source != guesser.source.bytes())
        {
            return Err(Error::RateLimited(*wait));
        }
        Ok(())
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
    let row = sqlx::query(standing!("subject = $2"))
        .bind(now - LOGIN_WINDOW)
        .bind(subject.bytes())
        .fetch_optional(connection)
        .await?;
    row.map_or_else(|| Ok(Standing::clear()), |row| Standing::read(&row, now))
}

/// Forgets counters that nobody added to for long.
pub(super) async fn forget(connection: &mut AnyConnection, now: Timestamp) -> Result<(), Error> {
    sqlx::query("DELETE FROM lockouts WHERE updated_at < $1")
        .bind(now - FORGOTTEN_AFTER)
        .execute(connection)
        .await?;
    Ok(())
}

/// Counts a failure of identifier and account, in a transaction of its own; whether it is the one
/// that locks the account, or what stands in for nobody's.
///
/// # Errors
/// When the database fails: the caller must then refuse, too.
pub async fn count_failure(state: &State, guesser: &Guesser) -> Result<bool, Error> {
    let now = state.clock.now();
    let limits = &state.config.lockout;
    let window = (state.config.limits.login_failures_per_account, LOGIN_WINDOW);
    let source = guesser.source.bytes();
    let mut tx = state.db.write().await?;
    forget(&mut tx, now).await?;
    let mut subjects = vec![guesser.identifier];
    if guesser.account != guesser.identifier {
        subjects.push(guesser.account);
    }
    let mut locked = false;
    for subject in &subjects {
        let until = now + Duration::from_secs(limits.lock_seconds);
        // While a lock runs nothing is added; after it the count begins anew.
        let row = sqlx::query(
            "INSERT INTO lockouts (subject, failures, told, locked_until, updated_at)
             VALUES ($1, 1, 1, CASE WHEN $2 <= 1 THEN $3 ELSE 0 END, $4)
             ON CONFLICT (subject) DO UPDATE SET
               failures = CASE
                 WHEN lockouts.locked_until > $4 THEN lockouts.failures
                 WHEN lockouts.locked_until > 0 THEN 1
                 ELSE lockouts.failures + 1 END,
               told = CASE
                 WHEN lockouts.locked_until > $4 THEN lockouts.told
                 WHEN lockouts.locked_until > 0 OR lockouts.updated_at <= $5 THEN 1
                 ELSE lockouts.told + 1 END,
               locked_until = CASE
                 WHEN lockouts.locked_until > $4 THEN lockouts.locked_until
                 WHEN lockouts.locked_until > 0 THEN CASE WHEN $2 <= 1 THEN $3 ELSE 0 END
                 WHEN lockouts.failures + 1 >= $2 THEN $3
                 ELSE 0 END,
               updated_at = $4
             RETURNING failures, locked_until",
        )
        .bind(subject.bytes())
        .bind(i64::from(limits.max_failures))
        .bind(until)
        .bind(now)
        .bind(now - LOGIN_WINDOW)
        .fetch_one(&mut *tx)
        .await?;
        let failures: i64 = row.try_get("failures")?;
        let delay = limits.delay(u32::try_from(failures).unwrap_or(u32::MAX));
        sqlx::query("UPDATE lockouts SET delayed_until = $2, source = $3 WHERE subject = $1")
            .bind(subject.bytes())
            .bind(now + delay)
            .bind(source)
            .execute(&mut *tx)
            .await?;
        let locked_until: Timestamp = row.try_get("locked_until")?;
        if locked_until > now {
            // Another attempt that was under way finds the lock of before.
            locked = *subject == guesser.account && locked_until == until;
            // The lock is what these failures cost, however long it is.
            attempts::forget(&mut tx, Kind::Login, [subject; 2], None).await?;
        } else {
            attempts::add(&mut tx, Kind::Login, subject, source, window, now).await?;
        }
    }
    tx.commit().await?;
    Ok(locked)
}

/// Notes that the lock of `subject` ran out: its count begins anew, as it would with the next failure.
/// Of several attempts after the end the first is told that it was one.
///
/// # Errors
/// When the database fails.
pub async fn note_end(
    connection: &mut AnyConnection,
    subject: &Subject,
    now: Timestamp,
) -> Result<bool, Error> {
    let noted = sqlx::query(
        "UPDATE lockouts SET failures = 0, locked_until = 0, delayed_until = 0
         WHERE subject = $1 AND locked_until > 0 AND locked_until <= $2",
    )
    .bind(subject.bytes())
    .bind(now)
    .execute(connection)
    .await?;
    Ok(noted.rows_affected() == 1)
}

/// Forgets the failures of two subjects, or of one named twice, after a success, within the caller's
/// transaction: those in a row, and of those within the window the ones from `source`, or all of them
/// without.
///
/// The row stays, with the time of the last failure: a row that vanished would tell whoever asks
/// for the standing that somebody logged in just now.
///
/// # Errors
/// When the database fails.
pub async fn clear(
    connection: &mut AnyConnection,
    subjects: [&Subject; 2],
    source: Option<&Subject>,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE lockouts SET failures = 0, locked_until = 0, delayed_until = 0
         WHERE subject IN ($1, $2)",
    )
    .bind(subjects[0].bytes())
    .bind(subjects[1].bytes())
    .execute(&mut *connection)
    .await?;
    attempts::forget(connection, Kind::Login, subjects, source).await
}
