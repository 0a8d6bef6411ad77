//! Lays the sources over one another: defaults, file, environment, credentials.
//!
//! The `config` crate merges; each layer hands it only known keys, with the place where each was
//! found. A value that is empty counts as not set. Promises to name places and keys in its mistakes,
//! never values.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use ::config::{Map, Source, Value, ValueKind};

use super::{
    credentials::{self, SECRETS},
    env::Env,
    file,
    mistake::{Mistake, nearest, shown_name},
};

/// The lowest layer, and the list of all keys.
pub(super) const DEFAULTS: &str = include_str!("../../config/default.toml");

/// The largest configuration file, in bytes: a hundred times the one with all defaults.
const LARGEST_FILE: u64 = 1024 * 1024;

/// Variables that have a name of their own.
const NAMED: [(&str, &str); 8] = [
    ("CLERK_SECRET_KEY", "clerk.secret_key"),
    ("CLERK_WEBHOOK_SECRET", "clerk.webhook_secrets"),
    ("CLERK_API_URL", "clerk.api_url"),
    ("CONVEX_URL", "convex.url"),
    ("CONVEX_DEPLOY_KEY", "convex.deploy_key"),
    ("SYNC_ENABLED", "sync.enabled"),
    ("SYNC_RETRY_MAX_ATTEMPTS", "sync.retry_max_attempts"),
    ("SYNC_RETRY_DELAY_MS", "sync.retry_delay_ms"),
];

/// The variable by which a key is best set.
pub(super) fn variable_of(key: &str) -> String {
    NAMED.iter().find(|(_, named)| *named == key).map_or_else(
        || format!("CCS_{}", key.replace('.', "__").to_ascii_uppercase()),
        |(variable, _)| (*variable).to_owned(),
    )
}

/// The keys and sections there are.
pub(super) struct Known {
    keys: BTreeSet<String>,
    sections: BTreeSet<String>,
}

impl Known {
    fn of(defaults: &Layer) -> Self {
        let keys: BTreeSet<String> = defaults.values.keys().cloned().collect();
        let sections = keys
            .iter()
            .filter_map(|key| key.split_once('.'))
            .map(|(section, _)| section.to_owned())
            .collect();
        Known { keys, sections }
    }

    pub fn is_key(&self, key: &str) -> bool {
        self.keys.contains(key)
    }

    pub fn is_section(&self, name: &str) -> bool {
        self.sections.contains(name)
    }

    pub fn keys_and_sections(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().chain(&self.sections).map(String::as_str)
    }
}

/// The known keys that one source sets, and where.
#[derive(Clone, Default)]
pub(super) struct Layer {
    pub values: BTreeMap<String, Value>,
    pub sources: BTreeMap<String, String>,
}

impl Layer {
    /// Sets a key; a later value of the same key replaces the earlier one.
    pub fn put(&mut self, key: String, value: Value, source: String) {
        self.sources.insert(key.clone(), source);
        self.values.insert(key, value);
    }

    /// Takes a key out and says where it was set.
    pub fn remove(&mut self, key: &str) -> Option<String> {
        self.values.remove(key)?;
        self.sources.remove(key)
    }

    /// Whether a key is set to something: no empty text, no empty list.
    fn holds(&self, key: &str) -> bool {
        let value = self.values.get(key).map(|value| &value.kind);
        let empty_list = matches!(value, Some(ValueKind::Array(items)) if items.is_empty());
        value.is_some() && !empty_list && !self.is_empty_text(key)
    }

    /// Whether a key is set to a text of nothing.
    pub fn is_empty_text(&self, key: &str) -> bool {
        matches!(self.values.get(key).map(|value| &value.kind),
                 Some(ValueKind::String(text)) if text.trim().is_empty())
    }
}

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self.values.clone().into_iter().collect())
    }
}

/// All sources laid over one another.
pub(super) struct Gathered {
    /// The value of each key that has one.
    pub values: BTreeMap<String, Value>,
    /// What each key is by default.
    pub defaults: BTreeMap<String, Value>,
    /// Where each key was last set.
    pub sources: BTreeMap<String, String>,
    /// Where a key was set to nothing.
    pub empties: BTreeMap<String, String>,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// False if that file could not be understood: then nothing can be said about missing keys.
    pub sound: bool,
    /// What was wrong so far.
    pub mistakes: Vec<Mistake>,
    /// What is odd, but no reason to stop.
    pub warnings: Vec<String>,
}

