//! Connections from outside: accept, bound, serve, drain. The counterpart of `outbound`.
//!
//! HTTP/1.1 by hyper with the deadlines that its defaults lack: a silent socket, half a header block, an idle
//! connection and a peer that reads no answer are hung up on. At most so many connections at once; who may
//! come in at all is the caller's to say. A handler that panics costs its own request. Knows nothing of what
//! is served. On stop it accepts no more, lets requests in hand finish and closes idle connections.

use std::{
    convert::Infallible, io, net::IpAddr, panic::AssertUnwindSafe, sync::Arc, time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use hyper::{Request, body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::io::Errno;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream, unix::UCred},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use self::{
    head::{Tap, Tapped},
    listener::Socket,
};
use crate::twin::{self, Twin};

pub mod body;
mod crew;
mod head;
mod listener;
#[cfg(test)]
mod tests;
mod tls;

pub use self::crew::Crew;
pub use self::listener::Listener;
pub use self::tls::{Certificate, TlsFault, TlsFiles};

/// How long to wait when the process is out of file descriptors.
const EXHAUSTED: Duration = Duration::from_millis(50);
/// How long who has just come in may take for a first byte when the listener stops.
const LAST_CALL: Duration = Duration::from_millis(300);
/// How long, and how many bytes of, what a peer still sends after its last answer is read and thrown away. Closing
/// a socket that is being sent to resets it, and the peer might lose the answer over that.
const SEE_OFF: Duration = Duration::from_secs(2);
const SEE_OFF_BYTES: u64 = 16 * 1024 * 1024;
/// What is said to who speaks another protocol, such as TLS.
const NO_REQUEST: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
/// When a request's head that is not whole yet is refused, in bytes; the read that completes one may bring as much again.
/// Also the most of an answer that nobody reads yet. hyper's own bound of a hundred header lines stands beside it.
const MAX_HEAD: usize = 64 * 1024;

/// Deadlines and caps of a listener.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// From the first byte of a request to the end of its headers; also how long an idle connection
    /// is kept, since hyper has one timer for both.
    pub header_timeout: Duration,
    /// Until the first byte of a connection, and how long a peer may read nothing of its answer.
    pub idle_timeout: Duration,
    /// Connections at once.
    pub max_connections: usize,
}

/// Who is at the other end of a connection; every request carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The address, canonical.
    Address(IpAddr),
    /// A process of this machine, as far as the kernel says.
    Process(Option<UCred>),
}

/// What went wrong with a listener itself.
#[derive(Debug)]
pub enum Fault {
    /// A handler panicked. Its request was answered 500.
    Panicked,
    /// The process, or the machine, has no file descriptor left for a connection.
    OutOfFiles(io::Error),
    /// There are descriptors again.
    HasFiles,
}

/// Hears of faults.
pub type OnFault = Arc<dyn Fn(Fault) + Send + Sync>;

/// Serves on `crew` until `stop`, then waits for requests in hand. `admit` lets a peer in, or does not: what it answers is
/// kept until the connection ends.
pub async fn serve<P: Send + 'static>(
    listener: Listener,
    crew: Crew,
    router: Router,
    bounds: Bounds,
    admit: impl Fn(&Peer) -> Option<P>,
    on_fault: OnFault,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(bounds.max_connections));
    let mut exhausted = false;
    while let Some(place) = stop
        .run_until_cancelled(Arc::clone(&places).acquire_owned())
        .await
    {
        let Some(accepted) = stop.run_until_cancelled(listener.accept()).await else {
            break;
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                exhausted |= is_exhaustion(&error);
                cannot_accept(error, &on_fault);
                let _ = stop.run_until_cancelled(sleep(EXHAUSTED)).await;
                continue;
            }
        };
        if std::mem::take(&mut exhausted) {
            on_fault(Fault::HasFiles);
        }
        // Whoever is not let in is hung up on: an answer would cost more than it says.
        let Some(admitted) = admit(&peer) else {
            continue;
        };
        let served = Served {
            router: router.clone(),
            peer,
            tap: Tap::default(),
            on_fault: Arc::clone(&on_fault),
        };
        let tls = listener.certificate().map(Certificate::acceptor);
        let stop = stop.clone();
        crew.serve(async move {
            let _places = (place, admitted);
            if let Err(error) = connection(socket, tls, served, bounds, stop).await {
                tracing::warn!("a connection could not be served: {error}");
            }
        });
    }
    drop(listener);
    crew.drained().await;
}

fn is_exhaustion(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM]
        .into_iter()
        .any(|exhausted| errno == Some(exhausted))
}

fn cannot_accept(error: io::Error, on_fault: &OnFault) {
    if is_exhaustion(&error) {
        on_fault(Fault::OutOfFiles(error));
    } else {
        tracing::warn!("a connection could not be accepted: {error}");
    }
}

