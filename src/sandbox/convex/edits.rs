//! The outbox of `editProfile`: what users changed themselves and Clerk has not heard yet.
//!
//! An edit changes the row at once and waits here until the daemon settles it; meanwhile an older
//! value from Clerk does not overwrite it. Bounded by what the app puts in. Knows rows only by key
//! and column name.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::value::{Encoding, Value, write_float, write_text};

/// One edit that waits.
#[derive(Debug)]
pub(super) struct Edit {
    pub(super) key: Arc<str>,
    /// Column, what the user wrote, what stood there before.
    pub(super) fields: Vec<(Arc<str>, Value, Value)>,
    /// Milliseconds.
    pub(super) edited_at: f64,
}

/// The edits in the order they were made.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: BTreeMap<u64, Edit>,
    of_key: HashMap<Arc<str>, Vec<u64>>,
    next: u64,
}

impl Outbox {
    /// Adds an edit; its id.
    pub(super) fn add(&mut self, edit: Edit) -> String {
        self.next += 1;
        self.of_key
            .entry(Arc::clone(&edit.key))
            .or_default()
            .push(self.next);
        self.waiting.insert(self.next, edit);
        spell(self.next)
    }

    /// Whether an edit that waits keeps this column from a value of this version: one that is older
    /// than the edit, or that stood there before it (a sign-in moves a version without touching the
    /// field).
    pub(super) fn holds(&self, key: &str, column: &str, value: &Value, version: f64) -> bool {
        let Some(ids) = self.of_key.get(key) else {
            return false;
        };
        ids.iter()
            .filter_map(|id| self.waiting.get(id))
            .any(|edit| {
                edit.fields.iter().any(|(name, _, before)| {
                    **name == *column && (version < edit.edited_at || before.same(value))
                })
            })
    }

    /// Takes an edit out; false when it is not there (any more).
    pub(super) fn settle(&mut self, id: &str) -> bool {
        let number = id.strip_prefix('e').and_then(|digits| digits.parse().ok());
        let Some((number, edit)) = number.and_then(|n| Some((n, self.waiting.remove(&n)?))) else {
            return false;
        };
        if let Some(ids) = self.of_key.get_mut(&edit.key) {
            ids.retain(|other| *other != number);
            if ids.is_empty() {
                self.of_key.remove(&edit.key);
            }
        }
        true
    }

    /// Drops the edits of a deleted user.
    pub(super) fn forget(&mut self, key: &str) {
        for id in self.of_key.remove(key).unwrap_or_default() {
            self.waiting.remove(&id);
        }
    }

    /// The oldest edits as the answer of `edits`.
    pub(super) fn write(&self, out: &mut Vec<u8>, limit: usize, encoding: Encoding) {
        out.extend_from_slice(b"{\"edits\":[");
        for (index, (id, edit)) in self.waiting.iter().take(limit).enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(b"{\"id\":");
            write_text(out, &spell(*id));
            out.extend_from_slice(b",\"key\":");
            write_text(out, &edit.key);
            out.extend_from_slice(b",\"fields\":{");
            for (index, (name, value, _)) in edit.fields.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_text(out, name);
                out.push(b':');
                value.write(out, encoding);
            }
            out.extend_from_slice(b"},\"editedAt\":");
            write_float(out, edit.edited_at, encoding);
            out.push(b'}');
        }
        out.extend_from_slice(b"]}");
    }
}

fn spell(id: u64) -> String {
    format!("e{id:031}")
}
