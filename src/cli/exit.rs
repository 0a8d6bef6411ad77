//! How a command ends: the exit codes of the contract, and what is said when it fails.
//!
//! Every command returns `Result<Exit, Failure>`; [`crate::cli::main`] alone turns that into a
//! process's end. A [`Failure`] is written for the person at the terminal: what went wrong, and
//! what to do about it. It never holds a secret.

use std::process::ExitCode;

use crate::config::Mistake;

/// The exit codes that scripts may rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, and in sync.
    Done = 0,
    /// It did not work.
    Failed = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// Clerk and Convex still differ.
    Differences = 3,
    /// No daemon answers, or another process holds the state.
    Unreachable = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// One sentence about what went wrong, and one about what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// What went wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// Why a command ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The code to end with.
    pub exit: Exit,
    /// What to print; nothing when the reader of stdout went away.
    pub complaints: Vec<Complaint>,
}

impl Failure {
    /// A failure with one sentence.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Failure {
            exit,
            complaints: vec![Complaint {
                message: message.into(),
                help: None,
            }],
        }
    }

    /// Something did not work (exit code 1).
    pub fn failed(message: impl Into<String>) -> Self {
        Failure::new(Exit::Failed, message)
    }

    /// The command line asks for something that cannot be (exit code 2).
    pub fn usage(message: impl Into<String>) -> Self {
        Failure::new(Exit::Usage, message)
    }

    /// No daemon, or somebody else's state (exit code 4).
    pub fn unreachable(message: impl Into<String>) -> Self {
        Failure::new(Exit::Unreachable, message)
    }

    /// The mistakes of a configuration, one message each (exit code 2).
    pub fn mistakes(mistakes: &[Mistake]) -> Self {
        let complaints = mistakes
            .iter()
            .map(|mistake| {
                let key = match mistake.key.as_str() {
                    "" => String::new(),
                    key => format!("`{key}` "),
                };
                Complaint {
                    message: format!("{}: {key}{}", mistake.source, mistake.problem),
                    help: Some(mistake.remedy.clone()),
                }
            })
            .collect();
        Failure {
            exit: Exit::Usage,
            complaints,
        }
    }

    /// Adds what to do about it.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        if let Some(last) = self.complaints.last_mut() {
            last.help = Some(help.into());
        }
        self
    }

    /// Whoever read stdout has seen enough: end quietly, as `head` expects it.
    pub fn reader_gone() -> Self {
        Failure {
            exit: Exit::Done,
            complaints: Vec::new(),
        }
    }
}

/// For errors that need no advice of their own; the whole chain of causes is told.
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Failure::failed(format!("{error:#}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_contract() {
        let codes = [
            (Exit::Done, 0),
            (Exit::Failed, 1),
            (Exit::Usage, 2),
            (Exit::Differences, 3),
            (Exit::Unreachable, 4),
        ];
        for (exit, code) in codes {
            assert_eq!(exit as u8, code);
        }
        assert_eq!(Failure::failed("x").exit, Exit::Failed);
        assert_eq!(Failure::usage("x").exit, Exit::Usage);
        assert_eq!(Failure::unreachable("x").exit, Exit::Unreachable);
        assert_eq!(Failure::reader_gone().exit, Exit::Done);
    }

    #[test]
    fn every_mistake_of_a_configuration_is_told() {
        let failure = Failure::mistakes(&[
            Mistake::new("a.toml:3", "convex.url", "is missing", "set CONVEX_URL"),
            Mistake::new("a.toml", "", "is not TOML", "see line 9"),
        ]);
        assert_eq!(failure.exit, Exit::Usage);
        let told: Vec<_> = failure
            .complaints
            .iter()
            .map(|c| (c.message.as_str(), c.help.as_deref()))
            .collect();
        assert_eq!(
            told,
            [
                ("a.toml:3: `convex.url` is missing", Some("set CONVEX_URL")),
                ("a.toml: is not TOML", Some("see line 9")),
            ]
        );
    }

    #[test]
    fn causes_are_told_in_one_line() {
        let error = anyhow::anyhow!("disk is full").context("cannot write the file");
        assert_eq!(
            Failure::from(error).complaints[0].message,
            "cannot write the file: disk is full"
        );
    }
}