async fn connection(
    socket: Socket,
    tls: Option<TlsAcceptor>,
    served: Served,
    bounds: Bounds,
    stop: CancellationToken,
) -> io::Result<()> {
    let bounds = match twin::broken(Twin::NoDeadlines) {
        true => Bounds {
            header_timeout: Duration::from_secs(3600),
            idle_timeout: Duration::from_secs(3600),
            ..bounds
        },
        false => bounds,
    };
    let socket = match socket {
        Socket::Tcp(socket) => TcpStream::from_std(socket)?,
        // A silent one is ended by the deadline for headers, which begins at once.
        Socket::Unix(socket) => {
            let socket = UnixStream::from_std(socket)?;
            Box::pin(http(socket, served, bounds, stop)).await;
            return Ok(());
        }
    };
    let _ = socket.set_nodelay(true);
    // `readable` would answer too early on some kernels; peeking waits for a byte.
    let mut byte = [0];
    let first = tokio::select! {
        first = socket.peek(&mut byte) => first,
        () = sleep(bounds.idle_timeout) => return Ok(()),
        () = last_call(&stop) => return Ok(()),
    };
    if !matches!(first, Ok(n) if n > 0) {
        return Ok(());
    }
    // What is boxed takes no room while it is not there yet: thousands may be silent, or stay within their heads.
    match tls {
        None => Box::pin(http(socket, served, bounds, stop)).await,
        Some(tls) => Box::pin(https(socket, tls, served, bounds, stop)).await,
    }
    Ok(())
}

/// Who was let in at the last moment has something to say, and would take a silent end for a failure.
async fn last_call(stop: &CancellationToken) {
    stop.cancelled().await;
    sleep(LAST_CALL).await;
}

/// What is served on one connection.
struct Served {
    router: Router,
    peer: Peer,
    tap: Tap,
    on_fault: OnFault,
}

impl Served {
    async fn answer(&self, mut request: Request<Incoming>) -> Result<Response, Infallible> {
        request.extensions_mut().insert(self.peer);
        let chunked = request.headers().contains_key(header::TRANSFER_ENCODING);
        let answered = if chunked && self.tap.names("content-length") {
            Ok(last(StatusCode::BAD_REQUEST, "bad request\n"))
        } else {
            let asked = Box::pin(self.router.clone().oneshot(request.map(Body::new)));
            // Nothing that a handler left half done is looked at again: what is shared is behind locks that
            // do without the word of who panicked.
            let caught = AssertUnwindSafe(asked).catch_unwind().await;
            caught.unwrap_or_else(|_| {
                (self.on_fault)(Fault::Panicked);
                Ok(last(StatusCode::INTERNAL_SERVER_ERROR, "failed\n"))
            })
        };
        self.tap.begin_anew();
        answered
    }
}

/// The last answer on its connection.
fn last(status: StatusCode, words: &'static str) -> Response {
    let mut response = (status, words).into_response();
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}

async fn https(
    socket: TcpStream,
    tls: TlsAcceptor,
    served: Served,
    bounds: Bounds,
    stop: CancellationToken,
) {
    let greeted = timeout(bounds.header_timeout, tls.accept(socket)).await;
    if let Ok(Ok(socket)) = greeted {
        http(socket, served, bounds, stop).await;
    }
}

async fn http<S>(socket: S, served: Served, bounds: Bounds, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut socket = Tapped::new(socket, served.tap.clone(), bounds.idle_timeout);
    let heard = tokio::select! {
        heard = timeout(bounds.header_timeout, socket.hear_out()) => heard,
        () = last_call(&stop) => return,
    };
    match heard {
        Ok(Ok(())) if socket.begins_like_none() => {
            let _ = timeout(bounds.idle_timeout, socket.write_all(NO_REQUEST)).await;
        }
        Ok(Ok(())) => Box::pin(requests(socket, served, bounds, stop)).await,
        _ => {}
    }
}

async fn requests<S>(socket: Tapped<S>, served: Served, bounds: Bounds, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request| served.answer(request));
    let mut connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.header_timeout)
        .max_buf_size(MAX_HEAD)
        // Who has said that nothing more comes from them still waits for the answer, and what they said counts.
        .half_close(true)
        .serve_connection(TokioIo::new(socket), service);
    let ended = tokio::select! {
        // First, so that a request that has come is seen before the end is.
        biased;
        ended = &mut connection => ended,
        () = stop.cancelled() => {
            std::pin::Pin::new(&mut connection).graceful_shutdown();
            (&mut connection).await
        }
    };
    match ended {
        Ok(()) => {
            let socket = connection.into_parts().io.into_inner();
            Box::pin(see_off(socket, &stop)).await;
        }
        Err(error) => tracing::trace!("a connection ended badly: {error}"),
    }
}

/// The peer has been told that nothing more comes; lets it say the same.
async fn see_off(socket: impl AsyncRead + Unpin, stop: &CancellationToken) {
    let mut rest = socket.take(SEE_OFF_BYTES);
    let seen_off = timeout(SEE_OFF, async {
        let mut chunk = [0; 1024];
        while rest.read(&mut chunk).await.is_ok_and(|bytes| bytes > 0) {}
    });
    // However it ends, it is over. Whoever says nothing holds up no stop.
    let _ = stop.run_until_cancelled(seen_off).await;
}
