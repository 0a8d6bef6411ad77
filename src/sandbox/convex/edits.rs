//! The outbox of `editProfile`: what users changed themselves and Clerk has not heard yet.
//!
//! An edit changes the row at once and waits here until the daemon settles it; meanwhile an older
//! value from Clerk does not overwrite it, and for a while after it neither does one from before it that
//! was still under way. One waits per user: a further one takes its place under a new id, so that a daemon
//! carrying the former cannot settle both. Where both sides have changed a field, it keeps both words for the
//! answer of the call. Knows rows only by key and column name.

mod conflict;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use self::conflict::{Conflict, holds_back};
use super::functions::FunctionError;
use super::schema::TableName;
use super::state::World;
use super::value::{Encoding, Entries, Value, write_float, write_text};

/// Former values remembered of a field.
const MAX_REPLACED: usize = 8;
/// Settled edits remembered of a user.
const MAX_SETTLED: usize = 16;
/// How long after `settle` a value from before the edit is still taken for old news, in milliseconds.
const ECHO_WAIT_MS: f64 = 600_000.0;
/// The fields that `editProfile` takes where the app does not say otherwise.
const EDITABLE: [&str; 2] = ["firstName", "lastName"];

/// One edit.
#[derive(Debug)]
struct Edit {
    key: Arc<str>,
    fields: Vec<EditedField>,
    /// Milliseconds.
    edited_at: f64,
    /// When Clerk had it, in milliseconds; none while it waits.
    settled_at: Option<f64>,
}

/// One field of an edit.
#[derive(Clone, Debug)]
struct EditedField {
    name: Arc<str>,
    /// What the user wrote.
    value: Value,
    /// What Clerk was last known to hold.
    base: Value,
    /// All that stood there before: what comes in with one of these is old news.
    replaced: Vec<Value>,
    /// Clerk's version at which it was first seen to hold the value.
    carried: Option<f64>,
    /// Clerk's version whose other value was held back: who sends it again is told of the conflict again.
    contested: Option<f64>,
    /// When this field was edited last, in milliseconds: the edit may be of several times.
    at: f64,
}

impl EditedField {
    /// Whether Clerk is known to have held this before the edit, however often the user has typed since.
    fn held_before(&self, value: &Value) -> bool {
        let before = std::iter::once(&self.base).chain(&self.replaced);
        before.into_iter().any(|old| old.same(value))
    }
}

/// An edit that was settled.
#[derive(Debug)]
pub(super) struct Settled {
    key: Arc<str>,
    fields: Vec<EditedField>,
}

/// What a change from Clerk says of one column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said<'a> {
    pub(super) value: &'a Value,
    pub(super) version: f64,
    /// The row holds another value.
    pub(super) differs: bool,
    /// The row has an older version.
    pub(super) newer: bool,
}

/// The edits in the order they were made, and those that were carried lately.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: BTreeMap<u64, Edit>,
    of_key: HashMap<Arc<str>, u64>,
    carried: HashMap<Arc<str>, VecDeque<Edit>>,
    next: u64,
    /// What the call that runs has come upon.
    conflicts: Vec<Conflict>,
}

impl Outbox {
    /// Adds an edit of fields, each with the new value and the one that stands there; its id.
    pub(super) fn add(
        &mut self,
        key: Arc<str>,
        changed: Vec<(Arc<str>, Value, Value)>,
        now: f64,
    ) -> String {
        let mut former = self
            .of_key
            .remove(&key)
            .and_then(|id| self.waiting.remove(&id))
            .map(|edit| edit.fields)
            .unwrap_or_default();
        for (name, value, current) in changed {
            let place = former.iter().position(|field| field.name == name);
            let before = place.map(|place| former.remove(place));
            let latest = before.as_ref().or_else(|| self.latest_carried(&key, &name));
            let mut replaced = latest.map_or_else(Vec::new, |field| field.replaced.clone());
            remember(&mut replaced, &current);
            replaced.retain(|old| !old.same(&value));
            former.push(EditedField {
                name,
                value,
                base: before.map_or(current, |field| field.base),
                replaced,
                carried: None,
                contested: None,
                at: now,
            });
        }
        self.next += 1;
        self.of_key.insert(Arc::clone(&key), self.next);
        let edit = Edit {
            key,
            fields: former,
            edited_at: now,
            settled_at: None,
        };
        self.waiting.insert(self.next, edit);
        spell(self.next)
    }

