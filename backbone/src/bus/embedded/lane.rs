//! One topic as one group hears it: which items wait, which are out, and in what order. All in
//! memory; the file has the truth after a crash.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use loket_protocol::time::Timestamp;
use tokio::sync::{Notify, watch};

use super::{LEASE_BYTES_MAX, MARK_AHEAD, Options};
use crate::bus::{BusError, Depth, Item};

/// What an item weighs in the cache beside its texts and payload.
const ITEM_OVERHEAD_BYTES: u64 = 160;

/// A topic as one group hears it.
pub(super) struct Lane {
    pub(super) number: i64,
    pub(super) topic: String,
    pub(super) group: String,
    items_max: u64,
    bytes_max: u64,
    cache: Arc<Cache>,
    state: Mutex<State>,
    /// Told when an item becomes ready.
    pub(super) grown: Notify,
    /// The highest number that the file knows may have been leased.
    mark: watch::Sender<i64>,
}

#[derive(Default)]
struct State {
    items: BTreeMap<i64, Held>,
    /// The numbers of each key in order; the first is the only one that may be out.
    keys: HashMap<Arc<str>, VecDeque<i64>>,
    /// The first of each key, unless it is out.
    ready: BTreeSet<i64>,
    leased: u64,
    bytes: u64,
    /// Promised to publishes that are not committed yet.
    room_items: u64,
    room_bytes: u64,
    /// Up to where the mark should be.
    mark_wanted: i64,
}

struct Held {
    key: Arc<str>,
    bytes: u64,
    at: Timestamp,
    before: bool,
    out: bool,
    body: Option<Arc<Item>>,
}

/// How much memory all lanes together spend on items that wait.
pub(super) struct Cache {
    used: AtomicU64,
    bytes_max: u64,
}

impl Cache {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self { used: AtomicU64::new(0), bytes_max }
    }

    fn admit(&self, item: &Arc<Item>) -> Option<Arc<Item>> {
        let weight = weight(item);
        let before = self.used.fetch_add(weight, Ordering::Relaxed);
        if before.saturating_add(weight) > self.bytes_max {
            self.used.fetch_sub(weight, Ordering::Relaxed);
            return None;
        }
        Some(Arc::clone(item))
    }

    fn release(&self, item: &Item) {
        self.used.fetch_sub(weight(item), Ordering::Relaxed);
    }
}

fn weight(item: &Item) -> u64 {
    let texts = item.id.len() + item.key.len() + item.trace.len() + item.payload.len();
    ITEM_OVERHEAD_BYTES.saturating_add(texts as u64)
}

/// What the file says about an item when it is opened.
pub(super) struct Found {
    pub(super) seq: i64,
    pub(super) lane: i64,
    pub(super) at: Timestamp,
    pub(super) before: bool,
    pub(super) key: String,
    pub(super) bytes: u64,
}

impl Lane {
    pub(super) fn new(
        number: i64,
        topic: &str,
        group: &str,
        mark: i64,
        cache: &Arc<Cache>,
        options: &Options,
    ) -> Self {
        Self {
            number,
            topic: topic.to_owned(),
            group: group.to_owned(),
            items_max: options.items_max,
            bytes_max: options.bytes_max,
            cache: Arc::clone(cache),
            state: Mutex::new(State { mark_wanted: mark, ..State::default() }),
            grown: Notify::new(),
            mark: watch::Sender::new(mark),
        }
    }

    // Nothing in here can panic half-way through a change, so a poisoned lock is still good.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up an item that was in the file.
    pub(super) fn restore(&self, found: Found) {
        let Found { seq, at, before, key, bytes, .. } = found;
        self.state().insert(seq, Held { key: key.into(), bytes, at, before, out: false, body: None });
    }

    /// Sets room aside for a publish, or says which limit is reached.
    fn reserve(&self, items: u64, bytes: u64) -> Result<(), BusError> {
        let mut state = self.state();
        let held = state.items.len() as u64;
        let name = format_args!("topic {} for group {}", self.topic, self.group);
        if held.saturating_add(state.room_items).saturating_add(items) > self.items_max {
            return Err(BusError::Full(format!("{name} holds {held} of {} items", self.items_max)));
        }
        if state.bytes.saturating_add(state.room_bytes).saturating_add(bytes) > self.bytes_max {
            let used = state.bytes;
            return Err(BusError::Full(format!("{name} holds {used} of {} bytes", self.bytes_max)));
        }
        state.room_items += items;
        state.room_bytes += bytes;
        Ok(())
    }

