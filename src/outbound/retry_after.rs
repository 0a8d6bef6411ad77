//! How long a service asks to be left alone.
//!
//! `Retry-After` holds seconds or an HTTP date. A date is measured against the answer's own `Date`, so
//! that a wrong clock on either side does not turn a minute into a day. Anything else is ignored, and
//! nothing makes the daemon wait longer than [`MAX`].

use std::time::Duration;

use chrono::DateTime;
use reqwest::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};

use crate::twin::{self, Twin};

/// Longer than any penalty the services document; beyond it a person would rather be told.
const MAX: Duration = Duration::from_secs(3600);

/// Reads the header, if it is there and means something.
pub(super) fn read(headers: &HeaderMap) -> Option<Duration> {
    if twin::broken(Twin::Impatient) {
        return None;
    }
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let asked = if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
        // More digits than fit mean "very long", which MAX answers.
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let until = seconds(headers, RETRY_AFTER)?;
        Duration::from_secs(u64::try_from(until - seconds(headers, DATE)?).unwrap_or(0))
    };
    Some(asked.min(MAX))
}

/// The date in a header, in seconds since the epoch.
pub(super) fn seconds(headers: &HeaderMap, name: HeaderName) -> Option<i64> {
    let text = headers.get(name)?.to_str().ok()?;
    Some(DateTime::parse_from_rfc2822(text.trim()).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_dates_and_nonsense() {
        let now = "Sat, 21 Nov 2026 10:00:00 GMT";
        for (value, date, expected) in [
            ("0", None, Some(0)),
            ("7", None, Some(7)),
            (" 12 ", None, Some(12)),
            ("99999", None, Some(3600)),
            ("99999999999999999999999999", None, Some(3600)),
            ("Sat, 21 Nov 2026 10:00:30 GMT", Some(now), Some(30)),
            ("Sat, 21 Nov 2026 09:00:00 GMT", Some(now), Some(0)),
            ("Sat, 28 Nov 2026 10:00:00 GMT", Some(now), Some(3600)),
            ("Sat, 21 Nov 2026 10:00:30 GMT", None, None),
            ("-5", None, None),
            ("1.5", None, None),
            ("soon", Some(now), None),
            ("", None, None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            if let Some(date) = date {
                headers.insert(DATE, date.parse().unwrap());
            }
            assert_eq!(
                read(&headers).map(|wait| wait.as_secs()),
                expected,
                "{value:?}"
            );
        }
        assert_eq!(read(&HeaderMap::new()), None);
    }
}
