//! Reading one page ahead, so that the services and the reader of their pages work at the same time.
//!
//! Many may read at once, and pages are large: how many lie ahead is bounded for all who share a [`Room`], not for
//! each. Who finds no room reads its next page when it is wanted, which costs time only where there is time to wait
//! anyway. Dropping a reader breaks off what it reads. Knows no service.

use std::{future::Future, sync::Arc};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};

use super::{Page, Walk, WalkError, Walked};

/// Whatever has pages.
pub trait Source: Send + 'static {
    /// One of them.
    type Page: Send + 'static;
    /// What is known after a page, beside it.
    type Seen: Clone + Default + Send + 'static;
    /// Why there is none.
    type Error: From<WalkError> + Send + 'static;

    /// The next page; none at the end, however often it is asked.
    fn next(&mut self) -> impl Future<Output = Result<Option<Self::Page>, Self::Error>> + Send;

    /// What is known after the page that was read last.
    fn seen(&self) -> Self::Seen;
}

impl<W: Walk> Source for W {
    type Page = Page;
    type Seen = Walked;
    type Error = WalkError;

    fn next(&mut self) -> impl Future<Output = Result<Option<Page>, WalkError>> + Send {
        Walk::next(self)
    }

    fn seen(&self) -> Walked {
        self.walked().clone()
    }
}

/// Room for pages that nobody has taken yet; clones share it.
#[derive(Clone, Debug)]
pub struct Room(Arc<Semaphore>);

impl Room {
    /// Room for so many pages.
    pub fn of(pages: usize) -> Room {
        Room(Arc::new(Semaphore::new(pages)))
    }
}

/// See the module's words.
pub struct Ahead<S: Source> {
    room: Room,
    place: Place<S>,
    seen: S::Seen,
}

/// Where the source is.
enum Place<S: Source> {
    /// Here: the next page is read when it is wanted.
    Here(S),
    /// With the task that reads a page, which ends when this is dropped.
    Away(JoinSet<Read<S>>),
    /// With who was asked for a page and did not come back.
    Gone,
}

/// What the task comes back with.
struct Read<S: Source> {
    source: S,
    page: Result<Option<S::Page>, S::Error>,
    // Held until the page is taken.
    _room: OwnedSemaphorePermit,
}

impl<S: Source> Ahead<S> {
    /// Begins to read at once, with room for one page.
    pub fn of(source: S) -> Self {
        Ahead::within(source, &Room::of(1))
    }

    /// The same for one of several that share room.
    pub fn within(source: S, room: &Room) -> Self {
        Ahead {
            room: room.clone(),
            seen: source.seen(),
            place: Place::ahead(source, room),
        }
    }

    /// The next page, as the source has it.
    pub async fn take(&mut self) -> Result<Option<S::Page>, S::Error> {
        let (source, page) = match std::mem::replace(&mut self.place, Place::Gone) {
            Place::Here(mut source) => {
                let page = source.next().await;
                (source, page)
            }
            Place::Away(mut task) => match task.join_next().await {
                Some(Ok(Read { source, page, .. })) => (source, page),
                _ => return Err(WalkError::BrokenOff.into()),
            },
            Place::Gone => return Err(WalkError::BrokenOff.into()),
        };
        self.seen = source.seen();
        self.place = match &page {
            Ok(Some(_)) => Place::ahead(source, &self.room),
            Ok(None) | Err(_) => Place::Here(source),
        };
        page
    }
}

impl<S: Source> Place<S> {
    /// Sends the source for its next page if there is room.
    fn ahead(mut source: S, room: &Room) -> Place<S> {
        let Ok(taken) = Arc::clone(&room.0).try_acquire_owned() else {
            return Place::Here(source);
        };
        let mut task = JoinSet::new();
        task.spawn(async move {
            let page = source.next().await;
            Read {
                source,
                page,
                _room: taken,
            }
        });
        Place::Away(task)
    }
}

impl<W: Walk> Walk for Ahead<W> {
    async fn next(&mut self) -> Result<Option<Page>, WalkError> {
        self.take().await
    }

    fn walked(&self) -> &Walked {
        &self.seen
    }
}
