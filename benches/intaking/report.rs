//! What is told: the settings, then a table for each scene; or the same as one JSON document.
//!
//! Medians over the rounds, with the smallest and the largest, because two processors shared by everybody
//! make single runs uncertain.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{
    alone::Alone,
    contender::Contender,
    load::CONNECTIONS,
    plan::Plan,
    scenes::{
        Flood, Memory, Ready, STEADY_LATENCY, STEADY_PER_SECOND, Steady, WAITING_FOR_MEMORY,
        WAITING_FOR_START,
    },
};
use crate::support::spread::{Runs, Spread};

const MIB: f64 = 1024.0 * 1024.0;

/// What was set, and on what it ran.
pub struct Settings(Vec<(&'static str, String)>);

impl Settings {
    /// Of this run.
    pub fn of(plan: &Plan, file_system: String, node: String) -> Settings {
        let processors = std::thread::available_parallelism().map_or(0, usize::from);
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Settings(vec![
            ("processors", processors.to_string()),
            ("kernel", kernel.trim().to_owned()),
            ("file system of the state", file_system),
            ("node", node),
            ("daemon", plan.setup.binary.display().to_string()),
            ("connections", CONNECTIONS.to_string()),
            ("rounds", plan.setup.rounds.to_string()),
            (
                "full speed",
                format!(
                    "{:?} after {:?} of warming up, {} users",
                    plan.flood, plan.warm_up, plan.users
                ),
            ),
            (
                "fixed rate",
                format!(
                    "{STEADY_PER_SECOND}/s for {:?}, Convex answers after {STEADY_LATENCY:?}",
                    plan.steady
                ),
            ),
        ])
    }
}

/// Everything that was measured.
pub struct Report {
    settings: Settings,
    /// At full speed.
    pub floods: Vec<Flood>,
    /// At a fixed rate.
    pub steadies: Vec<Steady>,
    /// Resident memory.
    pub memory: Option<Memory>,
    /// Starts.
    pub ready: Option<Ready>,
}

impl Report {
    /// Nothing measured yet.
    pub fn new(settings: Settings) -> Report {
        Report {
            settings,
            floods: Vec::new(),
            steadies: Vec::new(),
            memory: None,
            ready: None,
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut out = String::from("\n");
        for (name, value) in &self.settings.0 {
            let _ = writeln!(out, "{name}: {value}");
        }
        let _ = writeln!(
            out,
            "\nMedians of the rounds, smallest and largest in brackets."
        );
        self.floods_text(&mut out);
        self.steadies_text(&mut out);
        if let Some(memory) = &self.memory {
            let _ = writeln!(
                out,
                "\nResident memory: {:.1} MiB idle, {:.1} MiB more with {WAITING_FOR_MEMORY} events waiting",
                memory.idle as f64 / MIB,
                memory.waiting.saturating_sub(memory.idle) as f64 / MIB,
            );
        }
        if let Some(ready) = &self.ready {
            let ms = |times: &[std::time::Duration]| {
                brackets(
                    Runs::of(times.iter().map(|time| time.as_secs_f64() * 1000.0)),
                    1,
                )
            };
            let _ = writeln!(
                out,
                "\nReady after: {} ms empty, {} ms with {WAITING_FOR_START} events waiting",
                ms(&ready.empty),
                ms(&ready.waiting),
            );
        }
        out
    }

    fn floods_text(&self, out: &mut String) {
        let mut latencies_ms: Vec<u64> = self.floods.iter().map(|one| one.latency_ms).collect();
        latencies_ms.dedup();
        for latency_ms in latencies_ms {
            let of = |contender: Contender| -> Vec<&Flood> {
                let ours =
                    |one: &&Flood| one.contender == contender && one.latency_ms == latency_ms;
                self.floods.iter().filter(ours).collect()
            };
            let rate = |turns: &[&Flood]| Runs::of(turns.iter().map(|one| one.per_second));
            let (node, daemon) = (of(Contender::NodeRoute), of(Contender::DEFAULT));
            if daemon.is_empty() {
                continue;
            }
            let _ = writeln!(out, "\nFull speed, Convex answers after {latency_ms} ms");
            for turns in [&node, &daemon] {
                let Some(first) = turns.first() else { continue };
                let _ = writeln!(
                    out,
                    "  {:<18} {} events/s   acknowledged p50 {} ms, p99 {} ms, max {} ms   all in Convex {} s later",
                    first.contender.name(),
                    brackets(rate(turns), 0),
                    brackets(ms(turns, |s| s.p50_us), 2),
                    brackets(ms(turns, |s| s.p99_us), 2),
                    brackets(ms(turns, |s| s.max_us), 1),
                    brackets(Runs::of(turns.iter().map(|one| one.caught_up_after)), 1),
                );
                for one in turns {
                    let _ = writeln!(out, "      {}", cpu(one));
                }
            }
            let turns = node.iter().chain(&daemon);
            machine_text(out, turns.map(|one| (one.alone, one.stolen)));
            if !node.is_empty() {
                let times = rate(&daemon).median / rate(&node).median;
                let _ = writeln!(out, "  the daemon acknowledges {times:.1} times as many");
            }
        }
    }

    fn steadies_text(&self, out: &mut String) {
        let mut told: Vec<Contender> = Vec::new();
        for one in &self.steadies {
            if told.contains(&one.contender) {
                continue;
            }
            if told.is_empty() {
                let _ = writeln!(
                    out,
                    "\n{STEADY_PER_SECOND} events a second, Convex answers after {STEADY_LATENCY:?}"
                );
            }
            told.push(one.contender);
            let turns: Vec<&Steady> = self
                .steadies
                .iter()
                .filter(|other| other.contender == one.contender)
                .collect();
            let of = |pick: fn(&Steady) -> u64| {
                brackets(
                    Runs::of(turns.iter().map(|turn| pick(turn) as f64 / 1000.0)),
                    2,
                )
            };
            let _ = writeln!(
                out,
                "  {:<18} acknowledged p50 {} ms, p99 {} ms, max {} ms   visible p50 {} ms, p99 {} ms   \
                 (sent late by p50 {}, p99 {})",
                one.contender.name(),
                of(|turn| turn.acknowledged.p50_us),
                of(|turn| turn.acknowledged.p99_us),
                of(|turn| turn.acknowledged.max_us),
                of(|turn| turn.visible.p50_us),
                of(|turn| turn.visible.p99_us),
                of(|turn| turn.late.p50_us),
                of(|turn| turn.late.p99_us),
            );
        }
        if !self.steadies.is_empty() {
            machine_text(out, self.steadies.iter().map(|one| (one.alone, one.stolen)));
        }
    }

    /// For programs.
    pub fn document(&self) -> Value {
        let settings: serde_json::Map<String, Value> = self
            .settings
            .0
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.as_str().into()))
            .collect();
        let floods: Vec<Value> = self.floods.iter().map(flood_document).collect();
        let steadies: Vec<Value> = self.steadies.iter().map(steady_document).collect();
        let memory = self.memory.as_ref().map(|memory| {
            json!({ "idle_bytes": memory.idle, "waiting_bytes": memory.waiting,
                    "waiting_events": WAITING_FOR_MEMORY })
        });
        let ready = self.ready.as_ref().map(|ready| {
            let ms = |times: &[std::time::Duration]| -> Vec<f64> {
                times
                    .iter()
                    .map(|time| time.as_secs_f64() * 1000.0)
                    .collect()
            };
            json!({ "empty_ms": ms(&ready.empty), "waiting_ms": ms(&ready.waiting),
                    "waiting_events": WAITING_FOR_START })
        });
        json!({ "settings": settings, "full_speed": floods, "fixed_rate": steadies,
                "memory": memory, "ready": ready })
    }
}

/// What the machine took by itself before these turns, and what it lost during them.
fn machine_text(out: &mut String, turns: impl Iterator<Item = (Alone, f64)>) {
    let turns: Vec<(Alone, f64)> = turns.collect();
    let of = |pick: fn(&Alone) -> u64| {
        let ms = |(one, _): &(Alone, f64)| pick(one) as f64 / 1000.0;
        brackets(Runs::of(turns.iter().map(ms)), 2)
    };
    let stolen = turns.iter().map(|(_, stolen)| stolen * 100.0);
    let _ = writeln!(
        out,
        "  the machine alone  a sync p50 {} ms, p99 {} ms   woken late by p50 {} ms, p99 {} ms   \
         its host took {} % of a processor during the turns",
        of(|one| one.sync.p50_us),
        of(|one| one.sync.p99_us),
        of(|one| one.late.p50_us),
        of(|one| one.late.p99_us),
        brackets(Runs::of(stolen), 1),
    );
}

fn ms(turns: &[&Flood], pick: fn(&Spread) -> u64) -> Runs {
    Runs::of(
        turns
            .iter()
            .map(|one| pick(&one.acknowledged) as f64 / 1000.0),
    )
}

fn brackets(runs: Runs, digits: usize) -> String {
    let Runs { median, min, max } = runs;
    format!("{median:.digits$} ({min:.digits$}–{max:.digits$})")
}

fn cpu(one: &Flood) -> String {
    let share = |seconds: f64| seconds / one.cpu_over * 100.0;
    let mut threads: Vec<(&String, &f64)> = one.cpu.iter().collect();
    threads.sort_by(|a, b| b.1.total_cmp(a.1));
    let threads: Vec<String> = threads
        .iter()
        .map(|(name, used)| format!("{name} {:.0}", share(**used)))
        .collect();
    let (convex, sender) = one.cpu_others;
    format!(
        "processor, in % of one: {}; simulated Convex {:.0}, sender {:.0}",
        threads.join(", "),
        share(convex),
        share(sender)
    )
}

fn spread(spread: &Spread) -> Value {
    json!({ "p50_us": spread.p50_us, "p99_us": spread.p99_us, "p999_us": spread.p999_us,
            "max_us": spread.max_us })
}

fn flood_document(one: &Flood) -> Value {
    json!({ "contender": one.contender.name(), "latency_ms": one.latency_ms,
            "events_per_second": one.per_second, "acknowledged": spread(&one.acknowledged),
            "caught_up_after_s": one.caught_up_after, "cpu_s": one.cpu,
            "cpu_convex_s": one.cpu_others.0, "cpu_sender_s": one.cpu_others.1,
            "cpu_over_s": one.cpu_over, "machine": machine_document(&one.alone, one.stolen) })
}

fn steady_document(one: &Steady) -> Value {
    json!({ "contender": one.contender.name(), "acknowledged": spread(&one.acknowledged),
            "visible": spread(&one.visible), "sent_late": spread(&one.late),
            "machine": machine_document(&one.alone, one.stolen) })
}

fn machine_document(alone: &Alone, stolen: f64) -> Value {
    json!({ "alone": { "sync": spread(&alone.sync), "woken_late": spread(&alone.late) },
            "stolen_processors": stolen })
}
