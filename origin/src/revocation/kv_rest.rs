//! Writes what the gates are told into Workers KV, through Cloudflare's REST API.
//!
//! KV takes one write a second for each key and, on the free plan, a thousand a day. The list is
//! written when it changed and otherwise every 90 s; the copies of JWK Set and policy, which gates
//! keep for a day, when they changed and otherwise every six hours.

use std::time::Duration;

use reqwest::{Client, redirect};

use super::list::Documents;
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
    jwk_set: Written,
    policy: Written,
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
        now: Timestamp,
    ) -> Result<usize, String> {
        let mut count = 0;
        let keyring = documents.keyring_change();
        if is_due(&self.list, documents.list_change(), LIST_INTERVAL, now) {
            self.put("revocations", &documents.revocations).await?;
            self.list = written(documents.list_change(), now);
            count += 1;
        }
        if is_due(&self.jwk_set, keyring, COPY_INTERVAL, now) {
            self.put("jwks", &documents.jwk_set).await?;
            self.jwk_set = written(keyring, now);
            count += 1;
        }
        if let Some(policy) = &documents.policy
            && is_due(&self.policy, 0, COPY_INTERVAL, now)
        {
            self.put("policy", policy).await?;
            self.policy = written(0, now);
            count += 1;
        }
        Ok(count)
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
            Ok(documents) => writer.write_due(&documents, state.clock.now()).await,
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
