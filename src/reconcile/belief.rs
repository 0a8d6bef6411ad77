//! What the census believes, shared by whoever moves it, and kept in the state between two lives of the daemon.
//!
//! Moving it takes a lock for a few instructions and touches no disk; it is written out when a scan ends. What a
//! crash loses of it costs the next census requests and nothing else: a belief says where to look and proves
//! nothing. Written in two turns, so that a crash in the middle of writing leaves the one before.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::scan::ranges::{Belief, CellError};
use crate::store::state::{State, StateError};

/// The cell that says which of the two turns counts.
const HEAD: &str = "belief";
/// The most cells of one turn: 4096 ranges at their largest make 21.
const MAX_CELLS: usize = 32;

/// A belief that is shared. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Beliefs(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    belief: Option<Belief>,
    /// True if it is not as the state has it.
    moved: bool,
}

impl Beliefs {
    /// What the state has kept. Damaged counts are said and are no belief: the census waits for the next full
    /// diff.
    pub fn load(state: &State) -> Result<Beliefs, StateError> {
        let beliefs = Beliefs::default();
        let Some(turn) = turn(state)? else {
            return Ok(beliefs);
        };
        let mut found = read(state, turn)?;
        if found.is_err() {
            found = read(state, turn.other())?;
        }
        match found {
            Ok(belief) => beliefs.held().belief = Some(belief),
            Err(error) => tracing::warn!("{error}; the census waits for the next full diff"),
        }
        Ok(beliefs)
    }

    /// How many users there should be; `None` before the first full diff.
    pub fn total(&self) -> Option<u64> {
        self.held().belief.as_ref().map(Belief::total)
    }

    /// What is believed at this moment.
    pub fn now(&self) -> Option<Belief> {
        self.held().belief.clone()
    }

    /// A row of a user was made (or adopted) in Convex. `created_at` is Clerk's, in milliseconds. Not for what a
    /// census or a full diff writes: these count what Clerk lists.
    pub fn created(&self, created_at: i64) {
        self.change(|belief| belief.created(created_at));
    }

    /// The row of a user was removed from Convex. `None` if nobody knows when the user was created, as after every
    /// delivery of a deletion: the event names the id alone, Convex's answer the row's id, and the ledger keeps what
    /// order needs (version and content) and no times of creation. Asking Convex would be a call for each deletion;
    /// what it saves is a few requests of a census that has to look anyway, and the next full diff places all.
    pub fn deleted(&self, created_at: Option<i64>) {
        self.change(|belief| belief.deleted(created_at));
    }

    /// A census has listed a range; see [`Belief::recount`].
    pub fn recount(&self, from: Option<i64>, before: Option<i64>, users: u64) {
        self.change(|belief| {
            belief.recount(from, before, users);
        });
    }

    /// Clerk counts so many users; see [`Belief::counted`].
    pub fn counted(&self, users: u64) {
        self.change(|belief| belief.counted(users));
    }

    /// A full diff has counted everybody.
    pub fn replace(&self, belief: Belief) {
        let mut held = self.held();
        held.belief = Some(belief);
        held.moved = true;
    }

    /// Writes it out if it has moved. Blocks for as long as the disk takes.
    pub fn save(&self, state: &State) -> Result<(), StateError> {
        let mut held = self.held();
        if !std::mem::take(&mut held.moved) {
            return Ok(());
        }
        let belief = held.belief.clone();
        drop(held);
        let written = belief.map_or(Ok(()), |belief| write(state, &belief));
        if written.is_err() {
            self.held().moved = true;
        }
        written
    }

