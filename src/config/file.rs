//! Reads a TOML text into a layer, key by key, with the line of each.
//!
//! Knows that a known key is `section.key` and nothing deeper. Parser messages are built from the
//! grammar alone: the text around a mistake is never repeated, since a secret may stand there.

use std::cmp::Reverse;

use ::config::{Value, ValueKind};
use toml::de::{DeTable, DeValue};

use super::{
    credentials::SECRETS,
    layers::{Known, Layer},
    mistake::{Mistake, nearest, shown_name},
};

/// Syntax mistakes that are listed of one file; the parser can find many after one slip.
const SYNTAX_MISTAKES: usize = 20;

/// Stands for a number that is larger than any setting may be: of a type that no setting has, so that
/// it is refused and never taken for "not set".
const TOO_LARGE: ValueKind = ValueKind::U64(u64::MAX);

/// What a file holds.
pub(super) struct Read {
    /// Its known keys.
    pub layer: Layer,
    /// What is wrong with it.
    pub mistakes: Vec<Mistake>,
    /// False if it is not TOML; then the layer is empty, and a missing key means nothing.
    pub sound: bool,
}

/// The compiled-in lowest layer, which also says what keys there are.
pub(super) fn read_defaults(text: &str) -> Layer {
    let (document, _) = DeTable::parse_recoverable(text);
    let mut layer = Layer::default();
    for (section, keys) in document.get_ref() {
        let keys = keys.get_ref().as_table().into_iter().flatten();
        for (name, value) in keys {
            let key = format!("{}.{}", section.get_ref(), name.get_ref());
            layer.put(key, value_of(value.get_ref()), "default.toml".to_owned());
        }
    }
    layer
}

/// Reads a file's text; `name` is how the file is called in messages.
pub(super) fn read(name: &str, text: &str, known: &Known) -> Read {
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Read {
            layer: Layer::default(),
            mistakes: syntax_mistakes(name, text, &errors),
            sound: false,
        };
    }
    let mut read = Read {
        layer: Layer::default(),
        mistakes: Vec::new(),
        sound: true,
    };
    for (section, value) in document.get_ref() {
        let place = |at: usize| format!("{name}:{}", line_of(text, at));
        let source = place(section.span().start);
        let section = section.get_ref().as_ref();
        match value.get_ref().as_table() {
            Some(keys) if known.is_section(section) => {
                for (key, value) in keys {
                    let source = place(key.span().start);
                    let path = format!("{section}.{}", key.get_ref());
                    if known.is_key(&path) {
                        read.layer.put(path, value_of(value.get_ref()), source);
                    } else {
                        read.mistakes.push(unknown(source, &path, known));
                    }
                }
            }
            None if known.is_section(section) => read.mistakes.push(Mistake::new(
                source,
                section,
                "is a section, but holds a single value",
                format!("write `[{section}]` on a line of its own and its keys below"),
            )),
            _ => read.mistakes.push(unknown(source, section, known)),
        }
    }
    read
}

/// The beginnings of keys that services give out.
const GIVEN_OUT: [&str; 3] = ["sk_live_", "sk_test_", "whsec_"];

/// A file's text as it may be shown: without the values of secrets, and without lines that hold a key all the same,
/// such as those that were taken out by a `#`. Nothing of a text that is not TOML, where no value can be told.
pub fn without_secrets(text: &str) -> String {
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return String::new();
    }
    let mut spans = Vec::new();
    for (section, keys) in document.get_ref() {
        for (name, value) in keys.get_ref().as_table().into_iter().flatten() {
            let key = format!("{}.{}", section.get_ref(), name.get_ref());
            if SECRETS.iter().any(|(secret, _)| *secret == key) {
                spans.push(value.span());
            }
        }
    }
    spans.sort_by_key(|span| Reverse(span.start));
    let mut shown = text.to_owned();
    for span in spans {
        shown.replace_range(span, "\"(a secret)\"");
    }
    let lines = shown.split_inclusive('\n');
    lines
        .map(|line| {
            if holds_key(line) {
                "# (a secret)\n"
            } else {
                line
            }
        })
        .collect()
}

fn holds_key(line: &str) -> bool {
    let followed = |rest: &str| rest.starts_with(|c: char| c.is_ascii_alphanumeric());
    GIVEN_OUT
        .iter()
        .any(|beginning| line.split(beginning).skip(1).any(followed))
}

fn unknown(source: String, name: &str, known: &Known) -> Mistake {
    let remedy = match nearest(name, known.keys_and_sections()) {
        Some(key) => match key.split_once('.') {
            Some((section, last)) => {
                format!("did you mean `{last}` under `[{section}]` (`{key}`)?")
            }
            None => format!("did you mean the section `[{key}]`?"),
        },
        None => "remove it".to_owned(),
    };
    Mistake::new(source, shown_name(name), "is not a known key", remedy)
}

fn syntax_mistakes(name: &str, text: &str, errors: &[toml::de::Error]) -> Vec<Mistake> {
    let mut mistakes: Vec<Mistake> = Vec::new();
    let mut errors: Vec<&toml::de::Error> = errors.iter().collect();
    errors.sort_by_key(|error| error.span().map(|span| span.start));
    for error in errors {
        let source = match error.span() {
            Some(span) => format!("{name}:{}", line_of(text, span.start)),
            None => name.to_owned(),
        };
        // One slip often breaks the grammar several times on its line; the first says enough.
        let said = mistakes.iter().any(|earlier| earlier.source == source);
        if !said && mistakes.len() < SYNTAX_MISTAKES {
            mistakes.push(Mistake::new(
                source,
                "",
                format!("this line is not valid TOML: {}", error.message()),
                "correct it; texts stand in double quotes, and each key has one `=`",
            ));
        }
    }
    mistakes
}

/// The line of a byte of the text, from 1.
fn line_of(text: &str, at: usize) -> usize {
    let before = &text.as_bytes()[..at.min(text.len())];
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

fn value_of(value: &DeValue<'_>) -> Value {
    let kind = match value {
        DeValue::String(text) => ValueKind::String(text.to_string()),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).map_or(TOO_LARGE, ValueKind::I64)
        }
        DeValue::Float(number) => number.as_str().parse().map_or(TOO_LARGE, ValueKind::Float),
        DeValue::Boolean(flag) => ValueKind::Boolean(*flag),
        DeValue::Datetime(time) => ValueKind::String(time.to_string()),
        DeValue::Array(items) => {
            ValueKind::Array(items.iter().map(|item| value_of(item.get_ref())).collect())
        }
        DeValue::Table(table) => ValueKind::Table(
            table
                .iter()
                .map(|(name, value)| (name.get_ref().to_string(), value_of(value.get_ref())))
                .collect(),
        ),
    };
    Value::new(None, kind)
}
