//! OpenID Connect: metadata and keys from the issuer, who somebody is from the ID token.

use std::sync::Arc;

use edgekeep_shared::json::{Object, Value};
use url::Url;

use super::cache::Cached;
use super::facts::{Facts, OIDC};
use super::fetch::Client;
use super::id_token::{self, Expected, Fault};
use super::keys::Keys;
use super::provider::{Provider, Returned};
use super::{Failure, endpoint};
use crate::clock::Timestamp;
use crate::config::{ClientAuth, IdTokenAlgorithm as Algorithm, SocialProvider, is_loopback};

/// What an OpenID provider publishes.
#[derive(Debug)]
pub(super) struct Oidc {
    issuer: String,
    algorithms: Vec<Algorithm>,
    metadata: Cached<Metadata>,
    keys: Cached<Keys>,
}

/// The parts of the metadata that are used (OpenID Connect Discovery §3).
#[derive(Debug)]
struct Metadata {
    authorization_endpoint: Url,
    token_endpoint: Url,
    userinfo_endpoint: Option<Url>,
    jwks_uri: Url,
    client_auth: ClientAuth,
    /// Whether every answer has `iss` (RFC 9207 §3).
    names_itself: bool,
}

impl Oidc {
    pub(super) fn new(settings: &SocialProvider) -> Self {
        let all = [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa];
        Self {
            issuer: settings.issuer.clone().unwrap_or_default(),
            algorithms: settings.algorithms.clone().unwrap_or(all.to_vec()),
            metadata: Cached::default(),
            keys: Cached::default(),
        }
    }

    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    async fn metadata(&self, client: &Client, now: Timestamp) -> Result<Arc<Metadata>, Failure> {
        let fetch = async {
            // Discovery §4.1: a slash at the end goes before the path is added.
            let base = self.issuer.trim_end_matches('/');
            let url = endpoint(&format!("{base}/.well-known/openid-configuration"))
                .ok_or(Failure::Unavailable("the issuer is no URL"))?;
            let answer = client.get(&url, None).await?;
            Metadata::read(&answer.document()?, &self.issuer)
        };
        self.metadata.obtain(now, fetch).await
    }

    pub(super) async fn authorization_endpoint(
        &self,
        client: &Client,
        now: Timestamp,
    ) -> Result<Url, Failure> {
        let metadata = self.metadata(client, now).await?;
        Ok(metadata.authorization_endpoint.clone())
    }

    pub(super) async fn check_issuer(
        &self,
        client: &Client,
        now: Timestamp,
        issuer: Option<&str>,
    ) -> Result<(), Failure> {
        let metadata = self.metadata(client, now).await?;
        match issuer {
            Some(issuer) if issuer == self.issuer => Ok(()),
            None if !metadata.names_itself => Ok(()),
            _ => Err(Failure::Refused("the answer is from another issuer")),
        }
    }

    pub(super) async fn identify(
        &self,
        provider: &Provider,
        now: Timestamp,
        returned: &Returned<'_>,
    ) -> Result<Facts, Failure> {
        let client = &provider.client;
        let metadata = self.metadata(client, now).await?;
        let auth = provider
            .settings
            .client_auth
            .unwrap_or(metadata.client_auth);
        let granted = provider
            .redeem(&metadata.token_endpoint, auth, returned)
            .await?;
        let token = granted
            .id_token
            .ok_or(Failure::Refused("the token endpoint gave no ID token"))?;
        let expected = Expected {
            issuer: &self.issuer,
            client_id: &provider.settings.client_id,
            algorithms: &self.algorithms,
            nonce: &returned.proofs.nonce,
            begun_at: returned.begun_at,
            again: returned.again,
            now,
        };
        let mut facts = self.verify(client, &metadata, &token, &expected).await?;
        if let Some(url) = &metadata.userinfo_endpoint
            && (facts.email.is_none() || facts.email_verified.is_none())
        {
            let answer = client.get(url, Some(&granted.access_token)).await?;
            let more = Facts::read(&answer.object()?, &OIDC)?;
            // Core §5.3.2: else the token was swapped for another person's.
            if more.subject != facts.subject {
                return Err(Failure::Refused("userinfo is about somebody else"));
            }
            facts.add(more);
        }
        Ok(facts)
    }

