//! How often a page is asked for before a walk gives it up.
//!
//! One for each page. Decides only; who asked does the waiting. Pure.

use std::time::Duration;

use super::WalkError;
use crate::{clerk::error::ClerkError, model::Fault, outbound::ExchangeError};

/// Tries of one page.
const ATTEMPTS: u32 = 5;
/// Refusals for the rate in a row. Each is waited out by the pace, so this is a minute at least when Clerk
/// names no time.
const REFUSALS: u32 = 10;
/// The wait after the first failure; doubled with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// See the module's words.
#[derive(Debug, Default)]
pub struct Patience {
    failed: u32,
    refused: u32,
}

impl Patience {
    /// How long to wait before page `number` is asked for again, or why it is not.
    pub fn after(&mut self, number: u32, source: ClerkError) -> Result<Duration, WalkError> {
        match &source {
            ClerkError::Refused { code, .. } if code == "organization_not_enabled_in_instance" => {
                return Err(WalkError::SwitchedOff);
            }
            // The pace has noted it and lets nothing go before its time.
            ClerkError::Busy { status: 429, .. } => {
                self.refused += 1;
                if self.refused < REFUSALS {
                    return Ok(Duration::ZERO);
                }
                return Err(WalkError::Outage { number, source });
            }
            _ => self.refused = 0,
        }
        match source.fault() {
            Fault::Refused => return Err(WalkError::Refused(source)),
            Fault::Record | Fault::Ours => return Err(WalkError::Page { number, source }),
            Fault::Service { .. } => self.failed += 1,
        }
        if self.failed < ATTEMPTS {
            return Ok(FIRST_WAIT * (1 << (self.failed - 1)));
        }
        Err(match source {
            ClerkError::Exchange(ExchangeError::Unreachable(_)) => {
                WalkError::Outage { number, source }
            }
            source => WalkError::Page { number, source },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16) -> ClerkError {
        let code = format!("http_{status}");
        match status {
            401 | 403 => ClerkError::Refused { code, status },
            422 => ClerkError::Rejected { code, status },
            _ => ClerkError::Busy {
                code,
                status,
                retry_after: None,
            },
        }
    }

    /// The waits in milliseconds until the end, and the end.
    fn told(errors: impl Iterator<Item = ClerkError>) -> (Vec<u128>, Option<WalkError>) {
        let mut patience = Patience::default();
        let mut waits = Vec::new();
        for error in errors.take(100) {
            match patience.after(37, error) {
                Ok(wait) => waits.push(wait.as_millis()),
                Err(end) => return (waits, Some(end)),
            }
        }
        (waits, None)
    }

    #[test]
    fn a_page_is_tried_five_times() {
        let (waits, end) = told((0..).map(|_| answer(500)));
        assert_eq!(waits, [250, 500, 1_000, 2_000]);
        let source = answer(500);
        assert_eq!(end, Some(WalkError::Page { number: 37, source }));
    }

    #[test]
    fn what_does_not_get_better_is_not_tried_again() {
        let (waits, end) = told([answer(422)].into_iter());
        assert!(waits.is_empty() && matches!(end, Some(WalkError::Page { number: 37, .. })));
        let (waits, end) = told([answer(401)].into_iter());
        assert!(waits.is_empty() && matches!(end, Some(WalkError::Refused(_))));
        let off = ClerkError::Refused {
            code: "organization_not_enabled_in_instance".into(),
            status: 403,
        };
        assert_eq!(told([off].into_iter()).1, Some(WalkError::SwitchedOff));
    }

    #[test]
    fn refusals_for_the_rate_cost_no_try_and_end_as_an_outage() {
        let (waits, end) = told((0..).map(|_| answer(429)));
        assert_eq!(waits, [0; 9]);
        assert!(matches!(end, Some(WalkError::Outage { number: 37, .. })));
        let mixed = (0..9).map(|n| answer(if n % 2 == 0 { 429 } else { 500 }));
        assert_eq!(
            told(mixed).1,
            None,
            "four failures, and never ten refusals in a row"
        );
    }

    #[test]
    fn nobody_there_is_an_outage_and_a_broken_answer_is_the_page_s() {
        for (error, outage) in [
            (ExchangeError::Unreachable("x"), true),
            (ExchangeError::Interrupted, false),
            (ExchangeError::TooLarge(1), false),
        ] {
            let (waits, end) = told((0..).map(|_| ClerkError::Exchange(error.clone())));
            assert_eq!(waits.len(), 4);
            assert_eq!(
                matches!(end, Some(WalkError::Outage { .. })),
                outage,
                "{error}"
            );
        }
    }
}
