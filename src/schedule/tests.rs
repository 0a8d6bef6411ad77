//! The loop on paused time. The library strikes by the time of day, which stands still meanwhile, so what
//! strikes here is the schedule itself.

use std::sync::{
    Mutex, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use tokio::time::{advance, sleep, timeout};
use tokio_util::task::TaskTracker;

use super::*;

/// A time that moves with the paused clock.
fn now_ms() -> i64 {
    thread_local! {
        static START: OnceLock<Instant> = const { OnceLock::new() };
    }
    // Ten seconds past a full half minute.
    const BASE: i64 = 1_772_366_410_000;
    let since = START.with(|start| start.get_or_init(Instant::now).elapsed());
    BASE + i64::try_from(since.as_millis()).unwrap()
}

/// A job whose ends a test orders; how often it was started is what tests look at.
struct Bench {
    standing: Arc<Mutex<Standing>>,
    starts: Arc<Mutex<Vec<i64>>>,
    endings: mpsc::UnboundedSender<Ending>,
    held: Arc<AtomicBool>,
    metrics: Metrics,
    pulse: Pulse,
    stop: CancellationToken,
    tasks: TaskTracker,
}

fn bench(rhythm: &str, standing: Standing) -> Bench {
    let standing = Arc::new(Mutex::new(standing));
    let starts = Arc::new(Mutex::new(Vec::new()));
    let held = Arc::new(AtomicBool::new(false));
    let (endings, ordered) = mpsc::unbounded_channel();
    let ordered = Arc::new(tokio::sync::Mutex::new(ordered));
    let (recalled, started) = (Arc::clone(&standing), Arc::clone(&starts));
    now_ms();
    let job = Job {
        name: "sweep",
        rhythm: Rhythm::parse(rhythm).unwrap(),
        recall: Arc::new(move || recalled.lock().unwrap().clone()),
        start: Arc::new(move || {
            let (started, ordered) = (Arc::clone(&started), Arc::clone(&ordered));
            Box::pin(async move {
                started.lock().unwrap().push(now_ms());
                ordered.lock().await.recv().await.expect("an order")
            })
        }),
    };
    let metrics = Metrics::default();
    let asked = Arc::clone(&held);
    let held_now: Held = Arc::new(move || asked.load(Ordering::Relaxed).then_some("paused"));
    let (schedule, pulse) = Schedule::new(vec![job], held_now, metrics.clone(), now_ms);
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    tasks.spawn(schedule.run(stop.clone()));
    Bench {
        standing,
        starts,
        endings,
        held,
        metrics,
        pulse,
        stop,
        tasks,
    }
}

impl Bench {
    fn starts(&self) -> usize {
        self.starts.lock().unwrap().len()
    }

    /// Lets the time pass until the job was started so often; how long it took, in seconds.
    async fn until(&self, starts: usize) -> u64 {
        let from = Instant::now();
        while self.starts() < starts {
            assert!(from.elapsed() < Duration::from_secs(3 * 86_400), "never");
            sleep(Duration::from_millis(500)).await;
        }
        from.elapsed().as_secs()
    }

    async fn end(self) {
        self.stop.cancel();
        self.tasks.close();
        let ended = timeout(Duration::from_secs(5), self.tasks.wait()).await;
        ended.expect("it ends");
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_never_ran_starts_soon_and_again_soon_after_a_failure() {
    let bench = bench("0 17 3 * * *", Standing::default());
    assert_eq!(bench.until(1).await, 10);
    bench.standing.lock().unwrap().failures = 1;
    bench.endings.send(Ending::Failed).unwrap();
    let waited = bench.until(2).await;
    assert!((27..=34).contains(&waited), "{waited}");
    bench.standing.lock().unwrap().failures = 2;
    bench.endings.send(Ending::Failed).unwrap();
    let waited = bench.until(3).await;
    assert!((54..=67).contains(&waited), "{waited}");
    *bench.standing.lock().unwrap() = Standing::settled(now_ms());
    bench.endings.send(Ending::Done).unwrap();
    let waited = bench.until(4).await;
    assert!(waited > 3_600, "the next one is the clock's: {waited} s");
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn strikes_come_round_and_those_during_a_run_are_skipped_and_counted() {
    let bench = bench("*/30 * * * * *", Standing::settled(now_ms()));
    // The next half minute is twenty seconds away; a strike is missed ten seconds later.
    let waited = bench.until(1).await;
    assert!((29..=34).contains(&waited), "{waited}");
    sleep(Duration::from_secs(100)).await;
    assert_eq!(bench.starts(), 1, "one at a time");
    let skipped = "runs_skipped_total{kind=\"sweep\",reason=\"running\"} 3";
    assert!(
        bench.metrics.render().contains(skipped),
        "{}",
        bench.metrics.render()
    );
    bench.endings.send(Ending::Done).unwrap();
    let waited = bench.until(2).await;
    assert!(waited <= 34, "{waited}");
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_held_back_starts_once_it_may() {
    let bench = bench("0 17 3 * * *", Standing::default());
    bench.held.store(true, Ordering::Relaxed);
    sleep(Duration::from_secs(3_600)).await;
    assert_eq!(bench.starts(), 0);
    let skipped = "runs_skipped_total{kind=\"sweep\",reason=\"paused\"} 1";
    assert!(
        bench.metrics.render().contains(skipped),
        "{}",
        bench.metrics.render()
    );
    bench.held.store(false, Ordering::Relaxed);
    assert!(bench.until(1).await <= 2);
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_pulse_beats_while_a_run_goes_on_and_not_after_the_end() {
    let bench = bench("* * * * * *", Standing::default());
    bench.until(1).await;
    advance(Duration::from_secs(60)).await;
    assert!(bench.pulse.beats().await);
    let pulse = bench.pulse.clone();
    bench.end().await;
    assert!(!pulse.beats().await);
}
