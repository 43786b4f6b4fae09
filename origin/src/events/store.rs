//! SQL of the audit trail.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};
use sqlx::any::AnyRow;
use sqlx::{Any, AnyConnection, AssertSqlSafe, Decode, Row as _, Type};

use super::chain::{self, End, Link};
use super::seals;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::{SessionId, UserId};
use crate::vault::Vault;

/// An event as it is stored.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) sequence: i64,
    pub(super) link: Link,
    /// Sealed; none once erased.
    pub(super) details: Option<Vec<u8>>,
    pub(super) hash: String,
    /// SHA-256 of what stands there, where not all of it can be read: somebody put in a column what no
    /// event was ever written with. What can be read is read.
    pub(super) unreadable: Option<String>,
}

impl Row {
    /// Whether all of it can be read, and its hash is `hash`.
    pub(super) fn has_hash(&self, hash: &str) -> bool {
        self.unreadable.is_none() && self.hash == hash
    }
}

/// Both ends, and the MAC over them.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) start: End,
    pub(super) end: End,
    pub(super) mac: String,
    pub(super) mac_version: i64,
}

fn read_head(row: &AnyRow) -> Result<Head, Error> {
    Ok(Head {
        start: End {
            sequence: row.try_get("start_sequence")?,
            hash: row.try_get("start_hash")?,
        },
        end: End {
            sequence: row.try_get("sequence")?,
            hash: row.try_get("hash")?,
        },
        mac: row.try_get("mac")?,
        mac_version: row.try_get("mac_version")?,
    })
}

pub(super) async fn head(connection: &mut AnyConnection) -> Result<Head, Error> {
    let row = sqlx::query(
        "SELECT start_sequence, start_hash, sequence, hash, mac, mac_version FROM audit_head
         WHERE id = 1",
    )
    .fetch_one(connection)
    .await?;
    read_head(&row)
}

/// The head, held until the transaction ends: events are chained one after another.
pub(super) async fn lock(connection: &mut AnyConnection) -> Result<Head, Error> {
    let row = sqlx::query(
        "UPDATE audit_head SET sequence = sequence WHERE id = 1
         RETURNING start_sequence, start_hash, sequence, hash, mac, mac_version",
    )
    .fetch_one(connection)
    .await?;
    read_head(&row)
}

/// Writes both ends; signed only where those before were as they had been signed.
pub(super) async fn write_head(
    vault: &Vault,
    connection: &mut AnyConnection,
    start: &End,
    end: &End,
    signed: bool,
) -> Result<(), Error> {
    let (mac, version) = if signed {
        let version = vault.current_version();
        (chain::mac(vault, version, start, end)?, version)
    } else {
        (chain::VOID.to_owned(), 0)
    };
    sqlx::query(
        "UPDATE audit_head SET start_sequence = $1, start_hash = $2, sequence = $3, hash = $4,
             mac = $5, mac_version = $6
         WHERE id = 1",
    )
    .bind(start.sequence)
    .bind(&start.hash)
    .bind(end.sequence)
    .bind(&end.hash)
    .bind(mac)
    .bind(i64::from(version))
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether the ends are as they were signed; said in the log where they are found altered.
fn holds(vault: &Vault, head: &Head) -> Result<bool, Error> {
    let holds = chain::holds(vault, head)?;
    if !holds && head.mac != chain::VOID {
        tracing::error!(
            end = %head.end,
            "the ends of the audit trail are not as they were signed: it was written by another hand"
        );
    }
    Ok(holds)
}

/// Columns of an event.
const COLUMNS: usize = 13;

/// Events that one statement adds.
const AT_A_TIME: usize = 32;

/// The statement that adds so many events.
fn insertion(events: usize) -> String {
    let mut text = String::from(
        "INSERT INTO audit_events (sequence, id, occurred_at, kind, outcome, reason, actor, user_id,
                                   session_id, request_id, details, details_hash, hash) VALUES ",
    );
    for event in 0..events {
        for column in 1..=COLUMNS {
            let before = match (event, column) {
                (0, 1) => "(",
                (_, 1) => "), (",
                _ => ", ",
            };
            // Writing into a string cannot fail.
            let _ = write!(text, "{before}${}", event * COLUMNS + column);
        }
    }
    text.push(')');
    text
}

