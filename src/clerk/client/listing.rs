//! Pages of listings, and the count of users.
//!
//! One request each. Whether a page is the last one, and whether it is believed, is the walk's to say; a
//! page that is longer than was asked for is an error here.

use std::collections::HashSet;

use super::{
    ClerkClient, CreatedBetween, Listing, MAX_IDS, MAX_PAGE, MAX_PAGE_BYTES, MAX_RECORD_BYTES,
    UserPage, nonsense, read_json, read_listing, read_users,
};
use crate::{
    clerk::{error::ClerkError, record::RawRecord, wire::TotalCount},
    model::{Key, Table},
};

impl ClerkClient {
    /// Those of these organizations that exist; as [`ClerkClient::users_by_id`].
    pub async fn organizations_by_id(&self, keys: &[Key]) -> Result<Vec<RawRecord>, ClerkError> {
        const ENDPOINT: &str = "organizations_by_id";
        if keys.len() > MAX_IDS {
            return Err(ClerkError::TooMuch { endpoint: ENDPOINT });
        }
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut query = vec![("limit", MAX_IDS.to_string())];
        query.extend(keys.iter().map(|key| ("organization_id", key.to_string())));
        let path = ["organizations"];
        let reply = self.send(ENDPOINT, &path, &query, MAX_PAGE_BYTES).await?;
        let listing = read_listing(ENDPOINT, Table::Organizations, &reply)?;
        let mut awaited: HashSet<&Key> = keys.iter().collect();
        let known = |record: &RawRecord| awaited.remove(record.key());
        if !listing.records.iter().all(known) {
            return Err(nonsense(ENDPOINT, "an organization twice or not asked for"));
        }
        Ok(listing.records)
    }

    /// One page of users. Whether it is the last one, and whether it is believed, is the caller's.
    pub async fn list_users(&self, page: &UserPage) -> Result<Vec<RawRecord>, ClerkError> {
        const ENDPOINT: &str = "list_users";
        if page.limit > MAX_PAGE || page.limit == 0 {
            return Err(ClerkError::TooMuch { endpoint: ENDPOINT });
        }
        let reply = self
            .send(ENDPOINT, &["users"], &page.query(), MAX_PAGE_BYTES)
            .await?;
        let records = read_users(ENDPOINT, &reply)?;
        if records.len() > page.limit as usize {
            return Err(nonsense(ENDPOINT, "more users than asked for"));
        }
        Ok(records)
    }

    /// How many users there are.
    pub async fn count_users(&self, created: CreatedBetween) -> Result<u64, ClerkError> {
        const ENDPOINT: &str = "count_users";
        let path = ["users", "count"];
        let query = created.query();
        let reply = self.send(ENDPOINT, &path, &query, MAX_RECORD_BYTES).await?;
        let read: TotalCount = read_json(ENDPOINT, &reply)?;
        u64::try_from(read.total_count.0).map_err(|_| nonsense(ENDPOINT, "a negative count"))
    }

    /// One page of organizations, oldest first.
    pub async fn list_organizations(&self, offset: u32, limit: u32) -> Result<Listing, ClerkError> {
        let path = ["organizations"];
        let count = ("include_members_count", "true".to_owned());
        self.list(
            "list_organizations",
            Table::Organizations,
            &path,
            (offset, limit),
            Some(count),
        )
        .await
    }

    /// One page of the memberships of all organizations, oldest first.
    pub async fn list_all_memberships(
        &self,
        offset: u32,
        limit: u32,
    ) -> Result<Listing, ClerkError> {
        self.list(
            "list_all_memberships",
            Table::Memberships,
            &["organization_memberships"],
            (offset, limit),
            None,
        )
        .await
    }

    /// One page of an organization's memberships, oldest first.
    pub async fn list_memberships(
        &self,
        organization: &Key,
        offset: u32,
        limit: u32,
    ) -> Result<Listing, ClerkError> {
        let path = ["organizations", organization.as_str(), "memberships"];
        self.list(
            "list_memberships",
            Table::Memberships,
            &path,
            (offset, limit),
            None,
        )
        .await
    }

    async fn list(
        &self,
        endpoint: &'static str,
        table: Table,
        path: &[&str],
        (offset, limit): (u32, u32),
        further: Option<(&str, String)>,
    ) -> Result<Listing, ClerkError> {
        if limit > MAX_PAGE || limit == 0 {
            return Err(ClerkError::TooMuch { endpoint });
        }
        let mut query = vec![
            ("order_by", "created_at".to_owned()),
            ("limit", limit.to_string()),
            ("offset", offset.to_string()),
        ];
        query.extend(further);
        let reply = self.send(endpoint, path, &query, MAX_PAGE_BYTES).await?;
        let listing = read_listing(endpoint, table, &reply)?;
        if listing.records.len() > limit as usize {
            return Err(nonsense(endpoint, "more records than asked for"));
        }
        Ok(listing)
    }
}
