//! Signed deliveries of an unexpected shape: kept for a person, and the record that they name is asked for.
//!
//! Only their bodies tell whose they are and what is wrong with them, and a body has to be read from the disk: that
//! is done elsewhere, some at a time, so that a disk that does not answer holds up nobody who asks the applier.
//! What was not read when the process ends is read by the next one.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use super::{Applier, endings::settle, workers::Message};
use crate::{
    apply::{Shared, ending::Final, instance::Belonging},
    clerk::{
        shape::ShapeError,
        wire::{Head, Rough},
    },
    model::RecordKey,
    store::journal::{Meta, Position, ReadError, Related, RequestOrigin},
};

/// Bodies that are read at once, each of 1 MiB at most.
const AT_ONCE: usize = 16;

/// Those whose bodies nobody has read yet. As many as the journal lets wait.
#[derive(Default)]
pub(super) struct Malformed {
    unread: BTreeMap<u64, Meta>,
    /// True while somebody is reading.
    reading: bool,
}

/// What a body says.
pub(super) struct Said {
    seq: u64,
    instance: Option<String>,
    /// The record that it names, if it names one.
    names: Option<RecordKey>,
    /// What is wrong with it.
    reason: String,
}

impl Malformed {
    /// How many are still to be looked at.
    pub(super) fn len(&self) -> usize {
        self.unread.len()
    }

    /// When the first of them came, in milliseconds since the epoch.
    pub(super) fn oldest_received_ms(&self) -> Option<i64> {
        self.unread.values().map(|meta| meta.received_ms).min()
    }

    /// The journal moved an entry.
    pub(super) fn moved(&mut self, seq: u64, position: Position) {
        if let Some(meta) = self.unread.get_mut(&seq) {
            meta.position = position;
        }
    }

    pub(super) fn add(&mut self, meta: Meta) {
        self.unread.insert(meta.seq, meta);
    }
}

impl Applier {
    /// Lets the next ones be read, unless somebody is at it.
    pub(super) fn read_malformed(&mut self) {
        let malformed = &mut self.malformed;
        if malformed.reading || malformed.unread.is_empty() {
            return;
        }
        malformed.reading = true;
        let some = malformed.unread.values().take(AT_ONCE);
        let some: Vec<(u64, Position)> = some.map(|meta| (meta.seq, meta.position)).collect();
        let (shared, reports) = (Arc::clone(&self.shared), self.reports.clone());
        tokio::spawn(async move {
            let mut all = Vec::with_capacity(some.len());
            for (seq, position) in some {
                all.push(shared.read_malformed(seq, position).await);
            }
            // Nobody listens any more only when the process ends.
            let _ = reports.send(Message::Read(all));
        });
    }

    /// They were read.
    pub(super) fn heard(&mut self, all: Vec<Said>) {
        self.malformed.reading = false;
        for said in all {
            if let Some(meta) = self.malformed.unread.remove(&said.seq) {
                self.judge_malformed(meta, said);
            }
        }
    }

    fn judge_malformed(&mut self, meta: Meta, said: Said) {
        let now_ms = self.shared.clock.now_ms();
        let belongs = self.shared.judge_instance(said.instance.as_deref());
        if belongs == Belonging::Foreign {
            self.shared
                .journal
                .settle([settle(meta.seq, Final::Foreign)]);
            return self.foreign(now_ms);
        }
        let names = said.names.filter(|_| belongs == Belonging::Ours);
        let mut reason = said.reason;
        if let Some(record) = &names {
            reason += &format!("; {record}, which it names, is asked for");
        }
        self.park(meta, 1, "malformed", reason, now_ms);
        if let Some(record) = names {
            self.request(record, RequestOrigin::Malformed, Related::default());
        }
    }
}

impl Shared {
    async fn read_malformed(&self, seq: u64, position: Position) -> Said {
        let unreadable = |reason| Said {
            seq,
            instance: None,
            names: None,
            reason,
        };
        let Ok(body) = self.read_aside(seq, position).await else {
            return unreadable("it cannot be read".to_owned());
        };
        let instance = Rough::parse(&body).instance().map(str::to_owned);
        let error = Head::parse(&body).err();
        let names = match &error {
            Some(ShapeError::Malformed { names, .. }) => names.clone(),
            _ => None,
        };
        let reason = error.map(|error| error.to_string());
        Said {
            instance,
            names,
            ..unreadable(reason.unwrap_or_else(|| "it cannot be read".to_owned()))
        }
    }

    /// The body of an entry that lay there, read where a slow disk holds up nobody.
    pub(in crate::apply) async fn read_aside(
        &self,
        seq: u64,
        position: Position,
    ) -> Result<Bytes, ReadError> {
        let read = async |position| {
            let journal = self.journal.clone();
            let read = move || journal.read(position).map(|entry| entry.content.body);
            let read = tokio::task::spawn_blocking(read).await;
            read.unwrap_or_else(|error| Err(ReadError::Io(std::io::Error::other(error))))
        };
        match read(position).await {
            Ok(body) => Ok(body),
            // It may lie elsewhere since.
            Err(error) => match self.journal.locate(seq).await {
                Some(other) if other != position => read(other).await,
                _ => Err(error),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::{
        apply::tests::{Bench, event},
        store::journal::NewEntry,
    };

    fn nameless() -> NewEntry {
        NewEntry {
            record: None,
            ..event("user_1", 1)
        }
    }

    /// With one thread: whoever waits for the disk on it has everybody wait.
    #[tokio::test]
    async fn a_disk_that_does_not_answer_holds_up_nobody_who_asks_the_applier() {
        let mut bench = Bench::start().await;
        bench.store(nameless()).await;
        let pipe = bench.hang_disk();
        let applier = bench.applying();
        let handle = &applier.handle;
        // It is counted before anybody has looked at it, and nobody could yet.
        for _ in 0..20 {
            let status = handle.status().await.expect("an answer");
            assert_eq!((status.depth, status.dead_letters), (1, 0));
            assert!(status.oldest_received_ms.is_some());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let writes = pipe.answer();
        while handle.status().await.expect("an answer").dead_letters == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(handle.status().await.expect("an answer").depth, 0);
        let (letters, _) = handle.failures(None, 10).await.expect("an answer");
        assert_eq!(&*letters[0].parked.code, "malformed");
        drop(writes);
        applier.end().await;
    }
}
