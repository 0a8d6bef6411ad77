//! The machine under a simulated world: one thread, a clock that only jumps, one source of luck.
//!
//! Runs futures; which of those that are ready goes next is drawn, so that a seed is an interleaving too. A
//! task belongs to a life: the world's own, or one of the daemon's, which ends as a killed process does, at
//! whatever it was waiting for. The same seed makes the same run, which the trace's digest shows. Knows
//! nothing of what is simulated.

use std::{
    cell::{Cell, RefCell},
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::StdRng};

/// The world's own tasks; a daemon's lives begin at 1.
pub const WORLD: u32 = 0;
/// 2026-01-01T00:00:00Z, when every world begins.
pub const BEGINNING_MS: i64 = 1_767_225_600_000;
/// Events that are kept to be shown.
const SHOWN: usize = 80;
/// More turns than any world takes: what does not end is a fault too.
const MOST_TURNS: u64 = 500_000;

/// What is done with the words of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// They are not made: they cost more than the events.
    Silent,
    /// The last ones are kept.
    Kept,
    /// They are printed too.
    Aloud,
}

type Job = Pin<Box<dyn Future<Output = ()>>>;

/// See the module's words.
pub struct Machine {
    now: Cell<i64>,
    base: Instant,
    rng: RefCell<StdRng>,
    timers: RefCell<BinaryHeap<Reverse<(i64, u64)>>>,
    sleepers: RefCell<BTreeMap<u64, Waker>>,
    spawned: RefCell<Vec<(u32, Job)>>,
    killed: RefCell<Vec<u32>>,
    next: Cell<u64>,
    trace: RefCell<VecDeque<String>>,
    digest: Cell<u64>,
    events: Cell<u64>,
    manner: Manner,
    violation: RefCell<Option<String>>,
}

struct Task {
    life: u32,
    job: Job,
    waker: Waker,
}

type Ready = Arc<Mutex<Vec<u64>>>;

struct Bell {
    task: u64,
    ready: Ready,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if !ready.contains(&self.task) {
            ready.push(self.task);
        }
    }
}

impl Machine {
    /// A machine whose luck is drawn from the seed.
    pub fn new(seed: u64, manner: Manner) -> Rc<Machine> {
        Rc::new(Machine {
            now: Cell::new(BEGINNING_MS),
            base: Instant::now(),
            rng: RefCell::new(StdRng::seed_from_u64(seed)),
            timers: RefCell::default(),
            sleepers: RefCell::default(),
            spawned: RefCell::default(),
            killed: RefCell::default(),
            next: Cell::new(0),
            trace: RefCell::default(),
            digest: Cell::new(0xcbf2_9ce4_8422_2325),
            events: Cell::new(0),
            manner,
            violation: RefCell::new(None),
        })
    }

    /// The time of day, in milliseconds since the epoch.
    pub fn now(&self) -> i64 {
        self.now.get()
    }

    /// The same, for what reckons with instants.
    pub fn instant(&self) -> Instant {
        let passed = u64::try_from(self.now() - BEGINNING_MS).unwrap_or(0);
        self.base + Duration::from_millis(passed)
    }

    /// A number in 0..1.
    pub fn luck(&self) -> f64 {
        let luck: f64 = self.rng.borrow_mut().random();
        self.mix(luck.to_bits());
        luck
    }

    /// True this often.
    pub fn chance(&self, share: f64) -> bool {
        share > 0.0 && self.luck() < share
    }

    /// A number from `least` to `most`, both included.
    pub fn between(&self, least: i64, most: i64) -> i64 {
        let number = self.rng.borrow_mut().random_range(least..=most.max(least));
        self.mix(number.cast_unsigned());
        number
    }

    /// One of so many.
    pub fn pick(&self, many: usize) -> usize {
        let one = self.rng.borrow_mut().random_range(0..many);
        self.mix(one as u64);
        one
    }

    fn mix(&self, number: u64) {
        let mixed = self.digest.get().rotate_left(5) ^ number;
        self.digest.set(mixed.wrapping_mul(0x517c_c1b7_2722_0a95));
    }

    /// Lets others go on for so long.
    pub fn sleep(self: &Rc<Self>, ms: i64) -> Sleep {
        Sleep {
            machine: Rc::clone(self),
            until: self.now() + ms.max(0),
            timer: None,
        }
    }

