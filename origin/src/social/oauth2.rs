//! OAuth 2 without ID token: the access token is used to ask who it is about.
//!
//! The answer comes straight from the provider over TLS, to a token that the exchange of this
//! login's code gave (PKCE binds the two); a token from anywhere else is never taken.

use edgekeep_shared::json::{self, Value};
use url::Url;

use super::facts::{Facts, Fields};
use super::fetch::Client;
use super::provider::{Provider, Returned};
use super::{Failure, endpoint};
use crate::config::{ClientAuth, SocialKind, SocialProvider};
use crate::vault::Secret;

/// The endpoints of a provider.
#[derive(Debug)]
pub(super) struct OAuth2 {
    pub(super) authorize_url: Url,
    token_url: Url,
    userinfo_url: Url,
    emails_url: Option<Url>,
    client_auth: ClientAuth,
}

/// Where GitHub is. GitHub Enterprise has the same below a host of its own.
const GITHUB: [&str; 4] = [
    "https://github.com/login/oauth/authorize",
    "https://github.com/login/oauth/access_token",
    "https://api.github.com/user",
    "https://api.github.com/user/emails",
];

impl OAuth2 {
    /// None where a URL is missing, which the configuration's check has refused already.
    pub(super) fn new(settings: &SocialProvider) -> Option<Self> {
        let github = settings.kind == SocialKind::GitHub;
        let url = |set: &Option<String>, usual: &str| match set {
            Some(text) => endpoint(text),
            None if github => endpoint(usual),
            None => None,
        };
        Some(Self {
            authorize_url: url(&settings.authorize_url, GITHUB[0])?,
            token_url: url(&settings.token_url, GITHUB[1])?,
            userinfo_url: url(&settings.userinfo_url, GITHUB[2])?,
            emails_url: url(&settings.emails_url, GITHUB[3]),
            client_auth: settings.client_auth.unwrap_or(if github {
                ClientAuth::Post
            } else {
                ClientAuth::Basic
            }),
        })
    }

    pub(super) async fn identify(
        &self,
        provider: &Provider,
        returned: &Returned<'_>,
    ) -> Result<Facts, Failure> {
        let client = &provider.client;
        let granted = provider
            .redeem(&self.token_url, self.client_auth, returned)
            .await?;
        let token = &granted.access_token;
        let answer = client.get(&self.userinfo_url, Some(token)).await?;
        let mut facts = Facts::read(&answer.object()?, &fields(&provider.settings))?;
        if let Some(url) = &self.emails_url {
            // The address in the profile is whatever the person shows to others.
            (facts.email, facts.email_verified) = primary(client, url, token).await?;
        }
        Ok(facts)
    }
}

fn fields(settings: &SocialProvider) -> Fields<'_> {
    let github = settings.kind == SocialKind::GitHub;
    Fields {
        subject: settings.subject_field.as_deref().unwrap_or("id"),
        subject_may_be_number: true,
        email: settings
            .email_field
            .as_deref()
            .or(github.then_some("email")),
        email_verified: settings.email_verified_field.as_deref(),
        name: settings.name_field.as_deref().or(github.then_some("name")),
    }
}

/// The primary address of a list, and whether it is verified. Never another that happens to be:
/// the primary one is the one that its owner reads.
async fn primary(
    client: &Client,
    url: &Url,
    token: &Secret,
) -> Result<(Option<String>, Option<bool>), Failure> {
    let answer = client.get(url, Some(token)).await?;
    let Ok(Value::Array(entries)) = json::parse(answer.accepted()?) else {
        return Err(Failure::Unavailable("the addresses are no list"));
    };
    let mut found = (None, None);
    for entry in &entries {
        let Value::Object(entry) = entry else {
            continue;
        };
        let is = |name: &str| entry.member(name) == Some(&Value::Bool(true));
        let Some(email) = entry.member("email").and_then(Value::as_str) else {
            continue;
        };
        if is("primary") {
            if found.0.is_some() {
                return Err(Failure::Refused("two primary addresses"));
            }
            found = (Some(email.to_owned()), Some(is("verified")));
        }
    }
    Ok(found)
}
