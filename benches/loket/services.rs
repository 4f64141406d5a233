//! RabbitMQ, PostgreSQL and Redis as the tests have them (`tests/services`), with names of one's own.

use lapin::options::{ExchangeDeleteOptions, QueueDeleteOptions};
use lapin::{Connection, ConnectionProperties};
use loket_backbone::random;
use loket_protocol::topics::{ORDERED, SUBJECTS, TOPICS};

use crate::postgres::Database;

/// Partitions of an ordered topic (`reliability-contract` §6).
const PARTITIONS: u16 = 16;

/// The three addresses.
pub(crate) struct Services {
    broker: String,
    kv: String,
    prefix: String,
}

impl Services {
    /// Those that the environment names; otherwise the line of the report says why it is missing.
    pub(crate) fn named(line: &str) -> Option<Self> {
        let address = |name| std::env::var(name).ok().filter(|url| !url.is_empty());
        let found = address("LOKET_TEST_AMQP").zip(address("LOKET_TEST_REDIS"));
        let Some((broker, kv)) = found.filter(|_| address("LOKET_TEST_POSTGRES").is_some()) else {
            println!(
                "{line:<4} not measured: eval \"$(tests/services env DIR)\" names the services it needs"
            );
            return None;
        };
        Some(Self { broker, kv, prefix: format!("bench-{}", random::hex::<6>()) })
    }

    /// The broker itself.
    pub(crate) fn broker(&self) -> &str {
        &self.broker
    }

    /// `bus.url`, with names of its own.
    pub(crate) fn amqp(&self) -> String {
        format!("{}?prefix={}", self.broker, self.prefix)
    }

    /// `kv.url`, with names of its own.
    pub(crate) fn redis(&self) -> String {
        format!("{}?prefix={}", self.kv, self.prefix)
    }

    /// An empty database.
    pub(crate) async fn database(&self) -> Database {
        Database::fresh(&self.prefix.replace('-', "_")).await.expect("the environment names a server")
    }

    /// Deletes what was made on the broker, so that it does not weigh on the next run.
    pub(crate) async fn forget_queues(&self) {
        let options = ConnectionProperties::default();
        let connection = Connection::connect(&self.broker, options).await.expect("a broker");
        let channel = connection.create_channel().await.expect("a channel");
        let prefix = &self.prefix;
        let mut queues = vec![format!("{prefix}.dead")];
        let mut exchanges = vec![format!("{prefix}.dead"), format!("{prefix}.v1.census")];
        for (topic, _) in TOPICS {
            exchanges.push(format!("{prefix}.v1.{topic}"));
            if ORDERED.contains(topic) {
                queues.extend((0..PARTITIONS).map(|number| format!("{prefix}.v1.{topic}.p{number:02}")));
            } else {
                queues.push(format!("{prefix}.v1.{topic}"));
            }
        }
        queues.extend(SUBJECTS.iter().map(|(subject, _)| format!("{prefix}.v1.ask.{subject}")));
        for queue in queues {
            channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.expect("it is deleted");
        }
        for exchange in exchanges {
            let deleted = channel.exchange_delete(exchange.into(), ExchangeDeleteOptions::default()).await;
            deleted.expect("it is deleted");
        }
    }
}
