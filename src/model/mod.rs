//! The nouns of the daemon: tables, keys, versions, changes, outcomes.
//!
//! Values only: no I/O, no clock, no runtime. Everything here can be compared, printed without
//! giving away a personal value, and tested by tables of inputs and outputs.

mod asked;
mod change;
mod columns;
mod drift;
mod ensured;
mod extra_field;
mod fault;
mod key;
mod record;
mod row_mark;
mod version;

pub use asked::Asked;
pub use change::{Change, ConfirmedDelete, DeleteMode, FilesOnDelete, Origin, Outcome, Upsert};
pub use columns::Columns;
pub use drift::{Action, Difference, DriftKind, FieldDrift};
pub use ensured::Ensured;
pub use extra_field::{ExtraField, ExtraKind};
pub use fault::Fault;
pub use key::{DeliveryId, Key, RecordKey, Table};
pub use record::{ContentHash, Fields};
pub use row_mark::RowMark;
pub use version::{Standing, Version};
