//! The simulated deployment's documents and their indexes.
//!
//! Four tables in memory. Each row is found by its key and by (`createdAt`, key), users also by
//! address, memberships by both their ends. This file keeps rows and indexes equal and knows nothing
//! of versions, tombstone rules or JSON. Everything runs under one lock, so a call is a transaction;
//! nothing here can fail, so a transaction that began ends.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use super::commits::CommitLog;
use super::edits::Outbox;
use super::index::{Multi, OrderKey, sortable};
use super::schema::{EMAIL, MEMBER_ORGANIZATION, MEMBER_USER, Schema, TableName};
use super::value::Value;

/// One document.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// Order of creation over all tables; part of the id.
    pub(super) seq: u64,
    /// `_creationTime`, milliseconds.
    pub(super) creation: f64,
    /// `clerkId`; none on the app's own rows.
    pub(super) key: Option<Arc<str>>,
    /// `clerkCreatedAt`.
    pub(super) created: Option<f64>,
    /// `clerkUpdatedAt`.
    pub(super) version: Option<f64>,
    /// `deletedAt` of a soft-deleted row.
    pub(super) deleted: Option<f64>,
    /// By position in [`Schema::columns`].
    pub(super) columns: Box<[Value]>,
    /// What the app keeps beside: names the schema does not list.
    pub(super) app: Vec<(Arc<str>, Value)>,
    /// The user's metadata names its organization, so memberships do not.
    pub(super) organization_given: bool,
}

/// That a key was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tombstone {
    Soft,
    /// Also refuses the rows that hang on the key.
    Hard,
}

/// One table: rows by slot, and the indexes every table has.
#[derive(Debug)]
pub(super) struct TableState {
    pub(super) schema: Schema,
    slots: Vec<Option<Box<Row>>>,
    free: Vec<u32>,
    pub(super) by_key: Multi<Arc<str>>,
    pub(super) order: BTreeSet<OrderKey>,
    pub(super) tombstones: HashMap<Arc<str>, Tombstone>,
}

/// The whole deployment.
#[derive(Debug)]
pub(super) struct World {
    tables: [TableState; 4],
    next_seq: u64,
    /// Users by the hash of their address: half the memory of a copy of each.
    emails: Multi<u64>,
    hasher: RandomState,
    pub(super) members_of_user: Multi<Arc<str>>,
    pub(super) members_of_organization: Multi<Arc<str>>,
    pub(super) outbox: Outbox,
    pub(super) commits: CommitLog,
    /// The app's files.
    pub(super) files: Vec<File>,
    /// The app's own field names, each kept once.
    names: HashSet<Arc<str>>,
}

/// A row of the app's table of files.
#[derive(Clone, Debug)]
pub(super) struct File {
    /// The `_id` of the user it belongs to.
    pub(super) owner: Option<String>,
    pub(super) document: serde_json::Value,
}

impl World {
    pub(super) fn new(schemas: [Schema; 4]) -> Self {
        World {
            tables: schemas.map(|schema| TableState {
                schema,
                slots: Vec::new(),
                free: Vec::new(),
                by_key: Multi::default(),
                order: BTreeSet::new(),
                tombstones: HashMap::new(),
            }),
            next_seq: 1,
            emails: Multi::default(),
            hasher: RandomState::new(),
            members_of_user: Multi::default(),
            members_of_organization: Multi::default(),
            outbox: Outbox::default(),
            commits: CommitLog::default(),
            files: Vec::new(),
            names: HashSet::new(),
        }
    }

    pub(super) fn table(&self, name: TableName) -> &TableState {
        &self.tables[name as usize]
    }

    pub(super) fn table_mut(&mut self, name: TableName) -> &mut TableState {
        &mut self.tables[name as usize]
    }

