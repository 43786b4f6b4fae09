//! Sending on what may pass: what the upstream gets, and what it does not.

use edgekeep_shared::{
    gate::{Forward, identity_headers},
    headers,
    policy::{Policy, Rule},
    time::UnixTime,
    verifier::VerifiedToken,
};

use crate::{answer::Fields, config::Config, incoming::Incoming};

pub use edgekeep_shared::assertion::HEADER as ASSERTION;

/// Where a WebSocket handshake offers its subprotocols.
const PROTOCOLS: &str = "sec-websocket-protocol";

/// Where a browser sends its cookies.
const COOKIE: &str = "cookie";

/// The request that the upstream gets: the same method and body, the canonical path, no identity
/// but the verified one.
#[derive(Debug)]
pub struct Outgoing<'o> {
    /// Where it goes.
    pub url: String,
    /// The header fields of the incoming request that it does not get.
    pub removed: Vec<&'o str>,
    /// The header fields that it gets besides, after that, in place of any others of the same name.
    pub set: Fields<'o>,
    /// Whether nothing between here and there may keep the answer.
    pub is_private: bool,
}

/// The request that the upstream gets for `incoming`, which `policy` lets pass.
pub fn request<'o>(
    incoming: &Incoming<'o>,
    forward: &'o Forward<'_, '_>,
    policy: &Policy,
    config: &Config,
    request_id: &str,
    now: UnixTime,
) -> Outgoing<'o> {
    let mut set = Vec::with_capacity(10);
    set.push(("X-Request-ID", request_id.to_owned()));
    if forward.rule.takes_websocket_token() {
        let others = incoming
            .header(PROTOCOLS)
            .and_then(headers::without_websocket_token);
        set.extend(others.map(|others| (PROTOCOLS, others)));
    }
    if let Some(name) = withheld_cookie(forward.rule) {
        let others = incoming
            .header(COOKIE)
            .and_then(|cookies| headers::without_cookie(cookies, name));
        set.extend(others.map(|others| (COOKIE, others)));
    }
    for (name, value) in forward.rule.headers() {
        set.push((name, value.to_owned()));
    }
    if let Some(token) = &forward.token {
        let method = incoming.parts().method.to_owned();
        set.extend(identity(config, token, forward, &method, now));
    }
    Outgoing {
        url: format!("{}{}", url(config, forward), incoming.query()),
        removed: removed(incoming, policy, forward.rule),
        set,
        // The platform caches by extension and path, not by who asked: `/api/me.css` of one
        // person would be served to the next. It adds `Cache-Control: no-cache` on the way.
        is_private: !forward.rule.is_public(),
    }
}

/// The cookie whose token is nothing for the upstream.
fn withheld_cookie(rule: &Rule) -> Option<&str> {
    rule.token_cookie()
        .filter(|_| !rule.forwards_authorization())
}

/// Every name that could pass for one of ours, or for one that a rule sets, and what `Connection` names;
/// what is ours is added after that, so that nobody can have it taken away again.
fn removed<'t>(incoming: &Incoming<'t>, policy: &Policy, rule: &Rule) -> Vec<&'t str> {
    // The platform sends whatever has the field as a handshake: a POST would reach the upstream as a
    // GET, which is not what the policy has judged.
    let is_handshake = incoming.is_handshake();
    let listed: Vec<&str> = incoming
        .header("connection")
        .into_iter()
        .flat_map(headers::connection_options)
        .filter(|name| headers::is_removable_by_connection(name))
        .collect();
    let is_unwanted = |name: &str| {
        let unwanted = headers::must_strip(name.as_bytes())
            || policy.sets_header(name.as_bytes())
            || headers::is_hop_by_hop(name)
            || listed
                .iter()
                .any(|listed| listed.eq_ignore_ascii_case(name));
        (unwanted && !(is_handshake && name.eq_ignore_ascii_case("upgrade")))
            // The platform has told the client to go on: the upstream's own word would come too late.
            || name.eq_ignore_ascii_case("expect")
            || (!rule.forwards_authorization() && name.eq_ignore_ascii_case("authorization"))
            || (rule.takes_websocket_token() && name.eq_ignore_ascii_case(PROTOCOLS))
            || (withheld_cookie(rule).is_some() && name.eq_ignore_ascii_case(COOKIE))
            || (!rule.forwards_second_place() && headers::is_second_place(name.as_bytes()))
    };
    incoming.names().filter(|name| is_unwanted(name)).collect()
}

