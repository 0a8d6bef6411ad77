//! What waits in the outbox, one piece per user, and whether it has come to rest.
//!
//! Pure: the time is an argument. Somebody who types, or a form that saves at each key, makes many edits of
//! one field: only the last counts, and it is carried when nothing was added for a moment, or when it has
//! been held long enough. Knows only what the last look at the outbox showed, so it is as bounded as that.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use crate::{
    convex::wire::Edit,
    model::{Key, Version},
};

/// All that waits of one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Whose it is.
    pub key: Key,
    /// The edits that it is made of, to be settled together.
    pub ids: Vec<String>,
    /// The last value of each field.
    pub fields: BTreeMap<String, Option<String>>,
    /// When the last of them was made, in milliseconds.
    pub edited_at: i64,
}

/// Makes one piece of all edits of a user: of two values for a field the later counts. The order of the
/// outbox is kept. Edits whose user cannot be Clerk's come back by their ids.
pub fn coalesce(edits: Vec<Edit>) -> (Vec<Piece>, Vec<String>) {
    let mut places: HashMap<Key, usize> = HashMap::new();
    let mut pieces: Vec<Piece> = Vec::new();
    let mut odd = Vec::new();
    for edit in edits {
        let Some(key) = edit.key else {
            odd.push(edit.id);
            continue;
        };
        let place = *places.entry(key.clone()).or_insert(pieces.len());
        let Some(piece) = pieces.get_mut(place) else {
            pieces.push(Piece {
                key,
                ids: vec![edit.id],
                fields: edit.fields,
                edited_at: edit.edited_at,
            });
            continue;
        };
        piece.ids.push(edit.id);
        let later = edit.edited_at >= piece.edited_at;
        for (name, value) in edit.fields {
            if later || !piece.fields.contains_key(&name) {
                piece.fields.insert(name, value);
            }
        }
        piece.edited_at = piece.edited_at.max(edit.edited_at);
    }
    (pieces, odd)
}

/// What is remembered of the pieces that wait.
#[derive(Debug, Default)]
pub struct Waiting {
    users: HashMap<Key, Held>,
}

#[derive(Debug)]
struct Held {
    ids: Vec<String>,
    since: Instant,
    changed: Instant,
    known: Known,
}

/// What has happened to a piece already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The newest version of Clerk's record that Convex has seen, and left the edit waiting.
    pub judged: Option<Version>,
    /// The version under which Clerk took this very piece.
    pub carried: Option<Version>,
}

impl Waiting {
    /// An edit to which nothing was added for so long is carried.
    pub const QUIET: Duration = Duration::from_millis(300);
    /// One that is held for so long is carried, whatever is added.
    pub const MAX_HOLD: Duration = Duration::from_secs(10);

    /// Takes note of what waits now; forgets what does not wait any more.
    pub fn see(&mut self, pieces: &[Piece], now: Instant) {
        let mut seen = HashMap::with_capacity(pieces.len());
        for piece in pieces {
            let held = match self.users.remove(&piece.key) {
                Some(held) if held.ids == piece.ids => held,
                before => Held {
                    ids: piece.ids.clone(),
                    since: before.map_or(now, |held| held.since),
                    changed: now,
                    known: Known::default(),
                },
            };
            seen.insert(piece.key.clone(), held);
        }
        self.users = seen;
    }

    /// When the piece of this user has come to rest.
    pub fn rests_at(&self, key: &Key) -> Option<Instant> {
        let held = self.users.get(key)?;
        let long_enough = held.since + Self::MAX_HOLD;
        Some(long_enough.min(held.changed + Self::QUIET))
    }

    /// Whose piece this edit belongs to.
    pub fn key_of(&self, id: &str) -> Option<&Key> {
        let mut users = self.users.iter();
        users
            .find(|(_, held)| held.ids.iter().any(|one| one == id))
            .map(|(key, _)| key)
    }

    /// What has happened to the piece of this user.
    pub fn known(&self, key: &Key) -> Known {
        self.users
            .get(key)
            .map(|held| held.known)
            .unwrap_or_default()
    }

    /// Convex was shown Clerk's record of this version.
    pub fn judged(&mut self, key: &Key, version: Version) {
        if let Some(held) = self.users.get_mut(key) {
            held.known.judged = Some(version);
        }
    }

    /// Clerk took the piece under this version. What is added from now on begins to wait anew.
    pub fn carried(&mut self, key: &Key, version: Version, now: Instant) {
        if let Some(held) = self.users.get_mut(key) {
            held.known.carried = Some(version);
            held.since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(id: &str, key: &str, fields: &[(&str, &str)], edited_at: i64) -> Edit {
        let field = |(name, value): &(&str, &str)| ((*name).into(), Some((*value).into()));
        Edit {
            id: id.into(),
            key: Key::parse(key),
            fields: fields.iter().map(field).collect(),
            edited_at,
        }
    }

    #[test]
    fn the_last_value_of_each_field_is_what_counts() {
        let (pieces, odd) = coalesce(vec![
            edit("e1", "user_1", &[("firstName", "A"), ("lastName", "A")], 10),
            edit("e2", "user_2", &[("firstName", "X")], 11),
            edit("e3", "user_1", &[("firstName", "B")], 12),
            edit("e4", "no key", &[("firstName", "B")], 13),
            edit(
                "e5",
                "user_1",
                &[("firstName", "late"), ("username", "u")],
                9,
            ),
        ]);
        assert_eq!(odd, ["e4"]);
        let told: Vec<_> = pieces
            .iter()
            .map(|piece| (piece.key.as_str(), piece.ids.join(","), piece.edited_at))
            .collect();
        let expected = [
            ("user_1", "e1,e3,e5".into(), 12),
            ("user_2", "e2".into(), 11),
        ];
        assert_eq!(told, expected);
        let text = |name: &str| {
            pieces[0].fields[name]
                .as_deref()
                .unwrap_or_default()
                .to_owned()
        };
        assert_eq!(
            ["firstName", "lastName", "username"].map(text),
            ["B", "A", "u"]
        );
    }

    #[test]
    fn what_is_typed_is_carried_at_rest_or_after_a_while() {
        let (mut waiting, start) = (Waiting::default(), Instant::now());
        let key = Key::parse("user_1").unwrap();
        let see = |waiting: &mut Waiting, n: u64| {
            let id = format!("e{n}");
            let (pieces, _) = coalesce(vec![edit(&id, "user_1", &[("firstName", "A")], 1)]);
            waiting.see(&pieces, start + Duration::from_millis(100 * n));
        };
        for n in 0..150 {
            see(&mut waiting, n);
        }
        // Edits every 100 ms never rest, but are not held for longer than ten seconds.
        assert_eq!(waiting.rests_at(&key), Some(start + Waiting::MAX_HOLD));
        let at = start + Duration::from_millis(15_000);
        waiting.carried(&key, Version(7), at);
        assert_eq!(waiting.known(&key).carried, Some(Version(7)));
        see(&mut waiting, 151);
        assert_eq!(waiting.known(&key), Known::default());
        let quiet = start + Duration::from_millis(15_100) + Waiting::QUIET;
        assert_eq!(waiting.rests_at(&key), Some(quiet));
        waiting.judged(&key, Version(9));
        see(&mut waiting, 151);
        assert_eq!(waiting.known(&key).judged, Some(Version(9)));
        waiting.see(&[], at);
        assert_eq!(waiting.rests_at(&key), None);
    }
}
