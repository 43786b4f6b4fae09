//! Verification of who a person is ("know your customer"): submitted as references to documents,
//! reviewed by an administrator, and over when its time is.
//!
//! The keep holds no document, only what a reviewer finds it by elsewhere. A verification that
//! holds is not touched by what is asked beside it: while a submission for a higher level waits, or
//! after it was refused, the level that was reached stays, until somebody takes it back ([`withdraw`]).
//! So `kyc_status` says `pending` and `rejected` only of a person who has no verification.
//!
//! No token says more than is so: one that is issued while a verification holds expires with it,
//! and a decision turns away the tokens from before it.

use serde::{Deserialize, Serialize};
use sqlx::AnyConnection;
use utoipa::ToSchema;

use super::status::By;
use super::store::UserRow;
use crate::app::State;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::events::{self, Actor, Change};
use crate::ids::{SubmissionId, UserId};
use crate::revocation;
use crate::vault::Purpose;

pub(super) mod routes;
mod store;

use store::SubmissionRow;

/// The highest level.
pub const MAX_LEVEL: i64 = 3;

/// Documents of one submission: passport, proof of address and a few pages more.
const MAX_DOCUMENTS: usize = 8;

/// Longest reference, in bytes: a UUID, an object's key, a case number.
const MAX_REFERENCE: usize = 128;

/// Kinds of document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DocumentKind {
    /// A passport.
    Passport,
    /// An identity card.
    IdCard,
    /// A driving licence.
    DrivingLicence,
    /// A residence permit.
    ResidencePermit,
    /// A bill or a register's extract that shows where somebody lives.
    ProofOfAddress,
    /// A picture of the person.
    Selfie,
    /// Another document.
    Other,
}

/// Where a document is found. The document itself is not here.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// What it is.
    pub kind: DocumentKind,
    /// What a reviewer finds it by: 1 to 128 printable ASCII characters without space.
    #[schema(max_length = 128)]
    pub reference: String,
    /// The country that issued it: two letters (ISO 3166-1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// Until when it is good, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
}

/// What of a submission is sealed.
#[derive(Debug, Serialize, Deserialize)]
struct Details {
    documents: Vec<Document>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Details {
    fn seal(&self, state: &State, id: SubmissionId) -> Result<Vec<u8>, Error> {
        let json = serde_json::to_vec(self).map_err(|_| Error::internal("submission as JSON"))?;
        Ok(state.vault.seal(Purpose::Kyc, id.as_bytes(), &json)?)
    }

    fn open(state: &State, id: SubmissionId, sealed: &[u8]) -> Result<Self, Error> {
        let json = state.vault.open(Purpose::Kyc, id.as_bytes(), sealed)?;
        serde_json::from_slice(&json).map_err(|_| Error::internal("stored submission is not JSON"))
    }
}

/// How a person stands at an instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) level: i64,
    pub(super) status: String,
    /// In seconds since 1970.
    pub(super) expires_at: Option<i64>,
}

impl Standing {
    /// What the row says, as of `now`: a verification is over at the second it ends, whether or not
    /// the row was tidied since.
    pub(super) fn of(row: &UserRow, now: Timestamp) -> Self {
        let expires_at = row.kyc_expires_at.map(Timestamp::unix_seconds);
        let (level, status) = at(
            row.kyc_level,
            &row.kyc_status,
            expires_at,
            now.unix_seconds(),
        );
        Self {
            level,
            status: status.to_owned(),
            expires_at,
        }
    }
}

/// Level and status at the second `now` of what was decided until `expires_at`.
pub fn at(level: i64, status: &str, expires_at: Option<i64>, now: i64) -> (i64, &str) {
    if status == "verified" && expires_at.is_some_and(|end| end <= now) {
        (0, "expired")
    } else {
        (level, status)
    }
}

