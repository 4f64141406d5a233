//! News between processes that share a PostgreSQL store: who committed something tells the others, so
//! that they look at once. Best effort: whoever misses it looks by itself each second.
//!
//! It is told after the commit, by the connection on its way back to the pool: told inside the
//! transaction it would make all commits of the installation wait for one another.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use loket_backbone::random;
use sqlx::postgres::{PgConnection, PgListener, PgPool};
use tokio_util::sync::CancellationToken;

use super::{Inner, StoreError};
use crate::worker::pause;

/// The channel of the database.
const CHANNEL: &str = "loket";
/// The log has grown.
const LOG: u8 = 1;
/// There is something to send.
const OUTGOING: u8 = 2;
/// A listener that heard nothing for so long listens anew: its connection may have died without a word.
const SILENCE: Duration = Duration::from_mins(1);

/// What this process has to tell.
pub(super) struct News {
    /// By which it knows its own.
    teller: String,
    owed: AtomicU8,
}

impl News {
    pub(super) fn new() -> Self {
        Self { teller: random::hex::<8>(), owed: AtomicU8::new(0) }
    }

    /// Notes what was just committed; the next connection that comes back to its pool tells it.
    pub(super) fn owe(&self, appended: bool, outgoing: bool) {
        let news = if appended { LOG } else { 0 } | if outgoing { OUTGOING } else { 0 };
        self.owed.fetch_or(news, Ordering::SeqCst);
    }

    /// Tells it. False when the connection is good for nothing more.
    pub(super) async fn tell(&self, open: &mut PgConnection) -> bool {
        let owed = self.owed.swap(0, Ordering::SeqCst);
        if owed == 0 {
            return true;
        }
        let told = sqlx::query("SELECT pg_notify($1, $2)")
            .bind(CHANNEL)
            .bind(format!("{} {owed}", self.teller))
            .execute(open)
            .await;
        told.is_ok()
    }

    /// What others told; nothing when it was this process itself.
    fn read(&self, payload: &str) -> u8 {
        match payload.split_once(' ') {
            Some((teller, news)) if teller != self.teller => news.parse().unwrap_or(LOG | OUTGOING),
            _ => 0,
        }
    }
}

/// Hears what other processes tell, until told to stop.
pub(super) async fn listen(inner: Arc<Inner>, pool: PgPool, news: Arc<News>, stop: CancellationToken) {
    let mut failures = 0;
    while !stop.is_cancelled() {
        let heard = tokio::select! {
            () = stop.cancelled() => return,
            heard = hear(&inner, &pool, &news, &mut failures) => heard,
        };
        if let Err(error) = heard {
            failures += 1;
            if failures == 1 {
                tracing::warn!(%error, "news of other processes are not heard; looking each second instead");
            }
            pause(&stop, failures).await;
        }
    }
}

/// Listens on one connection until it is silent for long or gone.
async fn hear(inner: &Inner, pool: &PgPool, news: &News, failures: &mut u32) -> Result<(), StoreError> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    *failures = 0;
    // What was told before this is not told again.
    inner.hear(true, true);
    loop {
        match tokio::time::timeout(SILENCE, listener.try_recv()).await {
            Ok(Ok(Some(told))) => {
                let heard = news.read(told.payload());
                inner.hear(heard & LOG != 0, heard & OUTGOING != 0);
            }
            // Gone or silent: anew.
            Ok(Ok(None)) | Err(_) => return Ok(()),
            Ok(Err(error)) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_of_others_are_read_and_ones_own_are_not() {
        let news = News::new();
        assert_eq!(news.read(&format!("{} 3", news.teller)), 0);
        assert_eq!(news.read("somebody 1"), LOG);
        assert_eq!(news.read("somebody 2"), OUTGOING);
        assert_eq!(news.read("somebody of another version"), LOG | OUTGOING);
        assert_eq!(news.read("nonsense"), 0);
    }
}
