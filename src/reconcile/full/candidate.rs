//! A record of Clerk on its way through the merge join, and what it maps to.
//!
//! What travels through the join is a few words that point into a page of records as Clerk sent them. A record is
//! mapped when it is its turn and no sooner: what a million of them map to is made and gone one after another, in
//! the same few kilobytes. Pure.

use std::sync::Arc;

use crate::{
    clerk::RawRecord,
    mapping::{self, UserRules},
    model::{Fields, Key, Table, Upsert, Version},
};

/// A record as it should stand in Convex.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Clerk's id.
    pub key: Key,
    /// When it was made, in milliseconds.
    pub created_at: i64,
    /// Its version.
    pub version: Version,
    /// Its rows, its own first; or why it cannot be a row.
    pub rows: Result<Vec<Upsert>, String>,
}

impl Candidate {
    /// Maps a record.
    pub fn of(record: &RawRecord, rules: &UserRules, tables: &[Table]) -> Candidate {
        let rows = mapping::rows(record, rules, tables);
        Candidate {
            key: record.key().clone(),
            created_at: record.created_at(),
            version: record.version(),
            rows: rows.map_err(|error| error.to_string()),
        }
    }

    /// What a table's row of it should hold; `None` if it cannot be mapped.
    pub fn fields(&self, table: Table) -> Option<&Fields> {
        let rows = self.rows.as_ref().ok()?;
        let row = rows.iter().find(|row| row.table == table)?;
        Some(&row.fields)
    }
}

/// One record of a page, as the join carries it.
#[derive(Clone, Debug)]
pub struct Listed {
    page: Arc<[RawRecord]>,
    at: u32,
}

impl Listed {
    /// All records of a page.
    pub fn all(page: Vec<RawRecord>) -> Vec<Listed> {
        let page: Arc<[RawRecord]> = page.into();
        let count = u32::try_from(page.len()).unwrap_or(u32::MAX);
        let listed = |at| Listed {
            page: Arc::clone(&page),
            at,
        };
        (0..count).map(listed).collect()
    }

    /// The record.
    pub fn record(&self) -> &RawRecord {
        &self.page[self.at as usize]
    }

    /// Leaves its page, which can go then, with a copy of its record.
    pub fn stand_alone(&mut self) {
        if self.page.len() > 1 {
            self.page = Arc::new([self.record().apart()]);
            self.at = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        convex::wire::ListedRow,
        reconcile::diff::merge::{Finding, Merge, Need, Step},
    };

    fn user(id: &str, at: i64) -> RawRecord {
        let text = format!(r#"{{"id":"{id}","created_at":{at},"updated_at":{at}}}"#);
        RawRecord::read(Table::Users, &text).unwrap()
    }

    #[test]
    fn a_page_goes_before_the_next_one_comes() {
        let listed = Listed::all(vec![user("user_1", 1), user("user_2", 2)]);
        let page = Arc::downgrade(&listed[0].page);
        let mut merge: Merge<Listed, ListedRow> = Merge::new();
        merge.feed_left(listed);
        merge.end_right();
        let Ok(Step::Found(Finding::OnlyLeft(first))) = merge.step() else {
            panic!("the first is alone");
        };
        assert_eq!(first.record(), &user("user_1", 1));
        drop(first);
        // Whether others were made in the last one's millisecond, only the next page can tell.
        assert!(matches!(merge.step(), Ok(Step::Need(Need::Left))));
        assert!(page.upgrade().is_none());
        merge.feed_left(Listed::all(vec![user("user_3", 2)]));
        merge.end_left();
        for key in ["user_2", "user_3"] {
            let Ok(Step::Found(Finding::OnlyLeft(one))) = merge.step() else {
                panic!("{key} is alone");
            };
            assert_eq!(one.record(), &user(key, 2));
        }
    }
}
