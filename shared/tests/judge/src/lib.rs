//! What `edgekeep-shared` says of a batch of questions, in words that can be compared: one function,
//! called natively and, built for wasm32, by `ask.mjs`. No part of the gate.
//!
//! A batch is a sequence of fields, each behind its length as a little-endian `u32`; so is its
//! answer, a field for each question. The first field says what is asked:
//!
//! | first field | then, once | then, for each question |
//! |---|---|---|
//! | `tokens` | JWK Set, issuer, audience, instant | token |
//! | `signatures` | | JWK, message, signature |
//! | `jws` | | JWK, compact JWS of any payload |
#![expect(
    clippy::panic,
    clippy::expect_used,
    reason = "a test that asks what it must not ask has failed"
)]

use edgekeep_shared::{
    base64url, json,
    jwk::{Algorithm, Jwk, JwkSet},
    time::UnixTime,
    verifier::Verifier,
};

/// The batch of these fields.
///
/// # Panics
/// For a field of 4 GiB.
pub fn batch<F: AsRef<[u8]>>(fields: impl IntoIterator<Item = F>) -> Vec<u8> {
    let mut batch = Vec::new();
    for field in fields {
        let field = field.as_ref();
        let length = u32::try_from(field.len()).expect("a field is short");
        batch.extend_from_slice(&length.to_le_bytes());
        batch.extend_from_slice(field);
    }
    batch
}

/// The fields of a batch, or `None` for what is cut off.
pub fn fields(mut batch: &[u8]) -> Option<Vec<&[u8]>> {
    let mut fields = Vec::new();
    while !batch.is_empty() {
        let (length, rest) = batch.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (field, rest) = rest.split_at_checked(length)?;
        fields.push(field);
        batch = rest;
    }
    Some(fields)
}

/// Answers a batch.
///
/// # Panics
/// When it asks nothing that is known.
#[cfg_attr(target_arch = "wasm32", wasm_bindgen::prelude::wasm_bindgen)]
pub fn answer(question: &[u8]) -> Vec<u8> {
    let fields = fields(question).expect("a batch");
    match &*fields {
        [b"tokens", jwks, issuer, audience, now, tokens @ ..] => {
            let keys = JwkSet::parse(jwks).expect("a JWK Set");
            let verifier = Verifier::new(text(issuer), text(audience));
            let now = UnixTime(text(now).parse().expect("seconds"));
            batch(
                tokens
                    .iter()
                    .map(|token| verdict(&verifier, token, &keys, now)),
            )
        }
        [b"signatures", questions @ ..] => {
            let (questions, rest) = questions.as_chunks::<3>();
            assert!(rest.is_empty(), "three fields each");
            let asked = |[jwk, message, signature]: &[&[u8]; 3]| {
                by_key(jwk, |jwk| jwk.key().verify(message, signature))
            };
            batch(questions.iter().map(asked))
        }
        [b"jws", questions @ ..] => {
            let (questions, rest) = questions.as_chunks::<2>();
            assert!(rest.is_empty(), "two fields each");
            let asked = |[jwk, jws]: &[&[u8]; 2]| by_key(jwk, |jwk| verifies(jwk, jws));
            batch(questions.iter().map(asked))
        }
        _ => panic!("not a question"),
    }
}

fn text(field: &[u8]) -> &str {
    std::str::from_utf8(field).expect("UTF-8")
}

/// Everything that a good token says, or the code of its rejection.
fn verdict(verifier: &Verifier, token: &[u8], keys: &JwkSet, now: UnixTime) -> String {
    match verifier.verify(token, keys, now) {
        Ok(token) => format!("ok {token:?}"),
        Err(rejection) => rejection.code().to_owned(),
    }
}

/// `valid` or `invalid`, or why the key is not used.
fn by_key(jwk: &[u8], valid: impl Fn(&Jwk) -> bool) -> String {
    match Jwk::parse(jwk) {
        Ok(jwk) if valid(&jwk) => "valid".to_owned(),
        Ok(_) => "invalid".to_owned(),
        Err(error) => format!("{error:?}"),
    }
}

/// Whether a JWS is the key's, whatever its payload: published vectors sign no claims. Of the header
/// it asks what the verifier of tokens asks of any.
fn verifies(jwk: &Jwk, jws: &[u8]) -> bool {
    let parts: Vec<&[u8]> = jws.split(|&byte| byte == b'.').collect();
    let [header, payload, signature] = parts[..] else {
        return false;
    };
    let signing_input = &jws[..header.len() + 1 + payload.len()];
    let (Ok(header), Ok(_), Ok(signature)) = (
        base64url::decode(header),
        base64url::decode(payload),
        base64url::decode(signature),
    ) else {
        return false;
    };
    let Ok(header) = json::parse_object(&header) else {
        return false;
    };
    let text = |name| header.member(name).and_then(json::Value::as_str);
    text("alg").and_then(Algorithm::from_name) == Some(jwk.key().algorithm())
        && text("kid").is_none_or(|kid| kid == jwk.key_id())
        && !header.has("crit")
        && !header.has("b64")
        && jwk.key().verify(signing_input, &signature)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_apart_what_it_puts_together() {
        for parts in [&[][..], &[&b"a"[..]], &[b"", b"ab", b""]] {
            assert_eq!(fields(&batch(parts)).as_deref(), Some(parts));
        }
        let whole = batch([b"ab"]);
        for cut in 1..whole.len() {
            assert_eq!(fields(&whole[..cut]), None, "{cut}");
        }
    }

    #[test]
    fn tells_why_a_key_or_a_token_does_not_count() {
        let asked = |parts: &[&[u8]]| {
            let answer = answer(&batch(parts));
            let words = fields(&answer).expect("a batch");
            words
                .iter()
                .map(|word| text(word).to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            asked(&[b"tokens", br#"{"keys":[]}"#, b"i", b"a", b"7", b"x", b""]),
            ["token_malformed", "token_malformed"]
        );
        assert_eq!(asked(&[b"signatures", b"{}", b"", b""]), ["Malformed"]);
        let jwk =
            br#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        assert_eq!(asked(&[b"signatures", jwk, b"", &[0; 64]]), ["invalid"]);
        // RFC 8037, appendix A.4.
        let jws = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        assert_eq!(asked(&[b"jws", jwk, jws]), ["valid"]);
        assert_eq!(asked(&[b"jws", jwk, &jws[1..]]), ["invalid"]);
    }
}
