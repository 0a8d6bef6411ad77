//! `state`: the state directory of a daemon that does not run, looked through or brought under a new key.
//!
//! Knows which keys and directory are meant and how findings are shown; what is done is the library's business.

use std::{
    io,
    path::{self, Path},
};

use clap::{Args, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget};
use serde_json::json;

use super::{Context, Exit, Failure, JsonArg};
use crate::{
    daemon::keyring,
    store::{
        state_file::StateFileError,
        upkeep::{self, Kept, Rekeyed, Step, UpkeepError},
    },
};

mod render;

/// What to do about a key that is not there.
pub const KEYS_HELP: &str = "put the key back (CCS_STATE__ENCRYPTION_KEY, CCS_STATE__ENCRYPTION_KEY_FILE or the \
    credential state-encryption-key); a new key goes before the old one, which stays until `state rekey` is done";

/// Why a state directory is not read.
pub(super) fn refused(error: StateFileError) -> Failure {
    let message = error.to_string();
    match error {
        StateFileError::Keys { .. } => Failure::usage(message).help(KEYS_HELP),
        StateFileError::Newer { .. } | StateFileError::Io { .. } => Failure::failed(message),
    }
}

/// Whether there is a directory that a daemon may have left something in: one that was mistyped must not pass for
/// one in which nothing has happened yet.
///
/// # Errors
/// Exit code 4 when there is none, 1 when this user may not look into it.
pub(super) fn is_there(dir: &Path) -> Result<(), Failure> {
    let told = path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let told = told.display();
    // With the dot it has to be a directory, and one that this user may enter.
    match dir.join(".").metadata() {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Failure::unreachable(format!("there is no state at {told}")).help(
                "give the same --config, or the same CCS_STATE__DIR, that the daemon is started with; its first \
                 start (`clerk-convex-sync run`) makes the directory",
            ))
        }
        Err(error) => Err(Failure::failed(format!("{told}: {error}"))
            .help("see that state.dir is right, and run this as the daemon's user, or with sudo")),
    }
}

/// What to do with the state directory.
#[derive(Debug, Subcommand)]
pub enum StateCommand {
    /// Look through it: can everything be read, how much is there, under which keys
    #[command(
        after_help = "Exit codes: 0 nothing is damaged · 1 damage · 2 a key is missing · 4 a daemon has it.\n\
                      Nothing is changed."
    )]
    Verify(JsonArg),
    /// Bring everything under the first of the keys, so that the others can be thrown away
    #[command(
        after_help = "Can be killed at any moment and run again. Pieces that were set aside as damaged are removed, \
                      and a\ncomparison that was cut off begins anew."
    )]
    Rekey(JsonArg),
    /// Bring it from one backend to another, or into the layout of this version
    Migrate(MigrateArgs),
}

/// Arguments of `state migrate`.
#[derive(Debug, Args)]
pub struct MigrateArgs {
    /// The backend that it is in
    #[arg(long, value_name = "BACKEND")]
    from: Backend,
    /// The backend that it is to be in; the same brings it into the layout of this version
    #[arg(long, value_name = "BACKEND")]
    to: Backend,
    #[command(flatten)]
    json: JsonArg,
}

/// The backends as the command line spells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Backend {
    /// On this machine
    Sled,
    /// Shared by several replicas
    Nats,
}

/// Does what the command says.
pub(super) fn state(command: &StateCommand, context: &Context) -> Result<Exit, Failure> {
    // What is written here is for this user only, whichever library creates a file.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    match command {
        StateCommand::Verify(json) => verify(*json, context),
        StateCommand::Rekey(json) => rekey(*json, context),
        StateCommand::Migrate(args) => migrate(args, context),
    }
}

