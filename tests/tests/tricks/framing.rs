//! Where a body can end, by those who read it otherwise.

use super::{HOST, People, Trial, Who};

/// What follows the fields that everybody sends with a POST, and what comes of it; `{to}` is the
/// request that it belongs to. Where a second reading would find a request, there is one.
const ROWS: &[(&str, &str)] = &[
    // Length and chunks at once, in both orders.
    (
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}",
        FIRST,
    ),
    (
        "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n{hidden}",
        FIRST,
    ),
    (
        "Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n\r\n0\r\n\r\n{hidden}",
        FIRST,
    ),
    (
        "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
        FIRST,
    ),
    (
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n{hex}\r\n{hidden}\r\n0\r\n\r\n",
        BODY,
    ),
    // Chunks under another name: to be read by the length, or not at all.
    (
        "Content-Length: {length}\r\nTransfer-Encoding: identity\r\n\r\n{hidden}",
        REFUSED,
    ),
    (
        "Content-Length: {length}\r\nTransfer-Encoding: xchunked\r\n\r\n{hidden}",
        REFUSED,
    ),
    (
        "Content-Length: {length}\r\nTransfer-Encoding: chunk\r\n\r\n{hidden}",
        REFUSED,
    ),
    (
        "Content-Length: {length}\r\nTransfer-Encoding: \"chunked\"\r\n\r\n{hidden}",
        REFUSED,
    ),
    (
        "Content-Length: {length}\r\nTransfer-Encoding: 'chunked'\r\n\r\n{hidden}",
        REFUSED,
    ),
    (
        "Content-Length: {length}\r\nTransfer-Encoding: chunked;q=1\r\n\r\n{hidden}",
        REFUSED,
    ),
    (
        "Content-Length: {length}\r\nTransfer-Encoding: chunked,\r\n\r\n{hidden}",
        REFUSED,
    ),
    (
        "Content-Length: {length}\r\nTransfer-Encoding: ,chunked\r\n\r\n{hidden}",
        BROKEN,
    ),
    (
        "Content-Length: {length}\r\nTransfer-Encoding: chunked, identity\r\n\r\n{hidden}",
        REFUSED,
    ),
    (
        "Content-Length: {length}\r\nTransfer-Encoding: identity, chunked\r\n\r\n{hidden}",
        BROKEN,
    ),
    (
        "Content-Length: {length}\r\nTransfer-Encoding: chunked, chunked\r\n\r\n{hidden}",
        BROKEN,
    ),
    (
        "Content-Length: {length}\r\nTransfer-Encoding: gzip, chunked\r\n\r\n{hidden}",
        BROKEN,
    ),
    (
        "Content-Length: {length}\r\nTransfer-Encoding: gzip\r\n\r\n{hidden}",
        REFUSED,
    ),
    (
        "Content-Length: {length}\r\nTransfer-Encoding: x\u{b}chunked\r\n\r\n{hidden}",
        REFUSED,
    ),
    (
        "Content-Length: {length}\r\nTransfer-Encoding:\u{b}chunked\r\n\r\n{hidden}",
        REFUSED,
    ),
    (
        "Content-Length: {length}\r\nTransfer-Encoding: chunked\u{b}\r\n\r\n{hidden}",
        REFUSED,
    ),
    (
        "Content-Length: {length}\r\nTransfer-Encoding: {ff}chunked\r\n\r\n{hidden}",
        REFUSED,
    ),
    (
        "Content-Length: {length}\r\nTransfer-Encoding: chun\r\n ked\r\n\r\n{hidden}",
        REFUSED,
    ),
    (
        "Content-Length: {length}\r\nTransfer-Encoding:\r\n\r\n{hidden}",
        REFUSED,
    ),
    (
        "Content-Length: {length}\r\nTransfer-Encoding: chunked\0\r\n\r\n{hidden}",
        "400",
    ),
    (
        "Content-Length: {length}\r\nTransfer\u{e9}-Encoding: chunked\r\n\r\n{hidden}",
        "400",
    ),
    (
        "Content-Length: {length}\r\nTransfer-Encoding\r\n: chunked\r\n\r\n{hidden}",
        "400",
    ),
    (
        "Content-Length: {length}\r\nTransfer_Encoding: chunked\r\n\r\n{hidden}",
        "200 > {to} [transfer_encoding: chunked] \"{hidden}\"",
    ),
    (
        "Content-Length: {length}\r\nTransfer.Encoding: chunked\r\n\r\n{hidden}",
        "200 > {to} [transfer.encoding: chunked] \"{hidden}\"",
    ),
    (
        "Content-Length: {length}\r\nContent-Encoding: chunked\r\n\r\n{hidden}",
        "200 > {to} [content-encoding: chunked] \"{hidden}\"",
    ),
    (
        "Content-Length: {length}\r\nTE: chunked\r\n\r\n{hidden}",
        BODY,
    ),
    (
        "Content-Length: {length}\r\nX-Own: 1\r\n Transfer-Encoding: chunked\r\n\r\n{hidden}",
        REFUSED,
    ),
    (
        "Content-Length: {length}\r\nConnection: Transfer-Encoding\r\n\r\n{hidden}",
        BODY,
    ),
    // Chunks in spellings that are chunks.
    (
        "Content-Length: {length}\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n{hidden}",
        REFUSED,
    ),
    (
        "Content-Length: {length}\r\nTransfer-Encoding:chunked\r\n\r\n0\r\n\r\n{hidden}",
        FIRST,
    ),
    (
        "Content-Length: {length}\r\nTransfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n{hidden}",
        FIRST,
    ),
    (
        "Content-Length: {length}\r\nTransfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n{hidden}",
        FIRST,
    ),
    (
        "Content-Length: {length}\r\ntransfer-encoding: Chunked \r\n\r\n0\r\n\r\n{hidden}",
        FIRST,
    ),
    (
        "Content-Length: {length}\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n{hidden}",
        REFUSED,
    ),
    (
        "Content-Length: {length}\r\nX-Own: 1\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}",
        "200 > {to} [x-own: 1]",
    ),
    (
        "Content-Length: {length}\r\nX-Own: 1\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}",
        REFUSED,
    ),
    (
        "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}",
        SECOND,
    ),
    // Two fields.
    (
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}",
        SECOND,
    ),
    (
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n{hidden}",
        REFUSED,
    ),
    (
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}",
        SECOND,
    ),
    (
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{hidden}",
        REFUSED,
    ),
    (
        "Content-Length: 0\r\nContent-Length: {length}\r\n\r\n{hidden}",
        REFUSED,
    ),
    (
        "Content-Length: {length}\r\nContent-Length: 0\r\n\r\n{hidden}",
        REFUSED,
    ),
    (
        "Content-Length: {length}\r\nContent-Length: {length}\r\n\r\n{hidden}",
        BODY,
    ),
    (
        "Content-Length: {length}, {length}\r\n\r\n{hidden}",
        REFUSED,
    ),
    ("Content-Length: 0, {length}\r\n\r\n{hidden}", REFUSED),
    ("Content-Length: {length}\r\n 0\r\n\r\n{hidden}", REFUSED),
    // Lengths that are none.
    ("Content-Length: +{length}\r\n\r\n{hidden}", REFUSED),
    ("Content-Length: -1\r\n\r\n{hidden}", REFUSED),
    ("Content-Length: -0\r\n\r\n{hidden}", REFUSED),
    ("Content-Length: 0x0\r\n\r\n{hidden}", REFUSED),
    ("Content-Length: {length}.0\r\n\r\n{hidden}", REFUSED),
    ("Content-Length: 1e1\r\n\r\n{hidden}", REFUSED),
    ("Content-Length: {length};\r\n\r\n{hidden}", REFUSED),
    ("Content-Length: {length},\r\n\r\n{hidden}", REFUSED),
    ("Content-Length: ,{length}\r\n\r\n{hidden}", REFUSED),
    ("Content-Length: {length} {length}\r\n\r\n{hidden}", REFUSED),
    ("Content-Length: \"{length}\"\r\n\r\n{hidden}", REFUSED),
    ("Content-Length:\r\n\r\n{hidden}", REFUSED),
    ("Content-Length: \u{b}{length}\r\n\r\n{hidden}", REFUSED),
    ("Content-Length: {length}\u{b}\r\n\r\n{hidden}", REFUSED),
    ("Content-Length: \u{ff11}\r\n\r\n{hidden}", REFUSED),
    ("Content-Length: {length}{ff}\r\n\r\n{hidden}", REFUSED),
    ("Content-Length: {length}\0\r\n\r\n{hidden}", "400"),
    (
        "Content-Length: 18446744073709551615\r\n\r\n{hidden}",
        "431",
    ),
    (
        "Content-Length: 18446744073709551616\r\n\r\n{hidden}",
        REFUSED,
    ),
    (
        "Content-Length: 99999999999999999999999999\r\n\r\n{hidden}",
        REFUSED,
    ),
    // Lengths in spellings that are lengths.
    ("Content-Length: {length}\r\n\r\n{hidden}", BODY),
    ("Content-Length: 000{length}\r\n\r\n{hidden}", BODY),
    ("Content-Length : {length}\r\n\r\n{hidden}", REFUSED),
    ("content-length:{length}\r\n\r\n{hidden}", BODY),
    ("Content-Length:\t{length} \r\n\r\n{hidden}", BODY),
    ("Content-Length:\r\n {length}\r\n\r\n{hidden}", REFUSED),
    (
        "Content-Length: {length}\r\nConnection: Content-Length\r\n\r\n{hidden}",
        BODY,
    ),
    ("Content-Length: {length}\n\n{hidden}", BODY),
    // None, or under another name: what follows is a request.
    ("\r\n{hidden}", SECOND),
    ("\n{hidden}", SECOND),
    ("X-Own: 1\r\r\n{hidden}", "400"),
    (
        "Content_Length: {length}\r\n\r\n{hidden}",
        "200, 401 token_missing > {to} [content_length: {length}]",
    ),
    (
        "X-Content-Length: {length}\r\n\r\n{hidden}",
        "200, 401 token_missing > {to} [x-content-length: {length}]",
    ),
    ("Content-Length: 0\r\n\r\n{hidden}", SECOND),
    (
        "Content-Length: 5\r\n\r\nhello{hidden}",
        "200, 401 token_missing > {to} \"hello\"",
    ),
    (
        "Content-Length: 5\r\n\r\nhello\r\n\r\n{hidden}",
        "200, 401 token_missing > {to} \"hello\"",
    ),
    // Longer than what comes.
    ("Content-Length: 999\r\n\r\n{hidden}", BROKEN),
    ("Content-Length: 1\r\n\r\n", BROKEN),
    ("Transfer-Encoding: chunked\r\n\r\n", BROKEN),
    ("Transfer-Encoding: chunked\r\n\r\nfff\r\n{hidden}", BROKEN),
    ("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", BROKEN),
    (
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        BROKEN,
    ),
    // Chunks.
    (
        "Transfer-Encoding: chunked\r\n\r\n{hex}\r\n{hidden}\r\n0\r\n\r\n",
        BODY,
    ),
    (
        "Transfer-Encoding: chunked\r\n\r\n000{hex}\r\n{hidden}\r\n0\r\n\r\n",
        BODY,
    ),
    (
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n{hidden}",
        "200, 401 token_missing > {to} \"hello\"",
    ),
    (
        "Transfer-Encoding: chunked\r\n\r\nA\r\nhellohello\r\n0\r\n\r\n",
        "200 > {to} \"hellohello\"",
    ),
    (
        "Transfer-Encoding: chunked\r\n\r\n1\r\nh\r\n4\r\nello\r\n00000\r\n\r\n{hidden}",
        "200, 401 token_missing > {to} \"hello\"",
    ),
    (
        "Transfer-Encoding: chunked\r\n\r\n5;ext=1\r\nhello\r\n0\r\n\r\n{hidden}",
        "200, 401 token_missing > {to} \"hello\"",
    ),
    (
        "Transfer-Encoding: chunked\r\n\r\n5;ext=\"\r\n\"\r\nhello\r\n0\r\n\r\n{hidden}",
        BROKEN,
    ),
    (
        "Transfer-Encoding: chunked\r\n\r\n5;\r\nhello\r\n0\r\n\r\n{hidden}",
        "200, 401 token_missing > {to} \"hello\"",
    ),
    (
        "Transfer-Encoding: chunked\r\n\r\n0;ext\r\n\r\n{hidden}",
        SECOND,
    ),
    (
        "Transfer-Encoding: chunked\r\n\r\n0;ext=\"\r\n\r\n{hidden}",
        SECOND,
    ),
    (
        "Transfer-Encoding: chunked\r\n\r\n2;\nxx\r\n{hex}\r\n0\r\n\r\n{hidden}",
        BROKEN,
    ),
    (
        "Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n{hidden}",
        BROKEN,
    ),
    (
        "Transfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n{hidden}",
        BROKEN,
    ),
    (
        "Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n{hidden}",
        BROKEN,
    ),
    (
        "Transfer-Encoding: chunked\r\n\r\n 5\r\nhello\r\n0\r\n\r\n{hidden}",
        BROKEN,
    ),
    (
        "Transfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n{hidden}",
        "200, 401 token_missing > {to} \"hello\"",
    ),
    (
        "Transfer-Encoding: chunked\r\n\r\n5\t\r\nhello\r\n0\r\n\r\n{hidden}",
        "200, 401 token_missing > {to} \"hello\"",
    ),
    (
        "Transfer-Encoding: chunked\r\n\r\n0 \r\n\r\n{hidden}",
        SECOND,
    ),
    (
        "Transfer-Encoding: chunked\r\n\r\ng\r\nhello\r\n0\r\n\r\n{hidden}",
        BROKEN,
    ),
    (
        "Transfer-Encoding: chunked\r\n\r\n\r\nhello\r\n0\r\n\r\n{hidden}",
        BROKEN,
    ),
    (
        "Transfer-Encoding: chunked\r\n\r\n5\0\r\nhello\r\n0\r\n\r\n{hidden}",
        BROKEN,
    ),
    (
        "Transfer-Encoding: chunked\r\n\r\n5{ff}\r\nhello\r\n0\r\n\r\n{hidden}",
        BROKEN,
    ),
    (
        "Transfer-Encoding: chunked\r\n\r\n1_0\r\nhello\r\n0\r\n\r\n{hidden}",
        BROKEN,
    ),
    (
        "Transfer-Encoding: chunked\r\n\r\n5\nhello\n0\n\n{hidden}",
        BROKEN,
    ),
    (
        "Transfer-Encoding: chunked\r\n\r\n5\rhello\r0\r\r{hidden}",
        BROKEN,
    ),
    (
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n{hidden}",
        BROKEN,
    ),
    (
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n{hidden}",
        BROKEN,
    ),
    (
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello0\r\n\r\n{hidden}",
        BROKEN,
    ),
    (
        "Transfer-Encoding: chunked\r\n\r\n6\r\nhello\r\n0\r\n\r\n{hidden}",
        BROKEN,
    ),
    (
        "Transfer-Encoding: chunked\r\n\r\n5\r\r\nhello\r\n0\r\n\r\n{hidden}",
        BROKEN,
    ),
    (
        "Transfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n{hidden}",
        BROKEN,
    ),
    (
        "Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n\r\n{hidden}",
        BROKEN,
    ),
    (
        "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nhello\r\n0\r\n\r\n{hidden}",
        BROKEN,
    ),
    ("Transfer-Encoding: chunked\r\n\r\n0\r\n\n{hidden}", FIRST),
    ("Transfer-Encoding: chunked\r\n\r\n0\n\n{hidden}", BROKEN),
    ("Transfer-Encoding: chunked\r\n\r\n0\r\nX{hidden}", BROKEN),
    // Fields behind the body.
    (
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-User-ID: root\r\n\r\n",
        "200 > {to} \"hello\"",
    ),
    (
        "Trailer: X-User-ID\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-User-ID: root\r\n\r\n{hidden}",
        SECOND,
    ),
    (
        "Transfer-Encoding: chunked\r\n\r\n0\r\nAuthorization: Bearer {admin}\r\n\r\n{hidden}",
        SECOND,
    ),
    (
        "Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: {length}\r\n\r\n{hidden}",
        SECOND,
    ),
];

/// The body ends before the hidden request, which is judged.
const SECOND: &str = "200, 401 token_missing > {to}";

/// The hidden request is the body.
const BODY: &str = "200 > {to} \"{hidden}\"";

/// Nothing passes.
const REFUSED: &str = "400";

/// The body breaks off, by what stands in it or because no more comes: the upstream got no whole one.
const BROKEN: &str = "502 upstream_unavailable";

/// The platform reads nothing after it.
const FIRST: &str = "200 > {to}";

pub(super) fn trials(people: &People) -> Vec<Trial> {
    let mut trials = Vec::new();
    for (rest, came) in ROWS {
        for (who, target) in [(Who::Nobody, "/public/x"), (Who::Member, "/api/x")] {
            let line = people.line(who);
            let request = format!("POST {target} HTTP/1.1\r\nHost: {HOST}\r\n{line}{rest}");
            let came = came
                .replace("{to}", &format!("POST {target} {}", who.name()))
                .replace("{length}", &super::HIDDEN.len().to_string());
            trials.push(Trial::new(people, rest, &request, came));
        }
    }
    trials
}
