//! Every scenario once more, short, with the process killed at a random moment in its middle.
//!
//! A story is a list of steps. One of them, and a moment in it, is drawn: the daemon is killed there and started
//! again, deliveries without an answer are repeated, as their sender would, and the story goes on. What the
//! scenario promises must hold at its end, and then what holds at the end of each: nothing waits, every delivery
//! has one end, and once what is left was repaired, an audit finds nothing. `KILLED_STORIES` says how many are told.

mod stories;

use std::{fs, time::Duration};

use clerk_convex_sync::store::state::DIR;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    hand::{deleted, new_id},
    process::System,
    runs::{keys, notes, run, same_records, text},
    services::{retry_all, say, seed, size},
    world::{PATH, eventually},
};

/// The latest moment of a step at which the kill comes, in milliseconds: of short steps, and of those that take longer.
const LATEST_MS: [u64; 2] = [60, 600];
/// How often a delivery is tried before it is left for later.
const TRIES: usize = 3;

/// One scenario.
struct Story {
    name: &'static str,
    settings: &'static [(&'static str, &'static str)],
    steps: Vec<Step>,
    /// What it promises.
    holds: fn(&System),
    /// Of the state, only what nothing can replace outlives the kill.
    forgets: bool,
}

/// What happens in a story.
enum Step {
    /// At once, to a service.
    Do(fn(&System)),
    /// These events are delivered by hand, one after another.
    Say(Vec<Value>),
    /// A full diff, to its end.
    Diff,
    /// A full diff, beside what follows.
    Begin,
    /// Time passes until this is so; not for ever.
    Until(fn(&System) -> bool),
}

/// A delivery that has no answer yet.
type Unsent = Vec<(String, Value)>;

impl Story {
    async fn tell(self, dice: &mut StdRng) {
        let mut system = System::prepared(self.settings).await;
        // What a sender repeats after minutes comes in a moment.
        system.clerk.time_factor(1_000.0);
        system.start_daemon().await;
        let url = format!("http://{}{PATH}", system.address());
        system.clerk.set_webhook_url(Some(url));
        let fatal = dice.random_range(0..self.steps.len());
        let latest = LATEST_MS[dice.random_range(0..LATEST_MS.len())];
        let moment = Duration::from_millis(dice.random_range(0..latest));
        println!("{}: killed {moment:?} into step {fatal}", self.name);
        let mut unsent = Unsent::new();
        for (at, step) in self.steps.into_iter().enumerate() {
            if at == fatal {
                let killed = async {
                    tokio::time::sleep(moment).await;
                    system.signal(Signal::KILL);
                };
                let again = step.again();
                tokio::join!(step.happens(&system, &mut unsent), killed);
                system.ended().await;
                if self.forgets {
                    fs::remove_dir_all(system.state.path().join(DIR)).expect("derived");
                }
                system.start_daemon().await;
                attempt(&system, &mut unsent).await;
                if let Some(again) = again {
                    again.happens(&system, &mut unsent).await;
                }
            } else {
                step.happens(&system, &mut unsent).await;
            }
        }
        ends_well(&system, unsent, self.holds).await;
    }
}

impl Step {
    /// What is done anew after the kill: whoever asked asks again, and whoever waited waits.
    fn again(&self) -> Option<Step> {
        match self {
            Step::Diff | Step::Begin => Some(Step::Diff),
            Step::Until(so) => Some(Step::Until(*so)),
            Step::Do(_) | Step::Say(_) => None,
        }
    }

