//! Having keys and list refreshed, by the gate's rules on when to ask and what to take.
//!
//! An attempt is a task of its own: a client that hangs up takes nobody's answer with it. It holds
//! the judge only for as long as it takes to look at it, so that it ends with the verifier.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use edgekeep_shared::control::ControlKeys;
use edgekeep_shared::gate::keys::Freshness;
use edgekeep_shared::gate::list::{DEADLINE, FRESH, KEPT, NotTaken};
use edgekeep_shared::gate::refresh::{Attempt, Attempts, Millis};
use edgekeep_shared::jwk::JwkSet;
use edgekeep_shared::revocation::{RevocationDelta, RevocationList, feed_query};
use reqwest::header::HeaderValue;
use tokio::runtime::Handle;

use crate::judge::{Held, Judge};
use crate::source::{Answer, Known, Problem, Source};

/// What an attempt has: the source's limit, twice where a delta leads nowhere, and a little to be told of.
const ATTEMPT: Millis = 2 * DEADLINE + 200;

/// What can be refreshed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Keys,
    List,
}

impl Held {
    pub(crate) const fn attempts(&self, part: Part) -> &Attempts {
        match part {
            Part::Keys => self.keys.attempts(),
            Part::List => self.list.attempts(),
        }
    }

    fn begin(&mut self, part: Part, now: Millis) -> Option<Attempt> {
        match part {
            Part::Keys => self.keys.begin(now, now + ATTEMPT),
            Part::List => self.list.begin(now, now + ATTEMPT),
        }
    }

    fn finish(&mut self, part: Part, attempt: Attempt, now: Millis, succeeded: bool) {
        match part {
            Part::Keys => self.keys.finish(attempt, now, succeeded),
            Part::List => self.list.finish(attempt, now, succeeded),
        }
    }
}

impl Judge {
    /// Has `part` refreshed, unless that is under way or too soon; whether it was begun.
    pub(crate) fn refresh(self: &Arc<Self>, part: Part) -> bool {
        self.refresh_after(part, None)
    }

    /// [`refresh`](Self::refresh), unless another attempt than `last` has ended since.
    fn refresh_after(self: &Arc<Self>, part: Part, last: Option<u32>) -> bool {
        // Of all requests that come meanwhile none takes the writer's turn.
        if self.is_under_way(part) {
            return false;
        }
        let begun = {
            let mut held = self.held_mut();
            let ended = held.attempts(part).ended();
            if last.is_some_and(|last| last != ended) {
                return false;
            }
            held.begin(part, self.now())
        };
        let Some(attempt) = begun else {
            return false;
        };
        let is_spawned = self.spawn(exchange(Arc::downgrade(self), part, attempt));
        if !is_spawned {
            let nobody = Err("there is no tokio runtime".to_owned());
            self.finish(part, attempt, &nobody);
        }
        is_spawned
    }

    fn is_under_way(&self, part: Part) -> bool {
        self.held().attempts(part).is_under_way(self.now())
    }

    /// Waits until `part` has been refreshed, by whomever, or nobody will. `last` is the attempt
    /// that the verdict rests on: where another has ended since, on another thread, there is no need
    /// for one more.
    pub(crate) async fn wait_for(self: &Arc<Self>, part: Part, last: u32) {
        let mut ended = self.ended[part as usize].subscribe();
        if !self.refresh_after(part, Some(last)) && !self.is_under_way(part) {
            return;
        }
        let limit = Duration::from_millis(ATTEMPT.unsigned_abs());
        // An attempt whose runtime has ended tells nobody.
        let _ = tokio::time::timeout(limit, ended.changed()).await;
    }

    /// Keeps the list checked from now on, while it is used and a little longer: whoever comes by
    /// every few seconds is not judged by the list of the time before.
    pub(crate) fn keep_list_checked(self: &Arc<Self>) {
        self.list_used_at.store(self.now(), Ordering::Relaxed);
        if !self.is_watched.load(Ordering::Relaxed)
            && !self.is_watched.swap(true, Ordering::Relaxed)
            && !self.spawn(watch(Arc::downgrade(self)))
        {
            self.is_watched.store(false, Ordering::Relaxed);
        }
    }

