//! The business writes: limits, windows, and the way of a message from accepted to read.

use std::time::{Duration, Instant};

use loket_protocol::time::Timestamp;
use serde_json::{Value, json};

use crate::channels::messenger::fake as messenger;
use crate::channels::whatsapp::fake as whatsapp;

use super::phone::{Author, Bubble, Chat, Customer, Draft, File, Needs, Platform, Progress, To};
use super::refusal::Refusal;
use super::settings::{NewCustomer, Recipients, WindowRule};
use super::world::{Step, What, World};

/// How long typing shows without a word (`whatsapp` §11).
const TYPING_MS: i64 = 25_000;
/// The human-agent tag's reach (`messenger` §11).
const WEEK_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// What came of a request that Graph took.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) answer: Value,
    pub(crate) message_id: Option<String>,
}

/// What the checks of the platforms look up.
struct Look<'a> {
    world: &'a World,
    account: &'a str,
}

impl whatsapp::check::Facts for Look<'_> {
    fn file(&self, media_id: &str) -> Option<File> {
        self.world.media.file(media_id)
    }
    fn has_message(&self, id: &str) -> bool {
        self.world.place_of(id).is_some_and(|(account, _)| account == self.account)
    }
    fn is_inbound(&self, id: &str) -> bool {
        self.world.is_inbound(self.account, id)
    }
}

impl messenger::check::Facts for Look<'_> {
    fn attachment(&self, id: &str) -> Option<File> {
        self.world.attachments.get(id).cloned()
    }
    fn has_message(&self, psid: &str, mid: &str) -> bool {
        let customer = self.world.customer_by(Platform::Messenger, psid);
        customer.is_some_and(|customer| {
            self.world.place_of(mid).is_some_and(|(page, who)| page == self.account && *who == customer.id)
        })
    }
}

/// Takes one from a budget that fills by `per_second` up to `burst`; false when it is empty.
fn take(due: &mut Option<Instant>, now: Instant, burst: u32, per_second: f64) -> bool {
    let each = Duration::from_secs_f64(1.0 / per_second);
    let next = due.unwrap_or(now).max(now);
    if next.saturating_duration_since(now) > each * burst.saturating_sub(1) {
        return false;
    }
    *due = Some(next + each);
    true
}

impl World {
    /// A request to `/{phone-number-id}/messages`.
    pub(crate) fn whatsapp_messages(&mut self, account: &str, body: &Value) -> Result<Taken, Refusal> {
        let asked = whatsapp::check::check(body, &Look { world: self, account })?;
        match asked {
            whatsapp::check::Asked::Read { message_id, types } => {
                self.read_by_business(&message_id, types);
                Ok(Taken { answer: json!({"success": true}), message_id: None })
            }
            whatsapp::check::Asked::Send(draft) => self.whatsapp_send(account, *draft),
        }
    }

    /// Marks the message and all before it as read by the business, and shows typing.
    fn read_by_business(&mut self, message_id: &str, types: bool) {
        let until = types.then(|| self.clock.now().plus_millis(TYPING_MS));
        let Some(key) = self.place_of(message_id).cloned() else { return };
        let Some(chat) = self.chats.get_mut(&key) else { return };
        let from_there = chat.bubbles.iter_mut().rev().skip_while(|bubble| bubble.id != message_id);
        for bubble in from_there.filter(|bubble| bubble.author == Author::Customer) {
            // What is read has nothing unread before it.
            if std::mem::replace(&mut bubble.progress, Progress::Read) == Progress::Read {
                break;
            }
        }
        chat.typing_until = until.or(chat.typing_until);
        self.version += 1;
    }

    fn account_limit(&mut self, account: &str, per_second: u32, refusal: Refusal) -> Result<(), Refusal> {
        if per_second == 0 {
            return Ok(());
        }
        let now = self.clock.instant();
        let mut due = self.account_due.get(account).copied();
        if !take(&mut due, now, per_second, f64::from(per_second)) {
            return Err(refusal);
        }
        if let Some(due) = due {
            self.account_due.insert(account.to_owned(), due);
        }
        Ok(())
    }

