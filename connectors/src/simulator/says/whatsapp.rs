//! What a WhatsApp customer does, as the Cloud API tells it (`whatsapp` §7).

use loket_protocol::time::Timestamp;
use serde_json::{Value, json};

use crate::channels::whatsapp::fake as whatsapp;
use crate::simulator::phone::{Author, Choice, Customer, Platform};
use crate::simulator::read::{list, owned};
use crate::simulator::settings::Number;
use crate::simulator::world::{Complaint, What, World};

use super::{Say, Spoken, complaint, media_kind, place};

impl World {
    pub(super) fn say_on_whatsapp(
        &mut self,
        number: &Number,
        customer: &Customer,
        say: &Say,
        at: Timestamp,
    ) -> Result<String, Complaint> {
        let account = number.phone_number_id.clone();
        let id = whatsapp::message_id(Some(customer), whatsapp::Way::In);
        let business = whatsapp::digits(&number.display);
        let mut around = whatsapp::Around { context: None, referral: say.referral.clone() };
        if let Some(target) = &say.reply_to {
            around.context = Some(json!({"from": business, "id": target}));
        } else if say.is_forwarded {
            around.context = Some(json!({"forwarded": true}));
        }
        let (content, spoken) = match say.kind.as_str() {
            "choice" => {
                let (target, choice) = self.chosen(&account, customer, say)?;
                around.context = Some(json!({"from": business, "id": target}));
                let spoken = Spoken { text: Some(choice.title.clone()), ..Spoken::new(id.clone(), "text") };
                (tap(customer, &choice)?, Some(spoken))
            }
            "reaction" => {
                let target = self.wanted(&account, customer, say)?.to_owned();
                let emoji = say.emoji.clone().unwrap_or_default();
                let shown = Some(emoji.clone()).filter(|emoji| !emoji.is_empty());
                self.with_bubble(&target, |bubble| bubble.reaction_of_customer = shown);
                (("reaction", json!({"reaction": {"message_id": target, "emoji": emoji}})), None)
            }
            "edit" => {
                let target = self.own_target(&account, customer, say)?.to_owned();
                let words = say.text.clone().ok_or_else(|| complaint("no_text", "text is missing"))?;
                self.edit(&target, &words);
                let message = json!({"context": {"id": "M0"}, "type": "text", "text": {"body": words}});
                (("edit", json!({"edit": {"original_message_id": target, "message": message}})), None)
            }
            "revoke" => {
                let target = self.own_target(&account, customer, say)?.to_owned();
                self.with_bubble(&target, |bubble| bubble.is_revoked = true);
                (("revoke", json!({"revoke": {"original_message_id": target}})), None)
            }
            _ => {
                let (content, spoken) = self.whatsapp_content(id.clone(), say)?;
                (content, Some(spoken))
            }
        };
        if let Some(spoken) = spoken {
            let bubble = spoken.bubble(&account, Author::Customer, at, say.reply_to.clone());
            self.customer_wrote(&account, &customer.id, bubble);
        }
        let entry = whatsapp::message(number, customer, &id, at, content, around);
        self.post(Platform::Whatsapp, &account, What::Message, entry);
        Ok(id)
    }

    /// The content of a message that stands for itself.
    pub(super) fn whatsapp_content(
        &mut self,
        id: String,
        say: &Say,
    ) -> Result<((&'static str, Value), Spoken), Complaint> {
        if let Some(kind) = media_kind(&say.kind) {
            let file = self.file_of(kind, say.file.as_ref())?;
            let media_id = file.media_id.clone().unwrap_or_default();
            let sha256 = self.media.get(&media_id).map(|stored| stored.sha256).unwrap_or_default();
            let url = self.media_url(&media_id, "webhook");
            let content = json!({ kind: whatsapp::media(&file, &sha256, &url, say.text.as_deref()) });
            let spoken = Spoken { text: say.text.clone(), files: vec![file], ..Spoken::new(id, kind) };
            return Ok(((kind, content), spoken));
        }
        match say.kind.as_str() {
            "text" => {
                let words = say.text.clone().ok_or_else(|| complaint("no_text", "text is missing"))?;
                let content = json!({"text": {"body": words}});
                Ok((("text", content), Spoken { text: Some(words), ..Spoken::new(id, "text") }))
            }
            "location" => {
                let place = place(say)?;
                let mut content = json!({"latitude": place.latitude, "longitude": place.longitude});
                if let Some(fields) = content.as_object_mut() {
                    let parts = [("name", &place.name), ("address", &place.address)];
                    for (key, value) in
                        parts.into_iter().filter_map(|(key, value)| Some((key, value.as_ref()?)))
                    {
                        fields.insert(key.to_owned(), json!(value));
                    }
                }
                let spoken = Spoken { place: Some(place), ..Spoken::new(id, "location") };
                Ok((("location", json!({ "location": content })), spoken))
            }
            "contacts" => {
                let cards = say.contacts.clone().filter(Value::is_array);
                let cards = cards.ok_or_else(|| complaint("no_contacts", "contacts is missing"))?;
                let names: Vec<_> =
                    list(&cards, "").iter().filter_map(|card| owned(card, "/name/formatted_name")).collect();
                let spoken = Spoken { text: Some(names.join(", ")), ..Spoken::new(id, "contacts") };
                Ok((("contacts", json!({ "contacts": cards })), spoken))
            }
            "unsupported" => {
                let error = json!({
                    "code": 131_051,
                    "title": "Message type unknown",
                    "message": "Message type unknown",
                    "error_data": {"details": "Message type is currently not supported."},
                });
                let content = json!({"errors": [error], "unsupported": {"type": "poll"}});
                Ok((("unsupported", content), Spoken::new(id, "unsupported")))
            }
            other => Err(complaint("unknown_type", format!("a WhatsApp customer cannot send {other}"))),
        }
    }
}

/// What tapping a choice tells the business on WhatsApp (`whatsapp` §7).
fn tap(customer: &Customer, choice: &Choice) -> Result<(&'static str, Value), Complaint> {
    let reply = json!({"id": choice.id, "title": choice.title});
    match choice.kind {
        "reply" => {
            Ok(("interactive", json!({"interactive": {"type": "button_reply", "button_reply": reply}})))
        }
        "row" => {
            let mut reply = reply;
            if let (Some(description), Some(fields)) = (&choice.description, reply.as_object_mut()) {
                fields.insert("description".to_owned(), json!(description));
            }
            Ok(("interactive", json!({"interactive": {"type": "list_reply", "list_reply": reply}})))
        }
        "template" => Ok(("button", json!({"button": {"payload": choice.id, "text": choice.title}}))),
        "request" if choice.id == "request_contact_info" => {
            let phone = customer.phone.clone().unwrap_or_default();
            let card = json!({
                "name": {"formatted_name": customer.name},
                "phones": [{"phone": format!("+{phone}"), "wa_id": phone, "type": "CELL"}],
                "origin": "contact_request",
            });
            Ok(("contacts", json!({ "contacts": [card] })))
        }
        "request" => Ok(("location", json!({"location": {"latitude": 52.0893, "longitude": 5.1101}}))),
        _ => Err(complaint("no_callback", "tapping that tells the business nothing")),
    }
}