    async fn happens(self, system: &System, unsent: &mut Unsent) {
        match self {
            Step::Do(it) => it(system),
            Step::Say(events) => {
                unsent.extend(events.into_iter().map(|event| (new_id(), event)));
                attempt(system, unsent).await;
            }
            Step::Diff => {
                diff(system).await;
            }
            Step::Begin => {
                // It ends with the daemon or on its own.
                let _ = tokio::time::timeout(Duration::from_millis(300), diff(system)).await;
            }
            Step::Until(so) => {
                for _ in 0..4_000 {
                    if so(system) {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        }
    }
}

/// Delivers what has no answer yet, in order; what gets none is left.
async fn attempt(system: &System, unsent: &mut Unsent) {
    let hand = system.hand();
    let mut left = Unsent::new();
    for (id, event) in unsent.drain(..) {
        let mut taken = false;
        for _ in 0..TRIES {
            let body = event.to_string().into_bytes();
            let answer = hand.try_post(&id, body).await;
            assert!(
                !answer
                    .as_ref()
                    .is_ok_and(|answer| (400..500).contains(&answer.status)),
                "{answer:?}"
            );
            taken = answer.is_ok_and(|answer| answer.status == 200);
            if taken {
                break;
            }
        }
        if !taken {
            left.push((id, event));
        }
    }
    *unsent = left;
}

/// A full diff that may be cut off by the kill.
async fn diff(system: &System) -> Option<String> {
    let client = reqwest::Client::builder().unix_socket(system.inside().join("admin.sock"));
    let client = client.build().expect("a client");
    let wish = json!({"kind": "reconcile"});
    let asked = client
        .post("http://localhost/runs")
        .json(&wish)
        .send()
        .await;
    asked.ok()?.text().await.ok()
}

/// See the module's words.
async fn ends_well(system: &System, mut unsent: Unsent, holds: fn(&System)) {
    let patience = Duration::from_secs(60);
    system.clerk.clear_faults();
    system.convex.clear_faults();
    system.convex.up();
    eventually("every delivery is taken in", async || {
        attempt(system, &mut unsent).await;
        unsent.is_empty()
    })
    .await;
    let fates = tokio::time::timeout(patience, system.clerk.quiet()).await;
    fates.expect("every delivery of Clerk's has a fate");
    let door = system.door();
    eventually("no run is under way", async || {
        door.get("/status").await["runs"]["full"]["running"].is_null()
    })
    .await;
    door.idle().await;
    holds(system);
    retry_all(&door).await;
    if system.clerk.user_ids().is_empty() {
        // Events told of people whom Clerk does not have: told by hand, they go by hand.
        for key in keys(&system.convex, "users") {
            let mut unsent = Unsent::from([(format!("msg_gone_{key}"), deleted(&key, 1_000))]);
            eventually("there is room for it", async || {
                attempt(system, &mut unsent).await;
                unsent.is_empty()
            })
            .await;
        }
    }
    // Dead letters of an earlier life were tried again too.
    let parked = system
        .log
        .field_since(0, "recovered from the journal", "dead_letters");
    let parked: usize = parked
        .and_then(|text| text.parse().ok())
        .expect("a start says how many");
    door.every_delivery_has_one_end(system.recovered() + parked)
        .await;
    eventually("what was cut off is over", async || {
        let free = run(&door, json!({"kind": "reconcile"})).await;
        match free {
            Err(busy) => {
                assert!(busy.contains("running already"), "{busy}");
                false
            }
            Ok(report) if report["outcome"] == "held" => {
                let wish = json!({"kind": "reconcile", "approve": text(&report["plan_digest"])});
                run(&door, wish).await.is_ok()
            }
            Ok(report) => {
                assert_ne!(report["outcome"], "failed", "{}", notes(&report));
                true
            }
        }
    })
    .await;
    let audit = run(&door, json!({"kind": "audit"}))
        .await
        .expect("a report");
    assert_eq!(audit["outcome"], "in_sync", "{audit:#}");
    same_records(&system.clerk, &system.convex);
    assert_eq!(door.failures().await.len(), 0);
    assert_eq!(system.log.count("panicked"), 0, "{}", system.log.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn g01_each_scenario_holds_with_a_kill_in_its_middle() {
    let seed = seed();
    let mut dice = StdRng::seed_from_u64(seed);
    let mut all = stories::all();
    let known = all.len();
    assert_eq!(known, 30, "one for each scenario");
    all.shuffle(&mut dice);
    all.truncate(size("KILLED_STORIES", 4));
    println!("G01: GOAL_SEED={seed}");
    let told = all.len();
    for story in all {
        story.tell(&mut dice).await;
    }
    say(
        "G01",
        seed,
        format!("{told} of {known} scenarios with a kill in the middle, all hold"),
    );
}
