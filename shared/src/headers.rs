//! The header fields that the gate takes from a request and the ones it gives to the upstream.
//!
//! Whatever a client sends under a name that the gate owns is removed in every spelling, then the
//! gate adds its own from the verified token. The order matters and is the caller's: first remove
//! what [`Connection`](connection_options) lists and what [`must_strip`] names, then add.

use alloc::string::String;
use alloc::vec::Vec;

use crate::error::Rejection;

/// The header fields that carry a verified identity, as letters and digits only.
const IDENTITY: &[&[u8]] = &[
    b"xuserid",
    b"xuserissuer",
    b"xuserroles",
    b"xuserpermissions",
    b"xcustomerid",
    b"xsessionid",
    b"xkyclevel",
    b"xauthmethods",
];

/// What every other name that the gate owns begins with.
const IDENTITY_PREFIX: &[u8] = b"xedgekeep";

/// Header fields by which some upstreams let a request name another path or method than the request
/// line has, as letters and digits only.
///
/// Policy has seen the request line alone; an upstream that believes one of these serves something
/// else (oauth2-proxy CVE-2026-40575, Symfony and Zend's `X-Original-URL`, Next.js CVE-2025-29927).
/// gunicorn cuts what `SCRIPT_NAME` says off the path, from a peer on its own host even where it drops
/// other names with an underscore. By `X-Sendfile-Type` and `X-Accel-Mapping` Rack and Plack have the server
/// before them send another file (CVE-2025-61780).
const OVERRIDES: &[&[u8]] = &[
    b"xoriginalurl",
    b"xoriginaluri",
    b"xoriginalpath",
    b"xoriginalmethod",
    b"xrewriteurl",
    b"xrewriteuri",
    b"xforwardeduri",
    b"xforwardedurl",
    b"xforwardedpath",
    b"xforwardedprefix",
    b"xforwardedmethod",
    b"xreplacedpath",
    b"xrequesturi",
    b"xscriptname",
    b"xenvoyoriginalpath",
    b"xwawsunencodedurl",
    b"xhttpmethod",
    b"xhttpmethodoverride",
    b"xmethodoverride",
    b"xmiddlewaresubrequest",
    b"xsendfiletype",
    b"xaccelmapping",
    SCRIPT_NAME,
    PATH_INFO,
];

const SCRIPT_NAME: &[u8] = b"scriptname";
const PATH_INFO: &[u8] = b"pathinfo";

/// Header fields by which other gates name the person to their upstreams (oauth2-proxy, Authelia,
/// Kong, APISIX, Google's API gateways, Istio, `mod_auth`, nginx's `auth_request`), or say what certificate it has
/// shown (nginx, Azure), as letters and digits only. An upstream that stood behind one of them may still
/// believe it.
const FOREIGN_IDENTITY: &[&[u8]] = &[
    b"remoteuser",
    b"remotegroups",
    b"remoteemail",
    b"remotename",
    b"xremoteuser",
    b"xremotegroup",
    b"xremotegroups",
    b"xforwardeduser",
    b"xforwardedemail",
    b"xforwardedgroups",
    b"xforwardedpreferredusername",
    b"xforwardedaccesstoken",
    b"xauthrequestuser",
    b"xauthrequestemail",
    b"xauthrequestgroups",
    b"xauthrequestpreferredusername",
    b"xauthrequestaccesstoken",
    b"xcredentialidentifier",
    b"xcredentialusername",
    b"xanonymousconsumer",
    b"xauthuser",
    b"xuser",
    b"xuserinfo",
    b"xjwtpayload",
    b"xidtoken",
    b"xendpointapiuserinfo",
    b"xapigatewayapiuserinfo",
    b"xclientdn",
    b"xclientverify",
    b"xarrclientcert",
    b"xsslcert",
];

/// What the names begin with that others have many of, as letters and digits only; what follows is
/// another word. Kubernetes' front proxy, Grafana, Kong, Google's, Amazon's and Microsoft's load
/// balancers, authentik, Vouch, Pomerium, Cloudflare Access, Tailscale, the `mod_auth_openidc`, `mod_shib` and
/// `mod_auth_mellon` of Apache, what asks Kubernetes to act as somebody else; and certificates by Envoy, Traefik,
/// Amazon's load balancer, nginx, `HAProxy` and RFC 9440.
const FOREIGN_IDENTITY_PREFIXES: &[&[u8]] = &[
    b"xremoteextra",
    b"xwebauth",
    b"xconsumer",
    b"xauthenticated",
    b"xgoogauthenticateduser",
    b"xamznoidc",
    b"xmsclientprincipal",
    b"xauthentik",
    b"xvouch",
    b"xpomeriumclaim",
    b"xforwardedclientcert",
    b"xforwardedtlsclientcert",
    b"xamznmtls",
    b"xclientcert",
    b"xclientcertificate",
    b"xsslclient",
    CLIENT_CERTIFICATE,
    SSL_CLIENT,
    CLOUDFLARE_ACCESS,
    TAILSCALE,
    OPENID_CONNECT,
    SHIBBOLETH,
    MELLON,
    IMPERSONATE,
];

