//! The body of a request, whole or not at all.
//!
//! A bound on its size, a bound on its time, and a bound on what all bodies together take while they come in:
//! thousands of peers that each send nearly the largest body slowly must not use up the memory. Small bodies
//! are outside of that last bound, so that large ones cannot keep them out. Judges no content.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, header},
};
use http_body_util::BodyExt;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::twin::{self, Twin};

/// So much of each body is not counted among what all of them take, in bytes: more than nearly all events have.
const UNCOUNTED: usize = 16 * 1024;
/// What is counted at a time, in bytes, so that a body in tiny chunks does not count each.
const STEP: usize = 16 * 1024;

/// The bounds.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The largest body, in bytes.
    pub most: usize,
    /// The longest that reading it may take.
    pub time: Duration,
    /// What all bodies may take at once, in bytes.
    pub room: Arc<Semaphore>,
}

/// A body that is there. What it takes is given back when this is dropped.
#[derive(Debug)]
pub struct Whole {
    /// The bytes as they came.
    pub bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

/// Why a body was not read.
#[derive(Debug)]
pub enum Unread {
    /// It is larger than allowed, or says that it will be.
    TooLarge(Begun),
    /// It took too long.
    TooSlow,
    /// The connection ended, or the framing is broken.
    Broken,
    /// Other bodies take all the room.
    Crowded,
}

/// A body of which no more than the bound was read.
#[derive(Debug)]
pub struct Begun {
    bytes: Vec<u8>,
    rest: Body,
}

/// How long a body will be, in bytes, if its request says so.
pub fn announced(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get(header::CONTENT_LENGTH)?;
    value.to_str().ok()?.parse().ok()
}

/// Reads a body that is so long, if that is known.
pub async fn read(announced: Option<u64>, body: Body, limits: &Limits) -> Result<Whole, Unread> {
    let most = match twin::broken(Twin::AnySize) {
        true => 1 << 30,
        false => limits.most,
    };
    if announced.is_some_and(|bytes| bytes > most as u64) {
        return Err(Unread::TooLarge(Begun {
            bytes: Vec::new(),
            rest: body,
        }));
    }
    let mut begun = Begun {
        bytes: Vec::new(),
        rest: body,
    };
    let mut held = None;
    let taken = timeout(limits.time, begun.take(most, &limits.room, &mut held)).await;
    match taken.unwrap_or(Err(Cut::TooSlow)) {
        Ok(()) => Ok(Whole {
            bytes: begun.bytes.into(),
            _room: held,
        }),
        Err(Cut::TooLarge) => Err(Unread::TooLarge(begun)),
        Err(Cut::TooSlow) => Err(Unread::TooSlow),
        Err(Cut::Broken) => Err(Unread::Broken),
        Err(Cut::Crowded) => Err(Unread::Crowded),
    }
}

enum Cut {
    TooLarge,
    TooSlow,
    Broken,
    Crowded,
}

impl Begun {
    /// Reads on, to the end, up to another bound; `None` if the end does not come before it.
    pub async fn finish(mut self, limits: &Limits) -> Option<Vec<u8>> {
        let mut held = None;
        let taken = self.take(limits.most, &limits.room, &mut held);
        timeout(limits.time, taken).await.ok()?.ok()?;
        Some(self.bytes)
    }

