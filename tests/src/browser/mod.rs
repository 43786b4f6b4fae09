//! A real browser, headless, with a fresh profile: [`chromium`] or [`firefox`].
//!
//! It reaches loopback and nothing else. Dropping it ends it.

pub mod chromium;
pub mod firefox;

use std::time::Duration;

use serde_json::Value;

/// How long a script may take.
const SCRIPT_LIMIT: Duration = Duration::from_secs(30);

/// How long a document may take to be shown, all of it.
const LOAD_LIMIT: Duration = Duration::from_secs(20);

/// How long one command may take, above [`SCRIPT_LIMIT`]: the first, which waits for the browser, is
/// slow on a busy machine.
const COMMAND_LIMIT: Duration = Duration::from_mins(1);

/// Marks the document that is shown.
const MARK: &str = "window.edgekeepBefore = true";

/// Whether another document is shown instead, all of it.
const LOADED: &str =
    "return window.edgekeepBefore === undefined && document.readyState === 'complete'";

/// A tab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tab {
    handle: String,
}

/// A running browser with one window, of whichever make.
///
/// Everything here panics where the browser does not answer.
#[expect(async_fn_in_trait, reason = "who asks does not ask from another task")]
pub trait Browser: Sized {
    /// Whether a site with another scheme is another site to it.
    const SCHEMEFUL: bool;

    /// Starts one.
    ///
    /// # Panics
    /// Where there is none.
    async fn start() -> Self;

    /// Opens `url` and waits until it is loaded. It has to be another document: a fragment of the one
    /// that is shown is not waited for.
    ///
    /// # Panics
    /// When it cannot be loaded.
    async fn goto(&self, url: &str);

    /// The URL that the window shows.
    async fn url(&self) -> String;

    /// Runs `script` in the page as the body of an async function that has `args` as its
    /// `arguments`, and gives what it returns.
    ///
    /// # Panics
    /// When it throws, or what it awaits is rejected.
    async fn run_async(&self, script: &str, args: &[Value]) -> Value {
        self.try_async(script, args)
            .await
            .unwrap_or_else(|error| panic!("{error}, in the page's script: {script}"))
    }

    /// The same, where it may throw.
    ///
    /// # Errors
    /// With name and message of what was thrown.
    ///
    /// # Panics
    /// When the script cannot be run at all, or does not end.
    async fn try_async(&self, script: &str, args: &[Value]) -> Result<Value, String>;

    /// The tab that commands go to.
    async fn tab(&self) -> Tab;

    /// Opens another tab beside it.
    async fn open_tab(&self) -> Tab;

    /// Has commands go to `tab` from now on.
    async fn switch_to(&self, tab: &Tab);

    /// Closes the tab that commands go to; they go nowhere until [`switch_to`](Self::switch_to).
    async fn close_tab(&self);

    /// The cookies that the browser would send to the page that is shown, those among them that no
    /// script reads, as WebDriver describes them.
    async fn cookies(&self) -> Vec<Value>;
}
