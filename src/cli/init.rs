//! `init`: the Convex functions into a Convex project, and a starter configuration beside it.
//!
//! Writes each file whole or not at all, and none over another content unless `--force` is given:
//! then the difference is shown instead. What a person is meant to edit is copied before it is overwritten, and a
//! schema that is there already belongs to the app and is never touched. Knows where a Convex project keeps its
//! functions; asks no service.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use serde_json::Value;
use similar::TextDiff;

use super::{
    Context, Exit, Failure, JsonArg,
    output::{Paint, Tone},
};
use crate::config;

mod files;

/// The largest file that is compared, in bytes. Those of the package are far below.
const LARGEST_COMPARED: u64 = 1 << 20;

/// The most copies of one file that are kept.
const MOST_COPIES: usize = 99;

/// Arguments of `init`.
#[derive(Debug, Args)]
#[command(after_help = "\
The directory of the functions is `functions` in convex.json if that is there,
else ./convex. The starter configuration is written to ./clerk-convex-sync.toml,
or to the file that --config names.")]
pub struct InitArgs {
    /// Where the functions of the Convex project are [default: found from here]
    #[arg(long, value_name = "DIR")]
    convex_dir: Option<PathBuf>,
    /// Overwrite files that differ (never a schema.ts that is there); of clerkSync.ts and the configuration a
    /// copy is kept, named .bak
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    json: JsonArg,
}

/// What became of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// It was not there.
    Written,
    /// It was there with another content, and `--force` was given.
    Overwritten,
    /// It is there, as it would have been written.
    Unchanged,
    /// It is there with another content, and stays.
    Differs,
    /// It is the app's, and stays.
    Kept,
}

#[derive(Debug, Serialize)]
struct Done {
    path: PathBuf,
    state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    diff: Option<String>,
    /// Where a person's own work was copied to before it was overwritten.
    #[serde(skip_serializing_if = "Option::is_none")]
    copy: Option<PathBuf>,
    /// Of a schema that was kept: it has the synced tables already.
    #[serde(skip)]
    merged: bool,
}

/// What `init` did.
#[derive(Debug, Serialize)]
struct Initialised {
    convex_dir: PathBuf,
    config: PathBuf,
    files: Vec<Done>,
}

/// Writes the files.
pub(super) fn init(args: &InitArgs, context: &Context) -> Result<Exit, Failure> {
    let convex_dir = functions_dir(Path::new("."), args.convex_dir.as_deref())?;
    let config = match &context.config {
        Some(file) => file.clone(),
        None => PathBuf::from(files::CONFIG_NAME),
    };
    let done = write_all(convex_dir, config, args.force)?;
    if args.json.json {
        context.output.document(&done)?;
    } else {
        context.output.write(&done.text(context.output.paint()))?;
    }
    let differing = done.count(State::Differs);
    if differing == 0 {
        return Ok(Exit::Done);
    }
    let files = match differing {
        1 => "1 file differs and was".to_owned(),
        n => format!("{n} files differ and were"),
    };
    Err(Failure::failed(format!("{files} left as is"))
        .help("look at the differences on stdout; --force overwrites these files"))
}

fn write_all(convex_dir: PathBuf, config: PathBuf, force: bool) -> anyhow::Result<Initialised> {
    let mut done = Vec::new();
    for (name, text) in files::PACKAGE {
        done.push(match *name == files::EDITED {
            true => put_over_a_copy(convex_dir.join(name), text, force)?,
            false => put(convex_dir.join(name), text, force)?,
        });
    }
    let (name, text) = files::SCHEMA;
    let mut schema = put(convex_dir.join(name), text, false)?;
    if schema.state == State::Differs {
        schema.state = State::Kept;
        schema.diff = None;
        schema.merged = read(&schema.path)?.is_some_and(|text| text.contains(SYNCED_TABLES));
    }
    done.push(schema);
    done.push(put_over_a_copy(config.clone(), files::CONFIG, force)?);
    Ok(Initialised {
        convex_dir,
        config,
        files: done,
    })
}

/// One file that a person is meant to edit: what is overwritten stays beside it.
fn put_over_a_copy(path: PathBuf, text: &str, force: bool) -> anyhow::Result<Done> {
    let mut copy = None;
    if force && read(&path)?.is_some_and(|there| there != text) {
        copy =
            Some(keep(&path).with_context(|| {
                format!("cannot keep a copy of {}, so it stays", path.display())
            })?);
    }
    let done = put(path, text, force)?;
    Ok(Done { copy, ..done })
}

/// Copies a file, its mode included, to the first free name beside it.
fn keep(path: &Path) -> std::io::Result<PathBuf> {
    let named = |n: usize| {
        let mut name = path.as_os_str().to_owned();
        name.push(".bak");
        if n > 1 {
            name.push(n.to_string());
        }
        PathBuf::from(name)
    };
    let free = (1..=MOST_COPIES).map(named).find(|name| !name.exists());
    let copy = free.ok_or_else(|| std::io::Error::other("there are too many copies already"))?;
    std::fs::copy(path, &copy)?;
    std::fs::File::open(&copy)?.sync_all()?;
    Ok(copy)
}

