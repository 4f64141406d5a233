//! What is told about people and channel accounts without a message.

use std::collections::BTreeMap;

use loket_protocol::contact::{Customer, Handle};
use loket_protocol::event::EventType;
use loket_protocol::inbound::{ContactSyncFact, IdentityFact, InboundEvent, NoticeFact, PreferenceFact};
use loket_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::batch::Batch;
use crate::store::{StoreError, channels, contacts, json};

/// What somebody allows or refuses, and since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Choice {
    value: String,
    at: Timestamp,
}

impl Batch<'_> {
    /// An address that changed: the identity is re-pointed, never a second contact made. In either
    /// order with the first message from the new address, and twice, it ends the same.
    pub(super) async fn identity(
        &mut self,
        event: &InboundEvent,
        fact: &IdentityFact,
    ) -> Result<(), StoreError> {
        let named = event.customer.iter().flat_map(|customer| &customer.handles);
        let all: Vec<Handle> = named.chain(&fact.previous).chain(&fact.current).cloned().collect();
        let found = self.people.find(self.tx, &event.channel, &all, event.at).await?;
        let place = if let Some(place) = found {
            place
        } else {
            let (previous, holds): (Vec<Handle>, Vec<Handle>) =
                all.into_iter().partition(|handle| fact.previous.contains(handle));
            // Somebody of whom we know only what they gave up is still somebody.
            let handles = if holds.iter().any(|handle| handle.kind.identifies()) { holds } else { previous };
            let name = event.customer.as_ref().and_then(|customer| customer.name.clone());
            let customer = Customer { handles, name, name_is_ours: false };
            self.people.find_or_make(self.tx, &event.channel, &customer, event.at).await?
        };
        if let Some(name) = event.customer.as_ref().and_then(|customer| customer.name.as_deref()) {
            self.named(event, place, name).await?;
        }
        for handle in &fact.previous {
            self.people.retire(self.tx, place, &event.channel, handle, event.at).await?;
        }
        let named = event.customer.iter().flat_map(|customer| &customer.handles);
        let holds: Vec<Handle> = fact
            .current
            .iter()
            .chain(named)
            .filter(|handle| !fact.previous.contains(handle))
            .cloned()
            .collect();
        self.people.learn(self.tx, place, &event.channel, &holds, event.at, &fact.change).await?;
        let kind = match (fact.previous.is_empty(), fact.current.is_empty()) {
            (_, false) => EventType::IdentityLinked,
            (false, true) => EventType::IdentityUnlinked,
            (true, true) => EventType::ContactUpdated,
        };
        self.tell(None, kind, event, Some(place), None).await
    }

    /// Consent to a kind of message: the latest word by category counts.
    pub(super) async fn preference(
        &mut self,
        event: &InboundEvent,
        fact: &PreferenceFact,
    ) -> Result<(), StoreError> {
        let place = self.person(event).await?;
        let identity = self.people.get(place)?.identity;
        let text = contacts::preferences(self.tx, identity).await?;
        let mut choices: BTreeMap<String, Choice> =
            serde_json::from_str(&text).map_err(|error| StoreError::unreadable("preferences", error))?;
        let choice = Choice { value: fact.value.clone(), at: event.at };
        let is_later = choices
            .get(&fact.category)
            .is_none_or(|known| (choice.at, &choice.value) > (known.at, &known.value));
        if is_later {
            choices.insert(fact.category.clone(), choice);
            contacts::set_preferences(self.tx, identity, &json(&choices)?).await?;
        }
        self.tell(None, EventType::ContactUpdated, event, Some(place), None).await
    }

    /// The company's own address book: its names outrank what customers choose, until removed.
    pub(super) async fn contact_sync(
        &mut self,
        event: &InboundEvent,
        fact: &ContactSyncFact,
    ) -> Result<(), StoreError> {
        let place = self.person(event).await?;
        let contact = self.people.get(place)?.contact;
        let name = event.customer.as_ref().and_then(|customer| customer.name.as_deref());
        let name = name.filter(|_| fact.action != "remove");
        contacts::name_contact(self.tx, contact, name, event.at).await?;
        self.tell(None, EventType::ContactUpdated, event, Some(place), None).await
    }

    /// Something of the customer's thread that is no message.
    pub(super) async fn of_thread(
        &mut self,
        event: &InboundEvent,
        kind: EventType,
    ) -> Result<(), StoreError> {
        let place = self.person(event).await?;
        let thread = self.people.get(place)?.thread;
        self.tell(Some(thread), kind, event, Some(place), None).await
    }

    /// Something about the customer that is not shown in the thread.
    pub(super) async fn of_contact(&mut self, event: &InboundEvent) -> Result<(), StoreError> {
        let place = self.person(event).await?;
        self.tell(None, EventType::ContactUpdated, event, Some(place), None).await
    }

    /// Something about the channel account; its health changes when the connector says so.
    pub(super) async fn account_notice(
        &mut self,
        event: &InboundEvent,
        fact: &NoticeFact,
    ) -> Result<(), StoreError> {
        self.tell(None, EventType::ChannelNoticed, event, None, None).await?;
        if let Some(health) = fact.health {
            channels::set_health(self.tx, &event.channel, health, Some(&fact.sentence)).await?;
        }
        Ok(())
    }
}
