//! Every one-time thing, used twice and by a hundred at once.
//!
//! Each row makes an origin with one thing that waits, the requests that use it up, and a number
//! that each use changes. Where a thing has several doors, each is among the requests. Two things
//! are good more than once by design and have tests of their own: a refresh token within its grace
//! (`sessions.rs`; in a cookie `browser.rs`), and a device token, which opens nothing (`lockout.rs`).
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod authenticator;
mod callers;
mod idp;
mod people;
mod person;
mod support;
mod things;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use edgekeep_origin::config::CaptchaKind;
use people::Person;
use person::{EMAIL, PHONE, number, with_app};
use serde_json::json;
use support::{Origin, Reply, until_judged};
use things::{
    Ask, NEW, Thing, app_that_waits, at_both_doors, captcha, captcha_for_its_token, captcha_token,
    code_for_a_trusted_device, code_of_a_proof, code_of_a_second_step, code_to_log_in_with,
    further_address, kyc_submission, link_of_a_reset, origin, passkey_login, passkey_proof,
    passkey_registration, passkey_second_step, recovery_code, registration, registrations,
    social_code, social_link, social_state, step_of_an_app, token_of_a_first_step, undo_link,
};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

type Making = Pin<Box<dyn Future<Output = Thing> + Send>>;

/// What a thing is called, and what makes it.
type Row = (&'static str, fn() -> Making);

macro_rules! things {
    ($($name:literal => $make:expr,)*) => {
        [$(($name, (|| Box::pin($make)) as fn() -> Making),)*]
    };
}

const THINGS: [Row; 32] = things! {
    "code and link of a registration" => registration(),
    "codes of two registrations of one address" => registrations(),
    "code to log in with, by mail" => code_to_log_in_with(json!({"email": EMAIL}), EMAIL),
    "code to log in with, by SMS" => code_to_log_in_with(json!({"phone_number": PHONE}), PHONE),
    "code for a trusted device, by mail" => code_for_a_trusted_device(json!({"email": EMAIL}), EMAIL),
    "code for a trusted device, by SMS" =>
        code_for_a_trusted_device(json!({"phone_number": PHONE}), PHONE),
    "code of a second step, by mail" => code_of_a_second_step("email", EMAIL, false),
    "code of a second step, by SMS" => code_of_a_second_step("sms", PHONE, false),
    "code of a trusted second step, by mail" => code_of_a_second_step("email", EMAIL, true),
    "code of a trusted second step, by SMS" => code_of_a_second_step("sms", PHONE, true),
    "code of a proof, by mail" => code_of_a_proof("email", EMAIL),
    "code of a proof, by SMS" => code_of_a_proof("sms", PHONE),
    "token of a first step" => token_of_a_first_step(),
    "recovery code" => recovery_code(),
    "step of an app" => step_of_an_app(),
    "secret of an app that waits" => app_that_waits(),
    "link of a reset" => link_of_a_reset(),
    "code and link of a further address" => further_address(),
    "link that takes a change back" => undo_link(),
    "captcha by image" => captcha(CaptchaKind::Image),
    "captcha by work" => captcha(CaptchaKind::Pow),
    "captcha by code" => captcha(CaptchaKind::Code),
    "captcha, for its token" => captcha_for_its_token(),
    "token of a captcha" => captcha_token(),
    "passkey challenge of a login" => passkey_login(),
    "passkey challenge of a second step" => passkey_second_step(),
    "passkey challenge of a proof" => passkey_proof(),
    "passkey challenge of a registration" => passkey_registration(),
    "state of another provider" => social_state(),
    "code of a login at another provider" => social_code(),
    "code of a link to another provider" => social_link(),
    "submission that waits for review" => kyc_submission(),
};

/// Sends `how_many` requests from as many tasks, which all begin together.
async fn at_once(origin: &Arc<Origin>, asks: &[Ask], how_many: usize) -> Vec<Reply> {
    let barrier = Arc::new(Barrier::new(how_many));
    let mut tasks = JoinSet::new();
    for ask in asks.iter().cycle().take(how_many) {
        let (origin, barrier, ask) = (Arc::clone(origin), Arc::clone(&barrier), ask.clone());
        tasks.spawn(async move {
            barrier.wait().await;
            until_judged(&AtomicBool::new(false), || ask.clone().send(&origin)).await
        });
    }
    tasks.join_all().await
}

impl Thing {
    /// What is wrong with these replies to uses of it, of which one has to have won.
    async fn faults(&self, before: i64, replies: &[Reply]) -> Vec<String> {
        let (won, lost): (Vec<_>, Vec<_>) = replies
            .iter()
            .partition(|reply| reply.status.as_u16() == self.good);
        let mut faults: Vec<String> = lost
            .iter()
            .map(|reply| (reply.status.as_u16(), reply.code()))
            .filter(|answer| !self.refused.contains(answer))
            .map(|answer| format!("answered {answer:?}"))
            .collect();
        if won.len() != 1 {
            faults.push(format!("{} won", won.len()));
        }
        let by = number(&self.origin, self.counted).await - before;
        if by != self.by {
            faults.push(format!("changed {by}: {}", self.counted));
        }
        faults.dedup();
        faults
    }
}

#[tokio::test]
async fn each_is_good_once_and_refused_afterwards_at_every_door() {
    let mut bad_rows = Vec::new();
    for (name, make) in THINGS {
        let thing = make().await;
        let before = number(&thing.origin, thing.counted).await;
        let mut replies = vec![thing.asks[0].clone().send(&thing.origin).await];
        if replies[0].status.as_u16() != thing.good {
            bad_rows.push((name, vec![format!("first: {:?}", replies[0].body)]));
            continue;
        }
        for ask in &thing.asks {
            replies.push(ask.clone().send(&thing.origin).await);
        }
        let faults = thing.faults(before, &replies).await;
        bad_rows.extend((!faults.is_empty()).then_some((name, faults)));
    }
    assert!(bad_rows.is_empty(), "{bad_rows:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_hundred_tasks_that_use_one_thing_exactly_one_wins() {
    let mut bad_rows = Vec::new();
    for (name, make) in THINGS {
        let thing = make().await;
        let before = number(&thing.origin, thing.counted).await;
        let replies = at_once(&thing.origin, &thing.asks, 100).await;
        let faults = thing.faults(before, &replies).await;
        bad_rows.extend((!faults.is_empty()).then_some((name, faults)));
    }
    assert!(bad_rows.is_empty(), "{bad_rows:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_used_up_refresh_token_in_a_hundred_tasks_ends_its_session_once() {
    for beside_the_good_one in [false, true] {
        let origin = Arc::new(origin().await);
        let old = Person::new_user(&origin, NEW).await;
        let present = old.refreshed(&origin).await.refreshed(&origin).await;
        let refresh = |token: &str| Ask::post("/refresh", json!({ "refresh_token": token }));
        let mut asks = vec![refresh(&old.refresh)];
        if beside_the_good_one {
            asks.push(refresh(&present.refresh));
        }
        let mut reused = 0;
        for reply in at_once(&origin, &asks, 100).await {
            match (reply.status.as_u16(), reply.code()) {
                (200, _) => assert!(beside_the_good_one),
                (401, "refresh_reused") => reused += 1,
                (401, "session_ended") => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(reused, 1);
        let ended = "SELECT COUNT(*) FROM revocations WHERE kind = 'sid' AND reason = 'reuse'";
        assert_eq!(number(&origin, ended).await, 1);
        let noted = "SELECT COUNT(*) FROM audit_events WHERE kind = 'refresh_reuse'";
        assert_eq!(number(&origin, noted).await, 1);
        refresh(&present.refresh)
            .send(&origin)
            .await
            .expect(401, "session_ended");
    }
}

/// Fails unless every reply is that of a wrong code.
#[track_caller]
fn only_refused(replies: Vec<Reply>) {
    for reply in replies {
        reply.expect(400, "code_invalid");
    }
}

fn other_than(code: &str, n: u32) -> String {
    let number: u32 = code.parse().unwrap();
    format!("{:06}", (number + 1 + n) % 1_000_000)
}

const COMPARED: &str = "SELECT COUNT(*) FROM code_failures";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_thousand_tasks_that_guess_a_code_three_are_compared() {
    for (body, to) in [
        (json!({"email": EMAIL}), EMAIL),
        (json!({"phone_number": PHONE}), PHONE),
    ] {
        let thing = code_to_log_in_with(body, to).await;
        let origin = &thing.origin;
        let good = thing.asks[0].body.clone().unwrap();
        let code = origin.code(to);
        let guesses: Vec<Ask> = (0..1_000)
            .map(|n| {
                let mut body = good.clone();
                body["code"] = json!(other_than(&code, n));
                Ask::post("/otp/verify", body)
            })
            .collect();
        only_refused(at_once(origin, &guesses, 1_000).await);
        let tries = number(origin, "SELECT SUM(tries) FROM one_time_codes").await;
        assert_eq!((tries, number(origin, COMPARED).await), (3, 3));
        only_refused(at_once(origin, &thing.asks, 1).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_thousand_tasks_that_guess_an_app_at_both_doors_ten_are_compared() {
    let origin = Arc::new(origin().await);
    let (app, _) = with_app(&origin).await;
    let doors = at_both_doors(&origin, &app, "totp", "").await;
    let guesses: Vec<Ask> = (0..1_000)
        .map(|n| {
            let mut ask = doors[n as usize % doors.len()].clone();
            ask.body.as_mut().unwrap()["code"] = json!(app.wrong(&origin, n));
            ask
        })
        .collect();
    only_refused(at_once(&origin, &guesses, 1_000).await);
    assert_eq!(number(&origin, COMPARED).await, 10);
    // The right one is no longer compared, at either door.
    only_refused(at_once(&origin, &doors, doors.len()).await);
}
