//! The lane of repairs against the simulated Convex.

mod waiting;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    apply::repairs::run,
    model::{ConfirmedDelete, ContentHash, Origin, Outcome},
    queue::repairs::{Lane, Repair, Repaired, Wish},
    sandbox::convex::{FaultKind, FaultRule, Limits},
    store::state::Seen,
};

/// What an end waits for.
const GRACE: Duration = Duration::from_secs(2);

struct Running {
    bench: Bench,
    lane: Lane,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    async fn start() -> Running {
        Running::of(Bench::start().await)
    }

    fn of(bench: Bench) -> Running {
        let (lane, batches) = repairs::lane();
        let stop = CancellationToken::new();
        let shared = Arc::clone(&bench.shared);
        let task = tokio::spawn(run(shared, batches, stop.clone(), GRACE));
        Running {
            bench,
            lane,
            stop,
            task,
        }
    }

    async fn repair(&self, repairs: Vec<Repair>) -> Vec<Repaired> {
        let wanted = repairs.len();
        let repaired = self.lane.apply(repairs, Origin::Repair).await.unwrap();
        assert_eq!(repaired.len(), wanted, "one answer for each");
        repaired
    }

    fn knows(&self, key: &str, version: i64, deleted: bool) {
        let seen = Seen {
            version: Version(version),
            deleted,
            hash: ContentHash([7; 16]),
        };
        self.bench
            .shared
            .remember(&[(record(Table::Users, key), seen)]);
    }

    fn calls(&self) -> u64 {
        self.bench.convex.calls().mutations
    }
}

fn outcome(repaired: &Repaired) -> Option<Outcome> {
    match repaired {
        Repaired::Applied { outcome, .. } => Some(*outcome),
        _ => None,
    }
}

fn refusal(key: Option<&str>, code: &str) -> FaultRule {
    let mut rule = FaultRule::new(FaultKind::RejectKey);
    rule.function = Some("apply".into());
    rule.key = key.map(str::to_owned);
    rule.code = Some(code.into());
    rule
}

#[tokio::test]
async fn a_repair_writes_both_rows_answers_with_the_row_and_teaches_the_ledger() {
    let running = Running::start().await;
    let done = running
        .repair(vec![user("user_1", 5, "Ada"), user("user_2", 5, "Bea")])
        .await;
    let Repaired::Applied { outcome, id } = &done[0] else {
        panic!("{done:?}");
    };
    let convex = &running.bench.convex;
    let row = convex.row("users", "user_1").unwrap();
    assert_eq!(
        (*outcome, id.as_deref()),
        (Outcome::Created, row["_id"].as_str())
    );
    let profile = convex.row("profiles", "user_1").unwrap();
    assert_eq!(
        (&profile["firstName"], &profile["userId"]),
        (&json!("Ada"), &row["_id"])
    );
    assert_eq!(running.calls(), 1, "both users in one call");
    assert_eq!(running.bench.counted("created"), 2);
    let seen = running
        .bench
        .shared
        .seen(&record(Table::Users, "user_2"))
        .unwrap();
    assert_eq!((seen.version, seen.deleted), (Version(5), false));

    // Only the profile of the one differs: that counts, too.
    let mut again = user("user_1", 5, "Ada");
    let Wish::Write { rows, .. } = &mut again.wish else {
        panic!("a wish to write");
    };
    rows[1]
        .fields
        .insert("phoneNumber".into(), "+15550100".into());
    let done = running.repair(vec![again, user("user_2", 5, "Bea")]).await;
    let outcomes: Vec<_> = done.iter().filter_map(super::lane::outcome).collect();
    assert_eq!(outcomes, [Outcome::Updated, Outcome::Unchanged]);
}

#[tokio::test]
async fn s11_s12_what_a_delivery_has_said_since_is_not_written_over() {
    let running = Running::start().await;
    running.knows("user_newer", 6, false);
    running.knows("user_gone", 3, true);
    let repairs = vec![
        user("user_newer", 5, "Ada"),
        user("user_same", 5, "Bea"),
        user("user_gone", 5, "Cleo"),
    ];
    running.knows("user_same", 5, false);
    let done = running.repair(repairs).await;
    assert_eq!(done[0], Repaired::Overtaken);
    assert_eq!(
        outcome(&done[1]),
        Some(Outcome::Created),
        "the scan saw that it is not there"
    );
    assert_eq!(done[2], Repaired::Overtaken);
    assert_eq!(running.bench.convex.count("users"), 1);
    assert_eq!(
        running.bench.convex.commits(0, 10).len(),
        2,
        "nothing was inserted and removed"
    );
}

