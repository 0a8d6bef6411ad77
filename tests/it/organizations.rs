//! Organizations and memberships: moved, compared, put right, synced one by one, and kept when Clerk says nothing.
//!
//! The real daemon between the simulated ends. Deliveries are lost on purpose, so that what is found was found
//! by the scan that the test is about.

mod beyond;
mod counts;
mod derived;
mod histories;
mod revived;

use serde_json::{Value, json};

use crate::world::World;

/// A world with organizations whose deliveries nobody hears.
pub struct Club {
    pub world: World,
    pub users: Vec<String>,
    pub organizations: Vec<String>,
}

impl Club {
    /// So many users and organizations; each organization has its founder, who is the same for all, and so many
    /// of the other users, in turn.
    pub async fn found(settings: &[(&str, &str)], users: usize, counts: (usize, usize)) -> Club {
        let (organizations, members) = counts;
        let world = World::with(settings).await;
        world.clerk.lose_ratio(1.0);
        world.clerk.seed_users(users);
        let users = world.clerk.user_ids();
        let mut club = Club {
            world,
            users,
            organizations: Vec::new(),
        };
        for number in 0..organizations {
            let body = json!({
                "name": format!("Club {number}"),
                "created_by": club.users[0],
                "max_allowed_memberships": 0,
            });
            let clerk = &club.world.clerk;
            // Which is the oldest is not to hang on the order of ids.
            clerk.advance_ms(1);
            let id = clerk.create_organization(body).expect("founded");
            for member in 0..members {
                let user = &club.users[1 + (number + member) % (club.users.len() - 1)];
                clerk.add_member(&id, user, "org:member").expect("added");
            }
            club.organizations.push(id);
        }
        club
    }

    /// Carries out a run; answers its report.
    pub async fn run(&self, kind: &str) -> Value {
        self.order("/runs", json!({ "kind": kind })).await["report"].clone()
    }

    /// `sync` of one record, as the command asks for it.
    pub async fn sync(&self, table: &str, key: &str, revive: bool) -> Value {
        let which = json!({ "table": table, "key": key, "revive": revive });
        self.order("/sync", which).await
    }

    async fn order(&self, path: &str, body: Value) -> Value {
        let text = self.world.door().text("POST", path, Some(body)).await;
        let last = text.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|_| panic!("{path}: {text}"))
    }

    /// Finds nothing to put right, or says what.
    pub async fn agrees(&self) {
        let report = self.run("audit").await;
        assert_eq!(report["outcome"], "in_sync", "{report:#}");
    }

    /// Clerk's memberships of an organization.
    pub fn members(&self, organization: &str) -> Vec<Value> {
        let mut all = self.world.clerk.memberships();
        all.retain(|member| member["organization"]["id"] == organization);
        all
    }

    /// The row of a membership.
    pub fn member_row(&self, organization: &str, user: &str) -> Option<Value> {
        let rows = self.world.convex.rows("memberships");
        rows.into_iter()
            .find(|row| row["clerkOrganizationId"] == organization && row["clerkUserId"] == user)
    }

    /// Convex's id of a row.
    pub fn id(&self, table: &str, key: &str) -> String {
        let row = self.world.convex.row(table, key).expect("a row");
        row["_id"].as_str().expect("an id").to_owned()
    }
}

/// Members of a large organization: 1,500, or what `CLUB_MEMBERS` says, such as 50,000, which takes minutes.
fn members_of_a_large_one() -> usize {
    let said = std::env::var("CLUB_MEMBERS");
    said.map_or(1_500, |text| text.parse().expect("a number"))
}

