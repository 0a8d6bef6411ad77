//! Looks again, on both sides, at what a listing made suspicious.
//!
//! A listing is a moving picture: by the time it is compared, deliveries have changed both sides. So nothing
//! is believed, reported or repaired that is not still so when the very ids are asked for. Absence from Clerk's
//! answer makes an orphan suspect, never a deletion: that takes [`crate::clerk::Lookup::Gone`] about the id.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::{
    clerk::client::MAX_IDS,
    convex::{
        reader::MAX_KEYS,
        wire::{ListedRow, Row},
    },
    model::{Key, RecordKey, Table, Version},
};

use super::{
    Trouble, ahead,
    ends::Ends,
    full::{
        candidate::{Candidate, Listed},
        group::{Group, Name},
    },
    verdict::{Sides, Verdict, is_overtaken, judge},
};

/// So many suspects of one page are no coincidence but a migration or a new mapping: they are taken as listed,
/// since the versions that they carry keep an older one from overwriting a newer.
const BULK: usize = MAX_IDS;

/// So many who were listed and left before they were asked for are none that never were.
const COINCIDENCE: usize = 10;

/// Records that a listing made suspicious, with what was listed.
#[derive(Debug, Default)]
pub struct Suspects(BTreeMap<Key, Suspect>);

#[derive(Debug)]
struct Suspect {
    listed: Option<Listed>,
    name: Name,
}

/// A record that was looked at again and still differs.
pub struct Confirmed {
    /// What it is asked for by.
    pub name: Name,
    /// What Clerk has.
    pub clerk: Option<Candidate>,
    /// What follows.
    pub verdict: Verdict,
}

/// What came of looking again.
#[derive(Default)]
pub struct Judged {
    /// Records that differ still.
    pub confirmed: Vec<Confirmed>,
    /// Records about which a delivery has said something newer meanwhile.
    pub overtaken: u64,
    /// Users whose rows are ahead of Clerk on purpose.
    pub ahead: u64,
    /// True if their tables held nothing when the run began.
    pub fills: bool,
}

/// Where and how a run looks again.
pub struct Looking {
    /// Both services.
    pub ends: Ends,
    /// Of which group the records are.
    pub group: Group,
    /// The tables that the run compares.
    pub tables: Vec<Table>,
    /// True if Convex held no row at all when the run began, so that there is nothing to look for.
    pub bulk: bool,
}

impl Suspects {
    /// Adds a record that Clerk listed.
    pub fn add_listed(&mut self, listed: Listed) {
        let key = listed.record().key().clone();
        let name = Name::plain(key.clone());
        let slot = self.0.entry(key);
        slot.or_insert(Suspect { listed: None, name }).listed = Some(listed);
    }

