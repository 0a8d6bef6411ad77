//! Is this the pair of services that this state belongs to?
//!
//! A key of another instance is valid and lists other users: all of ours would look gone. A deploy key of
//! another deployment would be filled with them. So before anything is written the names of both are compared
//! with those of earlier runs, and a key that was never proved has to know at least one of the rows.

use crate::{
    clerk::{
        Priority,
        client::{CreatedBetween, MAX_IDS},
    },
    convex::reader::Range,
    model::{Key, Table},
    reconcile::{Trouble, ends::Ends, patiently},
    store::state::State,
};

/// Rows from which on it is no accident that Clerk knows none of them.
const TOO_MANY: usize = 3;
/// The cell that names the deployment.
const DEPLOYMENT_CELL: &str = "pin/deployment";
/// The cell that names the kind of Clerk's key.
const KEY_KIND_CELL: &str = "pin/clerk_key";

/// Who the two services are, as far as it can be told without asking them.
pub trait Identity: Send + Sync {
    /// The deployment's host.
    fn deployment(&self) -> String;
    /// `live` or `test`.
    fn key_kind(&self) -> &'static str;
    /// True if Clerk has shown one of our records under this key.
    fn is_proved(&self) -> bool;
    /// Clerk has.
    fn prove(&self);
}

/// Refuses with a sentence if these are others than before. Remembers them if there was nothing before.
pub async fn check(ends: &Ends, identity: &dyn Identity) -> Result<(), Trouble> {
    let (deployment, key_kind) = (identity.deployment(), identity.key_kind());
    recognise(&ends.state, &deployment, key_kind)?;
    for (cell, now) in [
        (DEPLOYMENT_CELL, deployment.as_str()),
        (KEY_KIND_CELL, key_kind),
    ] {
        if ends.state.get_cell(cell)?.is_none() {
            ends.state.put_cell(cell, Some(now.as_bytes()))?;
        }
    }
    if identity.is_proved() || !ends.tables.contains(&Table::Users) {
        return Ok(());
    }
    let all = Range::default();
    let limit = MAX_IDS as u32;
    let page = patiently(|| ends.reader.list(Table::Users, all, None, limit)).await?;
    let rows = page.rows.iter().filter(|row| row.deleted_at.is_none());
    let mut keys: Vec<Key> = rows.map(|row| row.key.clone()).collect();
    keys.dedup();
    if keys.is_empty() {
        return Ok(());
    }
    let clerk = ends.clerk.at(Priority::Confirm);
    let found = patiently(|| clerk.users_by_id(&keys)).await?;
    if !found.is_empty() {
        identity.prove();
        // If another instance's deliveries still come, the next one says so again.
        ends.alerts.clear("foreign_instance");
        ends.alerts.clear("empty_listing");
        return Ok(());
    }
    if keys.len() < TOO_MANY {
        return Ok(());
    }
    let everybody = patiently(|| clerk.count_users(CreatedBetween::default())).await?;
    let (code, words) = match everybody {
        0 => (
            "empty_listing",
            "Clerk lists no user at all while Convex has rows",
        ),
        _ => (
            "foreign_instance",
            "Clerk knows none of the users that stand in Convex",
        ),
    };
    let words = format!("{words}; nothing was written. Check clerk.secret_key and the instance");
    ends.alerts.raise(code, words, (ends.now)());
    Err(Trouble::Foreign(format!(
        "Clerk knows none of {} users that stand in Convex: clerk.secret_key seems to belong to another \
         instance than the rows do. Nothing was written; compare the key with the instance, or empty the \
         table if it is meant",
        keys.len()
    )))
}

/// Refuses with a sentence if earlier runs have left other names than these. Asks nobody, remembers nothing.
pub fn recognise(state: &State, deployment: &str, key_kind: &str) -> Result<(), Trouble> {
    for (cell, what, now) in [
        (DEPLOYMENT_CELL, "the Convex deployment", deployment),
        (KEY_KIND_CELL, "a Clerk key of kind", key_kind),
    ] {
        let Some(before) = state.get_cell(cell)? else {
            continue;
        };
        if before != now.as_bytes() {
            return Err(Trouble::Foreign(format!(
                "this state directory belongs to {what} {}, and the configuration names {now}. Nothing was \
                 written; use another state.dir for another pair of services",
                String::from_utf8_lossy(&before)
            )));
        }
    }
    Ok(())
}
