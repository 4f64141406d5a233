//! The store of what may be lost, in Redis: for several processes. Nothing of record lives there; a
//! Redis that is away, flushed or slow costs each call its deadline at most, and soon nothing at all.

mod address;
mod link;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::{Client, Cmd, FromRedisValue, RedisResult};
use tokio::sync::broadcast;
use tokio_util::sync::DropGuard;

use self::address::Address;
use self::link::{Link, failure};
use super::{CALL_DEADLINE, Kv, KvError, PACE_MAX, SCAN_MAX, SharedKv, Wake, fits};
use crate::tasks::Tasks;

/// How much longer than for a call Redis is waited for before the connection is given up: one slow
/// command is no reason to leave.
const PATIENCE: u32 = 10;
/// How many keys Redis looks at in one step of a scan.
const SCAN_STEP: usize = 1000;

/// Counts one more, and begins the window with the first. A script, because between the two Redis
/// may die and leave a count that never ends.
const COUNT: &str = "local counted = redis.call('INCR', KEYS[1]) \
                     if redis.call('PTTL', KEYS[1]) < 0 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end \
                     return counted";

/// Takes a place in a row: what is kept is when the row is empty again, in microseconds of the server's
/// own clock, because those of the processes differ.
const PACE: &str = "local time = redis.call('TIME') \
                    local now = time[1] * 1000000 + time[2] \
                    local start = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now) \
                    local wait = math.max(start - now - ARGV[2], 0) \
                    if wait <= tonumber(ARGV[3]) then \
                      local empty = start + ARGV[1] \
                      local lives = math.ceil((empty - now) / 1000) + 1 \
                      redis.call('SET', KEYS[1], string.format('%.0f', empty), 'PX', lives) \
                    end \
                    return wait";

struct Redis {
    link: Arc<Link>,
    prefix: String,
    deadline: Duration,
    /// Ends the connection's task with the last handle.
    _stop: DropGuard,
}

/// A handle on the Redis at `url`; it is not waited for.
pub(super) fn open(url: &str) -> Result<SharedKv, KvError> {
    open_with(url, CALL_DEADLINE)
}

fn open_with(url: &str, deadline: Duration) -> Result<SharedKv, KvError> {
    let address = Address::parse(url)?;
    let client = Client::open(address.info.clone()).map_err(|error| failure(&error))?;
    let link = Arc::new(Link::new(&address, deadline * PATIENCE));
    let tasks = Tasks::new();
    let stop = tasks.stop_sign();
    tasks.spawn("kv.redis", Arc::clone(&link).keep(client, stop.clone()));
    Ok(Arc::new(Redis { link, prefix: address.prefix, deadline, _stop: stop.drop_guard() }))
}

impl Redis {
    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    async fn call<T: FromRedisValue>(&self, call: &'static str, command: Cmd) -> Result<T, KvError> {
        self.ask(call, |mut connection| async move { command.query_async(&mut connection).await }).await
    }

    /// Asks within the deadline. Without a connection the answer is there at once.
    async fn ask<T, F>(
        &self,
        call: &'static str,
        ask: impl FnOnce(MultiplexedConnection) -> F + Send,
    ) -> Result<T, KvError>
    where
        F: Future<Output = RedisResult<T>> + Send,
    {
        let outcome = match self.link.connection() {
            None => Err(KvError(format!("Redis: not connected to {}", self.link.place))),
            Some(connection) => match tokio::time::timeout(self.deadline, ask(connection)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => {
                    if error.is_unrecoverable_error() || error.is_timeout() {
                        self.link.doubt();
                    }
                    Err(failure(&error))
                }
                Err(_) => {
                    self.link.doubt();
                    Err(KvError(format!("Redis: no answer within {} ms", self.deadline.as_millis())))
                }
            },
        };
        metrics::counter!("loket_kv_failures_total", "call" => call).increment(1);
        outcome
    }
}

/// Redis refuses a time of nothing.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).clamp(1, i64::MAX.unsigned_abs() / 2)
}

