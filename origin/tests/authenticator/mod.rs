//! A software authenticator and the browser around it, which do as they are told.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{DerSignature, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// One passkey, and what is told of it.
#[derive(Clone)]
pub(crate) struct Authenticator {
    key: SigningKey,
    id: Vec<u8>,
    user_handle: String,
    pub(crate) counter: u32,
    pub(crate) verifies: bool,
    /// Whether the key can be copied (BE), and whether it is (BS).
    pub(crate) backup: (bool, bool),
    pub(crate) origin: String,
    pub(crate) rp_id: String,
}

impl Authenticator {
    pub(crate) fn new(seed: u8) -> Self {
        Self {
            key: SigningKey::from_bytes(&[seed; 32].into()).unwrap(),
            id: vec![seed; 16],
            user_handle: String::new(),
            counter: 0,
            verifies: true,
            backup: (false, false),
            origin: "https://id.example.org".to_owned(),
            rp_id: "id.example.org".to_owned(),
        }
    }

    fn client_data(&self, kind: &str, challenge: &Value) -> Vec<u8> {
        json!({"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": false})
            .to_string()
            .into_bytes()
    }

    fn data(&self, attested: &[u8]) -> Vec<u8> {
        let mut data = Sha256::digest(self.rp_id.as_bytes()).to_vec();
        let attests = if attested.is_empty() { 0 } else { 0x40 };
        let flag = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
        let (eligible, backed_up) = self.backup;
        let flags = flag(self.verifies, 0x04) | flag(eligible, 0x08) | flag(backed_up, 0x10);
        data.push(0x01 | flags | attests);
        data.extend(self.counter.to_be_bytes());
        data.extend(attested);
        data
    }

    /// What `navigator.credentials.create()` gives for these options.
    pub(crate) fn create(&mut self, options: &Value) -> Value {
        let options = &options["publicKey"];
        options["user"]["id"]
            .as_str()
            .unwrap()
            .clone_into(&mut self.user_handle);
        let point = self.key.verifying_key().to_sec1_point(false);
        let mut attested = vec![0; 16];
        attested.extend(u16::try_from(self.id.len()).unwrap().to_be_bytes());
        attested.extend(&self.id);
        // COSE: an ES256 key on P-256.
        attested.extend([0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 0x20]);
        attested.extend_from_slice(&point.as_bytes()[1..33]);
        attested.extend([0x22, 0x58, 0x20]);
        attested.extend_from_slice(&point.as_bytes()[33..65]);
        let data = self.data(&attested);
        let mut object = b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x58".to_vec();
        object.push(u8::try_from(data.len()).unwrap());
        object.extend(data);
        let id = B64.encode(&self.id);
        json!({
            "id": id, "rawId": id, "type": "public-key", "clientExtensionResults": {},
            "response": {
                "attestationObject": B64.encode(object),
                "clientDataJSON":
                    B64.encode(self.client_data("webauthn.create", &options["challenge"])),
            },
        })
    }

    /// What `navigator.credentials.get()` gives for these options.
    pub(crate) fn get(&mut self, options: &Value) -> Value {
        let client_data = self.client_data("webauthn.get", &options["publicKey"]["challenge"]);
        let data = self.data(&[]);
        let signed = [data.as_slice(), &Sha256::digest(&client_data)].concat();
        let signature: DerSignature = self.key.sign(&signed);
        let id = B64.encode(&self.id);
        json!({
            "id": id, "rawId": id, "type": "public-key", "clientExtensionResults": {},
            "response": {
                "authenticatorData": B64.encode(data),
                "clientDataJSON": B64.encode(client_data),
                "signature": B64.encode(signature.as_bytes()),
                "userHandle": self.user_handle,
            },
        })
    }
}
