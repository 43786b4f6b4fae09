//! Who sends tricks, what the policy lets them have, and what is to be seen of them upstream.

use std::fmt::Write as _;
use std::net::SocketAddr;

use edgekeep_shared::headers::must_strip;
use edgekeep_tests::gate::Gate;
use edgekeep_tests::http::find;
use edgekeep_tests::server::Request;
use serde_json::json;

use super::{HIDDEN, fields};
use crate::paths::readings;

/// Who sends a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Nobody,
    Member,
    Admin,
}

pub(super) const EVERYBODY: [Who; 3] = [Who::Nobody, Who::Member, Who::Admin];

impl Who {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Member => "member",
            Self::Admin => "admin",
        }
    }

    /// The identity fields that the upstream gets, in the order of their names.
    fn identity(self) -> Vec<(String, String)> {
        let (user, role) = match self {
            Self::Nobody => return Vec::new(),
            Self::Member => ("member-1", "member"),
            Self::Admin => ("admin-1", "admin"),
        };
        [
            ("x-auth-methods", "pwd"),
            ("x-customer-id", "customer-1"),
            ("x-session-id", "session-1"),
            ("x-user-id", user),
            ("x-user-permissions", "notes:read"),
            ("x-user-roles", role),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }
}

/// What the policy has at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Area {
    Public,
    Protected,
    Admin,
    Unknown,
}

impl Area {
    pub(super) fn of(path: &str) -> Self {
        let path = path.split('?').next().unwrap_or_default();
        let mut segments = path.split('/').filter(|segment| !segment.is_empty());
        match (segments.next(), segments.next()) {
            (Some("public"), _) => Self::Public,
            (Some("api"), Some("admin")) => Self::Admin,
            (Some("api"), _) => Self::Protected,
            _ => Self::Unknown,
        }
    }

    /// Why `who` may not go there, as an answer is written in [`Trial::expected`].
    pub(super) const fn refusal(self, who: Who) -> Option<&'static str> {
        match (self, who) {
            (Self::Unknown, _) => Some("403 route_unknown"),
            (Self::Protected | Self::Admin, Who::Nobody) => Some("401 token_missing"),
            (Self::Admin, Who::Member) => Some("403 insufficient_role"),
            _ => None,
        }
    }
}

/// Those whom the gate knows, by their tokens.
pub(crate) struct People {
    /// A member's token.
    pub(super) member: String,
    /// An administrator's token.
    pub(super) admin: String,
}

impl People {
    pub(crate) fn of(gate: &Gate) -> Self {
        Self {
            member: gate.token(&json!({"sub": "member-1"})),
            admin: gate.token(&json!({"sub": "admin-1", "roles": ["admin"]})),
        }
    }

    /// The `Authorization` line of `who`.
    pub(super) fn line(&self, who: Who) -> String {
        match who {
            Who::Nobody => String::new(),
            Who::Member => format!("Authorization: Bearer {}\r\n", self.member),
            Who::Admin => format!("Authorization: Bearer {}\r\n", self.admin),
        }
    }

    /// A trick as it goes over the wire: `{member}` and `{admin}` are tokens, `{hidden}` is the
    /// request to smuggle, `{length}` and `{hex}` its length, `{ff}` an octet that no text has.
    pub(super) fn write(&self, trick: &str) -> Vec<u8> {
        let text = trick
            .replace("{member}", &self.member)
            .replace("{admin}", &self.admin)
            .replace("{hidden}", HIDDEN)
            .replace("{length}", &HIDDEN.len().to_string())
            .replace("{hex}", &format!("{:x}", HIDDEN.len()));
        let mut bytes = Vec::with_capacity(text.len());
        for (index, part) in text.split("{ff}").enumerate() {
            if index > 0 {
                bytes.push(0xff);
            }
            bytes.extend(part.as_bytes());
        }
        bytes
    }

    /// What was on the wire as it stands in a table.
    fn read(&self, text: &str) -> String {
        text.replace(&self.member, "{member}")
            .replace(&self.admin, "{admin}")
            .replace(HIDDEN, "{hidden}")
    }

    /// Who has sent a request, by its one `Authorization`; one that says nothing is none.
    fn sender(&self, request: &Request) -> Who {
        let values = find(&request.headers, "authorization");
        let mut values = values.filter(|value| !value.is_empty());
        let token = match (values.next(), values.next()) {
            (Some(value), None) => value.rsplit(' ').next().unwrap_or_default(),
            _ => "",
        };
        if token == self.member {
            Who::Member
        } else if token == self.admin {
            Who::Admin
        } else {
            Who::Nobody
        }
    }

