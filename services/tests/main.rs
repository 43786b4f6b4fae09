//! The layer before an issuer that tests control, by a clock that stands still: the gate's verdicts,
//! its freshness and its answers.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod answers;
mod corpus;
mod freshness;
mod scene;
mod sources;
