//! What the gate answers itself, as a list of header fields and a body.

use edgekeep_shared::{
    gate::{IDENTITY_HEADERS, Refusal, refusal},
    policy::{Cors, Rule},
};

use crate::{authz::Gateway, upstream::ASSERTION};

/// Tells a gateway that understands few statuses which one is meant.
const STATUS: &str = "X-Edgekeep-Status";

/// The code of a refusal, for a gateway that does not hand the body on.
const CODE: &str = "X-Edgekeep-Code";

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

/// A refusal, as problem details; `asker` is the gateway that has asked, if it was one.
pub fn refuse(refusal: &Refusal<'_>, asker: Option<Gateway>, request_id: &str) -> Answer<'static> {
    let mut fields = own_fields(request_id);
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
    let mut fields = own_fields(request_id);
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
        (Some(cors), Some(origin)) if cors.allows_origin(origin) => allowed_origin(cors, origin),
        // A cache must not give this answer to a page that would have been named in it.
        _ => vec![("Vary", "Origin".to_owned())],
    }
}

/// Says on an answer that pages of `origin` may read it.
fn allowed_origin(cors: &Cors, origin: &str) -> Fields<'static> {
    // Naming the origin instead of `*` is right with and without credentials, but only for
    // caches that know that it was named.
    let mut fields = vec![
        ("Access-Control-Allow-Origin", origin.to_owned()),
        ("Vary", "Origin".to_owned()),
    ];
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
    Answer {
        status: 200,
        fields: vec![
            ("Cache-Control", "public, max-age=300".to_owned()),
            ("Content-Type", "application/json".to_owned()),
            ("X-Content-Type-Options", "nosniff".to_owned()),
            ("X-Request-ID", request_id.to_owned()),
        ],
        body,
    }
}

/// The word to a gateway that a request may pass, with what it has to tell the upstream. Whatever
/// is not known of the person is said to be empty, so that a gateway which copies the headers
/// leaves nothing of the client's.
pub fn pass(identity: Fields<'static>, request_id: &str) -> Answer<'static> {
    let mut fields = own_fields(request_id);
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
    let mut fields = own_fields(request_id);
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    fields.push(("Content-Type", content_type.to_owned()));
    Answer {
        status: 200,
        fields,
        body,
    }
}

fn own_fields(request_id: &str) -> Fields<'static> {
    let mut fields = Fields::with_capacity(16);
    fields.push(("Cache-Control", "no-store".to_owned()));
    fields.push(("X-Content-Type-Options", "nosniff".to_owned()));
    fields.push(("X-Request-ID", request_id.to_owned()));
    fields
}
