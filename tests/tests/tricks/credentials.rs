//! Where a token can stand, and the one place where it counts.

use super::{HOST, People, Trial};

/// A target, the lines of its header, and what comes of a GET.
const ROWS: &[(&str, &str, &str)] = &[
    // The place.
    (
        "/api/x",
        "Authorization: Bearer {member}\r\n",
        "200 > GET /api/x member",
    ),
    (
        "/api/x",
        "authorization:Bearer {member}\r\n",
        "200 > GET /api/x member",
    ),
    (
        "/api/admin/x",
        "AUTHORIZATION: Bearer {admin}\r\n",
        "200 > GET /api/admin/x admin",
    ),
    ("/api/x", "Authorization : Bearer {member}\r\n", "400"),
    (
        "/api/x",
        "Authorization: Bearer {member}\t \r\n",
        "200 > GET /api/x member",
    ),
    (
        "/api/x",
        "Authorization: bearer {member}\r\n",
        "200 > GET /api/x member without authorization [authorization: bearer {member}]",
    ),
    (
        "/api/x",
        "Authorization: BEARER  {member}\r\n",
        "200 > GET /api/x member without authorization [authorization: BEARER  {member}]",
    ),
    ("/api/x", "Authorization: Bearer\r\n {member}\r\n", "400"),
    (
        "/api/x",
        "Authorization: Bearer {member}\r\nConnection: Authorization\r\n",
        "200 > GET /api/x member",
    ),
    // Another scheme, or none.
    ("/api/x", "Authorization: {member}\r\n", "401 token_missing"),
    (
        "/api/x",
        "Authorization: Basic {member}\r\n",
        "401 token_missing",
    ),
    (
        "/api/x",
        "Authorization: DPoP {member}\r\n",
        "401 token_missing",
    ),
    (
        "/api/x",
        "Authorization: Token {member}\r\n",
        "401 token_missing",
    ),
    (
        "/api/x",
        "Authorization: Bearer{member}\r\n",
        "401 token_missing",
    ),
    (
        "/api/x",
        "Authorization: BearerX {member}\r\n",
        "401 token_missing",
    ),
    (
        "/api/x",
        "Authorization: X-Bearer {member}\r\n",
        "401 token_missing",
    ),
    (
        "/api/x",
        "Authorization: \u{ff22}earer {member}\r\n",
        "401 token_missing",
    ),
    ("/api/x", "Authorization:\r\n", "401 token_missing"),
    // A token that is none.
    ("/api/x", "Authorization: Bearer\r\n", "401 token_malformed"),
    (
        "/api/x",
        "Authorization: Bearer: {member}\r\n",
        "401 token_malformed",
    ),
    (
        "/api/x",
        "Authorization: Bearer\t{member}\r\n",
        "401 token_malformed",
    ),
    (
        "/api/x",
        "Authorization: Bearer\u{a0}{member}\r\n",
        "401 token_malformed",
    ),
    (
        "/api/x",
        "Authorization: Bearer \"{member}\"\r\n",
        "401 token_malformed",
    ),
    (
        "/api/x",
        "Authorization: Bearer token={member}\r\n",
        "401 token_malformed",
    ),
    (
        "/api/x",
        "Authorization: Bearer {member} x\r\n",
        "401 token_malformed",
    ),
    (
        "/api/x",
        "Authorization: Bearer x {member}\r\n",
        "401 token_malformed",
    ),
    (
        "/api/x",
        "Authorization: Bearer {member}=\r\n",
        "401 token_malformed",
    ),
    (
        "/api/x",
        "Authorization: Bearer {member},\r\n",
        "401 token_malformed",
    ),
    (
        "/api/x",
        "Authorization: Bearer {member};x=y\r\n",
        "401 token_malformed",
    ),
    (
        "/api/x",
        "Authorization: Bearer {member}{ff}\r\n",
        "401 token_malformed",
    ),
    (
        "/api/x",
        "Authorization: Bearer {member}\u{200b}\r\n",
        "401 token_malformed",
    ),
    ("/api/x", "Authorization: Bearer {member}\0\r\n", "400"),
    (
        "/api/x",
        "Authorization: Bearer {member}.\r\n",
        "401 token_malformed",
    ),
    (
        "/api/x",
        "Authorization: Bearer .{member}\r\n",
        "401 token_malformed",
    ),
    // Two: which of them counts must not depend on who looks.
    (
        "/api/x",
        "Authorization: Bearer {member}\r\nAuthorization: Bearer {member}\r\n",
        "401 token_malformed",
    ),
    (
        "/api/admin/x",
        "Authorization: Bearer {admin}\r\nAuthorization: Bearer {member}\r\n",
        "401 token_malformed",
    ),
    (
        "/api/admin/x",
        "Authorization: Bearer {member}\r\nauthorization: Bearer {admin}\r\n",
        "401 token_malformed",
    ),
    (
        "/api/x",
        "Authorization: Bearer {member}, Bearer {admin}\r\n",
        "401 token_malformed",
    ),
    (
        "/api/x",
        "Authorization: Basic eDp5\r\nAuthorization: Bearer {member}\r\n",
        "401 token_malformed",
    ),
    (
        "/api/x",
        "Authorization: Bearer {member}\r\nAuthorization: Basic eDp5\r\n",
        "401 token_malformed",
    ),
    (
        "/api/x",
        "Authorization:\r\nAuthorization: Bearer {member}\r\n",
        "200 > GET /api/x member",
    ),
    (
        "/api/x",
        "Authorization: Bearer {member}\r\nAuthorization:\r\n",
        "401 token_malformed",
    ),
    (
        "/api/x",
        "Authorization: Bearer {member}\r\n {member}\r\n",
        "400",
    ),
    // Other places.
    (
        "/api/x",
        "Proxy-Authorization: Bearer {member}\r\n",
        "401 token_missing",
    ),
    (
        "/api/x",
        "X-Authorization: Bearer {member}\r\n",
        "401 token_missing",
    ),
    (
        "/api/x",
        "Authorization_: Bearer {member}\r\n",
        "401 token_missing",
    ),
    (
        "/api/x",
        "HTTP_AUTHORIZATION: Bearer {member}\r\n",
        "401 token_missing",
    ),
    (
        "/api/x",
        "X-Forwarded-Authorization: Bearer {member}\r\n",
        "401 token_missing",
    ),
    (
        "/api/x",
        "X-Forwarded-Access-Token: {member}\r\n",
        "401 token_missing",
    ),
    (
        "/api/x",
        "X-Access-Token: {member}\r\n",
        "401 token_missing",
    ),
    ("/api/x", "X-Auth-Token: {member}\r\n", "401 token_missing"),
    (
        "/api/x",
        "Cookie: access_token={member}\r\n",
        "401 token_missing",
    ),
    (
        "/api/x",
        "Cookie: Authorization=Bearer%20{member}\r\n",
        "401 token_missing",
    ),
    (
        "/api/x",
        "Cookie: __Host-at={member}; __Secure-at={member}\r\n",
        "401 token_missing",
    ),
    (
        "/api/x",
        "Sec-WebSocket-Protocol: bearer, {member}\r\n",
        "401 token_missing",
    ),
    ("/api/x?access_token={member}", "", "401 token_missing"),
    (
        "/api/x?authorization=Bearer%20{member}",
        "",
        "401 token_missing",
    ),
    ("/api/x#access_token={member}", "", "401 token_missing"),
    // Beside the right place.
    (
        "/api/admin/x",
        "Authorization: Bearer {member}\r\nX-Authorization: Bearer {admin}\r\n",
        "403 insufficient_role",
    ),
    (
        "/api/admin/x",
        "Authorization: Bearer {member}\r\nProxy-Authorization: Bearer {admin}\r\n",
        "403 insufficient_role",
    ),
    (
        "/api/admin/x",
        "Authorization: Bearer {member}\r\nAuthorization_: Bearer {admin}\r\n",
        "403 insufficient_role",
    ),
    (
        "/api/admin/x",
        "Authorization: Bearer {member}\r\nCookie: access_token={admin}\r\n",
        "403 insufficient_role",
    ),
    (
        "/api/admin/x?access_token={admin}",
        "Authorization: Bearer {member}\r\n",
        "403 insufficient_role",
    ),
    (
        "/api/admin/x",
        "Authorization: Bearer {member}\r\nX-User-Roles: admin\r\n",
        "403 insufficient_role",
    ),
    // Where nobody has to be known, nobody is, and the field passes as it came.
    (
        "/public/x",
        "Authorization: Basic eDp5\r\n",
        "200 > GET /public/x nobody [authorization: Basic eDp5]",
    ),
    (
        "/public/x",
        "Authorization: Bearer x\r\n",
        "200 > GET /public/x nobody [authorization: Bearer x]",
    ),
    (
        "/public/x",
        "Authorization: Bearer {admin}\r\n",
        "200 > GET /public/x nobody [authorization: Bearer {admin}]",
    ),
    (
        "/public/x",
        "Authorization: Bearer {admin}\r\nAuthorization: Bearer {member}\r\n",
        "200 > GET /public/x nobody [authorization: Bearer {admin}, Bearer {member}]",
    ),
];

pub(super) fn trials(people: &People) -> Vec<Trial> {
    let rows = ROWS.iter().map(|(target, lines, expected)| {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n");
        Trial::new(
            people,
            &format!("{target} {lines}"),
            &request,
            (*expected).to_owned(),
        )
    });
    rows.collect()
}
