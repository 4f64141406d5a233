//! The customer writes, taps, reacts, edits, takes back; and the owner answers from the phone app or
//! the Page's inbox.

mod learn;
mod messenger;
mod whatsapp;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use loket_protocol::time::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::channels::messenger::fake as page_side;
use crate::channels::whatsapp::fake as number_side;

use crate::simulator::phone::{Author, Bubble, Choice, Customer, File, Place, Platform, Progress};
use crate::simulator::sample;
use crate::simulator::world::{Complaint, What, World};

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
            let own = self.chats_of(&customer.id).filter(|(_, chat)| !chat.bubbles.is_empty());
            own.max_by_key(|(_, chat)| chat.bubbles.back().map(|bubble| bubble.at))
                .map(|(account, _)| account.to_owned())
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

    /// New words for a message of the customer's own; answers how often it was edited.
    fn edit(&mut self, target: &str, words: &str) -> u32 {
        let edited = self.with_bubble(target, |bubble| {
            bubble.text = Some(words.to_owned());
            bubble.edits += 1;
            bubble.edits
        });
        edited.unwrap_or(1)
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

    /// The owner writes from the phone app, the Page's inbox or another app; answers the id.
    pub(crate) fn echo(&mut self, who: &str, say: &Say) -> Result<String, Complaint> {
        let customer = self.customer(who)?.clone();
        let account = self.account_for(&customer, say)?;
        let at = self.clock.now().plus_millis(-say.age_ms.unwrap_or(0).max(0));
        if let Some(number) = self.number(&account).cloned() {
            let id = number_side::message_id(Some(&customer), number_side::Way::Out);
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
            let entry = number_side::echo(&number, &customer, &id, at, content);
            self.post(Platform::Whatsapp, &account, What::Echo, entry);
            return Ok(id);
        }
        let page = self.page(&account).cloned();
        let page = page.ok_or_else(|| complaint("unknown_account", "there is no such number or Page"))?;
        let words = say.text.clone().filter(|_| say.kind == "text");
        let words = words.ok_or_else(|| complaint("unknown_type", "an echo of Messenger is a text here"))?;
        let author = say.author.unwrap_or(Author::PageInbox);
        let spoken = Spoken { text: Some(words), ..Spoken::new(page_side::message_id(), "text") };
        let bubble = spoken.bubble(&account, author, at, None);
        let entry = page_side::echo(&page, customer.psid.as_deref().unwrap_or_default(), &bubble, &[]);
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
                for entry in number_side::number_change(&number, &before, &after, at) {
                    self.post(Platform::Whatsapp, &number.phone_number_id, What::Notice, entry);
                }
            }
        }
        Ok(after)
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
