//! The settings: read once, completely, before anything is bound or opened.
//!
//! `config/default.toml` is the lowest layer and the reference; file, environment and credentials
//! lie over it. [`Config::load`] finds every mistake and reports them together, each with its place
//! and remedy and never with a value. Each module is handed its own section; only the daemon sees
//! the whole. Choices are enums and numbers are within their bounds: nobody checks them again.

use std::path::{Path, PathBuf};

mod admin;
mod clerk;
mod convex;
mod credentials;
mod ensure;
mod env;
mod file;
mod layers;
mod limits;
mod listen;
mod log;
mod mistake;
mod profile_edits;
mod reader;
mod reload;
mod repair;
mod report;
mod schedule;
mod secret;
mod sending;
mod state;
mod state_key;
mod sync;
mod users;

pub use self::{
    admin::{Admin, Reading},
    clerk::Clerk,
    convex::Convex,
    ensure::Ensure,
    env::{DEFAULT_FILE, Env},
    file::without_secrets,
    limits::Limits,
    listen::{Listen, Tls},
    log::{Log, LogFormat},
    mistake::Mistake,
    profile_edits::ProfileEdits,
    reload::Reloadable,
    repair::{Repair, RepairMode},
    report::Report,
    schedule::Schedule,
    secret::{Personal, Secret},
    sending::Sending,
    state::{Backend, State},
    state_key::StateKey,
    sync::Sync,
    users::Users,
};

use self::reader::Reader;

/// The text of `config/default.toml`: every key with its default, range and meaning.
pub const DEFAULT_TOML: &str = layers::DEFAULTS;

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The Clerk instance.
    pub clerk: Clerk,
    /// The Convex deployment.
    pub convex: Convex,
    /// Applying changes.
    pub sync: Sync,
    /// The public listener.
    pub listen: Listen,
    /// The operators' listener.
    pub admin: Admin,
    /// What is kept on disk.
    pub state: State,
    /// When scans run.
    pub schedule: Schedule,
    /// What scans may do.
    pub repair: Repair,
    /// How users become rows.
    pub users: Users,
    /// Convex to Clerk.
    pub profile_edits: ProfileEdits,
    /// Making sure at sign-in.
    pub ensure: Ensure,
    /// What reports show.
    pub report: Report,
    /// Bounds of the daemon as a whole.
    pub limits: Limits,
    /// Logging.
    pub log: Log,
}

/// A configuration without mistakes.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// What is odd, but no reason to stop; sentences.
    pub warnings: Vec<String>,
    /// The file that was read, if there was one.
    pub file: Option<PathBuf>,
}

/// The part of the settings that leads to the daemon on this machine and to its state.
#[derive(Clone, Debug, PartialEq)]
pub struct Local {
    /// The operators' listener.
    pub admin: Admin,
    /// What is kept on disk.
    pub state: State,
    /// What reports show.
    pub report: Report,
}

impl Config {
    /// Reads all sources: the compiled-in defaults, `file` (or the environment's default file where
    /// it exists), the environment, the credentials. Later ones win.
    ///
    /// # Errors
    /// All mistakes at once, never an empty list. None holds a value.
    pub fn load(file: Option<&Path>, env: &Env) -> Result<Loaded, Vec<Mistake>> {
        let mut reader = Reader::new(layers::gather(file, env));
        let config = read(&mut reader);
        let (gathered, _) = reader.finish();
        match config {
            Some(config) if gathered.mistakes.is_empty() => Ok(Loaded {
                config,
                warnings: gathered.warnings,
                file: gathered.file,
            }),
            _ => Err(gathered.mistakes),
        }
    }

    /// Reads only what a command needs that talks to the daemon on this machine or opens its state.
    /// An operator need not hold the keys of the services for that, so those may be missing, and
    /// mistakes of other sections do not count.
    ///
    /// # Errors
    /// All mistakes of these sections, and a file that cannot be read.
    pub fn load_local(file: Option<&Path>, env: &Env) -> Result<Local, Vec<Mistake>> {
        let mut reader = Reader::new(layers::gather(file, env));
        let (admin, state) = (Admin::read(&mut reader), State::read(&mut reader));
        let report = Report::read(&mut reader);
        let (gathered, _) = reader.finish();
        let counts = |mistake: &Mistake| {
            ["admin.", "state.", "report."]
                .iter()
                .any(|section| mistake.key.starts_with(section))
                || mistake.key.is_empty()
        };
        let mistakes: Vec<Mistake> = gathered.mistakes.into_iter().filter(counts).collect();
        match (admin, state, report) {
            (Some(admin), Some(state), Some(report)) if mistakes.is_empty() => Ok(Local {
                admin,
                state,
                report,
            }),
            _ => Err(mistakes),
        }
    }
}

fn read(r: &mut Reader) -> Option<Config> {
    // All sections are read before the first `?`: one mistake must not hide those after it.
    let clerk = Clerk::read(r);
    let convex = Convex::read(r);
    let sync = Sync::read(r);
    let listen = Listen::read(r);
    let admin = Admin::read(r);
    let state = State::read(r);
    let schedule = Schedule::read(r);
    let repair = Repair::read(r);
    let users = Users::read(r);
    let profile_edits = ProfileEdits::read(r);
    let ensure = Ensure::read(r);
    let report = Report::read(r);
    let limits = Limits::read(r);
    let log = Log::read(r);
    if let (Some(clerk), Some(convex)) = (&clerk, &convex) {
        check_environments(clerk, convex, r);
    }
    if let (Some(clerk), Some(users)) = (&clerk, &users) {
        check_circle(clerk, users, r);
    }
    Some(Config {
        clerk: clerk?,
        convex: convex?,
        sync: sync?,
        listen: listen?,
        admin: admin?,
        state: state?,
        schedule: schedule?,
        repair: repair?,
        users: users?,
        profile_edits: profile_edits?,
        ensure: ensure?,
        report: report?,
        limits: limits?,
        log: log?,
    })
}

/// A development instance's users in a production deployment would be taken for real ones, and the
/// real ones for orphans. A deployment on this machine is no production, whatever its key says.
fn check_environments(clerk: &Clerk, convex: &Convex, r: &mut Reader) {
    let production = convex.is_production() && !reader::is_loopback(&convex.url);
    if clerk.is_development() && production && !convex.allow_mixed_environments {
        r.mistake(
            "convex.deploy_key",
            "belongs to a production deployment, while clerk.secret_key belongs to a development \
             instance (sk_test_)",
            "use keys of the same kind; if it is meant, set convex.allow_mixed_environments = true",
        );
    }
    if !clerk.is_development() && convex.deploy_key.expose().starts_with("dev:") {
        r.warn(
            "`convex.deploy_key` belongs to a development deployment, while `clerk.secret_key` \
             belongs to a production instance: real users are written to it",
        );
    }
}

/// A column that holds what is written back would change with each write, and be written back again.
fn check_circle(clerk: &Clerk, users: &Users, r: &mut Reader) {
    const MOVED: [&str; 3] = [
        "/private_metadata",
        "/private_metadata/syncedAt",
        "/updated_at",
    ];
    let mut fields = users.extra_fields.values();
    if clerk.write_back && fields.any(|field| MOVED.contains(&field.pointer.as_str())) {
        r.mistake(
            "clerk.write_back",
            "changes what a column of users.extra_fields holds, so it would never end",
            format!("leave out the columns that point at {}", MOVED.join(", ")),
        );
    }
}

#[cfg(test)]
mod tests;