    fn whatsapp_recipient(&mut self, account: &str, to: &To) -> Result<(Option<Customer>, String), Refusal> {
        match to {
            To::Bsuid(bsuid) => Ok((self.customer_by(Platform::Whatsapp, bsuid).cloned(), bsuid.clone())),
            To::Phone(written) => {
                let number = self.number(account).ok_or_else(|| Refusal::unknown_object("POST", account))?;
                let candidates = whatsapp::dialled(written, number);
                if candidates.contains(&whatsapp::digits(&number.display)) {
                    return Err(Refusal::new(131_021, "Recipient cannot be sender")
                        .details("Sender and recipient phone number is the same"));
                }
                let found =
                    candidates.iter().find(|digits| self.customer_by(Platform::Whatsapp, digits).is_some());
                let digits = found.or(candidates.last()).cloned().unwrap_or_default();
                Ok((self.customer_by(Platform::Whatsapp, &digits).cloned(), digits))
            }
            To::Psid(_) => Err(Refusal::new(100, "The parameter to is required.")),
        }
    }

    fn whatsapp_send(&mut self, account: &str, draft: Draft) -> Result<Taken, Refusal> {
        let to_bsuid = matches!(draft.to, To::Bsuid(_));
        if to_bsuid && draft.needs_phone {
            return Err(Refusal::new(131_062, "Business-scoped user ID recipients are not supported")
                .details("One-tap, zero-tap and copy-code templates need a phone number"));
        }
        let limit =
            Refusal::new(130_429, "Rate limit hit").details("Cloud API message throughput has been reached");
        self.account_limit(account, self.rules.number_per_second, limit)?;
        let (mut customer, addressed) = self.whatsapp_recipient(account, &draft.to)?;
        if customer.is_none() && self.rules.recipients == Recipients::Anyone {
            let mut new = NewCustomer { platform: Some(Platform::Whatsapp), ..NewCustomer::default() };
            *(if to_bsuid { &mut new.bsuid } else { &mut new.phone }) = Some(addressed.clone());
            customer = self.add_customer(new).ok();
        }
        if let Some(customer) = &customer {
            self.pair_limit(account, customer)?;
            if draft.identity_hash.as_ref().is_some_and(|hash| *hash != customer.identity_hash) {
                return Err(
                    Refusal::new(137_000, "Identity key mismatch").details("The user's identity has changed")
                );
            }
        }
        let failure = self.whatsapp_failure(account, customer.as_ref(), draft.needs);
        if let (Some(failure), WindowRule::Http) = (&failure, self.rules.window)
            && failure.code == 131_047
        {
            return Err(failure.clone());
        }
        let id = whatsapp::message_id(customer.as_ref(), whatsapp::Way::Out);
        let input = match &draft.to {
            To::Phone(input) | To::Bsuid(input) | To::Psid(input) => input.clone(),
        };
        let who = if to_bsuid {
            json!({"input": input, "user_id": addressed})
        } else {
            json!({"input": input, "wa_id": addressed})
        };
        let message = if draft.kind == "template" {
            json!({"id": id, "message_status": "accepted"})
        } else {
            json!({ "id": id })
        };
        let answer = json!({"messaging_product": "whatsapp", "contacts": [who], "messages": [message]});
        let bubble = self.bubble_of(account, &id, draft, failure, to_bsuid);
        match customer {
            Some(customer) => {
                self.business_wrote(account, &customer.id, bubble);
                self.later(&id, Progress::Sent);
            }
            None => self.fail_stranger(account, &bubble, &addressed),
        }
        Ok(Taken { answer, message_id: Some(id) })
    }