/// Puts events, each with what is sealed of it, at the end of the chain.
pub(super) async fn append(
    vault: &Vault,
    connection: &mut AnyConnection,
    events: Vec<(Link, Vec<u8>)>,
) -> Result<(), Error> {
    if events.is_empty() {
        return Ok(());
    }
    let head = lock(connection).await?;
    let signed = holds(vault, &head)?;
    let mut end = head.end;
    let mut events = events.into_iter().peekable();
    while events.peek().is_some() {
        let batch: Vec<_> = events.by_ref().take(AT_A_TIME).collect();
        // Its text is ours, and has nothing in it but numbers of placeholders.
        let mut statement = sqlx::query(AssertSqlSafe(insertion(batch.len())));
        for (link, details) in batch {
            let sequence = end.sequence + 1;
            let hash = chain::hash(&end.hash, sequence, &link);
            statement = statement
                .bind(sequence)
                .bind(link.id)
                .bind(link.occurred_at)
                .bind(link.kind)
                .bind(link.outcome)
                .bind(link.reason)
                .bind(link.actor)
                .bind(link.user_id)
                .bind(link.session_id)
                .bind(link.request_id)
                .bind(details)
                .bind(link.details_hash)
                .bind(hash.clone());
            end = End { sequence, hash };
        }
        statement.execute(&mut *connection).await?;
    }
    write_head(vault, connection, &head.start, &end, signed).await
}

/// What the chain covers of an event, by name; the details stand apart, since they may be erased.
macro_rules! chained {
    () => {
        "id, occurred_at, kind, outcome, reason, actor, user_id, session_id, request_id, details_hash, hash"
    };
}

/// Nothing whose number is none. SQLite keeps what it is given, whatever the column's type; such a row
/// is in no order, and the number that it should have is missing. Nor is the smallest of all a number:
/// what reads on behind a number never comes to it. The sign keeps this from being what is looked up in
/// the index.
macro_rules! numbered {
    () => {
        "CAST(sequence AS BIGINT) = sequence AND +sequence >= -9223372036854775807"
    };
}

/// The largest time that there is. What is no number is larger than all that are.
macro_rules! latest {
    () => {
        "9223372036854775807"
    };
}

/// Events behind the number `after`, in order.
pub(super) async fn after(
    connection: &mut AnyConnection,
    after: i64,
    limit: i64,
) -> Result<Vec<Row>, Error> {
    let rows = sqlx::query(concat!(
        "SELECT sequence, details, ",
        chained!(),
        " FROM audit_events WHERE sequence > $1 AND ",
        numbered!(),
        " ORDER BY sequence LIMIT $2"
    ))
    .bind(after)
    .bind(limit)
    .fetch_all(&mut *connection)
    .await;
    if !is_undecodable(&rows) {
        return rows?.iter().map(read).collect();
    }
    let numbers = sqlx::query_scalar(concat!(
        "SELECT sequence FROM audit_events WHERE sequence > $1 AND ",
        numbered!(),
        " ORDER BY sequence LIMIT $2"
    ))
    .bind(after)
    .bind(limit)
    .fetch_all(&mut *connection)
    .await?;
    one_by_one(connection, numbers).await
}

/// How many events have a number up to `last`.
pub(super) async fn count_until(connection: &mut AnyConnection, last: i64) -> Result<i64, Error> {
    let count = sqlx::query_scalar(concat!(
        "SELECT COUNT(*) FROM audit_events WHERE sequence <= $1 AND ",
        numbered!()
    ));
    Ok(count.bind(last).fetch_one(connection).await?)
}

/// The largest number of an event; 0 without any.
pub(super) async fn last(connection: &mut AnyConnection) -> Result<i64, Error> {
    let row = sqlx::query(concat!(
        "SELECT COALESCE(MAX(sequence), 0) AS last FROM audit_events WHERE ",
        numbered!()
    ))
    .fetch_one(connection)
    .await?;
    Ok(row.try_get("last")?)
}

