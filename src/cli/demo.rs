//! `demo`: the whole system on one machine, for a minute or for as long as one likes.
//!
//! The real daemon between a simulated Clerk and a simulated Convex, over real sockets. Some people are
//! there already and are copied. Others sign up and change; the network between loses, repeats and reorders
//! deliveries for three quarters of the time and is calm for the last. Then rows differ only where a lost
//! delivery explains it; more is made to drift behind the daemon's back, the scans put all of it right, and an
//! audit must find both sides equal, as must a comparison that shares nothing with it.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use chrono::Utc;
use clap::Args;
use serde_json::Value;
use tokio::time::MissedTickBehavior;

use self::{
    compare::Comparison,
    drift::Drift,
    network::Network,
    progress::Progress,
    system::System,
    tally::{Spread, Tally},
    traffic::{ACTS_PER_USER, Traffic},
};
use super::{Context, Exit, Failure, JsonArg, signals::StopSignals};
use crate::sandbox::clerk::sender::book::Fate;

mod compare;
mod drift;
mod mend;
mod network;
mod progress;
mod system;
mod tally;
mod traffic;

/// How often people act and the network changes.
const TICK: Duration = Duration::from_millis(20);

/// How often the figures are refreshed.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Acts in one tick at most; a machine that cannot keep up falls behind instead of freezing.
const MOST_ACTS_PER_TICK: u64 = 5_000;

/// In how long an endless demo lets everybody sign up.
const ENDLESS_ROUND: Duration = Duration::from_secs(20);

/// Of so many people who sign up, one was there before anybody listened.
const SIGN_UPS_PER_SETTLER: u64 = 4;

/// How long the system may take to come to rest when nothing happens any more.
const REST_WITHIN: Duration = Duration::from_secs(60);

/// How often it is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Commits of the simulated Convex that are read for the latency; it keeps no more.
const MOST_COMMITS: usize = 1_000_000;

/// Arguments of `demo`.
#[derive(Debug, Args)]
#[command(after_help = "\
Some people are there and are copied; others sign up, change and leave while
deliveries are lost, late and repeated. Then rows drift behind the daemon's back;
sweep, census and reconcile put them right, an audit looks again, and a page about
the repair is left in the directory for temporary files. Everything else goes away
with the demo. Exit code 0: both sides agree at the end.")]
pub struct DemoArgs {
    /// People who sign up
    #[arg(long, value_name = "N", default_value_t = 1_000,
          value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    users: u64,
    /// How long it lasts; 0 is until Ctrl-C
    #[arg(long, value_name = "N", default_value_t = 20,
          value_parser = clap::value_parser!(u64).range(0..=86_400))]
    seconds: u64,
    /// Who does what, and which deliveries are lost, follows from it
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    json: JsonArg,
}

/// Runs the demo.
pub(super) async fn demo(args: &DemoArgs, context: &Context) -> Result<Exit, Failure> {
    let mut stop = StopSignals::catch()?;
    let system = System::start(args.seed).await?;
    context
        .output
        .note(&system.greeting(context.output.paint_notes()));
    let tally = story(args, context, &system, &mut stop).await;
    system.stop().await;
    let tally = tally?;
    context.output.note("");
    if args.json.json {
        context.output.document(&tally.document())?;
    } else {
        context.output.write(&tally.text(context.output.paint()))?;
    }
    if tally.is_well() {
        Ok(Exit::Done)
    } else {
        Err(Failure::failed("the demo did not end as it should")
            .help("please report it with the seed and what `demo --json` prints"))
    }
}

/// From the first copy to the last comparison.
async fn story(
    args: &DemoArgs,
    context: &Context,
    system: &System,
    stop: &mut StopSignals,
) -> Result<Tally, Failure> {
    let settlers = args.users.div_ceil(SIGN_UPS_PER_SETTLER);
    context.output.note(&format!(
        "{settlers} people are there already: the first full diff copies them."
    ));
    system.ends.clerk.seed_users(settlers as usize);
    let first = tokio::select! {
        () = stop.next() => return Err(stopped()),
        first = mend::first_copy(system, context.output) => first?,
    };
    context.output.note(&format!(
        "  {}\nNow {} more sign up, change and leave, over a bad network.",
        first.words(),
        args.users
    ));
    let lived = live(args, context, system, stop).await?;
    tokio::select! {
        // Who asks a second time does not want to wait for the end of the story.
        () = stop.next() => Err(stopped()),
        tally = end(args, lived, first, context, system) => tally,
    }
}

