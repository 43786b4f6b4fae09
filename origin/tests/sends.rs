//! What keeps messages from costing what a stranger likes, and how operators see it.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod person;
mod provider;
mod sent;
mod support;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Method, Request, header};
use edgekeep_origin::abuse::sends::{self, BreakerState};
use edgekeep_origin::accounts::{self, Identifier, NewAccount};
use edgekeep_origin::app::{self, State};
use edgekeep_origin::clock::Clock;
use edgekeep_origin::config::{Channel, Config, DataDir, HttpHook, Mode};
use edgekeep_origin::ids::UserId;
use edgekeep_origin::metrics::{Delivery, RefusalLabels};
use edgekeep_origin::notify::{Medium, Message, Sort, notices};
use edgekeep_origin::random::Random;
use edgekeep_origin::vault::Secret;
use provider::{Answer, PATIENCE, Provider, counted, quiet};
use sent::logged;
use serde_json::{Value, json};
use support::{BEGINNING, Origin, Reply, all};

/// An origin whose SMS leave by a provider, with the default rules and every country allowed.
async fn origin(provider: &Provider, change: impl FnOnce(&mut Config)) -> Origin {
    let hook = provider.hook();
    Origin::with(|config| {
        set_up(config, hook);
        change(config);
    })
    .await
}

fn set_up(config: &mut Config, hook: HttpHook) {
    config.notify.email = Channel::Off;
    config.notify.sms = Channel::Http(hook);
    config.limits.per_ip = true;
    // What is tested here is what holds beside the limits of the routes.
    config.limits.otp_send_per_minute = 100_000;
    config.limits.otp_send_per_ip_per_hour = 100_000;
    config.limits.otp_verify_failures_per_ip_per_hour = 100_000;
    config.limits.forgot_password_per_ip_per_hour = 100_000;
    config.otp.sends_per_hour = 100;
    config.server.metrics_token = Some(Secret::new("m3trics".to_owned()));
}

/// Loosens everything but what a test is about.
fn loosen(config: &mut Config) {
    config.sms.delays_seconds = vec![];
    config.sms.per_number_per_hour = 10_000;
    config.sms.per_number_per_day = 10_000;
    config.sms.per_prefix_per_hour = 10_000;
    config.sms.per_network_per_hour = 10_000;
    config.sms.per_hour = 10_000;
    config.sms.per_day = 10_000;
    config.sms.conversion.window = 0;
}

/// `POST /otp/send` for a number, from an address.
async fn ask(origin: &Origin, number: &str, from: impl Into<IpAddr>) -> Reply {
    post(origin, "/otp/send", &json!({"phone_number": number}), from).await
}

async fn post(origin: &Origin, route: &str, body: &Value, from: impl Into<IpAddr>) -> Reply {
    let request = Request::post(format!("/api/v1/auth{route}"))
        .header(header::CONTENT_TYPE, "application/json")
        .extension(ConnectInfo(SocketAddr::from((from.into(), 40_000))))
        .body(Body::from(body.to_string()))
        .unwrap();
    origin.send(request).await
}

/// Another address for each number.
fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(0xc633_6400 + number)
}

fn refused(origin: &Origin, channel: &'static str, reason: &'static str) -> u64 {
    let labels = RefusalLabels { channel, reason };
    origin.state.mailer.refusals().get_or_create(&labels).get()
}

/// Gives back the newest code that the provider was given for `number`.
async fn answer(origin: &Origin, provider: &Provider, number: &str, asked: &Reply) {
    quiet(&origin.state.mailer).await;
    let calls = provider.calls();
    let forms = calls.iter().rev().map(provider::Call::form);
    let form = forms.into_iter().find(|form| form["To"] == number).unwrap();
    let code = form["Body"].get(..6).unwrap();
    let body = json!({"otp_token": asked.text("otp_token"), "code": code});
    origin.post("/otp/verify", body).await.expect(200, "");
}

#[tokio::test]
async fn a_hundred_neighbours_from_a_hundred_addresses_get_twenty_messages() {
    let provider = Provider::start(&[]).await;
    let origin = origin(&provider, |_| {}).await;
    for number in 0..100 {
        let phone = format!("+417912345{number:02}");
        // Whoever asks cannot see which of them was sent.
        let reply = ask(&origin, &phone, address(number)).await.expect(200, "");
        assert_eq!(reply.body["expires_in"], 300);
    }
    quiet(&origin.state.mailer).await;
    assert_eq!(provider.calls().len(), 20);
    assert_eq!(refused(&origin, "sms", "prefix"), 80);
    // An hour later it is others' turn.
    origin.advance(3_600);
    ask(&origin, "+41791234599", address(200))
        .await
        .expect(200, "");
    quiet(&origin.state.mailer).await;
    assert_eq!(provider.calls().len(), 21);
}

/// An account costs nothing, and each of its changes is told.
#[tokio::test]
async fn notices_to_a_hundred_neighbours_are_twenty_and_strangers_take_none_of_them() {
    let provider = Provider::start(&[]).await;
    let origin = origin(&provider, |_| {}).await;
    for number in 0..30 {
        let phone = format!("+417912345{number:02}");
        ask(&origin, &phone, address(number)).await.expect(200, "");
    }
    quiet(&origin.state.mailer).await;
    assert_eq!(
        (provider.calls().len(), refused(&origin, "sms", "prefix")),
        (20, 10)
    );
    for number in 0..100 {
        let phone = format!("+417912345{number:02}");
        origin
            .state
            .mailer
            .send(provider::message(&phone, "Your password was changed."));
    }
    quiet(&origin.state.mailer).await;
    assert_eq!(
        (provider.calls().len(), refused(&origin, "sms", "prefix")),
        (40, 90)
    );
}

