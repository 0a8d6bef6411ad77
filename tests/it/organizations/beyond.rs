//! What a deployment may have beyond the contract, and listings by offset that are taken up where they were.

use clerk_convex_sync::sandbox::{
    clerk::faults::{Fault, Wrong},
    convex::{FaultKind, FaultRule},
};
use serde_json::{Value, json};

use super::Club;
use crate::{
    process::System,
    world::{World, eventually},
};

const MEMBERSHIPS: &str = "GET /v1/organization_memberships";

/// Calls of a function so far.
fn calls(world: &World, function: &str) -> u64 {
    let calls = world.convex.calls();
    calls.counts.get(function).copied().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_counts_files_whose_owner_is_gone_and_takes_them_for_no_difference() {
    let club = Club::found(&[], 10, (1, 1)).await;
    club.run("reconcile").await;
    let convex = &club.world.convex;
    for (user, files) in [(3, 3), (4, 2)] {
        let owner = club.id("users", &club.users[user]);
        for _ in 0..files {
            let file = json!({"userId": owner, "name": "a file"});
            convex.insert_row("files", &file).expect("inserted");
        }
    }
    let audit = club.run("audit").await;
    assert_eq!(audit["files"], json!({"ownerless": 0}), "{audit:#}");
    club.world
        .clerk
        .delete_user(&club.users[3])
        .expect("deleted");
    let report = club.run("reconcile").await;
    assert_eq!(report["outcome"], "repaired", "{report:#}");
    assert_eq!(report["files"], json!({"ownerless": 3}), "{report:#}");
    assert_eq!(convex.rows("files").len(), 5, "files were kept");
    let audit = club.run("audit").await;
    assert_eq!(audit["outcome"], "in_sync", "{audit:#}");
    assert_eq!(audit["files"], json!({"ownerless": 3}));
    // Kept with the report, and only where users were compared.
    let id = audit["id"].as_str().expect("an id");
    let kept = club.world.state.path().join("reports");
    let text = std::fs::read_dir(kept)
        .expect("reports")
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path()).ok())
        .find(|text| text.contains(id) && text.contains("\"schema\""));
    let kept: Value = serde_json::from_str(&text.expect("the report")).expect("JSON");
    assert_eq!(kept["files"], json!({"ownerless": 3}));
    let wish = json!({"kind": "audit", "tables": ["memberships"]});
    let part = club.order("/runs", wish).await["report"].clone();
    assert_eq!(part.get("files"), None, "{part:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_cannot_count_files_costs_the_figure_and_nothing_else() {
    let club = Club::found(&[], 5, (1, 1)).await;
    club.run("reconcile").await;
    club.world.convex.without_functions(&["strays", "members"]);
    let audit = club.run("audit").await;
    assert_eq!(audit["outcome"], "in_sync", "{audit:#}");
    assert_eq!(audit.get("files"), None, "{audit:#}");
    assert_eq!(audit["notes"], json!([]), "an older module is no fault");
    club.world.convex.without_functions(&[]);
    let mut broken = FaultRule::new(FaultKind::Error);
    broken.function = Some("strays".into());
    club.world.convex.fault(broken);
    let audit = club.run("audit").await;
    assert_eq!(audit["outcome"], "in_sync", "{audit:#}");
    assert_eq!(audit.get("files"), None, "{audit:#}");
    assert!(
        audit["notes"].to_string().contains("could not be counted"),
        "{audit:#}"
    );
    // A production deployment does not say that a function is not there: it says nothing.
    club.world.convex.clear_faults();
    for function in ["strays", "members"] {
        let mut wordless = FaultRule::new(FaultKind::Error);
        wordless.function = Some(function.into());
        wordless.redacted = Some(true);
        club.world.convex.fault(wordless);
    }
    let audit = club.run("audit").await;
    assert_eq!(audit["outcome"], "in_sync", "{audit:#}");
    assert_eq!(audit["notes"], json!([]), "{audit:#}");
    let organization = club.organizations[0].clone();
    let synced = club.sync("organizations", &organization, false).await;
    assert_eq!(synced["clerk"], "found", "{synced}");
}

