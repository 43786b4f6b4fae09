//! `typ`, and tokens of other kinds that the same issuer's keys may have signed (RFC 8725 §3.11,
//! §3.12, RFC 9068 §2.1, §4).

use crate::members::{Members, text};
use crate::scene::{Corpus, Scene};

pub(crate) fn add(corpus: &mut Corpus<'_>) {
    add_names(corpus);
    add_json_types(corpus);
    add_other_kinds(corpus);
}

fn add_names(corpus: &mut Corpus<'_>) {
    for (index, typ) in [
        "JWT",
        "jwt",
        "application/jwt",
        "JOSE",
        "JOSE+JSON",
        "JWE",
        "rt+jwt",
        "refresh+jwt",
        "id+jwt",
        "logout+jwt",
        "dpop+jwt",
        "statuslist+jwt",
        "secevent+jwt",
        "token-introspection+jwt",
        "oauth-authz-req+jwt",
        "client-authentication+jwt",
        "edgekeep-assertion+jwt",
        "at+jwt ",
        " at+jwt",
        "at+jwt;charset=utf-8",
        "at+jwt,JWT",
        "at-jwt",
        "at jwt",
        "at%2Bjwt",
        "at+jw",
        "at+jwts",
        "bat+jwt",
        "at+jwt\0",
        "\u{430}t+jwt",
        "text/at+jwt",
        "application/application/at+jwt",
        "application//at+jwt",
        "application/x/at+jwt",
        "/at+jwt",
        "application/",
        "*/*",
        "",
    ]
    .into_iter()
    .enumerate()
    {
        let key = corpus.keys.turn(index);
        corpus.refuse(
            format!("type/{typ:?}"),
            "wrong_type",
            "`typ` is at+jwt, with or without application/ (RFC 9068 §2.1, RFC 7515 §4.1.9)",
            key.token(&key.header().with("typ", text(typ)), &corpus.claims()),
        );
    }
    let keys = corpus.keys;
    for key in &keys.three {
        corpus.refuse(
            format!("type/missing-by-{}", key.kid),
            "wrong_type",
            "a token without a type is of none (RFC 8725 §3.11)",
            key.token(&key.header().without("typ"), &corpus.claims()),
        );
        let header = key.header().without("typ").with("cty", text("at+jwt"));
        corpus.refuse(
            format!("type/as-content-type-by-{}", key.kid),
            "wrong_type",
            "`cty` is the payload's type and not the token's (RFC 7515 §4.1.10)",
            key.token(&header, &corpus.claims()),
        );
    }
    let key = corpus.keys.es256();
    let claims = corpus.claims().with("typ", text("at+jwt"));
    corpus.refuse(
        "type/as-claim",
        "wrong_type",
        "`typ` stands in the protected header (RFC 9068 §2.1)",
        key.token(&key.header().without("typ"), &claims),
    );
}

fn add_json_types(corpus: &mut Corpus<'_>) {
    for (index, (name, typ)) in [
        ("null", "null"),
        ("number", "1"),
        ("true", "true"),
        ("array", r#"["at+jwt"]"#),
        ("object", r#"{"typ":"at+jwt"}"#),
    ]
    .into_iter()
    .enumerate()
    {
        let key = corpus.keys.turn(index);
        corpus.refuse(
            format!("type/json-{name}"),
            "token_malformed",
            "`typ` is a string (RFC 7515 §4.1.9)",
            key.token(&key.header().with("typ", typ), &corpus.claims()),
        );
    }
}

/// What a token of another kind is called, its `typ`, and its claims.
type Kind = (&'static str, Option<&'static str>, Members);

/// Kinds that are about the person that an access token is about.
fn kinds_about_people(scene: &Scene) -> Vec<Kind> {
    let now = scene.now;
    let user = Members::default()
        .with("iss", text(&scene.issuer))
        .with("iat", (now - 60).to_string())
        .with("sub", text(&scene.subject));
    let here = user.clone().with("aud", text(&scene.audience));
    let at_issuer = user.with("aud", text(&scene.issuer));
    let exp = (now + 840).to_string();
    vec![
        (
            "id-token",
            Some("JWT"),
            here.clone()
                .with("exp", exp.clone())
                .with("nonce", text("n-0S6_WzA2Mj"))
                .with("at_hash", text("77QmUPtjPfzWtF2AnpK9RQ"))
                .with("jti", text("id-1")),
        ),
        (
            "refresh-token",
            Some("rt+jwt"),
            at_issuer
                .clone()
                .with("exp", exp.clone())
                .with("jti", text("refresh-1")),
        ),
        (
            "logout-token",
            Some("logout+jwt"),
            here.clone().with("jti", text("logout-1")).with(
                "events",
                r#"{"http://schemas.openid.net/event/backchannel-logout":{}}"#,
            ),
        ),
        (
            "client-assertion",
            Some("client-authentication+jwt"),
            at_issuer
                .with("exp", exp.clone())
                .with("jti", text("client-1")),
        ),
        (
            "gate-assertion",
            Some("edgekeep-assertion+jwt"),
            here.clone()
                .with("sid", text(&scene.session))
                .with("htm", text("GET"))
                .with("htu", text("https://api.example/me"))
                .with("exp", (now + 30).to_string()),
        ),
        ("plain-jwt", None, here.with("exp", exp)),
    ]
}

fn other_kinds(scene: &Scene) -> Vec<Kind> {
    let now = scene.now;
    let issued = Members::default()
        .with("iss", text(&scene.issuer))
        .with("iat", (now - 60).to_string());
    let here = issued.clone().with("aud", text(&scene.audience));
    vec![
        (
            "dpop-proof",
            Some("dpop+jwt"),
            Members::default()
                .with("jti", text("proof-1"))
                .with("htm", text("GET"))
                .with("htu", text("https://api.example/me"))
                .with("iat", now.to_string())
                .with("ath", text("fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo")),
        ),
        (
            "status-list",
            Some("statuslist+jwt"),
            issued
                .with("sub", text("https://id.example/status/1"))
                .with("exp", (now + 840).to_string())
                .with("ttl", "43200")
                .with("status_list", r#"{"bits":1,"lst":"eNrbuRgAAhcBXQ"}"#),
        ),
        (
            "security-event",
            Some("secevent+jwt"),
            here.clone()
                .with("jti", text("event-1"))
                .with("events", "{}"),
        ),
        (
            "introspection-answer",
            Some("token-introspection+jwt"),
            here.with("token_introspection", r#"{"active":true}"#),
        ),
    ]
}

/// Whole tokens of other kinds: as they are, and in the clothes of an access token.
fn add_other_kinds(corpus: &mut Corpus<'_>) {
    let kinds = [kinds_about_people(corpus.scene), other_kinds(corpus.scene)].concat();
    for (index, (name, typ, claims)) in kinds.into_iter().enumerate() {
        let key = corpus.keys.turn(index);
        let header = match typ {
            Some(typ) => key.header().with("typ", text(typ)),
            None => key.header().without("typ"),
        };
        corpus.refuse(
            format!("type/{name}"),
            "wrong_type",
            "a token of another kind is no access token (RFC 8725 §3.11, §3.12)",
            key.token(&header, &claims),
        );
        corpus.refuse(
            format!("type/{name}-dressed-up"),
            "claim_missing",
            "the type of an access token over the claims of another kind: what RFC 9068 §2.2 requires is not there",
            key.token(&key.header(), &claims),
        );
    }
}
