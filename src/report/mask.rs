//! What a report may show of a value: ids, roles, switches; of everything personal only how it begins.
//!
//! Pure. The column decides, and a column that is not known to be harmless is personal: an extra field may
//! hold anything. Masking what is masked changes nothing, so whoever prints need not know whether a value
//! was masked before.

use serde_json::Value;

use crate::model::FieldDrift;

/// Columns that hold ids and roles, never anything about a person.
const HARMLESS: [&str; 7] = [
    "role",
    "organizationId",
    "appId",
    "clerkId",
    "clerkUserId",
    "clerkOrganizationId",
    "userId",
];

/// The longest id or role that is taken for one, in characters. Clerk's ids have 32.
const LONGEST_ID: usize = 96;

/// The longest value that a report holds even where values are shown, in characters: a report lists a
/// thousand differences and is to stay readable.
pub const LONGEST_VALUE: usize = 200;

/// The longest last label of a mail domain that is kept, in characters; the longest in use has 24.
const LONGEST_TOP_LEVEL: usize = 24;

/// A difference of one column as a report may show it.
pub fn field(drift: &FieldDrift, show_values: bool) -> FieldDrift {
    let mask = |value: &Value| {
        if show_values {
            cut(value)
        } else {
            masked(&drift.field, value)
        }
    };
    FieldDrift {
        field: drift.field.clone(),
        clerk: mask(&drift.clerk),
        convex: mask(&drift.convex),
    }
}

/// A value of this column without what is personal in it. Null and true or false stay: whether a value is
/// there at all is what most differences are about.
pub fn masked(column: &str, value: &Value) -> Value {
    match value {
        Value::Null | Value::Bool(_) => value.clone(),
        Value::String(text) if text.is_empty() => value.clone(),
        Value::String(text) if HARMLESS.contains(&column) && looks_like_an_id(text) => {
            value.clone()
        }
        Value::String(text) => Value::String(masked_text(text)),
        Value::Number(_) | Value::Array(_) | Value::Object(_) => Value::String("…".to_owned()),
    }
}

/// A value that is shown, but not at any length.
fn cut(value: &Value) -> Value {
    let whole = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => return value.clone(),
        Value::String(text) => text.clone(),
        Value::Array(_) | Value::Object(_) => value.to_string(),
    };
    match whole.char_indices().nth(LONGEST_VALUE) {
        None => value.clone(),
        Some((end, _)) => Value::String(format!("{}…", &whole[..end])),
    }
}

/// What Clerk's ids and roles are made of. Somebody's address in such a column is no id.
fn looks_like_an_id(text: &str) -> bool {
    text.len() <= LONGEST_ID
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ':' | '.'))
}

fn masked_text(text: &str) -> String {
    for scheme in ["https://", "http://"] {
        if text.starts_with(scheme) {
            return format!("{scheme}…");
        }
    }
    match text.split_once('@') {
        Some((local, domain)) if !local.is_empty() && !domain.contains('@') => {
            format!("{}@{}", initial(local), masked_domain(domain))
        }
        _ => initial(text),
    }
}

/// `example.com` as `e….com`.
fn masked_domain(domain: &str) -> String {
    let top = domain.rsplit_once('.').map(|(_, top)| top).filter(|top| {
        (2..=LONGEST_TOP_LEVEL).contains(&top.len()) && top.chars().all(|c| c.is_ascii_lowercase())
    });
    match top {
        Some(top) => format!("{}.{top}", initial(domain)),
        None => initial(domain),
    }
}

/// The first letter, digit or plus, and that there is more. Anything else may be a mark that changes how
/// the text around it is read, and is left out.
fn initial(text: &str) -> String {
    match text.chars().next() {
        Some(first) if first.is_alphanumeric() || first == '+' => format!("{first}…"),
        _ => "…".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_kept_of_a_value() {
        for (column, value, kept) in [
            ("email", json!("ada@example.com"), json!("a…@e….com")),
            ("email", json!("Ada Lovelace"), json!("A…")),
            ("email", json!("ada@localhost"), json!("a…@l…")),
            ("email", json!("ada@x.C0M"), json!("a…@x…")),
            ("email", json!("a@b@c.com"), json!("a…")),
            ("name", json!("Ada Lovelace"), json!("A…")),
            ("name", json!("Łukasz"), json!("Ł…")),
            ("name", json!("\u{202e}evil"), json!("…")),
            ("username", json!("ada"), json!("a…")),
            ("firstName", json!("A"), json!("A…")),
            ("phoneNumber", json!("+491511234567"), json!("+…")),
            (
                "imageUrl",
                json!("https://img.clerk.com/ada"),
                json!("https://…"),
            ),
            ("slug", json!("ada-and-co"), json!("a…")),
            ("name", json!(""), json!("")),
            ("name", json!(null), json!(null)),
            ("role", json!("org:admin"), json!("org:admin")),
            ("role", json!("ada@example.com"), json!("a…@e….com")),
            ("role", json!("+491511234567"), json!("+…")),
            ("organizationId", json!("org_2abC"), json!("org_2abC")),
            ("clerkUserId", json!("user_2abC"), json!("user_2abC")),
            // An extra field may hold anything.
            ("plan", json!("gold"), json!("g…")),
            ("newsletter", json!(true), json!(true)),
            ("salary", json!(91_000), json!("…")),
            ("tags", json!(["ada"]), json!("…")),
            ("address", json!({ "city": "London" }), json!("…")),
        ] {
            assert_eq!(masked(column, &value), kept, "{column}");
        }
    }

    #[test]
    fn values_are_shown_when_asked_for_but_not_at_any_length() {
        let drift = FieldDrift {
            field: "name".into(),
            clerk: json!("Ada"),
            convex: json!("ä".repeat(10_000)),
        };
        let shown = field(&drift, true);
        assert_eq!(shown.clerk, json!("Ada"));
        let cut = shown.convex.as_str().unwrap();
        assert_eq!(cut.chars().count(), LONGEST_VALUE + 1);
        assert!(cut.ends_with('…'));
        assert_eq!(field(&drift, false).convex, json!("ä…"));
    }

    proptest! {
        #[test]
        fn nothing_of_an_address_is_left_but_its_initials(
            local in "[a-m]{2,20}", domain in "[n-z]{2,20}", column in "[a-zA-Z]{1,12}",
        ) {
            let value = json!(format!("{local}@{domain}.com"));
            let kept = masked(&column, &value).to_string();
            prop_assert!(!kept.contains(&local[..2]), "{kept}");
            prop_assert!(!kept.contains(&domain[..2]), "{kept}");
        }

        #[test]
        fn nothing_of_any_text_is_left_but_one_character(text in "\\PC{2,40}", column in "[a-zA-Z]{1,12}") {
            prop_assume!(!HARMLESS.contains(&column.as_str()));
            prop_assume!(!text.contains('@') && !text.starts_with("http"));
            let kept = masked(&column, &json!(text));
            let kept = kept.as_str().unwrap();
            let rest = kept.strip_suffix('…').unwrap();
            prop_assert!(rest.chars().count() <= 1 && text.starts_with(rest), "{kept}");
        }

        #[test]
        fn masking_twice_is_masking_once(text in ".{0,40}", column in "role|email|plan") {
            let once = masked(&column, &json!(text));
            prop_assert_eq!(masked(&column, &once), once);
        }

        #[test]
        fn a_harmless_column_shows_only_what_looks_like_an_id(text in "\\PC{1,40}") {
            let kept = masked("role", &json!(text));
            prop_assert!(kept == json!(text) && looks_like_an_id(&text) || kept.as_str().unwrap().contains('…'));
        }
    }
}
