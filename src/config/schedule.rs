//! The `[schedule]` section: when scans run.
//!
//! Checks that an expression is one, so that a slip is found before the first scan is missed; what it
//! means is left to the library that runs it. Times are UTC.

use croner::parser::{CronParser, Seconds};

use super::reader::Reader;

/// Names that stand for a whole expression.
const NAMES: [&str; 6] = [
    "@yearly",
    "@annually",
    "@monthly",
    "@weekly",
    "@daily",
    "@hourly",
];

/// When each scan runs; `None` is never.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Newest changes in Clerk, until known ones are met.
    pub sweep: Option<String>,
    /// Counting both sides.
    pub census: Option<String>,
    /// Comparing every record.
    pub full: Option<String>,
    /// The daily word to the alert targets.
    pub digest: Option<String>,
}

impl Schedule {
    pub(super) fn read(r: &mut Reader) -> Option<Self> {
        let sweep = read_cron("schedule.sweep", r);
        let census = read_cron("schedule.census", r);
        let full = read_cron("schedule.full", r);
        let digest = read_cron("schedule.digest", r);
        Some(Schedule {
            sweep: sweep?,
            census: census?,
            full: full?,
            digest: digest?,
        })
    }
}

fn read_cron(key: &str, r: &mut Reader) -> Option<Option<String>> {
    let text = r.text(key)?;
    if text == "off" {
        return Some(None);
    }
    match check(&text) {
        Ok(()) => Some(Some(text)),
        Err((problem, remedy)) => {
            r.mistake(key, problem, remedy);
            None
        }
    }
}

/// One field of an expression: its name, its range, and names for its values in order.
struct Field {
    name: &'static str,
    least: u32,
    most: u32,
    names: &'static [&'static str],
    /// Marks that are allowed besides numbers, `*`, `,`, `-` and `/`.
    marks: &'static str,
}

const MONTHS: [&str; 12] = [
    "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
];
const DAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

const FIELDS: [Field; 7] = [
    Field {
        name: "second",
        least: 0,
        most: 59,
        names: &[],
        marks: "",
    },
    Field {
        name: "minute",
        least: 0,
        most: 59,
        names: &[],
        marks: "",
    },
    Field {
        name: "hour",
        least: 0,
        most: 23,
        names: &[],
        marks: "",
    },
    Field {
        name: "day of the month",
        least: 1,
        most: 31,
        names: &[],
        marks: "LW?",
    },
    Field {
        name: "month",
        least: 1,
        most: 12,
        names: &MONTHS,
        marks: "",
    },
    // Sunday is 0 and 7.
    Field {
        name: "day of the week",
        least: 0,
        most: 7,
        names: &DAYS,
        marks: "L#?",
    },
    Field {
        name: "year",
        least: 1970,
        most: 2199,
        names: &[],
        marks: "",
    },
];

/// Whether a text is an expression with seconds; else what is wrong and what to do.
fn check(text: &str) -> Result<(), (String, String)> {
    let example = "such as \"0 */5 * * * *\" for every five minutes; or \"off\"".to_owned();
    if text.starts_with('@') {
        return match NAMES.contains(&text) {
            true => Ok(()),
            false => Err((
                "is not a known name".to_owned(),
                format!("write one of {}", NAMES.join(", ")),
            )),
        };
    }
    let parts: Vec<&str> = text.split_whitespace().collect();
    if parts.len() == 5 {
        return Err((
            "has five fields, but the first field here is the second".to_owned(),
            "add the seconds: put `0 ` in front of the five fields".to_owned(),
        ));
    }
    if !(6..=7).contains(&parts.len()) {
        return Err((
            format!("has {} fields", parts.len()),
            format!("write six (or seven, with the year): second first, {example}"),
        ));
    }
    for (field, part) in FIELDS.iter().zip(parts) {
        if !part.split(',').all(|item| field.accepts(item)) {
            return Err((
                format!("cannot be understood in its field for the {}", field.name),
                format!(
                    "give values from {} to {}, {example}",
                    field.least, field.most
                ),
            ));
        }
    }
    // What is left (such as a mark where none can be) is the library's to judge, by the rules it runs with.
    let parser = CronParser::builder()
        .seconds(Seconds::Required)
        .dom_and_dow(true)
        .build();
    parser.parse(text).map(|_| ()).map_err(|error| {
        (
            format!("cannot be understood: {error}"),
            format!("write it {example}"),
        )
    })
}

impl Field {
    fn accepts(&self, item: &str) -> bool {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (item, None),
        };
        if let Some(step) = step
            && !step
                .parse()
                .is_ok_and(|step: u32| (1..=self.most).contains(&step))
        {
            return false;
        }
        if range == "*" {
            return true;
        }
        let bare: String = range.chars().filter(|c| !self.marks.contains(*c)).collect();
        if bare.len() < range.len() {
            // Such as L, 15W, FRI#2 or 5#L: the marks are the library's to judge.
            return bare.is_empty() || self.value(&bare).is_some() || range.contains('#');
        }
        match range.split_once('-') {
            None => self.value(range).is_some(),
            Some((from, to)) => match (self.value(from), self.value(to)) {
                (Some(from), Some(to)) => from <= to,
                _ => false,
            },
        }
    }

    fn value(&self, text: &str) -> Option<u32> {
        let upper = text.to_ascii_uppercase();
        let by_name = self.names.iter().position(|name| *name == upper);
        match by_name {
            Some(at) => u32::try_from(at).ok().map(|at| at + self.least),
            None => text
                .parse()
                .ok()
                .filter(|number| (self.least..=self.most).contains(number)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn expressions_with_seconds_are_accepted() {
        for text in [
            "*/30 * * * * *",
            "0 */5 * * * *",
            "0 17 3 * * *",
            "0 0 8 * * MON-FRI",
            "0 0 0 1,15 JAN-jun 0",
            "0 0 0 L * ?",
            "0 0 0 15W * *",
            "0 0 0 * * FRI#2",
            "0 0 0 1 1 7 2030",
            "@daily",
            "@hourly",
        ] {
            assert!(check(text).is_ok(), "{text}: {:?}", check(text));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "60 * * * * *",
            "* * 24 * * *",
            "0 0 0 0 * *",
            "0 0 0 * 13 *",
            "0 0 0 * * 8",
            "*/0 * * * * *",
            "5-1 * * * * *",
            "a * * * * *",
            "0 0 0 * * * 1800",
            "0 0 0 * * * * *",
            "0 0",
            "@noon",
            "daily",
            "0 ,, 0 * * *",
            "0 0 0 # * *",
            "0 0 0 * * L#9",
        ] {
            assert!(check(text).is_err(), "{text}");
        }
    }

    #[test]
    fn five_fields_are_told_to_add_the_seconds() {
        let (problem, remedy) = check("*/5 * * * *").unwrap_err();
        assert!(problem.contains("five fields"), "{problem}");
        assert!(remedy.contains("seconds"), "{remedy}");
    }
}
