//! How often one may ask: limits by address, by user and by session, and one for everybody.
//!
//! They are counted in the memory of this process, without SQL, and begin anew with it: they bound
//! load and noise. What protects an account survives a restart and is in the database:
//! [`lockout`](super::lockout), [`attempts`](super::attempts), [`guesses`](super::guesses),
//! [`sends`](super::sends).
//!
//! Some count requests, some only failures. A failure is counted before anybody knows that it is
//! one, and taken back when it was none; otherwise many that arrive together would all be compared
//! before the first is counted. When the last places are taken by attempts that are still under
//! way, the next waits for them instead of being refused: behind one address may be many people
//! who all know their passwords.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tokio::sync::{Notify, Semaphore};

use super::Subject;
use super::counters::{Counters, Key, Place, Rate};
use super::headers::{Reading, Readings};
use super::network::Network;
use super::window::Window;
use crate::clock::Clock;
use crate::config;
use crate::error::Error;
use crate::ids::{SessionId, UserId};
use crate::request::Caller;

/// What is limited, and by what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Requests that send a message, by address.
    SendsByAddress,
    /// Messages, of everybody.
    Sends,
    /// Wrong one-time codes, by address.
    CodeFailuresByAddress,
    /// Requests for a reset link, by address.
    ForgotByAddress,
    /// Uses of a reset link, by address.
    ResetByAddress,
    /// Wrong passwords, by address.
    LoginFailuresByAddress,
    /// Proved first factors, by user and factor, or by the device that its owner trusts.
    LoginsByUser,
    /// Refreshes, by session.
    RefreshBySession,
    /// Refreshes, by address.
    RefreshByAddress,
    /// Requests with an access token, by user.
    ApiByUser,
    /// Changes of one's own account, by user: of the profile, of the password, and of all else.
    ChangesByUser,
    /// Requests with an access token, in the header or to be judged or revoked, by address.
    ApiByAddress,
    /// Questions about a lock, by address.
    LockStatusByAddress,
    /// Steps of a login at another provider, by address.
    SocialByAddress,
    /// Captchas fetched and answered, by address.
    CaptchaByAddress,
    /// Challenges of passkeys, by address.
    PasskeyByAddress,
    /// Events of refusals without a comparison, by whom they are about.
    NotedRefusals,
}

impl Limit {
    /// Every limit; its place here is its index.
    const ALL: [Self; 17] = [
        Self::SendsByAddress,
        Self::Sends,
        Self::CodeFailuresByAddress,
        Self::ForgotByAddress,
        Self::ResetByAddress,
        Self::LoginFailuresByAddress,
        Self::LoginsByUser,
        Self::RefreshBySession,
        Self::RefreshByAddress,
        Self::ApiByUser,
        Self::ChangesByUser,
        Self::ApiByAddress,
        Self::LockStatusByAddress,
        Self::SocialByAddress,
        Self::CaptchaByAddress,
        Self::PasskeyByAddress,
        Self::NotedRefusals,
    ];

