//! The mutation `apply`: upserts that only newer content wins, as the contract has them.
//!
//! Takes items that `plan` let through, so none can fail half way. Deletions and what follows from
//! one row for another stand in `cascade`. Promises that the same items, repeated and in any order,
//! end in the same rows.

use std::sync::Arc;

use super::cascade;
use super::edits::Said;
use super::merge;
use super::plan::{Planned, Upsert, What};
use super::schema::{ORGANIZATION, TableName, id};
use super::state::{Row, Tombstone, World};
use super::value::Value;

/// What became of one item.
pub(super) struct Outcome {
    pub(super) outcome: &'static str,
    /// Slot and sequence number of the row.
    pub(super) row: Option<(u32, u64)>,
}

impl Outcome {
    pub(super) fn without_row(outcome: &'static str) -> Self {
        Outcome { outcome, row: None }
    }

    pub(super) fn of(world: &World, table: TableName, slot: u32, outcome: &'static str) -> Self {
        Outcome {
            outcome,
            row: world.table(table).row(slot).map(|row| (slot, row.seq)),
        }
    }
}

/// Carries out one item.
pub(super) fn apply_one(world: &mut World, planned: Planned<'_>, now: f64) -> Outcome {
    match planned.what {
        What::Delete { hard, files } => {
            cascade::delete(world, planned.table, &planned.key, hard, files, now)
        }
        What::Upsert(upsert) => upsert_one(world, planned.table, &planned.key, upsert, now),
    }
}

fn upsert_one(
    world: &mut World,
    table: TableName,
    key: &str,
    upsert: Upsert<'_>,
    now: f64,
) -> Outcome {
    let slot = world.table(table).oldest(key);
    let deleted = slot
        .and_then(|slot| world.table(table).row(slot))
        .is_some_and(|row| row.deleted.is_some());
    let buried = world.table(table).tombstones.contains_key(key);
    if (deleted || buried) && !upsert.revive {
        return match slot {
            Some(slot) => Outcome::of(world, table, slot, "tombstoned"),
            None => Outcome::without_row("tombstoned"),
        };
    }
    let younger = match upsert.merge {
        true => merge::younger(world, table, key),
        false => Vec::new(),
    };
    if let Some(slot) = slot.filter(|_| merge::is_newer(world, table, &younger, upsert.version)) {
        return Outcome::of(world, table, slot, "stale");
    }
    if slot.is_none()
        && !upsert.revive
        && let Some(gone) = cascade::parent_gone(world, table, key, &upsert.columns)
    {
        // What comes after its owner's deletion ends as what came before it: deleted along with it.
        if gone == Tombstone::Hard {
            world
                .table_mut(table)
                .tombstones
                .insert(Arc::from(key), Tombstone::Hard);
        }
        return Outcome::without_row("tombstoned");
    }
    let mut outcome = match slot {
        Some(slot) => update(world, table, slot, upsert, deleted, now),
        None => match linkable(world, table, &upsert) {
            Some(slot) => link(world, slot, key, upsert, now),
            None => insert(world, table, key, upsert, now),
        },
    };
    if let Some(kept) = slot.filter(|_| outcome.outcome != "stale" && !younger.is_empty()) {
        merge::remove(world, table, kept, &younger, now);
        outcome.outcome = "updated";
    }
    if buried && outcome.outcome != "stale" {
        world.table_mut(table).tombstones.remove(key);
    }
    outcome
}

/// The row that existed before Clerk: the only one of this address, and nobody else's.
fn linkable(world: &World, table: TableName, upsert: &Upsert<'_>) -> Option<u32> {
    let email = upsert
        .link_email
        .as_deref()
        .filter(|_| table == TableName::Users)?;
    match world.users_by_email(email)[..] {
        [slot] => {
            let row = world.table(table).row(slot)?;
            (row.key.is_none() && row.deleted.is_none()).then_some(slot)
        }
        _ => None,
    }
}

