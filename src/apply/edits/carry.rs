//! One look into the outbox: what has come to rest is compared with Clerk, carried there, and settled.
//!
//! Asks, writes and keeps the order: Clerk is changed, then Convex is shown what Clerk made of it, then the
//! edit is settled. So Convex knows which of Clerk's versions has the edit before the edit stops
//! holding older ones back. What to do with an edit is said by [`super::verdict`]. A wait that is handed
//! up is never the end of an edit: it stays in the outbox until the next look.

mod apart;

use std::time::Duration;

use tokio::time::Instant;

use super::{
    Carrier, IDLE_LOOK, LOOK, NEXT_LOOK,
    calls::MAX_LOOK,
    overwrites::Sent,
    verdict::{self, Field, Verdict, judge},
    waiting::{Known, Piece, coalesce},
};
use crate::{
    clerk::{
        ClerkError, RawRecord,
        client::{ClerkWriter, ProfilePatch},
        wire::User,
    },
    convex::wire::{EditResult, Settlement},
    model::{Fault, Outcome, RecordKey, Table},
};

/// Users that are dealt with in one look; the others are next.
const MAX_ROUND: usize = 200;
/// Users that are looked at and changed at once. Clerk takes no conditions, so who changes the same field between
/// the look and the change is overwritten: no more are looked at than can be changed there and then, and
/// [`super::overwrites`] hears of the others.
const AT_ONCE: usize = 8;

/// A piece that is to be carried.
struct Load {
    piece: Piece,
    shown: RawRecord,
    patch: ProfilePatch,
    fields: Vec<Field>,
    sent: Sent,
}

/// What one look has come to so far.
#[derive(Default)]
struct Round {
    /// Clerk has these, as the record shows.
    had: Vec<(Piece, RawRecord)>,
    /// Convex has to see these records before it is decided about their edits.
    show: Vec<RawRecord>,
    /// To be carried.
    loads: Vec<Load>,
    /// Refused, with the code, and the record that the row goes back to.
    refused: Vec<(Piece, String, Option<RawRecord>)>,
    /// An end that needs another look at once.
    again: bool,
}

impl Carrier {
    /// Looks into the outbox and does what can be done. Answers when to look again.
    pub(super) async fn carry(&mut self) -> Instant {
        let now = Instant::now();
        let edits = match self.list().await {
            Ok(edits) => edits,
            Err(wait) => return now + wait,
        };
        self.is_idle = edits.is_empty();
        if edits.is_empty() {
            let next = now + self.idle;
            self.idle = (self.idle * 2).min(IDLE_LOOK);
            self.waiting.see(&[], now.into_std());
            self.note_gone(&[]);
            return next;
        }
        self.idle = LOOK;
        // Of more than one look shows, some may wait without having been seen.
        if edits.len() >= MAX_LOOK as usize {
            self.contests.forget();
        }
        let (pieces, odd) = coalesce(edits);
        self.waiting.see(&pieces, now.into_std());
        self.note_gone(&pieces);
        let odd = odd.into_iter().map(|id| refusal(id, verdict::NO_USER));
        let odd: Vec<Settlement> = odd.collect();
        let (ready, next) = self.ready(pieces, now);
        let done = self.round(ready, odd).await;
        let again = Instant::now() + NEXT_LOOK;
        match done {
            Ok(true) => again,
            Ok(false) => next.max(again),
            Err(wait) => Instant::now() + wait.max(NEXT_LOOK),
        }
    }

    /// What may be dealt with now, and when something else may be.
    fn ready(&mut self, pieces: Vec<Piece>, now: Instant) -> (Vec<Piece>, Instant) {
        let mut next = now + LOOK;
        let mut ready = Vec::new();
        let held = self.hold.wait_until(now);
        for piece in pieces {
            let rested = self.waiting.rests_at(&piece.key);
            // What Clerk took already is only looked at.
            let free = match self.waiting.known(&piece.key).carried {
                Some(_) => now.into_std(),
                None => self.pace.free_at(&piece.key, now.into_std()),
            };
            let at = Instant::from_std(rested.map_or(free, |rested| rested.max(free)));
            let at = held.map_or(at, |held| at.max(held));
            if at <= now && ready.len() < MAX_ROUND {
                ready.push(piece);
            } else {
                next = next.min(at.max(now));
            }
        }
        (ready, next)
    }

