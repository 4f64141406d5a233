//! Where an outgoing message stands: everything that was told about it, folded in an order of rank
//! and never of arrival.
//!
//! A message of several parts is *failed* when one part failed and was not proven to have arrived;
//! otherwise, when all parts are at least *sent*, it stands where the slowest part stands; otherwise
//! it stands at our own step that is furthest along: *unconfirmed* before *sending* before *queued*.
//! What is shown never steps back in rank: a part that surely was not sent and waits to be tried
//! again is shown as *sending*, with a sentence that says so.

use loket_protocol::channel::ChannelAccount;
use loket_protocol::delivery::{MessageStatus, ProviderStatus, StatusDetail};
use loket_protocol::event::EventType;
use loket_protocol::ids::{IdentityId, MessageId};
use loket_protocol::inbound::{StatusFact, WatermarkFact};
use loket_protocol::message::ProviderError;
use loket_protocol::outbound::Dispatch;
use loket_protocol::time::Timestamp;
use serde_json::{Value, json};

use crate::standing::{News, PartState};
use crate::store::marks::{self, Actor, Target};
use crate::store::outbound::{self, Part};
use crate::store::statuses::{self, Outgoing, Told, Watermark};
use crate::store::{Conn, StoreError, Tx, channels, log, messages};

/// One part's own step and what the provider said about it.
#[derive(Clone, Debug, Default)]
struct PartFacts {
    step: Option<MessageStatus>,
    told: Vec<ProviderStatus>,
}

/// The status of one part.
fn fold_part(part: &PartFacts) -> MessageStatus {
    let step = part.step.unwrap_or(MessageStatus::Sent);
    part.told.iter().fold(step, |status, news| status.advanced_by(*news))
}

/// The status of a message from its parts.
fn fold(parts: &[PartFacts]) -> MessageStatus {
    let folded: Vec<MessageStatus> = parts.iter().map(fold_part).collect();
    if folded.contains(&MessageStatus::Failed) {
        return MessageStatus::Failed;
    }
    let own: Vec<MessageStatus> =
        folded.iter().copied().filter(|status| status.rank() < MessageStatus::Sent.rank()).collect();
    let all_sent = own.is_empty();
    if all_sent {
        folded.into_iter().min_by_key(|status| status.rank()).unwrap_or(MessageStatus::Queued)
    } else if own.len() < folded.len() {
        // Something of it is out: it is on its way, whatever the rest is.
        own.into_iter()
            .chain([MessageStatus::Sending])
            .max_by_key(|status| status.rank())
            .unwrap_or(MessageStatus::Sending)
    } else {
        own.into_iter().max_by_key(|status| status.rank()).unwrap_or(MessageStatus::Queued)
    }
}

/// Our own step of a part, as the message shows it.
fn step(part: &Part) -> MessageStatus {
    match part.standing.state {
        PartState::Sent => MessageStatus::Sent,
        PartState::Failed => MessageStatus::Failed,
        PartState::Unconfirmed => MessageStatus::Unconfirmed,
        PartState::Queued | PartState::Sending if part.standing.resends > 0 => MessageStatus::Unconfirmed,
        PartState::Sending => MessageStatus::Sending,
        PartState::Queued if part.standing.number > 1 => MessageStatus::Sending,
        PartState::Queued => MessageStatus::Queued,
    }
}

/// Everything that decides where a message stands.
struct Facts {
    parts: Vec<Part>,
    told: Vec<Told>,
    names: Vec<String>,
}

impl Facts {
    async fn of(conn: &mut Conn, message: MessageId) -> Result<Self, StoreError> {
        Ok(Self {
            parts: outbound::of_message(conn, message).await?,
            told: statuses::told(conn, message).await?,
            names: statuses::names(conn, message).await?,
        })
    }