    /// The one copy of a field name.
    pub(super) fn name(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return Arc::clone(known);
        }
        let new: Arc<str> = Arc::from(name);
        self.names.insert(Arc::clone(&new));
        new
    }

    /// Notes for the commit log that the row was written.
    pub(super) fn wrote(&mut self, name: TableName, slot: u32) {
        let Some(row) = self.tables[name as usize].row(slot) else {
            return;
        };
        if let Some(key) = &row.key {
            self.commits.note(name, key, row.version.unwrap_or(0.0));
        }
    }

    /// Puts a new row in; `seq` and the indexes are set here.
    pub(super) fn insert(&mut self, name: TableName, mut row: Row) -> u32 {
        row.seq = self.next_seq;
        self.next_seq += 1;
        let table = &mut self.tables[name as usize];
        let slot = match table.free.pop() {
            Some(slot) => slot,
            None => {
                table.slots.push(None);
                // Memory ends long before four billion rows do.
                (table.slots.len() - 1) as u32
            }
        };
        if let Some(key) = &row.key {
            table.by_key.add(Arc::clone(key), slot);
            table
                .order
                .insert(OrderKey::of(&row, Arc::clone(key), slot));
        }
        self.index_columns(name, slot, &row.columns);
        self.tables[name as usize].slots[slot as usize] = Some(Box::new(row));
        slot
    }

    /// Takes a row out.
    pub(super) fn remove(&mut self, name: TableName, slot: u32) -> Option<Row> {
        let table = &mut self.tables[name as usize];
        let row = table.slots.get_mut(slot as usize)?.take()?;
        table.free.push(slot);
        if let Some(key) = &row.key {
            table.by_key.drop_one(&**key, slot);
            table
                .order
                .remove(&OrderKey::of(&row, Arc::clone(key), slot));
        }
        for column in 0..row.columns.len() {
            self.unindex_column(name, slot, column, &row.columns[column]);
        }
        Some(*row)
    }

    /// Writes one column and keeps the index over it.
    pub(super) fn set_column(&mut self, name: TableName, slot: u32, column: usize, value: Value) {
        let Some(row) = self.tables[name as usize].row_mut(slot) else {
            return;
        };
        let old = std::mem::replace(&mut row.columns[column], value);
        self.unindex_column(name, slot, column, &old);
        let new = self.tables[name as usize]
            .row(slot)
            .map(|row| &row.columns[column]);
        if let Some(Value::Text(text)) = new {
            let text = text.clone();
            self.index_column(name, slot, column, &text);
        }
    }

    /// Writes key and `clerkCreatedAt`, by which the row is ordered.
    pub(super) fn set_place(
        &mut self,
        name: TableName,
        slot: u32,
        key: Option<Arc<str>>,
        created: Option<f64>,
    ) {
        let table = &mut self.tables[name as usize];
        let Some(row) = table.slots.get_mut(slot as usize).and_then(Option::as_mut) else {
            return;
        };
        if let Some(old) = row.key.take() {
            table
                .order
                .remove(&OrderKey::of(row, Arc::clone(&old), slot));
            table.by_key.drop_one(&*old, slot);
        }
        row.created = created;
        if let Some(key) = key {
            table.by_key.add(Arc::clone(&key), slot);
            table
                .order
                .insert(OrderKey::of(row, Arc::clone(&key), slot));
            row.key = Some(key);
        }
    }

    /// The users that have this address.
    pub(super) fn users_by_email(&self, email: &str) -> Vec<u32> {
        let users = self.table(TableName::Users);
        let same = |slot: &u32| {
            users
                .row(*slot)
                .is_some_and(|row| row.columns[EMAIL].text() == Some(email))
        };
        let hash = self.hasher.hash_one(email);
        self.emails
            .get(&hash)
            .iter()
            .copied()
            .filter(same)
            .collect()
    }

    fn index_columns(&mut self, name: TableName, slot: u32, columns: &[Value]) {
        for (column, value) in columns.iter().enumerate() {
            if let Value::Text(text) = value {
                self.index_column(name, slot, column, text);
            }
        }
    }

    fn index_column(&mut self, name: TableName, slot: u32, column: usize, text: &str) {
        match (name, column) {
            (TableName::Users, EMAIL) => self.emails.add(self.hasher.hash_one(text), slot),
            (TableName::Memberships, MEMBER_USER) => self.members_of_user.add_str(text, slot),
            (TableName::Memberships, MEMBER_ORGANIZATION) => {
                self.members_of_organization.add_str(text, slot);
            }
            _ => {}
        }
    }

    fn unindex_column(&mut self, name: TableName, slot: u32, column: usize, value: &Value) {
        let Value::Text(text) = value else { return };
        match (name, column) {
            (TableName::Users, EMAIL) => self.emails.drop_one(&self.hasher.hash_one(&**text), slot),
            (TableName::Memberships, MEMBER_USER) => self.members_of_user.drop_one(&**text, slot),
            (TableName::Memberships, MEMBER_ORGANIZATION) => {
                self.members_of_organization.drop_one(&**text, slot);
            }
            _ => {}
        }
    }
}

impl TableState {
    pub(super) fn row(&self, slot: u32) -> Option<&Row> {
        self.slots.get(slot as usize)?.as_deref()
    }

    /// For fields that no index covers; the others go through [`World`].
    pub(super) fn row_mut(&mut self, slot: u32) -> Option<&mut Row> {
        self.slots.get_mut(slot as usize)?.as_deref_mut()
    }

    /// All rows, the app's own too, by slot.
    pub(super) fn rows(&self) -> impl Iterator<Item = (u32, &Row)> {
        // As in `insert`: slots are counted in 32 bits.
        self.slots
            .iter()
            .enumerate()
            .filter_map(|(slot, row)| Some((slot as u32, row.as_deref()?)))
    }

    /// The oldest row of a key: duplicates are a fact of life, and the first one stands.
    pub(super) fn oldest(&self, key: &str) -> Option<u32> {
        let slots = self.by_key.get(key);
        slots
            .iter()
            .copied()
            .min_by_key(|slot| self.row(*slot).map(|row| row.seq))
    }
}

impl Row {
    /// Bytes of the document, by Convex's way of counting, about.
    pub(super) fn weight(&self) -> usize {
        let columns: usize = self.columns.iter().map(Value::weight).sum();
        let app: usize = self
            .app
            .iter()
            .map(|(name, value)| name.len() + value.weight())
            .sum();
        let key = self.key.as_ref().map_or(0, |key| key.len());
        // Ids, times and column names come to about as much again as a short row.
        200 + columns + app + key
    }
}

impl OrderKey {
    fn of(row: &Row, key: Arc<str>, slot: u32) -> Self {
        OrderKey {
            created: row.created.map_or(0, sortable),
            key,
            seq: row.seq,
            slot,
        }
    }
}