    /// Its name in headers and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SendsByAddress => "sends-ip",
            Self::Sends => "sends",
            Self::CodeFailuresByAddress => "code-failures-ip",
            Self::ForgotByAddress => "forgot-password-ip",
            Self::ResetByAddress => "reset-password-ip",
            Self::LoginFailuresByAddress => "login-failures-ip",
            Self::LoginsByUser => "logins-user",
            Self::RefreshBySession => "refresh-session",
            Self::RefreshByAddress => "refresh-ip",
            Self::ApiByUser => "api-user",
            Self::ChangesByUser => "changes-user",
            Self::ApiByAddress => "api-ip",
            Self::LockStatusByAddress => "lock-status-ip",
            Self::SocialByAddress => "social-ip",
            Self::CaptchaByAddress => "captcha-ip",
            Self::PasskeyByAddress => "passkey-ip",
            Self::NotedRefusals => "noted-refusals",
        }
    }

    const fn index(self) -> u8 {
        self as u8
    }

    fn rate(self, limits: &config::Limits) -> Rate {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 3_600;
        let (quota, seconds) = match self {
            Self::SendsByAddress => (limits.otp_send_per_ip_per_hour, HOUR),
            Self::Sends => (limits.otp_send_per_minute, MINUTE),
            Self::CodeFailuresByAddress => (limits.otp_verify_failures_per_ip_per_hour, HOUR),
            Self::ForgotByAddress => (limits.forgot_password_per_ip_per_hour, HOUR),
            Self::ResetByAddress => (limits.reset_password_per_ip_per_hour, HOUR),
            Self::LoginFailuresByAddress => {
                (limits.login_failures_per_ip, config::LOGIN_WINDOW.as_secs())
            }
            Self::LoginsByUser => (limits.logins_per_user_per_hour, HOUR),
            Self::RefreshBySession => (limits.refresh_per_session_per_minute, MINUTE),
            Self::RefreshByAddress => (limits.refresh_per_ip_per_minute, MINUTE),
            Self::ApiByUser => (limits.api_per_user_per_minute, MINUTE),
            Self::ChangesByUser => (limits.changes_per_user_per_hour, HOUR),
            Self::ApiByAddress => (limits.api_per_ip_per_minute, MINUTE),
            Self::LockStatusByAddress => (limits.lock_status_per_ip_per_minute, MINUTE),
            Self::SocialByAddress => (limits.social_per_ip_per_minute, MINUTE),
            Self::CaptchaByAddress => (limits.captcha_per_ip_per_minute, MINUTE),
            Self::PasskeyByAddress => (limits.passkey_per_ip_per_minute, MINUTE),
            Self::NotedRefusals => (NOTED, config::LOGIN_WINDOW.as_secs()),
        };
        Rate {
            quota,
            span: seconds * 1_000_000,
        }
    }
}

/// Refusals without a comparison that the trail has of one subject in 15 minutes: that somebody came,
/// and came again. A lock refuses as often as anybody asks, and without cost to them.
const NOTED: u32 = 3;

/// Attempts that may wait for others from their address, and so hold a connection each.
const MAX_WAITING: usize = 256;

/// How long to stay away when too many wait.
const WHEN_CROWDED: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct LimitLabel {
    limit: &'static str,
}

/// Requests that were refused, by limit.
pub(crate) type Refusals = Family<LimitLabel, Counter>;

/// The limits of this process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Limiter(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    counters: Counters,
    clock: Clock,
    per_ip: bool,
    /// Tells those who wait that an attempt has ended.
    ended: Notify,
    waiting: Semaphore,
    refusals: Refusals,
}

/// What became of asking once.
enum Asked {
    Counted { place: Place, at: u64 },
    Full { under_way: bool, wait: Duration },
}

impl Limiter {
    /// Nothing counted yet.
    pub fn new(limits: &config::Limits, clock: Clock) -> Self {
        let rates = Limit::ALL.map(|limit| limit.rate(limits)).to_vec();
        Self(Arc::new(Parts {
            counters: Counters::new(rates),
            clock,
            per_ip: limits.per_ip,
            ended: Notify::new(),
            waiting: Semaphore::new(MAX_WAITING),
            refusals: Refusals::default(),
        }))
    }

    /// What was refused, for the metrics.
    pub(crate) fn refusals(&self) -> Refusals {
        self.0.refusals.clone()
    }

    /// Counts a request of the caller's address.
    ///
    /// # Errors
    /// [`Error::RateLimited`]; the request is then not counted.
    pub fn by_address(&self, caller: &Caller, limit: Limit) -> Result<(), Error> {
        if !self.0.per_ip {
            return Ok(());
        }
        let (key, wider) = of_address(limit, Network::of(caller));
        self.count(caller, limit, key, wider)
    }

    /// Counts a request of a user.
    ///
    /// # Errors
    /// [`Error::RateLimited`]; the request is then not counted.
    pub fn by_user(&self, caller: &Caller, limit: Limit, user_id: UserId) -> Result<(), Error> {
        let key = key(limit, *user_id.as_bytes());
        self.count(caller, limit, key, key.who)
    }

    /// Counts a request of a subject.
    ///
    /// # Errors
    /// [`Error::RateLimited`]; the request is then not counted.
    pub fn by_subject(
        &self,
        caller: &Caller,
        limit: Limit,
        subject: &Subject,
    ) -> Result<(), Error> {
        let key = key(limit, half(subject));
        self.count(caller, limit, key, key.who)
    }

