//! Carries out runs: what is asked for, in which order the tables go, what is said at the end.
//!
//! Knows no clock but the one that it is given and no settings but those it asks for at each run's beginning.
//! A run that was cut off is taken up where its cursors stand; what cannot be read begins anew and says so.

mod approve;
mod counts;
mod members;
mod one;
mod pins;
mod whole;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use tokio_util::sync::CancellationToken;

use super::{
    Trouble,
    belief::Beliefs,
    ends::{Ends, new_id},
    full::group::Group,
    memory::counts,
    mend::Orphan,
    patiently,
    repair::{
        brake::{EMPTIED_FROM, Limits},
        lately::Lately,
    },
    run::{AskedBy, RunError, RunRequest, Runs, SyncedOne, Watch},
    scan::{
        census::{Census, Leave},
        missed::Known,
        sweep::Sweeper,
    },
    unhealed,
};
use crate::{
    clerk::{Lookup, Priority},
    convex::wire::CONTRACT,
    model::{Fault, Key, RecordKey, Table},
    report::{
        Report, RunKind,
        history::{History, HistoryError},
    },
    store::crypt::Keyring,
};

pub use pins::{Identity, recognise};

/// What a person has set about repairs and reports.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// False: nothing is repaired, whoever asks.
    pub repair: bool,
    /// Deletions that one run may make of a table.
    pub max_deletes: u64,
    /// The same as a share of the table's rows.
    pub max_delete_ratio: f64,
    /// Rows of one key may become one.
    pub merge_duplicates: bool,
    /// How long a softly deleted user's row is held; none: for ever.
    pub purge_after: Option<Duration>,
    /// Reports show personal values.
    pub show_values: bool,
    /// Rows in one page of Convex's.
    pub page_rows: u32,
    /// Calls to Convex at once.
    pub calls: usize,
}

/// What runs need.
pub struct Options {
    /// Both services as they are set now.
    pub ends: Box<dyn Fn() -> Ends + Send + Sync>,
    /// The rules as they are set now.
    pub rules: Box<dyn Fn() -> Rules + Send + Sync>,
    /// Whose key and which deployment.
    pub identity: Arc<dyn Identity>,
    /// The state directory.
    pub dir: PathBuf,
    /// Encrypt what is kept in it.
    pub keys: Keyring,
    /// Where reports are kept.
    pub history: History,
    /// Runs sweeps.
    pub sweeper: Sweeper,
    /// Runs censuses.
    pub census: Census,
    /// What the census counts against.
    pub beliefs: Beliefs,
    /// Where else a change may be.
    pub known: Box<dyn Known>,
    /// Hears, with the reason, when only a full diff can tell.
    pub want_full: Box<dyn Fn(&str) + Send + Sync>,
}

/// See the module's words.
pub struct Reconciler {
    options: Options,
}

impl Reconciler {
    /// Ready to run.
    pub fn new(options: Options) -> Arc<Reconciler> {
        Arc::new(Reconciler { options })
    }

    async fn carry_out(&self, request: RunRequest, progress: Watch) -> Result<Report, RunError> {
        let ends = (self.options.ends)().metered();
        let id = new_id((ends.now)());
        let ends = ends.for_run(request.kind, id, request.asked_by);
        let rules = (self.options.rules)();
        if request.approve.is_some() && !rules.repair {
            let words = "repair.mode is `report`, so no plan may be carried out";
            return Err(RunError::Refused(words.into()));
        }
        match (request.kind, &request.approve) {
            (RunKind::Reconcile, Some(digest)) => self.approve(ends, digest, &progress).await,
            (RunKind::Audit | RunKind::Reconcile, _) => {
                let (state, alerts) = (ends.state.clone(), ends.alerts.clone());
                let report = self.whole(ends, rules, &request, &progress).await?;
                let full = match rules.repair {
                    true => RunKind::Reconcile,
                    false => RunKind::Audit,
                };
                if counts(&request, full) && report.outcome.is_complete() {
                    unhealed::healed(&state, &alerts);
                }
                Ok(report)
            }
            (RunKind::Sweep, _) => self.sweep(ends, rules, &progress).await,
            (RunKind::Census, _) => self.census(ends, rules, request.asked_by, &progress).await,
        }
    }
}

impl Reconciler {
    async fn sweep(&self, mut ends: Ends, rules: Rules, watch: &Watch) -> Result<Report, RunError> {
        self.ready(&mut ends).await?;
        let known = self.options.known.as_ref();
        let swept = self
            .options
            .sweeper
            .run(&ends, known, rules.repair, watch)
            .await?;
        if let Some(why) = swept.wants_full {
            (self.options.want_full)(why);
        }
        self.keep(swept.report)
    }

