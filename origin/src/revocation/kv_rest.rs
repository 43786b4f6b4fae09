//! Writes what the gates are told into Workers KV, through Cloudflare's REST API.
//!
//! KV takes one write a second for each key and, on the free plan, a thousand a day. The list is
//! written when it changed and otherwise every 90 s; the copies of JWK Set and policy, which gates
//! keep for a day, when they changed and otherwise every six hours.
//!
//! A large list would be megabytes a second, which every gate would read and verify. Then a delta is
//! written as often instead, from the list before the last that was written, and the list itself
//! every five minutes and when the delta has become long: whoever holds a list of the last minutes is
//! led on by the delta, whatever state of either key KV shows. While the list is small the delta is
//! one that leads nowhere ([`closed_delta`](super::lists::Lists::closed_delta)).

use std::time::Duration;

use reqwest::{Client, redirect};

use edgekeep_shared::revocation::{MAX_DELTA_BYTES, SMALL_LIST_BYTES};

use super::list::Documents;
use super::lists::{LARGE_BYTES, Lists};
use crate::app::State;
use crate::clock::Timestamp;
use crate::config::KvRest;
use crate::tokens::Published;
use crate::vault::Secret;

/// A write that takes longer is tried again.
const TIMEOUT: Duration = Duration::from_secs(10);

/// KV takes one write a second for each key.
const TICK: Duration = Duration::from_secs(1);

/// How long after a failed write the next is tried.
const PAUSE: Duration = Duration::from_secs(5);

/// How often the list is written when nothing changed.
const LIST_INTERVAL: Duration = Duration::from_secs(90);

/// How often a large list is written: a third of the age that gates accept, for readers that know
/// no deltas.
const LARGE_LIST_INTERVAL: Duration = Duration::from_mins(5);

/// A large list becomes a small one where gates take it for one and ask for no delta any more: far below
/// what made it large, so that one of about that length does not change its ways all the time.
const SMALL_BYTES: usize = SMALL_LIST_BYTES;

const _: () = assert!(2 * SMALL_BYTES <= LARGE_BYTES);

/// A delta that has become as long makes way for one from a later list.
const LONG_DELTA_BYTES: usize = MAX_DELTA_BYTES / 2;

/// How often the copies are written when nothing changed: a quarter of what gates accept.
const COPY_INTERVAL: Duration = Duration::from_hours(6);

/// What was written last under one key.
#[derive(Debug, Default)]
struct Written {
    at: Option<Timestamp>,
    change: i64,
}

/// Writes to one namespace.
#[derive(Debug)]
pub struct Writer {
    client: Client,
    values_url: String,
    api_token: Secret,
    list: Written,
    deltas: Deltas,
    jwk_set: Written,
    policy: Written,
}

/// What the key of the delta has.
#[derive(Clone, Copy, Debug)]
enum Deltas {
    /// Nobody knows: the writer has just begun.
    Unknown,
    /// One that leads nowhere: the list is small, and all there is.
    Closed,
    /// One that leads on from the list before the last that was written.
    Open {
        before: u64,
        latest: u64,
        written_at: Timestamp,
    },
}

