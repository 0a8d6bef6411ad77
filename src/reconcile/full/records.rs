//! Clerk's side of a range: its records page by page, whichever listing they come from.
//!
//! Users have a cursor and ranges; organizations and memberships have offsets only. A walk of them that is taken
//! up again begins at the last page that began before what was dealt with, and skips that.

use std::collections::VecDeque;

use super::group::Group;
use crate::{
    clerk::{
        ClerkClient, RawRecord,
        client::{CreatedBetween, MAX_PAGE},
        walk::{Ahead, Listed, OffsetPlace, OffsetWalk, Room, UserRange, UserWalk, Walk, Walked},
    },
    reconcile::{Trouble, cursor::RangeCursor, patiently},
};

/// Pages whose places are kept until what they hold was dealt with. Convex's side is a page or two behind.
const PLACES: usize = 64;

/// See the module's words.
pub struct RecordPages {
    walk: Kind,
    /// Records made before this were dealt with.
    from: Option<i64>,
    /// Flaws that were told already.
    told: usize,
    /// The number of the page that was read last, and its new records.
    last: Option<(u32, usize)>,
    /// Pages of which not everything was dealt with, and when their first records were made.
    places: VecDeque<(OffsetPlace, i64)>,
}

enum Kind {
    /// Each page only when it is wanted.
    Users(Box<UserWalk>),
    /// One page ahead where there is room.
    Ahead(Box<Ahead<UserWalk>>),
    /// By offsets.
    Offsets(Box<OffsetWalk>),
}

impl RecordPages {
    /// The pages of what is left of a range. Without `room` for pages ahead none is asked for before the one before
    /// it is done with.
    pub fn of(
        clerk: ClerkClient,
        group: Group,
        cursor: &RangeCursor,
        room: Option<&Room>,
    ) -> RecordPages {
        let (from, before) = (cursor.goes_on_from(), cursor.before);
        let offsets = |listed| {
            let mut walk = OffsetWalk::new(clerk.clone(), listed, MAX_PAGE);
            if let Some((place, below)) = cursor.place.zip(from) {
                walk = walk.take_up(place, below);
            }
            Kind::Offsets(Box::new(walk))
        };
        let walk = match group {
            Group::Users => {
                let range = UserRange { from, before };
                let walk = UserWalk::new(clerk, range, None, MAX_PAGE);
                match room {
                    Some(room) => Kind::Ahead(Box::new(Ahead::within(walk, room))),
                    None => Kind::Users(Box::new(walk)),
                }
            }
            Group::Organizations => offsets(Listed::Organizations),
            Group::Memberships => offsets(Listed::AllMemberships),
        };
        RecordPages {
            walk,
            from,
            told: 0,
            last: None,
            places: VecDeque::new(),
        }
    }

    /// The next page; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Vec<RawRecord>>, Trouble> {
        let page = match &mut self.walk {
            Kind::Users(walk) => walk.next().await,
            Kind::Ahead(walk) => walk.next().await,
            Kind::Offsets(walk) => walk.next().await,
        };
        let Some(page) = page? else {
            return Ok(None);
        };
        self.last = Some((page.number, page.records.len()));
        if let Kind::Offsets(walk) = &self.walk
            && self.places.len() < PLACES
        {
            self.places.extend(walk.place());
        }
        let mut records = page.records;
        if let Some(from) = self.from {
            records.retain(|record| record.created_at() >= from);
        }
        Ok(Some(records))
    }

    /// Where to take this walk up once all below a time was dealt with; `None` where that is not by place.
    pub fn place(&mut self, settled: Option<i64>) -> Option<OffsetPlace> {
        let is_done = |place: &(OffsetPlace, i64)| settled.is_some_and(|below| place.1 < below);
        while self.places.get(1).is_some_and(is_done) {
            self.places.pop_front();
        }
        let first = self.places.front().copied().filter(is_done);
        first.map(|(place, _)| place)
    }

    /// How many records Clerk said there are when it was asked for the last page, if it says that.
    pub fn total(&self) -> Option<u64> {
        self.walked().totals.map(|(_, last)| last)
    }

    /// Which page was the last so far, in words.
    pub fn end(&self) -> Option<String> {
        let (page, records) = self.last?;
        Some(format!(
            "page {page} was the last, with {records} record(s)"
        ))
    }

    /// What was wrong with pages since the last question, in words.
    pub fn flaws(&mut self) -> Vec<String> {
        let flaws = &self.walked().flaws;
        let new: Vec<String> = flaws
            .iter()
            .skip(self.told)
            .map(ToString::to_string)
            .collect();
        self.told += new.len();
        new
    }

    fn walked(&self) -> &Walked {
        match &self.walk {
            Kind::Users(walk) => walk.walked(),
            Kind::Ahead(walk) => walk.walked(),
            Kind::Offsets(walk) => walk.walked(),
        }
    }
}

/// How many records Clerk says there are.
pub async fn count(clerk: &ClerkClient, group: Group) -> Result<u64, Trouble> {
    match group {
        Group::Users => patiently(|| clerk.count_users(CreatedBetween::default())).await,
        Group::Organizations => {
            let listing = patiently(|| clerk.list_organizations(0, 1)).await?;
            Ok(listing.total)
        }
        Group::Memberships => {
            let listing = patiently(|| clerk.list_all_memberships(0, 1)).await?;
            Ok(listing.total)
        }
    }
}