    fn per_part(&self) -> Vec<PartFacts> {
        if self.parts.is_empty() {
            return vec![PartFacts { step: None, told: self.told.iter().map(|told| told.status).collect() }];
        }
        let of = |part: &Part| PartFacts {
            step: Some(step(part)),
            told: self.told.iter().filter(|told| told.part == part.index).map(|told| told.status).collect(),
        };
        self.parts.iter().map(of).collect()
    }

    /// The time of a kind of status: of each part the first, of these the last.
    fn time(&self, status: ProviderStatus) -> Option<Timestamp> {
        let first = |part: u32| {
            self.told
                .iter()
                .filter(|told| told.status == status && told.part == part)
                .map(|told| told.at)
                .min()
        };
        if self.parts.is_empty() {
            return first(0);
        }
        self.parts.iter().filter_map(|part| first(part.index)).max()
    }

    /// When the provider had all of it.
    fn sent_at(&self) -> Option<Timestamp> {
        let mut last = None;
        for part in &self.parts {
            let told = self
                .told
                .iter()
                .filter(|told| told.status == ProviderStatus::Sent && told.part == part.index)
                .map(|told| told.at)
                .min();
            let first = part.sent_at.into_iter().chain(told).min()?;
            last = last.max(Some(first));
        }
        last
    }

    fn detail(&self, message: &Outgoing, marks: &[(ProviderStatus, Timestamp)]) -> StatusDetail {
        let external_id = message.external_id.as_deref();
        let marked = |status| marks.iter().filter(|(kind, _)| *kind == status).map(|(_, at)| *at).min();
        let earlier = |status| self.time(status).into_iter().chain(marked(status)).min();
        let ours = self.parts.iter().filter_map(|part| part.error.as_ref().map(|error| (part, error)));
        let failed_by_us = ours
            .clone()
            .filter(|(part, _)| part.standing.state == PartState::Failed)
            .map(|(_, error)| error.at)
            .max();
        let mut errors: Vec<ProviderError> = Vec::new();
        let codes = ours.clone().filter_map(|(_, error)| {
            error.code.map(|code| ProviderError { code, subcode: error.subcode, ..ProviderError::default() })
        });
        for error in codes.chain(self.told.iter().flat_map(|told| told.errors.iter().cloned())) {
            if !errors.contains(&error) {
                errors.push(error);
            }
        }
        let mut pricing: Vec<String> = Vec::new();
        for price in self.told.iter().flat_map(|told| &told.pricing) {
            if !pricing.contains(price) {
                pricing.push(price.clone());
            }
        }
        // A failure speaks before a mere wait.
        let sentence = ours
            .clone()
            .max_by_key(|(part, error)| (part.standing.state == PartState::Failed, error.at))
            .map(|(_, error)| error.sentence.clone())
            .or_else(|| self.told_failure());
        StatusDetail {
            sent_at: self.sent_at().or_else(|| self.sent_elsewhere(message)),
            delivered_at: earlier(ProviderStatus::Delivered),
            read_at: earlier(ProviderStatus::Read),
            played_at: self.time(ProviderStatus::Played),
            failed_at: self.time(ProviderStatus::Failed).or(failed_by_us),
            errors,
            sentence,
            pricing,
            external_ids: self
                .names
                .iter()
                .filter(|name| Some(name.as_str()) != external_id)
                .cloned()
                .collect(),
            possible_duplicate: self.parts.iter().any(|part| part.standing.resends > 0),
        }
    }

    /// What did not go out here was sent when the provider says, or when it came into the thread.
    fn sent_elsewhere(&self, message: &Outgoing) -> Option<Timestamp> {
        if !self.parts.is_empty() {
            return None;
        }
        self.time(ProviderStatus::Sent).into_iter().chain(message.provider_time).min()
    }

    /// The provider took it and said later that it will not arrive.
    fn told_failure(&self) -> Option<String> {
        let told = self.told.iter().find(|told| told.status == ProviderStatus::Failed)?;
        let words = told.errors.first().and_then(|error| error.details.as_ref().or(error.title.as_ref()));
        Some(match words {
            Some(words) => format!("The provider took this message and could not deliver it: {words}"),
            None => "The provider took this message and could not deliver it.".to_owned(),
        })
    }

