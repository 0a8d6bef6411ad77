//! The configuration from outside: tables of sources in, settings or mistakes out.
//!
//! No test touches the process's environment: each hands an `Env` over. Secrets are planted, and
//! every output is searched for them.

use std::{fs, path::PathBuf, time::Duration};

use super::*;

mod mistakes;
mod properties;

const CLERK_KEY: &str = "sk_live_PLANTEDclerk";
const DEPLOY_KEY: &str = "prod:happy-otter-1|PLANTEDdeploy";
/// Base64 of 28 bytes.
const SIGNING: &str = "whsec_UExBTlRFRHBsYW50ZWRQTEFOVEVEcGxhbnRlZA==";

fn required() -> Vec<(&'static str, &'static str)> {
    vec![
        ("CLERK_SECRET_KEY", CLERK_KEY),
        ("CLERK_WEBHOOK_SECRET", SIGNING),
        ("CONVEX_URL", "https://happy-otter-1.convex.cloud"),
        ("CONVEX_DEPLOY_KEY", DEPLOY_KEY),
    ]
}

fn with(more: &[(&'static str, &'static str)]) -> Env {
    Env::new(required().into_iter().chain(more.iter().copied()))
}

fn without(name: &str) -> Env {
    Env::new(required().into_iter().filter(|(known, _)| *known != name))
}

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        Dir(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn path(&self) -> &str {
        self.0.path().to_str().unwrap()
    }
}

fn load_text(text: &str, env: &Env) -> Result<Loaded, Vec<Mistake>> {
    let dir = Dir::new();
    Config::load(Some(&dir.file("config.toml", text)), env)
}

/// The keys of the mistakes that a text leads to, with the required settings given.
fn mistaken_keys(text: &str) -> Vec<String> {
    match load_text(text, &with(&[])) {
        Ok(_) => Vec::new(),
        Err(mistakes) => mistakes.into_iter().map(|mistake| mistake.key).collect(),
    }
}

fn shown(result: &Result<Loaded, Vec<Mistake>>) -> String {
    let texts: Vec<String> = match result {
        Ok(_) => Vec::new(),
        Err(mistakes) => mistakes.iter().map(Mistake::to_string).collect(),
    };
    format!("{result:?}\n{}", texts.join("\n"))
}

#[test]
fn with_the_four_required_settings_everything_else_is_as_the_contract_says() {
    let loaded = Config::load(None, &with(&[])).unwrap();
    let config = &loaded.config;
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    assert_eq!(config.clerk.secret_key.expose(), CLERK_KEY);
    assert_eq!(config.clerk.webhook_secrets[0].expose(), SIGNING);
    assert_eq!(config.clerk.api_url.as_str(), "https://api.clerk.com/");
    assert_eq!(config.convex.module, "clerkSync");
    let bounds = (
        config.convex.concurrency,
        config.convex.batch,
        config.convex.page,
    );
    assert_eq!(bounds, (4, 200, 2_000));
    assert!(config.sync.enabled);
    assert_eq!(
        (config.sync.retry_max_attempts, config.sync.retry_delay_ms),
        (3, 1_000)
    );
    assert_eq!(config.listen.address.to_string(), "127.0.0.1:8787");
    assert_eq!(
        config.listen.webhook_paths,
        ["/api/webhooks/clerk", "/api/clerk-webhook"]
    );
    assert_eq!(config.listen.tls, Tls::Off);
    assert_eq!(config.listen.max_body_bytes, 1_048_576);
    assert_eq!(config.listen.body_timeout, Duration::from_secs(10));
    assert_eq!(config.admin.socket, PathBuf::from("./state/admin.sock"));
    assert_eq!((&config.admin.address, &config.admin.token), (&None, &None));
    assert_eq!(config.state.backend, Backend::Sled);
    assert_eq!(config.state.encryption_key, []);
    assert_eq!(
        (config.repair.max_deletes, config.repair.max_delete_ratio),
        (100, 0.05)
    );
    assert_eq!(config.users.delete_mode, crate::model::DeleteMode::Hard);
    assert_eq!(
        config.users.files_on_delete,
        crate::model::FilesOnDelete::Keep
    );
    assert!(!config.profile_edits.enabled && !config.clerk.write_back && !config.ensure.enabled);
}

