//! The bus: durable topics between rooms, and questions that want an answer at once.
//!
//! What every backend promises is `reliability-contract` §9, clauses B1 to B16; the suite in
//! `contract/` runs them. The URL scheme chooses the backend. Payloads are bytes here; [`Wire`] is
//! the thin typed handle that the rooms use.

pub mod amqp;
#[cfg(test)]
pub(crate) mod contract;
pub mod embedded;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use loket_protocol::topics::{ORDERED, Subject, Topic};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock::Clock;

/// The largest payload, in bytes (B14).
pub const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;
/// How long a publish may take before it is an error (`reliability-contract` §12).
pub const PUBLISH_DEADLINE: Duration = Duration::from_secs(2);

/// One item on its way to a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The key that repeats share; the bus may deliver it twice, the consumer absorbs it.
    pub id: String,
    /// The key of order: items of one key reach a group one at a time, in order of publishing.
    pub key: String,
    /// The payload.
    pub payload: Bytes,
    /// Follows a message through every process, for logs.
    pub trace: String,
}

/// What the publisher noted on an item, by which a consumer can check the order (`reliability-contract`
/// §6). Within one epoch of one partition the numbers rise by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Changes with every connection, and after a publish that failed.
    pub epoch: String,
    /// Which part of the topic.
    pub partition: u16,
    /// From 1.
    pub number: u64,
}

/// How full a topic is for one group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Depth {
    /// Items that are not acknowledged, leased ones included.
    pub items: u64,
    /// Of these, how many are leased.
    pub leased: u64,
    /// Bytes of payload.
    pub bytes: u64,
    /// Age of the oldest in milliseconds; 0 when empty.
    pub oldest_age_ms: u64,
}

/// What can go wrong with the bus.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The topic or subject is not declared, or nobody answers there.
    #[error("nothing listens on {0:?}")]
    Unroutable(String),
    /// A limit is reached: publish again later.
    #[error("the bus is full: {0}")]
    Full(String),
    /// The payload is over [`PAYLOAD_BYTES_MAX`].
    #[error("a payload of {0} bytes is over the limit of {PAYLOAD_BYTES_MAX}")]
    TooLarge(usize),
    /// The deadline passed. Published items are there or not.
    #[error("the bus did not answer within its deadline")]
    Deadline,
    /// The backend is away or its disk refuses; the sentence says which.
    #[error("the bus is not available: {0}")]
    Unavailable(String),
    /// The bus cannot be opened as configured; the sentence says what to change.
    #[error("{0}")]
    Refused(String),
    /// An answer or an item is not what was agreed.
    #[error("the bus carried something unreadable: {0}")]
    Unreadable(String),
}

/// Durable topics with groups, and questions.
#[async_trait]
pub trait Bus: Send + Sync {
    /// Publishes all items. `Ok`: all are durable and routed (B1). `Err` or cancelled: each is there
    /// 0 or 1 times, and publishing again with the same id is allowed (B2). Ends within
    /// [`PUBLISH_DEADLINE`] (B3). Publishing no items is a probe: `Ok` when one could publish now.
    async fn publish(&self, topic: &str, items: &[Item]) -> Result<(), BusError>;

    /// Takes up to `max` items for a member of `group`, waiting until there is at least one. Per
    /// key and group at most one item is out (B6); a key does not wait for another (B7). Cancelling
    /// the wait loses nothing. On a subject it takes questions.
    async fn lease(&self, topic: &str, group: &str, max: usize) -> Result<Vec<Box<dyn Lease>>, BusError>;

    /// Asks a question and waits for the answer: best effort, never of record.
    async fn ask(&self, subject: &str, payload: Bytes, deadline: Duration) -> Result<Bytes, BusError>;

    /// How full a topic is for a group; right within a second, takes nothing (B13).
    async fn depth(&self, topic: &str, group: &str) -> Result<Depth, BusError>;

    /// The oldest items of a group, without taking them (B13).
    async fn peek(&self, topic: &str, group: &str, max: usize) -> Result<Vec<Item>, BusError>;

    /// Hands a topic's items out to `group` in the order in which their publishers numbered them, also
    /// after a failover that was not orderly: a missing one is waited for at most 2 s, unless `ledger` says
    /// that it is done (`reliability-contract` §6). To be called before the first lease. Nothing to do for a
    /// backend that keeps the order itself.
    fn keep_order(&self, topic: &str, group: &str, ledger: Arc<dyn Ledger>) {
        let _ = (topic, group, ledger);
    }

    /// Stops cleanly: what was promised is on disk, leases that are out go back.
    async fn close(&self);

