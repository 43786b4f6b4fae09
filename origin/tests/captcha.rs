//! Captchas that the keep judges itself: each kind, each bound, each race; when one is asked for.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod callers;
mod support;

use std::process::Command;

use axum::http::Method;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use callers::{
    ask, challenge, get_from, image_challenge, payload, post_from, solved, target, token, work,
};
use edgekeep_origin::config::{CaptchaFor, CaptchaKind, CaptchaWhen, Config};
use serde_json::{Value, json};
use support::{Origin, Reply};

const ALICE: &str = "alice@example.org";
const BOB: &str = "bob@example.org";
const NUMBER: &str = "+41791234567";
const PASSWORD: &str = "correct horse battery";

async fn origin(kind: CaptchaKind, change: impl FnOnce(&mut Config)) -> Origin {
    Origin::with(|config| {
        config.captcha.kind = kind;
        config.captcha.when = CaptchaWhen::Always;
        config.captcha.pow_cost = 10;
        config.captcha.pow_zeros = 1;
        config.limits.captcha_per_ip_per_minute = 1_000;
        change(config);
    })
    .await
}

/// A request for `purpose` with `identifier` and, where there is one, an answer.
async fn try_it(origin: &Origin, purpose: &str, identifier: &str, answer: Option<&Value>) -> Reply {
    let (route, mut body) = match purpose {
        "register" if identifier.starts_with('+') => (
            "/register",
            json!({"phone_number": identifier, "password": PASSWORD}),
        ),
        "register" => (
            "/register",
            json!({"email": identifier, "password": PASSWORD}),
        ),
        "login" => (
            "/login",
            json!({"identifier": identifier, "password": "wrong password"}),
        ),
        "otp" if identifier.starts_with('+') => ("/otp/send", json!({"phone_number": identifier})),
        "otp" => ("/otp/send", json!({"email": identifier})),
        _ => ("/forgot-password", json!({"identifier": identifier})),
    };
    if let Some(answer) = answer {
        body["captcha"] = answer.clone();
    }
    post_from(origin, "203.0.113.9", route, body).await
}

/// What each purpose answers when it was let pass.
const PASSED: [(&str, u16, &str); 4] = [
    ("register", 202, ""),
    ("login", 401, "credentials_invalid"),
    ("otp", 200, ""),
    ("password", 202, ""),
];

#[tokio::test]
async fn off_asks_for_nothing_and_says_so() {
    let origin = Origin::new().await;
    for query in ["for=login", "for=otp&target=a%40example.org"] {
        let reply = ask(&origin, query).await.expect(200, "");
        assert_eq!(reply.body, json!({"type": "off", "expires_in": 0}));
    }
    for (purpose, status, code) in PASSED {
        for answer in [None, Some(&json!("ekc_nothing"))] {
            let identifier = format!("{purpose}@example.org");
            try_it(&origin, purpose, &identifier, answer)
                .await
                .expect(status, code);
        }
    }
    let nobodys = json!({"captcha_id": "67e55044-10b1-426f-9247-bb680e5fe0c8", "answer": "x"});
    origin
        .post("/captcha/verify", nobodys)
        .await
        .expect(400, "captcha_invalid");
}

#[tokio::test]
async fn always_asks_on_the_routes_that_are_named() {
    let origin = origin(CaptchaKind::Image, |config| {
        config.captcha.routes = vec![CaptchaFor::Login, CaptchaFor::Otp];
    })
    .await;
    for (purpose, status, code) in PASSED {
        let reply = try_it(&origin, purpose, ALICE, None).await;
        if ["register", "password"].contains(&purpose) {
            reply.expect(status, code);
            continue;
        }
        let reply = reply.expect(403, "captcha_required");
        let hint = json!({"type": "image", "for": purpose, "alternative": "pow"});
        assert_eq!(reply.body["captcha"], hint);
    }
    assert!(origin.message(ALICE).is_some(), "registered");
}

#[tokio::test]
async fn an_image_is_solved_in_any_case_directly_or_for_a_token() {
    let origin = origin(CaptchaKind::Image, |_| {}).await;
    for (purpose, status, code) in PASSED {
        let (asked, letters) = image_challenge(&origin, purpose, ALICE).await;
        assert_eq!(asked["type"], "image");
        assert_eq!(asked["alternative"], "pow");
        assert_eq!(asked["expires_in"], 300);
        let answer = solved(&asked, &format!(" {} ", letters.to_lowercase()));
        try_it(&origin, purpose, "ALICE@example.org", Some(&answer))
            .await
            .expect(status, code);
        try_it(&origin, purpose, ALICE, Some(&answer))
            .await
            .expect(400, "captcha_invalid");

        let (asked, letters) = image_challenge(&origin, purpose, BOB).await;
        let answer = solved(&asked, &letters);
        let pass = origin.post("/captcha/verify", answer.clone()).await;
        let pass = pass.expect(200, "");
        assert_eq!(pass.body["expires_in"], 300);
        origin
            .post("/captcha/verify", answer)
            .await
            .expect(400, "captcha_invalid");
        for form in [
            json!({"token": pass.body["captcha_token"]}),
            pass.body["captcha_token"].clone(),
        ] {
            let reply = try_it(&origin, purpose, BOB, Some(&form)).await;
            if form.is_object() {
                reply.expect(status, code);
            } else {
                reply.expect(400, "captcha_invalid");
            }
        }
    }
}

