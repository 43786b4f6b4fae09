//! Notices: what a person must be told of their account, kept until it is delivered.
//!
//! A notice is written in the transaction of the change that it tells of ([`Mailer::keep`]) and
//! handed to the queue once that is committed ([`Mailer::deliver`]). Where the queue cannot deliver
//! it, or the process ends before, it is taken up again ([`keep_delivering`]), with growing pauses,
//! for three days. So it is delivered at least once: a provider that took it just before the process
//! was killed gets it again, under the same id.
//!
//! However long it waits for its turn, it has one place in the queue of a process, and whoever sends
//! it takes it for themselves first ([`Notices::begin`]): a slow provider is not given it again and
//! again, nor one that was delivered or whose person is gone.
//!
//! [`Mailer::keep`]: super::Mailer::keep
//! [`Mailer::deliver`]: super::Mailer::deliver

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::{AnyConnection, Row as _};

use super::mailer::MessageId;
use super::{Medium, Message, Sort};
use crate::app::State;
use crate::clock::{Clock, Timestamp};
use crate::db::Db;
use crate::error::Error;
use crate::ids::UserId;
use crate::vault::{Purpose, Vault};

/// How long a notice is its taker's, and its sender's: longer than all attempts of the queue with
/// the longest pauses that a provider may ask for, so that nobody else sends it meanwhile.
const TAKEN: Duration = Duration::from_mins(3);

/// The pause after the queue has given up for the first time, doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(30);

/// The longest pause: a mail server that comes back delivers within the hour.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

/// How long delivering is tried: what an address change can be taken back for, and a weekend.
const KEPT: Duration = Duration::from_hours(72);

/// How often it is looked for notices that are due.
const LOOK: Duration = Duration::from_secs(5);

/// Notices that are taken up at a time.
const AT_A_TIME: i64 = 64;

/// The notices in the database; cheap to clone.
#[derive(Clone)]
pub(super) struct Notices {
    db: Db,
    vault: Vault,
    clock: Clock,
}

/// What is sealed.
#[derive(Serialize, Deserialize)]
struct Details<'a> {
    channel: Medium,
    to: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<Cow<'a, str>>,
    text: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<Cow<'a, str>>,
    sort: Sort,
    /// In microseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    good_until: Option<i64>,
}

impl<'a> Details<'a> {
    fn of(message: &'a Message) -> Self {
        Self {
            channel: message.channel,
            to: message.to.as_str().into(),
            subject: message.subject.map(Cow::Borrowed),
            text: message.text.as_str().into(),
            code: message.code.as_deref().map(Cow::Borrowed),
            sort: message.sort,
            good_until: message.good_until.map(Timestamp::micros),
        }
    }
}

impl Details<'static> {
    fn message(self) -> Message {
        Message {
            channel: self.channel,
            to: self.to.into_owned(),
            subject: self.subject.map(interned),
            text: self.text.into_owned(),
            code: self.code.map(Cow::into_owned),
            sort: self.sort,
            asked_by: None,
            good_until: self.good_until.map(Timestamp::from_micros),
        }
    }
}

/// A subject as one of the constants that they are written with. There are a few dozen, and only
/// what was sealed here is read, so what this keeps for ever is bounded.
fn interned(subject: Cow<'static, str>) -> &'static str {
    static SUBJECTS: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut subjects = SUBJECTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = subjects.get(&*subject) {
        return known;
    }
    let kept: &'static str = Box::leak(subject.into_owned().into_boxed_str());
    subjects.insert(kept);
    kept
}

/// How many notices wait, and since when the oldest does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// How many.
    pub waiting: i64,
    /// When the oldest was written.
    pub oldest: Option<Timestamp>,
}

impl Notices {
    pub(super) fn new(db: &Db, vault: &Vault, clock: &Clock) -> Self {
        Self {
            db: db.clone(),
            vault: vault.clone(),
            clock: clock.clone(),
        }
    }

