//! Does this machine's clock agree with those of the services?
//!
//! Every answer of Clerk and Convex has its time. Deliveries are refused when their time is more than five
//! minutes off, so a wrong clock is told of long before that. An answer that took long is no wrong clock:
//! what counts is whether its time lies outside the exchange.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::{apply::Clock, outbound::OnDate, report::alert::Alerts};

/// The difference that is put up with, in seconds: a tenth of what makes deliveries fail.
const TOLERANCE_S: i64 = 30;

/// Compares, and raises or clears the alert.
pub fn watch(alerts: Alerts) -> OnDate {
    let wrong = Mutex::new(BTreeSet::new());
    Arc::new(move |service, date_s, elapsed| {
        let now_ms = Clock.now_ms();
        let skew_s = skew_s(date_s, elapsed, now_ms);
        let mut wrong = wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if skew_s.abs() > TOLERANCE_S {
            wrong.insert(service);
            let relation = if skew_s > 0 { "ahead of" } else { "behind" };
            let message = format!(
                "{service}'s clock is {} s {relation} this machine's; deliveries are refused when it is \
                 300: set this machine's clock, best by NTP",
                skew_s.abs()
            );
            alerts.raise("clock_skew", message, now_ms);
        } else if wrong.remove(service) && wrong.is_empty() {
            alerts.clear("clock_skew");
        }
    })
}

/// How many seconds the date of an answer lies after the exchange (or, negative, before it). It was written
/// somewhere between question and answer, and has no fractions of a second.
fn skew_s(date_s: i64, elapsed: Duration, received_ms: i64) -> i64 {
    let elapsed_ms = i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX);
    let sent_s = received_ms.saturating_sub(elapsed_ms).div_euclid(1000);
    let received_s = received_ms.div_euclid(1000);
    if date_s > received_s {
        date_s.saturating_sub(received_s)
    } else if date_s < sent_s {
        date_s.saturating_sub(sent_s)
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_within_the_exchange_is_right_however_long_it_took() {
        let quick = Duration::from_millis(40);
        let slow = Duration::from_secs(60);
        for (date_s, elapsed, received_ms, skew) in [
            (1_000, quick, 1_000_020, 0),
            (999, quick, 1_000_020, 0),
            (998, quick, 1_000_020, -1),
            (1_031, quick, 1_000_020, 31),
            (900, quick, 1_000_500, -100),
            (941, slow, 1_000_500, 0),
            (900, slow, 1_000_500, -40),
            (i64::MAX, slow, 0, i64::MAX),
        ] {
            let found = skew_s(date_s, elapsed, received_ms);
            assert_eq!(found, skew, "{date_s} {elapsed:?} {received_ms}");
        }
    }

    #[test]
    fn the_alert_stays_until_every_service_agrees() {
        let alerts = Alerts::default();
        let watch = watch(alerts.clone());
        let now_s = || Clock.now_ms() / 1000;
        let zero = Duration::ZERO;
        watch("Clerk", now_s() + 29, zero);
        assert!(alerts.raised().is_empty());
        watch("Clerk", now_s() + 600, zero);
        watch("Convex", now_s() - 600, zero);
        watch("Clerk", now_s(), zero);
        assert_eq!(alerts.raised().len(), 1);
        assert!(alerts.raised()[0].message.starts_with("Convex's clock is "));
        assert!(alerts.raised()[0].message.contains(" behind "));
        watch("Convex", now_s(), zero);
        assert!(alerts.raised().is_empty());
    }
}
