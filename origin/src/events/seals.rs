//! Trails that were found altered, sealed as they were found, and the trails that begin behind them.
//!
//! A trail that somebody altered is never signed again ([`chain`]), so it has to be followed by
//! another. Whoever may run commands on the server begins that: what is there stays where it is, a
//! seal holds what it was by a MAC, and the next trail's first event, which is chained to the seal,
//! tells of it. A seal proves nothing of what it covers but that it has not changed since.
//!
//! It covers all events up to its last and the seals before it, so that only the latest is checked,
//! and whoever alters what was sealed is answered by one more seal. The sealed details of events are
//! left out: the erasure of a person takes them away, and another master key seals them anew.
//!
//! What was sealed is removed as a whole, with the seals, once the latest of them is as old as
//! events may become: in an altered trail nobody knows how old each is.

use sha2::{Digest as _, Sha256};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Connection as _, Row as _};
use subtle::ConstantTimeEq as _;

use super::chain::{self, BATCH, Broken, End};
use super::{Actor, Change, Event, Kind, Outcome, store};
use crate::app::State;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::vault::{Purpose, Vault, VaultError};

/// The reason of the first event behind a seal.
const BEGUN: &str = "begun";

/// Numbers from here on leave too little room for the events of the next trail.
const LAST_NUMBER: i64 = i64::MAX / 2;

/// A trail that was found altered, as it was then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    /// 1 is the first.
    pub number: i64,
    /// The last event that it covers.
    pub last: i64,
    /// How many it covers.
    pub events: i64,
    /// What was wrong.
    pub found: String,
    /// When it was sealed.
    pub sealed_at: Timestamp,
    digest: String,
    mac: String,
    mac_version: i64,
}

impl Seal {
    /// SHA-256 of what it says, each part preceded by its length: where the next trail begins.
    fn hash(&self) -> String {
        let parts: [&[u8]; 6] = [
            &self.number.to_be_bytes(),
            &self.last.to_be_bytes(),
            &self.events.to_be_bytes(),
            &self.sealed_at.micros().to_be_bytes(),
            self.digest.as_bytes(),
            self.found.as_bytes(),
        ];
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        chain::hex(&hasher.finalize())
    }

    /// Where the trail behind it begins.
    fn end(&self) -> End {
        End {
            sequence: self.last,
            hash: self.hash(),
        }
    }

    /// Two parts, where the MAC over the ends of a trail has four: neither reads like the other.
    fn signed(&self, vault: &Vault, version: u8) -> Result<String, VaultError> {
        let hash = self.hash();
        let parts: [&[u8]; 2] = [b"seal", hash.as_bytes()];
        Ok(chain::hex(&vault.mac_with(
            version,
            Purpose::Audit,
            &parts,
        )?))
    }

    fn is_ours(&self, vault: &Vault) -> bool {
        let version = u8::try_from(self.mac_version).ok();
        let expected = version.and_then(|version| self.signed(vault, version).ok());
        expected.is_some_and(|mac| mac.as_bytes().ct_eq(self.mac.as_bytes()).into())
    }
}

/// Why no other trail was begun.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// There is no reason to.
    #[error("the audit trail holds: it goes on, and no other is begun")]
    Holds,
    /// What was judged is not what is there any more: events were removed, by retention or by somebody.
    #[error("the audit trail was changed meanwhile, and nothing was done: try again")]
    Overtaken,
    /// Somebody gave an event a number that leaves no room behind it.
    #[error("event {0} has a number that leaves no room behind it: renumber it first")]
    NoRoom(i64),
    /// The database or the vault failed.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl From<sqlx::Error> for BeginError {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// Seals a trail that does not hold, and begins another behind it, whose first event says what was
/// found and that `by` began it; servers that run go on with the new one. `noted` is an end through
/// which the trail has to go, as for [`chain::verify`].
///
/// The trail is judged and read beside whoever writes. While nobody else may, what was appended meanwhile
/// is read, and the numbers of what was read before are counted: whether any went.
///
/// # Errors
/// [`BeginError`]; nothing was changed.
pub async fn begin(state: &State, by: &str, noted: Option<&End>) -> Result<Seal, BeginError> {
    let vault = &state.vault;
    let mut reader = state.db.read().await?;
    let mut view = reader.begin().await?;
    let Err(found) = chain::follow(vault, &mut view, noted).await? else {
        return Err(BeginError::Holds);
    };
    let before = all(&mut view).await?;
    let last = store::last(&mut view).await?;
    if last >= LAST_NUMBER {
        return Err(BeginError::NoRoom(last));
    }
    let mut covered = Covered::of_seals(&before);
    covered.read_until(&mut view, last).await?;
    view.rollback().await?;
    drop(reader);

    let mut tx = state.db.write().await?;
    let head = store::lock(&mut tx).await?;
    let is_as_judged = all(&mut tx).await? == before
        && store::count_until(&mut tx, covered.at).await? == covered.events;
    if !is_as_judged {
        return Err(BeginError::Overtaken);
    }
    let last = store::last(&mut tx).await?.max(head.end.sequence);
    if last >= LAST_NUMBER {
        return Err(BeginError::NoRoom(last));
    }
    covered.read_until(&mut tx, last).await?;
    let mut seal = Seal {
        number: before
            .last()
            .map_or(1, |seal| seal.number.saturating_add(1)),
        last,
        events: covered.events,
        found: found.to_string(),
        sealed_at: state.clock.now(),
        digest: covered.digest(),
        mac: String::new(),
        mac_version: i64::from(vault.current_version()),
    };
    seal.mac = seal
        .signed(vault, vault.current_version())
        .map_err(Error::from)?;
    insert(&mut tx, &seal).await?;
    let end = seal.end();
    store::write_head(vault, &mut tx, &end, &end, true).await?;
    let told = serde_json::json!({"by": by, "seal": seal.number, "events": seal.events});
    let begun = Event::new(Kind::Audit, Outcome::Success, Actor::Operator)
        .because(BEGUN)
        .changing(Change::new(seal.found.as_str(), told));
    super::record(state, &mut tx, &begun).await?;
    tx.commit().await?;
    tracing::warn!(
        found = seal.found,
        last = seal.last,
        "the audit trail was sealed as it is, and another begun behind it"
    );
    Ok(seal)
}

