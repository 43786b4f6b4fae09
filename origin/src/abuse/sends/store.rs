//! SQL of the messages that were let through.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

use super::breaker::ALL;
use super::{DAY, HOUR};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::notify::Medium;

/// How long what was sent by SMS is looked at by the breaker and by operators.
const WEEK: std::time::Duration = std::time::Duration::from_hours(7 * 24);

/// Messages that share caps, as the column `solicited` names them. What is used up of one share
/// takes nothing from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    /// What people are told that was done in their name.
    Told = 0,
    /// What strangers cause.
    Asked = 1,
    /// What takes a change back.
    Undo = 2,
    /// Warnings of what strangers do: they cause those too, which must use up neither what a person
    /// is told nor their codes.
    Warned = 3,
    /// Codes to log in on a device that is trusted.
    Trusted = 4,
    /// Codes that are a second factor: whoever causes one has proved a first.
    SecondFactor = 5,
    /// Such codes on a device that is trusted: who only knows the password causes none.
    TrustedSecondFactor = 6,
    /// Codes that prove within a session who one is: likewise.
    Reauthentication = 7,
}

/// A row of `sent_messages`.
pub(super) struct Sent<'a> {
    pub(super) id: [u8; 16],
    pub(super) channel: Medium,
    pub(super) share: Share,
    pub(super) network: Option<[u8; 32]>,
    pub(super) recipient: Option<[u8; 32]>,
    pub(super) prefix: Option<[u8; 32]>,
    pub(super) region: Option<&'a str>,
    pub(super) price: i64,
    pub(super) measured: bool,
}

/// Codes of some scope and time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) sent: u32,
    /// Of those, how many are so old that they will not come back.
    pub(super) settled: u32,
    pub(super) answered: u32,
}

/// Waits until nobody else counts; until the end of the transaction nobody else does.
pub(super) async fn lock(connection: &mut AnyConnection) -> Result<(), Error> {
    sqlx::query("UPDATE sms_breakers SET trips = trips WHERE scope = $1")
        .bind(ALL)
        .execute(connection)
        .await?;
    Ok(())
}

/// Forgets what nothing looks at any more.
pub(super) async fn forget(connection: &mut AnyConnection, now: Timestamp) -> Result<(), Error> {
    for (channel, before) in [(Medium::Email, now - HOUR), (Medium::Sms, now - WEEK)] {
        sqlx::query("DELETE FROM sent_messages WHERE channel = $1 AND sent_at <= $2")
            .bind(channel.as_str())
            .bind(before)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

pub(super) async fn add(
    connection: &mut AnyConnection,
    sent: Sent<'_>,
    now: Timestamp,
) -> Result<(), Error> {
    let bytes = |hash: Option<[u8; 32]>| hash.map(|hash| hash.to_vec());
    sqlx::query(
        "INSERT INTO sent_messages (id, channel, solicited, network, recipient, prefix, region,
                                    price, sent_at, answered_at, measured)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, NULL, $10)",
    )
    .bind(sent.id.as_slice())
    .bind(sent.channel.as_str())
    .bind(sent.share as i64)
    .bind(bytes(sent.network))
    .bind(bytes(sent.recipient))
    .bind(bytes(sent.prefix))
    .bind(sent.region)
    .bind(sent.price)
    .bind(now)
    .bind(i64::from(sent.measured))
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether a message was let through before.
pub(super) async fn is_counted(
    connection: &mut AnyConnection,
    id: [u8; 16],
) -> Result<bool, Error> {
    let row = sqlx::query("SELECT 1 FROM sent_messages WHERE id = $1")
        .bind(id.as_slice())
        .fetch_optional(connection)
        .await?;
    Ok(row.is_some())
}

/// Takes a message out of the measuring of conversion: it never went out.
pub(super) async fn unmeasure(connection: &mut AnyConnection, id: [u8; 16]) -> Result<(), Error> {
    sqlx::query("UPDATE sent_messages SET measured = 0 WHERE id = $1")
        .bind(id.as_slice())
        .execute(connection)
        .await?;
    Ok(())
}

/// What the caps of an SMS count.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    pub(super) number_hour: i64,
    pub(super) number_day: i64,
    pub(super) prefix_hour: i64,
    pub(super) network_hour: i64,
    pub(super) spent_hour: i64,
    pub(super) spent_day: i64,
}

