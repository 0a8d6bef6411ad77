//! The fields of an edit one by one, after Clerk has refused them together.
//!
//! All that a user has changed waits as one edit and goes in one request, so one field that Clerk refuses would take
//! the others along. Sent alone, those it takes are carried; the edit is refused, for what was, and its row shows
//! what Clerk holds. Knows nothing of Convex.

use tokio::time::Instant;

use super::{Load, Round};
use crate::{
    apply::edits::{Carrier, overwrites::Sent},
    clerk::client::{ClerkWriter, ProfilePatch},
};

impl Carrier {
    /// Sends each field alone. If one of them has to wait the edit waits, and the next look finds out what is left.
    pub(super) async fn send_apart(&mut self, writer: &ClerkWriter, load: Load, round: &mut Round) {
        let Load {
            piece,
            shown: mut record,
            sent,
            ..
        } = load;
        let mut refused = None;
        for one in &sent.fields {
            let (field, _, ours) = one;
            let mut patch = ProfilePatch::default();
            field.set(&mut patch, ours.clone());
            let sent = Sent {
                fields: vec![one.clone()],
                ..sent.clone()
            };
            let now = Instant::now().into_std();
            if self.pace.room_at(&piece.key, now) > now {
                return;
            }
            self.pace.asked(&piece.key, now);
            self.shared.overwrites().watch(&piece.key, sent, now);
            let answer = writer.update_user(&piece.key, &patch).await;
            match self.answered(&piece, &[*field], answer) {
                Ok(newer) => record = newer,
                Err(Some(code)) => refused = refused.or(Some(code)),
                Err(None) => return,
            }
        }
        match refused {
            Some(code) => round.refused.push((piece, code, Some(record))),
            None => self.carried(piece, record, round),
        }
    }
}
