//! The order in which a publisher gave its items out, restored where the broker has turned it around
//! (`reliability-contract` §6).
//!
//! After a failover that is not orderly the next consumer may get new items before those that the one
//! before it held. Each item says its number, so that is seen: a number is missing below it. Then the
//! item waits until the missing ones are here, or the [`Ledger`](crate::bus::Ledger) knows them as done,
//! for [`GAP_WAIT`] at most. It is all pure: who calls tells the time, and asks the ledger.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use crate::bus::Stamp;

/// How long items wait for a missing one before them.
pub(super) const GAP_WAIT: Duration = Duration::from_secs(2);
/// Epochs of one lane that are known at a time; beyond that those that nothing waits in are forgotten, and
/// asked for again when they are seen again.
const EPOCHS_MAX: usize = 1024;

/// A publisher's epoch in one partition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Lineage {
    pub(super) epoch: String,
    pub(super) partition: u16,
}

impl Lineage {
    fn of(stamp: &Stamp) -> Self {
        Self { epoch: stamp.epoch.clone(), partition: stamp.partition }
    }
}

/// What the ledger knows of an epoch, as far as this consumer has asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Ledgered {
    #[default]
    NotAsked,
    Asked,
    Answered,
}

/// The numbers of one epoch that nobody has to wait for: they are done, here, or given up.
#[derive(Debug, Default)]
struct Numbers {
    /// All up to this one.
    up_to: u64,
    /// And these beyond it, first and last.
    beyond: BTreeMap<u64, u64>,
}

impl Numbers {
    /// Adds all from `first` to `last`.
    fn add(&mut self, first: u64, last: u64) {
        if last > self.up_to && first <= last {
            let longest = self.beyond.entry(first).or_insert(last);
            *longest = last.max(*longest);
        }
        while let Some(next) = self.beyond.first_entry().filter(|next| *next.key() <= self.up_to + 1) {
            self.up_to = self.up_to.max(next.remove());
        }
    }
}

/// What is known of one epoch.
#[derive(Debug, Default)]
struct Epoch {
    numbers: Numbers,
    told: Ledgered,
    /// What waits for a smaller number: its number, where the lane has it, and since when it waits.
    waiting: BTreeMap<u64, Vec<(u64, Instant)>>,
}

impl Epoch {
    /// Whether something waits although all is known that can be known.
    fn waits(&self) -> bool {
        self.told == Ledgered::Answered && !self.waiting.is_empty()
    }

    /// Takes out what waits for nothing any more.
    fn complete(&mut self) -> Vec<u64> {
        let rest = self.waiting.split_off(&(self.numbers.up_to + 1));
        let complete = std::mem::replace(&mut self.waiting, rest);
        complete.into_values().flatten().map(|(place, _)| place).collect()
    }

    /// When waiting is over; while the ledger is asked it never is.
    fn due(&self) -> Option<Instant> {
        let waits = self.waiting.values().flatten().map(|(_, since)| *since).min();
        waits.filter(|_| self.waits()).and_then(|since| since.checked_add(GAP_WAIT))
    }
}

/// What comes of an item that arrives.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Arrival {
    /// Places in the lane that need not wait any more, the item's own among them or not.
    pub(super) complete: Vec<u64>,
    /// To be asked of the ledger, and told by [`Gate::tell`].
    pub(super) ask: Option<Lineage>,
}

/// The gate of one lane: items pass it in the order of their numbers.
#[derive(Debug, Default)]
pub(super) struct Gate {
    epochs: HashMap<Lineage, Epoch>,
}

impl Gate {
    /// An item is here, at this place in the lane.
    pub(super) fn arrive(&mut self, stamp: &Stamp, place: u64, now: Instant) -> Arrival {
        let lineage = Lineage::of(stamp);
        if self.epochs.len() >= EPOCHS_MAX && !self.epochs.contains_key(&lineage) {
            self.epochs.retain(|_, epoch| !epoch.waiting.is_empty());
        }
        let epoch = self.epochs.entry(lineage.clone()).or_default();
        // One at or below what was seen is a repeat: it moves nothing back.
        epoch.numbers.add(stamp.number, stamp.number);
        if stamp.number <= epoch.numbers.up_to && epoch.waiting.is_empty() {
            return Arrival { complete: vec![place], ask: None };
        }
        epoch.waiting.entry(stamp.number).or_default().push((place, now));
        let complete = epoch.complete();
        let asks = !epoch.waiting.is_empty() && epoch.told == Ledgered::NotAsked;
        if asks {
            epoch.told = Ledgered::Asked;
        }
        Arrival { complete, ask: asks.then_some(lineage) }
    }

    /// The ledger's answer: what is done of an epoch, first and last of each run of numbers. The places
    /// that need not wait any more; for all others waiting begins now.
    pub(super) fn tell(&mut self, of: &Lineage, done: &[(u64, u64)], now: Instant) -> Vec<u64> {
        let Some(epoch) = self.epochs.get_mut(of) else { return Vec::new() };
        epoch.told = Ledgered::Answered;
        for (first, last) in done {
            epoch.numbers.add(*first, *last);
        }
        let complete = epoch.complete();
        for (_, since) in epoch.waiting.values_mut().flatten() {
            *since = now;
        }
        complete
    }

    /// When [`Self::pass`] has something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        self.epochs.values().filter_map(Epoch::due).min()
    }

    /// Gives up what was waited for long enough. The places that need not wait any more, and how many
    /// gaps were passed.
    pub(super) fn pass(&mut self, now: Instant) -> (Vec<u64>, u64) {
        let (mut complete, mut passed) = (Vec::new(), 0);
        for epoch in self.epochs.values_mut() {
            while epoch.due().is_some_and(|due| due <= now) {
                let Some(next) = epoch.waiting.keys().next().copied() else { break };
                epoch.numbers.add(epoch.numbers.up_to + 1, next);
                complete.extend(epoch.complete());
                passed += 1;
            }
        }
        (complete, passed)
    }

    /// Whether items of this partition wait for one before them.
    pub(super) fn waits_in(&self, partition: u16) -> bool {
        self.epochs.iter().any(|(of, epoch)| of.partition == partition && epoch.waits())
    }

    /// A new connection: what was here comes again.
    pub(super) fn clear(&mut self) {
        self.epochs.clear();
    }
}
