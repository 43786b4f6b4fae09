//! Master keys from key management services, against servers that check what they are sent.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod support;

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use edgekeep_origin::app::StartError;
use edgekeep_origin::aws::{self, Credentials, Request, Scope};
use edgekeep_origin::clock::Clock;
use edgekeep_origin::config::{AwsKms, Provider, Secrets, VaultTransit};
use edgekeep_origin::vault::Secret;
use edgekeep_origin::vault::kms::Kms;
use serde_json::{Value, json};
use support::{BEGINNING, Origin};

const KEY_ARN: &str = "arn:aws:kms:eu-central-1:111122223333:key/1";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// A service of either kind: what it was asked, and what it does in place of answering.
#[derive(Clone, Default)]
struct Service {
    asked: Arc<Mutex<Vec<String>>>,
    instead: Arc<Mutex<Vec<(StatusCode, String)>>>,
    url: String,
}

impl Service {
    async fn start(answer: fn(&Service, &Method, &Uri, &HeaderMap, &[u8]) -> Response) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let service = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            ..Self::default()
        };
        let for_server = service.clone();
        let app = Router::new().fallback(
            move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| async move {
                for_server.asked.lock().unwrap().push(uri.to_string());
                if let Some((status, text)) = for_server.instead.lock().unwrap().pop() {
                    return (status, text).into_response();
                }
                answer(&for_server, &method, &uri, &headers, &body)
            },
        );
        tokio::spawn(async move { axum::serve(listener, app).await });
        service
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    fn instead(&self, status: u16, text: &str, times: usize) {
        let status = StatusCode::from_u16(status).unwrap();
        *self.instead.lock().unwrap() = vec![(status, text.to_owned()); times];
    }
}

fn refuse(kind: &str) -> Response {
    let body = json!({"__type": kind, "message": "no"});
    (StatusCode::BAD_REQUEST, body.to_string()).into_response()
}

/// AWS KMS as far as it matters: signature, target, key, encryption context.
fn aws_kms(
    service: &Service,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &[u8],
) -> Response {
    let text = |name: &str| {
        headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    };
    assert_eq!((method, uri.path()), (&Method::POST, "/"));
    assert_eq!(text("content-type"), "application/x-amz-json-1.1");
    let credentials = Credentials {
        access_key_id: "AKIDEXAMPLE".to_owned(),
        secret_access_key: Secret::new(SECRET.to_owned()),
        session_token: Some(Secret::new("session".to_owned())),
    };
    let request = Request {
        method: "POST",
        host: service.url.strip_prefix("http://").unwrap(),
        path: "/",
        query: "",
        headers: &[
            ("content-type", text("content-type")),
            ("x-amz-target", text("x-amz-target")),
        ],
        body,
    };
    let scope = Scope {
        region: "eu-central-1",
        service: "kms",
    };
    assert_eq!(text("host"), request.host);
    assert_eq!(text("x-amz-date"), "20260101T000000Z");
    assert_eq!(text("x-amz-security-token"), "session");
    let signed = aws::sign(&request, scope, &credentials, BEGINNING).unwrap();
    let expected = signed
        .iter()
        .find(|(name, _)| *name == "authorization")
        .unwrap();
    if text("authorization") != *expected.1 {
        return refuse("InvalidSignatureException");
    }
    let body: Value = serde_json::from_slice(body).unwrap();
    if body["KeyId"] != KEY_ARN {
        return refuse("IncorrectKeyException");
    }
    let context = body["EncryptionContext"].to_string();
    let answer = match text("x-amz-target") {
        "TrentService.Encrypt" => {
            let sealed = format!("{context}|{}", body["Plaintext"].as_str().unwrap());
            json!({"CiphertextBlob": STANDARD.encode(sealed), "KeyId": KEY_ARN})
        }
        "TrentService.Decrypt" => {
            let sealed = STANDARD.decode(body["CiphertextBlob"].as_str().unwrap());
            let sealed = String::from_utf8(sealed.unwrap_or_default()).unwrap_or_default();
            match sealed.split_once('|') {
                Some((bound, plaintext)) if bound == context => {
                    json!({"Plaintext": plaintext, "KeyId": KEY_ARN})
                }
                _ => return refuse("InvalidCiphertextException"),
            }
        }
        other => unreachable!("{other}"),
    };
    answer.to_string().into_response()
}