/// The upstream of a request: its rule's, or the gate's.
fn base<'c>(config: &'c Config, forward: &'c Forward<'_, '_>) -> &'c str {
    forward.rule.upstream().unwrap_or(&config.upstream_url)
}

/// Where a request goes, without its query.
fn url(config: &Config, forward: &Forward<'_, '_>) -> String {
    format!("{}{}", base(config, forward), forward.path.as_str())
}

/// Who is asking: the verified identity, and the gate's word for it where the gate has a key to give
/// it by.
pub fn identity(
    config: &Config,
    token: &VerifiedToken,
    forward: &Forward<'_, '_>,
    method: &str,
    now: UnixTime,
) -> Fields<'static> {
    let mut fields: Fields<'_> = identity_headers(token).collect();
    if let Some(key) = &config.assertion_key {
        let url = url(config, forward);
        let assertion = key.sign(token, base(config, forward), method, &url, now);
        fields.push((ASSERTION, assertion));
    }
    fields
}

#[cfg(test)]
mod tests {
    use edgekeep_shared::{gate::ListUse, path::canonicalise};

    use super::*;

    const POLICY: &str = "
        [[route]]
        match = '/tenant/**'
        access = 'public'
        headers = { X-Tenant = 'acme' }

        [[route]]
        match = '/files/**'
        methods = ['GET', 'COPY']

        [[route]]
        match = '/app/**'
        token_from = { cookie = 'at' }
        allowed_origins = ['https://app.example']

        [[route]]
        match = '/both/**'
        token_from = { cookie = 'at' }
        allowed_origins = ['https://app.example']
        forward_authorization = true

        [[route]]
        match = '/live'
        token_from = 'websocket'
        allowed_origins = ['https://app.example']

        [[route]]
        match = '/**'";

    /// The fields of a request that its upstream does not get.
    fn taken_away(method: &str, path: &str, names: &[&str]) -> Vec<String> {
        let policy = Policy::parse(POLICY).unwrap();
        let fields: Vec<String> = names.iter().map(|name| format!("{name}\nx")).collect();
        let text = format!(
            "{}\n{method}\nhttp://gate.example{path}\n{}",
            fields.len(),
            fields.join("\n")
        );
        let incoming = Incoming::parse(&text, None).unwrap();
        let path = canonicalise(path).unwrap();
        let forward = Forward {
            rule: policy.find(None, method, &path).unwrap(),
            path,
            token: None,
            cached: false,
            list: ListUse::default(),
            reported: None,
        };
        let removed = removed(&incoming, &policy, forward.rule);
        removed.into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn what_a_rule_sets_no_client_says_in_any_spelling_on_any_route() {
        let spellings = ["x-tenant", "x_tenant", "x.tenant", "xtenant", "x--tenant_"];
        let others = ["x-tenants", "x-tenan", "tenant", "accept"];
        let names = [&spellings[..], &others].concat();
        for path in ["/tenant/1", "/elsewhere"] {
            assert_eq!(taken_away("GET", path, &names), spellings, "{path}");
        }
    }

    #[test]
    fn a_second_place_is_for_rules_that_name_their_methods() {
        let names = [
            "destination",
            "destination_",
            "x-amz-copy-source",
            "destinations",
            "overwrite",
        ];
        for (method, path, expected) in [
            ("COPY", "/files/1", &names[..0]),
            ("COPY", "/elsewhere", &names[..3]),
            ("GET", "/elsewhere", &names[..3]),
        ] {
            assert_eq!(
                taken_away(method, path, &names),
                expected,
                "{method} {path}"
            );
        }
    }
}
