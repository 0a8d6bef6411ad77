//! The names of a row's columns, kept once however many rows have them.
//!
//! Nearly all rows of a table have the same columns, and what is written about twenty thousand of them a second
//! must not copy their names each time. Pure: what a thread has met lately is remembered, and nothing else.

use std::{cell::RefCell, sync::Arc};

use super::Fields;

/// Sets of names that a thread remembers: one for each table, and some for what the configuration adds.
const REMEMBERED: usize = 16;

thread_local! {
    static MET: RefCell<Vec<Columns>> = const { RefCell::new(Vec::new()) };
}

/// Names of columns, in order. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns(Arc<[Box<str>]>);

impl Columns {
    /// Those of this row.
    pub fn of(fields: &Fields) -> Columns {
        if fields.is_empty() {
            return Columns::default();
        }
        MET.with_borrow_mut(|met| {
            let same = |columns: &Columns| columns.names().eq(fields.keys().map(String::as_str));
            if let Some(at) = met.iter().position(same) {
                return met[at].clone();
            }
            let columns = Columns(fields.keys().map(|name| name.as_str().into()).collect());
            if met.len() >= REMEMBERED {
                met.remove(0);
            }
            met.push(columns.clone());
            columns
        })
    }

    /// The names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|name| &**name)
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn fields(names: &[&str]) -> Fields {
        let named = names.iter().map(|name| ((*name).to_owned(), Value::Null));
        named.collect()
    }

    #[test]
    fn rows_with_the_same_columns_share_their_names() {
        let one = Columns::of(&fields(&["name", "email"]));
        let two = Columns::of(&fields(&["email", "name"]));
        assert!(Arc::ptr_eq(&one.0, &two.0));
        assert_eq!(one.names().collect::<Vec<_>>(), ["email", "name"]);
        let other = Columns::of(&fields(&["email"]));
        assert_eq!(other.names().collect::<Vec<_>>(), ["email"]);
        assert!(Columns::of(&fields(&[])).is_empty());
    }

    #[test]
    fn ever_new_columns_are_not_all_remembered() {
        for n in 0..100 {
            let name = format!("c{n}");
            assert_eq!(Columns::of(&fields(&[&name])).names().next(), Some(&*name));
        }
        MET.with_borrow(|met| assert_eq!(met.len(), REMEMBERED));
    }
}