/// A submission, as its owner and reviewers see it; instants are seconds since 1970.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KycSubmission)]
pub struct Submission {
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    pub id: SubmissionId,
    /// Whose it is.
    #[schema(value_type = String, format = "uuid")]
    pub user_id: UserId,
    /// The level that was asked for; once approved, the one that was given.
    pub level: i64,
    /// `pending`, `approved`, `rejected`, or `withdrawn` where an approval was taken back.
    pub status: String,
    /// Where the documents are found.
    pub documents: Vec<Document>,
    /// When it was submitted.
    pub submitted_at: i64,
    /// When it was decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_at: Option<i64>,
    /// Why, in the reviewer's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

fn open(state: &State, row: SubmissionRow) -> Result<Submission, Error> {
    let details = Details::open(state, row.id, &row.details)?;
    Ok(Submission {
        id: row.id,
        user_id: row.user_id,
        level: row.level,
        status: row.state,
        documents: details.documents,
        submitted_at: row.submitted_at.unix_seconds(),
        decided_at: row.decided_at.map(Timestamp::unix_seconds),
        reason: details.reason,
    })
}

/// Every submission of an account, the latest first.
///
/// # Errors
/// When the database or the vault fails.
pub async fn submissions(
    state: &State,
    connection: &mut AnyConnection,
    id: UserId,
) -> Result<Vec<Submission>, Error> {
    let rows = store::of_user(connection, id).await?;
    rows.into_iter().map(|row| open(state, row)).collect()
}

/// Submissions that wait, the oldest first, behind the instant and id of `after`.
///
/// # Errors
/// When the database or the vault fails.
pub async fn waiting(
    state: &State,
    connection: &mut AnyConnection,
    after: Option<SubmissionId>,
    limit: i64,
) -> Result<Vec<Submission>, Error> {
    let rows = store::waiting(connection, after, limit).await?;
    rows.into_iter().map(|row| open(state, row)).collect()
}

fn check(level: i64, documents: &[Document], now: i64) -> Result<(), Error> {
    if !(1..=MAX_LEVEL).contains(&level) {
        return Err(Error::invalid("level: expected 1 to 3."));
    }
    if !(1..=MAX_DOCUMENTS).contains(&documents.len()) {
        return Err(Error::invalid("documents: expected 1 to 8."));
    }
    for document in documents {
        let reference = document.reference.as_bytes();
        if !(1..=MAX_REFERENCE).contains(&reference.len())
            || !reference.iter().all(u8::is_ascii_graphic)
        {
            return Err(Error::invalid(
                "reference: expected 1 to 128 printable ASCII characters without space.",
            ));
        }
        let is_country =
            |text: &String| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase());
        if document
            .country
            .as_ref()
            .is_some_and(|text| !is_country(text))
        {
            return Err(Error::invalid("country: expected two capital letters."));
        }
        if document.expires_at.is_some_and(|end| end <= now) {
            return Err(Error::invalid("expires_at: the document is out of date."));
        }
    }
    Ok(())
}

/// Takes a submission in; one waits at a time.
///
/// # Errors
/// [`Error::RequestInvalid`]; [`Error::Conflict`] when one waits, or the level is below the present
/// one; when the database or the vault fails.
pub(super) async fn submit(
    state: &State,
    connection: &mut AnyConnection,
    by: By<'_>,
    user_id: UserId,
    level: i64,
    documents: Vec<Document>,
) -> Result<Submission, Error> {
    let now = state.clock.now();
    check(level, &documents, now.unix_seconds())?;
    let row = super::store::user(connection, user_id)
        .await?
        .ok_or(Error::NotFound)?;
    let before = Standing::of(&row, now);
    if level < before.level {
        return Err(Error::Conflict("A higher level is verified already."));
    }
    let id = SubmissionId::generate(&state.random);
    let details = Details {
        documents,
        reason: None,
    };
    let submission = SubmissionRow {
        id,
        user_id,
        level,
        state: "pending".to_owned(),
        details: details.seal(state, id)?,
        submitted_at: now,
        decided_at: None,
    };
    if !store::insert(connection, &submission).await? {
        return Err(Error::Conflict("A submission waits already."));
    }
    if before.status != "verified" {
        store::set_status(connection, user_id, "pending", now).await?;
    }
    let event = by
        .event(events::Kind::Kyc, user_id)
        .because("submitted")
        .changing(Change::new(before.level, level));
    events::record(state, connection, &event).await?;
    open(state, submission)
}

