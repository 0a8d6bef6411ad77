//! `pause` and `resume`: whether the daemon applies changes. Intake goes on either way.
//!
//! Needs the daemon, since a switch that nobody obeys would be a lie. Believes the daemon's own word
//! about the result, not that the request went well.

use clap::Args;
use serde_json::json;

use super::{Context, Exit, Failure, JsonArg, admin_client::AdminClient};

/// Arguments of `pause` and `resume`.
#[derive(Debug, Args)]
pub struct SwitchArgs {
    #[command(flatten)]
    json: JsonArg,
}

/// Tells the daemon to stop applying.
pub(super) async fn pause(args: &SwitchArgs, context: &Context) -> Result<Exit, Failure> {
    switch(args, context, "/pause", true).await
}

/// Tells the daemon to go on applying.
pub(super) async fn resume(args: &SwitchArgs, context: &Context) -> Result<Exit, Failure> {
    switch(args, context, "/resume", false).await
}

async fn switch(
    args: &SwitchArgs,
    context: &Context,
    path: &str,
    pause: bool,
) -> Result<Exit, Failure> {
    let client = AdminClient::new(&context.local()?.admin)?;
    let answer = client.post(path, &json!({})).await?;
    let paused = answer.get("paused").and_then(serde_json::Value::as_bool);
    if paused != Some(pause) {
        return Err(
            Failure::failed("the daemon took the order, but says that nothing changed")
                .help("look at `clerk-convex-sync status`"),
        );
    }
    if args.json.json {
        context.output.document(&answer)?;
    } else {
        context.output.write(said(pause))?;
    }
    Ok(Exit::Done)
}

fn said(paused: bool) -> &'static str {
    if paused {
        "Paused: events are stored and acknowledged, nothing is applied until `resume`.\n"
    } else {
        "Resumed: changes are applied.\n"
    }
}
