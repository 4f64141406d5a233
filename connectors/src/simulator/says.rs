//! The customer writes, taps, reacts, edits, takes back; and the owner answers from the phone app or
//! the Page's inbox.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use loket_protocol::time::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::channels::messenger::fake as messenger;
use crate::channels::whatsapp::fake as whatsapp;

use super::phone::{Author, Bubble, Choice, Customer, File, Place, Platform, Progress};
use super::read::{list, owned, text};
use super::sample;
use super::settings::{NewCustomer, Number, Page};
use super::world::{Complaint, What, World};

/// How many messages or pictures one call may send.
pub(crate) const AT_ONCE_MAX: u32 = 1_000;

/// What a customer does, as our own API takes it. Which fields count depends on `type`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Say {
    /// `text`, `image`, `video`, `audio`, `document`, `sticker`, `location`, `contacts`, `reaction`,
    /// `choice`, `edit`, `revoke`, `unsupported`, `get_started`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The channel account; left out: the one last talked with, else the first.
    pub(crate) account: Option<String>,
    /// Words, caption, or new words of an edit.
    pub(crate) text: Option<String>,
    /// The message that is answered.
    pub(crate) reply_to: Option<String>,
    /// The message that is reacted to, chosen in, edited, taken back.
    pub(crate) target: Option<String>,
    /// Of a reaction; empty or left out removes it.
    pub(crate) emoji: Option<String>,
    /// The id or title of what is tapped.
    pub(crate) choice: Option<String>,
    /// How many pictures at once (an album), or texts.
    pub(crate) count: Option<u32>,
    pub(crate) latitude: Option<f64>,
    pub(crate) longitude: Option<f64>,
    /// Of a location.
    pub(crate) name: Option<String>,
    pub(crate) address: Option<String>,
    /// A file of one's own; left out: one is made.
    pub(crate) file: Option<NewFile>,
    /// Contact cards as WhatsApp has them.
    pub(crate) contacts: Option<Value>,
    /// `referral` as the platform has it: came from an ad.
    pub(crate) referral: Option<Value>,
    /// Forwarded, by WhatsApp.
    pub(crate) is_forwarded: bool,
    /// How long ago it was written: a late message.
    pub(crate) age_ms: Option<i64>,
    /// Of an echo: who wrote it.
    pub(crate) author: Option<Author>,
}

/// A file's bytes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewFile {
    pub(crate) mime: String,
    pub(crate) name: Option<String>,
    pub(crate) base64: String,
}

fn complaint(code: &'static str, sentence: impl Into<String>) -> Complaint {
    Complaint::new(422, code, sentence)
}

/// One message: its content as the platform words it, and as it stands on the phone.
struct Spoken {
    id: String,
    kind: &'static str,
    text: Option<String>,
    files: Vec<File>,
    place: Option<Place>,
}

impl Spoken {
    fn new(id: String, kind: &'static str) -> Self {
        Self { id, kind, text: None, files: Vec::new(), place: None }
    }

    fn bubble(self, account: &str, author: Author, at: Timestamp, reply_to: Option<String>) -> Bubble {
        let is_customer = author == Author::Customer;
        Bubble {
            id: self.id,
            account: account.to_owned(),
            author,
            at,
            kind: self.kind,
            text: self.text,
            files: self.files,
            place: self.place,
            choices: Vec::new(),
            reply_to,
            progress: if is_customer { Progress::Sent } else { Progress::Delivered },
            failure: None,
            reaction_of_customer: None,
            reaction_of_business: None,
            edits: 0,
            is_revoked: false,
            outbox_id: None,
            to_bsuid: false,
            sent: Value::Null,
        }
    }
}

fn media_kind(kind: &str) -> Option<&'static str> {
    ["image", "video", "audio", "document", "sticker"].into_iter().find(|known| *known == kind)
}

impl World {
    /// The customer does something; answers the ids of the messages that came of it.
    pub(crate) fn say(&mut self, who: &str, say: &Say) -> Result<Vec<String>, Complaint> {
        let customer = self.customer(who)?.clone();
        let account = self.account_for(&customer, say)?;
        let count = say.count.unwrap_or(1);
        if count == 0 || count > AT_ONCE_MAX {
            return Err(complaint("bad_count", format!("count is from 1 to {AT_ONCE_MAX}")));
        }
        if let Some(target) = say.reply_to.as_deref() {
            self.target(&account, &customer, target)?;
        }
        let at = self.clock.now().plus_millis(-say.age_ms.unwrap_or(0).max(0));
        if let Some(number) = self.number(&account).cloned() {
            let mut ids = Vec::new();
            for _ in 0..count {
                ids.push(self.say_on_whatsapp(&number, &customer, say, at)?);
            }
            Ok(ids)
        } else if let Some(page) = self.page(&account).cloned() {
            self.say_on_messenger(&page, &customer, say, at, count)
        } else {
            Err(complaint("unknown_account", "there is no such number or Page"))
        }
    }

