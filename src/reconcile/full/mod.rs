//! The full diff of one group of tables: cut into ranges, walked side by side, and judged as a whole.
//!
//! Small instances are walked page by page, each made sure of before the next is asked for. Large ones are cut
//! into ranges that are walked at once, as many as the service's answer time makes useful. A range that fails
//! does not stop the others; a group of which one range was not walked to its end deletes nothing.

pub mod affiliation;
pub mod candidate;
pub mod group;
pub mod held;
pub mod kept;
pub mod range;
pub mod records;
mod slices;
pub mod tally;
pub mod unnamed;

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{task::JoinSet, time::Instant};

use self::{
    affiliation::Affiliations,
    group::Group,
    held::HeldRows,
    kept::{Kept, Waits},
    range::{Course, RangeRun, orphans_name},
    records::RecordPages,
    tally::Tally,
    unnamed::Unnamed,
};
use super::{
    Trouble,
    confirm::Looking,
    cursor::{Cursors, MAX_RANGES as MAX_PARTS, RangeCursor, RunCursor},
    ends::Ends,
    mend::{May, Orphan},
    merge::Double,
    parts::Parts,
    patiently,
    run::{Progress, Watch},
    scan::ranges::{Belief, Builder, MAX_RANGES},
};
use crate::{
    clerk::{
        Priority,
        client::{CreatedBetween, MAX_PAGE, Order, UserPage},
        walk::{Room, WalkError},
    },
    convex::reader::Range,
    model::{Fault, Table},
    store::crypt::Keyring,
};

/// Up to so many pages of Clerk's one range does, page after page.
const FEW_PAGES: u64 = 32;
/// Ranges at once where answers come at once: enough for both cores and both services.
const FEWEST_RANGES: usize = 4;
/// Ranges at once where they do not: at 100 ms an answer they use all that Clerk's limit of 1,000 requests in ten
/// seconds allows. Each takes megabytes, and a few requests to be cut.
const MOST_RANGES: usize = 12;
/// Pages of each service that lie ahead of the ranges at once: a service that answers at once keeps as many busy as it
/// needs; where answers take their time the ranges make up for it, and memory does not grow with their number twice over.
const MOST_AHEAD: usize = FEWEST_RANGES;
/// Parts into which the rest of a range goes when one of its pages cannot be read.
const PARTS: usize = 8;
/// Ranges of which the last page is named.
const MAX_ENDS: usize = 4;
/// Answer time that one more range makes up for, in milliseconds.
const MS_A_RANGE: u128 = 3;

/// What the walk of a group came to.
pub struct Walked {
    /// What was counted.
    pub tally: Tally,
    /// Who is suspected to be gone.
    pub orphans: Vec<Orphan>,
    /// Whose rows may become one.
    pub doubles: Vec<Double>,
    /// Why the listings prove nothing; none is proof.
    pub flaws: Vec<String>,
    /// The last pages of the first ranges, in words: where a listing that is too short may have been cut.
    pub ends: Vec<String>,
    /// How many there are in which time, if all of it was counted.
    pub belief: Option<Belief>,
    /// How many records there were when the last page was read, if a listing says that.
    pub total: Option<u64>,
    /// Set if a range was not walked to its end.
    pub cut_off: Option<Trouble>,
}

impl Walked {
    /// Of a group that could not be walked at all.
    pub fn unseen(trouble: Trouble) -> Walked {
        Walked {
            tally: Tally::default(),
            orphans: Vec::new(),
            doubles: Vec::new(),
            flaws: Vec::new(),
            ends: Vec::new(),
            belief: None,
            total: None,
            cut_off: Some(trouble),
        }
    }
}

/// What a walk needs beside its cursor.
pub struct Setting<'r> {
    /// Both services.
    pub ends: &'r Ends,
    /// The tables that are compared.
    pub tables: Vec<Table>,
    /// What may be done about what differs.
    pub may: May,
    /// True if personal values are kept as they are.
    pub show_values: bool,
    /// Rows in one page of Convex's.
    pub page_rows: u32,
    /// Calls to Convex at once.
    pub calls: usize,
    /// Where cursors are kept.
    pub cursors: &'r Cursors,
    /// The state directory.
    pub dir: &'r Path,
    /// Encrypt what is kept in it.
    pub keys: &'r Keyring,
    /// Hears how far it is.
    pub progress: &'r Watch,
    /// What users' rows say about organizations.
    pub affiliations: &'r Arc<Affiliations>,
    /// Softly deleted rows that were held long enough.
    pub held_rows: &'r Arc<HeldRows>,
    /// Users for whom Clerk names no row, or another one.
    pub unnamed: &'r Arc<Unnamed>,
}

