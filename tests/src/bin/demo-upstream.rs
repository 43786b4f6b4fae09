//! The API behind the gate in `scripts/run` and in the tests: it answers every
//! request with what reached it.
//!
//! `demo-upstream PORT` listens on loopback and prints its URL once it is ready; port
//! 0 takes a free one. The answer is JSON `{method, path, query, headers}`: path and
//! query as they were sent, nothing decoded; the values of a header that came more than
//! once are joined by `, `, so that a second one shows.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use axum::Json;
use axum::Router;
use axum::http::{HeaderMap, Method, Uri};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let port: u16 = std::env::args()
        .nth(1)
        .context("usage: demo-upstream PORT")?
        .parse()
        .context("PORT is a number from 0 to 65535")?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))?;
    announce(listener.local_addr()?);
    axum::serve(listener, Router::new().fallback(echo)).await?;
    Ok(())
}

#[expect(
    clippy::print_stdout,
    reason = "the caller reads the URL from standard output"
)]
fn announce(address: SocketAddr) {
    println!("http://{address}");
}

async fn echo(method: Method, uri: Uri, headers: HeaderMap) -> Json<Value> {
    let mut seen: BTreeMap<&str, String> = BTreeMap::new();
    for (name, value) in &headers {
        // A value need not be UTF-8; what is not shows as U+FFFD.
        let text = String::from_utf8_lossy(value.as_bytes());
        seen.entry(name.as_str())
            .and_modify(|earlier| {
                earlier.push_str(", ");
                earlier.push_str(&text);
            })
            .or_insert_with(|| text.into_owned());
    }
    Json(json!({
        "method": method.as_str(),
        "path": uri.path(),
        "query": uri.query(),
        "headers": seen,
    }))
}
