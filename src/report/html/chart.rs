//! Bars over past runs, as numbers for an inline SVG, with the words for those who do not see it.
//!
//! Pure geometry; colours and fonts are the style sheet's. One run that dwarfs all others (a first migration)
//! is cut off and labelled, so that the others can still be told apart.

use crate::report::{Summary, words};

/// The drawing's size, in its own units.
pub(super) const WIDTH: u64 = 480;
pub(super) const HEIGHT: u64 = 190;
/// Where the bars stand: left edge, right edge, top and base line.
const LEFT: f64 = 52.0;
const RIGHT: f64 = 476.0;
const TOP: f64 = 22.0;
const BASE: f64 = 160.0;
/// The broadest bar: the first few are not to look like walls.
const BROADEST: f64 = 24.0;
/// A run this many times larger than the next is cut off.
const DWARFS: u64 = 8;
/// What stands for nothing, so that a run without differences is seen as a run. In units of the drawing.
const STUB: f64 = 2.0;

/// One figure of each run, oldest first.
pub(super) struct Series {
    pub name: &'static str,
    pub values: Vec<u64>,
}

/// A chart as the template draws it.
pub(super) struct Chart {
    pub id: &'static str,
    pub title: &'static str,
    /// The same in words.
    pub description: String,
    pub legend: Vec<&'static str>,
    pub bars: Vec<Bar>,
    pub lines: Vec<Line>,
    pub first: String,
    pub last: String,
    pub left: String,
    pub right: String,
    pub width: u64,
    pub height: u64,
}

/// One run.
pub(super) struct Bar {
    pub x: String,
    pub width: String,
    /// Where the figure of a bar that is cut off is written, so that it stays in the drawing.
    pub at: String,
    pub anchor: &'static str,
    pub tip: String,
    pub parts: Vec<Part>,
    /// The figure of a bar that is cut off.
    pub cut: Option<String>,
    pub is_last: bool,
}

/// One colour of a bar.
pub(super) struct Part {
    pub y: String,
    pub height: String,
    /// Which series; 0 is the stub of nothing.
    pub colour: usize,
}

/// A line across, with its figure.
pub(super) struct Line {
    pub y: String,
    pub label: String,
}

impl Chart {
    pub(super) fn new(
        id: &'static str,
        title: &'static str,
        runs: &[Summary],
        series: &[Series],
        say: &dyn Fn(u64) -> String,
    ) -> Self {
        let value = |one: &Series, at: usize| one.values.get(at).copied().unwrap_or_default();
        let sum = |at: usize| series.iter().map(|one| value(one, at)).sum::<u64>();
        let sums: Vec<u64> = (0..runs.len()).map(sum).collect();
        let top = top_of(&sums);
        let step = (RIGHT - LEFT) / runs.len().max(1) as f64;
        let width = (step * 0.72).min(BROADEST);
        let bars = runs.iter().enumerate().map(|(at, run)| {
            let left = LEFT + step * (at as f64 + 0.5) - width / 2.0;
            let values: Vec<u64> = series.iter().map(|one| value(one, at)).collect();
            let is_left = left < (LEFT + RIGHT) / 2.0;
            Bar {
                x: unit(left),
                width: unit(width),
                at: unit(if is_left { left } else { left + width }),
                anchor: if is_left { "start" } else { "end" },
                tip: tip(run, series, &values, say),
                // A bar that is cut off still shows its shares.
                parts: stack(&values, top.max(sums[at])),
                cut: (sums[at] > top).then(|| say(sums[at])),
                is_last: at + 1 == runs.len(),
            }
        });
        let day = |run: Option<&Summary>| {
            run.map(|run| words::time(run.started_ms).chars().take(10).collect())
                .unwrap_or_default()
        };
        Chart {
            id,
            title,
            description: describe(&sums, say),
            legend: match series {
                [_] => Vec::new(),
                several => several.iter().map(|one| one.name).collect(),
            },
            bars: bars.collect(),
            lines: lines(top, say),
            first: day(runs.first()),
            last: day(runs.last()),
            left: unit(LEFT),
            right: unit(RIGHT),
            width: WIDTH,
            height: HEIGHT,
        }
    }
}

/// A length as SVG reads it.
fn unit(n: f64) -> String {
    format!("{n:.1}")
}

/// The value at the top: round, and not that of a single run that dwarfs the others.
fn top_of(sums: &[u64]) -> u64 {
    let mut sorted = sums.to_vec();
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    let (most, next) = (
        sorted.first().copied().unwrap_or_default(),
        sorted.get(1).copied().unwrap_or_default(),
    );
    let dwarfed = next > 0 && most / next >= DWARFS;
    round_up(if dwarfed { next } else { most })
}

