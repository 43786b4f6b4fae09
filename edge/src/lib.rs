//! Edgekeep's gate: a worker that judges access tokens at the CDN edge.
//!
//! The decision itself is [`edgekeep_shared::gate`], a pure function. This crate feeds it:
//! [`config`] and [`issuers`] read the variables, `knowledge` holds what an isolate knows, `sources`
//! fetches keys, list and policy, `list` keeps the list current. A request comes from `shim.js` as one
//! text, which [`incoming`] takes apart; `gate` judges it, and `limiter` asks how often it may come; what
//! is to be done goes back as one text ([`carried`]): the [`answer`], or what the [`upstream`] gets, with
//! who is asking signed by [`assertion`]. [`authz`] reads the questions of other gateways. What was
//! decided is a line of the log ([`record`]) and a count ([`metrics`]).
//!
//! In scope: Cloudflare Workers and `workerd`. Out of scope: issuing anything that a verifier of
//! access tokens accepts; the gate holds no issuer's key and writes to no store.

pub mod answer;
pub mod assertion;
pub mod authz;
pub mod carried;
pub mod config;
pub mod ids;
pub mod incoming;
pub mod issuers;
pub mod metrics;
pub mod record;
pub mod recorder;
pub mod signatures;
pub mod upstream;

#[cfg(target_arch = "wasm32")]
mod gate;
#[cfg(target_arch = "wasm32")]
mod js;
#[cfg(target_arch = "wasm32")]
mod knowledge;
#[cfg(target_arch = "wasm32")]
mod limiter;
#[cfg(target_arch = "wasm32")]
mod list;
#[cfg(target_arch = "wasm32")]
mod sources;

/// What `shim.js` calls.
#[cfg(target_arch = "wasm32")]
pub mod entry {
    use wasm_bindgen::prelude::wasm_bindgen;
    use worker::{Context, Env, worker_sys};

    use crate::gate::Gate;

    /// Judges one request and says what is to be done. `ticket` is that of the signature that was
    /// verified for it, with its verdict if it has one; 0 at first.
    #[wasm_bindgen]
    pub fn judge(
        request: &str,
        ticket: u32,
        verdict: Option<bool>,
        env: &Env,
        context: worker_sys::Context,
    ) -> String {
        let verdict = (ticket != 0).then_some((ticket, verdict));
        Gate::of(env).judge(request, verdict, &Context::new(context))
    }

    /// The same for a request that has to wait for something.
    #[wasm_bindgen]
    pub async fn wait(
        request: String,
        verified: bool,
        may_ask: bool,
        env: Env,
        context: worker_sys::Context,
    ) -> String {
        let (gate, context) = (Gate::of(&env), Context::new(context));
        gate.wait(&request, verified, may_ask, &context).await
    }

    /// The key of a signature, as a JWK; like the two below, nothing once its turn is over.
    #[wasm_bindgen]
    pub fn key(ticket: u32) -> Option<String> {
        let gate = Gate::existing()?;
        let pending = gate.pending().borrow();
        Some(pending.find(ticket)?.key().to_jwk(""))
    }

    /// The signature itself.
    #[wasm_bindgen]
    pub fn signature(ticket: u32) -> Option<Vec<u8>> {
        let gate = Gate::existing()?;
        let pending = gate.pending().borrow();
        Some(pending.find(ticket)?.signature().to_vec())
    }

    /// What it signs.
    #[wasm_bindgen]
    pub fn signed(ticket: u32) -> Option<Vec<u8>> {
        let gate = Gate::existing()?;
        let pending = gate.pending().borrow();
        Some(pending.find(ticket)?.signed().to_vec())
    }

    /// Counts a request that was sent on, by what has come of it.
    #[wasm_bindgen]
    pub fn count(tally: u32) {
        if let Some(gate) = Gate::existing() {
            gate.count(tally);
        }
    }

    /// `Cache-Control` of an answer that came with `upstream`, or with none and an empty text, where
    /// its rule says by this word who may keep it.
    #[wasm_bindgen]
    pub fn cache_control(word: &str, upstream: &str) -> String {
        crate::carried::cache_control(word, upstream)
    }

    /// Those of the names of an answer's header fields, a line each, that go where its rule says who may
    /// keep it.
    #[wasm_bindgen]
    pub fn other_cache_fields(names: &str) -> String {
        crate::carried::other_cache_fields(names)
    }

    /// What is to be done about a request that has no answer of an upstream to be passed on; `is_https`
    /// says that it has come over TLS. Whoever has judged it: that instance may be gone.
    #[wasm_bindgen]
    pub fn unanswered(forward: &str, is_https: bool) -> Option<String> {
        crate::carried::unanswered(forward, is_https)
    }
}