    fn account_for(&self, customer: &Customer, say: &Say) -> Result<String, Complaint> {
        if let Some(page) = &customer.page {
            return match &say.account {
                Some(other) if other != page => {
                    Err(complaint("unknown_account", "a PSID is of one Page only"))
                }
                _ => Ok(page.clone()),
            };
        }
        let last = || {
            let own =
                self.chats.iter().filter(|((_, who), chat)| *who == customer.id && !chat.bubbles.is_empty());
            own.max_by_key(|(_, chat)| chat.bubbles.back().map(|bubble| bubble.at))
                .map(|((account, _), _)| account.clone())
        };
        let first = || self.settings.numbers.first().map(|number| number.phone_number_id.clone());
        let account = say.account.clone().or_else(last).or_else(first);
        account
            .filter(|id| self.number(id).is_some())
            .ok_or_else(|| complaint("unknown_account", "there is no such number"))
    }

    /// A message of this conversation.
    fn target(&self, account: &str, customer: &Customer, id: &str) -> Result<&Bubble, Complaint> {
        let is_here = |(own, who): &(String, String)| own == account && *who == customer.id;
        self.bubble(id).filter(|_| self.place_of(id).is_some_and(is_here)).ok_or_else(|| {
            complaint("unknown_target", format!("there is no message {id} in this conversation"))
        })
    }