/// Whether the latest seal is ours, and what it covers as it was.
///
/// # Errors
/// When the database fails; the inner result is about the seals.
pub(super) async fn check(
    vault: &Vault,
    connection: &mut AnyConnection,
    seals: &[Seal],
) -> Result<Result<(), Broken>, Error> {
    let Some((latest, before)) = seals.split_last() else {
        return Ok(Ok(()));
    };
    let mut covered = Covered::of_seals(before);
    covered.read_until(connection, latest.last).await?;
    let holds = latest.is_ours(vault)
        && (covered.events, covered.digest()) == (latest.events, latest.digest.clone());
    Ok(if holds {
        Ok(())
    } else {
        Err(Broken::Sealed(latest.last))
    })
}

/// Whether `row`, which stands behind `at`, is no first event behind a seal, or is that of the latest.
pub(super) fn follows(seals: &[Seal], at: &End, row: &store::Row) -> bool {
    let begins = row.link.kind == Kind::Audit.as_str() && row.link.reason == BEGUN;
    !begins || seals.last().is_some_and(|latest| latest.end() == *at)
}

/// What a seal covers: the seals before, and events up to a number.
struct Covered {
    /// How many events.
    events: i64,
    /// The number of the last.
    at: i64,
    hasher: Sha256,
}

impl Covered {
    fn of_seals(before: &[Seal]) -> Self {
        let mut hasher = Sha256::new();
        for seal in before {
            // As it stands, whether or not it was ours.
            hasher.update((seal.mac.len() as u64).to_be_bytes());
            hasher.update(&seal.mac);
            hasher.update(seal.mac_version.to_be_bytes());
            hasher.update(seal.hash());
        }
        Self {
            events: 0,
            at: i64::MIN,
            hasher,
        }
    }

    /// Goes on with the events up to `last`.
    async fn read_until(&mut self, connection: &mut AnyConnection, last: i64) -> Result<(), Error> {
        loop {
            let rows = store::after(connection, self.at, BATCH).await?;
            if rows.is_empty() {
                return Ok(());
            }
            for row in rows {
                if row.sequence > last {
                    return Ok(());
                }
                // The hash that is stored, and all that it should cover; what cannot be read, as it is.
                let hash = chain::hash(&row.hash, row.sequence, &row.link);
                self.hasher.update(hash);
                if let Some(unreadable) = &row.unreadable {
                    self.hasher.update(b"!");
                    self.hasher.update(unreadable);
                }
                self.at = row.sequence;
                self.events += 1;
            }
        }
    }

    /// SHA-256 of it.
    fn digest(&self) -> String {
        chain::hex(&self.hasher.clone().finalize())
    }
}

/// Every seal, the first first.
pub(super) async fn all(connection: &mut AnyConnection) -> Result<Vec<Seal>, Error> {
    let rows = sqlx::query(
        "SELECT number, last_sequence, events, digest, found, sealed_at, mac, mac_version
         FROM audit_seals ORDER BY number",
    )
    .fetch_all(connection)
    .await?;
    rows.iter().map(read).collect()
}

fn read(row: &AnyRow) -> Result<Seal, Error> {
    Ok(Seal {
        number: row.try_get("number")?,
        last: row.try_get("last_sequence")?,
        events: row.try_get("events")?,
        found: row.try_get("found")?,
        sealed_at: row.try_get("sealed_at")?,
        digest: row.try_get("digest")?,
        mac: row.try_get("mac")?,
        mac_version: row.try_get("mac_version")?,
    })
}

async fn insert(connection: &mut AnyConnection, seal: &Seal) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO audit_seals (number, last_sequence, events, digest, found, sealed_at, mac,
                                  mac_version)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(seal.number)
    .bind(seal.last)
    .bind(seal.events)
    .bind(&seal.digest)
    .bind(&seal.found)
    .bind(seal.sealed_at)
    .bind(&seal.mac)
    .bind(seal.mac_version)
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes what was sealed, with the seals, if the latest was before `instant`; the number up to which
/// events are sealed still.
pub(super) async fn remove_until(
    connection: &mut AnyConnection,
    instant: Timestamp,
) -> Result<Option<i64>, Error> {
    let seals = all(connection).await?;
    let Some(latest) = seals.last() else {
        return Ok(None);
    };
    if latest.sealed_at >= instant {
        return Ok(Some(latest.last));
    }
    sqlx::query("DELETE FROM audit_events WHERE sequence <= $1")
        .bind(latest.last)
        .execute(&mut *connection)
        .await?;
    sqlx::query("DELETE FROM audit_seals")
        .execute(connection)
        .await?;
    Ok(None)
}