#[tokio::test]
async fn three_answers_are_looked_at() {
    let origin = origin(CaptchaKind::Image, |_| {}).await;
    for (wrong, right) in [(2, true), (3, false), (4, false)] {
        let (asked, letters) = image_challenge(&origin, "login", ALICE).await;
        for _ in 0..wrong {
            let answer = solved(&asked, "XXXXXX");
            origin
                .post("/captcha/verify", answer)
                .await
                .expect(400, "captcha_invalid");
        }
        let reply = origin.post("/captcha/verify", solved(&asked, &letters));
        assert_eq!(reply.await.status == 200, right, "{wrong}");
    }
}

#[tokio::test]
async fn captchas_and_their_tokens_expire_at_five_minutes() {
    for (seconds, good) in [(299, true), (300, false), (301, false)] {
        let origin = origin(CaptchaKind::Pow, |_| {}).await;
        let (status, code) = if good {
            (401, "credentials_invalid")
        } else {
            (400, "captcha_invalid")
        };
        let asked = challenge(&origin, "login", ALICE).await;
        origin.advance(seconds);
        let answer = json!(payload(&work(&asked, 1, 0)));
        try_it(&origin, "login", ALICE, Some(&answer))
            .await
            .expect(status, code);
        let pass = pow_pass(&origin, "login", ALICE).await;
        origin.advance(seconds);
        try_it(&origin, "login", ALICE, Some(&pass))
            .await
            .expect(status, code);
    }
}

/// A token for a proof of work.
async fn pow_pass(origin: &Origin, purpose: &str, identifier: &str) -> Value {
    let asked = challenge(origin, purpose, identifier).await;
    let answer = solved(&asked, &payload(&work(&asked, 1, 0)));
    token(origin.post("/captcha/verify", answer).await)
}

#[tokio::test]
async fn a_captcha_is_bound_to_its_purpose_and_its_target() {
    let origin = origin(CaptchaKind::Pow, |_| {}).await;
    for (purpose, status, code) in PASSED {
        for (other, _, _) in PASSED {
            let asked = challenge(&origin, purpose, ALICE).await;
            let direct = json!(payload(&work(&asked, 1, 0)));
            for (made_for, used_with) in [(purpose, BOB), (other, ALICE)] {
                if (made_for, used_with) == (purpose, ALICE) {
                    continue;
                }
                try_it(&origin, made_for, used_with, Some(&direct))
                    .await
                    .expect(400, "captcha_invalid");
                let pass = pow_pass(&origin, purpose, ALICE).await;
                try_it(&origin, made_for, used_with, Some(&pass))
                    .await
                    .expect(400, "captcha_invalid");
                // Used up by the attempt.
                try_it(&origin, purpose, ALICE, Some(&pass))
                    .await
                    .expect(400, "captcha_invalid");
            }
            // What was tried for something else is still good for what it was made for; whether the
            // hour's messages are used up by now is another matter.
            let reply = try_it(&origin, purpose, ALICE, Some(&direct)).await;
            if reply.status == 429 || reply.status == 423 {
                origin.advance(3_600);
            } else {
                reply.expect(status, code);
            }
        }
    }
}

#[tokio::test]
async fn a_captcha_without_target_is_made_only_where_that_is_set() {
    let strict = origin(CaptchaKind::Pow, |_| {}).await;
    let reply = ask(&strict, "for=login").await;
    let reply = reply.expect(400, "request_invalid");
    assert!(reply.text("detail").starts_with("target:"));
    let lax = origin(CaptchaKind::Pow, |config| {
        config.captcha.bind_target = false;
    })
    .await;
    let asked = ask(&lax, "for=login").await.expect(200, "").body;
    let answer = json!(payload(&work(&asked, 1, 0)));
    try_it(&lax, "otp", BOB, Some(&answer))
        .await
        .expect(400, "captcha_invalid");
    try_it(&lax, "login", BOB, Some(&answer))
        .await
        .expect(401, "credentials_invalid");
    // One that names its target is bound to it here, too.
    let asked = challenge(&lax, "login", ALICE).await;
    let answer = json!(payload(&work(&asked, 1, 0)));
    try_it(&lax, "login", BOB, Some(&answer))
        .await
        .expect(400, "captcha_invalid");
}

