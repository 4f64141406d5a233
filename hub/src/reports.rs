//! What senders report, and what is done about a send that did not happen or whose answer was lost.

use loket_backbone::random;
use loket_protocol::channel::{Capabilities, ChannelHealth};
use loket_protocol::contact::Handle;
use loket_protocol::delivery::SendClass;
use loket_protocol::event::EventType;
use loket_protocol::outbound::{Outcome, SendReport};
use loket_protocol::time::Timestamp;

use crate::delivery::{refresh, settle_sent, tell};
use crate::hub::Inner;
use crate::retry::{self, Failure, Next};
use crate::settings::UnconfirmedPolicy;
use crate::standing::{News, PartState, Standing};
use crate::store::inbox::{self, Effect};
use crate::store::outbound::{self, Part, PartError, Terms};
use crate::store::{StoreError, Tx, channels, contacts, statuses};

/// How long a report's key is kept (`reliability-contract` §5).
const KEY_KEPT_MS: i64 = 14 * 24 * 3_600_000;
/// How long after the claim a status or an echo may settle a lost answer (`reliability-contract` §3).
pub(crate) const SETTLE_MS: i64 = 120_000;
/// How long a passing failure is tried again.
const RETRY_FOR_MS: i64 = 24 * 3_600_000;

/// Until when the window of a recipient lets this part through; `None`: there is no end.
fn window_end(part: &Part, terms: &Terms, capabilities: Option<&Capabilities>) -> Option<Timestamp> {
    let payload = part.payload.as_ref()?;
    if payload.content.kind == "template" {
        return None;
    }
    let capabilities = capabilities?;
    let ordinary = capabilities.window_ms?;
    let human = capabilities.human_window_ms.filter(|_| payload.written_by_person);
    Some(terms.window_opened_at?.plus_millis(human.map_or(ordinary, |human| human.max(ordinary))))
}

/// After this moment a part is not tried again.
fn deadline(part: &Part, terms: &Terms, capabilities: Option<&Capabilities>) -> Timestamp {
    // What waited for a person to mend the account is given its time afterwards.
    let from = terms.created_at.max(terms.channel_since.unwrap_or_default());
    let most = from.plus_millis(RETRY_FOR_MS);
    window_end(part, terms, capabilities).map_or(most, |end| end.min(most))
}

impl Inner {
    /// Takes one report; a repeat changes nothing.
    pub(crate) async fn apply_report(&self, tx: &mut Tx, report: &SendReport) -> Result<(), StoreError> {
        let now = tx.now();
        let key = inbox::Claim {
            key: report.key(),
            effect: Effect::Status,
            effect_id: Some(report.dispatch.message_id.to_string()),
            received_at: now,
            keep_until: Some(now.plus_millis(KEY_KEPT_MS)),
        };
        if inbox::claim(tx, &[key]).await?.is_empty() {
            metrics::counter!("loket_report_absorbed_total").increment(1);
            return Ok(());
        }
        metrics::counter!("loket_report_taken_total", "outcome" => report.outcome.name()).increment(1);
        match &report.outcome {
            Outcome::Sent { external_id, learnt } => self.was_sent(tx, report, external_id, learnt).await,
            Outcome::NotSent { class, code, subcode, retry_after_ms, sentence } => {
                let error = PartError {
                    at: report.at,
                    class: Some(*class),
                    code: *code,
                    subcode: *subcode,
                    sentence: sentence.clone(),
                };
                self.was_not_sent(tx, report, error, *retry_after_ms).await
            }
            Outcome::Failed { code, subcode, sentence } => {
                let error = PartError {
                    at: report.at,
                    class: Some(SendClass::Final),
                    code: *code,
                    subcode: *subcode,
                    sentence: sentence.clone(),
                };
                self.was_not_sent(tx, report, error, None).await
            }
            Outcome::Unconfirmed { why } => {
                let Some(mut part) = self.reported_part(tx, report).await? else { return Ok(()) };
                let was = part.standing.clone();
                if let Some(next) = was.reported(report.dispatch.number, News::Unconfirmed) {
                    tracing::warn!(message.id = %part.message, why, "a provider's answer was lost");
                    part.standing = next;
                    lose(tx, &mut part, &was, report.at).await?;
                }
                Ok(())
            }
        }
    }

    async fn reported_part(&self, tx: &mut Tx, report: &SendReport) -> Result<Option<Part>, StoreError> {
        let part = outbound::part(tx, report.dispatch.message_id, report.dispatch.part).await?;
        if part.is_none() {
            tracing::warn!(message.id = %report.dispatch.message_id, "a report about an unknown message");
        }
        Ok(part)
    }

    async fn was_sent(
        &self,
        tx: &mut Tx,
        report: &SendReport,
        external_id: &str,
        learnt: &[Handle],
    ) -> Result<(), StoreError> {
        let Some(part) = self.reported_part(tx, report).await? else { return Ok(()) };
        settle_sent(tx, &report.dispatch, external_id, report.at).await?;
        for handle in learnt {
            // An address that is somebody's already is theirs until the platform says otherwise.
            if contacts::leading(&[(&part.channel, handle)]).all(tx).await?.is_empty() {
                contacts::add_handles(tx, &part.channel, part.identity, std::slice::from_ref(handle)).await?;
            }
        }
        let health = channels::one(tx, &part.channel).await?.map(|row| row.health);
        if health == Some(ChannelHealth::Reauthorise) {
            channels::set_health(tx, &part.channel, ChannelHealth::Connected, None).await?;
            channels::release(tx, &part.channel).await?;
            outbound::hurry(tx, &part.channel).await?;
        }
        Ok(())
    }

