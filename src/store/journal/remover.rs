//! Removes finished segments, oldest first, on a thread of its own.
//!
//! Giving the room of a file back can take tens of milliseconds, for which no sender should wait.
//! Promises the order: a segment is gone for good, its directory synced, before the next one is
//! touched, so that a power cut cannot bring back an older segment without the younger one that
//! settles it. What cannot be removed is tried again; what is left at the end is found by the next
//! process.

use std::{
    collections::VecDeque,
    io,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use tracing::warn;

use super::{disk::Disk, writer::segment_path};

/// How soon a removal is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// See the module's words.
pub struct Remover {
    /// `None` once it is finished.
    segments: Option<Sender<u32>>,
    broken: Arc<Mutex<Option<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Remover {
    /// Starts the thread.
    pub fn start(disk: Arc<dyn Disk>, dir: &Path) -> io::Result<Remover> {
        // As many as there are segments, which the journal's own bound limits.
        let (segments, queue) = channel();
        let broken = Arc::default();
        let (dir, failed) = (dir.to_owned(), Arc::clone(&broken));
        let thread = std::thread::Builder::new()
            .name("journal-trim".into())
            .spawn(move || run(&queue, disk.as_ref(), &dir, &failed))?;
        Ok(Remover {
            segments: Some(segments),
            broken,
            thread: Some(thread),
        })
    }

    /// Removes a segment soon. Ask in the order of their numbers.
    pub fn remove(&self, segment: u32) {
        if let Some(segments) = &self.segments {
            // The thread ends early only after a failed sync, which `broken` tells.
            let _ = segments.send(segment);
        }
    }

    /// Why the disk cannot be believed any more, if a sync has failed.
    pub fn broken(&self) -> Option<String> {
        self.broken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Remover {
    /// Waits for what was asked; nothing can be asked any more.
    pub fn finish(&mut self) {
        self.segments = None;
        if let Some(thread) = self.thread.take() {
            // A panic of it costs some room on the disk, no more.
            let _ = thread.join();
        }
    }
}

impl Drop for Remover {
    fn drop(&mut self) {
        self.finish();
    }
}

fn run(queue: &Receiver<u32>, disk: &dyn Disk, dir: &Path, broken: &Mutex<Option<String>>) {
    let mut waiting = VecDeque::new();
    loop {
        let Some(segment) = waiting.pop_front().or_else(|| queue.recv().ok()) else {
            return;
        };
        while let Err(error) = unlink(disk, dir, segment) {
            warn!(%error, segment, "a finished journal segment cannot be removed");
            match queue.recv_timeout(RETRY) {
                Ok(next) => waiting.push_back(next),
                Err(RecvTimeoutError::Timeout) => {}
                // The next process finds what is left, and in order.
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
        if let Err(error) = disk.sync_dir(dir) {
            *broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
            return;
        }
    }
}

fn unlink(disk: &dyn Disk, dir: &Path, segment: u32) -> io::Result<()> {
    match disk.remove(&segment_path(dir, segment)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
