//! The description of the HTTP API (`OpenAPI` 3.1), and a page to read it on.
//!
//! Routes are registered together with their description, so neither exists without the other.
//! What every operation has in common is added here instead of to each of them.

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::routing::get;
use edgekeep_shared::error::Rejection;
use serde_json::json;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    ComponentsBuilder, Content, Info, License, OpenApi, Ref, RefOr, Response, ResponseBuilder,
};
use utoipa::{PartialSchema as _, ToSchema as _};

use crate::app::State;
use crate::error::{CODES, Problem};
use crate::tokens::Published;

mod page;

/// What the tags of operations stand for, in the order of reading.
const TAGS: [(&str, &str); 8] = [
    ("accounts", "Registering, and what is known of oneself."),
    ("login", "Proving who one is; setting passwords."),
    (
        "factors",
        "What a person proves who they are by, beside the first.",
    ),
    ("sessions", "Refreshing, listing, ending."),
    (
        "tokens",
        "What a token says and whether it is good; taking it back.",
    ),
    (
        "administration",
        "For accounts with the role `access.administrator`, as the database has it at the time of \
         the request.",
    ),
    ("discovery", "What verifiers and gates fetch."),
    ("operation", "For whoever runs it."),
];

/// The description of every route of this version.
pub fn document() -> OpenApi {
    complete(crate::app::documented().into_openapi())
}

/// `document` with what all operations share.
pub fn complete(mut document: OpenApi) -> OpenApi {
    let mut info = Info::new("Edgekeep", env!("CARGO_PKG_VERSION"));
    info.description = Some(
        "Log in, stay logged in, be logged out. Every refusal is `application/problem+json`; its \
         `code` is stable."
            .to_owned(),
    );
    info.license = Some(License::new(env!("CARGO_PKG_LICENSE")));
    document.info = info;
    let tags = TAGS.map(|(name, description)| {
        TagBuilder::new()
            .name(name)
            .description(Some(description))
            .build()
    });
    document.tags = Some(tags.into());

    for item in document.paths.paths.values_mut() {
        for operation in operations(item) {
            add_common_answers(operation);
        }
    }

    let components = document
        .components
        .get_or_insert_with(|| ComponentsBuilder::new().build());
    components
        .schemas
        .insert(Problem::name().into_owned(), problem());
    let mut parts = Vec::new();
    Problem::schemas(&mut parts);
    components.schemas.extend(parts);
    for (name, description) in [
        ("bearer", "An access token."),
        ("gate", "The bearer of `gate.introspection_token`."),
        ("metrics", "The bearer of `server.metrics_token`."),
    ] {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(description))
            .build();
        components.add_security_scheme(name, SecurityScheme::Http(scheme));
    }
    document
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [
        &mut item.get,
        &mut item.put,
        &mut item.post,
        &mut item.delete,
    ]
    .into_iter()
    .flatten()
}

/// Refusals that an operation has because it takes a body or a token, or exists at all.
fn add_common_answers(operation: &mut Operation) {
    let mut common = vec![("503", "`unavailable`; `Retry-After` says when to try again")];
    if operation.request_body.is_some() {
        common.push(("400", "`request_invalid`"));
        common.push(("413", "`request_too_large`"));
    }
    if operation.security.is_some() {
        common.push(("401", "The access token is missing or not accepted"));
    }
    let bearer = SecurityRequirement::new("bearer", Vec::<String>::new());
    if operation
        .security
        .iter()
        .flatten()
        .any(|one| *one == bearer)
    {
        common.push((
            "429",
            "`rate_limited`; `Retry-After` says when to try again",
        ));
    }
    let responses = &mut operation.responses.responses;
    for (status, description) in common {
        responses
            .entry(status.to_owned())
            .or_insert_with(|| RefOr::T(ResponseBuilder::new().description(description).build()));
    }
    for (status, response) in responses {
        if let RefOr::T(Response { content, .. }) = response
            && status.starts_with(['4', '5'])
        {
            let schema = Ref::from_schema_name(Problem::name());
            content.insert(
                "application/problem+json".to_owned(),
                RefOr::T(Content::new(Some(schema))),
            );
        }
    }
}

/// The schema of problems, with every code.
fn problem() -> RefOr<utoipa::openapi::Schema> {
    let mut schema = Problem::schema();
    if let RefOr::T(utoipa::openapi::Schema::Object(object)) = &mut schema
        && let Some(RefOr::T(utoipa::openapi::Schema::Object(code))) =
            object.properties.get_mut("code")
    {
        let rejections = Rejection::ALL.iter().map(|rejection| rejection.code());
        let mut codes: Vec<&str> = CODES.into_iter().chain(rejections).collect();
        codes.sort_unstable();
        codes.dedup();
        code.enum_values = Some(codes.into_iter().map(|code| json!(code)).collect());
    }
    schema
}

/// `GET /openapi.json` and `GET /docs`: the description, and the page made of it.
pub fn routes(document: &OpenApi) -> Router<State> {
    let json = Published::new(document.to_json().unwrap_or_default());
    let html = Published::new(page::render(document));
    // Nothing but the page's own style; no script at all.
    let policy = HeaderValue::from_str(&page::content_security_policy()).ok();
    Router::new()
        .route(
            "/openapi.json",
            get(move |headers: HeaderMap| {
                std::future::ready(json.respond(&headers, "application/json", CACHE_CONTROL))
            }),
        )
        .route(
            "/docs",
            get(move |headers: HeaderMap| {
                let mut response =
                    html.respond(&headers, "text/html; charset=utf-8", CACHE_CONTROL);
                if let Some(policy) = policy.clone() {
                    response
                        .headers_mut()
                        .insert(header::CONTENT_SECURITY_POLICY, policy);
                }
                std::future::ready(response)
            }),
        )
}

/// They change with the version only, but a cache must not outlive an upgrade for long.
const CACHE_CONTROL: &str = "public, max-age=300";
