//! Callback to events: the envelope, the two sides of an item, and the table of event keys
//! (`messenger` §4, §15). What each event says is read in the modules below.
//!
//! Pure and total: a part that cannot be read becomes a problem, its neighbours become events.

mod attachments;
mod events;
mod messages;

use loket_backbone::bus::PAYLOAD_BYTES_MAX;
use loket_protocol::channel::ChannelAccount;
use loket_protocol::contact::{Customer, Handle, HandleKind};
use loket_protocol::inbound::{Fact, INBOUND_VERSION, InboundEvent};
use loket_protocol::problem::{ParkReason, Problem};
use loket_protocol::time::Timestamp;
use serde_json::Value;

use super::Accounts;
use crate::channel::Received;
use crate::meta;

/// A body smaller than this cannot come to an event that is too large for the bus, although an
/// event may hold a part twice, read and as it came.
const SURELY_FITS_BYTES: usize = PAYLOAD_BYTES_MAX / 4;
/// The largest event: what the bus takes, less room for the bus's own envelope.
const EVENT_BYTES_MAX: usize = PAYLOAD_BYTES_MAX - 16 * 1024;
/// How many events and problems one callback may come to (`reliability-contract` §12). What is
/// beyond is parked in one problem, which can be replayed.
const ITEMS_MAX: usize = 10_000;
/// The most that an envelope may weigh. It is repeated with every item that is parked, so a heavy
/// one could fill the memory; the platform's own have a hundred bytes.
const ENVELOPE_BYTES_MAX: usize = 8 * 1024;
/// How much of a name from the body is repeated in an error, in characters.
const NAME_CHARS_MAX: usize = 64;

/// Keys of an item that tell no event.
const ENVELOPE: &[&str] = &["sender", "recipient", "timestamp"];

/// Why a part was not read.
#[derive(Debug, PartialEq, Eq)]
struct Unread {
    reason: ParkReason,
    error: String,
}

impl Unread {
    fn unreadable(error: impl Into<String>) -> Self {
        Self { reason: ParkReason::Unreadable, error: error.into() }
    }

    fn unknown(error: impl Into<String>) -> Self {
        Self { reason: ParkReason::Unknown, error: error.into() }
    }
}

/// What an event key says: the fact, and whether it opens the reply window (`None` where the
/// platform is silent).
#[derive(Debug)]
struct Said {
    fact: Fact,
    opens_window: Option<bool>,
}

/// What the reader of an event may know besides the event itself.
#[derive(Debug)]
struct Scene<'a> {
    /// Our own app's id.
    app_id: &'a str,
    /// The item comes from the company's side: an echo, or an act in the Page inbox.
    outgoing: bool,
}

/// Whom an event is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum About {
    /// The customer; without one it is a problem.
    Customer,
    /// The channel account itself.
    Account,
}

type Read = fn(&Scene<'_>, &Value) -> Result<Said, Unread>;

/// Every event key of `messenger` §4.
const EVENTS: &[(&str, About, Read)] = &[
    ("message", About::Customer, messages::message),
    ("postback", About::Customer, messages::postback),
    ("order", About::Customer, messages::order),
    ("message_edit", About::Customer, messages::edit),
    ("reaction", About::Customer, events::reaction),
    ("referral", About::Customer, events::referral),
    ("optin", About::Customer, events::optin),
    ("account_linking", About::Customer, events::account_linking),
    ("delivery", About::Customer, events::delivery),
    ("read", About::Customer, events::read),
    ("response_feedback", About::Customer, events::response_feedback),
    ("pass_thread_control", About::Customer, events::pass_thread_control),
    ("take_thread_control", About::Customer, events::take_thread_control),
    ("request_thread_control", About::Customer, events::request_thread_control),
    ("app_roles", About::Account, |scene, roles| Ok(events::app_roles(scene, roles))),
    ("policy_enforcement", About::Account, events::policy_enforcement),
    ("game_play", About::Account, |_, _| Ok(events::game_play())),
];

/// Reads a whole body. `body_bytes` is its length on the wire.
pub(super) fn receive(
    accounts: &Accounts,
    body: &Value,
    body_bytes: usize,
    received_at: Timestamp,
) -> Received {
    let mut reader = Reader { accounts, body, body_bytes, received_at, received: Received::default() };
    reader.entries();
    reader.received
}

struct Reader<'a> {
    accounts: &'a Accounts,
    body: &'a Value,
    body_bytes: usize,
    received_at: Timestamp,
    received: Received,
}

