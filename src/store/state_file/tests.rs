//! What `STATE` survives: other releases, damage, wrong keys, a disk that cannot read it.
//!
//! Each on a directory of its own.

use super::*;

fn state() -> StateFile {
    StateFile {
        layout: LAYOUT,
        generation: 7,
        highest_seq: 12,
        instance: Some("ins_1".into()),
        keys: Vec::new(),
    }
}

fn ring(keys: &[u8]) -> Keyring {
    let keys: Vec<[u8; 32]> = keys.iter().map(|key| [*key; 32]).collect();
    Keyring::new(&keys)
}

#[test]
fn a_key_that_is_missing_is_named_and_nothing_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let keys = recorded(Some(&ring(&[1]).ids()), &ring(&[2, 1]));
    assert_eq!(keys, ring(&[2, 1]).ids());
    let file = StateFile { keys, ..state() };
    file.store(dir.path(), &ring(&[2, 1])).unwrap();
    for given in [ring(&[1, 2, 3]), ring(&[2, 1])] {
        let found = StateFile::admit(dir.path(), &given).unwrap().found();
        assert_eq!(found.as_ref(), Some(&file));
    }
    for (given, missing) in [(ring(&[2, 3]), ring(&[1])), (ring(&[]), ring(&[2, 1]))] {
        let refused = StateFile::admit(dir.path(), &given).unwrap_err();
        let said = refused.to_string();
        for id in missing.ids().into_iter().chain(given.ids()) {
            assert!(said.contains(&id.to_string()), "{said}");
        }
        assert!(said.contains("state.encryption_key"), "{said}");
    }
}

#[test]
fn where_the_file_is_lost_any_key_may_be_in_use() {
    assert_eq!(recorded(None, &ring(&[2, 1])), ring(&[2, 1]).ids());
    assert_eq!(recorded(Some(&[]), &ring(&[2, 1])), ring(&[2]).ids());
    assert_eq!(recorded(Some(&[]), &ring(&[])), []);
}

#[test]
fn what_was_stored_is_found() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(StateFile::load(dir.path()).unwrap(), Loaded::Absent);
    state().store(dir.path(), &ring(&[])).unwrap();
    let second = StateFile {
        highest_seq: 13,
        instance: None,
        ..state()
    };
    second.store(dir.path(), &ring(&[])).unwrap();
    assert_eq!(StateFile::load(dir.path()).unwrap(), Loaded::Found(second));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn what_the_holder_of_no_key_has_written_is_damage_and_what_has_no_proof_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (path, keys) = (dir.path().join(NAME), ring(&[1]));
    let file = StateFile {
        keys: keys.ids(),
        ..state()
    };
    let admitted = |given: &Keyring| StateFile::admit(dir.path(), given).unwrap();
    file.store(dir.path(), &keys).unwrap();
    assert_eq!(admitted(&keys), Loaded::Found(file.clone()));
    assert_eq!(admitted(&ring(&[2, 1])), Loaded::Found(file.clone()));
    let text = fs::read_to_string(&path).unwrap();
    let proof = text.find(PROOF).unwrap();
    let mut other = text.clone().into_bytes();
    other[proof + 40] ^= 1;
    for changed in [
        text.replace("12", "11"),
        text.replace("ins_1", "ins_2"),
        text.replacen('{', "{\"more\": 1,", 1),
        text.replace(PROOF, "proven")
            .replacen('{', "{\"proof\": 7,", 1),
        String::from_utf8(other).unwrap(),
    ] {
        assert_ne!(changed, text);
        fs::write(&path, &changed).unwrap();
        assert_eq!(admitted(&keys), Loaded::Damaged, "{changed}");
    }
    // Another layout of the text is the same file; a field that a newer release has is vouched for as well.
    let value: Value = serde_json::from_str(&text).unwrap();
    fs::write(&path, value.to_string()).unwrap();
    assert_eq!(admitted(&keys), Loaded::Found(file.clone()));
    file.store(dir.path(), &ring(&[])).unwrap();
    assert_eq!(admitted(&keys), Loaded::Unproved(file.clone()));
    // A proof by a key that is not there, in a file that does not name it.
    state().store(dir.path(), &ring(&[3])).unwrap();
    assert_eq!(admitted(&keys), Loaded::Damaged);
    let refused = |error| matches!(error, StateFileError::Keys { .. });
    file.store(dir.path(), &ring(&[1])).unwrap();
    assert!(refused(
        StateFile::admit(dir.path(), &ring(&[])).unwrap_err()
    ));
}

#[test]
fn a_newer_layout_is_refused_whatever_else_it_says_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let text = r#"{"layout": 3, "generation": "now a text"}"#;
    fs::write(dir.path().join(NAME), text).unwrap();
    let refused = StateFile::load(dir.path());
    assert!(matches!(
        refused,
        Err(StateFileError::Newer { found: 3, .. })
    ));
    assert_eq!(fs::read_to_string(dir.path().join(NAME)).unwrap(), text);
}

#[test]
fn a_damaged_file_is_set_aside() {
    for text in ["", "{", "\0\0\0", r#"{"layout":1}"#] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(NAME), text).unwrap();
        let loaded = StateFile::load(dir.path()).unwrap();
        assert_eq!(loaded, Loaded::Damaged, "{text:?}");
        let aside = set_aside(dir.path()).unwrap();
        assert_eq!(fs::read_to_string(aside).unwrap(), text);
        assert_eq!(StateFile::load(dir.path()).unwrap(), Loaded::Absent);
    }
}

#[test]
fn a_file_that_the_disk_cannot_read_is_a_damaged_one() {
    let dir = tempfile::tempdir().unwrap();
    // Nothing is mapped at the address zero: it opens, and reading it is an EIO.
    std::os::unix::fs::symlink("/proc/self/mem", dir.path().join(NAME)).unwrap();
    assert_eq!(StateFile::load(dir.path()).unwrap(), Loaded::Damaged);
    set_aside(dir.path()).unwrap();
    state().store(dir.path(), &Keyring::default()).unwrap();
    assert_eq!(StateFile::load(dir.path()).unwrap(), Loaded::Found(state()));
    // Whose rights are missing is not damaged.
    let other = io::Error::from(Errno::ACCESS);
    assert!(!is_lost(&other));
}
