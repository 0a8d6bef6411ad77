//! What is wrong, and how it is told: with place, key and remedy, all at once.
//!
//! Tables of wrong inputs; each must be complained about under its own key and no other.

use super::*;

#[test]
fn each_missing_setting_is_named_with_its_remedy() {
    let missing = Config::load(None, &Env::default()).unwrap_err();
    let keys: Vec<&str> = missing.iter().map(|mistake| mistake.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "clerk.secret_key",
            "clerk.webhook_secrets",
            "convex.url",
            "convex.deploy_key"
        ]
    );
    for (mistake, (variable, _)) in missing.iter().zip(required()) {
        assert!(mistake.remedy.contains(variable), "{mistake}");
    }
    for (variable, _) in required() {
        let mistakes = Config::load(None, &without(variable)).unwrap_err();
        assert_eq!(mistakes.len(), 1, "{variable}");
        assert_eq!(mistakes[0].source, format!("environment {variable}"));
    }
}

#[test]
fn a_setting_that_is_empty_is_missing() {
    for (variable, _) in required() {
        let env = Env::new(
            required()
                .into_iter()
                .map(|(name, value)| (name, if name == variable { "  " } else { value })),
        );
        let mistakes = Config::load(None, &env).unwrap_err();
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert!(
            mistakes[0].problem.contains("to nothing"),
            "{}",
            mistakes[0]
        );
        assert!(mistakes[0].source.contains(variable), "{}", mistakes[0]);
    }
    let loaded = Config::load(None, &with(&[("CCS_LISTEN__ADDRESS", "")])).unwrap();
    assert_eq!(loaded.config.listen.address.port(), 8787);
    assert!(loaded.warnings[0].contains("CCS_LISTEN__ADDRESS"));
}

#[test]
fn a_file_of_a_secret_that_cannot_be_read_is_one_mistake() {
    let others = required()
        .into_iter()
        .filter(|(name, _)| *name != "CLERK_SECRET_KEY");
    let env = Env::new(others.chain([("CLERK_SECRET_KEY_FILE", "/nowhere/clerk-secret-key")]));
    let mistakes = Config::load(None, &env).unwrap_err();
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    assert_eq!(mistakes[0].source, "environment CLERK_SECRET_KEY_FILE");
    assert!(mistakes[0].problem.contains("there is no such file"));
}

#[test]
fn an_optional_secret_that_is_empty_stops_the_start() {
    for variable in ["CCS_ADMIN__TOKEN", "CCS_STATE__ENCRYPTION_KEY"] {
        let mistakes = Config::load(None, &with(&[(variable, "")])).unwrap_err();
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert!(mistakes[0].source.contains(variable));
    }
    let dir = Dir::new();
    let empty = dir.file("empty", "\n");
    let env = Env::new(
        required()
            .into_iter()
            .chain([("CCS_STATE__ENCRYPTION_KEY_FILE", empty.to_str().unwrap())]),
    );
    let mistakes = Config::load(None, &env).unwrap_err();
    assert!(
        mistakes[0].source.contains("file named by"),
        "{}",
        mistakes[0]
    );
}

#[test]
fn all_mistakes_of_all_sources_are_reported_at_once() {
    let text = "\
[clerk]
secretkey = \"x\"
requests_per_10s = \"many\"
[convex]
batch = 0
page = 4001
timeout = 30
url = \"http://example.com\"
[listen]
address = \"0.0.0.0:80\"
webhook_paths = [\"no-slash\", \"/ok\"]
[schedule]
full = \"0 3 * * *\"
[users]
default_role = \"owner\"
[nowhere]
x = 1
";
    let env = Env::new([
        ("CLERK_SECRET_KEY", "pk_live_PLANTED"),
        ("CLERK_WEBHOOK_SECRET", "whsec_PLANTED!!"),
        ("CONVEX_DEPLOY_KEY", DEPLOY_KEY),
        ("CCS_SYNC__RETRY_MAX_ATTEMPTS", "21"),
        ("CCS_LISTEN__ADRESS", "1"),
    ]);
    let result = load_text(text, &env);
    assert!(!shown(&result).contains("PLANTED"), "{}", shown(&result));
    let mistakes = result.unwrap_err();
    let mut keys: Vec<&str> = mistakes
        .iter()
        .map(|mistake| mistake.key.as_str())
        .collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        [
            "clerk.requests_per_10s",
            "clerk.secret_key",
            "clerk.secretkey",
            "clerk.webhook_secrets",
            "convex.batch",
            "convex.page",
            "convex.timeout",
            "convex.url",
            "listen.address",
            "listen.adress",
            "listen.webhook_paths",
            "nowhere",
            "schedule.full",
            "sync.retry_max_attempts",
            "users.default_role",
        ]
    );
    let of = |key: &str| mistakes.iter().find(|mistake| mistake.key == key).unwrap();
    assert!(of("clerk.secretkey").source.ends_with("config.toml:2"));
    assert!(of("clerk.secretkey").remedy.contains("clerk.secret_key"));
    assert!(of("listen.adress").remedy.contains("CCS_LISTEN__ADDRESS"));
    assert!(of("convex.batch").remedy.contains("from 1 to 1000"));
    assert!(of("schedule.full").remedy.contains("add the seconds"));
    assert!(
        mistakes
            .iter()
            .all(|m| !m.source.is_empty() && !m.remedy.is_empty())
    );
}

