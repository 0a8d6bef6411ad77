//! The files of the project as the rules see them.
//!
//! Knows directories, which files are tests, and as much of Rust as `use` declarations need. Comments are
//! not code, so a rule may be explained in words that it forbids.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Directories that are not ours, or are made.
const SKIPPED: &[&str] = &["target", "node_modules", ".git", "state", "_generated"];
/// What is read as text.
const TEXT: &[&str] = &[
    "rs", "toml", "md", "ts", "mjs", "js", "json", "service", "yml",
];

/// A file.
pub struct Source {
    /// From the project's root, with slashes.
    pub path: String,
    pub text: String,
}

/// The project's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file of the crate, its tests and benches.
pub fn sources() -> Vec<Source> {
    let files: Vec<_> = everything()
        .into_iter()
        .filter(|file| file.path.ends_with(".rs"))
        .collect();
    assert!(files.len() > 100, "only {} files were found", files.len());
    files
}

/// Every file that people wrote, as far as it is text.
pub fn everything() -> Vec<Source> {
    let mut found = Vec::new();
    gather(root(), &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn gather(directory: &Path, found: &mut Vec<Source>) {
    let entries = fs::read_dir(directory).expect("a directory of the project can be read");
    for entry in entries {
        let path: PathBuf = entry.expect("an entry can be read").path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or("");
        if path.is_dir() {
            if !SKIPPED.contains(&name) {
                gather(&path, found);
            }
            continue;
        }
        let ending = path.extension().and_then(|ending| ending.to_str());
        let made = name.ends_with("-lock.json");
        if made || !(ending.is_some_and(|ending| TEXT.contains(&ending)) || name == "Makefile") {
            continue;
        }
        // A file that goes away while we look (an editor's) is not ours to judge.
        if let Ok(text) = fs::read_to_string(&path) {
            let path = path.strip_prefix(root()).expect("below the root");
            let path = path.to_string_lossy().into_owned();
            found.push(Source { path, text });
        }
    }
}

impl Source {
    /// True for what is compiled into the crate itself, not its tests.
    pub fn is_product(&self) -> bool {
        let test = self.path.contains("/tests/")
            || self.path.ends_with("/tests.rs")
            || self.path.ends_with("_tests.rs");
        self.path.starts_with("src/") && self.path.ends_with(".rs") && !test
    }

    /// The top-level module that a file of the crate belongs to; none for `lib.rs`.
    pub fn module(&self) -> Option<&str> {
        let path = self.path.strip_prefix("src/")?;
        let module = match path.split_once('/') {
            Some((module, _)) => module,
            None => path.strip_suffix(".rs")?,
        };
        (module != "lib").then_some(module)
    }

    /// The text without comments and without the tests at its end.
    pub fn code(&self) -> String {
        let product = self.text.find("\n#[cfg(test)]\nmod tests {");
        let product = &self.text[..product.unwrap_or(self.text.len())];
        let lines = product.lines().filter(|line| {
            let line = line.trim_start();
            !line.starts_with("//")
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// What it uses of this crate: paths below `crate::`, each with its braces spread out.
    pub fn uses(&self) -> BTreeSet<String> {
        let code: String = self.code().split_whitespace().collect::<Vec<_>>().join(" ");
        let mut found = BTreeSet::new();
        let crate_names = ["crate::", "clerk_convex_sync::"];
        for name in crate_names {
            for (at, _) in code.match_indices(name) {
                // `$crate::` in a macro is a use like any other; `my_crate::` is none.
                let before = code[..at].chars().next_back();
                if before.is_none_or(|c| !c.is_alphanumeric() && c != '_') {
                    spread(&code[at + name.len()..], "", &mut found);
                }
            }
        }
        found
    }
}

/// Reads one path, or one group of paths in braces. Answers with what follows it.
fn spread<'a>(text: &'a str, prefix: &str, found: &mut BTreeSet<String>) -> &'a str {
    let mut rest = text.trim_start();
    let mut path = prefix.to_owned();
    loop {
        if let Some(mut inner) = rest.strip_prefix('{') {
            loop {
                inner = inner.trim_start_matches([',', ' ']);
                if let Some(after) = inner.strip_prefix('}') {
                    return after;
                }
                if inner.is_empty() {
                    return inner;
                }
                inner = spread(inner, &path, found);
            }
        }
        let end = rest
            .find(|c: char| !c.is_alphanumeric() && c != '_' && c != '*')
            .unwrap_or(rest.len());
        let word = &rest[..end];
        rest = &rest[end..];
        if !word.is_empty() && word != "self" {
            if !path.is_empty() {
                path.push_str("::");
            }
            path.push_str(word);
        }
        match rest.strip_prefix("::") {
            Some(after) if end > 0 => rest = after,
            _ => {
                found.insert(path);
                // A path that is no declaration may be followed by anything; one character is enough.
                let renamed = rest.strip_prefix(" as ").map_or(rest, |after| {
                    after.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_')
                });
                let mut chars = renamed.chars();
                return match chars.next() {
                    Some('}' | ',') | None => renamed,
                    Some(_) => chars.as_str(),
                };
            }
        }
    }
}

#[test]
fn nested_uses_are_spread_out() {
    let text = "use crate::{clerk::{self, wire::Head}, model::Key as K, queue};\n\
                // use crate::cli;\n\
                fn f() -> crate::store::Fault {}\n\
                #[cfg(test)]\nmod tests { use crate::sandbox; }\n";
    let file = Source {
        path: "src/apply/mod.rs".into(),
        text: text.into(),
    };
    let uses: Vec<_> = file.uses().into_iter().collect();
    let expected = [
        "clerk",
        "clerk::wire::Head",
        "model::Key",
        "queue",
        "store::Fault",
    ];
    assert_eq!(uses, expected);
    assert_eq!(file.module(), Some("apply"));
}
