//! Master keys that a key management service keeps wrapped.
//!
//! The configuration holds ciphertext, which is worth nothing without the service; the start asks
//! the service to unwrap it. So the service decides, and records, who may start a keep; revoking
//! that is one change there. The key in the clear is in memory only, and wiped; what the HTTP
//! client holds of the answer for a moment is not.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Client, StatusCode, redirect};
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::Secret;
use super::master::MasterKeyError;
use crate::aws;
use crate::clock::Clock;
use crate::config::{AwsKms, Provider, Secrets, VaultTransit};

/// How long the service may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How often it is asked, when it does not answer or says that it is busy.
const ATTEMPTS: u32 = 3;

/// How long to wait in between.
const PAUSE: Duration = Duration::from_millis(500);

/// Longest answer that is read: a wrapped key is a few hundred bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// The service.
#[derive(Debug)]
pub struct Kms<'a> {
    client: Client,
    clock: &'a Clock,
    service: Service<'a>,
}

#[derive(Debug)]
enum Service<'a> {
    Aws(&'a AwsKms),
    Transit(&'a VaultTransit),
}

/// Why the service did not do it; for the operator.
fn failed(text: impl Into<String>) -> MasterKeyError {
    MasterKeyError::Service(text.into())
}

impl<'a> Kms<'a> {
    /// The configured service; none where the provider is another.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn of(secrets: &'a Secrets, clock: &'a Clock) -> Result<Option<Self>, MasterKeyError> {
        let service = match secrets.provider {
            Some(Provider::AwsKms) => Service::Aws(&secrets.aws_kms),
            Some(Provider::VaultTransit) => Service::Transit(&secrets.vault_transit),
            Some(Provider::Environment | Provider::File) | None => return Ok(None),
        };
        let client = Client::builder()
            .timeout(TIMEOUT)
            // A redirect would carry the key elsewhere.
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|error| failed(error.to_string()))?;
        Ok(Some(Self {
            client,
            clock,
            service,
        }))
    }

    /// What the service makes of `key`: text without spaces that [`unwrap`](Self::unwrap) takes.
    ///
    /// # Errors
    /// [`MasterKeyError::Service`] with what it said.
    pub async fn wrap(&self, version: u8, key: &[u8; 32]) -> Result<String, MasterKeyError> {
        let plaintext = Zeroizing::new(STANDARD.encode(key));
        match self.service {
            Service::Aws(settings) => {
                let body = json!({
                    "KeyId": settings.key_id,
                    "Plaintext": *plaintext,
                    "EncryptionContext": context(version),
                });
                let answer: AwsEncrypted = self.aws(settings, "Encrypt", &body).await?;
                Ok(answer.ciphertext)
            }
            Service::Transit(settings) => {
                let body = json!({"plaintext": *plaintext});
                let answer: Transit<Encrypted> = self.transit(settings, "encrypt", &body).await?;
                Ok(answer.data.ciphertext)
            }
        }
    }

    /// The key that was wrapped as `ciphertext`.
    ///
    /// # Errors
    /// [`MasterKeyError::Service`] with what it said.
    pub async fn unwrap(
        &self,
        version: u8,
        ciphertext: &str,
    ) -> Result<Zeroizing<[u8; 32]>, MasterKeyError> {
        let plaintext = match self.service {
            Service::Aws(settings) => {
                let body = json!({
                    // Named, or anybody's key of any account would do.
                    "KeyId": settings.key_id,
                    "CiphertextBlob": ciphertext,
                    "EncryptionContext": context(version),
                });
                let answer: AwsDecrypted = self.aws(settings, "Decrypt", &body).await?;
                answer.plaintext
            }
            Service::Transit(settings) => {
                let body = json!({"ciphertext": ciphertext});
                let answer: Transit<Decrypted> = self.transit(settings, "decrypt", &body).await?;
                answer.data.plaintext
            }
        };
        let bytes = STANDARD.decode(plaintext.expose()).unwrap_or_default();
        let bytes = Zeroizing::new(bytes);
        <[u8; 32]>::try_from(bytes.as_slice())
            .map(Zeroizing::new)
            .map_err(|_| failed(format!("version {version} is not a key of 32 bytes")))
    }

    async fn aws<T: for<'de> Deserialize<'de>>(
        &self,
        settings: &AwsKms,
        action: &str,
        body: &Value,
    ) -> Result<T, MasterKeyError> {
        let url = match &settings.endpoint {
            Some(url) => url.clone(),
            None => format!("https://kms.{}.amazonaws.com", settings.region),
        };
        let host = url.split_once("://").map_or("", |(_, host)| host);
        let target = format!("TrentService.{action}");
        let own = [
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amz-target", target.as_str()),
        ];
        let body = Zeroizing::new(body.to_string());
        let credentials = aws::Credentials {
            access_key_id: settings.access_key_id.clone(),
            secret_access_key: settings
                .secret_access_key
                .clone()
                .ok_or_else(|| failed("no credentials"))?,
            session_token: settings.session_token.clone(),
        };
        let request = aws::Request {
            method: "POST",
            host,
            path: "/",
            query: "",
            headers: &own,
            body: body.as_bytes(),
        };
        let scope = aws::Scope {
            region: &settings.region,
            service: "kms",
        };
        let signed = aws::sign(&request, scope, &credentials, self.clock.now()).map_err(failed)?;
        let signed = signed.iter().map(|(name, value)| (*name, value.as_str()));
        let headers: Vec<(&str, &str)> = own.into_iter().chain(signed).collect();
        self.post(&format!("{url}/"), &headers, &body).await
    }

    async fn transit<T: for<'de> Deserialize<'de>>(
        &self,
        settings: &VaultTransit,
        action: &str,
        body: &Value,
    ) -> Result<T, MasterKeyError> {
        let address = settings.address.trim_end_matches('/');
        let (mount, key) = (settings.mount.trim_matches('/'), &settings.key);
        let token = settings.token.as_ref().ok_or_else(|| failed("no token"))?;
        let mut headers = vec![
            ("content-type", "application/json"),
            ("x-vault-request", "true"),
            ("x-vault-token", token.expose()),
        ];
        if let Some(namespace) = &settings.namespace {
            headers.push(("x-vault-namespace", namespace));
        }
        let body = Zeroizing::new(body.to_string());
        let url = format!("{address}/v1/{mount}/{action}/{key}");
        self.post(&url, &headers, &body).await
    }

    async fn post<T: for<'de> Deserialize<'de>>(
        &self,
        url: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<T, MasterKeyError> {
        let mut attempt = 1;
        let (status, answer) = loop {
            let outcome = self.post_once(url, headers, body).await;
            let again = match &outcome {
                Ok((status, _)) => {
                    status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS
                }
                Err(_) => true,
            };
            if !again || attempt == ATTEMPTS {
                break outcome.map_err(failed)?;
            }
            attempt += 1;
            tokio::time::sleep(PAUSE).await;
        };
        if status != StatusCode::OK {
            let status = status.as_u16();
            return Err(failed(format!("status {status}{}", reason(&answer))));
        }
        serde_json::from_slice(&answer).map_err(|_| failed("the answer is not what was expected"))
    }

    async fn post_once(
        &self,
        url: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<(StatusCode, Zeroizing<Vec<u8>>), String> {
        let mut request = self.client.post(url).body(body.to_owned());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = request.send().await.map_err(|error| chain(&error))?;
        let mut answer = Zeroizing::new(Vec::with_capacity(MAX_ANSWER_BYTES));
        while let Some(chunk) = response.chunk().await.map_err(|error| chain(&error))? {
            // Never beyond the capacity: a buffer that grows leaves its old copy unwiped.
            if answer.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err("the answer is too long".to_owned());
            }
            answer.extend_from_slice(&chunk);
        }
        Ok((response.status(), answer))
    }
}

