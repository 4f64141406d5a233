//! No store at all: every call says so. For those who want none, and for showing that everything of
//! record works without one (`reliability-contract` §9, K2).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::broadcast;

use super::{Kv, KvError, SharedKv, Wake};

struct Absent {
    /// Kept so that listeners wait in silence instead of being told that the channel ended.
    silence: broadcast::Sender<Wake>,
}

/// A store whose every call is an error (`kv.url = "none:"`). Its listeners hear nothing.
pub fn absent() -> SharedKv {
    let (silence, _) = broadcast::channel(1);
    Arc::new(Absent { silence })
}

fn none<T>() -> Result<T, KvError> {
    Err(KvError("there is none: kv.url is none:".to_owned()))
}

#[async_trait]
impl Kv for Absent {
    async fn set(&self, _key: &str, _value: Bytes, _ttl: Duration) -> Result<(), KvError> {
        none()
    }

    async fn get(&self, _key: &str) -> Result<Option<Bytes>, KvError> {
        none()
    }

    async fn take(&self, _key: &str) -> Result<Option<Bytes>, KvError> {
        none()
    }

    async fn renew(&self, _key: &str, _ttl: Duration) -> Result<bool, KvError> {
        none()
    }

    async fn remove(&self, _key: &str) -> Result<(), KvError> {
        none()
    }

    async fn scan(&self, _prefix: &str) -> Result<Vec<(String, Bytes)>, KvError> {
        none()
    }

    async fn count(&self, _key: &str, _window: Duration) -> Result<u64, KvError> {
        none()
    }

    async fn pace(&self, _: &str, _: Duration, _: Duration, _: Duration) -> Result<Duration, KvError> {
        none()
    }

    async fn wake(&self, _channel: &str, _message: Bytes) -> Result<(), KvError> {
        none()
    }

    fn listen(&self) -> broadcast::Receiver<Wake> {
        self.silence.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast::error::TryRecvError;

    use super::*;

    #[tokio::test]
    async fn every_call_is_an_error_and_the_listener_hears_nothing() {
        let kv = absent();
        let second = Duration::from_secs(1);
        let mut heard = kv.listen();
        assert!(kv.set("key", Bytes::new(), second).await.is_err());
        assert!(kv.get("key").await.is_err());
        assert!(kv.take("key").await.is_err());
        assert!(kv.renew("key", second).await.is_err());
        assert!(kv.remove("key").await.is_err());
        assert!(kv.scan("").await.is_err());
        assert!(kv.count("key", second).await.is_err());
        assert!(kv.pace("key", second, second, second).await.is_err());
        assert!(kv.wake("channel", Bytes::new()).await.is_err());
        assert_eq!(heard.try_recv(), Err(TryRecvError::Empty), "silent, and not ended");
    }
}