/// Reads every source.
pub(super) fn gather(named_file: Option<&Path>, env: &Env) -> Gathered {
    let defaults = file::read_defaults(DEFAULTS);
    let known = Known::of(&defaults);
    let mut gathered = Gathered {
        values: BTreeMap::new(),
        defaults: defaults.values.clone(),
        sources: BTreeMap::new(),
        empties: BTreeMap::new(),
        file: None,
        sound: true,
        mistakes: Vec::new(),
        warnings: Vec::new(),
    };
    let mut layers = vec![
        file_layer(named_file, env, &known, &mut gathered),
        environment_layer(env, &known, &mut gathered),
        credentials::layer(env, &mut gathered),
    ];
    for layer in &mut layers {
        credentials::resolve_files(layer, &mut gathered);
        drop_empty(layer, &mut gathered);
    }
    layers.insert(0, defaults);
    for layer in &layers {
        gathered.sources.extend(layer.sources.clone());
    }
    gathered.values = merge(&known, layers, &mut gathered.mistakes);
    gathered
}

fn merge(
    known: &Known,
    layers: Vec<Layer>,
    mistakes: &mut Vec<Mistake>,
) -> BTreeMap<String, Value> {
    let mut builder = config::Config::builder();
    for layer in layers {
        builder = builder.add_source(layer);
    }
    let Ok(sections) = builder.build().and_then(|merged| merged.collect()) else {
        // The crate's own message could hold a value.
        mistakes.push(Mistake::new(
            "configuration",
            "",
            "the sources cannot be merged",
            "try with fewer of them to find the one that is at fault",
        ));
        return BTreeMap::new();
    };
    let mut values = BTreeMap::new();
    for (section, keys) in sections {
        let ValueKind::Table(keys) = keys.kind else {
            continue;
        };
        for (name, value) in keys {
            let key = format!("{section}.{name}");
            if known.is_key(&key) {
                values.insert(key, value);
            }
        }
    }
    values
}

fn file_layer(named: Option<&Path>, env: &Env, known: &Known, gathered: &mut Gathered) -> Layer {
    let Some(path) = named.or_else(|| env.default_file().filter(|file| file.exists())) else {
        return Layer::default();
    };
    let name = path.display().to_string();
    gathered.file = Some(path.to_owned());
    match read_bounded(path, LARGEST_FILE) {
        Ok(text) => {
            let read = file::read(&name, &text, known);
            gathered.sound = read.sound;
            gathered.mistakes.extend(read.mistakes);
            let holds_secret = SECRETS.iter().any(|(key, _)| read.layer.holds(key));
            if holds_secret && is_open_to_all(path) {
                gathered.warnings.push(format!(
                    "{name} holds a secret and can be read by every user of this machine; \
                     `chmod 600` it, or give the secret by file or credential"
                ));
            }
            read.layer
        }
        Err(problem) => {
            gathered.sound = false;
            gathered.mistakes.push(Mistake::new(
                name,
                "",
                format!("the configuration file cannot be read: {problem}"),
                "name a file that exists and that this user may read, or leave --config out",
            ));
            Layer::default()
        }
    }
}