    /// Whether the user's latest edit of this column keeps it from what Clerk says, noting what that
    /// tells about the edit: that Clerk has it by now, what Clerk held before, or that it is over.
    pub(super) fn holds(&mut self, key: &str, column: &str, said: Said<'_>, now: f64) -> bool {
        if !said.differs && !said.newer {
            return false;
        }
        let mut conflict = None;
        let (held, over) = match self.latest(key, column) {
            None => (false, false),
            Some((edited_at, _, field)) if !said.differs => {
                let echo = field.value.same(said.value) && said.version >= edited_at;
                if echo && field.carried.is_none() {
                    field.carried = Some(said.version);
                }
                (false, false)
            }
            Some((edited_at, settled_at, field)) => {
                let held = holds_back(edited_at, settled_at, field, said, now);
                let waits = settled_at.is_none();
                conflict = waits
                    .then(|| Conflict::between(key, field, said, held))
                    .flatten();
                if held && waits {
                    field.contested = conflict.as_ref().map(|_| said.version).or(field.contested);
                    field.base = said.value.clone();
                    remember(&mut field.replaced, said.value);
                }
                (held, !held)
            }
        };
        self.conflicts.extend(conflict);
        if over {
            self.release(key, column);
        }
        held
    }

    /// The latest edit of a column: when the column was edited and the edit settled, and the field.
    fn latest(&mut self, key: &str, column: &str) -> Option<(f64, Option<f64>, &mut EditedField)> {
        let waiting = self.of_key.get(key).and_then(|id| self.waiting.get_mut(id));
        let carried = self.carried.get_mut(key).into_iter().flatten().rev();
        waiting.into_iter().chain(carried).find_map(|edit| {
            let settled_at = edit.settled_at;
            let mut fields = edit.fields.iter_mut();
            let field = fields.find(|field| *field.name == *column)?;
            Some((field.at, settled_at, field))
        })
    }

    fn latest_carried(&self, key: &str, column: &str) -> Option<&EditedField> {
        let carried = self.carried.get(key).into_iter().flatten().rev();
        let mut fields = carried.flat_map(|edit| &edit.fields);
        fields.find(|field| *field.name == *column)
    }

    /// Clerk's value goes: the latest edit of this column is over.
    fn release(&mut self, key: &str, column: &str) {
        let other = |field: &EditedField| *field.name != *column;
        if let Some(id) = self.of_key.get(key).copied()
            && let Some(edit) = self.waiting.get_mut(&id)
            && !edit.fields.iter().all(other)
        {
            edit.fields.retain(other);
            if edit.fields.is_empty() {
                self.waiting.remove(&id);
                self.of_key.remove(key);
            }
            return;
        }
        let Some(carried) = self.carried.get_mut(key) else {
            return;
        };
        let latest = carried.iter_mut().rev();
        if let Some(edit) = latest
            .into_iter()
            .find(|edit| !edit.fields.iter().all(other))
        {
            edit.fields.retain(other);
        }
        carried.retain(|edit| !edit.fields.is_empty());
        if carried.is_empty() {
            self.carried.remove(key);
        }
    }

    /// How many edits wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Takes an edit out because Clerk has it or (`refused`) will not; none when it is not there (any
    /// more).
    pub(super) fn settle(&mut self, id: &str, refused: bool, now: f64) -> Option<Settled> {
        let number = id.strip_prefix('e')?.parse().ok()?;
        let mut edit = self.waiting.remove(&number)?;
        self.of_key.remove(&edit.key);
        let fields = edit.fields.clone();
        let key = Arc::clone(&edit.key);
        let carried = self.carried.entry(Arc::clone(&key)).or_default();
        let old = |edit: &Edit| now - edit.settled_at.unwrap_or(now) > ECHO_WAIT_MS;
        carried.retain(|edit| !old(edit));
        if refused {
            // What was refused hides what was carried before it.
            for edit in carried.iter_mut() {
                let hidden = |field: &EditedField| fields.iter().any(|f| f.name == field.name);
                edit.fields.retain(|field| !hidden(field));
            }
        } else {
            edit.settled_at = Some(now);
            carried.push_back(edit);
            if carried.len() > MAX_SETTLED {
                carried.pop_front();
            }
        }
        if carried.is_empty() {
            self.carried.remove(&key);
        }
        Some(Settled { key, fields })
    }