    fn release(&self, items: u64, bytes: u64) {
        let mut state = self.state();
        state.room_items = state.room_items.saturating_sub(items);
        state.room_bytes = state.room_bytes.saturating_sub(bytes);
    }

    /// Makes committed items ready. The first gets number `first`, the others follow in steps of
    /// `step`.
    pub(super) fn admit(&self, first: i64, step: i64, at: Timestamp, items: &[Arc<Item>]) {
        let mut state = self.state();
        let mut seq = first;
        for item in items {
            let bytes = item.payload.len() as u64;
            let body = self.cache.admit(item);
            let key = Arc::from(item.key.as_str());
            state.insert(seq, Held { key, bytes, at, before: false, out: false, body });
            seq += step;
        }
        drop(state);
        self.grown.notify_one();
    }

    /// Takes the oldest ready items, at most `max` and, beyond the first, at most
    /// [`LEASE_BYTES_MAX`].
    pub(super) fn take(self: &Arc<Self>, max: usize) -> Vec<Taken> {
        let mut taken = Vec::new();
        let mut bytes = 0u64;
        let mut state = self.state();
        let state = &mut *state;
        while taken.len() < max {
            let Some(seq) = state.ready.first().copied() else { break };
            let Some(held) = state.items.get_mut(&seq) else {
                state.ready.remove(&seq);
                continue;
            };
            bytes = bytes.saturating_add(held.bytes);
            if bytes > LEASE_BYTES_MAX && !taken.is_empty() {
                break;
            }
            state.ready.remove(&seq);
            held.out = true;
            state.leased += 1;
            let (before, body) = (held.before, held.body.clone());
            taken.push(Taken { lane: Arc::clone(self), seq, before, body, handed: false, settled: false });
        }
        taken
    }

    pub(super) fn has_ready(&self) -> bool {
        !self.state().ready.is_empty()
    }

    fn give_back(&self, seq: i64, handed: bool) {
        let mut state = self.state();
        let state = &mut *state;
        let Some(held) = state.items.get_mut(&seq) else { return };
        if !held.out {
            return;
        }
        held.out = false;
        held.before |= handed;
        state.leased = state.leased.saturating_sub(1);
        state.ready.insert(seq);
        self.grown.notify_one();
    }

    /// Forgets an item, acknowledged or vanished. False when it was not there.
    pub(super) fn forget(&self, seq: i64) -> bool {
        let mut state = self.state();
        let state = &mut *state;
        let Some(held) = state.items.remove(&seq) else { return false };
        if held.out {
            state.leased = state.leased.saturating_sub(1);
        }
        state.ready.remove(&seq);
        state.bytes = state.bytes.saturating_sub(held.bytes);
        if let Some(body) = held.body {
            self.cache.release(&body);
        }
        let Some(queue) = state.keys.get_mut(&held.key) else { return true };
        if queue.front() == Some(&seq) {
            queue.pop_front();
        } else {
            queue.retain(|waiting| *waiting != seq);
        }
        match queue.front().copied() {
            Some(next) if state.items.get(&next).is_some_and(|held| !held.out) => {
                state.ready.insert(next);
                self.grown.notify_one();
            }
            Some(_) => {}
            None => {
                state.keys.remove(&held.key);
            }
        }
        true
    }

    pub(super) fn depth(&self, now: Timestamp) -> Depth {
        let state = self.state();
        let oldest = state.items.first_key_value().map(|(_, held)| now.millis_since(held.at));
        Depth {
            items: state.items.len() as u64,
            leased: state.leased,
            bytes: state.bytes,
            oldest_age_ms: oldest.map_or(0, |age| u64::try_from(age).unwrap_or(0)),
        }
    }

