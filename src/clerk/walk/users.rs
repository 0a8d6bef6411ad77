//! All users of a range of `created_at`, oldest first.
//!
//! Turns pages by cursor, the newest and cheapest way Clerk offers (`starting_after`). A server that does
//! not know the cursor answers the first page again, and what a deleted cursor does is not documented:
//! the walk then goes on by windows that begin at the last user's millisecond, and only where more users
//! than a page holds were made in one millisecond, by offset within that window. Promises: users come
//! strictly in order, each once, none outside of the range; the walk ends; whatever speaks against it is
//! noted. A walk that is taken up behind a cursor may in windows repeat users of the cursor's millisecond.

use tokio::time::{Instant, sleep};

use super::{
    Page, Walk, WalkError, Walked,
    patience::Patience,
    sieve::{Asked, Head, Sieve, Sifted},
};
use crate::{
    clerk::{
        client::{ClerkClient, CreatedBetween, MAX_PAGE, Order, UserPage},
        error::ClerkError,
        record::RawRecord,
    },
    model::Key,
};

/// Users by which two pages of one window overlap, so that a shift is noticed.
const OVERLAP: u32 = 10;

/// Users made at or after `from` and before `before`, in milliseconds; no bound is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UserRange {
    /// The first millisecond that belongs to it.
    pub from: Option<i64>,
    /// The first one that does not.
    pub before: Option<i64>,
}

impl UserRange {
    /// Everybody.
    pub const ALL: UserRange = UserRange {
        from: None,
        before: None,
    };

    /// What to ask Clerk for, so that nobody is missed whether its bounds are inclusive or not. A count of
    /// this may include users of one millisecond on either side: place bounds where nobody was made.
    pub fn asked(self) -> CreatedBetween {
        CreatedBetween {
            after: self.from.map(|from| from.saturating_sub(1)),
            before: self.before,
        }
    }
}

/// How the next page is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Behind the last user.
    Cursor,
    /// From the last user's millisecond on, behind so many.
    Window { offset: u32 },
}

/// See the module's words.
#[derive(Debug)]
pub struct UserWalk {
    clerk: ClerkClient,
    range: UserRange,
    page_size: u32,
    sieve: Sieve,
    way: Way,
    ended: bool,
    walked: Walked,
}

impl UserWalk {
    /// A walk of the range, from its beginning or behind the user `(created_at, key)` where an earlier one
    /// was cut off. A page has `page_size` users: 2 to [`MAX_PAGE`].
    pub fn new(
        clerk: ClerkClient,
        range: UserRange,
        after: Option<(i64, Key)>,
        page_size: u32,
    ) -> Self {
        let after = after.map(|(created_at, key)| Head { created_at, key });
        UserWalk {
            clerk,
            range,
            page_size: page_size.clamp(2, MAX_PAGE),
            sieve: Sieve::new(range, after),
            way: Way::Cursor,
            ended: false,
            walked: Walked::default(),
        }
    }

    /// Asks for the next page until it comes or is given up; none if the cursor is not accepted.
    async fn ask(&self, number: u32) -> Result<Option<Vec<RawRecord>>, WalkError> {
        let page = self.query();
        let mut patience = Patience::default();
        loop {
            let error = match self.clerk.list_users(&page).await {
                Ok(rows) => return Ok(Some(rows)),
                Err(error) => error,
            };
            if page.starting_after.is_some() && rejects_cursor(&error) {
                return Ok(None);
            }
            sleep(patience.after(number, error)?).await;
        }
    }

    fn query(&self) -> UserPage {
        let head = self.sieve.head();
        let (created, starting_after, offset) = match self.way {
            Way::Cursor => (self.range.asked(), head.map(|head| head.key.clone()), 0),
            Way::Window { offset } => {
                let from = self.floor();
                let window = UserRange { from, ..self.range };
                (window.asked(), None, offset)
            }
        };
        UserPage {
            order: Order::Created,
            created,
            starting_after,
            offset,
            limit: self.page_size,
        }
    }

    /// The first millisecond of what is asked for.
    fn floor(&self) -> Option<i64> {
        let head = self.sieve.head().map(|head| head.created_at);
        match self.way {
            Way::Cursor => self.range.from,
            Way::Window { .. } => head.max(self.range.from),
        }
    }

    /// True if the page is not to be taken but asked for in another way.
    fn turns_elsewhere(&mut self, number: u32, rows: Option<&[RawRecord]>) -> bool {
        if self.way != Way::Cursor || self.sieve.head().is_none() {
            return false;
        }
        match rows {
            None => {
                let what = "Clerk did not accept the cursor; the walk went on by time windows";
                self.walked.note(number, what);
            }
            // Perhaps the end, perhaps a cursor whose user is gone.
            Some([]) => {}
            Some(rows) if self.sieve.begins_again(rows) => {
                let what = "Clerk ignored the cursor; the walk went on by time windows";
                self.walked.note(number, what);
            }
            Some(_) => return false,
        }
        self.way = Way::Window { offset: 0 };
        true
    }

    /// What a page leaves, and where the next one begins.
    fn take(&mut self, number: u32, rows: Vec<RawRecord>) -> Vec<RawRecord> {
        let length = rows.len() as u32;
        let floor = self.floor();
        let again = matches!(self.way, Way::Window { .. });
        if let (Way::Window { offset: 1.. }, Some(first)) = (self.way, rows.first())
            && !self.sieve.knows(first)
        {
            let what = "the page does not join the one before it";
            self.walked.flaw(number, what);
        }
        let Sifted {
            records,
            flaws,
            past_end,
            stray,
        } = self.sieve.sift(rows, Asked { floor, again });
        for what in flaws {
            self.walked.flaw(number, what);
        }
        self.walked.pages = number;
        self.walked.rows += records.len() as u64;
        self.ended = past_end || stray || length < self.page_size;
        if let Way::Window { offset } = self.way {
            let moved = self.floor() > floor;
            let next = offset + length - OVERLAP.min(length / 2);
            // Nothing new for longer than there are users to repeat: the offset is ignored as well.
            let seen = self.sieve.ties() as u32 + self.page_size;
            if !moved && records.is_empty() && !self.ended && offset > seen {
                let what = "the listing does not move on";
                self.walked.flaw(number, what);
                self.ended = true;
            }
            let offset = if moved { 0 } else { next };
            self.way = Way::Window { offset };
        }
        records
    }
}

impl Walk for UserWalk {
    async fn next(&mut self) -> Result<Option<Page>, WalkError> {
        while !self.ended {
            let number = self.walked.pages + 1;
            let asked_at = Instant::now();
            let rows = self.ask(number).await?;
            if self.turns_elsewhere(number, rows.as_deref()) {
                continue;
            }
            let records = self.take(number, rows.unwrap_or_default());
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

/// True if Clerk may mean the cursor: its user is not there any more, or cursors are not known.
fn rejects_cursor(error: &ClerkError) -> bool {
    matches!(
        error,
        ClerkError::Rejected { .. }
            | ClerkError::NotFound { .. }
            | ClerkError::Refused { status: 404, .. }
    )
}
