//! Reading Clerk's answers of success into records.
//!
//! A record that cannot be read spoils its whole page: a listing with a hole proves nothing. The errors
//! name the request and the member and hold no value.

use serde_json::value::RawValue;

use super::Listing;
use crate::{
    clerk::{
        error::ClerkError,
        record::RawRecord,
        shape::{Reason, ShapeError, read},
        wire::Listed,
    },
    model::Table,
    outbound::Reply,
};

pub(super) fn read_users(
    endpoint: &'static str,
    reply: &Reply,
) -> Result<Vec<RawRecord>, ClerkError> {
    read_all(endpoint, Table::Users, read_json(endpoint, reply)?)
}

pub(super) fn read_listing(
    endpoint: &'static str,
    table: Table,
    reply: &Reply,
) -> Result<Listing, ClerkError> {
    let listed: Listed = read_json(endpoint, reply)?;
    Ok(Listing {
        records: read_all(endpoint, table, listed.data)?,
        total: u64::try_from(listed.total_count.0)
            .map_err(|_| nonsense(endpoint, "a negative count"))?,
    })
}

fn read_all(
    endpoint: &'static str,
    table: Table,
    texts: Vec<&RawValue>,
) -> Result<Vec<RawRecord>, ClerkError> {
    let read = |text: &&RawValue| RawRecord::read(table, text.get());
    let records: Result<_, _> = texts.iter().map(read).collect();
    records.map_err(|error| unreadable(endpoint, error))
}

pub(super) fn read_json<'r, T: serde::Deserialize<'r>>(
    endpoint: &'static str,
    reply: &'r Reply,
) -> Result<T, ClerkError> {
    read("answer", &reply.body).map_err(|reason| ClerkError::Nonsense { endpoint, reason })
}

pub(super) fn nonsense(endpoint: &'static str, words: &str) -> ClerkError {
    let reason = Reason::of(words);
    ClerkError::Nonsense { endpoint, reason }
}

pub(super) fn unreadable(endpoint: &'static str, error: ShapeError) -> ClerkError {
    // The error's own words hold no value of the record.
    nonsense(endpoint, &error.to_string())
}