/// A text that is wrong, and the one key it is wrong about; `""` if none.
const WRONG: &[(&str, &str)] = &[
    ("[clerk]\nsecret_key = 5", ""),
    (
        "[clerk]\napi_url = \"https://api.clerk.com/v2\"",
        "clerk.api_url",
    ),
    (
        "[clerk]\napi_url = \"https://user:pw@api.clerk.com\"",
        "clerk.api_url",
    ),
    ("[clerk]\napi_url = \"ftp://127.0.0.1\"", "clerk.api_url"),
    ("[clerk]\ninstance_id = \"prod\"", "clerk.instance_id"),
    ("[clerk]\nwrite_back = \"true\"", "clerk.write_back"),
    ("[convex]\nmodule = \"a b\"", "convex.module"),
    ("[convex]\nconcurrency = 257", "convex.concurrency"),
    ("[convex]\nbatch = 1.5", "convex.batch"),
    ("[convex]\nbatch = -1", "convex.batch"),
    ("[convex]\nbatch = \"200\"", "convex.batch"),
    ("[convex]\nbatch = {}", "convex.batch"),
    ("[convex]\ntimeout = \"0s\"", "convex.timeout"),
    ("[convex]\ntimeout = \"3 parsecs\"", "convex.timeout"),
    ("[sync]\nretry_delay_ms = 0", "sync.retry_delay_ms"),
    ("[sync]\nretry_delay_ms = 600001", "sync.retry_delay_ms"),
    ("sync = true", "sync"),
    ("[listen]\naddress = \"localhost:80\"", "listen.address"),
    ("[listen]\naddress = \"192.0.2.1:80\"", "listen.address"),
    (
        "[listen]\ntls_cert = \"/nowhere/cert.pem\"",
        "listen.tls_cert",
    ),
    ("[listen]\ntls_key = \"/nowhere/key.pem\"", "listen.tls_key"),
    ("[listen]\nwebhook_paths = []", "listen.webhook_paths"),
    (
        "[listen]\nwebhook_paths = [\"/healthz\"]",
        "listen.webhook_paths",
    ),
    (
        "[listen]\nwebhook_paths = [\"/{x}\"]",
        "listen.webhook_paths",
    ),
    (
        "[listen]\nwebhook_paths = [\"/a\", \"/a\"]",
        "listen.webhook_paths",
    ),
    ("[listen]\nwebhook_paths = [1]", "listen.webhook_paths"),
    ("[listen]\nmax_body_bytes = 1", "listen.max_body_bytes"),
    ("[admin]\naddress = \"127.0.0.1:9\"", "admin.address"),
    ("[admin]\ntoken = \"short\"", "admin.token"),
    (
        "[admin]\ntoken_file = \"/nowhere/token\"",
        "admin.token_file",
    ),
    ("[state]\nbackend = \"nats\"", "state.backend"),
    ("[state]\nbackend = \"redis\"", "state.backend"),
    (
        "[state]\nencryption_key = \"short\"",
        "state.encryption_key",
    ),
    ("[schedule]\nsweep = \"61 * * * * *\"", "schedule.sweep"),
    ("[repair]\nmode = \"Repair\"", "repair.mode"),
    (
        "[repair]\nmax_delete_ratio = 1.01",
        "repair.max_delete_ratio",
    ),
    (
        "[repair]\nmax_delete_ratio = nan",
        "repair.max_delete_ratio",
    ),
    ("[users]\ndelete_mode = \"no\"", "users.delete_mode"),
    ("[users]\nroles = [\"a\"]", "users.default_role"),
    (
        "[users]\ninsert_defaults = { email = \"x\" }",
        "users.insert_defaults",
    ),
    (
        "[users]\ninsert_defaults = { _x = 1 }",
        "users.insert_defaults",
    ),
    (
        "[users]\nextra_fields = { plan = \"plan\" }",
        "users.extra_fields",
    ),
    ("[users]\nextra_fields = { plan = 1 }", "users.extra_fields"),
    (
        "[users]\nextra_fields = { plan = { pointer = \"/p\", type = \"text\" } }",
        "users.extra_fields",
    ),
    (
        "[users]\nextra_fields = { plan = { pointer = \"/p\", kind = \"json\" } }",
        "users.extra_fields",
    ),
    (
        "[clerk]\nwrite_back = true\n[users]\nextra_fields = { since = \"/private_metadata/syncedAt\" }",
        "clerk.write_back",
    ),
    (
        "[profile_edits]\nenabled = true\nfields = []",
        "profile_edits.fields",
    ),
    (
        "[users]\nextra_fields = { x = \"/y\" }\ninsert_defaults = { x = 1 }",
        "users.extra_fields",
    ),
    (
        "[profile_edits]\nfields = [\"email\"]",
        "profile_edits.fields",
    ),
    (
        "[ensure]\norigins = [\"https://a.example/\"]",
        "ensure.origins",
    ),
    (
        "[ensure]\nissuer = \"http://clerk.example.com\"",
        "ensure.issuer",
    ),
    ("[limits]\nshutdown_grace = \"1h\"", "limits.shutdown_grace"),
    ("[log]\nlevel = \"a=b=c\"", "log.level"),
    ("[log]\nformat = \"xml\"", "log.format"),
];

