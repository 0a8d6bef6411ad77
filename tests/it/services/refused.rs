//! G16: records that Convex refuses cost few calls, stop nobody, and come in once they are mended.
//!
//! Refused by name, or in words that production has taken away. `twins/services.rs` has the same counted of a daemon
//! that does not listen to names.

use std::{collections::BTreeSet, time::Duration};

use clerk_convex_sync::sandbox::convex::{ConvexSim, FaultKind, FaultRule};
use tokio::time::Instant;

use super::{never_twice_never_back, retry_all, say, seed, send, size};
use crate::{
    door::Door,
    hand::{Hand, created},
    world::{World, eventually},
};

/// A daemon, in this process or in one of its own, and the simulated Convex behind it.
pub struct Ends<'e> {
    pub hand: Hand,
    pub door: Door,
    pub convex: &'e ConvexSim,
}

/// What records cost that are refused.
#[derive(Debug)]
pub struct Cost {
    /// How many.
    pub refused: usize,
    /// Calls for as many records of which none is refused.
    pub clean: u64,
    /// Calls for all of them.
    pub mixed: u64,
}

impl Cost {
    /// True if each refusal has cost more than the call that was refused and so many others.
    pub fn is_over(&self, others: u64) -> bool {
        // The first attempt and three more.
        let refusals = 4 * self.refused as u64;
        self.mixed > self.clean + refusals * (1 + others)
    }
}

/// Calls that wrote, or tried to, while all that had come meanwhile was applied at once.
async fn calls_for(ends: &Ends<'_>, users: &[String], done: impl AsyncFn() -> bool) -> u64 {
    let applies = || ends.convex.calls().counts.get("apply").copied();
    ends.door.pause(true).await;
    let events = users.iter().map(|user| created(user, 1, "Ada")).collect();
    send(&ends.hand, events).await;
    let before = applies().unwrap_or(0);
    ends.door.pause(false).await;
    eventually("all have their end", done).await;
    ends.door.idle().await;
    applies().unwrap_or(0) - before
}

/// Writes so many new users, then as many others of whom one in a hundred is refused; `redacted`: Convex does not
/// say which.
pub async fn cost_of_refusals(ends: &Ends<'_>, events: usize, redacted: bool) -> Cost {
    let named =
        |round: &str| -> Vec<String> { (0..events).map(|n| format!("user_{round}_{n}")).collect() };
    let clean = calls_for(ends, &named("clean"), async || {
        ends.convex.count("users") == events
    })
    .await;
    let mixed = named("mixed");
    let poison: Vec<&String> = mixed.iter().skip(50).step_by(100).collect();
    for key in &poison {
        let mut refuse = FaultRule::new(FaultKind::RejectKey);
        refuse.key = Some((*key).clone());
        refuse.redacted = Some(redacted);
        ends.convex.fault(refuse);
    }
    let refused = poison.len();
    let mixed = calls_for(ends, &mixed, async || {
        ends.door.failures().await.len() == refused
    })
    .await;
    assert_eq!(ends.convex.count("users"), 2 * events - refused);
    never_twice_never_back(ends.convex);
    Cost {
        refused,
        clean,
        mixed,
    }
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
        let ends = Ends {
            hand: world.hand(),
            door: world.door(),
            convex: &world.convex,
        };
        let cost = cost_of_refusals(&ends, events, redacted).await;
        say(
            "G16",
            seed,
            format!(
                "{} of {events} refused four times each, {how}: {} calls, {} without them",
                cost.refused, cost.mixed, cost.clean
            ),
        );
        assert!(!cost.is_over(most), "{how}: {cost:?}");
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
