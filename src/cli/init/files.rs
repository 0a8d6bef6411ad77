//! What `init` writes, compiled in: the Convex functions and the starter configuration.
//!
//! Paths are relative to the directory of a project's functions. Tests and what only they need stay
//! out; a test here holds the list and the directory together.

/// The package: the module that the daemon calls, and the library behind it.
pub(super) const PACKAGE: &[(&str, &str)] = &[
    ("clerkSync.ts", include_str!("../../../convex/clerkSync.ts")),
    (
        "clerkSyncLib/apply.ts",
        include_str!("../../../convex/clerkSyncLib/apply.ts"),
    ),
    (
        "clerkSyncLib/cascade.ts",
        include_str!("../../../convex/clerkSyncLib/cascade.ts"),
    ),
    (
        "clerkSyncLib/database.ts",
        include_str!("../../../convex/clerkSyncLib/database.ts"),
    ),
    (
        "clerkSyncLib/edits.ts",
        include_str!("../../../convex/clerkSyncLib/edits.ts"),
    ),
    (
        "clerkSyncLib/factory.ts",
        include_str!("../../../convex/clerkSyncLib/factory.ts"),
    ),
    (
        "clerkSyncLib/fits.ts",
        include_str!("../../../convex/clerkSyncLib/fits.ts"),
    ),
    (
        "clerkSyncLib/hooks.ts",
        include_str!("../../../convex/clerkSyncLib/hooks.ts"),
    ),
    (
        "clerkSyncLib/list.ts",
        include_str!("../../../convex/clerkSyncLib/list.ts"),
    ),
    (
        "clerkSyncLib/merge.ts",
        include_str!("../../../convex/clerkSyncLib/merge.ts"),
    ),
    (
        "clerkSyncLib/newest.ts",
        include_str!("../../../convex/clerkSyncLib/newest.ts"),
    ),
    (
        "clerkSyncLib/organization.ts",
        include_str!("../../../convex/clerkSyncLib/organization.ts"),
    ),
    (
        "clerkSyncLib/refusal.ts",
        include_str!("../../../convex/clerkSyncLib/refusal.ts"),
    ),
    (
        "clerkSyncLib/remove.ts",
        include_str!("../../../convex/clerkSyncLib/remove.ts"),
    ),
    (
        "clerkSyncLib/rows.ts",
        include_str!("../../../convex/clerkSyncLib/rows.ts"),
    ),
    (
        "clerkSyncLib/schema.ts",
        include_str!("../../../convex/clerkSyncLib/schema.ts"),
    ),
    (
        "clerkSyncLib/settings.ts",
        include_str!("../../../convex/clerkSyncLib/settings.ts"),
    ),
    (
        "clerkSyncLib/strays.ts",
        include_str!("../../../convex/clerkSyncLib/strays.ts"),
    ),
    (
        "clerkSyncLib/tables.ts",
        include_str!("../../../convex/clerkSyncLib/tables.ts"),
    ),
    (
        "clerkSyncLib/upsert.ts",
        include_str!("../../../convex/clerkSyncLib/upsert.ts"),
    ),
    (
        "clerkSyncLib/wire.ts",
        include_str!("../../../convex/clerkSyncLib/wire.ts"),
    ),
];

/// The module of the package that holds the app's own names and hooks, and is for the app to edit.
pub(super) const EDITED: &str = "clerkSync.ts";

/// The schema of a project that has none. A project that has one keeps it: it holds the app's tables.
pub(super) const SCHEMA: (&str, &str) = ("schema.ts", include_str!("../../../convex/schema.ts"));

/// The starter configuration's name where none is given.
pub(super) const CONFIG_NAME: &str = "clerk-convex-sync.toml";

/// The starter configuration.
pub(super) const CONFIG: &str = include_str!("starter.toml");

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use super::*;
    use crate::config::{Config, Env};

    fn modules(dir: &Path, root: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                if !["node_modules", "_generated", "host"].contains(&name) {
                    modules(&path, root, found);
                }
            } else if name.ends_with(".ts") && name.matches('.').count() == 1 {
                let path = path.strip_prefix(root).unwrap();
                found.insert(path.to_str().unwrap().to_owned());
            }
        }
    }

    #[test]
    fn every_module_of_the_package_is_compiled_in() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("convex");
        let mut there = BTreeSet::new();
        modules(&root, &root, &mut there);
        let listed: BTreeSet<String> = PACKAGE
            .iter()
            .chain([&SCHEMA])
            .map(|(path, _)| (*path).to_owned())
            .collect();
        assert_eq!(listed, there);
    }

    #[test]
    fn the_starter_configuration_lacks_only_what_it_asks_for() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(CONFIG_NAME);
        std::fs::write(&file, CONFIG).unwrap();
        let env = Env::new([
            (
                "CLERK_SECRET_KEY",
                "sk_test_0123456789012345678901234567890123456789",
            ),
            (
                "CLERK_WEBHOOK_SECRET",
                "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
            ),
            ("CONVEX_URL", "https://happy-otter-123.convex.cloud"),
            ("CONVEX_DEPLOY_KEY", "dev:happy-otter-123|eyJ2MiI6ImFiYyJ9"),
        ]);
        let loaded = Config::load(Some(&file), &env).unwrap();
        assert_eq!(loaded.warnings, Vec::<String>::new());
    }

    #[test]
    fn what_the_starter_configuration_shows_as_comments_is_valid_too() {
        // A commented setting is `# key = value`; sentences do not look like that.
        let setting = |line: &str| {
            let (key, _) = line.strip_prefix("# ")?.split_once(" = ")?;
            let plain = key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            plain.then(|| line[2..].to_owned())
        };
        let mut settings = 0;
        let text: String = CONFIG
            .lines()
            .map(|line| {
                let shown = setting(line);
                settings += usize::from(shown.is_some());
                shown.unwrap_or_else(|| line.to_owned()) + "\n"
            })
            .collect();
        assert!(settings >= 4, "{text}");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(CONFIG_NAME);
        std::fs::write(&file, text).unwrap();
        let env = Env::new([
            (
                "CLERK_SECRET_KEY",
                "sk_test_0123456789012345678901234567890123456789",
            ),
            (
                "CLERK_WEBHOOK_SECRET",
                "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
            ),
            ("CONVEX_DEPLOY_KEY", "dev:happy-otter-123|eyJ2MiI6ImFiYyJ9"),
        ]);
        Config::load(Some(&file), &env).unwrap();
    }
}
