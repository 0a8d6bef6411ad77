//! What a person sees: data on stdout, everything else on stderr.
//!
//! Knows whether each of the two is a terminal, and colours only there and only when `NO_COLOR` is
//! not set. A reader that goes away (`… | head`) ends a command quietly. Knows nothing of what it
//! prints; text comes ready, documents come as values.

use std::io::{self, IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use super::exit::Failure;
use crate::config::Env;

/// How a piece of text is to stand out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// A heading.
    Strong,
    /// All is well.
    Good,
    /// Worth a look.
    Warn,
    /// Something is wrong.
    Bad,
    /// Of less interest than the rest.
    Quiet,
}

/// Whether text may be coloured. Rendering takes it as a value, so that tests see plain text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint(bool);

impl Paint {
    /// No colours.
    #[cfg(test)]
    pub const PLAIN: Paint = Paint(false);
    /// Colours.
    #[cfg(test)]
    pub const COLOURED: Paint = Paint(true);

    /// The text in its tone, or as it is.
    pub fn tone(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Strong => "1",
            Tone::Good => "32",
            Tone::Warn => "33",
            Tone::Bad => "31",
            Tone::Quiet => "2",
        };
        if self.0 && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// The two streams of this process.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    stdout_is_terminal: bool,
    stderr_is_terminal: bool,
    colour: bool,
}

impl Output {
    /// The streams as they are, and the environment's wish about colour.
    pub fn new(env: &Env) -> Self {
        let no_color = env.variable("NO_COLOR").is_some_and(|v| !v.is_empty());
        let dumb = env.variable("TERM") == Some("dumb");
        Output {
            stdout_is_terminal: io::stdout().is_terminal(),
            stderr_is_terminal: io::stderr().is_terminal(),
            colour: !no_color && !dumb,
        }
    }

    /// Whether data goes to a terminal, where it may be redrawn in place.
    pub fn is_live(self) -> bool {
        self.stdout_is_terminal
    }

    /// Whether progress may be drawn as a bar.
    pub fn may_draw_progress(self) -> bool {
        self.stderr_is_terminal
    }

    /// The colours of stdout.
    pub fn paint(self) -> Paint {
        Paint(self.colour && self.stdout_is_terminal)
    }

    /// The colours of stderr.
    pub fn paint_notes(self) -> Paint {
        Paint(self.colour && self.stderr_is_terminal)
    }

    /// Writes text to stdout as it is. That nobody reads any more is no error: the work is done, and the
    /// command ends as that went (`audit | head` is not in sync).
    ///
    /// # Errors
    /// Exit code 1 when stdout cannot be written (a full disk behind a redirection).
    pub fn write(self, text: &str) -> Result<(), Failure> {
        match self.write_more(text) {
            Err(failure) if failure == Failure::reader_gone() => Ok(()),
            written => written,
        }
    }

    /// Writes text of which there is more for as long as somebody reads.
    ///
    /// # Errors
    /// [`Failure::reader_gone`] when nobody does any more; else as [`Output::write`].
    pub fn write_more(self, text: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        let written = stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush());
        written.map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::reader_gone(),
            _ => Failure::failed(format!("cannot write to stdout: {error}")),
        })
    }

    /// Writes a document, indented for reading.
    ///
    /// # Errors
    /// As [`Output::write`].
    pub fn document(self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value).map_err(|error| {
            Failure::failed(format!("cannot write the result as JSON: {error}"))
        })?;
        self.write(&(text + "\n"))
    }

    /// Writes a document in one line, one of several.
    ///
    /// # Errors
    /// As [`Output::write_more`].
    pub fn document_line(self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value).map_err(|error| {
            Failure::failed(format!("cannot write the result as JSON: {error}"))
        })?;
        self.write_more(&(text + "\n"))
    }

    /// Says something beside the data, on stderr.
    pub fn note(self, text: &str) {
        // There is nobody left to tell when stderr cannot be written.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// Says why a command failed and what to do, on stderr.
    pub fn complain(self, failure: &Failure) {
        let text = complaint_text(failure, self.paint_notes());
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}

/// The lines that tell a failure.
pub fn complaint_text(failure: &Failure, paint: Paint) -> String {
    let mut text = String::new();
    for complaint in &failure.complaints {
        text += &paint.tone(Tone::Bad, "error:");
        text += &format!(" {}\n", complaint.message);
        if let Some(help) = &complaint.help {
            text += &paint.tone(Tone::Good, "help:");
            text += &format!(" {help}\n");
        }
    }
    text
}

/// A table for the terminal: headings, and as many cells a row. Cut to the terminal's width, if
/// there is one.
pub fn table(headings: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(headings.iter().map(|heading| heading.to_uppercase()));
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut text: String = table
        .lines()
        .map(|line| line.trim_end().to_owned() + "\n")
        .collect();
    text.shrink_to_fit();
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_ends_in_what_to_do() {
        let failure = Failure::failed("the sky fell").help("look up");
        assert_eq!(
            complaint_text(&failure, Paint::PLAIN),
            "error: the sky fell\nhelp: look up\n"
        );
        assert_eq!(
            complaint_text(&failure, Paint::COLOURED),
            "\x1b[31merror:\x1b[0m the sky fell\n\x1b[32mhelp:\x1b[0m look up\n"
        );
        assert_eq!(complaint_text(&Failure::reader_gone(), Paint::PLAIN), "");
    }

    #[test]
    fn tables_are_aligned_and_end_without_blanks() {
        let rows = [
            vec!["dl_1".to_owned(), "user.created".to_owned()],
            vec!["dl_100".to_owned(), "x".to_owned()],
        ];
        assert_eq!(
            table(&["id", "type"], rows),
            "ID      TYPE\ndl_1    user.created\ndl_100  x\n"
        );
    }

    #[test]
    fn the_environment_can_forbid_colour() {
        let colour = |pairs: Vec<(&str, &str)>| Output::new(&Env::new(pairs)).colour;
        assert!(colour(vec![]));
        assert!(colour(vec![("NO_COLOR", "")]));
        assert!(!colour(vec![("NO_COLOR", "0")]));
        assert!(!colour(vec![("TERM", "dumb")]));
    }
}