    /// Where a message stands before any watermark, and the provider's time of its sending.
    fn folded(&self, message: &Outgoing) -> (MessageStatus, Option<Timestamp>) {
        let provider_time = match self.sent_at() {
            Some(at) => Some(at),
            None if self.parts.is_empty() => message.provider_time,
            None => None,
        };
        (fold(&self.per_part()), provider_time)
    }

    /// Where it stands with the nearest watermarks above it.
    fn settled(&self, message: &Outgoing, marks: &[(ProviderStatus, Timestamp)]) -> Outgoing {
        let (status, provider_time) = self.folded(message);
        let marks = if is_out(status) { marks } else { &[] };
        let status = marks.iter().fold(status, |status, (news, _)| status.advanced_by(*news));
        Outgoing { status, detail: self.detail(message, marks), provider_time, ..message.clone() }
    }
}

/// A watermark says something only about what the provider has taken and not refused.
fn is_out(status: MessageStatus) -> bool {
    matches!(status, MessageStatus::Sent | MessageStatus::Delivered | MessageStatus::Read)
}

/// Where a message stands by everything that was told.
async fn expected(conn: &mut Conn, message: &Outgoing) -> Result<Outgoing, StoreError> {
    let facts = Facts::of(conn, message.id).await?;
    let (status, provider_time) = facts.folded(message);
    let marks = match message.identity.filter(|_| is_out(status)) {
        Some(identity) => statuses::marks_above(conn, identity, provider_time, message.seq).await?,
        None => Vec::new(),
    };
    Ok(facts.settled(message, &marks))
}

/// The same from rows that were read for many messages at once. `marks` are all watermarks of the
/// message's identity, ascending.
pub(crate) fn expected_from(
    message: &Outgoing,
    parts: Vec<Part>,
    told: Vec<Told>,
    names: Vec<String>,
    marks: &[(Watermark, Timestamp)],
) -> Outgoing {
    let facts = Facts { parts, told, names };
    let (_, provider_time) = facts.folded(message);
    let mut nearest = Vec::new();
    for status in [ProviderStatus::Delivered, ProviderStatus::Read] {
        for by_seq in [false, true] {
            let place = if by_seq { Some(message.seq) } else { provider_time.map(Timestamp::as_millis) };
            let above = marks.iter().find(|(mark, _)| {
                mark.status == status
                    && mark.by_seq == by_seq
                    && place.is_some_and(|place| mark.up_to >= place)
            });
            nearest.extend(above.map(|(_, at)| (status, *at)));
        }
    }
    facts.settled(message, &nearest)
}

/// Writes where a message stands now, and tells it when it moved on.
pub(crate) async fn refresh(tx: &mut Tx, id: MessageId) -> Result<(), StoreError> {
    let Some(before) = statuses::outgoing(tx, id).await? else { return Ok(()) };
    let mut now = expected(tx, &before).await?;
    // Own steps may go back (a send that surely did not happen); what is shown may not.
    let moved = now.status.rank() > before.status.rank();
    if !moved {
        now.status = before.status;
    }
    if moved || now.detail != before.detail || now.provider_time != before.provider_time {
        statuses::set(tx, &now).await?;
    }
    let kind = match now.status {
        MessageStatus::Sent => EventType::MessageSent,
        MessageStatus::Delivered => EventType::MessageDelivered,
        MessageStatus::Read => EventType::MessageRead,
        MessageStatus::Failed => EventType::MessageFailed,
        MessageStatus::Queued | MessageStatus::Sending | MessageStatus::Unconfirmed => return Ok(()),
    };
    if moved { tell(tx, &now, kind).await } else { Ok(()) }
}

