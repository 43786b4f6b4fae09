//! HTTP of the revocation list.

use axum::extract::{RawQuery, State as Shared};
use axum::http::HeaderMap;
use axum::response::Response;
use edgekeep_shared::base64url;
use edgekeep_shared::revocation::{DELTA_MEDIA_TYPE, HashKey};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::State;
use crate::error::Error;

/// The media type of the signed list.
pub const MEDIA_TYPE: &str = "application/vnd.edgekeep.revocations";

/// The routes at the root.
pub fn root() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(list))
}

#[utoipa::path(
    get, path = "/.well-known/revocations", tag = "discovery", operation_id = "revocations",
    summary = "The signed revocation list",
    description = "For gates. The format is in docs/revocation.md.",
    params(
        ("since" = Option<u64>, Query, description = "The number of the list that is held: the answer may be what changed since."),
        ("key" = Option<String>, Query, description = "The hash key of that list, base64url."),
    ),
    responses(
        (status = 200, description = "The list; or a delta, if it leads on from the list that is held.", content(
            (Vec<u8> = "application/vnd.edgekeep.revocations"),
            (Vec<u8> = "application/vnd.edgekeep.revocations-delta"),
        )),
        (status = 304, description = "As `If-None-Match` has it."),
    ),
)]

/// `GET /.well-known/revocations`: the list as it is now, with a strong entity tag; for who says by
/// `since` and `key` which one is held, what changed since, if that is known and shorter.
///
/// `no-cache`: a cache may keep the list but must ask, since a minute-old list lets a revoked token
/// in. A delta is of use to one reader once.
async fn list(
    Shared(state): Shared<State>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let lists = state.publisher.lists().await?;
    if let Some((since, key)) = query.as_deref().and_then(held)
        && let Some(delta) = lists.delta(since, &key).await?
    {
        return Ok(delta.respond_to_pages(&headers, DELTA_MEDIA_TYPE, "no-store"));
    }
    let list = lists.list().await?;
    let document = list.document;
    Ok(document.respond_to_pages(&headers, MEDIA_TYPE, "no-cache"))
}

/// Which list is held, by the query. Whoever says it otherwise gets the whole list, as everybody did
/// before there were deltas.
fn held(query: &str) -> Option<(u64, HashKey)> {
    let member = |name| {
        let mut values = query.split('&').filter_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            (key == name).then_some(value)
        });
        values.next().filter(|_| values.next().is_none())
    };
    let since = member("since")?;
    let is_number = since.bytes().all(|byte| byte.is_ascii_digit());
    let key = HashKey(base64url::decode_exact(member("key")?.as_bytes()).ok()?);
    Some((since.parse().ok().filter(|_| is_number)?, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_list_is_named_in_one_way() {
        let key = "AAECAwQFBgcICQoLDA0ODw";
        let expected = Some((
            7,
            HashKey(std::array::from_fn(|i| u8::try_from(i).unwrap())),
        ));
        assert_eq!(held(&format!("since=7&key={key}")), expected);
        assert_eq!(held(&format!("x=1&key={key}&since=7")), expected);
        for query in [
            String::new(),
            "since=7".to_owned(),
            format!("key={key}"),
            format!("since=&key={key}"),
            format!("since=+7&key={key}"),
            format!("since=-7&key={key}"),
            format!("since=7.0&key={key}"),
            format!("since=18446744073709551616&key={key}"),
            format!("since=7&since=7&key={key}"),
            format!("since=7&key={key}&key={key}"),
            format!("since=7&key={key}A"),
            format!("since=7&key={key}=="),
            format!("since=7&key={}", &key[1..]),
            format!("since=7&key={}", "A".repeat(10_000)),
        ] {
            assert_eq!(held(&query), None, "{query}");
        }
    }
}