fn stopped() -> Failure {
    Failure::failed("stopped before the rows were compared")
}

/// What happened while the demo ran.
struct Lived {
    seconds: f64,
    acts: traffic::Acts,
    network: Network,
}

async fn live(
    args: &DemoArgs,
    context: &Context,
    system: &System,
    stop: &mut StopSignals,
) -> Result<Lived, Failure> {
    let round = match args.seconds {
        0 => ENDLESS_ROUND,
        seconds => Duration::from_secs(seconds),
    };
    let rate = (args.users * ACTS_PER_USER) as f64 / round.as_secs_f64();
    let end = (args.seconds > 0).then_some(round);
    let most_acts = end.map_or(u64::MAX, |_| args.users * ACTS_PER_USER);
    let mut traffic = Traffic::new(args.seed, args.users);
    let mut network = Network::new(round);
    let progress = Progress::new(context.output, args.users, end);
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let started = Instant::now();
    let mut next_report = REPORT_EVERY;
    loop {
        tokio::select! {
            () = stop.next() => break,
            _ = ticks.tick() => {}
        }
        let elapsed = started.elapsed();
        network.at(elapsed, &system.ends.clerk, Utc::now().timestamp_millis());
        let due = ((elapsed.as_secs_f64() * rate) as u64).min(most_acts);
        let missing = due.saturating_sub(traffic.acts().total());
        for _ in 0..missing.min(MOST_ACTS_PER_TICK) {
            traffic.act(&system.ends.clerk).map_err(|refusal| {
                Failure::failed(format!("the simulated Clerk refuses: {refusal:?}"))
            })?;
        }
        if elapsed >= next_report {
            next_report = elapsed + REPORT_EVERY;
            let status = system.status().await;
            progress.report(elapsed, traffic.acts(), &system.ends.clerk.fates(), &status);
        }
        let complete = traffic.acts().total() >= most_acts;
        if end.is_some_and(|end| elapsed >= end) && complete {
            break;
        }
    }
    network.end(&system.ends.clerk, Utc::now().timestamp_millis());
    progress.finish();
    Ok(Lived {
        seconds: started.elapsed().as_secs_f64(),
        acts: traffic.acts(),
        network,
    })
}

/// Lets everything arrive, then rows drift, then the scans put all of it right; and compares.
async fn end(
    args: &DemoArgs,
    lived: Lived,
    first: mend::Step,
    context: &Context,
    system: &System,
) -> Result<Tally, Failure> {
    let (drained, before) = settle(system).await;
    let fates = system.ends.clerk.fates();
    let visible = visible(system, &lived.network);
    let drift = Drift::happen(args.seed, &system.ends)?;
    context.output.note("Then, behind the daemon's back:");
    for (what, happened) in drift.words() {
        context.output.note(&format!("  {what}: {happened}"));
    }
    context.output.note("And now the scans:");
    let mended = mend::mend(system, first, context.output).await?;
    Ok(Tally {
        seconds: lived.seconds,
        acts: lived.acts,
        fates,
        visible,
        drained,
        before,
        drift,
        mended,
        after: compare::compare(&system.ends.clerk, &system.ends.convex, &HashSet::new()),
        own_rows: drift::own_rows(&system.ends.convex),
        status: system.status().await,
    })
}

