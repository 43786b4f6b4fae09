//! The revocation list at scale: what it takes to hold it, to follow it, and to make it.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use edgekeep_origin::app::State;
use edgekeep_origin::clock::Clock;
use edgekeep_origin::config::{Config, DataDir};
use edgekeep_origin::random::Random;
use edgekeep_origin::revocation::{self, Revoked};
use edgekeep_shared::{
    control::{ControlKeys, DocumentType},
    revocation::{
        Edits, Entries, Entry, HashKey, HashedEntry, RevocationDelta, RevocationList, encode_delta,
    },
    verifier::{VerifiedToken, Verifier},
};

use crate::Setting;
use crate::http::Connection;
use crate::issuer::{self, AUDIENCE, Algorithm, Keys};
use crate::process::Workerd;
use crate::report::Report;

const GROUP: &str = "list";
const ISSUER: &str = "https://id.example";
const HASH_KEY: HashKey = HashKey([3; 16]);

/// What is compared, with the number of entries.
const SIZES: [(&str, usize); 2] = [("edgekeep-10k", 10_000), ("edgekeep-250k", 250_000)];

/// Two seconds, after which a gate looks again, are so small a part of the twenty minutes that an
/// entry stays: as many come and as many go.
const LOOKS_OF_A_LIFE: usize = 600;

/// Deltas that follow one another. The difference between few and many is what they cost.
const FEW: usize = 10;
const MANY: usize = 110;

/// Openings and first pieces that are compared likewise.
const OPENED: [usize; 2] = [1, 6];

/// Look-ups, likewise.
const FOUND: [usize; 2] = [10_000, 1_010_000];

const ROUNDS: usize = 5;

/// Publications that are timed at the origin, each with one entry more.
const PUBLICATIONS: usize = 50;

/// Measures the group.
pub(crate) async fn measure(setting: &Setting, report: &mut Report) -> Result<()> {
    for (subject, entries) in SIZES {
        let documents = Documents::make(entries)?;
        documents.report(subject, report);
        natively(subject, &documents, report)?;
        in_workerd(setting, subject, &documents, report).await?;
        at_the_origin(subject, entries, report).await?;
    }
    Ok(())
}

/// A list and what changes in it, signed.
struct Documents {
    keys: Keys,
    list: Vec<u8>,
    deltas: Vec<Vec<u8>>,
}

fn entry(number: usize, name: &str) -> Entry<'_> {
    match number % 100 {
        0 => Entry::Token(name),
        1 => Entry::Subject(name, issuer::now()),
        _ => Entry::Session(name),
    }
}

impl Documents {
    fn make(entries: usize) -> Result<Self> {
        let keys = Keys::new()?;
        let each = (entries / LOOKS_OF_A_LIFE).max(1);
        let names: Vec<String> = (0..entries + MANY * each)
            .map(|number| format!("018f3d5c-7a02-7000-9000-{number:012x}"))
            .collect();
        let all = || {
            let numbered = names.iter().enumerate();
            numbered.map(|(number, name)| entry(number, name))
        };
        let mut held = Entries::new(&HASH_KEY, all().take(entries));
        let now = issuer::now();
        let sign = |kind, number: usize, body: &[u8]| {
            anyhow::Ok(keys.document(kind, ISSUER, (u64::try_from(number)?, now), body))
        };
        let list = sign(DocumentType::Revocations, 1, &held.body(&HASH_KEY))?;
        let hashed: Vec<(HashedEntry, _)> = all().map(|entry| HASH_KEY.hash_entry(entry)).collect();
        let mut deltas = Vec::new();
        for number in 0..MANY {
            let gone = hashed[number * each..][..each].iter();
            let come = hashed[entries + number * each..][..each].iter();
            let edits = Edits::new(
                gone.map(|(entry, _)| (*entry, None))
                    .chain(come.map(|(entry, at)| (*entry, Some(*at)))),
            );
            held.edit(&edits);
            let base = u64::try_from(number)? + 1;
            let body = encode_delta(&HASH_KEY, base, held.counts(), &edits);
            deltas.push(sign(DocumentType::RevocationsDelta, number + 2, &body)?);
        }
        Ok(Self { keys, list, deltas })
    }

    fn report(&self, subject: &'static str, report: &mut Report) {
        report.add(GROUP, subject, "list_bytes", bytes(self.list.len()));
        for delta in &self.deltas {
            report.add(GROUP, subject, "delta_bytes", bytes(delta.len()));
        }
    }

