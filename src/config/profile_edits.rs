//! The `[profile_edits]` section: changes made in the app that travel back to Clerk.
//!
//! Knows which fields Clerk lets a secret key change without a verification.

use super::reader::Reader;

/// Fields that may travel back.
const EDITABLE: [&str; 3] = ["firstName", "lastName", "username"];

/// Convex to Clerk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileEdits {
    /// Whether edits travel.
    pub enabled: bool,
    /// Which fields may.
    pub fields: Vec<String>,
}

impl ProfileEdits {
    pub(super) fn read(r: &mut Reader) -> Option<Self> {
        let enabled = r.flag("profile_edits.enabled");
        let fields = r.texts("profile_edits.fields", EDITABLE.len())?;
        if !fields
            .iter()
            .all(|field| EDITABLE.contains(&field.as_str()))
        {
            r.mistake(
                "profile_edits.fields",
                "names a field that cannot travel to Clerk",
                format!("choose among {}", EDITABLE.join(", ")),
            );
            return None;
        }
        if enabled == Some(true) && fields.is_empty() {
            r.mistake(
                "profile_edits.fields",
                "names no field, while profile_edits.enabled is true",
                format!("choose among {}", EDITABLE.join(", ")),
            );
            return None;
        }
        Some(ProfileEdits {
            enabled: enabled?,
            fields,
        })
    }
}