    async fn take(
        &mut self,
        most: usize,
        room: &Arc<Semaphore>,
        held: &mut Option<OwnedSemaphorePermit>,
    ) -> Result<(), Cut> {
        while let Some(frame) = self.rest.frame().await {
            let frame = frame.map_err(|_| Cut::Broken)?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let length = self.bytes.len() + data.len();
            count(length, room, held)?;
            self.bytes.extend_from_slice(&data);
            if length > most {
                return Err(Cut::TooLarge);
            }
        }
        Ok(())
    }
}

/// Takes room for a body of this length, beside what it holds already.
fn count(
    length: usize,
    room: &Arc<Semaphore>,
    held: &mut Option<OwnedSemaphorePermit>,
) -> Result<(), Cut> {
    let has = held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
    let counted = length.saturating_sub(UNCOUNTED);
    if counted <= has {
        return Ok(());
    }
    let more = (counted - has).next_multiple_of(STEP);
    let more = u32::try_from(more).map_err(|_| Cut::Crowded)?;
    let taken = Arc::clone(room).try_acquire_many_owned(more);
    let taken = taken.map_err(|_| Cut::Crowded)?;
    match held {
        Some(held) => held.merge(taken),
        None => *held = Some(taken),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(most: usize, room: usize) -> Limits {
        Limits {
            most,
            time: Duration::from_secs(60),
            room: Arc::new(Semaphore::new(room)),
        }
    }

    async fn taken(length: usize, limits: &Limits) -> Result<Whole, Unread> {
        read(None, Body::from(vec![b'x'; length]), limits).await
    }

    #[tokio::test]
    async fn a_body_up_to_its_bound_is_whole_and_a_larger_one_can_be_finished_up_to_another() {
        let small = limits(100, 1 << 20);
        assert_eq!(taken(100, &small).await.unwrap().bytes.len(), 100);
        for wider in [100, 101, 1000] {
            let Err(Unread::TooLarge(begun)) = taken(101, &small).await else {
                panic!("it is too large");
            };
            let finished = begun.finish(&limits(wider, 1 << 20)).await;
            // What was read already is not counted against the wider bound before more comes.
            assert_eq!(finished.map(|bytes| bytes.len()), Some(101), "{wider}");
        }
        let announced = HeaderMap::from_iter([(header::CONTENT_LENGTH, "101".parse().unwrap())]);
        let refused = read(super::announced(&announced), Body::empty(), &small).await;
        assert!(matches!(refused, Err(Unread::TooLarge(_))));
    }

    #[tokio::test]
    async fn large_bodies_share_the_room_and_give_it_back_and_small_ones_need_none() {
        let limits = limits(1 << 20, 4 * STEP);
        let first = taken(UNCOUNTED + 3 * STEP, &limits).await.unwrap();
        let second = taken(UNCOUNTED + STEP, &limits).await.unwrap();
        assert_eq!(limits.room.available_permits(), 0);
        let third = taken(UNCOUNTED + 1, &limits).await;
        assert!(matches!(third, Err(Unread::Crowded)), "{third:?}");
        assert!(taken(UNCOUNTED, &limits).await.is_ok(), "a small one");
        drop(first);
        assert!(taken(UNCOUNTED + 1, &limits).await.is_ok());
        drop(second);
        assert_eq!(limits.room.available_permits(), 4 * STEP);
    }

    #[tokio::test]
    async fn of_a_body_without_an_end_no_more_is_read_than_a_chunk_beyond_the_bound() {
        const CHUNK: usize = 16 * 1024;
        let read_so_far = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = Arc::clone(&read_so_far);
        let endless = futures_util::stream::repeat_with(move || {
            count.fetch_add(CHUNK, std::sync::atomic::Ordering::Relaxed);
            Ok::<_, axum::Error>(Bytes::from_static(&[b'x'; CHUNK]))
        });
        let limits = limits(1 << 20, 16 << 20);
        let refused = read(None, Body::from_stream(endless), &limits).await;
        let Err(Unread::TooLarge(begun)) = refused else {
            panic!("it is too large");
        };
        let so_far = || read_so_far.load(std::sync::atomic::Ordering::Relaxed);
        assert!(so_far() <= (1 << 20) + 64 * 1024, "{}", so_far());
        let wider = Limits {
            most: 4 << 20,
            ..limits
        };
        assert!(begun.finish(&wider).await.is_none());
        assert!(so_far() <= (4 << 20) + 64 * 1024, "{}", so_far());
        assert_eq!(wider.room.available_permits(), 16 << 20);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_too_slow() {
        let never =
            Body::from_stream(futures_util::stream::pending::<Result<Bytes, axum::Error>>());
        let read = read(None, never, &limits(100, 0)).await;
        assert!(matches!(read, Err(Unread::TooSlow)));
    }
}
