//! Claims: before a message goes out the store says *sending*. No claim, no request
//! (`reliability-contract` §3).

use loket_backbone::bus::{Lease, Wire};
use loket_backbone::failpoint;
use loket_protocol::outbound::{Claim, ClaimAnswer};
use loket_protocol::topics::CLAIMS;
use tokio_util::sync::CancellationToken;

use crate::store::{StoreError, Tx, outbound};
use crate::{Hub, HubError, worker};

/// How many claims share one commit.
const CLAIMS_AT_ONCE: usize = 64;
/// No report so long after the claim: unconfirmed (`reliability-contract` §12).
pub(crate) const REPORT_MS: i64 = 30_000;
/// The longest nonce that is looked at.
const NONCE_BYTES_MAX: usize = 64;

/// Decides a claim and writes it down. The answer may be given only after the commit.
async fn decide(tx: &mut Tx, claim: &Claim) -> Result<ClaimAnswer, StoreError> {
    if claim.nonce.is_empty() || claim.nonce.len() > NONCE_BYTES_MAX {
        return Ok(ClaimAnswer::Refused);
    }
    let Some(mut part) = outbound::part(tx, claim.dispatch.message_id, claim.dispatch.part).await? else {
        return Ok(ClaimAnswer::Refused);
    };
    let was = part.standing.clone();
    let (answer, next) = was.claimed(claim.dispatch.number, &claim.nonce);
    if let Some(next) = next {
        let now = tx.now();
        part.standing = next;
        part.claimed_at = Some(now);
        part.due_at = now.plus_millis(REPORT_MS);
        outbound::save(tx, &part, &was).await?;
        outbound::now_sending(tx, part.message).await?;
    }
    Ok(answer)
}

impl Hub {
    /// Answers senders' claims until told to stop.
    pub(crate) async fn answer_claims(self, stop: CancellationToken) {
        let wire = self.inner().wire.clone();
        let take = || wire.questions(&CLAIMS, CLAIMS_AT_ONCE);
        worker::run("claims", stop, take, |leases| self.answer(leases)).await;
    }

    async fn answer(&self, leases: Vec<Box<dyn Lease>>) -> Result<(), HubError> {
        let asked: Vec<Option<Claim>> = leases.iter().map(|lease| Wire::read(lease.as_ref()).ok()).collect();
        let answers = match self.decide_all(&asked).await {
            Ok(answers) => answers,
            Err(error) if error.is_shared() || error.is_passing() => return Err(error.into()),
            Err(_) => self.decide_singly(&asked).await?,
        };
        for (lease, answer) in leases.into_iter().zip(answers) {
            let outcome = if answer == ClaimAnswer::Granted { "granted" } else { "refused" };
            metrics::counter!("loket_claim_answers_total", "answer" => outcome).increment(1);
            failpoint!("hub.claim.reply.before");
            // A lost answer is asked for again with the same nonce.
            if let Err(error) = Wire::reply(lease, &answer).await {
                tracing::debug!(%error, "an answer to a claim was lost");
            }
            failpoint!("hub.claim.reply.after");
        }
        Ok(())
    }

    async fn decide_all(&self, asked: &[Option<Claim>]) -> Result<Vec<ClaimAnswer>, StoreError> {
        let mut tx = self.inner().store.begin_for_worker().await?;
        let mut answers = vec![ClaimAnswer::Refused; asked.len()];
        // In the order in which all lock parts.
        let mut readable: Vec<_> =
            asked.iter().zip(&mut answers).filter_map(|(c, a)| Some((c.as_ref()?, a))).collect();
        readable.sort_by_key(|(claim, _)| (claim.dispatch.message_id, claim.dispatch.part));
        for (claim, answer) in readable {
            *answer = decide(&mut tx, claim).await?;
        }
        failpoint!("hub.claim.commit.before", StoreError::Passing("on purpose".to_owned()));
        tx.commit().await?;
        failpoint!("hub.claim.commit.after", StoreError::Passing("on purpose".to_owned()));
        Ok(answers)
    }

    /// One of them fails on something of its own: it alone is refused.
    async fn decide_singly(&self, asked: &[Option<Claim>]) -> Result<Vec<ClaimAnswer>, StoreError> {
        let mut answers = Vec::with_capacity(asked.len());
        for claim in asked {
            match self.decide_all(std::slice::from_ref(claim)).await {
                Ok(decided) => answers.extend(decided),
                Err(error) if error.is_shared() || error.is_passing() => return Err(error),
                Err(error) => {
                    tracing::error!(%error, "a claim could not be decided; it is refused");
                    answers.push(ClaimAnswer::Refused);
                }
            }
        }
        Ok(answers)
    }

    /// Decides one claim, as a sender on the bus would be answered.
    #[cfg(test)]
    pub(crate) async fn claim(&self, claim: &Claim) -> Result<ClaimAnswer, HubError> {
        let mut tx = self.inner().store.begin().await?;
        let answer = decide(&mut tx, claim).await?;
        tx.commit().await?;
        Ok(answer)
    }
}
