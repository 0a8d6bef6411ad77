//! Changes to Clerk's users: the profile that somebody edited in the app, and where their row is.
//!
//! [`super::ClerkClient`] can only ask; this is the one type with verbs that change something, and it is
//! made only where the configuration allows a [`Permit`]. One request each, repeated by nobody here. Both
//! may be repeated: they set values, they do not add to them. Believes an answer only if it shows the user
//! that was meant.

use bytes::Bytes;
use reqwest::{
    Method,
    header::{CONTENT_TYPE, HeaderValue},
};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    ClerkClient, MAX_RECORD_BYTES,
    reading::{nonsense, read_json, unreadable},
};
use crate::{
    clerk::{budget::Priority, error::ClerkError, record::RawRecord},
    model::{Key, Table},
    outbound::{ExchangeError, Request, below},
};

/// Which kinds of changes the configuration allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permit {
    /// `profile_edits.enabled`
    pub profiles: bool,
    /// `clerk.write_back`
    pub metadata: bool,
}

/// Changes users in Clerk. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ClerkWriter {
    /// Somebody looks at the profile that was edited.
    live: ClerkClient,
    /// Nobody waits for what is written back.
    later: ClerkClient,
}

/// The members of a user that are to be set; what is `None` stays. An inner `None` clears.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
pub struct ProfilePatch {
    /// The first name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_name: Option<Option<String>>,
    /// The last name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_name: Option<Option<String>>,
    /// The username; unique in the instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<Option<String>>,
}

// Names are personal, so Debug shows only which are set.
impl std::fmt::Debug for ProfilePatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let set = [
            ("first_name", &self.first_name),
            ("last_name", &self.last_name),
            ("username", &self.username),
        ];
        let names = set.iter().filter(|(_, value)| value.is_some());
        f.debug_set().entries(names.map(|(name, _)| name)).finish()
    }
}

impl ProfilePatch {
    /// True if nothing would be set.
    pub fn is_empty(&self) -> bool {
        *self == ProfilePatch::default()
    }
}

impl ClerkWriter {
    /// A writer beside this client, or none if the configuration allows no change at all.
    pub fn permitted(client: &ClerkClient, permit: Permit) -> Option<ClerkWriter> {
        (permit.profiles || permit.metadata).then(|| ClerkWriter {
            live: client.at(Priority::Live),
            later: client.at(Priority::Confirm),
        })
    }

    /// Sets members of a user's profile; answers with the user as it is then. Clerk bounds changes of one
    /// user to ten in ten seconds, together with those of [`ClerkWriter::merge_user_metadata`].
    ///
    /// # Errors
    /// [`ClerkError::Rejected`] for values that Clerk does not want, [`ClerkError::NotFound`] for a user
    /// that does not exist; the others say nothing about this user.
    pub async fn update_user(
        &self,
        key: &Key,
        patch: &ProfilePatch,
    ) -> Result<RawRecord, ClerkError> {
        let path = ["users", key.as_str()];
        write(&self.live, "update_user", key, &path, patch).await
    }

    /// Merges into a user's private metadata, which only servers see: keys that are not named stay, null
    /// removes one. Answers with the user as it is then.
    ///
    /// # Errors
    /// As [`ClerkWriter::update_user`].
    pub async fn merge_user_metadata(
        &self,
        key: &Key,
        private: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<RawRecord, ClerkError> {
        #[derive(Serialize)]
        struct Body<'a> {
            private_metadata: &'a serde_json::Map<String, serde_json::Value>,
        }
        let path = ["users", key.as_str(), "metadata"];
        let body = Body {
            private_metadata: private,
        };
        write(&self.later, "merge_metadata", key, &path, &body).await
    }
}

async fn write(
    client: &ClerkClient,
    endpoint: &'static str,
    key: &Key,
    path: &[&str],
    body: &impl Serialize,
) -> Result<RawRecord, ClerkError> {
    let body = serde_json::to_vec(body).map_err(|_| ExchangeError::Unbuildable)?;
    let mut headers = client.headers.clone();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let request = Request {
        name: endpoint,
        method: Method::PATCH,
        url: below(&client.api, path)?,
        headers,
        body: Some(Bytes::from(body)),
        timeout: client.timeout,
        max_bytes: MAX_RECORD_BYTES,
    };
    let reply = client.exchange(request).await?;
    let text: &RawValue = read_json(endpoint, &reply)?;
    let record = RawRecord::read(Table::Users, text.get()).map_err(|e| unreadable(endpoint, e))?;
    if record.key() != key {
        return Err(nonsense(endpoint, "another user than was meant"));
    }
    Ok(record)
}

#[cfg(test)]
mod tests;
