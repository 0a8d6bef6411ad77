//! Runs asked for over the operators' door, and what must be true after every scenario of them.
//!
//! A scenario ends with [`World::agrees`]: both sides hold the same records, an audit finds nothing, and
//! it writes nothing. Nobody hears of what is done inside [`World::unheard`].

use std::{collections::BTreeSet, sync::Arc};

use clerk_convex_sync::sandbox::{clerk::ClerkSim, convex::ConvexSim};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{
    door::Door,
    world::{PATH, World, eventually},
};

/// The page of users that a full diff reads: nothing else asks for so many at once.
const PAGE: &str = "limit=500";

/// Runs to its end; the report, or why there is none.
pub async fn run(door: &Door, wish: Value) -> Result<Value, String> {
    let text = door.text("POST", "/runs", Some(wish)).await;
    let last = text.lines().last().unwrap_or_default();
    let mut line: Value = serde_json::from_str(last).unwrap_or_else(|_| panic!("{text}"));
    match line.get_mut("report") {
        Some(report) => Ok(report.take()),
        None => Err(line["error"]["message"]
            .as_str()
            .or_else(|| line["error"].as_str())
            .unwrap_or_else(|| panic!("{text}"))
            .to_owned()),
    }
}

/// A run that comes to a report.
pub async fn report(door: &Door, kind: &str) -> Value {
    let report = run(door, json!({ "kind": kind })).await;
    report.unwrap_or_else(|error| panic!("{kind}: {error}"))
}

/// The keys of a table's rows that carry one.
pub fn keys(convex: &ConvexSim, table: &str) -> BTreeSet<String> {
    let rows = convex.rows(table);
    let keys = rows.iter().filter_map(|row| row["clerkId"].as_str());
    keys.map(str::to_owned).collect()
}

/// Both sides have the same records, by their ids alone; what is in them is the audit's to say.
pub fn same_records(clerk: &ClerkSim, convex: &ConvexSim) {
    let users: BTreeSet<String> = clerk.user_ids().into_iter().collect();
    assert!(keys(convex, "users") == users, "other users");
    assert!(keys(convex, "profiles") == users, "other profiles");
    let ids = |records: Vec<Value>| -> BTreeSet<String> {
        let ids = records.iter().filter_map(|record| record["id"].as_str());
        ids.map(str::to_owned).collect()
    };
    let organizations = ids(clerk.organizations());
    assert_eq!(keys(convex, "organizations"), organizations);
    assert_eq!(keys(convex, "memberships"), ids(clerk.memberships()));
}

/// The sentences of a report that are not about one record.
pub fn notes(report: &Value) -> String {
    report["notes"].to_string()
}

/// The differences of one kind: table and key, in order.
pub fn found(report: &Value, kind: &str) -> Vec<(String, String)> {
    let all = report["differences"].as_array().expect("a list");
    let mut found: Vec<_> = all
        .iter()
        .filter(|one| one["kind"] == kind)
        .map(|one| (text(&one["table"]), text(&one["key"])))
        .collect();
    found.sort();
    found
}

/// A string.
pub fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

/// Pages of users that full diffs have asked for.
pub fn pages(clerk: &ClerkSim) -> usize {
    let requests = clerk.requests();
    let pages = requests
        .last()
        .filter(|asked| asked.endpoint == "GET /v1/users" && asked.query.contains(PAGE));
    pages.count()
}

impl World {
    /// Does something in Clerk of which no delivery tells.
    pub fn unheard<T>(&self, change: impl FnOnce(&ClerkSim) -> T) -> T {
        self.clerk.set_webhook_url(None);
        let done = change(&self.clerk);
        self.heard();
        done
    }

    /// From now on deliveries tell of changes.
    pub fn heard(&self) {
        let url = format!("http://{}{PATH}", self.daemon().public_addr());
        self.clerk.set_webhook_url(Some(url));
    }

    /// A run that comes to a report.
    pub async fn report(&self, kind: &str) -> Value {
        report(&self.door(), kind).await
    }

    /// A run beside which the test does something else.
    pub fn begin(&self, kind: &'static str) -> JoinHandle<Result<Value, String>> {
        let door = Arc::new(self.door());
        tokio::spawn(async move { run(&door, json!({ "kind": kind })).await })
    }

    /// So many users, and both sides agree.
    pub async fn filled(settings: &[(&str, &str)], users: usize) -> World {
        let world = World::with(settings).await;
        world.unheard(|clerk| clerk.seed_users(users));
        let report = world.report("reconcile").await;
        assert_eq!(report["outcome"], "repaired", "{}", notes(&report));
        // Only a second look shows that the key knows these rows; later runs do not look for that again.
        world.agrees().await;
        world
    }

    /// Waits until a full diff has read its next page of users.
    pub async fn page_read(&self, before: usize) {
        eventually("a page was read", async || pages(&self.clerk) > before).await;
    }

    /// See the module's words.
    pub async fn agrees(&self) {
        self.quiet().await;
        let mutations = self.convex.calls().mutations;
        let audit = self.report("audit").await;
        assert_eq!(audit["outcome"], "in_sync", "{audit:#}");
        assert_eq!(audit["differences"], json!([]));
        assert_eq!(
            self.convex.calls().mutations,
            mutations,
            "an audit writes nothing"
        );
        same_records(&self.clerk, &self.convex);
        self.settled().await;
    }
}
