//! A request as JavaScript hands it over: one text, taken apart here.

use edgekeep_shared::gate;

use crate::authz::{Asked, Gateway};

/// A request, and what it asks about.
#[derive(Debug, Default)]
pub struct Incoming<'t> {
    method: &'t str,
    path: &'t str,
    /// With its question mark, if there is one.
    query: &'t str,
    is_https: bool,
    /// Names in lower case, several of one name joined by a comma: `Headers` iterates so.
    fields: Vec<(&'t str, &'t str)>,
    /// The gateway that asks about the request, where the gate does not carry it itself.
    asker: Option<Gateway>,
    asked: Option<Asked>,
}

impl<'t> Incoming<'t> {
    /// Takes `text` apart: the number of header fields, the method, the URL, and name and value of
    /// each field, all on lines of their own; `authz` is the gateway whose questions are answered.
    ///
    /// Nothing, if that is not what it is. No part of a request can hold a line feed, and if one
    /// did, the number of fields would be wrong.
    pub fn parse(text: &'t str, authz: Option<Gateway>) -> Option<Self> {
        let mut lines = text.split('\n');
        let count: usize = lines.next()?.parse().ok()?;
        let (method, url) = (lines.next()?, lines.next()?);
        // Not as many as it says, before that many are there.
        let mut fields = Vec::with_capacity(count.min(64));
        while let Some(name) = lines.next() {
            fields.push((name, lines.next()?));
        }
        if fields.len() != count {
            return None;
        }
        let (path, query) = split_url(url);
        let asker = authz.filter(|gateway| gateway.asks_at(path));
        let mut incoming = Self {
            method,
            path,
            query,
            is_https: url.starts_with("https://"),
            fields,
            asker,
            asked: None,
        };
        // A fragment is cut off from what the gate sends on, but not from what a gateway does. `workerd` has
        // cut it off already.
        incoming.asked = asker
            .filter(|_| !url.contains('#'))
            .and_then(|gateway| incoming.read_question(gateway));
        Some(incoming)
    }

    /// What the gateway asks about; nothing where it does not say, or where the request has a
    /// header field that the upstream must not see.
    fn read_question(&self, gateway: Gateway) -> Option<Asked> {
        if self.names().any(|name| gateway.is_refused(name)) {
            return None;
        }
        let header = |name: &str| self.header(name).map(str::to_owned);
        gateway.asked(self.method, self.path, header)
    }

    /// The value of a header field; `name` is in lower case.
    pub fn header(&self, name: &str) -> Option<&'t str> {
        let found = self.fields.iter().find(|(own, _)| *own == name);
        found.map(|(_, value)| *value)
    }

    /// The names of the header fields.
    pub fn names(&self) -> impl Iterator<Item = &'t str> {
        self.fields.iter().map(|(name, _)| *name)
    }

    /// The query with its question mark; empty without one.
    pub const fn query(&self) -> &'t str {
        self.query
    }

    /// The gateway that asks, if one does.
    pub const fn asker(&self) -> Option<Gateway> {
        self.asker
    }

    /// Whether it is a question that does not say what it asks about.
    pub const fn is_unclear(&self) -> bool {
        self.asker.is_some() && self.asked.is_none()
    }

    /// Whether it came over TLS, as far as the platform knows: whoever ends TLS before it has it to say
    /// so by itself.
    pub const fn is_https(&self) -> bool {
        self.is_https
    }

    /// Whether nobody has said, in one plain word, which host the request that is asked about is for.
    pub fn lacks_host(&self) -> bool {
        self.asker.is_some() && self.host().is_none()
    }

    /// The host that the request is for. Of a question it is nothing where the gateway has not said it
    /// once and plainly.
    fn host(&self) -> Option<&'t str> {
        match self.asker.map(Gateway::host_field) {
            None => self.header("host"),
            Some(field) => self
                .header(field.unwrap_or("host"))
                .filter(|host| is_plain_host(host)),
        }
    }

    /// The client's correlation id, if it is a plain word.
    pub fn request_id(&self) -> Option<&'t str> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        self.header("x-request-id")
            .filter(|id| (1..=128).contains(&id.len()) && id.bytes().all(plain))
    }

    /// Whether `Host` is a host and nothing more, if there is one. workerd splices it into the
    /// request's URL as it is: `Host: a/public?` would put another path before the one on the
    /// request line.
    pub fn has_plain_host(&self) -> bool {
        self.header("host").is_none_or(is_plain_host)
    }

    /// Whether it opens a WebSocket: by GET (RFC 6455 §4.1), and `Upgrade` asks for that and for nothing
    /// else. A question is about another request than itself, and opens none.
    pub fn is_handshake(&self) -> bool {
        let is_websocket = |protocol: &str| protocol.eq_ignore_ascii_case("websocket");
        self.asker.is_none()
            && self.method == "GET"
            && self.header("upgrade").is_some_and(is_websocket)
    }

    /// What the decision is about.
    pub fn parts(&self) -> gate::Request<'_> {
        let asked = self.asked.as_ref();
        let method = asked.map_or(self.method, |asked| &asked.method);
        let is_preflight = method == "OPTIONS";
        let preflight = |name| self.header(name).filter(|_| is_preflight);
        let origin = self.header("origin");
        gate::Request {
            method,
            path: asked.map_or(self.path, |asked| &asked.path),
            host: self.host(),
            authorization: self.header("authorization"),
            cookie: self.header("cookie"),
            origin,
            // Gateways that ask leave `Upgrade` out, so what a page of some origin asks for may be
            // one.
            upgrade: if self.asker.is_some() {
                origin.is_some()
            } else {
                self.header("upgrade").is_some()
            },
            preflight_method: preflight("access-control-request-method"),
            preflight_headers: preflight("access-control-request-headers"),
            websocket_protocols: self
                .header("sec-websocket-protocol")
                .filter(|_| self.is_handshake()),
        }
    }
}