    /// Whether a request may be where it is: by the path that the most lenient upstream makes of
    /// its target, by its own credentials, and by the identity that it names.
    pub(crate) fn allows(&self, request: &Request) -> Result<(), String> {
        let served = readings(&request.target);
        served
            .iter()
            .try_for_each(|served| self.allows_at(served, request))
    }

    fn allows_at(&self, served: &str, request: &Request) -> Result<(), String> {
        let area = Area::of(served);
        let who = self.sender(request);
        let fault = |what: &str| Err(format!("{what}: {who:?} at {served}: {request:?}"));
        if let Some(refusal) = area.refusal(who) {
            return fault(refusal);
        }
        let mut said: Vec<(String, String)> = request
            .headers
            .iter()
            // By the names that are written down here too: what the gate has never heard of must not pass.
            .filter(|(name, value)| {
                (must_strip(name.as_bytes()) || fields::is_listed(name)) && !value.is_empty()
            })
            .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
            .collect();
        said.sort();
        // A gateway's word, beside the fields that it goes with.
        if area != Area::Public {
            said.retain(|(name, _)| name != "x-edgekeep-assertion");
        }
        let expected = if area == Area::Public {
            Vec::new()
        } else {
            who.identity()
        };
        if said == expected {
            Ok(())
        } else {
            fault("another identity")
        }
    }

    /// A request that has reached the upstream in one line: method, target, whose identity it has,
    /// the fields beyond the gate's own, and the body.
    pub(super) fn reached(&self, request: &Request, upstream: SocketAddr) -> String {
        let mut fields: Vec<(String, String)> = request
            .headers
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
            .collect();
        fields.sort();
        let identity: Vec<_> = fields
            .iter()
            .filter(|(name, _)| must_strip(name.as_bytes()))
            .cloned()
            .collect();
        let known = EVERYBODY.into_iter().find(|who| who.identity() == identity);
        if known.is_some() {
            fields.retain(|field| !identity.contains(field));
        }
        let who = known.map_or("somebody", Who::name);
        let mut own = vec![("host".to_owned(), upstream.to_string())];
        if known.is_some_and(|who| who != Who::Nobody) {
            let token = if known == Some(Who::Admin) {
                &self.admin
            } else {
                &self.member
            };
            own.push(("authorization".to_owned(), format!("Bearer {token}")));
            // What `no-store` makes of a request on its way.
            own.push(("cache-control".to_owned(), "no-cache".to_owned()));
            own.push(("pragma".to_owned(), "no-cache".to_owned()));
        }
        // A body has its length or its chunks, never both; without one there may be a length of 0.
        let is_framing = |name: &str| matches!(name, "content-length" | "transfer-encoding");
        let mut framing = fields.iter().filter(|(name, _)| is_framing(name));
        if let (Some((name, value)), None) = (framing.next(), framing.next())
            && (*value == request.body.len().to_string() || value == "chunked")
        {
            own.push((name.clone(), value.clone()));
        } else if !request.body.is_empty() {
            own.push(("framing".to_owned(), String::new()));
        }
        let mut line = format!("{} {} {who}", request.method, request.target);
        for (name, value) in own {
            match fields
                .iter()
                .position(|field| *field == (name.clone(), value.clone()))
            {
                Some(at) => drop(fields.remove(at)),
                None => {
                    // Writing to a String cannot fail.
                    let _ = write!(line, " without {name}");
                }
            }
        }
        // The gate's own, or the client's: any will do.
        if let Some(at) = fields.iter().position(|(name, _)| name == "x-request-id") {
            fields.remove(at);
        } else {
            line.push_str(" without x-request-id");
        }
        for (name, value) in &fields {
            // The platform opens every WebSocket by a key of its own.
            let value = if name == "sec-websocket-key" {
                "…"
            } else {
                value
            };
            let _ = write!(line, " [{name}: {}]", escape_controls(value));
        }
        if !request.body.is_empty() {
            let body = String::from_utf8_lossy(&request.body);
            let _ = write!(line, " {:?}", self.read(&body));
        }
        self.read(&line)
    }
}

fn escape_controls(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        if c.is_control() {
            escaped.extend(c.escape_debug());
        } else {
            escaped.push(c);
        }
    }
    escaped
}
