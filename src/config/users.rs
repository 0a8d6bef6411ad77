//! The `[users]` section: how Clerk's users become rows.
//!
//! Knows which columns are synced, so that the app's own cannot be given the same name. Maps nothing
//! itself.

use std::{collections::BTreeMap, path::Path, time::Duration};

use serde_json::Value;

use super::{Env, Mistake, layers, reader::Reader};
use crate::model::{DeleteMode, ExtraField, ExtraKind, Fields, FilesOnDelete};

/// Columns of a user row that the daemon or the Convex functions write themselves.
const TAKEN_COLUMNS: [&str; 14] = [
    "clerkId",
    "email",
    "name",
    "username",
    "imageUrl",
    "role",
    "organizationId",
    "appId",
    "createdAt",
    "updatedAt",
    "lastSyncAt",
    "deletedAt",
    "clerkCreatedAt",
    "clerkUpdatedAt",
];

/// The shortest hold: far longer than it takes to see a mistake in a test, and a mistyped unit in production.
const SHORTEST_HOLD: Duration = Duration::from_secs(1);
/// The longest hold; ten years.
const LONGEST_HOLD: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);

/// Roles and further columns at most; more is a sign of a mistake.
const MOST_ENTRIES: usize = 64;

/// The longest field name that Convex takes.
const LONGEST_COLUMN: usize = 64;

/// How users are mapped and deleted.
#[derive(Clone, Debug, PartialEq)]
pub struct Users {
    /// What becomes of a deleted user's row.
    pub delete_mode: DeleteMode,
    /// How long a softly deleted row is held before it is removed; none: for ever.
    pub purge_after: Option<Duration>,
    /// What becomes of a deleted user's files.
    pub files_on_delete: FilesOnDelete,
    /// The `appId` of users whose metadata names none.
    pub app_id: Option<String>,
    /// Roles that public metadata may name.
    pub roles: Vec<String>,
    /// The role of everyone else; one of `roles`.
    pub default_role: String,
    /// Columns that are written once, on insert.
    pub insert_defaults: Fields,
    /// Further columns from Clerk, by column name.
    pub extra_fields: BTreeMap<String, ExtraField>,
    /// Adopt rows older than Clerk by their verified primary address.
    pub link_by_email: bool,
}

impl Users {
    /// Reads the section alone, as [`super::Config::load`] does: for a command that compares by another mapping
    /// than the daemon's.
    ///
    /// # Errors
    /// The mistakes in this section, and a file that cannot be read as a whole.
    pub fn load(file: Option<&Path>, env: &Env) -> Result<Self, Vec<Mistake>> {
        let mut reader = Reader::new(layers::gather(file, env));
        let users = Users::read(&mut reader);
        let (gathered, _) = reader.finish();
        let uses = |key: &str| key.is_empty() || key.starts_with("users.");
        let (mine, others): (Vec<Mistake>, Vec<Mistake>) = gathered
            .mistakes
            .into_iter()
            .partition(|mistake| uses(&mistake.key));
        match users {
            Some(users) if mine.is_empty() => Ok(users),
            // Without a section there is a mistake; should it stand elsewhere after all, it is told.
            _ => Err(if mine.is_empty() { others } else { mine }),
        }
    }

