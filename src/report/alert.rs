//! What is wrong right now, for whoever asks.
//!
//! A bounded set by code: raising what is raised only refreshes it. Knows no cause and no target;
//! whoever sees a condition raises it, and clears it when it is over. Holds no personal value.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use serde::Serialize;

/// A condition that a person should know of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Alert {
    /// A short name that does not change.
    pub code: &'static str,
    /// A sentence that ends in what to do.
    pub message: String,
    /// Since when, milliseconds since the epoch.
    pub since_ms: i64,
    /// How often it was seen since.
    pub count: u64,
    /// When it was seen last, milliseconds since the epoch.
    #[serde(skip)]
    pub last_ms: i64,
}

/// What is raised. Clones share one set; the codes are constants, so it is as small as their number.
#[derive(Clone, Debug, Default)]
pub struct Alerts(Arc<Mutex<BTreeMap<&'static str, Alert>>>);

impl Alerts {
    /// Raises a condition. Logs only when it is new.
    pub fn raise(&self, code: &'static str, message: impl Into<String>, now_ms: i64) {
        let message = message.into();
        if self.note(code, &message, now_ms) {
            tracing::error!(alert = code, "{message}");
        }
    }

    /// True if it is new. Whoever logs does so after the lock is given back.
    fn note(&self, code: &'static str, message: &str, now_ms: i64) -> bool {
        let mut alerts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match alerts.get_mut(code) {
            Some(alert) => {
                alert.count += 1;
                alert.last_ms = now_ms;
                message.clone_into(&mut alert.message);
                false
            }
            None => {
                let message = message.to_owned();
                let alert = Alert {
                    code,
                    message,
                    since_ms: now_ms,
                    count: 1,
                    last_ms: now_ms,
                };
                alerts.insert(code, alert);
                true
            }
        }
    }

    /// A condition is over.
    pub fn clear(&self, code: &'static str) {
        self.clear_if(code, |_| true);
    }

    /// True if it is raised.
    pub fn is_raised(&self, code: &str) -> bool {
        let alerts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        alerts.contains_key(code)
    }

    /// A condition that nobody has seen since `before_ms` is over, if nobody says so.
    pub fn end_quiet(&self, code: &'static str, before_ms: i64) {
        self.clear_if(code, |alert| alert.last_ms < before_ms);
    }

    fn clear_if(&self, code: &'static str, is_over: impl FnOnce(&Alert) -> bool) {
        let mut alerts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let over = alerts.get(code).is_some_and(is_over);
        if over {
            alerts.remove(code);
        }
        // Whoever logs does so after the lock is given back.
        drop(alerts);
        if over {
            tracing::info!(alert = code, "over");
        }
    }

    /// Everything raised now.
    pub fn raised(&self) -> Vec<Alert> {
        let alerts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        alerts.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_raised_once_and_counted() {
        let alerts = Alerts::default();
        alerts.raise("disk_full", "free some space", 1);
        alerts.raise("disk_full", "free some more space", 2);
        let raised = alerts.raised();
        assert_eq!(
            (raised.len(), raised[0].count, raised[0].since_ms),
            (1, 2, 1)
        );
        assert!(alerts.is_raised("disk_full") && !alerts.is_raised("disk"));
        alerts.clear("disk_full");
        assert!(alerts.raised().is_empty());
    }

    #[test]
    fn what_nobody_says_is_over_ends_when_it_was_not_seen_for_long() {
        let alerts = Alerts::default();
        alerts.raise("stranger", "look who it is", 1);
        alerts.raise("stranger", "look who it is", 100);
        alerts.end_quiet("stranger", 100);
        assert!(alerts.is_raised("stranger"), "seen just now");
        alerts.end_quiet("stranger", 101);
        assert!(alerts.raised().is_empty());
    }
}
