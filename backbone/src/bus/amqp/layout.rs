//! What stands on the broker: names, partitions, and every queue argument said in words of our own,
//! because the defaults differ between versions (`reliability-contract` §6).
//!
//! Arguments of a queue cannot be changed in place, so the names carry the version of this layout.
//! Whoever changes an argument or [`PARTITIONS`] takes the next version and drains the old one.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::join_all;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, ErrorKind, ExchangeKind};

use super::Options;
use crate::bus::BusError;

/// The version of this layout, part of every name but the dead letters'.
const VERSION: &str = "v1";
/// Into how many queues a topic is cut whose keys are kept in order.
pub(super) const PARTITIONS: u16 = 16;
/// Questions of one subject that may wait.
const QUESTIONS_MAX: i64 = 1024;
/// How long a question may wait at most, in milliseconds; its own deadline is shorter.
const QUESTION_TTL_MS: i32 = 60_000;
/// What the broker answers to a queue that is there with other arguments.
const PRECONDITION_FAILED: u16 = 406;
/// More deliveries than there will ever be: dead letters must not die again.
const NEVER: i32 = i32::MAX;

/// The names of everything.
pub(super) struct Layout {
    pub(super) topics: HashMap<String, Arc<TopicLayout>>,
    pub(super) subjects: HashMap<String, SubjectLayout>,
    /// Where the broker puts what it gave up on; exchange and queue have this name.
    pub(super) dead: ShortString,
    /// The exchange on which processes ask what the others hold.
    pub(super) census: ShortString,
    items_max: i64,
    bytes_max: i64,
    delivery_limit: i32,
}

/// A topic: an exchange, and for each group a queue a partition.
pub(super) struct TopicLayout {
    pub(super) name: String,
    pub(super) exchange: ShortString,
    pub(super) routing_keys: Vec<ShortString>,
    pub(super) groups: Vec<GroupLayout>,
    /// Items of a key are kept in order over all processes.
    is_ordered: bool,
}

/// A group of a topic.
pub(super) struct GroupLayout {
    pub(super) group: String,
    pub(super) queues: Vec<ShortString>,
}

/// A subject: one queue.
pub(super) struct SubjectLayout {
    pub(super) group: String,
    pub(super) queue: ShortString,
}

impl Layout {
    pub(super) fn new(
        prefix: &str,
        options: &Options,
        topics: &[(&str, &str)],
        subjects: &[(&str, &str)],
    ) -> Self {
        let mut by_topic: HashMap<String, TopicLayout> = HashMap::new();
        for (topic, group) in topics {
            let is_ordered = options.ordered.iter().any(|ordered| ordered == topic);
            let partitions = if is_ordered { options.partitions } else { 1 };
            let name = format!("{prefix}.{VERSION}.{topic}");
            let layout = by_topic.entry((*topic).to_owned()).or_insert_with(|| TopicLayout {
                name: (*topic).to_owned(),
                exchange: name.as_str().into(),
                routing_keys: (0..partitions).map(|number| format!("p.{number:02}").into()).collect(),
                groups: Vec::new(),
                is_ordered,
            });
            // The group that is declared first has the plain name.
            let name = if layout.groups.is_empty() { name } else { format!("{name}.{group}") };
            let queues = if is_ordered {
                (0..partitions).map(|number| format!("{name}.p{number:02}").into()).collect()
            } else {
                vec![name.into()]
            };
            layout.groups.push(GroupLayout { group: (*group).to_owned(), queues });
        }
        let subject = |(subject, group): &(&str, &str)| {
            let queue = format!("{prefix}.{VERSION}.ask.{subject}").into();
            ((*subject).to_owned(), SubjectLayout { group: (*group).to_owned(), queue })
        };
        Self {
            topics: by_topic.into_iter().map(|(topic, layout)| (topic, Arc::new(layout))).collect(),
            subjects: subjects.iter().map(subject).collect(),
            dead: format!("{prefix}.dead").into(),
            census: format!("{prefix}.{VERSION}.census").into(),
            items_max: i64::try_from(options.items_max).unwrap_or(i64::MAX),
            bytes_max: i64::try_from(options.bytes_max).unwrap_or(i64::MAX),
            delivery_limit: options.delivery_limit,
        }
    }