/// One item of an entry's list, and where it stands.
struct Place<'a> {
    entry: &'a Value,
    /// The account as the entry names it.
    account: Option<String>,
    /// The account, if it is one of ours.
    channel: Option<ChannelAccount>,
    /// How the platform names its users here.
    users: HandleKind,
    list: &'a str,
    item: &'a Value,
    path: String,
}

/// What the item's envelope says about who and when.
struct Envelope {
    outgoing: bool,
    /// The company's side is a known part of the item and not the account of the entry.
    misrouted: bool,
    /// The account wrote to itself: the platform's self-test (`messenger` §13).
    to_itself: bool,
    customer: Option<Customer>,
    at: Option<Timestamp>,
}

impl<'a> Reader<'a> {
    fn entries(&mut self) {
        let users = match meta::field(self.body, "object").and_then(Value::as_str) {
            Some("page") => HandleKind::Psid,
            Some("instagram") => HandleKind::Igsid,
            Some(other) => {
                let error = format!("object {} is neither page nor instagram", named(other));
                return self.park_body(&Unread::unknown(error));
            }
            None => return self.park_body(&Unread::unreadable("there is no object")),
        };
        let entries = meta::list(self.body, "entry");
        if entries.is_empty() {
            return self.park_body(&Unread::unreadable("there is no entry"));
        }
        if is_heavy(self.body) {
            return self.park_body(&Unread::unreadable("the envelope is too large"));
        }
        for (number, entry) in entries.iter().enumerate() {
            if self.is_full() {
                let rest = Value::Array(entries.get(number..).unwrap_or_default().to_vec());
                let body = with(self.body, "entry", rest);
                return self.problems(&body, &too_many(&format!("entry[{number}]")), &Parked::default());
            }
            self.entry(users, entry, &format!("entry[{number}]"));
        }
    }

    fn entry(&mut self, users: HandleKind, entry: &'a Value, path: &str) {
        let account = meta::id(entry, "id");
        if is_heavy(entry) {
            let error = format!("{path}: the envelope is too large");
            return self.park_entry(entry, account, &Unread::unreadable(error));
        }
        let channel = account.as_deref().and_then(|id| self.accounts.channel(users, id));
        let mut is_empty = true;
        for list in ["messaging", "standby", "changes"] {
            let path = format!("{path}.{list}");
            let items = match meta::field(entry, list) {
                None => continue,
                Some(Value::Array(items)) => items,
                Some(junk) => {
                    is_empty = false;
                    let junk = with(entry, list, junk.clone());
                    let unread = Unread::unreadable(format!("{path}: not an array"));
                    self.park_entry(&junk, account.clone(), &unread);
                    continue;
                }
            };
            is_empty &= items.is_empty();
            for (number, item) in items.iter().enumerate() {
                let path = format!("{path}[{number}]");
                if self.is_full() {
                    let rest = Value::Array(items.get(number..).unwrap_or_default().to_vec());
                    self.park_entry(&with(entry, list, rest), account.clone(), &too_many(&path));
                    break;
                }
                let (account, channel) = (account.clone(), channel.clone());
                self.item(&Place { entry, account, channel, users, list, item, path });
            }
        }
        if is_empty {
            let error = format!("{path}: there is neither messaging nor standby nor changes");
            self.park_entry(entry, account, &Unread::unreadable(error));
        }
    }

