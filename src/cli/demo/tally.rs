//! What a demo ends with: figures of one run, and how they are told.
//!
//! A value that is filled once and rendered as text or as a document; reads no clock.

use serde::Serialize;
use serde_json::{Value, json};

use super::{compare::Comparison, traffic::Acts};
use crate::{
    cli::{
        output::{self, Paint, Tone},
        status::millis,
    },
    sandbox::clerk::sender::book::Fates,
};

/// Durations of many of a kind, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Spread {
    /// How many were measured.
    pub samples: u64,
    /// Half were faster.
    pub p50: f64,
    /// 99 of 100 were faster.
    pub p99: f64,
    /// The slowest.
    pub max: f64,
}

impl Spread {
    /// Of these durations; the nearest that was measured, never one in between.
    pub fn of(mut durations_ms: Vec<f64>) -> Self {
        durations_ms.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| {
            let rank = (durations_ms.len() as f64 * share).ceil() as usize;
            durations_ms
                .get(rank.saturating_sub(1))
                .copied()
                .unwrap_or_default()
        };
        Spread {
            samples: durations_ms.len() as u64,
            p50: at(0.5),
            p99: at(0.99),
            max: at(1.0),
        }
    }
}

/// One demo, when it is over.
#[derive(Debug)]
pub(super) struct Tally {
    /// How long things happened, in seconds.
    pub seconds: f64,
    /// What happened in Clerk.
    pub acts: Acts,
    /// What became of the deliveries.
    pub fates: Fates,
    /// From the change in Clerk to the row, while the network was calm.
    pub visible: Spread,
    /// Whether everything had been applied when the sides were compared.
    pub drained: bool,
    /// Both sides.
    pub comparison: Comparison,
    /// The daemon's own status at the end.
    pub status: Value,
}

impl Tally {
    /// Whether the daemon did its part: nothing left waiting, no difference without a lost delivery.
    pub fn is_well(&self) -> bool {
        self.drained && self.comparison.unexplained == 0 && self.fates.failed == 0
    }

    /// For programs.
    pub fn document(&self) -> Value {
        let fates = &self.fates;
        json!({
            "ok": self.is_well(),
            "seconds": (self.seconds * 1e3).round() / 1e3,
            "acts": {
                "signed_up": self.acts.signed_up, "changed": self.acts.changed,
                "deleted": self.acts.deleted, "organizations": self.acts.founded,
                "memberships": self.acts.memberships,
            },
            "events": {
                "emitted": fates.sent, "delivered": fates.delivered, "lost": fates.lost,
                "failed": fates.failed, "pending": fates.pending, "repeated": fates.repeated,
                "retried": fates.retried, "attempts": fates.attempts, "answers": fates.answers,
            },
            "ack_ms": fates.ack_latency_ms,
            "row_visible_ms": self.visible,
            "drained": self.drained,
            "comparison": self.comparison,
            "status": self.status,
        })
    }

    /// For people.
    pub fn text(&self, paint: Paint) -> String {
        let fates = &self.fates;
        let mut text = format!(
            "In {:.0} s {} people signed up, {} left, and {} other things changed.\n\n",
            self.seconds,
            self.acts.signed_up,
            self.acts.deleted,
            self.acts.changed + self.acts.founded + self.acts.memberships,
        );
        let mut line = |name: &str, value: String| {
            let name = paint.tone(Tone::Quiet, &format!("{name:<13}"));
            text += &format!("  {name}  {value}\n");
        };
        line(
            "events",
            format!(
                "{} emitted by Clerk, many of them out of order, {} sent twice",
                fates.sent, fates.repeated
            ),
        );
        line(
            "lost",
            format!(
                "{} on the way, on purpose; the daemon never heard of them",
                fates.lost
            ),
        );
        line(
            "arrived",
            format!(
                "{}, each stored before it was acknowledged",
                fates.delivered
            ),
        );
        if fates.failed > 0 {
            let failed = format!("{} events, after every attempt", fates.failed);
            line("refused", paint.tone(Tone::Bad, &failed));
        }
        line("acknowledged", acknowledged(fates));
        line("in Convex", self.visible_text());
        text += &format!("\n{}\n", self.table());
        text += &self.verdict(paint);
        text
    }

