//! G13, G14: calls to Convex that fail, or whose answers are lost.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::Value;
use tokio::time::Instant;

use super::{
    Between, Cut, Deed, Heard, Play, never_twice_never_back, retry_all, say, seed, send, size,
};
use crate::{
    hand::{created, updated},
    world::{World, eventually},
};

/// A way in which a call fails; true if nobody can tell from the answer what has failed.
type Way = (bool, fn() -> Deed);

/// Every way in which a call fails, of which three in ten calls take one.
fn failures() -> Vec<Way> {
    fn json(status: &str, headers: &str, body: &str) -> Deed {
        Deed::Say(Play::answer(status, headers, body.as_bytes()))
    }
    const THREW: &str = r#"{"status":"error","errorMessage":"[Request ID: 1] Server Error"}"#;
    const MANY: &str = r#"{"code":"TooManyRequests","message":"x"}"#;
    const INTERNAL: &str = r#"{"code":"InternalServerError","message":"x"}"#;
    const CONTENDED: &str = r#"{"code":"OptimisticConcurrencyControlFailure","message":"x"}"#;
    vec![
        (false, || json("429 X", "", MANY)),
        (false, || json("500 X", "", INTERNAL)),
        (false, || json("503 X", "", CONTENDED)),
        (true, || json("200 OK", "", THREW)),
        (true, || json("560 X", "", THREW)),
        (false, || json("200 OK", "", "<html>not today</html>")),
        (false, || Deed::Say(Play::bytes(""))),
        (false, || Deed::Cut(Cut::InBody)),
        // Longer than a call may take here.
        (false, || {
            Deed::Say(Play::bytes("").every(Duration::from_secs(3)))
        }),
    ]
}

/// What became of calls.
#[derive(Clone, Copy, Debug, Default)]
struct Dealt {
    /// Writes that were carried out.
    good: usize,
    /// Writes that failed.
    failed: usize,
    /// Those of them of which nobody can tell why.
    wordless: usize,
    /// Calls that write nothing.
    questions: usize,
}

/// Exactly three calls in ten fail, in an order and in ways that follow from the seed. Counts them.
fn three_in_ten(wire: &Between, seed: u64) -> Arc<Mutex<Dealt>> {
    let mut dice = StdRng::seed_from_u64(seed);
    let (mut block, mut ways) = (Vec::new(), Vec::new());
    let dealt = Arc::<Mutex<Dealt>>::default();
    let counted = Arc::clone(&dealt);
    wire.rule(move |heard| {
        if block.is_empty() {
            block = (0..10).map(|call| call < 3).collect();
            block.shuffle(&mut dice);
        }
        let fails = block.pop().unwrap_or(false);
        if fails && ways.is_empty() {
            ways = failures();
            ways.shuffle(&mut dice);
        }
        let way = fails.then(|| ways.pop()).flatten();
        let mut dealt = counted.lock().expect("no panic while held");
        match (heard.what == "apply", way) {
            (false, _) => dealt.questions += 1,
            (true, None) => dealt.good += 1,
            (true, Some((wordless, _))) => {
                dealt.failed += 1;
                dealt.wordless += usize::from(wordless);
            }
        }
        way.map_or(Deed::Pass, |(_, fail)| fail())
    });
    dealt
}

