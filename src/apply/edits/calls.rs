//! The questions of one look into the outbox, and its last word.
//!
//! Each goes through the circuit of its service and hands up how long to wait when that is closed or the
//! service fails. Decides about an edit only that a user whom Clerk does not know has none; and that is
//! believed only under a key that has shown somebody of this instance.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use super::{
    Carrier,
    verdict::{self},
    waiting::Piece,
};
use crate::{
    apply::KEY_AWAY,
    clerk::{ClerkError, Lookup, RawRecord, client::MAX_IDS},
    convex::wire::{Edit, EditResult, Settlement},
    model::{Fault, Key},
};

/// Edits in one look.
pub(super) const MAX_LOOK: u32 = 1000;
/// How long to leave the outbox alone when its functions do not work.
const BROKEN_HOLD: Duration = Duration::from_secs(60);

/// Pieces of users that do not exist.
pub(super) type Unknown = Vec<Piece>;

impl Carrier {
    /// What waits in the outbox, those that wait longest first.
    pub(super) async fn list(&self) -> Result<Vec<Edit>, Duration> {
        let ticket = self.shared.convex.admit()?;
        let edges = self.shared.edges.load_full();
        match edges.reader.edits(MAX_LOOK).await {
            Ok(edits) => {
                self.shared.convex.answered(ticket);
                Ok(edits)
            }
            Err(error) => Err(match self.shared.convex_failed(ticket, &error) {
                Some(wait) => wait,
                None => {
                    tracing::warn!(code = error.code(), "users' edits cannot be read: {error}");
                    BROKEN_HOLD
                }
            }),
        }
    }

    /// Looks up the users; who does not exist is refused, who cannot be asked about waits.
    pub(super) async fn look_up(
        &mut self,
        pieces: &[Piece],
    ) -> Result<(HashMap<Key, RawRecord>, Unknown), Duration> {
        let edges = self.shared.edges.load_full();
        let mut shown = HashMap::with_capacity(pieces.len());
        let mut unknown = Unknown::new();
        for pieces in pieces.chunks(MAX_IDS) {
            let keys: Vec<Key> = pieces.iter().map(|piece| piece.key.clone()).collect();
            let records = self.ask(edges.clerk.users_by_id(&keys)).await?;
            shown.extend(
                records
                    .into_iter()
                    .flatten()
                    .map(|record| (record.key().clone(), record)),
            );
            for piece in pieces {
                if shown.contains_key(&piece.key) {
                    continue;
                }
                // Not in a listing proves nothing: ask about the id itself.
                match self.ask(edges.clerk.get_user(&piece.key)).await? {
                    Some(Lookup::Found(record)) => drop(shown.insert(piece.key.clone(), record)),
                    // Another instance's key would call every user gone.
                    Some(Lookup::Gone(_)) if self.shared.is_proved(edges.clerk_key) => {
                        unknown.push(piece.clone());
                    }
                    _ => {
                        self.pace.asked(&piece.key, Instant::now().into_std());
                        self.pace
                            .failed(&piece.key, Instant::now().into_std(), Some(KEY_AWAY));
                    }
                }
            }
        }
        if !shown.is_empty() {
            // Somebody whom our instance's events named exists under this key: they belong together.
            self.shared.prove_key(edges.clerk_key);
        }
        Ok((shown, unknown))
    }

    /// Asks Clerk, if its circuit lets us. `None`: Clerk does not want this question.
    pub(super) async fn ask<T>(
        &self,
        question: impl Future<Output = Result<T, ClerkError>>,
    ) -> Result<Option<T>, Duration> {
        let ticket = self.shared.clerk.admit()?;
        match question.await {
            Ok(answer) => {
                self.shared.clerk.answered(ticket);
                Ok(Some(answer))
            }
            Err(error) => {
                let asked = match error.fault() {
                    Fault::Service { retry_after } => retry_after,
                    Fault::Refused | Fault::Ours => Some(KEY_AWAY),
                    Fault::Record => {
                        self.shared.clerk.answered(ticket);
                        return Ok(None);
                    }
                };
                Err(self.shared.clerk.failed(ticket, &error, asked))
            }
        }
    }

    /// Tells Convex what became of edits.
    pub(super) async fn settle(&mut self, settled: &[Settlement]) -> Result<(), Duration> {
        if settled.is_empty() {
            return Ok(());
        }
        // The turn first: what the circuit says now may be old when the turn has come.
        let _permit = self.shared.permits.acquire(true).await;
        let ticket = self.shared.convex.admit()?;
        let edges = self.shared.edges.load_full();
        for one in settled {
            if let Some(key) = self.waiting.key_of(&one.id) {
                self.contests.settled(key);
            }
        }
        match edges.writer.settle(settled).await {
            Ok(_) => {
                self.shared.convex.answered(ticket);
                self.note_settled(settled);
                for settlement in settled {
                    let result = match &settlement.result {
                        EditResult::Done => "done",
                        EditResult::Refused { reason } if reason == verdict::FROZEN => "frozen",
                        EditResult::Refused { .. } => "refused",
                    };
                    self.shared.metrics.carried.edit(result);
                }
                Ok(())
            }
            Err(error) => Err(match self.shared.convex_failed(ticket, &error) {
                Some(wait) => wait,
                None => {
                    tracing::warn!(code = error.code(), "edits cannot be settled: {error}");
                    BROKEN_HOLD
                }
            }),
        }
    }
}
