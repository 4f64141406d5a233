//! What this process holds of one queue family (a topic as one group hears it, or a subject): what
//! the broker delivered and what is not acknowledged yet. All in memory; the broker has the truth.
//!
//! The broker hands out several items of a key at once. Here at most one of them is out, in their
//! order: that is clause B6. An item that is given back stays here and keeps its place; the broker
//! does not hear of it, so its counter of deliveries judges nobody (M7).
//!
//! When the connection is lost, what waits is forgotten, because the broker delivers it again. What
//! is out stays known until its holder says something, so that its key stays closed: the same item
//! comes back marked, behind it.
//!
//! Where somebody keeps a [`Ledger`], items also pass a [`Gate`]: one that came ahead of its time is not
//! handed out yet.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use lapin::types::ShortString;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc, oneshot};

use super::order::{Gate, Lineage};
use crate::bus::{BusError, Item, Ledger, Stamp};

/// One call of lease answers no more payload than this, unless a single item is larger.
const LEASE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Where the number of the session stands in a number of an item; below is the delivery tag.
const SESSION_SHIFT: u32 = 40;

/// Everything is given back for the sake of the order at most so often.
const GIVE_WAY_EVERY: Duration = Duration::from_secs(10);

/// What a process holds of a topic or subject.
pub(super) struct Lane {
    pub(super) name: String,
    pub(super) group: String,
    pub(super) queues: Vec<ShortString>,
    /// How many items of one queue may be here.
    pub(super) prefetch: u16,
    /// Items of a key go one at a time; questions do not.
    is_keyed: bool,
    state: Mutex<State>,
    /// Knows what is done of what its publishers numbered.
    ledger: OnceLock<Arc<dyn Ledger>>,
    /// Told when an item becomes ready, and when waiting no longer helps.
    pub(super) grown: Notify,
    /// Told when something is to be acknowledged.
    pub(super) settled: Notify,
}

/// What came from the broker.
pub(super) struct Delivered {
    pub(super) partition: u16,
    pub(super) tag: u64,
    pub(super) item: Arc<Item>,
    pub(super) before: bool,
    pub(super) stamp: Option<Stamp>,
    /// When it was published, in milliseconds of wall time; 0 when nobody says.
    pub(super) at_ms: i64,
    pub(super) received: Instant,
    /// Nobody waits for the answer after this.
    pub(super) expires: Option<Instant>,
    /// Where the answer goes, and its number there.
    pub(super) reply_to: Option<(ShortString, ShortString)>,
    /// The exchange that a dead letter was published to.
    pub(super) origin: Option<ShortString>,
}

/// An item that is here.
struct Held {
    came: Delivered,
    out: bool,
    /// It waits for items before it.
    early: bool,
}

/// How full a lane is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Items that wait at the broker.
    pub(super) ready: u64,
    /// Processes that consume it, this one included.
    pub(super) consumers: u32,
    /// What is here at that moment.
    pub(super) sight: Sight,
}

/// Asks how full a lane is.
pub(super) type Look = oneshot::Sender<Seen>;

/// An item that somebody takes.
pub(super) struct Taken {
    pub(super) number: u64,
    pub(super) item: Arc<Item>,
    pub(super) before: bool,
    pub(super) stamp: Option<Stamp>,
    pub(super) reply_to: Option<(ShortString, ShortString)>,
    pub(super) origin: Option<ShortString>,
}

#[derive(Default)]
struct State {
    /// Counts the connections; 0 before the first.
    session: u64,
    /// The way to the task that reads the channel; there is one while there is a channel.
    reader: Option<mpsc::Sender<Look>>,
    is_wanted: bool,
    is_closed: bool,
    held: BTreeMap<u64, Held>,
    /// The items of each key in order; the first is the only one that may be out.
    keys: HashMap<String, VecDeque<u64>>,
    ready: BTreeSet<u64>,
    gate: Gate,
    /// When everything was last given back for the sake of the order.
    gave_way_at: Option<Instant>,
    tags: Tags,
    partitions: Vec<Traffic>,
    /// When this process first saw items waiting that nobody here holds.
    not_empty_since_ms: Option<i64>,
    /// Payloads that came so far, for what the rest may weigh.
    came_items: u64,
    came_bytes: u64,
}

/// Delivery tags of this session's channel.
#[derive(Default)]
struct Tags {
    /// Every tag up to this one has arrived here.
    arrived: u64,
    /// Tags beyond a gap: consumers of one channel are read one after the other.
    beyond: BTreeSet<u64>,
    /// Done, and the broker does not know.
    done: BTreeSet<u64>,
}

/// What comes from one queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Traffic {
    /// Items here that are not acknowledged.
    pub(super) held: u64,
    /// Items that ever came in this session.
    pub(super) received: u64,
}

