//! How the simulated Convex is told to misbehave: rules, and the verdict over one call.
//!
//! A rule names a function (or any), what goes wrong, how often and how likely. Latencies add up; of
//! the others the first that applies counts. The dice are seeded, so a run can be repeated. Knows
//! nothing of HTTP beyond status numbers.

use std::time::Duration;

use serde::Deserialize;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// An HTTP error with `{code, message}`; the function does not run.
    Status,
    /// The function throws: `status: "error"`; it writes nothing.
    Error,
    /// The call takes longer.
    Latency,
    /// The connection is cut before the function runs.
    Cut,
    /// HTTP 200 with something that is not JSON; the function does not run.
    Garbage,
    /// The function runs and commits, then the connection is cut.
    AppliedThenCut,
    /// `apply` throws a structured error while the key is among its changes.
    RejectKey,
}

/// One rule.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// `apply`, `list`, …; none: every function.
    #[serde(default)]
    pub function: Option<String>,
    /// What goes wrong.
    pub kind: FaultKind,
    /// HTTP status of `status` (503 if left out).
    #[serde(default)]
    pub status: Option<u16>,
    /// Code in the body of `status`, or in the `errorData` of `error` and `reject_key`.
    #[serde(default)]
    pub code: Option<String>,
    /// Seconds of a `Retry-After` header beside `status`.
    #[serde(default)]
    pub retry_after: Option<u64>,
    /// Milliseconds of `latency`; may come with any other kind too.
    #[serde(default)]
    pub ms: Option<u64>,
    /// The record that `error` names and `reject_key` refuses.
    #[serde(default)]
    pub key: Option<String>,
    /// How many calls it strikes; none: all.
    #[serde(default)]
    pub times: Option<u64>,
    /// How likely it strikes a call, 0 to 1; none: surely.
    #[serde(default)]
    pub ratio: Option<f64>,
    /// Whether the message of `error` is redacted as in production. Of `reject_key`, then nothing says for which
    /// record it is.
    #[serde(default)]
    pub redacted: Option<bool>,
}

impl FaultRule {
    /// A rule of this kind for every call.
    pub fn new(kind: FaultKind) -> Self {
        FaultRule {
            function: None,
            kind,
            status: None,
            code: None,
            retry_after: None,
            ms: None,
            key: None,
            times: None,
            ratio: None,
            redacted: None,
        }
    }
}

/// What the rules say about one call.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) latency: Duration,
    pub(super) fault: Option<FaultRule>,
}

/// The rules in force.
#[derive(Debug)]
pub(super) struct Faults {
    rules: Vec<FaultRule>,
    dice: u64,
}

impl Faults {
    pub(super) fn new(seed: u64) -> Self {
        Faults {
            rules: Vec::new(),
            dice: seed,
        }
    }

    pub(super) fn add(&mut self, rule: FaultRule) {
        self.rules.push(rule);
    }

    /// Puts these in the place of all there were.
    pub(super) fn replace(&mut self, rules: Vec<FaultRule>) {
        self.rules = rules;
    }

    /// Judges one call; `has_key` says whether a change of a key is in it.
    pub(super) fn judge(&mut self, function: &str, has_key: impl Fn(&str) -> bool) -> Verdict {
        let mut verdict = Verdict::default();
        let Faults { rules, dice } = self;
        for rule in rules.iter_mut() {
            let latency = rule.kind == FaultKind::Latency;
            let taken = verdict.fault.is_some() && !latency;
            let other = rule
                .function
                .as_deref()
                .is_some_and(|name| name != function);
            if taken || other || rule.times == Some(0) {
                continue;
            }
            if rule.kind == FaultKind::RejectKey && !rule.key.as_deref().is_some_and(&has_key) {
                continue;
            }
            if rule.ratio.is_some_and(|ratio| roll(dice) >= ratio) {
                continue;
            }
            if let Some(times) = &mut rule.times {
                *times -= 1;
            }
            verdict.latency += Duration::from_millis(rule.ms.unwrap_or(0));
            if !latency {
                verdict.fault = Some(rule.clone());
            }
        }
        rules.retain(|rule| rule.times != Some(0));
        verdict
    }
}

/// The next number of a SplitMix64 sequence, as a fraction of one.
fn roll(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(json: &str) -> FaultRule {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_rule_strikes_its_function_so_many_times() {
        let mut faults = Faults::new(1);
        faults.add(rule(
            r#"{"kind":"status","status":429,"function":"apply","times":2}"#,
        ));
        assert!(faults.judge("list", |_| false).fault.is_none());
        assert_eq!(
            faults.judge("apply", |_| false).fault.unwrap().status,
            Some(429)
        );
        assert!(faults.judge("apply", |_| false).fault.is_some());
        assert!(faults.judge("apply", |_| false).fault.is_none());
    }

    #[test]
    fn latencies_add_up_beside_the_first_other_fault() {
        let mut faults = Faults::new(1);
        faults.add(rule(r#"{"kind":"latency","ms":5}"#));
        faults.add(rule(r#"{"kind":"cut"}"#));
        faults.add(rule(r#"{"kind":"garbage"}"#));
        faults.add(rule(r#"{"kind":"latency","ms":7}"#));
        let verdict = faults.judge("get", |_| false);
        assert_eq!(verdict.latency, Duration::from_millis(12));
        assert_eq!(verdict.fault.unwrap().kind, FaultKind::Cut);
    }

    #[test]
    fn a_ratio_strikes_about_so_often() {
        let mut faults = Faults::new(7);
        faults.add(rule(r#"{"kind":"status","ratio":0.3}"#));
        let struck = (0..10_000).filter(|_| faults.judge("apply", |_| false).fault.is_some());
        let count = struck.count();
        assert!((2_800..3_200).contains(&count), "{count}");
    }

    #[test]
    fn a_rejected_key_strikes_only_calls_that_carry_it() {
        let mut faults = Faults::new(1);
        faults.add(rule(r#"{"kind":"reject_key","key":"user_1"}"#));
        assert!(faults.judge("apply", |key| key == "user_2").fault.is_none());
        assert!(faults.judge("apply", |key| key == "user_1").fault.is_some());
    }
}
