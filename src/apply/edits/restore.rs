//! Gives Clerk back what an edit has overwritten there although it was said later than the edit.
//!
//! [`super::overwrites`] finds it; this writes it into the operations log, with both words, and puts the later one
//! back, once per word, unless the field has been changed again since. What cannot be put back now waits in memory:
//! a restart forgets it, and the log has it all the same.

use tokio::time::Instant;

use super::{
    Carrier,
    overwrites::{Overwritten, Sent},
    verdict::Field,
};
use crate::{
    clerk::{ClerkError, client::ProfilePatch, wire::User},
    model::Fault,
};

/// Words that wait to be put back; what is found beyond that is written down only.
const MOST_WAITING: usize = 200;

impl Carrier {
    /// Writes down what was found to be overwritten, and puts back what may be put back now.
    pub(super) async fn restore(&mut self) {
        for one in self.shared.overwrites().found() {
            self.note_overwritten(&one);
            if one.at.ms() > one.said_ms && self.overwritten.len() < MOST_WAITING {
                self.overwritten.push(one);
            }
        }
        for one in std::mem::take(&mut self.overwritten) {
            let now = Instant::now();
            let free = self.pace.room_at(&one.key, now.into_std()) <= now.into_std();
            if !free || self.hold.wait_until(now).is_some() || !self.put_back(&one).await {
                self.overwritten.push(one);
            }
        }
    }

    /// Puts one word back. False if it has to wait.
    async fn put_back(&mut self, one: &Overwritten) -> bool {
        let edges = self.shared.edges.load_full();
        let Some(writer) = edges.clerk_writer.as_ref() else {
            return true;
        };
        let record = match self
            .ask(edges.clerk.users_by_id(std::slice::from_ref(&one.key)))
            .await
        {
            Ok(records) => records.into_iter().flatten().next(),
            Err(_) => return false,
        };
        // Who is gone, or cannot be read, has nothing to be given back.
        let Some(Ok(user)) = record.as_ref().map(|record| User::parse(record.text())) else {
            return true;
        };
        let now = Instant::now().into_std();
        let (mut patch, mut fields) = (ProfilePatch::default(), Vec::new());
        for (field, theirs, ours) in &one.fields {
            let stands = field.of(&user) == ours.as_deref();
            let may = self.options.fields.contains(field);
            if stands && may && !self.loops.stops(&one.key, field.name(), now) {
                field.set(&mut patch, theirs.clone());
                fields.push((*field, ours.clone(), theirs.clone()));
            }
        }
        if fields.is_empty() {
            return true;
        }
        let names: Vec<Field> = fields.iter().map(|(field, ..)| *field).collect();
        let sent = Sent {
            ids: one.ids.clone(),
            said_ms: one.at.ms(),
            looked: user.updated_at,
            fields,
        };
        self.shared.overwrites().watch(&one.key, sent, now);
        self.pace.asked(&one.key, now);
        match writer.update_user(&one.key, &patch).await {
            Ok(record) => {
                self.clerk_works();
                self.shared.overwrites().taken(&one.key, record.version());
                self.note_restored(one, &names);
                let now = Instant::now().into_std();
                for field in names {
                    self.loops.wrote(&one.key, field.name(), now);
                }
                // If Convex cannot be told now, the event about it tells it.
                let _told = self.shared.tell(vec![record]).await;
                true
            }
            // It is not wanted any more, or there is nobody.
            Err(ClerkError::NotFound { .. }) => true,
            Err(error) if error.fault() == Fault::Record => true,
            Err(error) => {
                self.clerk_failed(&error);
                false
            }
        }
    }
}