/// Whoever has `number`, for notices to them.
async fn owner(origin: &Origin, number: &str) -> UserId {
    let state = &origin.state;
    let new = NewAccount {
        identifiers: &[(Identifier::phone(number, None).unwrap(), true)],
        ..NewAccount::default()
    };
    let mut tx = state.db.write().await.unwrap();
    let user = accounts::create(state, &mut tx, &new).await.unwrap();
    tx.commit().await.unwrap();
    user
}

/// Tells `user` something, and waits until it was sent, or refused.
async fn tell(origin: &Origin, user: UserId, message: Message) {
    let state = &origin.state;
    let mut tx = state.db.write().await.unwrap();
    let kept = state.mailer.keep(&mut tx, user, [message]).await.unwrap();
    tx.commit().await.unwrap();
    state.mailer.deliver(kept);
    quiet(&state.mailer).await;
}

async fn waiting(origin: &Origin) -> i64 {
    origin.state.mailer.standing().await.unwrap().waiting
}

#[tokio::test]
async fn what_is_used_up_delays_a_notice_and_loses_none() {
    type Rule = fn(&mut Config);
    let rules: [(&str, u64, Rule); 4] = [
        ("number", 86_400, |config| config.sms.per_number_per_day = 1),
        ("prefix", 3_600, |config| config.sms.per_prefix_per_hour = 1),
        ("hour", 3_600, |config| config.sms.per_hour = 1),
        ("day", 86_400, |config| config.sms.per_day = 1),
    ];
    for (rule, seconds, change) in rules {
        let provider = Provider::start(&[]).await;
        let origin = origin(&provider, |config| {
            loosen(config);
            change(config);
        })
        .await;
        let number = "+41791234567";
        let user = owner(&origin, number).await;
        for text in ["Your password was changed.", "A factor was removed."] {
            tell(&origin, user, provider::message(number, text)).await;
        }
        assert_eq!(provider.calls().len(), 1, "{rule}");
        assert_eq!(refused(&origin, "sms", rule), 1, "{rule}");
        assert_eq!(counted(&origin.state.mailer, Delivery::refused), 0);
        assert_eq!(waiting(&origin).await, 1, "{rule}");
        origin.advance(seconds);
        assert_eq!(notices::send_due(&origin.state).await.unwrap(), 1);
        quiet(&origin.state.mailer).await;
        let calls = provider.calls();
        assert_eq!(calls.len(), 2, "{rule}");
        assert_eq!(calls[1].form()["Body"], "A factor was removed.");
        assert_eq!(waiting(&origin).await, 0, "{rule}");
    }
}

#[tokio::test]
async fn a_notice_to_a_number_that_nothing_may_go_to_is_given_up() {
    let provider = Provider::start(&[]).await;
    let origin = origin(&provider, |config| {
        config.sms.countries = Some(vec!["CH".to_owned()]);
    })
    .await;
    for (number, reason) in [
        ("+491701234567", "country"),
        ("+41443640000", "number_type"),
    ] {
        let user = owner(&origin, number).await;
        tell(&origin, user, provider::message(number, "It was.")).await;
        assert_eq!(refused(&origin, "sms", reason), 1, "{reason}");
        assert_eq!(waiting(&origin).await, 0, "{reason}");
    }
    assert_eq!(counted(&origin.state.mailer, Delivery::refused), 2);
    assert_eq!(provider.calls().len(), 0);
}

/// Each share has its own, so what one side can spend is known, and the other side's is left.
#[tokio::test]
async fn what_strangers_spend_is_not_taken_from_what_people_are_told() {
    let provider = Provider::start(&[]).await;
    let origin = origin(&provider, |config| {
        loosen(config);
        config.sms.per_hour = 3;
    })
    .await;
    for number in 0..5 {
        ask(&origin, &format!("+417912345{number:02}"), address(number))
            .await
            .expect(200, "");
    }
    quiet(&origin.state.mailer).await;
    assert_eq!(
        (provider.calls().len(), refused(&origin, "sms", "hour")),
        (3, 2)
    );
    for number in 50..55 {
        let number = format!("+417912345{number}");
        let notice = provider::message(&number, "Your password was changed.");
        origin.state.mailer.send(notice);
    }
    quiet(&origin.state.mailer).await;
    assert_eq!(
        (provider.calls().len(), refused(&origin, "sms", "hour")),
        (6, 4)
    );
}

/// Strangers cause warnings, by wrong passwords.
#[tokio::test]
async fn warnings_use_up_neither_notices_nor_codes() {
    let provider = Provider::start(&[]).await;
    let origin = origin(&provider, |config| {
        loosen(config);
        config.sms.per_number_per_day = 2;
    })
    .await;
    let number = "+41791234567";
    for _ in 0..4 {
        origin.state.mailer.send(Message {
            sort: Sort::Warned,
            ..provider::message(number, "Wrong passwords were tried.")
        });
    }
    quiet(&origin.state.mailer).await;
    assert_eq!(provider.calls().len(), 2);
    let user = owner(&origin, number).await;
    tell(&origin, user, provider::message(number, "It was changed.")).await;
    ask(&origin, number, address(0)).await.expect(200, "");
    quiet(&origin.state.mailer).await;
    assert_eq!(provider.calls().len(), 4);
}

/// A notice that a provider could not deliver comes again, and is one message all the same.
#[tokio::test]
async fn a_notice_that_comes_again_counts_once() {
    let provider = Provider::start(&[503; 3].map(Answer::Status)).await;
    let origin = origin(&provider, |config| {
        config.sms.per_number_per_day = 1;
        config.sms.per_prefix_per_hour = 1;
    })
    .await;
    let (state, number) = (&origin.state, "+41791234567");
    let user = owner(&origin, number).await;
    let notice = provider::message(number, "Your password was changed.");
    tell(&origin, user, notice).await;
    assert_eq!(provider.calls().len(), 3);
    origin.advance(30);
    assert_eq!(notices::send_due(state).await.unwrap(), 1);
    quiet(&state.mailer).await;
    assert_eq!(provider.calls().len(), 4);
    assert_eq!(
        (
            refused(&origin, "sms", "number"),
            refused(&origin, "sms", "prefix")
        ),
        (0, 0)
    );
    assert_eq!(state.mailer.standing().await.unwrap().waiting, 0);
}