    /// True if there is a reason to look again at once. An error is how long to wait.
    async fn round(&mut self, ready: Vec<Piece>, odd: Vec<Settlement>) -> Result<bool, Duration> {
        let mut round = Round::default();
        let mut stopped = None;
        for pieces in ready.chunks(AT_ONCE) {
            if self.hold.wait_until(Instant::now()).is_some() {
                break;
            }
            // What was changed before that is told and settled all the same.
            if let Err(wait) = self.look_and_send(pieces, &mut round).await {
                stopped = Some(wait);
                break;
            }
        }
        let mut settled = odd;
        let had = std::mem::take(&mut round.had);
        let show = std::mem::take(&mut round.show);
        self.tell_all(had, show, &mut round, &mut settled).await?;
        let mut back = Vec::new();
        for (piece, code, record) in round.refused {
            tracing::info!(
                key = piece.key.as_str(),
                code,
                "a user's edit was not carried to Clerk"
            );
            settled.extend(piece.ids.into_iter().map(|id| refusal(id, &code)));
            back.extend(record);
        }
        self.settle(&settled).await?;
        // Convex has put back what it knows Clerk to hold; this is what Clerk does hold.
        if !back.is_empty() {
            self.shared.tell(back).await?;
        }
        stopped.map_or(Ok(round.again), Err)
    }

    async fn look_and_send(&mut self, pieces: &[Piece], round: &mut Round) -> Result<(), Duration> {
        let (mut shown, unknown) = self.look_up(pieces).await?;
        let gone = |piece| (piece, verdict::NO_USER.to_owned(), None);
        round.refused.extend(unknown.into_iter().map(gone));
        for piece in pieces {
            if let Some(record) = shown.remove(&piece.key) {
                self.decide(piece.clone(), record, round);
            }
        }
        self.send(round).await;
        Ok(())
    }

    fn decide(&mut self, piece: Piece, record: RawRecord, round: &mut Round) {
        let mut known = self.waiting.known(&piece.key);
        // What was written into Convex before the edit was made is what the user has changed.
        let name = RecordKey::new(Table::Users, piece.key.clone());
        let written = self.shared.seen(&name).map(|seen| seen.version);
        known.judged = known.judged.max(written);
        let parsed = User::parse(record.text());
        let verdict = match &parsed {
            Ok(user) => {
                let verdict = judge(&piece, user, known, &self.options.fields);
                match &verdict {
                    // If an answer was lost, this is how it is known that Clerk took it.
                    Verdict::Done => self.shared.overwrites().taken(&piece.key, user.updated_at),
                    Verdict::Show => self.remember_shown(&piece, user),
                    Verdict::Refuse(verdict::CHANGED) => self.note_changed(&piece, user),
                    _ => {}
                }
                verdict
            }
            // It could be listed, so this is a member that profiles need: it becomes a dead letter.
            Err(_) => Verdict::Refuse(verdict::NO_USER),
        };
        match verdict {
            Verdict::Done => round.had.push((piece, record)),
            Verdict::Show => round.show.push(record),
            Verdict::Refuse(code) => round.refused.push((piece, code.into(), Some(record))),
            Verdict::Carry(patch, fields) => {
                let Ok(user) = parsed else { return };
                let now = Instant::now().into_std();
                let mut names = fields.iter().map(|field| field.name());
                if names.any(|name| self.loops.stops(&piece.key, name, now)) {
                    let code = verdict::FROZEN.to_owned();
                    return round.refused.push((piece, code, Some(record)));
                }
                let sent = sent(&piece, &user, &fields);
                round.loads.push(Load {
                    sent,
                    piece,
                    shown: record,
                    patch,
                    fields,
                });
            }
        }
    }

    /// Changes the users that were just looked at.
    async fn send(&mut self, round: &mut Round) {
        let loads = std::mem::take(&mut round.loads);
        let edges = self.shared.edges.load_full();
        let Some(writer) = edges.clerk_writer.as_ref().filter(|_| !loads.is_empty()) else {
            return;
        };
        let answers = self.send_at_once(writer, &loads).await;
        for (load, answer) in loads.into_iter().zip(answers) {
            match self.answered(&load.piece, &load.fields, answer) {
                Ok(record) => self.carried(load.piece, record, round),
                Err(Some(_)) if load.fields.len() > 1 => {
                    self.send_apart(writer, load, round).await;
                }
                Err(Some(code)) => round.refused.push((load.piece, code, Some(load.shown))),
                Err(None) => {}
            }
        }
    }

