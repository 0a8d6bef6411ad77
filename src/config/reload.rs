//! What a reload may change while the daemon runs, and what needs a restart.
//!
//! One table with every key that has a field; a test holds it complete. Compares two configurations
//! and names keys; it never shows a value.

use super::Config;

/// How two configurations differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloadable {
    /// Keys that differ and take effect at once.
    pub live: Vec<&'static str>,
    /// Keys that differ and need a restart; until then the old value stays in force.
    pub restart: Vec<&'static str>,
}

/// Whether a key differs between two configurations.
type Differs = fn(&Config, &Config) -> bool;

macro_rules! keys {
    ($($section:ident . $($field:ident),+ ;)+) => {
        &[$($((
            concat!(stringify!($section), ".", stringify!($field)),
            (|old, new| old.$section.$field != new.$section.$field) as Differs,
        )),+),+]
    };
}

/// What its part reads anew each time it is used.
const LIVE: &[(&str, Differs)] = keys! {
    clerk.secret_key, webhook_secrets, write_back;
    convex.deploy_key, concurrency, batch;
    sync.enabled, retry_max_attempts, retry_delay_ms;
    listen.rate_per_second;
    users.delete_mode, files_on_delete, app_id, roles, default_role, insert_defaults, extra_fields,
        link_by_email;
    profile_edits.enabled, fields;
    log.level;
};

/// What is fixed when its part is built.
const RESTART: &[(&str, Differs)] = keys! {
    clerk.api_url, requests_per_10s, instance_id;
    convex.url, module, page, timeout, allow_mixed_environments;
    listen.address, webhook_paths, tls, max_body_bytes, body_timeout, header_timeout, idle_timeout,
        max_connections, max_connections_per_peer, rate_per_peer, allow, trusted_proxies;
    admin.socket, address, token, operate_token, read_token, readers;
    state.dir, encryption_key, backend, max_queue_events, max_journal_bytes, ledger_records,
        max_dead_letters, operations_log_bytes;
    schedule.sweep, census, full, digest;
    repair.mode, max_deletes, max_delete_ratio, merge_duplicates;
    users.purge_after;
    ensure.enabled, origins, issuer;
    report.show_values;
    limits.shutdown_grace;
    log.format;
};

impl Config {
    /// What differs between the configuration in force and a new one.
    pub fn reloadable_diff(old: &Config, new: &Config) -> Reloadable {
        let differing = |keys: &[(&'static str, Differs)]| {
            keys.iter()
                .filter(|(_, differs)| differs(old, new))
                .map(|(key, _)| *key)
                .collect()
        };
        Reloadable {
            live: differing(LIVE),
            restart: differing(RESTART),
        }
    }
}

#[cfg(test)]
pub(super) fn all_keys() -> impl Iterator<Item = &'static str> {
    LIVE.iter().chain(RESTART).map(|(key, _)| *key)
}
