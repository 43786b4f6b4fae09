//! Whole connections: methods, versions, hosts, forms of upgrade, pipelines, sizes.

use super::{People, Trial};

/// What is written to the connection, and what comes of it. `{as member}` and `{as admin}` are
/// their `Authorization` lines, `{host}` that of the host.
const ROWS: &[(&str, &str)] = &[
    // Methods: the policy asks none in particular, and none makes another path of it.
    (
        "POST /api/x HTTP/1.1\r\n{host}{as member}\r\n",
        "200 > POST /api/x member",
    ),
    (
        "PUT /api/x HTTP/1.1\r\n{host}{as member}\r\n",
        "200 > PUT /api/x member",
    ),
    (
        "PATCH /api/x HTTP/1.1\r\n{host}{as member}\r\n",
        "200 > PATCH /api/x member",
    ),
    (
        "DELETE /api/x HTTP/1.1\r\n{host}{as member}\r\n",
        "200 > DELETE /api/x member",
    ),
    (
        "OPTIONS /api/x HTTP/1.1\r\n{host}{as member}\r\n",
        "200 > OPTIONS /api/x member",
    ),
    (
        "HEAD /api/x HTTP/1.1\r\n{host}{as member}\r\n",
        "200 > HEAD /api/x member",
    ),
    ("HEAD /api/x HTTP/1.1\r\n{host}\r\n", "401"),
    ("HEAD /api/admin/x HTTP/1.1\r\n{host}{as member}\r\n", "403"),
    (
        "PROPFIND /api/x HTTP/1.1\r\n{host}{as member}\r\n",
        "200 > PROPFIND /api/x member",
    ),
    (
        "COPY /api/x HTTP/1.1\r\n{host}{as member}Destination: /api/admin/x\r\n\r\n",
        "200 > COPY /api/x member",
    ),
    (
        "MOVE /api/x HTTP/1.1\r\n{host}{as member}DESTINATION: /api/admin/x\r\nOverwrite: T\r\n\r\n",
        "200 > MOVE /api/x member [overwrite: T]",
    ),
    // And what object stores read from.
    (
        "PUT /api/x HTTP/1.1\r\n{host}{as member}X-Amz-Copy-Source: /bucket/admin\r\n\r\n",
        "200 > PUT /api/x member",
    ),
    ("PURGE /api/x HTTP/1.1\r\n{host}\r\n", "401 token_missing"),
    (
        "OPTIONS /api/admin/x HTTP/1.1\r\n{host}\r\n",
        "401 token_missing",
    ),
    (
        "OPTIONS /api/admin/x HTTP/1.1\r\n{host}Origin: https://app.example\r\nAccess-Control-Request-Method: GET\r\n\r\n",
        "401 token_missing",
    ),
    (
        "OPTIONS * HTTP/1.1\r\n{host}{as admin}\r\n",
        "400 path_invalid",
    ),
    (
        "TRACE /api/x HTTP/1.1\r\n{host}{as member}\r\n",
        "200 > TRACE /api/x member",
    ),
    ("TRACE /api/x HTTP/1.1\r\n{host}\r\n", "401 token_missing"),
    ("get /api/x HTTP/1.1\r\n{host}{as member}\r\n", "501"),
    ("Get /public/x HTTP/1.1\r\n{host}\r\n", "501"),
    ("GETX /public/x HTTP/1.1\r\n{host}\r\n", "501"),
    ("G\0T /public/x HTTP/1.1\r\n{host}\r\n", "400"),
    ("GE{ff}T /public/x HTTP/1.1\r\n{host}\r\n", "400"),
    ("TRACK /public/x HTTP/1.1\r\n{host}\r\n", "501"),
    ("BREW /public/x HTTP/1.1\r\n{host}\r\n", "501"),
    ("JEFF /public/x HTTP/1.1\r\n{host}\r\n", "501"),
    ("CONNECT gate.example:443 HTTP/1.1\r\n{host}\r\n", "500"),
    (
        "CONNECT /api/admin/x HTTP/1.1\r\n{host}{as admin}\r\n",
        "500",
    ),
    ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "closed"),
    ("\u{16}\u{3}\u{1}\0\u{5}hello\r\n\r\n", "400"),
    ("{hidden}", "401 token_missing"),
    // The request line.
    (
        "\r\n\r\nGET /public/x HTTP/1.1\r\n{host}\r\n",
        "200 > GET /public/x nobody",
    ),
    (" GET /public/x HTTP/1.1\r\n{host}\r\n", "400"),
    ("GET  /public/x HTTP/1.1\r\n{host}\r\n", "400"),
    ("GET\t/public/x HTTP/1.1\r\n{host}\r\n", "400"),
    ("GET\u{b}/public/x HTTP/1.1\r\n{host}\r\n", "400"),
    ("GET /public/x\u{b}HTTP/1.1\r\n{host}\r\n", "400"),
    ("GET /public/x\r\n{host}\r\n", "400"),
    ("GET /api/x\r\n\r\n", "400"),
    ("GET /public/x\n\n", "400"),
    ("GET /public/x\r\r", "400"),
    ("GET", "closed"),
    ("GET /api/admin/x HTTP/1.1\r\n{host}", "closed"),
    ("GET\r\n\r\n", "400"),
    ("GET /public/x HTTP/0.9\r\n{host}\r\n", "400"),
    ("GET /public/x HTTP/1.0\r\n\r\n", "400"),
    (
        "GET /public/x HTTP/1.0\r\n{host}\r\n",
        "200 > GET /public/x nobody",
    ),
    (
        "GET /public/x HTTP/1.0\r\n{host}\r\n{hidden}",
        "200 > GET /public/x nobody",
    ),
    (
        "GET /public/x HTTP/1.0\r\n{host}Connection: keep-alive\r\n\r\n{hidden}",
        "200, 401 token_missing > GET /public/x nobody",
    ),
    (
        "POST /public/x HTTP/1.0\r\n{host}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}",
        "400",
    ),
    (
        "POST /public/x HTTP/1.0\r\n{host}Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n\r\n{hidden}",
        "400",
    ),
    ("GET /api/x HTTP/1.0\r\n\r\n", "400"),
    ("GET /public/x HTTP/1.2\r\n{host}\r\n", "400"),
    ("GET /public/x HTTP/2.0\r\n{host}\r\n", "400"),
    ("GET /public/x HTTP/9.9\r\n{host}\r\n", "400"),
    ("GET /public/x http/1.1\r\n{host}\r\n", "400"),
    ("GET /public/x ICY\r\n{host}\r\n", "400"),
    ("GET /public/x HTTP/1.1 HTTP/1.1\r\n{host}\r\n", "400"),
    // The host, which the platform makes the URL of.
    ("GET /public/x HTTP/1.1\r\n\r\n", "400"),
    (
        "GET /public/x HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
        "200 > GET /public/x nobody",
    ),
    (
        "GET /public/x HTTP/1.1\r\nHost: evil.example:99999\r\n\r\n",
        "200 > GET /public/x nobody",
    ),
    (
        "GET /public/x HTTP/1.1\r\nHost:\tgate.example\t\r\n\r\n",
        "200 > GET /public/x nobody",
    ),
    (
        "GET /public/x HTTP/1.1\r\nHost : gate.example\r\n\r\n",
        "400",
    ),
    ("GET /public/x HTTP/1.1\r\nHost:\r\n\r\n", "400"),
    (
        "GET /api/admin/x HTTP/1.1\r\nHost: x/public\r\n\r\n",
        "400 path_invalid",
    ),
    (
        "GET /api/admin/x HTTP/1.1\r\nHost: x/public?\r\n\r\n",
        "400 path_invalid",
    ),
    (
        "GET /api/admin/x HTTP/1.1\r\nHost: x/public#\r\n\r\n",
        "400 path_invalid",
    ),
    (
        "GET /api/admin/x HTTP/1.1\r\nHost: x\\public\\\r\n\r\n",
        "400 path_invalid",
    ),
    (
        "GET /api/admin/x HTTP/1.1\r\nHost: user@x\r\n\r\n",
        "400 path_invalid",
    ),
    (
        "GET /public/x HTTP/1.1\r\nHost: a b\r\n\r\n",
        "400 path_invalid",
    ),
    (
        "GET /public/x HTTP/1.1\r\nHost: a,b\r\n\r\n",
        "400 path_invalid",
    ),
    (
        "GET /public/x HTTP/1.1\r\nHost: a;b\r\n\r\n",
        "400 path_invalid",
    ),
    (
        "GET /public/x HTTP/1.1\r\nHost: a%2fb\r\n\r\n",
        "400 path_invalid",
    ),
    (
        "GET /public/x HTTP/1.1\r\nHost: \u{430}.example\r\n\r\n",
        "400 path_invalid",
    ),
    ("GET /public/x HTTP/1.1\r\nHost: a{ff}\r\n\r\n", "400"),
    ("GET /public/x HTTP/1.1\r\nHost: a\0b\r\n\r\n", "400"),
    (
        "GET /public/x HTTP/1.1\r\nHost: a\u{1}\r\n\r\n",
        "400 path_invalid",
    ),
    (
        "GET /public/x HTTP/1.1\r\nHost: gate.example\r\nHost: evil.example\r\n\r\n",
        "400 path_invalid",
    ),
    (
        "GET /public/x HTTP/1.1\r\nHost: gate.example\r\n Host: evil.example\r\n\r\n",
        "400",
    ),
    (
        "GET /public/x HTTP/1.1\r\n Host: gate.example\r\n\r\n",
        "400",
    ),
    (
        "GET /public/x HTTP/1.1\r\n X-User-ID: root\r\n{host}\r\n",
        "400",
    ),
    // Another protocol: the connection stays this one, and what follows is judged.
    (
        "GET /api/x HTTP/1.1\r\n{host}{as member}Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nConnection: Upgrade, HTTP2-Settings\r\n\r\n{hidden}",
        "200, 401 token_missing > GET /api/x member",
    ),
    (
        "GET /public/x HTTP/1.1\r\n{host}Upgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        "200 > GET /public/x nobody",
    ),
    (
        "GET /public/x HTTP/1.1\r\n{host}Upgrade: TLS/1.0, h2c\r\nConnection: Upgrade\r\n\r\n{hidden}",
        "200, 401 token_missing > GET /public/x nobody",
    ),
    (
        "GET /public/x HTTP/1.1\r\n{host}Upgrade: websocket, h2c\r\nConnection: Upgrade\r\n\r\n{hidden}",
        "200, 401 token_missing > GET /public/x nobody",
    ),
    (
        "GET /public/x HTTP/1.1\r\n{host}Upgrade: h2c\r\n\r\n{hidden}",
        "200, 401 token_missing > GET /public/x nobody",
    ),
    (
        "GET /public/x HTTP/1.1\r\n{host}Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n{hidden}",
        "200, 401 token_missing > GET /public/x nobody [connection: Upgrade] [sec-websocket-key: …] [sec-websocket-version: 13] [upgrade: websocket]",
    ),
    (
        "GET /public/x HTTP/1.1\r\n{host}Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 8\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n{hidden}",
        "200, 401 token_missing > GET /public/x nobody [connection: Upgrade] [sec-websocket-key: …] [sec-websocket-version: 13] [upgrade: websocket]",
    ),
    (
        "GET /public/x HTTP/1.1\r\n{host}Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n{hidden}",
        "200, 401 token_missing > GET /public/x nobody [connection: Upgrade] [sec-websocket-key: …] [sec-websocket-version: 13] [upgrade: websocket]",
    ),
    (
        "GET /api/admin/x HTTP/1.1\r\n{host}{as member}Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n{hidden}",
        "403 insufficient_role, 401 token_missing",
    ),
    (
        "GET /api/x HTTP/1.1\r\n{host}Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 7\r\n\r\n{hidden}",
        "401 token_missing, 401 token_missing",
    ),
    (
        "GET /api/x HTTP/1.1\r\n{host}{as member}Upgrade: WebSocket\r\n\r\n{hidden}",
        "200, 401 token_missing > GET /api/x member [connection: Upgrade] [sec-websocket-key: …] [sec-websocket-version: 13] [upgrade: websocket]",
    ),
    (
        "GET /api/x HTTP/1.1\r\n{host}{as member}Upgrade: websocket\r\nUpgrade: websocket\r\n\r\n{hidden}",
        "200, 401 token_missing > GET /api/x member",
    ),
    (
        "GET /api/x HTTP/1.1\r\n{host}{as member}Upgrade: websocket/13\r\n\r\n{hidden}",
        "200, 401 token_missing > GET /api/x member",
    ),
    // No other method becomes a GET by it.
    (
        "PUT /api/x HTTP/1.1\r\n{host}{as member}Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        "200 > PUT /api/x member",
    ),
    (
        "HEAD /api/x HTTP/1.1\r\n{host}{as member}Upgrade: websocket\r\n\r\n",
        "200 > HEAD /api/x member",
    ),
    (
        "DELETE /api/x HTTP/1.1\r\n{host}{as member}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        "200 > DELETE /api/x member [sec-websocket-key: …] [sec-websocket-version: 13]",
    ),
    (
        "POST /public/x HTTP/1.1\r\n{host}Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: {length}\r\n\r\n{hidden}",
        "200 > POST /public/x nobody \"{hidden}\"",
    ),
    // Bodies where there usually are none.
    (
        "GET /api/x HTTP/1.1\r\n{host}{as member}Content-Length: 5\r\n\r\nhello",
        "200 > GET /api/x member \"hello\"",
    ),
    (
        "GET /public/x HTTP/1.1\r\n{host}Content-Length: {length}\r\n\r\n{hidden}",
        "200 > GET /public/x nobody \"{hidden}\"",
    ),
    (
        "GET /public/x HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n{hex}\r\n{hidden}\r\n0\r\n\r\n",
        "200 > GET /public/x nobody",
    ),
    (
        "HEAD /public/x HTTP/1.1\r\n{host}Content-Length: {length}\r\n\r\n{hidden}",
        "200 > HEAD /public/x nobody \"{hidden}\"",
    ),
    (
        "DELETE /public/x HTTP/1.1\r\n{host}Content-Length: {length}\r\n\r\n{hidden}",
        "200 > DELETE /public/x nobody \"{hidden}\"",
    ),
    (
        "OPTIONS /public/x HTTP/1.1\r\n{host}Content-Length: {length}\r\n\r\n{hidden}",
        "200 > OPTIONS /public/x nobody \"{hidden}\"",
    ),
    (
        "POST /api/x HTTP/1.1\r\n{host}Content-Length: {length}\r\n\r\n{hidden}",
        "401 token_missing",
    ),
    (
        "GET /api/x HTTP/1.1\r\n{host}Content-Length: {length}\r\n\r\n{hidden}",
        "401 token_missing",
    ),
    (
        "POST /api/x HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n{hex}\r\n{hidden}\r\n0\r\n\r\n",
        "401 token_missing",
    ),
    // A token in a body, a method in a body.
    (
        "POST /api/x HTTP/1.1\r\n{host}Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 25\r\n\r\naccess_token=x&_method=PUT",
        "401 token_missing",
    ),
    // What the body is told to wait for.
    (
        "POST /public/x HTTP/1.1\r\n{host}Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
        "100, 200 > POST /public/x nobody \"hello\"",
    ),
    (
        "POST /public/x HTTP/1.1\r\n{host}Expect: 200-ok\r\nContent-Length: 5\r\n\r\nhello",
        "200 > POST /public/x nobody \"hello\"",
    ),
    (
        "POST /api/x HTTP/1.1\r\n{host}Expect: 100-continue\r\nContent-Length: {length}\r\n\r\n{hidden}",
        "401 token_missing",
    ),
    // One connection, several people.
    (
        "GET /api/x?1 HTTP/1.1\r\n{host}{as member}\r\nGET /api/x?2 HTTP/1.1\r\n{host}\r\nGET /api/admin/x HTTP/1.1\r\n{host}{as member}\r\nGET /api/x?4 HTTP/1.1\r\n{host}{as admin}\r\n",
        "200, 401 token_missing, 403 insufficient_role, 200 > GET /api/x?1 member > GET /api/x?4 admin",
    ),
    (
        "GET /api/admin/x HTTP/1.1\r\n{host}{as admin}\r\n{hidden}",
        "200, 401 token_missing > GET /api/admin/x admin",
    ),
    (
        "GET /public/x HTTP/1.1\r\n{host}\r\n{hidden}GET /public/y HTTP/1.1\r\n{host}\r\n",
        "200, 401 token_missing, 200 > GET /public/x nobody > GET /public/y nobody",
    ),
    (
        "GET /public/x HTTP/1.1\r\n{host}\r\n\r\n\r\n{hidden}",
        "200, 401 token_missing > GET /public/x nobody",
    ),
    (
        "GET /public/x HTTP/1.1\r\n{host}Connection: close\r\n\r\n{hidden}",
        "200 > GET /public/x nobody",
    ),
    ("GET /public/x HTTP/1.0\r\n\r\n{hidden}", "400"),
    (
        "GET /public/x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n{hidden}",
        "400, 401 token_missing",
    ),
    (
        "GET /public/x HTTP/1.1\r\n{host}\r\nGARBAGE\r\n\r\n",
        "200, 400 > GET /public/x nobody",
    ),
    (
        "GET /api/x HTTP/1.1\r\n{host}{as member}\r\nGET /api/x HTTP/1.1\r\nHost: x/public?\r\n{as member}\r\n",
        "200, 400 path_invalid > GET /api/x member",
    ),
    (
        "POST /public/x HTTP/1.1\r\n{host}Content-Length: 5\r\n\r\nhello{hidden}",
        "200, 401 token_missing > POST /public/x nobody \"hello\"",
    ),
    (
        "POST /api/x HTTP/1.1\r\n{host}Content-Length: 5\r\n\r\nhello{hidden}",
        "401 token_missing, 401 token_missing",
    ),
];

