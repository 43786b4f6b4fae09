//! What an isolate knows: keys, list, policy and verified tokens, and having them refreshed.
//!
//! A refresh runs under `waitUntil` and never inside the request that wants it: a client that hangs
//! up would take the attempt with it, and everybody else's answer. Who needs the outcome looks at
//! the record of attempts until it changes.
//!
//! The revocation list is kept checked behind the answer of the last request that used it, too:
//! otherwise a gate that is asked once every few seconds would judge each request by the list of
//! the one before.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use edgekeep_shared::gate::{
    cache::VerifiedTokens,
    issuers::ForeignIssuer,
    keys::HeldKeys,
    list::{DEADLINE, FRESH, HeldList, KEPT},
    refresh::{Attempt, Attempts, Millis},
    rules::HeldPolicy,
};
use worker::{Context, Delay, console_error};

use crate::{
    authz,
    config::Config,
    issuers::Foreign,
    js,
    sources::{FetchedKeys, KeysCopy, Sources},
};

/// Verified tokens per generation. With claims of 1 KiB two generations take 8 MiB of the isolate's 128,
/// at most they take 16; the texts beside them take 8 at most.
const CACHED_TOKENS: usize = 4_096;

/// What one attempt has: the issuer's limit and, for the keys, the copy's after it.
const ATTEMPT: Millis = 2 * DEADLINE + 200;

/// How long one request's `waitUntil` keeps the list checked before another request's takes over:
/// the platform ends it 30 s after the answer, and a request that comes just before this time is
/// still followed for [`KEPT`].
const WATCH: Millis = 10_000;

/// A watch that has not looked for so long was cut off with its request.
const WATCH_SILENT: Millis = FRESH + ATTEMPT;

/// How soon a request that waits looks whether it is there; then after twice as long, and so on.
const FIRST_LOOK: Duration = Duration::from_millis(2);

/// How often it looks in the end: where a source is dead, all requests wait at once.
const LAST_LOOK: Duration = Duration::from_millis(50);

/// What can be refreshed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    Keys,
    /// The keys of the issuer beside the gate's own with this index.
    ForeignKeys(usize),
    List,
    Policy,
}

/// What an isolate knows.
pub(crate) struct Knowledge {
    pub(crate) keys: HeldKeys,
    /// In the order of the configuration.
    pub(crate) foreign: Vec<ForeignIssuer>,
    pub(crate) list: HeldList,
    pub(crate) policy: HeldPolicy,
    pub(crate) verified: VerifiedTokens,
    /// The `ETag` of the feed's list, with its number, if that very list was taken.
    pub(crate) list_etag: Option<(String, u64)>,
}

impl Knowledge {
    fn new(config: &Config) -> Self {
        let held = |foreign: &Foreign| ForeignIssuer {
            verifier: foreign.verifier.clone(),
            keys: HeldKeys::default(),
        };
        Self {
            keys: HeldKeys::default(),
            foreign: config.foreign.iter().map(held).collect(),
            list: HeldList::default(),
            policy: HeldPolicy::default(),
            verified: VerifiedTokens::new(CACHED_TOKENS),
            list_etag: None,
        }
    }

    fn keys_of(&mut self, index: usize) -> Option<&mut HeldKeys> {
        self.foreign.get_mut(index).map(|issuer| &mut issuer.keys)
    }

    fn attempts(&self, part: Part) -> &Attempts {
        match part {
            Part::Keys => self.keys.attempts(),
            Part::ForeignKeys(index) => match self.foreign.get(index) {
                Some(issuer) => issuer.keys.attempts(),
                // Nobody has an index but from this very list.
                None => self.keys.attempts(),
            },
            Part::List => self.list.attempts(),
            Part::Policy => self.policy.attempts(),
        }
    }

