//! One connection that is kept open, over which deliveries come one after the other, each until it is taken in.
//!
//! For many of them at once: knows no client library, and signs each delivery itself.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use clerk_convex_sync::sandbox::clerk::DEFAULT_WEBHOOK_SECRET;
use serde_json::Value;
use tokio::time::Instant;

use crate::wire::{Wire, post, signed_headers};

/// Before a refused delivery comes again. Senders wait longer than `Retry-After` says; a test does not.
const AGAIN: Duration = Duration::from_millis(50);

/// See the module's words.
pub struct Lane {
    wire: Wire,
    /// How often deliveries of this lane and of those beside it were refused.
    refused: Arc<AtomicUsize>,
}

impl Lane {
    /// Connects; what is refused is counted there while it happens.
    pub async fn to(address: SocketAddr, refused: &Arc<AtomicUsize>) -> Lane {
        Lane {
            wire: Wire::to(address).await,
            refused: Arc::clone(refused),
        }
    }

    /// Sends an event until it is taken in; how long the answer took that said so.
    pub async fn deliver(&mut self, event: &Value) -> Duration {
        let body = event.to_string().into_bytes();
        let request = post(&signed_headers(&[DEFAULT_WEBHOOK_SECRET], &body), &body);
        loop {
            let asked = Instant::now();
            self.wire.write(&request).await;
            // None within half a minute, and the end of the connection, are failures.
            let reply = self.wire.reply().await.expect("each request is answered");
            match reply.status {
                200 => return asked.elapsed(),
                503 => {
                    let wait = reply.header("retry-after").expect("a time to come again");
                    assert!(wait.parse::<u64>().is_ok_and(|wait| wait > 0), "{wait}");
                    self.refused.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(AGAIN).await;
                }
                other => panic!("{other}: {reply:?}"),
            }
        }
    }
}
