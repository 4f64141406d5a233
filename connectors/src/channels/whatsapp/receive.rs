//! Callback bodies to events and problems (`whatsapp` §5 to §10 and §15). Pure and total: every item
//! becomes an event, a problem with its raw bytes, or both of its neighbours would be in doubt.

mod content;
mod customer;
mod fields;
mod messages;
mod place;
mod statuses;

use std::collections::{BTreeMap, BTreeSet};

use loket_backbone::bus::PAYLOAD_BYTES_MAX;
use loket_protocol::channel::{ChannelAccount, ChannelKind};
use loket_protocol::contact::Customer;
use loket_protocol::inbound::{Fact, INBOUND_VERSION, InboundEvent};
use loket_protocol::problem::{ParkReason, Problem};
use loket_protocol::time::Timestamp;
use serde_json::Value;

use self::customer::Contacts;
use self::place::Place;
use crate::channel::{Callback, Received, Rejected};
use crate::meta;

/// What the envelope's `object` says on this channel.
const OBJECT: &str = "whatsapp_business_account";
/// How many events and problems one callback may come to (`reliability-contract` §12). What is
/// beyond is parked in a few large problems, which can be replayed.
const ITEMS_MAX: usize = 10_000;
/// Events of bodies up to this size cannot come near the limit of the bus, so they are not measured.
const BODY_BYTES_SURELY_SMALL: usize = PAYLOAD_BYTES_MAX / 4;

/// Which channel accounts are configured.
#[derive(Debug, Default)]
pub(super) struct Routes {
    /// By phone number id.
    pub(super) numbers: BTreeSet<String>,
    /// The phone number ids of each business account that is known.
    pub(super) wabas: BTreeMap<String, Vec<String>>,
}

/// Why an item was parked; the place is added by whoever parks it.
#[derive(Debug)]
struct Trouble {
    reason: ParkReason,
    why: String,
}

impl Trouble {
    fn unreadable(why: impl Into<String>) -> Self {
        Self { reason: ParkReason::Unreadable, why: why.into() }
    }

    /// `what` is a type, field or status by its name: the platform's word, never a customer's.
    fn unknown(what: &str, name: &str) -> Self {
        let name: String = name.chars().take(64).collect();
        Self { reason: ParkReason::Unknown, why: format!("{what} {name:?} is unknown") }
    }
}

/// What is known of an item that could not be read.
#[derive(Default)]
struct About {
    customer: Option<Customer>,
    external_id: Option<String>,
    at: Option<Timestamp>,
}

/// Reads a body that was signed.
pub(super) fn receive(
    kind: &ChannelKind,
    routes: &Routes,
    callback: &Callback,
) -> Result<Received, Rejected> {
    let root = meta::parse(&callback.body)?;
    let mut walk = Walk {
        kind,
        routes,
        received_at: callback.received_at,
        is_large: callback.body.len() > BODY_BYTES_SURELY_SMALL,
        received: Received::default(),
    };
    walk.body(&root);
    Ok(walk.received)
}

/// One way through one body.
struct Walk<'a> {
    kind: &'a ChannelKind,
    routes: &'a Routes,
    received_at: Timestamp,
    is_large: bool,
    received: Received,
}

/// A change whose channel account is known.
struct Change<'a> {
    account: String,
    value: &'a Value,
    contacts: Contacts<'a>,
    /// `entry[].time`.
    entry_time: Option<Timestamp>,
}

