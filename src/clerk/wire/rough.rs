//! What can be told of a signed body that is not of the expected shape.
//!
//! Of members whose types are wrong only these are lost: a broken time hides neither whose event it is nor which
//! record it is about. Only on the way to a dead letter. Pure.

use serde_json::value::RawValue;

use super::{EventType, head::harmless, names};
use crate::{
    clerk::{
        lenient::{Loose, lenient},
        shape::ShapeError,
    },
    model::{Key, RecordKey, Table},
};

lenient! {
    /// The outside of a webhook body, whatever its members are.
    pub struct Rough<'a> {
        /// The event's type.
        "type" => opt kind: Loose<'a>,
        /// The Clerk instance that sent it.
        "instance_id" => opt instance_id: Loose<'a>,
        /// The record.
        "data" => opt data: Option<&'a RawValue>,
    }
}

impl<'a> Rough<'a> {
    /// Reads what there is; of what is no JSON object, nothing.
    pub fn parse(body: &'a [u8]) -> Self {
        serde_json::from_slice(body).unwrap_or(Rough {
            kind: Loose::Absent,
            instance_id: Loose::Absent,
            data: None,
        })
    }

    /// The event's type, if it is one that is synced.
    pub fn event(&self) -> Option<EventType> {
        self.kind.text().and_then(EventType::parse)
    }

    /// The instance, if it says which.
    pub fn instance(&self) -> Option<&str> {
        let instance = self.instance_id.text();
        instance.filter(|id| Key::parse(id).is_some())
    }

    /// The error, with the record that the body names. An event that is not synced needs no shape.
    pub(super) fn about(&self, error: ShapeError) -> ShapeError {
        match (self.event(), self.kind.text()) {
            (None, Some(kind)) => ShapeError::NotSynced(harmless(kind)),
            _ => error.about(self.names()),
        }
    }

    fn names(&self) -> Option<RecordKey> {
        let data = self.data?.get();
        match self.event() {
            Some(event) => names(event.table, data),
            // Ids say what they are of.
            None => [Table::Users, Table::Organizations, Table::Memberships]
                .into_iter()
                .find_map(|table| names(table, data)),
        }
    }
}
