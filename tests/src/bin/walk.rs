//! The main job, end to end, on a running instance: what `scripts/run --check` does.
//!
//! `walk --origin URL --edge URL --upstream URL --data-dir DIR --edgekeep PATH` prints one line
//! for each step that held, and ends with the first that did not: what was expected, and what
//! was seen.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use edgekeep_shared::base64url;
use edgekeep_shared::gate::refusal::CHALLENGE;
use edgekeep_tests::clock::{eventually, since_epoch};
use edgekeep_tests::http::{Answer, Call};
use serde_json::{Value, json};

const PASSWORD: &str = "correct horse battery staple";

/// A message is sent behind the answer to a registration.
const MESSAGE_LIMIT: Duration = Duration::from_secs(10);

/// Within this time every gate must have heard of a revocation.
const REVOCATION_LIMIT: Duration = Duration::from_secs(5);

/// A standby may sign once every verifier must have seen it: 3 s in the instance of `scripts/run`.
const ROTATION_LIMIT: Duration = Duration::from_secs(30);

/// The running server follows a rotation of the command line within a second.
const FOLLOW_LIMIT: Duration = Duration::from_secs(5);

#[tokio::main]
#[expect(clippy::print_stderr, reason = "what was expected and what was seen")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("walk: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut walk = Walk::new()?;
    walk.register_and_log_in().await?;
    walk.call_through_the_edge().await?;
    walk.refresh_and_replay().await?;
    walk.log_out().await?;
    walk.rotate().await?;
    say(&format!(
        "every step held, in {:.1} s",
        begun.elapsed().as_secs_f32()
    ));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the account of the walk")]
fn say(line: &str) {
    println!("{line}");
}

fn held(step: &str) {
    say(&format!("ok  {step}"));
}

/// What a login or a refresh gives.
#[derive(Clone, Debug, Default)]
struct Tokens {
    access: String,
    refresh: String,
    session: String,
    user: String,
}

struct Walk {
    origin: SocketAddr,
    edge: SocketAddr,
    upstream: SocketAddr,
    data_dir: PathBuf,
    edgekeep: PathBuf,
    email: String,
    tokens: Tokens,
}

/// The address of `http://127.0.0.1:8080`.
fn address(url: &str) -> anyhow::Result<SocketAddr> {
    let host = url
        .strip_prefix("http://")
        .map(|rest| rest.trim_end_matches('/'));
    let host = host.with_context(|| format!("{url}: expected http://ADDRESS:PORT"))?;
    host.parse()
        .with_context(|| format!("{url}: expected http://ADDRESS:PORT"))
}

/// Fails, with the answer, unless it is the expected one.
fn expect(answer: &Answer, status: u16, code: &str) -> anyhow::Result<()> {
    ensure!(
        answer.verdict() == (status, code.to_owned()),
        "expected {status} {code}, seen {} {}",
        answer.status,
        answer.text()
    );
    Ok(())
}

fn part(token: &str, index: usize) -> anyhow::Result<Value> {
    let part = token
        .split('.')
        .nth(index)
        .context("expected a token of three parts")?;
    let bytes = base64url::decode(part.as_bytes())
        .ok()
        .context("expected base64url")?;
    Ok(serde_json::from_slice(&bytes)?)
}

impl Tokens {
    fn of(answer: &Answer) -> anyhow::Result<Self> {
        ensure!(
            answer.status == 200,
            "expected 200 with tokens, seen {} {}",
            answer.status,
            answer.text()
        );
        let json = answer.json();
        let text = |value: &Value, name: &str| {
            value
                .as_str()
                .map(str::to_owned)
                .with_context(|| format!("expected {name} in the answer"))
        };
        Ok(Self {
            access: text(&json["access_token"], "access_token")?,
            refresh: text(&json["refresh_token"], "refresh_token")?,
            session: text(&json["session_id"], "session_id")?,
            user: text(&json["user"]["id"], "user.id")?,
        })
    }
}

