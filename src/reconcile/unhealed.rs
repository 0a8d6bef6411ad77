//! What only a comparison of everything puts right: alerts about it, and the doubt whether what is remembered is so.
//!
//! Damage to the disk is found once, at a start; what it has cost is known when both sides were compared. Until then
//! alerts outlast a restart, and no scan deletes by itself: deletions become a plan that waits for a person, or for
//! the next full diff. Signed events that say "deleted" are not concerned. Kept as small cells beside what they are
//! about, so that nothing of it outlives an emptied state. Reads no clock: one that was wrong settles no doubt.

use super::cursor::Cursors;
use crate::{
    report::{RunKind, alert::Alerts},
    store::state::{MAX_VALUE_BYTES, State, StateError},
};

/// Raised at a start, and over when everything was compared.
const CODES: [&str; 4] = [
    "journal_damaged",
    "journal_lost",
    "state_damaged",
    "state_rebuilt",
];
/// What the names of the cells begin with.
const CELL: &str = "alerts/";
/// The cell that is there while there is doubt.
const DOUBT: &str = "doubt";

/// Keeps those that are raised now, so that the next process knows of them.
///
/// # Errors
/// A state that does not answer.
pub fn keep(state: &State, alerts: &Alerts) -> Result<(), StateError> {
    for alert in alerts.raised() {
        let words = alert.message.as_bytes();
        if CODES.contains(&alert.code) && words.len() <= MAX_VALUE_BYTES {
            state.put_cell(&cell_of(alert.code), Some(words))?;
        }
    }
    Ok(())
}

/// From now on, until everything was compared, what is remembered may be wrong: a part of it was lost or damaged.
/// What a run that was cut off has compared before that does not count. Outlives a power cut.
///
/// # Errors
/// The state refused: nobody would know of the doubt.
pub fn doubt(state: &State) -> Result<(), StateError> {
    state.put_cell(DOUBT, Some(&[1]))?;
    for kind in [RunKind::Audit, RunKind::Reconcile] {
        Cursors::of(state.clone(), kind).clear()?;
    }
    state.sync()
}

/// True while what is remembered may be wrong. A state that does not answer is no proof of the contrary.
pub fn is_in_doubt(state: &State) -> bool {
    !matches!(state.get_cell(DOUBT), Ok(None))
}

/// Raises again what an earlier process has kept.
///
/// # Errors
/// A state that does not answer.
pub fn raise_again(state: &State, alerts: &Alerts, now_ms: i64) -> Result<(), StateError> {
    for code in CODES {
        if let Some(words) = state.get_cell(&cell_of(code))?
            && !alerts.is_raised(code)
        {
            alerts.raise(code, String::from_utf8_lossy(&words), now_ms);
        }
    }
    Ok(())
}

/// Everything was compared: nothing of it is unknown any more.
pub fn healed(state: &State, alerts: &Alerts) {
    for code in CODES {
        alerts.clear(code);
        if let Err(error) = empty(state, &cell_of(code)) {
            tracing::warn!(
                alert = code,
                "it will be raised again at the next start: {error}"
            );
        }
    }
    if let Err(error) = empty(state, DOUBT) {
        tracing::warn!("scans go on deleting nothing by themselves: {error}");
    }
}

fn empty(state: &State, cell: &str) -> Result<(), StateError> {
    match state.get_cell(cell) {
        Ok(None) => Ok(()),
        _ => state.put_cell(cell, None),
    }
}

fn cell_of(code: &str) -> String {
    format!("{CELL}{code}")
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::{
        reconcile::{
            cursor::{Held, RangeCursor, RunCursor},
            full::group::Group,
        },
        store::{crypt::Keyring, state::Options},
    };

    #[test]
    fn what_was_found_at_a_start_is_told_by_the_next_one_too_until_everything_was_compared() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::at(DateTime::UNIX_EPOCH, None);
        let state = State::open(&dir.path().join("derived"), &options)
            .unwrap()
            .state;
        let first = Alerts::default();
        first.raise("journal_damaged", "in 2 places", 1);
        first.raise("convex_away", "for now", 1);
        keep(&state, &first).unwrap();

        let second = Alerts::default();
        second.raise("state_rebuilt", "found now", 2);
        keep(&state, &second).unwrap();
        raise_again(&state, &second, 3).unwrap();
        let codes = |alerts: &Alerts| {
            let raised = alerts.raised().into_iter();
            raised
                .map(|alert| (alert.code, alert.message, alert.count))
                .collect::<Vec<_>>()
        };
        let both = [
            ("journal_damaged", "in 2 places".to_owned(), 1),
            ("state_rebuilt", "found now".to_owned(), 1),
        ];
        assert_eq!(codes(&second), both);

        healed(&state, &second);
        assert!(second.raised().is_empty());
        raise_again(&state, &second, 4).unwrap();
        assert!(second.raised().is_empty());
    }

    #[test]
    fn there_is_doubt_until_everything_was_compared_whatever_the_clock_says() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            keys: Keyring::new(&[[1; 32]]),
            ..Options::at(DateTime::UNIX_EPOCH, None)
        };
        let state = State::open(&dir.path().join("derived"), &options)
            .unwrap()
            .state;
        assert!(!is_in_doubt(&state), "nothing was lost");
        for _ in 0..2 {
            doubt(&state).unwrap();
            assert!(is_in_doubt(&state));
            healed(&state, &Alerts::default());
            assert!(!is_in_doubt(&state));
        }
        state.spoil_cell(DOUBT);
        assert!(is_in_doubt(&state), "nobody can say that there is none");
        healed(&state, &Alerts::default());
        assert!(!is_in_doubt(&state));
    }

    #[test]
    fn what_was_compared_before_the_doubt_began_does_not_end_it() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::at(DateTime::UNIX_EPOCH, None);
        let state = State::open(dir.path(), &options).unwrap().state;
        let cursors = Cursors::of(state.clone(), RunKind::Reconcile);
        let mut run = RunCursor::begin("run".into(), 1, Group::Users, "wish".into(), None);
        run.ranges = 1;
        cursors
            .save(&run, &[RangeCursor::begin(None, Some(5))])
            .unwrap();
        assert!(matches!(cursors.load().unwrap(), Held::Cut(..)));
        doubt(&state).unwrap();
        assert!(matches!(cursors.load().unwrap(), Held::Nothing));
    }
}
