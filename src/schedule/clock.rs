//! The library that strikes: one cron job for each rhythm, in UTC.
//!
//! It does nothing but say which job's time has come. Nothing in it stops overlap, it drops what it missed
//! and swallows panics, so runs are none of its business; and when it is silent, the schedule notices.

use tokio::sync::mpsc;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

use super::rhythm::Rhythm;

/// Strikes that wait; one more of a job that is due already changes nothing.
const WAITING: usize = 16;

/// See the module's words.
pub struct Clock {
    strikes: mpsc::Receiver<usize>,
    // Keeps the channel open when there is no job, so that waiting for a strike is waiting.
    _open: mpsc::Sender<usize>,
    scheduler: Option<JobScheduler>,
}

impl Clock {
    /// Starts to strike, by the position of each rhythm. What the library does not take is logged; the
    /// schedule strikes in its place.
    pub async fn start<'a>(rhythms: impl Iterator<Item = &'a Rhythm>) -> Clock {
        let (sender, strikes) = mpsc::channel(WAITING);
        let scheduler = match schedule(rhythms, &sender).await {
            Ok(scheduler) => scheduler,
            Err(error) => {
                tracing::error!("the clock of the schedule does not start: {error}");
                None
            }
        };
        Clock {
            strikes,
            _open: sender,
            scheduler,
        }
    }

    /// The next strike. Loses none when dropped.
    pub async fn strike(&mut self) -> Option<usize> {
        self.strikes.recv().await
    }

    /// Stops to strike.
    pub async fn end(mut self) {
        if let Some(scheduler) = &mut self.scheduler
            && let Err(error) = scheduler.shutdown().await
        {
            tracing::debug!("the clock of the schedule did not end well: {error}");
        }
    }
}

async fn schedule<'a>(
    rhythms: impl Iterator<Item = &'a Rhythm>,
    strikes: &mpsc::Sender<usize>,
) -> Result<Option<JobScheduler>, JobSchedulerError> {
    let mut scheduler = None;
    for (index, rhythm) in rhythms.enumerate() {
        let scheduler = match &mut scheduler {
            Some(scheduler) => scheduler,
            none => none.insert(JobScheduler::new().await?),
        };
        let strikes = strikes.clone();
        let job = Job::new_async(rhythm.text(), move |_, _| {
            let strikes = strikes.clone();
            // A full channel is a loop that does not move, which the watchdog sees.
            Box::pin(async move {
                let _ = strikes.try_send(index);
            })
        })?;
        scheduler.add(job).await?;
    }
    if let Some(scheduler) = &scheduler {
        scheduler.start().await?;
    }
    Ok(scheduler)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn every_rhythm_strikes_by_its_position_and_none_after_the_end() {
        let second = Rhythm::parse("* * * * * *").unwrap();
        let never = Rhythm::parse("0 0 0 1 1 * 2199").unwrap();
        let mut clock = Clock::start([&never, &second, &second].into_iter()).await;
        let mut struck = [0; 3];
        while struck[1] < 2 || struck[2] < 2 {
            let next = timeout(Duration::from_secs(10), clock.strike()).await;
            struck[next.expect("it strikes").unwrap()] += 1;
        }
        assert_eq!(struck[0], 0);
        clock.end().await;
    }

    #[tokio::test]
    async fn a_clock_without_rhythms_is_silent() {
        let mut clock = Clock::start(std::iter::empty()).await;
        assert!(clock.scheduler.is_none());
        let strike = timeout(Duration::from_millis(50), clock.strike()).await;
        assert!(strike.is_err(), "it waits");
    }
}
