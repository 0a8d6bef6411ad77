//! Two ways to write the same metrics.
//!
//! OpenMetrics is what the registry writes, for whoever says that it reads that. For everybody else this makes
//! Prometheus' own text of it, whose counters carry their ending in the name of the family and which has no kind
//! `info`. Knows no metric.

use std::fmt::Write as _;

/// The `Content-Type` of OpenMetrics.
const OPEN_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The `Content-Type` of Prometheus' own text.
const PLAIN_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The metrics as somebody with this `Accept` reads them, with their `Content-Type`. `open` is OpenMetrics.
pub(super) fn accepted(open: String, accept: Option<&str>) -> (&'static str, String) {
    let reads_open = |accept: &str| accept.contains("application/openmetrics-text");
    if accept.is_some_and(reads_open) {
        (OPEN_TYPE, open)
    } else {
        (PLAIN_TYPE, plain(&open))
    }
}

/// Prometheus' own text. The registry writes `HELP` before `TYPE`, which alone says what the family is called.
fn plain(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    let mut help = None;
    for line in open.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(_), Some(said)) => help = Some(said),
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                let (ending, kind) = match kind {
                    "counter" => ("_total", "counter"),
                    "info" => ("_info", "gauge"),
                    "unknown" => ("", "untyped"),
                    kind => ("", kind),
                };
                if let Some(said) = help.take() {
                    let _ = writeln!(text, "# HELP {name}{ending} {said}");
                }
                let _ = writeln!(text, "# TYPE {name}{ending} {kind}");
            }
            (Some("#"), ..) => {}
            _ => {
                let _ = writeln!(text, "{line}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: &str = "# HELP a_runs Runs by kind.\n# TYPE a_runs counter\na_runs_total{kind=\"x\"} 1\n\
                        # HELP a_seconds How long.\n# TYPE a_seconds histogram\n# UNIT a_seconds seconds\n\
                        a_seconds_sum 0.5\n# HELP a_build The version.\n# TYPE a_build info\n\
                        a_build_info{version=\"1\"} 1\n# EOF\n";

    #[test]
    fn whoever_does_not_ask_for_openmetrics_gets_what_every_prometheus_reads() {
        let plain = "# HELP a_runs_total Runs by kind.\n# TYPE a_runs_total counter\na_runs_total{kind=\"x\"} 1\n\
                     # HELP a_seconds How long.\n# TYPE a_seconds histogram\na_seconds_sum 0.5\n\
                     # HELP a_build_info The version.\n# TYPE a_build_info gauge\na_build_info{version=\"1\"} 1\n";
        for accept in [None, Some("*/*"), Some("text/plain;version=0.0.4")] {
            assert_eq!(accepted(OPEN.into(), accept), (PLAIN_TYPE, plain.into()));
        }
        let prometheus =
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        let open = (OPEN_TYPE, OPEN.to_owned());
        assert_eq!(accepted(OPEN.into(), Some(prometheus)), open);
    }
}