    /// The directory of this machine that it writes to, so that its room can be watched; `None` for a
    /// backend on another machine.
    fn directory(&self) -> Option<&Path> {
        None
    }

    /// True when it was told to open although what it confirms may be forgotten
    /// (`durability=relaxed`): shown on every health page (`reliability-contract` §1).
    fn durability_is_relaxed(&self) -> bool {
        false
    }
}

/// An item that one member holds until it says what became of it. Dropping it gives it back (B4).
#[async_trait]
pub trait Lease: Send + Sync {
    /// The item.
    fn item(&self) -> &Item;
    /// It was leased before and not acknowledged, also before a crash of the process (B4).
    fn leased_before(&self) -> bool;
    /// What its publisher noted, where the backend itself does not keep the order.
    fn stamp(&self) -> Option<&Stamp> {
        None
    }
    /// Done: it is not leased again, but after a crash within a second of this (B5).
    async fn ack(self: Box<Self>) -> Result<(), BusError>;
    /// Not done: it is given back now and keeps its place (B9).
    async fn nack(self: Box<Self>) -> Result<(), BusError>;
    /// Answers a question; an error on an item of a topic.
    async fn reply(self: Box<Self>, payload: Bytes) -> Result<(), BusError>;
}

/// Where a consumer keeps which stamped items are done, together with what they did: the truth over all
/// processes.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// The numbers of an epoch in a partition that are done, first and last of each run; `None` when that
    /// cannot be told now, and it is asked again.
    async fn done(&self, epoch: &str, partition: u16) -> Option<Vec<(u64, u64)>>;
}

/// Opens the bus at `url` with these topics and subjects, each with a group that hears it. The
/// scheme chooses the backend. `embedded:DIR` is a directory of this machine, which is made if need
/// be. `embedded:DIR?durability=relaxed` allows a directory that does not keep what was confirmed,
/// such as one in memory: for trials only. `amqp:` and `amqps:` are RabbitMQ, see [`amqp::open`].
pub async fn open(
    url: &str,
    clock: Clock,
    topics: &[(&str, &str)],
    subjects: &[(&str, &str)],
) -> Result<Arc<dyn Bus>, BusError> {
    let place = match url.split_once(':') {
        Some(("embedded", place)) => place,
        Some(("amqp" | "amqps", _)) => {
            return amqp::open(url, amqp::Options::new(ORDERED), clock, topics, subjects).await;
        }
        other => {
            let scheme = other.map_or("", |(scheme, _)| scheme);
            return Err(BusError::Refused(format!(
                "bus.url has the scheme {scheme:?}; write embedded:DIR, or amqp://USER:PASSWORD@HOST/VHOST"
            )));
        }
    };
    let (dir, volatile_allowed) = match place.split_once('?') {
        None => (place, false),
        Some((dir, "durability=relaxed")) => (dir, true),
        Some((_, query)) => {
            return Err(BusError::Refused(format!(
                "bus.url ends in ?{query}, and the only thing that may stand there is ?durability=relaxed"
            )));
        }
    };
    if dir.is_empty() {
        return Err(BusError::Refused("bus.url names no directory; write embedded:DIR".to_owned()));
    }
    let options = embedded::Options { volatile_allowed, ..embedded::Options::default() };
    embedded::open(Path::new(dir), options, clock, topics, subjects).await
}

/// Acknowledges many leases; one that fails is leased again and absorbed.
pub async fn ack_all(leases: Vec<Box<dyn Lease>>) {
    for lease in leases {
        if let Err(error) = lease.ack().await {
            tracing::warn!(%error, "an acknowledgement failed; the item will be seen again and absorbed");
        }
    }
}

/// The typed handle over a bus: one value, JSON inside.
#[derive(Clone)]
pub struct Wire {
    bus: Arc<dyn Bus>,
}

impl Wire {
    /// A handle to `bus`.
    pub fn new(bus: Arc<dyn Bus>) -> Self {
        Self { bus }
    }

    /// The bytes-level bus underneath.
    pub fn bus(&self) -> &Arc<dyn Bus> {
        &self.bus
    }

    /// Makes an item of `value`.
    pub fn item<T: Serialize>(id: String, key: String, trace: String, value: &T) -> Result<Item, BusError> {
        let payload = serde_json::to_vec(value).map_err(|error| BusError::Unreadable(error.to_string()))?;
        Ok(Item { id, key, payload: payload.into(), trace })
    }

    /// Publishes items that were made by [`Self::item`] for this topic.
    pub async fn publish<T>(&self, topic: &Topic<T>, items: &[Item]) -> Result<(), BusError> {
        self.bus.publish(topic.name, items).await
    }