/// Logs an event of a message, with the message as it is now.
pub(crate) async fn tell(tx: &mut Tx, message: &Outgoing, kind: EventType) -> Result<(), StoreError> {
    let mut data = json!({
        "message": messages::by_id(tx, message.id).await?,
        "conversation": { "identity_id": message.identity, "channel": message.channel },
        "contact": { "id": message.contact },
    });
    if kind == EventType::MessageFailed
        && let Value::Object(fields) = &mut data
    {
        let code = message.detail.errors.first();
        fields.insert(
            "error".to_owned(),
            json!({
                "code": if code.is_some() { "refused_by_provider" } else { "not_sent" },
                "provider_code": code.map(|error| error.code),
                "sentence": message.detail.sentence,
                "retry": false,
            }),
        );
    }
    log::append(tx, Some(message.thread), kind, &data).await?;
    metrics::counter!("loket_message_status_total", "status" => message.status.as_str()).increment(1);
    Ok(())
}

/// Proof that a dispatch was taken by the provider: a report, a status that carries our outbox id,
/// or an echo with it. `None`: it is no dispatch of ours. Any number counts that was ever given.
pub(crate) async fn settle_sent(
    tx: &mut Tx,
    dispatch: &Dispatch,
    external_id: &str,
    at: Timestamp,
) -> Result<Option<MessageId>, StoreError> {
    let Some(mut part) = outbound::part(tx, dispatch.message_id, dispatch.part).await? else {
        return Ok(None);
    };
    if dispatch.number == 0 || dispatch.number > part.standing.number {
        return Ok(None);
    }
    let was = part.standing.clone();
    if let Some(next) = was.reported(dispatch.number, News::Sent) {
        part.standing = next;
        part.error = None;
        part.due_at = tx.now();
    }
    part.sent_at = part.sent_at.into_iter().chain([at]).min();
    if part.external_id.is_none() {
        part.external_id = Some(external_id.to_owned());
    }
    outbound::save(tx, &part, &was).await?;
    if was.state != part.standing.state {
        react(tx, &part).await?;
    }
    statuses::name(tx, &part.channel, external_id, part.message, part.index).await?;
    statuses::adopt(tx, &part.channel, external_id, part.message).await?;
    channels::has_sent(tx, &part.channel).await?;
    refresh(tx, part.message).await?;
    Ok(Some(part.message))
}

/// A reaction of ours that was taken shows on its message from now on.
async fn react(tx: &mut Tx, part: &Part) -> Result<(), StoreError> {
    let reaction = part.payload.as_ref().and_then(|payload| payload.content.reaction.as_ref());
    let Some(reaction) = reaction else { return Ok(()) };
    let Some(external_id) = &reaction.external_id else { return Ok(()) };
    let target = Target { channel: &part.channel, external_id };
    let emoji = Some(reaction.emoji.as_str()).filter(|emoji| !emoji.is_empty());
    let at = part.sent_at.unwrap_or_else(|| tx.now());
    if marks::react(tx, target, Actor::Us, None, emoji, at).await?
        && let Some(id) = reaction.message_id
        && let Some(message) = messages::by_id(tx, id).await?
    {
        let data = json!({ "message": message, "emoji": emoji });
        log::append(tx, Some(message.thread_id), EventType::MessageReacted, &data).await?;
    }
    Ok(())
}

/// Keeps a status with its own time and moves its message on. `None`: the message is not known
/// (yet); the status waits for it, and the caller, who has the whole event, logs it as orphaned.
pub(crate) async fn apply_status(
    tx: &mut Tx,
    channel: &ChannelAccount,
    fact: &StatusFact,
    at: Timestamp,
    received_at: Timestamp,
) -> Result<Option<MessageId>, StoreError> {
    let dispatch = fact.outbox_id.as_deref().and_then(Dispatch::from_outbox_id);
    let mut message = statuses::named(tx, channel, &fact.target).await?;
    if message.is_none()
        && let Some(dispatch) = dispatch
    {
        message = settle_sent(tx, &dispatch, &fact.target, at).await?;
    }
    statuses::keep(tx, channel, fact, message, at, received_at).await?;
    if let Some(message) = message {
        refresh(tx, message).await?;
    }
    Ok(message)
}

