//! The tree of commands: whole, spelled as the contract says, and every `--help` as it is shown.
//!
//! Also how commands end: each exit code by a command line, the last of them against a real daemon on
//! ports and in a directory of its own.

use clap::error::ErrorKind;

use super::*;

#[test]
fn the_tree_is_valid() {
    Cli::command().debug_assert();
}

#[test]
fn the_commands_of_the_contract_are_there() {
    for line in [
        "run",
        "demo --users 5 --seconds 0 --seed 7",
        "sandbox --clerk-port 1 --convex-port 2 --users 3 --seed 4 --latency-ms 5 --rate-limit 6",
        "init --convex-dir x --force",
        "check --online --json",
        "audit",
        "audit --table users --table memberships --json",
        "reconcile --table profiles --max-deletes 0 --json",
        "reconcile --approve 0123456789abcdef",
        "sync user user_1",
        "sync organization org_1 --json",
        "status --watch --json",
        "failures list",
        "failures show dl_1",
        "failures retry dl_1 dl_2",
        "failures retry --all",
        "failures drop dl_1",
        "log",
        "log --key user_1 --since 2h -n 5 --json",
        "log verify --json",
        "reports list",
        "reports list --json --limit 5 --kind sweep",
        "reports show",
        "reports show 019ca76c --format text",
        "reports show --format md",
        "reports show --format html --output report.html",
        "reports show --json",
        "reports show --json --format json",
        "pause",
        "resume",
        "webhook send --type user.created --user user_1 --url http://127.0.0.1:1/x",
        "webhook send --type organizationMembership.deleted --id msg_1 --data -",
        "completions bash",
        "man",
        "status --config x.toml",
        "--config x.toml failures list --json",
    ] {
        let arguments = std::iter::once("clerk-convex-sync").chain(line.split(' '));
        let parsed = Cli::try_parse_from(arguments);
        assert!(parsed.is_ok(), "{line}: {:?}", parsed.err());
    }
}

#[test]
fn wrong_usage_is_an_error_of_usage() {
    for line in [
        "",
        "nonsense",
        "failures retry",
        "failures retry dl_1 --all",
        "failures drop",
        "failures list --limit 0",
        "reports",
        "reports list --kind full",
        "reports show --format pdf",
        "webhook send",
        "webhook send --type user.banned",
        "webhook send --type user.created --url ftp://127.0.0.1/x",
        "webhook send --type user.created --url 127.0.0.1:8787",
        "completions",
        "audit --table people",
        "audit --max-deletes 1",
        "reconcile --max-deletes many",
        "reconcile --approve NOT-A-DIGEST",
        "reconcile --approve 0123456789abcdef --table users",
        "reconcile --approve 0123456789abcdef --max-deletes 1",
        "sync",
        "sync user",
        "sync membership orgmem_1",
    ] {
        let arguments = std::iter::once("clerk-convex-sync").chain(line.split_whitespace());
        let error = Cli::try_parse_from(arguments).expect_err(line);
        assert_eq!(error.exit_code(), 2, "{line}");
        assert!(error.use_stderr(), "{line}");
    }
}

#[test]
fn help_and_version_are_no_errors() {
    for (line, kind) in [
        ("--help", ErrorKind::DisplayHelp),
        ("status --help", ErrorKind::DisplayHelp),
        ("--version", ErrorKind::DisplayVersion),
    ] {
        let arguments = std::iter::once("clerk-convex-sync").chain(line.split(' '));
        let error = Cli::try_parse_from(arguments).expect_err(line);
        assert_eq!((error.kind(), error.exit_code()), (kind, 0), "{line}");
    }
}

/// How a command line ends in an environment of these variables and no others.
async fn ends(line: &str, environment: &[(&str, &str)]) -> Result<ExitCode, Failure> {
    let arguments = std::iter::once("clerk-convex-sync").chain(line.split(' '));
    let cli = Cli::try_parse_from(arguments).unwrap();
    let env = Env::new(environment.iter().copied());
    let context = Context {
        config: cli.config,
        output: Output::new(&env),
        env,
    };
    dispatch(cli.command, &context, None).await
}

/// What it takes to start a daemon, on ports and in a directory of its own.
fn sound(state_dir: &str) -> Vec<(&str, &str)> {
    vec![
        (
            "CLERK_SECRET_KEY",
            "sk_test_0123456789012345678901234567890123456789",
        ),
        (
            "CLERK_WEBHOOK_SECRET",
            "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
        ),
        ("CLERK_API_URL", "http://127.0.0.1:9"),
        ("CONVEX_URL", "http://127.0.0.1:9"),
        ("CONVEX_DEPLOY_KEY", "dev:x|y"),
        ("CCS_LISTEN__ADDRESS", "127.0.0.1:0"),
        ("CCS_STATE__DIR", state_dir),
    ]
}