#[tokio::test]
async fn a_captcha_of_a_kind_that_is_no_longer_offered_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let url = edgekeep_origin::db::sqlite_url(&folder.path().join("edgekeep.db"));
    // The same database and master key under two configurations.
    let key = STANDARD.encode([7; 32]).replace('=', "");
    let shared = |config: &mut Config| {
        config.database.url = Some(url.clone());
        config.secrets.master_key = Some(edgekeep_origin::vault::Secret::new(key.clone()));
    };
    let before = origin(CaptchaKind::Image, shared).await;
    let (asked, letters) = image_challenge(&before, "login", ALICE).await;
    let (other, other_letters) = image_challenge(&before, "login", ALICE).await;
    let pass = before
        .post("/captcha/verify", solved(&other, &other_letters))
        .await;
    let pass = token(pass);
    let after = origin(CaptchaKind::Pow, shared).await;
    for answer in [solved(&asked, &letters), pass.clone()] {
        try_it(&after, "login", ALICE, Some(&answer))
            .await
            .expect(400, "captcha_invalid");
    }
    let answer = solved(&asked, &letters);
    try_it(&before, "login", ALICE, Some(&answer))
        .await
        .expect(401, "credentials_invalid");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_hundred_right_answers_at_once_one_passes() {
    let origin = origin(CaptchaKind::Image, |config| {
        config.lockout.max_failures = 100;
        config.otp.sends_per_hour = 1_000;
    })
    .await;
    let passed = |replies: Vec<Reply>| {
        let mut passed = 0;
        for reply in replies {
            if reply.status == 200 {
                passed += 1;
            } else {
                reply.expect(400, "captcha_invalid");
            }
        }
        passed
    };
    let (asked, letters) = image_challenge(&origin, "otp", ALICE).await;
    let answer = solved(&asked, &letters);
    let all = (0..100).map(|_| try_it(&origin, "otp", ALICE, Some(&answer)));
    assert_eq!(passed(support::all(all).await), 1);

    let (asked, letters) = image_challenge(&origin, "otp", ALICE).await;
    let answer = solved(&asked, &letters);
    let all = (0..100).map(|_| origin.post("/captcha/verify", answer.clone()));
    let replies = support::all(all).await;
    let pass = replies.iter().find(|reply| reply.status == 200).unwrap();
    let pass = json!({"token": pass.body["captcha_token"]});
    assert_eq!(passed(replies), 1);
    let all = (0..100).map(|_| try_it(&origin, "otp", ALICE, Some(&pass)));
    assert_eq!(passed(support::all(all).await), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_hundred_guesses_at_once_three_are_compared() {
    let origin = origin(CaptchaKind::Image, |_| {}).await;
    let (asked, letters) = image_challenge(&origin, "otp", ALICE).await;
    let wrong = solved(&asked, "XXXXXX");
    let all = (0..100).map(|_| origin.post("/captcha/verify", wrong.clone()));
    for reply in support::all(all).await {
        reply.expect(400, "captcha_invalid");
    }
    let mut reader = origin.state.db.read().await.unwrap();
    let tries: i64 = sqlx::query_scalar("SELECT tries FROM captcha_challenges")
        .fetch_one(&mut *reader)
        .await
        .unwrap();
    assert_eq!(tries, 3);
    origin
        .post("/captcha/verify", solved(&asked, &letters))
        .await
        .expect(400, "captcha_invalid");
}

#[tokio::test]
async fn altchas_library_solves_ours() {
    let origin = origin(CaptchaKind::Pow, |config| config.captcha.pow_zeros = 2).await;
    for form in ["text", "object"] {
        let asked = challenge(&origin, "otp", ALICE).await;
        let output = Command::new("node")
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/altcha/solve.mjs"
            ))
            .args([callers::node_modules(), &asked.to_string()])
            .output()
            .unwrap();
        let payload = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{payload}");
        let answer = match form {
            "text" => json!(payload),
            _ => solved(&asked, &payload),
        };
        try_it(&origin, "otp", ALICE, Some(&answer))
            .await
            .expect(200, "");
    }
}

/// What is altered in a proof, with another captcha at hand.
type Alter = fn(&mut Value, &Value);