    /// Drops the edits of a deleted user.
    pub(super) fn forget(&mut self, key: &str) {
        self.carried.remove(key);
        if let Some(id) = self.of_key.remove(key) {
            self.waiting.remove(&id);
        }
    }

    /// Adds what this call has come upon to its answer, if it is anything.
    pub(super) fn write_conflicts(&mut self, out: &mut Vec<u8>) {
        conflict::write(out, &std::mem::take(&mut self.conflicts));
    }

    /// The oldest edits as the answer of `edits`.
    pub(super) fn write(&self, out: &mut Vec<u8>, limit: usize, encoding: Encoding) {
        out.extend_from_slice(b"{\"edits\":[");
        for (index, (id, edit)) in self.waiting.iter().take(limit).enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(b"{\"editedAt\":");
            write_float(out, edit.edited_at, encoding);
            out.extend_from_slice(b",\"fields\":{");
            for (index, field) in edit.fields.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_text(out, &field.name);
                out.push(b':');
                field.value.write(out, encoding);
            }
            out.extend_from_slice(b"},\"id\":");
            write_text(out, &spell(*id));
            out.extend_from_slice(b",\"key\":");
            write_text(out, &edit.key);
            out.push(b'}');
        }
        out.extend_from_slice(b"]}");
    }
}

/// A user's own change of profile fields: the row changes at once, the edit waits in the outbox. Its
/// id; none when nothing changes.
pub(super) fn edit_profile(
    world: &mut World,
    key: &str,
    fields: Entries<'_>,
    now: f64,
) -> Result<Option<String>, FunctionError> {
    let name = TableName::Profiles;
    let table = world.table(name);
    let standing = |slot: &u32| table.row(*slot).is_some_and(|row| row.deleted.is_none());
    let Some(slot) = table.oldest(key).filter(standing) else {
        return Err(FunctionError::structured("no_profile", Some(key)));
    };
    let mut changed = Vec::new();
    for (field, value) in fields.0 {
        let column = table.schema.synced_column(&field);
        let Some(column) = column.filter(|_| EDITABLE.contains(&&*field)) else {
            return Err(FunctionError::structured("unknown_field", Some(key)));
        };
        if !matches!(value, Value::Null | Value::Text(_)) {
            return Err(FunctionError::structured("invalid_field", Some(key)));
        }
        let before = table
            .row(slot)
            .map(|row| row.columns[column].clone())
            .unwrap_or_default();
        if !before.same(&value) {
            changed.push((column, value, before));
        }
    }
    if changed.is_empty() {
        return Ok(None);
    }
    let mut fields = Vec::with_capacity(changed.len());
    for (column, value, before) in changed {
        world.set_column(name, slot, column, value.clone());
        let field = Arc::clone(&world.table(name).schema.columns[column]);
        fields.push((field, value, before));
    }
    let updated_at = world.table(name).schema.updated_at();
    world.set_column(name, slot, updated_at, Value::Float(now));
    Ok(Some(world.outbox.add(Arc::from(key), fields, now)))
}

/// Clerk has refused the edit: the row shows again what Clerk holds, unless something newer stands
/// there.
pub(super) fn put_back(world: &mut World, edit: &Settled, now: f64) {
    let name = TableName::Profiles;
    let Some(slot) = world.table(name).oldest(&edit.key) else {
        return;
    };
    let mut changed = false;
    for field in &edit.fields {
        let table = world.table(name);
        let Some(column) = table.schema.synced_column(&field.name) else {
            continue;
        };
        if table
            .row(slot)
            .is_some_and(|row| row.columns[column].same(&field.value))
        {
            world.set_column(name, slot, column, field.base.clone());
            changed = true;
        }
    }
    if changed {
        let updated_at = world.table(name).schema.updated_at();
        world.set_column(name, slot, updated_at, Value::Float(now));
        world.wrote(name, slot);
    }
}

/// Adds a former value, each once, the last ones of too many.
fn remember(replaced: &mut Vec<Value>, value: &Value) {
    if !replaced.iter().any(|old| old.same(value)) {
        replaced.push(value.clone());
    }
    if replaced.len() > MAX_REPLACED {
        replaced.remove(0);
    }
}

fn spell(id: u64) -> String {
    format!("e{id:031}")
}
