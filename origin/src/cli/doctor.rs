//! `edgekeep doctor`: looks at what a start needs and says what to do.

use std::net::TcpListener;
use std::path::Path;

use edgekeep_shared::policy::Policy;

use crate::clock::{Clock, Timestamp};
use crate::config::{Config, Mode};
use crate::db::Db;
use crate::random::Random;
use crate::vault::MasterKeys;
use crate::vault::master::DEVELOPMENT_FILE;

/// A clock before this (2025-01-01) is wrong: tokens would be refused everywhere.
const EARLIEST: Timestamp = Timestamp::from_unix_seconds(1_735_689_600);

#[expect(clippy::print_stdout, reason = "the command's result")]
pub(super) async fn run(file: Option<&Path>) -> anyhow::Result<()> {
    let config = super::load(file)?;
    let mut findings = vec![
        ("configuration", Ok("understood".to_owned())),
        ("data folder", data_dir(&config)),
        ("clock", clock()),
        ("port", port(&config)),
    ];
    findings.extend(policy(&config).map(|finding| ("policy", finding)));
    let is_begun = config.data_dir.is_dir();
    // Only development's own key comes with the folder; one that is to be given can be judged
    // before the first start.
    let is_given = config.mode == Mode::Production
        || config.secrets.provider.is_some()
        || config.secrets.master_key.is_some()
        || config.secrets.master_key_file.is_some();
    if is_begun || is_given {
        let is_there = is_given || config.data_dir.join(DEVELOPMENT_FILE).exists();
        let finding = if is_there {
            MasterKeys::load(&config, &Random::Os, &Clock::System)
                .await
                .map(|keys| {
                    let versions: Vec<_> = keys
                        .versions()
                        .map(|(version, _)| version.to_string())
                        .collect();
                    format!("there, version {}", versions.join(", "))
                })
                .map_err(|error| error.to_string())
        } else {
            Ok("is made at the first start".to_owned())
        };
        findings.push(("master key", finding));
    }
    if is_begun {
        findings.push(("database", database(&config).await));
    }
    let mut failed = 0;
    for (what, finding) in findings {
        match finding {
            Ok(text) => println!("ok    {what}: {text}"),
            Err(text) => {
                failed += 1;
                println!("FAIL  {what}: {text}");
            }
        }
    }
    if failed > 0 {
        anyhow::bail!("{failed} of these need attention");
    }
    Ok(())
}

fn data_dir(config: &Config) -> Result<String, String> {
    let path = config.data_dir.as_path();
    let Ok(metadata) = std::fs::metadata(path) else {
        return Ok(format!("{} is made at the first start", path.display()));
    };
    if !metadata.is_dir() {
        return Err(format!("{} is not a folder", path.display()));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(format!(
                "others can look into it (mode {mode:o}): chmod 700 {}",
                path.display()
            ));
        }
    }
    Ok(path.display().to_string())
}

fn clock() -> Result<String, String> {
    let now = Clock::System.now();
    if now < EARLIEST {
        return Err("it is years behind: set it, and keep it with NTP".to_owned());
    }
    Ok(format!("{} seconds since 1970", now.unix_seconds()))
}

/// Without a file there is nothing to look at: gates then have a policy of their own.
fn policy(config: &Config) -> Option<Result<String, String>> {
    let file = config.gate.policy_file.as_ref()?;
    let described = |policy: Policy| format!("{}, {} rules", file.display(), policy.rules().len());
    let read = crate::revocation::policy::read(file);
    Some(
        read.map(|(_, policy)| described(policy))
            .map_err(|error| format!("{error}; gate.policy_file names it")),
    )
}

fn port(config: &Config) -> Result<String, String> {
    let address = config.server.listen;
    match TcpListener::bind(address) {
        Ok(_) => Ok(format!("{address} is free")),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Ok(format!(
            "{address} is in use: by a running origin, or set server.listen"
        )),
        Err(error) => Err(format!("{address}: {error}; set server.listen")),
    }
}

async fn database(config: &Config) -> Result<String, String> {
    let url = config.database_url();
    if let Some(path) = made_when_missing(&url)
        && !Path::new(path).exists()
    {
        return Ok(format!("{path} is made at the first start"));
    }
    // Whoever looks makes nothing.
    let mut config = config.clone();
    config.database.url = Some(url.replace("mode=rwc", "mode=rw"));
    let db = Db::open(&config).await.map_err(|error| error.to_string())?;
    db.probe()
        .await
        .map_err(|error| format!("cannot be written: {error}"))?;
    db.close().await;
    Ok("can be written".to_owned())
}

/// The file of a SQLite URL that makes its file, where the path needs no decoding.
fn made_when_missing(url: &str) -> Option<&str> {
    let (path, options) = url.split_once('?')?;
    let path = path.strip_prefix("sqlite:")?;
    let path = path.strip_prefix("//").unwrap_or(path);
    (options.contains("mode=rwc") && !path.contains('%')).then_some(path)
}
