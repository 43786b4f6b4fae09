//! Signing requests to AWS (Signature Version 4), by AWS's own crate.
//!
//! One POST or GET at a time, with a body in memory: what KMS and SNS need, and nothing of chunked
//! or presigned requests. Paths and queries are taken as they are sent, so they must be encoded
//! (RFC 3986, `%20` and not `+`).

use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials as Identity;
use aws_sigv4::http_request::{self, SignableBody, SignableRequest, SigningSettings};
use aws_sigv4::sign::v4;
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::vault::Secret;

/// Who signs.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// `AKIA…` or `ASIA…`; not secret.
    pub access_key_id: String,
    /// The key that signs.
    pub secret_access_key: Secret,
    /// The token of temporary credentials.
    pub session_token: Option<Secret>,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// For instance `eu-central-1`.
    pub region: &'a str,
    /// For instance `kms`.
    pub service: &'a str,
}

/// A request to sign.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// `GET`, `POST`, …
    pub method: &'a str,
    /// The value of `Host`, with the port unless it is the scheme's own.
    pub host: &'a str,
    /// The encoded path, from its first slash.
    pub path: &'a str,
    /// The encoded query, without question mark.
    pub query: &'a str,
    /// Further headers to sign, names in lower case, in any order.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: &'a [u8],
}

/// Headers to send beside those of the request: date, authorization and, where there is one, the
/// token of temporary credentials. `Host` is for the client to send.
///
/// # Errors
/// When host, path and query are no URL, or a header is no text.
pub fn sign(
    request: &Request<'_>,
    scope: Scope<'_>,
    credentials: &Credentials,
    now: Timestamp,
) -> Result<Vec<(&'static str, Zeroizing<String>)>, &'static str> {
    let identity = Identity::new(
        &credentials.access_key_id,
        credentials.secret_access_key.expose(),
        credentials
            .session_token
            .as_ref()
            .map(|token| Secret::expose(token).to_owned()),
        None,
        "edgekeep",
    )
    .into();
    let micros = u64::try_from(now.micros()).unwrap_or(0);
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(scope.region)
        .name(scope.service)
        .time(UNIX_EPOCH + Duration::from_micros(micros))
        .settings(SigningSettings::default())
        .build()
        .map_err(|_| "incomplete parameters")?
        .into();
    // The scheme is not signed; the port is, as `Host` has it.
    let mut url = format!("https://{}{}", request.host, request.path);
    if !request.query.is_empty() {
        url.push('?');
        url.push_str(request.query);
    }
    let signable = SignableRequest::new(
        request.method,
        url,
        request.headers.iter().copied(),
        SignableBody::Bytes(request.body),
    )
    .map_err(|_| "not a request")?;
    let (instructions, _) = http_request::sign(signable, &params)
        .map_err(|_| "the request could not be signed")?
        .into_parts();
    let (headers, _) = instructions.into_parts();
    Ok(headers
        .into_iter()
        .map(|header| (header.name(), Zeroizing::new(header.value().to_owned())))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2015-08-30T12:36:00Z, the instant of AWS's published examples.
    const THEN: Timestamp = Timestamp::from_unix_seconds(1_440_938_160);

    fn credentials(session_token: Option<&str>) -> Credentials {
        Credentials {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned()),
            session_token: session_token.map(|token| Secret::new(token.to_owned())),
        }
    }

    fn authorization(request: &Request<'_>, service: &str, token: Option<&str>) -> String {
        let scope = Scope {
            region: "us-east-1",
            service,
        };
        let headers = sign(request, scope, &credentials(token), THEN).unwrap();
        let found = headers.iter().find(|(name, _)| *name == "authorization");
        found.unwrap().1.to_string()
    }

    const VANILLA: Request<'static> = Request {
        method: "GET",
        host: "example.amazonaws.com",
        path: "/",
        query: "",
        headers: &[],
        body: b"",
    };

    /// AWS's Signature Version 4 test suite, and the example of its documentation.
    #[test]
    fn signs_as_the_published_examples() {
        let form = [("content-type", "application/x-www-form-urlencoded")];
        let iam = [(
            "content-type",
            "application/x-www-form-urlencoded; charset=utf-8",
        )];
        for (name, request, service, headers, signature) in [
            (
                "get-vanilla",
                VANILLA,
                "service",
                "host;x-amz-date",
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                "get-vanilla-query-order-key-case",
                Request {
                    query: "Param1=value1&Param2=value2",
                    ..VANILLA
                },
                "service",
                "host;x-amz-date",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            (
                "post-vanilla",
                Request {
                    method: "POST",
                    ..VANILLA
                },
                "service",
                "host;x-amz-date",
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
            (
                "post-x-www-form-urlencoded",
                Request {
                    method: "POST",
                    headers: &form,
                    body: b"Param1=value1",
                    ..VANILLA
                },
                "service",
                "content-type;host;x-amz-date",
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
            (
                "iam ListUsers",
                Request {
                    host: "iam.amazonaws.com",
                    query: "Action=ListUsers&Version=2010-05-08",
                    headers: &iam,
                    ..VANILLA
                },
                "iam",
                "content-type;host;x-amz-date",
                "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
            ),
        ] {
            assert_eq!(
                authorization(&request, service, None),
                format!(
                    "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/{service}/aws4_request, \
                     SignedHeaders={headers}, Signature={signature}"
                ),
                "{name}"
            );
        }
    }

    #[test]
    fn everything_that_is_sent_is_signed() {
        let one = authorization(&VANILLA, "kms", None);
        let token = authorization(&VANILLA, "kms", Some("a token"));
        assert!(
            token.contains("SignedHeaders=host;x-amz-date;x-amz-security-token,"),
            "{token}"
        );
        for other in [
            Request {
                method: "POST",
                ..VANILLA
            },
            Request {
                host: "example.org",
                ..VANILLA
            },
            Request {
                path: "/x",
                ..VANILLA
            },
            Request {
                query: "a=b",
                ..VANILLA
            },
            Request {
                headers: &[("x-amz-target", "x")],
                ..VANILLA
            },
            Request {
                body: b"x",
                ..VANILLA
            },
        ] {
            assert_ne!(authorization(&other, "kms", None), one, "{other:?}");
        }
        let headers = [("x-amz-target", "  a   b ")];
        let spaced = Request {
            headers: &headers,
            ..VANILLA
        };
        let headers = [("x-amz-target", "a b")];
        let plain = Request {
            headers: &headers,
            ..VANILLA
        };
        assert_eq!(
            authorization(&spaced, "kms", None),
            authorization(&plain, "kms", None)
        );
    }
}
