//! Connections: accept, bound, serve, drain.
//!
//! HTTP/1.1 by hyper with the deadlines that its defaults lack: a silent socket, half a header block
//! and an idle connection are closed. At most so many connections at once. Knows nothing of what is
//! served. On stop it accepts no more, lets requests in hand finish and closes idle connections.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

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

/// Where the certificate and its key lie.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// PEM, leaf first.
    pub cert: PathBuf,
    /// PEM.
    pub key: PathBuf,
}

impl TlsFiles {
    fn load(&self) -> io::Result<TlsAcceptor> {
        let bad = |what: &str, path: &PathBuf| {
            let message = format!("{} holds no {what} in PEM form", path.display());
            io::Error::new(io::ErrorKind::InvalidData, message)
        };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(&self.cert)
            .map_err(|_| bad("certificate", &self.cert))?
            .collect();
        let chain = chain.map_err(|_| bad("certificate", &self.cert))?;
        let key =
            PrivateKeyDer::from_pem_file(&self.key).map_err(|_| bad("private key", &self.key))?;
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// A bound address, not yet served.
pub struct Listener {
    tcp: TcpListener,
    tls: Option<TlsAcceptor>,
}

impl Listener {
    /// Binds; reads the certificate first, so that a wrong one stops the start.
    pub async fn bind(address: SocketAddr, tls: Option<&TlsFiles>) -> io::Result<Self> {
        let tls = tls.map(TlsFiles::load).transpose()?;
        let tcp = TcpListener::bind(address).await?;
        Ok(Listener { tcp, tls })
    }

    /// The address that was bound, with its port.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

/// Serves until `stop`, then waits for requests in hand.
pub async fn serve(listener: Listener, router: Router, bounds: Bounds, stop: CancellationToken) {
    // How long to wait when the process is out of file descriptors.
    const EXHAUSTED: Duration = Duration::from_millis(50);
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
        let socket = match accepted {
            Ok((socket, _)) => socket,
            Err(error) => {
                tracing::warn!("a connection could not be accepted: {error}");
                tokio::time::sleep(EXHAUSTED).await;
                continue;
            }
        };
        let router = router.clone();
        let tls = listener.tls.clone();
        let stop = stop.clone();
        connections.spawn(async move {
            let _place = place;
            connection(socket, tls, router, bounds, stop).await;
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn connection(
    socket: TcpStream,
    tls: Option<TlsAcceptor>,
    router: Router,
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
        None => http(socket, router, bounds, stop).await,
        Some(tls) => {
            if let Ok(Ok(socket)) = timeout(bounds.header_timeout, tls.accept(socket)).await {
                http(socket, router, bounds, stop).await;
            }
        }
    }
}

async fn http<S>(socket: S, router: Router, bounds: Bounds, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(router);
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
