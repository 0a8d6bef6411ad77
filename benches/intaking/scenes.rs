//! What is measured: full speed, a fixed rate, memory, starting.
//!
//! Contenders take turns in each round, on a Convex emptied before each turn. A turn counts only if
//! every delivery was answered with 200 and every one of them is in Convex afterwards.

use std::{
    collections::HashMap,
    io,
    time::{Duration, Instant},
};

use super::{
    alone::{Alone, stolen},
    contender::{Contender, Running},
    events::Requests,
    load::{Sender, Sent},
    plan::Plan,
};
use crate::support::{
    convex::Sandbox,
    process::{Cpu, cpu_of, used},
    spread::Spread,
};

/// Deliveries a second in the scene of a fixed rate.
pub const STEADY_PER_SECOND: u32 = 500;
/// How long each answer of Convex takes there.
pub const STEADY_LATENCY: Duration = Duration::from_millis(20);
/// Events that wait where memory is measured.
pub const WAITING_FOR_MEMORY: usize = 200_000;
/// Events that wait where a start is measured.
pub const WAITING_FOR_START: usize = 100_000;
/// The longest until everything acknowledged is in Convex.
const CATCH_UP: Duration = Duration::from_secs(120);
/// Users of the warm-up, apart from all others.
const WARM_UP_USERS: usize = 10_000_000;

/// One turn at full speed.
pub struct Flood {
    /// Who.
    pub contender: Contender,
    /// Milliseconds that Convex takes.
    pub latency_ms: u64,
    /// Acknowledged events a second.
    pub per_second: f64,
    /// From sending to the answer.
    pub acknowledged: Spread,
    /// From the last answer until all rows were in Convex, in seconds.
    pub caught_up_after: f64,
    /// The contender's processor seconds, by thread.
    pub cpu: Cpu,
    /// The simulated Convex's and the sender's.
    pub cpu_others: (f64, f64),
    /// For how long these were added up, in seconds.
    pub cpu_over: f64,
    /// The machine just before.
    pub alone: Alone,
    /// Of the same time, what the machine's host gave to others, in processors.
    pub stolen: f64,
}

/// One turn at a fixed rate.
pub struct Steady {
    /// Who.
    pub contender: Contender,
    /// From the intended sending to the answer.
    pub acknowledged: Spread,
    /// From the intended sending to the commit.
    pub visible: Spread,
    /// How late the sender itself was; part of both.
    pub late: Spread,
    /// The machine just before.
    pub alone: Alone,
    /// What the machine's host gave to others meanwhile, in processors.
    pub stolen: f64,
}

/// Resident memory of the daemon, in bytes.
pub struct Memory {
    /// Shortly after the start, with nothing to do.
    pub idle: u64,
    /// With [`WAITING_FOR_MEMORY`] events waiting while Convex is away.
    pub waiting: u64,
}

/// Times from the start of the process to the first 200 of `/readyz`.
pub struct Ready {
    /// With an empty state directory.
    pub empty: Vec<Duration>,
    /// With [`WAITING_FOR_START`] events waiting.
    pub waiting: Vec<Duration>,
}

/// All turns at full speed, for one latency.
pub fn flood(plan: &Plan, sandbox: &Sandbox, latency_ms: u64) -> io::Result<Vec<Flood>> {
    let seconds = (plan.warm_up + plan.flood).as_secs_f64();
    let count = (seconds * plan.prepared_per_second as f64) as usize;
    let sign = || Requests::sign(count, 0, plan.users, &sandbox.webhook_secret);
    let mut requests = sign();
    let mut turns = Vec::new();
    for _ in 0..plan.setup.rounds {
        for contender in contenders(plan, &[Contender::DEFAULT]) {
            if !requests.is_fresh() {
                requests = sign();
            }
            turns.push(flood_turn(plan, sandbox, contender, latency_ms, &requests)?);
        }
    }
    Ok(turns)
}

fn flood_turn(
    plan: &Plan,
    sandbox: &Sandbox,
    contender: Contender,
    latency_ms: u64,
    requests: &Requests,
) -> io::Result<Flood> {
    let alone = Alone::look(&plan.setup.work)?;
    sandbox.begin(Duration::from_millis(latency_ms))?;
    let running = contender.start(plan, sandbox)?;
    let mut sender = Sender::connect(running.address)?;
    let look = || -> io::Result<(Cpu, Cpu, Cpu)> {
        Ok((
            running.process.cpu()?,
            sandbox.process.cpu()?,
            cpu_of(std::process::id())?,
        ))
    };
    let (before, stolen_before) = (look()?, stolen()?);
    let from = Instant::now();
    let sent = sender.flood(requests, plan.warm_up, plan.flood)?;
    let cpu_over = from.elapsed().as_secs_f64();
    let (after, stolen_after) = (look()?, stolen()?);
    let last = Instant::now();
    all_visible(sandbox, requests, sent.sent)?;
    let caught_up_after = last.elapsed().as_secs_f64();
    drop(sender);
    running.end()?;
    let sum = |cpu: Cpu| cpu.values().sum::<f64>();
    Ok(Flood {
        contender,
        latency_ms,
        per_second: sent.acknowledged as f64 / sent.took.as_secs_f64(),
        acknowledged: sent.latency,
        caught_up_after,
        cpu: used(&before.0, &after.0),
        cpu_others: (
            sum(used(&before.1, &after.1)),
            sum(used(&before.2, &after.2)),
        ),
        cpu_over,
        alone,
        stolen: (stolen_after - stolen_before) / cpu_over,
    })
}

