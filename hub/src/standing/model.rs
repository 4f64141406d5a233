//! Everything that can happen between the dispatcher, two senders, the bus and a provider, walked
//! through exhaustively: double publishing, lost answers to claims, lost answers of the provider,
//! late and lost reports, crashes of senders. The hub's side is [`Standing`] itself, so what is
//! walked through is the code that runs. The promise: the provider never gets more copies than one
//! and the recorded decisions to send again.

use std::collections::{HashSet, VecDeque};

use loket_protocol::outbound::ClaimAnswer;

use super::{News, PartState, Standing};

const PUBLISHES_MAX: u8 = 3;
const CRASHES_MAX: u8 = 2;
const RESENDS_MAX: u32 = 1;
const DISPATCHES_MAX: u32 = 3;

/// The protocol, or one of its broken variants.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Variant {
    /// As it is: a nonce for every lease.
    Sound,
    /// The nonce names the process: a second copy in the same process gets the same claim.
    NoncePerProcess,
    /// Senders do not ask at all.
    NoClaim,
    /// A sender that asked in vain reports that it did not send, although the claim may be another's.
    ReportsUnclaimed,
}

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Sender {
    Idle,
    /// Holds a copy of dispatch `number`.
    Leased {
        number: u32,
        nonce: u8,
    },
    /// Was told to go on, and has not yet sent.
    Granted {
        number: u32,
        nonce: u8,
    },
    /// The request is over; the report is still in hand.
    Knows {
        number: u32,
        news: News,
    },
    /// The report is out, the lease not yet acknowledged.
    Reported {
        number: u32,
    },
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct World {
    part: Standing<u8>,
    /// Copies on the bus that nobody holds, by dispatch number.
    copies: Vec<u32>,
    senders: [Sender; 2],
    /// Reports on the bus; they may wait for ever.
    reports: Vec<(u32, News)>,
    published: u8,
    crashes: u8,
    leases: u8,
    /// What the provider got.
    taken: u32,
}

impl World {
    fn new() -> Self {
        Self {
            part: Standing::queued(),
            copies: Vec::new(),
            senders: [Sender::Idle, Sender::Idle],
            reports: Vec::new(),
            published: 0,
            crashes: 0,
            leases: 0,
            taken: 0,
        }
    }

    fn tidy(mut self) -> Self {
        self.copies.sort_unstable();
        self.reports.sort_unstable();
        self
    }

    fn with(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut next = self.clone();
        change(&mut next);
        next.tidy()
    }

    /// Every world that may follow.
    fn next(&self, variant: Variant) -> Vec<Self> {
        let mut worlds = Vec::new();
        self.hub(&mut worlds);
        for at in 0..self.senders.len() {
            self.sender(at, variant, &mut worlds);
        }
        worlds
    }

    fn hub(&self, worlds: &mut Vec<Self>) {
        if self.part.state == PartState::Queued && self.published < PUBLISHES_MAX {
            worlds.push(self.with(|w| {
                w.copies.push(w.part.number);
                w.published += 1;
            }));
        }
        for (at, (number, news)) in self.reports.iter().enumerate() {
            worlds.push(self.with(|w| {
                w.reports.remove(at);
                if let Some(part) = w.part.reported(*number, *news) {
                    w.part = part;
                }
            }));
        }
        if let Some(part) = self.part.silent() {
            worlds.push(self.with(|w| w.part = part));
        }
        if self.part.resends < RESENDS_MAX
            && let Some(part) = self.part.sent_again()
        {
            worlds.push(self.with(|w| w.part = part));
        }
    }

    fn sender(&self, at: usize, variant: Variant, worlds: &mut Vec<Self>) {
        let becomes = |sender: Sender| self.with(|w| w.senders[at] = sender);
        match self.senders[at].clone() {
            Sender::Idle => {
                for (copy, number) in self.copies.iter().enumerate() {
                    worlds.push(self.with(|w| {
                        w.copies.remove(copy);
                        w.leases += 1;
                        let process = u8::try_from(at).expect("two senders");
                        let nonce = if variant == Variant::NoncePerProcess { process } else { 10 + w.leases };
                        w.senders[at] = Sender::Leased { number: *number, nonce };
                    }));
                }
            }
            Sender::Leased { number, nonce } => {
                if variant == Variant::NoClaim {
                    worlds.push(becomes(Sender::Granted { number, nonce }));
                    return;
                }
                let (answer, part) = self.part.claimed(number, &nonce);
                let claimed = self.with(|w| w.part = part.unwrap_or_else(|| w.part.clone()));
                // The answer is lost: it asks again with the same nonce.
                worlds.push(claimed.clone());
                worlds.push(claimed.with(|w| {
                    w.senders[at] = match answer {
                        ClaimAnswer::Granted => Sender::Granted { number, nonce },
                        ClaimAnswer::Refused => Sender::Idle,
                    };
                }));
                if variant == Variant::ReportsUnclaimed {
                    worlds.push(becomes(Sender::Knows { number, news: News::NotSent }));
                }
                // It gives up asking and gives the copy back.
                worlds.push(claimed.with(|w| {
                    w.copies.push(number);
                    w.senders[at] = Sender::Idle;
                    w.crashes = w.crashes.saturating_add(1);
                }));
            }
            Sender::Granted { number, .. } => {
                // Too late, refused connection, or the provider says no: surely not sent.
                worlds.push(becomes(Sender::Knows { number, news: News::NotSent }));
                for news in [News::Sent, News::Unconfirmed] {
                    worlds.push(self.with(|w| {
                        w.taken += 1;
                        w.senders[at] = Sender::Knows { number, news };
                    }));
                }
                // The request was lost on the way: nobody can know.
                worlds.push(becomes(Sender::Knows { number, news: News::Unconfirmed }));
            }
            Sender::Knows { number, news } => {
                worlds.push(self.with(|w| {
                    w.reports.push((number, news));
                    w.senders[at] = Sender::Reported { number };
                }));
            }
            Sender::Reported { .. } => worlds.push(becomes(Sender::Idle)),
        }
        self.crash(at, worlds);
    }

    /// The sender dies: what it held goes back to the bus, also when the request had left.
    fn crash(&self, at: usize, worlds: &mut Vec<Self>) {
        let number = match self.senders[at] {
            Sender::Idle => return,
            Sender::Leased { number, .. }
            | Sender::Granted { number, .. }
            | Sender::Knows { number, .. }
            | Sender::Reported { number } => number,
        };
        worlds.push(self.with(|w| {
            w.copies.push(number);
            w.senders[at] = Sender::Idle;
            w.crashes = w.crashes.saturating_add(1);
        }));
    }
}

struct Walk {
    states: usize,
    /// The fewest steps to a copy that nobody decided on.
    doubled_after: Option<usize>,
}

fn walk(variant: Variant) -> Walk {
    let mut seen = HashSet::new();
    let mut queue = VecDeque::from([(World::new(), 0usize)]);
    while let Some((world, steps)) = queue.pop_front() {
        if world.taken > 1 + world.part.resends {
            return Walk { states: seen.len(), doubled_after: Some(steps) };
        }
        for next in world.next(variant) {
            let bounded = next.crashes <= CRASHES_MAX && next.part.number <= DISPATCHES_MAX;
            if bounded && !seen.contains(&next) {
                seen.insert(next.clone());
                queue.push_back((next, steps + 1));
            }
        }
    }
    Walk { states: seen.len(), doubled_after: None }
}

#[test]
fn no_copy_without_a_recorded_decision() {
    let walk = walk(Variant::Sound);
    assert_eq!(walk.doubled_after, None);
    // The walk is worth something only when it is wide.
    assert!(walk.states > 10_000, "only {} states", walk.states);
}

#[test]
fn the_model_finds_the_fault_of_each_broken_variant() {
    for (variant, fault) in [
        (Variant::NoncePerProcess, "a nonce per process"),
        (Variant::NoClaim, "no claim"),
        (Variant::ReportsUnclaimed, "a report without a claim"),
    ] {
        assert!(walk(variant).doubled_after.is_some(), "{fault} must be found to double");
    }
}
