//! What a refusal says: to a program by status, code and challenge, to a person by title and detail.

use edgekeep_shared::error::Rejection::{self, *};
use edgekeep_shared::gate::Refusal;
use edgekeep_shared::policy::Missing;
use serde_json::{Value, json};

fn problem(refusal: &Refusal<'_>) -> Value {
    serde_json::from_str(&refusal.problem("id-1")).unwrap()
}

/// The reason phrases of RFC 9110 §15, RFC 6585 §4.
fn title(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        429 => "Too Many Requests",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        _ => "",
    }
}

/// A word that the detail has, and the error of the challenge; most are about the token as such.
fn said(rejection: Rejection) -> (&'static str, Option<&'static str>) {
    match rejection {
        TokenMissing => ("needs an access token", None),
        TokenExpired => ("expired", Some("invalid_token")),
        TokenRevoked => ("revoked", Some("invalid_token")),
        InsufficientScope => ("does not grant", Some("insufficient_scope")),
        InsufficientRole | InsufficientPermission => ("does not grant", None),
        KycRequired => ("verified identity", None),
        StepUpRequired => (
            "stronger or more recent",
            Some("insufficient_user_authentication"),
        ),
        PathInvalid => ("path", None),
        RequestInvalid => ("request cannot be judged", None),
        RouteUnknown => ("No rule", None),
        RateLimited => ("Too many", None),
        UpstreamUnavailable => ("upstream", None),
        KeysUnavailable | RevocationUnavailable | PolicyUnavailable => ("Try again", None),
        _ => ("not accepted here", Some("invalid_token")),
    }
}

#[test]
fn every_refusal_is_a_problem_that_says_what_it_is() {
    for rejection in Rejection::ALL {
        let refusal = Refusal::new(*rejection, None);
        let problem = problem(&refusal);
        let (word, error) = said(*rejection);
        let detail = problem["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(word), "{rejection:?}: {detail}");
        assert_eq!(
            problem,
            json!({
                "type": "about:blank",
                "title": title(rejection.status()),
                "status": rejection.status(),
                "detail": detail,
                "code": rejection.code(),
                "instance": "id-1",
            })
        );
        let challenge = match (rejection, error) {
            // No error code where no credentials were sent (RFC 6750 §3.1).
            (TokenMissing, _) => Some(r#"Bearer realm="api""#.to_owned()),
            (_, error) => error.map(|error| {
                let code = rejection.code();
                format!("Bearer error=\"{error}\", error_description=\"{code}\"")
            }),
        };
        assert_eq!(refusal.challenge(), challenge, "{rejection:?}");
        let again = match rejection.status() {
            429 => Some(10),
            503 => Some(2),
            _ => None,
        };
        assert_eq!(refusal.retry_after(), again, "{rejection:?}");
    }
}

#[test]
fn a_step_up_says_all_that_is_asked_and_methods_only_where_some_are() {
    let [acr, amr] = [[Box::from("2")], [Box::from("hwk")]];
    for (amr, required) in [
        (
            &amr[..],
            json!({"acr": ["2"], "max_age": 300, "mfa": true, "amr": ["hwk"]}),
        ),
        (&[], json!({"acr": ["2"], "max_age": 300, "mfa": true})),
    ] {
        let missing = Missing::StepUp {
            acr: &acr,
            max_age: Some(300),
            mfa: true,
            amr,
        };
        let refusal = Refusal::new(missing.rejection(), Some(missing));
        assert_eq!(problem(&refusal)["required"], required);
        let challenge = refusal.challenge().unwrap();
        assert!(
            challenge.ends_with(r#", acr_values="2", max_age="300""#),
            "{challenge}"
        );
    }
}