const CLIENT_CERTIFICATE: &[u8] = b"clientcert";
const SSL_CLIENT: &[u8] = b"sslclient";

const CLOUDFLARE_ACCESS: &[u8] = b"cfaccessauthenticated";
const TAILSCALE: &[u8] = b"tailscaleuser";
const OPENID_CONNECT: &[u8] = b"oidc";
const SHIBBOLETH: &[u8] = b"shib";
const MELLON: &[u8] = b"mellon";
const IMPERSONATE: &[u8] = b"impersonate";

/// Header fields by which a request concerns a second place beside its path, as letters and digits only:
/// where `COPY` and `MOVE` write to (RFC 4918 §10.3), and what a `PUT` reads from at object stores (S3 and
/// what is built like it, Azure, Swift).
const SECOND_PLACES: &[&[u8]] = &[
    b"destination",
    b"xamzcopysource",
    b"xamzrenamesource",
    b"xcopyfrom",
    b"xcopyfromaccount",
    b"xgoogcopysource",
    b"xmscopysource",
    b"xmsrenamesource",
    b"xobjectmanifest",
    b"xosscopysource",
    b"xsymlinktarget",
];

/// The longest name in the tables above, as letters and digits.
const LONGEST_OWNED: usize = 29;

/// A field name reduced to its letters and digits in lower case; longer ones are cut one past
/// [`LONGEST_OWNED`], which still tells them apart from every name in the tables.
struct Folded {
    bytes: [u8; LONGEST_OWNED + 1],
    len: usize,
}

