//! The sweep: the newest changes, until those are met that are dealt with.
//!
//! As `reconcile/scan/sweep.rs`, with one page: what the ledger does not know goes into the second lane as it was
//! listed, and the position moves only over what was dealt with.

use std::rc::Rc;

use clerk_convex_sync::{model::Version, report::RunOutcome};

use super::{
    clerk::{Record, record_of},
    daemon::Daemon,
    desk::{Trouble, patiently},
    writing::Repair,
};

/// What is looked at again before the position, and users in a page.
const OVERLAP: i64 = 60_000;
const PAGE: usize = 20;

enum Look {
    Known,
    Write,
    Tie,
}

impl Daemon {
    pub async fn sweep(self: &Rc<Self>, run: u64) -> Result<RunOutcome, Trouble> {
        let world = &self.world;
        world.checks.borrow_mut().run_begins(run, false);
        let swept = world.disk.borrow().state.now.swept;
        let mut users = world.newest_users(PAGE).await?;
        let newest = users.first().map(|user| user.version);
        let from = newest.into_iter().chain(swept).min();
        let to = from.unwrap_or(i64::MAX).saturating_sub(OVERLAP);
        users.retain(|user| user.version >= to);
        let (mut wanted, mut ties) = (Vec::new(), Vec::new());
        for user in users {
            match self.look(&user) {
                Look::Known => {}
                Look::Write => wanted.push(Repair::of(user)),
                Look::Tie => ties.push(user.key),
            }
        }
        if !ties.is_empty() {
            let users = patiently!(self, world.records_by_id(&ties));
            let differ = |user: &Record| !matches!(self.look(user), Look::Known);
            wanted.extend(users.into_iter().filter(differ).map(Repair::of));
        }
        let found = wanted.len();
        self.repair(wanted, run).await?;
        if newest.is_some() {
            world.disk.borrow_mut().state.now.swept = newest;
        }
        Ok(match found {
            0 => RunOutcome::InSync,
            _ => RunOutcome::Repaired,
        })
    }

    fn look(&self, user: &Record) -> Look {
        let version = Version(user.version);
        match self.seen(&record_of(&user.key)) {
            Some(seen) if seen.deleted || seen.version > version => Look::Known,
            None => Look::Write,
            Some(seen) if seen.version < version => Look::Write,
            Some(seen) if seen.hash == user.hash() => Look::Known,
            Some(_) => Look::Tie,
        }
    }
}
