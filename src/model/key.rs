//! What a record and a delivery are called.
//!
//! Knows the four tables and the prefixes of Clerk's ids; knows nothing of what a record contains.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// One of the four synced Convex tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Table {
    /// Clerk users.
    Users,
    /// First name, last name and phone number of a user; one row a user, same key.
    Profiles,
    /// Clerk organizations.
    Organizations,
    /// Clerk organization memberships.
    Memberships,
}

impl Table {
    /// All tables, parents before children.
    pub const ALL: [Table; 4] = [
        Table::Users,
        Table::Profiles,
        Table::Organizations,
        Table::Memberships,
    ];

    /// The name on the wire, in reports and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Table::Users => "users",
            Table::Profiles => "profiles",
            Table::Organizations => "organizations",
            Table::Memberships => "memberships",
        }
    }

    /// The byte that stands for the table in stored keys. Never reused.
    pub const fn code(self) -> u8 {
        match self {
            Table::Users => 1,
            Table::Profiles => 2,
            Table::Organizations => 3,
            Table::Memberships => 4,
        }
    }

    /// The inverse of [`Table::code`].
    pub const fn from_code(code: u8) -> Option<Table> {
        match code {
            1 => Some(Table::Users),
            2 => Some(Table::Profiles),
            3 => Some(Table::Organizations),
            4 => Some(Table::Memberships),
            _ => None,
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Clerk's id of a record: `user_…`, `org_…`, `orgmem_…`. Opaque apart from its length.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Key(Arc<str>);

impl Key {
    /// The longest id that is believed, in bytes. Clerk's ids have 32; the bound keeps a forged
    /// or broken event from growing indexes.
    pub const MAX_BYTES: usize = 96;

    /// Takes an id as it came, or `None` when it cannot be one: empty, too long, or with anything
    /// but ASCII letters, digits, `_` and `-` (which also keeps it harmless in URLs and logs).
    pub fn parse(text: &str) -> Option<Key> {
        let fine = !text.is_empty()
            && text.len() <= Self::MAX_BYTES
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        fine.then(|| Key(text.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of one record: which table, which id. The unit of order and of repair.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct RecordKey {
    /// The table of the record. A user's profile travels with the user and has no order of its own.
    pub table: Table,
    /// Clerk's id.
    pub key: Key,
}

impl RecordKey {
    /// A record's name from its parts.
    pub fn new(table: Table, key: Key) -> Self {
        RecordKey { table, key }
    }
}

impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.table, self.key)
    }
}

/// The sender's id of a delivery (`svix-id`): the same on every retry and replay of a message.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct DeliveryId(Arc<str>);

impl DeliveryId {
    /// The longest id that is believed, in bytes.
    pub const MAX_BYTES: usize = 256;

    /// Takes an id as it came in the header, or `None` when it is empty, too long, or holds
    /// anything but visible ASCII.
    pub fn parse(text: &str) -> Option<DeliveryId> {
        let fine = !text.is_empty()
            && text.len() <= Self::MAX_BYTES
            && text.bytes().all(|b| b.is_ascii_graphic());
        fine.then(|| DeliveryId(text.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_with_anything_unusual_are_refused() {
        assert!(Key::parse("user_2g7np7Hrk0SN6kj5EDMLDaKNL0S").is_some());
        for bad in ["", "user_ü", "user 1", "a/b", "a\nb", &"x".repeat(97)] {
            assert!(Key::parse(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn table_codes_are_inverse() {
        for table in Table::ALL {
            assert_eq!(Table::from_code(table.code()), Some(table));
        }
        assert_eq!(Table::from_code(0), None);
    }
}