impl Walk {
    fn new() -> anyhow::Result<Self> {
        const USAGE: &str =
            "usage: walk --origin URL --edge URL --upstream URL --data-dir DIR --edgekeep PATH";
        let mut options = BTreeMap::new();
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            options.insert(name, arguments.next().context(USAGE)?);
        }
        let mut option = |name: &str| options.remove(name).context(USAGE);
        let walk = Self {
            origin: address(&option("--origin")?)?,
            edge: address(&option("--edge")?)?,
            upstream: address(&option("--upstream")?)?,
            data_dir: option("--data-dir")?.into(),
            edgekeep: option("--edgekeep")?.into(),
            // Another one at every walk: the instance may be an old one.
            email: format!("walk-{}@example.com", since_epoch().as_millis()),
            tokens: Tokens::default(),
        };
        ensure!(options.is_empty(), USAGE);
        Ok(walk)
    }

    async fn post(&self, route: &str, body: &Value) -> anyhow::Result<Answer> {
        let call = Call::new(self.origin, "POST", &format!("/api/v1/auth{route}"));
        call.json(body)
            .send()
            .await
            .with_context(|| format!("POST {route} at the origin"))
    }

    async fn through_edge(&self, target: &str, token: &str) -> anyhow::Result<Answer> {
        let call = Call::new(self.edge, "GET", target).bearer(token);
        call.send()
            .await
            .with_context(|| format!("GET {target} at the edge"))
    }

    async fn log_in(&self) -> anyhow::Result<Tokens> {
        Tokens::of(
            &self
                .post(
                    "/login",
                    &json!({"identifier": self.email, "password": PASSWORD}),
                )
                .await?,
        )
    }

    async fn refresh(&self, token: &str) -> anyhow::Result<Answer> {
        self.post("/refresh", &json!({"refresh_token": token}))
            .await
    }

    fn code(&self) -> Option<String> {
        let outbox = std::fs::read_to_string(self.data_dir.join("outbox.jsonl")).ok()?;
        outbox
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|message| message["to"] == self.email.as_str())
            .find_map(|message| message["code"].as_str().map(str::to_owned))
    }

    async fn register_and_log_in(&mut self) -> anyhow::Result<()> {
        let account = json!({"email": self.email, "password": PASSWORD});
        let answer = self.post("/register", &account).await?;
        ensure!(
            answer.status == 202,
            "register: expected 202, seen {} {}",
            answer.status,
            answer.text()
        );
        held(&format!("register {}: 202", self.email));

        let early = self
            .post(
                "/login",
                &json!({"identifier": self.email, "password": PASSWORD}),
            )
            .await?;
        expect(&early, 401, "credentials_invalid")
            .context("log in before the address is proved")?;
        held("log in before the address is proved: 401 credentials_invalid");

        let found = eventually(MESSAGE_LIMIT, || async { self.code() }).await;
        let (code, _) =
            found.with_context(|| format!("expected a code for {} in outbox.jsonl", self.email))?;
        let answer = self
            .post(
                "/register/verify",
                &json!({"email": self.email, "code": code}),
            )
            .await?;
        Tokens::of(&answer).context("verify the address with the code of the mail")?;
        held("verify the address with the code of the mail: tokens");

        self.tokens = self.log_in().await.context("log in")?;
        held(&format!(
            "log in with the password: tokens, signed by {}",
            self.kid()?
        ));
        Ok(())
    }

    fn kid(&self) -> anyhow::Result<String> {
        let header = part(&self.tokens.access, 0)?;
        header["kid"]
            .as_str()
            .map(str::to_owned)
            .context("expected a kid in the token")
    }

    async fn call_through_the_edge(&self) -> anyhow::Result<()> {
        let answer = Call::new(self.edge, "GET", "/api/hello").send().await?;
        expect(&answer, 401, "token_missing").context("call the API without a token")?;
        ensure!(
            answer.header("www-authenticate") == Some(CHALLENGE),
            "expected the challenge `{CHALLENGE}`, seen {:?}",
            answer.header("www-authenticate")
        );
        held("call the API through the edge without a token: 401 token_missing");

        let call =
            Call::new(self.edge, "GET", "/api//hello?greeting=1").bearer(&self.tokens.access);
        let answer = call
            .header("X-User-ID", "forged")
            .header("x_user_roles", "admin")
            .send()
            .await?;
        ensure!(
            answer.status == 200,
            "call the API: expected 200, seen {} {}",
            answer.status,
            answer.text()
        );
        let seen = answer.json();
        ensure!(
            seen["path"] == "/api/hello",
            "expected the path /api/hello at the upstream, seen {seen}"
        );
        for (header, expected) in [
            ("x-user-id", &self.tokens.user),
            ("x-session-id", &self.tokens.session),
        ] {
            let got = &seen["headers"][header];
            ensure!(
                got == expected.as_str(),
                "expected {header}: {expected} at the upstream, seen {got}"
            );
        }
        ensure!(
            !answer.text().contains("forged"),
            "a forged header has reached the upstream: {seen}"
        );
        let roles = &seen["headers"]["x_user_roles"];
        ensure!(
            roles.is_null(),
            "a forged header has reached the upstream: {roles}"
        );
        held(
            "call it with the token: 200, and the upstream knows user and session, not what the client forged",
        );

        let answer = self
            .through_edge("/api/admin/users", &self.tokens.access)
            .await?;
        expect(&answer, 403, "insufficient_role").context("call what is for administrators")?;
        held("call what is for administrators: 403 insufficient_role");

        let answer = self
            .through_edge("/public/../api/admin/users", &self.tokens.access)
            .await?;
        expect(&answer, 400, "path_invalid").context("climb out of the public folder")?;
        held("climb there from the public folder: 400 path_invalid");

        let direct = Call::new(self.upstream, "GET", "/public/hello")
            .send()
            .await?;
        let public = Call::new(self.edge, "GET", "/public/hello").send().await?;
        ensure!(
            public.status == 200 && public.json()["path"] == direct.json()["path"],
            "public route: expected what the upstream answers, seen {} {}",
            public.status,
            public.text()
        );
        held("call a public route without a token: 200");
        Ok(())
    }

    async fn refresh_and_replay(&mut self) -> anyhow::Result<()> {
        let first = self.tokens.refresh.clone();
        let second = Tokens::of(&self.refresh(&first).await?).context("refresh")?;
        ensure!(
            second.refresh != first,
            "refresh: expected another refresh token, seen the same"
        );
        let answer = self.through_edge("/api/hello", &second.access).await?;
        ensure!(
            answer.status == 200,
            "the refreshed token: expected 200, seen {}",
            answer.text()
        );
        held("refresh: new tokens, and the edge accepts them");

        let again =
            Tokens::of(&self.refresh(&first).await?).context("replay the refresh token at once")?;
        ensure!(
            again.refresh == second.refresh,
            "replay within the grace: expected the same successor, seen another"
        );
        held("replay the refresh token at once: the same successor (an answer may get lost)");

        let third = Tokens::of(&self.refresh(&second.refresh).await?).context("refresh again")?;
        let answer = self.refresh(&first).await?;
        expect(&answer, 401, "refresh_reused").context("replay an older refresh token")?;
        held("replay an older one: 401 refresh_reused");
        let answer = self.refresh(&third.refresh).await?;
        expect(&answer, 401, "session_ended").context("refresh after that")?;
        let took = self
            .refused(&third.access)
            .await
            .context("the session's access token after that")?;
        held(&format!(
            "the session has ended: its tokens are refused, at the edge after {took:.0?}"
        ));
        Ok(())
    }

    /// Waits until the edge refuses `token` as revoked.
    async fn refused(&self, token: &str) -> anyhow::Result<Duration> {
        let mut last = None;
        let begun = Instant::now();
        while begun.elapsed() < REVOCATION_LIMIT {
            let answer = self.through_edge("/api/hello", token).await?;
            if answer.status != 200 {
                expect(&answer, 401, "token_revoked")?;
                return Ok(begun.elapsed());
            }
            last = Some(answer.status);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bail!("expected 401 token_revoked within {REVOCATION_LIMIT:?}, seen {last:?} until the end")
    }

    async fn log_out(&mut self) -> anyhow::Result<()> {
        self.tokens = self.log_in().await.context("log in again")?;
        let stays = self.log_in().await.context("log in on another device")?;
        for token in [&self.tokens.access, &stays.access] {
            let answer = self.through_edge("/api/hello", token).await?;
            ensure!(
                answer.status == 200,
                "after logging in: expected 200, seen {}",
                answer.text()
            );
        }
        held("log in again, on two devices: the edge accepts both");

        let call =
            Call::new(self.origin, "POST", "/api/v1/auth/logout").bearer(&self.tokens.access);
        let answer = call.json(&json!({})).send().await?;
        ensure!(
            answer.status == 204,
            "log out: expected 204, seen {} {}",
            answer.status,
            answer.text()
        );
        let took = self
            .refused(&self.tokens.access)
            .await
            .context("the very token that worked, after the logout")?;
        held(&format!(
            "log out: the very token that worked is refused after {took:.0?}"
        ));
        let answer = self.through_edge("/api/hello", &stays.access).await?;
        ensure!(
            answer.status == 200,
            "the other device: expected 200, seen {}",
            answer.text()
        );
        held("the other device goes on");
        self.tokens = stays;
        Ok(())
    }

    async fn rotate(&mut self) -> anyhow::Result<()> {
        let old = self.kid()?;
        let begun = Instant::now();
        let mut told = false;
        loop {
            let mut command = Command::new(&self.edgekeep);
            command
                .args(["keys", "rotate"])
                .env("EDGEKEEP_DATA_DIR", &self.data_dir);
            let output = tokio::task::spawn_blocking(move || command.output()).await??;
            if output.status.success() {
                break;
            }
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            ensure!(
                said.contains("may sign from") && begun.elapsed() < ROTATION_LIMIT,
                "rotate: expected a rotation within {ROTATION_LIMIT:?}, seen: {said}"
            );
            if !told {
                held("rotate too early: refused, with the earliest time");
                told = true;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        held(&format!(
            "rotate the keys, {:.1} s later",
            begun.elapsed().as_secs_f32()
        ));

        let answer = self.through_edge("/api/hello", &self.tokens.access).await?;
        ensure!(
            answer.status == 200,
            "a token of the old key: expected 200, seen {}",
            answer.text()
        );
        held("a token of the old key goes on");

        let begun = Instant::now();
        loop {
            self.tokens = self.log_in().await.context("log in after the rotation")?;
            let kid = self.kid()?;
            let answer = self.through_edge("/api/hello", &self.tokens.access).await?;
            ensure!(
                answer.status == 200,
                "a token of {kid}: expected 200, seen {}",
                answer.text()
            );
            if kid != old {
                held(&format!(
                    "log in and call again: signed by {kid}, accepted at the edge"
                ));
                return Ok(());
            }
            ensure!(
                begun.elapsed() < FOLLOW_LIMIT,
                "expected another key than {old} to sign within {FOLLOW_LIMIT:?}, seen the same"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
