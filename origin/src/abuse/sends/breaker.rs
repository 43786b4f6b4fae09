//! The breaker on conversion: of the codes that are sent, how many come back.
//!
//! People who log in give most of their codes back; whoever is paid for messages gives none. So
//! when fewer than 30 of a hundred come back, nothing more is sent, to a country or in all. After
//! a while a few are sent as a trial: if they come back all is well, if not the pause is doubled.
//!
//! Only codes are looked at that had the time to come back. The first minutes of an attack are
//! therefore the budgets' part and the caps', not the breaker's.

use std::fmt;
use std::time::Duration;

use sqlx::{AnyConnection, Row as _};

use super::store::{self, Sample};
use crate::clock::Timestamp;
use crate::config::Conversion;
use crate::error::Error;

/// The longest pause.
const LONGEST: Duration = Duration::from_hours(24);

/// The scope of all countries together.
pub(super) const ALL: &str = "*";

/// What a breaker is for: a country by its ISO 3166 code, or `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope(pub(super) String);

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A row of `sms_breakers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Breaker {
    pub(super) trips: u32,
    pub(super) open_until: Timestamp,
    pub(super) since: Timestamp,
}

const NEW: Breaker = Breaker {
    trips: 0,
    open_until: Timestamp::from_micros(0),
    since: Timestamp::from_micros(0),
};

/// What a look at a breaker comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    /// Send, and leave it as it is.
    Send,
    /// Do not send, and leave it as it is.
    Hold,
    /// It closes: send.
    Close,
    /// It opens: do not send.
    Trip,
}

/// Whether a code may be sent to `region`; keeps what follows from it.
pub(super) async fn allows(
    connection: &mut AnyConnection,
    rules: &Conversion,
    settle: Duration,
    region: &str,
    now: Timestamp,
) -> Result<bool, Error> {
    if rules.window == 0 {
        return Ok(true);
    }
    // The country first: one whose breaker is not closed does not count in all of them.
    for scope in [region, ALL] {
        let breaker = read(connection, scope).await?.unwrap_or(NEW);
        let sample = match Phase::of(breaker, now) {
            Phase::Open => return Ok(false),
            Phase::Closed => {
                store::latest(connection, scope, breaker.since, now - settle, rules.window).await?
            }
            Phase::Trial => {
                store::first(
                    connection,
                    scope,
                    breaker.open_until,
                    now - settle,
                    rules.trial,
                )
                .await?
            }
        };
        match decide(rules, breaker, sample, now) {
            Decision::Send => {}
            Decision::Hold => return Ok(false),
            Decision::Close => {
                tracing::info!(scope, "codes come back again: the SMS breaker is closed");
                let closed = Breaker { since: now, ..NEW };
                write(connection, scope, closed).await?;
            }
            Decision::Trip => {
                let trips = breaker.trips.saturating_add(1);
                let pause = pause(rules, trips);
                tracing::warn!(
                    scope,
                    sent = sample.sent,
                    came_back = sample.answered,
                    pause_seconds = pause.as_secs(),
                    "too few codes come back: the SMS breaker is open"
                );
                let open = Breaker {
                    trips,
                    open_until: now + pause,
                    since: now,
                };
                write(connection, scope, open).await?;
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Closes the breaker of `scope`, or all of them; what was sent before is not looked at any more.
///
/// # Errors
/// When the database fails.
pub async fn reset(
    connection: &mut AnyConnection,
    scope: Option<&str>,
    now: Timestamp,
) -> Result<(), Error> {
    store::lock(connection).await?;
    let closed = Breaker { since: now, ..NEW };
    if let Some(scope) = scope {
        return write(connection, scope, closed).await;
    }
    sqlx::query("UPDATE sms_breakers SET trips = 0, open_until = 0, since = $1")
        .bind(now)
        .execute(&mut *connection)
        .await?;
    // Those that never opened have no row; nothing before now counts for them either.
    for region in store::regions(connection).await? {
        write(connection, &region, closed).await?;
    }
    Ok(())
}

/// How a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Closed,
    Open,
    Trial,
}

impl Phase {
    pub(super) fn of(breaker: Breaker, now: Timestamp) -> Self {
        if breaker.trips == 0 {
            Self::Closed
        } else if breaker.open_until > now {
            Self::Open
        } else {
            Self::Trial
        }
    }
}

fn decide(rules: &Conversion, breaker: Breaker, sample: Sample, now: Timestamp) -> Decision {
    let enough =
        |of: u32| u64::from(sample.answered) * 100 >= u64::from(of) * u64::from(rules.percent);
    match Phase::of(breaker, now) {
        Phase::Open => Decision::Hold,
        Phase::Closed if sample.sent < rules.window || enough(sample.sent) => Decision::Send,
        // As many have come back as all of the trial must bring.
        Phase::Trial if enough(rules.trial) => Decision::Close,
        Phase::Trial if sample.sent < rules.trial => Decision::Send,
        Phase::Trial if sample.settled < rules.trial => Decision::Hold,
        Phase::Closed | Phase::Trial => Decision::Trip,
    }
}

/// How long it stays open after it opened `trips` times in a row.
fn pause(rules: &Conversion, trips: u32) -> Duration {
    let doublings = trips.saturating_sub(1).min(20);
    Duration::from_secs(rules.cool_down_seconds << doublings).min(LONGEST)
}

pub(super) async fn read(
    connection: &mut AnyConnection,
    scope: &str,
) -> Result<Option<Breaker>, Error> {
    let row = sqlx::query("SELECT trips, open_until, since FROM sms_breakers WHERE scope = $1")
        .bind(scope)
        .fetch_optional(connection)
        .await?;
    row.map(|row| {
        let trips: i64 = row.try_get("trips")?;
        Ok(Breaker {
            trips: u32::try_from(trips).unwrap_or(u32::MAX),
            open_until: row.try_get("open_until")?,
            since: row.try_get("since")?,
        })
    })
    .transpose()
}

async fn write(connection: &mut AnyConnection, scope: &str, breaker: Breaker) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO sms_breakers (scope, trips, open_until, since) VALUES ($1, $2, $3, $4)
         ON CONFLICT (scope) DO UPDATE SET trips = $2, open_until = $3, since = $4",
    )
    .bind(scope)
    .bind(i64::from(breaker.trips))
    .bind(breaker.open_until)
    .bind(breaker.since)
    .execute(connection)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_seconds(1_000_000);

    fn decided(trips: u32, open_until: i64, sent: u32, settled: u32, answered: u32) -> Decision {
        let breaker = Breaker {
            trips,
            open_until: Timestamp::from_unix_seconds(open_until),
            since: NOW,
        };
        let sample = Sample {
            sent,
            settled,
            answered,
        };
        decide(&Conversion::default(), breaker, sample, NOW)
    }

    #[test]
    fn it_opens_below_thirty_of_a_hundred_of_the_last_fifty() {
        for (sent, answered, decision) in [
            (0, 0, Decision::Send),
            (49, 0, Decision::Send),
            (50, 0, Decision::Trip),
            (50, 14, Decision::Trip),
            (50, 15, Decision::Send),
            (50, 50, Decision::Send),
        ] {
            assert_eq!(
                decided(0, 0, sent, sent, answered),
                decision,
                "{sent} {answered}"
            );
        }
    }

    #[test]
    fn a_trial_closes_it_or_opens_it_again() {
        let (past, future) = (999_999, 1_000_001);
        for (open_until, sent, settled, answered, decision) in [
            (future, 0, 0, 0, Decision::Hold),
            (1_000_000, 0, 0, 0, Decision::Send),
            (past, 9, 0, 0, Decision::Send),
            (past, 10, 0, 0, Decision::Hold),
            (past, 10, 9, 2, Decision::Hold),
            (past, 10, 10, 2, Decision::Trip),
            (past, 10, 10, 3, Decision::Close),
            // No need to wait for the rest.
            (past, 4, 0, 3, Decision::Close),
        ] {
            assert_eq!(
                decided(1, open_until, sent, settled, answered),
                decision,
                "{open_until} {sent} {settled} {answered}"
            );
        }
    }

    #[test]
    fn the_pause_doubles_up_to_a_day() {
        let rules = Conversion::default();
        let hours: Vec<u64> = [1, 2, 3, 4, 5, 6, 100, u32::MAX]
            .map(|trips| pause(&rules, trips).as_secs() / 3_600)
            .to_vec();
        assert_eq!(hours, [1, 2, 4, 8, 16, 24, 24, 24]);
    }
}
