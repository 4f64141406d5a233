//! Everything that a bot, two agents (one of them leads), the customer and the house can ask of one
//! thread, in any order and with whatever number each of them last read, walked through exhaustively up
//! to a number of turns. The promises: one holder a number; who knows an older number changes nothing and
//! a bot with it says nothing; a take without a number always succeeds; a repeat changes nothing.

use std::collections::{HashSet, VecDeque};

use super::{Actor, Asked, Holder, Made, Refusal, Successor, Turn, Verb, decide};
use crate::ids::{AgentId, Id as _};
use crate::time::Timestamp;

/// The highest number that is walked to.
const EPOCHS_MAX: i64 = 4;

/// The machine, or one of its broken variants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Variant {
    Sound,
    /// A bot is asked whether a bot holds it, and not for its number.
    AnyBotSpeaks,
    /// Numbers of requests are not looked at.
    NoFence,
    /// From agent to agent the number stays.
    OneNumberForAgents,
    /// An accept needs no offer.
    AnybodyAccepts,
}

fn anna() -> AgentId {
    AgentId::mint(Timestamp::from_millis(1), [1; 10])
}

fn bram() -> AgentId {
    AgentId::mint(Timestamp::from_millis(2), [2; 10])
}

/// Who asks, each with the number that they last read.
const PARTIES: usize = 3;