/// What is looked for, newest first.
#[derive(Debug, Default)]
pub(super) struct Search<'a> {
    pub(super) user: Option<UserId>,
    pub(super) kind: Option<&'a str>,
    pub(super) outcome: Option<&'a str>,
    pub(super) actor: Option<&'a str>,
    pub(super) session: Option<SessionId>,
    pub(super) request: Option<&'a str>,
    /// Events before this number.
    pub(super) before: Option<i64>,
    pub(super) since: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
}

/// The text of a search, with one condition more or none.
macro_rules! searching {
    ($columns:expr, $condition:literal) => {
        concat!(
            "SELECT ",
            $columns,
            " FROM audit_events
             WHERE sequence < $1 AND occurred_at >= $2 AND occurred_at < $3
               AND ($4 = '' OR kind = $4) AND ($5 = '' OR outcome = $5)
               AND ($6 = '' OR actor = $6) AND ($7 = '' OR request_id = $7)
               AND ($8 = 0 OR session_id = $9) AND ",
            numbered!(),
            $condition,
            " ORDER BY sequence DESC LIMIT $10"
        )
    };
}

/// The search for these columns. Somebody's events have a text of their own: an index finds them, which
/// a condition with an alternative does not use.
macro_rules! search {
    ($search:expr, $limit:expr, $columns:expr) => {{
        let (search, limit): (&Search<'_>, i64) = ($search, $limit);
        let query = match search.user {
            None => sqlx::query(searching!($columns, "")),
            Some(_) => sqlx::query(searching!($columns, " AND user_id = $11")),
        };
        let query = query
            .bind(search.before.unwrap_or(i64::MAX))
            .bind(search.since.unwrap_or(Timestamp::from_micros(0)))
            .bind(search.until.unwrap_or(Timestamp::from_micros(i64::MAX)))
            .bind(search.kind.unwrap_or_default())
            .bind(search.outcome.unwrap_or_default())
            .bind(search.actor.unwrap_or_default())
            .bind(search.request.unwrap_or_default())
            .bind(i64::from(search.session.is_some()))
            .bind(search.session.unwrap_or(SessionId::from_bytes([0; 16])))
            .bind(limit);
        match search.user {
            None => query,
            Some(user) => query.bind(user),
        }
    }};
}

pub(super) async fn search(
    connection: &mut AnyConnection,
    search: &Search<'_>,
    limit: i64,
) -> Result<Vec<Row>, Error> {
    let rows = search!(search, limit, concat!("sequence, details, ", chained!()))
        .fetch_all(&mut *connection)
        .await;
    if !is_undecodable(&rows) {
        return rows?.iter().map(read).collect();
    }
    let rows = search!(search, limit, "sequence")
        .fetch_all(&mut *connection)
        .await?;
    let numbers = rows.iter().map(|row| row.try_get("sequence"));
    let numbers = numbers.collect::<Result<_, _>>()?;
    one_by_one(connection, numbers).await
}

/// Whether rows could not be fetched for what stands in one of them: text that is none, which only
/// SQLite keeps.
fn is_undecodable<T>(rows: &Result<T, sqlx::Error>) -> bool {
    matches!(
        rows,
        Err(sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. })
    )
}

/// The events with these numbers, each by itself, so that one that cannot be fetched keeps none of the
/// others from being read.
async fn one_by_one(connection: &mut AnyConnection, numbers: Vec<i64>) -> Result<Vec<Row>, Error> {
    let mut rows = Vec::with_capacity(numbers.len());
    for number in numbers {
        let details = sqlx::query("SELECT details FROM audit_events WHERE sequence = $1")
            .bind(number)
            .fetch_optional(&mut *connection)
            .await;
        let details = if is_undecodable(&details) {
            // Sealed by nobody.
            Some(Vec::new())
        } else {
            details?.and_then(|row| read_details(&row))
        };
        let found = sqlx::query(concat!(
            "SELECT ",
            chained!(),
            " FROM audit_events WHERE sequence = $1"
        ))
        .bind(number)
        .fetch_optional(&mut *connection)
        .await;
        if is_undecodable(&found) {
            let unreadable = hash_bytes(connection, number).await?;
            // Retention may have taken it away meanwhile.
            rows.extend(unreadable.map(|hash| Row {
                sequence: number,
                link: Link::unreadable(),
                details,
                hash: String::new(),
                unreadable: Some(hash),
            }));
        } else if let Some(row) = found? {
            rows.push(read_chained(&row, number, details));
        }
    }
    Ok(rows)
}

