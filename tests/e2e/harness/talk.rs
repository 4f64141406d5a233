//! Traffic for trials with crashes: customers who write and an agent who answers, everything repeated
//! until it is accepted, and a list of what must be found in the end.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

#[cfg(feature = "failpoints")]
use super::Meta;
use super::{AgentClient, Simulator, World};

/// What is not accepted is said again so soon.
const AGAIN: Duration = Duration::from_millis(25);
/// How long the same thing may be said again: longer than what holds a conversation up after a crash, with
/// the machine busy. Beyond it something stands still, and the test says what it was told last.
const PATIENCE: Duration = Duration::from_mins(5);

/// What was accepted: it must be in its thread, once.
#[derive(Debug, Default)]
pub(crate) struct Promised {
    /// Messages of customers, and what nobody can read, by the platform's ids.
    pub from_customers: Vec<String>,
    /// Answers of the agent, by their words.
    pub answers: Vec<String>,
}

impl Promised {
    /// Also promises what another one does.
    pub(crate) fn add(&mut self, other: Self) {
        self.from_customers.extend(other.from_customers);
        self.answers.extend(other.answers);
    }
}

/// A conversation to be held.
#[derive(Clone)]
pub(crate) struct Talk {
    pub phones: Simulator,
    pub agent: AgentClient,
    /// Between two messages.
    pub pause: Duration,
    /// No new message after this.
    pub stop: CancellationToken,
}

impl Talk {
    /// A customer writes and is answered, again and again: `rounds` times or until told to stop.
    pub(crate) async fn hold(self, customer: String, rounds: usize) -> Promised {
        let mut promised = Promised::default();
        self.phones.meets(&customer).await;
        promised.from_customers.push(self.phones.types(&customer, "goedendag").await);
        let Some(thread) = self.thread_of(&customer).await else { return promised };
        let path = format!("/v1/threads/{thread}/messages");
        for round in 0..rounds {
            if self.stop.is_cancelled() {
                break;
            }
            promised.from_customers.push(self.phones.types(&customer, &format!("vraag {round}")).await);
            let words = format!("antwoord {round} aan {customer}");
            let body = json!({"content": {"type": "text", "text": words}, "to": "auto"});
            self.until_accepted(&path, &format!("{customer}-{round}"), &body).await;
            promised.answers.push(words);
            tokio::time::sleep(self.pause).await;
        }
        promised
    }

    /// The thread of a customer; nothing when it is told to stop before there is one.
    async fn thread_of(&self, customer: &str) -> Option<String> {
        let mut again = tokio::time::interval(AGAIN);
        while !self.stop.is_cancelled() {
            again.tick().await;
            let Some((200, page)) = self.agent.try_look("/v1/threads?limit=200").await else { continue };
            let threads = page["items"].as_array().expect("items");
            if let Some(thread) = threads.iter().find(|thread| thread["contact"]["name"] == customer) {
                return Some(thread["id"].as_str().expect("an id").to_owned());
            }
        }
        None
    }

    /// The same request until it is answered well, as a client does that has lost the answer.
    async fn until_accepted(&self, path: &str, key: &str, body: &Value) {
        let mut again = tokio::time::interval(AGAIN);
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            again.tick().await;
            match self.agent.try_post(path, key, body).await {
                Some((200 | 201, _)) => return,
                // Away, too busy, or the first one is still under way.
                None | Some((409 | 500.., _)) if tokio::time::Instant::now() < end => {}
                refused => panic!("{path}, {key}: not accepted, at last {refused:?}"),
            }
        }
    }
}

/// Now and then a callback comes whose content nobody can read: it is parked.
#[cfg(feature = "failpoints")]
pub(crate) async fn riddles(meta: Meta, name: String, pause: Duration, stop: CancellationToken) -> Promised {
    let mut promised = Promised::default();
    let mut again = tokio::time::interval(AGAIN);
    for number in 0.. {
        if stop.is_cancelled() {
            break;
        }
        let id = format!("wamid.{name}{number}");
        let riddle = json!({"from": "31600000777", "id": id, "timestamp": "1795253400", "type": "hologram",
            "hologram": {"shape": "cube"}});
        let body = Meta::whatsapp("31600000777", &riddle).to_string();
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            let answer = meta.post("whatsapp", body.clone()).await;
            if answer == Some(200) {
                break;
            }
            assert!(tokio::time::Instant::now() < end, "{id}: not accepted, at last {answer:?}");
            again.tick().await;
        }
        promised.from_customers.push(id);
        tokio::time::sleep(pause).await;
    }
    promised
}

impl World {
    /// Everything that was promised is in a thread, once, and nothing else of its kind; and the platform
    /// took no message of ours twice.
    pub(crate) async fn keeps(&self, agent: &AgentClient, promised: &Promised) {
        let (mut heard, mut said) = (BTreeMap::<String, u64>::new(), BTreeMap::<String, u64>::new());
        for thread in agent.threads().await {
            for message in agent.messages(thread["id"].as_str().expect("an id")).await {
                let (found, name) = match message["direction"].as_str() {
                    Some("in") => (&mut heard, &message["external_id"]),
                    _ => (&mut said, &message["content"]["text"]),
                };
                *found.entry(name.as_str().expect("a name").to_owned()).or_default() += 1;
            }
        }
        for (found, promised) in [(&heard, &promised.from_customers), (&said, &promised.answers)] {
            for name in promised {
                assert_eq!(found.get(name), Some(&1), "{name} must be there once");
            }
            assert_eq!(found.len(), promised.len(), "nothing is there that nobody said");
        }
        for (outbox_id, copies) in self.simulator().copies().await {
            assert_eq!(copies, 1, "copies of {outbox_id}, and nobody decided to send it again");
        }
    }
}