pub(super) async fn counts(
    connection: &mut AnyConnection,
    sent: &Sent<'_>,
    now: Timestamp,
) -> Result<Counts, Error> {
    let bytes = |hash: Option<[u8; 32]>| hash.unwrap_or_default().to_vec();
    let row = sqlx::query(
        "SELECT
           (SELECT COUNT(*) FROM sent_messages
            WHERE recipient = $1 AND solicited = $2 AND sent_at > $5) AS number_hour,
           (SELECT COUNT(*) FROM sent_messages
            WHERE recipient = $1 AND solicited = $2 AND sent_at > $6) AS number_day,
           (SELECT COUNT(*) FROM sent_messages
            WHERE prefix = $3 AND solicited = $2 AND sent_at > $5) AS prefix_hour,
           (SELECT COUNT(*) FROM sent_messages
            WHERE network = $4 AND channel = 'sms' AND sent_at > $5) AS network_hour",
    )
    .bind(bytes(sent.recipient))
    .bind(sent.share as i64)
    .bind(bytes(sent.prefix))
    .bind(bytes(sent.network))
    .bind(now - HOUR)
    .bind(now - DAY)
    .fetch_one(&mut *connection)
    .await?;
    // What strangers spend is not taken from what people are told: that has as much for itself.
    let of = match sent.share {
        Share::Told => Some(Share::Told),
        Share::Asked
        | Share::Undo
        | Share::Warned
        | Share::Trusted
        | Share::SecondFactor
        | Share::TrustedSecondFactor
        | Share::Reauthentication => None,
    };
    let (spent_hour, spent_day) = spent(connection, of, now).await?;
    Ok(Counts {
        number_hour: row.try_get("number_hour")?,
        number_day: row.try_get("number_day")?,
        prefix_hour: row.try_get("prefix_hour")?,
        network_hour: row.try_get("network_hour")?,
        spent_hour,
        spent_day,
    })
}

/// What the SMS of the last hour cost, and those of the last day; all, or those of a share.
pub(super) async fn spent(
    connection: &mut AnyConnection,
    share: Option<Share>,
    now: Timestamp,
) -> Result<(i64, i64), Error> {
    // The sum of BIGINTs is NUMERIC on PostgreSQL.
    let row = sqlx::query(
        "SELECT CAST(COALESCE(SUM(CASE WHEN sent_at > $1 THEN price ELSE 0 END), 0) AS BIGINT)
                  AS hour,
                CAST(COALESCE(SUM(price), 0) AS BIGINT) AS day
         FROM sent_messages
         WHERE channel = 'sms' AND sent_at > $2 AND ($3 < 0 OR solicited = $3)",
    )
    .bind(now - HOUR)
    .bind(now - DAY)
    .bind(share.map_or(-1, |share| share as i64))
    .fetch_one(connection)
    .await?;
    Ok((row.try_get("hour")?, row.try_get("day")?))
}

/// Mails of an hour that strangers caused: in all, and from `network`.
pub(super) async fn mails(
    connection: &mut AnyConnection,
    network: Option<[u8; 32]>,
    now: Timestamp,
) -> Result<(i64, i64), Error> {
    let row = sqlx::query(
        "SELECT
           (SELECT COUNT(*) FROM sent_messages
            WHERE channel = 'email' AND solicited = 1 AND sent_at > $1) AS everybody,
           (SELECT COUNT(*) FROM sent_messages
            WHERE network = $2 AND channel = 'email' AND sent_at > $1) AS network",
    )
    .bind(now - HOUR)
    .bind(network.unwrap_or_default().to_vec())
    .fetch_one(connection)
    .await?;
    Ok((row.try_get("everybody")?, row.try_get("network")?))
}

