//! The list and the deltas that lead to it, signed for whoever asks.
//!
//! A publication signs none of them: signing hashes the whole document, and nobody may ask for it.
//! What was signed is kept until the next one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use edgekeep_shared::base64url;
use edgekeep_shared::control::DocumentType;
use edgekeep_shared::revocation::HashKey;
use edgekeep_shared::time::UnixTime;

use super::control_key::ControlKey;
use super::ledger::Ledger;
use super::store::Row;
use crate::clock::{Clock, Timestamp};
use crate::error::Error;
use crate::random::Random;
use crate::tokens::Published;

/// Bytes of a list that is large: signing it takes milliseconds.
pub const LARGE_BYTES: usize = 64 * 1024;

/// How old a large list may be that is sent although there is a newer one. Only who has no list yet,
/// or knows no deltas, asks for it; while sessions end every moment it would be signed as often.
const LARGE_INTERVAL: Duration = Duration::from_secs(1);

/// Changes of a delta that is made while its asker's thread waits: a millisecond.
const QUICK: usize = 2_000;

/// Changes that the delta in the key-value listener has about, however little its reader missed:
/// 60 KB, a quarter of a minute of 250,000 entries.
const KV_CHANGES: u64 = 5_000;

/// By whom and as what a publication is signed.
#[derive(Clone, Debug)]
pub(super) struct Signing {
    pub(super) control_key: Arc<ControlKey>,
    pub(super) sequence: u64,
    pub(super) issued_at: UnixTime,
}

/// The last publication, and what was signed of it.
#[derive(Debug)]
struct Held {
    ledger: Ledger,
    signing: Option<Signing>,
    /// The list signed last, its number, and when.
    list: Option<(Published, u64, Timestamp)>,
    /// Deltas to the last publication by their base; none where the list is sent instead.
    deltas: HashMap<u64, Option<Published>>,
}

/// Signs lists and deltas.
#[derive(Debug)]
pub struct Lists {
    issuer: String,
    clock: Clock,
    random: Random,
    held: Arc<Mutex<Held>>,
    /// One list is signed at a time.
    signing_list: tokio::sync::Mutex<()>,
}

/// A list that was signed, with its number.
#[derive(Clone, Debug)]
pub struct SignedList {
    /// The document.
    pub document: Published,
    /// Its number.
    pub sequence: u64,
}