/// Looks how many records there are, and cuts them into ranges.
pub async fn begin(
    setting: &Setting<'_>,
    run: &mut RunCursor,
) -> Result<Vec<RangeCursor>, Trouble> {
    let ends = setting.ends;
    let clerk = ends.clerk.at(Priority::Scan);
    let asked = Instant::now();
    run.counted = records::count(&clerk, run.group).await?;
    let answer_time = asked.elapsed();
    run.bulk = true;
    for table in &setting.tables {
        let all = Range::default();
        let page = patiently(|| ends.reader.list(*table, all, None, 1)).await?;
        run.bulk &= page.rows.is_empty() && page.odd.is_empty() && page.cursor.is_none();
    }
    let pages = run.counted / u64::from(MAX_PAGE);
    if run.group != Group::Users || pages <= FEW_PAGES {
        return Ok(vec![RangeCursor::begin(None, None)]);
    }
    let first = UserPage {
        order: Order::Created,
        created: CreatedBetween::default(),
        starting_after: None,
        offset: 0,
        limit: 1,
    };
    let oldest = patiently(|| clerk.list_users(&first)).await?;
    let oldest_ms = oldest.first().map_or(0, |user| user.created_at());
    let mut wanted = ranges_for(answer_time);
    if setting.may.repair && (run.bulk || run.pass > 1) {
        // Each writes one call at a time, and one of hundreds of rows takes long. Others need calls too.
        wanted = wanted.max((setting.calls * 3 / 4).min(MOST_RANGES));
    }
    let bounds = slices::cut(&clerk, run.counted, wanted, oldest_ms, (ends.now)()).await?;
    let from = std::iter::once(None).chain(bounds.iter().copied().map(Some));
    let before = bounds.iter().copied().map(Some).chain([None]);
    let ranges = from.zip(before);
    Ok(ranges
        .map(|(from, before)| RangeCursor::begin(from, before))
        .collect())
}

fn ranges_for(answer_time: Duration) -> usize {
    let useful = (answer_time.as_millis() / MS_A_RANGE) as usize;
    useful.clamp(FEWEST_RANGES, MOST_RANGES)
}

/// Walks the ranges that are not done.
pub async fn walk(
    setting: &Setting<'_>,
    run: &RunCursor,
    ranges: Vec<RangeCursor>,
) -> Result<Walked, Trouble> {
    let parts = Parts::open(setting.dir, &run.id, setting.keys)?;
    let places = Arc::new(Places::new(ranges, run, setting));
    let waiting = places.waiting();
    // A small table is walked page by page, each made sure of before the next is asked for.
    let careful = waiting.len() == 1;
    let mut course = course(setting, run, parts.clone(), Arc::clone(&places));
    course.careful = careful;
    let course = Arc::new(course);
    let mut tasks = JoinSet::new();
    let room = Room::of(MOST_AHEAD);
    let clerk = setting.ends.clerk.at(Priority::Scan);
    let start = |tasks: &mut JoinSet<_>, number: usize, cursor: RangeCursor| {
        let ahead = (!careful).then_some(&room);
        let pages = RecordPages::of(clerk.clone(), run.group, &cursor, ahead);
        let range = RangeRun::new(Arc::clone(&course), number, cursor)?;
        tasks.spawn(async move { (number, range.run(pages).await) });
        Ok::<(), Trouble>(())
    };
    for (number, cursor) in waiting {
        start(&mut tasks, number, cursor)?;
    }
    let mut cut_off = None;
    while let Some(ended) = tasks.join_next().await {
        let (number, trouble) = match ended {
            Ok((_, Ok(()))) => continue,
            Ok((number, Err(trouble))) => (number, trouble),
            Err(_) => return Err(Trouble::Ending),
        };
        tracing::warn!("a part of the comparison could not be walked to its end: {trouble}");
        // A page that cannot be read spoils its own part; a service that is away spoils all.
        if !matches!(trouble.fault(), Fault::Service { .. } | Fault::Record) {
            return Err(trouble);
        }
        if is_one_page(&trouble) && run.group == Group::Users {
            for (number, cursor) in places.pass_by(number, (setting.ends.now)()) {
                start(&mut tasks, number, cursor)?;
            }
        }
        cut_off = Some(trouble);
    }
    sum_up(run, &course, places.all(), cut_off)
}

/// Adds up what the ranges came to.
fn sum_up(
    run: &RunCursor,
    course: &Course,
    ranges: Vec<RangeCursor>,
    cut_off: Option<Trouble>,
) -> Result<Walked, Trouble> {
    let mut walked = Walked {
        tally: run.moved.clone(),
        orphans: Vec::new(),
        doubles: Vec::new(),
        flaws: Vec::new(),
        ends: Vec::new(),
        belief: belief(course, ranges.len()),
        // Listings that say it are walked in one piece.
        total: ranges.first().and_then(|range| range.total),
        cut_off,
    };
    for (number, range) in ranges.into_iter().enumerate() {
        walked.tally.add(&range.tally);
        walked.flaws.extend(range.flaws);
        let room = MAX_ENDS - walked.ends.len();
        walked.ends.extend(range.end.into_iter().take(room));
        let name = orphans_name(&run.walk(), number);
        course.parts.read(&name, |kept: Kept| match kept.read() {
            Some(Waits::Orphan(orphan)) => walked.orphans.push(orphan),
            Some(Waits::Double(double)) => walked.doubles.push(double),
            None => {}
        })?;
    }
    Ok(walked)
}

