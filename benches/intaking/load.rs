//! The sender: 64 kept-alive connections on one thread, as cheap as a sender can be.
//!
//! Closed loop: each connection sends the next delivery when the last one was answered. Open loop: one
//! delivery in each tick, whatever became of the last; its latency counts from when it was due, so a receiver
//! that stalls pays for everything that had to wait. Knows HTTP/1.1 as far as reading status and length.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use rustix::{
    event::{Timespec, epoll},
    fd::OwnedFd,
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create,
        timerfd_settime,
    },
};

use super::events::{self, Requests};
use crate::support::spread::Spread;

/// Connections to the receiver.
pub const CONNECTIONS: usize = 64;
/// The longest that an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// What the timer is called among the connections.
const TICK: u64 = u64::MAX;
/// The kernel may wake a sleeper this late; the rest of the time until a delivery is due is spent looking. On a virtual
/// machine half of all are woken 0.1 ms late.
const WAKE_EARLY: Duration = Duration::from_micros(200);
/// What is added to the share of a tick from one delivery to the next: no other number's multiples are spread as evenly.
const GOLDEN: f64 = 0.618_033_988_749_895;

/// What came of sending.
pub struct Sent {
    /// Deliveries answered with 200 while it was counted.
    pub acknowledged: usize,
    /// For how long it was counted.
    pub took: Duration,
    /// From sending (closed loop) or from when it was due (open loop) to the end of the answer.
    pub latency: Spread,
    /// Open loop: how long after it was due a delivery was begun to be sent.
    pub late: Spread,
    /// Deliveries sent in all, the first of them not counted.
    pub sent: usize,
    /// Open loop: when each delivery was due, since the epoch.
    pub due: Vec<Duration>,
}

struct Connection {
    stream: TcpStream,
    /// When the delivery in flight was sent, or was due.
    since: Option<Instant>,
    answer: Vec<u8>,
}

/// The connections, and who waits on them.
pub struct Sender {
    epoll: OwnedFd,
    /// Wakes for the next tick: epoll's own patience counts whole milliseconds.
    timer: OwnedFd,
    connections: Vec<Connection>,
    idle: VecDeque<usize>,
    events: Vec<epoll::Event>,
}