    /// Adds a record of which only a row was seen.
    pub fn add_row(&mut self, row: &ListedRow) {
        let name = Name::of(&row.key, &row.fields());
        let slot = self.0.entry(row.key.clone());
        let suspect = slot.or_insert(Suspect {
            listed: None,
            name: name.clone(),
        });
        suspect.name = name;
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Looks at all of them again.
    pub async fn confirm(self, looking: &Looking) -> Result<Judged, Trouble> {
        let Looking {
            ends,
            group,
            tables,
            bulk,
        } = looking;
        let (group, bulk) = (*group, *bulk);
        let mut judged = Judged::default();
        let mut suspects = self.0;
        suspects.retain(|key, suspect| {
            let listed = suspect.listed.as_ref();
            let listed = listed.map(|listed| listed.record().version());
            let overtaken = listed.is_some_and(|version| overtaken(ends, group, key, version));
            judged.overtaken += u64::from(overtaken);
            !overtaken
        });
        let listed = suspects.values().filter(|s| s.listed.is_some()).count();
        // No request of Clerk's takes many memberships by their ids, and a page is seconds old.
        let as_listed = listed > BULK || group == Group::Memberships;
        if listed > BULK && group == Group::Users && !bulk {
            try_out(ends, &suspects).await?;
        }
        let ask: Vec<Name> = suspects
            .values()
            .filter(|suspect| !(as_listed && suspect.listed.is_some()))
            .map(|suspect| suspect.name.clone())
            .collect();
        judged.fills = bulk && as_listed;
        let mut now = group.look_up(ends, &ask, tables).await?;
        if !as_listed {
            let known =
                |(key, one): &(&Key, &Suspect)| one.listed.is_some() && now.contains_key(key);
            believe(listed, suspects.iter().filter(known).count())?;
        }
        let keys: Vec<Key> = suspects.keys().cloned().collect();
        let mut rows = match judged.fills {
            true => Rows::new(),
            false => rows_of(ends, tables, &keys).await?,
        };
        let held = held_users(looking, &suspects, &now, &rows).await?;
        for (key, Suspect { listed, name }) in suspects {
            let listed = listed.filter(|_| as_listed);
            let listed = listed.map(|one| Candidate::of(one.record(), &ends.rules, tables));
            let clerk = listed.or_else(|| now.remove(&key));
            let mut of = |table: &Table| {
                (
                    *table,
                    rows.remove(&(*table, key.clone())).unwrap_or_default(),
                )
            };
            let sides = Sides {
                key: &key,
                clerk: clerk.as_ref(),
                rows: tables.iter().map(&mut of).collect(),
                held: held.contains(&key),
            };
            let verdict = judge(&sides);
            if !verdict.differences.is_empty() {
                judged.confirmed.push(Confirmed {
                    name,
                    clerk,
                    verdict,
                });
            }
        }
        if group == Group::Users {
            ahead::excuse(ends, &mut judged).await?;
        }
        Ok(judged)
    }
}

/// A page with so much news that it is taken as listed: are some of them known by their ids?
async fn try_out(ends: &Ends, suspects: &BTreeMap<Key, Suspect>) -> Result<(), Trouble> {
    let listed = suspects.iter().filter(|(_, one)| one.listed.is_some());
    let some: Vec<Key> = listed.map(|(key, _)| key.clone()).take(MAX_IDS).collect();
    let known = super::patiently(|| ends.clerk.users_by_id(&some)).await?;
    believe(some.len(), known.len())
}

/// Another instance's people, out of a cache or a proxy on the way, stand in a listing and nowhere else. A few
/// may have left in the meantime.
fn believe(listed: usize, known: usize) -> Result<(), Trouble> {
    let unknown = listed.saturating_sub(known);
    if unknown <= COINCIDENCE || 2 * unknown <= listed {
        return Ok(());
    }
    Err(Trouble::Foreign(format!(
        "Clerk lists records that it does not know by their ids, {unknown} of {listed} that were asked for; nothing \
         was written of them. Is there a proxy or a cache on the way to clerk.api_url, or the key of another \
         instance?"
    )))
}

/// Those of the suspects, users whom Clerk does not have, whose rows were deleted softly and are held. `rows` are
/// what was read; the table of users is read where it is not among the tables.
async fn held_users(
    looking: &Looking,
    suspects: &BTreeMap<Key, Suspect>,
    now: &HashMap<Key, Candidate>,
    rows: &Rows,
) -> Result<HashSet<Key>, Trouble> {
    let Looking { ends, tables, .. } = looking;
    let gone = |(key, one): &(&Key, &Suspect)| one.listed.is_none() && !now.contains_key(*key);
    let gone = suspects.iter().filter(gone).map(|(key, _)| key.clone());
    let gone: Vec<Key> = gone.collect();
    if !tables.contains(&Table::Profiles) || !ends.tables.contains(&Table::Users) {
        return Ok(HashSet::new());
    }
    let read = match tables.contains(&Table::Users) {
        true => None,
        false => Some(rows_of(ends, &[Table::Users], &gone).await?),
    };
    let rows = read.as_ref().unwrap_or(rows);
    let held = |key: &&Key| {
        let own = rows.get(&(Table::Users, (*key).clone()));
        own.is_some_and(|own| own.iter().all(|row| row.deleted_at.is_some()))
    };
    Ok(gone.iter().filter(held).cloned().collect())
}

/// True if a delivery has said something newer than this version.
pub fn overtaken(ends: &Ends, group: Group, key: &Key, version: Version) -> bool {
    let record = RecordKey::new(group.own_table(), key.clone());
    let seen = ends.state.ledger_get(&record);
    let seen = seen.map(|seen| (seen.version, seen.deleted));
    is_overtaken(version, seen)
}

/// Rows by table and key, duplicates included.
pub type Rows = HashMap<(Table, Key), Vec<Row>>;

/// The rows of these keys in each of these tables.
pub async fn rows_of(ends: &Ends, tables: &[Table], keys: &[Key]) -> Result<Rows, Trouble> {
    let mut rows = Rows::new();
    for table in tables {
        for keys in keys.chunks(MAX_KEYS) {
            let page = super::patiently(|| ends.reader.get(*table, keys)).await?;
            for row in page.rows {
                rows.entry((*table, row.key.clone())).or_default().push(row);
            }
        }
    }
    Ok(rows)
}
