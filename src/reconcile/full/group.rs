//! Tables that one walk of Clerk fills together, and how their records are asked for again.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::candidate::Candidate;
use crate::{
    clerk::{Lookup, RawRecord, client::MAX_IDS},
    model::{Fields, Key, Table},
    reconcile::{Trouble, ends::Ends, patiently},
};

/// See the module's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// Users and their profiles.
    Users,
    /// Organizations.
    Organizations,
    /// Memberships of all organizations.
    Memberships,
}

impl Group {
    /// All groups, parents before children.
    pub const ALL: [Group; 3] = [Group::Users, Group::Organizations, Group::Memberships];

    /// Its tables.
    pub const fn tables(self) -> &'static [Table] {
        match self {
            Group::Users => &[Table::Users, Table::Profiles],
            Group::Organizations => &[Table::Organizations],
            Group::Memberships => &[Table::Memberships],
        }
    }

    /// The table whose rows have Clerk's records as their own.
    pub const fn own_table(self) -> Table {
        match self {
            Group::Users => Table::Users,
            Group::Organizations => Table::Organizations,
            Group::Memberships => Table::Memberships,
        }
    }

    /// The table whose figures tell how many records were seen: its own, where that is compared.
    pub fn counted_table(self, compared: &[Table]) -> Table {
        let mut tables = self.tables().iter().copied();
        let found = tables.find(|table| compared.contains(table));
        found.unwrap_or(self.own_table())
    }

    /// What Clerk has of these records now. Those that are not in the answer are suspected to be gone.
    pub async fn look_up(
        self,
        ends: &Ends,
        names: &[Name],
        tables: &[Table],
    ) -> Result<HashMap<Key, Candidate>, Trouble> {
        let mut found = HashMap::with_capacity(names.len());
        let mut take = |record: &RawRecord| {
            let candidate = Candidate::of(record, &ends.rules, tables);
            found.insert(candidate.key.clone(), candidate);
        };
        if self == Group::Memberships {
            for name in names {
                match self.fetch(ends, name).await {
                    Ok(Lookup::Found(record)) => take(&record),
                    // Nobody can be asked about it, and one row is no reason to leave all others alone.
                    Ok(Lookup::Gone(_)) | Err(Trouble::Nameless) => {}
                    Err(trouble) => return Err(trouble),
                }
            }
            return Ok(found);
        }
        let keys: Vec<Key> = names.iter().map(|name| name.key.clone()).collect();
        for some in keys.chunks(MAX_IDS) {
            let records = match self {
                Group::Organizations => patiently(|| ends.clerk.organizations_by_id(some)).await?,
                _ => patiently(|| ends.clerk.users_by_id(some)).await?,
            };
            records.iter().for_each(&mut take);
        }
        Ok(found)
    }

    /// Clerk's own word about one record: the record as it is, or the proof that it is gone.
    pub async fn fetch(self, ends: &Ends, name: &Name) -> Result<Lookup<RawRecord>, Trouble> {
        let Name { key, parents } = name;
        match (self, parents) {
            (Group::Users, _) => patiently(|| ends.clerk.get_user(key)).await,
            (Group::Organizations, _) => patiently(|| ends.clerk.get_organization(key)).await,
            (Group::Memberships, Some((organization, user))) => {
                patiently(|| ends.clerk.get_membership(key, organization, user)).await
            }
            (Group::Memberships, None) => Err(Trouble::Nameless),
        }
    }
}

/// What a record has to be asked for by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// Clerk's id.
    pub key: Key,
    /// Of a membership: its organization and its user, without which Clerk cannot be asked.
    pub parents: Option<(Key, Key)>,
}

impl Name {
    /// The name of the record that a row with this key and these columns belongs to.
    pub fn of(key: &Key, fields: &Fields) -> Name {
        let end = |column: &str| fields.get(column)?.as_str().and_then(Key::parse);
        let parents = end("clerkOrganizationId").zip(end("clerkUserId"));
        Name {
            key: key.clone(),
            parents,
        }
    }

    /// The name of a record that needs no more than its key.
    pub fn plain(key: Key) -> Name {
        Name { key, parents: None }
    }
}
