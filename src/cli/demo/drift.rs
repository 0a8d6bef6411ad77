//! Drift: what becomes wrong without any delivery telling of it.
//!
//! Rows in the simulated Convex that somebody changes, removes or puts in by hand; people in the simulated
//! Clerk who are deleted while the network swallows the events. Which ones, follows from the seed. Knows no
//! daemon: all of this happens behind its back.

use std::collections::HashSet;

use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    cli::{ends::Ends, exit::Failure},
    sandbox::{clerk::ClerkSim, convex::ConvexSim},
};

/// Of so many people, one row of each sort drifts.
const PEOPLE_PER_DRIFT: usize = 200;

/// The most of each sort, so that a large demo stays below what may be deleted without approval.
const MOST_OF_A_SORT: usize = 20;

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Drift {
    /// Rows of users whose columns were changed in Convex.
    pub changed: usize,
    /// Rows of users that were removed in Convex.
    pub removed: usize,
    /// Rows of memberships that were removed in Convex.
    pub members_removed: usize,
    /// Rows put into Convex with the key of somebody whom Clerk never had.
    pub strangers: usize,
    /// People deleted in Clerk whose event was lost.
    pub deleted: usize,
    /// Rows without a key: the app's own, which nobody may touch.
    pub own: usize,
}

impl Drift {
    /// Lets it happen.
    ///
    /// # Errors
    /// Exit code 1 when one of the simulated services refuses.
    pub fn happen(seed: u64, ends: &Ends) -> Result<Drift, Failure> {
        let (clerk, convex) = (&ends.clerk, &ends.convex);
        let mut dice = StdRng::seed_from_u64(seed);
        let mut users = keyed(convex, "users");
        users.retain(|row| clerk.user(text(&row["clerkId"])).is_some());
        let each = (users.len() / PEOPLE_PER_DRIFT).clamp(1, MOST_OF_A_SORT);
        users.shuffle(&mut dice);
        let mut users = users.chunks(each);
        let mut next = || users.next().unwrap_or_default();
        let mut drift = Drift::default();
        for row in next() {
            let change = json!({ "email": "somebody.else@post.example", "name": "Edited By Hand" });
            on(
                "users",
                convex.patch_row("users", text(&row["_id"]), &change),
            )?;
            drift.changed += 1;
        }
        for row in next() {
            on("users", convex.remove_row("users", text(&row["_id"])))?;
            drift.removed += 1;
        }
        let deleted = next();
        drift.deleted = delete_unheard(clerk, deleted)?;
        let gone: HashSet<&str> = deleted.iter().map(|row| text(&row["clerkId"])).collect();
        for row in next() {
            on("users", convex.insert_row("users", &stranger(row)))?;
            drift.strangers += 1;
        }
        let mut members = keyed(convex, "memberships");
        members.retain(|row| !gone.contains(text(&row["clerkUserId"])));
        members.shuffle(&mut dice);
        for row in members.iter().take(each) {
            let removed = convex.remove_row("memberships", text(&row["_id"]));
            on("memberships", removed)?;
            drift.members_removed += 1;
        }
        let own = json!({ "email": "house.account@post.example", "name": "The App's Own" });
        on("users", convex.insert_row("users", &own))?;
        drift.own = 1;
        Ok(drift)
    }

    /// What was done, by what it was done to.
    pub fn words(&self) -> [(&'static str, String); 3] {
        let Drift {
            changed,
            removed,
            members_removed,
            strangers,
            deleted,
            ..
        } = self;
        [
            (
                "users",
                format!(
                    "rows in Convex: {changed} changed, {removed} removed, {strangers} put in that Clerk never had"
                ),
            ),
            (
                "memberships",
                format!("rows in Convex: {members_removed} removed"),
            ),
            (
                "deletions",
                format!("people in Clerk: {deleted}, and each event lost"),
            ),
        ]
    }
}

/// How many of the app's own rows there are.
pub(super) fn own_rows(convex: &ConvexSim) -> usize {
    let rows = convex.rows("users").into_iter();
    rows.filter(|row| row["clerkId"].is_null()).count()
}

fn delete_unheard(clerk: &ClerkSim, rows: &[Value]) -> Result<usize, Failure> {
    clerk.lose_next(u32::try_from(rows.len()).unwrap_or(u32::MAX));
    for row in rows {
        clerk
            .delete_user(text(&row["clerkId"]))
            .map_err(|refusal| {
                Failure::failed(format!("the simulated Clerk refuses: {refusal:?}"))
            })?;
    }
    Ok(rows.len())
}

/// A row like this one, of somebody who was never there.
fn stranger(row: &Value) -> Value {
    let key = text(&row["clerkId"]);
    let (prefix, id) = key.split_once('_').unwrap_or(("user", key));
    let id: String = id.chars().rev().collect();
    json!({
        "clerkId": format!("{prefix}_{id}"), "email": format!("nobody.{id}@post.example"),
        "name": "Nobody Known", "role": "user",
        "clerkCreatedAt": row["clerkCreatedAt"], "clerkUpdatedAt": row["clerkUpdatedAt"],
    })
}

fn keyed(convex: &ConvexSim, table: &str) -> Vec<Value> {
    let mut rows = convex.rows(table);
    rows.retain(|row| row["clerkId"].is_string());
    // In an order that follows from the seed and not from who was written first.
    rows.sort_by(|a, b| text(&a["clerkId"]).cmp(text(&b["clerkId"])));
    rows
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn on<T>(table: &str, done: Result<T, crate::sandbox::convex::ControlError>) -> Result<T, Failure> {
    done.map_err(|error| {
        Failure::failed(format!("the simulated Convex refuses ({table}): {error}"))
    })
}