    async fn verify(
        &self,
        client: &Client,
        metadata: &Metadata,
        token: &str,
        expected: &Expected<'_>,
    ) -> Result<Facts, Failure> {
        let fetch = || async {
            let answer = client.get(&metadata.jwks_uri, None).await?;
            Keys::read(&answer.document()?)
        };
        let keys = self.keys.obtain(expected.now, fetch()).await?;
        match id_token::verify(token, &keys, expected) {
            Err(Fault::KeyUnknown) => {
                let keys = self.keys.newer(&keys, expected.now, fetch()).await?;
                Ok(id_token::verify(token, &keys, expected)?)
            }
            verdict => Ok(verdict?),
        }
    }
}

impl Metadata {
    fn read(document: &Object<'_>, issuer: &str) -> Result<Self, Failure> {
        let text = |name: &str| document.member(name).and_then(Value::as_str);
        // Discovery §4.3: else whoever can answer in its place could name its own endpoints.
        if text("issuer") != Some(issuer) {
            return Err(Failure::Unavailable("the metadata names another issuer"));
        }
        // A provider on the Internet has no endpoint on this machine.
        let local = endpoint(issuer).is_some_and(|url| is_loopback(&url));
        let url = |name: &str| {
            text(name)
                .and_then(endpoint)
                .filter(|url| local || url.scheme() == "https")
                .ok_or(Failure::Unavailable("the metadata lacks an endpoint"))
        };
        let lists = |name: &str, wanted: &str| match document.member(name) {
            None => None,
            Some(Value::Array(all)) => Some(all.iter().any(|one| one.as_str() == Some(wanted))),
            Some(_) => Some(false),
        };
        if lists("response_types_supported", "code") == Some(false) {
            return Err(Failure::Unavailable("the provider has no code flow"));
        }
        // Entra does it without saying so. Who says that it does not would ignore the challenge.
        if lists("code_challenge_methods_supported", "S256") == Some(false) {
            return Err(Failure::Unavailable("the provider has no PKCE with S256"));
        }
        let methods = "token_endpoint_auth_methods_supported";
        let post_only = lists(methods, "client_secret_basic") == Some(false)
            && lists(methods, "client_secret_post") == Some(true);
        let names_itself = document.member("authorization_response_iss_parameter_supported");
        Ok(Self {
            authorization_endpoint: url("authorization_endpoint")?,
            token_endpoint: url("token_endpoint")?,
            userinfo_endpoint: match text("userinfo_endpoint") {
                None => None,
                Some(_) => Some(url("userinfo_endpoint")?),
            },
            jwks_uri: url("jwks_uri")?,
            client_auth: if post_only {
                ClientAuth::Post
            } else {
                ClientAuth::Basic
            },
            names_itself: names_itself == Some(&Value::Bool(true)),
        })
    }
}

#[cfg(test)]
mod tests {
    use edgekeep_shared::json;

    use super::*;

    fn read(issuer: &str, host: &str, more: &str) -> Result<Metadata, Failure> {
        let text = format!(
            r#"{{"issuer":"{issuer}","authorization_endpoint":"{host}/a","token_endpoint":"{host}/t","jwks_uri":"{host}/k"{more}}}"#
        );
        Metadata::read(&json::parse_object(text.as_bytes()).unwrap(), issuer)
    }

    #[test]
    fn a_provider_on_the_internet_has_no_endpoint_on_this_machine() {
        let (public, local) = ("https://id.example.com", "http://127.0.0.1:3000");
        assert!(read(public, public, "").is_ok());
        assert!(read(public, "https://other.example.com", "").is_ok());
        assert!(read(local, local, "").is_ok());
        assert!(read(local, public, "").is_ok());
        assert!(read(public, local, "").is_err());
        let userinfo = format!(r#","userinfo_endpoint":"{local}/me""#);
        assert!(read(public, public, &userinfo).is_err());
    }

    #[test]
    fn the_client_proves_itself_as_the_provider_has_it() {
        let host = "https://id.example.com";
        for (methods, expected) in [
            ("", ClientAuth::Basic),
            (r#"["client_secret_post"]"#, ClientAuth::Post),
            (
                r#"["client_secret_post","client_secret_basic"]"#,
                ClientAuth::Basic,
            ),
            (r#"["private_key_jwt"]"#, ClientAuth::Basic),
        ] {
            let more = match methods {
                "" => String::new(),
                _ => format!(r#","token_endpoint_auth_methods_supported":{methods}"#),
            };
            assert_eq!(
                read(host, host, &more).unwrap().client_auth,
                expected,
                "{methods}"
            );
        }
    }
}
