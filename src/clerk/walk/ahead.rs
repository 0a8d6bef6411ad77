//! A walk that reads one page ahead, so that Clerk and the reader of its pages work at the same time.
//!
//! Holds at most one page that nobody has taken. Dropping it breaks the walk off.

use tokio::{sync::mpsc, task::JoinSet};

use super::{Page, Walk, WalkError, Walked};

/// What the task hands over: a page or the end, and what was come across up to it.
type Handed = (Result<Option<Page>, WalkError>, Walked);

/// See the module's words.
#[derive(Debug)]
pub struct Ahead {
    pages: mpsc::Receiver<Handed>,
    walked: Walked,
    ended: Option<Result<(), WalkError>>,
    // Ends the task when it is dropped.
    _task: JoinSet<()>,
}

impl Ahead {
    /// Begins to walk at once.
    pub fn of(walk: impl Walk) -> Self {
        let (sender, pages) = mpsc::channel(1);
        let mut task = JoinSet::new();
        task.spawn(run(walk, sender));
        Ahead {
            pages,
            walked: Walked::default(),
            ended: None,
            _task: task,
        }
    }
}

async fn run(mut walk: impl Walk, sender: mpsc::Sender<Handed>) {
    loop {
        // The room first, then the page: no second page waits in this hand.
        let Ok(room) = sender.reserve().await else {
            return;
        };
        let next = walk.next().await;
        let more = matches!(next, Ok(Some(_)));
        room.send((next, walk.walked().clone()));
        if !more {
            return;
        }
    }
}

impl Walk for Ahead {
    /// As of the walk itself, but an error is final.
    async fn next(&mut self) -> Result<Option<Page>, WalkError> {
        if let Some(ended) = &self.ended {
            return ended.clone().map(|()| None);
        }
        // The task says that it is at the end before it ends; if it did not, it broke.
        let Some((next, walked)) = self.pages.recv().await else {
            self.ended = Some(Err(WalkError::BrokenOff));
            return Err(WalkError::BrokenOff);
        };
        self.walked = walked;
        self.ended = match &next {
            Ok(Some(_)) => None,
            Ok(None) => Some(Ok(())),
            Err(error) => Some(Err(error.clone())),
        };
        next
    }

    fn walked(&self) -> &Walked {
        &self.walked
    }
}
