//! What is told: a few lines for each scene, or all of it as one JSON document.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::support::spread::Runs;

/// One figure, over the rounds.
pub struct Line {
    name: &'static str,
    values: Vec<f64>,
    unit: &'static str,
}

impl Line {
    /// These values.
    pub fn of(
        name: &'static str,
        values: impl IntoIterator<Item = f64>,
        unit: &'static str,
    ) -> Line {
        Line {
            name,
            values: values.into_iter().collect(),
            unit,
        }
    }
}

/// What one scene came to.
pub struct Told {
    /// What was done.
    pub title: String,
    /// Its figures.
    pub lines: Vec<Line>,
}

/// On what it ran, and how busy the machine was besides.
pub fn settings(rounds: usize) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    format!(
        "{} processors, Linux {}, load {}, {rounds} rounds",
        std::thread::available_parallelism().map_or(0, usize::from),
        read("/proc/sys/kernel/osrelease").trim(),
        read("/proc/loadavg")
            .split(' ')
            .take(2)
            .collect::<Vec<_>>()
            .join(" "),
    )
}

/// As a person reads it: medians, with the smallest and the largest of several rounds.
pub fn text(all: &[Told]) -> String {
    let mut text = String::new();
    for told in all {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "\n{}", told.title);
        for line in &told.lines {
            let runs = Runs::of(line.values.iter().copied());
            let _ = write!(
                text,
                "  {:<42} {:>12.2} {}",
                line.name, runs.median, line.unit
            );
            if line.values.len() > 1 {
                let _ = write!(text, " ({:.2}–{:.2})", runs.min, runs.max);
            }
            text.push('\n');
        }
    }
    text
}

/// As a document: every round on its own.
pub fn document(settings: &str, all: &[Told]) -> Value {
    let scene = |told: &Told| {
        let lines = told.lines.iter();
        let figures = lines
            .map(|line| json!({ "name": line.name, "unit": line.unit, "values": line.values }));
        json!({ "title": told.title, "figures": figures.collect::<Vec<_>>() })
    };
    json!({ "settings": settings, "scenes": all.iter().map(scene).collect::<Vec<_>>() })
}
