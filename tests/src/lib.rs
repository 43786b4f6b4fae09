//! What the black-box tests stand on: origin and gate as real processes, an issuer and an
//! upstream that misbehave on demand, and an HTTP client that changes nothing.
//!
//! - [`http`]: a client that sends the bytes it is given.
//! - [`server`]: a server that records the bytes it gets.
//! - [`keys`]: token keys, control keys and what they sign.
//! - [`issuer`]: an issuer in this process whose every door can fail; [`faults`]: how.
//! - [`edge`], [`origin`]: the real worker in `workerd`, the real `edgekeep`.
//! - [`gate`], [`house`]: the two compositions that tests ask for.
//! - [`wrangler`]: the worker as its developers run it.
//! - [`package`]: the npm package, on every host that it is for; [`service`]: the example of a
//!   service in Rust.
//! - [`browser`]: a real browser; [`site`]: a page and the issuer that it asks; [`tls`]: in front
//!   of both.
//! - [`webassembly`]: the verifier as WebAssembly, asked in batches; [`mutation`]: tokens of a seed
//!   ([`numbers`]); [`differential`]: what native code and WebAssembly say of them.
//!
//! Everything listens on loopback and ends when its value is dropped, on a panic too; the log of
//! a child is shown when its test fails.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what cannot be set up fails the test, with its place"
)]

pub mod browser;
pub mod clock;
pub mod differential;
pub mod edge;
pub mod faults;
pub mod gate;
pub mod house;
pub mod http;
pub mod issuer;
pub mod keys;
pub mod mutation;
pub mod numbers;
pub mod origin;
pub mod package;
pub mod process;
pub mod server;
pub mod service;
pub mod site;
pub mod tls;
pub mod webassembly;
pub mod wrangler;
