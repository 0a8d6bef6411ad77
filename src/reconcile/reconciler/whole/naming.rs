//! The end of a full diff of users, where Clerk is to know which row each one has: who is not told of is told of.
//!
//! Nothing of this is a difference: the rows are as they should be. Those whom the walk noted are looked up in
//! Convex once more and handed over; who carries to Clerk keeps the pace and drops what is too much.

use super::Whole;
use crate::{
    convex::reader::MAX_KEYS,
    model::{Key, RowMark, Table},
    reconcile::{
        Trouble,
        confirm::{overtaken, rows_of},
        full::group::Group,
    },
};

impl Whole<'_> {
    /// Hands over the rows that Clerk does not name; an audit only says how many there are.
    pub(super) async fn name_rows(&mut self) -> Result<(), Trouble> {
        let users = self.unnamed.take();
        let Some(tell) = self.ends.tell_clerk.clone() else {
            return Ok(());
        };
        let (mut nameless, mut handed_over) = (0, 0);
        for some in users.chunks(MAX_KEYS) {
            let keys: Vec<Key> = some.iter().map(|user| user.key.clone()).collect();
            let mut rows = rows_of(&self.ends, &[Table::Users], &keys).await?;
            for user in some {
                let rows = rows.remove(&(Table::Users, user.key.clone()));
                // Of duplicates the oldest is the one that is written.
                let Some(row) = rows.and_then(|rows| rows.into_iter().next()) else {
                    continue;
                };
                let named = user.named == Some(RowMark::of(&row.id));
                // What Clerk holds now was not listed; a delivery about it is the better reason.
                let late = overtaken(&self.ends, Group::Users, &user.key, user.version);
                if named || late || row.deleted_at.is_some() {
                    continue;
                }
                nameless += 1;
                handed_over += u64::from(self.may.repair && tell(&user.key, &row.id));
            }
        }
        if nameless > 0 {
            let told = match self.may.repair {
                true => format!("; {handed_over} of them wait to be told"),
                false => String::new(),
            };
            self.notes.push(format!(
                "Clerk does not name the row of {nameless} user(s) in their private metadata, as \
                 clerk.write_back wants it{told}"
            ));
        }
        Ok(())
    }
}
