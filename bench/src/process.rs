//! The processes that are measured. They are ended with the value that stands for them.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tokio::process::{Child, Command};

use crate::http::{self, Connection, free_address};

/// How long a process may take until it answers.
const READY: Duration = Duration::from_secs(30);

/// A child process.
pub(crate) struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// Starts `command`. What it writes to standard output goes nowhere: reading it would cost
    /// the machine more than writing it.
    pub(crate) fn start(name: &str, command: &mut Command) -> Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
        })
    }

    /// The process id.
    pub(crate) fn pid(&self) -> Result<u32> {
        self.child
            .id()
            .with_context(|| format!("{} has ended", self.name))
    }

    /// Waits until `request` to `address` is answered with 200.
    pub(crate) async fn wait_ready(&mut self, address: SocketAddr, request: &[u8]) -> Result<()> {
        let begun = Instant::now();
        let mut last = "nothing".to_owned();
        while begun.elapsed() < READY {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} has ended with {status}", self.name);
            }
            if let Ok(mut connection) = Connection::open(address).await
                && let Ok(status) = connection.exchange(request).await
            {
                if status == 200 {
                    return Ok(());
                }
                last = format!("{status}: {}", String::from_utf8_lossy(connection.body()));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!(
            "{} is not ready after {READY:?}; it answered {last}",
            self.name
        )
    }

    /// Resident memory in MiB.
    pub(crate) fn resident_mib(&self) -> Result<f64> {
        self.status_mib("VmRSS:")
    }

    /// The most resident memory since [`forget_peak`](Self::forget_peak), in MiB.
    pub(crate) fn peak_mib(&self) -> Result<f64> {
        self.status_mib("VmHWM:")
    }

    /// Lets the peak begin anew at what is resident now.
    pub(crate) fn forget_peak(&self) -> Result<()> {
        // proc(5): 5 resets the high water mark.
        Ok(std::fs::write(
            format!("/proc/{}/clear_refs", self.pid()?),
            "5",
        )?)
    }

    fn status_mib(&self, line: &str) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()?))?;
        let kib = status
            .lines()
            .find_map(|found| found.strip_prefix(line))
            .and_then(|rest| rest.trim().strip_suffix(" kB"))
            .with_context(|| format!("no {line} in /proc"))?;
        Ok(kib.trim().parse::<f64>()? / 1_024.0)
    }
}

/// A `workerd` with one of the constants of `bench.capnp`.
pub(crate) struct Workerd {
    pub(crate) process: Process,
    sockets: Vec<(&'static str, SocketAddr)>,
}

impl Workerd {
    /// Starts `constant` with `sockets` on free ports and `variables` in its environment; `kv`
    /// is where its key-value namespace is.
    pub(crate) fn start(
        program: &Path,
        folder: &Path,
        constant: &str,
        sockets: &[&'static str],
        variables: &[(&str, String)],
        kv: Option<SocketAddr>,
    ) -> Result<Self> {
        let mut command = Command::new(program);
        command
            .arg("serve")
            .arg(folder.join("bench.capnp"))
            .arg(constant);
        let sockets = sockets
            .iter()
            .map(|name| Ok((*name, free_address()?)))
            .collect::<Result<Vec<_>>>()?;
        for (name, address) in &sockets {
            command
                .arg("--socket-addr")
                .arg(format!("{name}={address}"));
        }
        if let Some(kv) = kv {
            command.arg("--external-addr").arg(format!("kv={kv}"));
        }
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        let process = Process::start(&format!("workerd ({constant})"), &mut command)?;
        Ok(Self { process, sockets })
    }

    /// Where the socket called `name` listens, if there is one.
    pub(crate) fn socket(&self, name: &str) -> Option<SocketAddr> {
        self.sockets
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, address)| *address)
    }

    /// Waits until the socket called `name`, if there is one, answers a GET of `path` with 200.
    pub(crate) async fn wait_ready(
        &mut self,
        name: &str,
        path: &str,
        token: Option<&str>,
    ) -> Result<()> {
        match self.socket(name) {
            Some(address) => {
                self.process
                    .wait_ready(address, &http::get(path, token))
                    .await
            }
            None => Ok(()),
        }
    }
}
