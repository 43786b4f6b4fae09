//! Edgekeep's keep: the issuer. People log in here, it signs their tokens, rotates its keys and
//! tells every gate whom to turn away.
//!
//! A request passes [`app`] (correlation id, limits, timeout), reaches the `routes.rs` of the
//! slice it is about, which reads its input into types, asks the slice's `mod.rs` for a decision
//! and writes through the slice's `store.rs`. [`error`] is the one place where a refusal becomes
//! HTTP; [`db`] the one place that knows there are two databases; [`vault`] the one place that
//! holds the master key; [`clock`] and [`random`] the only sources of time and chance.
//!
//! In scope: accounts, login, sessions, signing keys, revocation. Out of scope: judging tokens,
//! which is `edgekeep_shared`'s, and forwarding requests, which is the gate's.
//!
//! Standards: RFC 9457 (problems), RFC 9068 (access tokens), RFC 9106 (argon2id), RFC 8452
//! (AES-GCM-SIV), RFC 5869 (HKDF).

pub mod abuse;
pub mod access;
pub mod accounts;
pub mod app;
pub mod aws;
pub mod browser;
pub mod cli;
pub mod client_address;
pub mod clock;
pub mod config;
pub mod db;
pub mod error;
pub mod events;
mod html;
pub mod ids;
pub mod listen;
pub mod login;
pub mod metrics;
pub mod notify;
pub mod openapi;
mod page;
mod pages;
pub mod random;
pub mod request;
pub mod revocation;
mod security_headers;
pub mod sessions;
pub mod social;
pub mod tokens;
pub mod vault;