/// What a reviewer decides.
#[derive(Clone, Copy, Debug)]
pub enum Decision {
    /// The person is verified to `level`, until `expires_at` (seconds since 1970) where there is one.
    Approve {
        /// 1 to 3.
        level: i64,
        /// When it is over; left out: when the first of its documents is.
        expires_at: Option<i64>,
    },
    /// They are not.
    Reject,
}

/// When a verification ends by what it was given for: with the first of its documents.
fn end_of(documents: &[Document]) -> Option<i64> {
    documents
        .iter()
        .filter_map(|document| document.expires_at)
        .min()
}

/// Decides on the submission that waits: of several reviewers one does, and who names what they have
/// looked at decides on no other, which its owner may have put in its place since somebody else
/// refused it. Its owner reads `reason`.
///
/// # Errors
/// [`Error::RequestInvalid`]; [`Error::NotFound`] without such an account; [`Error::Conflict`] when
/// nothing waits, or another than was named, somebody reviews themselves, a document is out of date by
/// now, or the level is below the one that holds; when the database or the vault fails.
pub async fn review(
    state: &State,
    connection: &mut AnyConnection,
    by: By<'_>,
    (user_id, seen): (UserId, Option<SubmissionId>),
    decision: Decision,
    reason: Option<String>,
) -> Result<Submission, Error> {
    let now = state.clock.now();
    if let Decision::Approve { level, expires_at } = decision {
        if !(1..=MAX_LEVEL).contains(&level) {
            return Err(Error::invalid("level: expected 1 to 3."));
        }
        if expires_at.is_some_and(|end| end <= now.unix_seconds()) {
            return Err(Error::invalid("expires_at: expected a time to come."));
        }
    }
    if by.actor == Actor::User(user_id) {
        return Err(Error::Conflict("Nobody reviews themselves."));
    }
    let row = super::store::user(connection, user_id)
        .await?
        .ok_or(Error::NotFound)?;
    let before = Standing::of(&row, now);
    let nothing_waits = || Error::Conflict("No submission waits.");
    let pending = store::pending(connection, user_id)
        .await?
        .ok_or_else(nothing_waits)?;
    if seen.is_some_and(|seen| seen != pending.id) {
        return Err(Error::Conflict("Another submission waits by now."));
    }
    let mut details = Details::open(state, pending.id, &pending.details)?;
    let end = end_of(&details.documents);
    if let Decision::Approve { level, .. } = decision {
        if level < before.level {
            return Err(Error::Conflict(
                "A higher level is verified: take that back first.",
            ));
        }
        if end.is_some_and(|end| end <= now.unix_seconds()) {
            return Err(Error::Conflict("A document is out of date by now."));
        }
    }
    let (outcome, level) = match decision {
        Decision::Approve { level, .. } => ("approved", level),
        Decision::Reject => ("rejected", pending.level),
    };
    details.reason = reason;
    let reviewer = match by.actor {
        Actor::User(id) => Some(id),
        _ => None,
    };
    let sealed = details.seal(state, pending.id)?;
    let decided = store::decide(
        connection, pending.id, outcome, level, sealed, reviewer, now,
    )
    .await?
    .ok_or_else(nothing_waits)?;
    let after = match decision {
        Decision::Approve { level, expires_at } => Standing {
            level,
            status: "verified".to_owned(),
            expires_at: expires_at.or(end),
        },
        // A verification that holds is not touched.
        Decision::Reject if before.status == "verified" => before.clone(),
        Decision::Reject => Standing {
            level: 0,
            status: "rejected".to_owned(),
            expires_at: None,
        },
    };
    stand(state, connection, by, (user_id, outcome), (&before, &after)).await?;
    open(state, decided)
}

