//! Callbacks that somebody else wrote: their customers and messages become part of this world.

use loket_protocol::time::Timestamp;
use serde_json::Value;

use crate::simulator::phone::{Author, Platform};
use crate::simulator::read::{list, owned, text};
use crate::simulator::settings::NewCustomer;
use crate::simulator::world::World;

use super::Spoken;

impl World {
    /// Takes the customers and messages of a callback that a test wrote itself into this world, so
    /// that they can be answered like any other.
    pub(crate) fn learn(&mut self, body: &Value) {
        for entry in list(body, "/entry") {
            for change in list(entry, "/changes") {
                self.learn_whatsapp(change.get("value").unwrap_or(&Value::Null));
            }
            for item in list(entry, "/messaging") {
                self.learn_messenger(entry, item);
            }
        }
    }

    fn learn_whatsapp(&mut self, value: &Value) {
        let Some(account) = owned(value, "/metadata/phone_number_id") else { return };
        if self.number(&account).is_none() {
            return;
        }
        for message in list(value, "/messages") {
            let (phone, bsuid) = (owned(message, "/from"), owned(message, "/from_user_id"));
            let found = [&bsuid, &phone].into_iter().flatten();
            let known = found.into_iter().find_map(|handle| self.customer_by(Platform::Whatsapp, handle));
            let contacts = list(value, "/contacts");
            let contact =
                contacts.iter().find(|own| owned(own, "/user_id") == bsuid || owned(own, "/wa_id") == phone);
            let id = known.map(|customer| customer.id.clone()).or_else(|| {
                let new = NewCustomer {
                    platform: Some(Platform::Whatsapp),
                    name: contact.and_then(|contact| owned(contact, "/profile/name")),
                    username: contact.and_then(|contact| owned(contact, "/profile/username")),
                    hides_phone: phone.is_none(),
                    phone: phone.clone(),
                    bsuid: bsuid.clone(),
                    ..NewCustomer::default()
                };
                self.add_customer(new).ok().map(|customer| customer.id)
            });
            let (Some(who), Some(id)) = (id, owned(message, "/id")) else { continue };
            let at = text(message, "/timestamp").and_then(|seconds| seconds.parse().ok());
            let at = at.and_then(Timestamp::from_provider).unwrap_or_else(|| self.clock.now());
            let words = owned(message, "/text/body");
            self.learn_bubble(&account, &who, id, at, words);
        }
    }

    fn learn_messenger(&mut self, entry: &Value, item: &Value) {
        let (Some(account), Some(psid)) = (owned(entry, "/id"), owned(item, "/sender/id")) else { return };
        let id = owned(item, "/message/mid").or_else(|| owned(item, "/postback/mid"));
        let (Some(id), true, true) = (id, self.page(&account).is_some(), psid != account) else { return };
        let known = self.customer_by(Platform::Messenger, &psid).map(|customer| customer.id.clone());
        let who = known.or_else(|| {
            let new = NewCustomer {
                platform: Some(Platform::Messenger),
                psid: Some(psid),
                page: Some(account.clone()),
                ..NewCustomer::default()
            };
            self.add_customer(new).ok().map(|customer| customer.id)
        });
        let at = item.get("timestamp").and_then(Value::as_i64).and_then(Timestamp::from_provider);
        let at = at.unwrap_or_else(|| self.clock.now());
        if let Some(who) = who {
            self.learn_bubble(&account, &who, id, at, owned(item, "/message/text"));
        }
    }

    fn learn_bubble(&mut self, account: &str, who: &str, id: String, at: Timestamp, words: Option<String>) {
        if self.place_of(&id).is_none() {
            let spoken = Spoken { text: words, ..Spoken::new(id, "text") };
            self.customer_wrote(account, who, spoken.bubble(account, Author::Customer, at, None));
        }
    }
}
