//! Which Clerk instance this daemon serves, and what to think of an event of another one.
//!
//! Pure. An event names its instance. The first one seen is taken for ours until a record of another
//! instance turns out to exist under our key: Clerk's dashboard sends examples of made-up instances,
//! and one of those may come first. Once a record has been looked up under our key, or when the
//! configuration says so, the instance is known and everything else is foreign.

/// What is known of our instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Pin {
    /// Nothing yet.
    #[default]
    Unknown,
    /// Named by the first event; not proved.
    Presumed(Box<str>),
    /// Proved by a look-up under our key, or configured.
    Known(Box<str>),
}

/// What to think of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Belonging {
    /// Ours, or nobody says otherwise.
    Ours,
    /// Another instance's.
    Foreign,
    /// Another one's than presumed: whose record exists under our key decides.
    Unsure,
}

impl Pin {
    /// What to think of an event that names this instance. The first name is remembered.
    pub fn judge(&mut self, instance: Option<&str>) -> Belonging {
        let Some(instance) = instance else {
            return Belonging::Ours;
        };
        match self {
            Pin::Unknown => {
                *self = Pin::Presumed(instance.into());
                Belonging::Ours
            }
            Pin::Presumed(ours) | Pin::Known(ours) if **ours == *instance => Belonging::Ours,
            Pin::Presumed(_) => Belonging::Unsure,
            Pin::Known(_) => Belonging::Foreign,
        }
    }

    /// A record of an event that names this instance exists under our key.
    pub fn proved(&mut self, instance: &str) {
        if !matches!(self, Pin::Known(_)) {
            *self = Pin::Known(instance.into());
        }
    }

    /// The instance, if one is at least presumed.
    pub fn instance(&self) -> Option<&str> {
        match self {
            Pin::Unknown => None,
            Pin::Presumed(instance) | Pin::Known(instance) => Some(instance),
        }
    }

    /// True if nothing can change it any more.
    pub fn is_known(&self) -> bool {
        matches!(self, Pin::Known(_))
    }

    /// The form that is kept in the state.
    pub fn to_cell(&self) -> Option<String> {
        match self {
            Pin::Unknown => None,
            Pin::Presumed(instance) => Some(format!("presumed {instance}")),
            Pin::Known(instance) => Some(format!("known {instance}")),
        }
    }

    /// Reads [`Pin::to_cell`]; anything else is [`Pin::Unknown`].
    pub fn from_cell(text: &str) -> Pin {
        match text.split_once(' ') {
            Some(("presumed", instance)) => Pin::Presumed(instance.into()),
            Some(("known", instance)) => Pin::Known(instance.into()),
            _ => Pin::Unknown,
        }
    }
}

/// What follows from Clerk's word that a record does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// It is gone.
    Gone,
    /// The event is another instance's.
    Foreign,
    /// It was only mentioned, in a dashboard's example perhaps, and the key has shown nothing yet: nothing
    /// follows.
    Unproved,
    /// Clerk's word cannot be taken: this key has not shown any record of our instance.
    Distrusted,
}

/// What to make of it. `says_gone`: the event says so too; `arbitrate`: whether the event is ours hangs on this
/// answer; `mentioned`: nobody has told of the record itself; `proved`: the key has shown a record of ours.
pub fn absence(says_gone: bool, arbitrate: bool, mentioned: bool, proved: bool) -> Absence {
    match (says_gone, arbitrate, proved, mentioned) {
        // Clerk has said twice that it is gone, by the event and now: whose it was does not matter.
        (true, ..) => Absence::Gone,
        (_, true, ..) => Absence::Foreign,
        (_, _, true, _) => Absence::Gone,
        (_, _, false, true) => Absence::Unproved,
        (_, _, false, false) => Absence::Distrusted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_event_that_comes_first_does_not_lock_the_real_instance_out() {
        let mut pin = Pin::default();
        assert_eq!(pin.judge(Some("ins_123")), Belonging::Ours);
        assert_eq!(pin.judge(Some("ins_real")), Belonging::Unsure);
        pin.proved("ins_real");
        assert_eq!(pin.judge(Some("ins_real")), Belonging::Ours);
        assert_eq!(pin.judge(Some("ins_123")), Belonging::Foreign);
        pin.proved("ins_123");
        assert_eq!(
            pin.instance(),
            Some("ins_real"),
            "known once, known for good"
        );
    }

    #[test]
    fn an_event_that_names_no_instance_is_taken() {
        let mut pin = Pin::Known("ins_a".into());
        assert_eq!(pin.judge(None), Belonging::Ours);
        assert_eq!(Pin::default().judge(None), Belonging::Ours);
    }

    #[test]
    fn an_absence_is_a_deletion_only_under_a_key_that_has_shown_a_record_or_by_two_words() {
        for (says_gone, arbitrate, mentioned, proved, is) in [
            (true, true, false, false, Absence::Gone),
            (false, true, false, true, Absence::Foreign),
            (false, false, true, true, Absence::Gone),
            (false, false, true, false, Absence::Unproved),
            (false, false, false, false, Absence::Distrusted),
        ] {
            assert_eq!(absence(says_gone, arbitrate, mentioned, proved), is);
        }
    }

    #[test]
    fn what_is_kept_reads_back() {
        for pin in [Pin::Presumed("ins_1".into()), Pin::Known("ins_2".into())] {
            assert_eq!(Pin::from_cell(&pin.to_cell().unwrap()), pin);
        }
        assert_eq!(Pin::from_cell("nonsense"), Pin::Unknown);
    }
}
