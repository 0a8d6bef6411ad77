//! The page: as it was last looked at, escaped throughout, and without anything that could run or be fetched.

use super::*;
use crate::report::samples;

/// The page without its style, which would fill the snapshot.
fn body(page: &str) -> String {
    let (head, rest) = page.split_once("<style").unwrap();
    let (_, body) = rest.split_once("</style>").unwrap();
    let lines = head.lines().chain(body.lines()).map(str::trim);
    let lines: Vec<_> = lines.filter(|line| !line.is_empty()).collect();
    lines.join("\n")
}

#[test]
fn a_report_in_a_browser() {
    let past = samples::past(3);
    insta::assert_snapshot!("none", body(&render(&samples::none(), &[], false)));
    insta::assert_snapshot!("three", body(&render(&samples::three(), &past, false)));
    insta::assert_snapshot!("held", body(&render(&samples::held(), &[], false)));
    insta::assert_snapshot!("hostile", body(&render(&samples::hostile(), &[], true)));
}

#[test]
fn a_thousand_differences_stand_on_one_page_and_the_rest_is_named() {
    let page = render(&samples::many(1200), &samples::past(40), false);
    assert_eq!(page.matches("<tbody class=\"difference").count(), 1000);
    assert!(page.contains("1,000 of 1,200"), "the rest is not named");
    assert!(page.len() < 2_000_000, "{}", page.len());
}

#[test]
fn a_reason_that_many_share_is_said_once() {
    let held = samples::held();
    let reason = held.differences[0].reason.as_deref().unwrap();
    let page = render(&held, &[], false);
    assert_eq!(page.matches(reason).count(), 1);
    assert_eq!(page.matches(">(1)<").count(), held.differences.len());
}

#[test]
fn nothing_runs_and_nothing_is_fetched() {
    for report in samples::all() {
        let page = render(&report, &samples::past(12), true).to_lowercase();
        assert!(page.contains("default-src 'none'"));
        assert!(!page.contains("@import") && !page.contains("url("));
        for (tag, _) in page.split('<').filter_map(|rest| rest.split_once('>')) {
            let name = tag.split([' ', '\n']).next().unwrap_or_default();
            let harmful = [
                "script", "img", "link", "iframe", "object", "form", "a", "use",
            ];
            assert!(!harmful.contains(&name), "<{tag}>");
            // A handler would be an attribute, and so would an address.
            for attribute in [" on", " src", " href", " style=", "http-equiv=\"refresh"] {
                assert!(!tag.contains(attribute), "<{tag}>");
            }
        }
    }
}

#[test]
fn values_are_masked_unless_they_were_asked_for() {
    for report in samples::all() {
        let masked = render(&report, &[], false);
        assert!(!masked.contains(samples::PERSONAL), "{}", report.id);
        let shown = render(&report, &[], true);
        assert_eq!(
            shown.contains(samples::PERSONAL),
            samples::is_personal(&report)
        );
    }
}

#[test]
fn the_style_is_allowed_by_a_word_that_changes_with_the_report() {
    let (one, other) = (
        render(&samples::three(), &[], false),
        render(&samples::held(), &[], false),
    );
    let word = |page: &str| {
        let (_, rest) = page.split_once("<style nonce=\"").unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    };
    assert!(one.contains(&format!("'nonce-{}'", word(&one))));
    assert_ne!(word(&one), word(&other));
}

#[test]
fn charts_show_runs_of_the_same_sort_up_to_this_one() {
    let mut past = samples::past(40);
    let report = samples::three();
    let mut later = past[0].clone();
    later.started_ms = report.started_ms + 1;
    later.id = "later".into();
    let sweep = Summary::of(&samples::sweep());
    past.extend([later, sweep, Summary::of(&report)]);
    let runs = charted(&report, &past);
    assert_eq!(runs.len(), CHARTED);
    assert_eq!(runs.last().unwrap().id, report.id);
    assert!(runs.is_sorted_by_key(|run| run.started_ms));
    assert!(
        runs.iter()
            .all(|run| run.id != "later" && run.kind != RunKind::Sweep)
    );
    assert!(charts(&charted(&report, &[])).is_empty());
}
