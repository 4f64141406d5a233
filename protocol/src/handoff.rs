//! Control: who answers a thread now, as a lease with a number. Pure: [`decide`] is the whole state
//! machine, and its model beside it walks through everything that can be asked in any order.
//!
//! The number, `epoch`, goes up by one whenever somebody else answers from now on. Whoever speaks or asks
//! with an older number has lost control and is refused, so that a bot that answers late never speaks
//! beside a person. An offer changes nobody's turn and so no number.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::AgentId;
use crate::time::Timestamp;

/// Why, where nobody gave a reason of their own. Reasons are short words for programs, `[a-z0-9_]`.
pub mod reason {
    /// A case began.
    pub const OPENED: &str = "opened";
    /// An agent took it.
    pub const TAKEN: &str = "taken";
    /// An agent answered without holding it.
    pub const REPLIED: &str = "replied";
    /// Somebody answered in the phone app, the Page's inbox or another app.
    pub const ECHOED: &str = "echoed";
    /// The agent whom it was offered to accepted.
    pub const ACCEPTED: &str = "accepted";
    /// The holder handed it on.
    pub const PASSED: &str = "passed";
    /// The holder let go of it.
    pub const RELEASED: &str = "released";
    /// The customer asked for a person.
    pub const ASKED: &str = "asked";
}

/// What sort of party answers now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holder {
    /// A program.
    Bot,
    /// Nobody: it waits for a person.
    Waiting,
    /// A person.
    Agent,
}

impl Holder {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Bot, Self::Waiting, Self::Agent];

    /// The name in JSON and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bot => "bot",
            Self::Waiting => "waiting",
            Self::Agent => "agent",
        }
    }

    /// The holder of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|holder| holder.as_str() == name)
    }
}

/// Who answers a thread now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// What sort of party.
    pub holder: Holder,
    /// Which agent; absent for an agent when the answer came from the phone app or another app, where it is
    /// not told who wrote.
    pub agent_id: Option<AgentId>,
    /// The agent to whom it is offered while it waits.
    pub offered_to: Option<AgentId>,
    /// Until when they may accept.
    pub offered_until: Option<Timestamp>,
    /// The number of this turn: one more with each new holder. 0: nobody ever had it.
    pub epoch: i64,
    /// Since when.
    pub since: Timestamp,
    /// Why, as a short word (`handoff::reason`, or a bot's own).
    pub reason: String,
    /// What whoever handed it on had to say.
    pub summary: Option<String>,
}

impl Control {
    /// Control of a thread in which nothing has happened yet.
    pub fn unheld(since: Timestamp) -> Self {
        Self {
            holder: Holder::Waiting,
            agent_id: None,
            offered_to: None,
            offered_until: None,
            epoch: 0,
            since,
            reason: reason::OPENED.to_owned(),
            summary: None,
        }
    }

    /// Whether this agent holds it.
    pub fn is_held_by(&self, agent: AgentId) -> bool {
        self.holder == Holder::Agent && self.agent_id == Some(agent)
    }
}

/// What can be asked of control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// I answer from now on, whoever does now.
    Take,
    /// Somebody else should answer: a colleague, the bot, or whoever is free.
    Pass,
    /// This agent should answer, if they accept.
    Offer,
    /// I answer what was offered to me.
    Accept,
    /// I answer no longer: the bot does, if there is one.
    Release,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Take, Self::Pass, Self::Offer, Self::Accept, Self::Release];

    /// The name in JSON and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Take => "take",
            Self::Pass => "pass",
            Self::Offer => "offer",
            Self::Accept => "accept",
            Self::Release => "release",
        }
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Actor {
    /// A person.
    Agent {
        /// Who.
        id: AgentId,
        /// They lead: they may hand on what others hold.
        leads: bool,
    },
    /// A program that answers.
    Bot,
    /// The house itself: routing, a customer's wish, a bot that failed, a program of the lead's.
    House,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent { id, .. } => fmt::Display::fmt(id, f),
            Self::Bot => f.write_str("bot"),
            Self::House => f.write_str("house"),
        }
    }
}

/// To whom it is passed or offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Successor {
    /// Whoever is free.
    Queue,
    /// A program.
    Bot,
    /// This agent, if they accept.
    Agent(AgentId),
}

impl fmt::Display for Successor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queue => f.write_str("queue"),
            Self::Bot => f.write_str("bot"),
            Self::Agent(id) => fmt::Display::fmt(id, f),
        }
    }
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Asked {
    /// By whom.
    pub actor: Actor,
    /// What.
    pub verb: Verb,
    /// To whom, for *pass* and *offer*.
    pub to: Successor,
    /// The turn that the asking one knows; only a take, and the house, may leave it out.
    pub epoch: Option<i64>,
}

/// How the turn of now came to be, so that the request that made it is known again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Made {
    /// By whom.
    pub actor: Actor,
    /// By what.
    pub verb: Verb,
    /// To whom.
    pub to: Successor,
}

/// Who answers from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Turn {
    /// What sort of party.
    pub holder: Holder,
    /// Which agent.
    pub agent_id: Option<AgentId>,
    /// To whom it is offered.
    pub offered_to: Option<AgentId>,
    /// The number of the turn.
    pub epoch: i64,
}

