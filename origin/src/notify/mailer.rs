//! The tasks that send, one for mail and one for SMS.
//!
//! Each has a queue of its own, so that a provider of SMS that hangs holds up no mail. A queue
//! holds a bounded number of messages from the moment that one is handed over until it is sent or
//! given up; one more is dropped, counted and logged. So a burst or a stopped provider costs
//! neither memory without end nor a request its time.
//!
//! Notices, which the database holds, have places of their own: what strangers cause takes none of
//! them. One that finds no place, or that cannot be delivered now, is taken up again later.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::AnyConnection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::client::Failure;
use super::notices::{Notices, Standing};
use super::transport::{Attempt, Transport};
use super::{Medium, Message};
use crate::abuse::sends::{Admission, Refusal};
use crate::clock::Clock;
use crate::config::{Channel, Config};
use crate::db::Db;
use crate::error::Error;
use crate::ids::UserId;
use crate::metrics::{Delivery, MessageLabels, Messages, RefusalLabels, Refusals};
use crate::random::Random;
use crate::vault::Vault;

/// Messages of one sort that may wait or be on their way. Each is less than 2 KiB, and a code that
/// comes minutes late is no use: eight at a time, a thousand take a slow provider two minutes.
const QUEUE: usize = 1_024;

/// Places for notices beside those.
const NOTICES: usize = 256;

/// Messages of one sort on their way at a time.
const CONCURRENT: usize = 8;

/// Messages that are judged in one transaction: under a burst one sync of the disk serves many.
const BATCH: usize = 32;

/// Attempts for one message, with a growing pause between.
const ATTEMPTS: u32 = 3;

/// How long a message waits before anything is done about it: the answer to whoever caused it goes
/// first. Otherwise sending would take time from just the answers that a message belongs to, and
/// they would tell that there is one. A burst, which fills batches, does not wait.
const ANSWER_FIRST: Duration = Duration::from_millis(20);

const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// The longest that a provider's `Retry-After` is followed. A message keeps its place among those
/// on their way meanwhile, which is the slowing down that was asked for.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Identifies a message: the same over all attempts to send it.
pub(crate) type MessageId = [u8; 16];

/// Where messages are handed over.
pub struct Mailer {
    post: Post,
    notices: Notices,
    with_place: Places,
    clock: Clock,
    random: Random,
    code_life: Duration,
    counts: Messages,
    refusals: Refusals,
}

enum Post {
    /// Kept for tests to read.
    Memory(Mutex<Vec<Message>>),
    Queues {
        email: Queue,
        sms: Queue,
    },
}

struct Queue {
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    worker: Mutex<Option<JoinHandle<()>>>,
    places: Arc<Semaphore>,
    for_notices: Arc<Semaphore>,
}

/// Notices that are written down, for [`Mailer::deliver`] once that is committed. Dropped, they are
/// taken up later.
#[derive(Default)]
#[must_use = "a notice waits minutes that is not delivered after the commit"]
pub struct Kept(Vec<(MessageId, Message)>);

/// What a message in the queue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standard {
    /// One that is in memory only.
    Once,
    /// One that only makes an answer cost what a message costs.
    Sham,
    /// One that the database holds until it is dealt with.
    Notice,
}

/// A message with its place in the queue, which it gives back when it is dropped.
struct Job {
    id: MessageId,
    message: Message,
    standard: Standard,
    _place: OwnedSemaphorePermit,
    /// Of a notice.
    _only: Option<OnlyPlace>,
}

/// The notices that have a place in a queue.
#[derive(Clone, Default)]
struct Places(Arc<Mutex<HashSet<MessageId>>>);

/// The one place of a notice.
struct OnlyPlace {
    id: MessageId,
    all: Places,
}

/// A message was not delivered, and might be later.
struct Later;

/// What a task needs to send.
#[derive(Clone)]
struct Sender {
    transport: Arc<Transport>,
    /// None where nothing is judged.
    admission: Option<Admission>,
    notices: Notices,
    clock: Clock,
    counts: Messages,
    refusals: Refusals,
}