    fn control_keys(&self) -> Result<ControlKeys> {
        Ok(ControlKeys::parse(self.keys.control_keys().as_bytes())?)
    }

    /// A token that is on no list.
    fn token(&self) -> Result<(String, VerifiedToken)> {
        let text = self.keys.token(Algorithm::EdDsa, ISSUER, 0)?;
        let verifier = Verifier::new(ISSUER, AUDIENCE);
        let token = verifier
            .verify(text.as_bytes(), &self.keys.set()?, issuer::now())
            .map_err(|rejection| anyhow::anyhow!("{rejection}"))?;
        Ok((text, token))
    }
}

#[expect(clippy::cast_precision_loss, reason = "megabytes")]
const fn bytes(count: usize) -> f64 {
    count as f64
}

fn milliseconds(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1e3
}

fn natively(subject: &'static str, documents: &Documents, report: &mut Report) -> Result<()> {
    let control_keys = documents.control_keys()?;
    let (_, token) = documents.token()?;
    for round in 0..=ROUNDS {
        let copy = documents.list.clone();
        let begun = Instant::now();
        let mut list = RevocationList::opening(copy, &control_keys, ISSUER)?.finish()?;
        let opened = milliseconds(begun);
        let begun = Instant::now();
        for delta in &documents.deltas {
            list.apply(&RevocationDelta::open(delta, &control_keys, ISSUER)?)?;
        }
        let applied = milliseconds(begun) / bytes(MANY);
        let begun = Instant::now();
        for _ in 0..FOUND[1] {
            ensure!(black_box(&list).find(black_box(&token)).is_none(), "a hit");
        }
        let found = milliseconds(begun) * 1e6 / bytes(FOUND[1]);
        if round > 0 {
            report.add(GROUP, subject, "memory_bytes", bytes(list.memory()));
            report.add(GROUP, subject, "native_open_ms", opened);
            report.add(GROUP, subject, "native_apply_ms", applied);
            report.add(GROUP, subject, "native_find_ns", found);
        }
    }
    Ok(())
}

async fn in_workerd(
    setting: &Setting,
    subject: &'static str,
    documents: &Documents,
    report: &mut Report,
) -> Result<()> {
    let variables = [
        ("ISSUER", ISSUER.to_owned()),
        ("AUDIENCE", AUDIENCE.to_owned()),
        ("JWKS", documents.keys.set()?.to_json()),
        ("CONTROL_KEYS", documents.keys.control_keys()),
    ];
    let (program, folder) = (&setting.workerd, &setting.workers);
    let mut workerd = Workerd::start(program, folder, "verify", &["answer"], &variables, None)?;
    let address = workerd.socket("answer").context("no socket")?;
    let ready = post("memory", 0, &[]);
    workerd.process.wait_ready(address, &ready).await?;
    let mut connection = Connection::open(address).await?;
    let (token, _) = documents.token()?;
    let deltas: Vec<u8> = documents
        .deltas
        .iter()
        .flat_map(|delta| {
            let length = u32::try_from(delta.len()).unwrap_or(u32::MAX);
            length
                .to_le_bytes()
                .into_iter()
                .chain(delta.iter().copied())
        })
        .collect();

    let before = ask(&mut connection, "memory", 0, &[]).await?;
    ask(&mut connection, "open", 1, &documents.list).await?;
    ask(&mut connection, "follow", MANY, &deltas).await?;
    let after = ask(&mut connection, "memory", 0, &[]).await?;
    report.add(GROUP, subject, "wasm_growth_bytes", after - before);

    for round in 0..=ROUNDS {
        let open = each(&mut connection, "open", OPENED, &documents.list).await?;
        let piece = each(&mut connection, "piece", OPENED, &documents.list).await?;
        let apply = each(&mut connection, "apply", [FEW, MANY], &deltas).await?;
        let find = each(&mut connection, "find", FOUND, token.as_bytes()).await?;
        if round > 0 {
            report.add(GROUP, subject, "wasm_open_ms", open);
            report.add(GROUP, subject, "wasm_piece_ms", piece);
            report.add(GROUP, subject, "wasm_apply_ms", apply);
            report.add(GROUP, subject, "wasm_find_ns", find * 1e6);
        }
    }
    Ok(())
}

