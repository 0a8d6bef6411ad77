//! The tables of the contract: their names, columns and ids.
//!
//! Written from section 4 of the contract. Knows nothing of rows. Promises that an id names one row
//! for ever: a slot that is used again gets another sequence number, hence another id.

use std::fmt;
use std::sync::Arc;

/// The column `email` of users.
pub(super) const EMAIL: usize = 0;
/// The column `organizationId` of users.
pub(super) const ORGANIZATION: usize = 5;
/// The column `clerkUserId` of memberships.
pub(super) const MEMBER_USER: usize = 0;
/// The column `clerkOrganizationId` of memberships.
pub(super) const MEMBER_ORGANIZATION: usize = 1;

/// One of the four synced tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum TableName {
    Users = 0,
    Profiles = 1,
    Organizations = 2,
    Memberships = 3,
}

impl TableName {
    pub(super) const ALL: [TableName; 4] = [
        TableName::Users,
        TableName::Profiles,
        TableName::Organizations,
        TableName::Memberships,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            TableName::Users => "users",
            TableName::Profiles => "profiles",
            TableName::Organizations => "organizations",
            TableName::Memberships => "memberships",
        }
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.as_str() == name)
    }

    fn synced(self) -> &'static [&'static str] {
        match self {
            TableName::Users => &[
                "email",
                "name",
                "username",
                "imageUrl",
                "role",
                "organizationId",
                "appId",
            ],
            TableName::Profiles => &["firstName", "lastName", "phoneNumber"],
            TableName::Organizations => &["name", "slug", "imageUrl"],
            TableName::Memberships => &["clerkUserId", "clerkOrganizationId", "role"],
        }
    }

    fn own(self) -> &'static [&'static str] {
        match self {
            TableName::Users => &["updatedAt", "lastSyncAt", "createdAt"],
            TableName::Profiles => &["updatedAt", "lastSyncAt", "userId"],
            TableName::Organizations | TableName::Memberships => &["updatedAt", "lastSyncAt"],
        }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The columns of one table: the contract's, then the further synced ones, then those that `apply`
/// fills itself.
#[derive(Clone, Debug)]
pub(super) struct Schema {
    pub(super) columns: Vec<Arc<str>>,
    /// How many of them are the contract's: text or null.
    pub(super) contract: usize,
    /// How many of them are synced.
    pub(super) synced: usize,
    /// Whether the app lets the table be synced.
    pub(super) served: bool,
}

impl Schema {
    /// `extra` are the further synced columns (`users.extra_fields`); users only.
    pub(super) fn of(table: TableName, extra: &[String]) -> Self {
        let extra = if table == TableName::Users {
            extra
        } else {
            &[]
        };
        let names = table.synced().iter().copied();
        let columns: Vec<Arc<str>> = names
            .chain(extra.iter().map(String::as_str))
            .chain(table.own().iter().copied())
            .map(Arc::from)
            .collect();
        Schema {
            columns,
            contract: table.synced().len(),
            synced: table.synced().len() + extra.len(),
            served: true,
        }
    }

    /// The position of a column.
    pub(super) fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| **column == *name)
    }

    /// The position of a synced column.
    pub(super) fn synced_column(&self, name: &str) -> Option<usize> {
        self.column(name).filter(|column| *column < self.synced)
    }

    /// The position of `updatedAt`; `lastSyncAt` follows it.
    pub(super) fn updated_at(&self) -> usize {
        self.synced
    }

    /// The position of what only this table has: `createdAt` of a user, `userId` of a profile.
    pub(super) fn own(&self) -> usize {
        self.synced + 2
    }
}

/// Letters of an id; 32 of them, so that each holds five bits.
const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Letters for the slot (32 bits) and for the sequence number (64 bits).
const SLOT_LETTERS: usize = 7;
const SEQ_LETTERS: usize = 13;

/// The `_id` of the row: 32 characters, as long as Convex's.
pub(super) fn write_id(out: &mut Vec<u8>, table: TableName, slot: u32, seq: u64) {
    out.push(b"jkmn"[table as usize]);
    spell(out, u64::from(slot), SLOT_LETTERS);
    spell(out, seq, SEQ_LETTERS);
    // The rest only makes ids look unlike one another, as Convex's do.
    spell(
        out,
        seq.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 9,
        11,
    );
}

/// The `_id` as text.
pub(super) fn id(table: TableName, slot: u32, seq: u64) -> String {
    let mut out = Vec::with_capacity(32);
    write_id(&mut out, table, slot, seq);
    out.into_iter().map(char::from).collect()
}

/// Slot and sequence number of an id.
pub(super) fn parse_id(table: TableName, id: &str) -> Option<(u32, u64)> {
    let bytes = id.as_bytes();
    if bytes.len() != 32 || bytes[0] != b"jkmn"[table as usize] {
        return None;
    }
    let slot = unspell(&bytes[1..1 + SLOT_LETTERS])?;
    let seq = unspell(&bytes[1 + SLOT_LETTERS..1 + SLOT_LETTERS + SEQ_LETTERS])?;
    Some((u32::try_from(slot).ok()?, seq))
}

fn spell(out: &mut Vec<u8>, number: u64, letters: usize) {
    for place in (0..letters).rev() {
        let shift = (place * 5) as u32;
        out.push(LETTERS[(number.checked_shr(shift).unwrap_or(0) & 31) as usize]);
    }
}

fn unspell(letters: &[u8]) -> Option<u64> {
    letters.iter().try_fold(0u64, |number, letter| {
        let digit = LETTERS.iter().position(|other| other == letter)?;
        Some((number << 5) | digit as u64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_table_slot_and_sequence() {
        for (slot, seq) in [(0, 1), (7, 99), (u32::MAX, u64::MAX >> 1)] {
            let id = id(TableName::Profiles, slot, seq);
            assert_eq!(id.len(), 32);
            assert_eq!(parse_id(TableName::Profiles, &id), Some((slot, seq)));
            assert_eq!(parse_id(TableName::Users, &id), None);
        }
    }

    #[test]
    fn the_named_positions_are_those_columns() {
        let users = Schema::of(TableName::Users, &["plan".to_owned()]);
        assert_eq!(&*users.columns[EMAIL], "email");
        assert_eq!(&*users.columns[ORGANIZATION], "organizationId");
        assert_eq!(&*users.columns[users.own()], "createdAt");
        assert_eq!(users.synced_column("plan"), Some(7));
        assert_eq!(users.synced_column("createdAt"), None);
        let members = Schema::of(TableName::Memberships, &[]);
        assert_eq!(&*members.columns[MEMBER_USER], "clerkUserId");
        assert_eq!(
            &*members.columns[MEMBER_ORGANIZATION],
            "clerkOrganizationId"
        );
    }
}
