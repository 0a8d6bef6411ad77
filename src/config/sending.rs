//! The part of the settings that it takes to send a signed test event.
//!
//! Who tries an endpoint need not hold Clerk's and Convex's keys. Mistakes in keys that are not used
//! here are left to `check` and `run`.

use std::path::Path;

use super::{Env, Listen, Mistake, Secret, layers, reader::Reader};

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
        let (gathered, _) = reader.finish();
        let uses = |key: &str| {
            key.is_empty()
                || key.starts_with("listen.")
                || key == "clerk.webhook_secrets"
                || key == "clerk.instance_id"
        };
        let (mine, others): (Vec<Mistake>, Vec<Mistake>) = gathered
            .mistakes
            .into_iter()
            .partition(|mistake| uses(&mistake.key));
        match part {
            Some(part) if mine.is_empty() => Ok(part),
            // Without a part there is a mistake; should it stand elsewhere after all, it is told.
            _ => Err(if mine.is_empty() { others } else { mine }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
