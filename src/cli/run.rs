//! `run`: the daemon, in the foreground, until a signal.
//!
//! Reads the whole configuration before anything is opened or bound, starts logging, and hands over.
//! Knows nothing of what the daemon does; turns its reasons not to start into exit codes.

use std::{net::TcpListener, sync::Arc};

use clap::Args;

use super::{Context, Exit, Failure, state};
use crate::{
    config::{Config, Loaded, Mistake},
    daemon::{self, Reread, StartError, Surroundings},
    telemetry,
};

/// Arguments of `run`; everything else is configuration.
#[derive(Debug, Args)]
#[command(after_help = "\
The secrets come from the environment (CLERK_SECRET_KEY, CLERK_WEBHOOK_SECRET,
CONVEX_DEPLOY_KEY), from files (the same names with _FILE) or from systemd
credentials. `check` says what is missing. The first start compares everything and
copies who is there already (`schedule.full`, `repair.mode`).")]
pub struct RunArgs {}

/// The socket that the service manager holds for us, if it does. Before there are threads.
pub(super) fn handed_over(context: &Context) -> Result<Option<TcpListener>, Failure> {
    let handed = daemon::handed_over(&context.env).map_err(StartError::Handed);
    handed.map_err(|error| start_failure(&error))
}

/// Runs the daemon until it is told to stop.
pub(super) async fn run(
    _: &RunArgs,
    context: &Context,
    socket: Option<TcpListener>,
) -> Result<Exit, Failure> {
    // State and socket are for this user only, whichever library creates a file.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let exposed = keep_memory_to_ourselves();
    let loaded = Config::load(context.config.as_deref(), &context.env)
        .map_err(|mistakes| Failure::mistakes(&mistakes))?;
    // systemd sets it for services whose output goes to the journal.
    let under_systemd = context.env.variable("JOURNAL_STREAM").is_some();
    let log_level = telemetry::init(&loaded.config.log, under_systemd);
    warn(&loaded);
    if let Err(error) = exposed {
        tracing::warn!("a crash may leave secrets in a core file: {error}");
    }
    if let Err(error) = open_as_many_files_as_needed(loaded.config.listen.max_connections) {
        tracing::debug!("the limit of open files stays what it is: {error}");
    }
    let around = Surroundings {
        reread: Some(reread(context)),
        log_level: Some(log_level),
        socket,
    };
    daemon::run(loaded.config, around)
        .await
        .map_err(|error| start_failure(&error))?;
    Ok(Exit::Done)
}

/// Keys are in memory: a crash writes none of it to a file, and no other process of this user may read it.
fn keep_memory_to_ourselves() -> std::io::Result<()> {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    // A program that takes crashes over a pipe goes by this one only.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none)?;
    Ok(())
}

/// Many systems allow few open files unless a process asks, and more for the asking.
fn open_as_many_files_as_needed(connections: usize) -> std::io::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let needed = (connections + daemon::OTHER_FILES) as u64;
    let most = limit.maximum.unwrap_or(needed);
    if limit
        .current
        .is_none_or(|current| current >= needed.min(most))
    {
        return Ok(());
    }
    let enough = Rlimit {
        current: Some(needed.min(most)),
        ..limit
    };
    Ok(setrlimit(Resource::Nofile, enough)?)
}

/// Reads the same sources again, for SIGHUP and the operators' `reload`.
fn reread(context: &Context) -> Reread {
    let (file, env) = (context.config.clone(), context.env.clone());
    Arc::new(move || {
        let loaded = Config::load(file.as_deref(), &env).map_err(|mistakes| {
            let sentences: Vec<String> = mistakes.iter().map(Mistake::to_string).collect();
            sentences.join("; and ")
        })?;
        warn(&loaded);
        Ok(loaded.config)
    })
}

fn warn(loaded: &Loaded) {
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
}

/// Why the daemon did not start, for the person who started it.
pub(super) fn start_failure(error: &StartError) -> Failure {
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let inner_message = inner.to_string();
        // Some errors repeat their cause in their own sentence.
        if !message.contains(&inner_message) {
            message = format!("{message}: {inner_message}");
        }
        cause = inner.source();
    }
    if error.is_in_use() {
        Failure::unreachable(message)
    } else if error.is_about_keys() {
        Failure::usage(message).help(state::KEYS_HELP)
    } else {
        let failure = Failure::failed(message);
        match error.about_listening() {
            Some(help) => failure.help(help),
            None => failure,
        }
    }
}
