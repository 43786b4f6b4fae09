//! Whether the time of an answer tells that somebody has an account.
//!
//! Requests for known and unknown identifiers, in random order, one at a time: what else the
//! machine does falls on both alike. Every request is about another person, so that no count of
//! one shows in the next; so there are as many accounts as requests for known ones.

use std::time::Instant;

use anyhow::{Result, ensure};
use edgekeep_origin::random::Random;
use serde_json::json;

use crate::Setting;
use crate::http::{self, Connection};
use crate::keep::{Keep, Settings};
use crate::people;
use crate::report::{Report, median};
use crate::statistics::Difference;

const GROUP: &str = "enumeration";

/// Requests before those that count: connections of pools open, caches fill.
const WARM_UP: usize = 100;

/// With the issuer's own cost of a hash there is one request for so many otherwise.
const SLOW_SHARE: usize = 5;

/// A hash that costs next to nothing, so that it hides no difference.
const CHEAP: &Settings = &[
    ("EDGEKEEP_PASSWORD__MEMORY_KIB", "8"),
    ("EDGEKEEP_PASSWORD__ITERATIONS", "1"),
];

/// A route that takes an identifier.
#[derive(Clone, Copy)]
struct Route {
    name: &'static str,
    path: &'static str,
    status: u16,
    body: fn(&str) -> String,
    /// Whether a password is hashed.
    hashes: bool,
}

const ROUTES: [Route; 4] = [
    Route {
        name: "login",
        path: "/api/v1/auth/login",
        status: 401,
        body: |address| json!({"identifier": address, "password": "not the password"}).to_string(),
        hashes: true,
    },
    Route {
        name: "reset",
        path: "/api/v1/auth/forgot-password",
        status: 202,
        body: |address| json!({"identifier": address}).to_string(),
        hashes: false,
    },
    Route {
        name: "registration",
        path: "/api/v1/auth/register",
        status: 202,
        body: |address| {
            json!({"email": address, "password": "violet harbour stapler 91"}).to_string()
        },
        hashes: true,
    },
    Route {
        name: "otp_send",
        path: "/api/v1/auth/otp/send",
        status: 200,
        body: |address| json!({"email": address}).to_string(),
        hashes: false,
    },
];

/// Measures the group with `attempts` on each route, half of them for known identifiers.
pub(crate) async fn measure(setting: &Setting, attempts: usize, report: &mut Report) -> Result<()> {
    let half = (attempts + WARM_UP).div_ceil(2);
    let keep = Keep::start_with(setting, ROUTES.len() * half, CHEAP).await?;
    for (number, route) in ROUTES.into_iter().enumerate() {
        probe(&keep, route, "edgekeep", number * half, half, report).await?;
    }
    drop(keep);
    // The same where a hash costs what it does.
    let half = (attempts / SLOW_SHARE + WARM_UP).div_ceil(2);
    let keep = Keep::start_with(setting, ROUTES.len() * half, &[]).await?;
    for (number, route) in ROUTES.into_iter().enumerate() {
        if route.hashes {
            let first = number * half;
            probe(&keep, route, "edgekeep-default-hash", first, half, report).await?;
        }
    }
    Ok(())
}

/// Asks about the accounts `first..first + half`, and about as many that nobody has.
async fn probe(
    keep: &Keep,
    route: Route,
    subject: &'static str,
    first: usize,
    half: usize,
    report: &mut Report,
) -> Result<()> {
    let mut order: Vec<(bool, usize)> = (first..first + half)
        .flat_map(|number| [(true, number), (false, number)])
        .collect();
    shuffle(&mut order);
    let mut connection = Connection::open(keep.address).await?;
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for (count, (is_known, number)) in order.into_iter().enumerate() {
        let address = if is_known {
            people::address(number)
        } else {
            people::nobody(number)
        };
        let request = http::post(route.path, None, &(route.body)(&address));
        let begun = Instant::now();
        let status = connection.exchange(&request).await?;
        let taken = begun.elapsed().as_secs_f64() * 1e6;
        ensure!(
            status == route.status,
            "{} answered {status} for {address}: {}",
            route.path,
            String::from_utf8_lossy(connection.body())
        );
        if count >= WARM_UP {
            (if is_known { &mut known } else { &mut unknown }).push(taken);
        }
    }
    let difference = Difference::between(&known, &unknown);
    let name = route.name;
    let mut add = |metric: &str, value| {
        report.add(GROUP, subject, &format!("{name}_{metric}"), value);
    };
    add("median_us", median(&unknown));
    add("gap_us", difference.gap);
    add("gap_percent", 100.0 * difference.relative_gap);
    add("t", difference.t);
    add("t_cropped", difference.cropped_t);
    Ok(())
}

/// Fisher and Yates's shuffle.
fn shuffle<T>(items: &mut [T]) {
    for last in (1..items.len()).rev() {
        let number = u64::from_le_bytes(Random::Os.bytes());
        // The remainder's bias, of 2⁻⁵⁰, is nobody's concern here.
        let at = usize::try_from(number % (last as u64 + 1)).unwrap_or(last);
        items.swap(at, last);
    }
}
