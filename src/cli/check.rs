//! `check`: is the configuration right, and on request, do both services agree.
//!
//! Reads the settings as `run` would and says every mistake at once, with place, key and remedy.
//! Starts nothing and writes nothing. Knows no rule of its own about settings: those are `config`'s.
//! Promises to show no secret, whatever was found.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde::Serialize;

use super::{CheckArgs, Context, Failure};
use crate::config::{Config, Env, Mistake};

mod online;

pub use online::{Probe, probes};

/// Exit code when a probe failed though the configuration is sound (contract, section 1).
const FAILED: u8 = 1;

/// Exit code for a configuration with mistakes (contract, section 1).
const CONFIGURATION: u8 = 2;

/// What `check` found.
#[derive(Clone, Debug, Serialize)]
pub struct Findings {
    /// No mistake, and no failed probe.
    pub ok: bool,
    /// The configuration file that was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// What stops the start.
    pub mistakes: Vec<Mistake>,
    /// What is odd, but does not.
    pub warnings: Vec<String>,
    /// What the services answered; empty unless they were asked.
    pub online: Vec<Probe>,
}

/// Checks the configuration and prints what was found to stdout: text, or one JSON document.
///
/// The exit code is 0 when all is well, 2 when the configuration has mistakes (the services are not
/// asked then), and 1 when it has none but a probe failed.
pub(super) async fn run(args: &CheckArgs, context: &Context) -> Result<ExitCode, Failure> {
    let findings = find(context.config.as_deref(), &context.env, args.online).await;
    let text = match args.json.json {
        true => findings.json(),
        false => findings.text(),
    };
    context.output.write(&text)?;
    Ok(ExitCode::from(findings.exit_code()))
}

/// Checks the configuration and, if it is sound and `online` is set, both services.
pub async fn find(file: Option<&Path>, env: &Env, online: bool) -> Findings {
    let loaded = match Config::load(file, env) {
        Ok(loaded) => loaded,
        Err(mistakes) => {
            return Findings {
                ok: false,
                file: file.map(Path::to_owned),
                mistakes,
                warnings: Vec::new(),
                online: Vec::new(),
            };
        }
    };
    let probes = match online {
        true => probes(&loaded.config).await,
        false => Vec::new(),
    };
    Findings {
        ok: probes.iter().all(|probe| probe.ok),
        file: loaded.file,
        mistakes: Vec::new(),
        warnings: loaded.warnings,
        online: probes,
    }
}

/// The mistakes as a person reads them; also what `run` says when it does not start.
pub fn mistakes_as_text(mistakes: &[Mistake]) -> String {
    let mut text = match mistakes.len() {
        1 => "The configuration has one mistake:\n".to_owned(),
        n => format!("The configuration has {n} mistakes:\n"),
    };
    for mistake in mistakes {
        let key = match mistake.key.is_empty() {
            true => String::new(),
            false => format!("{} ", mistake.key),
        };
        // Writing to a String does not fail.
        let _ = write!(
            text,
            "\n  {}\n    {key}{}\n    -> {}\n",
            mistake.source, mistake.problem, mistake.remedy
        );
    }
    text
}

impl Findings {
    /// One JSON document with a final line break.
    pub fn json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self)
            .unwrap_or_else(|_| "{\"ok\":false,\"mistakes\":[],\"warnings\":[]}".to_owned());
        text.push('\n');
        text
    }

    /// What a person reads.
    pub fn text(&self) -> String {
        if !self.mistakes.is_empty() {
            return mistakes_as_text(&self.mistakes);
        }
        let mut text = match &self.file {
            Some(file) => format!("The configuration is sound ({}).\n", file.display()),
            None => "The configuration is sound (no file; defaults and environment).\n".to_owned(),
        };
        for warning in &self.warnings {
            let _ = writeln!(text, "  note: {warning}");
        }
        let width = self.online.iter().map(|probe| probe.name.len()).max();
        for probe in &self.online {
            let (mark, width) = (
                if probe.ok { "ok    " } else { "FAILED" },
                width.unwrap_or(0),
            );
            let _ = writeln!(text, "  {mark}  {:width$}  {}", probe.name, probe.detail);
            if !probe.remedy.is_empty() {
                let _ = writeln!(text, "          {:width$}  -> {}", "", probe.remedy);
            }
        }
        text
    }

    /// The exit code of section 1 of the contract.
    pub fn exit_code(&self) -> u8 {
        match (self.mistakes.is_empty(), self.ok) {
            (false, _) => CONFIGURATION,
            (true, false) => FAILED,
            (true, true) => 0,
        }
    }
}

#[cfg(test)]
mod tests;
