//! Several rows of one key become one: the oldest stays, the younger ones go.
//!
//! Only where an upsert asks for it. The user's profile and files that pointed at a removed row point at the
//! kept one afterwards; no tombstone is left, since the record is not deleted. A file that cannot be moved is
//! unknown here: this world moves any number of them.

use super::cascade;
use super::schema::{MEMBER_USER, TableName, id};
use super::state::World;
use super::value::Value;

/// Younger rows that one change removes.
const MAX_MERGED: usize = 7;

/// The rows of the key beside the oldest, oldest first, as many as one change removes.
pub(super) fn younger(world: &World, table: TableName, key: &str) -> Vec<u32> {
    let state = world.table(table);
    let mut slots = state.by_key.get(key).to_vec();
    slots.sort_by_key(|slot| state.row(*slot).map(|row| row.seq));
    slots.into_iter().skip(1).take(MAX_MERGED).collect()
}

/// True if one of these rows holds a newer version: then nothing older may come out of merging them.
pub(super) fn is_newer(world: &World, table: TableName, slots: &[u32], version: f64) -> bool {
    let versions = slots
        .iter()
        .filter_map(|slot| world.table(table).row(*slot));
    versions
        .filter_map(|row| row.version)
        .any(|held| held > version)
}

/// Takes the younger rows out, and lets what pointed at them point at the kept one.
pub(super) fn remove(world: &mut World, table: TableName, kept: u32, younger: &[u32], now: f64) {
    if table == TableName::Users {
        point_at(world, kept, younger);
    }
    let mut members = Vec::new();
    for slot in younger {
        if table == TableName::Memberships {
            members.extend(cascade::member_end(world, *slot, MEMBER_USER));
        }
        world.remove(table, *slot);
    }
    for user in members {
        cascade::derive_organization(world, &user, now);
    }
}

fn point_at(world: &mut World, kept: u32, younger: &[u32]) {
    let users = world.table(TableName::Users);
    let id_of = |slot: u32| Some(id(TableName::Users, slot, users.row(slot)?.seq));
    let removed: Vec<String> = younger.iter().filter_map(|slot| id_of(*slot)).collect();
    let (Some(new), Some(key)) = (id_of(kept), users.row(kept).and_then(|row| row.key.clone()))
    else {
        return;
    };
    let column = world.table(TableName::Profiles).schema.own();
    for profile in world.table(TableName::Profiles).by_key.get(&*key).to_vec() {
        let row = world.table(TableName::Profiles).row(profile);
        let points = row.and_then(|row| row.columns[column].text());
        if points.is_some_and(|points| removed.iter().any(|old| old == points)) {
            let value = Value::Text(new.as_str().into());
            world.set_column(TableName::Profiles, profile, column, value);
        }
    }
    for file in &mut world.files {
        if file
            .owner
            .as_ref()
            .is_some_and(|owner| removed.contains(owner))
        {
            file.owner = Some(new.clone());
            file.document["userId"] = serde_json::Value::String(new.clone());
        }
    }
}
