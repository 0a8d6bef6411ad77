//! Scans: which parts of Clerk are read, how often, and in what order.
//!
//! [`sweep`] reads the newest changes, [`census`] counts; [`ranges`] is what the census believes about the number
//! of users, as pure arithmetic. Both hand what they suspect to the queue's second lane and say in a report what
//! came of it.

pub mod ranges;

pub mod sweep;

use std::collections::BTreeMap;

use uuid::{NoContext, Timestamp, Uuid};

use super::ends::Ends;
use crate::report::{Report, RunKind, RunOutcome};

/// What both scans say of an empty list, as an alert and in the report.
const EMPTY: &str = "Clerk answers that it has no users, although there were some; nothing was written or \
    deleted. Check that CLERK_SECRET_KEY belongs to the right instance and that Clerk works; if all users really \
    are gone, the next full diff holds their deletion for approval";

/// A report without its findings, as of now.
fn report(ends: &Ends, kind: RunKind, started_ms: i64, outcome: RunOutcome) -> Report {
    let ms = u64::try_from(started_ms).unwrap_or(0);
    let nanos = u32::try_from(ms % 1000).unwrap_or(0) * 1_000_000;
    let at = Timestamp::from_unix(NoContext, ms / 1000, nanos);
    Report {
        id: Uuid::new_v7(at).to_string(),
        kind,
        started_ms,
        finished_ms: (ends.now)(),
        plan_digest: None,
        outcome,
        resumed: false,
        tables: BTreeMap::new(),
        differences: Vec::new(),
        calls: ends.cost.calls(),
        bytes: ends.cost.bytes(),
        notes: Vec::new(),
    }
}
