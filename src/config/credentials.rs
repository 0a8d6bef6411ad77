//! Secrets that stand in files: systemd credentials, and files that a setting names.
//!
//! Knows the names a credential may have. Reads a bounded amount and trims the line end that editors
//! leave. A file's name is not repeated in a mistake when a secret may have been given in its place.

use std::path::Path;

use ::config::{Value, ValueKind};

use super::{
    env::Env,
    layers::{Gathered, Layer, read_bounded, variable_of},
    mistake::Mistake,
};

/// The largest file with a secret, in bytes: ten webhook secrets are below one KiB.
const LARGEST_SECRET: u64 = 64 * 1024;

/// Keys that hold a secret, and further names that a credential with it may have.
pub(super) const SECRETS: [(&str, &[&str]); 7] = [
    ("clerk.secret_key", &[]),
    ("clerk.webhook_secrets", &[]),
    ("convex.deploy_key", &[]),
    ("admin.token", &[]),
    ("admin.operate_token", &[]),
    ("admin.read_token", &[]),
    ("state.encryption_key", &["state_keys"]),
];

/// The secrets in systemd's credentials directory.
pub(super) fn layer(env: &Env, gathered: &mut Gathered) -> Layer {
    let mut layer = Layer::default();
    let Some(directory) = env.credentials() else {
        return layer;
    };
    for (key, more) in SECRETS {
        let names = [
            variable_of(key).to_ascii_lowercase(),
            format!("ccs_{}", key.replace('.', "__")),
            key.replace('.', "_"),
        ];
        let names = names.iter().map(String::as_str).chain(more.iter().copied());
        let spellings = names.flat_map(|name| [name.to_owned(), name.replace('_', "-")]);
        let Some((name, path)) = spellings
            .map(|name| (name.clone(), directory.join(name)))
            .find(|(_, path)| path.is_file())
        else {
            continue;
        };
        let source = format!("credential {name}");
        match read_bounded(&path, LARGEST_SECRET) {
            Ok(text) => {
                let kind = ValueKind::String(text.trim().to_owned());
                layer.put(key.to_owned(), Value::new(None, kind), source);
            }
            Err(problem) => gathered.mistakes.push(Mistake::new(
                source,
                key,
                format!("cannot be read: {problem}"),
                "see LoadCredential= in the unit",
            )),
        }
    }
    layer
}

/// Puts the content of the files that a layer names in the place of the secrets they stand for.
pub(super) fn resolve_files(layer: &mut Layer, gathered: &mut Gathered) {
    for (key, _) in SECRETS {
        let by_file = format!("{key}_file");
        if layer.is_empty_text(&by_file) {
            layer.remove(&by_file);
        }
        let Some(value) = layer.values.get(&by_file) else {
            continue;
        };
        let place = layer.sources[&by_file].clone();
        let content = match &value.kind {
            ValueKind::String(path) => read_bounded(Path::new(path), LARGEST_SECRET),
            _ => Err("its name must be a text".to_owned()),
        };
        match content {
            Ok(text) => {
                if layer.values.contains_key(key) && !layer.is_empty_text(key) {
                    gathered.warnings.push(format!(
                        "`{key}` is set by {} and by the file that {place} names; the file counts",
                        layer.sources[key]
                    ));
                }
                let kind = ValueKind::String(text.trim().to_owned());
                let source = format!("the file named by {place}");
                layer.put(key.to_owned(), Value::new(None, kind), source);
            }
            // The name is not repeated: a secret may have been given in its place.
            Err(problem) => gathered.mistakes.push(Mistake::new(
                place,
                by_file,
                format!("the file that it names cannot be read: {problem}"),
                "name a file that exists and that this user may read",
            )),
        }
    }
}
