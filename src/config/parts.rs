//! Parts of the settings, for commands that do without the rest.
//!
//! An operator who asks the daemon how it is need not hold Clerk's and Convex's keys. Mistakes in
//! sections that a command does not use are not its business: they are left to `check` and `run`.

use std::path::Path;

use super::{Admin, Env, Listen, Mistake, Secret, State, layers, reader::Reader};

/// What it takes to ask a running daemon, or to open what a stopped one left behind.
#[derive(Clone, Debug, PartialEq)]
pub struct Operating {
    /// Where the daemon listens for operators.
    pub admin: Admin,
    /// What it keeps on disk.
    pub state: State,
}

impl Operating {
    /// Reads the sections `admin` and `state` from all sources, as [`super::Config::load`] does.
    ///
    /// # Errors
    /// The mistakes in these two sections, and a file that cannot be read as a whole.
    pub fn load(file: Option<&Path>, env: &Env) -> Result<Self, Vec<Mistake>> {
        let mut reader = Reader::new(layers::gather(file, env));
        let admin = Admin::read(&mut reader);
        let state = State::read(&mut reader);
        let part = admin
            .zip(state)
            .map(|(admin, state)| Operating { admin, state });
        finish(part, reader, &["admin", "state"])
    }
}

/// What it takes to send a signed test event to the public listener.
#[derive(Clone, Debug, PartialEq)]
pub struct Sending {
    /// The first of the signing secrets.
    pub secret: Secret,
    /// The instance that events are to name, if it is fixed.
    pub instance_id: Option<String>,
    /// The public listener.
    pub listen: Listen,
}

impl Sending {
    /// Reads the section `listen` and what is needed of `clerk`, as [`super::Config::load`] does.
    ///
    /// # Errors
    /// The mistakes in these two sections, and a file that cannot be read as a whole.
    pub fn load(file: Option<&Path>, env: &Env) -> Result<Self, Vec<Mistake>> {
        let mut reader = Reader::new(layers::gather(file, env));
        let secrets = reader.secrets("clerk.webhook_secrets", super::clerk::MOST_WEBHOOK_SECRETS);
        let instance_id = reader.optional_text("clerk.instance_id");
        let listen = Listen::read(&mut reader);
        let part = secrets
            .and_then(|secrets| secrets.into_iter().next())
            .zip(instance_id)
            .zip(listen)
            .map(|((secret, instance_id), listen)| Sending {
                secret,
                instance_id,
                listen,
            });
        finish(
            part,
            reader,
            &["clerk.webhook_secrets", "clerk.instance_id", "listen"],
        )
    }
}

/// The part, unless a mistake stands in the keys below `uses` or in the file as a whole.
fn finish<T>(part: Option<T>, reader: Reader, uses: &[&str]) -> Result<T, Vec<Mistake>> {
    let (gathered, _) = reader.finish();
    let concerns = |key: &str| {
        key.is_empty()
            || uses
                .iter()
                .any(|used| key == *used || key.starts_with(&format!("{used}.")))
    };
    let (mine, others): (Vec<Mistake>, Vec<Mistake>) = gathered
        .mistakes
        .into_iter()
        .partition(|mistake| concerns(&mistake.key));
    match part {
        Some(part) if mine.is_empty() => Ok(part),
        // Without a part there is a mistake; should it stand elsewhere after all, it is told.
        _ => Err(if mine.is_empty() { others } else { mine }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_needs_no_keys() {
        let env = Env::new([("CCS_STATE__DIR", "/var/lib/x")]);
        let part = Operating::load(None, &env).expect("no key is asked for");
        assert_eq!(part.admin.socket, Path::new("/var/lib/x/admin.sock"));
        assert_eq!(part.state.dir, Path::new("/var/lib/x"));
    }

    #[test]
    fn mistakes_elsewhere_are_left_to_check() {
        let env = Env::new([("CONVEX_URL", "nonsense"), ("CCS_LISTEN__ADDRESS", "x")]);
        assert!(Operating::load(None, &env).is_ok());
        let env = Env::new([("CCS_ADMIN__ADDRESS", "x"), ("CONVEX_URL", "nonsense")]);
        let mistakes = Operating::load(None, &env).unwrap_err();
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert_eq!(mistakes[0].key, "admin.address");
    }

    #[test]
    fn a_sender_needs_the_signing_secret_and_nothing_more_of_clerk() {
        let mistakes = Sending::load(None, &Env::default()).unwrap_err();
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert_eq!(mistakes[0].key, "clerk.webhook_secrets");
        let secret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
        let env = Env::new([("CLERK_WEBHOOK_SECRET", secret)]);
        let part = Sending::load(None, &env).expect("that is all it needs");
        assert_eq!(part.secret.expose(), secret);
        assert_eq!(part.listen.address.port(), 8787);
    }
}
