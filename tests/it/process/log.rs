//! What a daemon has logged.

use std::sync::{Arc, Mutex};

use serde_json::Value;

/// The lines of a log, as they were written.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(super) fn add(&self, line: String) {
        self.0.lock().expect("no panic while held").push(line);
    }

    pub(super) fn len(&self) -> usize {
        self.0.lock().expect("no panic while held").len()
    }

    /// Everything.
    pub fn text(&self) -> String {
        self.0.lock().expect("no panic while held").join("\n")
    }

    /// How many lines hold this text.
    pub fn count(&self, text: &str) -> usize {
        let lines = self.0.lock().expect("no panic while held");
        lines.iter().filter(|line| line.contains(text)).count()
    }

    /// A field of the last line, from line `from` on, that holds this text.
    pub fn field_since(&self, from: usize, text: &str, field: &str) -> Option<String> {
        let lines = self.0.lock().expect("no panic while held");
        let new = lines.get(from..).unwrap_or_default();
        let line = new.iter().rev().find(|line| line.contains(text))?;
        match &serde_json::from_str::<Value>(line).ok()?[field] {
            Value::String(text) => Some(text.clone()),
            Value::Null => None,
            other => Some(other.to_string()),
        }
    }
}
