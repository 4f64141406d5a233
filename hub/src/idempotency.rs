//! Idempotent writes: key, effect and answer in one transaction (`reliability-contract` §10).

use serde::Serialize;

use crate::requests::Idempotency;
use crate::store::{Tx, idempotency};
use crate::{Hub, HubError};

/// How long an answer is kept.
pub(crate) const KEPT_MS: i64 = 48 * 3_600_000;
/// The longest answer that is kept, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The right to do a write, once.
pub(crate) struct Once {
    principal: String,
    idem: Option<Idempotency>,
}

/// What a key says about a write.
pub(crate) enum Begun {
    /// It was not done yet: do it, then [`Once::done`].
    Fresh(Once),
    /// It was done: the first answer.
    Before {
        /// Its status.
        status: u16,
        /// Its JSON body.
        body: String,
    },
}

/// Where a sealed answer belongs, for the seal.
pub(crate) fn place(principal: &str, method: &str, path: &str, key: &str) -> String {
    format!("idempotency|{principal}|{method}|{path}|{key}")
}

impl Hub {
    /// Begins a write under a key, inside the transaction of its effect. A second one with the same
    /// key waits for the first by the store's own lock, and then finds its answer.
    pub(crate) async fn begin_once(
        &self,
        tx: &mut Tx,
        principal: &str,
        idem: Option<Idempotency>,
    ) -> Result<Begun, HubError> {
        let Some(idem) = idem else {
            return Ok(Begun::Fresh(Once { principal: principal.to_owned(), idem: None }));
        };
        let fits = (1..=255).contains(&idem.key.len()) && idem.key.bytes().all(|b| b.is_ascii_graphic());
        if !fits {
            return Err(HubError::invalid("Idempotency-Key", "1 to 255 visible ASCII characters"));
        }
        match idempotency::take(tx, principal, &idem).await {
            Ok(true) => return Ok(Begun::Fresh(Once { principal: principal.to_owned(), idem: Some(idem) })),
            Ok(false) => {}
            // The first one has its key and is not done yet.
            Err(error) if error.is_passing() => return Err(HubError::IdempotencyInFlight),
            Err(error) => return Err(error.into()),
        }
        let Some(kept) = idempotency::kept(tx, principal, &idem).await? else {
            return Err(HubError::IdempotencyInFlight);
        };
        if kept.fingerprint != idem.fingerprint {
            return Err(HubError::IdempotencyMismatch);
        }
        if kept.answer.is_empty() {
            return Err(HubError::IdempotencyInFlight);
        }
        let unreadable = |why: String| HubError::Internal(format!("a kept answer cannot be read: {why}"));
        let body = self
            .inner()
            .key
            .open(&place(principal, &idem.method, &idem.path, &idem.key), &kept.answer)
            .map_err(|error| unreadable(error.to_string()))?;
        let body = String::from_utf8(body).map_err(|error| unreadable(error.to_string()))?;
        metrics::counter!("loket_idempotent_replays_total").increment(1);
        Ok(Begun::Before { status: u16::try_from(kept.status).unwrap_or(200), body })
    }

    /// Keeps the answer of a write beside its effect; to be called right before the commit.
    pub(crate) async fn done(
        &self,
        tx: &mut Tx,
        once: Once,
        answer: &impl Serialize,
    ) -> Result<(), HubError> {
        let Some(idem) = once.idem else { return Ok(()) };
        let body = serde_json::to_vec(answer).map_err(|error| HubError::Internal(error.to_string()))?;
        if body.len() > ANSWER_BYTES_MAX {
            return Err(HubError::invalid("", "this is too large for one request"));
        }
        let place = place(&once.principal, &idem.method, &idem.path, &idem.key);
        let sealed = self.inner().key.seal(&place, &body);
        idempotency::answer(tx, &once.principal, &idem, sealed).await?;
        Ok(())
    }
}