#[test]
fn default_toml_and_the_structs_have_the_same_keys() {
    let mut reader = Reader::new(layers::gather(None, &with(&[])));
    assert!(read(&mut reader).is_some());
    let (gathered, asked) = reader.finish();
    let listed: Vec<&String> = gathered.defaults.keys().collect();
    assert_eq!(listed, asked.iter().collect::<Vec<_>>());

    let mut fields: Vec<&str> = reload::all_keys().collect();
    fields.sort_unstable();
    let mut expected: Vec<&str> = listed
        .iter()
        .map(|key| key.as_str())
        .filter(|key| !key.ends_with("_file"))
        .filter(|key| !["listen.tls_cert", "listen.tls_key", "listen.behind_proxy"].contains(key))
        .chain(["listen.tls"])
        .collect();
    expected.sort_unstable();
    assert_eq!(fields, expected);
}

#[test]
fn default_toml_is_itself_a_configuration_that_changes_nothing() {
    let loaded = load_text(DEFAULT_TOML, &with(&[])).unwrap();
    assert_eq!(
        loaded.config,
        Config::load(None, &with(&[])).unwrap().config
    );
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
}

#[test]
fn later_sources_win() {
    let dir = Dir::new();
    dir.file("convex-deploy-key", "prod:happy-otter-1|by-credential\n");
    let file = dir.file(
        "config.toml",
        "[convex]\nbatch = 10\npage = 20\ndeploy_key = \"prod:happy-otter-1|by-file\"\n\
         [listen]\nwebhook_paths = [\"/a\"]\n[users]\ninsert_defaults = { credits = 5, tier = \"free\" }\n",
    );
    let secret = dir.file("secret", "  sk_live_by_secret_file\n");
    let env = Env::new(required().into_iter().chain([
        ("CCS_CONVEX__PAGE", "30"),
        ("CCS_LISTEN__WEBHOOK_PATHS", "/b, /c"),
        ("CREDENTIALS_DIRECTORY", dir.path()),
        ("CLERK_SECRET_KEY_FILE", secret.to_str().unwrap()),
        ("SYNC_ENABLED", "false"),
        ("SYNC_RETRY_MAX_ATTEMPTS", "7"),
    ]));
    let loaded = Config::load(Some(&file), &env).unwrap();
    let config = loaded.config;
    assert_eq!((config.convex.batch, config.convex.page), (10, 30));
    assert_eq!(config.listen.webhook_paths, ["/b", "/c"]);
    assert_eq!(
        config.convex.deploy_key.expose(),
        "prod:happy-otter-1|by-credential"
    );
    assert_eq!(config.clerk.secret_key.expose(), "sk_live_by_secret_file");
    assert_eq!(config.users.insert_defaults["credits"], 5);
    assert_eq!(config.users.insert_defaults["tier"], "free");
    assert!(!config.sync.enabled);
    assert_eq!(config.sync.retry_max_attempts, 7);
    let both = loaded
        .warnings
        .iter()
        .filter(|w| w.contains("CLERK_SECRET_KEY_FILE"));
    assert_eq!(both.count(), 1, "{:?}", loaded.warnings);
}

#[test]
fn the_default_file_is_read_only_if_it_exists() {
    let dir = Dir::new();
    let absent = with(&[]).with_default_file(dir.0.path().join("absent.toml"));
    assert_eq!(Config::load(None, &absent).unwrap().file, None);
    let file = dir.file("config.toml", "[convex]\nbatch = 11\n");
    let loaded = Config::load(None, &with(&[]).with_default_file(&file)).unwrap();
    assert_eq!((loaded.config.convex.batch, loaded.file), (11, Some(file)));
    let named = Config::load(Some(&dir.0.path().join("absent.toml")), &with(&[]));
    let mistakes = named.unwrap_err();
    assert_eq!(mistakes.len(), 1);
    assert!(
        mistakes[0].problem.contains("cannot be read"),
        "{}",
        mistakes[0]
    );
}

