//! The `[log]` section: what is logged, and in which form.
//!
//! Checks that the filter can be understood; sets nothing up.

use tracing_subscriber::filter::Targets;

use super::reader::Reader;

/// Logging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// A level, or a list of `module=level`, as `tracing_subscriber`'s `Targets` reads it.
    pub level: String,
    /// The form of a line.
    pub format: LogFormat,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// The journal under systemd, else text.
    Auto,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
    /// Straight to the journal, with fields.
    Journald,
}

impl Log {
    pub(super) fn read(r: &mut Reader) -> Option<Self> {
        let level = r.text("log.level");
        let format = r.choice(
            "log.format",
            &[
                ("auto", LogFormat::Auto),
                ("text", LogFormat::Text),
                ("json", LogFormat::Json),
                ("journald", LogFormat::Journald),
            ],
        );
        let level = level?;
        // The library takes any single word for the name of a module.
        let known = ["off", "error", "warn", "info", "debug", "trace"];
        let bare_unknown = level.split(',').map(str::trim).any(|part| {
            !part.contains('=') && !known.contains(&part.to_ascii_lowercase().as_str())
        });
        if bare_unknown || level.parse::<Targets>().is_err() {
            r.mistake(
                "log.level",
                "is not a level or a list of module=level",
                "write error, warn, info, debug or trace",
            );
            return None;
        }
        Some(Log {
            level,
            format: format?,
        })
    }
}