fn of_kind<'r>(report: &'r Value, table: &str, kind: &str) -> Vec<&'r Value> {
    let all = report["differences"].as_array().expect("a list");
    let found = all
        .iter()
        .filter(|one| one["table"] == table && one["kind"] == kind);
    found.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn organizations_and_memberships_are_moved_into_empty_tables_and_agree_then() {
    let club = Club::found(&[], 40, (12, 5)).await;
    let memberships = club.world.clerk.memberships().len();
    let report = club.run("reconcile").await;
    assert_eq!(report["outcome"], "repaired", "{report:#}");
    for (table, rows) in [("organizations", 12), ("memberships", memberships)] {
        assert_eq!(club.world.convex.count(table), rows, "{table}");
        assert_eq!(report["tables"][table]["repaired"], rows, "{table}");
        assert_eq!(report["tables"][table]["clerk"], rows, "{table}");
    }
    let mutations = club.world.convex.calls().mutations;
    club.agrees().await;
    assert_eq!(club.world.convex.calls().mutations, mutations);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_drift_of_both_tables_is_named_and_put_right() {
    let club = Club::found(&[], 30, (10, 6)).await;
    club.run("reconcile").await;
    let (convex, clerk) = (&club.world.convex, &club.world.clerk);
    let org = |number: usize| club.organizations[number].as_str();
    // Missing, stale and orphaned, once by a change in Clerk and once by a hand in Convex.
    let row = club.member_row(org(1), &club.users[3]).expect("a member");
    convex
        .remove_row("memberships", row["_id"].as_str().expect("an id"))
        .expect("removed");
    clerk
        .add_member(org(9), &club.users[25], "org:member")
        .expect("added");
    clerk
        .change_role(org(2), &club.users[4], "org:admin")
        .expect("changed");
    clerk
        .remove_member(org(3), &club.users[5])
        .expect("removed");
    let hand = json!({"name": "Another Name"});
    convex
        .patch_row("organizations", &club.id("organizations", org(4)), &hand)
        .expect("patched");
    clerk
        .update_organization(org(5), json!({"name": "Renamed"}))
        .expect("renamed");
    convex
        .remove_row("organizations", &club.id("organizations", org(6)))
        .expect("removed");
    clerk.delete_organization(org(7)).expect("deleted");
    let founded = json!({"name": "Newcomers", "created_by": club.users[1]});
    let newcomers = clerk.create_organization(founded).expect("founded");

    let report = club.run("audit").await;
    let counted = |table: &str, kind: &str| of_kind(&report, table, kind).len();
    assert_eq!(counted("organizations", "missing"), 2, "{report:#}");
    assert_eq!(counted("organizations", "stale"), 2);
    assert_eq!(counted("organizations", "orphaned"), 1);
    assert_eq!(counted("memberships", "missing"), 3, "{report:#}");
    assert_eq!(counted("memberships", "stale"), 1);
    let orphaned = 1 + club
        .world
        .convex
        .rows("memberships")
        .iter()
        .filter(|row| row["clerkOrganizationId"] == org(7))
        .count();
    assert_eq!(counted("memberships", "orphaned"), orphaned);

    let report = club.run("reconcile").await;
    assert_eq!(report["outcome"], "repaired", "{report:#}");
    assert_eq!(
        club.member_row(org(2), &club.users[4]).expect("a row")["role"],
        "org:admin"
    );
    assert!(club.member_row(org(3), &club.users[5]).is_none());
    assert_eq!(
        convex.row("organizations", org(5)).expect("a row")["name"],
        "Renamed"
    );
    assert!(convex.row("organizations", &newcomers).is_some());
    club.agrees().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_nobody_told_takes_memberships_along_with_their_organization_or_user() {
    let club = Club::found(&[], 30, (12, 4)).await;
    club.run("reconcile").await;
    let (gone, leaver) = (club.organizations[4].clone(), club.users[14].clone());
    club.world
        .clerk
        .delete_organization(&gone)
        .expect("deleted");
    club.world.clerk.delete_user(&leaver).expect("deleted");
    let before = club.world.convex.count("memberships");
    let report = club.run("reconcile").await;
    assert_eq!(report["outcome"], "repaired", "{report:#}");
    let rows = club.world.convex.rows("memberships");
    assert!(rows.len() < before);
    assert!(
        rows.iter()
            .all(|row| row["clerkOrganizationId"] != gone.as_str()
                && row["clerkUserId"] != leaver.as_str())
    );
    assert!(club.world.convex.row("profiles", &leaver).is_none());
    club.agrees().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_organization_is_synced_with_its_memberships() {
    let club = Club::found(&[], 30, (3, 9)).await;
    let org = club.organizations[1].clone();
    for user in &club.users {
        club.sync("users", user, false).await;
    }
    let synced = club.sync("organizations", &org, false).await;
    assert_eq!(synced["action"], "created", "{synced}");
    let members = club.members(&org).len();
    assert_eq!(
        club.world.convex.count("memberships"),
        members,
        "its own and no others"
    );
    let synced = club.sync("organizations", &org, false).await;
    assert_eq!(synced["action"], "none", "{synced}");

    let users: Vec<String> = club
        .members(&org)
        .iter()
        .map(|member| {
            member["public_user_data"]["user_id"]
                .as_str()
                .expect("an id")
                .to_owned()
        })
        .collect();
    club.world
        .clerk
        .change_role(&org, &users[2], "org:admin")
        .expect("changed");
    club.world
        .clerk
        .remove_member(&org, &users[4])
        .expect("removed");
    let synced = club.sync("organizations", &org, false).await;
    assert_eq!(synced["action"], "updated", "{synced}");
    let reason = synced["reason"].as_str().unwrap_or_default();
    assert!(
        reason.contains("1 brought up to date, 1 deleted"),
        "{synced}"
    );
    assert_eq!(
        club.member_row(&org, &users[2]).expect("a row")["role"],
        "org:admin"
    );
    assert!(club.member_row(&org, &users[4]).is_none());

    // Nearly all of them at once is not one person's command any more.
    for user in &users[5..] {
        club.world.clerk.remove_member(&org, user).expect("removed");
    }
    for user in &users[1..4] {
        club.world.clerk.remove_member(&org, user).expect("removed");
    }
    let before = club.world.convex.count("memberships");
    let synced = club.sync("organizations", &org, false).await;
    assert_eq!(synced["action"], "held", "{synced}");
    assert_eq!(club.world.convex.count("memberships"), before);

    club.world.clerk.delete_organization(&org).expect("deleted");
    let synced = club.sync("organizations", &org, false).await;
    assert_eq!(synced["action"], "deleted", "{synced}");
    assert_eq!(club.world.convex.count("memberships"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_organizations_are_switched_off_there_are_none_to_sync_and_the_rows_stay() {
    let club = Club::found(&[], 20, (4, 3)).await;
    club.run("reconcile").await;
    let (organizations, memberships) = (
        club.world.convex.count("organizations"),
        club.world.convex.count("memberships"),
    );
    club.world
        .clerk
        .set(|settings| settings.organizations_enabled = false);
    for kind in ["audit", "reconcile", "census"] {
        let report = club.run(kind).await;
        assert_eq!(report["outcome"], "in_sync", "{report:#}");
    }
    let refused = club
        .sync("organizations", &club.organizations[0], false)
        .await;
    assert!(refused.to_string().contains("switched off"), "{refused}");
    assert_eq!(club.world.convex.count("organizations"), organizations);
    assert_eq!(club.world.convex.count("memberships"), memberships);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_role_that_nobody_told_is_there_within_one_cycle_of_slices() {
    let club = Club::found(&[], 30, (5, 4)).await;
    club.run("reconcile").await;
    let (org, user) = (&club.organizations[2], &club.users[4]);
    club.world
        .clerk
        .change_role(org, user, "org:admin")
        .expect("changed");
    club.world
        .clerk
        .update_organization(org, json!({"name": "Renamed"}))
        .expect("renamed");
    // One page holds all of each listing, so two censuses are a cycle.
    let first = club.run("census").await;
    let second = club.run("census").await;
    assert_eq!(first["outcome"], "repaired", "{first:#}");
    assert_eq!(second["outcome"], "repaired", "{second:#}");
    assert_eq!(
        club.member_row(org, user).expect("a row")["role"],
        "org:admin"
    );
    assert_eq!(
        club.world.convex.row("organizations", org).expect("a row")["name"],
        "Renamed"
    );
    // And then a quiet one costs one page and no question to Convex.
    let asked = club.world.convex.calls().queries;
    let quiet = club.run("census").await;
    assert_eq!(quiet["outcome"], "in_sync", "{quiet:#}");
    assert_eq!(quiet["calls"]["clerk"], 2, "a count and a page");
    assert_eq!(club.world.convex.calls().queries, asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comparison_of_large_organizations_asks_hardly_more_than_its_pages() {
    let members = members_of_a_large_one();
    let club = Club::found(&[], members + 500, (3, members)).await;
    club.run("reconcile").await;
    let memberships = club.world.clerk.memberships().len() as u64;
    let before = club.world.clerk.requests();
    club.agrees().await;
    let after = club.world.clerk.requests();
    let asked = |endpoint: &str| after.to(endpoint) - before.to(endpoint);
    let pages = memberships.div_ceil(500);
    // The overlap of two pages is 2 % of each; a count before; what shows the end.
    let most = (memberships * 105).div_ceil(500 * 100) + 3;
    let listed = asked("GET /v1/organization_memberships");
    assert!(
        (pages..=most).contains(&listed),
        "{listed} for {pages} pages"
    );
    assert_eq!(asked("GET /v1/organizations"), 2, "one page and a count");
    let mutations = club.world.convex.calls().mutations;
    let synced = club
        .sync("organizations", &club.organizations[0], false)
        .await;
    assert_eq!(synced["action"], "none", "{synced}");
    assert_eq!(
        club.world.convex.calls().mutations,
        mutations + 1,
        "the organization itself"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_is_not_allowed_is_the_default_and_the_report_says_how_many() {
    let club = Club::found(&[], 12, (1, 1)).await;
    for user in &club.users[3..6] {
        let claim = json!({"public_metadata": {"role": "emperor"}});
        club.world
            .clerk
            .merge_metadata(user, claim)
            .expect("merged");
    }
    for kind in ["reconcile", "audit"] {
        let report = club.run(kind).await;
        let notes = report["notes"].to_string();
        assert!(
            notes.contains("3 user(s) have a role"),
            "{kind}: {report:#}"
        );
        assert!(!report.to_string().contains("emperor"), "{report:#}");
    }
    let row = club
        .world
        .convex
        .row("users", &club.users[4])
        .expect("a row");
    assert_eq!(row["role"], "user");
}
