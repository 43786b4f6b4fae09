//! `[social]`: logging in at somebody else's identity provider.

use std::collections::BTreeMap;

use serde::Deserialize;
use url::{Host, Url};

use super::check::Wrong;
use crate::vault::Secret;

/// `[social]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Social {
    /// The pages of your web applications that people may come back to, each to the letter: an
    /// address that differs in a single character is refused. `https` URLs, or `http` on loopback.
    /// No query, no fragment.
    pub return_urls: Vec<String>,
    /// The same for applications that open the system's browser and know a login by a token
    /// instead of a cookie: URLs that the system hands to the application. They may have a scheme
    /// of the application's own, with a dot in it (RFC 8252 §7.1).
    pub app_return_urls: Vec<String>,
    /// `[social.providers.NAME]`. The name is part of the redirect URI that is registered at the
    /// provider, and of every link between an account and it: renaming one loses its links.
    pub providers: BTreeMap<String, SocialProvider>,
}

/// What a provider speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SocialKind {
    /// OpenID Connect: Google, Okta, Entra, Keycloak, and most others.
    #[default]
    Oidc,
    /// OAuth 2 without ID token: the person is looked up with the access token.
    OAuth2,
    /// OAuth 2 as GitHub has it: the URLs and fields are known.
    GitHub,
}

/// How this server proves itself at the provider's token endpoint (RFC 6749 §2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// HTTP basic authentication.
    Basic,
    /// Members of the form.
    Post,
}

/// What becomes of somebody unknown whose address the provider does not vouch for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WithoutEmail {
    /// They are refused.
    #[default]
    Refuse,
    /// They get an account without address.
    Create,
}

/// A signature algorithm of ID tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum IdTokenAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    #[serde(rename = "RS256")]
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

/// `[social.providers.NAME]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SocialProvider {
    /// `oidc`, `github` or `oauth2`.
    pub kind: SocialKind,
    /// What a button says; unset: the name.
    pub display_name: Option<String>,
    /// What the provider calls this server.
    pub client_id: String,
    /// The secret that goes with it; unset: a public client, which PKCE alone protects.
    pub client_secret: Option<Secret>,
    /// `basic` or `post`; unset: as the provider's metadata has it, else `basic`; `post` at GitHub.
    pub client_auth: Option<ClientAuth>,
    /// What is asked for; unset: `openid email profile`, at GitHub `read:user user:email`.
    pub scopes: Option<Vec<String>>,
    /// Whether an address that the provider says is verified counts as proved here. Say yes only
    /// of a provider that has people prove their addresses: whoever runs it can otherwise take
    /// any address, and with it the account that its owner would have made.
    pub trust_email: bool,
    /// Whether people who are not known yet get an account.
    pub sign_up: bool,
    /// `refuse` or `create`: somebody unknown without an address that counts as proved.
    pub without_email: WithoutEmail,
    /// Claims that must have one of the given values, for instance `hd = ["example.com"]` at
    /// Google or `tid = ["…"]` at Entra.
    pub require: BTreeMap<String, Vec<String>>,
    /// `oidc`: the issuer, to the letter.
    pub issuer: Option<String>,
    /// `oidc`: which algorithms may sign ID tokens; unset: `RS256`, `ES256` and `EdDSA`.
    pub algorithms: Option<Vec<IdTokenAlgorithm>>,
    /// `oauth2`: where people are sent.
    pub authorize_url: Option<String>,
    /// `oauth2`: where the code is exchanged.
    pub token_url: Option<String>,
    /// `oauth2`: who the access token is about, as JSON.
    pub userinfo_url: Option<String>,
    /// `oauth2`: their addresses, as GitHub lists them (`email`, `primary`, `verified`).
    pub emails_url: Option<String>,
    /// `oauth2`: the member that identifies the person and never changes.
    pub subject_field: Option<String>,
    /// `oauth2`: the member with the address.
    pub email_field: Option<String>,
    /// `oauth2`: the member that is `true` where the address is verified; unset: it never is.
    pub email_verified_field: Option<String>,
    /// `oauth2`: the member with the name.
    pub name_field: Option<String>,
}

impl Default for SocialProvider {
    fn default() -> Self {
        Self {
            kind: SocialKind::default(),
            display_name: None,
            client_id: String::new(),
            client_secret: None,
            client_auth: None,
            scopes: None,
            trust_email: false,
            sign_up: true,
            without_email: WithoutEmail::default(),
            require: BTreeMap::new(),
            issuer: None,
            algorithms: None,
            authorize_url: None,
            token_url: None,
            userinfo_url: None,
            emails_url: None,
            subject_field: None,
            email_field: None,
            email_verified_field: None,
            name_field: None,
        }
    }
}

/// Names that are parts of routes beside the providers'.
const RESERVED: [&str; 4] = ["exchange", "identities", "link", "providers"];

