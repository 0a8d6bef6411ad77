//! Which organization a user belongs to, where Convex derives it: is what stands there what the memberships say?
//!
//! The walk of users cannot tell, since a record whose metadata names no organization has no such column to
//! compare. So that walk notes what each row says, and the walk of memberships, which shows Convex's rows in the
//! very order by which they are derived, holds each user's first one against it. No request is made for that. Where
//! that one is itself missing or orphaned, nothing is said of the user: its repair derives the organization anew.
//! Bounded: beyond [`MOST`] users that belong somewhere only a part is noted, another one each day. Pure.

use std::{
    borrow::Cow,
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::Deserialize;

use crate::{
    convex::wire::{ListedRow, Row},
    model::Key,
};

/// Users that are noted at most; about 4.5 MB.
const MOST: usize = 1 << 17;
/// Suspects that are kept by name; about 1 MB. The next run finds the others.
const MOST_SUSPECTS: usize = 10_000;
/// The column.
pub const COLUMN: &str = "organizationId";
/// A note about a user of whom no membership matters any more.
const SETTLED: u64 = 0;
/// What a row says that names no organization.
const NOWHERE: u64 = 1;

/// A user whose row says something else than its oldest membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// The user.
    pub key: Key,
    /// The organization of its oldest membership; `None` if it has no membership.
    pub expected: Option<String>,
    saw: u64,
}

impl Suspect {
    /// True if the row still says what made it suspicious.
    pub fn still_says(&self, organization: Option<&str>) -> bool {
        says(organization) == self.saw
    }
}

/// See the module's words.
#[derive(Debug)]
pub struct Affiliations {
    notes: Mutex<Notes>,
    on: bool,
}

#[derive(Debug)]
struct Notes {
    /// By the hash of the user: the hash of what its row says, or [`SETTLED`].
    users: HashMap<u64, u64>,
    most: usize,
    /// One user of `2^bits` is noted.
    bits: u32,
    /// Moves the part that is noted.
    day: u64,
    suspects: Vec<Suspect>,
    /// Suspects beyond those that are kept.
    further: u64,
}

/// What the walks came to.
#[derive(Debug)]
pub struct Found {
    /// Users with a membership that their row contradicts.
    pub suspects: Vec<Suspect>,
    /// Suspects beyond those.
    pub further: u64,
    /// One user of so many was looked at.
    pub one_of: u64,
    /// Rows that name an organization without any membership, by hash: only a listing can name them.
    homeless: HashMap<u64, u64>,
}

impl Affiliations {
    /// Nothing noted; `day` moves the part of a large instance that is looked at. `on` where users and memberships
    /// are both walked: of one side alone nothing follows.
    pub fn new(day: u64, on: bool) -> Affiliations {
        Affiliations {
            on,
            ..Affiliations::at_most(MOST, day)
        }
    }

    /// True if rows are to be noted.
    pub fn is_on(&self) -> bool {
        self.on
    }

    fn at_most(most: usize, day: u64) -> Affiliations {
        let notes = Notes {
            users: HashMap::new(),
            most,
            bits: 0,
            day,
            suspects: Vec::new(),
            further: 0,
        };
        Affiliations {
            notes: Mutex::new(notes),
            on: true,
        }
    }

    /// Notes a user's row; `named` tells that metadata names its organization.
    pub fn user(&self, row: &ListedRow, named: bool) {
        let columns = Columns::of(row);
        let says = match (named, columns.organization.as_deref()) {
            (true, _) => SETTLED,
            (false, Some(organization)) => says(Some(organization)),
            (false, None) => return,
        };
        if row.deleted_at.is_none() {
            self.held().note(hash(row.key.as_str()), says);
        }
    }

    /// Holds a membership's row against its user's; they come in the order of `list`.
    pub fn membership(&self, row: &ListedRow) {
        if !self.on {
            return;
        }
        let columns = Columns::of(row);
        let ends = columns.of_user.zip(columns.of_organization);
        let Some((user, organization)) = ends.filter(|_| row.deleted_at.is_none()) else {
            return;
        };
        self.held().hold_against(&user, &organization);
    }

