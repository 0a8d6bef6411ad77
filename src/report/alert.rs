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
                };
                alerts.insert(code, alert);
                true
            }
        }
    }

    /// A condition is over.
    pub fn clear(&self, code: &'static str) {
        let mut alerts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let over = alerts.remove(code).is_some();
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
        alerts.clear("disk_full");
        assert!(alerts.raised().is_empty());
    }
}