fn is_plain_host(host: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    !host.is_empty() && host.bytes().all(plain)
}

/// Path and query as they stand in `url`; the query keeps its question mark.
///
/// The text is cut, not parsed: a URL parser would resolve what the canonicaliser has to see.
fn split_url(url: &str) -> (&str, &str) {
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    let rest = &url[after_scheme..];
    let target = rest.find(['/', '?', '#']).map_or("", |at| &rest[at..]);
    let target = target.split('#').next().unwrap_or_default();
    match target.find('?') {
        Some(at) => (&target[..at], &target[at..]),
        None => (target, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_a_request_apart() {
        let text = "2\nGET\nhttp://gate.example/a//b?x=1#y\nauthorization\nBearer a.b.c\nhost\ngate.example";
        let incoming = Incoming::parse(text, None).unwrap();
        let parts = incoming.parts();
        assert_eq!((parts.method, parts.path), ("GET", "/a//b"));
        assert_eq!(incoming.query(), "?x=1");
        assert_eq!(parts.authorization, Some("Bearer a.b.c"));
        assert_eq!(parts.host, Some("gate.example"));
        assert_eq!((parts.cookie, parts.upgrade), (None, false));
        assert!(incoming.has_plain_host());
        assert_eq!(incoming.request_id(), None);
    }

    #[test]
    fn takes_nothing_that_does_not_add_up() {
        for text in [
            "",
            "0",
            "0\nGET",
            "x\nGET\n/",
            "-1\nGET\n/",
            "1\nGET\n/",
            "0\nGET\n/\na\nb",
            "1\nGET\n/\na",
            // A value with a line feed would be two fields.
            "1\nGET\n/\na\nb\nauthorization\nBearer x",
            "18446744073709551616\nGET\n/",
        ] {
            assert!(Incoming::parse(text, None).is_none(), "{text:?}");
        }
        assert!(Incoming::parse("0\nGET\n/", None).is_some());
        assert!(Incoming::parse("1\nGET\n/\nx-empty\n", None).is_some());
    }

    #[test]
    fn cuts_a_url_where_it_stands() {
        for (url, expected) in [
            ("http://h/a?b", ("/a", "?b")),
            ("http://h", ("", "")),
            ("http://h?a/b", ("", "?a/b")),
            ("http://h/a#b?c", ("/a", "")),
            ("http://h/../a//b", ("/../a//b", "")),
            ("/a?b", ("/a", "?b")),
        ] {
            assert_eq!(split_url(url), expected, "{url}");
        }
    }

    #[test]
    fn knows_a_plain_host_and_a_plain_word() {
        for (host, plain) in [
            ("gate.example:8080", true),
            ("[::1]:80", true),
            ("", false),
            ("a/public?", false),
            ("a b", false),
            ("a#", false),
        ] {
            let text = format!("2\nGET\n/\nhost\n{host}\nx-request-id\n{host}");
            let incoming = Incoming::parse(&text, None).unwrap();
            assert_eq!(incoming.has_plain_host(), plain, "{host}");
            assert_eq!(incoming.request_id(), None, "{host}");
        }
        let text = format!("1\nGET\n/\nx-request-id\n{}", "a".repeat(128));
        let incoming = Incoming::parse(&text, None).unwrap();
        assert_eq!(incoming.request_id().map(str::len), Some(128));
        let text = format!("1\nGET\n/\nx-request-id\n{}", "a".repeat(129));
        let incoming = Incoming::parse(&text, None).unwrap();
        assert_eq!(incoming.request_id(), None);
    }

    #[test]
    fn a_token_stands_in_a_handshake_and_in_no_other_request() {
        for (method, upgrade, gateway, is_one) in [
            ("GET", "websocket", None, true),
            ("GET", "WebSocket", None, true),
            ("GET", "h2c", None, false),
            ("GET", "websocket, h2c", None, false),
            ("POST", "websocket", None, false),
            ("DELETE", "websocket", None, false),
            ("get", "websocket", None, false),
            ("GET", "websocket", Some(Gateway::Envoy), false),
        ] {
            let text = format!(
                "2\n{method}\nhttp://h/authz/x\nupgrade\n{upgrade}\nsec-websocket-protocol\nchat"
            );
            let incoming = Incoming::parse(&text, gateway).unwrap();
            let protocols = incoming.parts().websocket_protocols;
            assert_eq!(
                protocols.is_some(),
                is_one,
                "{method} {upgrade} {gateway:?}"
            );
            assert_eq!(
                incoming.is_handshake(),
                is_one,
                "{method} {upgrade} {gateway:?}"
            );
        }
    }

    #[test]
    fn reads_the_question_of_its_gateway() {
        let text = "3\nGET\nhttp://h/authz\norigin\nhttps://a\nx-original-method\nPUT\nx-original-uri\n/api/x?y";
        let incoming = Incoming::parse(text, Some(Gateway::Nginx)).unwrap();
        let parts = incoming.parts();
        assert_eq!((parts.method, parts.path), ("PUT", "/api/x"));
        assert!(parts.upgrade && !incoming.is_unclear());
        let other = Incoming::parse(text, Some(Gateway::Forwarded)).unwrap();
        assert!(other.is_unclear());
        assert_eq!(other.parts().path, "/authz");
        let nobody = Incoming::parse(text, None).unwrap();
        assert!(nobody.asker().is_none() && !nobody.is_unclear());
    }
}