/// What the chain covers of an event, by name.
const CHAINED: [&str; 11] = [
    "id",
    "occurred_at",
    "kind",
    "outcome",
    "reason",
    "actor",
    "user_id",
    "session_id",
    "request_id",
    "details_hash",
    "hash",
];

/// SHA-256 of the bytes of a row that cannot be fetched otherwise; for SQLite, which alone has such rows.
async fn hash_bytes(connection: &mut AnyConnection, number: i64) -> Result<Option<String>, Error> {
    let row = sqlx::query(
        "SELECT CAST(id AS BLOB) AS id, CAST(occurred_at AS BLOB) AS occurred_at,
                CAST(kind AS BLOB) AS kind, CAST(outcome AS BLOB) AS outcome,
                CAST(reason AS BLOB) AS reason, CAST(actor AS BLOB) AS actor,
                CAST(user_id AS BLOB) AS user_id, CAST(session_id AS BLOB) AS session_id,
                CAST(request_id AS BLOB) AS request_id,
                CAST(details_hash AS BLOB) AS details_hash, CAST(hash AS BLOB) AS hash
         FROM audit_events WHERE sequence = $1",
    )
    .bind(number)
    .fetch_optional(connection)
    .await?;
    Ok(row.as_ref().map(hash_values))
}

/// SHA-256 of what stands in a row, of whatever type it is.
fn hash_values(row: &AnyRow) -> String {
    let mut hasher = Sha256::new();
    for name in CHAINED {
        let (sort, bytes) = if let Ok(number) = row.try_get::<Option<i64>, _>(name) {
            let number = number.map(i64::to_be_bytes);
            (b'i', number.map(Vec::from).unwrap_or_default())
        } else if let Ok(number) = row.try_get::<f64, _>(name) {
            (b'f', number.to_be_bytes().to_vec())
        } else if let Ok(text) = row.try_get::<String, _>(name) {
            (b't', text.into_bytes())
        } else {
            (b'b', row.try_get(name).unwrap_or_default())
        };
        hasher.update([sort]);
        hasher.update((bytes.len() as u64).to_be_bytes());
        hasher.update(bytes);
    }
    chain::hex(&hasher.finalize())
}

fn read(row: &AnyRow) -> Result<Row, Error> {
    Ok(read_chained(
        row,
        row.try_get("sequence")?,
        read_details(row),
    ))
}

/// What is sealed beside an event; what is no bytes is nothing that ever was.
fn read_details(row: &AnyRow) -> Option<Vec<u8>> {
    row.try_get("details").unwrap_or_else(|_| Some(Vec::new()))
}

/// A row as far as it can be read.
fn read_chained(row: &AnyRow, sequence: i64, details: Option<Vec<u8>>) -> Row {
    let mut columns = Columns {
        row,
        unreadable: false,
    };
    let link = Link {
        id: columns.take("id"),
        occurred_at: Timestamp::from_micros(columns.take("occurred_at")),
        kind: columns.take("kind"),
        outcome: columns.take("outcome"),
        reason: columns.take("reason"),
        actor: columns.take("actor"),
        user_id: columns.take("user_id"),
        session_id: columns.take("session_id"),
        request_id: columns.take("request_id"),
        details_hash: columns.take("details_hash"),
    };
    let hash = columns.take("hash");
    let unreadable = columns.unreadable.then(|| hash_values(row));
    Row {
        sequence,
        link,
        details,
        hash,
        unreadable,
    }
}

struct Columns<'r> {
    row: &'r AnyRow,
    /// Whether one was of another type than it is written with.
    unreadable: bool,
}

impl<'r> Columns<'r> {
    fn take<T: Default + Decode<'r, Any> + Type<Any>>(&mut self, name: &str) -> T {
        self.row.try_get(name).unwrap_or_else(|_| {
            self.unreadable = true;
            T::default()
        })
    }
}

