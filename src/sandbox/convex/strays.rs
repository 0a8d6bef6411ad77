//! The query `strays`: the app's files whose owner is gone.
//!
//! Files name their owner by the id of its row, as in the schema that `init` writes. What names no user's row is
//! nobody's. A cursor is the last file's place, in the order of owners.

use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::functions::FunctionError;
use super::list::finish;
use super::schema::{TableName, parse_id};
use super::state::{File, World};
use super::value::Text;

/// Files that one page names at most.
const MAX_STRAYS: usize = 1000;

/// Arguments of `strays`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StraysArgs<'a> {
    #[serde(deserialize_with = "Option::deserialize", borrow)]
    cursor: Option<Text<'a>>,
    limit: f64,
}

/// Answers `strays`.
pub(super) fn strays(world: &World, args: &StraysArgs<'_>) -> Result<Vec<u8>, FunctionError> {
    if args.limit < 1.0 {
        return Err(FunctionError::structured("invalid_limit", None));
    }
    let limit = (args.limit as usize).min(MAX_STRAYS);
    let after: Option<(String, String)> = match &args.cursor {
        None => None,
        Some(Text(cursor)) => Some(
            serde_json::from_str(cursor)
                .map_err(|_| FunctionError::structured("invalid_cursor", None))?,
        ),
    };
    let mut found: Vec<(&str, &str)> = world
        .files
        .iter()
        .filter_map(|file| place(world, file))
        .filter(|(owner, id)| {
            after
                .as_ref()
                .is_none_or(|(last, file)| (*owner, *id) > (last.as_str(), file.as_str()))
        })
        .collect();
    found.sort_unstable();
    let more = found.len() > limit;
    found.truncate(limit);
    let last = found.last().filter(|_| more);
    let cursor = last.map(|(owner, id)| json!([owner, id]).to_string());
    let files: Vec<String> = found
        .iter()
        .map(|(owner, id)| json!({ "id": id, "owner": owner }).to_string())
        .collect();
    let out = format!("{{\"files\":[{}", files.join(","));
    Ok(finish(out.into_bytes(), cursor))
}

/// Owner and id of a file whose owner is gone.
fn place<'w>(world: &'w World, file: &'w File) -> Option<(&'w str, &'w str)> {
    let owner = file.owner.as_deref()?;
    let (slot, seq) = parse_id(TableName::Users, owner)?;
    let row = world.table(TableName::Users).row(slot);
    let is_there = row.is_some_and(|row| row.seq == seq);
    let id = file.document.get("_id").and_then(Json::as_str)?;
    (!is_there).then_some((owner, id))
}
