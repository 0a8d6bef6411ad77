//! What intake must know of an event before it is stored, and no more.
//!
//! Runs on every delivery, so it reads the record's members only as far as order and identity go and
//! keeps nothing else. It does not judge whether the record can be mapped; that a head could be read
//! promises an id, a version and, for a membership, both ends.

use super::{Envelope, EventType, Named, PublicUserData, Rough, key_of, names};
use crate::{
    clerk::{
        lenient::{Millis, Text, lenient},
        shape::{Reason, ShapeError, read},
    },
    model::{ConfirmedDelete, Key, RecordKey, Standing, Table, Version},
};

/// The two ends of a membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parents {
    /// `org_…`. Missing only in a deletion.
    pub organization: Option<Key>,
    /// `user_…`. Missing only in a deletion.
    pub user: Option<Key>,
}

/// The head of an event: which record, at which point of its history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// What happened.
    pub event: EventType,
    /// To which record.
    pub record: RecordKey,
    /// The version that the event carries: `updated_at`, of a deletion the envelope's `timestamp`.
    pub standing: Standing,
    /// The record's `created_at` in milliseconds; deletions of users and organizations have none.
    pub created_at: Option<i64>,
    /// When it happened by the envelope, for latency; missing in broken examples.
    pub happened: Option<Version>,
    /// The instance that sent it, if it says so.
    pub instance_id: Option<Box<str>>,
    /// Stands for the bytes of `data`: CRC-32C above, length below. Two events of one version with
    /// different fingerprints have to be settled by asking Clerk. Not proof against intent.
    pub fingerprint: u64,
    /// Of a membership: its ends.
    pub parents: Option<Parents>,
}

lenient! {
    struct Living<'a> {
        "id" => req id: Text<'a>,
        "object" => opt object: Option<Text<'a>>,
        "created_at" => req created_at: Millis,
        "updated_at" => req updated_at: Millis,
        "organization" => opt organization: Option<Named<'a>>,
        "public_user_data" => opt public_user_data: Option<PublicUserData<'a>>,
    }
}

lenient! {
    struct Deleted<'a> {
        "id" => req id: Text<'a>,
        "object" => opt object: Option<Text<'a>>,
        "deleted" => opt deleted: Option<bool>,
        "created_at" => opt created_at: Option<Millis>,
        "organization" => opt organization: Option<Named<'a>>,
        "public_user_data" => opt public_user_data: Option<PublicUserData<'a>>,
    }
}

/// What the two forms have in common once read.
struct Found {
    key: Key,
    standing: Standing,
    created_at: Option<i64>,
    parents: Parents,
}

impl Head {
    /// Reads the head of a webhook body. Any bytes are allowed; none make it panic.
    pub fn parse(body: &[u8]) -> Result<Head, ShapeError> {
        let envelope = Envelope::parse(body).map_err(|error| Rough::parse(body).about(error))?;
        let Some(event) = EventType::parse(envelope.kind.as_str()) else {
            return Err(ShapeError::NotSynced(harmless(envelope.kind.as_str())));
        };
        let data = envelope.data()?;
        let found = if event.deleted {
            Self::deleted(event, &envelope, data)
        } else {
            Self::living(event, data)
        };
        let found = found.map_err(|error| error.about(names(event.table, data)))?;
        Ok(Head {
            event,
            record: RecordKey::new(event.table, found.key),
            standing: found.standing,
            created_at: found.created_at,
            happened: envelope.timestamp.map(|at| Version::from_timestamp(at.0)),
            instance_id: envelope.instance().map(Into::into),
            fingerprint: fingerprint(data),
            parents: (event.table == Table::Memberships).then_some(found.parents),
        })
    }

    /// The proof of a deletion, if this is the head of one. Only the head of a verified event proves
    /// anything; that it is one is the caller's to know.
    pub fn deletion(&self) -> Option<ConfirmedDelete> {
        let RecordKey { table, key } = &self.record;
        let gone = self.standing.deleted;
        gone.then(|| ConfirmedDelete::by_event(*table, key.clone()))
    }

    fn living(event: EventType, data: &str) -> Result<Found, ShapeError> {
        let read: Living = read("data", data.as_bytes()).map_err(ShapeError::malformed)?;
        expect_object(event.table, read.object)?;
        let parents = parents(read.organization, read.public_user_data);
        if event.table == Table::Memberships {
            let missing = match (&parents.organization, &parents.user) {
                (None, _) => Some("data.organization.id is missing"),
                (_, None) => Some("data.public_user_data.user_id is missing"),
                _ => None,
            };
            if let Some(words) = missing {
                return Err(ShapeError::malformed(Reason::of(words)));
            }
        }
        Ok(Found {
            key: key_of(&read.id)?,
            standing: Standing::alive(Version(read.updated_at.0)),
            created_at: Some(read.created_at.0),
            parents,
        })
    }

    /// A deletion is believed only when it says so in every way its form has: a membership's is the
    /// whole membership, the others are `{ id, object, deleted: true }`.
    fn deleted(event: EventType, envelope: &Envelope<'_>, data: &str) -> Result<Found, ShapeError> {
        let read: Deleted = read("data", data.as_bytes()).map_err(ShapeError::malformed)?;
        expect_object(event.table, read.object)?;
        let says_so = match read.deleted {
            Some(deleted) => deleted,
            None => event.table == Table::Memberships,
        };
        if !says_so {
            let words = "data.deleted is not true in a deletion";
            return Err(ShapeError::malformed(Reason::of(words)));
        }
        let Some(timestamp) = envelope.timestamp else {
            let words = "event.timestamp is missing in a deletion";
            return Err(ShapeError::malformed(Reason::of(words)));
        };
        Ok(Found {
            key: key_of(&read.id)?,
            standing: Standing::gone(Version::from_timestamp(timestamp.0)),
            created_at: read.created_at.map(|at| at.0),
            parents: parents(read.organization, read.public_user_data),
        })
    }
}

/// The fingerprint of a record's own text, as [`Head::fingerprint`] has it.
fn fingerprint(data: &str) -> u64 {
    let crc = u64::from(crc32c::crc32c(data.as_bytes()));
    let length = data.len() as u64 & u64::from(u32::MAX);
    crc << 32 | length
}

fn parents(organization: Option<Named<'_>>, user: Option<PublicUserData<'_>>) -> Parents {
    let key = |id: Option<Text<'_>>| id.and_then(|id| Key::parse(id.as_str()));
    Parents {
        organization: key(organization.and_then(|organization| organization.id)),
        user: key(user.and_then(|user| user.user_id)),
    }
}

/// Refuses a record of one kind in an event of another.
fn expect_object(table: Table, object: Option<Text<'_>>) -> Result<(), ShapeError> {
    let expected = match table {
        Table::Users | Table::Profiles => "user",
        Table::Organizations => "organization",
        Table::Memberships => "organization_membership",
    };
    match object {
        Some(object) if object.as_str() != expected => Err(ShapeError::malformed(Reason::of(
            "data.object is not what the event's type says",
        ))),
        _ => Ok(()),
    }
}

/// An event type that is not synced, fit for a metric's label.
pub(super) fn harmless(name: &str) -> Box<str> {
    /// Longer than any type in Clerk's catalogue.
    const MAX_BYTES: usize = 48;
    let fine = !name.is_empty()
        && name.len() <= MAX_BYTES
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.');
    if fine { name.into() } else { "other".into() }
}
