//! What is under which version of the master key, and when one may be taken away.

use std::collections::BTreeMap;
use std::time::Duration;

use sqlx::AnyConnection;

use super::sealed::SEALED;
use super::store;
use crate::clock::Timestamp;
use crate::error::Error;

/// How long after another master key began to seal a process may not have noticed: it looks
/// several times a second, and a request under way may take this long to be written.
pub(super) const MARGIN: Duration = Duration::from_mins(1);

/// Something that a version is needed for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// What, in the plural.
    pub what: String,
    /// How many of them.
    pub count: i64,
    /// When it is over by itself.
    pub until: Option<Timestamp>,
}

/// One version of the master key.
#[derive(Clone, Debug)]
pub struct VersionStatus {
    /// The version.
    pub version: u8,
    /// Since when it seals, or sealed.
    pub began_at: Timestamp,
    /// When nothing was under an older one any more.
    pub completed_at: Option<Timestamp>,
    /// Since when nothing needs it and it is not configured.
    pub retired_at: Option<Timestamp>,
    /// What needs it.
    pub needs: Vec<Need>,
    /// Passwords whose pepper is its own. They do not need it: the pepper is kept.
    pub passwords: i64,
}

/// Everything about the master keys of a database.
#[derive(Clone, Debug)]
pub struct Status {
    /// The version that seals.
    pub sealing: u8,
    /// The version whose index finds identifiers.
    pub indexing: u8,
    /// Every version that the database knows, the lowest first.
    pub versions: Vec<VersionStatus>,
    /// Index rows by version.
    pub indexes: Vec<(u8, i64)>,
}

/// Looks at every sealed value.
///
/// # Errors
/// When the database fails.
pub async fn status(connection: &mut AnyConnection, now: Timestamp) -> Result<Status, Error> {
    let standing = store::standing(connection)
        .await?
        .ok_or_else(|| Error::internal("the database has no master key"))?;
    let counts = sealed_counts(connection).await?;
    let mut versions = Vec::new();
    for row in store::keys(connection).await? {
        versions.push(VersionStatus {
            version: row.version,
            began_at: row.began_at,
            completed_at: row.completed_at,
            retired_at: row.retired_at,
            needs: needs_of(connection, &counts, row.version, now).await?,
            passwords: store::passwords(connection, row.version).await?,
        });
    }
    Ok(Status {
        sealing: standing.sealing,
        indexing: standing.indexing,
        versions,
        indexes: store::indexes(connection).await?,
    })
}

/// What needs the master key of `version`.
///
/// # Errors
/// When the database fails.
pub async fn needs(
    connection: &mut AnyConnection,
    version: u8,
    now: Timestamp,
) -> Result<Vec<Need>, Error> {
    let counts = sealed_counts(connection).await?;
    needs_of(connection, &counts, version, now).await
}

/// The needs as one text: `3 users.profile, 2 refresh tokens`.
pub fn list(needs: &[Need]) -> String {
    let each: Vec<String> = needs
        .iter()
        .map(|need| match need.until {
            None => format!("{} {}", need.count, need.what),
            Some(until) => {
                let until = crate::tokens::keyring::rfc3339(until);
                format!("{} {} until {until}", need.count, need.what)
            }
        })
        .collect();
    each.join(", ")
}

/// Sealed values by version and column.
type Counts = BTreeMap<(u8, String), i64>;

async fn sealed_counts(connection: &mut AnyConnection) -> Result<Counts, Error> {
    let mut counts = Counts::new();
    for column in SEALED {
        for (version, count) in column.counts(connection).await? {
            counts.insert((version, column.name()), count);
        }
    }
    Ok(counts)
}

async fn needs_of(
    connection: &mut AnyConnection,
    counts: &Counts,
    version: u8,
    now: Timestamp,
) -> Result<Vec<Need>, Error> {
    let mut needs: Vec<Need> = counts
        .iter()
        .filter(|((sealed_under, _), _)| *sealed_under == version)
        .map(|((_, what), count)| Need {
            what: what.clone(),
            count: *count,
            until: None,
        })
        .collect();
    let standing = store::standing(connection).await?;
    if let Some(standing) = standing
        && standing.indexing == version
    {
        let indexes = store::indexes(connection).await?;
        let held = indexes.iter().find(|(indexed, _)| *indexed == version);
        needs.push(Need {
            what: "look-ups by index".to_owned(),
            count: held.map_or(0, |(_, count)| *count),
            until: None,
        });
    }
    needs.extend(refresh_tokens(connection, version, now).await?);
    Ok(needs)
}

/// Refresh tokens carry their version: those made while it sealed are good while it is configured.
async fn refresh_tokens(
    connection: &mut AnyConnection,
    version: u8,
    now: Timestamp,
) -> Result<Option<Need>, Error> {
    let rows = store::keys(connection).await?;
    let own = rows.iter().find(|row| row.version == version);
    let next = rows.iter().find(|row| row.version > version);
    // The one that seals makes them now: that it is needed goes without saying.
    let (Some(own), Some(next)) = (own, next) else {
        return Ok(None);
    };
    let before = next.began_at + MARGIN;
    let (count, until) = store::refresh_tokens(connection, own.began_at, before, now).await?;
    Ok((count > 0).then(|| Need {
        what: "refresh tokens".to_owned(),
        count,
        until,
    }))
}