    fn pair_limit(&mut self, account: &str, customer: &Customer) -> Result<(), Refusal> {
        let (burst, per_second, now) =
            (self.rules.pair_burst, self.rules.pair_per_second, self.clock.instant());
        let chat = self.chat(account, &customer.id);
        if burst > 0 && !take(&mut chat.pair_due, now, burst, per_second) {
            return Err(Refusal::new(131_056, "(Business Account, Consumer Account) pair rate limit hit")
                .details("Too many messages sent from this phone number to the same phone number in a short period of time"));
        }
        Ok(())
    }

    /// Is the window open, by `needs`?
    fn may_receive(&self, chat: Option<&Chat>, needs: Needs) -> bool {
        let within = match needs {
            Needs::Nothing => return true,
            Needs::Window => i64::try_from(self.rules.window_ms).unwrap_or(i64::MAX),
            Needs::Week => WEEK_MS,
        };
        let since = |opened: Timestamp| self.clock.now().millis_since(opened);
        self.rules.window == WindowRule::Off
            || chat.and_then(|chat| chat.last_opened).is_some_and(|opened| since(opened) < within)
    }

    fn whatsapp_failure(&self, account: &str, customer: Option<&Customer>, needs: Needs) -> Option<Refusal> {
        let undeliverable =
            || Refusal::new(131_026, "Message undeliverable").details("Message Undeliverable.");
        let Some(customer) = customer else { return Some(undeliverable()) };
        if customer.is_blocking {
            return Some(undeliverable());
        }
        let chat = self.chats.get(&(account.to_owned(), customer.id.clone()));
        (!self.may_receive(chat, needs)).then(|| {
            Refusal::new(131_047, "Re-engagement message").details(
                "Message failed to send because more than 24 hours have passed since the customer last replied \
                 to this number.",
            )
        })
    }

    fn bubble_of(
        &self,
        account: &str,
        id: &str,
        draft: Draft,
        failure: Option<Refusal>,
        to_bsuid: bool,
    ) -> Bubble {
        Bubble {
            id: id.to_owned(),
            account: account.to_owned(),
            author: Author::Api,
            at: self.clock.now(),
            kind: draft.kind,
            text: draft.reaction.clone().map(|(_, emoji)| emoji).or(draft.text),
            files: draft.files,
            place: draft.place,
            choices: draft.choices,
            reply_to: draft.reaction.map(|(target, _)| target).or(draft.reply_to),
            progress: Progress::Accepted,
            failure,
            reaction_of_customer: None,
            reaction_of_business: None,
            edits: 0,
            is_revoked: false,
            outbox_id: draft.outbox_id,
            to_bsuid,
            sent: draft.sent,
        }
    }

    /// Puts a message of the business on the phone; a reaction on its target too.
    pub(crate) fn business_wrote(&mut self, account: &str, customer: &str, bubble: Bubble) {
        if bubble.failure.is_none() {
            self.chat(account, customer).typing_until = None;
            if let ("reaction", Some(target)) = (bubble.kind, bubble.reply_to.clone()) {
                let emoji = bubble.text.clone().filter(|emoji| !emoji.is_empty());
                self.with_bubble(&target, |target| target.reaction_of_business = emoji);
            }
        }
        self.put_bubble(customer, bubble);
    }

    /// A message to nobody: it fails, and its status names the address as it was given.
    fn fail_stranger(&mut self, account: &str, bubble: &Bubble, addressed: &str) {
        let failed = Bubble { progress: Progress::Failed, ..bubble.clone() };
        let at = self.clock.now();
        if let Some(number) = self.number(account).cloned() {
            let entry = whatsapp::status(&number, None, &failed, addressed, at);
            self.post(Platform::Whatsapp, account, What::Status, entry);
        }
    }

    fn later(&mut self, message_id: &str, to: Progress) {
        let ms = match to {
            Progress::Delivered => self.rules.delivered_ms,
            Progress::Read => self.rules.read_ms,
            _ => self.rules.sent_ms,
        };
        self.steps.push(Step { message_id: message_id.to_owned(), to, delay: Duration::from_millis(ms) });
    }