    /// Makes what is not there yet. Refused when something is there with other arguments.
    pub(super) async fn declare(&self, channel: &Channel) -> Result<(), BusError> {
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let mut exchanges =
            vec![(self.dead.clone(), ExchangeKind::Fanout), (self.census.clone(), ExchangeKind::Fanout)];
        exchanges.extend(self.topics.values().map(|topic| (topic.exchange.clone(), ExchangeKind::Direct)));
        let names: Vec<_> = exchanges.iter().map(|(name, _)| name.clone()).collect();
        let made = exchanges
            .into_iter()
            .map(|(name, kind)| channel.exchange_declare(name, kind, durable, FieldTable::default()));
        first_refusal("exchange", &names, join_all(made).await)?;

        let mut queues = Vec::new();
        for topic in self.topics.values() {
            for name in topic.groups.iter().flat_map(|group| &group.queues) {
                queues.push((name.clone(), self.topic_arguments(topic)));
            }
        }
        queues.extend(self.subjects.values().map(|subject| (subject.queue.clone(), subject_arguments())));
        queues.push((self.dead.clone(), self.dead_arguments()));
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let names: Vec<_> = queues.iter().map(|(name, _)| name.clone()).collect();
        let made = queues.into_iter().map(|(name, args)| channel.queue_declare(name, durable, args));
        first_refusal("queue", &names, join_all(made).await)?;

        let mut bindings = vec![(self.dead.clone(), self.dead.clone(), ShortString::default())];
        for topic in self.topics.values() {
            for group in &topic.groups {
                for (queue, key) in group.queues.iter().zip(&topic.routing_keys) {
                    bindings.push((queue.clone(), topic.exchange.clone(), key.clone()));
                }
            }
        }
        let names: Vec<_> = bindings.iter().map(|(queue, ..)| queue.clone()).collect();
        let made = bindings.into_iter().map(|(queue, exchange, key)| {
            channel.queue_bind(queue, exchange, key, QueueBindOptions::default(), FieldTable::default())
        });
        first_refusal("binding", &names, join_all(made).await)
    }

    fn topic_arguments(&self, topic: &TopicLayout) -> FieldTable {
        let mut arguments = self.quorum_arguments(topic.is_ordered, self.delivery_limit);
        arguments.insert("x-dead-letter-exchange".into(), AMQPValue::LongString(self.dead.as_str().into()));
        arguments.insert("x-dead-letter-strategy".into(), AMQPValue::LongString("at-least-once".into()));
        arguments
    }

    fn dead_arguments(&self) -> FieldTable {
        self.quorum_arguments(false, NEVER)
    }

    fn quorum_arguments(&self, single_active_consumer: bool, delivery_limit: i32) -> FieldTable {
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(single_active_consumer));
        arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
        arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(self.items_max));
        arguments.insert("x-max-length-bytes".into(), AMQPValue::LongLongInt(self.bytes_max));
        arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(delivery_limit));
        arguments
    }
}

/// Questions are never of record: a classic queue without persistence, whose oldest give way.
fn subject_arguments() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("classic".into()));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("drop-head".into()));
    arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(QUESTIONS_MAX));
    arguments.insert("x-message-ttl".into(), AMQPValue::LongInt(QUESTION_TTL_MS));
    arguments
}

/// The broker closes the channel at the first refusal, so the first error is the one that counts.
fn first_refusal<T>(
    what: &str,
    names: &[ShortString],
    answers: Vec<Result<T, lapin::Error>>,
) -> Result<(), BusError> {
    for (name, answer) in names.iter().zip(answers) {
        let Err(error) = answer else { continue };
        return Err(match error.kind() {
            ErrorKind::ProtocolError(refusal) if refusal.get_id() == PRECONDITION_FAILED => {
                BusError::Refused(format!(
                    "the broker has the {what} {name} with other arguments than this version needs. It \
                     says: {}. Let its consumers empty it, delete it, and start again; or give bus.url a \
                     prefix of its own (?prefix=NAME)",
                    refusal.get_message()
                ))
            }
            ErrorKind::ProtocolError(refusal) => BusError::Refused(format!(
                "the broker does not let us declare the {what} {name}. It says: {}. The user of bus.url \
                 needs the rights to configure, write and read names that begin with the prefix",
                refusal.get_message()
            )),
            _ => BusError::Unavailable(format!("declaring the {what} {name}: {error}")),
        });
    }
    Ok(())
}