/// Waits until everything has arrived and is applied: whether it was, and what differs then.
async fn settle(system: &System) -> (bool, Comparison) {
    let deadline = Instant::now() + REST_WITHIN;
    // A message that never settles is not waited for; it shows in the figures.
    let _ = tokio::time::timeout(REST_WITHIN, system.ends.clerk.quiet()).await;
    loop {
        let drained = system.queue_depth().await == Some(0);
        let comparison = compare_now(system);
        if (drained && comparison.unexplained == 0) || Instant::now() >= deadline {
            return (drained, comparison);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn compare_now(system: &System) -> Comparison {
    let lost = lost_for_good(system);
    compare::compare(&system.ends.clerk, &system.ends.convex, &lost)
}

/// Records of which the last event never reached the daemon. An earlier one that was lost is no
/// excuse: the later one says it all.
fn lost_for_good(system: &System) -> HashSet<String> {
    let clerk = &system.ends.clerk;
    let mut last: HashMap<String, (Fate, Option<String>)> = HashMap::new();
    for message in clerk.messages() {
        // Bodies of the oldest messages of a long demo are not kept; their records have had others
        // since, or count as not lost.
        let Some(body) = clerk.message_body(&message.id) else {
            continue;
        };
        let Ok(event) = serde_json::from_slice::<Value>(&body) else {
            continue;
        };
        let mut ids = traffic::ids_of(&event).map(str::to_owned);
        if let Some(id) = ids.next() {
            last.insert(id, (message.fate, ids.next()));
        }
    }
    last.into_iter()
        .filter(|(_, (fate, _))| *fate != Fate::Delivered)
        .flat_map(|(id, (_, owner))| std::iter::once(id).chain(owner))
        .collect()
}

/// From the change in Clerk to the commit in Convex, of the changes made while the network was calm.
fn visible(system: &System, network: &Network) -> Spread {
    let mut seen = HashSet::new();
    let mut durations = Vec::new();
    for commit in system.ends.convex.commits(0, MOST_COMMITS) {
        let version_ms = commit.version as i64;
        let first = seen.insert((commit.table, commit.key.clone(), version_ms));
        if first && network.was_calm_at(version_ms) {
            // Microseconds since the epoch fit into a float's 53 bits until the year 2255.
            durations.push((commit.at_us as f64 / 1e3 - commit.version).max(0.0));
        }
    }
    Spread::of(durations)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::{
        cli::{Cli, Command, output::Output},
        config::Env,
    };

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_lost_and_what_drifts_is_found_and_every_row_ends_as_clerk_says() {
        let line = "clerk-convex-sync demo --users 60 --seconds 2 --seed 11 --json";
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        let Command::Demo(args) = cli.command else {
            panic!("{line} is the demo");
        };
        let env = Env::default();
        let context = Context {
            config: None,
            output: Output::new(&env),
            env,
        };
        let mut stop = StopSignals::catch().unwrap();
        let system = System::start(args.seed).await.unwrap();
        let tally = story(&args, &context, &system, &mut stop).await.unwrap();
        system.stop().await;
        assert_eq!(tally.acts.total(), 60 * ACTS_PER_USER);
        let document = tally.document();
        assert!(tally.is_well(), "{document:#}");
        assert!(tally.visible.samples > 0, "{document:#}");
        assert_eq!(tally.fates.sent, tally.fates.delivered + tally.fates.lost);
        assert_eq!(
            tally.mended.steps[0].figures.missing, 30,
            "15 users, 15 profiles"
        );
        let found = |name: &str| {
            let mut steps = tally.mended.steps.iter();
            steps
                .find(|step| step.name == name)
                .map(|step| step.figures)
        };
        // Which of the two comes upon a stranger, follows from where it was put.
        let (census, full) = (found("census").unwrap(), found("reconcile").unwrap());
        assert!(census.orphaned > 0, "{document:#}");
        assert!(census.orphaned + full.orphaned > 1, "{document:#}");
        assert!(census.missing + full.missing > 1, "{document:#}");
        assert!(census.stale + full.stale > 0, "{document:#}");
        assert_eq!(found("audit").unwrap().differences(), 0, "{document:#}");
        let page = std::fs::read_to_string(&tally.mended.page).unwrap();
        std::fs::remove_file(&tally.mended.page).unwrap();
        assert!(
            page.starts_with("<!doctype html>") && page.contains("stale"),
            "{page}"
        );
    }
}