    /// A message of the business takes its next step, if it still can.
    pub(crate) fn step(&mut self, message_id: &str, to: Progress) {
        let Some((account, who)) = self.place_of(message_id).cloned() else { return };
        let Some(customer) = self.customers.get(&who).cloned() else { return };
        let Some(bubble) = self.bubble(message_id) else { return };
        let to = if bubble.failure.is_some() { Progress::Failed } else { to };
        let needs_phone_on = matches!(to, Progress::Delivered | Progress::Read);
        if bubble.progress >= to || (needs_phone_on && !customer.is_online) {
            return;
        }
        if to == Progress::Read && !customer.shows_receipts {
            return;
        }
        let is_reaction = bubble.kind == "reaction";
        let Some(bubble) = self.with_bubble(message_id, |bubble| {
            bubble.progress = to;
            bubble.clone()
        }) else {
            return;
        };
        self.tell_progress(&account, &customer, &bubble);
        if is_reaction {
            return;
        }
        let reads_at_once = customer.reads_at_once.unwrap_or(self.rules.reads_at_once);
        match to {
            Progress::Sent if customer.is_online => self.later(message_id, Progress::Delivered),
            Progress::Delivered if reads_at_once => self.later(message_id, Progress::Read),
            _ => {}
        }
    }

    fn tell_progress(&mut self, account: &str, customer: &Customer, bubble: &Bubble) {
        let at = self.clock.now();
        if let Some(number) = self.number(account).cloned() {
            let addressed = if bubble.to_bsuid { &customer.bsuid } else { &customer.phone };
            let addressed = addressed.clone().unwrap_or_default();
            let entry = whatsapp::status(&number, Some(customer), bubble, &addressed, at);
            self.post(Platform::Whatsapp, account, What::Status, entry);
        } else if let (Some(page), Some(psid)) = (self.page(account).cloned(), customer.psid.clone()) {
            let (what, entry) = match bubble.progress {
                Progress::Sent => {
                    (What::Echo, messenger::echo(&page, &psid, bubble, &self.echo_files(bubble)))
                }
                Progress::Delivered => {
                    let mids = [bubble.id.clone()];
                    (What::Status, messenger::delivered(&page, &psid, &mids, bubble.at, at))
                }
                Progress::Read => (What::Status, messenger::read(&page, &psid, bubble.at, at)),
                Progress::Accepted | Progress::Failed => return,
            };
            self.post(Platform::Messenger, account, what, entry);
        }
    }

    /// The attachments of an echo: links as they were sent, files by their address here.
    fn echo_files(&self, bubble: &Bubble) -> Vec<Value> {
        let url = |file: &File| {
            let stored = file.media_id.as_deref().map(|id| self.cdn_url(id));
            stored.or_else(|| file.link.clone()).unwrap_or_default()
        };
        bubble.files.iter().map(|file| messenger::attachment(file, &url(file))).collect()
    }

    /// The customer looks at the conversation: what has arrived is read.
    pub(crate) fn open_chat(&mut self, account: &str, customer: &Customer) {
        if !customer.is_online {
            return;
        }
        let key = (account.to_owned(), customer.id.clone());
        let unread = |bubble: &&Bubble| {
            bubble.author != Author::Customer
                && bubble.kind != "reaction"
                && matches!(bubble.progress, Progress::Sent | Progress::Delivered)
        };
        let Some(chat) = self.chats.get(&key) else { return };
        let ids: Vec<String> = chat.bubbles.iter().filter(unread).map(|bubble| bubble.id.clone()).collect();
        if self.page(account).is_some() {
            // A watermark says it of all that came before, so one receipt does.
            let (Some(last), true) = (ids.last(), customer.shows_receipts) else { return };
            for id in &ids {
                if id != last {
                    self.with_bubble(id, |bubble| bubble.progress = Progress::Read);
                }
            }
            self.step(last, Progress::Read);
        } else {
            for id in &ids {
                self.step(id, Progress::Read);
            }
        }
    }

