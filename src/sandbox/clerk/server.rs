//! The HTTP server under the simulated API: accepts, serves, and can cut a connection.
//!
//! A response that carries [`CutConnection`] is never sent; the connection ends instead. Stopping
//! ends every connection at once, in the middle of an answer if need be. It knows nothing of what
//! is served.

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// Connections at one time; further ones wait in the system's queue.
const MAX_CONNECTIONS: usize = 2048;

/// Marks a response that is not to be sent.
#[derive(Debug, Clone, Copy)]
pub struct CutConnection;

/// Serves until stopped.
pub async fn serve(
    listener: TcpListener,
    app: Router,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        // A connection that was gone before it was accepted is nobody's loss.
        let Ok((stream, _)) = accepted else {
            tokio::task::yield_now().await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        if tasks.len() > MAX_CONNECTIONS {
            tracing::warn!(
                connections = tasks.len(),
                "simulated Clerk refused a connection"
            );
            continue;
        }
        let (app, stop) = (app.clone(), stop.clone());
        tasks.spawn(async move {
            let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                let app = app.clone();
                async move {
                    let Ok(response) = app.oneshot(request.map(axum::body::Body::new)).await;
                    match response.extensions().get::<CutConnection>() {
                        Some(_) => Err(std::io::Error::other("cut on purpose")),
                        None => Ok(response),
                    }
                }
            });
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                () = stop.cancelled() => {}
                // How a connection ended is the client's business.
                _ = connection => {}
            }
        });
    }
}