/// Vault's transit engine as far as it matters.
fn transit(_: &Service, method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Response {
    assert_eq!(method, Method::POST);
    assert_eq!(headers[header::CONTENT_TYPE], "application/json");
    assert_eq!(headers["x-vault-namespace"], "team");
    if headers["x-vault-token"] != "hvs.token" {
        let body = json!({"errors": ["permission denied"]});
        return (StatusCode::FORBIDDEN, body.to_string()).into_response();
    }
    let body: Value = serde_json::from_slice(body).unwrap();
    let data = match uri.path() {
        "/v1/secret/transit/encrypt/edgekeep" => {
            json!({"ciphertext": format!("vault:v1:{}", body["plaintext"].as_str().unwrap())})
        }
        "/v1/secret/transit/decrypt/edgekeep" => {
            let ciphertext = body["ciphertext"].as_str().unwrap();
            match ciphertext.strip_prefix("vault:v1:") {
                Some(plaintext) => json!({"plaintext": plaintext}),
                None => {
                    return (
                        StatusCode::BAD_REQUEST,
                        json!({"errors": ["invalid ciphertext"]}).to_string(),
                    )
                        .into_response();
                }
            }
        }
        other => unreachable!("{other}"),
    };
    json!({"data": data}).to_string().into_response()
}

fn of_aws(service: &Service) -> Secrets {
    Secrets {
        provider: Some(Provider::AwsKms),
        aws_kms: AwsKms {
            key_id: KEY_ARN.to_owned(),
            region: "eu-central-1".to_owned(),
            endpoint: Some(service.url.clone()),
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: Some(Secret::new(SECRET.to_owned())),
            session_token: Some(Secret::new("session".to_owned())),
        },
        ..Secrets::default()
    }
}

fn of_transit(service: &Service) -> Secrets {
    Secrets {
        provider: Some(Provider::VaultTransit),
        vault_transit: VaultTransit {
            address: format!("{}/", service.url),
            mount: "secret/transit".to_owned(),
            key: "edgekeep".to_owned(),
            token: Some(Secret::new("hvs.token".to_owned())),
            namespace: Some("team".to_owned()),
        },
        ..Secrets::default()
    }
}

async fn start(origin: &Origin, secrets: &Secrets) -> Result<Origin, String> {
    let secrets = secrets.clone();
    match origin.beside(|config| config.secrets = secrets).await {
        Ok(origin) => Ok(origin),
        Err(StartError::MasterKey(error)) => Err(error.to_string()),
        Err(other) => unreachable!("{other}"),
    }
}

#[tokio::test]
async fn a_wrapped_key_opens_what_it_opened_in_the_clear() {
    let key = [7; 32];
    let (aws, vault) = (Service::start(aws_kms).await, Service::start(transit).await);
    for (service, mut secrets) in [(&aws, of_aws(&aws)), (&vault, of_transit(&vault))] {
        let origin = Origin::with(|config| {
            let text = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(key);
            config.secrets.master_key = Some(Secret::new(format!("3:{text}")));
        })
        .await;
        let clock = Clock::fixed(BEGINNING);
        let kms = Kms::of(&secrets, &clock).unwrap().unwrap();
        let wrapped = kms.wrap(3, &key).await.unwrap();
        let next = kms.wrap(4, &[8; 32]).await.unwrap();
        let nothing = start(&origin, &secrets).await.err().unwrap();
        assert!(nothing.contains("no wrapped master key"), "{nothing}");
        service.asked();
        secrets.wrapped_keys = Some(format!("3:{wrapped}\n"));
        let opened = start(&origin, &secrets).await.unwrap();
        assert_eq!(opened.state.vault.current_version(), 3);
        assert_eq!(service.asked().len(), 1);
        // From a file, with another beside it.
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("3:{wrapped}\n4:{next}\n")).unwrap();
        secrets.wrapped_keys = None;
        secrets.wrapped_keys_file = Some(file.path().to_owned());
        let opened = start(&origin, &secrets).await.unwrap();
        assert_eq!(opened.state.vault.versions().collect::<Vec<_>>(), [3, 4]);
    }
}

#[tokio::test]
async fn a_refusal_stops_the_start_and_says_what_the_service_said() {
    let origin = Origin::new().await;
    let service = Service::start(aws_kms).await;
    let clock = Clock::fixed(BEGINNING);
    let mut secrets = of_aws(&service);
    let wrapped = Kms::of(&secrets, &clock)
        .unwrap()
        .unwrap()
        .wrap(1, &[7; 32])
        .await
        .unwrap();
    for (change, expected) in [
        // Wrapped for another version.
        ("version", "InvalidCiphertextException"),
        ("ciphertext", "InvalidCiphertextException"),
        ("secret", "InvalidSignatureException"),
        ("key", "IncorrectKeyException"),
    ] {
        let mut secrets = secrets.clone();
        secrets.wrapped_keys = Some(format!("1:{wrapped}"));
        match change {
            "version" => secrets.wrapped_keys = Some(format!("2:{wrapped}")),
            "ciphertext" => secrets.wrapped_keys = Some("1:AAAA".to_owned()),
            "secret" => secrets.aws_kms.secret_access_key = Some(Secret::new("x".to_owned())),
            _ => secrets.aws_kms.key_id = "other".to_owned(),
        }
        service.asked();
        let refused = start(&origin, &secrets).await.err().unwrap();
        assert!(refused.contains(expected), "{change}: {refused}");
        assert!(!refused.contains(SECRET), "{refused}");
        // A refusal is not asked for again.
        assert_eq!(service.asked().len(), 1, "{change}");
    }
    // Another key than the database's, faithfully unwrapped.
    secrets.wrapped_keys = Some(format!("1:{wrapped}"));
    let refused = start(&origin, &secrets).await.err().unwrap();
    assert!(refused.contains("does not open this database"), "{refused}");
    // Not a key at all.
    let kms = Kms::of(&secrets, &clock).unwrap().unwrap();
    let context = r#"{"edgekeep":"master-key","version":"1"}"#;
    let short = STANDARD.encode(format!("{context}|{}", STANDARD.encode([7; 31])));
    let refused = kms.unwrap(1, &short).await.unwrap_err().to_string();
    assert!(refused.contains("not a key of 32 bytes"), "{refused}");

    let service = Service::start(transit).await;
    let mut secrets = of_transit(&service);
    secrets.wrapped_keys = Some("1:vault:v1:AAAA".to_owned());
    secrets.vault_transit.token = Some(Secret::new("hvs.other".to_owned()));
    let refused = start(&origin, &secrets).await.err().unwrap();
    assert!(
        refused.contains("status 403: permission denied"),
        "{refused}"
    );
    assert!(!refused.contains("hvs."), "{refused}");
}

