//! Time. Only this module reads it; everything else is handed a [`Clock`].

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use loket_protocol::ids::Id;
use loket_protocol::time::Timestamp;

use crate::random;

/// Wall time for labels, monotonic time for measuring, and ids made from both time and randomness.
/// Cheap to clone. In tests it can be moved forward by hand.
#[derive(Clone, Default)]
pub struct Clock {
    ahead_ms: Option<Arc<AtomicI64>>,
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self { ahead_ms: None }
    }

    /// The system's clock, which [`Self::advance`] can move forward: for tests of long waits.
    pub fn movable() -> Self {
        Self { ahead_ms: Some(Arc::new(AtomicI64::new(0))) }
    }

    /// Moves the wall time of a movable clock and all its clones forward; nothing on a system clock.
    pub fn advance(&self, by: Duration) {
        if let Some(ahead) = &self.ahead_ms {
            ahead.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
        }
    }

    /// Wall time: labels only, never used to measure.
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let ahead = self.ahead_ms.as_ref().map_or(0, |ahead| ahead.load(Ordering::SeqCst));
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX).saturating_add(ahead))
    }

    /// Monotonic time: the only thing that measures.
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn instant(&self) -> Instant {
        Instant::now()
    }

    /// A new id of any kind.
    pub fn id<T: Id>(&self) -> T {
        T::mint(self.now(), random::bytes())
    }
}

#[cfg(test)]
mod tests {
    use loket_protocol::ids::MessageId;

    use super::*;

    #[test]
    fn a_movable_clock_is_moved_for_all_its_clones_and_a_system_clock_is_not() {
        let clock = Clock::movable();
        let clone = clock.clone();
        let (before, begun) = (clone.now(), clone.instant());
        clock.advance(Duration::from_hours(2));
        let moved = clone.now().millis_since(before);
        assert!((7_200_000..7_260_000).contains(&moved), "{moved}");
        assert!(clone.instant().duration_since(begun) < Duration::from_mins(1), "measuring is not moved");

        let system = Clock::system();
        let before = system.now();
        system.advance(Duration::from_hours(2));
        assert!(system.now().millis_since(before) < 60_000);
    }

    #[test]
    fn ids_carry_the_time_and_differ() {
        let clock = Clock::movable();
        let early: Vec<String> = (0..100).map(|_| clock.id::<MessageId>().to_string()).collect();
        clock.advance(Duration::from_secs(1));
        let late = clock.id::<MessageId>().to_string();
        let different: std::collections::HashSet<_> = early.iter().collect();
        assert_eq!(different.len(), 100);
        assert!(early.iter().all(|id| *id < late), "a later id sorts behind");
    }
}
