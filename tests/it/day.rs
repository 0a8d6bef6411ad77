//! G29: a day of work in less time: traffic, lost deliveries, faulty services, scans, full diffs, restarts.
//!
//! The simulated Clerk is the truth; at the end both sides hold the same, and nothing was written twice or back.
//! Memory, threads, descriptors and disk are sampled; over the last half, in which one process runs that has run for
//! some hours then, a line is laid through them. `CCS_SOAK_DAY_SECONDS` is how long the day takes, `CCS_SOAK_DAY_HOURS` how many hours it has,
//! `CCS_SOAK_DAY_USERS` and `CCS_SOAK_DAY_RATE` (events a second) how large it is.

use std::{collections::BTreeMap, time::Duration};

use clerk_convex_sync::sandbox::{
    clerk::{
        ClerkSim,
        faults::{Fault, Wrong},
    },
    convex::{ConvexSim, FaultKind, FaultRule},
};
use serde_json::json;
use tokio::time::{Instant, sleep_until, timeout};

use crate::{
    measure::{disk, memory, mib, open_files, processor, size, threads},
    process::System,
    runs::{report, run, same_records},
    services::never_twice_never_back,
    soak::Dice,
    world::{PATH, eventually},
};

/// From this length on the slopes are judged; in less they say nothing.
const JUDGED: usize = 1_200;
/// Sweeps of a day.
const SWEEPS: usize = 288;
/// Restarts of a day of 24 hours, every second one by SIGKILL. All come in its first third: what a new process fills
/// once, such as its ledger and what it remembers of deliveries, is no leak.
const RESTARTS: usize = 20;
/// How long events are collected before they happen.
const MOMENT: Duration = Duration::from_millis(20);
/// Samples of a day.
const SAMPLES: u32 = 240;

/// What was seen of the process at one moment.
struct Sample {
    /// In hours of the day.
    at: f64,
    memory: f64,
    disk: f64,
    threads: f64,
    files: f64,
}

/// How large the day is.
struct Plan {
    seconds: usize,
    hours: usize,
    users: usize,
    rate: usize,
}

impl Plan {
    fn hour(&self) -> Duration {
        Duration::from_secs_f64(self.seconds as f64 / self.hours as f64)
    }

    /// How many restarts there have been at the end of this hour.
    fn restarts(&self, hour: usize) -> usize {
        let (all, third) = (RESTARTS * self.hours / 24, self.hours.div_ceil(3));
        all * (hour + 1).min(third) / third
    }
}

/// People come, change and go, so many a second.
struct Traffic {
    dice: Dice,
    people: Vec<String>,
    begun: Instant,
    rate: usize,
    events: usize,
}

impl Traffic {
    fn begin(clerk: &ClerkSim, dice: Dice, rate: usize) -> Traffic {
        Traffic {
            dice,
            people: clerk.user_ids(),
            begun: Instant::now(),
            rate,
            events: 0,
        }
    }

    /// All that should have happened by now.
    fn catch_up(&mut self, clerk: &ClerkSim) {
        while self.begun.elapsed().as_secs_f64() * self.rate as f64 > self.events as f64 {
            self.events += 1;
            self.act(clerk);
        }
    }

    fn act(&mut self, clerk: &ClerkSim) {
        let named = |what: &str| json!({ "first_name": format!("{what}{}", self.events) });
        let at = usize::try_from(self.dice.below(self.people.len() as u64)).expect("a length");
        match self.dice.below(100) {
            0..8 => {
                let new = clerk.create_user(named("New")).expect("created");
                self.people.push(new);
            }
            8..15 if self.people.len() > 50 => {
                let gone = self.people.swap_remove(at);
                clerk.delete_user(&gone).expect("deleted");
            }
            _ => clerk
                .update_user(&self.people[at], named("Ada"))
                .expect("updated"),
        }
    }

    /// Lets it go on until then.
    async fn until(&mut self, then: Instant, clerk: &ClerkSim) {
        while Instant::now() < then {
            self.catch_up(clerk);
            sleep_until(then.min(Instant::now() + MOMENT)).await;
        }
    }
}

