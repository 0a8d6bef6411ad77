//! What every benchmark is told on the command line, and how each begins and ends.
//!
//! `cargo bench` adds `--bench`, which is passed over. Knows no scene.

use std::{
    fs, io,
    path::{self, Path, PathBuf},
    process::ExitCode,
};

/// What to run, and where.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Repetitions of each timed comparison.
    pub rounds: usize,
    /// Print one JSON document instead of words.
    pub json: bool,
    /// Which scenes. Empty: all.
    pub scenes: Vec<String>,
    /// Leave out what runs on Node.
    pub without_node: bool,
    /// The daemon's binary.
    pub binary: PathBuf,
    /// Where states and logs go: a directory of the benchmark's own, which is emptied.
    pub work: PathBuf,
}

/// Hands out what stands behind an argument.
pub type Value<'v> = &'v mut dyn FnMut() -> Result<String, String>;

impl Setup {
    /// Three rounds of everything, in a directory of this name.
    pub fn named(name: &str) -> Setup {
        Setup {
            rounds: 3,
            json: false,
            scenes: Vec::new(),
            without_node: false,
            binary: PathBuf::from(env!("CARGO_BIN_EXE_clerk-convex-sync")),
            work: Path::new(env!("CARGO_TARGET_TMPDIR")).join(name),
        }
    }

    /// Reads the arguments; those that only one benchmark has go to `own`, which says whether it knows them. The error
    /// is a sentence for the person who typed them.
    pub fn read(
        &mut self,
        mut args: impl Iterator<Item = String>,
        known: &str,
        mut own: impl FnMut(&mut Setup, &str, Value<'_>) -> Result<bool, String>,
    ) -> Result<(), String> {
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--bench" => {}
                "--json" => self.json = true,
                "--without-node" => self.without_node = true,
                "--rounds" => self.rounds = number(&arg, &value()?)?.max(1),
                "--binary" => self.binary = absolute(&arg, &value()?)?,
                "--dir" => self.work_in(&absolute(&arg, &value()?)?),
                "--scene" => self.scenes.push(value()?),
                other if !own(self, other, &mut value)? => {
                    return Err(format!(
                        "{other} is not known; there are --quick, --json, --rounds N, {known}, --without-node, \
                         --binary FILE, --dir DIRECTORY"
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Works below a directory that somebody named. What else is in it stays.
    fn work_in(&mut self, dir: &Path) {
        let name = self.work.file_name().unwrap_or("bench".as_ref());
        self.work = dir.join(name);
    }

    /// True if this scene is to be run.
    pub fn runs(&self, scene: &str) -> bool {
        self.scenes.is_empty() || self.scenes.iter().any(|one| one == scene)
    }

    /// Makes the working directory, empty.
    pub fn prepare(&self) -> io::Result<()> {
        if self.work.exists() {
            fs::remove_dir_all(&self.work)?;
        }
        fs::create_dir_all(&self.work)
    }

    /// Tells a person what is done now.
    pub fn say(&self, what: &str) {
        if !self.json {
            println!("… {what}");
        }
    }
}

/// A path of the command line, for programs that are started from elsewhere.
fn absolute(name: &str, text: &str) -> Result<PathBuf, String> {
    path::absolute(text).map_err(|error| format!("{name} {text}: {error}"))
}

/// A number of the command line.
pub fn number(name: &str, text: &str) -> Result<usize, String> {
    text.parse()
        .map_err(|_| format!("{name} needs a number, not {text}"))
}

/// Runs a benchmark to its end, and says how it ended as a process does.
pub fn to_the_end<P>(plan: Result<P, String>, run: impl FnOnce(&P) -> io::Result<()>) -> ExitCode {
    let plan = match plan {
        Ok(plan) => plan,
        Err(sentence) => {
            eprintln!("{sentence}");
            return ExitCode::from(2);
        }
    };
    match run(&plan) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the benchmark did not come to its end: {error}");
            ExitCode::FAILURE
        }
    }
}