#[tokio::test]
async fn rejects_work_that_was_not_done_for_this() {
    let origin = origin(CaptchaKind::Pow, |config| config.captcha.pow_zeros = 2).await;
    let other = challenge(&origin, "otp", ALICE).await;
    // Each on a fresh captcha, with a proof that would hold where what was altered is believed.
    let cases: [(&str, usize, Alter); 13] = [
        ("too few zeros", 1, |_, _| {}),
        ("an easier prefix", 1, |proof, _| {
            proof["challenge"]["parameters"]["keyPrefix"] = json!("0");
        }),
        ("no prefix", 0, |proof, _| {
            proof["challenge"]["parameters"]["keyPrefix"] = json!("");
        }),
        ("another cost", 2, |proof, _| {
            proof["challenge"]["parameters"]["cost"] = json!(1);
        }),
        ("another salt", 2, |proof, _| {
            proof["challenge"]["parameters"]["salt"] = json!("0".repeat(32));
        }),
        ("another nonce", 2, |proof, _| {
            proof["challenge"]["parameters"]["nonce"] = json!("0".repeat(32));
        }),
        ("a later end", 2, |proof, _| {
            proof["challenge"]["parameters"]["expiresAt"] = json!(4_102_444_800_u64);
        }),
        ("another captcha's id", 2, |proof, other| {
            let id = other["captcha_id"].clone();
            proof["challenge"]["parameters"]["data"]["captcha_id"] = id;
        }),
        ("a forged signature", 2, |proof, _| {
            proof["challenge"]["signature"] = json!("0".repeat(64));
        }),
        ("another captcha's signature", 2, |proof, other| {
            proof["challenge"]["signature"] = other["signature"].clone();
        }),
        ("another counter", 2, |proof, _| {
            let counter = proof["solution"]["counter"].as_u64().unwrap();
            proof["solution"]["counter"] = json!(counter ^ 1);
        }),
        ("another key", 2, |proof, _| {
            proof["solution"]["derivedKey"] = json!(format!("00{}", "1".repeat(62)));
        }),
        ("a key in capitals", 2, |proof, _| {
            let key = proof["solution"]["derivedKey"].as_str().unwrap();
            proof["solution"]["derivedKey"] = json!(format!("{}F", &key.to_uppercase()[..63]));
        }),
    ];
    for (what, zeros, alter) in cases {
        let asked = challenge(&origin, "otp", ALICE).await;
        let mut proof = work(&asked, zeros, 0);
        alter(&mut proof, &other);
        let reply = try_it(&origin, "otp", ALICE, Some(&json!(payload(&proof)))).await;
        assert_eq!(reply.code(), "captcha_invalid", "{what}");
        let mut reply = solved(&asked, &payload(&proof));
        let again = try_it(&origin, "otp", ALICE, Some(&reply)).await;
        assert_eq!(again.code(), "captcha_invalid", "{what}");
        // The captcha itself is good: what was refused was the alteration.
        reply["answer"] = json!(payload(&work(&asked, 2, 0)));
        let reply = try_it(&origin, "otp", ALICE, Some(&reply)).await;
        assert_ne!(reply.code(), "captcha_invalid", "{what}");
        origin.advance(3_600);
    }
}

#[tokio::test]
async fn an_answer_of_another_kind_is_not_taken() {
    let origin = origin(CaptchaKind::Image, |_| {}).await;
    let query = format!("for=login&target={}&type=pow", target(ALICE));
    let pow = ask(&origin, &query).await.expect(200, "").body;
    let (image, letters) = image_challenge(&origin, "login", ALICE).await;
    let proof = payload(&work(&pow, 1, 0));
    for answer in [
        solved(&image, &proof),
        solved(&pow, &letters),
        solved(&pow, pow["signature"].as_str().unwrap()),
    ] {
        try_it(&origin, "login", ALICE, Some(&answer))
            .await
            .expect(400, "captcha_invalid");
    }
    // The alternative opens as well.
    try_it(&origin, "login", ALICE, Some(&json!(proof)))
        .await
        .expect(401, "credentials_invalid");
    for kind in ["turnstile", "code", "off", "IMAGE", "x"] {
        let query = format!("for=login&target={}&type={kind}", target(ALICE));
        ask(&origin, &query).await.expect(400, "request_invalid");
    }
    for query in [
        "",
        "for=",
        "for=admin",
        "for=login&for=otp&target=a",
        "for=login&target=",
        "for=login&target=a&x=1",
        &format!("for=login&target={}", "a".repeat(255)),
    ] {
        ask(&origin, query).await.expect(400, "request_invalid");
    }
}