    /// Counts a message, whoever asked for it.
    ///
    /// # Errors
    /// [`Error::RateLimited`]; the message is then not counted.
    pub fn message(&self) -> Result<(), Error> {
        let limit = Limit::Sends;
        let nobody = Caller::default();
        self.count(&nobody, limit, key(limit, [0; 16]), [0; 16])
    }

    /// Whether one more refusal without a comparison is to be in the trail. Nobody is refused by this.
    pub fn is_worth_noting(&self, subject: &Subject) -> bool {
        let limit = Limit::NotedRefusals;
        let Rate { quota, span } = self.0.counters.rate(limit.index());
        let now = self.0.clock.ticks();
        let key = key(limit, half(subject));
        self.0.counters.with(key, key.who, now, |_, counter| {
            let is_one = counter.window.used(now, span) < quota;
            if is_one {
                counter.window.add(now, span);
            }
            is_one
        })
    }

    /// Counts a refresh of a session by its token's number: a token that comes again is one
    /// refresh, however many times it is sent. So parallel requests with one token all get its
    /// one successor, and what is bounded is how often the session rotates.
    ///
    /// # Errors
    /// [`Error::RateLimited`]; the token stays as good as it was.
    pub fn refresh(&self, caller: &Caller, session: SessionId, number: u32) -> Result<(), Error> {
        let limit = Limit::RefreshBySession;
        let Rate { quota, span } = self.0.counters.rate(limit.index());
        let now = self.0.clock.ticks();
        let key = key(limit, *session.as_bytes());
        let mark = u64::from(number) + 1;
        let counted = self.0.counters.with(key, key.who, now, |place, counter| {
            // A shared window has other sessions' numbers, too.
            let is_new = place.is_shared() || counter.mark < mark;
            if is_new && counter.window.used(now, span) >= quota {
                return Err(micros(counter.window.frees_in(quota, now, span)));
            }
            if is_new {
                counter.mark = mark;
                counter.window.add(now, span);
            }
            Ok(reading(limit, quota, span, &counter.window, 0, now))
        });
        self.tell(caller, limit, counted)
    }

    /// Counts an attempt that may turn out to be a failure; when all places are taken by attempts
    /// under way, waits until one has ended.
    ///
    /// # Errors
    /// [`Error::RateLimited`] when there were as many failures as allowed, or when too many wait.
    pub async fn attempt(&self, caller: &Caller, limit: Limit) -> Result<Attempt, Error> {
        if !self.0.per_ip {
            return Ok(Attempt(None));
        }
        let (key, wider) = of_address(limit, Network::of(caller));
        let mut place_to_wait = None;
        loop {
            // Before asking: an end that comes between asking and waiting must not be missed.
            let ended = self.0.ended.notified();
            match self.ask_for_attempt(limit, key, wider) {
                Asked::Counted { place, at } => {
                    return Ok(Attempt(Some(UnderWay {
                        limiter: self.clone(),
                        readings: caller.readings.clone(),
                        limit,
                        place,
                        at,
                    })));
                }
                Asked::Full { under_way, wait } => {
                    if under_way && place_to_wait.is_none() {
                        place_to_wait = self.0.waiting.try_acquire().ok();
                    }
                    if under_way && place_to_wait.is_some() {
                        ended.await;
                        continue;
                    }
                    let wait = if under_way { WHEN_CROWDED } else { wait };
                    caller.readings.note(self.full(limit, wait));
                    return Err(self.refuse(limit, wait));
                }
            }
        }
    }

    fn ask_for_attempt(&self, limit: Limit, key: Key, wider: [u8; 16]) -> Asked {
        let Rate { quota, span } = self.0.counters.rate(limit.index());
        let now = self.0.clock.ticks();
        self.0.counters.with(key, wider, now, |place, counter| {
            if counter.window.used(now, span) >= quota {
                return Asked::Full {
                    under_way: counter.under_way > 0,
                    wait: micros(counter.window.frees_in(quota, now, span)),
                };
            }
            counter.window.add(now, span);
            counter.under_way = counter.under_way.saturating_add(1);
            Asked::Counted { place, at: now }
        })
    }