/// One call in twenty to Convex goes wrong, in one of four ways.
fn trouble(convex: &ConvexSim) {
    for kind in [
        FaultKind::Status,
        FaultKind::Cut,
        FaultKind::AppliedThenCut,
        FaultKind::Garbage,
    ] {
        let mut rule = FaultRule::new(kind);
        rule.ratio = Some(0.05 / 4.0);
        convex.fault(rule);
    }
}

/// So do some of the requests to Clerk that a full diff makes in this hour.
fn trouble_with_clerk(clerk: &ClerkSim) {
    let failed = Wrong::Status {
        status: 500,
        retry_after_secs: None,
        json: true,
    };
    for wrong in [failed, Wrong::Cut, Wrong::CutAnswer] {
        clerk.fault(Fault::next("GET /v1/users", wrong).after(19));
    }
}

/// What changes in an hour of the day, by the method of least squares.
fn slope(samples: &[Sample], of: impl Fn(&Sample) -> f64) -> f64 {
    let count = samples.len() as f64;
    let mean = |of: &dyn Fn(&Sample) -> f64| samples.iter().map(of).sum::<f64>() / count;
    let (at, value) = (mean(&|sample| sample.at), mean(&of));
    let (mut both, mut square) = (0.0, 0.0);
    for sample in samples {
        both += (sample.at - at) * (of(sample) - value);
        square += (sample.at - at).powi(2);
    }
    both / square
}

async fn restart(system: &mut System, killed: bool, traffic: &mut Traffic) {
    match killed {
        true => system.kill().await,
        false => assert_eq!(system.terminate().await, 0, "{}", system.log.text()),
    }
    // Some of it meets nobody.
    let then = Instant::now() + 5 * MOMENT;
    traffic.until(then, &system.clerk).await;
    system.start_daemon().await;
}

/// The day; its samples, and how its full diffs ended.
async fn pass(
    system: &mut System,
    plan: &Plan,
    dice: &mut Dice,
    traffic: &mut Traffic,
) -> (Vec<Sample>, BTreeMap<String, usize>, usize) {
    let begun = Instant::now();
    let (mut samples, mut diffs, mut restarts) = (Vec::new(), BTreeMap::new(), 0);
    for hour in 0..plan.hours {
        trouble_with_clerk(&system.clerk);
        let door = system.door();
        let diff = tokio::spawn(async move {
            let ended =
                tokio::spawn(async move { run(&door, json!({ "kind": "reconcile" })).await });
            match ended.await {
                Ok(Ok(report)) => report["outcome"].as_str().unwrap_or("?").to_owned(),
                // Refused, or cut off by the restart of this hour.
                Ok(Err(_)) | Err(_) => "cut off".to_owned(),
            }
        });
        let due = plan.restarts(hour) - restarts;
        for _ in 0..due {
            let share = dice.below(60) as f64 / 100.0 / due as f64;
            let then = Instant::now() + plan.hour().mul_f64(share);
            traffic.until(then, &system.clerk).await;
            restart(system, restarts % 2 == 1, traffic).await;
            restarts += 1;
        }
        let over = begun + plan.hour() * u32::try_from(hour + 1).expect("few");
        while Instant::now() < over {
            let pid = system.pid();
            samples.push(Sample {
                at: begun.elapsed().as_secs_f64() / plan.hour().as_secs_f64(),
                memory: mib(memory(pid)),
                disk: mib(disk(system.state.path())),
                threads: threads(pid) as f64,
                files: open_files(pid).unwrap_or(0) as f64,
            });
            let next = Duration::from_secs(plan.seconds as u64) / SAMPLES;
            let next = over.min(Instant::now() + next);
            traffic.until(next, &system.clerk).await;
        }
        let ended = diff.await.expect("it is not cancelled");
        *diffs.entry(ended).or_default() += 1;
    }
    (samples, diffs, restarts)
}

