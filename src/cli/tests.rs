//! The tree of commands: whole, spelled as the contract says, and every `--help` as it is shown.

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
        "status --watch --json",
        "failures list",
        "failures show dl_1",
        "failures retry dl_1 dl_2",
        "failures retry --all",
        "failures drop dl_1",
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
        "webhook send",
        "webhook send --type user.banned",
        "completions",
        "audit",
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
