//! Edgekeep's gate: a worker that judges access tokens at the CDN edge.
//!
//! The decision itself is [`edgekeep_shared::gate`], a pure function. This crate feeds it:
//! [`config`] and [`issuers`] read the variables, `knowledge` holds what an isolate knows, `sources` fetches keys,
//! list and policy, `list` keeps the list current, `gate` serves a request, `limiter` asks how often it may, `upstream` sends on what may pass, and [`assertion`]
//! signs who is asking. [`authz`] reads the questions of other gateways. What was decided is a
//! line of the log ([`record`]) and a count ([`metrics`]).
//!
//! In scope: Cloudflare Workers and `workerd`. Out of scope: issuing anything that a verifier of
//! access tokens accepts; the gate holds no issuer's key and writes to no store.

pub mod assertion;
pub mod authz;
pub mod config;
pub mod issuers;
pub mod metrics;
pub mod record;

#[cfg(target_arch = "wasm32")]
mod answer;
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
mod recorder;
#[cfg(target_arch = "wasm32")]
mod sources;
#[cfg(target_arch = "wasm32")]
mod upstream;

#[cfg(target_arch = "wasm32")]
mod entry {
    use worker::{Context, Env, event, web_sys};

    /// Judges one request. Whatever goes wrong inside is a refusal; nothing passes on an error.
    #[event(fetch)]
    async fn fetch(
        request: web_sys::Request,
        env: Env,
        context: Context,
    ) -> worker::Result<web_sys::Response> {
        Ok(crate::gate::Gate::of(&env).serve(request, &context).await?)
    }
}
