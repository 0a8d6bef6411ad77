//! The `[repair]` section: what a scan may put right by itself.
//!
//! The brake that reads these numbers lives with the repair.

use super::reader::Reader;

/// What a scan may do about what it finds.
#[derive(Clone, Debug, PartialEq)]
pub struct Repair {
    /// Repair, or only say it.
    pub mode: RepairMode,
    /// Deletions of one run that need no approval.
    pub max_deletes: u64,
    /// The same as a share of the table's rows, 0.0 to 1.0.
    pub max_delete_ratio: f64,
    /// Of several rows of one key, the younger may go for the oldest.
    pub merge_duplicates: bool,
}

/// Whether differences are put right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepairMode {
    /// They are.
    Repair,
    /// They are only reported.
    Report,
}

impl Repair {
    pub(super) fn read(r: &mut Reader) -> Option<Self> {
        let mode = r.choice(
            "repair.mode",
            &[
                ("repair", RepairMode::Repair),
                ("report", RepairMode::Report),
            ],
        );
        let max_deletes = r.whole("repair.max_deletes", 0..=1_000_000);
        let max_delete_ratio = r.ratio("repair.max_delete_ratio");
        let merge_duplicates = r.flag("repair.merge_duplicates");
        Some(Repair {
            mode: mode?,
            max_deletes: max_deletes?,
            max_delete_ratio: max_delete_ratio?,
            merge_duplicates: merge_duplicates?,
        })
    }
}
