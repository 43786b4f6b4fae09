//! What answers say about limits: `RateLimit-Policy` and `RateLimit`, as
//! draft-ietf-httpapi-ratelimit-headers-11 has them (structured fields, RFC 9651).
//!
//! ```text
//! RateLimit-Policy: "refresh-ip";q=30;w=60, "refresh-session";q=10;w=60
//! RateLimit: "refresh-ip";r=29;t=60, "refresh-session";r=9;t=60
//! ```
//!
//! `q` events in `w` seconds; `r` are left, and within `t` seconds no more will be. There is no
//! partition key (`pk`): it would tell the client nothing that it does not know.
//!
//! A refusal names the limit that refused and no other, so that its `t` is `Retry-After` (§6: that
//! must not end before the effective window). Limits that are counted in the database are not named
//! here: what they refuse has `Retry-After` alone.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::Response;

/// What one limit says of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(super) name: &'static str,
    pub(super) quota: u32,
    pub(super) window: Duration,
    pub(super) left: u32,
    pub(super) eases_in: Duration,
    /// Whether it refused the request. One that let the last through has none left either.
    pub(super) refuses: bool,
}

/// What the limits that a request has met say; shared between whoever counts and the answer.
#[derive(Clone, Debug, Default)]
pub struct Readings(Arc<Mutex<Vec<Reading>>>);

impl Readings {
    /// Notes a reading in place of an earlier one of the same limit.
    pub(super) fn note(&self, reading: Reading) {
        let mut readings = self.lock();
        match readings.iter_mut().find(|held| held.name == reading.name) {
            Some(held) => *held = reading,
            None => readings.push(reading),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Reading>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives a request a place for readings, and its answer the headers.
pub async fn layer(mut request: Request, next: Next) -> Response {
    let readings = Readings::default();
    request.extensions_mut().insert(readings.clone());
    let mut response = next.run(request).await;
    let mut readings = readings.lock();
    if response.status() == StatusCode::TOO_MANY_REQUESTS {
        readings.retain(|reading| reading.refuses);
    }
    if readings.is_empty() {
        return response;
    }
    let headers = response.headers_mut();
    for (name, text) in [
        ("ratelimit-policy", policies(&readings)),
        ("ratelimit", states(&readings)),
    ] {
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    drop(readings);
    response
}

// Names are our own, without quotes or backslashes; writing to a string does not fail.

fn policies(readings: &[Reading]) -> String {
    let mut text = String::new();
    for reading in readings {
        let comma = if text.is_empty() { "" } else { ", " };
        let Reading { name, quota, .. } = reading;
        let window = reading.window.as_secs();
        let _ = write!(text, "{comma}\"{name}\";q={quota};w={window}");
    }
    text
}

fn states(readings: &[Reading]) -> String {
    let mut text = String::new();
    for reading in readings {
        let comma = if text.is_empty() { "" } else { ", " };
        let Reading { name, left, .. } = reading;
        // Rounded up, as Retry-After is.
        let seconds = reading.eases_in.as_micros().div_ceil(1_000_000).max(1);
        let _ = write!(text, "{comma}\"{name}\";r={left};t={seconds}");
    }
    text
}