/// Events of so many users, three of each, in the order of their versions.
fn three_each(users: usize, from: usize) -> Vec<Value> {
    let one = |version: usize| {
        let user = move |user| {
            updated(
                &format!("user_{user}"),
                version as i64,
                &format!("Ada {version}"),
            )
        };
        (from..from + users).map(user)
    };
    (1..=3).flat_map(one).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn g13_while_three_calls_in_ten_fail_nothing_is_lost_and_few_calls_are_in_vain() {
    /// So often the daemon asks at most which tables are served, while calls fail.
    const ASKED_EVERY: Duration = Duration::from_secs(5);
    let (seed, users) = (seed(), size("G13_USERS", 100));
    let settings = [("CCS_CONVEX__TIMEOUT", "1s"), ("CCS_CONVEX__BATCH", "4")];
    let (world, _, wire) = World::wired(&settings).await;
    let (dealt, began) = (three_in_ten(&wire, seed), Instant::now());
    send(&world.hand(), three_each(users, 0)).await;
    world.door().idle().await;
    let (dealt, took) = (*dealt.lock().expect("no panic while held"), began.elapsed());
    wire.pass();
    let recovered = Instant::now();
    // One record may have met four failures that looked like its own.
    retry_all(&world.door()).await;
    world.door().idle().await;
    let recovered = recovered.elapsed();
    let rows = world.convex.rows("users");
    assert_eq!(rows.len(), users);
    assert!(
        rows.iter().all(|row| row["name"] == "Ada 3 Varga"),
        "{rows:?}"
    );
    never_twice_never_back(&world.convex);
    assert_eq!(world.door().failures().await.len(), 0);
    let calls = dealt.good + dealt.failed + dealt.questions;
    let share = calls as f64 / dealt.good as f64;
    say(
        "G13",
        seed,
        format!(
            "{} events in {took:.1?}, {calls} calls of which {} were carried out ({share:.2}), empty {recovered:.1?} \
             after the failures",
            3 * users,
            dealt.good
        ),
    );
    // A write that failed costs one more, and one question where Convex does not say why. What the clock asks is the
    // more for each write the longer the machine takes.
    let by_the_clock = 1 + took.as_secs().div_ceil(ASKED_EVERY.as_secs()) as usize;
    assert!(
        dealt.questions <= dealt.wordless + by_the_clock,
        "{dealt:?}, of them {by_the_clock} by the clock"
    );
    if users >= 10_000 {
        // In less, a few calls are a tenth.
        assert!(share <= 1.6, "{dealt:?}");
    }
    world.settled().await;
}

/// How long nothing is called after the first call of this function was told to wait.
async fn silence(function: &'static str, wait: Duration) -> Duration {
    let (world, _, wire) = World::wired(&[]).await;
    let head = format!("retry-after: {}\r\n", wait.as_secs());
    let mut busy = Some(Play::answer("429 X", &head, b"{}"));
    wire.rule(move |heard| {
        let hit = heard.what == function;
        busy.take_if(|_| hit).map_or(Deed::Pass, Deed::Say)
    });
    world.hand().say(&created("user_0", 1, "Ada")).await;
    // What is under way when the answer comes cannot be called back.
    eventually("the answer is understood", async || {
        world.door().get("/status").await["convex"]["circuit"] != "closed"
    })
    .await;
    for user in 1..20 {
        let event = created(&format!("user_{user}"), 1, "Ada");
        world.hand().say(&event).await;
    }
    eventually("all are written", async || {
        world.convex.count("users") == 20
    })
    .await;
    world.settled().await;
    let heard = wire.heard();
    let told = heard.iter().position(|one| one.what == function);
    let told = told.expect("it was called");
    heard[told + 1].at - heard[told].at
}

#[tokio::test(flavor = "multi_thread")]
async fn g13_a_call_that_names_a_time_is_not_repeated_before_it() {
    let seed = seed();
    let wait = Duration::from_secs(size("G13_RETRY_AFTER_S", 3));
    let (asked, wrote) = tokio::join!(silence("describe", wait), silence("apply", wait));
    for gap in [asked, wrote] {
        say(
            "G13",
            seed,
            format!("told to wait {wait:?}, silent for {gap:.2?}"),
        );
        assert!(gap >= wait, "{gap:?}");
        assert!(gap <= wait.mul_f64(1.25), "{gap:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn g14_what_was_applied_and_not_answered_is_applied_once_in_effect() {
    let (seed, wanted) = (seed(), size("G14_LOST", 60));
    // One record in each call, so that many answers can be lost.
    let (world, _, wire) = World::wired(&[("CCS_CONVEX__BATCH", "2")]).await;
    let lost = Arc::new(AtomicUsize::new(0));
    let (counted, mut turn) = (Arc::clone(&lost), seed);
    wire.rule(move |heard: &Heard| {
        turn = turn.wrapping_add(1);
        if heard.what != "apply" || turn % 2 == 0 {
            return Deed::Pass;
        }
        let at = counted.fetch_add(1, Ordering::Relaxed);
        Deed::Cut([Cut::BeforeStatus, Cut::AfterStatus, Cut::InBody][at % 3])
    });
    let mut users = 0;
    while lost.load(Ordering::Relaxed) < wanted {
        send(&world.hand(), three_each(20, users)).await;
        users += 20;
        world.door().idle().await;
    }
    wire.pass();
    world.door().idle().await;
    let rows = world.convex.rows("users");
    assert_eq!(rows.len(), users, "one row for each");
    assert!(
        rows.iter().all(|row| row["name"] == "Ada 3 Varga"),
        "{rows:?}"
    );
    never_twice_never_back(&world.convex);
    assert_eq!(world.door().failures().await.len(), 0);
    let lost = lost.load(Ordering::Relaxed);
    say(
        "G14",
        seed,
        format!("{lost} answers lost, {users} users, 0 twice, 0 back"),
    );
    world.settled().await;
}
