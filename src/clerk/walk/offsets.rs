//! Listings that can only be read by offset: organizations and memberships, oldest first.
//!
//! What is created meanwhile comes at the end; what is deleted shifts the rest forward, so each page begins
//! a few records before the end of the one before it. If none of those comes again, records may have been
//! skipped: a flaw. Clerk's total on the first and on the last page brackets the walk; a listing that seems
//! to be empty is asked for twice, since nothing else speaks against it. A walk may be taken up at an earlier
//! one's place, if the page there still begins before what was dealt with; else it begins at the beginning.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::{Page, Walk, WalkError, Walked, patience::Patience};
use crate::{
    clerk::{
        client::{ClerkClient, Listing, MAX_PAGE},
        error::ClerkError,
        record::RawRecord,
    },
    model::Key,
};

/// Records by which two pages overlap: as many may be deleted between two pages before one is skipped.
const OVERLAP: u32 = 10;

/// What is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    /// All organizations.
    Organizations,
    /// The members of one organization.
    MembershipsOf(Key),
    /// The memberships of all organizations. Deep offsets are slow at Clerk.
    AllMemberships,
}

/// Where a walk can be taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffsetPlace {
    /// Where a page begins.
    pub offset: u32,
    /// Clerk's total when the walk began.
    pub total: u64,
}

/// See the module's words.
#[derive(Debug)]
pub struct OffsetWalk {
    clerk: ClerkClient,
    listed: Listed,
    page_size: u32,
    offset: u32,
    /// The ids of the page before, and its last record's time.
    before: HashSet<Key>,
    last: i64,
    ended: bool,
    walked: Walked,
    /// Taken up: the first page has to begin with a record made before this, in milliseconds.
    below: Option<i64>,
    /// The page that was read last, and when its first record was made.
    read: Option<(u32, i64)>,
}

impl OffsetWalk {
    /// A walk from the beginning, with `page_size` records a page: 2 to [`MAX_PAGE`].
    pub fn new(clerk: ClerkClient, listed: Listed, page_size: u32) -> Self {
        OffsetWalk {
            clerk,
            listed,
            page_size: page_size.clamp(2, MAX_PAGE),
            offset: 0,
            before: HashSet::new(),
            last: i64::MIN,
            ended: false,
            walked: Walked::default(),
            below: None,
            read: None,
        }
    }

    /// The same, taken up at a place where an earlier walk has dealt with all that was made before `below`.
    pub fn take_up(self, place: OffsetPlace, below: i64) -> Self {
        OffsetWalk {
            offset: place.offset,
            below: Some(below),
            walked: Walked {
                totals: Some((place.total, place.total)),
                ..Walked::default()
            },
            ..self
        }
    }

    /// The place of the page that was read last, and when its first record was made.
    pub fn place(&self) -> Option<(OffsetPlace, i64)> {
        let (offset, first) = self.read?;
        let (total, _) = self.walked.totals?;
        Some((OffsetPlace { offset, total }, first))
    }

    /// The first page of a walk that was taken up, from the beginning if what lies there has moved.
    async fn first(&mut self, number: u32) -> Result<Listing, WalkError> {
        let listing = self.ask(number).await?;
        let Some(below) = self.below.take().filter(|_| self.offset > 0) else {
            return Ok(listing);
        };
        let first = listing.records.first();
        if first.is_some_and(|first| first.created_at() < below) {
            return Ok(listing);
        }
        self.offset = 0;
        self.ask(number).await
    }

    async fn ask(&self, number: u32) -> Result<Listing, WalkError> {
        let (clerk, offset, limit) = (&self.clerk, self.offset, self.page_size);
        let mut patience = Patience::default();
        loop {
            let answer = match &self.listed {
                Listed::Organizations => clerk.list_organizations(offset, limit).await,
                Listed::MembershipsOf(of) => clerk.list_memberships(of, offset, limit).await,
                Listed::AllMemberships => clerk.list_all_memberships(offset, limit).await,
            };
            let error = match answer {
                Ok(listing) => return Ok(listing),
                Err(error) => error,
            };
            let unknown = matches!(
                error,
                ClerkError::NotFound { .. } | ClerkError::Refused { status: 404, .. }
            );
            if unknown && matches!(self.listed, Listed::MembershipsOf(_)) {
                return Err(WalkError::NoSuchOrganization);
            }
            sleep(patience.after(number, error)?).await;
        }
    }

    fn take(&mut self, number: u32, listing: Listing) -> Vec<RawRecord> {
        let Listing { records, total } = listing;
        let length = records.len() as u32;
        let first = self.walked.totals.map_or(total, |(first, _)| first);
        self.read = records.first().map(|row| (self.offset, row.created_at()));
        self.walked.totals = Some((first, total));
        self.walked.pages = number;
        let joined = records.iter().any(|row| self.before.contains(row.key()));
        if number > 1 && !joined {
            let what = "the page does not join the one before it; records may have been skipped";
            self.walked.flaw(number, what);
        }
        let mut page = HashSet::with_capacity(records.len());
        let mut fresh = Vec::with_capacity(records.len());
        for row in records {
            if !page.insert(row.key().clone()) {
                self.walked.flaw(number, "the same record came twice");
            } else if self.before.contains(row.key()) {
                // The overlap.
            } else if row.created_at() < self.last {
                let what = "records did not come oldest first";
                self.walked.flaw(number, what);
                fresh.push(row);
            } else {
                self.last = row.created_at();
                fresh.push(row);
            }
        }
        self.before = page;
        self.walked.rows += fresh.len() as u64;
        self.ended = length < self.page_size;
        if !self.ended && fresh.is_empty() {
            self.walked.flaw(number, "the listing does not move on");
            self.ended = true;
        }
        self.offset += length - OVERLAP.min(length / 2);
        fresh
    }
}

impl Walk for OffsetWalk {
    async fn next(&mut self) -> Result<Option<Page>, WalkError> {
        while !self.ended {
            let number = self.walked.pages + 1;
            let asked_at = Instant::now();
            let mut listing = self.first(number).await?;
            if number == 1 && listing.records.is_empty() {
                listing = self.ask(number).await?;
                if !listing.records.is_empty() {
                    let what = "the listing came empty, and then it did not";
                    self.walked.flaw(number, what);
                }
            }
            let records = self.take(number, listing);
            if !records.is_empty() {
                return Ok(Some(Page {
                    number,
                    records,
                    asked_at,
                }));
            }
        }
        Ok(None)
    }

    fn walked(&self) -> &Walked {
        &self.walked
    }
}
