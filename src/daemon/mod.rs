//! The daemon: builds the parts, hands each its own, starts the tasks, ends them in order.
//!
//! The only place that knows all parts and the whole configuration; it decides nothing about a record.
//! Start: disk, then what was left to do, then ports. Stop: ports, runs, what is in hand, disk.
//! Intake runs on threads of its own, so that nothing else can delay an acknowledgement.

mod alarms;
mod build;
mod core;
mod doors;
mod headless;
mod reload;
mod runs;
mod scans;
mod sign_in;
mod skew;
mod watch;

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sd_notify::NotifyState;
use thiserror::Error;
use tokio::{
    net::{TcpListener, UnixListener},
    runtime,
    signal::unix::{SignalKind, signal},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    admin::{self, Admin},
    apply::{self, Carrier, Clock},
    config::{self, Config},
    intake::{self, Bounds, Listener, Peers, Room, Rules},
    report::history::HistoryError,
    schedule::{Pulse, rhythm::NotARhythm},
    store::{journal::OpenError, state::StateError, state_file::StateFileError},
    telemetry::LogLevel,
};

use self::{
    build::Disk,
    core::{Core, LAST_WORDS},
    doors::Doors,
    reload::Reloader,
    scans::Scheduled,
};

pub use self::{
    build::user_rules,
    headless::{Headless, Purpose},
};

/// Threads that take deliveries in.
const INTAKE_THREADS: usize = 2;
/// Of the time for a stop, what requests in hand may take at most.
const INTAKE_DRAIN: Duration = Duration::from_secs(3);
/// Why the daemon did not start, or ended by itself.
#[derive(Debug, Error)]
pub enum StartError {
    /// The state directory.
    #[error("the state directory {} cannot be used", .path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The journal.
    #[error(transparent)]
    Journal(#[from] OpenError),
    /// The derived state.
    #[error(transparent)]
    State(#[from] StateError),
    /// The `STATE` file.
    #[error(transparent)]
    StateFile(#[from] StateFileError),
    /// The directory of reports.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// An address or a socket.
    #[error("cannot listen on {on}; is another process using it?")]
    Listen {
        /// What.
        on: String,
        /// Why.
        source: io::Error,
    },
    /// A key that no header can carry, or a URL that cannot be called.
    #[error("cannot prepare calls to {service}: {message}")]
    Edge {
        /// Clerk or Convex.
        service: &'static str,
        /// Why.
        message: String,
    },
    /// A time at which scans are to run.
    #[error(transparent)]
    Schedule(#[from] NotARhythm),
    /// Threads could not be started.
    #[error("cannot start threads")]
    Threads(#[source] io::Error),
    /// The disk failed under the running daemon.
    #[error(
        "the disk failed under the journal ({0}); nothing acknowledged is lost, start again when it works"
    )]
    DiskFailed(String),
    /// The task that applies changes is gone.
    #[error(
        "the daemon failed at applying changes; see the log. Nothing acknowledged is lost, start it again"
    )]
    ApplierEnded,
}

impl StartError {
    /// True if another process holds the state directory.
    pub fn is_in_use(&self) -> bool {
        matches!(
            self,
            StartError::Journal(OpenError::InUse(_)) | StartError::State(StateError::InUse(_))
        )
    }
}

/// Reads the configuration again, from where it was read first.
pub type Reread = Arc<dyn Fn() -> Result<Config, String> + Send + Sync>;

/// What a daemon in the foreground has beside its configuration.
#[derive(Clone, Default)]
pub struct Surroundings {
    /// For SIGHUP and the operators' `reload`; without it a reload is refused.
    pub reread: Option<Reread>,
    /// To change the level while running.
    pub log_level: Option<LogLevel>,
}

/// Starts daemons.
#[derive(Debug)]
pub struct Daemon;

/// A running daemon.
pub struct Handle {
    core: Core,
    public: SocketAddr,
    admin_tcp: Option<SocketAddr>,
    socket: PathBuf,
    grace: Duration,
    stop_intake: CancellationToken,
    stop_schedule: CancellationToken,
    stop: CancellationToken,
    intake: Option<runtime::Runtime>,
    intake_tasks: TaskTracker,
    tasks: TaskTracker,
    reloader: Arc<Reloader>,
}

impl Daemon {
    /// Starts everything; returns when deliveries can be taken in.
    pub async fn start(config: Config) -> Result<Handle, StartError> {
        Self::start_in(config, Surroundings::default()).await
    }

