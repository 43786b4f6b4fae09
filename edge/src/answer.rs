//! What the gate answers itself, as a list of header fields and a body.

use edgekeep_shared::{
    gate::{IDENTITY_HEADERS, Refusal, refusal},
    policy::{Caching, Cors, Rule},
};

use crate::{authz::Gateway, upstream::ASSERTION};

/// Tells a gateway that understands few statuses which one is meant.
const STATUS: &str = "X-Edgekeep-Status";

/// The code of a refusal, for a gateway that does not hand the body on.
const CODE: &str = "X-Edgekeep-Code";

/// What every answer of the gate's own tells a browser about itself, as every answer of the keep does
/// (ASVS 5.0 §3.4): it is not to be framed, embedded, sniffed or run, and its address goes no further.
/// No page that was let in by CORS is kept out by any of these. `shim.js` has them once more.
const SECURITY: [(&str, &str); 5] = [
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Frame-Options", "DENY"),
    (
        "Content-Security-Policy",
        "default-src 'none'; frame-ancestors 'none'",
    ),
    ("Cross-Origin-Resource-Policy", "same-origin"),
];

/// A year, which ASVS 3.4.1 asks for at least. Of this host alone: the gate does not know what else
/// stands below it.
const HSTS: (&str, &str) = ("Strict-Transport-Security", "max-age=31536000");

/// What an upstream can say to pages of other origins, and does not where the rule does (the Fetch
/// standard, and Private Network Access).
const CORS_FIELDS: [&str; 7] = [
    "Access-Control-Allow-Origin",
    "Access-Control-Allow-Credentials",
    "Access-Control-Expose-Headers",
    "Access-Control-Allow-Methods",
    "Access-Control-Allow-Headers",
    "Access-Control-Max-Age",
    "Access-Control-Allow-Private-Network",
];

/// Header fields, in the order in which they are added; a name may come twice.
pub type Fields<'f> = Vec<(&'f str, String)>;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<'f> {
    /// The HTTP status.
    pub status: u16,
    /// The header fields.
    pub fields: Fields<'f>,
    /// The body; empty where there is none.
    pub body: String,
}

impl Answer<'_> {
    /// The same answer to a request that has come over TLS, or has not.
    #[must_use]
    pub fn over_tls(mut self, is_https: bool) -> Self {
        if is_https {
            self.fields.push((HSTS.0, HSTS.1.to_owned()));
        }
        self
    }
}

/// What an answer of the upstream goes back with, and without.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Header fields that are taken away, beside those that [`caching`](Self::caching) takes.
    pub dropped: &'static [&'static str],
    /// Header fields that it gets after that.
    pub added: Fields<'static>,
    /// Who may keep it.
    pub caching: Caching,
}

impl Changes {
    /// What `rule` changes in an answer to pages of `origin`.
    pub fn of(rule: &Rule, origin: Option<&str>) -> Self {
        Self {
            // Who may read is the rule's word: an upstream that is more generous must not be heard
            // beside it, or instead.
            dropped: if rule.cors().is_some() {
                &CORS_FIELDS
            } else {
                &[]
            },
            added: cors_fields(rule, origin),
            caching: rule.caching(),
        }
    }
}

