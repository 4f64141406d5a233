//! Questions of one subject: in memory, bounded, never of record.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Notify, oneshot};

use crate::bus::{BusError, Item, Lease, PAYLOAD_BYTES_MAX};

/// How many questions of a subject may wait for somebody to take them.
pub(super) const WAITING_MAX: usize = 1024;

/// The questions of one subject.
pub(super) struct Questions {
    pub(super) group: String,
    subject: String,
    waiting: Mutex<VecDeque<Question>>,
    /// Told when a question comes.
    pub(super) grown: Notify,
    asked: AtomicU64,
}

struct Question {
    item: Item,
    before: bool,
    answer: oneshot::Sender<Bytes>,
}

impl Questions {
    pub(super) fn new(subject: &str, group: &str) -> Self {
        Self {
            group: group.to_owned(),
            subject: subject.to_owned(),
            waiting: Mutex::new(VecDeque::new()),
            grown: Notify::new(),
            asked: AtomicU64::new(0),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Question>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn ask(&self, payload: Bytes, deadline: Duration) -> Result<Bytes, BusError> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(BusError::TooLarge(payload.len()));
        }
        let (answer, answered) = oneshot::channel();
        let id = format!("question-{}", self.asked.fetch_add(1, Ordering::Relaxed));
        let item = Item { id, key: String::new(), payload, trace: String::new() };
        {
            let mut waiting = self.waiting();
            if waiting.len() >= WAITING_MAX {
                // Those whose asker has given up only take room.
                waiting.retain(|question| !question.answer.is_closed());
            }
            if waiting.len() >= WAITING_MAX {
                return Err(BusError::Full(format!("{WAITING_MAX} questions wait on {}", self.subject)));
            }
            waiting.push_back(Question { item, before: false, answer });
        }
        self.grown.notify_one();
        match tokio::time::timeout(deadline, answered).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(BusError::Unavailable(format!(
                "whoever took the question on {} dropped it",
                self.subject
            ))),
            Err(_) => Err(BusError::Deadline),
        }
    }

    /// The questions that wait and whose asker still listens, oldest first.
    pub(super) fn take(self: &Arc<Self>, max: usize) -> Vec<Box<dyn Lease>> {
        let mut taken: Vec<Box<dyn Lease>> = Vec::new();
        let mut waiting = self.waiting();
        while taken.len() < max {
            let Some(question) = waiting.pop_front() else { break };
            if !question.answer.is_closed() {
                taken.push(Box::new(QuestionLease { questions: Arc::clone(self), question }));
            }
        }
        if !waiting.is_empty() {
            self.grown.notify_one();
        }
        taken
    }

    /// Lets every asker fail at once.
    pub(super) fn clear(&self) {
        self.waiting().clear();
    }
}

/// A question that somebody holds. Dropping it tells the asker that there will be no answer.
struct QuestionLease {
    questions: Arc<Questions>,
    question: Question,
}

#[async_trait]
impl Lease for QuestionLease {
    fn item(&self) -> &Item {
        &self.question.item
    }

    fn leased_before(&self) -> bool {
        self.question.before
    }

    async fn ack(self: Box<Self>) -> Result<(), BusError> {
        Ok(())
    }

    async fn nack(self: Box<Self>) -> Result<(), BusError> {
        let Self { questions, mut question } = *self;
        question.before = true;
        questions.waiting().push_front(question);
        questions.grown.notify_one();
        Ok(())
    }

    async fn reply(self: Box<Self>, payload: Bytes) -> Result<(), BusError> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(BusError::TooLarge(payload.len()));
        }
        // An asker that has given up is no error: an answer is best effort.
        let _ = self.question.answer.send(payload);
        Ok(())
    }
}