    /// Starts a task of this life.
    pub fn spawn(&self, life: u32, job: impl Future<Output = ()> + 'static) {
        self.spawned.borrow_mut().push((life, Box::pin(job)));
    }

    /// Ends all tasks of a life where they stand.
    pub fn kill(&self, life: u32) {
        self.spawned.borrow_mut().retain(|(of, _)| *of != life);
        self.killed.borrow_mut().push(life);
    }

    /// Notes an event.
    pub fn say(&self, words: impl FnOnce() -> String) {
        self.mix(self.now().cast_unsigned());
        self.events.set(self.events.get() + 1);
        if self.manner == Manner::Silent {
            return;
        }
        let line = format!("{:>9} {}", self.now() - BEGINNING_MS, words());
        if self.manner == Manner::Aloud {
            println!("{line}");
        }
        let mut trace = self.trace.borrow_mut();
        if trace.len() == SHOWN {
            trace.pop_front();
        }
        trace.push_back(line);
    }

    /// Something is not as it must be: the world ends here.
    pub fn violated(&self, words: String) {
        self.say(|| format!("VIOLATED: {words}"));
        self.violation.borrow_mut().get_or_insert(words);
    }

    /// What was violated, if something was.
    pub fn violation(&self) -> Option<String> {
        self.violation.borrow().clone()
    }

    /// Stands for everything that happened.
    pub fn digest(&self) -> u64 {
        self.digest.get()
    }

    /// How much happened.
    pub fn events(&self) -> u64 {
        self.events.get()
    }

    /// The last events.
    pub fn trace(&self) -> Vec<String> {
        self.trace.borrow().iter().cloned().collect()
    }

    /// Runs until this is done, or something is violated.
    pub fn run(&self, story: impl Future<Output = ()> + 'static) {
        let ready = Ready::default();
        let mut tasks = BTreeMap::new();
        self.spawn(WORLD, story);
        let mut first = None;
        for _ in 0..MOST_TURNS {
            for life in self.killed.take() {
                tasks.retain(|_, task: &mut Task| task.life != life);
            }
            for (life, job) in self.spawned.take() {
                let id = self.number();
                first.get_or_insert(id);
                let ready = Arc::clone(&ready);
                let waker = Waker::from(Arc::new(Bell { task: id, ready }));
                waker.wake_by_ref();
                tasks.insert(id, Task { life, job, waker });
            }
            if self.violation.borrow().is_some() {
                return;
            }
            let Some(id) = self.next_ready(&ready) else {
                if !self.jump() {
                    return self.violated("nothing is left to wait for".into());
                }
                continue;
            };
            let Some(mut task) = tasks.remove(&id) else {
                continue;
            };
            let mut context = Context::from_waker(&task.waker);
            match task.job.as_mut().poll(&mut context) {
                Poll::Ready(()) if Some(id) == first => return,
                Poll::Ready(()) => {}
                Poll::Pending => drop(tasks.insert(id, task)),
            }
        }
        self.violated(format!("no end after {MOST_TURNS} turns"));
    }

    fn next_ready(&self, ready: &Ready) -> Option<u64> {
        let mut ready = ready.lock().unwrap_or_else(PoisonError::into_inner);
        match ready.len() {
            0 => None,
            1 => ready.pop(),
            many => Some(ready.swap_remove(self.pick(many))),
        }
    }

    /// Goes to the next moment at which something happens.
    fn jump(&self) -> bool {
        let Some(Reverse((at, timer))) = self.timers.borrow_mut().pop() else {
            return false;
        };
        let sleeper = self.sleepers.borrow_mut().remove(&timer);
        if let Some(waker) = sleeper {
            self.now.set(self.now().max(at));
            waker.wake();
        }
        true
    }

    fn number(&self) -> u64 {
        self.next.set(self.next.get() + 1);
        self.next.get()
    }
}

/// See [`Machine::sleep`].
pub struct Sleep {
    machine: Rc<Machine>,
    until: i64,
    timer: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.machine.now() >= self.until {
            return Poll::Ready(());
        }
        let (machine, until) = (Rc::clone(&self.machine), self.until);
        let timer = *self.timer.get_or_insert_with(|| {
            let timer = machine.number();
            machine.timers.borrow_mut().push(Reverse((until, timer)));
            timer
        });
        let waker = context.waker().clone();
        machine.sleepers.borrow_mut().insert(timer, waker);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(timer) = self.timer {
            self.machine.sleepers.borrow_mut().remove(&timer);
        }
    }
}