/// A refusal, as problem details; `asker` is the gateway that has asked, if it was one.
pub fn refuse(refusal: &Refusal<'_>, asker: Option<Gateway>, request_id: &str) -> Answer<'static> {
    let mut fields = secured_fields(request_id);
    fields.push(("Content-Type", refusal::CONTENT_TYPE.to_owned()));
    if let Some(challenge) = refusal.challenge() {
        fields.push(("WWW-Authenticate", challenge));
    }
    if let Some(seconds) = refusal.retry_after() {
        fields.push(("Retry-After", seconds.to_string()));
    }
    let mut status = refusal.status();
    if let Some(gateway) = asker {
        fields.push((STATUS, status.to_string()));
        fields.push((CODE, refusal.rejection.code().to_owned()));
        status = gateway.status(status);
    }
    Answer {
        status,
        fields,
        body: refusal.problem(request_id),
    }
}

/// The answer to a CORS preflight that the rule allows.
pub fn preflight(
    cors: &Cors,
    origin: &str,
    requested: (&str, Option<&str>),
    request_id: &str,
) -> Answer<'static> {
    let mut fields = secured_fields(request_id);
    fields.extend(allowed_origin(cors, origin));
    let (method, names) = requested;
    fields.push(("Access-Control-Allow-Methods", method.to_owned()));
    if let Some(names) = names {
        fields.push(("Access-Control-Allow-Headers", names.to_owned()));
    }
    if let Some(seconds) = cors.max_age {
        fields.push(("Access-Control-Max-Age", seconds.to_string()));
    }
    let vary = "Access-Control-Request-Method, Access-Control-Request-Headers";
    fields.push(("Vary", vary.to_owned()));
    Answer {
        status: 204,
        fields,
        body: String::new(),
    }
}

/// What an answer by `rule` says to pages of `origin`; nothing where the rule has no word for pages.
pub fn cors_fields(rule: &Rule, origin: Option<&str>) -> Fields<'static> {
    match (rule.cors(), origin) {
        (None, _) => Fields::new(),
        (Some(cors), _) if cors.is_for_all() => allowed_origin(cors, "*"),
        (Some(cors), Some(origin)) if cors.allows_origin(origin) => allowed_origin(cors, origin),
        // A cache must not give this answer to a page that would have been named in it.
        _ => vec![("Vary", "Origin".to_owned())],
    }
}

/// Says on an answer that pages of `origin` may read it.
fn allowed_origin(cors: &Cors, origin: &str) -> Fields<'static> {
    let mut fields = Fields::with_capacity(4);
    if cors.is_for_all() {
        // The same for everybody, and never with credentials.
        fields.push(("Access-Control-Allow-Origin", "*".to_owned()));
    } else {
        fields.push(("Access-Control-Allow-Origin", origin.to_owned()));
        // For caches, which have to know that somebody was named.
        fields.push(("Vary", "Origin".to_owned()));
    }
    if cors.credentials {
        fields.push(("Access-Control-Allow-Credentials", "true".to_owned()));
    }
    if !cors.expose.is_empty() {
        fields.push(("Access-Control-Expose-Headers", cors.expose.join(", ")));
    }
    fields
}

/// A public document of the gate.
pub fn document(body: String, request_id: &str) -> Answer<'static> {
    let mut fields = with_security(request_id, "public, max-age=300");
    fields.push(("Content-Type", "application/json".to_owned()));
    Answer {
        status: 200,
        fields,
        body,
    }
}

/// The word to a gateway that a request may pass, with what it has to tell the upstream. Whatever
/// is not known of the person is said to be empty, so that a gateway which copies the headers
/// leaves nothing of the client's.
pub fn pass(identity: Fields<'static>, request_id: &str) -> Answer<'static> {
    // No browser sees this one.
    let mut fields = Fields::with_capacity(16);
    fields.push(("Cache-Control", "no-store".to_owned()));
    fields.push(("X-Request-ID", request_id.to_owned()));
    let unknown = IDENTITY_HEADERS
        .into_iter()
        .chain([ASSERTION])
        .filter(|name| identity.iter().all(|(own, _)| own != name));
    fields.extend(unknown.map(|name| (name, String::new())));
    fields.extend(identity);
    Answer {
        status: 200,
        fields,
        body: String::new(),
    }
}

/// The counts, never from a cache.
pub fn metrics(body: String, request_id: &str) -> Answer<'static> {
    let mut fields = secured_fields(request_id);
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    fields.push(("Content-Type", content_type.to_owned()));
    Answer {
        status: 200,
        fields,
        body,
    }
}

fn secured_fields(request_id: &str) -> Fields<'static> {
    with_security(request_id, "no-store")
}