    fn item(&mut self, place: &Place<'a>) {
        let Some(channel) = &place.channel else {
            return self.park_unrouted(place);
        };
        if !place.item.is_object() {
            let unread = Unread::unreadable("not an object");
            return self.park(place, &unread, &Envelope::unknown());
        }
        if place.list == "changes" {
            let at = meta::time(place.entry, "time");
            match events::change(place.item) {
                Ok(said) => self.push(place, channel, &Envelope { at, ..Envelope::unknown() }, None, said),
                Err(unread) => self.park(place, &unread, &Envelope { at, ..Envelope::unknown() }),
            }
            return;
        }
        let envelope = Envelope::of(place);
        if envelope.misrouted {
            let unread = Unread::unreadable("the company's side is not the account of the entry");
            // Whose thread it would belong to is exactly what is in doubt.
            return self.park(place, &unread, &Envelope { customer: None, ..envelope });
        }
        if envelope.to_itself {
            let said = events::self_test();
            return self.push(place, channel, &envelope, None, said);
        }
        let scene = Scene { app_id: &self.accounts.app_id, outgoing: envelope.outgoing };
        let mut is_known = false;
        for (key, about, read) in EVENTS {
            let Some(event) = meta::field(place.item, key) else { continue };
            is_known = true;
            let said = if event.is_object() {
                read(&scene, event)
                    .map_err(|unread| Unread { error: format!("{key}: {}", unread.error), ..unread })
            } else {
                Err(Unread::unreadable(format!("{key} is not an object")))
            };
            let customer = envelope.customer.clone().filter(|_| *about == About::Customer);
            match said {
                Ok(_) if *about == About::Customer && customer.is_none() => {
                    let error = format!("{key}: there is no sender");
                    self.park(place, &Unread { reason: ParkReason::NoSender, error }, &envelope);
                }
                Ok(said) => self.push(place, channel, &envelope, customer, said),
                Err(unread) => self.park(place, &unread, &envelope),
            }
        }
        if !is_known {
            self.park(place, &unknown_event(place.item), &envelope);
        }
    }

    fn push(
        &mut self,
        place: &Place<'a>,
        channel: &ChannelAccount,
        envelope: &Envelope,
        customer: Option<Customer>,
        said: Said,
    ) {
        let event = InboundEvent {
            v: INBOUND_VERSION,
            channel: channel.clone(),
            customer,
            at: envelope.at.unwrap_or(self.received_at),
            at_is_arrival: envelope.at.is_none(),
            received_at: self.received_at,
            standby: place.list == "standby",
            opens_window: said.opens_window,
            fact: said.fact,
        };
        if self.body_bytes > SURELY_FITS_BYTES && size(&event) > EVENT_BYTES_MAX {
            let unread = Unread::unreadable(format!("over {EVENT_BYTES_MAX} bytes as one event"));
            return self.park(place, &unread, envelope);
        }
        self.received.events.push(event);
    }

    /// An item of an account that is not ours, or not told.
    fn park_unrouted(&mut self, place: &Place<'a>) {
        let (reason, error) = match place.account {
            Some(_) => (ParkReason::UnknownAccount, "the account is not configured"),
            None => (ParkReason::Unreadable, "the entry has no id"),
        };
        let envelope = if place.list == "changes" { Envelope::unknown() } else { Envelope::of(place) };
        self.park(place, &Unread { reason, error: error.to_owned() }, &envelope);
    }

    fn park(&mut self, place: &Place<'a>, unread: &Unread, envelope: &Envelope) {
        let body = meta::one_item_body(self.body, place.entry, place.list, place.item.clone());
        let unread = Unread { reason: unread.reason, error: format!("{}: {}", place.path, unread.error) };
        let what = Parked {
            account: place.account.clone(),
            customer: envelope.customer.clone(),
            external_id: own_id(place.item),
            at: envelope.at,
        };
        self.problems(&body, &unread, &what);
    }

    fn park_entry(&mut self, entry: &Value, account: Option<String>, unread: &Unread) {
        let body = with(self.body, "entry", Value::Array(vec![entry.clone()]));
        self.problems(&body, unread, &Parked { account, ..Parked::default() });
    }

    fn is_full(&self) -> bool {
        self.received.events.len() + self.received.problems.len() >= ITEMS_MAX
    }

    fn park_body(&mut self, unread: &Unread) {
        self.problems(self.body, unread, &Parked::default());
    }

    fn problems(&mut self, body: &Value, unread: &Unread, what: &Parked) {
        for raw in meta::raw_pieces(body) {
            self.received.problems.push(Problem {
                v: INBOUND_VERSION,
                channel_kind: self.accounts.kind.as_str().to_owned(),
                account: what.account.clone(),
                reason: unread.reason,
                error: unread.error.clone(),
                customer: what.customer.clone(),
                external_id: what.external_id.clone(),
                at: what.at,
                received_at: self.received_at,
                raw,
            });
        }
    }
}

/// What could be told of a part that is parked.
#[derive(Default)]
struct Parked {
    account: Option<String>,
    customer: Option<Customer>,
    external_id: Option<String>,
    at: Option<Timestamp>,
}

