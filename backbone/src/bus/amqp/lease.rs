//! What a consumer holds: an item of a topic, or a question.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::asks::Answer;
use super::lane::{Lane, Taken};
use super::publisher::Publisher;
use crate::bus::{BusError, Item, Lease, PAYLOAD_BYTES_MAX, Stamp};
use crate::failpoint;

/// An item of a topic. Dropping it gives it back.
pub(super) struct ItemLease {
    lane: Arc<Lane>,
    taken: Taken,
    is_settled: bool,
}

impl ItemLease {
    pub(super) fn new(lane: &Arc<Lane>, taken: Taken) -> Self {
        Self { lane: Arc::clone(lane), taken, is_settled: false }
    }
}

impl Drop for ItemLease {
    fn drop(&mut self) {
        if !self.is_settled {
            self.lane.give_back(self.taken.number);
        }
    }
}

#[async_trait]
impl Lease for ItemLease {
    fn item(&self) -> &Item {
        &self.taken.item
    }

    fn leased_before(&self) -> bool {
        self.taken.before
    }

    fn stamp(&self) -> Option<&Stamp> {
        self.taken.stamp.as_ref()
    }

    async fn ack(mut self: Box<Self>) -> Result<(), BusError> {
        failpoint!("bus.amqp.ack.before", BusError::Unavailable("on purpose".to_owned()));
        self.is_settled = true;
        let settled = self.lane.settle(self.taken.number);
        failpoint!("bus.amqp.ack.after");
        settled
    }

    async fn nack(self: Box<Self>) -> Result<(), BusError> {
        Ok(())
    }

    async fn reply(self: Box<Self>, _: Bytes) -> Result<(), BusError> {
        Err(BusError::Refused(format!("an item of the topic {:?} takes no answer", self.lane.name)))
    }
}

/// A question. Dropping it tells the asker that there will be no answer.
pub(super) struct QuestionLease {
    lane: Arc<Lane>,
    taken: Taken,
    publisher: Arc<Publisher>,
    is_settled: bool,
}

impl QuestionLease {
    pub(super) fn new(lane: &Arc<Lane>, taken: Taken, publisher: &Arc<Publisher>) -> Self {
        Self { lane: Arc::clone(lane), taken, publisher: Arc::clone(publisher), is_settled: false }
    }

    /// Sends an answer, or that there will be none, and is done.
    fn answer(&mut self, payload: Option<Bytes>) -> Result<(), BusError> {
        self.is_settled = true;
        // Settling fails only when the connection is lost, and then the question comes again.
        let _ = self.lane.settle(self.taken.number);
        match self.taken.reply_to.take() {
            Some(reply_to) => self.publisher.outlet_now()?.asks.answer(Answer { reply_to, payload }),
            None => Ok(()),
        }
    }
}

impl Drop for QuestionLease {
    fn drop(&mut self) {
        if !self.is_settled {
            // The asker has a deadline of its own when it cannot be told.
            let _ = self.answer(None);
        }
    }
}

#[async_trait]
impl Lease for QuestionLease {
    fn item(&self) -> &Item {
        &self.taken.item
    }

    fn leased_before(&self) -> bool {
        self.taken.before
    }

    async fn ack(self: Box<Self>) -> Result<(), BusError> {
        Ok(())
    }

    async fn nack(mut self: Box<Self>) -> Result<(), BusError> {
        self.is_settled = true;
        self.lane.give_back(self.taken.number);
        Ok(())
    }

    async fn reply(mut self: Box<Self>, payload: Bytes) -> Result<(), BusError> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(BusError::TooLarge(payload.len()));
        }
        self.answer(Some(payload))
    }
}
