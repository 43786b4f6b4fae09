//! Black-box tests: real processes, real HTTP.
//!
//! First the gate between an issuer and an upstream that misbehave on demand, then the whole
//! house with the real origin, then the npm package.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails where something is not as it must be"
)]

/// Makes tests of functions that are for any browser, in each.
macro_rules! in_every_browser {
    ($($test:ident),* $(,)?) => {
        mod chromium {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test::<edgekeep_tests::browser::chromium::Chromium>().await;
            })*
        }

        mod firefox {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test::<edgekeep_tests::browser::firefox::Firefox>().await;
            })*
        }
    };
}

mod authz;
mod bound;
mod bursts;
mod caching;
mod corpus;
mod forwarding;
mod identity;
mod issuers;
mod keys;
mod limits;
mod lists;
mod logged;
mod metrics;
mod paths;
mod policy;
mod refusals;
mod revocation;
mod shim;
mod sources;
mod streaming;
mod tricks;
mod websocket;

mod command_line;
mod crash;
mod ending;
mod input;
mod journey;
mod proofs;
mod races;
mod readme;
mod rollout;
mod rotation;
mod services;
mod verdicts;
mod walk;
mod wrangler;

mod differential;
mod wycheproof;

mod npm;
mod npm_faults;
mod npm_native;
mod npm_package;
mod npm_runtimes;

mod browser_foreign;
mod browser_mode;
mod browser_npm;
mod browser_pages;
mod browser_passkeys;

mod caddy;
mod nginx;
mod traefik;