    /// The same, with what a reload needs.
    pub async fn start_in(config: Config, around: Surroundings) -> Result<Handle, StartError> {
        let disk = Disk::open(&config).await?;
        let doors = Doors::open(&config).await?;
        let grace = config.limits.shutdown_grace;
        let (core, parts, applier) =
            Core::apply(&config, disk, grace.saturating_sub(INTAKE_DRAIN))?;
        let reloader = Arc::new(Reloader::new(
            config.clone(),
            around,
            Arc::clone(&core.shared),
            Arc::clone(&parts.intake),
            applier.clone(),
            parts.dialer.clone(),
            doors.listener.certificate().cloned(),
        ));
        let scheduled = scans::schedule(&config, &core.desk, &core.shared)?;
        let mut handle = Handle {
            core,
            public: doors.public,
            admin_tcp: doors.admin_addr(),
            socket: config.admin.socket.clone(),
            grace,
            stop_intake: CancellationToken::new(),
            stop_schedule: CancellationToken::new(),
            stop: CancellationToken::new(),
            intake: None,
            intake_tasks: TaskTracker::new(),
            tasks: TaskTracker::new(),
            reloader,
        };
        let carrier = Carrier::new(Arc::clone(&handle.core.shared), build::carried(&config));
        if let Some(carrier) = carrier {
            handle.tasks.spawn(carrier.run(handle.stop.clone()));
        }
        handle.open_admin(applier.clone(), doors.socket, doors.tcp, &config.admin);
        let pulse = scheduled.map(|scheduled| handle.keep_time(scheduled));
        alarms::raise_again(&handle.core.shared, &config.state.dir);
        handle.watch(applier, pulse, build::room(&config));
        handle.start_intake(doors.listener, parts.intake, &config)?;
        tracing::info!(
            address = %handle.public,
            socket = %handle.socket.display(),
            version = env!("CARGO_PKG_VERSION"),
            "ready to take deliveries in"
        );
        Ok(handle)
    }
}

impl Handle {
    /// The address of the public listener.
    pub fn public_addr(&self) -> SocketAddr {
        self.public
    }

    /// The operators' TCP address, if there is one.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin_tcp
    }

    /// The operators' socket.
    pub fn admin_socket(&self) -> &Path {
        &self.socket
    }

    /// Reads the configuration again. Answers with the keys that need a restart.
    pub fn reload(&self) -> Result<Vec<String>, String> {
        self.reloader.reload()
    }

    /// Answers with the reason when the disk has failed for good.
    pub async fn disk_failed(&self) -> String {
        self.core.journal.fatal().await
    }

    /// Ends everything in order: no new deliveries and no new runs, requests in hand answered, runs at a place
    /// where the next one goes on, work in hand finished or left in the journal, the disk synced.
    pub async fn shutdown(mut self) {
        self.stop_intake.cancel();
        self.stop_schedule.cancel();
        self.intake_tasks.close();
        let drain = INTAKE_DRAIN.min(self.grace);
        let (drained, ()) = tokio::join!(
            timeout(drain, self.intake_tasks.wait()),
            self.core.desk.close(drain)
        );
        if drained.is_err() {
            tracing::warn!("some requests in hand were cut off; their senders will try again");
        }
        if let Some(intake) = self.intake.take() {
            intake.shutdown_background();
        }
        self.core.end_appliers().await;
        self.stop.cancel();
        self.tasks.close();
        // An operator who watches the status must not hold up the end.
        let _ = timeout(LAST_WORDS, self.tasks.wait()).await;
        self.core.close_disk().await;
        let _ = std::fs::remove_file(&self.socket);
        tracing::info!("stopped");
    }

    /// Starts the schedule and who watches that scans succeed.
    fn keep_time(&self, scheduled: Scheduled) -> Pulse {
        let Scheduled {
            schedule,
            pulse,
            scans,
        } = scheduled;
        self.tasks.spawn(schedule.run(self.stop_schedule.clone()));
        let (desk, shared) = (self.core.desk.clone(), Arc::clone(&self.core.shared));
        let wants_full = self.core.wants_full.clone();
        let watch = scans::watch(scans, desk, wants_full, shared, self.stop.clone());
        self.tasks.spawn(watch);
        pulse
    }

