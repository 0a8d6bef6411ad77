//! How a run is watched: a bar with rate and time left on a terminal, else a line now and then; on stderr.
//!
//! Is handed what the run says of itself and keeps nothing but the bar.

use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{cli::output::Output, reconcile::run::Progress, report::RunKind};

/// How often a line is written where no bar can be drawn.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// See the module's words.
pub struct Watcher {
    kind: RunKind,
    output: Output,
    bar: Option<ProgressBar>,
    started: Instant,
    last_line: Instant,
}

impl Watcher {
    /// Begins to watch.
    pub fn new(kind: RunKind, output: Output) -> Self {
        let bar = output.may_draw_progress().then(|| {
            let bar = ProgressBar::no_length();
            bar.set_draw_target(ProgressDrawTarget::stderr());
            bar.enable_steady_tick(Duration::from_millis(250));
            bar.set_style(unbounded());
            bar
        });
        let now = Instant::now();
        Watcher {
            kind,
            output,
            bar,
            started: now,
            last_line: now,
        }
    }

    /// Shows how far it is.
    pub fn show(&mut self, now: &Progress) {
        let Some(bar) = &self.bar else {
            if self.last_line.elapsed() >= LINE_EVERY {
                self.last_line = Instant::now();
                self.output
                    .note(&line(self.kind, now, self.started.elapsed()));
            }
            return;
        };
        if now.total != bar.length() {
            match now.total {
                Some(total) => {
                    bar.set_length(total);
                    bar.set_style(bounded());
                }
                None => {
                    bar.unset_length();
                    bar.set_style(unbounded());
                }
            }
        }
        bar.set_position(now.done);
        bar.set_message(found(now));
    }

    /// Takes the bar away.
    pub fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

fn bounded() -> ProgressStyle {
    style("{bar:20} {human_pos} of {human_len}  {per_sec}, {eta} left  {wide_msg}")
}

fn unbounded() -> ProgressStyle {
    style("{spinner} {elapsed}  {human_pos}  {wide_msg}")
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// What is being done, and what was found.
fn found(now: &Progress) -> String {
    let mut text = now.phase.clone();
    if now.differences > 0 {
        text += &format!("; {} differ", now.differences);
    }
    if now.repaired > 0 {
        text += &format!(", {} repaired", now.repaired);
    }
    text
}

/// A line for a log: done, rate, time left.
fn line(kind: RunKind, now: &Progress, since: Duration) -> String {
    let rate = now.done as f64 / since.as_secs_f64().max(0.001);
    let mut text = format!("{kind}: {}", now.done);
    if let Some(total) = now.total {
        text += &format!(" of {total}");
    }
    text += &format!(", {rate:.0} a second");
    let left = now.total.map(|total| total.saturating_sub(now.done));
    if let Some(left) = left
        && rate >= 0.001
    {
        let left = Duration::try_from_secs_f64(left as f64 / rate).unwrap_or(Duration::MAX);
        text += &format!(", {} left", HumanDuration(left));
    }
    format!("{text}; {}", found(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(done: u64, total: Option<u64>, differences: u64, repaired: u64) -> Progress {
        Progress {
            phase: "comparing users".into(),
            done,
            total,
            differences,
            repaired,
        }
    }

    #[test]
    fn a_line_says_how_far_how_fast_and_how_long() {
        let ten = Duration::from_secs(10);
        for (progress, expected) in [
            (
                now(5_000, Some(20_000), 0, 0),
                "audit: 5000 of 20000, 500 a second, 30 seconds left; comparing users",
            ),
            (
                now(5_000, None, 3, 0),
                "audit: 5000, 500 a second; comparing users; 3 differ",
            ),
            (
                now(0, Some(7), 0, 0),
                "audit: 0 of 7, 0 a second; comparing users",
            ),
            (
                now(30, Some(20), 3, 2),
                "audit: 30 of 20, 3 a second, 0 seconds left; comparing users; 3 differ, 2 repaired",
            ),
        ] {
            assert_eq!(line(RunKind::Audit, &progress, ten), expected);
        }
    }

    #[test]
    fn templates_are_valid() {
        for template in [
            "{bar:20} {human_pos} of {human_len}  {per_sec}, {eta} left  {wide_msg}",
            "{spinner} {elapsed}  {human_pos}  {wide_msg}",
        ] {
            assert!(ProgressStyle::with_template(template).is_ok());
        }
    }
}