    fn begin(&mut self, part: Part, now: Millis) -> Option<Attempt> {
        match part {
            Part::Keys => self.keys.begin(now, now + ATTEMPT),
            Part::ForeignKeys(index) => self
                .keys_of(index)
                .and_then(|keys| keys.begin(now, now + ATTEMPT)),
            Part::List => self.list.begin(now, now + ATTEMPT),
            Part::Policy => self.policy.begin(now, now + ATTEMPT),
        }
    }
}

/// The knowledge that the requests of an isolate share, with the means to refresh it.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) sources: Sources,
    pub(crate) known: RefCell<Knowledge>,
    /// When a request last used the list.
    list_used_at: Cell<Millis>,
    /// The watch over the list: its number, when it began, and when it last looked.
    watch: Cell<Watch>,
}

/// Who watches the list; each that begins has another number, and the one before ends.
#[derive(Clone, Copy)]
struct Watch {
    number: u32,
    begun_at: Millis,
    looked_at: Millis,
}

impl Shared {
    pub(crate) fn new(config: Config, sources: Sources) -> Self {
        Self {
            known: RefCell::new(Knowledge::new(&config)),
            config,
            sources,
            list_used_at: Cell::new(Millis::MIN),
            watch: Cell::new(Watch {
                number: 0,
                begun_at: Millis::MIN,
                looked_at: Millis::MIN,
            }),
        }
    }

    /// Keeps the list checked while requests that use it come, and for [`KEPT`] after the last.
    pub(crate) fn watch_list(self: &Rc<Self>, context: &Context) {
        let now = js::now();
        self.list_used_at.set(now);
        let watch = self.watch.get();
        // A clock that was set back makes both times future ones, and the watch none.
        let goes_on = (0..WATCH_SILENT).contains(&now.saturating_sub(watch.looked_at))
            && (0..WATCH).contains(&now.saturating_sub(watch.begun_at));
        if goes_on {
            return;
        }
        let number = watch.number.wrapping_add(1);
        self.watch.set(Watch {
            number,
            begun_at: now,
            looked_at: now,
        });
        let shared = Rc::clone(self);
        context.wait_until(async move { shared.watch(number).await });
    }

    async fn watch(&self, number: u32) {
        loop {
            Delay::from(self.until_due()).await;
            let now = js::now();
            let watch = self.watch.get();
            if watch.number != number {
                return;
            }
            let unused = now.saturating_sub(self.list_used_at.get());
            if !(0..KEPT).contains(&unused) {
                break;
            }
            self.watch.set(Watch {
                looked_at: now,
                ..watch
            });
            if let Some(attempt) = self.begin_list(now) {
                self.refresh_list(attempt).await;
            }
        }
        // Whoever comes next begins another.
        self.watch.set(Watch {
            number,
            begun_at: Millis::MIN,
            looked_at: Millis::MIN,
        });
    }

    /// How long the list is good for from now on.
    fn until_due(&self) -> Duration {
        let known = self.known.borrow();
        let since = known.list.attempts().since_success(js::now());
        let left = since.map(|since| FRESH - since).filter(|left| *left > 0);
        Duration::from_millis(left.unwrap_or(FRESH).unsigned_abs())
    }

    /// Begins a check for the watch, unless a request has had one made a moment ago.
    fn begin_list(&self, now: Millis) -> Option<Attempt> {
        let mut known = self.known.borrow_mut();
        let since = known.list.attempts().since_success(now);
        if since.is_some_and(|since| since < FRESH / 2) {
            return None;
        }
        known.begin(Part::List, now)
    }

    /// Has `part` refreshed behind the answer, unless that is under way or too soon.
    pub(crate) fn refresh_behind(self: &Rc<Self>, part: Part, context: &Context) -> bool {
        let begun = self.known.borrow_mut().begin(part, js::now());
        let Some(attempt) = begun else {
            return false;
        };
        let shared = Rc::clone(self);
        context.wait_until(async move {
            match part {
                Part::Keys => shared.refresh_keys(attempt).await,
                Part::ForeignKeys(index) => shared.refresh_foreign_keys(index, attempt).await,
                Part::List => shared.refresh_list(attempt).await,
                Part::Policy => shared.refresh_policy(attempt).await,
            }
        });
        true
    }

