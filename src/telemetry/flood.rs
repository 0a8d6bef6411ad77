//! A log that nobody can fill: of too many lines a second the rest is left out, and counted.
//!
//! Bounds each place in the code, so that one that repeats itself leaves room for the others, and all of them
//! together. What operators did is always written, and so is what somebody has switched on to look at (`debug`
//! and finer). Knows no content of a line.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tracing::{Event, Level, Metadata, callsite::Identifier};
use tracing_subscriber::layer::{Context, Filter};

/// Lines a second from one place in the code.
const FROM_ONE: u32 = 20;
/// Lines a second from all of them, below the hundred that are promised.
const FROM_ALL: u32 = 80;
/// What is always written: the doings of operators, and how many lines were left out.
const ALWAYS: [&str; 2] = ["audit", LEFT_OUT];
/// The target of the line that says how many were left out.
pub const LEFT_OUT: &str = "left_out";

/// Lets lines through. Clones count together.
#[derive(Clone, Default)]
pub(super) struct Flood(Arc<Mutex<Counts>>);

#[derive(Default)]
struct Counts {
    second: Option<Instant>,
    all: u32,
    each: HashMap<Identifier, u32>,
    left_out: u64,
}

impl Flood {
    /// How many lines were left out since this was asked last.
    pub(super) fn left_out(&self) -> u64 {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut counts.left_out)
    }

    fn admits(&self, metadata: &Metadata<'_>, now: Instant) -> bool {
        if *metadata.level() > Level::INFO || ALWAYS.contains(&metadata.target()) {
            return true;
        }
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = &mut *counts;
        let over = |began: Instant| now.duration_since(began) >= Duration::from_secs(1);
        if counts.second.is_none_or(over) {
            counts.second = Some(now);
            counts.all = 0;
            // As many as there are places in the code.
            counts.each.clear();
        }
        let each = counts.each.entry(metadata.callsite()).or_default();
        if *each >= FROM_ONE || counts.all >= FROM_ALL {
            counts.left_out += 1;
            return false;
        }
        *each += 1;
        counts.all += 1;
        true
    }
}

impl<S> Filter<S> for Flood {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        self.admits(event.metadata(), Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use tracing_subscriber::{Layer, fmt::MakeWriter, layer::SubscriberExt, registry};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'w> MakeWriter<'w> for Written {
        type Writer = Written;

        fn make_writer(&'w self) -> Written {
            self.clone()
        }
    }

    #[test]
    fn one_place_leaves_room_for_others_and_what_operators_did_is_always_there() {
        let (written, flood) = (Written::default(), Flood::default());
        let layer = tracing_subscriber::fmt::layer().with_writer(written.clone());
        let subscriber = registry().with(layer.with_filter(flood.clone()));
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..1000 {
                tracing::error!("again and again");
                tracing::info!(target: "audit", "an order");
                tracing::debug!("looked at");
            }
            tracing::warn!("something else");
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let count = |words: &str| text.matches(words).count();
        assert_eq!((count("an order"), count("looked at")), (1000, 1000));
        assert_eq!(count("something else"), 1);
        // The second may have turned meanwhile, on a slow machine more than once.
        let seen = count("again and again");
        assert!((FROM_ONE as usize..1000).contains(&seen), "{seen}");
        assert_eq!(flood.left_out(), 1000 - seen as u64);
        assert_eq!(flood.left_out(), 0);
    }

    #[test]
    fn all_places_together_have_a_bound_too() {
        macro_rules! places {
            ($($place:literal)*) => {
                $(for _ in 0..FROM_ONE {
                    tracing::error!("from place {}", $place);
                })*
            };
        }
        let (written, flood) = (Written::default(), Flood::default());
        let layer = tracing_subscriber::fmt::layer().with_writer(written.clone());
        let subscriber = registry().with(layer.with_filter(flood.clone()));
        tracing::subscriber::with_default(subscriber, || {
            places!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31);
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let seen = text.matches("from place").count();
        // The second may have turned meanwhile, on a slow machine more than once.
        let all = 32 * FROM_ONE as usize;
        assert!((FROM_ALL as usize..all).contains(&seen), "{seen} of {all}");
        assert_eq!(flood.left_out(), (all - seen) as u64);
    }
}