fn actor(party: usize) -> Actor {
    match party {
        0 => Actor::Bot,
        1 => Actor::Agent { id: anna(), leads: false },
        _ => Actor::Agent { id: bram(), leads: true },
    }
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct World {
    turn: Turn,
    made: Option<Made>,
    /// The number that each party last read.
    known: [i64; PARTIES],
    /// Who was to answer at each number.
    held: Vec<(Holder, Option<AgentId>)>,
}

/// A promise that was broken.
type Fault = &'static str;

impl World {
    fn new() -> Self {
        let turn = Turn { holder: Holder::Waiting, agent_id: None, offered_to: None, epoch: 0 };
        Self { turn, made: None, known: [0; PARTIES], held: vec![(Holder::Waiting, None)] }
    }

    fn decide(&self, variant: Variant, asked: Asked) -> Result<Option<Turn>, Refusal> {
        let mut asked = asked;
        let mut now = self.turn;
        match variant {
            Variant::NoFence => asked.epoch = Some(now.epoch),
            Variant::AnybodyAccepts if asked.verb == Verb::Accept => {
                now.offered_to = match asked.actor {
                    Actor::Agent { id, .. } => Some(id),
                    _ => None,
                };
            }
            _ => {}
        }
        let decided = decide(now, self.made, asked, true);
        match (variant, decided) {
            (Variant::OneNumberForAgents, Ok(Some(next)))
                if (self.turn.holder, next.holder) == (Holder::Agent, Holder::Agent) =>
            {
                Ok(Some(Turn { epoch: self.turn.epoch, ..next }))
            }
            (_, decided) => decided,
        }
    }

    /// What a request leads to.
    fn after(&self, variant: Variant, asked: Asked) -> Result<Option<Self>, Fault> {
        let decided = self.decide(variant, asked);
        if asked.verb == Verb::Take && asked.epoch.is_none() && decided.is_err() && asked.actor != Actor::Bot
        {
            return Err("a take was refused");
        }
        let Ok(Some(turn)) = decided else { return Ok(None) };
        if asked.epoch.is_some_and(|epoch| epoch != self.turn.epoch) {
            return Err("an old number changed something");
        }
        if asked.verb == Verb::Accept
            && !matches!(asked.actor, Actor::Agent { id, .. } if self.turn.offered_to == Some(id))
        {
            return Err("somebody accepted what was not offered to them");
        }
        let next = self.turned(turn, Some(Made { actor: asked.actor, verb: asked.verb, to: asked.to }))?;
        if next.decide(variant, asked) != Ok(None) && variant != Variant::NoFence && asked.epoch.is_some() {
            return Err("a repeat was not known again");
        }
        Ok(Some(next))
    }

    fn turned(&self, turn: Turn, made: Option<Made>) -> Result<Self, Fault> {
        let mut next = self.clone();
        let holder = (turn.holder, turn.agent_id);
        match turn.epoch - self.turn.epoch {
            0 if next.held.last() != Some(&holder) => return Err("two held one number"),
            0 => {}
            1 => {
                next.held.push(holder);
                next.made = made;
            }
            _ => return Err("numbers are not one after another"),
        }
        if (turn.holder == Holder::Agent) != turn.agent_id.is_some()
            || (turn.offered_to.is_some() && turn.holder != Holder::Waiting)
        {
            return Err("a turn that cannot be");
        }
        next.turn = turn;
        Ok(next)
    }

    /// Every world that may follow.
    fn next(&self, variant: Variant) -> Result<Vec<Self>, Fault> {
        let mut worlds = Vec::new();
        for party in 0..PARTIES {
            let mut reads = self.clone();
            reads.known[party] = self.turn.epoch;
            worlds.push(reads);
            let known = self.known[party];
            let successors =
                [Successor::Queue, Successor::Bot, Successor::Agent(anna()), Successor::Agent(bram())];
            for (verb, to) in Verb::ALL.into_iter().flat_map(|verb| successors.map(|to| (verb, to))) {
                if !matches!(verb, Verb::Pass | Verb::Offer) && to != Successor::Queue {
                    continue;
                }
                for epoch in [Some(known), None] {
                    let asked = Asked { actor: actor(party), verb, to, epoch };
                    worlds.extend(self.after(variant, asked)?);
                }
            }
        }
        self.bot_speaks(variant)?;
        // Routing offers and takes an offer back; the customer asks for a person; a case begins.
        for (verb, to) in [
            (Verb::Offer, Successor::Agent(anna())),
            (Verb::Offer, Successor::Agent(bram())),
            (Verb::Pass, Successor::Queue),
        ] {
            worlds.extend(self.after(variant, Asked { actor: Actor::House, verb, to, epoch: None })?);
        }
        for holder in [Holder::Bot, Holder::Waiting] {
            let turn = Turn { holder, agent_id: None, offered_to: None, epoch: self.turn.epoch + 1 };
            worlds.push(self.turned(turn, None)?);
        }
        Ok(worlds)
    }

    fn bot_speaks(&self, variant: Variant) -> Result<(), Fault> {
        let known = self.known[0];
        let speaks = match variant {
            Variant::AnyBotSpeaks => self.turn.holder == Holder::Bot,
            _ => self.turn.lets_a_bot_speak(known),
        };
        let somebody_since =
            self.held.iter().skip(usize::try_from(known).unwrap_or(0)).any(|held| held.0 != Holder::Bot);
        if speaks && somebody_since {
            return Err("a bot spoke after somebody else had taken over");
        }
        Ok(())
    }
}

fn walk(variant: Variant) -> Result<usize, Fault> {
    let mut seen = HashSet::new();
    let mut queue = VecDeque::from([World::new()]);
    while let Some(world) = queue.pop_front() {
        for next in world.next(variant)? {
            if next.turn.epoch <= EPOCHS_MAX && !seen.contains(&next) {
                seen.insert(next.clone());
                queue.push_back(next);
            }
        }
    }
    Ok(seen.len())
}

#[test]
fn whatever_is_asked_in_whatever_order_one_answers() {
    let states = walk(Variant::Sound).expect("sound");
    // The walk is worth something only when it is wide.
    assert!(states > 10_000, "only {states} states");
}

#[test]
fn the_model_finds_the_fault_of_each_broken_variant() {
    for variant in
        [Variant::AnyBotSpeaks, Variant::NoFence, Variant::OneNumberForAgents, Variant::AnybodyAccepts]
    {
        assert!(walk(variant).is_err(), "{variant:?} must be found out");
    }
}

#[test]
fn who_may_do_what() {
    let (a, b) = (anna(), bram());
    let at = |holder, agent_id| Turn { holder, agent_id, offered_to: None, epoch: 3 };
    let ask = |actor, verb, to| Asked { actor, verb, to, epoch: Some(3) };
    let agent = |id, leads| Actor::Agent { id, leads };
    let hers = at(Holder::Agent, Some(a));
    let queue = Successor::Queue;
    for (now, asked, has_bot, expected) in [
        // Give back: to the bot where there is one.
        (hers, ask(agent(a, false), Verb::Release, queue), true, Ok(Some(Holder::Bot))),
        (hers, ask(agent(a, false), Verb::Release, queue), false, Ok(Some(Holder::Waiting))),
        (hers, ask(agent(b, false), Verb::Release, queue), true, Err(Refusal::NotTheHolder)),
        (hers, ask(agent(b, true), Verb::Release, queue), true, Ok(Some(Holder::Bot))),
        (hers, ask(agent(b, false), Verb::Take, queue), true, Ok(Some(Holder::Agent))),
        (hers, ask(agent(a, false), Verb::Take, queue), true, Ok(None)),
        (hers, ask(Actor::Bot, Verb::Take, queue), true, Err(Refusal::NotAPerson)),
        (hers, ask(Actor::Bot, Verb::Pass, queue), true, Err(Refusal::NotTheHolder)),
        (hers, ask(agent(a, false), Verb::Pass, Successor::Bot), false, Err(Refusal::NoSuccessor)),
        (hers, ask(agent(b, true), Verb::Offer, Successor::Agent(a)), true, Err(Refusal::NotWaiting)),
        (at(Holder::Bot, None), ask(Actor::Bot, Verb::Pass, queue), true, Ok(Some(Holder::Waiting))),
        (at(Holder::Bot, None), ask(Actor::Bot, Verb::Release, queue), true, Ok(Some(Holder::Waiting))),
        (at(Holder::Bot, None), ask(agent(a, false), Verb::Pass, queue), true, Err(Refusal::NotTheHolder)),
        (
            at(Holder::Waiting, None),
            ask(agent(a, false), Verb::Accept, queue),
            true,
            Err(Refusal::NotOffered),
        ),
        (
            at(Holder::Waiting, None),
            ask(agent(a, false), Verb::Offer, Successor::Agent(b)),
            true,
            Err(Refusal::NotALead),
        ),
        (
            at(Holder::Waiting, None),
            ask(agent(a, false), Verb::Pass, Successor::Agent(b)),
            true,
            Ok(Some(Holder::Waiting)),
        ),
        (at(Holder::Waiting, None), ask(agent(b, true), Verb::Offer, queue), true, Err(Refusal::NoSuccessor)),
    ] {
        let decided = decide(now, None, asked, has_bot).map(|next| next.map(|turn| turn.holder));
        assert_eq!(decided, expected, "{now:?} {asked:?}");
    }
    let old = Asked { epoch: Some(2), ..ask(agent(a, false), Verb::Take, queue) };
    assert_eq!(decide(hers, None, old, true), Err(Refusal::Lost));
    let unnumbered = Asked { epoch: None, ..ask(agent(a, false), Verb::Release, queue) };
    assert_eq!(decide(hers, None, unnumbered, true), Err(Refusal::EpochMissing));
}