    /// Runs a task that ends with the judge; whether there is a runtime to do so.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> bool {
        let Ok(runtime) = Handle::try_current() else {
            return false;
        };
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(task, &runtime);
        true
    }

    /// Whom to ask for `part`.
    fn source(&self, part: Part) -> Option<&Source> {
        match part {
            Part::Keys => Some(&self.settings.keys),
            Part::List => Some(&self.settings.list.as_ref()?.source),
        }
    }

    /// What is known of `part` already.
    fn known(&self, part: Part) -> Known {
        match part {
            Part::Keys => Known::default(),
            Part::List => {
                let held = self.held();
                let list = held.list.held();
                Known {
                    etag: held.list_etag.clone(),
                    query: list.map(|(sequence, key)| feed_query(sequence, &key)),
                }
            }
        }
    }

    /// Ends an attempt with what the source said. What is not better than what is held does not
    /// replace it.
    fn take(&self, part: Part, attempt: Attempt, answer: Result<Answer, Problem>) {
        let taken = answer.and_then(|answer| match (part, answer) {
            (
                Part::Keys,
                Answer::Document {
                    body, freshness, ..
                },
            ) => self.take_keys(&body, freshness),
            (Part::List, Answer::Document { body, etag, .. }) => self.take_list(&body, etag),
            // The list of the tag is the one that was taken with it.
            (Part::List, Answer::Unchanged) if self.held().list.list().is_some() => Ok(()),
            (_, Answer::Unchanged) => Err("answered 304".to_owned()),
        });
        self.finish(part, attempt, &taken);
    }

    /// Ends `attempt` with a delta, if it leads on from the list that is held; whether it does.
    fn follow(&self, attempt: Attempt, body: &[u8], etag: Option<&HeaderValue>) -> bool {
        let Some(list) = &self.settings.list else {
            return false;
        };
        let issuer = self.settings.verifier.issuer();
        let followed = RevocationDelta::open(body, &list.control_keys, issuer)
            .map_err(|error| error.to_string())
            .and_then(|delta| {
                let mut held = self.held_mut();
                let followed = held.list.follow(&delta, self.now());
                held.list_etag = etag.filter(|_| followed.is_ok()).cloned();
                followed.map_err(|error| error.to_string())
            });
        if let Err(problem) = followed {
            tracing::debug!(problem, "a delta leads nowhere: the list is asked for");
            return false;
        }
        self.finish(Part::List, attempt, &Ok(()));
        true
    }

    fn take_keys(&self, body: &[u8], freshness: Freshness) -> Result<(), Problem> {
        let set = JwkSet::parse(body).map_err(|error| error.to_string())?;
        if set.is_empty() {
            return Err("the JWK Set has no key that can be used".to_owned());
        }
        let mut held = self.held_mut();
        let offered = held.keys.offer_answer(set, freshness, self.now());
        if offered.map_err(|_| "older than the JWK Set that is held, or than a day".to_owned())? {
            self.verified().clear();
        }
        Ok(())
    }

    fn take_list(&self, body: &[u8], etag: Option<HeaderValue>) -> Result<(), Problem> {
        let nobody = || "there is no control key".to_owned();
        let list = self.settings.list.as_ref().ok_or_else(nobody)?;
        let control_keys: &ControlKeys = &list.control_keys;
        let issuer = self.settings.verifier.issuer();
        // Before anybody is kept from reading: a large one takes milliseconds.
        let list =
            RevocationList::open(body, control_keys, issuer).map_err(|error| error.to_string())?;
        let mut held = self.held_mut();
        let offered = held.list.offer(list, self.now());
        held.list_etag = etag.filter(|_| offered.is_ok());
        offered.map_err(|reason| match reason {
            NotTaken::Older => "older than the list that is held".to_owned(),
            NotTaken::Future => "signed in the future".to_owned(),
        })
    }

    fn finish(&self, part: Part, attempt: Attempt, taken: &Result<(), Problem>) {
        if let Err(problem) = taken
            && let Some(source) = self.source(part)
        {
            tracing::warn!(url = %source.url(), problem, "not refreshed");
        }
        self.held_mut()
            .finish(part, attempt, self.now(), taken.is_ok());
        self.ended[part as usize].send_replace(());
    }
}

async fn exchange(judge: Weak<Judge>, part: Part, attempt: Attempt) {
    let Some((source, known)) = judge.upgrade().map(|judge| {
        let source = judge.source(part).cloned();
        (source, judge.known(part))
    }) else {
        return;
    };
    let mut answer = ask(source.as_ref(), &known).await;
    if part == Part::List
        && let Ok(answered) = &answer
        && let Some((delta, etag)) = answered.as_delta()
    {
        if judge
            .upgrade()
            .is_none_or(|judge| judge.follow(attempt, delta, etag))
        {
            return;
        }
        answer = ask(source.as_ref(), &Known::default()).await;
    }
    if let Some(judge) = judge.upgrade() {
        judge.take(part, attempt, answer);
    }
}

async fn ask(source: Option<&Source>, known: &Known) -> Result<Answer, Problem> {
    match source {
        Some(source) => source.ask(known).await,
        None => Err("there is nowhere to ask".to_owned()),
    }
}

/// However a watch ends, the next request begins another.
struct Watch(Weak<Judge>);

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(judge) = self.0.upgrade() {
            judge.is_watched.store(false, Ordering::Relaxed);
        }
    }
}

async fn watch(judge: Weak<Judge>) {
    let watch = Watch(judge);
    loop {
        tokio::time::sleep(Duration::from_millis(FRESH.unsigned_abs())).await;
        let Some(judge) = watch.0.upgrade() else {
            return;
        };
        let used_at = judge.list_used_at.load(Ordering::Relaxed);
        // A clock that was set back ends it, too.
        if !(0..KEPT).contains(&judge.now().saturating_sub(used_at)) {
            return;
        }
        judge.refresh(Part::List);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;

    fn judge() -> Arc<Judge> {
        let options = Options::new("http://127.0.0.1:9", "api").without_revocation();
        Arc::new(Judge::new(options.read().unwrap()))
    }

    #[tokio::test]
    async fn what_goes_on_behind_ends_with_the_judge() {
        let judge = judge();
        let (task, ends) = tokio::sync::oneshot::channel::<()>();
        assert!(judge.spawn(async move {
            let _task = task;
            std::future::pending::<()>().await;
        }));
        drop(judge);
        // Its end of the channel is dropped with the task, which nothing else would end.
        assert!(ends.await.is_err());
    }

    #[test]
    fn without_a_runtime_an_attempt_has_failed() {
        let judge = judge();
        assert!(!judge.refresh(Part::Keys));
        assert!(judge.held().attempts(Part::Keys).has_failed());
        assert!(!judge.is_under_way(Part::Keys));
    }
}
