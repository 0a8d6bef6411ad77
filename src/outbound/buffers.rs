//! Buffers for large answers, used again page after page.
//!
//! A comparison of everything reads gigabytes in pages of about a megabyte, a few at a time. Freed and asked for anew,
//! such blocks leave holes between what lives longer, and the process grows with every page although no more is in
//! use. So a run keeps its buffers: as many as were in use at once, each for as long as the run goes on. Bounded.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// Free buffers that are kept at most: more pages than a run has in hand.
const MOST: usize = 64;
/// The largest buffer that is kept, in bytes: a page of users fits twice. Larger ones are the exception.
const LARGEST: usize = 2 << 20;
/// Room in a new buffer, in bytes, so that few have to grow; what is not written to takes no memory.
const FIRST_BYTES: usize = 1 << 20;

/// The free buffers of a run; clones share them.
#[derive(Clone, Default)]
pub struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

/// A buffer that is written to, or was.
pub(super) struct Buffer {
    bytes: Vec<u8>,
    /// Where it goes in the end; `None` if it is used once.
    home: Option<Buffers>,
}

impl Buffers {
    /// One for an answer; the one that was freed last, which the processor may still have at hand.
    pub(super) fn take(&self) -> Buffer {
        let kept = self.held().pop();
        Buffer {
            bytes: kept.unwrap_or_else(|| Vec::with_capacity(FIRST_BYTES)),
            home: Some(self.clone()),
        }
    }

    fn held(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buffer {
    /// One that is used once, for an answer that announced so many bytes. It grows only as far as the answer needs,
    /// whatever that said.
    pub(super) fn once(announced: Option<u64>) -> Buffer {
        let announced = announced.and_then(|bytes| usize::try_from(bytes).ok());
        Buffer {
            bytes: Vec::with_capacity(announced.unwrap_or(0).min(FIRST_BYTES)),
            home: None,
        }
    }

    /// How many bytes it holds.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Adds some.
    pub(super) fn extend(&mut self, more: &[u8]) {
        self.bytes.extend_from_slice(more);
    }

    /// What it holds, to be read by many; it comes back when the last of them is done.
    pub(super) fn freeze(mut self) -> Bytes {
        match self.home {
            Some(_) => Bytes::from_owner(self),
            None => std::mem::take(&mut self.bytes).into(),
        }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        let Some(home) = self.home.take().filter(|_| bytes.capacity() <= LARGEST) else {
            return;
        };
        bytes.clear();
        let mut kept = home.held();
        if kept.len() < MOST {
            kept.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(buffers: &Buffers, with: &[u8]) -> Bytes {
        let mut buffer = buffers.take();
        buffer.extend(with);
        buffer.freeze()
    }

    #[test]
    fn a_buffer_comes_back_when_the_last_part_of_it_is_done() {
        let buffers = Buffers::default();
        let page = filled(&buffers, b"one two");
        let part = page.slice(4..);
        drop(page);
        assert_eq!((&part[..], buffers.held().len()), (&b"two"[..], 0));
        drop(part);
        assert_eq!(buffers.held().len(), 1);
        let next = filled(&buffers, b"3");
        assert_eq!((&next[..], buffers.held().len()), (&b"3"[..], 0));
    }

    #[test]
    fn no_more_is_kept_than_was_in_use_at_once_and_nothing_very_large() {
        let buffers = Buffers::default();
        for _ in 0..10 {
            let pages = [filled(&buffers, b"a"), filled(&buffers, b"b")];
            assert_eq!(pages.concat(), b"ab");
        }
        assert_eq!(buffers.held().len(), 2);
        let many: Vec<Bytes> = (0..2 * MOST).map(|_| filled(&buffers, b"c")).collect();
        drop(many);
        assert_eq!(buffers.held().len(), MOST);
        buffers.held().clear();
        drop(filled(&buffers, &vec![0; LARGEST + 1]));
        assert_eq!(buffers.held().len(), 0);
    }
}