#[test]
fn every_spelling_of_a_credential_is_found() {
    for (name, variable) in [
        ("clerk-secret-key", "CLERK_SECRET_KEY"),
        ("clerk_secret_key", "CLERK_SECRET_KEY"),
        ("clerk-webhook-secret", "CLERK_WEBHOOK_SECRET"),
        ("clerk-webhook-secrets", "CLERK_WEBHOOK_SECRET"),
        ("convex_deploy_key", "CONVEX_DEPLOY_KEY"),
    ] {
        let dir = Dir::new();
        let (_, value) = *required()
            .iter()
            .find(|(known, _)| *known == variable)
            .unwrap();
        dir.file(name, value);
        let rest = required()
            .into_iter()
            .filter(|(known, _)| *known != variable);
        let env = Env::new(rest.chain([("CREDENTIALS_DIRECTORY", dir.path())]));
        assert!(Config::load(None, &env).is_ok(), "{name}");
    }
    let dir = Dir::new();
    dir.file("admin-token", "0123456789abcdef");
    let env = Env::new(
        required()
            .into_iter()
            .chain([("CREDENTIALS_DIRECTORY", dir.path())]),
    );
    let config = Config::load(None, &env).unwrap().config;
    assert!(config.admin.token.is_some());
}

#[test]
fn values_that_are_fine_are_taken() {
    for text in [
        "[clerk]\napi_url = \"http://127.0.0.1:3000/v1\"",
        "[clerk]\napi_url = \"http://[::1]:3000\"\ninstance_id = \"ins_1\"",
        "[listen]\naddress = \"0.0.0.0:8787\"\nbehind_proxy = true",
        "[listen]\naddress = \"[::1]:0\"",
        "[convex]\nmodule = \"lib/clerkSync\"\ntimeout = \"1m\"",
        "[users]\nextra_fields = { plan = \"/public_metadata/plan\", team = { pointer = \"/t\" }, seats = { pointer = \"/s\", type = \"number\" } }",
        "[schedule]\nfull = \"@daily\"\ndigest = \"off\"",
        "[repair]\nmax_delete_ratio = 1",
        "[admin]\naddress = \"127.0.0.1:0\"\ntoken = \"0123456789abcdef\"",
        "[log]\nlevel = \"info,clerk_convex_sync::intake=debug\"",
    ] {
        assert_eq!(mistaken_keys(text), Vec::<String>::new(), "{text}");
    }
    let dir = Dir::new();
    let (cert, key) = (dir.file("cert.pem", CERT), dir.file("key.pem", KEY));
    let text =
        format!("[listen]\naddress = \"0.0.0.0:443\"\ntls_cert = {cert:?}\ntls_key = {key:?}");
    let config = load_text(&text, &with(&[])).unwrap().config;
    assert_eq!(config.listen.tls, Tls::Own { cert, key });
}

const CERT: &str = include_str!("../../tests/fixtures/tls/first.crt");
const KEY: &str = include_str!("../../tests/fixtures/tls/first.key");

#[test]
fn a_certificate_that_cannot_be_served_is_a_mistake_like_others() {
    let other = include_str!("../../tests/fixtures/tls/second.key");
    for (cert, key, mistaken) in [
        ("", KEY, "listen.tls_cert"),
        ("x", KEY, "listen.tls_cert"),
        (KEY, KEY, "listen.tls_cert"),
        (CERT, "", "listen.tls_key"),
        (CERT, CERT, "listen.tls_key"),
        (CERT, other, "listen.tls_key"),
    ] {
        let dir = Dir::new();
        let (cert, key) = (dir.file("cert.pem", cert), dir.file("key.pem", key));
        let text = format!("[listen]\ntls_cert = {cert:?}\ntls_key = {key:?}");
        assert_eq!(mistaken_keys(&text), [mistaken], "{text}");
    }
}

#[test]
fn the_origin_of_clerk_is_kept_without_its_version() {
    let env = with(&[("CLERK_API_URL", "http://localhost:4000/v1/")]);
    let config = Config::load(None, &env).unwrap().config;
    assert_eq!(config.clerk.api_url.as_str(), "http://localhost:4000/");
}

