//! One test for each change of state, and the two bounds that must hold for any history.
//!
//! Time is counted from one `Instant` taken at the start; no test sleeps.

use proptest::prelude::*;

use super::*;

const POLICY: Policy = Policy {
    failures_to_open: 3,
    first_hold: Duration::from_secs(1),
    max_hold: Duration::from_secs(8),
    probe_timeout: Duration::from_secs(30),
};

fn go(circuit: &mut Circuit, now: Instant) -> Ticket {
    match circuit.admit(now) {
        Admission::Go(ticket) => ticket,
        Admission::Wait(wait) => panic!("has to wait {wait:?}"),
    }
}

fn wait(circuit: &mut Circuit, now: Instant) -> Duration {
    match circuit.admit(now) {
        Admission::Go(_) => panic!("was admitted"),
        Admission::Wait(wait) => wait,
    }
}

fn opened(now: Instant) -> Circuit {
    let mut circuit = Circuit::new(POLICY);
    for _ in 0..3 {
        let ticket = go(&mut circuit, now);
        circuit.failed(ticket, now, None, 1.0);
    }
    circuit
}

#[test]
fn a_few_failures_open_it_and_a_success_between_them_does_not_let_them_add_up() {
    let now = Instant::now();
    let mut circuit = Circuit::new(POLICY);
    for round in 0..10 {
        let ticket = go(&mut circuit, now);
        if round % 3 == 2 {
            circuit.succeeded(ticket);
        } else {
            circuit.failed(ticket, now, None, 1.0);
        }
        assert_eq!(circuit.name(), "closed");
    }
    assert_eq!(opened(now).name(), "open");
}

#[test]
fn open_holds_every_call_until_its_time_and_then_admits_one_probe() {
    let now = Instant::now();
    let mut circuit = opened(now);
    assert_eq!(wait(&mut circuit, now), Duration::from_secs(1));
    let later = now + Duration::from_secs(1);
    let probe = go(&mut circuit, later);
    assert_eq!(circuit.name(), "half_open");
    assert_eq!(wait(&mut circuit, later), Duration::from_secs(30));
    circuit.succeeded(probe);
    assert_eq!(circuit.name(), "closed");
    let _ = go(&mut circuit, later);
}

#[test]
fn each_failed_probe_doubles_the_wait_up_to_the_cap() {
    let mut now = Instant::now();
    let mut circuit = opened(now);
    for seconds in [1, 2, 4, 8, 8, 8] {
        let hold = Duration::from_secs(seconds);
        assert_eq!(wait(&mut circuit, now), hold);
        now += hold;
        let probe = go(&mut circuit, now);
        circuit.failed(probe, now, None, 1.0);
    }
    now += Duration::from_secs(8);
    let probe = go(&mut circuit, now);
    circuit.succeeded(probe);
    let again = opened(now);
    assert_eq!(again.name(), "open");
}

#[test]
fn jitter_takes_at_most_half_of_the_wait() {
    let now = Instant::now();
    for (jitter, expected) in [
        (0.0, 500),
        (0.5, 750),
        (1.0, 1000),
        (7.0, 1000),
        (-1.0, 500),
    ] {
        let mut circuit = Circuit::new(Policy {
            failures_to_open: 1,
            ..POLICY
        });
        let ticket = go(&mut circuit, now);
        circuit.failed(ticket, now, None, jitter);
        assert_eq!(wait(&mut circuit, now), Duration::from_millis(expected));
    }
}

#[test]
fn a_service_that_says_how_long_is_believed_at_once() {
    let now = Instant::now();
    let mut circuit = Circuit::new(POLICY);
    let ticket = go(&mut circuit, now);
    let asked = Duration::from_secs(20);
    circuit.failed(ticket, now, Some(asked), 0.3);
    assert_eq!(wait(&mut circuit, now), asked);
}

#[test]
fn late_answers_to_calls_from_before_change_nothing() {
    let now = Instant::now();
    let mut circuit = Circuit::new(POLICY);
    let late: Vec<Ticket> = (0..6).map(|_| go(&mut circuit, now)).collect();
    let mut late = late.into_iter();
    for ticket in late.by_ref().take(3) {
        circuit.failed(ticket, now, None, 1.0);
    }
    assert_eq!(circuit.name(), "open");
    for ticket in late.by_ref().take(2) {
        circuit.failed(ticket, now, None, 1.0);
    }
    assert_eq!(wait(&mut circuit, now), Duration::from_secs(1));
    for ticket in late {
        circuit.succeeded(ticket);
    }
    assert_eq!(circuit.name(), "open");
}

#[test]
fn a_probe_that_was_lost_does_not_hold_the_circuit_for_ever() {
    let now = Instant::now();
    let mut circuit = opened(now);
    let lost = go(&mut circuit, now + Duration::from_secs(1));
    let later = now + Duration::from_secs(31);
    let second = go(&mut circuit, later);
    circuit.succeeded(lost);
    assert_eq!(circuit.name(), "half_open");
    circuit.succeeded(second);
    assert_eq!(circuit.name(), "closed");
}

proptest! {
    #[test]
    fn no_history_makes_anybody_wait_longer_than_the_bounds(
        steps in proptest::collection::vec((0u64..40_000, 0u8..3, 0.0f64..1.0), 1..60),
    ) {
        let mut now = Instant::now();
        let mut circuit = Circuit::new(POLICY);
        let longest = POLICY.max_hold.max(POLICY.probe_timeout);
        for (pass_ms, ending, jitter) in steps {
            now += Duration::from_millis(pass_ms);
            match circuit.admit(now) {
                Admission::Wait(wait) => prop_assert!(wait <= longest && !wait.is_zero()),
                Admission::Go(ticket) if ending == 0 => circuit.succeeded(ticket),
                Admission::Go(ticket) if ending == 1 => circuit.failed(ticket, now, None, jitter),
                Admission::Go(_) => {}
            }
        }
        prop_assert!(matches!(circuit.admit(now + longest), Admission::Go(_)));
    }
}