    async fn census(
        &self,
        mut ends: Ends,
        rules: Rules,
        asked_by: AskedBy,
        watch: &Watch,
    ) -> Result<Report, RunError> {
        self.ready(&mut ends).await?;
        let lately = Lately::of(&ends, asked_by);
        let leave = Leave {
            repair: rules.repair,
            limits: Limits {
                max_deletes: rules.max_deletes,
                max_delete_ratio: rules.max_delete_ratio,
            },
            lately: lately.removed(Table::Users).map_err(Trouble::from)?,
        };
        let known = self.options.known.as_ref();
        let counted = self.options.census.run(&ends, known, leave, watch).await?;
        lately.add(Table::Users, counted.removed);
        if let Some(why) = &counted.wants_full {
            (self.options.want_full)(why);
        }
        match counted.report {
            Some(mut report) => {
                let slice = self.options.census.slice(&ends, known, leave.repair);
                slice.await.add_to(&mut report);
                if let Some(slice) = self.member_counts(&ends, rules).await {
                    slice.add_to(&mut report);
                }
                report.finished_ms = (ends.now)();
                report.calls = ends.cost.calls();
                report.bytes = ends.cost.bytes();
                self.keep(report)
            }
            None => Err(RunError::Early(counted.wants_full.unwrap_or_default())),
        }
    }

    /// What small scans need to know: the pair of services is the right one. The tables of the deployment are
    /// asked for by full diffs only, since a quiet minute is to cost one request.
    async fn ready(&self, ends: &mut Ends) -> Result<(), RunError> {
        ends.clerk = ends.clerk.at(Priority::Confirm);
        pins::check(ends, self.options.identity.as_ref()).await?;
        Ok(())
    }

    fn keep(&self, report: Report) -> Result<Report, RunError> {
        let kept = self.write_down(&report);
        kept.map_err(Trouble::from)?;
        Ok(report)
    }

    fn write_down(&self, report: &Report) -> Result<(), HistoryError> {
        let history = &self.options.history;
        let mut log = None;
        if !report.differences.is_empty() {
            let mut lines = history.log(&report.id)?;
            for one in &report.differences {
                lines.append(one)?;
            }
            log = Some(lines);
        }
        history.keep(report, log)?;
        Ok(())
    }
}

impl Runs for Reconciler {
    fn run(
        &self,
        request: RunRequest,
        progress: Watch,
        stop: CancellationToken,
    ) -> BoxFuture<'_, Result<Report, RunError>> {
        async move {
            tokio::select! {
                ran = self.carry_out(request, progress) => ran,
                () = stop.cancelled() => Err(RunError::Interrupted(
                    "the run was stopped; the next one goes on where it was".into(),
                )),
            }
        }
        .boxed()
    }

    fn sync_one(
        &self,
        record: RecordKey,
        revive: bool,
        who: Arc<str>,
    ) -> BoxFuture<'_, Result<SyncedOne, RunError>> {
        self.one(record, revive, who).boxed()
    }
}

impl From<Trouble> for RunError {
    fn from(trouble: Trouble) -> Self {
        let words = trouble.to_string();
        match trouble.fault() {
            Fault::Service { .. } => RunError::Interrupted(words),
            _ => RunError::Refused(words),
        }
    }
}

/// The tables that the deployment serves, after a look whether it speaks this contract.
async fn described(ends: &Ends) -> Result<Vec<Table>, Trouble> {
    let described = patiently(|| ends.reader.describe()).await;
    let described = described.map_err(|trouble| match trouble {
        Trouble::Convex(error) if error.may_be_missing_function() => Trouble::Foreign(format!(
            "{error}. Most likely the functions are not deployed there, or not as convex.module says: \
             `clerk-convex-sync init` writes them, and `check --online` looks for them"
        )),
        trouble => trouble,
    })?;
    if described.contract != CONTRACT {
        return Err(Trouble::Foreign(format!(
            "the deployed functions speak contract {}, this version speaks {CONTRACT}; deploy those that \
             `clerk-convex-sync init` writes",
            described.contract
        )));
    }
    let served = |table: &Table| described.tables.iter().any(|name| name == table.name());
    Ok(Table::ALL.into_iter().filter(served).collect())
}

/// Of memberships: organizations that exist and would be left without any member.
async fn emptied(ends: &Ends, group: Group, orphans: &[Orphan]) -> Result<u64, Trouble> {
    if group != Group::Memberships {
        return Ok(0);
    }
    let mut leaving: BTreeMap<&Key, u64> = BTreeMap::new();
    for (organization, _) in orphans
        .iter()
        .filter_map(|orphan| orphan.name.parents.as_ref())
    {
        *leaving.entry(organization).or_default() += 1;
    }
    let clerk = ends.clerk.at(Priority::Confirm);
    let mut emptied = 0;
    for (organization, _) in leaving
        .into_iter()
        .filter(|(_, gone)| *gone >= EMPTIED_FROM)
    {
        let exists = patiently(|| clerk.get_organization(organization)).await?;
        if matches!(exists, Lookup::Gone(_)) {
            continue;
        }
        let members = patiently(|| clerk.list_memberships(organization, 0, 1)).await?;
        emptied += u64::from(members.total == 0);
    }
    Ok(emptied)
}
