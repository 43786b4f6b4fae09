//! Whether the database is asked the same whether or not somebody has an account.
//!
//! Times are measured by `scripts/bench enumeration`; they are noisy. What makes them differ is
//! not: other statements, or statements that find, change or return another number of rows. So this
//! compares, for each route that takes an identifier, what `sqlx` logs of a request about somebody
//! with what it logs of a request about nobody.
#![expect(clippy::unwrap_used, reason = "a failure is the test's failure")]

mod support;

use std::fmt;
use std::sync::{Mutex, PoisonError};

use edgekeep_origin::accounts::{self, Identifier, NewAccount};
use edgekeep_origin::vault::Secret;
use serde_json::{Value, json};
use support::{Origin, Reply};
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, SubscriberExt as _};

/// A statement, the rows it changed, and the rows it returned.
type Statement = (String, u64, u64);

/// What was logged since it was last taken. Statements run on threads of SQLite's, so that only a
/// subscriber of the whole process sees them; this file has one test for that reason.
static LOGGED: Mutex<Vec<Statement>> = Mutex::new(Vec::new());

struct Statements;

#[derive(Default)]
struct Fields {
    summary: String,
    statement: String,
    rows_affected: u64,
    rows_returned: u64,
}

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "rows_affected" => self.rows_affected = value,
            "rows_returned" => self.rows_returned = value,
            _ => {}
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "summary" => value.clone_into(&mut self.summary),
            "db.statement" => value.clone_into(&mut self.statement),
            _ => {}
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Statements {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() != "sqlx::query" {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        // Short statements are their own summary.
        let text = if fields.statement.is_empty() {
            fields.summary
        } else {
            fields.statement
        };
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let statement = (text, fields.rows_affected, fields.rows_returned);
        let mut logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
        logged.push(statement);
    }
}

fn taken() -> Vec<Statement> {
    std::mem::take(&mut *LOGGED.lock().unwrap_or_else(PoisonError::into_inner))
}

const PASSWORD: &str = "violet harbour stapler 91";

/// Makes the identifier with a number.
type Spelt = fn(usize) -> String;

/// A route, what is answered, and its body for an identifier.
type Route = (&'static str, u16, fn(&str) -> Value);

const BY_ADDRESS: [Route; 4] = [
    (
        "/login",
        401,
        |who| json!({"identifier": who, "password": "not the password"}),
    ),
    ("/forgot-password", 202, |who| json!({"identifier": who})),
    (
        "/register",
        202,
        |who| json!({"email": who, "password": PASSWORD}),
    ),
    ("/otp/send", 200, |who| json!({"email": who})),
];

const BY_NUMBER: [Route; 4] = [
    (
        "/login",
        401,
        |who| json!({"identifier": who, "password": "not the password"}),
    ),
    ("/forgot-password", 202, |who| json!({"identifier": who})),
    (
        "/register",
        202,
        |who| json!({"phone_number": who, "password": PASSWORD}),
    ),
    ("/otp/send", 200, |who| json!({"phone_number": who})),
];

const BY_NAME: [Route; 2] = [BY_ADDRESS[0], BY_ADDRESS[1]];

/// Accounts with an address, a number and a name each, all with one password.
async fn populate(origin: &Origin, people: usize) {
    let state = &origin.state;
    let phc = state
        .hasher
        .hash(&Secret::new(PASSWORD.to_owned()))
        .await
        .unwrap();
    let mut tx = state.db.write().await.unwrap();
    for number in 0..people {
        let identifiers = [
            (Identifier::email(&address(number)).unwrap(), true),
            (Identifier::phone(&phone(number), None).unwrap(), true),
            (Identifier::username(&name(number)).unwrap(), true),
        ];
        let account = NewAccount {
            identifiers: &identifiers,
            password: Some(&phc),
            ..NewAccount::default()
        };
        accounts::create(state, &mut tx, &account).await.unwrap();
    }
    tx.commit().await.unwrap();
}

fn address(number: usize) -> String {
    format!("person-{number:02}@example.com")
}

fn phone(number: usize) -> String {
    format!("+417912345{number:02}")
}

fn name(number: usize) -> String {
    format!("person{number:02}")
}

async fn statements(origin: &Origin, (route, status, body): Route, who: &str) -> Vec<Statement> {
    taken();
    let reply: Reply = origin.post(route, body(who)).await;
    assert_eq!(
        reply.status.as_u16(),
        status,
        "{route} {who}: {:?}",
        reply.body
    );
    let logged = taken();
    assert!(
        logged.len() > 3,
        "{route} has asked next to nothing: {logged:?}"
    );
    logged
}

/// The people that there are, and more than one route needs; who comes next of them in the index
/// stands in for nobody, so each is asked about.
const PEOPLE: usize = 12;

#[tokio::test]
async fn requests_about_somebody_and_about_nobody_ask_the_database_the_same() {
    let subscriber = tracing_subscriber::registry().with(Statements);
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let cases: [(&[Route], Spelt, Spelt); 3] = [
        (&BY_ADDRESS, address, |n| {
            format!("nobody-{n:02}@example.com")
        }),
        (&BY_NUMBER, phone, |n| format!("+417912399{n:02}")),
        (&BY_NAME, name, |n| format!("nobody{n:02}")),
    ];
    for (routes, somebody, nobody) in cases {
        for &route in routes {
            // One at a time, and each another person: no count of one shows in the next.
            let origin = Origin::new().await;
            populate(&origin, PEOPLE).await;
            // The first of its kind makes the row of the hour.
            statements(&origin, route, &somebody(0)).await;
            let expected = statements(&origin, route, &somebody(1)).await;
            for number in 2..PEOPLE {
                let (known, unknown) = (somebody(number), nobody(number));
                assert_eq!(
                    statements(&origin, route, &unknown).await,
                    expected,
                    "{} {unknown}",
                    route.0
                );
                assert_eq!(
                    statements(&origin, route, &known).await,
                    expected,
                    "{} {known}",
                    route.0
                );
            }
        }
    }
}
