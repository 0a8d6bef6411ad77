//! The rows of a range, page after page, one page ahead of whoever compares them.
//!
//! A page may be short and still not be the last; only a missing cursor ends the range. The task that reads
//! ahead ends with the handle.

use tokio::{sync::mpsc, task::JoinSet};

use super::{Trouble, patiently};
use crate::{
    convex::{
        reader::{Range, Reader},
        wire::ListedPage,
    },
    model::Table,
};

/// Pages that wait while one is compared.
const AHEAD: usize = 1;

/// See the module's words.
pub struct RowPages {
    pages: mpsc::Receiver<Result<ListedPage, Trouble>>,
    // Ends the task when it is dropped.
    _task: JoinSet<()>,
}

impl RowPages {
    /// Begins to read.
    pub fn of(reader: Reader, table: Table, range: Range, limit: u32) -> RowPages {
        let (sender, pages) = mpsc::channel(AHEAD);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut cursor: Option<String> = None;
            loop {
                // The room first, then the page: no second page waits in this hand.
                let Ok(room) = sender.reserve().await else {
                    return;
                };
                let asked = cursor.as_deref();
                let page = patiently(|| reader.list_texts(table, range, asked, limit)).await;
                let next = page.as_ref().ok().and_then(|page| page.cursor.clone());
                room.send(page);
                if next.is_none() {
                    return;
                }
                cursor = next;
            }
        });
        RowPages { pages, _task: task }
    }

    /// The next page; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<ListedPage>, Trouble> {
        self.pages.recv().await.transpose()
    }
}
