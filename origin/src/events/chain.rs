//! The chain: SHA-256 of each event over the one before, its ends held by a MAC.
//!
//! ```text
//! hash(n) = SHA-256(hash(n - 1) | sequence | id | instant | kind | … | hash of the details)
//! ```
//!
//! each part preceded by its length. Who can write to the database can compute hashes, but not the
//! MAC over the chain's two ends, whose key is derived from the master key. The server must not
//! compute it for them: it signs a new end only behind one that it signed, the first when the
//! database is made. Ends that are not as they were signed are never signed again ([`VOID`]).
//!
//! Behind a trail that does not hold another is begun by hand ([`seals`](super::seals)).
//!
//! What they still can do is put back an older copy of the trail with its ends; the end that is
//! logged every hour, kept elsewhere, shows that ([`verify`] takes it).

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};
use sqlx::{AnyConnection, Connection as _};
use subtle::ConstantTimeEq as _;

use super::seals::{self, Seal};
use super::store::{self, Head};
use super::{Kind, Outcome};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::{SessionId, UserId};
use crate::vault::{Purpose, Vault, VaultError};

/// What the chain covers of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) id: Vec<u8>,
    pub(super) occurred_at: Timestamp,
    pub(super) kind: String,
    pub(super) outcome: String,
    pub(super) reason: String,
    pub(super) actor: String,
    pub(super) user_id: Option<UserId>,
    pub(super) session_id: Option<SessionId>,
    pub(super) request_id: String,
    pub(super) details_hash: Vec<u8>,
}

impl Link {
    /// What is known of an event of which nothing can be read.
    pub(super) const fn unreadable() -> Self {
        Self {
            id: Vec::new(),
            occurred_at: Timestamp::from_micros(0),
            kind: String::new(),
            outcome: String::new(),
            reason: String::new(),
            actor: String::new(),
            user_id: None,
            session_id: None,
            request_id: String::new(),
            details_hash: Vec::new(),
        }
    }
}

/// An end of the chain: the number of an event, and its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// 0: before the first.
    pub sequence: i64,
    /// In hexadecimal; empty before the first.
    pub hash: String,
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.sequence, self.hash)
    }
}

impl std::str::FromStr for End {
    type Err = String;

    /// Reads what [`Display`](std::fmt::Display) writes.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "expected NUMBER:HASH, as `edgekeep audit verify` prints it".to_owned();
        let (sequence, hash) = text.split_once(':').ok_or_else(wrong)?;
        let is_hash = hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit());
        if !(is_hash || text == "0:") {
            return Err(wrong());
        }
        Ok(Self {
            sequence: sequence.parse().map_err(|_| wrong())?,
            hash: hash.to_ascii_lowercase(),
        })
    }
}

/// What is wrong with the trail.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The MAC over the ends does not fit: cut, or written by another hand.
    #[error("the ends of the trail are not as they were signed")]
    Ends,
    /// A number is missing or comes twice.
    #[error("event {0} is missing")]
    Missing(i64),
    /// An event is not what was recorded.
    #[error("event {0} was changed")]
    Changed(i64),
    /// The details of an event are not those that were recorded with it.
    #[error("the details of event {0} were changed")]
    Details(i64),
    /// There are events behind the signed end.
    #[error("there is an event {0} behind the signed end")]
    Behind(i64),
    /// What was sealed, or the latest seal, is not as it was.
    #[error("what was sealed up to event {0} is not as it was sealed")]
    Sealed(i64),
    /// The trail does not go through an end that was noted elsewhere.
    #[error("the trail does not contain the end that was noted: {0}")]
    NotThrough(String),
}

/// SHA-256 of what is sealed beside an event.
pub(super) fn hash_details(json: &[u8]) -> Vec<u8> {
    Sha256::digest(json).to_vec()
}