fn environment_layer(env: &Env, known: &Known, gathered: &mut Gathered) -> Layer {
    let mut layer = Layer::default();
    for (variable, value) in env.variables() {
        let Some(path) = variable.strip_prefix("CCS_") else {
            continue;
        };
        // Not a setting: only tests build with this feature, and name by it what is to be broken.
        if cfg!(feature = "twins") && path == "TWIN" {
            continue;
        }
        let key = path.to_ascii_lowercase().replace("__", ".");
        if known.is_key(&key) {
            put_text(&mut layer, key, value, variable);
        } else {
            gathered
                .mistakes
                .push(unknown_variable(variable, &key, known));
        }
    }
    for (name, key) in NAMED {
        let by_file = (format!("{name}_FILE"), format!("{key}_file"));
        for (variable, key) in [(name.to_owned(), key.to_owned()), by_file] {
            let Some(value) = env.variable(&variable).filter(|_| known.is_key(&key)) else {
                continue;
            };
            if layer.values.contains_key(&key) {
                gathered.warnings.push(format!(
                    "`{key}` is set by {variable} and by {}; {variable} counts",
                    layer.sources[&key]
                ));
            }
            put_text(&mut layer, key, value, &variable);
        }
    }
    for variable in env.not_unicode() {
        let named = variable.strip_suffix("_FILE").unwrap_or(variable);
        let ours = variable.starts_with("CCS_") || NAMED.iter().any(|(name, _)| *name == named);
        if ours {
            gathered.mistakes.push(Mistake::new(
                format!("environment {}", shown_name(variable)),
                "",
                "the value is not UTF-8 text",
                "set it again",
            ));
        }
    }
    layer
}

fn put_text(layer: &mut Layer, key: String, value: &str, variable: &str) {
    let kind = ValueKind::String(value.trim().to_owned());
    layer.put(
        key,
        Value::new(None, kind),
        format!("environment {variable}"),
    );
}

fn unknown_variable(variable: &str, key: &str, known: &Known) -> Mistake {
    let keys = known.keys_and_sections().filter(|key| key.contains('.'));
    let free_table = ["users.insert_defaults.", "users.extra_fields."]
        .into_iter()
        .find(|table| key.starts_with(table));
    let remedy = match (free_table, nearest(key, keys)) {
        (Some(table), _) => format!(
            "give the whole table as one JSON object in {}",
            variable_of(table.trim_end_matches('.'))
        ),
        (None, Some(meant)) => format!("did you mean {} (`{meant}`)?", variable_of(meant)),
        (None, None) => "remove it".to_owned(),
    };
    Mistake::new(
        format!("environment {}", shown_name(variable)),
        shown_name(key),
        "is not a known key",
        remedy,
    )
}

/// Takes out what is set to nothing, so that the layer below counts, and remembers where it was.
fn drop_empty(layer: &mut Layer, gathered: &mut Gathered) {
    let empty: Vec<String> = layer
        .values
        .keys()
        .filter(|key| layer.is_empty_text(key))
        .cloned()
        .collect();
    for key in empty {
        let Some(source) = layer.remove(&key) else {
            continue;
        };
        let default = gathered.defaults.get(&key).map(|value| &value.kind);
        let nothing_lost = matches!(default, Some(ValueKind::String(text)) if text.is_empty());
        let secret = SECRETS.iter().any(|(secret, _)| *secret == key);
        if !nothing_lost && !secret {
            gathered.warnings.push(format!(
                "`{key}` is empty in {source} and counts as not set"
            ));
        }
        // A configuration file may be a copy of the one with all defaults, where "" means "none".
        if !gathered.is_file_place(&source) {
            gathered.empties.insert(key, source);
        }
    }
}

impl Gathered {
    fn is_file_place(&self, source: &str) -> bool {
        self.file
            .as_ref()
            .is_some_and(|file| source.starts_with(&format!("{}:", file.display())))
    }
}

fn is_open_to_all(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o004 != 0)
}

/// A file's text, or why there is none, without its name.
pub(super) fn read_bounded(path: &Path, most: u64) -> Result<String, String> {
    let open = fs::File::open(path).map_err(|error| unreadable(&error))?;
    let mut text = String::new();
    open.take(most + 1)
        .read_to_string(&mut text)
        .map_err(|error| unreadable(&error))?;
    if text.len() as u64 > most {
        return Err(format!("it is larger than {most} bytes"));
    }
    // Some editors put a byte order mark first, which is no part of a secret.
    Ok(match text.strip_prefix('\u{feff}') {
        Some(plain) => plain.to_owned(),
        None => text,
    })
}

/// Why a file cannot be read, for a person: the number of the error says nothing, and its kind little.
pub(super) fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "this user may not read it".to_owned(),
        io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
        io::ErrorKind::InvalidData => "it is not UTF-8 text".to_owned(),
        other => other.to_string(),
    }
}
