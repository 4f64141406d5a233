//! The map of the river: every topic of the bus, who listens, and what the wake-ups are called.

use std::marker::PhantomData;

use crate::asks::{ClaimAsk, ClaimReply, Signal, SignalReply, WebchatAsk, WebchatReply};
use crate::inbound::InboundEvent;
use crate::outbound::{OutboundMessage, SendReport};
use crate::problem::{Problem, RawCallback};

/// A topic that carries items of one type. Durable; each group hears all, a group shares.
pub struct Topic<T> {
    /// Its name.
    pub name: &'static str,
    /// The group of consumers that hears it.
    pub group: &'static str,
    carries: PhantomData<fn() -> T>,
}

impl<T> Topic<T> {
    const fn new(name: &'static str, group: &'static str) -> Self {
        Self { name, group, carries: PhantomData }
    }
}

/// A subject that questions are asked on: question and answer type.
pub struct Subject<Q, A> {
    /// Its name.
    pub name: &'static str,
    /// The group that answers.
    pub group: &'static str,
    carries: PhantomData<fn(Q) -> A>,
}

impl<Q, A> Subject<Q, A> {
    const fn new(name: &'static str, group: &'static str) -> Self {
        Self { name, group, carries: PhantomData }
    }
}

/// Connectors to hub: what customers and providers said.
pub const INBOUND: Topic<InboundEvent> = Topic::new("inbound", "hub");
/// Connectors to hub: what needs a person.
pub const PARKED: Topic<Problem> = Topic::new("parked", "hub");
/// Connectors to hub: whole callback bodies, kept for a while.
pub const CALLBACKS: Topic<RawCallback> = Topic::new("callbacks", "hub");
/// Hub to connectors: what to send; only the head of each conversation is on it.
pub const OUTBOUND: Topic<OutboundMessage> = Topic::new("outbound", "senders");
/// Connectors to hub: what became of it.
pub const REPORTS: Topic<SendReport> = Topic::new("reports", "hub");

/// Sender to hub: may I send this?
pub const CLAIMS: Subject<ClaimAsk, ClaimReply> = Subject::new("claims", "hub");
/// Web chat to hub: visitors and their history.
pub const WEBCHAT: Subject<WebchatAsk, WebchatReply> = Subject::new("webchat", "hub");
/// Hub to connectors: read marks and typing.
pub const SIGNALS: Subject<Signal, SignalReply> = Subject::new("signals", "senders");

/// Every durable topic with its group: what a bus declares when it opens. Publishing to anything
/// else is an error.
pub const TOPICS: &[(&str, &str)] = &[
    (INBOUND.name, INBOUND.group),
    (PARKED.name, PARKED.group),
    (CALLBACKS.name, CALLBACKS.group),
    (OUTBOUND.name, OUTBOUND.group),
    (REPORTS.name, REPORTS.group),
];

/// The topics whose items of one key are carried out in their order, whatever process takes them. The
/// others need none: only the head of each conversation is on `outbound`, and everything else stands
/// for itself.
pub const ORDERED: &[&str] = &[INBOUND.name];

/// Every subject with its group.
pub const SUBJECTS: &[(&str, &str)] =
    &[(CLAIMS.name, CLAIMS.group), (WEBCHAT.name, WEBCHAT.group), (SIGNALS.name, SIGNALS.group)];

/// Wake-up over kv: the log has grown. Says only "look".
pub const WAKE_LOG: &str = "wake.log";
/// Wake-up over kv: a conversation has something to send.
pub const WAKE_OUTBOUND: &str = "wake.outbound";
/// Wake-up over kv: something new for a web chat visitor, or somebody is writing to them; the
/// message is JSON of [`crate::asks::VisitorWake`].
pub const WAKE_VISITOR: &str = "wake.visitor";
/// Live over kv, never of record: typing and presence for agents' sockets, as JSON of
/// [`crate::event::LiveSignal`].
pub const LIVE: &str = "live";