#[tokio::test]
async fn a_deletion_takes_the_profile_along_and_is_remembered() {
    let running = Running::start().await;
    running.repair(vec![user("user_1", 5, "Ada")]).await;
    let delete = || Repair {
        record: record(Table::Users, "user_1"),
        wish: Wish::Delete(ConfirmedDelete::by_lookup(
            Table::Users,
            Key::parse("user_1").unwrap(),
        )),
        why: None,
    };
    let done = running.repair(vec![delete()]).await;
    assert_eq!(outcome(&done[0]), Some(Outcome::Deleted));
    assert_eq!(running.bench.convex.count("profiles"), 0);
    assert_eq!(
        running.repair(vec![user("user_1", 9, "Ada")]).await,
        [Repaired::Overtaken]
    );
    // A row that came back past the sync is removed although the ledger knows of the deletion.
    let again = json!({ "clerkId": "user_1", "email": "" });
    running.bench.convex.insert_row("users", &again).unwrap();
    let done = running.repair(vec![delete()]).await;
    assert_eq!(outcome(&done[0]), Some(Outcome::Deleted));
}

#[tokio::test]
async fn thousands_of_users_travel_in_the_largest_calls_that_convex_takes() {
    const USERS: usize = 3_000;
    let limits = Limits {
        enforce_lookups: true,
        ..Limits::default()
    };
    let bench = Bench::beside(ConvexOptions {
        limits,
        ..ConvexOptions::default()
    });
    let running = Running::of(bench.await);
    let users = (0..USERS).map(|n| user(&format!("user_{n}"), 5, "Ada"));
    let done = running.repair(users.collect()).await;
    assert!(
        done.iter()
            .all(|one| outcome(one) == Some(Outcome::Created))
    );
    let calls = running.bench.convex.calls();
    assert_eq!(calls.outcomes.get("error"), None, "none was too large");
    assert_eq!(calls.mutations, 7, "444 users a call");
    assert_eq!(running.bench.convex.count("profiles"), USERS);
}

#[tokio::test]
async fn calls_that_are_too_large_for_the_app_shrink_and_grow_again() {
    let running = Running::start().await;
    let mut rule = refusal(Some("user_0"), "batch_too_large");
    rule.times = Some(2);
    running.bench.convex.fault(rule);
    let users = (0..800).map(|n| user(&format!("user_{n}"), 5, "Ada"));
    let done = running.repair(users.collect()).await;
    assert!(
        done.iter()
            .all(|one| outcome(one) == Some(Outcome::Created))
    );
    let fits = running
        .bench
        .shared
        .no_larger_than_fits(NonZeroUsize::new(1000).unwrap());
    assert!((222..500).contains(&fits.get()), "{fits}");
}

#[tokio::test]
async fn records_at_fault_are_refused_by_name_and_the_others_are_written() {
    let running = Running::start().await;
    let bad = |n: usize| n % 17 == 3;
    for n in (0..500).filter(|n| bad(*n)) {
        let key = format!("user_{n}");
        running
            .bench
            .convex
            .fault(refusal(Some(&key), "hook_failed"));
    }
    let users = (0..500).map(|n| user(&format!("user_{n}"), 5, "Ada"));
    let done = running.repair(users.collect()).await;
    for (n, one) in done.iter().enumerate() {
        match one {
            Repaired::Refused { code, .. } => assert!(bad(n) && code == "hook_failed", "{n}"),
            other => assert_eq!(
                (outcome(other), bad(n)),
                (Some(Outcome::Created), false),
                "{n}"
            ),
        }
    }
    assert_eq!(
        running.bench.alerts(),
        Vec::<String>::new(),
        "these are single records"
    );
}

#[tokio::test]
async fn an_outage_is_waited_for_and_one_that_lasts_is_told() {
    let running = Running::start().await;
    running
        .bench
        .convex
        .answer(503, "WorkerOverloaded")
        .of("apply")
        .for_calls(2);
    let done = running.repair(vec![user("user_1", 5, "Ada")]).await;
    assert_eq!(outcome(&done[0]), Some(Outcome::Created));

    running.bench.convex.down();
    // Time runs ahead while everybody waits.
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    let done = running.repair(vec![user("user_2", 5, "Bea")]).await;
    let Repaired::Away { reason } = &done[0] else {
        panic!("{done:?}");
    };
    assert!(reason.contains("Convex"), "{reason}");
    assert!(begun.elapsed() >= Duration::from_secs(30));
}

