//! The outbox of `editProfile`: what users changed themselves and Clerk has not heard yet.
//!
//! An edit changes the row at once and waits here until the daemon settles it; meanwhile an older
//! value from Clerk does not overwrite it. One edit a user: a further one takes the place of the one
//! that waits, under a new id, so that a daemon carrying the former cannot settle both. Knows rows
//! only by key and column name.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::apply::touch;
use super::functions::FunctionError;
use super::schema::TableName;
use super::state::World;
use super::value::{Encoding, Entries, Value, write_float, write_text};

/// Former values remembered of a field.
const MAX_REPLACED: usize = 8;

/// One edit that waits.
#[derive(Debug)]
pub(super) struct Edit {
    pub(super) key: Arc<str>,
    pub(super) fields: Vec<EditedField>,
    /// Milliseconds.
    edited_at: f64,
}

/// One field of an edit.
#[derive(Debug)]
pub(super) struct EditedField {
    pub(super) name: Arc<str>,
    /// What the user wrote.
    pub(super) value: Value,
    /// What stood there before the first edit: Clerk's value.
    pub(super) base: Value,
    /// All that stood there before: what comes in with one of these is old news.
    replaced: Vec<Value>,
}

/// The edits in the order they were made.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: BTreeMap<u64, Edit>,
    of_key: HashMap<Arc<str>, u64>,
    next: u64,
}

impl Outbox {
    /// Adds an edit of fields, each with the new value and the one that stands there; its id.
    pub(super) fn add(
        &mut self,
        key: Arc<str>,
        changed: Vec<(Arc<str>, Value, Value)>,
        now: f64,
    ) -> String {
        let former = self
            .of_key
            .remove(&key)
            .and_then(|id| self.waiting.remove(&id));
        let mut fields = former.map(|edit| edit.fields).unwrap_or_default();
        for (name, value, current) in changed {
            match fields.iter_mut().find(|field| field.name == name) {
                Some(field) => {
                    field.replaced.push(current);
                    if field.replaced.len() > MAX_REPLACED {
                        field.replaced.remove(0);
                    }
                    field.value = value;
                }
                None => {
                    let replaced = vec![current.clone()];
                    fields.push(EditedField {
                        name,
                        value,
                        base: current,
                        replaced,
                    });
                }
            }
        }
        self.next += 1;
        self.of_key.insert(Arc::clone(&key), self.next);
        self.waiting.insert(
            self.next,
            Edit {
                key,
                fields,
                edited_at: now,
            },
        );
        spell(self.next)
    }

    /// Whether the edit that waits keeps this column from a value of this version: one that is older
    /// than the edit, or that stood there before it (a sign-in moves a version without touching the
    /// field).
    pub(super) fn holds(&self, key: &str, column: &str, value: &Value, version: f64) -> bool {
        let edit = self.of_key.get(key).and_then(|id| self.waiting.get(id));
        edit.is_some_and(|edit| {
            edit.fields.iter().any(|field| {
                let old = || field.replaced.iter().any(|before| before.same(value));
                *field.name == *column
                    && !field.value.same(value)
                    && (version < edit.edited_at || old())
            })
        })
    }

    /// Clerk's newer value has been written: this column of the edit is over.
    pub(super) fn release(&mut self, key: &str, column: &str) {
        let Some(id) = self.of_key.get(key).copied() else {
            return;
        };
        let Some(edit) = self.waiting.get_mut(&id) else {
            return;
        };
        edit.fields.retain(|field| *field.name != *column);
        if edit.fields.is_empty() {
            self.forget(key);
        }
    }

    /// Takes an edit out; none when it is not there (any more).
    pub(super) fn settle(&mut self, id: &str) -> Option<Edit> {
        let number = id.strip_prefix('e')?.parse().ok()?;
        let edit = self.waiting.remove(&number)?;
        self.of_key.remove(&edit.key);
        Some(edit)
    }

    /// Drops the edit of a deleted user.
    pub(super) fn forget(&mut self, key: &str) {
        if let Some(id) = self.of_key.remove(key) {
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
        let Some(column) = table.schema.synced_column(&field) else {
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
pub(super) fn put_back(world: &mut World, edit: &Edit, now: f64) {
    let name = TableName::Profiles;
    let Some(slot) = world.table(name).oldest(&edit.key) else {
        return;
    };
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
        }
    }
    touch(world, name, slot, now);
    world.wrote(name, slot);
}

fn spell(id: u64) -> String {
    format!("e{id:031}")
}
