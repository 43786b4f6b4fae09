//! What is known of the issuer, and the verdicts that it leads to.

use std::sync::atomic::{AtomicBool, AtomicI64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use edgekeep_shared::error::Rejection;
use edgekeep_shared::gate::cache::{TokenHash, VerifiedTokens};
use edgekeep_shared::gate::keys::HeldKeys;
use edgekeep_shared::gate::list::HeldList;
use edgekeep_shared::gate::refresh::Millis;
use edgekeep_shared::gate::{self, Admission, Knowledge, Need, Obstacle, Progress};
use edgekeep_shared::time::UnixTime;
use edgekeep_shared::verifier::VerifiedToken;
use reqwest::header::HeaderValue;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::options::Settings;
use crate::refresh::Part;

/// Verified tokens per generation. With claims of 1 KiB two generations take 8 MiB, at most 16.
const CACHED_TOKENS: usize = 4_096;

type Verdict = Result<Admission, Obstacle<'static>>;

/// What is held.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(crate) keys: HeldKeys,
    pub(crate) list: HeldList,
    /// The `ETag` of the list, if that very list was taken.
    pub(crate) list_etag: Option<HeaderValue>,
}

/// Judges the tokens of one issuer, for all clones of a verifier and all their requests.
#[derive(Debug)]
pub(crate) struct Judge {
    pub(crate) settings: Settings,
    held: RwLock<Held>,
    /// Locked after `held`, never before.
    verified: Mutex<VerifiedTokens>,
    /// Told when an attempt to refresh a part has ended.
    pub(crate) ended: [watch::Sender<()>; 2],
    /// What goes on behind the requests; ended with the judge.
    pub(crate) tasks: Mutex<JoinSet<()>>,
    /// When a request last used the list.
    pub(crate) list_used_at: AtomicI64,
    /// Whether somebody sees to it that the list is checked.
    pub(crate) is_watched: AtomicBool,
}

impl Judge {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            held: RwLock::default(),
            verified: Mutex::new(VerifiedTokens::new(CACHED_TOKENS)),
            ended: Default::default(),
            tasks: Mutex::default(),
            list_used_at: AtomicI64::new(Millis::MIN),
            is_watched: AtomicBool::new(false),
        }
    }

    pub(crate) fn now(&self) -> Millis {
        self.settings.clock.now()
    }

    pub(crate) fn seconds(&self) -> UnixTime {
        UnixTime(self.now().div_euclid(1_000))
    }

    // A request that panicked has left nothing half-way: each change is one call into `shared`.
    pub(crate) fn held(&self) -> RwLockReadGuard<'_, Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn held_mut(&self) -> RwLockWriteGuard<'_, Held> {
        self.held.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn verified(&self) -> MutexGuard<'_, VerifiedTokens> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Judges a token, waiting for what has to be fetched first: at most once for each document.
    pub(crate) async fn judge(
        self: &Arc<Self>,
        text: &str,
    ) -> Result<Arc<VerifiedToken>, Rejection> {
        self.refresh_keys_if_due();
        let mut progress = Progress::default();
        loop {
            let (verdict, [keys, list]) = self.judge_now(text, &mut progress);
            match verdict {
                Ok(admission) => {
                    if admission.list.check {
                        self.refresh(Part::List);
                    }
                    if admission.list.used {
                        self.keep_list_checked();
                    }
                    return Ok(admission.token);
                }
                Err(Obstacle::Refuse(refusal)) => return Err(refusal.rejection),
                Err(Obstacle::Wait(Need::Keys)) => {
                    self.wait_for(Part::Keys, keys).await;
                    progress.waited_for_keys = true;
                }
                Err(Obstacle::Wait(Need::List)) => {
                    self.wait_for(Part::List, list).await;
                    progress.waited_for_list = true;
                }
                // No option asks for more; what would need it does not count.
                Err(Obstacle::Wait(_)) => return Err(Rejection::RevocationUnavailable),
            }
        }
    }

    /// Without keys that count, whoever needs them waits for them.
    fn refresh_keys_if_due(self: &Arc<Self>) {
        let now = self.now();
        let is_due = {
            let held = self.held();
            held.keys.usable(now).is_some() && held.keys.is_due(now)
        };
        if is_due {
            self.refresh(Part::Keys);
        }
    }

    /// The verdict, and which attempts to refresh keys and list it rests on.
    fn judge_now(&self, text: &str, progress: &mut Progress) -> (Verdict, [u32; 2]) {
        let hash = TokenHash::of(text.as_bytes());
        // Held until the verdict is kept: whoever changes the keys forgets all verdicts, and none
        // must come in afterwards that rests on the keys before.
        let held = self.held();
        // A cache for this one token, so that nobody waits for another's signature.
        let mut verified = VerifiedTokens::new(1);
        let known = self.verified().find(&hash);
        let is_known = known.is_some();
        if let Some(token) = known {
            verified.insert(hash, token);
        }
        let mut knowledge = Knowledge {
            verifier: &self.settings.verifier,
            keys: &held.keys,
            foreign: &[],
            list: &held.list,
            sources: self.settings.sources,
            verified: &mut verified,
        };
        let revocation = self.settings.revocation;
        let verdict = gate::judge(text, revocation, &mut knowledge, progress, self.now());
        if !is_known && let Some(token) = verified.find(&hash) {
            self.verified().insert(hash, token);
        }
        let last = [Part::Keys, Part::List].map(|part| held.attempts(part).ended());
        (verdict, last)
    }
}
