//! The secret of an app, and during a rotation the one before it (`security` H3).

use loket_backbone::secret::Secret;
use loket_protocol::time::Timestamp;

use super::verify_signature;
use crate::channel::{Callback, Rejected};

/// What callbacks of one app are signed with.
#[derive(Clone, Debug, Default)]
pub struct AppSecrets {
    current: Secret,
    previous: Option<(Secret, Timestamp)>,
}

impl AppSecrets {
    /// The secrets of the section `section`. The error is one sentence: an empty secret protects
    /// nothing, and a former one without an end would be accepted for ever.
    pub fn new(
        section: &str,
        current: Secret,
        previous: Option<Secret>,
        previous_until: Option<Timestamp>,
    ) -> Result<Self, String> {
        if current.is_empty() {
            return Err(format!("{section}.app_secret is empty: without it anybody could forge callbacks"));
        }
        let previous = match (previous, previous_until) {
            (None, None) => None,
            (Some(secret), Some(until)) if !secret.is_empty() => Some((secret, until)),
            (Some(secret), _) if secret.is_empty() => {
                return Err(format!("{section}.app_secret_previous is empty: leave it out or fill it in"));
            }
            _ => {
                return Err(format!(
                    "{section}.app_secret_previous and {section}.app_secret_previous_until belong together: \
                     set both or neither"
                ));
            }
        };
        Ok(Self { current, previous })
    }

    /// The one that counts now; also the key of proofs.
    pub fn current(&self) -> &Secret {
        &self.current
    }

    /// Is the callback signed with one of them that is valid at its arrival?
    pub fn verify(&self, callback: &Callback) -> Result<(), Rejected> {
        let previous = self.previous.iter().filter(|(_, until)| callback.received_at <= *until);
        let secrets: Vec<Secret> =
            std::iter::once(&self.current).chain(previous.map(|(secret, _)| secret)).cloned().collect();
        verify_signature(&secrets, &callback.signatures, &callback.body).map(|_| ())
    }
}
