//! The `[report]` section: what reports show.
//!
//! Personal values are masked unless someone decided otherwise here.

use super::reader::Reader;

/// What reports show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Show personal values instead of masking them.
    pub show_values: bool,
}

impl Report {
    pub(super) fn read(r: &mut Reader) -> Option<Self> {
        Some(Report {
            show_values: r.flag("report.show_values")?,
        })
    }
}
