//! The order of what is said about one record.
//!
//! Clerk's `updated_at` (for a deletion: the envelope's `timestamp`) in milliseconds. Clerk never
//! reuses an id, so a deletion is last whatever its time says: a timestamp in whole seconds may lie
//! before the update it follows.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

/// A point in a record's history, in milliseconds since the epoch.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Version(pub i64);

impl Version {
    /// Reads a time that may be in seconds: Clerk documents milliseconds, but the examples in its
    /// webhook specification carry seconds. Values below 10^11 are seconds (10^11 ms is 1973).
    pub fn from_timestamp(value: i64) -> Version {
        const SMALLEST_MS: i64 = 100_000_000_000;
        if (0..SMALLEST_MS).contains(&value) {
            Version(value * 1000)
        } else {
            Version(value)
        }
    }

    /// Milliseconds since the epoch.
    pub fn ms(self) -> i64 {
        self.0
    }
}

/// Where something said about a record stands: its version, and whether it says "deleted".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Standing {
    /// When the record was like this.
    pub version: Version,
    /// True if the record was gone.
    pub deleted: bool,
}

impl Standing {
    /// A state of a living record.
    pub fn alive(version: Version) -> Self {
        Standing {
            version,
            deleted: false,
        }
    }

    /// The end of a record.
    pub fn gone(version: Version) -> Self {
        Standing {
            version,
            deleted: true,
        }
    }
}

impl PartialOrd for Standing {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Standing {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.deleted, self.version).cmp(&(other.deleted, other.version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_told_from_milliseconds_by_magnitude() {
        assert_eq!(
            Version::from_timestamp(1_716_883_200),
            Version(1_716_883_200_000)
        );
        assert_eq!(
            Version::from_timestamp(1_762_948_024_900),
            Version(1_762_948_024_900)
        );
        assert_eq!(Version::from_timestamp(-5), Version(-5));
    }

    #[test]
    fn a_deletion_is_last_even_when_its_timestamp_lies_before_the_last_update() {
        assert!(Standing::gone(Version(1_000)) > Standing::alive(Version(1_500)));
        assert!(Standing::alive(Version(2)) > Standing::alive(Version(1)));
    }
}