    /// Has every JWK Set refreshed behind the answer whose time it is. Without keys that count,
    /// whoever needs them waits for them.
    pub(crate) fn refresh_due_keys(self: &Rc<Self>, context: &Context) {
        let now = js::now();
        let is_due = |keys: &HeldKeys| keys.usable(now).is_some() && keys.is_due(now);
        let own_is_due = is_due(&self.known.borrow().keys);
        if own_is_due {
            self.refresh_behind(Part::Keys, context);
        }
        for index in 0..self.config.foreign.len() {
            let foreign_is_due = {
                let known = self.known.borrow();
                known
                    .foreign
                    .get(index)
                    .is_some_and(|issuer| is_due(&issuer.keys))
            };
            if foreign_is_due {
                self.refresh_behind(Part::ForeignKeys(index), context);
            }
        }
    }

    /// Waits until `part` has been refreshed, by whomever, or nobody will.
    pub(crate) async fn wait_for(self: &Rc<Self>, part: Part, context: &Context) {
        let begun_at = js::now();
        let ended = self.known.borrow().attempts(part).ended();
        let mut pause = FIRST_LOOK;
        loop {
            let now = js::now();
            if self.known.borrow().attempts(part).ended() != ended || now - begun_at >= ATTEMPT {
                return;
            }
            if !self.refresh_behind(part, context)
                && !self.known.borrow().attempts(part).is_under_way(now)
            {
                return;
            }
            Delay::from(pause).await;
            pause = LAST_LOOK.min(2 * pause);
        }
    }

    async fn refresh_keys(&self, attempt: Attempt) {
        let (fetched, copy) = self.sources.keys(&self.config).await;
        let now = js::now();
        let known = &mut *self.known.borrow_mut();
        let keys = &mut known.keys;
        // The newer of the two stays.
        let taken = [
            fetched.map(|FetchedKeys(set, freshness)| keys.offer_answer(set, freshness, now)),
            copy.map(|KeysCopy(set, signed_at)| keys.offer_copy(set, signed_at, now)),
        ];
        let changes: Vec<bool> = taken.into_iter().flatten().flatten().collect();
        keys.finish(attempt, now, !changes.is_empty());
        if changes.contains(&true) {
            known.verified.forget(self.config.verifier.issuer());
        }
    }

    async fn refresh_foreign_keys(&self, index: usize, attempt: Attempt) {
        let Some(foreign) = self.config.foreign.get(index) else {
            return;
        };
        let fetched = self.sources.foreign_keys(&foreign.jwks_url).await;
        let now = js::now();
        let known = &mut *self.known.borrow_mut();
        let Some(keys) = known.keys_of(index) else {
            return;
        };
        let changed = fetched
            .and_then(|FetchedKeys(set, freshness)| keys.offer_answer(set, freshness, now).ok());
        keys.finish(attempt, now, changed.is_some());
        if changed == Some(true) {
            known.verified.forget(foreign.verifier.issuer());
        }
    }

    async fn refresh_policy(&self, attempt: Attempt) {
        let fetched = self.sources.policy(&self.config).await;
        let now = js::now();
        let known = &mut *self.known.borrow_mut();
        let held = known.policy.policy();
        let taken = fetched.is_some_and(|(policy, sequence, signed_at)| {
            let offered = known.policy.offer(policy, sequence, signed_at, now);
            offered
                .inspect_err(|reason| console_error!("policy not taken: {reason:?}"))
                .is_ok()
        });
        known.policy.finish(attempt, now, taken);
        let holds = known.policy.policy();
        if self.config.authz.is_some() && holds != held {
            for caution in holds.iter().flat_map(|policy| authz::cautions(policy)) {
                console_error!("{caution}");
            }
        }
    }
}
