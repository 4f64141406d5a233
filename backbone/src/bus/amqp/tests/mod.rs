//! The contract on RabbitMQ, and what is the broker's own: a queue that is missing (M4), overflow
//! (M5), an alarm (M6), poison with prefetch (M7), orderly ends (M9), kills and silence.

mod broker;
mod fixture;
mod gate;
mod held;
mod lane;
mod order;
mod own;
mod silent;

use self::fixture::Broker;
use crate::bus::contract::bus_contract;

bus_contract!(Broker);
