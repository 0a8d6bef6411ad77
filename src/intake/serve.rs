//! Connections: accept, bound, serve, drain.
//!
//! HTTP/1.1 by hyper with the deadlines that its defaults lack: a silent socket, half a header block
//! and an idle connection are closed. At most so many connections at once, and of one peer. Knows nothing
//! of what is served. On stop it accepts no more, lets requests in hand finish and closes idle connections.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
};
use hyper::{Request, body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use self::head::{Tap, Tapped};
use super::peer::{self, Peer, Peers};

mod head;
mod tls;

pub use self::tls::{Certificate, TlsFiles};

/// Deadlines and caps of a listener.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// From the first byte of a request to the end of its headers; also how long an idle connection
    /// is kept, since hyper has one timer for both.
    pub header_timeout: Duration,
    /// Until the first byte of a connection.
    pub idle_timeout: Duration,
    /// Connections at once.
    pub max_connections: usize,
}

/// A bound address, not yet served.
pub struct Listener {
    tcp: TcpListener,
    tls: Option<Certificate>,
}

impl Listener {
    /// Binds; reads the certificate first, so that a wrong one stops the start.
    pub async fn bind(address: SocketAddr, tls: Option<&TlsFiles>) -> io::Result<Self> {
        let tls = tls.map(Certificate::load).transpose()?;
        let tcp = TcpListener::bind(address).await?;
        Ok(Listener { tcp, tls })
    }

    /// The address that was bound, with its port.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// The certificate, if the daemon ends TLS.
    pub fn certificate(&self) -> Option<&Certificate> {
        self.tls.as_ref()
    }
}

/// Serves until `stop`, then waits for requests in hand.
pub async fn serve(
    listener: Listener,
    router: Router,
    bounds: Bounds,
    peers: Arc<Peers>,
    stop: CancellationToken,
) {
    // How long to wait when the process is out of file descriptors.
    const EXHAUSTED: Duration = Duration::from_millis(50);
    let gate = middleware::from_fn_with_state(Arc::clone(&peers), peer::gate);
    let router = router.layer(gate);
    let places = Arc::new(Semaphore::new(bounds.max_connections));
    let connections = TaskTracker::new();
    loop {
        let place = tokio::select! {
            () = stop.cancelled() => break,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.tcp.accept() => accepted,
        };
        let (socket, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(EXHAUSTED).await;
                continue;
            }
        };
        // Whoever is not let in is hung up on: an answer would cost more than it says.
        let Some(admitted) = peers.admit(address.ip()) else {
            continue;
        };
        let served = Served {
            router: router.clone(),
            peer: Peer(address.ip().to_canonical()),
            tap: Tap::default(),
        };
        let tls = listener.tls.as_ref().map(Certificate::acceptor);
        let stop = stop.clone();
        connections.spawn(async move {
            let _places = (place, admitted);
            connection(socket, tls, served, bounds, stop).await;
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn connection(
    socket: TcpStream,
    tls: Option<TlsAcceptor>,
    served: Served,
    bounds: Bounds,
    stop: CancellationToken,
) {
    let _ = socket.set_nodelay(true);
    // `readable` would answer too early on some kernels; peeking waits for a byte.
    let mut byte = [0];
    let first = tokio::select! {
        () = stop.cancelled() => return,
        first = timeout(bounds.idle_timeout, socket.peek(&mut byte)) => first,
    };
    if !matches!(first, Ok(Ok(n)) if n > 0) {
        return;
    }
    match tls {
        None => http(socket, served, bounds, stop).await,
        Some(tls) => {
            if let Ok(Ok(socket)) = timeout(bounds.header_timeout, tls.accept(socket)).await {
                http(socket, served, bounds, stop).await;
            }
        }
    }
}

/// What is served on one connection.
struct Served {
    router: Router,
    peer: Peer,
    tap: Tap,
}

impl Served {
    async fn answer(&self, mut request: Request<Incoming>) -> Result<Response, Infallible> {
        request.extensions_mut().insert(self.peer);
        let chunked = request.headers().contains_key(header::TRANSFER_ENCODING);
        let answered = if chunked && self.tap.names("content-length") {
            let mut refusal = (StatusCode::BAD_REQUEST, "bad request\n").into_response();
            let close = HeaderValue::from_static("close");
            refusal.headers_mut().insert(header::CONNECTION, close);
            Ok(refusal)
        } else {
            self.router.clone().oneshot(request.map(Body::new)).await
        };
        self.tap.begin_anew();
        answered
    }
}

async fn http<S>(socket: S, served: Served, bounds: Bounds, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let tap = served.tap.clone();
    let socket = Tapped { socket, tap };
    let service = service_fn(|request| served.answer(request));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.header_timeout)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(socket), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::trace!("a connection ended badly: {error}");
    }
}