/// Takes a verification back, because it should not have been given or does not hold any more: the
/// person is verified to no level, and tokens that say otherwise are turned away. A submission that
/// waits goes on waiting. The owner reads `reason` in the submission that was approved last.
///
/// # Errors
/// [`Error::NotFound`] without such an account; [`Error::Conflict`] where no level holds, or somebody
/// decides about themselves; when the database or the vault fails.
pub async fn withdraw(
    state: &State,
    connection: &mut AnyConnection,
    by: By<'_>,
    user_id: UserId,
    reason: Option<String>,
) -> Result<(), Error> {
    if by.actor == Actor::User(user_id) {
        return Err(Error::Conflict("Nobody reviews themselves."));
    }
    let now = state.clock.now();
    let row = super::store::user(connection, user_id)
        .await?
        .ok_or(Error::NotFound)?;
    let before = Standing::of(&row, now);
    if before.level == 0 {
        return Err(Error::Conflict("No level is verified."));
    }
    for submission in store::of_user(connection, user_id).await? {
        if submission.state == "approved" {
            let mut details = Details::open(state, submission.id, &submission.details)?;
            details.reason.clone_from(&reason);
            let sealed = details.seal(state, submission.id)?;
            store::take_back(connection, submission.id, sealed, now).await?;
        }
    }
    let waits = store::pending(connection, user_id).await?.is_some();
    let after = Standing {
        level: 0,
        status: if waits { "pending" } else { "rejected" }.to_owned(),
        expires_at: None,
    };
    let what = (user_id, "withdrawn");
    stand(state, connection, by, what, (&before, &after)).await
}

/// Writes how a person stands from now on, and why.
async fn stand(
    state: &State,
    connection: &mut AnyConnection,
    by: By<'_>,
    (user_id, outcome): (UserId, &str),
    (before, after): (&Standing, &Standing),
) -> Result<(), Error> {
    if after != before {
        let expires_at = after.expires_at.map(Timestamp::from_unix_seconds);
        let (level, status, now) = (after.level, after.status.as_str(), state.clock.now());
        store::set_standing(connection, user_id, level, status, expires_at, now).await?;
        revocation::turn_away_tokens(state, connection, user_id, "kyc").await?;
    }
    let said = |standing: &Standing| {
        serde_json::json!({
            "level": standing.level, "status": standing.status, "expires_at": standing.expires_at,
        })
    };
    let event = by
        .event(events::Kind::Kyc, user_id)
        .because(outcome)
        .changing(Change::new(said(before), said(after)));
    events::record(state, connection, &event).await
}

/// Writes down that verifications are over. Nobody waits for it: what reads a row counts the time
/// itself, and tokens expired with the verification.
///
/// # Errors
/// When the database fails.
pub(super) async fn expire(state: &State, connection: &mut AnyConnection) -> Result<(), Error> {
    for (user_id, level) in store::expire(connection, state.clock.now()).await? {
        let event = events::Event::new(events::Kind::Kyc, events::Outcome::Success, Actor::System)
            .about(user_id)
            .because("expired")
            .changing(Change::new(level, 0));
        events::record(state, connection, &event).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verification_is_over_at_its_second() {
        for (status, expires_at, expected) in [
            ("verified", None, (2, "verified")),
            ("verified", Some(101), (2, "verified")),
            ("verified", Some(100), (0, "expired")),
            ("verified", Some(99), (0, "expired")),
            ("pending", Some(99), (2, "pending")),
        ] {
            assert_eq!(at(2, status, expires_at, 100), expected, "{expires_at:?}");
        }
    }

    #[test]
    fn submissions_are_bounded() {
        let good = Document {
            kind: DocumentKind::Passport,
            reference: "case/7".to_owned(),
            country: Some("CH".to_owned()),
            expires_at: Some(101),
        };
        let with = |change: fn(&mut Document)| {
            let mut document = good.clone();
            change(&mut document);
            document
        };
        for (level, documents, fits) in [
            (1, vec![good.clone()], true),
            (3, vec![good.clone(); 8], true),
            (0, vec![good.clone()], false),
            (4, vec![good.clone()], false),
            (1, vec![], false),
            (1, vec![good.clone(); 9], false),
            (1, vec![with(|d| d.reference = "x".repeat(128))], true),
            (1, vec![with(|d| d.reference = "x".repeat(129))], false),
            (1, vec![with(|d| d.reference = String::new())], false),
            (1, vec![with(|d| d.reference = "a b".to_owned())], false),
            (1, vec![with(|d| d.reference = "é".to_owned())], false),
            (1, vec![with(|d| d.country = Some("ch".to_owned()))], false),
            (1, vec![with(|d| d.country = Some("CHE".to_owned()))], false),
            (1, vec![with(|d| d.expires_at = Some(100))], false),
        ] {
            assert_eq!(check(level, &documents, 100).is_ok(), fits, "{documents:?}");
        }
    }
}
