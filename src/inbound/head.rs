//! The head of a request as it came, for the one question that its parsed form no longer answers.
//!
//! A request that has both a `Content-Length` and a `Transfer-Encoding` is how two servers in a row are
//! made to disagree about where it ends. hyper goes by the second, drops the first and closes the connection,
//! which is allowed; refusing is better, and needs the bytes. A [`Tap`] notes those of the head while
//! they pass, and nothing of the body. Of requests that were sent before the answer to an earlier one it may
//! miss the beginning; those are left to hyper. On the way out it has a deadline that hyper lacks: a peer that
//! reads nothing of its answers is hung up on.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use super::MAX_HEAD;

/// What ends a head.
const END: &[u8] = b"\r\n\r\n";

/// What passed since the last request was answered.
#[derive(Clone, Default)]
pub struct Tap(Arc<Mutex<Noted>>);

#[derive(Default)]
struct Noted {
    bytes: Vec<u8>,
    complete: bool,
}

impl Tap {
    /// True if the head has a line that begins with this lower-case name.
    pub fn names(&self, header: &str) -> bool {
        let noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        noted.bytes.split(|byte| *byte == b'\n').any(|line| {
            let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
            name.len() < line.len() && name.eq_ignore_ascii_case(header.as_bytes())
        })
    }

    /// A request was answered: what comes next is another's head.
    pub fn begin_anew(&self) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        noted.bytes.clear();
        noted.complete = false;
    }

    fn note(&self, bytes: &[u8]) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.complete {
            return;
        }
        // The end may have been cut in two.
        let from = noted.bytes.len().saturating_sub(END.len() - 1);
        let room = MAX_HEAD - noted.bytes.len();
        noted
            .bytes
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
        let end = noted.bytes[from..].windows(END.len());
        if let Some(at) = end.into_iter().position(|window| window == END) {
            noted.bytes.truncate(from + at + END.len());
            noted.complete = true;
        } else if noted.bytes.len() == MAX_HEAD {
            noted.complete = true;
        }
    }
}

/// A connection whose incoming bytes pass the tap, and whose outgoing bytes must go on.
pub struct Tapped<S> {
    socket: S,
    tap: Tap,
    patience: Duration,
    /// Runs while the peer reads nothing.
    stuck: Option<Pin<Box<Sleep>>>,
}

impl<S> Tapped<S> {
    /// `patience`: how long writing may make no progress.
    pub fn new(socket: S, tap: Tap, patience: Duration) -> Self {
        Tapped {
            socket,
            tap,
            patience,
            stuck: None,
        }
    }

    fn goes_on<T>(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stuck = None;
            return polled;
        }
        let patience = self.patience;
        let stuck = self.stuck.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(stuck.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tapped<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.socket).poll_read(context, buffer);
        if polled.is_ready() {
            self.tap.note(&buffer.filled()[before..]);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tapped<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.goes_on(context, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write_vectored(context, slices);
        self.goes_on(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.socket).poll_flush(context);
        self.goes_on(context, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.socket).poll_shutdown(context);
        self.goes_on(context, polled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_head_is_noted_however_it_is_cut() {
        let whole = b"POST / HTTP/1.1\r\nHost: l\r\nCONTENT-length : 3\r\nTransfer-Encoding:chunked\r\n\r\n\
                      x-body: 1\r\n\r\n";
        for size in 1..whole.len() {
            let tap = Tap::default();
            whole.chunks(size).for_each(|chunk| tap.note(chunk));
            assert!(
                tap.names("transfer-encoding") && tap.names("host"),
                "{size}"
            );
            assert!(!tap.names("x-body"), "{size}");
            tap.begin_anew();
            assert!(!tap.names("host"));
            tap.note(b"GET / HTTP/1.1\r\nx-next: 1\r\n\r\n");
            assert!(tap.names("x-next"));
        }
    }

    #[test]
    fn a_head_without_an_end_is_noted_up_to_its_bound() {
        let tap = Tap::default();
        for _ in 0..200 {
            tap.note(&[b'a'; 1000]);
        }
        assert_eq!(tap.0.lock().unwrap().bytes.len(), MAX_HEAD);
    }
}