#[tokio::test]
async fn one_network_gets_ten_messages_whatever_the_numbers() {
    let provider = Provider::start(&[]).await;
    let origin = origin(&provider, |_| {}).await;
    for number in 0..30 {
        let phone = format!("+41791{number:02}4567");
        // One household's worth of IPv6.
        let from: std::net::Ipv6Addr = format!("2001:db8:1:2::{number}").parse().unwrap();
        if number % 2 == 0 {
            ask(&origin, &phone, from).await.expect(200, "");
        } else {
            let body = json!({"phone_number": phone, "password": "correct horse"});
            post(&origin, "/register", &body, from)
                .await
                .expect(202, "");
        }
    }
    quiet(&origin.state.mailer).await;
    assert_eq!(provider.calls().len(), 10);
    assert_eq!(refused(&origin, "sms", "network"), 20);
}

#[tokio::test]
async fn numbers_that_charge_or_cannot_receive_get_nothing_and_the_same_answer() {
    logged::start();
    let provider = Provider::start(&[]).await;
    let origin = origin(&provider, |config| {
        config.sms.countries = Some(["CH", "US", "+44"].map(str::to_owned).to_vec());
    })
    .await;
    let expected = ask(&origin, "+41791234567", address(0))
        .await
        .expect(200, "");
    let shape = |reply: &Reply| {
        let names: Vec<String> = reply.body.as_object().unwrap().keys().cloned().collect();
        (names, reply.body["expires_in"].clone(), reply.headers.len())
    };
    for (number, reason) in [
        ("+41900123456", "number_type"),  // premium rate
        ("+41840123456", "number_type"),  // shared cost
        ("+41800123456", "number_type"),  // free
        ("+41443640000", "number_type"),  // fixed line
        ("+445612345678", "number_type"), // on the internet
        ("+447640123456", "number_type"), // pager
        ("+447012345678", "number_type"), // follows a person
        ("+19002345678", "number_type"),
        ("+4179123456", "number_type"), // too short for anybody
        ("+491701234567", "country"),
        ("+18762101234", "country"), // Jamaica, which also begins with +1
        ("+15062345678", "country"), // Canada
        ("+979123456789", "country"), // no country's
        ("+99912345678", "number_type"), // in no plan
    ] {
        let before = refused(&origin, "sms", reason);
        let reply = ask(&origin, number, address(1)).await.expect(200, "");
        assert_eq!(shape(&reply), shape(&expected), "{number}");
        quiet(&origin.state.mailer).await;
        assert_eq!(
            refused(&origin, "sms", reason),
            before + 1,
            "{number} {reason}"
        );
    }
    // Registration, and a link to a new password.
    let body = json!({"phone_number": "+41900123457", "password": "correct horse"});
    post(&origin, "/register", &body, address(2))
        .await
        .expect(202, "");
    ask(&origin, "+12015550123", address(3))
        .await
        .expect(200, "");
    ask(&origin, "+447400123456", address(4))
        .await
        .expect(200, "");
    quiet(&origin.state.mailer).await;
    let to: Vec<String> = provider
        .calls()
        .iter()
        .map(|call| call.form()["To"].clone())
        .collect();
    assert_eq!(to.len(), 3, "{to:?}");
    logged::holds("+41…56");
    logged::holds_none(&["41900123456", "41900123457", "491701234567"]);
}

