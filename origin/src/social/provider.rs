//! One identity provider, whatever it speaks: where to send people, and who came back.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use edgekeep_shared::json::{Object, Value};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use url::Url;

use super::Failure;
use super::facts::Facts;
use super::fetch::Client;
use super::oauth2::OAuth2;
use super::oidc::Oidc;
use crate::clock::Timestamp;
use crate::config::{ClientAuth, SocialKind, SocialProvider};
use crate::error::Error;
use crate::random::Random;
use crate::vault::Secret;

/// A provider with its settings and what it publishes.
#[derive(Debug)]
pub(super) struct Provider {
    pub(super) name: String,
    pub(super) settings: SocialProvider,
    pub(super) client: Client,
    redirect_uri: String,
    dialect: Dialect,
}

#[derive(Debug)]
enum Dialect {
    Oidc(Oidc),
    OAuth2(OAuth2),
}

/// What is made up for one login and must come back with it.
#[derive(Serialize, Deserialize)]
pub(super) struct Proofs {
    /// The PKCE verifier (RFC 7636 §4.1): who exchanges the code is who asked for it.
    verifier: String,
    /// The `nonce` of the ID token: it was issued for this login.
    pub(super) nonce: String,
}

impl Proofs {
    /// 256 bits each.
    pub(super) fn generate(random: &Random) -> Self {
        let text = || URL_SAFE_NO_PAD.encode(random.bytes::<32>());
        Self {
            verifier: text(),
            nonce: text(),
        }
    }

    /// The challenge of the verifier by `S256`; `plain` would show the verifier to whoever sees
    /// the request.
    fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(sha2::Sha256::digest(self.verifier.as_bytes()))
    }
}

/// A code that came back, with the login that it belongs to.
pub(super) struct Returned<'a> {
    pub(super) code: &'a Secret,
    pub(super) proofs: &'a Proofs,
    pub(super) begun_at: Timestamp,
    /// Whether the person had to prove again who they are.
    pub(super) again: bool,
}

/// The access token, and the ID token where there is one.
pub(super) struct Granted {
    pub(super) access_token: Secret,
    pub(super) id_token: Option<String>,
}

impl Provider {
    pub(super) fn new(
        name: &str,
        settings: &SocialProvider,
        redirect_uri: String,
    ) -> Result<Self, Error> {
        let dialect = match settings.kind {
            SocialKind::Oidc => Dialect::Oidc(Oidc::new(settings)),
            SocialKind::OAuth2 | SocialKind::GitHub => Dialect::OAuth2(
                OAuth2::new(settings)
                    .ok_or_else(|| Error::internal(format!("social.providers.{name}: URLs")))?,
            ),
        };
        let client = Client::new()
            .map_err(|error| Error::internal(format!("social.providers.{name}: {error}")))?;
        Ok(Self {
            name: name.to_owned(),
            settings: settings.clone(),
            client,
            redirect_uri,
            dialect,
        })
    }

    /// What a button says.
    pub(super) fn display_name(&self) -> &str {
        self.settings.display_name.as_deref().unwrap_or(&self.name)
    }

    /// Whose subjects these are: the same `sub` of another issuer is another person.
    pub(super) fn issuer(&self) -> &str {
        match &self.dialect {
            Dialect::Oidc(oidc) => oidc.issuer(),
            Dialect::OAuth2(_) => "",
        }
    }

    /// Whether it can be asked to have people log in again, and says when they did.
    pub(super) fn says_when(&self) -> bool {
        matches!(self.dialect, Dialect::Oidc(_))
    }

    fn scope(&self) -> String {
        let usual: &[&str] = match self.settings.kind {
            SocialKind::Oidc => &["openid", "email", "profile"],
            SocialKind::GitHub => &["read:user", "user:email"],
            SocialKind::OAuth2 => &[],
        };
        match &self.settings.scopes {
            Some(scopes) => scopes.join(" "),
            None => usual.join(" "),
        }
    }

