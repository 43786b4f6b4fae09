//! TLS in front of a server that speaks none, as a proxy puts it, with a certificate that nobody
//! else has signed.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use rcgen::CertifiedKey;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

/// A listener that is not yet in front of anything: its port is known, for the server behind it to
/// be told.
#[derive(Debug)]
pub struct Listener(TcpListener);

/// TLS in front of a server; dropping it ends it.
#[derive(Debug)]
pub struct Front {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Listener {
    /// Binds a free port.
    ///
    /// # Panics
    /// When there is none.
    pub async fn bind() -> Self {
        Self(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap())
    }

    /// Where it listens.
    ///
    /// # Panics
    /// When the system does not tell.
    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// Passes what comes over TLS on to `server`, for hosts of these `names`.
    ///
    /// # Panics
    /// When no certificate can be made.
    pub fn in_front_of(self, server: SocketAddr, names: &[&str]) -> Front {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(names).unwrap();
        let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key.into())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let address = self.address();
        let task = tokio::spawn(async move {
            // Dropped with the task, and every connection with it.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = self.0.accept().await {
                let acceptor = acceptor.clone();
                connections.spawn(async move {
                    // A connection that breaks is its peers' business.
                    let (Ok(mut outside), Ok(mut inside)) = (
                        acceptor.accept(stream).await,
                        TcpStream::connect(server).await,
                    ) else {
                        return;
                    };
                    let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
                });
            }
        });
        Front { address, task }
    }
}

impl Front {
    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}
