//! Reading from Convex: `describe`, `list`, `get`, `edits`, and where they are deployed `members` and `strays`.
//!
//! One call each. Paging, comparing and believing are the caller's; what is promised here is that a page
//! is of the table and size asked for and that a cursor moves.

use std::collections::HashSet;

use super::{
    deployment::{CallError, Deployment, value},
    wire::{
        Description, Edit, Edits, EditsArgs, Function, GetArgs, ListArgs, ListedPage,
        ListedRecords, NoArgs, Page, Records,
        beyond::{MembersArgs, StrayPage, Strays, StraysArgs},
    },
};
use crate::{
    model::{Key, Table},
    outbound::{OnRequest, Reply},
};

/// The most rows a page, by the contract.
pub const MAX_PAGE_ROWS: u32 = 4000;
/// The most keys in one `get`: each costs Convex an index range or a few, of 4,096 a call.
pub const MAX_KEYS: usize = 1000;
/// The most files that one page of `strays` names.
pub const MAX_STRAYS: u32 = 1000;
/// The most edits in one answer.
pub const MAX_EDITS: u32 = 1000;

/// A half-open range of `createdAt`, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// Inclusive; `None` begins with the rows that have no `createdAt`.
    pub from: Option<i64>,
    /// Exclusive; `None` is the end.
    pub before: Option<i64>,
}

/// Reads rows.
#[derive(Clone, Debug)]
pub struct Reader(Deployment);

impl Reader {
    /// A reader of this deployment.
    pub fn new(deployment: Deployment) -> Self {
        Reader(deployment)
    }

    /// The same reader, with somebody else listening as well: for what one run costs.
    pub fn also_heard_by(&self, other: OnRequest) -> Reader {
        Reader(self.0.also_heard_by(other))
    }

    /// The same reader, for a run that reads one page after another.
    pub fn keeping_buffers(&self) -> Reader {
        Reader(self.0.keeping_buffers())
    }

    /// Which contract is deployed. Also the question whether functions run at all.
    pub async fn describe(&self) -> Result<Description, CallError> {
        self.0.call(Function::DESCRIBE, NoArgs {}).await
    }

    /// One page of a range; `cursor` is `None` on the first, then what the page before gave. A page may
    /// hold fewer rows than asked, even none, and still not be the last: only a missing cursor ends
    /// the range.
    pub async fn list(
        &self,
        table: Table,
        range: Range,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page, CallError> {
        let args = listing(table, range, cursor, limit);
        let page: Page = self.0.call::<Records>(Function::LIST, args).await?.into();
        let rows = page.rows.len() + page.odd.len();
        believe(
            Function::LIST,
            rows,
            limit,
            (cursor, page.cursor.as_deref()),
        )?;
        Ok(page)
    }

    /// The same page with the columns as text, for whoever reads all pages.
    pub async fn list_texts(
        &self,
        table: Table,
        range: Range,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<ListedPage, CallError> {
        let args = listing(table, range, cursor, limit);
        let reply = self.0.ask(Function::LIST, args).await?;
        let read = value(Function::LIST, &reply)?;
        page_within(Function::LIST, read, &reply, (limit, cursor))
    }

    /// The rows of these keys, duplicates included; keys without a row are missing from the answer. At
    /// most [`MAX_KEYS`] of them; none at all is no call.
    pub async fn get(&self, table: Table, keys: &[Key]) -> Result<Page, CallError> {
        if keys.is_empty() {
            return Ok(Page::default());
        }
        let args = GetArgs { table, keys };
        let page: Page = self.0.call::<Records>(Function::GET, args).await?.into();
        let asked: HashSet<&Key> = keys.iter().collect();
        if page.rows.iter().any(|row| !asked.contains(&row.key)) {
            return Err(CallError::OffContract {
                function: Function::GET.name,
                what: "a row that was not asked for",
            });
        }
        Ok(page)
    }

    /// One page of an organization's rows of memberships, in no promised order; as of [`Reader::list`] only a
    /// missing cursor is the end. `None` where the functions that are deployed do not have this query.
    pub async fn members(
        &self,
        organization: &Key,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Option<ListedPage>, CallError> {
        let limit = limit.clamp(1, MAX_PAGE_ROWS);
        let args = MembersArgs {
            organization,
            cursor,
            limit,
        };
        let reply = self.0.ask(Function::MEMBERS, args).await?;
        let read = if_deployed(value(Function::MEMBERS, &reply))?;
        let page = |read| page_within(Function::MEMBERS, read, &reply, (limit, cursor));
        read.map(page).transpose()
    }

    /// One page of the files whose owner is gone. `None` where the functions that are deployed do not have this
    /// query, or the app keeps no table of files.
    pub async fn strays(&self, cursor: Option<&str>) -> Result<Option<StrayPage>, CallError> {
        let limit = MAX_STRAYS;
        let args = StraysArgs { cursor, limit };
        let read = self.0.call::<Strays>(Function::STRAYS, args).await;
        let Some(Strays {
            files: Some(files),
            cursor: next,
        }) = if_deployed(read)?
        else {
            return Ok(None);
        };
        believe(
            Function::STRAYS,
            files.len(),
            limit,
            (cursor, next.as_deref()),
        )?;
        Ok(Some(StrayPage {
            files: files.len() as u64,
            cursor: next,
        }))
    }

    /// The users' own changes that wait to be carried to Clerk, those that wait longest first; at most
    /// `limit` of them, which is at most [`MAX_EDITS`].
    pub async fn edits(&self, limit: u32) -> Result<Vec<Edit>, CallError> {
        let limit = limit.clamp(1, MAX_EDITS);
        let answer: Edits = self.0.call(Function::EDITS, EditsArgs { limit }).await?;
        if answer.edits.len() > limit as usize {
            return Err(CallError::OffContract {
                function: Function::EDITS.name,
                what: "more edits than asked for",
            });
        }
        Ok(answer.edits.into_iter().map(Edit::from).collect())
    }
}

/// The page that was read, as a part of its answer, if it is what was asked for.
fn page_within(
    function: Function,
    read: ListedRecords<'_>,
    reply: &Reply,
    (limit, asked): (u32, Option<&str>),
) -> Result<ListedPage, CallError> {
    let page = read.within(&reply.body);
    let rows = page.rows.len() + page.odd;
    believe(function, rows, limit, (asked, page.cursor.as_deref()))?;
    Ok(page)
}

fn listing(table: Table, range: Range, cursor: Option<&str>, limit: u32) -> ListArgs<'_> {
    ListArgs {
        table,
        from: range.from,
        before: range.before,
        cursor,
        limit: limit.clamp(1, MAX_PAGE_ROWS),
    }
}

/// `None` for a function that is not deployed, as far as the deployment lets that be seen. Only for functions that
/// the contract does not ask for: there is another way without them.
fn if_deployed<T>(answer: Result<T, CallError>) -> Result<Option<T>, CallError> {
    match answer {
        Err(error) if error.may_be_missing_function() => Ok(None),
        answer => answer.map(Some),
    }
}

/// Whether a page is of the size that was asked for, and its cursor moves.
fn believe(
    function: Function,
    rows: usize,
    limit: u32,
    (asked, next): (Option<&str>, Option<&str>),
) -> Result<(), CallError> {
    let off = |what| CallError::OffContract {
        function: function.name,
        what,
    };
    if rows > limit.clamp(1, MAX_PAGE_ROWS) as usize {
        return Err(off("more rows than asked for"));
    }
    if asked.is_some() && next == asked {
        return Err(off("a cursor that does not move"));
    }
    Ok(())
}
