//! What the documents say about the code, held against the code.
//!
//! A code, a metric, a command or a file that the documents name must be there, and what operators can meet
//! must be explained.

use std::{collections::BTreeSet, fs};

use clap::CommandFactory;
use clerk_convex_sync::{
    cli::Cli,
    telemetry::{ClerkLabels, ConvexLabels, Metrics, RetryLabels},
};

use super::{
    report,
    source::{Source, everything, root, sources},
};

fn documents() -> Vec<Source> {
    let all = everything();
    let documents: Vec<_> = all
        .into_iter()
        .filter(|file| file.path.ends_with(".md"))
        .collect();
    assert!(documents.len() > 3, "the documents were not found");
    documents
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The first text in quotes after each `word`.
fn quoted_after(text: &str, word: &str) -> BTreeSet<String> {
    let after = text.split(word).skip(1);
    let quoted = after.filter_map(|rest| rest.trim_start().strip_prefix('"'));
    quoted
        .filter_map(|rest| rest.split_once('"'))
        .map(|(code, _)| code.to_owned())
        .collect()
}

#[test]
fn every_alert_is_explained_and_none_that_is_not_raised() {
    let raised: BTreeSet<String> = sources()
        .iter()
        .filter(|file| file.is_product())
        // A code stands where it is raised, or in the description of what may raise it.
        .flat_map(|file| [".raise(", "alert: "].map(|word| quoted_after(&file.code(), word)))
        .flatten()
        .collect();
    assert!(raised.len() > 5, "found only {raised:?}");
    let guide = read("docs/operating.md");
    let explained: BTreeSet<String> = guide
        .lines()
        .filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`'))
        .map(str::to_owned)
        .collect();
    assert_eq!(explained, raised, "docs/operating.md, one heading an alert");
}

#[test]
fn every_metric_is_explained_and_none_that_is_not_there() {
    let metrics = Metrics::default();
    // What has never been counted is not in the text.
    metrics.webhook("user.created", "stored");
    metrics.ensured("created");
    metrics.not_let_in("too_many");
    metrics.panicked("public");
    metrics.change("users", "created", "webhook");
    let record = RetryLabels { cause: "record" };
    metrics.retries.get_or_create(&record).inc();
    let (endpoint, status) = ("get_user", 200);
    let asked = ClerkLabels { endpoint, status };
    metrics.clerk_requests.get_or_create(&asked).inc();
    let (function, status) = ("apply", 200);
    let called = ConvexLabels { function, status };
    metrics.convex_requests.get_or_create(&called).inc();
    metrics.runs.ended("sweep", "in_sync", 0.2);
    metrics.runs.skipped("census", "paused");
    metrics.runs.found("users", "missing", 7);
    metrics.runs.succeeded("full", 1_700_000_000);
    metrics.runs.missed("never_arrived");
    metrics.carried.edit("done");
    metrics.carried.write_back("written");
    let there: BTreeSet<String> = metrics
        .render()
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE clerk_convex_sync_"))
        .filter_map(|rest| rest.split_once(' '))
        .map(|(name, kind)| match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        })
        .collect();
    let registered: usize = [
        "src/telemetry.rs",
        "src/telemetry/carried.rs",
        "src/telemetry/door.rs",
        "src/telemetry/runs.rs",
    ]
    .iter()
    .map(|path| read(path).matches("registry.register(").count())
    .sum();
    assert_eq!(there.len(), registered, "count each once above: {there:?}");
    let explained: BTreeSet<String> = read("docs/metrics.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|rest| rest.split(['`', '{']).next())
        .map(str::to_owned)
        .collect();
    assert_eq!(explained, there, "docs/metrics.md, one row a metric");
}

#[test]
fn commands_in_the_documents_can_be_given() {
    let tree = Cli::command();
    let mut mistakes = Vec::new();
    let mut tried = 0;
    for file in documents() {
        for line in commands(&file.text) {
            let words = line.split_whitespace().skip(1);
            let mut command = &tree;
            for word in words.take_while(|word| word.starts_with(|c: char| c.is_ascii_lowercase()))
            {
                match command.find_subcommand(word) {
                    Some(found) => command = found,
                    None => break,
                }
            }
            tried += 1;
            if command.get_name() == tree.get_name() && !line.contains(" --") {
                mistakes.push(format!("{}: `{line}`: no such command", file.path));
            }
            let flags = line
                .split_whitespace()
                .filter_map(|word| word.strip_prefix("--"));
            for flag in flags.filter(|flag| !flag.is_empty() && *flag != "help") {
                let known = |command: &clap::Command| {
                    command
                        .get_arguments()
                        .any(|argument| argument.get_long() == Some(flag))
                };
                if !known(command) && !known(&tree) {
                    mistakes.push(format!("{}: `{line}`: no --{flag}", file.path));
                }
            }
        }
    }
    assert!(tried > 10, "only {tried} commands were found");
    report(mistakes);
}

/// Lines in blocks of shell that call the program, up to a pipe or a comment.
fn commands(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut shell = false;
    for line in text.lines() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            shell = !shell && language == "sh";
            continue;
        }
        let call = line
            .find("clerk-convex-sync ")
            .filter(|_| shell && !line.trim_start().starts_with('#'));
        if let Some(at) = call {
            let before = line[..at].trim_end();
            // Not an argument of another program, such as `systemctl reload clerk-convex-sync`.
            if before.is_empty() || before.ends_with('=') || before.ends_with("&&") {
                let line = line[at..].split(['|', '#', '>', ';']).next();
                found.extend(line.map(|line| line.trim().to_owned()));
            }
        }
    }
    found
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut mistakes = Vec::new();
    let mut followed = 0;
    for file in documents() {
        let directory = root().join(&file.path);
        let directory = directory.parent().expect("a file is in a directory");
        for link in file.text.split("](").skip(1) {
            let target = link.split(')').next().unwrap_or_default();
            let path = target.split('#').next().unwrap_or_default();
            if path.is_empty() || target.contains("://") {
                continue;
            }
            followed += 1;
            if !directory.join(path).exists() {
                mistakes.push(format!("{}: {target} is not there", file.path));
            }
        }
    }
    assert!(followed > 5, "only {followed} links were found");
    report(mistakes);
}