#[tokio::test]
async fn a_code_goes_where_the_owner_reads_it() {
    let origin = origin(CaptchaKind::Code, |config| {
        config.captcha.routes = vec![CaptchaFor::Login, CaptchaFor::Password];
    })
    .await;
    let registration = json!({"email": ALICE, "username": "alice", "password": PASSWORD});
    origin.post("/register", registration).await.expect(202, "");
    let proof = json!({"email": ALICE, "code": origin.code(ALICE)});
    origin.post("/register/verify", proof).await.expect(200, "");
    let mut seen = Vec::new();
    for identifier in ["Alice@example.org", "alice", BOB, "nobody"] {
        let before = origin.state.mailer.sent().len();
        let asked = challenge(&origin, "login", identifier).await;
        assert_eq!(asked["type"], "code");
        let sent = origin.state.mailer.sent().split_off(before);
        let to: Vec<&str> = sent.iter().map(|message| &*message.to).collect();
        seen.push(to.join(","));
        let Some(message) = sent.first() else {
            continue;
        };
        let answer = solved(&asked, message.code.as_deref().unwrap());
        try_it(&origin, "login", identifier, Some(&answer))
            .await
            .expect(401, "credentials_invalid");
    }
    assert_eq!(seen, [ALICE, ALICE, BOB, ""]);
    // It is no code to log in with, nor to register with.
    challenge(&origin, "login", BOB).await;
    let body = json!({"email": BOB, "code": origin.code(BOB)});
    origin
        .post("/register/verify", body)
        .await
        .expect(400, "code_invalid");
    // Counted like other messages, the same for identifiers that nobody has.
    for identifier in ["nobody", BOB, "Alice@example.org"] {
        let query = format!("for=login&target={}", target(identifier));
        let mut replies = Vec::new();
        for _ in 0..3 {
            replies.push(ask(&origin, &query).await);
        }
        let reply = replies.pop().unwrap().expect(429, "rate_limited");
        assert_eq!(reply.headers["retry-after"], "3600");
    }
}

/// Else `GET /captcha` would be the way to make the keep send SMS to anybody.
#[tokio::test]
async fn no_sms_goes_to_a_number_that_nobody_has_proved() {
    let origin = origin(CaptchaKind::Code, |config| {
        config.captcha.when = CaptchaWhen::Risk;
    })
    .await;
    let asked = challenge(&origin, "otp", NUMBER).await;
    assert_eq!(asked["type"], "pow", "the alternative");
    let query = format!("for=otp&target={}&type=code", target(NUMBER));
    let asked_for_code = ask(&origin, &query).await.expect(200, "").body;
    assert_eq!(asked_for_code["type"], "code");
    assert!(origin.message(NUMBER).is_none());
    let answer = json!(payload(&work(&asked, 1, 0)));
    let sent = try_it(&origin, "otp", NUMBER, Some(&answer))
        .await
        .expect(200, "");
    let proof = json!({"otp_token": sent.body["otp_token"], "code": origin.code(NUMBER)});
    post_from(&origin, "203.0.113.9", "/otp/verify", proof)
        .await
        .expect(200, "");
    let before = origin.state.mailer.sent().len();
    let asked = ask(&origin, &query).await.expect(200, "").body;
    assert_eq!(origin.state.mailer.sent().len(), before + 1);
    let answer = solved(&asked, &origin.code(NUMBER));
    origin.post("/captcha/verify", answer).await.expect(200, "");
}

/// A right answer tells that the message was wanted, as a code to log in does.
#[tokio::test]
async fn a_captcha_by_sms_does_not_hold_up_what_it_was_asked_for() {
    for as_pass in [false, true] {
        let origin = origin(CaptchaKind::Code, |config| {
            config.captcha.when = CaptchaWhen::Always;
            config.captcha.routes = vec![CaptchaFor::Otp];
            config.sms.defend = Some(true);
        })
        .await;
        let body = json!({"phone_number": NUMBER, "password": PASSWORD});
        origin.post("/register", body).await.expect(202, "");
        let proof = json!({"phone_number": NUMBER, "code": origin.code(NUMBER)});
        origin.post("/register/verify", proof).await.expect(200, "");
        let query = format!("for=otp&target={}&type=code", target(NUMBER));
        let asked = ask(&origin, &query).await.expect(200, "").body;
        let mut answer = solved(&asked, &origin.code(NUMBER));
        if as_pass {
            let reply = origin.post("/captcha/verify", answer).await.expect(200, "");
            answer = reply.body["captcha_token"].clone();
        }
        try_it(&origin, "otp", NUMBER, Some(&answer))
            .await
            .expect(200, "");
    }
}

async fn by_risk(per_ip: bool) -> Origin {
    origin(CaptchaKind::Pow, |config| {
        config.captcha.when = CaptchaWhen::Risk;
        config.limits.per_ip = per_ip;
        config.limits.otp_send_per_ip_per_hour = 1_000;
        config.limits.forgot_password_per_ip_per_hour = 1_000;
        config.limits.login_failures_per_ip = 1_000;
    })
    .await
}

