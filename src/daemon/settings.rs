//! What can be changed while running, made of the configuration.
//!
//! From the words of the configuration to those of the parts that use them; opens nothing and decides nothing.

use std::time::Duration;

use crate::{
    apply::{
        Settings,
        edits::{self, verdict::Field},
    },
    config::{self, Config},
    mapping::UserRules,
    queue::backoff::RetryRule,
};

/// What is carried to Clerk, as the configuration has it now.
fn carried(config: &Config) -> edits::Options {
    let fields = config.profile_edits.fields.iter();
    let fields = fields.filter(|_| config.profile_edits.enabled);
    edits::Options {
        fields: fields.filter_map(|name| Field::parse(name)).collect(),
        write_back: config.clerk.write_back,
    }
}

/// How users become rows, by this section of the configuration.
pub fn user_rules(users: &config::Users) -> UserRules {
    UserRules {
        app_id: users.app_id.clone(),
        roles: users.roles.clone(),
        default_role: users.default_role.clone(),
        insert_defaults: users.insert_defaults.clone().into(),
        extra_fields: users.extra_fields.clone(),
        link_by_email: users.link_by_email,
    }
}

/// What can be changed while running, as the configuration has it now.
pub fn settings(config: &Config) -> Settings {
    let users = &config.users;
    Settings {
        enabled: config.sync.enabled,
        retry: RetryRule {
            max_attempts: config.sync.retry_max_attempts,
            delay: Duration::from_millis(config.sync.retry_delay_ms),
        },
        concurrency: config.convex.concurrency,
        batch: config.convex.batch,
        user_rules: user_rules(users),
        delete_mode: users.delete_mode,
        files_on_delete: users.files_on_delete,
        carried: carried(config),
    }
}