/// The next of 1, 2, 3, 4, 5, 6, 8, 10, 20, 30 … that is not less.
fn round_up(n: u64) -> u64 {
    let mut size = 1_u64;
    while size < u64::MAX / 100 {
        let round = [1, 2, 3, 4, 5, 6, 8].into_iter().map(|step| step * size);
        if let Some(found) = round.into_iter().find(|round| *round >= n) {
            return found;
        }
        size *= 10;
    }
    n
}

fn lines(top: u64, say: &dyn Fn(u64) -> String) -> Vec<Line> {
    let mut at = vec![0, top];
    if top.is_multiple_of(2) {
        at.insert(1, top / 2);
    }
    at.into_iter()
        .map(|value| Line {
            y: unit(BASE - height(value, top)),
            label: say(value),
        })
        .collect()
}

fn height(value: u64, top: u64) -> f64 {
    (BASE - TOP) * value.min(top) as f64 / top.max(1) as f64
}

fn stack(values: &[u64], top: u64) -> Vec<Part> {
    let part = |from: f64, to: f64, colour| Part {
        y: unit(BASE - to),
        height: unit(to - from),
        colour,
    };
    let mut parts = Vec::new();
    let mut below = 0;
    for (at, value) in values.iter().enumerate().filter(|(_, value)| **value > 0) {
        let (from, to) = (height(below, top), height(below + value, top));
        // A single one among very many is a line, but it is there.
        parts.push(part(from, to.max(from + 1.0), at + 1));
        below += value;
    }
    if parts.is_empty() {
        parts.push(part(0.0, STUB, 0));
    }
    parts
}

fn tip(run: &Summary, series: &[Series], values: &[u64], say: &dyn Fn(u64) -> String) -> String {
    let parts: Vec<_> = series
        .iter()
        .zip(values)
        .filter(|(_, value)| **value > 0)
        .map(|(one, value)| format!("{} {}", one.name, say(*value)))
        .collect();
    let what = match parts.as_slice() {
        [] => "none".to_owned(),
        parts => parts.join(", "),
    };
    format!("{}: {what}", words::time(run.started_ms))
}

fn describe(sums: &[u64], say: &dyn Fn(u64) -> String) -> String {
    let least = sums.iter().min().copied().unwrap_or_default();
    let most = sums.iter().max().copied().unwrap_or_default();
    let last = sums.last().copied().unwrap_or_default();
    format!(
        "The last {} runs: at least {}, at most {}, in this run {}.",
        sums.len(),
        say(least),
        say(most),
        say(last)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    fn chart(values: Vec<u64>) -> Chart {
        let runs = samples::past(u32::try_from(values.len()).unwrap());
        let series = [Series {
            name: "differences",
            values,
        }];
        Chart::new("x", "X", &runs, &series, &words::number)
    }

    #[test]
    fn the_scale_ends_at_a_round_number() {
        for (most, top) in [
            (0, 1),
            (1, 1),
            (3, 3),
            (7, 8),
            (9, 10),
            (10, 10),
            (41, 50),
            (999, 1000),
        ] {
            assert_eq!(round_up(most), top, "{most}");
        }
        assert!(round_up(u64::MAX) >= u64::MAX / 100);
    }

    #[test]
    fn a_run_that_dwarfs_the_others_is_cut_off_and_says_its_figure() {
        let drawn = chart(vec![40_000, 3, 0, 4]);
        assert_eq!(drawn.bars[0].cut.as_deref(), Some("40,000"));
        assert!(drawn.bars[1].cut.is_none());
        assert_eq!(drawn.lines.last().unwrap().label, "4");
        assert_eq!(chart(vec![40, 30, 0]).bars[0].cut, None);
        assert_eq!(chart(vec![40, 0, 0]).bars[0].cut, None);
    }

    #[test]
    fn every_run_has_a_bar_within_the_drawing() {
        for values in [vec![0; 30], vec![7, 0, 1_000_000], (0..30).collect()] {
            let drawn = chart(values.clone());
            assert_eq!(drawn.bars.len(), values.len());
            for bar in &drawn.bars {
                let (x, width): (f64, f64) = (bar.x.parse().unwrap(), bar.width.parse().unwrap());
                assert!(x >= LEFT && x + width <= RIGHT, "{x} {width}");
                for part in &bar.parts {
                    let (y, height): (f64, f64) =
                        (part.y.parse().unwrap(), part.height.parse().unwrap());
                    assert!(
                        y >= TOP - 1.0 && y + height <= BASE + 0.2 && height > 0.0,
                        "{y} {height}"
                    );
                }
            }
        }
    }

    #[test]
    fn who_does_not_see_it_is_told() {
        let told = chart(vec![2, 1_234, 7]).description;
        assert_eq!(
            told,
            "The last 3 runs: at least 2, at most 1,234, in this run 7."
        );
    }
}
