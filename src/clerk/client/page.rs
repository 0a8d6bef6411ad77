//! Which page of a listing is asked for, and what comes back.
//!
//! Knows the names of Clerk's query parameters; whether a page is the last one, or can be believed, is
//! the walk's to say.

use crate::{clerk::record::RawRecord, model::Key};

/// The order of a listing of users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Oldest first; the only order with a cursor.
    Created,
    /// Changed last first; offsets only, and the order moves while it is read.
    UpdatedDescending,
}

/// Users by when they were made, in milliseconds. Whether the bounds are inclusive is not documented.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CreatedBetween {
    /// The lower bound.
    pub after: Option<i64>,
    /// The upper bound.
    pub before: Option<i64>,
}

/// One page of users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserPage {
    /// In which order.
    pub order: Order,
    /// Which users.
    pub created: CreatedBetween,
    /// Behind this user; with [`Order::Created`] only.
    pub starting_after: Option<Key>,
    /// Behind this many users; not together with `starting_after`.
    pub offset: u32,
    /// How many, at most [`super::MAX_PAGE`].
    pub limit: u32,
}

/// One page of a listing that says how many there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The records, in Clerk's order.
    pub records: Vec<RawRecord>,
    /// How many there were in all at that moment.
    pub total: u64,
}

impl CreatedBetween {
    pub(super) fn query(self) -> Vec<(&'static str, String)> {
        let after = self.after.map(|at| ("created_at_after", at.to_string()));
        let before = self.before.map(|at| ("created_at_before", at.to_string()));
        after.into_iter().chain(before).collect()
    }
}

impl UserPage {
    pub(super) fn query(&self) -> Vec<(&'static str, String)> {
        // Ascending is written without the `+`, which would arrive as a space.
        let order = match self.order {
            Order::Created => "created_at",
            Order::UpdatedDescending => "-updated_at",
        };
        let mut query = self.created.query();
        query.push(("order_by", order.to_owned()));
        query.push(("limit", self.limit.to_string()));
        query.push(match &self.starting_after {
            Some(key) => ("starting_after", key.to_string()),
            None => ("offset", self.offset.to_string()),
        });
        query
    }
}
