//! The npm package in Deno and Bun, which load it by the entry for Node.js.

use edgekeep_tests::package::Host;

use crate::npm::{agrees_with_the_gate, refuses_what_was_logged_out};
use crate::npm_package::ends_when_it_is_done;

#[tokio::test(flavor = "multi_thread")]
async fn deno_and_bun_give_the_verdict_of_the_gate_on_every_token() {
    agrees_with_the_gate(&[Host::Deno, Host::Bun]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deno_refuses_what_was_logged_out() {
    refuses_what_was_logged_out(Host::Deno).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bun_refuses_what_was_logged_out() {
    refuses_what_was_logged_out(Host::Bun).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_in_deno_or_bun_ends_when_it_is_done() {
    for host in [Host::Deno, Host::Bun] {
        ends_when_it_is_done(host).await;
    }
}
