//! The listener of the simulated Convex: loopback only, HTTP/1.1, one task a connection.
//!
//! Sends `/_sim/` to the control interface and the rest to the API. A cut is an error of the service,
//! upon which hyper drops the connection. Knows nothing of what is asked.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::wire::Cut;
use super::{Shared, answers, control_http, wire};

/// Connections at once; further ones wait in the kernel.
const MAX_CONNECTIONS: usize = 4096;

/// The running listener.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    /// Binds and begins to serve.
    pub(super) async fn start(port: u16, shared: Arc<Shared>) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = listener.local_addr()?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(accept(listener, shared, stop.clone(), tasks.clone()));
        Ok(Server {
            address,
            stop,
            tasks,
        })
    }

    /// Stops listening, drops every connection and waits until both are done.
    pub(super) async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Stops without waiting.
    pub(super) fn cancel(&self) {
        self.stop.cancel();
    }
}

async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let turn = async {
            // The semaphore is never closed.
            let permit = Arc::clone(&room).acquire_owned().await.ok();
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            turn = turn => turn,
            () = stop.cancelled() => return,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, most likely: give the others time to close.
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            continue;
        };
        let (shared, stop) = (Arc::clone(&shared), stop.clone());
        tasks.spawn(async move {
            let _permit = permit;
            tokio::select! {
                () = serve(stream, shared) => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    // Without it small answers wait for the next packet; with an error they do, and nothing else.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { answer(&shared, request).await }
    });
    if let Err(error) = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await
    {
        tracing::debug!(error = %error, "A connection to the simulated Convex ended early");
    }
}

async fn answer(shared: &Shared, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Cut> {
    if request.uri().path().starts_with("/_sim/") {
        return Ok(control_http::answer(shared, request).await);
    }
    if shared.down.load(Ordering::Relaxed) {
        // As a proxy answers for a backend that is not there: no code, no body.
        return Ok(answers::json(StatusCode::SERVICE_UNAVAILABLE, Vec::new()));
    }
    wire::answer(shared, request).await
}
