//! What another gateway asks: may this request pass?
//!
//! nginx, Caddy, Traefik and Envoy can ask before they send a request on. The answer is the same
//! decision as for a request to the gate itself; what differs is who carries the request, and
//! where the request line stands.
//!
//! Each kind of gateway says the request line in one place, and only that place is read. A gate
//! that took whichever it finds would let a client choose: nginx hands `X-Forwarded-Uri` on as the
//! client sent it, Caddy does so with `X-Original-URI`.

use edgekeep_shared::{
    headers,
    policy::{Caching, Policy, Rule},
};

/// Where questions arrive.
pub const PATH: &str = "/authz";

/// The gateway that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gateway {
    /// nginx's `auth_request`: `X-Original-Method` and `X-Original-URI`, as the configuration sets
    /// them; it understands 2xx, 401 and 403 only.
    Nginx,
    /// Caddy's `forward_auth` and Traefik's `ForwardAuth`: `X-Forwarded-Method` and
    /// `X-Forwarded-Uri`.
    Forwarded,
    /// Envoy's `ext_authz` over HTTP with `path_prefix: /authz`: the method is the question's own,
    /// the path what follows the prefix.
    Envoy,
}

/// The request line that a question is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
}

impl Gateway {
    /// The gateway by its name in `AUTHZ`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "nginx" => Some(Self::Nginx),
            "forwarded" => Some(Self::Forwarded),
            "envoy" => Some(Self::Envoy),
            _ => None,
        }
    }

    /// Whether a request for `path` is a question of this gateway.
    pub fn asks_at(self, path: &str) -> bool {
        match path.strip_prefix(PATH) {
            Some("") => true,
            Some(rest) => self == Self::Envoy && rest.starts_with('/'),
            None => false,
        }
    }

    /// The fields of the question that say the request line.
    const fn fields(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Nginx => Some(("x-original-method", "x-original-uri")),
            Self::Forwarded => Some(("x-forwarded-method", "x-forwarded-uri")),
            Self::Envoy => None,
        }
    }

    /// The field of the question that says the host of the request; none: `Host` does, as the client
    /// has sent it. Traefik names the gate in `Host`.
    pub const fn host_field(self) -> Option<&'static str> {
        match self {
            Self::Forwarded => Some("x-forwarded-host"),
            Self::Nginx | Self::Envoy => None,
        }
    }

    /// What is asked about, or nothing where the question does not say it, or says it twice.
    ///
    /// A target with a fragment (RFC 9112 §3.2 has none) is nothing either: the gateway sends it on as it
    /// came, and to some upstreams what follows the `#` is still path, `/public/x#/../../api/admin` in all.
    ///
    /// `method` and `path` are those of the question, `header` gives its fields.
    pub fn asked(
        self,
        method: &str,
        path: &str,
        header: impl Fn(&str) -> Option<String>,
    ) -> Option<Asked> {
        let (method, target) = match self.fields() {
            Some((method, target)) => (header(method)?, header(target)?),
            None => (method.to_owned(), path.strip_prefix(PATH)?.to_owned()),
        };
        // Fields that came twice are joined by a comma, which no method has.
        let is_method = (1..=32).contains(&method.len())
            && method
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte == b'-');
        let path = target.split('?').next().unwrap_or_default();
        let is_target = path.starts_with('/') && !target.contains('#');
        (is_method && is_target).then(|| Asked {
            method,
            path: path.to_owned(),
        })
    }

    /// Whether the upstream must not see the field `name`, which the gateway will send on: it
    /// claims an identity, or another request line than the one that is judged here.
    pub fn is_refused(self, name: &str) -> bool {
        let is_own = |(method, target): (&str, &str)| {
            name.eq_ignore_ascii_case(method) || name.eq_ignore_ascii_case(target)
        };
        headers::must_strip(name.as_bytes()) && !self.fields().is_some_and(is_own)
    }

    /// The status that the gateway understands for a refusal with `status`.
    pub const fn status(self, status: u16) -> u16 {
        match (self, status) {
            // nginx makes a 500 of everything else.
            (Self::Nginx, 401 | 403) | (Self::Forwarded | Self::Envoy, _) => status,
            (Self::Nginx, _) => 403,
        }
    }
}

/// What `rule` says that only whoever carries the request can do: the keys of it.
fn left_to_gateway(rule: &Rule) -> Vec<&'static str> {
    [
        ("cache", rule.caching() != Caching::Upstream),
        ("cors", rule.cors().is_some()),
        ("forward_authorization", !rule.forwards_authorization()),
        ("headers", rule.headers().next().is_some()),
        ("upstream", rule.upstream().is_some()),
    ]
    .into_iter()
    .filter_map(|(key, is_said)| is_said.then_some(key))
    .collect()
}