#[tokio::test]
async fn while_applying_is_paused_or_off_nothing_is_written_and_nobody_waits() {
    let running = Running::start().await;
    let shared = &running.bench.shared;
    shared.set_paused(true);
    let done = running.repair(vec![user("user_1", 5, "Ada")]).await;
    assert!(
        matches!(&done[0], Repaired::Away { reason } if reason.contains("resume")),
        "{done:?}"
    );
    shared.set_paused(false);
    let off = Settings {
        enabled: false,
        ..settings()
    };
    shared.settings.store(Arc::new(off));
    let done = running.repair(vec![user("user_1", 5, "Ada")]).await;
    assert!(matches!(&done[0], Repaired::Away { reason } if reason.contains("sync.enabled")));
    assert_eq!(running.calls(), 0);
}

#[tokio::test]
async fn tables_that_the_app_leaves_out_are_not_sent() {
    let bench = Bench::beside(ConvexOptions {
        without_tables: vec!["profiles".into(), "organizations".into()],
        ..ConvexOptions::default()
    });
    let running = Running::of(bench.await);
    let organization = Repair {
        record: record(Table::Organizations, "org_1"),
        ..user("user_2", 5, "Bea")
    };
    let done = running
        .repair(vec![user("user_1", 5, "Ada"), organization])
        .await;
    assert_eq!(outcome(&done[0]), Some(Outcome::Created));
    assert!(matches!(&done[1], Repaired::Refused { code, .. } if code == "not_served"));
    assert_eq!(running.bench.convex.calls().counts["describe"], 1);
    running.repair(vec![user("user_1", 6, "Bea")]).await;
    assert_eq!(
        running.bench.convex.calls().counts["describe"],
        1,
        "an answer is believed"
    );
}

#[tokio::test]
async fn the_end_answers_what_is_in_hand_and_scans_learn_of_it() {
    let running = Running::start().await;
    running.bench.convex.down();
    let lane = running.lane.clone();
    let waiting = tokio::spawn(async move {
        lane.apply(vec![user("user_1", 5, "Ada")], Origin::Repair)
            .await
    });
    while running.bench.alerts() != ["convex_away"] {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    running.stop.cancel();
    let done = waiting.await.unwrap().unwrap();
    assert!(
        matches!(&done[0], Repaired::Away { reason } if reason.contains("end")),
        "{done:?}"
    );
    running.task.await.unwrap();
    assert_eq!(
        running
            .lane
            .apply(vec![user("user_2", 5, "Bea")], Origin::Repair)
            .await,
        None
    );
}

#[tokio::test]
async fn the_end_waits_for_an_answer_as_long_as_it_may_and_no_longer() {
    let running = Running::start().await;
    running.repair(vec![user("user_1", 5, "Ada")]).await;
    // Nearly as long as a call may take here.
    running.bench.convex.set_latency(Duration::from_secs(9));
    let lane = running.lane.clone();
    let waiting = tokio::spawn(async move {
        lane.apply(vec![user("user_2", 5, "Bea")], Origin::Repair)
            .await
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    running.stop.cancel();
    let cut_off = tokio::time::timeout(2 * GRACE, running.task).await;
    cut_off.expect("it ends after its grace").unwrap();
    assert_eq!(waiting.await.unwrap(), None, "the scan asks again");
}

#[tokio::test]
async fn a_single_user_at_sign_in_does_not_wait_behind_a_bulk_migration() {
    let running = Running::start().await;
    running.bench.convex.set_latency(Duration::from_millis(300));
    let mut bulk = tokio::task::JoinSet::new();
    for part in 0..8 {
        let lane = running.lane.clone();
        let users = (0..1_300).map(move |n| user(&format!("user_{part}_{n}"), 5, "Ada"));
        bulk.spawn(async move { lane.apply(users.collect(), Origin::Repair).await });
    }
    while running.bench.convex.calls().mutations == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let one = running.repair(vec![user("user_1", 5, "Bea")]).await;
    assert_eq!(outcome(&one[0]), Some(Outcome::Created));
    let before = running.bench.convex.count("users");
    assert!(before < 4_000, "{before} users of 10,400 came first");
    while let Some(done) = bulk.join_next().await {
        let done = done.unwrap().unwrap();
        assert!(
            done.iter()
                .all(|one| outcome(one) == Some(Outcome::Created))
        );
    }
    assert_eq!(running.bench.convex.count("users"), 10_401);
}
