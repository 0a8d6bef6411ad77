//! A cron expression with seconds, in UTC: when next, and how far apart.
//!
//! Pure. Understands exactly what the scheduler's library understands, since both parse with the same rules.

use std::{fmt, time::Duration};

use chrono::{DateTime, Utc};
use croner::{
    Cron,
    parser::{CronParser, Seconds},
};
use thiserror::Error;

/// An expression that cannot be understood. Permanent.
#[derive(Debug, Error)]
#[error("{text:?} is not a time to run at: {reason}")]
pub struct NotARhythm {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

/// See the module's words.
#[derive(Clone)]
pub struct Rhythm {
    text: String,
    cron: Cron,
}

impl Rhythm {
    /// Reads six or seven fields, or a name such as `@daily`.
    ///
    /// # Errors
    /// [`NotARhythm`].
    pub fn parse(text: &str) -> Result<Rhythm, NotARhythm> {
        let parser = CronParser::builder()
            .seconds(Seconds::Required)
            .dom_and_dow(true)
            .build();
        let cron = parser.parse(text).map_err(|error| NotARhythm {
            text: text.to_owned(),
            reason: error.to_string(),
        })?;
        Ok(Rhythm {
            text: text.to_owned(),
            cron,
        })
    }

    /// The expression as it was given.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The first strike after this time; milliseconds since the epoch. `None` if there is none any more.
    pub fn next_after(&self, ms: i64) -> Option<i64> {
        // A part of a second would be carried over into the answer.
        let from: DateTime<Utc> = DateTime::from_timestamp(ms.div_euclid(1000), 0)?;
        let next = self.cron.find_next_occurrence(&from, false).ok()?;
        Some(next.timestamp_millis())
    }

    /// The time between the next two strikes after this time; none if there are no two.
    pub fn interval_after(&self, ms: i64) -> Option<Duration> {
        let next = self.next_after(ms)?;
        let after = self.next_after(next)?;
        u64::try_from(after - next).ok().map(Duration::from_millis)
    }
}

impl fmt::Debug for Rhythm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rhythm({})", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> i64 {
        text.parse::<DateTime<Utc>>().unwrap().timestamp_millis()
    }

    #[test]
    fn strikes_are_where_the_expression_says() {
        for (text, from, next, interval_s) in [
            (
                "*/30 * * * * *",
                "2026-03-01T11:59:59Z",
                "2026-03-01T12:00:00Z",
                30,
            ),
            (
                "*/30 * * * * *",
                "2026-03-01T12:00:00Z",
                "2026-03-01T12:00:30Z",
                30,
            ),
            (
                "0 */5 * * * *",
                "2026-03-01T11:59:59.999Z",
                "2026-03-01T12:00:00Z",
                300,
            ),
            (
                "0 17 3 * * *",
                "2026-03-01T03:17:00Z",
                "2026-03-02T03:17:00Z",
                86_400,
            ),
            (
                "@daily",
                "2026-03-01T12:00:00Z",
                "2026-03-02T00:00:00Z",
                86_400,
            ),
            (
                "@hourly",
                "2026-03-01T12:00:00Z",
                "2026-03-01T13:00:00Z",
                3_600,
            ),
            // The day of the month and that of the week must both be right.
            (
                "0 0 0 13 * FRI",
                "2026-01-01T00:00:00Z",
                "2026-02-13T00:00:00Z",
                28 * 86_400,
            ),
            (
                "0 0 0 * * 7",
                "2026-03-02T00:00:00Z",
                "2026-03-08T00:00:00Z",
                7 * 86_400,
            ),
        ] {
            let rhythm = Rhythm::parse(text).unwrap();
            assert_eq!(rhythm.next_after(ms(from)), Some(ms(next)), "{text}");
            let interval = Duration::from_secs(interval_s);
            assert_eq!(rhythm.interval_after(ms(from)), Some(interval), "{text}");
        }
    }

    #[test]
    fn an_end_is_an_end() {
        let once = Rhythm::parse("0 0 0 1 1 * 2030").unwrap();
        let next = once.next_after(ms("2026-03-01T00:00:00Z"));
        assert_eq!(next, Some(ms("2030-01-01T00:00:00Z")));
        assert_eq!(once.next_after(ms("2030-01-01T00:00:00Z")), None);
        assert_eq!(once.interval_after(ms("2026-03-01T00:00:00Z")), None);
    }

    #[test]
    fn five_fields_and_nonsense_are_refused() {
        for text in ["*/5 * * * *", "", "nonsense", "61 * * * * *"] {
            let error = Rhythm::parse(text).unwrap_err();
            assert_eq!(error.text, text);
            assert!(!error.reason.is_empty());
        }
    }
}