impl Envelope {
    fn unknown() -> Self {
        Self { outgoing: false, misrouted: false, to_itself: false, customer: None, at: None }
    }

    /// Who is who: the customer is the side that is not the account (`messenger` §15.1, §15.2).
    fn of(place: &Place<'_>) -> Self {
        let (item, null) = (place.item, &Value::Null);
        let side = |key: &str| meta::field(item, key).unwrap_or(null);
        let (sender, recipient) = (side("sender"), side("recipient"));
        let (from, to) = (meta::id(sender, "id"), meta::id(recipient, "id"));
        let is_echo = meta::field(item, "message").and_then(|message| meta::flag(message, "is_echo"));
        let from_account = from.is_some() && from == place.account;
        let to_account = to.is_some() && to == place.account;
        let outgoing = is_echo == Some(true) || (from_account && !to_account);
        let (company, person) = if outgoing { (from, recipient) } else { (to, sender) };
        let user_refs = [meta::id(person, "user_ref"), optin_user_ref(item)];
        let handles = meta::id(person, "id").map(|id| Handle::new(place.users, id)).into_iter().chain(
            user_refs.into_iter().flatten().map(|user_ref| Handle::new(HandleKind::UserRef, user_ref)),
        );
        let mut customer = Customer::default();
        for handle in handles {
            if !customer.handles.contains(&handle) {
                customer.handles.push(handle);
            }
        }
        Self {
            outgoing,
            misrouted: company.is_some() && company != place.account,
            to_itself: from_account && to_account,
            customer: (!customer.handles.is_empty()).then_some(customer),
            at: meta::time(item, "timestamp"),
        }
    }
}

/// The envelope of `holder` with `value` alone under `key`.
fn with(holder: &Value, key: &str, value: Value) -> Value {
    let mut envelope = meta::scalars(holder);
    envelope.insert(key.to_owned(), value);
    Value::Object(envelope)
}

/// Is the envelope of a body or entry larger than any of the platform's?
fn is_heavy(holder: &Value) -> bool {
    let members = holder.as_object().into_iter().flatten();
    let weight = members.map(|(key, value)| key.len() + value.as_str().map_or(8, str::len));
    weight.sum::<usize>() > ENVELOPE_BYTES_MAX
}

fn too_many(path: &str) -> Unread {
    Unread::unreadable(format!("{path}: the callback has more than {ITEMS_MAX} items"))
}

/// The plug-in's name for the person, which stands in the event and not in the envelope.
fn optin_user_ref(item: &Value) -> Option<String> {
    meta::id(meta::field(item, "optin")?, "user_ref")
}

/// The provider's id of the message that a parked item is; `None` when the item is about another
/// message, whose key it must not take.
fn own_id(item: &Value) -> Option<String> {
    if let Some(message) = meta::field(item, "message") {
        let is_deletion = meta::flag(message, "is_deleted") == Some(true);
        return meta::id(message, "mid").filter(|_| !is_deletion);
    }
    meta::id(meta::field(item, "postback")?, "mid")
}

/// An item whose event key this version does not know.
fn unknown_event(item: &Value) -> Unread {
    let members = item.as_object().into_iter().flatten();
    let keys: Vec<String> = members
        .filter(|(key, value)| !ENVELOPE.contains(&key.as_str()) && !value.is_null())
        .map(|(key, _)| named(key))
        .collect();
    match keys.first() {
        Some(key) => Unread::unknown(format!("event {key} is unknown")),
        None => Unread::unreadable("there is no event"),
    }
}

/// A name from the body, such as a type, in quotes and fit for a log: the platform's own names are
/// short and plain, anything else is not repeated.
fn named(name: &str) -> String {
    let is_plain = name.len() <= NAME_CHARS_MAX
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b':'));
    if is_plain { format!("\"{name}\"") } else { "of an unprintable name".to_owned() }
}

/// How many bytes an event takes on the bus.
fn size(event: &InboundEvent) -> usize {
    serde_json::to_vec(event).map_or(usize::MAX, |bytes| bytes.len())
}

/// The id of the message that an event is about, which must be there.
fn target(event: &Value) -> Result<String, Unread> {
    meta::id(event, "mid").ok_or_else(|| Unread::unreadable("there is no usable mid"))
}