/// The hash of the event `link` with the number `sequence` behind `previous`.
pub(super) fn hash(previous: &str, sequence: i64, link: &Link) -> String {
    let none: &[u8] = &[];
    let parts: [&[u8]; 12] = [
        previous.as_bytes(),
        &sequence.to_be_bytes(),
        &link.id,
        &link.occurred_at.micros().to_be_bytes(),
        link.kind.as_bytes(),
        link.outcome.as_bytes(),
        link.reason.as_bytes(),
        link.actor.as_bytes(),
        link.user_id.as_ref().map_or(none, |id| id.as_bytes()),
        link.session_id.as_ref().map_or(none, |id| id.as_bytes()),
        link.request_id.as_bytes(),
        &link.details_hash,
    ];
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hex(&hasher.finalize())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing into a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The MAC over both ends.
pub(super) fn mac(
    vault: &Vault,
    version: u8,
    start: &End,
    end: &End,
) -> Result<String, VaultError> {
    let parts: [&[u8]; 4] = [
        &start.sequence.to_be_bytes(),
        start.hash.as_bytes(),
        &end.sequence.to_be_bytes(),
        end.hash.as_bytes(),
    ];
    Ok(hex(&vault.mac_with(version, Purpose::Audit, &parts)?))
}

/// Stands in the place of the MAC once the ends were found altered. No MAC reads like it, so that
/// whatever is appended behind, the trail is never again what it was not.
pub(super) const VOID: &str = "void";

/// Whether both ends are as they were signed.
///
/// # Errors
/// When they are signed under a master key that is not configured: another process may have taken
/// it up, so that this says nothing about the trail.
pub(super) fn holds(vault: &Vault, head: &Head) -> Result<bool, VaultError> {
    // What was never signed has no version either.
    let (true, Ok(version)) = (head.mac.len() == 64, u8::try_from(head.mac_version)) else {
        return Ok(false);
    };
    let expected = mac(vault, version, &head.start, &head.end)?;
    Ok(expected.as_bytes().ct_eq(head.mac.as_bytes()).into())
}

/// Signs the ends of a trail in which nothing is yet; for a database that is being made. Later an
/// empty trail without a MAC is one that somebody emptied.
///
/// # Errors
/// When the database or the vault fails.
pub(crate) async fn begin(vault: &Vault, connection: &mut AnyConnection) -> Result<(), Error> {
    let head = store::head(connection).await?;
    if head.mac.is_empty() && head.end.sequence == 0 {
        store::write_head(vault, connection, &head.start, &head.end, true).await?;
    }
    Ok(())
}

/// Whether the rows between two ends are what their hashes say. Whoever can write to the database
/// could otherwise have retention take what they changed, by making it old.
pub(super) async fn leads(
    connection: &mut AnyConnection,
    from: &End,
    to: &End,
) -> Result<bool, Error> {
    let mut at = from.clone();
    while at.sequence < to.sequence {
        let rows = store::after(connection, at.sequence, BATCH).await?;
        if rows.is_empty() {
            return Ok(false);
        }
        for row in rows {
            let hash = hash(&at.hash, row.sequence, &row.link);
            if row.sequence != at.sequence + 1 || !row.has_hash(&hash) {
                return Ok(false);
            }
            at = End {
                sequence: row.sequence,
                hash,
            };
            if at.sequence == to.sequence {
                break;
            }
        }
    }
    Ok(at == *to)
}

/// Details that are not there any more. Only the erasure of the person whom they are about takes
/// them away, and it is recorded behind them.
#[derive(Default)]
struct Erased {
    /// By person, the first of their events without details and without an erasure behind it.
    open: BTreeMap<[u8; 16], i64>,
    /// The first such event about nobody.
    of_nobody: Option<i64>,
}

impl Erased {
    fn note(&mut self, row: &store::Row) {
        let user = row.link.user_id.map(|id| *id.as_bytes());
        match user {
            Some(user) if row.details.is_none() => {
                self.open.entry(user).or_insert(row.sequence);
            }
            Some(user) if is_erasure(&row.link) => {
                self.open.remove(&user);
            }
            None if row.details.is_none() => {
                self.of_nobody.get_or_insert(row.sequence);
            }
            _ => {}
        }
    }

    /// The first event whose details nobody may have taken away.
    fn first(&self) -> Option<i64> {
        let of_people = self.open.values().copied();
        of_people.chain(self.of_nobody).min()
    }
}

fn is_erasure(link: &Link) -> bool {
    link.kind == Kind::Erasure.as_str() && link.outcome == Outcome::Success.as_str()
}

/// What was found of a trail that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sound {
    /// How many events there are.
    pub events: u64,
    /// The end, to be noted elsewhere.
    pub end: End,
    /// Trails before it that do not hold, sealed as they were found.
    pub seals: Vec<Seal>,
}

