//! `init` in directories of its own: fresh, repeated, edited, forced.
//!
//! Every case looks at the files afterwards, not at what `init` says of them: what matters is that no
//! work of a person is lost.

use std::fs;

use super::*;

fn run(dir: &Path, force: bool) -> Initialised {
    write_all(dir.join("convex"), dir.join(files::CONFIG_NAME), force).unwrap()
}

#[test]
fn a_fresh_project_gets_every_file_and_a_second_run_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let first = run(dir.path(), false);
    assert_eq!(first.count(State::Written), first.files.len());
    for (name, text) in files::PACKAGE.iter().chain([&files::SCHEMA]) {
        let there = fs::read_to_string(dir.path().join("convex").join(name)).unwrap();
        assert_eq!(&there, text, "{name}");
    }
    let second = run(dir.path(), true);
    assert_eq!(second.count(State::Unchanged), second.files.len());
    let left_over = fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(left_over, 2, "no temporary file stays");
}

#[test]
fn an_edited_file_is_shown_and_left_until_forced() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), false);
    let edited = dir.path().join("convex/clerkSync.ts");
    let original = fs::read_to_string(&edited).unwrap();
    fs::write(&edited, original.clone() + "// mine\n").unwrap();
    let removed = dir.path().join("convex/clerkSyncLib/newest.ts");
    fs::remove_file(&removed).unwrap();

    let second = run(dir.path(), false);
    assert_eq!(second.count(State::Differs), 1);
    assert_eq!(
        second.count(State::Written),
        1,
        "what is missing is written"
    );
    assert!(removed.exists());
    let text = second.text(Paint::PLAIN);
    assert!(text.contains("-// mine\n"), "{text}");
    assert!(fs::read_to_string(&edited).unwrap().ends_with("// mine\n"));

    let forced = run(dir.path(), true);
    assert_eq!(forced.count(State::Overwritten), 1);
    assert_eq!(fs::read_to_string(&edited).unwrap(), original);
}

#[test]
fn what_a_person_has_edited_is_kept_beside_what_is_forced_into_its_place() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), false);
    let library = dir.path().join("convex/clerkSyncLib/newest.ts");
    let theirs = [
        (dir.path().join("convex/clerkSync.ts"), "clerkSync.ts"),
        (dir.path().join(files::CONFIG_NAME), files::CONFIG_NAME),
    ];
    for (turn, ending) in [("first", ".bak"), ("second", ".bak2")] {
        fs::write(&library, turn).unwrap();
        for (path, _) in &theirs {
            fs::write(path, turn).unwrap();
        }
        let done = run(dir.path(), true);
        assert_eq!(done.count(State::Overwritten), 3);
        let text = done.text(Paint::PLAIN);
        for (path, name) in &theirs {
            let copy = path.with_file_name(format!("{name}{ending}"));
            assert_eq!(fs::read_to_string(&copy).unwrap(), turn);
            assert_ne!(fs::read_to_string(path).unwrap(), turn);
            assert!(text.contains(copy.to_str().unwrap()), "{text}");
        }
    }
    let library = fs::read_dir(library.parent().unwrap()).unwrap();
    let copies = library.filter(|file| {
        let name = file.as_ref().unwrap().file_name();
        name.to_str().unwrap().contains(".bak")
    });
    assert_eq!(copies.count(), 0, "the library is ours alone");
}

#[test]
fn what_differs_is_shown_without_the_secrets_in_it() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), false);
    let config = dir.path().join(files::CONFIG_NAME);
    for text in [
        "[clerk]\nsecret_key = 'sk_live_PLANTED'\nwebhook_secrets = [\n  'PLANTED',\n]\n[state]\ndir = \"/mine\"\n",
        "clerk = { secret_key = \"PLANTED\" }\nadmin.token = \"PLANTED\"\nstate.dir = \"/mine\"\n",
        "# secret_key = \"sk_test_PLANTED\"\n#whsec_PLANTED\n[state]\ndir = \"/mine\"\n",
        "[clerk]\nsecret_key = PLANTED\n",
    ] {
        fs::write(&config, text).unwrap();
        let done = run(dir.path(), false);
        assert_eq!(done.count(State::Differs), 1);
        let shown = done.text(Paint::PLAIN) + &serde_json::to_string(&done).unwrap();
        assert!(!shown.contains("PLANTED"), "{shown}");
        assert_eq!(shown.contains("/mine"), text.contains("/mine"), "{shown}");
        assert!(shown.contains("+[listen]"), "{shown}");
    }
}

#[test]
fn the_schema_of_an_app_is_never_touched() {
    let dir = tempfile::tempdir().unwrap();
    let schema = dir.path().join("convex/schema.ts");
    fs::create_dir_all(schema.parent().unwrap()).unwrap();
    fs::write(&schema, "// the app's\n").unwrap();
    for force in [false, true] {
        let done = run(dir.path(), force);
        assert_eq!(done.count(State::Kept), 1);
        assert_eq!(done.count(State::Differs), 0);
        assert!(done.text(Paint::PLAIN).contains("...clerkSyncTables"));
        assert_eq!(fs::read_to_string(&schema).unwrap(), "// the app's\n");
    }
}

#[test]
fn a_schema_that_has_the_synced_tables_is_not_told_to_take_them_in() {
    let dir = tempfile::tempdir().unwrap();
    let schema = dir.path().join("convex/schema.ts");
    fs::create_dir_all(schema.parent().unwrap()).unwrap();
    fs::write(
        &schema,
        "export default defineSchema({ ...clerkSyncTables });",
    )
    .unwrap();
    let done = run(dir.path(), false);
    assert_eq!(done.count(State::Kept), 1);
    let text = done.text(Paint::PLAIN);
    assert!(!text.contains("Merge"), "{text}");
}

#[test]
fn the_functions_are_where_the_project_says() {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path();
    assert_eq!(
        functions_dir(here, None).unwrap_err().exit,
        Exit::Failed,
        "an empty directory is no project"
    );
    fs::write(here.join("package.json"), "{}").unwrap();
    assert_eq!(functions_dir(here, None).unwrap(), here.join("convex"));
    fs::write(
        here.join("convex.json"),
        r#"{ "functions": "src/convex/" }"#,
    )
    .unwrap();
    assert_eq!(functions_dir(here, None).unwrap(), here.join("src/convex/"));
    assert_eq!(
        functions_dir(Path::new("/"), Some(here)).unwrap(),
        here.join("src/convex/"),
        "the project's directory is understood too"
    );
    let named = here.join("elsewhere");
    assert_eq!(functions_dir(here, Some(&named)).unwrap(), named);
    fs::write(here.join("convex.json"), "{").unwrap();
    assert!(functions_dir(here, None).is_err());
}

#[test]
fn what_is_not_text_is_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("clerkSync.ts");
    fs::write(&path, [0xff, 0xfe, 0x00]).unwrap();
    let done = put(path.clone(), "text\n", false).unwrap();
    assert_eq!(done.state, State::Differs);
    assert_eq!(fs::read(&path).unwrap(), [0xff, 0xfe, 0x00]);
}
