//! What the committer tells the queue, and the bell that it rings for it afterwards.
//!
//! Two steps where a channel has one. Whoever hears that an entry is stored may look at the queue at once, so the
//! notice lies there before the sender is answered; but waking the queue's task takes processor time that a waiting
//! sender should not pay for, so the bell is rung when everybody has been answered. A notice without a bell is not
//! lost: [`Teller`] rings also when it is dropped.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};

use tokio::sync::Notify;

use super::entry::{Meta, Position};

/// What the committer tells the queue, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// These entries are durable.
    Stored(Vec<Meta>),
    /// These entries lie elsewhere now.
    Moved(Vec<(u64, Position)>),
}

/// The committer's end.
pub struct Teller {
    /// `None` only while this is dropped.
    sender: Option<Sender<Notice>>,
    bell: Arc<Notify>,
    unheard: bool,
}

/// The queue's end.
pub struct Notices {
    receiver: Receiver<Notice>,
    bell: Arc<Notify>,
}

/// Both ends. What lies between them is bounded by what the journal holds.
pub fn notices() -> (Teller, Notices) {
    let (sender, receiver) = channel();
    let bell = Arc::new(Notify::new());
    let teller = Teller {
        sender: Some(sender),
        bell: Arc::clone(&bell),
        unheard: false,
    };
    (teller, Notices { receiver, bell })
}

impl Teller {
    /// Lays a notice where [`Notices::try_recv`] finds it from now on, and wakes nobody.
    pub fn tell(&mut self, notice: Notice) {
        // Nobody listens any more only when the process ends.
        if let Some(sender) = &self.sender
            && sender.send(notice).is_ok()
        {
            self.unheard = true;
        }
    }

    /// Wakes whoever waits for a notice, if there was one.
    pub fn ring(&mut self) {
        if std::mem::take(&mut self.unheard) {
            self.bell.notify_one();
        }
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.sender = None;
        self.bell.notify_one();
    }
}

impl Notices {
    /// The next notice, if one lies there.
    pub fn try_recv(&mut self) -> Option<Notice> {
        self.receiver.try_recv().ok()
    }

    /// The next notice; `None` when the journal is closed and all have been heard. Nothing is lost if the future is
    /// dropped.
    pub async fn recv(&mut self) -> Option<Notice> {
        loop {
            match self.receiver.try_recv() {
                Ok(notice) => return Some(notice),
                Err(TryRecvError::Disconnected) => return None,
                // Keeps a ring that came since, so none is missed.
                Err(TryRecvError::Empty) => self.bell.notified().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future,
        pin::pin,
        sync::atomic::{AtomicUsize, Ordering},
        task::{Context, Poll, Wake, Waker},
    };

    use super::*;

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn moved(seq: u64) -> Notice {
        let position = Position {
            segment: 1,
            offset: 2,
            len: 3,
        };
        Notice::Moved(vec![(seq, position)])
    }

    #[test]
    fn a_notice_lies_there_before_anybody_is_woken_for_it() {
        let (mut teller, mut queue) = notices();
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let mut context = Context::from_waker(&waker);
        let woken = || wakes.0.load(Ordering::Relaxed);
        {
            let mut next = pin!(queue.recv());
            assert_eq!(next.as_mut().poll(&mut context), Poll::Pending);
            teller.tell(moved(1));
            teller.tell(moved(2));
            assert_eq!(woken(), 0, "nobody rang");
            teller.ring();
            teller.ring();
            assert_eq!(woken(), 1);
            assert_eq!(next.poll(&mut context), Poll::Ready(Some(moved(1))));
        }
        assert_eq!(queue.try_recv(), Some(moved(2)));
        assert_eq!(queue.try_recv(), None);
        teller.tell(moved(3));
        assert_eq!(queue.try_recv(), Some(moved(3)), "without a ring");
    }

    #[tokio::test]
    async fn a_ring_before_anybody_waits_is_kept_and_one_for_nothing_is_harmless() {
        let (mut teller, mut queue) = notices();
        teller.ring();
        teller.tell(moved(1));
        teller.ring();
        // What it was rung for is gone when the bell is heard.
        assert_eq!(queue.try_recv(), Some(moved(1)));
        let next = tokio::spawn(async move { (queue.recv().await, queue) });
        tokio::task::yield_now().await;
        teller.tell(moved(2));
        teller.ring();
        let (told, mut queue) = next.await.unwrap();
        assert_eq!(told, Some(moved(2)));

        teller.tell(moved(3));
        drop(teller);
        assert_eq!(queue.recv().await, Some(moved(3)), "heard to the end");
        assert_eq!(queue.recv().await, None);
    }

    #[tokio::test]
    async fn the_end_wakes_who_waits() {
        let (teller, mut queue) = notices();
        let next = tokio::spawn(async move { queue.recv().await });
        tokio::task::yield_now().await;
        drop(teller);
        assert_eq!(next.await.unwrap(), None);
    }
}
