//! What a demo ends with: figures of one run, and how they are told.
//!
//! A value that is filled once and rendered as text or as a document; reads no clock.

use serde::Serialize;
use serde_json::{Value, json};

use super::{compare::Comparison, drift::Drift, mend::Mended, traffic::Acts};
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
    /// Both sides when the traffic was over: what differs must be explained by a lost delivery.
    pub before: Comparison,
    /// What was made to differ then.
    pub drift: Drift,
    /// What the scans found and put right.
    pub mended: Mended,
    /// Both sides at the end: nothing may differ.
    pub after: Comparison,
    /// The rows that belong to the app alone, at the end.
    pub own_rows: usize,
    /// The daemon's own status at the end.
    pub status: Value,
}

impl Tally {
    /// Whether the daemon did its part: nothing left waiting, no difference without a lost delivery, and none
    /// at all at the end, as the audit and the comparison see it.
    pub fn is_well(&self) -> bool {
        self.drained
            && self.before.unexplained == 0
            && self.fates.failed == 0
            && self.mended.in_sync
            && self.is_equal()
            && self.own_rows == self.drift.own
    }

    fn is_equal(&self) -> bool {
        self.after.unexplained + self.after.explained == 0
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
            "before_repair": self.before,
            "drift": self.drift,
            "repair": self.mended,
            "comparison": self.after,
            "own_rows": self.own_rows,
            "status": self.status,
        })
    }

    /// For people.
    pub fn text(&self, paint: Paint) -> String {
        let mut text = format!(
            "In {:.0} s {} people signed up, {} left, and {} other things changed.\n",
            self.seconds,
            self.acts.signed_up,
            self.acts.deleted,
            self.acts.changed + self.acts.founded + self.acts.memberships,
        );
        let mut part = |heading: &str, lines: Vec<(&str, String)>| {
            text += &format!("\n{}\n", paint.tone(Tone::Strong, heading));
            for (name, value) in lines {
                let name = paint.tone(Tone::Quiet, &format!("{name:<13}"));
                text += &format!("  {name}  {value}\n");
            }
        };
        part("On the way", self.on_the_way(paint));
        let mut drifted = vec![("lost events", self.left_behind())];
        drifted.extend(self.drift.words());
        part("What no delivery told", drifted);
        part("Found and put right", Vec::new());
        text += &self.mended.table();
        text += "The sweeps, here every two seconds, also bring what is still on its way; the delivery\n\
                 that comes after them changes nothing.\n";
        let raised = self.alerts();
        if !raised.is_empty() {
            text += &format!(
                "The daemon has raised {raised}: docs/operating.md says what that means.\n"
            );
        }
        if self.mended.approved > 0 {
            text += &format!(
                "The reconcile held back its deletions, as too many to go without a person's word. The\n\
                 demo gave it: {} were carried out.\n",
                self.mended.approved
            );
        }
        text + "\n" + &self.verdict(paint)
    }

    fn on_the_way(&self, paint: Paint) -> Vec<(&'static str, String)> {
        let fates = &self.fates;
        let mut lines = vec![
            (
                "events",
                format!(
                    "{} emitted by Clerk, many of them out of order, {} sent twice",
                    fates.sent, fates.repeated
                ),
            ),
            (
                "lost",
                format!("{} on purpose; the daemon never heard of them", fates.lost),
            ),
            (
                "arrived",
                format!(
                    "{}, each stored before it was acknowledged",
                    fates.delivered
                ),
            ),
        ];
        if fates.failed > 0 {
            let failed = format!("{} events, after every attempt", fates.failed);
            lines.push(("refused", paint.tone(Tone::Bad, &failed)));
        }
        lines.push(("acknowledged", acknowledged(fates)));
        lines.push(("in Convex", self.visible_text()));
        lines
    }

    fn left_behind(&self) -> String {
        match self.before.explained {
            0 => "the sweeps had made good for all of them when the traffic was over".to_owned(),
            rows => format!("{rows} rows were still wrong when the traffic was over"),
        }
    }

    fn visible_text(&self) -> String {
        match self.visible.samples {
            0 => "not measured: the network was never calm".to_owned(),
            samples => format!(
                "half within {} of the change, 99 of 100 within {}\n{:17}(of {samples} rows, while the network \
                 was calm)",
                millis(self.visible.p50),
                millis(self.visible.p99),
                ""
            ),
        }
    }

    fn alerts(&self) -> String {
        let raised = self.status["alerts"].as_array();
        let codes = raised.into_iter().flatten();
        let codes: Vec<&str> = codes.filter_map(|alert| alert["code"].as_str()).collect();
        codes.join(", ")
    }

    fn verdict(&self, paint: Paint) -> String {
        let mut text = String::new();
        let mut bad = |words: &str| text += &format!("{}\n", paint.tone(Tone::Bad, words));
        if !self.drained {
            bad("Some events were still waiting when the traffic was compared.");
        }
        if self.before.unexplained > 0 {
            bad(&format!(
                "{} rows differed after the traffic although every event about them arrived.",
                self.before.unexplained
            ));
        }
        if !self.mended.in_sync {
            bad("The audit at the end still found differences.");
        }
        if self.own_rows != self.drift.own {
            bad("Rows of the app's own, without a clerkId, were touched.");
        }
        if !self.is_equal() {
            let rows = self.after.unexplained + self.after.explained;
            bad(&format!("{rows} rows differ at the end:"));
            text += &table(&self.after);
        } else if self.is_well() {
            let words =
                "Both sides agree: the audit says so, and so does a comparison of the demo's own.";
            text += &format!("{}\n{}\n", paint.tone(Tone::Good, words), self.counts());
        }
        let page = self.mended.page.display();
        text += &format!(
            "\nTo read:   file://{page}\n           (the report of the reconcile; delete it when you have)\n\
             To play:   clerk-convex-sync demo --seconds 0, and the curl lines that it begins with\n"
        );
        text
    }

    fn counts(&self) -> String {
        let tables: Vec<String> = self
            .after
            .tables
            .iter()
            .map(|(table, tally)| format!("{} {table}", tally.equal))
            .collect();
        format!(
            "Equal: {}.\n{} row of the app's own, which has no clerkId, was left alone.",
            tables.join(", "),
            self.own_rows
        )
    }
}

fn table(comparison: &Comparison) -> String {
    let rows = comparison.tables.iter().map(|(table, tally)| {
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

fn acknowledged(fates: &Fates) -> String {
    let ack = &fates.ack_latency_ms;
    format!(
        "half within {}, 99 of 100 within {}",
        millis(ack.p50),
        millis(ack.p99)
    )
}

#[cfg(test)]
mod tests;
