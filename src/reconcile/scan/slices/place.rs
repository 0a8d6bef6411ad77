//! Where the slices stand: which listing, at which offset, and how many pages a census reads.
//!
//! Kept after every page. Of another form, or damaged, it begins anew.

use serde::{Deserialize, Serialize};

use crate::{
    clerk::client::MAX_PAGE,
    model::Table,
    reconcile::{Trouble, ends::Ends, full::group::Group},
};

/// Where the slices stand.
const CELL: &str = "slices";
/// The form of the cell; another one begins anew.
const FORM: u32 = 2;
/// Censuses in which all of one listing is seen. There are 288 a day at the default rhythm, so that both listings
/// are seen in a day and one missed census in ten does not matter.
const TURNS: u64 = 128;
/// Records by which two pages overlap, since deletions move the rest forward.
pub const OVERLAP: u32 = 10;
/// The most pages of one census, whatever the total: a census is to end before the next begins.
const MAX_PAGES: u64 = 64;
/// Where organizations are switched off they are asked for again after this, in milliseconds.
pub const OFF_MS: i64 = 12 * 60 * 60 * 1000;

/// Where the slices stand.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Place {
    form: u32,
    /// Which listing is read.
    pub group: Group,
    /// Where its next page begins.
    pub offset: u32,
    /// Organizations are switched off; not before this they are asked for again.
    pub off_until_ms: Option<i64>,
    /// When the first slice was read: what was changed before that was changed before anybody looked.
    pub since_ms: i64,
}

impl Place {
    fn begin(now_ms: i64) -> Place {
        Place {
            form: FORM,
            group: Group::Organizations,
            offset: 0,
            off_until_ms: None,
            since_ms: now_ms,
        }
    }

    /// The end of a listing: the other one comes next.
    pub fn turn(&mut self, served: &[Table]) {
        self.offset = 0;
        self.group = match self.group {
            Group::Organizations => Group::Memberships,
            _ => Group::Organizations,
        };
        self.skip_unserved(served);
    }

    pub fn skip_unserved(&mut self, served: &[Table]) {
        let other = match self.group {
            Group::Organizations => Group::Memberships,
            _ => Group::Organizations,
        };
        let serves = |group: Group| served.contains(&group.own_table());
        if !serves(self.group) && serves(other) {
            (self.group, self.offset) = (other, 0);
        }
    }
}

/// Pages of one census, so that all of so many records are seen in [`TURNS`] of them.
pub fn pages_of(total: u64) -> u64 {
    let fresh = u64::from(MAX_PAGE - OVERLAP);
    total.div_ceil(fresh).div_ceil(TURNS).clamp(1, MAX_PAGES)
}

/// A cell that cannot be read begins anew: a place is never guessed.
pub fn load(ends: &Ends) -> Result<Place, Trouble> {
    let cell = ends.state.get_cell(CELL)?;
    let read = |bytes: Vec<u8>| serde_json::from_slice::<Place>(&bytes).ok();
    let place = cell.and_then(read).filter(|place| place.form == FORM);
    Ok(place.unwrap_or_else(|| Place::begin((ends.now)())))
}

pub fn save(ends: &Ends, place: Place) -> Result<(), Trouble> {
    // A struct of numbers and a name always becomes a document.
    let bytes = serde_json::to_vec(&place).unwrap_or_default();
    Ok(ends.state.put_cell(CELL, Some(&bytes))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_seen_in_a_day_and_small_instances_cost_a_page_a_census() {
        for (total, pages) in [
            (0, 1),
            (500, 1),
            (62_720, 1),
            (62_721, 2),
            (200_000, 4),
            (100_000_000, MAX_PAGES),
        ] {
            assert_eq!(pages_of(total), pages, "{total}");
        }
    }

    #[test]
    fn both_listings_take_turns_and_what_is_not_served_is_left_out() {
        let mut place = Place {
            offset: 490,
            ..Place::begin(7)
        };
        place.turn(&Table::ALL);
        assert_eq!((place.group, place.offset), (Group::Memberships, 0));
        place.turn(&Table::ALL);
        assert_eq!(place.group, Group::Organizations);
        place.turn(&[Table::Users, Table::Organizations]);
        assert_eq!(place.group, Group::Organizations);
        let mut place = Place::begin(7);
        place.skip_unserved(&[Table::Users, Table::Memberships]);
        assert_eq!(place.group, Group::Memberships);
    }
}