/// What to tell the broker.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Acks {
    /// This one and everything below.
    pub(super) up_to: Option<u64>,
    /// These.
    pub(super) single: Vec<u64>,
}

/// What is here of a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sight {
    pub(super) items: u64,
    pub(super) leased: u64,
    pub(super) bytes: u64,
    /// When the oldest was published.
    pub(super) oldest_at_ms: Option<i64>,
    /// The mean payload so far.
    pub(super) mean_bytes: u64,
}

impl Tags {
    fn arrive(&mut self, tag: u64) {
        self.beyond.insert(tag);
        while self.beyond.remove(&(self.arrived + 1)) {
            self.arrived += 1;
        }
    }
}

impl Lane {
    pub(super) fn new(
        name: &str,
        group: &str,
        queues: Vec<ShortString>,
        prefetch: u16,
        is_keyed: bool,
    ) -> Self {
        Self {
            name: name.to_owned(),
            group: group.to_owned(),
            queues,
            prefetch,
            is_keyed,
            state: Mutex::default(),
            ledger: OnceLock::new(),
            grown: Notify::new(),
            settled: Notify::new(),
        }
    }

    // Nothing in here can panic half-way through a change, so a poisoned lock is still good.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on items are handed out in the order of their numbers; of several ledgers the first counts.
    pub(super) fn keep_order(&self, ledger: Arc<dyn Ledger>) {
        let _the_first_counts = self.ledger.set(ledger);
    }

    pub(super) fn ledger(&self) -> Option<&Arc<dyn Ledger>> {
        self.ledger.get()
    }

    /// Somebody waits for items here; true when nobody did before.
    pub(super) fn want(&self) -> bool {
        !std::mem::replace(&mut self.state().is_wanted, true)
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.state().is_wanted
    }

    pub(super) fn is_attached(&self) -> bool {
        self.state().reader.is_some()
    }

    /// The way to the task that reads the channel.
    pub(super) fn reader(&self) -> Option<mpsc::Sender<Look>> {
        self.state().reader.clone()
    }

    /// A channel begins: what comes now has new tags.
    pub(super) fn attach(&self, reader: mpsc::Sender<Look>) {
        let mut state = self.state();
        state.session += 1;
        state.reader = Some(reader);
        state.tags = Tags::default();
        state.partitions = vec![Traffic::default(); self.queues.len()];
    }

    /// The channel is gone. `resign`: nobody is served here until somebody leases again.
    pub(super) fn detach(&self, resign: bool) {
        let mut state = self.state();
        let state = &mut *state;
        state.reader = None;
        state.is_wanted &= !resign;
        state.tags = Tags::default();
        state.partitions.clear();
        state.gate.clear();
        state.ready.clear();
        state.held.retain(|_, held| held.out);
        let held = &state.held;
        state.keys.retain(|_, numbers| {
            numbers.retain(|number| held.contains_key(number));
            !numbers.is_empty()
        });
        if resign {
            self.grown.notify_waiters();
        }
    }

    /// Nothing is taken and nothing acknowledged any more.
    pub(super) fn close(&self) {
        self.state().is_closed = true;
        self.settled.notify_one();
    }

    /// Takes up what the broker delivered. What it answers is to be asked of the ledger, see [`Self::tell`].
    pub(super) fn arrive(&self, came: Delivered) -> Option<Lineage> {
        let mut state = self.state();
        let state = &mut *state;
        let number = (state.session << SESSION_SHIFT) | came.tag;
        state.tags.arrive(came.tag);
        state.came_items += 1;
        state.came_bytes += came.item.payload.len() as u64;
        if let Some(traffic) = state.partitions.get_mut(usize::from(came.partition)) {
            traffic.held += 1;
            traffic.received += 1;
        }
        let gated = came.stamp.clone().filter(|_| self.ledger.get().is_some());
        let key = self.is_keyed.then(|| came.item.key.clone());
        let place = key.as_ref().map_or(0, |key| state.place_for(key, gated.as_ref()));
        let received = came.received;
        state.held.insert(number, Held { came, out: false, early: gated.is_some() });
        if let Some(key) = key {
            let numbers = state.keys.entry(key).or_default();
            numbers.insert(place, number);
            if let Some(behind) = numbers.get(1).filter(|_| place == 0) {
                state.ready.remove(behind);
            }
        }
        let Some(stamp) = gated else {
            if place == 0 {
                state.ready.insert(number);
                self.grown.notify_one();
            }
            return None;
        };
        let arrival = state.gate.arrive(&stamp, number, received);
        self.let_through(state, &arrival.complete);
        arrival.ask
    }