fn post(what: &str, count: usize, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST /list/{what}?n={count} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

async fn ask(connection: &mut Connection, what: &str, count: usize, body: &[u8]) -> Result<f64> {
    let status = connection.exchange(&post(what, count, body)).await?;
    let answer = String::from_utf8_lossy(connection.body()).into_owned();
    ensure!(status == 200, "{what}: {status} {answer}");
    let answer: f64 = answer.parse()?;
    ensure!(
        what == "memory" || answer.to_string() == count.to_string(),
        "{what}: {answer} of {count}"
    );
    Ok(answer)
}

/// Milliseconds of one, by the difference between few and many.
async fn each(
    connection: &mut Connection,
    what: &str,
    [few, many]: [usize; 2],
    body: &[u8],
) -> Result<f64> {
    let mut taken = [0.0; 2];
    for (taken, count) in taken.iter_mut().zip([few, many]) {
        let begun = Instant::now();
        ask(connection, what, count, body).await?;
        *taken = milliseconds(begun);
    }
    Ok((taken[1] - taken[0]) / bytes(many - few))
}

/// What the issuer takes for it, in this process and on a database of its own.
async fn at_the_origin(subject: &'static str, entries: usize, report: &mut Report) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut config = Config {
        data_dir: DataDir(folder.path().into()),
        ..Config::default()
    };
    config.password.memory_kib = 64;
    let state = State::open(config, Clock::System, Random::Os).await?;
    insert(&state, entries).await?;
    let begun = Instant::now();
    state.publisher.current().await?;
    report.add(GROUP, subject, "origin_start_ms", milliseconds(begun));
    let lists = state.publisher.lists().await?;
    let first = lists.list().await?;
    let control_keys = format!("[{}]", state.publisher.control_jwk());
    let control_keys = ControlKeys::parse(control_keys.as_bytes())?;
    let issuer = state.config.issuer();
    let mut held = RevocationList::open(first.document.bytes(), &control_keys, &issuer)?;
    ensure!(held.len() == entries, "{} of {entries} entries", held.len());
    for number in 0..PUBLICATIONS {
        let now = state.clock.now();
        let until = Some(now + std::time::Duration::from_mins(20));
        let name = format!("later-{number}");
        let mut tx = state.db.write().await?;
        let entry = Revoked::SessionNamed(&name);
        revocation::record(&state.signal, &mut tx, entry, until, now, "bench").await?;
        tx.commit().await?;
        let begun = Instant::now();
        state.publisher.current().await?;
        report.add(GROUP, subject, "origin_publish_ms", milliseconds(begun));
        let begun = Instant::now();
        let delta = lists.delta(held.sequence(), held.key()).await?;
        report.add(GROUP, subject, "origin_delta_ms", milliseconds(begun));
        let delta = delta.context("no delta")?;
        held.apply(&RevocationDelta::open(
            delta.bytes(),
            &control_keys,
            &issuer,
        )?)?;
    }
    ensure!(held.len() == entries + PUBLICATIONS, "entries are missing");
    for _ in 0..ROUNDS {
        // A large list is signed once a second.
        tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
        let now = state.clock.now();
        let mut tx = state.db.write().await?;
        let entry = Revoked::SessionNamed("again");
        let until = Some(now + std::time::Duration::from_mins(20));
        revocation::record(&state.signal, &mut tx, entry, until, now, "bench").await?;
        tx.commit().await?;
        state.publisher.current().await?;
        let begun = Instant::now();
        lists.list().await?;
        report.add(GROUP, subject, "origin_sign_ms", milliseconds(begun));
    }
    state.db.close().await;
    Ok(())
}

/// Writes the entries at once, as so many logouts leave them.
async fn insert(state: &State, entries: usize) -> Result<()> {
    let now = state.clock.now();
    let mut tx = state.db.write().await?;
    sqlx::query(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
         INSERT INTO revocations (kind, value, not_before, expires_at, created_at, reason, change)
         SELECT 'sid', '018f3d5c-7a02-7000-9000-' || i, 0, $2, $3, 'bench', i FROM n",
    )
    .bind(i64::try_from(entries)?)
    .bind(now + std::time::Duration::from_mins(20))
    .bind(now)
    .execute(&mut *tx)
    .await?;
    sqlx::query("UPDATE counters SET value = $1 WHERE name = 'revocations'")
        .bind(i64::try_from(entries)?)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(())
}
