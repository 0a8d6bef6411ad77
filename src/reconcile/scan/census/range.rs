//! One range of `created_at` on both sides: who is missing, whose record is gone.
//!
//! Compares keys and nothing else. Promises: a range whose list is not as long as its count is nobody's evidence,
//! neither for a deletion nor for the belief. Rows without `createdAt` are left to the full diff.

use std::collections::{HashMap, HashSet};

use super::super::ranges::Differing;
use crate::{
    clerk::{
        ClerkError,
        client::{CreatedBetween, MAX_PAGE, Order, UserPage},
    },
    convex::{
        deployment::CallError,
        reader::{MAX_PAGE_ROWS, Range},
    },
    model::{Key, Table},
    reconcile::ends::Ends,
};

/// Users of one range that are listed, on either side; a range of a million users in 4096 holds 250. A
/// larger piece is a full diff's work.
pub const MAX_USERS: u64 = 10_000;
/// Before the first user of any instance, in milliseconds: the year 1, since Clerk lets an import name any time.
const EARLIEST_MS: i64 = -62_135_596_800_000;
/// Pages of one side of a range: with the least rows a page that are worth it, and some that are empty.
const MAX_PAGES: usize = 100;

/// What both sides of a range hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sides {
    /// Users that Clerk listed.
    pub listed: u64,
    /// Rows that Convex listed.
    pub rows: u64,
    /// Users that both have.
    pub matched: u64,
    /// Users without a row of this range.
    pub missing: Vec<Key>,
    /// Rows without a user.
    pub orphans: Vec<Key>,
    /// Users with several rows.
    pub duplicates: Vec<Key>,
}

/// Why a range could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum RangeError {
    /// Clerk did not answer well.
    #[error(transparent)]
    Clerk(#[from] ClerkError),
    /// Convex did not answer well.
    #[error(transparent)]
    Convex(#[from] CallError),
    /// Clerk's list has another length than its count; it may be that users come and go too fast.
    #[error("Clerk listed {listed} users of a range in which it counts {counted}")]
    Incomplete {
        /// How many.
        listed: u64,
        /// How many it should have been.
        counted: u64,
    },
    /// A side has more pages than a range can have.
    #[error("a range of users has no end")]
    Endless,
}

/// Lists a range on both sides and compares.
pub async fn look(ends: &Ends, range: &Differing) -> Result<Sides, RangeError> {
    let users = users(ends, range).await?;
    let listed = users.len() as u64;
    if listed != range.counted {
        // The count is some requests old. If it is not that, the list has a hole.
        let counted = count(ends, range).await?;
        if listed != counted {
            return Err(RangeError::Incomplete { listed, counted });
        }
    }
    let rows = rows(ends, range).await?;
    Ok(compare(&users, &rows))
}

async fn users(ends: &Ends, range: &Differing) -> Result<HashSet<Key>, RangeError> {
    let mut keys = HashSet::new();
    let mut page = UserPage {
        order: Order::Created,
        // Whether Clerk's bounds are inclusive is not documented: one wider, and cut to size here.
        created: CreatedBetween {
            after: range.from.map(|from| from.saturating_sub(1)),
            before: range.before,
        },
        starting_after: None,
        offset: 0,
        limit: MAX_PAGE,
    };
    for _ in 0..MAX_PAGES {
        let users = ends.clerk.list_users(&page).await?;
        let before = keys.len();
        let inside = users.iter().filter(|user| {
            let at = user.created_at();
            range.from.is_none_or(|from| from <= at)
                && range.before.is_none_or(|before| at < before)
        });
        keys.extend(inside.map(|user| user.key().clone()));
        page.starting_after = users.last().map(|user| user.key().clone());
        // A page of nobody new is that of a server without cursors; the count tells whether that was all.
        if users.len() < MAX_PAGE as usize || keys.len() == before {
            return Ok(keys);
        }
    }
    Err(RangeError::Endless)
}

async fn count(ends: &Ends, range: &Differing) -> Result<u64, ClerkError> {
    let upto = |before| CreatedBetween {
        after: None,
        before,
    };
    let end = ends.clerk.count_users(upto(range.before)).await?;
    let start = match range.from {
        None => 0,
        from => ends.clerk.count_users(upto(from)).await?,
    };
    Ok(end.saturating_sub(start))
}

/// The rows of a range by key: how many of each are alive and how many deleted softly.
type Rows = HashMap<Key, (u32, u32)>;

async fn rows(ends: &Ends, range: &Differing) -> Result<Rows, RangeError> {
    let mut rows = Rows::new();
    let mut cursor: Option<String> = None;
    let (from, before) = (range.from, range.before);
    // Without a lower bound the rows that have no `createdAt` would come first, of which there may be many.
    let from = from.or(Some(EARLIEST_MS));
    for _ in 0..MAX_PAGES {
        let page = ends
            .reader
            .list(
                Table::Users,
                Range { from, before },
                cursor.as_deref(),
                MAX_PAGE_ROWS,
            )
            .await?;
        for row in page.rows {
            let (alive, deleted) = rows.entry(row.key).or_default();
            *(if row.deleted_at.is_some() {
                deleted
            } else {
                alive
            }) += 1;
        }
        cursor = page.cursor;
        if cursor.is_none() {
            return Ok(rows);
        }
    }
    Err(RangeError::Endless)
}

fn compare(users: &HashSet<Key>, rows: &Rows) -> Sides {
    let mut sides = Sides {
        listed: users.len() as u64,
        rows: rows
            .values()
            .map(|(alive, deleted)| u64::from(alive + deleted))
            .sum(),
        ..Sides::default()
    };
    let missing = users.iter().filter(|key| !rows.contains_key(*key));
    sides.missing = missing.cloned().collect();
    for (key, (alive, _)) in rows {
        if users.contains(key) {
            sides.matched += 1;
        } else if *alive > 0 {
            sides.orphans.push(key.clone());
        }
        if *alive > 1 {
            sides.duplicates.push(key.clone());
        }
    }
    // Sets have no order; reports do.
    sides.missing.sort();
    sides.orphans.sort();
    sides.duplicates.sort();
    sides
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key::parse(text).unwrap()
    }

    #[test]
    fn keys_are_compared_and_what_was_deleted_softly_is_at_peace() {
        let users = ["both", "none", "soft", "twice"]
            .map(key)
            .into_iter()
            .collect();
        let rows = [
            ("both", (1, 0)),
            ("soft", (0, 1)),
            ("twice", (2, 0)),
            ("gone", (1, 0)),
            ("buried", (0, 1)),
        ];
        let rows = rows.map(|(text, count)| (key(text), count)).into();
        let sides = compare(&users, &rows);
        assert_eq!(sides.missing, [key("none")]);
        assert_eq!(sides.orphans, [key("gone")]);
        assert_eq!(sides.duplicates, [key("twice")]);
        assert_eq!((sides.listed, sides.rows, sides.matched), (4, 6, 3));
    }
}