#[test]
fn a_production_deployment_with_a_development_instance_is_refused_unless_meant() {
    let mixed = [("CLERK_SECRET_KEY", "sk_test_x")];
    let mistakes = Config::load(None, &with(&mixed)).unwrap_err();
    assert_eq!(mistakes.len(), 1);
    assert!(
        mistakes[0]
            .remedy
            .contains("convex.allow_mixed_environments")
    );
    let meant = [mixed[0], ("CCS_CONVEX__ALLOW_MIXED_ENVIRONMENTS", "true")];
    assert!(Config::load(None, &with(&meant)).is_ok());
    let development = [mixed[0], ("CONVEX_DEPLOY_KEY", "dev:happy-otter-1|y")];
    assert!(Config::load(None, &with(&development)).is_ok());
    let other_way =
        Config::load(None, &with(&[("CONVEX_DEPLOY_KEY", "dev:happy-otter-1|y")])).unwrap();
    assert_eq!(other_way.warnings.len(), 1);
}

#[test]
fn a_reload_tells_what_is_live_from_what_needs_a_restart() {
    let old = Config::load(None, &with(&[])).unwrap().config;
    let new = with(&[
        ("CLERK_SECRET_KEY", "sk_live_other"),
        ("SYNC_ENABLED", "false"),
        ("CCS_LISTEN__ADDRESS", "127.0.0.1:1"),
        ("CCS_STATE__DIR", "/var/lib/x"),
    ]);
    let new = Config::load(None, &new).unwrap().config;
    let diff = Config::reloadable_diff(&old, &new);
    assert_eq!(diff.live, ["clerk.secret_key", "sync.enabled"]);
    assert_eq!(
        diff.restart,
        ["listen.address", "admin.socket", "state.dir"]
    );
    assert_eq!(Config::reloadable_diff(&old, &old), Reloadable::default());
}

#[test]
fn a_file_with_a_secret_that_everybody_can_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let dir = Dir::new();
    for (text, mode, warned) in [
        ("[admin]\ntoken = \"0123456789abcdef\"\n", 0o644, true),
        ("[admin]\ntoken = \"0123456789abcdef\"\n", 0o600, false),
        (DEFAULT_TOML, 0o644, false),
    ] {
        let file = dir.file("config.toml", text);
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let warnings = Config::load(Some(&file), &with(&[])).unwrap().warnings;
        assert_eq!(!warnings.is_empty(), warned, "{mode:o} {warnings:?}");
    }
}

#[test]
fn a_deploy_key_of_another_deployment_stops_the_start() {
    for (key, url, refused) in [
        ("prod:other-1|x", "https://happy-otter-1.convex.cloud", true),
        (
            "prod:happy-otter-1|x",
            "https://happy-otter-1.convex.cloud",
            false,
        ),
        (
            "prod:happy-otter-1|x",
            "https://happy-otter-1.eu-west-1.convex.cloud",
            false,
        ),
        ("prod:other-1|x", "https://convex.example.com", false),
        (
            "convex-self-hosted|x",
            "https://happy-otter-1.convex.cloud",
            false,
        ),
    ] {
        let env = with(&[("CONVEX_DEPLOY_KEY", key), ("CONVEX_URL", url)]);
        let mistakes = Config::load(None, &env).err().unwrap_or_default();
        let keys: Vec<&str> = mistakes.iter().map(|mistake| &*mistake.key).collect();
        let expected: &[&str] = if refused { &["convex.deploy_key"] } else { &[] };
        assert_eq!(keys, expected, "{key} {url}");
    }
}

#[test]
fn a_local_command_needs_no_keys_of_the_services() {
    let dir = Dir::new();
    let file = dir.file(
        "config.toml",
        "[state]\ndir = \"/var/lib/x\"\n[convex]\nbatch = 0\n[nowhere]\nx = 1\n",
    );
    let local = Config::load_local(Some(&file), &Env::default()).unwrap();
    assert_eq!(local.admin.socket, PathBuf::from("/var/lib/x/admin.sock"));
    for text in [
        "[state]\nbackend = \"redis\"",
        "[state]\ndirectory = \"x\"",
        "[admin]\nadress = \"x\"",
        "no toml",
    ] {
        let file = dir.file("config.toml", text);
        let mistakes = Config::load_local(Some(&file), &Env::default()).unwrap_err();
        assert_eq!(mistakes.len(), 1, "{text} {mistakes:?}");
    }
}