impl Walk<'_> {
    fn body(&mut self, root: &Value) {
        let place = Place { above: None, holder: root, key: "entry", index: None };
        let object = meta::text(root, "object");
        match (root.get("entry").and_then(Value::as_array), object.as_deref()) {
            (_, Some(object)) if object != OBJECT => {
                self.park_body(root, &Trouble::unknown("object", object));
            }
            (Some(entries), _) => self.each(&place, entries, None, Self::entry),
            (None, _) => self.park_body(root, &Trouble::unreadable("entry is no array")),
        }
    }

    /// Runs `read` on every item, as long as there is room for more events.
    fn each<'v>(
        &mut self,
        place: &Place<'_>,
        items: &'v [Value],
        account: Option<&str>,
        mut read: impl FnMut(&mut Self, &Place<'_>, &'v Value),
    ) {
        for (index, item) in items.iter().enumerate() {
            if self.received.events.len() + self.received.problems.len() >= ITEMS_MAX {
                let rest = items.get(index..).unwrap_or_default().to_vec();
                let trouble = Trouble::unreadable(format!("the callback has more than {ITEMS_MAX} items"));
                let body = place.body(Value::Array(rest), None);
                self.park(&place.item(index), account, &trouble, &About::default(), &body);
                return;
            }
            read(self, &place.item(index), item);
        }
    }

    fn entry(&mut self, place: &Place<'_>, entry: &Value) {
        let Some(changes) = entry.get("changes").and_then(Value::as_array) else {
            let trouble = Trouble::unreadable("the entry has no changes");
            return self.park_item(place, None, &trouble, &About::default(), entry, None);
        };
        let inside = place.inside(entry, "changes");
        self.each(&inside, changes, None, |walk, place, change| walk.change(place, change, entry));
    }

    fn change(&mut self, place: &Place<'_>, change: &Value, entry: &Value) {
        let park = |walk: &mut Self, account: Option<&str>, trouble: &Trouble| {
            walk.park_item(place, account, trouble, &About::default(), change, None);
        };
        let Some(value) = change.get("value").filter(|value| value.is_object()) else {
            return park(self, None, &Trouble::unreadable("the change has no value"));
        };
        let Some(field) = meta::text(change, "field") else {
            return park(self, None, &Trouble::unreadable("the change has no field"));
        };
        let number = value.get("metadata").and_then(|metadata| meta::id(metadata, "phone_number_id"));
        if let Some(number) = &number
            && !self.routes.numbers.contains(number)
        {
            let why = "the phone number id is not configured".to_owned();
            return park(self, Some(number), &Trouble { reason: ParkReason::UnknownAccount, why });
        }
        let entry_time = meta::time(entry, "time");
        if fields::is_about_the_account(&field) {
            let account = number.clone();
            if let Err(trouble) = self.notice(&field, value, number, entry) {
                park(self, account.as_deref(), &trouble);
            }
            return;
        }
        let Some(account) = number else {
            let trouble = if fields::is_known(&field) {
                Trouble::unreadable("metadata.phone_number_id is missing")
            } else {
                Trouble::unknown("field", &field)
            };
            return park(self, None, &trouble);
        };
        let change_of_account = Change { account, value, contacts: Contacts::of(value), entry_time };
        let inside = place.inside(change, "value");
        let read = match field.as_str() {
            "messages" | "smb_message_echoes" => self.conversation(&inside, &change_of_account),
            "history" => self.history(&inside, &change_of_account),
            field => self.other_field(&inside, &change_of_account, field),
        };
        if let Err(trouble) = read {
            park(self, Some(&change_of_account.account), &trouble);
        }
    }

    /// Runs `read` on every item of the array `key` of `holder`; an array that is none is parked.
    /// True when the key is there at all.
    fn each_in<'v>(
        &mut self,
        above: &Place<'_>,
        holder: &'v Value,
        key: &'static str,
        account: &str,
        read: impl FnMut(&mut Self, &Place<'_>, &'v Value),
    ) -> bool {
        let Some(found) = meta::field(holder, key) else { return false };
        let place = above.inside(holder, key);
        if let Some(items) = found.as_array() {
            self.each(&place, items, Some(account), read);
        } else {
            let body = place.body(found.clone(), None);
            let trouble = Trouble::unreadable("not an array");
            self.park(&place, Some(account), &trouble, &About::default(), &body);
        }
        true
    }

    fn channel(&self, account: &str) -> ChannelAccount {
        ChannelAccount { kind: self.kind.clone(), account: account.to_owned() }
    }

    /// The time under `key`, or ours, marked as such (`whatsapp` §15.3).
    fn time(&self, given: Option<Timestamp>) -> (Timestamp, bool) {
        (given.unwrap_or(self.received_at), given.is_none())
    }

    /// An event of the account, with the provider's time if it gave one.
    fn event(
        &self,
        account: &str,
        customer: Option<Customer>,
        at: Option<Timestamp>,
        opens_window: Option<bool>,
        fact: Fact,
    ) -> InboundEvent {
        let (at, at_is_arrival) = self.time(at);
        InboundEvent {
            v: INBOUND_VERSION,
            channel: self.channel(account),
            customer,
            at,
            at_is_arrival,
            received_at: self.received_at,
            standby: false,
            opens_window,
            fact,
        }
    }

    /// Keeps an event; one that is too large for the bus is an error, so that it is parked in pieces.
    fn push(&mut self, event: InboundEvent) -> Result<(), Trouble> {
        if self.is_large && serde_json::to_vec(&event).is_ok_and(|bytes| bytes.len() > PAYLOAD_BYTES_MAX) {
            return Err(Trouble::unreadable("the item is too large for the bus"));
        }
        self.received.events.push(event);
        Ok(())
    }

    /// Parks one item of an array.
    fn park_item(
        &mut self,
        place: &Place<'_>,
        account: Option<&str>,
        trouble: &Trouble,
        about: &About,
        item: &Value,
        contact: Option<&Value>,
    ) {
        let body = place.body(Value::Array(vec![item.clone()]), contact);
        self.park(place, account, trouble, about, &body);
    }

    fn park_body(&mut self, root: &Value, trouble: &Trouble) {
        let top = Place { above: None, holder: root, key: "body", index: None };
        self.park(&top, None, trouble, &About::default(), root);
    }

    fn park(
        &mut self,
        place: &Place<'_>,
        account: Option<&str>,
        trouble: &Trouble,
        about: &About,
        body: &Value,
    ) {
        let error = format!("{}: {}", place.path(), trouble.why);
        let pieces = meta::raw_pieces(body);
        self.received.problems.extend(pieces.into_iter().map(|raw| Problem {
            v: INBOUND_VERSION,
            channel_kind: self.kind.as_str().to_owned(),
            account: account.map(str::to_owned),
            reason: trouble.reason,
            error: error.clone(),
            customer: about.customer.clone(),
            external_id: about.external_id.clone(),
            at: about.at,
            received_at: self.received_at,
            raw,
        }));
    }
}
