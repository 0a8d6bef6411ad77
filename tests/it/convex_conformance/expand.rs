//! What a step says in short, written out: numbered copies, orders, a key space of its own.
//!
//! Pure; knows nothing of targets.

use serde_json::Value;

/// The step with keys and addresses of their own, so that cases do not meet in one deployment.
pub fn apart(value: &Value, space: &str) -> Value {
    match value {
        Value::String(text) if !space.is_empty() => {
            let kind = ["user_", "org_", "orgmem_"]
                .into_iter()
                .find(|kind| text.starts_with(kind));
            Value::String(match kind {
                Some(kind) => format!("{kind}{space}{}", &text[kind.len()..]),
                None if text.ends_with("@example.test") => format!("{space}{text}"),
                None => text.clone(),
            })
        }
        Value::Array(items) => items.iter().map(|item| apart(item, space)).collect(),
        Value::Object(map) => Value::Object(
            map.iter()
                .map(|(name, item)| (name.clone(), apart(item, space)))
                .collect(),
        ),
        _ => value.clone(),
    }
}

/// `count` copies of the named template, numbered.
pub fn numbered(order: &Value, template: &str) -> Vec<Value> {
    let count = order["count"].as_u64().unwrap_or(0);
    (0..count)
        .map(|number| number_in(&order[template], number))
        .collect()
}

fn number_in(value: &Value, number: u64) -> Value {
    match value {
        Value::String(text) if text == "{n}" => number.into(),
        Value::String(text) => text.replace("{n}", &number.to_string()).into(),
        Value::Array(items) => items.iter().map(|item| number_in(item, number)).collect(),
        Value::Object(map) => Value::Object(
            map.iter()
                .map(|(name, item)| (name.clone(), number_in(item, number)))
                .collect(),
        ),
        _ => value.clone(),
    }
}

/// Every order of so many things.
pub fn orders_of(count: usize) -> Vec<Vec<usize>> {
    let mut orders = vec![Vec::new()];
    for next in 0..count {
        orders = orders
            .into_iter()
            .flat_map(|order: Vec<usize>| {
                (0..=next).map(move |place| {
                    let mut longer = order.clone();
                    longer.insert(place, next);
                    longer
                })
            })
            .collect();
    }
    orders
}
