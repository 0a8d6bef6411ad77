//! The daemon: builds the parts, hands each its own, starts the tasks, ends them in order.
//!
//! The only place that knows all parts and the whole configuration; it decides nothing about a record.
//! Start: disk, then what was left to do, then ports. Stop: ports, runs, what is in hand, disk.
//! Intake runs on threads of its own, so that nothing else can delay an acknowledgement.

mod alarms;
mod build;
mod core;
mod disk;
mod doors;
mod foreground;
mod handed;
mod headless;
mod reload;
mod runs;
mod scans;
mod settings;
mod sign_in;
mod skew;
mod start_error;
mod watch;

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
    thread::available_parallelism,
    time::Duration,
};

use rustix::process::{getpid, getpriority_process, setpriority_process};
use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    admin::{self, Admin},
    apply::{self, Carrier, Clock},
    config::{self, Config},
    inbound::{self, Crew, Listener},
    intake::{self, Peers, Room},
    schedule::Pulse,
    telemetry::LogLevel,
};

use self::{
    core::{Core, LAST_WORDS},
    disk::Disk,
    doors::Doors,
    reload::Reloader,
    scans::Scheduled,
};

pub use self::{
    build::keyring,
    doors::OTHER_FILES,
    foreground::run,
    handed::handed_over,
    headless::{Headless, Purpose},
    settings::user_rules,
    start_error::StartError,
};

/// Threads that take deliveries in.
const INTAKE_THREADS: usize = 2;
/// Of the time for a stop, what requests in hand may take at most.
const INTAKE_DRAIN: Duration = Duration::from_secs(3);

/// By how many steps of niceness everything else stands back behind taking deliveries in.
const STANDS_BACK: i32 = 10;
/// The last step.
const NICEST: i32 = 19;

/// Reads the configuration again, from where it was read first.
pub type Reread = Arc<dyn Fn() -> Result<Config, String> + Send + Sync>;

/// What a daemon in the foreground has beside its configuration.
#[derive(Default)]
pub struct Surroundings {
    /// For SIGHUP and the operators' `reload`; without it a reload is refused.
    pub reread: Option<Reread>,
    /// To change the level while running.
    pub log_level: Option<LogLevel>,
    /// What the public listener is to be, if the service manager holds it; see [`handed_over`].
    pub socket: Option<TcpListener>,
}

/// Makes this thread one that waits while deliveries want the processors; for those of the runtime that a daemon is started
/// on, as they start. Under a flood each delivery is stored and answered at once, and what writes it to Convex comes
/// after it, with a tenth of such a thread's share. Where it is not allowed, as under a filter of system calls, the two share.
pub fn stand_back() {
    // The process's number is that of its first thread. This one may have begun with what another had set.
    let nice = getpriority_process(Some(getpid())).unwrap_or(0) + STANDS_BACK;
    let _ = setpriority_process(None, nice.min(NICEST));
}

/// How many threads compare, repair and write to Convex. One processor is left to deliveries, if there are two: whoever is
/// woken for one has to wait for a turn to end even of a thread that stands back.
pub fn threads() -> usize {
    available_parallelism().map_or(1, |processors| processors.get().saturating_sub(1).max(1))
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
    intake: Option<Crew>,
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
    pub async fn start_in(config: Config, mut around: Surroundings) -> Result<Handle, StartError> {
        let disk = Disk::open(&config).await?;
        let doors = Doors::open(&config, around.socket.take()).await?;
        let grace = config.limits.shutdown_grace;
        let (core, parts, applier) =
            Core::apply(&config, disk, grace.saturating_sub(INTAKE_DRAIN))?;
        let log_level = around.log_level.clone();
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
        let carrier = Carrier::new(Arc::clone(&handle.core.shared));
        handle.tasks.spawn(carrier.run(handle.stop.clone()));
        handle.open_admin(applier.clone(), doors.socket, doors.tcp, &config.admin);
        if let Some(log) = log_level {
            let told = watch::left_out_lines(log, handle.stop.clone());
            handle.tasks.spawn(told);
        }
        let pulse = scheduled.map(|scheduled| handle.keep_time(scheduled));
        let keys = keyring(&config.state);
        alarms::raise_again(&handle.core.shared, &config.state.dir, &keys);
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
    pub async fn shutdown(self) {
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
        if let Some(intake) = &self.intake {
            intake.end();
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
        socket: Listener,
        tcp: Option<Listener>,
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
            oplog: self.core.oplog.clone(),
            tasks: self.tasks.clone(),
            reload: Arc::new(move || reloader.reload()),
        };
        let router = admin.router();
        let (readers, stop) = (doors::readers(section), self.stop.clone());
        let on_fault = doors::on_fault(&self.core.shared, "operators");
        let told = Arc::clone(&on_fault);
        let serve = admin::serve_socket(socket, router.clone(), readers, told, stop);
        self.tasks.spawn(serve);
        if let Some(tcp) = tcp {
            let (tokens, stop) = (doors::tokens(section), self.stop.clone());
            let serve = admin::serve_tcp(tcp, router, tokens, on_fault, stop);
            self.tasks.spawn(serve);
        }
    }

    fn watch(&self, applier: apply::Handle, schedule: Option<Pulse>, room: Room) {
        let (shared, stop) = (Arc::clone(&self.core.shared), self.stop.clone());
        let journal = self.core.journal.clone();
        self.tasks.spawn(watch::health(
            journal.clone(),
            Arc::clone(&shared),
            stop.clone(),
        ));
        let tend = alarms::tend(journal.clone(), room, Arc::clone(&shared), stop.clone());
        self.tasks.spawn(tend);
        self.tasks
            .spawn(watch::room(self.core.dir(), shared, stop.clone()));
        self.tasks
            .spawn(watch::watchdog(journal, applier, schedule, stop));
    }

    fn start_intake(
        &mut self,
        listener: Listener,
        intake: Arc<intake::Intake>,
        config: &Config,
    ) -> Result<(), StartError> {
        let crew = Crew::start("intake", INTAKE_THREADS).map_err(StartError::Threads)?;
        // Nobody is let in later because the other threads are busy.
        let listener = listener
            .moved_to(crew.first())
            .map_err(|source| StartError::Listen {
                on: self.public.to_string(),
                source,
            })?;
        let shared = &self.core.shared;
        let bounds = doors::bounds(&config.listen);
        let peers = Peers::new(doors::rules(&config.listen), shared.metrics.clone());
        let ensure = sign_in::routes(config, shared, &intake, self.core.lane.clone());
        let router = intake.router(&config.listen.webhook_paths).merge(ensure);
        let (router, on_fault) = (peers.guard(router), doors::on_fault(shared, "public"));
        let stop = self.stop_intake.clone();
        let admit = move |peer: &inbound::Peer| peers.admit(peer);
        let on = crew.clone();
        let serve = inbound::serve(listener, on, router, bounds, admit, on_fault, stop);
        self.intake_tasks.spawn_on(serve, crew.first());
        self.intake = Some(crew);
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
        if let Some(intake) = &self.intake {
            intake.end();
        }
    }
}
