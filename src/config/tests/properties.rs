//! Whatever stands in a file or a variable: no panic, and no secret in what is said about it.
//!
//! Plants a secret as the value of every key, in every type, quoted or not, alone and in crowds, and
//! searches all that a person or a log could come to see of the start that failed.

use std::{collections::BTreeMap, fmt::Write};

use proptest::prelude::*;

use super::*;

/// Values of every type in which a secret may have been pasted; each is TOML.
const VALUES: [&str; 16] = [
    r#""sk_live_PLANTED""#,
    r#""PLANTED""#,
    r#""* * * * PLANTED""#,
    r#""/PLANTED""#,
    r#"["PLANTED", 5]"#,
    r#"["PLANTED PLANTED"]"#,
    r#"{ PLANTED = "PLANTED" }"#,
    r#"{ a = "PLANTED" }"#,
    r#""https://PLANTED:PLANTED@example.com/PLANTED""#,
    "'''PLANTED\n'''",
    r#""\u0007PLANTED""#,
    "12",
    "99999999999999999999",
    "1e999",
    "-7.5",
    "true",
];

/// Values that are not TOML.
const BROKEN: [&str; 4] = ["sk_live_PLANTED", "\"PLANTED", "[\"PLANTED\"", ""];

fn keys() -> Vec<String> {
    let gathered = layers::gather(None, &Env::default());
    gathered.defaults.into_keys().collect()
}

/// A file with these settings, whatever their values.
fn file_of(settings: &[(String, &str)]) -> String {
    let mut sections: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
    for (key, value) in settings {
        let (section, name) = key.split_once('.').unwrap_or((key, "x"));
        sections.entry(section).or_default().insert(name, value);
    }
    let mut text = String::new();
    for (section, settings) in sections {
        writeln!(text, "[{section}]").unwrap();
        for (name, value) in settings {
            writeln!(text, "{name} = {value}").unwrap();
        }
    }
    text
}

/// What is said about a file when the required settings are not all there.
fn said_about(text: &str) -> String {
    let result = load_text(text, &Env::default());
    let mistakes = result.as_ref().unwrap_err();
    assert!(!mistakes.is_empty(), "{text}");
    shown(&result)
}

#[test]
fn a_secret_under_any_key_in_any_type_is_never_repeated() {
    for key in keys() {
        for value in VALUES.iter().chain(&BROKEN) {
            let said = said_about(&file_of(&[(key.clone(), value)]));
            assert!(!said.contains("PLANTED"), "{key} = {value}\n{said}");
            if let Err(mistakes) = load_text(&file_of(&[(key.clone(), value)]), &with(&[])) {
                assert!(!mistakes.is_empty(), "{key} = {value}");
            }
        }
        let variable = layers::variable_of(&key);
        for value in ["PLANTED", "/PLANTED", r#"{"PLANTED": "PLANTED"}"#] {
            let env = Env::new([(variable.as_str(), value)]);
            let said = shown(&Config::load(None, &env));
            assert!(!said.contains("PLANTED"), "{variable}={value}\n{said}");
        }
    }
}

#[test]
fn nesting_without_end_is_refused_and_not_followed() {
    for (open, close) in [("[", ""), ("[", "]"), ("{a=", ""), ("{a=", "}")] {
        let text = format!(
            "[users]\ninsert_defaults = {}1{}",
            open.repeat(100_000),
            close.repeat(100_000)
        );
        assert!(load_text(&text, &with(&[])).is_err(), "{open}{close}");
    }
    let json = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    let more = ("CCS_USERS__INSERT_DEFAULTS", json.as_str());
    let env = Env::new(required().into_iter().chain([more]));
    assert!(Config::load(None, &env).is_err());
}

/// One setting of a file, mostly of a known key.
fn setting() -> impl Strategy<Value = (String, &'static str)> {
    let key = prop_oneof![
        9 => prop::sample::select(keys()),
        1 => "[a-z_]{1,12}(\\.[a-z_]{1,12})?",
    ];
    let value = prop_oneof![
        40 => prop::sample::select(VALUES.to_vec()),
        1 => prop::sample::select(BROKEN.to_vec()),
    ];
    (key, value)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_file_makes_it_panic_or_give_a_secret_away(settings in prop::collection::vec(setting(), 0..24)) {
        let said = said_about(&file_of(&settings));
        prop_assert!(!said.contains("PLANTED"), "{}", said);
    }

    #[test]
    fn any_text_at_all_is_read_or_refused(text in ".{0,200}") {
        let _ = load_text(&text, &with(&[]));
    }

    #[test]
    fn no_variable_makes_it_panic_or_give_a_secret_away(
        name in "(CCS_)?[A-Z_]{0,20}|CCS_(CONVEX|CLERK|USERS)__[A-Z_]{0,12}",
        value in "[ -~]{0,10}PLANTED[ -~]{0,10}",
    ) {
        let result = Config::load(None, &Env::new([(name, value)]));
        prop_assert!(!shown(&result).contains("PLANTED"));
    }
}