    /// The oldest items; those that are not in the cache are read from the file by their number.
    pub(super) fn oldest(&self, max: usize) -> Vec<(i64, Option<Arc<Item>>)> {
        let mut bytes = 0u64;
        let state = self.state();
        let fits = state.items.iter().take(max).take_while(|(_, held)| {
            let first = bytes == 0;
            bytes = bytes.saturating_add(held.bytes);
            first || bytes <= LEASE_BYTES_MAX
        });
        fits.map(|(seq, held)| (*seq, held.body.clone())).collect()
    }

    /// All numbers, for comparing with the file.
    pub(super) fn seqs(&self) -> Vec<i64> {
        self.state().items.keys().copied().collect()
    }

    /// Those that were leased, or are.
    pub(super) fn flagged(&self) -> Vec<i64> {
        let state = self.state();
        state.items.iter().filter(|(_, held)| held.before || held.out).map(|(seq, _)| *seq).collect()
    }

    /// Says that `seq` is about to be leased. True when the file must first be told.
    pub(super) fn will_lease(&self, seq: i64) -> bool {
        let durable = *self.mark.borrow();
        if durable < seq.saturating_add(MARK_AHEAD / 2) {
            let mut state = self.state();
            state.mark_wanted = state.mark_wanted.max(seq.saturating_add(MARK_AHEAD));
        }
        durable < seq
    }

    /// Waits until the file knows that `seq` may be leased.
    pub(super) async fn marked(&self, seq: i64) {
        // The sender lives as long as the lane, so this ends only by the mark.
        let _ = self.mark.subscribe().wait_for(|mark| *mark >= seq).await;
    }

    /// The mark that should be written, when it is not yet.
    pub(super) fn mark_to_write(&self) -> Option<i64> {
        let wanted = self.state().mark_wanted;
        (wanted > *self.mark.borrow()).then_some(wanted)
    }

    pub(super) fn mark_written(&self, mark: i64) {
        self.mark.send_replace(mark);
    }
}

impl State {
    fn insert(&mut self, seq: i64, held: Held) {
        self.bytes = self.bytes.saturating_add(held.bytes);
        if let Some(queue) = self.keys.get_mut(&held.key) {
            queue.push_back(seq);
        } else {
            self.keys.insert(Arc::clone(&held.key), VecDeque::from([seq]));
            self.ready.insert(seq);
        }
        self.items.insert(seq, held);
    }
}

/// Room that a publish was promised in every lane of its topic, until it is dropped.
pub(super) struct Room {
    lanes: Arc<[Arc<Lane>]>,
    items: u64,
    bytes: u64,
}

impl Room {
    pub(super) fn reserve(lanes: &Arc<[Arc<Lane>]>, items: u64, bytes: u64) -> Result<Self, BusError> {
        for (count, lane) in lanes.iter().enumerate() {
            if let Err(full) = lane.reserve(items, bytes) {
                for reserved in lanes.iter().take(count) {
                    reserved.release(items, bytes);
                }
                return Err(full);
            }
        }
        Ok(Self { lanes: Arc::clone(lanes), items, bytes })
    }

    pub(super) fn lanes(&self) -> &[Arc<Lane>] {
        &self.lanes
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        for lane in self.lanes.iter() {
            lane.release(self.items, self.bytes);
        }
    }
}

/// An item that is out. Dropping it gives it back to its place.
pub(super) struct Taken {
    pub(super) lane: Arc<Lane>,
    pub(super) seq: i64,
    pub(super) before: bool,
    pub(super) body: Option<Arc<Item>>,
    /// A member of the group has seen it; until then giving it back leaves no trace.
    pub(super) handed: bool,
    /// It is acknowledged: there is nothing to give back.
    pub(super) settled: bool,
}

