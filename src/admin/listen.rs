//! The two ways to the operators' door: a Unix socket, and TCP with tokens.
//!
//! The socket is made for its owner and its group (for everyone, if some are listed as readers); the kernel's
//! word about who connects decides in any case; one that a dead process left is replaced, one that somebody
//! listens on is not. Over TCP a request needs a token, and a `Host` that is this listener's own, so that no web
//! page can reach it. Both have bounds of their own, apart from those of the public listener.

use std::{
    io, net::SocketAddr, os::unix::fs::PermissionsExt, path::Path, sync::Arc, time::Duration,
};

use axum::{
    Router,
    extract::Request,
    http::{HeaderMap, StatusCode, Uri, header},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use super::{
    access::{Readers, Tokens},
    problem,
};
use crate::inbound::{self, Bounds, Crew, Listener, OnFault, Peer};

/// Of each of the two ways. Commands and scrapers are few; a run that is watched keeps its connection.
const BOUNDS: Bounds = Bounds {
    header_timeout: Duration::from_secs(10),
    idle_timeout: Duration::from_secs(10),
    max_connections: 64,
};

/// Binds the socket.
pub async fn bind_socket(path: &Path, readers: &Readers) -> io::Result<Listener> {
    if UnixStream::connect(path).await.is_ok() {
        let message = format!("another process listens on {}", path.display());
        return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    let mode = if readers.is_empty() { 0o660 } else { 0o666 };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(Listener::unix(listener))
}

/// Serves the socket until `stop`.
pub async fn serve_socket(
    listener: Listener,
    router: Router,
    readers: Readers,
    on_fault: OnFault,
    stop: CancellationToken,
) {
    let readers = Arc::new(readers);
    let known = move |mut request: Request, next: Next| {
        let readers = Arc::clone(&readers);
        async move {
            let peer = match request.extensions().get::<Peer>() {
                Some(Peer::Process(peer)) => *peer,
                _ => None,
            };
            match peer.and_then(|peer| readers.caller(&peer)) {
                Some(caller) => {
                    request.extensions_mut().insert(caller);
                    next.run(request).await
                }
                None => problem(
                    StatusCode::FORBIDDEN,
                    "only root, the daemon's user and admin.readers may ask here",
                ),
            }
        }
    };
    let router = router.layer(middleware::from_fn(known));
    serve(listener, router, on_fault, stop).await;
}

/// Serves TCP until `stop`, to holders of a token only.
pub async fn serve_tcp(
    listener: Listener,
    router: Router,
    tokens: Tokens,
    on_fault: OnFault,
    stop: CancellationToken,
) {
    let address = listener.address().ok();
    let tokens = Arc::new(tokens);
    let guarded = router.layer(middleware::from_fn(move |request: Request, next: Next| {
        let tokens = Arc::clone(&tokens);
        async move { guard(request, next, &tokens, address).await }
    }));
    serve(listener, guarded, on_fault, stop).await;
}

async fn serve(listener: Listener, router: Router, on_fault: OnFault, stop: CancellationToken) {
    let (here, everyone) = (Crew::here(), |_: &Peer| Some(()));
    inbound::serve(listener, here, router, BOUNDS, everyone, on_fault, stop).await;
}

async fn guard(
    mut request: Request,
    next: Next,
    tokens: &Tokens,
    address: Option<SocketAddr>,
) -> Response {
    let headers = request.headers();
    let own = address.is_some_and(|address| is_own_host(headers, address));
    if !own || headers.contains_key(header::ORIGIN) {
        return problem(StatusCode::FORBIDDEN, "not for browsers");
    }
    let Some(caller) = tokens.caller(headers) else {
        let words = "send `Authorization: Bearer` with one of the tokens of [admin]";
        let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
        return (challenge, problem(StatusCode::UNAUTHORIZED, words)).into_response();
    };
    request.extensions_mut().insert(caller);
    next.run(request).await
}

/// A page whose name was made to lead here still sends its own name. An address cannot be made to lead
/// elsewhere, so where the listener has all addresses each may stand here.
fn is_own_host(headers: &HeaderMap, address: SocketAddr) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    let Some(host) = host.to_str().ok().and_then(|host| host.parse::<Uri>().ok()) else {
        return false;
    };
    let Some(host) = host.authority() else {
        return false;
    };
    let bare = host.host().trim_start_matches('[').trim_end_matches(']');
    let named = match bare.parse::<std::net::IpAddr>() {
        Ok(named) => named == address.ip() || named.is_loopback() || address.ip().is_unspecified(),
        Err(_) => bare.eq_ignore_ascii_case("localhost"),
    };
    // A `Host` without a port means the scheme's own, 80.
    named && host.port_u16().unwrap_or(80) == address.port() && !host.as_str().contains('@')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_listeners_own_names_are_hosts() {
        let is_own = |host: &str, listener: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            is_own_host(&headers, listener.parse().unwrap())
        };
        for (host, listener, own) in [
            ("127.0.0.1:9797", "127.0.0.1:9797", true),
            ("localhost:9797", "127.0.0.1:9797", true),
            ("LOCALHOST:9797", "127.0.0.1:9797", true),
            ("[::1]:9797", "[::1]:9797", true),
            ("10.0.0.7:9797", "10.0.0.7:9797", true),
            ("10.0.0.7:9797", "0.0.0.0:9797", true),
            ("localhost", "127.0.0.1:80", true),
            ("10.0.0.7:9797", "127.0.0.1:9797", false),
            ("127.0.0.1:9798", "127.0.0.1:9797", false),
            ("127.0.0.1", "127.0.0.1:9797", false),
            ("evil.example:9797", "127.0.0.1:9797", false),
            ("evil.example:9797", "0.0.0.0:9797", false),
            ("localhost.evil.example:9797", "127.0.0.1:9797", false),
            ("x@localhost:9797", "127.0.0.1:9797", false),
            ("", "127.0.0.1:9797", false),
        ] {
            assert_eq!(is_own(host, listener), own, "{host} at {listener}");
        }
        let mut twice = HeaderMap::new();
        twice.append(header::HOST, "localhost:80".parse().unwrap());
        twice.append(header::HOST, "evil.example".parse().unwrap());
        assert!(!is_own_host(&twice, "127.0.0.1:80".parse().unwrap()));
        assert!(!is_own_host(
            &HeaderMap::new(),
            "127.0.0.1:80".parse().unwrap()
        ));
    }
}