async fn log_in(origin: &Origin, address: &str, identifier: &str, password: &str) -> Reply {
    let body = json!({"identifier": identifier, "password": password});
    post_from(origin, address, "/login", body).await
}

/// The same for identifiers that somebody and that nobody has, at each step.
#[tokio::test]
async fn an_identifier_is_asked_after_three_failures_and_not_before() {
    let origin = by_risk(false).await;
    let registration = json!({"email": ALICE, "username": "alice", "password": PASSWORD});
    origin.post("/register", registration).await.expect(202, "");
    let proof = json!({"email": ALICE, "code": origin.code(ALICE)});
    origin.post("/register/verify", proof).await.expect(200, "");
    let mut walks = Vec::new();
    for identifier in [ALICE, BOB, "nobody", "!!"] {
        let mut walk = Vec::new();
        for step in 0..8 {
            let mut captcha = None;
            if step > 3 {
                captcha = Some(pow_pass(&origin, "login", identifier).await);
            }
            let mut body = json!({"identifier": identifier, "password": "wrong password"});
            if let Some(captcha) = captcha {
                body["captcha"] = captcha;
            }
            let mut reply = post_from(&origin, "203.0.113.9", "/login", body).await;
            reply.body["instance"] = Value::Null;
            walk.push((reply.status.as_u16(), reply.body.to_string()));
        }
        walks.push(walk);
    }
    let statuses: Vec<u16> = walks[0].iter().map(|step| step.0).collect();
    assert_eq!(statuses, [401, 401, 401, 403, 401, 401, 423, 423]);
    assert!(walks.iter().all(|walk| walk == &walks[0]), "{walks:?}");
    // A lock is told without a captcha: solving one would change nothing.
    log_in(&origin, "203.0.113.9", ALICE, PASSWORD)
        .await
        .expect(423, "account_locked");
    // Other identifiers are not concerned, other doors of this one are.
    log_in(&origin, "203.0.113.9", "carol@example.org", "wrong")
        .await
        .expect(401, "credentials_invalid");
    for purpose in ["otp", "password", "register"] {
        for identifier in [ALICE, BOB] {
            try_it(&origin, purpose, identifier, None)
                .await
                .expect(403, "captcha_required");
        }
    }
    // After the lock the count begins anew.
    origin.advance(900);
    log_in(&origin, "203.0.113.9", ALICE, PASSWORD)
        .await
        .expect(200, "");
}

#[tokio::test]
async fn whoever_solves_it_logs_in_and_is_asked_no_more() {
    let origin = by_risk(true).await;
    let counted = async |outcome: &str| {
        let text = origin.state.metrics.render(&origin.state).await;
        let line = format!("edgekeep_captchas_total{{outcome=\"{outcome}\"}} ");
        let found = text.lines().find_map(|it| it.strip_prefix(&line));
        found.map(str::to_owned)
    };
    let registration = json!({"email": ALICE, "password": PASSWORD});
    origin.post("/register", registration).await.expect(202, "");
    let proof = json!({"email": ALICE, "code": origin.code(ALICE)});
    origin.post("/register/verify", proof).await.expect(200, "");
    // A stranger's failures make the owner solve one; they do not keep them out.
    for _ in 0..3 {
        log_in(&origin, "198.51.100.1", ALICE, "wrong").await;
    }
    log_in(&origin, "203.0.113.9", ALICE, PASSWORD)
        .await
        .expect(403, "captcha_required");
    // The delay after a stranger's third failure runs besides.
    origin.advance(5);
    let pass = pow_pass(&origin, "login", ALICE).await;
    let body = json!({"identifier": ALICE, "password": PASSWORD, "captcha": pass});
    post_from(&origin, "203.0.113.9", "/login", body)
        .await
        .expect(200, "");
    log_in(&origin, "203.0.113.9", ALICE, PASSWORD)
        .await
        .expect(200, "");
    assert_eq!(counted("captcha_required").await.as_deref(), Some("1"));
    assert_eq!(counted("passed").await.as_deref(), Some("1"));
    assert_eq!(counted("captcha_invalid").await, None);
}

