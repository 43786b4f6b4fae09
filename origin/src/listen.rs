//! Accepting connections: how many, how long each may take to ask, and how they end at a stop.
//!
//! `axum::serve` sets no timer, so that a client which sends half a request holds a connection for
//! ever, and accepts until the process is out of file descriptors, the database's among them.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tower::ServiceExt as _;

/// Within this time the head of a request must be there, counted from the connection's beginning
/// or the answer before: slower clients are idle, or hold a place on purpose.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections of a listener that is for gates or for Prometheus: few of them, each reused.
pub const OPERATORS_CONNECTIONS: usize = 64;

/// File descriptors that are not connections of the API: the other listeners', the database's,
/// those of messages being sent.
const OTHER_DESCRIPTORS: usize = 2 * OPERATORS_CONNECTIONS + 128;

/// How often a stop looks for connections that no request is running on. Two looks apart, an
/// answer has left.
const LOOK: Duration = Duration::from_millis(250);

/// How long to wait when no connection can be accepted for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// So many of `wanted` connections as this process has file descriptors for; its own limit is
/// raised first, as far as it may be.
pub fn affordable(wanted: usize) -> usize {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let needed = u64::try_from(wanted.saturating_add(OTHER_DESCRIPTORS)).unwrap_or(u64::MAX);
        let mut limit = getrlimit(Resource::Nofile);
        if limit.current.is_some_and(|current| current < needed) {
            let raised = Rlimit {
                current: Some(limit.maximum.map_or(needed, |maximum| maximum.min(needed))),
                maximum: limit.maximum,
            };
            if setrlimit(Resource::Nofile, raised).is_ok() {
                limit = raised;
            }
        }
        let descriptors = limit.current.map_or(usize::MAX, |current| {
            usize::try_from(current).unwrap_or(usize::MAX)
        });
        let rest = descriptors.saturating_sub(OTHER_DESCRIPTORS).max(1);
        if rest < wanted {
            tracing::warn!(
                connections = rest,
                wanted,
                "fewer connections than server.max_connections: raise the limit of open files"
            );
        }
        wanted.min(rest)
    }
    #[cfg(not(unix))]
    wanted
}

/// Serves `router` on `listener`, at most `connections` at a time; one more waits in the system's
/// queue. Ends once `stop` has come and what was asked by then is answered: connections without a
/// request in flight, half a head sent or none, are closed. Dropping it cuts off what is left.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    connections: usize,
    stop: impl Future<Output = ()>,
) {
    let places = Arc::new(Semaphore::new(connections));
    let (stopping, stopped) = watch::channel(false);
    let mut running = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            biased;
            () = &mut stop => break,
            next = next => next,
        };
        while running.try_join_next().is_some() {}
        match accepted {
            Ok((stream, address)) => {
                let served = connection(stream, address, router.clone(), stopped.clone());
                running.spawn(async move {
                    served.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    // Every receiver may be gone already.
    let _ = stopping.send(true);
    while running.join_next().await.is_some() {}
}

/// Counts a request while it is in flight.
struct InFlight(Arc<AtomicUsize>);

impl InFlight {
    fn begin(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn connection(
    stream: TcpStream,
    address: SocketAddr,
    router: Router,
    mut stopped: watch::Receiver<bool>,
) {
    // An answer is one write; nothing is gained by waiting for more. Failing changes only that.
    let _ = stream.set_nodelay(true);
    let in_flight = Arc::new(AtomicUsize::new(0));
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let counted = InFlight::begin(&in_flight);
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(address));
        let answered = router.clone().oneshot(request);
        async move {
            let response: Result<Response, Infallible> = answered.await;
            drop(counted);
            response
        }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT);
    let mut served = pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        // How a client ends its connection is its own matter.
        _ = served.as_mut() => return,
        _ = stopped.wait_for(|&stopped| stopped) => {}
    }
    served.as_mut().graceful_shutdown();
    let mut was_idle = false;
    loop {
        tokio::select! {
            _ = served.as_mut() => return,
            () = tokio::time::sleep(LOOK) => {
                let is_idle = in_flight.load(Ordering::SeqCst) == 0;
                if is_idle && was_idle {
                    return;
                }
                was_idle = is_idle;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::oneshot;

    use super::*;

    const SLOW: Duration = Duration::from_millis(1_500);

    /// A server of two routes, and what stops it.
    async fn start(
        connections: usize,
    ) -> (SocketAddr, oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let slow = || async {
            tokio::time::sleep(SLOW).await;
            "slow"
        };
        let from = |ConnectInfo(from): ConnectInfo<SocketAddr>| async move { from.to_string() };
        let router = Router::new()
            .route("/from", get(from))
            .route("/slow", get(slow));
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(serve(listener, router, connections, async {
            let _ = stopped.await;
        }));
        (address, stop, server)
    }

    async fn send(address: SocketAddr, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    async fn read(stream: &mut TcpStream) -> String {
        let mut text = Vec::new();
        // A reset is an end, too.
        let _ = stream.read_to_end(&mut text).await;
        String::from_utf8(text).unwrap()
    }

    const ASK: &str = "GET /from HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

    #[tokio::test]
    async fn half_a_request_is_given_up_and_its_place_is_free() {
        let (address, _stop, _server) = start(3).await;
        let began = Instant::now();
        let mut half = send(address, "GET /from HTTP/1.1\r\nhost: ").await;
        let mut silent = send(address, "").await;
        let mut answered = send(address, "GET /from HTTP/1.1\r\nhost: x\r\n\r\n").await;
        let peer = answered.local_addr().unwrap().to_string();
        // Three hold every place: a fourth is answered when the first of them is given up.
        let mut waiting = send(address, ASK).await;
        let early = tokio::time::timeout(Duration::from_secs(2), waiting.readable()).await;
        assert!(early.is_err(), "more connections than there are places");
        assert!(
            read(&mut waiting)
                .await
                .ends_with(&waiting.local_addr().unwrap().to_string())
        );
        assert!(!read(&mut half).await.contains("200 OK"));
        assert_eq!(read(&mut silent).await, "");
        assert!(read(&mut answered).await.ends_with(&peer));
        let elapsed = began.elapsed();
        assert!(elapsed >= HEAD_TIMEOUT, "{elapsed:?}");
        assert!(
            elapsed < HEAD_TIMEOUT + Duration::from_secs(5),
            "{elapsed:?}"
        );
    }

    #[tokio::test]
    async fn a_stop_waits_for_what_was_asked_and_for_nothing_else() {
        let (address, stop, server) = start(9).await;
        let mut slow = send(address, "GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
        let mut half = send(address, "GET /from HTTP/1.1\r\nho").await;
        let mut silent = send(address, "").await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let began = Instant::now();
        stop.send(()).unwrap();
        assert_eq!(read(&mut half).await, "");
        assert_eq!(read(&mut silent).await, "");
        let idle = began.elapsed();
        assert!(read(&mut slow).await.ends_with("slow"));
        server.await.unwrap();
        assert!(idle < SLOW, "{idle:?}");
        assert!(began.elapsed() < HEAD_TIMEOUT / 2, "{:?}", began.elapsed());
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[test]
    fn connections_fit_the_limit_of_open_files() {
        assert_eq!(affordable(10), 10);
        #[cfg(unix)]
        if let Some(limit) = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum {
            let all = usize::try_from(limit).unwrap_or(usize::MAX);
            assert!(affordable(usize::MAX) < all);
        }
    }
}
