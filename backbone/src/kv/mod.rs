//! Key-value: presence, wake-ups, tickets and limits. Everything here may be lost at any moment and
//! nothing of record lives in it (`reliability-contract` §9, K1 and K2). Every call ends within
//! 50 ms, with an error that the caller shrugs off.

mod absent;
#[cfg(test)]
pub(crate) mod contract;
mod memory;
mod redis;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::broadcast;

pub use self::absent::absent;
use crate::clock::Clock;

/// How long a call may take (`reliability-contract` §12).
pub const CALL_DEADLINE: Duration = Duration::from_millis(50);
/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 1024;
/// The largest value or message, in bytes.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;
/// The most that [`Kv::scan`] answers.
pub const SCAN_MAX: usize = 10_000;
/// The slowest row of [`Kv::pace`].
pub const PACE_MAX: Duration = Duration::from_hours(1);
/// How many wake-ups a slow listener may be behind before it loses the oldest.
pub const WAKES_MAX: usize = 1024;

/// The store of what may be lost did not answer. Go on without it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("kv is not available: {0}")]
pub struct KvError(pub String);

/// A message on a channel of wake-ups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wake {
    /// The channel.
    pub channel: String,
    /// What it says.
    pub message: Bytes,
}

/// What may be lost.
#[async_trait]
pub trait Kv: Send + Sync {
    /// Sets a value that disappears after `ttl`.
    async fn set(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), KvError>;
    /// The value, if it is still there.
    async fn get(&self, key: &str) -> Result<Option<Bytes>, KvError>;
    /// The value, and takes it away: of many takers one gets it.
    async fn take(&self, key: &str) -> Result<Option<Bytes>, KvError>;
    /// Lets the value that is there live for another `ttl` from now; false when there is none.
    async fn renew(&self, key: &str, ttl: Duration) -> Result<bool, KvError>;
    /// Removes a value.
    async fn remove(&self, key: &str) -> Result<(), KvError>;
    /// All keys that begin with `prefix`, with their values; at most [`SCAN_MAX`].
    async fn scan(&self, prefix: &str) -> Result<Vec<(String, Bytes)>, KvError>;
    /// Counts one more under `key` and says how many there are in the window that began with the
    /// first; atomic under any number of callers.
    async fn count(&self, key: &str, window: Duration) -> Result<u64, KvError>;
    /// Takes the next place in a row that moves on by one each `every` (at most [`PACE_MAX`]), and that
    /// lets as many through at once as have their place within `burst`; says how long to wait
    /// for it. When that is longer than `patience`, no place was taken. One row for all processes.
    async fn pace(
        &self,
        key: &str,
        every: Duration,
        burst: Duration,
        patience: Duration,
    ) -> Result<Duration, KvError>;
    /// Tells all listeners of `channel`, in every process.
    async fn wake(&self, channel: &str, message: Bytes) -> Result<(), KvError>;
    /// Everything that [`Self::wake`] says from now on, on all channels. A listener that is slow
    /// loses the oldest ones: a wake-up only says "look".
    fn listen(&self) -> broadcast::Receiver<Wake>;
}

/// The shared handle.
pub type SharedKv = Arc<dyn Kv>;

/// Opens the store at `url`; the scheme chooses it. `memory:` keeps everything in this process (at
/// most 100,000 keys), `none:` is [`absent`], and `redis://[:PASSWORD@]HOST[:PORT][/DB]` (or
/// `rediss://`, with TLS) is shared by several processes. Opening waits for nobody: a Redis that is away is
/// looked for ever again. Must be called within the runtime, because Redis has a task of its own.
pub fn open(url: &str, clock: Clock) -> Result<SharedKv, KvError> {
    match url.split_once(':').unwrap_or((url, "")) {
        ("memory", "") if url.ends_with(':') => Ok(memory::open(clock)),
        ("none", "") if url.ends_with(':') => Ok(absent()),
        ("redis" | "rediss", _) => redis::open(url),
        (scheme, _) => Err(KvError(format!(
            "kv.url begins with {scheme:?}; what there is, is memory:, none:, redis:// and rediss://"
        ))),
    }
}

fn fits(key: &str, value: &[u8]) -> Result<(), KvError> {
    if key.len() > KEY_BYTES_MAX {
        return Err(KvError(format!("a key of {} bytes is over the limit of {KEY_BYTES_MAX}", key.len())));
    }
    if value.len() > VALUE_BYTES_MAX {
        let length = value.len();
        return Err(KvError(format!("a value of {length} bytes is over the limit of {VALUE_BYTES_MAX}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_scheme_chooses_and_an_unknown_one_is_refused() {
        let memory = open("memory:", Clock::system()).unwrap();
        assert_eq!(memory.get("key").await, Ok(None));
        let none = open("none:", Clock::system()).unwrap();
        assert!(none.get("key").await.is_err());
        for url in ["memcached://:hunter2@host", "", "memory", "none", "memory:x", "none:x"] {
            let refused = open(url, Clock::system()).err().unwrap().to_string();
            assert!(refused.contains("memory:"), "{refused}");
            assert!(!refused.contains("hunter2"), "a password stays out of it: {refused}");
        }
        assert!(open("redis://:hunter2@127.0.0.1:1/0", Clock::system()).is_ok(), "nobody need be there yet");
    }
}
