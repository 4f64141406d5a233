//! Questions and answers: best effort, on the publishing connection. An answer comes back by the
//! broker's direct reply-to, which costs no queue. Nothing here survives the connection.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use lapin::options::{BasicConsumeOptions, BasicPublishOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Consumer};
use tokio::sync::mpsc;

use super::layout::SubjectLayout;
use super::link::{Link, lost};
use super::message;
use crate::bus::BusError;

/// The broker's name for the way back.
const REPLY_TO: &str = "amq.rabbitmq.reply-to";
/// Questions of this process that may wait for an answer.
const PENDING_MAX: usize = 4096;
/// Answers that may wait to be sent.
const ANSWERS_MAX: usize = 1024;

/// The questions of this process, and the answers that it gives.
pub(super) struct Asks {
    channel: Channel,
    pending: Mutex<HashMap<String, mpsc::Sender<Option<Bytes>>>>,
    asked: AtomicU64,
    answers: mpsc::Sender<Answer>,
    /// Taken by the task that reads them.
    inbox: Mutex<Option<(Consumer, mpsc::Receiver<Answer>)>>,
}

/// An answer on its way; `None`: there will be none.
pub(super) struct Answer {
    pub(super) reply_to: (ShortString, ShortString),
    pub(super) payload: Option<Bytes>,
}

impl Asks {
    pub(super) async fn open(link: &Link) -> Result<Self, BusError> {
        let channel = link.channel().await?;
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let consumer =
            channel.basic_consume(REPLY_TO.into(), ShortString::default(), options, FieldTable::default());
        let consumer = consumer.await.map_err(|error| lost(&error))?;
        let (answers, waiting) = mpsc::channel(ANSWERS_MAX);
        let inbox = Mutex::new(Some((consumer, waiting)));
        Ok(Self { channel, pending: Mutex::default(), asked: AtomicU64::new(0), answers, inbox })
    }

    fn pending(&self) -> MutexGuard<'_, HashMap<String, mpsc::Sender<Option<Bytes>>>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks, and waits for the answer.
    pub(super) async fn ask(
        &self,
        subject: &SubjectLayout,
        payload: &[u8],
        deadline: Duration,
    ) -> Result<Bytes, BusError> {
        let (answer, mut answered) = mpsc::channel(1);
        let asked = async {
            let _forget =
                self.send(ShortString::default(), subject.queue.clone(), payload, deadline, answer).await?;
            let lost = || BusError::Unavailable("the connection to the broker is lost".to_owned());
            let dropped = || BusError::Unavailable("whoever took the question dropped it".to_owned());
            answered.recv().await.ok_or_else(lost)?.ok_or_else(dropped)
        };
        tokio::time::timeout(deadline, asked).await.unwrap_or(Err(BusError::Deadline))
    }

    /// Asks everybody who hears an exchange; what came until there were `enough` answers, or until
    /// the deadline.
    pub(super) async fn ask_all(
        &self,
        exchange: ShortString,
        payload: &[u8],
        enough: usize,
        deadline: Duration,
    ) -> Result<Vec<Bytes>, BusError> {
        let (answer, mut answered) = mpsc::channel(ANSWERS_MAX);
        let mut answers = Vec::new();
        let asked = async {
            let _forget = self.send(exchange, ShortString::default(), payload, deadline, answer).await?;
            while answers.len() < enough {
                let Some(answer) = answered.recv().await else { break };
                answers.extend(answer);
            }
            Ok::<_, BusError>(())
        };
        match tokio::time::timeout(deadline, asked).await {
            Ok(Err(error)) => Err(error),
            Ok(Ok(())) | Err(_) => Ok(answers),
        }
    }

    /// Sends a question. Its answers come until the guard is dropped.
    async fn send(
        &self,
        exchange: ShortString,
        routing_key: ShortString,
        payload: &[u8],
        deadline: Duration,
        answer: mpsc::Sender<Option<Bytes>>,
    ) -> Result<Forget<'_>, BusError> {
        let number = self.asked.fetch_add(1, Ordering::Relaxed).to_string();
        {
            let mut pending = self.pending();
            if pending.len() >= PENDING_MAX {
                return Err(BusError::Full(format!("{PENDING_MAX} questions wait for an answer")));
            }
            pending.insert(number.clone(), answer);
        }
        let properties = message::of_question(REPLY_TO, &number, deadline);
        let forget = Forget { asks: self, number };
        let options = BasicPublishOptions::default();
        let sent = self.channel.basic_publish(exchange, routing_key, options, payload, properties).await;
        drop(sent.map_err(|error| lost(&error))?);
        Ok(forget)
    }

    /// Sends an answer soon. One that finds no room is not sent: its asker has a deadline.
    pub(super) fn answer(&self, answer: Answer) -> Result<(), BusError> {
        let full = |_| BusError::Full(format!("{ANSWERS_MAX} answers wait to be sent"));
        self.answers.try_send(answer).map_err(full)
    }

    /// Reads and sends answers until the channel is lost; says why. The second call ends at once.
    pub(super) async fn run(&self) -> String {
        let inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((mut consumer, mut waiting)) = inbox else { return "it is read already".to_owned() };
        loop {
            tokio::select! {
                came = consumer.next() => {
                    let delivery = match came {
                        Some(Ok(delivery)) => delivery,
                        Some(Err(error)) => return error.to_string(),
                        None => return "the answers' consumer is gone".to_owned(),
                    };
                    let number = delivery.properties.correlation_id().as_ref().map(ToString::to_string);
                    let asker = number.and_then(|number| self.pending().get(&number).cloned());
                    if let Some(asker) = asker {
                        let is_dropped = message::is_dropped(&delivery);
                        // An asker that has given up is no error.
                        let _ = asker.try_send((!is_dropped).then(|| delivery.data.into()));
                    }
                }
                Some(answer) = waiting.recv() => {
                    let Answer { reply_to: (queue, number), payload } = answer;
                    let properties = message::of_answer(number, payload.is_none());
                    let payload = payload.unwrap_or_default();
                    let options = BasicPublishOptions::default();
                    let sent =
                        self.channel.basic_publish(ShortString::default(), queue, options, &payload, properties);
                    match sent.await {
                        Ok(unconfirmed) => drop(unconfirmed),
                        Err(error) => return error.to_string(),
                    }
                }
            }
        }
    }

    /// Lets every asker fail at once.
    pub(super) fn clear(&self) {
        self.pending().clear();
    }
}

/// Forgets a question whose asker no longer waits.
struct Forget<'a> {
    asks: &'a Asks,
    number: String,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.asks.pending().remove(&self.number);
    }
}
