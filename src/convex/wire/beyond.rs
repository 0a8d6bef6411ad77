//! The two queries that a deployment may have beyond the contract: `members` and `strays`.

use serde::{Deserialize, Serialize, de::IgnoredAny};

use super::Function;
use crate::model::Key;

impl Function {
    /// The memberships of one organization.
    pub const MEMBERS: Function = Function::query("members");
    /// Files whose owner is gone.
    pub const STRAYS: Function = Function::query("strays");
}

#[derive(Serialize)]
pub(in crate::convex) struct MembersArgs<'a> {
    pub organization: &'a Key,
    pub cursor: Option<&'a str>,
    pub limit: u32,
}

#[derive(Serialize)]
pub(in crate::convex) struct StraysArgs<'a> {
    pub cursor: Option<&'a str>,
    pub limit: u32,
}

/// `files` is null where the app keeps no table of files. Which files they are is for people who ask Convex.
#[derive(Deserialize)]
pub(in crate::convex) struct Strays {
    pub files: Option<Vec<IgnoredAny>>,
    pub cursor: Option<String>,
}

/// One page of files whose owner is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StrayPage {
    /// How many it names.
    pub files: u64,
    /// Where to go on; `None` when there are no more.
    pub cursor: Option<String>,
}
