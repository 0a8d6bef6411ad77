//! Fields that both sides had changed, as Convex has judged them: what of it the operations log has already.
//!
//! Pure. Convex tells of a conflict in the answer of the call that decides it, and again when the same change is
//! sent again; and the carrier sees from its own side that an edit is gone. Each is to be written down once.
//! Remembers the last [`Judged::MOST`]; what is forgotten may be written down twice.

use std::collections::VecDeque;

use super::contest::Overruled;
use crate::convex::wire::{Conflict, Winner};

/// See the module's words.
#[derive(Default)]
pub struct Judged(VecDeque<Conflict>);

impl Judged {
    /// Conflicts remembered; some 200 bytes each.
    pub const MOST: usize = 1_000;

    /// Takes note of a conflict; false if that was done before.
    pub fn note(&mut self, conflict: &Conflict) -> bool {
        if self.0.contains(conflict) {
            return false;
        }
        if self.0.len() >= Self::MOST {
            self.0.pop_front();
        }
        self.0.push_back(conflict.clone());
        true
    }

    /// Whether Convex has told that this edit was overruled.
    pub fn has(&self, overruled: &Overruled) -> bool {
        // The edit as a whole may be later than this field of it.
        let is = |one: &Conflict| {
            one.winner == Winner::Clerk
                && one.key == overruled.key
                && one.field == overruled.field
                && one.convex == overruled.value
                && one.edited_at <= overruled.edited_at
        };
        self.0.iter().any(is)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Key, Version};

    fn conflict(n: usize, winner: Winner) -> Conflict {
        Conflict {
            key: Key::parse(&format!("user_{n}")).unwrap(),
            field: "firstName".into(),
            winner,
            clerk: Some("Clerk's".into()),
            version: Version(20),
            convex: Some("typed".into()),
            edited_at: 10,
        }
    }

    fn overruled(n: usize, value: &str, edited_at: i64) -> Overruled {
        Overruled {
            key: Key::parse(&format!("user_{n}")).unwrap(),
            field: "firstName".into(),
            value: Some(value.into()),
            edited_at,
            shown: None,
        }
    }

    #[test]
    fn each_conflict_is_news_once_and_the_carrier_knows_which_were_told() {
        let mut judged = Judged::default();
        assert!(judged.note(&conflict(1, Winner::Clerk)));
        assert!(!judged.note(&conflict(1, Winner::Clerk)));
        assert!(judged.note(&conflict(2, Winner::Convex)));
        assert!(judged.has(&overruled(1, "typed", 10)));
        assert!(judged.has(&overruled(1, "typed", 12)));
        for other in [
            overruled(1, "typed", 9),
            overruled(1, "another", 10),
            overruled(2, "typed", 10),
            overruled(3, "typed", 10),
        ] {
            assert!(!judged.has(&other), "{}", other.key);
        }
    }

    #[test]
    fn it_remembers_so_many() {
        let mut judged = Judged::default();
        for n in 0..2 * Judged::MOST {
            assert!(judged.note(&conflict(n, Winner::Clerk)));
        }
        assert_eq!(judged.0.len(), Judged::MOST);
        assert!(!judged.has(&overruled(0, "typed", 10)));
    }
}