    /// Writes a notice down within the caller's transaction, for the caller to deliver.
    pub(super) async fn insert(
        &self,
        connection: &mut AnyConnection,
        user_id: UserId,
        id: MessageId,
        message: &Message,
    ) -> Result<(), Error> {
        let json = serde_json::to_vec(&Details::of(message))
            .map_err(|_| Error::internal("notice as JSON"))?;
        let sealed = self.vault.seal(Purpose::Notice, &id, &json)?;
        let now = self.clock.now();
        sqlx::query(
            "INSERT INTO notices (id, user_id, message, attempts, created_at, due_at)
             VALUES ($1, $2, $3, 0, $4, $5)",
        )
        .bind(id.as_slice())
        .bind(user_id)
        .bind(sealed)
        .bind(now)
        .bind(now + TAKEN)
        .execute(connection)
        .await?;
        Ok(())
    }

    /// Takes up notices that are due; the oldest first. One that still has a place in the queue here
    /// keeps it, and is looked at again later.
    async fn take(
        &self,
        has_place: impl Fn(&MessageId) -> bool,
    ) -> Result<Vec<(MessageId, Message)>, Error> {
        let now = self.clock.now();
        let mut reader = self.db.read().await?;
        let due = sqlx::query(
            "SELECT id, due_at FROM notices WHERE due_at <= $1 ORDER BY due_at LIMIT $2",
        )
        .bind(now)
        .bind(AT_A_TIME)
        .fetch_all(&mut *reader)
        .await?;
        drop(reader);
        let mut taken = Vec::with_capacity(due.len());
        for row in due {
            let (id, due_at): (Vec<u8>, Timestamp) = (row.try_get("id")?, row.try_get("due_at")?);
            let message_id = MessageId::try_from(id.as_slice()).ok();
            let waits = message_id.as_ref().is_some_and(&has_place);
            let mut tx = self.db.write().await?;
            let row = sqlx::query(
                "UPDATE notices SET due_at = $3, attempts = attempts + $4
                 WHERE id = $1 AND due_at = $2 RETURNING message, created_at",
            )
            .bind(id.as_slice())
            .bind(due_at)
            .bind(now + TAKEN)
            .bind(i64::from(!waits))
            .fetch_optional(&mut *tx)
            .await?;
            let message = match row {
                // Another process was faster.
                None => None,
                Some(row) if row.try_get::<Timestamp, _>("created_at")? + KEPT <= now => {
                    tracing::error!("a notice was not delivered within three days");
                    delete(&mut tx, &id).await?;
                    None
                }
                Some(_) if waits => None,
                Some(row) => self.open(&mut tx, &id, row.try_get("message")?).await?,
            };
            tx.commit().await?;
            if let (Some(message), Some(id)) = (message, message_id) {
                taken.push((id, message));
            }
        }
        Ok(taken)
    }