pub(super) fn trials(people: &People) -> Vec<Trial> {
    let many = "X-Own: 1\r\n".repeat(200);
    let large = |length: usize| {
        format!(
            "GET /public/x HTTP/1.1\r\n{{host}}X-Own: {}\r\n\r\n",
            "a".repeat(length)
        )
    };
    let limits = [
        (
            format!("GET /public/x HTTP/1.1\r\n{{host}}{many}\r\n"),
            format!("200 > GET /public/x nobody{}", " [x-own: 1]".repeat(200)),
        ),
        (
            large(8_000),
            format!("200 > GET /public/x nobody [x-own: {}]", "a".repeat(8_000)),
        ),
        (large(2_000_000), "431".to_owned()),
        (
            format!(
                "GET /public/{} HTTP/1.1\r\n{{host}}\r\n",
                "a".repeat(200_000)
            ),
            "414".to_owned(),
        ),
        (
            format!(
                "GET /public/x HTTP/1.1\r\n{{host}}{}: 1\r\n\r\n",
                "X".repeat(200_000)
            ),
            "431".to_owned(),
        ),
        ("A".repeat(200_000), "closed".to_owned()),
    ];
    let rows = ROWS
        .iter()
        .map(|(sent, came)| ((*sent).to_owned(), (*came).to_owned()));
    let trial = |(sent, came): (String, String)| {
        let request = sent
            .replace("{host}", "Host: 127.0.0.1\r\n")
            .replace("{as member}", "Authorization: Bearer {member}\r\n")
            .replace("{as admin}", "Authorization: Bearer {admin}\r\n");
        let shown: String = sent.chars().take(400).collect();
        Trial::new(people, &shown, &request, came)
    };
    rows.chain(limits).map(trial).collect()
}