#[tokio::test]
async fn a_network_is_asked_after_three_failures_for_fifteen_minutes() {
    let origin = by_risk(true).await;
    let (one, neighbour, other) = ("2001:db8::1", "2001:db8::ffff", "2001:db8:0:1::1");
    for number in 0..3 {
        let identifier = format!("nobody{number}@example.org");
        log_in(&origin, one, &identifier, "wrong password")
            .await
            .expect(401, "credentials_invalid");
    }
    for address in [one, neighbour] {
        for route in ["/login", "/otp/send", "/forgot-password", "/register"] {
            let body = match route {
                "/login" => json!({"identifier": "x", "password": "x"}),
                "/otp/send" => json!({"email": BOB}),
                "/register" => json!({"email": BOB, "password": PASSWORD}),
                _ => json!({"identifier": "x"}),
            };
            post_from(&origin, address, route, body)
                .await
                .expect(403, "captcha_required");
        }
    }
    log_in(&origin, other, "x", "wrong password")
        .await
        .expect(401, "credentials_invalid");
    origin.advance(899);
    log_in(&origin, one, "y", "wrong password")
        .await
        .expect(403, "captcha_required");
    origin.advance(1);
    log_in(&origin, one, "y", "wrong password")
        .await
        .expect(401, "credentials_invalid");
}

#[tokio::test]
async fn wrong_codes_count_for_the_network_and_successes_do_not() {
    let origin = by_risk(true).await;
    let address = "198.51.100.7";
    for _ in 0..4 {
        let sent = post_from(&origin, address, "/otp/send", json!({"email": ALICE})).await;
        if sent.status == 429 {
            break;
        }
        let body = json!({"otp_token": sent.body["otp_token"], "code": origin.code(ALICE)});
        post_from(&origin, address, "/otp/verify", body)
            .await
            .expect(200, "");
    }
    for _ in 0..3 {
        let body = json!({"otp_token": "eko_x", "code": "000000"});
        post_from(&origin, address, "/otp/verify", body)
            .await
            .expect(400, "code_invalid");
    }
    log_in(&origin, address, BOB, "x")
        .await
        .expect(403, "captcha_required");
    // Without counting by address nobody's network is looked at.
    let origin = by_risk(false).await;
    for number in 0..10 {
        log_in(&origin, address, &format!("nobody{number}"), "x")
            .await
            .expect(401, "credentials_invalid");
    }
}

/// Whether a number has an account must not show in whether a captcha is asked for.
#[tokio::test]
async fn the_first_sms_to_a_number_needs_one_in_every_network_that_did_not_prove_it() {
    let origin = by_risk(true).await;
    let (home, elsewhere) = ("198.51.100.7", "203.0.113.9");
    let send = |address: &'static str, number: &'static str, captcha: Option<Value>| {
        let mut body = json!({"phone_number": number});
        if let Some(captcha) = captcha {
            body["captcha"] = captcha;
        }
        post_from(&origin, address, "/otp/send", body)
    };
    send(home, NUMBER, None)
        .await
        .expect(403, "captcha_required");
    let pass = pow_pass(&origin, "otp", NUMBER).await;
    let first = send(home, NUMBER, Some(pass)).await.expect(200, "");
    // Asking is not proving.
    send(home, NUMBER, None)
        .await
        .expect(403, "captcha_required");
    let body = json!({"otp_token": first.body["otp_token"], "code": origin.code(NUMBER)});
    post_from(&origin, home, "/otp/verify", body)
        .await
        .expect(200, "");
    send(home, NUMBER, None).await.expect(200, "");
    for number in [NUMBER, "+41797654321"] {
        let reply = send(elsewhere, number, None).await;
        reply.expect(403, "captcha_required");
    }
    send(home, "+41797654321", None)
        .await
        .expect(403, "captcha_required");
    origin.advance(90 * 86_400);
    send(home, NUMBER, None)
        .await
        .expect(403, "captcha_required");
    // Registering sends the same message.
    let body = json!({"phone_number": "+41797654321", "password": PASSWORD});
    post_from(&origin, home, "/register", body)
        .await
        .expect(403, "captcha_required");
    // So does a link to a new password, whoever has the number.
    for (address, number) in [(home, NUMBER), (elsewhere, "+41797654321")] {
        let body = json!({"identifier": number});
        post_from(&origin, address, "/forgot-password", body)
            .await
            .expect(403, "captcha_required");
    }
    // Mail costs nothing.
    let body = json!({"email": BOB});
    post_from(&origin, home, "/otp/send", body)
        .await
        .expect(200, "");
}

/// An account costs nothing; with one, `POST /contacts` was the way to have SMS sent to anybody.
#[tokio::test]
async fn a_number_that_is_added_needs_one_as_one_that_logs_in_does() {
    let origin = by_risk(true).await;
    let sent = origin.post("/otp/send", json!({"email": BOB})).await;
    let body = json!({"otp_token": sent.text("otp_token"), "code": origin.code(BOB)});
    let tokens = origin.post("/otp/verify", body).await.expect(200, "");
    let add = async |body: Value| {
        let path = "/api/v1/auth/contacts";
        let token = Some(tokens.text("access_token"));
        origin.call(Method::POST, path, token, Some(body)).await
    };
    let refused = add(json!({"phone_number": NUMBER})).await;
    let refused = refused.expect(403, "captcha_required");
    assert_eq!(refused.body["captcha"]["for"], "contact");
    assert!(origin.message(NUMBER).is_none());
    // One for another purpose does not do.
    let pass = pow_pass(&origin, "otp", NUMBER).await;
    add(json!({"phone_number": NUMBER, "captcha": pass}))
        .await
        .expect(400, "captcha_invalid");
    let pass = pow_pass(&origin, "contact", NUMBER).await;
    add(json!({"phone_number": NUMBER, "captcha": pass}))
        .await
        .expect(202, "");
    assert!(origin.message(NUMBER).is_some());
    add(json!({"email": "bob@example.com"}))
        .await
        .expect(202, "");
}

