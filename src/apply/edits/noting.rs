//! What was carried to Clerk, settled, written back and overruled, for the operations log.
//!
//! Decides nothing. Of what users have typed it hands on only what [`Conflict`] masks.

use std::sync::PoisonError;

use super::{
    Carrier,
    contest::{Overruled, Shown},
    overwrites::{Overwritten, Text},
    verdict::Field,
    waiting::Piece,
    write_back::Written,
};
use crate::{
    clerk::wire::User,
    convex::wire::{self, EditResult, Settlement, Winner},
    model::{Asked, Key, RecordKey, Table},
    report::oplog::note::{Conflict, Note, Place, Word},
};

fn user(key: &Key) -> RecordKey {
    RecordKey::new(Table::Users, key.clone())
}

fn asked(ids: &[String]) -> Asked {
    Asked::Edit { ids: ids.into() }
}

/// The entry of a field that both sides had changed.
fn contested(
    (key, field): (&Key, &str),
    outcome: &str,
    conflict: Conflict,
    at_ms: i64,
    asked: Asked,
) -> Note {
    let note = Note::new(at_ms, Place::Convex, asked, "edit", outcome);
    Note {
        conflicts: vec![conflict],
        ..note.about(user(key)).fields([field])
    }
}

/// The same as Convex has judged it.
pub(in crate::apply) fn note_of(one: &wire::Conflict, at_ms: i64, asked: Asked) -> Note {
    let (winner, outcome) = match one.winner {
        Winner::Clerk => (Place::Clerk, "overruled"),
        Winner::Convex => (Place::Convex, "kept"),
    };
    let clerk = Word {
        at_ms: one.version.ms(),
        value: Some(one.clerk.as_deref()),
    };
    let convex = Word {
        at_ms: one.edited_at,
        value: Some(one.convex.as_deref()),
    };
    let conflict = Conflict::of(&one.field, winner, clerk, convex);
    contested((&one.key, &one.field), outcome, conflict, at_ms, asked)
}

impl Carrier {
    /// Clerk answered a change of a profile; `code` if it refused.
    pub(super) fn note_carried(&self, piece: &Piece, fields: &[Field], code: Option<&str>) {
        let outcome = if code.is_none() { "updated" } else { "refused" };
        self.shared.note_now(|at_ms| {
            Note::new(at_ms, Place::Clerk, asked(&piece.ids), "profile", outcome)
                .about(user(&piece.key))
                .fields(fields.iter().map(|field| field.name()))
                .code(code)
        });
    }

    /// Convex was told what became of edits.
    pub(super) fn note_settled(&self, settled: &[Settlement]) {
        for one in settled {
            let (outcome, code) = match &one.result {
                EditResult::Done => ("done", None),
                EditResult::Refused { reason } => ("refused", Some(reason.as_str())),
            };
            self.shared.note_now(|at_ms| {
                let asked = asked(std::slice::from_ref(&one.id));
                let note = Note::new(at_ms, Place::Convex, asked, "outbox", outcome).code(code);
                match self.waiting.key_of(&one.id) {
                    Some(key) => note.about(user(key)),
                    None => note,
                }
            });
        }
    }

    /// Clerk answered which row a user has.
    pub(super) fn note_written_back(&self, row: &Written, outcome: &str, code: Option<&str>) {
        self.shared.note_now(|at_ms| {
            Note::new(at_ms, Place::Clerk, Asked::Daemon, "metadata", outcome)
                .about(user(&row.key))
                .fields(["privateMetadata.convexUserId", "privateMetadata.syncedAt"])
                .code(code)
        });
    }

    /// What waits now tells what was overruled since the last look; what was by then and Convex has not told of is
    /// written down.
    pub(super) fn note_gone(&mut self, pieces: &[Piece]) {
        let gone = self.contests.see(pieces);
        let overruled = std::mem::replace(&mut self.overruled, gone);
        self.note_overruled(overruled);
    }

    /// Edits that were given up because Clerk's word is newer.
    fn note_overruled(&self, overruled: Vec<Overruled>) {
        for one in overruled {
            let judged = &self.shared.judged;
            if judged
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .has(&one)
            {
                continue;
            }
            // Who was deleted took the edits along.
            let seen = self
                .shared
                .seen(&user(&one.key))
                .filter(|seen| !seen.deleted);
            let Some(seen) = seen else { continue };
            let shown = one.shown.filter(|(at, _)| *at >= seen.version);
            let clerk = Word {
                at_ms: shown.as_ref().map_or(seen.version, |(at, _)| *at).ms(),
                value: shown.as_ref().map(|(_, value)| value.as_deref()),
            };
            let convex = Word {
                at_ms: one.edited_at,
                value: Some(one.value.as_deref()),
            };
            let conflict = Conflict::of(&one.field, Place::Clerk, clerk, convex);
            let about = (&one.key, one.field.as_str());
            self.shared
                .note_now(|at_ms| contested(about, "overruled", conflict, at_ms, asked(&[])));
        }
    }

    /// What somebody had changed in Clerk was overwritten by an edit that had not seen it.
    pub(super) fn note_overwritten(&self, one: &Overwritten) {
        let winner = match one.at.ms() > one.said_ms {
            true => Place::Clerk,
            false => Place::Convex,
        };
        let conflict = |(field, theirs, ours): &(Field, Text, Text)| {
            let clerk = Word {
                at_ms: one.at.ms(),
                value: Some(theirs.as_deref()),
            };
            let convex = Word {
                at_ms: one.said_ms,
                value: Some(ours.as_deref()),
            };
            Conflict::of(field.name(), winner, clerk, convex)
        };
        let conflicts = one.fields.iter().map(conflict).collect();
        let names = one.fields.iter().map(|(field, ..)| field.name());
        self.shared.note_now(|at_ms| {
            let note = Note::new(
                at_ms,
                Place::Clerk,
                asked(&one.ids),
                "profile",
                "overwritten",
            );
            Note {
                conflicts,
                ..note.about(user(&one.key)).fields(names)
            }
        });
    }

    /// It has been put back.
    pub(super) fn note_restored(&self, one: &Overwritten, fields: &[Field]) {
        self.shared.note_now(|at_ms| {
            Note::new(at_ms, Place::Clerk, asked(&one.ids), "profile", "restored")
                .about(user(&one.key))
                .fields(fields.iter().map(|field| field.name()))
        });
    }

    /// Remembers what Clerk holds of the fields of an edit that Convex is about to decide on.
    pub(super) fn remember_shown(&mut self, piece: &Piece, clerk: &User<'_>) {
        let fields = piece.fields.keys();
        let values = fields.filter_map(|name| {
            let value = Field::parse(name)?.of(clerk).map(str::to_owned);
            Some((name.clone(), value))
        });
        let shown = Shown {
            at: clerk.updated_at,
            values: values.collect(),
        };
        self.contests.shown(&piece.key, shown);
    }

    /// An edit that Clerk took, and that was changed there since.
    pub(super) fn note_changed(&self, piece: &Piece, clerk: &User<'_>) {
        let overruled = piece.fields.iter().filter_map(|(name, value)| {
            let held = Field::parse(name)?.of(clerk).map(str::to_owned);
            Some(Overruled {
                key: piece.key.clone(),
                field: name.clone(),
                value: value.clone(),
                edited_at: piece.edited_at,
                shown: Some((clerk.updated_at, held)),
            })
        });
        let differs = |one: &Overruled| {
            one.shown
                .as_ref()
                .is_some_and(|(_, held)| *held != one.value)
        };
        self.note_overruled(overruled.filter(differs).collect());
    }
}