#[tokio::test]
async fn a_number_waits_longer_each_time_that_it_does_not_answer() {
    let provider = Provider::start(&[]).await;
    let origin = origin(&provider, |_| {}).await;
    let from = address(0);
    let phone = "+41791234567";
    for wait in [60, 120, 300] {
        ask(&origin, phone, from).await.expect(200, "");
        // A message leaves a moment after its answer; the clock must not jump in between.
        quiet(&origin.state.mailer).await;
        let refused = ask(&origin, phone, from).await.expect(429, "rate_limited");
        assert_eq!(refused.headers["retry-after"], wait.to_string());
        // It is the number that waits, however it is asked for.
        let body = json!({"phone_number": phone, "password": "correct horse"});
        post(&origin, "/register", &body, from)
            .await
            .expect(429, "rate_limited");
        let body = json!({"identifier": phone});
        post(&origin, "/forgot-password", &body, from)
            .await
            .expect(429, "rate_limited");
        origin.advance(wait - 1);
        ask(&origin, phone, from).await.expect(429, "rate_limited");
        origin.advance(1);
    }
    // A code that comes back begins it anew …
    let asked = ask(&origin, phone, from).await.expect(200, "");
    answer(&origin, &provider, phone, &asked).await;
    let asked = ask(&origin, phone, from).await.expect(200, "");
    answer(&origin, &provider, phone, &asked).await;
    // … but not the day.
    let refused = ask(&origin, phone, from).await.expect(429, "rate_limited");
    let wait: u64 = refused.headers["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(wait > 80_000, "{wait}");
    quiet(&origin.state.mailer).await;
    assert_eq!(provider.calls().len(), 5);
}

#[tokio::test]
async fn a_number_whose_day_strangers_have_used_up_answers_its_trusted_device() {
    let provider = Provider::start(&[]).await;
    // Its neighbours' share is theirs, too.
    let origin = origin(&provider, |config| config.sms.per_prefix_per_hour = 5).await;
    let number = "+41791234567";
    let asked = ask(&origin, number, address(0)).await.expect(200, "");
    quiet(&origin.state.mailer).await;
    let calls = provider.calls();
    let code = calls[0].form()["Body"].get(..6).unwrap().to_owned();
    let body = json!({"otp_token": asked.text("otp_token"), "code": code});
    let mine = origin.post("/otp/verify", body).await.expect(200, "");
    let device = mine.text("device_token");
    origin.advance(86_400);
    for stranger in 1..=5 {
        ask(&origin, number, address(stranger))
            .await
            .expect(200, "");
        // A code that waits longer than it is good is not sent.
        quiet(&origin.state.mailer).await;
        origin.advance(1_201);
    }
    let refused = ask(&origin, number, address(6)).await;
    refused.expect(429, "rate_limited");
    assert_eq!(provider.calls().len(), 6);

    let body = json!({"phone_number": number, "device_token": device});
    let asked = post(&origin, "/otp/send", &body, address(7)).await;
    answer(&origin, &provider, number, &asked.expect(200, "")).await;
    assert_eq!(provider.calls().len(), 7);
    // Its own pace is that of any number: five a day, and longer each time without an answer.
    for (wait, status) in [
        (0, 200),
        (59, 429),
        (1, 200),
        (119, 429),
        (1, 200),
        (300, 200),
        (3_600, 429),
    ] {
        origin.advance(wait);
        let reply = post(&origin, "/otp/send", &body, address(7)).await;
        assert_eq!(reply.status, status, "after {wait} s");
    }
}

#[tokio::test]
async fn strangers_use_up_nothing_of_what_a_second_factor_may_send() {
    let provider = Provider::start(&[]).await;
    let origin = origin(&provider, |config| config.sms.per_prefix_per_hour = 5).await;
    person::account(&origin).await;
    let bearer = person::bearer(&origin).await;
    person::call(&origin, Method::PUT, "/mfa/sms", &bearer, None)
        .await
        .expect(200, "");
    let before = provider.calls().len();
    for stranger in 1..=5 {
        ask(&origin, person::PHONE, address(stranger))
            .await
            .expect(200, "");
        quiet(&origin.state.mailer).await;
        origin.advance(1_201);
    }
    let refused = ask(&origin, person::PHONE, address(6)).await;
    refused.expect(429, "rate_limited");
    assert_eq!(provider.calls().len(), before + 5);

    let send = async || {
        let token = person::first_step(&origin).await;
        let body = json!({"mfa_token": token, "method": "sms"});
        (origin.post("/login/mfa/send", body).await, token)
    };
    let (answer, token) = send().await;
    answer.expect(200, "");
    quiet(&origin.state.mailer).await;
    let calls = provider.calls();
    assert_eq!(calls.len(), before + 6);
    let code = calls[before + 5].form()["Body"]
        .get(..6)
        .unwrap()
        .to_owned();
    person::second_step(&origin, &token, "sms", &code)
        .await
        .expect(200, "");
    // It has a number's pace of its own: whoever has the password cannot send what they like.
    for (wait, status) in [
        (0, 200),
        (59, 429),
        (1, 200),
        (119, 429),
        (1, 200),
        (300, 200),
        (3_600, 429),
    ] {
        origin.advance(wait);
        assert_eq!(send().await.0.status, status, "after {wait} s");
    }
}

#[tokio::test]
async fn whoever_knows_the_password_takes_nothing_of_what_a_trusted_device_may_be_sent() {
    let provider = Provider::start(&[]).await;
    let origin = origin(&provider, |config| config.sms.per_prefix_per_hour = 5).await;
    person::account(&origin).await;
    let bearer = person::bearer(&origin).await;
    person::call(&origin, Method::PUT, "/mfa/sms", &bearer, None)
        .await
        .expect(200, "");
    let send = async |device: Option<&str>| {
        let body = json!({
            "identifier": person::EMAIL, "password": person::PASSWORD, "device_token": device,
        });
        let asked = origin.post("/login", body).await.expect(200, "");
        let token = asked.text("mfa_token").to_owned();
        let body = json!({"mfa_token": token, "method": "sms"});
        (origin.post("/login/mfa/send", body).await, token)
    };
    let code = async |count: usize| {
        quiet(&origin.state.mailer).await;
        let calls = provider.calls();
        assert_eq!(calls.len(), count);
        calls[count - 1].form()["Body"].get(..6).unwrap().to_owned()
    };
    let before = provider.calls().len();
    let (answer, token) = send(None).await;
    answer.expect(200, "");
    let mine = person::second_step(&origin, &token, "sms", &code(before + 1).await).await;
    let mine = mine.expect(200, "");
    let device = mine.text("device_token");
    origin.advance(86_400);
    for _ in 0..5 {
        send(None).await.0.expect(200, "");
        quiet(&origin.state.mailer).await;
        origin.advance(1_201);
    }
    send(None).await.0.expect(429, "rate_limited");
    assert_eq!(provider.calls().len(), before + 6);

    let (answer, token) = send(Some(device)).await;
    answer.expect(200, "");
    let mine = person::second_step(&origin, &token, "sms", &code(before + 7).await).await;
    let mine = mine.expect(200, "");
    let bearer = mine.text("access_token");
    let route = "/reauthenticate/code";
    let body = Some(json!({"method": "sms"}));
    let asked = person::call(&origin, Method::POST, route, bearer, body).await;
    let body = json!({
        "method": "sms", "otp_token": asked.expect(200, "").text("otp_token"),
        "code": code(before + 8).await,
    });
    let route = "/reauthenticate";
    person::call(&origin, Method::POST, route, bearer, Some(body))
        .await
        .expect(200, "");
    // The device has a number's pace of its own, too.
    for (wait, status) in [(0, 200), (59, 429), (1, 200), (119, 429)] {
        origin.advance(wait);
        let (answer, _) = send(Some(device)).await;
        assert_eq!(answer.status, status, "after {wait} s");
    }
}

#[tokio::test]
async fn two_hundred_at_once_get_exactly_what_a_number_may() {
    let provider = Provider::start(&[]).await;
    let origin = origin(&provider, |config| {
        // All that the request itself is asked is let through.
        config.otp.sends_per_hour = 1_000;
        config.sms.delays_seconds = vec![];
        config.sms.per_number_per_day = 300;
    })
    .await;
    let requests = (0..200).map(|number| ask(&origin, "+41791234567", address(number)));
    for reply in all(requests).await {
        reply.expect(200, "");
    }
    quiet(&origin.state.mailer).await;
    assert_eq!(provider.calls().len(), 5);
    assert_eq!(refused(&origin, "sms", "number"), 195);
}

#[tokio::test]
async fn two_hundred_at_once_are_told_to_wait_but_for_one() {
    let provider = Provider::start(&[]).await;
    let origin = origin(&provider, |_| {}).await;
    let requests = (0..200).map(|number| ask(&origin, "+41791234567", address(number)));
    let replies = all(requests).await;
    let taken = replies.iter().filter(|reply| reply.status == 200).count();
    assert_eq!(taken, 1);
    quiet(&origin.state.mailer).await;
    assert_eq!(provider.calls().len(), 1);
}

#[tokio::test]
async fn budgets_are_of_what_messages_cost() {
    let provider = Provider::start(&[]).await;
    let origin = origin(&provider, |config| {
        loosen(config);
        config.sms.per_hour = 20;
        config.sms.per_day = 30;
        config.sms.prices.insert("CH".to_owned(), 6);
    })
    .await;
    for number in 0..10 {
        ask(&origin, &format!("+417912345{number:02}"), address(0))
            .await
            .expect(200, "");
    }
    quiet(&origin.state.mailer).await;
    // Three times six; what is left is enough for two that cost one.
    assert_eq!(provider.calls().len(), 3);
    for number in 0..4 {
        ask(&origin, &format!("+1201555010{number}"), address(0))
            .await
            .expect(200, "");
    }
    quiet(&origin.state.mailer).await;
    assert_eq!(provider.calls().len(), 5);
    assert_eq!(refused(&origin, "sms", "hour"), 9);
    // The next hour has what the day has left.
    origin.advance(3_600);
    for number in 10..15 {
        ask(&origin, &format!("+417912345{number:02}"), address(0))
            .await
            .expect(200, "");
    }
    quiet(&origin.state.mailer).await;
    assert_eq!(provider.calls().len(), 6);
    assert_eq!(refused(&origin, "sms", "day"), 4);
    let status = sends::status(&origin.state.admission).await.unwrap();
    assert_eq!((status.spent_hour, status.spent_day), (6, 26));
    origin.advance(86_400);
    ask(&origin, "+41791234520", address(0))
        .await
        .expect(200, "");
    quiet(&origin.state.mailer).await;
    assert_eq!(provider.calls().len(), 7);
}

/// Sends codes to `count` other numbers of a country, of which `answered` come back.
async fn codes(origin: &Origin, provider: &Provider, country: &str, count: u32, answered: u32) {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    for number in 0..count {
        let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let phone = format!("{country}{next:04}");
        let asked = ask(origin, &phone, address(0)).await.expect(200, "");
        if number < answered {
            answer(origin, provider, &phone, &asked).await;
        }
    }
    quiet(&origin.state.mailer).await;
}

const SWISS: &str = "+4179123";
const GERMAN: &str = "+49170123";
const FRENCH: &str = "+3361231";
const BRITISH: &str = "+44740012";

async fn state_of(origin: &Origin, scope: &str) -> BreakerState {
    let status = sends::status(&origin.state.admission).await.unwrap();
    let found = status
        .breakers
        .iter()
        .find(|it| it.scope.to_string() == scope);
    found.unwrap().state
}

async fn metrics(origin: &Origin) -> String {
    let reply = origin
        .call(Method::GET, "/metrics", Some("m3trics"), None)
        .await;
    reply.body.as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_breaker_opens_for_a_country_tries_again_and_closes() {
    logged::start();
    let provider = Provider::start(&[]).await;
    let origin = origin(&provider, |config| {
        loosen(config);
        config.sms.conversion.window = 50;
    })
    .await;
    codes(&origin, &provider, GERMAN, 20, 20).await;
    codes(&origin, &provider, SWISS, 60, 14).await;
    // They may still come back.
    assert_eq!(provider.calls().len(), 80);
    origin.advance(300);
    codes(&origin, &provider, SWISS, 1, 0).await;
    assert_eq!(provider.calls().len(), 80);
    assert_eq!(refused(&origin, "sms", "conversion"), 1);
    assert!(matches!(
        state_of(&origin, "CH").await,
        BreakerState::Open(_)
    ));
    logged::holds("the SMS breaker is open");
    let text = metrics(&origin).await;
    for line in [
        "edgekeep_sms_breaker{scope=\"CH\"} 2",
        "edgekeep_sms_breaker{scope=\"DE\"} 0",
        "edgekeep_sms_breaker{scope=\"*\"} 0",
        "edgekeep_sms_conversion_ratio{scope=\"DE\"} 1.0",
        "edgekeep_messages_refused_total{channel=\"sms\",reason=\"conversion\"} 1",
        "edgekeep_sms_spent{period=\"hour\"} 80",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    // Others are not the worse for it.
    codes(&origin, &provider, GERMAN, 1, 1).await;
    assert_eq!(provider.calls().len(), 81);
    // A trial of ten after an hour; none comes back: twice the pause.
    origin.advance(3_600);
    codes(&origin, &provider, SWISS, 15, 0).await;
    assert_eq!(provider.calls().len(), 91);
    assert_eq!(state_of(&origin, "CH").await, BreakerState::Trial);
    origin.advance(300);
    codes(&origin, &provider, SWISS, 1, 0).await;
    origin.advance(7_199);
    codes(&origin, &provider, SWISS, 1, 0).await;
    assert_eq!(provider.calls().len(), 91);
    // A trial of which three come back.
    origin.advance(1);
    codes(&origin, &provider, SWISS, 4, 3).await;
    codes(&origin, &provider, SWISS, 30, 0).await;
    assert_eq!(provider.calls().len(), 125);
    assert_eq!(state_of(&origin, "CH").await, BreakerState::Closed);
    logged::holds("the SMS breaker is closed");
}

#[tokio::test]
async fn an_operator_closes_the_breaker_and_old_losses_are_forgiven() {
    let provider = Provider::start(&[]).await;
    let origin = origin(&provider, |config| {
        loosen(config);
        config.sms.conversion.window = 50;
    })
    .await;
    codes(&origin, &provider, SWISS, 50, 0).await;
    origin.advance(300);
    codes(&origin, &provider, SWISS, 1, 0).await;
    assert_eq!(provider.calls().len(), 50);
    for scope in [Some("CH"), None] {
        let mut tx = origin.state.db.write().await.unwrap();
        sends::reset(&mut tx, scope, origin.clock.now())
            .await
            .unwrap();
        tx.commit().await.unwrap();
        assert_eq!(state_of(&origin, "CH").await, BreakerState::Closed);
    }
    codes(&origin, &provider, SWISS, 49, 0).await;
    assert_eq!(provider.calls().len(), 99);
    origin.advance(300);
    codes(&origin, &provider, SWISS, 1, 0).await;
    assert_eq!(provider.calls().len(), 100);
}

#[tokio::test]
async fn losses_spread_over_countries_open_the_breaker_of_all() {
    let provider = Provider::start(&[]).await;
    let origin = origin(&provider, |config| {
        loosen(config);
        config.sms.conversion.window = 50;
    })
    .await;
    for country in [SWISS, GERMAN, FRENCH, BRITISH] {
        codes(&origin, &provider, country, 13, 0).await;
    }
    let sent = provider.calls().len();
    assert_eq!(sent, 52);
    origin.advance(300);
    codes(&origin, &provider, SWISS, 1, 0).await;
    codes(&origin, &provider, GERMAN, 1, 0).await;
    assert_eq!(provider.calls().len(), sent);
    assert!(matches!(
        state_of(&origin, "*").await,
        BreakerState::Open(_)
    ));
    assert_eq!(state_of(&origin, "CH").await, BreakerState::Closed);
}

/// A provider that is down must not look like fraud.
#[tokio::test]
async fn messages_that_never_left_are_no_losses() {
    let provider = Provider::then(&[], Answer::Status(400)).await;
    let origin = origin(&provider, |config| {
        loosen(config);
        config.sms.conversion.window = 50;
    })
    .await;
    codes(&origin, &provider, SWISS, 60, 0).await;
    assert_eq!(counted(&origin.state.mailer, Delivery::failed), 60);
    origin.advance(300);
    codes(&origin, &provider, SWISS, 1, 0).await;
    assert_eq!(provider.calls().len(), 61);
    assert_eq!(refused(&origin, "sms", "conversion"), 0);
}

#[tokio::test]
async fn counts_hold_over_a_restart_and_between_processes() {
    let provider = Provider::start(&[]).await;
    let folder = tempfile::tempdir().unwrap();
    let open = || {
        let mut config = Config {
            data_dir: DataDir(folder.path().into()),
            ..Config::default()
        };
        config.password.memory_kib = 64;
        config.password.iterations = 1;
        set_up(&mut config, provider.hook());
        State::open(config, Clock::fixed(BEGINNING), Random::Os)
    };
    let send = |state: &State, number: u32| {
        state.mailer.send(Message {
            channel: Medium::Sms,
            to: format!("+417912345{number:02}"),
            subject: None,
            text: "text".to_owned(),
            code: Some("123456".to_owned()),
            sort: Sort::Code,
            asked_by: Some(address(number).into()),
            good_until: None,
        });
    };
    let first = open().await.unwrap();
    for number in 0..12 {
        send(&first, number);
    }
    first.mailer.drain(PATIENCE).await;
    first.db.close().await;
    assert_eq!(provider.calls().len(), 12);
    let (one, other) = (open().await.unwrap(), open().await.unwrap());
    for number in 12..52 {
        send(if number % 2 == 0 { &one } else { &other }, number);
    }
    one.mailer.drain(PATIENCE).await;
    other.mailer.drain(PATIENCE).await;
    assert_eq!(provider.calls().len(), 20);
}

#[tokio::test]
async fn mail_that_strangers_cause_has_a_budget_and_notices_have_none() {
    let provider = Provider::start(&[]).await;
    let hook = provider.hook();
    let origin = Origin::with(|config| {
        set_up(config, hook.clone());
        config.notify.email = Channel::Http(hook);
        config.notify.sms = Channel::Off;
        config.mail.per_hour = 15;
        config.mail.per_network_per_hour = 10;
    })
    .await;
    let mail = async |number: u32, from: Ipv4Addr| {
        let body = json!({"email": format!("person{number}@example.org")});
        post(&origin, "/otp/send", &body, from)
            .await
            .expect(200, "");
    };
    for number in 0..12 {
        mail(number, address(0)).await;
    }
    quiet(&origin.state.mailer).await;
    assert_eq!(provider.calls().len(), 10);
    assert_eq!(refused(&origin, "email", "network"), 2);
    for number in 12..20 {
        mail(number, address(number)).await;
    }
    quiet(&origin.state.mailer).await;
    assert_eq!(provider.calls().len(), 15);
    assert_eq!(refused(&origin, "email", "hour"), 3);
    origin.state.mailer.send(Message {
        channel: Medium::Email,
        to: "person0@example.org".to_owned(),
        subject: Some("Your password was changed"),
        text: "It was.".to_owned(),
        code: None,
        sort: Sort::Told,
        asked_by: None,
        good_until: None,
    });
    quiet(&origin.state.mailer).await;
    assert_eq!(provider.calls().len(), 16);
    origin.advance(3_600);
    mail(21, address(0)).await;
    quiet(&origin.state.mailer).await;
    assert_eq!(provider.calls().len(), 17);
}

async fn outbox_page(origin: &Origin, peer: &str, host: &str) -> Reply {
    let peer: IpAddr = peer.parse().unwrap();
    let request = Request::get("/dev/outbox")
        .header(header::HOST, host)
        .extension(ConnectInfo(SocketAddr::from((peer, 40_000))))
        .body(Body::empty())
        .unwrap();
    origin.send(request).await
}

#[tokio::test]
async fn a_developer_reads_codes_in_the_browser() {
    let origin = Origin::with(|config| config.notify.email = Channel::File).await;
    let empty = outbox_page(&origin, "127.0.0.1", "localhost:8080").await;
    assert_eq!(empty.status, 200);
    // Any number will do, as often as the contract has it.
    for number in ["+15550100001", "+41900123456", "+99912345678"] {
        for _ in 0..3 {
            ask(&origin, number, address(0)).await.expect(200, "");
        }
    }
    let hostile = "<script>alert(1)</script>";
    origin.state.mailer.send(Message {
        channel: Medium::Email,
        to: format!("\"{hostile}\"@example.org"),
        subject: Some("a <b>bold</b> subject"),
        text: hostile.to_owned(),
        code: Some("314159".to_owned()),
        sort: Sort::Code,
        asked_by: Some(address(1).into()),
        good_until: None,
    });
    origin.state.mailer.drain(PATIENCE).await;
    let file = std::fs::read_to_string(origin.state.config.data_dir.join("outbox.jsonl")).unwrap();
    assert_eq!(file.lines().count(), 10);
    for line in file.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let names: Vec<&str> = line
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let known = ["channel", "to", "subject", "text", "code"];
        assert!(names.iter().all(|name| known.contains(name)), "{names:?}");
    }
    let page = outbox_page(&origin, "127.0.0.1", "localhost:8080").await;
    let html = page.body.as_str().unwrap();
    assert!(
        html.contains("314159") && html.contains("+15550100001"),
        "{html}"
    );
    assert!(
        !html.contains("<script") && !html.contains("<b>bold"),
        "{html}"
    );
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    assert_eq!(page.headers["cache-control"], "no-store");
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-"),
        "{policy}"
    );
    // Nobody else reads them.
    for (peer, host) in [
        ("192.0.2.1", "localhost:8080"),
        ("127.0.0.1", "evil.example"),
    ] {
        outbox_page(&origin, peer, host)
            .await
            .expect(404, "not_found");
    }
}

#[tokio::test]
async fn there_is_no_outbox_page_in_production_or_beside_a_real_sender() {
    let production = Origin::with(|config| {
        config.mode = Mode::Production;
        config.secrets.master_key = Some(Secret::new(
            "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8".to_owned(),
        ));
        config.notify.email = Channel::File;
    })
    .await;
    let sending = Origin::with(|config| {
        config.notify.email = Channel::Off;
        config.notify.sms = Channel::Off;
    })
    .await;
    for origin in [production, sending] {
        outbox_page(&origin, "127.0.0.1", "localhost")
            .await
            .expect(404, "not_found");
        let document = app::documented().into_openapi().to_json().unwrap();
        assert!(!document.contains("/dev/outbox"));
    }
}

/// An access token of somebody who has nothing but this number, from a login by a code to it that was
/// asked for on this machine.
async fn with_number(origin: &Origin, provider: &Provider, number: &str) -> String {
    let asked = ask(origin, number, Ipv4Addr::LOCALHOST)
        .await
        .expect(200, "");
    quiet(&origin.state.mailer).await;
    let code = provider.calls().last().unwrap().form()["Body"][..6].to_owned();
    let body = json!({"otp_token": asked.text("otp_token"), "code": code});
    let tokens = origin.post("/otp/verify", body).await.expect(200, "");
    tokens.text("access_token").to_owned()
}

#[tokio::test]
async fn nothing_that_is_used_up_keeps_a_change_of_addresses_from_its_owner() {
    type Rule = fn(&mut Config);
    let rules: [(&str, Rule); 6] = [
        ("number", |config| config.sms.per_number_per_day = 1),
        ("prefix", |config| config.sms.per_prefix_per_hour = 1),
        ("network", |config| config.sms.per_network_per_hour = 1),
        ("hour", |config| config.sms.per_hour = 1),
        ("day", |config| config.sms.per_day = 1),
        ("conversion", |config| {
            config.sms.conversion.window = 1;
            config.sms.conversion.percent = 100;
            config.sms.conversion.trial = 1;
            config.otp.ttl_seconds = 60;
        }),
    ];
    for (rule, change) in rules {
        let provider = Provider::start(&[]).await;
        let origin = origin(&provider, |config| {
            loosen(config);
            change(config);
        })
        .await;
        let number = "+41791234567";
        let token = with_number(&origin, &provider, number).await;
        if rule == "conversion" {
            // One that nobody gives back.
            ask(&origin, "+41791234568", address(1))
                .await
                .expect(200, "");
            quiet(&origin.state.mailer).await;
            origin.advance(61);
        }
        let before = provider.calls().len();
        // What strangers cause is held up …
        ask(&origin, "+41791234569", Ipv4Addr::LOCALHOST)
            .await
            .expect(200, "");
        ask(&origin, number, Ipv4Addr::LOCALHOST).await;
        quiet(&origin.state.mailer).await;
        assert_eq!(
            provider.calls().len(),
            before + usize::from(rule == "number"),
            "{rule}"
        );
        // … and what tells the owner is not.
        let body = json!({"email": "thief@example.org"});
        let path = "/api/v1/auth/contacts";
        let reply = origin
            .call(Method::POST, path, Some(&token), Some(body))
            .await;
        reply.expect(202, "");
        quiet(&origin.state.mailer).await;
        let calls = provider.calls();
        let form = calls.last().unwrap().form();
        assert_eq!(form["To"], number, "{rule}");
        assert!(
            form["Body"].contains("take it back"),
            "{rule}: {}",
            form["Body"]
        );
    }
}

/// The token of the link that was sent last.
fn link(provider: &Provider) -> String {
    let body = provider.calls().last().unwrap().form()["Body"].clone();
    let token = body.split("token=").nth(1).unwrap();
    token.split_whitespace().next().unwrap().to_owned()
}

#[tokio::test]
async fn links_to_a_new_password_open_no_breaker_and_one_that_is_used_was_wanted() {
    let provider = Provider::start(&[]).await;
    let origin = origin(&provider, |config| {
        loosen(config);
        config.sms.delays_seconds = vec![60];
        config.sms.conversion.window = 4;
        config.sms.conversion.percent = 50;
    })
    .await;
    let forgot = async |number: &str| {
        let body = json!({"identifier": number});
        post(&origin, "/forgot-password", &body, address(0)).await
    };
    for number in 0..6 {
        let number = format!("+4179123450{number}");
        with_number(&origin, &provider, &number).await;
        forgot(&number).await.expect(202, "");
    }
    quiet(&origin.state.mailer).await;
    origin.advance(301);
    // Six links that nobody followed.
    assert_eq!(state_of(&origin, "*").await, BreakerState::Closed);
    let before = provider.calls().len();
    ask(&origin, "+41791234599", address(1))
        .await
        .expect(200, "");
    quiet(&origin.state.mailer).await;
    assert_eq!(provider.calls().len(), before + 1);
    // A pause follows a link, unless it was used.
    let number = "+41791234500";
    forgot(number).await.expect(202, "");
    quiet(&origin.state.mailer).await;
    ask(&origin, number, address(1))
        .await
        .expect(429, "rate_limited");
    let body = json!({"token": link(&provider), "password": "four wild geese north"});
    origin.post("/reset-password", body).await.expect(204, "");
    ask(&origin, number, address(1)).await.expect(200, "");
}

#[tokio::test]
async fn a_link_is_of_use_as_long_as_it_is_good_and_counts_for_who_asked() {
    const ADDRESS: &str = "forgot@example.org";
    let origin = Origin::new().await;
    let sent = origin.post("/otp/send", json!({"email": ADDRESS})).await;
    let body = json!({"otp_token": sent.text("otp_token"), "code": origin.code(ADDRESS)});
    origin.post("/otp/verify", body).await.expect(200, "");
    let from = address(9);
    post(
        &origin,
        "/forgot-password",
        &json!({"identifier": ADDRESS}),
        from,
    )
    .await
    .expect(202, "");
    let link = origin.message(ADDRESS).unwrap();
    assert_eq!(link.asked_by, Some(from.into()));
    let life = link.good_until.unwrap().since(origin.clock.now());
    assert_eq!(life.as_secs(), 600);
    // What was done in one's name nobody can keep from one.
    let body = json!({"token": link.code.unwrap(), "password": "another horse"});
    post(&origin, "/reset-password", &body, from)
        .await
        .expect(204, "");
    assert!(!origin.message(ADDRESS).unwrap().is_solicited());
}

#[tokio::test]
async fn an_operator_sees_and_closes_the_breaker_on_the_command_line() {
    let provider = Provider::start(&[]).await;
    let origin = origin(&provider, |config| {
        loosen(config);
        config.sms.conversion.window = 50;
    })
    .await;
    codes(&origin, &provider, SWISS, 50, 5).await;
    origin.advance(300);
    codes(&origin, &provider, SWISS, 1, 0).await;
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_edgekeep"))
            .env_clear()
            .env("EDGEKEEP_DATA_DIR", &*origin.state.config.data_dir)
            .env("EDGEKEEP_LOG__FILTER", "error")
            .arg("sms")
            .args(arguments)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    let mut tx = origin.state.db.write().await.unwrap();
    // The command has the machine's clock; the breaker is to be open by that.
    sqlx::query("UPDATE sms_breakers SET open_until = $1 WHERE scope = 'CH'")
        .bind(i64::MAX / 2)
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let (succeeded, said) = run(&["status"]);
    assert!(succeeded && said.contains("CH    "), "{said}");
    assert!(said.contains("open until "), "{said}");
    assert!(
        said.contains("of 500 spent") && said.contains("of 2000 spent"),
        "{said}"
    );
    for wrong in ["ch", "Switzerland", "C1"] {
        assert!(!run(&["reset", wrong]).0, "{wrong}");
    }
    let (succeeded, said) = run(&["reset", "CH"]);
    assert!(succeeded && said.contains("CH"), "{said}");
    assert_eq!(state_of(&origin, "CH").await, BreakerState::Closed);
    let (succeeded, said) = run(&["status"]);
    assert!(succeeded && !said.contains("open until"), "{said}");
    // The running server follows at once.
    codes(&origin, &provider, SWISS, 1, 0).await;
    assert_eq!(provider.calls().len(), 51);
    let (succeeded, _) = run(&["reset"]);
    assert!(succeeded);
}

/// The queue takes what is meant for nobody, so that it costs the same, and drops it.
#[tokio::test]
async fn nothing_goes_to_nobody_and_what_follows_arrives() {
    let origin = Origin::with(|config| config.notify.email = Channel::File).await;
    for identifier in ["nobody@example.org", "nobody_at_all"] {
        let body = json!({"identifier": identifier});
        let reply = post(&origin, "/forgot-password", &body, address(0)).await;
        reply.expect(202, "");
    }
    let body = json!({"email": "somebody@example.org"});
    post(&origin, "/otp/send", &body, address(0))
        .await
        .expect(200, "");
    origin.state.mailer.drain(PATIENCE).await;
    assert_eq!(origin.state.mailer.waiting(), 0);
    let file = std::fs::read_to_string(origin.state.config.data_dir.join("outbox.jsonl")).unwrap();
    let to: Vec<Value> = file
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["to"].clone())
        .collect();
    assert_eq!(to, ["somebody@example.org"]);
}