impl Mailer {
    /// Starts the tasks that send; needs a Tokio runtime.
    ///
    /// # Errors
    /// When a sender's settings are not usable.
    pub fn start(
        config: &Config,
        (db, vault, clock, random): (&Db, &Vault, &Clock, &Random),
        admission: &Admission,
    ) -> Result<Self, String> {
        let notices = Notices::new(db, vault, clock);
        let counts = Messages::default();
        let refusals = Refusals::default();
        let post = if matches!(config.notify.email, Channel::Memory) {
            Post::Memory(Mutex::default())
        } else {
            let queue = |medium, channel| -> Result<Queue, String> {
                let transport = Transport::new(channel, &config.data_dir)?;
                Ok(Queue::start(Sender {
                    transport: Arc::new(transport),
                    admission: admission.judges(medium).then(|| admission.clone()),
                    notices: notices.clone(),
                    clock: clock.clone(),
                    counts: counts.clone(),
                    refusals: refusals.clone(),
                }))
            };
            Post::Queues {
                email: queue(Medium::Email, &config.notify.email)?,
                sms: queue(Medium::Sms, &config.notify.sms)?,
            }
        };
        Ok(Self {
            post,
            notices,
            with_place: Places::default(),
            clock: clock.clone(),
            random: random.clone(),
            code_life: Duration::from_secs(config.otp.ttl_seconds),
            counts,
            refusals,
        })
    }

    /// Hands a message over; returns at once.
    pub fn send(&self, message: Message) {
        self.hand_over(self.random.bytes(), message, Standard::Once);
    }

    /// Costs a request what [`send`](Self::send) does, and sends nothing: for whoever is not there
    /// to be written to, since the time of an answer must not tell.
    pub fn pretend(&self, message: Message) {
        self.hand_over(self.random.bytes(), message, Standard::Sham);
    }

    /// Writes notices to a person down within the transaction of what they tell of.
    ///
    /// # Errors
    /// When the database or the vault fails: what somebody must be told of is not to happen untold.
    pub async fn keep(
        &self,
        connection: &mut AnyConnection,
        user_id: UserId,
        messages: impl IntoIterator<Item = Message>,
    ) -> Result<Kept, Error> {
        let mut kept = Vec::new();
        for message in messages {
            let id: MessageId = self.random.bytes();
            if matches!(self.post, Post::Queues { .. }) {
                self.notices
                    .insert(connection, user_id, id, &message)
                    .await?;
            }
            kept.push((id, message));
        }
        Ok(Kept(kept))
    }

    /// Hands notices over that are committed; returns at once.
    pub fn deliver(&self, kept: Kept) {
        for (id, message) in kept.0 {
            self.deliver_one(id, message);
        }
    }

    pub(super) fn deliver_one(&self, id: MessageId, message: Message) {
        self.hand_over(id, message, Standard::Notice);
    }

    /// Whether a notice waits to be sent, or is on its way.
    pub(super) fn has_place(&self, id: &MessageId) -> bool {
        self.with_place.lock().contains(id)
    }

    /// The notices in the database, where there are any.
    pub(super) fn notices(&self) -> Option<&Notices> {
        matches!(self.post, Post::Queues { .. }).then_some(&self.notices)
    }

