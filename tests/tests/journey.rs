//! A person's way in: registering, proving an address, passwords, codes, new passwords.

use edgekeep_tests::house::House;
use edgekeep_tests::origin::{Origin, Tokens};
use edgekeep_tests::process;
use serde_json::json;

const EMAIL: &str = "ada@example.com";
const PASSWORD: &str = "correct horse battery staple";

fn refusal(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn registers_proves_logs_in_and_is_known_to_the_upstream() {
    let house = House::start().await;
    let origin = &house.origin;
    let registered = origin
        .post("/register", &json!({"email": EMAIL, "password": PASSWORD}))
        .await;
    assert_eq!(registered.status, 202, "{}", registered.text());
    // Not before the proof, and the answer is the one for a wrong password.
    let login = json!({"identifier": EMAIL, "password": PASSWORD});
    assert_eq!(
        origin.post("/login", &login).await.verdict(),
        refusal(401, "credentials_invalid")
    );
    let code = origin.code(EMAIL, 1).await;
    assert!(
        code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit()),
        "{code}"
    );
    let wrong = if code == "000000" { "000001" } else { "000000" };
    let verdict = origin
        .post("/register/verify", &json!({"email": EMAIL, "code": wrong}))
        .await
        .verdict();
    assert_eq!(verdict, refusal(400, "code_invalid"));
    let proof = json!({"email": EMAIL, "code": code});
    let proved = Tokens::of(&origin.post("/register/verify", &proof).await);
    assert_eq!(
        origin.post("/register/verify", &proof).await.status,
        400,
        "a code is good once"
    );

    let tokens = origin.login(EMAIL, PASSWORD).await;
    assert_eq!(tokens.user(), proved.user());
    assert_ne!(tokens.session, proved.session);
    assert_eq!(tokens.answer["token_type"], "Bearer");
    assert!(tokens.refresh.starts_with("ekr_"));
    assert!(
        tokens.answer["expires_in"]
            .as_u64()
            .is_some_and(|seconds| (1..=900).contains(&seconds))
    );

    let answer = house.get("/api/hello", &tokens.access).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = house.upstream.take_one();
    assert_eq!(seen.header("x-user-id"), Some(tokens.user()));
    assert_eq!(seen.header("x-session-id"), Some(tokens.session.as_str()));
    assert_eq!(seen.header("x-auth-methods"), Some("pwd"));
    // The strict route asks the origin about this very token.
    assert_eq!(house.get("/api/strict/1", &tokens.access).await.status, 200);

    let wrong = json!({"identifier": EMAIL, "password": "wrong horse battery staple"});
    let wrong = origin.post("/login", &wrong).await;
    let nobody = json!({"identifier": "nobody@example.com", "password": PASSWORD});
    let nobody = origin.post("/login", &nobody).await;
    assert_eq!(wrong.verdict(), refusal(401, "credentials_invalid"));
    let text = |answer: &edgekeep_tests::http::Answer| {
        let mut json = answer.json();
        json["instance"] = json!(null);
        json
    };
    assert_eq!(
        text(&wrong),
        text(&nobody),
        "nothing tells whether there is an account"
    );

    // Registering a taken address: the same answer, another message, no other account.
    let again = origin
        .post(
            "/register",
            &json!({"email": EMAIL, "password": "another password 1"}),
        )
        .await;
    assert_eq!(
        (again.status, again.json()),
        (registered.status, registered.json())
    );
    assert!(origin.message(EMAIL, 2).await["code"].is_null());
    assert_eq!(origin.login(EMAIL, PASSWORD).await.user(), tokens.user());
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_in_with_a_code_by_mail_and_by_telephone() {
    let house = House::start().await;
    let origin = &house.origin;
    for (address, request) in [
        ("otto@example.com", json!({"email": "otto@example.com"})),
        ("+491701234567", json!({"phone_number": "+491701234567"})),
    ] {
        let sent = origin.post("/otp/send", &request).await;
        assert_eq!(sent.status, 200, "{}", sent.text());
        assert_eq!(sent.json()["expires_in"], 300);
        let token = sent.json()["otp_token"].as_str().unwrap().to_owned();
        let code = origin.code(address, 1).await;
        let other =
            json!({"otp_token": "eko_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "code": code});
        assert_eq!(
            origin.post("/otp/verify", &other).await.verdict(),
            refusal(400, "code_invalid")
        );
        let verify = json!({"otp_token": token, "code": code});
        let tokens = Tokens::of(&origin.post("/otp/verify", &verify).await);
        assert_eq!(
            origin.post("/otp/verify", &verify).await.status,
            400,
            "a code is good once"
        );
        assert_eq!(house.get("/api/me", &tokens.access).await.status, 200);
        assert_eq!(
            house.upstream.take_one().header("x-auth-methods"),
            Some("otp")
        );
        // The same address is the same person.
        let sent = origin.post("/otp/send", &request).await;
        let code = origin.code(address, 2).await;
        let again = json!({"otp_token": sent.json()["otp_token"], "code": code});
        assert_eq!(
            Tokens::of(&origin.post("/otp/verify", &again).await).user(),
            tokens.user()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_ends_what_the_old_one_opened() {
    let house = House::start().await;
    let origin = &house.origin;
    let before = origin.register(EMAIL, PASSWORD).await;
    assert_eq!(house.get("/api/me", &before.access).await.status, 200);
    for identifier in [EMAIL, "nobody@example.com"] {
        let answer = origin
            .post("/forgot-password", &json!({"identifier": identifier}))
            .await;
        assert_eq!(answer.status, 202, "{}", answer.text());
    }
    assert!(origin.messages("nobody@example.com").is_empty());
    let message = origin.message(EMAIL, 2).await;
    let token = message["code"].as_str().unwrap();
    let new = "a quite different passphrase";
    let reset = json!({"token": token, "password": new});
    let answer = origin.post("/reset-password", &reset).await;
    assert_eq!(answer.status, 204, "{}", answer.text());
    assert_eq!(
        origin.post("/reset-password", &reset).await.verdict(),
        refusal(400, "code_invalid")
    );

    house.refused(&before.access).await;
    let refresh = origin
        .post("/refresh", &json!({"refresh_token": before.refresh}))
        .await;
    assert_eq!(refresh.verdict(), refusal(401, "session_ended"));
    let old = origin
        .post(
            "/login",
            &json!({"identifier": EMAIL, "password": PASSWORD}),
        )
        .await;
    assert_eq!(old.verdict(), refusal(401, "credentials_invalid"));
    let tokens = origin.login(EMAIL, new).await;
    assert_eq!(
        house.get("/api/me", &tokens.access).await.status,
        200,
        "a token of after the reset"
    );

    // Changing it ends every other session, not this one.
    let other = origin.login(EMAIL, new).await;
    let change = json!({"current_password": new, "new_password": PASSWORD});
    let answer = origin
        .post_as(&tokens.access, "/change-password", &change)
        .await;
    assert_eq!(answer.status, 204, "{}", answer.text());
    house.refused(&other.access).await;
    assert_eq!(house.get("/api/me", &tokens.access).await.status, 200);
    let refreshed = origin
        .post("/refresh", &json!({"refresh_token": tokens.refresh}))
        .await;
    assert_eq!(Tokens::of(&refreshed).session, tokens.session);
}

#[tokio::test(flavor = "multi_thread")]
async fn five_wrong_passwords_lock_and_the_lock_outlives_a_restart() {
    let mut origin = Origin::start().await;
    origin.register(EMAIL, PASSWORD).await;
    let wrong = json!({"identifier": EMAIL, "password": "wrong horse battery staple"});
    for attempt in 1..=4 {
        let verdict = origin.post("/login", &wrong).await.verdict();
        assert_eq!(
            verdict,
            refusal(401, "credentials_invalid"),
            "attempt {attempt}"
        );
    }
    origin.post("/login", &wrong).await;
    origin.kill9();
    origin.start_server().await;
    let right = json!({"identifier": EMAIL, "password": PASSWORD});
    let locked = origin.post("/login", &right).await;
    assert_eq!(locked.verdict(), refusal(423, "account_locked"));
    let wait: u64 = locked.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=900).contains(&wait), "{wait}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_gives_an_account_opens_what_it_should() {
    let house = House::start().await;
    let origin = &house.origin;
    let create = |arguments: &[&str]| {
        let all = [&["users", "create", "--password-stdin"], arguments].concat();
        let output = process::run(origin.command(&all), format!("{PASSWORD}\n").as_bytes());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (
            output.status.success(),
            String::from_utf8(output.stdout).unwrap(),
            said,
        )
    };
    let (ok, id, said) = create(&[
        "--email",
        "root@example.com",
        "--role",
        "admin",
        "--kyc-level",
        "2",
    ]);
    assert!(ok, "{said}");
    let admin = origin.login("root@example.com", PASSWORD).await;
    assert_eq!(admin.user(), id.trim());
    let member = origin.register(EMAIL, PASSWORD).await;

    assert_eq!(
        house.get("/api/admin/users", &admin.access).await.status,
        200
    );
    let seen = house.upstream.take_one();
    assert_eq!(seen.header("x-user-roles"), Some("admin"));
    assert_eq!(seen.header("x-kyc-level"), Some("2"));
    let refused = house.get("/api/admin/users", &member.access).await;
    assert_eq!(refused.verdict(), refusal(403, "insufficient_role"));
    // Identity is verified far enough; a second factor is still missing.
    let payments = house.get("/api/payments/1", &admin.access).await;
    assert_eq!(payments.verdict(), refusal(401, "step_up_required"));
    let payments = house.get("/api/payments/1", &member.access).await;
    assert_eq!(payments.verdict(), refusal(403, "kyc_required"));

    for wrong in [
        &["--email", "root@example.com"][..],
        &["--email", "not an address"],
        &["--email", "other@example.com", "--role", "a,b"],
        &["--email", "other@example.com", "--kyc-level", "-1"],
        &[],
    ] {
        let (ok, id, said) = create(wrong);
        assert!(!ok && id.is_empty() && !said.is_empty(), "{wrong:?}: {id}");
        assert!(!said.contains(PASSWORD), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_grants_opens_the_routes_that_ask_for_it() {
    let house = House::start().await;
    let password = b"correct horse battery staple\n";
    for (email, granted, status) in [
        (
            "ada@example.com",
            &["--permission", "report:write"][..],
            200,
        ),
        ("bob@example.com", &["--permission", "report:read"][..], 403),
    ] {
        let mut arguments = vec!["users", "create", "--email", email, "--password-stdin"];
        arguments.extend_from_slice(granted);
        arguments.extend_from_slice(&["--customer-id", "c-17", "--role", "clerk"]);
        let created = process::run(house.origin.command(&arguments), password);
        let complained = String::from_utf8_lossy(&created.stderr).into_owned();
        assert!(created.status.success(), "{complained}");
        let tokens = house
            .origin
            .login(email, "correct horse battery staple")
            .await;
        let call = house.call("POST", "/api/reports/1", &tokens.access);
        let answer = call.json(&json!({})).send().await.unwrap();
        assert_eq!(answer.status, status, "{}", answer.text());
    }
    let seen = house.upstream.take_one();
    assert_eq!(seen.header("x-user-permissions"), Some("report:write"));
    assert_eq!(seen.header("x-customer-id"), Some("c-17"));
    assert_eq!(seen.header("x-user-roles"), Some("clerk"));
    let create = [
        "users",
        "create",
        "--username",
        "eve",
        "--permission",
        "a b",
    ];
    let refused = house.origin.run(&create);
    let complained = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && complained.contains("--permission"),
        "{complained}"
    );
}
