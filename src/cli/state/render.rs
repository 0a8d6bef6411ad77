//! What `state verify` found, for a terminal.
//!
//! Pure: a survey goes in, text comes out.

use std::path::Path;

use crate::{
    cli::output::{self, Paint, Tone},
    store::upkeep::{Counts, JournalCounts, Survey},
};

/// The whole text.
pub fn survey(dir: &Path, survey: &Survey, paint: Paint) -> String {
    let layout = match survey.layout {
        Some(layout) => format!("layout {layout}"),
        None => "no STATE".to_owned(),
    };
    let JournalCounts {
        segments,
        bytes,
        waiting,
        dead_letters,
        settled,
        highest_seq,
    } = &survey.journal;
    let mut text = paint.tone(Tone::Strong, &format!("{} ({layout})", dir.display()));
    text += &format!(
        "\njournal: {segments} segment(s), {bytes} bytes; {waiting} waiting, {dead_letters} dead letter(s), {settled} \
         settled; highest number {highest_seq}\n\n"
    );
    text += &records(survey);
    if !survey.findings.is_empty() {
        text.push('\n');
    }
    for finding in &survey.findings {
        let (tone, word) = match finding.damage {
            true => (Tone::Bad, "damage"),
            false => (Tone::Warn, "note"),
        };
        text += &paint.tone(tone, word);
        text += &format!(": {} {}\n", finding.place, finding.problem);
    }
    let end = match survey.ok {
        true => paint.tone(Tone::Good, "Nothing is damaged."),
        false => paint.tone(Tone::Bad, "There is damage."),
    };
    text + "\n" + &end + "\n"
}

fn records(survey: &Survey) -> String {
    let row = |counts: &Counts| {
        let key = match counts.key {
            None => "plain".to_owned(),
            Some(key) if survey.writes == Some(key) => format!("{key} (writes)"),
            Some(key) => key.to_string(),
        };
        let numbers = [counts.journal, counts.derived, counts.files].map(|n| n.to_string());
        [key].into_iter().chain(numbers).collect()
    };
    output::table(
        &["records under", "journal", "derived", "files"],
        survey.records.iter().map(row),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{crypt::KeyId, upkeep::Finding};

    #[test]
    fn a_survey_says_what_is_there_and_what_is_wrong() {
        let key = KeyId::parse("0011223344556677");
        let found = Survey {
            ok: false,
            layout: Some(2),
            writes: key,
            keys: key.into_iter().collect(),
            journal: JournalCounts {
                segments: 2,
                bytes: 4096,
                waiting: 3,
                dead_letters: 1,
                settled: 9,
                highest_seq: 13,
            },
            records: vec![
                Counts {
                    key: None,
                    journal: 4,
                    ..Counts::default()
                },
                Counts {
                    key,
                    journal: 20,
                    derived: 7,
                    files: 1,
                },
            ],
            findings: vec![
                Finding {
                    damage: true,
                    place: "journal".to_owned(),
                    problem: "is gone".to_owned(),
                },
                Finding {
                    damage: false,
                    place: "keys".to_owned(),
                    problem: "4 record(s) are plain".to_owned(),
                },
            ],
        };
        assert_eq!(
            survey(Path::new("/state"), &found, Paint::PLAIN),
            "/state (layout 2)\n\
             journal: 2 segment(s), 4096 bytes; 3 waiting, 1 dead letter(s), 9 settled; highest number 13\n\n\
             RECORDS UNDER              JOURNAL  DERIVED  FILES\n\
             plain                      4        0        0\n\
             0011223344556677 (writes)  20       7        1\n\n\
             damage: journal is gone\n\
             note: keys 4 record(s) are plain\n\n\
             There is damage.\n"
        );
    }
}