/// True if other pages may well be readable.
pub fn is_one_page(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Walk(WalkError::Page { .. }))
}

/// What the ranges of this run have in common.
fn course(setting: &Setting<'_>, run: &RunCursor, parts: Parts, places: Arc<Places>) -> Course {
    Course {
        looking: Looking {
            ends: Ends {
                clerk: setting.ends.clerk.at(Priority::Confirm),
                ..setting.ends.clone()
            },
            group: run.group,
            tables: setting.tables.clone(),
            bulk: run.bulk,
        },
        may: setting.may,
        careful: true,
        show_values: setting.show_values,
        cursors: setting.cursors.clone(),
        parts,
        walk: run.walk(),
        page_rows: setting.page_rows,
        rows_ahead: Room::of(MOST_AHEAD),
        on_page: Box::new(move |number, cursor| places.moved(number, cursor)),
        counted: Mutex::default(),
        affiliations: Arc::clone(setting.affiliations),
        held_rows: Arc::clone(setting.held_rows),
        unnamed: Arc::clone(setting.unnamed),
    }
}

fn belief(course: &Course, ranges: usize) -> Option<Belief> {
    let mut counted = course
        .counted
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if course.looking.group != Group::Users || counted.len() != ranges {
        return None;
    }
    let mut all = Builder::new(MAX_RANGES);
    for part in std::mem::take(&mut *counted).into_values() {
        all.join(part).ok()?;
    }
    Some(all.finish())
}

/// Where the ranges stand, for the progress bar and for the end.
struct Places {
    ranges: Mutex<Vec<RangeCursor>>,
    total: Option<u64>,
    phase: String,
    before: (u64, u64),
    progress: Watch,
    own: Table,
}

impl Places {
    fn new(ranges: Vec<RangeCursor>, run: &RunCursor, setting: &Setting<'_>) -> Places {
        let what = run.group.own_table().name();
        let phase = match (run.pass, run.bulk && setting.may.repair) {
            (1, true) => format!("moving {what}"),
            (1, false) => format!("comparing {what}"),
            _ => format!("checking {what}"),
        };
        Places {
            ranges: Mutex::new(ranges),
            total: Some(run.counted),
            phase,
            before: (run.before.differences(), run.before.repaired()),
            progress: setting.progress.clone(),
            own: run.group.counted_table(&setting.tables),
        }
    }

    fn held(&self) -> MutexGuard<'_, Vec<RangeCursor>> {
        self.ranges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> Vec<(usize, RangeCursor)> {
        let ranges = self.held();
        let numbered = ranges.iter().cloned().enumerate();
        numbered.filter(|(_, range)| !range.done).collect()
    }

    /// The rest of a range of which a page cannot be read, in parts: the page is in one of them, the others can
    /// be walked. Parts of a part are not made.
    fn pass_by(&self, number: usize, now_ms: i64) -> Vec<(usize, RangeCursor)> {
        let mut ranges = self.held();
        let count = ranges.len();
        let Some(range) = ranges.get_mut(number).filter(|range| !range.is_part()) else {
            return Vec::new();
        };
        if count + PARTS > MAX_PARTS {
            return Vec::new();
        }
        let parts = range.part_rest(PARTS, now_ms);
        let numbered = parts.iter().cloned().enumerate();
        let numbered = numbered.map(|(at, part)| (count + at, part)).collect();
        ranges.extend(parts);
        numbered
    }

    fn all(&self) -> Vec<RangeCursor> {
        self.held().clone()
    }

    fn moved(&self, number: usize, cursor: &RangeCursor) {
        let mut ranges = self.held();
        if let Some(range) = ranges.get_mut(number) {
            range.clone_from(cursor);
        }
        let sum = |of: fn(&Tally) -> u64| ranges.iter().map(|range| of(&range.tally)).sum::<u64>();
        let own = self.own;
        let done = ranges
            .iter()
            .filter_map(|range| range.tally.tables.get(&own))
            .map(|figures| figures.clerk)
            .sum();
        self.progress.send_replace(Progress {
            phase: self.phase.clone(),
            done,
            total: self.total,
            differences: self.before.0 + sum(Tally::differences),
            repaired: self.before.1 + sum(Tally::repaired),
        });
    }
}
