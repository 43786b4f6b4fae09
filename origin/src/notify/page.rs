//! `GET /dev/outbox`: the latest messages of the development outbox, to read in a browser.
//!
//! It shows codes, so it exists in development only, only where messages go into the file, and
//! only for whoever sits at the machine: the connection must come from loopback and without a
//! proxy between, and be addressed to loopback, or a page elsewhere could reach it under a name of
//! its own that it lets point here (DNS rebinding).

use std::io::SeekFrom;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use axum::Router;
use axum::extract::{ConnectInfo, Request, State as Shared};
use axum::http::header;
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::get;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::file;
use crate::app::State;
use crate::client_address::is_local;
use crate::config::{Channel, Config, Mode};
use crate::error::Error;
use crate::html;

/// Where the page is.
pub const PATH: &str = "/dev/outbox";

/// Messages that are shown, the newest first.
const SHOWN: usize = 50;

/// As much of the file's end as is read: some hundreds of messages.
const TAIL: u64 = 128 * 1024;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:2rem;max-width:60rem}\
    td{padding:.4rem 1rem .4rem 0;vertical-align:top;border-top:1px solid #ccc}\
    b{font-family:ui-monospace,monospace}small{color:#666}";

/// Whether there is such a page.
pub fn has_outbox_page(config: &Config) -> bool {
    let to_file = |channel: &Channel| matches!(channel, Channel::File);
    config.mode == Mode::Development
        && (to_file(&config.notify.email) || to_file(&config.notify.sms))
}

/// The file that the page shows.
pub fn outbox(config: &Config) -> PathBuf {
    file::path(&config.data_dir)
}

/// The route, where there is such a page.
pub fn routes(config: &Config) -> Router<State> {
    if has_outbox_page(config) {
        Router::new().route(PATH, get(show))
    } else {
        Router::new()
    }
}

async fn show(Shared(state): Shared<State>, request: Request) -> Result<Response, Error> {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    if !is_local(peer.map(|info| info.0.ip()), request.headers()) {
        return Err(Error::NotFound);
    }
    let lines = tail(&outbox(&state.config))
        .await
        .map_err(|error| Error::internal(format!("development outbox: {error}")))?;
    let policy = html::content_security_policy(STYLE);
    let headers = [(header::CONTENT_SECURITY_POLICY, policy)];
    Ok((headers, Html(render(&lines))).into_response())
}

/// The end of the file; nothing where there is none yet.
async fn tail(path: &Path) -> std::io::Result<String> {
    let mut file = match tokio::fs::File::open(path).await {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(error),
    };
    let length = file.metadata().await?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))
        .await?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The page over `lines`, of which the first may be cut.
fn render(lines: &str) -> String {
    let messages = lines
        .lines()
        .rev()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .take(SHOWN);
    let mut page = String::from(
        "<!doctype html><html lang=en><meta charset=utf-8>\
         <meta name=viewport content=\"width=device-width\"><title>Outbox</title><style>",
    );
    page.push_str(STYLE);
    page.push_str("</style><h1>Outbox</h1><p>Mail and SMS of this development server, the newest first.</p><table>");
    for message in messages {
        let text = |name: &str| message[name].as_str().unwrap_or_default();
        page.push_str("<tr><td><small>");
        html::escape(text("channel"), &mut page);
        page.push_str("</small><td>");
        html::escape(text("to"), &mut page);
        page.push_str("<td><b>");
        html::escape(text("code"), &mut page);
        page.push_str("</b><td>");
        html::escape(text("subject"), &mut page);
        page.push_str("<br>");
        html::escape(text("text"), &mut page);
    }
    page.push_str("</table></html>");
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_cannot_become_markup_and_broken_lines_are_left_out() {
        let line = serde_json::json!({
            "channel": "email<script>", "to": "\"><script>alert(1)</script>@example.org",
            "subject": "</td><img src=x>", "text": "<script>alert(2)</script> it's & so on",
            "code": "<b>123456",
        });
        let page = render(&format!("cut off\"}}\n{line}\n[]\n"));
        assert!(!page.contains("<script"), "{page}");
        assert!(!page.contains("<img"), "{page}");
        assert!(page.contains("&lt;b&gt;123456"), "{page}");
        assert!(page.contains("it&#39;s &amp; so on"), "{page}");
    }

    #[test]
    fn the_newest_stand_first_and_not_all_are_shown() {
        let lines: Vec<String> = (0..100)
            .map(|number| format!("{{\"text\": \"message {number}.\"}}"))
            .collect();
        let page = render(&lines.join("\n"));
        assert!(!page.contains("message 49."), "{page}");
        let place = |number: u32| page.find(&format!("message {number}.")).unwrap();
        assert!(place(99) < place(98) && place(98) < place(50));
    }
}