#[tokio::test]
async fn a_service_that_is_busy_is_asked_again_and_strange_answers_are_refused() {
    let service = Service::start(transit).await;
    let secrets = of_transit(&service);
    let clock = Clock::fixed(BEGINNING);
    let kms = Kms::of(&secrets, &clock).unwrap().unwrap();
    let wrapped = format!("vault:v1:{}", STANDARD.encode([7; 32]));
    for (status, times, opens) in [
        (503, 2, true),
        (429, 2, true),
        (503, 3, false),
        (500, 3, false),
    ] {
        service.asked();
        service.instead(status, "", times);
        assert_eq!(
            kms.unwrap(1, &wrapped).await.is_ok(),
            opens,
            "{status} {times}"
        );
        assert_eq!(service.asked().len(), 3, "{status} {times}");
    }
    let long = format!(r#"{{"data":{{"plaintext":"{}"}}}}"#, "A".repeat(70_000));
    for (status, text) in [
        (200, ""),
        (200, "{}"),
        (200, r#"{"data":{"plaintext":7}}"#),
        (200, r#"{"data":{"plaintext":"%%"}}"#),
        (302, ""),
        (204, ""),
        (200, long.as_str()),
    ] {
        service.instead(status, text, 3);
        assert!(
            kms.unwrap(1, &wrapped).await.is_err(),
            "{status} {text:.40}"
        );
        service.instead(200, "", 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_wraps_a_new_key_with_which_a_server_then_starts() {
    let service = Service::start(transit).await;
    let folder = tempfile::tempdir().unwrap();
    let run = async |arguments: &[&str], wrapped: &str, input: &str| {
        use tokio::io::AsyncWriteExt as _;
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_edgekeep"));
        command
            .env_clear()
            .env("EDGEKEEP_DATA_DIR", folder.path().join("data"))
            .env("EDGEKEEP_LOG__FILTER", "error")
            .env("EDGEKEEP_SECRETS__PROVIDER", "vault_transit")
            .env("EDGEKEEP_SECRETS__VAULT_TRANSIT__ADDRESS", &service.url)
            .env("EDGEKEEP_SECRETS__VAULT_TRANSIT__MOUNT", "secret/transit")
            .env("EDGEKEEP_SECRETS__VAULT_TRANSIT__KEY", "edgekeep")
            .env("EDGEKEEP_SECRETS__VAULT_TRANSIT__TOKEN", "hvs.token")
            .env("EDGEKEEP_SECRETS__VAULT_TRANSIT__NAMESPACE", "team")
            .args(arguments)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        if !wrapped.is_empty() {
            command.env("EDGEKEEP_SECRETS__WRAPPED_KEYS", wrapped);
        }
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).await.unwrap();
        drop(stdin);
        let output = child.wait_with_output().await.unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.success(), said)
    };
    let (done, first) = run(&["vault", "wrap"], "", "").await;
    assert!(done && first.starts_with("1:vault:v1:"), "{first}");
    let (done, said) = run(&["keys", "list"], &first, "").await;
    assert!(done, "{said}");
    let (done, second) = run(&["vault", "wrap"], &first, "").await;
    assert!(done && second.starts_with("2:vault:v1:"), "{second}");
    assert_ne!(first[2..], second[2..]);
    let (done, said) = run(&["vault", "rotate"], &format!("{first}{second}"), "").await;
    assert!(
        done && said.contains("version 1: may be taken away"),
        "{said}"
    );
    let (done, said) = run(&["keys", "list"], &second, "").await;
    assert!(done, "{said}");
    let (done, said) = run(&["keys", "list"], &first, "").await;
    assert!(
        !done && said.contains("needs master key version 2"),
        "{said}"
    );
    let clear = "4:BAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ\n";
    let (done, moved) = run(&["vault", "wrap", "--stdin"], "", clear).await;
    assert!(done, "{moved}");
    assert_eq!(moved, format!("4:vault:v1:{}\n", STANDARD.encode([4; 32])));
}