/// How many events are read at a time.
pub(super) const BATCH: i64 = 1_000;

/// Follows the whole trail. `noted` is an end that was written down before, through which it must
/// go; one that retention has removed since is not found either.
///
/// # Errors
/// When the database fails; the inner result is about the trail.
pub async fn verify(
    vault: &Vault,
    connection: &mut AnyConnection,
    noted: Option<&End>,
) -> Result<Result<Sound, Broken>, Error> {
    // One view of the database: a server that runs meanwhile goes on writing.
    let mut view = connection.begin().await?;
    let outcome = follow(vault, &mut view, noted).await;
    view.rollback().await?;
    outcome
}

/// [`verify`] within the caller's transaction.
pub(super) async fn follow(
    vault: &Vault,
    connection: &mut AnyConnection,
    noted: Option<&End>,
) -> Result<Result<Sound, Broken>, Error> {
    let head = store::head(connection).await?;
    if !holds(vault, &head).unwrap_or(false) {
        return Ok(Err(Broken::Ends));
    }
    let seals = seals::all(connection).await?;
    if let Err(broken) = seals::check(vault, connection, &seals).await? {
        return Ok(Err(broken));
    }
    let mut erased = Erased::default();
    let mut at = head.start.clone();
    let mut through = noted.is_none_or(|noted| *noted == at);
    let mut events = 0;
    loop {
        let rows = store::after(connection, at.sequence, BATCH).await?;
        if rows.is_empty() {
            break;
        }
        for row in rows {
            if row.sequence != at.sequence + 1 {
                return Ok(Err(Broken::Missing(at.sequence + 1)));
            }
            if row.sequence > head.end.sequence {
                return Ok(Err(Broken::Behind(row.sequence)));
            }
            let hash = hash(&at.hash, row.sequence, &row.link);
            if !row.has_hash(&hash) {
                return Ok(Err(Broken::Changed(row.sequence)));
            }
            if !seals::follows(&seals, &at, &row) {
                return Ok(Err(Broken::Sealed(at.sequence)));
            }
            erased.note(&row);
            if let Some(sealed) = &row.details {
                let opened = vault.open(Purpose::Audit, &row.link.id, sealed);
                if !opened.is_ok_and(|json| hash_details(&json) == row.link.details_hash) {
                    return Ok(Err(Broken::Details(row.sequence)));
                }
            }
            at = End {
                sequence: row.sequence,
                hash: row.hash,
            };
            through |= noted == Some(&at);
            events += 1;
        }
    }
    Ok(if at != head.end {
        Err(Broken::Missing(at.sequence + 1))
    } else if let Some(sequence) = erased.first() {
        Err(Broken::Details(sequence))
    } else if through {
        Ok(Sound {
            events,
            end: at,
            seals,
        })
    } else {
        Err(not_through(noted))
    })
}

fn not_through(noted: Option<&End>) -> Broken {
    Broken::NotThrough(noted.map(ToString::to_string).unwrap_or_default())
}

/// The end of the trail now, and whether both ends are as they were signed.
///
/// # Errors
/// When the database or the vault fails.
pub async fn end(vault: &Vault, connection: &mut AnyConnection) -> Result<(End, bool), Error> {
    let head = store::head(connection).await?;
    let signed = holds(vault, &head)?;
    Ok((head.end, signed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_read_as_it_is_written() {
        for end in [
            End {
                sequence: 0,
                hash: String::new(),
            },
            End {
                sequence: 17,
                hash: "ab".repeat(32),
            },
        ] {
            assert_eq!(end.to_string().parse(), Ok(end));
        }
        for text in ["", "17", "17:", "x:", "17:ab", "1:\u{e9}", ":", "-:00"] {
            assert!(text.parse::<End>().is_err(), "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_noted_end_panics(text: String, hex in "[0-9a-f:é]{0,70}") {
            let _ = text.parse::<End>();
            let _ = format!("1:{hex}").parse::<End>();
        }
    }
}
