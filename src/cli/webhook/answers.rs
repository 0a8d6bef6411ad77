//! What the answer to a test event means, for the person who sent it.
//!
//! Knows the statuses of the contract and those of the proxies that may stand before the daemon. Pure but
//! for the errors that it is handed.

use url::Url;

use crate::cli::exit::Failure;

/// What to do about a status; nothing about those that are as they should be.
pub(super) fn hint(status: u16) -> Option<&'static str> {
    Some(match status {
        200..=299 => return None,
        300..=399 => {
            "the endpoint redirects, and Clerk's sender does not follow: register the final URL"
        }
        400 => "the headers or the body did not arrive whole: look for a proxy that rewrites them",
        401 => {
            "the signature did not fit: the daemon has another CLERK_WEBHOOK_SECRET, or its clock \
             is more than 5 minutes off"
        }
        403 => "something before the daemon refuses: the daemon itself never answers 403",
        404 => "no such path: give one of `listen.webhook_paths` with --url",
        405 => "the path does not take POST: is this the daemon?",
        408 => "the body did not arrive in time (`listen.body_timeout`)",
        413 => "the body is larger than `listen.max_body_bytes`, or than a proxy lets through",
        429 => "over the rate limit (`listen.rate_per_second`); the sender tries again by itself",
        502 | 504 => "a proxy does not reach the daemon: is it running?",
        503 => {
            "the daemon cannot store now (disk full, queue full, stopping): see /readyz and its log"
        }
        500..=599 => "the daemon or a proxy failed: see its log",
        _ => "not an answer that the daemon gives: is this its address?",
    })
}

/// Why there was no answer at all.
pub(super) fn none(error: &reqwest::Error, url: &Url) -> Failure {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let message = format!("no answer from {url}: {cause}");
    if error.is_connect() && url.scheme() == "https" {
        Failure::unreachable(message).help(
            "is the daemon running, and is its certificate one that this machine trusts for this name?",
        )
    } else if error.is_connect() {
        Failure::unreachable(message)
            .help("start the daemon with `clerk-convex-sync run`, or name its address with --url")
    } else if error.is_timeout() {
        Failure::failed(message)
            .help("Clerk's sender waits 15 s as well and would try again: see the daemon's log")
    } else {
        Failure::failed(message).help("is this the daemon's address?")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_but_success_has_a_hint() {
        for status in 200..300 {
            assert_eq!(hint(status), None);
        }
        for status in (100..200).chain(300..600) {
            assert!(hint(status).is_some(), "{status}");
        }
    }
}