/// A prefix as a pattern that means just itself and whatever follows.
fn pattern(prefix: &str) -> String {
    let mut pattern = String::with_capacity(prefix.len() + 1);
    for letter in prefix.chars() {
        if "\\*?[]^-".contains(letter) {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern.push('*');
    pattern
}

async fn scan(mut connection: MultiplexedConnection, prefix: &str) -> RedisResult<BTreeMap<Vec<u8>, Bytes>> {
    let pattern = pattern(prefix);
    // The same key may come more than once.
    let mut found = BTreeMap::new();
    let mut cursor = 0;
    loop {
        let mut step = redis::cmd("SCAN");
        step.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(SCAN_STEP);
        let (next, keys): (u64, Vec<Vec<u8>>) = step.query_async(&mut connection).await?;
        if !keys.is_empty() {
            let values: Vec<Option<Bytes>> =
                redis::cmd("MGET").arg(&keys).query_async(&mut connection).await?;
            found.extend(keys.into_iter().zip(values).filter_map(|(key, value)| Some((key, value?))));
        }
        if next == 0 || found.len() >= SCAN_MAX {
            return Ok(found);
        }
        cursor = next;
    }
}

#[async_trait]
impl Kv for Redis {
    async fn set(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), KvError> {
        fits(key, &value)?;
        let mut command = redis::cmd("SET");
        command.arg(self.key(key)).arg(&value[..]).arg("PX").arg(millis(ttl));
        self.call("set", command).await
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, KvError> {
        let mut command = redis::cmd("GET");
        command.arg(self.key(key));
        self.call("get", command).await
    }

    async fn take(&self, key: &str) -> Result<Option<Bytes>, KvError> {
        let mut command = redis::cmd("GETDEL");
        command.arg(self.key(key));
        self.call("take", command).await
    }

    async fn renew(&self, key: &str, ttl: Duration) -> Result<bool, KvError> {
        let mut command = redis::cmd("PEXPIRE");
        command.arg(self.key(key)).arg(millis(ttl));
        self.call("renew", command).await
    }

    async fn remove(&self, key: &str) -> Result<(), KvError> {
        let mut command = redis::cmd("DEL");
        command.arg(self.key(key));
        self.call("remove", command).await
    }

    async fn scan(&self, prefix: &str) -> Result<Vec<(String, Bytes)>, KvError> {
        let whole = self.key(prefix);
        let found = self.ask("scan", |connection| scan(connection, &whole)).await?;
        let ours = found.into_iter().filter_map(|(key, value)| {
            Some((String::from_utf8(key).ok()?.strip_prefix(&self.prefix)?.to_owned(), value))
        });
        Ok(ours.take(SCAN_MAX).collect())
    }

    async fn count(&self, key: &str, window: Duration) -> Result<u64, KvError> {
        fits(key, b"")?;
        let mut command = redis::cmd("EVAL");
        command.arg(COUNT).arg(1).arg(self.key(key)).arg(millis(window));
        self.call("count", command).await
    }

    async fn pace(
        &self,
        key: &str,
        every: Duration,
        burst: Duration,
        patience: Duration,
    ) -> Result<Duration, KvError> {
        fits(key, b"")?;
        let mut command = redis::cmd("EVAL");
        command.arg(PACE).arg(1).arg(self.key(key));
        for time in [every.min(PACE_MAX), burst, patience] {
            // A script's numbers are exact up to 2^53.
            command.arg(u64::try_from(time.as_micros()).unwrap_or(u64::MAX).min(1 << 52));
        }
        self.call("pace", command).await.map(Duration::from_micros)
    }

    async fn wake(&self, channel: &str, message: Bytes) -> Result<(), KvError> {
        fits(channel, &message)?;
        let mut command = redis::cmd("PUBLISH");
        command.arg(self.key(channel)).arg(&message[..]);
        let told: Result<i64, KvError> = self.call("wake", command).await;
        if let Err(error) = told {
            // The others do not hear it; this process need not be deaf, too. Twice is no harm.
            let _ = self.link.wakes.send(Wake { channel: channel.to_owned(), message });
            return Err(error);
        }
        Ok(())
    }

    fn listen(&self) -> broadcast::Receiver<Wake> {
        self.link.wakes.subscribe()
    }
}
