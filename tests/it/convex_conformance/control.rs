//! The steps that go through the control interface: what happens behind the functions' back.
//!
//! `insert`, `insert_many`, `patch`, `rows`, `edit`, `faults`. The Rust stand-in and the Node host
//! answer them alike; a real deployment has none.

use serde_json::{Value, json};

use super::expand::numbered;
use super::matching::{filled, matches_in_any_order};
use super::steps::{Checked, Runner};

impl Runner<'_> {
    pub(super) async fn control_step(&mut self, step: &Value) -> Checked {
        let order = |name: &str| step.get(name).map(|order| filled(order, &self.bindings));
        if let Some(order) = order("insert") {
            let answer = self.target.control("insert", Some(&order?)).await?;
            if let Some(name) = step["bind"].as_str() {
                self.bindings.insert(name.to_owned(), answer["id"].clone());
            }
        } else if let Some(order) = order("insert_many") {
            let order = order?;
            for doc in numbered(&order, "doc") {
                let one = json!({ "table": order["table"], "doc": doc });
                self.target.control("insert", Some(&one)).await?;
            }
        } else if let Some(order) = order("patch") {
            self.target.control("patch", Some(&order?)).await?;
        } else if let Some(order) = order("edit") {
            self.target.control("edit", Some(&order?)).await?;
        } else if let Some(rules) = order("faults") {
            self.target
                .control("faults", Some(&json!({ "rules": rules? })))
                .await?;
        } else if let Some(table) = step["rows"].as_str() {
            let answer = self
                .target
                .control(&format!("rows?table={table}"), None)
                .await?;
            let rows = answer["rows"].as_array().ok_or("no rows in the answer")?;
            let expected = step["are"].as_array().cloned().unwrap_or_default();
            return matches_in_any_order(&expected, rows, &mut self.bindings);
        } else {
            return Err("there is no such step".to_owned());
        }
        Ok(())
    }
}