    /// A membership that one side lacks: whatever is done about it derives its user's organization anew, and until
    /// then nothing follows from what Convex has.
    pub fn differs(&self, user: Option<&str>) {
        if let Some(user) = user.filter(|_| self.on) {
            let mut held = self.held();
            let hashed = hash(user);
            if held.is_noted(hashed) {
                held.note(hashed, SETTLED);
            }
        }
    }

    /// The same of a membership that only Convex has.
    pub fn row_differs(&self, row: &ListedRow) {
        self.differs(Columns::of(row).of_user.as_deref());
    }

    /// Takes out what was found.
    pub fn take(&self) -> Found {
        let mut notes = self.held();
        let mut homeless = std::mem::take(&mut notes.users);
        homeless.retain(|_, says| *says != SETTLED);
        Found {
            suspects: std::mem::take(&mut notes.suspects),
            further: std::mem::take(&mut notes.further),
            one_of: 1 << notes.bits,
            homeless,
        }
    }

    fn held(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Notes {
    fn is_noted(&self, user: u64) -> bool {
        user.wrapping_add(self.day) & ((1 << self.bits) - 1) == 0
    }

    fn note(&mut self, user: u64, says: u64) {
        if !self.is_noted(user) {
            return;
        }
        self.users.insert(user, says);
        if self.users.len() > self.most {
            self.bits += 1;
            let (day, mask) = (self.day, (1 << self.bits) - 1);
            self.users
                .retain(|user, _| user.wrapping_add(day) & mask == 0);
            self.users.shrink_to(self.most);
        }
    }

    fn hold_against(&mut self, user: &str, organization: &str) {
        let hashed = hash(user);
        if !self.is_noted(hashed) {
            return;
        }
        let saw = self.users.get(&hashed).copied().unwrap_or(NOWHERE);
        if saw == SETTLED {
            return;
        }
        self.note(hashed, SETTLED);
        if saw == says(Some(organization)) {
            return;
        }
        if self.suspects.len() == MOST_SUSPECTS {
            self.further += 1;
            return;
        }
        if let Some(key) = Key::parse(user) {
            let expected = Some(organization.to_owned());
            self.suspects.push(Suspect { key, expected, saw });
        }
    }
}

impl Found {
    /// True if users have to be listed, so that they can be named.
    pub fn has_homeless(&self) -> bool {
        !self.homeless.is_empty()
    }

    /// Takes a user's row, listed once more: those without a membership are suspects.
    pub fn name(&mut self, row: &ListedRow) {
        let named = Columns::of(row).organization;
        let Some(organization) = named.filter(|_| row.deleted_at.is_none()) else {
            return;
        };
        let saw = says(Some(&organization));
        if self.homeless.get(&hash(row.key.as_str())) != Some(&saw) {
            return;
        }
        if self.suspects.len() == MOST_SUSPECTS {
            self.further += 1;
            return;
        }
        self.suspects.push(Suspect {
            key: row.key.clone(),
            expected: None,
            saw,
        });
    }
}

/// The columns that matter here, read without the others.
#[derive(Default, Deserialize)]
struct Columns<'r> {
    #[serde(borrow, default, rename = "organizationId")]
    organization: Option<Cow<'r, str>>,
    #[serde(borrow, default, rename = "clerkUserId")]
    of_user: Option<Cow<'r, str>>,
    #[serde(borrow, default, rename = "clerkOrganizationId")]
    of_organization: Option<Cow<'r, str>>,
}

impl<'r> Columns<'r> {
    /// None where the app has put something else than text into a column.
    fn of(row: &'r ListedRow) -> Columns<'r> {
        serde_json::from_str(row.text()).unwrap_or_default()
    }
}

/// What a user's row names.
pub fn organization(row: &Row) -> Option<&str> {
    row.fields.get(COLUMN)?.as_str()
}

fn says(organization: Option<&str>) -> u64 {
    organization.map_or(NOWHERE, |id| hash(id).max(NOWHERE + 1))
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