    /// It surely was not sent: again, later, or never.
    async fn was_not_sent(
        &self,
        tx: &mut Tx,
        report: &SendReport,
        error: PartError,
        retry_after_ms: Option<u64>,
    ) -> Result<(), StoreError> {
        let Some(mut part) = self.reported_part(tx, report).await? else { return Ok(()) };
        let was = part.standing.clone();
        let Some(again) = was.reported(report.dispatch.number, News::NotSent) else { return Ok(()) };
        let class = error.class.unwrap_or(SendClass::Final);
        if class != SendClass::Configuration {
            part.tries = part.tries.saturating_add(1);
        }
        let terms = outbound::terms(tx, &part).await?;
        let capabilities = self.accounts.get(&part.channel).map(|account| &account.capabilities);
        let failure = Failure {
            class,
            tries: part.tries,
            retry_after_ms,
            now: tx.now(),
            deadline: deadline(&part, &terms, capabilities),
        };
        part.published_times = 0;
        part.standing = again;
        match retry::next(&failure, random::jitter_ms) {
            Next::Again(at) => part.due_at = at,
            Next::HoldAccount(until) => {
                channels::hold(tx, &part.channel, until).await?;
                part.due_at = until;
            }
            Next::Reauthorise(trial) => {
                channels::set_health(tx, &part.channel, ChannelHealth::Reauthorise, Some(&error.sentence))
                    .await?;
                channels::hold(tx, &part.channel, trial).await?;
                part.due_at = tx.now();
            }
            Next::GiveUp(why) => {
                let Some(failed) = was.reported(report.dispatch.number, News::Failed) else { return Ok(()) };
                part.standing = failed;
                let sentence = format!("{} {why}", error.sentence).trim_end().to_owned();
                part.error = Some(PartError { sentence, ..error });
                outbound::save(tx, &part, &was).await?;
                return refresh(tx, part.message).await;
            }
        }
        part.error = Some(error);
        outbound::save(tx, &part, &was).await?;
        refresh(tx, part.message).await
    }

    /// A part whose report or settlement is overdue, taken up again inside `tx`.
    pub(crate) async fn overdue(&self, tx: &mut Tx, part: &Part) -> Result<(), StoreError> {
        // It was read outside this transaction: it may have moved on.
        let Some(mut part) = outbound::part(tx, part.message, part.index).await? else { return Ok(()) };
        if part.due_at > tx.now() {
            return Ok(());
        }
        let was = part.standing.clone();
        match was.state {
            PartState::Sending => {
                let Some(next) = was.silent() else { return Ok(()) };
                metrics::counter!("loket_report_missing_total").increment(1);
                part.standing = next;
                let at = tx.now();
                lose(tx, &mut part, &was, at).await
            }
            PartState::Unconfirmed => self.unsettled(tx, part).await,
            PartState::Queued if part.payload.is_none() => {
                part.standing = Standing { state: PartState::Failed, ..was.clone() };
                part.error = Some(PartError {
                    at: tx.now(),
                    class: None,
                    code: None,
                    subcode: None,
                    sentence: "This message is damaged in our store and cannot be sent; write it again."
                        .to_owned(),
                });
                outbound::save(tx, &part, &was).await?;
                refresh(tx, part.message).await
            }
            PartState::Queued | PartState::Sent | PartState::Failed => Ok(()),
        }
    }

    /// Nothing settled a lost answer in time: the recorded policy decides.
    async fn unsettled(&self, tx: &mut Tx, mut part: Part) -> Result<(), StoreError> {
        let was = part.standing.clone();
        let terms = outbound::terms(tx, &part).await?;
        let capabilities = self.accounts.get(&part.channel).map(|account| &account.capabilities);
        let is_template = part.payload.as_ref().is_some_and(|payload| payload.content.kind == "template");
        let policy = if terms.by_bot && !is_template {
            UnconfirmedPolicy::ResendOnce
        } else {
            self.settings.outbound.unconfirmed
        };
        let now = tx.now();
        let in_time = window_end(&part, &terms, capabilities).is_none_or(|end| now < end);
        let once_more = policy == UnconfirmedPolicy::ResendOnce && was.resends == 0 && in_time;
        let again = if once_more { was.sent_again() } else { None };
        let resend = again.is_some();
        part.due_at = if resend { now } else { outbound::held() };
        if let Some(again) = again {
            part.standing = again;
            part.published_times = 0;
        }
        outbound::save(tx, &part, &was).await?;
        metrics::counter!("loket_outbound_unconfirmed_total", "then" => if resend { "resend" } else { "hold" })
            .increment(1);
        refresh(tx, part.message).await?;
        match statuses::outgoing(tx, part.message).await? {
            Some(message) => tell(tx, &message, EventType::MessageUnconfirmed).await,
            None => Ok(()),
        }
    }
}

/// Writes down that nobody knows, and until when something may settle it.
async fn lose(tx: &mut Tx, part: &mut Part, was: &Standing<String>, at: Timestamp) -> Result<(), StoreError> {
    part.due_at = part.claimed_at.unwrap_or(at).plus_millis(SETTLE_MS);
    part.error = Some(PartError {
        at,
        class: None,
        code: None,
        subcode: None,
        sentence: "The provider's answer was lost, so nobody knows yet whether this message arrived."
            .to_owned(),
    });
    outbound::save(tx, part, was).await?;
    refresh(tx, part.message).await
}