impl Social {
    pub(super) fn check(&self, wrong: &mut Wrong) {
        let is_page = |url: &String| is_return_url(url) && url.starts_with("http");
        wrong.expect(
            self.return_urls.iter().all(is_page),
            "social.return_urls",
            "expected https URLs, or http URLs on loopback; without user, query and fragment",
        );
        wrong.expect(
            self.app_return_urls.iter().all(|url| is_return_url(url)),
            "social.app_return_urls",
            "expected https URLs, http URLs on loopback, or URLs of an application's own scheme \
             with a dot in it; without user, query and fragment",
        );
        for (name, provider) in &self.providers {
            if let Some(expected) = name_fault(name).or_else(|| provider.fault()) {
                let text = format!("{name}: expected {expected}");
                wrong.expect(false, "social.providers", &text);
            }
        }
    }
}

fn name_fault(name: &str) -> Option<&'static str> {
    let plain = (1..=32).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    (!plain || RESERVED.contains(&name)).then_some(
        "a name of 1 to 32 lower-case letters, digits and hyphens, a letter first, other than \
         exchange, identities, link and providers",
    )
}

impl SocialProvider {
    /// What was expected instead, if something cannot be.
    fn fault(&self) -> Option<&'static str> {
        let printable =
            |text: &str| !text.is_empty() && text.len() <= 512 && !text.contains(char::is_control);
        if !printable(&self.client_id) {
            return Some("client_id");
        }
        if self
            .client_secret
            .as_ref()
            .is_some_and(|secret| secret.expose().is_empty())
        {
            return Some("a client_secret that is not empty");
        }
        if self
            .display_name
            .as_deref()
            .is_some_and(|name| !printable(name))
        {
            return Some("a display_name of printable characters");
        }
        // RFC 6749 §3.3: NQCHAR without the separator.
        let is_scope = |scope: &String| {
            !scope.is_empty()
                && scope
                    .bytes()
                    .all(|b| b.is_ascii_graphic() && !b"\"\\".contains(&b))
        };
        if !self.scopes.iter().flatten().all(is_scope) {
            return Some("scopes without spaces, quotes and backslashes");
        }
        if self.require.values().any(Vec::is_empty) {
            return Some("at least one value of each claim in require");
        }
        match self.kind {
            SocialKind::Oidc => self.oidc_fault(),
            SocialKind::OAuth2 | SocialKind::GitHub => self.oauth2_fault(),
        }
    }

    fn oidc_fault(&self) -> Option<&'static str> {
        let foreign = [
            &self.authorize_url,
            &self.token_url,
            &self.userinfo_url,
            &self.emails_url,
            &self.subject_field,
            &self.email_field,
            &self.email_verified_field,
            &self.name_field,
        ];
        if foreign.iter().any(|key| key.is_some()) {
            return Some("neither URLs nor fields with kind = \"oidc\": its metadata has them");
        }
        let issuer = self.issuer.as_deref();
        if !issuer.is_some_and(|text| is_endpoint(text) && !text.contains('?')) {
            return Some("issuer: an https URL without query, or http on loopback");
        }
        if self
            .scopes
            .as_ref()
            .is_some_and(|all| !all.iter().any(|scope| scope == "openid"))
        {
            return Some("openid among the scopes");
        }
        if self.algorithms.as_ref().is_some_and(Vec::is_empty) {
            return Some("at least one algorithm");
        }
        None
    }

    fn oauth2_fault(&self) -> Option<&'static str> {
        if self.issuer.is_some() || self.algorithms.is_some() {
            return Some("issuer and algorithms with kind = \"oidc\" only");
        }
        let urls = [
            &self.authorize_url,
            &self.token_url,
            &self.userinfo_url,
            &self.emails_url,
        ];
        if !urls.iter().copied().flatten().all(|url| is_endpoint(url)) {
            return Some("https URLs, or http on loopback");
        }
        let needed = [&urls[0..3], &[&self.subject_field]].concat();
        if self.kind == SocialKind::OAuth2 && needed.iter().any(|key| key.is_none()) {
            return Some("authorize_url, token_url, userinfo_url and subject_field");
        }
        None
    }
}

/// Whether this server may send a secret to `text`: TLS, or a host that is this machine.
pub(crate) fn is_endpoint(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
        && Url::parse(text).is_ok_and(|url| {
            let secure = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url));
            secure
                && url.username().is_empty()
                && url.password().is_none()
                && url.fragment().is_none()
        })
}

