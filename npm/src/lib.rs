//! Edgekeep's verifier for JavaScript: the WebAssembly half of the npm package.
//!
//! [`options`] reads whom to trust, [`judge`] holds what is known of the trusted issuers and judges
//! tokens by [`edgekeep_shared::gate`], [`answer`] is what JavaScript is told. The other half, in
//! `js/`, has what there is none of here: the network, the clock and the waiting. It decides
//! nothing: what to fetch, whether to take it, and for how long it counts is said by this crate.
//!
//! One verdict crosses the boundary once: text in, JSON out.

pub mod answer;
pub mod judge;
pub mod options;

#[cfg(target_arch = "wasm32")]
mod exported;
