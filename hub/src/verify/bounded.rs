//! V12, as far as it can be seen at rest: what is kept for a while only does not stay longer. Memory,
//! descriptors and queues have their limits where they are filled, and tests of their own.

use super::Findings;
use crate::HubError;
use crate::idempotency::KEPT_MS;
use crate::store::upkeep::Sweep;
use crate::store::{Conn, idempotency, inbox, verify};

/// How late a sweep may be. One is due each minute.
const SLACK_MS: i64 = 60 * 60 * 1000;

/// Checks that nothing had outstayed its time when the installation was last alive.
pub(super) async fn check(reader: &mut Conn, findings: &mut Findings) -> Result<(), HubError> {
    let Some(alive_at) = verify::last_sign_of_life(reader).await? else { return Ok(()) };
    let moment = alive_at.plus_millis(-SLACK_MS);
    let mut left = Vec::new();
    for what in Sweep::ALL {
        left.push((what.noun(), what.left(reader, moment.plus_millis(-what.keep_ms())).await?));
    }
    left.push(("kept answers", idempotency::left(reader, moment.plus_millis(-KEPT_MS)).await?));
    left.push(("inbox keys", inbox::left(reader, moment).await?));
    for (noun, n) in left.into_iter().filter(|(_, n)| *n > 0) {
        findings.add("V12", format!("{n} {noun} stay beyond their time: nobody sweeps them"));
    }
    Ok(())
}
