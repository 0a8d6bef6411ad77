//! Reading Clerk's answers of success into records.
//!
//! A record that cannot be read spoils its whole page: a listing with a hole proves nothing. The errors
//! name the request and the member and hold no value.

use bytes::Bytes;
use serde_json::{Deserializer, value::RawValue};

use super::{Listing, MAX_PAGE};
use crate::{
    clerk::{
        error::ClerkError,
        record::RawRecord,
        shape::{Reason, ShapeError, read},
        wire::{Listed, UserOutline},
    },
    model::Table,
    outbound::Reply,
};

pub(super) fn read_users(
    endpoint: &'static str,
    reply: &Reply,
) -> Result<Vec<RawRecord>, ClerkError> {
    match read_array(&reply.body) {
        Some(records) => Ok(records),
        None => read_all(
            endpoint,
            Table::Users,
            &reply.body,
            read_json(endpoint, reply)?,
        ),
    }
}

/// Reads an array of users in one pass, where finding their ends first would make it two: a million users
/// are gigabytes. Each user stays where it lies in the answer. None if anything is unusual; the slow way then finds out what.
fn read_array(body: &Bytes) -> Option<Vec<RawRecord>> {
    let mut rest = std::str::from_utf8(body).ok()?.trim_ascii();
    rest = rest.strip_prefix('[')?.strip_suffix(']')?.trim_ascii();
    let mut records = Vec::with_capacity(MAX_PAGE as usize);
    while !rest.is_empty() {
        if !records.is_empty() {
            rest = rest.strip_prefix(',')?.trim_ascii_start();
        }
        let mut values = Deserializer::from_str(rest).into_iter::<UserOutline>();
        let outline = values.next()?.ok()?;
        let (text, behind) = rest.split_at_checked(values.byte_offset())?;
        records.push(RawRecord::of_user(&outline, body, text).ok()?);
        rest = behind.trim_ascii_start();
    }
    Some(records)
}

pub(super) fn read_listing(
    endpoint: &'static str,
    table: Table,
    reply: &Reply,
) -> Result<Listing, ClerkError> {
    let listed: Listed = read_json(endpoint, reply)?;
    Ok(Listing {
        records: read_all(endpoint, table, &reply.body, listed.data)?,
        total: u64::try_from(listed.total_count.0)
            .map_err(|_| nonsense(endpoint, "a negative count"))?,
    })
}

fn read_all(
    endpoint: &'static str,
    table: Table,
    page: &Bytes,
    texts: Vec<&RawValue>,
) -> Result<Vec<RawRecord>, ClerkError> {
    let read = |text: &&RawValue| RawRecord::within(table, page, text.get());
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

#[cfg(test)]
mod tests {
    use super::*;

    fn both(body: &str) -> (Option<Vec<RawRecord>>, Option<Vec<RawRecord>>) {
        let page = Bytes::copy_from_slice(body.as_bytes());
        let slow = serde_json::from_slice::<Vec<&RawValue>>(&page)
            .ok()
            .and_then(|texts| read_all("list_users", Table::Users, &page, texts).ok());
        (read_array(&page), slow)
    }

    #[test]
    fn the_fast_way_reads_what_the_slow_way_reads_and_nothing_else() {
        let a = r#"{"id":"user_1","created_at":1,"updated_at":2.0,"x":"],[}{\"\u00e9é"}"#;
        let b = r#"{"nested":[{"id":"user_9"},[1,2]],"id":"user_2","created_at":1,"updated_at":3}"#;
        for good in [
            "[]".to_owned(),
            " [ ] \n".to_owned(),
            format!("[{a}]"),
            format!("\r\n[ {a}\t,\n{b} ]\n"),
        ] {
            let (fast, slow) = both(&good);
            assert!(fast.is_some(), "{good}");
            assert_eq!(fast, slow, "{good}");
        }
        for bad in [
            String::new(),
            "[".into(),
            "]".into(),
            "[,]".into(),
            "[1]".into(),
            "[null]".into(),
            format!("[{a},]"),
            format!("[,{a}]"),
            format!("[{a}{b}]"),
            format!("[{a},,{b}]"),
            format!("[{a}] x"),
            format!("[{a}]]"),
            format!("{{{a}}}"),
            "[{\"id\":\"user_1\",\"created_at\":1}]".into(),
            "[{\"id\":\"\",\"created_at\":1,\"updated_at\":2}]".into(),
        ] {
            assert_eq!(both(&bad), (None, None), "{bad}");
        }
    }

    #[test]
    fn cut_anywhere_it_is_refused_and_nothing_panics() {
        let whole = r#"[{"id":"user_1","created_at":1,"updated_at":2,"name":"Zoë"},{"id":"user_2","created_at":1,"updated_at":2}]"#;
        for end in 0..whole.len() {
            assert_eq!(
                read_array(&Bytes::copy_from_slice(&whole.as_bytes()[..end])),
                None
            );
        }
        assert_eq!(read_array(&Bytes::from_static(b"[\xff]")), None);
    }
}
