//! Reads the merged values key by key, so that every mistake is found and not only the first.
//!
//! Each method answers `None` when it has noted a mistake, and the section then has none either; the
//! configuration exists only when no mistake was noted. Promises never to put a value into a message:
//! a secret may stand under any key.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    path::PathBuf,
    time::Duration,
};

use ::config::{Value, ValueKind};
use humantime_serde::re::humantime;

mod network;

pub(super) use network::is_loopback;
mod secrets;

use super::{
    credentials::SECRETS,
    layers::{Gathered, variable_of},
    mistake::Mistake,
};
use crate::model::Fields;

/// The merged values, and what has been found wrong with them.
pub(super) struct Reader {
    gathered: Gathered,
    asked: BTreeSet<String>,
}

impl Reader {
    pub fn new(gathered: Gathered) -> Self {
        Reader {
            gathered,
            asked: BTreeSet::new(),
        }
    }

    /// What was gathered, with all mistakes and warnings, and the keys that were asked for.
    pub fn finish(self) -> (Gathered, BTreeSet<String>) {
        (self.gathered, self.asked)
    }

    /// Notes a mistake about a key, at the place where it was last set.
    pub fn mistake(&mut self, key: &str, problem: impl Into<String>, remedy: impl Into<String>) {
        let source = match self.gathered.sources.get(key) {
            Some(source) => source.clone(),
            None => format!("environment {}", variable_of(key)),
        };
        let mut remedy = remedy.into();
        if self.is_quoted(key) {
            remedy += "; and take away the quotes that are part of the value";
        }
        self.gathered
            .mistakes
            .push(Mistake::new(source, key, problem, remedy));
    }

    /// Whether a text begins and ends with a quote: some that set variables, such as `docker run --env-file`, take
    /// the quotes for a part of the value.
    fn is_quoted(&self, key: &str) -> bool {
        let value = self.gathered.values.get(key).map(|value| &value.kind);
        matches!(value, Some(ValueKind::String(text))
            if ['"', '\''].iter().any(|quote| text.starts_with(*quote) && text.ends_with(*quote)))
    }

    /// Notes something odd that is no reason to stop.
    pub fn warn(&mut self, sentence: impl Into<String>) {
        self.gathered.warnings.push(sentence.into());
    }

    fn kind(&mut self, key: &str) -> Option<ValueKind> {
        self.asked.insert(key.to_owned());
        self.gathered
            .values
            .get(key)
            .map(|value| value.kind.clone())
    }

    /// Whether the value came as text from outside the file, where numbers and flags are texts too.
    fn came_as_text(&self, key: &str) -> bool {
        let source = self.gathered.sources.get(key);
        source.is_some_and(|source| source.starts_with("environment "))
    }

    /// Notes that a required key has no value.
    fn missing<T>(&mut self, key: &str) -> Option<T> {
        if !self.gathered.sound {
            return None;
        }
        // Of a file that could not be read its own mistake is told, and one is enough.
        let file = format!("{key}_file");
        if self.gathered.mistakes.iter().any(|one| one.key == file) {
            return None;
        }
        let secret = SECRETS.iter().any(|(secret, _)| *secret == key);
        let (section, name) = key.split_once('.').unwrap_or(("", key));
        let variable = variable_of(key);
        let mut remedy = format!("set {variable}, or `{name}` under `[{section}]`");
        if secret {
            let credential = variable.to_ascii_lowercase().replace('_', "-");
            remedy = format!(
                "{remedy}, or name a file in {variable}_FILE, or load a credential {credential}"
            );
        }
        let (source, problem) = match self.gathered.empties.get(key) {
            Some(source) => (source.clone(), "is set, but to nothing"),
            None => match &self.gathered.file {
                Some(file) => (file.display().to_string(), "is required and missing"),
                None => (format!("environment {variable}"), "is required and missing"),
            },
        };
        self.gathered
            .mistakes
            .push(Mistake::new(source, key, problem, remedy));
        None
    }

