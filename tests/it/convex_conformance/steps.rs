//! The steps of a case.
//!
//! `apply` (with `outcomes`, `error`, or a refusal: `http` and `code`, `cut`, `garbage`), `apply_many`,
//! `get`, `list`, `walk` (follows the cursors), `call` (any function), `request` (raw HTTP), `orders`
//! (changes in every order, then checks), and through the control interface `insert`, `insert_many`,
//! `patch`, `rows`, `edit`, `faults`. In `apply_many` and `insert_many`, `{n}` is the number of the item.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::expand::{apart, numbered, orders_of};
use super::matching::{Bindings, filled, matches, matches_in_any_order};
use super::target::{Answer, Target};

/// Pages one walk may take.
const MAX_PAGES: usize = 10_000;

/// Runs one case.
pub struct Runner<'a> {
    pub(super) target: &'a Target,
    pub(super) bindings: Bindings,
    /// Sets this case's keys apart where the tables are not emptied.
    space: String,
    /// Table and key of every change, to clean up where the tables are not emptied.
    used: Vec<(Value, Value)>,
}

/// Whether a step came out as expected; if not, why.
pub type Checked = Result<(), String>;

impl<'a> Runner<'a> {
    pub fn new(target: &'a Target, number: usize) -> Self {
        let space = match target.controlled {
            true => String::new(),
            false => format!("ccs{}x{number}x", std::process::id()),
        };
        Runner {
            target,
            bindings: Bindings::new(),
            space,
            used: Vec::new(),
        }
    }

    /// Every step in turn; the error names the step.
    pub async fn run(mut self, case: &Value) -> Checked {
        self.reset().await?;
        let mut result = Ok(());
        for (index, step) in case["steps"].as_array().into_iter().flatten().enumerate() {
            let step = apart(step, &self.space);
            result = Box::pin(self.step(&step)).await.map_err(|why| {
                let name = step.as_object().and_then(|map| map.keys().next().cloned());
                format!("step {} ({}): {why}", index + 1, name.unwrap_or_default())
            });
            if result.is_err() {
                break;
            }
        }
        self.clean_up().await?;
        result
    }

    async fn step(&mut self, step: &Value) -> Checked {
        let Some(map) = step.as_object() else {
            return Err("a step is an object".to_owned());
        };
        let is = |name: &str| map.contains_key(name);
        if is("apply") {
            self.apply(step, filled(&step["apply"], &self.bindings)?)
                .await
        } else if is("apply_many") {
            let many = numbered(&step["apply_many"], "change");
            self.apply(step, Value::Array(many)).await
        } else if is("get") {
            self.get(step).await
        } else if is("list") {
            self.list(step).await
        } else if is("walk") {
            self.walk(step).await
        } else if is("call") {
            let kind = step["kind"].as_str().unwrap_or("query");
            let function = step["call"].as_str().unwrap_or_default();
            let value = self.ask(kind, function, &step["args"], step).await?;
            match (value, step.get("value")) {
                (Some(value), Some(expected)) => {
                    matches(expected, Some(&value), &mut self.bindings)
                }
                _ => Ok(()),
            }
        } else if is("request") {
            self.request(step).await
        } else if is("orders") {
            self.orders(step).await
        } else {
            self.control_step(step).await
        }
    }

    /// Calls a function; its value, or none where the step expects it to fail and it did.
    async fn ask(
        &mut self,
        kind: &str,
        function: &str,
        args: &Value,
        step: &Value,
    ) -> Result<Option<Value>, String> {
        let args = filled(args, &self.bindings)?;
        let answer = self.target.call(kind, function, &args).await;
        if step["cut"] == true {
            return match answer {
                Err(_) => Ok(None),
                Ok(answer) => Err(format!("expected a cut, got HTTP {}", answer.status)),
            };
        }
        let answer = answer?;
        if step["garbage"] == true {
            return match (answer.status, answer.json()) {
                (200, Err(_)) => Ok(None),
                _ => Err(format!(
                    "expected garbage, got HTTP {}: {}",
                    answer.status, answer.text
                )),
            };
        }
        if let Some(status) = step.get("http") {
            self.refused(&answer, status, step)?;
            return Ok(None);
        }
        let body = answer.json()?;
        if ![200, 560].contains(&answer.status) {
            return Err(format!("HTTP {}: {body}", answer.status));
        }
        let error = step.get("error").filter(|error| !error.is_null());
        match (body["status"].as_str(), error) {
            (Some("success"), None) => Ok(Some(body["value"].clone())),
            (Some("error"), Some(Value::Bool(true))) => Ok(None),
            (Some("error"), Some(expected)) => {
                let data = body.get("errorData");
                matches(expected, data, &mut self.bindings)
                    .map_err(|why| format!("errorData: {why}; the answer is {body}"))?;
                matches(&json!({ "code": "$text" }), data, &mut self.bindings)
                    .map_err(|why| format!("errorData: {why}"))?;
                Ok(None)
            }
            (_, Some(_)) => Err(format!("expected an error, got {body}")),
            (_, None) => Err(format!("expected success, got {body}")),
        }
    }