    /// Where to send somebody who wants to log in; `again` even if they are logged in there.
    pub(super) async fn authorization_url(
        &self,
        now: Timestamp,
        state: &Secret,
        proofs: &Proofs,
        again: bool,
    ) -> Result<Url, Failure> {
        let mut url = match &self.dialect {
            Dialect::Oidc(oidc) => oidc.authorization_endpoint(&self.client, now).await?,
            Dialect::OAuth2(oauth2) => oauth2.authorize_url.clone(),
        };
        let mut query = url.query_pairs_mut();
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("redirect_uri", &self.redirect_uri)
            .append_pair("state", state.expose())
            .append_pair("code_challenge", &proofs.challenge())
            .append_pair("code_challenge_method", "S256");
        let scope = self.scope();
        if !scope.is_empty() {
            query.append_pair("scope", &scope);
        }
        if matches!(self.dialect, Dialect::Oidc(_)) {
            query.append_pair("nonce", &proofs.nonce);
        }
        if again {
            // The second makes the provider say when it was (OpenID Connect Core §3.1.2.1).
            query
                .append_pair("prompt", "login")
                .append_pair("max_age", "0");
        }
        drop(query);
        Ok(url)
    }

    /// Whether `issuer`, the `iss` of an answer, is the provider that was asked (RFC 9207 §2.4):
    /// the answer of another would have us send its code, or ours, to the wrong one.
    pub(super) async fn check_issuer(
        &self,
        now: Timestamp,
        issuer: Option<&str>,
    ) -> Result<(), Failure> {
        match &self.dialect {
            Dialect::Oidc(oidc) => oidc.check_issuer(&self.client, now, issuer).await,
            // There is no issuer to compare with: the redirect URI, which is each provider's own,
            // tells them apart (RFC 9700 §4.4.2.2).
            Dialect::OAuth2(_) => Ok(()),
        }
    }

    /// Who came back, by the provider's word.
    pub(super) async fn identify(
        &self,
        now: Timestamp,
        returned: &Returned<'_>,
    ) -> Result<Facts, Failure> {
        let facts = match &self.dialect {
            Dialect::Oidc(oidc) => oidc.identify(self, now, returned).await?,
            Dialect::OAuth2(oauth2) => oauth2.identify(self, returned).await?,
        };
        if !facts.meets(&self.settings.require) {
            return Err(Failure::Refused("a required claim has another value"));
        }
        Ok(facts)
    }

    /// Exchanges the code at `token_endpoint`.
    pub(super) async fn redeem(
        &self,
        token_endpoint: &Url,
        auth: ClientAuth,
        returned: &Returned<'_>,
    ) -> Result<Granted, Failure> {
        let id = &*self.settings.client_id;
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("code", returned.code.expose()),
            ("redirect_uri", &*self.redirect_uri),
            ("code_verifier", &*returned.proofs.verifier),
        ];
        let mut basic = None;
        match (&self.settings.client_secret, auth) {
            (Some(secret), ClientAuth::Basic) => basic = Some((id, secret)),
            (Some(secret), ClientAuth::Post) => {
                fields.extend([("client_id", id), ("client_secret", secret.expose())]);
            }
            (None, _) => fields.push(("client_id", id)),
        }
        let answer = self.client.post(token_endpoint, &fields, basic).await?;
        let answer = answer.object()?;
        read_granted(&answer)
    }
}

/// RFC 6749 §5.1. GitHub answers a refusal with 200 and `error`.
fn read_granted(answer: &Object<'_>) -> Result<Granted, Failure> {
    if answer.has("error") {
        return Err(Failure::Refused("the token endpoint refused the code"));
    }
    let text = |name: &str| answer.member(name).and_then(Value::as_str);
    let bearer = text("token_type").is_some_and(|kind| kind.eq_ignore_ascii_case("bearer"));
    // What goes into a header: nothing that could end it.
    let usable = |token: &&str| !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic());
    match text("access_token").filter(usable) {
        Some(token) if bearer => Ok(Granted {
            access_token: Secret::new(token.to_owned()),
            id_token: text("id_token").map(str::to_owned),
        }),
        _ => Err(Failure::Refused("the token endpoint gave no bearer token")),
    }
}
