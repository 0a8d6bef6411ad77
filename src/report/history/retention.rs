//! What of the reports goes: what is too old, too many, too large, or was never finished.
//!
//! Full comparisons and the small runs are counted apart: when deliveries get lost for hours, every sweep
//! leaves a report, and they must not drive out the months of full ones. The newest of all always stays.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, DirEntry},
    path::Path,
    time::UNIX_EPOCH,
};

use super::{Summary, files};
use crate::report::RunKind;

/// Reports kept of full comparisons, and as many of sweeps and censuses.
pub(super) const KEPT_EACH: usize = 200;
const DAY_MS: i64 = 86_400_000;
/// How long a report is kept, in milliseconds.
pub(super) const KEPT_MS: i64 = 90 * DAY_MS;
/// What all reports may have together, in bytes.
const MAX_BYTES: u64 = 4 << 30;
/// How long a list waits for the report that belongs to it, whose run may yet go on, and a damaged report for
/// somebody to look at it. In milliseconds.
const UNFINISHED_MS: i64 = 7 * DAY_MS;

/// Removes what is beyond the bounds. What cannot be removed is tried again with the next report.
pub(super) fn apply(dir: &Path, summaries: &[Summary], now_ms: i64) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    let entries: Vec<DirEntry> = entries.flatten().collect();
    let mut sizes: BTreeMap<String, u64> = BTreeMap::new();
    for entry in &entries {
        if let (Some(id), Ok(found)) = (stem(entry), entry.metadata()) {
            *sizes.entry(id).or_default() += found.len();
        }
    }
    let (mut full, mut small, mut bytes) = (0, 0, 0);
    let mut kept = BTreeSet::new();
    for (at, summary) in summaries.iter().enumerate() {
        let counted = match summary.kind {
            RunKind::Audit | RunKind::Reconcile => &mut full,
            RunKind::Sweep | RunKind::Census => &mut small,
        };
        *counted += 1;
        bytes += sizes.get(&summary.id).copied().unwrap_or_default();
        let young = now_ms - summary.finished_ms <= KEPT_MS;
        if at == 0 || (young && *counted <= KEPT_EACH && bytes <= MAX_BYTES) {
            kept.insert(summary.id.as_str());
        }
    }
    let known: BTreeSet<&str> = summaries.iter().map(|one| one.id.as_str()).collect();
    for entry in &entries {
        let Some(id) = stem(entry) else { continue };
        let stays = if known.contains(id.as_str()) {
            kept.contains(id.as_str())
        } else {
            now_ms - changed_ms(entry) <= UNFINISHED_MS
        };
        if !stays && let Err(error) = fs::remove_file(entry.path()) {
            tracing::warn!(%error, path = %entry.path().display(), "an old report cannot be removed");
        }
    }
}

/// The run that a file belongs to; none for what is not ours.
fn stem(entry: &DirEntry) -> Option<String> {
    let name = entry.file_name();
    let name = name.to_str()?;
    if name.starts_with(files::UNFINISHED) {
        return Some(name.to_owned());
    }
    let id = name
        .strip_suffix(".json")
        .or_else(|| name.strip_suffix(".ndjson"))?;
    (files::is_id(id) && id != super::quiet::ID).then(|| id.to_owned())
}

/// When a file was last written, in milliseconds since the epoch; the end of time if nobody knows.
fn changed_ms(entry: &DirEntry) -> i64 {
    let changed = entry.metadata().and_then(|found| found.modified());
    let since = changed
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let ms = since.and_then(|since| i64::try_from(since.as_millis()).ok());
    ms.unwrap_or(i64::MAX)
}