    fn wanted<'a>(&self, account: &str, customer: &Customer, say: &'a Say) -> Result<&'a str, Complaint> {
        let id = say.target.as_deref().ok_or_else(|| complaint("no_target", "target is missing"))?;
        self.target(account, customer, id)?;
        Ok(id)
    }

    fn own_target<'a>(&self, account: &str, customer: &Customer, say: &'a Say) -> Result<&'a str, Complaint> {
        let id = self.wanted(account, customer, say)?;
        if self.target(account, customer, id)?.author != Author::Customer {
            return Err(complaint("not_own", "a customer changes only what they wrote"));
        }
        Ok(id)
    }

    fn chosen(&self, account: &str, customer: &Customer, say: &Say) -> Result<(String, Choice), Complaint> {
        let id = self.wanted(account, customer, say)?;
        let wish = say.choice.as_deref().ok_or_else(|| complaint("no_choice", "choice is missing"))?;
        let choices = &self.target(account, customer, id)?.choices;
        let found = choices.iter().find(|choice| choice.id == wish || choice.title == wish);
        let choice = found.ok_or_else(|| complaint("unknown_choice", "there is nothing like that to tap"))?;
        Ok((id.to_owned(), choice.clone()))
    }

    /// The file of a media message: the one given, or one that is made.
    fn file_of(&mut self, kind: &'static str, given: Option<&NewFile>) -> Result<File, Complaint> {
        let (mime, name, bytes) = if let Some(given) = given {
            let bytes = STANDARD
                .decode(&given.base64)
                .map_err(|_| complaint("bad_file", "file.base64 is no base64"))?;
            (given.mime.clone(), given.name.clone(), bytes)
        } else {
            let number = u64::from_be_bytes(loket_backbone::random::bytes());
            let made = sample::of(kind, number)
                .ok_or_else(|| complaint("no_file", format!("a {kind} cannot be made here: give a file")))?;
            (made.mime.to_owned(), Some(made.name.to_owned()), made.bytes)
        };
        let id = self.media.keep(mime, kind.to_owned(), name, Bytes::from(bytes));
        self.media.file(&id).ok_or_else(|| complaint("bad_file", "the file is too large to keep"))
    }

    /// An address of a file that needs the bearer token and ends in minutes (`whatsapp` §12).
    pub(crate) fn media_url(&self, id: &str, source: &str) -> String {
        let lasts = i64::try_from(self.rules.media_url_ms).unwrap_or(i64::MAX);
        let until = self.clock.now().as_millis().saturating_add(lasts) / 1000;
        let mark = self.media.mark(id, until);
        format!(
            "{}/whatsapp_business/attachments/?mid={id}&source={source}&ext={until}&hash={mark}",
            self.base
        )
    }

    /// An address of a file that needs no token and ends too (`messenger` §5).
    pub(crate) fn cdn_url(&self, id: &str) -> String {
        let lasts = i64::try_from(self.rules.media_url_ms).unwrap_or(i64::MAX);
        let until = self.clock.now().as_millis().saturating_add(lasts) / 1000;
        format!("{}/cdn/{id}?oe={until}&oh={}", self.base, self.media.mark(id, until))
    }

    /// The customer's own bubble, and the window that it opens.
    fn customer_wrote(&mut self, account: &str, customer: &str, bubble: Bubble) {
        let at = bubble.at;
        self.put_bubble(customer, bubble);
        self.opens_window(account, customer, at);
    }

    pub(crate) fn opens_window(&mut self, account: &str, customer: &str, at: Timestamp) {
        let chat = self.chat(account, customer);
        chat.last_opened = chat.last_opened.max(Some(at));
    }

    // ---- WhatsApp

    fn say_on_whatsapp(
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

    fn edit(&mut self, target: &str, words: &str) -> u32 {
        let edited = self.with_bubble(target, |bubble| {
            bubble.text = Some(words.to_owned());
            bubble.edits += 1;
            bubble.edits
        });
        edited.unwrap_or(1)
    }

    /// The content of a message that stands for itself.
    fn whatsapp_content(
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

    // ---- Messenger

    fn say_on_messenger(
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

    // ---- the business, from elsewhere

    /// The owner writes from the phone app, the Page's inbox or another app; answers the id.
    pub(crate) fn echo(&mut self, who: &str, say: &Say) -> Result<String, Complaint> {
        let customer = self.customer(who)?.clone();
        let account = self.account_for(&customer, say)?;
        let at = self.clock.now().plus_millis(-say.age_ms.unwrap_or(0).max(0));
        if let Some(number) = self.number(&account).cloned() {
            let id = whatsapp::message_id(Some(&customer), whatsapp::Way::Out);
            let content = if say.kind == "revoke" {
                let target = self.wanted(&account, &customer, say)?.to_owned();
                self.with_bubble(&target, |bubble| bubble.is_revoked = true);
                ("revoke", json!({"revoke": {"original_message_id": target}}))
            } else {
                let (content, spoken) = self.whatsapp_content(id.clone(), say)?;
                let bubble = spoken.bubble(&account, Author::PhoneApp, at, None);
                self.business_wrote(&account, &customer.id, bubble);
                content
            };
            let entry = whatsapp::echo(&number, &customer, &id, at, content);
            self.post(Platform::Whatsapp, &account, What::Echo, entry);
            return Ok(id);
        }
        let page = self.page(&account).cloned();
        let page = page.ok_or_else(|| complaint("unknown_account", "there is no such number or Page"))?;
        let words = say.text.clone().filter(|_| say.kind == "text");
        let words = words.ok_or_else(|| complaint("unknown_type", "an echo of Messenger is a text here"))?;
        let author = say.author.unwrap_or(Author::PageInbox);
        let spoken = Spoken { text: Some(words), ..Spoken::new(messenger::message_id(), "text") };
        let bubble = spoken.bubble(&account, author, at, None);
        let entry = messenger::echo(&page, customer.psid.as_deref().unwrap_or_default(), &bubble, &[]);
        let id = bubble.id.clone();
        self.business_wrote(&account, &customer.id, bubble);
        self.post(Platform::Messenger, &account, What::Echo, entry);
        Ok(id)
    }

    /// The customer gets another phone number, and with it another BSUID (`whatsapp` §6, rule 3).
    pub(crate) fn change_number(&mut self, who: &str, phone: &str) -> Result<Customer, Complaint> {
        let before = self.customer(who)?.clone();
        if before.platform != Platform::Whatsapp
            || phone.is_empty()
            || !phone.bytes().all(|b| b.is_ascii_digit())
        {
            return Err(complaint("bad_phone", "a WhatsApp customer and digits are needed"));
        }
        let country = before.bsuid.as_deref().and_then(|bsuid| bsuid.split('.').next()).unwrap_or("NL");
        let bsuid = format!("{country}.{}", loket_backbone::random::hex::<10>());
        let after = Customer { phone: Some(phone.to_owned()), bsuid: Some(bsuid), ..before.clone() };
        let after = self.change_customer(after)?;
        let at = self.clock.now();
        for number in self.settings.numbers.clone() {
            if self.chats.contains_key(&(number.phone_number_id.clone(), after.id.clone())) {
                for entry in whatsapp::number_change(&number, &before, &after, at) {
                    self.post(Platform::Whatsapp, &number.phone_number_id, What::Notice, entry);
                }
            }
        }
        Ok(after)
    }

    // ---- callbacks that somebody else wrote

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

fn place(say: &Say) -> Result<Place, Complaint> {
    let (Some(latitude), Some(longitude)) = (say.latitude, say.longitude) else {
        return Err(complaint("no_place", "latitude and longitude are missing"));
    };
    if latitude.abs() > 90.0 || longitude.abs() > 180.0 {
        return Err(complaint("no_place", "there is no such place"));
    }
    Ok(Place { latitude, longitude, name: say.name.clone(), address: say.address.clone() })
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