fn verify(json: JsonArg, context: &Context) -> Result<Exit, Failure> {
    let section = context.local()?.state;
    let survey = upkeep::verify(&section.dir, &keyring(&section)).map_err(failure)?;
    if json.json {
        context.output.document(&survey)?;
    } else {
        let text = render::survey(&section.dir, &survey, context.output.paint());
        context.output.write(&text)?;
    }
    Ok(match survey.ok {
        true => Exit::Done,
        false => Exit::Failed,
    })
}

fn rekey(json: JsonArg, context: &Context) -> Result<Exit, Failure> {
    let local = context.local()?;
    let reports = match local.report.show_values {
        true => Kept::Shown,
        false => Kept::Masked,
    };
    let keys = keyring(&local.state);
    let bar = Bar::new(context);
    let done = upkeep::rekey(&local.state.dir, &keys, reports, &mut |step| bar.show(step));
    bar.end();
    let done = done.map_err(failure)?;
    if json.json {
        context.output.document(&done)?;
    } else {
        context.output.write(&told(&done))?;
    }
    Ok(Exit::Done)
}

fn told(done: &Rekeyed) -> String {
    let Rekeyed {
        key,
        segments,
        frames,
        values,
        files,
        removed,
    } = done;
    let mut text = format!(
        "Everything is under the key {key} now: {frames} record(s) in {segments} segment(s) of the journal, {values} \
         value(s) of the derived state, {files} file(s) were written anew.\n"
    );
    if *removed > 0 {
        text += &format!("{removed} damaged piece(s) that had been set aside were removed.\n");
    }
    text + "Further keys of state.encryption_key are not needed any more.\n"
}

fn migrate(args: &MigrateArgs, context: &Context) -> Result<Exit, Failure> {
    if (args.from, args.to) != (Backend::Sled, Backend::Sled) {
        return Err(Failure::usage("this build has no backend \"nats\"").help(
            "the only backend is sled; `--from sled --to sled` brings the directory into this version's layout",
        ));
    }
    let section = context.local()?.state;
    let bar = Bar::new(context);
    let done = upkeep::migrate(&section.dir, &keyring(&section), &mut |step| bar.show(step));
    bar.end();
    let (before, journal) = done.map_err(failure)?;
    let layout = crate::store::state_file::LAYOUT;
    if args.json.json {
        let document = json!({
            "layout_before": before, "layout": layout,
            "segments": journal.segments, "unchanged": journal.unchanged,
        });
        context.output.document(&document)?;
    } else {
        context.output.write(&format!(
            "The directory had layout {before} and has layout {layout}; {} segment(s) of the journal were written \
             anew, {} were as they should be.\n",
            journal.segments, journal.unchanged
        ))?;
    }
    Ok(Exit::Done)
}

/// How far it is, on a terminal.
struct Bar(Option<ProgressBar>);

impl Bar {
    fn new(context: &Context) -> Bar {
        Bar(context.output.may_draw_progress().then(|| {
            let bar = ProgressBar::no_length();
            bar.set_draw_target(ProgressDrawTarget::stderr());
            bar
        }))
    }

    fn show(&self, step: Step) -> io::Result<()> {
        if let Some(bar) = &self.0 {
            let (what, done, of) = match step {
                Step::Segments { done, of } => ("journal", done, of),
                Step::Derived => ("derived state", 1, 1),
                Step::Files { done, of } => ("plans and reports", done, of),
            };
            bar.set_length(of as u64);
            bar.set_position(done as u64);
            bar.set_message(what);
        }
        Ok(())
    }

    fn end(self) {
        if let Some(bar) = self.0 {
            bar.finish_and_clear();
        }
    }
}

fn failure(error: UpkeepError) -> Failure {
    let message = error.to_string();
    match &error {
        error if error.is_in_use() => {
            Failure::unreachable(message).help("stop the daemon first; it would write meanwhile")
        }
        UpkeepError::NoKey => Failure::usage(message)
            .help("make one with `openssl rand -base64 32`; docs/operating.md says where it goes"),
        error if error.is_about_keys() => Failure::usage(message).help(KEYS_HELP),
        _ => Failure::failed(message),
    }
}