    /// A text; `Some(None)` when it is not set.
    pub fn optional_text(&mut self, key: &str) -> Option<Option<String>> {
        match self.kind(key) {
            None | Some(ValueKind::Nil) => Some(None),
            Some(ValueKind::String(text)) if text.trim().is_empty() => Some(None),
            Some(ValueKind::String(text)) => Some(Some(text.trim().to_owned())),
            Some(_) => {
                self.mistake(key, "must be a text", "put it in double quotes");
                None
            }
        }
    }

    /// A text that must be there.
    pub fn text(&mut self, key: &str) -> Option<String> {
        match self.optional_text(key)? {
            Some(text) => Some(text),
            None => self.missing(key),
        }
    }

    /// A path; `Some(None)` when it is not set.
    pub fn optional_path(&mut self, key: &str) -> Option<Option<PathBuf>> {
        Some(self.optional_text(key)?.map(PathBuf::from))
    }

    /// `true` or `false`.
    pub fn flag(&mut self, key: &str) -> Option<bool> {
        let parsed = match self.kind(key) {
            Some(ValueKind::Boolean(flag)) => Some(flag),
            Some(ValueKind::String(text)) if self.came_as_text(key) => {
                match text.trim().to_ascii_lowercase().as_str() {
                    "true" | "1" | "yes" | "on" => Some(true),
                    "false" | "0" | "no" | "off" => Some(false),
                    _ => None,
                }
            }
            _ => None,
        };
        if parsed.is_none() {
            self.mistake(
                key,
                "must be true or false",
                "write true or false, without quotes",
            );
        }
        parsed
    }

    /// A whole number within a range.
    pub fn whole(&mut self, key: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let parsed = match self.kind(key) {
            Some(ValueKind::I64(number)) => Some(i128::from(number)),
            Some(ValueKind::String(text)) if self.came_as_text(key) => {
                text.trim().parse::<i128>().ok()
            }
            _ => None,
        };
        let within = parsed
            .and_then(|number| u64::try_from(number).ok())
            .filter(|number| range.contains(number));
        if within.is_none() {
            let problem = match parsed {
                None => "must be a whole number, without quotes",
                Some(_) => "is out of range",
            };
            let remedy = format!("give a number from {} to {}", range.start(), range.end());
            self.mistake(key, problem, remedy);
        }
        within
    }

    /// A whole number that counts things in memory.
    pub fn count(&mut self, key: &str, range: RangeInclusive<u64>) -> Option<usize> {
        usize::try_from(self.whole(key, range)?).ok()
    }

    /// A whole number that fits 32 bits; the range must.
    pub fn small(&mut self, key: &str, range: RangeInclusive<u32>) -> Option<u32> {
        let range = u64::from(*range.start())..=u64::from(*range.end());
        u32::try_from(self.whole(key, range)?).ok()
    }

    /// A share from 0.0 to 1.0.
    pub fn ratio(&mut self, key: &str) -> Option<f64> {
        let parsed = match self.kind(key) {
            Some(ValueKind::Float(number)) => Some(number),
            Some(ValueKind::I64(number @ 0..=1)) => Some(number as f64),
            Some(ValueKind::String(text)) if self.came_as_text(key) => text.trim().parse().ok(),
            _ => None,
        };
        let within = parsed.filter(|number| (0.0..=1.0).contains(number));
        if within.is_none() {
            self.mistake(
                key,
                "must be a number from 0.0 to 1.0",
                "give a share, such as 0.05 for five in a hundred",
            );
        }
        within
    }