    fn refused(&mut self, answer: &Answer, status: &Value, step: &Value) -> Checked {
        let body = answer.json()?;
        matches(status, Some(&json!(answer.status)), &mut self.bindings)?;
        if let Some(code) = step.get("code") {
            matches(code, body.get("code"), &mut self.bindings)?;
        }
        self.headers(answer, step)
    }

    fn headers(&mut self, answer: &Answer, step: &Value) -> Checked {
        for (name, expected) in step["headers"].as_object().into_iter().flatten() {
            let value = answer
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok());
            matches(
                expected,
                value.map(Value::from).as_ref(),
                &mut self.bindings,
            )
            .map_err(|why| format!("header {name}: {why}"))?;
        }
        Ok(())
    }

    async fn apply(&mut self, step: &Value, changes: Value) -> Checked {
        let changes = changes.as_array().cloned().unwrap_or_default();
        self.note_used(&changes);
        let began = Instant::now();
        let value = self
            .ask("mutation", "apply", &json!({ "changes": changes }), step)
            .await?;
        let took = began.elapsed();
        let least = Duration::from_millis(step["at_least_ms"].as_u64().unwrap_or(0));
        if took < least {
            return Err(format!(
                "answered after {took:?}, expected {least:?} at least"
            ));
        }
        let (Some(value), Some(outcomes)) = (value, step["outcomes"].as_array()) else {
            return Ok(());
        };
        let expected: Vec<Value> = outcomes
            .iter()
            .zip(changes.iter().map(Some).chain(std::iter::repeat(None)))
            .map(|(outcome, change)| match outcome {
                Value::String(outcome) => {
                    json!({ "key": change.map(|change| &change["key"]), "outcome": outcome })
                }
                other => other.clone(),
            })
            .collect();
        matches(
            &Value::from(expected),
            value.get("outcomes"),
            &mut self.bindings,
        )
        .map_err(|why| format!("outcomes: {why}"))
    }

    async fn get(&mut self, step: &Value) -> Checked {
        let value = self
            .ask("query", "get", &step["get"], step)
            .await?
            .unwrap_or_default();
        let actual = value["records"]
            .as_array()
            .ok_or("no records in the answer")?;
        if let Some(exact) = step.get("exact") {
            for record in actual {
                let names: Vec<&String> =
                    record.as_object().into_iter().flat_map(Map::keys).collect();
                if json!(names) != *exact {
                    return Err(format!("expected the fields {exact}, got {names:?}"));
                }
            }
        }
        let expected = step["records"].as_array().cloned().unwrap_or_default();
        matches_in_any_order(&expected, actual, &mut self.bindings)
    }

    async fn list(&mut self, step: &Value) -> Checked {
        let page = self
            .ask("query", "list", &step["list"], step)
            .await?
            .unwrap_or_default();
        let records = page["records"]
            .as_array()
            .ok_or("no records in the answer")?;
        if let Some(keys) = step.get("keys") {
            let actual: Vec<&Value> = records.iter().map(|record| &record["key"]).collect();
            matches(keys, Some(&json!(actual)), &mut self.bindings)?;
        }
        if let Some(expected) = step.get("records") {
            matches(expected, page.get("records"), &mut self.bindings)?;
        }
        if let Some(count) = step.get("count") {
            let actual = records.len() as u64;
            let bound = |name: &str, other: u64| count[name].as_u64().unwrap_or(other);
            if actual < bound("least", 0) || actual > bound("most", u64::MAX) {
                return Err(format!("expected {count} records, got {actual}"));
            }
        }
        if let Some(cursor) = step.get("cursor") {
            matches(cursor, page.get("cursor"), &mut self.bindings)
                .map_err(|why| format!("cursor: {why}"))?;
        }
        for (field, name) in step["bind"].as_object().into_iter().flatten() {
            self.bindings.insert(
                name.as_str().unwrap_or_default().to_owned(),
                page[field].clone(),
            );
        }
        Ok(())
    }

    async fn walk(&mut self, step: &Value) -> Checked {
        let mut args = step["walk"].clone();
        args["cursor"] = Value::Null;
        let mut keys = Vec::new();
        for _ in 0..MAX_PAGES {
            let page = self
                .ask("query", "list", &args, step)
                .await?
                .unwrap_or_default();
            let records = page["records"]
                .as_array()
                .ok_or("no records in the answer")?;
            keys.extend(records.iter().map(|record| record["key"].clone()));
            args["cursor"] = page["cursor"].clone();
            if args["cursor"].is_null() {
                if let Some(expected) = step.get("keys") {
                    matches(
                        expected,
                        Some(&Value::from(keys.clone())),
                        &mut self.bindings,
                    )?;
                }
                return match step["count"].as_u64() {
                    Some(count) if count as usize != keys.len() => {
                        Err(format!("expected {count} rows, got {}", keys.len()))
                    }
                    _ => Ok(()),
                };
            }
        }
        Err(format!("the walk did not end within {MAX_PAGES} pages"))
    }

    async fn request(&mut self, step: &Value) -> Checked {
        let request = filled(&step["request"], &self.bindings)?;
        let changes = request["body"]["args"]["changes"].as_array();
        self.note_used(changes.map_or(&[], Vec::as_slice));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let key = self.target.key.clone();
        let in_url: String = url::form_urlencoded::byte_serialize(key.as_bytes()).collect();
        let path = text(&request["path"]).replace("$urlkey", &in_url);
        let headers: Vec<(String, String)> = request["headers"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.clone(), text(value).replace("$key", &key)))
            .collect();
        let body = match (&request["body"], &request["text"]) {
            (Value::Null, Value::Null) => None,
            (Value::Null, raw) => Some(text(raw)),
            (body, _) => Some(body.to_string()),
        };
        let answer = self
            .target
            .send(&text(&request["method"]), &path, &headers, body)
            .await?;
        if json!(answer.status) != step["status"] {
            return Err(format!(
                "expected HTTP {}, got {}: {}",
                step["status"], answer.status, answer.text
            ));
        }
        self.headers(&answer, step)?;
        match step.get("json") {
            Some(expected) => matches(expected, Some(&answer.json()?), &mut self.bindings),
            None => Ok(()),
        }
    }

    /// Applies the changes in every order, each in a call of its own, and checks after each order.
    async fn orders(&mut self, step: &Value) -> Checked {
        let changes = step["orders"].as_array().cloned().unwrap_or_default();
        let times = if step["repeat"] == true { 2 } else { 1 };
        for order in orders_of(changes.len()) {
            self.reset().await?;
            for index in &order {
                for _ in 0..times {
                    let args = json!({ "changes": [&changes[*index]] });
                    self.ask("mutation", "apply", &args, &Value::Null).await?;
                }
            }
            for check in step["then"].as_array().into_iter().flatten() {
                Box::pin(self.step(check))
                    .await
                    .map_err(|why| format!("order {order:?}: {why}"))?;
            }
        }
        Ok(())
    }

    fn note_used(&mut self, changes: &[Value]) {
        let names = changes
            .iter()
            .map(|one| (one["table"].clone(), one["key"].clone()));
        self.used.extend(names);
    }

    async fn reset(&self) -> Checked {
        if self.target.controlled {
            self.target.control("reset", Some(&json!({}))).await?;
        }
        Ok(())
    }

    /// Deletes what the case wrote into a deployment that somebody uses. The tombstones stay.
    async fn clean_up(&mut self) -> Checked {
        if self.target.controlled {
            return Ok(());
        }
        for (table, key) in std::mem::take(&mut self.used) {
            if table.is_string() && key.is_string() {
                let change =
                    json!({ "kind": "delete", "table": table, "key": key, "mode": "hard" });
                self.target
                    .call("mutation", "apply", &json!({ "changes": [change] }))
                    .await?;
            }
        }
        Ok(())
    }
}
