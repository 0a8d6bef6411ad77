//! How dead letters look in a terminal: a table of some, or one with all that is known of it.
//!
//! Pure: values and the time in, text out. The table shows no event, so that nobody's personal values
//! come to a screen unasked; a single dead letter does, because a person asked for exactly that.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{
    output,
    source::{DeadLetter, Page},
};
use crate::cli::{
    output::{Paint, Tone},
    status::span,
};

/// A page as a table, with how to get to the rest.
pub(super) fn page(page: &Page, now: DateTime<Utc>, paint: Paint) -> String {
    if page.failures.is_empty() {
        return if page.total == 0 {
            "No dead letters.\n".to_owned()
        } else {
            format!("No more dead letters; {} in all.\n", page.total)
        };
    }
    let rows = page.failures.iter().map(|failure| {
        vec![
            failure.id.clone(),
            failure.event_type.clone(),
            failure.key.clone().unwrap_or_else(|| "-".to_owned()),
            failure.attempts.to_string(),
            ago(&failure.failed_at, now),
            failure.reason.clone(),
        ]
    });
    let mut text = output::table(
        &["id", "type", "record", "attempts", "failed", "reason"],
        rows,
    );
    if let Some(next) = &page.next {
        let shown = page.failures.len();
        let more = format!(
            "{shown} of {}; go on with `failures list --after {next}`",
            page.total
        );
        text += &paint.tone(Tone::Quiet, &more);
        text.push('\n');
    }
    text
}

/// One dead letter, all of it.
pub(super) fn one(failure: &DeadLetter, paint: Paint) -> String {
    let dash = || "-".to_owned();
    let record = match (&failure.table, &failure.key) {
        (Some(table), Some(key)) => format!("{table}/{key}"),
        (None, Some(key)) => key.clone(),
        _ => dash(),
    };
    let mut text = paint.tone(Tone::Strong, &failure.id) + "\n";
    for (name, value) in [
        ("type", failure.event_type.clone()),
        ("record", record),
        (
            "version",
            failure.version.map_or_else(dash, |ms| ms.to_string()),
        ),
        ("delivery", failure.delivery.clone().unwrap_or_else(dash)),
        ("received", failure.received_at.clone()),
        ("failed", failure.failed_at.clone()),
        ("attempts", failure.attempts.to_string()),
        ("code", failure.code.clone()),
        ("reason", failure.reason.clone()),
    ] {
        let name = paint.tone(Tone::Quiet, &format!("{name:<8}"));
        text += &format!("{name}  {value}\n");
    }
    match &failure.body {
        None => {}
        // What is not JSON is kept as text.
        Some(Value::String(body)) => text += &format!("\n{body}\n"),
        Some(body) => text += &format!("\n{body:#}\n"),
    }
    text
}

fn ago(time: &str, now: DateTime<Utc>) -> String {
    match DateTime::parse_from_rfc3339(time) {
        Ok(then) => {
            let ms = (now - then.with_timezone(&Utc)).num_milliseconds();
            format!("{} ago", span(ms as f64 / 1_000.0))
        }
        Err(_) => time.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn letter(id: &str) -> DeadLetter {
        serde_json::from_value(json!({
            "id": id, "delivery": "msg_1", "type": "user.updated", "table": "users",
            "key": "user_1", "version": 1_700_000_000_000_i64, "attempts": 3,
            "code": "refused", "reason": "Convex refused the row: email is not a string",
            "received_at": "2026-03-01T11:58:00Z", "failed_at": "2026-03-01T11:58:07Z",
        }))
        .unwrap()
    }

    fn now() -> DateTime<Utc> {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_page_says_how_to_go_on() {
        let nameless = DeadLetter {
            key: None,
            ..letter("dl_2")
        };
        let shown = page(
            &Page {
                failures: vec![letter("dl_1"), nameless],
                total: 7,
                next: Some("dl_2".to_owned()),
            },
            now(),
            Paint::PLAIN,
        );
        insta::assert_snapshot!(shown, @r"
        ID    TYPE          RECORD  ATTEMPTS  FAILED          REASON
        dl_1  user.updated  user_1  3         1 min 53 s ago  Convex refused the row: email is not a string
        dl_2  user.updated  -       3         1 min 53 s ago  Convex refused the row: email is not a string
        2 of 7; go on with `failures list --after dl_2`
        ");
    }

    #[test]
    fn an_empty_page_is_a_sentence() {
        let empty = |total| Page {
            failures: vec![],
            total,
            next: None,
        };
        assert_eq!(page(&empty(0), now(), Paint::PLAIN), "No dead letters.\n");
        assert_eq!(
            page(&empty(4), now(), Paint::PLAIN),
            "No more dead letters; 4 in all.\n"
        );
    }

    #[test]
    fn one_is_shown_with_its_event() {
        let failure = DeadLetter {
            body: Some(json!({ "type": "user.updated", "data": { "id": "user_1" } })),
            ..letter("dl_1")
        };
        insta::assert_snapshot!(one(&failure, Paint::PLAIN), @r#"
        dl_1
        type      user.updated
        record    users/user_1
        version   1700000000000
        delivery  msg_1
        received  2026-03-01T11:58:00Z
        failed    2026-03-01T11:58:07Z
        attempts  3
        code      refused
        reason    Convex refused the row: email is not a string

        {
          "data": {
            "id": "user_1"
          },
          "type": "user.updated"
        }
        "#);
        let garbage = DeadLetter {
            body: Some(json!("not { json")),
            table: None,
            key: None,
            ..letter("dl_1")
        };
        assert!(one(&garbage, Paint::PLAIN).ends_with("\n\nnot { json\n"));
        assert!(one(&garbage, Paint::PLAIN).contains("record    -\n"));
    }
}
