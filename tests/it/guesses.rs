//! Guessing at the operators' door (G39): no token that is nearly right opens it, and time tells nothing.
//!
//! `rights.rs` has what each token opens, hosts and origins. `CCS_SOAK_GUESSES` is the number of wrong tokens,
//! `CCS_SOAK_TIMING_PAIRS` that of the pairs of requests whose times are compared.

use std::{
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::{
    answers::{body, signed, with},
    measure::size,
    wire::{Wire, post},
    world::World,
};

const TOKEN: &str = "a-token-that-opens-everything-here";
/// Welch's t beyond which two series of times are not the same: that of the usual test for leaks by time.
const DIFFERENT: f64 = 4.5;

async fn world() -> World {
    World::with(&[
        ("CCS_ADMIN__ADDRESS", "127.0.0.1:0"),
        ("CCS_ADMIN__TOKEN", TOKEN),
    ])
    .await
}

fn asking(host: SocketAddr, authorization: &[String]) -> Vec<u8> {
    let mut request = format!("POST /pause HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\n");
    for value in authorization {
        request.push_str(&format!("authorization: {value}\r\n"));
    }
    (request + "\r\n").into_bytes()
}

/// A value that is nearly the right one.
fn nearly(dice: &mut StdRng) -> Vec<String> {
    let mut token = TOKEN.to_owned().into_bytes();
    let at = dice.random_range(0..token.len());
    let mut scheme = "Bearer ";
    match dice.random_range(0..9) {
        0 => token[at] = dice.random_range(b'!'..=b'~') ^ u8::from(token[at] == b'!'),
        1 => token.truncate(at),
        2 => {
            token.remove(at);
        }
        3 => token.insert(at, b'x'),
        4 => token.extend_from_slice(&TOKEN.as_bytes()[..at]),
        5 => token.make_ascii_uppercase(),
        6 => scheme = ["", "Basic ", "bearer", "Bearer  ", "Token "][at % 5],
        7 => token = vec![b'a'; 1 + at * 200],
        _ => {
            // The right one and another: which of them counts must not be a matter of taste.
            let other = format!("Bearer {}", "b".repeat(TOKEN.len()));
            let mut both = vec![other, format!("Bearer {TOKEN}")];
            both.rotate_left(at % 2);
            return both;
        }
    }
    let token = String::from_utf8(token).expect("ASCII");
    if scheme == "Bearer " && token == TOKEN {
        return vec!["Bearer".to_owned()];
    }
    vec![format!("{scheme}{token}")]
}

#[tokio::test(flavor = "multi_thread")]
async fn g39_no_guess_at_a_token_opens_anything() {
    let guesses = size("GUESSES", 1_500);
    let world = world().await;
    let address = world.daemon().admin_addr().expect("a TCP address");
    let mut dice = StdRng::seed_from_u64(39);
    let mut wire = Wire::to(address).await;
    for n in 0..guesses {
        let guess = nearly(&mut dice);
        let reply = loop {
            wire.write(&asking(address, &guess)).await;
            match wire.reply().await {
                Some(reply) => break reply,
                None => wire = Wire::to(address).await,
            }
        };
        assert_eq!(reply.status, 401, "{n}: {guess:?}");
        assert!(!reply.body.contains("a-token"), "{}", reply.body);
    }
    assert_eq!(world.door().get("/status").await["paused"], false);
    let mut right = Wire::to(address).await;
    right
        .write(&asking(address, &[format!("Bearer {TOKEN}")]))
        .await;
    assert_eq!(right.reply().await.expect("an answer").status, 200);
    println!("G39: {guesses} wrong tokens, none accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_is_for_its_owner_and_group_unless_there_are_readers() {
    for (readers, mode) in [("", 0o660), ("gid:12345", 0o666)] {
        let world = World::with(&[("CCS_ADMIN__READERS", readers)]).await;
        let socket = std::fs::metadata(world.daemon().admin_socket()).expect("a socket");
        assert_eq!(socket.permissions().mode() & 0o777, mode, "{readers}");
        let dir = std::fs::metadata(world.state.path()).expect("a directory");
        assert_eq!(dir.permissions().mode() & 0o777, 0o700);
    }
}

/// Mean and variance of what is not an outlier of both series together.
fn moments(times: &[f64], most: f64) -> (f64, f64, f64) {
    let kept: Vec<f64> = times.iter().copied().filter(|time| *time <= most).collect();
    let count = kept.len() as f64;
    let mean = kept.iter().sum::<f64>() / count;
    let squares = kept.iter().map(|time| (time - mean).powi(2)).sum::<f64>();
    (mean, squares / (count - 1.0), count)
}

/// Welch's t of two series.
fn welch(series: &[Vec<f64>; 2]) -> f64 {
    let mut all = series.concat();
    all.sort_unstable_by(f64::total_cmp);
    // Whatever the machine did meanwhile is in the last tenth.
    let most = all[all.len() * 9 / 10];
    let [(mean_a, var_a, n_a), (mean_b, var_b, n_b)] = [0, 1].map(|at| moments(&series[at], most));
    (mean_a - mean_b) / (var_a / n_a + var_b / n_b).sqrt()
}

/// Asks each of two things so often, in an order that nobody can follow, on one connection.
async fn compared(address: SocketAddr, make: impl Fn(usize) -> Vec<u8>, pairs: usize) -> f64 {
    let mut dice = StdRng::seed_from_u64(7);
    let mut wire = Wire::to(address).await;
    let mut series = [Vec::new(), Vec::new()];
    while series.iter().any(|times| times.len() < pairs) {
        let which = usize::from(dice.random_bool(0.5));
        let request = make(which);
        let began = Instant::now();
        wire.write(&request).await;
        let reply = wire.reply().await.expect("an answer");
        let took: Duration = began.elapsed();
        assert_eq!(reply.status, 401);
        series[which].push(took.as_secs_f64());
    }
    welch(&series)
}

#[tokio::test(flavor = "multi_thread")]
async fn g39_how_long_a_refusal_takes_does_not_tell_how_near_the_guess_was() {
    let pairs = size("TIMING_PAIRS", 800);
    let world = world().await;
    let admin = world.daemon().admin_addr().expect("a TCP address");
    let wrong_at = |text: &str, at: usize| {
        let mut bytes = text.to_owned().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        String::from_utf8(bytes).expect("ASCII")
    };
    let token = |which| {
        let guess = wrong_at(TOKEN, [0, TOKEN.len() - 1][which]);
        asking(admin, &[format!("Bearer {guess}")])
    };
    let of_tokens = compared(admin, token, pairs).await;
    let event = body();
    let signature = |which| {
        let headers = signed(&event);
        let own = headers[2].1.clone();
        // After the version, and before the padding.
        let guess = wrong_at(&own, [3, own.len() - 3][which]);
        post(&with(headers, "svix-signature", &guess), &event)
    };
    let of_signatures = compared(world.daemon().public_addr(), signature, pairs).await;
    println!(
        "G39: first against last byte wrong, {pairs} pairs: t = {of_tokens:.2} for tokens, \
         {of_signatures:.2} for signatures (the same below {DIFFERENT})"
    );
    assert!(of_tokens.abs() < DIFFERENT && of_signatures.abs() < DIFFERENT);
}

#[test]
fn the_comparison_of_times_finds_a_difference() {
    let mut dice = StdRng::seed_from_u64(1);
    let mut times = |mean: f64| -> Vec<f64> {
        (0..2_000)
            .map(|_| mean + dice.random_range(0.0..1.0))
            .collect()
    };
    let same = [times(5.0), times(5.0)];
    assert!(welch(&same).abs() < DIFFERENT);
    let apart = [times(5.0), times(5.1)];
    assert!(welch(&apart).abs() > DIFFERENT);
}