impl Writer {
    /// A writer to the configured namespace; none where none is configured.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(settings: &KvRest) -> Result<Option<Self>, reqwest::Error> {
        let Some(api_token) = settings.api_token.clone() else {
            return Ok(None);
        };
        let client = Client::builder()
            .timeout(TIMEOUT)
            // A redirect would carry the credentials elsewhere.
            .redirect(redirect::Policy::none())
            .build()?;
        let values_url = format!(
            "{}/accounts/{}/storage/kv/namespaces/{}/values",
            settings.base_url, settings.account_id, settings.namespace_id
        );
        Ok(Some(Self {
            client,
            values_url,
            api_token,
            list: Written::default(),
            deltas: Deltas::Unknown,
            jwk_set: Written::default(),
            policy: Written::default(),
        }))
    }

    /// Writes what is due at `now`; how many values that were.
    ///
    /// # Errors
    /// What the API answered instead; what was not written stays due.
    pub async fn write_due(
        &mut self,
        documents: &Documents,
        lists: &Lists,
        now: Timestamp,
    ) -> Result<usize, String> {
        let mut count = 0;
        let keyring = documents.keyring_change();
        if is_due(&self.list, documents.list_change(), LIST_INTERVAL, now) {
            count += self.put_list(lists, now).await?;
            self.list = written(documents.list_change(), now);
        }
        if is_due(&self.jwk_set, keyring, COPY_INTERVAL, now) {
            self.put("jwks", &documents.jwk_set).await?;
            self.jwk_set = written(keyring, now);
            count += 1;
        }
        if let Some(policy) = &documents.policy
            && is_due(&self.policy, documents.policy_change(), COPY_INTERVAL, now)
        {
            self.put("policy", policy).await?;
            self.policy = written(documents.policy_change(), now);
            count += 1;
        }
        Ok(count)
    }

    /// Writes the list, or what leads to it; how many values that were.
    async fn put_list(&mut self, lists: &Lists, now: Timestamp) -> Result<usize, String> {
        let failed = |error: crate::error::Error| error.to_string();
        let (before, latest, written_at) = match self.deltas {
            Deltas::Open {
                before,
                latest,
                written_at,
            } if lists.body_len() > SMALL_BYTES => (before, latest, written_at),
            _ if lists.body_len() > LARGE_BYTES => {
                let list = lists.list().await.map_err(failed)?;
                self.put("revocations", &list.document).await?;
                self.deltas = Deltas::Open {
                    before: list.sequence,
                    latest: list.sequence,
                    written_at: now,
                };
                let closed = lists.closed_delta(&list).map_err(failed)?;
                self.put("revocations-delta", &closed).await?;
                return Ok(2);
            }
            is => {
                let list = lists.list().await.map_err(failed)?;
                self.put("revocations", &list.document).await?;
                if matches!(is, Deltas::Closed) {
                    return Ok(1);
                }
                let closed = lists.closed_delta(&list).map_err(failed)?;
                self.put("revocations-delta", &closed).await?;
                self.deltas = Deltas::Closed;
                return Ok(2);
            }
        };
        let delta = lists.delta_since(before).await.map_err(failed)?;
        let is_long = |delta: &Published| delta.bytes().len() > LONG_DELTA_BYTES;
        let is_old = now < written_at || now >= written_at + LARGE_LIST_INTERVAL;
        if let Some(delta) = delta.as_ref().filter(|delta| !is_old && !is_long(delta)) {
            self.put("revocations-delta", delta).await?;
            return Ok(1);
        }
        let list = lists.list().await.map_err(failed)?;
        self.put("revocations", &list.document).await?;
        self.deltas = Deltas::Open {
            before: latest,
            latest: list.sequence,
            written_at: now,
        };
        let delta = match lists.delta_since(latest).await.map_err(failed)? {
            Some(delta) => delta,
            None => lists.closed_delta(&list).map_err(failed)?,
        };
        self.put("revocations-delta", &delta).await?;
        Ok(2)
    }

    async fn put(&self, key: &str, document: &Published) -> Result<(), String> {
        let response = self
            .client
            .put(format!("{}/{key}", self.values_url))
            .bearer_auth(self.api_token.expose())
            .header("content-type", "application/octet-stream")
            .body(document.bytes().clone())
            .send()
            .await
            .map_err(|error| format!("{key}: {}", error.without_url()))?;
        let status = response.status();
        if status.is_success() {
            Ok(())
        } else {
            Err(format!("{key}: the API answered {status}"))
        }
    }
}

fn is_due(last: &Written, change: i64, interval: Duration, now: Timestamp) -> bool {
    last.at
        .is_none_or(|at| last.change != change || now < at || now >= at + interval)
}

fn written(change: i64, now: Timestamp) -> Written {
    Written {
        at: Some(now),
        change,
    }
}

/// Keeps the namespace current; never returns. What fails is logged and tried again.
pub async fn run(mut writer: Writer, state: State) {
    loop {
        let outcome = match state.publisher.current().await {
            Ok(documents) => match state.publisher.lists().await {
                Ok(lists) => writer.write_due(&documents, lists, state.clock.now()).await,
                Err(error) => Err(error.to_string()),
            },
            Err(error) => Err(error.to_string()),
        };
        let pause = match outcome {
            Ok(_) => TICK,
            Err(error) => {
                tracing::error!(error, "Workers KV could not be written");
                PAUSE
            }
        };
        tokio::time::sleep(pause).await;
    }
}