fn insert(world: &mut World, table: TableName, key: &str, upsert: Upsert<'_>, now: f64) -> Outcome {
    let schema = &world.table(table).schema;
    let (own, updated_at) = (schema.own(), schema.updated_at());
    let mut columns = vec![Value::Absent; schema.columns.len()];
    let mut app = Vec::new();
    for (name, value) in upsert.defaults {
        match world.table(table).schema.synced_column(&name) {
            Some(column) => columns[column] = value,
            None => app.push((world.name(&name), value)),
        }
    }
    let mut organization_given = false;
    for (column, value) in upsert.columns {
        organization_given |= table == TableName::Users && column == ORGANIZATION;
        columns[column] = value;
    }
    columns[updated_at] = Value::Float(now);
    columns[updated_at + 1] = Value::Float(now);
    match table {
        TableName::Users => {
            columns[own] = Value::Float(upsert.created);
            if !organization_given {
                columns[ORGANIZATION] = cascade::derived_organization(world, key);
            }
        }
        TableName::Profiles => columns[own] = user_id(world, key),
        TableName::Organizations | TableName::Memberships => {}
    }
    app.shrink_to_fit();
    let row = Row {
        seq: 0,
        creation: now,
        key: Some(Arc::from(key)),
        created: Some(upsert.created),
        version: Some(upsert.version),
        deleted: None,
        columns: columns.into(),
        app,
        organization_given,
    };
    let slot = world.insert(table, row);
    follow(world, table, slot, now);
    world.wrote(table, slot);
    Outcome::of(world, table, slot, "created")
}

fn link(world: &mut World, slot: u32, key: &str, upsert: Upsert<'_>, now: f64) -> Outcome {
    let table = TableName::Users;
    world.set_place(table, slot, Some(Arc::from(key)), Some(upsert.created));
    let given = write_columns(world, table, slot, upsert.columns);
    settle_organization(world, slot, key, given);
    let created_at = world.table(table).schema.own();
    if let Some(row) = world.table_mut(table).row_mut(slot) {
        row.version = Some(upsert.version);
        if row.columns[created_at].is_absent() {
            row.columns[created_at] = Value::Float(upsert.created);
        }
    }
    touch(world, table, slot, now);
    follow(world, table, slot, now);
    world.wrote(table, slot);
    Outcome::of(world, table, slot, "linked")
}

fn update(
    world: &mut World,
    table: TableName,
    slot: u32,
    upsert: Upsert<'_>,
    was_deleted: bool,
    now: f64,
) -> Outcome {
    let Some(row) = world.table(table).row(slot) else {
        return Outcome::without_row("stale");
    };
    if row.version.is_some_and(|version| upsert.version < version) {
        return Outcome::of(world, table, slot, "stale");
    }
    let (Some(key), place) = (row.key.clone(), row.created) else {
        return Outcome::without_row("stale");
    };
    let newer = row.version != Some(upsert.version);
    let mut columns = upsert.columns;
    let held = match table {
        TableName::Profiles => held_back(world, slot, &key, upsert.version, &columns, now),
        _ => Vec::new(),
    };
    let Some(row) = world.table(table).row(slot) else {
        return Outcome::without_row("stale");
    };
    columns.retain(|(column, value)| {
        let held = held.contains(column);
        // The mark that metadata names the organization is kept even where the value is the same.
        let mark = table == TableName::Users && *column == ORGANIZATION;
        !held && (mark || !row.columns[*column].same(value))
    });
    let mut changed = columns
        .iter()
        .any(|(column, value)| !row.columns[*column].same(value));

    if place != Some(upsert.created) {
        world.set_place(table, slot, Some(Arc::clone(&key)), Some(upsert.created));
    }
    let members_before = member_user(world, table, slot);
    let given = write_columns(world, table, slot, columns);
    if table == TableName::Users {
        changed |= settle_organization(world, slot, &key, given);
    }
    if let Some(row) = world.table_mut(table).row_mut(slot) {
        row.version = Some(upsert.version);
        row.deleted = None;
    }
    changed |= was_deleted;
    if changed {
        touch(world, table, slot, now);
        follow(world, table, slot, now);
        if let Some(user) = members_before {
            cascade::derive_organization(world, &user, now);
        }
    }
    if changed || newer || place != Some(upsert.created) {
        world.wrote(table, slot);
    }
    Outcome::of(
        world,
        table,
        slot,
        if changed { "updated" } else { "unchanged" },
    )
}

