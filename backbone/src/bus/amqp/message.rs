//! An item as an AMQP message. All of it but the payload is in headers, which anybody can read and
//! which, unlike AMQP's own properties, may be longer than 255 bytes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use super::lane::Delivered;
use crate::bus::{Item, Stamp};

const ID: &str = "loket-id";
const KEY: &str = "loket-key";
const TRACE: &str = "loket-trace";
/// When it was published: milliseconds since 1970.
const AT: &str = "loket-at";
const EPOCH: &str = "loket-epoch";
const NUMBER: &str = "loket-number";
/// The broker's count of deliveries that were not acknowledged.
const DELIVERY_COUNT: &str = "x-delivery-count";
/// On an answer: there is none, whoever took the question dropped it.
const DROPPED: &str = "loket-dropped";
/// Where the broker notes from which exchange a dead letter came first.
const FIRST_DEATH: &str = "x-first-death-exchange";
/// Kept over a restart of the broker.
const PERSISTENT: u8 = 2;

/// The properties of an item.
pub(super) fn of_item(item: &Item, at_ms: i64, stamp: &Stamp) -> BasicProperties {
    let mut headers = FieldTable::default();
    headers.insert(ID.into(), text(&item.id));
    headers.insert(KEY.into(), text(&item.key));
    headers.insert(TRACE.into(), text(&item.trace));
    headers.insert(AT.into(), AMQPValue::LongLongInt(at_ms));
    headers.insert(EPOCH.into(), text(&stamp.epoch));
    headers.insert(NUMBER.into(), AMQPValue::LongLongInt(i64::try_from(stamp.number).unwrap_or(i64::MAX)));
    BasicProperties::default().with_delivery_mode(PERSISTENT).with_headers(headers)
}

/// The properties of a question.
pub(super) fn of_question(reply_to: &str, number: &str, deadline: Duration) -> BasicProperties {
    BasicProperties::default()
        .with_reply_to(reply_to.into())
        .with_correlation_id(number.into())
        .with_expiration(deadline.as_millis().max(1).to_string().into())
}

/// The properties of an answer; `dropped`: there is none.
pub(super) fn of_answer(number: ShortString, dropped: bool) -> BasicProperties {
    let properties = BasicProperties::default().with_correlation_id(number);
    if !dropped {
        return properties;
    }
    let mut headers = FieldTable::default();
    headers.insert(DROPPED.into(), AMQPValue::Boolean(true));
    properties.with_headers(headers)
}

/// Whether an answer says that there is none.
pub(super) fn is_dropped(answer: &Delivery) -> bool {
    header(answer, DROPPED).is_some()
}

/// What the broker delivered from one queue of a lane.
pub(super) fn read_item(partition: u16, delivery: Delivery, received: Instant) -> Delivered {
    let texts = [ID, KEY, TRACE].map(|name| header(&delivery, name).map(read).unwrap_or_default());
    let [id, key, trace] = texts;
    let stamp = match (header(&delivery, EPOCH), number(&delivery, NUMBER)) {
        (Some(epoch), Some(number)) => {
            Some(Stamp { epoch: read(epoch), partition, number: u64::try_from(number).unwrap_or(0) })
        }
        _ => None,
    };
    let expiration = delivery.properties.expiration().as_ref().and_then(|ms| ms.as_str().parse().ok());
    let reply_to = delivery.properties.reply_to().clone();
    let answer_number = delivery.properties.correlation_id().clone();
    Delivered {
        partition,
        tag: delivery.delivery_tag,
        before: delivery.redelivered || number(&delivery, DELIVERY_COUNT).is_some_and(|count| count > 0),
        stamp,
        at_ms: number(&delivery, AT).unwrap_or(0),
        received,
        expires: expiration.and_then(|ms| received.checked_add(Duration::from_millis(ms))),
        reply_to: reply_to.zip(answer_number),
        origin: header(&delivery, FIRST_DEATH).map(|exchange| read(exchange).into()),
        item: Arc::new(Item { id, key, trace, payload: delivery.data.into() }),
    }
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

fn header<'a>(delivery: &'a Delivery, name: &str) -> Option<&'a AMQPValue> {
    delivery.properties.headers().as_ref()?.inner().get(name)
}

fn number(delivery: &Delivery, name: &str) -> Option<i64> {
    match header(delivery, name)? {
        AMQPValue::LongLongInt(number) => Some(*number),
        AMQPValue::LongInt(number) => Some(i64::from(*number)),
        AMQPValue::LongUInt(number) => Some(i64::from(*number)),
        AMQPValue::ShortInt(number) => Some(i64::from(*number)),
        AMQPValue::ShortUInt(number) => Some(i64::from(*number)),
        AMQPValue::ShortShortInt(number) => Some(i64::from(*number)),
        AMQPValue::ShortShortUInt(number) => Some(i64::from(*number)),
        _ => None,
    }
}

fn read(value: &AMQPValue) -> String {
    match value {
        AMQPValue::LongString(text) => text.to_string(),
        AMQPValue::ShortString(text) => text.to_string(),
        _ => String::new(),
    }
}