    /// How many notices wait in the database, and since when.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn standing(&self) -> Result<Standing, Error> {
        self.notices.standing().await
    }

    fn hand_over(&self, id: MessageId, mut message: Message, standard: Standard) {
        if message.code.is_some() && message.good_until.is_none() {
            message.good_until = Some(self.clock.now() + self.code_life);
        }
        let channel = message.channel;
        let queue = match &self.post {
            Post::Memory(_) if standard == Standard::Sham => return,
            Post::Memory(kept) => {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.push(message);
                return;
            }
            Post::Queues { email, .. } if channel == Medium::Email => email,
            Post::Queues { sms, .. } => sms,
        };
        let only = match standard {
            Standard::Notice => match self.with_place.take(id) {
                // It keeps the place that it has.
                None => return,
                only => only,
            },
            Standard::Once | Standard::Sham => None,
        };
        if queue.take_in((id, only), message, standard) {
            return;
        }
        match standard {
            Standard::Sham => {}
            Standard::Notice => {
                tracing::warn!(?channel, "a notice waits: the queue is full or closed");
            }
            Standard::Once => {
                tracing::error!(
                    ?channel,
                    "a message was dropped: the queue is full or closed"
                );
                count(&self.counts, channel, Delivery::dropped);
            }
        }
    }

    /// What became of messages so far; cheap to clone, and stays current.
    pub fn counts(&self) -> Messages {
        self.counts.clone()
    }

    /// What was not sent and why; cheap to clone, and stays current.
    pub fn refusals(&self) -> Refusals {
        self.refusals.clone()
    }

    /// How many wait or are on their way.
    pub fn waiting(&self) -> usize {
        match &self.post {
            Post::Memory(_) => 0,
            Post::Queues { email, sms } => email.waiting() + sms.waiting(),
        }
    }

    /// What was handed over so far, where messages are kept in memory.
    pub fn sent(&self) -> Vec<Message> {
        match &self.post {
            Post::Memory(kept) => kept.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            Post::Queues { .. } => Vec::new(),
        }
    }

    /// Takes no more messages and waits, at most `limit`, until those waiting are sent.
    pub async fn drain(&self, limit: Duration) {
        let Post::Queues { email, sms } = &self.post else {
            return;
        };
        let (mail_workers, sms_workers) = (email.close(), sms.close());
        let all = async {
            for worker in [mail_workers, sms_workers].into_iter().flatten() {
                // A task that panicked has nothing left to wait for.
                let _ = worker.await;
            }
        };
        if tokio::time::timeout(limit, all).await.is_err() {
            tracing::warn!("messages were still waiting to be sent");
        }
    }
}

impl fmt::Debug for Mailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailer").finish_non_exhaustive()
    }
}

impl Queue {
    fn start(sender: Sender) -> Self {
        let (jobs, waiting) = mpsc::channel(QUEUE + NOTICES);
        Self {
            jobs: Mutex::new(Some(jobs)),
            worker: Mutex::new(Some(tokio::spawn(sender.run(waiting)))),
            places: Arc::new(Semaphore::new(QUEUE)),
            for_notices: Arc::new(Semaphore::new(NOTICES)),
        }
    }

    /// Whether there was a place for `message`.
    fn take_in(
        &self,
        (id, only): (MessageId, Option<OnlyPlace>),
        message: Message,
        standard: Standard,
    ) -> bool {
        let places = match standard {
            Standard::Notice => &self.for_notices,
            Standard::Once | Standard::Sham => &self.places,
        };
        let Ok(place) = Arc::clone(places).try_acquire_owned() else {
            return false;
        };
        let job = Job {
            id,
            message,
            standard,
            _place: place,
            _only: only,
        };
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.as_ref().is_some_and(|jobs| jobs.try_send(job).is_ok())
    }

    fn waiting(&self) -> usize {
        let free = self.places.available_permits() + self.for_notices.available_permits();
        (QUEUE + NOTICES).saturating_sub(free)
    }

