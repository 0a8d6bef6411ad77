//! The journal as its users see it, on real files and on a disk that misbehaves.
//!
//! What the groups of cases share: entries to store, and short words for opening and storing.

mod damage;
mod encrypted;
mod faulty;
mod faulty_disk;
mod filled;
mod life;
mod model;
mod relief;
mod trim;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use self::faulty_disk::FaultyDisk;
use super::*;
use crate::model::{DeliveryId, Key, RecordKey, Table, Version};

/// A delivery about a user.
pub fn delivery(id: &str, user: &str, body: &[u8]) -> NewEntry {
    NewEntry {
        received_ms: 1_700_000_000_123,
        cause: Cause::Delivery {
            id: DeliveryId::parse(id).unwrap(),
            event_type: "user.updated".into(),
        },
        record: Some(RecordKey::new(Table::Users, Key::parse(user).unwrap())),
        version: Version(1_700_000_000_000),
        deleted: false,
        fingerprint: 0xfeed,
        related: Related::default(),
        body: Bytes::copy_from_slice(body),
    }
}

/// A wish to fetch a user.
pub fn request(user: &str) -> NewEntry {
    NewEntry {
        cause: Cause::Request {
            origin: RequestOrigin::Repair,
        },
        ..delivery("unused", user, b"")
    }
}

fn settled(seq: u64) -> Settled {
    Settled {
        seq,
        state: 1,
        reason: None,
    }
}

/// A dead letter.
pub fn parked(seq: u64) -> Parked {
    Parked {
        seq,
        attempts: 3,
        code: "rejected".into(),
        reason: "refused by the mutation".into(),
        at_ms: 5,
    }
}

fn small() -> Options {
    Options {
        segment_bytes: 4096,
        ..Options::default()
    }
}

fn open(dir: &Path) -> Opened {
    Journal::open(dir, Options::default()).unwrap()
}

fn open_faulty(disk: &FaultyDisk, dir: &Path, options: Options) -> Opened {
    Journal::open_on(Arc::new(disk.clone()), dir, options).unwrap()
}

/// Waits for what the committer does by itself.
async fn until(what: impl Fn() -> bool) {
    let there = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), there)
        .await
        .expect("it happens within moments");
}

/// The numbers of what waits.
fn pending(recovered: &Recovered) -> Vec<u64> {
    recovered.pending.iter().map(|meta| meta.seq).collect()
}

/// Stores, and gives the number.
async fn store(journal: &Journal, entry: NewEntry) -> u64 {
    match journal.append(entry).await.unwrap() {
        Appended::Stored { seq } => seq,
        known => panic!("{known:?}"),
    }
}