    fn count(&self, caller: &Caller, limit: Limit, key: Key, wider: [u8; 16]) -> Result<(), Error> {
        let Rate { quota, span } = self.0.counters.rate(limit.index());
        let now = self.0.clock.ticks();
        let counted = self.0.counters.with(key, wider, now, |_, counter| {
            if counter.window.used(now, span) >= quota {
                return Err(micros(counter.window.frees_in(quota, now, span)));
            }
            counter.window.add(now, span);
            Ok(reading(limit, quota, span, &counter.window, 0, now))
        });
        self.tell(caller, limit, counted)
    }

    /// Notes what the answer's headers say, and turns a wait into a refusal.
    fn tell(
        &self,
        caller: &Caller,
        limit: Limit,
        counted: Result<Reading, Duration>,
    ) -> Result<(), Error> {
        match counted {
            Ok(reading) => {
                caller.readings.note(reading);
                Ok(())
            }
            Err(wait) => {
                caller.readings.note(self.full(limit, wait));
                Err(self.refuse(limit, wait))
            }
        }
    }

    fn full(&self, limit: Limit, wait: Duration) -> Reading {
        let Rate { quota, span } = self.0.counters.rate(limit.index());
        Reading {
            name: limit.name(),
            quota,
            window: micros(span),
            left: 0,
            eases_in: wait,
            refuses: true,
        }
    }

    fn refuse(&self, limit: Limit, wait: Duration) -> Error {
        let label = LimitLabel {
            limit: limit.name(),
        };
        self.0.refusals.get_or_create(&label).inc();
        Error::RateLimited(wait)
    }
}

/// An attempt under way. Dropped without a word it stays counted: a client that goes away before
/// the answer has tried all the same.
#[derive(Debug)]
#[must_use]
pub struct Attempt(Option<UnderWay>);

#[derive(Debug)]
struct UnderWay {
    limiter: Limiter,
    readings: Readings,
    limit: Limit,
    place: Place,
    at: u64,
}

impl Attempt {
    /// Takes the count back unless `outcome` is that something was compared and did not match.
    pub fn settle<T>(mut self, outcome: &Result<T, Error>) {
        let failed = matches!(
            outcome,
            Err(Error::CredentialsInvalid | Error::CodeInvalid(_) | Error::CodeExpired)
        );
        if let Some(under_way) = self.0.take() {
            under_way.end(failed);
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(under_way) = self.0.take() {
            under_way.end(true);
        }
    }
}

impl UnderWay {
    fn end(self, failed: bool) {
        let Parts {
            counters, clock, ..
        } = &*self.limiter.0;
        let Rate { quota, span } = counters.rate(self.limit.index());
        let now = clock.ticks();
        let reading = counters.at(self.place, |counter| {
            counter.under_way = counter.under_way.saturating_sub(1);
            if !failed {
                counter.window.take_back(self.at, span);
            }
            // Others under way are no failures yet.
            let pending = counter.under_way;
            reading(self.limit, quota, span, &counter.window, pending, now)
        });
        if let Some(reading) = reading {
            self.readings.note(reading);
        }
        self.limiter.0.ended.notify_waiters();
    }
}

/// What a window says now, `pending` of its events left out.
fn reading(
    limit: Limit,
    quota: u32,
    span: u64,
    window: &Window,
    pending: u32,
    now: u64,
) -> Reading {
    let used = window.used(now, span).saturating_sub(pending);
    Reading {
        name: limit.name(),
        quota,
        window: micros(span),
        left: quota.saturating_sub(used),
        eases_in: micros(window.eases_in(now, span)),
        refuses: false,
    }
}

fn key(limit: Limit, who: [u8; 16]) -> Key {
    Key {
        limit: limit.index(),
        who,
    }
}

/// Enough of a subject to tell it from all others.
fn half(subject: &Subject) -> [u8; 16] {
    let mut who = [0; 16];
    who.copy_from_slice(&subject.bytes()[..16]);
    who
}

fn of_address(limit: Limit, network: Network) -> (Key, [u8; 16]) {
    (key(limit, network.bytes()), network.wider().bytes())
}

fn micros(wait: u64) -> Duration {
    Duration::from_micros(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_has_an_index_and_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> =
            Limit::ALL.iter().map(|limit| limit.name()).collect();
        assert_eq!(names.len(), Limit::ALL.len());
        for (index, limit) in Limit::ALL.iter().enumerate() {
            assert_eq!(usize::from(limit.index()), index);
        }
    }
}
