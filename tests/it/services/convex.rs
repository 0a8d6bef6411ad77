//! G13, G14, G16: calls to Convex that fail, whose answers are lost, or that are refused for one record.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use clerk_convex_sync::sandbox::convex::{FaultKind, FaultRule};
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

/// Every way in which a call fails, of which three in ten calls take one.
fn failures() -> Vec<fn() -> Deed> {
    fn json(status: &str, headers: &str, body: &str) -> Deed {
        Deed::Say(Play::answer(status, headers, body.as_bytes()))
    }
    const THREW: &str = r#"{"status":"error","errorMessage":"[Request ID: 1] Server Error"}"#;
    vec![
        || json("429 X", "", r#"{"code":"TooManyRequests","message":"x"}"#),
        || {
            json(
                "500 X",
                "",
                r#"{"code":"InternalServerError","message":"x"}"#,
            )
        },
        || {
            json(
                "503 X",
                "",
                r#"{"code":"OptimisticConcurrencyControlFailure","message":"x"}"#,
            )
        },
        || json("200 OK", "", THREW),
        || json("560 X", "", THREW),
        || json("200 OK", "", "<html>not today</html>"),
        || Deed::Say(Play::bytes("")),
        || Deed::Cut(Cut::InBody),
        // Longer than a call may take here.
        || Deed::Say(Play::bytes("").every(Duration::from_secs(3))),
    ]
}

/// Exactly three calls in ten fail, in an order and in ways that follow from the seed. Counts the writes that do
/// not.
fn three_in_ten(wire: &Between, seed: u64) -> Arc<AtomicUsize> {
    let mut dice = StdRng::seed_from_u64(seed);
    let (mut block, mut ways) = (Vec::new(), Vec::new());
    let good = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&good);
    wire.rule(move |heard| {
        if block.is_empty() {
            block = (0..10).map(|call| call < 3).collect();
            block.shuffle(&mut dice);
        }
        if !block.pop().unwrap_or(false) {
            counted.fetch_add(usize::from(heard.what == "apply"), Ordering::Relaxed);
            return Deed::Pass;
        }
        if ways.is_empty() {
            ways = failures();
            ways.shuffle(&mut dice);
        }
        ways.pop().map_or(Deed::Pass, |fail| fail())
    });
    good
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
    let (seed, users) = (seed(), size("G13_USERS", 100));
    let settings = [("CCS_CONVEX__TIMEOUT", "1s"), ("CCS_CONVEX__BATCH", "4")];
    let (world, _, wire) = World::wired(&settings).await;
    let good = three_in_ten(&wire, seed);
    send(&world.hand(), three_each(users, 0)).await;
    world.door().idle().await;
    let (calls, needed) = (wire.count(), good.load(Ordering::Relaxed));
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
    let share = calls as f64 / needed as f64;
    say(
        "G13",
        seed,
        format!(
            "{} events, {calls} calls of which {needed} were carried out ({share:.2}), empty {recovered:.1?} after \
             the failures",
            3 * users
        ),
    );
    assert!(share <= 1.6, "{calls} calls where {needed} were needed");
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

/// Calls that wrote, or tried to, while all that had come meanwhile was applied at once.
async fn calls_for(world: &World, users: &[String], done: impl AsyncFn(&World) -> bool) -> u64 {
    let applies = || world.convex.calls().counts.get("apply").copied();
    world.door().pause(true).await;
    let events = users.iter().map(|user| created(user, 1, "Ada")).collect();
    send(&world.hand(), events).await;
    let before = applies().unwrap_or(0);
    world.door().pause(false).await;
    eventually("all have their end", async || done(world).await).await;
    world.door().idle().await;
    applies().unwrap_or(0) - before
}

#[tokio::test(flavor = "multi_thread")]
async fn g16_who_is_refused_costs_few_calls_and_the_others_none() {
    let (seed, events) = (seed(), size("G16_CALLS_EVENTS", 400));
    // Changes in a call; a user is two of them.
    let in_a_call = 100_f64;
    let halvings = in_a_call.log2().ceil() as u64;
    // Named, it is taken out and the rest is sent in two calls; unnamed, it is searched for by halves.
    for (how, redacted, most) in [("named", false, 2), ("unnamed", true, 2 * halvings)] {
        let world = World::start().await;
        let named = |round: &str| -> Vec<String> {
            (0..events).map(|n| format!("user_{round}_{n}")).collect()
        };
        let clean = calls_for(&world, &named("clean"), async |world| {
            world.convex.count("users") == events
        })
        .await;
        let mixed = named("mixed");
        let poison: Vec<&String> = mixed.iter().skip(50).step_by(100).collect();
        for key in &poison {
            let mut refuse = FaultRule::new(FaultKind::RejectKey);
            refuse.key = Some((*key).clone());
            refuse.redacted = Some(redacted);
            world.convex.fault(refuse);
        }
        let mixed = calls_for(&world, &mixed, async |world| {
            world.door().failures().await.len() == poison.len()
        })
        .await;
        assert_eq!(world.convex.count("users"), 2 * events - poison.len());
        never_twice_never_back(&world.convex);
        // The first attempt and three more, each with the call that was refused.
        let refusals = 4 * poison.len() as u64;
        say(
            "G16",
            seed,
            format!(
                "{} of {events} refused four times each, {how}: {mixed} calls, {clean} without them",
                poison.len()
            ),
        );
        assert!(
            mixed <= clean + refusals * (1 + most),
            "{how}: {mixed} calls, {clean} without"
        );
        world.settled().await;
    }
}

/// How long it takes until these users are all there.
async fn through(world: &World, users: &[String]) -> Duration {
    let began = Instant::now();
    let events = users.iter().map(|user| created(user, 1, "Ada")).collect();
    send(&world.hand(), events).await;
    eventually("the healthy ones are there", async || {
        let there: BTreeSet<String> = crate::runs::keys(&world.convex, "users");
        users
            .iter()
            .filter(|user| !user.contains("poison"))
            .all(|user| there.contains(user))
    })
    .await;
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn g16_one_record_in_a_hundred_that_is_refused_stops_nobody_and_comes_in_once_mended() {
    let (seed, events) = (seed(), size("G16_EVENTS", 500));
    let world = World::start().await;
    let named = |what: &str| -> Vec<String> {
        let poison = |n: usize| if n % 100 == 50 { "poison" } else { what };
        (0..events)
            .map(|n| format!("user_{}_{n}", poison(n)))
            .collect()
    };
    let clean: Vec<String> = (0..events).map(|n| format!("user_clean_{n}")).collect();
    let clean = through(&world, &clean).await;
    let mixed = named("mixed");
    let poison: Vec<&String> = mixed
        .iter()
        .filter(|user| user.contains("poison"))
        .collect();
    for key in &poison {
        let mut refuse = FaultRule::new(FaultKind::RejectKey);
        refuse.key = Some((*key).clone());
        refuse.code = Some("invalid_field".to_owned());
        world.convex.fault(refuse);
    }
    let took = through(&world, &mixed).await;
    eventually("they are parked", async || {
        world.door().failures().await.len() == poison.len()
    })
    .await;
    let status = world.door().get("/status").await;
    let alerts = status["alerts"].as_array().expect("a list");
    let told = alerts
        .iter()
        .filter(|alert| alert["code"] == "dead_letters");
    assert_eq!(
        told.count(),
        1,
        "one alert, however many there are: {status}"
    );
    let share = clean.as_secs_f64() / took.as_secs_f64();
    say(
        "G16",
        seed,
        format!(
            "{} of {events} refused, the others at {share:.2} of the clean rate",
            poison.len()
        ),
    );
    if events >= 10_000 {
        // In less, one hiccup of the machine is larger than a tenth.
        assert!(share >= 0.9, "{clean:?} without, {took:?} with");
    }
    world.convex.clear_faults();
    retry_all(&world.door()).await;
    world.door().idle().await;
    assert_eq!(world.door().failures().await.len(), 0);
    assert_eq!(
        world.convex.count("users"),
        2 * events,
        "nothing was dropped"
    );
    never_twice_never_back(&world.convex);
    world.settled().await;
}