#[test]
fn each_wrong_value_is_found_under_its_own_key() {
    for (text, key) in WRONG {
        // The first is shadowed by the environment: a layer that does not count cannot be wrong.
        let expected: Vec<String> = Some((*key).to_owned())
            .filter(|key| !key.is_empty())
            .into_iter()
            .collect();
        assert_eq!(mistaken_keys(text), expected, "{text}");
    }
}

#[test]
fn several_webhook_secrets_may_be_given_in_one_text() {
    let two = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw, MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let config = Config::load(None, &with(&[("CLERK_WEBHOOK_SECRET", two)]))
        .unwrap()
        .config;
    assert_eq!(config.clerk.webhook_secrets.len(), 2);
    for bad in [
        "whsec_",
        "whsec_c2hvcnQ=",
        // 23 bytes.
        "whsec_UExBTlRFRHBsYW50ZWRQTEFOVEVEcGw=",
        "whsec_!!!",
        ",",
        &format!("{SIGNING},short"),
    ] {
        let rest = required()
            .into_iter()
            .filter(|(name, _)| *name != "CLERK_WEBHOOK_SECRET");
        let env = Env::new(rest.chain([("CLERK_WEBHOOK_SECRET", bad)]));
        let mistakes = Config::load(None, &env).unwrap_err();
        assert_eq!(mistakes.len(), 1, "{bad}");
        assert_eq!(mistakes[0].key, "clerk.webhook_secrets");
    }
}

#[test]
fn broken_toml_is_told_by_line_and_hides_nothing_else() {
    let env = with(&[("CCS_CONVEX__BATCH", "0")]);
    let result = load_text("[clerk]\n\nsecret_key = sk_live_PLANTED\nx y\n", &env);
    assert!(!shown(&result).contains("PLANTED"));
    let mistakes = result.unwrap_err();
    let places: Vec<&str> = mistakes
        .iter()
        .map(|m| m.source.rsplit('/').next().unwrap())
        .collect();
    assert_eq!(
        places,
        [
            "config.toml:3",
            "config.toml:4",
            "environment CCS_CONVEX__BATCH"
        ]
    );
}

#[test]
fn a_list_in_a_variable_may_be_written_as_in_the_file() {
    for text in [
        "user,member admin",
        "[\"user\", \"member\", \"admin\"]",
        " [\"user\",\"member\",\"admin\"] ",
    ] {
        let loaded = Config::load(None, &with(&[("CCS_USERS__ROLES", text)])).unwrap();
        assert_eq!(loaded.config.users.roles, ["user", "member", "admin"]);
    }
    for text in ["[\"user\", \"admin\"", "[user]", "[1]"] {
        let mistakes = Config::load(None, &with(&[("CCS_USERS__ROLES", text)])).unwrap_err();
        assert_eq!(mistakes[0].key, "users.roles", "{text}");
    }
}

#[test]
fn quotes_that_became_part_of_a_value_are_told_of() {
    for (variable, text) in [
        ("CCS_LISTEN__BODY_TIMEOUT", "\"30s\""),
        ("CCS_USERS__DELETE_MODE", "'soft'"),
        ("CCS_LISTEN__ADDRESS", "\"127.0.0.1:1\""),
    ] {
        let mistakes = Config::load(None, &with(&[(variable, text)])).unwrap_err();
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert!(mistakes[0].remedy.contains("quotes"), "{}", mistakes[0]);
    }
    let unit = Config::load(None, &with(&[("CCS_LISTEN__BODY_TIMEOUT", "30")])).unwrap_err();
    assert!(!unit[0].problem.contains("quotes"), "{}", unit[0]);
}
