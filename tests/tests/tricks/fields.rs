//! What the fields of a header claim, in every spelling, and what of it reaches the upstream.

use super::{HOST, People, Trial, Who};

/// What the gate makes of the fields of a request that may pass.
#[derive(Clone, Copy)]
enum Kept {
    /// Nothing of them reaches the upstream.
    Nothing,
    /// These do, and nothing else: names in lower case, in their order.
    Fields(&'static str),
    /// The gate refuses the request as this, whoever asks.
    Refused(&'static str),
}

use Kept::{Fields, Nothing, Refused};

/// Names under which an identity might reach some upstream: their values are a client's word.
const IDENTITY: &[&str] = &[
    "X-User-ID",
    "x-user-id",
    "X-USER-ID",
    "X_User_ID",
    "x_user_id",
    "X.User.ID",
    "X-User_ID",
    "X-UserID",
    "XUserID",
    "x--user--id",
    "X-User.Id",
    "X_USER-ID",
    "X-User-ID-",
    "-X-User-ID",
    "_X_User_ID",
    "X-User-ID!",
    "X~User~ID",
    "X|User|ID",
    "X*User*ID",
    "X'User'ID",
    "X+User+ID",
    "X$User$ID",
    "X%User%ID",
    "X&User&ID",
    "X#User#ID",
    "X^User^ID",
    "X`User`ID",
    "X-User-Roles",
    "x_user_roles",
    "X.User.Roles",
    "XUSERROLES",
    "X-User-Permissions",
    "x_user_permissions",
    "X-Customer-ID",
    "X_Customer_Id",
    "X-Session-ID",
    "x.session.id",
    "X-KYC-Level",
    "X_KYC_Level",
    "x.kyc.level",
    "X-Auth-Methods",
    "x_auth_methods",
    "X-Edgekeep-Assertion",
    "x_edgekeep_assertion",
    "X.Edgekeep.Assertion",
    "X-Edgekeep-Status",
    "X-Edgekeep-Anything-At-All",
    "XEdgekeepFoo",
    // What other gates call the person.
    "Remote-User",
    "REMOTE_USER",
    "X-Remote-User",
    "X-Forwarded-User",
    "x_forwarded_user",
    "X-Forwarded-Email",
    "X-Forwarded-Groups",
    "X-Forwarded-Preferred-Username",
    "X-Forwarded-Access-Token",
    "X-Auth-Request-User",
    "X_Auth_Request_Email",
    "X-Auth-Request-Groups",
    "X.Auth.Request.Preferred.Username",
    "X-Auth-Request-Access-Token",
    "Remote-Groups",
    "REMOTE_GROUPS",
    "Remote-Email",
    "Remote-Name",
    "X-Remote-Group",
    "X-Remote-Extra-Scopes",
    "X-WEBAUTH-USER",
    "x_webauth_role",
    "X-Consumer-ID",
    "X-Consumer-Custom-Id",
    "X-Consumer-Groups",
    "X-Credential-Identifier",
    "X-Anonymous-Consumer",
    "X-Authenticated-Userid",
    "X-Authenticated-Groups",
    "X-Goog-Authenticated-User-Email",
    "X-Goog-Authenticated-User-ID",
    "X-Amzn-Oidc-Identity",
    "x_amzn_oidc_data",
    "X-MS-Client-Principal",
    "X-MS-CLIENT-PRINCIPAL-NAME",
    "X-authentik-username",
    "X-Vouch-User",
    "X-Pomerium-Claim-Email",
    "Cf-Access-Authenticated-User-Email",
    "CF_ACCESS_AUTHENTICATED_USER_EMAIL",
    "Tailscale-User-Login",
    "X-Userinfo",
    "X-ID-Token",
    "X-Endpoint-API-UserInfo",
    "X-Apigateway-Api-Userinfo",
    "X-User",
    "X-Auth-User",
    "x_auth_user",
    "X-JWT-Payload",
    "OIDC-Claim-Sub",
    "OIDC_CLAIM_EMAIL",
    "Shib-Session-ID",
    "Mellon-Name-ID",
    "Impersonate-User",
    "Impersonate-Group",
    "Impersonate-Uid",
    "Impersonate-Extra-Scopes",
    // What certificate they say the person has shown.
    "X-Forwarded-Client-Cert",
    "X_Forwarded_Client_Cert",
    "X-Forwarded-Tls-Client-Cert",
    "X-Forwarded-Tls-Client-Cert-Info",
    "X-Amzn-Mtls-Clientcert-Subject",
    "X-ARR-ClientCert",
    "X-Client-Cert",
    "X-Client-Certificate",
    "X-Client-DN",
    "X-Client-Verify",
    "X-SSL-Cert",
    "X-SSL-Client-Verify",
    "x_ssl_client_s_dn",
    "Ssl-Client-Verify",
    "SSL_CLIENT_S_DN",
    "Client-Cert",
    "Client-Cert-Chain",
];

/// Names by which some upstreams let a request name another path or method.
const OVERRIDES: &[&str] = &[
    "X-Original-URL",
    "X_Original_URL",
    "x.original.url",
    "X-Original-URI",
    "X-Original-Path",
    "X-Original-Method",
    "X-Rewrite-URL",
    "X-Rewrite-Uri",
    "X-Forwarded-Uri",
    "X-Forwarded-Url",
    "X-Forwarded-Path",
    "X-Forwarded-Prefix",
    "X-Forwarded-Method",
    "X_Forwarded_Prefix",
    "X-Replaced-Path",
    "X-Request-Uri",
    "X-Script-Name",
    "X-Envoy-Original-Path",
    "X-Waws-Unencoded-Url",
    "X-HTTP-Method",
    "X-HTTP-Method-Override",
    "X_HTTP_Method_Override",
    "X-Method-Override",
    "X-Middleware-Subrequest",
    "Script-Name",
    "SCRIPT_NAME",
    "script.name",
    "Path-Info",
    "PATH_INFO",
    "X-Sendfile-Type",
    "X-Accel-Mapping",
    "x_accel_mapping",
];

/// Whether it is one of these names, however it is capitalised.
pub(super) fn is_listed(name: &str) -> bool {
    let mut listed = IDENTITY.iter().chain(OVERRIDES);
    listed.any(|listed| listed.eq_ignore_ascii_case(name))
}

/// The lines of a header, each row a trick by itself.
const LINES: &[(&str, Kept)] = &[
    // Twice, empty, and beside each other.
    ("X-User-ID: root\r\nX-User-ID: member-1\r\n", Nothing),
    ("X-User-ID:\r\n", Nothing),
    ("X-User-ID: \r\nX_User_ID: root\r\n", Nothing),
    ("x-user-id:root\r\nX-User-Roles:admin\r\n", Nothing),
    (
        "X-User-ID: a,root\r\nX-User-Roles: member,admin\r\n",
        Nothing,
    ),
    // What is for one hop only.
    ("TE: trailers\r\n", Nothing),
    ("TE: trailers, chunked\r\n", Nothing),
    ("Trailer: X-User-ID\r\n", Nothing),
    ("Keep-Alive: timeout=5\r\n", Nothing),
    ("Proxy-Connection: keep-alive\r\n", Nothing),
    ("Proxy-Authorization: Basic cm9vdDo=\r\n", Nothing),
    ("Proxy-Authenticate: Basic\r\n", Nothing),
    ("HTTP2-Settings: AAMAAABkAAQAAP__\r\n", Nothing),
    ("Connection: keep-alive\r\n", Nothing),
    ("Connection: close\r\n", Nothing),
    ("Connection: X-Hop\r\nX-Hop: 1\r\n", Nothing),
    ("connection: x-HOP\r\nX-hop: 1\r\n", Nothing),
    ("X-Hop: 1\r\nConnection: close, X-Hop\r\n", Nothing),
    (
        "Connection: a\r\nConnection: X-Hop\r\nX-Hop: 1\r\n",
        Nothing,
    ),
    ("Connection: ,,X-Hop,\r\nX-Hop: 1\r\n", Nothing),
    ("Connection:\tX-Hop\r\nX-Hop: 1\r\n", Nothing),
    ("Connection: Range\r\nRange: bytes=0-1\r\n", Nothing),
    (
        "Connection: \"X-Hop\"\r\nX-Hop: 1\r\n",
        Fields("[x-hop: 1]"),
    ),
    (
        "Connection: X-Hop X-Other\r\nX-Hop: 1\r\n",
        Fields("[x-hop: 1]"),
    ),
    ("Connection: X-Hop;x\r\nX-Hop: 1\r\n", Fields("[x-hop: 1]")),
    (
        "Connection_: X-Own\r\nX-Own: 1\r\n",
        Fields("[connection_: X-Own] [x-own: 1]"),
    ),
    // What is for one hop takes nothing away that a request is judged, framed or known by.
    ("Connection: X-User-ID\r\n", Nothing),
    (
        "Connection: X-User-ID, X-User-Roles, X-Session-ID\r\n",
        Nothing,
    ),
    ("Connection: X-User-ID\r\nX-User-ID: root\r\n", Nothing),
    (
        "Connection: close, X_User_ID\r\nX_User_ID: root\r\n",
        Nothing,
    ),
    ("Connection: Authorization\r\n", Nothing),
    ("Connection: Host\r\n", Nothing),
    ("Connection: X-Request-ID\r\n", Nothing),
    ("Connection: Content-Length\r\n", Nothing),
    ("Connection: Transfer-Encoding\r\n", Nothing),
    ("Connection: Cache-Control, Pragma\r\n", Nothing),
    (
        "Connection: Cookie\r\nCookie: a=1\r\n",
        Fields("[cookie: a=1]"),
    ),
    (
        "Connection: X-Real-IP, CF-Ray\r\nX-Real-IP: 192.0.2.1\r\nCF-Ray: 1\r\n",
        Fields("[cf-ray: 1] [x-real-ip: 192.0.2.1]"),
    ),
    (
        "Connection: Origin\r\nOrigin: null\r\n",
        Fields("[origin: null]"),
    ),
    (
        "Connection: Content-Type\r\nContent-Type: text/plain\r\n",
        Fields("[content-type: text/plain]"),
    ),
    (
        "Connection: X-Forwarded-For\r\nX-Forwarded-For: 192.0.2.1\r\n",
        Fields("[x-forwarded-for: 192.0.2.1]"),
    ),
    (
        "Connection: Forwarded\r\nForwarded: for=192.0.2.1\r\n",
        Fields("[forwarded: for=192.0.2.1]"),
    ),
    ("Connection: Via\r\nVia: 1.1 x\r\n", Fields("[via: 1.1 x]")),
    // What an upstream may want, and nobody is made by.
    ("X-Own: 1\r\n", Fields("[x-own: 1]")),
    ("X-Own:\r\n", Fields("[x-own: ]")),
    ("X-Own: a\r\nX-Own: b\r\n", Fields("[x-own: a] [x-own: b]")),
    ("X-Own:  a b\t \r\n", Fields("[x-own: a b]")),
    ("X_Own.Name: 1\r\n", Fields("[x_own.name: 1]")),
    ("X-Users: root\r\n", Fields("[x-users: root]")),
    ("X-User-IDs: root\r\n", Fields("[x-user-ids: root]")),
    ("X-User-ID-2: root\r\n", Fields("[x-user-id-2: root]")),
    ("User-ID: root\r\n", Fields("[user-id: root]")),
    // Words that begin as some of those do.
    (
        "X-WebAuthn-Challenge: 1\r\n",
        Fields("[x-webauthn-challenge: 1]"),
    ),
    ("X-Voucher-Code: 1\r\n", Fields("[x-voucher-code: 1]")),
    ("X-Consumers: 1\r\n", Fields("[x-consumers: 1]")),
    ("Range: bytes=0-1\r\n", Fields("[range: bytes=0-1]")),
    (
        "Range: bytes=0-,0-,0-,0-\r\n",
        Fields("[range: bytes=0-,0-,0-,0-]"),
    ),
    ("If-Range: \"e\"\r\n", Fields("[if-range: \"e\"]")),
    (
        "Cookie: a=1; X-User-ID=root\r\n",
        Fields("[cookie: a=1; X-User-ID=root]"),
    ),
    ("Max-Forwards: 0\r\n", Fields("[max-forwards: 0]")),
    (
        "Referer: http://gate.example/api/admin\r\n",
        Fields("[referer: http://gate.example/api/admin]"),
    ),
    (
        "Forwarded: host=evil.example;proto=https\r\n",
        Fields("[forwarded: host=evil.example;proto=https]"),
    ),
    (
        "X-Forwarded-For: 127.0.0.1\r\n",
        Fields("[x-forwarded-for: 127.0.0.1]"),
    ),
    (
        "X-Forwarded-Host: evil.example\r\n",
        Fields("[x-forwarded-host: evil.example]"),
    ),
    ("X-Real-IP: 127.0.0.1\r\n", Fields("[x-real-ip: 127.0.0.1]")),
    ("Early-Data: 1\r\n", Fields("[early-data: 1]")),
    // What is written to has no rule, where the one for the path names no methods.
    ("Destination: /api/admin/users\r\n", Nothing),
    ("destination:/api/admin/users\r\n", Nothing),
    ("Destination_: /api/admin/users\r\n", Nothing),
    ("X-Amz-Copy-Source: /bucket/admin\r\n", Nothing),
    ("x_ms_copy_source: http://a/admin\r\n", Nothing),
    ("X-Copy-From: /container/admin\r\n", Nothing),
    (
        "Destinations: /api/admin/users\r\n",
        Fields("[destinations: /api/admin/users]"),
    ),
    ("Accept: text/html\r\n", Fields("[accept: text/html]")),
    (
        "Content-Type: text/plain\r\n",
        Fields("[content-type: text/plain]"),
    ),
    ("Expect: 100-continue\r\n", Nothing),
    // The correlation id is taken where it is a plain word.
    ("X-Request-ID: plain-1.2_3\r\n", Nothing),
    ("X-Request-ID: a b\r\n", Nothing),
    ("X-Request-ID: {ff}\r\n", Nothing),
    // A line that is two to some, or none.
    ("X-User-ID : root\r\n", Refused("400")),
    ("X-User-ID\t: root\r\n", Refused("400")),
    ("X-Own: 1\nX-User-ID: root\r\n", Fields("[x-own: 1]")),
    ("X-Own: 1\rX-User-ID: root\r\n", Refused("400")),
    ("X-Own: 1\r\rX-User-ID: root\r\n", Refused("400")),
    ("X-Own: 1\r\n X-User-ID: root\r\n", Refused("400")),
    ("X-Own: 1\r\n\tX-User-ID: root\r\n", Refused("400")),
    ("X-Own: 1\n X-User-ID: root\r\n", Refused("400")),
    ("X-User-ID\r\n : root\r\n", Refused("400")),
    ("X-User-ID\r\n", Refused("400")),
    ("X-User-ID\r\n: root\r\n", Refused("400")),
    (": root\r\n", Refused("400")),
    (":X-User-ID: root\r\n", Refused("400")),
    ("X-User-ID = root\r\n", Refused("400")),
    ("X-User ID: root\r\n", Refused("400")),
    ("X-User-ID\u{e9}: root\r\n", Refused("400")),
    ("X-User-ID{ff}: root\r\n", Refused("400")),
    ("X-User-ID\u{a0}: root\r\n", Refused("400")),
    ("X-User-ID(x): root\r\n", Refused("400")),
    ("X-User-ID@: root\r\n", Refused("400")),
    ("X-User-ID/: root\r\n", Refused("400")),
    ("X-User-ID\\: root\r\n", Refused("400")),
    ("X-User-ID,X: root\r\n", Refused("400")),
    ("X-User-ID;: root\r\n", Refused("400")),
    ("X-User-ID\u{b}: root\r\n", Refused("400")),
    ("X-User-ID\u{1}: root\r\n", Refused("400")),
    ("\"X-User-ID\": root\r\n", Refused("400")),
    ("[X-User-ID]: root\r\n", Refused("400")),
    ("{X-User-ID}: root\r\n", Refused("400")),
    ("<X-User-ID>: root\r\n", Refused("400")),
    ("X-User-ID\0: root\r\n", Refused("400")),
    ("X\0-User-ID: root\r\n", Refused("400")),
    ("X-Own: a\0b\r\n", Refused("400")),
    ("X-Own: a\0\r\nX-User-ID: root\r\n", Refused("400")),
    // Values that no text has.
    ("X-Own: caf\u{e9}\r\n", Fields("[x-own: caf\u{e9}]")),
    ("X-Own: a{ff}b\r\n", Fields("[x-own: a\u{fffd}b]")),
    ("X-Own: a\u{1}b\r\n", Fields("[x-own: a\\u{1}b]")),
    ("X-Own: a\u{7f}b\r\n", Fields("[x-own: a\\u{7f}b]")),
    ("X-Own: a\u{b}b\r\n", Fields("[x-own: a\\u{b}b]")),
    (
        "X-Own: a\u{85}X-User-ID: root\r\n",
        Fields("[x-own: a\\u{85}X-User-ID: root]"),
    ),
    (
        "X-Own: a\u{2028}X-User-ID: root\r\n",
        Fields("[x-own: a\u{2028}X-User-ID: root]"),
    ),
];

/// Those who send each: to where they may go, and to where they may not.
const SENDERS: [(Who, &str, Option<&str>); 4] = [
    (Who::Nobody, "/public/x", None),
    (Who::Member, "/api/x", None),
    (Who::Nobody, "/api/x", Some("401 token_missing")),
    (Who::Member, "/api/admin/x", Some("403 insufficient_role")),
];

pub(super) fn trials(people: &People) -> Vec<Trial> {
    let named = |names: &[&str], value: &str| -> Vec<(String, Kept)> {
        let line = |name: &&str| (format!("{name}: {value}\r\n"), Nothing);
        names.iter().map(line).collect()
    };
    let mut rows = named(IDENTITY, "root");
    rows.extend(named(OVERRIDES, "/api/admin/users"));
    rows.extend(
        LINES
            .iter()
            .map(|(lines, kept)| ((*lines).to_owned(), *kept)),
    );
    let mut trials = Vec::new();
    for (lines, kept) in &rows {
        for (who, target, refusal) in SENDERS {
            let line = people.line(who);
            let request = format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n{line}{lines}\r\n");
            let passed = format!("200 > GET {target} {}", who.name());
            let expected = match (*kept, refusal) {
                (Refused(answer), _) | (_, Some(answer)) => answer.to_owned(),
                (Nothing, None) => passed,
                (Fields(fields), None) => format!("{passed} {fields}"),
            };
            trials.push(Trial::new(people, lines, &request, expected));
        }
    }
    trials
}
