//! What one callback becomes on the bus.

use bytes::Bytes;
use loket_backbone::bus::{BusError, Item, PAYLOAD_BYTES_MAX, Wire};
use loket_protocol::contact::Customer;
use loket_protocol::ids::CallbackId;
use loket_protocol::inbound::{Fact, INBOUND_VERSION, InboundEvent};
use loket_protocol::problem::{ParkReason, Problem, RawCallback, RawPiece};

use super::ITEMS_MAX;
use crate::channel::{Callback, Received};

/// The longest error text of a problem that had to be made smaller.
const ERROR_CHARS_MAX: usize = 1000;
/// The most bytes of a customer's addresses in such a problem.
const CUSTOMER_BYTES_MAX: usize = 16 * 1024;

/// The items of one callback, topic by topic.
pub(crate) struct Batch {
    /// For the topic `inbound`.
    pub(crate) inbound: Vec<Item>,
    /// For the topic `parked`.
    pub(crate) parked: Vec<Item>,
    /// For the topic `callbacks`: the body itself.
    pub(crate) raw: Vec<Item>,
    /// How many events it holds.
    pub(crate) events: u64,
    /// How many problems it holds, the pieces of one counted one by one.
    pub(crate) problems: u64,
}

impl Batch {
    /// The items for what was received. Total: what does not fit becomes a problem that does.
    pub(crate) fn of(
        kind: &'static str,
        id: CallbackId,
        callback: &Callback,
        received: Received,
    ) -> Result<Self, BusError> {
        let Received { events, mut problems } = received;
        let trace = id.to_string();
        let mut inbound = Vec::with_capacity(events.len());
        // A channel that stops at the limit parks the rest in one more problem, perhaps in pieces.
        let wholes = problems.iter().filter(|problem| problem.raw.number == 0).count();
        if events.len() + wholes > ITEMS_MAX + 1 {
            let why = format!("the body holds more than {ITEMS_MAX} items; it is kept whole");
            problems = whole(kind, &why, callback);
        } else {
            for event in &events {
                let item = Wire::item(event.key(), event.lane(), trace.clone(), event)?;
                if item.payload.len() <= PAYLOAD_BYTES_MAX {
                    inbound.push(item);
                } else {
                    problems.extend(oversized(kind, event, callback));
                }
            }
        }
        let parked =
            problems.iter().map(|problem| parked_item(problem, &trace)).collect::<Result<Vec<_>, _>>()?;
        let raw = raw_items(kind, id, callback, inbound.len() + parked.len())?;
        let (events, problems) = (count(&inbound), count(&parked));
        Ok(Self { inbound, parked, raw, events, problems })
    }
}

fn count(items: &[Item]) -> u64 {
    u64::try_from(items.len()).unwrap_or(u64::MAX)
}

/// The whole body as a problem, in as many pieces as it takes.
pub(crate) fn whole(kind: &str, why: &str, callback: &Callback) -> Vec<Problem> {
    problems_of(&callback.body, |raw| Problem {
        v: INBOUND_VERSION,
        channel_kind: kind.to_owned(),
        account: None,
        reason: ParkReason::Unreadable,
        error: why.to_owned(),
        customer: None,
        external_id: None,
        at: None,
        received_at: callback.received_at,
        raw,
    })
}

fn problems_of(bytes: &Bytes, problem: impl Fn(RawPiece) -> Problem) -> Vec<Problem> {
    RawPiece::cut(bytes).into_iter().map(problem).collect()
}

/// An event that is too large for the bus. Its raw form is the whole body: reading that again gives
/// the event itself, and its neighbours are absorbed by their keys.
fn oversized(kind: &str, event: &InboundEvent, callback: &Callback) -> Vec<Problem> {
    let external_id = match &event.fact {
        Fact::Message(message) | Fact::Echo(message) => message.external_id.clone(),
        _ => None,
    };
    problems_of(&callback.body, |raw| Problem {
        v: INBOUND_VERSION,
        channel_kind: kind.to_owned(),
        account: Some(event.channel.account.clone()),
        reason: ParkReason::Unreadable,
        error: format!("the {} is too large for the bus", event.fact.kind()),
        customer: event.customer.clone(),
        external_id: external_id.clone(),
        at: Some(event.at),
        received_at: event.received_at,
        raw,
    })
}

fn parked_item(problem: &Problem, trace: &str) -> Result<Item, BusError> {
    let make = |problem: &Problem| {
        let id = match problem.raw.of {
            1 => problem.key(),
            _ => format!("{}|{}", problem.key(), problem.raw.number),
        };
        Wire::item(id, problem.lane(), trace.to_owned(), problem)
    };
    let item = make(problem)?;
    if item.payload.len() <= PAYLOAD_BYTES_MAX {
        return Ok(item);
    }
    make(&slimmed(problem))
}

/// The problem without what may have made it too large; the raw piece is what matters.
fn slimmed(problem: &Problem) -> Problem {
    let handles = problem.customer.as_ref().map(|customer| customer.handles.clone()).unwrap_or_default();
    let bytes: usize = handles.iter().map(|handle| handle.value.len()).sum();
    let fits = bytes <= CUSTOMER_BYTES_MAX;
    Problem {
        error: problem.error.chars().take(ERROR_CHARS_MAX).collect(),
        customer: fits.then_some(Customer { handles, name: None, name_is_ours: false }),
        ..problem.clone()
    }
}

fn raw_items(kind: &str, id: CallbackId, callback: &Callback, items: usize) -> Result<Vec<Item>, BusError> {
    let items = u32::try_from(items).unwrap_or(u32::MAX);
    let pieces = RawPiece::cut(&callback.body).into_iter().map(|raw| {
        let number = raw.number;
        let received_at = callback.received_at;
        let whole = RawCallback { id, channel_kind: kind.to_owned(), received_at, items, raw };
        Wire::item(format!("{id}|{number}"), id.to_string(), id.to_string(), &whole)
    });
    pieces.collect()
}
