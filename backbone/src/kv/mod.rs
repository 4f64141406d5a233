//! Key-value: presence, wake-ups, tickets and limits. Everything here may be lost at any moment and
//! nothing of record lives in it (`reliability-contract` §9, K1 and K2). Every call ends within
//! 50 ms, with an error that the caller shrugs off.

mod absent;
#[cfg(test)]
pub(crate) mod contract;
mod memory;

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
    /// Removes a value.
    async fn remove(&self, key: &str) -> Result<(), KvError>;
    /// All keys that begin with `prefix`, with their values; at most [`SCAN_MAX`].
    async fn scan(&self, prefix: &str) -> Result<Vec<(String, Bytes)>, KvError>;
    /// Counts one more under `key` and says how many there are in the window that began with the
    /// first; atomic under any number of callers.
    async fn count(&self, key: &str, window: Duration) -> Result<u64, KvError>;
    /// Tells all listeners of `channel`, in every process.
    async fn wake(&self, channel: &str, message: Bytes) -> Result<(), KvError>;
    /// Everything that [`Self::wake`] says from now on, on all channels. A listener that is slow
    /// loses the oldest ones: a wake-up only says "look".
    fn listen(&self) -> broadcast::Receiver<Wake>;
}

/// The shared handle.
pub type SharedKv = Arc<dyn Kv>;

/// Opens the store at `url`; the scheme chooses it. `memory:` keeps everything in this process (at
/// most 100,000 keys), `none:` is [`absent`].
pub fn open(url: &str, clock: Clock) -> Result<SharedKv, KvError> {
    match url {
        "memory:" => Ok(memory::open(clock)),
        "none:" => Ok(absent()),
        _ => {
            let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
            Err(KvError(format!(
                "kv.url has the scheme {scheme:?}, and the only ones that there are so far are memory: and none:"
            )))
        }
    }
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
        for url in ["redis://:hunter2@host", "", "memory", "memory:x"] {
            let refused = open(url, Clock::system()).err().unwrap().to_string();
            assert!(refused.contains("memory:"), "{refused}");
            assert!(!refused.contains("hunter2"), "a password stays out of it: {refused}");
        }
    }
}