#[tokio::test]
async fn a_wrong_configuration_ends_with_every_mistake_and_code_2() {
    let failure = ends("run", &[]).await.unwrap_err();
    assert_eq!(failure.exit, Exit::Usage);
    let told = output::complaint_text(&failure, output::Paint::PLAIN);
    for variable in [
        "CLERK_SECRET_KEY",
        "CLERK_WEBHOOK_SECRET",
        "CONVEX_URL",
        "CONVEX_DEPLOY_KEY",
    ] {
        assert!(told.contains(variable), "{variable} is not in\n{told}");
    }
    assert!(
        failure
            .complaints
            .iter()
            .all(|complaint| complaint.help.is_some())
    );
    let unknown = [("CCS_STATE__DIR", "x"), ("CCS_ADMIN__ADDRESS", "nonsense")];
    let failure = ends("status", &unknown).await.unwrap_err();
    assert_eq!(failure.exit, Exit::Usage);
}

#[tokio::test]
async fn without_a_daemon_the_code_is_4() {
    let dir = tempfile::tempdir().unwrap();
    let state = [("CCS_STATE__DIR", dir.path().to_str().unwrap())];
    for line in ["status", "status --watch --json", "pause", "resume"] {
        let failure = ends(line, &state).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Unreachable, "{line}");
        let told = output::complaint_text(&failure, output::Paint::PLAIN);
        assert!(told.contains("clerk-convex-sync run"), "{line}: {told}");
    }
    // Where no daemon has ever run, nothing has failed; one that was asked for elsewhere may know of something.
    for line in [
        "failures list",
        "failures list --json",
        "failures retry --all",
    ] {
        assert_eq!(ends(line, &state).await, Ok(Exit::Done.into()), "{line}");
        let elsewhere = [
            state[0],
            ("CCS_ADMIN__ADDRESS", "127.0.0.1:9"),
            ("CCS_ADMIN__TOKEN", "0123456789abcdef0123456789abcdef"),
        ];
        let failure = ends(line, &elsewhere).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Unreachable, "{line}");
    }
    for line in ["failures show dl_1", "failures drop dl_1"] {
        let failure = ends(line, &state).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Failed, "{line}");
    }
}

#[tokio::test]
async fn a_state_directory_that_is_none_is_not_taken_for_one_in_which_nothing_happened() {
    let dir = tempfile::tempdir().unwrap();
    let (typo, file) = (dir.path().join("typo"), dir.path().join("file"));
    std::fs::write(&file, "").unwrap();
    for line in [
        "failures list --json",
        "failures retry --all",
        "failures drop dl_1",
        "log",
        "log verify",
        "reports list --json",
        "reports show",
    ] {
        for (place, exit) in [(&typo, Exit::Unreachable), (&file, Exit::Failed)] {
            let place = place.to_str().unwrap();
            let failure = ends(line, &[("CCS_STATE__DIR", place)]).await.unwrap_err();
            assert_eq!(failure.exit, exit, "{line}: {failure:?}");
            let told = output::complaint_text(&failure, output::Paint::PLAIN);
            assert!(told.contains(place) && told.contains("help:"), "{told}");
        }
    }
    assert!(!typo.exists(), "looking made something");
    let file = [("CCS_STATE__DIR", file.to_str().unwrap())];
    let failure = ends("state verify", &file).await.unwrap_err();
    let told = output::complaint_text(&failure, output::Paint::PLAIN);
    assert!(told.contains("Not a directory"), "{told}");
}

#[tokio::test]
async fn a_daemon_is_asked_and_a_second_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let environment = sound(dir.path().to_str().unwrap());
    let loaded = Config::load(None, &Env::new(environment.clone())).unwrap();
    let daemon = crate::daemon::Daemon::start(loaded.config).await.unwrap();
    for line in [
        "status",
        "status --json",
        "pause --json",
        "resume",
        "failures list",
        "failures list --json --limit 5",
        "failures retry --all --json",
    ] {
        assert_eq!(
            ends(line, &environment).await,
            Ok(Exit::Done.into()),
            "{line}"
        );
    }
    for line in [
        "failures show dl_1",
        "failures drop dl_1",
        "failures retry dl_1",
    ] {
        let failure = ends(line, &environment).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Failed, "{line}");
        assert!(
            failure.complaints[0].message.contains("dl_1"),
            "{failure:?}"
        );
    }
    let second = ends("run", &environment).await.unwrap_err();
    assert_eq!(second.exit, Exit::Unreachable);
    daemon.shutdown().await;
    // The journal is there now, so that the dead letters can be looked at without it.
    assert_eq!(
        ends("failures list", &environment).await,
        Ok(Exit::Done.into())
    );
    assert_eq!(
        ends("status", &environment).await.unwrap_err().exit,
        Exit::Unreachable
    );
}

/// Every command with its path, the root first.
fn walk(command: &clap::Command, path: &str, visit: &mut dyn FnMut(&str, &clap::Command)) {
    visit(path, command);
    for child in command.get_subcommands() {
        walk(child, &format!("{path}-{}", child.get_name()), visit);
    }
}

#[test]
fn every_help_is_as_it_was_last_read() {
    let mut root = tree().term_width(100);
    root.build();
    walk(&root, "help", &mut |path, command| {
        let help = command.clone().term_width(100).render_long_help();
        insta::assert_snapshot!(path, help.to_string());
    });
}