    /// Takes nothing more in; the task that sends ends when nothing is left.
    fn close(&self) -> Option<JoinHandle<()>> {
        drop(
            self.jobs
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        self.worker
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl Places {
    fn lock(&self) -> MutexGuard<'_, HashSet<MessageId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The only place of `id`; none where it is taken.
    fn take(&self, id: MessageId) -> Option<OnlyPlace> {
        let is_first = self.lock().insert(id);
        is_first.then(|| OnlyPlace {
            id,
            all: self.clone(),
        })
    }
}

impl Drop for OnlyPlace {
    fn drop(&mut self) {
        self.all.lock().remove(&self.id);
    }
}

impl Sender {
    async fn run(self, mut waiting: mpsc::Receiver<Job>) {
        let free = Arc::new(Semaphore::new(CONCURRENT));
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let taken = waiting.recv_many(&mut batch, BATCH).await;
            if taken == 0 {
                break;
            }
            if taken < BATCH {
                tokio::time::sleep(ANSWER_FIRST).await;
            }
            for job in self.admitted(&mut batch).await {
                let Ok(permit) = Arc::clone(&free).acquire_owned().await else {
                    return;
                };
                let sender = self.clone();
                tokio::spawn(async move {
                    sender.deliver(&job).await;
                    drop((job, permit));
                });
            }
        }
        // All permits back: nothing is on its way any more.
        let all = u32::try_from(CONCURRENT).unwrap_or(u32::MAX);
        let _ = free.acquire_many(all).await;
    }

    /// Of a batch, those that may be sent: what that counts is committed first.
    async fn admitted(&self, batch: &mut Vec<Job>) -> Vec<Job> {
        let mut jobs: Vec<Job> = std::mem::take(batch);
        jobs.retain(|job| job.standard != Standard::Sham);
        let Some(admission) = &self.admission else {
            return jobs;
        };
        if jobs.is_empty() {
            return jobs;
        }
        let messages: Vec<_> = jobs.iter().map(|job| (job.id, &job.message)).collect();
        let verdicts = match admission.judge(&messages).await {
            Ok(verdicts) => verdicts,
            Err(error) => {
                // What is not counted is not sent.
                tracing::error!(%error, "messages were not sent: they could not be counted");
                // Notices are taken up again.
                for job in jobs.iter().filter(|job| job.standard == Standard::Once) {
                    count(&self.counts, job.message.channel, Delivery::failed);
                }
                return Vec::new();
            }
        };
        let mut admitted = Vec::with_capacity(jobs.len());
        for (job, verdict) in jobs.into_iter().zip(verdicts) {
            match verdict {
                Ok(()) => admitted.push(job),
                Err(refusal) if job.standard == Standard::Notice && !refusal.is_final() => {
                    self.note_refusal(&job.message, refusal);
                    self.notices.postpone(job.id).await;
                }
                Err(refusal) => {
                    self.note_refusal(&job.message, refusal);
                    count(&self.counts, job.message.channel, Delivery::refused);
                    if job.standard == Standard::Notice {
                        self.notices.done(job.id).await;
                    }
                }
            }
        }
        admitted
    }

    fn note_refusal(&self, message: &Message, refusal: Refusal) {
        let channel = message.channel.as_str();
        let reason = refusal.as_str();
        tracing::info!(
            channel,
            to = message.masked(),
            reason,
            "a message was refused"
        );
        self.refusals
            .get_or_create(&RefusalLabels { channel, reason })
            .inc();
    }

    async fn deliver(&self, job: &Job) {
        if job.standard == Standard::Notice && !self.notices.begin(job.id).await {
            return;
        }
        let outcome = match self.attempt(job).await {
            Ok(outcome) => outcome,
            Err(Later) if job.standard == Standard::Notice => {
                self.notices.postpone(job.id).await;
                return;
            }
            Err(Later) => Delivery::failed,
        };
        if job.standard == Standard::Notice {
            self.notices.done(job.id).await;
        }
        count(&self.counts, job.message.channel, outcome);
        if let (true, Some(admission)) = (outcome != Delivery::sent, &self.admission) {
            admission.not_sent(job.id).await;
        }
    }

    async fn attempt(&self, Job { id, message, .. }: &Job) -> Result<Delivery, Later> {
        let (channel, to) = (message.channel.as_str(), message.masked());
        let mut pause = FIRST_PAUSE;
        for number in 1..=ATTEMPTS {
            let now = self.clock.now();
            if message.good_until.is_some_and(|until| until <= now) {
                tracing::warn!(channel, to, "a message was not sent: its code has expired");
                return Ok(Delivery::expired);
            }
            let attempt = Attempt {
                id: *id,
                message,
                now,
            };
            match self.transport.send(attempt).await {
                Ok(()) => return Ok(Delivery::sent),
                Err(Failure::Transient { cause, wait }) if number < ATTEMPTS => {
                    tracing::warn!(channel, to, number, cause, "sending failed");
                    let wait = wait.unwrap_or_default().max(pause);
                    tokio::time::sleep(wait.min(LONGEST_PAUSE)).await;
                    pause *= 4;
                }
                // Asked again at once it would answer the same; a notice rests until that may be
                // mended.
                Err(Failure::Transient { cause, .. } | Failure::Misconfigured { cause }) => {
                    tracing::error!(channel, to, cause, "a message was not sent");
                    return Err(Later);
                }
                Err(Failure::Final { cause }) => {
                    tracing::error!(channel, to, cause, "a message was not sent");
                    return Ok(Delivery::failed);
                }
            }
        }
        Err(Later)
    }
}

fn count(counts: &Messages, channel: Medium, outcome: Delivery) {
    let labels = MessageLabels {
        channel: channel.as_str(),
        outcome,
    };
    counts.get_or_create(&labels).inc();
}