/// The countries that SMS went to lately.
pub(super) async fn regions(connection: &mut AnyConnection) -> Result<Vec<String>, Error> {
    let rows = sqlx::query(
        "SELECT DISTINCT region FROM sent_messages WHERE channel = 'sms' ORDER BY region",
    )
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| Ok(row.try_get("region")?)).collect()
}

/// The latest `limit` codes of `scope` that were sent after `since`, and by `settled` at the
/// latest.
pub(super) async fn latest(
    connection: &mut AnyConnection,
    scope: &str,
    since: Timestamp,
    settled: Timestamp,
    limit: u32,
) -> Result<Sample, Error> {
    let row = sqlx::query(if scope == ALL {
        // A country whose breaker is not closed is dealt with, and losses from before it closed
        // are forgiven: neither must close the others.
        "SELECT COUNT(*) AS sent, COUNT(*) AS settled, COUNT(answered_at) AS answered FROM (
             SELECT answered_at FROM sent_messages
             WHERE channel = 'sms' AND measured = 1 AND $1 = '*' AND sent_at > $2 AND sent_at <= $3
               AND NOT EXISTS
                   (SELECT 1 FROM sms_breakers
                    WHERE scope = region AND (trips > 0 OR sent_at <= since))
             ORDER BY sent_at DESC LIMIT $4) AS latest"
    } else {
        "SELECT COUNT(*) AS sent, COUNT(*) AS settled, COUNT(answered_at) AS answered FROM (
             SELECT answered_at FROM sent_messages
             WHERE region = $1 AND measured = 1 AND sent_at > $2 AND sent_at <= $3
             ORDER BY sent_at DESC LIMIT $4) AS latest"
    })
    .bind(scope)
    .bind(since)
    .bind(settled)
    .bind(i64::from(limit))
    .fetch_one(connection)
    .await?;
    sample(&row)
}

/// The first `limit` codes of `scope` since `from`.
pub(super) async fn first(
    connection: &mut AnyConnection,
    scope: &str,
    from: Timestamp,
    settled: Timestamp,
    limit: u32,
) -> Result<Sample, Error> {
    let row = sqlx::query(if scope == ALL {
        "SELECT COUNT(*) AS sent, COUNT(answered_at) AS answered,
                COALESCE(SUM(CASE WHEN sent_at <= $3 THEN 1 ELSE 0 END), 0) AS settled FROM (
             SELECT answered_at, sent_at FROM sent_messages
             WHERE channel = 'sms' AND measured = 1 AND $1 = '*' AND sent_at >= $2
               AND NOT EXISTS
                   (SELECT 1 FROM sms_breakers
                    WHERE scope = region AND (trips > 0 OR sent_at <= since))
             ORDER BY sent_at LIMIT $4) AS first_ones"
    } else {
        "SELECT COUNT(*) AS sent, COUNT(answered_at) AS answered,
                COALESCE(SUM(CASE WHEN sent_at <= $3 THEN 1 ELSE 0 END), 0) AS settled FROM (
             SELECT answered_at, sent_at FROM sent_messages
             WHERE region = $1 AND measured = 1 AND sent_at >= $2
             ORDER BY sent_at LIMIT $4) AS first_ones"
    })
    .bind(scope)
    .bind(from)
    .bind(settled)
    .bind(i64::from(limit))
    .fetch_one(connection)
    .await?;
    sample(&row)
}

fn sample(row: &AnyRow) -> Result<Sample, Error> {
    let number = |name: &str| -> Result<u32, Error> {
        let value: i64 = row.try_get(name)?;
        Ok(u32::try_from(value).unwrap_or(u32::MAX))
    };
    Ok(Sample {
        sent: number("sent")?,
        settled: number("settled")?,
        answered: number("answered")?,
    })
}
