//! How large the workers are, as they are deployed: what every cold start loads.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::Setting;
use crate::report::Report;

/// Bytes of each file, raw and as `gzip -9` leaves them.
pub(crate) fn measure(setting: &Setting, report: &mut Report) -> Result<()> {
    let files = [
        ("edgekeep", "wasm", "gate/index_bg.wasm"),
        ("edgekeep", "js", "gate/index.js"),
        ("jose", "js", "jose.js"),
        ("hono", "js", "hono.js"),
        ("cloudflare-worker-jwt", "js", "tsndr.js"),
    ];
    for (subject, kind, file) in files {
        let path = setting.workers.join(file);
        let (raw, packed) = sizes(&path)?;
        report.add("wasm", subject, &format!("{kind}_bytes"), raw);
        report.add("wasm", subject, &format!("{kind}_gzip_bytes"), packed);
    }
    Ok(())
}

fn sizes(path: &Path) -> Result<(f64, f64)> {
    let raw = std::fs::metadata(path)
        .with_context(|| format!("no {}", path.display()))?
        .len();
    let packed = Command::new("gzip")
        .arg("-9c")
        .arg(path)
        .output()
        .context("cannot run gzip")?;
    ensure!(
        packed.status.success(),
        "gzip has ended with {}",
        packed.status
    );
    let exact = |bytes: u64| {
        u32::try_from(bytes)
            .map(f64::from)
            .context("a file of 4 GiB")
    };
    Ok((exact(raw)?, exact(packed.stdout.len() as u64)?))
}
