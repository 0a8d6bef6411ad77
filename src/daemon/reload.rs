//! Reading the configuration again, all or nothing.
//!
//! A configuration with a mistake changes nothing: the old one stays in force. What can change while
//! running is swapped as a whole; keys that need a restart are named.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Surroundings, build, settings};
use crate::{
    apply::{self, Shared},
    config::Config,
    inbound::Certificate,
    intake::{Intake, Secrets},
    outbound::Dialer,
};

/// What a reload reaches.
pub struct Reloader {
    config: Mutex<Config>,
    around: Surroundings,
    shared: Arc<Shared>,
    intake: Arc<Intake>,
    applier: apply::Handle,
    dialer: Dialer,
    certificate: Option<Certificate>,
}

impl Reloader {
    pub fn new(
        config: Config,
        around: Surroundings,
        shared: Arc<Shared>,
        intake: Arc<Intake>,
        applier: apply::Handle,
        dialer: Dialer,
        certificate: Option<Certificate>,
    ) -> Self {
        Reloader {
            config: Mutex::new(config),
            around,
            shared,
            intake,
            applier,
            dialer,
            certificate,
        }
    }

    /// Reads and swaps. Answers with the keys that need a restart, or with what is wrong; then nothing has
    /// changed, and an alert says so until a reload succeeds.
    pub fn reload(&self) -> Result<Vec<String>, String> {
        let read = self.read_and_swap();
        let alerts = &self.shared.alerts;
        match &read {
            Ok(_) => alerts.clear("reload_refused"),
            Err(mistakes) => {
                let message = format!("what was in force stays in force: {mistakes}");
                alerts.raise("reload_refused", message, self.shared.clock.now_ms());
            }
        }
        read
    }

    fn read_and_swap(&self) -> Result<Vec<String>, String> {
        let Some(reread) = &self.around.reread else {
            return Err(
                "this daemon was not started from a configuration that can be read again".into(),
            );
        };
        // Two reloads at once end with what was read last.
        let mut config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        let new = reread().inspect_err(|mistakes| {
            tracing::error!(
                "the configuration was not reloaded, the old one stays in force: {mistakes}"
            );
        })?;
        let renewed = match self
            .certificate
            .as_ref()
            .map(Certificate::renew)
            .transpose()
        {
            Ok(renewed) => renewed,
            Err(error) => {
                tracing::error!("nothing was reloaded, the old certificate stays in use: {error}");
                return Err(format!("the certificate cannot be used: {error}"));
            }
        };
        let differs = Config::reloadable_diff(&config, &new);
        // Keys that need a restart keep their old value, also in what is rebuilt below.
        let mut next = config.clone();
        next.clerk.secret_key = new.clerk.secret_key;
        next.clerk.webhook_secrets = new.clerk.webhook_secrets;
        next.clerk.write_back = new.clerk.write_back;
        next.convex.deploy_key = new.convex.deploy_key;
        next.convex.concurrency = new.convex.concurrency;
        next.convex.batch = new.convex.batch;
        next.sync = new.sync;
        next.users = new.users;
        next.profile_edits = new.profile_edits;
        next.listen.rate_per_second = new.listen.rate_per_second;
        next.log.level = new.log.level;
        let pace = self.shared.edges.load().clerk.pace().clone();
        let edges = build::edges(&next, &self.dialer, &pace, &self.shared.metrics)
            .map_err(|error| error.to_string())?;
        pace.set_rate(build::rate(&next));
        self.shared.edges.store(Arc::new(edges));
        self.shared.resize(next.convex.concurrency);
        self.shared.set(settings::settings(&next));
        self.intake
            .secrets
            .store(Arc::new(Secrets::new(&next.clerk.webhook_secrets)));
        self.intake
            .limiter
            .store(Intake::limiter(next.listen.rate_per_second));
        if let Some(renewed) = renewed {
            renewed.put_in_place();
        }
        if let Some(level) = &self.around.log_level {
            level.set(&next.log.level);
        }
        *config = next;
        self.applier.reconsider();
        tracing::info!(live = ?differs.live, needs_restart = ?differs.restart, "configuration reloaded");
        Ok(differs.restart.into_iter().map(str::to_owned).collect())
    }
}
