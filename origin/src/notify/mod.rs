//! Mail and SMS: what is said, and who carries it.
//!
//! A message is handed over after the change that causes it is committed, and is sent by a task
//! of its own: how long sending takes, or whether anything is sent at all, must not show in the
//! time of an answer.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::metrics::{Delivery, MessageLabels, Messages};

mod file;
mod http;
mod smtp;
mod transport;

use transport::Transport;

/// Messages that may wait to be sent. Beyond it new ones are dropped and logged: memory is
/// bounded, and a code that comes minutes late is no use.
const QUEUE: usize = 1_024;

/// Messages on their way at a time.
const CONCURRENT: usize = 8;

/// Attempts for one message, with a growing pause between.
const ATTEMPTS: u32 = 3;

const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// By which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Medium {
    /// Mail.
    Email,
    /// SMS.
    Sms,
}

impl Medium {
    /// Its name in the outbox and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Sms => "sms",
        }
    }
}

/// A message to one person.
#[derive(Clone, Serialize)]
pub struct Message {
    /// By which way.
    pub channel: Medium,
    /// The address or number, in the spelling that its owner gave.
    pub to: String,
    /// The subject; SMS have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<&'static str>,
    /// The text.
    pub text: String,
    /// The code or link token in the text, for tests to read from the development outbox.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("channel", &self.channel)
            .field("subject", &self.subject)
            .finish_non_exhaustive()
    }
}

/// Where messages are handed over.
pub struct Mailer {
    queue: Mutex<Option<mpsc::Sender<Message>>>,
    worker: Mutex<Option<JoinHandle<()>>>,
    memory: Option<Mutex<Vec<Message>>>,
    permits: Arc<Semaphore>,
    counts: Messages,
}

impl Mailer {
    /// Starts the task that sends; needs a Tokio runtime.
    ///
    /// # Errors
    /// When a sender's settings are not usable.
    pub fn start(config: &Config) -> Result<Self, String> {
        let permits = Arc::new(Semaphore::new(CONCURRENT));
        let counts = Messages::default();
        if matches!(config.notify.email, crate::config::Channel::Memory) {
            return Ok(Self {
                queue: Mutex::new(None),
                worker: Mutex::new(None),
                memory: Some(Mutex::new(Vec::new())),
                permits,
                counts,
            });
        }
        let email = Arc::new(Transport::new(&config.notify.email, &config.data_dir)?);
        let sms = Arc::new(Transport::new(&config.notify.sms, &config.data_dir)?);
        let (queue, mut messages) = mpsc::channel::<Message>(QUEUE);
        let (free, outcomes) = (Arc::clone(&permits), counts.clone());
        let worker = tokio::spawn(async move {
            while let Some(message) = messages.recv().await {
                let transport = match message.channel {
                    Medium::Email => Arc::clone(&email),
                    Medium::Sms => Arc::clone(&sms),
                };
                let Ok(permit) = Arc::clone(&free).acquire_owned().await else {
                    break;
                };
                let outcomes = outcomes.clone();
                tokio::spawn(async move {
                    let outcome = deliver(&transport, &message).await;
                    count(&outcomes, message.channel, outcome);
                    drop(permit);
                });
            }
            // All permits back: nothing is on its way any more.
            let all = u32::try_from(CONCURRENT).unwrap_or(u32::MAX);
            let _ = free.acquire_many(all).await;
        });
        Ok(Self {
            queue: Mutex::new(Some(queue)),
            worker: Mutex::new(Some(worker)),
            memory: None,
            permits,
            counts,
        })
    }

    /// Hands a message over; returns at once.
    pub fn send(&self, message: Message) {
        if let Some(memory) = &self.memory {
            memory
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(message);
            return;
        }
        let channel = message.channel;
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue
            .as_ref()
            .is_none_or(|queue| queue.try_send(message).is_err())
        {
            tracing::error!("a message was dropped: the queue is full or closed");
            count(&self.counts, channel, Delivery::dropped);
        }
    }

    /// What became of messages so far; cheap to clone, and stays current.
    pub fn counts(&self) -> Messages {
        self.counts.clone()
    }

    /// How many wait or are on their way.
    pub fn waiting(&self) -> usize {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let queued = queue
            .as_ref()
            .map_or(0, |queue| queue.max_capacity() - queue.capacity());
        queued + CONCURRENT.saturating_sub(self.permits.available_permits())
    }

    /// What was handed over so far, where messages are kept in memory.
    pub fn sent(&self) -> Vec<Message> {
        self.memory
            .as_ref()
            .map(|memory| {
                memory
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone()
            })
            .unwrap_or_default()
    }

    /// Takes no more messages and waits, at most `limit`, until those waiting are sent.
    pub async fn drain(&self, limit: Duration) {
        drop(
            self.queue
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        let worker = self
            .worker
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(worker) = worker
            && tokio::time::timeout(limit, worker).await.is_err()
        {
            tracing::warn!("messages were still waiting to be sent");
        }
    }
}

impl fmt::Debug for Mailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailer").finish_non_exhaustive()
    }
}

fn count(counts: &Messages, channel: Medium, outcome: Delivery) {
    let labels = MessageLabels {
        channel: channel.as_str(),
        outcome,
    };
    counts.get_or_create(&labels).inc();
}

async fn deliver(transport: &Transport, message: &Message) -> Delivery {
    let mut pause = FIRST_PAUSE;
    for attempt in 1..=ATTEMPTS {
        match transport.send(message).await {
            Ok(()) => return Delivery::sent,
            Err(cause) if attempt == ATTEMPTS => {
                tracing::error!(channel = ?message.channel, cause, "a message was not sent");
            }
            Err(cause) => {
                tracing::warn!(channel = ?message.channel, attempt, cause, "sending failed");
                tokio::time::sleep(pause).await;
                pause *= 4;
            }
        }
    }
    Delivery::failed
}