#[tokio::test]
async fn captchas_for_one_network_are_bounded() {
    let origin = origin(CaptchaKind::Image, |config| {
        config.limits.per_ip = true;
        config.limits.captcha_per_ip_per_minute = 5;
    })
    .await;
    let path = format!("/captcha?for=login&target={}", target(ALICE));
    for _ in 0..5 {
        get_from(&origin, "203.0.113.9", &path)
            .await
            .expect(200, "");
    }
    let reply = get_from(&origin, "203.0.113.9", &path).await;
    let reply = reply.expect(429, "rate_limited");
    assert_eq!(reply.headers["retry-after"], "60");
    get_from(&origin, "198.51.100.1", &path)
        .await
        .expect(200, "");
    origin.advance(60);
    get_from(&origin, "203.0.113.9", &path)
        .await
        .expect(200, "");
}

#[tokio::test]
async fn what_has_expired_is_removed_and_nothing_is_kept_in_the_clear() {
    let origin = origin(CaptchaKind::Image, |_| {}).await;
    let (asked, letters) = image_challenge(&origin, "login", ALICE).await;
    let pass = origin
        .post("/captcha/verify", solved(&asked, &letters))
        .await;
    let pass = pass.expect(200, "");
    let pass = pass.text("captcha_token").to_owned();
    let (_, letters) = image_challenge(&origin, "login", ALICE).await;
    let count = async || {
        let mut reader = origin.state.db.read().await.unwrap();
        let count: i64 = sqlx::query_scalar(
            "SELECT (SELECT COUNT(*) FROM captcha_challenges)
                  + (SELECT COUNT(*) FROM captcha_passes)",
        )
        .fetch_one(&mut *reader)
        .await
        .unwrap();
        count
    };
    assert_eq!(count().await, 2);
    let folder = origin.state.config.data_dir.as_path();
    for entry in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for secret in [&*letters, &*pass, ALICE] {
            let found = bytes
                .windows(secret.len())
                .any(|it| it == secret.as_bytes());
            assert!(!found, "{secret}");
        }
    }
    origin.advance(300);
    challenge(&origin, "login", BOB).await;
    assert_eq!(count().await, 1);
    // A restored database does not bring captchas back.
    let since = edgekeep_origin::sessions::Since::Unknown;
    edgekeep_origin::sessions::restored(&origin.state, since)
        .await
        .unwrap();
    assert_eq!(count().await, 0);
}

/// An answer of any shape is an answer, or a request that is refused; never a fault of ours.
#[tokio::test]
async fn hostile_answers_are_refused() {
    let origin = origin(CaptchaKind::Pow, |_| {}).await;
    let asked = challenge(&origin, "login", ALICE).await;
    let id = asked["captcha_id"].clone();
    for captcha in [
        json!(1),
        json!([]),
        json!(["ekc_x"]),
        json!([id, "x"]),
        json!({}),
        json!({"token": null}),
        json!({"token": "x", "answer": "x"}),
        json!({"captcha_id": id, "answer": 1}),
        json!({"captcha_id": "x", "answer": "x"}),
        json!({"captcha_id": id, "answer": "x", "extra": 1}),
        json!("x".repeat(8_193)),
    ] {
        try_it(&origin, "login", ALICE, Some(&captcha))
            .await
            .expect(400, "request_invalid");
    }
    for captcha in [
        json!(""),
        json!("x".repeat(8_192)),
        json!("ekc_"),
        json!({"token": ""}),
        json!(STANDARD.encode("{}")),
        json!(STANDARD.encode("[".repeat(6_000))),
        json!({"captcha_id": id, "answer": ""}),
    ] {
        try_it(&origin, "login", ALICE, Some(&captcha))
            .await
            .expect(400, "captcha_invalid");
    }
    try_it(&origin, "login", ALICE, Some(&Value::Null))
        .await
        .expect(403, "captcha_required");
    // Another method of the same path is none.
    let request = origin.call(Method::POST, "/api/v1/auth/captcha", None, None);
    request.await.expect(405, "request_invalid");
}
