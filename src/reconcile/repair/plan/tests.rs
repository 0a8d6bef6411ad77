//! Of plans as values and as text: what a digest stands for, and what is believed of a file.
//!
//! Nothing here touches a disk.

use super::*;
use proptest::prelude::*;

fn record(table: Table, n: u32) -> RecordKey {
    RecordKey::new(table, Key::parse(&format!("user_{n}")).unwrap())
}

fn plan_of(records: impl IntoIterator<Item = RecordKey>) -> Plan {
    let mut plan = Plan::new("run", 5);
    plan.hold_because("too \"many\"\n");
    records.into_iter().for_each(|record| plan.insert(record));
    plan
}

fn small() -> Plan {
    plan_of((0..3).map(|n| record(Table::Users, n)))
}

#[test]
fn the_digest_stands_for_the_set_and_for_nothing_else() {
    let backwards = plan_of((0..3).rev().chain(0..2).map(|n| record(Table::Users, n)));
    assert_eq!(small().digest(), backwards.digest());
    let later = Plan {
        made_ms: 9,
        run: "other".into(),
        reasons: Vec::new(),
        ..small()
    };
    assert_eq!(small().digest(), later.digest());
    let others = [
        plan_of([]),
        plan_of((0..2).map(|n| record(Table::Users, n))),
        plan_of((0..3).map(|n| record(Table::Profiles, n))),
    ];
    for other in others {
        assert_ne!(small().digest(), other.digest());
    }
    let mut merging = plan_of((0..2).map(|n| record(Table::Users, n)));
    merging.insert_merge(record(Table::Users, 2));
    assert_ne!(
        small().digest(),
        merging.digest(),
        "to go is not to be merged"
    );
    assert_eq!((merging.len(), merging.head().records), (3, 3));
    let text = merging.to_ndjson();
    assert_eq!(Plan::parse(&text), Ok(merging));
    let other = text.replace(",\"merge\":true", "");
    assert_eq!(Plan::parse(&other), Err(PlanError::Changed));
}

#[test]
fn the_digest_of_a_set_is_the_same_in_every_release() {
    assert_eq!(small().digest().as_str(), "5ed3f882a00b6266");
}

#[test]
fn a_plan_that_was_touched_is_not_believed() {
    let text = small().to_ndjson();
    assert_eq!(Plan::parse(&text).unwrap(), small());
    let renamed = text.replace("user_2", "user_7");
    assert_eq!(Plan::parse(&renamed), Err(PlanError::Changed));
    let longer = format!("{text}{{\"table\":\"users\",\"key\":\"user_9\"}}\n");
    assert_eq!(Plan::parse(&longer), Err(PlanError::Changed));
    let shorter = text.rsplit_once("\n{").unwrap().0;
    assert_eq!(Plan::parse(shorter), Err(PlanError::Changed));
    let newer = text.replacen("\"plan\":1", "\"plan\":2", 1);
    assert_eq!(Plan::parse(&newer), Err(PlanError::Newer(2)));
    for (bad, line) in [
        (String::new(), 1),
        ("{}".into(), 1),
        (text.replace("users", "files"), 2),
        (text.replace("user_2", "../x"), 4),
        (format!("{text}\n"), 5),
    ] {
        assert_eq!(
            Plan::parse(&bad),
            Err(PlanError::Unreadable { line }),
            "{bad}"
        );
    }
}

#[test]
fn only_hexadecimal_digits_are_a_digest() {
    let digest = small().digest();
    let typed = format!(" {}\n", digest.as_str().to_uppercase());
    assert_eq!(Digest::parse(&typed), Some(digest));
    for bad in [
        "",
        "0123456789abcde",
        "0123456789abcdeg",
        "../3456789abcdef",
        "0123456789abcdef0",
    ] {
        assert_eq!(Digest::parse(bad), None, "{bad}");
    }
}

#[test]
fn a_plan_that_is_too_large_keeps_the_first_and_counts_the_rest() {
    let many = MAX_RECORDS as u32 + 50;
    let one = plan_of((0..many).map(|n| record(Table::Users, n)));
    let other = plan_of((0..many).rev().map(|n| record(Table::Users, n)));
    assert_eq!(one, other);
    assert_eq!((one.len(), one.head().left_out), (MAX_RECORDS, 50));
    assert!(one.contains(&record(Table::Users, 0)));
    assert_eq!(Plan::parse(&one.to_ndjson()).unwrap(), one);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_written_is_read(records in proptest::collection::vec((0_usize..4, 0_u32..50), 0..60)) {
        let plan = plan_of(records.into_iter().map(|(table, n)| record(Table::ALL[table], n)));
        let text = plan.to_ndjson();
        prop_assert_eq!(parse_head(text.lines().next().unwrap()), Ok(plan.head()));
        prop_assert_eq!(Plan::parse(&text), Ok(plan));
    }
}
