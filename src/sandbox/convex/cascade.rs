//! Deletions, their tombstones, and what one row's fate means for others.
//!
//! A hard deletion of a user takes its profile and memberships along, that of an organization its
//! memberships, each with a tombstone; a soft one marks the one row. A user's organization is the
//! one of its oldest membership unless metadata names it. Knows nothing of versions: a deletion has
//! none.

use std::sync::Arc;

use super::apply::{Outcome, touch};
use super::index::sortable;
use super::schema::{MEMBER_ORGANIZATION, MEMBER_USER, ORGANIZATION, TableName, id};
use super::state::{Tombstone, World};
use super::value::Value;

/// Carries out one deletion.
pub(super) fn delete(
    world: &mut World,
    table: TableName,
    key: &str,
    hard: bool,
    files: bool,
    now: f64,
) -> Outcome {
    if hard {
        delete_hard(world, table, key, files, now)
    } else {
        delete_soft(world, table, key, now)
    }
}

fn delete_hard(world: &mut World, table: TableName, key: &str, files: bool, now: f64) -> Outcome {
    let outcome = match world.table(table).oldest(key) {
        Some(slot) => Outcome::of(world, table, slot, "deleted"),
        None => Outcome::without_row("absent"),
    };
    if files && table == TableName::Users {
        remove_files(world, key);
    }
    remove_key(world, table, key, now);
    match table {
        TableName::Users => {
            remove_key(world, TableName::Profiles, key, now);
            let members = world.members_of_user.get(key).to_vec();
            remove_members(world, &members, now);
            world.outbox.forget(key);
        }
        TableName::Organizations => {
            let members = world.members_of_organization.get(key).to_vec();
            remove_members(world, &members, now);
        }
        TableName::Profiles => world.outbox.forget(key),
        TableName::Memberships => {}
    }
    outcome
}

fn delete_soft(world: &mut World, table: TableName, key: &str, now: f64) -> Outcome {
    let slots = world.table(table).by_key.get(key).to_vec();
    let live: Vec<u32> = slots
        .iter()
        .copied()
        .filter(|slot| {
            world
                .table(table)
                .row(*slot)
                .is_some_and(|row| row.deleted.is_none())
        })
        .collect();
    for slot in &live {
        if let Some(row) = world.table_mut(table).row_mut(*slot) {
            row.deleted = Some(now);
        }
        touch(world, table, *slot, now);
        world.wrote(table, *slot);
    }
    world
        .table_mut(table)
        .tombstones
        .entry(Arc::from(key))
        .or_insert(Tombstone::Soft);
    if table == TableName::Memberships {
        for slot in &live {
            if let Some(user) = member_end(world, *slot, MEMBER_USER) {
                derive_organization(world, &user, now);
            }
        }
    }
    let Some(slot) = world.table(table).oldest(key) else {
        return Outcome::without_row("absent");
    };
    Outcome::of(
        world,
        table,
        slot,
        if live.is_empty() {
            "unchanged"
        } else {
            "deleted"
        },
    )
}

/// Removes every row of the key, duplicates too, and leaves the tombstone.
fn remove_key(world: &mut World, table: TableName, key: &str, now: f64) {
    for slot in world.table(table).by_key.get(key).to_vec() {
        let user = match table {
            TableName::Memberships => member_end(world, slot, MEMBER_USER),
            _ => None,
        };
        world.wrote(table, slot);
        world.remove(table, slot);
        if let Some(user) = user {
            derive_organization(world, &user, now);
        }
    }
    world
        .table_mut(table)
        .tombstones
        .insert(Arc::from(key), Tombstone::Hard);
}

/// Files name their owner by the id of its row.
fn remove_files(world: &mut World, key: &str) {
    let users = world.table(TableName::Users);
    let slots = users.by_key.get(key).iter();
    let ids: Vec<String> = slots
        .filter_map(|slot| Some(id(TableName::Users, *slot, users.row(*slot)?.seq)))
        .collect();
    world
        .files
        .retain(|file| file.owner.as_ref().is_none_or(|owner| !ids.contains(owner)));
}

fn remove_members(world: &mut World, slots: &[u32], now: f64) {
    for slot in slots {
        let row = world.table(TableName::Memberships).row(*slot);
        // Rows without a key are the app's own.
        if let Some(key) = row.and_then(|row| row.key.clone()) {
            remove_key(world, TableName::Memberships, &key, now);
        }
    }
}

/// How the one that a new row would hang on was deleted. A membership minds only what is gone for good.
pub(super) fn parent_gone(
    world: &World,
    table: TableName,
    key: &str,
    columns: &[(usize, Value)],
) -> Option<Tombstone> {
    let gone = |parent: TableName, key: &str| world.table(parent).tombstones.get(key).copied();
    match table {
        TableName::Users | TableName::Organizations => None,
        TableName::Profiles => gone(TableName::Users, key),
        TableName::Memberships => {
            let ends = columns.iter().filter_map(|(column, value)| match *column {
                MEMBER_USER => gone(TableName::Users, value.text()?),
                MEMBER_ORGANIZATION => gone(TableName::Organizations, value.text()?),
                _ => None,
            });
            let mut ends = ends.filter(|gone| *gone == Tombstone::Hard);
            ends.next()
        }
    }
}

/// The organization of the user's oldest membership, or null.
pub(super) fn derived_organization(world: &World, user: &str) -> Value {
    let members = world.table(TableName::Memberships);
    let oldest = world
        .members_of_user
        .get(user)
        .iter()
        .filter_map(|slot| members.row(*slot))
        .filter(|row| row.deleted.is_none() && row.key.is_some())
        .min_by(|a, b| {
            let place = |created: Option<f64>| created.map_or(0, sortable);
            (place(a.created), &a.key, a.seq).cmp(&(place(b.created), &b.key, b.seq))
        });
    oldest.map_or(Value::Null, |row| row.columns[MEMBER_ORGANIZATION].clone())
}

/// Derives the organization of the user, where metadata does not name it.
pub(super) fn derive_organization(world: &mut World, user: &str, now: f64) {
    let users = world.table(TableName::Users);
    let Some(slot) = users.oldest(user) else {
        return;
    };
    if users.row(slot).is_none_or(|row| row.organization_given) {
        return;
    }
    if set_derived(world, slot, user) {
        touch(world, TableName::Users, slot, now);
        world.wrote(TableName::Users, slot);
    }
}

/// Writes the derived organization; whether that changed the row.
pub(super) fn set_derived(world: &mut World, slot: u32, user: &str) -> bool {
    let derived = derived_organization(world, user);
    let row = world.table(TableName::Users).row(slot);
    if row.is_none_or(|row| row.columns[ORGANIZATION].same(&derived)) {
        return false;
    }
    world.set_column(TableName::Users, slot, ORGANIZATION, derived);
    true
}

pub(super) fn member_end(world: &World, slot: u32, column: usize) -> Option<Box<str>> {
    world.table(TableName::Memberships).row(slot)?.columns[column]
        .text()
        .map(Box::from)
}
