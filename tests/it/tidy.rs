//! Rules of the source tree, held by tests: headers, lengths, who may know whom, names with one home.
//!
//! The rules are data, at the top of each part; `ARCHITECTURE.md` says why they are what they are. Reads
//! files and nothing else. Every rule also proves that it looked at something, so that a moved directory
//! cannot make it silent.

mod documents;
mod source;

use source::{Source, sources};

/// The longest a file may be, with its tests.
const MAX_LINES: usize = 400;

/// Who may know whom: a module, and the paths of this crate that it may use. What is not here is not
/// allowed; a module without a line may not exist.
const MAY_USE: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("twin", &[]),
    ("locked", &[]),
    ("config", &["model", "inbound", "locked"]),
    ("telemetry", &["config"]),
    ("inbound", &[]),
    ("outbound", &["model"]),
    ("clerk", &["model", "outbound"]),
    ("convex", &["model", "outbound"]),
    ("store", &["model", "locked"]),
    (
        "mapping",
        &[
            "model",
            "clerk::wire",
            "clerk::lenient",
            "clerk::shape",
            "clerk::RawRecord",
        ],
    ),
    (
        "intake",
        &[
            "model",
            "inbound",
            "clerk::wire",
            "clerk::shape",
            "clerk::jwks",
            "config::Secret",
            "report::alert",
            "store::journal",
            "telemetry",
        ],
    ),
    ("queue", &["model", "store::journal"]),
    ("report", &["model", "store"]),
    (
        "apply",
        &[
            "model",
            "queue",
            "mapping",
            "clerk",
            "convex",
            "store",
            "report::alert",
            "report::oplog",
            "telemetry",
        ],
    ),
    (
        "admin",
        &[
            "inbound",
            "apply",
            "model",
            "mapping::UserRules",
            "config::Secret",
            "queue::dead_letters",
            "reconcile",
            "schedule",
            "report",
            "store::journal",
            "telemetry",
        ],
    ),
    ("schedule", &["model", "report", "store", "telemetry"]),
    (
        "reconcile",
        &[
            "model",
            "clerk",
            "convex::reader",
            "convex::wire",
            "convex::deployment",
            "mapping",
            "store",
            "queue::repairs",
            "report",
            "telemetry",
        ],
    ),
    ("sandbox", &[]),
    (
        "daemon",
        &[
            "model",
            "config",
            "telemetry",
            "inbound",
            "outbound",
            "clerk",
            "convex",
            "store",
            "mapping",
            "intake",
            "queue",
            "report",
            "apply",
            "schedule",
            "reconcile",
            "admin",
        ],
    ),
    (
        "cli",
        &[
            "model",
            "mapping::UserRules",
            "config",
            "daemon",
            "sandbox",
            "telemetry",
            "outbound",
            "report",
            "reconcile",
            "queue::dead_letters",
            "store::crypt",
            "store::journal",
            "store::state_file",
            "store::upkeep",
        ],
    ),
    ("main", &["cli"]),
];

/// Files without I/O, without a runtime and without a clock. A name that ends in a slash is a directory.
const PURE: &[&str] = &[
    "src/model/",
    "src/mapping/",
    "src/queue/order.rs",
    "src/queue/backoff.rs",
    "src/queue/dead_letters.rs",
    "src/queue/mentioned.rs",
    "src/queue/ties.rs",
    "src/apply/guard.rs",
    "src/apply/batch.rs",
    "src/apply/book.rs",
    "src/apply/book/deed.rs",
    "src/apply/certain.rs",
    "src/apply/ending.rs",
    "src/apply/failure.rs",
    "src/apply/load.rs",
    "src/apply/instance.rs",
    "src/apply/edits/contest.rs",
    "src/apply/edits/loops.rs",
    "src/apply/edits/pace.rs",
    "src/apply/edits/verdict.rs",
    "src/apply/edits/waiting.rs",
    "src/clerk/budget.rs",
    "src/clerk/proof.rs",
    "src/clerk/walk/patience.rs",
    "src/clerk/walk/sieve.rs",
    "src/convex/circuit.rs",
    "src/convex/answer.rs",
    "src/schedule/rhythm.rs",
    "src/schedule/turn.rs",
    "src/reconcile/memory.rs",
    "src/reconcile/diff/merge",
    "src/reconcile/diff/compare",
    "src/reconcile/repair/brake.rs",
    "src/reconcile/repair/plan.rs",
    "src/reconcile/scan/ranges",
    "src/report/digest.rs",
    "src/report/html.rs",
    "src/report/html/",
    "src/report/json.rs",
    "src/report/markdown.rs",
    "src/report/mask.rs",
    "src/report/oplog/chain.rs",
    "src/report/oplog/line.rs",
    "src/report/oplog/note.rs",
    "src/report/text.rs",
    "src/report/words.rs",
];

/// What pure files do not have.
const IMPURE: &[&str] = &[
    "tokio",
    "reqwest",
    "axum",
    "sled",
    "tracing",
    "std::fs",
    "std::io",
    "std::net",
    "std::env",
    "SystemTime",
    "Instant::now",
    "Utc::now",
    "async fn",
];

