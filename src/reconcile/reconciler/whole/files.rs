//! The app's files whose owner has no row any more: a figure of the report, and no difference.
//!
//! Files belong to the app, so they are counted and never touched. Only a deployment that has the query for it is
//! asked further than once; what cannot be counted costs the figure and not the run.

use super::Whole;
use crate::{
    reconcile::{Trouble, patiently},
    report::FileFigures,
};

/// Pages of owners or files that one run reads at most: some 100,000,000 users with files.
const MAX_PAGES: u32 = 100_000;

impl Whole<'_> {
    /// Counts them, if the deployment can; a failure is a note.
    pub(super) async fn count_files(&mut self) {
        match self.ownerless().await {
            Ok(ownerless) => self.files = ownerless.map(|ownerless| FileFigures { ownerless }),
            Err(trouble) => self.notes.push(format!(
                "files without an owner could not be counted: {trouble}"
            )),
        }
    }

    async fn ownerless(&self) -> Result<Option<u64>, Trouble> {
        let reader = &self.ends.reader;
        let (mut files, mut cursor) = (0, None::<String>);
        for _ in 0..MAX_PAGES {
            let page = patiently(|| reader.strays(cursor.as_deref())).await?;
            let Some(page) = page else {
                return Ok(None);
            };
            files += page.files;
            cursor = page.cursor;
            if cursor.is_none() {
                return Ok(Some(files));
            }
        }
        Err(Trouble::Away("their listing does not end".into()))
    }
}