/// Whether the host is a loopback address, or the name that stands for one (RFC 6761 §6.3).
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Whether a query can be added to `text`, and a browser goes where it seems to go.
fn is_return_url(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else {
        return false;
    };
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !b"\\?#\"<>^`{|}".contains(&byte));
    plain
        && match url.scheme() {
            "http" | "https" => {
                is_endpoint(text) && text.starts_with(&format!("{}://", url.scheme()))
            }
            // A private-use scheme is a domain name turned round: those that browsers interpret
            // (`javascript`, `data`) have no dot.
            scheme => scheme.contains('.') && text.starts_with(&format!("{scheme}:")),
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_to_return_to_are_where_they_seem_to_be() {
        for good in [
            "https://app.example.com/",
            "https://app.example.com/welcome",
            "https://app.example.com:8443/welcome",
            "http://127.0.0.1:3000/cb",
            "http://[::1]:3000/cb",
            "http://localhost:3000/cb",
            "com.example.app:/cb",
            "com.example.app://cb",
        ] {
            assert!(is_return_url(good), "{good}");
        }
        for bad in [
            "",
            "/welcome",
            "//app.example.com/",
            "app.example.com",
            "http://app.example.com/",
            "HTTPS://app.example.com/",
            "https:/app.example.com/",
            "https:app.example.com/",
            "https:\\\\app.example.com/",
            "https://app.example.com\\@evil.example/",
            "https://user@app.example.com/",
            "https://user:password@app.example.com/",
            "https://app.example.com/?next=1",
            "https://app.example.com/#top",
            "https://app.example.com/ ",
            " https://app.example.com/",
            "https://app.example.com/\t",
            "java\tscript:alert(1)",
            "https://app.example.com/\u{0}",
            "https://äpp.example.com/",
            "javascript:alert(1)",
            "JaVaScRiPt:alert(1)",
            "data:text/html,x",
            "vbscript:x",
            "file:///etc/passwd",
            "blob:https://app.example.com/x",
            "myapp:/cb",
            "http://127.0.0.1.example.com/",
            "http://localhost.example.com/",
        ] {
            assert!(!is_return_url(bad), "{bad:?}");
        }
    }

    #[test]
    fn secrets_go_over_tls_or_nowhere() {
        for good in [
            "https://id.example.com",
            "https://id.example.com/realms/x",
            "http://127.0.0.1:3000",
            "http://localhost:3000/",
        ] {
            assert!(is_endpoint(good), "{good}");
        }
        for bad in [
            "http://id.example.com",
            "http://10.0.0.1/",
            "http://0.0.0.0/",
            "ftp://id.example.com",
            "https://user@id.example.com",
            "https://id.example.com/#x",
            "id.example.com",
            "",
        ] {
            assert!(!is_endpoint(bad), "{bad}");
        }
    }

    fn fault(text: &str) -> Option<&'static str> {
        toml::from_str::<SocialProvider>(text).unwrap().fault()
    }

    #[test]
    fn what_a_kind_needs_is_there_and_nothing_of_another() {
        let oidc = "client_id = 'c'\nissuer = 'https://id.example.com/'";
        let oauth2 = "kind = 'oauth2'\nclient_id = 'c'\nauthorize_url = 'https://a.example/'\n\
                      token_url = 'https://a.example/'\nuserinfo_url = 'https://a.example/'\n\
                      subject_field = 'id'";
        let github = "kind = 'github'\nclient_id = 'c'";
        for good in [oidc, oauth2, github] {
            assert_eq!(fault(good), None, "{good}");
        }
        for (kind, more) in [
            (oidc, "client_secret = ''"),
            (oidc, "scopes = ['email']"),
            (oidc, "scopes = ['openid', 'a b']"),
            (oidc, "scopes = ['openid', '']"),
            (oidc, "algorithms = []"),
            (oidc, "require = { hd = [] }"),
            (oidc, "display_name = ''"),
            (oidc, "display_name = \"a\\nb\""),
            (oidc, "token_url = 'https://a.example/'"),
            (oidc, "subject_field = 'sub'"),
            (oauth2, "issuer = 'https://id.example.com'"),
            (oauth2, "algorithms = ['RS256']"),
            (oauth2, "emails_url = 'http://a.example/'"),
            (github, "token_url = 'http://a.example/'"),
        ] {
            assert!(fault(&format!("{kind}\n{more}")).is_some(), "{more}");
        }
        for lacks in [
            "",
            "client_id = 'c'",
            "issuer = 'https://id.example.com'",
            "client_id = 'c'\nissuer = 'http://id.example.com'",
            "client_id = 'c'\nissuer = 'https://id.example.com?x'",
            "kind = 'github'",
            "kind = 'oauth2'\nclient_id = 'c'",
            &oauth2.replace("subject_field = 'id'", ""),
        ] {
            assert!(fault(lacks).is_some(), "{lacks}");
        }
        for unknown in [
            "x = 1",
            "kind = 'saml'",
            "algorithms = ['HS256']",
            "algorithms = ['none']",
        ] {
            assert!(
                toml::from_str::<SocialProvider>(unknown).is_err(),
                "{unknown}"
            );
        }
    }

    #[test]
    fn names_are_plain_and_no_other_route() {
        for good in ["google", "entra-id", "okta2", "a"] {
            assert_eq!(name_fault(good), None, "{good}");
        }
        for bad in [
            "",
            "Google",
            "a_b",
            "a/b",
            "-a",
            "2a",
            "é",
            "exchange",
            "identities",
            "link",
            "providers",
        ] {
            assert!(name_fault(bad).is_some(), "{bad}");
        }
        assert!(name_fault(&"a".repeat(33)).is_some());
    }
}