/// Keeps a watermark and moves on what it covers; also messages that are named, and also by thread
/// seq. Messages that become *sent* later find it by themselves. False when it was about no message
/// that is here yet.
pub(crate) async fn apply_watermark(
    tx: &mut Tx,
    channel: &ChannelAccount,
    identity: IdentityId,
    fact: &WatermarkFact,
    at: Timestamp,
    received_at: Timestamp,
) -> Result<bool, StoreError> {
    let mut marks = Vec::new();
    if let Some(up_to) = fact.watermark {
        marks.push(Watermark { identity, status: fact.status, by_seq: false, up_to: up_to.as_millis() });
    }
    if let Some(up_to) = fact.up_to_seq {
        // A visitor's word: nothing that comes later may count as read by it.
        let up_to = up_to.min(statuses::thread_head(tx, identity).await?);
        marks.push(Watermark { identity, status: fact.status, by_seq: true, up_to });
    }
    let mut found = false;
    for mark in marks {
        let below = statuses::keep_watermark(tx, mark, at).await?;
        for message in statuses::between(tx, mark, below).await? {
            found = true;
            refresh(tx, message).await?;
        }
    }
    for external_id in &fact.external_ids {
        let status = StatusFact {
            target: external_id.clone(),
            status: fact.status,
            outbox_id: None,
            errors: Vec::new(),
            pricing: Vec::new(),
            group: None,
            participant: None,
        };
        found |= apply_status(tx, channel, &status, at, received_at).await?.is_some();
    }
    Ok(found)
}

/// Applies what was told before an outgoing message was there: to be called when one that others
/// wrote (an echo, an imported one) was inserted as *sent*.
pub(crate) async fn catch_up(tx: &mut Tx, message: MessageId) -> Result<(), StoreError> {
    let Some(outgoing) = statuses::outgoing(tx, message).await? else { return Ok(()) };
    if let (Some(channel), Some(external_id)) = (&outgoing.channel, &outgoing.external_id) {
        statuses::adopt(tx, channel, external_id, message).await?;
    }
    refresh(tx, message).await
}

#[cfg(test)]
mod tests {
    use super::*;

    use MessageStatus as M;
    use ProviderStatus as P;

    fn part(step: M, told: &[P]) -> PartFacts {
        PartFacts { step: Some(step), told: told.to_vec() }
    }

    #[test]
    fn a_message_stands_where_its_parts_let_it() {
        let cases: &[(&[PartFacts], M)] = &[
            (&[part(M::Queued, &[])], M::Queued),
            (&[part(M::Sending, &[]), part(M::Queued, &[])], M::Sending),
            (&[part(M::Sent, &[]), part(M::Queued, &[])], M::Sending),
            (&[part(M::Sent, &[P::Read]), part(M::Queued, &[])], M::Sending),
            (&[part(M::Unconfirmed, &[]), part(M::Queued, &[])], M::Unconfirmed),
            (&[part(M::Sent, &[]), part(M::Unconfirmed, &[])], M::Unconfirmed),
            (&[part(M::Sent, &[P::Read]), part(M::Sent, &[])], M::Sent),
            (&[part(M::Sent, &[P::Read]), part(M::Sent, &[P::Delivered])], M::Delivered),
            (&[part(M::Sent, &[P::Read]), part(M::Failed, &[])], M::Failed),
            (&[part(M::Failed, &[]), part(M::Queued, &[])], M::Failed),
            (&[part(M::Failed, &[P::Delivered]), part(M::Sent, &[P::Read])], M::Delivered),
            (&[part(M::Sent, &[P::Failed])], M::Failed),
            (&[part(M::Sent, &[P::Failed, P::Delivered])], M::Delivered),
            (&[PartFacts::default()], M::Sent),
            (&[PartFacts { step: None, told: vec![P::Played] }], M::Read),
        ];
        for (parts, expected) in cases {
            assert_eq!(fold(parts), *expected, "{parts:?}");
        }
    }
}
