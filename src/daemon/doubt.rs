//! Whether what this daemon remembers may be wrong, because a part of its state was lost or damaged.
//!
//! Until one full diff has passed since then, no scan deletes by itself: deletions become a plan that waits for
//! a person, or for the next full diff. Signed events that say "deleted" are not concerned.

use crate::{
    reconcile::{desk::recall, memory::Slot, reconciler::Rules},
    store::state::State,
    twin::{self, Twin},
};

/// The cell that says since when, milliseconds since the epoch.
const CELL: &str = "doubt/since";

/// From now on, until the next complete full diff. Outlives a power cut.
pub fn raise(state: &State, now_ms: i64) {
    let kept = state
        .put_cell(CELL, Some(&now_ms.to_le_bytes()))
        .and_then(|()| state.sync());
    if let Err(error) = kept {
        tracing::warn!("the doubt about the state is not remembered over a restart: {error}");
    }
}

/// These rules, without any deletion as long as there is doubt.
pub fn held_back(rules: Rules, state: &State) -> Rules {
    match stands(state) && !twin::broken(Twin::NoDoubt) {
        true => Rules {
            max_deletes: 0,
            ..rules
        },
        false => rules,
    }
}

fn stands(state: &State) -> bool {
    let cell = state.get_cell(CELL).ok().flatten();
    let Some(since) = cell.and_then(|bytes| bytes.try_into().ok()) else {
        return false;
    };
    let passed = recall(state, Slot::Full).success_ms;
    passed.is_none_or(|passed| passed < i64::from_le_bytes(since))
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::{reconcile::memory::Memory, store::state::Options};

    #[test]
    fn there_is_doubt_until_a_full_diff_has_passed_since() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::at(DateTime::UNIX_EPOCH, None);
        let state = State::open(dir.path(), &options).unwrap().state;
        let passed = |success_ms| {
            let memory = Memory {
                success_ms: Some(success_ms),
                ..Memory::default()
            };
            state.put_cell("runs/full", Some(&memory.bytes())).unwrap();
        };
        assert!(!stands(&state), "nothing was lost");
        raise(&state, 1_000);
        assert!(stands(&state), "and none has passed");
        passed(999);
        assert!(stands(&state), "it passed before");
        passed(1_000);
        assert!(!stands(&state));
        raise(&state, 2_000);
        assert!(stands(&state), "once more");
    }
}
