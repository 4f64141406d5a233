//! What a Messenger person does, as the Messenger Platform tells it (`messenger` §5, §6).

use loket_protocol::time::Timestamp;
use serde_json::{Value, json};

use crate::channels::messenger::fake as messenger;
use crate::simulator::phone::{Author, Customer, File, Platform};
use crate::simulator::settings::Page;
use crate::simulator::world::{Complaint, What, World};

use super::{Say, Spoken, complaint, media_kind, place};

impl World {
    pub(super) fn say_on_messenger(
        &mut self,
        page: &Page,
        customer: &Customer,
        say: &Say,
        at: Timestamp,
        count: u32,
    ) -> Result<Vec<String>, Complaint> {
        let account = page.page_id.clone();
        let psid = customer.psid.clone().unwrap_or_default();
        let tell = |world: &mut Self, key: &str, event: Value| {
            let entry = messenger::event(page, &psid, at, (key, event));
            world.post(Platform::Messenger, &account, What::Message, entry);
        };
        match say.kind.as_str() {
            "reaction" => {
                let target = self.wanted(&page.page_id, customer, say)?.to_owned();
                let emoji = say.emoji.clone().filter(|emoji| !emoji.is_empty());
                self.with_bubble(&target, |bubble| bubble.reaction_of_customer.clone_from(&emoji));
                self.opens_window(&page.page_id, &customer.id, at);
                let event = match &emoji {
                    Some(emoji) => {
                        let word = messenger::reaction_word(emoji);
                        json!({"reaction": word, "emoji": emoji, "action": "react", "mid": target})
                    }
                    None => json!({"action": "unreact", "mid": target}),
                };
                tell(self, "reaction", event);
                return Ok(vec![target]);
            }
            "edit" => {
                let target = self.own_target(&page.page_id, customer, say)?.to_owned();
                let words = say.text.clone().ok_or_else(|| complaint("no_text", "text is missing"))?;
                let edits = self.edit(&target, &words);
                tell(self, "message_edit", json!({"mid": target, "text": words, "num_edit": edits}));
                return Ok(vec![target]);
            }
            "revoke" => {
                let target = self.own_target(&page.page_id, customer, say)?.to_owned();
                self.with_bubble(&target, |bubble| bubble.is_revoked = true);
                tell(self, "message", json!({"mid": target, "is_deleted": true}));
                return Ok(vec![target]);
            }
            _ => {}
        }
        let times = if media_kind(&say.kind).is_some() { 1 } else { count };
        let mut ids = Vec::new();
        for _ in 0..times {
            let id = messenger::message_id();
            let (key, event, spoken) = self.messenger_content(page, customer, say, &id, count)?;
            let bubble = spoken.bubble(&page.page_id, Author::Customer, at, say.reply_to.clone());
            self.customer_wrote(&page.page_id, &customer.id, bubble);
            tell(self, key, event);
            ids.push(id);
        }
        Ok(ids)
    }

    fn messenger_content(
        &mut self,
        page: &Page,
        customer: &Customer,
        say: &Say,
        id: &str,
        count: u32,
    ) -> Result<(&'static str, Value, Spoken), Complaint> {
        let mut message = json!({ "mid": id });
        let mut spoken = Spoken::new(id.to_owned(), "text");
        spoken.text.clone_from(&say.text);
        let mut parts: Vec<(&str, Value)> = Vec::new();
        if let Some(kind) = media_kind(&say.kind) {
            // An album is one message here, and one message for each picture on WhatsApp.
            for _ in 0..count {
                let file = self.file_of(kind, say.file.as_ref())?;
                spoken.files.push(file);
            }
            spoken.kind = kind;
            let url = |file: &File| file.media_id.as_deref().map(|id| self.cdn_url(id)).unwrap_or_default();
            let attachments: Vec<_> =
                spoken.files.iter().map(|file| messenger::attachment(file, &url(file))).collect();
            parts.push(("attachments", json!(attachments)));
            parts.extend(say.text.as_ref().map(|words| ("text", json!(words))));
        } else {
            match say.kind.as_str() {
                "text" => {
                    let words = say.text.clone().ok_or_else(|| complaint("no_text", "text is missing"))?;
                    parts.push(("text", json!(words)));
                }
                "location" => {
                    let place = place(say)?;
                    parts.push(("attachments", json!([messenger::location(&place)])));
                    spoken.kind = "location";
                    spoken.place = Some(place);
                }
                "get_started" => {
                    spoken.text = Some("Get Started".to_owned());
                    let mut event = json!({"mid": id, "title": "Get Started", "payload": "GET_STARTED"});
                    if let (Some(referral), Some(fields)) = (&say.referral, event.as_object_mut()) {
                        fields.insert("referral".to_owned(), referral.clone());
                    }
                    return Ok(("postback", event, spoken));
                }
                "choice" => {
                    let (_, choice) = self.chosen(&page.page_id, customer, say)?;
                    spoken.text = Some(choice.title.clone());
                    match choice.kind {
                        "quick_reply" => {
                            parts.push(("text", json!(choice.title)));
                            parts.push(("quick_reply", json!({"payload": choice.id})));
                        }
                        "postback" => {
                            let event = json!({"mid": id, "title": choice.title, "payload": choice.id});
                            return Ok(("postback", event, spoken));
                        }
                        _ => return Err(complaint("no_callback", "tapping that tells the business nothing")),
                    }
                }
                other => {
                    let sentence = format!("a Messenger customer cannot send {other}");
                    return Err(complaint("unknown_type", sentence));
                }
            }
        }
        parts.extend(
            say.reply_to.as_ref().map(|mid| ("reply_to", json!({"mid": mid, "is_self_reply": false}))),
        );
        parts.extend(say.referral.clone().map(|referral| ("referral", referral)));
        if let Some(fields) = message.as_object_mut() {
            fields.extend(parts.into_iter().map(|(key, value)| (key.to_owned(), value)));
        }
        Ok(("message", message, spoken))
    }
}
