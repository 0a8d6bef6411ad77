//! How an expectation is compared with what came.
//!
//! An object asks for the fields it names, a list for its length and order, a number for its value
//! however it is written. Texts that begin with `$` are matchers: `$any` (is there), `$absent`,
//! `$none` (absent or null), `$text`, `$now` (a time of the last minute), `$redacted` (what production
//! leaves of an error message), `$bind:NAME` (remembers) and `$is:NAME` (is what was remembered).

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

/// What `$bind:` remembered.
pub type Bindings = HashMap<String, Value>;

/// How far from now a `$now` may be, in milliseconds.
const NOW_MS: f64 = 60_000.0;

/// Compares; the error says where they differ.
pub fn matches(
    expected: &Value,
    actual: Option<&Value>,
    bindings: &mut Bindings,
) -> Result<(), String> {
    let fail = || {
        let actual = actual.map_or("nothing".to_owned(), Value::to_string);
        Err(format!("expected {expected}, got {}", shortened(&actual)))
    };
    match (expected, actual) {
        (Value::String(text), _) if text.starts_with('$') => {
            if special(text, actual, bindings)? {
                Ok(())
            } else {
                fail()
            }
        }
        (_, None) => fail(),
        (Value::Number(wanted), Some(Value::Number(got))) => {
            if wanted.as_f64() == got.as_f64() {
                Ok(())
            } else {
                fail()
            }
        }
        (Value::Object(wanted), Some(Value::Object(got))) => {
            for (name, expected) in wanted {
                matches(expected, got.get(name), bindings)
                    .map_err(|why| format!("{name}: {why}"))?;
            }
            Ok(())
        }
        (Value::Array(wanted), Some(Value::Array(got))) => {
            if wanted.len() != got.len() {
                return fail();
            }
            for (index, (expected, actual)) in wanted.iter().zip(got).enumerate() {
                matches(expected, Some(actual), bindings)
                    .map_err(|why| format!("[{index}]: {why}"))?;
            }
            Ok(())
        }
        (wanted, Some(got)) if wanted == got => Ok(()),
        _ => fail(),
    }
}

/// Compares lists whose order does not matter: every expectation takes the first row that fits it.
pub fn matches_in_any_order(
    expected: &[Value],
    actual: &[Value],
    bindings: &mut Bindings,
) -> Result<(), String> {
    if expected.len() != actual.len() {
        let rows = shortened(&Value::from(actual.to_vec()).to_string());
        return Err(format!(
            "expected {} rows, got {}: {rows}",
            expected.len(),
            actual.len()
        ));
    }
    let mut left: Vec<&Value> = actual.iter().collect();
    for wanted in expected {
        let mut whys = Vec::new();
        let found = left.iter().position(|row| {
            let mut tried = bindings.clone();
            match matches(wanted, Some(row), &mut tried) {
                Ok(()) => {
                    *bindings = tried;
                    true
                }
                Err(why) => {
                    whys.push(why);
                    false
                }
            }
        });
        match found {
            Some(index) => drop(left.swap_remove(index)),
            None => return Err(format!("no row fits {wanted}: {}", whys.join("; "))),
        }
    }
    Ok(())
}

/// Puts what was remembered in the place of `$is:NAME`, and long texts in that of `$repeat`.
pub fn filled(value: &Value, bindings: &Bindings) -> Result<Value, String> {
    Ok(match value {
        Value::String(text) => match text.strip_prefix("$is:") {
            Some(name) => bindings
                .get(name)
                .cloned()
                .ok_or_else(|| format!("nothing is bound to {name}"))?,
            None => value.clone(),
        },
        Value::Array(items) => items
            .iter()
            .map(|item| filled(item, bindings))
            .collect::<Result<_, _>>()?,
        Value::Object(map) => match (map.get("$repeat"), map.get("times")) {
            (Some(Value::String(text)), Some(times)) => {
                Value::String(text.repeat(times.as_u64().unwrap_or(0) as usize))
            }
            _ => Value::Object(
                map.iter()
                    .map(|(name, item)| Ok((name.clone(), filled(item, bindings)?)))
                    .collect::<Result<_, String>>()?,
            ),
        },
        _ => value.clone(),
    })
}

fn special(matcher: &str, actual: Option<&Value>, bindings: &mut Bindings) -> Result<bool, String> {
    if let Some(name) = matcher.strip_prefix("$bind:") {
        return Ok(match actual {
            Some(value) => {
                bindings.insert(name.to_owned(), value.clone());
                true
            }
            None => false,
        });
    }
    if let Some(name) = matcher.strip_prefix("$is:") {
        let bound = bindings
            .get(name)
            .ok_or_else(|| format!("nothing is bound to {name}"))?;
        return Ok(actual == Some(bound));
    }
    Ok(match matcher {
        "$any" => actual.is_some(),
        "$absent" => actual.is_none(),
        "$none" => actual.is_none_or(Value::is_null),
        "$text" => actual.is_some_and(Value::is_string),
        "$now" => {
            let since = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .expect("after 1970");
            let now = since.as_secs_f64() * 1000.0;
            actual
                .and_then(Value::as_f64)
                .is_some_and(|time| (time - now).abs() < NOW_MS)
        }
        "$redacted" => actual.and_then(Value::as_str).is_some_and(|message| {
            let id = message.strip_prefix("[Request ID: ");
            id.and_then(|rest| rest.strip_suffix("] Server Error"))
                .is_some_and(|id| {
                    !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
                })
        }),
        _ => return Err(format!("there is no matcher {matcher}")),
    })
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= 600 {
        return text.to_owned();
    }
    text.chars().take(600).chain("…".chars()).collect()
}