/// The columns of a profile that must not be written, because the user has typed something newer.
fn held_back(
    world: &mut World,
    slot: u32,
    key: &str,
    version: f64,
    columns: &[(usize, Value)],
    now: f64,
) -> Vec<usize> {
    let mut outbox = std::mem::take(&mut world.outbox);
    let table = world.table(TableName::Profiles);
    let held = table.row(slot).map(|row| {
        let newer = row.version.is_none_or(|before| version > before);
        let held = columns.iter().filter(|(column, value)| {
            let said = Said {
                value,
                version,
                differs: !row.columns[*column].same(value),
                newer,
            };
            outbox.holds(key, &table.schema.columns[*column], said, now)
        });
        held.map(|(column, _)| *column).collect()
    });
    world.outbox = outbox;
    held.unwrap_or_default()
}

/// Writes the columns; whether `organizationId` of a user was among them.
fn write_columns(
    world: &mut World,
    table: TableName,
    slot: u32,
    columns: Vec<(usize, Value)>,
) -> bool {
    let mut given = false;
    for (column, value) in columns {
        given |= table == TableName::Users && column == ORGANIZATION;
        world.set_column(table, slot, column, value);
    }
    given
}

/// Remembers who names the user's organization, and derives it where metadata does not. Whether the
/// row changed by that.
fn settle_organization(world: &mut World, slot: u32, key: &str, given: bool) -> bool {
    if let Some(row) = world.table_mut(TableName::Users).row_mut(slot) {
        row.organization_given = given;
    }
    !given && cascade::set_derived(world, slot, key)
}

/// `updatedAt` and `lastSyncAt` say when something was written.
pub(super) fn touch(world: &mut World, table: TableName, slot: u32, now: f64) {
    let updated_at = world.table(table).schema.updated_at();
    world.set_column(table, slot, updated_at, Value::Float(now));
    world.set_column(table, slot, updated_at + 1, Value::Float(now));
}

/// What a written row means for others: a profile points at its user, a membership may move the
/// user's organization.
fn follow(world: &mut World, table: TableName, slot: u32, now: f64) {
    let Some(key) = world.table(table).row(slot).and_then(|row| row.key.clone()) else {
        return;
    };
    match table {
        TableName::Users => {
            if let Some(profile) = world.table(TableName::Profiles).oldest(&key) {
                let column = world.table(TableName::Profiles).schema.own();
                let value = user_id(world, &key);
                world.set_column(TableName::Profiles, profile, column, value);
            }
        }
        TableName::Memberships => {
            if let Some(user) = member_user(world, table, slot) {
                cascade::derive_organization(world, &user, now);
            }
        }
        TableName::Profiles => {
            let column = world.table(table).schema.own();
            if world
                .table(table)
                .row(slot)
                .is_some_and(|row| row.columns[column].is_absent())
            {
                let value = user_id(world, &key);
                world.set_column(table, slot, column, value);
            }
        }
        TableName::Organizations => {}
    }
}

fn member_user(world: &World, table: TableName, slot: u32) -> Option<Box<str>> {
    let row = world
        .table(table)
        .row(slot)
        .filter(|_| table == TableName::Memberships)?;
    row.columns[super::schema::MEMBER_USER]
        .text()
        .map(Box::from)
}

fn user_id(world: &World, key: &str) -> Value {
    let users = world.table(TableName::Users);
    match users
        .oldest(key)
        .and_then(|slot| Some((slot, users.row(slot)?.seq)))
    {
        Some((slot, seq)) => Value::Text(id(TableName::Users, slot, seq).into()),
        None => Value::Absent,
    }
}
