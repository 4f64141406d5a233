//! The one connection to Redis, for calls and for wake-ups (RESP3 pushes). A task of its own opens it, asks
//! ever again whether it lives, and opens another one when it does not. Meanwhile there is none, and a
//! call costs nothing: a dead Redis holds nobody up for longer than it takes to see that it is dead.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, FromRedisValue as _, PushInfo, PushKind, RedisError, Value};
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;

use super::address::Address;
use crate::kv::{KvError, WAKES_MAX, Wake};
use crate::random;

/// How long connecting may take, greetings included.
const CONNECT_DEADLINE: Duration = Duration::from_secs(1);
/// How often it is asked whether the other side lives, when nothing gives cause.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// The wait before connecting again: at random up to this, which doubles.
const AGAIN_MS: u64 = 100;
/// The longest such wait.
const AGAIN_MS_MAX: u64 = 2_000;
/// Calls that wait for their answers at the same time.
const CALLS_MAX: usize = 4096;

/// The connection, as far as there is one.
pub(super) struct Link {
    connection: Mutex<Option<MultiplexedConnection>>,
    /// Told when a call went unanswered or the connection broke.
    doubt: Arc<Notify>,
    /// What others said, for the listeners of this process.
    pub(super) wakes: broadcast::Sender<Wake>,
    /// Host and port, for people.
    pub(super) place: String,
    prefix: String,
    /// How long the answer to whether it lives may take.
    patience: Duration,
}

impl Link {
    pub(super) fn new(address: &Address, patience: Duration) -> Self {
        let (wakes, _) = broadcast::channel(WAKES_MAX);
        let (place, prefix) = (address.place.clone(), address.prefix.clone());
        Self { connection: Mutex::default(), doubt: Arc::default(), wakes, place, prefix, patience }
    }

    fn slot(&self) -> MutexGuard<'_, Option<MultiplexedConnection>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection, when there is one right now.
    pub(super) fn connection(&self) -> Option<MultiplexedConnection> {
        self.slot().clone()
    }

    /// Says that the other side may have gone: it is asked at once.
    pub(super) fn doubt(&self) {
        self.doubt.notify_one();
    }

    /// Keeps a connection open until told to stop.
    pub(super) async fn keep(self: Arc<Self>, client: Client, stop: CancellationToken) {
        let connected = metrics::gauge!("loket_kv_connected");
        let mut failures = 0;
        connected.set(0.0);
        let kept = async {
            loop {
                match self.connect(&client).await {
                    Ok(connection) => {
                        failures = 0;
                        connected.set(1.0);
                        tracing::info!(kv = %self.place, "connected to Redis");
                        *self.slot() = Some(connection.clone());
                        let error = self.watch(connection).await;
                        *self.slot() = None;
                        connected.set(0.0);
                        tracing::warn!(kv = %self.place, %error, "Redis has gone; each process goes on alone");
                    }
                    Err(error) => {
                        failures += 1;
                        if failures == 1 {
                            tracing::warn!(kv = %self.place, %error, "Redis cannot be reached; each process goes on alone");
                        }
                    }
                }
                tokio::time::sleep(again_after(failures)).await;
            }
        };
        tokio::select! {
            () = kept => {}
            () = stop.cancelled() => {}
        }
        *self.slot() = None;
    }

    pub(super) async fn connect(&self, client: &Client) -> Result<MultiplexedConnection, KvError> {
        let (wakes, doubt, prefix) = (self.wakes.clone(), Arc::clone(&self.doubt), self.prefix.clone());
        let heard = move |push: PushInfo| -> Result<(), ()> {
            match push.kind {
                PushKind::PMessage => {
                    if let Some(wake) = wake(push.data, &prefix) {
                        // Nobody listening is no error.
                        let _ = wakes.send(wake);
                    }
                }
                PushKind::Disconnection => doubt.notify_one(),
                _ => {}
            }
            Ok(())
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_DEADLINE))
            .set_concurrency_limit(CALLS_MAX)
            .set_push_sender(heard);
        let opened = async {
            let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
            connection.psubscribe(format!("{}*", self.prefix)).await?;
            Ok(connection)
        };
        let opened = tokio::time::timeout(CONNECT_DEADLINE, opened).await;
        metrics::counter!("loket_kv_connects_total").increment(1);
        opened.unwrap_or_else(|_| Err(timed_out())).map_err(|error| failure(&error))
    }

    /// Asks ever again, and at once when there is doubt, until there is no answer.
    async fn watch(&self, mut connection: MultiplexedConnection) -> KvError {
        loop {
            // Elapsed or not: it is time to ask.
            let _ = tokio::time::timeout(ASK_EVERY, self.doubt.notified()).await;
            let ping = redis::cmd("PING");
            let answer =
                tokio::time::timeout(self.patience, ping.query_async::<Value>(&mut connection)).await;
            if let Err(error) = answer.unwrap_or_else(|_| Err(timed_out())) {
                return failure(&error);
            }
        }
    }
}

fn again_after(failures: u32) -> Duration {
    let most = AGAIN_MS.saturating_mul(1 << failures.min(10)).min(AGAIN_MS_MAX);
    Duration::from_millis(random::jitter_ms(most))
}

fn timed_out() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}

/// What a push on our pattern says: pattern, channel, message.
fn wake(data: Vec<Value>, prefix: &str) -> Option<Wake> {
    let [_, channel, message] = <[Value; 3]>::try_from(data).ok()?;
    let channel = String::from_redis_value(channel).ok()?;
    let message = Vec::<u8>::from_redis_value(message).ok()?;
    Some(Wake { channel: channel.strip_prefix(prefix)?.to_owned(), message: Bytes::from(message) })
}

/// What went wrong, without what was asked: a server's own words may repeat keys.
pub(super) fn failure(error: &RedisError) -> KvError {
    let why = match (error.is_timeout(), error.code()) {
        (true, _) => "no answer".to_owned(),
        (_, Some(code)) => format!("refused with {code}"),
        (_, None) => error.category().to_owned(),
    };
    KvError(format!("Redis: {why}"))
}
