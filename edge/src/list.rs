//! Keeping the revocation list current: by deltas where they lead on from the list that is held,
//! else by the whole list.
//!
//! What changed is small, the list may have megabytes. So it is verified in pieces with pauses in
//! between, and asked for only by who holds none, or one that no delta leads on from.

use std::{pin::pin, time::Duration};

use edgekeep_shared::{
    control::{ControlKeys, MAX_DOCUMENT_BYTES},
    gate::{list::NotTaken, refresh::Attempt},
    revocation::{
        DELTA_MEDIA_TYPE, HashKey, MAX_DELTA_BYTES, RevocationDelta, RevocationList, feed_query,
    },
};
use futures_util::future::join;
use worker::{console_error, console_warn, web_sys::Response};

use crate::{
    js::{self, pause, read_body, within},
    knowledge::Shared,
    sources::{Feed, NoAnswer},
};

/// KV is asked beside a feed that has not answered so soon: a gate that waits for its first list
/// should not wait for the feed's deadline, and while the feed answers, KV knows nothing newer.
const PATIENCE: Duration = Duration::from_millis(250);

/// Seconds after which the keep has signed another list four times, by its default heartbeat: what says
/// then that an older one is the newest may be a cache on the way.
const OLD: i64 = 60;

/// Where the list is in KV.
const KV_LIST: &str = "revocations";

/// Where the delta is that leads on from it, while it is a large one.
const KV_DELTA: &str = "revocations-delta";

/// Where the feed is, for whoever holds a list.
pub(crate) fn feed_url(origin: &str, held: Option<(u64, HashKey)>) -> String {
    let url = format!("{origin}/.well-known/revocations");
    match held {
        Some((sequence, key)) => format!("{url}?{}", feed_query(sequence, &key)),
        None => url,
    }
}

/// Reads what the feed has sent.
pub(crate) async fn read_feed(response: &Response) -> Option<Feed> {
    let headers = response.headers();
    let etag = headers.get("etag").ok().flatten();
    let content_type = headers.get("content-type").ok().flatten();
    if content_type.as_deref() == Some(DELTA_MEDIA_TYPE) {
        // One that is too long leads on as little as one that is not signed: the list is asked for.
        let delta = read_body(response, MAX_DELTA_BYTES).await;
        return Some(Feed::Delta(delta.unwrap_or_default(), etag));
    }
    Some(Feed::List(
        read_body(response, MAX_DOCUMENT_BYTES).await?,
        etag,
    ))
}

/// What has come of asking the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    /// The held list is the newest, now.
    Newest,
    /// It is the newest that the feed knows of, and [old](OLD).
    Old,
    /// Nothing that counts.
    Nothing,
}

impl Shared {
    /// Where there is a feed, it has the word: KV may be minutes behind, so that its list counts as
    /// it comes but is no check, unless the feed does not answer in time. One whose list is old is
    /// not believed to have the newest until KV was asked, too.
    pub(crate) async fn refresh_list(&self, attempt: Attempt) {
        let mut feed = pin!(self.list_by_feed(attempt));
        let (heard, by_kv) = match within(PATIENCE, feed.as_mut()).await {
            Some(Heard::Newest) => (Heard::Newest, false),
            Some(heard) => (heard, self.list_by_kv().await),
            None => join(feed, self.list_by_kv()).await,
        };
        if heard != Heard::Newest {
            let is_checked = by_kv || heard == Heard::Old;
            let list = &mut self.known.borrow_mut().list;
            list.finish(attempt, js::now(), is_checked);
        }
    }

    /// What the feed says of the held list. That it is the newest ends the attempt at once: nobody
    /// waits for KV behind a feed that has answered.
    async fn list_by_feed(&self, attempt: Attempt) -> Heard {
        let (etag, held) = {
            let known = self.known.borrow();
            let held = known.list.held();
            let of_held = |(_, number): &&(String, u64)| Some(*number) == held.map(|held| held.0);
            let etag = known.list_etag.as_ref().filter(of_held);
            (etag.map(|(etag, _)| etag.clone()), held)
        };
        let mut answer = self.sources.list_from_feed(&self.config, etag, held).await;
        if let Some(Feed::Delta(delta, etag)) = &mut answer {
            if self.apply(delta) {
                self.keep_etag(etag.take());
                answer = Some(Feed::Unchanged);
            } else {
                answer = self.sources.list_from_feed(&self.config, None, None).await;
            }
        }
        let confirmed = match answer {
            Some(Feed::List(list, etag)) => {
                let taken = self.take(list).await;
                self.keep_etag(etag.filter(|_| taken));
                taken
            }
            // The list is the one that was taken from it.
            Some(Feed::Unchanged) => self.known.borrow().list.list().is_some(),
            // Nobody asked for one.
            Some(Feed::Delta(..)) | None => false,
        };
        if !confirmed {
            return Heard::Nothing;
        }
        if self.is_old() {
            return Heard::Old;
        }
        self.known
            .borrow_mut()
            .list
            .finish(attempt, js::now(), true);
        Heard::Newest
    }