    /// Takes up to `max` items of a topic.
    pub async fn lease<T>(&self, topic: &Topic<T>, max: usize) -> Result<Vec<Box<dyn Lease>>, BusError> {
        self.bus.lease(topic.name, topic.group, max).await
    }

    /// Takes up to `max` questions of a subject.
    pub async fn questions<Q, A>(
        &self,
        subject: &Subject<Q, A>,
        max: usize,
    ) -> Result<Vec<Box<dyn Lease>>, BusError> {
        self.bus.lease(subject.name, subject.group, max).await
    }

    /// Asks a question.
    pub async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        subject: &Subject<Q, A>,
        question: &Q,
        deadline: Duration,
    ) -> Result<A, BusError> {
        let payload = serde_json::to_vec(question).map_err(|e| BusError::Unreadable(e.to_string()))?;
        let answer = self.bus.ask(subject.name, payload.into(), deadline).await?;
        serde_json::from_slice(&answer).map_err(|e| BusError::Unreadable(e.to_string()))
    }

    /// Answers a question.
    pub async fn reply<A: Serialize>(lease: Box<dyn Lease>, answer: &A) -> Result<(), BusError> {
        let payload = serde_json::to_vec(answer).map_err(|e| BusError::Unreadable(e.to_string()))?;
        lease.reply(payload.into()).await
    }

    /// What a lease carries.
    pub fn read<T: DeserializeOwned>(lease: &dyn Lease) -> Result<T, BusError> {
        serde_json::from_slice(&lease.item().payload).map_err(|e| BusError::Unreadable(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use loket_protocol::topics::{CLAIMS, PARKED, SUBJECTS, TOPICS};

    use super::*;

    #[tokio::test]
    async fn an_address_that_cannot_be_opened_is_refused_with_what_to_change() {
        for (url, sentence) in [
            ("amqp://guest:hunter2@host:many", "write amqp://USER:PASSWORD@HOST:PORT/VHOST"),
            ("kafka://guest:hunter2@host", "the scheme \"kafka\"; write embedded:DIR, or amqp:"),
            ("nonsense", "the scheme \"\"; write embedded:DIR"),
            ("", "the scheme \"\"; write embedded:DIR"),
            ("embedded:", "names no directory"),
            ("embedded:?durability=relaxed", "names no directory"),
            ("embedded:dir?fast=yes", "?durability=relaxed"),
        ] {
            let refused = open(url, Clock::system(), &[], &[]).await.map(|_| ()).unwrap_err();
            assert!(matches!(refused, BusError::Refused(_)), "{url}: {refused:?}");
            let said = refused.to_string();
            assert!(said.contains(sentence), "{url}: {said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
    }

    #[tokio::test]
    async fn the_typed_handle_carries_values_and_questions() {
        let home = tempfile::tempdir().unwrap();
        let url = format!("embedded:{}?durability=relaxed", home.path().display());
        let wire = Wire::new(open(&url, Clock::system(), TOPICS, SUBJECTS).await.unwrap());
        assert_eq!(wire.bus().directory(), Some(home.path()));
        assert!(wire.bus().durability_is_relaxed());
        let item = Wire::item("id".into(), "key".into(), "trace".into(), &["a", "value"]).unwrap();
        wire.publish(&PARKED, &[item]).await.unwrap();
        let lease = wire.lease(&PARKED, 1).await.unwrap().pop().unwrap();
        assert_eq!(Wire::read::<Vec<String>>(&*lease).unwrap(), ["a", "value"]);
        assert!(matches!(Wire::read::<u64>(&*lease), Err(BusError::Unreadable(_))));
        ack_all(vec![lease]).await;
        assert_eq!(wire.bus().depth(PARKED.name, PARKED.group).await.unwrap().items, 0);

        let clerk = async {
            let question = wire.questions(&CLAIMS, 1).await.unwrap().pop().unwrap();
            Wire::reply(question, &"not what was agreed").await.unwrap();
        };
        let message_id = Clock::system().id();
        let ask = loket_protocol::asks::ClaimAsk {
            dispatch: loket_protocol::outbound::Dispatch { message_id, part: 1, number: 1 },
            nonce: "nonce".to_owned(),
        };
        let (asked, ()) = tokio::join!(wire.ask(&CLAIMS, &ask, Duration::from_secs(10)), clerk);
        assert!(matches!(asked, Err(BusError::Unreadable(_))), "{asked:?}");
        wire.bus().close().await;
    }
}