/// Words that have a home: the words, where they may stand, and why nowhere else.
const HOMES: &[(&[&str], &[&str], &str)] = &[
    (
        &[
            "\"describe\"",
            "\"list\"",
            "\"get\"",
            "\"apply\"",
            "\"edits\"",
            "\"settle\"",
        ],
        // A metric counts edits.
        &["src/convex/wire.rs", "src/sandbox/", "src/telemetry/"],
        "the functions in Convex are named in convex/wire.rs",
    ),
    (
        &["svix-timestamp", "svix-signature", "\"svix-", "\"webhook-"],
        &["src/intake/verify.rs", "src/sandbox/", "src/cli/webhook"],
        "the headers of a delivery are named in intake/verify.rs",
    ),
    (
        &["tokio::spawn("],
        &["src/apply/", "src/sandbox/", "src/cli/"],
        "a task has an owner that waits for its end; a TaskTracker spawns the rest",
    ),
    (
        &["tracing_subscriber"],
        &["src/telemetry", "src/config/log.rs"],
        "logging is set up once; the configuration only reads its directives",
    ),
    (&["sled::"], &["src/store/"], "sled is the store's business"),
    (
        &["\"../shared", "/../shared"],
        &["src/clerk/samples.rs", "tests/it/"],
        "only tests look beside the project, and do without",
    ),
];

/// What may stand nowhere, in halves so that this file does not hold it.
const NOWHERE: &[(&str, &str)] = &[
    ("todo", "!("),
    ("unimplemented", "!("),
    ("dbg", "!("),
    ("#[ign", "ore"),
    ("/wo", "rk/"),
    ("FIX", "ME"),
    ("XX", "X"),
];

fn report(mistakes: Vec<String>) {
    assert!(mistakes.is_empty(), "\n{}", mistakes.join("\n"));
}

/// True if `path` is one of these, or below one that ends in a slash, or begins like one.
fn among(path: &str, names: &[&str]) -> bool {
    names.iter().any(|name| path.starts_with(name))
}

#[test]
fn every_file_says_what_it_is() {
    let without = sources().into_iter().filter(|file| {
        let mut lines = file.text.lines();
        let first = lines.next().unwrap_or_default();
        first.strip_prefix("//! ").is_none_or(str::is_empty)
    });
    report(
        without
            .map(|file| format!("{} does not open with `//! `", file.path))
            .collect(),
    );
}

#[test]
fn no_file_is_longer_than_its_bound() {
    let long = sources()
        .into_iter()
        .map(|file| (file.text.lines().count(), file.path))
        .filter(|(lines, _)| *lines > MAX_LINES);
    report(
        long.map(|(lines, path)| format!("{path} has {lines} lines; at most {MAX_LINES}"))
            .collect(),
    );
}

#[test]
fn modules_know_only_whom_they_may() {
    let mut mistakes = Vec::new();
    let mut looked_at = 0;
    for file in sources().iter().filter(|file| file.is_product()) {
        let Some(module) = file.module() else {
            continue;
        };
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == module) else {
            mistakes.push(format!("{}: `{module}` has no line in MAY_USE", file.path));
            continue;
        };
        for used in file.uses() {
            looked_at += 1;
            // Whatever keeps a promise may have a twin that breaks it.
            let twin = used == "twin" || used.starts_with("twin::");
            let own = twin || used == module || used.starts_with(&format!("{module}::"));
            let may = |prefix: &&str| used == **prefix || used.starts_with(&format!("{prefix}::"));
            if !own && !allowed.iter().any(may) {
                mistakes.push(format!("{}: `{module}` may not use `{used}`", file.path));
            }
        }
    }
    assert!(looked_at > 100, "only {looked_at} uses were found");
    report(mistakes);
}

#[test]
fn the_table_of_modules_names_only_modules_that_are_there() {
    let files = sources();
    let there = |name: &str| {
        files
            .iter()
            .filter_map(Source::module)
            .any(|module| module == name)
    };
    let named = MAY_USE
        .iter()
        .flat_map(|(name, uses)| uses.iter().chain(std::iter::once(name)));
    let gone =
        named.filter(|path| !there(path.split_once("::").map_or(**path, |(module, _)| module)));
    report(gone.map(|name| format!("there is no `{name}`")).collect());
}

#[test]
fn pure_files_do_no_io_and_read_no_clock() {
    let files = sources();
    let mut mistakes = Vec::new();
    for name in PURE {
        let found: Vec<_> = files
            .iter()
            .filter(|file| file.is_product() && file.path.starts_with(name))
            .collect();
        if found.is_empty() {
            mistakes.push(format!("there is no {name}"));
        }
        for file in found {
            let code = file.code();
            let has = IMPURE.iter().filter(|word| code.contains(**word));
            mistakes.extend(has.map(|word| format!("{}: `{word}` in a pure file", file.path)));
        }
    }
    report(mistakes);
}

#[test]
fn words_with_a_home_stand_only_there() {
    let files = sources();
    let mut mistakes = Vec::new();
    for (words, homes, why) in HOMES {
        let mut seen = false;
        for file in files.iter().filter(|file| file.is_product()) {
            let code = file.code();
            let Some(word) = words.iter().find(|word| code.contains(**word)) else {
                continue;
            };
            seen = true;
            if !among(&file.path, homes) {
                mistakes.push(format!("{}: `{word}`: {why}", file.path));
            }
        }
        if !seen {
            mistakes.push(format!("{words:?} stand nowhere any more: {why}"));
        }
    }
    report(mistakes);
}

#[test]
fn nothing_is_unfinished_or_left_out() {
    let mut mistakes = Vec::new();
    for file in source::everything() {
        for (half, other) in NOWHERE {
            let word = format!("{half}{other}");
            if file.text.contains(&word) {
                mistakes.push(format!("{}: `{word}`", file.path));
            }
        }
    }
    report(mistakes);
}
