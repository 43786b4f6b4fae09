//! The policy language: what it matches, what it asks for, and what it says about mistakes.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

mod matching;
mod mistakes;
mod properties;
mod reach;
mod reading;
mod requirement;
mod support;
mod values;
