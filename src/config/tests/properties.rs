//! Whatever stands in a file or a variable: no panic, and no secret in what is said about it.
//!
//! The generated files are near enough to real ones to reach every section, and plant a secret as
//! value of any key, in any type, quoted or not.

use proptest::prelude::*;

use super::*;

/// One line of a configuration file, sane or not, with the planted secret as a value.
fn line() -> impl Strategy<Value = String> {
    let keys: Vec<String> = DEFAULT_TOML
        .lines()
        .filter_map(|line| {
            line.split_once(" = ")
                .map(|(key, _)| key.trim_matches('#').trim().to_owned())
        })
        .collect();
    let sections: Vec<String> = DEFAULT_TOML
        .lines()
        .filter(|line| line.starts_with('['))
        .map(str::to_owned)
        .collect();
    let value = prop::sample::select(vec![
        "\"sk_live_PLANTED\"",
        "sk_live_PLANTED",
        "[\"PLANTED\", 5]",
        "{ PLANTED = \"PLANTED\" }",
        "{ a = \"PLANTED\" }",
        "\"https://PLANTED:PLANTED@example.com/PLANTED\"",
        "'''PLANTED\n'''",
        "12",
        "-7.5",
        "true",
        "\"\"",
        "1979-05-27",
        "\"PLANTED",
        "",
    ]);
    let key = prop_oneof![
        prop::sample::select(keys),
        "[a-z_.]{1,12}",
        Just("\"\\u0000\"".to_owned())
    ];
    prop_oneof![
        2 => prop::sample::select(sections),
        6 => (key, value).prop_map(|(key, value)| format!("{key} = {value}")),
        1 => "[\\[\\]\"'={}#.,a-z0-9\\\\ ]{0,24}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_file_makes_it_panic_or_give_a_secret_away(lines in prop::collection::vec(line(), 0..24)) {
        let text = lines.join("\n");
        let result = load_text(&text, &Env::new([("CONVEX_DEPLOY_KEY", "\u{1}PLANTED")]));
        let shown = shown(&result);
        prop_assert!(!shown.contains("PLANTED"), "{}", shown);
    }

    #[test]
    fn any_text_at_all_is_read_or_refused(text in ".{0,200}") {
        let _ = load_text(&text, &with(&[]));
    }

    #[test]
    fn no_variable_makes_it_panic_or_give_a_secret_away(
        name in "(CCS_)?[A-Z_]{0,20}|CCS_CONVEX__(URL|BATCH|TIMEOUT|MODULE)|CCS_SCHEDULE__FULL|CCS_USERS__(EXTRA_FIELDS|ROLES)",
        value in "[ -~]{0,10}PLANTED[ -~]{0,10}",
    ) {
        let result = Config::load(None, &Env::new([(name, value)]));
        prop_assert!(!shown(&result).contains("PLANTED"));
    }
}
