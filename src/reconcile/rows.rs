//! The rows of a range, page after page, where there is room one page ahead of whoever compares them.
//!
//! A page may be short and still not be the last; only a missing cursor ends the range.

use super::{Trouble, patiently};
use crate::{
    clerk::walk::{Ahead, Room, Source},
    convex::{
        reader::{Range, Reader},
        wire::ListedPage,
    },
    model::Table,
};

/// See the module's words.
pub struct RowPages(Ahead<Rows>);

/// Where the listing stands.
struct Rows {
    reader: Reader,
    table: Table,
    range: Range,
    limit: u32,
    cursor: Option<String>,
    ended: bool,
}

impl RowPages {
    /// Begins to read.
    pub fn of(reader: Reader, table: Table, range: Range, limit: u32, room: &Room) -> RowPages {
        let rows = Rows {
            reader,
            table,
            range,
            limit,
            cursor: None,
            ended: false,
        };
        RowPages(Ahead::within(rows, room))
    }

    /// The next page; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<ListedPage>, Trouble> {
        self.0.take().await
    }
}

impl Source for Rows {
    type Page = ListedPage;
    type Seen = ();
    type Error = Trouble;

    async fn next(&mut self) -> Result<Option<ListedPage>, Trouble> {
        if self.ended {
            return Ok(None);
        }
        let (reader, asked) = (&self.reader, self.cursor.as_deref());
        let (table, range, limit) = (self.table, self.range, self.limit);
        let page = patiently(|| reader.list_texts(table, range, asked, limit)).await?;
        self.cursor.clone_from(&page.cursor);
        self.ended = self.cursor.is_none();
        Ok(Some(page))
    }

    fn seen(&self) {}
}
