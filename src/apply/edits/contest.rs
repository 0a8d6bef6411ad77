//! Edits that are gone from the outbox although nobody settled them: Clerk's word was newer.
//!
//! Pure. Convex decides, which knows when a field was edited and what stood there before, and tells of it in the
//! answer of the call that decides; where that answer was lost, or the package is an older one, this is how it is
//! seen all the same. Knows what the last look at the outbox showed, and is as bounded as that.

use std::collections::{BTreeMap, HashMap};

use super::waiting::Piece;
use crate::model::{Key, Version};

/// Texts by field; none where a field is cleared.
pub type Values = BTreeMap<String, Option<String>>;

/// See the module's words.
#[derive(Debug, Default)]
pub struct Contests {
    users: HashMap<Key, Contest>,
}

#[derive(Debug)]
struct Contest {
    fields: Values,
    edited_at: i64,
    shown: Option<Shown>,
}

/// What Clerk holds of the fields of an edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// In which version.
    pub at: Version,
    /// The values.
    pub values: Values,
}

/// A field of an edit that went without having been settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overruled {
    /// Whose.
    pub key: Key,
    /// Which.
    pub field: String,
    /// What the user wanted.
    pub value: Option<String>,
    /// When, in milliseconds.
    pub edited_at: i64,
    /// What Clerk showed, if it was asked.
    pub shown: Option<(Version, Option<String>)>,
}

impl Contests {
    /// Takes note of what waits now; answers what was overruled since.
    pub fn see(&mut self, pieces: &[Piece]) -> Vec<Overruled> {
        let mut before = std::mem::take(&mut self.users);
        let mut overruled = Vec::new();
        for piece in pieces {
            let was = before.remove(&piece.key);
            let shown = was.and_then(|was| {
                overruled.extend(was.gone(&piece.key, &piece.fields));
                was.shown
            });
            let contest = Contest {
                fields: piece.fields.clone(),
                edited_at: piece.edited_at,
                shown,
            };
            self.users.insert(piece.key.clone(), contest);
        }
        let nothing = Values::new();
        for (key, was) in before {
            overruled.extend(was.gone(&key, &nothing));
        }
        overruled
    }

    /// Nothing is known of what waits any more.
    pub fn forget(&mut self) {
        self.users.clear();
    }

    /// An edit is about to be settled: that it goes is our doing.
    pub fn settled(&mut self, key: &Key) {
        self.users.remove(key);
    }

    /// Clerk has shown the user of an edit.
    pub fn shown(&mut self, key: &Key, shown: Shown) {
        if let Some(contest) = self.users.get_mut(key) {
            contest.shown = Some(shown);
        }
    }
}

impl Contest {
    /// Fields that wait no more.
    fn gone(&self, key: &Key, now: &Values) -> Vec<Overruled> {
        let gone = self
            .fields
            .iter()
            .filter(|(name, _)| !now.contains_key(*name));
        let of_clerk = |name: &str| {
            let shown = self.shown.as_ref()?;
            Some((shown.at, shown.values.get(name)?.clone()))
        };
        let overruled = gone.map(|(name, value)| Overruled {
            key: key.clone(),
            field: name.clone(),
            value: value.clone(),
            edited_at: self.edited_at,
            shown: of_clerk(name),
        });
        overruled
            // Both say the same: nobody's word was lost.
            .filter(|one| {
                one.shown
                    .as_ref()
                    .is_none_or(|(_, value)| *value != one.value)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key::parse("user_1").unwrap()
    }

    fn values(fields: &[(&str, &str)]) -> Values {
        let owned = |(name, value): &(&str, &str)| ((*name).into(), Some((*value).into()));
        fields.iter().map(owned).collect()
    }

    fn piece(fields: &[(&str, &str)]) -> Piece {
        Piece {
            key: key(),
            ids: vec!["e1".into()],
            fields: values(fields),
            edited_at: 100,
        }
    }

    fn shown(fields: &[(&str, &str)]) -> Shown {
        Shown {
            at: Version(200),
            values: values(fields),
        }
    }

    #[test]
    fn what_goes_without_having_been_settled_was_overruled() {
        let mut contests = Contests::default();
        let both = [piece(&[("firstName", "A"), ("lastName", "B")])];
        assert_eq!(contests.see(&both), []);
        contests.shown(&key(), shown(&[("firstName", "C"), ("lastName", "B")]));
        let overruled = contests.see(&[piece(&[("lastName", "B")])]);
        let one = Overruled {
            key: key(),
            field: "firstName".into(),
            value: Some("A".into()),
            edited_at: 100,
            shown: Some((Version(200), Some("C".into()))),
        };
        assert_eq!(overruled, [one]);
        // The rest says what Clerk says.
        assert_eq!(contests.see(&[]), []);
    }

    #[test]
    fn what_is_settled_or_typed_anew_was_not_overruled() {
        let mut contests = Contests::default();
        contests.see(&[piece(&[("firstName", "A")])]);
        assert_eq!(contests.see(&[piece(&[("firstName", "B")])]), []);
        contests.settled(&key());
        assert_eq!(contests.see(&[]), []);
        contests.see(&[piece(&[("firstName", "A")])]);
        contests.forget();
        assert_eq!(contests.see(&[]), []);
    }
}