/// What to tell the operator of a gate that carries no request itself, texts for each rule of its
/// policy that says what such a gate cannot do.
pub fn cautions(policy: &Policy) -> impl Iterator<Item = String> {
    policy.rules().iter().flat_map(|rule| {
        let (line, keys) = (rule.line(), left_to_gateway(rule));
        let left = (!keys.is_empty()).then(|| {
            format!(
                "AUTHZ: the gate carries no requests, so what the rule on line {line} of the policy says \
                 by {} is left to whoever asks",
                keys.join(", ")
            )
        });
        // A question is no handshake, whatever it asks about.
        let closed = rule.takes_websocket_token().then(|| {
            format!(
                "AUTHZ: the gate opens no WebSocket, so the rule on line {line} of the policy, whose \
                 token_from is \"websocket\", lets nothing pass"
            )
        });
        left.into_iter().chain(closed)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Gateway; 3] = [Gateway::Nginx, Gateway::Forwarded, Gateway::Envoy];

    fn ask(gateway: Gateway, fields: &[(&str, &str)], path: &str) -> Option<(String, String)> {
        let header = |name: &str| {
            let found = fields.iter().find(|(field, _)| *field == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let asked = gateway.asked("PUT", path, header)?;
        Some((asked.method, asked.path))
    }

    fn said(method: &str, path: &str) -> (String, String) {
        (method.to_owned(), path.to_owned())
    }

    #[test]
    fn reads_the_one_place_that_the_gateway_writes() {
        let both = [
            ("x-original-method", "GET"),
            ("x-original-uri", "/api/me?x=1"),
            ("x-forwarded-method", "POST"),
            ("x-forwarded-uri", "/public?y=2"),
        ];
        assert_eq!(
            ask(Gateway::Nginx, &both, PATH),
            Some(said("GET", "/api/me"))
        );
        assert_eq!(
            ask(Gateway::Forwarded, &both, PATH),
            Some(said("POST", "/public"))
        );
        assert_eq!(
            ask(Gateway::Envoy, &both, "/authz/api/pay"),
            Some(said("PUT", "/api/pay"))
        );
    }

    #[test]
    fn rejects_a_question_without_a_request_line() {
        for (method, uri) in [
            ("", "/api"),
            ("GET, POST", "/api"),
            ("get", "/api"),
            ("GET ", "/api"),
            ("GET", ""),
            ("GET", "api"),
            ("GET", "?x=/api"),
            ("GET", "#/api"),
            ("GET", "*"),
            ("GET", "http://upstream/api"),
            ("GET", "example.com:443"),
            ("GET", "/public/x#/../../api/admin"),
            ("GET", "/public/x#"),
            ("GET", "/public/x?y#z"),
        ] {
            let fields = [("x-original-method", method), ("x-original-uri", uri)];
            assert_eq!(ask(Gateway::Nginx, &fields, PATH), None, "{method} {uri}");
        }
        let method_alone = [("x-original-method", "GET")];
        assert_eq!(ask(Gateway::Nginx, &method_alone, PATH), None);
        let uri_alone = [("x-forwarded-uri", "/api")];
        assert_eq!(ask(Gateway::Forwarded, &uri_alone, PATH), None);
        assert_eq!(ask(Gateway::Envoy, &[], PATH), None);
        assert_eq!(ask(Gateway::Envoy, &[], "/authz/public/x#y"), None);
    }

    #[test]
    fn names_the_rules_that_it_cannot_carry_out() {
        let policy = "
            [[route]]
            match = '/a'
            cache = 'no-store'
            upstream = 'http://other.internal'
            headers = { X-Edge = 'eu' }
            cors = { origins = ['*'] }
            [[route]]
            match = '/b'
            token_from = { cookie = 'at' }
            allowed_origins = ['https://app.example']
            forward_authorization = true
            report_only = true
            [[route]]
            match = '/c'
            forward_authorization = false
            [[route]]
            match = '/d'
            token_from = 'websocket'
            allowed_origins = ['https://app.example']";
        let policy = Policy::parse(policy).unwrap();
        let said: Vec<String> = cautions(&policy).collect();
        let expected = [
            ("line 2 ", "by cache, cors, headers, upstream is"),
            ("line 14 ", "by forward_authorization is"),
            ("line 17 ", "\"websocket\", lets nothing pass"),
        ];
        assert_eq!(said.len(), expected.len(), "{said:?}");
        for (said, (line, keys)) in said.iter().zip(expected) {
            assert!(said.contains(line) && said.contains(keys), "{said}");
        }
    }

    #[test]
    fn is_asked_at_one_path() {
        for gateway in ALL {
            assert!(gateway.asks_at("/authz"));
            assert!(!gateway.asks_at("/authz2") && !gateway.asks_at("/Authz"));
            assert!(!gateway.asks_at("/") && !gateway.asks_at("/api/authz"));
            assert_eq!(gateway.asks_at("/authz/x"), gateway == Gateway::Envoy);
        }
    }

    #[test]
    fn takes_no_claim_but_the_gateways_own() {
        for gateway in ALL {
            for name in [
                "x-user-id",
                "X_User_Id",
                "x-http-method-override",
                "remote-user",
            ] {
                assert!(gateway.is_refused(name), "{gateway:?} {name}");
            }
            for name in ["authorization", "cookie", "x-forwarded-for", "x-request-id"] {
                assert!(!gateway.is_refused(name), "{gateway:?} {name}");
            }
        }
        assert!(!Gateway::Nginx.is_refused("X-Original-URI"));
        assert!(Gateway::Nginx.is_refused("x_original_uri"));
        assert!(Gateway::Nginx.is_refused("x-forwarded-uri"));
        assert!(!Gateway::Forwarded.is_refused("x-forwarded-method"));
        assert!(Gateway::Forwarded.is_refused("x-original-uri"));
        assert!(Gateway::Envoy.is_refused("x-original-uri"));
    }

    #[test]
    fn says_to_nginx_what_it_understands() {
        for (status, nginx) in [(400, 403), (401, 401), (403, 403), (429, 403), (503, 403)] {
            assert_eq!(Gateway::Nginx.status(status), nginx);
            assert_eq!(Gateway::Forwarded.status(status), status);
            assert_eq!(Gateway::Envoy.status(status), status);
        }
    }
}