impl Sender {
    /// Opens all connections.
    pub fn connect(to: SocketAddr) -> io::Result<Sender> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?;
        let data = epoll::EventData::new_u64(TICK);
        epoll::add(
            &epoll,
            &timer,
            data,
            epoll::EventFlags::IN | epoll::EventFlags::ET,
        )?;
        let mut connections = Vec::with_capacity(CONNECTIONS);
        for index in 0..CONNECTIONS {
            let stream = TcpStream::connect(to)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let data = epoll::EventData::new_u64(index as u64);
            epoll::add(&epoll, &stream, data, epoll::EventFlags::IN)?;
            connections.push(Connection {
                stream,
                since: None,
                answer: Vec::with_capacity(1024),
            });
        }
        Ok(Sender {
            epoll,
            timer,
            connections,
            idle: (0..CONNECTIONS).collect(),
            events: Vec::with_capacity(CONNECTIONS),
        })
    }

    /// Sends as fast as answers come: `warm_up` uncounted, then for `length` or until nothing is left.
    pub fn flood(
        &mut self,
        requests: &Requests,
        warm_up: Duration,
        length: Duration,
    ) -> io::Result<Sent> {
        let counted_from = Instant::now() + warm_up;
        let until = counted_from + length;
        let mut latencies = Vec::with_capacity(requests.len());
        let mut next = 0;
        let mut last = counted_from;
        while let Some(free) = self.idle.pop_front() {
            if let Some(request) = requests.get(next) {
                self.send(free, request, Instant::now())?;
                next += 1;
            }
        }
        while self.idle.len() < CONNECTIONS && Instant::now() < until {
            self.wait(PATIENCE)?;
            while let Some(event) = self.events.pop() {
                let index = event.data.u64() as usize;
                let Some(since) = self.answered(index)? else {
                    continue;
                };
                let now = Instant::now();
                if now >= counted_from && now < until {
                    latencies.push(now - since);
                    last = now;
                }
                match requests.get(next) {
                    Some(request) => {
                        self.send(index, request, now)?;
                        next += 1;
                    }
                    None => self.idle.push_back(index),
                }
            }
        }
        let took = if next == requests.len() {
            last - counted_from
        } else {
            length
        };
        self.finish()?;
        Ok(Sent {
            acknowledged: latencies.len(),
            took,
            latency: Spread::of(latencies),
            late: Spread::default(),
            sent: next,
            due: Vec::new(),
        })
    }

    /// Sends `per_second` for `length`, or until nothing is left.
    pub fn steady(
        &mut self,
        requests: &Requests,
        per_second: u32,
        length: Duration,
    ) -> io::Result<Sent> {
        let total = (length.as_secs_f64() * f64::from(per_second)) as usize;
        let total = total.min(requests.len());
        let tick = Duration::from_secs(1) / per_second;
        let start = Instant::now() + Duration::from_millis(5);
        let start_epoch = events::now() + (start - Instant::now());
        let at = |index: usize| start + due_after(index, tick);
        let mut waiting = VecDeque::new();
        let mut latencies = Vec::with_capacity(total);
        let mut late = Vec::with_capacity(total);
        let mut due = Vec::with_capacity(total);
        while latencies.len() < total {
            let now = Instant::now();
            while due.len() < total && at(due.len()) <= now {
                waiting.push_back(due.len());
                due.push(start_epoch + due_after(due.len(), tick));
            }
            while let Some(&next) = waiting.front()
                && let Some(free) = self.idle.pop_front()
            {
                waiting.pop_front();
                let request = requests.get(next).unwrap_or_default();
                late.push(at(next).elapsed());
                self.send(free, request, at(next))?;
            }
            if due.len() < total {
                let until_due = at(due.len()).saturating_duration_since(Instant::now());
                self.poll_until(until_due.saturating_sub(WAKE_EARLY))?;
            } else {
                self.wait(PATIENCE)?;
            }
            while let Some(event) = self.events.pop() {
                let index = event.data.u64() as usize;
                if let Some(since) = self.answered(index)? {
                    latencies.push(since.elapsed());
                    self.idle.push_back(index);
                }
            }
        }
        Ok(Sent {
            acknowledged: latencies.len(),
            took: start.elapsed(),
            latency: Spread::of(latencies),
            late: Spread::of(late),
            sent: total,
            due,
        })
    }

    /// Waits for the answers that are still out.
    fn finish(&mut self) -> io::Result<()> {
        while self.connections.iter().any(|one| one.since.is_some()) {
            self.wait(PATIENCE)?;
            while let Some(event) = self.events.pop() {
                self.answered(event.data.u64() as usize)?;
            }
        }
        self.idle = (0..CONNECTIONS).collect();
        Ok(())
    }

    fn send(&mut self, index: usize, request: &[u8], since: Instant) -> io::Result<()> {
        let connection = &mut self.connections[index];
        connection.since = Some(since);
        let mut rest = request;
        let deadline = Instant::now() + PATIENCE;
        while !rest.is_empty() {
            match connection.stream.write(rest) {
                Ok(written) => rest = &rest[written..],
                // One request in flight always fits; this is for a receiver that does not read.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if Instant::now() > deadline {
                        return Err(error);
                    }
                    std::thread::yield_now();
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn wait(&mut self, patience: Duration) -> io::Result<()> {
        self.poll(patience)?;
        if self.events.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the receiver does not answer",
            ));
        }
        Ok(())
    }

    /// As [`Sender::poll`], and to the microsecond.
    fn poll_until(&mut self, patience: Duration) -> io::Result<()> {
        if patience.is_zero() {
            return self.poll(patience);
        }
        let never = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let once = Itimerspec {
            it_interval: never,
            it_value: timespec(patience),
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        self.poll(PATIENCE)
    }

    fn poll(&mut self, patience: Duration) -> io::Result<()> {
        let timeout = timespec(patience);
        self.events.clear();
        match epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(&mut self.events),
            Some(&timeout),
        ) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// When the answered delivery was sent, if its answer is whole now.
    fn answered(&mut self, index: usize) -> io::Result<Option<Instant>> {
        // No connection has the timer's name.
        let Some(connection) = self.connections.get_mut(index) else {
            return Ok(None);
        };
        let mut chunk = [0; 2048];
        match connection.stream.read(&mut chunk) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => connection.answer.extend_from_slice(&chunk[..read]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        }
        match status_if_whole(&connection.answer)? {
            None => Ok(None),
            Some(200) => {
                connection.answer.clear();
                Ok(connection.since.take())
            }
            Some(status) => Err(io::Error::other(format!(
                "a delivery was answered with {status}"
            ))),
        }
    }
}

/// When a delivery is due: one in each tick, and over time at each moment of it alike. Convex's answers and the kernel's
/// timers keep to whole milliseconds; sent in step with them, all would meet them at the same point, and which one that is
/// would be chance.
fn due_after(index: usize, tick: Duration) -> Duration {
    let index = index as f64;
    tick.mul_f64(index + (index * GOLDEN).fract())
}

fn timespec(of: Duration) -> Timespec {
    Timespec {
        tv_sec: of.as_secs() as i64,
        tv_nsec: i64::from(of.subsec_nanos()),
    }
}

/// The status of an answer that is there to its end.
fn status_if_whole(answer: &[u8]) -> io::Result<Option<u16>> {
    let odd = || {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "not an answer of HTTP/1.1 with a length",
        )
    };
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&answer[..end]).map_err(|_| odd())?;
    let status = head
        .get(9..12)
        .and_then(|text| text.parse().ok())
        .ok_or_else(odd)?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().ok())?
    });
    let length = length.ok_or_else(odd)?;
    Ok((answer.len() >= end + 4 + length).then_some(status))
}
