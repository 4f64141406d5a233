//! The store of what may be lost, in the memory of one process: for everything in one process, and
//! for tests. It forgets on restart, on expiry, and when it is full.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use loket_protocol::time::Timestamp;
use tokio::sync::broadcast;

use super::{Kv, KvError, PACE_MAX, SCAN_MAX, SharedKv, WAKES_MAX, Wake, fits};
use crate::clock::Clock;

/// How many keys there may be; beyond it the one that expires first makes room.
const KEYS_MAX: usize = 100_000;

struct Memory {
    clock: Clock,
    keys_max: usize,
    entries: Mutex<Entries>,
    wakes: broadcast::Sender<Wake>,
}

#[derive(Default)]
struct Entries {
    by_key: BTreeMap<Arc<str>, Entry>,
    by_expiry: BTreeSet<(Timestamp, Arc<str>)>,
}

struct Entry {
    value: Bytes,
    expires_at: Timestamp,
}

/// An empty store.
pub(super) fn open(clock: Clock) -> SharedKv {
    open_with(clock, KEYS_MAX)
}

fn open_with(clock: Clock, keys_max: usize) -> SharedKv {
    let (wakes, _) = broadcast::channel(WAKES_MAX);
    Arc::new(Memory { clock, keys_max, entries: Mutex::default(), wakes })
}

impl Memory {
    /// The entries that have not expired.
    fn entries(&self) -> MutexGuard<'_, Entries> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.expire(self.clock.now());
        entries
    }

    fn expiry(&self, ttl: Duration) -> Timestamp {
        self.clock.now().plus_millis(i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX))
    }
}

impl Entries {
    fn expire(&mut self, now: Timestamp) {
        while let Some((expires_at, key)) = self.by_expiry.first()
            && *expires_at <= now
        {
            let key = Arc::clone(key);
            self.remove(&key);
        }
    }

    fn remove(&mut self, key: &str) -> Option<Bytes> {
        let (key, entry) = self.by_key.remove_entry(key)?;
        self.by_expiry.remove(&(entry.expires_at, key));
        Some(entry.value)
    }

    fn insert(&mut self, key: &str, value: Bytes, expires_at: Timestamp, keys_max: usize) {
        self.remove(key);
        while self.by_key.len() >= keys_max {
            let Some((_, first)) = self.by_expiry.pop_first() else { break };
            self.by_key.remove(&first);
            metrics::counter!("loket_kv_evicted_total").increment(1);
        }
        let key: Arc<str> = key.into();
        self.by_expiry.insert((expires_at, Arc::clone(&key)));
        self.by_key.insert(key, Entry { value, expires_at });
    }
}

fn number(value: &Bytes) -> Result<u64, KvError> {
    let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| KvError("the value under this key is no number".to_owned()))
}

#[async_trait]
impl Kv for Memory {
    async fn set(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), KvError> {
        fits(key, &value)?;
        let expires_at = self.expiry(ttl);
        self.entries().insert(key, value, expires_at, self.keys_max);
        Ok(())
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, KvError> {
        Ok(self.entries().by_key.get(key).map(|entry| entry.value.clone()))
    }

    async fn take(&self, key: &str) -> Result<Option<Bytes>, KvError> {
        Ok(self.entries().remove(key))
    }

    async fn renew(&self, key: &str, ttl: Duration) -> Result<bool, KvError> {
        let expires_at = self.expiry(ttl);
        let mut entries = self.entries();
        let Some(value) = entries.remove(key) else { return Ok(false) };
        entries.insert(key, value, expires_at, self.keys_max);
        Ok(true)
    }

    async fn remove(&self, key: &str) -> Result<(), KvError> {
        self.entries().remove(key);
        Ok(())
    }

    async fn scan(&self, prefix: &str) -> Result<Vec<(String, Bytes)>, KvError> {
        let entries = self.entries();
        let from = entries.by_key.range(Arc::<str>::from(prefix)..);
        let found = from.take_while(|(key, _)| key.starts_with(prefix)).take(SCAN_MAX);
        Ok(found.map(|(key, entry)| (key.to_string(), entry.value.clone())).collect())
    }

    async fn count(&self, key: &str, window: Duration) -> Result<u64, KvError> {
        fits(key, b"")?;
        let expires_at = self.expiry(window);
        let mut entries = self.entries();
        if let Some(entry) = entries.by_key.get_mut(key) {
            let more = number(&entry.value)?.saturating_add(1);
            entry.value = more.to_string().into();
            return Ok(more);
        }
        entries.insert(key, Bytes::from_static(b"1"), expires_at, self.keys_max);
        Ok(1)
    }

    async fn pace(
        &self,
        key: &str,
        every: Duration,
        burst: Duration,
        patience: Duration,
    ) -> Result<Duration, KvError> {
        fits(key, b"")?;
        let now = Duration::from_millis(self.clock.now().as_millis().unsigned_abs());
        let mut entries = self.entries();
        // What is kept is when the row is empty again.
        let empty_at = match entries.by_key.get(key) {
            None => now,
            Some(entry) => Duration::from_micros(number(&entry.value)?),
        };
        let start = empty_at.max(now);
        let wait = start.saturating_sub(now).saturating_sub(burst);
        if wait <= patience {
            let empty_at = start.saturating_add(every.min(PACE_MAX));
            let value = empty_at.as_micros().to_string().into();
            entries.insert(key, value, self.expiry(empty_at.saturating_sub(now)), self.keys_max);
        }
        Ok(wait)
    }

    async fn wake(&self, channel: &str, message: Bytes) -> Result<(), KvError> {
        fits(channel, &message)?;
        // Nobody listening is no error: a wake-up only says "look".
        let _ = self.wakes.send(Wake { channel: channel.to_owned(), message });
        Ok(())
    }

    fn listen(&self) -> broadcast::Receiver<Wake> {
        self.wakes.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract;
    use super::*;

    struct InMemory;

    #[async_trait]
    impl contract::Fixture for InMemory {
        async fn open() -> Option<contract::Opened> {
            let clock = Clock::movable();
            let kv = open(clock.clone());
            let [here, there, in_time] = [Arc::clone(&kv), Arc::clone(&kv), kv];
            Some(contract::Opened { here, there, in_time, clock: Some(clock) })
        }
    }

    contract::kv_contract!(InMemory);

    #[tokio::test]
    async fn when_it_is_full_what_expires_first_makes_room() {
        let kv = open_with(Clock::movable(), 3);
        for (key, seconds) in [("late", 30), ("early", 10), ("middle", 20), ("new", 5)] {
            kv.set(key, Bytes::from_static(b"x"), Duration::from_secs(seconds)).await.unwrap();
        }
        let keys: Vec<_> = kv.scan("").await.unwrap().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["late", "middle", "new"]);
        // A key that is already there needs no room.
        kv.set("late", Bytes::from_static(b"y"), Duration::from_secs(1)).await.unwrap();
        assert_eq!(kv.scan("").await.unwrap().len(), 3);
        assert_eq!(kv.count("counter", Duration::from_mins(1)).await, Ok(1));
        assert_eq!(kv.get("late").await, Ok(None), "it now expired first");
    }
}