    /// Keeps what the feed calls the list that is held now.
    fn keep_etag(&self, etag: Option<String>) {
        let mut known = self.known.borrow_mut();
        let number = known.list.held().map(|(number, _)| number);
        known.list_etag = etag.zip(number);
    }

    /// Whether the held list was signed so long ago that the keep has signed another since.
    fn is_old(&self) -> bool {
        let known = self.known.borrow();
        let signed_at = known.list.list().map(|list| list.issued_at().0);
        signed_at.is_some_and(|signed_at| js::now().div_euclid(1_000) - signed_at > OLD)
    }

    /// Whether KV has nothing newer than the held list, now.
    ///
    /// A small list is written there whenever it changes. A large one may be minutes old, and what
    /// changed since is in the delta: without that, it is no check.
    async fn list_by_kv(&self) -> bool {
        let read = async |key| self.sources.list_from_kv(&self.config, key).await;
        let (list, delta) = match self.number_held() {
            Some((_, true)) => (read(KV_LIST).await, None),
            Some((sequence, false)) => {
                let delta = read(KV_DELTA).await;
                if let Ok(Some(bytes)) = &delta {
                    match RevocationDelta::unverified_span(bytes) {
                        // It leads nowhere: the list is small, and all there is.
                        Some((base, latest)) if base == latest => {}
                        // Read again and again until it changes; verified when it does.
                        Some((_, latest)) if latest <= sequence => return latest == sequence,
                        _ if self.apply(bytes) => return true,
                        _ => {}
                    }
                }
                (read(KV_LIST).await, Some(delta))
            }
            // Whoever waits for the first list does not wait twice.
            None => {
                let (list, delta) = join(read(KV_LIST), read(KV_DELTA)).await;
                (list, Some(delta))
            }
        };
        let Ok(Some(list)) = list else {
            return false;
        };
        if !self.take(list).await {
            // A small one that came by the feed, while KV's grows: the delta may lead on from it.
            return match delta {
                None => matches!(read(KV_DELTA).await, Ok(Some(bytes)) if self.apply(&bytes)),
                Some(_) => false,
            };
        }
        let Some((sequence, is_small)) = self.number_held() else {
            return false;
        };
        let delta = match delta {
            Some(delta) => delta,
            None if is_small => return true,
            // The list was a small one until now.
            None => read(KV_DELTA).await,
        };
        match delta {
            Ok(Some(bytes)) => match RevocationDelta::unverified_span(&bytes) {
                Some((_, latest)) if latest <= sequence => true,
                // There is a later list than the one that was read.
                _ => self.apply(&bytes),
            },
            // An issuer that writes none writes the list.
            Ok(None) => true,
            Err(NoAnswer) => is_small,
        }
    }

    /// The number of the held list, and whether it is a small one.
    fn number_held(&self) -> Option<(u64, bool)> {
        let known = self.known.borrow();
        let list = known.list.list()?;
        Some((list.sequence(), list.is_small()))
    }

    /// Brings the held list up to date, or learns that it is; whether it is.
    fn apply(&self, bytes: &[u8]) -> bool {
        let Some((control_keys, issuer)) = self.trusted() else {
            return false;
        };
        let delta = match RevocationDelta::open(bytes, control_keys, issuer) {
            Ok(delta) => delta,
            Err(error) => {
                console_warn!("revocation delta refused: {error}");
                return false;
            }
        };
        let list = &mut self.known.borrow_mut().list;
        list.follow(&delta, js::now())
            .inspect_err(|reason| console_warn!("revocation delta not applied: {reason}"))
            .is_ok()
    }

    /// Holds the list in `bytes` from now on, unless the held one is newer; whether it does.
    async fn take(&self, bytes: Vec<u8>) -> bool {
        match self.open(bytes).await {
            Some(list) => self.offer(list),
            None => false,
        }
    }

    async fn open(&self, bytes: Vec<u8>) -> Option<RevocationList> {
        let (control_keys, issuer) = self.trusted()?;
        let opened = match RevocationList::opening(bytes, control_keys, issuer) {
            Ok(mut opening) => {
                while opening.advance() {
                    pause().await;
                }
                opening.finish()
            }
            Err(error) => Err(error),
        };
        opened
            .inspect_err(|error| console_warn!("revocation list refused: {error}"))
            .ok()
    }

    fn offer(&self, list: RevocationList) -> bool {
        match self.known.borrow_mut().list.offer(list, js::now()) {
            Ok(()) => true,
            // KV may be a minute behind the feed: nothing to tell while the other confirms.
            Err(NotTaken::Older) => false,
            Err(reason) => {
                console_error!("revocation list not taken: {reason:?}");
                false
            }
        }
    }

    fn trusted(&self) -> Option<(&ControlKeys, &str)> {
        let control_keys = self.config.control_keys.as_ref()?;
        Some((control_keys, self.config.verifier.issuer()))
    }
}