/// Both sides hold the same, and an audit says so.
async fn all_agrees(system: &System) {
    system.convex.clear_faults();
    system.clerk.clear_faults();
    system.clerk.lose_ratio(0.0);
    let fates = timeout(Duration::from_secs(180), system.clerk.quiet()).await;
    fates.expect("every delivery has a fate");
    // What was lost, and what the last sweep has not seen yet.
    report(&system.door(), "reconcile").await;
    system.door().idle().await;
    let audit = report(&system.door(), "audit").await;
    assert_eq!(audit["outcome"], "in_sync", "{audit:#}");
    same_records(&system.clerk, &system.convex);
    never_twice_never_back(&system.convex);
    assert_eq!(system.door().failures().await.len(), 0);
    assert_eq!(system.log.count("panicked"), 0, "{}", system.log.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn g29_a_day_of_trouble_loses_nothing_and_leaves_nothing_behind() {
    let mut dice = Dice::new();
    let plan = Plan {
        seconds: size("DAY_SECONDS", 6),
        hours: size("DAY_HOURS", 4),
        users: size("DAY_USERS", 300),
        rate: size("DAY_RATE", 40),
    };
    let every = (plan.seconds / SWEEPS).clamp(1, 30);
    let mut system = System::prepared(&[
        ("CCS_SCHEDULE__SWEEP", &format!("*/{every} * * * * *")),
        (
            "CCS_SCHEDULE__CENSUS",
            &format!("*/{} * * * * *", (2 * every).min(30)),
        ),
        ("CCS_CONVEX__TIMEOUT", "5s"),
    ])
    .await;
    system.set_as_the_unit();
    system.clerk.seed_users(plan.users);
    system.start_daemon().await;
    report(&system.door(), "reconcile").await;
    let files_at_rest = open_files(system.pid());
    let webhooks = format!("http://{}{PATH}", system.address());
    system.clerk.set_webhook_url(Some(webhooks));
    system.clerk.time_factor(1_000.0);
    system.clerk.lose_ratio(0.01);
    system.clerk.repeat_ratio(0.02);
    trouble(&system.convex);

    let own = Dice::of(dice.seed ^ 1);
    let mut traffic = Traffic::begin(&system.clerk, own, plan.rate);
    let passed = pass(&mut system, &plan, &mut dice, &mut traffic);
    let (samples, diffs, restarts) = passed.await;
    let events = traffic.events;
    let spent = processor(system.pid()).as_secs_f64();
    all_agrees(&system).await;

    let late = &samples[samples.partition_point(|one| one.at < plan.hours as f64 / 2.0)..];
    let one_process = plan.hour().as_secs_f64() * (plan.hours as f64 / 2.0);
    let slopes = [
        slope(late, |one| one.memory),
        slope(late, |one| one.disk),
        slope(late, |one| one.threads),
        slope(late, |one| one.files),
    ];
    let most = |of: fn(&Sample) -> f64| samples.iter().map(of).fold(0.0, f64::max);
    println!(
        "G29: a day of {} hours in {} s: {events} events, {restarts} restarts, full diffs {diffs:?}, both sides the same, \
         nothing twice or back; at most {:.1} MiB of memory, {:.1} MiB of disk, {} threads, {} descriptors; an hour of the \
         last half adds {:+.2} MiB, {:+.2} MiB, {:+.2} threads, {:+.2} descriptors; {:.0} % of a processor; seed {}",
        plan.hours,
        plan.seconds,
        most(|one| one.memory),
        most(|one| one.disk),
        most(|one| one.threads),
        most(|one| one.files),
        slopes[0],
        slopes[1],
        slopes[2],
        slopes[3],
        100.0 * spent / one_process,
        dice.seed
    );
    if plan.seconds >= JUDGED {
        assert!(
            slopes[0] <= 1.0,
            "memory grows by {:.2} MiB an hour",
            slopes[0]
        );
        assert!(slopes[2] <= 0.1, "threads grow by {:.2} an hour", slopes[2]);
    }
    // While deliveries come, their number is the senders' connections; what has leaked is there when nobody is.
    if let Some(before) = files_at_rest {
        eventually("descriptors are given back", async || {
            open_files(system.pid()).is_some_and(|now| now <= before + 8)
        })
        .await;
    }
    assert_eq!(system.terminate().await, 0);
}
