//! A web application and the issuer that it asks, by the names that a browser knows them by.
//!
//! The application's script is the one that `docs/browsers.md` tells to copy.

use std::sync::{Arc, OnceLock};

use serde_json::Value;

use crate::browser::Browser;
use crate::edge::root;
use crate::origin::Origin;
use crate::server::{Reply, Request, Server};
use crate::tls::{Front, Listener};

/// Every name that a test calls the application or the issuer by.
const NAMES: [&str; 3] = ["localhost", "*.localhost", "*.id.localhost"];

/// What the page looks like where the application's script is not in it.
const MISSING: &str = r"
    if (typeof ask === 'function') return null;
    return [location.href, document.readyState, document.documentElement.outerHTML,
        performance.getEntriesByType('resource').map((entry) => JSON.stringify(entry))];
";

/// An application, its issuer, and what stands before them.
pub struct Site {
    /// The issuer.
    pub origin: Origin,
    /// The origin of the listed page.
    pub page: String,
    /// The issuer's URL.
    pub issuer: String,
    app: Server,
    fronts: Vec<Front>,
}

impl Site {
    /// Two ports of `localhost`, as on a developer's machine.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn on_localhost(more: &[(&str, &str)]) -> Self {
        Self::start("http://localhost", "http://localhost", more).await
    }

    /// Sibling subdomains behind TLS, as in production.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn on_subdomains(more: &[(&str, &str)]) -> Self {
        Self::start(
            "https://app.id.localhost",
            "https://auth.id.localhost",
            more,
        )
        .await
    }

    /// A listed page and its issuer, by scheme and host of each.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(page: &str, issuer: &str, more: &[(&str, &str)]) -> Self {
        let known = Arc::new(OnceLock::new());
        let asked = Arc::clone(&known);
        let app = Server::start(move |request| serve(request, asked.get())).await;
        let mut fronts = Vec::new();
        let mut page_port = app.address().port();
        if page.starts_with("https:") {
            let front = Listener::bind().await.in_front_of(app.address(), &NAMES);
            page_port = front.address().port();
            fronts.push(front);
        }
        let page = format!("{page}:{page_port}");
        let listed = format!("[\"{page}\"]");
        let listener = Listener::bind().await;
        let public_url = format!("{issuer}:{}", listener.address().port());
        let is_tls = issuer.starts_with("https:");
        let mut settings = vec![("EDGEKEEP_BROWSER__ALLOWED_ORIGINS", listed.as_str())];
        if is_tls {
            settings.push(("EDGEKEEP_SERVER__PUBLIC_URL", public_url.as_str()));
        }
        settings.extend_from_slice(more);
        let origin = Origin::with(&settings).await;
        let mut issuer = format!("{issuer}:{}", origin.address().port());
        if is_tls {
            fronts.push(listener.in_front_of(origin.address(), &NAMES));
            issuer = public_url;
        }
        known.get_or_init(|| issuer.clone());
        Self {
            origin,
            page,
            issuer,
            app,
            fronts,
        }
    }

    /// The same application by another host's name, which is another origin.
    pub fn page_at(&self, host: &str) -> String {
        let (scheme, port) = match self.fronts.first() {
            Some(front) => ("https", front.address().port()),
            None => ("http", self.app.address().port()),
        };
        format!("{scheme}://{host}:{port}")
    }

    /// Shows the listed page anew.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn show(&self, browser: &impl Browser) {
        Self::show_at(browser, &self.page).await;
    }

    /// Shows the application at another origin of its own.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn show_at(browser: &impl Browser, page: &str) {
        browser.goto(page).await;
        let missing = browser.run_async(MISSING, &[]).await;
        assert_eq!(missing, Value::Null, "the application's script has not run");
    }

    /// The requests that the application's server got so far.
    pub fn asked_of_app(&self) -> Vec<Request> {
        self.app.seen()
    }

    /// What the browser keeps of the issuer's cookies whose name ends so, as WebDriver describes
    /// them. The page that is shown stays.
    ///
    /// # Panics
    /// When the browser does not answer.
    pub async fn cookie(&self, browser: &impl Browser, ending: &str) -> Option<Value> {
        let shown = browser.tab().await;
        let beside = browser.open_tab().await;
        browser.switch_to(&beside).await;
        browser.goto(&format!("{}/health", self.issuer)).await;
        let cookies = browser.cookies().await;
        browser.close_tab().await;
        browser.switch_to(&shown).await;
        let mut found = cookies.into_iter().filter(|cookie| {
            let name = cookie["name"].as_str().unwrap_or_default();
            name.ends_with(ending)
        });
        let cookie = found.next();
        assert!(found.next().is_none(), "two cookies are called …{ending}");
        cookie
    }
}

/// The application: a page, and the script that the documentation has.
fn serve(request: &Request, issuer: Option<&String>) -> Reply {
    match request.path() {
        "/app.js" => {
            let issuer = issuer.map_or("", String::as_str);
            let script = script().replace("https://auth.example.org", issuer);
            Reply::new(200, script).header("Content-Type", "text/javascript")
        }
        "/" => Reply::new(
            200,
            "<!doctype html><title>application</title><script src=\"/app.js\"></script>",
        )
        .header("Content-Type", "text/html"),
        _ => Reply::new(404, ""),
    }
}

fn script() -> String {
    let guide = std::fs::read_to_string(root().join("docs/browsers.md")).unwrap();
    let script = guide.split("```js\n").nth(1).unwrap();
    script.split("```").next().unwrap().to_owned()
}
