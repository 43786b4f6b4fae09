//! Black-box tests: real processes, real HTTP.
//!
//! First the gate between an issuer and an upstream that misbehave on demand, then the whole
//! house with the real origin.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails where something is not as it must be"
)]

mod authz;
mod bursts;
mod corpus;
mod forwarding;
mod identity;
mod keys;
mod metrics;
mod paths;
mod policy;
mod refusals;
mod revocation;
mod smuggling;
mod sources;
mod websocket;

mod command_line;
mod crash;
mod ending;
mod input;
mod journey;
mod races;
mod readme;
mod rotation;
mod verdicts;
mod walk;

mod browser_passkeys;

mod caddy;
mod nginx;