    fn visible_text(&self) -> String {
        match self.visible.samples {
            0 => "not measured: the network was never calm".to_owned(),
            samples => format!(
                "half within {} of the change in Clerk, 99 of 100 within {} ({samples} rows, while \
                 the network was calm)",
                millis(self.visible.p50),
                millis(self.visible.p99),
            ),
        }
    }

    fn table(&self) -> String {
        let rows = self.comparison.tables.iter().map(|(table, tally)| {
            let figures = [
                tally.clerk,
                tally.convex,
                tally.equal,
                tally.missing,
                tally.stale,
                tally.orphaned,
            ];
            std::iter::once((*table).to_owned())
                .chain(figures.iter().map(u64::to_string))
                .collect()
        });
        let headings = [
            "table", "clerk", "convex", "equal", "missing", "stale", "orphaned",
        ];
        output::table(&headings, rows)
    }

    fn verdict(&self, paint: Paint) -> String {
        let mut text = String::new();
        if !self.drained {
            let late = "Some events were still waiting when the rows were compared.";
            text += &paint.tone(Tone::Bad, late);
            text.push('\n');
        }
        let comparison = &self.comparison;
        let verdict = match (comparison.unexplained, comparison.explained) {
            (0, 0) => paint.tone(Tone::Good, "Every row equals Clerk."),
            (0, lost) => paint.tone(
                Tone::Good,
                &format!(
                    "Every row equals Clerk but {lost}: the last event about each of them was lost \
                     on the way."
                ),
            ),
            (odd, lost) => paint.tone(
                Tone::Bad,
                &format!(
                    "{odd} rows differ although every event about them arrived; {lost} more differ \
                     because the last event about them was lost."
                ),
            ),
        };
        text + &verdict + "\n"
    }
}

fn acknowledged(fates: &Fates) -> String {
    let ack = &fates.ack_latency_ms;
    format!(
        "half within {}, 99 of 100 within {}",
        millis(ack.p50),
        millis(ack.p99)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cli::demo::compare::TableTally, sandbox::clerk::sender::book::AckLatency};

    fn tally() -> Tally {
        let mut comparison = Comparison {
            explained: 3,
            ..Comparison::default()
        };
        let users = TableTally {
            clerk: 95,
            convex: 94,
            equal: 92,
            missing: 1,
            stale: 2,
            orphaned: 0,
        };
        comparison.tables.insert("users", users);
        Tally {
            seconds: 20.02,
            acts: Acts {
                signed_up: 100,
                changed: 60,
                deleted: 5,
                founded: 3,
                memberships: 32,
            },
            fates: Fates {
                sent: 200,
                delivered: 197,
                lost: 3,
                repeated: 11,
                ack_latency_ms: AckLatency {
                    p50: 1.8,
                    p99: 6.1,
                    max: 9.0,
                },
                ..Fates::default()
            },
            visible: Spread::of((1..=100).map(f64::from).collect()),
            drained: true,
            comparison,
            status: json!({}),
        }
    }

    #[test]
    fn the_closing_words() {
        insta::assert_snapshot!(tally().text(Paint::PLAIN));
    }

    #[test]
    fn what_is_not_well_is_said() {
        let mut tally = tally();
        assert!(tally.is_well());
        tally.comparison.unexplained = 2;
        tally.drained = false;
        tally.fates.failed = 1;
        assert!(!tally.is_well());
        assert_eq!(tally.document()["ok"], false);
        let text = tally.text(Paint::PLAIN);
        assert!(text.contains("still waiting"), "{text}");
        assert!(text.contains("2 rows differ although"), "{text}");
        assert!(text.contains("1 events, after every attempt"), "{text}");
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let spread = Spread::of((1..=200).rev().map(f64::from).collect());
        assert_eq!((spread.p50, spread.p99, spread.max), (100.0, 198.0, 200.0));
        assert_eq!(Spread::of(vec![7.0]).p99, 7.0);
        assert_eq!(Spread::of(vec![]), Spread::default());
    }
}