impl Folded {
    fn of(name: &[u8]) -> Self {
        let mut folded = Self {
            bytes: [0; LONGEST_OWNED + 1],
            len: 0,
        };
        for byte in name.iter().filter(|byte| byte.is_ascii_alphanumeric()) {
            let Some(slot) = folded.bytes.get_mut(folded.len) else {
                break;
            };
            *slot = byte.to_ascii_lowercase();
            folded.len += 1;
        }
        folded
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The letters and digits of a field name, in lower case: what is left of it wherever it may go.
pub(crate) fn fold(name: &[u8]) -> impl Iterator<Item = u8> {
    let significant = name.iter().filter(|byte| byte.is_ascii_alphanumeric());
    significant.map(u8::to_ascii_lowercase)
}

/// Whether a field name begins, by its letters and digits, with `own`.
fn begins_with(own: &[u8], name: &[u8]) -> bool {
    name.len() >= own.len() && fold(name).take(own.len()).eq(own.iter().copied())
}

fn is_identity(folded: &[u8]) -> bool {
    folded.starts_with(IDENTITY_PREFIX) || IDENTITY.contains(&folded)
}

fn is_foreign_identity(name: &[u8], folded: &[u8]) -> bool {
    let mut prefixes = FOREIGN_IDENTITY_PREFIXES.iter();
    prefixes.any(|prefix| folded.starts_with(prefix) && ends_word(name, prefix.len()))
        || FOREIGN_IDENTITY.contains(&folded)
}

/// Whether a word of a field name ends with its letter or digit of this number: `X-WebAuthn-Challenge`
/// begins with the letters of `X-WebAuth`, and is none of its kind.
fn ends_word(name: &[u8], number: usize) -> bool {
    let is_significant = u8::is_ascii_alphanumeric;
    let mut significant = (0..).zip(name).filter(|(_, byte)| is_significant(byte));
    let last: Option<(usize, _)> = significant.nth(number.saturating_sub(1));
    let next = last.and_then(|(at, _)| name.get(at + 1));
    next.is_none_or(|next| !is_significant(next))
}

/// Whether the first word of a field name is `word`, or its first words are.
pub(crate) fn begins_with_word(word: &[u8], name: &[u8]) -> bool {
    begins_with(word, name) && ends_word(name, word.len())
}

/// Whether a header field carries an identity that only the gate may state.
///
/// CGI, WSGI, PHP and others turn `-` and `.` into `_` and ignore case, so that `X_User.Id` reaches
/// an application as `X-User-ID` (oauth2-proxy CVE-2025-64484): only letters and digits count.
pub fn is_identity_header(name: &[u8]) -> bool {
    is_identity(Folded::of(name).as_bytes())
}

/// Whether a header field asks the upstream to see another path or method than the request line's.
pub fn is_request_override(name: &[u8]) -> bool {
    OVERRIDES.contains(&Folded::of(name).as_bytes())
}

/// Whether a header field of a request must not reach the upstream as the client sent it.
pub fn must_strip(name: &[u8]) -> bool {
    // Every name of the tables begins with x, but for a few; most names of a request do not.
    let may_be = match fold(name).next() {
        Some(b'x') => true,
        Some(b'r') => begins_with(b"remote", name),
        Some(b'c') => begins_with(CLOUDFLARE_ACCESS, name) || begins_with(CLIENT_CERTIFICATE, name),
        Some(b's') => [SSL_CLIENT, SCRIPT_NAME, SHIBBOLETH]
            .iter()
            .any(|own| begins_with(own, name)),
        Some(b'o') => begins_with(OPENID_CONNECT, name),
        Some(b'm') => begins_with(MELLON, name),
        Some(b'i') => begins_with(IMPERSONATE, name),
        Some(b'p') => begins_with(PATH_INFO, name),
        Some(b't') => begins_with(TAILSCALE, name),
        _ => false,
    };
    may_be && {
        let folded = Folded::of(name);
        let folded = folded.as_bytes();
        is_identity(folded) || OVERRIDES.contains(&folded) || is_foreign_identity(name, folded)
    }
}

/// Whether a header field names a second place that a request writes to, or reads from: `COPY` and `MOVE`
/// do (RFC 4918 §9.8, §9.9), and so does a `PUT` at object stores. A policy sees the path alone.
pub fn is_second_place(name: &[u8]) -> bool {
    // Most names of a request begin with other letters.
    matches!(fold(name).next(), Some(b'd' | b'x'))
        && SECOND_PLACES.contains(&Folded::of(name).as_bytes())
}

/// The options of a `Connection` header: names of fields meant for this hop only (RFC 9110 §7.6.1).
///
/// A gate removes those fields from the request before it adds its own, and never forwards
/// `Connection` itself: `Connection: X-User-ID` cannot take away what is added afterwards. What is
/// no field name (RFC 9110 §5.1) names no field.
pub fn connection_options(value: &str) -> impl Iterator<Item = &str> {
    value
        .split(',')
        .map(|option| option.trim_matches([' ', '\t']))
        .filter(|option| !option.is_empty() && option.bytes().all(is_token_character))
}

/// A character of a `token` (RFC 9110 §5.6.2).
const fn is_token_character(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

/// Fields that concern one connection only (RFC 9110 §7.6.1).
pub(crate) const HOP_BY_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

/// Whether a field concerns one connection only, listed by `Connection` or not (RFC 9110 §7.6.1).
pub fn is_hop_by_hop(name: &str) -> bool {
    let mut names = HOP_BY_HOP.iter();
    names.any(|known| known.eq_ignore_ascii_case(name))
}

/// Whether a `Connection` option may take a field away: not one that a request is judged or framed
/// by, which a client could otherwise hide from one side of the gate, nor one in which whoever stands in
/// front says where the request comes from.
pub fn is_removable_by_connection(name: &str) -> bool {
    const KEPT: &[&str] = &[
        "authorization",
        "content-encoding",
        "content-length",
        "content-type",
        "cookie",
        "forwarded",
        "host",
        "origin",
        "via",
        "x-azure-clientip",
        "x-envoy-external-address",
        "x-original-forwarded-for",
        "x-request-id",
    ];
    let is_said_in_front = ["x-forwarded-", "cf-"]
        .into_iter()
        .any(|start| starts(name, start))
        // `X-Real-IP`, `True-Client-IP` and their kind.
        || ends(name, "-ip");
    !is_said_in_front && !KEPT.iter().any(|kept| kept.eq_ignore_ascii_case(name))
}

fn starts(name: &str, with: &str) -> bool {
    name.get(..with.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(with))
}

pub(crate) fn ends(name: &str, with: &str) -> bool {
    let at = name.len().checked_sub(with.len());
    at.and_then(|at| name.get(at..))
        .is_some_and(|end| end.eq_ignore_ascii_case(with))
}

/// Whether a byte stands for itself in a list value: visible ASCII, except what separates, escapes
/// or quotes (RFC 9110 §5.6).
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b',' | b'%' | b'"' | b'\\')
}

/// Appends one value, percent-encoded where it would need escaping: the result has no comma, no
/// space, no control character and nothing outside ASCII.
pub fn encode_value(value: &str, header: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in value.bytes() {
        if is_plain(byte) {
            header.push(char::from(byte));
        } else {
            header.push('%');
            header.push(char::from(DIGITS[usize::from(byte >> 4)]));
            header.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

/// Appends the values, separated by commas and [encoded](encode_value); empty ones are left out,
/// because an empty list element means nothing (RFC 9110 §5.6.1).
pub fn encode_list<I>(values: I, header: &mut String)
where
    I: IntoIterator,
    I::Item: AsRef<str>,
{
    let mut first = true;
    for value in values {
        let value = value.as_ref();
        if value.is_empty() {
            continue;
        }
        if !first {
            header.push(',');
        }
        first = false;
        encode_value(value, header);
    }
}

/// The values that [`encode_list`] wrote, for an upstream; none if it did not write this.
pub fn decode_list(header: &str) -> Option<Vec<String>> {
    if header.is_empty() {
        return Some(Vec::new());
    }
    header.split(',').map(decode_value).collect()
}

fn decode_value(encoded: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let (high, low) = (upper_hex(rest.next()?)?, upper_hex(rest.next()?)?);
            let octet = high << 4 | low;
            // One spelling for every value: what could be plain is plain.
            if is_plain(octet) {
                return None;
            }
            bytes.push(octet);
        } else if is_plain(byte) {
            bytes.push(byte);
        } else {
            return None;
        }
    }
    (!bytes.is_empty())
        .then(|| String::from_utf8(bytes).ok())
        .flatten()
}

const fn upper_hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Whether a text begins with the scheme `Bearer`, in any case, and a space.
fn begins_bearer(value: &str) -> bool {
    value
        .get(..7)
        .is_some_and(|start| start.eq_ignore_ascii_case("bearer "))
}

/// Takes the token from the values of all `Authorization` headers of a request (RFC 6750 §2.1).
///
/// # Errors
/// [`Rejection::TokenMissing`] where there is no header, an empty one, or another scheme;
/// [`Rejection::TokenMalformed`] for more than one, for two that something on the way has joined by
/// a comma, and for a token that is empty or has characters of no token (`b64token`). Which of two
/// tokens counts must never depend on who looks.
pub fn bearer_token<'a, I>(values: I) -> Result<&'a str, Rejection>
where
    I: IntoIterator<Item = &'a str>,
{
    let mut values = values.into_iter();
    let value = values.next().ok_or(Rejection::TokenMissing)?;
    if values.next().is_some() {
        return Err(Rejection::TokenMalformed);
    }
    let value = value.trim_matches([' ', '\t']);
    let scheme_end = value
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '-')
        .unwrap_or(value.len());
    if !value[..scheme_end].eq_ignore_ascii_case("bearer") {
        let joined = value
            .split(',')
            .skip(1)
            .any(|part| begins_bearer(part.trim_start()));
        return Err(if joined {
            Rejection::TokenMalformed
        } else {
            Rejection::TokenMissing
        });
    }
    if !begins_bearer(value) {
        return Err(Rejection::TokenMalformed);
    }
    let token = value[7..].trim_start_matches(' ');
    if token.is_empty() || !token.bytes().all(is_b64token) {
        return Err(Rejection::TokenMalformed);
    }
    Ok(token)
}

/// Takes the token from all `Authorization` fields of a request as they came, for servers that hold
/// them apart and as bytes. Combined first (RFC 9110 §5.3), as they are for who sees one field alone.
///
/// # Errors
/// As [`bearer_token`] of the one combined value.
pub fn bearer_token_of<'a, I>(fields: I) -> Result<&'a str, Rejection>
where
    I: IntoIterator<Item = &'a [u8]>,
{
    let fields: Vec<&[u8]> = fields.into_iter().collect();
    if fields.is_empty() {
        return Err(Rejection::TokenMissing);
    }
    if let [field] = fields[..]
        && let Ok(field) = core::str::from_utf8(field)
    {
        return bearer_token([field]);
    }
    let combined = fields.join(&b", "[..]);
    // Neither the comma nor what stands for a wrong byte is of a token: this is never `Ok`.
    bearer_token([&*String::from_utf8_lossy(&combined)]).and(Err(Rejection::TokenMalformed))
}

/// `b64token` of RFC 6750 §2.1.
const fn is_b64token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=')
}

