//! Where messages of ours stand, and what is wrong with the account (`whatsapp` §8, §9).

use loket_protocol::contact::HandleKind;
use loket_protocol::delivery::ProviderStatus;
use loket_protocol::inbound::{ChannelErrorFact, Fact, InboundEvent, StatusFact};
use loket_protocol::message::ProviderError;
use serde_json::Value;

use super::super::codes;
use super::content;
use super::customer::{self, PARTICIPANT, Person, RECIPIENT};
use super::place::Place;
use super::{About, Change, Trouble, Walk};
use crate::meta;

impl Walk<'_> {
    pub(super) fn status(&mut self, place: &Place<'_>, change: &Change<'_>, item: &Value) {
        let is_group = meta::text(item, "recipient_type").as_deref() == Some("group");
        let named = Person::named_in(item, if is_group { PARTICIPANT } else { RECIPIENT });
        let contact = change.contacts.of_person(&named);
        let person = named.completed_by(contact);
        let read = self.status_event(change, item, &person, is_group);
        if let Err(trouble) = read.and_then(|event| self.push(event)) {
            // Without the customer: what cannot be read about our own message is no message of theirs.
            let about = About { at: meta::time(item, "timestamp"), ..About::default() };
            self.park_item(place, Some(&change.account), &trouble, &about, item, contact);
        }
    }

    fn status_event(
        &self,
        change: &Change<'_>,
        item: &Value,
        person: &Person,
        is_group: bool,
    ) -> Result<InboundEvent, Trouble> {
        let target = meta::id(item, "id").ok_or_else(|| Trouble::unreadable("the status has no id"))?;
        let name = meta::text(item, "status").ok_or_else(|| Trouble::unreadable("status is missing"))?;
        let status = ProviderStatus::from_name(&name).ok_or_else(|| Trouble::unknown("status", &name))?;
        let group = meta::id(item, "recipient_id").filter(|_| is_group);
        let participant = person
            .handles()
            .into_iter()
            .find(|handle| is_group && matches!(handle.kind, HandleKind::Bsuid | HandleKind::Phone));
        let customer = person.customer().or_else(|| group.as_deref().map(customer::group));
        let fact = Fact::Status(StatusFact {
            target,
            status,
            outbox_id: meta::id(item, "biz_opaque_callback_data"),
            errors: explained(item),
            pricing: pricing(item),
            group,
            participant: participant.map(|handle| handle.value),
        });
        Ok(self.event(&change.account, customer, meta::time(item, "timestamp"), Some(false), fact))
    }

    /// The array `errors` of a change's value or of a chunk of history.
    pub(super) fn channel_error(&mut self, change: &Change<'_>, holder: &Value) -> Result<(), Trouble> {
        let errors = explained(holder);
        if errors.is_empty() {
            return Err(Trouble::unreadable("errors has no code"));
        }
        let fact = Fact::ChannelError(ChannelErrorFact { errors });
        let event = self.event(&change.account, None, change.entry_time, None, fact);
        self.push(event)
    }
}

/// The errors with a sentence each: what fails after it was taken reaches the agent only this way.
fn explained(holder: &Value) -> Vec<ProviderError> {
    let explain = |error: ProviderError| {
        let sentence = codes::sentence(error.code).map(str::to_owned);
        ProviderError { sentence, ..error }
    };
    content::errors(holder).into_iter().map(explain).collect()
}

fn pricing(item: &Value) -> Vec<String> {
    let pricing = item.get("pricing").unwrap_or(&Value::Null);
    ["pricing_model", "type", "category"].iter().filter_map(|key| meta::text(pricing, key)).collect()
}
