//! The example service of `docs/rust-services.md`, as a process.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::clock::eventually;
use crate::http::{Answer, Call};
use crate::origin;
use crate::process::{self, Process};

/// It fetches nothing before it listens.
const START_LIMIT: Duration = Duration::from_secs(20);

/// A running service. Dropping it ends it.
pub struct Service {
    address: SocketAddr,
    process: Process,
}

/// The program: beside the other programs of a build, among its examples.
fn program() -> PathBuf {
    std::env::var_os("EDGEKEEP_SERVICE_BIN").map_or_else(
        || origin::binary().with_file_name("examples").join("reports"),
        PathBuf::from,
    )
}

impl Service {
    /// One that trusts `issuer` and what `control_keys` have signed.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(issuer: &str, control_keys: &str) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, process::free_port()));
        let mut command = Command::new(program());
        command
            .env_clear()
            .env("ISSUER", issuer)
            .env("CONTROL_KEYS", control_keys)
            .env("LISTEN", address.to_string());
        let process = Process::start("service", command);
        let listens = eventually(START_LIMIT, || async {
            TcpStream::connect(address).await.ok().map(|_| ())
        });
        assert!(listens.await.is_some(), "the service does not listen");
        Self { address, process }
    }

    /// One that trusts a real issuer.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub async fn trusting(origin: &origin::Origin) -> Self {
        let control_keys = origin.must_run(&["keys", "control"]);
        Self::start(&origin.url(), &control_keys).await
    }

    /// A request to it.
    pub fn call(&self, method: &str, target: &str) -> Call {
        Call::new(self.address, method, target)
    }

    /// The answer to a GET with a token.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn get(&self, target: &str, token: &str) -> Answer {
        let call = self.call("GET", target).bearer(token);
        call.send().await.unwrap()
    }

    /// Everything that it has logged.
    pub fn log(&self) -> Vec<String> {
        self.process.log()
    }
}