/// All turns at a fixed rate.
pub fn steady(plan: &Plan, sandbox: &Sandbox) -> io::Result<Vec<Steady>> {
    let daemons = [Contender::Daemon { concurrency: 16 }, Contender::DEFAULT];
    let mut turns = Vec::new();
    for _ in 0..plan.setup.rounds {
        for contender in contenders(plan, &daemons) {
            turns.push(steady_turn(plan, sandbox, contender)?);
        }
    }
    Ok(turns)
}

fn steady_turn(plan: &Plan, sandbox: &Sandbox, contender: Contender) -> io::Result<Steady> {
    // Enough for Node to compile what it runs often.
    const WARM_UP: usize = 5000;
    let alone = Alone::look(&plan.setup.work)?;
    sandbox.begin(STEADY_LATENCY)?;
    let running = contender.start(plan, sandbox)?;
    let mut sender = Sender::connect(running.address)?;
    let warm_up = Requests::sign(WARM_UP, WARM_UP_USERS, WARM_UP, &sandbox.webhook_secret);
    sender.flood(&warm_up, Duration::ZERO, Duration::from_secs(60))?;
    all_visible(sandbox, &warm_up, WARM_UP)?;
    let count = (plan.steady.as_secs_f64() * f64::from(STEADY_PER_SECOND)) as usize;
    let requests = Requests::sign(count, 0, count, &sandbox.webhook_secret);
    let (stolen_before, from) = (stolen()?, Instant::now());
    let sent = sender.steady(&requests, STEADY_PER_SECOND, plan.steady)?;
    let stolen = (stolen()? - stolen_before) / from.elapsed().as_secs_f64();
    all_visible(sandbox, &requests, sent.sent)?;
    let visible = visible(sandbox, &requests, &sent)?;
    drop(sender);
    running.end()?;
    Ok(Steady {
        contender,
        acknowledged: sent.latency,
        visible,
        late: sent.late,
        alone,
        stolen,
    })
}

/// Resident memory, idle and with many events waiting.
pub fn memory(plan: &Plan, sandbox: &Sandbox) -> io::Result<Memory> {
    // Long enough for what the start has left over to be done.
    const REST: Duration = Duration::from_secs(3);
    sandbox.begin(Duration::ZERO)?;
    let running = Contender::DEFAULT.start(plan, sandbox)?;
    std::thread::sleep(REST);
    let idle = running.process.resident_bytes()?;
    sandbox.down()?;
    pile_up(sandbox, &running, WAITING_FOR_MEMORY)?;
    std::thread::sleep(REST);
    let waiting = running.process.resident_bytes()?;
    running.end()?;
    Ok(Memory { idle, waiting })
}

/// Times to readiness, empty and with many events waiting.
pub fn ready(plan: &Plan, sandbox: &Sandbox) -> io::Result<Ready> {
    sandbox.begin(Duration::ZERO)?;
    sandbox.down()?;
    let mut empty = Vec::new();
    for _ in 0..plan.starts {
        let running = Contender::DEFAULT.start(plan, sandbox)?;
        empty.push(running.ready_after);
        running.end()?;
    }
    let mut running = Contender::DEFAULT.start(plan, sandbox)?;
    pile_up(sandbox, &running, WAITING_FOR_START)?;
    let state = plan.setup.work.join("state");
    let mut waiting = Vec::new();
    for _ in 0..plan.starts {
        running.process.end()?;
        running = Running::daemon(plan, sandbox, &state, &[])?;
        waiting.push(running.ready_after);
    }
    running.end()?;
    Ok(Ready { empty, waiting })
}

fn contenders(plan: &Plan, daemons: &[Contender]) -> Vec<Contender> {
    let node = (!plan.setup.without_node).then_some(Contender::NodeRoute);
    node.into_iter().chain(daemons.iter().copied()).collect()
}

/// Lets so many events about as many users wait.
fn pile_up(sandbox: &Sandbox, running: &Running, count: usize) -> io::Result<()> {
    let requests = Requests::sign(count, 0, count, &sandbox.webhook_secret);
    let mut sender = Sender::connect(running.address)?;
    let sent = sender.flood(&requests, Duration::ZERO, Duration::from_secs(120))?;
    if sent.acknowledged == count {
        Ok(())
    } else {
        Err(io::Error::other(
            "not everything was acknowledged in two minutes",
        ))
    }
}

/// Waits until the newest of what was sent about each user is in Convex.
fn all_visible(sandbox: &Sandbox, requests: &Requests, sent: usize) -> io::Result<()> {
    let mut missing: HashMap<String, i64> = (0..sent)
        .map(|index| (requests.key(index), requests.version(index)))
        .collect();
    let deadline = Instant::now() + CATCH_UP;
    let mut from = 0;
    loop {
        for commit in sandbox.commits(&mut from)? {
            let newest = missing.get(&commit.key);
            if newest.is_some_and(|version| commit.version >= *version as f64) {
                missing.remove(&commit.key);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            let message = format!("{} acknowledged events are not in Convex", missing.len());
            return Err(io::Error::other(message));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// From when each delivery was due to when its row was visible.
fn visible(sandbox: &Sandbox, requests: &Requests, sent: &Sent) -> io::Result<Spread> {
    let commits = sandbox.commits(&mut 0)?;
    let at: HashMap<&str, u64> = commits
        .iter()
        .map(|one| (one.key.as_str(), one.at_us))
        .collect();
    let mut samples = Vec::with_capacity(sent.due.len());
    for (index, due) in sent.due.iter().enumerate() {
        let committed = at.get(requests.key(index).as_str()).copied();
        let committed = committed.ok_or_else(|| io::Error::other("a row has no commit"))?;
        samples.push(Duration::from_micros(committed).saturating_sub(*due));
    }
    Ok(Spread::of(samples))
}
