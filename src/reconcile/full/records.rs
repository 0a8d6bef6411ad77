//! Clerk's side of a range: its records page by page, whichever listing they come from.
//!
//! Users have a cursor and ranges; organizations and memberships have offsets only, so a walk of them that is
//! taken up again reads from the beginning and skips what was dealt with.

use super::group::Group;
use crate::{
    clerk::{
        ClerkClient, RawRecord,
        client::{CreatedBetween, MAX_PAGE},
        walk::{Ahead, Listed, OffsetWalk, UserRange, UserWalk, Walk, Walked},
    },
    reconcile::{Trouble, patiently},
};

/// See the module's words.
pub struct RecordPages {
    walk: Kind,
    /// Records made before this were dealt with.
    from: Option<i64>,
    /// Flaws that were told already.
    told: usize,
    /// The number of the page that was read last, and its new records.
    last: Option<(u32, usize)>,
}

enum Kind {
    /// Each page only when it is wanted.
    Users(Box<UserWalk>),
    /// One page ahead.
    Ahead(Ahead),
    /// By offsets.
    Offsets(Box<OffsetWalk>),
}

impl RecordPages {
    /// The pages of a range. `careful` asks for no page before the one before it is done with.
    pub fn of(
        clerk: ClerkClient,
        group: Group,
        from: Option<i64>,
        before: Option<i64>,
        careful: bool,
    ) -> RecordPages {
        let offsets = |listed| {
            let walk = OffsetWalk::new(clerk.clone(), listed, MAX_PAGE);
            Kind::Offsets(Box::new(walk))
        };
        let walk = match group {
            Group::Users => {
                let range = UserRange { from, before };
                let walk = UserWalk::new(clerk, range, None, MAX_PAGE);
                if careful {
                    Kind::Users(Box::new(walk))
                } else {
                    Kind::Ahead(Ahead::of(walk))
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
        let mut records = page.records;
        if let Some(from) = self.from {
            records.retain(|record| record.created_at() >= from);
        }
        Ok(Some(records))
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