/// Takes a cookie's value from a `Cookie` header; the name is compared exactly.
///
/// Quotes around a value belong to it, as RFC 6265bis has it, so a quoted token is malformed.
/// A cookie that is absent or empty is `None`.
///
/// # Errors
/// [`Rejection::TokenMalformed`] when the cookie occurs twice (servers differ on which counts), when
/// white space stands around its name or value, or when its value has a byte that no cookie may have.
pub fn cookie_value<'a>(header: &'a str, name: &str) -> Result<Option<&'a str>, Rejection> {
    let mut found = None;
    for pair in header.split(';') {
        let pair = pair.trim_matches([' ', '\t']);
        let Some((key, value)) = pair.split_once('=') else {
            continue;
        };
        if key.trim() != name {
            continue;
        }
        if key != name || found.is_some() || !is_cookie_value(value) {
            return Err(Rejection::TokenMalformed);
        }
        found = Some(value);
    }
    Ok(found.filter(|value| !value.is_empty()))
}

/// What a `Cookie` header says beside the cookie called `name`; `None` where that is nothing.
pub fn without_cookie(header: &str, name: &str) -> Option<String> {
    let pairs = header.split(';').map(|pair| pair.trim_matches([' ', '\t']));
    let is_named = |pair: &str| pair.split('=').next().map(str::trim) == Some(name);
    joined(
        pairs.filter(|pair| !pair.is_empty() && !is_named(pair)),
        "; ",
    )
}