    fn change(&self, change: impl FnOnce(&mut Belief)) {
        let mut held = self.held();
        if let Some(belief) = &mut held.belief {
            change(belief);
            held.moved = true;
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of two sets of cells; the one that does not count is written next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Even,
    Odd,
}

impl Turn {
    const fn other(self) -> Turn {
        match self {
            Turn::Even => Turn::Odd,
            Turn::Odd => Turn::Even,
        }
    }

    const fn byte(self) -> u8 {
        match self {
            Turn::Even => 0,
            Turn::Odd => 1,
        }
    }

    fn cell(self, at: usize) -> String {
        format!("{}{at:02}", self.prefix())
    }

    fn prefix(self) -> String {
        format!("{HEAD}/{}/", self.byte())
    }
}

/// Which turn counts; `None` if nothing was ever written.
fn turn(state: &State) -> Result<Option<Turn>, StateError> {
    Ok(match state.get_cell(HEAD)?.as_deref() {
        None => None,
        Some([1]) => Some(Turn::Odd),
        // A damaged byte only says which to try first.
        Some(_) => Some(Turn::Even),
    })
}

fn read(state: &State, turn: Turn) -> Result<Result<Belief, CellError>, StateError> {
    let cells = state.cells(&turn.prefix())?;
    let values: Vec<Vec<u8>> = cells.into_iter().map(|(_, value)| value).collect();
    Ok(Belief::from_cells(&values))
}

fn write(state: &State, belief: &Belief) -> Result<(), StateError> {
    let turn = turn(state)?.map_or(Turn::Even, Turn::other);
    let cells = belief.to_cells();
    for at in 0..MAX_CELLS.max(cells.len()) {
        let value = cells.get(at).map(Vec::as_slice);
        state.put_cell(&turn.cell(at), value)?;
    }
    state.put_cell(HEAD, Some(&[turn.byte()]))
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use tempfile::TempDir;

    use super::*;
    use crate::{reconcile::scan::ranges::Builder, store::state::Options};

    fn state() -> (State, TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::at(DateTime::UNIX_EPOCH, None);
        let opened = State::open(&dir.path().join("derived"), &options).unwrap();
        (opened.state, dir)
    }

    fn counted(users: i64) -> Belief {
        let mut builder = Builder::new(4096);
        for user in 0..users {
            builder.add(user * 1_000).unwrap();
        }
        builder.finish()
    }

    #[test]
    fn nothing_is_believed_before_somebody_has_counted() {
        let (state, _dir) = state();
        let beliefs = Beliefs::load(&state).unwrap();
        beliefs.created(5);
        beliefs.deleted(None);
        beliefs.save(&state).unwrap();
        assert_eq!(Beliefs::load(&state).unwrap().total(), None);
    }

    #[test]
    fn what_was_saved_is_there_again_and_each_move_counts() {
        let (state, _dir) = state();
        let beliefs = Beliefs::default();
        beliefs.replace(counted(20_000));
        beliefs.save(&state).unwrap();
        assert_eq!(Beliefs::load(&state).unwrap().now(), Some(counted(20_000)));
        beliefs.created(7_500);
        beliefs.deleted(Some(3_000));
        beliefs.deleted(None);
        assert_eq!(
            Beliefs::load(&state).unwrap().total(),
            Some(20_000),
            "not saved yet"
        );
        beliefs.save(&state).unwrap();
        let again = Beliefs::load(&state).unwrap();
        assert_eq!(again.now(), beliefs.now());
        assert_eq!(again.total(), Some(19_999));
        // A smaller one leaves no cell of a larger one behind, in neither turn.
        for users in [3, 2, 1] {
            beliefs.replace(counted(users));
            beliefs.save(&state).unwrap();
            let again = Beliefs::load(&state).unwrap().total();
            assert_eq!(again, Some(users.unsigned_abs()));
        }
    }

    #[test]
    fn a_write_that_was_cut_off_or_a_damaged_cell_leaves_the_one_before() {
        let (state, _dir) = state();
        let beliefs = Beliefs::default();
        for users in [10, 11] {
            beliefs.replace(counted(users));
            beliefs.save(&state).unwrap();
        }
        let spoil = |turn: Turn| {
            let mut cell = state.get_cell(&turn.cell(0)).unwrap().unwrap();
            *cell.last_mut().unwrap() ^= 1;
            state.put_cell(&turn.cell(0), Some(&cell)).unwrap();
        };
        spoil(Turn::Odd);
        assert_eq!(Beliefs::load(&state).unwrap().total(), Some(10));
        spoil(Turn::Even);
        assert_eq!(Beliefs::load(&state).unwrap().total(), None, "no guess");
    }
}
