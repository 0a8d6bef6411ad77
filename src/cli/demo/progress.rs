//! How a demo is watched: a bar on a terminal, else a line a second; on stderr both.
//!
//! Is handed the figures of the moment and keeps none. What a demo ends with is not told here: that goes
//! to stdout.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use super::traffic::Acts;
use crate::{
    cli::{output::Output, status::millis},
    sandbox::clerk::sender::book::Fates,
};

/// The bar, or the lines.
pub(super) struct Progress {
    output: Output,
    bar: Option<ProgressBar>,
    people: u64,
}

impl Progress {
    /// For so many people; `end` is when it is over, if it ever is.
    pub fn new(output: Output, people: u64, end: Option<Duration>) -> Self {
        let bar = output.may_draw_progress().then(|| {
            let (bar, template) = match end {
                Some(end) => (
                    ProgressBar::new(end.as_secs()),
                    "{bar:20} {pos} of {len} s  {wide_msg}",
                ),
                None => (ProgressBar::no_length(), "{spinner} {elapsed}  {wide_msg}"),
            };
            bar.set_draw_target(ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar
        });
        Progress {
            output,
            bar,
            people,
        }
    }

    /// The figures of this moment.
    pub fn report(&self, elapsed: Duration, acts: Acts, fates: &Fates, status: &Value) {
        let text = line(acts, self.people, fates, status);
        match &self.bar {
            Some(bar) => {
                bar.set_position(elapsed.as_secs());
                bar.set_message(text);
            }
            None => self
                .output
                .note(&format!("{:>4} s  {text}", elapsed.as_secs())),
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.output
            .note("Nothing happens any more; waiting for the last rows.");
    }
}

fn line(acts: Acts, people: u64, fates: &Fates, status: &Value) -> String {
    let waiting = match status["queue"]["depth"].as_u64() {
        Some(depth) => format!("{depth} waiting"),
        None => "no status".to_owned(),
    };
    let latency = match status["latency_ms"]["p50"].as_f64() {
        Some(p50) => format!(", rows after {}", millis(p50)),
        None => String::new(),
    };
    format!(
        "{} of {people} people, {} events, {} lost, {} repeated, {waiting}, ack {}{latency}",
        acts.signed_up,
        fates.sent,
        fates.lost,
        fates.repeated,
        millis(fates.ack_latency_ms.p50),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_tells_the_moment() {
        let acts = Acts {
            signed_up: 312,
            ..Acts::default()
        };
        let fates = Fates {
            sent: 640,
            lost: 6,
            repeated: 31,
            ..Fates::default()
        };
        let status =
            json!({ "queue": { "depth": 2 }, "latency_ms": { "p50": 131.4, "p99": 260.0 } });
        assert_eq!(
            line(acts, 1_000, &fates, &status),
            "312 of 1000 people, 640 events, 6 lost, 31 repeated, 2 waiting, ack 0.0 ms, rows after \
             131 ms"
        );
        assert!(line(acts, 1, &fates, &Value::Null).contains("no status"));
    }
}
