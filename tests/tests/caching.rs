//! Who may keep what the gate passes back.

use edgekeep_tests::gate::Gate;
use edgekeep_tests::server::Reply;

const POLICY: &str = r#"
[[route]]
match = "/public/**"
access = "public"

[[route]]
match = "/upstream/**"

[[route]]
match = "/private/**"
cache = "private"

[[route]]
match = "/never/**"
cache = "no-store"
[route.cors]
origins = ["https://app.example"]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_says_who_may_keep_an_answer() {
    let gate = Gate::with(|_, variables| {
        variables.insert("POLICY", POLICY.to_owned());
    })
    .await;
    let token = gate.good_token();
    let said = "public, s-maxage=600, max-age=60";
    for status in [200, 404, 304] {
        gate.upstream.answer_with(move |_| {
            Reply::new(status, "page")
                .header("Cache-Control", said)
                .header("CDN-Cache-Control", "max-age=600")
                .header("Netlify-CDN-Cache-Control", "max-age=600")
                .header("Akamai-Cache-Control", "max-age=600")
                .header("Edge-Control", "max-age=600")
                .header("X-Accel-Expires", "600")
                .header("Expires", "Thu, 01 Jan 2099 00:00:00 GMT")
                .header("ETag", "\"e\"")
        });
        for (path, control, others) in [
            ("/public/x", said, true),
            ("/upstream/x", said, true),
            ("/private/x", "private, max-age=60", false),
            ("/never/x.css", "no-store", false),
        ] {
            let call = gate.call("GET", path, &token);
            let call = call.header("Origin", "https://app.example");
            let answer = call.send().await.unwrap();
            assert_eq!(answer.status, status, "{path}");
            assert_eq!(answer.header("cache-control"), Some(control), "{path}");
            for name in [
                "cdn-cache-control",
                "netlify-cdn-cache-control",
                "akamai-cache-control",
                "edge-control",
                "x-accel-expires",
                "expires",
            ] {
                assert_eq!(answer.header(name).is_some(), others, "{path}: {name}");
            }
            assert_eq!(answer.header("etag"), Some("\"e\""), "{path}");
            if status != 304 {
                assert_eq!(answer.text(), "page", "{path}");
            }
            if path == "/never/x.css" {
                let allowed = answer.header("access-control-allow-origin");
                assert_eq!(allowed, Some("https://app.example"));
            }
        }
    }
    // An answer without a word on it is kept by nobody else either.
    gate.upstream.answer_with(|_| Reply::new(200, "page"));
    for (path, control) in [("/private/x", "private"), ("/never/x", "no-store")] {
        let answer = gate.get(path, &token).await;
        assert_eq!(answer.header("cache-control"), Some(control), "{path}");
    }
    assert_eq!(
        gate.get("/never/x", "garbage")
            .await
            .header("cache-control"),
        Some("no-store")
    );
}
