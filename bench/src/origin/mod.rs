//! The issuer: logins against the bare cost of argon2, refreshes, codes, keys, judging tokens,
//! memory; with few accounts and with very many, side by side.

mod bare;
mod burst;
mod work;

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;

use self::bare::argon2_alone;
use self::work::{Codes, Work, beside, slice};
use crate::Setting;
use crate::http::{self, Connection};
use crate::keep::{Keep, log_in, login_body};
use crate::load::{CONNECTIONS, WARM_UP};
use crate::people;
use crate::report::{Report, percentile};

const GROUP: &str = "origin";

/// Rounds, in each of which everything has its turn.
const ROUNDS: usize = 5;

/// Length of a slice.
const SLICE: Duration = Duration::from_millis(1_500);

/// Codes that are sent before each slice that verifies them: more than it comes to verify.
const CODES: usize = 1_500;

/// Accounts of the issuer with few: as many as are sent codes, and as log in.
const FEW: usize = 2_000;

/// Accounts of the issuer with many.
const MANY: usize = 100_000;

/// What is asked beside logins, to see whether it is still answered.
const BESIDE: [&str; 3] = ["health", "validation", "refresh"];

/// An issuer and what is done to it.
struct Subject {
    name: &'static str,
    keep: Keep,
    codes: Codes,
    works: Vec<(&'static str, &'static str, Vec<Work>)>,
    beside: Vec<Work>,
}

impl Subject {
    async fn start(setting: &Setting, name: &'static str, people: usize) -> Result<Self> {
        let keep = Keep::start_with(setting, people, &[]).await?;
        // Those who log in are not those who refresh: a user has five sessions, the oldest goes.
        let mut others = (0..people)
            .rev()
            .map(|number| login_body(&people::address(number)));
        let mut next = || others.next().unwrap_or_default();
        let mut connection = Connection::open(keep.address).await?;
        let mut logins = Vec::new();
        let mut refreshes = Vec::new();
        for _ in 0..CONNECTIONS {
            logins.push(Work::LogIn(next()));
            refreshes.push(Work::Refresh(log_in(&mut connection, &next()).await?));
        }
        let token = log_in(&mut connection, &next()).await?.access_token;
        let keys = http::get("/.well-known/jwks.json", None);
        let validation = json!({"token": token}).to_string();
        let validation = http::post("/api/v1/auth/validate-token", None, &validation);
        let health = http::get("/health", None);
        let active = "\"active\":true";
        let repeat = |request: &Vec<u8>, expected| {
            (0..CONNECTIONS)
                .map(|_| Work::Send(request.clone(), expected))
                .collect::<Vec<_>>()
        };
        let codes = Codes::default();
        let verifications = (0..CONNECTIONS)
            .map(|_| Work::Code(Rc::clone(&codes)))
            .collect();
        let works = vec![
            ("logins", "login", logins),
            ("refreshes", "refresh", refreshes),
            ("otp_verifications", "otp_verification", verifications),
            ("jwks", "jwks", repeat(&keys, "\"kid\"")),
            ("validations", "validation", repeat(&validation, active)),
        ];
        let beside = vec![
            Work::Send(health, ""),
            Work::Send(validation, active),
            Work::Refresh(log_in(&mut connection, &next()).await?),
        ];
        Ok(Self {
            name,
            keep,
            codes,
            works,
            beside,
        })
    }

    /// One round; `hashes` is what argon2 alone has made in it, and for how much processor time.
    async fn round(&mut self, (hashes, hash_cpu): (f64, f64), report: &mut Report) -> Result<()> {
        let addresses: Vec<String> = (0..CODES).map(people::address).collect();
        *self.codes.borrow_mut() = self.keep.codes(&addresses).await?;
        for (name, each, works) in &mut self.works {
            let slice = slice(&self.keep, works).await?;
            let mut add = |metric: &str, value| report.add(GROUP, self.name, metric, value);
            add(&format!("{name}_per_s"), slice.rate);
            add(&format!("{each}_cpu_us"), slice.cpu_us);
            if *name == "logins" {
                add("logins_per_argon2", slice.rate / hashes);
                add("argon2_cpu_per_login_cpu", hash_cpu / slice.cpu_us);
                add("login_load_cpu_us", slice.load_cpu_us);
            }
        }
        self.under_logins(report).await
    }

    /// What else is answered while logins take every core.
    async fn under_logins(&mut self, report: &mut Report) -> Result<()> {
        let until = Instant::now() + WARM_UP + SLICE;
        let Some((_, _, logins)) = self.works.first_mut() else {
            return Ok(());
        };
        let (_, taken) = tokio::try_join!(
            slice(&self.keep, logins),
            beside(&self.keep, &mut self.beside, until)
        )?;
        for (name, taken) in BESIDE.into_iter().zip(taken) {
            for percent in [50, 99] {
                let metric = format!("{name}_p{percent}_ms_under_logins");
                report.add(GROUP, self.name, &metric, percentile(&taken, percent));
            }
        }
        Ok(())
    }
}

/// Measures the group.
pub(crate) async fn measure(setting: &Setting, report: &mut Report) -> Result<()> {
    let few = Subject::start(setting, "edgekeep", FEW).await?;
    let many = Subject::start(setting, "edgekeep-100k", MANY).await?;
    let rest = few.keep.process.resident_mib()?;
    report.add(GROUP, "edgekeep", "rss_rest_mb", rest);
    let rest = many.keep.process.resident_mib()?;
    report.add(GROUP, "edgekeep", "rss_100k_users_mb", rest);
    let mut subjects = [few, many];
    for _ in 0..ROUNDS {
        let bare = tokio::task::spawn_blocking(argon2_alone).await??;
        report.add(GROUP, "argon2", "argon2_bare_per_s", bare.0);
        report.add(GROUP, "argon2", "login_cpu_us", bare.1);
        for subject in &mut subjects {
            subject.round(bare, report).await?;
        }
    }
    for Subject { name, keep, .. } in &subjects {
        report.add(GROUP, name, "rss_mb", keep.process.resident_mib()?);
        let burst = burst::measure(keep).await?;
        report.add(GROUP, name, "rss_burst_mb", burst.peak_mib);
        report.add(GROUP, name, "burst_logged_in", burst.logged_in.into());
        report.add(GROUP, name, "burst_refused", burst.refused.into());
        report.add(GROUP, name, "burst_s", burst.seconds);
    }
    Ok(())
}