    /// A length of time within a range, written with its unit.
    pub fn duration(&mut self, key: &str, range: RangeInclusive<Duration>) -> Option<Duration> {
        let parsed = match self.kind(key) {
            Some(ValueKind::String(text)) => humantime::parse_duration(text.trim()).ok(),
            _ => None,
        };
        let within = parsed.filter(|length| range.contains(length));
        if within.is_none() {
            let problem = match parsed {
                None if self.came_as_text(key) => "must be a duration with its unit, such as 30s",
                None => "must be a duration with its unit, in double quotes, such as \"30s\"",
                Some(_) => "is out of range",
            };
            let remedy = format!(
                "give a duration from {} to {}",
                humantime::format_duration(*range.start()),
                humantime::format_duration(*range.end())
            );
            self.mistake(key, problem, remedy);
        }
        within
    }

    /// One of several words.
    pub fn choice<T: Clone>(&mut self, key: &str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        let chosen = choices.iter().find(|(word, _)| *word == text);
        if chosen.is_none() {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            self.mistake(
                key,
                "is none of the possible values",
                format!("write one of: {}", words.join(", ")),
            );
        }
        chosen.map(|(_, value)| value.clone())
    }

    /// A list of texts. Outside the file (and for a secret's file) one text separated by commas,
    /// spaces or lines, or one JSON list.
    pub fn texts(&mut self, key: &str, most: usize) -> Option<Vec<String>> {
        let texts: Option<Vec<String>> = match self.kind(key) {
            None | Some(ValueKind::Nil) => Some(Vec::new()),
            Some(ValueKind::String(text)) if text.trim_start().starts_with('[') => {
                let items = serde_json::from_str::<Vec<String>>(&text).ok();
                items.map(|items| items.iter().map(|item| item.trim().to_owned()).collect())
            }
            Some(ValueKind::String(text)) => Some(
                text.split(|c: char| c == ',' || c.is_whitespace())
                    .filter(|part| !part.is_empty())
                    .map(str::to_owned)
                    .collect(),
            ),
            Some(ValueKind::Array(items)) => items.into_iter().map(text_of).collect(),
            Some(_) => None,
        };
        let Some(texts) = texts else {
            self.mistake(key, "must be a list of texts", "write [\"one\", \"two\"]");
            return None;
        };
        if texts.len() > most {
            let problem = format!("has {} entries", texts.len());
            self.mistake(key, problem, format!("give at most {most}"));
            return None;
        }
        Some(texts)
    }

    /// A table of anything. Outside the file one JSON object.
    pub fn table(&mut self, key: &str) -> Option<Fields> {
        let table = match self.kind(key) {
            None | Some(ValueKind::Nil) => Some(Fields::new()),
            Some(ValueKind::Table(table)) => table
                .into_iter()
                .map(|(name, value)| Some((name, json_of(value)?)))
                .collect(),
            Some(ValueKind::String(text)) if self.came_as_text(key) => {
                serde_json::from_str(&text).ok()
            }
            Some(_) => None,
        };
        if table.is_none() {
            let remedy = match self.came_as_text(key) {
                true => "write one JSON object, such as {\"column\": 1}",
                false => "write { column = 1 }",
            };
            self.mistake(key, "must be a table of names and values", remedy);
        }
        table
    }
}

fn text_of(value: Value) -> Option<String> {
    match value.kind {
        ValueKind::String(text) => Some(text.trim().to_owned()),
        _ => None,
    }
}

fn json_of(value: Value) -> Option<serde_json::Value> {
    use serde_json::Value as Json;
    Some(match value.kind {
        ValueKind::Boolean(flag) => Json::Bool(flag),
        ValueKind::I64(number) => Json::from(number),
        ValueKind::Float(number) => Json::Number(serde_json::Number::from_f64(number)?),
        ValueKind::String(text) => Json::String(text),
        ValueKind::Array(items) => {
            Json::Array(items.into_iter().map(json_of).collect::<Option<_>>()?)
        }
        ValueKind::Table(table) => Json::Object(
            table
                .into_iter()
                .map(|(name, value)| Some((name, json_of(value)?)))
                .collect::<Option<BTreeMap<_, _>>>()?
                .into_iter()
                .collect(),
        ),
        _ => return None,
    })
}
