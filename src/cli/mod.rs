//! The command line: the tree of commands, one file for each.
//!
//! A command reads the part of the configuration that it needs, does its work through the daemon or
//! the library, and returns an `Exit` or a `Failure`; [`main`] alone prints failures and ends the
//! process. Data goes to stdout, everything else to stderr. What the daemon needs too is not here.

use std::{net::TcpListener, path::PathBuf, process::ExitCode};

use clap::{Args, CommandFactory, Parser, Subcommand};

mod admin_client;
pub mod check;
mod completions;
mod demo;
mod ends;
mod exit;
mod failures;
mod init;
mod log;
mod man;
mod output;
mod reports;
mod run;
mod runs;
mod sandbox;
mod signals;
mod state;
mod status;
mod switch;
mod sync;
mod webhook;

use self::{
    exit::{Exit, Failure},
    output::Output,
};
use crate::{
    config::{Config, Env, Local, Sending},
    daemon,
};

/// Keeps the tables of a Convex deployment equal to a Clerk instance.
#[derive(Debug, Parser)]
#[command(
    name = "clerk-convex-sync",
    version,
    about,
    propagate_version = true,
    disable_help_subcommand = true,
    after_help = "\
Exit codes: 0 done and in sync · 1 failed · 2 usage or configuration ·
3 differences remain · 4 the daemon is not reachable, or another process holds the state"
)]
pub struct Cli {
    /// The configuration file (TOML); /etc/clerk-convex-sync/config.toml if it is there
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help_heading = "Global options"
    )]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon
    Run(run::RunArgs),
    /// Watch the whole system on this machine: simulated Clerk and Convex, the real daemon between
    Demo(demo::DemoArgs),
    /// Run a simulated Clerk and a simulated Convex, to develop or to try the daemon against
    Sandbox(sandbox::SandboxArgs),
    /// Write the Convex functions into a Convex project, and a starter configuration
    Init(init::InitArgs),
    /// Check the configuration, and on request both services
    Check(CheckArgs),
    /// Compare every record of Clerk with Convex; writes nothing
    Audit(runs::AuditArgs),
    /// Compare every record and put right what differs; on an empty Convex, the first copy of everything
    Reconcile(runs::ReconcileArgs),
    /// Make Convex agree with Clerk about one record, now
    #[command(subcommand)]
    Sync(sync::SyncCommand),
    /// Show the queue, the last runs, failures and latency of the running daemon
    Status(status::StatusArgs),
    /// Look at events that could not be applied, try them again, or give them up
    #[command(subcommand)]
    Failures(failures::FailuresCommand),
    /// Look at past runs: what differed, what was done about it
    #[command(subcommand)]
    Reports(reports::ReportsCommand),
    /// Show what was written to Convex and to Clerk, and check that nobody changed it
    Log(log::LogArgs),
    /// Look through the state directory, or bring it under a new key, while no daemon runs
    #[command(subcommand)]
    State(state::StateCommand),
    /// Stop applying changes; intake goes on
    Pause(switch::SwitchArgs),
    /// Go on applying changes
    Resume(switch::SwitchArgs),
    /// Send signed test events
    #[command(subcommand)]
    Webhook(webhook::WebhookCommand),
    /// Print a script that completes commands and options in a shell
    Completions(completions::CompletionsArgs),
    /// Print the manual page (roff)
    Man(man::ManArgs),
}

/// The option that turns the output into a document.
#[derive(Clone, Copy, Debug, Args)]
pub struct JsonArg {
    /// Print one JSON document and nothing else
    #[arg(long)]
    json: bool,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
struct CheckArgs {
    /// Also ask both services: keys, the deployed functions, the instance, the clock
    #[arg(long)]
    online: bool,
    #[command(flatten)]
    json: JsonArg,
}

/// What every command is given beside its own arguments.
struct Context {
    /// The file named by `--config`.
    config: Option<PathBuf>,
    /// The environment.
    env: Env,
    /// The two streams.
    output: Output,
}

impl Context {
    fn local(&self) -> Result<Local, Failure> {
        Config::load_local(self.config.as_deref(), &self.env)
            .map_err(|mistakes| Failure::mistakes(&mistakes))
    }

    /// The whole configuration, for commands that do the daemon's work where none runs.
    fn whole(&self) -> Result<Config, Failure> {
        let loaded = Config::load(self.config.as_deref(), &self.env)
            .map_err(|mistakes| Failure::mistakes(&mistakes))?;
        for warning in &loaded.warnings {
            self.output.note(&format!("note: {warning}"));
        }
        Ok(loaded.config)
    }

    fn sending(&self) -> Result<Sending, Failure> {
        Sending::load(self.config.as_deref(), &self.env)
            .map_err(|mistakes| Failure::mistakes(&mistakes))
    }
}

/// Reads the arguments of the process, does what they say, and returns the exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are errors to clap, with exit code 0; usage errors have 2.
            let _ = error.print();
            return if error.use_stderr() {
                Exit::Usage.into()
            } else {
                Exit::Done.into()
            };
        }
    };
    let env = Env::from_process();
    let output = Output::new(&env);
    let context = Context {
        config: cli.config,
        env,
        output,
    };
    match perform(cli.command, &context) {
        Ok(code) => code,
        Err(failure) => {
            output.complain(&failure);
            failure.exit.into()
        }
    }
}

fn perform(command: Command, context: &Context) -> Result<ExitCode, Failure> {
    let socket = match command {
        Command::Run(_) => run::handed_over(context)?,
        _ => None,
    };
    // An error means that one is installed already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    if let Command::Run(_) = command {
        threads
            .worker_threads(daemon::threads())
            .on_thread_start(daemon::stand_back);
    }
    let runtime = threads.enable_all().build().map_err(|error| {
        Failure::failed(format!("cannot start threads: {error}"))
            .help("raise the limit of processes of this user (`ulimit -u`)")
    })?;
    runtime.block_on(dispatch(command, context, socket))
}

async fn dispatch(
    command: Command,
    context: &Context,
    socket: Option<TcpListener>,
) -> Result<ExitCode, Failure> {
    let exit = match command {
        Command::Run(args) => run::run(&args, context, socket).await?,
        Command::Demo(args) => demo::demo(&args, context).await?,
        Command::Sandbox(args) => sandbox::sandbox(&args, context).await?,
        Command::Init(args) => init::init(&args, context)?,
        Command::Check(args) => return check::run(&args, context).await,
        Command::Audit(args) => runs::audit(args, context).await?,
        Command::Reconcile(args) => runs::reconcile(args, context).await?,
        Command::Sync(command) => sync::sync(&command, context).await?,
        Command::Status(args) => status::status(&args, context).await?,
        Command::Failures(command) => failures::failures(command, context).await?,
        Command::Reports(command) => reports::reports(&command, context)?,
        Command::Log(args) => log::log(args, context).await?,
        Command::State(command) => state::state(&command, context)?,
        Command::Pause(args) => switch::pause(&args, context).await?,
        Command::Resume(args) => switch::resume(&args, context).await?,
        Command::Webhook(command) => webhook::webhook(command, context).await?,
        Command::Completions(args) => completions::completions(&args, context)?,
        Command::Man(args) => man::man(&args, context)?,
    };
    Ok(exit.into())
}

/// The command tree as clap sees it, for completions and the manual.
fn tree() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests;
