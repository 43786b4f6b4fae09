//! How things stand, for operators.

use super::admission::Admission;
use super::breaker::{self, ALL, Phase, Scope};
use super::store;
use crate::clock::Timestamp;
use crate::error::Error;

/// What was spent, and the breakers.
#[derive(Clone, Debug)]
pub struct Status {
    /// What the last hour's SMS cost, in the unit of `sms.prices`.
    pub spent_hour: i64,
    /// What the last day's SMS cost.
    pub spent_day: i64,
    /// All countries together first, then each that SMS went to lately.
    pub breakers: Vec<BreakerStatus>,
}

/// How a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Codes are sent.
    Closed,
    /// None is sent until then.
    Open(Timestamp),
    /// A few are sent, to see whether they come back.
    Trial,
}

/// One breaker, and what it looks at.
#[derive(Clone, Debug)]
pub struct BreakerStatus {
    /// For which country, or `*`.
    pub scope: Scope,
    /// How it stands.
    pub state: BreakerState,
    /// Codes that had the time to come back.
    pub sent: u32,
    /// Of those, how many did.
    pub answered: u32,
}

/// How things stand now.
///
/// # Errors
/// When the database fails.
pub async fn status(admission: &Admission) -> Result<Status, Error> {
    let now = admission.now();
    let settled = now - admission.settle();
    let rules = &admission.sms().conversion;
    let mut reader = admission.db().read().await?;
    let (spent_hour, spent_day) = store::spent(&mut reader, None, now).await?;
    let mut scopes = vec![ALL.to_owned()];
    scopes.extend(store::regions(&mut reader).await?);
    let mut breakers = Vec::with_capacity(scopes.len());
    for scope in scopes {
        let breaker = breaker::read(&mut reader, &scope).await?;
        let since = breaker.map_or(Timestamp::from_micros(0), |breaker| breaker.since);
        let sample = store::latest(&mut reader, &scope, since, settled, rules.window).await?;
        let state = match breaker.map(|breaker| (Phase::of(breaker, now), breaker.open_until)) {
            None | Some((Phase::Closed, _)) => BreakerState::Closed,
            Some((Phase::Open, until)) => BreakerState::Open(until),
            Some((Phase::Trial, _)) => BreakerState::Trial,
        };
        breakers.push(BreakerStatus {
            scope: Scope(scope),
            state,
            sent: sample.sent,
            answered: sample.answered,
        });
    }
    Ok(Status {
        spent_hour,
        spent_day,
        breakers,
    })
}
