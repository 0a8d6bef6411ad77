//! What the committer does when the disk refuses, and how room is won back.
//!
//! Tells a full disk, which passes, from one that cannot be believed, which ends the journal. Entries are
//! refused while there is still room for verdicts, because verdicts are what gives segments back; and the
//! segment being written is given back too when little of it is needed, though it is not full. Promises
//! that nothing that is not final goes with it.

use tracing::{error, info, warn};

use super::super::error::AppendError;
use super::super::format;
use super::super::group::Group;
use super::super::writer::WriteError;
use super::{Carry, Committer, Health};
use crate::twin::{self, Twin};

impl Committer {
    /// Refuses entries that would take the last of the room; true if there is no more than that.
    pub(super) fn keep_room(&mut self, group: &mut Group) -> bool {
        if group.is_empty() && !self.state.no_room {
            return false;
        }
        let kept_back = self.writer.room().is_some_and(|room| room.is_kept_back())
            || (self.state.no_room && twin::broken(Twin::FullForEver));
        if kept_back {
            let reason = "what is left of the room is for emptying the journal";
            // First, so that whoever hears of the refusal can look why.
            self.without_room(reason.into());
            group.refuse_entries(&AppendError::Unwritable(reason.into()));
        }
        kept_back
    }

    /// Something to write when there is nothing, to find out whether the disk takes it.
    pub(super) fn probe(&self, out: &mut Vec<u8>) {
        /// No entry has it, so a note about it means nothing.
        const NOBODY: u64 = 0;
        if self.state.no_room && out.is_empty() {
            format::put_unpark(out, NOBODY, &self.options.keys);
        }
    }

    /// Nothing of this was written, or it cannot be known what was.
    pub(super) fn refuse(&mut self, error: WriteError, group: Group) {
        match error {
            WriteError::NoRoom(error) => {
                self.state.carry = None;
                self.without_room(error.to_string());
                group.refuse(&AppendError::Unwritable(error.to_string()));
            }
            WriteError::Broken(error) => {
                self.poison(error.to_string());
                group.refuse(&AppendError::Poisoned(error.to_string()));
            }
        }
    }

    fn without_room(&mut self, reason: String) {
        if !self.state.no_room {
            self.state.no_room = true;
            warn!(
                reason,
                "the journal cannot be written; deliveries are refused until there is room"
            );
            self.health.send_replace(Health::Unwritable(reason));
        }
    }

    pub(super) fn room_again(&mut self) {
        if self.state.no_room {
            self.state.no_room = false;
            info!("the journal can be written again");
            self.health.send_replace(Health::Writing);
        }
    }

    pub(super) fn poison(&mut self, reason: String) {
        error!(
            error = reason,
            "the disk failed under the journal; nothing more is taken in"
        );
        self.state.notes = Vec::new();
        self.state.carry = None;
        self.state.poisoned = Some(reason.clone());
        self.health.send_replace(Health::Poisoned(reason));
    }

    /// Without room, gives back what little is needed of: the rest of it is copied into a new segment,
    /// which takes no more than was kept back.
    pub(super) fn relieve(&mut self) {
        if !self.state.no_room || self.state.poisoned.is_some() {
            return;
        }
        if self.index.newest_is_wasteful() {
            let begun = self.writer.begin_next(self.next_seq);
            self.index.grow(self.writer.number(), self.writer.len());
            match begun {
                Ok(()) => info!("a segment is finished early, to give its room back"),
                Err(WriteError::NoRoom(_)) => self.start_over(),
                Err(WriteError::Broken(error)) => self.poison(error.to_string()),
            }
        }
        if self.state.carry.is_none() && self.state.poisoned.is_none() {
            self.state.carry = self.to_carry(1);
        }
    }

    /// Not even room for an empty segment: if nothing at all is needed, the one there is is emptied.
    fn start_over(&mut self) {
        if self.index.live_len() > 0 || self.index.segments_len() > 1 {
            return;
        }
        match self.writer.start_over(self.next_seq) {
            Ok(()) => {
                // All of them are about what is gone.
                self.state.notes.clear();
                self.index.grow(self.writer.number(), self.writer.len());
                info!(
                    "the journal holds nothing that is needed and was emptied, to give its room back"
                );
            }
            Err(WriteError::NoRoom(_)) => {}
            Err(WriteError::Broken(error)) => self.poison(error.to_string()),
        }
    }

    /// The oldest segment, if it is to be emptied where so many may stand.
    pub(super) fn to_carry(&self, keep: usize) -> Option<Carry> {
        let segment = self.index.worth_carrying(keep)?;
        if self.state.unreadable == Some(segment) {
            return None;
        }
        let mut seqs = self.index.live_in(segment);
        seqs.reverse();
        Some(Carry { segment, seqs })
    }
}