fn with_security(request_id: &str, cache_control: &str) -> Fields<'static> {
    let mut fields = Fields::with_capacity(16);
    fields.push(("Cache-Control", cache_control.to_owned()));
    fields.push(("X-Request-ID", request_id.to_owned()));
    fields.extend(SECURITY.map(|(name, value)| (name, value.to_owned())));
    fields
}

#[cfg(test)]
mod tests {
    use edgekeep_shared::error::Rejection;
    use edgekeep_shared::policy::Policy;

    use super::*;

    fn policy(cors: &str) -> Policy {
        Policy::parse(&format!("[[route]]\nmatch = \"/a\"\n{cors}")).unwrap()
    }

    fn values<'f>(fields: &'f Fields<'_>, name: &str) -> Vec<&'f str> {
        let named = fields
            .iter()
            .filter(|(own, _)| own.eq_ignore_ascii_case(name));
        named.map(|(_, value)| &**value).collect()
    }

    #[test]
    fn a_rule_says_who_may_read_and_the_upstream_no_longer() {
        let app = Some("https://app.example");
        let named = policy("cors = { origins = [\"https://app.example\"], credentials = true }");
        let all = policy("cors = { origins = [\"*\"], expose = [\"etag\"] }");
        for (policy, origin, allowed, credentials, varies) in [
            (&named, app, app, true, true),
            (&named, Some("https://evil.example"), None, false, true),
            (&named, None, None, false, true),
            (&all, app, Some("*"), false, false),
            (&all, Some("null"), Some("*"), false, false),
            // Caches need not tell askers apart.
            (&all, None, Some("*"), false, false),
        ] {
            let changes = Changes::of(&policy.rules()[0], origin);
            let said = |name| values(&changes.added, name);
            assert_eq!(
                said("access-control-allow-origin"),
                Vec::from_iter(allowed),
                "{origin:?}"
            );
            let is_named = !said("access-control-allow-credentials").is_empty();
            assert_eq!(is_named, credentials, "{origin:?}");
            assert_eq!(said("vary").is_empty(), !varies, "{origin:?}");
            for name in [
                "Access-Control-Allow-Origin",
                "Access-Control-Allow-Credentials",
                "Access-Control-Expose-Headers",
            ] {
                assert!(changes.dropped.contains(&name), "{name}");
            }
        }
        let changes = Changes::of(&policy("").rules()[0], app);
        assert_eq!(changes, Changes::default());
        let changes = Changes::of(&policy("cache = \"private\"").rules()[0], app);
        assert_eq!(changes.caching, Caching::Private);
        assert!(changes.dropped.is_empty());
    }

    #[test]
    fn a_preflight_for_everybody_names_nobody() {
        let all = policy("cors = { origins = [\"*\"] }");
        let cors = all.rules()[0].cors().unwrap();
        let answer = preflight(cors, "https://app.example", ("PUT", None), "id-1");
        assert_eq!(values(&answer.fields, "access-control-allow-origin"), ["*"]);
        let vary = values(&answer.fields, "vary").join(", ");
        assert!(!vary.split(", ").any(|name| name == "Origin"), "{vary}");
    }

    #[test]
    fn what_the_gate_says_itself_is_for_no_frame_and_no_cache() {
        let refusal = Refusal::new(Rejection::RouteUnknown, None);
        let answers = [
            refuse(&refusal, None, "id-1"),
            document(String::new(), "id-1"),
            metrics(String::new(), "id-1"),
        ];
        for answer in answers {
            for (name, value) in SECURITY {
                assert_eq!(values(&answer.fields, name), [value], "{answer:?}");
            }
            assert_eq!(values(&answer.fields, "x-request-id"), ["id-1"]);
            assert_eq!(values(&answer.fields, "cache-control").len(), 1);
            let plain = answer.clone().over_tls(false);
            assert_eq!(plain, answer);
            let secured = answer.over_tls(true);
            let hsts = values(&secured.fields, "strict-transport-security");
            assert_eq!(hsts, ["max-age=31536000"]);
        }
    }
}