    /// The phone is on again: what waited is delivered.
    pub(crate) fn came_online(&mut self, customer: &str) {
        let waits = |bubble: &&Bubble| {
            bubble.author != Author::Customer
                && bubble.kind != "reaction"
                && bubble.progress == Progress::Sent
        };
        let own = self.chats_of(customer).flat_map(|(_, chat)| chat.bubbles.iter());
        let waiting: Vec<String> = own.filter(waits).map(|bubble| bubble.id.clone()).collect();
        for id in waiting {
            self.step(&id, Progress::Delivered);
        }
    }

    /// A request to `/{page-id}/messages`.
    pub(crate) fn messenger_messages(&mut self, account: &str, body: &Value) -> Result<Taken, Refusal> {
        let limit = Refusal::new(613, "Calls to this api have exceeded the rate limit.");
        self.account_limit(account, self.rules.page_per_second, limit)?;
        match messenger::check::check(body, &Look { world: self, account })? {
            messenger::check::Asked::Action { psid, action } => {
                let customer = self.messenger_recipient(account, &psid)?;
                let until = self.clock.now().plus_millis(TYPING_MS);
                let chat = self.chat(account, &customer.id);
                match action.as_str() {
                    "typing_on" => chat.typing_until = Some(until),
                    "typing_off" => chat.typing_until = None,
                    _ => {
                        for bubble in chat.bubbles.iter_mut().filter(|own| own.author == Author::Customer) {
                            bubble.progress = Progress::Read;
                        }
                    }
                }
                self.version += 1;
                Ok(Taken { answer: json!({ "recipient_id": psid }), message_id: None })
            }
            messenger::check::Asked::Send { draft, is_reusable } => {
                self.messenger_send(account, *draft, is_reusable)
            }
        }
    }

    fn messenger_recipient(&mut self, account: &str, psid: &str) -> Result<Customer, Refusal> {
        let found = self.customer_by(Platform::Messenger, psid).cloned();
        if let Some(customer) = found.filter(|customer| customer.page.as_deref() == Some(account)) {
            return Ok(customer);
        }
        let nobody = || Refusal::new(100, "No matching user found").subcode(2_018_001);
        if self.rules.recipients == Recipients::Known {
            return Err(nobody());
        }
        let new = NewCustomer {
            platform: Some(Platform::Messenger),
            psid: Some(psid.to_owned()),
            page: Some(account.to_owned()),
            ..NewCustomer::default()
        };
        self.add_customer(new).map_err(|_| nobody())
    }

    fn messenger_send(&mut self, account: &str, draft: Draft, is_reusable: bool) -> Result<Taken, Refusal> {
        let To::Psid(psid) = draft.to.clone() else {
            return Err(Refusal::new(100, "The parameter recipient is required"));
        };
        let customer = self.messenger_recipient(account, &psid)?;
        if customer.is_blocking {
            return Err(Refusal::new(551, "This person isn't available right now.").subcode(1_545_041));
        }
        let own_app = self.page(account).map(|page| page.app_id.clone()).unwrap_or_default();
        let chat = self.chats.get(&(account.to_owned(), customer.id.clone()));
        if chat.and_then(|chat| chat.owner_app.as_ref()).is_some_and(|owner| *owner != own_app) {
            return Err(Refusal::new(10, "Another app is controlling this thread now.").subcode(2_018_300));
        }
        if !self.may_receive(chat, draft.needs) {
            return Err(
                Refusal::new(10, "This message is sent outside of allowed window.").subcode(2_018_278)
            );
        }
        let id = messenger::message_id();
        let mut answer = json!({"recipient_id": psid, "message_id": id});
        if let (true, Some(file), Some(fields)) = (is_reusable, draft.files.first(), answer.as_object_mut()) {
            let attachment_id = self.save_attachment(file.clone());
            fields.insert("attachment_id".to_owned(), json!(attachment_id));
        }
        let bubble = self.bubble_of(account, &id, draft, None, false);
        self.business_wrote(account, &customer.id, bubble);
        self.later(&id, Progress::Sent);
        Ok(Taken { answer, message_id: Some(id) })
    }
}