/// One file, unless another content stands there.
fn put(path: PathBuf, text: &str, force: bool) -> anyhow::Result<Done> {
    let state = match read(&path)? {
        None => {
            write(&path, text)?;
            State::Written
        }
        Some(there) if there == text => State::Unchanged,
        Some(_) if force => {
            write(&path, text)?;
            State::Overwritten
        }
        Some(mut there) => {
            if text == files::CONFIG {
                there = config::without_secrets(&there);
            }
            let name = path.display().to_string();
            let diff = TextDiff::from_lines(there.as_str(), text);
            let diff = diff
                .unified_diff()
                .header(&name, &format!("{name} (new)"))
                .to_string();
            return Ok(Done {
                path,
                state: State::Differs,
                diff: Some(diff),
                copy: None,
                merged: false,
            });
        }
    };
    Ok(Done {
        path,
        state,
        diff: None,
        copy: None,
        merged: false,
    })
}

/// The content, if the file is there. What is not text is compared as text with marks in it.
fn read(path: &Path) -> anyhow::Result<Option<String>> {
    match path.metadata() {
        Ok(found) if found.len() > LARGEST_COMPARED => {
            anyhow::bail!("{} is far too large to be of this package", path.display())
        }
        Ok(_) => {
            let bytes =
                std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot look at {}", path.display())),
    }
}

/// Writes beside the file and renames, so that nobody finds half of it.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let failed = || format!("cannot write {}", path.display());
    std::fs::create_dir_all(dir).with_context(failed)?;
    let mut file = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(dir)
        .with_context(failed)?;
    file.write_all(text.as_bytes()).with_context(failed)?;
    file.as_file().sync_all().with_context(failed)?;
    file.persist(path).with_context(failed)?;
    Ok(())
}

/// Where the functions of the project are.
fn functions_dir(here: &Path, named: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(dir) = named {
        // A project's directory is a likely slip for that of its functions, and tells itself by what
        // stands in it.
        let is_project = dir.join("convex.json").is_file()
            || (dir.join("package.json").is_file() && dir.join("convex").is_dir());
        return if is_project {
            functions_of(dir)
        } else {
            Ok(dir.to_owned())
        };
    }
    let is_project = ["convex.json", "convex", "package.json"]
        .iter()
        .any(|name| here.join(name).exists());
    if is_project {
        functions_of(here)
    } else {
        Err(Failure::failed("there is no Convex project here").help(
            "change to the project's directory (the one with package.json), or name the directory of \
             its functions with --convex-dir",
        ))
    }
}

fn functions_of(project: &Path) -> Result<PathBuf, Failure> {
    let settings = project.join("convex.json");
    let text = read(&settings)?.unwrap_or_else(|| "{}".to_owned());
    let settings: Value = serde_json::from_str(&text).map_err(|error| {
        Failure::failed(format!("cannot read {}: {error}", settings.display()))
            .help("repair it, or name the directory of the functions with --convex-dir")
    })?;
    let dir = settings.get("functions").and_then(Value::as_str);
    let dir = project.join(dir.unwrap_or("convex"));
    Ok(dir.strip_prefix(".").unwrap_or(&dir).to_owned())
}

impl Initialised {
    fn count(&self, state: State) -> usize {
        self.files.iter().filter(|done| done.state == state).count()
    }

    fn text(&self, paint: Paint) -> String {
        let mut text = String::new();
        for done in &self.files {
            let (tone, word) = match done.state {
                State::Written => (Tone::Good, "written"),
                State::Overwritten => (Tone::Warn, "overwritten"),
                State::Unchanged => (Tone::Quiet, "unchanged"),
                State::Differs => (Tone::Bad, "differs"),
                State::Kept => (Tone::Warn, "kept"),
            };
            let word = paint.tone(tone, &format!("{word:<11}"));
            text += &format!("{word}  {}\n", done.path.display());
            if let Some(copy) = &done.copy {
                text += &format!("{:11}  what was there is {}\n", "", copy.display());
            }
        }
        for diff in self.files.iter().filter_map(|done| done.diff.as_deref()) {
            text.push('\n');
            for line in diff.lines() {
                let tone = match line.as_bytes().first() {
                    Some(b'+') => Some(Tone::Good),
                    Some(b'-') => Some(Tone::Bad),
                    _ => None,
                };
                text += &tone.map_or_else(|| line.to_owned(), |tone| paint.tone(tone, line));
                text.push('\n');
            }
        }
        let to_merge = |file: &Done| file.state == State::Kept && !file.merged;
        if self.files.iter().any(to_merge) {
            text += SCHEMA_KEPT;
        }
        text += &format!("\n{}\n", self.next_steps());
        text
    }

    fn next_steps(&self) -> String {
        let config = self.config.display();
        format!(
            "Next:\n  1. deploy the functions: npx convex dev, or npx convex deploy\n  \
             2. set CLERK_SECRET_KEY, CLERK_WEBHOOK_SECRET, CONVEX_URL and CONVEX_DEPLOY_KEY\n  \
             3. clerk-convex-sync check --online --config {config}\n  \
             4. clerk-convex-sync audit --config {config} (only looks), then reconcile (copies)\n  \
             5. clerk-convex-sync run --config {config}"
        )
    }
}

/// The name by which a schema takes the synced tables in.
const SYNCED_TABLES: &str = "clerkSyncTables";

/// What a project with a schema of its own still has to do.
const SCHEMA_KEPT: &str = "
The schema that is there holds the app's own tables and was not touched. Merge the synced ones into it:

  import { clerkSyncTables } from \"./clerkSyncLib/schema\";

  export default defineSchema({
    ...clerkSyncTables,
    // the app's own tables
  });
";

#[cfg(test)]
mod tests;