    async fn send_at_once(
        &mut self,
        writer: &ClerkWriter,
        loads: &[Load],
    ) -> Vec<Result<RawRecord, ClerkError>> {
        let now = Instant::now().into_std();
        for load in loads {
            let (key, sent) = (&load.piece.key, load.sent.clone());
            self.pace.asked(key, now);
            self.shared.overwrites().watch(key, sent, now);
        }
        let requests = loads
            .iter()
            .map(|load| writer.update_user(&load.piece.key, &load.patch));
        futures_util::future::join_all(requests).await
    }

    /// Takes note of an answer about these fields. An error is the code of a refusal; none if it has to wait.
    fn answered(
        &mut self,
        piece: &Piece,
        fields: &[Field],
        answer: Result<RawRecord, ClerkError>,
    ) -> Result<RawRecord, Option<String>> {
        let now = Instant::now().into_std();
        match answer {
            Ok(record) => {
                self.clerk_works();
                self.pace.done(&piece.key, now);
                self.shared.overwrites().taken(&piece.key, record.version());
                self.note_carried(piece, fields, None);
                for field in fields {
                    self.loops.wrote(&piece.key, field.name(), now);
                }
                return Ok(record);
            }
            Err(error) if error.fault() == Fault::Record => {
                self.clerk_works();
                self.pace.done(&piece.key, now);
                let code = error.code().to_owned();
                self.note_carried(piece, fields, Some(&code));
                return Err(Some(code));
            }
            // It was there a moment ago: the next look finds out.
            Err(ClerkError::NotFound { .. }) => self.pace.failed(&piece.key, now, None),
            Err(error) => {
                let asked = match error.fault() {
                    Fault::Service { retry_after } => retry_after,
                    _ => None,
                };
                self.pace.failed(&piece.key, now, asked);
                self.clerk_failed(&error);
            }
        }
        Err(None)
    }

    /// Clerk has all of it.
    fn carried(&mut self, piece: Piece, record: RawRecord, round: &mut Round) {
        let now = Instant::now().into_std();
        self.waiting.carried(&piece.key, record.version(), now);
        round.had.push((piece, record));
    }

    /// Shows Convex what Clerk holds now, and settles what Clerk has.
    async fn tell_all(
        &mut self,
        had: Vec<(Piece, RawRecord)>,
        show: Vec<RawRecord>,
        round: &mut Round,
        settled: &mut Vec<Settlement>,
    ) -> Result<(), Duration> {
        let versions: Vec<_> = show
            .iter()
            .map(|r| (r.key().clone(), r.version()))
            .collect();
        let records = had.iter().map(|(_, record)| record.clone());
        let outcomes = self.shared.tell(records.chain(show).collect()).await?;
        let now = Instant::now().into_std();
        for (key, version) in versions {
            self.waiting.judged(&key, version);
            round.again = true;
        }
        for (piece, record) in had {
            let known = self.waiting.known(&piece.key);
            let overtaken = outcomes.get(&piece.key) == Some(&Outcome::Stale);
            // Clerk has moved on since it took the edit, and Convex has heard of that first: look what it
            // holds now. Once only, lest a row from a wrong future keeps the edit for ever.
            let looked = known
                .judged
                .is_some_and(|judged| judged >= record.version());
            if overtaken && !looked {
                self.waiting.carried(&piece.key, record.version(), now);
                self.waiting.judged(&piece.key, record.version());
                round.again = true;
                continue;
            }
            let fresh = Known {
                judged: Some(record.version()),
                carried: None,
            };
            let user = User::parse(record.text());
            let verdict = user.map(|user| judge(&piece, &user, fresh, &self.options.fields));
            let code = match verdict {
                Ok(Verdict::Done) => {
                    let done = |id| Settlement {
                        id,
                        result: EditResult::Done,
                    };
                    settled.extend(piece.ids.into_iter().map(done));
                    continue;
                }
                Ok(Verdict::Refuse(code)) => code,
                _ => verdict::ALTERED,
            };
            round.refused.push((piece, code.to_owned(), Some(record)));
        }
        Ok(())
    }
}

/// What is about to be made of the user.
fn sent(piece: &Piece, user: &User<'_>, fields: &[Field]) -> Sent {
    let field = |field: &Field| {
        let ours = piece.fields.get(field.name()).cloned().flatten();
        (*field, field.of(user).map(str::to_owned), ours)
    };
    Sent {
        ids: piece.ids.clone(),
        said_ms: piece.edited_at,
        looked: user.updated_at,
        fields: fields.iter().map(field).collect(),
    }
}

fn refusal(id: String, code: &str) -> Settlement {
    Settlement {
        id,
        result: EditResult::Refused {
            reason: code.to_owned(),
        },
    }
}