impl Lists {
    pub(super) fn new(issuer: String, clock: &Clock, random: &Random) -> Self {
        Self {
            issuer,
            clock: clock.clone(),
            random: random.clone(),
            held: Arc::new(Mutex::new(Held {
                ledger: Ledger::new(HashKey(random.bytes())),
                signing: None,
                list: None,
                deltas: HashMap::new(),
            })),
            signing_list: tokio::sync::Mutex::default(),
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many entries were published.
    pub(super) fn len(&self) -> usize {
        self.held().ledger.len()
    }

    /// Bytes of the list, but for header and signature.
    pub fn body_len(&self) -> usize {
        self.held().ledger.body_len()
    }

    /// Takes rows to be published later.
    pub(super) fn take(&self, rows: &[Row]) {
        let mut held = self.held();
        for row in rows {
            held.ledger.take(row);
        }
    }

    /// Publishes what was taken and these rows, without what no longer matters at `now`; false if
    /// that failed: then another series has begun, without any entries.
    pub(super) fn publish(&self, rows: &[Row], now: Timestamp, signing: &Signing) -> bool {
        let mut held = self.held();
        for row in rows {
            held.ledger.take(row);
        }
        held.ledger.expire(now);
        held.deltas.clear();
        held.signing = Some(signing.clone());
        let is_whole = held.ledger.publish(signing.sequence);
        if !is_whole {
            held.ledger = Ledger::new(HashKey(self.random.bytes()));
            (held.list, held.signing) = (None, None);
        }
        is_whole
    }

    pub(super) fn sign(
        &self,
        signing: &Signing,
        document_type: DocumentType,
        body: &[u8],
    ) -> Vec<u8> {
        let (sequence, issued_at) = (signing.sequence, signing.issued_at);
        let key = &signing.control_key;
        key.sign(document_type, &self.issuer, sequence, issued_at, body)
    }

    /// The list: of now, unless it is a large one that was signed less than a second ago.
    ///
    /// # Errors
    /// When there is none yet.
    pub async fn list(&self) -> Result<SignedList, Error> {
        if let Some(list) = self.signed() {
            return Ok(list);
        }
        let _turn = self.signing_list.lock().await;
        if let Some(list) = self.signed() {
            return Ok(list);
        }
        let (signing, tag, body) = {
            let held = self.held();
            let signing = held.signing.clone().ok_or_else(not_yet)?;
            (signing, held.tag(), held.ledger.body())
        };
        let (issuer, sequence) = (self.issuer.clone(), signing.sequence);
        let bytes = tokio::task::spawn_blocking(move || {
            let (key, issued_at) = (&signing.control_key, signing.issued_at);
            let list = DocumentType::Revocations;
            key.sign(list, &issuer, sequence, issued_at, &body)
        })
        .await
        .map_err(|_| Error::internal("the list could not be signed"))?;
        let document = Published::named(bytes, &tag);
        self.held().list = Some((document.clone(), sequence, self.clock.now()));
        Ok(SignedList { document, sequence })
    }

    fn signed(&self) -> Option<SignedList> {
        let now = self.clock.now();
        let held = self.held();
        let (document, sequence, at) = held.list.as_ref()?;
        let is_recent = *at <= now && now < *at + LARGE_INTERVAL;
        let is_large = document.bytes().len() > LARGE_BYTES;
        let counts = *sequence == held.ledger.sequence() || (is_large && is_recent);
        counts.then(|| SignedList {
            document: document.clone(),
            sequence: *sequence,
        })
    }

    /// A delta that leads to the list of now from the one numbered `since` of the series `key`, if
    /// there is one and it is shorter than the list.
    ///
    /// # Errors
    /// When it could not be made.
    pub async fn delta(&self, since: u64, key: &HashKey) -> Result<Option<Published>, Error> {
        let base = {
            let held = self.held();
            (held.ledger.key() == key).then(|| held.ledger.base(since))
        };
        match base.flatten() {
            Some(base) => self.delta_from(base).await,
            None => Ok(None),
        }
    }

    /// A delta from the list numbered `since` of this series; see [`delta`](Self::delta).
    ///
    /// # Errors
    /// When it could not be made.
    pub async fn delta_since(&self, since: u64) -> Result<Option<Published>, Error> {
        let base = self.held().ledger.base(since);
        match base {
            Some(base) => self.delta_from(base).await,
            None => Ok(None),
        }
    }

    /// A delta from the last few thousand changes on, for readers who cannot say what they hold.
    ///
    /// # Errors
    /// When it could not be made.
    pub async fn latest_delta(&self) -> Result<Option<Published>, Error> {
        let base = self.held().ledger.base_within(KV_CHANGES);
        match base {
            Some(base) => self.delta_from(base).await,
            None => Ok(None),
        }
    }

    /// A delta from `list` to itself, which can be applied to none: it sends its readers to that list.
    /// One of a later number would tell them that there is a newer list, which nobody has written.
    ///
    /// # Errors
    /// When there is no list yet.
    pub fn closed_delta(&self, list: &SignedList) -> Result<Published, Error> {
        let held = self.held();
        let signing = Signing {
            sequence: list.sequence,
            ..held.signing.clone().ok_or_else(not_yet)?
        };
        let body = held.ledger.closed_delta(list.sequence);
        let bytes = self.sign(&signing, DocumentType::RevocationsDelta, &body);
        Ok(Published::named(bytes, &held.tag()))
    }

    async fn delta_from(&self, base: u64) -> Result<Option<Published>, Error> {
        let is_quick = {
            let held = self.held();
            if let Some(known) = held.deltas.get(&base) {
                return Ok(known.clone());
            }
            held.ledger.changes_since(base) <= QUICK
        };
        let (held, issuer) = (Arc::clone(&self.held), self.issuer.clone());
        let make = move || {
            let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
            held.make_delta(base, &issuer)
        };
        if is_quick {
            return Ok(make());
        }
        tokio::task::spawn_blocking(make)
            .await
            .map_err(|_| Error::internal("the delta could not be made"))
    }
}

impl Held {
    /// The name of what is current: no two publications of one database have the same number.
    fn tag(&self) -> String {
        let key = base64url::encode(&self.ledger.key().0);
        format!("{}.{key}", self.ledger.sequence())
    }

    fn make_delta(&mut self, base: u64, issuer: &str) -> Option<Published> {
        if let Some(made) = self.deltas.get(&base) {
            return made.clone();
        }
        let signing = self.signing.as_ref()?;
        let (sequence, issued_at) = (signing.sequence, signing.issued_at);
        let delta = self.ledger.delta(base).map(|body| {
            let delta = DocumentType::RevocationsDelta;
            let key = &signing.control_key;
            let bytes = key.sign(delta, issuer, sequence, issued_at, &body);
            Published::named(bytes, &self.tag())
        });
        self.deltas.insert(base, delta.clone());
        delta
    }
}

fn not_yet() -> Error {
    Error::internal("no list was made yet")
}