/// The parts with `separator` between them; `None` where there are none.
fn joined<'p>(parts: impl Iterator<Item = &'p str>, separator: &str) -> Option<String> {
    let mut all = String::new();
    for part in parts {
        if !all.is_empty() {
            all.push_str(separator);
        }
        all.push_str(part);
    }
    (!all.is_empty()).then_some(all)
}

/// What the subprotocol begins with that carries the token of a WebSocket handshake: browsers let a
/// page set no other header field of one.
pub const WEBSOCKET_TOKEN_PREFIX: &str = "edgekeep.bearer.";

/// Takes the token from the subprotocols that a client offers in `Sec-WebSocket-Protocol` (RFC 6455
/// §11.3.4), of which one is [`WEBSOCKET_TOKEN_PREFIX`] and the token.
///
/// # Errors
/// [`Rejection::TokenMissing`] where none is; [`Rejection::TokenMalformed`] for more than one, and for
/// one that is empty, has characters of no token, or begins in another case.
pub fn websocket_token(protocols: &str) -> Result<&str, Rejection> {
    let mut bearing = subprotocols(protocols).filter(|protocol| bears_token(protocol));
    let protocol = bearing.next().ok_or(Rejection::TokenMissing)?;
    if bearing.next().is_some() {
        return Err(Rejection::TokenMalformed);
    }
    protocol
        .strip_prefix(WEBSOCKET_TOKEN_PREFIX)
        .filter(|token| !token.is_empty() && token.bytes().all(is_b64token))
        .ok_or(Rejection::TokenMalformed)
}

/// The subprotocols that do not carry a token, for the upstream, which is not to choose one that does;
/// `None` where there are no others.
pub fn without_websocket_token(protocols: &str) -> Option<String> {
    joined(
        subprotocols(protocols).filter(|protocol| !bears_token(protocol)),
        ", ",
    )
}

fn subprotocols(protocols: &str) -> impl Iterator<Item = &str> {
    protocols
        .split(',')
        .map(|protocol| protocol.trim_matches([' ', '\t']))
        .filter(|protocol| !protocol.is_empty())
}

/// In any case: what is not taken for a token must not reach the upstream's log as one.
fn bears_token(protocol: &str) -> bool {
    starts(protocol, WEBSOCKET_TOKEN_PREFIX)
}

/// `cookie-value` of RFC 6265 §4.1.1.
fn is_cookie_value(value: &str) -> bool {
    let inner = match value.strip_prefix('"') {
        Some(rest) => match rest.strip_suffix('"') {
            Some(inner) => inner,
            None => return false,
        },
        None => value,
    };
    inner
        .bytes()
        .all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b',' | b';' | b'\\'))
}