impl Turn {
    /// The turn of now.
    pub fn of(control: &Control) -> Self {
        Self {
            holder: control.holder,
            agent_id: control.agent_id,
            offered_to: control.offered_to,
            epoch: control.epoch,
        }
    }

    /// The turn after this one with this holder; the same number when nothing changes in who answers.
    #[must_use]
    pub fn next(self, holder: Holder, agent_id: Option<AgentId>, offered_to: Option<AgentId>) -> Self {
        let same = (holder, agent_id) == (self.holder, self.agent_id) && self.epoch > 0;
        Self { holder, agent_id, offered_to, epoch: if same { self.epoch } else { self.epoch + 1 } }
    }

    /// Whether a bot that knows this number may speak.
    pub fn lets_a_bot_speak(self, epoch: i64) -> bool {
        self.holder == Holder::Bot && self.epoch == epoch
    }
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The number is not that of now: somebody else answers.
    Lost,
    /// The number must be said.
    EpochMissing,
    /// Only a person can.
    NotAPerson,
    /// Only the holder, or a lead, can.
    NotTheHolder,
    /// Nothing is offered to them.
    NotOffered,
    /// It can be offered only while it waits.
    NotWaiting,
    /// Only a lead or the house can.
    NotALead,
    /// There is no such successor for this verb.
    NoSuccessor,
}

impl Refusal {
    /// What is wrong and what to do.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Lost => "Somebody else answers this thread now; read it again.",
            Self::EpochMissing => "Say the epoch of the thread's control that you know.",
            Self::NotAPerson => "Only a logged-in agent can do this.",
            Self::NotTheHolder => "Only who holds control, or a lead, can do this; an agent can take it.",
            Self::NotOffered => "It is not offered to you, or no longer; you can take it.",
            Self::NotWaiting => "It can be offered only while it waits for a person.",
            Self::NotALead => "Only a lead can offer a thread to somebody.",
            Self::NoSuccessor => "This verb does not go to this successor.",
        }
    }
}

/// What comes of a request: the turn from now on, or `None` when it was carried out before. `made` is how
/// the present turn came to be; `has_bot` says whether there is a bot to give back to.
pub fn decide(now: Turn, made: Option<Made>, asked: Asked, has_bot: bool) -> Result<Option<Turn>, Refusal> {
    match asked.epoch {
        Some(epoch) if epoch == now.epoch => {}
        Some(epoch) => {
            let this = Made { actor: asked.actor, verb: asked.verb, to: asked.to };
            let is_repeat = epoch.checked_add(1) == Some(now.epoch) && made == Some(this);
            return if is_repeat { Ok(None) } else { Err(Refusal::Lost) };
        }
        None if asked.verb == Verb::Take || asked.actor == Actor::House => {}
        None => return Err(Refusal::EpochMissing),
    }
    let next = match asked.verb {
        Verb::Take => now.next(Holder::Agent, Some(person(asked.actor)?), None),
        Verb::Accept => {
            let agent = person(asked.actor)?;
            if now.holder == Holder::Agent && now.agent_id == Some(agent) {
                return Ok(None);
            }
            if now.offered_to != Some(agent) {
                return Err(Refusal::NotOffered);
            }
            now.next(Holder::Agent, Some(agent), None)
        }
        Verb::Offer => {
            if !matches!(asked.actor, Actor::House | Actor::Agent { leads: true, .. }) {
                return Err(Refusal::NotALead);
            }
            let Successor::Agent(to) = asked.to else { return Err(Refusal::NoSuccessor) };
            if now.holder != Holder::Waiting {
                return Err(Refusal::NotWaiting);
            }
            now.next(Holder::Waiting, None, Some(to))
        }
        Verb::Pass => {
            may_hand_on(now, asked.actor, true)?;
            match asked.to {
                Successor::Queue => now.next(Holder::Waiting, None, None),
                Successor::Agent(to) => now.next(Holder::Waiting, None, Some(to)),
                Successor::Bot if has_bot && asked.actor != Actor::Bot => now.next(Holder::Bot, None, None),
                Successor::Bot => return Err(Refusal::NoSuccessor),
            }
        }
        Verb::Release => {
            may_hand_on(now, asked.actor, false)?;
            let back = if has_bot && now.holder != Holder::Bot { Holder::Bot } else { Holder::Waiting };
            now.next(back, None, None)
        }
    };
    Ok((next != now).then_some(next))
}

fn person(actor: Actor) -> Result<AgentId, Refusal> {
    match actor {
        Actor::Agent { id, .. } => Ok(id),
        Actor::Bot | Actor::House => Err(Refusal::NotAPerson),
    }
}

/// The holder, a lead and the house may hand on what somebody holds; what waits, any agent.
fn may_hand_on(now: Turn, actor: Actor, what_waits: bool) -> Result<(), Refusal> {
    let may = match actor {
        Actor::House => true,
        Actor::Bot => now.holder == Holder::Bot,
        Actor::Agent { id, leads } => {
            leads
                || (now.holder == Holder::Agent && now.agent_id == Some(id))
                || (what_waits && now.holder == Holder::Waiting)
        }
    };
    if may { Ok(()) } else { Err(Refusal::NotTheHolder) }
}

#[cfg(test)]
mod model;