    /// The ledger's answer, see [`Gate::tell`].
    pub(super) fn tell(&self, of: &Lineage, done: &[(u64, u64)], now: Instant) {
        let mut state = self.state();
        let complete = state.gate.tell(of, done, now);
        self.let_through(&mut state, &complete);
    }

    /// When items here have waited for long enough for those before them.
    pub(super) fn due(&self) -> Option<Instant> {
        self.state().gate.due()
    }

    /// Lets out what has waited for long enough; how many gaps were passed.
    pub(super) fn pass(&self, now: Instant) -> u64 {
        let mut state = self.state();
        let (complete, passed) = state.gate.pass(now);
        self.let_through(&mut state, &complete);
        passed
    }

    /// Whether what is waited for cannot come, because a partition has as many items here as may be: then all
    /// of them are given back once, to come in a better order. After that gaps are passed for a while.
    pub(super) fn is_stuck(&self, now: Instant) -> bool {
        let mut state = self.state();
        if state.gave_way_at.is_some_and(|at| now.saturating_duration_since(at) < GIVE_WAY_EVERY) {
            return false;
        }
        let full = |traffic: &Traffic| traffic.held >= u64::from(self.prefetch);
        let mut partitions = (0u16..).zip(&state.partitions);
        let is_stuck = partitions.any(|(number, traffic)| full(traffic) && state.gate.waits_in(number));
        if is_stuck {
            state.gave_way_at = Some(now);
        }
        is_stuck
    }

    fn let_through(&self, state: &mut State, places: &[u64]) {
        for number in places {
            if let Some(held) = state.held.get_mut(number) {
                held.early = false;
            }
            state.make_ready(*number);
        }
        if !state.ready.is_empty() {
            self.grown.notify_one();
        }
    }

    /// Takes the oldest ready items, at most `max` and, beyond the first, at most
    /// [`LEASE_BYTES_MAX`]. Questions that nobody waits for any more are done.
    pub(super) fn take(&self, max: usize, now: Instant) -> Vec<Taken> {
        let mut taken = Vec::new();
        let mut bytes = 0usize;
        let mut expired = Vec::new();
        let mut state = self.state();
        let shared = &mut *state;
        while taken.len() < max && !shared.is_closed {
            let Some(number) = shared.ready.first().copied() else { break };
            let Some(held) = shared.held.get_mut(&number) else {
                shared.ready.remove(&number);
                continue;
            };
            if held.came.expires.is_some_and(|expires| expires <= now) {
                shared.ready.remove(&number);
                expired.push(number);
                continue;
            }
            bytes = bytes.saturating_add(held.came.item.payload.len());
            if bytes > LEASE_BYTES_MAX && !taken.is_empty() {
                break;
            }
            shared.ready.remove(&number);
            held.out = true;
            taken.push(Taken {
                number,
                item: Arc::clone(&held.came.item),
                before: held.came.before,
                stamp: held.came.stamp.clone(),
                reply_to: held.came.reply_to.clone(),
                origin: held.came.origin.clone(),
            });
        }
        let more = !shared.ready.is_empty();
        drop(state);
        for number in expired {
            // It fails only when the connection is lost, and then the question is lost too.
            let _ = self.settle(number);
        }
        if more {
            self.grown.notify_one();
        }
        taken
    }

    /// Gives an item back: it keeps its place and is marked.
    pub(super) fn give_back(&self, number: u64) {
        let mut state = self.state();
        if !state.is_current(number) {
            state.forget(number);
            drop(state);
            self.grown.notify_one();
            return;
        }
        if let Some(held) = state.held.get_mut(&number) {
            held.came.before = true;
            held.out = false;
            state.ready.insert(number);
        }
        drop(state);
        self.grown.notify_one();
    }

    /// Done with an item; the broker hears of it soon.
    pub(super) fn settle(&self, number: u64) -> Result<(), BusError> {
        let mut state = self.state();
        let is_current = state.is_current(number) && !state.is_closed;
        if is_current {
            let tag = tag(number);
            state.tags.done.insert(tag);
        }
        let partition = state.held.get(&number).map(|held| usize::from(held.came.partition));
        state.forget(number);
        if is_current && let Some(traffic) = partition.and_then(|number| state.partitions.get_mut(number)) {
            traffic.held = traffic.held.saturating_sub(1);
        }
        let more = !state.ready.is_empty();
        drop(state);
        self.settled.notify_one();
        if more {
            self.grown.notify_one();
        }
        if is_current {
            Ok(())
        } else {
            Err(BusError::Unavailable(
                "the connection by which the item came is gone; it will be seen again".to_owned(),
            ))
        }
    }