impl TopicLayout {
    /// The partition of a key: the same in every process and every version, because two publishers
    /// that disagree would break the order of a key.
    pub(super) fn partition(&self, key: &str) -> u16 {
        let count = u64::try_from(self.routing_keys.len()).unwrap_or(1).max(1);
        u16::try_from(fnv1a(key.as_bytes()) % count).unwrap_or_default()
    }

    pub(super) fn routing_key(&self, partition: u16) -> ShortString {
        self.routing_keys.get(usize::from(partition)).cloned().unwrap_or_default()
    }
}

/// FNV-1a with 64 bits.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use loket_protocol::topics::{ORDERED, SUBJECTS, TOPICS};

    use super::*;

    fn layout() -> Layout {
        Layout::new("loket", &Options::new(ORDERED), TOPICS, SUBJECTS)
    }

    #[test]
    fn names_are_as_documented() {
        let layout = layout();
        let queues = |topic: &str| -> Vec<String> {
            layout.topics[topic].groups.iter().flat_map(|g| &g.queues).map(ToString::to_string).collect()
        };
        assert_eq!(queues("inbound").len(), usize::from(PARTITIONS));
        assert_eq!(queues("inbound")[7], "loket.v1.inbound.p07");
        assert_eq!(layout.topics["inbound"].routing_key(15).as_str(), "p.15");
        assert_eq!(queues("outbound"), ["loket.v1.outbound"]);
        assert_eq!(layout.subjects["claims"].queue.as_str(), "loket.v1.ask.claims");
        assert_eq!(layout.dead.as_str(), "loket.dead");

        let two = Layout::new("x", &Options::new(&[]), &[("wide", "left"), ("wide", "right")], &[]);
        let names: Vec<_> = two.topics["wide"].groups.iter().map(|g| g.queues[0].to_string()).collect();
        assert_eq!(names, ["x.v1.wide", "x.v1.wide.right"]);
    }

    /// Whoever changes this line changes the layout's version.
    #[test]
    fn a_key_has_its_partition_for_ever() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
        let layout = layout();
        let inbound = &layout.topics["inbound"];
        let of: Vec<_> = ["", "whatsapp:1:2", "whatsapp:1:3"].map(|key| inbound.partition(key)).into();
        assert_eq!(of, [5, inbound.partition("whatsapp:1:2"), inbound.partition("whatsapp:1:3")]);
        let mut hit = [0u32; PARTITIONS as usize];
        for number in 0..16_000 {
            hit[usize::from(inbound.partition(&format!("whatsapp:1015:{number}")))] += 1;
        }
        assert!(hit.iter().all(|count| (800..1200).contains(count)), "uneven: {hit:?}");
        assert_eq!(layout.topics["outbound"].partition("whatsapp:1:2"), 0);
    }

    #[test]
    fn every_argument_is_said() {
        let layout = layout();
        let arguments = layout.topic_arguments(&layout.topics["inbound"]);
        let said: HashMap<String, AMQPValue> =
            arguments.inner().iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
        let expected = HashMap::from([
            ("x-queue-type".to_owned(), AMQPValue::LongString("quorum".into())),
            ("x-single-active-consumer".to_owned(), AMQPValue::Boolean(true)),
            ("x-overflow".to_owned(), AMQPValue::LongString("reject-publish".into())),
            ("x-max-length".to_owned(), AMQPValue::LongLongInt(1_000_000)),
            ("x-max-length-bytes".to_owned(), AMQPValue::LongLongInt(2 << 30)),
            ("x-delivery-limit".to_owned(), AMQPValue::LongInt(1000)),
            ("x-dead-letter-exchange".to_owned(), AMQPValue::LongString("loket.dead".into())),
            ("x-dead-letter-strategy".to_owned(), AMQPValue::LongString("at-least-once".into())),
        ]);
        assert_eq!(said, expected);
        let outbound = layout.topic_arguments(&layout.topics["outbound"]);
        assert_eq!(outbound.inner()["x-single-active-consumer"], AMQPValue::Boolean(false));
    }
}
