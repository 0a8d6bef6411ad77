//! What waits for the end of a run, as a range's list on disk keeps it.
//!
//! One line a record: it has to go, or its rows may become one. Holds ids and names of tables, nothing personal.
//! A run that is taken up reads what an earlier process wrote.

use serde::{Deserialize, Serialize};

use super::group::Name;
use crate::{
    model::{Difference, Key, Table},
    reconcile::{mend::Orphan, merge::Double},
};

/// A record that waits for the end of the run, as its part of the list keeps it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Kept {
    key: String,
    parents: Option<(String, String)>,
    tables: Vec<Table>,
    /// Of a record with several rows: how many there are beside the oldest, by table in that order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    younger: Vec<u64>,
}

/// What a line of that list stands for.
pub enum Waits {
    /// A record that has to go.
    Orphan(Orphan),
    /// A record whose rows may become one.
    Double(Double),
}

impl Kept {
    /// A record that has to go.
    pub fn orphan(orphan: &Orphan) -> Kept {
        let tables = orphan.differences.iter().map(|one| one.table);
        Kept::of(&orphan.name, tables.collect(), Vec::new())
    }

    /// A record whose rows may become one.
    pub fn double(double: &Double) -> Kept {
        let (tables, younger) = double.younger.iter().copied().unzip();
        Kept::of(&double.name, tables, younger)
    }

    fn of(name: &Name, tables: Vec<Table>, younger: Vec<u64>) -> Kept {
        let parents = name.parents.as_ref();
        Kept {
            key: name.key.to_string(),
            parents: parents.map(|(one, two)| (one.to_string(), two.to_string())),
            tables,
            younger,
        }
    }

    /// What it stands for; `None` for ids that are none.
    pub fn read(self) -> Option<Waits> {
        let key = Key::parse(&self.key)?;
        let parents = self.parents;
        let parents = parents.and_then(|(one, two)| Key::parse(&one).zip(Key::parse(&two)));
        let name = Name {
            key: key.clone(),
            parents,
        };
        if !self.younger.is_empty() {
            let younger = self.tables.into_iter().zip(self.younger).collect();
            return Some(Waits::Double(Double { name, younger }));
        }
        let difference = |table| Difference::orphaned(table, key.clone());
        let differences = self.tables.into_iter().map(difference).collect();
        Some(Waits::Orphan(Orphan { name, differences }))
    }
}
