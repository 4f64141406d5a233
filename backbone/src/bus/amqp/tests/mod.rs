//! The contract on RabbitMQ, and what is the broker's own: M4 to M7, M9, and kills.

mod fixture;

use self::fixture::Broker;
use crate::bus::contract::bus_contract;

bus_contract!(Broker);
