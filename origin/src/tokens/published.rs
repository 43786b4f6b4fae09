//! A document that many fetch: its bytes, and a strong entity tag by which they are not sent again.

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use edgekeep_shared::base64url;
use sha2::{Digest as _, Sha256};

/// Bytes of the digest in an entity tag: enough that two documents never share one.
const TAG_BYTES: usize = 16;

/// Bytes with their entity tag; cheap to clone.
#[derive(Clone, Debug)]
pub struct Published {
    bytes: Bytes,
    tag: String,
}

impl Published {
    /// A document of these bytes.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let digest = Sha256::digest(&bytes);
        let tag = format!("\"{}\"", base64url::encode(&digest[..TAG_BYTES]));
        Self { bytes, tag }
    }

    /// A document of these bytes that is called `tag`, of the characters of base64url and full
    /// stops: where documents have a name already, megabytes need not be hashed for one.
    pub fn named(bytes: impl Into<Bytes>, tag: &str) -> Self {
        Self {
            bytes: bytes.into(),
            tag: format!("\"{tag}\""),
        }
    }

    /// The bytes.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// 200 with the document, or 304 where the request's `If-None-Match` has its tag
    /// (RFC 9110 §13.1.2).
    pub fn respond(
        &self,
        request: &HeaderMap,
        content_type: &'static str,
        cache_control: &str,
    ) -> Response {
        let known = request
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| self.is_listed(value));
        let mut response = if known {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
        } else {
            let mut response = Response::new(Body::from(self.bytes.clone()));
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
            response
        };
        let headers = response.headers_mut();
        for (name, text) in [
            (header::ETAG, self.tag.as_str()),
            (header::CACHE_CONTROL, cache_control),
        ] {
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.insert(name, value);
            }
        }
        response
    }

    /// [`respond`](Self::respond) for a document that pages of any origin may read, to verify tokens
    /// by: it is public, the same for everybody, and given without credentials.
    pub fn respond_to_pages(
        &self,
        request: &HeaderMap,
        content_type: &'static str,
        cache_control: &str,
    ) -> Response {
        let mut response = self.respond(request, content_type, cache_control);
        let headers = response.headers_mut();
        for (name, value) in [
            (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
            // Pages that isolate themselves are asked for this, too.
            (
                HeaderName::from_static("cross-origin-resource-policy"),
                "cross-origin",
            ),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }

    /// Whether a value of `If-None-Match` names this document. Comparison is weak: a cache on the
    /// way may have weakened the tag.
    fn is_listed(&self, value: &str) -> bool {
        value
            .split(',')
            .map(str::trim)
            .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == self.tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(published: &Published, if_none_match: &str) -> u16 {
        let mut request = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_str(if_none_match) {
            request.insert(header::IF_NONE_MATCH, value);
        }
        published
            .respond(&request, "text/plain", "no-cache")
            .status()
            .as_u16()
    }

    #[test]
    fn only_its_own_tag_spares_the_body() {
        let published = Published::new("a");
        let tag = published.tag.clone();
        assert_ne!(tag, Published::new("b").tag);
        for (value, expected) in [
            (tag.clone(), 304),
            (format!("W/{tag}"), 304),
            (format!("\"x\", {tag}"), 304),
            ("*".to_owned(), 304),
            ("\"x\"".to_owned(), 200),
            (tag.trim_matches('"').to_owned(), 200),
            (String::new(), 200),
        ] {
            assert_eq!(status(&published, &value), expected, "{value}");
        }
    }
}
