//! The two ways to the operators' door: a Unix socket, and TCP with a token.
//!
//! The socket is made for its owner only, in a directory that is private; one that a dead process left
//! is replaced, one that somebody listens on is not. Over TCP a request needs the token, compared in
//! constant time, and a `Host` that is this listener's own, so that no web page can reach it.

use std::{io, net::SocketAddr, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use axum::{
    Router,
    extract::Request,
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::Response,
};
use subtle::ConstantTimeEq;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use super::problem;
use crate::config::Secret;

/// Binds the socket.
pub async fn bind_socket(path: &Path) -> io::Result<UnixListener> {
    if UnixStream::connect(path).await.is_ok() {
        let message = format!("another process listens on {}", path.display());
        return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves the socket until `stop`.
pub async fn serve_socket(listener: UnixListener, router: Router, stop: CancellationToken) {
    let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
    if let Err(error) = served.await {
        tracing::error!("the operators' socket failed: {error}");
    }
}

/// Serves TCP until `stop`, to holders of the token only.
pub async fn serve_tcp(
    listener: TcpListener,
    router: Router,
    token: Secret,
    stop: CancellationToken,
) {
    let address = listener.local_addr().ok();
    let token = Arc::new(token);
    let guarded = router.layer(middleware::from_fn(move |request: Request, next: Next| {
        let token = Arc::clone(&token);
        async move { guard(request, next, &token, address).await }
    }));
    let served = axum::serve(listener, guarded).with_graceful_shutdown(stop.cancelled_owned());
    if let Err(error) = served.await {
        tracing::error!("the operators' listener failed: {error}");
    }
}

async fn guard(
    request: Request,
    next: Next,
    token: &Secret,
    address: Option<SocketAddr>,
) -> Response {
    let headers = request.headers();
    if !is_own_host(headers, address) || headers.contains_key(header::ORIGIN) {
        return problem(StatusCode::FORBIDDEN, "not for browsers");
    }
    if !bears(headers, token) {
        return problem(
            StatusCode::UNAUTHORIZED,
            "send `Authorization: Bearer` with admin.token",
        );
    }
    next.run(request).await
}

fn bears(headers: &HeaderMap, token: &Secret) -> bool {
    let sent = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let sent = sent
        .and_then(|value| value.strip_prefix("Bearer "))
        .unwrap_or_default();
    // Hashes have one length whatever was sent.
    let (sent, own) = (
        blake3::hash(sent.as_bytes()),
        blake3::hash(token.expose().as_bytes()),
    );
    sent.as_bytes().ct_eq(own.as_bytes()).into()
}

fn is_own_host(headers: &HeaderMap, address: Option<SocketAddr>) -> bool {
    let host = headers
        .get(header::HOST)
        .and_then(|value| value.to_str().ok());
    let (Some(host), Some(address)) = (host, address) else {
        return false;
    };
    host == address.to_string() || host == format!("localhost:{}", address.port())
}
