//! The workers: read and judge leases, ask Clerk, write to Convex, report.

use std::{future::Future, panic::AssertUnwindSafe, sync::Arc};

use futures_util::FutureExt;

use super::{Applier, malformed::Said, parents::Looked};
use crate::{
    apply::{
        Lease, Shared,
        book::Worker,
        call::Done,
        ending::{Ending, Final, refused},
        work::Work,
    },
    model::RecordKey,
};

/// Records that one of those asks about who ask Clerk.
pub(super) const FETCH_RECORDS: usize = 100;

/// What a worker brings back.
#[derive(Default)]
pub(super) struct Report {
    /// Every lease that it was given, and when what its event says happened.
    pub(super) endings: Vec<Ended>,
    /// Records that were mentioned and are not known.
    pub(super) mentioned: Vec<RecordKey>,
}

type Ended = (Lease, Ending, Option<i64>);

/// What comes back to the applier.
pub(super) enum Message {
    /// A worker has ended.
    Worked(Worker, Report),
    /// Somebody looked for records that were mentioned.
    Looked(Looked),
    /// Somebody has read deliveries of an unexpected shape.
    Read(Vec<Said>),
    /// The verdicts that were being handed over are in the journal.
    HandedOver,
}

impl Applier {
    pub(super) fn spawn_writer(&self, leases: Vec<Lease>) {
        let shared = Arc::clone(&self.shared);
        let work = |leases: Vec<Lease>| async move {
            shared.learn_tables().await;
            let mut report = Report::default();
            let mut works = Vec::with_capacity(leases.len());
            for lease in leases {
                match shared.prepare(lease) {
                    Ok(work) => works.push(work),
                    Err(ended) => report.endings.push(shared.found_again(ended).await),
                }
            }
            if report
                .endings
                .iter()
                .any(|(_, ending, _)| matches!(ending, Ending::Final(Final::Known)))
            {
                shared.keep_ledger().await;
            }
            shared.finish(works, &mut report).await;
            report
        };
        self.spawn(Worker::Writer, leases, work);
    }

    pub(super) fn spawn_fetcher(&self, leases: Vec<Lease>) {
        let shared = Arc::clone(&self.shared);
        let work = |leases: Vec<Lease>| async move {
            shared.learn_tables().await;
            let answers = shared.fetch(leases).await;
            let mut report = Report::default();
            for ended in answers.endings {
                report.endings.push(shared.found_again(ended).await);
            }
            shared.finish(answers.works, &mut report).await;
            report
        };
        self.spawn(Worker::Fetcher, leases, work);
    }

    /// Runs a worker in a task of its own. One that panics would keep its leases for ever: they are
    /// given back as refused, so that the record at fault ends alone as a dead letter.
    fn spawn<F>(&self, worker: Worker, leases: Vec<Lease>, work: impl FnOnce(Vec<Lease>) -> F)
    where
        F: Future<Output = Report> + Send + 'static,
    {
        let kept: Vec<Lease> = leases.iter().map(Lease::duplicate).collect();
        // What a panic leaves half done is not looked at again: what is shared is behind locks that do without the
        // word of who panicked.
        let work = AssertUnwindSafe(work(leases)).catch_unwind();
        let reports = self.reports.clone();
        tokio::spawn(async move {
            let report = work.await.unwrap_or_else(|_| {
                tracing::error!("a worker panicked; its records are tried again one by one");
                let refused = || {
                    refused(
                        "internal_error",
                        "the daemon failed at it; see the log".into(),
                    )
                };
                let given_back = kept.into_iter().map(|lease| (lease, refused(), None));
                Report {
                    endings: given_back.collect(),
                    mentioned: Vec::new(),
                }
            });
            // Nobody listens any more only when the process ends.
            let _ = reports.send(Message::Worked(worker, report));
        });
    }
}

impl Shared {
    /// Writes what is to be written.
    async fn finish(&self, works: Vec<Work>, report: &mut Report) {
        if works.is_empty() {
            return;
        }
        let done = self.write(works, self.as_deliveries()).await;
        report.mentioned = self.unheard_of(&done);
        let ended = |(work, fate): Done<Work>| (work.lease, fate.into(), work.happened_ms);
        report.endings.extend(done.into_iter().map(ended));
    }

    /// Convex was not told of a newer version with the same content: only the ledger stands between
    /// that version and an older one, so it has to outlive a crash before the entry is settled.
    async fn keep_ledger(&self) {
        let state = self.state.clone();
        let kept = tokio::task::spawn_blocking(move || state.sync()).await;
        if let Ok(Err(error)) = kept {
            self.state_failed(&error);
        }
    }

    /// A lease whose entry was not where it should be: looks up where the journal has it now.
    async fn found_again(&self, ended: (Lease, Ending)) -> Ended {
        let (mut lease, mut ending) = ended;
        if let Ending::Moved = ending {
            match self.journal.locate(lease.ticket.seq).await {
                Some(position) if position != lease.ticket.position => {
                    lease.ticket.position = position;
                }
                // Its segment was taken away from under the daemon.
                Some(_) => ending = refused("entry_lost", "its journal segment is gone".into()),
                None => ending = Ending::Final(Final::Superseded),
            }
        }
        (lease, ending, None)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{super::rules, *};
    use crate::{
        apply::{
            book::{Deed, Road},
            tests::{Bench, event},
        },
        queue::order,
    };

    #[tokio::test]
    async fn a_worker_that_panics_gives_its_leases_back_and_each_is_tried_again_alone() {
        let mut bench = Bench::start().await;
        let mut applier = bench.applier().0;
        for user in ["user_1", "user_2"] {
            bench.store(event(user, 1)).await;
        }
        while applier.book.waiting.depth() < 2 {
            let notice = applier.notices.recv().await.unwrap();
            applier.hear(notice);
        }
        let road = Road {
            blocked: Duration::ZERO,
            closed: true,
        };
        let rules = rules(&applier.shared.settings.load());
        let (mut deeds, _) = applier.book.hand_out(applier.tick(), road, rules);
        let Some(Deed::Start(Worker::Writer, leases)) = deeds.pop() else {
            panic!("nobody is to write");
        };
        assert_eq!((leases.len(), applier.book.workers()), (2, 1));
        applier.spawn(Worker::Writer, leases, |leases| async move {
            panic!("on purpose, with {} leases in hand", leases.len());
        });
        let message = applier.reported.recv().await.unwrap();
        applier.take_back(message);
        assert_eq!(applier.book.workers(), 0);
        assert_eq!(applier.book.waiting.depth(), 2);
        assert_eq!(applier.book.waiting.leased(), 0, "both were given back");
        let later = order::Millis::MAX;
        let first = applier.book.waiting.lease(later, 10);
        assert_eq!(
            first.len(),
            1,
            "alone, so that the other is not pulled down again"
        );
        assert_eq!(first[0].attempts, 1);
    }
}
