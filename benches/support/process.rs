//! A child process: started, watched from outside, and always ended.
//!
//! Knows `/proc`: resident memory, and processor time by thread name. Everything a contender is judged
//! by is seen from out here, so that both are measured alike.

use std::{
    collections::BTreeMap,
    fs, io,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// How long a child may take to end by itself.
const END_PATIENCE: Duration = Duration::from_secs(15);
/// Ticks of the processor-time clock in a second: Linux shows 100 to everybody.
pub const TICKS_PER_SECOND: f64 = 100.0;

/// A running child; killed when dropped.
pub struct Process {
    /// The child, with its standard output if it was asked for.
    pub child: Child,
}

/// Seconds of processor time by thread name.
pub type Cpu = BTreeMap<String, f64>;

impl Process {
    /// Starts a command whose diagnostics go to a file.
    pub fn start(command: &mut Command, log: &Path) -> io::Result<Process> {
        let child = command
            .stdin(Stdio::null())
            .stderr(fs::File::create(log)?)
            .spawn()?;
        Ok(Process { child })
    }

    /// Asks it to end, and waits until it has.
    pub fn end(&mut self) -> io::Result<()> {
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            kill_process(pid, Signal::TERM)?;
        }
        let deadline = Instant::now() + END_PATIENCE;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "a child does not end",
                ));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Its resident memory, in bytes.
    pub fn resident_bytes(&self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let kib = status.lines().find_map(|line| {
            let rest = line.strip_prefix("VmRSS:")?;
            rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
        });
        kib.map(|kib| kib * 1024)
            .ok_or_else(|| io::Error::other("no VmRSS in /proc"))
    }

    /// What its threads have used so far.
    pub fn cpu(&self) -> io::Result<Cpu> {
        cpu_of(self.child.id())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the threads of a process have used so far.
pub fn cpu_of(pid: u32) -> io::Result<Cpu> {
    let mut cpu = Cpu::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end between being listed and being read.
        let Ok(stat) = fs::read_to_string(task?.path().join("stat")) else {
            continue;
        };
        let parts = stat
            .split_once('(')
            .and_then(|(_, rest)| rest.rsplit_once(')'));
        let Some((name, rest)) = parts else {
            continue;
        };
        let ticks = |field: usize| -> f64 {
            let text = rest.split_ascii_whitespace().nth(field);
            text.and_then(|text| text.parse().ok()).unwrap_or(0.0)
        };
        // utime and stime, counted from the state behind the name.
        *cpu.entry(name.to_owned()).or_default() += (ticks(11) + ticks(12)) / TICKS_PER_SECOND;
    }
    Ok(cpu)
}

/// What was used between two looks.
pub fn used(before: &Cpu, after: &Cpu) -> Cpu {
    let since = |(name, now): (&String, &f64)| {
        let used = now - before.get(name).copied().unwrap_or(0.0);
        (used > 0.0).then(|| (name.clone(), used))
    };
    after.iter().filter_map(since).collect()
}
