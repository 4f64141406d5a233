//! What is said about messages that are there or not: statuses, watermarks, reactions, edits,
//! revokes, judgements.

use loket_protocol::event::EventType;
use loket_protocol::ids::MessageId;
use loket_protocol::inbound::{
    EditFact, FeedbackFact, InboundEvent, ReactionFact, RevokeFact, StatusFact, WatermarkFact,
};
use loket_protocol::message::Message;

use super::batch::Batch;
use crate::delivery;
use crate::store::marks::{self, Actor, Target};
use crate::store::{StoreError, messages};

impl Batch<'_> {
    /// Where a message of ours stands. Nobody is made by it, but what it tells of somebody is kept.
    pub(super) async fn status(&mut self, event: &InboundEvent, fact: &StatusFact) -> Result<(), StoreError> {
        let place = self.somebody(event, fact).await?;
        let found =
            delivery::apply_status(self.tx, &event.channel, fact, event.at, event.received_at).await?;
        if found.is_none() {
            self.tell(None, EventType::StatusOrphaned, event, place, None).await?;
        }
        Ok(())
    }

    async fn somebody(
        &mut self,
        event: &InboundEvent,
        fact: &StatusFact,
    ) -> Result<Option<usize>, StoreError> {
        let Some(customer) = &event.customer else { return Ok(None) };
        let found = self.people.find(self.tx, &event.channel, &customer.handles, event.at).await?;
        // Of a group's receipts each names another member, who is not the group.
        if found.is_some() && fact.group.is_none() {
            return self.person(event).await.map(Some);
        }
        Ok(found)
    }

    /// Everything of ours up to a moment. What comes late and lies before it counts as read too, so
    /// the customer is made if need be.
    pub(super) async fn watermark(
        &mut self,
        event: &InboundEvent,
        fact: &WatermarkFact,
    ) -> Result<(), StoreError> {
        let place = self.person(event).await?;
        let identity = self.people.get(place)?.identity;
        let channel = &event.channel;
        let found =
            delivery::apply_watermark(self.tx, channel, identity, fact, event.at, event.received_at).await?;
        if !found {
            self.tell(None, EventType::StatusOrphaned, event, Some(place), None).await?;
        }
        Ok(())
    }

    /// A reaction, also to a message that is not there yet. The last one of each actor counts.
    pub(super) async fn reaction(
        &mut self,
        event: &InboundEvent,
        fact: &ReactionFact,
    ) -> Result<(), StoreError> {
        let place = self.person(event).await?;
        let actor = self.actor(place, fact.outgoing)?;
        let name = self.people.get(place)?.name.clone().filter(|_| !fact.outgoing);
        let target = Target { channel: &event.channel, external_id: &fact.target };
        marks::react(self.tx, target, actor, name.as_deref(), fact.emoji.as_deref(), event.at).await?;
        self.marked(event, place, &fact.target, EventType::MessageReacted).await?;
        Ok(())
    }

    /// An edit, also of a message that is not there yet. Only its author's counts.
    pub(super) async fn edit(&mut self, event: &InboundEvent, fact: &EditFact) -> Result<(), StoreError> {
        let place = self.person(event).await?;
        let actor = self.actor(place, fact.outgoing)?;
        let target = Target { channel: &event.channel, external_id: &fact.target };
        let rank = fact.edit_number.unwrap_or_else(|| event.at.as_millis());
        let mut attachments = fact.attachments.clone();
        messages::name_attachments(self.tx, &mut attachments);
        marks::edit(self.tx, target, actor, rank, (&fact.content, &attachments), event.at).await?;
        self.marked(event, place, &fact.target, EventType::MessageEdited).await?;
        Ok(())
    }

    /// A revoke, also of a message that is not there yet. Only its author's counts.
    pub(super) async fn revoke(&mut self, event: &InboundEvent, fact: &RevokeFact) -> Result<(), StoreError> {
        let place = self.person(event).await?;
        let actor = self.actor(place, fact.outgoing)?;
        let target = Target { channel: &event.channel, external_id: &fact.target };
        marks::revoke(self.tx, target, actor, event.at).await?;
        let message = self.marked(event, place, &fact.target, EventType::MessageDeleted).await?;
        if let Some(message) = message {
            marks::empty_if_revoked(self.tx, &message).await?;
        }
        Ok(())
    }

    /// A judgement of a message.
    pub(super) async fn feedback(
        &mut self,
        event: &InboundEvent,
        fact: &FeedbackFact,
    ) -> Result<(), StoreError> {
        let place = self.person(event).await?;
        self.marked(event, place, &fact.target, EventType::MessageRated).await?;
        Ok(())
    }

    fn actor(&self, place: usize, outgoing: bool) -> Result<Actor, StoreError> {
        Ok(if outgoing { Actor::Us } else { Actor::Identity(self.people.get(place)?.identity) })
    }

    /// Logs it with the message as it is now, or without one that is not there yet.
    async fn marked(
        &mut self,
        event: &InboundEvent,
        place: usize,
        target: &str,
        kind: EventType,
    ) -> Result<Option<Message>, StoreError> {
        let id: Option<MessageId> = messages::id_of(self.tx, &event.channel, target).await?;
        let message = match id {
            Some(id) => messages::by_id(self.tx, id).await?,
            None => None,
        };
        let thread = match &message {
            Some(message) => message.thread_id,
            None => self.people.get(place)?.thread,
        };
        self.tell(Some(thread), kind, event, Some(place), message.as_ref()).await?;
        Ok(message)
    }
}