    pub(super) fn read(r: &mut Reader) -> Option<Self> {
        let delete_mode = r.choice(
            "users.delete_mode",
            &[("hard", DeleteMode::Hard), ("soft", DeleteMode::Soft)],
        );
        let files_on_delete = r.choice(
            "users.files_on_delete",
            &[
                ("keep", FilesOnDelete::Keep),
                ("delete", FilesOnDelete::Delete),
            ],
        );
        let purge_after = match r.optional_text("users.purge_after")? {
            Some(text) if text != "off" => r
                .duration("users.purge_after", SHORTEST_HOLD..=LONGEST_HOLD)
                .map(Some),
            _ => Some(None),
        };
        let app_id = r.optional_text("users.app_id");
        let roles = r.texts("users.roles", MOST_ENTRIES);
        let default_role = r.text("users.default_role");
        let insert_defaults = r
            .table("users.insert_defaults")
            .filter(|columns| check_columns("users.insert_defaults", columns, r));
        let extra_fields = read_extra_fields(r);
        let link_by_email = r.flag("users.link_by_email");
        let (roles, default_role) = (roles?, default_role?);
        if !roles.contains(&default_role) {
            r.mistake(
                "users.default_role",
                "is not one of users.roles",
                "add it to users.roles, or choose one of them",
            );
            return None;
        }
        let (insert_defaults, extra_fields) = (insert_defaults?, extra_fields?);
        if extra_fields
            .keys()
            .any(|name| insert_defaults.contains_key(name))
        {
            r.mistake(
                "users.extra_fields",
                "names a column that is also in users.insert_defaults",
                "leave it in one of the two: a column is either Clerk's or the app's",
            );
            return None;
        }
        Some(Users {
            delete_mode: delete_mode?,
            purge_after: purge_after?,
            files_on_delete: files_on_delete?,
            app_id: app_id?,
            roles,
            default_role,
            insert_defaults,
            extra_fields,
            link_by_email: link_by_email?,
        })
    }
}

fn read_extra_fields(r: &mut Reader) -> Option<BTreeMap<String, ExtraField>> {
    let key = "users.extra_fields";
    let table = r.table(key)?;
    let mut fine = check_columns(key, &table, r);
    let mut fields = BTreeMap::new();
    for (column, value) in table {
        let Some((pointer, kind)) = extra_field(&value) else {
            fine = false;
            r.mistake(
                key,
                "has an entry that is not a JSON pointer, or names a type that there is not",
                "write { column = \"/public_metadata/plan\" }, or { column = { pointer = \"/public_metadata/plan\", \
                 type = \"string\" } } with string, number, boolean or json",
            );
            continue;
        };
        if pointer.starts_with("/unsafe_metadata") {
            r.warn(format!(
                "`{key}` takes a column from unsafe_metadata, which every user can write in the browser"
            ));
        }
        let pointer = pointer.to_owned();
        fields.insert(column, ExtraField { pointer, kind });
    }
    fine.then_some(fields)
}

fn extra_kind(name: &str) -> Option<ExtraKind> {
    Some(match name {
        "string" => ExtraKind::String,
        "number" => ExtraKind::Number,
        "boolean" => ExtraKind::Boolean,
        "json" => ExtraKind::Json,
        _ => return None,
    })
}

fn extra_field(value: &Value) -> Option<(&str, ExtraKind)> {
    let (pointer, kind) = match value {
        Value::String(pointer) => (pointer.as_str(), ExtraKind::Any),
        Value::Object(table) => {
            let kind = match table.get("type") {
                None => ExtraKind::Any,
                Some(named) => extra_kind(named.as_str()?)?,
            };
            let known = 1 + usize::from(table.contains_key("type"));
            if table.len() != known {
                return None;
            }
            (table.get("pointer")?.as_str()?, kind)
        }
        _ => return None,
    };
    is_pointer(pointer).then_some((pointer, kind))
}

fn is_pointer(text: &str) -> bool {
    text.len() > 1 && text.starts_with('/') && text.len() <= 512
}

fn check_columns(key: &str, columns: &Fields, r: &mut Reader) -> bool {
    if columns.len() > MOST_ENTRIES {
        r.mistake(
            key,
            "has too many columns",
            format!("give at most {MOST_ENTRIES}"),
        );
        return false;
    }
    let mut fine = true;
    for name in columns.keys() {
        let identifier = name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && name.len() <= LONGEST_COLUMN;
        let (problem, remedy) = if TAKEN_COLUMNS.contains(&name.as_str()) {
            (
                format!("names the column {name}, which is synced already"),
                "choose another column",
            )
        } else if !identifier {
            (
                "names a column that Convex would not take".to_owned(),
                "begin with a letter; use letters, digits and _, at most 64",
            )
        } else {
            continue;
        };
        fine = false;
        r.mistake(key, problem, remedy);
    }
    fine
}
