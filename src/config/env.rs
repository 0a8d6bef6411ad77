//! The environment as a value.
//!
//! The only file of the crate that reads the process's environment, and only in
//! [`Env::from_process`]; everything else, tests first, is handed an [`Env`]. It knows nothing of
//! which variables mean what.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

/// Where the configuration is looked for when no file is named.
pub const DEFAULT_FILE: &str = "/etc/clerk-convex-sync/config.toml";

/// The variables, the credentials directory and the file that is read when none is named.
#[derive(Clone, Default)]
pub struct Env {
    variables: BTreeMap<String, String>,
    not_unicode: Vec<String>,
    credentials: Option<PathBuf>,
    default_file: Option<PathBuf>,
}

impl Env {
    /// An environment of these variables; `CREDENTIALS_DIRECTORY` among them names the credentials.
    /// No file is read unless one is named.
    pub fn new<K: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        let variables: BTreeMap<String, String> = pairs
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        let credentials = variables
            .get("CREDENTIALS_DIRECTORY")
            .filter(|dir| !dir.is_empty())
            .map(PathBuf::from);
        Env {
            variables,
            credentials,
            ..Env::default()
        }
    }

    /// The environment of this process, with [`DEFAULT_FILE`].
    #[expect(
        clippy::disallowed_methods,
        reason = "this is where the environment is read"
    )]
    pub fn from_process() -> Self {
        let mut not_unicode = Vec::new();
        let pairs: Vec<(String, String)> = std::env::vars_os()
            .filter_map(|(name, value)| {
                let name = name.into_string().ok()?;
                match value.into_string() {
                    Ok(value) => Some((name, value)),
                    Err(_) => {
                        not_unicode.push(name);
                        None
                    }
                }
            })
            .collect();
        Env {
            not_unicode,
            default_file: Some(PathBuf::from(DEFAULT_FILE)),
            ..Env::new(pairs)
        }
    }

    /// The same with another file to read when none is named and it exists.
    pub fn with_default_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.default_file = Some(file.into());
        self
    }

    /// The value of a variable, if it is set and readable.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// All variables, by name.
    pub(super) fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Variables whose value is not UTF-8.
    pub(super) fn not_unicode(&self) -> &[String] {
        &self.not_unicode
    }

    /// The directory with systemd's credentials.
    pub(super) fn credentials(&self) -> Option<&Path> {
        self.credentials.as_deref()
    }

    /// The file to read when none is named.
    pub(super) fn default_file(&self) -> Option<&Path> {
        self.default_file.as_deref()
    }
}

/// Names only the number of variables: their values may be secrets.
impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Env")
            .field("variables", &self.variables.len())
            .field("credentials", &self.credentials)
            .field("default_file", &self.default_file)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_value() {
        let env = Env::new([("CLERK_SECRET_KEY", "sk_live_planted")]);
        assert!(!format!("{env:?}").contains("planted"));
        assert_eq!(env.variable("CLERK_SECRET_KEY"), Some("sk_live_planted"));
        assert_eq!(env.variable("CLERK_API_URL"), None);
    }

    #[test]
    fn the_credentials_directory_comes_from_its_variable() {
        let env = Env::new([("CREDENTIALS_DIRECTORY", "/run/credentials/x")]);
        assert_eq!(env.credentials(), Some(Path::new("/run/credentials/x")));
        assert_eq!(
            Env::new([("CREDENTIALS_DIRECTORY", "")]).credentials(),
            None
        );
    }
}