    /// The message, or nothing where it cannot be had. One whose master key is not configured here
    /// rests like one that was not delivered, and holds up no other; nobody will ever read one that
    /// is no message.
    async fn open(
        &self,
        connection: &mut AnyConnection,
        id: &[u8],
        sealed: Vec<u8>,
    ) -> Result<Option<Message>, Error> {
        let opened = match self.vault.open(Purpose::Notice, id, &sealed) {
            Ok(opened) => opened,
            Err(error) => {
                tracing::error!(%error, "a notice does not open");
                return Ok(None);
            }
        };
        match serde_json::from_slice::<Details<'static>>(&opened) {
            Ok(details) => Ok(Some(details.message())),
            Err(error) => {
                tracing::error!(%error, "a notice cannot be read");
                delete(connection, id).await?;
                Ok(None)
            }
        }
    }

    /// Takes a notice whose turn it is for oneself; whether it is there and nobody else sends it.
    /// Nobody does for the time that its attempts may take, unless they were cut off.
    pub(super) async fn begin(&self, id: MessageId) -> bool {
        let begun = async {
            let now = self.clock.now();
            let mut tx = self.db.write().await?;
            let row = sqlx::query(
                "UPDATE notices SET sending_until = $3, due_at = $3
                 WHERE id = $1 AND sending_until <= $2 RETURNING id",
            )
            .bind(id.as_slice())
            .bind(now)
            .bind(now + TAKEN)
            .fetch_optional(&mut *tx)
            .await?;
            tx.commit().await?;
            Ok::<_, Error>(row.is_some())
        };
        begun.await.unwrap_or_else(|error| {
            tracing::error!(%error, "a notice waits: it could not be taken");
            false
        })
    }

    /// Forgets a notice: it was delivered, or never will be. At worst it is delivered again.
    pub(super) async fn done(&self, id: MessageId) {
        let done = async {
            let mut tx = self.db.write().await?;
            delete(&mut tx, &id).await?;
            Ok::<_, Error>(tx.commit().await?)
        };
        if let Err(error) = done.await {
            tracing::warn!(%error, "a notice that was dealt with may be sent again");
        }
    }

    /// Gives a notice back that could not be delivered now.
    pub(super) async fn postpone(&self, id: MessageId) {
        let postponed = async {
            let mut tx = self.db.write().await?;
            let row = sqlx::query("SELECT attempts FROM notices WHERE id = $1")
                .bind(id.as_slice())
                .fetch_optional(&mut *tx)
                .await?;
            // Its person may be gone meanwhile.
            let Some(row) = row else { return Ok(()) };
            let due_at = self.clock.now() + pause(row.try_get("attempts")?);
            sqlx::query("UPDATE notices SET due_at = $2, sending_until = 0 WHERE id = $1")
                .bind(id.as_slice())
                .bind(due_at)
                .execute(&mut *tx)
                .await?;
            Ok::<_, Error>(tx.commit().await?)
        };
        if let Err(error) = postponed.await {
            tracing::warn!(%error, "a notice waits longer than it should");
        }
    }

    /// How things stand.
    pub(super) async fn standing(&self) -> Result<Standing, Error> {
        let mut reader = self.db.read().await?;
        let row = sqlx::query("SELECT COUNT(*) AS waiting, MIN(created_at) AS oldest FROM notices")
            .fetch_one(&mut *reader)
            .await?;
        Ok(Standing {
            waiting: row.try_get("waiting")?,
            oldest: row.try_get("oldest")?,
        })
    }
}

/// How long a notice rests that was taken up again so many times.
fn pause(attempts: i64) -> Duration {
    let doublings = u32::try_from(attempts.clamp(0, 16)).unwrap_or(16);
    (FIRST_PAUSE * 2_u32.pow(doublings)).min(LONGEST_PAUSE)
}

async fn delete(connection: &mut AnyConnection, id: &[u8]) -> Result<(), Error> {
    sqlx::query("DELETE FROM notices WHERE id = $1")
        .bind(id)
        .execute(connection)
        .await?;
    Ok(())
}

/// Forgets every notice: those of a copy of the database were delivered since it was made.
///
/// # Errors
/// When the database fails.
pub(crate) async fn forget_all(connection: &mut AnyConnection) -> Result<(), Error> {
    sqlx::query("DELETE FROM notices")
        .execute(connection)
        .await?;
    Ok(())
}

/// Hands what is due to the queue; how many there were.
///
/// # Errors
/// When the database or the vault fails.
pub async fn send_due(state: &State) -> Result<usize, Error> {
    let Some(notices) = state.mailer.notices() else {
        return Ok(0);
    };
    let taken = notices.take(|id| state.mailer.has_place(id)).await?;
    let count = taken.len();
    for (id, message) in taken {
        state.mailer.deliver_one(id, message);
    }
    Ok(count)
}

/// Takes up what is due, for as long as the process runs.
pub async fn keep_delivering(state: State) {
    loop {
        tokio::time::sleep(LOOK).await;
        if let Err(error) = send_due(&state).await {
            tracing::error!(%error, "notices that are due were not taken up");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_an_hour() {
        for (attempts, seconds) in [
            (-1, 30),
            (0, 30),
            (1, 60),
            (2, 120),
            (6, 1_920),
            (7, 3_600),
            (16, 3_600),
            (i64::MAX, 3_600),
        ] {
            assert_eq!(pause(attempts).as_secs(), seconds, "{attempts}");
        }
    }
}