/// An error with its causes: "error sending request" alone says nothing.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// What binds a ciphertext to its use: under another version it does not open.
fn context(version: u8) -> Value {
    json!({"edgekeep": "master-key", "version": version.to_string()})
}

/// What the service says about a refusal, in its own words and not at length.
fn reason(answer: &[u8]) -> String {
    const MAX_CHARS: usize = 200;
    let Ok(answer) = serde_json::from_slice::<Value>(answer) else {
        return String::new();
    };
    let words: Vec<&str> = ["__type", "message", "Message"]
        .iter()
        .filter_map(|member| answer[member].as_str())
        .chain(
            answer["errors"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str),
        )
        .collect();
    let text: String = words
        .join(", ")
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_CHARS)
        .collect();
    if text.is_empty() {
        text
    } else {
        format!(": {text}")
    }
}

#[derive(Deserialize)]
struct AwsEncrypted {
    #[serde(rename = "CiphertextBlob")]
    ciphertext: String,
}

#[derive(Deserialize)]
struct AwsDecrypted {
    #[serde(rename = "Plaintext")]
    plaintext: Secret,
}

#[derive(Deserialize)]
struct Transit<T> {
    data: T,
}

#[derive(Deserialize)]
struct Encrypted {
    ciphertext: String,
}

#[derive(Deserialize)]
struct Decrypted {
    plaintext: Secret,
}
