//! Reports beside a key: those that show values are encrypted, masked ones are not.
//!
//! Looked for in the files themselves.

use super::*;

#[test]
fn shown_values_are_encrypted_if_there_is_a_key_and_masked_ones_are_not() {
    let keys = Keyring::new(&[[1; 32]]);
    for show_values in [true, false] {
        let state = tempfile::tempdir().unwrap();
        let history = History::open(state.path(), show_values, &keys).unwrap();
        let report = samples::three();
        let mut log = history.log(&report.id).unwrap();
        for one in differences(&report) {
            log.append(one).unwrap();
        }
        history.keep(&report, Some(log)).unwrap();
        let name = format!("reports/{}.ndjson", report.id);
        let kept = fs::read(state.path().join(&name)).unwrap();
        let mut at = 0;
        for line in kept.split_inclusive(|byte| *byte == b'\n') {
            let text = line.strip_suffix(b"\n").unwrap();
            let plain = keys.decrypt_line(&name, at, text).unwrap();
            assert!(json::read_difference(&plain).is_ok());
            at += line.len() as u64;
        }
        for ending in ["json", "ndjson"] {
            let path = history.dir().join(format!("{}.{ending}", report.id));
            let text = String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
            assert!(!text.contains(samples::PERSONAL), "{text}");
            assert_eq!(text.contains("a…@l….com"), !show_values, "{text}");
        }
        let without = History::look(state.path(), show_values, &Keyring::default());
        let found = without.load("latest");
        assert_eq!(found.is_ok(), !show_values, "{found:?}");
        let with = History::look(state.path(), show_values, &keys);
        assert_eq!(with.load("latest").unwrap().id, report.id);
        if show_values {
            assert!(matches!(
                &without.list().unwrap().damaged[..],
                [HistoryError::Encrypted { .. }]
            ));
        }
    }
}
