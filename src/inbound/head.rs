//! The head of a request as it came, for the one question that its parsed form no longer answers.
//!
//! A request that has both a `Content-Length` and a `Transfer-Encoding` is how two servers in a row are
//! made to disagree about where it ends. hyper goes by the second, drops the first and closes the connection,
//! which is allowed; refusing is better, and needs the bytes. A [`Tap`] notes those of the head while
//! they pass, and nothing of the body. Of requests that were sent before the answer to an earlier one it may
//! miss the beginning; those are left to hyper. The first head of a connection is waited for here: hyper has buffers
//! for each connection that it is given, and thousands may never come to the end of a head. On the way out there is a
//! deadline that hyper lacks: a peer that reads nothing of its answers is hung up on.

use std::{
    future::poll_fn,
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

/// What ends a head; hyper takes lines that end without a carriage return, too.
const ENDS: [&[u8]; 2] = [b"\n\r\n", b"\n\n"];
/// How much is read at once while the first head comes in, in bytes: nearly every request is here at once.
const CHUNK: usize = 4 * 1024;

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

    fn is_complete(&self) -> bool {
        let noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        noted.complete
    }

    fn note(&self, bytes: &[u8]) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.complete {
            return;
        }
        // Empty lines may come before a head, and are none of it.
        let empty = |byte: &u8| noted.bytes.is_empty() && matches!(byte, b'\r' | b'\n');
        let begun = bytes.iter().position(|byte| !empty(byte));
        let bytes = &bytes[begun.unwrap_or(bytes.len())..];
        let room = MAX_HEAD - noted.bytes.len();
        let bytes = &bytes[..bytes.len().min(room)];
        // A line at a time, so that nothing of the body is copied.
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            noted.bytes.extend_from_slice(line);
            if ENDS.iter().any(|end| noted.bytes.ends_with(end)) {
                noted.complete = true;
                return;
            }
        }
        noted.complete = noted.bytes.len() == MAX_HEAD;
    }
}

/// A connection whose incoming bytes pass the tap, and whose outgoing bytes must go on.
pub struct Tapped<S> {
    socket: S,
    tap: Tap,
    /// What was read, and is given out again.
    ahead: Vec<u8>,
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
            ahead: Vec::new(),
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

impl<S: AsyncRead + Unpin> Tapped<S> {
    /// Waits until the first head is whole, or will not be: the peer has ended, it is too long, or it begins like none.
    pub async fn hear_out(&mut self) -> io::Result<()> {
        while !self.tap.is_complete() && self.ahead.first().is_none_or(u8::is_ascii_uppercase) {
            if poll_fn(|context| self.poll_hear(context)).await? == 0 {
                return Ok(());
            }
        }
        Ok(())
    }

    /// True if what was heard cannot be a request: its first byte is neither of a method nor of an empty line before one.
    pub fn begins_like_none(&self) -> bool {
        let fine = |byte: &u8| byte.is_ascii_graphic() || matches!(byte, b'\r' | b'\n');
        !self.ahead.first().is_none_or(fine)
    }

    fn poll_hear(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut chunk = [0; CHUNK];
        let mut chunk = ReadBuf::new(&mut chunk);
        ready!(Pin::new(&mut self.socket).poll_read(context, &mut chunk))?;
        self.tap.note(chunk.filled());
        self.ahead.extend_from_slice(chunk.filled());
        Poll::Ready(Ok(chunk.filled().len()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tapped<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let fits = self.ahead.len().min(buffer.remaining());
            buffer.put_slice(&self.ahead[..fits]);
            self.ahead = self.ahead.split_off(fits);
            return Poll::Ready(Ok(()));
        }
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
    use tokio::io::AsyncReadExt;

    use super::*;

    #[test]
    fn only_the_head_is_noted_however_it_is_cut() {
        let whole = b"\r\n\n\r\n\r\nPOST / HTTP/1.1\r\nHost: l\r\nCONTENT-length : 3\r\nTransfer-Encoding:chunked\r\n\r\n\
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

    #[tokio::test]
    async fn what_was_heard_ahead_is_read_again_and_then_the_rest() {
        let head = b"GET / HTTP/1.1\r\nhost: l\r\n\r\n".as_slice();
        let long = [b"GET /".as_slice(), &[b'a'; 2 * MAX_HEAD]].concat();
        let whole = [head, b"body"].concat();
        for (sent, heard) in [
            (whole.as_slice(), whole.len()),
            (b"GET / HTTP/1.1\nhost: l\n\n", 24),
            (b"\x16\x03\x01", 3),
            (b"GET / HT", 8),
            (b"", 0),
            (&long, MAX_HEAD.next_multiple_of(CHUNK)),
        ] {
            let mut tapped = Tapped::new(sent, Tap::default(), Duration::from_secs(1));
            tapped.hear_out().await.unwrap();
            assert_eq!(tapped.ahead.len(), heard);
            assert_eq!(tapped.begins_like_none(), sent.starts_with(b"\x16"));
            let mut read = Vec::new();
            tapped.read_to_end(&mut read).await.unwrap();
            assert_eq!(read, sent);
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