/// Removes events before `instant`, and lets the chain begin behind the last of them; what was sealed
/// goes as a whole, and what has no number when its time is over. A time that is none is over: nobody
/// knows when it will be.
pub(super) async fn remove_until(
    vault: &Vault,
    connection: &mut AnyConnection,
    instant: Timestamp,
) -> Result<(), Error> {
    let head = lock(connection).await?;
    let sealed = seals::remove_until(connection, instant).await?;
    let sealed = sealed.unwrap_or(i64::MIN);
    sqlx::query(concat!(
        "DELETE FROM audit_events WHERE (occurred_at < $1 OR occurred_at > ",
        latest!(),
        ") AND NOT (",
        numbered!(),
        ")"
    ))
    .bind(instant)
    .execute(&mut *connection)
    .await?;
    // By number: instants need not be in order where a clock was set back.
    let last: Option<i64> = sqlx::query_scalar(concat!(
        "SELECT sequence FROM audit_events
         WHERE sequence > $3
           AND sequence < (SELECT COALESCE(MIN(sequence), $2) FROM audit_events
                           WHERE sequence > $3 AND occurred_at >= $1 AND +occurred_at <= ",
        latest!(),
        " AND ",
        numbered!(),
        ") AND ",
        numbered!(),
        " ORDER BY sequence DESC LIMIT 1"
    ))
    .bind(instant)
    .bind(head.end.sequence + 1)
    .bind(sealed)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(last) = last else { return Ok(()) };
    let rows = one_by_one(connection, vec![last]).await?;
    let start = End {
        sequence: last,
        hash: rows
            .into_iter()
            .next()
            .map_or(String::new(), |row| row.hash),
    };
    let holds = holds(vault, &head)?;
    let leads = chain::leads(connection, &head.start, &start).await?;
    sqlx::query("DELETE FROM audit_events WHERE sequence <= $1 AND sequence > $2")
        .bind(start.sequence)
        .bind(sealed)
        .execute(&mut *connection)
        .await?;
    // Nothing of the trail is before its beginning.
    if start.sequence <= head.start.sequence {
        return Ok(());
    }
    if holds && !leads {
        tracing::error!(
            until = start.sequence,
            "events whose time is over were changed: the audit trail does not hold any more"
        );
    }
    write_head(vault, connection, &start, &head.end, holds && leads).await
}

/// Erases what is sealed beside the events about a person; the chain holds.
pub(super) async fn erase_details(
    connection: &mut AnyConnection,
    user_id: UserId,
) -> Result<(), Error> {
    sqlx::query("UPDATE audit_events SET details = NULL WHERE user_id = $1")
        .bind(user_id)
        .execute(connection)
        .await?;
    Ok(())
}

/// Counts a refusal of this hour; how many of the hour were about nobody.
pub(super) async fn count_refusal(
    connection: &mut AnyConnection,
    hour: i64,
    unknown: bool,
) -> Result<i64, Error> {
    let row = sqlx::query(
        "INSERT INTO audit_refusals (hour, refusals, unknown, withheld) VALUES ($1, 1, $2, 0)
         ON CONFLICT (hour) DO UPDATE SET refusals = audit_refusals.refusals + 1,
             unknown = audit_refusals.unknown + $2
         RETURNING unknown",
    )
    .bind(hour)
    .bind(i64::from(unknown))
    .fetch_one(connection)
    .await?;
    Ok(row.try_get("unknown")?)
}

/// Counts whether an event of this hour was not kept; written either way.
pub(super) async fn count_withheld(
    connection: &mut AnyConnection,
    hour: i64,
    withheld: bool,
) -> Result<(), Error> {
    sqlx::query("UPDATE audit_refusals SET withheld = withheld + $2 WHERE hour = $1")
        .bind(hour)
        .bind(i64::from(withheld))
        .execute(connection)
        .await?;
    Ok(())
}

/// Takes the counts of the hours before `hour` away; how many events were not kept in them.
pub(super) async fn take_withheld(connection: &mut AnyConnection, hour: i64) -> Result<i64, Error> {
    let rows = sqlx::query("DELETE FROM audit_refusals WHERE hour < $1 RETURNING withheld")
        .bind(hour)
        .fetch_all(connection)
        .await?;
    let mut withheld = 0;
    for row in rows {
        withheld += row.try_get::<i64, _>("withheld")?;
    }
    Ok(withheld)
}