#[tokio::test(flavor = "multi_thread")]
async fn syncing_one_organization_reads_its_own_rows_and_the_table_only_of_an_older_module() {
    let club = Club::found(&[], 30, (12, 9)).await;
    club.run("reconcile").await;
    let world = &club.world;
    // The first one also lists a row, to see that key and deployment belong together.
    club.sync("organizations", &club.organizations[0], false)
        .await;
    for (organization, missing) in [(3, &[][..]), (4, &["members"][..])] {
        world.convex.without_functions(missing);
        let org = club.organizations[organization].clone();
        let leaver = club.users[1 + organization].clone();
        world.clerk.remove_member(&org, &leaver).expect("removed");
        let before = world.convex.count("memberships");
        let (members, listed) = (calls(world, "members"), calls(world, "list"));
        let synced = club.sync("organizations", &org, false).await;
        assert_eq!(synced["action"], "updated", "{synced}");
        assert_eq!(world.convex.count("memberships"), before - 1);
        assert!(club.member_row(&org, &leaver).is_none());
        let read = (
            calls(world, "members") - members,
            calls(world, "list") - listed,
        );
        let expected = if missing.is_empty() { (1, 0) } else { (0, 1) };
        assert_eq!(read, expected, "{missing:?}");
    }
    club.agrees().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_were_found_before_the_functions_failed_do_not_count_twice() {
    let club = Club::found(&[("CCS_CONVEX__PAGE", "3")], 30, (1, 12)).await;
    club.run("reconcile").await;
    let (world, org) = (&club.world, club.organizations[0].clone());
    let first = world.convex.rows("memberships");
    let is_first = |member: &Value| first[..6].iter().any(|row| row["clerkId"] == member["id"]);
    let mut leavers = 0;
    for member in club.members(&org).iter().filter(|one| is_first(one)) {
        let user = member["public_user_data"]["user_id"].as_str();
        // As many as go without a person: one more would be held.
        if user != Some(club.users[0].as_str()) && leavers < 5 {
            let user = user.expect("a user");
            world.clerk.remove_member(&org, user).expect("removed");
            leavers += 1;
        }
    }
    let rule = |kind| FaultRule {
        function: Some("members".into()),
        redacted: Some(true),
        ..FaultRule::new(kind)
    };
    let mut slow = rule(FaultKind::Latency);
    slow.ms = Some(400);
    world.convex.fault(slow);
    let (synced, ()) = tokio::join!(club.sync("organizations", &org, false), async {
        eventually("a page was read", async || calls(world, "members") > 0).await;
        world.convex.clear_faults();
        world.convex.fault(rule(FaultKind::Error));
    });
    assert_eq!(synced["action"], "updated", "{synced}");
    let reason = synced["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("5 deleted"), "{synced}");
    club.agrees().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memberships_that_were_cut_off_are_taken_up_at_their_page_and_not_at_the_first() {
    let mut system = System::with(&[]).await;
    system.clerk.seed_users(4_000);
    system.clerk.seed_organizations(1, 4_000);
    let asked = |system: &System| system.clerk.requests().to(MEMBERSHIPS);
    // A count and six pages of nine, and then nothing comes any more.
    system
        .clerk
        .fault(Fault::next(MEMBERSHIPS, Wrong::Latency { ms: 60_000 }).after(7));
    let wish = json!({"kind": "audit", "tables": ["memberships"]});
    let door = system.door();
    let first = tokio::spawn({
        let wish = wish.clone();
        async move { door.text("POST", "/runs", Some(wish)).await }
    });
    eventually("six pages were read", async || asked(&system) == 7).await;
    first.abort();
    system.kill().await;
    system.clerk.clear_faults();
    system.start_daemon().await;
    let before = asked(&system);
    let text = system.door().text("POST", "/runs", Some(wish)).await;
    let last: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
    let report = &last["report"];
    assert_eq!(report["resumed"], true, "{text}");
    let figures = &report["tables"]["memberships"];
    assert_eq!(figures["clerk"], 4_000, "{text}");
    assert_eq!(figures["missing"], 4_000, "{text}");
    let again = asked(&system) - before;
    assert!((3..=5).contains(&again), "{again} of nine pages");
}
