//! `sandbox`: the simulated Clerk and the simulated Convex, until Ctrl-C.
//!
//! For developing an app, or for trying the daemon against them. Prints what to set and what to try;
//! keeps nothing.

use std::time::Duration;

use clap::Args;

use super::{
    Context, Exit, Failure, JsonArg,
    ends::{Ends, EndsOptions},
    output::{Paint, Tone},
    signals::StopSignals,
};

/// Users that one sandbox is started with at most; a million take about a gigabyte.
const MOST_USERS: i64 = 2_000_000;

/// Arguments of `sandbox`.
#[derive(Debug, Args)]
pub struct SandboxArgs {
    /// The port of the simulated Clerk; 0 takes any free one
    #[arg(long, value_name = "PORT", default_value_t = 8790)]
    clerk_port: u16,
    /// The port of the simulated Convex; 0 takes any free one
    #[arg(long, value_name = "PORT", default_value_t = 8791)]
    convex_port: u16,
    /// Users that are there already, without events
    #[arg(long, value_name = "N", default_value_t = 0,
          value_parser = clap::value_parser!(u32).range(0..=MOST_USERS))]
    users: u32,
    /// Ids, chances and users follow from it
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Milliseconds that every answer takes longer
    #[arg(long, value_name = "N", default_value_t = 0,
          value_parser = clap::value_parser!(u64).range(0..=60_000))]
    latency_ms: u64,
    /// Requests that Clerk takes in ten seconds; 0 is no limit
    #[arg(long, value_name = "N", default_value_t = 0)]
    rate_limit: u32,
    /// Where webhooks are delivered
    #[arg(
        long,
        value_name = "URL",
        default_value = "http://127.0.0.1:8787/api/webhooks/clerk"
    )]
    webhook_url: url::Url,
    #[command(flatten)]
    json: JsonArg,
}

/// Runs both until a signal comes.
pub(super) async fn sandbox(args: &SandboxArgs, context: &Context) -> Result<Exit, Failure> {
    let mut stop = StopSignals::catch()?;
    let ends = Ends::start(EndsOptions {
        clerk_port: args.clerk_port,
        convex_port: args.convex_port,
        seed: args.seed,
        latency: Duration::from_millis(args.latency_ms),
        rate_per_10s: args.rate_limit,
        webhook_url: Some(args.webhook_url.to_string()),
    })
    .await?;
    ends.clerk.seed_users(args.users as usize);
    if args.json.json {
        context.output.document(&ends.document())?;
    } else {
        let text = greeting(&ends, args.webhook_url.as_str(), context.output.paint());
        context.output.write(&text)?;
    }
    stop.next().await;
    ends.stop().await;
    Ok(Exit::Done)
}

fn greeting(ends: &Ends, webhook_url: &str, paint: Paint) -> String {
    let mut text = format!(
        "Simulated Clerk on {}, simulated Convex on {}; Ctrl-C ends both.\n\
         Webhooks go to {webhook_url}.\n\nFor the daemon, or an app:\n\n",
        ends.clerk.url(),
        ends.convex.url(),
    );
    for (name, value) in ends.environment() {
        text += &format!("export {name}='{value}'\n");
    }
    text += "\nTo try:\n";
    for (does, command) in ends.commands() {
        text += &format!(
            "\n{}\n{command}\n",
            paint.tone(Tone::Quiet, &format!("# {does}"))
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Env};

    async fn ends() -> Ends {
        let started = Ends::start(EndsOptions {
            clerk_port: 0,
            convex_port: 0,
            seed: 1,
            latency: Duration::ZERO,
            rate_per_10s: 0,
            webhook_url: None,
        });
        started.await.unwrap()
    }

    #[tokio::test]
    async fn what_is_printed_is_a_configuration_that_the_daemon_takes() {
        let ends = ends().await;
        let loaded = Config::load(None, &Env::new(ends.environment())).unwrap();
        assert_eq!(loaded.warnings, Vec::<String>::new());
        assert_eq!(
            loaded.config.clerk.api_url.as_str().trim_end_matches('/'),
            ends.clerk.url()
        );
        let greeting = greeting(&ends, "http://127.0.0.1:8787/x", Paint::PLAIN);
        for (name, value) in ends.environment() {
            assert!(greeting.contains(&format!("\nexport {name}='{value}'\n")));
            assert_eq!(ends.document()["environment"][name], value);
        }
    }

    #[tokio::test]
    async fn every_command_to_try_works() {
        let ends = ends().await;
        for (does, command) in ends.commands() {
            let run = tokio::process::Command::new("sh")
                .arg("-c")
                .arg(format!("{command} --fail-with-body"))
                .output();
            let run = run.await.unwrap();
            let answer = String::from_utf8_lossy(&run.stdout).into_owned();
            assert!(run.status.success(), "{does}: {command}\n{answer}");
            serde_json::from_str::<serde_json::Value>(&answer).unwrap();
            assert!(!answer.contains("\"status\":\"error\""), "{does}: {answer}");
        }
        assert_eq!(ends.clerk.user_count(), 1);
    }

    #[tokio::test]
    async fn a_taken_port_is_told_with_the_option_that_helps() {
        let first = ends().await;
        let port = first
            .clerk
            .url()
            .rsplit(':')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        let second = Ends::start(EndsOptions {
            clerk_port: port,
            convex_port: 0,
            seed: 1,
            latency: Duration::ZERO,
            rate_per_10s: 0,
            webhook_url: None,
        });
        let failure = second.await.unwrap_err();
        let help = failure.complaints[0].help.as_deref().unwrap();
        assert!(help.contains("--clerk-port"), "{failure:?}");
    }
}
