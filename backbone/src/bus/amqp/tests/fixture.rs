//! A corner of the broker of the test run, and what is looked at there from outside.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lapin::options::{ExchangeDeleteOptions, QueueDeleteOptions};
use lapin::{Channel, Connection, ConnectionProperties};
use loket_protocol::topics;

use crate::bus::amqp::address::Address;
use crate::bus::amqp::layout::Layout;
use crate::bus::amqp::{Options, open};
use crate::bus::contract::{Fixture, Limits, SUBJECTS, TOPICS};
use crate::bus::{Bus, BusError};
use crate::clock::Clock;
use crate::{random, trial};

pub(super) const VARIABLE: &str = "LOKET_TEST_AMQP";

/// Names of one test on the broker of the test run; they are deleted at its end.
pub(super) struct Broker {
    pub(super) url: String,
    is_owner: bool,
    delivery_limit: i32,
    is_product: bool,
}

impl Broker {
    /// A corner of the broker at `url`.
    pub(super) fn on(url: &str) -> Self {
        let url = format!("{url}?prefix=trial-{}", random::hex::<6>());
        Self { url, is_owner: true, delivery_limit: Options::new(&[]).delivery_limit, is_product: false }
    }

    /// A corner of a broker that ends with the test.
    pub(super) fn at_mercy(url: &str) -> Self {
        let mut corner = Self::on(url);
        corner.is_owner = false;
        corner
    }

    /// The broker gives up on an item after so many deliveries.
    pub(super) fn with_delivery_limit(mut self, limit: i32) -> Self {
        self.delivery_limit = limit;
        self
    }

    /// Its names are those of the topics that the product has.
    pub(super) fn with_product_layout(mut self) -> Self {
        self.is_product = true;
        self
    }

    pub(super) fn options() -> Options {
        Options { partitions: 3, ..Options::new(&["line"]) }
    }

    pub(super) async fn open_as(&self, options: Options) -> Result<Arc<dyn Bus>, BusError> {
        open(&self.url, options, Clock::system(), TOPICS, SUBJECTS).await
    }

    pub(super) fn layout(&self) -> Layout {
        let prefix = Address::read(&self.url).unwrap().prefix;
        if self.is_product {
            return Layout::new(&prefix, &Options::new(topics::ORDERED), topics::TOPICS, topics::SUBJECTS);
        }
        Layout::new(&prefix, &Self::options(), TOPICS, SUBJECTS)
    }

    /// A client beside the bus.
    pub(super) async fn outsider(&self) -> (Connection, Channel) {
        let uri = Address::read(&self.url).unwrap().uri;
        let connection = Connection::connect_uri(uri, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        (connection, channel)
    }

    async fn clean(&self) {
        let (_connection, channel) = self.outsider().await;
        let layout = self.layout();
        let mut exchanges = vec![layout.dead.clone(), layout.census.clone()];
        let mut queues = vec![layout.dead.clone()];
        for topic in layout.topics.values() {
            exchanges.push(topic.exchange.clone());
            queues.extend(topic.groups.iter().flat_map(|group| group.queues.iter().cloned()));
        }
        queues.extend(layout.subjects.values().map(|subject| subject.queue.clone()));
        for exchange in exchanges {
            channel.exchange_delete(exchange, ExchangeDeleteOptions::default()).await.unwrap();
        }
        for queue in queues {
            channel.queue_delete(queue, QueueDeleteOptions::default()).await.unwrap();
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if self.is_owner && !std::thread::panicking() {
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    // A broker that was killed on purpose takes its names with it.
                    let clean = async { tokio::time::timeout(Duration::from_secs(10), self.clean()).await };
                    let _ = runtime.block_on(clean);
                });
            });
        }
    }
}

#[async_trait]
impl Fixture for Broker {
    const CHILD: &'static str = "loket_backbone::bus::amqp::tests::child";
    const WEIGHS_AT_REST: bool = false;

    fn is_here() -> bool {
        trial::service(VARIABLE).is_some()
    }

    async fn new() -> Self {
        Self::on(&trial::service(VARIABLE).unwrap())
    }

    fn place(&self) -> String {
        format!("{} {}", self.url, self.delivery_limit)
    }

    fn at(place: &str) -> Self {
        let (url, limit) = place.split_once(' ').unwrap();
        let delivery_limit = limit.parse().unwrap();
        Self { url: url.to_owned(), is_owner: false, delivery_limit, is_product: false }
    }

    async fn open_with(&self, limits: Limits) -> Result<Arc<dyn Bus>, BusError> {
        let mut options = Options { delivery_limit: self.delivery_limit, ..Self::options() };
        options.items_max = limits.items_max.unwrap_or(options.items_max);
        options.bytes_max = limits.bytes_max.unwrap_or(options.bytes_max);
        self.open_as(options).await
    }
}
