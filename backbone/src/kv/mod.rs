//! Key-value: presence, wake-ups, tickets and limits. Everything here may be lost at any moment and
//! nothing of record lives in it (`reliability-contract` §9, K1 and K2). Every call ends within
//! 50 ms, with an error that the caller shrugs off.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::broadcast;

/// How long a call may take (`reliability-contract` §12).
pub const CALL_DEADLINE: Duration = Duration::from_millis(50);

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
    /// All keys that begin with `prefix`, with their values; at most 10,000.
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
