//! What a value from Clerk means for a field that the user has edited: which goes, and whether both had changed it.
//!
//! Pure. Where both had, it keeps both words with their times, as the answer of `apply` tells of them: once, by the
//! call that decides it. Knows nothing of rows.

use std::sync::Arc;

use super::super::value::{Encoding, Value, write_float, write_text};
use super::{ECHO_WAIT_MS, EditedField, Said};

/// One field.
#[derive(Debug)]
pub(super) struct Conflict {
    pub(super) key: Arc<str>,
    pub(super) field: Arc<str>,
    /// Whose word goes.
    pub(super) winner: &'static str,
    /// What Clerk says.
    pub(super) clerk: Value,
    /// In which version.
    pub(super) version: f64,
    /// What the user wrote.
    pub(super) convex: Value,
    /// When, in milliseconds.
    pub(super) edited_at: f64,
}

/// Adds these to an answer that is being written, behind its other members; nothing if there are none.
pub(super) fn write(out: &mut Vec<u8>, conflicts: &[Conflict]) {
    if conflicts.is_empty() {
        return;
    }
    out.extend_from_slice(b",\"conflicts\":[");
    for (index, one) in conflicts.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        one.write(out);
    }
    out.push(b']');
}

/// Whether this value is older than the user's edit. A version alone cannot tell, since a sign-in moves it
/// without touching the field: what stood there before the edit is old whatever its version, until
/// Clerk has been seen to have the edit.
pub(super) fn holds_back(
    edited_at: f64,
    settled_at: Option<f64>,
    field: &EditedField,
    said: Said<'_>,
    now: f64,
) -> bool {
    if field.value.same(said.value) || field.carried.is_some_and(|at| said.version > at) {
        return false;
    }
    let old = said.version < edited_at || field.held_before(said.value);
    match settled_at {
        None => old,
        Some(at) => old && said.version < at && now - at < ECHO_WAIT_MS,
    }
}

impl Conflict {
    /// A field that waits and that both sides have changed; none where only one has: Clerk holds what it held
    /// before, or has had the edit already.
    pub(super) fn between(
        key: &str,
        field: &EditedField,
        said: Said<'_>,
        held: bool,
    ) -> Option<Conflict> {
        if field.carried.is_some() || field.value.same(said.value) {
            return None;
        }
        let winner = match held {
            false => "clerk",
            // The same change again gets the same answer: the first one may have been lost.
            true if field.contested == Some(said.version) => "convex",
            true if field.held_before(said.value) => return None,
            true => "convex",
        };
        Some(Conflict {
            key: Arc::from(key),
            field: Arc::clone(&field.name),
            winner,
            clerk: said.value.clone(),
            version: said.version,
            convex: field.value.clone(),
            edited_at: field.at,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"clerk\":");
        self.clerk.write(out, Encoding::Json);
        out.extend_from_slice(b",\"convex\":");
        self.convex.write(out, Encoding::Json);
        out.extend_from_slice(b",\"editedAt\":");
        write_float(out, self.edited_at, Encoding::Json);
        out.extend_from_slice(b",\"field\":");
        write_text(out, &self.field);
        out.extend_from_slice(b",\"key\":");
        write_text(out, &self.key);
        out.extend_from_slice(b",\"version\":");
        write_float(out, self.version, Encoding::Json);
        out.extend_from_slice(b",\"winner\":");
        write_text(out, self.winner);
        out.push(b'}');
    }
}