    /// What is to be acknowledged now. Everything below the first that is still open goes with one
    /// word, as long as nothing below can be on its way here unseen.
    pub(super) fn acks(&self) -> Acks {
        let mut state = self.state();
        let first = state.session << SESSION_SHIFT;
        let open = state.held.range(first..).next().map(|(number, _)| tag(*number));
        let arrived = state.tags.arrived;
        let bound = open.map_or(arrived, |open| arrived.min(open.saturating_sub(1)));
        let done = std::mem::take(&mut state.tags.done);
        let up_to = done.range(..=bound).next_back().copied();
        Acks { up_to, single: done.into_iter().filter(|tag| Some(*tag) > up_to).collect() }
    }

    pub(super) fn has_done(&self, at_least: usize) -> bool {
        self.state().tags.done.len() >= at_least
    }

    pub(super) fn traffic(&self) -> Vec<Traffic> {
        self.state().partitions.clone()
    }

    /// How long the item waits here that waits longest, out or not.
    pub(super) fn longest_held(&self, now: Instant) -> Duration {
        let state = self.state();
        let current = state.held.range(state.session << SESSION_SHIFT..);
        let oldest = current.map(|(_, held)| held.came.received).min();
        oldest.map_or(Duration::ZERO, |oldest| now.saturating_duration_since(oldest))
    }

    pub(super) fn sight(&self) -> Sight {
        let state = self.state();
        let mean_bytes = state.came_bytes / state.came_items.max(1);
        let mut sight = Sight { mean_bytes, ..Sight::default() };
        if state.reader.is_none() {
            return sight;
        }
        for held in state.held.range(state.session << SESSION_SHIFT..).map(|(_, held)| held) {
            sight.items += 1;
            sight.leased += u64::from(held.out);
            sight.bytes += held.came.item.payload.len() as u64;
            sight.oldest_at_ms =
                Some(sight.oldest_at_ms.map_or(held.came.at_ms, |at| at.min(held.came.at_ms)));
        }
        sight
    }

    /// Since when this process has seen, call by call, that items wait.
    pub(super) fn not_empty_since(&self, is_waiting: bool, now_ms: i64) -> Option<i64> {
        let mut state = self.state();
        state.not_empty_since_ms = is_waiting.then(|| state.not_empty_since_ms.unwrap_or(now_ms));
        state.not_empty_since_ms
    }

    /// The oldest items that are here, out or not, each with the time of its publish.
    pub(super) fn oldest(&self, max: usize) -> Vec<(i64, Arc<Item>)> {
        let state = self.state();
        if state.reader.is_none() {
            return Vec::new();
        }
        let current = state.held.range(state.session << SESSION_SHIFT..);
        let mut all: Vec<_> =
            current.map(|(_, held)| (held.came.at_ms, Arc::clone(&held.came.item))).collect();
        all.sort_by_key(|(at_ms, _)| *at_ms);
        all.truncate(max);
        all
    }
}

impl State {
    /// It came by the connection that there is now.
    fn is_current(&self, number: u64) -> bool {
        self.reader.is_some() && number >> SESSION_SHIFT == self.session
    }

    /// Takes an item out, and makes the next one of its key ready.
    fn forget(&mut self, number: u64) {
        self.ready.remove(&number);
        let Some(held) = self.held.remove(&number) else { return };
        let Some(numbers) = self.keys.get_mut(&held.came.item.key) else { return };
        numbers.retain(|other| *other != number);
        match numbers.front().copied() {
            None => drop(self.keys.remove(&held.came.item.key)),
            Some(next) => self.make_ready(next),
        }
    }

    /// Makes an item ready that is here, unless something stands before it.
    fn make_ready(&mut self, number: u64) {
        let Some(held) = self.held.get(&number) else { return };
        let numbers = self.keys.get(&held.came.item.key);
        let is_first = numbers.is_none_or(|numbers| numbers.front() == Some(&number));
        if is_first && !held.out && !held.early {
            self.ready.insert(number);
        }
    }

    /// Where an item stands among those of its key: behind all of them, but before those of its epoch
    /// that have a greater number and are not out.
    fn place_for(&self, key: &str, stamp: Option<&Stamp>) -> usize {
        let Some(numbers) = self.keys.get(key) else { return 0 };
        let Some(stamp) = stamp else { return numbers.len() };
        let is_later = |number: &&u64| {
            self.held.get(number).is_some_and(|held| {
                let other = held.came.stamp.as_ref();
                !held.out && other.is_some_and(|o| o.epoch == stamp.epoch && o.number > stamp.number)
            })
        };
        numbers.len() - numbers.iter().rev().take_while(is_later).count()
    }
}

fn tag(number: u64) -> u64 {
    number & ((1 << SESSION_SHIFT) - 1)
}