impl Drop for Taken {
    fn drop(&mut self) {
        if !self.settled {
            self.lane.give_back(self.seq, self.handed);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lane(cache_bytes: u64) -> Arc<Lane> {
        let cache = Arc::new(Cache::new(cache_bytes));
        Arc::new(Lane::new(1, "line", "crew", 0, &cache, &Options::default()))
    }

    fn admit(lane: &Lane, seq: i64, key: u8) {
        let payload = vec![key; usize::from(key)].into();
        let item = Item { id: seq.to_string(), key: key.to_string(), payload, trace: String::new() };
        lane.admit(seq, 1, Timestamp::from_millis(seq), &[Arc::new(item)]);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Admit(u8),
        Take(usize),
        Acknowledge(usize),
        GiveBack(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..4u8).prop_map(Step::Admit),
            2 => (1..4usize).prop_map(Step::Take),
            2 => (0..8usize).prop_map(Step::Acknowledge),
            1 => (0..8usize).prop_map(Step::GiveBack),
        ]
    }

    /// The same thing, said simply: all items in order, and whether each is out and was before.
    #[derive(Default)]
    struct Model(Vec<(i64, u8, bool, bool)>);

    impl Model {
        fn take(&mut self, max: usize) -> Vec<(i64, bool)> {
            let mut seen = Vec::new();
            let mut taken = Vec::new();
            for (seq, key, out, before) in &mut self.0 {
                if !seen.contains(key) && !*out && taken.len() < max {
                    *out = true;
                    taken.push((*seq, *before));
                }
                seen.push(*key);
            }
            taken
        }
    }

    proptest! {
        #[test]
        fn it_does_what_the_simple_model_does(steps in prop::collection::vec(step(), 1..120)) {
            let lane = lane(2000);
            let mut model = Model::default();
            let mut held: Vec<Taken> = Vec::new();
            let mut next = 1;
            for step in steps {
                match step {
                    Step::Admit(key) => {
                        admit(&lane, next, key);
                        model.0.push((next, key, false, false));
                        next += 1;
                    }
                    Step::Take(max) => {
                        let mut taken = lane.take(max);
                        let came: Vec<_> = taken.iter().map(|taken| (taken.seq, taken.before)).collect();
                        prop_assert_eq!(came, model.take(max));
                        for taken in &mut taken {
                            taken.handed = true;
                        }
                        held.append(&mut taken);
                    }
                    Step::Acknowledge(place) if place < held.len() => {
                        let mut taken = held.swap_remove(place);
                        taken.settled = true;
                        prop_assert!(lane.forget(taken.seq));
                        model.0.retain(|(seq, ..)| *seq != taken.seq);
                    }
                    Step::GiveBack(place) if place < held.len() => {
                        let taken = held.swap_remove(place);
                        for (seq, _, out, before) in &mut model.0 {
                            if *seq == taken.seq {
                                (*out, *before) = (false, true);
                            }
                        }
                    }
                    Step::Acknowledge(_) | Step::GiveBack(_) => {}
                }
                let depth = lane.depth(Timestamp::from_millis(next));
                prop_assert_eq!(depth.items, model.0.len() as u64);
                prop_assert_eq!(depth.leased, held.len() as u64);
                prop_assert_eq!(depth.bytes, model.0.iter().map(|item| u64::from(item.1)).sum::<u64>());
                let oldest = model.0.first().map_or(0, |item| next - item.0);
                prop_assert_eq!(depth.oldest_age_ms, oldest.unsigned_abs());
            }
            held.clear();
            while let Some(mut taken) = lane.take(1).pop() {
                taken.settled = true;
                lane.forget(taken.seq);
            }
            prop_assert_eq!(lane.depth(Timestamp::default()), Depth::default());
            prop_assert_eq!(lane.cache.used.load(Ordering::Relaxed), 0, "all memory is given back");
        }
    }

    #[test]
    fn the_mark_is_asked_for_ahead_and_only_waited_for_when_it_is_behind() {
        let lane = lane(0);
        assert!(lane.will_lease(10), "the file knows of nothing yet");
        let mark = lane.mark_to_write().unwrap();
        assert_eq!(mark, 10 + MARK_AHEAD);
        lane.mark_written(mark);
        assert_eq!(lane.mark_to_write(), None);
        assert!(!lane.will_lease(11));
        assert_eq!(lane.mark_to_write(), None, "there is plenty left");
        assert!(!lane.will_lease(mark), "the last one that is covered");
        assert_eq!(lane.mark_to_write(), Some(mark + MARK_AHEAD), "the next commit takes it along");
        assert!(lane.will_lease(mark + 1));
    }
}
