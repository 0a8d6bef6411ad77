//! The threads that connections are served on, each with those that it was given.
//!
//! A connection stays with its thread, which sleeps at one place for all that it has: nobody is woken for what another
//! thread can do, and while many talk at once nothing is handed from one processor to the other. No request may want
//! a processor for long: whoever shares the thread waits for it.

use std::{io, iter, sync::Arc, thread};

use tokio::runtime::{Builder, Handle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Where connections are served. Clones share it.
#[derive(Clone)]
pub struct Crew {
    first: Member,
    others: Arc<[Member]>,
    over: CancellationToken,
}

#[derive(Clone)]
struct Member {
    runtime: Handle,
    connections: TaskTracker,
}

impl Crew {
    /// The caller's own runtime.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn here() -> Crew {
        Crew {
            first: Member::of(Handle::current()),
            others: Arc::default(),
            over: CancellationToken::new(),
        }
    }

    /// So many threads of this name, at least one, which live until [`Crew::end`].
    ///
    /// # Errors
    /// The system allows no more threads or files.
    pub fn start(name: &str, threads: usize) -> io::Result<Crew> {
        let over = CancellationToken::new();
        // Those that have started end if one cannot.
        let all_or_none = over.clone().drop_guard();
        let first = Member::start(name, &over)?;
        let others = (1..threads)
            .map(|_| Member::start(name, &over))
            .collect::<io::Result<_>>()?;
        all_or_none.disarm();
        Ok(Crew {
            first,
            others,
            over,
        })
    }

    /// For what there is only once.
    pub fn first(&self) -> &Handle {
        &self.first.runtime
    }

    /// Ends the threads where they stand, with what they have in hand. Does not wait for it.
    pub fn end(&self) {
        self.over.cancel();
    }

    /// Serves a connection where there are the fewest.
    pub(super) fn serve(&self, connection: impl Future<Output = ()> + Send + 'static) {
        let fewest = self.members().min_by_key(|member| member.connections.len());
        let member = fewest.unwrap_or(&self.first);
        member.connections.spawn_on(connection, &member.runtime);
    }

    /// Waits until no connection is left.
    pub(super) async fn drained(&self) {
        for member in self.members() {
            member.connections.close();
            member.connections.wait().await;
        }
    }

    fn members(&self) -> impl Iterator<Item = &Member> {
        iter::once(&self.first).chain(self.others.iter())
    }
}

impl Member {
    fn of(runtime: Handle) -> Member {
        Member {
            runtime,
            connections: TaskTracker::new(),
        }
    }

    fn start(name: &str, over: &CancellationToken) -> io::Result<Member> {
        let runtime = Builder::new_current_thread()
            .max_blocking_threads(1)
            .enable_all()
            .build()?;
        let member = Member::of(runtime.handle().clone());
        let over = over.clone();
        thread::Builder::new().name(name.into()).spawn(move || {
            runtime.block_on(over.cancelled());
            runtime.shutdown_background();
        })?;
        Ok(member)
    }
}