    fn open_admin(
        &self,
        applier: apply::Handle,
        socket: UnixListener,
        tcp: Option<TcpListener>,
        section: &config::Admin,
    ) {
        let reloader = Arc::clone(&self.reloader);
        let admin = Admin {
            applier,
            shared: Arc::clone(&self.core.shared),
            journal: self.core.journal.clone(),
            metrics: self.core.shared.metrics.clone(),
            alerts: self.core.shared.alerts.clone(),
            desk: self.core.desk.clone(),
            started_ms: Clock.now_ms(),
            reload: Arc::new(move || reloader.reload()),
        };
        let router = admin.router();
        let (readers, stop) = (doors::readers(section), self.stop.clone());
        let serve = admin::serve_socket(socket, router.clone(), readers, stop);
        self.tasks.spawn(serve);
        if let Some(tcp) = tcp {
            let tokens = doors::tokens(section);
            let serve = admin::serve_tcp(tcp, router, tokens, self.stop.clone());
            self.tasks.spawn(serve);
        }
    }

    fn watch(&self, applier: apply::Handle, schedule: Option<Pulse>, room: Room) {
        let (shared, stop) = (Arc::clone(&self.core.shared), self.stop.clone());
        let journal = self.core.journal.clone();
        let tend = alarms::tend(journal.clone(), room, Arc::clone(&shared), stop.clone());
        self.tasks.spawn(tend);
        self.tasks
            .spawn(watch::health(journal.clone(), shared, stop.clone()));
        self.tasks
            .spawn(watch::watchdog(journal, applier, schedule, stop));
    }

    fn start_intake(
        &mut self,
        listener: Listener,
        intake: Arc<intake::Intake>,
        config: &Config,
    ) -> Result<(), StartError> {
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(INTAKE_THREADS)
            .max_blocking_threads(1)
            .thread_name("intake")
            .enable_all()
            .build()
            .map_err(StartError::Threads)?;
        let bounds = Bounds {
            header_timeout: config.listen.header_timeout,
            idle_timeout: config.listen.idle_timeout,
            max_connections: config.listen.max_connections,
        };
        let rules = Rules {
            allow: config.listen.allow.clone(),
            trusted_proxies: config.listen.trusted_proxies.clone(),
            max_connections: config.listen.max_connections_per_peer,
            rate_per_second: config.listen.rate_per_peer,
        };
        let peers = Peers::new(rules, self.core.shared.metrics.clone());
        let ensure = sign_in::routes(config, &self.core.shared, &intake, self.core.lane.clone());
        let router = intake.router(&config.listen.webhook_paths).merge(ensure);
        let serve = intake::serve(listener, router, bounds, peers, self.stop_intake.clone());
        self.intake_tasks.spawn_on(serve, runtime.handle());
        self.intake = Some(runtime);
        Ok(())
    }
}

impl Drop for Handle {
    /// Without [`Handle::shutdown`]: everything ends where it stands, as when the process is killed.
    fn drop(&mut self) {
        for token in [&self.stop_intake, &self.stop_schedule, &self.stop] {
            token.cancel();
        }
        self.core.abandon();
        if let Some(intake) = self.intake.take() {
            intake.shutdown_background();
        }
    }
}

/// Runs in the foreground until SIGTERM or Ctrl-C; SIGHUP reads the configuration again. A second
/// SIGTERM or Ctrl-C ends at once, which is safe: what is not finished is in the journal.
pub async fn run(config: Config, around: Surroundings) -> Result<(), StartError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(StartError::Threads)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(StartError::Threads)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(StartError::Threads)?;
    let handle = Daemon::start_in(config, around).await?;
    watch::tell(&[NotifyState::Ready]);
    let failed = loop {
        tokio::select! {
            _ = terminate.recv() => break None,
            _ = interrupt.recv() => break None,
            reason = handle.disk_failed() => break Some(StartError::DiskFailed(reason)),
            () = handle.core.applier_ended.cancelled() => break Some(StartError::ApplierEnded),
            _ = hangup.recv() => watch::reload(&handle),
        }
    };
    watch::tell(&[NotifyState::Stopping]);
    tokio::select! {
        () = handle.shutdown() => {}
        _ = terminate.recv() => tracing::warn!("ended at once by a second signal"),
        _ = interrupt.recv() => tracing::warn!("ended at once by a second signal"),
    }
    failed.map_or(Ok(()), Err)
}
